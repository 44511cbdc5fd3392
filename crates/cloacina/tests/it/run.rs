//! How tasks are run: in which order, with what, how many at once.

use std::sync::Arc;
use std::time::Duration;

use cloacina::{Context, ExecutionStatus, TaskDefinition, TaskState, task, workflow};
use tokio::sync::Barrier;

use crate::support::{Database, Gate, idle, quick, setting, task as define, workflow as define_workflow};

#[task(id = "take")]
async fn take(mut context: Context) -> Result<Context, String> {
    context.set("taken", context.get::<u32>("n").ok_or("no n")?);
    Ok(context)
}

#[task(id = "change", dependencies = [take])]
async fn change(context: &mut Context) -> Result<(), anyhow::Error> {
    context.set("changed", context.try_get::<u32>("taken")? + 1);
    Ok(())
}

#[task(id = "block", dependencies = [change], blocking)]
fn block(mut context: Context) -> Result<Context, cloacina::Error> {
    context.set("blocked", context.get::<u32>("changed"));
    Ok(context)
}

#[task(id = "block_in_place", dependencies = [block], blocking)]
fn block_in_place(context: &mut Context) -> Result<(), cloacina::TaskError> {
    context.set("last", context.get::<u32>("blocked"));
    Ok(())
}

#[workflow]
fn every_form() -> cloacina::Workflow {
    cloacina::Workflow::builder("every_form").task(take).task(change).task(block).task(block_in_place).build()
}

/// A task that writes down that it ran.
fn noting(
    id: &'static str,
    dependencies: &[&str],
    notes: &Arc<std::sync::Mutex<Vec<&'static str>>>,
) -> TaskDefinition {
    let notes = Arc::clone(notes);
    define(id, move |context| {
        notes.lock().unwrap().push(id);
        async { Ok(context) }
    })
    .dependencies(dependencies.iter().copied())
}

/// A task that ends only when as many run at the same time as the barrier wants.
fn meeting(id: &str, barrier: &Arc<Barrier>) -> TaskDefinition {
    let barrier = Arc::clone(barrier);
    define(id, move |context| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            Ok(context)
        }
    })
}

on_each_store! {
    async fn one_task_is_run_and_its_result_is_returned(database: Database) {
        let runner = database.runner([define_workflow("greet", [define("greet", |context| async {
            let name: String = context.try_get("name")?;
            Ok(context.with("greeting", format!("Salve, {name}!")))
        })])]).await;
        let result = runner.execute("greet", Context::new().with("name", "Marcus")).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        assert_eq!(result.workflow_name, "greet");
        assert_eq!(result.final_context.get::<String>("greeting").unwrap(), "Salve, Marcus!");
        assert_eq!(result.final_context.get::<String>("name").unwrap(), "Marcus");
        assert_eq!(result.error_message, None);
        let end = result.end_time.unwrap();
        assert!(result.start_time <= end);
        assert_eq!(result.duration.unwrap(), Duration::try_from(end.duration_since(result.start_time)).unwrap());
        let [task] = &result.task_results[..] else { panic!("{result:?}") };
        assert_eq!((task.task_id.as_str(), task.state, task.attempts), ("greet", TaskState::Completed, 1));

        // What is in the database is what was returned.
        let stored = runner.get_execution(result.execution_id).await.unwrap();
        assert_eq!(stored.status, result.status);
        assert_eq!(stored.final_context, result.final_context);
        assert_eq!(stored.task_results, result.task_results);
        assert_eq!((stored.start_time, stored.end_time), (result.start_time, result.end_time));
        runner.shutdown().await.unwrap();
    }

    async fn every_form_of_a_task_runs(database: Database) {
        let runner = database.runner([]).await;
        let result = runner.execute("every_form", Context::new().with("n", 6)).await.unwrap();
        assert!(result.status.is_success(), "{result:?}");
        assert_eq!(result.final_context.get::<u32>("last"), Some(7));
        runner.shutdown().await.unwrap();
    }

    async fn a_task_runs_after_all_that_it_depends_on(database: Database) {
        let notes = Arc::default();
        // Declared backwards, so that the order of declaration does not happen to be the right one.
        let result = database.run(Context::new(), [
            noting("last", &["left", "right"], &notes),
            noting("right", &["first"], &notes),
            noting("left", &["first"], &notes),
            noting("first", &[], &notes),
        ]).await;
        assert!(result.status.is_success());
        let notes = notes.lock().unwrap();
        assert_eq!(notes.len(), 4);
        assert_eq!((notes[0], notes[3]), ("first", "last"));
    }

    async fn a_long_chain_hands_its_context_on(database: Database) {
        let ids: Vec<String> = (0..30).map(|n| format!("t{n}")).collect();
        let tasks = ids.iter().enumerate().map(|(n, id)| {
            let task = define(id, |context| async {
                let n: u32 = context.get("n").unwrap_or_default();
                Ok(context.with("n", n + 1))
            });
            if n == 0 { task } else { task.dependencies([&ids[n - 1]]) }
        });
        let result = database.run(Context::new(), tasks).await;
        assert_eq!(result.final_context.get::<u32>("n"), Some(30));
    }

    async fn a_join_sees_what_all_branches_changed(database: Database) {
        let branches = ["a", "b", "c", "d", "e"];
        let mut tasks = vec![idle("fan")];
        tasks.extend(branches.map(|id| setting(id, id, id).dependencies(["fan"])));
        tasks.push(define("join", move |context| async move {
            let seen: Vec<String> = branches.iter().filter_map(|key| context.get(key)).collect();
            Ok(context.with("seen", seen))
        }).dependencies(branches));
        let result = database.run(Context::new(), tasks).await;
        assert_eq!(result.final_context.get::<Vec<String>>("seen").unwrap(), branches);
    }

    async fn tasks_of_one_execution_run_side_by_side(database: Database) {
        let barrier = Arc::new(Barrier::new(4));
        let result = database.run(Context::new(), ["a", "b", "c", "d"].map(|id| meeting(id, &barrier))).await;
        assert!(result.status.is_success());
    }

    async fn four_tasks_that_sleep_take_as_long_as_one(database: Database) {
        let sleeping = |id| define(id, |context| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(context)
        });
        let result = database.run(Context::new(), ["a", "b", "c", "d"].map(sleeping)).await;
        let duration = result.duration.unwrap();
        assert!(duration >= Duration::from_secs(1) && duration < Duration::from_millis(3500), "{duration:?}");
    }

    async fn executions_run_side_by_side(database: Database) {
        let barrier = Arc::new(Barrier::new(4));
        let runner = database.runner([define_workflow("meet", [meeting("m", &barrier)])]).await;
        let (a, b, c, d) = tokio::join!(
            runner.execute("meet", Context::new()),
            runner.execute("meet", Context::new()),
            runner.execute("meet", Context::new()),
            runner.execute("meet", Context::new()),
        );
        for result in [a, b, c, d] {
            assert!(result.unwrap().status.is_success());
        }
        runner.shutdown().await.unwrap();
    }

    async fn execute_async_returns_before_the_end_and_its_handle_waits_for_it(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([define_workflow("w", [gate.task("t")])]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        let info = gate.started().await;
        assert_eq!(info.execution_id(), execution.execution_id);
        assert_eq!((info.workflow(), info.task_id(), info.attempt()), ("w", "t", 1));
        assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Running);
        assert!(execution.wait_for(Duration::from_millis(20)).await.unwrap().is_none());
        // As many as like may wait for it.
        let waiting = [execution.clone(), runner.execution(execution.execution_id), execution.clone()]
            .map(|handle| tokio::spawn(async move { handle.wait_for_completion().await.unwrap() }));
        gate.open(1);
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap().status, ExecutionStatus::Completed);
        }
        // And once more when it is over.
        assert!(execution.wait_for_completion().await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }

    async fn dropping_the_future_of_execute_does_not_cancel(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([define_workflow("w", [gate.task("t")])]).await;
        let id = {
            let mut execute = Box::pin(runner.execute("w", Context::new()));
            tokio::select! {
                result = &mut execute => panic!("{result:?}"),
                info = gate.started() => info.execution_id(),
            }
        };
        gate.open(1);
        let result = runner.execution(id).wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        runner.shutdown().await.unwrap();
    }

    async fn a_workflow_as_wide_as_hundred_tasks_completes_over_few_slots(database: Database) {
        let ids: Vec<String> = (0..100).map(|n| format!("t{n}")).collect();
        let tasks = ids.iter().map(|id| idle(id)).chain([idle("join").dependencies(&ids)]);
        let runner = database.configured(quick().max_concurrent_tasks(3), [define_workflow("wide", tasks)]).await;
        let result = runner.execute("wide", Context::new()).await.unwrap();
        assert!(result.status.is_success());
        assert!(result.task_results.iter().all(|task| task.attempts == 1));
        runner.shutdown().await.unwrap();
    }

    async fn a_runtime_without_timers_is_good_enough(database: Database) {
        let result = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let runner = database.runner([define_workflow("w", [
                    idle("a"),
                    define("slow", |_| async { std::future::pending().await }).timeout(Some(Duration::from_millis(50))),
                ])]).await;
                let execution = runner.execute_async("w", Context::new()).await.unwrap();
                let result = execution.wait_for(crate::support::PATIENCE).await.unwrap().unwrap();
                runner.shutdown().await.unwrap();
                result
            })
        }).await.unwrap();
        let states: Vec<_> = result.task_results.iter().map(|task| task.state).collect();
        assert_eq!(states, [TaskState::Completed, TaskState::Failed]);
    }
}
