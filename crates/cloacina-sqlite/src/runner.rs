//! Runners: their rows, and the return of their work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cloacina_core::execution::AttemptOutcome;
use cloacina_core::id::{RunnerId, TenantId};
use cloacina_core::lease::ProcessIdentity;
use cloacina_core::store::{Liveness, Place, RescuedPlace, RunnerRecord, RunnerRegistration, WorkflowKey};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::Failure;
use crate::flush::{Ended, task_return};
use crate::row::{workflows_from_json, workflows_to_json};
use crate::rows::{Known, Relations};
use crate::{execution, time};

const FENCE: &str = include_str!("../sql/fence.sql");
const RUNNER_REGISTER: &str = include_str!("../sql/runner_register.sql");
const RUNNER_HEARTBEAT: &str = include_str!("../sql/runner_heartbeat.sql");
const RUNNER_LIST: &str = include_str!("../sql/runner_list.sql");
const RUNNER_CONDEMN: &str = include_str!("../sql/runner_condemn.sql");
const RUNNER_BURY: &str = include_str!("../sql/runner_bury.sql");
const RUNNER_REMOVE: &str = include_str!("../sql/runner_remove.sql");

pub(crate) fn register(
    connection: &Connection,
    runner: &RunnerRegistration,
    now: i64,
) -> Result<(), Failure> {
    let process = runner.process.as_ref();
    connection.prepare_cached(RUNNER_REGISTER)?.execute(params![
        runner.id.0,
        i64::try_from(runner.lease.as_micros()).unwrap_or(i64::MAX),
        process.map(|process| &process.host),
        process.map(|process| process.pid),
        process.map(|process| process.started),
        now,
        workflows_to_json(&runner.workflows)?,
        runner.host_name,
    ])?;
    Ok(())
}

pub(crate) fn heartbeat(
    connection: &Connection,
    runner: RunnerId,
    workflows: &Arc<[WorkflowKey]>,
    now: i64,
) -> Result<Liveness, Failure> {
    let workflows = workflows_to_json(workflows)?;
    let beaten = connection.prepare_cached(RUNNER_HEARTBEAT)?.execute(params![runner.0, now, workflows])?;
    Ok(if beaten == 1 { Liveness::Live } else { Liveness::Dead })
}

pub(crate) fn list(connection: &Connection) -> Result<Vec<RunnerRecord>, Failure> {
    let mut statement = connection.prepare_cached(RUNNER_LIST)?;
    let mut rows = statement.query([])?;
    let mut runners = Vec::new();
    while let Some(row) = rows.next()? {
        runners.push(record(row)?);
    }
    Ok(runners)
}

fn record(row: &Row<'_>) -> Result<RunnerRecord, Failure> {
    let host: Option<String> = row.get(4)?;
    let process = match host {
        Some(host) => Some(ProcessIdentity { host, pid: row.get(5)?, started: row.get(6)? }),
        None => None,
    };
    let lease = u64::try_from(row.get::<_, i64>(3)?).map_err(|_| Failure::damaged("a lease below zero"))?;
    Ok(RunnerRecord {
        tenant: None,
        id: RunnerId(row.get(0)?),
        liveness: if row.get::<_, String>(1)? == "live" { Liveness::Live } else { Liveness::Dead },
        beat: row.get(2)?,
        lease: Duration::from_micros(lease),
        process,
        host_name: row.get(8)?,
        workflows: workflows_from_json(&row.get::<_, String>(7)?)?,
    })
}

/// Whether the runner's row says that it is live; `None` if there is none.
fn is_live(connection: &Connection, runner: RunnerId) -> Result<Option<bool>, Failure> {
    Ok(connection.prepare_cached(FENCE)?.query_row([runner.0], |row| row.get(0)).optional()?)
}

pub(crate) fn condemn(connection: &Connection, runner: RunnerId, beat: i64) -> Result<bool, Failure> {
    connection.prepare_cached(RUNNER_CONDEMN)?.execute(params![runner.0, beat])?;
    // A runner without a row was rescued or retired.
    Ok(is_live(connection, runner)? != Some(true))
}

pub(crate) fn rescue(
    connection: &Connection,
    place: &Place,
    runner: RunnerId,
    now: i64,
) -> Result<Vec<RescuedPlace>, Failure> {
    if is_live(connection, runner)? == Some(true) {
        return Ok(Vec::new());
    }
    let mut executions = BTreeSet::new();
    let mut tasks = 0;
    for held in execution::held(connection, place.tenant, runner)? {
        let claimed = held.claimed;
        let known = Known {
            status: held.status,
            priority: claimed.priority,
            workflow: claimed.workflow.name,
            fingerprint: claimed.workflow.fingerprint.0,
            deadline: None,
            expands: None,
            relations: Relations { schedule: None, parent: None, has_waits: false },
        };
        let ended = Ended {
            execution: claimed.execution,
            task: claimed.task,
            attempt: claimed.attempt,
            runner,
            how: AttemptOutcome::Lost,
            error: None,
            due: now,
        };
        task_return(connection, place.tenant, &known, &ended, now)?;
        executions.insert(claimed.execution);
        tasks += 1;
    }
    connection.prepare_cached(RUNNER_REMOVE)?.execute([runner.0])?;
    time::passed(connection, now)?;
    if executions.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![RescuedPlace { place: place.clone(), executions: executions.into_iter().collect(), tasks }])
}

pub(crate) fn retire(
    connection: &Connection,
    tenant: TenantId,
    runner: RunnerId,
    now: i64,
) -> Result<(), Failure> {
    if is_live(connection, runner)? != Some(true) {
        return Ok(());
    }
    let sql =
        if execution::held(connection, tenant, runner)?.is_empty() { RUNNER_REMOVE } else { RUNNER_BURY };
    connection.prepare_cached(sql)?.execute([runner.0])?;
    time::passed(connection, now)
}
