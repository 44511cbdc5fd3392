//! Executions that were submitted by name get their tasks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cloacina_core::id::{ExecutionId, TenantId};
use cloacina_core::store::{Expanded, Expansion, NewExecution, Place, Result};
use jiff::Timestamp;
use uuid::Uuid;

use crate::doorbell;
use crate::ends::reach;
use crate::error::{Failure, named_all};
use crate::flight::{Step, params};
use crate::inner::Inner;
use crate::row::column;
use crate::schema::SchemaName;
use crate::statement as sql;
use crate::submits::{Reached, Submits, Tasks};
use crate::value::Value;

/// The places share tables, or there is one.
pub(crate) async fn expand(
    inner: Arc<Inner>,
    mut places: Vec<(Arc<Place>, Arc<[Expansion]>)>,
    limit: usize,
    now: Option<Timestamp>,
) -> Result<Vec<Expanded>> {
    let Some((first, _)) = places.first() else { return Ok(Vec::new()) };
    let schema = SchemaName::of(first)?;
    let asked: Vec<TenantId> = places.iter().map(|(place, _)| place.tenant).collect();
    // In one order, as everybody locks.
    places.sort_by_key(|(place, _)| Uuid::from(place.tenant));
    let whose = named_all(&places.iter().map(|(place, _)| &**place).collect::<Vec<_>>());
    let failed = |failure: Failure| failure.into_error(&whose);
    let tenants: Vec<Uuid> = places.iter().map(|(place, _)| place.tenant.into()).collect();
    let known = places.iter().flat_map(|(place, workflows)| {
        workflows.iter().map(|expansion| (Uuid::from(place.tenant), &*expansion.workflow.name))
    });
    let (of, names): (Vec<Uuid>, Vec<&str>) = known.unzip();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut side = inner.pool.side().await?;
    places.iter().for_each(|(place, _)| side.touch(place.tenant));
    // A flight of its own: it locks the executions, and what is done about them goes by what its answer
    // names.
    let take = [Step::Run(sql::EXPAND_TAKE, params![tenants.clone(), now, of, names, limit])];
    let taken = side.begin(inner.scope(places[0].0.tenant, &schema), &take).await.map_err(failed)?;
    let mut expanded = vec![Expanded::default(); places.len()];
    let (mut new, mut spoiled) = (New::default(), vec![0_usize; places.len()]);
    for row in &taken[0] {
        let Ok(at) = tenants.binary_search(&row.get("tenant_id")) else { continue };
        let (place, workflows) = &places[at];
        let of = (column::<Uuid>(row, "id", &place.name), column::<&str>(row, "workflow", &place.name));
        let fits = column(row, "fits", &place.name).unwrap_or(false);
        let (Ok(id), Ok(name)) = of else { continue };
        let found = workflows.iter().find(|expansion| &*expansion.workflow.name == name);
        let Some(expansion) = found.filter(|_| fits) else {
            spoiled[at] += 1;
            continue;
        };
        if column(row, "rerun", &place.name).unwrap_or(false) {
            expanded[at].reruns.push(ExecutionId(id));
        } else {
            expanded[at].executions += 1;
            new.add(tenants[at], id, expansion);
        }
    }
    let any = !new.ids.is_empty();
    side.finish(&new.steps(now)).await.map_err(failed)?;
    for ((place, _), rows) in places.iter().zip(spoiled).filter(|(_, rows)| *rows > 0) {
        tracing::warn!(
            tenant = place.name,
            rows,
            "ready rows are left out: their executions are not there, have tasks already, are over, paused or not due"
        );
    }
    if any {
        inner.hints.tell_of_work();
    }
    let mut by_tenant: HashMap<Uuid, Expanded> = tenants.into_iter().zip(expanded).collect();
    Ok(asked.iter().map(|tenant| by_tenant.remove(&Uuid::from(*tenant)).unwrap_or_default()).collect())
}

/// Executions that are given their tasks. They come by tenant.
#[derive(Default)]
struct New<'a> {
    tenants: Vec<Uuid>,
    ids: Vec<Uuid>,
    fingerprints: Vec<i64>,
    on_failure: Vec<Option<&'a str>>,
    tasks: Tasks<'a>,
    reached: Vec<Reached>,
}

impl<'a> New<'a> {
    fn add(&mut self, tenant: Uuid, id: Uuid, expansion: &'a Expansion) {
        self.tenants.push(tenant);
        self.ids.push(id);
        self.fingerprints.push(expansion.workflow.fingerprint.0);
        self.on_failure.push(expansion.on_failure.as_deref());
        self.tasks.add(tenant, id, &expansion.tasks);
        let waits = (0..).zip(&*expansion.tasks).filter(|(_, task)| task.waits());
        self.reached.extend(waits.map(|(wait, _)| (tenant, id, wait)));
    }

    fn steps(self, now: Option<Timestamp>) -> Vec<Step<'a>> {
        let Self { tenants, ids, fingerprints, on_failure, tasks, reached } = self;
        let mut rung = tenants.clone();
        rung.sort_unstable();
        rung.dedup();
        let [tenant, ..] = rung[..] else { return Vec::new() };
        let mut steps =
            vec![Step::Run(sql::EXECUTION_EXPAND, params![tenants, ids, fingerprints, on_failure])];
        let time = Value::Timestamp(now);
        steps.push(if rung.len() == 1 {
            Step::of(sql::TASK_INSERT, tasks.values(|_| Value::Uuid(tenant), time, Uuid::nil()))
        } else {
            Step::of(sql::MANY_TASK_INSERT, tasks.values(Value::Uuids, time, Uuid::nil()))
        });
        let waits: HashSet<Uuid> = reached.iter().map(|(tenant, ..)| *tenant).collect();
        if !reached.is_empty() {
            steps.push(reach(&reached));
        }
        let due = rung.iter().map(|tenant| waits.contains(tenant).then_some(Timestamp::UNIX_EPOCH)).collect();
        steps.extend(doorbell::ring_all(rung, now, due));
        steps
    }
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
            params![vec![tenant], vec![id], vec![fingerprint], vec![rerun.on_failure.as_deref()]],
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
