//! What the process counts, in the form that Prometheus reads.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use axum::routing::get;
use cloacina::{Error, ErrorKind};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// The upper bounds of what is timed, in seconds: from a commit to a task of an hour.
const SECONDS: [f64; 14] =
    [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0];

/// The upper bounds of how much is in a commit.
const TRANSITIONS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0];

/// The recorder of this process.
///
/// ```no_run
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// // Before the first runner is opened.
/// let prometheus = cloacina_web::Prometheus::install()?;
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:9464").await?;
/// // Whoever can reach it can read it: names of workflows and tasks, and how often and how long they ran.
/// axum::serve(listener, prometheus.router()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Prometheus {
    handle: PrometheusHandle,
}

impl Prometheus {
    /// Makes this the recorder of the process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] if it has another one.
    pub fn install() -> Result<Self, Error> {
        let failed = |error: metrics_exporter_prometheus::BuildError| {
            let message = "the metrics of this process are recorded by something else already";
            Error::new(ErrorKind::Configuration, message).with_source(error)
        };
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .and_then(|builder| {
                let transitions = Matcher::Full("cloacina_flush_transitions".to_owned());
                builder.set_buckets_for_metric(transitions, &TRANSITIONS)
            });
        Ok(Self { handle: builder.and_then(PrometheusBuilder::install_recorder).map_err(failed)? })
    }

    /// All that was counted, as text.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// A router with the one route `/metrics`, which asks nobody who they are.
    pub fn router(self) -> Router {
        let metrics =
            async move || ([(CONTENT_TYPE, "text/plain; version=0.0.4")], self.render()).into_response();
        Router::new().route("/metrics", get(metrics))
    }
}
