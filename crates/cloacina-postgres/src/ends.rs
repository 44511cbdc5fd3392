//! How nodes end that the engine runs itself, under the locks of their executions.

use std::sync::Arc;

use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::{ExecutionId, SubmitterId, TaskIndex};
use cloacina_core::store::{Closed, Outcome, Place, Result, SettledWaits};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::doorbell;
use crate::flight::{Step, params};
use crate::outcomes::Outcomes;
use crate::row::{column, parse};
use crate::statement as sql;
use crate::submits::Reached;
use crate::value::Value;

/// The step that leaves the due rows of waits of one tenant that may have been reached.
pub(crate) fn reach<'a>(waits: &[Reached]) -> Step<'a> {
    let tenant = waits.first().map_or(Uuid::nil(), |(tenant, ..)| *tenant);
    let (executions, tasks): (Vec<Uuid>, Vec<TaskIndex>) =
        waits.iter().map(|(_, execution, task)| (*execution, *task)).unzip();
    Step::Run(sql::WAIT_REACH, params![tenant, executions, tasks])
}

/// The steps that end nodes whose executions are locked, each with the signal that it takes, and the one
/// among them that answers which executions were closed.
pub(crate) fn push_ends<'a>(
    tenant: Uuid,
    now: Option<Timestamp>,
    ends: Vec<(ExecutionId, TaskIndex, Option<i64>)>,
    outcomes: &'a [Arc<Outcome>],
    next: &mut Vec<Step<'a>>,
    due: &mut Option<Timestamp>,
) -> Option<usize> {
    let (mut executions, mut nodes, mut numbers) = (Vec::<Uuid>::new(), Vec::new(), Vec::new());
    for (execution, node, number) in ends {
        executions.push(execution.into());
        nodes.push(node);
        numbers.push(number);
    }
    next.push(Step::Run(sql::WAIT_END, params![tenant, executions, nodes, numbers, now]));
    let outcomes = Outcomes::of(tenant, outcomes);
    let reached = outcomes.reached.clone();
    let closable: Vec<Uuid> = outcomes.closable.iter().map(|(_, id)| *id).collect();
    let (record, values) = outcomes.statement(|_| Value::Uuid(tenant), Value::Timestamp(now), Uuid::nil());
    next.push(Step::of(record, values));
    if !reached.is_empty() {
        next.push(reach(&reached));
        *due = Some(Timestamp::UNIX_EPOCH);
    }
    if closable.is_empty() {
        return None;
    }
    let closes = next.len();
    next.push(Step::Run(sql::EXECUTION_CLOSE, params![tenant, now, closable.clone()]));
    next.push(Step::Run(sql::DUE_DROP, params![tenant, closable.clone()]));
    // Schedules and parents that started them, if any did, are looked at; what a failure starts is started.
    next.push(doorbell::related(tenant, now, closable));
    *due = Some(Timestamp::UNIX_EPOCH);
    Some(closes)
}

/// The executions that were closed.
pub(crate) fn closed_of(rows: &[Row], place: &Place, settled: &mut SettledWaits) -> Result<()> {
    for row in rows {
        let status = parse::<ExecutionStatus>(column(row, "state", &place.name)?, &place.name)?;
        settled.closed.push(Closed { execution: ExecutionId(column(row, "id", &place.name)?), status });
        settled.submitters.extend(column::<Option<Uuid>>(row, "submitter", &place.name)?.map(SubmitterId));
    }
    Ok(())
}
