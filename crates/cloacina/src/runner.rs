//! Runners: what executes workflows for one tenant.

mod environment;
mod hubs;
mod methods;
pub(crate) use hubs::Address;
#[cfg(feature = "postgres")]
pub(crate) use hubs::postgres_store;

use std::fmt;
#[cfg(any(feature = "data", feature = "testing"))]
use std::sync::Arc;
use std::time::Duration;

#[cfg_attr(not(feature = "postgres"), expect(unused_imports, reason = "the documentation names it"))]
use cloacina_core::ErrorKind;
#[cfg(feature = "testing")]
use cloacina_core::Script;
#[cfg(feature = "testing")]
use cloacina_core::clock::Clock;
use cloacina_core::workflow::registered;
use cloacina_core::{Error, Workflow};
pub use cloacina_core::{Execution, PlaceRunner, RunnerConfig, RunnerConfigBuilder, State, Submission};
#[cfg(feature = "data")]
use cloacina_data::{Data, TaskData, TenantDb};
#[cfg(feature = "sqlite")]
use cloacina_sqlite::SqliteAddress;
#[cfg(feature = "sqlite")]
pub use cloacina_sqlite::set_max_open_files;

use environment::{configuration, number, variable};

/// [`Runner`] under its other name.
pub type DefaultRunner = Runner;
/// [`RunnerConfig`] under its other name.
pub type DefaultRunnerConfig = RunnerConfig;
/// [`RunnerBuilder`] under its other name.
pub type DefaultRunnerBuilder = RunnerBuilder;
/// [`RunnerConfigBuilder`] under its other name.
pub type DefaultRunnerConfigBuilder = RunnerConfigBuilder;
pub use cloacina_core::Execution as PipelineExecution;

/// Runs workflows for one tenant, in a database.
///
/// A handle: clones share one runner, and all runners of a process that use one database share its
/// connections, its scheduler and its lease.
///
/// ```
/// use cloacina::runner::Runner;
/// use cloacina::{Context, Error, TaskError, Workflow, task, workflow};
///
/// #[task(id = "greet")]
/// async fn greet(context: &mut Context) -> Result<(), TaskError> {
///     let name = context.get::<String>("name").unwrap_or_default();
///     context.set("greeting", format!("Salve, {name}!"));
///     Ok(())
/// }
///
/// #[workflow]
/// fn welcome() -> Workflow {
///     Workflow::builder("welcome").task(greet).build()
/// }
///
/// # #[cfg(feature = "sqlite")]
/// #[tokio::main]
/// async fn main() -> Result<(), Error> {
///     let runner = Runner::new("sqlite::memory:").await?;
///     let result = runner.execute("welcome", Context::new().with("name", "Marcus")).await?;
///     assert!(result.status.is_success());
///     assert_eq!(result.final_context.get::<String>("greeting").as_deref(), Some("Salve, Marcus!"));
///     runner.shutdown().await
/// }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Runner {
    runner: PlaceRunner,
    #[cfg(feature = "data")]
    data: Option<TenantDb>,
}

impl Runner {
    /// Opens the place that a URL stands for: a SQLite file, or on PostgreSQL the schema that
    /// `DEFAULT_SCHEMA` names, else `cloacina_main`. It is made on first use; a place that is current sees no
    /// change. A login that belongs to a tenant opens that tenant's place, whatever the
    /// environment says.
    ///
    /// URLs: `sqlite://./tenant_a.db`, `sqlite:///var/lib/app/a.db`, `sqlite::memory:`,
    /// `postgresql://user:password@host/database`, `postgres://…`. Special characters in a password have to
    /// be percent-encoded. The directory of a SQLite file must exist.
    ///
    /// Behind a pooler in transaction mode, such as pgbouncer, a PostgreSQL URL has the parameter
    /// `pooler=transaction`, and may have `direct=host:port`, where the server itself is reached: without
    /// that, work of other processes is found by looking once a second.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] for a URL that cannot be used, and a login or a password that the
    /// database does not accept; [`ErrorKind::Unavailable`] for a database that cannot be reached or has no
    /// connection to spare, [`ErrorKind::Place`] for a damaged, read-only or newer place,
    /// [`ErrorKind::Workflow`] for a mistake in a registered workflow.
    pub async fn new(url: &str) -> Result<Self, Error> {
        Self::with_config(url, RunnerConfig::default()).await
    }

    /// Opens a tenant's schema on PostgreSQL; as [`new`](Self::new) otherwise.
    ///
    /// A schema name has 1 to 63 ASCII letters, digits and underscores; it is kept exactly as given. `pg_…`,
    /// `cloacina…` and `information_schema` are not for tenants. `public` is used only when it is named here.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and [`ErrorKind::Configuration`] for a name that cannot be used, or a SQLite
    /// URL: there, a tenant has a file of its own.
    pub async fn with_schema(url: &str, schema: &str) -> Result<Self, Error> {
        Self::builder().database_url(url).schema(schema).build().await
    }

    /// As [`new`](Self::new), with a configuration.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and [`ErrorKind::Configuration`] for a configuration that cannot work.
    pub async fn with_config(url: &str, config: RunnerConfig) -> Result<Self, Error> {
        Self::builder().database_url(url).config(config).build().await
    }

    /// Describes a runner setting by setting.
    pub fn builder() -> RunnerBuilder {
        RunnerBuilder {
            url: None,
            schema: None,
            #[cfg(feature = "postgres")]
            tenant: None,
            #[cfg(feature = "sqlite")]
            file: None,
            config: RunnerConfig::default(),
            #[cfg(feature = "data")]
            data: None,
        }
    }

    /// The tenant's own data: a handle, whose clones share everything.
    ///
    /// What its methods return borrows it. `runner.data()?.read(…).await` needs no more; to keep the future
    /// for later, as for a `join!`, bind the handle first: `let db = runner.data()?;`.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::data::DataErrorKind::Configuration): the runner was opened without
    /// [`data`](RunnerBuilder::data).
    #[cfg(feature = "data")]
    pub fn data(&self) -> crate::data::Result<TenantDb> {
        self.data.clone().ok_or_else(|| {
            cloacina_data::without_data(&format!(
                "the runner of tenant `{}` was opened without any",
                self.place()
            ))
        })
    }

    /// Opens what the environment names; see [`RunnerBuilder::from_env`].
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and [`ErrorKind::Configuration`] for a variable that is missing or makes no
    /// sense.
    pub async fn from_env() -> Result<Self, Error> {
        RunnerBuilder::from_env()?.build().await
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("place", &self.runner.place()).finish_non_exhaustive()
    }
}

/// Describes a [`Runner`] setting by setting.
#[derive(Clone)]
#[must_use = "nothing is opened before `build`"]
pub struct RunnerBuilder {
    url: Option<String>,
    schema: Option<String>,
    #[cfg(feature = "postgres")]
    tenant: Option<String>,
    #[cfg(feature = "sqlite")]
    file: Option<SqliteAddress>,
    config: RunnerConfig,
    #[cfg(feature = "data")]
    data: Option<Data>,
}

impl RunnerBuilder {
    /// Reads the environment:
    ///
    /// | variable | stands for |
    /// |---|---|
    /// | `DATABASE_URL` | [`database_url`](Self::database_url); needed |
    /// | `TENANT_ID` | [`schema`](Self::schema), on PostgreSQL |
    /// | `MAX_CONCURRENT_TASKS` | [`max_concurrent_tasks`](Self::max_concurrent_tasks) |
    /// | `TASK_TIMEOUT_SECONDS` | [`task_timeout`](Self::task_timeout), in seconds |
    /// | `DB_POOL_SIZE` | [`db_pool_size`](Self::db_pool_size) |
    ///
    /// `DEFAULT_SCHEMA` is read when no schema is given, by whatever way a runner is opened.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`], naming the variable that is missing or makes no sense.
    pub fn from_env() -> Result<Self, Error> {
        let url = variable("DATABASE_URL")?.ok_or_else(|| {
            configuration(
                "DATABASE_URL is not set: set it to the URL of a database, `sqlite://./cloacina.db` say",
            )
        })?;
        let mut builder = Runner::builder().database_url(url);
        if let Some(tenant) = variable("TENANT_ID")? {
            builder = builder.schema(tenant);
        }
        if let Some(tasks) = number("MAX_CONCURRENT_TASKS")? {
            builder = builder.max_concurrent_tasks(tasks);
        }
        if let Some(seconds) = number("TASK_TIMEOUT_SECONDS")? {
            builder = builder.task_timeout(Duration::from_secs(seconds));
        }
        if let Some(size) = number("DB_POOL_SIZE")? {
            builder = builder.db_pool_size(size);
        }
        Ok(builder)
    }

    /// The database. See [`Runner::new`] for the forms.
    pub fn database_url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// A SQLite file, instead of a URL: of a [`Directory`](cloacina_sqlite::Directory) of tenants, say.
    #[cfg(feature = "sqlite")]
    pub fn file(mut self, address: SqliteAddress) -> Self {
        self.file = Some(address);
        self
    }

    /// The tenant's schema, on PostgreSQL. See [`Runner::with_schema`] for the names.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// The tenant that the operator calls so, wherever it was placed, on PostgreSQL: in a schema, in tables
    /// that it shares with others, or in a database of its own on the server of
    /// [`database_url`](Self::database_url). It is made by an administrator; see
    /// [`DatabaseAdmin`](crate::database::DatabaseAdmin).
    #[cfg(feature = "postgres")]
    pub fn tenant(mut self, name: impl Into<String>) -> Self {
        self.tenant = Some(name.into());
        self
    }

    /// All settings at once. They replace those that were given before, workflows and state included.
    pub fn config(mut self, config: RunnerConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets [`max_concurrent_tasks`](RunnerConfig::max_concurrent_tasks).
    pub fn max_concurrent_tasks(mut self, tasks: usize) -> Self {
        self.config.max_concurrent_tasks = tasks;
        self
    }

    /// Sets [`task_timeout`](RunnerConfig::task_timeout).
    pub fn task_timeout(mut self, timeout: Duration) -> Self {
        self.config.task_timeout = Some(timeout);
        self
    }

    /// Sets [`max_connections`](RunnerConfig::max_connections).
    pub fn db_pool_size(mut self, size: u32) -> Self {
        self.config.max_connections = size;
        self
    }

    /// Adds a workflow to those that `#[workflow]` registered.
    pub fn workflow(mut self, workflow: Workflow) -> Self {
        self.config.workflows.push(workflow);
        self
    }

    /// Gives tasks a value, which they ask for by its type: a client, a configuration. One for each type; the
    /// last one given holds.
    ///
    /// ```
    /// use cloacina::{Context, Runner, TaskError, Workflow, task};
    ///
    /// struct Mailer {
    ///     from: &'static str,
    /// }
    ///
    /// #[task]
    /// async fn mail(context: &mut Context, mailer: &Mailer) -> Result<(), TaskError> {
    ///     context.set("sent by", mailer.from);
    ///     Ok(())
    /// }
    ///
    /// # #[cfg(feature = "sqlite")]
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), cloacina::Error> {
    /// let runner = Runner::builder()
    ///     .database_url("sqlite::memory:")
    ///     .workflow(Workflow::builder("mail").task(mail).build())
    ///     .state(Mailer { from: "acme" })
    ///     .build()
    ///     .await?;
    /// let result = runner.execute("mail", Context::new()).await?;
    /// assert_eq!(result.final_context.get::<String>("sent by").as_deref(), Some("acme"));
    /// # runner.shutdown().await
    /// # }
    /// # #[cfg(not(feature = "sqlite"))]
    /// # fn main() {}
    /// ```
    ///
    /// Runners of one process on one place share its tasks, which get the value of the runner that was opened
    /// last.
    ///
    /// A trait object is given as an `Arc<dyn Mailer>`, and asked for as `&Arc<dyn Mailer>`. A runner that
    /// lacks what a task of its workflows asks for does not start, unless it only submits.
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.config.state.insert(value);
        self
    }

    /// Makes it a runner that only submits; see [`submit_only`](RunnerConfig::submit_only).
    pub fn submit_only(mut self) -> Self {
        self.config.submit_only = true;
        self
    }

    /// The tables of the tenant's own data, which its tasks may then ask for.
    #[cfg(feature = "data")]
    pub fn data(mut self, data: &Data) -> Self {
        self.data = Some(data.clone());
        self
    }

    /// Whether it says which database it is on.
    #[cfg(feature = "testing")]
    pub(crate) fn is_placed(&self) -> bool {
        self.url.is_some() || self.file.is_some()
    }

    /// Whether there are tables of the tenant's own.
    #[cfg(feature = "testing")]
    pub(crate) fn has_data(&self) -> bool {
        #[cfg(feature = "data")]
        let has_data = self.data.is_some();
        #[cfg(not(feature = "data"))]
        let has_data = false;
        has_data
    }

    /// With the time of a test, and what it says about attempts.
    #[cfg(feature = "testing")]
    pub(crate) fn in_test(mut self, clock: Arc<dyn Clock>, script: Arc<dyn Script>) -> Self {
        self.config.clock = clock;
        self.config.script = Some(script);
        self
    }

    /// Opens the runner.
    ///
    /// # Errors
    ///
    /// As [`Runner::new`] and [`Runner::with_schema`].
    pub async fn build(self) -> Result<Runner, Error> {
        self.config.validate()?;
        let mut workflows = registered()?;
        workflows.push(cloacina_core::bulk_workflow());
        loop {
            // Boxed, because what connecting needs is large and a caller's future should not be.
            let opened = Box::pin(self.hub()).await?;
            let (hub, place, database) = (opened.hub, opened.place, opened.database);
            #[cfg_attr(not(feature = "data"), expect(unused_mut))]
            let mut config = self.config.clone();
            #[cfg(feature = "data")]
            let source = self.data.as_ref().map(|data| database.source(data, &config)).transpose()?;
            #[cfg(feature = "data")]
            if let Some(source) = &source {
                config.resources = Some(Arc::new(TaskData(Arc::clone(source))));
            }
            #[cfg(not(feature = "data"))]
            drop(database);
            // `None` if the last runner on the hub was shut down at this moment: then there is a new hub to
            // be found.
            if let Some(runner) = PlaceRunner::open(hub, place, config, workflows.clone()).await? {
                #[cfg(feature = "postgres")]
                if let Some(tenant) = opened.tenant.filter(|tenant| *tenant != runner.place_itself().tenant) {
                    let message = format!(
                        "the database in which tenant `{}` is said to be holds another tenant: {} instead of {tenant}; an administrator has to look",
                        self.tenant.as_deref().unwrap_or_default(),
                        runner.place_itself().tenant
                    );
                    runner.shutdown().await?;
                    return Err(Error::new(ErrorKind::Place, message));
                }
                #[cfg(feature = "data")]
                let data =
                    source.map(|source| source.db(Arc::clone(runner.place_itself()), runner.submitter()));
                return Ok(Runner {
                    runner,
                    #[cfg(feature = "data")]
                    data,
                });
            }
        }
    }

    /// Which database was named.
    pub(crate) fn address(&self) -> Result<Address, Error> {
        #[cfg(feature = "sqlite")]
        if let Some(file) = &self.file {
            return Ok(Address::Sqlite(file.clone()));
        }
        let url =
            self.url.as_deref().ok_or_else(|| configuration("no database was given: call `database_url`"))?;
        hubs::address_of(url)
    }

    async fn hub(&self) -> Result<hubs::Opened, Error> {
        #[cfg(feature = "sqlite")]
        if let Some(file) = &self.file {
            return hubs::of_file(file.clone(), &self.config).await;
        }
        let url =
            self.url.as_deref().ok_or_else(|| configuration("no database was given: call `database_url`"))?;
        #[cfg(feature = "postgres")]
        if let Some(tenant) = &self.tenant {
            if self.schema.is_some() {
                return Err(configuration("both a schema and a tenant were named: name one of them"));
            }
            return hubs::of_tenant(url, tenant, &self.config).await;
        }
        hubs::of(url, self.schema.as_deref(), &self.config).await
    }
}

impl fmt::Debug for RunnerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("RunnerBuilder")
            .field("schema", &self.schema)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
