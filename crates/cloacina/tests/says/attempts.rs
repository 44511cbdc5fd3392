//! Attempts and executions that fail, and what tasks say themselves.

use std::sync::Arc;
use std::time::Duration;

use cloacina::{
    Context, ExecutionStatus, Jitter, RetryPolicy, RunnerConfig, TaskBody, TaskDefinition, TaskError,
    TriggerRule,
};
use cloacina_core::store::PlaceName;
use cloacina_core::{Hub, PlaceRunner};
use cloacina_testing::memory::MemoryDatabase;
use tokio::sync::Notify;
use tracing::{Level, info};
use uuid::Uuid;

use crate::heard::{all, listen, said, tenant_of};
use crate::support::{Database, Gate, attempts, failing, idle, task, workflow};

fn patient(id: &str, attempts: u32, base: Duration) -> TaskDefinition {
    let policy = RetryPolicy { attempts, base, jitter: Jitter::None, ..RetryPolicy::DEFAULT };
    task(id, |context| async move {
        match context.task().attempt() {
            1 => Err::<Context, TaskError>("the postman has not come".into()),
            _ => Ok(context),
        }
    })
    .retry(policy)
}

on_each_store! {
    async fn what_a_task_says_carries_whose_it_is(database: Database) {
        let (place, tenant) = tenant_of(&database);
        let spoken = tenant.clone();
        let sent = task("send", move |context| {
            let spoken = spoken.clone();
            async move {
                tokio::task::yield_now().await;
                info!(of = spoken, "sent");
                Ok(context)
            }
        });
        let spoken = tenant.clone();
        let printed = TaskDefinition::new(
            "print",
            TaskBody::Blocking(Arc::new(move |context| {
                info!(of = spoken, "printed");
                Ok(context)
            })),
        );
        let result = place.run(Context::new(), [sent, printed]).await;
        for (words, task) in [("sent", "send"), ("printed", "print")] {
            let said = said(|said| said.fields.of("of") == tenant && said.fields.of("message") == words).await;
            let around = &said.around;
            let expected = [&tenant, "w", &result.execution_id.to_string(), task, "1"];
            assert_eq!(["tenant", "workflow", "execution", "task", "attempt"].map(|name| around.of(name)), expected);
        }
    }

    async fn an_attempt_that_failed_and_is_tried_again_is_a_warning(database: Database) {
        let (place, tenant) = tenant_of(&database);
        let result = place.run(Context::new(), [patient("wait", 2, Duration::from_millis(7))]).await;
        assert_eq!(result.status, ExecutionStatus::Completed);
        let warnings = all(|said| said.is(Level::WARN, &tenant, "an attempt failed"));
        let [said] = &warnings[..] else { panic!("{warnings:?}") };
        let expected = ["w", &result.execution_id.to_string(), "wait", "1", "the postman has not come", "7ms"];
        let names = ["workflow", "execution", "task", "attempt", "error", "again_in"];
        assert_eq!(names.map(|name| said.fields.of(name)), expected);
        assert!(all(|said| said.is(Level::ERROR, &tenant, "")).is_empty());
    }

    async fn an_execution_that_failed_for_good_is_one_error(database: Database) {
        let (place, tenant) = tenant_of(&database);
        let again = failing("pack").retry(attempts(3));
        let result = place.run(Context::new(), [again, idle("ship").dependencies(["pack"])]).await;
        assert_eq!(result.status, ExecutionStatus::Failed);
        assert_eq!(all(|said| said.is(Level::WARN, &tenant, "an attempt failed")).len(), 2);
        let errors = all(|said| said.is(Level::ERROR, &tenant, ""));
        let [said] = &errors[..] else { panic!("{errors:?}") };
        assert!(said.fields.of("message").contains("failed for good"));
        let expected = ["w", &result.execution_id.to_string(), "pack", "pack is broken"];
        assert_eq!(["workflow", "execution", "task", "error"].map(|name| said.fields.of(name)), expected);
    }

    async fn a_failure_that_was_handled_is_no_error(database: Database) {
        let (place, tenant) = tenant_of(&database);
        let caught = idle("catch").dependencies(["pack"]).rule(TriggerRule::AnyFailed);
        let result = place.run(Context::new(), [failing("pack"), caught]).await;
        assert_eq!(result.status, ExecutionStatus::Completed);
        assert!(all(|said| said.is(Level::ERROR, &tenant, "")).is_empty());
    }

    async fn a_long_error_is_cut(database: Database) {
        let (place, tenant) = tenant_of(&database);
        place.run(Context::new(), [task("t", |_| async { Err("x".repeat(9_000).into()) })]).await;
        let said = said(|said| said.is(Level::ERROR, &tenant, "failed for good")).await;
        let error = said.fields.of("error");
        assert!(error.len() < 1_100 && error.ends_with("(cut)"), "{error}");
    }

    async fn of_an_execution_that_goes_well_nothing_is_said_but_its_details(database: Database) {
        let (place, tenant) = tenant_of(&database);
        let runner = place.runner([workflow("w", [idle("a"), idle("b").dependencies(["a"])])]).await;
        let loud = || all(|said| said.level <= Level::INFO && said.text().contains(&tenant)).len();
        let before = loud();
        for _ in 0..3 {
            runner.execute("w", Context::new()).await.unwrap();
        }
        assert_eq!(loud(), before);
        runner.shutdown().await.unwrap();
    }
}

/// One process runs the task that fails, another one the task that ends the execution.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_closes_an_execution_says_what_failed_elsewhere() {
    listen();
    let database = MemoryDatabase::new();
    let tenant = format!("t{}", Uuid::now_v7().simple());
    let (fails, ends) = (Arc::new(Notify::new()), Gate::new());
    let open = async || {
        let fails = Arc::clone(&fails);
        let broken = task("a", move |_| {
            let fails = Arc::clone(&fails);
            async move {
                fails.notified().await;
                Err("a is broken".into())
            }
        });
        let settings = RunnerConfig::builder()
            .max_concurrent_tasks(1)
            .workflow(workflow("w", [broken, ends.task("b")]))
            .build();
        let hub = Hub::start(Arc::new(database.open()), &settings);
        let place = PlaceName::Named(tenant.clone());
        let runner = PlaceRunner::open(Arc::clone(&hub), place, settings, Vec::new()).await.unwrap();
        runner.expect("a new hub is open")
    };
    let (first, second) = (open().await, open().await);
    let execution = first.submit("w").send().await.unwrap();
    ends.started().await;
    fails.notify_one();
    said(|said| said.is(Level::DEBUG, &tenant, "an attempt failed")).await;
    ends.open(1);
    let error = said(|said| said.is(Level::ERROR, &tenant, "failed for good")).await;
    assert_eq!(["task", "error"].map(|name| error.fields.of(name)), ["a", "a is broken"]);
    execution.wait_for_completion().await.unwrap();
    second.shutdown().await.unwrap();
    first.shutdown().await.unwrap();
    assert_eq!(all(|said| said.is(Level::ERROR, &tenant, "")).len(), 1);
}
