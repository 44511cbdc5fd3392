//! Does what the kernel decided.

use std::sync::Arc;

use tracing::debug;

use super::attempt::Attempt;
use super::kernel::{Effects, Moment};
use super::place::OpenPlace;
use super::shared::{Audit, Hub};
use super::stop::StopReason;
use super::timers::Timer;
use super::transition::Incarnation;
use crate::meters::{count_ended, count_submitted};
use crate::store::Outcome;

impl Hub {
    /// The time, by the database's clock if it was just asked.
    pub(super) fn moment(&self, now: Option<jiff::Timestamp>) -> Moment {
        let now = now.or_else(|| self.clock.database_now()).unwrap_or_else(|| self.clock.now());
        Moment { now, monotonic: self.clock.monotonic() }
    }

    /// Does what the kernel decided about a place, whose state is free. Tasks run under this incarnation.
    pub(super) fn perform(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        incarnation: Option<&Arc<Incarnation>>,
        effects: Effects,
    ) {
        // Every one of them, so that a new effect does not compile until it is done.
        let Effects {
            stops,
            recorded,
            unresolved,
            finished,
            abandoned,
            runs,
            ends,
            loads,
            audits,
            work_in,
            due_in,
            reached,
            poll_at,
            reports,
            counts,
            ended,
            tells,
            adopted,
            is_idle,
            lowers,
            takes_turn,
        } = effects;
        let tenant = place.place.tenant;
        stops.iter().for_each(|stop| stop.stop(StopReason::Void));
        for recorded in recorded {
            if let Some(admitted) = recorded.admitted {
                admitted.recorded();
            }
            if let Some(reply) = recorded.reply {
                drop(reply.send(Ok(recorded.id)));
            }
        }
        // Whoever dropped its future does not want to know.
        finished.into_iter().for_each(|(waiter, result)| drop(waiter.send(result)));
        place.queue.left(counts.completed + counts.failed);
        count_submitted(counts.submitted);
        for (status, known) in ended {
            match known {
                Some((workflow, took)) => {
                    workflow.meters().ended(status, took.try_into().unwrap_or_default());
                }
                None => count_ended(status, 1),
            }
        }
        if !tells.is_empty() {
            self.store.tell(&tells);
        }
        for (submit, is_counted) in unresolved {
            self.resolve(Arc::clone(place), submit, is_counted);
        }
        for (execution, reason) in abandoned {
            self.cancel_abandoned(Arc::clone(place), execution, reason);
        }
        if let Some(incarnation) = incarnation {
            for run in runs {
                Attempt::new(self, place, incarnation, run).start();
            }
            for (start, outcome) in ends {
                let outcome = Outcome::new(start.execution, start.task, start.attempt, outcome);
                self.end(place, incarnation, outcome, None, start.permit);
            }
        }
        if !loads.is_empty() {
            self.load(Arc::clone(place), loads);
        }
        if adopted > 0 {
            debug!(
                tenant = place.place.name,
                tasks = adopted,
                "adopted tasks whose claim was not learned of"
            );
        }
        for execution in audits {
            self.request_audit(Audit::Execution(Arc::clone(place), execution));
        }
        if let Some(delay) = work_in {
            self.set_timer(tenant, Timer::Work, delay);
        }
        if let Some(delay) = due_in {
            self.set_timer(tenant, Timer::Due, delay);
        }
        if reached {
            self.look_for_waits(place);
        }
        if let Some(at) = poll_at {
            self.set_timer_at(tenant, Timer::Poll, at);
        }
        self.say(place, reports);
        if is_idle {
            place.idle.notify_waiters();
        }
        if lowers {
            self.lower(Arc::clone(place));
        }
        if takes_turn {
            self.take_turn(place);
        }
    }
}
