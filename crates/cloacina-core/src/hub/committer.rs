//! The lanes: everything that is written goes through one, in batches.
//!
//! While one flush is under way, transitions pile up; the next flush takes them all. So there is no timer: an idle lane
//! commits at once, a busy one in large batches. What a flush did is applied to memory before the lane goes on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, histogram};
use tokio::sync::mpsc;
use tracing::{debug, error, warn};

use super::attempt::Attempt;
use super::auditor::Audit;
use super::live::Live;
use super::place::{Held, OpenPlace, PlaceState, Stop};
use super::scheduler::Timer;
use super::{ClaimRequest, Ending, Hub, Incarnation, Submit, SubmitReply, Transition};
use crate::error::{ErrorKind, PipelineError};
use crate::execution::{AttemptOutcome, PipelineStatus, SkipReason, TaskState};
use crate::id::{ExecutionId, TaskIndex, TenantId};
use crate::slots::Permit;
use crate::store::{
    Claim, Claimed, Closed, Flush, Flushed, Freed, Outcome, PlaceFlush, PlaceFlushed, StoreError,
    StoreErrorKind, TaskOutcome,
};

/// The most transitions, and the most bytes of JSON, in one flush: what keeps a flush at a few milliseconds.
const MAX_TRANSITIONS: usize = 1000;
const MAX_BYTES: usize = 8 << 20;

/// How long a lane waits after a failed flush: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How long a new execution may wait for a database that cannot be reached before its caller is told.
const SUBMIT_PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Lane {
    hub: Arc<Hub>,
    index: usize,
    /// Transitions of places that cannot be used at the moment; nobody else waits for them.
    parked: HashMap<TenantId, Parked>,
}

struct Parked {
    batch: PlaceBatch,
    due: Duration,
    wait: Duration,
}

/// The transitions of one place.
pub(super) struct PlaceBatch {
    place: Arc<OpenPlace>,
    submits: Vec<Submit>,
    endings: Vec<Ending>,
    permits: Vec<Permit>,
    /// Of the claim: what was known of the backlog when it was asked for.
    news: u64,
}

impl PlaceBatch {
    fn new(place: Arc<OpenPlace>) -> Self {
        Self { place, submits: Vec::new(), endings: Vec::new(), permits: Vec::new(), news: 0 }
    }

    fn is_empty(&self) -> bool {
        self.submits.is_empty() && self.endings.is_empty() && self.permits.is_empty()
    }

    fn len(&self) -> usize {
        self.submits.len() + self.endings.len() + usize::from(!self.permits.is_empty())
    }

    /// Each transition alone.
    fn split(self) -> Vec<Self> {
        let Self { place, submits, endings, permits, news } = self;
        let alone = |fill: &dyn Fn(&mut Self)| {
            let mut batch = Self::new(Arc::clone(&place));
            fill(&mut batch);
            batch
        };
        let empty = || alone(&|_| ());
        let submits = submits.into_iter().map(|submit| Self { submits: vec![submit], ..empty() });
        let endings = endings.into_iter().map(|ending| Self { endings: vec![ending], ..empty() });
        let mut all: Vec<Self> = submits.chain(endings).collect();
        if !permits.is_empty() {
            all.push(Self { permits, news, ..empty() });
        }
        all
    }

    fn absorb(&mut self, other: Self) {
        self.submits.extend(other.submits);
        self.endings.extend(other.endings);
        self.permits.extend(other.permits);
        self.news = self.news.max(other.news);
    }
}

/// What a flush came to.
enum Attempted {
    Done,
    /// Nothing was written, or it is not known whether it was: the batches are to be tried again.
    Again(Vec<PlaceBatch>, StoreError),
}

impl Lane {
    pub(super) fn new(hub: Arc<Hub>, index: usize) -> Self {
        Self { hub, index, parked: HashMap::new() }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Transition>) {
        let hub = Arc::clone(&self.hub);
        let mut buffer = Vec::new();
        loop {
            let parked = self.parked.values().map(|parked| parked.due).min();
            let unpark = async {
                match parked {
                    Some(due) => hub.clock.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                received = inbox.recv_many(&mut buffer, MAX_TRANSITIONS) => if received == 0 { return },
                () = unpark => {}
                () = hub.stop.cancelled() => return,
            }
            let batches = self.batches(&mut buffer);
            self.commit(batches).await;
        }
    }

    /// The received transitions by place, with those whose time has come again.
    fn batches(&mut self, buffer: &mut Vec<Transition>) -> Vec<PlaceBatch> {
        let mut batches: Vec<PlaceBatch> = Vec::new();
        let mut positions: HashMap<TenantId, usize> = HashMap::new();
        let mut batch_of = |batches: &mut Vec<PlaceBatch>, place: &Arc<OpenPlace>| {
            *positions.entry(place.place.tenant).or_insert_with(|| {
                batches.push(PlaceBatch::new(Arc::clone(place)));
                batches.len() - 1
            })
        };
        for transition in buffer.drain(..) {
            match transition {
                Transition::Submit(submit) => {
                    let at = batch_of(&mut batches, &submit.place);
                    batches[at].submits.push(*submit);
                }
                Transition::Ending(ending) => {
                    let at = batch_of(&mut batches, &ending.place);
                    batches[at].endings.push(*ending);
                }
                Transition::Claim(ClaimRequest { place, permits, news }) => {
                    let at = batch_of(&mut batches, &place);
                    batches[at].permits.extend(permits);
                    batches[at].news = news;
                }
            }
        }
        // New transitions of a parked place wait with the others, so that a place that is gone costs no flush each.
        batches.retain_mut(|batch| match self.parked.get_mut(&batch.place.place.tenant) {
            Some(parked) => {
                parked.batch.absorb(std::mem::replace(batch, PlaceBatch::new(Arc::clone(&batch.place))));
                false
            }
            None => true,
        });
        let now = self.hub.clock.monotonic();
        let due: Vec<TenantId> =
            self.parked.iter().filter(|(_, parked)| parked.due <= now).map(|(tenant, _)| *tenant).collect();
        for tenant in due {
            // Tried alone, and parked again with a longer wait if it fails.
            if let Some(parked) = self.parked.get_mut(&tenant) {
                let empty = PlaceBatch::new(Arc::clone(&parked.batch.place));
                batches.push(std::mem::replace(&mut parked.batch, empty));
                parked.due = Duration::MAX;
            }
        }
        batches
    }

    /// Writes the batches; does not return before they are written, parked or refused.
    async fn commit(&mut self, batches: Vec<PlaceBatch>) {
        let (mut alone, mut together): (Vec<_>, Vec<_>) =
            batches.into_iter().partition(|batch| self.parked.contains_key(&batch.place.place.tenant));
        let mut work: Vec<Vec<PlaceBatch>> = alone.drain(..).map(|batch| vec![batch]).collect();
        // A flush has an upper bound in bytes as well.
        let mut bytes = 0;
        let mut current: Vec<PlaceBatch> = Vec::new();
        for batch in together.drain(..) {
            bytes += size_of_batch(&batch);
            current.push(batch);
            if bytes > MAX_BYTES {
                work.push(std::mem::take(&mut current));
                bytes = 0;
            }
        }
        if !current.is_empty() {
            work.push(current);
        }
        work.reverse();
        let mut wait = BACKOFF.0;
        while let Some(batches) = work.pop() {
            match self.flush(batches).await {
                Attempted::Done => wait = BACKOFF.0,
                Attempted::Again(batches, error) => match error.kind() {
                    StoreErrorKind::Transient | StoreErrorKind::Unknown => {
                        let unsure = error.kind() == StoreErrorKind::Unknown;
                        let batches = self.give_up_old_submits(batches, unsure, &error);
                        debug!(database = self.hub.label(), %error, "a commit failed; it is tried again");
                        self.hub.clock.sleep(wait).await;
                        wait = (wait * 2).min(BACKOFF.1);
                        if self.hub.stop.is_cancelled() {
                            return;
                        }
                        if !batches.is_empty() {
                            work.push(batches);
                        }
                    }
                    StoreErrorKind::Fenced => {
                        if let Some(incarnation) = self.hub.incarnation() {
                            self.hub.renew(&incarnation).await;
                        }
                        work.push(batches);
                    }
                    // One tenant's trouble must not be another's.
                    _ if batches.len() > 1 => work.extend(batches.into_iter().map(|batch| vec![batch])),
                    StoreErrorKind::Data => {
                        let batch = batches.into_iter().next().expect("an empty flush cannot fail");
                        if batch.len() > 1 {
                            work.extend(batch.split().into_iter().map(|batch| vec![batch]));
                        } else if let Some(batch) = refuse_data(batch, &error) {
                            work.push(vec![batch]);
                        }
                    }
                    StoreErrorKind::Place
                    | StoreErrorKind::Version
                    | StoreErrorKind::Configuration
                    | StoreErrorKind::Internal => {
                        batches.into_iter().for_each(|batch| self.park(batch, &error));
                    }
                },
            }
        }
    }

    /// Tells callers whose execution was certainly not recorded, after they have waited long enough.
    fn give_up_old_submits(
        &self,
        batches: Vec<PlaceBatch>,
        unsure: bool,
        error: &StoreError,
    ) -> Vec<PlaceBatch> {
        let now = self.hub.clock.monotonic();
        let mut kept = Vec::new();
        for mut batch in batches {
            let (old, young): (Vec<_>, Vec<_>) =
                std::mem::take(&mut batch.submits).into_iter().partition(|submit| {
                    !submit.unsure && !unsure && now.saturating_sub(submit.since) >= SUBMIT_PATIENCE
                });
            for submit in old {
                let message = format!(
                    "execution {} of tenant `{}` was not recorded, because the database {} could not be reached for {} s; submit it again",
                    submit.execution.id,
                    batch.place.place.name,
                    self.hub.label(),
                    SUBMIT_PATIENCE.as_secs()
                );
                submit
                    .reply
                    .fail(PipelineError::new(ErrorKind::Unavailable, message).with_source(copy_of(error)));
            }
            batch.submits = young;
            batch.submits.iter_mut().for_each(|submit| submit.unsure |= unsure);
            if !batch.is_empty() {
                kept.push(batch);
            }
        }
        kept
    }

    /// Puts the transitions of an unusable place aside. New executions are refused, outcomes wait for better times.
    fn park(&mut self, mut batch: PlaceBatch, error: &StoreError) {
        let tenant = batch.place.place.tenant;
        for submit in batch.submits.drain(..) {
            let message = format!(
                "execution {} was not recorded in the place of tenant `{}`: {error}",
                submit.execution.id, batch.place.place.name
            );
            submit.reply.fail(PipelineError::new(error.kind().into(), message).with_source(copy_of(error)));
        }
        let wait = self
            .parked
            .get(&tenant)
            .map_or(Duration::from_millis(100), |parked| (parked.wait * 2).min(Duration::from_secs(5)));
        if !batch.permits.is_empty() {
            batch.permits.clear();
            self.hub.claim_failed(&batch.place, wait);
        }
        if batch.endings.is_empty() && self.parked.get(&tenant).is_none_or(|parked| parked.batch.is_empty()) {
            warn!(tenant = batch.place.place.name, %error, "the place of this tenant cannot be used");
            self.parked.remove(&tenant);
            return;
        }
        error!(
            tenant = batch.place.place.name, outcomes = batch.endings.len(), %error,
            "the place of this tenant cannot be used; what its tasks did is kept in memory and written when it can be used again"
        );
        let due = self.hub.clock.monotonic() + wait;
        match self.parked.get_mut(&tenant) {
            Some(parked) => {
                parked.batch.absorb(batch);
                parked.due = due;
                parked.wait = wait;
            }
            None => drop(self.parked.insert(tenant, Parked { batch, due, wait })),
        }
    }

    async fn flush(&mut self, mut batches: Vec<PlaceBatch>) -> Attempted {
        let hub = Arc::clone(&self.hub);
        let incarnation = hub.incarnation();
        for batch in &mut batches {
            drop_void(batch, incarnation.as_ref());
        }
        batches.retain(|batch| !batch.is_empty());
        if batches.is_empty() {
            return Attempted::Done;
        }
        let runner = incarnation.as_ref().map(|incarnation| incarnation.id);
        let places = batches
            .iter()
            .map(|batch| {
                let (noted, workflows) = {
                    let state = batch.place.state();
                    (state.noted == runner, Arc::clone(state.workflows.keys()))
                };
                let claims = !batch.permits.is_empty()
                    || batch.submits.iter().any(|submit| !submit.execution.claimed.is_empty());
                PlaceFlush {
                    place: Arc::clone(&batch.place.place),
                    first_claim: claims && !noted,
                    submits: batch.submits.iter().map(|submit| Arc::clone(&submit.execution)).collect(),
                    outcomes: batch.endings.iter().map(|ending| Arc::clone(&ending.outcome)).collect(),
                    claim: (!batch.permits.is_empty())
                        .then_some(Claim { limit: batch.permits.len(), workflows }),
                }
            })
            .collect();
        let flush = Flush { runner, now: hub.clock.database_now(), places };
        let _gate = hub.gates[self.index].lock().await;
        let begun = hub.clock.monotonic();
        let answer = hub.store.flush(self.index, &flush).await;
        histogram!("cloacina_flush_seconds")
            .record((hub.clock.monotonic().saturating_sub(begun)).as_secs_f64());
        histogram!("cloacina_flush_transitions")
            .record(batches.iter().map(PlaceBatch::len).sum::<usize>() as f64);
        match answer {
            Ok(Flushed { now, places }) => {
                for ((batch, done), sent) in batches.into_iter().zip(places).zip(&flush.places) {
                    if self
                        .parked
                        .get(&batch.place.place.tenant)
                        .is_some_and(|parked| parked.batch.is_empty())
                    {
                        self.parked.remove(&batch.place.place.tenant);
                    }
                    if sent.first_claim {
                        batch.place.state().noted = runner;
                    }
                    Applying {
                        hub: &hub,
                        place: Arc::clone(&batch.place),
                        incarnation: incarnation.clone(),
                        now,
                    }
                    .apply(batch, done);
                }
                Attempted::Done
            }
            Err(error) => {
                if error.kind() == StoreErrorKind::Unknown {
                    for batch in &batches {
                        hub.request_audit(Audit::Held(Arc::clone(&batch.place)));
                    }
                }
                Attempted::Again(batches, error)
            }
        }
    }
}

/// Drops the endings of tasks that an earlier incarnation held: they are not ours any more.
fn drop_void(batch: &mut PlaceBatch, current: Option<&Arc<Incarnation>>) {
    batch.endings.retain(|ending| current.is_some_and(|current| current.id == ending.incarnation.id));
}

fn size_of_batch(batch: &PlaceBatch) -> usize {
    let submits: usize = batch.submits.iter().map(|submit| submit.execution.input.len()).sum();
    let endings = batch.endings.iter().map(|ending| match &ending.outcome.outcome {
        TaskOutcome::Completed { patch } => patch.as_ref().map_or(0, |patch| patch.len()),
        TaskOutcome::Failed { error, .. } | TaskOutcome::Retry { error, .. } => error.len(),
        TaskOutcome::Skipped { .. } | TaskOutcome::Released => 0,
    });
    submits + endings.sum::<usize>()
}

/// A single transition that the database cannot keep: a new execution is refused, an outcome becomes a failure without the value.
fn refuse_data(mut batch: PlaceBatch, error: &StoreError) -> Option<PlaceBatch> {
    for submit in batch.submits.drain(..) {
        let message = format!(
            "execution {} of tenant `{}` was not recorded, because the database cannot keep its input: {error}",
            submit.execution.id, batch.place.place.name
        );
        submit.reply.fail(PipelineError::new(ErrorKind::Context, message).with_source(copy_of(error)));
    }
    for ending in &mut batch.endings {
        let outcome = &ending.outcome;
        ending.patch = None;
        ending.outcome = Arc::new(Outcome {
            outcome: TaskOutcome::Failed {
                how: AttemptOutcome::Failed,
                error: format!("the database cannot keep what the task returned: {error}"),
            },
            successors: outcome.successors.clone(),
            handles: Vec::new(),
            ..**outcome
        });
    }
    (!batch.is_empty()).then_some(batch)
}

fn copy_of(error: &StoreError) -> StoreError {
    StoreError::new(error.kind(), error.to_string())
}

/// Takes what a flush did over into memory.
pub(super) struct Applying<'a> {
    pub(super) hub: &'a Arc<Hub>,
    pub(super) place: Arc<OpenPlace>,
    pub(super) incarnation: Option<Arc<Incarnation>>,
    pub(super) now: jiff::Timestamp,
}

/// A task to be started.
pub(super) struct Start {
    pub(super) execution: ExecutionId,
    pub(super) task: TaskIndex,
    pub(super) attempt: i32,
    pub(super) failures: i32,
    pub(super) lost: i32,
    pub(super) permit: Permit,
}

impl Applying<'_> {
    fn apply(self, batch: PlaceBatch, done: PlaceFlushed) {
        let PlaceBatch { place, submits, endings, permits, news } = batch;
        let asked = permits.len();
        let PlaceFlushed { submitted, recorded, freed, closed, claimed } = done;
        let claim_count = claimed.len();
        let mut starts = Vec::new();
        let mut unknown: Vec<Claimed> = Vec::new();
        let mut state = place.state();
        self.apply_submits(&mut state, submits, &submitted.into_iter().collect(), &mut starts);
        let recorded: HashSet<(ExecutionId, TaskIndex)> =
            recorded.into_iter().map(|recorded| (recorded.execution, recorded.task)).collect();
        let spare = self.apply_endings(&mut state, endings, &recorded);
        self.apply_freed(&mut state, freed, spare, &mut starts);
        let mut permits = permits.into_iter();
        for claimed in claimed {
            let permit = permits.next().unwrap_or_else(|| place.slots.force());
            let known = state.live.contains_key(&claimed.execution);
            let start = Start {
                execution: claimed.execution,
                task: claimed.task,
                attempt: claimed.attempt,
                failures: claimed.failures,
                lost: claimed.lost,
                permit,
            };
            self.hold(&mut state, &start);
            starts.push(start);
            if !known {
                unknown.push(claimed);
            }
        }
        drop(permits);
        self.apply_closed(&mut state, closed);
        let runs = self.plan(&mut state, starts);
        drop(state);
        self.begin(runs);
        if asked > 0 {
            self.hub.claim_ended(&place, asked, claim_count, news);
        }
        self.hub.look(&place);
    }

    fn apply_submits(
        &self,
        state: &mut PlaceState,
        submits: Vec<Submit>,
        submitted: &HashSet<ExecutionId>,
        starts: &mut Vec<Start>,
    ) {
        counter!("cloacina_executions_submitted_total").increment(submitted.len() as u64);
        for submit in submits {
            let execution = &submit.execution;
            let id = execution.id;
            if !submitted.contains(&id) || submit.unsure {
                // The idempotency key was used before, or an earlier try was committed after all.
                self.hub.resolve(Arc::clone(&self.place), submit);
                continue;
            }
            if let Some(deadline) = execution.deadline {
                self.set_timer(Timer::Deadline, deadline);
            }
            let roots = execution.tasks.iter().filter(|task| task.waiting_on == 0).count();
            match execution.start_at {
                Some(start_at) if start_at > self.now => self.set_timer(Timer::Work, start_at),
                _ if execution.claimed.len() < roots => state.note_backlog(execution.priority),
                _ => {}
            }
            let mut waited_for = false;
            match submit.reply {
                SubmitReply::Recorded(sender) => drop(sender.send(Ok(id))),
                SubmitReply::Finished(sender) => {
                    waited_for = true;
                    self.hub.add_waiter(state, id, sender);
                }
            }
            if waited_for || !execution.claimed.is_empty() {
                let graph =
                    Arc::clone(submit.workflow.graph().expect("a workflow that is submitted was checked"));
                let live = Live::submitted(execution, submit.workflow, graph, submit.input, self.now);
                state.live.insert(id, live);
            }
            let claimed: Vec<TaskIndex> = execution.claimed.clone();
            for (task, permit) in claimed.into_iter().zip(submit.permits) {
                let start = Start { execution: id, task, attempt: 1, failures: 0, lost: 0, permit };
                self.hold(state, &start);
                starts.push(start);
            }
        }
    }

    /// Returns the permits that were meant for successors, by execution.
    fn apply_endings(
        &self,
        state: &mut PlaceState,
        endings: Vec<Ending>,
        recorded: &HashSet<(ExecutionId, TaskIndex)>,
    ) -> HashMap<ExecutionId, Vec<Permit>> {
        let mut spare: HashMap<ExecutionId, Vec<Permit>> = HashMap::new();
        for ending in endings {
            let Ending { outcome, patch, permits, .. } = ending;
            let (execution, task) = (outcome.execution, outcome.task);
            self.place.let_go(state, execution, task);
            if !permits.is_empty() {
                spare.entry(execution).or_default().extend(permits);
            }
            if !recorded.contains(&(execution, task)) {
                // The other side won, or an earlier try of this flush did.
                self.hub.request_audit(Audit::Execution(Arc::clone(&self.place), execution));
                continue;
            }
            let mut unused = false;
            if let Some(live) = state.live.get_mut(&execution) {
                let priority = live.priority;
                let known = live.task(task);
                known.ending = false;
                match &outcome.outcome {
                    TaskOutcome::Completed { .. } => {
                        known.state = TaskState::Completed;
                        known.patch = patch;
                        known.error = None;
                    }
                    TaskOutcome::Failed { error, .. } => {
                        known.state = TaskState::Failed;
                        known.error = Some(error.clone());
                    }
                    TaskOutcome::Skipped { reason } => {
                        known.state = TaskState::Skipped;
                        known.skip_reason = Some(*reason);
                        known.attempt = outcome.attempt;
                    }
                    TaskOutcome::Retry { error, after, .. } => {
                        known.state = TaskState::Ready;
                        known.error = Some(error.clone());
                        unused = true;
                        if after.is_zero() {
                            state.note_backlog(priority);
                        } else {
                            self.hub.set_timer(self.place.place.tenant, Timer::Work, *after);
                        }
                    }
                    TaskOutcome::Released => {
                        known.state = TaskState::Ready;
                        unused = true;
                        state.note_backlog(priority);
                    }
                }
            }
            if let Some(live) = state.live.get_mut(&execution) {
                if live.task(task).state.is_terminal() {
                    live.task(task).finished_at = Some(self.now);
                }
                for handled in &outcome.handles {
                    live.task(*handled).handled = true;
                }
            }
            if unused {
                state.forget_if_unused(execution);
            }
        }
        spare
    }

    fn apply_freed(
        &self,
        state: &mut PlaceState,
        freed: Vec<Freed>,
        mut spare: HashMap<ExecutionId, Vec<Permit>>,
        starts: &mut Vec<Start>,
    ) {
        let mut left = Vec::new();
        for Freed { execution, task, claimed } in freed {
            let Some(attempt) = claimed else {
                let priority = state.live.get(&execution).map_or(i16::MIN, |live| live.priority);
                state.note_backlog(priority);
                left.push(execution);
                continue;
            };
            let permit =
                spare.get_mut(&execution).and_then(Vec::pop).unwrap_or_else(|| self.place.slots.force());
            let start = Start { execution, task, attempt, failures: 0, lost: 0, permit };
            self.hold(state, &start);
            starts.push(start);
        }
        left.into_iter().for_each(|execution| state.forget_if_unused(execution));
    }

    fn apply_closed(&self, state: &mut PlaceState, closed: Vec<Closed>) {
        for Closed { execution, status } in closed {
            let name = match status {
                PipelineStatus::Completed => "cloacina_executions_completed_total",
                _ => "cloacina_executions_failed_total",
            };
            counter!(name).increment(1);
            if !state.waiting.contains_key(&execution) {
                state.live.remove(&execution);
                continue;
            }
            match state.live.get(&execution).and_then(|live| live.result(status, self.now)) {
                Some(result) => state.finish(execution, &Ok(result)),
                // Parts of it ran elsewhere.
                None => self.hub.request_audit(Audit::Execution(Arc::clone(&self.place), execution)),
            }
        }
    }

    fn set_timer(&self, timer: Timer, due: jiff::Timestamp) {
        let delay = due.duration_since(self.now).try_into().unwrap_or(Duration::ZERO);
        self.hub.set_timer(self.place.place.tenant, timer, delay);
    }

    /// Notes that a task is ours.
    pub(super) fn hold(&self, state: &mut PlaceState, start: &Start) {
        let held = Held { attempt: start.attempt, stop: Arc::new(Stop::default()) };
        state.held.insert((start.execution, start.task), held);
        if let Some(live) = state.live.get_mut(&start.execution) {
            live.started_at = live.started_at.or(Some(self.now));
            let task = live.task(start.task);
            task.state = TaskState::Running;
            task.attempt = start.attempt;
            task.started_at = Some(self.now);
        }
    }

    /// Decides for every task that was claimed whether it runs, is skipped, has been lost too often, or has to wait until its
    /// execution is read.
    pub(super) fn plan(&self, state: &mut PlaceState, starts: Vec<Start>) -> Plans {
        let mut plans = Plans::default();
        let max_lost = state.settings.max_lost;
        for start in starts {
            let Some(live) = state.live.get(&start.execution) else {
                plans.load.push(start);
                continue;
            };
            let Some(dependencies) = live.dependencies(start.task) else {
                plans.load.push(start);
                continue;
            };
            if start.lost.cast_unsigned() >= max_lost {
                let error = format!(
                    "given up: the process that ran it died, or lost its lease, {} times in a row; the task may be what kills it",
                    start.lost
                );
                plans.end.push((start, TaskOutcome::Failed { how: AttemptOutcome::Lost, error }));
                continue;
            }
            let definition = &live.workflow.tasks()[start.task as usize];
            match definition.rule.decide(&dependencies) {
                Ok(()) => {
                    let (input, patches) = live.context_of(start.task);
                    let stop =
                        state.held.get(&(start.execution, start.task)).map(|held| Arc::clone(&held.stop));
                    let Some(incarnation) = self.incarnation.clone() else { continue };
                    let attempt = Attempt {
                        hub: Arc::clone(self.hub),
                        place: Arc::clone(&self.place),
                        incarnation,
                        execution: start.execution,
                        task: start.task,
                        number: start.attempt,
                        failures: start.failures,
                        workflow: Arc::clone(&live.workflow),
                        input,
                        patches,
                        stop: stop.unwrap_or_default(),
                        permit: Some(start.permit),
                        reported: false,
                    };
                    plans.run.push((state.runtime.clone(), attempt));
                }
                Err(reason) => plans.end.push((start, TaskOutcome::Skipped { reason: reason as SkipReason })),
            }
        }
        plans
    }

    pub(super) fn begin(&self, plans: Plans) {
        let Plans { run, end, load } = plans;
        for (runtime, attempt) in run {
            match runtime {
                Some(runtime) => drop(runtime.spawn(attempt.run())),
                // Dropped, the attempt gives its task back.
                None => drop(attempt),
            }
        }
        for (start, outcome) in end {
            let Some(incarnation) = &self.incarnation else { continue };
            self.hub.end(super::attempt::EndOfTask {
                place: &self.place,
                incarnation,
                execution: start.execution,
                task: start.task,
                attempt: start.attempt,
                outcome,
                patch: None,
                permit: Some(start.permit),
            });
        }
        if !load.is_empty() {
            self.hub.load(Arc::clone(&self.place), load);
        }
    }
}

/// What is to be done with claimed tasks.
#[derive(Default)]
pub(super) struct Plans {
    run: Vec<(Option<tokio::runtime::Handle>, Attempt)>,
    end: Vec<(Start, TaskOutcome)>,
    load: Vec<Start>,
}
