//! Outcomes: whose count, and what becomes of the task.

use std::sync::Arc;
use std::time::Duration;

use cloacina_core::execution::{AttemptOutcome, ExecutionStatus, SkipReason, TaskState};
use cloacina_core::id::{ExecutionId, RunnerId};
use cloacina_core::store::{KeptTask, NewExecution, Outcome, Recorded, Stream, StreamPage, TaskOutcome};

use super::Fixture;
use super::process::{
    Process, World, at, claimed_draft, completed, draft, failed, outcome, released, retried, skipped,
};

pub async fn an_outcome_is_recorded_once(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 2]) }, at(0)).await;
    let report = || Outcome { successors: vec![(1, true)], ..completed(id, 0) };
    assert_eq!(runner.report(report(), at(1)).await.recorded, [Recorded { execution: id, task: 0 }]);
    let again = runner.report(report(), at(2)).await;
    assert_eq!((again.recorded, again.freed), (vec![], vec![]), "the second report counted nothing down");
    assert_eq!(world.states(id).await, [TaskState::Completed, TaskState::Pending]);
    assert_eq!(world.load(id).await.tasks[0].finished_at, Some(at(1)));
}

pub async fn an_outcome_of_another_attempt_is_news(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1]) }, at(0)).await;
    runner.report(released(id, 0), at(1)).await;
    assert_eq!(runner.claim(1, at(2)).await[0].attempt, 2);
    for attempt in [1, 3] {
        let stale = Outcome { attempt, successors: vec![(1, true)], ..completed(id, 0) };
        let flushed = runner.report(stale, at(3)).await;
        assert_eq!((flushed.recorded, flushed.freed), (vec![], vec![]));
        assert_eq!(world.states(id).await, [TaskState::Running, TaskState::Pending]);
    }
}

pub async fn an_outcome_of_another_runner_is_news(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let (holder, other) = (world.runner().await, world.process().await.runner().await);
    let id = holder.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1]) }, at(0)).await;
    for stale in [completed(id, 0), failed(id, 0, "no"), skipped(id, 0), released(id, 0)] {
        let flushed = other.report(Outcome { successors: vec![(1, true)], ..stale }, at(1)).await;
        assert_eq!((flushed.recorded, flushed.freed), (vec![], vec![]));
    }
    assert_eq!(world.states(id).await, [TaskState::Running, TaskState::Pending]);
    assert_eq!(world.load(id).await.tasks[0].runner, Some(holder.id));
}

pub async fn an_outcome_of_a_task_that_is_not_running_is_news(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(draft(&[0, 1]), at(0)).await;
    let unknown = completed(ExecutionId::new(), 0);
    let ready = Outcome { attempt: 0, ..completed(id, 0) };
    let flushed = runner.batch(at(1)).outcome(ready).outcome(completed(id, 1)).outcome(unknown).write().await;
    assert_eq!(flushed.recorded, []);
    assert_eq!(world.states(id).await, [TaskState::Ready, TaskState::Pending]);
}

pub async fn news_does_not_spoil_the_rest_of_a_batch(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(claimed_draft(3), at(0)).await;
    runner.report(completed(id, 1), at(1)).await;
    let flushed = runner.batch(at(2)).outcomes((0..3).map(|task| completed(id, task))).write().await;
    let mut recorded: Vec<_> = flushed.recorded.iter().map(|recorded| recorded.task).collect();
    recorded.sort_unstable();
    assert_eq!(recorded, [0, 2]);
    assert_eq!(world.header(id).await.status, ExecutionStatus::Completed);
}

pub async fn a_failure_keeps_its_error(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(claimed_draft(2), at(0)).await;
    let error = "disk „C:“ is full\n\tcaused by: 'quota'; -- \u{1F4A5}";
    let panicked = TaskOutcome::Failed { how: AttemptOutcome::Panicked, error: error.to_owned() };
    runner.report(outcome(id, 0, panicked), at(3)).await;
    let task = &world.load(id).await.tasks[0];
    assert_eq!((task.state, task.error.as_deref()), (TaskState::Failed, Some(error)));
    assert_eq!((task.failures, task.finished_at), (1, Some(at(3))));
    let attempts = world.attempts(id).await.expect("the execution is there");
    assert_eq!(attempts[0].outcome, AttemptOutcome::Panicked);
    assert_eq!(attempts[0].error_message.as_deref(), Some(error));
}

pub async fn a_skip_keeps_its_reason_and_is_no_attempt(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(claimed_draft(3), at(0)).await;
    let upstream = TaskOutcome::Skipped { reason: SkipReason::UpstreamFailed };
    runner.batch(at(1)).outcome(skipped(id, 0)).outcome(outcome(id, 1, upstream)).write().await;
    let record = world.load(id).await;
    assert_eq!(record.tasks[0].skip_reason, Some(SkipReason::ByRule));
    assert_eq!(record.tasks[1].skip_reason, Some(SkipReason::UpstreamFailed));
    assert_eq!(world.states(id).await, [TaskState::Skipped, TaskState::Skipped, TaskState::Running]);
    assert_eq!(world.endings(id).await, [AttemptOutcome::Running], "what was skipped was not tried");
}

pub async fn a_retry_is_ready_at_its_time(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1]) }, at(0)).await;
    let retry = retried(id, 0, "no route", Duration::from_millis(500));
    let flushed = runner.report(retry, at(100)).await;
    assert_eq!(flushed.recorded, [Recorded { execution: id, task: 0 }]);
    let task = &world.load(id).await.tasks[0];
    assert_eq!((task.state, task.failures, task.lost, task.finished_at), (TaskState::Ready, 1, 0, None));
    assert_eq!(task.error.as_deref(), Some("no route"));
    assert_eq!(world.endings(id).await, [AttemptOutcome::Failed]);
    assert_eq!(world.held(runner.id).await, []);
    assert_eq!(runner.claim(10, at(599)).await, []);
    assert_eq!(world.lower(at(599)).await.work, Some(at(600)));
    assert!(!world.is_rung(at(599)).await);
    assert!(world.is_rung(at(600)).await);
    let claimed = &runner.claim(10, at(600)).await[0];
    assert_eq!((claimed.attempt, claimed.failures, claimed.lost), (2, 1, 0));
    assert_eq!(world.load(id).await.tasks[0].started_at, Some(at(600)));
}

pub async fn a_snooze_is_no_failure(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(claimed_draft(1), at(0)).await;
    let (how, after) = (AttemptOutcome::Snoozed, Duration::from_millis(500));
    let early = TaskOutcome::Retry { how, error: "too early".to_owned(), after };
    runner.report(Outcome::new(id, 0, 1, early), at(100)).await;
    let task = &world.load(id).await.tasks[0];
    assert_eq!((task.state, task.failures, task.lost), (TaskState::Ready, 0, 0));
    assert_eq!(task.error.as_deref(), Some("too early"));
    assert_eq!(world.endings(id).await, [AttemptOutcome::Snoozed]);
    assert_eq!(runner.claim(10, at(599)).await, []);
    let claimed = &runner.claim(10, at(600)).await[0];
    assert_eq!((claimed.attempt, claimed.failures, claimed.lost), (2, 0, 0));
}

pub async fn a_release_is_no_failure(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(claimed_draft(1), at(0)).await;
    let flushed = runner.report(released(id, 0), at(1)).await;
    assert_eq!((flushed.recorded.len(), flushed.closed.len()), (1, 0));
    assert!(world.is_rung(at(1)).await, "somebody else may go on at once");
    assert_eq!(world.endings(id).await, [AttemptOutcome::Released]);
    let other = world.process().await.runner().await;
    let claimed = &other.claim(10, at(1)).await[0];
    assert_eq!((claimed.attempt, claimed.failures, claimed.lost), (2, 0, 0));
    let finished = Outcome { attempt: 2, ..completed(id, 0) };
    assert_eq!(other.report(finished, at(2)).await.closed.len(), 1);
}

pub async fn a_thousand_outcomes_fit_into_one_flush(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let ids: Vec<_> = (0..100).map(|_| ExecutionId::new()).collect();
    let new = |id: &ExecutionId| Arc::new(NewExecution { id: *id, ..claimed_draft(10) });
    runner.batch(at(0)).submits(ids.iter().map(new)).write().await;
    assert_eq!(world.held(runner.id).await.len(), 1_000);
    let end = |id: ExecutionId, task: i16| match task {
        0 => retried(id, task, "again", Duration::ZERO),
        1 => released(id, task),
        2 => skipped(id, task),
        _ => completed(id, task),
    };
    let ends = ids.iter().flat_map(|id| (0..10).map(move |task| end(*id, task)));
    let flushed = runner.batch(at(1)).outcomes(ends).claim(150).write().await;
    assert_eq!((flushed.recorded.len(), flushed.claimed.len()), (1_000, 150));
    assert_eq!(runner.claim(1_000, at(2)).await.len(), 50);
    let again = |id: &ExecutionId, task| Outcome { attempt: 2, ..completed(*id, task) };
    let ends = ids.iter().flat_map(|id| [again(id, 0), again(id, 1)]);
    assert_eq!(runner.batch(at(3)).outcomes(ends).write().await.closed.len(), 100);
}

/// Flushes of one store in different lanes are under way at the same time.
pub async fn lanes_work_side_by_side(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let mut lanes = Vec::new();
    for _ in 0..4 {
        let runner = runner.clone();
        lanes.push(tokio::spawn(async move {
            for _ in 0..10 {
                let new = NewExecution { claimed: vec![0], ..draft(&[0, 1]) };
                let id = runner.submit(new, at(0)).await;
                let first = Outcome { successors: vec![(1, true)], ..completed(id, 0) };
                assert_eq!(runner.report(first, at(1)).await.freed.len(), 1);
                assert_eq!(runner.report(completed(id, 1), at(2)).await.closed.len(), 1);
            }
        }));
    }
    for lane in lanes {
        lane.await.expect("the executions end");
    }
    assert_eq!(world.held(runner.id).await, []);
}

pub async fn what_a_running_task_keeps_is_there_for_its_next_attempt(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let (runner, other) = (world.runner().await, world.process().await.runner().await);
    let id = runner.submit(claimed_draft(1), at(0)).await;
    let keep = async |runner, attempt, patch: &str| {
        let (place, patch) = (Arc::clone(&world.place), patch.into());
        let kept = KeptTask { execution: id, task: 0, runner, attempt, patch };
        world.call(|store| async move { store.task_keep(&place, &kept).await }).await
    };
    let kept = async || world.load(id).await.tasks[0].patch.as_deref().map(str::to_owned);
    assert!(keep(runner.id, 1, r#"{"set":{"a":1}}"#).await);
    assert!(!keep(other.id, 1, "{}").await, "another runner keeps nothing");
    assert!(!keep(runner.id, 2, "{}").await, "nor another attempt");
    assert_eq!(kept().await.as_deref(), Some(r#"{"set":{"a":1}}"#));
    for (attempt, end) in [(1, retried(id, 0, "no", Duration::ZERO)), (2, released(id, 0))] {
        runner.report(Outcome { attempt, ..end }, at(1)).await;
        assert!(!keep(runner.id, attempt, "{}").await, "it does not run");
        assert_eq!(kept().await.as_deref(), Some(r#"{"set":{"a":1}}"#));
        runner.claim(1, at(2)).await;
    }
    assert!(keep(runner.id, 3, r#"{"set":{"a":2}}"#).await);
    let patch = Some(r#"{"set":{"b":3}}"#.into());
    let end = Outcome { attempt: 3, ..outcome(id, 0, TaskOutcome::Completed { patch }) };
    runner.report(end, at(3)).await;
    assert_eq!(kept().await.as_deref(), Some(r#"{"set":{"b":3}}"#));
}

fn numbers(execution: ExecutionId, attempt: i32) -> Stream {
    Stream { execution, task: 0, attempt, name: "numbers".to_owned() }
}

impl Process {
    async fn emit(&self, runner: RunnerId, stream: &Stream, first: i64, items: &str) -> bool {
        let (place, stream) = (Arc::clone(&self.place), stream.clone());
        let page = StreamPage { first, items: items.into() };
        self.call(|store| async move { store.page_write(&place, runner, &stream, &page).await }).await
    }

    /// The pages from that of an item on, at most two.
    async fn pages(&self, stream: &Stream, item: i64) -> Vec<(i64, String)> {
        let (place, stream) = (Arc::clone(&self.place), stream.clone());
        let pages = self.call(|store| async move { store.page_read(&place, &stream, item).await }).await;
        pages.into_iter().map(|page| (page.first, (*page.items).to_owned())).collect()
    }
}

pub async fn pages_that_a_task_emits_are_those_of_its_last_attempt(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let (runner, other) = (world.runner().await, world.process().await.runner().await);
    let id = runner.submit(claimed_draft(1), at(0)).await;
    let (first, second) = (numbers(id, 1), numbers(id, 2));
    for (item, page) in [(0, "[0,1]"), (2, "[2,3]"), (4, "[4]")] {
        assert!(world.emit(runner.id, &first, item, page).await);
    }
    // Whoever is not told that it is written writes it again.
    assert!(world.emit(runner.id, &first, 4, "[4]").await);
    assert!(!world.emit(other.id, &first, 5, "[5]").await, "another runner emits nothing");
    assert!(!world.emit(runner.id, &second, 0, "[5]").await, "nor another attempt");
    let page = |first: i64, items: &str| (first, items.to_owned());
    assert_eq!(world.pages(&first, 0).await, [page(0, "[0,1]"), page(2, "[2,3]")]);
    assert_eq!(world.pages(&first, 3).await, [page(2, "[2,3]"), page(4, "[4]")]);
    assert_eq!(world.pages(&first, 9).await, [page(4, "[4]")]);
    assert_eq!(world.pages(&second, 0).await, []);
    assert_eq!(world.pages(&Stream { name: "others".to_owned(), ..first.clone() }, 0).await, []);

    runner.report(Outcome { attempt: 1, ..retried(id, 0, "no", Duration::ZERO) }, at(1)).await;
    assert!(!world.emit(runner.id, &first, 5, "[5]").await, "it does not run");
    runner.claim(1, at(2)).await;
    assert!(world.emit(runner.id, &second, 0, "[7]").await);
    assert_eq!(world.pages(&first, 0).await, []);
    runner.report(Outcome { attempt: 2, ..completed(id, 0) }, at(3)).await;
    assert_eq!(world.pages(&second, 0).await, [page(0, "[7]")]);
}

pub async fn pages_go_with_their_execution(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let (id, stays) =
        (runner.submit(claimed_draft(1), at(0)).await, runner.submit(claimed_draft(1), at(0)).await);
    for id in [id, stays] {
        assert!(world.emit(runner.id, &numbers(id, 1), 0, "[0]").await);
    }
    runner.report(completed(id, 0), at(1)).await;
    while world.prune(at(1_000), 100).await > 0 {}
    assert!(world.headers(&[id]).await.is_empty());
    assert_eq!(world.pages(&numbers(id, 1), 0).await, []);
    assert_eq!(world.pages(&numbers(stays, 1), 0).await.len(), 1);
}
