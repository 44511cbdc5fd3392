//! Single rows that several of the steps read and write.

use std::sync::Arc;

use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::{ExecutionId, TaskIndex, TenantId};
use cloacina_core::store::DueKind;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::error::Failure;
use crate::row::state;

const EXECUTION_LOCK: &str = include_str!("../sql/execution_lock.sql");
const EXECUTION_PARK: &str = include_str!("../sql/execution_park.sql");
const EXECUTION_FIND: &str = include_str!("../sql/execution_find.sql");
const READY_INSERT: &str = include_str!("../sql/ready_insert.sql");
const DUE_INSERT: &str = include_str!("../sql/due_insert.sql");
const DUE_DELETE: &str = include_str!("../sql/due_delete.sql");
pub(crate) const READY_DELETE: &str = include_str!("../sql/ready_delete.sql");
const WAIT_DUE_OF: &str = include_str!("../sql/wait_due_of.sql");
const WAIT_FORGET: &str = include_str!("../sql/wait_forget.sql");
const SIGNAL_FORGET: &str = include_str!("../sql/signal_forget.sql");
const CHILDREN_OPEN: &str = include_str!("../sql/children_open.sql");
const PAGE_FORGET: &str = include_str!("../sql/page_forget.sql");
const CHILDREN_FORGET: &str = include_str!("../sql/children_forget.sql");

/// Two due rows of one kind about one subject at one time have causes that tell them apart. A deadline has
/// none.
pub(crate) const NO_CAUSE: &str = "";

/// What the steps need to know of an execution.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) status: ExecutionStatus,
    pub(crate) priority: i16,
    pub(crate) workflow: Arc<str>,
    pub(crate) fingerprint: i64,
    pub(crate) deadline: Option<i64>,
    /// When it starts, as long as it is not expanded.
    pub(crate) expands: Option<i64>,
    /// What its end matters to.
    pub(crate) relations: Relations,
    /// The execution that took its place.
    pub(crate) superseded_by: Option<Uuid>,
}

/// What the end of an execution matters to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relations {
    /// The schedule that started it.
    pub(crate) schedule: Option<Uuid>,
    /// The execution that it is a child of.
    pub(crate) parent: Option<Uuid>,
    /// Whether it may have children.
    pub(crate) has_waits: bool,
}

/// The execution under a key, and the hash of its input.
pub(crate) fn execution_find(
    connection: &Connection,
    tenant: TenantId,
    workflow: &str,
    key: &str,
) -> Result<Option<(ExecutionId, i64)>, Failure> {
    let mut statement = connection.prepare_cached(EXECUTION_FIND)?;
    let found = statement
        .query_row(params![tenant.0, workflow, key], |row| Ok((ExecutionId(row.get(0)?), row.get(1)?)))
        .optional()?;
    Ok(found)
}

pub(crate) fn execution_lock(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
) -> Result<Option<Known>, Failure> {
    let mut statement = connection.prepare_cached(EXECUTION_LOCK)?;
    let mut rows = statement.query(params![tenant.0, execution.0])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(Known {
        status: state(row, 0)?,
        priority: row.get(1)?,
        workflow: row.get(2)?,
        fingerprint: row.get(3)?,
        deadline: row.get(4)?,
        expands: row.get(5)?,
        relations: Relations { schedule: row.get(6)?, parent: row.get(7)?, has_waits: row.get(8)? },
        superseded_by: row.get(9)?,
    }))
}

pub(crate) fn ready_insert(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    task: TaskIndex,
    priority: i16,
    due: i64,
    (workflow, fingerprint): (&str, i64),
) -> Result<(), Failure> {
    connection.prepare_cached(READY_INSERT)?.execute(params![
        tenant.0,
        priority,
        due,
        execution.0,
        task,
        workflow,
        fingerprint
    ])?;
    Ok(())
}

pub(crate) fn ready_delete(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    task: TaskIndex,
    priority: i16,
    due: i64,
) -> Result<(), Failure> {
    connection.prepare_cached(READY_DELETE)?.execute(params![tenant.0, priority, due, execution.0, task])?;
    Ok(())
}

pub(crate) fn due_insert(
    connection: &Connection,
    tenant: TenantId,
    kind: DueKind,
    due: i64,
    subject: impl Into<Uuid>,
    cause: &str,
) -> Result<(), Failure> {
    let values = params![tenant.0, kind.number(), due, subject.into(), cause];
    connection.prepare_cached(DUE_INSERT)?.execute(values)?;
    Ok(())
}

/// Whether it was there.
pub(crate) fn due_delete(
    connection: &Connection,
    tenant: TenantId,
    kind: DueKind,
    due: i64,
    subject: impl Into<Uuid>,
    cause: &str,
) -> Result<bool, Failure> {
    let values = params![tenant.0, kind.number(), due, subject.into(), cause];
    Ok(connection.prepare_cached(DUE_DELETE)?.execute(values)? > 0)
}

/// An execution has ended: the schedule that started it is looked at now, and its parent; its own children
/// are swept that are open.
pub(crate) fn relations_wake(
    connection: &Connection,
    tenant: TenantId,
    Relations { schedule, parent, has_waits }: Relations,
    execution: ExecutionId,
    now: i64,
) -> Result<(), Failure> {
    for (kind, whom) in [(DueKind::Schedule, schedule), (DueKind::Children, parent)] {
        if let Some(whom) = whom {
            due_insert(connection, tenant, kind, now, whom, &execution.to_string())?;
        }
    }
    if has_waits {
        sweep(connection, tenant, execution, None, now)?;
    }
    Ok(())
}

/// Has the children of an execution swept that are open; of one node if it is named.
pub(crate) fn sweep(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    node: Option<TaskIndex>,
    now: i64,
) -> Result<(), Failure> {
    if !children_open(connection, tenant, execution, node, 1)?.is_empty() {
        let cause = node.map_or_else(String::new, |node| node.to_string());
        due_insert(connection, tenant, DueKind::Sweep, now, execution, &cause)?;
    }
    Ok(())
}

/// Children that are open and do not outlive their parent; of one node if it is named.
pub(crate) fn children_open(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    node: Option<TaskIndex>,
    limit: i64,
) -> Result<Vec<ExecutionId>, Failure> {
    let mut statement = connection.prepare_cached(CHILDREN_OPEN)?;
    let rows = statement
        .query_map(params![tenant.0, execution.0, node, limit], |row| Ok(ExecutionId(row.get(0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// An execution that has nothing left but waits is waiting.
pub(crate) fn park(connection: &Connection, tenant: TenantId, execution: ExecutionId) -> Result<(), Failure> {
    connection.prepare_cached(EXECUTION_PARK)?.execute(params![tenant.0, execution.0])?;
    Ok(())
}

/// Leaves the due row of a wait that was reached.
pub(crate) fn reach(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    node: TaskIndex,
    due: i64,
) -> Result<(), Failure> {
    due_insert(connection, tenant, DueKind::Wait, due, execution, &node.to_string())
}

/// The nodes of an execution that wait, when they are due, and their names.
pub(crate) fn waiting(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
) -> Result<Vec<(TaskIndex, i64, String)>, Failure> {
    let mut statement = connection.prepare_cached(WAIT_DUE_OF)?;
    let rows = statement
        .query_map(params![tenant.0, execution.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Takes away what an execution waits for that is being cancelled.
pub(crate) fn waits_cancel(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
) -> Result<(), Failure> {
    let waits = waiting(connection, tenant, execution)?;
    for (node, due, _) in &waits {
        due_delete(connection, tenant, DueKind::Wait, *due, execution, &node.to_string())?;
    }
    if !waits.is_empty() {
        connection.prepare_cached(WAIT_FORGET)?.execute(params![tenant.0, execution.0])?;
    }
    Ok(())
}

/// Deletes the signals of an execution that is deleted, and what it waited for, counted and emitted.
pub(crate) fn waits_forget(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
) -> Result<(), Failure> {
    for sql in [WAIT_FORGET, SIGNAL_FORGET, CHILDREN_FORGET, PAGE_FORGET] {
        connection.prepare_cached(sql)?.execute(params![tenant.0, execution.0])?;
    }
    Ok(())
}
