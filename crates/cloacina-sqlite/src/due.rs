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
use crate::rows::{due_delete, execution_lock};
use crate::wait;

const DUE_PICK: &str = include_str!("../sql/due_pick.sql");

/// The error of an execution whose deadline passed.
const DEADLINE_PASSED: &str = "the deadline has passed";

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
    for kind in kinds.iter().filter(|kind| **kind == DueKind::Deadline) {
        let due: Vec<(i64, Uuid, String)> = connection
            .prepare_cached(DUE_PICK)?
            .query_map(params![tenant.0, kind.number(), now, MANY as i64], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<_, _>>()?;
        for (due, subject, cause) in due {
            due_delete(connection, tenant, *kind, due, subject, &cause)?;
            settled.taken += 1;
            let is_sound = match kind {
                DueKind::Deadline => expire(connection, tenant, ExecutionId(subject), now, &mut settled)?,
                // Waits are read first, and settled by themselves; schedules are no executions.
                DueKind::Wait | DueKind::Schedule => true,
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
