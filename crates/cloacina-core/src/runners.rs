//! What users see of the runners of a database.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::error::Error;
use crate::runner::PlaceRunner;
use crate::store::{Liveness, RunnerRecord};

/// A runner: the engine of a process, at work on a database.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunnerInfo {
    /// Its id.
    pub id: Uuid,
    /// Whether its heart beats; otherwise it was declared dead, and its work is taken back.
    pub is_live: bool,
    /// Whether it is logged in as a tenant; what it says of itself is then that tenant's word.
    pub is_tenants: bool,
    /// What people call its host.
    pub host: Option<String>,
    /// Its process id there.
    pub pid: Option<i32>,
    /// How long others wait for its next heartbeat before they declare it dead.
    pub lease: Duration,
    /// How often its heart has beaten.
    pub beats: i64,
    /// What it can run: names of workflows, each with the fingerprint of its version.
    pub workflows: Vec<(String, i64)>,
}

impl From<RunnerRecord> for RunnerInfo {
    fn from(record: RunnerRecord) -> Self {
        Self {
            id: record.id.into(),
            is_live: record.liveness == Liveness::Live,
            is_tenants: record.tenant.is_some(),
            host: record.host_name,
            pid: record.process.map(|process| process.pid),
            lease: record.lease,
            beats: record.beat,
            workflows: record
                .workflows
                .into_iter()
                .map(|key| (key.name.to_string(), key.fingerprint.0))
                .collect(),
        }
    }
}

impl PlaceRunner {
    /// The runners of this place's database: the processes that work on it, or did until a moment ago.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn runners(&self) -> Result<Vec<RunnerInfo>, Error> {
        let hub = self.open_hub()?;
        let store = Arc::clone(hub.store());
        let records = hub.ask(async move { store.runner_list().await }).await?;
        Ok(records.into_iter().map(RunnerInfo::from).collect())
    }
}
