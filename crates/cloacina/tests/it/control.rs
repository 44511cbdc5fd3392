//! Cancelling, pausing, resuming, deadlines.

use std::sync::Arc;
use std::time::Duration;

use cloacina::{
    AttemptOutcome, Context, ErrorKind, ExecutionStatus, RetryPolicy, TaskBody, TaskDefinition, TaskState,
};
use cloacina_core::clock::{Clock, SystemClock};
use tokio::sync::mpsc;

use crate::support::{
    Database, Dropped, Gate, assert_error, failing, idle, quick, setting, task, task_of, until, workflow,
};

on_each_store! {
    async fn a_cancelled_execution_is_over_at_once_and_its_tasks_are_stopped(database: Database) {
        let (dropped, mut drops) = mpsc::unbounded_channel();
        let gate = Gate::new();
        let stuck = task("stuck", move |context| {
            let guard = Dropped(dropped.clone());
            async move {
                std::future::pending::<()>().await;
                drop(guard);
                Ok(context)
            }
        });
        let runner = database.runner([workflow("w", [gate.task("gated"), stuck, idle("never").dependencies(["gated"])])]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        let info = gate.started().await;
        assert!(!info.cancellation().is_cancelled());
        execution.cancel().await.unwrap();
        assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Cancelled);
        info.cancellation().cancelled().await;
        // After the grace period it is dropped, wherever it is.
        drops.recv().await.unwrap();
        let result = execution.wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Cancelled);
        assert_eq!(result.error_message.as_deref(), Some("cancelled by request"));
        assert!(result.task_results.iter().all(|task| task.state == TaskState::Cancelled), "{result:?}");
        assert!(result.end_time.is_some());
        until(async || {
            let history = execution.history().await.unwrap();
            history.len() == 2 && history.iter().all(|attempt| attempt.outcome == AttemptOutcome::Cancelled)
        }).await;
        runner.shutdown().await.unwrap();
    }

    async fn a_task_that_looks_at_its_cancellation_may_end_in_good_order(database: Database) {
        let (ended, mut ends) = mpsc::unbounded_channel();
        let (started, mut starts) = mpsc::unbounded_channel();
        let polite = task("t", move |context| {
            let (ended, started) = (ended.clone(), started.clone());
            async move {
                started.send(()).unwrap();
                context.task().cancellation().cancelled().await;
                ended.send(()).unwrap();
                Ok(context.with("changed", true))
            }
        });
        let config = quick().cancel_grace(Duration::from_secs(60));
        let runner = database.configured(config, [workflow("w", [polite])]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        starts.recv().await.unwrap();
        execution.cancel().await.unwrap();
        ends.recv().await.unwrap();
        let result = execution.wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Cancelled);
        // What it changed after the end of the execution does not count.
        assert_eq!(runner.get_execution(execution.execution_id).await.unwrap().final_context, Context::new());
        assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Cancelled);
        runner.shutdown().await.unwrap();
    }

    async fn a_blocking_task_sees_that_it_was_cancelled(database: Database) {
        let (started, mut starts) = mpsc::unbounded_channel();
        let (ended, mut ends) = mpsc::unbounded_channel();
        let blocking = TaskBody::Blocking(Arc::new(move |context: Context| {
            started.send(()).unwrap();
            while !context.task().cancellation().is_cancelled() {
                std::thread::sleep(Duration::from_millis(1));
            }
            ended.send(()).unwrap();
            Ok(context)
        }));
        let blocking = TaskDefinition::new("t", blocking).retry(RetryPolicy::NEVER);
        let runner = database.runner([workflow("w", [blocking])]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        starts.recv().await.unwrap();
        execution.cancel().await.unwrap();
        ends.recv().await.unwrap();
        assert_eq!(execution.wait_for_completion().await.unwrap().status, ExecutionStatus::Cancelled);
        runner.shutdown().await.unwrap();
    }

    async fn a_pending_execution_that_is_cancelled_never_starts(database: Database) {
        let gate = Gate::new();
        let config = quick().max_concurrent_tasks(1);
        let runner = database.configured(config, [workflow("w", [gate.task("t")])]).await;
        let first = runner.execute_async("w", Context::new()).await.unwrap();
        gate.started().await;
        let second = runner.execute_async("w", Context::new()).await.unwrap();
        let third = runner.execute_async("w", Context::new()).await.unwrap();
        assert_eq!(second.get_status().await.unwrap(), ExecutionStatus::Pending);
        second.cancel().await.unwrap();
        let result = second.wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Cancelled);
        assert_eq!((task_of(&result, "t").state, task_of(&result, "t").attempts), (TaskState::Cancelled, 0));
        gate.open(2);
        assert!(first.wait_for_completion().await.unwrap().status.is_success());
        assert!(third.wait_for_completion().await.unwrap().status.is_success());
        assert_eq!(gate.started().await.execution_id(), third.execution_id);
        assert!(!gate.has_started().await);
        assert!(second.history().await.unwrap().is_empty());
        runner.shutdown().await.unwrap();
    }

    async fn what_is_over_cannot_be_controlled(database: Database) {
        let runner = database.runner([workflow("ok", [idle("t")]), workflow("bad", [failing("t")])]).await;
        for (name, state) in [("ok", "completed"), ("bad", "failed")] {
            let id = runner.execute(name, Context::new()).await.unwrap().execution_id;
            let execution = runner.execution(id);
            for (error, words) in [
                (execution.cancel().await.unwrap_err(), "cancelled"),
                (execution.pause().await.unwrap_err(), "paused"),
                (execution.resume().await.unwrap_err(), "resumed"),
            ] {
                assert_error(&error, ErrorKind::WrongState, &format!("is {state} and cannot be {words}"));
            }
        }
        let missing = runner.execution(uuid::Uuid::nil());
        for error in [
            missing.cancel().await.unwrap_err(),
            missing.pause().await.unwrap_err(),
            missing.resume().await.unwrap_err(),
            missing.wait_for_completion().await.unwrap_err(),
            missing.history().await.unwrap_err(),
        ] {
            assert_error(&error, ErrorKind::NotFound, &uuid::Uuid::nil().to_string());
        }
        runner.shutdown().await.unwrap();
    }

    async fn doing_it_twice_is_ok(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([workflow("w", [gate.task("t")])]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        gate.started().await;
        execution.resume().await.unwrap();
        execution.pause().await.unwrap();
        execution.pause().await.unwrap();
        execution.resume().await.unwrap();
        execution.resume().await.unwrap();
        execution.cancel().await.unwrap();
        execution.cancel().await.unwrap();
        assert_error(&execution.pause().await.unwrap_err(), ErrorKind::WrongState, "is cancelled and cannot be paused");
        runner.shutdown().await.unwrap();
    }

    async fn forty_cancellations_are_all_obeyed(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([workflow("w", [gate.task("a"), idle("b").dependencies(["a"])])]).await;
        let mut executions = Vec::new();
        for _ in 0..40 {
            executions.push(runner.execute_async("w", Context::new()).await.unwrap());
        }
        // Some run, some are on their way.
        for _ in 0..5 {
            gate.started().await;
        }
        let cancels: Vec<_> = executions.iter().cloned().map(|execution| tokio::spawn(async move { execution.cancel().await })).collect();
        for cancel in cancels {
            cancel.await.unwrap().unwrap();
        }
        for execution in &executions {
            assert_eq!(execution.wait_for_completion().await.unwrap().status, ExecutionStatus::Cancelled);
        }
        gate.open(40);
        let listed = runner.list_executions().await.unwrap();
        assert_eq!(listed.len(), 40);
        assert!(listed.iter().all(|execution| execution.status == ExecutionStatus::Cancelled));
        runner.shutdown().await.unwrap();
    }

    async fn a_cancellation_races_with_the_end_and_one_of_them_wins(database: Database) {
        let runner = database.runner([workflow("w", [idle("a"), idle("b").dependencies(["a"])])]).await;
        for _ in 0..20 {
            let execution = runner.execute_async("w", Context::new()).await.unwrap();
            let cancelled = execution.cancel().await;
            let result = execution.wait_for_completion().await.unwrap();
            match cancelled {
                Ok(()) => assert_eq!(result.status, ExecutionStatus::Cancelled),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WrongState);
                    assert_eq!(result.status, ExecutionStatus::Completed);
                }
            }
            let stored = runner.get_execution(execution.execution_id).await.unwrap();
            assert_eq!((stored.status, stored.task_results), (result.status, result.task_results));
        }
        runner.shutdown().await.unwrap();
    }

    async fn a_paused_execution_starts_nothing_until_it_is_resumed(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([
            workflow("w", [gate.task("a"), setting("set", "set", 1).dependencies(["a"]), gate.task("b").dependencies(["set"])]),
            workflow("other", [idle("t")]),
        ]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        assert_eq!(gate.started().await.task_id(), "a");
        execution.pause().await.unwrap();
        assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Paused);
        // What runs goes on, and its end is recorded.
        gate.open(1);
        let id = execution.execution_id;
        let state = async |task| task_of(&runner.get_execution(id).await.unwrap(), task).state;
        until(async || state("a").await == TaskState::Completed).await;
        // The engine is at work, but not on this.
        assert!(runner.execute("other", Context::new()).await.unwrap().status.is_success());
        assert!(execution.wait_for(Duration::from_millis(200)).await.unwrap().is_none());
        assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Paused);
        assert_ne!(state("set").await, TaskState::Completed);
        execution.resume().await.unwrap();
        assert_eq!(gate.started().await.task_id(), "b");
        gate.open(1);
        let result = execution.wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        assert!(result.task_results.iter().all(|task| task.attempts == 1), "{result:?}");
        assert_eq!(result.final_context.get::<i32>("set"), Some(1));
        runner.shutdown().await.unwrap();
    }

    async fn an_execution_whose_last_task_ended_while_it_was_paused_is_closed_by_the_resume(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([workflow("w", [gate.task("t")])]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        gate.started().await;
        execution.pause().await.unwrap();
        gate.open(1);
        until(async || {
            let now = runner.get_execution(execution.execution_id).await.unwrap();
            task_of(&now, "t").state == TaskState::Completed
        }).await;
        assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Paused);
        execution.resume().await.unwrap();
        assert_eq!(execution.wait_for_completion().await.unwrap().status, ExecutionStatus::Completed);
        runner.shutdown().await.unwrap();
    }

    async fn a_pending_execution_can_be_paused(database: Database) {
        let gate = Gate::new();
        let config = quick().max_concurrent_tasks(1);
        let runner = database.configured(config, [workflow("w", [gate.task("t")])]).await;
        let first = runner.execute_async("w", Context::new()).await.unwrap();
        gate.started().await;
        let paused = runner.execute_async("w", Context::new()).await.unwrap();
        let third = runner.execute_async("w", Context::new()).await.unwrap();
        paused.pause().await.unwrap();
        gate.open(3);
        assert!(first.wait_for_completion().await.unwrap().status.is_success());
        assert!(third.wait_for_completion().await.unwrap().status.is_success());
        assert_eq!(paused.get_status().await.unwrap(), ExecutionStatus::Paused);
        paused.resume().await.unwrap();
        assert!(paused.wait_for_completion().await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }

    async fn a_paused_execution_can_be_cancelled(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([workflow("w", [gate.task("t")])]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        let info = gate.started().await;
        execution.pause().await.unwrap();
        assert!(!info.cancellation().is_cancelled());
        execution.cancel().await.unwrap();
        info.cancellation().cancelled().await;
        assert_eq!(execution.wait_for_completion().await.unwrap().status, ExecutionStatus::Cancelled);
        runner.shutdown().await.unwrap();
    }

    async fn an_execution_that_is_not_over_by_its_deadline_is_cancelled(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([workflow("w", [gate.task("t"), idle("never").dependencies(["t"])])]).await;
        let deadline = SystemClock.now() + Duration::from_millis(300);
        let execution = runner.submit("w").deadline(deadline).send().await.unwrap();
        let info = gate.started().await;
        assert!(!info.cancellation().is_cancelled());
        info.cancellation().cancelled().await;
        let result = execution.wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Cancelled);
        assert!(result.error_message.as_deref().unwrap().contains("deadline"), "{result:?}");
        assert!(result.end_time.unwrap() >= deadline);
        runner.shutdown().await.unwrap();
    }

    async fn a_pending_execution_has_a_deadline_as_well(database: Database) {
        let gate = Gate::new();
        let config = quick().max_concurrent_tasks(1);
        let runner = database.configured(config, [workflow("w", [gate.task("t")])]).await;
        let first = runner.execute_async("w", Context::new()).await.unwrap();
        gate.started().await;
        let deadline = SystemClock.now() + Duration::from_millis(200);
        let late = runner.submit("w").deadline(deadline).send().await.unwrap();
        let result = late.wait_for_completion().await.unwrap();
        assert_eq!((result.status, task_of(&result, "t").attempts), (ExecutionStatus::Cancelled, 0));
        gate.open(1);
        assert!(first.wait_for_completion().await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }

    async fn an_execution_whose_deadline_has_passed_is_recorded_and_cancelled_and_no_task_of_it_starts(database: Database) {
        let (started, starts) = mpsc::unbounded_channel();
        let tells = task("t", move |context| {
            let started = started.clone();
            async move {
                started.send(()).unwrap();
                Ok(context)
            }
        });
        let runner = database.runner([workflow("w", [tells])]).await;
        let past = SystemClock.now() - Duration::from_secs(60);
        for n in 0..20 {
            let submit = || runner.submit("w").deadline(past).idempotency_key(format!("key {n}"));
            let execution = submit().send().await.unwrap();
            let result = execution.wait_for_completion().await.unwrap();
            assert_eq!((result.status, task_of(&result, "t").attempts), (ExecutionStatus::Cancelled, 0));
            assert!(result.error_message.as_deref().unwrap().contains("deadline"), "{result:?}");
            // It is an execution like any other, so its key finds it.
            assert_eq!(submit().send().await.unwrap().execution_id, execution.execution_id);
        }
        assert!(starts.is_empty());
        runner.shutdown().await.unwrap();
    }

    async fn an_execution_that_is_to_start_after_its_deadline_never_starts(database: Database) {
        let config = || quick().submit_only(true);
        let submitter = database.configured(config(), [workflow("w", [idle("t")])]).await;
        let deadline = SystemClock.now() + Duration::from_millis(100);
        let start = deadline + Duration::from_millis(100);
        let execution = submitter.submit("w").start_at(start).deadline(deadline).send().await.unwrap();
        // Both have passed when somebody comes who could start it.
        until(async || SystemClock.now() > start).await;
        let runner = database.runner([workflow("w", [idle("t")])]).await;
        let result = runner.execution(execution.execution_id).wait_for_completion().await.unwrap();
        assert_eq!((result.status, task_of(&result, "t").attempts), (ExecutionStatus::Cancelled, 0));
        runner.shutdown().await.unwrap();
        submitter.shutdown().await.unwrap();
    }

    async fn an_execution_that_was_to_start_later_can_be_cancelled_paused_and_resumed(database: Database) {
        let runner = database.runner([workflow("w", [idle("t")])]).await;
        let submit = async |after: u64| {
            let at = SystemClock.now() + Duration::from_millis(after);
            (at, runner.submit("w").start_at(at).send().await.unwrap())
        };
        let (_, cancelled) = submit(3_600_000).await;
        cancelled.cancel().await.unwrap();
        assert_eq!(cancelled.wait_for_completion().await.unwrap().status, ExecutionStatus::Cancelled);
        // A pause does not bring its start forward.
        let (at, paused) = submit(400).await;
        paused.pause().await.unwrap();
        assert_eq!(paused.get_status().await.unwrap(), ExecutionStatus::Paused);
        paused.resume().await.unwrap();
        let result = paused.wait_for_completion().await.unwrap();
        assert!(result.status.is_success() && result.start_time >= at, "{result:?}");
        runner.shutdown().await.unwrap();
    }

    async fn an_execution_is_paused_and_resumed_over_and_over_and_runs_once(database: Database) {
        let tasks = (0..10).map(|n| {
            let task = idle(&format!("t{n}"));
            if n == 0 { task } else { task.dependencies([format!("t{}", n - 1)]) }
        });
        let runner = database.runner([workflow("w", tasks)]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        let toggling = tokio::spawn({
            let execution = execution.clone();
            async move {
                while execution.pause().await.is_ok() && execution.resume().await.is_ok() {}
            }
        });
        let result = execution.wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        assert!(result.task_results.iter().all(|task| task.attempts == 1), "{result:?}");
        toggling.await.unwrap();
        runner.shutdown().await.unwrap();
    }

    async fn a_deadline_that_is_met_changes_nothing(database: Database) {
        let runner = database.runner([workflow("w", [idle("t")])]).await;
        let deadline = SystemClock.now() + Duration::from_secs(2);
        let execution = runner.submit("w").deadline(deadline).send().await.unwrap();
        assert!(execution.wait_for_completion().await.unwrap().status.is_success());
        until(async || SystemClock.now() > deadline + Duration::from_millis(100)).await;
        assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Completed);
        runner.shutdown().await.unwrap();
    }

    async fn a_cancelled_execution_waiting_for_its_next_attempt_is_not_tried_again(database: Database) {
        let (tried, mut tries) = mpsc::unbounded_channel();
        let policy = RetryPolicy {
            attempts: 5,
            base: Duration::from_secs(2),
            jitter: cloacina::Jitter::None,
            ..RetryPolicy::DEFAULT
        };
        let broken = task("t", move |_| {
            tried.send(()).unwrap();
            async { Err("broken".into()) }
        }).retry(policy);
        let runner = database.runner([workflow("w", [broken])]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        tries.recv().await.unwrap();
        until(async || {
            task_of(&runner.get_execution(execution.execution_id).await.unwrap(), "t").state == TaskState::Ready
        }).await;
        execution.cancel().await.unwrap();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert!(tries.try_recv().is_err());
        let result = execution.wait_for_completion().await.unwrap();
        assert_eq!(task_of(&result, "t").error_message.as_deref(), Some("broken"));
        runner.shutdown().await.unwrap();
    }
}
