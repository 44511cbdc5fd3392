//! One action on all executions of a filter, done by the engine.
//!
//! It is an execution of a workflow of the engine's own, [`BULK`], which any process of the tenant runs that
//! runs tasks. Its task goes through a listing page by page, from itself towards older ones: what is recorded
//! meanwhile is newer and is not met, so nothing is rerun twice. Before it acts on a page it keeps, in its
//! row in the database, how far it is and what the page has. If its process dies, the next attempt does the
//! page that was kept once more, and goes on. Done twice, an action changes nothing twice: what was rerun
//! before is refused, and counts as done.
//!
//! It takes no slot while it works: what it does are the engine's own calls.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::context::{Context, Patch};
use crate::error::{Error, ErrorKind, TaskError};
use crate::execution::{ExecutionDetails, ExecutionStatus, TaskInfo};
use crate::hub::Recording;
use crate::id::ExecutionId;
use crate::rerun::From;
use crate::runner::{Execution, PlaceRunner};
use crate::store::{Actor, ExecutionFilter};
use crate::submission::Described;
use crate::workflow::{TaskDefinition, Workflow};

pub use crate::store::BULK;

/// How many executions are looked at, and rerun, at once.
const PAGE: usize = 200;

/// How many executions are cancelled, paused or resumed at once.
const AT_ONCE: usize = 16;

/// How many errors are kept, and how many bytes of each.
const ERRORS: usize = 100;
const ERROR: usize = 300;

/// How many such actions of a tenant may be under way.
const MOST_UNDER_WAY: usize = 4;

/// How often somebody who wants to know is told.
const TOLD_EVERY: Duration = Duration::from_millis(100);

/// How long to wait before something is tried again that cannot be done at the moment.
const PATIENCE: Duration = Duration::from_secs(1);

/// The id of the task, and the key under which it keeps how far it is.
const KEY: &str = "bulk";

/// The priority that is claimed first: whoever cancels much does not want to wait for it.
const PRIORITY: u8 = 9;

/// What is done to each execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BulkAction {
    /// It is run again.
    Rerun,
    /// It is cancelled.
    Cancel,
    /// It is paused.
    Pause,
    /// It is resumed.
    Resume,
}

impl BulkAction {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rerun => "rerun",
            Self::Cancel => "cancel",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }

    /// Those of a filter that it can be done to: those in the states that it names, if it names any.
    #[must_use]
    pub fn narrowed(self, mut filter: ExecutionFilter) -> ExecutionFilter {
        let possible = match self {
            Self::Rerun => &[ExecutionStatus::Failed][..],
            Self::Cancel => OPEN,
            Self::Pause => &[ExecutionStatus::Pending, ExecutionStatus::Running, ExecutionStatus::Waiting],
            Self::Resume => &[ExecutionStatus::Paused],
        };
        if self == Self::Rerun {
            filter = filter.superseded(false);
        }
        if filter.statuses.is_empty() {
            filter.statuses = possible.to_vec();
        }
        filter
    }

    /// Its name in the audit.
    fn audited(self) -> &'static str {
        match self {
            Self::Rerun => "rerun_many",
            Self::Cancel => "cancel_many",
            Self::Pause => "pause_many",
            Self::Resume => "resume_many",
        }
    }
}

/// What is to be done: the input of the execution that does it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    action: BulkAction,
    filter: ExecutionFilter,
    /// From where they are rerun, as it is stored.
    from: Option<String>,
    /// How many in a second at most.
    pace: Option<u32>,
    actor: Option<Actor>,
}

/// How far it is, as it is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Progress {
    matched: u64,
    done: u64,
    failed: u64,
    errors: Vec<(Uuid, String)>,
    /// The last one of the page that was met last.
    before: Option<Uuid>,
    /// What that page has: to these it may have been done, or not.
    page: Vec<Uuid>,
}

/// Called from time to time.
type OnProgress<'a> = Box<dyn FnMut(&BulkReport) + Send + 'a>;

/// An action on all executions of a filter.
#[must_use = "nothing is done before `send` or `start`"]
pub struct Bulk<'a> {
    runner: PlaceRunner,
    order: Order,
    on_progress: Option<OnProgress<'a>>,
}

/// An action on all executions of a filter that was started: a handle on the execution that does it.
#[derive(Debug, Clone)]
pub struct BulkRun {
    execution: Execution,
}

/// How far such an action is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BulkReport {
    /// The execution that does it, of the workflow `cloacina/bulk`.
    pub execution_id: Uuid,
    /// What is done.
    pub action: BulkAction,
    /// From where they are rerun: `failed`, `start` or `task/…`.
    pub from: Option<String>,
    /// Who started it, and why, if that was said.
    pub actor: Option<Actor>,
    /// Its state. `Cancelled` if somebody stopped it: what was done is done.
    pub status: ExecutionStatus,
    /// When it was started.
    pub begun_at: Timestamp,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// How many executions were met.
    pub matched: u64,
    /// With how many it was done.
    pub done: u64,
    /// With how many it could not be done.
    pub failed: u64,
    /// Why not: the first hundred.
    pub errors: Vec<(Uuid, String)>,
    /// Why it ended early, or waits.
    pub error: Option<String>,
}

impl<'a> Bulk<'a> {
    /// Does it to no more than so many executions in a second. Defaults to no limit.
    pub fn pace(mut self, per_second: u32) -> Self {
        self.order.pace = Some(per_second.max(1));
        self
    }

    /// Tells how far it is while [`send`](Self::send) waits: some ten times in a second, and at the end.
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
            let page = self.runner.list(self.order.filter.clone(), before, PAGE * 10).await?;
            let Some(last) = page.last() else { return Ok(matched) };
            before = Some(last.execution_id);
            matched += page.iter().filter(|execution| execution.workflow_name != BULK).count() as u64;
        }
    }

    /// Records that it is to be done, and returns a handle on that at once. From then on it is done, whatever
    /// becomes of this process: by any runner of the tenant that runs tasks. If there is none, it waits for
    /// one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Limit`] if four of the tenant are under way. What is wrong with the database.
    pub async fn start(self) -> Result<BulkRun, Error> {
        let Self { runner, mut order, .. } = self;
        let mut open = ExecutionFilter::all().workflow(BULK);
        open.statuses = OPEN.to_vec();
        if runner.list(open, None, MOST_UNDER_WAY).await?.len() == MOST_UNDER_WAY {
            let message = format!(
                "{MOST_UNDER_WAY} actions on many executions of tenant `{}` are under way, the most: wait for one, or \
                 stop it",
                runner.place()
            );
            return Err(Error::new(ErrorKind::Limit, message));
        }
        order.actor = runner.actor().cloned();
        let runner = runner.noting(order.action.audited(), order.filter.described()).await?;
        let input = Context::from_value(serde_json::to_value(&order).map_err(|error| {
            Error::new(ErrorKind::Internal, "the action has no JSON form").with_source(error)
        })?)?;
        let described = Described { input, priority: PRIORITY, ..Described::new(BULK) };
        Ok(BulkRun { execution: runner.submit_own(described).await? })
    }

    /// [Starts](Self::start) it, and waits until it is over, wherever it is done. Dropping the future does
    /// not stop it.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Self::start), and [`ErrorKind::ShutDown`]. Whatever is wrong with one of the
    /// executions is told in the report, and keeps it from no other.
    pub async fn send(mut self) -> Result<BulkReport, Error> {
        let tell = self.on_progress.take();
        let run = self.start().await?;
        let Some(mut tell) = tell else { return run.wait().await };
        loop {
            let is_over = run.execution.wait_for(TOLD_EVERY).await?.is_some();
            let report = run.report().await?;
            tell(&report);
            if is_over {
                return Ok(report);
            }
        }
    }
}

impl BulkRun {
    /// The execution that does it.
    #[must_use]
    pub fn execution_id(&self) -> Uuid {
        self.execution.execution_id
    }

    /// How far it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such action; what is wrong with the database.
    pub async fn report(&self) -> Result<BulkReport, Error> {
        let details = self.execution.details().await?;
        report_of(details).ok_or_else(|| {
            let id = self.execution.execution_id;
            Error::new(ErrorKind::NotFound, format!("execution {id} is no action on many executions"))
        })
    }

    /// Waits until it is over.
    ///
    /// # Errors
    ///
    /// Those of [`report`](Self::report), and [`ErrorKind::ShutDown`] if the runner was shut down first.
    pub async fn wait(&self) -> Result<BulkReport, Error> {
        self.execution.wait_for_completion().await?;
        self.report().await
    }

    /// Stops it: what was done is done. Stopping a stopped one is Ok.
    ///
    /// # Errors
    ///
    /// As [`Execution::cancel`].
    pub async fn stop(&self) -> Result<(), Error> {
        self.execution.cancel().await
    }
}

fn report_of(details: ExecutionDetails) -> Option<BulkReport> {
    let ExecutionDetails { result, created_at, input, mut tasks, .. } = details;
    if result.workflow_name != BULK {
        return None;
    }
    let order: Order = serde_json::from_value(input.into_iter().collect()).ok()?;
    let progress = tasks.first_mut().and_then(|task| task.changes.remove(KEY).flatten());
    let progress: Progress =
        progress.and_then(|progress| serde_json::from_value(progress).ok()).unwrap_or_default();
    let waits = result.task_results.first().and_then(|task| task.error_message.clone());
    Some(BulkReport {
        execution_id: result.execution_id,
        action: order.action,
        from: order.from,
        actor: order.actor,
        status: result.status,
        begun_at: created_at,
        ended_at: result.end_time,
        matched: progress.matched,
        done: progress.done,
        failed: progress.failed,
        errors: progress.errors,
        error: result.error_message.or(waits.filter(|_| result.status != ExecutionStatus::Completed)),
    })
}

/// The states of what is not over.
const OPEN: &[ExecutionStatus] =
    &[ExecutionStatus::Pending, ExecutionStatus::Running, ExecutionStatus::Waiting, ExecutionStatus::Paused];

/// The workflow that works such actions off. Every runner of `cloacina` has it.
#[doc(hidden)]
#[must_use]
pub fn bulk_workflow() -> Workflow {
    static WORKFLOW: OnceLock<Workflow> = OnceLock::new();
    let made = WORKFLOW.get_or_init(|| {
        let mut task = TaskDefinition::from_async(KEY, work).timeout(None);
        task.takes_no_slot = true;
        Workflow::of_engine(BULK, task)
    });
    made.clone()
}

async fn work(context: Context) -> Result<Context, TaskError> {
    let task = context.task().clone();
    let recording = Recording::of(&task)?.clone();
    let order: Order =
        serde_json::from_value(context.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect())
            .map_err(|error| TaskError::fatal(format!("what is to be done cannot be read: {error}")))?;
    let (hub, place) = recording.whereabouts().ok_or_else(over)?;
    let runner = PlaceRunner::within(hub, place, order.actor.clone());
    let kept = runner.execution(task.execution_id()).details().await?;
    let kept = kept.tasks.into_iter().next().and_then(|mut task| task.changes.remove(KEY).flatten());
    // What a tenant wrote may be anything.
    let progress = kept.and_then(|kept| serde_json::from_value(kept).ok()).unwrap_or_default();
    Box::pin(Worker { runner, recording, order, progress, task }.work()).await?;
    Ok(context)
}

/// Who works it off, in one attempt.
struct Worker {
    runner: PlaceRunner,
    recording: Recording,
    order: Order,
    progress: Progress,
    task: TaskInfo,
}

impl Worker {
    async fn work(&mut self) -> Result<(), TaskError> {
        // The attempt before had begun with these.
        self.act(true).await?;
        let size = self.order.pace.map_or(PAGE, |pace| PAGE.min(pace as usize));
        loop {
            self.check()?;
            let before = self.progress.before.unwrap_or(self.task.execution_id());
            let page = loop {
                let listed = self.runner.list(self.order.filter.clone(), Some(before), size).await;
                if let Some(page) = self.answered(listed).await? {
                    break page;
                }
            };
            let Some(last) = page.last() else { return self.keep().await };
            self.progress.before = Some(last.execution_id);
            let met = page.iter().filter(|execution| execution.workflow_name != BULK);
            self.progress.page = met.map(|execution| execution.execution_id).collect();
            self.progress.matched += self.progress.page.len() as u64;
            self.keep().await?;
            // Its time passes while it is worked on, so that the pace is kept however long that takes.
            let met = self.progress.page.len() as f64;
            let time = self.order.pace.map(|pace| Duration::from_secs(1).mul_f64(met / f64::from(pace)));
            let runner = self.runner.clone();
            let rest = async move {
                match time {
                    Some(time) => runner.sleep(time).await,
                    None => Ok(()),
                }
            };
            let (acted, rested) = tokio::join!(self.act(false), rest);
            acted?;
            rested?;
        }
    }

    /// Does it to those of the page. They may have been met before if it is done `again`.
    async fn act(&mut self, mut again: bool) -> Result<(), TaskError> {
        while !self.progress.page.is_empty() {
            let page = std::mem::take(&mut self.progress.page);
            for (id, result) in act(&self.runner, &self.order, page).await {
                let Err(error) = result else {
                    self.progress.done += 1;
                    continue;
                };
                match error.kind() {
                    ErrorKind::Limit | ErrorKind::Unavailable => self.progress.page.push(id),
                    ErrorKind::Suspended => return Err(TaskError::snooze(PATIENCE * 10, error)),
                    ErrorKind::ShutDown => return Err(TaskError::snooze(PATIENCE, error)),
                    ErrorKind::WrongState if again && self.was_done(id).await => self.progress.done += 1,
                    _ => {
                        self.progress.failed += 1;
                        if self.progress.errors.len() < ERRORS {
                            self.progress.errors.push((id, shortened(error.to_string())));
                        }
                    }
                }
            }
            if !self.progress.page.is_empty() {
                again = true;
                self.wait().await?;
            }
        }
        Ok(())
    }

    /// Whether an execution, which refuses, may refuse because it was done to it before.
    async fn was_done(&self, id: Uuid) -> bool {
        if self.order.action != BulkAction::Rerun {
            return true;
        }
        let execution = self.runner.execution(id).details().await;
        execution.is_ok_and(|execution| execution.result.superseded_by.is_some())
    }

    /// Keeps how far it is.
    async fn keep(&mut self) -> Result<(), TaskError> {
        let json = serde_json::to_string(&self.progress)?;
        let patch = Patch::of_one(KEY, &json).map_err(TaskError::new)?;
        loop {
            let kept = self.recording.keep(patch.clone()).await;
            match self.answered(kept.map_err(Error::from)).await? {
                Some(true) => return Ok(()),
                Some(false) => return Err(over()),
                None => {}
            }
        }
    }

    /// What the database answered; none after a while if it could not be reached and is to be asked again.
    async fn answered<T>(&self, answer: Result<T, Error>) -> Result<Option<T>, TaskError> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_transient() => self.wait().await.map(|()| None),
            Err(error) => Err(TaskError::new(error)),
        }
    }

    async fn wait(&self) -> Result<(), TaskError> {
        tokio::select! {
            slept = self.runner.sleep(PATIENCE) => slept?,
            () = self.task.cancellation().cancelled() => {}
        }
        self.check()
    }

    /// Whether it may go on here.
    fn check(&self) -> Result<(), TaskError> {
        if self.task.cancellation().is_cancelled() {
            return Err(over());
        }
        if self.recording.is_leaving() {
            return Err(TaskError::snooze(PATIENCE, "its process ends; another one goes on with it"));
        }
        Ok(())
    }
}

fn over() -> TaskError {
    TaskError::new("the attempt was over before it came to an end")
}

fn shortened(mut text: String) -> String {
    text.truncate((0..=ERROR).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
    text
}

async fn act(runner: &PlaceRunner, order: &Order, ids: Vec<Uuid>) -> Vec<(Uuid, Result<(), Error>)> {
    if order.action == BulkAction::Rerun {
        let from = order.from.as_deref().and_then(From::of_stored).unwrap_or(From::Failed);
        let ids: Vec<ExecutionId> = ids.into_iter().map(ExecutionId).collect();
        let reruns = runner.rerun_all(&ids, from).await;
        return reruns.into_iter().map(|(id, rerun)| (id.into(), rerun.map(drop))).collect();
    }
    let mut results = Vec::with_capacity(ids.len());
    for some in ids.chunks(AT_ONCE) {
        let mut acting = Vec::with_capacity(some.len());
        for id in some {
            acting.push(act_on(runner.execution(*id), order.action));
        }
        results.extend(join_all(acting).await);
    }
    results
}

async fn act_on(execution: Execution, action: BulkAction) -> (Uuid, Result<(), Error>) {
    let done = match action {
        BulkAction::Cancel => execution.cancel().await,
        BulkAction::Pause => execution.pause().await,
        BulkAction::Resume => execution.resume().await,
        BulkAction::Rerun => Ok(()),
    };
    (execution.execution_id, done)
}

impl PlaceRunner {
    /// Starts to describe a rerun of all executions of a filter that were not rerun before: of those that
    /// failed, if it names no states.
    pub fn rerun_many(&self, filter: ExecutionFilter, from: From<'_>) -> Bulk<'static> {
        self.bulk(filter, BulkAction::Rerun, Some(from.stored()))
    }

    /// Starts to describe that all executions of a filter are cancelled that are not over.
    pub fn cancel_many(&self, filter: ExecutionFilter) -> Bulk<'static> {
        self.bulk(filter, BulkAction::Cancel, None)
    }

    /// Starts to describe that all executions of a filter are paused that are not over.
    pub fn pause_many(&self, filter: ExecutionFilter) -> Bulk<'static> {
        self.bulk(filter, BulkAction::Pause, None)
    }

    /// Starts to describe that all executions of a filter are resumed that are paused.
    pub fn resume_many(&self, filter: ExecutionFilter) -> Bulk<'static> {
        self.bulk(filter, BulkAction::Resume, None)
    }

    /// An action on many executions that was started. Whether there is one is found out when it is used.
    #[must_use]
    pub fn bulk_run(&self, execution_id: Uuid) -> BulkRun {
        BulkRun { execution: self.execution(execution_id) }
    }

    /// How far the actions on many executions of this tenant are, or were, the newest first: at most `limit`.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn bulk_runs(&self, limit: usize) -> Result<Vec<BulkReport>, Error> {
        let mut reports = Vec::new();
        for listed in self.list(ExecutionFilter::all().workflow(BULK), None, limit).await? {
            match self.execution(listed.execution_id).details().await {
                Ok(details) => reports.extend(report_of(details)),
                // It was deleted at this moment.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(reports)
    }

    fn bulk(&self, filter: ExecutionFilter, action: BulkAction, from: Option<String>) -> Bulk<'static> {
        let order = Order { action, filter: action.narrowed(filter), from, pace: None, actor: None };
        Bulk { runner: self.clone(), order, on_progress: None }
    }
}

impl fmt::Debug for Bulk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk")
            .field("action", &self.order.action)
            .field("filter", &self.order.filter)
            .finish_non_exhaustive()
    }
}
