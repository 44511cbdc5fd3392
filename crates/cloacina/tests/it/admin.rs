//! Tenants with database logins of their own, through `DatabaseAdmin`.

use std::time::Duration;

use cloacina::database::{
    AdminError, AdminErrorKind, Database, DatabaseAdmin, TenantConfig, TenantCredentials,
};
use cloacina::runner::DefaultRunner;
use cloacina::{Context, ErrorKind};
use cloacina_testing::cluster::Cluster;
use tokio_postgres::{Client, NoTls};

use crate::support::{assert_error, in_time, quick, setting, workflow};

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
        Self { superuser_url: server.superuser_url_of(&url), url, admin }
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
pub(crate) async fn runner(url: &str, schema: Option<&str>, of: &'static str) -> DefaultRunner {
    let builder = DefaultRunner::builder().database_url(url).config(quick().build());
    let builder = match schema {
        Some(schema) => builder.schema(schema),
        None => builder,
    };
    builder.workflow(workflow("w", [setting("t", "of", of)])).build().await.unwrap()
}

pub(crate) async fn works(runner: &DefaultRunner) -> String {
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
        let error = DefaultRunner::with_schema(&database.url, "acme").await.unwrap_err();
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
        let error = DefaultRunner::with_schema(&database.url, "acme").await.unwrap_err();
        assert_error(&error, ErrorKind::Place, "suspended");
        database.admin.suspend("acme").await.unwrap();
        database.admin.resume("acme").await.unwrap();
        let own = runner(&credentials.connection_string, None, "acme").await;
        assert_eq!(works(&own).await, "acme");
        own.shutdown().await.unwrap();
    }
}
