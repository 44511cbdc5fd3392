//! A defect of the engine itself, and a database that answers badly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cloacina::{Context, ErrorKind, ExecutionStatus, RunnerConfig};
use cloacina_core::store::{PlaceName, StoreErrorKind};
use cloacina_core::{Hub, PlaceRunner};
use cloacina_testing::faulty::{FaultyStore, Method, Moment, Verdict};
use cloacina_testing::memory::MemoryDatabase;

use crate::support::{assert_error, idle, in_time, workflow};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_engine_is_told_to_all_who_wait_and_the_next_runner_goes_on() {
    let database = MemoryDatabase::new();
    let broken = Arc::new(AtomicBool::new(false));
    let open = async |broken: Arc<AtomicBool>| {
        let store = FaultyStore::new(Arc::new(database.open()), move |call| {
            assert!(!(call.method == Method::Flush && broken.load(Ordering::Relaxed)), "a planted defect");
            Verdict::Pass
        });
        let settings = RunnerConfig::builder().workflow(workflow("w", [idle("t")])).build();
        let hub = Hub::start(store, &settings);
        let runner =
            PlaceRunner::open(Arc::clone(&hub), PlaceName::Default, settings, Vec::new()).await.unwrap();
        (hub, runner.expect("a new hub is open"))
    };
    let (hub, first) = open(Arc::clone(&broken)).await;
    let id = first.submit("w").start_at(jiff::Timestamp::MAX).send().await.unwrap().execution_id;
    let waiting = tokio::spawn({
        let execution = first.execution(id);
        async move { execution.wait_for_completion().await }
    });
    broken.store(true, Ordering::Relaxed);
    assert_error(
        &in_time(first.execute("w", Context::new())).await.unwrap_err(),
        ErrorKind::Internal,
        "defect",
    );
    assert_error(&in_time(waiting).await.unwrap().unwrap_err(), ErrorKind::Internal, "defect");
    assert!(hub.is_closed());
    assert_error(&first.execute("w", Context::new()).await.unwrap_err(), ErrorKind::Internal, "defect");

    let (_, second) = open(Arc::default()).await;
    let result = in_time(second.execute("w", Context::new())).await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Completed);
    in_time(first.shutdown()).await.unwrap();
    second.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_that_may_have_been_recorded_is_not_refused() {
    let database = MemoryDatabase::new();
    let flushes = Arc::new(AtomicUsize::new(0));
    let answers = Arc::clone(&flushes);
    // The first answer is lost, and then the place cannot be used for a while.
    let store = FaultyStore::new(Arc::new(database.open()), move |call| {
        if call.method != Method::Flush {
            return Verdict::Pass;
        }
        match (call.moment, answers.load(Ordering::Relaxed)) {
            (Moment::After, 0) => {
                answers.store(1, Ordering::Relaxed);
                Verdict::Fail(StoreErrorKind::Unknown)
            }
            (Moment::Before, failures @ 1..4) => {
                answers.store(failures + 1, Ordering::Relaxed);
                Verdict::Fail(StoreErrorKind::Place)
            }
            _ => Verdict::Pass,
        }
    });
    let settings = RunnerConfig::builder().workflow(workflow("w", [idle("t")])).submit_only(true).build();
    let hub = Hub::start(store, &settings);
    let runner = PlaceRunner::open(hub, PlaceName::Default, settings, Vec::new()).await.unwrap().unwrap();
    let execution = in_time(runner.execute_async("w", Context::new())).await.unwrap();
    assert_eq!(flushes.load(Ordering::Relaxed), 4);
    assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Pending);
    assert_eq!(runner.list_executions().await.unwrap().len(), 1);
    runner.shutdown().await.unwrap();
}
