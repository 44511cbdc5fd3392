//! Due rows: taken with their subjects, and in no other way.

use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::ExecutionId;
use cloacina_core::store::{DueKind, NewExecution, Settled, Store};

use crate::support::{Handle, new_execution};

/// An execution whose deadline passes at once.
async fn overdue(t: &Handle) -> ExecutionId {
    let deadline = Some(jiff::Timestamp::from_second(1).unwrap());
    t.submit(NewExecution { deadline, ..new_execution(&[0], &[]) }).await
}

async fn settle(t: &Handle) -> Settled {
    t.store.due_settle(&t.place, DueKind::ALL, None).await.unwrap()
}

async fn rows(t: &Handle) -> i64 {
    t.beside.query_one("SELECT count(*) FROM due_rows", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn what_somebody_else_has_locked_stays_and_keeps_nothing_waiting() {
    let t = Handle::new().await;
    let (locked, held, free) = (overdue(&t).await, overdue(&t).await, overdue(&t).await);
    let lock = format!(
        "BEGIN; SELECT FROM workflow_executions WHERE id = '{}' FOR UPDATE; \
         SELECT FROM due_rows WHERE subject = '{}' FOR UPDATE",
        locked.0, held.0
    );
    t.beside.batch_execute(&lock).await.unwrap();
    assert_eq!(settle(&t).await, Settled { taken: 1, expired: vec![free], ..Settled::default() });
    assert_eq!(settle(&t).await, Settled::default());
    t.beside.batch_execute("ROLLBACK").await.unwrap();
    let mut expired = settle(&t).await.expired;
    expired.sort();
    assert_eq!(expired, [locked, held]);
}

#[tokio::test]
async fn a_crash_between_the_taking_and_its_effect_loses_nothing() {
    let t = Handle::new().await;
    let late = overdue(&t).await;
    // The row is taken; then its effect meets an error at the last statement.
    let break_it = "ALTER TABLE task_executions ADD CONSTRAINT broken CHECK (state <> 'cancelled') NOT VALID";
    t.beside.batch_execute(break_it).await.unwrap();
    t.store.due_settle(&t.place, DueKind::ALL, None).await.expect_err("it cannot be cancelled");
    assert_eq!(rows(&t).await, 1);
    assert_eq!(t.load(late).await.header.status, ExecutionStatus::Pending);
    t.beside.batch_execute("ALTER TABLE task_executions DROP CONSTRAINT broken").await.unwrap();
    assert_eq!(settle(&t).await.expired, [late]);
    assert_eq!(rows(&t).await, 0);
}

#[tokio::test]
async fn a_kind_of_a_newer_program_stays_and_rings_while_deadlines_are_kept() {
    let t = Handle::new().await;
    let late = overdue(&t).await;
    let plant = "INSERT INTO due_rows SELECT tenant_id, 7, due_at, subject, 'a signal' FROM due_rows";
    t.beside.batch_execute(plant).await.unwrap();
    assert_eq!(settle(&t).await, Settled { taken: 1, expired: vec![late], ..Settled::default() });
    assert_eq!(rows(&t).await, 1);
    let next = t.lower(None).await;
    assert!(next.due.is_none() && next.unknown.is_some_and(|unknown| unknown < next.now));
    assert_eq!(t.store.bell_due(None).await.unwrap().due.len(), 1);
}

#[tokio::test]
async fn a_row_that_does_not_agree_with_its_execution_is_taken_away_and_does_nothing() {
    let t = Handle::new().await;
    let sound = overdue(&t).await;
    let endless = t.submit(new_execution(&[0], &[])).await;
    let deadline = Some(jiff::Timestamp::from_second(200_000_000_000).unwrap());
    let later = t.submit(NewExecution { deadline, ..new_execution(&[0], &[]) }).await;
    // Of no execution, of one that has no deadline, and of one whose deadline is later: a thousand of each in
    // front of the sound one.
    let plant = format!(
        "INSERT INTO due_rows
         SELECT tenant_id, 0, '1970-01-01 00:00:00+00', planted.id, n::text
         FROM (SELECT tenant_id FROM workflow_executions LIMIT 1) AS one, generate_series(1, 1000) AS n,
              unnest(ARRAY[gen_random_uuid(), '{}', '{}']) AS planted (id)",
        endless.0, later.0
    );
    t.beside.batch_execute(&plant).await.unwrap();
    let mut expired = Vec::new();
    for _ in 0..4 {
        expired.extend(settle(&t).await.expired);
    }
    assert_eq!(expired, [sound]);
    assert_eq!(rows(&t).await, 1, "the deadline that has not passed stays");
    for id in [endless, later] {
        assert_eq!(t.load(id).await.header.status, ExecutionStatus::Pending);
    }
}

#[tokio::test]
async fn what_cannot_be_waited_for_or_counted_is_refused() {
    let t = Handle::new().await;
    overdue(&t).await;
    for planted in [
        "0, 'infinity', subject, ''",
        "0, '-infinity', subject, ''",
        "0, '10000-01-01', subject, ''",
        "-1, due_at, subject, ''",
        "16, due_at, subject, ''",
        "0, due_at, subject, repeat('x', 201)",
    ] {
        let plant = format!("INSERT INTO due_rows SELECT tenant_id, {planted} FROM due_rows");
        let error = t.beside.batch_execute(&plant).await.expect_err(planted);
        assert_eq!(error.code().map(|code| code.code()), Some("23514"), "{planted}");
    }
}
