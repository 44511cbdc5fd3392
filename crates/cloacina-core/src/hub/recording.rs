//! The completion of a task, recorded in a transaction that is somebody else's: what the task did with its
//! tenant's data and that it is done are one commit.
//!
//! What is written is an [`Outcome`] like any other, by the statements of a flush; only the transaction is
//! not a lane's. From before that commit until the memory knows of it, the auditor is kept away from the
//! place, as it is during a flush: otherwise it could read the task as running, and start it again when the
//! memory has just let go of it.
//!
//! If the answer to the commit is lost, the task is given back like one that was stopped. Where it was
//! committed after all, giving it back finds its row changed, and the auditor reads what the database says.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{OwnedRwLockReadGuard, watch};

use super::batch::PlaceBatch;
use super::place::OpenPlace;
use super::shared::Hub;
use super::stream::{Buffered, MOST_ITEMS, Streams, marker};
use super::timers::Timer;
use super::transition::{Ending, Incarnation};
use crate::context::{Context, Patch};
use crate::error::TaskError;
use crate::execution::{Before, DependencyOutcome, TaskInfo};
use crate::id::{ExecutionId, RunnerId, TaskIndex};
use crate::store::{
    KeptTask, Outcome, Payload, Place, PlaceFlushed, StoreError, Stream, StreamPage, TaskOutcome,
};
use crate::workflow::{RESERVED, check_name};

/// How far somebody else has come with recording the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing of it is under way.
    Open,
    /// It is being written; how the attempt ends is not decided.
    Writing,
    /// It is recorded, and the hub knows.
    Recorded,
    /// Only the database knows.
    Unknown,
}

/// Records the completion of one attempt in a transaction that is not the engine's. Of no use once the
/// attempt is over.
#[derive(Clone)]
pub struct Recording(Weak<Completable>);

/// An attempt whose end somebody else may record.
pub(crate) struct Completable {
    hub: Arc<Hub>,
    place: Arc<OpenPlace>,
    incarnation: Arc<Incarnation>,
    execution: ExecutionId,
    task: TaskIndex,
    attempt: i32,
    phase: watch::Sender<Phase>,
    /// Whether the attempt has ended: nothing is begun any more.
    is_over: AtomicBool,
    /// Whether its task runs in a transaction.
    in_transaction: AtomicBool,
    /// What its task has emitted.
    streams: tokio::sync::Mutex<Streams>,
}

/// What is to be written so that a task is completed.
#[derive(Debug, Clone)]
pub struct Completion {
    /// Who holds the task.
    pub runner: RunnerId,
    /// Where.
    pub place: Arc<Place>,
    /// What became of it. Its successors go to the ready table.
    pub outcome: Arc<Outcome>,
    /// Whether its execution may have due rows.
    pub timed: bool,
    /// Whether a schedule may have started its execution.
    pub related: bool,
    /// The time, if the clock of a test overrides the database's.
    pub now: Option<Timestamp>,
}

/// A completion that is being written. Dropped, nothing was: the transaction has been rolled back, or never
/// came to its commit.
pub struct Writing {
    attempt: Arc<Completable>,
    completion: Completion,
    patch: Option<Arc<Patch>>,
    next: Phase,
    _auditor_waits: OwnedRwLockReadGuard<()>,
}

impl Completable {
    pub(crate) fn new(
        hub: &Arc<Hub>,
        place: &Arc<OpenPlace>,
        incarnation: &Arc<Incarnation>,
        (execution, task, attempt): (ExecutionId, TaskIndex, i32),
    ) -> Arc<Self> {
        Arc::new(Self {
            hub: Arc::clone(hub),
            place: Arc::clone(place),
            incarnation: Arc::clone(incarnation),
            execution,
            task,
            attempt,
            phase: watch::Sender::new(Phase::Open),
            is_over: AtomicBool::new(false),
            in_transaction: AtomicBool::new(false),
            streams: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn recording(self: &Arc<Self>) -> Recording {
        Recording(Arc::downgrade(self))
    }

    /// Ends the attempt: waits for what is being written, and lets nothing be begun any more.
    pub(crate) async fn end(&self) -> Phase {
        let phase = self.close();
        if phase != Phase::Writing {
            return phase;
        }
        let mut phase = self.phase.subscribe();
        // The sender is ours, so it is there.
        phase.wait_for(|phase| *phase != Phase::Writing).await.map_or(Phase::Unknown, |phase| *phase)
    }

    /// The same for an attempt that cannot wait.
    pub(crate) fn close(&self) -> Phase {
        let mut now = Phase::Open;
        // Under the lock of the channel, so that nothing is begun in between.
        self.phase.send_if_modified(|phase| {
            self.is_over.store(true, Ordering::Release);
            now = *phase;
            false
        });
        now
    }

    /// False if the attempt is over.
    fn open(&self) -> bool {
        self.phase.send_if_modified(|phase| {
            let begins = *phase == Phase::Open && !self.is_over.load(Ordering::Acquire);
            if begins {
                *phase = Phase::Writing;
            }
            begins
        })
    }

    /// Writes what the task has emitted and is not written yet, and says what is to stand for it in the
    /// context.
    pub(super) async fn emitted(&self) -> Result<Vec<(String, Value)>, TaskError> {
        let mut streams = self.streams.lock().await;
        for (name, buffered) in streams.iter_mut() {
            self.write(name, buffered).await?;
        }
        let streams = std::mem::take(&mut *streams);
        let marked = streams.into_iter().map(|(name, written)| {
            let marker = marker(self.stream(&name), written.total());
            (name, marker)
        });
        Ok(marked.collect())
    }

    /// Writes a page, if there is one.
    async fn write(&self, name: &str, buffered: &mut Buffered) -> Result<(), TaskError> {
        let Some((first, items)) = buffered.page() else { return Ok(()) };
        let page = StreamPage { first: i64::try_from(first).unwrap_or(i64::MAX), items: items.into() };
        let (store, place) = (Arc::clone(self.hub.store()), Arc::clone(&self.place.place));
        let (stream, runner) = (self.stream(name), self.incarnation.id);
        let kept = self.hub.ask(async move { store.page_write(&place, runner, &stream, &page).await });
        if !kept.await? {
            return Err(over());
        }
        buffered.written();
        Ok(())
    }

    fn stream(&self, name: &str) -> Stream {
        Stream { execution: self.execution, task: self.task, attempt: self.attempt, name: name.to_owned() }
    }

    fn outcome(&self, patch: Option<Payload>) -> Outcome {
        let outcome = TaskOutcome::Completed { patch };
        let mut outcome = Outcome::new(self.execution, self.task, self.attempt, outcome);
        if let Some(live) = self.place.state().work.live.get(&self.execution) {
            let successors = live.successors(self.task).into_iter();
            outcome.successors = successors.map(|(task, _)| (task, false)).collect();
            outcome.waits = live.waits(self.task);
            outcome.parks = live.graph.has_waits();
            outcome.handles = live.handles(self.task);
        }
        outcome
    }
}

impl Recording {
    /// That of the attempt that a task belongs to.
    ///
    /// # Errors
    ///
    /// It was not started by the engine.
    pub fn of(task: &TaskInfo) -> Result<&Self, TaskError> {
        let made_up =
            || TaskError::fatal("the task was not started by a runner, so there is nothing to record");
        task.engine.downcast_ref::<Self>().ok_or_else(made_up)
    }

    /// Where the attempt runs, as long as it does.
    pub(crate) fn whereabouts(&self) -> Option<(Arc<Hub>, Arc<OpenPlace>)> {
        let attempt = self.0.upgrade()?;
        Some((Arc::clone(&attempt.hub), Arc::clone(&attempt.place)))
    }

    /// Which task it is, and where, as long as the attempt lasts.
    pub(crate) fn position(&self) -> Option<(ExecutionId, TaskIndex, Arc<OpenPlace>)> {
        let attempt = self.0.upgrade()?;
        Some((attempt.execution, attempt.task, Arc::clone(&attempt.place)))
    }

    /// Keeps what the task has done so far, for the next attempt of it: the stored form of a patch. False if
    /// the attempt is over.
    pub(crate) async fn keep(&self, patch: Payload) -> Result<bool, StoreError> {
        let Some(attempt) = self.0.upgrade() else { return Ok(false) };
        let Completable { hub, place, incarnation, execution, task, attempt: number, .. } = &*attempt;
        let (store, place) = (Arc::clone(hub.store()), Arc::clone(&place.place));
        let (execution, task, runner, attempt) = (*execution, *task, incarnation.id, *number);
        let kept = KeptTask { execution, task, runner, attempt, patch };
        hub.ask(async move { store.task_keep(&place, &kept).await }).await
    }

    /// Whether nothing should be begun any more, because what runs here is about to be ended.
    pub(crate) fn is_leaving(&self) -> bool {
        self.0.upgrade().is_none_or(|attempt| {
            let state = attempt.place.state();
            let handles = &state.handles;
            handles.closing || handles.yields() || handles.executors.is_empty()
        })
    }

    /// The task runs in a transaction.
    pub fn in_transaction(&self) {
        if let Some(attempt) = self.0.upgrade() {
            attempt.in_transaction.store(true, Ordering::Relaxed);
        }
    }

    /// Adds an item to a list that the task emits; without one, the list is there.
    pub(crate) async fn emit(&self, name: &str, item: Option<String>) -> Result<(), TaskError> {
        let attempt = self.0.upgrade().ok_or_else(over)?;
        let named = name.escape_debug();
        if attempt.in_transaction.load(Ordering::Relaxed) {
            return Err(TaskError::fatal(format!(
                "`{named}` cannot be emitted by a task that runs in a transaction: let a task of its own emit it"
            )));
        }
        if let Err(problem) = check_name(name) {
            return Err(TaskError::fatal(format!("the name `{named}` of a list that is emitted {problem}")));
        }
        if name.starts_with(RESERVED) {
            return Err(TaskError::fatal(format!(
                "`{named}` is a name of the engine's: call the list otherwise"
            )));
        }
        let mut streams = attempt.streams.lock().await;
        let buffered = streams.entry(name.to_owned()).or_default();
        let Some(item) = item else { return Ok(()) };
        if buffered.total() >= MOST_ITEMS {
            return Err(TaskError::fatal(format!("the list `{named}` has {MOST_ITEMS} items, the most")));
        }
        if buffered.is_full_for(&item) {
            attempt.write(name, buffered).await?;
        }
        buffered.add(&item);
        Ok(())
    }

    /// Begins to write that the task is done and leaves this context.
    ///
    /// # Errors
    ///
    /// The context cannot be stored, or the attempt is over: it was cancelled or took too long. Nothing must
    /// be committed then.
    pub async fn begin(&self, context: Context) -> Result<Writing, TaskError> {
        let attempt = self.0.upgrade().ok_or_else(over)?;
        let place = &attempt.place;
        let limit = place.state().handles.settings.max_patch_bytes;
        let patch = context.into_patch().map_err(TaskError::new)?;
        let (patch, json) = if patch.is_empty() {
            (None, None)
        } else {
            let json = patch.stored(limit).map_err(TaskError::new)?;
            let counted = place.state().count_in(attempt.execution, attempt.task, json.len());
            counted.map_err(TaskError::fatal)?;
            (Some(Arc::new(patch)), Some(json))
        };
        let waits = Arc::clone(&place.recording).read_owned().await;
        if !attempt.open() {
            return Err(over());
        }
        let (timed, related) = {
            let state = place.state();
            let ended = || std::iter::once(attempt.execution);
            (!state.work.timed(ended()).is_empty(), !state.work.related(ended()).is_empty())
        };
        let completion = Completion {
            timed,
            related,
            runner: attempt.incarnation.id,
            place: Arc::clone(&place.place),
            outcome: Arc::new(attempt.outcome(json)),
            now: attempt.hub.clock.database_now(),
        };
        Ok(Writing { attempt, completion, patch, next: Phase::Open, _auditor_waits: waits })
    }
}

impl Before for Recording {
    fn outcome_of(&self, task: &str) -> Option<DependencyOutcome> {
        let attempt = self.0.upgrade()?;
        let state = attempt.place.state();
        state.work.live.get(&attempt.execution)?.outcome_of(attempt.task, task)
    }
}

pub(super) fn over() -> TaskError {
    TaskError::new("the attempt was over before its task came to an end")
}

impl Writing {
    /// What is to be written.
    #[must_use]
    pub fn completion(&self) -> &Completion {
        &self.completion
    }

    /// The transaction was committed, and this is what it did to the engine's rows.
    pub fn committed(mut self, now: Timestamp, done: PlaceFlushed) {
        let Completable { hub, place, incarnation, .. } = &*self.attempt;
        let mut batch = PlaceBatch::new(Arc::clone(place));
        batch.endings.push(Ending {
            place: Arc::clone(place),
            incarnation: Arc::clone(incarnation),
            outcome: Arc::clone(&self.completion.outcome),
            patch: self.patch.take(),
            permits: Vec::new(),
            refused: false,
        });
        if self.completion.related && !done.closed.is_empty() {
            // Its schedule may wait for its end.
            hub.set_timer(place.place.tenant, Timer::Due, Duration::ZERO);
        }
        let effects = place.state().apply(batch, done, hub.moment(Some(now)));
        hub.perform(place, Some(incarnation), effects);
        self.next = Phase::Recorded;
    }

    /// Only the database knows how the task stands: the answer to the commit was lost, or the row was not as
    /// it had to be, and the transaction was rolled back.
    pub fn unknown(mut self) {
        self.next = Phase::Unknown;
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.attempt.phase.send_replace(self.next);
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = self.0.upgrade().map(|attempt| *attempt.phase.borrow());
        f.debug_struct("Recording").field("phase", &phase).finish()
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").field("completion", &self.completion).finish_non_exhaustive()
    }
}
