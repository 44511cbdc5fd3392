//! What a flush did: tasks let go and held, executions known and finished.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::batch::PlaceBatch;
use super::super::live::Live;
use super::super::place::{Ended, PlaceState, Poll};
use super::super::transition::{Ending, Submit, SubmitReply};
use super::effects::{Effects, Moment, Recorded, Start};
use super::report::Report;
use crate::context::values_from_json;
use crate::execution::{ExecutionStatus, TaskState};
use crate::id::{ExecutionId, TaskIndex};
use crate::origin::taken_out;
use crate::slots::Permit;
use crate::store::{Claimed, Closed, Freed, Fresh, PlaceFlushed, TaskOutcome};

impl PlaceState {
    /// Takes what a flush did over into memory.
    pub(crate) fn apply(&mut self, batch: PlaceBatch, done: PlaceFlushed, moment: Moment) -> Effects {
        let PlaceBatch { submits, endings, permits, news, .. } = batch;
        let PlaceFlushed { submitted, recorded, freed, closed, submitters, claimed } = done;
        let (asked, claim_count) = (permits.len(), claimed.len());
        let mut effects = Effects { tells: submitters, ..Effects::default() };
        self.standing.used = moment.monotonic;
        let mut starts = Vec::new();
        self.apply_submits(submits, &submitted.into_iter().collect(), moment, &mut starts, &mut effects);
        let recorded: HashSet<(ExecutionId, TaskIndex)> =
            recorded.into_iter().map(|recorded| (recorded.execution, recorded.task)).collect();
        let ended: Vec<ExecutionId> = endings.iter().map(|ending| ending.outcome.execution).collect();
        let spare = self.apply_endings(endings, &recorded, moment, &mut effects);
        self.apply_freed(freed, spare, &mut starts, &mut effects);
        let mut permits = permits.into_iter();
        for claimed in claimed {
            self.know_claimed(&claimed);
            starts.push(Start {
                execution: claimed.execution,
                task: claimed.task,
                attempt: claimed.attempt,
                failures: claimed.failures,
                lost: claimed.lost,
                waited: Some(claimed.waited),
                permit: permits.next(),
            });
        }
        starts.iter().for_each(|start| self.hold(start, moment));
        closed.into_iter().for_each(|closed| self.apply_closed(closed, moment, &mut effects));
        self.leave(ended, moment, &mut effects);
        self.plan(starts, &mut effects);
        if asked > 0 {
            effects.lowers = self.claiming.end(asked, claim_count, news);
        }
        self.settled(&mut effects);
        effects
    }

    /// What follows from any change of the state.
    pub(super) fn settled(&mut self, effects: &mut Effects) {
        effects.is_idle = self.is_idle();
        effects.takes_turn = self.takes_turn();
        effects.poll_at = self.waiters.next_poll();
    }

    fn apply_submits(
        &mut self,
        submits: Vec<Submit>,
        submitted: &HashSet<ExecutionId>,
        moment: Moment,
        starts: &mut Vec<Start>,
        effects: &mut Effects,
    ) {
        for submit in submits {
            let execution = Arc::clone(&submit.execution);
            let id = execution.id;
            let is_new = submitted.contains(&id);
            effects.counts.submitted += usize::from(is_new);
            if !is_new || submit.unsure {
                // The idempotency key was used before, or an earlier try was committed after all.
                effects.unresolved.push((submit, is_new));
                continue;
            }
            if let Some(deadline) = execution.deadline {
                effects.due_in(moment.until(deadline));
            }
            let roots = execution.open_tasks().filter(|(_, task)| task.is_ready()).count();
            if execution.open_tasks().any(|(_, task)| task.waits()) {
                match execution.start_at {
                    Some(start_at) if start_at > moment.now => effects.due_in(moment.until(start_at)),
                    _ => effects.reached = true,
                }
            }
            match execution.start_at {
                Some(start_at) if start_at > moment.now => effects.work_in(moment.until(start_at)),
                _ if execution.claimed.len() < roots || !execution.is_expanded() => {
                    self.claiming.note_backlog(execution.priority);
                }
                _ => {}
            }
            let Submit { workflow, input, origin, permits, reply, under_way, admitted, .. } = submit;
            let (reply, waiter) = match reply {
                SubmitReply::Recorded(sender, handle) => {
                    // Nobody holds the handle if the future that submitted was dropped.
                    if !sender.is_closed() {
                        self.waiters.remember(id, handle);
                    }
                    (Some(sender), None)
                }
                SubmitReply::Finished(waiter) => (None, Some(waiter)),
            };
            effects.recorded.push(Recorded { id, reply, admitted, _under_way: under_way });
            // Another lane may have claimed it since this one committed, and been quicker to say so.
            let known = self.work.live.contains_key(&id);
            if let Some(workflow) = workflow
                && !known
                && (waiter.is_some() || !execution.claimed.is_empty())
            {
                let graph = Arc::clone(workflow.graph().expect("a workflow that is submitted was checked"));
                let input = (input, execution.input.len());
                let about = (execution.priority, execution.deadline.is_some());
                let mut live = Live::new(id, workflow, graph, about, input, moment.now);
                live.origin = origin;
                self.work.live.insert(id, live);
            }
            if let Some(waiter) = waiter {
                let here = !execution.claimed.is_empty() || self.work.holds(id);
                self.waiters.add(id, waiter, (!here).then(|| Poll::soon(moment.monotonic)));
            }
            let start = |(task, permit): (&TaskIndex, Permit)| Start {
                execution: id,
                task: *task,
                attempt: 1,
                failures: 0,
                lost: 0,
                waited: Some(Duration::ZERO),
                permit: Some(permit),
            };
            starts.extend(execution.claimed.iter().zip(permits).map(start));
        }
    }

    /// Returns the permits that were meant for successors, by execution.
    fn apply_endings(
        &mut self,
        endings: Vec<Ending>,
        recorded: &HashSet<(ExecutionId, TaskIndex)>,
        moment: Moment,
        effects: &mut Effects,
    ) -> HashMap<ExecutionId, Vec<Permit>> {
        let mut spare: HashMap<ExecutionId, Vec<Permit>> = HashMap::new();
        for Ending { outcome, patch, permits, .. } in endings {
            let (execution, task) = (outcome.execution, outcome.task);
            self.work.let_go(execution, task, outcome.attempt);
            if !permits.is_empty() {
                spare.entry(execution).or_default().extend(permits);
            }
            if !recorded.contains(&(execution, task)) {
                // The other side won, or an earlier try of this flush did.
                effects.audit(execution);
                continue;
            }
            let Some(live) = self.work.live.get_mut(&execution) else { continue };
            effects.reports.extend(Report::of_attempt(live, &outcome));
            let priority = live.priority;
            let Some(known) = live.task(task) else { continue };
            known.ending = false;
            match &outcome.outcome {
                TaskOutcome::Completed { .. } => {
                    known.state = TaskState::Completed;
                    known.patch = patch;
                    known.error = None;
                }
                TaskOutcome::Failed { error, .. } => {
                    known.state = TaskState::Failed;
                    known.error = Some(error.clone());
                }
                TaskOutcome::Skipped { reason } => {
                    known.state = TaskState::Skipped;
                    known.skip_reason = Some(*reason);
                    known.attempt = outcome.attempt;
                }
                TaskOutcome::Retry { error, after, .. } => {
                    known.state = TaskState::Ready;
                    known.error = Some(error.clone());
                    if after.is_zero() {
                        self.claiming.note_backlog(priority);
                    } else {
                        effects.work_in(*after);
                    }
                }
                TaskOutcome::Released => {
                    known.state = TaskState::Ready;
                    self.claiming.note_backlog(priority);
                }
            }
            if known.state.is_terminal() {
                known.finished_at = Some(moment.now);
            }
            for handled in &outcome.handles {
                if let Some(handled) = live.task(*handled) {
                    handled.handled = true;
                }
            }
        }
        spare
    }

    fn apply_freed(
        &mut self,
        freed: Vec<Freed>,
        mut spare: HashMap<ExecutionId, Vec<Permit>>,
        starts: &mut Vec<Start>,
        effects: &mut Effects,
    ) {
        for Freed { execution, task, claimed } in freed {
            match claimed {
                Some(attempt) => {
                    let permit = spare.get_mut(&execution).and_then(Vec::pop);
                    let (failures, lost, waited) = (0, 0, Some(Duration::ZERO));
                    starts.push(Start { execution, task, attempt, failures, lost, waited, permit });
                }
                None => match self.work.live.get(&execution) {
                    Some(live) if live.is_wait(task) => effects.reached = true,
                    known => self.claiming.note_backlog(known.map_or(i16::MIN, |live| live.priority)),
                },
            }
        }
    }

    /// Takes an execution into memory of which nothing was claimed before. What cannot be used as it is
    /// stored is left to whoever reads the execution, who says why.
    fn know_claimed(&mut self, claimed: &Claimed) {
        let id = claimed.execution;
        match (self.work.live.get(&id), &claimed.fresh) {
            (None, Some(fresh)) => {
                if let Some(live) = self.fresh(claimed, fresh) {
                    self.work.live.insert(id, live);
                }
            }
            // Read again, it has one workflow or is abandoned.
            (Some(live), _) if !live.runs(&claimed.workflow) => drop(self.work.live.remove(&id)),
            _ => {}
        }
    }

    fn fresh(&self, claimed: &Claimed, fresh: &Fresh) -> Option<Live> {
        let workflow = Arc::clone(self.runnable(&claimed.workflow)?);
        let graph = Arc::clone(workflow.graph().ok()?);
        let (values, origin) = taken_out(values_from_json(&fresh.input).ok()?);
        if origin.rerun_of.is_some() {
            // Some of its tasks are over already.
            return None;
        }
        let (about, input) = ((claimed.priority, fresh.timed), (values, fresh.input.len()));
        let live = Live::new(claimed.execution, workflow, graph, about, input, fresh.created_at);
        Some(Live { origin, ..live })
    }

    fn apply_closed(&mut self, Closed { execution, status }: Closed, moment: Moment, effects: &mut Effects) {
        let live = self.work.live.remove(&execution);
        let known = live
            .as_ref()
            .map(|live| (Arc::clone(&live.workflow), moment.now.duration_since(live.created_at)));
        effects.ended.push((status, known));
        if status == ExecutionStatus::Failed {
            effects.counts.failed += 1;
            effects.reports.push(Report::of_failure(execution, live.as_ref()));
        } else {
            effects.counts.completed += 1;
        }
        // Otherwise parts of it ran elsewhere.
        let live = live.filter(Live::is_over);
        if self.waiters.contains(execution) {
            match live.as_ref().and_then(|live| live.result(status, moment.now)) {
                Some(result) => self.finish(execution, Ok(result), effects),
                None => effects.audit(execution),
            }
        }
        if let Some((handle, live)) = self.waiters.handle_of(execution).zip(live) {
            // It is told once.
            drop(handle.set(Ended::Known(Box::new(live), status, moment.now)));
        }
    }

    /// Forgets executions of which nothing is left to be done here.
    fn leave(&mut self, ended: Vec<ExecutionId>, moment: Moment, effects: &mut Effects) {
        for execution in ended {
            // It was not closed with its last task: it is paused, or somebody else did, and who waits has to
            // be told.
            if self.work.live.get(&execution).is_some_and(Live::is_over) && self.waiters.contains(execution) {
                effects.audit(execution);
            }
            self.left(execution, moment);
        }
    }

    /// Of an execution of which no task is held any more only what somebody waits for is remembered; it may
    /// go on elsewhere.
    pub(super) fn left(&mut self, execution: ExecutionId, moment: Moment) {
        if self.work.holds(execution) {
            return;
        }
        if self.waiters.contains(execution) {
            self.waiters.arm(execution, Poll::soon(moment.monotonic));
        } else {
            self.work.live.remove(&execution);
        }
    }

    /// Notes that a task is ours.
    pub(super) fn hold(&mut self, start: &Start, moment: Moment) {
        self.work.hold(start.execution, start.task, start.attempt);
        if let Some(live) = self.work.live.get_mut(&start.execution) {
            live.started_at = live.started_at.or(Some(moment.now));
            let Some(task) = live.task(start.task) else { return };
            task.state = TaskState::Running;
            task.attempt = start.attempt;
            task.started_at = Some(moment.now);
        }
    }
}
