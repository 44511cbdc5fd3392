//! Settings, and what the types promise.

use std::time::Duration;

use cloacina::executor::unified_executor::{UnifiedExecutor, UnifiedExecutorBuilder};
use cloacina::runner::{Runner, RunnerBuilder, RunnerConfig};
use cloacina::{
    Context, Error, ErrorKind, Execution, ExecutionFilter, ExecutionResult, ExecutionStatus, TaskError,
    Workflow,
};

use crate::support::{Database, assert_error, idle, workflow};

on_each_store! {
    async fn settings_that_cannot_work_are_refused_by_name(database: Database) {
        let config = RunnerConfig::builder;
        let zero = Duration::ZERO;
        for (config, name) in [
            (config().max_connections(0), "max_connections"),
            (config().max_concurrent_tasks(0), "max_concurrent_tasks"),
            (config().max_process_tasks(0), "max_process_tasks"),
            (config().task_timeout(zero), "task_timeout"),
            (config().heartbeat_interval(zero), "heartbeat_interval"),
            (config().lease(Duration::from_secs(14)), "lease"),
            (config().heartbeat_interval(Duration::from_secs(11)), "lease"),
            (config().max_lost(0), "max_lost"),
        ] {
            let error = database.builder().config(config.build()).build().await.unwrap_err();
            assert_error(&error, ErrorKind::Configuration, name);
        }
        for (builder, name) in [
            (database.builder().max_concurrent_tasks(0), "max_concurrent_tasks"),
            (database.builder().task_timeout(zero), "task_timeout"),
            (database.builder().db_pool_size(0), "max_connections"),
        ] {
            assert_error(&builder.build().await.unwrap_err(), ErrorKind::Configuration, name);
        }
        // Nothing was opened.
        if let Some(path) = database.path() {
            assert!(!path.exists());
        }
    }

    async fn settings_at_the_edge_work(database: Database) {
        let config = RunnerConfig::builder()
            .max_connections(1)
            .max_concurrent_tasks(1)
            .task_timeout(None)
            .retention(None)
            .shutdown_timeout(Duration::ZERO)
            .cancel_grace(Duration::ZERO)
            .max_lost(1)
            .workflow(workflow("w", [idle("a"), idle("b").dependencies(["a"])]));
        let runner = database.builder().config(config.build()).build().await.unwrap();
        assert!(runner.execute("w", Context::new()).await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }

    async fn a_workflow_with_a_mistake_is_refused_when_the_runner_starts(database: Database) {
        let mistakes: [(Workflow, &str); 5] = [
            (workflow("empty", []), "no tasks"),
            (workflow("double", [idle("a"), idle("a")]), "two tasks with the id `a`"),
            (workflow("missing", [idle("a").dependencies(["b"])]), "`b`, which is not in the workflow"),
            (workflow("circle", [idle("a").dependencies(["b"]), idle("b").dependencies(["a"])]), "circle"),
            (workflow("", [idle("a")]), "name is empty"),
        ];
        for (mistake, words) in mistakes {
            let error = database.builder().workflow(mistake).build().await.unwrap_err();
            assert_error(&error, ErrorKind::Workflow, words);
        }
        let error = database
            .builder()
            .workflow(workflow("w", [idle("a")]))
            .workflow(workflow("w", [idle("b")]))
            .build()
            .await
            .unwrap_err();
        assert_error(&error, ErrorKind::Workflow, "two different workflows have the name `w`");
    }

    async fn the_executor_is_the_runner(database: Database) {
        let builder: UnifiedExecutorBuilder = database.builder();
        let executor: UnifiedExecutor = builder.workflow(workflow("w", [idle("t")])).build().await.unwrap();
        let runner: &Runner = &executor;
        assert!(runner.execute("w", Context::new()).await.unwrap().status.is_success());
        executor.shutdown().await.unwrap();
    }

    async fn what_a_runner_returns_can_be_sent_to_another_thread(database: Database) {
        fn sendable<F: Future + Send>(future: F) -> F {
            future
        }
        fn owned<F: Future + Send + 'static>(future: F) -> F {
            future
        }
        let runner = sendable(database.builder().workflow(workflow("w", [idle("t")])).build()).await.unwrap();
        let execution = sendable(runner.execute_async("w", Context::new())).await.unwrap();
        let id = execution.execution_id;
        sendable(runner.execute("w", Context::new())).await.unwrap();
        sendable(runner.get_execution_status(id)).await.unwrap();
        sendable(runner.get_execution(id)).await.unwrap();
        sendable(runner.list_executions()).await.unwrap();
        sendable(runner.list(ExecutionFilter::all(), None, 1)).await.unwrap();
        owned(runner.submit("w").send()).await.unwrap();
        sendable(execution.wait_for_completion()).await.unwrap();
        sendable(execution.wait_for(Duration::ZERO)).await.unwrap();
        sendable(execution.get_status()).await.unwrap();
        sendable(execution.history()).await.unwrap();
        // Whether they succeed is another test's affair.
        assert!(sendable(execution.pause()).await.is_err());
        assert!(sendable(execution.resume()).await.is_err());
        assert!(sendable(execution.cancel()).await.is_err());
        let clone = runner.clone();
        tokio::spawn(owned(async move { clone.shutdown().await })).await.unwrap().unwrap();
    }
}

#[test]
fn the_types_can_be_shared() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    fn sendable<T: Clone + Send + std::fmt::Debug>() {}
    fn error<T: std::error::Error + Send + Sync + 'static>() {}
    fn task_error<
        T: std::fmt::Debug + std::fmt::Display + Send + Sync + From<Error> + From<std::io::Error>,
    >() {
    }
    shared::<Runner>();
    shared::<UnifiedExecutor>();
    shared::<RunnerBuilder>();
    shared::<RunnerConfig>();
    shared::<Execution>();
    shared::<ExecutionResult>();
    shared::<ExecutionStatus>();
    shared::<Workflow>();
    sendable::<Context<serde_json::Value>>();
    error::<Error>();
    task_error::<TaskError>();
}

#[test]
fn states_say_whether_they_are_the_end() {
    use ExecutionStatus::{Cancelled, Completed, Failed, Paused, Pending, Running};
    for state in [Pending, Running, Paused, Completed, Failed, Cancelled] {
        assert_eq!(state.is_terminal(), matches!(state, Completed | Failed | Cancelled));
        assert_eq!(state.is_success(), state == Completed);
        assert_eq!(state.to_string().parse(), Ok(state));
    }
}

#[test]
fn a_runner_needs_a_tokio_runtime_and_says_so() {
    let mut opening = std::pin::pin!(Runner::new("sqlite::memory:"));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let begun = std::time::Instant::now();
    let error = loop {
        match opening.as_mut().poll(&mut context) {
            std::task::Poll::Ready(opened) => break opened.unwrap_err(),
            std::task::Poll::Pending if begun.elapsed() < crate::support::PATIENCE => {
                std::thread::yield_now();
            }
            std::task::Poll::Pending => panic!("it waits for ever"),
        }
    };
    assert_error(&error, ErrorKind::Configuration, "Tokio runtime");
}
