//! Tenants that share tables, through the public API.

use std::sync::Arc;
use std::time::Duration;

use cloacina::database::{
    AdminErrorKind, Database as AdminDatabase, DatabaseAdmin, Placement, TenantLimits, TenantState,
};
use cloacina::runner::{Runner, RunnerConfig};
use cloacina::{Context, ErrorKind, ExecutionFilter, ExecutionStatus, Schedule, ScheduleState};
use cloacina_core::clock::Clock as _;
use cloacina_testing::clock::ManualClock;
use cloacina_testing::cluster::Cluster;

use crate::support::{assert_error, idle, until, workflow};
use crate::tenant::schemas::{query, sql};

/// A database with an administrator and the URL of an operator's ordinary login.
pub(crate) async fn shared() -> (DatabaseAdmin, String) {
    let cluster = Cluster::shared().unwrap();
    let url = cluster.fresh_database().await.unwrap();
    cluster.make_administrator(&url).await.unwrap();
    let admin = DatabaseAdmin::new(AdminDatabase::new(&url, url.rsplit('/').next().unwrap(), 1));
    let operator = cluster.ordinary_login(&url).await.unwrap();
    admin.create_shared_tenant("acme").await.unwrap();
    admin.create_shared_tenant("globex").await.unwrap();
    admin.allow_operator(operator.split("://").nth(1).unwrap().split(':').next().unwrap()).await.unwrap();
    (admin, operator)
}

/// The URL of an operator's ordinary login, and more tenants than two.
async fn many() -> (String, Vec<String>) {
    let (admin, url) = shared().await;
    let mut tenants = vec!["acme".to_owned(), "globex".to_owned()];
    for number in 0..20 {
        let name = format!("t{number}");
        admin.create_shared_tenant(&name).await.unwrap();
        tenants.push(name);
    }
    (url, tenants)
}

async fn runner(url: &str, tenant: &str) -> Runner {
    let config = RunnerConfig::builder().workflow(workflow("w", [idle("t")])).build();
    Runner::builder().database_url(url).tenant(tenant).config(config).build().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_runs_and_lists_its_own_executions() {
    let (_admin, url) = shared().await;
    let (acme, globex) = (runner(&url, "acme").await, runner(&url, "globex").await);
    assert_eq!((acme.place(), globex.place()), ("acme", "globex"));
    for _ in 0..3 {
        assert!(acme.execute("w", Context::new()).await.unwrap().status.is_success());
    }
    let theirs = globex.execute("w", Context::new()).await.unwrap();
    assert_eq!(acme.list_executions().await.unwrap().len(), 3);
    assert_eq!(globex.list_executions().await.unwrap().len(), 1);
    let error = acme.get_execution_status(theirs.execution_id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    acme.shutdown().await.unwrap();
    globex.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_taken_once_and_unknown_ones_say_so() {
    let (admin, url) = shared().await;
    for name in ["acme", "ACME", "../x", "x host=evil", "", "cloacina_shared"] {
        let error = admin.create_shared_tenant(name).await.unwrap_err();
        assert!(
            matches!(error.kind(), AdminErrorKind::AlreadyExists | AdminErrorKind::Configuration),
            "{name}: {error}"
        );
    }
    let missing = Runner::builder().database_url(&url).tenant("nobody").build().await.unwrap_err();
    assert_error(&missing, ErrorKind::Place, "there is no tenant that is called `nobody`");
    let both = Runner::builder().database_url(&url).tenant("acme").schema("acme").build().await.unwrap_err();
    assert_error(&both, ErrorKind::Configuration, "name one of them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_limits_suspends_and_removes_one_of_them_alone() {
    let (admin, url) = shared().await;
    let (acme, globex) = (runner(&url, "acme").await, runner(&url, "globex").await);
    assert!(acme.execute("w", Context::new()).await.unwrap().status.is_success());

    let mut limits = TenantLimits::default();
    limits.max_queue_length = Some(7);
    limits.max_waiting = Some(8);
    admin.set_limits("acme", limits).await.unwrap();
    admin.suspend("acme").await.unwrap();
    let tenants = admin.list_tenants().await.unwrap();
    let of = |name: &str| tenants.iter().find(|tenant| tenant.name == name).unwrap();
    assert_eq!((of("acme").state, of("globex").state), (TenantState::Suspended, TenantState::Active));
    assert_eq!((of("acme").limits.max_queue_length, of("acme").limits.max_waiting), (Some(7), Some(8)));
    assert!(of("acme").placement == Placement::Shared && tenants.len() == 2);
    // One that was recorded before waits until the tenant may go on.
    until(async || {
        let submitted = acme.execute_async("w", Context::new()).await;
        submitted.is_err_and(|error| error.kind() == ErrorKind::Suspended)
    })
    .await;
    assert!(globex.execute("w", Context::new()).await.unwrap().status.is_success());
    admin.resume("acme").await.unwrap();
    until(async || {
        acme.execute("w", Context::new()).await.is_ok_and(|done| done.status == ExecutionStatus::Completed)
    })
    .await;
    acme.shutdown().await.unwrap();

    for (schema, login) in [("acme", "acme"), ("cloacina_shared", "cloacina_app")] {
        assert!(admin.remove_tenant(schema, login).await.is_err(), "{schema}");
    }
    assert!(admin.verify_tenant("acme").await.is_err());
    admin.remove_shared_tenant("acme", Duration::from_secs(5)).await.unwrap();
    let again = admin.remove_shared_tenant("acme", Duration::ZERO).await.unwrap_err();
    assert_eq!(again.kind(), AdminErrorKind::NotFound);
    assert_eq!(globex.list_executions().await.unwrap().len(), 1);
    admin.create_shared_tenant("acme").await.unwrap();
    let anew = runner(&url, "acme").await;
    assert_eq!(anew.list_executions().await.unwrap().len(), 0);
    assert!(admin.migrate_tenants(&[]).await.unwrap().is_empty());
    anew.shutdown().await.unwrap();
    globex.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedules_of_many_tenants_fire_once_each_beside_one_that_the_database_refuses() {
    let (url, tenants) = many().await;
    let clock = ManualClock::new();
    let hour = Duration::from_secs(3600);
    let due = clock.now() + hour;
    let mut runners = Vec::new();
    for tenant in &tenants {
        let config = RunnerConfig::builder().clock(Arc::new(clock.clone())).lease(hour * 24);
        let config = config.workflow(workflow("w", [idle("t")])).build();
        let runner =
            Runner::builder().database_url(&url).tenant(tenant).config(config).build().await.unwrap();
        for name in ["a", "b", "c"] {
            runner.schedules().put(Schedule::new(name, "w").at(due)).await.unwrap();
        }
        runners.push(runner);
    }
    // Nothing can be noted of a time before 1970.
    let spoil = "UPDATE cloacina_shared.schedules
        SET progress = '{\"buffered\": [{\"nominal\": \"1066-10-14T00:00:00Z\"}]}'
        WHERE name = 'a' AND tenant_id = (SELECT tenant_id FROM cloacina.tenant WHERE name = 'acme')";
    let spoilt = Cluster::shared().unwrap().superuser_url_of(&url);
    query(&spoilt, &format!("WITH spoilt AS ({spoil} RETURNING 1) SELECT count(*)::text FROM spoilt")).await;
    clock.advance(hour);
    for (tenant, runner) in tenants.iter().zip(&runners) {
        let fired = if tenant == "acme" { 2 } else { 3 };
        until(async || {
            let filter = ExecutionFilter::all().status(ExecutionStatus::Completed);
            runner.list(filter, None, 10).await.unwrap().len() == fired
        })
        .await;
        assert_eq!(runner.list_executions().await.unwrap().len(), fired, "{tenant}");
    }
    let schedules = runners[0].schedules();
    until(async || schedules.get("a").await.unwrap().state == ScheduleState::Broken).await;
    assert_eq!(schedules.get("b").await.unwrap().state, ScheduleState::Done);
    for runner in runners {
        runner.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executions_by_name_of_many_tenants_get_their_tasks_beside_one_that_the_database_refuses() {
    let (url, tenants) = many().await;
    let clock = ManualClock::new();
    let hour = Duration::from_secs(3600);
    let due = clock.now() + hour;
    let mut runners = Vec::new();
    for (number, tenant) in tenants.iter().enumerate() {
        let config = || RunnerConfig::builder().clock(Arc::new(clock.clone())).lease(hour * 24);
        let open = async |config: RunnerConfig| {
            Runner::builder().database_url(&url).tenant(tenant).config(config).build().await.unwrap()
        };
        let submitter = open(config().submit_only(true).build()).await;
        // Some have more than there is room for where several share a transaction.
        let count = if number % 5 == 1 { 15 } else { 2 };
        for _ in 0..count {
            submitter.submit("w").by_name().start_at(due).send().await.unwrap();
        }
        submitter.shutdown().await.unwrap();
        let runner = open(config().workflow(workflow("w", [idle("t")])).build()).await;
        runners.push((runner, count));
    }
    let refuse = "DO $$ BEGIN
        CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''refused''; END';
        EXECUTE format(
            'CREATE TRIGGER refuse BEFORE UPDATE ON cloacina_shared.workflow_executions FOR EACH ROW
             WHEN (NEW.tenant_id = %L) EXECUTE FUNCTION public.refuse()',
            (SELECT tenant_id FROM cloacina.tenant WHERE name = 'acme'));
        END $$";
    sql(&Cluster::shared().unwrap().superuser_url_of(&url), refuse).await;
    // The time goes no further: nobody tries again.
    clock.advance(hour);
    for (runner, count) in &runners[1..] {
        until(async || {
            let filter = ExecutionFilter::all().status(ExecutionStatus::Completed);
            runner.list(filter, None, 100).await.unwrap().len() == *count
        })
        .await;
    }
    let pending = ExecutionFilter::all().status(ExecutionStatus::Pending);
    assert_eq!(runners[0].0.list(pending, None, 10).await.unwrap().len(), 2);
    for (runner, _) in runners {
        runner.shutdown().await.unwrap();
    }
}
