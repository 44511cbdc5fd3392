//! Runners: the processes that work on a database.

use cloacina::RunnerInfo;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::model::Page;
use crate::Problem;
use crate::permit::{Own, Permit};
use crate::routes::{Doc, Routes};

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get(
        "/v1/tenants/{tenant}/runners",
        list,
        Doc::new("listRunners", "List the processes that work on the database of a tenant")
            .answers_page::<RunnerView>("All of them"),
    )
}

/// A runner: the engine of a process, at work on a database.
#[derive(Serialize, ToSchema)]
struct RunnerView {
    /// Its id.
    id: Uuid,
    /// Whether its heart beats; otherwise it was declared dead, and its work is taken back.
    is_live: bool,
    /// Whether it is logged in as a tenant; what it says of itself is then that tenant's word.
    is_tenants: bool,
    /// Its host.
    host: Option<String>,
    /// Its process id there.
    pid: Option<i32>,
    /// How long others wait for its next heartbeat, in milliseconds.
    lease_ms: u64,
    /// What it can run.
    workflows: Vec<WorkflowKeyView>,
}

/// A version of a workflow.
#[derive(Serialize, ToSchema)]
struct WorkflowKeyView {
    /// Its name.
    name: String,
    /// The fingerprint of the version, in hexadecimal.
    fingerprint: String,
}

impl From<RunnerInfo> for RunnerView {
    fn from(runner: RunnerInfo) -> Self {
        let workflows = runner.workflows.into_iter();
        Self {
            id: runner.id,
            is_live: runner.is_live,
            is_tenants: runner.is_tenants,
            host: runner.host,
            pid: runner.pid,
            lease_ms: u64::try_from(runner.lease.as_millis()).unwrap_or(u64::MAX),
            workflows: workflows
                .map(|(name, fingerprint)| WorkflowKeyView {
                    name,
                    fingerprint: format!("{fingerprint:016x}"),
                })
                .collect(),
        }
    }
}

async fn list(permit: Permit<Own>) -> Result<axum::Json<Page<RunnerView>>, Problem> {
    let runners = permit.runner().await?.runners().await?;
    Ok(axum::Json(Page { items: runners.into_iter().map(RunnerView::from).collect(), next: None }))
}
