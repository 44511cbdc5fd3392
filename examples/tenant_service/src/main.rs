//! Runs workflows for the tenants of a web service.
//!
//! ```console
//! $ cargo run -p tenant_service -- key acme developer  # makes the tenant if it is not there, and prints a key for it
//! $ cargo run -p tenant_service -- key '*' admin       # a key for all tenants
//! $ cargo run -p tenant_service                        # serves until Ctrl-C or SIGTERM
//! ```
//!
//! | variable | |
//! |---|---|
//! | `DATABASE_URL` | a `postgresql://` URL; without it each tenant has a SQLite file |
//! | `TENANTS_DIRECTORY` | where these files are; `./tenants` |
//! | `LISTEN` | `127.0.0.1:8080`; what encrypts the connections stands in front |
//! | `METRICS_LISTEN` | where `/metrics` is served, to whoever can reach it; nowhere by default |

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, bail};
use cloacina::tenants::TenantManager;
use cloacina::{ErrorKind, RunnerConfig};
use cloacina_web::{ApiKeys, KeyRequest, Prometheus, Role};
use tenant_service::Service;
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => serve().await,
        ["key", tenant, role] => {
            println!("{}", key(tenant, role).await?);
            Ok(())
        }
        _ => bail!("usage: tenant_service [key <tenant, or * for all> <role>]"),
    }
}

async fn serve() -> anyhow::Result<()> {
    if let Some(address) = variable("METRICS_LISTEN") {
        // Before the first runner is opened, so that nothing goes uncounted.
        let metrics = Prometheus::install()?.router();
        let listener = listen(&address).await?;
        tracing::info!("metrics on {}", listener.local_addr()?);
        tokio::spawn(axum::serve(listener, metrics).into_future());
    }
    let manager = manager(RunnerConfig::builder().max_queue_length(10_000).build()).await?;
    let listener = listen(&variable("LISTEN").unwrap_or_else(|| "127.0.0.1:8080".to_owned())).await?;
    tracing::info!("listening on {}", listener.local_addr()?);

    let router = Service::new(manager.clone(), PATIENCE).router();
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

/// A new key for a tenant, which is made if it is not there, or for all tenants.
async fn key(tenant: &str, role: &str) -> anyhow::Result<String> {
    let Some(role) = Role::parse(role) else {
        let roles = Role::ALL.map(Role::as_str).join(", ");
        bail!("there is no role `{role}`; there are {roles}");
    };
    // It runs nothing: for that there is the service.
    let manager = manager(RunnerConfig::builder().submit_only(true).build()).await?;
    let wanted = if tenant == "*" {
        KeyRequest::of_all(format!("{} of all tenants", role.as_str()), role)
    } else {
        match manager.provision(tenant).await {
            Err(error)
                if error.kind() == ErrorKind::Conflict
                    && manager.list().await?.iter().any(|name| name == tenant) => {}
            provisioned => drop(provisioned?),
        }
        KeyRequest::of(format!("{} of {tenant}", role.as_str()), tenant, role)
    };
    let (secret, _) = ApiKeys::new(manager.keys()).issue(wanted.with_payloads(), "command line").await?;
    manager.shutdown_all().await?;
    Ok(secret)
}

async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))
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
