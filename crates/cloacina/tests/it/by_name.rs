//! Executions that are submitted where their code is not.

use std::sync::Arc;
use std::time::Duration;

use cloacina::{Context, ErrorKind, ExecutionStatus, RunnerConfig, Workflow};
use cloacina_core::clock::Clock;
use cloacina_core::store::PlaceName;
use cloacina_core::{Hub, PlaceRunner};
use cloacina_testing::clock::ManualClock;
use cloacina_testing::memory::MemoryDatabase;

use crate::support::{Database, assert_error, idle, in_time, quick, setting, until, workflow};

fn report() -> [Workflow; 1] {
    [workflow("report", [setting("a", "a", 1), setting("b", "b", 2).dependencies(["a"])])]
}

on_each_store! {
    async fn an_execution_that_is_submitted_by_name_runs_where_its_code_is(database: Database) {
        let submitter = database.configured(quick().submit_only(true), []).await;
        let input = Context::new().with("n", 7);
        let execution = submitter.submit("report").by_name().input(input).priority(7).send().await.unwrap();
        assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Pending);
        assert_eq!(execution.history().await.unwrap().len(), 0);
        let runner = database.runner(report()).await;
        let result = in_time(execution.wait_for_completion()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        let of = |key| result.final_context.get::<i64>(key).unwrap();
        assert_eq!((of("n"), of("a"), of("b")), (7, 1, 2));
        assert!(result.task_results.iter().all(|task| task.attempts == 1), "{result:?}");
        // A process that has the code begins at once, said or not.
        let here = runner.submit("report").by_name().send().await.unwrap();
        assert!(in_time(here.wait_for_completion()).await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
        submitter.shutdown().await.unwrap();
    }

    async fn many_executions_of_several_names_are_expanded_and_run_once(database: Database) {
        let submitter = database.configured(quick().submit_only(true), []).await;
        let mut executions = Vec::new();
        for n in 0..60 {
            let name = ["report", "other", "third"][n % 3];
            executions.push(submitter.submit(name).by_name().send().await.unwrap());
        }
        let known = report().into_iter().chain([workflow("other", [idle("t")]), workflow("third", [idle("t")])]);
        let runner = database.runner(known).await;
        for execution in executions {
            let result = in_time(execution.wait_for_completion()).await.unwrap();
            assert!(result.status.is_success(), "{result:?}");
            assert!(result.task_results.iter().all(|task| task.attempts == 1), "{result:?}");
        }
        runner.shutdown().await.unwrap();
        submitter.shutdown().await.unwrap();
    }

    async fn a_name_that_nobody_has_here_is_refused_unless_it_is_said_to_be_elsewhere(database: Database) {
        let runner = database.runner(report()).await;
        let error = runner.submit("raport").send().await.unwrap_err();
        assert_error(&error, ErrorKind::Workflow, "submit it with `by_name`");
        for name in ["", "a\nb", &"x".repeat(201), "cloacina/bulk"] {
            let error = runner.submit(name).by_name().send().await.unwrap_err();
            assert_error(&error, ErrorKind::Workflow, "the name of a workflow");
        }
        runner.shutdown().await.unwrap();
    }

    async fn names_and_keys_of_the_engine_are_refused(database: Database) {
        let words = "begins with `cloacina/`";
        let error = Workflow::builder("cloacina/bulk").task(idle("t")).try_build().unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        let config = quick().workflow(workflow("cloacina/bulk", [idle("t")])).build();
        let error = database.builder().config(config).build().await.unwrap_err();
        assert_error(&error, ErrorKind::Workflow, words);
        let runner = database.runner(report()).await;
        for submission in [runner.submit("report"), runner.submit("elsewhere").by_name()] {
            let error = submission.idempotency_key("cloacina/schedule/7").send().await.unwrap_err();
            assert_error(&error, ErrorKind::Configuration, words);
        }
        runner.submit("report").idempotency_key("cloacina").send().await.unwrap();
        runner.shutdown().await.unwrap();
    }

    async fn an_execution_without_tasks_is_paused_resumed_and_cancelled_as_any_other(database: Database) {
        let submitter = database.configured(quick().submit_only(true), []).await;
        let (paused, cancelled) = (
            submitter.submit("report").by_name().send().await.unwrap(),
            submitter.submit("report").by_name().idempotency_key("once").send().await.unwrap(),
        );
        let again = submitter.submit("report").by_name().idempotency_key("once").send().await.unwrap();
        assert_eq!(again.execution_id, cancelled.execution_id);
        paused.pause().await.unwrap();
        cancelled.cancel().await.unwrap();
        let result = in_time(cancelled.wait_for_completion()).await.unwrap();
        assert_eq!((result.status, result.task_results.len()), (ExecutionStatus::Cancelled, 0));
        let runner = database.runner(report()).await;
        let next = runner.execute("report", Context::new()).await.unwrap();
        assert!(next.status.is_success());
        assert_eq!(paused.get_status().await.unwrap(), ExecutionStatus::Paused);
        paused.resume().await.unwrap();
        assert!(in_time(paused.wait_for_completion()).await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
        submitter.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_no_runner_has_is_paused_and_resumed_when_one_comes() {
    let (database, clock) = (MemoryDatabase::new(), ManualClock::new());
    let open = async |workflows: Vec<Workflow>, submit_only: bool| {
        let settings = quick()
            .clock(Arc::new(clock.clone()))
            .orphan_grace(Duration::from_secs(60))
            .submit_only(submit_only);
        let settings: RunnerConfig =
            workflows.into_iter().fold(settings, |settings, workflow| settings.workflow(workflow)).build();
        let hub = Hub::start(Arc::new(database.open()), &settings);
        let name = PlaceName::Named("acme".to_owned());
        PlaceRunner::open(hub, name, settings, Vec::new()).await.unwrap().unwrap()
    };
    let first = open(vec![workflow("other", [idle("t")])], false).await;
    let execution = first.submit("report").by_name().send().await.unwrap();
    let status = async || execution.get_status().await.unwrap();
    let pass_until = async |wanted: ExecutionStatus| {
        until(async || {
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(1)).await;
            status().await == wanted
        })
        .await;
    };
    let begun = clock.monotonic();
    pass_until(ExecutionStatus::Paused).await;
    assert!(clock.monotonic() - begun >= Duration::from_secs(60));
    assert!(execution.wait_for(Duration::ZERO).await.unwrap().is_none());
    let second = open(report().into(), false).await;
    pass_until(ExecutionStatus::Completed).await;
    in_time(first.shutdown()).await.unwrap();
    in_time(second.shutdown()).await.unwrap();
}
