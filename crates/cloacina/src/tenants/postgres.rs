//! Tenants of a PostgreSQL database, and of other databases of its server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloacina_core::execution::ExecutionResult;
use cloacina_core::id::TenantId;
use cloacina_core::store::{
    AuditStore, ExecutionHeader, ExecutionList, KeyStore, NewAudit, PlaceName, Store as _, TemplateStore,
    TenantState, WaitFilter,
};
use cloacina_core::streak::{Streak, Whose};
use cloacina_core::{Error, ErrorKind, Waiting};
use cloacina_postgres::{
    NamedTenant, PostgresAddress, PostgresOptions, PostgresStore, SchemaName, VersionOf,
};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::aside::Aside;
use super::found::Across;
use super::{
    Diagnosis, Finding, PlaceVersion, Placement, Provisioned, TenantLimits, TenantName, TenantVersion,
};
#[cfg(feature = "data")]
use crate::data::Data;
use crate::database::{AdminError, AdminErrorKind, DatabaseAdmin, TenantConfig, TenantCredentials};
use crate::runner::{Runner, RunnerBuilder, RunnerConfig, postgres_store};

/// How often the sizes of all tenants are looked at.
const MEASURE: Duration = Duration::from_secs(3600);

/// How often tenants with databases of their own are looked for.
const LOOK_FOR_DATABASES: Duration = Duration::from_secs(5);

/// How many connections a look at versions has: one thing comes after the other.
const LOOKING: u32 = 2;

/// How the manager reaches its database.
pub(super) struct Access {
    pub(super) url: String,
    pub(super) admin: Option<DatabaseAdmin>,
    pub(super) plain_names: bool,
}

pub(super) struct Databases {
    access: Access,
    store: Arc<PostgresStore>,
    /// Works for every tenant of the manager's own database that is not open.
    server: Runner,
    /// The tenants with databases of their own, which nobody else would work for while they are not open.
    kept_open: tokio::sync::Mutex<KeptOpen>,
    measured: Mutex<Option<Instant>>,
    reaping: Streak,
    measuring: Streak,
    looking: Streak,
    #[cfg(feature = "data")]
    data: Option<Data>,
}

#[derive(Default)]
struct KeptOpen {
    runners: HashMap<String, Runner>,
    aside: Aside<String>,
    looked: Option<Instant>,
}

impl Databases {
    pub(super) async fn open(
        access: Access,
        builder: RunnerBuilder,
        config: &RunnerConfig,
        #[cfg(feature = "data")] data: Option<Data>,
    ) -> Result<Self, Error> {
        if let Some(admin) = &access.admin {
            admin.create_operator_place().await.map_err(told)?;
        }
        let mut serving = config.clone();
        serving.serve_all_tenants = !config.submit_only;
        let server = builder.database_url(&access.url).config(serving).build().await?;
        let store = postgres_store(&access.url, config).await?;
        Ok(Self {
            access,
            store,
            server,
            kept_open: tokio::sync::Mutex::default(),
            measured: Mutex::default(),
            reaping: Streak::new(
                "look at the sessions of tenants",
                "those that exceed their limits go on until that succeeds",
            ),
            measuring: Streak::new(
                "measure the tenants",
                "their limits on bytes go by old figures; the next try is in an hour",
            ),
            looking: Streak::new(
                "look for tenants with databases of their own",
                "those that were made since are not opened until that succeeds",
            ),
            #[cfg(feature = "data")]
            data,
        })
    }

    pub(super) fn template_store(&self) -> (Arc<dyn TemplateStore>, Handle) {
        (Arc::clone(&self.store) as Arc<dyn TemplateStore>, self.store.runtime())
    }

    pub(super) fn key_store(&self) -> (Arc<dyn KeyStore>, Handle) {
        (Arc::clone(&self.store) as Arc<dyn KeyStore>, self.store.runtime())
    }

    pub(super) fn audit_store(&self) -> (Arc<dyn AuditStore>, Handle) {
        (Arc::clone(&self.store) as Arc<dyn AuditStore>, self.store.runtime())
    }

    async fn find(&self, name: &TenantName) -> Result<Option<NamedTenant>, Error> {
        let mut found = self.store.tenants_named(Some(name.as_str())).await?;
        Ok(found.pop())
    }

    /// A schema for a tenant. What it is called tells nothing, unless it is to be called as the tenant.
    fn schema_for(&self, name: &TenantName) -> Result<SchemaName, Error> {
        if self.access.plain_names {
            return Ok(name.as_str().parse()?);
        }
        // The random half of an id.
        let drawn = format!("t_{:016x}", TenantId::new().0.as_u64_pair().1);
        Ok(drawn.parse()?)
    }

    pub(super) async fn provision(
        &self,
        name: &TenantName,
        placement: Placement,
        audit: Option<NewAudit>,
    ) -> Result<Provisioned, Error> {
        if let Some(other) = self.find(name).await? {
            // One whose making was cut short is gone on with.
            let goes_on = placement == Placement::Database && other.state == TenantState::Creating;
            if !goes_on || other.name != name.as_str() {
                return Err(name.exists(&other.name));
            }
        }
        let admin = || {
            let why = "only an administrator can make that; give the manager one with `administrator`";
            let admin = self.access.admin.as_ref().ok_or_else(|| name.cannot_be_put(placement, why))?;
            Ok::<_, Error>(acting(admin, audit.as_ref()))
        };
        let (place, credentials) = match placement {
            Placement::File => {
                return Err(name.cannot_be_put(placement, "tenants of this manager are in PostgreSQL"));
            }
            Placement::Schema => {
                let schema = self.schema_for(name)?;
                if self.store.place_create(&schema, name.as_str(), audit.clone()).await?.is_none() {
                    // Somebody else made it since.
                    return Err(name.exists(name.as_str()));
                }
                (schema.as_str().to_owned(), None)
            }
            Placement::OwnRole => {
                let schema = self.schema_for(name)?;
                let config = TenantConfig {
                    schema_name: schema.as_str().to_owned(),
                    username: schema.as_str().to_owned(),
                    password: String::new(),
                };
                let made = admin()?.create_named_tenant(name.as_str(), config).await.map_err(told)?;
                (schema.as_str().to_owned(), Some(made))
            }
            Placement::Shared => {
                admin()?.create_shared_tenant(name.as_str()).await.map_err(told)?;
                (SchemaName::shared().as_str().to_owned(), None)
            }
            Placement::Database => {
                (admin()?.create_tenant_database(name.as_str()).await.map_err(told)?, None)
            }
        };
        #[cfg(feature = "data")]
        if let (Some(data), Some(admin)) =
            (&self.data, self.access.admin.as_ref().filter(|_| placement != Placement::Schema))
        {
            data.migrate_tenant(admin.url(), name.as_str()).await.map_err(|error| {
                let message = format!(
                    "the tenant `{name}` was made, but not the tables of its data: {error}; `Data::migrate_tenant` makes them, and `rotate` gives \
                     credentials if it has a login"
                );
                Error::new(ErrorKind::Place, message).with_source(error)
            })?;
        }
        Ok(Provisioned { placement, place, credentials })
    }

    pub(super) async fn placement(&self, name: &TenantName) -> Result<Placement, Error> {
        Ok(self.existing(name).await?.placement)
    }

    pub(super) async fn remove(
        &self,
        name: &TenantName,
        drain: Duration,
        audit: Option<NewAudit>,
    ) -> Result<bool, Error> {
        let Some(found) = self.find(name).await? else { return Ok(false) };
        if found.name != name.as_str() {
            return Err(name.differs_from(&found.name));
        }
        let admin = self.access.admin.as_ref().map(|admin| acting(admin, audit.as_ref()));
        match &admin {
            Some(admin) if found.placement == Placement::Shared => {
                admin.remove_shared_tenant(&found.name, drain).await.map_err(told)?;
            }
            Some(admin) if found.placement == Placement::Database => {
                let kept = self.kept_open.lock().await.runners.remove(&found.name);
                if let Some(kept) = kept {
                    kept.shutdown().await?;
                }
                admin.remove_tenant_database(&found.name, drain).await.map_err(told)?;
            }
            Some(admin) if found.placement == Placement::OwnRole => {
                let tenants = admin.list_tenants().await.map_err(told)?;
                let login = tenants
                    .into_iter()
                    .find(|tenant| tenant.tenant == found.tenant)
                    .and_then(|tenant| tenant.logins.into_iter().next());
                let Some(login) = login else { return Ok(false) };
                admin.remove_tenant_within(&found.schema_name, &login, drain).await.map_err(told)?;
            }
            _ if is_administrators(&found) => return Err(needs_administrator(name)),
            _ => self.store.place_remove(&found.place(), drain, audit).await?,
        }
        Ok(true)
    }

    /// A tenant that is there and is called exactly so.
    async fn existing(&self, name: &TenantName) -> Result<NamedTenant, Error> {
        let found = self.find(name).await?.ok_or_else(|| name.not_found())?;
        if found.name != name.as_str() {
            return Err(name.differs_from(&found.name));
        }
        if found.state == TenantState::Removing {
            return Err(name.not_found());
        }
        Ok(found)
    }

    /// A tenant, and who decides about it: the administrator or, of one without a login, the manager's own
    /// login.
    async fn decided_by(&self, name: &TenantName) -> Result<(NamedTenant, Option<&DatabaseAdmin>), Error> {
        let found = self.existing(name).await?;
        if self.access.admin.is_none() && is_administrators(&found) {
            return Err(needs_administrator(name));
        }
        Ok((found, self.access.admin.as_ref()))
    }

    pub(super) async fn suspend(&self, name: &TenantName, audit: Option<NewAudit>) -> Result<(), Error> {
        match self.decided_by(name).await? {
            (found, Some(admin)) => acting(admin, audit.as_ref()).suspend(called(&found)).await.map_err(told),
            (found, None) => Ok(self.store.place_suspend(&found.place(), audit).await?),
        }
    }

    pub(super) async fn resume(&self, name: &TenantName, audit: Option<NewAudit>) -> Result<(), Error> {
        match self.decided_by(name).await? {
            (found, Some(admin)) => acting(admin, audit.as_ref()).resume(called(&found)).await.map_err(told),
            (found, None) => Ok(self.store.place_resume(&found.place(), audit).await?),
        }
    }

    pub(super) async fn set_limits(
        &self,
        name: &TenantName,
        limits: TenantLimits,
        audit: Option<NewAudit>,
    ) -> Result<(), Error> {
        match self.decided_by(name).await? {
            (found, Some(admin)) => {
                acting(admin, audit.as_ref()).set_limits(called(&found), limits).await.map_err(told)
            }
            (found, None) => Ok(self.store.place_limit(&found.place(), limits, audit).await?),
        }
    }

    pub(super) async fn rotate(
        &self,
        name: &TenantName,
        audit: Option<NewAudit>,
    ) -> Result<TenantCredentials, Error> {
        let (found, admin) = self.decided_by(name).await?;
        match admin {
            Some(admin) if found.placement == Placement::OwnRole => {
                acting(admin, audit.as_ref()).rotate_credentials(&found.schema_name).await.map_err(told)
            }
            _ => Err(name.has_no_login()),
        }
    }

    pub(super) async fn list(&self) -> Result<Vec<String>, Error> {
        let main = self.server.place();
        let tenants = self.store.tenants_named(None).await?.into_iter();
        Ok(tenants.filter(|tenant| tenant.schema_name != main).map(|tenant| tenant.name).collect())
    }

    /// The tenants, but for the manager's own place, in the order of their names.
    async fn all(&self) -> Result<Vec<NamedTenant>, Error> {
        let main = self.server.place();
        let mut all = self.store.tenants_named(None).await?;
        all.retain(|tenant| tenant.schema_name != main);
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    pub(super) async fn largest(&self, limit: usize) -> Result<Vec<(String, u64)>, Error> {
        Ok(self.store.tenants_largest(limit).await?)
    }

    /// The runner of a tenant with a database of its own, which is kept open.
    async fn kept(&self, name: &str) -> Result<Runner, Error> {
        let kept = self.kept_open.lock().await.runners.get(name).cloned();
        kept.filter(|runner| !runner.is_shut_down()).ok_or_else(|| {
            let message = format!("the database of tenant `{name}` is not open yet; ask again in a moment");
            Error::new(ErrorKind::Unavailable, message)
        })
    }

    pub(super) async fn executions(
        &self,
        list: ExecutionList,
        read: impl Fn(ExecutionHeader) -> ExecutionResult,
        across: &mut Across<ExecutionResult>,
    ) -> Result<(), Error> {
        let all = self.all().await?;
        for tenant in all.iter().filter(|tenant| is_elsewhere(tenant)) {
            let listed = match self.kept(&tenant.name).await {
                Ok(runner) => runner.list(list.filter.clone(), list.before.map(Into::into), list.limit).await,
                Err(error) => Err(error),
            };
            across.add_of(&tenant.name, listed);
        }
        across.add(self.store.executions_across(all, list).await?, read);
        Ok(())
    }

    pub(super) async fn waits(
        &self,
        from: Option<&str>,
        filter: WaitFilter,
        across: &mut Across<Waiting>,
    ) -> Result<(), Error> {
        let mut all = self.all().await?;
        all.retain(|tenant| from.is_none_or(|from| &*tenant.name >= from));
        for tenant in all.iter().filter(|tenant| is_elsewhere(tenant)) {
            let after = filter.after.filter(|_| from == Some(tenant.name.as_str()));
            let listed = match self.kept(&tenant.name).await {
                Ok(runner) => {
                    let after = after.map(|(execution, node)| Waiting::cursor_of(execution.into(), node));
                    match filter.asking {
                        true => runner.inbox(after, filter.limit).await,
                        false => runner.waits(after, filter.limit).await,
                    }
                }
                Err(error) => Err(error),
            };
            across.add_of(&tenant.name, listed);
        }
        all.retain(|tenant| !is_elsewhere(tenant));
        let after = filter.after.filter(|_| all.first().map(|tenant| tenant.name.as_str()) == from);
        let filter = WaitFilter { after, ..filter };
        across.add(self.store.waits_across(all, filter).await?, Waiting::from);
        Ok(())
    }

    /// Makes or changes the engine's tables of a tenant.
    pub(super) async fn migrate(&self, name: &TenantName) -> Result<(), Error> {
        let found = self.existing(name).await?;
        let Some(admin) = &self.access.admin else {
            if is_administrators(&found) {
                return Err(needs_administrator(name));
            }
            self.store.place_open(&PlaceName::Tenant(found.name)).await?;
            return Ok(());
        };
        for migrated in admin.migrate_tenants(&[called(&found)]).await.map_err(told)? {
            migrated.to.map_err(told)?;
        }
        Ok(())
    }

    pub(super) async fn examine(&self, name: &TenantName) -> Result<Diagnosis, Error> {
        let found = self.existing(name).await?;
        let mut diagnosis = Diagnosis::default();
        let (_, versions) = self.store.versions(Some(name.as_str())).await?;
        for VersionOf { elsewhere, version, .. } in versions {
            let version = match elsewhere {
                Some(database) => version_elsewhere(self.store.address(), &database).await?,
                None => version,
            };
            diagnosis.add_version(name.as_str(), version);
        }
        if found.state == TenantState::Creating {
            let remedy = "make it again with the same name: that goes on where it was cut short";
            diagnosis.findings.push(Finding::warning(name.as_str(), "its making was cut short", remedy));
        }
        // Only a tenant with a login of its own has rights that could reach too far.
        match &self.access.admin {
            Some(admin) if found.placement == Placement::OwnRole => {
                let report = admin.inspect_tenant(&found.schema_name).await.map_err(told)?;
                let remedy =
                    "take it away, or make the tenant anew; docs/guides/isolation.md says what a tenant has";
                let found = report.findings.iter();
                diagnosis
                    .findings
                    .extend(found.map(|what| Finding::fatal(name.as_str(), what.clone(), remedy)));
            }
            None if found.placement == Placement::OwnRole => diagnosis.skipped.push(
                "who may do what in the tenant's schema: only an administrator of the database sees that",
            ),
            _ => {}
        }
        Ok(diagnosis)
    }

    pub(super) async fn examine_all(&self) -> Result<Diagnosis, Error> {
        let mut diagnosis = Diagnosis::default();
        let label = self.store.label();
        diagnosis.add_version(label, self.store.versions(Some("")).await?.0);
        match &self.access.admin {
            Some(admin) => {
                let preflight = admin.preflight().await.map_err(told)?;
                let missing = "a right is missing that making tenants takes";
                let open = "a right that every login of the server has lets tenants use more than is theirs";
                let fatal = preflight.missing.into_iter();
                diagnosis.findings.extend(fatal.map(|statement| Finding::fatal(label, missing, statement)));
                let open_rights = preflight.hardening.into_iter();
                diagnosis
                    .findings
                    .extend(open_rights.map(|statement| Finding::warning(label, open, statement)));
            }
            None => diagnosis
                .skipped
                .push("the rights in the database: only an administrator of the database sees them"),
        }
        #[cfg(feature = "data")]
        if let Some(data) = &self.data {
            let found = data.verify(&self.access.url).await.map_err(super::diagnosis::of_data)?;
            diagnosis.findings.extend(found);
        }
        Ok(diagnosis)
    }

    pub(super) async fn open_runner(
        &self,
        name: &TenantName,
        builder: RunnerBuilder,
    ) -> Result<Runner, Error> {
        let found = self.existing(name).await?;
        builder.database_url(&self.access.url).tenant(&found.name).build().await
    }

    /// Ends sessions that last too long, and measures now and then.
    pub(super) async fn look_after(&self, builder: RunnerBuilder) {
        self.keep_databases_open(builder).await;
        let Some(admin) = &self.access.admin else { return };
        let whose = Whose::Database(self.store.label());
        self.reaping.note(whose, &admin.reap_sessions().await);
        {
            let mut measured = self.measured.lock();
            if measured.is_some_and(|at| at.elapsed() < MEASURE) {
                return;
            }
            *measured = Some(Instant::now());
        }
        self.measuring.note(whose, &admin.measure_tenants().await);
    }

    /// Opens the tenants with databases of their own that were made since, and closes those that are gone.
    async fn keep_databases_open(&self, builder: RunnerBuilder) {
        let mut kept = self.kept_open.lock().await;
        if kept.looked.is_some_and(|at| at.elapsed() < LOOK_FOR_DATABASES) {
            return;
        }
        kept.looked = Some(Instant::now());
        let names = self.store.tenants_with_databases().await;
        self.looking.note(Whose::Database(self.store.label()), &names);
        let Ok(names) = names else { return };
        kept.aside.retain(|name| names.contains(name));
        let gone: Vec<Runner> =
            kept.runners.extract_if(|name, _| !names.contains(name)).map(|(_, runner)| runner).collect();
        for runner in gone {
            if let Err(error) = runner.shutdown().await {
                tracing::warn!(%error, "the runner of a tenant that is gone was not shut down");
            }
        }
        for name in names {
            let is_open = kept.runners.get(&name).is_some_and(|runner| !runner.is_shut_down());
            if is_open || kept.aside.holds(&name, Instant::now()) {
                continue;
            }
            let runner = builder.clone().database_url(&self.access.url).tenant(&name);
            match Box::pin(runner.build()).await {
                Ok(runner) => drop(kept.runners.insert(name, runner)),
                Err(error) => {
                    let pause = kept.aside.put(name.clone(), Instant::now());
                    tracing::warn!(tenant = name, %error, "a tenant with a database of its own was not opened; will try again in {pause:?}");
                }
            }
        }
    }

    pub(super) async fn shutdown(&self) -> Result<(), Error> {
        let kept = std::mem::take(&mut self.kept_open.lock().await.runners);
        for runner in kept.into_values() {
            runner.shutdown().await?;
        }
        self.server.shutdown().await
    }
}

/// Which versions the registry of a database and the places of its tenants have.
pub(super) async fn versions(address: PostgresAddress) -> Result<Vec<TenantVersion>, Error> {
    let store = looks_at(address.clone()).await?;
    let (registry, tenants) = store.versions(None).await?;
    let mut versions = vec![TenantVersion { tenant: None, version: Ok(registry) }];
    for VersionOf { name, elsewhere, version } in tenants {
        let version = match elsewhere {
            Some(database) => version_elsewhere(&address, &database).await,
            None => Ok(version),
        };
        versions.push(TenantVersion { tenant: Some(name), version });
    }
    Ok(versions)
}

/// Which version a tenant's tables have in its own database.
async fn version_elsewhere(address: &PostgresAddress, database: &str) -> Result<PlaceVersion, Error> {
    let store = looks_at(address.with_database(database)?).await?;
    let (registry, tenants) = store.versions(None).await?;
    // The only tenant there.
    Ok(tenants.first().map_or(registry, |tenant| tenant.version))
}

/// Reads what is in a database, and makes nothing there.
async fn looks_at(address: PostgresAddress) -> Result<Arc<PostgresStore>, Error> {
    let options = PostgresOptions { max_connections: LOOKING, ..PostgresOptions::default() };
    Ok(PostgresStore::connect_address(address, options).await?)
}

/// An administrator that notes for whom it acts.
fn acting(admin: &DatabaseAdmin, audit: Option<&NewAudit>) -> DatabaseAdmin {
    audit.map_or_else(|| admin.clone(), |audit| admin.acting((*audit.actor).clone()))
}

/// Whether its place is in a database of its own that is there.
fn is_elsewhere(tenant: &NamedTenant) -> bool {
    tenant.placement == Placement::Database
        && matches!(tenant.state, TenantState::Active | TenantState::Suspended)
}

/// What an administrator calls a tenant: by its schema, if that is in the administrator's database.
fn called(tenant: &NamedTenant) -> &str {
    if tenant.placement.is_schema() { &tenant.schema_name } else { &tenant.name }
}

/// Whether only an administrator decides about it.
fn is_administrators(tenant: &NamedTenant) -> bool {
    matches!(tenant.placement, Placement::OwnRole | Placement::Database)
}

fn needs_administrator(name: &TenantName) -> Error {
    let message = format!(
        "the tenant `{name}` has a login or a database of its own: what it may do and whether it stays is decided by a manager with an \
         `administrator`, or by `DatabaseAdmin`"
    );
    Error::new(ErrorKind::Configuration, message)
}

/// What an administrator is told, as users of runners are told it.
fn told(error: AdminError) -> Error {
    let kind = match error.kind() {
        AdminErrorKind::AlreadyExists => ErrorKind::Conflict,
        AdminErrorKind::NotFound => ErrorKind::NotFound,
        AdminErrorKind::Configuration => ErrorKind::Configuration,
        AdminErrorKind::Busy | AdminErrorKind::Unavailable => ErrorKind::Unavailable,
        AdminErrorKind::Privileges
        | AdminErrorKind::Remains
        | AdminErrorKind::NotIsolated
        | AdminErrorKind::Version => ErrorKind::Place,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, error.to_string()).with_source(error)
}
