//! Schedules: looked at and written in one transaction, whose write lock stands for the locks on their rows.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use cloacina_core::id::{ExecutionId, ScheduleId, TenantId};
use cloacina_core::store::{
    Budget, Decide, DueKind, FireList, FireOutcome, FireRecord, MANY, NewFire, ScheduleChange,
    ScheduleRecord, ScheduleRow, ScheduleSelection, SchedulesSettled,
};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use crate::audit;
use crate::error::Failure;
use crate::row::{optional_timestamp, state, timestamp};
use crate::rows::{NO_CAUSE, due_delete, due_insert, execution_lock, ready_insert};
use crate::{doorbell, execution};

const SCHEDULE_PICK: &str = include_str!("../sql/schedule_pick.sql");
const SCHEDULE_LOAD: &str = include_str!("../sql/schedule_load.sql");
const SCHEDULE_OPEN: &str = include_str!("../sql/schedule_open.sql");
const SCHEDULE_IDS: &str = include_str!("../sql/schedule_ids.sql");
const SCHEDULE_ENDED: &str = include_str!("../sql/schedule_ended.sql");
const SCHEDULE_PUT: &str = include_str!("../sql/schedule_put.sql");
const SCHEDULE_DELETE: &str = include_str!("../sql/schedule_delete.sql");
const SCHEDULE_FORGET: &str = include_str!("../sql/schedule_forget.sql");
const SCHEDULE_START: &str = include_str!("../sql/schedule_start.sql");
const SCHEDULE_FIRE: &str = include_str!("../sql/schedule_fire.sql");
const SCHEDULE_PRUNE: &str = include_str!("../sql/schedule_prune.sql");
const SCHEDULE_FIRES: &str = include_str!("../sql/schedule_fires.sql");

/// The error of an execution that another one of its schedule takes the place of.
const REPLACED: &str = "cancelled, because its schedule has started the next one";

/// How much is kept of what came of a schedule's times.
const KEPT: i64 = 1_000;

/// The time of a transaction, and by how much it is ahead of the clock on the wall, which schedules go by.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: i64,
    pub(crate) ahead: i64,
}

pub(crate) fn settle(
    connection: &Connection,
    tenant: TenantId,
    limit: usize,
    moment: Moment,
    decide: &Decide,
) -> Result<SchedulesSettled, Failure> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let due: Vec<(i64, Uuid, String)> = connection
        .prepare_cached(SCHEDULE_PICK)?
        .query_map(params![tenant.0, moment.now, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let mut records: BTreeMap<ScheduleId, Option<ScheduleRecord>> = BTreeMap::new();
    for (due, subject, cause) in &due {
        due_delete(connection, tenant, DueKind::Schedule, *due, *subject, cause)?;
        let id = ScheduleId(*subject);
        if let Entry::Vacant(vacant) = records.entry(id) {
            vacant.insert(load(connection, tenant, id, moment.ahead)?);
        }
        if let (Some(Some(record)), Ok(ended)) = (records.get_mut(&id), Uuid::try_parse(cause)) {
            let mut statement = connection.prepare_cached(SCHEDULE_ENDED)?;
            let mut rows = statement.query(params![tenant.0, ended, subject])?;
            if let Some(row) = rows.next()? {
                record.ended.push((ExecutionId(ended), state(row, 0)?));
            }
        }
    }
    let records = records.into_values().flatten().collect();
    let settled = write(connection, tenant, records, moment, decide)?;
    Ok(SchedulesSettled { taken: due.len(), ..settled })
}

pub(crate) fn change(
    connection: &Connection,
    tenant: TenantId,
    selection: &ScheduleSelection,
    moment: Moment,
    decide: &Decide,
) -> Result<SchedulesSettled, Failure> {
    write(connection, tenant, list(connection, tenant, selection, moment.ahead)?, moment, decide)
}

pub(crate) fn list(
    connection: &Connection,
    tenant: TenantId,
    selection: &ScheduleSelection,
    ahead: i64,
) -> Result<Vec<ScheduleRecord>, Failure> {
    let all: Vec<(Uuid, String, Option<String>)> = connection
        .prepare_cached(SCHEDULE_IDS)?
        .query_map(params![tenant.0, MANY as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let is_meant = |name: &String, its: Option<&String>| match selection {
        ScheduleSelection::All => true,
        ScheduleSelection::Named(names) => names.contains(name),
        ScheduleSelection::Applied { origin, names } => names.contains(name) || its == Some(origin),
    };
    let mut records = Vec::new();
    for (id, name, origin) in all {
        if is_meant(&name, origin.as_ref()) {
            records.extend(load(connection, tenant, ScheduleId(id), ahead)?);
        }
    }
    Ok(records)
}

fn load(
    connection: &Connection,
    tenant: TenantId,
    id: ScheduleId,
    ahead: i64,
) -> Result<Option<ScheduleRecord>, Failure> {
    let mut statement = connection.prepare_cached(SCHEDULE_LOAD)?;
    let mut rows = statement.query(params![tenant.0, id.0])?;
    let Some(mut record) = rows.next()?.map(|row| record(row, ahead)).transpose()? else { return Ok(None) };
    let mut open = connection.prepare_cached(SCHEDULE_OPEN)?;
    let mut failed = None;
    record.row.backfilling.retain(|execution| match open.exists(params![tenant.0, execution.0]) {
        Ok(is_open) => is_open,
        Err(error) => {
            failed = Some(error);
            true
        }
    });
    failed.map_or(Ok(Some(record)), |error| Err(error.into()))
}

fn record(row: &Row<'_>, ahead: i64) -> Result<ScheduleRecord, Failure> {
    let last: Option<String> = row.get(11)?;
    let due_at: Option<i64> = row.get(7)?;
    Ok(ScheduleRecord {
        row: ScheduleRow {
            id: ScheduleId(row.get(0)?),
            name: row.get(1)?,
            origin: row.get(2)?,
            state: state(row, 3)?,
            reason: row.get(4)?,
            version: row.get(5)?,
            cursor: timestamp(row.get(6)?)?,
            due_at: optional_timestamp(due_at.map(|due| due.saturating_sub(ahead)))?,
            last_execution: row.get::<_, Option<Uuid>>(8)?.map(ExecutionId),
            spec: row.get::<_, String>(9)?.into(),
            progress: row.get::<_, String>(10)?.into(),
            backfilling: ids(&row.get::<_, Vec<u8>>(12)?),
        },
        last_status: last.map(|_| state(row, 11)).transpose()?,
        ended: Vec::new(),
    })
}

/// Ids that were stored one behind the other.
fn ids(bytes: &[u8]) -> Vec<ExecutionId> {
    bytes.chunks(16).filter_map(|id| Uuid::from_slice(id).ok()).map(ExecutionId).collect()
}

/// Lets it be decided, and writes that.
fn write(
    connection: &Connection,
    tenant: TenantId,
    records: Vec<ScheduleRecord>,
    moment: Moment,
    decide: &Decide,
) -> Result<SchedulesSettled, Failure> {
    let wall = timestamp(moment.now.saturating_sub(moment.ahead))?;
    let mut settled = SchedulesSettled::default();
    for change in decide(records, wall, &mut Budget::default()) {
        for execution in &change.cancels {
            cancel(connection, tenant, *execution, moment.now, &mut settled)?;
        }
        due_row(connection, tenant, &change, moment)?;
        if let Some(audit) = &change.audit {
            audit::note(connection, audit::OWN, audit, moment.now)?;
        }
        let Some(row) = &change.row else {
            connection.prepare_cached(SCHEDULE_DELETE)?.execute(params![tenant.0, change.id.0])?;
            connection.prepare_cached(SCHEDULE_FORGET)?.execute(params![tenant.0, change.id.0])?;
            continue;
        };
        connection.prepare_cached(SCHEDULE_PUT)?.execute(params![
            tenant.0,
            row.id.0,
            row.name,
            row.origin,
            row.state.as_str(),
            row.reason,
            row.version,
            row.cursor.as_microsecond(),
            row.due_at.map(|due| due.as_microsecond().saturating_add(moment.ahead)),
            row.last_execution.map(|execution| execution.0),
            moment.now,
            &*row.spec,
            &*row.progress,
            row.backfilling.iter().flat_map(|execution| *execution.0.as_bytes()).collect::<Vec<u8>>(),
        ])?;
        let started = start(connection, tenant, &change, moment.now)?;
        settled.started += started.len();
        for fire in &change.fires {
            let is_there = fire.execution.is_some_and(|execution| started.contains(&execution));
            let outcome = match fire.outcome {
                FireOutcome::Started if !is_there => FireOutcome::Repeated,
                outcome => outcome,
            };
            connection.prepare_cached(SCHEDULE_FIRE)?.execute(params![
                tenant.0,
                change.id.0,
                fire.nominal.as_microsecond(),
                outcome.as_str(),
                fire.execution.filter(|_| is_there).map(|execution| execution.0),
                fire.missed,
                moment.now,
            ])?;
        }
        if change.prunes {
            connection.prepare_cached(SCHEDULE_PRUNE)?.execute(params![tenant.0, change.id.0, KEPT])?;
        }
    }
    Ok(settled)
}

fn start(
    connection: &Connection,
    tenant: TenantId,
    change: &ScheduleChange,
    now: i64,
) -> Result<Vec<ExecutionId>, Failure> {
    let mut started = Vec::with_capacity(change.starts.len());
    for start in &change.starts {
        let inserted = connection.prepare_cached(SCHEDULE_START)?.execute(params![
            tenant.0,
            start.id.0,
            start.workflow,
            start.priority,
            now,
            start.key,
            start.schedule.0,
            &*start.input,
            start.on_failure,
        ])?;
        if inserted == 1 {
            ready_insert(connection, tenant, start.id, 0, start.priority, now, (&start.workflow, 0))?;
            started.push(start.id);
        } else {
            // It is over before it began.
            let cause = start.id.to_string();
            due_insert(connection, tenant, DueKind::Schedule, now, start.schedule.0, &cause)?;
        }
    }
    Ok(started)
}

fn due_row(
    connection: &Connection,
    tenant: TenantId,
    change: &ScheduleChange,
    moment: Moment,
) -> Result<(), Failure> {
    let stored = |due: jiff::Timestamp| due.as_microsecond().saturating_add(moment.ahead);
    if let Some(was) = change.was_due_at {
        due_delete(connection, tenant, DueKind::Schedule, stored(was), change.id.0, NO_CAUSE)?;
    }
    if let Some(due) = change.row.as_ref().and_then(|row| row.due_at) {
        due_insert(connection, tenant, DueKind::Schedule, stored(due), change.id.0, NO_CAUSE)?;
    }
    Ok(())
}

fn cancel(
    connection: &Connection,
    tenant: TenantId,
    id: ExecutionId,
    now: i64,
    settled: &mut SchedulesSettled,
) -> Result<(), Failure> {
    let Some(known) = execution_lock(connection, tenant, id)? else { return Ok(()) };
    if execution::cancel(connection, tenant, id, &known, REPLACED, now)?.is_some() {
        doorbell::notice(connection, tenant, id, now)?;
        settled.cancelled.push(id);
    }
    Ok(())
}

pub(crate) fn fires(
    connection: &Connection,
    tenant: TenantId,
    list: &FireList,
) -> Result<Vec<FireRecord>, Failure> {
    let mut statement = connection.prepare_cached(SCHEDULE_FIRES)?;
    let mut rows = statement.query(params![
        tenant.0,
        list.schedule.0,
        list.from.as_microsecond(),
        list.before.as_microsecond(),
        i64::try_from(list.limit).unwrap_or(i64::MAX),
    ])?;
    let mut fires = Vec::new();
    while let Some(row) = rows.next()? {
        let new = NewFire {
            nominal: timestamp(row.get(0)?)?,
            outcome: state(row, 1)?,
            execution: row.get::<_, Option<Uuid>>(2)?.map(ExecutionId),
            missed: row.get(3)?,
        };
        let mut fire = FireRecord::new(&new, timestamp(row.get(4)?)?);
        fire.status = row.get::<_, Option<String>>(5)?.map(|_| state(row, 5)).transpose()?;
        fires.push(fire);
    }
    Ok(fires)
}
