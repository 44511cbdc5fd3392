//! Work that nobody has the code of.

use std::sync::Arc;

use cloacina::{Context, RunnerConfig, TaskDefinition};
use cloacina_core::store::PlaceName;
use cloacina_core::{Hub, PlaceRunner};
use cloacina_testing::memory::MemoryDatabase;
use tracing::Level;
use uuid::Uuid;

use crate::heard::{all, listen, said, tenant_of};
use crate::support::{Database, Gate, idle, quick, workflow};

const NOBODY: &str = "no live runner has";

on_each_store! {
    async fn due_work_of_a_version_that_nobody_has_is_a_warning_at_once(database: Database) {
        let (place, tenant) = tenant_of(&database);
        let old = workflow("w", [idle("a")]);
        let version = old.fingerprint().unwrap().to_string();
        let before = place.configured(quick().submit_only(true), [old]).await;
        for _ in 0..2 {
            before.submit("w").send().await.unwrap();
        }
        before.shutdown().await.unwrap();
        let runner = place.runner([workflow("w", [idle("b")]), workflow("v", [idle("t")])]).await;
        let warning = said(|said| said.is(Level::WARN, &tenant, NOBODY)).await;
        assert_eq!(["workflow", "version", "executions"].map(|name| warning.fields.of(name)), ["w", &version, "2"]);
        // Another look finds the same.
        runner.execute("v", Context::new()).await.unwrap();
        runner.execute("w", Context::new()).await.unwrap();
        runner.shutdown().await.unwrap();
        assert_eq!(all(|said| said.is(Level::WARN, &tenant, NOBODY)).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_another_runner_has_the_code_of_is_no_warning() {
    listen();
    let database = MemoryDatabase::new();
    let tenant = format!("t{}", Uuid::now_v7().simple());
    let open = async |name: &str, task: TaskDefinition| {
        let settings =
            RunnerConfig::builder().max_concurrent_tasks(1).workflow(workflow(name, [task])).build();
        let hub = Hub::start(Arc::new(database.open()), &settings);
        let place = PlaceName::Named(tenant.clone());
        PlaceRunner::open(hub, place, settings, Vec::new()).await.unwrap().expect("a new hub is open")
    };
    let gate = Gate::new();
    let first = open("w", gate.task("t")).await;
    for _ in 0..2 {
        first.submit("w").send().await.unwrap();
    }
    gate.started().await;
    let second = open("v", idle("t")).await;
    said(|said| said.is(Level::DEBUG, &tenant, "for other runners")).await;
    assert!(all(|said| said.is(Level::WARN, &tenant, NOBODY)).is_empty());
    gate.open(2);
    second.shutdown().await.unwrap();
    first.shutdown().await.unwrap();
}
