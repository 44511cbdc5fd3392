//! A runner that serves every tenant of its database.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloacina::{Context, ExecutionStatus, RetryPolicy, RunnerConfig, Workflow};
use cloacina_core::clock::{Clock, SystemClock};
use cloacina_core::store::{PlaceName, StoreErrorKind};
use cloacina_core::{Hub, PlaceRunner};
use cloacina_testing::clock::ManualClock;
use cloacina_testing::faulty::{FaultyStore, Method, Moment, Verdict};
use cloacina_testing::memory::MemoryDatabase;

use crate::support::{Gate, idle, in_time, quick, task, until, workflow};

/// A database in memory whose time a test moves.
struct World {
    database: MemoryDatabase,
    clock: ManualClock,
}

impl World {
    fn new() -> Self {
        Self { database: MemoryDatabase::new(), clock: ManualClock::new() }
    }

    fn settings(&self, workflows: impl IntoIterator<Item = Workflow>) -> RunnerConfig {
        let settings = quick().clock(Arc::new(self.clock.clone()));
        workflows.into_iter().fold(settings, |settings, workflow| settings.workflow(workflow)).build()
    }

    fn hub(&self, settings: &RunnerConfig) -> Arc<Hub> {
        Hub::start(Arc::new(self.database.open()), settings)
    }

    /// A process that only submits, and forgets the tenant at once.
    async fn submit(&self, tenant: &str, workflows: Vec<Workflow>, start_in: Duration) -> uuid::Uuid {
        let mut settings = self.settings(workflows);
        settings.submit_only = true;
        let runner = open(&self.hub(&settings), tenant, &settings).await;
        let start_at = self.clock.now() + start_in;
        let submission = runner.submit("w").start_at(start_at);
        let id = submission.send().await.unwrap().execution_id;
        runner.shutdown().await.unwrap();
        id
    }

    /// How an execution stands, as another process sees it.
    async fn status(&self, tenant: &str, id: uuid::Uuid) -> ExecutionStatus {
        let mut settings = self.settings([]);
        settings.submit_only = true;
        let runner = open(&self.hub(&settings), tenant, &settings).await;
        let status = runner.get_execution_status(id).await.unwrap();
        runner.shutdown().await.unwrap();
        status
    }

    /// Moves the time on, second by second, until something holds.
    async fn pass_until(&self, holds: impl AsyncFn() -> bool) {
        in_time(async {
            while !holds().await {
                self.clock.advance(Duration::from_millis(500));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

async fn open(hub: &Arc<Hub>, tenant: &str, settings: &RunnerConfig) -> PlaceRunner {
    let name = PlaceName::Named(tenant.to_owned());
    PlaceRunner::open(Arc::clone(hub), name, settings.clone(), Vec::new()).await.unwrap().unwrap()
}

fn serving(mut settings: RunnerConfig) -> RunnerConfig {
    settings.serve_all_tenants = true;
    settings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_is_opened_for_its_work_and_closed_when_nothing_is_due() {
    let world = World::new();
    let workflows = || vec![workflow("w", [idle("t")])];
    let now = world.submit("globex", workflows(), Duration::ZERO).await;
    let later = world.submit("globex", workflows(), Duration::from_secs(3600)).await;
    let settings = serving(world.settings(workflows()));
    let hub = world.hub(&settings);
    let server = open(&hub, "acme", &settings).await;
    world.pass_until(async || world.status("globex", now).await == ExecutionStatus::Completed).await;
    assert_eq!(world.status("globex", later).await, ExecutionStatus::Pending);
    world.pass_until(async || hub.open_places() == 1).await;
    // What comes later is in the bell.
    world.clock.advance(Duration::from_secs(3600));
    world.pass_until(async || world.status("globex", later).await == ExecutionStatus::Completed).await;
    world.pass_until(async || hub.open_places() == 1).await;
    in_time(server.shutdown()).await.unwrap();
    assert!(hub.is_closed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_whose_next_task_is_due_soon_stays_open() {
    let world = World::new();
    let workflows = || vec![workflow("w", [idle("t")])];
    world.submit("globex", workflows(), Duration::ZERO).await;
    world.submit("globex", workflows(), Duration::from_secs(25)).await;
    let settings = serving(world.settings(workflows()));
    let hub = world.hub(&settings);
    let server = open(&hub, "acme", &settings).await;
    world.pass_until(async || hub.open_places() == 2).await;
    let start = world.clock.monotonic();
    world.pass_until(async || hub.open_places() == 1).await;
    let open_for = world.clock.monotonic() - start;
    // Ten seconds after its last use, and until then ten seconds before the next due time.
    assert!(open_for < Duration::from_secs(20), "{open_for:?}");
    world.pass_until(async || hub.open_places() == 2).await;
    in_time(server.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tenants_without_work_cost_one_look_at_the_bell_a_second() {
    let world = World::new();
    let workflows = || vec![workflow("w", [idle("t")])];
    for n in 0..200 {
        world.submit(&format!("t{n}"), workflows(), Duration::from_secs(100_000)).await;
    }
    let calls: Arc<Mutex<HashMap<Method, usize>>> = Arc::default();
    let counted = Arc::clone(&calls);
    let store = FaultyStore::new(Arc::new(world.database.open()), move |call| {
        if call.moment == Moment::Before {
            *counted.lock().unwrap().entry(call.method).or_default() += 1;
        }
        Verdict::Pass
    });
    let settings = serving(world.settings(workflows()));
    let hub = Hub::start(store, &settings);
    let server = open(&hub, "acme", &settings).await;
    world.pass_until(async || calls.lock().unwrap().get(&Method::RunnerHeartbeat).copied() >= Some(2)).await;
    calls.lock().unwrap().clear();
    let start = world.clock.monotonic();
    world.pass_until(async || world.clock.monotonic() - start >= Duration::from_secs(60)).await;
    let counted = calls.lock().unwrap().clone();
    assert!(counted[&Method::BellDue] <= 62, "{counted:?}");
    assert!(
        counted.keys().all(|method| matches!(
            method,
            Method::BellDue
                | Method::RunnerHeartbeat
                | Method::RunnerList
                | Method::TaskHeld
                | Method::PlaceRepair
                | Method::ExecutionPrune
                | Method::ExecutionOldest
                | Method::RetentionTake
                | Method::RetentionNote
        )),
        "{counted:?}"
    );
    for once_a_lease in [Method::TaskHeld, Method::PlaceRepair] {
        assert!(counted.get(&once_a_lease).is_none_or(|asked| *asked <= 3), "{counted:?}");
    }
    assert_eq!(hub.open_places(), 1);
    in_time(server.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_take_turns_where_few_places_may_be_open() {
    let world = World::new();
    let gate = Gate::new();
    let workflows = || vec![workflow("w", [gate.task("t")])];
    let mut ids = Vec::new();
    for n in 0..6 {
        let tenant = format!("t{n}");
        for _ in 0..5 {
            ids.push((tenant.clone(), world.submit(&tenant, workflows(), Duration::ZERO).await));
        }
    }
    let mut settings = serving(world.settings(workflows()));
    settings.max_served_places = 2;
    settings.max_concurrent_tasks = 1;
    let hub = world.hub(&settings);
    let server = open(&hub, "acme", &settings).await;
    let mut seen: Vec<String> = Vec::new();
    for n in 0..ids.len() {
        world.pass_until(async || gate.has_started().await).await;
        let started = gate.started().await.execution_id();
        let (tenant, _) = ids.iter().find(|(_, id)| *id == started).unwrap();
        assert!(hub.open_places() <= 3, "the server's own and two more");
        // Each goes on for longer than a turn.
        world.clock.advance(Duration::from_secs(6));
        gate.open(1);
        if !seen.contains(tenant) {
            seen.push(tenant.clone());
            // If two had to be done with all their work before another one begins, the last would begin after
            // twenty.
            assert!(n < 20, "{tenant} begins as number {n}");
        }
    }
    assert_eq!(seen.len(), 6);
    for (tenant, id) in ids {
        world.pass_until(async || world.status(&tenant, id).await == ExecutionStatus::Completed).await;
    }
    in_time(server.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_cannot_be_opened_is_put_aside_and_disturbs_nobody() {
    let world = World::new();
    let workflows = || vec![workflow("w", [idle("t")])];
    let first = world.submit("globex", workflows(), Duration::ZERO).await;
    let broken = Arc::new(AtomicBool::new(true));
    let tries = Arc::new(Mutex::new(0));
    let (breaks, counted) = (Arc::clone(&broken), Arc::clone(&tries));
    // The one that is asked for first is broken.
    let store = FaultyStore::new(Arc::new(world.database.open()), move |call| {
        if call.method == Method::PlaceOf && call.moment == Moment::Before && breaks.load(Ordering::Relaxed) {
            *counted.lock().unwrap() += 1;
            return Verdict::Fail(StoreErrorKind::Version);
        }
        Verdict::Pass
    });
    let settings = serving(world.settings(workflows()));
    let hub = Hub::start(store, &settings);
    let server = open(&hub, "acme", &settings).await;
    let start = world.clock.monotonic();
    world
        .pass_until(async || {
            assert!(server.execute("w", Context::new()).await.unwrap().status.is_success());
            world.clock.monotonic() - start > Duration::from_secs(120)
        })
        .await;
    let tried = *tries.lock().unwrap();
    assert!((4..=9).contains(&tried), "once, and then after 1, 2, 4, … 60 s: {tried}");
    broken.store(false, Ordering::Relaxed);
    world.pass_until(async || world.status("globex", first).await == ExecutionStatus::Completed).await;
    in_time(server.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_a_handle_on_a_served_place_ends_nothing() {
    let world = World::new();
    let gate = Gate::new();
    let workflows = || vec![workflow("w", [gate.task("t")])];
    let first = world.submit("globex", workflows(), Duration::ZERO).await;
    let settings = serving(world.settings(workflows()));
    let hub = world.hub(&settings);
    let server = open(&hub, "acme", &settings).await;
    world.pass_until(async || gate.has_started().await).await;
    let info = gate.started().await;
    // A handle of its own shares what runs.
    let own = open(&hub, "globex", &world.settings(workflows())).await;
    assert_eq!(own.get_execution_status(first).await.unwrap(), ExecutionStatus::Running);
    let second = own.execute_async("w", Context::new()).await.unwrap().execution_id;
    let other = gate.started().await;
    in_time(own.shutdown()).await.unwrap();
    assert!(!info.cancellation().is_cancelled() && !other.cancellation().is_cancelled());
    gate.open(2);
    for id in [first, second] {
        until(async || world.status("globex", id).await == ExecutionStatus::Completed).await;
    }
    // With the runner that serves it ends.
    world.submit("globex", workflows(), Duration::ZERO).await;
    world.pass_until(async || gate.has_started().await).await;
    let last = gate.started().await;
    let stopping = tokio::spawn(async move { server.shutdown().await });
    world.pass_until(async || last.cancellation().is_cancelled()).await;
    world.pass_until(async || stopping.is_finished()).await;
    assert!(hub.is_closed());
}

#[cfg(feature = "postgres")]
mod postgres {
    use super::*;
    use crate::support::{Database, setting};
    use crate::tenant::schemas::{query, sql};

    const EXECUTIONS: &str =
        "SELECT coalesce(string_agg(state, ' ' ORDER BY workflow), '') FROM globex.workflow_executions";

    async fn submitted(database: &Database, workflows: Vec<Workflow>) -> Vec<uuid::Uuid> {
        let names: Vec<String> = workflows.iter().map(|workflow| workflow.name().to_owned()).collect();
        let runner = database.of("globex").configured(quick().submit_only(true), workflows).await;
        let mut ids = Vec::new();
        for name in names {
            let mut submission = runner.submit(&name);
            let soon = SystemClock.now() + Duration::from_millis(1500);
            match name.as_str() {
                "delayed" => submission = submission.start_at(soon),
                "deadline" => submission = submission.start_at(jiff::Timestamp::MAX).deadline(soon),
                _ => {}
            }
            ids.push(submission.send().await.unwrap().execution_id);
        }
        runner.shutdown().await.unwrap();
        ids
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn delays_retries_and_deadlines_of_a_tenant_that_nobody_opened_come_true() {
        let database = Database::postgres().await;
        let workflows = || {
            let policy =
                RetryPolicy { attempts: 3, base: Duration::from_millis(300), ..RetryPolicy::DEFAULT };
            let flaky = task("t", |context| async move {
                if context.task().attempt() < 3 { Err("not yet".into()) } else { Ok(context) }
            });
            vec![
                workflow("deadline", [idle("t")]),
                workflow("delayed", [idle("t")]),
                workflow("now", [setting("a", "a", 1), idle("b").dependencies(["a"])]),
                workflow("retried", [flaky.retry(policy)]),
            ]
        };
        submitted(&database, workflows()).await;
        let server = database.configured(quick().serve_all_tenants(true), workflows()).await;
        until(async || query(&database.url, EXECUTIONS).await == "cancelled completed completed completed")
            .await;
        in_time(server.shutdown()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_tenant_whose_schema_is_gone_disturbs_no_other() {
        let database = Database::postgres().await;
        let workflows = || vec![workflow("w", [idle("t")])];
        submitted(&database, workflows()).await;
        let gone = database.of("initech").configured(quick().submit_only(true), workflows()).await;
        gone.execute_async("w", Context::new()).await.unwrap();
        gone.shutdown().await.unwrap();
        sql(&database.url, "DROP SCHEMA initech CASCADE").await;
        let server = database.configured(quick().serve_all_tenants(true), workflows()).await;
        until(async || query(&database.url, EXECUTIONS).await == "completed").await;
        for _ in 0..20 {
            assert!(server.execute("w", Context::new()).await.unwrap().status.is_success());
        }
        in_time(server.shutdown()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_place_that_is_open_for_submissions_only_is_served_as_well() {
        let database = Database::postgres().await;
        let workflows = || vec![workflow("w", [setting("t", "done", true)])];
        let server = database.configured(quick().serve_all_tenants(true), workflows()).await;
        let submits = database.of("globex").configured(quick().submit_only(true), workflows()).await;
        let result = in_time(submits.execute("w", Context::new())).await.unwrap();
        assert_eq!(result.final_context.get::<bool>("done"), Some(true));
        in_time(submits.shutdown()).await.unwrap();
        in_time(server.shutdown()).await.unwrap();
    }
}
