//! How runners end, and who finishes their work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloacina::runner::Runner;
use cloacina::{AttemptOutcome, Context, ErrorKind, ExecutionStatus, TaskDefinition, TaskState, Workflow};
use cloacina_testing::clock::ManualClock;
use futures_util::FutureExt;
use tokio::sync::mpsc;

use crate::support::{Database, Gate, assert_error, idle, quick, setting, task, task_of, until, workflow};

/// A task that never ends as long as it is stuck, and tells when it starts.
#[derive(Clone)]
struct Stuck {
    stuck: Arc<AtomicBool>,
    started: mpsc::UnboundedSender<u32>,
}

impl Stuck {
    fn new() -> (Self, mpsc::UnboundedReceiver<u32>) {
        let (started, starts) = mpsc::unbounded_channel();
        (Self { stuck: Arc::new(AtomicBool::new(true)), started }, starts)
    }

    fn task(&self, id: &str) -> TaskDefinition {
        let Self { stuck, started } = self.clone();
        task(id, move |context| {
            let (stuck, started) = (Arc::clone(&stuck), started.clone());
            async move {
                let is_stuck = stuck.load(Ordering::SeqCst);
                started.send(context.task().attempt()).unwrap();
                if is_stuck {
                    std::future::pending::<()>().await;
                }
                Ok(context.with("finished", true))
            }
        })
    }

    fn workflow(&self) -> Workflow {
        workflow(
            "w",
            [
                setting("before", "before", 1),
                self.task("t").dependencies(["before"]),
                idle("after").dependencies(["t"]),
            ],
        )
    }

    fn release(&self) {
        self.stuck.store(false, Ordering::SeqCst);
    }
}

/// What the next runner makes of an execution that another one left behind.
async fn finished_by_the_next(database: &Database, stuck: &Stuck, id: uuid::Uuid, first: AttemptOutcome) {
    stuck.release();
    let next = database.runner([stuck.workflow()]).await;
    let result = next.execution(id).wait_for_completion().await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
    assert_eq!(result.final_context.get::<bool>("finished"), Some(true));
    let history = next.execution(id).history().await.unwrap();
    let seen: Vec<_> =
        history.iter().map(|attempt| (attempt.task_id.as_str(), attempt.attempt, attempt.outcome)).collect();
    assert_eq!(
        seen,
        [
            ("before", 1, AttemptOutcome::Completed),
            ("t", 1, first),
            ("t", 2, AttemptOutcome::Completed),
            ("after", 1, AttemptOutcome::Completed),
        ]
    );
    next.shutdown().await.unwrap();
}

on_each_store! {
    async fn shutdown_waits_for_what_runs(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([workflow("w", [gate.task("t")])]).await;
        let waiting = tokio::spawn({
            let runner = runner.clone();
            async move { runner.execute("w", Context::new()).await }
        });
        let info = gate.started().await;
        let closing = tokio::spawn({
            let runner = runner.clone();
            async move { runner.shutdown().await }
        });
        until(async || runner.list_executions().await.is_err()).await;
        assert!(!closing.is_finished());
        assert!(!info.cancellation().is_cancelled());
        gate.open(1);
        assert_eq!(waiting.await.unwrap().unwrap().status, ExecutionStatus::Completed);
        closing.await.unwrap().unwrap();
        // It was written, not only told.
        let next = database.runner([]).await;
        assert_eq!(next.get_execution_status(info.execution_id()).await.unwrap(), ExecutionStatus::Completed);
        next.shutdown().await.unwrap();
    }

    async fn what_is_still_waiting_at_the_shutdown_is_left_to_the_next_runner(database: Database) {
        let gate = Gate::new();
        let workflows = || [workflow("w", [gate.task("a"), idle("b").dependencies(["a"])])];
        let runner = database.configured(quick().max_concurrent_tasks(1), workflows()).await;
        let running = runner.execute_async("w", Context::new()).await.unwrap();
        gate.started().await;
        let pending = runner.execute_async("w", Context::new()).await.unwrap();
        let closing = tokio::spawn({
            let runner = runner.clone();
            async move { runner.shutdown().await }
        });
        until(async || runner.list_executions().await.is_err()).await;
        gate.open(1);
        closing.await.unwrap().unwrap();
        assert!(!gate.has_started().await);
        let next = database.runner(workflows()).await;
        gate.open(1);
        for id in [running.execution_id, pending.execution_id] {
            let result = next.execution(id).wait_for_completion().await.unwrap();
            assert_eq!(result.status, ExecutionStatus::Completed);
            assert!(result.task_results.iter().all(|task| task.attempts == 1), "{result:?}");
        }
        next.shutdown().await.unwrap();
    }

    async fn what_does_not_end_in_time_is_given_back(database: Database) {
        let (stuck, mut starts) = Stuck::new();
        let config = quick().shutdown_timeout(Duration::from_millis(100));
        let runner = database.configured(config, [stuck.workflow()]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        let mut waiting = Box::pin(execution.wait_for_completion());
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(starts.recv().await, Some(1));
        runner.shutdown().await.unwrap();
        assert_error(&waiting.await.unwrap_err(), ErrorKind::ShutDown, &execution.execution_id.to_string());
        finished_by_the_next(&database, &stuck, execution.execution_id, AttemptOutcome::Released).await;
    }

    async fn clones_share_one_runner_and_its_end(database: Database) {
        let runner = database.runner([workflow("w", [idle("t")])]).await;
        let clone = runner.clone();
        let execution = clone.execute_async("w", Context::new()).await.unwrap();
        execution.wait_for_completion().await.unwrap();
        clone.shutdown().await.unwrap();
        // Twice is as good as once.
        clone.shutdown().await.unwrap();
        runner.shutdown().await.unwrap();
        for error in [
            runner.execute("w", Context::new()).await.unwrap_err(),
            runner.execute_async("w", Context::new()).await.unwrap_err(),
            runner.submit("w").send().await.unwrap_err(),
            runner.get_execution_status(execution.execution_id).await.unwrap_err(),
            runner.get_execution(execution.execution_id).await.unwrap_err(),
            runner.list_executions().await.unwrap_err(),
            execution.wait_for_completion().await.unwrap_err(),
            execution.get_status().await.unwrap_err(),
            execution.cancel().await.unwrap_err(),
            execution.pause().await.unwrap_err(),
            execution.resume().await.unwrap_err(),
            execution.history().await.unwrap_err(),
        ] {
            assert_error(&error, ErrorKind::ShutDown, "was shut down");
        }
    }

    async fn a_second_shutdown_waits_for_the_first(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([workflow("w", [gate.task("t")])]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        gate.started().await;
        // The first is not even listened to.
        drop(tokio::time::timeout(Duration::from_millis(20), runner.shutdown()).await);
        assert!(tokio::time::timeout(Duration::from_millis(100), runner.shutdown()).await.is_err());
        gate.open(1);
        runner.shutdown().await.unwrap();
        let next = database.runner([]).await;
        let status = next.get_execution_status(execution.execution_id).await.unwrap();
        assert_eq!(status, ExecutionStatus::Completed);
        next.shutdown().await.unwrap();
    }

    async fn a_task_may_shut_its_own_runner_down(database: Database) {
        let place = Arc::new(std::sync::OnceLock::<Runner>::new());
        let suicidal = task("t", {
            let place = Arc::clone(&place);
            move |context| {
                let runner = place.get().unwrap().clone();
                async move {
                    if context.task().attempt() == 1 {
                        runner.shutdown().await?;
                    }
                    Ok(context)
                }
            }
        });
        let config = quick().shutdown_timeout(Duration::from_millis(50));
        let runner = database.configured(config, [workflow("w", [suicidal.clone()])]).await;
        place.set(runner.clone()).unwrap();
        let error = runner.execute("w", Context::new()).await.unwrap_err();
        assert_error(&error, ErrorKind::ShutDown, "shut down");
        runner.shutdown().await.unwrap();
        let next = database.runner([workflow("w", [suicidal])]).await;
        let id = next.list_executions().await.unwrap()[0].execution_id;
        assert!(next.execution(id).wait_for_completion().await.unwrap().status.is_success());
        next.shutdown().await.unwrap();
    }

    async fn a_task_may_cancel_its_own_execution(database: Database) {
        let place = Arc::new(std::sync::OnceLock::<Runner>::new());
        let weary = task("t", {
            let place = Arc::clone(&place);
            move |context| {
                let runner = place.get().unwrap().clone();
                async move {
                    runner.execution(context.task().execution_id()).cancel().await?;
                    Ok(context)
                }
            }
        });
        let runner = database.runner([workflow("w", [weary, idle("next").dependencies(["t"])])]).await;
        place.set(runner.clone()).unwrap();
        let result = runner.execute("w", Context::new()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Cancelled);
        assert_eq!(task_of(&result, "next").state, TaskState::Cancelled);
        runner.shutdown().await.unwrap();
    }

    async fn a_new_place_can_be_opened_many_times_at_once(database: Database) {
        let opening: Vec<_> = (0..20).map(|n| {
            let database = database.clone();
            tokio::spawn(async move { database.runner([workflow(&format!("w{}", n % 2), [idle("t")])]).await })
        }).collect();
        let mut runners = Vec::new();
        for opening in opening {
            runners.push(opening.await.unwrap());
        }
        for runner in &runners {
            assert!(runner.execute("w0", Context::new()).await.unwrap().status.is_success());
            assert!(runner.execute("w1", Context::new()).await.unwrap().status.is_success());
        }
        assert_eq!(runners[0].list_executions().await.unwrap().len(), 40);
        for runner in runners {
            runner.shutdown().await.unwrap();
        }
    }

    async fn runners_that_were_opened_apart_end_apart(database: Database) {
        let workflows = || [workflow("w", [idle("t")])];
        let (first, second) = (database.runner(workflows()).await, database.runner(workflows()).await);
        first.shutdown().await.unwrap();
        assert!(second.execute("w", Context::new()).await.unwrap().status.is_success());
        second.shutdown().await.unwrap();
        assert_eq!(second.list_executions().await.unwrap_err().kind(), ErrorKind::ShutDown);
    }

    async fn a_place_can_be_opened_and_closed_over_and_over(database: Database) {
        for n in 0..5 {
            let runner = database.runner([workflow("w", [idle("t")])]).await;
            assert_eq!(runner.list_executions().await.unwrap().len(), n);
            assert!(runner.execute("w", Context::new()).await.unwrap().status.is_success());
            runner.shutdown().await.unwrap();
        }
    }

    async fn opening_while_another_is_closing_works(database: Database) {
        for _ in 0..10 {
            let first = database.runner([workflow("w", [idle("t")])]).await;
            let closing = tokio::spawn(async move { first.shutdown().await });
            let second = database.runner([workflow("w", [idle("t")])]).await;
            assert!(second.execute("w", Context::new()).await.unwrap().status.is_success());
            closing.await.unwrap().unwrap();
            second.shutdown().await.unwrap();
        }
    }

    async fn a_runner_that_is_dropped_gives_its_work_back(database: Database) {
        let (stuck, mut starts) = Stuck::new();
        let runner = database.runner([stuck.workflow()]).await;
        let id = runner.execute_async("w", Context::new()).await.unwrap().execution_id;
        assert_eq!(starts.recv().await, Some(1));
        drop(runner);
        finished_by_the_next(&database, &stuck, id, AttemptOutcome::Released).await;
    }

    async fn a_runner_lives_as_long_as_a_handle_on_an_execution(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([workflow("w", [gate.task("t")])]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        gate.started().await;
        drop(runner);
        gate.open(1);
        let result = execution.wait_for_completion().await.unwrap();
        assert_eq!((result.status, task_of(&result, "t").attempts), (ExecutionStatus::Completed, 1));
    }

    async fn work_of_a_runtime_that_ended_is_finished_by_the_next_runner(database: Database) {
        let (stuck, mut starts) = Stuck::new();
        let (first, id, _starts) = tokio::task::spawn_blocking({
            let (database, stuck) = (database.clone(), stuck.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
                let opened = runtime.block_on(async {
                    let runner = database.runner([stuck.workflow()]).await;
                    let execution = runner.execute_async("w", Context::new()).await.unwrap();
                    assert_eq!(starts.recv().await, Some(1));
                    (runner, execution.execution_id)
                });
                // The task that runs there is dropped with it.
                drop(runtime);
                (opened.0, opened.1, starts)
            }
        }).await.unwrap();
        finished_by_the_next(&database, &stuck, id, AttemptOutcome::Released).await;
        first.shutdown().await.unwrap();
    }

    async fn a_runner_that_only_submits_runs_nothing(database: Database) {
        let workflows = || [workflow("w", [setting("t", "done", true)])];
        let submitter = database.configured(quick().submit_only(true), workflows()).await;
        let execution = submitter.execute_async("w", Context::new()).await.unwrap();
        assert!(execution.wait_for(Duration::from_millis(300)).await.unwrap().is_none());
        let now = submitter.get_execution(execution.execution_id).await.unwrap();
        assert_eq!((now.status, task_of(&now, "t").state), (ExecutionStatus::Pending, TaskState::Ready));
        submitter.shutdown().await.unwrap();
        let executor = database.runner(workflows()).await;
        let result = executor.execution(execution.execution_id).wait_for_completion().await.unwrap();
        assert_eq!(result.final_context.get::<bool>("done"), Some(true));
        executor.shutdown().await.unwrap();
    }

    async fn a_submitter_learns_how_its_execution_ended_from_a_runner_that_comes_later(database: Database) {
        let workflows = || [workflow("w", [setting("t", "done", true)])];
        let submitter = database.configured(quick().submit_only(true), workflows()).await;
        let waiting = tokio::spawn({
            let submitter = submitter.clone();
            async move { submitter.execute("w", Context::new()).await.unwrap() }
        });
        until(async || submitter.list_executions().await.unwrap().len() == 1).await;
        let executor = database.runner(workflows()).await;
        assert_eq!(waiting.await.unwrap().final_context.get::<bool>("done"), Some(true));
        executor.shutdown().await.unwrap();
        submitter.shutdown().await.unwrap();
    }

    async fn a_submitter_stays_one_when_an_executor_beside_it_has_ended(database: Database) {
        let workflows = || [workflow("w", [idle("t")])];
        let submitter = database.configured(quick().submit_only(true), workflows()).await;
        let executor = database.runner(workflows()).await;
        assert!(submitter.execute("w", Context::new()).await.unwrap().status.is_success());
        executor.shutdown().await.unwrap();
        let execution = submitter.execute_async("w", Context::new()).await.unwrap();
        assert!(execution.wait_for(Duration::from_millis(300)).await.unwrap().is_none());
        assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Pending);
        let executor = database.runner(workflows()).await;
        assert!(execution.wait_for_completion().await.unwrap().status.is_success());
        executor.shutdown().await.unwrap();
        submitter.shutdown().await.unwrap();
    }

    async fn a_runtime_that_ends_does_not_take_the_runner_of_another_with_it(database: Database) {
        let workflows = || [workflow("w", [idle("a"), idle("b").dependencies(["a"])])];
        let runner = database.runner(workflows()).await;
        let second = tokio::task::spawn_blocking({
            let database = database.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let second = runtime.block_on(database.runner(workflows()));
                drop(runtime);
                second
            }
        }).await.unwrap();
        for _ in 0..3 {
            assert!(runner.execute("w", Context::new()).await.unwrap().status.is_success());
        }
        second.shutdown().await.unwrap();
        assert!(runner.execute("w", Context::new()).await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }

    async fn what_ran_on_a_runtime_that_ended_goes_on_on_another(database: Database) {
        let (stuck, mut starts) = Stuck::new();
        let runner = database.runner([stuck.workflow()]).await;
        let (second, id, mut starts) = tokio::task::spawn_blocking({
            let (database, stuck) = (database.clone(), stuck.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let (second, id) = runtime.block_on(async {
                    let second = database.runner([stuck.workflow()]).await;
                    let execution = second.execute_async("w", Context::new()).await.unwrap();
                    assert_eq!(starts.recv().await, Some(1));
                    (second, execution.execution_id)
                });
                stuck.release();
                drop(runtime);
                (second, id, starts)
            }
        })
        .await
        .unwrap();
        assert_eq!(starts.recv().await, Some(2));
        assert!(runner.execution(id).wait_for_completion().await.unwrap().status.is_success());
        second.shutdown().await.unwrap();
        runner.shutdown().await.unwrap();
    }

    async fn an_executor_that_ends_beside_a_submitter_gives_its_work_back(database: Database) {
        let (stuck, mut starts) = Stuck::new();
        let submitter = database.configured(quick().submit_only(true), [stuck.workflow()]).await;
        let config = quick().shutdown_timeout(Duration::from_millis(50));
        let executor = database.configured(config, [stuck.workflow()]).await;
        let id = submitter.execute_async("w", Context::new()).await.unwrap().execution_id;
        assert_eq!(starts.recv().await, Some(1));
        executor.shutdown().await.unwrap();
        let now = submitter.get_execution(id).await.unwrap();
        assert_eq!(task_of(&now, "t").state, TaskState::Ready, "{now:?}");
        finished_by_the_next(&database, &stuck, id, AttemptOutcome::Released).await;
        submitter.shutdown().await.unwrap();
    }

    async fn the_code_that_was_given_last_is_the_one_that_runs(database: Database) {
        let first = database.runner([workflow("w", [setting("t", "version", 1)])]).await;
        let second = database.runner([workflow("w", [setting("t", "version", 2)])]).await;
        for runner in [&first, &second] {
            let result = runner.execute("w", Context::new()).await.unwrap();
            assert_eq!(result.final_context.get::<i32>("version"), Some(2));
        }
        first.shutdown().await.unwrap();
        second.shutdown().await.unwrap();
    }

    async fn an_execution_whose_code_nobody_has_is_paused_until_somebody_has_it(database: Database) {
        let clock = ManualClock::new();
        let config = || quick().clock(Arc::new(clock.clone()));
        let old = || [workflow("old", [setting("t", "done", true)])];
        // Whatever waits in the engine waits by this clock.
        let ticking = tokio::spawn({
            let clock = clock.clone();
            async move {
                loop {
                    clock.advance(Duration::from_secs(5));
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
        let submitter = database.configured(config().submit_only(true), old()).await;
        let id = submitter.execute_async("old", Context::new()).await.unwrap().execution_id;
        submitter.shutdown().await.unwrap();
        let without = database.configured(config(), [workflow("new", [idle("t")])]).await;
        until(async || without.get_execution_status(id).await.unwrap() == ExecutionStatus::Paused).await;
        assert!(without.execute("new", Context::new()).await.unwrap().status.is_success());
        without.shutdown().await.unwrap();
        let with = database.configured(config(), old()).await;
        let result = with.execution(id).wait_for_completion().await.unwrap();
        assert_eq!(result.final_context.get::<bool>("done"), Some(true));
        with.shutdown().await.unwrap();
        ticking.abort();
    }

    async fn what_is_over_for_longer_than_it_is_kept_is_gone(database: Database) {
        let clock = ManualClock::new();
        let day = Duration::from_secs(24 * 3600);
        let gate = Gate::new();
        let workflows = || [workflow("w", [idle("t")]), workflow("gated", [gate.task("t")])];
        let config = quick().clock(Arc::new(clock.clone())).retention(day * 2).task_timeout(None).lease(day * 365);
        let runner = database.configured(config, workflows()).await;
        let keyed = || runner.submit("w").idempotency_key("k");
        let over = keyed().send().await.unwrap();
        over.wait_for_completion().await.unwrap();
        let running = runner.execute_async("gated", Context::new()).await.unwrap();
        gate.started().await;
        let hour = Duration::from_secs(3600);
        for _ in 0..24 {
            clock.advance(hour);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(keyed().send().await.unwrap().execution_id, over.execution_id);
        until(async || {
            clock.advance(hour);
            matches!(over.get_status().await, Err(error) if error.kind() == ErrorKind::NotFound)
        }).await;
        // What is not over stays, however old it is, and the key is free again.
        assert_eq!(running.get_status().await.unwrap(), ExecutionStatus::Running);
        let anew = keyed().send().await.unwrap();
        assert_ne!(anew.execution_id, over.execution_id);
        anew.wait_for_completion().await.unwrap();
        gate.open(1);
        running.wait_for_completion().await.unwrap();
        runner.shutdown().await.unwrap();
    }

    async fn an_execution_of_a_workflow_without_code_waits_for_a_runner_that_has_it(database: Database) {
        let first = database.configured(quick().submit_only(true), [workflow("w", [setting("t", "done", 1)])]).await;
        let id = first.execute_async("w", Context::new()).await.unwrap().execution_id;
        first.shutdown().await.unwrap();
        // The same name, but another shape.
        let other = database.runner([workflow("w", [idle("t"), idle("u")])]).await;
        assert!(other.execute("w", Context::new()).await.unwrap().status.is_success());
        assert_eq!(other.get_execution_status(id).await.unwrap(), ExecutionStatus::Pending);
        assert_eq!(other.get_execution(id).await.unwrap().task_results.len(), 1);
        other.shutdown().await.unwrap();
        let right = database.runner([workflow("w", [setting("t", "done", 1)])]).await;
        assert!(right.execution(id).wait_for_completion().await.unwrap().status.is_success());
        right.shutdown().await.unwrap();
    }
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn only_the_file_is_left_when_its_last_runner_has_ended() {
    let database = Database::sqlite();
    let path = database.path().unwrap();
    let names = || -> Vec<_> {
        let entries = std::fs::read_dir(path.parent().unwrap()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let (first, second) = (
        database.runner([workflow("w", [idle("t")])]).await,
        database.runner([workflow("w", [idle("t")])]).await,
    );
    first.execute("w", Context::new()).await.unwrap();
    first.shutdown().await.unwrap();
    assert_eq!(names(), ["acme.db", "acme.db-shm", "acme.db-wal"]);
    second.shutdown().await.unwrap();
    assert_eq!(names(), ["acme.db"]);
    // A file that is gone is a new tenant.
    std::fs::remove_file(&path).unwrap();
    let runner = database.runner([]).await;
    assert!(runner.list_executions().await.unwrap().is_empty());
    runner.shutdown().await.unwrap();
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_database_in_memory_is_gone_with_its_runner() {
    let open =
        || Runner::builder().database_url("sqlite::memory:").workflow(workflow("w", [idle("t")])).build();
    let (first, second) = (open().await.unwrap(), open().await.unwrap());
    first.execute("w", Context::new()).await.unwrap();
    assert_eq!(first.list_executions().await.unwrap().len(), 1);
    assert!(second.list_executions().await.unwrap().is_empty());
    first.shutdown().await.unwrap();
    second.shutdown().await.unwrap();
}
