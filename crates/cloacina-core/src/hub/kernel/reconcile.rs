//! What was read of executions, compared with what is held and known.
//!
//! It may have been written by a tenant. An execution that cannot be read or run as it is stored is
//! cancelled, and whoever waits for it is told; nothing else depends on it.

use std::collections::{HashMap, HashSet};
use std::error::Error as _;
use std::sync::Arc;

use super::super::live::{Live, is_ours, result_of};
use super::super::place::{Ended, PlaceState};
use super::effects::{Effects, Moment, Start};
use super::plan::for_the_operator;
use crate::error::{Error, ErrorKind};
use crate::execution::{ExecutionResult, ExecutionStatus, TaskState};
use crate::id::{ExecutionId, RunnerId, TaskIndex};
use crate::store::{ExecutionRecord, StoreError, TaskOutcome, TaskRecord};

/// Executions as they were read.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) records: Vec<ExecutionRecord>,
    pub(crate) missing: HashSet<ExecutionId>,
    pub(crate) unreadable: Vec<(ExecutionId, StoreError)>,
}

impl Loaded {
    pub(crate) fn extend(&mut self, other: Self) {
        self.records.extend(other.records);
        self.missing.extend(other.missing);
        self.unreadable.extend(other.unreadable);
    }
}

impl PlaceState {
    /// Brings what is held and known of executions in line with what the database says, and adopts what runs
    /// there under our name and is not held. Nothing of the place was written since they were read. A tenant
    /// that can write rows itself has `room` for so many more tasks.
    pub(crate) fn reconcile(
        &mut self,
        loaded: Loaded,
        runner: Option<RunnerId>,
        mut room: usize,
        moment: Moment,
    ) -> Effects {
        let mut effects = Effects::default();
        let mut starts = Vec::new();
        for record in &loaded.records {
            self.reconcile_one(record, runner, &mut room, moment, &mut starts, &mut effects);
        }
        for missing in loaded.missing {
            self.drop_held(missing, |_, _| true, &mut effects);
            let message =
                format!("there is no execution {missing} in the place of tenant `{}`", self.place.name);
            self.finish(missing, Err(Error::new(ErrorKind::NotFound, message)), &mut effects);
        }
        self.cannot_be_read(loaded.unreadable, &mut effects);
        self.plan(starts, &mut effects);
        self.settled(&mut effects);
        effects
    }

    /// Tells those who wait for executions that are over how they ended. Nobody is stopped for that: what is
    /// over never changes. The executions that have to be [reconciled](Self::reconcile) are audited:
    /// something of them is known or held here, or ought to be, or they are not there.
    pub(crate) fn settle(&mut self, loaded: Loaded, runner: Option<RunnerId>) -> Effects {
        let mut effects = Effects::default();
        self.cannot_be_read(loaded.unreadable, &mut effects);
        effects.audits.extend(loaded.missing);
        for record in &loaded.records {
            let id = record.header.id;
            let ours = |task: &TaskRecord| {
                task.state == TaskState::Running && runner.is_some() && task.runner == runner
            };
            let (over, known) = (record.header.status.is_terminal(), self.work.live.contains_key(&id));
            self.waiters.found(id, record.header.status == ExecutionStatus::Waiting);
            if self.work.holds(id) || record.tasks.iter().any(ours) || (known && !over) {
                effects.audit(id);
            } else if over {
                self.over(record, &mut effects);
            }
        }
        self.settled(&mut effects);
        effects
    }

    /// Starts held tasks whose executions were read.
    pub(crate) fn begin(&mut self, mut starts: Vec<Start>, loaded: Loaded, moment: Moment) -> Effects {
        let mut effects = Effects::default();
        let read: HashSet<ExecutionId> = starts.iter().map(|start| start.execution).collect();
        let mut unusable: HashMap<ExecutionId, String> =
            starts.iter().map(|start| (start.execution, "its rows are gone".to_owned())).collect();
        unusable.extend(loaded.unreadable.into_iter().map(|(id, error)| (id, error.to_string())));
        for record in &loaded.records {
            match self.learn(record) {
                Ok(()) => drop(unusable.remove(&record.header.id)),
                Err(reason) => drop(unusable.insert(record.header.id, reason)),
            }
        }
        // Claimed tasks have nothing left to wait for, unless somebody changed the rows by hand.
        for Start { execution, task, .. } in &starts {
            let Some(live) = self.work.live.get(execution) else { continue };
            if !live.has(*task) {
                unusable.insert(*execution, format!("its workflow has no task number {task}"));
            } else if live.dependencies(*task).is_none() {
                unusable.insert(*execution, "a task was ready before its dependencies were over".to_owned());
            }
        }
        // A task that was stopped while its execution was read is not ours any more.
        starts.retain(|start| {
            let Start { execution, task, attempt, .. } = start;
            self.work.holds_attempt(*execution, *task, *attempt) && !unusable.contains_key(execution)
        });
        for (execution, reason) in unusable {
            self.abandon(execution, reason, &mut effects);
        }
        self.plan(starts, &mut effects);
        read.into_iter().for_each(|execution| self.left(execution, moment));
        self.settled(&mut effects);
        effects
    }

    fn reconcile_one(
        &mut self,
        record: &ExecutionRecord,
        runner: Option<RunnerId>,
        room: &mut usize,
        moment: Moment,
        starts: &mut Vec<Start>,
        effects: &mut Effects,
    ) {
        let id = record.header.id;
        let runs_here = |task: TaskIndex, attempt: i32| {
            record.tasks.get(task as usize).is_some_and(|row| {
                row.state == TaskState::Running && runner.is_some_and(|runner| is_ours(row, runner, attempt))
            })
        };
        self.drop_held(id, |task, attempt| !runs_here(task, attempt), effects);
        if record.header.status.is_terminal() {
            return self.over(record, effects);
        }
        let Some(runner) = runner else { return self.left(id, moment) };
        if self.work.is_given_up(id) {
            return;
        }
        let unheld = (0..).zip(&record.tasks).filter(|(task, row)| {
            row.state == TaskState::Running
                && row.runner == Some(runner)
                && self.work.held(id, *task).is_none()
        });
        let unheld: Vec<Start> = unheld
            .map(|(task, row)| Start {
                execution: id,
                task,
                attempt: row.attempt,
                failures: row.failures,
                lost: row.lost,
                waited: None,
                permit: None,
            })
            .collect();
        // A tenant may have written our name into any number of its rows: they run one after the other like
        // all its work.
        let refuses = self.standing.status.has_login && unheld.len() > *room;
        let adopts = !unheld.is_empty() && !refuses;
        if (adopts || self.work.live.contains_key(&id))
            && let Err(reason) = self.learn(record)
        {
            return self.abandon(id, reason, effects);
        }
        unheld.iter().for_each(|start| self.hold(start, moment));
        if adopts {
            effects.adopted += unheld.len();
            *room = room.saturating_sub(unheld.len());
            starts.extend(unheld);
        } else {
            // They are held until that is written, so that they are not found again.
            effects.ends.extend(unheld.into_iter().map(|start| (start, TaskOutcome::Released)));
        }
        self.left(id, moment);
    }

    /// An execution is over.
    fn over(&mut self, record: &ExecutionRecord, effects: &mut Effects) {
        let id = record.header.id;
        let workflow = self.handles.workflows.version(&record.header.workflow);
        let handle = self.waiters.handle_of(id);
        if !self.waiters.contains(id) && handle.is_none() {
            self.work.live.remove(&id);
            return;
        }
        let result = result_of(record, workflow.map(Arc::as_ref));
        if let (Some(handle), Ok(result)) = (handle, &result) {
            // It is told once.
            drop(handle.set(Ended::Read(Box::new(result.clone()))));
        }
        self.finish(id, result, effects);
    }

    /// Takes an execution that was read into memory.
    fn learn(&mut self, record: &ExecutionRecord) -> Result<(), String> {
        let (id, key) = (record.header.id, &record.header.workflow);
        let known = self.handles.workflows.version(key);
        let workflow = known.ok_or_else(|| {
            format!("this process does not have version {} of its workflow", key.fingerprint)
        })?;
        if self.forbids(workflow) {
            return Err(for_the_operator(&key.name));
        }
        let read = Live::loaded(record, Arc::clone(workflow)).map_err(|error| match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        })?;
        match self.work.live.get_mut(&id) {
            Some(live) if !live.runs(key) => {
                return Err(format!("its tasks are those of workflow `{}` as well", live.workflow.name()));
            }
            Some(live) => live.learn(read),
            None => drop(self.work.live.insert(id, read)),
        }
        Ok(())
    }

    /// Tells who waits for executions whose rows cannot be read, and gives up what is held of them.
    fn cannot_be_read(&mut self, unreadable: Vec<(ExecutionId, StoreError)>, effects: &mut Effects) {
        for (execution, error) in unreadable {
            let held = self.work.holds(execution);
            let message =
                format!("execution {execution} of tenant `{}` cannot be read: {error}", self.place.name);
            self.finish(execution, Err(Error::new(ErrorKind::Context, message)), effects);
            if held {
                self.abandon(execution, format!("it cannot be read: {error}"), effects);
            }
        }
    }

    /// Stops and lets go of the held tasks of an execution for which `void` holds.
    pub(super) fn drop_held(
        &mut self,
        execution: ExecutionId,
        void: impl Fn(TaskIndex, i32) -> bool,
        effects: &mut Effects,
    ) {
        let gone: Vec<(TaskIndex, i32)> = self
            .work
            .held_of(execution)
            .filter(|(task, held)| void(*task, held.attempt))
            .map(|(task, held)| {
                effects.stops.push(Arc::clone(&held.stop));
                (task, held.attempt)
            })
            .collect();
        for (task, attempt) in gone {
            self.work.let_go(execution, task, attempt);
        }
    }

    /// Hands the result of an execution to all who wait for it.
    pub(super) fn finish(
        &mut self,
        execution: ExecutionId,
        result: Result<ExecutionResult, Error>,
        effects: &mut Effects,
    ) {
        self.work.live.remove(&execution);
        let mut waiters = self.waiters.take(execution);
        let Some(last) = waiters.pop() else { return };
        for waiter in waiters {
            let copy = match &result {
                Ok(result) => Ok(result.clone()),
                Err(error) => Err(Error::new(error.kind(), error.to_string())),
            };
            effects.finished.push((waiter, copy));
        }
        effects.finished.push((last, result));
    }
}
