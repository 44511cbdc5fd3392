//! The lanes: everything that is written goes through one, in batches.
//!
//! While one flush is under way, transitions pile up; the next flush takes them all. So there is no timer: an idle lane
//! commits at once, a busy one in large batches. What a flush did is applied to memory before the lane goes on.
//!
//! A lane waits for no single place. If a flush fails because of one (somebody holds locks there, a statement takes too long, its
//! tables are gone), that place goes *aside*, to a lane of its own kind, and the others go on. There it is tried again with growing
//! pauses; it comes back once it has been well for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics::histogram;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::applying::Applying;
use super::auditor::Audit;
use super::batch::{PlaceBatch, drop_void, refuse_data, size_of_batch};
use super::place::OpenPlace;
use super::{ClaimRequest, Hub, Queued, Submit, Transition};
use crate::error::{ErrorKind, PipelineError};
use crate::id::TenantId;
use crate::store::{Claim, Flush, Flushed, PlaceFlush, StoreError, StoreErrorKind};

/// The most transitions, and the most bytes of JSON, in one flush: what keeps a flush at a few milliseconds.
const MAX_TRANSITIONS: usize = 1000;
const MAX_BYTES: usize = 1 << 20;

/// How long a lane waits after a failed flush: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How long a place that cannot be used is left alone: at first, at most, and at most if it is only [served](super::serving).
const PARKING: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
const LONG_PARKING: Duration = Duration::from_secs(60);

/// How long a place must have been well before it shares a lane with others again: at first, and at most. Twice as long each time.
const CONVALESCENCE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));

/// How long a new execution may wait for a database that cannot be reached before its caller is told.
const SUBMIT_PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Lane {
    hub: Arc<Hub>,
    index: usize,
    inbox: mpsc::UnboundedReceiver<Queued>,
    /// Received and not yet in a flush.
    received: Vec<Queued>,
    /// Transitions of places that are left alone at the moment; nobody else waits for them.
    parked: HashMap<TenantId, Parked>,
}

struct Parked {
    batch: PlaceBatch,
    due: Duration,
}

/// How many flushes of a place failed one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failures {
    One,
    Two,
    More,
}

/// What a flush came to.
enum Attempted {
    Done,
    /// Nothing was written, or it is not known whether it was: the batches are to be tried again.
    Again(Vec<PlaceBatch>, StoreError),
}

impl Lane {
    pub(super) fn new(hub: Arc<Hub>, index: usize, inbox: mpsc::UnboundedReceiver<Queued>) -> Self {
        Self { hub, index, inbox, received: Vec::new(), parked: HashMap::new() }
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
                received = self.inbox.recv_many(&mut self.received, MAX_TRANSITIONS), if self.received.is_empty() => {
                    if received == 0 {
                        return;
                    }
                }
                () = std::future::ready(()), if !self.received.is_empty() => {}
                () = unpark => {}
                () = hub.stop.cancelled() => return,
            }
            let batches = self.batches();
            self.commit(batches).await;
        }
    }

    /// The received transitions by place, with those whose time has come again.
    fn batches(&mut self) -> Vec<PlaceBatch> {
        let mut batches: Vec<PlaceBatch> = Vec::new();
        let mut positions: HashMap<TenantId, usize> = HashMap::new();
        let most = self.received.len().min(MAX_TRANSITIONS);
        for queued in self.received.drain(..most) {
            let place = Arc::clone(queued.place());
            let at = *positions.entry(place.place.tenant).or_insert_with(|| {
                batches.push(PlaceBatch::new(place));
                batches.len() - 1
            });
            let batch = &mut batches[at];
            match queued {
                Queued::Batch(other) => batch.absorb(other),
                Queued::One(transition, ticket) => {
                    batch.tickets.push(ticket);
                    match transition {
                        Transition::Submit(submit) => batch.submits.push(*submit),
                        Transition::Ending(ending) => batch.endings.push(*ending),
                        Transition::Claim(ClaimRequest { permits, news, .. }) => {
                            batch.permits.extend(permits);
                            batch.news = news;
                        }
                    }
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
        batches.extend(self.parked.extract_if(|_, parked| parked.due <= now).map(|(_, parked)| parked.batch));
        batches
    }

    /// Writes the batches; does not return before they are written, put aside or refused.
    async fn commit(&mut self, batches: Vec<PlaceBatch>) {
        let is_aside = self.is_aside();
        let (alone, together): (Vec<_>, Vec<_>) =
            batches.into_iter().partition(|batch| is_aside || is_untrusted(batch));
        let bounded = |batch: PlaceBatch| batch.bounded(MAX_TRANSITIONS, MAX_BYTES);
        let mut work: Vec<Vec<PlaceBatch>> = Vec::new();
        let (mut bytes, mut transitions) = (0, 0);
        for batch in together.into_iter().flat_map(bounded) {
            let (size, len) = (size_of_batch(&batch), batch.len());
            let fits = work.last().and_then(|flush| flush.last()).is_some_and(|last| {
                // A place stands once in a flush.
                last.place.place.tenant != batch.place.place.tenant
                    && bytes + size <= MAX_BYTES
                    && transitions + len <= MAX_TRANSITIONS
            });
            match work.last_mut().filter(|_| fits) {
                Some(flush) => {
                    flush.push(batch);
                    (bytes, transitions) = (bytes + size, transitions + len);
                }
                None => {
                    work.push(vec![batch]);
                    (bytes, transitions) = (size, len);
                }
            }
        }
        // Who may keep us waiting comes last.
        work.extend(alone.into_iter().flat_map(bounded).map(|batch| vec![batch]));
        work.reverse();
        let mut wait = BACKOFF.0;
        while let Some(batches) = work.pop() {
            let (mut batches, error) = match self.flush(batches).await {
                Attempted::Done => {
                    self.hub.troubles.commits.succeeded(self.hub.whose());
                    wait = BACKOFF.0;
                    continue;
                }
                Attempted::Again(batches, error) => (batches, error),
            };
            let unsure = error.kind() == StoreErrorKind::Unknown;
            match error.kind() {
                StoreErrorKind::Fenced => {
                    // The flush has seen to a new incarnation, unless the hub is being closed.
                    if self.hub.stop.is_cancelled() {
                        return;
                    }
                    work.push(batches);
                }
                StoreErrorKind::Transient | StoreErrorKind::Unknown if !batches.iter().all(is_untrusted) => {
                    let batches = self.give_up_old_submits(batches, unsure, &error);
                    self.hub.troubles.commits.note(self.hub.whose(), &Err::<(), _>(&error));
                    self.hub.clock.sleep(wait).await;
                    wait = (wait * 2).min(BACKOFF.1);
                    if self.hub.stop.is_cancelled() {
                        return;
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
                        self.put_aside(batch, &error);
                    }
                    work.retain(|flush| !flush.is_empty());
                }
            }
        }
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

    /// Puts the transitions of a place in trouble aside. New executions are refused, unless an earlier try may have recorded them, or
    /// it may be over in a moment; these and outcomes wait for better times.
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
            submit.reply.fail(PipelineError::new(error.kind().into(), message).with_source(error.copy()));
        }
        let now = self.hub.clock.monotonic();
        let (failures, wait) = {
            let mut state = place.state();
            // Where no outcome and no caller waits, there is no hurry.
            let hurries = !state.only_served() || !batch.endings.is_empty();
            let most = if hurries { PARKING.1 } else { LONG_PARKING };
            let wait = state.trouble.map_or(PARKING.0, |before| (before * 2).min(most));
            let failures = match state.trouble.replace(wait) {
                None => Failures::One,
                Some(before) if before == PARKING.0 => Failures::Two,
                Some(_) => Failures::More,
            };
            // The first may come of a lock that is held for a moment.
            if failures == Failures::Two {
                let (well_for, _) = state.convalescence;
                state.convalescence.0 = (well_for * 2).clamp(CONVALESCENCE.0, CONVALESCENCE.1);
            }
            if failures != Failures::One {
                state.convalescence.1 = now;
            }
            place.is_aside.store(true, Ordering::Relaxed);
            (failures, wait)
        };
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

    /// A flush of the place succeeded: it goes back to the others once it has been well for long enough.
    fn is_well(&self, place: &OpenPlace) {
        let mut state = place.state();
        if state.trouble.take().is_some_and(|wait| wait > PARKING.0) {
            info!(tenant = place.place.name, "the place of this tenant can be written again");
        }
        if self.is_aside() && place.is_aside.load(Ordering::Relaxed) {
            let (well_for, ill_at) = state.convalescence;
            if self.hub.clock.monotonic().saturating_sub(ill_at) >= well_for {
                place.is_aside.store(false, Ordering::Relaxed);
            }
        }
    }

    async fn flush(&mut self, mut batches: Vec<PlaceBatch>) -> Attempted {
        let hub = Arc::clone(&self.hub);
        let incarnation = hub.incarnation();
        for batch in &mut batches {
            drop_void(batch, incarnation.as_ref());
            hub.drop_unwanted(batch);
        }
        batches.retain(|batch| !batch.is_empty());
        if batches.is_empty() {
            return Attempted::Done;
        }
        let gate = hub.gates[self.index].lock().await;
        hub.stir();
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
            return Attempted::Done;
        }
        let runner = incarnation.as_ref().map(|incarnation| incarnation.id);
        let places = batches
            .iter()
            .map(|batch| {
                let (noted, workflows) = {
                    let state = batch.place.state();
                    (state.noted == runner, Arc::clone(state.claimable()))
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
                        give_up_old_submits(&hub, &mut self.inbox, &mut self.received);
                    }
                }
            }
        };
        histogram!("cloacina_flush_seconds")
            .record((hub.clock.monotonic().saturating_sub(begun)).as_secs_f64());
        histogram!("cloacina_flush_transitions")
            .record(batches.iter().map(PlaceBatch::len).sum::<usize>() as f64);
        match answer {
            Ok(Flushed { now, places }) => {
                for ((batch, done), sent) in batches.into_iter().zip(places).zip(&flush.places) {
                    self.is_well(&batch.place);
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
                drop((gate, place_gates));
                if let Some(incarnation) = incarnation.filter(|_| error.kind() == StoreErrorKind::Fenced) {
                    // The one that the flush was written under: in the meantime there may be another, which lives.
                    hub.renew(&incarnation).await;
                }
                Attempted::Again(batches, error)
            }
        }
    }
}

/// Whether the tenant has a login of its own, with which it can hold locks in its place.
fn is_untrusted(batch: &PlaceBatch) -> bool {
    batch.place.state().status.has_login
}

impl Hub {
    /// Drops what was asked for before the tenant was suspended: new executions are refused, nothing is claimed.
    fn drop_unwanted(&self, batch: &mut PlaceBatch) {
        let refusal = {
            let state = batch.place.state();
            batch.place.check_active(&state).err()
        };
        let Some(refusal) = refusal else { return };
        for submit in batch.submits.extract_if(.., |submit| !submit.unsure) {
            submit.reply.fail(PipelineError::new(refusal.kind(), refusal.to_string()));
        }
        if !batch.permits.is_empty() {
            batch.permits.clear();
            let mut state = batch.place.state();
            state.claiming = false;
            if state.held.is_empty() {
                batch.place.idle.notify_waiters();
            }
        }
    }
}

/// While a flush waits for a database that cannot be reached, those that wait behind it are certainly not recorded.
fn give_up_old_submits(hub: &Hub, inbox: &mut mpsc::UnboundedReceiver<Queued>, received: &mut Vec<Queued>) {
    while let Ok(queued) = inbox.try_recv() {
        received.push(queued);
    }
    let is_given_up = |queued: &mut Queued| matches!(queued, Queued::One(Transition::Submit(submit), _) if is_old(hub, submit));
    for queued in received.extract_if(.., is_given_up) {
        if let Queued::One(Transition::Submit(submit), _) = queued {
            give_up(hub, *submit, None);
        }
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
    let told = PipelineError::new(ErrorKind::Unavailable, message);
    submit.reply.fail(match error {
        Some(error) => told.with_source(error.copy()),
        None => told,
    });
}
