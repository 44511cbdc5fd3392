//! Looking at executions.

use std::collections::BTreeSet;

use cloacina::{Context, ErrorKind, ExecutionFilter, ExecutionStatus, TaskState};
use serde_json::json;
use uuid::Uuid;

use crate::support::{Database, Gate, assert_error, failing, idle, setting, task, workflow};

on_each_store! {
    async fn executions_are_listed_newest_first_and_page_by_page(database: Database) {
        let runner = database.runner([workflow("w", [setting("t", "k", 1)])]).await;
        let mut ids = Vec::new();
        for _ in 0..7 {
            ids.push(runner.execute("w", Context::new().with("in", 1)).await.unwrap().execution_id);
        }
        ids.reverse();
        let all = runner.list_executions().await.unwrap();
        assert_eq!(all.iter().map(|execution| execution.execution_id).collect::<Vec<_>>(), ids);
        for execution in &all {
            assert_eq!((execution.workflow_name.as_str(), execution.status), ("w", ExecutionStatus::Completed));
            assert!(execution.duration.is_some());
            assert!(execution.task_results.is_empty());
            assert_eq!(execution.final_context, Context::new());
        }
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = runner.list(ExecutionFilter::all(), before, 3).await.unwrap();
            assert!(page.len() <= 3);
            let Some(last) = page.last() else { break };
            before = Some(last.execution_id);
            seen.extend(page.iter().map(|execution| execution.execution_id));
        }
        assert_eq!(seen, ids);
        assert!(runner.list(ExecutionFilter::all(), None, 0).await.unwrap().is_empty());
        runner.shutdown().await.unwrap();
    }

    async fn the_details_of_an_execution_tell_its_input_and_what_each_task_changed(database: Database) {
        let runner = database.runner([workflow("w", [
            task("drops", |mut context: Context| async move {
                context.remove("draft");
                Ok(context.with("large", 9_007_199_254_740_993_i64))
            }),
            failing("fails"),
        ])]).await;
        let input = Context::new().with("draft", true).with("kept", 1);
        let id = runner.execute("w", input).await.unwrap().execution_id;
        let details = runner.execution(id).details().await.unwrap();
        assert_eq!(details.result.status, ExecutionStatus::Failed);
        assert_eq!(details.input.keys().collect::<Vec<_>>(), ["draft", "kept"]);
        let changes: Vec<_> = details.tasks[0].changes.iter().collect();
        assert_eq!(changes, [
            (&"draft".to_owned(), &None),
            (&"large".to_owned(), &Some(json!(9_007_199_254_740_993_i64))),
        ]);
        assert!(details.tasks[1].changes.is_empty());
        assert_eq!((details.tasks[0].failures, details.tasks[1].failures), (0, 1));
        assert!(details.tasks[1].runner_id.is_some());
        let debug = format!("{details:?}");
        assert!(!debug.contains("9007199254740993") && !debug.contains("draft"), "{debug}");
        let unknown = runner.execution(Uuid::now_v7()).details().await.unwrap_err();
        assert_error(&unknown, ErrorKind::NotFound, "no execution");
        runner.shutdown().await.unwrap();
    }

    async fn a_listing_can_be_filtered(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([
            workflow("ok", [idle("t")]),
            workflow("bad", [failing("t")]),
            workflow("gated", [gate.task("t")]),
        ]).await;
        for name in ["ok", "bad", "ok"] {
            runner.execute(name, Context::new()).await.unwrap();
        }
        let running = runner.execute_async("gated", Context::new()).await.unwrap();
        gate.started().await;
        let count = async |filter| runner.list(filter, None, 100).await.unwrap().len();
        let all = ExecutionFilter::all;
        assert_eq!(count(all()).await, 4);
        assert_eq!(count(all().status(ExecutionStatus::Completed)).await, 2);
        assert_eq!(count(all().status(ExecutionStatus::Completed).status(ExecutionStatus::Failed)).await, 3);
        assert_eq!(count(all().status(ExecutionStatus::Running)).await, 1);
        assert_eq!(count(all().status(ExecutionStatus::Paused)).await, 0);
        assert_eq!(count(all().workflow("ok")).await, 2);
        assert_eq!(count(all().workflow("ok").status(ExecutionStatus::Failed)).await, 0);
        assert_eq!(count(all().workflow("' OR 1 = 1 --")).await, 0);
        // Pages of a filtered listing fit together as well.
        let first = runner.list(all().workflow("ok"), None, 1).await.unwrap();
        let second = runner.list(all().workflow("ok"), Some(first[0].execution_id), 1).await.unwrap();
        assert_eq!(second.len(), 1);
        assert!(second[0].execution_id < first[0].execution_id);
        assert!(runner.list(all().workflow("ok"), Some(second[0].execution_id), 1).await.unwrap().is_empty());
        gate.open(1);
        running.wait_for_completion().await.unwrap();
        runner.shutdown().await.unwrap();
    }

    async fn what_is_not_there_is_not_found(database: Database) {
        let runner = database.runner([workflow("w", [idle("t")])]).await;
        let other = database.of("globex").runner([workflow("w", [idle("t")])]).await;
        let theirs = other.execute("w", Context::new()).await.unwrap().execution_id;
        for id in [Uuid::nil(), Uuid::max(), theirs] {
            for error in [
                runner.get_execution_status(id).await.unwrap_err(),
                runner.get_execution(id).await.unwrap_err(),
                runner.execution(id).get_status().await.unwrap_err(),
                runner.execution(id).wait_for_completion().await.unwrap_err(),
                runner.execution(id).history().await.unwrap_err(),
                runner.execution(id).cancel().await.unwrap_err(),
            ] {
                assert_error(&error, ErrorKind::NotFound, &id.to_string());
            }
        }
        runner.shutdown().await.unwrap();
        other.shutdown().await.unwrap();
    }

    async fn an_execution_can_be_looked_at_while_it_runs(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([workflow("w", [
            setting("a", "a", 1),
            gate.task("b").dependencies(["a"]),
            setting("c", "c", 1).dependencies(["b"]),
        ])]).await;
        let execution = runner.execute_async("w", Context::new().with("in", 1)).await.unwrap();
        gate.started().await;
        let now = runner.get_execution(execution.execution_id).await.unwrap();
        assert_eq!((now.status, now.end_time, now.duration), (ExecutionStatus::Running, None, None));
        assert_eq!(
            now.task_results.iter().map(|task| (task.task_id.as_str(), task.state)).collect::<Vec<_>>(),
            [("a", TaskState::Completed), ("b", TaskState::Running), ("c", TaskState::Pending)]
        );
        assert_eq!(now.final_context.to_value(), serde_json::json!({"in": 1, "a": 1}));
        let history = execution.history().await.unwrap();
        assert_eq!(history.len(), 2);
        assert_eq!((history[1].task_id.as_str(), history[1].end_time), ("b", None));
        gate.open(1);
        execution.wait_for_completion().await.unwrap();
        runner.shutdown().await.unwrap();
    }

    async fn the_history_names_the_runner_of_every_attempt(database: Database) {
        let runner = database.runner([workflow("w", [idle("b"), idle("a").dependencies(["b"])])]).await;
        let id = runner.execute("w", Context::new()).await.unwrap().execution_id;
        let history = runner.execution(id).history().await.unwrap();
        // In the order of declaration.
        assert_eq!(history.iter().map(|attempt| attempt.task_id.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        let runners: BTreeSet<_> = history.iter().map(|attempt| attempt.runner_id).collect();
        assert_eq!(runners.len(), 1);
        assert!(!runners.contains(&Uuid::nil()));
        runner.shutdown().await.unwrap();
    }

    async fn a_finished_execution_stays_as_it_is(database: Database) {
        let runner = database.runner([workflow("w", [setting("t", "k", 1)])]).await;
        let result = runner.execute("w", Context::new()).await.unwrap();
        runner.shutdown().await.unwrap();
        // Another program, which does not even know the workflow.
        let later = database.runner([]).await;
        let stored = later.get_execution(result.execution_id).await.unwrap();
        assert_eq!(stored.final_context, result.final_context);
        // Only who has the code knows what its tasks do.
        let mut known = result.task_results.clone();
        known.iter_mut().for_each(|task| task.kind = None);
        assert_eq!(stored.task_results, known);
        assert_eq!(stored.duration, result.duration);
        let waited = later.execution(result.execution_id).wait_for_completion().await.unwrap();
        assert_eq!(waited.final_context, result.final_context);
        later.shutdown().await.unwrap();
    }
}
