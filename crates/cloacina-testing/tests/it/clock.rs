use std::time::Duration;

use cloacina_core::clock::Clock;
use cloacina_testing::clock::ManualClock;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn sleepers_wake_when_time_passes_them() {
    let clock = ManualClock::new();
    let [early, late] = [1, 3].map(|seconds| {
        let clock = clock.clone();
        tokio::spawn(async move { clock.sleep(SECOND * seconds).await })
    });
    clock.sleepers(2).await;
    clock.advance(SECOND * 2);
    early.await.unwrap();
    assert!(!late.is_finished());
    clock.advance(SECOND);
    late.await.unwrap();
}

#[tokio::test]
async fn a_sleep_that_is_over_does_not_wait() {
    let clock = ManualClock::new();
    clock.sleep(Duration::ZERO).await;
    clock.advance(SECOND);
    clock.sleep_until(SECOND).await;
}

#[tokio::test]
async fn a_dropped_sleep_is_no_sleeper() {
    let clock = ManualClock::new();
    let sleep = tokio::spawn({
        let clock = clock.clone();
        async move { clock.sleep(SECOND).await }
    });
    clock.sleepers(1).await;
    sleep.abort();
    assert!(sleep.await.unwrap_err().is_cancelled());
    let waits = tokio::time::timeout(Duration::ZERO, clock.sleepers(1));
    assert!(waits.await.is_err());
}

#[test]
fn the_database_is_told_the_same_time() {
    let clock = ManualClock::new();
    let start = clock.now();
    assert_eq!(clock.database_now(), Some(start));
    clock.advance(SECOND);
    assert_eq!(clock.database_now(), Some(start + SECOND));
    clock.set(start);
    assert_eq!((clock.now(), clock.monotonic()), (start, SECOND), "the wall clock went back alone");
}
