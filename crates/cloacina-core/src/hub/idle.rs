//! What a hub does at a moment, for tests that decide when time goes on.
//!
//! A hub is idle when nothing is under way in it and nothing is due at this time: then nothing happens before
//! somebody comes, or the next time comes that something is due at. What is due the database says, whatever
//! kind of row it is; attempts that wait for their timeout are in the watch.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::place::OpenPlace;
use super::shared::Hub;
use super::timers::Timer;
use crate::error::Error;
use crate::slots;
use crate::store::{DueKind, NEVER, NextDue};

/// What a hub does at a moment.
#[derive(Debug)]
#[non_exhaustive]
pub enum Doing {
    /// It is at work, and will be done with that by itself.
    Works,
    /// It waits for the code of these tasks.
    Runs(Vec<RunningTask>),
    /// Nothing, until this time; `None` if it will do nothing by itself.
    Idle(Option<Timestamp>),
}

/// An attempt whose end is not recorded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RunningTask {
    /// The execution.
    pub execution: Uuid,
    /// The id of the task.
    pub task: String,
    /// Its number, from 1.
    pub attempt: u32,
}

impl Hub {
    /// What it does now, apart from tasks that are `parked`: these wait for the time to go on.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn doing(
        self: &Arc<Self>,
        parked: impl Fn(&RunningTask) -> bool + Send,
    ) -> Result<Doing, Error> {
        let busy = || {
            if self.is_at_work() {
                return Some(Doing::Works);
            }
            let running: Vec<_> = self.running().into_iter().filter(|task| !parked(task)).collect();
            (!running.is_empty()).then_some(Doing::Runs(running))
        };
        {
            // What a flush did is done in memory as well.
            let _gates = self.close_gates().await;
            if let Some(busy) = busy() {
                return Ok(busy);
            }
        }
        let mut next = self.next_end();
        for place in self.all_places() {
            if place.state().handles.executors.is_empty() {
                continue;
            }
            let (store, inner, now) =
                (Arc::clone(&self.store), Arc::clone(&place.place), self.clock.database_now());
            let due = self.ask(async move { store.bell_lower(&[inner], DueKind::ALL, now).await }).await?;
            for due in due {
                if self.begins(&place, &due) {
                    return Ok(Doing::Works);
                }
                let later = |time: &Timestamp| *time > due.now && *time < NEVER;
                let times = due.work.into_iter().chain(due.due).filter(later);
                next = times.chain(next).min();
            }
        }
        // Somebody may have come in the meantime.
        Ok(busy().unwrap_or(Doing::Idle(next)))
    }

    /// Begins with what is due, as the clock would have it done. False if there is nothing, or nothing that
    /// can be done here.
    fn begins(self: &Arc<Self>, place: &Arc<OpenPlace>, next: &NextDue) -> bool {
        let is_due = |time: &Timestamp| *time <= next.now;
        let work = next.work.filter(is_due);
        if work.is_some() && self.is_at_work() {
            // Somebody claims it, who may have all slots until then.
            return true;
        }
        let work = work.filter(|_| self.has_slots(place));
        let due = next.due.filter(is_due);
        let (claims, settles) = {
            let mut begun = self.begun.lock();
            let tenant = place.place.tenant;
            (begun.again((tenant, Timer::Work), work), begun.again((tenant, Timer::Due), due))
        };
        if claims {
            place.state().claiming.note_any();
            self.look(place);
        }
        if settles {
            self.set_timer(place.place.tenant, Timer::Due, Duration::ZERO);
        }
        claims || settles
    }

    /// Whether something is under way that is not the code of a task.
    fn is_at_work(&self) -> bool {
        let _still = self.acting.lock();
        let now = self.clock.monotonic();
        let is_due = |time: Option<Duration>| time.is_some_and(|time| time <= now);
        let places = self.all_places();
        is_due(self.watch.next())
            || places.iter().any(|place| is_due(self.timers.lock().next(place.place.tenant)))
            || self.audits_left.load(Ordering::Relaxed) > 0
            || self.tasks.len() > self.lasting_tasks.load(Ordering::Relaxed)
            || places.iter().any(|place| self.place_is_at_work(place))
    }

    fn running(&self) -> Vec<RunningTask> {
        let mut running = Vec::new();
        for place in self.all_places() {
            let state = place.state();
            running.extend(state.work.all_attempts().map(|(execution, task, attempt)| {
                let live = state.work.live.get(&execution);
                let node = live.and_then(|live| live.workflow.node(task));
                RunningTask {
                    execution: execution.into(),
                    task: node.map_or_else(|| task.to_string(), |node| node.id().to_owned()),
                    attempt: attempt.max(0).cast_unsigned(),
                }
            }));
        }
        running
    }

    /// When the first attempt has to end.
    fn next_end(&self) -> Option<Timestamp> {
        let left = self.watch.next()?.saturating_sub(self.clock.monotonic());
        self.moment(None).now.checked_add(left).ok()
    }

    fn place_is_at_work(&self, place: &OpenPlace) -> bool {
        let has_slots = self.has_slots(place);
        let state = place.state();
        let claims = state.claims() || state.handles.lacks_runner();
        place.on_their_way.load(Ordering::Relaxed) > 0
            || place.is_submitting()
            || state.claiming.under_way
            || state.claiming.expanding
            || (state.claiming.has_backlog() && claims && has_slots)
    }

    /// Whether another task could run, or could as soon as others of this process leave it a slot.
    fn has_slots(&self, place: &OpenPlace) -> bool {
        let used = || self.all_places().iter().map(|place| place.slots.used()).sum();
        place.slots.free() > 0 && (slots::free_in_process() > 0 || !slots::are_all(used()))
    }
}
