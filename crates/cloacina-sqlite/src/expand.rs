//! Executions that were submitted by name get their tasks.

use cloacina_core::execution::TaskState;
use cloacina_core::id::{ExecutionId, TenantId};
use cloacina_core::store::{Expansion, StoreError, StoreErrorKind};
use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::error::Failure;
use crate::flush::TASK_INSERT;
use crate::rows::{reach, ready_delete, ready_insert};

const EXPAND_PICK: &str = include_str!("../sql/expand_pick.sql");
const EXECUTION_EXPAND: &str = include_str!("../sql/execution_expand.sql");

/// The transaction holds the write lock, which stands for the locks on the executions.
pub(crate) fn expand(
    connection: &Connection,
    tenant: TenantId,
    workflows: &[Expansion],
    limit: usize,
    now: i64,
) -> Result<usize, Failure> {
    let names: Vec<&str> = workflows.iter().map(|expansion| &*expansion.workflow.name).collect();
    let names = serde_json::to_string(&names).map_err(|error| {
        StoreError::new(StoreErrorKind::Internal, "the names of workflows have no JSON form")
            .with_source(error)
    })?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let picked: Vec<(Uuid, String, i16, i64)> = connection
        .prepare_cached(EXPAND_PICK)?
        .query_map(params![tenant.0, now, names, limit], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut insert = connection.prepare_cached(TASK_INSERT)?;
    let mut expanded = 0;
    for (id, name, priority, due) in picked {
        let Some(expansion) = workflows.iter().find(|expansion| *expansion.workflow.name == *name) else {
            continue;
        };
        let (execution, fingerprint) = (ExecutionId(id), expansion.workflow.fingerprint.0);
        ready_delete(connection, tenant, execution, 0, priority, due)?;
        connection.prepare_cached(EXECUTION_EXPAND)?.execute(params![tenant.0, id, fingerprint])?;
        for (position, task) in (0..).zip(&*expansion.tasks) {
            let is_free = task.waiting_on == 0;
            let state = match is_free {
                false => TaskState::Pending,
                true if task.is_wait => TaskState::Waiting,
                true => TaskState::Ready,
            };
            insert.execute(params![
                tenant.0,
                id,
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
                ready_insert(connection, tenant, execution, position, priority, now, (&name, fingerprint))?;
            } else if task.waits() {
                reach(connection, tenant, execution, position, now)?;
            }
        }
        expanded += 1;
    }
    Ok(expanded)
}
