//! Maps over lists that a task emits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cloacina::rerun::From;
use cloacina::{
    Context, ExecutionStatus, Item, RetryPolicy, TaskBody, TaskDefinition, TaskError, TaskInfo, Workflow,
    task,
};
use tokio::runtime::Handle;

use crate::support::{Database, attempts, quick, task, task_of};

#[task(map = "numbers", parallel = 200, dependencies = ["list"])]
async fn double(item: Item<u64>, task: &TaskInfo) -> Result<u64, TaskError> {
    assert_eq!(task.parent().map(|parent| parent.item), Some(item.index()));
    Ok(item.into_value() * 2)
}

/// Adds up what the items came to, which come in their order.
#[task(dependencies = ["double"])]
async fn sum(context: &mut Context) -> Result<u64, TaskError> {
    let (mut results, mut sum, mut expected) = (context.results::<u64>("double"), 0, 0);
    while let Some((item, result)) = results.next().await? {
        assert_eq!(item, expected);
        expected += 1;
        sum += result.map_err(TaskError::fatal)?;
    }
    context.set("items", expected);
    Ok(sum)
}

fn summing(list: TaskDefinition) -> Workflow {
    Workflow::builder("summing").task(list).task(double).task(sum).build()
}

/// A task that emits so many numbers, from 0.
fn counting(items: u64) -> TaskDefinition {
    task("list", move |context: Context| async move {
        context.emit_all("numbers", 0..items).await?;
        Ok(context)
    })
}

async fn fails_with(database: &Database, list: TaskDefinition, words: &str) {
    let runner = database.runner([summing(list)]).await;
    let result = runner.execute("summing", Context::new()).await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Failed);
    let error = result.error_message.unwrap();
    assert!(error.contains(words), "{error}");
    runner.shutdown().await.unwrap();
}

on_each_store! {
    async fn a_map_runs_over_what_a_task_emits(database: Database) {
        let config = quick().max_concurrent_tasks(100);
        let runner = database.configured(config, [summing(counting(2_345))]).await;
        let result = runner.execute("summing", Context::new()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{:?}", result.error_message);
        let got = |key: &str| result.final_context.get::<u64>(key);
        assert_eq!((got("items"), got("sum")), (Some(2_345), Some(2_344 * 2_345)));
        let numbers = result.final_context.get::<serde_json::Value>("numbers").unwrap();
        assert!(numbers.to_string().len() < 300, "no item is in the context: {numbers}");
        runner.shutdown().await.unwrap();
    }

    async fn a_blocking_task_emits_as_others_do(database: Database) {
        let emits = |context: Context| {
            Handle::current().block_on(context.emit_all("numbers", 0..1_234_u64))?;
            Ok(context)
        };
        let list = TaskDefinition::new("list", TaskBody::Blocking(Arc::new(emits)));
        let runner = database.configured(quick().max_concurrent_tasks(100), [summing(list)]).await;
        let result = runner.execute("summing", Context::new()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{:?}", result.error_message);
        assert_eq!(result.final_context.get::<u64>("sum"), Some(1_233 * 1_234));
        runner.shutdown().await.unwrap();
    }

    async fn an_attempt_that_fails_emits_nothing(database: Database) {
        let list = task("list", |context: Context| async move {
            if context.task().attempt() == 1 {
                // A page is written, and a part of another one is not.
                context.emit_all("numbers", 0..1_500_u64).await?;
                return Err("it is not done".into());
            }
            for number in [3_u64, 4] {
                context.emit("numbers", number).await?;
            }
            Ok(context)
        });
        let runner = database.runner([summing(list.retry(attempts(2)))]).await;
        let result = runner.execute("summing", Context::new()).await.unwrap();
        let got = |key: &str| result.final_context.get::<u64>(key);
        assert_eq!((got("items"), got("sum")), (Some(2), Some(14)), "{:?}", result.error_message);
        runner.shutdown().await.unwrap();
    }

    async fn a_list_without_items_is_over_at_once_and_has_no_results(database: Database) {
        let runner = database.runner([summing(counting(0))]).await;
        let result = runner.execute("summing", Context::new()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{:?}", result.error_message);
        assert_eq!(result.final_context.get::<u64>("sum"), Some(0));
        runner.shutdown().await.unwrap();
    }

    async fn a_rerun_runs_over_what_was_emitted_before(database: Database) {
        let mended = Arc::new(AtomicBool::new(false));
        let is_mended = Arc::clone(&mended);
        let charge = task("charge", move |context: Context| {
            let mended = is_mended.load(Ordering::Relaxed);
            async move { if mended { Ok(context) } else { Err("the card is blocked".into()) } }
        });
        let charge = charge.map("numbers").retry(RetryPolicy::NEVER).dependencies(["list"]);
        let listed = Arc::new(AtomicBool::new(false));
        let once = Arc::clone(&listed);
        let list = task("list", move |context: Context| {
            let again = once.swap(true, Ordering::Relaxed);
            async move {
                assert!(!again, "what it emitted is taken over");
                context.emit_all("numbers", 0..1_200_u64).await?;
                Ok(context)
            }
        });
        let workflow = Workflow::builder("charging").task(list).task(charge).build();
        let runner = database.runner([workflow]).await;
        let failed = runner.execute_async("charging", Context::new()).await.unwrap();
        assert_eq!(failed.wait_for_completion().await.unwrap().status, ExecutionStatus::Failed);
        mended.store(true, Ordering::Relaxed);
        let again = failed.rerun(From::Failed).send().await.unwrap();
        let result = again.wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{:?}", result.error_message);
        assert_eq!(task_of(&result, "list").attempts, 0);
        let progress = again.progress().await.unwrap();
        assert_eq!((progress[0].total, progress[0].completed), (1_200, 1_200));
        runner.shutdown().await.unwrap();
    }

    async fn an_item_that_is_too_large_is_an_error_of_the_task(database: Database) {
        let list = task("list", |context: Context| async move {
            context.emit("numbers", "x".repeat(64 << 10)).await?;
            Ok(context)
        });
        fails_with(&database, list, "an item of `numbers` has 65538 bytes, and 65536 are the most").await;
    }

    async fn one_item_more_than_a_million_is_an_error_of_the_task(database: Database) {
        fails_with(&database, counting(1_000_001), "the list `numbers` has 1000000 items, the most").await;
    }
}
