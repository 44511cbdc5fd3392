//! Two tenants in one placement.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cloacina::data::{Data, DataError, TenantDb};
use cloacina::database::{AdminErrorKind, Database, DatabaseAdmin, TenantConfig, TenantCredentials};
use cloacina::runner::{Runner, RunnerConfig};
use cloacina::{RetryPolicy, TaskDefinition, Workflow};
use cloacina_testing::cluster::{Cluster, Server};
use tempfile::TempDir;

/// Longer than any test takes, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// Runs each test in every placement, in modules named after them.
macro_rules! in_each_placement {
    ($($(#[$attribute:meta])* async fn $name:ident($place:ident: Placement) $body:block)*) => {
        $($(#[$attribute])* async fn $name($place: $crate::support::Placement) $body)*

        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = super::$name($crate::support::Placement::sqlite());
                    tokio::time::timeout($crate::support::PATIENCE, Box::pin(test)).await.expect("it ends in time");
                }
            )*
        }

        mod schema {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = super::$name($crate::support::Placement::schema().await);
                    tokio::time::timeout($crate::support::PATIENCE, Box::pin(test)).await.expect("it ends in time");
                }
            )*
        }

        mod own_role {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = super::$name($crate::support::Placement::own_role().await);
                    tokio::time::timeout($crate::support::PATIENCE, Box::pin(test)).await.expect("it ends in time");
                }
            )*
        }

        mod shared {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = super::$name($crate::support::Placement::shared().await);
                    tokio::time::timeout($crate::support::PATIENCE, Box::pin(test)).await.expect("it ends in time");
                }
            )*
        }

        mod database {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = super::$name($crate::support::Placement::database().await);
                    tokio::time::timeout($crate::support::PATIENCE, Box::pin(test)).await.expect("it ends in time");
                }
            )*
        }
    };
}
pub(crate) use in_each_placement;

/// The same in the two placements in which a tenant's place can be looked at and broken by anybody who is let
/// in.
macro_rules! in_files_and_schemas {
    ($(async fn $name:ident($place:ident: Placement) $body:block)*) => {
        $(async fn $name($place: $crate::support::Placement) $body)*

        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = super::$name($crate::support::Placement::sqlite());
                    tokio::time::timeout($crate::support::PATIENCE, Box::pin(test)).await.expect("it ends in time");
                }
            )*
        }

        mod schema {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = super::$name($crate::support::Placement::schema().await);
                    tokio::time::timeout($crate::support::PATIENCE, Box::pin(test)).await.expect("it ends in time");
                }
            )*
        }
    };
}
pub(crate) use in_files_and_schemas;

/// A kind of place, in which there may be any number of tenants.
#[derive(Clone)]
pub(crate) enum Placement {
    /// A SQLite file each.
    Sqlite(Arc<TempDir>),
    /// A schema each, in the PostgreSQL database of this URL.
    Schema(String),
    /// A schema and a login each.
    OwnRole(Arc<OwnRole>),
    /// The same tables, in a PostgreSQL database.
    Shared(Arc<Shared>),
    /// A database each, on the server of a PostgreSQL database.
    Database(Arc<Databases>),
}

/// A database whose registry knows which others are tenants'.
pub(crate) struct Databases {
    admin: DatabaseAdmin,
    pub(crate) admin_url: String,
    /// That of the operator's ordinary login.
    url: String,
    made: tokio::sync::Mutex<HashMap<String, String>>,
}

impl Databases {
    async fn new() -> Self {
        let (admin, admin_url, url) = administered().await;
        Self { admin, admin_url, url, made: tokio::sync::Mutex::default() }
    }

    /// Makes the tenant and its tables, where they are not there.
    async fn prepare(&self, tenant: &str, data: &Data) {
        let mut made = self.made.lock().await;
        if !made.contains_key(tenant) {
            made.insert(tenant.to_owned(), self.admin.create_tenant_database(tenant).await.unwrap());
        }
        data.migrate_tenant(&self.admin_url, tenant).await.unwrap();
    }
}

/// A new database, with an administrator and an ordinary login of the operator.
pub(crate) async fn administered() -> (DatabaseAdmin, String, String) {
    administered_on(Cluster::shared().unwrap()).await
}

/// A new database with an administrator that is no superuser. What only a superuser can close in it, one has
/// closed as the preflight says.
async fn administrator_on(server: &Server) -> (DatabaseAdmin, String) {
    let admin_url = server.fresh_database().await.unwrap();
    server.make_administrator(&admin_url).await.unwrap();
    let admin = DatabaseAdmin::new(Database::new(&admin_url, admin_url.rsplit('/').next().unwrap(), 1));
    let mut hardening = admin.preflight().await.unwrap().hardening;
    // Other databases are those of other tests.
    hardening.retain(|statement| !statement.contains("CONNECT ON DATABASE"));
    let (superuser, connection) =
        tokio_postgres::connect(&server.superuser_url_of(&admin_url), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    superuser.batch_execute(&hardening.concat()).await.unwrap();
    (admin, admin_url)
}

async fn administered_on(cluster: &Server) -> (DatabaseAdmin, String, String) {
    let (admin, admin_url) = administrator_on(cluster).await;
    let url = cluster.ordinary_login(&admin_url).await.unwrap();
    let login = url.split("://").nth(1).unwrap().split(':').next().unwrap();
    admin.allow_operator(login).await.unwrap();
    (admin, admin_url, url)
}

/// A database in which each tenant has a login.
pub(crate) struct OwnRole {
    pub(crate) admin: DatabaseAdmin,
    pub(crate) admin_url: String,
    made: tokio::sync::Mutex<HashMap<String, TenantCredentials>>,
}

impl OwnRole {
    async fn on(server: &Server) -> Self {
        let (admin, admin_url) = administrator_on(server).await;
        Self { admin, admin_url, made: tokio::sync::Mutex::default() }
    }

    /// The tenant's own URL; it and its tables are made, where they are not there.
    async fn prepare(&self, tenant: &str, data: &Data) -> String {
        let mut made = self.made.lock().await;
        if !made.contains_key(tenant) {
            let database = self.admin_url.rsplit('/').next().unwrap();
            let config = TenantConfig {
                schema_name: tenant.to_owned(),
                username: format!("{database}_{tenant}"),
                password: String::new(),
            };
            made.insert(tenant.to_owned(), self.admin.create_tenant(config).await.unwrap());
        }
        assert_eq!(data.migrate_tenants(&self.admin_url).await.unwrap(), made.len());
        made[tenant].connection_string.clone()
    }
}

/// A database in which tenants share tables.
pub(crate) struct Shared {
    pub(crate) admin: DatabaseAdmin,
    pub(crate) admin_url: String,
    /// That of the operator's ordinary login.
    pub(crate) url: String,
    pub(crate) app: TenantCredentials,
}

impl Shared {
    async fn on(server: &Server) -> Self {
        let (admin, admin_url, url) = administered_on(server).await;
        let login = format!("app_{}", admin_url.rsplit('/').next().unwrap());
        let app = admin.create_app_login(&login, String::new()).await.unwrap();
        Self { admin, url, app, admin_url }
    }

    /// Makes the tenant and the tables, where they are not there.
    async fn prepare(&self, tenant: &str, data: &Data) {
        match self.admin.create_shared_tenant(tenant).await {
            Err(error) if error.kind() == AdminErrorKind::AlreadyExists => {}
            made => made.unwrap(),
        }
        data.migrate_shared(&self.admin_url).await.unwrap();
    }
}

impl Placement {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(Arc::new(tempfile::tempdir().unwrap()))
    }

    pub(crate) async fn schema() -> Self {
        Self::Schema(Cluster::shared().unwrap().fresh_database().await.unwrap())
    }

    pub(crate) async fn own_role() -> Self {
        Self::own_role_on(Cluster::shared().unwrap()).await
    }

    /// On a server of the test's own, whose roles it may change.
    pub(crate) async fn own_role_on(server: &Server) -> Self {
        Self::OwnRole(Arc::new(OwnRole::on(server).await))
    }

    pub(crate) async fn shared() -> Self {
        Self::shared_on(Cluster::shared().unwrap()).await
    }

    /// On a server of the test's own, whose roles it may change.
    pub(crate) async fn shared_on(server: &Server) -> Self {
        Self::Shared(Arc::new(Shared::on(server).await))
    }

    pub(crate) async fn database() -> Self {
        Self::Database(Arc::new(Databases::new().await))
    }

    /// A runner for a tenant, with the declared tables.
    pub(crate) async fn runner(&self, tenant: &str, data: &Data, workflows: Vec<Workflow>) -> Runner {
        let mut config = RunnerConfig::builder();
        for workflow in workflows {
            config = config.workflow(workflow);
        }
        self.with(tenant, data, config.build()).await
    }

    /// The same with other settings.
    pub(crate) async fn with(&self, tenant: &str, data: &Data, config: RunnerConfig) -> Runner {
        let builder = Runner::builder().config(config);
        let builder = match self {
            Self::Sqlite(directory) => builder
                .data(data)
                .database_url(format!("sqlite://{}/{tenant}.db", directory.path().display())),
            Self::Schema(url) => builder.data(data).database_url(url).schema(tenant),
            Self::OwnRole(own) => builder.data(data).database_url(own.prepare(tenant, data).await),
            Self::Shared(shared) => {
                shared.prepare(tenant, data).await;
                let data = data.app_login(&shared.app.username, &shared.app.password);
                builder.data(&data).database_url(&shared.url).tenant(tenant)
            }
            Self::Database(databases) => {
                databases.prepare(tenant, data).await;
                builder.data(data).database_url(&databases.url).tenant(tenant)
            }
        };
        builder.build().await.unwrap()
    }

    /// What another process needs to open a tenant here, whose tables are made: a URL, or that and the
    /// application's login.
    pub(crate) async fn told(&self, tenant: &str, data: &Data) -> Vec<String> {
        match self {
            Self::Sqlite(directory) => vec![format!("sqlite://{}/{tenant}.db", directory.path().display())],
            Self::Schema(url) => vec![url.clone()],
            Self::OwnRole(own) => vec![own.prepare(tenant, data).await],
            Self::Shared(shared) => {
                shared.prepare(tenant, data).await;
                vec![shared.url.clone(), shared.app.username.clone(), shared.app.password.clone()]
            }
            Self::Database(databases) => {
                databases.prepare(tenant, data).await;
                vec![databases.url.clone()]
            }
        }
    }

    /// Suspends a tenant that shares tables.
    pub(crate) async fn suspend(&self, tenant: &str) {
        let Self::Shared(shared) = self else { unreachable!() };
        shared.admin.suspend(tenant).await.unwrap();
    }

    /// Lets it work again.
    pub(crate) async fn resume(&self, tenant: &str) {
        let Self::Shared(shared) = self else { unreachable!() };
        shared.admin.resume(tenant).await.unwrap();
    }

    /// Where everything of a tenant can be looked at, in PostgreSQL: the URL and the schema.
    pub(crate) async fn seen_from_above(&self, tenant: &str) -> Option<(String, String)> {
        let above = |url: &str| Cluster::shared().unwrap().superuser_url_of(url);
        match self {
            Self::Sqlite(_) => None,
            // It may be on a server of the test's own.
            Self::Schema(url) => Some((url.clone(), tenant.to_owned())),
            Self::OwnRole(own) => Some((above(&own.admin_url), tenant.to_owned())),
            Self::Shared(shared) => {
                Some((above(&shared.admin_url), cloacina_postgres::SchemaName::shared().as_str().to_owned()))
            }
            Self::Database(databases) => {
                let made = databases.made.lock().await[tenant].clone();
                let (server, _) = databases.admin_url.rsplit_once('/').unwrap();
                Some((above(&format!("{server}/{made}")), made))
            }
        }
    }

    /// The runners of two tenants, and their data.
    pub(crate) async fn two(&self, data: &Data) -> Two {
        let (first, second) =
            (self.runner("acme", data, vec![]).await, self.runner("globex", data, vec![]).await);
        Two { acme: first.data().unwrap(), globex: second.data().unwrap(), _runners: [first, second] }
    }
}

/// Two tenants.
pub(crate) struct Two {
    pub(crate) acme: TenantDb,
    pub(crate) globex: TenantDb,
    _runners: [Runner; 2],
}

/// A workflow of these tasks, none of which is tried again.
pub(crate) fn workflow(name: &str, tasks: impl IntoIterator<Item = TaskDefinition>) -> Workflow {
    let builder = Workflow::builder(name);
    tasks.into_iter().fold(builder, |builder, task| builder.task(task.retry(RetryPolicy::NEVER))).build()
}

/// The kind and the words of an error.
#[track_caller]
pub(crate) fn assert_says(error: &DataError, kind: cloacina::data::DataErrorKind, words: &str) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains(words), "`{words}` is not in: {text}");
}
