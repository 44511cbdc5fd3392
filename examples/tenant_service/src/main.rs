//! Runs workflows for the tenants of a web service.
//!
//! ```console
//! $ cargo run --bin tenant_service -- token acme       # makes the tenant if it is not there, and prints a token for it
//! $ cargo run --bin tenant_service                     # serves until Ctrl-C or SIGTERM
//! $ curl -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
//!     -d '{"workflow_name": "order_total", "context": {"amounts": [120, 80]}}' localhost:8080/tenants/acme/workflows
//! ```
//!
//! | variable | |
//! |---|---|
//! | `DATABASE_URL` | a `postgresql://` URL; without it each tenant has a SQLite file |
//! | `TENANTS_DIRECTORY` | where these files are; `./tenants` |
//! | `TOKENS_FILE` | the hashes of the tokens, read at the start; `./tenants.tokens` |
//! | `LISTEN` | `127.0.0.1:8080`; what encrypts the connections stands in front |

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, bail};
use cloacina::tenants::TenantManager;
use cloacina::{ErrorKind, RunnerConfig};
use tenant_service::{Service, Tokens};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How long a request waits for its workflow to end, and how long requests may take to end at a shutdown.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter("tenant_service=info,cloacina=warn")
        .with_writer(std::io::stderr)
        .init();
    let tokens = PathBuf::from(variable("TOKENS_FILE").unwrap_or_else(|| "./tenants.tokens".to_owned()));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => serve(&tokens).await,
        ["token", tenant] => {
            println!("{}", token(&tokens, tenant).await?);
            Ok(())
        }
        _ => bail!("usage: tenant_service [token <tenant>]"),
    }
}

async fn serve(tokens: &Path) -> anyhow::Result<()> {
    let tokens = Tokens::read(tokens)?;
    let config = RunnerConfig::builder().max_queue_length(10_000).build();
    let manager = manager(config).await?;
    let address = variable("LISTEN").unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener =
        TcpListener::bind(&address).await.with_context(|| format!("failed to listen on {address}"))?;
    tracing::info!("listening on {}", listener.local_addr()?);

    let router = Service::new(manager.clone(), tokens, PATIENCE).router();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async {
        // An error means that the sender is gone, and with it the server.
        stopped.await.unwrap_or_default();
    });
    let mut serving = pin!(serving.into_future());
    let served = tokio::select! {
        served = &mut serving => served,
        () = terminated() => {
            tracing::info!("shutting down");
            drop(stop);
            // A client that sends nothing more must not keep us.
            tokio::time::timeout(PATIENCE, serving).await.unwrap_or(Ok(()))
        }
    };
    // What runs may end; what does not is given back and goes on at the next start.
    manager.shutdown_all().await?;
    served.context("failed to serve")
}

/// A new token for a tenant, which is made if it is not there.
async fn token(file: &Path, tenant: &str) -> anyhow::Result<String> {
    // It runs nothing: for that there is the service.
    let manager = manager(RunnerConfig::builder().submit_only(true).build()).await?;
    match manager.provision(tenant).await {
        Err(error)
            if error.kind() == ErrorKind::Conflict
                && manager.list().await?.iter().any(|name| name == tenant) => {}
        provisioned => drop(provisioned?),
    }
    manager.shutdown_all().await?;
    Tokens::add(file, tenant)
}

async fn manager(config: RunnerConfig) -> anyhow::Result<TenantManager> {
    let builder = match variable("DATABASE_URL") {
        Some(url) => TenantManager::postgres(url),
        None => {
            TenantManager::sqlite(variable("TENANTS_DIRECTORY").unwrap_or_else(|| "./tenants".to_owned()))
        }
    };
    builder.config(config).build().await.context("failed to open the tenants")
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Until somebody wants us to end.
async fn terminated() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        // There are no signals here: somebody ends us otherwise.
        std::future::pending::<()>().await;
    }
}
