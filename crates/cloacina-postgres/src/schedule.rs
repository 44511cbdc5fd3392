//! Schedules: their rows are locked, looked at, and written in one transaction.
//!
//! What is decided about them is decided by the engine, between two flights of the transaction and under the
//! locks of the first. It computes times, maybe many, so it has a thread that may block.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cloacina_core::id::{ExecutionId, ScheduleId, TenantId};
use cloacina_core::store::{
    Budget, Decide, FireList, FireRecord, MANY, NewFire, Place, Result, ScheduleChange, ScheduleRecord,
    ScheduleRow, ScheduleSelection, SchedulesSettled, StoreError, StoreErrorKind,
};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::audit;
use crate::doorbell;
use crate::error::{Failure, named_all};
use crate::execution::long_in_place;
use crate::flight::{Step, Use, params};
use crate::inner::Inner;
use crate::pool::Lent;
use crate::row::{column, parse, readable};
use crate::schema::SchemaName;
use crate::statement as sql;

/// The error of an execution that another one of its schedule takes the place of.
const REPLACED: &str = "cancelled, because its schedule has started the next one";

/// How much is kept of what came of a schedule's times.
const KEPT: i64 = 1_000;

/// A place whose schedules are locked, and what is decided about them.
struct Due {
    place: Arc<Place>,
    decide: Decide,
    schedules: BTreeSet<Uuid>,
    /// The executions that may have ended.
    ended: BTreeSet<Uuid>,
    taken: usize,
}

impl Due {
    fn new(place: Arc<Place>, decide: Decide) -> Self {
        Self { place, decide, schedules: BTreeSet::new(), ended: BTreeSet::new(), taken: 0 }
    }

    fn tenant(&self) -> Uuid {
        self.place.tenant.into()
    }
}

/// The places share tables, or there is one.
pub(crate) async fn settle(
    inner: Arc<Inner>,
    places: Vec<(Arc<Place>, Decide)>,
    limit: usize,
    now: Option<Timestamp>,
) -> Result<Vec<SchedulesSettled>> {
    let Some((first, _)) = places.first() else { return Ok(Vec::new()) };
    let schema = SchemaName::of(first)?;
    let asked: Vec<TenantId> = places.iter().map(|(place, _)| place.tenant).collect();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut due: Vec<Due> = places.into_iter().map(|(place, decide)| Due::new(place, decide)).collect();
    // In one order, as everybody locks.
    due.sort_by_key(Due::tenant);
    let whose = named(&due);
    let failed = |failure: Failure| failure.into_error(&whose);
    let mut side = inner.pool.get(Use::Waits).await?;
    due.iter().for_each(|due| side.touch(due.place.tenant));
    let tenants: Vec<Uuid> = due.iter().map(Due::tenant).collect();
    let take = [Step::Run(sql::SCHEDULE_TAKE, params![tenants.clone(), now, limit])];
    let taken = side.begin(inner.scope(due[0].place.tenant, &schema), &take).await.map_err(failed)?;
    for row in &taken[0] {
        let Ok(at) = tenants.binary_search(&row.get("tenant_id")) else { continue };
        let due = &mut due[at];
        due.taken += 1;
        match column::<Option<Uuid>>(row, "subject", &due.place.name) {
            Ok(Some(schedule)) => drop(due.schedules.insert(schedule)),
            _ => tracing::debug!(
                tenant = due.place.name,
                "a due row of a schedule that is not there is left out"
            ),
        }
        due.ended.extend(row.try_get("cause").ok().and_then(|cause: &str| Uuid::try_parse(cause).ok()));
    }
    if taken[0].is_empty() {
        side.finish(&[]).await.map_err(failed)?;
        return Ok(vec![SchedulesSettled::default(); asked.len()]);
    }
    let took: Vec<usize> = due.iter().map(|due| due.taken).collect();
    let mut settled = work(&inner, due, side, now).await?;
    for (settled, taken) in settled.iter_mut().zip(took) {
        settled.taken = taken;
    }
    let mut by_tenant: HashMap<Uuid, SchedulesSettled> = tenants.into_iter().zip(settled).collect();
    Ok(asked.iter().map(|tenant| by_tenant.remove(&Uuid::from(*tenant)).unwrap_or_default()).collect())
}

/// How an error names places.
fn named(due: &[Due]) -> String {
    named_all(&due.iter().map(|due| &*due.place).collect::<Vec<_>>())
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
    let mut due = Due::new(Arc::new(place), decide);
    due.schedules = locked[0].iter().filter_map(|row| row.try_get("id").ok()).collect();
    Ok(work(&inner, vec![due], side, now).await?.remove(0))
}

/// Reads what is locked, lets it be decided, and writes that. The places come by tenant.
async fn work(
    inner: &Inner,
    due: Vec<Due>,
    mut side: Lent,
    now: Option<Timestamp>,
) -> Result<Vec<SchedulesSettled>> {
    let whose = named(&due);
    let failed = |failure: Failure| failure.into_error(&whose);
    let tenants: Vec<Uuid> = due.iter().map(Due::tenant).collect();
    let each = |of: fn(&Due) -> &BTreeSet<Uuid>| -> (Vec<Uuid>, Vec<Uuid>) {
        due.iter().flat_map(|due| of(due).iter().map(|id| (due.tenant(), *id))).unzip()
    };
    let (of, schedules) = each(|due| &due.schedules);
    let mut steps =
        vec![Step::Run(sql::CLOCK, params![now]), Step::Run(sql::SCHEDULE_LOAD, params![of, schedules])];
    let (of, ended) = each(|due| &due.ended);
    if !ended.is_empty() {
        steps.push(Step::Run(sql::SCHEDULE_ENDED, params![of, ended]));
    }
    let found = side.go_on(&steps).await.map_err(failed)?;
    let time: Timestamp = column(&found[0][0], "now", &due[0].place.name)?;
    let at = |row: &Row| tenants.binary_search(&row.get("tenant_id")).ok();
    let mut ends: HashMap<Uuid, Vec<_>> = HashMap::new();
    for row in found.get(2).into_iter().flatten() {
        let Some(place) = at(row).map(|at| &due[at].place) else { continue };
        let of = |name| column::<Uuid>(row, name, &place.name);
        if let (Ok(id), Ok(schedule), Ok(state)) =
            (of("id"), of("schedule_id"), column(row, "state", &place.name))
        {
            ends.entry(schedule).or_default().push((ExecutionId(id), parse(state, &place.name)?));
        }
    }
    let mut records: Vec<Vec<ScheduleRecord>> = due.iter().map(|_| Vec::new()).collect();
    for row in &found[1] {
        let Some(at) = at(row) else { continue };
        let place = &due[at].place;
        for mut record in readable(std::slice::from_ref(row), &place.name, |row| record(row, place)) {
            record.ended = ends.remove(&record.row.id.into()).unwrap_or_default();
            records[at].push(record);
        }
    }
    let decides: Vec<Decide> = due.iter().map(|due| Arc::clone(&due.decide)).collect();
    let changes: Vec<Vec<ScheduleChange>> = tokio::task::spawn_blocking(move || {
        let mut budget = Budget::default();
        decides.iter().zip(records).map(|(decide, records)| decide(records, time, &mut budget)).collect()
    })
    .await
    .map_err(|error| {
        let message = format!("what is due of the schedules of `{whose}` was not decided");
        StoreError::new(StoreErrorKind::Internal, message).with_source(error)
    })?;
    let (mut steps, answers) = written(&tenants, (now, time), &changes);
    for (due, changes) in due.iter().zip(&changes) {
        let notes = changes.iter().filter_map(|change| change.audit.as_deref());
        steps.extend(notes.map(|audit| audit::note(&due.place, audit, now)));
    }
    let rows = side.finish(&steps).await.map_err(failed)?;
    let mut settled = vec![SchedulesSettled::default(); due.len()];
    for row in answers.started.and_then(|step| rows.get(step)).into_iter().flatten() {
        if let Some(at) = at(row) {
            settled[at].started += 1;
        }
    }
    for (at, step) in answers.cancelled {
        let cancelled = rows.get(step).into_iter().flatten().filter_map(|row| row.try_get("id").ok());
        settled[at].cancelled = cancelled.map(ExecutionId).collect();
    }
    if settled.iter().any(|settled| settled.started > 0 || !settled.cancelled.is_empty()) {
        inner.hints.tell_of_work();
    }
    Ok(settled)
}

/// Which steps answer what.
#[derive(Default)]
struct Answers {
    /// Of which place.
    cancelled: Vec<(usize, usize)>,
    started: Option<usize>,
}

/// A value of each of many rows, behind the tenant whose row it is.
fn columns<T, U>(of: &[(Uuid, T)], value: impl Fn(&T) -> U) -> Vec<U> {
    of.iter().map(|(_, row)| value(row)).collect()
}

fn tenants_of<T>(of: &[(Uuid, T)]) -> Vec<Uuid> {
    of.iter().map(|(tenant, _)| *tenant).collect()
}

/// `changes` are those of each tenant, in one order.
fn written<'a>(
    tenants: &[Uuid],
    (now, time): (Option<Timestamp>, Timestamp),
    changes: &'a [Vec<ScheduleChange>],
) -> (Vec<Step<'a>>, Answers) {
    let (mut steps, mut answers) = (Vec::new(), Answers::default());
    cancel(tenants, now, changes, &mut steps, &mut answers);
    let all: Vec<(Uuid, &ScheduleChange)> = tenants
        .iter()
        .zip(changes)
        .flat_map(|(tenant, changes)| changes.iter().map(|change| (*tenant, change)))
        .collect();
    let rows: Vec<(Uuid, &ScheduleRow)> =
        all.iter().filter_map(|(tenant, change)| Some((*tenant, change.row.as_ref()?))).collect();
    if !rows.is_empty() {
        steps.push(put(now, &rows));
    }
    // In one order: two transactions that insert the same keys wait for each other.
    let mut starts: Vec<_> =
        all.iter().flat_map(|(tenant, change)| change.starts.iter().map(|start| (*tenant, start))).collect();
    starts.sort_by_key(|(tenant, start)| (*tenant, &start.workflow, &start.key));
    if !starts.is_empty() {
        answers.started = Some(steps.len());
        steps.push(Step::Run(
            sql::SCHEDULE_START,
            params![
                tenants_of(&starts),
                now,
                columns(&starts, |start| Uuid::from(start.id)),
                columns(&starts, |start| Uuid::from(start.schedule)),
                columns(&starts, |start| start.workflow.as_str()),
                columns(&starts, |start| start.priority),
                columns(&starts, |start| &*start.input),
                columns(&starts, |start| start.key.as_str()),
                columns(&starts, |start| start.on_failure.as_deref()),
            ],
        ));
    }
    let fires: Vec<(Uuid, (Uuid, &NewFire))> = all
        .iter()
        .filter(|(_, change)| change.row.is_some())
        .flat_map(|(tenant, change)| change.fires.iter().map(|fire| (*tenant, (change.id.into(), fire))))
        .collect();
    if !fires.is_empty() {
        steps.push(noted(now, &fires));
    }
    let of = |which: fn(&ScheduleChange) -> bool| -> (Vec<Uuid>, Vec<Uuid>) {
        let some = all.iter().filter(|(_, change)| which(change));
        some.map(|(tenant, change)| (*tenant, Uuid::from(change.id))).unzip()
    };
    let (of_tenants, pruned) = of(|change| change.prunes);
    if !pruned.is_empty() {
        steps.push(Step::Run(sql::SCHEDULE_PRUNE, params![of_tenants, pruned, KEPT]));
    }
    let (of_tenants, deleted) = of(|change| change.row.is_none());
    if !deleted.is_empty() {
        steps.push(Step::Run(sql::SCHEDULE_DELETE, params![of_tenants, deleted]));
    }
    let was: Vec<(Uuid, (Uuid, Timestamp))> = all
        .iter()
        .filter_map(|(tenant, change)| Some((*tenant, (change.id.into(), change.was_due_at?))))
        .collect();
    if !was.is_empty() {
        let values = params![tenants_of(&was), columns(&was, |(id, _)| *id), columns(&was, |(_, at)| *at)];
        steps.push(Step::Run(sql::SCHEDULE_UNDUE, values));
    }
    let next: Vec<(Uuid, (Uuid, Timestamp))> =
        rows.iter().filter_map(|(tenant, row)| Some((*tenant, (row.id.into(), row.due_at?)))).collect();
    if !next.is_empty() {
        let values = params![tenants_of(&next), columns(&next, |(id, _)| *id), columns(&next, |(_, at)| *at)];
        steps.push(Step::Run(sql::SCHEDULE_DUE, values));
    }
    ring(tenants, (now, time), changes, &mut steps);
    (steps, answers)
}

/// Cancels what another execution takes the place of. That is rare, so each tenant has statements of its own;
/// the locks of all come first.
fn cancel<'a>(
    tenants: &[Uuid],
    now: Option<Timestamp>,
    changes: &[Vec<ScheduleChange>],
    steps: &mut Vec<Step<'a>>,
    answers: &mut Answers,
) {
    let mut all = Vec::new();
    for (at, (tenant, changes)) in tenants.iter().zip(changes).enumerate() {
        let mut ids: Vec<Uuid> =
            changes.iter().flat_map(|change| &change.cancels).map(|id| Uuid::from(*id)).collect();
        if !ids.is_empty() {
            ids.sort_unstable();
            ids.dedup();
            all.push((at, *tenant, ids));
        }
    }
    let locks =
        all.iter().map(|(_, tenant, ids)| Step::Run(sql::EXECUTION_LOCK, params![*tenant, ids.clone()]));
    steps.extend(locks);
    for (at, tenant, ids) in &all {
        answers.cancelled.push((*at, steps.len()));
        steps.push(Step::Run(sql::EXECUTION_CANCEL, params![*tenant, now, ids.clone(), REPLACED]));
    }
    steps.extend(
        all.into_iter().map(|(_, tenant, ids)| Step::Run(sql::NOTICE_INSERT, params![tenant, now, ids])),
    );
}

/// Rings the bells of those that have something to do now or later.
fn ring<'a>(
    tenants: &[Uuid],
    (now, time): (Option<Timestamp>, Timestamp),
    changes: &[Vec<ScheduleChange>],
    steps: &mut Vec<Step<'a>>,
) {
    let (mut rung, mut at): (Vec<Uuid>, Vec<Option<Timestamp>>) = (Vec::new(), Vec::new());
    for (tenant, changes) in tenants.iter().zip(changes) {
        let next = changes.iter().filter_map(|change| change.row.as_ref()?.due_at).min();
        // A start that meets its key leaves a due row.
        let starts = changes.iter().any(|change| !change.starts.is_empty());
        let due = next.into_iter().chain(starts.then_some(time)).min();
        if due.is_some() {
            rung.push(*tenant);
            at.push(due);
        }
    }
    steps.extend(doorbell::ring_all(rung, now, at));
}

fn put<'a>(now: Option<Timestamp>, rows: &[(Uuid, &'a ScheduleRow)]) -> Step<'a> {
    Step::Run(
        sql::SCHEDULE_PUT,
        params![
            tenants_of(rows),
            now,
            columns(rows, |row| Uuid::from(row.id)),
            columns(rows, |row| row.name.as_str()),
            columns(rows, |row| row.origin.as_deref()),
            columns(rows, |row| row.state.as_str()),
            columns(rows, |row| row.reason.as_deref()),
            columns(rows, |row| row.version),
            columns(rows, |row| row.cursor),
            columns(rows, |row| row.due_at),
            columns(rows, |row| row.last_execution.map(Uuid::from)),
            columns(rows, |row| uuids(&row.backfilling)),
            columns(rows, |row| &*row.spec),
            columns(rows, |row| &*row.progress),
        ],
    )
}

/// An array of arrays of different lengths is none in SQL.
fn uuids(executions: &[ExecutionId]) -> String {
    let ids: Vec<String> = executions.iter().map(ToString::to_string).collect();
    format!("{{{}}}", ids.join(","))
}

fn noted<'a>(now: Option<Timestamp>, fires: &[(Uuid, (Uuid, &'a NewFire))]) -> Step<'a> {
    let missed = |fire: &NewFire| i32::try_from(fire.missed).unwrap_or(i32::MAX);
    Step::Run(
        sql::SCHEDULE_FIRE,
        params![
            tenants_of(fires),
            now,
            columns(fires, |(schedule, _)| *schedule),
            columns(fires, |(_, fire)| fire.nominal),
            columns(fires, |(_, fire)| fire.outcome.as_str()),
            columns(fires, |(_, fire)| fire.execution.map(Uuid::from)),
            columns(fires, |(_, fire)| missed(fire)),
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
