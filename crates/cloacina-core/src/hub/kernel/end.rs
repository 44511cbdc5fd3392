//! The end of a task, before it is written.

use super::super::place::{PlaceState, Poll};
use super::effects::{Effects, Moment};
use crate::id::{ExecutionId, TaskIndex};
use crate::slots::Permit;
use crate::store::{MOST_ITEM_BYTES, Outcome, TaskOutcome};
use crate::workflow::OF_TASK;

impl PlaceState {
    /// Completes an outcome that is about to be written: which tasks wait for this one, which failures it
    /// handles, and which of its successors are to be claimed with it. The permits are for these.
    pub(crate) fn prepare(
        &mut self,
        outcome: &mut Outcome,
        permit: Option<Permit>,
        take: impl FnOnce(usize) -> Vec<Permit>,
    ) -> Vec<Permit> {
        let task = outcome.task;
        if matches!(outcome.outcome, TaskOutcome::Retry { .. } | TaskOutcome::Released) {
            return Vec::new();
        }
        let claims = self.claims();
        let Some(live) = self.work.live.get_mut(&outcome.execution) else { return Vec::new() };
        if let Some(task) = live.task(task) {
            task.ending = true;
        }
        outcome.successors = live.successors(task);
        outcome.waits = live.waits(task);
        outcome.parks = live.graph.has_waits();
        if matches!(outcome.outcome, TaskOutcome::Completed { .. }) {
            outcome.handles = live.handles(task);
        }
        // No successor jumps ahead of work of a higher priority that waits in the ready table.
        let direct = claims && self.claiming.may_overtake(live.priority);
        let wanted = outcome.successors.iter().filter(|(_, last)| *last && direct).count();
        let mut permits: Vec<Permit> = permit.into_iter().take(wanted).collect();
        if permits.len() < wanted {
            permits.extend(take(wanted - permits.len()));
        }
        let mut granted = permits.len();
        for (_, wanted) in &mut outcome.successors {
            *wanted = *wanted && direct && granted > 0;
            granted -= usize::from(*wanted);
        }
        permits
    }

    /// Lets go of a task of which nothing is recorded, because it is not ours any more.
    pub(crate) fn let_go(
        &mut self,
        execution: ExecutionId,
        task: TaskIndex,
        attempt: i32,
        moment: Moment,
    ) -> Effects {
        let mut effects = Effects::default();
        self.work.let_go(execution, task, attempt);
        self.left(execution, moment);
        self.settled(&mut effects);
        effects
    }

    /// The runner was declared dead: all that is held is void, and goes on elsewhere or under another runner.
    pub(crate) fn void(&mut self, moment: Moment) -> Effects {
        let mut effects = Effects::default();
        effects.stops.extend(self.work.clear().map(|held| held.stop));
        self.waiters.arm_everybody(Poll::soon(moment.monotonic));
        self.claiming.note_any();
        self.settled(&mut effects);
        effects
    }

    /// Counts what a task leaves to the size of its execution. The error says why that is too much.
    pub(crate) fn count_in(
        &mut self,
        execution: ExecutionId,
        task: TaskIndex,
        bytes: usize,
    ) -> Result<(), String> {
        let limit = self.handles.settings.max_execution_bytes;
        let Some(live) = self.work.live.get_mut(&execution) else { return Ok(()) };
        if bytes > MOST_ITEM_BYTES && live.workflow.name().starts_with(OF_TASK) {
            return Err(format!(
                "the item leaves {bytes} bytes, and {MOST_ITEM_BYTES} are the most; keep what is large elsewhere"
            ));
        }
        live.count_in(task, bytes, limit).map_err(|size| {
            format!(
                "with the {bytes} bytes that the task changed, the context of the execution has {size} bytes, more than \
                 the {limit} allowed (`max_execution_bytes`); keep what is large elsewhere"
            )
        })
    }
}
