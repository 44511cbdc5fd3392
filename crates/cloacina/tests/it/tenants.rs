//! Many tenants by their names.

use std::collections::BTreeSet;
use std::time::Duration;

use cloacina::audit::Actor;
use cloacina::keys::NewKey;
use cloacina::tenants::{Placement, TenantLimits, TenantManager, TenantManagerBuilder};
use cloacina::{
    Ask, Context, ErrorKind, ExecutionFilter, ExecutionStatus, Retention, RetryPolicy, RunnerConfig,
    Schedule, ScheduleState, Task as _, TaskError, Triggered, Wait, Workflow,
};
use cloacina_core::clock::{Clock as _, ManualClock, SystemClock};

use crate::given::Mailer;
use crate::keys::new_key;
use crate::support::{Gate, assert_error, in_time, quick, setting, task, until, workflow};

/// A place for a manager's tenants, which several managers may use.
#[derive(Clone)]
enum Home {
    #[cfg(feature = "sqlite")]
    Directory(std::sync::Arc<tempfile::TempDir>),
    #[cfg(feature = "postgres")]
    Shared(String),
    #[cfg(feature = "postgres")]
    Administered(std::sync::Arc<crate::admin::Administered>, Placement),
}

impl Home {
    fn builder(&self) -> TenantManagerBuilder {
        let builder = match self {
            #[cfg(feature = "sqlite")]
            Self::Directory(directory) => TenantManager::sqlite(directory.path().join("tenants")),
            #[cfg(feature = "postgres")]
            Self::Shared(url) => TenantManager::postgres(url.as_str()),
            #[cfg(feature = "postgres")]
            Self::Administered(database, placement) => TenantManager::postgres(database.url.as_str())
                .administrator(database.admin.clone())
                .default_placement(*placement),
        };
        let config = quick().workflow(workflow("w", [setting("t", "done", true)]));
        builder.config(config.build())
    }

    async fn manager(&self) -> TenantManager {
        self.builder().build().await.unwrap()
    }
}

macro_rules! in_each_home {
    ($(async fn $name:ident($home:ident: Home) $body:block)*) => {
        #[cfg(feature = "sqlite")]
        mod directory {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let $home = Home::Directory(std::sync::Arc::new(tempfile::tempdir().unwrap()));
                    Box::pin(in_time(async { $body })).await;
                }
            )*
        }
        #[cfg(feature = "postgres")]
        mod schemas {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let server = cloacina_testing::cluster::Cluster::shared().unwrap();
                    let $home = Home::Shared(server.fresh_database().await.unwrap());
                    Box::pin(in_time(async { $body })).await;
                }
            )*
        }
        in_each_home!(@administered own_roles Placement::OwnRole; $(async fn $name($home: Home) $body)*);
        in_each_home!(@administered shared Placement::Shared; $(async fn $name($home: Home) $body)*);
        in_each_home!(@administered databases Placement::Database; $(async fn $name($home: Home) $body)*);
    };
    (@administered $module:ident $placement:expr; $(async fn $name:ident($home:ident: Home) $body:block)*) => {
        #[cfg(feature = "postgres")]
        mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let database = crate::admin::Administered::by_a_provisioner().await;
                    let $home = Home::Administered(std::sync::Arc::new(database), $placement);
                    Box::pin(in_time(async { $body })).await;
                }
            )*
        }
    };
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A configuration with a clock that a test moves.
fn keeping(clock: &ManualClock, retention: Retention) -> RunnerConfig {
    let fails = workflow("fails", [task("t", |_| async { Err(TaskError::from("no")) })]);
    let config = quick().workflow(workflow("w", [setting("t", "done", true)])).workflow(fails);
    config
        .clock(std::sync::Arc::new(clock.clone()))
        .lease(DAY * 365)
        .task_timeout(None)
        .retention(retention)
        .build()
}

/// How the executions of all tenants ended that are kept.
async fn kept(tenants: &TenantManager) -> Vec<ExecutionStatus> {
    let list = async || Box::pin(tenants.executions(ExecutionFilter::all(), None, 100)).await.unwrap();
    // A database of a tenant's own is opened a moment after the manager.
    until(async || list().await.unreadable.is_empty()).await;
    list().await.found.iter().map(|(_, execution)| execution.status).collect()
}

/// Moves the time on, a few hours at a time.
async fn pass(clock: &ManualClock, time: Duration) {
    let until = clock.monotonic() + time;
    pass_until(clock, async || clock.monotonic() >= until).await;
}

async fn pass_until(clock: &ManualClock, holds: impl AsyncFn() -> bool) {
    while !holds().await {
        clock.advance(Duration::from_secs(2 * 3600));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

in_each_home! {
    async fn a_tenant_is_provisioned_used_measured_listed_and_removed(home: Home) {
        let tenants = home.manager().await;
        for name in ["globex-inc", "acme"] {
            match tenants.provision(name).await {
                Ok(provisioned) => {
                    // What everybody can list tells nothing.
                    let is_file = matches!(&home, Home::Directory(_));
                    assert!(is_file || !provisioned.place.contains(name), "{}", provisioned.place);
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(tenants.list().await.unwrap(), ["acme", "globex-inc"]);
        let acme = tenants.runner("acme").await.unwrap();
        for _ in 0..3 {
            assert!(acme.execute("w", Context::new()).await.unwrap().status.is_success());
        }
        let metrics = tenants.metrics("acme").await.unwrap();
        assert_eq!((metrics.total_executions, metrics.active_executions, metrics.queue_depth), (3, 0, 0));
        assert!(metrics.avg_execution_time > Duration::ZERO && metrics.p50_execution_time <= metrics.p99_execution_time);
        assert_eq!(tenants.metrics("globex-inc").await.unwrap().total_executions, 0);
        assert!(tenants.remove("acme").await.unwrap());
        assert!(!tenants.remove("acme").await.unwrap());
        assert_eq!(acme.execute("w", Context::new()).await.unwrap_err().kind(), ErrorKind::ShutDown);
        assert_error(&tenants.runner("acme").await.unwrap_err(), ErrorKind::NotFound, "`acme`");
        assert_eq!(tenants.list().await.unwrap(), ["globex-inc"]);
        // The name is free again, and nothing of before is there.
        tenants.provision("acme").await.unwrap();
        assert!(tenants.runner("acme").await.unwrap().list_executions().await.unwrap().is_empty());
        tenants.shutdown_all().await.unwrap();
        tenants.shutdown_all().await.unwrap();
        assert_eq!(tenants.runner("acme").await.unwrap_err().kind(), ErrorKind::ShutDown);
    }

    async fn a_manager_gives_state_to_all_tenants_and_other_state_to_one(home: Home) {
        let config = quick().workflow(workflow("w", [crate::given::mail.definition()])).build();
        let (all, acme) = (Mailer { from: "all" }, Mailer { from: "acme" });
        let builder = home.builder().config(config).state(all).state_for("acme", acme);
        let tenants = builder.build().await.unwrap();
        for (name, from) in [("acme", "acme"), ("globex", "all")] {
            tenants.provision(name).await.unwrap();
            let result = tenants.runner(name).await.unwrap().execute("w", Context::new()).await.unwrap();
            assert_eq!(result.final_context.get::<String>("from").as_deref(), Some(from), "{:?}", result.error_message);
        }
        tenants.shutdown_all().await.unwrap();
    }

    async fn what_has_been_kept_for_long_enough_goes_from_tenants_that_nobody_opens(home: Home) {
        let (clock, retention) = (ManualClock::new(), Retention::of(DAY * 2).failed(DAY * 9));
        let first = home.builder().config(keeping(&clock, retention)).build().await.unwrap();
        for tenant in ["acme", "globex", "initech"] {
            first.provision(tenant).await.unwrap();
        }
        for tenant in ["acme", "globex"] {
            let runner = first.runner(tenant).await.unwrap();
            runner.execute("w", Context::new()).await.unwrap();
            runner.execute("fails", Context::new()).await.unwrap();
        }
        first.shutdown_all().await.unwrap();
        let manager = async |retention| home.builder().config(keeping(&clock, retention)).build().await.unwrap();
        for retention in [Retention::FOREVER, Retention::of(DAY * 30)] {
            let tenants = manager(retention).await;
            pass(&clock, DAY * 10).await;
            assert_eq!(kept(&tenants).await.len(), 4);
            tenants.shutdown_all().await.unwrap();
        }
        // Another retention holds for what ended before.
        let tenants = manager(Retention::of(DAY * 9).failed(DAY * 30)).await;
        pass_until(&clock, async || kept(&tenants).await.len() < 4).await;
        pass(&clock, DAY * 2).await;
        assert_eq!(kept(&tenants).await, [ExecutionStatus::Failed; 2]);
        tenants.shutdown_all().await.unwrap();
        let tenants = manager(retention).await;
        pass_until(&clock, async || kept(&tenants).await.is_empty()).await;
        // What ends later goes as well, each kind in its time, whoever has opened it in between.
        for tenant in ["acme", "initech"] {
            let runner = tenants.runner(tenant).await.unwrap();
            runner.execute("w", Context::new()).await.unwrap();
            runner.execute("fails", Context::new()).await.unwrap();
        }
        let ended = clock.monotonic();
        pass(&clock, DAY).await;
        assert_eq!(kept(&tenants).await.len(), 4);
        pass_until(&clock, async || kept(&tenants).await.len() == 2).await;
        assert_eq!(kept(&tenants).await, [ExecutionStatus::Failed; 2]);
        assert!(clock.monotonic() - ended >= DAY * 2);
        pass_until(&clock, async || kept(&tenants).await.is_empty()).await;
        assert!(clock.monotonic() - ended >= DAY * 9);
        tenants.shutdown_all().await.unwrap();
    }

    async fn a_name_that_is_none_never_reaches_a_path_or_a_connection(home: Home) {
        let tenants = home.manager().await;
        for name in ["", "../x", "a/b", "x host=evil", "a\0b", "a;DROP SCHEMA x", ".", "-x", "\u{e9}", "a b", &"x".repeat(64), "a.db", "a'b", "a\"b"] {
            for error in [
                tenants.provision(name).await.unwrap_err(),
                tenants.runner(name).await.unwrap_err(),
                tenants.remove(name).await.unwrap_err(),
                tenants.metrics(name).await.unwrap_err(),
                tenants.suspend(name).await.unwrap_err(),
                tenants.resume(name).await.unwrap_err(),
                tenants.set_limits(name, TenantLimits::default()).await.unwrap_err(),
                tenants.rotate(name).await.unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::Configuration, "{name:?}: {error}");
            }
        }
        assert!(tenants.list().await.unwrap().is_empty());
        assert_eq!(tenants.open_tenants(), 0);
        tenants.shutdown_all().await.unwrap();
    }

    async fn what_is_decided_about_a_tenant_is_in_force_for_whoever_has_it(home: Home) {
        let tenants = home.manager().await;
        tenants.provision("acme-inc").await.unwrap();
        let acme = tenants.runner("acme-inc").await.unwrap();
        let mut limits = TenantLimits::default();
        limits.max_context_bytes = Some(30);
        let long = Context::new().with("text", "longer than thirty bytes of JSON");
        if matches!(&home, Home::Directory(_)) {
            for decided in [
                tenants.suspend("acme-inc").await,
                tenants.resume("acme-inc").await,
                tenants.set_limits("acme-inc", limits).await,
            ] {
                assert_error(&decided.unwrap_err(), ErrorKind::Configuration, "the tenant `acme-inc` is a file");
            }
            assert!(acme.execute("w", long).await.unwrap().status.is_success());
        } else {
            tenants.set_limits("acme-inc", limits).await.unwrap();
            until(async || acme.execute("w", long.clone()).await.is_err()).await;
            assert!(acme.execute("w", Context::new()).await.unwrap().status.is_success());
            limits.max_context_bytes = Some(0);
            let error = tenants.set_limits("acme-inc", limits).await.unwrap_err();
            assert_error(&error, ErrorKind::Configuration, "max_context_bytes");

            for _ in 0..2 {
                tenants.suspend("acme-inc").await.unwrap();
            }
            // What is recorded before it is in force waits, and nobody may wait with it.
            let is = async |kind| acme.execute_async("w", Context::new()).await.is_err_and(|error| error.kind() == kind);
            until(async || is(ErrorKind::Suspended).await).await;
            assert!(!acme.list_executions().await.unwrap().is_empty());
            assert_eq!(tenants.list().await.unwrap(), ["acme-inc"]);
            for _ in 0..2 {
                tenants.resume("acme-inc").await.unwrap();
            }
            until(async || acme.execute_async("w", Context::new()).await.is_ok()).await;
            assert!(acme.execute("w", Context::new()).await.unwrap().status.is_success());
        }
        for decided in [
            tenants.suspend("nobody").await,
            tenants.resume("nobody").await,
            tenants.set_limits("nobody", TenantLimits::default()).await,
            tenants.rotate("nobody").await.map(drop),
        ] {
            assert_error(&decided.unwrap_err(), ErrorKind::NotFound, "`nobody`");
        }
        tenants.shutdown_all().await.unwrap();
        assert_eq!(tenants.suspend("acme-inc").await.unwrap_err().kind(), ErrorKind::ShutDown);
    }

    async fn only_who_has_a_login_has_credentials_to_be_renewed(home: Home) {
        let tenants = home.manager().await;
        let before = tenants.provision("acme").await.unwrap().credentials;
        let rotated = tenants.rotate("acme").await;
        // Its manager would take a part in what is executed below.
        tenants.shutdown_all().await.unwrap();
        if let Some(before) = before {
            let after = rotated.unwrap();
            assert_ne!(after.password, before.password);
            // Processes change over one after the other.
            for credentials in [before, after] {
                let own = crate::admin::runner(&credentials.connection_string, None, "own").await;
                assert_eq!(crate::admin::works(&own).await, "own");
                own.shutdown().await.unwrap();
            }
        } else {
            let error = rotated.unwrap_err();
            assert_error(&error, ErrorKind::Configuration, "the tenant `acme` has no login of its own");
        }
    }

    async fn the_keys_of_a_tenant_are_kept_without_opening_it_and_go_with_it(home: Home) {
        let tenants = home.manager().await;
        let keys = tenants.keys();
        for name in ["acme", "globex"] {
            tenants.provision(name).await.unwrap();
        }
        let acme = keys.insert(new_key(Some("acme"))).await.unwrap();
        let globex = keys.insert(new_key(Some("globex"))).await.unwrap();
        let operators = keys.insert(new_key(None)).await.unwrap();
        let session = NewKey { parent: Some(operators.id), ..new_key(Some("acme")) };
        let session = keys.insert(session).await.unwrap();
        assert_eq!(keys.find(session.id.as_str()).await.unwrap(), Some(session.clone()));
        let of = async |tenant| keys.list(tenant, None, 10).await.unwrap().len();
        assert_eq!((of(None).await, of(Some("acme")).await, of(Some("nobody")).await), (3, 1, 0));
        let error = keys.insert(new_key(Some("nobody"))).await.unwrap_err();
        assert_error(&error, ErrorKind::NotFound, "no tenant `nobody`");
        assert_eq!(tenants.open_tenants(), 0);

        assert!(tenants.remove("acme").await.unwrap());
        let error = keys.insert(new_key(Some("acme"))).await.unwrap_err();
        assert_error(&error, ErrorKind::NotFound, "no tenant `acme`");
        tenants.provision("acme").await.unwrap();
        for (key, is_there) in [(&acme, false), (&session, false), (&globex, true), (&operators, true)] {
            assert_eq!(keys.find(key.id.as_str()).await.unwrap().is_some(), is_there);
        }
        assert_eq!((of(None).await, of(Some("acme")).await), (2, 0));
        assert!(!keys.delete(session.id.as_str()).await.unwrap());
        tenants.shutdown_all().await.unwrap();
        assert_eq!(keys.find(globex.id.as_str()).await.unwrap_err().kind(), ErrorKind::ShutDown);
        // They are there after a restart.
        let tenants = home.manager().await;
        assert_eq!(tenants.keys().find(globex.id.as_str()).await.unwrap(), Some(globex));
        tenants.shutdown_all().await.unwrap();
    }

    async fn what_is_done_about_a_tenant_by_name_is_noted(home: Home) {
        let manager = home.manager().await;
        let tenants = manager.acting(Actor::new("ada").reason("a new customer"));
        tenants.provision("acme").await.unwrap();
        manager.provision("globex").await.unwrap();
        let is_file = matches!(&home, Home::Directory(_));
        if !is_file {
            tenants.suspend("acme").await.unwrap();
            tenants.resume("acme").await.unwrap();
            tenants.set_limits("acme", TenantLimits::default()).await.unwrap();
        }
        let key = tenants.keys().insert(new_key(Some("acme"))).await.unwrap();
        let soon = SystemClock.now() + Duration::from_secs(3600);
        let runner = tenants.runner("acme").await.unwrap();
        let execution = runner.submit("w").start_at(soon).send().await.unwrap();
        execution.cancel().await.unwrap();
        assert_eq!(runner.audit(None, 1).await.unwrap()[0].object, Some(execution.execution_id.to_string()));
        drop((execution, runner));
        assert!(tenants.remove("acme").await.unwrap());
        let about = tenants.audit(Some("acme"), None, 100).await.unwrap();
        let theirs: Vec<_> = about.iter().filter(|row| row.actor == "ada").collect();
        assert!(theirs.iter().all(|row| row.tenant.as_deref() == Some("acme")));
        assert!(theirs.iter().any(|row| row.object.as_deref() == Some(key.id.as_str())), "{theirs:?}");
        // Provisioned and removed, a key, and where it can be, suspended, resumed and limited.
        assert!(theirs.len() >= if is_file { 3 } else { 6 }, "{theirs:?}");
        assert!(about.iter().filter(|row| row.actor != "ada").count() == 0, "{about:?}");
        // Nobody acted by name.
        assert!(tenants.audit(Some("globex"), None, 100).await.unwrap().iter().all(|row| row.actor != "ada"));
        for tenant in [Some("acme"), Some("globex"), None] {
            let verdict = tenants.audit_verify(tenant).await.unwrap();
            assert_eq!((verdict.broken_at, verdict.rows), (None, tenants.audit(tenant, None, 1000).await.unwrap().len() as u64));
        }
        tenants.shutdown_all().await.unwrap();
    }

    async fn what_all_tenants_have_is_listed_without_opening_one(home: Home) {
        let waits = Workflow::builder("asks").wait(Wait::signal("go").ask(Ask::new("go on?"))).wait(Wait::signal("other")).build();
        let fails = workflow("fails", [task("t", |_| async { Err(TaskError::from("no")) })]);
        let config = || quick().workflow(waits.clone()).workflow(fails.clone()).build();
        let first = home.builder().config(config()).build().await.unwrap();
        let names = ["acme", "beta", "corp", "dent", "euro"];
        let mut failed = Vec::new();
        for name in names {
            first.provision(name).await.unwrap();
        }
        for round in 0..3 {
            for name in ["acme", "corp", "euro"] {
                let runner = first.runner(name).await.unwrap();
                let result = runner.execute("fails", Context::new()).await.unwrap();
                failed.push((name.to_owned(), result.execution_id));
                if round == 0 {
                    let asks = runner.execute_async("asks", Context::new()).await.unwrap();
                    until(async || asks.waits().await.unwrap().len() == 2).await;
                }
            }
        }
        first.shutdown_all().await.unwrap();
        failed.reverse();

        let tenants = home.builder().config(config()).build().await.unwrap();
        let only_failed = || ExecutionFilter::all().status(ExecutionStatus::Failed);
        // A database of its own is opened a moment after the manager.
        let read = async || tenants.executions(only_failed(), None, 1).await.unwrap().unreadable.is_empty();
        Box::pin(until(read)).await;
        let mut listed = Vec::new();
        loop {
            let before = listed.last().map(|(_, id)| *id);
            let page = tenants.executions(only_failed(), before, 4).await.unwrap();
            assert!(page.unreadable.is_empty(), "{:?}", page.unreadable);
            let full = page.found.len() == 4;
            listed.extend(page.found.into_iter().map(|(tenant, execution)| (tenant, execution.execution_id)));
            if !full {
                break;
            }
        }
        assert_eq!(listed, failed);
        let since = SystemClock.now() + Duration::from_secs(60);
        assert!(tenants.executions(only_failed().since(since), None, 10).await.unwrap().found.is_empty());
        assert_eq!(tenants.executions(ExecutionFilter::all().workflow("asks"), None, 100).await.unwrap().found.len(), 3);

        let asked = tenants.waits(true, None, 10).await.unwrap().found;
        assert_eq!(asked.iter().map(|(tenant, _)| tenant.as_str()).collect::<Vec<_>>(), ["acme", "corp", "euro"]);
        assert!(asked.iter().all(|(_, wait)| wait.ask.is_some()));
        let mut waits: Vec<(String, cloacina::Waiting)> = Vec::new();
        loop {
            let after = waits.last().map(|(tenant, wait)| (tenant.clone(), wait.cursor()));
            let after = after.as_ref().map(|(tenant, cursor)| (tenant.as_str(), *cursor));
            let page = tenants.waits(false, after, 4).await.unwrap().found;
            if page.is_empty() {
                break;
            }
            waits.extend(page);
        }
        let of: Vec<_> = waits.iter().map(|(tenant, wait)| (tenant.as_str(), wait.wait.as_str())).collect();
        let all: Vec<_> = ["acme", "corp", "euro"].into_iter().flat_map(|name| [(name, "go"), (name, "other")]).collect();
        assert_eq!(of, all);
        assert_eq!(tenants.open_tenants(), 0);

        // One that cannot be read keeps no other from being listed.
        match &home {
            Home::Directory(directory) => {
                std::fs::write(directory.path().join("tenants").join("broken.db"), "no database at all").unwrap();
                let page = tenants.executions(only_failed(), None, 100).await.unwrap();
                assert_eq!((page.found.len(), page.unreadable.len()), (9, 1));
                assert_error(&page.unreadable[0].1, ErrorKind::Place, "broken.db");
            }
            Home::Administered(database, Placement::OwnRole) => {
                let place = database.admin.list_tenants().await.unwrap().into_iter().find(|tenant| tenant.name == "corp").unwrap();
                let superuser = database.superuser().await;
                superuser.batch_execute(&format!("BEGIN; LOCK TABLE {}.workflow_executions", place.schema_name)).await.unwrap();
                let page = tenants.executions(only_failed(), None, 100).await.unwrap();
                assert_eq!((page.found.len(), page.unreadable.len()), (6, 1));
                assert_eq!(page.unreadable[0].0, "corp");
                superuser.batch_execute("ROLLBACK").await.unwrap();
            }
            _ => {}
        }
        tenants.shutdown_all().await.unwrap();
        assert_eq!(tenants.waits(true, None, 1).await.unwrap_err().kind(), ErrorKind::ShutDown);
    }

    async fn all_tenants_have_the_schedules_that_are_put_for_all(home: Home) {
        let nightly = || Schedule::new("nightly", "w").cron("0 2 * * *").unwrap().input(Context::new().with("n", 1));
        let hourly = || Schedule::new("hourly", "w").cron("0 * * * *").unwrap();
        let tenants = home.manager().await;
        tenants.provision("acme").await.unwrap();
        let acme = tenants.runner("acme").await.unwrap();
        let names = async |tenants: &TenantManager, tenant: &str| {
            let schedules = tenants.runner(tenant).await.unwrap().schedules().list().await.unwrap();
            schedules.into_iter().map(|schedule| schedule.name).collect::<Vec<_>>()
        };
        let refused = tenants.schedule_all("code", [Schedule::new("never", "w")]).await.unwrap_err();
        assert_error(&refused, ErrorKind::Configuration, "no time");
        for _ in 0..2 {
            tenants.schedule_all("code", [nightly(), hourly()]).await.unwrap();
            assert_eq!(names(&tenants, "acme").await, ["hourly", "nightly"], "at once where it is open");
        }
        // A tenant may pause one, and see what it does; no more.
        let schedules = acme.schedules();
        schedules.pause("nightly", "a feast").await.unwrap();
        let refused = schedules.delete("nightly").await.unwrap_err();
        assert_error(&refused, ErrorKind::Conflict, "for all tenants");
        let refused = schedules.put(Schedule::new("nightly", "w").cron("0 3 * * *").unwrap()).await.unwrap_err();
        assert_error(&refused, ErrorKind::Conflict, "for all tenants");
        let refused = schedules.apply("cloacina/all/code", []).await.unwrap_err();
        assert_error(&refused, ErrorKind::Configuration, "cloacina/");
        assert_eq!(schedules.get("nightly").await.unwrap().input.get("n"), Some(1));
        assert!(matches!(schedules.trigger("hourly").await.unwrap(), Triggered::Started(_)));
        // One that is made has them from the beginning; one that has the name itself keeps its own.
        tenants.provision("globex").await.unwrap();
        tenants.provision("initech").await.unwrap();
        let initech = tenants.runner("initech").await.unwrap();
        initech.schedules().put(Schedule::new("weekly", "w").cron("0 0 * * 1").unwrap()).await.unwrap();
        tenants.schedule_all("ops", [Schedule::new("weekly", "w").cron("0 4 * * 1").unwrap()]).await.unwrap();
        assert_eq!(initech.schedules().get("weekly").await.unwrap().cron, ["0 0 * * 1"]);
        assert_eq!(names(&tenants, "initech").await, ["hourly", "nightly", "weekly"]);
        assert_eq!(names(&tenants, "globex").await, ["hourly", "nightly", "weekly"]);
        drop((acme, initech));
        tenants.shutdown_all().await.unwrap();
        // What was taken away is gone where another process opens it next.
        let others = home.manager().await;
        others.schedule_all("code", [nightly()]).await.unwrap();
        others.schedule_all("ops", []).await.unwrap();
        for tenant in ["acme", "globex"] {
            assert_eq!(names(&others, tenant).await, ["nightly"], "{tenant}");
        }
        let acme = others.runner("acme").await.unwrap();
        assert_eq!(acme.schedules().get("nightly").await.unwrap().state, ScheduleState::Paused);
        assert_eq!(names(&others, "initech").await, ["nightly", "weekly"]);
        others.shutdown_all().await.unwrap();
    }

    async fn schedules_for_all_come_to_tenants_that_nobody_opens_and_fire_there(home: Home) {
        let tenants = home.manager().await;
        let names = ["acme", "globex", "initech"];
        for name in names {
            tenants.provision(name).await.unwrap();
        }
        tenants.shutdown_all().await.unwrap();
        let tenants = home.builder().idle_after(Duration::from_millis(100)).build().await.unwrap();
        // Nobody asks for a tenant here: what ran is in the list over all.
        let ran = async |workflow: &str| {
            let list = tenants.executions(ExecutionFilter::all().workflow(workflow), None, 100).await.unwrap();
            list.found.into_iter().map(|(tenant, _)| tenant).collect::<BTreeSet<_>>()
        };
        // The second time they have other ones before.
        for workflow in ["w", "v"] {
            let once = Schedule::new("once", workflow).at(SystemClock.now() + Duration::from_secs(1));
            tenants.schedule_all("code", [once]).await.unwrap();
            Box::pin(until(async || ran(workflow).await.len() == names.len())).await;
        }
        tenants.shutdown_all().await.unwrap();
    }

    async fn names_that_differ_in_case_only_are_told_apart_by_an_error(home: Home) {
        let tenants = home.manager().await;
        tenants.provision("Acme").await.unwrap();
        assert_error(&tenants.provision("acme").await.unwrap_err(), ErrorKind::Conflict, "`Acme`");
        assert_error(&tenants.provision("Acme").await.unwrap_err(), ErrorKind::Conflict, "already");
        assert_error(&tenants.runner("acme").await.unwrap_err(), ErrorKind::NotFound, "`Acme`");
        let runner = tenants.runner("Acme").await.unwrap();
        assert_error(&tenants.runner("ACME").await.unwrap_err(), ErrorKind::NotFound, "`Acme`");
        drop(runner);
        tenants.shutdown_all().await.unwrap();
    }

    async fn those_who_ask_for_one_tenant_at_once_share_one_runner(home: Home) {
        let tenants = home.manager().await;
        tenants.provision("acme").await.unwrap();
        let asked = (0..20).map(|_| {
            let tenants = tenants.clone();
            tokio::spawn(async move { tenants.runner("acme").await.unwrap() })
        });
        for runner in asked.collect::<Vec<_>>() {
            assert!(runner.await.unwrap().execute("w", Context::new()).await.unwrap().status.is_success());
        }
        assert_eq!(tenants.open_tenants(), 1);
        tenants.shutdown_all().await.unwrap();
    }

    async fn what_nobody_uses_is_closed_and_what_somebody_holds_is_not(home: Home) {
        let tenants = home.builder().idle_after(Duration::ZERO).max_open(2).build().await.unwrap();
        for name in ["a", "b", "c"] {
            tenants.provision(name).await.unwrap();
        }
        let held = tenants.runner("a").await.unwrap();
        for name in ["b", "c", "b", "c"] {
            tenants.runner(name).await.unwrap().execute("w", Context::new()).await.unwrap();
        }
        until(async || tenants.open_tenants() == 1).await;
        assert!(held.execute("w", Context::new()).await.unwrap().status.is_success());
        drop(held);
        until(async || tenants.open_tenants() == 0).await;
        assert!(tenants.runner("c").await.unwrap().execute("w", Context::new()).await.unwrap().status.is_success());
        tenants.shutdown_all().await.unwrap();
    }

    async fn delayed_work_and_retries_of_a_tenant_that_nobody_opened_happen_on_time(home: Home) {
        let gate = Gate::new();
        let workflows = |builder: TenantManagerBuilder| {
            let once = std::sync::atomic::AtomicBool::new(true);
            let retry = RetryPolicy { attempts: 2, base: Duration::from_millis(300), jitter: cloacina::Jitter::None, ..RetryPolicy::DEFAULT };
            let flaky = task("flaky", move |context| {
                let fails = once.swap(false, std::sync::atomic::Ordering::Relaxed);
                async move { if fails { Err(TaskError::from("not yet")) } else { Ok(context) } }
            });
            let config = quick()
                .workflow(workflow("delayed", [gate.task("t")]))
                .workflow(workflow("flaky", [flaky.retry(retry), gate.task("then").dependencies(["flaky"])]));
            builder.config(config.build())
        };
        let first = workflows(home.builder()).build().await.unwrap();
        first.provision("acme").await.unwrap();
        first.provision("globex").await.unwrap();
        let soon = SystemClock.now() + Duration::from_secs(2);
        let acme = first.runner("acme").await.unwrap();
        acme.submit("delayed").start_at(soon).send().await.unwrap();
        let globex = first.runner("globex").await.unwrap();
        globex.submit("flaky").start_at(soon).send().await.unwrap();
        drop((acme, globex));
        first.shutdown_all().await.unwrap();

        // As after a restart: nobody asks for either tenant.
        let second = workflows(home.builder()).build().await.unwrap();
        let mut tasks = [gate.started().await.task_id().to_owned(), gate.started().await.task_id().to_owned()];
        tasks.sort();
        assert_eq!(tasks, ["t", "then"]);
        let late = SystemClock.now().duration_since(soon);
        assert!(late < jiff::SignedDuration::from_secs(20), "{late:?}");
        gate.open(2);
        for name in ["acme", "globex"] {
            let runner = second.runner(name).await.unwrap();
            until(async || runner.metrics().await.unwrap().active_executions == 0).await;
        }
        second.shutdown_all().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn about_a_tenant_with_a_login_only_a_manager_with_an_administrator_decides() {
    let database = std::sync::Arc::new(crate::admin::Administered::by_a_provisioner().await);
    let with = Home::Administered(std::sync::Arc::clone(&database), Placement::OwnRole).manager().await;
    let without = Home::Shared(database.url.clone()).manager().await;
    with.provision("acme").await.unwrap();
    for decided in [
        without.suspend("acme").await,
        without.resume("acme").await,
        without.set_limits("acme", TenantLimits::default()).await,
        without.rotate("acme").await.map(drop),
        without.remove("acme").await.map(drop),
    ] {
        assert_error(&decided.unwrap_err(), ErrorKind::Configuration, "an `administrator`");
    }
    for manager in [without, with] {
        manager.shutdown_all().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_files_that_cannot_be_opened_do_not_hide_a_tenants_work() {
    let gate = Gate::new();
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let home = Home::Directory(std::sync::Arc::clone(&directory));
    let open = || home.builder().config(quick().workflow(workflow("w", [gate.task("t")])).build());
    let first = open().build().await.unwrap();
    first.provision("acme").await.unwrap();
    let soon = SystemClock.now() + Duration::from_secs(1);
    first.runner("acme").await.unwrap().submit("w").start_at(soon).send().await.unwrap();
    first.shutdown_all().await.unwrap();
    // More than are opened at one look, and all of them are looked at first.
    for number in 0..100 {
        let path = directory.path().join("tenants").join(format!("broken-{number}.db"));
        std::fs::write(path, "no database at all").unwrap();
    }
    let second = open().build().await.unwrap();
    gate.started().await;
    gate.open(1);
    second.shutdown_all().await.unwrap();
}

/// A few tenants of three hundred have something, and no place is opened to find it.
async fn few_of_many_have_something(home: Home) {
    let fails = workflow("fails", [task("t", |_| async { Err(TaskError::from("no")) })]);
    let config = || quick().workflow(fails.clone()).build();
    let first = home.builder().config(config()).build().await.unwrap();
    for number in 0..300 {
        first.provision(&format!("tenant-{number:03}")).await.unwrap();
    }
    for number in [7, 77, 277] {
        let runner = first.runner(&format!("tenant-{number:03}")).await.unwrap();
        runner.execute("fails", Context::new()).await.unwrap();
    }
    first.shutdown_all().await.unwrap();
    let tenants = home.builder().config(config()).idle_after(Duration::from_millis(1)).build().await.unwrap();
    if matches!(&home, Home::Directory(_)) {
        // Files that were never open are looked at once, by whoever serves the directory.
        let path = match &home {
            Home::Directory(directory) => directory.path().join("tenants").join("cloacina.registry"),
            _ => unreachable!(),
        };
        let registry = rusqlite::Connection::open(path).unwrap();
        registry.busy_timeout(Duration::from_secs(10)).unwrap();
        let left = "SELECT (SELECT count(*) FROM place WHERE due_at = 0) + (SELECT count(*) FROM holder WHERE is_open = 1)";
        until(async || registry.query_row(left, [], |row| row.get::<_, i64>(0)).unwrap() == 0).await;
        until(async || tenants.open_tenants() == 0).await;
    }
    let failed = || ExecutionFilter::all().status(ExecutionStatus::Failed);
    for _ in 0..2 {
        let begun = std::time::Instant::now();
        let page = tenants.executions(failed(), None, 50).await.unwrap();
        let took = begun.elapsed();
        let of: Vec<_> = page.found.iter().map(|(tenant, _)| tenant.as_str()).collect();
        assert_eq!((of, page.unreadable.len()), (vec!["tenant-277", "tenant-077", "tenant-007"], 0));
        let begun = std::time::Instant::now();
        assert!(tenants.waits(true, None, 50).await.unwrap().found.is_empty());
        println!("300 tenants: executions in {took:?}, waits in {:?}", begun.elapsed());
    }
    assert_eq!(tenants.open_tenants(), 0);
    tenants.shutdown_all().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_of_many_tenants_in_files_are_found_without_opening_one() {
    let home = Home::Directory(std::sync::Arc::new(tempfile::tempdir().unwrap()));
    Box::pin(in_time(few_of_many_have_something(home))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_of_many_tenants_that_share_tables_are_found_without_opening_one() {
    let database = crate::admin::Administered::by_a_provisioner().await;
    let home = Home::Administered(std::sync::Arc::new(database), Placement::Shared);
    Box::pin(in_time(few_of_many_have_something(home))).await;
}
