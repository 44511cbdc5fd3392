//! Actions on all executions of a filter.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cloacina::BulkReport;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::everywhere::{self, Unreadable};
use super::executions::Whence;
use super::input::{FilterAsked, InPath, Json, id_of};
use super::model::Page;
use crate::Problem;
use crate::bulk::{BulkAction, BulkOrder, begin as begin_one, stop as stop_one, tenants_of};
use crate::permit::{Control, ControlAll, Permit, View};
use crate::routes::{Doc, Routes};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .post(
            "/v1/tenants/{tenant}/bulk",
            begin,
            Doc::new("beginBulk", "Cancel, pause, resume or rerun all executions of a filter")
                .description(
                    "A runner of the tenant works them off, at the pace that is asked for: the action is an execution of the engine's \
                     own workflow `cloacina/bulk`, and goes on whatever becomes of this service.",
                )
                .body::<BulkBody>()
                .answers::<DryRun>("200", "With `dry_run`: how many there are")
                .answers::<BulkView>("202", "It has begun"),
        )
        .post(
            "/v1/bulk",
            begin_everywhere,
            Doc::new("beginBulkEverywhere", "Cancel, pause, resume or rerun all executions of a filter in all tenants")
                .description("One action is begun in each tenant that has such executions; the pace is that of each.")
                .body::<BulkBody>()
                .mentions::<BulkOfTenant>()
                .answers::<DryRun>("200", "With `dry_run`: how many there are")
                .answers::<BegunEverywhere>("202", "They have begun"),
        )
        .get(
            "/v1/tenants/{tenant}/bulk",
            list,
            Doc::new("listBulks", "List such actions, the newest first").answers_page::<BulkView>("The newest hundred"),
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

/// How many are listed.
const LISTED: usize = 100;

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
    /// The state of the execution that does it: `pending` as long as no runner has begun, `cancelled` if it
    /// was stopped.
    status: &'static str,
    /// How many executions were met.
    matched: u64,
    /// With how many it was done.
    done: u64,
    /// With how many it could not be done.
    failed: u64,
    /// Why not: the first hundred.
    errors: Vec<BulkError>,
    /// Why it ended early, or waits.
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

/// An action, and in which tenant.
#[derive(Serialize, ToSchema)]
struct BulkOfTenant {
    /// The tenant.
    tenant: String,
    #[serde(flatten)]
    bulk: BulkView,
}

/// The actions that have begun in all tenants.
#[derive(Serialize, ToSchema)]
struct BegunEverywhere {
    /// One for each tenant that has such executions.
    begun: Vec<BulkOfTenant>,
    /// The tenants in which none could begin, or that could not be read, and why.
    unreadable: Vec<Unreadable>,
}

impl From<BulkReport> for BulkView {
    fn from(report: BulkReport) -> Self {
        let errors = report.errors.into_iter().map(|(execution, detail)| BulkError { execution, detail });
        let (by, reason) = report.actor.map(|actor| (actor.name, actor.reason)).unwrap_or_default();
        Self {
            id: report.execution_id,
            action: report.action.as_str(),
            by,
            reason,
            begun_at: report.begun_at,
            ended_at: report.ended_at,
            status: report.status.as_str(),
            matched: report.matched,
            done: report.done,
            failed: report.failed,
            errors: errors.collect(),
            error: report.error,
        }
    }
}

/// What is asked for, if it may be.
fn order_of(body: BulkBody) -> Result<BulkOrder, Problem> {
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
    Ok(BulkOrder { action, filter, pace: body.pace })
}

async fn begin(permit: Permit<Control>, Json(body): Json<BulkBody>) -> Result<Response, Problem> {
    let (is_dry, engine) = (body.dry_run, permit.because(body.reason.as_deref()));
    let order = order_of(body)?;
    let runner = engine.runner(permit.tenant()).await?;
    if is_dry {
        let would_match = order.of(&runner).dry_run().await?;
        return Ok(axum::Json(DryRun { would_match }).into_response());
    }
    let begun = begin_one(&runner, &order).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(BulkView::from(begun))).into_response())
}

async fn begin_everywhere(
    permit: Permit<ControlAll>,
    Json(body): Json<BulkBody>,
) -> Result<Response, Problem> {
    let (is_dry, engine) = (body.dry_run, permit.because(body.reason.as_deref()));
    let order = order_of(body)?;
    let (tenants, mut unreadable) = tenants_of(&engine, &order).await?;
    if is_dry {
        return Ok(axum::Json(DryRun { would_match: tenants.values().sum() }).into_response());
    }
    let mut begun = Vec::new();
    for tenant in tenants.into_keys() {
        let started = async { begin_one(&engine.runner(&tenant).await?, &order).await };
        match started.await {
            Ok(report) => begun.push(BulkOfTenant { tenant, bulk: report.into() }),
            Err(error) => {
                unreadable.insert(tenant, error);
            }
        }
    }
    let unreadable = everywhere::unreadable(unreadable.into_iter().collect());
    Ok((StatusCode::ACCEPTED, axum::Json(BegunEverywhere { begun, unreadable })).into_response())
}

async fn list(permit: Permit<View>) -> Result<axum::Json<Page<BulkView>>, Problem> {
    let reports = permit.runner().await?.bulk_runs(LISTED).await?;
    Ok(axum::Json(Page { items: reports.into_iter().map(BulkView::from).collect(), next: None }))
}

/// Such an action in the path.
#[derive(Deserialize)]
struct BulkInPath {
    bulk: String,
}

async fn get(
    permit: Permit<View>,
    InPath(path): InPath<BulkInPath>,
) -> Result<axum::Json<BulkView>, Problem> {
    let report = permit.runner().await?.bulk_run(id_of(&path.bulk)?).report().await?;
    Ok(axum::Json(report.into()))
}

async fn stop(permit: Permit<Control>, InPath(path): InPath<BulkInPath>) -> Result<StatusCode, Problem> {
    stop_one(&permit.runner().await?, id_of(&path.bulk)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
