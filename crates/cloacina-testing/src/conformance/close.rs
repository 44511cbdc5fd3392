//! How executions end.

use std::time::Duration;

use cloacina_core::execution::{ExecutionStatus, TaskState};
use cloacina_core::store::{Closed, NewExecution, ON_FAILURE, Outcome, Rerun};
use cloacina_core::workflow::Fingerprint;

use super::Fixture;
use super::process::{Batch, World, at, claimed_draft, completed, draft, failed, key, skipped};

pub async fn an_execution_whose_tasks_completed_is_completed(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(claimed_draft(2), at(0)).await;
    assert_eq!(runner.report(completed(id, 1), at(1)).await.closed, []);
    assert_eq!(world.header(id).await.status, ExecutionStatus::Running);
    let closed = runner.report(completed(id, 0), at(2)).await.closed;
    assert_eq!(closed, [Closed { execution: id, status: ExecutionStatus::Completed }]);
    let header = world.header(id).await;
    assert_eq!((header.status, header.finished_at), (ExecutionStatus::Completed, Some(at(2))));
    assert_eq!(header.error, None);
}

pub async fn an_unhandled_failure_fails_the_execution(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(claimed_draft(3), at(0)).await;
    let first = runner.batch(at(1)).outcome(failed(id, 1, "the first")).outcome(completed(id, 0));
    assert_eq!(first.write().await.closed, [], "the others run on");
    let closed = runner.report(failed(id, 2, "the second"), at(2)).await.closed;
    assert_eq!(closed, [Closed { execution: id, status: ExecutionStatus::Failed }]);
    let header = world.header(id).await;
    assert_eq!((header.status, header.finished_at), (ExecutionStatus::Failed, Some(at(2))));
    assert_eq!(header.error.as_deref(), Some("the first"));
}

pub async fn a_handled_failure_does_not_fail_the_execution(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(NewExecution { claimed: vec![0, 1], ..draft(&[0, 0, 2]) }, at(0)).await;
    let ends = [completed(id, 0), failed(id, 1, "no")];
    let ends = ends.into_iter().map(|end| Outcome { successors: vec![(2, true)], ..end });
    runner.batch(at(1)).outcomes(ends).write().await;
    let handler = Outcome { handles: vec![1], ..completed(id, 2) };
    let closed = runner.report(handler, at(2)).await.closed;
    assert_eq!(closed, [Closed { execution: id, status: ExecutionStatus::Completed }]);
    let record = world.load(id).await;
    assert_eq!((record.header.error, record.tasks[1].state), (None, TaskState::Failed));
    let handled: Vec<_> = record.tasks.iter().map(|task| task.handled).collect();
    assert_eq!(handled, [false, true, false]);
}

pub async fn one_failure_left_unhandled_is_enough(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(NewExecution { claimed: vec![0, 1], ..draft(&[0, 0, 1]) }, at(0)).await;
    let handled = Outcome { successors: vec![(2, true)], ..failed(id, 0, "handled") };
    runner.batch(at(1)).outcome(handled).outcome(failed(id, 1, "left")).write().await;
    let handler = Outcome { handles: vec![0], ..completed(id, 2) };
    let closed = runner.report(handler, at(2)).await.closed;
    assert_eq!(closed, [Closed { execution: id, status: ExecutionStatus::Failed }]);
    assert_eq!(world.header(id).await.error.as_deref(), Some("left"));
}

/// A handler whose report comes too late handled nothing.
pub async fn news_handles_nothing(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1]) }, at(0)).await;
    runner.report(Outcome { successors: vec![(1, true)], ..failed(id, 0, "no") }, at(1)).await;
    runner.report(Outcome { handles: vec![0], attempt: 7, ..completed(id, 1) }, at(2)).await;
    assert!(!world.load(id).await.tasks[0].handled);
    let closed = runner.report(skipped(id, 1), at(3)).await.closed;
    assert_eq!(closed, [Closed { execution: id, status: ExecutionStatus::Failed }]);
}

pub async fn an_execution_whose_tasks_were_skipped_is_completed(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(claimed_draft(2), at(0)).await;
    let flushed = runner.batch(at(1)).outcome(skipped(id, 0)).outcome(skipped(id, 1)).write().await;
    assert_eq!(flushed.closed, [Closed { execution: id, status: ExecutionStatus::Completed }]);
}

pub async fn a_flush_may_close_many_executions(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let drafts: Vec<_> = (0..20).map(|_| claimed_draft(1)).collect();
    let ids: Vec<_> = drafts.iter().map(|new| new.id).collect();
    drafts.into_iter().fold(runner.batch(at(0)), Batch::submit).write().await;
    let end = |(number, id)| if number % 2 == 0 { completed(id, 0) } else { failed(id, 0, "odd") };
    let ends = ids.iter().copied().enumerate().map(end);
    let closed = runner.batch(at(1)).outcomes(ends).write().await.closed;
    assert_eq!(closed.len(), 20);
    for Closed { execution, status } in closed {
        let number = ids.iter().position(|id| *id == execution).expect("it is one of ours");
        let expected = if number % 2 == 0 { ExecutionStatus::Completed } else { ExecutionStatus::Failed };
        assert_eq!(status, expected);
    }
}

pub async fn a_failure_starts_the_workflow_that_is_named_for_it_once(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let new = || NewExecution { on_failure: Some("alert".into()), priority: 7, ..claimed_draft(1) };
    let done = runner.submit(new(), at(0)).await;
    runner.report(completed(done, 0), at(1)).await;
    let cancelled = runner.submit(new(), at(0)).await;
    world.cancel(cancelled, at(1)).await;
    world.lower(at(1)).await;
    let id = runner.submit(new(), at(0)).await;
    let closed = runner.report(failed(id, 0, "no \"paper\""), at(2)).await.closed;
    assert_eq!(closed, [Closed { execution: id, status: ExecutionStatus::Failed }]);
    assert!(world.is_rung(at(2)).await);
    runner.report(failed(id, 0, "again"), at(3)).await;
    let (started, hash) = world.find("alert", &format!("{ON_FAILURE}{id}")).await.expect("it is started");
    let header = world.header(started).await;
    assert_eq!((header.status, header.priority, hash), (ExecutionStatus::Pending, 7, 0));
    assert_eq!((header.workflow.fingerprint, header.created_at), (Fingerprint::UNKNOWN, at(2)));
    let input = world.load(started).await.input.replace(' ', "");
    for part in [format!("\"execution_id\":\"{id}\""), r#""error":"no\"paper\"""#.to_owned()] {
        assert!(input.contains(&part), "{input}");
    }
    // It is the only one. When it fails it starts nothing, whatever its version names.
    assert_eq!(world.expand(&key("alert", 1), &[0], 10, at(4)).await, 1);
    let other = world.runner_for(&[key("alert", 1)]).await;
    assert_eq!(other.claim(10, at(5)).await.len(), 1);
    other.report(failed(started, 0, "no"), at(6)).await;
    assert_eq!(world.expand(&key("alert", 1), &[0], 10, at(7)).await, 0);
}

pub async fn the_failure_of_a_rerun_starts_what_that_of_the_execution_before_it_did(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    // A schedule said so, and what the code says is another workflow.
    let new = NewExecution { on_failure: Some("page".into()), ..claimed_draft(1) };
    let mut before = runner.submit(new, at(0)).await;
    for seconds in [1, 3] {
        runner.report(failed(before, 0, "no paper"), at(seconds)).await;
        assert!(world.find("page", &format!("{ON_FAILURE}{before}")).await.is_some());
        let rerun = Some(Box::new(Rerun { audit: None, of: before, copied: Vec::new() }));
        let new = NewExecution { rerun, on_failure: Some("alert".into()), ..draft(&[0]) };
        before = new.id;
        assert_eq!(world.record(vec![new], at(seconds + 1)).await.submitted, [before]);
        assert_eq!(runner.claim(10, at(seconds + 1)).await.len(), 1);
    }
    runner.report(failed(before, 0, "still none"), at(5)).await;
    assert!(world.find("alert", &format!("{ON_FAILURE}{before}")).await.is_none());
}

pub async fn who_submitted_an_execution_is_told_of_its_end(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let front = world.process().await;
    let submitter = front.store.submitter();
    let runner = world.runner().await;
    let drafts: Vec<_> = (0..3).map(|_| NewExecution { submitter, ..draft(&[0]) }).collect();
    let mut ids = Vec::new();
    for new in drafts.into_iter().chain([draft(&[0])]) {
        ids.push(front.submit(new, at(0)).await);
    }
    assert_eq!(runner.claim(4, at(1)).await.len(), 4);
    let done = runner.batch(at(2)).outcomes(ids.into_iter().map(|id| completed(id, 0))).write().await;
    assert_eq!(done.closed.len(), 4);
    // A store that learns of ends otherwise keeps no submitter.
    assert_eq!(done.submitters, vec![submitter; 3].into_iter().flatten().collect::<Vec<_>>());
    let Some(submitter) = submitter else { return };
    let mut ends = front.store.ends();
    ends.mark_unchanged();
    world.store.tell(&[submitter]);
    tokio::time::timeout(Duration::from_secs(10), ends.changed())
        .await
        .expect("it is told")
        .expect("it listens");
}
