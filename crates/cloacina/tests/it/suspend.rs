//! What the operator decides about a tenant while it works.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cloacina::{Context, ErrorKind, ExecutionStatus, RunnerConfig, SignalReceipt, Wait, Workflow};
use cloacina_core::id::TenantId;
use cloacina_core::store::{PlaceName, Store, TenantLimits, TenantState, TenantStatus};
use cloacina_core::{Hub, PlaceRunner};
use cloacina_testing::clock::ManualClock;
use cloacina_testing::faulty::{FaultyStore, Method, Moment, Verdict};
use cloacina_testing::memory::MemoryDatabase;

use crate::support::{Gate, assert_error, idle, in_time, quick, until, workflow};

const HOUR: Duration = Duration::from_secs(3600);

struct World {
    database: MemoryDatabase,
    acme: TenantId,
    counts: Arc<AtomicUsize>,
    hub: Arc<Hub>,
    settings: RunnerConfig,
}

impl World {
    async fn new(settings: RunnerConfig) -> Self {
        let database = MemoryDatabase::new();
        let acme = database.open().place_open(&PlaceName::Named("acme".to_owned())).await.unwrap().tenant;
        let counts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&counts);
        let store = FaultyStore::new(Arc::new(database.open()), move |call| {
            if call.method == Method::ExecutionCount && call.moment == Moment::Before {
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Verdict::Pass
        });
        let hub = Hub::start(store, &settings);
        Self { database, acme, counts, hub, settings }
    }

    async fn open(&self, tenant: &str) -> PlaceRunner {
        let name = PlaceName::Named(tenant.to_owned());
        PlaceRunner::open(Arc::clone(&self.hub), name, self.settings.clone(), Vec::new())
            .await
            .unwrap()
            .unwrap()
    }

    fn decide(&self, state: TenantState) {
        self.database.decide(self.acme, TenantStatus { state, ..TenantStatus::default() }, None);
    }

    fn limit(&self, set: impl Fn(&mut TenantLimits)) {
        let mut limits = TenantLimits::default();
        set(&mut limits);
        self.database.decide(self.acme, TenantStatus { limits, ..TenantStatus::default() }, None);
    }
}

fn settings(workflows: impl IntoIterator<Item = Workflow>) -> RunnerConfig {
    workflows.into_iter().fold(quick(), |settings, workflow| settings.workflow(workflow)).build()
}

/// Submits so many at once and says how many were recorded; the others were refused for the limit.
async fn burst(runner: &PlaceRunner, count: usize) -> usize {
    let submits: Vec<_> = (0..count)
        .map(|_| {
            let runner = runner.clone();
            tokio::spawn(async move { runner.execute_async("w", Context::new()).await })
        })
        .collect();
    let mut recorded = 0;
    for submit in submits {
        match in_time(submit).await.unwrap() {
            Ok(_) => recorded += 1,
            Err(error) => assert_error(&error, ErrorKind::Limit, "max_queue_length"),
        }
    }
    recorded
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_tenant_stops_and_goes_on_by_itself_when_it_is_active_again() {
    let gate = Gate::new();
    let mut settings = settings([workflow("w", [gate.task("t")]), workflow("free", [idle("t")])]);
    settings.max_concurrent_tasks = 1;
    let world = World::new(settings).await;
    let (acme, globex) = (world.open("acme").await, world.open("globex").await);
    let running = acme.execute_async("w", Context::new()).await.unwrap();
    let ready = acme.execute_async("w", Context::new()).await.unwrap();
    let info = gate.started().await;
    let waiting = tokio::spawn({
        let running = running.clone();
        async move { running.wait_for_completion().await }
    });
    world.decide(TenantState::Suspended);
    in_time(info.cancellation().cancelled()).await;
    let words = "tenant `acme` is suspended";
    assert_error(&acme.execute("free", Context::new()).await.unwrap_err(), ErrorKind::Suspended, words);
    assert_error(&ready.pause().await.unwrap_err(), ErrorKind::Suspended, words);
    assert_error(&running.resume().await.unwrap_err(), ErrorKind::Suspended, words);
    // It does not end in time, and is given back.
    until(async || {
        let history = running.history().await.unwrap();
        history.last().unwrap().outcome == cloacina::AttemptOutcome::Released
    })
    .await;
    assert_eq!(acme.list_executions().await.unwrap().len(), 2);
    assert_eq!(ready.get_status().await.unwrap(), ExecutionStatus::Pending);
    for _ in 0..5 {
        assert!(in_time(globex.execute("free", Context::new())).await.unwrap().status.is_success());
    }
    assert!(!gate.has_started().await && !waiting.is_finished());
    world.decide(TenantState::Active);
    gate.started().await;
    gate.open(2);
    assert_eq!(in_time(waiting).await.unwrap().unwrap().status, ExecutionStatus::Completed);
    assert_eq!(in_time(ready.wait_for_completion()).await.unwrap().status, ExecutionStatus::Completed);
    for runner in [acme, globex] {
        in_time(runner.shutdown()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_tenant_takes_signals_and_its_waits_end_when_it_is_active_again() {
    let signal = Workflow::builder("signal").wait(Wait::signal("go")).build();
    let sleep = Workflow::builder("sleep").wait(Wait::sleep("pause", HOUR)).build();
    let clock = ManualClock::new();
    let mut settings = settings([signal, sleep]);
    settings.clock = Arc::new(clock.clone());
    let world = World::new(settings).await;
    let acme = world.open("acme").await;
    let signalled = acme.execute_async("signal", Context::new()).await.unwrap();
    let asleep = acme.execute_async("sleep", Context::new()).await.unwrap();
    until(async || !signalled.waits().await.unwrap().is_empty() && !asleep.waits().await.unwrap().is_empty())
        .await;
    world.decide(TenantState::Suspended);
    until(async || {
        clock.advance(Duration::from_millis(100));
        asleep.resume().await.is_err_and(|error| error.kind() == ErrorKind::Suspended)
    })
    .await;
    let receipt = signalled.signal("go", 7).send().await.unwrap();
    assert!(matches!(receipt, SignalReceipt::Delivered), "{receipt:?}");
    clock.advance(2 * HOUR);
    assert_eq!(signalled.waits().await.unwrap().len() + asleep.waits().await.unwrap().len(), 2);
    world.decide(TenantState::Active);
    until(async || {
        clock.advance(Duration::from_millis(100));
        signalled.get_status().await.unwrap().is_terminal()
            && asleep.get_status().await.unwrap().is_terminal()
    })
    .await;
    let result = in_time(signalled.wait_for_completion()).await.unwrap();
    assert_eq!(result.final_context, Context::new().with("go", 7));
    assert!(in_time(asleep.wait_for_completion()).await.unwrap().status.is_success());
    in_time(acme.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stopped_task_did_in_time_is_recorded() {
    let started = Arc::new(tokio::sync::Notify::new());
    let stops = crate::support::task("t", {
        let started = Arc::clone(&started);
        move |context| {
            let started = Arc::clone(&started);
            async move {
                started.notify_one();
                context.task().cancellation().cancelled().await;
                Ok(context.with("stopped", true))
            }
        }
    });
    let mut settings = settings([workflow("w", [stops, idle("next").dependencies(["t"])])]);
    settings.cancel_grace = Duration::from_secs(60);
    let world = World::new(settings).await;
    let acme = world.open("acme").await;
    let execution = acme.execute_async("w", Context::new()).await.unwrap();
    // Suspended before, it would not be stopped, but not be started.
    in_time(started.notified()).await;
    world.decide(TenantState::Suspended);
    until(async || {
        acme.get_execution(execution.execution_id).await.unwrap().final_context.value("stopped").is_some()
    })
    .await;
    let now = acme.get_execution(execution.execution_id).await.unwrap();
    assert_eq!(now.task_results[1].attempts, 0);
    world.decide(TenantState::Active);
    assert!(in_time(execution.wait_for_completion()).await.unwrap().status.is_success());
    in_time(acme.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_tenant_that_is_removed_is_told() {
    let gate = Gate::new();
    let world = World::new(settings([workflow("w", [gate.task("t")])])).await;
    let acme = world.open("acme").await;
    let waiting = tokio::spawn({
        let acme = acme.clone();
        async move { acme.execute("w", Context::new()).await }
    });
    gate.started().await;
    world.decide(TenantState::Removing);
    let error = in_time(waiting).await.unwrap().unwrap_err();
    assert_error(&error, ErrorKind::Suspended, "tenant `acme` is removing");
    in_time(acme.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_is_served_is_left_alone_while_it_is_suspended() {
    let mut settings = settings([workflow("w", [idle("t")])]);
    let world = World::new(settings.clone()).await;
    settings.submit_only = true;
    let submits = Hub::start(Arc::new(world.database.open()), &settings);
    let name = PlaceName::Named("acme".to_owned());
    let acme = PlaceRunner::open(submits, name, settings.clone(), Vec::new()).await.unwrap().unwrap();
    let execution = acme.execute_async("w", Context::new()).await.unwrap();
    world.decide(TenantState::Suspended);
    settings.submit_only = false;
    settings.serve_all_tenants = true;
    let server = PlaceRunner::open(Arc::clone(&world.hub), PlaceName::Default, settings, Vec::new())
        .await
        .unwrap()
        .unwrap();
    assert!(server.execute("w", Context::new()).await.unwrap().status.is_success());
    assert!(execution.wait_for(Duration::from_millis(100)).await.unwrap().is_none());
    world.decide(TenantState::Active);
    assert!(in_time(execution.wait_for_completion()).await.unwrap().status.is_success());
    in_time(server.shutdown()).await.unwrap();
    in_time(acme.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_smaller_of_two_limits_on_running_tasks_holds_and_may_change() {
    let gate = Gate::new();
    let world = World::new(settings([workflow("w", [gate.task("t")])])).await;
    world.limit(|limits| limits.max_concurrent_tasks = Some(1));
    let acme = world.open("acme").await;
    for _ in 0..4 {
        acme.execute_async("w", Context::new()).await.unwrap();
    }
    gate.started().await;
    assert!(!gate.has_started().await);
    world.limit(|limits| limits.max_concurrent_tasks = Some(3));
    gate.started().await;
    gate.started().await;
    assert!(!gate.has_started().await);
    gate.open(4);
    gate.started().await;
    in_time(acme.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_executions_are_recorded_than_a_tenant_may_have() {
    let gate = Gate::new();
    let mut settings = settings([workflow("w", [gate.task("t")])]);
    settings.max_queue_length = Some(50);
    let world = World::new(settings).await;
    let acme = world.open("acme").await;
    assert_eq!(burst(&acme, 300).await, 50);
    assert_eq!(acme.list_executions().await.unwrap().len(), 50);
    // The smaller one counts, and what ended makes room.
    world.limit(|limits| limits.max_queue_length = Some(20));
    gate.open(40);
    until(async || {
        let listed = acme.list_executions().await.unwrap();
        listed.iter().filter(|execution| !execution.status.is_terminal()).count() == 10
    })
    .await;
    assert_eq!(burst(&acme, 100).await, 10);
    // It is cancelled by another process.
    let other = Hub::start(Arc::new(world.database.open()), &world.settings);
    let mut submits = world.settings.clone();
    submits.submit_only = true;
    let other = PlaceRunner::open(other, PlaceName::Named("acme".to_owned()), submits, Vec::new())
        .await
        .unwrap()
        .unwrap();
    for open in other.list_executions().await.unwrap().iter().filter(|one| !one.status.is_terminal()).take(5)
    {
        other.execution(open.execution_id).cancel().await.unwrap();
    }
    let recorded = AtomicUsize::new(0);
    until(async || {
        let more = burst(&acme, 10).await;
        recorded.fetch_add(more, Ordering::Relaxed) + more == 5
    })
    .await;
    gate.open(1000);
    in_time(acme.shutdown()).await.unwrap();
    in_time(other.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_far_away_costs_no_statement_for_each_submission() {
    let mut settings = settings([workflow("w", [idle("t")])]);
    settings.max_queue_length = Some(10_000);
    let world = World::new(settings).await;
    let acme = world.open("acme").await;
    let start = std::time::Instant::now();
    for _ in 0..200 {
        assert!(acme.execute("w", Context::new()).await.unwrap().status.is_success());
    }
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
    let counts = world.counts.load(Ordering::Relaxed);
    assert!((1..=2 + seconds).contains(&counts), "{counts} in {seconds} s");
    in_time(acme.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_smaller_of_two_limits_on_the_input_holds() {
    let world = World::new(settings([workflow("w", [idle("t")])])).await;
    let acme = world.open("acme").await;
    let input = || Context::new().with("text", "x".repeat(100));
    assert!(acme.execute("w", input()).await.unwrap().status.is_success());
    world.limit(|limits| limits.max_context_bytes = Some(50));
    until(async || acme.execute("w", input()).await.is_err()).await;
    assert_error(&acme.execute("w", input()).await.unwrap_err(), ErrorKind::Context, "50 allowed");
    in_time(acme.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_for_the_operator_only_is_not_submitted_where_the_tenant_has_a_login() {
    let only = Workflow::builder("only").task(idle("t")).operator_only().build();
    let world = World::new(settings([only, workflow("w", [idle("t")])])).await;
    let status = TenantStatus { has_login: true, ..TenantStatus::default() };
    world.database.decide(world.acme, status, None);
    let (acme, globex) = (world.open("acme").await, world.open("globex").await);
    let error = acme.execute("only", Context::new()).await.unwrap_err();
    assert_error(&error, ErrorKind::Workflow, "for the operator only");
    assert!(acme.execute("w", Context::new()).await.unwrap().status.is_success());
    assert!(globex.execute("only", Context::new()).await.unwrap().status.is_success());
    for runner in [acme, globex] {
        in_time(runner.shutdown()).await.unwrap();
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use super::*;
    use crate::support::Database;
    use crate::tenant::schemas::{query, sql};

    const CHANGED: &str = "INSERT INTO cloacina.notice (tenant_id, execution_id, created_at)
        SELECT tenant_id, '00000000-0000-0000-0000-000000000000', now() FROM cloacina.tenant WHERE schema_name = 'acme'";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_tenant_is_suspended_and_limited_within_a_second_or_two() {
        let database = Database::postgres().await;
        let gate = Gate::new();
        let workflows = || [workflow("w", [gate.task("t")]), workflow("free", [idle("t")])];
        let (acme, globex) =
            (database.runner(workflows()).await, database.of("globex").runner(workflows()).await);
        let execution = acme.execute_async("w", Context::new()).await.unwrap();
        let info = gate.started().await;
        let decide =
            |what: &str| format!("UPDATE cloacina.tenant SET {what} WHERE schema_name = 'acme'; {CHANGED}");
        sql(&database.url, &decide("state = 'suspended'")).await;
        in_time(info.cancellation().cancelled()).await;
        let error = acme.execute("free", Context::new()).await.unwrap_err();
        assert_error(&error, ErrorKind::Suspended, "`acme`");
        // What is there may be read, also by who opens it now.
        let reads = database.runner(workflows()).await;
        assert_eq!(reads.list_executions().await.unwrap().len(), 1);
        assert!(globex.execute("free", Context::new()).await.unwrap().status.is_success());
        sql(&database.url, &decide("state = 'active', max_queue_length = 1")).await;
        gate.started().await;
        assert_error(&acme.execute("free", Context::new()).await.unwrap_err(), ErrorKind::Limit, "`acme`");
        gate.open(2);
        assert!(in_time(execution.wait_for_completion()).await.unwrap().status.is_success());
        assert!(acme.execute("free", Context::new()).await.unwrap().status.is_success());
        for runner in [acme, globex, reads] {
            in_time(runner.shutdown()).await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_execution_for_the_operator_only_that_a_tenant_wrote_itself_is_never_run() {
        let database = Database::postgres().await;
        let only = || Workflow::builder("only").task(idle("t")).operator_only().build();
        let workflows = || [only(), workflow("w", [idle("t")])];
        let submits = database.configured(quick().submit_only(true), workflows()).await;
        let written = submits.execute_async("only", Context::new()).await.unwrap().execution_id;
        let disguised = submits.execute_async("only", Context::new()).await.unwrap().execution_id;
        submits.shutdown().await.unwrap();
        // The second one is announced as a workflow that anybody may start, and was begun before.
        sql(&database.url, &format!(
            "INSERT INTO cloacina.login (role_oid, tenant_id, role_name) SELECT 1, tenant_id, 'acme' FROM cloacina.tenant;
             UPDATE acme.workflow_executions SET state = 'running', started_at = now() WHERE id = '{disguised}'"
        )).await;
        let acme = database.runner(workflows()).await;
        let sound = acme.execute_async("w", Context::new()).await.unwrap();
        assert!(in_time(sound.wait_for_completion()).await.unwrap().status.is_success());
        sql(&database.url, &format!(
            "UPDATE acme.ready_tasks SET workflow = 'w', fingerprint =
                 (SELECT fingerprint FROM acme.workflow_executions WHERE workflow = 'w') WHERE execution_id = '{disguised}'"
        )).await;
        let result = in_time(acme.execution(disguised).wait_for_completion()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Cancelled);
        assert!(result.error_message.unwrap().contains("for the operator only"));
        let state = format!("SELECT state FROM acme.workflow_executions WHERE id = '{written}'");
        assert_eq!(query(&database.url, &state).await, "pending");
        in_time(acme.shutdown()).await.unwrap();
    }
}
