//! The waits of a place, and the signals that end them.

use std::collections::BTreeSet;
use std::sync::Arc;

use cloacina_core::execution::{AttemptOutcome, ExecutionStatus, TaskState};
use cloacina_core::id::{ExecutionId, TaskIndex};
use cloacina_core::store::{
    Closed, DueKind, DueWait, DueWaits, EndedBy, Idempotency, MOST_SIGNALS, NEVER, NewExecution, NewSignal,
    NodeEnd, OpenWait, Outcome, ReceivedSignal, SettledWaits, SignalSent, SignalStart, SignalTarget,
    TaskOutcome, WaitCursor, WaitFilter, WaitStep, WorkflowKey,
};
use cloacina_core::workflow::{Ask, Fingerprint};
use jiff::Timestamp;

use super::{PlaceRows, SignalRow, Task, WaitRow, Writer};

impl PlaceRows {
    /// Makes the due rows agree with what waits in an execution, and rings the bell for them.
    pub(crate) fn put_waiting(&mut self, id: ExecutionId) {
        let kind = DueKind::Wait.number();
        self.due.retain(|(of, _, execution, _)| *of != kind || *execution != id);
        let rows: Vec<_> = (0..)
            .zip(self.tasks(id))
            .filter(|(_, task)| task.record.state == TaskState::Waiting)
            .map(|(node, task): (TaskIndex, _)| (kind, task.due, id, node.to_string()))
            .collect();
        for row in rows {
            self.ring(row.1);
            self.due.insert(row);
        }
        let waits: BTreeSet<TaskIndex> = (0..)
            .zip(self.tasks(id))
            .filter(|(_, task)| task.record.state == TaskState::Waiting)
            .map(|(node, _)| node)
            .collect();
        self.waits.retain(|(execution, node), _| *execution != id || waits.contains(node));
    }

    pub(crate) fn wait_due(
        &self,
        workflows: &[WorkflowKey],
        after: Option<&WaitCursor>,
        limit: usize,
        now: Timestamp,
    ) -> DueWaits {
        let mut due = DueWaits { now, waits: Vec::new(), void: Vec::new(), next: None };
        let mut looked = 0;
        for (kind, due_at, execution, cause) in &self.due {
            let cursor = WaitCursor { due_at: *due_at, execution: *execution, cause: cause.clone() };
            let key = |cursor: &WaitCursor| (cursor.due_at, cursor.execution, cursor.cause.clone());
            if *kind != DueKind::Wait.number()
                || *due_at > now
                || after.is_some_and(|after| key(&cursor) <= key(after))
                || looked == limit
            {
                continue;
            }
            looked += 1;
            due.next = Some(cursor);
            let node: TaskIndex = cause.parse().expect("only waits have such rows");
            let workflow = self.header(*execution).expect("it has its execution").workflow;
            if !workflows.contains(&workflow) {
                continue;
            }
            let begun = self.waits.get(&(*execution, node));
            let signal = begun.and_then(|begun| self.first(*execution, begun.signal.as_deref()?));
            due.waits.push(DueWait {
                execution: *execution,
                node,
                workflow,
                reached_at: self.tasks(*execution)[node as usize].record.started_at.expect("it was reached"),
                until: begun.map(|begun| begun.until),
                signal: signal.map(|row| ReceivedSignal { number: row.number, payload: row.payload.clone() }),
            });
        }
        if looked < limit {
            due.next = None;
        }
        due
    }

    /// The first signal of a name that was not taken.
    fn first(&self, execution: ExecutionId, name: &str) -> Option<&SignalRow> {
        self.signals.get(&execution)?.iter().find(|row| row.name == name && !row.taken)
    }

    pub(crate) fn wait_ends(&self, executions: &[ExecutionId]) -> Vec<NodeEnd> {
        let of = |execution: &ExecutionId| {
            let execution = *execution;
            (0..).zip(self.tasks(execution)).map(move |(node, task)| (execution, node, &task.record))
        };
        let over = executions.iter().flat_map(of).filter(|(.., record)| record.state.is_terminal());
        over.map(|(execution, node, record)| NodeEnd {
            execution,
            node,
            state: record.state,
            skip_reason: record.skip_reason,
        })
        .collect()
    }

    pub(crate) fn wait_settle(&mut self, steps: &[WaitStep], now: Timestamp) -> SettledWaits {
        let mut settled = SettledWaits::default();
        let mut ended = BTreeSet::new();
        for step in steps {
            let (id, node) = (step.execution(), step.node());
            let waits = |task: &Task| task.record.state == TaskState::Waiting;
            if !self.tasks(id).get(node as usize).is_some_and(waits) {
                continue;
            }
            let begun = self.waits.get(&(id, node));
            let name = begun.and_then(|begun| begun.signal.clone()).or(step.signal().map(str::to_owned));
            let first = name.as_deref().and_then(|name| self.first(id, name)).map(|row| row.number);
            let until = begun.map(|begun| begun.until);
            match step {
                WaitStep::Begin(wait) if until.is_none() => {
                    let (until, ask) = (wait.until, wait.ask.clone());
                    self.waits.insert((id, node), WaitRow { signal: name, until, ask });
                    if let Some(plan) = wait.children {
                        self.begin_children(id, node, plan, now);
                    }
                    let task = &mut self.tasks_mut(id)[node as usize];
                    task.due = if first.is_some() { now } else { until };
                }
                WaitStep::End(end) if end.holds(until, first, now) => {
                    let rows = self.signals.entry(id).or_default();
                    for row in rows.iter_mut().filter(|row| name.as_ref() == Some(&row.name)) {
                        row.taken |= end.by == EndedBy::Signal(row.number);
                    }
                    self.end_wait(&end.outcome, now);
                    if end.sweeps {
                        self.sweep_later(id, Some(node), now);
                    }
                    ended.insert(id);
                }
                _ => continue,
            }
            self.start(id, now);
            self.put_ready(id);
            self.put_waiting(id);
            settled.done += 1;
        }
        for execution in ended {
            if let Some(status) = self.close(execution, now) {
                settled.closed.push(Closed { execution, status });
                self.drop_due(execution);
            }
        }
        steps.iter().for_each(|step| self.park(step.execution()));
        settled
    }

    pub(super) fn end_wait(&mut self, outcome: &Outcome, now: Timestamp) {
        let task = &mut self.tasks_mut(outcome.execution)[outcome.task as usize];
        match &outcome.outcome {
            TaskOutcome::Completed { patch } => {
                task.record.patch.clone_from(patch);
                task.end(TaskState::Completed, now);
            }
            TaskOutcome::Failed { how, error } => {
                task.record.failures += i32::from(*how != AttemptOutcome::Lost);
                task.record.error = Some(error.clone());
                task.end(TaskState::Failed, now);
            }
            TaskOutcome::Skipped { reason } => {
                task.record.skip_reason = Some(*reason);
                task.end(TaskState::Skipped, now);
            }
            TaskOutcome::Retry { .. } | TaskOutcome::Released => {}
        }
        if task.record.state == TaskState::Completed {
            for handled in &outcome.handles {
                self.tasks_mut(outcome.execution)[*handled as usize].record.handled = true;
            }
        }
        let nobody = cloacina_core::id::RunnerId::new();
        self.count_down(nobody, now, outcome, &mut Vec::new());
    }

    pub(crate) fn wait_move(
        &mut self,
        id: ExecutionId,
        wait: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> bool {
        let open = (0..)
            .zip(self.tasks(id))
            .find(|(_, task)| task.record.name == wait && task.record.state == TaskState::Waiting);
        let Some((node, _)) = open else { return false };
        let Some(begun) = self.waits.get_mut(&(id, node)) else { return false };
        begun.until = until;
        let signal = begun.signal.clone();
        let signalled = signal.is_some_and(|name| self.first(id, &name).is_some());
        self.tasks_mut(id)[node as usize].due = if signalled { until.min(now) } else { until };
        self.put_waiting(id);
        true
    }

    /// The waits of an execution whose code nobody has are not to be looked at. Whether any was.
    pub(crate) fn waits_away(&mut self, id: ExecutionId) -> bool {
        let mut any = self.move_looks(id, |due| due < NEVER, NEVER);
        for task in self.tasks_mut(id) {
            if task.record.state == TaskState::Waiting && task.due < NEVER {
                task.due = NEVER;
                any = true;
            }
        }
        self.put_waiting(id);
        any
    }

    /// Moves the due rows that ask for a look at the children of an execution. Whether there was any.
    fn move_looks(&mut self, id: ExecutionId, of: impl Fn(Timestamp) -> bool, to: Timestamp) -> bool {
        let kind = DueKind::Children.number();
        let is_one = |row: &&(i16, Timestamp, ExecutionId, String)| row.0 == kind && row.2 == id && of(row.1);
        let looks: Vec<_> = self.due.iter().filter(is_one).cloned().collect();
        for look in &looks {
            self.due.remove(look);
            self.due.insert((kind, to, id, look.3.clone()));
        }
        !looks.is_empty()
    }

    /// They are again, when they would have been.
    pub(crate) fn waits_back(&mut self, id: ExecutionId, now: Timestamp) {
        self.move_looks(id, |due| due == NEVER, now);
        let waits = (0..).zip(self.tasks(id)).filter(|(_, task)| task.record.state == TaskState::Waiting);
        let away: Vec<TaskIndex> =
            waits.filter(|(_, task)| task.due >= NEVER).map(|(node, _)| node).collect();
        for node in away {
            let begun = self.waits.get(&(id, node)).map(|row| (row.until, row.signal.clone()));
            let due = match begun {
                Some((until, signal))
                    if signal.as_ref().is_none_or(|name| self.first(id, name).is_none()) =>
                {
                    until
                }
                _ => now,
            };
            self.tasks_mut(id)[node as usize].due = due;
        }
        self.put_waiting(id);
    }

    pub(crate) fn wait_list(&self, filter: &WaitFilter) -> Vec<OpenWait> {
        let wanted = |((execution, node), row): &(&(ExecutionId, TaskIndex), &WaitRow)| {
            filter.execution.is_none_or(|of| of == *execution)
                && filter.after.is_none_or(|after| (*execution, *node) > after)
                && (!filter.asking || row.ask.is_some())
        };
        let open = self.waits.iter().filter(wanted).take(filter.limit);
        open.map(|((execution, node), row)| {
            let task = &self.tasks(*execution)[*node as usize].record;
            OpenWait {
                execution: *execution,
                node: *node,
                name: task.name.clone(),
                workflow: self.header(*execution).expect("it has its execution").workflow.name,
                reached_at: task.started_at.expect("it was reached"),
                signal: row.signal.clone(),
                until: (row.until < NEVER).then_some(row.until),
                ask: row.ask.clone(),
            }
        })
        .collect()
    }

    pub(crate) fn signal_send(&mut self, signal: &NewSignal, now: Timestamp) -> SignalSent {
        let id = match &signal.target {
            SignalTarget::Id(id) => *id,
            SignalTarget::Key { workflow, key } => match self.find(workflow, key) {
                Some((id, _)) => id,
                None => match &signal.starts {
                    Some(starts) => self.start_signalled(workflow, key, starts, now),
                    None => return SignalSent::NotFound,
                },
            },
        };
        let Some(header) = self.header(id) else { return SignalSent::NotFound };
        if header.status.is_terminal() {
            return SignalSent::AlreadyOver(id, header.status, header.superseded_by);
        }
        let rows = self.signals.entry(id).or_default();
        let of_name = || rows.iter().filter(|row| *row.name == *signal.name);
        if signal.key.is_some() && of_name().any(|row| row.key.as_deref() == signal.key.as_deref()) {
            return SignalSent::Repeated(id);
        }
        let open = self
            .waits
            .iter()
            .find(|((execution, _), row)| *execution == id && row.signal.as_deref() == Some(&*signal.name));
        let ask = open.and_then(|(_, row)| row.ask.as_deref()).and_then(Ask::from_json);
        if ask.is_some_and(|ask| !ask.is_answered_by(&signal.payload)) {
            return SignalSent::NotAChoice(id);
        }
        if rows.iter().filter(|row| !row.taken).count() >= MOST_SIGNALS {
            return SignalSent::TooMany(id);
        }
        let number = of_name().map(|row| row.number).max().unwrap_or_default() + 1;
        let open = open.map(|((_, node), _)| *node);
        rows.push(SignalRow {
            name: signal.name.to_string(),
            number,
            key: signal.key.as_deref().map(str::to_owned),
            payload: signal.payload.clone(),
            taken: false,
        });
        if signal.starts.as_ref().is_some_and(|starts| starts.execution == id) {
            return SignalSent::Started(id);
        }
        let Some(node) = open else { return SignalSent::Buffered(id) };
        self.tasks_mut(id)[node as usize].due = now;
        self.put_waiting(id);
        SignalSent::Delivered(id)
    }

    fn start_signalled(
        &mut self,
        workflow: &Arc<str>,
        key: &str,
        starts: &SignalStart,
        now: Timestamp,
    ) -> ExecutionId {
        let new = NewExecution {
            id: starts.execution,
            workflow: WorkflowKey { name: Arc::clone(workflow), fingerprint: Fingerprint::UNKNOWN },
            priority: starts.priority,
            input: starts.input.clone(),
            idempotency: Some(Idempotency { key: key.to_owned(), input_hash: starts.input_hash }),
            start_at: None,
            deadline: None,
            tasks: Arc::default(),
            claimed: Vec::new(),
            submitter: None,
            tags: Vec::new(),
            submitted_by: None,
            on_failure: None,
            rerun: None,
            child: None,
        };
        self.submit(Writer { runner: None, now }, &new);
        starts.execution
    }

    /// An execution of which nothing had begun has begun.
    pub(super) fn start(&mut self, id: ExecutionId, now: Timestamp) {
        self.change(id, |header| {
            if matches!(header.status, ExecutionStatus::Pending | ExecutionStatus::Waiting) {
                header.status = ExecutionStatus::Running;
            }
            header.started_at.get_or_insert(now);
        });
    }
}
