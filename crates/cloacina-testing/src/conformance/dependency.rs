//! Tasks that wait for others.

use std::sync::Arc;

use cloacina_core::execution::{ExecutionStatus, TaskState};
use cloacina_core::id::{ExecutionId, TaskIndex};
use cloacina_core::store::{Closed, Freed, NewExecution, Outcome};

use super::Fixture;
use super::process::{World, at, claimed_draft, completed, draft, failed, skipped};

/// Freed, and claimed for the first attempt or not.
fn freed(execution: ExecutionId, task: TaskIndex, claimed: bool) -> Freed {
    Freed { execution, task, claimed: claimed.then_some(1) }
}

pub async fn a_wanted_successor_is_claimed(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1]) }, at(0)).await;
    let flushed = runner.report(Outcome { successors: vec![(1, true)], ..completed(id, 0) }, at(1)).await;
    assert_eq!(flushed.freed, [freed(id, 1, true)]);
    let task = &world.load(id).await.tasks[1];
    assert_eq!((task.state, task.attempt, task.runner), (TaskState::Running, 1, Some(runner.id)));
    assert_eq!(task.started_at, Some(at(1)));
    assert_eq!(runner.claim(10, at(2)).await, [], "a task that is claimed has no ready row");
}

pub async fn a_successor_that_is_not_wanted_is_ready_and_rings_the_bell(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1]) }, at(0)).await;
    world.lower(at(0)).await;
    assert!(!world.is_rung(at(1)).await);
    let flushed = runner.report(Outcome { successors: vec![(1, false)], ..completed(id, 0) }, at(1)).await;
    assert_eq!(flushed.freed, [freed(id, 1, false)]);
    assert!(world.is_rung(at(1)).await);
    assert_eq!(world.states(id).await, [TaskState::Completed, TaskState::Ready]);
    let other = world.process().await.runner().await;
    let claimed = other.claim(10, at(1)).await;
    assert_eq!((claimed[0].execution, claimed[0].task, claimed[0].attempt), (id, 1, 1));
}

pub async fn two_dependencies_may_end_in_one_flush(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    for wanted in [true, false] {
        let id = runner.submit(NewExecution { claimed: vec![0, 1], ..draft(&[0, 0, 2]) }, at(0)).await;
        let ends = (0..2).map(|task| Outcome { successors: vec![(2, wanted)], ..completed(id, task) });
        let flushed = runner.batch(at(1)).outcomes(ends).write().await;
        assert_eq!(flushed.freed, [freed(id, 2, wanted)]);
    }
}

pub async fn two_dependencies_may_end_in_two_flushes(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    for wanted in [true, false] {
        let id = runner.submit(NewExecution { claimed: vec![0, 1], ..draft(&[0, 0, 2]) }, at(0)).await;
        let end = |task| Outcome { successors: vec![(2, wanted)], ..completed(id, task) };
        assert_eq!(runner.report(end(1), at(1)).await.freed, []);
        assert_eq!(world.states(id).await[2], TaskState::Pending);
        assert_eq!(runner.report(end(0), at(2)).await.freed, [freed(id, 2, wanted)]);
    }
}

/// The two dependencies of one task end at the same moment in two processes: one of them must see that the
/// task is free.
pub async fn dependencies_that_end_at_once_in_two_processes_free_their_successor(fixture: &impl Fixture) {
    const EXECUTIONS: usize = 40;
    let world = World::new(fixture).await;
    let left = world.runner().await;
    let right = world.process().await.runner().await;
    let mut ids = Vec::new();
    for _ in 0..EXECUTIONS {
        let id = left.submit(NewExecution { claimed: vec![0], ..draft(&[0, 0, 2]) }, at(0)).await;
        assert_eq!(right.claim(1, at(0)).await.len(), 1);
        ids.push(id);
    }
    let ids: Arc<[ExecutionId]> = ids.into();
    let both = [(left, 0), (right, 1)].map(|(runner, task)| {
        let ids = Arc::clone(&ids);
        tokio::spawn(async move {
            let mut freed = 0;
            // The one walks the executions by fours from the front, the other by threes, so that they meet.
            for some in ids.chunks(if task == 0 { 4 } else { 3 }) {
                let end = |id: &ExecutionId| Outcome { successors: vec![(2, true)], ..completed(*id, task) };
                let flushed = runner.batch(at(1)).outcomes(some.iter().map(end)).write().await;
                assert_eq!(flushed.recorded.len(), some.len());
                freed += flushed.freed.len();
            }
            freed
        })
    });
    let mut freed = 0;
    for runner in both {
        freed += runner.await.expect("the runner reports its outcomes");
    }
    assert_eq!(freed, EXECUTIONS, "every successor is freed exactly once");
    for record in world.load_all(&ids).await {
        assert_eq!(record.tasks[2].state, TaskState::Running);
    }
}

pub async fn a_diamond_is_walked(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1, 1, 2]) }, at(0)).await;
    let top = Outcome { successors: vec![(1, true), (2, false)], ..completed(id, 0) };
    let mut both = runner.report(top, at(1)).await.freed;
    both.sort_unstable_by_key(|freed| freed.task);
    assert_eq!(both, [freed(id, 1, true), freed(id, 2, false)]);
    let left = Outcome { successors: vec![(3, true)], ..completed(id, 1) };
    let flushed = runner.batch(at(2)).outcome(left).claim(5).write().await;
    assert_eq!((flushed.freed.len(), flushed.claimed.len()), (0, 1));
    let right = Outcome { successors: vec![(3, true)], ..completed(id, 2) };
    assert_eq!(runner.report(right, at(3)).await.freed, [freed(id, 3, true)]);
    let flushed = runner.report(completed(id, 3), at(4)).await;
    assert_eq!(flushed.closed, [Closed { execution: id, status: ExecutionStatus::Completed }]);
    assert_eq!(world.header(id).await.finished_at, Some(at(4)));
}

pub async fn a_fan_out_is_walked_and_fans_in(fixture: &impl Fixture) {
    const WIDTH: i16 = 100;
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let mut waiting_on = vec![1; usize::from(WIDTH.unsigned_abs()) + 2];
    waiting_on[0] = 0;
    *waiting_on.last_mut().expect("it is not empty") = WIDTH;
    let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&waiting_on) }, at(0)).await;
    let out =
        Outcome { successors: (1..=WIDTH).map(|task| (task, task % 2 == 0)).collect(), ..completed(id, 0) };
    let flushed = runner.batch(at(1)).outcome(out).claim(1_000).write().await;
    assert_eq!(flushed.freed.len(), 100);
    assert_eq!(flushed.freed.iter().filter(|freed| freed.claimed.is_some()).count(), 50);
    assert_eq!(flushed.claimed.len(), 50, "what became ready in a flush may be claimed in it");
    let into = |task| Outcome { successors: vec![(WIDTH + 1, true)], ..completed(id, task) };
    let first = runner.batch(at(2)).outcomes((1..=60).map(into)).write().await;
    assert_eq!((first.recorded.len(), first.freed.len()), (60, 0));
    let second = runner.batch(at(3)).outcomes((61..=WIDTH).map(into)).write().await;
    assert_eq!(second.freed, [freed(id, WIDTH + 1, true)]);
    assert_eq!(runner.report(completed(id, WIDTH + 1), at(4)).await.closed.len(), 1);
}

pub async fn whatever_is_over_counts_down(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(NewExecution { claimed: vec![0, 1, 2], ..draft(&[0, 0, 0, 3]) }, at(0)).await;
    let ends = [completed(id, 0), failed(id, 1, "no"), skipped(id, 2)];
    let ends = ends.into_iter().map(|end| Outcome { successors: vec![(3, false)], ..end });
    assert_eq!(runner.batch(at(1)).outcomes(ends).write().await.freed, [freed(id, 3, false)]);
}

pub async fn executions_do_not_touch_each_other(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let one = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1]) }, at(0)).await;
    let two = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1]) }, at(0)).await;
    let three = runner.submit(claimed_draft(2), at(0)).await;
    let flushed = runner
        .batch(at(1))
        .outcome(Outcome { successors: vec![(1, true)], ..completed(two, 0) })
        .outcome(completed(three, 0))
        .outcome(completed(three, 1))
        .write()
        .await;
    assert_eq!(flushed.freed, [freed(two, 1, true)]);
    assert_eq!(flushed.closed, [Closed { execution: three, status: ExecutionStatus::Completed }]);
    assert_eq!(world.states(one).await, [TaskState::Running, TaskState::Pending]);
}
