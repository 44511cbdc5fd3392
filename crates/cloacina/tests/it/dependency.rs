//! What a task may know of those before it, and of its execution.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloacina::rerun::From;
use cloacina::{
    Context, DependencyOutcome, SkipReason, Task, TaskError, TaskInfo, TriggerRule, Wait, Workflow, task,
};
use serde::Deserialize;
use serde_json::json;

use crate::support::{Database, Gate, failing, idle, in_time, quick, setting, task as of, workflow};

#[derive(Deserialize)]
struct Order {
    cents: u32,
}

/// A task with a typed input, which asks what the engine knows.
#[task(dependencies = ["charge"], rule = all_done)]
async fn note(order: Order, task: &TaskInfo) -> Result<String, TaskError> {
    let charge = task.outcome_of("charge").and_then(|charge| charge.error_message);
    Ok(format!("{} of {}: {charge:?}", order.cents, task.input().get::<u32>("cents").unwrap_or_default()))
}

on_each_store! {
    async fn a_task_learns_how_those_before_it_ended(database: Database) {
        let tell = of("tell", |context: Context| async move {
            let known = ["good", "bad", "by_rule", "upstream", "tell", "after", "x"].map(|id| context.outcome_of(id));
            let expected = [
                Some(DependencyOutcome::completed()),
                Some(DependencyOutcome::failed("bad is broken")),
                Some(DependencyOutcome::skipped(SkipReason::ByRule)),
                Some(DependencyOutcome::skipped(SkipReason::UpstreamFailed)),
                None,
                None,
                None,
            ];
            if known == expected { Ok(context.with("told", true)) } else { Err(TaskError::fatal(format!("{known:?}"))) }
        });
        let result = database.run(Context::new(), [
            idle("good"),
            failing("bad"),
            idle("by_rule").dependencies(["good"]).rule(TriggerRule::AnyFailed),
            idle("upstream").dependencies(["bad"]),
            // What comes further before it is known as well.
            idle("between").dependencies(["good", "bad", "by_rule", "upstream"]).rule(TriggerRule::AllDone),
            tell.dependencies(["between"]),
            idle("after").dependencies(["tell"]),
        ]).await;
        assert_eq!(result.final_context.get::<bool>("told"), Some(true), "{:?}", result.task_results);
    }

    async fn a_typed_task_learns_it_too_and_the_input_as_it_was(database: Database) {
        let result = database.run(Context::new().with("cents", 5), [
            setting("changes", "cents", 7),
            failing("charge").dependencies(["changes"]),
            note.definition(),
        ]).await;
        assert_eq!(result.final_context.get::<String>("note").as_deref(), Some("7 of 5: Some(\"charge is broken\")"));
    }

    async fn the_input_is_apart_from_what_tasks_changed(database: Database) {
        let input = Context::new().with("a", 1).with("b", json!({"c": [2]}));
        let result = database.run(input, [
            of("first", |context: Context| async move {
                let is_it = context.input() == context;
                Ok(context.with("a", 2).with("first", is_it))
            }),
            of("second", |mut context: Context| async move {
                let input = context.input();
                context.remove("b");
                context.set("input", input.to_value());
                // What is done with it changes nothing.
                drop(input.with("a", 9));
                Ok(context)
            }).dependencies(["first"]),
        ]).await;
        let expected = Context::new().with("a", 2).with("first", true).with("input", json!({"a": 1, "b": {"c": [2]}}));
        assert_eq!(result.final_context, expected);
    }

    async fn what_was_known_before_is_known_to_another_process_and_to_a_rerun(database: Database) {
        let (mended, gate) = (Arc::new(AtomicBool::new(false)), Gate::new());
        let code = || {
            let mended = Arc::clone(&mended);
            let tell = of("tell", move |context: Context| {
                let mended = mended.load(Ordering::Relaxed);
                async move {
                    if !mended {
                        return Err("not yet".into());
                    }
                    let known = ["good", "bad", "waits"].map(|id| context.outcome_of(id).map(|outcome| outcome.error_message));
                    Ok(context.with("known", known))
                }
            });
            Workflow::builder("w")
                .task(idle("good"))
                .task(failing("bad"))
                .wait(Wait::signal("waits").after("good"))
                .task(gate.task("between").dependencies(["good", "bad", "waits"]).rule(TriggerRule::AllDone))
                .task(tell.dependencies(["between"]))
                .build()
        };
        let runner = database.configured(quick().shutdown_timeout(Duration::ZERO), [code()]).await;
        let old = runner.execute_async("w", Context::new()).await.unwrap();
        old.signal("waits", 1).send().await.unwrap();
        gate.started().await;
        let id = old.execution_id;
        runner.shutdown().await.unwrap();
        let runner = database.runner([code()]).await;
        gate.started().await;
        gate.open(1);
        in_time(runner.execution(id).wait_for_completion()).await.unwrap();
        mended.store(true, Ordering::Relaxed);
        let new = runner.execution(id).rerun(From::Failed).send().await.unwrap();
        gate.open(1);
        let result = in_time(new.wait_for_completion()).await.unwrap();
        assert_eq!(result.final_context.value("known"), Some(&json!([null, "bad is broken", null])));
        runner.shutdown().await.unwrap();
    }

    async fn a_task_knows_the_tags_of_its_execution(database: Database) {
        let runner = database.runner([workflow("w", [
            of("first", |context: Context| async move { let tags = context.tags().to_vec(); Ok(context.with("first", tags)) }),
            of("second", |context: Context| async move { let tags = context.tags().to_vec(); Ok(context.with("second", tags)) })
                .dependencies(["first"]),
        ])]).await;
        let execution = runner.submit("w").tags(["b", "a", "b"]).send().await.unwrap();
        let result = in_time(execution.wait_for_completion()).await.unwrap();
        let expected = Context::new().with("first", ["a", "b"]).with("second", ["a", "b"]);
        assert_eq!(result.final_context, expected, "tags are no part of the context");
        assert_eq!(result.tags, ["a", "b"]);
        let stored = runner.get_execution(execution.execution_id).await.unwrap();
        assert_eq!((stored.tags, stored.final_context), (result.tags, expected));
        runner.shutdown().await.unwrap();
    }
}
