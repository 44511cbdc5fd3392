//! Races, with the other transaction held open by hand.

use cloacina_core::execution::{ExecutionStatus, TaskState};
use cloacina_core::id::RunnerId;
use cloacina_core::store::{
    Control, Controlled, Flush, Flushed, Liveness, Place, PlaceFlush, PlaceName, Store, StoreError,
    StoreErrorKind,
};
use cloacina_postgres::{PostgresOptions, PostgresStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

use crate::support::{Handle, completed, connect, new_execution, workflow};

#[tokio::test]
async fn two_flushes_that_finish_the_two_dependencies_of_a_task_free_it_once() {
    two_dependencies_free_their_task_once(&Handle::new().await).await;
}

pub(crate) async fn two_dependencies_free_their_task_once(t: &Handle) {
    let execution = t.submit(new_execution(&[0, 0, 2], &[0, 1])).await;
    t.lock(execution).await;
    let left = t.start(0, vec![], vec![completed(execution, 0, &[(2, false)])], 0);
    t.until_waiting(1).await;
    let right = t.start(1, vec![], vec![completed(execution, 1, &[(2, true)])], 0);
    t.until_waiting(2).await;
    t.commit().await;

    let (left, right) = (left.await.unwrap().unwrap(), right.await.unwrap().unwrap());
    assert_eq!((left.recorded.len(), right.recorded.len()), (1, 1));
    assert_eq!(left.freed.len() + right.freed.len(), 1, "{left:?} {right:?}");
    assert_ne!(t.load(execution).await.tasks[2].state, TaskState::Pending);
}

#[tokio::test]
async fn of_a_cancel_and_the_last_outcome_the_first_wins() {
    for cancel_first in [true, false] {
        let t = Handle::new().await;
        let execution = t.submit(new_execution(&[0], &[0])).await;
        t.lock(execution).await;
        let start_flush = || t.start(0, vec![], vec![completed(execution, 0, &[])], 0);
        let start_cancel = || {
            let (store, place) = (Arc::clone(&t.store), Arc::clone(&t.place));
            tokio::spawn(async move {
                let control = Control::Cancel { reason: "enough".to_owned() };
                store.execution_control(&place, execution, control, None, None).await
            })
        };
        let (flush, cancel) = if cancel_first {
            let cancel = start_cancel();
            t.until_waiting(1).await;
            (start_flush(), cancel)
        } else {
            let flush = start_flush();
            t.until_waiting(1).await;
            (flush, start_cancel())
        };
        t.until_waiting(2).await;
        t.commit().await;

        let (flushed, cancelled) = (flush.await.unwrap().unwrap(), cancel.await.unwrap().unwrap());
        let record = t.load(execution).await;
        if cancel_first {
            assert_eq!(cancelled, Controlled::Done(ExecutionStatus::Cancelled));
            assert!(flushed.recorded.is_empty() && flushed.closed.is_empty(), "{flushed:?}");
            assert_eq!(record.tasks[0].state, TaskState::Cancelled);
        } else {
            assert_eq!(cancelled, Controlled::Refused(ExecutionStatus::Completed));
            assert_eq!(flushed.closed.len(), 1, "{flushed:?}");
            assert_eq!(record.header.status, ExecutionStatus::Completed);
        }
    }
}

#[tokio::test]
async fn a_claim_does_not_wait_for_a_cancel_and_takes_nothing_from_it() {
    let t = Handle::new().await;
    let cancelled = t.submit(new_execution(&[0], &[])).await;
    let other = t.submit(new_execution(&[0], &[])).await;
    t.lock(cancelled).await;
    let claimed = t.flush(vec![], vec![], 10).await.claimed;
    assert_eq!(claimed.iter().map(|claimed| claimed.execution).collect::<Vec<_>>(), [other]);
    t.commit().await;
    assert_eq!(t.flush(vec![], vec![], 10).await.claimed.len(), 1);
}

#[tokio::test]
async fn a_bell_that_is_being_rung_is_not_lowered() {
    let t = Handle::new().await;
    let execution = t.submit(new_execution(&[0], &[])).await;
    assert_eq!(t.flush(vec![], vec![], 1).await.claimed.len(), 1);
    // A ringer whose row cannot be seen yet.
    t.beside.batch_execute("BEGIN; SELECT FROM cloacina.doorbell FOR KEY SHARE").await.unwrap();
    let insert = "INSERT INTO ready_tasks SELECT $1, 5, now() - interval '1 hour', $2, 0, 'etl', 7";
    t.beside.execute(insert, &[&t.place.tenant.0, &execution.0]).await.unwrap();

    let next = t.lower(None).await;
    assert_eq!(next.work, None);
    t.commit().await;
    assert_eq!(t.store.bell_due(None).await.unwrap().due.len(), 1);
    assert!(t.lower(None).await.work.is_some());
}

#[tokio::test]
async fn a_ring_that_waited_for_a_lowering_rings_again() {
    let t = Handle::new().await;
    // The bell is due, so a ringer that trusted its snapshot would leave it as it is.
    t.submit(new_execution(&[0], &[])).await;
    t.flush(vec![], vec![], 1).await;
    assert_eq!(t.store.bell_due(None).await.unwrap().due.len(), 1);
    t.beside.batch_execute("BEGIN; SELECT FROM cloacina.doorbell FOR UPDATE").await.unwrap();
    let submit = t.start(0, vec![new_execution(&[0], &[])], vec![], 0);
    t.until_waiting(1).await;
    t.beside.batch_execute("UPDATE cloacina.doorbell SET due_at = NULL; COMMIT").await.unwrap();
    submit.await.unwrap().unwrap();
    assert_eq!(t.store.bell_due(None).await.unwrap().due.len(), 1);
}

#[tokio::test]
async fn a_runner_is_condemned_after_its_flush_and_flushes_no_more() {
    let t = Handle::new().await;
    let execution = t.submit(new_execution(&[0], &[0])).await;
    // A flush of the runner that is under way.
    t.lock(execution).await;
    let flush = t.start(0, vec![], vec![completed(execution, 0, &[])], 0);
    t.until_waiting(1).await;
    // Heartbeats pass it, whoever condemns the runner does not.
    let workflows = Arc::from([workflow()]);
    assert_eq!(t.store.runner_heartbeat(t.runner, &workflows, None).await.unwrap(), Liveness::Live);
    let (store, runner) = (Arc::clone(&t.store), t.runner);
    let condemn = tokio::spawn(async move { store.runner_condemn(runner, 1).await });
    t.until_waiting(2).await;
    t.commit().await;

    assert_eq!(flush.await.unwrap().unwrap().closed.len(), 1);
    assert!(condemn.await.unwrap().unwrap());
    let refused = t.start(0, vec![new_execution(&[0], &[])], vec![], 0).await.unwrap().unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Fenced);
    assert!(t.store.runner_rescue(t.runner, None).await.unwrap().is_empty());
    assert!(t.store.runner_list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_flush_of_several_places_says_which_of_them_is_locked_and_writes_nothing() {
    let t = Handle::new().await;
    let store = connect(&t.url).await;
    let mut places = Vec::new();
    for name in ["free", "locked", "free_too"] {
        places.push(Arc::new(store.place_open(&PlaceName::Named(name.to_owned())).await.unwrap()));
    }
    let flush = |lane: usize, places: &[Arc<Place>]| {
        let of = |place: &Arc<Place>| PlaceFlush {
            place: Arc::clone(place),
            first_claim: true,
            submits: vec![Arc::new(new_execution(&[0], &[]))],
            outcomes: Vec::new(),
            timed: Vec::new(),
            related: Vec::new(),
            claim: None,
        };
        let flush = Flush { runner: Some(t.runner), now: None, places: places.iter().map(of).collect() };
        let store = Arc::clone(&store);
        async move { store.flush(lane, &flush).await }
    };
    t.beside.batch_execute("BEGIN; LOCK TABLE locked.task_executions").await.unwrap();
    let error = flush(0, &places).await.unwrap_err();
    assert_eq!((error.kind(), error.tenant()), (StoreErrorKind::Busy, Some(places[1].tenant)), "{error}");
    // Aside as well as in a lane; the others are written.
    let error = flush(store.lanes(), &places[1..2]).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Busy, "{error}");
    for place in [&places[0], &places[2]] {
        assert_eq!(store.execution_count(place, 10).await.unwrap(), 0);
        assert_eq!(flush(0, std::slice::from_ref(place)).await.unwrap().places[0].submitted.len(), 1);
    }
    t.commit().await;
    assert_eq!(flush(store.lanes(), &places[1..2]).await.unwrap().places[0].submitted.len(), 1);
}

#[tokio::test]
async fn a_locked_place_of_a_tenant_with_a_login_holds_up_no_other_flush() {
    for max_connections in [6, 10] {
        let (t, store, places) = with_places(max_connections, 3).await;
        let flush = |lane, place: &Arc<Place>| flush_of(&store, t.runner, lane, place);
        t.beside.batch_execute("BEGIN; LOCK TABLE place_0.task_executions").await.unwrap();
        // Lanes after that of places in trouble are those of tenants with logins.
        let first = store.lanes() + 1;
        let locked = flush(first, &places[0]);
        t.until_waiting(1).await;
        flush(first + 1, &places[1]).await.unwrap().unwrap();
        flush(0, &places[2]).await.unwrap().unwrap();
        assert!(!locked.is_finished(), "with {max_connections} connections");
        t.commit().await;
        locked.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn flushes_of_tenants_with_logins_take_turns_where_there_are_few_connections() {
    for max_connections in 1..=5 {
        let (t, store, places) = with_places(max_connections, 12).await;
        let first = store.lanes() + 1;
        let mut flushes: Vec<_> =
            places.iter().zip(first..).map(|(place, lane)| flush_of(&store, t.runner, lane, place)).collect();
        flushes.push(flush_of(&store, t.runner, 0, &places[0]));
        flushes.push(flush_of(&store, t.runner, store.lanes(), &places[1]));
        for flush in flushes {
            flush.await.unwrap().unwrap();
        }
        for place in &places[2..] {
            assert_eq!(
                store.execution_count(place, 10).await.unwrap(),
                1,
                "with {max_connections} connections"
            );
        }
    }
}

/// A store with so many connections, whose lanes wait for locks, and places in it.
async fn with_places(max_connections: u32, count: usize) -> (Handle, Arc<PostgresStore>, Vec<Arc<Place>>) {
    let t = Handle::new().await;
    let lane_patience = Some(Duration::from_secs(60));
    let options = PostgresOptions { max_connections, lane_patience, ..PostgresOptions::default() };
    let store = PostgresStore::connect(&t.url, options).await.unwrap();
    let mut places = Vec::new();
    for nth in 0..count {
        let name = PlaceName::Named(format!("place_{nth}"));
        places.push(Arc::new(store.place_open(&name).await.unwrap()));
    }
    (t, store, places)
}

/// Records an execution in a place, through this lane.
fn flush_of(
    store: &Arc<PostgresStore>,
    runner: RunnerId,
    lane: usize,
    place: &Arc<Place>,
) -> JoinHandle<Result<Flushed, StoreError>> {
    let part = PlaceFlush {
        place: Arc::clone(place),
        first_claim: true,
        submits: vec![Arc::new(new_execution(&[0], &[]))],
        outcomes: Vec::new(),
        related: Vec::new(),
        timed: Vec::new(),
        claim: None,
    };
    let flush = Flush { runner: Some(runner), now: None, places: vec![part] };
    let store = Arc::clone(store);
    tokio::spawn(async move { store.flush(lane, &flush).await })
}

#[tokio::test]
async fn a_flush_whose_connection_breaks_is_decided_when_it_returns() {
    let t = Handle::new().await;
    let execution = t.submit(new_execution(&[0], &[0])).await;
    t.lock(execution).await;
    let flush = t.start(0, vec![], vec![completed(execution, 0, &[])], 0);
    t.until_waiting(1).await;
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
    t.beside.execute(kill, &[]).await.unwrap();
    assert_eq!(flush.await.unwrap().unwrap_err().kind(), StoreErrorKind::Unknown);
    t.commit().await;
    assert_eq!(t.load(execution).await.header.status, ExecutionStatus::Running);
    // The lane has a new connection.
    assert_eq!(t.flush(vec![], vec![completed(execution, 0, &[])], 0).await.closed.len(), 1);
}

#[tokio::test]
async fn a_database_that_was_closed_to_writing_is_written_again_once_it_is_open() {
    let t = Handle::new().await;
    let database = t.url.rsplit('/').next().unwrap();
    // This session is older than the setting, and may still write.
    let set = |how: &str| format!("ALTER DATABASE {database} SET default_transaction_read_only = {how}");
    t.beside.batch_execute(&set("on")).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    t.beside.batch_execute(end).await.unwrap();
    let submit = async || t.start(0, vec![new_execution(&[0], &[])], vec![], 0).await.unwrap();
    let error = loop {
        match submit().await {
            Err(error) if error.to_string().contains("read-only transaction") => break error,
            // Its connection was one of those that ended.
            answer => assert!(answer.is_err(), "{answer:?}"),
        }
    };
    assert_eq!(error.kind(), StoreErrorKind::Transient, "{error}");
    t.beside.batch_execute(&set("off")).await.unwrap();
    assert_eq!(submit().await.unwrap().submitted.len(), 1);
}
