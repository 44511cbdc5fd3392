//! Executions that were submitted by name get their tasks.

use cloacina_core::execution::TaskState;
use cloacina_core::id::{ExecutionId, TenantId};
use cloacina_core::store::{Expanded, Expansion, NewExecution, StoreError, StoreErrorKind};
use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use crate::error::Failure;
use crate::flush::{TASK_INSERT, copy};
use crate::rows::{reach, ready_delete, ready_insert};

const EXPAND_PICK: &str = include_str!("../sql/expand_pick.sql");
const EXPAND_RERUN: &str = include_str!("../sql/expand_rerun.sql");
const EXECUTION_EXPAND: &str = include_str!("../sql/execution_expand.sql");

/// The transaction holds the write lock, which stands for the locks on the executions.
pub(crate) fn expand(
    connection: &Connection,
    tenant: TenantId,
    workflows: &[Expansion],
    limit: usize,
    now: i64,
) -> Result<Expanded, Failure> {
    let names: Vec<&str> = workflows.iter().map(|expansion| &*expansion.workflow.name).collect();
    let names = serde_json::to_string(&names).map_err(|error| {
        StoreError::new(StoreErrorKind::Internal, "the names of workflows have no JSON form")
            .with_source(error)
    })?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let picked: Vec<(Uuid, String, i16, i64, bool)> = connection
        .prepare_cached(EXPAND_PICK)?
        .query_map(params![tenant.0, now, names, limit], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut expanded = Expanded::default();
    for (id, name, priority, due, is_rerun) in picked {
        let Some(expansion) = workflows.iter().find(|expansion| *expansion.workflow.name == *name) else {
            continue;
        };
        let execution = ExecutionId(id);
        if is_rerun {
            expanded.reruns.push(execution);
            continue;
        }
        let new = NewExecution::expanding(execution, expansion);
        give_tasks(connection, tenant, &new, (priority, due), now)?;
        expanded.executions += 1;
    }
    Ok(expanded)
}

/// False if it is not there to be expanded.
pub(crate) fn expand_rerun(
    connection: &Connection,
    tenant: TenantId,
    rerun: &NewExecution,
    now: i64,
) -> Result<bool, Failure> {
    let found = connection
        .prepare_cached(EXPAND_RERUN)?
        .query_row(params![tenant.0, rerun.id.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some(of) = found else { return Ok(false) };
    give_tasks(connection, tenant, rerun, of, now)?;
    copy(connection, tenant, rerun)?;
    Ok(true)
}

/// Gives an execution of this priority, which was due at this time, its tasks.
fn give_tasks(
    connection: &Connection,
    tenant: TenantId,
    new: &NewExecution,
    (priority, due): (i16, i64),
    now: i64,
) -> Result<(), Failure> {
    let (execution, fingerprint) = (new.id, new.workflow.fingerprint.0);
    ready_delete(connection, tenant, execution, 0, priority, due)?;
    connection.prepare_cached(EXECUTION_EXPAND)?.execute(params![
        tenant.0,
        execution.0,
        fingerprint,
        new.on_failure.as_deref()
    ])?;
    let mut insert = connection.prepare_cached(TASK_INSERT)?;
    for (position, task) in new.open_tasks() {
        let is_free = task.waiting_on == 0;
        let state = match is_free {
            false => TaskState::Pending,
            true if task.is_wait => TaskState::Waiting,
            true => TaskState::Ready,
        };
        insert.execute(params![
            tenant.0,
            execution.0,
            position,
            &task.name,
            state.as_str(),
            task.waiting_on,
            0,
            None::<Uuid>,
            is_free.then_some(now),
            task.waits().then_some(now),
        ])?;
        if task.is_ready() {
            let workflow = (&*new.workflow.name, fingerprint);
            ready_insert(connection, tenant, execution, position, priority, now, workflow)?;
        } else if task.waits() {
            reach(connection, tenant, execution, position, now)?;
        }
    }
    Ok(())
}
