//! Executions that must be over by a time.

use std::collections::HashSet;
use std::sync::Arc;

use cloacina_core::execution::{ExecutionStatus, TaskState};
use cloacina_core::store::{DueKind, MANY, NewExecution, Settled};

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
    assert_eq!((next.work, next.due), (None, Some(at(1_000))));
    assert!(!world.is_rung(at(999)).await);
    assert!(world.is_rung(at(1_000)).await);
}

pub async fn a_claim_says_whether_the_execution_may_have_due_rows(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    for deadline in [None, Some(at(1_000))] {
        let id = world.submit(NewExecution { deadline, ..draft(&[0]) }, at(0)).await;
        let claimed = runner.claim(1, at(1)).await;
        assert_eq!(claimed[0].execution, id);
        assert_eq!(claimed[0].fresh.as_ref().map(|fresh| fresh.timed), Some(deadline.is_some()));
    }
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
    assert_eq!(world.lower(at(2)).await.due, Some(at(1_000)), "the paused one still has its own");
    world.resume(resumed, at(3)).await;
    assert_eq!(world.lower(at(3)).await.due, None);
    assert_eq!(world.expire(at(1_000)).await, []);
    assert_eq!(world.header(done).await.status, ExecutionStatus::Completed);
    assert_eq!(world.header(done).await.deadline, deadline, "what it was is still told");
}

pub async fn ten_thousand_deadlines_of_one_moment_pass_in_batches(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let new = || Arc::new(NewExecution { deadline: Some(at(10)), ..draft(&[0]) });
    for _ in 0..10 {
        world.batch(at(0)).submits((0..1_000).map(|_| new())).write().await;
    }
    let mut expired = HashSet::new();
    for _ in 0..10 {
        let settled = world.settle(DueKind::ALL, at(10)).await;
        assert_eq!((settled.taken, settled.expired.len()), (MANY, MANY));
        expired.extend(settled.expired);
    }
    assert_eq!(expired.len(), 10_000, "each is cancelled once");
    assert_eq!(world.settle(DueKind::ALL, at(10)).await, Settled::default());
    assert_eq!(world.lower(at(10)).await.earliest(), None, "no ready row is left either");
}

pub async fn two_processes_take_each_due_row_once(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let processes = [world.process().await, world.process().await];
    let new = || Arc::new(NewExecution { deadline: Some(at(10)), ..draft(&[0]) });
    for _ in 0..3 {
        world.batch(at(0)).submits((0..1_000).map(|_| new())).write().await;
    }
    let takers = processes.map(|process| {
        tokio::spawn(async move {
            let mut expired = Vec::new();
            // What the other one has locked is not there for this one, so both look until nothing is due.
            while process.lower(at(10)).await.due.is_some() {
                expired.extend(process.expire(at(10)).await);
            }
            expired
        })
    });
    let mut expired = Vec::new();
    for taker in takers {
        expired.extend(taker.await.expect("it takes to the end"));
    }
    assert_eq!(expired.len(), 3_000);
    assert_eq!(expired.into_iter().collect::<HashSet<_>>().len(), 3_000, "none is taken twice");
}

pub async fn a_kind_that_is_not_known_stays_and_rings(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let late = runner.submit(NewExecution { deadline: Some(at(10)), ..claimed_draft(1) }, at(0)).await;
    assert_eq!(world.settle(&[], at(10)).await, Settled::default());
    let next = world.lower_knowing(&[], at(10)).await;
    assert_eq!((next.work, next.due, next.unknown), (None, None, Some(at(10))));
    assert!(world.is_rung(at(10)).await, "a program that knows it is to look");
    assert_eq!(world.expire(at(10)).await, [late]);
}

pub async fn a_deadline_of_an_execution_that_is_over_or_gone_is_nothing(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let deadline = Some(at(1_000));
    let [over, gone, due] = [(); 3].map(|()| NewExecution { deadline, ..claimed_draft(1) });
    let (over, gone) = (runner.submit(over, at(0)).await, runner.submit(gone, at(0)).await);
    runner.batch(at(1)).outcome(completed(gone, 0)).write_untimed().await;
    assert_eq!(world.prune(at(2), 10).await, 1);
    runner.batch(at(3)).outcome(completed(over, 0)).write_untimed().await;
    let due = runner.submit(due, at(4)).await;
    // Where the writer has to say which executions may have due rows, it did not.
    let settled = world.settle(DueKind::ALL, at(1_000)).await;
    assert_eq!(settled.expired, [due], "what is sound is not kept waiting by what is not");
    assert_eq!(world.header(over).await.status, ExecutionStatus::Completed);
    assert_eq!(world.settle(DueKind::ALL, at(1_000)).await, Settled::default(), "they are gone");
    assert_eq!(world.lower(at(1_000)).await.earliest(), None);
}
