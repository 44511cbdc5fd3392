//! In whose places executions have been kept for long enough.
//!
//! A tenant that nobody opens is looked at as well, but only when something may have come of age there: one
//! row for each tenant says how long ago the oldest of its executions ended. These rows are facts. How long
//! anything is kept is said by whoever asks, so another retention holds from the next look on.
//!
//! Nobody writes to them when an execution ends. Whatever ends after a look ends after the look's time, less
//! an hour for what was not committed yet, and this is what is noted where nothing is left.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cloacina_core::Retention;
use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::TenantId;
use cloacina_core::store::{Aged, ENDS, OldestEnds, Place, Result};
use jiff::Timestamp;
use uuid::Uuid;

use crate::execution::long_in_place;
use crate::flight::{Step, Use, params};
use crate::inner::Inner;
use crate::row::column;
use crate::statement::{self as sql, Login};

/// The places share tables, or there is one.
pub(crate) async fn oldest(inner: Arc<Inner>, places: Vec<Arc<Place>>) -> Result<Vec<OldestEnds>> {
    let Some(first) = places.first() else { return Ok(Vec::new()) };
    let tenants: Vec<Uuid> = places.iter().map(|place| place.tenant.into()).collect();
    let step = Step::Run(sql::EXECUTION_OLDEST, params![tenants]);
    let rows = long_in_place(&inner, first, &[step]).await?;
    let mut found: HashMap<Uuid, OldestEnds> = HashMap::new();
    for row in &rows[0] {
        let of = |name| column(row, name, &first.schema);
        let oldest =
            OldestEnds { completed: of("completed")?, failed: of("failed")?, cancelled: of("cancelled")? };
        found.insert(column(row, "tenant_id", &first.schema)?, oldest);
    }
    Ok(places.iter().map(|place| found.remove(&place.tenant.into()).unwrap_or_default()).collect())
}

pub(crate) async fn take(
    inner: Arc<Inner>,
    open: Vec<(TenantId, Retention)>,
    others: Option<Retention>,
    limit: usize,
    now: Option<Timestamp>,
) -> Result<Aged> {
    if inner.pool.login == Login::Tenant {
        // The row of its tenant is the operator's. Both may delete, and each skips what the other has locked.
        let any = open.iter().filter(|(_, retention)| retention.shortest().is_some());
        return Ok(Aged { tenants: any.map(|(tenant, _)| *tenant).collect(), behind: Duration::ZERO });
    }
    let tenants: Vec<Uuid> = open.iter().map(|(tenant, _)| (*tenant).into()).collect();
    let [completed, failed, cancelled] = ENDS.map(|end| -> Vec<Option<i64>> {
        open.iter().map(|(_, retention)| micros(retention, end)).collect()
    });
    let all = others.unwrap_or(Retention::FOREVER);
    let [all_completed, all_failed, all_cancelled] = ENDS.map(|end| micros(&all, end));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = params![
        now,
        tenants,
        completed,
        failed,
        cancelled,
        others.is_some(),
        all_completed,
        all_failed,
        all_cancelled,
        limit,
    ];
    let rows = inner.in_control_for(Use::Work, &[Step::Run(sql::RETENTION_TAKE, values)]).await?;
    let mut aged = Aged::default();
    for row in &rows[0] {
        if let Some(tenant) = column::<Option<Uuid>>(row, "tenant_id", "cloacina")? {
            aged.tenants.push(TenantId(tenant));
        }
        let behind: Option<i64> = column(row, "behind_us", "cloacina")?;
        aged.behind =
            aged.behind.max(Duration::from_micros(behind.map_or(0, |behind| behind.max(0).unsigned_abs())));
    }
    Ok(aged)
}

pub(crate) async fn note(
    inner: Arc<Inner>,
    mut left: Vec<(TenantId, OldestEnds, Duration)>,
    now: Option<Timestamp>,
) -> Result<()> {
    if left.is_empty() || inner.pool.login == Login::Tenant {
        return Ok(());
    }
    // In one order, as everybody locks.
    left.sort_unstable_by_key(|(tenant, ..)| Uuid::from(*tenant));
    let tenants: Vec<Uuid> = left.iter().map(|(tenant, ..)| (*tenant).into()).collect();
    let [completed, failed, cancelled] = ENDS
        .map(|end| -> Vec<Option<Timestamp>> { left.iter().map(|(_, oldest, _)| oldest.of(end)).collect() });
    let pauses: Vec<i64> =
        left.iter().map(|(.., pause)| i64::try_from(pause.as_micros()).unwrap_or(i64::MAX)).collect();
    let values = params![tenants, now, completed, failed, cancelled, pauses];
    inner.in_control_for(Use::Work, &[Step::Run(sql::RETENTION_NOTE, values)]).await.map(drop)
}

/// A hundred years and a little more are for ever to a database.
fn micros(retention: &Retention, end: ExecutionStatus) -> Option<i64> {
    const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
    retention.after(end).map(|kept| i64::try_from(kept.min(LONGEST).as_micros()).unwrap_or(i64::MAX))
}
