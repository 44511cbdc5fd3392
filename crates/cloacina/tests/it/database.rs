//! Tenants with databases of their own.

use std::collections::BTreeSet;
use std::time::Duration;

use cloacina::database::{AdminErrorKind, Database as AdminDatabase, DatabaseAdmin, Placement, TenantState};
use cloacina::runner::{Runner, RunnerConfig};
use cloacina::{Context, ErrorKind};
use cloacina_testing::cluster::Cluster;
use cloacina_testing::proxy::{Cut, Proxy};

use crate::admin::Administered;
use crate::support::{assert_error, idle, in_time, workflow};

fn database_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

async fn open(url: &str, tenant: &str) -> Result<Runner, cloacina::Error> {
    let config = RunnerConfig::builder().workflow(workflow("w", [idle("t")])).build();
    Runner::builder().database_url(url).tenant(tenant).config(config).build().await
}

/// The databases of the server that the registry of this database knows, and those of them that there are.
async fn databases(database: &Administered) -> (BTreeSet<String>, BTreeSet<String>) {
    let superuser = database.superuser().await;
    let names = async |sql: &str| -> BTreeSet<String> {
        superuser.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    let known = "SELECT schema_name FROM cloacina.tenant WHERE placement = 'database' AND state <> 'removed'";
    let there = "SELECT datname::text FROM pg_database JOIN cloacina.tenant ON datname = schema_name";
    (names(known).await, names(there).await)
}

/// Closes what PostgreSQL 14 leaves open in a tenant's database, as a superuser and as the preflight says.
/// From 15 on it says nothing.
async fn close(database: &Administered, made: &str) {
    // The administrator is called as its database.
    let inside = |url: &str| format!("{}/{made}", url.rsplit_once('/').unwrap().0);
    let admin = DatabaseAdmin::new(AdminDatabase::new(&inside(&database.url), made, 1));
    let hardening = admin.preflight().await.unwrap().hardening;
    let superuser = crate::admin::connect(&inside(&database.superuser_url)).await.unwrap();
    let version = "SELECT current_setting('server_version_num')::integer";
    if superuser.query_one(version, &[]).await.unwrap().get::<_, i32>(0) >= 150_000 {
        assert_eq!(hardening, Vec::<String>::new());
    }
    superuser.batch_execute(&hardening.concat()).await.unwrap();
    assert_eq!(admin.preflight().await.unwrap(), cloacina::database::Preflight::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_reaches_it_by_the_tenants_name_and_nobody_else_gets_in() {
    let test = async {
        let database = Administered::by_a_provisioner().await;
        let cluster = Cluster::shared().unwrap();
        let operator = cluster.ordinary_login(&database.url).await.unwrap();
        let login = operator.split("://").nth(1).unwrap().split(':').next().unwrap();
        database.admin.allow_operator(login).await.unwrap();
        let made = database.admin.create_tenant_database("acme").await.unwrap();
        assert!(!made.contains("acme"), "{made}");

        close(&database, &made).await;

        let acme = open(&operator, "acme").await.unwrap();
        assert_eq!(acme.place(), "acme");
        assert!(acme.execute("w", Context::new()).await.unwrap().status.is_success());
        let by_schema = Runner::with_schema(&operator, &made).await.unwrap_err();
        assert_error(&by_schema, ErrorKind::Configuration, "has a database of its own");

        let nobody = cluster.ordinary_login(&database.url).await.unwrap();
        let inside = nobody.replace(database_of(&database.url), &made);
        let refused = tokio_postgres::connect(&inside, tokio_postgres::NoTls).await.err().unwrap();
        assert_eq!(refused.code(), Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE));
        // The operator owns nothing there.
        let (client, connection) = tokio_postgres::connect(
            &operator.replace(database_of(&database.url), &made),
            tokio_postgres::NoTls,
        )
        .await
        .unwrap();
        tokio::spawn(connection);
        for statement in [
            "CREATE SCHEMA x",
            "CREATE TEMP TABLE t ()",
            &format!("CREATE TABLE {made}.x ()"),
            "CREATE TABLE public.x ()",
        ] {
            assert!(client.batch_execute(statement).await.is_err(), "{statement}");
        }

        let tenants = database.admin.list_tenants().await.unwrap();
        assert_eq!((tenants[0].name.as_str(), tenants[0].placement), ("acme", Placement::Database));
        assert!(database.admin.migrate_tenants(&[]).await.unwrap().is_empty());
        for again in ["acme", "ACME"] {
            let error = database.admin.create_tenant_database(again).await.unwrap_err();
            assert_eq!(error.kind(), AdminErrorKind::AlreadyExists, "{error}");
        }
        // Sessions of a login that the administrator is not over keep the database, but nobody new gets in.
        let kept = database.admin.remove_tenant_database("acme", Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(kept.kind(), AdminErrorKind::Busy, "{kept}");
        assert!(open(&operator, "acme").await.is_err());
        acme.shutdown().await.unwrap();
        drop(client);
        crate::support::until(async || {
            database.admin.remove_tenant_database("acme", Duration::ZERO).await.is_ok()
        })
        .await;
        assert_eq!(databases(&database).await, Default::default());
        let gone = open(&operator, "acme").await.unwrap_err();
        assert_error(&gone, ErrorKind::Place, "`acme`");
    };
    Box::pin(in_time(test)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_making_that_is_cut_short_before_a_commit_is_gone_on_with() {
    Box::pin(in_time(a_making_goes_on(Cut::BeforeCommit))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_making_that_is_cut_short_after_a_commit_is_gone_on_with() {
    Box::pin(in_time(a_making_goes_on(Cut::BeforeReply))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_is_cut_short_before_a_commit_is_gone_on_with() {
    Box::pin(in_time(a_removal_goes_on(Cut::BeforeCommit))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_is_cut_short_after_a_commit_is_gone_on_with() {
    Box::pin(in_time(a_removal_goes_on(Cut::BeforeReply))).await;
}

/// Cuts a making at its first commit, the next at its second, and so on, until one goes through.
async fn a_making_goes_on(cut: Cut) {
    let direct = Administered::by_a_provisioner().await;
    direct.admin.list_tenants().await.unwrap();
    let mut half = 0;
    for nth in 1.. {
        let (admin, _proxy) = cut_at(&direct, nth, cut).await;
        let made = admin.create_tenant_database("acme").await;
        let state = direct.admin.list_tenants().await.unwrap().first().map(|tenant| tenant.state);
        half += usize::from(state == Some(TenantState::Creating));
        if state == Some(TenantState::Creating) {
            let error = open(&direct.url, "acme").await.unwrap_err();
            assert_error(&error, ErrorKind::Place, "is being made");
        }
        match direct.admin.create_tenant_database("acme").await {
            Ok(_) => assert_ne!(state, Some(TenantState::Active)),
            Err(error) => assert_eq!(error.kind(), AdminErrorKind::AlreadyExists, "{error}"),
        }
        works(&direct).await;
        direct.admin.remove_tenant_database("acme", Duration::ZERO).await.unwrap();
        if made.is_ok() {
            break;
        }
    }
    assert!(half >= 2, "{half} times something was left half made");
}

async fn a_removal_goes_on(cut: Cut) {
    let direct = Administered::by_a_provisioner().await;
    direct.admin.list_tenants().await.unwrap();
    let mut half = 0;
    for nth in 1.. {
        direct.admin.create_tenant_database("acme").await.unwrap();
        works(&direct).await;
        let (admin, _proxy) = cut_at(&direct, nth, cut).await;
        let removed = admin.remove_tenant_database("acme", Duration::from_secs(5)).await;
        let state = direct.admin.list_tenants().await.unwrap().first().map(|tenant| tenant.state);
        half += usize::from(state == Some(TenantState::Removing));
        let again = direct.admin.remove_tenant_database("acme", Duration::ZERO).await;
        assert!(removed.is_ok() || again.is_ok(), "{removed:?}, {again:?}");
        assert_eq!(databases(&direct).await, Default::default());
        if removed.is_ok() {
            break;
        }
    }
    assert!(half >= 2, "{half} times something was left half removed");
}

/// An administrator whose connection is cut at a commit. The first commits are those of its looks at the
/// rights.
async fn cut_at(direct: &Administered, nth: u64, cut: Cut) -> (DatabaseAdmin, Proxy) {
    let proxy = Proxy::start(&direct.url).await.unwrap();
    proxy.cut_at_commit(nth, cut);
    let admin = DatabaseAdmin::new(AdminDatabase::new(proxy.url(), database_of(&direct.url), 2));
    (admin, proxy)
}

async fn works(direct: &Administered) {
    let acme = open(&direct.url, "acme").await.unwrap();
    assert!(acme.execute("w", Context::new()).await.unwrap().status.is_success());
    acme.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_administrators_at_once_one_makes_it() {
    let test = async {
        let database = Administered::by_a_provisioner().await;
        database.admin.list_tenants().await.unwrap();
        let making: Vec<_> = (0..4)
            .map(|_| {
                let admin =
                    DatabaseAdmin::new(AdminDatabase::new(&database.url, database_of(&database.url), 2));
                tokio::spawn(async move { admin.create_tenant_database("acme").await })
            })
            .collect();
        let mut made = Vec::new();
        for one in making {
            match one.await.unwrap() {
                Ok(name) => made.push(name),
                Err(error) => assert_eq!(error.kind(), AdminErrorKind::AlreadyExists, "{error}"),
            }
        }
        let (known, there) = databases(&database).await;
        assert!(
            made.len() == 1 && known == there && known.contains(&made[0]),
            "{made:?}, {known:?}, {there:?}"
        );
        database.admin.remove_tenant_database("acme", Duration::ZERO).await.unwrap();
    };
    Box::pin(in_time(test)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_points_to_another_tenants_database_opens_nothing() {
    let test = async {
        let database = Administered::by_a_provisioner().await;
        let acme = database.admin.create_tenant_database("acme").await.unwrap();
        let globex = database.admin.create_tenant_database("globex").await.unwrap();
        let swap = format!(
            "UPDATE cloacina.tenant SET schema_name = 'elsewhere' WHERE schema_name = '{acme}'; \
             UPDATE cloacina.tenant SET schema_name = '{acme}' WHERE name = 'globex'; \
             UPDATE cloacina.tenant SET schema_name = '{globex}' WHERE name = 'acme'"
        );
        database.superuser().await.batch_execute(&swap).await.unwrap();
        for tenant in ["acme", "globex"] {
            let error = open(&database.url, tenant).await.unwrap_err();
            assert_error(&error, ErrorKind::Place, "holds another tenant");
        }
    };
    Box::pin(in_time(test)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_may_make_no_databases_is_told_what_it_lacks() {
    let test = async {
        let database = Administered::by_a_provisioner().await;
        let login = database_of(&database.url);
        let owner: String = database
            .superuser()
            .await
            .query_one("SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = $1", &[&login])
            .await
            .unwrap()
            .get(0);
        let sql = format!("ALTER ROLE \"{owner}\" NOCREATEDB");
        database.superuser().await.batch_execute(&sql).await.unwrap();
        let preflight = database.admin.preflight().await.unwrap();
        assert!(preflight.is_ready());
        assert_eq!(preflight.databases, [format!("ALTER ROLE \"{owner}\" CREATEDB;")]);
        let error = database.admin.create_tenant_database("acme").await.unwrap_err();
        assert_eq!(error.kind(), AdminErrorKind::Privileges, "{error}");
        database.superuser().await.batch_execute(&preflight.databases[0]).await.unwrap();
        database.admin.create_tenant_database("acme").await.unwrap();
    };
    Box::pin(in_time(test)).await;
}
