//! One commit; `cloacina_core::store::flush` tells the steps and why they come in this order.
//!
//! Each step is a statement per row: between SQLite and its caller there is no way that would make larger
//! statements pay. The write lock of the file stands for all the locks of the twin.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cloacina_core::execution::{AttemptOutcome, ExecutionStatus, TaskState};
use cloacina_core::id::{ExecutionId, RunnerId, TaskIndex, TenantId};
use cloacina_core::store::{
    Claim, Claimed, Closed, DueKind, Flush, Flushed, Freed, Fresh, MOST_CHILDREN_OF_A_TASK, NewExecution,
    Outcome, PlaceFlush, PlaceFlushed, Recorded, RecordedExecutions, RerunRefusal, StoreError,
    StoreErrorKind, TaskChild, TaskOutcome, WorkflowKey,
};
use cloacina_core::workflow::Fingerprint;
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::audit;
use crate::error::Failure;
use crate::row::{state, tags_to_json, timestamp};
use crate::rows::{
    Known, NO_CAUSE, READY_DELETE, Relations, due_delete, due_insert, execution_find, execution_lock, park,
    reach, ready_insert, relations_wake,
};

const FENCE: &str = include_str!("../sql/fence.sql");
const EXECUTION_INSERT: &str = include_str!("../sql/execution_insert.sql");
const CHILDREN_INSERT: &str = include_str!("../sql/children_insert.sql");
const EXECUTION_EXISTS: &str = include_str!("../sql/execution_exists.sql");
const TAG_INSERT: &str = include_str!("../sql/tag_insert.sql");
const COPY_INSERT: &str = include_str!("../sql/copy_insert.sql");
const RERUN_LOCK: &str = include_str!("../sql/rerun_lock.sql");
const RERUN_MARK: &str = include_str!("../sql/rerun_mark.sql");
const EXECUTION_START: &str = include_str!("../sql/execution_start.sql");
const FAILURE_START: &str = include_str!("../sql/failure_start.sql");
const EXECUTION_CLOSE: &str = include_str!("../sql/execution_close.sql");
pub(crate) const TASK_INSERT: &str = include_str!("../sql/task_insert.sql");
const TASK_FINISH: &str = include_str!("../sql/task_finish.sql");
const CHILD_LINK: &str = include_str!("../sql/child_link.sql");
const CHILD_COUNT: &str = include_str!("../sql/child_count.sql");
const CHILD_NOTE: &str = include_str!("../sql/child_note.sql");
const TASK_RETURN: &str = include_str!("../sql/task_return.sql");
const TASK_FREE: &str = include_str!("../sql/task_free.sql");
const TASK_HANDLE: &str = include_str!("../sql/task_handle.sql");
const TASK_CLAIM: &str = include_str!("../sql/task_claim.sql");
const WAIT_FINISH: &str = include_str!("../sql/wait_finish.sql");
const ATTEMPT_INSERT: &str = include_str!("../sql/attempt_insert.sql");
const READY_PICK: &str = include_str!("../sql/ready_pick.sql");

/// Writes a batch, in the transaction that is open on `connection`. `ahead` is by how much `now` is ahead of
/// the wall clock.
pub(crate) fn flush(
    connection: &Connection,
    flush: &Flush,
    now: i64,
    ahead: i64,
) -> Result<Flushed, Failure> {
    if let Some(runner) = flush.runner {
        fence(connection, runner)?;
    }
    let places = flush
        .places
        .iter()
        .map(|place| {
            let steps = Steps {
                connection,
                tenant: place.place.tenant,
                runner: flush.runner,
                now,
                ahead,
                known: HashMap::new(),
                done: PlaceFlushed::default(),
            };
            steps.run(place)
        })
        .collect::<Result<_, _>>()?;
    Ok(Flushed { now: timestamp(now)?, places })
}

fn fence(connection: &Connection, runner: RunnerId) -> Result<(), Failure> {
    let live: Option<bool> =
        connection.prepare_cached(FENCE)?.query_row([runner.0], |row| row.get(0)).optional()?;
    if live == Some(true) {
        return Ok(());
    }
    Err(StoreError::new(StoreErrorKind::Fenced, format!("runner {runner} was declared dead")).into())
}

/// Records new executions of which nothing is claimed.
pub(crate) fn record(
    connection: &Connection,
    tenant: TenantId,
    submits: &[Arc<NewExecution>],
    (now, ahead): (i64, i64),
) -> Result<RecordedExecutions, Failure> {
    let (known, done) = Default::default();
    let mut steps = Steps { connection, tenant, runner: None, now, ahead, known, done };
    let mut refused = Vec::new();
    let mut wanted = Vec::with_capacity(submits.len());
    for submit in submits {
        match &submit.rerun {
            Some(rerun) => match rerun_refusal(connection, tenant, submit.id, rerun.of)? {
                Some(refusal) => refused.push((submit.id, refusal)),
                None => {
                    // Before the next is looked at: of two of the same execution the first wins.
                    let values = params![tenant.0, rerun.of.0, submit.id.0];
                    connection.prepare_cached(RERUN_MARK)?.execute(values)?;
                    wanted.push(Arc::clone(submit));
                }
            },
            None => wanted.push(Arc::clone(submit)),
        }
    }
    steps.submit(&wanted)?;
    let submitted = steps.done.submitted;
    let mut met = Vec::new();
    if submitted.len() < wanted.len() {
        let recorded: HashSet<&ExecutionId> = submitted.iter().collect();
        for submit in wanted.iter().filter(|submit| !recorded.contains(&submit.id)) {
            let Some(idempotency) = &submit.idempotency else { continue };
            let found = execution_find(connection, tenant, &submit.workflow.name, &idempotency.key)?;
            met.extend(found.map(|found| (submit.id, found)));
        }
    }
    Ok(RecordedExecutions { now: timestamp(now)?, submitted, met, refused })
}

/// Why an execution cannot be rerun as another one.
fn rerun_refusal(
    connection: &Connection,
    tenant: TenantId,
    new: ExecutionId,
    old: ExecutionId,
) -> Result<Option<RerunRefusal>, Failure> {
    let mut statement = connection.prepare_cached(RERUN_LOCK)?;
    let mut rows = statement.query(params![tenant.0, old.0])?;
    let Some(row) = rows.next()? else { return Ok(Some(RerunRefusal::NotFound)) };
    let status: ExecutionStatus = state(row, 0)?;
    if !status.is_terminal() {
        return Ok(Some(RerunRefusal::NotOver(status)));
    }
    let by: Option<Uuid> = row.get(1)?;
    Ok(by.map(ExecutionId).filter(|by| *by != new).map(RerunRefusal::Superseded))
}

/// Ends waits, of executions that are not over. Returns the executions that were closed.
pub(crate) fn end_waits(
    connection: &Connection,
    tenant: TenantId,
    outcomes: &[&Outcome],
    now: i64,
) -> Result<Vec<Closed>, Failure> {
    let (known, done) = Default::default();
    let mut steps = Steps { connection, tenant, runner: None, now, ahead: 0, known, done };
    let mut ended = BTreeSet::new();
    for outcome in outcomes {
        if steps.end_wait(outcome)? {
            ended.insert(outcome.execution);
        }
    }
    for execution in ended {
        if let Some(status) = execution_close(connection, tenant, execution, now)? {
            steps.done.closed.push(Closed { execution, status });
        }
    }
    Ok(steps.done.closed)
}

/// Inserts a child: its parent, the node that waits there, and its number among those of the node.
pub(crate) fn child_insert(
    connection: &Connection,
    tenant: TenantId,
    new: &NewExecution,
    (parent, node, item): (ExecutionId, TaskIndex, i64),
    now: i64,
) -> Result<(), Failure> {
    let deadline = new.deadline.map(Timestamp::as_microsecond);
    let expands = (!new.is_expanded()).then_some(now);
    let inserted = connection.prepare_cached(CHILDREN_INSERT)?.execute(params![
        tenant.0,
        new.id.0,
        &*new.workflow.name,
        new.workflow.fingerprint.0,
        new.priority,
        now,
        deadline,
        expands,
        parent.0,
        node,
        item,
        &*new.input,
        new.on_failure.as_deref(),
    ])?;
    if inserted == 0 {
        return Ok(());
    }
    let (known, done) = Default::default();
    let steps = Steps { connection, tenant, runner: None, now, ahead: 0, known, done };
    match expands {
        Some(due) => {
            steps.ready(new.id, 0, new.priority, due, (&*new.workflow.name, new.workflow.fingerprint.0))?;
        }
        None => steps.submit_tasks(new, now, &mut connection.prepare_cached(TASK_INSERT)?)?,
    }
    if let Some(deadline) = deadline {
        due_insert(connection, tenant, DueKind::Deadline, deadline, new.id, NO_CAUSE)?;
    }
    Ok(())
}

struct Steps<'a> {
    connection: &'a Connection,
    tenant: TenantId,
    runner: Option<RunnerId>,
    now: i64,
    ahead: i64,
    known: HashMap<ExecutionId, Option<Known>>,
    done: PlaceFlushed,
}

impl Steps<'_> {
    fn run(mut self, place: &PlaceFlush) -> Result<PlaceFlushed, Failure> {
        self.submit(&place.submits)?;
        let ended = self.record(&place.outcomes)?;
        for execution in ended {
            if let Some(status) = execution_close(self.connection, self.tenant, execution, self.now)? {
                self.done.closed.push(Closed { execution, status });
            }
        }
        for outcome in place.outcomes.iter().filter(|outcome| outcome.parks) {
            park(self.connection, self.tenant, outcome.execution)?;
        }
        if let Some((claim, runner)) = place.claim.as_ref().zip(self.runner) {
            self.claim(claim, runner)?;
        }
        Ok(self.done)
    }

    fn submit(&mut self, submits: &[Arc<NewExecution>]) -> Result<(), Failure> {
        if submits.is_empty() {
            return Ok(());
        }
        let mut insert = self.connection.prepare_cached(EXECUTION_INSERT)?;
        let mut insert_task = self.connection.prepare_cached(TASK_INSERT)?;
        for new in submits {
            let claims = self.runner.is_some() && !new.claimed.is_empty();
            let status = if claims { ExecutionStatus::Running } else { ExecutionStatus::Pending };
            let deadline = new.deadline.map(|deadline| self.at_the_wall(deadline));
            let due = new.start_at.map_or(self.now, |start_at| self.at_the_wall(start_at).max(self.now));
            let expands = (!new.is_expanded()).then_some(due);
            let inserted = insert.execute(params![
                self.tenant.0,
                new.id.0,
                &*new.workflow.name,
                new.workflow.fingerprint.0,
                status.as_str(),
                new.priority,
                self.now,
                claims.then_some(self.now),
                deadline,
                new.idempotency.as_ref().map(|idempotency| &idempotency.key),
                new.idempotency.as_ref().map(|idempotency| idempotency.input_hash),
                expands,
                &*new.input,
                new.rerun.as_ref().map(|rerun| rerun.of.0),
                (!new.tags.is_empty()).then(|| tags_to_json(&new.tags)),
                new.submitted_by.as_deref(),
                new.on_failure.as_deref(),
            ])?;
            if inserted == 1 {
                if let Some(audit) = new.rerun.as_ref().and_then(|rerun| rerun.audit.as_ref()) {
                    audit::note(self.connection, audit::OWN, audit, self.now)?;
                }
                self.submit_more(new)?;
                let workflow = (&*new.workflow.name, new.workflow.fingerprint.0);
                match expands {
                    Some(due) => self.ready(new.id, 0, new.priority, due, workflow)?,
                    None => self.submit_tasks(new, due, &mut insert_task)?,
                }
                if let Some(deadline) = deadline {
                    due_insert(self.connection, self.tenant, DueKind::Deadline, deadline, new.id, NO_CAUSE)?;
                }
            } else if !self.exists(new.id)? {
                continue;
            }
            self.done.submitted.push(new.id);
        }
        Ok(())
    }

    /// What few executions have.
    fn submit_more(&self, new: &NewExecution) -> Result<(), Failure> {
        for tag in &*new.tags {
            self.connection.prepare_cached(TAG_INSERT)?.execute(params![self.tenant.0, tag, new.id.0])?;
        }
        if let Some(child) = &new.child {
            self.link(new.id, child)?;
        }
        copy(self.connection, self.tenant, new)
    }

    /// Makes a new execution a child of a task.
    fn link(&self, id: ExecutionId, child: &TaskChild) -> Result<(), Failure> {
        let TaskChild { parent, task, number } = child;
        let values = params![self.tenant.0, id.0, parent.0, task, number];
        self.connection.prepare_cached(CHILD_LINK)?.execute(values)?;
        let of = params![self.tenant.0, parent.0, task];
        let started: i64 = self.connection.prepare_cached(CHILD_COUNT)?.query_row(of, |row| row.get(0))?;
        if started > MOST_CHILDREN_OF_A_TASK {
            return Err(TaskChild::too_many(*parent).into());
        }
        self.connection.prepare_cached(CHILD_NOTE)?.execute(params![self.tenant.0, parent.0])?;
        // If the parent has ended in the meantime, its children are swept.
        let known = execution_lock(self.connection, self.tenant, *parent)?;
        if known.is_none_or(|known| known.status.is_terminal()) {
            due_insert(self.connection, self.tenant, DueKind::Sweep, self.now, *parent, NO_CAUSE)?;
        }
        Ok(())
    }

    fn submit_tasks(
        &self,
        new: &NewExecution,
        due: i64,
        insert: &mut CachedStatement<'_>,
    ) -> Result<(), Failure> {
        let workflow = (&*new.workflow.name, new.workflow.fingerprint.0);
        for (position, task) in new.open_tasks() {
            let (state, runner) = match self.runner {
                _ if task.waiting_on > 0 => (TaskState::Pending, None),
                _ if task.is_wait => (TaskState::Waiting, None),
                Some(runner) if new.claimed.contains(&position) => (TaskState::Running, Some(runner)),
                _ => (TaskState::Ready, None),
            };
            insert.execute(params![
                self.tenant.0,
                new.id.0,
                position,
                &task.name,
                state.as_str(),
                task.waiting_on,
                i32::from(runner.is_some()),
                runner.map(Uuid::from),
                (state != TaskState::Pending).then_some(due),
                runner.map(|_| self.now).or((state == TaskState::Waiting).then_some(due)),
            ])?;
            match state {
                TaskState::Ready => self.ready(new.id, position, new.priority, due, workflow)?,
                TaskState::Waiting => reach(self.connection, self.tenant, new.id, position, due)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// When it is in the file what somebody says by the wall clock.
    fn at_the_wall(&self, time: Timestamp) -> i64 {
        time.as_microsecond().saturating_add(self.ahead)
    }

    fn exists(&self, execution: ExecutionId) -> Result<bool, Failure> {
        let mut statement = self.connection.prepare_cached(EXECUTION_EXISTS)?;
        Ok(statement.exists(params![self.tenant.0, execution.0])?)
    }

    /// Records what became of tasks. Returns the executions that may have nothing left.
    fn record(&mut self, outcomes: &[Arc<Outcome>]) -> Result<BTreeSet<ExecutionId>, Failure> {
        let mut ended = BTreeSet::new();
        let Some(runner) = self.runner.filter(|_| !outcomes.is_empty()) else {
            return Ok(ended);
        };
        let mut finish = self.connection.prepare_cached(TASK_FINISH)?;
        for outcome in outcomes {
            let (state, how, patch, error, reason) = match &outcome.outcome {
                TaskOutcome::Completed { patch } => {
                    (TaskState::Completed, Some(AttemptOutcome::Completed), patch.as_deref(), None, None)
                }
                TaskOutcome::Failed { how, error } => {
                    (TaskState::Failed, Some(*how), None, Some(error.as_str()), None)
                }
                TaskOutcome::Skipped { reason } => (TaskState::Skipped, None, None, None, Some(*reason)),
                TaskOutcome::Retry { how, error, after } => {
                    let after = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
                    let due = self.now.saturating_add(after);
                    self.hand_back(outcome, runner, (*how, Some(error)), due)?;
                    continue;
                }
                TaskOutcome::Released => {
                    self.hand_back(outcome, runner, (AttemptOutcome::Released, None), self.now)?;
                    continue;
                }
            };
            let recorded = finish.execute(params![
                self.tenant.0,
                outcome.execution.0,
                outcome.task,
                state.as_str(),
                how.map(AttemptOutcome::as_str),
                self.now,
                patch,
                error,
                reason.map(|reason| reason.as_str()),
                runner.0,
                outcome.attempt,
            ])?;
            if recorded == 0 {
                continue;
            }
            self.done.recorded.push(Recorded { execution: outcome.execution, task: outcome.task });
            self.handle(outcome, state)?;
            self.free(outcome, runner)?;
            ended.insert(outcome.execution);
        }
        // What has just become ready or running keeps its execution open; this saves the look at all its
        // tasks.
        for freed in &self.done.freed {
            ended.remove(&freed.execution);
        }
        Ok(ended)
    }

    fn handle(&self, outcome: &Outcome, state: TaskState) -> Result<(), Failure> {
        if state != TaskState::Completed {
            return Ok(());
        }
        for handled in &outcome.handles {
            let mut statement = self.connection.prepare_cached(TASK_HANDLE)?;
            statement.execute(params![self.tenant.0, outcome.execution.0, handled])?;
        }
        Ok(())
    }

    fn free(&mut self, outcome: &Outcome, runner: RunnerId) -> Result<(), Failure> {
        self.reach(outcome)?;
        if outcome.successors.is_empty() {
            return Ok(());
        }
        let execution = outcome.execution;
        let Some(known) = self.know(execution)? else {
            return Ok(());
        };
        let paused = known.status == ExecutionStatus::Paused;
        let mut statement = self.connection.prepare_cached(TASK_FREE)?;
        for &(task, wanted) in &outcome.successors {
            let claimant = (wanted && !paused).then_some(runner.0);
            let freed: Option<(i64, i32)> = statement
                .query_row(params![self.tenant.0, execution.0, task, self.now, claimant, false], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()?;
            let Some((0, attempt)) = freed else {
                continue;
            };
            if claimant.is_none() && !paused {
                self.ready(execution, task, known.priority, self.now, (&known.workflow, known.fingerprint))?;
            }
            self.done.freed.push(Freed { execution, task, claimed: claimant.map(|_| attempt) });
        }
        Ok(())
    }

    /// Counts the waits down that wait for a task. Those that have nothing left are reached.
    fn reach(&mut self, outcome: &Outcome) -> Result<(), Failure> {
        let execution = outcome.execution;
        for &task in &outcome.waits {
            let mut statement = self.connection.prepare_cached(TASK_FREE)?;
            let values = params![self.tenant.0, execution.0, task, self.now, None::<Uuid>, true];
            let left: Option<i64> = statement.query_row(values, |row| row.get(0)).optional()?;
            if left == Some(0) {
                reach(self.connection, self.tenant, execution, task, self.now)?;
                self.done.freed.push(Freed { execution, task, claimed: None });
            }
        }
        Ok(())
    }

    /// Ends a wait, whose execution is one that is not over.
    fn end_wait(&mut self, outcome: &Outcome) -> Result<bool, Failure> {
        let (state, how, patch, error, reason) = match &outcome.outcome {
            TaskOutcome::Completed { patch } => {
                (TaskState::Completed, Some(AttemptOutcome::Completed), patch.as_deref(), None, None)
            }
            TaskOutcome::Failed { how, error } => (TaskState::Failed, Some(*how), None, Some(error), None),
            TaskOutcome::Skipped { reason } => (TaskState::Skipped, None, None, None, Some(*reason)),
            TaskOutcome::Retry { .. } | TaskOutcome::Released => return Ok(false),
        };
        let ended = self.connection.prepare_cached(WAIT_FINISH)?.execute(params![
            self.tenant.0,
            outcome.execution.0,
            outcome.task,
            state.as_str(),
            how.map(AttemptOutcome::as_str),
            self.now,
            patch,
            error,
            reason.map(|reason| reason.as_str()),
        ])?;
        if ended > 0 {
            self.handle(outcome, state)?;
            self.free(outcome, RunnerId(Uuid::nil()))?;
        }
        Ok(ended > 0)
    }

    /// Ends an attempt of a task that goes on with another one.
    fn hand_back(
        &mut self,
        outcome: &Outcome,
        runner: RunnerId,
        (how, error): (AttemptOutcome, Option<&String>),
        due: i64,
    ) -> Result<(), Failure> {
        let execution = outcome.execution;
        let Some(known) = self.know(execution)? else {
            return Ok(());
        };
        let ended =
            Ended { execution, task: outcome.task, attempt: outcome.attempt, runner, how, error, due };
        if task_return(self.connection, self.tenant, &known, &ended, self.now)? {
            self.done.recorded.push(Recorded { execution, task: outcome.task });
        }
        Ok(())
    }

    fn know(&mut self, execution: ExecutionId) -> Result<Option<Known>, Failure> {
        match self.known.entry(execution) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(vacant) => {
                Ok(vacant.insert(execution_lock(self.connection, self.tenant, execution)?).clone())
            }
        }
    }

    fn ready(
        &self,
        execution: ExecutionId,
        task: TaskIndex,
        priority: i16,
        due: i64,
        workflow: (&str, i64),
    ) -> Result<(), Failure> {
        ready_insert(self.connection, self.tenant, execution, task, priority, due, workflow)
    }

    fn claim(&mut self, claim: &Claim, runner: RunnerId) -> Result<(), Failure> {
        let mut delete = self.connection.prepare_cached(READY_DELETE)?;
        let mut start = self.connection.prepare_cached(EXECUTION_START)?;
        let mut take = self.connection.prepare_cached(TASK_CLAIM)?;
        for picked in self.pick(claim)? {
            let (execution, task) = (picked.execution, picked.task);
            delete.execute(params![self.tenant.0, picked.priority, picked.due, execution.0, task])?;
            // Only a file that somebody else wrote to has ready rows that are not claimed here.
            let open = match self.know(execution)? {
                Some(known) => matches!(known.status, ExecutionStatus::Pending | ExecutionStatus::Running),
                None => false,
            };
            if !open {
                continue;
            }
            let claimed = take
                .query_row(params![self.tenant.0, execution.0, task, runner.0, self.now], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })
                .optional()?;
            let Some((attempt, failures, lost)) = claimed else {
                continue;
            };
            let fresh = start
                .query_row(params![self.tenant.0, execution.0, self.now], |row| {
                    Ok((row.get::<_, Option<String>>(0)?, row.get(1)?, row.get(2)?))
                })
                .optional()?
                // A time that cannot be read is for whoever reads the execution, and says why.
                .and_then(|(input, created_at, timed)| {
                    Some(Fresh { input: input?.into(), created_at: timestamp(created_at).ok()?, timed })
                });
            self.done.claimed.push(Claimed {
                execution,
                task,
                workflow: picked.workflow,
                priority: picked.priority,
                attempt,
                failures,
                lost,
                waited: Duration::from_micros(
                    self.now.saturating_sub(picked.due).try_into().unwrap_or_default(),
                ),
                fresh,
            });
        }
        Ok(())
    }

    /// Looks for what to claim. Priority by priority, because the key has the due time after the priority:
    /// what is not due yet is not looked at.
    fn pick(&self, claim: &Claim) -> Result<Vec<Picked>, Failure> {
        let wanted: HashSet<(&str, i64)> =
            claim.workflows.iter().map(|key| (&*key.name, key.fingerprint.0)).collect();
        let mut picked = Vec::new();
        let mut statement = self.connection.prepare_cached(READY_PICK)?;
        for priority in (0..=9_i16).rev() {
            if picked.len() >= claim.limit {
                break;
            }
            let mut rows = statement.query(params![self.tenant.0, priority, self.now])?;
            while picked.len() < claim.limit
                && let Some(row) = rows.next()?
            {
                let name = row.get_ref(3)?.as_str().map_err(|error| Failure::damaged(error.to_string()))?;
                let fingerprint = row.get(4)?;
                if wanted.contains(&(name, fingerprint)) {
                    picked.push(Picked {
                        priority,
                        due: row.get(0)?,
                        execution: ExecutionId(row.get(1)?),
                        task: row.get(2)?,
                        workflow: WorkflowKey { name: name.into(), fingerprint: Fingerprint(fingerprint) },
                    });
                }
            }
        }
        Ok(picked)
    }
}

struct Picked {
    priority: i16,
    due: i64,
    execution: ExecutionId,
    task: TaskIndex,
    workflow: WorkflowKey,
}

/// Writes the tasks of a rerun that are over from the beginning.
pub(crate) fn copy(connection: &Connection, tenant: TenantId, new: &NewExecution) -> Result<(), Failure> {
    for copied in new.rerun.iter().flat_map(|rerun| &rerun.copied) {
        let task = usize::try_from(copied.task).ok().and_then(|task| new.tasks.get(task));
        connection.prepare_cached(COPY_INSERT)?.execute(params![
            tenant.0,
            new.id.0,
            copied.task,
            task.map(|task| &task.name),
            copied.started_at.map(Timestamp::as_microsecond),
            copied.finished_at.as_microsecond(),
            copied.skipped.map(|reason| reason.as_str()),
            copied.patch.as_deref(),
        ])?;
    }
    Ok(())
}

/// An attempt that is over while its task is not.
pub(crate) struct Ended<'a> {
    pub(crate) execution: ExecutionId,
    pub(crate) task: TaskIndex,
    pub(crate) attempt: i32,
    pub(crate) runner: RunnerId,
    pub(crate) how: AttemptOutcome,
    pub(crate) error: Option<&'a String>,
    /// When the next one is due.
    pub(crate) due: i64,
}

/// Makes a running task ready again and keeps a record of its attempt. False if it is not running under this
/// runner and attempt.
pub(crate) fn task_return(
    connection: &Connection,
    tenant: TenantId,
    known: &Known,
    ended: &Ended<'_>,
    now: i64,
) -> Result<bool, Failure> {
    let is_lost = ended.how == AttemptOutcome::Lost && ended.error.is_none();
    let is_failure = ended.error.is_some() && ended.how != AttemptOutcome::Snoozed;
    let started: Option<Value> = connection
        .prepare_cached(TASK_RETURN)?
        .query_row(
            params![
                tenant.0,
                ended.execution.0,
                ended.task,
                ended.due,
                i32::from(is_failure),
                i32::from(is_lost),
                ended.error,
                ended.runner.0,
                ended.attempt,
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(started) = started else {
        return Ok(false);
    };
    connection.prepare_cached(ATTEMPT_INSERT)?.execute(params![
        tenant.0,
        ended.execution.0,
        ended.task,
        ended.attempt,
        ended.runner.0,
        ended.how.as_str(),
        started,
        now,
        ended.error,
    ])?;
    if known.status != ExecutionStatus::Paused {
        let workflow = (&*known.workflow, known.fingerprint);
        ready_insert(connection, tenant, ended.execution, ended.task, known.priority, ended.due, workflow)?;
    }
    Ok(true)
}

/// Ends an execution that has nothing left; not one that is paused.
pub(crate) fn execution_close(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    now: i64,
) -> Result<Option<ExecutionStatus>, Failure> {
    let (status, deadline, relations, starts): (ExecutionStatus, Option<i64>, Relations, Option<String>) = {
        let mut statement = connection.prepare_cached(EXECUTION_CLOSE)?;
        let mut rows = statement.query(params![tenant.0, execution.0, now])?;
        match rows.next()? {
            Some(row) => {
                let (schedule, parent, has_waits) = (row.get(2)?, row.get(3)?, row.get(4)?);
                (state(row, 0)?, row.get(1)?, Relations { schedule, parent, has_waits }, row.get(5)?)
            }
            None => return Ok(None),
        }
    };
    if let Some(deadline) = deadline {
        due_delete(connection, tenant, DueKind::Deadline, deadline, execution.0, NO_CAUSE)?;
    }
    relations_wake(connection, tenant, relations, execution, now)?;
    if starts.is_some() {
        failure_start(connection, tenant, execution, now)?;
    }
    Ok(Some(status))
}

/// Starts the workflow that an execution names for its failure.
fn failure_start(
    connection: &Connection,
    tenant: TenantId,
    failed: ExecutionId,
    now: i64,
) -> Result<(), Failure> {
    let new = ExecutionId::new();
    let values = params![tenant.0, failed.0, new.0, now, failed.to_string()];
    let started: Option<(String, i16)> = connection
        .prepare_cached(FAILURE_START)?
        .query_row(values, |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((workflow, priority)) = started {
        ready_insert(connection, tenant, new, 0, priority, now, (&workflow, 0))?;
    }
    Ok(())
}
