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
            // They are not about executions: `schedule::settle` takes them.
            DueKind::Schedule => {}
        }
    }
    if !settled.expired.is_empty() {
        inner.hints.tell_of_work();
    }
    Ok(settled)
}

async fn expire(inner: &Inner, place: &Place, now: Option<Timestamp>, settled: &mut Settled) -> Result<()> {
    let (tenant, schema) = (Uuid::from(place.tenant), SchemaName::of(place)?);
    let failed = |failure: Failure| failure.into_error(&crate::error::named(place));
    let mut side = inner.pool.side().await?;
    side.touch(place.tenant);
    // A flight of its own: it locks the subjects, and what is done about them goes by what its answer names.
    let take = [Step::Run(sql::DUE_TAKE, params![tenant, now, DueKind::Deadline.number(), MANY as i64])];
    let taken = side.begin(inner.scope(place.tenant, &schema), &take).await.map_err(failed)?;
    let (mut subjects, mut spoiled, mut scheduled) = (Vec::new(), 0_usize, false);
    for row in &taken[0] {
        match (column::<Uuid>(row, "subject", &place.name), column(row, "fits", &place.name)) {
            (Ok(subject), Ok(true)) => {
                scheduled |= row.try_get::<_, bool>("scheduled").unwrap_or(true);
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
    if scheduled {
        steps.extend(doorbell::wake_schedules(place.tenant, now, subjects));
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
