//! Does what the engine itself has to do at a time, without slots.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::place::{OpenPlace, PATIENCE, Settling, Sort};
use super::schedules::OF_EACH;
use super::shared::{Audit, Hub};
use super::timers::Timer;
use crate::execution::ExecutionStatus;
use crate::meters::count_ended;
use crate::store::DueKind;

/// How many places that wait for slots are looked at in one look at the doorbell.
const LOOKED_AT: usize = 256;

impl Hub {
    /// Takes the due rows of a place. If another task does so already, that one looks once more.
    pub(super) fn settle_due(self: &Arc<Self>, place: Arc<OpenPlace>) {
        if !place.state().claiming.due.begin() {
            return;
        }
        if place.place.shared {
            self.settle_with_others(place);
        } else {
            self.spawn(Arc::clone(self).settle_alone(place, None));
        }
    }

    /// Places that share tables are settled together: while some are, others gather.
    fn settle_with_others(self: &Arc<Self>, place: Arc<OpenPlace>) {
        if self.settling.add(place) {
            self.spawn(Arc::clone(self).settle_together());
        }
    }

    async fn settle_together(self: Arc<Self>) {
        loop {
            let mut places = self.settling.next();
            if places.is_empty() {
                return;
            }
            // The look that follows when one is active again tells what is due.
            places.retain(|place| {
                let mut state = place.state();
                let is_active = state.standing.is_active();
                if !is_active {
                    state.claiming.due = Settling::default();
                }
                is_active
            });
            let taken = self.settle_schedules_of(&places).await;
            for (at, place) in places.into_iter().enumerate() {
                match taken.as_ref().map(|taken| taken[at]) {
                    // If anything else is due, the bell says so.
                    Ok(taken @ 1..OF_EACH) => {
                        place.state().claiming.due_taken(taken, self.clock.monotonic());
                        let again = place.state().claiming.due.end();
                        if again {
                            self.settle_with_others(Arc::clone(&place));
                        }
                        self.lower(place);
                    }
                    Ok(taken) => self.spawn(Arc::clone(&self).settle_alone(place, Some(taken))),
                    // One of them may be in trouble, and keeps the others waiting no longer.
                    Err(_) => self.spawn(Arc::clone(&self).settle_alone(place, None)),
                }
            }
        }
    }

    /// `schedules` is how many due rows of schedules were taken already.
    async fn settle_alone(self: Arc<Self>, place: Arc<OpenPlace>, mut schedules: Option<usize>) {
        loop {
            self.settle_due_once(&place, schedules.take()).await;
            if !place.state().claiming.due.end() {
                return;
            }
        }
    }

    async fn settle_due_once(self: &Arc<Self>, place: &Arc<OpenPlace>, schedules: Option<usize>) {
        if !place.state().standing.is_active() {
            // The look that follows when it is active again tells what is due.
            return;
        }
        let (store, inner, now) =
            (Arc::clone(&self.store), Arc::clone(&place.place), self.clock.database_now());
        // Whatever becomes of schedules, deadlines and waits are kept.
        let schedules = match schedules {
            Some(taken) => Ok(taken),
            None => self.settle_schedules(place).await,
        };
        let answer = {
            let _turn = self.turn_in(place).await;
            self.ask(async move { store.due_settle(&inner, DueKind::OF_EXECUTIONS, now).await }).await
        };
        let troubled =
            if schedules.is_err() { schedules.as_ref().map(drop) } else { answer.as_ref().map(drop) };
        place.troubles.settling.note(place.whose(), &troubled);
        let Ok(mut settled) = answer else {
            self.set_timer(place.place.tenant, Timer::Due, Duration::from_secs(1));
            return;
        };
        // Whether another task of this process does a part of it, and knows how much that was.
        let mut under_way = false;
        if settled.waits {
            let answer = self.settle(Sort::Waits, place).await;
            place.troubles.settling.note(place.whose(), &answer);
            let waits = answer.unwrap_or(Some(0));
            if waits == Some(0) {
                // They may be of a version that nobody has.
                self.look_for_orphans(place);
            }
            under_way |= waits.is_none();
            settled.taken += waits.unwrap_or_default();
        }
        if settled.children {
            let answer = self.settle(Sort::Children, place).await;
            place.troubles.settling.note(place.whose(), &answer);
            let children = answer.unwrap_or(Some(0));
            under_way |= children.is_none();
            settled.taken += children.unwrap_or_default();
        }
        let expired = settled.expired.len();
        settled.taken += schedules.unwrap_or_default();
        debug!(tenant = place.place.name, rows = settled.taken, executions = expired, "took due rows");
        if settled.taken > 0 || !under_way {
            place.state().claiming.due_taken(settled.taken, self.clock.monotonic());
        }
        place.queue.left(expired);
        count_ended(ExecutionStatus::Cancelled, expired);
        for execution in settled.expired {
            self.request_audit(Audit::Execution(Arc::clone(place), execution));
        }
        self.lower(Arc::clone(place));
    }

    /// Looks at places that wait for slots and have not been looked at lately: what is due there needs none.
    pub(super) fn look_without_slots(self: &Arc<Self>, mut places: Vec<Arc<OpenPlace>>) {
        let now = self.clock.monotonic();
        places.retain(|place| {
            let state = place.state();
            state.standing.is_active() && now.saturating_sub(state.claiming.due_looked) >= PATIENCE.1
        });
        places.sort_by_key(|place| place.state().claiming.due_looked);
        for place in places.into_iter().take(LOOKED_AT) {
            place.state().claiming.due_looked = now;
            self.lower(place);
        }
    }
}
