//! What the engine has to do at a time, whatever else it has to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cloacina::{Context, ExecutionStatus, RunnerConfig};
use cloacina_core::clock::Clock;
use cloacina_core::id::TenantId;
use cloacina_core::store::{PlaceName, Store, TenantState, TenantStatus};
use cloacina_core::{Hub, PlaceRunner};
use cloacina_testing::clock::ManualClock;
use cloacina_testing::faulty::{FaultyStore, Method, Moment, Verdict};
use cloacina_testing::memory::MemoryDatabase;
use uuid::Uuid;

use crate::support::{Gate, idle, in_time, quick, workflow};

/// A database in memory whose time a test moves, and a runner with one slot on it.
struct World {
    database: MemoryDatabase,
    clock: ManualClock,
    gate: Gate,
    /// How often due rows were taken, and how often it was looked what is due.
    settled: Arc<AtomicUsize>,
    looked: Arc<AtomicUsize>,
}

impl World {
    fn new() -> Self {
        Self {
            database: MemoryDatabase::new(),
            clock: ManualClock::new(),
            gate: Gate::new(),
            settled: Arc::default(),
            looked: Arc::default(),
        }
    }

    fn settings(&self) -> RunnerConfig {
        quick()
            .clock(Arc::new(self.clock.clone()))
            .max_concurrent_tasks(1)
            .workflow(workflow("gated", [self.gate.task("t")]))
            .workflow(workflow("w", [idle("t")]))
            .build()
    }

    async fn open(&self, settings: RunnerConfig) -> PlaceRunner {
        let (settled, looked) = (Arc::clone(&self.settled), Arc::clone(&self.looked));
        let store = FaultyStore::new(Arc::new(self.database.open()), move |call| {
            match (call.method, call.moment) {
                (Method::DueSettle, Moment::Before) => drop(settled.fetch_add(1, Ordering::Relaxed)),
                (Method::BellLower, Moment::Before) => drop(looked.fetch_add(1, Ordering::Relaxed)),
                _ => {}
            }
            Verdict::Pass
        });
        let hub = Hub::start(store, &settings);
        let name = PlaceName::Named("acme".to_owned());
        PlaceRunner::open(hub, name, settings, Vec::new()).await.unwrap().unwrap()
    }

    /// A process that records executions with a deadline, and is gone.
    async fn submit_elsewhere(&self, deadline: Duration, count: usize) -> Vec<Uuid> {
        let mut settings = self.settings();
        settings.submit_only = true;
        let runner = self.open(settings).await;
        let mut ids = Vec::new();
        for _ in 0..count {
            let submission = runner.submit("w").deadline(self.clock.now() + deadline);
            ids.push(submission.send().await.unwrap().execution_id);
        }
        in_time(runner.shutdown()).await.unwrap();
        ids
    }

    /// Moves the time on until something holds; for how long that was.
    async fn pass_until(&self, holds: impl AsyncFn() -> bool) -> Duration {
        let begun = self.clock.monotonic();
        in_time(async {
            while !holds().await {
                self.clock.advance(Duration::from_millis(250));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        self.clock.monotonic() - begun
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_are_kept_while_all_slots_are_taken() {
    let world = World::new();
    let runner = world.open(world.settings()).await;
    let running = runner.execute_async("gated", Context::new()).await.unwrap();
    let info = world.gate.started().await;
    // The runner knows of work that it has no slot for; then another process records more.
    runner.execute_async("w", Context::new()).await.unwrap();
    let late = world.submit_elsewhere(Duration::from_secs(20), 3).await;
    let cancelled = async || {
        let mut statuses = Vec::new();
        for id in &late {
            statuses.push(runner.get_execution_status(*id).await.unwrap());
        }
        statuses.iter().all(|status| *status == ExecutionStatus::Cancelled)
    };
    let passed = world.pass_until(cancelled).await;
    assert!(passed >= Duration::from_secs(20) && passed < Duration::from_secs(30), "{passed:?}");
    assert!(!info.cancellation().is_cancelled(), "its slot was not given back");
    assert_eq!(running.get_status().await.unwrap(), ExecutionStatus::Running);
    world.gate.open(1);
    world.pass_until(async || running.get_status().await.unwrap().is_success()).await;
    in_time(runner.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_deadlines_of_one_moment_pass_without_a_pause() {
    let world = World::new();
    let runner = world.open(world.settings()).await;
    runner.execute_async("gated", Context::new()).await.unwrap();
    world.gate.started().await;
    let late = world.submit_elsewhere(Duration::from_secs(20), 3_500).await;
    world.clock.advance(Duration::from_secs(20));
    let last = async || {
        for id in late.iter().rev() {
            if runner.get_execution_status(*id).await.unwrap() != ExecutionStatus::Cancelled {
                return false;
            }
        }
        true
    };
    let passed = world.pass_until(last).await;
    assert!(passed < Duration::from_secs(10), "{passed:?}");
    let settled = world.settled.load(Ordering::Relaxed);
    assert!((4..=8).contains(&settled), "a thousand at once: {settled}");
    world.gate.open(1);
    in_time(runner.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_passes_while_the_tenant_is_suspended_is_kept_when_it_is_active_again() {
    let world = World::new();
    let acme: TenantId = {
        let store = world.database.open();
        store.place_open(&PlaceName::Named("acme".to_owned())).await.unwrap().tenant
    };
    let decide = |state| {
        let status = TenantStatus { state, ..TenantStatus::default() };
        world.database.decide(acme, status, Some(world.clock.now()));
    };
    let runner = world.open(world.settings()).await;
    let at = world.clock.now() + Duration::from_secs(20);
    let late = runner.submit("w").start_at(jiff::Timestamp::MAX).deadline(at).send().await.unwrap();
    decide(TenantState::Suspended);
    world.pass_until(async || runner.execute_async("w", Context::new()).await.is_err()).await;
    let passed = world.clock.now() + Duration::from_secs(60);
    world.pass_until(async || world.clock.now() > passed).await;
    assert_eq!(late.get_status().await.unwrap(), ExecutionStatus::Pending);
    assert_eq!(world.settled.load(Ordering::Relaxed), 0);
    decide(TenantState::Active);
    world.pass_until(async || late.get_status().await.unwrap() == ExecutionStatus::Cancelled).await;
    in_time(runner.shutdown()).await.unwrap();
}
