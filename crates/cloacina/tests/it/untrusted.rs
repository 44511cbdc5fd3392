//! Tenants with a database login of their own: untrusted neighbours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cloacina::{Context, ErrorKind, RunnerConfig, Workflow};
use cloacina_core::clock::Clock as _;
use cloacina_core::id::TenantId;
use cloacina_core::store::{PlaceName, Store, StoreErrorKind, TenantState, TenantStatus};
use cloacina_core::{Hub, PlaceRunner};
use cloacina_testing::faulty::{FaultyStore, Method, Moment, Verdict};
use cloacina_testing::memory::MemoryDatabase;

use crate::support::{assert_error, idle, in_time, quick, until, workflow};

/// A database in which `acme` has a login of its own.
async fn with_a_login() -> (MemoryDatabase, TenantId) {
    let database = MemoryDatabase::new();
    let acme = database.open().place_open(&PlaceName::Named("acme".to_owned())).await.unwrap();
    database.decide(acme.tenant, TenantStatus { has_login: true, ..TenantStatus::default() }, None);
    (database, acme.tenant)
}

fn settings(workflows: impl IntoIterator<Item = Workflow>) -> RunnerConfig {
    workflows.into_iter().fold(quick(), |settings, workflow| settings.workflow(workflow)).build()
}

async fn open(hub: &Arc<Hub>, tenant: &str, settings: &RunnerConfig) -> PlaceRunner {
    let name = PlaceName::Named(tenant.to_owned());
    PlaceRunner::open(Arc::clone(hub), name, settings.clone(), Vec::new()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_with_a_login_shares_no_flush_and_keeps_nobody_waiting() {
    let (database, acme) = with_a_login().await;
    let (locked, alone) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_locked, counted) = (Arc::clone(&locked), Arc::clone(&alone));
    let store = FaultyStore::new(Arc::new(database.open()), move |call| {
        if call.method == Method::Flush && call.tenant == Some(acme) {
            if is_locked.load(Ordering::Relaxed) {
                return Verdict::Fail(StoreErrorKind::Transient);
            }
            if call.moment == Moment::After {
                counted.fetch_add(call.submits, Ordering::Relaxed);
            }
        }
        Verdict::Pass
    });
    let settings = settings([workflow("w", [idle("a"), idle("b").dependencies(["a"])])]);
    let hub = Hub::start(store, &settings);
    let theirs = open(&hub, "acme", &settings).await;
    let mut others = Vec::new();
    for n in 0..6 {
        others.push(open(&hub, &format!("t{n}"), &settings).await);
    }
    // All at once, so that what may go together does.
    let all = |count: usize| {
        let runners = others.iter().chain([&theirs]);
        let executions: Vec<_> = (0..count)
            .flat_map(|_| runners.clone())
            .map(|runner| {
                let runner = runner.clone();
                tokio::spawn(async move { runner.execute("w", Context::new()).await })
            })
            .collect();
        executions
    };
    for execution in all(30) {
        assert!(in_time(execution).await.unwrap().unwrap().status.is_success());
    }
    assert_eq!(alone.load(Ordering::Relaxed), 30);
    locked.store(true, Ordering::Relaxed);
    let waits = tokio::spawn({
        let theirs = theirs.clone();
        async move { theirs.execute("w", Context::new()).await }
    });
    for _ in 0..20 {
        for other in &others {
            assert!(in_time(other.execute("w", Context::new())).await.unwrap().status.is_success());
        }
    }
    // It is not refused, and recorded once that is possible.
    assert!(!waits.is_finished());
    locked.store(false, Ordering::Relaxed);
    assert!(in_time(waits).await.unwrap().unwrap().status.is_success());
    assert_eq!(theirs.list_executions().await.unwrap().len(), 31);
    for runner in others.iter().chain([&theirs]) {
        in_time(runner.shutdown()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_with_a_login_does_not_wait_for_the_flush_of_another() {
    let (database, acme) = with_a_login().await;
    let names: Vec<String> = (0..6).map(|n| format!("t{n}")).collect();
    for (nth, name) in names.iter().enumerate() {
        let place = database.open().place_open(&PlaceName::Named(name.clone())).await.unwrap();
        let status = TenantStatus { has_login: nth % 2 == 0, ..TenantStatus::default() };
        database.decide(place.tenant, status, None);
    }
    let (locked, stuck) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_locked, counted) = (Arc::clone(&locked), Arc::clone(&stuck));
    let store = FaultyStore::with_aside(Arc::new(database.open()), move |call| {
        let theirs = call.method == Method::Flush && call.tenant == Some(acme);
        if theirs && is_locked.load(Ordering::Relaxed) {
            counted.fetch_add(1, Ordering::Relaxed);
            return Verdict::Delay(Duration::from_secs(3600));
        }
        Verdict::Pass
    });
    let settings = settings([workflow("w", [idle("a"), idle("b").dependencies(["a"])])]);
    let hub = Hub::start(store, &settings);
    let theirs = open(&hub, "acme", &settings).await;
    let mut others = Vec::new();
    for name in &names {
        others.push(open(&hub, name, &settings).await);
    }
    assert!(in_time(theirs.execute("w", Context::new())).await.unwrap().status.is_success());
    locked.store(true, Ordering::Relaxed);
    let start = || {
        let theirs = theirs.clone();
        tokio::spawn(async move { theirs.execute("w", Context::new()).await })
    };
    let first = start();
    until(async || stuck.load(Ordering::Relaxed) > 0).await;
    let second = start();
    for _ in 0..20 {
        for other in &others {
            assert!(in_time(other.execute("w", Context::new())).await.unwrap().status.is_success());
        }
    }
    // What comes of the same tenant waits for its turn.
    assert_eq!(stuck.load(Ordering::Relaxed), 1);
    first.abort();
    second.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_of_such_a_tenant_loses_and_repeats_nothing() {
    let (database, acme) = with_a_login().await;
    let flushes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&flushes);
    // Of every second flush the answer is lost.
    let store = FaultyStore::new(Arc::new(database.open()), move |call| {
        let lost = call.method == Method::Flush && call.tenant == Some(acme) && call.moment == Moment::After;
        if lost && counted.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return Verdict::Fail(StoreErrorKind::Unknown);
        }
        Verdict::Pass
    });
    let runs = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&runs);
    let task = crate::support::task("a", move |context| {
        counting.fetch_add(1, Ordering::Relaxed);
        async { Ok(context) }
    });
    let settings = settings([workflow("w", [task, idle("b").dependencies(["a"])])]);
    let hub = Hub::start(store, &settings);
    let theirs = open(&hub, "acme", &settings).await;
    for n in 1..=10 {
        let result = in_time(theirs.execute("w", Context::new())).await.unwrap();
        assert!(result.status.is_success(), "{result:?}");
        assert_eq!(runs.load(Ordering::Relaxed), n);
    }
    assert_eq!(theirs.list_executions().await.unwrap().len(), 10);
    in_time(theirs.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_its_rows_that_takes_long_keeps_nobody_waiting() {
    let (database, acme) = with_a_login().await;
    let (lost, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&looks);
    let store = FaultyStore::new(Arc::new(database.open()), move |call| {
        if matches!(call.method, Method::TaskHeld | Method::ExecutionLoad) {
            counted.fetch_add(1, Ordering::Relaxed);
            return Verdict::Delay(Duration::from_secs(3600));
        }
        // One answer is lost, so that the auditor looks.
        let theirs = call.method == Method::Flush && call.tenant == Some(acme);
        if theirs && call.moment == Moment::After && !lost.swap(true, Ordering::Relaxed) {
            return Verdict::Fail(StoreErrorKind::Unknown);
        }
        Verdict::Pass
    });
    let settings = settings([workflow("w", [idle("a"), idle("b").dependencies(["a"])])]);
    let hub = Hub::start(store, &settings);
    let theirs = open(&hub, "acme", &settings).await;
    let others = [
        open(&hub, "t0", &settings).await,
        open(&hub, "t1", &settings).await,
        open(&hub, "t2", &settings).await,
    ];
    let waits = tokio::spawn(async move { theirs.execute("w", Context::new()).await });
    until(async || looks.load(Ordering::Relaxed) > 0).await;
    for _ in 0..20 {
        for other in &others {
            assert!(in_time(other.execute("w", Context::new())).await.unwrap().status.is_success());
        }
    }
    waits.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_was_put_off_and_then_suspended_works_again_afterwards() {
    let (database, acme) = with_a_login().await;
    let locked = Arc::new(AtomicBool::new(true));
    let is_locked = Arc::clone(&locked);
    let store = FaultyStore::new(Arc::new(database.open()), move |call| {
        if call.method == Method::Flush && call.tenant == Some(acme) && is_locked.load(Ordering::Relaxed) {
            return Verdict::Fail(StoreErrorKind::Transient);
        }
        Verdict::Pass
    });
    let settings = settings([workflow("w", [idle("a")])]);
    let hub = Hub::start(store, &settings);
    let theirs = open(&hub, "acme", &settings).await;
    let submits: Vec<_> = (0..8)
        .map(|_| {
            let theirs = theirs.clone();
            tokio::spawn(async move { theirs.execute("w", Context::new()).await })
        })
        .collect();
    let status = |state| TenantStatus { has_login: true, state, ..TenantStatus::default() };
    database.decide(acme, status(TenantState::Suspended), None);
    for submit in submits {
        assert_error(&in_time(submit).await.unwrap().unwrap_err(), ErrorKind::Suspended, "`acme`");
    }
    locked.store(false, Ordering::Relaxed);
    database.decide(acme, status(TenantState::Active), None);
    until(async || !matches!(theirs.submit("w").send().await, Err(error) if error.kind() == ErrorKind::Suspended)).await;
    for _ in 0..8 {
        assert!(in_time(theirs.execute("w", Context::new())).await.unwrap().status.is_success());
    }
    in_time(theirs.shutdown()).await.unwrap();
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_locks_its_tables_waits_alone() {
    use crate::support::{Database, setting};
    use crate::tenant::schemas::sql;

    let database = Database::postgres().await;
    let workflows = || [workflow("w", [setting("a", "a", 1), idle("b").dependencies(["a"])])];
    let acme = database.runner(workflows()).await;
    sql(
        &database.url,
        "INSERT INTO cloacina.login (role_oid, tenant_id, role_name) SELECT 1, tenant_id, 'acme' FROM cloacina.tenant;
         INSERT INTO cloacina.notice (tenant_id, execution_id, created_at)
             SELECT tenant_id, '00000000-0000-0000-0000-000000000000', now() FROM cloacina.tenant",
    )
    .await;
    acme.shutdown().await.unwrap();
    let acme = database.runner(workflows()).await;
    let mut others = Vec::new();
    // More than there are lanes.
    for n in 0..8 {
        others.push(database.of(&format!("t{n}")).runner(workflows()).await);
    }
    let (client, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
        .batch_execute("BEGIN; LOCK TABLE acme.workflow_executions, acme.task_executions, acme.ready_tasks IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let waits = tokio::spawn({
        let acme = acme.clone();
        async move { acme.execute("w", Context::new()).await }
    });
    for other in &others {
        assert!(in_time(other.execute("w", Context::new())).await.unwrap().status.is_success());
    }
    assert!(!waits.is_finished());
    client.batch_execute("ROLLBACK").await.unwrap();
    assert!(in_time(waits).await.unwrap().unwrap().status.is_success());
    assert_error(&acme.execute("v", Context::new()).await.unwrap_err(), ErrorKind::Workflow, "`v`");
    for runner in others.iter().chain([&acme]) {
        in_time(runner.shutdown()).await.unwrap();
    }
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tenants_own_runner_can_run_counts_for_that_tenant_alone() {
    use cloacina::ExecutionStatus;
    use cloacina_testing::clock::ManualClock;

    use crate::support::Database;
    use crate::tenant::schemas::sql;

    let clock = ManualClock::new();
    let config = || quick().clock(Arc::new(clock.clone()));
    // Whatever waits in the engine waits by this clock.
    let ticking = tokio::spawn({
        let clock = clock.clone();
        async move {
            loop {
                clock.advance(Duration::from_secs(5));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let database = Database::postgres().await;
    let mut waiting = Vec::new();
    for tenant in ["acme", "globex"] {
        let submits =
            database.of(tenant).configured(config().submit_only(true), [workflow("old", [idle("t")])]).await;
        waiting.push(submits.execute_async("old", Context::new()).await.unwrap().execution_id);
        submits.shutdown().await.unwrap();
    }
    // The runner of acme says that it has what both of them wait for.
    sql(
        &database.url,
        "INSERT INTO cloacina.runner (id, tenant_id, lease_ms, workflows, fingerprints, heartbeat_at)
         SELECT gen_random_uuid(), tenant_id, 86400000, ARRAY['old'], ARRAY[fingerprint], now() FROM acme.workflow_executions",
    )
    .await;
    let acme = database.configured(config(), [workflow("new", [idle("t")])]).await;
    let globex = database.of("globex").configured(config(), [workflow("new", [idle("t")])]).await;
    until(async || globex.get_execution_status(waiting[1]).await.unwrap() == ExecutionStatus::Paused).await;
    let later = clock.monotonic() + Duration::from_secs(600);
    until(async || clock.monotonic() > later).await;
    assert_eq!(acme.get_execution_status(waiting[0]).await.unwrap(), ExecutionStatus::Pending);
    for runner in [acme, globex] {
        in_time(runner.shutdown()).await.unwrap();
    }
    ticking.abort();
}
