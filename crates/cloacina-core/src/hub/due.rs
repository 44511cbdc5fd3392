//! Does what the engine itself has to do at a time, without slots.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::place::{OpenPlace, PATIENCE, Sort};
use super::shared::{Audit, Hub};
use super::timers::Timer;
use crate::execution::ExecutionStatus;
use crate::meters::count_ended;
use crate::store::DueKind;

/// How many places that wait for slots are looked at in one look at the doorbell.
const LOOKED_AT: usize = 256;

impl Hub {
    /// Takes the due rows of a place. If another task does so already, that one looks once more.
    pub(super) async fn settle_due(self: Arc<Self>, place: Arc<OpenPlace>) {
        if !place.state().claiming.due.begin() {
            return;
        }
        loop {
            self.settle_due_once(&place).await;
            if !place.state().claiming.due.end() {
                return;
            }
        }
    }

    async fn settle_due_once(self: &Arc<Self>, place: &Arc<OpenPlace>) {
        if !place.state().standing.is_active() {
            // The look that follows when it is active again tells what is due.
            return;
        }
        let (store, inner, now) =
            (Arc::clone(&self.store), Arc::clone(&place.place), self.clock.database_now());
        // Whatever becomes of schedules, deadlines and waits are kept.
        let schedules = self.settle_schedules(place).await;
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
