//! Values at the edge of what their types can hold.

use std::time::Duration;

use cloacina::{Context, ErrorKind, ExecutionFilter, ExecutionStatus, RetryPolicy, TaskError};
use cloacina_core::clock::{Clock, SystemClock};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{Database, Gate, assert_error, idle, quick, setting, task, task_of, until, workflow};

/// A value within so many arrays.
fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}

on_each_store! {
    async fn a_context_that_could_not_be_read_again_is_refused(database: Database) {
        let runner = database.runner([
            workflow("w", [idle("t")]),
            workflow("deepens", [task("t", |context| async {
                let depth = context.try_get("depth")?;
                Ok(context.with("deep", nested(depth)))
            })]),
        ]).await;
        let result = runner.execute("w", Context::new().with("deep", nested(90))).await.unwrap();
        assert_eq!(runner.get_execution(result.execution_id).await.unwrap().final_context, result.final_context);
        let result = runner.execute("deepens", Context::new().with("depth", 90)).await.unwrap();
        assert_eq!(runner.get_execution(result.execution_id).await.unwrap().final_context, result.final_context);
        for depth in [127, 130, 1_000] {
            let error = runner.execute("w", Context::new().with("deep", nested(depth))).await.unwrap_err();
            assert_error(&error, ErrorKind::Context, "`deep`");
            let result = runner.execute("deepens", Context::new().with("depth", depth)).await.unwrap();
            assert_eq!(result.status, ExecutionStatus::Failed);
            assert!(result.error_message.unwrap().contains("`deep`"));
            runner.get_execution(result.execution_id).await.unwrap();
        }
        runner.shutdown().await.unwrap();
    }

    async fn the_longest_waits_do_not_overflow(database: Database) {
        let config = quick()
            .task_timeout(Duration::MAX)
            .shutdown_timeout(Duration::MAX)
            .cancel_grace(Duration::MAX)
            .orphan_grace(Duration::MAX)
            .lease(Duration::MAX)
            .heartbeat_interval(Duration::from_secs(u64::MAX / 3))
            .retention(Duration::MAX);
        let runner = database.configured(config, [
            workflow("w", [idle("a").timeout(Some(Duration::MAX)), idle("b").dependencies(["a"])]),
        ]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        let result = execution.wait_for(Duration::MAX).await.unwrap().unwrap();
        assert!(result.status.is_success(), "{result:?}");
        runner.shutdown().await.unwrap();
    }

    async fn a_retry_in_the_far_future_waits_and_can_be_cancelled(database: Database) {
        let policy = RetryPolicy { attempts: 2, base: Duration::MAX, cap: Duration::MAX, ..RetryPolicy::DEFAULT };
        let runner = database.runner([
            workflow("asks", [task("t", |_| async { Err(TaskError::retry_after(Duration::MAX, "never")) }).retry(policy.clone())]),
            workflow("policy", [task("t", |_| async { Err("never".into()) })
                .retry(RetryPolicy { jitter: cloacina::Jitter::None, ..policy })]),
        ]).await;
        for name in ["asks", "policy"] {
            let execution = runner.execute_async(name, Context::new()).await.unwrap();
            until(async || {
                let now = runner.get_execution(execution.execution_id).await.unwrap();
                task_of(&now, "t").error_message.as_deref() == Some("never")
            }).await;
            assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Running);
            execution.cancel().await.unwrap();
            assert_eq!(execution.wait_for_completion().await.unwrap().status, ExecutionStatus::Cancelled);
        }
        runner.shutdown().await.unwrap();
    }

    async fn starts_and_deadlines_may_be_any_time(database: Database) {
        let runner = database.runner([workflow("w", [idle("t")])]).await;
        let far = runner.submit("w").start_at(Timestamp::MAX).deadline(Timestamp::MAX).send().await.unwrap();
        assert_eq!(far.get_status().await.unwrap(), ExecutionStatus::Pending);
        let long_ago = runner.submit("w").start_at(Timestamp::MIN).send().await.unwrap();
        assert!(long_ago.wait_for_completion().await.unwrap().status.is_success());
        let late = runner.submit("w").start_at(Timestamp::MAX).deadline(Timestamp::MIN).send().await.unwrap();
        assert_eq!(late.wait_for_completion().await.unwrap().status, ExecutionStatus::Cancelled);
        let soon = SystemClock.now() + Duration::from_millis(100);
        let soon = runner.submit("w").start_at(Timestamp::MAX).deadline(soon).send().await.unwrap();
        assert_eq!(soon.wait_for_completion().await.unwrap().status, ExecutionStatus::Cancelled);
        // The others go on.
        assert!(runner.execute("w", Context::new()).await.unwrap().status.is_success());
        far.cancel().await.unwrap();
        runner.shutdown().await.unwrap();
    }

    async fn names_may_hold_any_text(database: Database) {
        let name = "Grüße '; DROP TABLE workflow_executions; -- \" \\ 世界 🦀 %s {0} $1";
        let runner = database.runner([workflow(name, [setting(name, "k", 1), idle("t").dependencies([name])])]).await;
        let result = runner.execute(name, Context::new()).await.unwrap();
        assert!(result.status.is_success());
        let stored = runner.get_execution(result.execution_id).await.unwrap();
        assert_eq!((stored.workflow_name.as_str(), stored.task_results[0].task_id.as_str()), (name, name));
        assert_eq!(runner.list(ExecutionFilter::all().workflow(name), None, usize::MAX).await.unwrap().len(), 1);
        assert_eq!(runner.execution(result.execution_id).history().await.unwrap()[0].task_id, name);
        runner.shutdown().await.unwrap();
    }

    async fn a_task_may_run_another_workflow(database: Database) {
        let inner = database.runner([workflow("inner", [setting("t", "inner", true)])]).await;
        let outer = database.runner([workflow("outer", [task("call", {
            let inner = inner.clone();
            move |context| {
                let inner = inner.clone();
                async move {
                    // The whole context of this task is the input of the other.
                    let result = inner.execute("inner", context.clone()).await?;
                    Ok(context.with("result", result.final_context))
                }
            }
        })])]).await;
        let result = outer.execute("outer", Context::new().with("n", 1)).await.unwrap();
        assert_eq!(result.final_context.value("result"), Some(&json!({"n": 1, "inner": true})));
        outer.shutdown().await.unwrap();
        inner.shutdown().await.unwrap();
    }

    async fn a_large_context_is_kept_whole(database: Database) {
        let text = "ü".repeat(400_000);
        let runner = database.runner([workflow("w", [
            setting("a", "a", text.clone()),
            setting("b", "b", text.clone()).dependencies(["a"]),
        ])]).await;
        let result = runner.execute("w", Context::new().with("in", &text)).await.unwrap();
        let stored = runner.get_execution(result.execution_id).await.unwrap();
        for key in ["in", "a", "b"] {
            assert_eq!(stored.final_context.get::<String>(key).as_deref(), Some(text.as_str()));
        }
        runner.shutdown().await.unwrap();
    }

    async fn hundreds_of_executions_at_once_all_complete(database: Database) {
        let gate = Gate::new();
        gate.open(1_000);
        let runner = database.runner([workflow("w", [gate.task("a"), setting("b", "b", 1).dependencies(["a"])])]).await;
        let executions: Vec<_> = (0..300).map(|n| {
            let runner = runner.clone();
            tokio::spawn(async move { (n, runner.execute("w", Context::new().with("n", n)).await.unwrap()) })
        }).collect();
        for execution in executions {
            let (n, result) = execution.await.unwrap();
            assert_eq!(result.final_context.to_value(), json!({"n": n, "b": 1}));
        }
        assert_eq!(runner.list_executions().await.unwrap().len(), 300);
        runner.shutdown().await.unwrap();
    }
}
