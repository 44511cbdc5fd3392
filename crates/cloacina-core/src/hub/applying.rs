//! What a flush did, taken over into memory: tasks let go and held, executions known and finished, tasks started.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::attempt::{Attempt, EndOfTask, Running, Try};
use super::auditor::Audit;
use super::batch::PlaceBatch;
use super::live::Live;
use super::place::{Held, OpenPlace, PlaceState, Stop};
use super::report::{Report, count_ended, count_submitted};
use super::scheduler::Timer;
use super::{Ending, Hub, Incarnation, Submit, SubmitReply};
use crate::context::values_from_json;
use crate::execution::{AttemptOutcome, PipelineStatus, TaskState};
use crate::id::{ExecutionId, TaskIndex};
use crate::slots::Permit;
use crate::store::{Claimed, Closed, Freed, Fresh, PlaceFlushed, TaskOutcome};

/// Takes what a flush did over into memory.
pub(super) struct Applying<'a> {
    pub(super) hub: &'a Arc<Hub>,
    pub(super) place: Arc<OpenPlace>,
    pub(super) incarnation: Option<Arc<Incarnation>>,
    pub(super) now: jiff::Timestamp,
}

/// A task to be started.
pub(super) struct Start {
    pub(super) execution: ExecutionId,
    pub(super) task: TaskIndex,
    pub(super) attempt: i32,
    pub(super) failures: i32,
    pub(super) lost: i32,
    pub(super) permit: Permit,
}

impl Applying<'_> {
    pub(super) fn apply(self, batch: PlaceBatch, done: PlaceFlushed) {
        let PlaceBatch { place, submits, endings, permits, news, tickets } = batch;
        let asked = permits.len();
        let PlaceFlushed { submitted, recorded, freed, closed, claimed } = done;
        let claim_count = claimed.len();
        let mut starts = Vec::new();
        let mut state = place.state();
        state.used = self.hub.clock.monotonic();
        state.trouble = None;
        self.apply_submits(&mut state, submits, &submitted.into_iter().collect(), &mut starts);
        let recorded: HashSet<(ExecutionId, TaskIndex)> =
            recorded.into_iter().map(|recorded| (recorded.execution, recorded.task)).collect();
        let ended: Vec<ExecutionId> = endings.iter().map(|ending| ending.outcome.execution).collect();
        let mut reports = Vec::new();
        let spare = self.apply_endings(&mut state, endings, &recorded, &mut reports);
        self.apply_freed(&mut state, freed, spare, &mut starts);
        let mut permits = permits.into_iter();
        for claimed in claimed {
            let permit = permits.next().unwrap_or_else(|| place.slots.force());
            if let Some(fresh) = &claimed.fresh {
                know_fresh(&mut state, &claimed, fresh);
            }
            if state.live.get(&claimed.execution).is_some_and(|live| !live.runs(&claimed.workflow)) {
                // Read again, it has one workflow or is abandoned.
                state.live.remove(&claimed.execution);
            }
            let start = Start {
                execution: claimed.execution,
                task: claimed.task,
                attempt: claimed.attempt,
                failures: claimed.failures,
                lost: claimed.lost,
                permit,
            };
            self.hold(&mut state, &start);
            starts.push(start);
        }
        drop(permits);
        self.apply_closed(&mut state, closed, &mut reports);
        self.leave(&mut state, ended);
        let runs = self.plan(&mut state, starts);
        drop(state);
        drop(tickets);
        // Not before the state is free: whoever listens may take its time.
        self.hub.say(&place, reports);
        self.begin(runs);
        if asked > 0 {
            self.hub.claim_ended(&place, asked, claim_count, news);
        }
        self.hub.look(&place);
    }

    fn apply_submits(
        &self,
        state: &mut PlaceState,
        submits: Vec<Submit>,
        submitted: &HashSet<ExecutionId>,
        starts: &mut Vec<Start>,
    ) {
        for submit in submits {
            let execution = &submit.execution;
            let id = execution.id;
            let is_new = submitted.contains(&id);
            if is_new {
                count_submitted();
            }
            if !is_new || submit.unsure {
                // The idempotency key was used before, or an earlier try was committed after all.
                self.hub.resolve(Arc::clone(&self.place), submit, is_new);
                continue;
            }
            if let Some(deadline) = execution.deadline {
                self.set_timer(Timer::Deadline, deadline);
            }
            let roots = execution.tasks.iter().filter(|task| task.waiting_on == 0).count();
            match execution.start_at {
                Some(start_at) if start_at > self.now => self.set_timer(Timer::Work, start_at),
                _ if execution.claimed.len() < roots => state.note_backlog(execution.priority),
                _ => {}
            }
            if let Some(admitted) = submit.admitted {
                admitted.recorded();
            }
            let mut waited_for = false;
            match submit.reply {
                SubmitReply::Recorded(sender) => drop(sender.send(Ok(id))),
                SubmitReply::Finished(sender) => {
                    waited_for = true;
                    self.hub.add_waiter(state, id, sender, true);
                }
            }
            // Another lane may have claimed it since this one committed, and been quicker to say so.
            let known = state.live.contains_key(&id);
            if !known && (waited_for || !execution.claimed.is_empty()) {
                let graph =
                    Arc::clone(submit.workflow.graph().expect("a workflow that is submitted was checked"));
                let live = Live::new(
                    id,
                    submit.workflow,
                    graph,
                    execution.priority,
                    (submit.input, execution.input.len()),
                    self.now,
                );
                state.live.insert(id, live);
            }
            let claimed: Vec<TaskIndex> = execution.claimed.clone();
            for (task, permit) in claimed.into_iter().zip(submit.permits) {
                let start = Start { execution: id, task, attempt: 1, failures: 0, lost: 0, permit };
                self.hold(state, &start);
                starts.push(start);
            }
        }
    }

    /// Returns the permits that were meant for successors, by execution.
    fn apply_endings(
        &self,
        state: &mut PlaceState,
        endings: Vec<Ending>,
        recorded: &HashSet<(ExecutionId, TaskIndex)>,
        reports: &mut Vec<Report>,
    ) -> HashMap<ExecutionId, Vec<Permit>> {
        let mut spare: HashMap<ExecutionId, Vec<Permit>> = HashMap::new();
        for ending in endings {
            let Ending { outcome, patch, permits, .. } = ending;
            let (execution, task) = (outcome.execution, outcome.task);
            self.place.let_go(state, execution, task, outcome.attempt);
            if !permits.is_empty() {
                spare.entry(execution).or_default().extend(permits);
            }
            if !recorded.contains(&(execution, task)) {
                // The other side won, or an earlier try of this flush did.
                self.hub.request_audit(Audit::Execution(Arc::clone(&self.place), execution));
                continue;
            }
            let mut unused = false;
            if let Some(live) = state.live.get_mut(&execution) {
                let priority = live.priority;
                reports.extend(Report::of_attempt(live, &outcome));
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
                        unused = true;
                        if after.is_zero() {
                            state.note_backlog(priority);
                        } else {
                            self.hub.set_timer(self.place.place.tenant, Timer::Work, *after);
                        }
                    }
                    TaskOutcome::Released => {
                        known.state = TaskState::Ready;
                        unused = true;
                        state.note_backlog(priority);
                    }
                }
            }
            if let Some(live) = state.live.get_mut(&execution) {
                if let Some(task) = live.task(task).filter(|task| task.state.is_terminal()) {
                    task.finished_at = Some(self.now);
                }
                for handled in &outcome.handles {
                    if let Some(handled) = live.task(*handled) {
                        handled.handled = true;
                    }
                }
            }
            if unused {
                state.forget_if_unused(execution);
            }
        }
        spare
    }

    fn apply_freed(
        &self,
        state: &mut PlaceState,
        freed: Vec<Freed>,
        mut spare: HashMap<ExecutionId, Vec<Permit>>,
        starts: &mut Vec<Start>,
    ) {
        let mut left = Vec::new();
        for Freed { execution, task, claimed } in freed {
            let Some(attempt) = claimed else {
                let priority = state.live.get(&execution).map_or(i16::MIN, |live| live.priority);
                state.note_backlog(priority);
                left.push(execution);
                continue;
            };
            let permit =
                spare.get_mut(&execution).and_then(Vec::pop).unwrap_or_else(|| self.place.slots.force());
            let start = Start { execution, task, attempt, failures: 0, lost: 0, permit };
            self.hold(state, &start);
            starts.push(start);
        }
        left.into_iter().for_each(|execution| state.forget_if_unused(execution));
    }

    fn apply_closed(&self, state: &mut PlaceState, closed: Vec<Closed>, reports: &mut Vec<Report>) {
        if !closed.is_empty() {
            self.place.left_queue(closed.len());
        }
        for Closed { execution, status } in closed {
            count_ended(status, 1);
            if status == PipelineStatus::Failed {
                reports.push(Report::of_failure(execution, state.live.get(&execution)));
            }
            if !state.waiting.contains_key(&execution) {
                state.live.remove(&execution);
                continue;
            }
            match state.live.get(&execution).and_then(|live| live.result(status, self.now)) {
                Some(result) => state.finish(execution, &Ok(result)),
                // Parts of it ran elsewhere.
                None => self.hub.request_audit(Audit::Execution(Arc::clone(&self.place), execution)),
            }
        }
    }

    /// Forgets executions of which nothing is left to be done here.
    fn leave(&self, state: &mut PlaceState, ended: Vec<ExecutionId>) {
        for execution in ended {
            state.forget_if_unused(execution);
            // It was not closed with its last task: it is paused, or somebody else did, and who waits has to be told.
            if state.live.get(&execution).is_some_and(Live::is_over) {
                self.hub.request_audit(Audit::Execution(Arc::clone(&self.place), execution));
            }
        }
    }

    fn set_timer(&self, timer: Timer, due: jiff::Timestamp) {
        let delay = due.duration_since(self.now).try_into().unwrap_or(Duration::ZERO);
        self.hub.set_timer(self.place.place.tenant, timer, delay);
    }

    /// Notes that a task is ours.
    pub(super) fn hold(&self, state: &mut PlaceState, start: &Start) {
        let held = Held { attempt: start.attempt, stop: Arc::new(Stop::default()) };
        state.held.insert((start.execution, start.task), held);
        if let Some(live) = state.live.get_mut(&start.execution) {
            live.started_at = live.started_at.or(Some(self.now));
            let Some(task) = live.task(start.task) else { return };
            task.state = TaskState::Running;
            task.attempt = start.attempt;
            task.started_at = Some(self.now);
        }
    }

    /// Decides for every task that was claimed whether it runs, is skipped, has been lost too often, or has to wait until its
    /// execution is read.
    pub(super) fn plan(&self, state: &mut PlaceState, starts: Vec<Start>) -> Plans {
        let mut plans = Plans::default();
        if !state.is_active() {
            plans.end.extend(starts.into_iter().map(|start| (start, TaskOutcome::Released)));
            return plans;
        }
        let max_lost = state.settings.max_lost;
        for start in starts {
            let Some(live) = state.live.get(&start.execution) else {
                plans.load.push(start);
                continue;
            };
            if state.status.has_login && live.workflow.is_operator_only() {
                plans.abandon.push((start.execution, for_the_operator(live.workflow.name())));
                continue;
            }
            if !live.has(start.task) {
                let message = format!("its workflow has no task number {}", start.task);
                plans.abandon.push((start.execution, message));
                continue;
            }
            let Some(dependencies) = live.dependencies(start.task) else {
                plans.load.push(start);
                continue;
            };
            if start.lost.cast_unsigned() >= max_lost {
                let error = format!(
                    "given up: the process that ran it died, or lost its lease, {} times in a row; the task may be what kills it",
                    start.lost
                );
                plans.end.push((start, TaskOutcome::Failed { how: AttemptOutcome::Lost, error }));
                continue;
            }
            let definition = &live.workflow.tasks()[start.task as usize];
            match definition.rule.decide(&dependencies) {
                Ok(()) => {
                    let (input, patches) = live.context_of(start.task);
                    let stop =
                        state.held.get(&(start.execution, start.task)).map(|held| Arc::clone(&held.stop));
                    let Some(incarnation) = self.incarnation.clone() else { continue };
                    let of = Try {
                        execution: start.execution,
                        task: start.task,
                        number: start.attempt,
                        failures: start.failures,
                    };
                    let attempt = Attempt {
                        running: Running::new(
                            self.hub,
                            (&self.place, &state.settings),
                            &incarnation,
                            of,
                            Arc::clone(&live.workflow),
                            stop.unwrap_or_default(),
                        ),
                        input,
                        patches,
                        permit: Some(start.permit),
                        runtime: state.executors.last().map(|(_, runtime)| runtime.clone()),
                        ended: false,
                    };
                    plans.run.push(attempt);
                }
                Err(reason) => plans.end.push((start, TaskOutcome::Skipped { reason })),
            }
        }
        plans
    }

    pub(super) fn begin(&self, plans: Plans) {
        let Plans { run, end, load, abandon } = plans;
        for (execution, reason) in abandon {
            self.hub.drop_and_abandon(&self.place, execution, reason);
        }
        for attempt in run {
            match attempt.runtime.clone() {
                Some(runtime) => drop(runtime.spawn(attempt.run())),
                // Dropped, the attempt gives its task back.
                None => drop(attempt),
            }
        }
        for (start, outcome) in end {
            let Some(incarnation) = &self.incarnation else { continue };
            self.hub.end(EndOfTask {
                place: &self.place,
                incarnation,
                execution: start.execution,
                task: start.task,
                attempt: start.attempt,
                outcome,
                patch: None,
                permit: Some(start.permit),
            });
        }
        if !load.is_empty() {
            self.hub.load(Arc::clone(&self.place), load);
        }
    }
}

/// Takes an execution into memory of which nothing was claimed before. What cannot be used as it is stored is left to whoever
/// reads the execution, who says why.
fn know_fresh(state: &mut PlaceState, claimed: &Claimed, fresh: &Fresh) {
    if state.live.contains_key(&claimed.execution) {
        return;
    }
    let Some(workflow) = state.runnable(&claimed.workflow).cloned() else { return };
    let (Ok(graph), Ok(input)) = (workflow.graph().cloned(), values_from_json(&fresh.input)) else { return };
    let input = Arc::new(input);
    let live = Live::new(
        claimed.execution,
        workflow,
        graph,
        claimed.priority,
        (input, fresh.input.len()),
        fresh.created_at,
    );
    state.live.insert(claimed.execution, live);
}

/// Why an execution is not run in the place of a tenant that can write executions itself.
pub(super) fn for_the_operator(workflow: &str) -> String {
    format!("workflow `{workflow}` is for the operator only, and this tenant has a database login of its own")
}

/// What is to be done with claimed tasks.
#[derive(Default)]
pub(super) struct Plans {
    run: Vec<Attempt>,
    end: Vec<(Start, TaskOutcome)>,
    load: Vec<Start>,
    /// Executions that cannot be run as they are stored, and why.
    abandon: Vec<(ExecutionId, String)>,
}
