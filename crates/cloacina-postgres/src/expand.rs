//! Executions that were submitted by name get their tasks.

use std::collections::HashMap;
use std::sync::Arc;

use cloacina_core::id::ExecutionId;
use cloacina_core::store::{Expanded, Expansion, NewExecution, Place, Result};
use jiff::Timestamp;
use uuid::Uuid;

use crate::doorbell;
use crate::ends::reach;
use crate::error::Failure;
use crate::flight::{Step, params};
use crate::inner::Inner;
use crate::row::column;
use crate::schema::SchemaName;
use crate::statement as sql;
use crate::submits::{Reached, Submits, Tasks};
use crate::value::Value;

pub(crate) async fn expand(
    inner: Arc<Inner>,
    place: Place,
    workflows: Arc<[Expansion]>,
    limit: usize,
    now: Option<Timestamp>,
) -> Result<Expanded> {
    let (tenant, schema) = (Uuid::from(place.tenant), SchemaName::of(&place)?);
    let failed = |failure: Failure| failure.into_error(&crate::error::named(&place));
    let by_name: HashMap<&str, &Expansion> =
        workflows.iter().map(|expansion| (&*expansion.workflow.name, expansion)).collect();
    let names: Vec<&str> = by_name.keys().copied().collect();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut side = inner.pool.side().await?;
    side.touch(place.tenant);
    // A flight of its own: it locks the executions, and what is done about them goes by what its answer
    // names.
    let take = [Step::Run(sql::EXPAND_TAKE, params![tenant, now, names, limit])];
    let taken = side.begin(inner.scope(place.tenant, &schema), &take).await.map_err(failed)?;
    let (mut ids, mut fingerprints, mut on_failure) = (Vec::new(), Vec::new(), Vec::<Option<&str>>::new());
    let (mut spoiled, mut reruns) = (0_usize, Vec::new());
    let (mut tasks, mut reached) = (Tasks::default(), Vec::<Reached>::new());
    for row in &taken[0] {
        let of = (column::<Uuid>(row, "id", &place.name), column::<&str>(row, "workflow", &place.name));
        let fits = column(row, "fits", &place.name).unwrap_or(false);
        let (Ok(id), Ok(name)) = of else { continue };
        let Some(expansion) = by_name.get(name).filter(|_| fits) else {
            spoiled += 1;
            continue;
        };
        if column(row, "rerun", &place.name).unwrap_or(false) {
            reruns.push(ExecutionId(id));
            continue;
        }
        ids.push(id);
        fingerprints.push(expansion.workflow.fingerprint.0);
        on_failure.push(expansion.on_failure.as_deref());
        tasks.add(tenant, id, &expansion.tasks);
        reached.extend(
            (0..).zip(&*expansion.tasks).filter(|(_, task)| task.waits()).map(|(wait, _)| (tenant, id, wait)),
        );
    }
    let expanded = ids.len();
    let mut steps = Vec::new();
    if expanded > 0 {
        steps.push(Step::Run(sql::EXECUTION_EXPAND, params![tenant, ids, fingerprints, on_failure]));
        let values = tasks.values(|_| Value::Uuid(tenant), Value::Timestamp(now), Uuid::nil());
        steps.push(Step::of(sql::TASK_INSERT, values));
        let waits = !reached.is_empty();
        if waits {
            steps.push(reach(&reached));
        }
        steps.push(doorbell::ring_at(place.tenant, now, waits.then_some(Timestamp::UNIX_EPOCH)));
    }
    side.finish(&steps).await.map_err(failed)?;
    if spoiled > 0 {
        tracing::warn!(
            tenant = place.name,
            rows = spoiled,
            "ready rows are left out: their executions are not there, have tasks already, are over, paused or not due"
        );
    }
    if expanded > 0 {
        inner.hints.tell_of_work();
    }
    Ok(Expanded { executions: expanded, reruns })
}

pub(crate) async fn expand_rerun(
    inner: Arc<Inner>,
    place: Place,
    rerun: Arc<NewExecution>,
    now: Option<Timestamp>,
) -> Result<bool> {
    let (tenant, schema, id) = (Uuid::from(place.tenant), SchemaName::of(&place)?, Uuid::from(rerun.id));
    let failed = |failure: Failure| failure.into_error(&crate::error::named(&place));
    let mut side = inner.pool.side().await?;
    side.touch(place.tenant);
    let take = [Step::Run(sql::EXPAND_TAKE_RERUN, params![tenant, id])];
    let taken = side.begin(inner.scope(place.tenant, &schema), &take).await.map_err(failed)?;
    let is_taken = !taken[0].is_empty();
    let all = std::slice::from_ref(&rerun);
    let mut steps = Vec::new();
    if is_taken {
        let mut submits = Submits::default();
        submits.add(tenant, all);
        let Submits { tasks, copies, reached, .. } = submits;
        let fingerprint = rerun.workflow.fingerprint.0;
        steps.push(Step::Run(
            sql::EXECUTION_EXPAND,
            params![tenant, vec![id], vec![fingerprint], vec![rerun.on_failure.as_deref()]],
        ));
        if !copies.is_empty() {
            steps.push(Step::of(sql::COPY_INSERT, copies.values(tenant)));
        }
        let values = tasks.values(|_| Value::Uuid(tenant), Value::Timestamp(now), Uuid::nil());
        steps.push(Step::of(sql::TASK_INSERT, values));
        let waits = !reached.is_empty();
        if waits {
            steps.push(reach(&reached));
        }
        steps.push(doorbell::ring_at(place.tenant, now, waits.then_some(Timestamp::UNIX_EPOCH)));
    }
    side.finish(&steps).await.map_err(failed)?;
    if is_taken {
        inner.hints.tell_of_work();
    }
    Ok(is_taken)
}
