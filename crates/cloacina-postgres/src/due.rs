//! What the engine itself has to do at a time: due rows are taken, and have their effect in the same
//! transaction.

use std::sync::Arc;

use cloacina_core::id::ExecutionId;
use cloacina_core::store::{DueKind, MANY, Place, Result, Settled};
use jiff::Timestamp;
use uuid::Uuid;

use crate::doorbell;
use crate::error::Failure;
use crate::execution::in_place_for;
use crate::flight::{Step, Use, params};
use crate::inner::Inner;
use crate::row::{column, readable};
use crate::schema::SchemaName;
use crate::statement as sql;

const DEADLINE_PASSED: &str = "the deadline has passed";

/// The error of a child whose parent ended before it.
const PARENT_ENDED: &str = "cancelled, because its parent has ended";

/// How many children are cancelled in a transaction.
const SWEPT_AT_ONCE: i64 = 256;

pub(crate) async fn settle(
    inner: Arc<Inner>,
    place: Place,
    kinds: &'static [DueKind],
    now: Option<Timestamp>,
) -> Result<Settled> {
    let mut settled = Settled::default();
    let numbers: Vec<i16> = kinds.iter().map(|kind| kind.number()).collect();
    let peek = [Step::Run(sql::DUE_PEEK, params![Uuid::from(place.tenant), now, numbers])];
    let rows = in_place_for(Use::Waits, &inner, &place, &peek).await?.remove(0);
    let due: Vec<i16> = rows.iter().map(|row| row.get("kind")).collect();
    for kind in kinds.iter().filter(|kind| due.contains(&kind.number())) {
        match kind {
            DueKind::Deadline => expire(&inner, &place, now, &mut settled).await?,
            DueKind::Wait => settled.waits = true,
            DueKind::Children => settled.children = true,
            DueKind::Sweep => sweep(&inner, &place, now, &mut settled).await?,
            // They are not about executions: `schedule::settle` takes them.
            DueKind::Schedule => {}
        }
    }
    if !settled.expired.is_empty() {
        inner.hints.tell_of_work();
    }
    Ok(settled)
}

/// Cancels children whose parents have ended. The due row stays until none is left.
async fn sweep(inner: &Inner, place: &Place, now: Option<Timestamp>, settled: &mut Settled) -> Result<()> {
    let (tenant, schema) = (Uuid::from(place.tenant), SchemaName::of(place)?);
    let failed = |failure: Failure| failure.into_error(&crate::error::named(place));
    let mut side = inner.pool.get(Use::Waits).await?;
    side.touch(place.tenant);
    let take = [Step::Run(sql::SWEEP_TAKE, params![tenant, now, SWEPT_AT_ONCE])];
    let taken = side.begin(inner.scope(place.tenant, &schema), &take).await.map_err(failed)?.remove(0);
    let Some(first) = taken.first() else {
        side.finish(&[]).await.map_err(failed)?;
        return Ok(());
    };
    let parent: Uuid = column(first, "subject", &place.name)?;
    let cause: String = column(first, "cause", &place.name)?;
    let node: Option<i16> = column(first, "node", &place.name)?;
    let read = |row| column::<Option<Uuid>>(row, "id", &place.name);
    let mut children: Vec<Uuid> = readable(&taken, &place.name, read).into_iter().flatten().collect();
    children.sort_unstable();
    let mut steps = Vec::new();
    if !children.is_empty() {
        steps.push(Step::Run(sql::EXECUTION_CANCEL, params![tenant, now, children.clone(), PARENT_ENDED]));
        steps.push(Step::Run(sql::WAIT_DROP, params![tenant, children.clone()]));
        steps.push(Step::Run(sql::NOTICE_INSERT, params![tenant, now, children.clone()]));
        steps.extend(doorbell::wake_related(place.tenant, now, children));
    }
    steps.push(Step::Run(sql::SWEEP_DONE, params![tenant, now, parent, node, cause]));
    let rows = side.finish(&steps).await.map_err(failed)?;
    let mut swept = Vec::new();
    if steps.len() > 1 {
        let id = |row| column(row, "id", &place.name).map(ExecutionId);
        swept = readable(&rows[0], &place.name, id);
    }
    // Where nothing could be done, somebody else has what is left: it is for a later try.
    let is_done = rows.last().is_some_and(|rows| !rows.is_empty());
    settled.taken += usize::from(is_done || !swept.is_empty());
    settled.expired.extend(swept);
    Ok(())
}

async fn expire(inner: &Inner, place: &Place, now: Option<Timestamp>, settled: &mut Settled) -> Result<()> {
    let (tenant, schema) = (Uuid::from(place.tenant), SchemaName::of(place)?);
    let failed = |failure: Failure| failure.into_error(&crate::error::named(place));
    let mut side = inner.pool.side().await?;
    side.touch(place.tenant);
    // A flight of its own: it locks the subjects, and what is done about them goes by what its answer names.
    let take = [Step::Run(sql::DUE_TAKE, params![tenant, now, DueKind::Deadline.number(), MANY as i64])];
    let taken = side.begin(inner.scope(place.tenant, &schema), &take).await.map_err(failed)?;
    let (mut subjects, mut spoiled, mut related) = (Vec::new(), 0_usize, false);
    for row in &taken[0] {
        match (column::<Uuid>(row, "subject", &place.name), column(row, "fits", &place.name)) {
            (Ok(subject), Ok(true)) => {
                related |= row.try_get::<_, bool>("related").unwrap_or(true);
                subjects.push(subject);
            }
            _ => spoiled += 1,
        }
    }
    let mut steps = Vec::new();
    if !subjects.is_empty() {
        steps.push(Step::Run(sql::EXECUTION_CANCEL, params![tenant, now, subjects.clone(), DEADLINE_PASSED]));
        steps.push(Step::Run(sql::WAIT_DROP, params![tenant, subjects.clone()]));
        steps.push(Step::Run(sql::NOTICE_INSERT, params![tenant, now, subjects.clone()]));
    }
    if related {
        steps.extend(doorbell::wake_related(place.tenant, now, subjects));
    }
    let rows = side.finish(&steps).await.map_err(failed)?;
    settled.taken += taken[0].len();
    if spoiled > 0 {
        tracing::warn!(
            tenant = place.name,
            rows = spoiled,
            "due rows are left out, because their executions are over, not there, or not due"
        );
    }
    let cancelled = rows.first().map_or(&[][..], Vec::as_slice);
    settled
        .expired
        .extend(readable(cancelled, &place.name, |row| column(row, "id", &place.name).map(ExecutionId)));
    Ok(())
}
