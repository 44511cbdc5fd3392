//! Tenants with database logins of their own, through `DatabaseAdmin`.

use std::time::Duration;

use cloacina::database::{
    AdminError, AdminErrorKind, Database, DatabaseAdmin, TenantConfig, TenantCredentials, TenantLimits,
    TenantState, blocking,
};
use cloacina::runner::Runner;
use cloacina::{Context, ErrorKind, Wait, Workflow};
use cloacina_testing::cluster::Cluster;
use cloacina_testing::proxy::{Cut, Proxy};
use tokio_postgres::{Client, NoTls};

use crate::support::{Gate, assert_error, in_time, quick, setting, until, workflow};

/// A database and who administers it.
pub(crate) struct Administered {
    pub(crate) url: String,
    pub(crate) superuser_url: String,
    pub(crate) admin: DatabaseAdmin,
}

impl Administered {
    /// By a login that is no superuser.
    pub(crate) async fn by_a_provisioner() -> Self {
        let server = Cluster::shared().unwrap();
        let url = server.fresh_database().await.unwrap();
        server.make_administrator(&url).await.unwrap();
        let admin = DatabaseAdmin::new(Database::new(&url, &database_of(&url), 4));
        let database = Self { superuser_url: server.superuser_url_of(&url), url, admin };
        // What only a superuser can close, it closes, as the preflight says; but other databases are those of
        // other tests.
        let hardening = database.admin.preflight().await.unwrap().hardening;
        for statement in hardening.iter().filter(|statement| !statement.contains("CONNECT ON DATABASE")) {
            database.superuser().await.batch_execute(statement).await.unwrap();
        }
        database
    }

    /// By a superuser.
    pub(crate) async fn by_a_superuser() -> Self {
        let server = Cluster::shared().unwrap();
        let url = server.fresh_database().await.unwrap();
        let superuser_url = server.superuser_url_of(&url);
        let admin = DatabaseAdmin::new(Database::new(&superuser_url, &database_of(&url), 4));
        Self { url: superuser_url.clone(), superuser_url, admin }
    }

    /// A tenant in the schema of this name.
    pub(crate) async fn tenant(&self, schema: &str) -> TenantCredentials {
        self.admin.create_tenant(self.config(schema)).await.unwrap()
    }

    /// Logins are shared by all databases of the server, so their names have that of the database in them.
    pub(crate) fn config(&self, schema: &str) -> TenantConfig {
        let username = format!("{}_{schema}", database_of(&self.url));
        TenantConfig { schema_name: schema.to_owned(), username, password: String::new() }
    }

    pub(crate) async fn superuser(&self) -> Client {
        connect(&self.superuser_url).await.unwrap()
    }
}

pub(crate) fn database_of(url: &str) -> String {
    url.rsplit('/').next().unwrap().to_owned()
}

pub(crate) async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The same test under both kinds of administrator.
macro_rules! under_each_admin {
    ($(async fn $name:ident($database:ident: Administered) $body:block)*) => {
        mod provisioner {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = async { let $database = Administered::by_a_provisioner().await; $body };
                    Box::pin(in_time(test)).await;
                }
            )*
        }
        mod superuser {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = async { let $database = Administered::by_a_superuser().await; $body };
                    Box::pin(in_time(test)).await;
                }
            )*
        }
    };
}

/// A runner on a URL that knows a workflow which sets `of`.
pub(crate) async fn runner(url: &str, schema: Option<&str>, of: &'static str) -> Runner {
    let builder = Runner::builder().database_url(url).config(quick().build());
    let builder = match schema {
        Some(schema) => builder.schema(schema),
        None => builder,
    };
    builder.workflow(workflow("w", [setting("t", "of", of)])).build().await.unwrap()
}

pub(crate) async fn works(runner: &Runner) -> String {
    let result = runner.execute("w", Context::new()).await.unwrap();
    assert!(result.status.is_success(), "{result:?}");
    result.final_context.get("of").unwrap()
}

#[track_caller]
fn assert_admin_error(error: &AdminError, kind: AdminErrorKind, words: &str) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(words), "`{words}` is not in: {error}");
}

under_each_admin! {
    async fn a_tenant_is_made_used_and_removed(database: Administered) {
        let credentials = database.tenant("acme").await;
        assert_eq!(credentials.schema_name, "acme");
        assert_eq!(credentials.password.len(), 32);
        // By its own login, with and without the schema; and by the operator.
        let named = runner(&credentials.connection_string, Some("acme"), "acme").await;
        assert_eq!(works(&named).await, "acme");
        named.shutdown().await.unwrap();
        let own = runner(&credentials.connection_string, None, "acme").await;
        assert_eq!(own.place(), "acme");
        assert_eq!(works(&own).await, "acme");
        assert_eq!(own.list_executions().await.unwrap().len(), 2);
        own.shutdown().await.unwrap();
        let operator = runner(&database.url, Some("acme"), "acme").await;
        assert_eq!(works(&operator).await, "acme");
        assert_eq!(operator.list_executions().await.unwrap().len(), 3);
        operator.shutdown().await.unwrap();

        let report = database.admin.inspect_tenant("acme").await.unwrap();
        assert!(report.findings.is_empty(), "{:#?}", report.findings);

        database.admin.remove_tenant("acme", &credentials.username).await.unwrap();
        database.admin.remove_tenant("acme", &credentials.username).await.unwrap();
        assert!(database.admin.list_tenants().await.unwrap().is_empty());
        let error = connect(&credentials.connection_string).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "28P01", "{error:?}");
        let error = Runner::with_schema(&database.url, "acme").await.unwrap_err();
        assert_error(&error, ErrorKind::Place, "was removed");

        let again = database.tenant("acme").await;
        let own = runner(&again.connection_string, None, "new").await;
        assert!(own.list_executions().await.unwrap().is_empty());
        assert_eq!(works(&own).await, "new");
        own.shutdown().await.unwrap();
        assert_eq!(database.admin.list_tenants().await.unwrap()[0].epoch, 2);
    }

    async fn new_credentials_work_beside_the_old_ones_until_these_end(database: Administered) {
        let first = database.tenant("acme").await;
        let second = database.admin.rotate_credentials("acme").await.unwrap();
        assert_ne!(first.username, second.username);
        for credentials in [&first, &second] {
            let own = runner(&credentials.connection_string, None, "acme").await;
            assert_eq!(works(&own).await, "acme");
            own.shutdown().await.unwrap();
        }
        let third = database.admin.rotate_credentials_within("acme", Duration::ZERO).await.unwrap();
        assert_eq!(third.username, first.username);
        assert_ne!(third.password, first.password);
        for ended in [&first, &second] {
            connect(&ended.connection_string).await.unwrap_err();
        }
        let own = runner(&third.connection_string, None, "acme").await;
        assert_eq!(works(&own).await, "acme");
        own.shutdown().await.unwrap();
        database.admin.verify_tenant("acme").await.unwrap();
        // Either login's name is accepted.
        database.admin.remove_tenant("acme", &second.username).await.unwrap();
    }

    async fn a_suspended_tenant_cannot_log_in_until_it_is_resumed(database: Administered) {
        let credentials = database.tenant("acme").await;
        let session = connect(&credentials.connection_string).await.unwrap();
        session.batch_execute("SELECT 1").await.unwrap();
        database.admin.suspend("acme").await.unwrap();
        assert!(session.batch_execute("SELECT 1").await.is_err());
        connect(&credentials.connection_string).await.unwrap_err();
        // An operator may still look, and start nothing.
        let operator = runner(&database.url, Some("acme"), "acme").await;
        assert!(operator.list_executions().await.unwrap().is_empty());
        let error = operator.execute("w", Context::new()).await.unwrap_err();
        assert_error(&error, ErrorKind::Suspended, "suspended");
        operator.shutdown().await.unwrap();
        database.admin.suspend("acme").await.unwrap();
        database.admin.resume("acme").await.unwrap();
        let own = runner(&credentials.connection_string, None, "acme").await;
        assert_eq!(works(&own).await, "acme");
        own.shutdown().await.unwrap();
    }

    async fn of_many_who_make_the_same_tenant_at_once_one_succeeds(database: Administered) {
        let other = DatabaseAdmin::new(Database::new(&database.url, &database_of(&database.url), 4));
        let makers = (0..8).map(|n| {
            let admin = if n % 2 == 0 { database.admin.clone() } else { other.clone() };
            let config = database.config("acme");
            tokio::spawn(async move { admin.create_tenant(config).await })
        });
        let mut made = Vec::new();
        for maker in makers.collect::<Vec<_>>() {
            match maker.await.unwrap() {
                Ok(credentials) => made.push(credentials),
                Err(error) => assert_eq!(error.kind(), AdminErrorKind::AlreadyExists, "{error:?}"),
            }
        }
        assert_eq!(made.len(), 1);
        connect(&made[0].connection_string).await.unwrap();
        database.admin.verify_tenant("acme").await.unwrap();
    }

    async fn many_tenants_are_made_and_removed_at_once(database: Administered) {
        let makers = (0..8).map(|n| {
            let (admin, config) = (database.admin.clone(), database.config(&format!("tenant_{n}")));
            tokio::spawn(async move {
                let credentials = admin.create_tenant(config).await.unwrap();
                if n % 2 == 0 {
                    admin.remove_tenant(&credentials.schema_name, &credentials.username).await.unwrap();
                }
            })
        });
        for maker in makers.collect::<Vec<_>>() {
            maker.await.unwrap();
        }
        let left: Vec<String> =
            database.admin.list_tenants().await.unwrap().into_iter().map(|tenant| tenant.schema_name).collect();
        assert_eq!(left, ["tenant_1", "tenant_3", "tenant_5", "tenant_7"]);
        for schema in left {
            database.admin.verify_tenant(&schema).await.unwrap();
        }
    }

    async fn nothing_that_exists_is_adopted(database: Administered) {
        let superuser = database.superuser().await;
        database.admin.list_tenants().await.unwrap();
        let user = database.config("acme").username;
        for (make, undo) in [
            ("CREATE SCHEMA acme".to_owned(), "DROP SCHEMA acme".to_owned()),
            // Tables of our names are not even looked at.
            ("CREATE SCHEMA acme; CREATE TABLE acme.workflow_executions (id int)".to_owned(), "DROP SCHEMA acme CASCADE".to_owned()),
            (format!("CREATE ROLE {user} LOGIN"), format!("DROP ROLE {user}")),
            (format!("CREATE ROLE {user}__g"), format!("DROP ROLE {user}__g")),
            (format!("CREATE ROLE {user}__2"), format!("DROP ROLE {user}__2")),
            // Told apart by the case alone.
            (format!("CREATE ROLE \"{}\"", user.to_uppercase()), format!("DROP ROLE \"{}\"", user.to_uppercase())),
        ] {
            superuser.batch_execute(&make).await.unwrap();
            let error = database.admin.create_tenant(database.config("acme")).await.unwrap_err();
            assert_admin_error(&error, AdminErrorKind::AlreadyExists, "nothing was changed");
            assert!(database.admin.list_tenants().await.unwrap().is_empty());
            // As it was: whatever was made can be dropped, and nothing was added.
            superuser.batch_execute(&undo).await.unwrap();
        }
        let credentials = database.tenant("acme").await;
        let error = database.admin.create_tenant(database.config("acme")).await.unwrap_err();
        assert_admin_error(&error, AdminErrorKind::AlreadyExists, "nothing was changed");
        let error = database.admin.create_tenant(database.config("Acme")).await.unwrap_err();
        assert_admin_error(&error, AdminErrorKind::AlreadyExists, "only the case");
        connect(&credentials.connection_string).await.unwrap();
    }

    async fn a_place_of_a_shared_login_is_not_a_tenant_to_be_made_or_removed(database: Administered) {
        let shared = runner(&database.url, Some("acme"), "shared").await;
        assert_eq!(works(&shared).await, "shared");
        let error = database.admin.create_tenant(database.config("acme")).await.unwrap_err();
        assert_admin_error(&error, AdminErrorKind::AlreadyExists, "nothing was changed");
        let error = database.admin.remove_tenant("acme", "whoever").await.unwrap_err();
        assert_admin_error(&error, AdminErrorKind::NotFound, "no tenant with a login");
        // Its login goes on working after the administrator took `cloacina` over, in places old and new.
        database.tenant("globex").await;
        assert_eq!(works(&shared).await, "shared");
        let new = runner(&database.url, Some("new_place"), "new").await;
        assert_eq!(works(&new).await, "new");
        new.shutdown().await.unwrap();
        shared.shutdown().await.unwrap();
    }

    async fn bad_names_and_passwords_are_refused_before_anything_is_done(database: Administered) {
        let good = database.config("acme");
        for schema in ["", "a-b", "../x", "a/b", "x host=evil", "a;DROP", "a\0", "a\"b", "\u{fc}ber", "pg_x", "cloacina", "Cloacina_x", "information_schema", "public", &"x".repeat(64)] {
            let config = TenantConfig { schema_name: schema.to_owned(), ..good.clone() };
            let error = database.admin.create_tenant(config).await.unwrap_err();
            assert_eq!(error.kind(), AdminErrorKind::Configuration, "{schema:?}: {error}");
            for error in [
                database.admin.suspend(schema).await.unwrap_err(),
                database.admin.remove_tenant(schema, &good.username).await.unwrap_err(),
                database.admin.rotate_credentials(schema).await.unwrap_err(),
                database.admin.verify_tenant(schema).await.unwrap_err(),
            ] {
                // What may be the name of a tenant that shares tables is looked for.
                let refused = matches!(error.kind(), AdminErrorKind::Configuration | AdminErrorKind::NotFound);
                assert!(refused, "{schema:?}: {error}");
            }
        }
        for password in ["sesame7", "with a nul\0 in it"] {
            let config = TenantConfig { password: password.to_owned(), ..good.clone() };
            let error = database.admin.create_tenant(config).await.unwrap_err();
            assert_admin_error(&error, AdminErrorKind::Configuration, "the password");
        }
        assert!(database.admin.list_tenants().await.unwrap().is_empty());
        for error in [
            database.admin.suspend("nobody").await.unwrap_err(),
            database.admin.resume("nobody").await.unwrap_err(),
            database.admin.remove_tenant("nobody", "who").await.unwrap_err(),
            database.admin.rotate_credentials("nobody").await.unwrap_err(),
            database.admin.set_limits("nobody", TenantLimits::default()).await.unwrap_err(),
            database.admin.migrate_tenants(&["nobody"]).await.unwrap_err(),
            database.admin.verify_tenant("nobody").await.unwrap_err(),
        ] {
            assert_admin_error(&error, AdminErrorKind::NotFound, "no tenant in schema `nobody`");
        }
        let mut limits = TenantLimits::default();
        limits.max_queue_length = Some(0);
        let error = database.admin.set_limits("nobody", limits).await.unwrap_err();
        assert_admin_error(&error, AdminErrorKind::Configuration, "max_queue_length");
    }

    async fn a_password_that_is_given_is_used_as_it_is(database: Administered) {
        let password = "p@ss/w?rd#:% \\'\"$$ \u{2603}";
        let config = TenantConfig { password: password.to_owned(), ..database.config("acme") };
        let credentials = database.admin.create_tenant(config).await.unwrap();
        assert_eq!(credentials.password, password);
        let own = runner(&credentials.connection_string, None, "acme").await;
        assert_eq!(works(&own).await, "acme");
        own.shutdown().await.unwrap();
    }

    async fn only_the_tenants_own_logins_remove_it(database: Administered) {
        let acme = database.tenant("acme").await;
        let globex = database.tenant("globex").await;
        let error = database.admin.remove_tenant("acme", &globex.username).await.unwrap_err();
        assert_admin_error(&error, AdminErrorKind::NotFound, "nothing was removed");
        let session = connect(&acme.connection_string).await.unwrap();
        session.batch_execute("SELECT 1").await.unwrap();
        database.admin.verify_tenant("acme").await.unwrap();
    }

    async fn what_a_tenant_left_elsewhere_is_named_and_goes_with_the_next_removal(database: Administered) {
        let acme = database.tenant("acme").await;
        let open = "GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC";
        database.superuser().await.batch_execute(open).await.unwrap();
        let session = connect(&acme.connection_string).await.unwrap();
        session
            .batch_execute("SELECT lo_create(0); ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC; ALTER ROLE CURRENT_USER SET work_mem = '1MB'")
            .await
            .unwrap();
        let error = database.admin.verify_tenant("acme").await.unwrap_err();
        assert_admin_error(&error, AdminErrorKind::NotIsolated, "large object");
        // Something in another database, which no connection to this one can drop.
        let elsewhere = Cluster::shared().unwrap().fresh_database().await.unwrap();
        let superuser = connect(&Cluster::shared().unwrap().superuser_url_of(&elsewhere)).await.unwrap();
        superuser.batch_execute(&format!("CREATE TABLE t (); ALTER TABLE t OWNER TO {}", acme.username)).await.unwrap();
        for _ in 0..2 {
            let error = database.admin.remove_tenant("acme", &acme.username).await.unwrap_err();
            assert_admin_error(&error, AdminErrorKind::Remains, &database_of(&elsewhere));
            assert_eq!(database.admin.list_tenants().await.unwrap()[0].state, TenantState::Removing);
        }
        connect(&acme.connection_string).await.unwrap_err();
        superuser.batch_execute("DROP TABLE t").await.unwrap();
        database.admin.remove_tenant("acme", &acme.username).await.unwrap();
        let left = database.superuser().await.query("SELECT FROM pg_largeobject_metadata", &[]).await.unwrap();
        assert!(left.is_empty());
    }

    async fn a_tenant_that_holds_a_lock_delays_its_removal_no_longer_than_running_tasks_may(database: Administered) {
        let acme = database.tenant("acme").await;
        for table in ["workflow_executions", "task_executions"] {
            // A lock on either keeps the administrator from counting what runs.
            let session = connect(&acme.connection_string).await.unwrap();
            session.batch_execute(&format!("SET statement_timeout = 0; SET lock_timeout = 0; BEGIN; LOCK TABLE acme.{table}")).await.unwrap();
            let drain = Duration::from_secs(1);
            let begun = std::time::Instant::now();
            let removed = database.admin.remove_tenant_within("acme", &acme.username, drain).await;
            let took = begun.elapsed();
            removed.unwrap();
            assert!(took >= drain && took < drain + Duration::from_secs(10), "{took:?}");
            assert!(session.batch_execute("SELECT 1").await.is_err());
            assert!(connect(&acme.connection_string).await.is_err());
            let left = format!(
                "SELECT nspname FROM pg_namespace WHERE nspname = 'acme' \
                 UNION ALL SELECT rolname FROM pg_roles WHERE starts_with(rolname, '{}')",
                acme.username
            );
            assert!(database.superuser().await.query(&left, &[]).await.unwrap().is_empty());
            assert!(database.admin.list_tenants().await.unwrap().is_empty());
            // The same once more, with the other table.
            let again = TenantConfig { password: acme.password.clone(), ..database.config("acme") };
            assert_eq!(database.admin.create_tenant(again).await.unwrap(), acme);
        }
    }

    async fn a_tenants_limits_on_its_login_hold(database: Administered) {
        let acme = database.tenant("acme").await;
        let mut limits = TenantLimits::default();
        limits.max_connections = Some(2);
        limits.transaction_timeout = Some(Duration::from_millis(100));
        limits.max_concurrent_tasks = Some(3);
        database.admin.set_limits("acme", limits).await.unwrap();
        assert_eq!(database.admin.list_tenants().await.unwrap()[0].limits, limits);
        let first = connect(&acme.connection_string).await.unwrap();
        let second = connect(&acme.connection_string).await.unwrap();
        let error = connect(&acme.connection_string).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "53300");
        // Whatever it says itself.
        first.batch_execute("SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0; BEGIN; LOCK TABLE acme.ready_tasks").await.unwrap();
        until(async || database.admin.reap_sessions().await.unwrap() == 1).await;
        assert!(first.batch_execute("SELECT 1").await.is_err());
        second.batch_execute("SELECT 1").await.unwrap();
        // The one that was ended is told so before it is gone.
        until(async || database.admin.reap_sessions().await.unwrap() == 0).await;
        second.batch_execute("SELECT 1").await.unwrap();
        database.admin.set_limits("acme", TenantLimits::default()).await.unwrap();
        assert_eq!(database.admin.list_tenants().await.unwrap()[0].limits, TenantLimits::default());
    }

    async fn every_action_is_in_the_audit(database: Administered) {
        let acme = database.tenant("acme").await;
        database.admin.suspend("acme").await.unwrap();
        database.admin.resume("acme").await.unwrap();
        database.admin.set_limits("acme", TenantLimits::default()).await.unwrap();
        let new = database.admin.rotate_credentials("acme").await.unwrap();
        database.admin.remove_tenant("acme", &acme.username).await.unwrap();
        let entries = database.admin.audit(100).await.unwrap();
        let mut actions: Vec<&str> = entries.iter().map(|entry| &*entry.action).collect();
        actions.reverse();
        assert_eq!(actions, ["create_tenant", "suspend", "resume", "set_limits", "rotate_credentials", "remove_tenant", "remove_tenant"]);
        let text = format!("{entries:?}");
        assert!(text.contains("acme") && !text.contains(&acme.password) && !text.contains(&new.password));
    }

    async fn the_blocking_twin_does_the_same_also_within_a_runtime(database: Administered) {
        let admin = blocking::DatabaseAdmin::new(Database::new(&database.url, &database_of(&database.url), 2));
        assert!(admin.preflight().unwrap().is_ready());
        let credentials = admin.create_tenant(database.config("acme")).unwrap();
        let own = runner(&credentials.connection_string, Some("acme"), "acme").await;
        assert_eq!(works(&own).await, "acme");
        own.shutdown().await.unwrap();
        assert_eq!(admin.measure_tenants().unwrap(), 1);
        let listed = admin.list_tenants().unwrap();
        assert!(listed[0].size_bytes.unwrap() > 0 && listed[0].measured_at.is_some());
        admin.remove_tenant("acme", &credentials.username).unwrap();
    }

    async fn credentials_are_rotated_under_load_without_a_failed_task(database: Administered) {
        let first = database.tenant("acme").await;
        let old = runner(&first.connection_string, None, "acme").await;
        let stop = std::sync::atomic::AtomicBool::new(false);
        let load = |runner: Runner| {
            let stop = &stop;
            async move {
                let mut done = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) || done == 0 {
                    works(&runner).await;
                    done += 1;
                }
                done
            }
        };
        let rotated = async {
            let second = database.admin.rotate_credentials("acme").await.unwrap();
            let new = runner(&second.connection_string, None, "acme").await;
            for _ in 0..20 {
                works(&new).await;
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            new
        };
        let (before, new) = tokio::join!(load(old.clone()), rotated);
        assert!(before > 0);
        old.shutdown().await.unwrap();
        works(&new).await;
        new.shutdown().await.unwrap();
    }

    async fn a_tenants_login_opens_its_own_place_and_no_other(database: Administered) {
        let acme = database.tenant("acme").await;
        database.tenant("globex").await;
        for schema in ["globex", "public", "cloacina_main", "nowhere", "Acme"] {
            let error = Runner::with_schema(&acme.connection_string, schema).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
            assert!(error.to_string().contains("`acme`"), "{error}");
        }
    }

    async fn a_suspension_is_in_force_within_a_second_for_processes_that_run(database: Administered) {
        let acme = database.tenant("acme").await;
        let gate = Gate::new();
        let open = async |url: &str| {
            Runner::builder().database_url(url).schema("acme").config(quick().build())
                .workflow(workflow("w", [setting("t", "of", "acme")]))
                .workflow(workflow("gated", [gate.task("t")]))
                .workflow(Workflow::builder("waits").wait(Wait::signal("s")).build())
                .build().await.unwrap()
        };
        let operator = open(&database.url).await;
        let own = open(&acme.connection_string).await;
        works(&own).await;
        let running = operator.execute_async("gated", Context::new()).await.unwrap();
        let info = gate.started().await;
        database.admin.suspend("acme").await.unwrap();
        let begun = std::time::Instant::now();
        until(async || info.cancellation().is_cancelled()).await;
        let error = operator.execute("w", Context::new()).await.unwrap_err();
        assert_error(&error, ErrorKind::Suspended, "suspended");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?} on a busy machine", begun.elapsed());
        database.admin.resume("acme").await.unwrap();
        // What was given back goes on.
        gate.started().await;
        gate.open(1);
        assert!(running.wait_for_completion().await.unwrap().status.is_success());
        until(async || operator.execute("w", Context::new()).await.is_ok()).await;

        let mut limits = TenantLimits::default();
        limits.max_queue_length = Some(1);
        limits.max_context_bytes = Some(20);
        limits.max_waiting = Some(1);
        database.admin.set_limits("acme", limits).await.unwrap();
        // Also by what its own login is told.
        until(async || {
            own.execute_async("waits", Context::new()).await.is_err_and(|error| error.to_string().contains("max_waiting"))
        })
        .await;
        until(async || {
            let large = Context::new().with("text", "longer than twenty bytes");
            operator.execute("w", large).await.is_err_and(|error| error.kind() == ErrorKind::Context)
        })
        .await;
        let running = operator.execute_async("gated", Context::new()).await.unwrap();
        gate.started().await;
        let error = operator.execute("w", Context::new()).await.unwrap_err();
        assert_error(&error, ErrorKind::Limit, "acme");
        gate.open(1);
        running.wait_for_completion().await.unwrap();
        operator.shutdown().await.unwrap();
        own.shutdown().await.unwrap();
    }

    async fn a_tenant_that_holds_every_lock_it_can_get_stops_nobody_else(database: Administered) {
        let acme = database.tenant("acme").await;
        let theirs = runner(&database.url, Some("acme"), "acme").await;
        database.tenant("globex").await;
        let others = runner(&database.url, Some("globex"), "globex").await;
        works(&theirs).await;
        works(&others).await;
        let session = connect(&acme.connection_string).await.unwrap();
        session
            .batch_execute(
                "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
                 BEGIN; SELECT cloacina.my_bell_lock(); \
                 SELECT cloacina.ring(now()); \
                 SELECT cloacina.my_runner_register(gen_random_uuid(), 1, NULL, NULL, NULL, '{}', '{}', NULL); \
                 LOCK TABLE acme.workflow_executions, acme.task_executions, acme.ready_tasks, acme.task_attempts",
            )
            .await
            .unwrap();
        let waiting = {
            let theirs = theirs.clone();
            tokio::spawn(async move { works(&theirs).await })
        };
        let begun = std::time::Instant::now();
        for _ in 0..100 {
            works(&others).await;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?} for a hundred on a busy machine", begun.elapsed());
        // An administrator is held up by nothing of it either.
        database.admin.verify_tenant("globex").await.unwrap();
        database.admin.list_tenants().await.unwrap();
        let mut limits = TenantLimits::default();
        limits.transaction_timeout = Some(Duration::from_millis(1));
        database.admin.set_limits("acme", limits).await.unwrap();
        until(async || database.admin.reap_sessions().await.unwrap() > 0).await;
        assert_eq!(waiting.await.unwrap(), "acme");
        theirs.shutdown().await.unwrap();
        others.shutdown().await.unwrap();
    }

    async fn an_operator_and_the_tenant_itself_work_side_by_side(database: Administered) {
        let acme = database.tenant("acme").await;
        let gate = Gate::new();
        let open = async |url: &str| {
            Runner::builder().database_url(url).schema("acme").config(quick().build())
                .workflow(workflow("w", [setting("t", "of", "acme")]))
                .workflow(workflow("gated", [gate.task("t")]))
                .build().await.unwrap()
        };
        let (operator, own) = (open(&database.url).await, open(&acme.connection_string).await);
        for _ in 0..10 {
            works(&operator).await;
            works(&own).await;
        }
        assert_eq!(own.list_executions().await.unwrap().len(), 20);
        // Each learns of what the other one does to its executions.
        let execution = own.execute_async("gated", Context::new()).await.unwrap();
        gate.started().await;
        operator.execution(execution.execution_id).cancel().await.unwrap();
        let ended = execution.wait_for_completion().await.unwrap();
        assert_eq!(ended.status, cloacina::ExecutionStatus::Cancelled);
        let execution = operator.execute_async("gated", Context::new()).await.unwrap();
        gate.started().await;
        own.execution(execution.execution_id).cancel().await.unwrap();
        let ended = execution.wait_for_completion().await.unwrap();
        assert_eq!(ended.status, cloacina::ExecutionStatus::Cancelled);
        own.shutdown().await.unwrap();
        operator.shutdown().await.unwrap();
        let left = "SELECT coalesce(string_agg(state || ' of ' || coalesce(tenant_id::text, 'the operator'), ', '), '') FROM cloacina.runner";
        let left: String = database.superuser().await.query_one(left, &[]).await.unwrap().get(0);
        assert_eq!(left, "", "runners that signed off are gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_around_the_commit_leaves_a_whole_tenant_or_none() {
    let test = async {
        let direct = Administered::by_a_provisioner().await;
        direct.admin.list_tenants().await.unwrap();
        for cut in [Cut::BeforeCommit, Cut::BeforeReply] {
            // The commits of the look at the rights and of the preparation come before.
            for nth in 3..6 {
                let proxy = Proxy::start(&direct.url).await.unwrap();
                let admin = DatabaseAdmin::new(Database::new(proxy.url(), &database_of(&direct.url), 2));
                proxy.cut_at_commit(nth, cut);
                let made = admin.create_tenant(direct.config("acme")).await;
                if let Err(error) = &made {
                    assert_eq!(error.kind(), AdminErrorKind::Unavailable, "{error:?}");
                }
                // Whatever was answered: the tenant is whole, or there is nothing of it in the way of another
                // try.
                let there = !direct.admin.list_tenants().await.unwrap().is_empty();
                if made.is_ok() {
                    assert!(there);
                }
                let again = direct.admin.create_tenant(direct.config("acme")).await;
                match again {
                    Ok(_) => assert!(!there),
                    Err(error) => {
                        assert_eq!(error.kind(), AdminErrorKind::AlreadyExists, "{error:?}");
                        assert!(there);
                    }
                }
                // A lost password is a rotation.
                let credentials =
                    direct.admin.rotate_credentials_within("acme", Duration::ZERO).await.unwrap();
                direct.admin.verify_tenant("acme").await.unwrap();
                let own = runner(&credentials.connection_string, None, "acme").await;
                works(&own).await;
                own.shutdown().await.unwrap();

                let proxy = Proxy::start(&direct.url).await.unwrap();
                let admin = DatabaseAdmin::new(Database::new(proxy.url(), &database_of(&direct.url), 2));
                proxy.cut_at_commit(nth, cut);
                // Whether this one succeeds depends on where it is cut; the next one does.
                drop(admin.remove_tenant("acme", &credentials.username).await);
                direct.admin.remove_tenant("acme", &credentials.username).await.unwrap();
                assert!(direct.admin.list_tenants().await.unwrap().is_empty());
            }
        }
    };
    Box::pin(in_time(test)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_preflight_prints_what_is_missing_and_that_suffices() {
    let test = async {
        // On a server of its own, on which the three roles have not been made yet.
        let cluster = Cluster::start().unwrap();
        let url = cluster.fresh_database().await.unwrap();
        let superuser = connect(&cluster.superuser_url_of(&url)).await.unwrap();
        let login = database_of(&url);
        superuser.batch_execute(&format!("ALTER DATABASE {login} OWNER TO postgres")).await.unwrap();
        let admin = DatabaseAdmin::new(Database::new(&url, &login, 2));
        let preflight = admin.preflight().await.unwrap();
        assert_eq!(
            preflight.missing,
            [
                format!("ALTER ROLE \"{login}\" CREATEROLE;"),
                format!("GRANT CREATE ON DATABASE \"{login}\" TO \"{login}\";"),
            ]
        );
        assert!(preflight.hardening.iter().any(|statement| statement.contains("TEMPORARY")), "{preflight:?}");
        let config = TenantConfig {
            schema_name: "acme".into(),
            username: "acme_user".into(),
            password: String::new(),
        };
        let error = admin.create_tenant(config.clone()).await.unwrap_err();
        assert_admin_error(&error, AdminErrorKind::Privileges, &preflight.missing[0]);
        for statement in preflight.missing.iter().chain(&preflight.databases).chain(&preflight.hardening) {
            superuser.batch_execute(statement).await.unwrap();
        }
        assert_eq!(admin.preflight().await.unwrap(), cloacina::database::Preflight::default());
        let credentials = admin.create_tenant(config).await.unwrap();
        admin.verify_tenant("acme").await.unwrap();
        let own = runner(&credentials.connection_string, None, "acme").await;
        assert_eq!(works(&own).await, "acme");
        own.shutdown().await.unwrap();

        // Another login of the operator is let in by name.
        superuser.batch_execute("CREATE ROLE app LOGIN PASSWORD 'app password'").await.unwrap();
        let app = cluster.url("app", "app password", &login);
        let error = Runner::with_schema(&app, "acme").await.unwrap_err();
        assert_error(&error, ErrorKind::Place, "GRANT cloacina_engine TO \"app\"");
        let error = admin.allow_operator("nobody").await.unwrap_err();
        assert_admin_error(&error, AdminErrorKind::Configuration, "nobody");
        admin.allow_operator("app").await.unwrap();
        let operator = runner(&app, Some("acme"), "operator").await;
        assert_eq!(works(&operator).await, "operator");
        operator.shutdown().await.unwrap();
        // It may serve tenants, and not administer them.
        let error = DatabaseAdmin::new(Database::new(&app, &login, 2)).suspend("acme").await.unwrap_err();
        assert_admin_error(&error, AdminErrorKind::Privileges, "CREATEROLE");
        admin.remove_tenant("acme", "acme_user").await.unwrap();
    };
    Box::pin(in_time(test)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_in_the_clear_never_reaches_the_server() {
    let test = async {
        let cluster = Cluster::start().unwrap();
        let url = cluster.fresh_database().await.unwrap();
        let superuser_url = cluster.superuser_url_of(&url);
        let superuser = connect(&superuser_url).await.unwrap();
        superuser.batch_execute("ALTER SYSTEM SET log_statement = 'all'").await.unwrap();
        superuser.batch_execute("ALTER SYSTEM SET log_min_error_statement = 'debug5'").await.unwrap();
        superuser.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let admin = DatabaseAdmin::new(Database::new(&superuser_url, &database_of(&url), 2));
        let config = TenantConfig {
            schema_name: "acme".into(),
            username: "acme_user".into(),
            password: "open sesame".into(),
        };
        let credentials = admin.create_tenant(config.clone()).await.unwrap();
        let drawn = admin.rotate_credentials("acme").await.unwrap();
        let error = admin.create_tenant(config).await.unwrap_err();
        let log = std::fs::read_to_string(cluster.socket_directory().join("log")).unwrap();
        assert!(
            log.contains("CREATE ROLE \"acme_user\"") && log.contains("SCRAM-SHA-256$4096:"),
            "the log is the right one"
        );
        let stored: String = superuser
            .query_one("SELECT rolpassword FROM pg_authid WHERE rolname = 'acme_user'", &[])
            .await
            .unwrap()
            .get(0);
        let said = format!("{log} {stored} {error} {error:?} {credentials:?} {admin:?} {drawn:?}");
        for secret in ["open sesame", "open%20sesame", &*drawn.password, &*drawn.connection_string] {
            assert!(!said.contains(secret), "{secret} was told");
        }
    };
    Box::pin(in_time(test)).await;
}

#[test]
fn a_database_whose_name_is_not_the_one_in_its_url_is_refused_when_it_is_used() {
    let database = Database::new("postgresql://admin:sesame@localhost/one", "another", 5);
    assert!(!format!("{database:?}").contains("sesame"));
    let error = blocking::DatabaseAdmin::new(database).list_tenants().unwrap_err();
    assert_admin_error(&error, AdminErrorKind::Configuration, "another");
    assert!(!format!("{error} {error:?}").contains("sesame"));
    let error =
        blocking::DatabaseAdmin::new(Database::new("sqlite://x.db", "x", 5)).list_tenants().unwrap_err();
    assert_admin_error(&error, AdminErrorKind::Configuration, "postgres://");
}
