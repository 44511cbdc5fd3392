//! Runners that start, end and die.

use std::sync::Arc;
use std::time::Duration;

use cloacina::{RunnerConfig, TaskDefinition};
use cloacina_core::store::{PlaceName, StoreErrorKind};
use cloacina_core::{Hub, PlaceRunner};
use cloacina_testing::faulty::{FaultyStore, Method, Verdict};
use cloacina_testing::memory::MemoryDatabase;
use tracing::Level;
use uuid::Uuid;

use crate::heard::{Said, all, listen, said, tenant_of};
use crate::process::{HELD, Other};
use crate::support::{Database, Gate, idle, in_time, quick, workflow};

/// What tells its database from all others.
fn label(database: &Database, tenant: &str) -> String {
    match database.schema {
        Some(_) => database.url.rsplit_once('/').unwrap().1.to_owned(),
        None => tenant.to_owned(),
    }
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

fn is(said: &Said, label: &str, words: &str) -> bool {
    said.level == Level::INFO
        && said.fields.of("database").contains(label)
        && said.fields.of("message").contains(words)
}

on_each_store! {
    async fn a_runner_says_when_it_starts_and_ends(database: Database) {
        let (place, tenant) = tenant_of(&database);
        let label = label(&place, &tenant);
        let runner = place.configured(quick().lease(Duration::from_secs(17)), [workflow("w", [idle("t")])]).await;
        let of = |words: &str| all(|said| is(said, &label, words));
        let started = of("a runner started");
        let [start] = &started[..] else { panic!("{started:?}") };
        let expected = [&host(), &std::process::id().to_string(), "17s"];
        assert_eq!(["host", "pid", "lease"].map(|name| start.fields.of(name)), expected);
        assert!(of("the runner ended").is_empty());
        runner.shutdown().await.unwrap();
        let ended = of("the runner ended");
        let [end] = &ended[..] else { panic!("{ended:?}") };
        assert!(!start.fields.of("runner").is_empty());
        assert_eq!(end.fields.of("runner"), start.fields.of("runner"));
    }

    async fn a_rescue_says_whose_tasks_were_taken_back_and_that_its_process_is_gone(database: Database) {
        let (place, _) = tenant_of(&database);
        let mut other = Other::holding(&place);
        other.kill();
        let runner = place.runner([workflow("w", ["a", "b", "c"].map(idle))]).await;
        let expected = format!(
            "took back {HELD} tasks of a runner on host {}, pid {}, whose process is gone", host(), other.id()
        );
        let said = said(|said| said.level == Level::INFO && said.fields.of("message") == expected).await;
        assert_eq!([said.fields.of("tasks"), said.fields.of("executions")], ["3", "1"]);
        runner.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rescue_says_for_how_long_a_heartbeat_stood_still() {
    listen();
    let database = MemoryDatabase::new();
    let tenant = format!("t{}", Uuid::now_v7().simple());
    let lease = Duration::from_millis(300);
    let open = async |verdict: Verdict, task: TaskDefinition| {
        let store = FaultyStore::new(Arc::new(database.open()), move |call| {
            if call.method == Method::RunnerHeartbeat { verdict } else { Verdict::Pass }
        });
        let settings = RunnerConfig::builder()
            .lease(lease)
            .heartbeat_interval(lease / 6)
            .cancel_grace(Duration::ZERO)
            .workflow(workflow("w", [task]))
            .build();
        let hub = Hub::start(store, &settings);
        let place = PlaceName::Named(tenant.clone());
        PlaceRunner::open(hub, place, settings, Vec::new()).await.unwrap().expect("a new hub is open")
    };
    let gate = Gate::new();
    let silent = open(Verdict::Fail(StoreErrorKind::Transient), gate.task("t")).await;
    silent.submit("w").send().await.unwrap();
    gate.started().await;
    let watching = open(Verdict::Pass, gate.task("t")).await;
    let id = std::process::id();
    let expected = format!(
        "took back 1 task of a runner on host {}, pid {id}, whose heartbeat stood still for 3",
        host()
    );
    said(|said| said.level == Level::INFO && said.fields.of("message").starts_with(&expected)).await;
    gate.open(2);
    in_time(async {
        watching.shutdown().await.unwrap();
        silent.shutdown().await.unwrap();
    })
    .await;
}
