//! Actions on all executions of a filter, which go on while nobody watches.
//!
//! They are worked off by this process. If it stops, what was done is done; the same action once more goes on
//! with the rest, because what is done does not match any more or refuses.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloacina::rerun::From as RerunFrom;
use cloacina::{BulkReport, Error, ErrorKind, ExecutionFilter, Runner};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::time::now;
use uuid::Uuid;

/// How many are remembered after they ended.
const REMEMBERED: usize = 100;

/// How many of a tenant are under way at most.
const MOST_OF_A_TENANT: usize = 4;

/// What is done to each execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BulkAction {
    Cancel,
    Pause,
    Resume,
    RerunFailed,
    RerunFromStart,
    RerunFromTask(String),
}

impl BulkAction {
    /// Its name.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::RerunFailed | Self::RerunFromStart | Self::RerunFromTask(_) => "rerun",
        }
    }
}

/// How far an action is.
#[derive(Debug, Clone)]
pub(crate) struct BulkState {
    pub(crate) id: Uuid,
    pub(crate) tenant: String,
    pub(crate) action: BulkAction,
    /// Who does it.
    pub(crate) by: String,
    /// Why, in that person's words.
    pub(crate) reason: Option<String>,
    pub(crate) begun_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) matched: u64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// Why it could not be done to some: the first hundred.
    pub(crate) errors: Vec<(Uuid, String)>,
    /// Why it ended early.
    pub(crate) error: Option<String>,
}

impl BulkState {
    fn count(&mut self, report: &BulkReport) {
        (self.matched, self.done, self.failed) = (report.matched, report.done, report.failed);
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Bulks {
    all: Mutex<BTreeMap<Uuid, (BulkState, AbortHandle)>>,
}

/// What is wanted of one.
#[derive(Debug, Clone)]
pub(crate) struct BulkOrder {
    pub(crate) action: BulkAction,
    pub(crate) filter: ExecutionFilter,
    /// To so many executions in a second at most.
    pub(crate) pace: Option<u32>,
    pub(crate) by: String,
    pub(crate) reason: Option<String>,
}

/// How many executions an action would be done to.
pub(crate) async fn dry_run(runner: &Runner, order: &BulkOrder) -> Result<u64, Error> {
    let filter = order.filter.clone();
    match &order.action {
        BulkAction::Cancel => runner.cancel_many(filter).dry_run().await,
        BulkAction::Pause => runner.pause_many(filter).dry_run().await,
        BulkAction::Resume => runner.resume_many(filter).dry_run().await,
        BulkAction::RerunFailed => runner.rerun_many(filter, RerunFrom::Failed).dry_run().await,
        BulkAction::RerunFromStart => runner.rerun_many(filter, RerunFrom::Start).dry_run().await,
        BulkAction::RerunFromTask(task) => runner.rerun_many(filter, RerunFrom::Task(task)).dry_run().await,
    }
}

impl Bulks {
    /// Begins one.
    pub(crate) fn begin(
        self: &Arc<Self>,
        tenant: &str,
        runner: Runner,
        order: BulkOrder,
    ) -> Result<BulkState, Error> {
        let mut all = self.all.lock();
        let under_way = all.values().filter(|(state, _)| state.tenant == tenant && state.ended_at.is_none());
        if under_way.count() >= MOST_OF_A_TENANT {
            let message = format!(
                "{MOST_OF_A_TENANT} actions on many executions of tenant `{tenant}` are under way, the most: wait for one"
            );
            return Err(Error::new(ErrorKind::Limit, message));
        }
        let state = BulkState {
            id: Uuid::now_v7(),
            tenant: tenant.to_owned(),
            action: order.action.clone(),
            by: order.by.clone(),
            reason: order.reason.clone(),
            begun_at: now(),
            ended_at: None,
            matched: 0,
            done: 0,
            failed: 0,
            errors: Vec::new(),
            error: None,
        };
        let id = state.id;
        let work = tokio::spawn(work(Arc::clone(self), id, runner, order));
        all.insert(id, (state.clone(), work.abort_handle()));
        let ended: Vec<Uuid> =
            all.iter().filter(|(_, (state, _))| state.ended_at.is_some()).map(|(id, _)| *id).collect();
        for id in ended.iter().take(ended.len().saturating_sub(REMEMBERED)) {
            all.remove(id);
        }
        Ok(state)
    }

    /// One of a tenant.
    pub(crate) fn get(&self, tenant: &str, id: Uuid) -> Option<BulkState> {
        let all = self.all.lock();
        all.get(&id).map(|(state, _)| state).filter(|state| state.tenant == tenant).cloned()
    }

    /// Those of a tenant, the newest first.
    pub(crate) fn list(&self, tenant: &str) -> Vec<BulkState> {
        let all = self.all.lock();
        all.values().rev().map(|(state, _)| state).filter(|state| state.tenant == tenant).cloned().collect()
    }

    /// Stops one. What was done is done.
    pub(crate) fn stop(&self, tenant: &str, id: Uuid) -> bool {
        let mut all = self.all.lock();
        let Some((state, work)) = all.get_mut(&id).filter(|(state, _)| state.tenant == tenant) else {
            return false;
        };
        if state.ended_at.is_none() {
            work.abort();
            state.ended_at = Some(now());
            state.error = Some("it was stopped".to_owned());
        }
        true
    }

    fn change(&self, id: Uuid, change: impl FnOnce(&mut BulkState)) {
        if let Some((state, _)) = self.all.lock().get_mut(&id).filter(|(state, _)| state.ended_at.is_none()) {
            change(state);
        }
    }
}

async fn work(bulks: Arc<Bulks>, id: Uuid, runner: Runner, order: BulkOrder) {
    let BulkOrder { action, filter, pace, .. } = order;
    let mut bulk = match &action {
        BulkAction::Cancel => runner.cancel_many(filter),
        BulkAction::Pause => runner.pause_many(filter),
        BulkAction::Resume => runner.resume_many(filter),
        BulkAction::RerunFailed => runner.rerun_many(filter, RerunFrom::Failed),
        BulkAction::RerunFromStart => runner.rerun_many(filter, RerunFrom::Start),
        BulkAction::RerunFromTask(task) => runner.rerun_many(filter, RerunFrom::Task(task)),
    };
    if let Some(pace) = pace {
        bulk = bulk.pace(pace);
    }
    let told = bulk.on_progress(|report| bulks.change(id, |state| state.count(report))).send().await;
    bulks.change(id, |state| {
        state.ended_at = Some(now());
        match told {
            Ok(report) => {
                state.count(&report);
                state.errors = report.errors.into_iter().map(|(id, error)| (id, error.to_string())).collect();
            }
            Err(error) => state.error = Some(crate::Problem::from(error).detail().to_owned()),
        }
    });
}
