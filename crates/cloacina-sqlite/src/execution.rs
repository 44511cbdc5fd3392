//! Executions as they are read, controlled and pruned.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cloacina_core::execution::{AttemptRecord, ExecutionStatus};
use cloacina_core::id::{ExecutionId, RunnerId, TaskIndex, TenantId};
use cloacina_core::store::{
    AttemptList, BULK, Claimed, Control, Controlled, DueKind, ExecutionHeader, ExecutionList,
    ExecutionRecord, KeptTask, MANY, MOST_BYTES_AT_ONCE, MOST_EXECUTION_BYTES, NewAudit, ORPHANED,
    PlaceFigures, Pulse, StoreError, StoreErrorKind, TaskRecord, WorkflowKey,
};
use cloacina_core::workflow::Fingerprint;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use crate::audit;
use crate::error::Failure;
use crate::flush::execution_close;
use crate::row::{optional_timestamp, state, tags_of_json, timestamp, workflows_to_json};
use crate::rows::{
    Known, NO_CAUSE, due_delete, execution_lock, park, ready_delete, ready_insert, relations_wake,
    waits_cancel, waits_forget,
};
use crate::{doorbell, wait};

const EXECUTION_CANCEL: &str = include_str!("../sql/execution_cancel.sql");
const CHILDREN_ANY: &str = include_str!("../sql/children_any.sql");
const EXECUTION_PAUSE: &str = include_str!("../sql/execution_pause.sql");
const EXECUTION_RESUME: &str = include_str!("../sql/execution_resume.sql");
const EXECUTION_OVERDUE: &str = include_str!("../sql/execution_overdue.sql");

const PLACE_FIGURES: &str = include_str!("../sql/place_figures.sql");
const EXECUTION_COUNT: &str = include_str!("../sql/execution_count.sql");
const EXECUTION_WAITING: &str = include_str!("../sql/execution_waiting.sql");
const EXECUTION_ORPHANED: &str = include_str!("../sql/execution_orphaned.sql");
const EXECUTION_HAS_ORPHANS: &str = include_str!("../sql/execution_has_orphans.sql");
const EXECUTION_STUCK: &str = include_str!("../sql/execution_stuck.sql");
const RUNNER_UNKNOWN: &str = include_str!("../sql/runner_unknown.sql");
const EXECUTION_HEADERS: &str = include_str!("../sql/execution_headers.sql");
const EXECUTION_PULSE: &str = include_str!("../sql/execution_pulse.sql");
const EXECUTION_BYTES: &str = include_str!("../sql/execution_bytes.sql");
const EXECUTION_LOAD: &str = include_str!("../sql/execution_load.sql");
const EXECUTION_EXISTS: &str = include_str!("../sql/execution_exists.sql");
const EXECUTION_LIST: &str = include_str!("../sql/execution_list.sql");
const EXECUTION_LIST_PART: &str = include_str!("../sql/execution_list_part.sql");
const EXECUTION_LIST_TAGGED: &str = include_str!("../sql/execution_list_tagged.sql");
const TAG_FORGET: &str = include_str!("../sql/tag_forget.sql");
const EXECUTION_LIST_WORKFLOW: &str = include_str!("../sql/execution_list_workflow.sql");
const TASK_CANCEL: &str = include_str!("../sql/task_cancel.sql");
const TASK_READY: &str = include_str!("../sql/task_ready.sql");
const TASK_KEEP: &str = include_str!("../sql/task_keep.sql");
const TASK_LOAD: &str = include_str!("../sql/task_load.sql");
const TASK_HELD: &str = include_str!("../sql/task_held.sql");
const ATTEMPT_LIST: &str = include_str!("../sql/attempt_list.sql");
const PRUNE_PICK: &str = include_str!("../sql/prune_pick.sql");
const PRUNE_ATTEMPTS: &str = include_str!("../sql/prune_attempts.sql");
const PRUNE_TASKS: &str = include_str!("../sql/prune_tasks.sql");
const CHILDREN_ASK: &str = include_str!("../sql/children_ask.sql");
const PRUNE_CHILD: &str = include_str!("../sql/prune_child.sql");
const PRUNE_OLDEST: &str = include_str!("../sql/prune_oldest.sql");
const PRUNE_EXECUTION: &str = include_str!("../sql/prune_execution.sql");

pub(crate) fn keep(connection: &Connection, tenant: TenantId, kept: &KeptTask) -> Result<bool, Failure> {
    let mut statement = connection.prepare_cached(TASK_KEEP)?;
    let KeptTask { execution, task, runner, attempt, patch } = kept;
    Ok(statement.execute(params![tenant.0, execution.0, task, runner.0, attempt, &**patch])? > 0)
}

pub(crate) fn control(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    control: &Control,
    audit: Option<&NewAudit>,
    now: i64,
) -> Result<Controlled, Failure> {
    let Some(known) = execution_lock(connection, tenant, execution)? else {
        return Ok(Controlled::NotFound);
    };
    let status = match control {
        Control::Cancel { reason } => cancel(connection, tenant, execution, &known, reason, now)?,
        Control::Pause => pause(connection, tenant, execution, &known, None)?,
        Control::Orphan => {
            let paused = pause(connection, tenant, execution, &known, Some(ORPHANED))?;
            // One that somebody paused has waits as well that nobody has the code of.
            let is_paused = paused.is_some() || known.status == ExecutionStatus::Paused;
            let moved = is_paused && wait::away(connection, tenant, execution)?;
            paused.or(moved.then_some(ExecutionStatus::Paused))
        }
        Control::Resume => resume(connection, tenant, execution, &known, now)?,
    };
    let Some(status) = status else {
        return Ok(Controlled::Refused(known.status));
    };
    doorbell::notice(connection, tenant, execution, now)?;
    if let Some(audit) = audit {
        audit::note(connection, audit::OWN, &audit.between(known.status, status), now)?;
    }
    Ok(Controlled::Done(status))
}

pub(crate) fn cancel(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    known: &Known,
    reason: &str,
    now: i64,
) -> Result<Option<ExecutionStatus>, Failure> {
    let changed =
        connection.prepare_cached(EXECUTION_CANCEL)?.execute(params![tenant.0, execution.0, now, reason])?;
    if changed == 0 {
        return Ok(None);
    }
    for (task, due) in ready_of(connection, tenant, execution, known)? {
        ready_delete(connection, tenant, execution, task, known.priority, due)?;
    }
    if let Some(deadline) = known.deadline {
        due_delete(connection, tenant, DueKind::Deadline, deadline, execution.0, NO_CAUSE)?;
    }
    relations_wake(connection, tenant, known.relations, execution, now)?;
    waits_cancel(connection, tenant, execution)?;
    connection.prepare_cached(TASK_CANCEL)?.execute(params![tenant.0, execution.0, now])?;
    Ok(Some(ExecutionStatus::Cancelled))
}

fn pause(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    known: &Known,
    reason: Option<&str>,
) -> Result<Option<ExecutionStatus>, Failure> {
    if connection.prepare_cached(EXECUTION_PAUSE)?.execute(params![tenant.0, execution.0, reason])? == 0 {
        return Ok(None);
    }
    for (task, due) in ready_of(connection, tenant, execution, known)? {
        ready_delete(connection, tenant, execution, task, known.priority, due)?;
    }
    Ok(Some(ExecutionStatus::Paused))
}

fn resume(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    known: &Known,
    now: i64,
) -> Result<Option<ExecutionStatus>, Failure> {
    let status = {
        let mut statement = connection.prepare_cached(EXECUTION_RESUME)?;
        let mut rows = statement.query(params![tenant.0, execution.0])?;
        match rows.next()? {
            Some(row) => state(row, 0)?,
            None => return Ok(None),
        }
    };
    for (task, due) in ready_of(connection, tenant, execution, known)? {
        let workflow = (&*known.workflow, known.fingerprint);
        ready_insert(connection, tenant, execution, task, known.priority, due, workflow)?;
    }
    if let Some(closed) = execution_close(connection, tenant, execution, now)? {
        return Ok(Some(closed));
    }
    park(connection, tenant, execution)?;
    wait::back(connection, tenant, execution, now)?;
    if known.relations.has_waits
        && connection.prepare_cached(CHILDREN_ANY)?.exists(params![tenant.0, execution.0])?
    {
        // What was not started while it was paused.
        let values = params![tenant.0, execution.0, now];
        connection.prepare_cached(CHILDREN_ASK)?.execute(values)?;
    }
    Ok(Some(execution_lock(connection, tenant, execution)?.map_or(status, |known| known.status)))
}

/// The ready tasks of an execution and when they are due; of one that is not expanded, what stands for them.
fn ready_of(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    known: &Known,
) -> Result<Vec<(TaskIndex, i64)>, Failure> {
    if let Some(due) = known.expands {
        return Ok(vec![(0, due)]);
    }
    let mut statement = connection.prepare_cached(TASK_READY)?;
    let rows = statement.query_map(params![tenant.0, execution.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn overdue(
    connection: &Connection,
    tenant: TenantId,
    known: &[WorkflowKey],
    before: i64,
) -> Result<Vec<(ExecutionId, WorkflowKey)>, Failure> {
    let mut statement = connection.prepare_cached(EXECUTION_OVERDUE)?;
    let known = workflows_to_json(known)?;
    let rows = statement.query_map(params![tenant.0, before, known, many()], keyed)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn orphaned(
    connection: &Connection,
    tenant: TenantId,
    known: &[WorkflowKey],
) -> Result<Vec<(ExecutionId, WorkflowKey)>, Failure> {
    let mut statement = connection.prepare_cached(EXECUTION_ORPHANED)?;
    let known = workflows_to_json(known)?;
    let rows = statement.query_map(params![tenant.0, ORPHANED, known, many()], keyed)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether any execution waits for its code.
pub(crate) fn has_orphans(connection: &Connection, tenant: TenantId) -> Result<bool, Failure> {
    Ok(connection.prepare_cached(EXECUTION_HAS_ORPHANS)?.exists(params![tenant.0, ORPHANED])?)
}

/// Runners that tasks run under although they have no row, and running executions in which nothing is left to
/// be done.
pub(crate) fn broken(
    connection: &Connection,
    tenant: TenantId,
) -> Result<(Vec<RunnerId>, Vec<ExecutionId>), Failure> {
    let mut unknown = connection.prepare_cached(RUNNER_UNKNOWN)?;
    let unknown = unknown.query_map([tenant.0], |row| Ok(RunnerId(row.get(0)?)))?;
    let mut stuck = connection.prepare_cached(EXECUTION_STUCK)?;
    let stuck = stuck.query_map(params![tenant.0, many()], |row| Ok(ExecutionId(row.get(0)?)))?;
    Ok((unknown.collect::<Result<_, _>>()?, stuck.collect::<Result<_, _>>()?))
}

fn many() -> i64 {
    i64::try_from(MANY).unwrap_or(i64::MAX)
}

pub(crate) fn figures(connection: &Connection, tenant: TenantId, now: i64) -> Result<PlaceFigures, Failure> {
    Ok(connection.prepare_cached(PLACE_FIGURES)?.query_row(
        rusqlite::params![tenant.0, now, BULK, PlaceFigures::MOST_COUNTED.cast_signed()],
        |row| {
            let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
            let kept = number(0)?;
            let oldest: Option<i64> = row.get(5)?;
            Ok(PlaceFigures {
                executions: if kept < PlaceFigures::MOST_COUNTED {
                    kept.saturating_sub(number(1)?)
                } else {
                    kept
                },
                open: number(2)?,
                waiting: number(3)?,
                queued: number(4)?,
                oldest_queued: oldest.map(|due| {
                    std::time::Duration::from_micros(now.saturating_sub(due).max(0).unsigned_abs())
                }),
                due_waits: number(6)?,
                due_deadlines: number(7)?,
            })
        },
    )?)
}

pub(crate) fn count(connection: &Connection, tenant: TenantId, at_most: usize) -> Result<usize, Failure> {
    counted(connection, EXECUTION_COUNT, tenant, at_most)
}

pub(crate) fn waiting(connection: &Connection, tenant: TenantId, at_most: usize) -> Result<usize, Failure> {
    counted(connection, EXECUTION_WAITING, tenant, at_most)
}

fn counted(
    connection: &Connection,
    statement: &str,
    tenant: TenantId,
    at_most: usize,
) -> Result<usize, Failure> {
    let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
    let count: i64 =
        connection.prepare_cached(statement)?.query_row(params![tenant.0, at_most], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// An execution and what it runs.
fn keyed(row: &Row<'_>) -> rusqlite::Result<(ExecutionId, WorkflowKey)> {
    let name: String = row.get(1)?;
    Ok((ExecutionId(row.get(0)?), WorkflowKey { name: name.into(), fingerprint: Fingerprint(row.get(2)?) }))
}

pub(crate) fn headers(
    connection: &Connection,
    tenant: TenantId,
    executions: &[ExecutionId],
) -> Result<Vec<ExecutionHeader>, Failure> {
    let mut found = Vec::with_capacity(executions.len());
    let mut statement = connection.prepare_cached(EXECUTION_HEADERS)?;
    for execution in executions {
        let mut rows = statement.query(params![tenant.0, execution.0])?;
        if let Some(row) = rows.next()? {
            found.push(header(row)?);
        }
    }
    Ok(found)
}

pub(crate) fn pulse(
    connection: &Connection,
    tenant: TenantId,
    executions: &[ExecutionId],
) -> Result<Vec<(ExecutionId, Pulse)>, Failure> {
    let mut found = Vec::with_capacity(executions.len());
    let mut statement = connection.prepare_cached(EXECUTION_PULSE)?;
    for &execution in executions {
        let mut rows = statement.query(params![tenant.0, execution.0])?;
        if let Some(row) = rows.next()? {
            let (state, finished_at): (String, _) = (row.get(0)?, optional_timestamp(row.get(1)?)?);
            let pulse = Pulse::of(&state, finished_at, row.get(2)?, row.get(3)?, row.get(4)?);
            found.push((execution, pulse));
        }
    }
    Ok(found)
}

pub(crate) fn load(
    connection: &Connection,
    tenant: TenantId,
    executions: &[ExecutionId],
) -> Result<Vec<ExecutionRecord>, Failure> {
    let mut found = Vec::with_capacity(executions.len());
    let mut statement = connection.prepare_cached(EXECUTION_LOAD)?;
    let mut bytes = 0;
    for &execution in executions {
        bytes += bytes_of(connection, tenant, execution)?;
        if bytes > MOST_BYTES_AT_ONCE && executions.len() > 1 {
            let message = format!(
                "{} executions have more than {} MiB together; ask for fewer of them",
                executions.len(),
                MOST_BYTES_AT_ONCE >> 20
            );
            return Err(StoreError::new(StoreErrorKind::Data, message).into());
        }
        let mut rows = statement.query(params![tenant.0, execution.0])?;
        if let Some(row) = rows.next()? {
            found.push(
                record(connection, tenant, execution, row).map_err(|failure| failure.of_rows(execution))?,
            );
        }
    }
    Ok(found)
}

/// How many bytes of context an execution has; an error if they are more than is read.
fn bytes_of(connection: &Connection, tenant: TenantId, execution: ExecutionId) -> Result<usize, Failure> {
    let bytes: Option<i64> = connection
        .prepare_cached(EXECUTION_BYTES)?
        .query_row(params![tenant.0, execution.0], |row| row.get(0))
        .optional()?;
    let bytes = usize::try_from(bytes.unwrap_or_default()).unwrap_or(usize::MAX);
    if bytes > MOST_EXECUTION_BYTES {
        let message = format!(
            "the context of execution {execution} has more than {} MiB, which is not read",
            MOST_EXECUTION_BYTES >> 20
        );
        return Err(StoreError::new(StoreErrorKind::Data, message).into());
    }
    Ok(bytes)
}

fn record(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    row: &Row<'_>,
) -> Result<ExecutionRecord, Failure> {
    Ok(ExecutionRecord {
        header: header(row)?,
        input: row.get::<_, String>(15)?.into(),
        tasks: tasks(connection, tenant, execution)?,
    })
}

fn tasks(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
) -> Result<Vec<TaskRecord>, Failure> {
    let mut statement = connection.prepare_cached(TASK_LOAD)?;
    let mut rows = statement.query(params![tenant.0, execution.0])?;
    let mut tasks = Vec::new();
    while let Some(row) = rows.next()? {
        if usize::try_from(row.get::<_, i64>(12)?).ok() != Some(tasks.len()) {
            return Err(Failure::damaged("tasks that are not numbered from 0"));
        }
        let skipped = row.get_ref(10)? != rusqlite::types::ValueRef::Null;
        tasks.push(TaskRecord {
            name: row.get(0)?,
            state: state(row, 1)?,
            attempt: row.get(2)?,
            failures: row.get(3)?,
            lost: row.get(4)?,
            runner: row.get::<_, Option<Uuid>>(5)?.map(RunnerId),
            started_at: optional_timestamp(row.get(6)?)?,
            finished_at: optional_timestamp(row.get(7)?)?,
            patch: row.get::<_, Option<String>>(8)?.map(Into::into),
            error: row.get(9)?,
            skip_reason: if skipped { Some(state(row, 10)?) } else { None },
            handled: row.get(11)?,
        });
    }
    Ok(tasks)
}

fn header(row: &Row<'_>) -> Result<ExecutionHeader, Failure> {
    Ok(ExecutionHeader {
        id: ExecutionId(row.get(0)?),
        workflow: WorkflowKey { name: row.get(1)?, fingerprint: Fingerprint(row.get(2)?) },
        status: state(row, 3)?,
        priority: row.get(4)?,
        created_at: timestamp(row.get(5)?)?,
        started_at: optional_timestamp(row.get(6)?)?,
        finished_at: optional_timestamp(row.get(7)?)?,
        deadline: optional_timestamp(row.get(8)?)?,
        error: row.get(9)?,
        rerun_of: row.get::<_, Option<Uuid>>(10)?.map(ExecutionId),
        superseded_by: row.get::<_, Option<Uuid>>(11)?.map(ExecutionId),
        has_waits: row.get(12)?,
        tags: row.get::<_, Option<String>>(13)?.map(|tags| tags_of_json(&tags)).unwrap_or_default(),
        submitted_by: row.get(14)?,
    })
}

pub(crate) fn list(
    connection: &Connection,
    tenant: TenantId,
    list: &ExecutionList,
) -> Result<Vec<ExecutionHeader>, Failure> {
    let before = list.before.map_or(Uuid::max(), Uuid::from);
    let mut found = Vec::new();
    if let Some(tag) = &list.filter.tag {
        let page = tagged(connection, tenant, tag, list, before)?;
        return headers(connection, tenant, &page).map(cut);
    }
    let Some((statuses, workflow)) = list.filter.parts() else {
        let limit = i64::try_from(list.limit).unwrap_or(i64::MAX);
        let mut statement = connection.prepare_cached(EXECUTION_LIST)?;
        let mut rows = statement.query(params![tenant.0, before, limit, list.filter.left_out()])?;
        while let Some(row) = rows.next()? {
            found.push(header(row)?);
        }
        return Ok(cut(found));
    };
    let mut page = Vec::new();
    for status in statuses.iter().collect::<HashSet<_>>() {
        let mut next = match workflow {
            Some(workflow) => Some(workflow.to_owned()),
            None => workflow_after(connection, tenant, *status, "")?,
        };
        while let Some(of) = next {
            if list.filter.left_out() != Some(&of) {
                part(connection, tenant, (*status, &of), before, list, &mut page)?;
            }
            next = if workflow.is_some() { None } else { workflow_after(connection, tenant, *status, &of)? };
        }
    }
    headers(connection, tenant, &page).map(cut)
}

/// A page of those with a tag.
fn tagged(
    connection: &Connection,
    tenant: TenantId,
    tag: &str,
    list: &ExecutionList,
    before: Uuid,
) -> Result<Vec<ExecutionId>, Failure> {
    let (statuses, workflow) = list.filter.parts().unwrap_or((ExecutionStatus::ALL, None));
    let states: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
    let states = serde_json::Value::from(states).to_string();
    let most = i64::try_from(list.limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(EXECUTION_LIST_TAGGED)?;
    let left_out = list.filter.left_out();
    let values = params![tenant.0, tag, before, states, workflow, list.filter.superseded, most, left_out];
    let rows = statement.query_map(values, |row| Ok(ExecutionId(row.get(0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The next workflow of which there are executions in a state.
fn workflow_after(
    connection: &Connection,
    tenant: TenantId,
    status: ExecutionStatus,
    workflow: &str,
) -> Result<Option<String>, Failure> {
    let mut statement = connection.prepare_cached(EXECUTION_LIST_WORKFLOW)?;
    Ok(statement.query_row(params![tenant.0, status.as_str(), workflow], |row| row.get(0)).optional()?)
}

/// Puts those of one state and workflow into a page, which is newest first and no longer than its limit.
fn part(
    connection: &Connection,
    tenant: TenantId,
    (status, workflow): (ExecutionStatus, &str),
    before: Uuid,
    list: &ExecutionList,
    page: &mut Vec<ExecutionId>,
) -> Result<(), Failure> {
    let most = i64::try_from(list.limit).unwrap_or(i64::MAX);
    let superseded = list.filter.superseded;
    let mut statement = connection.prepare_cached(EXECUTION_LIST_PART)?;
    let mut rows = statement.query(params![tenant.0, status.as_str(), workflow, before, most, superseded])?;
    while let Some(row) = rows.next()? {
        page.push(ExecutionId(row.get(0)?));
    }
    page.sort_unstable_by(|one, other| other.cmp(one));
    page.truncate(list.limit);
    Ok(())
}

/// Once their errors have 64 MiB together, those that follow are cut short.
fn cut(mut headers: Vec<ExecutionHeader>) -> Vec<ExecutionHeader> {
    let mut bytes = 0;
    for error in headers.iter_mut().filter_map(|header| header.error.as_mut()) {
        bytes += error.len();
        if bytes > MOST_BYTES_AT_ONCE {
            error.truncate((0..=100).rev().find(|at| error.is_char_boundary(*at)).unwrap_or(0));
        }
    }
    headers
}

pub(crate) fn attempts(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
) -> Result<Option<AttemptList>, Failure> {
    let key = params![tenant.0, execution.0];
    if !connection.prepare_cached(EXECUTION_EXISTS)?.exists(key)? {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached(ATTEMPT_LIST)?;
    let mut rows = statement.query(key)?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        let record = AttemptRecord::new(
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            state(row, 3)?,
            timestamp(row.get(5)?)?,
        );
        attempts.push(record.ended(optional_timestamp(row.get(6)?)?, row.get(4)?));
    }
    Ok(Some(attempts))
}

/// A task that runs, and the state of its execution.
pub(crate) struct Held {
    pub(crate) claimed: Claimed,
    pub(crate) status: ExecutionStatus,
}

pub(crate) fn held(
    connection: &Connection,
    tenant: TenantId,
    runner: RunnerId,
) -> Result<Vec<Held>, Failure> {
    let mut statement = connection.prepare_cached(TASK_HELD)?;
    let mut rows = statement.query(params![tenant.0, runner.0])?;
    let mut held = Vec::new();
    while let Some(row) = rows.next()? {
        let claimed = Claimed {
            execution: ExecutionId(row.get(0)?),
            task: row.get(1)?,
            workflow: WorkflowKey { name: row.get::<_, Arc<str>>(2)?, fingerprint: Fingerprint(row.get(3)?) },
            priority: row.get(4)?,
            attempt: row.get(5)?,
            failures: row.get(6)?,
            lost: row.get(7)?,
            waited: Duration::ZERO,
            fresh: None,
        };
        held.push(Held { claimed, status: state(row, 8)? });
    }
    Ok(held)
}

/// When the execution ended that has been kept longest, of those that ended like this.
pub(crate) fn oldest(
    connection: &Connection,
    tenant: TenantId,
    end: ExecutionStatus,
) -> Result<Option<i64>, Failure> {
    let mut statement = connection.prepare_cached(PRUNE_OLDEST)?;
    Ok(statement.query_row(params![tenant.0, end.as_str()], |row| row.get(0)).optional()?)
}

/// Executions that ended like this before `before`, those that ended first first.
pub(crate) fn over(
    connection: &Connection,
    tenant: TenantId,
    end: ExecutionStatus,
    before: i64,
    limit: usize,
) -> Result<Vec<Uuid>, Failure> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(PRUNE_PICK)?;
    let rows = statement.query_map(params![tenant.0, before, limit, end.as_str()], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many children go with a few executions in a transaction.
const CHILDREN_AT_ONCE: usize = 256;

/// Deletes those of the executions that ended before `before`, after their children, as far as these are
/// over. Returns how many.
pub(crate) fn prune(
    connection: &Connection,
    tenant: TenantId,
    before: i64,
    executions: &[Uuid],
) -> Result<usize, Failure> {
    let (mut pruned, mut children) = (0, 0);
    for execution in executions {
        let is_alone = loop {
            let mut statement = connection.prepare_cached(PRUNE_CHILD)?;
            let leaf: Option<Option<Uuid>> =
                statement.query_row(params![tenant.0, execution], |row| row.get(0)).optional()?;
            match leaf {
                None => break true,
                Some(Some(leaf)) if children < CHILDREN_AT_ONCE => {
                    // The last that comes of them all has ended: whenever they did, they go with it.
                    children += usize::from(prune_one(connection, tenant, i64::MAX, leaf)?);
                }
                Some(_) => break false,
            }
        };
        if is_alone {
            pruned += usize::from(prune_one(connection, tenant, before, *execution)?);
        }
    }
    Ok(pruned + children)
}

fn prune_one(
    connection: &Connection,
    tenant: TenantId,
    before: i64,
    execution: Uuid,
) -> Result<bool, Failure> {
    let mut statement = connection.prepare_cached(PRUNE_EXECUTION)?;
    let found: Option<(bool, Option<String>)> = statement
        .query_row(params![tenant.0, execution, before], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((has_waits, tags)) = found else { return Ok(false) };
    for tag in tags.map(|tags| tags_of_json(&tags)).iter().flatten() {
        connection.prepare_cached(TAG_FORGET)?.execute(params![tenant.0, tag, execution])?;
    }
    if has_waits {
        waits_forget(connection, tenant, ExecutionId(execution))?;
    }
    for sql in [PRUNE_ATTEMPTS, PRUNE_TASKS] {
        connection.prepare_cached(sql)?.execute(params![tenant.0, execution])?;
    }
    Ok(true)
}
