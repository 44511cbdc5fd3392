//! Work in the background that fails again and again, and goes well again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloacina::RunnerConfig;
use cloacina_core::store::{PlaceName, StoreErrorKind};
use cloacina_core::{Hub, PlaceRunner};
use cloacina_testing::faulty::{FaultyStore, Method, Verdict};
use cloacina_testing::memory::MemoryDatabase;
use tokio::sync::watch;
use tracing::Level;

use crate::heard::{all, listen, said};
use crate::support::{idle, in_time, workflow};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_twice_in_a_row_is_one_warning_and_its_end_is_told() {
    listen();
    let broken = [
        (Method::BellDue, "look at the doorbell", "is not learned of"),
        (Method::RunnerList, "look at the other runners", "nobody's work is taken back"),
        (Method::Flush, "commit", "kept in memory"),
    ];
    for (method, work, follows) in broken {
        let is_broken = Arc::new(AtomicBool::new(false));
        let calls = watch::Sender::new(0);
        let (failing, failed) = (Arc::clone(&is_broken), calls.clone());
        let store = FaultyStore::new(Arc::new(MemoryDatabase::new().open()), move |call| {
            if call.method != method || !failing.load(Ordering::Relaxed) {
                return Verdict::Pass;
            }
            failed.send_modify(|calls| *calls += 1);
            Verdict::Fail(StoreErrorKind::Transient)
        });
        let settings = RunnerConfig::builder()
            .heartbeat_interval(Duration::from_millis(20))
            .workflow(workflow("w", [idle("t")]))
            .build();
        let hub = Hub::start(store, &settings);
        let runner = PlaceRunner::open(hub, PlaceName::Default, settings, Vec::new()).await.unwrap().unwrap();
        is_broken.store(true, Ordering::Relaxed);
        let execution = tokio::spawn({
            let runner = runner.clone();
            async move { runner.execute("w", cloacina::Context::new()).await }
        });
        in_time(calls.subscribe().wait_for(|calls| *calls >= 4)).await.unwrap();
        let of = move |level: Level, words: &str| {
            let words = format!("{words}{work}");
            all(|said| said.level == level && said.fields.of("message").contains(&words))
        };
        let warnings = of(Level::WARN, "failed to ");
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(warning.fields.of("message").contains(follows), "{warning:?}");
        assert!(!warning.fields.of("error").is_empty() && !warning.fields.of("database").is_empty());
        is_broken.store(false, Ordering::Relaxed);
        said(|said| {
            said.level == Level::INFO && said.fields.of("message").ends_with(&format!("again: {work}"))
        })
        .await;
        in_time(execution).await.unwrap().unwrap();
        runner.shutdown().await.unwrap();
        assert_eq!(of(Level::WARN, "failed to ").len(), 1);
    }
}
