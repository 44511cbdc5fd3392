//! Many tenants in one process, by the names that your service has for them.
//!
//! A [`TenantManager`] opens a tenant's runner when it is first asked for and shuts it down when nobody has
//! used it for a while. Delayed work, retries and the work of processes that died are seen to whether a
//! tenant is open or not.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # #[tokio::main]
//! # async fn main() -> Result<(), cloacina::Error> {
//! use cloacina::tenants::TenantManager;
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("tenants");
//!
//! // A file for each tenant; on PostgreSQL: `TenantManager::postgres("postgresql://…")`, a schema for each.
//! let tenants = TenantManager::sqlite(path).build().await?;
//! tenants.provision("acme").await?;
//! let runner = tenants.runner("acme").await?;
//! assert!(runner.list_executions().await?.is_empty());
//! tenants.shutdown_all().await
//! # }
//! # #[cfg(not(feature = "sqlite"))]
//! # fn main() {}
//! ```

mod across;
mod aside;
mod diagnosis;
mod found;
mod inspect;
mod name;
#[cfg(feature = "postgres")]
mod postgres;
mod provisioned;
#[cfg(feature = "sqlite")]
mod sqlite;
mod templates;

use std::collections::HashMap;
use std::fmt;
#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

pub use cloacina_core::TenantMetrics;
use cloacina_core::store::{Actor, AuditOf, AuditRecord, AuditStore, AuditVerdict, NewAudit};
pub use cloacina_core::store::{Placement, TenantLimits, TenantState, TenantStatus};
use cloacina_core::{Error, ErrorKind, Keys, audit_list, audit_verify};
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::Notify;

pub use diagnosis::{Diagnosis, Finding, PlaceVersion, TenantVersion};
pub use found::Across;
pub use name::TenantName;
pub use provisioned::Provisioned;

#[cfg(feature = "data")]
use crate::data::Data;
#[cfg(feature = "postgres")]
use crate::database::{DatabaseAdmin, TenantCredentials};
use crate::runner::{Runner, RunnerBuilder, RunnerConfig};

/// How often the manager looks after its tenants.
const LOOK: Duration = Duration::from_secs(1);

/// How often files are looked for in which something is to be deleted, and how long one is left alone in
/// which nothing could be.
#[cfg(feature = "sqlite")]
const PRUNE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));

/// Where the tenants are.
enum Backend {
    #[cfg(feature = "postgres")]
    Postgres(Box<postgres::Databases>),
    #[cfg(feature = "sqlite")]
    Sqlite(sqlite::Files),
}

/// The tenants of one PostgreSQL database, or of one directory of SQLite files.
///
/// A handle: clones share everything. What it does for tenants that nobody has open ends with
/// [`shutdown_all`](Self::shutdown_all), or with its last clone.
#[derive(Clone)]
pub struct TenantManager {
    shared: Arc<Shared>,
    actor: Option<Arc<Actor>>,
}

struct Shared {
    backend: Backend,
    /// Where tenants are put of which nothing else is said.
    placement: Placement,
    config: RunnerConfig,
    #[cfg(feature = "data")]
    data: Option<Data>,
    idle_after: Duration,
    max_open: usize,
    /// By the name in lower case.
    tenants: Mutex<HashMap<String, Arc<Tenant>>>,
    shut: AtomicBool,
    /// Told when the schedules that all tenants have may be given to more of them.
    rollout: Arc<Notify>,
}

/// A tenant that was asked for.
struct Tenant {
    /// Locked while its runner is opened or shut down, so that one tenant that is slow holds nobody up but
    /// those who ask for it.
    runner: tokio::sync::Mutex<Option<Runner>>,
    used: Mutex<Instant>,
}

/// Which runners that nobody uses are shut down.
#[derive(Clone, Copy)]
enum Close {
    /// All that have not been used for long.
    Idle,
    /// As many as there are too many.
    TooMany,
}

/// Describes a [`TenantManager`].
#[must_use = "nothing is opened before `build`"]
pub struct TenantManagerBuilder {
    place: Place,
    placement: Placement,
    config: RunnerConfig,
    #[cfg(feature = "data")]
    data: Option<Data>,
    idle_after: Duration,
    max_open: usize,
}

enum Place {
    #[cfg(feature = "postgres")]
    Postgres { url: String, admin: Option<DatabaseAdmin>, plain_names: bool },
    #[cfg(feature = "sqlite")]
    Sqlite { directory: PathBuf },
}

impl TenantManager {
    /// Tenants in schemas of a PostgreSQL database, which runners reach by this URL.
    #[cfg(feature = "postgres")]
    pub fn postgres(url: impl Into<String>) -> TenantManagerBuilder {
        let place = Place::Postgres { url: url.into(), admin: None, plain_names: false };
        TenantManagerBuilder::new(place, Placement::Schema)
    }

    /// Tenants in files of a directory, which is made if it is not there, for nobody but its owner.
    #[cfg(feature = "sqlite")]
    pub fn sqlite(directory: impl Into<PathBuf>) -> TenantManagerBuilder {
        TenantManagerBuilder::new(Place::Sqlite { directory: directory.into() }, Placement::File)
    }

    /// The same manager, acting for somebody: what it does about tenants and keys is noted in the
    /// [audit](Self::audit) with it, and its [runners](Self::runner) act for them as well.
    #[must_use]
    pub fn acting(&self, actor: Actor) -> Self {
        Self { shared: Arc::clone(&self.shared), actor: Some(Arc::new(actor.trimmed())) }
    }

    /// What is noted of an action, if somebody acts.
    fn noted(&self, action: &'static str) -> Option<NewAudit> {
        let actor = Arc::clone(self.actor.as_ref()?);
        Some(NewAudit { actor, action, object: None, detail: None })
    }

    /// Rows of the audit, the newest first: at most `limit`, all before `before`, the number of the last one
    /// of the page before. Those about a tenant, or all of them.
    ///
    /// In a PostgreSQL database these are what was done about tenants and in their places, but for what was
    /// done in databases of their own: that, and what was done in a tenant's SQLite file, is told by
    /// [`Runner::audit`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ShutDown`], and what is wrong with the database or the directory.
    pub async fn audit(
        &self,
        tenant: Option<&str>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<AuditRecord>, Error> {
        self.shared.check_open()?;
        let (store, runtime) = self.shared.audit_store();
        audit_list(store, &runtime, audit_of(tenant), before, limit).await
    }

    /// Whether the rows of [`audit`](Self::audit) are as they were written; see [`Runner::audit_verify`].
    ///
    /// # Errors
    ///
    /// As [`audit`](Self::audit).
    pub async fn audit_verify(&self, tenant: Option<&str>) -> Result<AuditVerdict, Error> {
        self.shared.check_open()?;
        let (store, runtime) = self.shared.audit_store();
        audit_verify(store, &runtime, audit_of(tenant)).await
    }

    /// The runner of a tenant, which is opened if it is not. Those who ask for one tenant at the same time
    /// share one opening.
    ///
    /// Keep it for as long as you work with it: the manager shuts down what nobody holds. It must not be shut
    /// down by the caller, since others may have it too.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] for a name that is none, [`ErrorKind::NotFound`] if there is no such
    /// tenant, [`ErrorKind::ShutDown`] after [`shutdown_all`](Self::shutdown_all), and those of
    /// [`Runner::new`].
    pub async fn runner(&self, tenant: &str) -> Result<Runner, Error> {
        let name = TenantName::parse(tenant)?;
        let runner = self.shared.runner(&name).await?;
        Ok(match &self.actor {
            Some(actor) => runner.acting((**actor).clone()),
            None => runner,
        })
    }

    /// Makes a tenant. On PostgreSQL with `own_roles` the credentials of
    /// its login are returned, which are kept nowhere else.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] for a name that is none, [`ErrorKind::Conflict`] if there is such a
    /// tenant, or one from which only the case of letters tells it apart, and what is wrong with the
    /// database.
    pub async fn provision(&self, tenant: &str) -> Result<Provisioned, Error> {
        self.provision_in(tenant, self.shared.placement).await
    }

    /// Makes a tenant in a place that is chosen for it: by its tier, its size, its region, whatever you go
    /// by. From then on it is found by its name alone.
    ///
    /// With `data` the tables of its own data are made as well, where that
    /// takes the administrator. If they cannot be made the tenant is there all the same: the error says what
    /// is left to do.
    ///
    /// A tenant with [its own database](Placement::Database) is not made in one transaction: a call that was
    /// cut short is repeated.
    ///
    /// # Errors
    ///
    /// As [`provision`](Self::provision), and [`ErrorKind::Configuration`] for a placement that this manager
    /// has not: without an `administrator` there are only schemas.
    pub async fn provision_in(&self, tenant: &str, placement: Placement) -> Result<Provisioned, Error> {
        let name = TenantName::parse(tenant)?;
        self.shared.check_open()?;
        let made = match &self.shared.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => {
                databases.provision(&name, placement, self.noted("provision")).await?
            }
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => files.provision(&name, placement, self.noted("provision")).await?,
        };
        self.shared.give_templates(&name).await;
        Ok(made)
    }

    /// Where a tenant was put.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] for a name that is none, [`ErrorKind::NotFound`] if there is no such
    /// tenant, and what is wrong with the database.
    pub async fn placement(&self, tenant: &str) -> Result<Placement, Error> {
        let name = TenantName::parse(tenant)?;
        self.shared.check_open()?;
        match &self.shared.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => databases.placement(&name).await,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => files.must_be_there(&name).await.map(|_| Placement::File),
        }
    }

    /// Removes a tenant with everything that is its own. Its running tasks may end for the runner's
    /// [`shutdown_timeout`](RunnerConfig::shutdown_timeout); whoever has its runner is shut out. False if
    /// there was none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] for a name that is none, [`ErrorKind::Unavailable`] if somebody else uses
    /// it (another process has the file open), and what is wrong with the database. May be repeated.
    pub async fn remove(&self, tenant: &str) -> Result<bool, Error> {
        let name = TenantName::parse(tenant)?;
        self.shared.check_open()?;
        let open = self.shared.tenant(&name);
        // Nobody opens it in the meantime.
        let mut runner = open.runner.lock().await;
        if let Some(runner) = runner.take() {
            runner.shutdown().await?;
        }
        let removed = match &self.shared.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => {
                databases.remove(&name, self.shared.config.shutdown_timeout, self.noted("remove")).await
            }
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => files.remove(&name, self.noted("remove")).await,
        };
        self.shared.lock().remove(name.folded());
        removed
    }

    /// Stops a tenant: within a second no process starts anything for it, running tasks are cancelled, and
    /// the sessions of its own login are ended. What is recorded stays and can be read. Suspending a
    /// suspended tenant is Ok.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] for a name that is none, for a file, which nobody can suspend for all
    /// processes that may open it, and for a tenant with a login of its own where the manager has no
    /// administrator; [`ErrorKind::NotFound`] if there is no such tenant; and what is wrong with the
    /// database.
    pub async fn suspend(&self, tenant: &str) -> Result<(), Error> {
        let name = TenantName::parse(tenant)?;
        self.shared.check_open()?;
        match &self.shared.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => databases.suspend(&name, self.noted("suspend")).await,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => files.cannot_decide(&name).await,
        }
    }

    /// Lets a suspended tenant go on. Resuming an active tenant is Ok.
    ///
    /// # Errors
    ///
    /// As [`suspend`](Self::suspend).
    pub async fn resume(&self, tenant: &str) -> Result<(), Error> {
        let name = TenantName::parse(tenant)?;
        self.shared.check_open()?;
        match &self.shared.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => databases.resume(&name, self.noted("resume")).await?,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => files.cannot_decide(&name).await?,
        }
        // It may have been passed over.
        self.shared.give_templates(&name).await;
        Ok(())
    }

    /// Sets all limits of a tenant, for every process; what is `None` has no limit of its own. In force
    /// within a second. Those on connections, statements and transactions are for a login of its own.
    ///
    /// # Errors
    ///
    /// As [`suspend`](Self::suspend), and [`ErrorKind::Configuration`] for a limit of 0.
    pub async fn set_limits(&self, tenant: &str, limits: TenantLimits) -> Result<(), Error> {
        let name = TenantName::parse(tenant)?;
        self.shared.check_open()?;
        match &self.shared.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => {
                databases.set_limits(&name, limits, self.noted("set_limits")).await
            }
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => {
                // What binds a tenant in a file is the configuration of its runner.
                let _not_kept = limits;
                files.cannot_decide(&name).await
            }
        }
    }

    /// Gives a tenant's own login new credentials, which are kept nowhere else. The ones before work for
    /// another hour, so that its processes can change over one after the other.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] for a name that is none, for a tenant without a login of its own, and
    /// where the manager has no administrator; [`ErrorKind::NotFound`] if there is no such tenant; and what
    /// is wrong with the database.
    #[cfg(feature = "postgres")]
    pub async fn rotate(&self, tenant: &str) -> Result<TenantCredentials, Error> {
        let name = TenantName::parse(tenant)?;
        self.shared.check_open()?;
        match &self.shared.backend {
            Backend::Postgres(databases) => databases.rotate(&name, self.noted("rotate")).await,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => {
                files.must_be_there(&name).await?;
                Err(name.has_no_login())
            }
        }
    }

    /// The names of all tenants, in their order.
    ///
    /// # Errors
    ///
    /// What is wrong with the database or the directory.
    pub async fn list(&self) -> Result<Vec<String>, Error> {
        self.shared.names().await
    }

    /// The keys of the service and of its tenants: in the schema `cloacina` of the manager's database, or in
    /// the registry of its directory, which is lost with that file. No tenant is opened for them; one that is
    /// [removed](Self::remove) takes its keys with it.
    #[must_use]
    pub fn keys(&self) -> Keys {
        let shared = Arc::clone(&self.shared);
        let (store, runtime) = match &self.shared.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => databases.key_store(),
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => files.key_store(),
        };
        let clock = Arc::clone(&self.shared.config.clock);
        Keys::new(store, runtime, clock, self.actor.clone(), move || shared.check_open())
    }

    /// How a tenant does, in numbers.
    ///
    /// # Errors
    ///
    /// As [`runner`](Self::runner).
    pub async fn metrics(&self, tenant: &str) -> Result<TenantMetrics, Error> {
        self.runner(tenant).await?.metrics().await
    }

    /// How many tenants are open in this process at the moment.
    #[must_use]
    pub fn open_tenants(&self) -> usize {
        let tenants: Vec<_> = self.shared.lock().values().cloned().collect();
        // One that is being opened counts.
        tenants
            .iter()
            .filter(|tenant| tenant.runner.try_lock().map_or(true, |runner| runner.is_some()))
            .count()
    }

    /// Shuts all runners down, side by side, and stops what the manager does by itself. Later calls give
    /// [`ErrorKind::ShutDown`]; a second one of this is Ok.
    ///
    /// # Errors
    ///
    /// None at present.
    pub async fn shutdown_all(&self) -> Result<(), Error> {
        self.shared.shut.store(true, Ordering::Release);
        let tenants: Vec<_> = self.shared.lock().drain().map(|(_, tenant)| tenant).collect();
        let shutdowns: Vec<_> = tenants
            .into_iter()
            .map(|tenant| {
                tokio::spawn(async move {
                    match tenant.runner.lock().await.take() {
                        Some(runner) => runner.shutdown().await,
                        None => Ok(()),
                    }
                })
            })
            .collect();
        for shutdown in shutdowns {
            shutdown.await.unwrap_or_else(|error| {
                Err(Error::new(ErrorKind::Internal, format!("a runner was not shut down: {error}")))
            })?;
        }
        match &self.shared.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => databases.shutdown().await,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(_) => Ok(()),
        }
    }
}

impl TenantManagerBuilder {
    fn new(place: Place, placement: Placement) -> Self {
        Self {
            place,
            placement,
            config: RunnerConfig::default(),
            #[cfg(feature = "data")]
            data: None,
            idle_after: Duration::from_secs(60),
            max_open: 1_000,
        }
    }

    /// Lets this administrator make what tenants need that are put anywhere but in a schema: logins, shared
    /// tables, databases. Runners still log in by the manager's own URL, whose login has to be allowed to
    /// ([`allow_operator`](DatabaseAdmin::allow_operator)).
    ///
    /// The manager then also ends sessions that exceed the tenants' limits, once a second, and sweeps over
    /// their sizes once an hour.
    ///
    /// Nothing on SQLite.
    #[cfg(feature = "postgres")]
    pub fn administrator(mut self, administrator: DatabaseAdmin) -> Self {
        #[cfg_attr(
            not(feature = "sqlite"),
            expect(irrefutable_let_patterns, reason = "there are files as well")
        )]
        if let Place::Postgres { admin, .. } = &mut self.place {
            *admin = Some(administrator);
        }
        self
    }

    /// Gives each tenant a login of its own, made by this administrator:
    /// [`administrator`](Self::administrator), with [`Placement::OwnRole`] where nothing else is said. The
    /// credentials are for the tenant's own processes.
    ///
    /// Nothing on SQLite.
    #[cfg(feature = "postgres")]
    pub fn own_roles(self, administrator: DatabaseAdmin) -> Self {
        let in_files = self.placement == Placement::File;
        let builder = self.administrator(administrator);
        if in_files { builder } else { builder.default_placement(Placement::OwnRole) }
    }

    /// Where tenants are put of which nothing else is said. Defaults to a schema, or a file.
    pub fn default_placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// The tables of tenants' own data, which their tasks may then ask for.
    #[cfg(feature = "data")]
    pub fn data(mut self, data: &Data) -> Self {
        self.data = Some(data.clone());
        self
    }

    /// Names schemas and logins after the tenants. Without it their names tell nothing, because every login
    /// of a server can list them.
    ///
    /// Names of tenants must then be names of schemas: without hyphens. Nothing on SQLite.
    #[cfg(feature = "postgres")]
    pub fn plain_names(mut self) -> Self {
        #[cfg_attr(
            not(feature = "sqlite"),
            expect(irrefutable_let_patterns, reason = "there are files as well")
        )]
        if let Place::Postgres { plain_names, .. } = &mut self.place {
            *plain_names = true;
        }
        self
    }

    /// The configuration of every tenant's runner. It replaces what was given before, workflows and state
    /// included.
    pub fn config(mut self, config: RunnerConfig) -> Self {
        self.config = config;
        self
    }

    /// Gives the tasks of all tenants a value, which they ask for by its type; see [`RunnerBuilder::state`].
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.config.state.insert(value);
        self
    }

    /// Gives the tasks of one tenant another value than [`state`](Self::state) gives to those of all. The
    /// tenant is what [`Runner::place`](crate::Runner::place) returns; a name that no tenant has is no error.
    ///
    /// On PostgreSQL there has to be one for all as well, because one runner does the work that becomes due
    /// of every tenant.
    pub fn state_for<T: Send + Sync + 'static>(mut self, tenant: impl Into<String>, value: T) -> Self {
        self.config.state.insert_for(tenant, value);
        self
    }

    /// After how long a runner that nobody holds, and on which nothing is under way, is shut down. Defaults
    /// to 60 seconds.
    pub fn idle_after(mut self, idle_after: Duration) -> Self {
        self.idle_after = idle_after;
        self
    }

    /// How many runners may be open before those that nobody holds are shut down at once, the least recently
    /// used first. What is in use is never shut down, so there may be more. Defaults to 1,000.
    pub fn max_open(mut self, max_open: usize) -> Self {
        self.max_open = max_open;
        self
    }

    /// Opens the manager. It works on the Tokio runtime that this is called on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] for what cannot be used, [`ErrorKind::Place`] and
    /// [`ErrorKind::Unavailable`] for what is wrong with the database or the directory.
    pub async fn build(self) -> Result<TenantManager, Error> {
        self.config.validate()?;
        #[cfg(feature = "postgres")]
        let builder = runner_builder(
            &self.config,
            #[cfg(feature = "data")]
            self.data.as_ref(),
        );
        let backend = match self.place {
            #[cfg(feature = "postgres")]
            Place::Postgres { url, admin, plain_names } => {
                let databases = postgres::Databases::open(
                    postgres::Access { url, admin, plain_names },
                    builder,
                    &self.config,
                    #[cfg(feature = "data")]
                    self.data.clone(),
                );
                Backend::Postgres(Box::new(Box::pin(databases).await?))
            }
            #[cfg(feature = "sqlite")]
            Place::Sqlite { directory } => Backend::Sqlite(sqlite::Files::open(directory).await?),
        };
        let shared = Arc::new(Shared {
            backend,
            placement: self.placement,
            config: self.config,
            #[cfg(feature = "data")]
            data: self.data,
            idle_after: self.idle_after,
            max_open: self.max_open.max(1),
            tenants: Mutex::default(),
            shut: AtomicBool::new(false),
            rollout: Arc::default(),
        });
        tokio::spawn(look_after(Arc::downgrade(&shared)));
        tokio::spawn(Shared::roll_out(Arc::downgrade(&shared)));
        #[cfg(feature = "sqlite")]
        if matches!(shared.backend, Backend::Sqlite(_)) {
            tokio::spawn(prune_files(Arc::downgrade(&shared)));
        }
        Ok(TenantManager { shared, actor: None })
    }
}

/// Which rows of the audit are meant.
fn audit_of(tenant: Option<&str>) -> AuditOf {
    tenant.map_or(AuditOf::All, |tenant| AuditOf::Named(tenant.to_owned()))
}

/// What all runners have in common.
fn runner_builder(config: &RunnerConfig, #[cfg(feature = "data")] data: Option<&Data>) -> RunnerBuilder {
    let builder = Runner::builder().config(config.clone());
    #[cfg(feature = "data")]
    if let Some(data) = data {
        return builder.data(data);
    }
    builder
}

impl Shared {
    fn builder(&self) -> RunnerBuilder {
        runner_builder(
            &self.config,
            #[cfg(feature = "data")]
            self.data.as_ref(),
        )
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Tenant>>> {
        self.tenants.lock()
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.shut.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::ShutDown, "the tenant manager was shut down"));
        }
        Ok(())
    }

    async fn names(&self) -> Result<Vec<String>, Error> {
        match &self.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => databases.list().await,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => files.list().await,
        }
    }

    fn audit_store(&self) -> (Arc<dyn AuditStore>, Handle) {
        match &self.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => databases.audit_store(),
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => files.audit_store(),
        }
    }

    fn tenant(&self, name: &TenantName) -> Arc<Tenant> {
        let mut tenants = self.lock();
        Arc::clone(tenants.entry(name.folded().to_owned()).or_insert_with(|| {
            Arc::new(Tenant { runner: tokio::sync::Mutex::new(None), used: Mutex::new(Instant::now()) })
        }))
    }

    async fn runner(self: &Arc<Self>, name: &TenantName) -> Result<Runner, Error> {
        self.check_open()?;
        let tenant = self.tenant(name);
        let mut slot = tenant.runner.lock().await;
        *tenant.used.lock() = Instant::now();
        if let Some(runner) = slot.as_ref().filter(|runner| !runner.is_shut_down()) {
            // What is open under the name in lower case may be called otherwise.
            if runner.place() != name.as_str() {
                return Err(name.differs_from(runner.place()));
            }
            return Ok(runner.clone());
        }
        let opened = match &self.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => Box::pin(databases.open_runner(name, self.builder())).await,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => Box::pin(files.open_runner(name, self.builder())).await,
        };
        let runner = match opened {
            Ok(runner) => runner,
            Err(error) => {
                *slot = None;
                drop(slot);
                // A name that somebody makes up must not be remembered.
                let mut tenants = self.lock();
                if tenants.get(name.folded()).is_some_and(|known| Arc::strong_count(known) == 2) {
                    tenants.remove(name.folded());
                }
                return Err(error);
            }
        };
        Box::pin(self.apply_templates(&runner)).await;
        *slot = Some(runner.clone());
        drop(slot);
        if self.shut.load(Ordering::Acquire) {
            runner.shutdown().await?;
            self.check_open()?;
        }
        if self.lock().len() > self.max_open {
            self.close_unused(Close::TooMany).await;
        }
        Ok(runner)
    }

    /// Opens the tenants that have work due, so that it is done.
    #[cfg(feature = "sqlite")]
    async fn open_due(self: &Arc<Self>, files: &sqlite::Files) {
        for id in files.due(&*self.config.clock).await {
            let opened = match TenantName::parse(id.as_str()) {
                Ok(name) => self.runner(&name).await.map(drop),
                Err(error) => Err(error),
            };
            match opened {
                Err(error) if error.kind() != ErrorKind::ShutDown => files.put_aside(&id, &error),
                _ => {}
            }
        }
    }

    /// Deletes what has been kept for long enough in the file of a tenant that is not open. Whether anything
    /// was deleted, and whether there is more.
    #[cfg(feature = "sqlite")]
    async fn prune_file(&self, files: &sqlite::Files, id: &cloacina_sqlite::FileId) -> (bool, bool) {
        let Ok(name) = TenantName::parse(id.as_str()) else { return (false, false) };
        let tenant = self.tenant(&name);
        // Whoever asks for it meanwhile waits for this moment.
        let slot = tenant.runner.lock().await;
        let pruned = if slot.is_some() || self.shut.load(Ordering::Acquire) {
            Ok((false, false))
        } else {
            files.prune(id, self.config.retention, Arc::clone(&self.config.clock)).await
        };
        let is_open = slot.is_some();
        drop(slot);
        let mut tenants = self.lock();
        if !is_open && Arc::strong_count(&tenant) == 2 {
            tenants.remove(name.folded());
        }
        drop(tenants);
        pruned.unwrap_or_else(|error| {
            tracing::warn!(tenant = %id, %error, "what has been kept for long enough in the file of a tenant was not deleted; will try again in \
                an hour");
            (false, false)
        })
    }

    /// Shuts runners down that nobody uses, the least recently used first.
    async fn close_unused(&self, close: Close) {
        let mut tenants: Vec<(Instant, String, Arc<Tenant>)> = self
            .lock()
            .iter()
            .map(|(name, tenant)| {
                let used = *tenant.used.lock();
                (used, name.clone(), Arc::clone(tenant))
            })
            .collect();
        tenants.sort_unstable_by_key(|(used, ..)| *used);
        let mut too_many = tenants.len().saturating_sub(self.max_open);
        let mut shutdowns = Vec::new();
        for (used, name, tenant) in tenants {
            let is_meant = match close {
                Close::Idle => used.elapsed() >= self.idle_after,
                Close::TooMany => too_many > 0,
            };
            if !is_meant {
                continue;
            }
            // One that is locked is being used.
            let Ok(mut slot) = tenant.runner.try_lock() else { continue };
            if slot.as_ref().is_some_and(|runner| !runner.is_unused()) {
                continue;
            }
            let runner = slot.take();
            drop(slot);
            {
                // Whoever has asked for it since holds it, and opens it again.
                let mut tenants = self.lock();
                if Arc::strong_count(&tenant) == 2 {
                    tenants.remove(&name);
                }
            }
            too_many = too_many.saturating_sub(1);
            if let Some(runner) = runner {
                shutdowns.push(tokio::spawn(async move { runner.shutdown().await }));
            }
        }
        for shutdown in shutdowns {
            if let Ok(Err(error)) = shutdown.await {
                tracing::warn!(%error, "the runner of a tenant that nobody uses was not shut down");
            }
        }
    }
}

/// Deletes, in files that nobody has open, what has been kept for long enough: one after the other, and each
/// for a moment. Files that are open see to that themselves.
#[cfg(feature = "sqlite")]
async fn prune_files(manager: Weak<Shared>) {
    let of = |manager: &Weak<Shared>| manager.upgrade().filter(|shared| !shared.shut.load(Ordering::Acquire));
    let Some(clock) = of(&manager).map(|shared| Arc::clone(&shared.config.clock)) else { return };
    // Those in which there was nothing to be deleted, although something was kept for long enough: it is
    // locked, or something reads it still.
    let mut aside: HashMap<cloacina_sqlite::FileId, Duration> = HashMap::new();
    loop {
        clock.sleep(PRUNE.0).await;
        let mut more = true;
        while more {
            more = false;
            let Some(shared) = of(&manager) else { return };
            #[cfg_attr(
                not(feature = "postgres"),
                expect(irrefutable_let_patterns, reason = "there are servers as well")
            )]
            let Backend::Sqlite(files) = &shared.backend else { return };
            aside.retain(|_, until| *until > clock.monotonic());
            for id in files.aged(shared.config.retention, &*clock).await {
                if aside.contains_key(&id) || shared.shut.load(Ordering::Acquire) {
                    continue;
                }
                let (any, is_more) = shared.prune_file(files, &id).await;
                more |= is_more;
                if !any {
                    aside.insert(id, clock.monotonic() + PRUNE.1);
                }
            }
        }
    }
}

/// Looks after the tenants until the manager is gone.
async fn look_after(manager: Weak<Shared>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(shared) = manager.upgrade().filter(|shared| !shared.shut.load(Ordering::Acquire)) else {
            return;
        };
        shared.close_unused(Close::Idle).await;
        match &shared.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => databases.look_after(shared.builder()).await,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => shared.open_due(files).await,
        }
    }
}

impl fmt::Debug for TenantManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantManager").field("open_tenants", &self.open_tenants()).finish_non_exhaustive()
    }
}

impl fmt::Debug for TenantManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("TenantManagerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
