//! One try of one task, on the caller's runtime.
//!
//! Its end is reported once: by the task itself, or by the [watch](super::watch) over attempts whose time is
//! up, which runs on the engine's own runtime. So a task that blocks its thread cannot keep its timeout from
//! coming; it only keeps its slot.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tracing::field::Empty;
use tracing::{Instrument, Span, debug, info_span, warn};

use super::holding::{Held, Holder, Waits, within};
use super::kernel::Run;
use super::live::merge;
use super::place::OpenPlace;
use super::recording::{Completable, Phase};
use super::shared::Hub;
use super::stop::{Stop, StopReason, Stopped};
use super::transition::{Ending, Incarnation, Transition};
use super::watch::{Due, Key, Watched};
use crate::blocking::{self, Turn};
use crate::clock::LONGEST_WAIT;
use crate::contained::{Contained, call, discard, message_of};
use crate::context::{Context, Patch, Values};
use crate::error::{Advice, TaskError};
use crate::execution::{AttemptOutcome, Before, Cancellation, Outcomes, TaskInfo};
use crate::id::{ExecutionId, TaskIndex};
use crate::label::used_slot;
use crate::origin::Origin;
use crate::slots::Permit;
use crate::store::{Outcome, TaskOutcome};
use crate::trace::{AttemptSpan, Belongs};
use crate::workflow::{Node, TaskBody, TaskDefinition, TaskFuture, Workflow};

/// The longest error text that is kept, in bytes.
const MAX_ERROR: usize = 16 << 10;

/// The least time for which a task may snooze: one that does it again and again writes a line each time.
const LEAST_SNOOZE: Duration = Duration::from_secs(1);

/// How long a blocking task waits for a thread before the log says so.
const LONG_WAIT: Duration = Duration::from_secs(10);

/// How long code that blocks its thread when its timeout passes may go on before its attempt is reported
/// without it. It cannot be dropped, so nothing is gained by waiting for the whole grace period.
const BLOCKING: Duration = Duration::from_secs(1);

/// How long a future that is to be dropped may take for that, before its attempt is reported without it.
const DROPPING: Duration = Duration::from_millis(100);

/// What is run.
fn definition(workflow: &Workflow, task: TaskIndex) -> &TaskDefinition {
    workflow.node(task).and_then(Node::task).expect("only tasks are run")
}

/// One try of one task. Dropped before it came to its end, it gives the task back.
pub(super) struct Attempt {
    running: Arc<Running>,
    input: Arc<Values>,
    patches: Vec<Arc<Patch>>,
    origin: Origin,
    permit: Option<Permit>,
    /// Where it runs.
    runtime: Option<Handle>,
    ended: bool,
}

/// What is known of one try while it runs, by its task and by the watch.
struct Running {
    hub: Arc<Hub>,
    place: Arc<OpenPlace>,
    incarnation: Arc<Incarnation>,
    execution: ExecutionId,
    task: TaskIndex,
    number: i32,
    failures: i32,
    workflow: Arc<Workflow>,
    /// How it belongs to the trace in which its execution was submitted.
    belongs: Option<Belongs>,
    span: AttemptSpan,
    /// When it was given its slot.
    begun: Duration,
    stop: Arc<Stop>,
    /// Whether its task records its own completion.
    recording: Arc<Completable>,
    timeout: Option<Duration>,
    grace: Duration,
    /// Where the watch has it. Written and read under the lock of the watch.
    watched: Mutex<Option<Key>>,
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
    /// For what its code waits.
    waits: Waits,
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
    pub(super) fn new(
        hub: &Arc<Hub>,
        place: &Arc<OpenPlace>,
        incarnation: &Arc<Incarnation>,
        run: Run,
    ) -> Self {
        let Run { start, workflow, input, patches, origin, stop, timeout, grace, runtime, .. } = run;
        let belongs = origin.trace.clone().map(|trace| {
            let age = hub.moment(None).now.duration_since(run.created_at);
            Belongs::new(trace, age.try_into().unwrap_or_default(), run.has_waited)
        });
        let of = (start.execution, start.task, start.attempt);
        let running = Arc::new(Running {
            hub: Arc::clone(hub),
            place: Arc::clone(place),
            incarnation: Arc::clone(incarnation),
            execution: start.execution,
            task: start.task,
            number: start.attempt,
            failures: start.failures,
            workflow,
            belongs,
            span: AttemptSpan::default(),
            begun: hub.clock.monotonic(),
            recording: Completable::new(hub, place, incarnation, of),
            timeout,
            grace,
            watched: Mutex::default(),
            told: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            waker: AtomicWaker::new(),
            reported: AtomicBool::new(false),
            waits: Waits::default(),
            stop,
        });
        let told: Weak<Running> = Arc::downgrade(&running);
        running.stop.tells(told);
        if let Some(waited) = start.waited {
            running.workflow.meters().waited(waited);
        }
        let permit = start.permit.unwrap_or_else(|| place.slots.force());
        Self { running, input, patches, origin, permit: Some(permit), runtime, ended: false }
    }

    /// Runs it, if there is a runtime to run it on. Otherwise it gives its task back.
    pub(super) fn start(self) {
        if let Some(runtime) = self.runtime.clone() {
            drop(runtime.spawn(self.run()));
        }
    }

    /// Runs the task and reports what became of it.
    async fn run(mut self) {
        if self.running.stop.token.is_cancelled() {
            return self.end(End::GivenBack);
        }
        let workflow = Arc::clone(&self.running.workflow);
        let definition = definition(&workflow, self.running.task);
        if definition.takes_no_slot {
            drop(self.permit.take());
        }
        let context = self.context(definition.id());
        #[cfg(feature = "testing")]
        if let Some(end) = self.scripted(context.task().clone()).await {
            return self.end(end);
        }
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
                let end = self.running.with_emitted(end).await;
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

    /// Does what a test has to say about the attempt; how it ends if it ends by that.
    #[cfg(feature = "testing")]
    async fn scripted(&self, attempt: TaskInfo) -> Option<End> {
        let script = self.running.place.state().handles.settings.script.clone()?;
        self.running.limit_time();
        let begun: TaskFuture =
            Box::pin(async move { script.begin(&attempt).await.map(|()| Context::new()) });
        match self.running.to_its_end(begun, Span::none()).await {
            End::Completed(_) => None,
            end => Some(end),
        }
    }

    /// Runs blocking code. It cannot be stopped, so it keeps its slot until it returns, whatever is recorded
    /// in the meantime.
    fn block(mut self, code: &dyn Fn(Context) -> Result<Context, TaskError>, context: Context, turn: Turn) {
        let end = if self.running.stop.token.is_cancelled() {
            End::GivenBack
        } else {
            self.running.limit_time();
            self.running.turns();
            let code = || call(|| self.running.span().in_scope(|| code(context)));
            let end = ended(within(&mut self.running.holder(), code));
            tokio::runtime::Handle::current().block_on(self.running.with_emitted(end))
        };
        drop(turn);
        self.end(end);
    }

    fn context(&mut self, task_id: &str) -> Context {
        let running = &self.running;
        let values = merge(Arc::clone(&self.input), &self.patches);
        self.patches = Vec::new();
        let recording = Arc::new(running.recording.recording());
        let info = TaskInfo {
            execution_id: running.execution.into(),
            workflow: running.workflow.name().to_owned(),
            task_id: task_id.to_owned(),
            attempt: running.number.max(0).cast_unsigned(),
            cancellation: Cancellation { token: running.stop.token.clone() },
            place: Arc::clone(&running.place.place),
            resources: running.place.state().handles.settings.resources.clone(),
            origin: self.origin.clone(),
            state: running.workflow.state().cloned().unwrap_or_default(),
            input: Arc::clone(&self.input),
            outcomes: Outcomes::Asked(Arc::clone(&recording) as Arc<dyn Before>),
            given: HashMap::new(),
            engine: recording,
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
                self.running.place.state().handles.runtime_ended(ended);
            }
            self.end(End::GivenBack);
        }
    }
}

impl Running {
    /// What is said in the task's code carries these. Nothing is allocated or formatted unless a subscriber
    /// wants it.
    fn span(&self) -> Span {
        let (workflow, task) = (self.workflow.name(), definition(&self.workflow, self.task).id());
        let span = info_span!(
            parent: None,
            "attempt",
            tenant = self.place.place.name,
            workflow,
            execution = %self.execution,
            task,
            attempt = self.number,
            otel.kind = Empty,
        );
        self.span.begins(&span, task, workflow, self.belongs.as_ref());
        span
    }

    /// Whoever holds the slot while the code runs, if it has one.
    fn holder(self: &Arc<Self>) -> Option<Arc<dyn Holder>> {
        let has_slot = !definition(&self.workflow, self.task).takes_no_slot;
        has_slot.then(|| Arc::clone(self) as Arc<dyn Holder>)
    }

    /// Its time begins.
    fn limit_time(self: &Arc<Self>) {
        if let Some(timeout) = self.timeout {
            self.watch(Due::Timeout, timeout);
        }
    }

    /// Has the watch look at it after `delay`.
    fn watch(self: &Arc<Self>, due: Due, delay: Duration) {
        self.hub.watch.over(Arc::clone(self) as Arc<dyn Watched>, due, delay, self.hub.clock().monotonic());
    }

    /// Its code gets the thread, or gives it back.
    fn turns(&self) {
        let turns = self.turns.load(Ordering::Relaxed);
        self.turns.store(turns + 1, Ordering::Release);
    }

    /// Polls an async task until it is ready, or has to end.
    async fn to_its_end(self: &Arc<Self>, future: TaskFuture, span: Span) -> End {
        // What the task still holds when it ends is the task's code as well, and may panic.
        let mut future = Contained::new(AssertUnwindSafe(future.instrument(span)).catch_unwind());
        let mut holder = self.holder();
        let result = std::future::poll_fn(|context| {
            // Before the look, so that whoever ends it in between is not missed.
            self.waker.register(context.waker());
            if self.is_over.load(Ordering::Acquire) {
                return Poll::Ready(None);
            }
            self.turns();
            let polled = within(&mut holder, || future.poll_unpin(context).map(Some));
            self.turns();
            polled
        })
        .await;
        drop(future);
        result.map_or(End::GivenBack, |result| ended(result.map_err(message_of)))
    }

    /// The end of its task, with what stands for what it emitted.
    async fn with_emitted(&self, end: End) -> End {
        let End::Completed(mut patch) = end else { return end };
        match self.recording.emitted().await {
            Ok(emitted) => {
                emitted.into_iter().for_each(|(name, marker)| patch.set(name, marker));
                End::Completed(patch)
            }
            Err(error) => ended(Ok(Err(error))),
        }
    }

    /// Waits until a blocking task may run; `None` if it is told to stop before. Its time has not begun.
    async fn turn(&self) -> Option<Turn> {
        let mut waiting = match blocking::turn(self.place.place.tenant) {
            Ok(turn) => return Some(turn),
            Err(waiting) => waiting,
        };
        let (tenant, execution) = (&self.place.place.name, self.execution);
        let task = definition(&self.workflow, self.task).id();
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
        self.hub.watch.no_more(self);
        let (execution, task) = (self.execution, self.task);
        let end = match self.recording.close() {
            Phase::Open if self.timed_out.load(Ordering::Acquire) => self.timed_out(),
            Phase::Open => end,
            // The hub knows already.
            Phase::Recorded => return self.count(AttemptOutcome::Completed, None),
            Phase::Writing | Phase::Unknown => End::GivenBack,
        };
        if self.stop.reason() == Some(StopReason::Void) {
            let effects = self.place.state().let_go(execution, task, self.number, self.hub.moment(None));
            return self.hub.perform(&self.place, None, effects);
        }
        let (outcome, patch) = self.outcome(end);
        match &outcome {
            TaskOutcome::Completed { .. } => self.count(AttemptOutcome::Completed, None),
            TaskOutcome::Failed { how, error } | TaskOutcome::Retry { how, error, .. } => {
                self.count(*how, Some(error));
            }
            // What was given back was no try.
            _ => {}
        }
        let outcome = Outcome::new(execution, task, self.number, outcome);
        self.hub.end(&self.place, &self.incarnation, outcome, patch, permit);
    }

    fn count(&self, outcome: AttemptOutcome, error: Option<&str>) {
        self.span.ends(outcome, error);
        let took = self.hub.clock.monotonic().saturating_sub(self.begun);
        self.workflow.meters().attempt(self.task, outcome, took);
        used_slot(&self.place.place.name, took);
    }

    fn timed_out(&self) -> End {
        let error =
            format!("the attempt took longer than its timeout of {:?}", self.timeout.unwrap_or_default());
        End::Failed { how: AttemptOutcome::TimedOut, error, advice: Advice::Retry }
    }

    fn outcome(&self, end: End) -> (TaskOutcome, Option<Arc<Patch>>) {
        let limit = self.place.state().handles.settings.max_patch_bytes;
        match end {
            End::Completed(patch) if patch.is_empty() => (TaskOutcome::Completed { patch: None }, None),
            End::Completed(patch) => match patch.stored(limit) {
                Ok(json) => match self.place.state().count_in(self.execution, self.task, json.len()) {
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
        let policy = &definition(&self.workflow, self.task).retry;
        let backoff = policy.delay(self.failures.max(0).cast_unsigned().saturating_add(1));
        if let Advice::Snooze(delay) = advice {
            let (how, after) = (AttemptOutcome::Snoozed, delay.clamp(LEAST_SNOOZE, LONGEST_WAIT));
            return TaskOutcome::Retry { how, error: storable(error), after };
        }
        let after = match (advice, backoff) {
            (Advice::Fatal | Advice::Snooze(_), _) | (_, None) => None,
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

impl Holder for Running {
    fn held(&self) -> Held<'_> {
        Held {
            hub: &self.hub,
            place: &self.place,
            workflow: self.workflow.name(),
            execution: self.execution,
            task: definition(&self.workflow, self.task).id(),
            waits: &self.waits,
        }
    }
}

impl Stopped for Running {
    /// What does not end by itself is ended when the grace period is over.
    fn stopped(self: Arc<Self>) {
        if !self.told.swap(true, Ordering::AcqRel) {
            self.watch(Due::Grace, self.grace);
        }
    }
}

impl Watched for Running {
    fn key(&self) -> &Mutex<Option<Key>> {
        &self.watched
    }

    fn is_due(self: Arc<Self>, due: Due) {
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
                    self.watch(Due::Grace, self.grace);
                } else {
                    self.watch(Due::Blocking { turn }, self.grace.min(BLOCKING));
                }
            }
            Due::Blocking { turn } if self.turns.load(Ordering::Acquire) != turn => {
                self.watch(Due::Grace, self.grace.saturating_sub(BLOCKING));
            }
            Due::Blocking { .. } => {
                self.is_over.store(true, Ordering::Release);
                self.end(End::GivenBack, None);
            }
            Due::Grace => {
                self.is_over.store(true, Ordering::Release);
                self.waker.wake();
                self.watch(Due::Report, DROPPING);
            }
            Due::Report => self.end(End::GivenBack, None),
        }
    }
}

impl Hub {
    /// Hands the end of a task to its lane, with slots for the successors that it may set free.
    pub(super) fn end(
        &self,
        place: &Arc<OpenPlace>,
        incarnation: &Arc<Incarnation>,
        mut outcome: Outcome,
        patch: Option<Arc<Patch>>,
        permit: Option<Permit>,
    ) {
        let slots = &place.slots;
        let permits = place.state().prepare(&mut outcome, permit, |wanted| slots.take(wanted));
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
