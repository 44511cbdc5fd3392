//! A web service that runs workflows for its tenants.
//!
//! | | |
//! |---|---|
//! | `POST /tenants/{tenant_id}/workflows` | runs a workflow: `{"workflow_name": "…", "context": {…}}` |
//! | `GET /tenants/{tenant_id}/executions/{execution_id}` | how an execution is doing |
//!
//! Both answer `{"execution_id": "…", "status": "…"}`, or `{"error": {"code": "…", "message": "…"}}`. A
//! caller shows a token of its tenant, `Authorization: Bearer …`; the only way for a handler to a runner is
//! by [`Caller`], which has looked at it.

mod caller;
mod problem;
mod service;
mod tokens;

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, RawPathParams, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use cloacina::{Context, Error, Workflow, task, workflow};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use caller::Caller;
pub use problem::Problem;
pub use service::Service;
pub use tokens::Tokens;

/// How large a request may be. The engine's own limit on an input is 1 MiB.
const BODY: usize = 256 * 1024;

impl Service {
    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/tenants/{tenant_id}/workflows", post(execute_workflow))
            .route("/tenants/{tenant_id}/executions/{execution_id}", get(get_execution_status))
            .fallback(async || Problem::new(StatusCode::NOT_FOUND, "no_such_page", "there is nothing here"))
            .method_not_allowed_fallback(async || {
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this page has another method")
            })
            .layer(DefaultBodyLimit::max(BODY))
            .with_state(Arc::new(self))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkflowRequest {
    workflow_name: String,
    context: serde_json::Value,
}

#[derive(Serialize)]
struct ExecutionResponse {
    execution_id: Uuid,
    status: String,
}

/// 200 if it ended, however it did, and 202 if it goes on.
///
/// With an `Idempotency-Key` a request that is sent again runs nothing again.
async fn execute_workflow(
    caller: Caller,
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    request: Result<Json<WorkflowRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<ExecutionResponse>), Problem> {
    let Json(request) = request?;
    // Whose work it is says the token, and not the body.
    let context = Context::from_value(request.context).map_err(Error::from)?;
    let context = context.with("tenant_id", caller.tenant());

    let mut submission = caller.runner().submit(request.workflow_name).input(context);
    if let Some(key) = headers.get("idempotency-key") {
        let key = key.to_str().map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "idempotency_key", "the idempotency key is not ASCII")
        })?;
        submission = submission.idempotency_key(key);
    }
    let execution = submission.send().await?;
    // If the caller goes away now, nothing is cancelled: what is recorded is run to its end.
    let execution_id = execution.execution_id;
    let (code, status) = match execution.wait_for(service.patience).await? {
        Some(result) => (StatusCode::OK, result.status),
        None => (StatusCode::ACCEPTED, execution.get_status().await?),
    };
    Ok((code, Json(ExecutionResponse { execution_id, status: format!("{status:?}") })))
}

async fn get_execution_status(
    caller: Caller,
    parameters: RawPathParams,
) -> Result<Json<ExecutionResponse>, Problem> {
    let id = parameters.iter().find(|(name, _)| *name == "execution_id").map(|(_, id)| id);
    let execution_id: Uuid = id.and_then(|id| id.parse().ok()).ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "execution_id", "the id of an execution is a UUID")
    })?;
    let status = caller.runner().get_execution_status(execution_id).await?;
    Ok(Json(ExecutionResponse { execution_id, status: format!("{status:?}") }))
}

#[task(id = "add_up")]
async fn add_up(context: &mut Context) -> Result<(), Error> {
    let amounts: Vec<i64> = context.get("amounts").unwrap_or_default();
    context.set("total", amounts.iter().sum::<i64>());
    Ok(())
}

#[workflow]
fn order_total() -> Workflow {
    Workflow::builder("order_total").description("Adds up the amounts of an order").task(add_up).build()
}
