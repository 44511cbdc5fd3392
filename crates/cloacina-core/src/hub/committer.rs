//! The lanes: everything that is written goes through one, in batches.
//!
//! While one flush is under way, transitions pile up; the next flush takes them all. So there is no timer: an idle lane
//! commits at once, a busy one in large batches. What a flush did is applied to memory before the lane goes on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::histogram;
use tokio::sync::mpsc;
use tracing::{debug, error, warn};

use super::applying::Applying;
use super::auditor::Audit;
use super::batch::{PlaceBatch, drop_void, refuse_data, size_of_batch};
use super::place::OpenPlace;
use super::{ClaimRequest, Hub, Submit, Transition};
use crate::error::{ErrorKind, PipelineError};
use crate::id::TenantId;
use crate::store::{Claim, Flush, Flushed, PlaceFlush, StoreError, StoreErrorKind};

/// The most transitions, and the most bytes of JSON, in one flush: what keeps a flush at a few milliseconds.
const MAX_TRANSITIONS: usize = 1000;
const MAX_BYTES: usize = 8 << 20;

/// How long a lane waits after a failed flush: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How long a place that cannot be used is left alone: at first, at most, and at most if it is only [served](super::serving).
const PARKING: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
const LONG_PARKING: Duration = Duration::from_secs(60);

/// How long a place is left alone while the auditor looks at it.
const AUDITED: Duration = Duration::from_millis(20);

/// How long a new execution may wait for a database that cannot be reached before its caller is told.
const SUBMIT_PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Lane {
    hub: Arc<Hub>,
    index: usize,
    inbox: mpsc::UnboundedReceiver<Transition>,
    /// Received and not yet in a flush.
    received: Vec<Transition>,
    /// Transitions of places that cannot be used at the moment; nobody else waits for them.
    parked: HashMap<TenantId, Parked>,
}

struct Parked {
    batch: PlaceBatch,
    due: Duration,
}

/// What a flush came to.
enum Attempted {
    Done,
    /// Nothing was written, or it is not known whether it was: the batches are to be tried again.
    Again(Vec<PlaceBatch>, StoreError),
    /// The auditor looks at the place, and may be kept waiting there.
    Audited(PlaceBatch),
}

impl Lane {
    pub(super) fn new(hub: Arc<Hub>, index: usize, inbox: mpsc::UnboundedReceiver<Transition>) -> Self {
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
        let mut batch_of = |batches: &mut Vec<PlaceBatch>, place: &Arc<OpenPlace>| {
            *positions.entry(place.place.tenant).or_insert_with(|| {
                batches.push(PlaceBatch::new(Arc::clone(place)));
                batches.len() - 1
            })
        };
        let most = self.received.len().min(MAX_TRANSITIONS);
        for transition in self.received.drain(..most) {
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
        let goes_alone =
            |batch: &PlaceBatch| self.parked.contains_key(&batch.place.place.tenant) || is_untrusted(batch);
        let (alone, together): (Vec<_>, Vec<_>) = batches.into_iter().partition(goes_alone);
        let mut work: Vec<Vec<PlaceBatch>> = Vec::new();
        // A flush has an upper bound in bytes as well.
        let mut bytes = 0;
        let mut current: Vec<PlaceBatch> = Vec::new();
        for batch in together {
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
        // Who may keep us waiting comes last.
        work.extend(alone.into_iter().map(|batch| vec![batch]));
        work.reverse();
        let mut wait = BACKOFF.0;
        while let Some(batches) = work.pop() {
            match self.flush(batches).await {
                Attempted::Done => wait = BACKOFF.0,
                Attempted::Audited(batch) => {
                    let due = self.hub.clock.monotonic() + AUDITED;
                    self.put_off(batch, due);
                }
                Attempted::Again(batches, error) => match error.kind() {
                    // Whoever holds locks in its own place does not keep the lane from the others.
                    StoreErrorKind::Transient | StoreErrorKind::Unknown
                        if batches.iter().all(is_untrusted) =>
                    {
                        let unsure = error.kind() == StoreErrorKind::Unknown;
                        let batches = self.give_up_old_submits(batches, unsure, &error);
                        batches.into_iter().for_each(|batch| self.park(batch, &error));
                    }
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
                        // The flush has seen to a new incarnation, unless the hub is being closed.
                        if self.hub.stop.is_cancelled() {
                            return;
                        }
                        work.push(batches);
                    }
                    // One tenant's trouble must not be another's.
                    _ if batches.len() > 1 => work.extend(batches.into_iter().map(|batch| vec![batch])),
                    StoreErrorKind::Data => {
                        let batch = batches.into_iter().next().expect("an empty flush cannot fail");
                        if batch.len() > 1 {
                            work.extend(batch.split().into_iter().map(|batch| vec![batch]));
                        } else if !batch.permits.is_empty() {
                            // There is nothing in a claim that could be left out.
                            self.park(batch, &error);
                        } else if let Some(batch) = refuse_data(&self.hub, batch, &error) {
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
        // What was refused or dropped on the way leaves nothing to wait for, and what comes next must not wait with it.
        self.parked.retain(|_, parked| !parked.batch.is_empty());
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

    /// Puts the transitions of an unusable place aside. New executions are refused, unless an earlier try may have recorded them, or
    /// it may be over in a moment; these and outcomes wait for better times.
    fn park(&mut self, mut batch: PlaceBatch, error: &StoreError) {
        let tenant = batch.place.place.tenant;
        let passing = matches!(error.kind(), StoreErrorKind::Transient | StoreErrorKind::Unknown);
        for submit in batch.submits.extract_if(.., |submit| !submit.unsure && !passing) {
            let message = format!(
                "execution {} was not recorded in the place of tenant `{}`: {error}",
                submit.execution.id, batch.place.place.name
            );
            submit.reply.fail(PipelineError::new(error.kind().into(), message).with_source(error.copy()));
        }
        let (before, only_served) = {
            let state = batch.place.state();
            (state.trouble, state.only_served())
        };
        // Where no outcome and no caller waits, there is no hurry.
        let most = if only_served && batch.endings.is_empty() { LONG_PARKING } else { PARKING.1 };
        let wait = before.map_or(PARKING.0, |before| (before * 2).min(most));
        batch.place.state().trouble = Some(wait);
        if !batch.permits.is_empty() {
            batch.permits.clear();
            self.hub.claim_failed(&batch.place, wait);
        }
        if batch.is_empty() && self.parked.get(&tenant).is_none_or(|parked| parked.batch.is_empty()) {
            warn!(tenant = batch.place.place.name, %error, "the place of this tenant cannot be used");
            self.parked.remove(&tenant);
            return;
        }
        error!(
            tenant = batch.place.place.name, outcomes = batch.endings.len(), submits = batch.submits.len(), %error,
            "the place of this tenant cannot be used; what its tasks did is kept in memory and written when it can be used again"
        );
        let due = self.hub.clock.monotonic() + wait;
        self.put_off(batch, due);
    }

    fn put_off(&mut self, batch: PlaceBatch, due: Duration) {
        match self.parked.get_mut(&batch.place.place.tenant) {
            Some(parked) => {
                parked.batch.absorb(batch);
                parked.due = due;
            }
            None => drop(self.parked.insert(batch.place.place.tenant, Parked { batch, due })),
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
        // Every lane takes the gates of places in one order, or two of them could wait for each other.
        batches.sort_unstable_by_key(|batch| batch.place.place.tenant);
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
        let gate = hub.gates[self.index].lock().await;
        hub.stir();
        let mut place_gates = Vec::with_capacity(batches.len());
        for batch in &batches {
            let gate = Arc::clone(&batch.place.gate);
            match gate.try_read_owned() {
                Ok(gate) => place_gates.push(gate),
                Err(_) if batches.len() == 1 && is_untrusted(batch) => {
                    return Attempted::Audited(batches.remove(0));
                }
                Err(_) => place_gates.push(Arc::clone(&batch.place.gate).read_owned().await),
            }
        }
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
fn give_up_old_submits(
    hub: &Hub,
    inbox: &mut mpsc::UnboundedReceiver<Transition>,
    received: &mut Vec<Transition>,
) {
    while let Ok(transition) = inbox.try_recv() {
        received.push(transition);
    }
    let is_given_up =
        |transition: &mut Transition| matches!(transition, Transition::Submit(submit) if is_old(hub, submit));
    for transition in received.extract_if(.., is_given_up) {
        if let Transition::Submit(submit) = transition {
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
