//! Actions on many executions, which go on whatever becomes of the process that asked for them.

use std::time::{Duration, Instant};

use cloacina::rerun::From;
use cloacina::{
    BULK, Context, ErrorKind, ExecutionFilter, ExecutionStatus, Runner, Uuid, Wait, Workflow, join_all,
};

use crate::process::{Other, place};
use crate::support::{Database, assert_error, failing, idle, quick, reaches, until, workflow};

/// How many failed.
const FAILED: usize = 700;

/// Has so many executions of `w` that failed.
async fn with_failed(database: &Database, failed: usize) {
    let runner = database.runner([workflow("w", [failing("t")])]).await;
    let inputs = (0..failed).map(|n| Context::new().with("n", n));
    let recorded = runner.submit_many("w", inputs).send().await.unwrap();
    let executions: Vec<_> = recorded.into_iter().map(Result::unwrap).collect();
    join_all(&executions).await;
    runner.shutdown().await.unwrap();
}

fn mended() -> Workflow {
    workflow("w", [idle("t")])
}

/// Reruns all that failed, and dies when it has done some.
pub(crate) async fn dies_in_the_midst() {
    let runner = place().workflow(mended()).build().await.unwrap();
    let rerun = runner.rerun_many(ExecutionFilter::all(), From::Failed).pace(1_000);
    let die = |done: u64| {
        if done > 0 {
            std::process::abort()
        }
    };
    drop(rerun.on_progress(|report| die(report.done)).send().await);
}

async fn only_run(runner: &Runner) -> Uuid {
    let runs = runner.bulk_runs(10).await.unwrap();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].execution_id
}

on_each_store! {
    async fn a_rerun_of_many_goes_on_where_its_process_died(database: Database) {
        with_failed(&database, FAILED).await;
        assert!(!Other::start("bulk", &database, "").died().success());
        let runner = database.runner([mended()]).await;
        let run = runner.bulk_run(only_run(&runner).await);
        let report = run.wait().await.unwrap();
        let (all, errors) = (FAILED as u64, &report.errors);
        assert_eq!((report.matched, report.done, report.failed), (all, all, 0), "{errors:?}");
        assert_eq!((report.status, report.error), (ExecutionStatus::Completed, None));
        let filter = |status| ExecutionFilter::all().workflow("w").status(status);
        let failed = runner.list(filter(ExecutionStatus::Failed), None, 10_000).await.unwrap();
        assert_eq!(failed.iter().filter(|failed| failed.superseded_by.is_some()).count(), FAILED);
        // Each has one rerun, and no rerun has another.
        until(async || {
            let reruns = runner.list(filter(ExecutionStatus::Completed), None, 10_000).await.unwrap();
            reruns.len() == FAILED
        }).await;
        let reruns = runner.list(filter(ExecutionStatus::Completed), None, 10_000).await.unwrap();
        let mut of: Vec<Uuid> = reruns.iter().map(|rerun| rerun.rerun_of.unwrap()).collect();
        of.sort_unstable();
        of.dedup();
        assert_eq!(of.len(), FAILED);
        let attempts = runner.get_execution(run.execution_id()).await.unwrap().task_results[0].attempts;
        assert!(attempts > 1, "it was begun by the process that died");
        runner.shutdown().await.unwrap();
    }

    async fn an_action_that_is_stopped_says_how_far_it_came(database: Database) {
        with_failed(&database, 8).await;
        let runner = database.runner([mended()]).await;
        let run = runner.rerun_many(ExecutionFilter::all(), From::Start).pace(1).start().await.unwrap();
        until(async || run.report().await.unwrap().matched > 1).await;
        run.stop().await.unwrap();
        run.stop().await.unwrap();
        let report = run.wait().await.unwrap();
        assert_eq!((report.status, report.from.as_deref()), (ExecutionStatus::Cancelled, Some("start")));
        assert!(report.done > 0 && report.done < 8, "{report:?}");
        let superseded = ExecutionFilter::all().superseded(true);
        let done = runner.list(superseded, None, 10).await.unwrap().len() as u64;
        assert!(done == report.done || done == report.done + 1, "{done} of {report:?}");
        runner.shutdown().await.unwrap();
    }

    async fn an_action_takes_no_slot_and_is_no_obstacle_to_a_shutdown(database: Database) {
        with_failed(&database, 8).await;
        let one = || quick().max_concurrent_tasks(1).shutdown_timeout(Duration::from_secs(60));
        let runner = database.configured(one(), [mended()]).await;
        let run = runner.rerun_many(ExecutionFilter::all(), From::Failed).pace(2).start().await.unwrap();
        until(async || run.report().await.unwrap().matched > 0).await;
        // While it is under way, the only slot is free.
        assert!(runner.execute("w", Context::new()).await.unwrap().status.is_success());
        assert!(run.report().await.unwrap().ended_at.is_none());
        let began = Instant::now();
        runner.shutdown().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        let other = database.configured(one(), [mended()]).await;
        let report = other.bulk_run(run.execution_id()).wait().await.unwrap();
        assert_eq!((report.matched, report.done, report.failed), (8, 8, 0), "{report:?}");
        other.shutdown().await.unwrap();
    }

    async fn a_full_queue_is_emptied_by_one_action(database: Database) {
        let waits = Workflow::builder("w").wait(Wait::signal("never")).task(idle("t").dependencies(["never"])).build();
        let config = quick().max_queue_length(3);
        let runner = database.configured(config, [waits]).await;
        for _ in 0..3 {
            runner.submit("of nobody here").by_name().send().await.unwrap();
        }
        let full = runner.execute_async("w", Context::new()).await.unwrap_err();
        assert_eq!(full.kind(), ErrorKind::Limit);
        let report = runner.cancel_many(ExecutionFilter::all()).send().await.unwrap();
        // Neither itself nor its like.
        assert_eq!((report.matched, report.done, report.failed), (3, 3, 0), "{report:?}");
        reaches(&runner.execute_async("w", Context::new()).await.unwrap(), ExecutionStatus::Waiting).await;
        runner.shutdown().await.unwrap();
    }

    async fn a_few_actions_of_a_tenant_are_under_way_at_most(database: Database) {
        // Nobody works them off here.
        let runner = database.configured(quick().submit_only(true), [mended()]).await;
        let mut runs = Vec::new();
        for _ in 0..4 {
            runs.push(runner.cancel_many(ExecutionFilter::all()).start().await.unwrap());
        }
        let refused = runner.cancel_many(ExecutionFilter::all()).start().await.unwrap_err();
        assert_error(&refused, ErrorKind::Limit, "4 actions on many executions");
        runs[0].stop().await.unwrap();
        runner.cancel_many(ExecutionFilter::all()).start().await.unwrap();
        let report = runs[1].report().await.unwrap();
        assert_eq!((report.status, report.matched), (ExecutionStatus::Pending, 0));
        runner.shutdown().await.unwrap();
    }

    async fn the_workflow_of_such_actions_is_the_engines(database: Database) {
        let runner = database.runner([mended()]).await;
        for submission in [runner.submit(BULK), runner.submit(BULK).by_name()] {
            assert_error(&submission.send().await.unwrap_err(), ErrorKind::Workflow, "begins with `cloacina/`");
        }
        let many = runner.submit_many(BULK, [Context::new()]).send().await.unwrap_err();
        assert_error(&many, ErrorKind::Workflow, "begins with `cloacina/`");
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        let no_run = runner.bulk_run(execution.execution_id).report().await.unwrap_err();
        assert_eq!(no_run.kind(), ErrorKind::NotFound);
        assert!(runner.workflows().await.unwrap().iter().all(|workflow| workflow.name != BULK));
        runner.shutdown().await.unwrap();
    }
}
