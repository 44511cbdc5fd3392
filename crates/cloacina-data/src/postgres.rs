//! A PostgreSQL database.
//!
//! A pooler in transaction mode gives each transaction the server process that is free. So nothing may be left in one, neither a setting nor a role nor a
//! prepared statement, and everything runs in a transaction, a single question too: the driver sends a statement's text and its values one after
//! the other, and only a transaction keeps them together.

mod doctor;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use cloacina_core::execution::PipelineStatus;
use cloacina_core::id::{ExecutionId, TenantId};
use cloacina_core::store::{
    Closed, Flush, Flushed, Freed, Place, PlaceFlushed, Recorded, StoreError, StoreErrorKind,
};
use cloacina_postgres::guest::{self, Answer, GuestStep, Value, WrittenAs};
use cloacina_postgres::{PostgresAddress, SchemaName};
use jiff::Timestamp;
use sea_orm::{DbErr, RuntimeErr};
use secrecy::ExposeSecret;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow, PgSslMode, Postgres};
use sqlx::query::Query;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool, Row as _,
    Transaction,
};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::across::Scope;
use crate::connection::FlushError;
use crate::credentials::AnySource;
use crate::db::Access;
use crate::declaration::{Declared, GivenLogin};
use crate::doctor::Finding;
use crate::error::{DataError, DataErrorKind, Result};
use crate::gate::Dialect;
use crate::migration::Whose;
use crate::token::Key;
use doctor::Placed;

/// How long a transaction waits for a connection, a statement for a lock, a statement for its end, and a transaction for its next statement.
const ACQUIRE: Duration = Duration::from_secs(10);
const TIMEOUTS: &str = "SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '30s'; \
                        SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// How long a connection that nobody uses stays open.
const IDLE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    pool: Pool,
    login: String,
    /// Whether the login is a tenant's own.
    own: bool,
    /// Whether it reads across tenants.
    reads: bool,
    /// The application's login, for tenants that share tables.
    app: Option<App>,
    tenants: Tenants,
}

/// The tenants that have logins of their own, for an operator's runner.
struct Tenants {
    address: PostgresAddress,
    credentials: Option<Arc<dyn AnySource>>,
    /// Of each tenant that was used, its login, or that it has none.
    known: Mutex<HashMap<TenantId, Arc<OnceCell<Option<OfTenant>>>>>,
}

/// The connections of a login.
#[derive(Clone)]
struct Pool {
    connections: PgPool,
    /// Whether the next transaction of a connection is on the same server process, so that a statement that was prepared is there.
    keeps_statements: bool,
}

/// A tenant's login.
#[derive(Clone)]
struct OfTenant {
    pool: Pool,
    login: String,
}

/// As whom a place is reached, and with which connections.
struct Reached {
    pool: Pool,
    login: String,
    placed: Placed,
    written_as: WrittenAs,
}

impl Reached {
    /// A transaction for the doctor, in which no name means anything of the place's own.
    async fn examine(&self, place: &Place) -> Result<Open> {
        begun(&self.pool, place, &format!("{}; {TIMEOUTS}", doctor::BEGIN), self.written_as).await
    }
}

/// The most connections to the login of one tenant. Nobody keeps one that is not used.
const OF_A_TENANT: u32 = 4;

/// The application's login.
struct App {
    pool: Pool,
    name: String,
    /// What its sessions know and nobody sees, so that a token may stand in a text. Behind a pooler there are no sessions.
    secret: Option<String>,
    /// Read with the operator's login when it is first needed.
    key: OnceCell<Key>,
}

/// A connection with a transaction. One that is dropped before its end, or whose beginning failed, is closed: the pool would hand it on with
/// what is left of the transaction, and the driver does not know of one whose `BEGIN` succeeded and whose settings did not.
pub(crate) struct Open {
    /// `None` once the transaction has ended.
    connection: Option<PoolConnection<Postgres>>,
    keeps_statements: bool,
    written_as: WrittenAs,
}

impl Server {
    pub(crate) fn new(
        address: &PostgresAddress,
        app: Option<&GivenLogin>,
        credentials: Option<Arc<dyn AnySource>>,
        max_connections: u32,
        own: bool,
    ) -> Result<Self> {
        let app = match app {
            Some(GivenLogin { username, password }) => {
                let address = address
                    .with_login(username, password.expose_secret())
                    .map_err(|error| DataError::configuration(error.to_string()))?;
                let secret = (!address.parts().pooled).then(|| Uuid::new_v4().simple().to_string());
                let options = pool_options(max_connections);
                let options = match secret.clone() {
                    Some(secret) => options.after_connect(move |connection, _| {
                        let secret = secret.clone();
                        Box::pin(async move { tell(connection, secret).await })
                    }),
                    None => options,
                };
                Some(App {
                    pool: pool_with(options, &address)?,
                    name: username.clone(),
                    secret,
                    key: OnceCell::new(),
                })
            }
            None => None,
        };
        let tenants = Tenants { address: address.clone(), credentials, known: Mutex::default() };
        let (pool, login) = (pool(address, max_connections)?, address.user().to_owned());
        Ok(Self { pool, login, own, reads: false, app, tenants })
    }

    pub(crate) fn reaches_logins(&self) -> bool {
        self.own || self.tenants.credentials.is_some()
    }

    /// The database as a reader across tenants reaches it: with one connection, for as long as it reads.
    pub(crate) fn reader(address: &PostgresAddress, reader: &GivenLogin) -> Result<Self> {
        let address = address
            .with_login(&reader.username, reader.password.expose_secret())
            .map_err(|error| DataError::configuration(error.to_string()))?;
        Ok(Self { reads: true, ..Self::new(&address, None, None, 1, false)? })
    }

    /// A transaction that reads one tenant's rows, as it was granted.
    pub(crate) async fn read(&self, place: &Place, grant: Uuid) -> Result<Open> {
        let schema = SchemaName::of(place).map_err(|error| place_error(place, &error))?;
        let begin = format!(
            "{}; SET LOCAL cloacina.reading = '{grant}'; SET LOCAL cloacina.reading_of = '{}'",
            begin(&schema, Access::Read),
            Uuid::from(place.tenant)
        );
        begun(&self.pool, place, &begin, WrittenAs::App).await
    }

    /// As whom a place is reached.
    async fn reach(&self, place: &Place) -> Result<Reached> {
        let reached = |pool: &Pool, login: &str, placed, written_as| {
            let (pool, login) = (pool.clone(), login.to_owned());
            Reached { pool, login, placed, written_as }
        };
        Ok(match (&self.app, place.shared) {
            (_, true) if self.reads => reached(&self.pool, &self.login, Placed::Reader, WrittenAs::App),
            (Some(app), true) => reached(&app.pool, &app.name, Placed::Shared, WrittenAs::App),
            (None, true) => return Err(without_app(place)),
            (_, false) if self.own => reached(&self.pool, &self.login, Placed::Login, WrittenAs::Tenant),
            (_, false) => match self.tenants.find_or_known(place, &self.pool).await? {
                Some(own) => reached(&own.pool, &own.login, Placed::Login, WrittenAs::Tenant),
                None => reached(&self.pool, &self.login, Placed::Schema, WrittenAs::Operator),
            },
        })
    }

    /// The login that a place is reached with.
    pub(crate) async fn login_of(&self, place: &Place) -> Result<String> {
        Ok(self.reach(place).await?.login)
    }

    pub(crate) async fn verify_login(&self, place: &Place, declared: &Declared) -> Result<Vec<Finding>> {
        let reached = self.reach(place).await?;
        let operator = (reached.placed == Placed::Shared).then_some(self.login.as_str());
        let mut open = reached.examine(place).await?;
        let logins = (reached.login.as_str(), operator);
        let found = doctor::login(open.driver(), place, reached.placed, logins, declared).await?;
        open.rollback(false).await;
        Ok(found)
    }

    pub(crate) async fn verify_place(&self, place: &Place, declared: &Declared) -> Result<Vec<Finding>> {
        let reached = self.reach(place).await?;
        let mut open = reached.examine(place).await?;
        let found = doctor::place(open.driver(), place, reached.placed, &reached.login, declared).await?;
        open.rollback(false).await;
        Ok(found)
    }

    pub(crate) async fn begin(&self, place: &Place, access: Access) -> Result<Open> {
        let reached = self.reach(place).await?;
        let by_source = reached.placed == Placed::Login && !self.own;
        let schema = SchemaName::of(place).map_err(|error| place_error(place, &error))?;
        let token = match self.app.as_ref().filter(|_| place.shared) {
            Some(app) => {
                let key = app.key.get_or_try_init(|| self.key(place)).await?;
                let secret = app.secret.as_deref();
                Some((
                    key.token(place.tenant.into(), &app.name, secret.unwrap_or_default()),
                    secret.is_some(),
                ))
            }
            None => None,
        };
        let mut begin = begin(&schema, access);
        let _infallible = match &token {
            Some((token, true)) => write!(begin, "; {}", token.text(place)),
            Some((_, false)) => Ok(()),
            None => write!(
                begin,
                "; SELECT cloacina.at_home('{}', {}, current_schema()::text)",
                Uuid::from(place.tenant),
                place.epoch
            ),
        };
        let mut open = match begun(&reached.pool, place, &begin, reached.written_as).await {
            // The login was rotated, or was never this tenant's: the source is asked again, at once or the next time.
            Err(error) if by_source && error.kind() == DataErrorKind::Place => {
                self.tenants.forget(place);
                if !is_not_let_in(&error) {
                    return Err(error);
                }
                let again = self.reach(place).await?;
                begun(&again.pool, place, &begin, again.written_as).await?
            }
            begun => begun?,
        };
        if let Some((token, false)) = token {
            let entered = token.enter(open.driver(), place).await;
            entered.map_err(|error| DataError::driver(&place.name, BEGINNING, error))?;
        }
        Ok(open)
    }

    async fn key(&self, place: &Place) -> Result<Key> {
        let mut open = begun(&self.pool, place, &look(), WrittenAs::Operator).await?;
        let key = Key::read(open.driver()).await;
        let key = key.map_err(|error| DataError::driver(&place.name, "read the key of tokens", error))?;
        open.rollback(false).await;
        Ok(key)
    }

    pub(crate) async fn migrate(&self, place: &Arc<Place>, declared: &Declared) -> Result<()> {
        let mut open = self.begin(place, Access::Write).await?;
        let failed = |error| DataError::driver(&place.name, MIGRATING, error);
        let latest = declared.latest();
        let version = version(open.driver()).await.map_err(failed)?;
        if version == latest {
            open.rollback(false).await;
            return Ok(());
        }
        let may_create = "SELECT has_schema_privilege(current_schema(), 'CREATE')";
        let may_create: bool = sqlx::query_scalar(may_create)
            .persistent(false)
            .fetch_one(open.driver())
            .await
            .map_err(failed)?;
        if self.own || place.shared || !may_create {
            open.rollback(false).await;
            crate::versions::check(place, version, latest)?;
            let what = if place.shared {
                "the shared tables, once, with `Data::migrate_shared`"
            } else {
                "its tables, with `Data::migrate_tenants`"
            };
            return Err(DataError::new(
                DataErrorKind::Place,
                format!(
                    "tenant `{}`: its tables are at migration {version} and this program's at {latest}, and the login may not change them: an \
                     administrator makes or changes {what}",
                    place.name
                ),
            ));
        }
        // One process changes the tables of a place; the others wait, and find them changed.
        sqlx::query("SELECT FROM cloacina.tenant WHERE tenant_id = $1 FOR NO KEY UPDATE")
            .bind(Uuid::from(place.tenant))
            .persistent(false)
            .execute(open.driver())
            .await
            .map_err(failed)?;
        let whose = Whose::Tenant(place.tenant.into());
        apply(open.driver(), place, whose, declared).await?;
        open.commit().await.map_err(failed)?;
        Ok(())
    }
}

impl Tenants {
    /// The login of a tenant; `None` if it has none, and the operator's is used.
    async fn find_or_known(&self, place: &Place, operator: &Pool) -> Result<Option<OfTenant>> {
        let cell = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(place.tenant).or_default())
        };
        cell.get_or_try_init(|| self.find(place, operator)).await.cloned()
    }

    async fn find(&self, place: &Place, operator: &Pool) -> Result<Option<OfTenant>> {
        let mut open = begun(operator, place, &look(), WrittenAs::Operator).await?;
        let has_login: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM cloacina.login WHERE tenant_id = $1)")
                .bind(Uuid::from(place.tenant))
                .persistent(false)
                .fetch_one(open.driver())
                .await
                .map_err(|error| DataError::driver(&place.name, "look for its login", error))?;
        open.rollback(false).await;
        if !has_login {
            return Ok(None);
        }
        let Some(source) = &self.credentials else {
            return Err(DataError::configuration(format!(
                "tenant `{}` has a login of its own, and its data is reached with no other: give the operator's runners a source with \
                 `Data::credentials`",
                place.name
            )));
        };
        let login = source.login_of(&place.name).await.map_err(|error| {
            DataError::new(
                DataErrorKind::Place,
                format!("tenant `{}`: no credentials of its login are to be had: {error}", place.name),
            )
        })?;
        let address = self
            .address
            .with_login(&login.username, login.password())
            .map_err(|error| DataError::configuration(error.to_string()))?;
        Ok(Some(OfTenant { pool: pool(&address, OF_A_TENANT)?, login: login.username }))
    }

    /// Forgets the pool of a tenant. What is open in it may end.
    fn forget(&self, place: &Place) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&place.tenant);
    }
}

/// Whether the server does not accept the login: neither its name nor its password, or it may not log in any more.
fn is_not_let_in(error: &DataError) -> bool {
    let code = match error.database() {
        Some(DbErr::Query(RuntimeErr::SqlxError(error))) => {
            error.as_database_error().and_then(|error| error.code())
        }
        _ => None,
    };
    matches!(code.as_deref(), Some("28P01" | "28000"))
}

/// Grants a login the reading of several tenants, as an operator. Returns the grant, tenant by tenant, once it is committed.
pub(crate) async fn grant(
    operator: &PostgresAddress,
    reader: &str,
    reason: &str,
    scope: Scope<'_>,
    seconds: i32,
) -> Result<Vec<(Uuid, Uuid, String)>> {
    let failed = |error| DataError::driver("all", "grant the reading across tenants", error);
    let names = match scope {
        Scope::All => None,
        Scope::Only(names) => Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()),
    };
    let mut connection = options(operator)?.connect().await.map_err(failed)?;
    let mut transaction = connection.begin().await.map_err(failed)?;
    transaction.execute(TIMEOUTS).await.map_err(failed)?;
    let granted =
        sqlx::query_as("SELECT reading, tenant_id, name FROM cloacina.grant_reading($1, $2, $3, $4)")
            .bind(reader)
            .bind(names)
            .bind(reason)
            .bind(seconds)
            .persistent(false)
            .fetch_all(&mut *transaction)
            .await
            .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    drop(connection.close().await);
    Ok(granted)
}

/// Makes or changes the tables that tenants share, as an administrator.
pub(crate) async fn migrate_shared(address: &PostgresAddress, declared: &Declared) -> Result<()> {
    let shared = SchemaName::shared();
    let (name, schema) = (shared.as_str().to_owned(), shared.as_str().to_owned());
    let place = Place { tenant: TenantId(Uuid::nil()), name, schema, epoch: 1, shared: true };
    let mut connection = administrator(address).await?;
    let mut transaction = as_owner(&mut connection, &place.name, &look()).await?;
    let of = "SELECT tenant_id FROM cloacina.tenant WHERE placement = 'host'";
    let host = sqlx::query_scalar::<_, Uuid>(of)
        .persistent(false)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(|error| DataError::driver(&place.name, MIGRATING, error))?;
    end(transaction, &place.name).await?;
    let Some(host) = host else {
        return Err(DataError::new(
            DataErrorKind::Place,
            format!(
                "no tenants share tables on {}: make the first with `DatabaseAdmin::create_shared_tenant`",
                address.label()
            ),
        ));
    };
    migrate_as_owner(&mut connection, &place, host, Whose::Shared, declared).await
}

/// Makes or changes the tables of tenants that have logins or databases of their own, or of the one that is called so, one after the other, as an
/// administrator. The first that fails ends it.
pub(crate) async fn migrate_tenants(
    address: &PostgresAddress,
    declared: &Declared,
    only: Option<&str>,
) -> Result<usize> {
    let mut connection = administrator(address).await?;
    let mut transaction = as_owner(&mut connection, "all", &look()).await?;
    let of = "SELECT tenant_id, name, schema_name, epoch, group_name, placement = 'database' FROM cloacina.tenant \
              WHERE (placement = 'schema' AND group_name IS NOT NULL OR placement = 'database') AND state IN ('active', 'suspended') \
              AND ($1::text IS NULL OR name = $1) ORDER BY schema_name";
    let tenants: Vec<(Uuid, String, String, i32, Option<String>, bool)> = sqlx::query_as(of)
        .bind(only)
        .persistent(false)
        .fetch_all(&mut *transaction)
        .await
        .map_err(|error| DataError::driver("all", READING_REGISTRY, error))?;
    end(transaction, "all").await?;
    for (tenant, name, schema, epoch, group, elsewhere) in &tenants {
        let (name, schema) = (name.clone(), schema.clone());
        let place = Place { tenant: TenantId(*tenant), name, schema, epoch: *epoch, shared: false };
        // In a database of its own the operator works for it.
        let group = group.as_deref().unwrap_or("cloacina_engine");
        let whose = Whose::Login { tenant: *tenant, group };
        if *elsewhere {
            let there = address.with_database(&place.schema).map_err(|error| place_error(&place, &error))?;
            let mut connection = administrator(&there).await?;
            migrate_as_owner(&mut connection, &place, *tenant, whose, declared).await?;
        } else {
            migrate_as_owner(&mut connection, &place, *tenant, whose, declared).await?;
        }
    }
    Ok(tenants.len())
}

/// A place of the registry: the tenant, its name, schema and epoch, whether it shares tables, whether it has logins of its own, and the logins that
/// work there.
type Registered = (Uuid, String, String, i32, bool, bool, Vec<String>);

/// What the doctor finds in all places of a database.
pub(crate) async fn verify(
    address: &PostgresAddress,
    app: Option<&str>,
    declared: &Declared,
) -> Result<Vec<Finding>> {
    let failed = |error| DataError::driver("all", "look at the places of the database", error);
    let mut connection = options(address)?.connect().await.map_err(failed)?;
    let begin = format!("{}; {TIMEOUTS}", doctor::BEGIN);
    connection.execute(AssertSqlSafe(begin)).await.map_err(failed)?;
    let places: Vec<Registered> = sqlx::query_as(doctor::PLACES)
        .bind(app)
        .persistent(false)
        .fetch_all(&mut connection)
        .await
        .map_err(failed)?;
    let mut found = Vec::new();
    for (tenant, name, schema, epoch, shared, own, mut logins) in places {
        let place = Place { tenant: TenantId(tenant), name, schema, epoch, shared };
        let placed = match (shared, own) {
            (true, _) => Placed::Shared,
            (false, true) => Placed::Login,
            (false, false) => Placed::Schema,
        };
        if placed == Placed::Schema {
            logins.push(address.user().to_owned());
        }
        for login in &logins {
            found.extend(doctor::login(&mut connection, &place, placed, (login, None), declared).await?);
        }
        // The logins of a place have the same rights on it.
        let login = logins.first().map_or(address.user(), String::as_str);
        found.extend(doctor::place(&mut connection, &place, placed, login, declared).await?);
    }
    let elsewhere: Vec<String> = sqlx::query_scalar(doctor::DATABASES)
        .persistent(false)
        .fetch_all(&mut connection)
        .await
        .map_err(failed)?;
    connection.execute("ROLLBACK").await.map_err(failed)?;
    drop(connection.close().await);
    for database in elsewhere {
        let there =
            address.with_database(&database).map_err(|error| DataError::configuration(error.to_string()))?;
        found.extend(Box::pin(verify(&there, app, declared)).await?);
    }
    Ok(found)
}

/// Whether a tenant that is called so shares tables.
pub(crate) async fn is_shared(address: &PostgresAddress, name: &str) -> Result<bool> {
    let mut connection = administrator(address).await?;
    let mut transaction = as_owner(&mut connection, name, &look()).await?;
    let of = "SELECT EXISTS (SELECT FROM cloacina.tenant WHERE name = $1 AND placement = 'shared' AND state <> 'removed')";
    let shared = sqlx::query_scalar(of)
        .bind(name)
        .persistent(false)
        .fetch_one(&mut *transaction)
        .await
        .map_err(|error| DataError::driver(name, READING_REGISTRY, error))?;
    end(transaction, name).await?;
    Ok(shared)
}

const READING_REGISTRY: &str = "read the registry of tenants";

async fn administrator(address: &PostgresAddress) -> Result<PgConnection> {
    let failed = |error| DataError::driver("all", "connect as an administrator", error);
    options(address)?.connect().await.map_err(failed)
}

/// A transaction of an administrator's as the owner of all tenants' tables, until it ends.
async fn as_owner<'a>(
    connection: &'a mut PgConnection,
    place: &str,
    begin: &str,
) -> Result<Transaction<'a, Postgres>> {
    connection
        .begin_with(AssertSqlSafe(format!("{begin}; SET LOCAL ROLE cloacina_owner")))
        .await
        .map_err(|error| DataError::driver(place, "begin as an administrator", error))
}

/// Ends a transaction that only read.
async fn end(transaction: Transaction<'_, Postgres>, place: &str) -> Result<()> {
    transaction.rollback().await.map_err(|error| DataError::driver(place, READING_REGISTRY, error))
}

/// One process changes the tables of a place; the others wait for its row in the registry, and find them changed.
async fn migrate_as_owner(
    connection: &mut PgConnection,
    place: &Place,
    registered: Uuid,
    whose: Whose<'_>,
    declared: &Declared,
) -> Result<()> {
    let failed = |error| DataError::driver(&place.name, MIGRATING, error);
    let schema = SchemaName::of(place).map_err(|error| place_error(place, &error))?;
    let mut transaction = as_owner(connection, &place.name, &begin(&schema, Access::Write)).await?;
    sqlx::query("SELECT FROM cloacina.tenant WHERE tenant_id = $1 FOR NO KEY UPDATE")
        .bind(registered)
        .persistent(false)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    apply(&mut transaction, place, whose, declared).await?;
    transaction.commit().await.map_err(failed)
}

const BEGINNING: &str = "begin a transaction";

/// After a restart of the server all connections that nobody used are broken, and each says so when it is first used. Nothing has begun by
/// then, so another one is taken.
async fn begun(pool: &Pool, place: &Place, begin: &str, written_as: WrittenAs) -> Result<Open> {
    let Pool { connections, keeps_statements } = pool;
    let mut perhaps_broken = connections.num_idle();
    loop {
        let attempt = async {
            let connection = Some(connections.acquire().await?);
            let mut open = Open { connection, keeps_statements: *keeps_statements, written_as };
            open.driver().execute(AssertSqlSafe(begin)).await?;
            Ok(open)
        };
        let error = match attempt.await {
            Ok(open) => return Ok(open),
            Err(error) => error,
        };
        let waited = matches!(error, sqlx::Error::PoolTimedOut);
        let error = DataError::driver(&place.name, BEGINNING, error);
        if waited || perhaps_broken == 0 || error.kind() != DataErrorKind::Unavailable {
            return Err(error);
        }
        perhaps_broken -= 1;
    }
}

const MIGRATING: &str = "make or change the tables of its data";

/// Applies what is missing, in the transaction that holds the lock on the place.
async fn apply(
    connection: &mut PgConnection,
    place: &Place,
    whose: Whose<'_>,
    declared: &Declared,
) -> Result<()> {
    let failed = |error| DataError::driver(&place.name, MIGRATING, error);
    let latest = declared.latest();
    let version = version(connection).await.map_err(failed)?;
    crate::versions::check(place, version, latest)?;
    if version == latest {
        return Ok(());
    }
    let mut text = String::new();
    if version == 0 {
        text.push_str(
            "CREATE TABLE cloacina_data_migration (number integer NOT NULL PRIMARY KEY, name text NOT NULL, \
             applied_at timestamptz NOT NULL DEFAULT now());",
        );
        if let Some(user) = whose.user() {
            let _infallible = write!(text, "GRANT SELECT ON cloacina_data_migration TO {user};");
        }
    }
    for migration in declared.migrations.iter().filter(|migration| migration.number() > version) {
        for statement in migration.statements(Dialect::Postgres, whose, &declared.kinds)? {
            let _infallible = write!(text, "{statement};");
        }
        let name = migration.name().replace('\'', "''");
        let _infallible = write!(
            text,
            "INSERT INTO cloacina_data_migration (number, name) VALUES ({}, '{name}');",
            migration.number()
        );
        let applied = connection.execute(AssertSqlSafe(std::mem::take(&mut text))).await;
        applied.map_err(|error| DataError::driver(&place.name, &migration.doing(), error))?;
    }
    tracing::info!(
        tenant = place.name,
        from = version,
        to = latest,
        "made or changed the tables of its data"
    );
    Ok(())
}

/// The number of the last migration of the schema that is first in the search path; 0 if there was none.
async fn version(connection: &mut PgConnection) -> sqlx::Result<i32> {
    let known: bool = sqlx::query_scalar(
        "SELECT to_regclass(format('%I.cloacina_data_migration', current_schema())) IS NOT NULL",
    )
    .persistent(false)
    .fetch_one(&mut *connection)
    .await?;
    if !known {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT coalesce(max(number), 0) FROM cloacina_data_migration")
        .persistent(false)
        .fetch_one(connection)
        .await
}

fn begin(schema: &SchemaName, access: Access) -> String {
    let mode = match access {
        Access::Read => " ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        Access::Write => "",
    };
    format!("BEGIN{mode}; SET LOCAL search_path = {}, pg_temp; {TIMEOUTS}", schema.quoted())
}

/// How a transaction begins that looks at the registry.
fn look() -> String {
    format!("BEGIN READ ONLY; {TIMEOUTS}")
}

fn pool(address: &PostgresAddress, max_connections: u32) -> Result<Pool> {
    pool_with(pool_options(max_connections), address)
}

fn pool_options(max_connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(max_connections.max(1))
        .acquire_timeout(ACQUIRE)
        .idle_timeout(IDLE)
        // A connection that broke says so with the first statement; to ask each time costs as much as a statement.
        .test_before_acquire(false)
}

fn pool_with(options_of_pool: PgPoolOptions, address: &PostgresAddress) -> Result<Pool> {
    let connections = options_of_pool.connect_lazy_with(options(address)?);
    Ok(Pool { connections, keeps_statements: !address.parts().pooled })
}

/// Tells a session the secret of its login's, in no text.
async fn tell(session: &mut PgConnection, secret: String) -> sqlx::Result<()> {
    sqlx::query("SELECT set_config('cloacina.session', $1, false)")
        .bind(secret)
        .persistent(false)
        .execute(session)
        .await
        .map(drop)
}

fn without_app(place: &Place) -> DataError {
    DataError::configuration(format!(
        "tenant `{}` shares tables, which are reached with the application's login: make it with `DatabaseAdmin::create_app_login`, and give it with \
         `Data::app_login`",
        place.name
    ))
}

fn place_error(place: &Place, error: &StoreError) -> DataError {
    DataError::new(DataErrorKind::Place, format!("tenant `{}`: {error}", place.name))
}

impl Open {
    pub(crate) fn driver(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("who ends the transaction has taken it")
    }

    /// Whether a statement may be prepared for the next transaction as well.
    pub(crate) fn keeps_statements(&self) -> bool {
        self.keeps_statements
    }

    pub(crate) async fn flush(&mut self, flush: &Flush) -> Result<Flushed, FlushError> {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut done = PlaceFlushed::default();
        for GuestStep { text, values, answer } in guest::steps(flush, self.written_as) {
            let query = query(text, values, Some(now)).persistent(self.keeps_statements);
            let rows = query.fetch_all(self.driver()).await?;
            match answer {
                Answer::Clock => now = time(rows.first())?,
                Answer::Nothing => {}
                Answer::Submitted => {
                    for row in rows {
                        done.submitted.push(ExecutionId(row.try_get("id")?));
                    }
                }
                Answer::Recorded => {
                    for row in rows {
                        let (execution, task) =
                            (ExecutionId(row.try_get("execution_id")?), row.try_get("task")?);
                        if row.try_get("recorded")? {
                            done.recorded.push(Recorded { execution, task });
                        } else {
                            done.freed.push(Freed { execution, task, claimed: None });
                        }
                    }
                }
                Answer::Closed => {
                    for row in rows {
                        let status = status(row.try_get("state")?)?;
                        done.closed.push(Closed { execution: ExecutionId(row.try_get("id")?), status });
                    }
                }
            }
        }
        Ok(Flushed { now, places: vec![done] })
    }

    pub(crate) async fn find(
        &mut self,
        place: &Place,
        workflow: &str,
        key: &str,
    ) -> Result<Option<(ExecutionId, i64)>, FlushError> {
        let (text, values) = guest::find(place.tenant.into(), workflow, key);
        let query = query(text, values, None).persistent(self.keeps_statements);
        let row = query.fetch_optional(self.driver()).await?;
        let found = row.map(|row| Ok((ExecutionId(row.try_get("id")?), row.try_get("input_hash")?)));
        Ok(found.transpose().map_err(|error: sqlx::Error| error)?)
    }

    pub(crate) async fn commit(mut self) -> sqlx::Result<()> {
        self.driver().execute("COMMIT").await?;
        // Back to the pool.
        drop(self.connection.take());
        Ok(())
    }

    pub(crate) async fn rollback(mut self, after_error: bool) {
        if after_error {
            // Its prepared statements may be of tables that have changed since.
            drop(self.driver().clear_cached_statements().await);
        }
        // What cannot be rolled back is closed, which does the same.
        if self.driver().execute("ROLLBACK").await.is_ok() {
            drop(self.connection.take());
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.close_on_drop();
        }
    }
}

fn time(row: Option<&PgRow>) -> Result<Timestamp, FlushError> {
    let row = row.ok_or(sqlx::Error::RowNotFound)?;
    let now: DateTime<Utc> = row.try_get("now")?;
    let out_of_range = |error: jiff::Error| StoreError::new(StoreErrorKind::Internal, error.to_string());
    Timestamp::from_microsecond(now.timestamp_micros())
        .map_err(|error| FlushError::Store(out_of_range(error)))
}

fn status(text: &str) -> Result<PipelineStatus, FlushError> {
    text.parse().map_err(|error| {
        FlushError::Store(StoreError::new(
            StoreErrorKind::Version,
            format!("the state of an execution: {error}"),
        ))
    })
}

/// `now` is what the values mean by that.
fn query(
    text: &'static str,
    values: Vec<Value>,
    now: Option<Timestamp>,
) -> Query<'static, Postgres, PgArguments> {
    values.into_iter().fold(sqlx::query(text), |query, value| match value {
        Value::Uuid(value) => query.bind(value),
        Value::Timestamp(value) => query.bind(value.and_then(bound_time)),
        Value::Now => query.bind(now.and_then(bound_time)),
        Value::Uuids(values) => query.bind(values),
        Value::SmallInts(values) => query.bind(values),
        Value::Integers(values) => query.bind(values),
        Value::BigInts(values) => query.bind(values),
        Value::Booleans(values) => query.bind(values),
        Value::Timestamps(values) => {
            let times: Vec<_> = values.into_iter().map(|value| value.and_then(bound_time)).collect();
            query.bind(times)
        }
        Value::Text(value) => query.bind(value),
        Value::Texts(values) => query.bind(values),
    })
}

fn bound_time(time: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(time.as_microsecond())
}

/// The same database, login and protection as the engine's.
fn options(address: &PostgresAddress) -> Result<PgConnectOptions> {
    let parts = address.parts();
    let (host, port) =
        parts.hosts.first().ok_or_else(|| DataError::configuration("the PostgreSQL URL names no host"))?;
    if parts.hosts.len() > 1 {
        tracing::warn!(
            database = address.label(),
            "the data of tenants is looked for on the first host only"
        );
    }
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(host)
        .port(*port)
        .username(address.user())
        .database(address.database())
        .application_name("cloacina data")
        // A pooler of whatever mode refuses a session that begins with it. It is about numbers as text; ours go over in binary.
        .extra_float_digits(None)
        .ssl_mode(match parts.ssl_mode {
            "disable" => PgSslMode::Disable,
            "require" => PgSslMode::Require,
            "verify-ca" => PgSslMode::VerifyCa,
            "verify-full" => PgSslMode::VerifyFull,
            _ => PgSslMode::Prefer,
        });
    if let Some(password) = parts.password {
        options = options.password(password);
    }
    if let Some(certificates) = parts.root_certificates {
        options = options.ssl_root_cert(PathBuf::from(certificates));
    }
    Ok(options)
}
