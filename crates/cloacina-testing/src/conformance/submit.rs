//! New executions.

use cloacina_core::execution::{ExecutionStatus, TaskState};
use cloacina_core::store::{Idempotency, NewExecution, WorkflowKey};

use super::Fixture;
use super::process::{Batch, WORKFLOW, World, at, completed, draft, key};

/// With the idempotency key `key`.
fn keyed(workflow: &WorkflowKey, key: &str, input_hash: i64) -> NewExecution {
    let idempotency = Some(Idempotency { key: key.to_owned(), input_hash });
    NewExecution { workflow: workflow.clone(), idempotency, ..draft(&[0]) }
}

pub async fn a_submit_records_the_execution_and_its_tasks(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let new = NewExecution { priority: 7, input: r#"{"b":1,"a":"ü"}"#.into(), ..draft(&[0, 1, 2]) };
    let id = world.submit(new, at(0)).await;
    let record = world.load(id).await;
    assert_eq!(record.header.id, id);
    assert_eq!(record.header.workflow, key(WORKFLOW, 1));
    assert_eq!(record.header.status, ExecutionStatus::Pending);
    assert_eq!(record.header.priority, 7);
    assert_eq!(record.header.created_at, at(0));
    assert_eq!((record.header.started_at, record.header.finished_at), (None, None));
    assert_eq!((record.header.deadline, record.header.error), (None, None));
    assert_eq!(&*record.input, r#"{"b":1,"a":"ü"}"#);
    let names: Vec<_> = record.tasks.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(names, ["t0", "t1", "t2"]);
    for task in &record.tasks {
        assert_eq!((task.attempt, task.failures, task.lost), (0, 0, 0));
        assert_eq!((task.runner, task.started_at, task.finished_at), (None, None, None));
        assert_eq!((&task.patch, &task.error, task.skip_reason, task.handled), (&None, &None, None, false));
    }
    assert_eq!(world.states(id).await, [TaskState::Ready, TaskState::Pending, TaskState::Pending]);
}

pub async fn roots_are_claimed_with_the_submit_or_ready(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(NewExecution { claimed: vec![1], ..draft(&[0, 0, 2]) }, at(5)).await;
    let record = world.load(id).await;
    assert_eq!(world.states(id).await, [TaskState::Ready, TaskState::Running, TaskState::Pending]);
    assert_eq!(record.header.status, ExecutionStatus::Running);
    assert_eq!(record.header.started_at, Some(at(5)));
    assert_eq!((record.tasks[1].attempt, record.tasks[1].runner), (1, Some(runner.id)));
    assert_eq!(record.tasks[1].started_at, Some(at(5)));
    let claimed = runner.claim(10, at(6)).await;
    assert_eq!(claimed.iter().map(|claimed| claimed.task).collect::<Vec<_>>(), [0]);
}

pub async fn many_executions_are_recorded_in_one_flush(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let drafts: Vec<_> = (0..50).map(|_| draft(&[0, 1, 1, 2])).collect();
    let mut expected: Vec<_> = drafts.iter().map(|new| new.id).collect();
    let mut submitted = drafts.into_iter().fold(world.batch(at(0)), Batch::submit).write().await.submitted;
    expected.sort_unstable();
    submitted.sort_unstable();
    assert_eq!(submitted, expected);
    let records = world.load_all(&expected).await;
    assert_eq!(records.len(), 50);
    assert!(records.iter().all(|record| record.tasks.len() == 4));
}

pub async fn an_unclaimed_root_rings_the_bell(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    assert!(!world.is_rung(at(0)).await);
    world.submit(draft(&[0]), at(1)).await;
    assert!(world.is_rung(at(1)).await);
}

pub async fn a_start_time_holds_the_roots_back(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = world.submit(NewExecution { start_at: Some(at(1_000)), ..draft(&[0, 1]) }, at(0)).await;
    assert!(!world.is_rung(at(999)).await, "nothing is due before the start");
    assert_eq!(runner.claim(10, at(999)).await, []);
    assert_eq!(world.header(id).await.status, ExecutionStatus::Pending);
    assert_eq!(world.lower(at(999)).await.work, Some(at(1_000)));
    assert!(world.is_rung(at(1_000)).await);
    assert_eq!(runner.claim(10, at(1_000)).await.len(), 1);
}

pub async fn an_idempotency_key_records_one_execution(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let workflow = key(WORKFLOW, 1);
    let first = world.submit(keyed(&workflow, "order-1", 11), at(0)).await;
    let second = keyed(&workflow, "order-1", 22);
    let second_id = second.id;
    let other = keyed(&workflow, "order-2", 33);
    let other_id = other.id;
    let flushed = world.batch(at(1)).submit(second).submit(other).write().await;
    assert_eq!(flushed.submitted, [other_id], "the key is taken, and only that one is refused");
    assert_eq!(world.load_all(&[second_id]).await.len(), 0);
    assert_eq!(world.find(WORKFLOW, "order-1").await, Some((first, 11)));
    assert_eq!(world.find(WORKFLOW, "order-2").await, Some((other_id, 33)));
    assert_eq!(world.find(WORKFLOW, "order-3").await, None);
    assert_eq!(world.find("shipping", "order-1").await, None);
    let runner = world.runner().await;
    assert_eq!(runner.claim(10, at(2)).await.len(), 2, "the refused one left no ready row");
}

pub async fn an_idempotency_key_counts_within_one_flush(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let drafts = [keyed(&key(WORKFLOW, 1), "order-1", 1), keyed(&key(WORKFLOW, 1), "order-1", 1)];
    let ids = [drafts[0].id, drafts[1].id];
    let flushed = drafts.into_iter().fold(world.batch(at(0)), Batch::submit).write().await;
    let [winner] = flushed.submitted[..] else {
        panic!("one of two executions with one key is recorded, not {:?}", flushed.submitted)
    };
    assert!(ids.contains(&winner));
    assert_eq!(world.find(WORKFLOW, "order-1").await, Some((winner, 1)));
    let claimed = runner.claim(10, at(1)).await;
    assert_eq!(claimed.iter().map(|claimed| claimed.execution).collect::<Vec<_>>(), [winner]);
}

pub async fn a_refused_idempotency_key_claims_nothing(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    world.submit(keyed(&key(WORKFLOW, 1), "order-1", 1), at(0)).await;
    let second = NewExecution { claimed: vec![0], ..keyed(&key(WORKFLOW, 1), "order-1", 1) };
    assert_eq!(runner.batch(at(1)).submit(second).write().await.submitted, []);
    assert_eq!(world.held(runner.id).await, []);
}

pub async fn an_idempotency_key_belongs_to_its_workflow(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let first = world.submit(keyed(&key(WORKFLOW, 1), "order-1", 1), at(0)).await;
    let second = world.submit(keyed(&key("shipping", 1), "order-1", 1), at(0)).await;
    assert_eq!(world.find(WORKFLOW, "order-1").await, Some((first, 1)));
    assert_eq!(world.find("shipping", "order-1").await, Some((second, 1)));
    let newer = keyed(&key(WORKFLOW, 2), "order-1", 1);
    let refused = world.batch(at(1)).submit(newer).write().await;
    assert_eq!(refused.submitted, [], "another version of the workflow is the same workflow");
}

pub async fn a_repeated_submit_changes_nothing(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let new = NewExecution { claimed: vec![0], ..draft(&[0, 0]) };
    let id = new.id;
    let repeat = || NewExecution { id, claimed: vec![0], ..draft(&[0, 0]) };
    runner.submit(new, at(0)).await;
    runner.batch(at(1)).submit(repeat()).write().await;
    assert_eq!(world.states(id).await, [TaskState::Running, TaskState::Ready]);
    runner.report(completed(id, 0), at(2)).await;
    runner.batch(at(3)).submit(repeat()).write().await;
    assert_eq!(world.states(id).await, [TaskState::Completed, TaskState::Ready]);
    let header = world.header(id).await;
    assert_eq!((header.created_at, header.started_at), (at(0), Some(at(0))));
    assert_eq!(runner.claim(10, at(4)).await.len(), 1, "the ready row is there once");
    assert_eq!(world.attempts(id).await.expect("the execution is there").len(), 2);
}

/// The same key at the same moment in several processes.
pub async fn an_idempotency_key_is_won_by_one_process(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let processes = [world.process().await, world.process().await, world.process().await];
    for order in ["order-1", "order-2", "order-3", "order-4", "order-5"] {
        let mut submits = Vec::new();
        for process in processes.clone() {
            let new = keyed(&key(WORKFLOW, 1), order, 1);
            submits
                .push(tokio::spawn(async move { process.batch(at(0)).submit(new).write().await.submitted }));
        }
        let mut submitted = Vec::new();
        for submit in submits {
            submitted.extend(submit.await.expect("the submit is answered"));
        }
        let [winner] = submitted[..] else { panic!("one process wins the key, not {submitted:?}") };
        assert_eq!(world.find(WORKFLOW, order).await, Some((winner, 1)));
    }
    assert_eq!(world.runner().await.claim(100, at(1)).await.len(), 5);
}

pub async fn an_empty_flush_does_nothing(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    for batch in [runner.batch(at(0)), world.batch(at(0))] {
        let flushed = batch.write().await;
        assert_eq!((flushed.submitted.len(), flushed.recorded.len(), flushed.claimed.len()), (0, 0, 0));
    }
    assert!(!world.is_rung(at(1)).await);
}
