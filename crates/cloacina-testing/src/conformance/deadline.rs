//! Executions that must be over by a time.

use std::collections::HashSet;
use std::sync::Arc;

use cloacina_core::execution::{ExecutionStatus, TaskState};
use cloacina_core::store::NewExecution;

use super::Fixture;
use super::process::{World, at, claimed_draft, completed, draft};

pub async fn a_deadline_that_passed_cancels(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let deadline = Some(at(1_000));
    let running = runner.submit(NewExecution { deadline, ..claimed_draft(1) }, at(0)).await;
    let pending = world.submit(NewExecution { deadline, ..draft(&[0, 1]) }, at(0)).await;
    let paused = world.submit(NewExecution { deadline, ..draft(&[0]) }, at(0)).await;
    world.pause(paused, at(1)).await;
    let later = world.submit(NewExecution { deadline: Some(at(2_000)), ..draft(&[0]) }, at(0)).await;
    let never = world.submit(draft(&[0]), at(0)).await;
    assert_eq!(world.header(running).await.deadline, deadline);
    assert_eq!(world.expire(at(999)).await, []);
    let expired: HashSet<_> = world.expire(at(1_000)).await.into_iter().collect();
    assert_eq!(expired, HashSet::from([running, pending, paused]));
    for id in [running, pending, paused] {
        let record = world.load(id).await;
        assert_eq!(record.header.status, ExecutionStatus::Cancelled);
        assert_eq!(record.header.finished_at, Some(at(1_000)));
        assert!(record.header.error.is_some_and(|reason| reason.contains("deadline")), "it says why");
        assert!(record.tasks.iter().all(|task| task.state == TaskState::Cancelled));
        assert!(world.is_noticed(id, at(1_001)).await);
    }
    assert_eq!(world.expire(at(1_001)).await, [], "nothing expires twice");
    for id in [later, never] {
        assert_eq!(world.header(id).await.status, ExecutionStatus::Pending);
    }
    assert_eq!(runner.claim(10, at(1_001)).await.len(), 2, "the expired ones left no ready row");
}

pub async fn a_deadline_rings_the_bell(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    runner.submit(NewExecution { deadline: Some(at(1_000)), ..claimed_draft(1) }, at(0)).await;
    assert!(world.is_rung(at(1_000)).await, "nobody else would look");
    let next = world.lower(at(1)).await;
    assert_eq!((next.work, next.deadline), (None, Some(at(1_000))));
    assert!(!world.is_rung(at(999)).await);
    assert!(world.is_rung(at(1_000)).await);
}

pub async fn an_execution_that_is_over_has_no_deadline(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let deadline = Some(at(1_000));
    let done = runner.submit(NewExecution { deadline, ..claimed_draft(1) }, at(0)).await;
    let cancelled = runner.submit(NewExecution { deadline, ..claimed_draft(1) }, at(0)).await;
    let resumed = runner.submit(NewExecution { deadline, ..claimed_draft(1) }, at(0)).await;
    world.pause(resumed, at(1)).await;
    runner.batch(at(2)).outcome(completed(done, 0)).outcome(completed(resumed, 0)).write().await;
    world.cancel(cancelled, at(2)).await;
    assert_eq!(world.lower(at(2)).await.deadline, Some(at(1_000)), "the paused one still has its own");
    world.resume(resumed, at(3)).await;
    assert_eq!(world.lower(at(3)).await.deadline, None);
    assert_eq!(world.expire(at(1_000)).await, []);
    assert_eq!(world.header(done).await.status, ExecutionStatus::Completed);
    assert_eq!(world.header(done).await.deadline, deadline, "what it was is still told");
}

pub async fn at_most_a_thousand_deadlines_pass_at_once(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let new = || Arc::new(NewExecution { deadline: Some(at(10)), ..draft(&[0]) });
    world.batch(at(0)).submits((0..1_100).map(|_| new())).write().await;
    assert_eq!(world.expire(at(10)).await.len(), 1_000);
    assert_eq!(world.expire(at(10)).await.len(), 100);
    assert_eq!(world.expire(at(10)).await, []);
}
