//! Clocks of machines that are set forward or back.

use std::time::Duration;

use cloacina_core::clock::{Clock, SystemClock};
use cloacina_core::execution::ExecutionStatus;
use cloacina_core::store::{Claim, Flush, NewExecution, Outcome, PlaceFlush, PlaceFlushed, Store};
use jiff::{SignedDuration, Timestamp};

use crate::support::{File, Handle, completed, new_execution, retry, workflow};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A flush by the store's own time.
async fn flush(
    handle: &Handle,
    submits: Vec<NewExecution>,
    outcomes: Vec<Outcome>,
) -> (Timestamp, PlaceFlushed) {
    let flush = Flush {
        runner: Some(handle.runner),
        now: None,
        places: vec![PlaceFlush {
            place: handle.place.clone(),
            first_claim: false,
            submits: submits.into_iter().map(Into::into).collect(),
            outcomes: outcomes.into_iter().map(Into::into).collect(),
            timed: Vec::new(),
            related: Vec::new(),
            claim: Some(Claim { limit: 10, workflows: [workflow()].into() }),
        }],
    };
    let mut flushed = handle.store.flush(0, &flush).await.unwrap();
    (flushed.now, flushed.places.remove(0))
}

#[tokio::test]
async fn a_retry_comes_when_it_is_due_although_the_clock_was_set_back() {
    let file = File::new();
    let handle = file.open().await;
    let new = new_execution(&[0], &[]);
    let execution = new.id;
    assert_eq!(flush(&handle, vec![new], vec![]).await.1.claimed.len(), 1);
    handle.store.shift_clock(HOUR);
    let (_, flushed) = flush(&handle, vec![], vec![retry(execution, 0, 1, Duration::from_secs(1800))]).await;
    assert_eq!(flushed.claimed.len(), 0);
    handle.store.shift_clock(-HOUR);
    let next = handle.lower(None).await;
    let wait = next.work.unwrap().duration_since(next.now);
    assert!(wait <= SignedDuration::from_mins(30), "{wait:?}");
}

#[tokio::test]
async fn a_file_goes_on_from_its_latest_time_after_the_clock_was_set_back() {
    let file = File::new();
    let handle = file.open().await;
    handle.store.shift_clock(HOUR);
    let new = new_execution(&[0], &[0]);
    let execution = new.id;
    flush(&handle, vec![new], vec![]).await;
    flush(&handle, vec![], vec![retry(execution, 0, 1, Duration::from_micros(1))]).await;
    handle.store.runner_retire(handle.runner).await.unwrap();
    handle.store.close().await.unwrap();
    let again = file.open().await;
    let (_, flushed) = flush(&again, vec![], vec![]).await;
    let claimed: Vec<_> = flushed.claimed.iter().map(|claimed| claimed.execution).collect();
    assert!(claimed == [execution] || again.load(execution).await.tasks[0].attempt == 2, "{claimed:?}");
}

#[tokio::test]
async fn a_start_is_by_the_wall_clock_that_was_set_back() {
    let file = File::new();
    let handle = file.open().await;
    flush(&handle, vec![], vec![]).await;
    handle.store.shift_clock(-HOUR);
    let start_at = SystemClock.now() - HOUR + SignedDuration::from_mins(10);
    let new = NewExecution { start_at: Some(start_at), ..new_execution(&[0], &[]) };
    assert_eq!(flush(&handle, vec![new], vec![]).await.1.claimed.len(), 0);
    let next = handle.lower(None).await;
    let wait = next.work.unwrap().duration_since(next.now);
    assert!((9..=10).contains(&wait.as_mins()), "{wait:?}");
}

#[tokio::test]
async fn a_clock_that_is_a_month_ahead_deletes_nothing() {
    let file = File::new();
    let handle = file.open().await;
    let new = new_execution(&[0], &[0]);
    let execution = new.id;
    flush(&handle, vec![new], vec![]).await;
    let (_, flushed) = flush(&handle, vec![], vec![completed(execution, 0, 1, &[])]).await;
    assert_eq!(flushed.closed.len(), 1);
    handle.store.shift_clock(SignedDuration::from_hours(31 * 24));
    let week = Duration::from_secs(7 * 24 * 3600);
    assert_eq!(
        handle
            .store
            .execution_prune(&handle.place, ExecutionStatus::Completed, week, 10, None)
            .await
            .unwrap(),
        0
    );
    assert_eq!(handle.load(execution).await.header.id, execution);
    let later = SystemClock.now() + SignedDuration::from_hours(31 * 24);
    assert_eq!(
        handle
            .store
            .execution_prune(&handle.place, ExecutionStatus::Completed, week, 10, Some(later))
            .await
            .unwrap(),
        1
    );
}
