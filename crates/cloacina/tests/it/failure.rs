//! What is started when an execution fails.

use std::sync::Arc;
use std::time::Duration;

use cloacina::rerun::From;
use cloacina::{
    Context, ErrorKind, ExecutionFilter, ExecutionStatus, Runner, Schedule, Triggered, Uuid, Wait, Workflow,
};
use cloacina_testing::clock::ManualClock;
use tokio::sync::Semaphore;

use crate::support::{
    Database, Gate, assert_error, failing, idle, in_time, quick, setting, task, until, workflow,
};

/// A workflow that fails.
fn broken() -> Workflow {
    Workflow::builder("broken").task(failing("print")).on_failure("alert").build()
}

/// What is started then.
fn alert() -> Workflow {
    workflow("alert", [setting("tell", "told", true)])
}

/// The input of each execution of a workflow, once there are so many, and no more come.
async fn of(runner: &Runner, workflow: &str, count: usize) -> Vec<(Uuid, Context)> {
    let found = async || {
        let filter = ExecutionFilter::all().workflow(workflow);
        runner.list(filter, None, 100).await.unwrap()
    };
    until(async || found().await.len() >= count).await;
    let mut all = Vec::new();
    for execution in found().await {
        let id = execution.execution_id;
        let result = in_time(runner.execution(id).wait_for_completion()).await.unwrap();
        all.push((id, result.final_context));
    }
    assert_eq!(found().await.len(), count, "{all:?}");
    all
}

on_each_store! {
    async fn a_failure_starts_the_workflow_that_is_named_for_it_once(database: Database) {
        let runner = database.runner([broken(), alert()]).await;
        let failed = runner.submit("broken").input(Context::new().with("n", 1)).priority(8).send().await.unwrap();
        let result = in_time(failed.wait_for_completion()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Failed, "{result:?}");
        let all = of(&runner, "alert", 1).await;
        let (id, context) = &all[0];
        assert_eq!(context.get::<Uuid>("execution_id"), Some(failed.execution_id));
        assert_eq!(context.get::<String>("workflow").as_deref(), Some("broken"));
        assert!(context.get::<String>("error").unwrap().contains("print is broken"), "{context:?}");
        assert_eq!(context.get::<bool>("told"), Some(true));
        assert_eq!(runner.list(ExecutionFilter::all().workflow("alert"), None, 1).await.unwrap()[0].execution_id, *id);
        // Its key is the engine's.
        let key = format!("cloacina/on-failure/{}", failed.execution_id);
        let error = runner.submit("alert").idempotency_key(key).send().await.unwrap_err();
        assert_error(&error, ErrorKind::Configuration, "cloacina/");
        runner.shutdown().await.unwrap();
    }

    async fn what_was_cancelled_starts_nothing_and_what_fails_beside_it_does(database: Database) {
        let gate = Gate::new();
        let waiting = Workflow::builder("waiting").task(gate.task("t")).on_failure("alert").build();
        let runner = database.runner([broken(), waiting, alert()]).await;
        let cancelled = runner.submit("waiting").send().await.unwrap();
        gate.started().await;
        cancelled.cancel().await.unwrap();
        in_time(cancelled.wait_for_completion()).await.unwrap();
        let failed = runner.execute("broken", Context::new()).await.unwrap();
        let all = of(&runner, "alert", 1).await;
        assert_eq!(all[0].1.get::<Uuid>("execution_id"), Some(failed.execution_id));
        runner.shutdown().await.unwrap();
    }

    async fn what_fails_because_another_failed_starts_nothing(database: Database) {
        let loops = Workflow::builder("loops").task(failing("t")).on_failure("loops").build();
        // A child of what was started so is no way around it.
        let nested = Workflow::builder("nested").wait(Wait::child("child", "loops_too")).build();
        let child = Workflow::builder("loops_too").task(failing("t")).on_failure("nested").build();
        let runner = database.runner([loops, nested, child]).await;
        for (name, expected) in [("loops", 2), ("loops_too", 1)] {
            let failed = runner.execute(name, Context::new()).await.unwrap();
            assert_eq!(failed.status, ExecutionStatus::Failed);
            of(&runner, name, expected).await;
        }
        of(&runner, "nested", 1).await;
        let counted = runner.list(ExecutionFilter::all(), None, 100).await.unwrap().len();
        assert_eq!(counted, 4);
        runner.shutdown().await.unwrap();
    }

    async fn an_execution_of_a_schedule_starts_what_that_names(database: Database) {
        let front = database.configured(quick().submit_only(true), []).await;
        let schedules = front.schedules();
        let nightly = || Schedule::new("nightly", "broken").cron("0 2 * * *").unwrap();
        let error = schedules.put(nightly().on_failure("cloacina/alert")).await.unwrap_err();
        assert_error(&error, ErrorKind::Configuration, "on_failure");
        schedules.put(nightly().on_failure("page")).await.unwrap();
        assert_eq!(schedules.get("nightly").await.unwrap().on_failure.as_deref(), Some("page"));
        let Triggered::Started(id) = schedules.trigger("nightly").await.unwrap() else { panic!("it runs") };
        // Nobody here has the code, and whoever gets it says another workflow.
        let runner = database.runner([broken(), workflow("plain", [failing("print")]), alert(), workflow("page", [idle("t")])]).await;
        let all = of(&runner, "page", 1).await;
        assert_eq!(all[0].1.get::<Uuid>("execution_id"), Some(id));
        // Its reruns too, whoever sends them.
        let again = runner.execution(id).rerun(From::Failed).send().await.unwrap();
        of(&runner, "page", 2).await;
        front.execution(again.execution_id).rerun(From::Start).send().await.unwrap();
        of(&runner, "page", 3).await;
        // Also where the code names none.
        schedules.put(Schedule::new("weekly", "plain").cron("0 2 * * 1").unwrap().on_failure("page")).await.unwrap();
        let Triggered::Started(id) = schedules.trigger("weekly").await.unwrap() else { panic!("it runs") };
        of(&runner, "page", 4).await;
        runner.execution(id).rerun(From::Failed).send().await.unwrap();
        of(&runner, "page", 5).await;
        // One that was submitted by name starts what the code says.
        let by_name = front.submit("broken").by_name().send().await.unwrap();
        let all = of(&runner, "alert", 1).await;
        assert_eq!(all[0].1.get::<Uuid>("execution_id"), Some(by_name.execution_id));
        of(&runner, "page", 5).await;
        runner.shutdown().await.unwrap();
        front.shutdown().await.unwrap();
    }

    async fn a_wait_that_is_over_and_a_resumption_fail_executions_too(database: Database) {
        let clock = ManualClock::new();
        let paid = Workflow::builder("order")
            .wait(Wait::signal("paid").timeout(Duration::from_secs(60)))
            .task(idle("ship").dependencies(["paid"]))
            .on_failure("alert")
            .build();
        let (begun, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (begins, goes) = (Arc::clone(&begun), Arc::clone(&go));
        let fails = task("t", move |_| {
            let (begins, goes) = (Arc::clone(&begins), Arc::clone(&goes));
            async move {
                begins.add_permits(1);
                goes.acquire().await.unwrap().forget();
                Err("broken".into())
            }
        });
        let slow = Workflow::builder("slow").task(fails).on_failure("alert").build();
        let config = quick().clock(Arc::new(clock.clone()));
        let runner = database.configured(config, [paid, slow, alert()]).await;
        let order = runner.submit("order").send().await.unwrap();
        until(async || {
            clock.advance(Duration::from_secs(5));
            order.get_status().await.unwrap() == ExecutionStatus::Failed
        })
        .await;
        let mut failed = vec![order.execution_id];
        of(&runner, "alert", 1).await;
        let slow = runner.submit("slow").send().await.unwrap();
        begun.acquire().await.unwrap().forget();
        slow.pause().await.unwrap();
        go.add_permits(1);
        until(async || slow.history().await.unwrap().iter().all(|attempt| attempt.end_time.is_some())).await;
        slow.resume().await.unwrap();
        until(async || slow.get_status().await.unwrap() == ExecutionStatus::Failed).await;
        failed.push(slow.execution_id);
        let all = of(&runner, "alert", 2).await;
        let mut told: Vec<_> = all.iter().map(|(_, context)| context.get::<Uuid>("execution_id").unwrap()).collect();
        told.sort_unstable();
        failed.sort_unstable();
        assert_eq!(told, failed);
        runner.shutdown().await.unwrap();
    }
}

#[test]
fn a_name_that_cannot_be_one_is_refused_when_the_workflow_is_built() {
    let built = |name: &str| Workflow::builder("w").task(idle("t")).on_failure(name).try_build();
    assert_eq!(built("alert").unwrap().on_failure(), Some("alert"));
    assert_eq!(
        built("alert").unwrap().fingerprint().unwrap(),
        workflow("w", [idle("t")]).fingerprint().unwrap()
    );
    for name in ["", "cloacina/x", "a\nb"] {
        let error = built(name).unwrap_err();
        assert!(error.to_string().contains("on_failure"), "{error}");
    }
}
