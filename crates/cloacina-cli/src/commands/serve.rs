//! `cloacina serve`.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use clap::Args;
use cloacina_web::{ApiKeys, KeyRequest, Prometheus, Role};
use tokio::net::TcpListener;

use crate::output::say;
use crate::remote::Where;

/// Serves the pages and the HTTP interface of a database.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Where to listen. Put a proxy that speaks TLS before it if others than this machine are to reach it
    #[arg(long, env = "CLOACINA_LISTEN", default_value = "127.0.0.1:8750", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where to listen for Prometheus, at /metrics, without a key; nowhere if nothing is said
    #[arg(long, env = "CLOACINA_METRICS_LISTEN", value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
}

impl Serve {
    pub(crate) async fn run(self, at: &Where) -> Result<()> {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| "info,tokio_postgres=warn,sqlparser=warn".into());
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
        // Before the engine counts anything.
        let metrics = match self.metrics_listen {
            Some(address) => Some((Prometheus::install()?, listen(address, "--metrics-listen").await?)),
            None => None,
        };
        let local = at.local().await?;
        let keys = ApiKeys::new(local.keys.clone());
        let listener = listen(self.listen, "--listen").await?;
        let address = listener.local_addr()?;
        if local.keys.list(None, None, 1).await?.is_empty() {
            let request = KeyRequest::of_all("the first key", Role::Admin).with_payloads();
            let (secret, _) = keys.issue(request, "cloacina serve").await?;
            say(&format!(
                "There was no key yet. This one may do everything, and is told here only: {secret}"
            ))?;
        }
        say(&format!("The pages are at http://{address}/, the interface at http://{address}/v1/"))?;
        if let Some((prometheus, listener)) = metrics {
            say(&format!("What it counts is at http://{}/metrics", listener.local_addr()?))?;
            tokio::spawn(async move { axum::serve(listener, prometheus.router()).await });
        }
        let router = cloacina_web::router(local.engine.clone(), keys);
        axum::serve(listener, router).with_graceful_shutdown(stopped()).await?;
        local.shutdown().await
    }
}

async fn listen(address: SocketAddr, option: &str) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to listen on {address}: name another address with {option}"))
}

/// Somebody wants it to end.
async fn stopped() {
    let interrupted = tokio::signal::ctrl_c();
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = interrupted => {}
        () = terminated => {}
    }
}
