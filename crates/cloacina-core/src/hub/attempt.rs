//! One try of one task, on the caller's runtime.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Semaphore;

use super::Hub;
use super::live::merge;
use super::place::{OpenPlace, Stop, StopReason};
use super::recording::{Attempted, Phase};
use super::{Ending, Incarnation, Transition};
use crate::clock::LONGEST_WAIT;
use crate::context::{Context, ContextError, Patch, Values};
use crate::error::{Advice, TaskError};
use crate::execution::{AttemptOutcome, Cancellation, TaskInfo};
use crate::id::{ExecutionId, TaskIndex};
use crate::slots::Permit;
use crate::store::{Outcome, TaskOutcome};
use crate::workflow::{TaskBody, TaskTimeout, Workflow};

/// The longest error text that is kept, in bytes.
const MAX_ERROR: usize = 16 << 10;

/// How many blocking tasks run at once in this process: as many as there are cores.
static BLOCKING: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new(cores))
});

/// One try of one task. Dropped before it has reported, it gives the task back.
pub(crate) struct Attempt {
    pub(crate) hub: Arc<Hub>,
    pub(crate) place: Arc<OpenPlace>,
    pub(crate) incarnation: Arc<Incarnation>,
    pub(crate) execution: ExecutionId,
    pub(crate) task: TaskIndex,
    pub(crate) number: i32,
    pub(crate) failures: i32,
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) input: Arc<Values>,
    pub(crate) patches: Vec<Arc<Patch>>,
    pub(crate) stop: Arc<Stop>,
    pub(crate) permit: Option<Permit>,
    /// Where it runs.
    pub(crate) runtime: Option<tokio::runtime::Handle>,
    /// Whether its task records its own completion.
    pub(crate) recording: Arc<Attempted>,
    pub(crate) reported: bool,
}

/// How a try ended.
enum End {
    Completed(Patch),
    Failed {
        how: AttemptOutcome,
        error: String,
        advice: Advice,
    },
    /// Stopped from outside, or dropped with its runtime.
    GivenBack,
}

impl Attempt {
    /// Runs the task and reports what became of it.
    pub(crate) async fn run(mut self) {
        let settings = Arc::clone(&self.place.state().settings);
        let workflow = Arc::clone(&self.workflow);
        let definition = &workflow.tasks()[self.task as usize];
        let timeout = match definition.timeout {
            TaskTimeout::Default => settings.task_timeout,
            TaskTimeout::Never => None,
            TaskTimeout::After(timeout) => Some(timeout),
        };
        let context = self.context(definition.id());
        let end = match &definition.body {
            TaskBody::Async(code) => {
                let code = Arc::clone(code);
                // The call itself may panic as well as the future it returns.
                let work = AssertUnwindSafe(async move { code(context).await }).catch_unwind();
                let work = work.map(|result| ended(result.map_err(|panic| panicked(&*panic))));
                self.watch(work, timeout, settings.cancel_grace).await
            }
            TaskBody::Blocking(code) => {
                let code = Arc::clone(code);
                self.block(move || code(context), timeout, settings.cancel_grace).await
            }
        };
        let end = match self.recording.end().await {
            Phase::Open => end,
            // The hub knows already; see `report`.
            Phase::Writing | Phase::Recorded | Phase::Unknown => End::GivenBack,
        };
        self.report(end);
    }

    fn context(&mut self, task_id: &str) -> Context {
        let values = merge(Arc::clone(&self.input), &self.patches);
        self.patches = Vec::new();
        let info = TaskInfo {
            execution_id: self.execution.into(),
            workflow: self.workflow.name().to_owned(),
            task_id: task_id.to_owned(),
            attempt: self.number.max(0).cast_unsigned(),
            position: self.task,
            cancellation: Cancellation { token: self.stop.token.clone() },
            place: Arc::clone(&self.place.place),
            resources: self.place.state().settings.resources.clone(),
            recording: self.recording.recording(),
        };
        Context::for_task(values, Arc::new(info))
    }

    /// Waits for the work, its timeout, or the end of the grace period after a stop.
    async fn watch(
        &self,
        work: impl Future<Output = End>,
        timeout: Option<Duration>,
        grace: Duration,
    ) -> End {
        let late = async {
            match timeout {
                Some(timeout) => self.hub.sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        let stopped = async {
            self.stop.token.cancelled().await;
            self.hub.sleep(grace).await;
        };
        let mut work = Box::pin(work);
        let end = tokio::select! {
            biased;
            end = &mut work => end,
            () = stopped => End::GivenBack,
            () = late => {
                self.stop.token.cancel();
                End::Failed {
                    how: AttemptOutcome::TimedOut,
                    error: format!("the attempt took longer than its timeout of {:?}", timeout.unwrap_or_default()),
                    advice: Advice::Retry,
                }
            }
        };
        // What the task still holds is the task's code as well, and may panic; how the attempt ended is decided by then.
        drop(catch_unwind(AssertUnwindSafe(|| drop(work))));
        end
    }

    /// Runs blocking code on a thread where it may. It cannot be stopped, so it keeps its slots until it returns, whatever
    /// is recorded in the meantime.
    async fn block(
        &mut self,
        code: impl FnOnce() -> Result<Context, TaskError> + Send + 'static,
        timeout: Option<Duration>,
        grace: Duration,
    ) -> End {
        let cores = tokio::select! {
            cores = Arc::clone(&BLOCKING).acquire_owned() => cores.expect("the semaphore is never closed"),
            () = self.stop.token.cancelled() => return End::GivenBack,
        };
        let permit = self.permit.take();
        let work = tokio::task::spawn_blocking(move || {
            let end = ended(catch_unwind(AssertUnwindSafe(code)).map_err(|panic| panicked(&*panic)));
            drop(cores);
            (end, permit)
        });
        let mut back = None;
        let end = {
            let work = async {
                match work.await {
                    Ok((end, permit)) => {
                        back = permit;
                        end
                    }
                    // The runtime ended before the work began.
                    Err(_) => End::GivenBack,
                }
            };
            self.watch(work, timeout, grace).await
        };
        self.permit = back;
        end
    }

    /// Turns the end into an outcome, once.
    fn report(&mut self, end: End) {
        self.reported = true;
        let permit = self.permit.take();
        let (execution, task) = (self.execution, self.task);
        if self.recording.close() == Phase::Recorded {
            return;
        }
        if self.stop.reason() == Some(StopReason::Void) {
            let mut state = self.place.state();
            self.place.let_go(&mut state, execution, task, self.number);
            state.forget_if_unused(execution);
            return;
        }
        let (outcome, patch) = self.outcome(end);
        self.hub.end(EndOfTask {
            place: &self.place,
            incarnation: &self.incarnation,
            execution,
            task,
            attempt: self.number,
            outcome,
            patch,
            permit,
        });
    }

    fn outcome(&self, end: End) -> (TaskOutcome, Option<Arc<Patch>>) {
        let settings = Arc::clone(&self.place.state().settings);
        match end {
            End::Completed(patch) if patch.is_empty() => (TaskOutcome::Completed { patch: None }, None),
            End::Completed(patch) => match stored(&patch, settings.max_patch_bytes) {
                Ok(json) => (TaskOutcome::Completed { patch: Some(json) }, Some(Arc::new(patch))),
                Err(error) => (self.failed(AttemptOutcome::Failed, error.to_string(), Advice::Retry), None),
            },
            End::Failed { how, error, advice } => (self.failed(how, error, advice), None),
            End::GivenBack => (TaskOutcome::Released, None),
        }
    }

    fn failed(&self, how: AttemptOutcome, error: String, advice: Advice) -> TaskOutcome {
        let policy = &self.workflow.tasks()[self.task as usize].retry;
        let backoff = policy.delay(self.failures.max(0).cast_unsigned().saturating_add(1));
        let after = match (advice, backoff) {
            (Advice::Fatal, _) | (_, None) => None,
            (Advice::RetryAfter(delay), Some(_)) => Some(delay),
            (Advice::Retry, Some(backoff)) => Some(backoff),
        };
        let error = storable(error);
        match after {
            Some(after) => TaskOutcome::Retry { how, error, after: after.min(LONGEST_WAIT) },
            None => TaskOutcome::Failed { how, error },
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.reported {
            // The future was dropped unfinished: its runtime has ended, so nothing more can run there.
            if let Some(ended) = &self.runtime {
                self.place.state().executors.retain(|(_, runtime)| runtime.id() != ended.id());
            }
            self.report(End::GivenBack);
        }
    }
}

/// The end of one task, as it is handed to the hub.
pub(crate) struct EndOfTask<'a> {
    pub(crate) place: &'a Arc<OpenPlace>,
    pub(crate) incarnation: &'a Arc<Incarnation>,
    pub(crate) execution: ExecutionId,
    pub(crate) task: TaskIndex,
    pub(crate) attempt: i32,
    pub(crate) outcome: TaskOutcome,
    pub(crate) patch: Option<Arc<Patch>>,
    pub(crate) permit: Option<Permit>,
}

impl Hub {
    /// Hands the end of a task to its lane, with slots for the successors that it may set free.
    pub(crate) fn end(&self, end: EndOfTask<'_>) {
        let EndOfTask { place, incarnation, execution, task, attempt, outcome, patch, permit } = end;
        let over = !matches!(outcome, TaskOutcome::Retry { .. } | TaskOutcome::Released);
        let completed = matches!(outcome, TaskOutcome::Completed { .. });
        let mut permits = Vec::new();
        let mut successors = Vec::new();
        let mut handles = Vec::new();
        {
            let mut state = place.state();
            // No successor jumps ahead of work of a higher priority that waits in the ready table.
            let claims = state.claims();
            let backlog = state.backlog;
            if let Some(live) = state.live.get_mut(&execution).filter(|_| over) {
                if let Some(task) = live.task(task) {
                    task.ending = true;
                }
                successors = live.successors(task);
                if completed {
                    handles = live.handles(task);
                }
                let direct = claims && backlog.is_none_or(|waiting| waiting <= live.priority);
                let wanted = successors.iter().filter(|(_, last)| *last && direct).count();
                if wanted > 0 {
                    permits.extend(permit);
                    if permits.len() < wanted {
                        permits.extend(place.slots.take(wanted - permits.len()));
                    }
                }
                let mut granted = permits.len();
                for (_, wanted) in &mut successors {
                    *wanted = *wanted && direct && granted > 0;
                    granted -= usize::from(*wanted);
                }
            }
        }
        let outcome = Outcome { execution, task, attempt, outcome, successors, handles };
        self.send(Transition::Ending(Box::new(Ending {
            place: Arc::clone(place),
            incarnation: Arc::clone(incarnation),
            outcome: Arc::new(outcome),
            patch,
            permits,
            refused: false,
        })));
    }
}

fn ended(result: Result<Result<Context, TaskError>, String>) -> End {
    let fail = |how, error, advice| End::Failed { how, error, advice };
    match result {
        Ok(Ok(context)) => match context.into_patch() {
            Ok(patch) => End::Completed(patch),
            Err(error) => fail(AttemptOutcome::Failed, error.to_string(), Advice::Retry),
        },
        Ok(Err(error)) => {
            let advice = error.advice();
            // How an error shows itself is code of the task, too.
            match catch_unwind(AssertUnwindSafe(move || error.chain())) {
                Ok(text) => fail(AttemptOutcome::Failed, text, advice),
                Err(panic) => fail(AttemptOutcome::Panicked, panicked(&*panic), advice),
            }
        }
        Err(panic) => fail(AttemptOutcome::Panicked, panic, Advice::Retry),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    format!("panicked: {}", panic_message(panic))
}

/// What a panic said.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(a value that is no text)")
}

pub(super) fn stored(patch: &Patch, limit: usize) -> Result<Arc<str>, ContextError> {
    let json = patch.to_json()?;
    if json.len() > limit {
        return Err(ContextError::TooLarge {
            what: "change that the task made to the context",
            size: json.len(),
            limit,
        });
    }
    Ok(json.into())
}

/// The text as every database can keep it.
fn storable(mut error: String) -> String {
    if error.contains('\0') {
        error = error.replace('\0', "\\0");
    }
    if error.len() > MAX_ERROR {
        error.truncate((0..=MAX_ERROR).rev().find(|at| error.is_char_boundary(*at)).unwrap_or(0));
        error.push_str(" … (cut)");
    }
    error
}
