//! Reads that take long, and those who must not wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cloacina_core::execution::ExecutionStatus;
use cloacina_core::store::{ExecutionFilter, ExecutionList, Liveness, Store, WorkflowKey};
use rusqlite::Connection;

use crate::support::{File, at, new_execution, workflow};

/// Executions that are over.
const MANY_OVER: &str = "
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100000)
    INSERT INTO workflow_executions
        (tenant_id, id, workflow, fingerprint, state, priority, created_at, started_at, finished_at, input)
    SELECT tenant_id, randomblob(16), 'etl', 7, 'completed', 5, 1000000, 1000000, 1000000, '{}'
    FROM cloacina_place, numbers";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_the_slow_reads_of_a_file() {
    let (file, other) = (File::new(), File::new());
    let (slow, neighbour) = (file.open().await, other.open().await);
    Connection::open(file.path()).unwrap().execute(MANY_OVER, []).unwrap();
    let list = ExecutionList { filter: ExecutionFilter::default().workflow("none"), before: None, limit: 10 };
    let begun = Instant::now();
    slow.store.execution_list(&slow.place, &list).await.unwrap();
    let one = begun.elapsed();

    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..20)
        .map(|_| {
            let (store, place, list, stop) =
                (Arc::clone(&slow.store), Arc::clone(&slow.place), list.clone(), Arc::clone(&stop));
            slow.store.runtime().spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    store.execution_list(&place, &list).await.unwrap();
                    store.place_figures(&place, None).await.unwrap();
                }
            })
        })
        .collect();
    let known: Arc<[WorkflowKey]> = Arc::new([workflow()]);
    // Where the engine's futures run.
    let work = slow.store.runtime().spawn(async move {
        let begun = Instant::now();
        for now in 1..=10 {
            for handle in [&slow, &neighbour] {
                let execution = handle.submit(now, new_execution(&[0], &[])).await;
                let beat = handle.store.runner_heartbeat(handle.runner, &known, None).await;
                assert_eq!(beat.unwrap(), Liveness::Live);
                handle.store.bell_due(Some(at(now))).await.unwrap();
                assert_eq!(handle.load(execution).await.header.id, execution);
            }
        }
        begun.elapsed()
    });
    let took = work.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    // A single call that waited for those readers would take longer than all of these together.
    assert!(took < (10 * one).max(Duration::from_secs(3)), "{took:?}, where one read takes {one:?}");
}

#[tokio::test]
async fn pruning_takes_what_ended_before_and_nothing_else() {
    let file = File::new();
    let handle = file.open().await;
    let connection = Connection::open(file.path()).unwrap();
    connection.execute(&MANY_OVER.replace("n < 100000", "n < 250"), []).unwrap();
    let open = handle.submit(1, new_execution(&[0], &[])).await;
    assert_eq!(
        handle
            .store
            .execution_prune(&handle.place, ExecutionStatus::Completed, Duration::ZERO, 1000, Some(at(1)))
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        handle
            .store
            .execution_prune(&handle.place, ExecutionStatus::Completed, Duration::ZERO, 240, Some(at(2)))
            .await
            .unwrap(),
        240
    );
    assert_eq!(
        handle
            .store
            .execution_prune(&handle.place, ExecutionStatus::Completed, Duration::ZERO, 240, Some(at(2)))
            .await
            .unwrap(),
        10
    );
    assert_eq!(handle.load(open).await.header.id, open);
}
