//! Tenants in schemas of a database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cloacina_core::id::TenantId;
use cloacina_core::store::TenantState;
use cloacina_core::{ErrorKind, PipelineError};
use cloacina_postgres::{NamedTenant, PostgresStore, SchemaName};

use super::{Provisioned, TenantLimits, TenantName};
use crate::database::{AdminError, AdminErrorKind, DatabaseAdmin, TenantConfig, TenantCredentials};
use crate::runner::{DefaultRunner, DefaultRunnerConfig, postgres_store};

/// How often the sizes of all tenants are looked at.
const MEASURE: Duration = Duration::from_secs(3600);

pub(super) struct Schemas {
    url: String,
    admin: Option<DatabaseAdmin>,
    plain_names: bool,
    store: Arc<PostgresStore>,
    /// Works for every tenant that is not open.
    server: DefaultRunner,
    /// The names of the tenants by their schemas, of those that were opened.
    names: Mutex<HashMap<String, String>>,
    measured: Mutex<Option<Instant>>,
}

impl Schemas {
    pub(super) async fn open(
        url: String,
        admin: Option<DatabaseAdmin>,
        plain_names: bool,
        config: &DefaultRunnerConfig,
    ) -> Result<Self, PipelineError> {
        if let Some(admin) = &admin {
            admin.create_operator_place().await.map_err(told)?;
        }
        let mut serving = config.clone();
        serving.serve_all_tenants = !config.submit_only;
        let server = DefaultRunner::with_config(&url, serving).await?;
        let store = postgres_store(&url, config).await?;
        let (names, measured) = (Mutex::default(), Mutex::default());
        Ok(Self { url, admin, plain_names, store, server, names, measured })
    }

    async fn find(&self, name: &TenantName) -> Result<Option<NamedTenant>, PipelineError> {
        let mut found = self.store.tenants_named(Some(name.as_str())).await?;
        Ok(found.pop())
    }

    /// A schema for a tenant. What it is called tells nothing, unless it is to be called as the tenant.
    fn schema_for(&self, name: &TenantName) -> Result<SchemaName, PipelineError> {
        if self.plain_names {
            return Ok(name.as_str().parse()?);
        }
        // The random half of an id.
        let drawn = format!("t_{:016x}", TenantId::new().0.as_u64_pair().1);
        Ok(drawn.parse()?)
    }

    pub(super) async fn provision(&self, name: &TenantName) -> Result<Provisioned, PipelineError> {
        if let Some(other) = self.find(name).await? {
            return Err(name.exists(&other.name));
        }
        let schema = self.schema_for(name)?;
        let credentials = match &self.admin {
            Some(admin) => {
                let config = TenantConfig {
                    schema_name: schema.as_str().to_owned(),
                    username: schema.as_str().to_owned(),
                    password: String::new(),
                };
                Some(admin.create_named_tenant(name.as_str(), config).await.map_err(told)?)
            }
            None => match self.store.place_create(&schema, name.as_str()).await? {
                Some(_) => None,
                // Somebody else made it since.
                None => return Err(name.exists(name.as_str())),
            },
        };
        Ok(Provisioned { place: schema.as_str().to_owned(), credentials })
    }

    pub(super) async fn remove(&self, name: &TenantName, drain: Duration) -> Result<bool, PipelineError> {
        let Some(found) = self.find(name).await? else { return Ok(false) };
        if found.name != name.as_str() {
            return Err(name.differs_from(&found.name));
        }
        match &self.admin {
            Some(admin) if found.shared => {
                admin.remove_shared_tenant(&found.name, drain).await.map_err(told)?;
            }
            Some(admin) if found.has_login => {
                let tenants = admin.list_tenants().await.map_err(told)?;
                let login = tenants
                    .into_iter()
                    .find(|tenant| tenant.tenant == found.tenant)
                    .and_then(|tenant| tenant.logins.into_iter().next());
                let Some(login) = login else { return Ok(false) };
                admin.remove_tenant_within(&found.schema_name, &login, drain).await.map_err(told)?;
            }
            _ if found.has_login => {
                return Err(needs_own_roles(name));
            }
            _ => self.store.place_remove(&found.place(), drain).await?,
        }
        self.lock_names().remove(&found.place().name);
        Ok(true)
    }

    /// A tenant that is there and is called exactly so.
    async fn existing(&self, name: &TenantName) -> Result<NamedTenant, PipelineError> {
        let found = self.find(name).await?.ok_or_else(|| name.not_found())?;
        if found.name != name.as_str() {
            return Err(name.differs_from(&found.name));
        }
        if found.state == TenantState::Removing {
            return Err(name.not_found());
        }
        Ok(found)
    }

    /// A tenant, and who decides about it: the administrator or, of one without a login, the manager's own login.
    async fn decided_by(
        &self,
        name: &TenantName,
    ) -> Result<(NamedTenant, Option<&DatabaseAdmin>), PipelineError> {
        let found = self.existing(name).await?;
        if self.admin.is_none() && found.has_login {
            return Err(needs_own_roles(name));
        }
        Ok((found, self.admin.as_ref()))
    }

    pub(super) async fn suspend(&self, name: &TenantName) -> Result<(), PipelineError> {
        match self.decided_by(name).await? {
            (found, Some(admin)) => admin.suspend(&found.place().name).await.map_err(told),
            (found, None) => Ok(self.store.place_suspend(&found.place()).await?),
        }
    }

    pub(super) async fn resume(&self, name: &TenantName) -> Result<(), PipelineError> {
        match self.decided_by(name).await? {
            (found, Some(admin)) => admin.resume(&found.place().name).await.map_err(told),
            (found, None) => Ok(self.store.place_resume(&found.place()).await?),
        }
    }

    pub(super) async fn set_limits(
        &self,
        name: &TenantName,
        limits: TenantLimits,
    ) -> Result<(), PipelineError> {
        match self.decided_by(name).await? {
            (found, Some(admin)) => admin.set_limits(&found.place().name, limits).await.map_err(told),
            (found, None) => Ok(self.store.place_limit(&found.place(), limits).await?),
        }
    }

    pub(super) async fn rotate(&self, name: &TenantName) -> Result<TenantCredentials, PipelineError> {
        let (found, admin) = self.decided_by(name).await?;
        match admin {
            Some(admin) if found.has_login => {
                admin.rotate_credentials(&found.schema_name).await.map_err(told)
            }
            _ => Err(name.has_no_login()),
        }
    }

    pub(super) async fn list(&self) -> Result<Vec<String>, PipelineError> {
        let main = self.server.place();
        let tenants = self.store.tenants_named(None).await?.into_iter();
        Ok(tenants.filter(|tenant| tenant.schema_name != main).map(|tenant| tenant.name).collect())
    }

    pub(super) async fn open_runner(
        &self,
        name: &TenantName,
        config: &DefaultRunnerConfig,
    ) -> Result<DefaultRunner, PipelineError> {
        let found = self.existing(name).await?;
        let builder = DefaultRunner::builder().database_url(&self.url).tenant(&found.name);
        let runner = builder.config(config.clone()).build().await?;
        self.lock_names().insert(found.place().name, found.name);
        Ok(runner)
    }

    pub(super) fn is_called(&self, schema: &str, name: &TenantName) -> Result<(), PipelineError> {
        match self.lock_names().get(schema) {
            Some(known) if known != name.as_str() => Err(name.differs_from(known)),
            _ => Ok(()),
        }
    }

    /// Ends sessions that last too long, and measures now and then.
    pub(super) async fn look_after(&self) {
        let Some(admin) = &self.admin else { return };
        if let Err(error) = admin.reap_sessions().await {
            tracing::warn!(%error, "failed to look at the sessions of tenants; will try again");
        }
        {
            let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
            if measured.is_some_and(|at| at.elapsed() < MEASURE) {
                return;
            }
            *measured = Some(Instant::now());
        }
        if let Err(error) = admin.measure_tenants().await {
            tracing::warn!(%error, "failed to measure the tenants; will try again in an hour");
        }
    }

    pub(super) async fn shutdown(&self) -> Result<(), PipelineError> {
        self.server.shutdown().await
    }

    fn lock_names(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn needs_own_roles(name: &TenantName) -> PipelineError {
    let message = format!(
        "the tenant `{name}` has a login of its own: what it may do and whether it stays is decided by a manager with `own_roles`, or by \
         `DatabaseAdmin`"
    );
    PipelineError::new(ErrorKind::Configuration, message)
}

/// What an administrator is told, as users of runners are told it.
fn told(error: AdminError) -> PipelineError {
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
    PipelineError::new(kind, error.to_string()).with_source(error)
}
