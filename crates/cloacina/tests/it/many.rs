//! Many executions that are submitted at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cloacina::rerun::From;
use cloacina::{
    Context, ErrorKind, ExecutionFilter, ExecutionStatus, Input, RunnerConfig, Workflow, join_all,
};
use cloacina_core::store::{PlaceName, StoreErrorKind};
use cloacina_core::{Hub, PlaceRunner};
use cloacina_testing::faulty::{Call, FaultyStore, Method, Moment, Verdict};
use cloacina_testing::memory::MemoryDatabase;

use crate::support::{Database, Gate, assert_error, failing, idle, in_time, quick, setting, workflow};

/// A workflow that does nothing.
fn nothing() -> Workflow {
    workflow("import", [idle("t")])
}

fn line(n: usize) -> Context {
    Context::new().with("line", n)
}

on_each_store! {
    async fn many_are_recorded_and_run_in_the_order_of_their_inputs(database: Database) {
        let runner = database.configured(quick().max_concurrent_tasks(100), [
            workflow("import", [setting("t", "done", true)]),
        ]).await;
        let inputs = (0..2_500).map(|n| Input::from(line(n)).tag(format!("part {}", n % 2)));
        let recorded = runner.submit_many("import", inputs).tag("night").priority(7).send().await.unwrap();
        let executions: Vec<_> = recorded.into_iter().map(|execution| execution.unwrap()).collect();
        let results = in_time(join_all(&executions)).await;
        for (n, result) in results.into_iter().enumerate() {
            let result = result.unwrap();
            assert_eq!(result.execution_id, executions[n].execution_id);
            assert_eq!(result.status, ExecutionStatus::Completed);
            assert_eq!(result.final_context, line(n).with("done", true));
            assert_eq!(result.tags, ["night".to_owned(), format!("part {}", n % 2)]);
        }
        let ids: HashSet<_> = executions.iter().map(|execution| execution.execution_id).collect();
        assert_eq!(ids.len(), 2_500);
        let part = runner.list(ExecutionFilter::all().tag("part 1"), None, 10_000).await.unwrap();
        assert_eq!(part.len(), 1_250);
        assert!(runner.submit_many("import", Vec::<Context>::new()).send().await.unwrap().is_empty());
        runner.shutdown().await.unwrap();
    }

    async fn the_whole_is_submitted_again_with_keys(database: Database) {
        let runner = database.runner([nothing()]).await;
        let submit = |n: usize| {
            let inputs = (0..n).map(|n| Input::new(line(n)).key(format!("line {n}")));
            runner.submit_many("import", inputs).send()
        };
        let ids = |recorded: Vec<Result<cloacina::Execution, cloacina::Error>>| -> Vec<_> {
            recorded.into_iter().map(|execution| execution.unwrap().execution_id).collect()
        };
        let first = ids(submit(1_100).await.unwrap());
        let again = ids(submit(1_200).await.unwrap());
        assert_eq!(again[..1_100], first);
        assert_eq!(runner.list_executions().await.unwrap().len(), 1_200);
        // Each is what a single submission would have been.
        let one = runner.submit("import").input(line(7)).idempotency_key("line 7").send().await.unwrap();
        assert_eq!(one.execution_id, first[7]);
        let inputs = [Input::new(line(8)).key("line 7"), Input::new(line(1_200)).key("line 1200")];
        let [other, new] = runner.submit_many("import", inputs).send().await.unwrap().try_into().unwrap();
        assert_error(&other.unwrap_err(), ErrorKind::Conflict, "`line 7` was used before");
        in_time(new.unwrap().wait_for_completion()).await.unwrap();
        // The same key twice in one call.
        let inputs = [(); 2].map(|()| Input::new(line(0)).key("twice"));
        let twice = ids(runner.submit_many("import", inputs).send().await.unwrap());
        assert_eq!(twice[0], twice[1]);
        runner.shutdown().await.unwrap();
    }

    async fn what_cannot_be_recorded_is_an_error_in_its_place(database: Database) {
        let runner = database.configured(quick().max_context_bytes(1_000), [nothing()]).await;
        let inputs = [
            Input::new(line(0)),
            Input::new(line(1).with("large", "x".repeat(2_000))),
            Input::new(line(2).with("cloacina/mine", 1)),
            Input::new(line(3)).key(""),
            Input::new(line(4)).tag(""),
            Input::new(line(5).with("bad", f64::NAN)),
            Input::new(line(6)),
        ];
        let recorded = runner.submit_many("import", inputs).send().await.unwrap();
        let kinds: Vec<_> = recorded.iter().map(|one| one.as_ref().err().map(cloacina::Error::kind)).collect();
        let (context, configuration) = (Some(ErrorKind::Context), Some(ErrorKind::Configuration));
        assert_eq!(kinds, [None, context, context, configuration, configuration, context, None]);
        assert_eq!(runner.list_executions().await.unwrap().len(), 2);
        let unknown = runner.submit_many("nothing", [line(0)]).send().await.unwrap_err();
        assert_error(&unknown, ErrorKind::Workflow, "this program has no workflow `nothing`");
        runner.shutdown().await.unwrap();
        let gone = runner.submit_many("import", [line(0)]).send().await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::ShutDown);
    }

    async fn the_limit_of_a_tenant_counts_for_each(database: Database) {
        let gate = Gate::new();
        let runner = database.configured(quick().max_queue_length(5), [workflow("import", [gate.task("t")])]).await;
        let recorded = runner.submit_many("import", (0..8).map(line)).send().await.unwrap();
        let refused: Vec<_> = recorded.iter().filter_map(|one| one.as_ref().err()).collect();
        assert_eq!((recorded[..5].iter().filter(|one| one.is_ok()).count(), refused.len()), (5, 3));
        assert_error(refused[0], ErrorKind::Limit, "max_queue_length");
        gate.open(5);
        let executions: Vec<_> = recorded.into_iter().filter_map(Result::ok).collect();
        assert!(in_time(join_all(&executions)).await.iter().all(Result::is_ok));
        runner.shutdown().await.unwrap();
    }

    async fn many_are_submitted_by_name_for_another_process(database: Database) {
        let submitter = database.builder().config(RunnerConfig::builder().submit_only(true).build()).build().await.unwrap();
        let recorded = submitter.submit_many("import", (0..50).map(line)).by_name().send().await.unwrap();
        let executions: Vec<_> = recorded.into_iter().map(|execution| execution.unwrap()).collect();
        let runner = database.runner([nothing()]).await;
        let results = in_time(join_all(&executions)).await;
        assert!(results.iter().all(|result| result.as_ref().is_ok_and(|result| result.status.is_success())));
        runner.shutdown().await.unwrap();
        submitter.shutdown().await.unwrap();
    }
}

/// A runner whose store does to what it records as the hook says.
async fn faulty(hook: impl Fn(&Call) -> Verdict + Send + Sync + 'static) -> PlaceRunner {
    let hook = move |call: &Call| {
        if call.method == Method::ExecutionRecord { hook(call) } else { Verdict::Pass }
    };
    let store = FaultyStore::new(Arc::new(MemoryDatabase::new().open()), hook);
    let settings = quick().workflow(nothing()).workflow(workflow("bad", [failing("t")])).build();
    let hub = Hub::start(store, &settings);
    PlaceRunner::open(hub, PlaceName::Default, settings, Vec::new()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_without_an_answer_is_recorded_once() {
    let faults = [
        (Moment::Before, StoreErrorKind::Transient),
        (Moment::Before, StoreErrorKind::Unknown),
        (Moment::After, StoreErrorKind::Unknown),
    ];
    for (moment, kind) in faults {
        let calls = AtomicUsize::new(0);
        let runner = faulty(move |call| {
            let fails = call.moment == moment && calls.fetch_add(1, Ordering::Relaxed) % 4 < 2;
            if fails { Verdict::Fail(kind) } else { Verdict::Pass }
        })
        .await;
        let inputs = (0..20).map(|n| {
            let input = Input::new(line(n));
            if n % 2 == 0 { input.key(format!("{n}")) } else { input }
        });
        let recorded = in_time(runner.submit_many("import", inputs).send()).await.unwrap();
        let executions: Vec<_> = recorded.into_iter().map(Result::unwrap).collect();
        assert!(in_time(join_all(&executions)).await.iter().all(Result::is_ok));
        assert_eq!(runner.list_executions().await.unwrap().len(), 20, "{moment:?} {kind:?}");
        let bad = runner.execute_async("bad", Context::new()).await.unwrap();
        in_time(bad.wait_for_completion()).await.unwrap();
        let again = in_time(bad.rerun(From::Failed).send()).await.unwrap();
        in_time(again.wait_for_completion()).await.unwrap();
        assert_eq!(runner.list_executions().await.unwrap().len(), 22, "{moment:?} {kind:?}");
        let old = runner.get_execution(bad.execution_id).await.unwrap();
        assert_eq!(old.superseded_by, Some(again.execution_id));
        runner.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_database_cannot_keep_takes_no_other_along() {
    let singles = AtomicUsize::new(0);
    let runner = faulty(move |call| {
        if call.moment == Moment::After {
            return Verdict::Pass;
        }
        // Some of the first four cannot be kept.
        let single = call.submits == 1 && singles.fetch_add(1, Ordering::Relaxed) == 2;
        if call.submits > 2 || single { Verdict::Fail(StoreErrorKind::Data) } else { Verdict::Pass }
    })
    .await;
    let recorded = in_time(runner.submit_many("import", (0..13).map(line)).send()).await.unwrap();
    let refused: Vec<_> = recorded.iter().filter_map(|one| one.as_ref().err()).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].kind(), ErrorKind::Context);
    assert_eq!(runner.list_executions().await.unwrap().len(), 12);
    runner.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_cannot_be_written_refuses_all_of_them() {
    let runner = faulty(|_| Verdict::Fail(StoreErrorKind::Place)).await;
    let recorded = in_time(runner.submit_many("import", (0..3).map(line)).send()).await.unwrap();
    assert!(recorded.iter().all(|one| one.as_ref().is_err_and(|error| error.kind() == ErrorKind::Place)));
    runner.shutdown().await.unwrap();
}
