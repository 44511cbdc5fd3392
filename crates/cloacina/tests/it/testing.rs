//! Tests in which time is skipped.

use std::time::Duration;

use cloacina::runner::RunnerBuilder;
use cloacina::testing::TestRunner;
use cloacina::{
    Backoff, Context, ExecutionStatus, Jitter, RetryPolicy, Runner, TaskBody, TaskDefinition, TaskError,
    Wait, Workflow,
};
use std::sync::Arc;

use crate::support::{Database, idle, in_time, workflow};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Tried again after an hour, without end.
fn hourly(task: TaskDefinition) -> TaskDefinition {
    task.retry(RetryPolicy {
        attempts: 1_000,
        backoff: Backoff::Fixed,
        base: HOUR,
        cap: HOUR,
        jitter: Jitter::None,
    })
}

impl Database {
    /// A runner here, whose time the test moves.
    async fn test_runner(&self, workflows: impl IntoIterator<Item = Workflow>) -> TestRunner {
        let mut builder = Runner::builder().database_url(&self.url);
        if let Some(schema) = &self.schema {
            builder = builder.schema(schema);
        }
        start(builder, workflows).await
    }
}

async fn start(builder: RunnerBuilder, workflows: impl IntoIterator<Item = Workflow>) -> TestRunner {
    let builder = workflows.into_iter().fold(builder, RunnerBuilder::workflow);
    in_time(TestRunner::start(builder)).await.unwrap()
}

async fn in_memory(workflows: impl IntoIterator<Item = Workflow>) -> TestRunner {
    start(Runner::builder(), workflows).await
}

on_each_store! {
    async fn a_retry_after_an_hour_comes_at_once_and_an_hour_later(database: Database) {
        let runner = database.test_runner([workflow("w", [hourly(idle("charge")), idle("ship").dependencies(["charge"])])]).await;
        runner.task("w", "charge").fails(2);
        let begun = runner.now();
        let result = runner.execute("w", Context::new()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        assert_eq!(runner.now(), begun + 2 * HOUR);
        let history = runner.history(result.execution_id).await;
        assert_eq!(history, ["charge 1 failed", "charge 2 failed", "charge 3 completed", "ship 1 completed"]);
        runner.shutdown().await.unwrap();
    }

    async fn what_is_due_on_the_way_to_a_time_is_done_at_its_time(database: Database) {
        let runner = database.test_runner([workflow("w", [idle("t")])]).await;
        let begun = runner.now();
        let mut executions = Vec::new();
        for hours in [5, 1, 3] {
            let submission = runner.submit("w").start_at(begun + hours * HOUR);
            executions.push((hours, submission.send().await.unwrap()));
        }
        runner.run_until_idle().await;
        assert_eq!(runner.now(), begun);
        runner.run_until(begun + 4 * HOUR).await;
        assert_eq!(runner.now(), begun + 4 * HOUR);
        for (hours, execution) in &executions {
            let history = execution.history().await.unwrap();
            let at: Vec<_> = history.iter().map(|attempt| attempt.start_time).collect();
            let expected = if *hours < 4 { vec![begun + *hours * HOUR] } else { vec![] };
            assert_eq!(at, expected, "after {hours} hours");
        }
        runner.run_for(HOUR).await;
        assert_eq!(executions[0].1.get_status().await.unwrap(), ExecutionStatus::Completed);
        runner.shutdown().await.unwrap();
    }

    async fn a_deadline_ends_an_execution_whose_task_takes_longer(database: Database) {
        let runner = database.test_runner([workflow("w", [idle("t").timeout(None)])]).await;
        runner.task("w", "t").takes(3 * HOUR);
        let begun = runner.now();
        let execution = runner.submit("w").deadline(begun + 2 * HOUR).send().await.unwrap();
        runner.run_until_idle().await;
        assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Running);
        let result = runner.run_to_end(execution.execution_id).await;
        assert_eq!((result.status, runner.now()), (ExecutionStatus::Cancelled, begun + 2 * HOUR));
        runner.shutdown().await.unwrap();
    }

    async fn a_task_that_hangs_is_timed_out(database: Database) {
        let task = hourly(idle("t")).timeout(Some(10 * HOUR));
        let runner = database.test_runner([workflow("w", [task])]).await;
        runner.task("w", "t").hangs();
        let begun = runner.now();
        let execution = runner.submit("w").send().await.unwrap();
        runner.run_until(begun + 10 * HOUR).await;
        assert_eq!(runner.history(execution.execution_id).await, ["t 1 timed_out"]);
        // The next one, after an hour, takes half of its time.
        runner.task("w", "t").takes(5 * HOUR);
        let result = runner.run_to_end(execution.execution_id).await;
        assert_eq!((result.status, runner.now()), (ExecutionStatus::Completed, begun + 16 * HOUR));
        runner.shutdown().await.unwrap();
    }

    async fn a_wait_of_days_takes_no_time(database: Database) {
        let waits = Workflow::builder("w")
            .task(idle("first"))
            .wait(Wait::sleep("trial", 14 * DAY).after("first"))
            .task(idle("last").dependencies(["trial"]))
            .build();
        let runner = database.test_runner([waits]).await;
        let begun = runner.now();
        let result = runner.execute("w", Context::new()).await.unwrap();
        assert_eq!((result.status, runner.now()), (ExecutionStatus::Completed, begun + 14 * DAY));
        let history = runner.history(result.execution_id).await;
        assert_eq!(history, ["first 1 completed", "trial completed", "last 1 completed"]);
        runner.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_year_of_nightly_runs_takes_about_a_second() {
    let runner = in_memory([workflow("nightly", [idle("a"), idle("b").dependencies(["a"])])]).await;
    let begun = runner.now();
    for night in 1..=365 {
        runner.submit("nightly").start_at(begun + night * DAY).send().await.unwrap();
    }
    let clock = std::time::Instant::now();
    in_time(runner.run_for(366 * DAY)).await;
    let took = clock.elapsed();
    eprintln!("a year in {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    // Those of the last 30 days are kept.
    let completed = runner.runner().list_executions().await.unwrap();
    assert!(completed.iter().all(|execution| execution.status == ExecutionStatus::Completed));
    assert!((30..=365).contains(&completed.len()), "{}", completed.len());
    runner.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_task_fails_with_the_error_that_the_test_says() {
    let blocks = TaskDefinition::new("t", TaskBody::Blocking(Arc::new(Ok)));
    let runner = in_memory([workflow("w", [hourly(blocks)])]).await;
    runner
        .task("w", "t")
        .fails_with(TaskError::retry_after(5 * DAY, std::io::Error::other("busy")))
        .fails_with(TaskError::fatal(std::io::Error::other("no card")));
    let begun = runner.now();
    let result = runner.execute("w", Context::new()).await.unwrap();
    assert_eq!((result.status, runner.now()), (ExecutionStatus::Failed, begun + 5 * DAY));
    assert!(result.error_message.unwrap().contains("no card"));
    // What was said is used up.
    assert!(runner.execute("w", Context::new()).await.unwrap().status.is_success());
    runner.shutdown().await.unwrap();
}

#[tokio::test]
async fn tasks_that_take_their_time_do_so_side_by_side() {
    let tasks =
        [idle("short").timeout(None), idle("long").timeout(None), idle("after").dependencies(["short"])];
    let runner = in_memory([workflow("w", tasks)]).await;
    runner.task("w", "short").takes(HOUR);
    runner.task("w", "long").takes(3 * HOUR);
    let begun = runner.now();
    let result = runner.execute("w", Context::new()).await.unwrap();
    assert_eq!(runner.now(), begun + 3 * HOUR);
    let history = runner.history(result.execution_id).await;
    assert_eq!(history, ["short 1 completed", "after 1 completed", "long 1 completed"]);
    // One that is under way is told to end with the test.
    runner.submit("w").send().await.unwrap();
    runner.run_until_idle().await;
    in_time(runner.shutdown()).await.unwrap();
}

#[tokio::test]
async fn code_that_takes_real_time_is_waited_for() {
    let task = TaskDefinition::from_async("t", |context: Context| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok::<_, TaskError>(context)
    });
    let runner = in_memory([workflow("w", [task])]).await;
    let begun = runner.now();
    let execution = runner.submit("w").send().await.unwrap();
    runner.run_until_idle().await;
    assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Completed);
    assert_eq!(runner.now(), begun);
    runner.shutdown().await.unwrap();
}

#[tokio::test]
#[should_panic(expected = "`approval` is waiting for signal `approved`, `ship` is pending")]
async fn a_wait_that_cannot_end_panics_with_what_it_waits_for() {
    let waits = Workflow::builder("w")
        .wait(Wait::signal("approval").named("approved"))
        .task(idle("ship").dependencies(["approval"]))
        .build();
    let runner = in_memory([waits]).await;
    in_time(runner.execute("w", Context::new())).await.unwrap();
}

#[tokio::test]
async fn a_wait_ends_by_the_signal_that_the_test_sends_or_by_its_time() {
    let wait = Wait::signal("approval").named("approved").timeout(7 * DAY);
    let waits = Workflow::builder("w").wait(wait).task(idle("ship").dependencies(["approval"])).build();
    let runner = in_memory([waits]).await;
    let execution = runner.submit("w").send().await.unwrap();
    let begun = runner.now();
    runner.run_for(3 * DAY).await;
    execution.signal("approved", true).send().await.unwrap();
    let result = runner.run_to_end(execution.execution_id).await;
    assert_eq!((result.status, runner.now()), (ExecutionStatus::Completed, begun + 3 * DAY));
    let result = runner.execute("w", Context::new()).await.unwrap();
    assert_eq!((result.status, runner.now()), (ExecutionStatus::Failed, begun + 10 * DAY));
    assert_eq!(runner.history(result.execution_id).await, ["approval failed", "ship skipped"]);
    runner.shutdown().await.unwrap();
}

#[tokio::test]
#[should_panic(expected = "it is paused, `t` is ready")]
async fn an_execution_that_is_paused_does_not_end() {
    let runner = in_memory([workflow("w", [idle("t")])]).await;
    let execution = runner.submit("w").start_at(runner.now() + HOUR).send().await.unwrap();
    execution.pause().await.unwrap();
    in_time(runner.run_to_end(execution.execution_id)).await;
}
