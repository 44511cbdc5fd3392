//! The service: customers, invoices and payments over HTTP, with the engine's pages and metrics beside them.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{post, put};
use axum::{Json, Router};
use cloacina::tenants::TenantManager;
use cloacina::{ErrorKind, RunnerConfig};
use cloacina_web::{ApiKeys, Prometheus};
use invoices::{add, data, nightly, paid, workflows};

type Answer = Result<StatusCode, (StatusCode, String)>;

/// What a caller is told. A service would keep the words for its log.
fn refused(error: impl Into<anyhow::Error>) -> (StatusCode, String) {
    let error = error.into();
    let status = match error.downcast_ref::<cloacina::Error>().map(cloacina::Error::kind) {
        Some(ErrorKind::NotFound) => StatusCode::NOT_FOUND,
        Some(ErrorKind::Conflict) => StatusCode::CONFLICT,
        Some(ErrorKind::Limit) => StatusCode::TOO_MANY_REQUESTS,
        Some(ErrorKind::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    (status, format!("{error:#}"))
}

/// `PUT /customers/{customer}` with the customer's zone.
async fn customer(
    State(tenants): State<Arc<TenantManager>>,
    Path(name): Path<String>,
    zone: String,
) -> Answer {
    tenants.provision(&name).await.map_err(refused)?;
    let runner = tenants.runner(&name).await.map_err(refused)?;
    runner.schedules().put(nightly(zone.trim()).map_err(refused)?).await.map_err(refused)?;
    Ok(StatusCode::CREATED)
}

/// `PUT /customers/{customer}/invoices/{number}` with the cents.
async fn invoice(
    State(tenants): State<Arc<TenantManager>>,
    Path((name, id)): Path<(String, i32)>,
    Json(cents): Json<i64>,
) -> Answer {
    let runner = tenants.runner(&name).await.map_err(refused)?;
    add(&runner, id, cents).await.map_err(refused)?;
    Ok(StatusCode::CREATED)
}

/// `POST /customers/{customer}/payments/{number}/{key}` with the cents, from the bank.
async fn payment(
    State(tenants): State<Arc<TenantManager>>,
    Path((name, id, key)): Path<(String, i32, String)>,
    Json(cents): Json<i64>,
) -> Answer {
    let runner = tenants.runner(&name).await.map_err(refused)?;
    paid(&runner, id, cents, &key).await.map_err(|error| refused(cloacina::Error::from(error)))?;
    Ok(StatusCode::ACCEPTED)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().init();
    let metrics = Prometheus::install()?;
    let config =
        workflows().into_iter().fold(RunnerConfig::builder(), |config, workflow| config.workflow(workflow));
    let tenants = TenantManager::sqlite("./customers").config(config.build()).data(&data()?).build().await?;
    // List, cancel, rerun and everything else: pages and routes, for whoever has a key.
    let engine = cloacina_web::router(tenants.clone(), ApiKeys::new(tenants.keys()));
    let service = Router::new()
        .route("/customers/{customer}", put(customer))
        .route("/customers/{customer}/invoices/{number}", put(invoice))
        .route("/customers/{customer}/payments/{number}/{key}", post(payment))
        .with_state(Arc::new(tenants.clone()))
        .nest("/engine", engine)
        .merge(metrics.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    axum::serve(listener, service)
        .with_graceful_shutdown(async { tokio::signal::ctrl_c().await.unwrap_or_default() })
        .await?;
    tenants.shutdown_all().await?;
    Ok(())
}
