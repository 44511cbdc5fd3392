//! Claims from the ready table.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cloacina_core::execution::{ExecutionStatus, TaskState};
use cloacina_core::store::{Claimed, Fresh, NewExecution};

use super::Fixture;
use super::process::{WORKFLOW, World, at, draft, key, released};

pub async fn a_claim_takes_exactly_its_limit(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    world.batch(at(0)).submits((0..500).map(|_| Arc::new(draft(&[0])))).write().await;
    assert_eq!(runner.claim(5, at(1)).await.len(), 5);
    assert_eq!(world.held(runner.id).await.len(), 5);
    assert_eq!(runner.claim(400, at(2)).await.len(), 400);
    assert_eq!(runner.claim(400, at(3)).await.len(), 95);
    assert_eq!(runner.claim(400, at(4)).await, []);
    assert_eq!(world.held(runner.id).await.len(), 500);
}

pub async fn a_claimed_task_runs(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = world.submit(NewExecution { priority: 2, ..draft(&[0, 1]) }, at(0)).await;
    let expected = Claimed {
        execution: id,
        task: 0,
        workflow: key(WORKFLOW, 1),
        priority: 2,
        attempt: 1,
        failures: 0,
        lost: 0,
        waited: Duration::from_millis(7),
        fresh: Some(Fresh { input: "{}".into(), created_at: at(0), timed: false }),
    };
    assert_eq!(runner.claim(10, at(7)).await, [expected]);
    let record = world.load(id).await;
    assert_eq!((record.header.status, record.header.started_at), (ExecutionStatus::Running, Some(at(7))));
    let task = &record.tasks[0];
    assert_eq!((task.state, task.attempt, task.runner), (TaskState::Running, 1, Some(runner.id)));
    assert_eq!((task.started_at, task.finished_at), (Some(at(7)), None));
}

pub async fn only_the_first_claim_of_an_execution_brings_its_input(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = world.submit(NewExecution { input: r#"{"n":1.0}"#.into(), ..draft(&[0, 0]) }, at(0)).await;
    let first = runner.claim(1, at(1)).await.remove(0);
    assert_eq!(first.fresh, Some(Fresh { input: r#"{"n":1.0}"#.into(), created_at: at(0), timed: false }));
    assert_eq!(runner.claim(1, at(2)).await.remove(0).fresh, None);
    assert!(world.held(runner.id).await.iter().all(|held| held.fresh.is_none()));
    let outcome = released(id, first.task);
    runner.batch(at(3)).outcome(outcome).write().await;
    assert_eq!(runner.claim(1, at(4)).await.remove(0).fresh, None, "an attempt was made before");
}

pub async fn the_higher_priority_is_claimed_first_then_the_earlier_due(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let mut expected = Vec::new();
    for (priority, due) in [(3, 30), (9, 20), (3, 10), (0, 5), (9, 10)] {
        let new = NewExecution { priority, start_at: Some(at(due)), ..draft(&[0]) };
        expected.push((-priority, due, world.submit(new, at(0)).await));
    }
    expected.sort_unstable();
    for (.., id) in expected {
        assert_eq!(runner.claim(1, at(100)).await[0].execution, id);
    }
}

pub async fn a_claim_takes_only_what_it_names(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let submit = |workflow| world.submit(NewExecution { workflow, ..draft(&[0]) }, at(0));
    let older = submit(key("billing", 1)).await;
    let newer = submit(key("billing", 2)).await;
    let other = submit(key("shipping", 1)).await;
    // The pair counts, not each half of it.
    let crossed = world.runner_for(&[key("billing", 3), key("shipping", 2)]).await;
    assert_eq!(crossed.claim(10, at(1)).await, []);
    let one = world.runner_for(&[key("billing", 2)]).await;
    let claimed = one.claim(10, at(1)).await;
    assert_eq!(claimed.iter().map(|claimed| claimed.execution).collect::<Vec<_>>(), [newer]);
    let both = world.runner_for(&[key("billing", 1), key("shipping", 1)]).await;
    let claimed: HashSet<_> = both.claim(10, at(1)).await.iter().map(|claimed| claimed.execution).collect();
    assert_eq!(claimed, HashSet::from([older, other]));
}

/// What nobody here can run must not hide behind a limit what somebody can.
pub async fn foreign_work_does_not_hide_ours(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let foreign = || Arc::new(NewExecution { workflow: key("foreign", 1), priority: 9, ..draft(&[0]) });
    world.batch(at(0)).submits((0..50).map(|_| foreign())).write().await;
    let ours = world.submit(NewExecution { priority: 0, ..draft(&[0]) }, at(1)).await;
    let runner = world.runner().await;
    assert_eq!(runner.claim(1, at(2)).await[0].execution, ours);
    assert_eq!(world.lower(at(2)).await.work, Some(at(0)), "the bell is for everybody");
}

pub async fn work_of_the_future_is_not_claimed(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let soon = world.submit(NewExecution { start_at: Some(at(100)), ..draft(&[0]) }, at(0)).await;
    world.submit(NewExecution { start_at: Some(at(200)), priority: 9, ..draft(&[0]) }, at(0)).await;
    assert_eq!(runner.claim(10, at(99)).await, []);
    let claimed = runner.claim(10, at(100)).await;
    assert_eq!(claimed.iter().map(|claimed| claimed.execution).collect::<Vec<_>>(), [soon]);
}

pub async fn claims_of_several_runners_are_disjoint(fixture: &impl Fixture) {
    const TASKS: usize = 600;
    let world = World::new(fixture).await;
    world.batch(at(0)).submits((0..TASKS / 3).map(|_| Arc::new(draft(&[0, 0, 0])))).write().await;
    let mut claimers = Vec::new();
    for _ in 0..3 {
        let runner = world.process().await.runner().await;
        claimers.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            let mut idle = 0;
            // Rows that another claim holds are passed over, so a claim that finds nothing looks again.
            while idle < 3 {
                let claimed = runner.claim(7, at(1)).await;
                idle = if claimed.is_empty() { idle + 1 } else { 0 };
                mine.extend(claimed.iter().map(|claimed| (claimed.execution, claimed.task)));
            }
            mine
        }));
    }
    let mut all = Vec::new();
    for claimer in claimers {
        all.extend(claimer.await.expect("the runner claims"));
    }
    all.extend(world.runner().await.claim(TASKS, at(2)).await.iter().map(|left| (left.execution, left.task)));
    assert_eq!(all.len(), TASKS, "each task is claimed once");
    assert_eq!(all.into_iter().collect::<HashSet<_>>().len(), TASKS);
}
