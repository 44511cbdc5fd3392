//! One try of one task, on the caller's runtime.
//!
//! Its end is reported once: by the task itself, or by the [watch](super::watch) over attempts whose time is up, which runs on the
//! engine's own runtime. So a task that blocks its thread cannot keep its timeout from coming; it only keeps its slot.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::task::AtomicWaker;
use tracing::{Instrument, Span, debug, info_span, warn};

use super::Hub;
use super::live::merge;
use super::place::{OpenPlace, Stop, StopReason};
use super::recording::{Attempted, Phase};
use super::watch::{Due, Key};
use super::{Ending, Incarnation, Transition};
use crate::blocking::{self, Turn};
use crate::clock::LONGEST_WAIT;
use crate::config::DefaultRunnerConfig;
use crate::contained::{Contained, call, discard, message_of};
use crate::context::{Context, ContextError, Patch, Values};
use crate::error::{Advice, TaskError};
use crate::execution::{AttemptOutcome, Cancellation, TaskInfo};
use crate::id::{ExecutionId, TaskIndex};
use crate::slots::Permit;
use crate::store::{Outcome, Payload, TaskOutcome};
use crate::workflow::{TaskBody, TaskFuture, TaskTimeout, Workflow};

/// The longest error text that is kept, in bytes.
const MAX_ERROR: usize = 16 << 10;

/// How long a blocking task waits for a thread before the log says so.
const LONG_WAIT: Duration = Duration::from_secs(10);

/// How long code that blocks its thread when its timeout passes may go on before its attempt is reported without it. It cannot be dropped, so
/// nothing is gained by waiting for the whole grace period.
const BLOCKING: Duration = Duration::from_secs(1);

/// How long a future that is to be dropped may take for that, before its attempt is reported without it.
const DROPPING: Duration = Duration::from_millis(100);

/// One try of one task. Dropped before it came to its end, it gives the task back.
pub(crate) struct Attempt {
    pub(crate) running: Arc<Running>,
    pub(crate) input: Arc<Values>,
    pub(crate) patches: Vec<Arc<Patch>>,
    pub(crate) permit: Option<Permit>,
    /// Where it runs.
    pub(crate) runtime: Option<tokio::runtime::Handle>,
    pub(crate) ended: bool,
}

/// What is known of one try while it runs, by its task and by the watch.
pub(crate) struct Running {
    hub: Arc<Hub>,
    place: Arc<OpenPlace>,
    incarnation: Arc<Incarnation>,
    execution: ExecutionId,
    task: TaskIndex,
    number: i32,
    failures: i32,
    workflow: Arc<Workflow>,
    stop: Arc<Stop>,
    /// Whether its task records its own completion.
    recording: Arc<Attempted>,
    timeout: Option<Duration>,
    grace: Duration,
    /// Where the watch has it. Written and read under the lock of the watch.
    pub(super) watched: Mutex<Option<Key>>,
    /// Whether it was told to end, by its timeout or by somebody.
    told: AtomicBool,
    /// Whether its timeout has passed: it ends so, whatever the task returns.
    timed_out: AtomicBool,
    /// Whether its code has to end: its future is dropped and not polled again.
    is_over: AtomicBool,
    /// Odd while its code has a thread; another number each time. Written by the task alone.
    turns: AtomicU64,
    waker: AtomicWaker,
    reported: AtomicBool,
}

/// How a try ended.
pub(super) enum End {
    Completed(Patch),
    Failed {
        how: AttemptOutcome,
        error: String,
        advice: Advice,
    },
    /// Stopped from outside, or dropped with its runtime.
    GivenBack,
}

/// Which try of which task of which execution, and how often the task failed before.
pub(crate) struct Try {
    pub(crate) execution: ExecutionId,
    pub(crate) task: TaskIndex,
    pub(crate) number: i32,
    pub(crate) failures: i32,
}

impl Attempt {
    /// Runs the task and reports what became of it.
    pub(crate) async fn run(mut self) {
        if self.running.stop.token.is_cancelled() {
            return self.end(End::GivenBack);
        }
        let workflow = Arc::clone(&self.running.workflow);
        let definition = &workflow.tasks()[self.running.task as usize];
        let context = self.context(definition.id());
        match &*definition.body {
            TaskBody::Async(code) => {
                self.running.limit_time();
                let span = self.running.span();
                self.running.turns();
                let called = call(|| span.in_scope(|| code(context)));
                self.running.turns();
                let end = match called {
                    Ok(future) => self.running.to_its_end(future, span).await,
                    Err(panic) => panicked(&panic),
                };
                self.end(end);
            }
            TaskBody::Blocking(code) => {
                let Some(turn) = self.running.turn().await else { return self.end(End::GivenBack) };
                let code = Contained::new(Arc::clone(code));
                // Dropped with the runtime before it begins, it gives the task back.
                drop(tokio::task::spawn_blocking(move || self.block(&**code, context, turn)));
            }
        }
    }

    /// Runs blocking code. It cannot be stopped, so it keeps its slot until it returns, whatever is recorded in the meantime.
    fn block(mut self, code: &dyn Fn(Context) -> Result<Context, TaskError>, context: Context, turn: Turn) {
        let end = if self.running.stop.token.is_cancelled() {
            End::GivenBack
        } else {
            self.running.limit_time();
            self.running.turns();
            ended(call(|| self.running.span().in_scope(|| code(context))))
        };
        drop(turn);
        self.end(end);
    }

    fn context(&mut self, task_id: &str) -> Context {
        let running = &self.running;
        let values = merge(Arc::clone(&self.input), &self.patches);
        self.patches = Vec::new();
        let info = TaskInfo {
            execution_id: running.execution.into(),
            workflow: running.workflow.name().to_owned(),
            task_id: task_id.to_owned(),
            attempt: running.number.max(0).cast_unsigned(),
            position: running.task,
            cancellation: Cancellation { token: running.stop.token.clone() },
            place: Arc::clone(&running.place.place),
            resources: running.place.state().settings.resources.clone(),
            recording: running.recording.recording(),
        };
        Context::for_task(values, Arc::new(info))
    }

    fn end(&mut self, end: End) {
        self.ended = true;
        self.running.end(end, self.permit.take());
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.ended {
            // The future was dropped unfinished: its runtime has ended, so nothing more can run there.
            if let Some(ended) = &self.runtime {
                let mut state = self.running.place.state();
                state.executors.retain(|(_, runtime)| runtime.id() != ended.id());
            }
            self.end(End::GivenBack);
        }
    }
}

impl Running {
    /// A try that is about to start. `grace` is how long it may go on when it is told to end.
    pub(crate) fn new(
        hub: &Arc<Hub>,
        (place, settings): (&Arc<OpenPlace>, &DefaultRunnerConfig),
        incarnation: &Arc<Incarnation>,
        Try { execution, task, number, failures }: Try,
        workflow: Arc<Workflow>,
        stop: Arc<Stop>,
    ) -> Arc<Self> {
        let timeout = match workflow.tasks()[task as usize].timeout {
            TaskTimeout::Default => settings.task_timeout,
            TaskTimeout::Never => None,
            TaskTimeout::After(timeout) => Some(timeout),
        };
        let running = Arc::new(Self {
            hub: Arc::clone(hub),
            place: Arc::clone(place),
            incarnation: Arc::clone(incarnation),
            execution,
            task,
            number,
            failures,
            workflow,
            recording: Attempted::new(hub, place, incarnation, (execution, task, number)),
            timeout,
            grace: settings.cancel_grace,
            watched: Mutex::default(),
            told: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            waker: AtomicWaker::new(),
            reported: AtomicBool::new(false),
            stop,
        });
        running.stop.tells(&running);
        running
    }

    /// What is said in the task's code carries these. Nothing is allocated or formatted unless a subscriber wants it.
    fn span(&self) -> Span {
        info_span!(
            parent: None,
            "attempt",
            tenant = self.place.place.name,
            workflow = self.workflow.name(),
            execution = %self.execution,
            task = self.workflow.tasks()[self.task as usize].id(),
            attempt = self.number,
        )
    }

    /// Its time begins.
    fn limit_time(self: &Arc<Self>) {
        if let Some(timeout) = self.timeout {
            self.hub.watch_over(self, Due::Timeout, timeout);
        }
    }

    /// Its code gets the thread, or gives it back.
    fn turns(&self) {
        let turns = self.turns.load(Ordering::Relaxed);
        self.turns.store(turns + 1, Ordering::Release);
    }

    /// It was told to stop: what does not end by itself is ended when the grace period is over.
    pub(super) fn stopped(self: &Arc<Self>) {
        if !self.told.swap(true, Ordering::AcqRel) {
            self.hub.watch_over(self, Due::Grace, self.grace);
        }
    }

    /// What the watch does when its time has come.
    pub(super) fn is_due(self: &Arc<Self>, due: Due) {
        match due {
            // Somebody was faster.
            Due::Timeout if self.told.swap(true, Ordering::AcqRel) => {}
            Due::Timeout => {
                self.timed_out.store(true, Ordering::Release);
                // What is being recorded at this moment counts; nothing is begun any more.
                self.recording.close();
                let turn = self.turns.load(Ordering::Acquire);
                self.stop.token.cancel();
                if turn.is_multiple_of(2) {
                    self.hub.watch_over(self, Due::Grace, self.grace);
                } else {
                    self.hub.watch_over(self, Due::Blocking { turn }, self.grace.min(BLOCKING));
                }
            }
            Due::Blocking { turn } if self.turns.load(Ordering::Acquire) != turn => {
                self.hub.watch_over(self, Due::Grace, self.grace.saturating_sub(BLOCKING));
            }
            Due::Blocking { .. } => {
                self.is_over.store(true, Ordering::Release);
                self.end(End::GivenBack, None);
            }
            Due::Grace => {
                self.is_over.store(true, Ordering::Release);
                self.waker.wake();
                self.hub.watch_over(self, Due::Report, DROPPING);
            }
            Due::Report => self.end(End::GivenBack, None),
        }
    }

    /// Polls an async task until it is ready, or has to end.
    async fn to_its_end(&self, future: TaskFuture, span: Span) -> End {
        // What the task still holds when it ends is the task's code as well, and may panic.
        let mut future = Contained::new(AssertUnwindSafe(future.instrument(span)).catch_unwind());
        let result = std::future::poll_fn(|context| {
            // Before the look, so that whoever ends it in between is not missed.
            self.waker.register(context.waker());
            if self.is_over.load(Ordering::Acquire) {
                return Poll::Ready(None);
            }
            self.turns();
            let polled = future.poll_unpin(context).map(Some);
            self.turns();
            polled
        })
        .await;
        drop(future);
        result.map_or(End::GivenBack, |result| ended(result.map_err(message_of)))
    }

    /// Waits until a blocking task may run; `None` if it is told to stop before. Its time has not begun.
    async fn turn(&self) -> Option<Turn> {
        let mut waiting = match blocking::turn(self.place.place.tenant) {
            Ok(turn) => return Some(turn),
            Err(waiting) => waiting,
        };
        let (tenant, execution) = (&self.place.place.name, self.execution);
        let task = self.workflow.tasks()[self.task as usize].id();
        debug!(tenant, %execution, task, "a blocking task waits for a thread");
        let long = async {
            self.hub.sleep(LONG_WAIT).await;
            let (running, waiting) = blocking::figures();
            warn!(
                tenant, %execution, task, running, waiting,
                "a blocking task has been waiting for a thread for 10 s, because too many others run: \
                 give them less to do, or more processes"
            );
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = self.stop.token.cancelled() => None,
            turn = waiting.turn() => Some(turn),
            () = long => None,
        }
    }

    /// Reports its end, unless that was done. The permit is that of the task, if its code has ended.
    fn end(self: &Arc<Self>, end: End, permit: Option<Permit>) {
        if self.recording.close() != Phase::Writing {
            return self.report(end, permit);
        }
        let running = Arc::clone(self);
        self.hub.spawn(async move {
            running.recording.end().await;
            running.report(end, permit);
        });
    }

    /// Turns the end into an outcome, once.
    fn report(&self, end: End, permit: Option<Permit>) {
        if self.reported.swap(true, Ordering::AcqRel) {
            return;
        }
        self.hub.watch_no_more(self);
        let (execution, task) = (self.execution, self.task);
        let end = match self.recording.close() {
            Phase::Open if self.timed_out.load(Ordering::Acquire) => self.timed_out(),
            Phase::Open => end,
            // The hub knows already.
            Phase::Recorded => return,
            Phase::Writing | Phase::Unknown => End::GivenBack,
        };
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

    fn timed_out(&self) -> End {
        let error =
            format!("the attempt took longer than its timeout of {:?}", self.timeout.unwrap_or_default());
        End::Failed { how: AttemptOutcome::TimedOut, error, advice: Advice::Retry }
    }

    fn outcome(&self, end: End) -> (TaskOutcome, Option<Arc<Patch>>) {
        let settings = Arc::clone(&self.place.state().settings);
        match end {
            End::Completed(patch) if patch.is_empty() => (TaskOutcome::Completed { patch: None }, None),
            End::Completed(patch) => match stored(&patch, settings.max_patch_bytes) {
                Ok(json) => match count_in(&self.place, self.execution, self.task, json.len()) {
                    Ok(()) => (TaskOutcome::Completed { patch: Some(json) }, Some(Arc::new(patch))),
                    // It would be too large again.
                    Err(error) => (self.failed(AttemptOutcome::Failed, error, Advice::Fatal), None),
                },
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
            // How an error shows itself is code of the task, too, and so is what it does when it is dropped.
            let text = call(|| error.chain());
            discard(error);
            match text {
                Ok(text) => fail(AttemptOutcome::Failed, text, advice),
                Err(panic) => panicked(&panic),
            }
        }
        Err(panic) => panicked(&panic),
    }
}

fn panicked(message: &str) -> End {
    End::Failed {
        how: AttemptOutcome::Panicked,
        error: format!("panicked: {message}"),
        advice: Advice::Retry,
    }
}

pub(super) fn stored(patch: &Patch, limit: usize) -> Result<Payload, ContextError> {
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

/// Counts what a task leaves to the size of its execution. The error says why that is too much.
pub(super) fn count_in(
    place: &OpenPlace,
    execution: ExecutionId,
    task: TaskIndex,
    bytes: usize,
) -> Result<(), String> {
    let mut state = place.state();
    let limit = state.settings.max_execution_bytes;
    let Some(live) = state.live.get_mut(&execution) else { return Ok(()) };
    live.count_in(task, bytes, limit).map_err(|size| {
        format!(
            "with the {bytes} bytes that the task changed, the context of the execution has {size} bytes, more than the {limit} allowed \
             (`max_execution_bytes`); keep what is large elsewhere"
        )
    })
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
