//! A web service that runs workflows for its tenants.
//!
//! | | | role |
//! |---|---|---|
//! | `POST /tenants/{tenant_id}/workflows` | runs a workflow: `{"workflow_name": "…", "context": {…}}` | developer |
//! | `GET /tenants/{tenant_id}/executions` | lists executions, the newest first: `?status=failed&workflow=order` | viewer |
//! | `GET /tenants/{tenant_id}/executions/{execution_id}` | how an execution is doing, task by task | viewer |
//! | `POST /tenants/{tenant_id}/executions/{execution_id}/cancel` | cancels it | operator |
//! | `POST /tenants/{tenant_id}/executions/{execution_id}/rerun` | runs it again from where it failed | operator |
//! | `/engine` | the pages of the engine, and its whole HTTP interface | each its own |
//!
//! A caller shows a key with a role in the tenant, `Authorization: Bearer …`; the only way for a handler to a
//! runner is by [`Caller`], which asks for that role. An error is `{"error": {"code": "…", "message": "…"}}`.

mod caller;
mod problem;
mod service;
mod workflows;

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use cloacina::rerun::From;
use cloacina::{Context, Error, Execution, ExecutionFilter, ExecutionStatus, TaskState, Timestamp, Uuid};
use cloacina_web::Role;
use serde::{Deserialize, Serialize};

pub use caller::Caller;
pub use problem::Problem;
pub use service::Service;

/// The tenant, which [`Caller`] has seen to, and the id of an execution.
type Id = Result<Path<(String, Uuid)>, PathRejection>;

/// How large a request may be. The engine's own limit on an input is 1 MiB.
const BODY: usize = 256 * 1024;

/// How many executions a list has, and the most that may be asked for.
const PAGE: usize = 50;
const LARGEST_PAGE: usize = 500;

impl Service {
    /// The routes.
    pub fn router(self) -> Router {
        let engine = cloacina_web::router(self.manager.clone(), self.keys.clone());
        Router::new()
            .route("/tenants/{tenant_id}/workflows", post(execute_workflow))
            .route("/tenants/{tenant_id}/executions", get(list_executions))
            .route("/tenants/{tenant_id}/executions/{execution_id}", get(get_execution))
            .route("/tenants/{tenant_id}/executions/{execution_id}/cancel", post(cancel_execution))
            .route("/tenants/{tenant_id}/executions/{execution_id}/rerun", post(rerun_execution))
            .fallback(async || Problem::new(StatusCode::NOT_FOUND, "no_such_page", "there is nothing here"))
            .method_not_allowed_fallback(async || {
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this page has another method")
            })
            .layer(DefaultBodyLimit::max(BODY))
            .with_state(Arc::new(self))
            .nest("/engine", engine)
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
    status: ExecutionStatus,
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
    let runner = caller.runner(Role::Developer).await?;
    let Json(request) = request?;
    // Whose work it is says the key, and not the body.
    let context = Context::from_value(request.context).map_err(Error::from)?;
    let context = context.with("tenant_id", caller.tenant());

    let mut submission = runner.submit(request.workflow_name).input(context);
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
    Ok((code, Json(ExecutionResponse { execution_id, status })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    status: Option<ExecutionStatus>,
    workflow: Option<String>,
    /// The `next` of the page before.
    before: Option<Uuid>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Page {
    executions: Vec<Listed>,
    next: Option<Uuid>,
}

#[derive(Serialize)]
struct Listed {
    execution_id: Uuid,
    workflow_name: String,
    status: ExecutionStatus,
    start_time: Timestamp,
    end_time: Option<Timestamp>,
    superseded_by: Option<Uuid>,
}

async fn list_executions(
    caller: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Page>, Problem> {
    let runner = caller.runner(Role::Viewer).await?;
    let Query(wanted) = wanted?;
    let mut filter = ExecutionFilter::all();
    if let Some(status) = wanted.status {
        filter = filter.status(status);
    }
    if let Some(workflow) = wanted.workflow {
        filter = filter.workflow(workflow);
    }
    let limit = wanted.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let found = runner.list(filter, wanted.before, limit).await?;
    // A page that is full may be the last one; then the next is empty.
    let next = found.get(limit - 1).map(|last| last.execution_id);
    let executions = found
        .into_iter()
        .map(|execution| Listed {
            execution_id: execution.execution_id,
            workflow_name: execution.workflow_name,
            status: execution.status,
            start_time: execution.start_time,
            end_time: execution.end_time,
            superseded_by: execution.superseded_by,
        })
        .collect();
    Ok(Json(Page { executions, next }))
}

#[derive(Serialize)]
struct ProgressResponse {
    execution_id: Uuid,
    workflow_name: String,
    status: ExecutionStatus,
    /// How many of the tasks are over.
    done: usize,
    tasks: Vec<TaskProgress>,
    /// Why it failed, for whoever may see payloads: an error may repeat some.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    superseded_by: Option<Uuid>,
}

#[derive(Serialize)]
struct TaskProgress {
    id: String,
    state: TaskState,
    attempts: u32,
}

async fn get_execution(caller: Caller, id: Id) -> Result<Json<ProgressResponse>, Problem> {
    let runner = caller.runner(Role::Viewer).await?;
    let Path((_, id)) = id?;
    let execution = runner.get_execution(id).await?;
    let tasks: Vec<TaskProgress> = execution
        .task_results
        .into_iter()
        .map(|task| TaskProgress { id: task.task_id, state: task.state, attempts: task.attempts })
        .collect();
    Ok(Json(ProgressResponse {
        execution_id: execution.execution_id,
        workflow_name: execution.workflow_name,
        status: execution.status,
        done: tasks.iter().filter(|task| task.state.is_terminal()).count(),
        tasks,
        error: execution.error_message.filter(|_| caller.sees_payloads()),
        superseded_by: execution.superseded_by,
    }))
}

/// Cancelling what is cancelled changes nothing.
async fn cancel_execution(caller: Caller, id: Id) -> Result<Json<ExecutionResponse>, Problem> {
    let runner = caller.runner(Role::Operator).await?;
    let Path((_, id)) = id?;
    let execution = runner.execution(id);
    execution.cancel().await?;
    state_of(&execution).await
}

/// A new execution takes over what completed and runs the rest.
async fn rerun_execution(caller: Caller, id: Id) -> Result<(StatusCode, Json<ExecutionResponse>), Problem> {
    let runner = caller.runner(Role::Operator).await?;
    let Path((_, id)) = id?;
    let execution = runner.execution(id);
    let again = execution.rerun(From::Failed).send().await?;
    Ok((StatusCode::ACCEPTED, state_of(&again).await?))
}

async fn state_of(execution: &Execution) -> Result<Json<ExecutionResponse>, Problem> {
    let status = execution.get_status().await?;
    Ok(Json(ExecutionResponse { execution_id: execution.execution_id, status }))
}
