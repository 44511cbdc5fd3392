//! Claims ready work as slots allow, and looks at places when something is due there.
//!
//! A place stands in the queue while the ready table may hold something for it. It leaves the queue when a
//! claim comes back with less than was asked for; then its bell is lowered, and what the bell says next
//! becomes a timer.

use std::sync::Arc;
use std::time::Duration;

use super::place::OpenPlace;
use super::shared::Hub;
use super::timers::Timer;
use super::transition::{ClaimRequest, Transition};
use crate::clock::LONGEST_WAIT;
use crate::id::TenantId;
use crate::meters::Starving;
use crate::slots;
use crate::store::{DueKind, NextDue};

/// The most tasks that one claim asks for, and how few are worth a statement. Where places share tables,
/// their claims share one.
const CLAIM: usize = 256;
const WORTH_A_CLAIM: usize = 16;

impl Hub {
    /// Puts a place into the queue, if it may have work that is to be claimed.
    pub(crate) fn look(&self, place: &Arc<OpenPlace>) {
        let takes_turn = place.state().takes_turn();
        if takes_turn {
            self.take_turn(place);
        }
    }

    /// Puts a place into the queue.
    pub(super) fn take_turn(&self, place: &Arc<OpenPlace>) {
        self.turns.push(Arc::clone(place));
        self.slot_watch.wake();
    }

    /// Looks at a place again after `delay`.
    pub(crate) fn set_timer(&self, tenant: TenantId, timer: Timer, delay: Duration) {
        self.set_timer_at(tenant, timer, self.clock.monotonic() + delay.min(LONGEST_WAIT));
    }

    pub(super) fn set_timer_at(&self, tenant: TenantId, timer: Timer, at: Duration) {
        let first = self.timers.lock().set(tenant, timer, at);
        if first {
            self.slot_watch.wake();
        }
    }

    pub(super) async fn claim_ready_work(self: Arc<Self>) {
        loop {
            let next = {
                let _acting = self.acting.lock();
                let next = self.fire_timers();
                self.grant();
                next
            };
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
            let due = self.timers.lock().pop(now);
            let (tenant, timer) = match due {
                Ok(due) => due,
                Err(next) => return next,
            };
            let Some(place) = self.open_place(tenant) else { continue };
            match timer {
                Timer::Work => {
                    place.state().claiming.note_any();
                    self.look(&place);
                }
                Timer::Poll => self.ask_elsewhere(&place),
                Timer::Due => self.settle_due(place),
            }
        }
    }

    /// Sends a claim for every queued place that gets a slot, each once.
    fn grant(self: &Arc<Self>) {
        let turns = self.turns.len();
        // What a claim asks for is held until its answer, so those that wait share what is free.
        let share = slots::free_in_process() / turns.max(1);
        for _ in 0..turns {
            let Some(place) = self.turns.pop() else { return };
            let rouses = {
                let mut state = place.state();
                let may_claim = !state.claiming.under_way && state.claiming.has_backlog() && state.claims();
                // Otherwise the end of the claim, or whatever sets the backlog, puts it back.
                state.claiming.queued = may_claim;
                if !may_claim {
                    state.claiming.starving = None;
                }
                (!may_claim).then(|| state.handles.lacks_runner())
            };
            if let Some(lacks_runner) = rouses {
                if lacks_runner {
                    self.spawn(Arc::clone(self).rouse(Arc::clone(&place)));
                }
                continue;
            }
            // Armed before the look, so that a slot that comes back in between is not missed.
            self.slot_watch.arm();
            let least = if place.place.shared { 1 } else { WORTH_A_CLAIM };
            // What becomes known from here on may be missed by the claim.
            let permits = place.slots.take(share.clamp(least, CLAIM));
            if permits.is_empty() {
                place.state().claiming.starving.get_or_insert_with(Starving::new);
                self.turns.push(place);
                continue;
            }
            let news = place.state().claiming.begin();
            self.send(Transition::Claim(ClaimRequest { place, permits, news }));
        }
    }

    /// A claim could not be made; the place is looked at again later.
    pub(super) fn claim_failed(&self, place: &Arc<OpenPlace>, delay: Duration) {
        self.claim_dropped(place);
        self.set_timer(place.place.tenant, Timer::Work, delay);
    }

    /// A claim is not made.
    pub(super) fn claim_dropped(&self, place: &OpenPlace) {
        let is_idle = {
            let mut state = place.state();
            state.claiming.under_way = false;
            state.is_idle()
        };
        if is_idle {
            place.idle.notify_waiters();
        }
    }

    /// Lowers the bell of a place that had nothing more for us, and sets the timers for what comes next.
    /// Those of places that share tables are lowered together: while some are, others gather.
    pub(super) fn lower(self: &Arc<Self>, place: Arc<OpenPlace>) {
        if !place.place.shared {
            self.spawn(Arc::clone(self).lower_now(vec![place]));
            return;
        }
        if self.lowering.add(place) {
            self.spawn(Arc::clone(self).lower_shared());
        }
    }

    async fn lower_shared(self: Arc<Self>) {
        loop {
            let batch = self.lowering.next();
            if batch.is_empty() {
                return;
            }
            Arc::clone(&self).lower_now(batch).await;
        }
    }

    /// Several places share tables.
    async fn lower_now(self: Arc<Self>, places: Vec<Arc<OpenPlace>>) {
        let [first, ..] = &places[..] else { return };
        let _turn = self.turn_in(first).await;
        let (store, now) = (Arc::clone(&self.store), self.clock.database_now());
        let of: Vec<_> = places.iter().map(|place| Arc::clone(&place.place)).collect();
        let lowered = self.ask(async move { store.bell_lower(&of, DueKind::ALL, now).await }).await;
        first.troubles.lowering.note(first.whose(), &lowered);
        match lowered {
            Ok(next) => {
                for (place, next) in places.iter().zip(next) {
                    self.wait_for(place, next);
                }
            }
            Err(_) => {
                for place in &places {
                    self.set_timer(place.place.tenant, Timer::Work, Duration::from_secs(1));
                }
            }
        }
    }

    pub(super) fn wait_for(self: &Arc<Self>, place: &Arc<OpenPlace>, next: NextDue) {
        let tenant = place.place.tenant;
        let until = |due: jiff::Timestamp| due.duration_since(next.now).try_into().unwrap_or(Duration::ZERO);
        let is_due = |due: Option<jiff::Timestamp>| due.is_some_and(|due| due <= next.now);
        let (patience, due_in) = {
            let mut state = place.state();
            let now = self.clock.monotonic();
            state.claiming.due_looked = now;
            if !is_due(next.due) {
                state.claiming.nothing_is_due();
            }
            let due_in = next.due.map(|due| until(due).max(state.claiming.due_in(now)));
            // Due, but locked by another runner or of a workflow, or a kind, that we do not have.
            let is_foreign = is_due(next.work) || is_due(next.unknown);
            let patience = if state.claiming.has_backlog() {
                // It waits for slots, and is claimed when there is one.
                None
            } else if is_foreign {
                Some(state.claiming.lose_patience())
            } else {
                state.claiming.patience = None;
                None
            };
            (patience, due_in)
        };
        let expanding = next.unexpanded && is_due(next.work) && self.expand(place);
        if let Some(patience) = patience {
            self.set_timer(tenant, Timer::Work, patience);
            // Whoever expands looks for them if nothing there was for us.
            if is_due(next.work) && !expanding {
                self.look_for_orphans(place);
            }
        }
        if let Some(due) = next.work.filter(|due| *due > next.now) {
            self.set_timer(tenant, Timer::Work, until(due));
        }
        if let Some(delay) = due_in {
            self.set_timer(tenant, Timer::Due, delay);
        }
    }
}
