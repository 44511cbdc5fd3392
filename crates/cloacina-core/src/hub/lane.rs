//! The lanes: everything that is written goes through one, in batches.
//!
//! While one flush is under way, transitions pile up; the next flush takes them all. So there is no timer: an
//! idle lane commits at once, a busy one in large batches. What a flush did is applied to memory before the
//! lane goes on.
//!
//! A lane waits for no single place. If a flush fails because of one (somebody holds locks there, a statement
//! takes too long, its tables are gone), that place goes *aside*, to a lane of its own kind, and the others
//! go on. There it is tried again with growing pauses; it comes back once it has been well for a while.
//!
//! A tenant with a login of its own shares no flush with others, and may take as long as it is let. So while
//! it has little to do it has a lane among many, in which nobody is but tenants of its kind: neither does it
//! wait for the others' flushes, nor they for its.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::batch::{PlaceBatch, Queued, Ticket};
use super::place::{Failures, OpenPlace};
use super::rounds::Rounds;
use super::shared::{Audit, Hub};
use super::timers::Timer;
use super::transition::{Submit, Transition};
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind};
use crate::execution::AttemptOutcome;
use crate::id::{ExecutionId, TenantId};
use crate::meters;
use crate::slots;
use crate::store::{Claim, Flush, Flushed, Outcome, PlaceFlush, StoreError, StoreErrorKind, TaskOutcome};

/// How many tasks of a tenant are under way for each lane that it uses.
const TASKS_PER_LANE: usize = 32;

/// How many lanes there are for tenants with logins of their own that have little to do: more than the store
/// has connections for, so that it is connections that they wait for, and not each other.
pub(super) const LOGIN_LANES: usize = 16;

/// From how many transitions on a lane is one in which a tenant with little to do would wait for others.
const FULL_LANE: usize = 64;

/// How many transitions are received at once.
const RECEIVED: usize = 1000;

/// How long a lane waits after a failed flush: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How long a new execution may wait for a database that cannot be reached before its caller is told.
const SUBMIT_PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Lane {
    hub: Arc<Hub>,
    index: usize,
    inbox: mpsc::UnboundedReceiver<Queued>,
    /// What came while a flush was under way.
    received: Vec<Queued>,
    rounds: Rounds,
    /// Transitions of places that are left alone at the moment; nobody else waits for them.
    parked: HashMap<TenantId, Parked>,
}

struct Parked {
    batch: PlaceBatch,
    due: Duration,
}

/// What a flush came to.
enum Written {
    Done,
    /// Nothing was written, or it is not known whether it was: the batches are to be tried again.
    Again(Vec<PlaceBatch>, StoreError),
}

impl Lane {
    pub(super) fn new(hub: Arc<Hub>, index: usize, inbox: mpsc::UnboundedReceiver<Queued>) -> Self {
        Self { hub, index, inbox, received: Vec::new(), rounds: Rounds::default(), parked: HashMap::new() }
    }

    pub(super) async fn run(mut self) {
        let hub = Arc::clone(&self.hub);
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
                received = self.inbox.recv_many(&mut self.received, RECEIVED), if !self.has_work() => {
                    if received == 0 {
                        return;
                    }
                }
                () = std::future::ready(()), if self.has_work() => {}
                () = unpark => {}
                () = hub.stop.cancelled() => return,
            }
            self.take_in();
            let is_aside = self.is_aside();
            let round = self.rounds.next(|batch| is_aside || is_untrusted(batch));
            for flush in round {
                if !self.commit(flush).await {
                    return;
                }
            }
        }
    }

    fn has_work(&self) -> bool {
        !self.received.is_empty() || !self.rounds.is_empty()
    }

    /// Takes in what came, and what was parked and is due. New transitions of a parked place wait with the
    /// others, so that a place that is gone costs no flush each.
    fn take_in(&mut self) {
        while self.received.len() < RECEIVED
            && let Ok(queued) = self.inbox.try_recv()
        {
            self.received.push(queued);
        }
        let mut free = Vec::with_capacity(self.received.len());
        for queued in self.received.drain(..) {
            match self.parked.get_mut(&queued.place().place.tenant) {
                Some(parked) => parked.batch.add(queued),
                None => free.push(queued),
            }
        }
        let now = self.hub.clock.monotonic();
        let due = self.parked.extract_if(|_, parked| parked.due <= now);
        free.extend(due.map(|(_, parked)| Queued::Batch(parked.batch)));
        self.rounds.add(free);
    }

    /// Writes a flush; does not return before it is written, put aside or refused. False once the hub is
    /// being closed.
    async fn commit(&mut self, batches: Vec<PlaceBatch>) -> bool {
        let mut work = vec![batches];
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        while let Some(batches) = work.pop() {
            let (mut batches, error) = match self.flush(batches).await {
                Written::Done => {
                    self.hub.troubles.commits.succeeded(self.hub.whose());
                    backoff.reset();
                    continue;
                }
                Written::Again(batches, error) => (batches, error),
            };
            let unsure = error.kind() == StoreErrorKind::Unknown;
            match error.kind() {
                StoreErrorKind::Fenced => {
                    // The flush has seen to a new incarnation, unless the hub is being closed.
                    if self.hub.stop.is_cancelled() {
                        return false;
                    }
                    work.push(batches);
                }
                StoreErrorKind::Transient | StoreErrorKind::Unknown if !batches.iter().all(is_untrusted) => {
                    let batches = self.give_up_old_submits(batches, unsure, &error);
                    self.hub.troubles.commits.note(self.hub.whose(), &Err::<(), _>(&error));
                    self.hub.clock.sleep(backoff.next()).await;
                    if self.hub.stop.is_cancelled() {
                        return false;
                    }
                    if !batches.is_empty() {
                        work.push(batches);
                    }
                }
                // One tenant's trouble must not be another's.
                _ if batches.len() > 1 => {
                    let named = |batch: &PlaceBatch| error.tenant() == Some(batch.place.place.tenant);
                    let rest = match batches.iter().position(named) {
                        Some(at) => {
                            let named = batches.swap_remove(at);
                            std::mem::replace(&mut batches, vec![named])
                        }
                        None => batches.split_off(batches.len() / 2),
                    };
                    work.push(batches);
                    work.push(rest);
                }
                StoreErrorKind::Data => {
                    let batch = batches.into_iter().next().expect("an empty flush cannot fail");
                    if batch.len() > 1 {
                        work.extend(batch.split().into_iter().map(|batch| vec![batch]));
                    } else if !batch.permits.is_empty() {
                        // There is nothing in a claim that could be left out.
                        self.put_aside(batch, &error);
                    } else if let Some(batch) = refuse_data(&self.hub, batch, &error) {
                        work.push(vec![batch]);
                    }
                }
                _ => {
                    for mut batch in self.give_up_old_submits(batches, unsure, &error) {
                        // What else there is of this place would fail as well.
                        let tenant = batch.place.place.tenant;
                        for flush in &mut work {
                            flush
                                .extract_if(.., |other| other.place.place.tenant == tenant)
                                .for_each(|other| batch.absorb(other));
                        }
                        self.rounds.take(tenant).into_iter().for_each(|other| batch.absorb(other));
                        self.put_aside(batch, &error);
                    }
                    work.retain(|flush| !flush.is_empty());
                }
            }
        }
        true
    }

    fn is_aside(&self) -> bool {
        self.index == self.hub.ordinary_lanes()
    }

    /// Tells callers whose execution was certainly not recorded, after they have waited long enough.
    fn give_up_old_submits(
        &self,
        batches: Vec<PlaceBatch>,
        unsure: bool,
        error: &StoreError,
    ) -> Vec<PlaceBatch> {
        let mut kept = Vec::new();
        for mut batch in batches {
            for mut submit in std::mem::take(&mut batch.submits) {
                submit.unsure |= unsure;
                if is_old(&self.hub, &submit) {
                    give_up(&self.hub, submit, Some(error));
                } else {
                    batch.submits.push(submit);
                }
            }
            if !batch.is_empty() {
                kept.push(batch);
            }
        }
        kept
    }

    /// Puts the transitions of a place in trouble aside. New executions are refused, unless an earlier try
    /// may have recorded them, or it may be over in a moment; these and outcomes wait for better times.
    fn put_aside(&mut self, mut batch: PlaceBatch, error: &StoreError) {
        let place = Arc::clone(&batch.place);
        let passing = matches!(
            error.kind(),
            StoreErrorKind::Transient | StoreErrorKind::Busy | StoreErrorKind::Unknown
        );
        for submit in batch.submits.extract_if(.., |submit| !submit.unsure && !passing) {
            let message = format!(
                "execution {} was not recorded in the place of tenant `{}`: {error}",
                submit.execution.id, place.place.name
            );
            submit.reply.fail(Error::new(error.kind().into(), message).with_source(error.copy()));
        }
        let now = self.hub.clock.monotonic();
        let (failures, wait) = {
            let mut state = place.state();
            // Where no outcome and no caller waits, there is no hurry.
            let hurries = !state.handles.only_served() || !batch.endings.is_empty();
            state.standing.health.failed(hurries, now)
        };
        place.is_aside.store(true, Ordering::Relaxed);
        if failures == Failures::Two {
            warn!(
                tenant = place.place.name, outcomes = batch.endings.len(), submits = batch.submits.len(), %error,
                "the place of this tenant cannot be written at the moment; what its tasks did is kept in memory and written as soon \
                 as it can be"
            );
        } else {
            debug!(tenant = place.place.name, %error, ?failures, "a flush of this tenant's place failed; it is tried again");
        }
        if !batch.permits.is_empty() {
            batch.permits.clear();
            self.hub.claim_failed(&place, wait);
        }
        if batch.is_empty() {
            return;
        }
        if self.is_aside() || !self.hub.store.has_aside() {
            self.put_off(batch, now + wait);
        } else {
            // From here on it is that lane's.
            batch.tickets.clear();
            let aside = &self.hub.lanes[self.hub.ordinary_lanes()];
            drop(aside.send(Queued::Batch(batch)));
        }
    }

    /// Leaves a place alone while the auditor looks at it.
    fn after_the_audit(&self, batch: PlaceBatch) {
        let (hub, lane) = (Arc::clone(&self.hub), self.index);
        self.hub.spawn(async move {
            let gate = Arc::clone(&batch.place.gate);
            tokio::select! {
                // A flush takes it again, with all others of its places.
                gate = gate.read_owned() => drop(gate),
                () = hub.stop.cancelled() => return,
            }
            drop(hub.lanes[lane].send(Queued::Batch(batch)));
        });
    }

    /// Leaves a place alone until `due`.
    fn put_off(&mut self, batch: PlaceBatch, due: Duration) {
        match self.parked.get_mut(&batch.place.place.tenant) {
            Some(parked) => {
                parked.batch.absorb(batch);
                parked.due = parked.due.max(due);
            }
            None => drop(self.parked.insert(batch.place.place.tenant, Parked { batch, due })),
        }
    }

    async fn flush(&mut self, mut batches: Vec<PlaceBatch>) -> Written {
        let hub = Arc::clone(&self.hub);
        let incarnation = hub.incarnation();
        for batch in &mut batches {
            batch.drop_void(incarnation.as_ref());
            hub.drop_unwanted(batch);
        }
        batches.retain(|batch| !batch.is_empty());
        if batches.is_empty() {
            return Written::Done;
        }
        let gate = hub.gates[self.index].lock().await;
        hub.rest.stir();
        let mut place_gates = Vec::with_capacity(batches.len());
        let mut looked_at = Vec::new();
        for batch in &batches {
            let gate = Arc::clone(&batch.place.gate).try_read_owned();
            looked_at.push(gate.is_err());
            place_gates.extend(gate);
        }
        let mut looked_at = looked_at.into_iter();
        let audited = batches.extract_if(.., |_| looked_at.next() == Some(true)).collect::<Vec<_>>();
        for batch in audited {
            self.after_the_audit(batch);
        }
        if batches.is_empty() {
            return Written::Done;
        }
        let runner = incarnation.as_ref().map(|incarnation| incarnation.id);
        let places = batches
            .iter()
            .map(|batch| {
                let (noted, workflows, timed, related) = {
                    let state = batch.place.state();
                    let ended = || batch.endings.iter().map(|ending| ending.outcome.execution);
                    let (timed, related) = (state.work.timed(ended()), state.work.related(ended()));
                    (state.standing.noted == runner, Arc::clone(state.claimable()), timed, related)
                };
                let claims = !batch.permits.is_empty()
                    || batch.submits.iter().any(|submit| !submit.execution.claimed.is_empty());
                PlaceFlush {
                    place: Arc::clone(&batch.place.place),
                    first_claim: claims && !noted,
                    submits: batch.submits.iter().map(|submit| Arc::clone(&submit.execution)).collect(),
                    outcomes: batch.endings.iter().map(|ending| Arc::clone(&ending.outcome)).collect(),
                    timed,
                    related,
                    claim: (!batch.permits.is_empty())
                        .then_some(Claim { limit: batch.permits.len(), workflows }),
                }
            })
            .collect();
        let flush = Flush { runner, now: hub.clock.database_now(), places };
        let begun = hub.clock.monotonic();
        let answer = {
            let mut flushing = hub.store.flush(self.index, &flush);
            let shut_down = hub.shut_down_long_ago();
            tokio::pin!(shut_down);
            loop {
                tokio::select! {
                    biased;
                    answer = &mut flushing => break answer,
                    () = &mut shut_down => {
                        break Err(StoreError::new(StoreErrorKind::Unknown, "the runner was shut down before the database answered"));
                    }
                    () = hub.clock.sleep(Duration::from_secs(1)) => {
                        give_up_old_submits(&hub, &mut self.inbox, &mut self.received, &mut self.rounds);
                    }
                }
            }
        };
        let transitions = batches.iter().map(PlaceBatch::len).sum::<usize>();
        meters::time_flush(hub.clock.monotonic().saturating_sub(begun), transitions);
        match answer {
            Ok(Flushed { now, places }) => {
                let moment = hub.moment(Some(now));
                for ((batch, done), sent) in batches.into_iter().zip(places).zip(&flush.places) {
                    let place = Arc::clone(&batch.place);
                    let ends = done.closed.iter().filter(|closed| sent.related.contains(&closed.execution));
                    let (mut children, mut others) = (false, false);
                    if !sent.related.is_empty() {
                        let state = place.state();
                        for end in ends {
                            let is_child = state.work.is_only_a_child(end.execution);
                            (children, others) = (children || is_child, others || !is_child);
                        }
                    }
                    if others {
                        // A schedule may wait for its end, or children for theirs.
                        hub.set_timer(place.place.tenant, Timer::Due, Duration::ZERO);
                    }
                    if children {
                        hub.look_for_children(&place);
                    }
                    let is_news = {
                        let mut state = place.state();
                        let is_news = state.standing.health.succeeded();
                        if self.is_aside() && state.standing.health.has_recovered(moment.monotonic) {
                            // It goes back to the others.
                            place.is_aside.store(false, Ordering::Relaxed);
                        }
                        if sent.first_claim {
                            state.standing.noted = runner;
                        }
                        let effects = state.apply(batch, done, moment);
                        drop(state);
                        hub.perform(&place, incarnation.as_ref(), effects);
                        is_news
                    };
                    if is_news {
                        info!(tenant = place.place.name, "the place of this tenant can be written again");
                    }
                }
                Written::Done
            }
            Err(error) => {
                if error.kind() == StoreErrorKind::Unknown {
                    for batch in &batches {
                        hub.request_audit(Audit::Held(Arc::clone(&batch.place)));
                    }
                }
                drop((gate, place_gates));
                if let Some(incarnation) = incarnation.filter(|_| error.kind() == StoreErrorKind::Fenced) {
                    // The one that the flush was written under: in the meantime there may be another, which
                    // lives.
                    hub.renew(&incarnation).await;
                }
                Written::Again(batches, error)
            }
        }
    }
}

/// Whether the tenant has a login of its own, with which it can hold locks in its place.
fn is_untrusted(batch: &PlaceBatch) -> bool {
    batch.place.state().standing.status.has_login
}

impl Hub {
    pub(crate) fn send(&self, transition: Transition) {
        let place = transition.place();
        let (execution, bytes) = match &transition {
            Transition::Submit(submit) => (Some(submit.execution.id), submit.size()),
            Transition::Ending(ending) => (Some(ending.outcome.execution), ending.size()),
            // Claims of one place follow one another, so any lane will do; the same one keeps its caches
            // warm.
            Transition::Claim(_) => (None, 0),
        };
        let weight = Ticket::weight(bytes);
        let lane = self.lane_of(place, execution, weight);
        let ticket = Ticket::new(&self.load, lane, place, weight);
        // A lane ends only when its hub has closed, and by then nothing is held and no handle is open.
        drop(self.lanes[lane].send(Queued::One(transition, ticket)));
    }

    /// Each tenant has a lane, since what is flushed together shares its statements; one that keeps more than
    /// a lane busy spreads over the others, but for one that is left to tenants with little to do: they use
    /// it when their own lane is full of somebody else's work. One with a login shares nothing with others,
    /// so it has a lane of another kind until it is busy. All transitions of an execution go one way unless
    /// that has changed since, so that two flushes of this process seldom wait for one another's locks.
    fn lane_of(&self, place: &OpenPlace, execution: Option<ExecutionId>, weight: usize) -> usize {
        let lanes = self.ordinary_lanes();
        if place.is_aside.load(Ordering::Relaxed) && self.store.has_aside() {
            return lanes;
        }
        // The low bits of a UUID of version 7 are random.
        let pick = |id: u128, among: usize| (id % among as u128) as usize;
        let tenant = place.place.tenant.0.as_u128();
        let busy = place.slots.used().max(place.on_their_way.load(Ordering::Relaxed));
        let wanted = 1 + busy / TASKS_PER_LANE;
        let is_large = weight > TASKS_PER_LANE;
        if (wanted > 1 || is_large) && lanes > 1 {
            let shared = lanes - usize::from(!slots::is_one_tenant());
            // What is large takes one lane, however much there is of it: each of its flushes keeps a core of
            // the server busy for milliseconds.
            let among = if is_large { 1 } else { wanted.min(shared) };
            let nth = execution.map_or(0, |execution| pick(execution.0.as_u128(), among));
            return (pick(tenant, shared) + nth) % shared;
        }
        if self.store.has_aside() && place.state().standing.status.has_login {
            return self.login_lane_of(place, lanes + 1, pick(tenant, LOGIN_LANES));
        }
        let own = pick(tenant, lanes);
        if self.load.of(own) > FULL_LANE { lanes - 1 } else { own }
    }

    /// A tenant with a login goes on in the lane in which something of it is. Otherwise it takes one that
    /// nobody is in, its own if it can: whoever comes second into a lane waits for the first.
    fn login_lane_of(&self, place: &OpenPlace, first: usize, own: usize) -> usize {
        let latest = place.lane.load(Ordering::Relaxed);
        if latest >= first && place.on_their_way.load(Ordering::Relaxed) > 0 {
            return latest;
        }
        let lanes = (0..LOGIN_LANES).map(|nth| first + (own + nth) % LOGIN_LANES);
        let lane = lanes.min_by_key(|lane| self.load.of(*lane)).unwrap_or(first);
        place.lane.store(lane, Ordering::Relaxed);
        lane
    }

    /// Drops what was asked for before the tenant was suspended: new executions are refused, nothing is
    /// claimed.
    fn drop_unwanted(&self, batch: &mut PlaceBatch) {
        let Err(refusal) = batch.place.state().check_active() else { return };
        for submit in batch.submits.extract_if(.., |submit| !submit.unsure) {
            submit.reply.fail(Error::new(refusal.kind(), refusal.to_string()));
        }
        if !batch.permits.is_empty() {
            batch.permits.clear();
            self.claim_dropped(&batch.place);
        }
    }
}

/// While a flush waits for a database that cannot be reached, those that wait behind it are certainly not
/// recorded.
fn give_up_old_submits(
    hub: &Hub,
    inbox: &mut mpsc::UnboundedReceiver<Queued>,
    received: &mut Vec<Queued>,
    rounds: &mut Rounds,
) {
    while let Ok(queued) = inbox.try_recv() {
        received.push(queued);
    }
    let is_given_up = |queued: &mut Queued| matches!(queued, Queued::One(Transition::Submit(submit), _) if is_old(hub, submit));
    for queued in received.extract_if(.., is_given_up) {
        if let Queued::One(Transition::Submit(submit), _) = queued {
            give_up(hub, *submit, None);
        }
    }
    for submit in rounds.take_submits(|submit| is_old(hub, submit)) {
        give_up(hub, submit, None);
    }
}

fn is_old(hub: &Hub, submit: &Submit) -> bool {
    !submit.unsure && hub.clock.monotonic().saturating_sub(submit.since) >= SUBMIT_PATIENCE
}

fn give_up(hub: &Hub, submit: Submit, error: Option<&StoreError>) {
    let message = format!(
        "execution {} of tenant `{}` was not recorded, because the database {} could not be reached, or the tenant's place in it not be \
         written, for {} s; submit it again",
        submit.execution.id,
        submit.place.place.name,
        hub.label(),
        SUBMIT_PATIENCE.as_secs()
    );
    let told = Error::new(ErrorKind::Unavailable, message);
    submit.reply.fail(match error {
        Some(error) => told.with_source(error.copy()),
        None => told,
    });
}

/// A single transition that the database cannot keep: a new execution is refused, an outcome becomes a
/// failure without the value. If that cannot be kept either, it is the rows that are wrong, and their
/// execution is given up.
fn refuse_data(hub: &Arc<Hub>, mut batch: PlaceBatch, error: &StoreError) -> Option<PlaceBatch> {
    for submit in batch.submits.drain(..) {
        let message = format!(
            "execution {} of tenant `{}` was not recorded, because the database cannot keep its input: {error}",
            submit.execution.id, batch.place.place.name
        );
        submit.reply.fail(Error::new(ErrorKind::Context, message).with_source(error.copy()));
    }
    for ending in batch.endings.extract_if(.., |ending| ending.refused) {
        let reason =
            format!("what became of its task number {} cannot be recorded: {error}", ending.outcome.task);
        hub.abandon(&batch.place, ending.outcome.execution, reason);
    }
    for ending in &mut batch.endings {
        let outcome = &ending.outcome;
        ending.patch = None;
        ending.refused = true;
        ending.outcome = Arc::new(Outcome {
            outcome: TaskOutcome::Failed {
                how: AttemptOutcome::Failed,
                error: format!("the database cannot keep what the task returned: {error}"),
            },
            successors: outcome.successors.clone(),
            waits: outcome.waits.clone(),
            handles: Vec::new(),
            ..**outcome
        });
    }
    (!batch.is_empty()).then_some(batch)
}
