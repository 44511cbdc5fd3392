//! Grants slots and claims ready work.
//!
//! A place stands in the queue while the ready table may hold something for it. It leaves the queue when a claim comes back
//! with less than was asked for; then its bell is lowered, and what the bell says next becomes a timer.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tracing::debug;

use super::auditor::Audit;
use super::place::OpenPlace;
use super::report::count_ended;
use super::{ClaimRequest, Hub, Transition};
use crate::clock::LONGEST_WAIT;
use crate::execution::PipelineStatus;
use crate::id::TenantId;
use crate::slots;
use crate::store::NextDue;

/// The most tasks that one claim asks for, and how few are worth a statement. Where places share tables, their claims share one.
const CLAIM: usize = 256;
const WORTH_A_CLAIM: usize = 16;

/// How long to wait when work is due but none of it is for us: at first, and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The most bells that are lowered in one transaction: whoever rings one of them meanwhile waits for its end.
const LOWERED_TOGETHER: usize = 256;

/// The places that share tables and whose bells are to be lowered.
#[derive(Default)]
pub(super) struct Lowering {
    waiting: Vec<(Arc<OpenPlace>, Duration)>,
    /// Whether somebody is lowering, and looks for more.
    under_way: bool,
}

/// What a place is to be looked at for, at a certain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    Work,
    Deadline,
}

/// When which place is to be looked at; for each place and purpose only the earliest time counts, because the look says what
/// comes next.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(Duration, TenantId, Timer)>,
    by_place: HashMap<(TenantId, Timer), Duration>,
}

impl Timers {
    /// True if this is now the earliest of all.
    fn set(&mut self, tenant: TenantId, timer: Timer, due: Duration) -> bool {
        if let Some(known) = self.by_place.get(&(tenant, timer)) {
            if *known <= due {
                return false;
            }
            self.by_time.remove(&(*known, tenant, timer));
        }
        self.by_place.insert((tenant, timer), due);
        self.by_time.insert((due, tenant, timer));
        self.by_time.first() == Some(&(due, tenant, timer))
    }

    /// When a place is to be looked at next, for whatever.
    pub(super) fn next(&self, tenant: TenantId) -> Option<Duration> {
        let of = |timer| self.by_place.get(&(tenant, timer)).copied();
        of(Timer::Work).into_iter().chain(of(Timer::Deadline)).min()
    }

    pub(super) fn forget(&mut self, tenant: TenantId) {
        for timer in [Timer::Work, Timer::Deadline] {
            if let Some(due) = self.by_place.remove(&(tenant, timer)) {
                self.by_time.remove(&(due, tenant, timer));
            }
        }
    }

    /// The earliest one that is due, or else when the next one is.
    fn pop(&mut self, now: Duration) -> Result<(TenantId, Timer), Option<Duration>> {
        match self.by_time.first().copied() {
            Some((due, tenant, timer)) if due <= now => {
                self.by_time.pop_first();
                self.by_place.remove(&(tenant, timer));
                Ok((tenant, timer))
            }
            next => Err(next.map(|(due, ..)| due)),
        }
    }
}

impl Hub {
    /// Puts a place into the queue: it may have claimable work.
    pub(crate) fn look(&self, place: &Arc<OpenPlace>) {
        {
            let mut state = place.state();
            if state.queued || state.backlog.is_none() || !(state.claims() || state.lacks_runner()) {
                return;
            }
            state.queued = true;
        }
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(Arc::clone(place));
        self.slot_watch.wake();
    }

    /// Looks at a place again after `delay`.
    pub(crate) fn set_timer(&self, tenant: TenantId, timer: Timer, delay: Duration) {
        let due = self.clock.monotonic() + delay.min(LONGEST_WAIT);
        let first = self.timers.lock().unwrap_or_else(PoisonError::into_inner).set(tenant, timer, due);
        if first {
            self.slot_watch.wake();
        }
    }

    pub(super) async fn schedule(self: Arc<Self>) {
        loop {
            let next = self.fire_timers();
            self.grant();
            let timer = async {
                match next {
                    Some(due) => self.clock.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.slot_watch.woken() => {}
                () = timer => {}
            }
        }
    }

    /// Acts on the timers that are due, and says when the next one is.
    fn fire_timers(self: &Arc<Self>) -> Option<Duration> {
        let now = self.clock.monotonic();
        loop {
            let due = self.timers.lock().unwrap_or_else(PoisonError::into_inner).pop(now);
            let (tenant, timer) = match due {
                Ok(due) => due,
                Err(next) => return next,
            };
            let Some(place) = self.open_place(tenant) else { continue };
            match timer {
                Timer::Work => {
                    place.state().note_backlog(i16::MIN);
                    self.look(&place);
                }
                Timer::Deadline => self.spawn(Arc::clone(self).expire(place)),
            }
        }
    }

    /// Sends a claim for every queued place that gets a slot, each once.
    fn grant(self: &Arc<Self>) {
        let turns = self.queue.lock().unwrap_or_else(PoisonError::into_inner).len();
        // What a claim asks for is held until its answer, so those that wait share what is free.
        let share = slots::free_in_process() / turns.max(1);
        for _ in 0..turns {
            let Some(place) = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else {
                return;
            };
            let news = {
                let mut state = place.state();
                if state.claiming || state.backlog.is_none() || !state.claims() {
                    // The end of the claim, or whatever sets the backlog, puts it back.
                    state.queued = false;
                    if state.lacks_runner() {
                        self.spawn(Arc::clone(self).rouse(Arc::clone(&place)));
                    }
                    continue;
                }
                state.backlog_news
            };
            // Armed before the look, so that a slot that comes back in between is not missed.
            self.slot_watch.arm();
            let least = if place.place.shared { 1 } else { WORTH_A_CLAIM };
            let permits = place.slots.take(share.clamp(least, CLAIM));
            if permits.is_empty() {
                self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(place);
                continue;
            }
            {
                let mut state = place.state();
                state.queued = false;
                state.claiming = true;
            }
            self.send(Transition::Claim(ClaimRequest { place, permits, news }));
        }
    }

    /// A claim came back with `claimed` of `asked` tasks; `news` is what was known of the backlog when it was asked for.
    pub(super) fn claim_ended(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        asked: usize,
        claimed: usize,
        news: u64,
    ) {
        let exhausted = {
            let mut state = place.state();
            // What became ready after the claim was asked for may have been missed by it.
            let exhausted = claimed < asked && state.backlog_news == news;
            state.claiming = false;
            if claimed > 0 {
                state.patience = None;
            }
            if exhausted {
                state.backlog = None;
            }
            if state.held.is_empty() {
                place.idle.notify_waiters();
            }
            exhausted
        };
        if exhausted {
            self.lower(Arc::clone(place), Duration::ZERO);
        } else {
            self.look(place);
        }
    }

    /// A claim could not be made; the place is looked at again later.
    pub(super) fn claim_failed(&self, place: &Arc<OpenPlace>, delay: Duration) {
        {
            let mut state = place.state();
            state.claiming = false;
            state.trouble = Some(delay);
            if state.held.is_empty() {
                place.idle.notify_waiters();
            }
        }
        self.set_timer(place.place.tenant, Timer::Work, delay);
    }

    /// Lowers the bell of a place that had nothing more for us, and sets the timers for what comes next, deadlines not before
    /// `deadlines_after`. Those of places that share tables are lowered together: while some are, others gather.
    fn lower(self: &Arc<Self>, place: Arc<OpenPlace>, deadlines_after: Duration) {
        if !place.place.shared {
            self.spawn(Arc::clone(self).lower_now(vec![(place, deadlines_after)]));
            return;
        }
        let mut lowering = self.lowering.lock().unwrap_or_else(PoisonError::into_inner);
        lowering.waiting.push((place, deadlines_after));
        if !std::mem::replace(&mut lowering.under_way, true) {
            self.spawn(Arc::clone(self).lower_shared());
        }
    }

    async fn lower_shared(self: Arc<Self>) {
        loop {
            let batch = {
                let mut lowering = self.lowering.lock().unwrap_or_else(PoisonError::into_inner);
                let most = lowering.waiting.len().min(LOWERED_TOGETHER);
                lowering.under_way = most > 0;
                lowering.waiting.drain(..most).collect::<Vec<_>>()
            };
            if batch.is_empty() {
                return;
            }
            Arc::clone(&self).lower_now(batch).await;
        }
    }

    /// Several places share tables.
    async fn lower_now(self: Arc<Self>, places: Vec<(Arc<OpenPlace>, Duration)>) {
        let [(first, _), ..] = &places[..] else { return };
        let _turn = self.turn_in(first).await;
        let (store, now) = (Arc::clone(&self.store), self.clock.database_now());
        let of: Vec<_> = places.iter().map(|(place, _)| Arc::clone(&place.place)).collect();
        let lowered = self.ask(async move { store.bell_lower(&of, now).await }).await;
        first.troubles.lowering.note(first.whose(), &lowered);
        match lowered {
            Ok(next) => {
                for ((place, deadlines_after), next) in places.iter().zip(next) {
                    self.wait_for(place, next, *deadlines_after);
                }
            }
            Err(_) => {
                for (place, _) in &places {
                    self.set_timer(place.place.tenant, Timer::Work, Duration::from_secs(1));
                }
            }
        }
    }

    pub(super) fn wait_for(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        next: NextDue,
        deadlines_after: Duration,
    ) {
        let tenant = place.place.tenant;
        let until = |due: jiff::Timestamp| due.duration_since(next.now).try_into().unwrap_or(Duration::ZERO);
        if let Some(due) = next.work {
            let delay: Duration = until(due);
            if delay.is_zero() {
                // Due, but locked by another runner or of a workflow that we do not have.
                let patience = {
                    let mut state = place.state();
                    let patience =
                        state.patience.map_or(PATIENCE.0, |patience| (patience * 2).min(PATIENCE.1));
                    state.patience = Some(patience);
                    patience
                };
                self.set_timer(tenant, Timer::Work, patience);
                self.look_for_orphans(place);
            } else {
                place.state().patience = None;
                self.set_timer(tenant, Timer::Work, delay);
            }
        } else {
            place.state().patience = None;
        }
        if let Some(due) = next.deadline {
            self.set_timer(tenant, Timer::Deadline, until(due).max(deadlines_after));
        }
    }

    /// Cancels the executions of a place whose deadline has passed.
    async fn expire(self: Arc<Self>, place: Arc<OpenPlace>) {
        if !place.state().is_active() {
            // The look that follows when it is active again tells the deadlines.
            return;
        }
        let (store, inner, now) =
            (Arc::clone(&self.store), Arc::clone(&place.place), self.clock.database_now());
        let answer = {
            let _turn = self.turn_in(&place).await;
            self.ask(async move { store.execution_expire(&inner, now).await }).await
        };
        place.troubles.deadlines.note(place.whose(), &answer);
        match answer {
            Ok(expired) => {
                debug!(
                    tenant = place.place.name,
                    executions = expired.len(),
                    "cancelled executions whose deadline has passed"
                );
                // A deadline that is due and ends nothing has no execution.
                let deadlines_after = if expired.is_empty() { PATIENCE.1 } else { Duration::ZERO };
                place.left_queue(expired.len());
                count_ended(PipelineStatus::Cancelled, expired.len());
                for execution in expired {
                    self.request_audit(Audit::Execution(Arc::clone(&place), execution));
                }
                self.lower(place, deadlines_after);
            }
            Err(_) => self.set_timer(place.place.tenant, Timer::Deadline, Duration::from_secs(1)),
        }
    }
}
