//! Runners: who is alive, and what becomes of the work of who is not.
//!
//! Flushes hold the runner's row FOR KEY SHARE until they have committed. A heartbeat passes that lock;
//! whoever declares the runner dead takes the row FOR UPDATE and so waits for them, and after its commit no
//! other begins. From then on nothing can come under the runner's name, so its tasks are taken back place by
//! place, each in a transaction of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloacina_core::id::{ExecutionId, RunnerId, TenantId};
use cloacina_core::lease::ProcessIdentity;
use cloacina_core::store::{
    Liveness, MANY, Place, Repaired, RescuedPlace, Result, RunnerRecord, RunnerRegistration, WorkflowKey,
};
use cloacina_core::streak::Whose;
use cloacina_core::workflow::Fingerprint;
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::doorbell;
use crate::execution::{columns, in_place, long_in_place};
use crate::flight::{Step, Use, params};
use crate::inner::Inner;
use crate::schema::SchemaName;
use crate::statement::{self as sql, Login};

const PRUNE_NOTICES_EVERY: Duration = Duration::from_secs(30);

/// Of how many runners it is told once that their rows cannot be read.
const MOST_TOLD: usize = 1000;

async fn in_control(inner: &Inner, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>> {
    inner.in_control_for(Use::Engine, steps).await
}

pub(crate) async fn register(
    inner: Arc<Inner>,
    runner: RunnerRegistration,
    now: Option<Timestamp>,
) -> Result<()> {
    if inner.pool.login == Login::Operator {
        crate::migrate::control(&inner).await?;
    }
    let (names, fingerprints) = columns(&runner.workflows);
    let process = runner.process.as_ref();
    let parameters = params![
        Uuid::from(runner.id),
        i64::try_from(runner.lease.as_millis()).unwrap_or(i64::MAX).max(1),
        process.map(|process| process.host.as_str()),
        process.map(|process| process.pid),
        process.map(|process| process.started),
        names,
        fingerprints,
        now,
        runner.host_name.as_deref(),
    ];
    in_control(&inner, &[Step::Run(sql::RUNNER_REGISTER, parameters)]).await.map(drop)
}

pub(crate) async fn heartbeat(
    inner: Arc<Inner>,
    runner: RunnerId,
    workflows: Arc<[WorkflowKey]>,
    now: Option<Timestamp>,
) -> Result<Liveness> {
    let (names, fingerprints) = columns(&workflows);
    let step = Step::Run(sql::RUNNER_HEARTBEAT, params![Uuid::from(runner), names, fingerprints, now]);
    let rows = in_control(&inner, &[step]).await?;
    if inner.pool.login == Login::Operator {
        prune_notices(&inner, now).await;
    }
    Ok(if rows[0].is_empty() { Liveness::Dead } else { Liveness::Live })
}

/// Every process does this now and then beside its heartbeat, which must not fail for it.
async fn prune_notices(inner: &Inner, now: Option<Timestamp>) {
    {
        let mut pruned = inner.notices_pruned.lock();
        if pruned.is_some_and(|at| at.elapsed() < PRUNE_NOTICES_EVERY) {
            return;
        }
        *pruned = Some(Instant::now());
    }
    let pruned = in_control(inner, &[Step::Run(sql::NOTICE_PRUNE, params![now])]).await;
    inner.pruning.note(Whose::Database(inner.label()), &pruned);
}

pub(crate) async fn list(inner: Arc<Inner>) -> Result<Vec<RunnerRecord>> {
    let rows = in_control(&inner, &[Step::Run(sql::RUNNER_LIST, params![])]).await?;
    Ok(rows[0].iter().filter_map(|row| readable(&inner, row)).collect())
}

pub(crate) async fn condemn(inner: Arc<Inner>, runner: RunnerId, beat: i64) -> Result<bool> {
    let id = Uuid::from(runner);
    let rows = in_control(&inner, &[Step::Run(sql::RUNNER_CONDEMN, params![id, Some(beat)])]).await?;
    // One that is not there any more was dead and is cleaned up.
    Ok(rows[0][0].get::<_, Option<&str>>("state").is_none_or(|state| state == "dead"))
}

pub(crate) async fn rescue(
    inner: Arc<Inner>,
    runner: RunnerId,
    now: Option<Timestamp>,
) -> Result<Vec<RescuedPlace>> {
    let id = Uuid::from(runner);
    let steps = [Step::Run(sql::RUNNER_STATE, params![id]), Step::Run(sql::RUNNER_PLACES, params![id])];
    let rows = in_control(&inner, &steps).await?;
    // Nothing is taken from the living.
    if !rows[0].first().is_some_and(is_dead) {
        return Ok(Vec::new());
    }
    let mut rescued = Vec::new();
    let mut first_error = None;
    for (tenant, place) in rows[1].iter().map(|row| runner_place(&inner, row)) {
        match rescue_place(&inner, runner, tenant, place, now).await {
            Ok(Some(place)) => rescued.push(place),
            Ok(None) => {}
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    in_control(&inner, &[Step::Run(sql::RUNNER_REMOVE, params![id])]).await?;
    match first_error {
        Some(error) => Err(error),
        None => Ok(rescued),
    }
}

async fn rescue_place(
    inner: &Inner,
    runner: RunnerId,
    tenant: TenantId,
    place: Option<Place>,
    now: Option<Timestamp>,
) -> Result<Option<RescuedPlace>> {
    let forget = Step::Run(sql::RUNNER_PLACE_DELETE, params![Uuid::from(runner), Uuid::from(tenant)]);
    let Some(place) = place else {
        in_control(inner, &[forget]).await?;
        return Ok(None);
    };
    let schema = SchemaName::of(&place)?;
    let (tenant, id) = (Uuid::from(tenant), Uuid::from(runner));
    let failed = |failure: crate::error::Failure| failure.into_error(&crate::error::named(&place));

    let mut side = inner.pool.side().await?;
    side.touch(place.tenant);
    let lock = [Step::Run(sql::RESCUE_LOCK, params![tenant, id])];
    let rows = side.begin(inner.scope(place.tenant, &schema), &lock).await.map_err(failed)?;
    let locked: Vec<Uuid> = rows[0].iter().map(|row| row.get("id")).collect();
    let mut steps = Vec::new();
    if !locked.is_empty() {
        steps.push(Step::Run(sql::TASK_RESCUE, params![tenant, now, id, locked]));
        steps.push(doorbell::ring(place.tenant, now));
    }
    let has_work = !steps.is_empty();
    steps.push(forget);
    let rows = side.finish(&steps).await.map_err(failed)?;
    if !has_work {
        return Ok(None);
    }
    inner.hints.tell_of_work();
    let executions = rows[0].iter().map(|row| ExecutionId(row.get("execution_id"))).collect();
    let tasks =
        rows[0].iter().map(|row| usize::try_from(row.get::<_, i64>("tasks")).unwrap_or_default()).sum();
    Ok(Some(RescuedPlace { place, executions, tasks }))
}

/// Mends what no transaction of ours leaves behind: looks first, and locks only what it finds.
pub(crate) async fn repair(inner: Arc<Inner>, place: Place, now: Option<Timestamp>) -> Result<Repaired> {
    let tenant = Uuid::from(place.tenant);
    let look = [
        Step::Run(sql::RUNNER_UNKNOWN, params![tenant]),
        Step::Run(sql::EXECUTION_STUCK, params![tenant, MANY as i64]),
    ];
    let rows = long_in_place(&inner, &place, &look).await?;
    let mut repaired = Repaired::default();
    for runner in rows[0].iter().map(|row| RunnerId(row.get("runner_id"))) {
        let rescued = rescue_place(&inner, runner, place.tenant, Some(place.clone()), now).await?;
        if let Some(place) = rescued {
            repaired.rescued.extend(place.executions);
            repaired.tasks += place.tasks;
        }
    }
    let stuck: Vec<Uuid> = rows[1].iter().map(|row| row.get("id")).collect();
    if !stuck.is_empty() {
        let mut steps = vec![
            Step::Run(sql::EXECUTION_LOCK, params![tenant, stuck.clone()]),
            Step::Run(sql::EXECUTION_CLOSE, params![tenant, now, stuck.clone()]),
            Step::Run(sql::DUE_DROP, params![tenant, stuck.clone()]),
        ];
        steps.extend(doorbell::wake_related(place.tenant, now, stuck));
        let rows = in_place(&inner, &place, &steps).await?;
        repaired.closed = rows[1].iter().map(|row| ExecutionId(row.get("id"))).collect();
    }
    Ok(repaired)
}

pub(crate) async fn retire(inner: Arc<Inner>, runner: RunnerId) -> Result<()> {
    let id = Uuid::from(runner);
    // Dead first: then it is certain that what is found held, or not held, stays so.
    let steps = [
        Step::Run(sql::RUNNER_CONDEMN, params![id, None::<i64>]),
        Step::Run(sql::RUNNER_PLACES, params![id]),
    ];
    let rows = in_control(&inner, &steps).await?;
    for (tenant, place) in rows[1].iter().map(|row| runner_place(&inner, row)) {
        if let Some(place) = place {
            let held = Step::Run(sql::TASK_HELD, params![Uuid::from(tenant), id]);
            if !in_place(&inner, &place, &[held]).await?[0].is_empty() {
                continue;
            }
        }
        in_control(&inner, &[Step::Run(sql::RUNNER_PLACE_DELETE, params![id, Uuid::from(tenant)])]).await?;
    }
    in_control(&inner, &[Step::Run(sql::RUNNER_REMOVE, params![id])]).await.map(drop)
}

/// Where a runner may hold claims. Whether the tenant has a login is noted on the way: nobody waits for its
/// locks, also where this process has never opened its place.
fn runner_place(inner: &Inner, row: &Row) -> (TenantId, Option<Place>) {
    let tenant = TenantId(row.get("tenant_id"));
    inner.guard(tenant, row.get("has_login"));
    let is_known = row.get::<_, Option<&str>>("name").is_some();
    (tenant, is_known.then(|| crate::tenant::place(tenant, row)))
}

fn is_dead(row: &Row) -> bool {
    row.get::<_, &str>("state") == "dead"
}

/// A runner, unless its row cannot be read: the others are looked at all the same. A tenant's login writes
/// its rows itself.
fn readable(inner: &Inner, row: &Row) -> Option<RunnerRecord> {
    let error = match record(row) {
        Ok(record) => return Some(record),
        Err(error) => error,
    };
    let id: Option<Uuid> = row.try_get("id").ok();
    let mut told = inner.unreadable_runners.lock();
    if told.len() < MOST_TOLD && told.insert(id.unwrap_or_default()) {
        let tenant = row.try_get::<_, Option<Uuid>>("tenant_id").ok().flatten();
        tracing::warn!(
            database = inner.label(), runner = ?id, ?tenant, %error,
            "the row of a runner cannot be read, and is left out: its work is not taken back when it dies"
        );
    }
    None
}

fn record(row: &Row) -> Result<RunnerRecord, tokio_postgres::Error> {
    let process = match (row.try_get("host")?, row.try_get("pid")?, row.try_get("started")?) {
        (Some(host), Some(pid), Some(started)) => Some(ProcessIdentity { host, pid, started }),
        _ => None,
    };
    let (names, fingerprints): (Vec<&str>, Vec<i64>) =
        (row.try_get("workflows")?, row.try_get("fingerprints")?);
    let workflows = names.into_iter().zip(fingerprints);
    let is_dead = row.try_get::<_, &str>("state")? == "dead";
    Ok(RunnerRecord {
        id: RunnerId(row.try_get("id")?),
        tenant: row.try_get::<_, Option<Uuid>>("tenant_id")?.map(TenantId),
        liveness: if is_dead { Liveness::Dead } else { Liveness::Live },
        beat: row.try_get("beat")?,
        lease: Duration::from_millis(row.try_get::<_, i64>("lease_ms")?.unsigned_abs()),
        process,
        workflows: workflows
            .map(|(name, fingerprint)| WorkflowKey {
                name: name.into(),
                fingerprint: Fingerprint(fingerprint),
            })
            .collect(),
        host_name: row.try_get("host_name")?,
    })
}
