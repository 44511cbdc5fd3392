//! One action on all executions of a filter.
//!
//! It goes through a listing page by page, from the newest on. What is recorded meanwhile is newer and is not
//! met, so nothing is rerun twice. The action goes on as long as its future is polled: if the program stops,
//! what was done is done, and the same call goes on with the rest.

use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;
use uuid::Uuid;

use crate::error::Error;
use crate::execution::ExecutionStatus;
use crate::id::ExecutionId;
use crate::rerun::From;
use crate::runner::PlaceRunner;
use crate::store::ExecutionFilter;

/// How many executions are looked at, and rerun, at once.
const PAGE: usize = 200;

/// How many executions are cancelled, paused or resumed at once.
const AT_ONCE: usize = 16;

/// How many errors are kept.
const ERRORS: usize = 100;

/// What is done to each execution.
#[derive(Debug, Clone, Copy)]
enum Action<'a> {
    Rerun(From<'a>),
    Cancel,
    Pause,
    Resume,
}

impl Action<'_> {
    /// Its name in the audit.
    fn name(self) -> &'static str {
        match self {
            Self::Rerun(_) => "rerun_many",
            Self::Cancel => "cancel_many",
            Self::Pause => "pause_many",
            Self::Resume => "resume_many",
        }
    }
}

/// Called after each page.
type OnProgress<'a> = Box<dyn FnMut(&BulkReport) + Send + 'a>;

/// An action on all executions of a filter.
#[must_use = "nothing is done before `send`"]
pub struct Bulk<'a> {
    runner: PlaceRunner,
    filter: ExecutionFilter,
    action: Action<'a>,
    pace: Option<u32>,
    on_progress: Option<OnProgress<'a>>,
}

/// How far such an action is.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct BulkReport {
    /// How many executions were met.
    pub matched: u64,
    /// With how many it was done.
    pub done: u64,
    /// With how many it could not be done.
    pub failed: u64,
    /// Why not: the first hundred.
    pub errors: Vec<(Uuid, Error)>,
}

impl<'a> Bulk<'a> {
    /// Does it to no more than so many executions in a second. Defaults to no limit.
    pub fn pace(mut self, per_second: u32) -> Self {
        self.pace = Some(per_second.max(1));
        self
    }

    /// Tells how far it is, from time to time.
    pub fn on_progress(mut self, tell: impl FnMut(&BulkReport) + Send + 'a) -> Self {
        self.on_progress = Some(Box::new(tell));
        self
    }

    /// Says how many executions there are that it would be done to, and does nothing. It walks all of them.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn dry_run(self) -> Result<u64, Error> {
        let (mut before, mut matched) = (None, 0);
        loop {
            let page = self.runner.list(self.filter.clone(), before, PAGE * 10).await?;
            matched += page.len() as u64;
            let Some(last) = page.last() else { return Ok(matched) };
            before = Some(last.execution_id);
        }
    }

    /// Does it, and returns what came of it when all executions were met.
    ///
    /// # Errors
    ///
    /// What is wrong with the database while it lists them. Whatever is wrong with one of them is told in the
    /// report, and keeps it from no other.
    pub async fn send(mut self) -> Result<BulkReport, Error> {
        let mut report = BulkReport::default();
        let mut before = None;
        let (action, filter) = (self.action.name(), self.filter.described());
        self.runner = self.runner.noting(action, filter).await?;
        let page_size = self.pace.map_or(PAGE, |pace| PAGE.min(pace as usize));
        loop {
            let page = self.runner.list(self.filter.clone(), before, page_size).await?;
            let Some(last) = page.last() else { return Ok(report) };
            before = Some(last.execution_id);
            let ids: Vec<Uuid> = page.iter().map(|execution| execution.execution_id).collect();
            report.matched += ids.len() as u64;
            // Its time passes while it is worked on, so that the pace is kept however long that takes.
            let wait =
                self.pace.map(|pace| Duration::from_secs(1).mul_f64(ids.len() as f64 / f64::from(pace)));
            let rest = async {
                match wait {
                    Some(wait) => self.runner.sleep(wait).await,
                    None => Ok(()),
                }
            };
            let (results, rested) = tokio::join!(act(&self.runner, self.action, ids), rest);
            for (id, result) in results {
                match result {
                    Ok(()) => report.done += 1,
                    Err(error) => {
                        report.failed += 1;
                        if report.errors.len() < ERRORS {
                            report.errors.push((id, error));
                        }
                    }
                }
            }
            if let Some(tell) = &mut self.on_progress {
                tell(&report);
            }
            rested?;
        }
    }
}

async fn act(runner: &PlaceRunner, action: Action<'_>, ids: Vec<Uuid>) -> Vec<(Uuid, Result<(), Error>)> {
    if let Action::Rerun(from) = action {
        let ids: Vec<ExecutionId> = ids.into_iter().map(ExecutionId).collect();
        let reruns = runner.rerun_all(&ids, from).await;
        return reruns.into_iter().map(|(id, rerun)| (id.into(), rerun.map(drop))).collect();
    }
    let mut results = Vec::with_capacity(ids.len());
    for some in ids.chunks(AT_ONCE) {
        let acting = some.iter().map(|id| async move {
            let execution = runner.execution(*id);
            let done = match action {
                Action::Cancel => execution.cancel().await,
                Action::Pause => execution.pause().await,
                Action::Resume => execution.resume().await,
                Action::Rerun(_) => Ok(()),
            };
            (*id, done)
        });
        results.extend(join_all(acting).await);
    }
    results
}

impl PlaceRunner {
    /// Starts to describe a rerun of all executions of a filter that were not rerun before: of those that
    /// failed, if it names no states.
    pub fn rerun_many<'a>(&self, filter: ExecutionFilter, from: From<'a>) -> Bulk<'a> {
        let mut filter = filter.superseded(false);
        if filter.statuses.is_empty() {
            filter = filter.status(ExecutionStatus::Failed);
        }
        self.bulk(filter, Action::Rerun(from))
    }

    /// Starts to describe that all executions of a filter are cancelled that are not over.
    pub fn cancel_many(&self, filter: ExecutionFilter) -> Bulk<'static> {
        let open = [
            ExecutionStatus::Pending,
            ExecutionStatus::Running,
            ExecutionStatus::Waiting,
            ExecutionStatus::Paused,
        ];
        self.bulk(in_one_of(filter, &open), Action::Cancel)
    }

    /// Starts to describe that all executions of a filter are paused that are not over.
    pub fn pause_many(&self, filter: ExecutionFilter) -> Bulk<'static> {
        let open = [ExecutionStatus::Pending, ExecutionStatus::Running, ExecutionStatus::Waiting];
        self.bulk(in_one_of(filter, &open), Action::Pause)
    }

    /// Starts to describe that all executions of a filter are resumed that are paused.
    pub fn resume_many(&self, filter: ExecutionFilter) -> Bulk<'static> {
        self.bulk(in_one_of(filter, &[ExecutionStatus::Paused]), Action::Resume)
    }

    fn bulk<'a>(&self, filter: ExecutionFilter, action: Action<'a>) -> Bulk<'a> {
        Bulk { runner: self.clone(), filter, action, pace: None, on_progress: None }
    }
}

/// Those of a filter that are in one of these states: of those that it names, if it names any.
fn in_one_of(mut filter: ExecutionFilter, possible: &[ExecutionStatus]) -> ExecutionFilter {
    if filter.statuses.is_empty() {
        filter.statuses = possible.to_vec();
    }
    filter
}

impl fmt::Debug for Bulk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk")
            .field("action", &self.action)
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}
