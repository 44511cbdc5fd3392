//! What one tenant does with its own login, over plain SQL, so that others wait: they do not.

use std::time::Duration;

use cloacina::database::{
    AdminErrorKind, Database, DatabaseAdmin, TenantConfig, TenantCredentials, TenantLimits, TenantState,
};
use cloacina_testing::cluster::Cluster;
use tokio_postgres::Client;

use crate::admin::{Administered, connect, database_of, runner, works};
use crate::support::{in_time, until};

/// A session of a tenant's that no timeout ends.
async fn session(tenant: &TenantCredentials) -> Client {
    let session = connect(&tenant.connection_string).await.unwrap();
    session
        .batch_execute(
            "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0",
        )
        .await
        .unwrap();
    session
}

async fn number(client: &Client, text: &str) -> i64 {
    client.query_one(text, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_leaves_no_more_notices_than_it_may_however_many_sessions_it_has() {
    let test = async {
        let database = Administered::by_a_provisioner().await;
        let acme = database.tenant("acme").await;
        database.tenant("globex").await;
        let other = runner(&database.url, Some("globex"), "globex").await;
        let begun = std::time::Instant::now();
        let flood = (0..8).map(|_| {
            let acme = acme.clone();
            tokio::spawn(async move {
                let session = session(&acme).await;
                let notices =
                    "SELECT cloacina.my_notice(ARRAY(SELECT gen_random_uuid() FROM generate_series(1, 700)))";
                for _ in 0..40 {
                    session.batch_execute(notices).await.unwrap();
                }
            })
        });
        for session in flood.collect::<Vec<_>>() {
            works(&other).await;
            session.await.unwrap();
        }
        let windows = 1 + i64::try_from(begun.elapsed().as_secs()).unwrap() / 10;
        let superuser = database.superuser().await;
        let there = number(&superuser, "SELECT count(*) FROM cloacina.notice").await;
        assert!((1..=1000 * windows).contains(&there), "{there} in {windows} times ten seconds");
        let later = "SELECT count(*) FROM cloacina.notice WHERE created_at NOT BETWEEN now() - interval '1 hour' AND now()";
        assert_eq!(number(&superuser, later).await, 0);
        other.shutdown().await.unwrap();
    };
    Box::pin(in_time(test)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_ends_what_a_tenant_planted_leaves_no_more_notices_either() {
    let test = async {
        let database = Administered::by_a_provisioner().await;
        let acme = database.tenant("acme").await;
        let operator = runner(&database.url, Some("acme"), "operator").await;
        works(&operator).await;
        let session = session(&acme).await;
        session
            .batch_execute(
                "INSERT INTO workflow_executions (tenant_id, id, workflow, fingerprint, state, priority, input, created_at, deadline)
                     SELECT tenant_id, gen_random_uuid(), 'planted', 1, 'pending', 5, '{}', now(), now() FROM cloacina.me(), generate_series(1, 5000);
                 INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
                     SELECT tenant_id, 0, deadline, id, '' FROM workflow_executions WHERE workflow = 'planted';
                 SELECT cloacina.ring(now())",
            )
            .await
            .unwrap();
        let superuser = database.superuser().await;
        until(async || number(&superuser, "SELECT count(*) FROM acme.due_rows").await == 0).await;
        let ended = "SELECT count(*) FROM acme.workflow_executions WHERE workflow = 'planted' AND state = 'cancelled'";
        assert_eq!(number(&superuser, ended).await, 5000);
        let there = number(
            &superuser,
            "SELECT count(*) FROM cloacina.notice WHERE created_at > now() - interval '10 seconds'",
        )
        .await;
        assert!(there <= 2000, "{there}");
        operator.shutdown().await.unwrap();
    };
    Box::pin(in_time(test)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_has_no_more_runners_than_it_may_however_they_are_registered_at_once() {
    let test = async {
        let database = Administered::by_a_provisioner().await;
        let acme = database.tenant("acme").await;
        for level in ["READ COMMITTED", "REPEATABLE READ"] {
            let ready = std::sync::Arc::new(tokio::sync::Barrier::new(16));
            let sessions = (0..16).map(|_| {
                let (acme, ready) = (acme.clone(), ready.clone());
                tokio::spawn(async move {
                    let session = session(&acme).await;
                    // Each of them sees none but its own.
                    let begin = format!("BEGIN ISOLATION LEVEL {level}; SELECT FROM cloacina.my_runners()");
                    session.batch_execute(&begin).await.unwrap();
                    ready.wait().await;
                    let register = "SELECT cloacina.my_runner_register(gen_random_uuid(), 60000, NULL, NULL, NULL, '{}', '{}', NULL)
                        FROM generate_series(1, 10); COMMIT";
                    session.batch_execute(register).await.is_ok()
                })
            });
            let mut registered = 0;
            for session in sessions.collect::<Vec<_>>() {
                registered += i64::from(session.await.unwrap()) * 10;
            }
            assert!((10..=64).contains(&registered), "{level}: {registered}");
            let superuser = database.superuser().await;
            assert_eq!(number(&superuser, "SELECT count(*) FROM cloacina.runner").await, registered);
            superuser
                .batch_execute("DELETE FROM cloacina.runner; DELETE FROM cloacina.runner_place")
                .await
                .unwrap();
        }
    };
    Box::pin(in_time(test)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bell_or_a_runner_that_a_tenant_changes_all_the_time_is_seldom_written() {
    let test = async {
        let database = Administered::by_a_provisioner().await;
        let acme = database.tenant("acme").await;
        let session = session(&acme).await;
        let superuser = database.superuser().await;
        let begun = std::time::Instant::now();
        session
            .batch_execute(
                "SELECT cloacina.my_runner_register('00000000-0000-0000-0000-000000000001', 60000, NULL, NULL, NULL, '{}', '{}', NULL);
                 DO $$ BEGIN
                     FOR n IN 1..5000 LOOP
                         PERFORM cloacina.ring('2000-01-01'::timestamptz - n * interval '1 second');
                         PERFORM * FROM cloacina.my_runner_heartbeat('00000000-0000-0000-0000-000000000001', '{}', '{}', NULL);
                     END LOOP;
                 END $$",
            )
            .await
            .unwrap();
        let rung: String = superuser
            .query_one("SELECT due_at::text FROM cloacina.doorbell WHERE due_at IS NOT NULL", &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(rung, "-infinity", "it stays rung");
        let beats = number(&superuser, "SELECT beat FROM cloacina.runner").await;
        let most = 20 * (2 + i64::try_from(begun.elapsed().as_secs()).unwrap());
        assert!((1..=most).contains(&beats), "{beats}");
        // It is lowered once that is over, and then says again what is due.
        until(async || {
            session.batch_execute("SELECT cloacina.my_bell_lower(NULL)").await.unwrap();
            number(&superuser, "SELECT count(*) FROM cloacina.doorbell WHERE due_at IS NOT NULL").await == 0
        })
        .await;
    };
    Box::pin(in_time(test)).await;
}

/// Holds rows of the catalogs that an administrator has to change: its own role's, and its schema's.
async fn holds_its_role(tenant: &TenantCredentials) -> Client {
    let session = session(tenant).await;
    let hold = format!(
        "BEGIN; ALTER ROLE {} PASSWORD 'open sesame'; GRANT USAGE ON SCHEMA acme TO PUBLIC",
        tenant.username
    );
    session.batch_execute(&hold).await.unwrap();
    session
}

async fn an_administrator_is_not_held_off(database: Administered) {
    let acme = database.tenant("acme").await;
    let own = runner(&acme.connection_string, None, "acme").await;
    works(&own).await;
    let held = holds_its_role(&acme).await;
    database.admin.set_limits("acme", TenantLimits::default()).await.unwrap();
    assert!(held.batch_execute("SELECT 1").await.is_err());
    let held = holds_its_role(&acme).await;
    let new = database.admin.rotate_credentials("acme").await.unwrap();
    assert!(held.batch_execute("SELECT 1").await.is_err());
    // Only what was in the way was ended.
    works(&own).await;
    own.shutdown().await.unwrap();
    let other = session(&new).await;
    other.batch_execute(&format!("BEGIN; ALTER ROLE {} PASSWORD 'open sesame'", new.username)).await.unwrap();
    let held = [holds_its_role(&acme).await, other];
    database.admin.suspend("acme").await.unwrap();
    for (session, login) in held.iter().zip([&acme, &new]) {
        assert!(session.batch_execute("SELECT 1").await.is_err());
        assert!(connect(&login.connection_string).await.is_err());
    }
    database.admin.resume("acme").await.unwrap();
    // The first login is closed at once by another rotation, and by it alone, whatever it holds.
    let held = holds_its_role(&new).await;
    let last = database.admin.rotate_credentials_within("acme", Duration::ZERO).await.unwrap();
    assert!(held.batch_execute("SELECT 1").await.is_err());
    assert!(connect(&new.connection_string).await.is_err());
    database.admin.verify_tenant("acme").await.unwrap();
    let held = holds_its_role(&last).await;
    database.admin.remove_tenant_within("acme", &last.username, Duration::ZERO).await.unwrap();
    assert!(held.batch_execute("SELECT 1").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_holds_on_to_its_role_holds_off_no_administrator() {
    Box::pin(in_time(async {
        an_administrator_is_not_held_off(Administered::by_a_provisioner().await).await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_holds_on_to_its_role_holds_off_no_superuser() {
    Box::pin(in_time(async { an_administrator_is_not_held_off(Administered::by_a_superuser().await).await }))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tenant_prepared_is_rolled_back_or_named_with_the_statement_to_run() {
    let test = async {
        let cluster = Cluster::start().unwrap();
        let url = cluster.fresh_database().await.unwrap();
        cluster.make_administrator(&url).await.unwrap();
        let superuser_url = cluster.superuser_url_of(&url);
        let settings = connect(&superuser_url).await.unwrap();
        settings.batch_execute("ALTER SYSTEM SET max_prepared_transactions = 10").await.unwrap();
        cluster.restart().unwrap();
        let by = |url: &str| DatabaseAdmin::new(Database::new(url, &database_of(url), 3));
        let (provisioner, superuser) = (by(&url), by(&superuser_url));
        let config = TenantConfig {
            schema_name: "acme".to_owned(),
            username: "acme_user".to_owned(),
            password: String::new(),
        };
        let acme = provisioner.create_tenant(config).await.unwrap();
        let session = connect(&superuser_url).await.unwrap();
        let act = async |admin: &DatabaseAdmin, remove| {
            if remove {
                admin.remove_tenant_within("acme", "acme_user", Duration::ZERO).await
            } else {
                admin.suspend("acme").await
            }
        };
        for (remove, admin) in [(false, &superuser), (true, &provisioner)] {
            let held = holds_its_role(&acme).await;
            held.batch_execute("PREPARE TRANSACTION 'it''s mine'").await.unwrap();
            let acted = act(admin, remove).await;
            assert!(held.batch_execute("SELECT 1").await.is_err());
            if remove {
                let error = acted.unwrap_err();
                assert_eq!(error.kind(), AdminErrorKind::Remains, "{error}");
                let statement = "ROLLBACK PREPARED 'it''s mine';";
                assert!(error.to_string().contains(statement), "{error}");
                assert_eq!(admin.list_tenants().await.unwrap()[0].state, TenantState::Removing);
                session.batch_execute(statement).await.unwrap();
                act(admin, remove).await.unwrap();
            } else {
                acted.unwrap();
            }
            assert!(connect(&acme.connection_string).await.is_err());
            if !remove {
                admin.resume("acme").await.unwrap();
                // What is over its time is looked for all the time.
                let mut limits = TenantLimits::default();
                limits.transaction_timeout = Some(Duration::from_millis(1));
                admin.set_limits("acme", limits).await.unwrap();
                let prepares = connect(&acme.connection_string).await.unwrap();
                prepares
                    .batch_execute("BEGIN; LOCK TABLE acme.ready_tasks; PREPARE TRANSACTION 'more'")
                    .await
                    .unwrap();
                until(async || {
                    provisioner.reap_sessions().await.unwrap();
                    admin.reap_sessions().await.unwrap();
                    number(&session, "SELECT count(*) FROM pg_prepared_xacts").await == 0
                })
                .await;
                admin.set_limits("acme", TenantLimits::default()).await.unwrap();
            }
        }
    };
    Box::pin(in_time(test)).await;
}

/// What a tenant can only do where what the preflight says was not run.
async fn left_open(database: &Administered) {
    let open = "GRANT EXECUTE ON FUNCTION lo_create(oid), pg_advisory_lock(bigint) TO PUBLIC";
    database.superuser().await.batch_execute(open).await.unwrap();
}

/// Makes a large object that another role may read.
async fn grants(session: &Client, to: &str) {
    let object: u32 = session.query_one("SELECT lo_create(0)", &[]).await.unwrap().get(0);
    session.batch_execute(&format!("GRANT SELECT ON LARGE OBJECT {object} TO {to}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tenant_grants_is_a_finding_about_itself_and_about_nobody_else() {
    let test = async {
        let database = Administered::by_a_provisioner().await;
        let (acme, globex) = (database.tenant("acme").await, database.tenant("globex").await);
        left_open(&database).await;
        let error = database.admin.verify_tenant("globex").await.unwrap_err();
        let revoke = "(REVOKE EXECUTE ON FUNCTION lo_create(oid), pg_advisory_lock(bigint) FROM PUBLIC;)";
        assert!(error.to_string().contains(revoke), "{error}");
        let session = session(&acme).await;
        grants(&session, &globex.username).await;
        let default = format!("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {}", globex.username);
        session.batch_execute(&default).await.unwrap();
        let closed = "REVOKE EXECUTE ON FUNCTION lo_create(oid), pg_advisory_lock(bigint) FROM PUBLIC";
        database.superuser().await.batch_execute(closed).await.unwrap();
        database.admin.verify_tenant("globex").await.unwrap();
        let error = database.admin.verify_tenant("acme").await.unwrap_err();
        assert_eq!(error.kind(), AdminErrorKind::NotIsolated);
        assert!(error.to_string().contains(&format!("{} owns large object", acme.username)), "{error}");
        database.admin.remove_tenant("globex", &globex.username).await.unwrap();
        database.admin.remove_tenant("acme", &acme.username).await.unwrap();
    };
    Box::pin(in_time(test)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_in_another_database_keeps_a_role_and_no_data_of_the_tenant_that_it_was_granted() {
    let test = async {
        let database = Administered::by_a_provisioner().await;
        let (acme, globex) = (database.tenant("acme").await, database.tenant("globex").await);
        let elsewhere = Cluster::shared().unwrap().fresh_database().await.unwrap();
        let url =
            acme.connection_string.replace(database_of(&database.url).as_str(), &database_of(&elsewhere));
        // The login has the name of its database in it.
        let url = url.replacen(&database_of(&elsewhere), &database_of(&database.url), 1);
        let session = connect(&url).await.unwrap();
        grants(&session, &globex.username).await;
        let error = database.admin.remove_tenant("globex", &globex.username).await.unwrap_err();
        assert_eq!(error.kind(), AdminErrorKind::Remains, "{error}");
        assert!(error.to_string().contains(&database_of(&elsewhere)), "{error}");
        let superuser = database.superuser().await;
        assert_eq!(number(&superuser, "SELECT count(*) FROM pg_namespace WHERE nspname = 'globex'").await, 0);
        assert!(connect(&globex.connection_string).await.is_err());
        session.batch_execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata").await.unwrap();
        database.admin.remove_tenant("globex", &globex.username).await.unwrap();
        // What keeps a tenant from there is in the preflight.
        let hardening = database.admin.preflight().await.unwrap().hardening.concat();
        assert!(
            hardening.contains(&format!(
                "REVOKE CONNECT ON DATABASE \"{}\" FROM PUBLIC;",
                database_of(&elsewhere)
            ))
        );
        assert!(hardening.contains("REVOKE CONNECT ON DATABASE \"postgres\" FROM PUBLIC;"));
    };
    Box::pin(in_time(test)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_locks_its_tables_is_not_measured_and_all_others_are() {
    let test = async {
        let database = Administered::by_a_provisioner().await;
        let acme = database.tenant("acme").await;
        for tenant in ["globex", "initech"] {
            database.tenant(tenant).await;
        }
        let session = session(&acme).await;
        session.batch_execute("BEGIN; LOCK TABLE acme.task_attempts").await.unwrap();
        let begun = std::time::Instant::now();
        assert_eq!(database.admin.measure_tenants().await.unwrap(), 2);
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        let measured = async || {
            let tenants = database.admin.list_tenants().await.unwrap();
            tenants.iter().map(|tenant| tenant.measured_at.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(measured().await, [false, true, true]);
        session.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(database.admin.measure_tenants().await.unwrap(), 3);
        assert_eq!(measured().await, [true; 3]);
    };
    Box::pin(in_time(test)).await;
}
