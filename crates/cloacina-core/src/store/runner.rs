//! Runners as they are recorded.

use std::sync::Arc;
use std::time::Duration;

use super::{Place, WorkflowKey};
use crate::id::{ExecutionId, RunnerId, TenantId};
use crate::lease::ProcessIdentity;

/// A runner to be recorded.
#[derive(Debug, Clone)]
pub struct RunnerRegistration {
    /// Its id.
    pub id: RunnerId,
    /// How long others wait for a heartbeat before they declare it dead.
    pub lease: Duration,
    /// Which process it is, where that can be told.
    pub process: Option<ProcessIdentity>,
    /// What people call its host, for the log.
    pub host_name: Option<String>,
    /// What it can run.
    pub workflows: Arc<[WorkflowKey]>,
}

/// Whether a runner may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It may.
    Live,
    /// Somebody has declared it dead; its id is worth nothing any more.
    Dead,
}

/// A runner as others see it.
#[derive(Debug, Clone)]
pub struct RunnerRecord {
    /// Its id.
    pub id: RunnerId,
    /// Whose it is, if it is logged in as a tenant; what it says of itself is then the tenant's word. `None`
    /// is the operator's.
    pub tenant: Option<TenantId>,
    /// Whether it was declared dead.
    pub liveness: Liveness,
    /// Its count of heartbeats.
    pub beat: i64,
    /// How long to wait for the next one.
    pub lease: Duration,
    /// Which process it is, where that could be told.
    pub process: Option<ProcessIdentity>,
    /// What people call its host.
    pub host_name: Option<String>,
    /// What it can run.
    pub workflows: Vec<WorkflowKey>,
}

/// A place whose tasks were taken back from a dead runner.
#[derive(Debug, Clone)]
pub struct RescuedPlace {
    /// Which.
    pub place: Place,
    /// The executions that had tasks running under the dead runner.
    pub executions: Vec<ExecutionId>,
    /// How many tasks these were.
    pub tasks: usize,
}
