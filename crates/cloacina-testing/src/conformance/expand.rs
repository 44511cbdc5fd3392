//! Executions that were submitted by name, by a process that does not have the code.

use std::time::Duration;

use cloacina_core::execution::{ExecutionStatus, TaskState};
use cloacina_core::store::{Controlled, Idempotency, NewExecution, WorkflowKey};
use cloacina_core::workflow::Fingerprint;

use super::Fixture;
use super::process::{WORKFLOW, World, at, completed, draft, key};

/// A new execution that is known by the name of its workflow only.
fn by_name() -> NewExecution {
    let workflow = WorkflowKey { name: WORKFLOW.into(), fingerprint: Fingerprint::UNKNOWN };
    NewExecution { workflow, ..draft(&[]) }
}

pub async fn an_execution_that_was_submitted_by_name_gets_its_tasks_and_runs(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = world.submit(by_name(), at(0)).await;
    assert!(world.is_rung(at(0)).await, "somebody is to look");
    assert_eq!(runner.claim(10, at(1)).await, [], "there is nothing to be run yet");
    let next = world.lower(at(1)).await;
    assert_eq!((next.work, next.unexpanded), (Some(at(0)), true));
    assert_eq!(world.load(id).await.tasks.len(), 0);
    assert_eq!(world.expand(&key(WORKFLOW, 1), &[0, 1], 10, at(2)).await, 1);
    assert_eq!(world.expand(&key(WORKFLOW, 1), &[0, 1], 10, at(2)).await, 0, "once");
    let record = world.load(id).await;
    assert_eq!((record.header.workflow, record.header.status), (key(WORKFLOW, 1), ExecutionStatus::Pending));
    assert_eq!(world.states(id).await, [TaskState::Ready, TaskState::Pending]);
    let next = world.lower(at(2)).await;
    assert_eq!((next.work, next.unexpanded), (Some(at(2)), false));
    let claimed = runner.claim(10, at(3)).await;
    assert_eq!((claimed.len(), claimed[0].execution, claimed[0].task), (1, id, 0));
    assert!(claimed[0].fresh.is_some(), "it need not be read");
    let mut end = completed(id, 0);
    end.successors = vec![(1, true)];
    runner.report(end, at(4)).await;
    runner.report(completed(id, 1), at(5)).await;
    assert_eq!(world.header(id).await.status, ExecutionStatus::Completed);
    assert_eq!(world.lower(at(6)).await.earliest(), None);
}

pub async fn only_what_is_due_and_of_a_known_name_is_expanded(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let other = WorkflowKey { name: "another".into(), fingerprint: Fingerprint::UNKNOWN };
    let unknown = world.submit(NewExecution { workflow: other, ..by_name() }, at(0)).await;
    let later = world.submit(NewExecution { start_at: Some(at(10)), ..by_name() }, at(0)).await;
    for _ in 0..3 {
        world.submit(by_name(), at(0)).await;
    }
    assert_eq!(world.expand(&key(WORKFLOW, 1), &[0], 2, at(1)).await, 2, "at most so many");
    assert_eq!(world.expand(&key(WORKFLOW, 1), &[0], 2, at(1)).await, 1);
    assert_eq!(world.expand(&key(WORKFLOW, 1), &[0], 2, at(9)).await, 0);
    assert_eq!(world.expand(&key(WORKFLOW, 2), &[0, 0], 2, at(10)).await, 1);
    assert_eq!(world.header(later).await.workflow, key(WORKFLOW, 2));
    assert_eq!(world.load(unknown).await.tasks.len(), 0);
    let overdue = world.overdue(&[key(WORKFLOW, 1), key(WORKFLOW, 2)], Duration::ZERO, at(11)).await;
    let named = overdue.iter().find(|(id, _)| *id == unknown).map(|(_, key)| key.fingerprint);
    assert_eq!(named, Some(Fingerprint::UNKNOWN), "who looks for work that nobody has the code of finds it");
}

pub async fn an_execution_without_tasks_is_not_over(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let idempotency = || Some(Idempotency { key: "once".to_owned(), input_hash: 7 });
    let id = world.submit(NewExecution { idempotency: idempotency(), ..by_name() }, at(0)).await;
    let again = NewExecution { idempotency: idempotency(), ..by_name() };
    assert_eq!(world.batch(at(1)).submit(again).write().await.submitted, []);
    assert_eq!(world.pause(id, at(1)).await, Controlled::Done(ExecutionStatus::Paused));
    assert_eq!(world.lower(at(1)).await.earliest(), None, "while it is paused nothing is due");
    assert_eq!(world.expand(&key(WORKFLOW, 1), &[0], 10, at(2)).await, 0);
    assert_eq!(world.resume(id, at(3)).await, Controlled::Done(ExecutionStatus::Pending));
    assert!(world.repair(at(4)).await.is_empty());
    assert_eq!(world.prune(at(1_000), 10).await, 0);
    assert_eq!(world.attempts(id).await.map(|attempts| attempts.len()), Some(0));
    assert_eq!(world.count(10).await, 1);
    assert_eq!(world.find(WORKFLOW, "once").await, Some((id, 7)));
    assert_eq!(runner.claim(10, at(4)).await, []);
    assert_eq!(world.header(id).await.status, ExecutionStatus::Pending);
    assert_eq!(world.expand(&key(WORKFLOW, 1), &[0], 10, at(5)).await, 1);
    assert_eq!(runner.claim(10, at(6)).await.len(), 1);
}

pub async fn an_execution_without_tasks_is_cancelled_with_its_ready_row(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let cancelled = world.submit(by_name(), at(0)).await;
    let late = world.submit(NewExecution { deadline: Some(at(5)), ..by_name() }, at(0)).await;
    assert_eq!(world.cancel(cancelled, at(1)).await, Controlled::Done(ExecutionStatus::Cancelled));
    assert_eq!(world.expire(at(5)).await, [late]);
    assert_eq!(world.lower(at(6)).await.earliest(), None);
    assert_eq!(world.expand(&key(WORKFLOW, 1), &[0], 10, at(6)).await, 0);
    assert_eq!(world.load(cancelled).await.tasks.len(), 0);
    assert_eq!(world.prune(at(1_000), 10).await, 2);
}

pub async fn several_processes_expand_each_execution_once(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    for _ in 0..200 {
        world.submit(by_name(), at(0)).await;
    }
    let processes = [world.process().await, world.process().await];
    let expanding = processes.map(|process| {
        tokio::spawn(async move {
            let mut expanded = 0;
            while process.lower(at(1)).await.unexpanded {
                expanded += process.expand(&key(WORKFLOW, 1), &[0, 1], 10, at(1)).await;
            }
            expanded
        })
    });
    let mut expanded = 0;
    for expanding in expanding {
        expanded += expanding.await.expect("it expands to the end");
    }
    assert_eq!(expanded, 200);
    assert_eq!(runner.claim(1_000, at(2)).await.len(), 200);
}
