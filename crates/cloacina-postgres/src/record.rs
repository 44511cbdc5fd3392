//! New executions that are recorded beside the lanes: many at once, and reruns.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::ExecutionId;
use cloacina_core::store::{NewAudit, NewExecution, Place, RecordedExecutions, RerunRefusal, Result};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::audit;
use crate::doorbell;
use crate::ends::reach;
use crate::error::Failure;
use crate::execution::in_place;
use crate::flight::{Step, Use, params};
use crate::inner::Inner;
use crate::row::{column, parse, readable};
use crate::schema::SchemaName;
use crate::statement as sql;
use crate::submits::{Submits, by_values, tag_values};
use crate::value::Value;

pub(crate) async fn record(
    inner: Arc<Inner>,
    place: Place,
    mut submits: Vec<Arc<NewExecution>>,
    now: Option<Timestamp>,
) -> Result<RecordedExecutions> {
    let schema = SchemaName::of(&place)?;
    let failed = |failure: Failure| failure.into_error(&crate::error::named(&place));
    let mut side = inner.pool.get(Use::Waits).await?;
    side.touch(place.tenant);
    let scope = inner.scope(place.tenant, &schema);
    let mut old: Vec<Uuid> =
        submits.iter().filter_map(|submit| Some(submit.rerun.as_ref()?.of.into())).collect();
    let clock = Step::Run(sql::CLOCK, params![now]);
    let mut refused = Vec::new();
    let (time, rows) = if old.is_empty() {
        let mut steps = vec![clock];
        steps.extend(written(&place, &submits, now));
        let mut rows = side.transaction(scope, &steps).await.map_err(failed)?;
        (column(&rows[0][0], "now", &place.name)?, rows.remove(1))
    } else {
        old.sort_unstable();
        old.dedup();
        let lock = [clock, Step::Run(sql::RERUN_LOCK, params![Uuid::from(place.tenant), old])];
        let locked = side.begin(scope, &lock).await.map_err(failed)?;
        refused = refusals(&locked[1], &submits, &place)?;
        let unwanted: HashSet<ExecutionId> = refused.iter().map(|(id, _)| *id).collect();
        submits.retain(|submit| !unwanted.contains(&submit.id));
        let steps = written(&place, &submits, now);
        let is_noted = submits.iter().any(|submit| noted_of(submit).is_some());
        let rows = if is_noted {
            let rows = side.go_on(&steps).await.map_err(failed)?;
            // Those that were recorded before, when the answer was lost, were noted then.
            let new: HashSet<Uuid> =
                rows.first().into_iter().flatten().filter_map(|row| row.try_get("id").ok()).collect();
            let is_new = |submit: &&Arc<NewExecution>| new.contains(&submit.id.0);
            let notes = submits.iter().filter(is_new).filter_map(|submit| noted_of(submit));
            let notes: Vec<Step<'_>> = notes.map(|audit| audit::note(&place, audit, now)).collect();
            side.finish(&notes).await.map_err(failed)?;
            rows
        } else {
            side.finish(&steps).await.map_err(failed)?
        };
        (column(&locked[0][0], "now", &place.name)?, rows.into_iter().next().unwrap_or_default())
    };
    drop(side);
    let submitted = readable(&rows, &place.name, |row| Ok(ExecutionId(column(row, "id", &place.name)?)));
    if !submitted.is_empty() {
        inner.hints.tell_of_work();
    }
    let met = met(&inner, &place, &submits, &submitted).await;
    Ok(RecordedExecutions { now: time, submitted, met, refused })
}

/// What is to be noted of a new execution.
fn noted_of(submit: &NewExecution) -> Option<&NewAudit> {
    submit.rerun.as_ref()?.audit.as_deref()
}

/// Which reruns cannot be, by the rows of the locked executions. Of two of the same execution the first wins.
fn refusals(
    rows: &[Row],
    submits: &[Arc<NewExecution>],
    place: &Place,
) -> Result<Vec<(ExecutionId, RerunRefusal)>> {
    let mut known: HashMap<ExecutionId, (ExecutionStatus, Option<ExecutionId>)> = HashMap::new();
    for row in rows {
        let status = parse(column(row, "state", &place.name)?, &place.name)?;
        let by: Option<Uuid> = column(row, "superseded_by", &place.name)?;
        known.insert(ExecutionId(column(row, "id", &place.name)?), (status, by.map(ExecutionId)));
    }
    let mut refused = Vec::new();
    for submit in submits {
        let Some(rerun) = &submit.rerun else { continue };
        let refusal = match known.get_mut(&rerun.of) {
            None => RerunRefusal::NotFound,
            Some((status, _)) if !status.is_terminal() => RerunRefusal::NotOver(*status),
            Some((_, Some(by))) if *by != submit.id => RerunRefusal::Superseded(*by),
            Some((_, by)) => {
                *by = Some(submit.id);
                continue;
            }
        };
        refused.push((submit.id, refusal));
    }
    Ok(refused)
}

/// The steps of a flush, those that nothing is claimed in. The first answers what is recorded now.
fn written<'a>(place: &Place, submits: &'a [Arc<NewExecution>], now: Option<Timestamp>) -> Vec<Step<'a>> {
    if submits.is_empty() {
        return Vec::new();
    }
    let tenant = Uuid::from(place.tenant);
    let time = Value::Timestamp(now);
    let mut all = Submits::default();
    let leaves_work = all.add(tenant, submits);
    let due = all.earliest_due(tenant);
    let Submits { executions, tasks, deadlines, unexpanded, tags, by, on_failure, copies, reached, .. } = all;
    let whose = |_| Value::Uuid(tenant);
    let mut steps = vec![Step::of(sql::EXECUTION_INSERT, executions.values(whose, time.clone()))];
    if !copies.is_empty() {
        steps.push(Step::of(sql::COPY_INSERT, copies.values(tenant)));
    }
    if !tasks.is_empty() {
        steps.push(Step::of(sql::TASK_INSERT, tasks.values(whose, time, Uuid::nil())));
    }
    let (old, new): (Vec<Uuid>, Vec<Uuid>) = submits
        .iter()
        .filter_map(|submit| Some((Uuid::from(submit.rerun.as_ref()?.of), Uuid::from(submit.id))))
        .unzip();
    if !tags.is_empty() {
        steps.push(Step::of(sql::TAG_INSERT, tag_values(tenant, &tags)));
    }
    if !by.is_empty() {
        steps.push(Step::of(sql::EXECUTION_BY, by_values(tenant, &by)));
    }
    if !on_failure.is_empty() {
        steps.push(Step::of(sql::EXECUTION_ON_FAILURE, by_values(tenant, &on_failure)));
    }
    if !old.is_empty() {
        steps.push(Step::Run(sql::RERUN_MARK, params![tenant, old, new]));
    }
    if !unexpanded.is_empty() {
        let ids: Vec<Uuid> = unexpanded.into_iter().map(|(_, id)| id).collect();
        steps.push(Step::Run(sql::EXPAND_INSERT, params![tenant, ids]));
    }
    if !deadlines.is_empty() {
        let ids: Vec<Uuid> = deadlines.into_iter().map(|(_, id, _)| id).collect();
        steps.push(Step::Run(sql::DUE_INSERT, params![tenant, ids]));
    }
    if !reached.is_empty() {
        steps.push(reach(&reached));
    }
    if leaves_work {
        steps.push(doorbell::ring_at(place.tenant, now, due));
    }
    steps
}

/// What was recorded before under the keys of those that are not recorded now. Not to know it is no error:
/// whoever asked looks for each.
async fn met(
    inner: &Inner,
    place: &Place,
    submits: &[Arc<NewExecution>],
    submitted: &[ExecutionId],
) -> Vec<(ExecutionId, (ExecutionId, i64))> {
    if submitted.len() == submits.len() {
        return Vec::new();
    }
    let submitted: HashSet<ExecutionId> = submitted.iter().copied().collect();
    let (mut ids, mut workflows, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for submit in submits.iter().filter(|submit| !submitted.contains(&submit.id)) {
        let Some(idempotency) = &submit.idempotency else { continue };
        ids.push(submit.id.into());
        workflows.push(Some(Cow::Borrowed(&*submit.workflow.name)));
        keys.push(Some(Cow::Borrowed(idempotency.key.as_str())));
    }
    let values = vec![
        Value::Uuid(place.tenant.into()),
        Value::Uuids(ids),
        Value::Texts(workflows),
        Value::Texts(keys),
    ];
    let Ok(rows) = in_place(inner, place, &[Step::of(sql::EXECUTION_MET, values)]).await else {
        return Vec::new();
    };
    readable(&rows[0], &place.name, |row| {
        let id = |name| Ok(ExecutionId(column(row, name, &place.name)?));
        Ok((id("new_id")?, (id("id")?, column(row, "input_hash", &place.name)?)))
    })
}
