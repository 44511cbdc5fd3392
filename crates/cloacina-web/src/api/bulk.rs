//! Actions on all executions of a filter.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::executions::Whence;
use super::input::{FilterAsked, InPath, Json, id_of};
use super::model::Page;
use crate::Problem;
use crate::bulk::{BulkAction, BulkOrder, BulkState, dry_run};
use crate::permit::{Control, Permit, View};
use crate::routes::{Doc, Routes};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .post(
            "/v1/tenants/{tenant}/bulk",
            begin,
            Doc::new("beginBulk", "Cancel, pause, resume or rerun all executions of a filter")
                .description(
                    "This process works them off, at the pace that is asked for. If it stops, what was done is done, and the same \
                     request goes on with the rest.",
                )
                .body::<BulkBody>()
                .answers::<DryRun>("200", "With `dry_run`: how many there are")
                .answers::<BulkView>("202", "It has begun"),
        )
        .get(
            "/v1/tenants/{tenant}/bulk",
            list,
            Doc::new("listBulks", "List such actions, the newest first").answers_page::<BulkView>("All that are known"),
        )
        .get(
            "/v1/tenants/{tenant}/bulk/{bulk}",
            get,
            Doc::new("getBulk", "Say how far such an action is").answers::<BulkView>("200", "How far it is"),
        )
        .post(
            "/v1/tenants/{tenant}/bulk/{bulk}/stop",
            stop,
            Doc::new("stopBulk", "Stop such an action; what was done is done").answers_nothing("204", "It is stopped"),
        )
}

/// What is done.
#[derive(Deserialize, ToSchema, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum BulkVerb {
    /// Those that are not over are cancelled.
    Cancel,
    /// Those that are not over are paused.
    Pause,
    /// Those that are paused go on.
    Resume,
    /// Those that are over and were not rerun are run again.
    Rerun,
}

/// An action on many executions.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BulkBody {
    /// What is done.
    action: BulkVerb,
    /// To which executions: at least one of its fields is needed.
    filter: FilterAsked,
    /// With `rerun`: from where.
    #[serde(default)]
    from: Whence,
    /// With `"from": "task"`: from which task.
    task: Option<String>,
    /// To so many in a second at most.
    pace: Option<u32>,
    /// Only says how many there are.
    #[serde(default)]
    dry_run: bool,
    /// Why, in a person's words.
    reason: Option<String>,
}

/// What an action would be done to.
#[derive(Serialize, ToSchema)]
struct DryRun {
    /// How many executions.
    would_match: u64,
}

/// How far an action is.
#[derive(Serialize, ToSchema)]
struct BulkView {
    /// Its id.
    id: Uuid,
    /// What is done.
    action: &'static str,
    /// Who does it.
    by: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    begun_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// How many executions were met.
    matched: u64,
    /// With how many it was done.
    done: u64,
    /// With how many it could not be done.
    failed: u64,
    /// Why not: the first hundred, once it has ended.
    errors: Vec<BulkError>,
    /// Why it ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Why it could not be done to an execution.
#[derive(Serialize, ToSchema)]
struct BulkError {
    /// The execution.
    execution: Uuid,
    /// Why.
    detail: String,
}

impl From<BulkState> for BulkView {
    fn from(state: BulkState) -> Self {
        let errors = state.errors.into_iter().map(|(execution, detail)| BulkError { execution, detail });
        Self {
            id: state.id,
            action: state.action.as_str(),
            by: state.by,
            reason: state.reason,
            begun_at: state.begun_at,
            ended_at: state.ended_at,
            matched: state.matched,
            done: state.done,
            failed: state.failed,
            errors: errors.collect(),
            error: state.error,
        }
    }
}

async fn begin(permit: Permit<Control>, Json(body): Json<BulkBody>) -> Result<Response, Problem> {
    let action = match (body.action, body.from, body.task) {
        (BulkVerb::Rerun, from, task) => {
            // What it says is checked as for one of them.
            from.from(task.as_deref())?;
            match (from, task) {
                (Whence::Task, Some(task)) => BulkAction::RerunFromTask(task),
                (Whence::Start, _) => BulkAction::RerunFromStart,
                _ => BulkAction::RerunFailed,
            }
        }
        (_, Whence::Failed, None) => match body.action {
            BulkVerb::Cancel => BulkAction::Cancel,
            BulkVerb::Pause => BulkAction::Pause,
            _ => BulkAction::Resume,
        },
        _ => return Err(Problem::bad_request("`from` and `task` go with the action `rerun` only")),
    };
    let filter = body.filter.filter()?;
    if filter == cloacina::ExecutionFilter::all() {
        return Err(Problem::bad_request(
            "the filter is empty: an action on many executions has to say on which",
        ));
    }
    let by = permit.principal.name().to_owned();
    let engine = permit.because(body.reason.as_deref());
    let order = BulkOrder { action, filter, pace: body.pace, by, reason: body.reason };
    let runner = engine.runner(permit.tenant()).await?;
    if body.dry_run {
        let would_match = dry_run(&runner, &order).await?;
        return Ok(axum::Json(DryRun { would_match }).into_response());
    }
    let state = permit.web().bulks.begin(permit.tenant(), runner, order)?;
    Ok((StatusCode::ACCEPTED, axum::Json(BulkView::from(state))).into_response())
}

async fn list(permit: Permit<View>) -> Result<axum::Json<Page<BulkView>>, Problem> {
    let items = permit.web().bulks.list(permit.tenant()).into_iter().map(BulkView::from).collect();
    Ok(axum::Json(Page { items, next: None }))
}

/// Such an action in the path.
#[derive(Deserialize)]
struct BulkInPath {
    bulk: String,
}

impl BulkInPath {
    fn not_found(&self) -> Problem {
        Problem::not_found(
            "no such action on many executions is known here; they are forgotten when the service restarts",
        )
    }
}

async fn get(
    permit: Permit<View>,
    InPath(path): InPath<BulkInPath>,
) -> Result<axum::Json<BulkView>, Problem> {
    let state =
        permit.web().bulks.get(permit.tenant(), id_of(&path.bulk)?).ok_or_else(|| path.not_found())?;
    Ok(axum::Json(state.into()))
}

async fn stop(permit: Permit<Control>, InPath(path): InPath<BulkInPath>) -> Result<StatusCode, Problem> {
    match permit.web().bulks.stop(permit.tenant(), id_of(&path.bulk)?) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(path.not_found()),
    }
}
