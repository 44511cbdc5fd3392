//! Actions on all executions of a filter: the engine works them off, and keeps how far they are.

use std::collections::BTreeMap;

use cloacina::rerun::From as RerunFrom;
use cloacina::{BULK, Bulk, BulkReport, Error, ErrorKind, ExecutionFilter, Runner, Timestamp, Uuid};

use crate::engine::Engine;

/// How many executions of all tenants are read at once.
const PAGE: usize = 1_000;

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

/// What is wanted of one.
#[derive(Debug, Clone)]
pub(crate) struct BulkOrder {
    pub(crate) action: BulkAction,
    pub(crate) filter: ExecutionFilter,
    /// To so many executions in a second at most.
    pub(crate) pace: Option<u32>,
}

impl BulkOrder {
    /// The action in a tenant.
    pub(crate) fn of(&self, runner: &Runner) -> Bulk<'static> {
        let filter = self.filter.clone();
        let bulk = match &self.action {
            BulkAction::Cancel => runner.cancel_many(filter),
            BulkAction::Pause => runner.pause_many(filter),
            BulkAction::Resume => runner.resume_many(filter),
            BulkAction::RerunFailed => runner.rerun_many(filter, RerunFrom::Failed),
            BulkAction::RerunFromStart => runner.rerun_many(filter, RerunFrom::Start),
            BulkAction::RerunFromTask(task) => runner.rerun_many(filter, RerunFrom::Task(task)),
        };
        match self.pace {
            Some(pace) => bulk.pace(pace),
            None => bulk,
        }
    }

    /// Those of the filter that it can be done to.
    fn narrowed(&self) -> ExecutionFilter {
        let action = match self.action {
            BulkAction::Cancel => cloacina::BulkAction::Cancel,
            BulkAction::Pause => cloacina::BulkAction::Pause,
            BulkAction::Resume => cloacina::BulkAction::Resume,
            _ => cloacina::BulkAction::Rerun,
        };
        action.narrowed(self.filter.clone())
    }
}

/// Begins one.
pub(crate) async fn begin(runner: &Runner, order: &BulkOrder) -> Result<BulkReport, Error> {
    order.of(runner).start().await?.report().await
}

/// Those of a tenant that are under way, or were at this time, the newest first: at most `limit`.
pub(crate) async fn since(runner: &Runner, time: Timestamp, limit: usize) -> Result<Vec<BulkReport>, Error> {
    let mut told = Vec::new();
    for listed in runner.list(ExecutionFilter::all().workflow(BULK), None, limit).await? {
        if listed.end_time.is_none_or(|ended| ended >= time) {
            match runner.bulk_run(listed.execution_id).report().await {
                Ok(report) => told.push(report),
                // It was deleted at this moment.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(told)
}

/// Stops one. What was done is done.
pub(crate) async fn stop(runner: &Runner, id: Uuid) -> Result<(), Error> {
    let run = runner.bulk_run(id);
    // It is asked first, so that nothing else is cancelled.
    let report = run.report().await?;
    if report.ended_at.is_some() { Ok(()) } else { run.stop().await }
}

/// In which tenants an action would be done to how many executions, and the tenants that could not be read.
/// None is opened for it.
pub(crate) async fn tenants_of(
    engine: &Engine,
    order: &BulkOrder,
) -> Result<(BTreeMap<String, u64>, BTreeMap<String, Error>), Error> {
    let (mut tenants, mut unreadable, mut before) = (BTreeMap::new(), BTreeMap::new(), None);
    loop {
        let page = engine.executions(order.narrowed(), before, PAGE).await?;
        unreadable.extend(page.unreadable);
        let Some((_, last)) = page.found.last() else { return Ok((tenants, unreadable)) };
        before = Some(last.execution_id);
        for (tenant, _) in page.found.iter().filter(|(_, met)| met.workflow_name != BULK) {
            *tenants.entry(tenant.clone()).or_default() += 1;
        }
    }
}
