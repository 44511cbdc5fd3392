//! Who answers: a service elsewhere, or the same interface in this process over a database.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::request::Parts;
use axum::http::{Request, StatusCode};
use cloacina::database::{Database, DatabaseAdmin};
use cloacina::runner::RunnerBuilder;
use cloacina::tenants::{TenantManager, TenantManagerBuilder, TenantVersion};
use cloacina::{Runner, RunnerConfig};
use cloacina_web::{ApiKeys, Authorize, Engine, Principal, Role};
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use crate::failure::Refused;

/// The most that is read of an answer.
const MOST_ANSWER: usize = 256 << 20;

/// Where the engine is.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Where {
    /// The URL of a service that `cloacina serve`, or a program with its routes, listens on
    #[arg(long, global = true, env = "CLOACINA_SERVER", value_name = "URL")]
    server: Option<String>,
    /// The key that the service knows you by
    #[arg(long, global = true, env = "CLOACINA_KEY", hide_env_values = true, value_name = "KEY")]
    key: Option<String>,
    /// The URL of a PostgreSQL database with tenants, or of a single SQLite file
    #[arg(long, global = true, env = "CLOACINA_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database: Option<String>,
    /// A directory of SQLite files, one for each tenant
    #[arg(long, global = true, env = "CLOACINA_DIRECTORY", value_name = "PATH")]
    directory: Option<PathBuf>,
    /// The URL of an administrator of the PostgreSQL database, for what makes, changes and removes tenants
    #[arg(long, global = true, env = "CLOACINA_ADMIN_URL", hide_env_values = true, value_name = "URL")]
    admin: Option<String>,
    /// Why something is done, for the audit
    #[arg(long, global = true, value_name = "WORDS")]
    reason: Option<String>,
}

/// The engine of a database, in this process.
pub(crate) struct Local {
    pub(crate) engine: Engine,
    pub(crate) keys: cloacina::keys::Keys,
    inner: Inner,
}

enum Inner {
    Tenants(TenantManager),
    One(Runner),
}

impl Local {
    /// Makes or changes the engine's tables of a tenant.
    pub(crate) async fn migrate(&self, tenant: &str) -> Result<()> {
        match &self.inner {
            Inner::Tenants(tenants) => Ok(tenants.migrate(tenant).await?),
            // It was opened.
            Inner::One(_) => Ok(()),
        }
    }

    /// Ends it: what it recorded is written.
    pub(crate) async fn shutdown(&self) -> Result<()> {
        match &self.inner {
            Inner::Tenants(tenants) => tenants.shutdown_all().await?,
            Inner::One(runner) => runner.shutdown().await?,
        }
        Ok(())
    }
}

/// A database that was named, before it is opened.
enum Named {
    Tenants(Box<TenantManagerBuilder>),
    One(Box<RunnerBuilder>),
}

impl Where {
    /// The engine of the database that was named. It runs no tasks: it has no code.
    pub(crate) async fn local(&self) -> Result<Local> {
        match self.named()? {
            Named::Tenants(tenants) => {
                let tenants = tenants.build().await?;
                let (engine, keys) = (Engine::from(tenants.clone()), tenants.keys());
                Ok(Local { engine, keys, inner: Inner::Tenants(tenants) })
            }
            Named::One(runner) => {
                let runner = runner.build().await?;
                let (engine, keys) = (Engine::from(runner.clone()), runner.keys());
                Ok(Local { engine, keys, inner: Inner::One(runner) })
            }
        }
    }

    /// Which versions the tables of the database have. Changes nothing.
    pub(crate) async fn versions(&self) -> Result<Vec<TenantVersion>> {
        if self.server.is_some() {
            bail!(
                "a service migrates its tenants as it opens them: to do it before, name its database with --database or \
                 its directory with --directory"
            );
        }
        match self.named()? {
            Named::Tenants(tenants) => Ok(tenants.versions().await?),
            Named::One(runner) => Ok(runner.versions().await?),
        }
    }

    fn named(&self) -> Result<Named> {
        let config = RunnerConfig::builder().submit_only(true).build();
        match (&self.database, &self.directory) {
            (Some(_), Some(_)) => bail!("both a database and a directory are named: name one of them"),
            (Some(url), None) if url.starts_with("postgres") => {
                let mut tenants = TenantManager::postgres(url).config(config);
                if let Some(admin) = &self.admin {
                    tenants = tenants.administrator(administrator(admin));
                }
                Ok(Named::Tenants(Box::new(tenants)))
            }
            (Some(url), None) => {
                let path = url.strip_prefix("sqlite://").unwrap_or(url).split('?').next().unwrap_or_default();
                if !std::path::Path::new(path).exists() {
                    bail!("there is no SQLite file {path}: a runner makes one, this command does not");
                }
                let url = if url.starts_with("sqlite:") { url.clone() } else { format!("sqlite://{url}") };
                Ok(Named::One(Box::new(Runner::builder().database_url(url).config(config).submit_only())))
            }
            (None, Some(directory)) => {
                if !directory.is_dir() {
                    bail!("there is no directory {}", directory.display());
                }
                Ok(Named::Tenants(Box::new(TenantManager::sqlite(directory).config(config))))
            }
            (None, None) => bail!(
                "where is the engine? Name a database with --database, a directory of SQLite files with --directory, or a service with \
                 --server and --key (or set CLOACINA_DATABASE_URL, CLOACINA_DIRECTORY, CLOACINA_SERVER and CLOACINA_KEY)"
            ),
        }
    }

    /// Who answers.
    pub(crate) async fn remote(&self) -> Result<Remote> {
        if let Some(server) = &self.server {
            if self.database.is_some() || self.directory.is_some() {
                bail!("both a service and a database are named: name one of them");
            }
            let key = self
                .key
                .clone()
                .context("the service has to know who you are: give a key with --key, or set CLOACINA_KEY")?;
            let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
            let server = server.trim_end_matches('/').to_owned();
            return Ok(Remote { who: Who::Service { agent, server, key }, reason: self.reason.clone() });
        }
        let local = self.local().await?;
        let router =
            cloacina_web::router(local.engine.clone(), AtTheTerminal(ApiKeys::new(local.keys.clone())));
        Ok(Remote { who: Who::Here { router, local: Box::new(local) }, reason: self.reason.clone() })
    }
}

/// How many connections the administrator has: what it does comes one after the other.
const CONNECTIONS: u32 = 2;

fn administrator(url: &str) -> DatabaseAdmin {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let name = path.split('?').next().and_then(|path| path.split_once('/')).map_or("", |(_, name)| name);
    DatabaseAdmin::new(Database::new(url, name, CONNECTIONS))
}

/// Whoever has the database may do everything with it.
struct AtTheTerminal(ApiKeys);

#[async_trait]
impl Authorize for AtTheTerminal {
    async fn who(&self, _: &Parts) -> Result<Option<Principal>, cloacina::Error> {
        let user = std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned());
        Ok(Some(Principal::new(format!("{user} at a terminal")).of_all(Role::Admin).with_payloads()))
    }

    fn keys(&self) -> Option<&ApiKeys> {
        Some(&self.0)
    }
}

/// The engine, as it is reached.
pub(crate) struct Remote {
    who: Who,
    /// Why something is done.
    reason: Option<String>,
}

/// Who answers.
enum Who {
    /// A service elsewhere.
    Service { agent: ureq::Agent, server: String, key: String },
    /// This process.
    Here { router: Router, local: Box<Local> },
}

/// An event of a stream: its name, and what it says.
pub(crate) type Event = (String, String);

impl Remote {
    /// Why something is done.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.call("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Option<Value>) -> Result<Value> {
        self.call("POST", path, body).await
    }

    /// Asks, and reads the answer; null where there is nothing to say.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        self.call_with(method, path, body, None).await
    }

    /// The same with an idempotency key.
    pub(crate) async fn call_with(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        idempotency_key: Option<&str>,
    ) -> Result<Value> {
        let (status, text) = match &self.who {
            Who::Here { router, .. } => {
                let mut request = Request::builder().method(method).uri(path);
                if let Some(reason) = &self.reason {
                    request = request.header("x-reason", reason.as_bytes());
                }
                if let Some(key) = idempotency_key {
                    request = request.header("idempotency-key", key);
                }
                let body = match body {
                    Some(body) => {
                        request = request.header("content-type", "application/json");
                        Body::from(body.to_string())
                    }
                    None => Body::empty(),
                };
                let response = router.clone().oneshot(request.body(body)?).await?;
                let status = response.status();
                (status, to_bytes(response.into_body(), MOST_ANSWER).await?.to_vec())
            }
            Who::Service { agent, server, key } => {
                let mut request = axum::http::Request::builder()
                    .method(method)
                    .uri(format!("{server}{path}"))
                    .header("authorization", format!("Bearer {key}"));
                if let Some(reason) = &self.reason {
                    request = request.header("x-reason", reason.as_bytes());
                }
                if let Some(key) = idempotency_key {
                    request = request.header("idempotency-key", key);
                }
                if body.is_some() {
                    request = request.header("content-type", "application/json");
                }
                let request = request.body(body.map(|body| body.to_string()).unwrap_or_default())?;
                let (agent, server) = (agent.clone(), server.clone());
                let answer = tokio::task::spawn_blocking(move || -> Result<_> {
                    let mut response = agent.run(request).map_err(|error| away(&server, &error))?;
                    let mut text = Vec::new();
                    response.body_mut().as_reader().take(MOST_ANSWER as u64).read_to_end(&mut text)?;
                    Ok((response.status(), text))
                });
                answer.await??
            }
        };
        if status.is_success() {
            return if text.is_empty() {
                Ok(Value::Null)
            } else {
                serde_json::from_slice(&text)
                    .context("the answer is no JSON: is that the address of the service?")
            };
        }
        Err(Refused::of(status, &text).into())
    }

    /// Everything of a list: parts are asked for until there is none, or there are `limit`.
    pub(crate) async fn list(&self, path: &str, limit: usize) -> Result<Vec<Value>> {
        let (mut items, mut after) = (Vec::new(), None::<String>);
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let part = limit.saturating_sub(items.len()).min(1_000);
            let behind =
                after.as_deref().map(|after| format!("&after={}", encode(after))).unwrap_or_default();
            let mut page = self.get(&format!("{path}{joint}limit={part}{behind}")).await?;
            if let Some(found) = page["items"].as_array_mut() {
                items.append(found);
            }
            after = page["next"].as_str().map(str::to_owned);
            if after.is_none() || items.len() >= limit {
                return Ok(items);
            }
        }
    }

    /// The events of a stream.
    pub(crate) async fn events(&self, path: &str) -> Result<mpsc::Receiver<Event>> {
        let (told, events) = mpsc::channel(64);
        match &self.who {
            Who::Here { router, .. } => {
                let request = Request::builder().uri(path).body(Body::empty())?;
                let response = router.clone().oneshot(request).await?;
                let status = response.status();
                if status != StatusCode::OK {
                    return Err(
                        Refused::of(status, &to_bytes(response.into_body(), MOST_ANSWER).await?).into()
                    );
                }
                let mut stream = response.into_body().into_data_stream();
                tokio::spawn(async move {
                    let mut lines = Lines::default();
                    while let Some(Ok(chunk)) = stream.next().await {
                        for event in lines.add(&String::from_utf8_lossy(&chunk)) {
                            if told.send(event).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
            Who::Service { agent, server, key } => {
                let request = axum::http::Request::builder()
                    .uri(format!("{server}{path}"))
                    .header("authorization", format!("Bearer {key}"))
                    .body(())?;
                let (agent, server) = (agent.clone(), server.clone());
                let opened = tokio::task::spawn_blocking(move || -> Result<_> {
                    let mut response = agent.run(request).map_err(|error| away(&server, &error))?;
                    if response.status() != StatusCode::OK {
                        let mut text = Vec::new();
                        response.body_mut().as_reader().take(MOST_ANSWER as u64).read_to_end(&mut text)?;
                        return Err(Refused::of(response.status(), &text).into());
                    }
                    Ok(response)
                });
                let response = opened.await??;
                // A thread of its own: it may wait for ever.
                std::thread::spawn(move || {
                    let mut lines = Lines::default();
                    for line in
                        BufReader::new(response.into_body().into_reader()).lines().map_while(Result::ok)
                    {
                        for event in lines.add(&(line + "\n")) {
                            if told.blocking_send(event).is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        }
        Ok(events)
    }

    /// Ends it.
    pub(crate) async fn shutdown(&self) -> Result<()> {
        match &self.who {
            Who::Service { .. } => Ok(()),
            Who::Here { local, .. } => local.shutdown().await,
        }
    }
}

fn away(server: &str, error: &ureq::Error) -> anyhow::Error {
    Refused::away(format!("the service at {server} does not answer: {error}")).into()
}

/// A part of a path, or a value behind the question mark.
pub(crate) fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The lines of a stream of events, as they come.
#[derive(Default)]
struct Lines {
    rest: String,
    event: String,
    data: String,
}

impl Lines {
    fn add(&mut self, chunk: &str) -> Vec<Event> {
        self.rest.push_str(chunk);
        let mut events = Vec::new();
        while let Some(end) = self.rest.find('\n') {
            let line: String = self.rest.drain(..=end).collect();
            let line = line.trim_end_matches(['\r', '\n']);
            if let Some(name) = line.strip_prefix("event:") {
                name.trim().clone_into(&mut self.event);
            } else if let Some(data) = line.strip_prefix("data:") {
                data.trim().clone_into(&mut self.data);
            } else if line.is_empty() && !self.event.is_empty() {
                events.push((std::mem::take(&mut self.event), std::mem::take(&mut self.data)));
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::{Lines, encode};

    #[test]
    fn events_are_read_however_they_are_cut() {
        let stream = ": alive\n\nevent: changed\ndata: a,b\n\nevent: newer\ndata\n\n";
        for size in 1..stream.len() {
            let (mut lines, mut events) = (Lines::default(), Vec::new());
            let letters: Vec<char> = stream.chars().collect();
            for chunk in letters.chunks(size) {
                events.extend(lines.add(&chunk.iter().collect::<String>()));
            }
            let expected = [("changed".to_owned(), "a,b".to_owned()), ("newer".to_owned(), String::new())];
            assert_eq!(events, expected, "by {size}");
        }
    }

    #[test]
    fn a_name_is_one_part_of_a_path_whatever_is_in_it() {
        assert_eq!(encode("a/b?c&d e"), "a%2Fb%3Fc%26d%20e");
    }
}
