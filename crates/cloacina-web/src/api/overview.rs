//! How all tenants do, in few words.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::everywhere::{Unreadable, unreadable};
use super::model::Failure;
use crate::Problem;
use crate::overview::{self, OfWorkflow, Uses};
use crate::permit::{Permit, ViewAll};
use crate::routes::{Doc, Routes};

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get(
        "/v1/overview",
        get,
        Doc::new("getOverview", "Say how all tenants do")
            .description(
                "What failed of what was recorded in the last 24 hours, hour by hour, and which tenants use most. \
                 Nothing is counted for it: at most 1,000 executions that failed and 1,000 that are under way are \
                 read, the newest of all tenants.",
            )
            .answers::<OverviewView>("200", "How they do"),
    )
}

/// How all tenants do.
#[derive(Serialize, ToSchema)]
struct OverviewView {
    /// How many tenants there are.
    tenants: usize,
    /// How many executions failed, of those that were read.
    failed: u64,
    /// Whether more failed than were read.
    more_failed: bool,
    /// How many of them ended in each of the last 24 hours, the hour that is under way last.
    failed_per_hour: Vec<u64>,
    /// The same by workflow, the one that failed most often first.
    workflows: Vec<WorkflowFailures>,
    /// The tenants that use most.
    busiest: Vec<UsesView>,
    /// Whether more executions are under way than were read.
    more_under_way: bool,
    /// The tenants whose places could not be read, and why.
    unreadable: Vec<Unreadable>,
}

/// The failures of a workflow in all tenants.
#[derive(Serialize, ToSchema)]
struct WorkflowFailures {
    /// The workflow.
    workflow: String,
    /// How many executions failed.
    failed: u64,
    /// How many in each hour.
    failed_per_hour: Vec<u64>,
    /// In how many tenants.
    tenants: usize,
    /// The tenant of the one that was recorded last.
    last_tenant: String,
    /// Its id.
    last_execution: Uuid,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_ended_at: Option<Timestamp>,
    /// Its error.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<Failure>,
}

/// What a tenant uses.
#[derive(Serialize, ToSchema)]
struct UsesView {
    /// The tenant.
    tenant: String,
    /// How many of its executions are under way, of those that were read.
    under_way: u64,
    /// The bytes of its file, or of its tables when they were measured last.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

async fn get(permit: Permit<ViewAll>) -> Result<axum::Json<OverviewView>, Problem> {
    let (engine, kept) = (permit.engine(), &permit.web().kept);
    let tenants = engine.tenants().await?.len();
    let failures = Box::pin(overview::failures(engine)).await?;
    let busiest = Box::pin(overview::busiest(kept, engine)).await?;
    let sees = permit.sees_payloads();
    let of_workflow = |of: OfWorkflow<'_>| {
        let (tenant, last) = of.last;
        WorkflowFailures {
            workflow: of.workflow.to_owned(),
            failed: of.failed,
            failed_per_hour: of.hours.to_vec(),
            tenants: of.tenants.len(),
            last_tenant: tenant.to_owned(),
            last_execution: last.execution_id,
            last_ended_at: last.end_time,
            last_error: Failure::of(last.error_message.clone(), sees),
        }
    };
    let uses =
        |uses: &Uses| UsesView { tenant: uses.tenant.clone(), under_way: uses.under_way, bytes: uses.bytes };
    Ok(axum::Json(OverviewView {
        tenants,
        failed: failures.failed.found.len() as u64,
        more_failed: failures.are_more(),
        failed_per_hour: failures.hours().to_vec(),
        workflows: failures.workflows().into_iter().map(of_workflow).collect(),
        busiest: busiest.tenants.iter().map(uses).collect(),
        more_under_way: busiest.are_more,
        unreadable: unreadable(failures.failed.unreadable),
    }))
}
