//! In whose places something is to be deleted.

use std::sync::Arc;
use std::time::Duration;

use cloacina_core::Retention;
use cloacina_core::id::TenantId;
use cloacina_core::store::{OldestEnds, PlaceName, Store};
use jiff::{SignedDuration, Timestamp};

use crate::support::{Handle, connect};

const HOUR: Duration = Duration::from_secs(3600);

fn hours(hours: i64) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(hours)
}

/// Which tenants a process takes of those that it has not opened.
async fn take(store: &dyn Store, retention: Retention, now: Timestamp) -> Vec<TenantId> {
    let mut taken = store.retention_take(&[], Some(&retention), 10, Some(now)).await.unwrap().tenants;
    taken.sort_unstable();
    taken
}

#[tokio::test]
async fn a_tenant_is_taken_by_one_process_at_a_time_and_only_when_something_has_come_of_age() {
    let t = Handle::new().await;
    let other = connect(&t.url).await;
    let globex = other.place_open(&PlaceName::Named("globex".to_owned())).await.unwrap().tenant;
    let acme = t.place.tenant;
    let mut both = vec![acme, globex];
    both.sort_unstable();
    let day = Retention::of(HOUR * 24);
    assert_eq!(take(&*t.store, Retention::FOREVER, hours(0)).await, []);
    // What was never looked at is looked at, by whoever comes first.
    assert_eq!(take(&*t.store, day, hours(0)).await, both);
    assert_eq!(take(&*other, day, hours(0)).await, []);
    // Nobody hears of that process any more.
    assert_eq!(take(&*other, day, hours(1)).await, both);
    let failed = OldestEnds { failed: Some(hours(-10)), ..OldestEnds::default() };
    other.retention_note(&[(acme, failed, Duration::ZERO)], Some(hours(1))).await.unwrap();
    assert_eq!(take(&*t.store, day, hours(14)).await, [globex]);
    assert_eq!(take(&*t.store, day.failed(HOUR * 48), hours(15)).await, [globex]);
    // It is not the retention of whoever looked that counts.
    assert_eq!(take(&*t.store, Retention::of(HOUR), hours(2)).await, [acme]);
    other.retention_note(&[(acme, failed, HOUR)], Some(hours(2))).await.unwrap();
    assert_eq!(take(&*other, Retention::of(HOUR), hours(2)).await, []);
    let aged = other.retention_take(&[], Some(&day), 10, Some(hours(16))).await.unwrap();
    assert_eq!((aged.tenants.contains(&acme), aged.behind), (true, HOUR * 2));
}

#[tokio::test]
async fn an_open_place_goes_by_its_own_retention_and_a_suspended_one_is_left_alone() {
    let t = Handle::new().await;
    let acme = t.place.tenant;
    let take = async |open: Retention, now| {
        let others = Retention::of(HOUR);
        t.store.retention_take(&[(acme, open)], Some(&others), 10, Some(now)).await.unwrap().tenants
    };
    assert_eq!(take(Retention::FOREVER, hours(0)).await, []);
    assert_eq!(take(Retention::of(HOUR), hours(0)).await, [acme]);
    t.beside.batch_execute("UPDATE cloacina.tenant SET state = 'suspended'").await.unwrap();
    assert_eq!(take(Retention::of(HOUR), hours(5)).await, []);
}

#[tokio::test]
async fn times_that_somebody_planted_are_bounded() {
    let t = Handle::new().await;
    t.beside
        .batch_execute(
            "INSERT INTO workflow_executions 
                 (tenant_id, id, workflow, fingerprint, state, priority, created_at, started_at, finished_at, input)
             SELECT tenant_id, gen_random_uuid(), 'w', 1, planted.state, 4, now(), now(), planted.at, '{}'
             FROM cloacina.tenant,
                  (VALUES ('completed', '-infinity'::timestamptz), ('failed', 'infinity')) AS planted (state, at)",
        )
        .await
        .unwrap();
    let oldest = t.store.execution_oldest(&[Arc::clone(&t.place)]).await.unwrap()[0];
    assert_eq!(oldest.completed, Some(Timestamp::UNIX_EPOCH));
    assert_eq!((oldest.failed, oldest.cancelled), (Some("9000-01-01T00:00:00Z".parse().unwrap()), None));
    t.store.retention_note(&[(t.place.tenant, oldest, Duration::ZERO)], None).await.unwrap();
}
