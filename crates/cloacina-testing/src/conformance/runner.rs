//! Runners: who is alive, and what becomes of the work of those who are not.

use std::collections::HashSet;
use std::time::Duration;

use cloacina_core::execution::{AttemptOutcome, ExecutionStatus, TaskState};
use cloacina_core::id::RunnerId;
use cloacina_core::lease::ProcessIdentity;
use cloacina_core::store::{Claimed, Liveness, NewExecution, Outcome, RunnerRegistration, StoreErrorKind};

use super::Fixture;
use super::process::{WORKFLOW, World, at, claimed_draft, completed, draft, key};

pub async fn a_runner_is_listed_as_it_registered(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let process = ProcessIdentity { host: "boot-1/ns-2".to_owned(), pid: 4_711, started: i64::MAX };
    let registration = RunnerRegistration {
        id: RunnerId::new(),
        lease: Duration::from_millis(12_345),
        process: Some(process.clone()),
        host_name: Some("web-3".to_owned()),
        workflows: [key(WORKFLOW, i64::MIN), key("„ünïcode“", -1)].into(),
    };
    world.register(registration.clone()).await;
    let other = world.process().await;
    let record = other.runner_record(registration.id).await.expect("the runner is listed");
    assert_eq!((record.liveness, record.lease), (Liveness::Live, Duration::from_millis(12_345)));
    assert_eq!((record.process, record.host_name.as_deref()), (Some(process), Some("web-3")));
    let workflows: HashSet<_> = record.workflows.into_iter().collect();
    assert_eq!(workflows, registration.workflows.iter().cloned().collect());
    let plain = world.runner_for(&[]).await;
    let record = other.runner_record(plain.id).await.expect("the runner is listed");
    assert_eq!((record.process, record.workflows), (None, vec![]));
}

pub async fn a_heartbeat_counts_up_and_announces(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let before = world.runner_record(runner.id).await.expect("the runner is listed").beat;
    let workflows = [key("billing", 3)];
    assert_eq!(world.heartbeat(runner.id, &workflows).await, Liveness::Live);
    let record = world.runner_record(runner.id).await.expect("the runner is listed");
    assert!(record.beat > before);
    assert_eq!(record.workflows, workflows);
}

pub async fn a_runner_that_beat_is_not_condemned(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let seen = world.runner_record(runner.id).await.expect("the runner is listed").beat;
    world.heartbeat(runner.id, &[key(WORKFLOW, 1)]).await;
    assert!(!world.condemn(runner.id, seen).await);
    assert_eq!(world.heartbeat(runner.id, &[key(WORKFLOW, 1)]).await, Liveness::Live);
    let seen = world.runner_record(runner.id).await.expect("the runner is listed").beat;
    assert!(world.condemn(runner.id, seen).await);
    assert!(world.condemn(runner.id, seen - 1).await, "it is dead, by whomever");
    assert_eq!(world.heartbeat(runner.id, &[key(WORKFLOW, 1)]).await, Liveness::Dead);
    let record = world.runner_record(runner.id).await.expect("a dead runner is listed until it is rescued");
    assert_eq!(record.liveness, Liveness::Dead);
}

pub async fn a_condemned_runner_writes_nothing(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1]) }, at(0)).await;
    let waiting = world.submit(draft(&[0]), at(0)).await;
    runner.condemn().await;
    let new = claimed_draft(1);
    let new_id = new.id;
    let end = Outcome { successors: vec![(1, true)], ..completed(id, 0) };
    for batch in [
        runner.batch(at(1)).submit(new).outcome(end).claim(10),
        runner.batch(at(1)).submit(NewExecution { id: new_id, ..draft(&[0]) }),
        runner.batch(at(1)).outcome(completed(id, 0)),
        runner.batch(at(1)).claim(10),
        runner.batch(at(1)),
    ] {
        let error = batch.try_write().await.expect_err("a dead runner is fenced");
        assert_eq!(error.kind(), StoreErrorKind::Fenced);
    }
    assert_eq!(world.load_all(&[new_id]).await.len(), 0);
    assert_eq!(world.states(id).await, [TaskState::Running, TaskState::Pending]);
    assert_eq!(world.states(waiting).await, [TaskState::Ready]);
    world.rescue(runner.id, at(2)).await;
    let error = runner.batch(at(3)).claim(10).try_write().await.expect_err("a runner that is gone is fenced");
    assert_eq!(error.kind(), StoreErrorKind::Fenced);
}

pub async fn a_registration_that_is_repeated_changes_nothing(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let registration = RunnerRegistration {
        id: RunnerId::new(),
        lease: Duration::from_secs(10),
        process: None,
        host_name: None,
        workflows: [key(WORKFLOW, 1)].into(),
    };
    world.register(registration.clone()).await;
    world.heartbeat(registration.id, &registration.workflows).await;
    world.register(registration.clone()).await;
    let runners = world.runners().await;
    let same: Vec<_> = runners.iter().filter(|runner| runner.id == registration.id).collect();
    assert!(
        matches!(same[..], [runner] if runner.beat == 1 && runner.liveness == Liveness::Live),
        "{same:?}"
    );
}

pub async fn a_runner_that_never_registered_is_fenced(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    world.submit(draft(&[0]), at(0)).await;
    let runner = world.runner().await;
    world.retire(runner.id).await;
    let error = runner.batch(at(1)).claim(10).try_write().await.expect_err("an unknown runner is fenced");
    assert_eq!(error.kind(), StoreErrorKind::Fenced);
    assert_eq!(world.heartbeat(runner.id, &[]).await, Liveness::Dead);
}

pub async fn a_rescue_returns_tasks_as_lost(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let dead = world.runner().await;
    let rescuer = world.process().await.runner().await;
    let id = dead.submit(NewExecution { claimed: vec![0, 1], ..draft(&[0, 0, 2]) }, at(0)).await;
    dead.report(Outcome { successors: vec![(2, true)], ..completed(id, 0) }, at(1)).await;
    let not_its = rescuer.submit(claimed_draft(1), at(1)).await;
    world.lower(at(1)).await;
    dead.condemn().await;
    let rescued = rescuer.process.rescue(dead.id, at(2)).await;
    let executions: Vec<_> = rescued.iter().flat_map(|place| place.executions.iter().copied()).collect();
    assert_eq!(executions, [id]);
    assert_eq!(rescued.iter().map(|place| place.tasks).sum::<usize>(), 1);
    assert!(rescued.iter().all(|rescued| rescued.place == *world.place));
    let record = world.load(id).await;
    assert_eq!(world.states(id).await, [TaskState::Completed, TaskState::Ready, TaskState::Pending]);
    assert_eq!((record.tasks[1].lost, record.tasks[1].failures), (1, 0));
    assert_eq!(record.header.status, ExecutionStatus::Running);
    assert_eq!(world.endings(id).await, [AttemptOutcome::Completed, AttemptOutcome::Lost]);
    let attempts = world.attempts(id).await.expect("the execution is there");
    assert_eq!((attempts[1].runner_id, attempts[1].end_time), (dead.id.into(), Some(at(2))));
    assert!(world.is_rung(at(2)).await, "somebody has to go on with it");
    assert_eq!(world.held(dead.id).await, []);
    assert_eq!(world.states(not_its).await, [TaskState::Running], "the work of others stays theirs");
    let claimed = &rescuer.claim(10, at(2)).await[0];
    assert_eq!((claimed.execution, claimed.task, claimed.attempt), (id, 1, 2));
    assert_eq!((claimed.failures, claimed.lost), (0, 1));
}

pub async fn a_rescue_may_be_repeated_and_removes_the_runner(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let dead = world.runner().await;
    let id = dead.submit(claimed_draft(1), at(0)).await;
    dead.condemn().await;
    world.rescue(dead.id, at(1)).await;
    assert!(world.runner_record(dead.id).await.is_none(), "a runner whose places are clean is gone");
    let again = world.rescue(dead.id, at(2)).await;
    assert!(again.iter().all(|place| place.executions.is_empty()));
    assert_eq!(world.load(id).await.tasks[0].lost, 1);
}

pub async fn two_rescues_at_once_return_each_task_once(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let dead = world.runner().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(dead.submit(claimed_draft(2), at(0)).await);
    }
    dead.condemn().await;
    let mut rescues = Vec::new();
    for _ in 0..2 {
        let process = world.process().await;
        let id = dead.id;
        rescues.push(tokio::spawn(async move { process.try_rescue(id, at(1)).await }));
    }
    for rescue in rescues {
        if let Err(error) = rescue.await.expect("the rescue ends") {
            assert!(
                matches!(error.kind(), StoreErrorKind::Transient | StoreErrorKind::Busy),
                "two rescues may only get in each other's way: {error}"
            );
        }
    }
    world.rescue(dead.id, at(2)).await;
    for record in world.load_all(&ids).await {
        assert!(record.tasks.iter().all(|task| (task.state, task.lost) == (TaskState::Ready, 1)));
    }
    assert_eq!(world.runner().await.claim(100, at(3)).await.len(), 40);
}

pub async fn a_rescue_respects_pause_and_cancel(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let dead = world.runner().await;
    let paused = dead.submit(claimed_draft(1), at(0)).await;
    let cancelled = dead.submit(claimed_draft(1), at(0)).await;
    world.pause(paused, at(1)).await;
    world.cancel(cancelled, at(1)).await;
    dead.condemn().await;
    world.rescue(dead.id, at(2)).await;
    let heir = world.runner().await;
    assert_eq!(heir.claim(10, at(3)).await, []);
    let record = world.load(paused).await;
    assert_eq!(record.header.status, ExecutionStatus::Paused);
    assert_eq!((record.tasks[0].state, record.tasks[0].lost), (TaskState::Ready, 1));
    assert_eq!(world.states(cancelled).await, [TaskState::Cancelled]);
    world.resume(paused, at(4)).await;
    assert_eq!(heir.claim(10, at(4)).await.len(), 1);
}

pub async fn a_live_runner_is_not_rescued(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(claimed_draft(1), at(0)).await;
    if let Ok(places) = world.try_rescue(runner.id, at(1)).await {
        assert!(places.iter().all(|place| place.executions.is_empty()));
    }
    assert_eq!(world.held(runner.id).await.len(), 1);
    assert_eq!(runner.report(completed(id, 0), at(2)).await.closed.len(), 1);
}

pub async fn a_runner_that_holds_nothing_retires(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(claimed_draft(1), at(0)).await;
    runner.report(completed(id, 0), at(1)).await;
    world.retire(runner.id).await;
    assert!(world.runner_record(runner.id).await.is_none());
}

pub async fn a_runner_that_holds_something_retires_as_dead(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(claimed_draft(1), at(0)).await;
    world.retire(runner.id).await;
    let record = world.runner_record(runner.id).await.expect("its work has to be rescued first");
    assert_eq!(record.liveness, Liveness::Dead);
    assert_eq!(world.states(id).await, [TaskState::Running]);
    world.rescue(runner.id, at(1)).await;
    assert_eq!(world.states(id).await, [TaskState::Ready]);
    assert!(world.runner_record(runner.id).await.is_none());
}

pub async fn what_a_runner_holds_is_told(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let (runner, other) = (world.runner().await, world.runner().await);
    let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1]) }, at(0)).await;
    other.submit(claimed_draft(1), at(0)).await;
    runner.report(Outcome { successors: vec![(1, true)], ..completed(id, 0) }, at(1)).await;
    world.submit(draft(&[0]), at(1)).await;
    let claimed = runner.claim(1, at(2)).await.into_iter().map(|claimed| Claimed {
        fresh: None,
        waited: Duration::ZERO,
        ..claimed
    });
    let mut held = world.process().await.held(runner.id).await;
    held.sort_unstable_by_key(|held| (held.execution != id, held.task));
    assert_eq!(held.len(), 2);
    assert_eq!((held[0].execution, held[0].task, held[0].attempt), (id, 1, 1));
    assert_eq!((&held[0].workflow, held[0].priority), (&key(WORKFLOW, 1), 4));
    assert_eq!(held[1..], claimed.collect::<Vec<_>>());
    assert_eq!(world.held(RunnerId::new()).await, []);
}

/// A flush races with the declaration that its runner is dead: either it was before, or it wrote nothing.
pub async fn a_flush_and_a_condemnation_do_not_both_win(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let other = world.process().await;
    for _ in 0..20 {
        let runner = world.runner().await;
        let id = runner.submit(claimed_draft(1), at(0)).await;
        let beat = world.runner_record(runner.id).await.expect("the runner is listed").beat;
        let (reporter, other) = (runner.clone(), other.clone());
        let report =
            tokio::spawn(async move { reporter.batch(at(1)).outcome(completed(id, 0)).try_write().await });
        let rescue = tokio::spawn(async move {
            assert!(other.condemn(runner.id, beat).await);
            other.rescue(runner.id, at(1)).await
        });
        let report = report.await.expect("the flush is answered");
        let rescued = rescue.await.expect("the rescue is answered");
        let task = world.load(id).await.tasks.remove(0);
        match report {
            Ok(flushed) => {
                assert_eq!((flushed.recorded.len(), flushed.closed.len()), (1, 1));
                assert_eq!((task.state, task.lost), (TaskState::Completed, 0));
                assert!(rescued.iter().all(|place| place.executions.is_empty()));
            }
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Fenced);
                assert_eq!((task.state, task.lost), (TaskState::Ready, 1));
            }
        }
    }
}
