//! Children of executions. The write lock of the file stands for the locks of the twin.

use std::collections::BTreeMap;

use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::{ExecutionId, RunnerId, TaskIndex, TenantId};
use cloacina_core::store::{
    ChildList, ChildRecord, ChildrenNode, ChildrenProgress, DueChildren, DueKind, DueParent, EndedChild,
    NodeStep, Outcome, ParentStep, SettledWaits, Stream, StreamPage, WaitCursor, WorkflowKey,
};
use cloacina_core::workflow::Fingerprint;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use crate::error::Failure;
use crate::flush::{child_insert, end_waits};
use crate::row::{optional_timestamp, state, timestamp};
use crate::rows::{NO_CAUSE, due_delete, due_insert, execution_lock, park};
use crate::wait;

const CHILDREN_DUE: &str = include_str!("../sql/children_due.sql");
const CHILDREN_NODES: &str = include_str!("../sql/children_nodes.sql");
const CHILDREN_PROGRESS: &str = include_str!("../sql/children_progress.sql");
const CHILDREN_ENDED: &str = include_str!("../sql/children_ended.sql");
const CHILDREN_COUNT: &str = include_str!("../sql/children_count.sql");
const PAGE_WRITE: &str = include_str!("../sql/page_write.sql");
const PAGE_LEFT: &str = include_str!("../sql/page_left.sql");
const PAGE_READ: &str = include_str!("../sql/page_read.sql");
const CHILD_NOTE: &str = include_str!("../sql/child_note.sql");
const CHILDREN_PARALLEL: &str = include_str!("../sql/children_parallel.sql");
const CHILDREN_LIST: &str = include_str!("../sql/children_list.sql");
const DUE_PICK: &str = include_str!("../sql/due_pick.sql");

/// Whether children are to be looked at.
pub(crate) fn peek(connection: &Connection, tenant: TenantId, now: i64) -> Result<bool, Failure> {
    let mut statement = connection.prepare_cached(DUE_PICK)?;
    Ok(statement.exists(params![tenant.0, DueKind::Children.number(), now, 1])?)
}

pub(crate) fn due(
    connection: &Connection,
    tenant: TenantId,
    workflows: &[WorkflowKey],
    after: Option<&WaitCursor>,
    limit: usize,
    now: i64,
) -> Result<DueChildren, Failure> {
    let (due_at, subject, cause) = match after {
        Some(after) => (after.due_at.as_microsecond(), Uuid::from(after.execution), &*after.cause),
        None => (-1, Uuid::nil(), ""),
    };
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(CHILDREN_DUE)?;
    let mut rows = statement.query(params![tenant.0, now, due_at, subject, cause, most])?;
    let mut due = DueChildren { parents: Vec::new(), void: Vec::new(), next: None };
    let mut parents: BTreeMap<ExecutionId, DueParent> = BTreeMap::new();
    let mut looked = 0;
    while let Some(row) = rows.next()? {
        looked += 1;
        let execution = ExecutionId(row.get(1)?);
        let cursor = WaitCursor { due_at: timestamp(row.get(0)?)?, execution, cause: row.get(2)? };
        due.next = Some(cursor.clone());
        let Some(name) = row.get::<_, Option<String>>(3)? else {
            due.void.push(cursor);
            continue;
        };
        let workflow = WorkflowKey { name: name.into(), fingerprint: Fingerprint(row.get(4)?) };
        // Of a version that nobody here has, it is for somebody else.
        if !workflows.contains(&workflow) {
            continue;
        }
        let ended = ended(connection, tenant, execution, &cursor.cause)?;
        if let Some(parent) = parents.get_mut(&execution) {
            parent.ended.extend(ended);
            parent.rows.push(cursor);
            continue;
        }
        let parent = DueParent {
            execution,
            workflow,
            priority: row.get(5)?,
            deadline: optional_timestamp(row.get(6)?)?,
            is_paused: state::<ExecutionStatus>(row, 7)? == ExecutionStatus::Paused,
            rows: vec![cursor],
            nodes: nodes(connection, tenant, execution)?,
            ended: ended.into_iter().collect(),
        };
        parents.insert(execution, parent);
    }
    if looked < limit {
        due.next = None;
    }
    due.parents = parents.into_values().collect();
    Ok(due)
}

fn nodes(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
) -> Result<Vec<ChildrenNode>, Failure> {
    let mut statement = connection.prepare_cached(CHILDREN_NODES)?;
    let nodes = statement.query_map(params![tenant.0, execution.0], node)?;
    Ok(nodes.collect::<Result<_, _>>()?)
}

fn node(row: &Row<'_>) -> rusqlite::Result<ChildrenNode> {
    Ok(ChildrenNode {
        node: row.get(0)?,
        total: row.get(1)?,
        parallel: row.get(2)?,
        tolerated: row.get(3)?,
        started: row.get(4)?,
        completed: row.get(5)?,
        failed: row.get(6)?,
    })
}

/// The child that is the cause of a due row, if it is over.
fn ended(
    connection: &Connection,
    tenant: TenantId,
    parent: ExecutionId,
    cause: &str,
) -> Result<Option<EndedChild>, Failure> {
    let Ok(child) = Uuid::try_parse(cause) else { return Ok(None) };
    let mut statement = connection.prepare_cached(CHILDREN_ENDED)?;
    let mut rows = statement.query(params![tenant.0, child, parent.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (node, item, status) = (row.get(0)?, row.get(1)?, state(row, 2)?);
    Ok(Some(EndedChild { execution: ExecutionId(child), node, item, status, error: row.get(3)? }))
}

pub(crate) fn settle(
    connection: &Connection,
    tenant: TenantId,
    steps: &[ParentStep],
    void: &[WaitCursor],
    now: i64,
) -> Result<SettledWaits, Failure> {
    let mut settled = SettledWaits::default();
    let mut ended: Vec<&Outcome> = Vec::new();
    for step in steps {
        let known = execution_lock(connection, tenant, step.execution)?;
        let Some(known) = known.filter(|known| !known.status.is_terminal()) else { continue };
        let is_paused = known.status == ExecutionStatus::Paused;
        let current = nodes(connection, tenant, step.execution)?;
        let is_right = |of: &NodeStep| current.contains(&of.was);
        if !step.nodes.iter().all(is_right) || (is_paused && step.starts()) {
            continue;
        }
        if !take(connection, tenant, &step.rows)? {
            continue;
        }
        for of in &step.nodes {
            count(connection, tenant, step.execution, of)?;
            for child in &of.starts {
                let parent = (step.execution, of.now.node, child.item);
                child_insert(connection, tenant, &child.execution, parent, now)?;
            }
            if let Some(outcome) = &of.end {
                wait::leave(connection, tenant, step.execution, of.now.node, now)?;
                ended.push(outcome);
            }
        }
        if step.goes_on {
            due_insert(connection, tenant, DueKind::Children, now, step.execution, NO_CAUSE)?;
        }
        settled.done += 1;
    }
    settled.closed = end_waits(connection, tenant, &ended, now)?;
    for outcome in ended {
        park(connection, tenant, outcome.execution)?;
    }
    for row in void {
        let known = execution_lock(connection, tenant, row.execution)?;
        if known.is_none_or(|known| known.status.is_terminal()) {
            delete(connection, tenant, row)?;
            settled.voided += 1;
        }
    }
    Ok(settled)
}

/// Takes due rows away if all of them are there. What one that is not said was counted already.
fn take(connection: &Connection, tenant: TenantId, rows: &[WaitCursor]) -> Result<bool, Failure> {
    for (taken, row) in rows.iter().enumerate() {
        if !delete(connection, tenant, row)? {
            for row in &rows[..taken] {
                let due = row.due_at.as_microsecond();
                due_insert(connection, tenant, DueKind::Children, due, row.execution, &row.cause)?;
            }
            return Ok(false);
        }
    }
    Ok(true)
}

fn delete(connection: &Connection, tenant: TenantId, row: &WaitCursor) -> Result<bool, Failure> {
    let due = row.due_at.as_microsecond();
    due_delete(connection, tenant, DueKind::Children, due, row.execution, &row.cause)
}

fn count(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    NodeStep { was, now, .. }: &NodeStep,
) -> Result<(), Failure> {
    connection.prepare_cached(CHILDREN_COUNT)?.execute(params![
        tenant.0,
        execution.0,
        was.node,
        was.total,
        was.parallel,
        was.tolerated,
        was.started,
        was.completed,
        was.failed,
        now.started,
        now.completed,
        now.failed,
    ])?;
    Ok(())
}

pub(crate) fn list(
    connection: &Connection,
    tenant: TenantId,
    list: &ChildList,
) -> Result<Vec<ChildRecord>, Failure> {
    let first = list.node.unwrap_or_default();
    let (node, item) = list.after.unwrap_or((first, -1));
    let last = list.node.unwrap_or(TaskIndex::MAX);
    let limit = i64::try_from(list.limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(CHILDREN_LIST)?;
    let mut rows = statement.query(params![tenant.0, list.parent.0, node, item, last, limit])?;
    let mut children = Vec::new();
    while let Some(row) = rows.next()? {
        children.push(ChildRecord {
            execution: ExecutionId(row.get(0)?),
            node: row.get(1)?,
            item: row.get(2)?,
            status: state(row, 3)?,
        });
    }
    Ok(children)
}

pub(crate) fn progress(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
) -> Result<Vec<ChildrenProgress>, Failure> {
    let mut statement = connection.prepare_cached(CHILDREN_PROGRESS)?;
    let progress = statement.query_map(params![tenant.0, execution.0], |row| {
        Ok(ChildrenProgress { name: row.get(7)?, node: node(row)? })
    })?;
    Ok(progress.collect::<Result<_, _>>()?)
}

pub(crate) fn page_write(
    connection: &Connection,
    tenant: TenantId,
    runner: RunnerId,
    stream: &Stream,
    page: &StreamPage,
) -> Result<bool, Failure> {
    let Stream { execution, task, attempt, name } = stream;
    let values = params![tenant.0, execution.0, task, runner.0, attempt, name, page.first, &*page.items];
    if connection.prepare_cached(PAGE_WRITE)?.execute(values)? == 0 {
        return Ok(false);
    }
    if page.first == 0 {
        connection.prepare_cached(PAGE_LEFT)?.execute(params![tenant.0, execution.0, task, attempt])?;
        connection.prepare_cached(CHILD_NOTE)?.execute(params![tenant.0, execution.0])?;
    }
    Ok(true)
}

pub(crate) fn page_read(
    connection: &Connection,
    tenant: TenantId,
    stream: &Stream,
    item: i64,
) -> Result<Vec<StreamPage>, Failure> {
    let Stream { execution, task, attempt, name } = stream;
    let mut statement = connection.prepare_cached(PAGE_READ)?;
    let rows = statement.query_map(params![tenant.0, execution.0, task, attempt, name, item], |row| {
        Ok(StreamPage { first: row.get(0)?, items: row.get::<_, String>(1)?.into() })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn set_parallel(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    node: &str,
    parallel: i64,
    now: i64,
) -> Result<bool, Failure> {
    let values = params![tenant.0, execution.0, node, parallel];
    if connection.prepare_cached(CHILDREN_PARALLEL)?.execute(values)? == 0 {
        return Ok(false);
    }
    due_insert(connection, tenant, DueKind::Children, now, execution, NO_CAUSE)?;
    Ok(true)
}
