//! Tenants with database logins of their own: made, changed and removed by an administrator.
//!
//! ```text
//! provisioner   this module; CREATEROLE; a member of cloacina_owner
//! operator      the logins of runners that serve any tenant; members of cloacina_engine
//! tenant        the logins of one tenant; members of its group <username>__g, which holds the grants and is in cloacina_tenant
//!
//! cloacina_owner   NOLOGIN; owns the schema `cloacina` and every table in a tenant's schema
//! ```
//!
//! The group owns nothing, and has no right by which a tenant could put something where others run: no
//! CREATE, TRIGGER, REFERENCES, TRUNCATE or MAINTAIN. What is a tenant's is bound to it in the registry by
//! the OIDs of its roles, so that a role or a schema that somebody made under its name is not mistaken for
//! it: nothing that exists is adopted.
//!
//! Each action is one transaction, with its row in `cloacina.audit`; one that needs several says so and can
//! be repeated. An action goes on when its caller's future is dropped.

pub mod blocking;
mod create;
mod credentials;
mod database;
mod error;
mod limits;
mod list;
mod migrate;
mod remove;
mod rotate;
mod session;
mod setup;
mod shared;
mod suspend;
mod verify;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use cloacina_core::id::TenantId;
use cloacina_core::store::{Actor, Placement};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;
use tokio_postgres::Row;
use uuid::Uuid;

pub use credentials::{TenantConfig, TenantCredentials};
pub use error::{AdminError, AdminErrorKind};
pub use list::{AuditEntry, TenantSummary};
pub use migrate::Migrated;
pub use setup::Preflight;
pub use verify::TenantReport;

use crate::address::PostgresAddress;
use crate::error::Failure;
use crate::flight::{Param, Scope, Step, params};
use crate::inner::Inner;
use crate::migrations::Migration;
use crate::options::PostgresOptions;
use crate::pool::{Lent, Pool};
use crate::role::{OWNER, quoted};
use crate::statement as sql;
use crate::tls;

type Result<T, E = AdminError> = std::result::Result<T, E>;

/// A database as an administrator reaches it. Nothing is connected, or checked, before it is used.
#[derive(Clone)]
pub struct Database {
    url: SecretString,
    name: String,
    max_connections: u32,
}

impl Database {
    /// A database of this URL and name, with at most so many connections.
    ///
    /// The name has to be the one in the URL, if that has one: two that differ are an error when the database
    /// is first used.
    #[must_use]
    pub fn new(url: &str, database_name: &str, max_connections: u32) -> Self {
        Self { url: url.into(), name: database_name.to_owned(), max_connections }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("Database").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Makes, changes and removes tenants of a PostgreSQL database that have logins of their own.
///
/// Its login is a superuser, or has CREATEROLE and may make schemas; [`preflight`](Self::preflight) says what
/// is missing. With its first action it makes the three roles and hands the schema `cloacina` over to their
/// owner; the login that owned it before goes on working, as a member of `cloacina_engine`.
///
/// A handle: clones share the connections.
#[derive(Clone)]
pub struct DatabaseAdmin {
    shared: Arc<Shared>,
    actor: Option<Arc<Actor>>,
}

tokio::task_local! {
    /// For whom the action is done that runs in this task.
    static ACTOR: Option<Arc<Actor>>;
}

struct Shared {
    database: Database,
    further_migrations: Vec<Migration>,
    admin: OnceCell<Arc<Admin>>,
}

/// An administrator's connections.
pub(crate) struct Admin {
    inner: Arc<Inner>,
    max_connections: u32,
    further_migrations: Vec<Migration>,
    setup: OnceCell<Setup>,
    /// What the operator was told last of transactions that tenants prepared.
    told: Mutex<String>,
}

/// What was found out about the server once.
struct Setup {
    is_superuser: bool,
}

impl DatabaseAdmin {
    /// An administrator of this database.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self::with_migrations(database, Vec::new())
    }

    /// With further scripts for places, for tests of migrations.
    #[doc(hidden)]
    #[must_use]
    pub fn with_migrations(database: Database, further_migrations: Vec<Migration>) -> Self {
        Self {
            shared: Arc::new(Shared { database, further_migrations, admin: OnceCell::new() }),
            actor: None,
        }
    }

    /// The same administrator, acting for somebody: what it does stands in the audit under their name, in the
    /// place of its login's.
    #[must_use]
    pub fn acting(&self, actor: Actor) -> Self {
        Self { shared: Arc::clone(&self.shared), actor: Some(Arc::new(actor.trimmed())) }
    }

    /// How it logs in. Holds a password.
    #[doc(hidden)]
    #[must_use]
    pub fn url(&self) -> &str {
        self.shared.database.url.expose_secret()
    }

    async fn admin(&self) -> Result<Arc<Admin>> {
        self.shared.admin.get_or_try_init(|| self.connect()).await.cloned()
    }

    async fn connect(&self) -> Result<Arc<Admin>> {
        let Database { url, name, max_connections } = &self.shared.database;
        let address = PostgresAddress::parse(url.expose_secret())?;
        if address.database() != name {
            let message = format!(
                "the database was named {name:?}, but its URL is that of `{}`: name the same one",
                address.database()
            );
            return Err(AdminError::new(AdminErrorKind::Configuration, message));
        }
        Ok(Arc::new(Admin::new(address, *max_connections, self.shared.further_migrations.clone())?))
    }

    /// Does work in a task of its own, so that it ends properly when its caller goes away.
    async fn run<T, Fut>(&self, work: impl FnOnce(Arc<Admin>) -> Fut) -> Result<T>
    where
        T: Send + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let admin = Box::pin(self.admin()).await?;
        // Boxed, because what it needs is large and a caller's future should not be.
        let work = Box::pin(ACTOR.scope(self.actor.clone(), work(Arc::clone(&admin))));
        admin.inner.run(work).await
    }
}

impl fmt::Debug for DatabaseAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseAdmin").field("database", &self.shared.database).finish()
    }
}

/// A tenant as the registry has it, under the lock on its row.
struct Registered {
    tenant: TenantId,
    name: String,
    schema: String,
    placement: Placement,
    state: String,
    group: Option<String>,
    /// The role that has the group's OID, under whatever name: another one than `group` means that somebody
    /// renamed it.
    group_there: Option<String>,
    logins: Vec<String>,
    current: Vec<String>,
}

impl Registered {
    /// The tenant's group, if it has logins of its own and is what the registry says.
    fn group(&self) -> Result<Option<&str>> {
        if self.group == self.group_there {
            return Ok(self.group.as_deref());
        }
        let message = format!(
            "the role `{}` of the tenant in schema `{}` is not the one that was made for it; an administrator has to look",
            self.group.as_deref().unwrap_or_default(),
            self.schema
        );
        Err(AdminError::new(AdminErrorKind::NotIsolated, message))
    }

    /// The roles that are the tenant's.
    fn roles(&self) -> Vec<String> {
        self.logins.iter().chain(&self.group).cloned().collect()
    }
}

impl Admin {
    fn new(
        address: PostgresAddress,
        max_connections: u32,
        further_migrations: Vec<Migration>,
    ) -> Result<Self> {
        let runtime = PostgresOptions::default().runtime()?;
        let connector = tls::connector(&address)?;
        let pool = Arc::new(Pool::without_lanes(address, connector, max_connections));
        let inner = Arc::new(Inner::new(pool, &further_migrations, runtime));
        Ok(Self {
            inner,
            max_connections,
            further_migrations,
            setup: OnceCell::new(),
            told: Mutex::default(),
        })
    }

    fn address(&self) -> &PostgresAddress {
        &self.inner.pool.address
    }

    /// The first half of a transaction as the owner of everything.
    async fn begin_as_owner<'a>(&self, mut steps: Vec<Step<'a>>) -> Result<(Lent, Vec<Vec<Row>>)> {
        steps.insert(0, Step::Batch(format!("SET LOCAL ROLE {OWNER}")));
        let mut side = self.inner.pool.side().await?;
        let mut rows = side.begin(Scope::Control, &steps).await.map_err(|failure| self.error(failure))?;
        rows.remove(0);
        Ok((side, rows))
    }

    /// A whole transaction as the owner of everything.
    async fn as_owner(&self, mut steps: Vec<Step<'_>>) -> Result<Vec<Vec<Row>>> {
        steps.insert(0, Step::Batch(format!("SET LOCAL ROLE {OWNER}")));
        let mut rows = self.as_itself(&steps).await?;
        rows.remove(0);
        Ok(rows)
    }

    /// A whole transaction as the administrator's login.
    async fn as_itself(&self, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>> {
        let mut side = self.inner.pool.side().await?;
        side.transaction(Scope::Control, steps).await.map_err(|failure| self.error(failure))
    }

    async fn finish(&self, side: &mut Lent, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>> {
        side.finish(steps).await.map_err(|failure| self.error(failure))
    }

    /// Locks a tenant's row and begins a transaction with it, as the owner of everything.
    async fn lock(&self, schema: &str) -> Result<(Lent, Registered)> {
        self.ensure().await?;
        let schema = credentials::tenant_name(schema)?;
        let (side, rows) =
            self.begin_as_owner(vec![Step::Run(sql::TENANT_FIND, params![schema.as_str()])]).await?;
        let Some(row) = rows[0].first() else {
            let message = format!(
                "there is no tenant in schema `{schema}` of {}; `list_tenants` says which there are",
                self.inner.label()
            );
            return Err(AdminError::new(AdminErrorKind::NotFound, message));
        };
        let logins: Vec<String> = row.get("logins");
        let registered = Registered {
            tenant: TenantId(row.get("tenant_id")),
            schema: row.get("schema_name"),
            name: row.get("name"),
            placement: crate::tenant::placement(row.get("placement"), !logins.is_empty())?,
            state: row.get("state"),
            group: row.get("group_name"),
            group_there: row.get("group_there"),
            logins,
            current: row.get("current_logins"),
        };
        Ok((side, registered))
    }

    /// The row in `cloacina.audit` of an action, to be written in its transaction as the owner.
    fn audit<'a>(
        &self,
        action: &'static str,
        tenant: TenantId,
        schema: &str,
        detail: Option<String>,
    ) -> Step<'a> {
        audit_step(action, Some(tenant.into()), Some(schema.to_owned()), detail)
    }

    fn error(&self, failure: Failure) -> AdminError {
        let said = failure.described();
        let (kind, message) = match failure.code() {
            Some("42501") => {
                let user = self.address().user();
                let hint = "`preflight` says which rights are missing";
                (AdminErrorKind::Privileges, format!("the login `{user}` may not do this: {said}; {hint}"))
            }
            Some("42710" | "42P06" | "23505") => (AdminErrorKind::AlreadyExists, said),
            Some(code)
                if matches!(code, "55P03" | "57014")
                    // A row of a catalog that somebody else has just changed.
                    || code == "XX000" && said.contains("concurrently") =>
            {
                (AdminErrorKind::Busy, format!("somebody else is at work here; try again: {said}"))
            }
            _ => return failure.into_error("cloacina").into(),
        };
        AdminError::new(kind, message)
    }

    /// Tells the processes of this database to look at the doorbell and the notices. Only a hint: they look
    /// once a second.
    async fn hint(&self) {
        let hinted = async {
            let side = self.inner.pool.side().await?;
            side.alone("NOTIFY cloacina").await.map_err(Failure::in_control)
        };
        if let Err(error) = hinted.await {
            tracing::debug!(database = self.inner.label(), %error, "a hint was not sent");
        }
    }
}

/// A row in `cloacina.audit`, by whoever the action is for.
fn audit_step<'a>(
    action: &'static str,
    tenant: Option<Uuid>,
    schema: Option<String>,
    detail: Option<String>,
) -> Step<'a> {
    let actor = ACTOR.try_with(Clone::clone).ok().flatten();
    let actor = actor.as_deref();
    let parameters: Vec<Param<'a>> = params![
        action,
        tenant,
        schema,
        detail,
        actor.map(|actor| actor.name.clone()),
        actor.and_then(|actor| actor.role.clone()),
        actor.and_then(|actor| actor.reason.clone()),
    ];
    Step::Run(sql::AUDIT_INSERT, parameters)
}

/// A list of roles for SQL.
fn role_list(roles: &[String]) -> String {
    roles.iter().map(|role| quoted(role)).collect::<Vec<_>>().join(", ")
}
