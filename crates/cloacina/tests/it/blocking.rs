//! Tasks that block their thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use cloacina::{AttemptOutcome, Context, ExecutionStatus, RetryPolicy, TaskBody, TaskDefinition, TaskError};
use tokio::sync::mpsc;

use crate::support::{Database, idle, quick, reaches, task, workflow};

fn blocking(
    id: &str,
    code: impl Fn(Context) -> Result<Context, TaskError> + Send + Sync + 'static,
) -> TaskDefinition {
    TaskDefinition::new(id, TaskBody::Blocking(Arc::new(code))).retry(RetryPolicy::NEVER)
}

fn cores() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

/// Blocking tasks have as many threads as there are cores in the whole process: a test that needs all of them
/// must not meet another that does.
static ALL_CORES: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Blocking tasks that tell when they start and end only when the last value is dropped.
fn all_stuck(
    count: usize,
) -> (Vec<TaskDefinition>, mpsc::UnboundedReceiver<()>, std::sync::mpsc::Sender<()>) {
    let (let_go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Arc::new(std::sync::Mutex::new(wait));
    let (started, starts) = mpsc::unbounded_channel();
    let stuck = (0..count).map(|n| {
        let (wait, started) = (Arc::clone(&wait), started.clone());
        blocking(&format!("b{n}"), move |context| {
            // Whoever does not listen any more does not want to know.
            started.send(()).unwrap_or_default();
            wait.lock().unwrap().recv().unwrap_err();
            Ok(context)
        })
    });
    (stuck.collect(), starts, let_go)
}

on_each_store! {
    async fn blocking_tasks_run_side_by_side_on_all_cores(database: Database) {
        let _alone = ALL_CORES.lock().await;
        let barrier = Arc::new(Barrier::new(cores()));
        let tasks = (0..cores()).map(|n| {
            let barrier = Arc::clone(&barrier);
            blocking(&format!("t{n}"), move |context| {
                barrier.wait();
                Ok(context)
            })
        });
        assert!(database.run(Context::new(), tasks).await.status.is_success());
    }

    async fn no_more_blocking_tasks_run_than_there_are_cores(database: Database) {
        let _alone = ALL_CORES.lock().await;
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..cores() * 4).map(|n| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            blocking(&format!("t{n}"), move |context| {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(context)
            })
        });
        assert!(database.run(Context::new(), tasks).await.status.is_success());
        let most = most.load(Ordering::SeqCst);
        assert!(most <= cores(), "{most}");
    }

    async fn blocked_threads_do_not_keep_async_tasks_from_running(database: Database) {
        let _alone = ALL_CORES.lock().await;
        let (let_go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let stuck: Vec<_> = (0..cores() * 2).map(|n| {
            let wait = Arc::clone(&wait);
            blocking(&format!("b{n}"), move |context| {
                // An error means that the sender is gone, as it is meant to be.
                wait.lock().unwrap().recv().unwrap_err();
                Ok(context)
            })
        }).collect();
        let runner = database.runner([workflow("stuck", stuck), workflow("async", [idle("a"), idle("b").dependencies(["a"])])]).await;
        let execution = runner.execute_async("stuck", Context::new()).await.unwrap();
        for _ in 0..10 {
            assert!(runner.execute("async", Context::new()).await.unwrap().status.is_success());
        }
        assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Running);
        drop(let_go);
        assert!(execution.wait_for_completion().await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }

    async fn a_tenant_that_takes_all_cores_keeps_no_other_from_its_blocking_tasks(database: Database) {
        let _alone = ALL_CORES.lock().await;
        let (stuck, mut starts, let_go) = all_stuck(cores() * 2);
        let greedy = database.runner([workflow("stuck", stuck)]).await;
        let execution = greedy.execute_async("stuck", Context::new()).await.unwrap();
        for _ in 0..cores() {
            starts.recv().await.unwrap();
        }
        let blocked = || blocking("t", |context| Ok(context.with("done", true)));
        let other = database.of("other").runner([workflow("w", [blocked()])]).await;
        for _ in 0..3 {
            assert!(other.execute("w", Context::new()).await.unwrap().status.is_success());
        }
        drop(let_go);
        assert!(execution.wait_for_completion().await.unwrap().status.is_success());
        greedy.shutdown().await.unwrap();
        other.shutdown().await.unwrap();
    }

    async fn the_time_of_a_blocking_task_does_not_run_while_it_waits_for_a_thread(database: Database) {
        let _alone = ALL_CORES.lock().await;
        let (stuck, mut starts, let_go) = all_stuck(cores());
        let timeout = Some(Duration::from_millis(50));
        let late = task("t", |_| std::future::pending()).timeout(timeout);
        let waiting = blocking("t", Ok).timeout(timeout);
        let runner = database
            .runner([workflow("stuck", stuck), workflow("waiting", [waiting]), workflow("late", [late])])
            .await;
        let stuck = runner.execute_async("stuck", Context::new()).await.unwrap();
        for _ in 0..cores() {
            starts.recv().await.unwrap();
        }
        let waiting = runner.execute_async("waiting", Context::new()).await.unwrap();
        // Another one with the same timeout runs out of it meanwhile.
        assert_eq!(runner.execute("late", Context::new()).await.unwrap().status, ExecutionStatus::Failed);
        assert_eq!(waiting.get_status().await.unwrap(), ExecutionStatus::Running);
        drop(let_go);
        assert!(waiting.wait_for_completion().await.unwrap().status.is_success());
        assert!(stuck.wait_for_completion().await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }

    async fn a_blocking_task_that_waits_for_a_thread_is_cancelled_and_given_back_at_once(database: Database) {
        let _alone = ALL_CORES.lock().await;
        let (stuck, mut starts, let_go) = all_stuck(cores());
        let runs = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&runs);
        let waits = blocking("t", move |context| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(context)
        });
        let workflows = || [workflow("stuck", stuck.clone()), workflow("waits", [waits.clone()])];
        // The grace period is for what runs.
        let config = quick().shutdown_timeout(Duration::from_millis(50)).cancel_grace(Duration::from_secs(1));
        let runner = database.configured(config.max_concurrent_tasks(cores() + 1), workflows()).await;
        runner.execute_async("stuck", Context::new()).await.unwrap();
        for _ in 0..cores() {
            starts.recv().await.unwrap();
        }
        let cancelled = runner.execute_async("waits", Context::new()).await.unwrap();
        reaches(&cancelled, ExecutionStatus::Running).await;
        cancelled.cancel().await.unwrap();
        // Its slot is free at once, or the next one would not begin.
        let returned = runner.execute_async("waits", Context::new()).await.unwrap();
        reaches(&returned, ExecutionStatus::Running).await;
        runner.shutdown().await.unwrap();
        drop(let_go);
        let next = database.runner(workflows()).await;
        let result = next.execution(returned.execution_id).wait_for_completion().await.unwrap();
        assert!(result.status.is_success());
        let outcomes: Vec<_> = next
            .execution(returned.execution_id)
            .history()
            .await
            .unwrap()
            .into_iter()
            .map(|attempt| attempt.outcome)
            .collect();
        assert_eq!(outcomes, [AttemptOutcome::Released, AttemptOutcome::Completed]);
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        next.shutdown().await.unwrap();
    }

    async fn a_blocking_task_that_ran_out_of_time_keeps_its_slot_until_it_returns(database: Database) {
        let (let_go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let (told, mut cancellations) = mpsc::unbounded_channel();
        let stuck = blocking("stuck", move |context| {
            while !context.task().cancellation().is_cancelled() {
                std::thread::sleep(Duration::from_millis(1));
            }
            told.send(()).unwrap();
            wait.lock().unwrap().recv().unwrap_err();
            Ok(context)
        });
        let config = quick().max_concurrent_tasks(1).cancel_grace(Duration::from_secs(600));
        let runner = database.configured(config, [
            workflow("stuck", [stuck.timeout(Some(Duration::from_millis(50)))]),
            workflow("next", [idle("t")]),
        ]).await;
        let result = runner.execute("stuck", Context::new()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Failed);
        let history = runner.execution(result.execution_id).history().await.unwrap();
        assert_eq!(history[0].outcome, AttemptOutcome::TimedOut);
        cancellations.recv().await.unwrap();
        // It is recorded as over, but its thread is still taken.
        let next = runner.execute_async("next", Context::new()).await.unwrap();
        assert!(next.wait_for(Duration::from_millis(200)).await.unwrap().is_none());
        assert_eq!(next.get_status().await.unwrap(), ExecutionStatus::Pending);
        drop(let_go);
        assert!(next.wait_for_completion().await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }

    async fn a_blocking_task_that_was_cancelled_keeps_its_slot_until_it_returns(database: Database) {
        let (let_go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let (started, mut starts) = mpsc::unbounded_channel();
        let stuck = blocking("stuck", move |context| {
            started.send(()).unwrap();
            wait.lock().unwrap().recv().unwrap_err();
            Ok(context)
        });
        let config = quick().max_concurrent_tasks(1);
        let runner = database.configured(config, [workflow("stuck", [stuck]), workflow("next", [idle("t")])]).await;
        let cancelled = runner.execute_async("stuck", Context::new()).await.unwrap();
        starts.recv().await.unwrap();
        cancelled.cancel().await.unwrap();
        assert_eq!(cancelled.wait_for_completion().await.unwrap().status, ExecutionStatus::Cancelled);
        let next = runner.execute_async("next", Context::new()).await.unwrap();
        assert!(next.wait_for(Duration::from_millis(200)).await.unwrap().is_none());
        drop(let_go);
        assert!(next.wait_for_completion().await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }

    async fn a_blocking_task_that_does_not_return_does_not_keep_the_runner_from_its_end(database: Database) {
        let (let_go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let (started, mut starts) = mpsc::unbounded_channel();
        let stuck = blocking("t", move |context| {
            started.send(()).unwrap();
            if context.task().attempt() == 1 {
                wait.lock().unwrap().recv().unwrap_err();
            }
            Ok(context)
        });
        let workflows = || [workflow("w", [stuck.clone()])];
        let config = quick().shutdown_timeout(Duration::from_millis(50));
        let runner = database.configured(config, workflows()).await;
        let id = runner.execute_async("w", Context::new()).await.unwrap().execution_id;
        starts.recv().await.unwrap();
        runner.shutdown().await.unwrap();
        drop(let_go);
        let next = database.runner(workflows()).await;
        assert!(next.execution(id).wait_for_completion().await.unwrap().status.is_success());
        let outcomes: Vec<_> =
            next.execution(id).history().await.unwrap().into_iter().map(|attempt| attempt.outcome).collect();
        assert_eq!(outcomes, [AttemptOutcome::Released, AttemptOutcome::Completed]);
        next.shutdown().await.unwrap();
    }
}
