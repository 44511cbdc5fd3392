//! The rows of one place, and the steps that move them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cloacina_core::execution::{AttemptOutcome, AttemptRecord, ExecutionStatus, TaskState};
use cloacina_core::id::{ExecutionId, RunnerId, ScheduleId, TaskIndex};
use cloacina_core::store::{
    AttemptList, BULK, ChildrenNode, Claim, Claimed, Closed, Control, Controlled, CopiedTask, DueKind,
    ExecutionHeader, ExecutionList, ExecutionRecord, Expanded, Expansion, FireRecord, Freed, Fresh, KeptTask,
    NewExecution, NewTask, NextDue, ON_FAILURE, ORPHANED, Outcome, Payload, Place, PlaceFigures, PlaceFlush,
    PlaceFlushed, Pulse, Recorded, RecordedExecutions, RerunRefusal, ScheduleRow, Settled, Stream,
    StreamPage, TaskOutcome, TaskRecord, WorkflowKey,
};
use jiff::Timestamp;

mod children;
mod waits;

/// Who writes, and when.
#[derive(Clone, Copy)]
pub(crate) struct Writer {
    pub(crate) runner: Option<RunnerId>,
    pub(crate) now: Timestamp,
}

/// A row of the ready table, in the order in which they are claimed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ReadyRow {
    priority: Reverse<i16>,
    due: Timestamp,
    execution: ExecutionId,
    task: TaskIndex,
}

/// What a node waits for that has begun to wait.
struct WaitRow {
    signal: Option<String>,
    until: Timestamp,
    ask: Option<Payload>,
}

/// How far a node is that waits, or waited, for children.
struct ChildrenRow {
    node: ChildrenNode,
    abandons: bool,
}

/// A signal that came.
struct SignalRow {
    name: String,
    number: i64,
    key: Option<String>,
    payload: Payload,
    taken: bool,
}

/// Kind, time, subject and cause. That of a schedule stands in the place of an execution's.
pub(super) type DueRow = (i16, Timestamp, ExecutionId, String);

/// What starts executions by itself.
#[derive(Default)]
pub(super) struct Schedules {
    pub(super) rows: BTreeMap<ScheduleId, ScheduleRow>,
    pub(super) fires: BTreeMap<(ScheduleId, Timestamp), FireRecord>,
}

pub(crate) struct PlaceRows {
    pub(crate) place: Place,
    /// Never later than the earliest row of `ready` and `due`.
    pub(crate) bell: Option<Timestamp>,
    pub(super) executions: BTreeMap<ExecutionId, Execution>,
    ready: BTreeSet<ReadyRow>,
    pub(super) due: BTreeSet<DueRow>,
    pub(super) schedules: Schedules,
    /// What waits that has begun to.
    waits: BTreeMap<(ExecutionId, TaskIndex), WaitRow>,
    children: BTreeMap<(ExecutionId, TaskIndex), ChildrenRow>,
    signals: BTreeMap<ExecutionId, Vec<SignalRow>>,
    /// What tasks emit: of which execution, task and attempt, under which name, and from which item on.
    pages: BTreeMap<(ExecutionId, TaskIndex, i32, String, i64), Payload>,
    /// Workflow and idempotency key to the execution and the hash of its input.
    keys: BTreeMap<(String, String), (ExecutionId, i64)>,
}

pub(super) struct Execution {
    pub(super) header: ExecutionHeader,
    /// What started it.
    pub(super) schedule: Option<ScheduleId>,
    /// The workflow that is started when it fails.
    on_failure: Option<Arc<str>>,
    /// Its idempotency key.
    key: Option<String>,
    /// The execution that it is a child of, the node that waits there, and its number among those.
    parent: Option<(ExecutionId, TaskIndex, i64)>,
    input: Payload,
    /// When it starts, as long as it has no tasks.
    expands: Option<Timestamp>,
    tasks: Vec<Task>,
    /// Its rows that were put into the ready table and may still be there.
    listed: BTreeSet<ReadyRow>,
}

pub(crate) struct Task {
    pub(crate) record: TaskRecord,
    is_wait: bool,
    waiting_on: i16,
    /// When it is due if it is ready. Kept here because a paused execution has no ready rows.
    pub(crate) due: Timestamp,
    attempts: Vec<AttemptRecord>,
}

impl Task {
    fn new(new: &NewTask, due: Timestamp) -> Self {
        let record = TaskRecord {
            name: new.name.clone(),
            state: match new.waiting_on {
                0 if new.is_wait => TaskState::Waiting,
                0 => TaskState::Ready,
                _ => TaskState::Pending,
            },
            attempt: 0,
            failures: 0,
            lost: 0,
            runner: None,
            started_at: new.waits().then_some(due),
            finished_at: None,
            patch: None,
            error: None,
            skip_reason: None,
            handled: false,
        };
        Self { record, is_wait: new.is_wait, waiting_on: new.waiting_on, due, attempts: Vec::new() }
    }

    fn claim(&mut self, runner: RunnerId, now: Timestamp) {
        self.record.state = TaskState::Running;
        self.record.attempt += 1;
        self.record.runner = Some(runner);
        self.record.started_at = Some(now);
        self.attempts.push(AttemptRecord::new(
            self.record.name.clone(),
            self.record.attempt.unsigned_abs(),
            runner.into(),
            AttemptOutcome::Running,
            now,
        ));
    }

    fn end_attempt(&mut self, outcome: AttemptOutcome, error: Option<String>, now: Timestamp) {
        let attempt = self.attempts.last_mut().expect("a running task has an attempt");
        attempt.outcome = outcome;
        attempt.error_message = error;
        attempt.end_time = Some(now);
    }

    fn fail(&mut self, how: AttemptOutcome, error: &str, now: Timestamp) {
        // An attempt that is given up because others were lost did not fail itself, and none did that was too
        // early.
        let is_failure = !matches!(how, AttemptOutcome::Lost | AttemptOutcome::Snoozed);
        self.record.failures += i32::from(is_failure);
        self.record.error = Some(error.to_owned());
        self.end_attempt(how, Some(error.to_owned()), now);
    }

    pub(crate) fn end(&mut self, state: TaskState, now: Timestamp) {
        self.record.state = state;
        self.record.finished_at = Some(now);
    }
}

impl Execution {
    /// Puts in a task that is over from the beginning.
    fn copy(&mut self, copied: &CopiedTask) {
        let Some(Task { record, .. }) = self.task(copied.task) else { return };
        record.state = if copied.skipped.is_some() { TaskState::Skipped } else { TaskState::Completed };
        record.skip_reason = copied.skipped;
        record.started_at = copied.started_at;
        record.finished_at = Some(copied.finished_at);
        record.patch.clone_from(&copied.patch);
    }

    fn task(&mut self, index: TaskIndex) -> Option<&mut Task> {
        usize::try_from(index).ok().and_then(|index| self.tasks.get_mut(index))
    }

    fn claim(&mut self, index: TaskIndex, runner: RunnerId, now: Timestamp) -> Option<i32> {
        let task = self.task(index)?;
        task.claim(runner, now);
        let attempt = task.record.attempt;
        self.header.status = ExecutionStatus::Running;
        self.header.started_at.get_or_insert(now);
        Some(attempt)
    }

    fn claimed(&self, index: TaskIndex) -> Option<Claimed> {
        let task = &self.tasks.get(usize::try_from(index).ok()?)?.record;
        Some(Claimed {
            execution: self.header.id,
            task: index,
            workflow: self.header.workflow.clone(),
            priority: self.header.priority,
            attempt: task.attempt,
            failures: task.failures,
            lost: task.lost,
            waited: Duration::ZERO,
            fresh: None,
        })
    }
}

impl PlaceRows {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            bell: None,
            executions: BTreeMap::new(),
            ready: BTreeSet::new(),
            due: BTreeSet::new(),
            schedules: Schedules::default(),
            waits: BTreeMap::new(),
            children: BTreeMap::new(),
            signals: BTreeMap::new(),
            pages: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    pub(crate) fn flush(&mut self, writer: Writer, flush: &PlaceFlush) -> PlaceFlushed {
        let mut done = PlaceFlushed::default();
        for new in &flush.submits {
            if self.submit(writer, new) {
                done.submitted.push(new.id);
            }
        }
        if let Some(runner) = writer.runner {
            let recorded: Vec<_> = flush
                .outcomes
                .iter()
                .filter(|outcome| self.record_outcome(runner, writer.now, outcome))
                .collect();
            done.recorded.extend(
                recorded.iter().map(|outcome| Recorded { execution: outcome.execution, task: outcome.task }),
            );
            for outcome in &recorded {
                self.count_down(runner, writer.now, outcome, &mut done.freed);
            }
            for execution in recorded.iter().map(|outcome| outcome.execution).collect::<BTreeSet<_>>() {
                if let Some(status) = self.close(execution, writer.now) {
                    done.closed.push(Closed { execution, status });
                }
                if flush.timed.contains(&execution) {
                    self.drop_due(execution);
                }
            }
            for outcome in recorded.iter().filter(|outcome| outcome.parks) {
                self.park(outcome.execution);
            }
            if let Some(claim) = &flush.claim {
                done.claimed = self.claim(runner, writer.now, claim);
            }
        }
        done
    }

    pub(crate) fn record_new(&mut self, writer: Writer, submits: &[Arc<NewExecution>]) -> RecordedExecutions {
        let mut recorded = RecordedExecutions {
            now: writer.now,
            submitted: Vec::new(),
            met: Vec::new(),
            refused: Vec::new(),
        };
        for new in submits {
            if let Some(rerun) = &new.rerun {
                let old = self.executions.get_mut(&rerun.of).map(|old| &mut old.header);
                let refusal = match old {
                    None => Some(RerunRefusal::NotFound),
                    Some(old) if !old.status.is_terminal() => Some(RerunRefusal::NotOver(old.status)),
                    Some(old) => {
                        let by = *old.superseded_by.get_or_insert(new.id);
                        (by != new.id).then_some(RerunRefusal::Superseded(by))
                    }
                };
                if let Some(refusal) = refusal {
                    recorded.refused.push((new.id, refusal));
                    continue;
                }
            }
            if self.submit(writer, new) {
                recorded.submitted.push(new.id);
            } else if let Some(idempotency) = &new.idempotency {
                let key = (new.workflow.name.to_string(), idempotency.key.clone());
                recorded.met.extend(self.keys.get(&key).map(|found| (new.id, *found)));
            }
        }
        recorded
    }

    /// False if it met its own id or its idempotency key.
    pub(super) fn submit(&mut self, writer: Writer, new: &NewExecution) -> bool {
        if self.executions.contains_key(&new.id) {
            return false;
        }
        if let Some(idempotency) = &new.idempotency {
            let key = (new.workflow.name.to_string(), idempotency.key.clone());
            if self.keys.contains_key(&key) {
                return false;
            }
            self.keys.insert(key, (new.id, idempotency.input_hash));
        }
        let due = new.start_at.map_or(writer.now, |at| at.max(writer.now));
        let tasks = new.tasks.iter().map(|task| Task::new(task, due));
        let before = new.rerun.as_ref().and_then(|rerun| self.executions.get(&rerun.of)?.on_failure.clone());
        let mut execution = Execution {
            header: ExecutionHeader {
                id: new.id,
                workflow: new.workflow.clone(),
                status: ExecutionStatus::Pending,
                priority: new.priority,
                created_at: writer.now,
                started_at: None,
                finished_at: None,
                deadline: new.deadline,
                error: None,
                rerun_of: new.rerun.as_ref().map(|rerun| rerun.of),
                superseded_by: None,
                has_waits: false,
                tags: new.tags.clone(),
                submitted_by: new.submitted_by.as_deref().map(str::to_owned),
            },
            schedule: None,
            on_failure: before.or_else(|| new.on_failure.clone()),
            key: new.idempotency.as_ref().map(|idempotency| idempotency.key.clone()),
            parent: None,
            input: new.input.clone(),
            expands: (!new.is_expanded()).then_some(due),
            tasks: tasks.collect(),
            listed: BTreeSet::new(),
        };
        for copied in new.rerun.iter().flat_map(|rerun| &rerun.copied) {
            execution.copy(copied);
        }
        for index in &new.claimed {
            let runner = writer.runner.expect("a flush without a runner claims nothing");
            execution.claim(*index, runner, writer.now);
        }
        self.executions.insert(new.id, execution);
        if let Some(deadline) = new.deadline {
            self.due.insert((DueKind::Deadline.number(), deadline, new.id, String::new()));
            self.ring(deadline);
        }
        self.put_ready(new.id);
        self.put_waiting(new.id);
        true
    }

    pub(crate) fn page_write(&mut self, runner: RunnerId, stream: &Stream, page: &StreamPage) -> bool {
        let Some(execution) = self.executions.get_mut(&stream.execution) else { return false };
        let Some(task) = execution.task(stream.task) else { return false };
        let record = &task.record;
        let runs = record.state == TaskState::Running
            && record.runner == Some(runner)
            && record.attempt == stream.attempt;
        if runs {
            let (id, task, attempt) = (stream.execution, stream.task, stream.attempt);
            if page.first == 0 {
                self.pages.retain(|(of, its, number, ..), _| (*of, *its) != (id, task) || *number == attempt);
            }
            self.pages.insert((id, task, attempt, stream.name.clone(), page.first), page.items.clone());
        }
        runs
    }

    pub(crate) fn page_read(&self, stream: &Stream, item: i64) -> Vec<StreamPage> {
        let key = |first| (stream.execution, stream.task, stream.attempt, stream.name.clone(), first);
        let Some(((.., first), _)) = self.pages.range(key(0)..=key(item)).next_back() else {
            return Vec::new();
        };
        let pages = self.pages.range(key(*first)..=key(i64::MAX)).take(2);
        pages.map(|((.., first), items)| StreamPage { first: *first, items: items.clone() }).collect()
    }

    pub(crate) fn keep(&mut self, kept: &KeptTask) -> bool {
        let Some(execution) = self.executions.get_mut(&kept.execution) else { return false };
        let Some(task) = execution.task(kept.task) else { return false };
        let record = &mut task.record;
        let runs = record.state == TaskState::Running
            && record.runner == Some(kept.runner)
            && record.attempt == kept.attempt;
        if runs {
            record.patch = Some(kept.patch.clone());
            record.lost = 0;
        }
        runs
    }

    /// True if the row was still running under this runner and attempt.
    fn record_outcome(&mut self, runner: RunnerId, now: Timestamp, outcome: &Outcome) -> bool {
        let Some(execution) = self.executions.get_mut(&outcome.execution) else {
            return false;
        };
        let Some(task) = execution.task(outcome.task).filter(|task| {
            task.record.state == TaskState::Running
                && task.record.runner == Some(runner)
                && task.record.attempt == outcome.attempt
        }) else {
            return false;
        };
        match &outcome.outcome {
            TaskOutcome::Completed { patch } => {
                if patch.is_some() {
                    task.record.patch.clone_from(patch);
                }
                task.end_attempt(AttemptOutcome::Completed, None, now);
                task.end(TaskState::Completed, now);
            }
            TaskOutcome::Failed { how, error } => {
                task.fail(*how, error, now);
                task.end(TaskState::Failed, now);
            }
            TaskOutcome::Skipped { reason } => {
                task.record.skip_reason = Some(*reason);
                // It was claimed but not tried.
                task.attempts.pop();
                task.end(TaskState::Skipped, now);
            }
            TaskOutcome::Retry { how, error, after } => {
                task.fail(*how, error, now);
                task.record.state = TaskState::Ready;
                task.due = now + *after;
            }
            TaskOutcome::Released => {
                task.end_attempt(AttemptOutcome::Released, None, now);
                task.record.state = TaskState::Ready;
                task.due = now;
            }
        }
        if task.record.state == TaskState::Completed {
            for handled in &outcome.handles {
                if let Some(task) = execution.task(*handled) {
                    task.record.handled = true;
                }
            }
        }
        self.put_ready(outcome.execution);
        true
    }

    pub(crate) fn count_down(
        &mut self,
        runner: RunnerId,
        now: Timestamp,
        outcome: &Outcome,
        freed: &mut Vec<Freed>,
    ) {
        let id = outcome.execution;
        let Some(execution) = self.executions.get_mut(&id) else {
            return;
        };
        if !execution.task(outcome.task).is_some_and(|task| task.record.state.is_terminal()) {
            return;
        }
        let paused = execution.header.status == ExecutionStatus::Paused;
        let waits = outcome.waits.iter().map(|wait| (wait, &false));
        for (index, wanted) in outcome.successors.iter().map(|(task, wanted)| (task, wanted)).chain(waits) {
            let Some(task) = execution.task(*index) else {
                continue;
            };
            task.waiting_on -= 1;
            if task.waiting_on > 0 || task.record.state != TaskState::Pending {
                continue;
            }
            task.record.state = TaskState::Ready;
            task.due = now;
            if task.is_wait {
                task.record.state = TaskState::Waiting;
                task.record.started_at = Some(now);
            }
            let claimed = if *wanted && !paused { execution.claim(*index, runner, now) } else { None };
            freed.push(Freed { execution: id, task: *index, claimed });
        }
        self.put_ready(id);
        self.put_waiting(id);
    }

    /// How it ended, if it has nothing left.
    pub(crate) fn close(&mut self, id: ExecutionId, now: Timestamp) -> Option<ExecutionStatus> {
        let execution = self.executions.get_mut(&id)?;
        let over = execution.tasks.iter().all(|task| task.record.state.is_terminal());
        if !over || execution.header.status != ExecutionStatus::Running {
            return None;
        }
        let unhandled = execution
            .tasks
            .iter()
            .map(|task| &task.record)
            .find(|task| task.state == TaskState::Failed && !task.handled);
        let status = if unhandled.is_some() { ExecutionStatus::Failed } else { ExecutionStatus::Completed };
        execution.header.error = unhandled.and_then(|task| task.error.clone());
        self.end(id, status, now);
        Some(status)
    }

    fn end(&mut self, id: ExecutionId, status: ExecutionStatus, now: Timestamp) {
        if let Some(execution) = self.executions.get_mut(&id) {
            execution.header.status = status;
            execution.header.finished_at = Some(now);
            if let Some(schedule) = execution.schedule {
                self.due.insert((DueKind::Schedule.number(), now, ExecutionId(schedule.0), id.to_string()));
                self.ring(now);
            }
            self.note_relations(id, now);
            if status == ExecutionStatus::Failed {
                self.start_on_failure(id, now);
            }
        }
    }

    fn start_on_failure(&mut self, id: ExecutionId, now: Timestamp) {
        let is_such = |id: &ExecutionId| {
            let key = self.executions.get(id).and_then(|execution| execution.key.as_deref());
            key.is_some_and(|key| key.starts_with(ON_FAILURE))
        };
        let Some(Execution { header, on_failure: Some(starts), parent, .. }) = self.executions.get(&id)
        else {
            return;
        };
        if is_such(&id) || parent.is_some_and(|(parent, ..)| is_such(&parent)) {
            return;
        }
        let new = NewExecution::for_failure(
            id,
            &header.workflow.name,
            header.error.as_deref(),
            header.priority,
            Arc::clone(starts),
        );
        self.submit(Writer { runner: None, now }, &new);
    }

    pub(crate) fn drop_due(&mut self, id: ExecutionId) {
        let over = self.executions.get(&id).filter(|execution| execution.header.finished_at.is_some());
        if let Some(deadline) = over.and_then(|execution| execution.header.deadline) {
            self.due.remove(&(DueKind::Deadline.number(), deadline, id, String::new()));
        }
    }

    fn claim(&mut self, runner: RunnerId, now: Timestamp, claim: &Claim) -> Vec<Claimed> {
        let registered =
            |row: &ReadyRow| claim.workflows.contains(&self.executions[&row.execution].header.workflow);
        let rows: Vec<_> = self
            .ready
            .iter()
            .filter(|row| row.due <= now && registered(row))
            .take(claim.limit)
            .copied()
            .collect();
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            self.ready.remove(&row);
            let execution = self.executions.get_mut(&row.execution).expect("a ready row has its execution");
            let fresh = (execution.header.status == ExecutionStatus::Pending).then(|| Fresh {
                input: execution.input.clone(),
                created_at: execution.header.created_at,
                timed: execution.header.deadline.is_some(),
            });
            execution.claim(row.task, runner, now);
            claimed.extend(execution.claimed(row.task).map(|claimed| {
                let waited = now.duration_since(row.due).try_into().unwrap_or_default();
                Claimed { fresh, waited, ..claimed }
            }));
        }
        claimed
    }

    /// Makes the ready table agree with the tasks of an execution, and rings the bell for what was put there.
    pub(crate) fn put_ready(&mut self, id: ExecutionId) {
        let Some(execution) = self.executions.get_mut(&id) else {
            return;
        };
        let runs = matches!(execution.header.status, ExecutionStatus::Pending | ExecutionStatus::Running);
        let priority = Reverse(execution.header.priority);
        let rows: BTreeSet<_> = (0..)
            .zip(&execution.tasks)
            .filter(|(_, task)| runs && task.record.state == TaskState::Ready)
            .map(|(index, task)| (index, task.due))
            .chain(execution.expands.filter(|_| runs).map(|due| (0, due)))
            .map(|(task, due)| ReadyRow { priority, due, execution: id, task })
            .collect();
        for row in &execution.listed {
            self.ready.remove(row);
        }
        self.ready.extend(&rows);
        let earliest = rows.iter().map(|row| row.due).min();
        execution.listed = rows;
        if let Some(due) = earliest {
            self.ring(due);
        }
    }

    pub(crate) fn ring(&mut self, at: Timestamp) {
        self.bell = Some(self.bell.map_or(at, |bell| bell.min(at)));
    }

    pub(crate) fn lower(&mut self, kinds: &[DueKind], now: Timestamp) -> NextDue {
        let work = self.ready.iter().map(|row| row.due).min();
        let is_known = |row: &&DueRow| kinds.iter().any(|kind| kind.number() == row.0);
        let due = self.due.iter().filter(is_known).map(|(_, at, ..)| *at).min();
        let unknown = self.due.iter().filter(|row| !is_known(row)).map(|(_, at, ..)| *at).min();
        let unexpanded = self.ready.iter().any(|row| self.executions[&row.execution].expands.is_some());
        let next = NextDue { now, work, due, unknown, unexpanded };
        self.bell = next.earliest();
        next
    }

    pub(crate) fn expand(&mut self, workflows: &[Expansion], limit: usize, now: Timestamp) -> Expanded {
        let expansion = |row: &ReadyRow| {
            let execution = &self.executions[&row.execution];
            let of_name = |known: &&Expansion| known.workflow.name == execution.header.workflow.name;
            execution.expands.filter(|due| *due <= now)?;
            let is_rerun = execution.header.rerun_of.is_some();
            Some((row.execution, workflows.iter().find(of_name)?, is_rerun))
        };
        let due: Vec<_> = self.ready.iter().filter_map(expansion).take(limit).collect();
        let mut expanded = Expanded::default();
        for (id, expansion, is_rerun) in due {
            if is_rerun {
                expanded.reruns.push(id);
                continue;
            }
            self.give_tasks(&NewExecution::expanding(id, expansion), now);
            expanded.executions += 1;
        }
        expanded
    }

    pub(crate) fn expand_rerun(&mut self, rerun: &NewExecution, now: Timestamp) -> bool {
        let is_there = self.executions.get(&rerun.id).is_some_and(|execution| {
            execution.expands.is_some() && execution.header.status == ExecutionStatus::Pending
        });
        if is_there {
            self.give_tasks(rerun, now);
        }
        is_there
    }

    fn give_tasks(&mut self, new: &NewExecution, now: Timestamp) {
        let execution = self.executions.get_mut(&new.id).expect("it was found");
        execution.header.workflow = new.workflow.clone();
        execution.expands = None;
        execution.on_failure = execution.on_failure.take().or_else(|| new.on_failure.clone());
        execution.tasks = new.tasks.iter().map(|task| Task::new(task, now)).collect();
        for copied in new.rerun.iter().flat_map(|rerun| &rerun.copied) {
            execution.copy(copied);
        }
        self.put_ready(new.id);
        self.put_waiting(new.id);
    }

    pub(crate) fn overdue(&self, before: Timestamp) -> Vec<(ExecutionId, WorkflowKey)> {
        let ready = self.ready.iter().filter(|row| row.due <= before).map(|row| row.execution);
        let kinds = [DueKind::Wait.number(), DueKind::Children.number()];
        let waits = self.due.iter().filter(|row| kinds.contains(&row.0) && row.1 <= before);
        let mut overdue: Vec<ExecutionId> = ready.chain(waits.map(|row| row.2)).collect();
        overdue.sort_unstable();
        overdue.dedup();
        overdue.into_iter().map(|id| (id, self.executions[&id].header.workflow.clone())).collect()
    }

    pub(crate) fn figures(&self, now: Timestamp) -> PlaceFigures {
        let of_users = || self.executions.values().filter(|of| *of.header.workflow.name != *BULK);
        let due = || self.ready.iter().filter(|row| row.due <= now);
        let oldest = due().map(|row| row.due).min();
        let due_of = |what: DueKind| {
            self.due.iter().filter(|(kind, at, ..)| *kind == what.number() && *at <= now).count() as u64
        };
        PlaceFigures {
            executions: of_users().count() as u64,
            open: of_users().filter(|of| is_open(of)).count() as u64,
            waiting: of_users().filter(|of| of.header.status == ExecutionStatus::Waiting).count() as u64,
            queued: due().count() as u64,
            oldest_queued: oldest.map(|due| now.duration_since(due).try_into().unwrap_or_default()),
            due_waits: due_of(DueKind::Wait),
            due_deadlines: due_of(DueKind::Deadline),
        }
    }

    pub(crate) fn count(&self, at_most: usize) -> usize {
        self.executions.values().filter(|of| is_open(of)).take(at_most).count()
    }

    pub(crate) fn orphaned(&self) -> Vec<(ExecutionId, WorkflowKey)> {
        let headers = self.executions.values().map(|execution| &execution.header);
        let orphans = headers.filter(|header| {
            header.status == ExecutionStatus::Paused && header.error.as_deref() == Some(ORPHANED)
        });
        orphans.map(|header| (header.id, header.workflow.clone())).collect()
    }

    pub(crate) fn status_of(&self, id: ExecutionId) -> Option<ExecutionStatus> {
        self.executions.get(&id).map(|execution| execution.header.status)
    }

    pub(crate) fn control(&mut self, id: ExecutionId, control: &Control, now: Timestamp) -> Controlled {
        let Some(execution) = self.executions.get_mut(&id) else {
            return Controlled::NotFound;
        };
        let status = execution.header.status;
        let unpaused = if execution.header.started_at.is_some() {
            ExecutionStatus::Running
        } else {
            ExecutionStatus::Pending
        };
        match (control, status) {
            (Control::Cancel { reason }, status) if !status.is_terminal() => self.cancel(id, reason, now),
            (
                Control::Pause | Control::Orphan,
                ExecutionStatus::Pending | ExecutionStatus::Running | ExecutionStatus::Waiting,
            ) => {
                execution.header.status = ExecutionStatus::Paused;
                execution.header.error = (*control == Control::Orphan).then(|| ORPHANED.to_owned());
                self.put_ready(id);
                if *control == Control::Orphan {
                    self.waits_away(id);
                }
            }
            (Control::Orphan, ExecutionStatus::Paused) => {
                if !self.waits_away(id) {
                    return Controlled::Refused(status);
                }
            }
            (Control::Resume, ExecutionStatus::Paused) => {
                execution.header.status = unpaused;
                execution.header.error = None;
                self.put_ready(id);
                self.close(id, now);
                self.drop_due(id);
                self.park(id);
                self.waits_back(id, now);
                self.resume_children(id, now);
            }
            _ => return Controlled::Refused(status),
        }
        Controlled::Done(self.executions[&id].header.status)
    }

    pub(super) fn cancel(&mut self, id: ExecutionId, reason: &str, now: Timestamp) {
        let Some(execution) = self.executions.get_mut(&id) else {
            return;
        };
        execution.header.error = Some(reason.to_owned());
        for task in execution.tasks.iter_mut().filter(|task| !task.record.state.is_terminal()) {
            if task.record.state == TaskState::Running {
                task.end_attempt(AttemptOutcome::Cancelled, None, now);
            }
            task.end(TaskState::Cancelled, now);
        }
        self.end(id, ExecutionStatus::Cancelled, now);
        self.drop_due(id);
        self.put_ready(id);
        self.put_waiting(id);
    }

    /// Takes due rows of these kinds, at most `limit` of each, and does what they ask for.
    pub(crate) fn settle_due(&mut self, kinds: &[DueKind], now: Timestamp, limit: usize) -> Settled {
        let mut settled = Settled::default();
        let waits = |(of, at, ..): &DueRow| *of == DueKind::Wait.number() && *at <= now;
        settled.waits = kinds.contains(&DueKind::Wait) && self.due.iter().any(waits);
        let children = |(of, at, ..): &DueRow| *of == DueKind::Children.number() && *at <= now;
        settled.children = kinds.contains(&DueKind::Children) && self.due.iter().any(children);
        for kind in kinds.iter().filter(|kind| matches!(kind, DueKind::Deadline | DueKind::Sweep)) {
            let due = self.due.iter().filter(|(of, at, ..)| *of == kind.number() && *at <= now).take(limit);
            for row in due.cloned().collect::<Vec<_>>() {
                settled.taken += 1;
                let id = row.2;
                match kind {
                    DueKind::Sweep => settled.expired.extend(self.sweep(&row, now)),
                    DueKind::Deadline => {
                        self.due.remove(&row);
                        let header = self.executions.get(&id).map(|execution| &execution.header);
                        let fits = |header: &&ExecutionHeader| {
                            !header.status.is_terminal() && header.deadline.is_some_and(|at| at <= now)
                        };
                        if header.filter(fits).is_some() {
                            self.cancel(id, "the deadline passed", now);
                            settled.expired.push(id);
                        }
                    }
                    // Waits are read first, and settled by themselves; schedules are no executions.
                    DueKind::Wait | DueKind::Schedule | DueKind::Children => {}
                }
            }
        }
        settled
    }

    pub(crate) fn rescue(&mut self, runner: RunnerId, now: Timestamp) -> (Vec<ExecutionId>, usize) {
        let (mut rescued, mut tasks) = (BTreeSet::new(), 0);
        for held in self.held(runner) {
            let execution = self.executions.get_mut(&held.execution).expect("a held task has its execution");
            let task = execution.task(held.task).expect("a held task is there");
            task.end_attempt(AttemptOutcome::Lost, None, now);
            task.record.lost += 1;
            task.record.state = TaskState::Ready;
            task.due = now;
            self.put_ready(held.execution);
            rescued.insert(held.execution);
            tasks += 1;
        }
        (rescued.into_iter().collect(), tasks)
    }

    pub(crate) fn held(&self, runner: RunnerId) -> Vec<Claimed> {
        let held = |task: &TaskRecord| task.state == TaskState::Running && task.runner == Some(runner);
        self.executions
            .values()
            .flat_map(|execution| (0..).zip(&execution.tasks).map(move |task| (execution, task)))
            .filter(|(_, (_, task))| held(&task.record))
            .filter_map(|(execution, (index, _))| execution.claimed(index))
            .collect()
    }

    /// An execution that has nothing left but waits is waiting.
    pub(crate) fn park(&mut self, id: ExecutionId) {
        let has = |state| self.tasks(id).iter().any(|task| task.record.state == state);
        let only_waits = has(TaskState::Waiting) && !has(TaskState::Ready) && !has(TaskState::Running);
        self.change(id, |header| {
            if only_waits && header.status == ExecutionStatus::Running {
                header.status = ExecutionStatus::Waiting;
            }
        });
    }

    pub(crate) fn tasks(&self, id: ExecutionId) -> &[Task] {
        self.executions.get(&id).map_or(&[], |execution| &execution.tasks)
    }

    pub(crate) fn tasks_mut(&mut self, id: ExecutionId) -> &mut [Task] {
        self.executions.get_mut(&id).map_or(&mut [], |execution| &mut execution.tasks)
    }

    pub(crate) fn change(&mut self, id: ExecutionId, change: impl FnOnce(&mut ExecutionHeader)) {
        if let Some(execution) = self.executions.get_mut(&id) {
            change(&mut execution.header);
        }
    }

    pub(crate) fn header(&self, id: ExecutionId) -> Option<ExecutionHeader> {
        self.executions.get(&id).map(|execution| execution.header.clone())
    }

    pub(crate) fn pulse(&self, id: ExecutionId) -> Option<Pulse> {
        let execution = self.executions.get(&id)?;
        let weight = |(task, row): (usize, &Task)| {
            let state =
                TaskState::ALL.iter().position(|state| *state == row.record.state).unwrap_or_default();
            (task + 1) as f64
                * (f64::from(row.record.attempt * 16 + row.record.failures * 8) + (state + 1) as f64)
        };
        let tasks = execution.tasks.iter().enumerate().map(weight).sum();
        let weight = |node: &cloacina_core::store::ChildrenProgress| {
            let node = &node.node;
            node.started as f64 * 1_000_003.0
                + node.completed as f64 * 10_007.0
                + node.failed as f64 * 101.0
                + node.parallel as f64
        };
        let children = self.children_progress(id).iter().map(weight).sum();
        let header = &execution.header;
        let superseded_by = header.superseded_by.map(|id| id.0);
        Some(Pulse::of(header.status.as_str(), header.finished_at, superseded_by, tasks, children))
    }

    pub(crate) fn record(&self, id: ExecutionId) -> Option<ExecutionRecord> {
        let execution = self.executions.get(&id)?;
        Some(ExecutionRecord {
            header: execution.header.clone(),
            input: execution.input.clone(),
            tasks: execution.tasks.iter().map(|task| task.record.clone()).collect(),
        })
    }

    pub(crate) fn find(&self, workflow: &str, key: &str) -> Option<(ExecutionId, i64)> {
        self.keys.get(&(workflow.to_owned(), key.to_owned())).copied()
    }

    pub(crate) fn list(&self, list: &ExecutionList) -> Vec<ExecutionHeader> {
        let ExecutionList { filter, before, limit } = list;
        let roots = self.executions.values().rev().filter(|execution| execution.parent.is_none());
        let headers = roots.map(|execution| &execution.header);
        headers
            .filter(|header| before.is_none_or(|before| header.id < before))
            .filter(|header| filter.statuses.is_empty() || filter.statuses.contains(&header.status))
            .filter(|header| filter.workflow.as_deref().is_none_or(|name| *header.workflow.name == *name))
            .filter(|header| filter.left_out().is_none_or(|name| *header.workflow.name != *name))
            .filter(|header| filter.tag.as_ref().is_none_or(|tag| header.tags.contains(tag)))
            .filter(|header| filter.superseded.is_none_or(|is| header.superseded_by.is_some() == is))
            .take(*limit)
            .cloned()
            .collect()
    }

    pub(crate) fn attempts(&self, id: ExecutionId) -> Option<AttemptList> {
        let execution = self.executions.get(&id)?;
        Some(execution.tasks.iter().flat_map(|task| task.attempts.iter().cloned()).collect())
    }

    pub(crate) fn oldest(&self, end: ExecutionStatus) -> Option<Timestamp> {
        let ended = self
            .executions
            .values()
            .filter(|execution| execution.parent.is_none() && execution.header.status == end);
        ended.filter_map(|execution| execution.header.finished_at).min()
    }

    pub(crate) fn prune(&mut self, end: ExecutionStatus, before: Timestamp, limit: usize) -> usize {
        let old = |execution: &&Execution| {
            let ended =
                execution.header.status == end && execution.header.finished_at.is_some_and(|at| at < before);
            // What took the place of one that has children may read what these came to.
            let is_read = execution.header.superseded_by.is_some_and(|by| self.executions.contains_key(&by))
                && self.children.keys().any(|(of, _)| *of == execution.header.id);
            execution.parent.is_none() && ended && !is_read && self.is_over_below(execution.header.id)
        };
        let roots: Vec<_> =
            self.executions.values().filter(old).map(|execution| execution.header.id).take(limit).collect();
        let pruned: BTreeSet<_> = roots.into_iter().flat_map(|root| self.tree(root)).collect();
        self.children.retain(|(id, _), _| !pruned.contains(id));
        self.executions.retain(|id, _| !pruned.contains(id));
        self.keys.retain(|_, (id, _)| !pruned.contains(id));
        self.signals.retain(|id, _| !pruned.contains(id));
        self.pages.retain(|(id, ..), _| !pruned.contains(id));
        pruned.len()
    }
}

/// Whether it is not over and does not only wait.
fn is_open(execution: &Execution) -> bool {
    !execution.header.status.is_terminal() && execution.header.status != ExecutionStatus::Waiting
}
