//! Schedules: their rows are locked, looked at, and written in one transaction.
//!
//! What is decided about them is decided by the engine, between two flights of the transaction and under the
//! locks of the first. It computes times, maybe many, so it has a thread that may block.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cloacina_core::id::{ExecutionId, ScheduleId, TenantId};
use cloacina_core::store::{
    Decide, FireList, FireRecord, MANY, NewFire, Place, Result, ScheduleChange, ScheduleRecord, ScheduleRow,
    ScheduleSelection, SchedulesSettled, StoreError, StoreErrorKind,
};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::audit;
use crate::error::Failure;
use crate::execution::long_in_place;
use crate::flight::{Step, params};
use crate::inner::Inner;
use crate::pool::Lent;
use crate::row::{column, parse, readable};
use crate::schema::SchemaName;
use crate::statement as sql;

/// The error of an execution that another one of its schedule takes the place of.
const REPLACED: &str = "cancelled, because its schedule has started the next one";

/// How much is kept of what came of a schedule's times.
const KEPT: i64 = 1_000;

pub(crate) async fn settle(
    inner: Arc<Inner>,
    place: Place,
    limit: usize,
    now: Option<Timestamp>,
    decide: Decide,
) -> Result<SchedulesSettled> {
    let (tenant, schema) = (Uuid::from(place.tenant), SchemaName::of(&place)?);
    let failed = |failure: Failure| failure.into_error(&crate::error::named(&place));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut side = inner.pool.side().await?;
    side.touch(place.tenant);
    let take = [Step::Run(sql::SCHEDULE_TAKE, params![tenant, now, limit])];
    let taken = side.begin(inner.scope(place.tenant, &schema), &take).await.map_err(failed)?;
    let (mut schedules, mut ended, mut spoiled) = (BTreeSet::new(), BTreeSet::new(), 0_usize);
    for row in &taken[0] {
        match column::<Option<Uuid>>(row, "subject", &place.name) {
            Ok(Some(schedule)) => drop(schedules.insert(schedule)),
            _ => spoiled += 1,
        }
        ended.extend(row.try_get("cause").ok().and_then(|cause: &str| Uuid::try_parse(cause).ok()));
    }
    if taken[0].is_empty() {
        side.finish(&[]).await.map_err(failed)?;
        return Ok(SchedulesSettled::default());
    }
    let mut settled = work(&inner, &place, side, (schedules, ended), now, decide).await?;
    settled.taken = taken[0].len();
    if spoiled > 0 {
        tracing::debug!(
            tenant = place.name,
            rows = spoiled,
            "due rows of schedules that are not there are left out"
        );
    }
    Ok(settled)
}

pub(crate) async fn change(
    inner: Arc<Inner>,
    place: Place,
    selection: ScheduleSelection,
    now: Option<Timestamp>,
    decide: Decide,
) -> Result<SchedulesSettled> {
    let schema = SchemaName::of(&place)?;
    let failed = |failure: Failure| failure.into_error(&crate::error::named(&place));
    let mut side = inner.pool.side().await?;
    side.touch(place.tenant);
    let (all, names, origin) = parts(&selection);
    let lock = [Step::Run(sql::SCHEDULE_LOCK, params![Uuid::from(place.tenant), all, names, origin])];
    let locked = side.begin(inner.scope(place.tenant, &schema), &lock).await.map_err(failed)?;
    let schedules = locked[0].iter().filter_map(|row| row.try_get("id").ok()).collect();
    work(&inner, &place, side, (schedules, BTreeSet::new()), now, decide).await
}

/// Reads what is locked, lets it be decided, and writes that.
async fn work(
    inner: &Inner,
    place: &Place,
    mut side: Lent,
    (schedules, ended): (BTreeSet<Uuid>, BTreeSet<Uuid>),
    now: Option<Timestamp>,
    decide: Decide,
) -> Result<SchedulesSettled> {
    let tenant = Uuid::from(place.tenant);
    let failed = |failure: Failure| failure.into_error(&crate::error::named(place));
    let (schedules, ended): (Vec<Uuid>, Vec<Uuid>) =
        (schedules.into_iter().collect(), ended.into_iter().collect());
    let mut steps =
        vec![Step::Run(sql::CLOCK, params![now]), Step::Run(sql::SCHEDULE_LOAD, params![tenant, schedules])];
    if !ended.is_empty() {
        steps.push(Step::Run(sql::SCHEDULE_ENDED, params![tenant, ended]));
    }
    let found = side.go_on(&steps).await.map_err(failed)?;
    let time: Timestamp = column(&found[0][0], "now", &place.name)?;
    let mut records = readable(&found[1], &place.name, |row| record(row, place));
    let mut ends: HashMap<Uuid, Vec<_>> = HashMap::new();
    for row in found.get(2).into_iter().flatten() {
        let of = |name| column::<Uuid>(row, name, &place.name);
        if let (Ok(id), Ok(schedule), Ok(state)) =
            (of("id"), of("schedule_id"), column(row, "state", &place.name))
        {
            ends.entry(schedule).or_default().push((ExecutionId(id), parse(state, &place.name)?));
        }
    }
    for record in &mut records {
        record.ended = ends.remove(&record.row.id.into()).unwrap_or_default();
    }
    let changes = tokio::task::spawn_blocking(move || decide(records, time)).await.map_err(|error| {
        let message = format!("what is due of the schedules of tenant `{}` was not decided", place.name);
        StoreError::new(StoreErrorKind::Internal, message).with_source(error)
    })?;
    let mut settled = SchedulesSettled::default();
    let (mut steps, answers) = written(place.tenant, (now, time), &changes);
    let notes = changes.iter().filter_map(|change| change.audit.as_deref());
    steps.extend(notes.map(|audit| audit::note(place, audit, now)));
    let rows = side.finish(&steps).await.map_err(failed)?;
    let of = |step: Option<usize>| step.and_then(|step| rows.get(step)).map_or(&[][..], Vec::as_slice);
    settled.started = of(answers.started).len();
    settled.cancelled =
        of(answers.cancelled).iter().filter_map(|row| row.try_get("id").ok()).map(ExecutionId).collect();
    if settled.started > 0 || !settled.cancelled.is_empty() {
        inner.hints.tell_of_work();
    }
    Ok(settled)
}

/// Which steps answer what.
#[derive(Default)]
struct Answers {
    cancelled: Option<usize>,
    started: Option<usize>,
}

fn written(
    tenant: TenantId,
    (now, time): (Option<Timestamp>, Timestamp),
    changes: &[ScheduleChange],
) -> (Vec<Step<'_>>, Answers) {
    let of = Uuid::from(tenant);
    let (mut steps, mut answers) = (Vec::new(), Answers::default());
    let mut cancels: Vec<Uuid> =
        changes.iter().flat_map(|change| &change.cancels).map(|id| Uuid::from(*id)).collect();
    if !cancels.is_empty() {
        cancels.sort_unstable();
        cancels.dedup();
        steps.push(Step::Run(sql::EXECUTION_LOCK, params![of, cancels.clone()]));
        answers.cancelled = Some(steps.len());
        steps.push(Step::Run(sql::EXECUTION_CANCEL, params![of, now, cancels.clone(), REPLACED]));
        steps.push(Step::Run(sql::NOTICE_INSERT, params![of, now, cancels]));
    }
    let rows: Vec<&ScheduleRow> = changes.iter().filter_map(|change| change.row.as_ref()).collect();
    if !rows.is_empty() {
        steps.push(put(of, now, &rows));
    }
    // In one order: two transactions that insert the same keys wait for each other.
    let mut starts: Vec<_> = changes.iter().flat_map(|change| &change.starts).collect();
    starts.sort_by_key(|start| (&start.workflow, &start.key));
    let mut due_at = rows.iter().filter_map(|row| row.due_at).min();
    if !starts.is_empty() {
        let ids: Vec<Uuid> = starts.iter().map(|start| start.id.into()).collect();
        answers.started = Some(steps.len());
        // One that meets its key leaves a due row.
        due_at = due_at.min(Some(time)).or(Some(time));
        steps.push(Step::Run(
            sql::SCHEDULE_START,
            params![
                of,
                now,
                ids.clone(),
                starts.iter().map(|start| Uuid::from(start.schedule)).collect::<Vec<_>>(),
                starts.iter().map(|start| start.workflow.as_str()).collect::<Vec<_>>(),
                starts.iter().map(|start| start.priority).collect::<Vec<_>>(),
                starts.iter().map(|start| &*start.input).collect::<Vec<_>>(),
                starts.iter().map(|start| start.key.as_str()).collect::<Vec<_>>(),
                starts.iter().map(|start| start.on_failure.as_deref()).collect::<Vec<_>>(),
            ],
        ));
        steps.push(Step::Run(sql::EXPAND_INSERT, params![of, ids]));
    }
    let fires: Vec<(Uuid, &NewFire)> = changes
        .iter()
        .filter(|change| change.row.is_some())
        .flat_map(|change| change.fires.iter().map(|fire| (change.id.into(), fire)))
        .collect();
    if !fires.is_empty() {
        steps.push(noted(of, now, &fires));
    }
    let pruned: Vec<Uuid> =
        changes.iter().filter(|change| change.prunes).map(|change| change.id.into()).collect();
    if !pruned.is_empty() {
        steps.push(Step::Run(sql::SCHEDULE_PRUNE, params![of, pruned, KEPT]));
    }
    let deleted: Vec<Uuid> =
        changes.iter().filter(|change| change.row.is_none()).map(|change| change.id.into()).collect();
    if !deleted.is_empty() {
        steps.push(Step::Run(sql::SCHEDULE_DELETE, params![of, deleted]));
    }
    let (was, was_at): (Vec<Uuid>, Vec<Timestamp>) =
        changes.iter().filter_map(|change| Some((Uuid::from(change.id), change.was_due_at?))).unzip();
    if !was.is_empty() {
        steps.push(Step::Run(sql::SCHEDULE_UNDUE, params![of, was, was_at]));
    }
    let (next, next_at): (Vec<Uuid>, Vec<Timestamp>) =
        rows.iter().filter_map(|row| Some((Uuid::from(row.id), row.due_at?))).unzip();
    if !next.is_empty() {
        steps.push(Step::Run(sql::SCHEDULE_DUE, params![of, next, next_at]));
    }
    if !starts.is_empty() || due_at.is_some() {
        steps.push(Step::Run(sql::BELL_RING, params![of, now, due_at]));
    }
    (steps, answers)
}

fn put<'a>(tenant: Uuid, now: Option<Timestamp>, rows: &[&'a ScheduleRow]) -> Step<'a> {
    Step::Run(
        sql::SCHEDULE_PUT,
        params![
            tenant,
            now,
            rows.iter().map(|row| Uuid::from(row.id)).collect::<Vec<_>>(),
            rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(),
            rows.iter().map(|row| row.origin.as_deref()).collect::<Vec<_>>(),
            rows.iter().map(|row| row.state.as_str()).collect::<Vec<_>>(),
            rows.iter().map(|row| row.reason.as_deref()).collect::<Vec<_>>(),
            rows.iter().map(|row| row.version).collect::<Vec<_>>(),
            rows.iter().map(|row| row.cursor).collect::<Vec<_>>(),
            rows.iter().map(|row| row.due_at).collect::<Vec<_>>(),
            rows.iter().map(|row| row.last_execution.map(Uuid::from)).collect::<Vec<_>>(),
            rows.iter().map(|row| uuids(&row.backfilling)).collect::<Vec<_>>(),
            rows.iter().map(|row| &*row.spec).collect::<Vec<_>>(),
            rows.iter().map(|row| &*row.progress).collect::<Vec<_>>(),
        ],
    )
}

/// An array of arrays of different lengths is none in SQL.
fn uuids(executions: &[ExecutionId]) -> String {
    let ids: Vec<String> = executions.iter().map(ToString::to_string).collect();
    format!("{{{}}}", ids.join(","))
}

fn noted<'a>(tenant: Uuid, now: Option<Timestamp>, fires: &[(Uuid, &'a NewFire)]) -> Step<'a> {
    let missed = |fire: &NewFire| i32::try_from(fire.missed).unwrap_or(i32::MAX);
    Step::Run(
        sql::SCHEDULE_FIRE,
        params![
            tenant,
            now,
            fires.iter().map(|(schedule, _)| *schedule).collect::<Vec<_>>(),
            fires.iter().map(|(_, fire)| fire.nominal).collect::<Vec<_>>(),
            fires.iter().map(|(_, fire)| fire.outcome.as_str()).collect::<Vec<_>>(),
            fires.iter().map(|(_, fire)| fire.execution.map(Uuid::from)).collect::<Vec<_>>(),
            fires.iter().map(|(_, fire)| missed(fire)).collect::<Vec<_>>(),
        ],
    )
}

pub(crate) async fn list(
    inner: Arc<Inner>,
    place: Place,
    selection: ScheduleSelection,
) -> Result<Vec<ScheduleRecord>> {
    let (all, names, origin) = parts(&selection);
    let parameters = params![Uuid::from(place.tenant), all, names, origin, MANY as i64];
    let rows = long_in_place(&inner, &place, &[Step::Run(sql::SCHEDULE_LIST, parameters)]).await?;
    Ok(readable(&rows[0], &place.name, |row| record(row, &place)))
}

pub(crate) async fn fires(inner: Arc<Inner>, place: Place, list: FireList) -> Result<Vec<FireRecord>> {
    let FireList { schedule, from, before, limit } = list;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let parameters = params![Uuid::from(place.tenant), Uuid::from(schedule), from, before, limit];
    let rows = long_in_place(&inner, &place, &[Step::Run(sql::SCHEDULE_FIRES, parameters)]).await?;
    Ok(readable(&rows[0], &place.name, |row| fire(row, &place)))
}

/// Whether all are meant, and which names and origin otherwise.
fn parts(selection: &ScheduleSelection) -> (bool, &[String], Option<&str>) {
    match selection {
        ScheduleSelection::All => (true, &[], None),
        ScheduleSelection::Named(names) => (false, names, None),
        ScheduleSelection::Applied { origin, names } => (false, names, Some(origin)),
    }
}

fn record(row: &Row, place: &Place) -> Result<ScheduleRecord> {
    let name = &*place.name;
    let last: Option<&str> = column(row, "last_state", name)?;
    Ok(ScheduleRecord {
        row: ScheduleRow {
            id: ScheduleId(column(row, "id", name)?),
            name: column(row, "name", name)?,
            origin: column(row, "origin", name)?,
            state: parse(column(row, "state", name)?, name)?,
            reason: column(row, "reason", name)?,
            version: column(row, "version", name)?,
            spec: column::<&str>(row, "spec", name)?.into(),
            progress: column::<&str>(row, "progress", name)?.into(),
            cursor: column(row, "cursor_at", name)?,
            due_at: column(row, "due_at", name)?,
            last_execution: column::<Option<Uuid>>(row, "last_execution", name)?.map(ExecutionId),
            backfilling: column::<Vec<Uuid>>(row, "open", name)?.into_iter().map(ExecutionId).collect(),
        },
        last_status: last.map(|state| parse(state, name)).transpose()?,
        ended: Vec::new(),
    })
}

fn fire(row: &Row, place: &Place) -> Result<FireRecord> {
    let name = &*place.name;
    let missed: i32 = column(row, "missed", name)?;
    let new = NewFire {
        nominal: column(row, "nominal_at", name)?,
        outcome: parse(column(row, "outcome", name)?, name)?,
        execution: column::<Option<Uuid>>(row, "execution_id", name)?.map(ExecutionId),
        missed: missed.unsigned_abs(),
    };
    let state: Option<&str> = column(row, "state", name)?;
    let mut fire = FireRecord::new(&new, column(row, "fired_at", name)?);
    fire.status = state.map(|state| parse(state, name)).transpose()?;
    Ok(fire)
}
