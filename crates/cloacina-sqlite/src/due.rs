//! What the engine itself has to do at a time: due rows are taken, and have their effect in the same
//! transaction.

use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::{ExecutionId, TenantId};
use cloacina_core::store::{DueKind, MANY, Settled};
use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::doorbell;
use crate::error::Failure;
use crate::execution;
use crate::rows::{children_open, due_delete, execution_lock};
use crate::{children, wait};

const DUE_PICK: &str = include_str!("../sql/due_pick.sql");

/// The error of an execution whose deadline passed.
const DEADLINE_PASSED: &str = "the deadline has passed";

/// The error of a child whose parent ended before it.
const PARENT_ENDED: &str = "cancelled, because its parent has ended";

/// How many children are cancelled in a transaction.
const SWEPT_AT_ONCE: usize = 256;

/// The transaction holds the write lock, which stands for the locks on the rows and their subjects.
pub(crate) fn settle(
    connection: &Connection,
    tenant: TenantId,
    kinds: &[DueKind],
    now: i64,
) -> Result<Settled, Failure> {
    let mut settled = Settled::default();
    let mut spoiled = 0_usize;
    if kinds.contains(&DueKind::Wait) {
        settled.waits = wait::peek(connection, tenant, now)?;
    }
    if kinds.contains(&DueKind::Children) {
        settled.children = children::peek(connection, tenant, now)?;
    }
    let taken_here = |kind: &&DueKind| matches!(kind, DueKind::Deadline | DueKind::Sweep);
    for kind in kinds.iter().filter(taken_here) {
        let due: Vec<(i64, Uuid, String)> = connection
            .prepare_cached(DUE_PICK)?
            .query_map(params![tenant.0, kind.number(), now, MANY as i64], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<_, _>>()?;
        for (due, subject, cause) in due {
            let subject = ExecutionId(subject);
            if *kind == DueKind::Sweep && settled.expired.len() >= SWEPT_AT_ONCE {
                break;
            }
            settled.taken += 1;
            let is_sound = match kind {
                DueKind::Sweep => {
                    // The row stays until none is left.
                    if !sweep(connection, tenant, subject, &cause, now, &mut settled)? {
                        due_delete(connection, tenant, *kind, due, subject, &cause)?;
                    }
                    true
                }
                _ => {
                    due_delete(connection, tenant, *kind, due, subject, &cause)?;
                    expire(connection, tenant, subject, now, &mut settled)?
                }
            };
            spoiled += usize::from(!is_sound);
        }
    }
    if spoiled > 0 {
        tracing::warn!(
            %tenant,
            rows = spoiled,
            "due rows are left out, because their executions are over, not there, or not due"
        );
    }
    Ok(settled)
}

/// Cancels children whose parent is over, or the node of it that is named. False if none is left.
fn sweep(
    connection: &Connection,
    tenant: TenantId,
    parent: ExecutionId,
    cause: &str,
    now: i64,
    settled: &mut Settled,
) -> Result<bool, Failure> {
    let node = cause.parse().ok();
    if node.is_none()
        && execution_lock(connection, tenant, parent)?.is_some_and(|known| !known.status.is_terminal())
    {
        // Only a file that somebody else wrote to says so.
        return Ok(false);
    }
    let open = children_open(connection, tenant, parent, node, SWEPT_AT_ONCE as i64)?;
    for child in &open {
        let Some(known) = execution_lock(connection, tenant, *child)? else { continue };
        let reason = PARENT_ENDED;
        if execution::cancel(connection, tenant, *child, &known, reason, now)?.is_some() {
            doorbell::notice(connection, tenant, *child, now)?;
            settled.expired.push(*child);
        }
    }
    Ok(open.len() >= SWEPT_AT_ONCE)
}

/// Cancels an execution whose deadline has passed. False if it is over, not there, or not due: only a file
/// that somebody else wrote to has such rows.
fn expire(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    now: i64,
    settled: &mut Settled,
) -> Result<bool, Failure> {
    let Some(known) = execution_lock(connection, tenant, execution)? else {
        return Ok(false);
    };
    if known.deadline.is_none_or(|deadline| deadline > now) {
        return Ok(false);
    }
    let cancelled = execution::cancel(connection, tenant, execution, &known, DEADLINE_PASSED, now)?;
    if cancelled != Some(ExecutionStatus::Cancelled) {
        return Ok(false);
    }
    doorbell::notice(connection, tenant, execution, now)?;
    settled.expired.push(execution);
    Ok(true)
}
