//! What is asked of all tenants at once, without opening them.

use cloacina::Cursor;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::input::{Asked, FilterAsked, id_of, limit_of};
use super::model::{ExecutionSummary, WaitView};
use crate::Problem;
use crate::permit::{Permit, ViewAll};
use crate::routes::{Doc, Routes};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/executions",
            executions,
            Doc::new("listAllExecutions", "List executions of all tenants, the newest first")
                .query::<ExecutionsAsked>()
                .mentions::<ExecutionOfTenant>()
                .answers::<Everywhere<ExecutionOfTenant>>("200", "A part of the list"),
        )
        .get(
            "/v1/waits",
            waits,
            Doc::new("listAllWaits", "List what executions of all tenants wait for, tenant after tenant")
                .query::<WaitsAsked>()
                .mentions::<WaitOfTenant>()
                .answers::<Everywhere<WaitOfTenant>>("200", "A part of the list"),
        )
}

/// An execution, and whose it is.
#[derive(Serialize, ToSchema)]
struct ExecutionOfTenant {
    /// The tenant.
    tenant: String,
    #[serde(flatten)]
    execution: ExecutionSummary,
}

/// What an execution waits for, and whose it is.
#[derive(Serialize, ToSchema)]
struct WaitOfTenant {
    /// The tenant.
    tenant: String,
    #[serde(flatten)]
    wait: WaitView,
}

/// A part of a list over all tenants.
#[derive(Serialize, ToSchema)]
struct Everywhere<T> {
    /// What is in this part.
    items: Vec<T>,
    /// The `after` of the part that follows, if there may be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// The tenants whose places could not be read, and why.
    unreadable: Vec<Unreadable>,
}

/// A tenant whose place could not be read.
#[derive(Serialize, ToSchema)]
pub(super) struct Unreadable {
    /// Which one.
    tenant: String,
    /// Why.
    problem: Problem,
}

pub(super) fn unreadable(tenants: Vec<(String, cloacina::Error)>) -> Vec<Unreadable> {
    tenants.into_iter().map(|(tenant, error)| Unreadable { tenant, problem: error.into() }).collect()
}

/// Which part of the executions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExecutionsAsked {
    /// In these states, with commas between them: `failed,cancelled`.
    status: Option<String>,
    /// Of this workflow.
    workflow: Option<String>,
    /// With this tag.
    tag: Option<String>,
    /// Whether another execution took their places by a rerun.
    superseded: Option<bool>,
    /// Recorded at this time or later: a time, or how long ago it was, as `1h`.
    since: Option<String>,
    /// Also those of the engine's own workflows: the actions on many executions.
    of_engine: Option<bool>,
    /// Behind this one: the `next` of the part before.
    after: Option<String>,
    /// At most so many: 100 if nothing is said, 1,000 at most.
    limit: Option<usize>,
}

async fn executions(
    permit: Permit<ViewAll>,
    Asked(asked): Asked<ExecutionsAsked>,
) -> Result<axum::Json<Everywhere<ExecutionOfTenant>>, Problem> {
    let ExecutionsAsked { status, workflow, tag, superseded, since, of_engine, after, limit } = asked;
    let filter = FilterAsked { status, workflow, tag, superseded, since, of_engine }.filter()?;
    let (after, limit) = (after.map(|after| id_of(&after)).transpose()?, limit_of(limit)?);
    let across = permit.engine().executions(filter, after, limit).await?;
    let next = across.found.last().filter(|_| across.found.len() >= limit);
    let next = next.map(|(_, last)| last.execution_id.to_string());
    let payloads = permit.sees_payloads();
    let items = across.found.into_iter();
    let items = items.map(|(tenant, execution)| {
        let execution = ExecutionSummary::of(execution, payloads);
        ExecutionOfTenant { tenant, execution }
    });
    Ok(axum::Json(Everywhere { items: items.collect(), next, unreadable: unreadable(across.unreadable) }))
}

/// Which part of the waits.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WaitsAsked {
    /// Only those that ask a person: the inbox of all tenants.
    #[serde(default)]
    asking: bool,
    /// Behind this one: the `next` of the part before.
    after: Option<String>,
    /// At most so many: 100 if nothing is said, 1,000 at most.
    limit: Option<usize>,
}

async fn waits(
    permit: Permit<ViewAll>,
    Asked(asked): Asked<WaitsAsked>,
) -> Result<axum::Json<Everywhere<WaitOfTenant>>, Problem> {
    let limit = limit_of(asked.limit)?;
    let after = asked.after.as_deref().map(behind).transpose()?;
    let after = after.as_ref().map(|(tenant, cursor)| (tenant.as_str(), *cursor));
    let across = permit.engine().waits(asked.asking, after, limit).await?;
    let next = across.found.last().filter(|_| across.found.len() >= limit);
    let next = next.map(|(tenant, last)| format!("{tenant}:{}", last.cursor()));
    let payloads = permit.sees_payloads();
    let items = across.found.into_iter();
    let items = items.map(|(tenant, wait)| {
        let wait = WaitView::of(wait, payloads);
        WaitOfTenant { tenant, wait }
    });
    Ok(axum::Json(Everywhere { items: items.collect(), next, unreadable: unreadable(across.unreadable) }))
}

/// A tenant, and a place in the list of its waits.
fn behind(text: &str) -> Result<(String, Cursor), Problem> {
    let shown: String = text.chars().take(60).collect();
    let (tenant, cursor) = text
        .rsplit_once(':')
        .ok_or_else(|| Problem::bad_request(format!("`{}` is no place in a list", shown.escape_debug())))?;
    Ok((tenant.to_owned(), cursor.parse()?))
}
