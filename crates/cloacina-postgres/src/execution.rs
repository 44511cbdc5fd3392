//! Executions read and controlled.
//!
//! Whatever changes an execution's tasks locks the execution in a statement before, as a flush does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cloacina_core::execution::{AttemptOutcome, AttemptRecord, ExecutionStatus};
use cloacina_core::id::{ExecutionId, RunnerId};
use cloacina_core::store::{
    AttemptList, BULK, Claimed, Control, Controlled, ExecutionHeader, ExecutionList, ExecutionRecord,
    KeptTask, MANY, MOST_BYTES_AT_ONCE, MOST_EXECUTION_BYTES, NEVER, NewAudit, ORPHANED, Place, PlaceFigures,
    Pulse, Result, StoreError, StoreErrorKind, TaskRecord, WorkflowKey,
};
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use crate::audit;
use crate::doorbell::{self, at_once};
use crate::flight::{Step, Use, params};
use crate::inner::Inner;
use crate::row::{claimed, column, parse, readable, workflow_key};
use crate::schema::SchemaName;
use crate::statement::{self as sql, Statement};

/// The limit on the context of an execution, as a parameter.
const MOST_BYTES: i64 = MOST_EXECUTION_BYTES as i64;

/// A transaction in a place.
pub(crate) async fn in_place(inner: &Inner, place: &Place, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>> {
    in_place_for(Use::Work, inner, place, steps).await
}

/// Workflows, column by column.
pub(crate) fn columns(workflows: &[WorkflowKey]) -> (Vec<&str>, Vec<i64>) {
    workflows.iter().map(|key| (&*key.name, key.fingerprint.0)).unzip()
}

/// A transaction in a place that may take long, for which only others of its kind wait, and of those first
/// the tenant's own.
pub(crate) async fn long_in_place(inner: &Inner, place: &Place, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>> {
    let _turn = inner.reading.take(place.tenant, inner.pool.reads() / 2).await;
    in_place_for(Use::Read, inner, place, steps).await
}

pub(crate) async fn in_place_for(
    used_for: Use,
    inner: &Inner,
    place: &Place,
    steps: &[Step<'_>],
) -> Result<Vec<Vec<Row>>> {
    let schema = SchemaName::of(place)?;
    let mut side = inner.pool.get(used_for).await?;
    side.touch(place.tenant);
    let scope = inner.scope(place.tenant, &schema);
    side.transaction(scope, steps).await.map_err(|failure| failure.into_error(&crate::error::named(place)))
}

pub(crate) async fn keep(inner: Arc<Inner>, place: Place, kept: KeptTask) -> Result<bool> {
    let (tenant, id) = (Uuid::from(place.tenant), Uuid::from(kept.execution));
    let keep = [
        Step::Run(sql::EXECUTION_LOCK, params![tenant, vec![id]]),
        Step::Run(
            sql::TASK_KEEP,
            params![tenant, id, kept.task, Uuid::from(kept.runner), kept.attempt, &*kept.patch],
        ),
    ];
    let rows = in_place(&inner, &place, &keep).await?;
    Ok(!rows[1].is_empty())
}

pub(crate) async fn control(
    inner: Arc<Inner>,
    place: Place,
    execution: ExecutionId,
    control: Control,
    audit: Option<NewAudit>,
    now: Option<Timestamp>,
) -> Result<Controlled> {
    let (tenant, id) = (Uuid::from(place.tenant), Uuid::from(execution));
    let schema = SchemaName::of(&place)?;
    let failed = |failure: crate::error::Failure| failure.into_error(&crate::error::named(&place));
    let mut side = inner.pool.side().await?;
    side.touch(place.tenant);
    // A flight of its own: an execution that is recorded at this moment may be seen by the next statement and
    // not by this one, and must then be left alone.
    let lock = [Step::Run(sql::EXECUTION_LOCK, params![tenant, vec![id]])];
    let locked = side.begin(inner.scope(place.tenant, &schema), &lock).await.map_err(failed)?;
    let Some(before) = locked[0].first() else {
        side.finish(&[]).await.map_err(failed)?;
        return Ok(Controlled::NotFound);
    };
    let is_related = before.try_get("is_related").unwrap_or(true);
    let mut steps = Vec::new();
    match &control {
        Control::Cancel { reason } => {
            steps.push(Step::Run(sql::EXECUTION_CANCEL, params![tenant, now, vec![id], reason.as_str()]));
            steps.push(Step::Run(sql::WAIT_DROP, params![tenant, vec![id]]));
            if is_related {
                steps.extend(doorbell::wake_related(place.tenant, now, vec![id]));
            }
        }
        Control::Pause | Control::Orphan => {
            let reason = (control == Control::Orphan).then_some(ORPHANED);
            steps.push(Step::Run(sql::EXECUTION_PAUSE, params![tenant, id, reason]));
            if control == Control::Orphan {
                steps.push(Step::Run(sql::WAIT_AWAY, params![tenant, id, NEVER]));
            }
        }
        Control::Resume => {
            steps.push(Step::Run(sql::EXECUTION_RESUME, params![tenant, id]));
            steps.push(Step::Run(sql::EXECUTION_CLOSE, params![tenant, now, vec![id]]));
            steps.push(Step::Run(sql::DUE_DROP, params![tenant, vec![id]]));
            steps.push(Step::Run(sql::EXECUTION_PARK, params![tenant, vec![id]]));
            steps.push(Step::Run(sql::WAIT_BACK, params![tenant, id, NEVER, now]));
            if is_related {
                steps.extend(doorbell::wake_related(place.tenant, now, vec![id]));
            }
            if before.try_get("has_waits").unwrap_or(true) {
                // What was not started while it was paused.
                steps.push(Step::Run(sql::CHILDREN_ASK, params![tenant, now, vec![id]]));
            }
            // What became due of its waits is not known here.
            steps.push(doorbell::ring_at(place.tenant, now, Some(at_once(now))));
        }
    }
    steps.push(Step::Run(sql::NOTICE_INSERT, params![tenant, now, vec![id]]));
    steps.push(Step::Run(sql::EXECUTION_STATE, params![tenant, id]));
    // What is noted says what became of it.
    let rows = match audit {
        Some(_) => side.go_on(&steps).await,
        None => side.finish(&steps).await,
    };
    let rows = rows.map_err(failed)?;
    let was: ExecutionStatus = parse(get(before, "state", &place)?, &place.name)?;
    // An execution that somebody paused has waits as well that nobody has the code of.
    let is_done = !rows[0].is_empty() || control == Control::Orphan && !rows[1].is_empty();
    let is: Option<ExecutionStatus> = match rows[rows.len() - 1].first().filter(|_| is_done) {
        Some(after) => Some(parse(get(after, "state", &place)?, &place.name)?),
        None => None,
    };
    if let Some(audit) = &audit {
        let note = is.map(|is| audit::note(&place, &audit.between(was, is), now));
        side.finish(&Vec::from_iter(note)).await.map_err(failed)?;
    }
    let Some(is) = is else { return Ok(Controlled::Refused(was)) };
    inner.hints.tell_of_work();
    Ok(Controlled::Done(is))
}

pub(crate) async fn overdue(
    inner: Arc<Inner>,
    place: Place,
    known: Arc<[WorkflowKey]>,
    grace: Duration,
    now: Option<Timestamp>,
) -> Result<Vec<(ExecutionId, WorkflowKey)>> {
    let grace = i64::try_from(grace.as_micros()).unwrap_or(i64::MAX);
    let (names, fingerprints) = columns(&known);
    let parameters = params![Uuid::from(place.tenant), now, grace, names, fingerprints, MANY as i64];
    let rows = long_in_place(&inner, &place, &[Step::Run(sql::EXECUTION_OVERDUE, parameters)]).await?;
    Ok(readable(&rows[0], &place.name, |row| named(row, &place)))
}

pub(crate) async fn orphaned(
    inner: Arc<Inner>,
    place: Place,
    known: Arc<[WorkflowKey]>,
) -> Result<Vec<(ExecutionId, WorkflowKey)>> {
    let (names, fingerprints) = columns(&known);
    let parameters = params![Uuid::from(place.tenant), ORPHANED, names, fingerprints, MANY as i64];
    let rows = long_in_place(&inner, &place, &[Step::Run(sql::EXECUTION_ORPHANED, parameters)]).await?;
    Ok(readable(&rows[0], &place.name, |row| named(row, &place)))
}

pub(crate) async fn figures(inner: Arc<Inner>, place: Place, now: Option<Timestamp>) -> Result<PlaceFigures> {
    let step = Step::Run(
        sql::PLACE_FIGURES,
        params![Uuid::from(place.tenant), now, BULK, PlaceFigures::MOST_COUNTED.cast_signed()],
    );
    let rows = long_in_place(&inner, &place, &[step]).await?;
    let row = &rows[0][0];
    let number = |column| row.get::<_, i64>(column).unsigned_abs();
    let oldest: Option<i64> = row.get("oldest_us");
    Ok(PlaceFigures {
        executions: number("executions"),
        open: number("open"),
        waiting: number("waiting"),
        queued: number("queued"),
        oldest_queued: oldest.map(|us| Duration::from_micros(us.max(0).unsigned_abs())),
        due_waits: number("due_waits"),
        due_deadlines: number("due_deadlines"),
    })
}

pub(crate) async fn count(inner: Arc<Inner>, place: Place, at_most: usize) -> Result<usize> {
    counted(&inner, sql::EXECUTION_COUNT, &place, at_most).await
}

pub(crate) async fn waiting(inner: Arc<Inner>, place: Place, at_most: usize) -> Result<usize> {
    counted(&inner, sql::EXECUTION_WAITING, &place, at_most).await
}

async fn counted(
    inner: &Inner,
    statement: &'static Statement,
    place: &Place,
    at_most: usize,
) -> Result<usize> {
    let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
    let step = Step::Run(statement, params![Uuid::from(place.tenant), at_most]);
    let rows = in_place(inner, place, &[step]).await?;
    Ok(usize::try_from(rows[0][0].get::<_, i64>("count")).unwrap_or(usize::MAX))
}

pub(crate) async fn headers(
    inner: Arc<Inner>,
    place: Place,
    executions: Vec<ExecutionId>,
) -> Result<Vec<ExecutionHeader>> {
    let step = Step::Run(sql::EXECUTION_HEADERS, params![Uuid::from(place.tenant), uuids(&executions)]);
    let rows = in_place(&inner, &place, &[step]).await?;
    headers_of(&rows[0], &place, executions.len() == 1)
}

pub(crate) async fn pulse(
    inner: Arc<Inner>,
    place: Place,
    executions: Vec<ExecutionId>,
) -> Result<Vec<(ExecutionId, Pulse)>> {
    let step = Step::Run(sql::EXECUTION_PULSE, params![Uuid::from(place.tenant), uuids(&executions)]);
    let rows = in_place(&inner, &place, &[step]).await?;
    let pulse = |row: &Row| {
        let id = ExecutionId(get(row, "id", &place)?);
        let (finished_at, superseded_by) =
            (get(row, "finished_at", &place)?, get(row, "superseded_by", &place)?);
        let (tasks, children) = (get(row, "tasks", &place)?, get(row, "children", &place)?);
        Ok((id, Pulse::of(get(row, "state", &place)?, finished_at, superseded_by, tasks, children)))
    };
    Ok(readable(&rows[0], &place.name, pulse))
}

pub(crate) async fn load(
    inner: Arc<Inner>,
    place: Place,
    executions: Vec<ExecutionId>,
) -> Result<Vec<ExecutionRecord>> {
    let tenant = Uuid::from(place.tenant);
    let alone = executions.len() == 1;
    let mut ids = uuids(&executions);
    ids.sort_unstable();
    let mut records = Vec::with_capacity(ids.len());
    let mut bytes = 0;
    while !ids.is_empty() {
        // Two statements have two snapshots. The executions come first: one that is over then has tasks that
        // are over, while one that ends in between is told as not over yet, which it was.
        let steps = [
            Step::Run(sql::EXECUTION_LOAD, params![tenant, ids.clone(), MOST_BYTES]),
            Step::Run(sql::TASK_LOAD, params![tenant, ids.clone(), -1_i16, MOST_BYTES]),
        ];
        let rows = in_place(&inner, &place, &steps).await?;
        let Some(last) = rows[0].last() else { break };
        let (last, is_last): (Uuid, bool) = (get(last, "id", &place)?, get(last, "is_last", &place)?);
        let behind = if is_last { Vec::new() } else { ids.split_off(ids.partition_point(|id| *id <= last)) };
        let tasks = tasks(&inner, &place, ids, &rows[1]).await?;
        for record in records_of(&rows[0], tasks, &place)? {
            bytes += record.context_bytes();
            records.push(record);
        }
        if bytes > MOST_BYTES_AT_ONCE && !alone {
            let message = format!(
                "{} executions in schema `{}` have more than {} MiB together; ask for fewer of them",
                executions.len(),
                place.name,
                MOST_BYTES_AT_ONCE >> 20
            );
            return Err(StoreError::new(StoreErrorKind::Data, message));
        }
        ids = behind;
    }
    Ok(records)
}

/// The tasks of executions, which are given in their order; `page` is the first page of them and perhaps of
/// others.
async fn tasks(
    inner: &Inner,
    place: &Place,
    mut ids: Vec<Uuid>,
    page: &[Row],
) -> Result<HashMap<Uuid, Vec<TaskRecord>>> {
    let mut found: HashMap<Uuid, Vec<TaskRecord>> = HashMap::new();
    let mut bytes = 0;
    let mut more;
    let mut page = page;
    loop {
        for row in page {
            let execution: Uuid = get(row, "execution_id", place)?;
            if ids.last().is_none_or(|last| execution > *last) {
                return Ok(found);
            }
            let tasks = found.entry(execution).or_default();
            if tasks.is_empty() {
                bytes = 0;
            }
            if usize::try_from(get::<i16>(row, "task", place)?).ok() != Some(tasks.len()) {
                let message = format!(
                    "the tasks of execution {execution} in schema `{}` are not numbered from 0",
                    place.name
                );
                return Err(StoreError::new(StoreErrorKind::Data, message));
            }
            let task = task(row, place)?;
            bytes += task.patch.as_ref().map_or(0, |patch| patch.len());
            let is_left_out = task.patch.is_none() && get(row, "has_patch", place)?;
            if is_left_out || bytes > MOST_EXECUTION_BYTES {
                return Err(too_large(place, execution));
            }
            tasks.push(task);
        }
        let Some(last) = page.last() else { return Ok(found) };
        if get(last, "is_last", place)? {
            return Ok(found);
        }
        let (execution, task): (Uuid, i16) = (get(last, "execution_id", place)?, get(last, "task", place)?);
        ids.drain(..ids.partition_point(|id| *id < execution));
        let step =
            Step::Run(sql::TASK_LOAD, params![Uuid::from(place.tenant), ids.clone(), task, MOST_BYTES]);
        more = in_place(inner, place, &[step]).await?;
        page = &more[0];
    }
}

fn records_of(
    rows: &[Row],
    mut tasks: HashMap<Uuid, Vec<TaskRecord>>,
    place: &Place,
) -> Result<Vec<ExecutionRecord>> {
    let record = |row| {
        let header = header(row, place)?;
        let input: Option<&str> = get(row, "input", place)?;
        let input = input.ok_or_else(|| too_large(place, header.id.0))?;
        let tasks = tasks.remove(&header.id.0).unwrap_or_default();
        let record = ExecutionRecord { header, input: input.into(), tasks };
        if record.context_bytes() > MOST_EXECUTION_BYTES {
            return Err(too_large(place, record.header.id.0));
        }
        Ok(record)
    };
    rows.iter().map(record).collect()
}

pub(crate) async fn find(
    inner: Arc<Inner>,
    place: Place,
    workflow: String,
    key: String,
) -> Result<Option<(ExecutionId, i64)>> {
    let step = Step::Run(sql::EXECUTION_FIND, params![Uuid::from(place.tenant), workflow, key]);
    let rows = in_place(&inner, &place, &[step]).await?;
    let found = rows[0].first();
    found.map(|row| Ok((ExecutionId(get(row, "id", &place)?), get(row, "input_hash", &place)?))).transpose()
}

pub(crate) async fn list(
    inner: Arc<Inner>,
    place: Place,
    list: ExecutionList,
) -> Result<Vec<ExecutionHeader>> {
    let rows = long_in_place(&inner, &place, &[list_step(&place, &list)]).await?;
    listed(&rows[0], &place)
}

/// The rows of a list.
pub(crate) fn listed(rows: &[Row], place: &Place) -> Result<Vec<ExecutionHeader>> {
    headers_of(rows, place, false)
}

/// The statement of a list.
pub(crate) fn list_step(place: &Place, list: &ExecutionList) -> Step<'static> {
    let (tenant, before) = (Uuid::from(place.tenant), list.before.map_or(Uuid::max(), Uuid::from));
    let limit = i64::try_from(list.limit).unwrap_or(i64::MAX);
    let parts = |(statuses, workflow): (&[ExecutionStatus], Option<&str>)| {
        let states: Vec<&str> = statuses.iter().map(|status| ExecutionStatus::as_str(*status)).collect();
        (states, workflow.map(str::to_owned))
    };
    let (superseded, tag) = (list.filter.superseded, list.filter.tag.clone());
    let left_out = list.filter.left_out();
    let filtered = list.filter.parts().map(parts);
    match (filtered, tag, superseded) {
        (None, None, _) => Step::Run(sql::EXECUTION_LIST, params![tenant, before, limit, left_out]),
        (Some((states, workflow)), None, None) => Step::Run(
            sql::EXECUTION_LIST_FILTERED,
            params![tenant, before, states, workflow, limit, left_out],
        ),
        (Some((states, workflow)), None, Some(superseded)) => Step::Run(
            sql::EXECUTION_LIST_SUPERSEDED,
            params![tenant, before, states, workflow, limit, superseded, left_out],
        ),
        (filtered, Some(tag), superseded) => {
            let (states, workflow) = filtered.unwrap_or_else(|| parts((ExecutionStatus::ALL, None)));
            Step::Run(
                sql::EXECUTION_LIST_TAGGED,
                params![tenant, before, states, workflow, limit, superseded, tag, left_out],
            )
        }
    }
}

pub(crate) async fn attempts(
    inner: Arc<Inner>,
    place: Place,
    execution: ExecutionId,
) -> Result<Option<AttemptList>> {
    let (tenant, id) = (Uuid::from(place.tenant), Uuid::from(execution));
    let steps = [
        Step::Run(sql::EXECUTION_STATE, params![tenant, id]),
        Step::Run(sql::ATTEMPT_LIST, params![tenant, id]),
    ];
    let rows = long_in_place(&inner, &place, &steps).await?;
    if rows[0].is_empty() {
        return Ok(None);
    }
    let attempts = rows[1].iter().map(|row| {
        let outcome = parse::<AttemptOutcome>(get(row, "outcome", &place)?, &place.name)?;
        let number = get::<i32>(row, "attempt", &place)?.unsigned_abs();
        let (name, runner) = (get(row, "name", &place)?, get(row, "runner_id", &place)?);
        let attempt = AttemptRecord::new(name, number, runner, outcome, get(row, "started_at", &place)?);
        Ok(attempt.ended(get(row, "finished_at", &place)?, get(row, "error", &place)?))
    });
    attempts.collect::<Result<_>>().map(Some)
}

pub(crate) async fn held(inner: Arc<Inner>, place: Place, runner: RunnerId) -> Result<Vec<Claimed>> {
    let step = Step::Run(sql::TASK_HELD, params![Uuid::from(place.tenant), Uuid::from(runner)]);
    let rows = in_place(&inner, &place, &[step]).await?;
    Ok(readable(&rows[0], &place.name, |row| claimed(row, &place.name)))
}

pub(crate) async fn prune(
    inner: Arc<Inner>,
    place: Place,
    end: ExecutionStatus,
    retention: Duration,
    limit: usize,
    now: Option<Timestamp>,
) -> Result<usize> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let retention = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
    let (tenant, schema) = (Uuid::from(place.tenant), SchemaName::of(&place)?);
    let failed = |failure: crate::error::Failure| failure.into_error(&crate::error::named(&place));
    let _turn = inner.reading.take(place.tenant, inner.pool.reads() / 2).await;
    let mut side = inner.pool.get(Use::Read).await?;
    side.touch(place.tenant);
    let prune = [Step::Run(sql::EXECUTION_PRUNE, params![tenant, now, retention, limit, end.as_str()])];
    let pruned = side.begin(inner.scope(place.tenant, &schema), &prune).await.map_err(failed)?;
    // Most have none, and tables that nobody needs are not touched.
    let waits = pruned[0].iter().filter(|row| get(row, "has_waits", &place).unwrap_or(true));
    let waits: Vec<Uuid> = waits.map(|row| get(row, "id", &place)).collect::<Result<_>>()?;
    let steps =
        if waits.is_empty() { vec![] } else { vec![Step::Run(sql::WAIT_PRUNE, params![tenant, waits])] };
    side.finish(&steps).await.map_err(failed)?;
    Ok(pruned[0].len())
}

/// An execution and what it runs.
fn named(row: &Row, place: &Place) -> Result<(ExecutionId, WorkflowKey)> {
    Ok((ExecutionId(get(row, "id", place)?), workflow_key(row, &place.name)?))
}

/// The error of an execution whose context is not fetched.
fn too_large(place: &Place, execution: Uuid) -> StoreError {
    let message = format!(
        "the context of execution {execution} in schema `{}` has more than {} MiB, which is not read",
        place.name,
        MOST_EXECUTION_BYTES >> 20
    );
    StoreError::new(StoreErrorKind::Data, message)
}

fn uuids(executions: &[ExecutionId]) -> Vec<Uuid> {
    executions.iter().copied().map(Uuid::from).collect()
}

/// A column of a row that a tenant may have written.
fn get<'a, T: FromSql<'a>>(row: &'a Row, name: &str, place: &Place) -> Result<T> {
    column(row, name, &place.name)
}

/// The headers that can be read. An error if the only one that was asked for cannot be.
fn headers_of(rows: &[Row], place: &Place, only_one: bool) -> Result<Vec<ExecutionHeader>> {
    if only_one {
        return rows.iter().map(|row| header(row, place)).collect();
    }
    Ok(readable(rows, &place.name, |row| header(row, place)))
}

fn header(row: &Row, place: &Place) -> Result<ExecutionHeader> {
    Ok(ExecutionHeader {
        id: ExecutionId(get(row, "id", place)?),
        workflow: workflow_key(row, &place.name)?,
        status: parse(get(row, "state", place)?, &place.name)?,
        priority: get(row, "priority", place)?,
        created_at: get(row, "created_at", place)?,
        started_at: get(row, "started_at", place)?,
        finished_at: get(row, "finished_at", place)?,
        deadline: get(row, "deadline", place)?,
        error: get(row, "error", place)?,
        rerun_of: get::<Option<Uuid>>(row, "rerun_of", place)?.map(ExecutionId),
        superseded_by: get::<Option<Uuid>>(row, "superseded_by", place)?.map(ExecutionId),
        has_waits: get(row, "has_waits", place)?,
        tags: get::<Option<Vec<String>>>(row, "tags", place)?.unwrap_or_default(),
        submitted_by: get(row, "submitted_by", place)?,
    })
}

fn task(row: &Row, place: &Place) -> Result<TaskRecord> {
    let skip_reason: Option<&str> = get(row, "skip_reason", place)?;
    Ok(TaskRecord {
        name: get(row, "name", place)?,
        state: parse(get(row, "state", place)?, &place.name)?,
        attempt: get(row, "attempt", place)?,
        failures: get(row, "failures", place)?,
        lost: get(row, "lost", place)?,
        runner: get::<Option<Uuid>>(row, "runner_id", place)?.map(RunnerId),
        started_at: get(row, "started_at", place)?,
        finished_at: get(row, "finished_at", place)?,
        patch: get::<Option<&str>>(row, "patch", place)?.map(Into::into),
        error: get(row, "error", place)?,
        skip_reason: skip_reason.map(|reason| parse(reason, &place.name)).transpose()?,
        handled: get(row, "handled", place)?,
    })
}
