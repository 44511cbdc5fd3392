//! Asks for executions that are waited for here and run elsewhere.
//!
//! One of which a task is held here is not asked for: its end is learned from the commit. One that nothing is
//! known of may be over, or not exist, and is read at once. The others are asked for after 50 ms, and then
//! with pauses that double up to a second: many in one query, and each place for itself, so that nobody waits
//! for another tenant's database.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::auditor::LOAD;
use super::kernel::Loaded;
use super::place::{Due, Ended, OpenPlace, Poll, Waiter};
use super::shared::Hub;
use super::timers::Timer;
use crate::execution::ExecutionStatus;
use crate::id::ExecutionId;
use crate::store::{ExecutionHeader, StoreError};

/// How many of those that are waited for are asked for in one query.
const POLL_BATCH: usize = 1000;

/// How many are read without asking first whether they are over.
const FEW: usize = 8;

/// Of how many that are asked for hints are left alone for a while afterwards.
const MANY: u32 = 50;

/// For how long, for each of them: so asking takes a tenth of a thread at most.
const ASKED: Duration = Duration::from_micros(20);

impl Hub {
    /// Lets somebody wait for the end of an execution, which its handle may know already.
    pub(crate) fn wait(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        execution: ExecutionId,
        handle: &OnceLock<Ended>,
        waiter: Waiter,
    ) {
        if handle.get().is_none() {
            let now = self.clock.monotonic();
            let mut state = place.state();
            // An end that this process sees is told under this lock, so it is known by now or tells the
            // waiter.
            if handle.get().is_none() {
                // Of what was submitted here and has not ended here, nothing else is known either.
                let is_known =
                    state.waiters.is_remembered(execution) || state.work.live.contains_key(&execution);
                let poll = match is_known {
                    _ if state.work.holds(execution) => None,
                    true => Some(Poll::soon(now)),
                    false => Some(Poll::at_once(now)),
                };
                state.waiters.add(execution, waiter, poll);
                drop(state);
                return self.ask_elsewhere(place);
            }
        }
        // Nobody waits for the place while the result is made. Whoever dropped its future does not want to
        // know.
        if let Some(result) = handle.get().and_then(Ended::result) {
            drop(waiter.send(Ok(result)));
        }
    }

    /// Asks for what is waited for and may run elsewhere whenever another process hints that some of it may
    /// be over.
    pub(super) async fn hear_of_ends(self: Arc<Self>) {
        let mut ends = self.store.ends();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                ended = ends.changed() => if ended.is_err() { return },
            }
            let now = self.clock.monotonic();
            let mut asked = 0;
            let polled = self.timers.lock().polled();
            for place in polled.into_iter().filter_map(|tenant| self.open_place(tenant)) {
                asked += place.state().waiters.arm_all(now);
                self.ask_elsewhere(&place);
            }
            // Where many are waited for, a hint is no news.
            if asked > MANY && !self.pause(ASKED * asked).await {
                return;
            }
        }
    }

    /// Asks for what it is time to ask for in a place, unless somebody does.
    pub(super) fn ask_elsewhere(self: &Arc<Self>, place: &Arc<OpenPlace>) {
        if let Some(due) = self.due_polls(place, false) {
            let (hub, place) = (Arc::clone(self), Arc::clone(place));
            self.spawn(async move {
                let mut due = due;
                loop {
                    // Those that come while one look is under way are in the next.
                    place.troubles.elsewhere.note(place.whose(), &hub.ask_for(&place, due).await);
                    match hub.due_polls(&place, true) {
                        Some(next) => due = next,
                        None => return,
                    }
                }
            });
        }
    }

    /// What it is time to ask for; if there is nothing, the timer is set. `None` as well if somebody else
    /// asks.
    fn due_polls(&self, place: &OpenPlace, asks: bool) -> Option<Due> {
        let now = self.clock.monotonic();
        let next = {
            let mut guard = place.state();
            let state = &mut *guard;
            if state.waiters.asking && !asks {
                return None;
            }
            let alone = self.alone.load(Ordering::Relaxed) && state.claims();
            let (work, waiters) = (&state.work, &mut state.waiters);
            let only_ours =
                |execution, is_remembered| alone && (is_remembered || work.live.contains_key(&execution));
            let due = waiters.due(now, |execution| work.holds(execution), only_ours);
            waiters.asking = due != Due::default();
            if waiters.asking {
                return Some(due);
            }
            waiters.next_poll()
        };
        if let Some(at) = next {
            self.set_timer_at(place.place.tenant, Timer::Poll, at);
        }
        None
    }

    async fn ask_for(self: &Arc<Self>, place: &Arc<OpenPlace>, due: Due) -> Result<(), StoreError> {
        let _turn = self.turn_in(place).await;
        let Due { unknown: mut over, open } = due;
        if open.len() <= FEW {
            // That they are not over costs less than a second query.
            over.extend(open);
        } else {
            for asked in open.chunks(POLL_BATCH) {
                let headers = self.store.execution_headers(&place.place, asked).await?;
                let running = headers.iter().filter(|header| !header.status.is_terminal());
                {
                    let mut state = place.state();
                    let waits = |header: &ExecutionHeader| header.status == ExecutionStatus::Waiting;
                    running.clone().for_each(|header| state.waiters.found(header.id, waits(header)));
                }
                let running: HashSet<ExecutionId> = running.map(|header| header.id).collect();
                over.extend(asked.iter().filter(|id| !running.contains(id)));
            }
        }
        let mut loaded = Loaded::default();
        for ids in over.chunks(LOAD) {
            loaded.extend(self.load_each(place, ids).await?);
        }
        let incarnation = self.incarnation();
        let effects = place.state().settle(loaded, incarnation.as_ref().map(|incarnation| incarnation.id));
        self.perform(place, incarnation.as_ref(), effects);
        Ok(())
    }
}
