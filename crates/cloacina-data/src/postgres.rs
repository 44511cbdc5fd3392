//! A PostgreSQL database.
//!
//! A pooler in transaction mode gives each transaction the server process that is free. So nothing may be
//! left in one, neither a setting nor a role nor a prepared statement, and everything runs in a transaction,
//! a single question too: the driver sends a statement's text and its values one after the other, and only a
//! transaction keeps them together.

mod administration;
mod doctor;
mod open;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloacina_core::id::TenantId;
use cloacina_core::store::Place;
use cloacina_postgres::guest::WrittenAs;
use cloacina_postgres::{PostgresAddress, SchemaName};
use parking_lot::Mutex;
use sea_orm::{DbErr, RuntimeErr};
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, PgPool};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::access::Access;
use crate::credentials::{AnySource, GivenLogin};
use crate::declared::Declared;
use crate::doctor::Finding;
use crate::error::{DataError, DataErrorKind, Result};
use crate::gate::Dialect;
use crate::migration::Whose;
use crate::token::{Key, Token};
pub(crate) use administration::{grant, is_shared, migrate_shared, migrate_tenants, verify};
use doctor::Placed;
pub(crate) use open::Open;

/// How long a transaction waits for a connection, a statement for a lock, a statement for its end, and a
/// transaction for its next statement.
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
    /// Whether the next transaction of a connection is on the same server process, so that a statement that
    /// was prepared is there.
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

/// What makes a transaction the tenant's, or says that it is.
enum Entry {
    /// A statement in the message that begins it.
    Begins(String),
    /// A statement of its own, after that.
    Follows(Token),
}

/// The application's login.
struct App {
    pool: Pool,
    name: String,
    /// What its sessions know and nobody sees, so that a token may stand in a text. Behind a pooler there are
    /// no sessions.
    secret: Option<String>,
    /// Read with the operator's login when it is first needed.
    key: OnceCell<Key>,
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
        let schema = SchemaName::of(place).map_err(|error| DataError::of_place(place, &error))?;
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
        let schema = SchemaName::of(place).map_err(|error| DataError::of_place(place, &error))?;
        let (mut begin, mut then) = (begin(&schema, access), None);
        match self.entry(place).await? {
            Entry::Begins(text) => begin = format!("{begin}; {text}"),
            Entry::Follows(token) => then = Some(token),
        }
        let mut open = match begun(&reached.pool, place, &begin, reached.written_as).await {
            // The login was rotated, or was never this tenant's: the source is asked again, at once or the
            // next time.
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
        if let Some(token) = then {
            let entered = token.enter(open.driver(), place).await;
            entered.map_err(|error| DataError::driver(&place.name, BEGINNING, error))?;
        }
        Ok(open)
    }

    async fn entry(&self, place: &Place) -> Result<Entry> {
        let Some(app) = self.app.as_ref().filter(|_| place.shared) else {
            let (tenant, epoch) = (Uuid::from(place.tenant), place.epoch);
            return Ok(Entry::Begins(format!(
                "SELECT cloacina.at_home('{tenant}', {epoch}, current_schema()::text)"
            )));
        };
        let key = app.key.get_or_try_init(|| self.key(place)).await?;
        let token = |secret| key.token(place.tenant.into(), &app.name, secret);
        Ok(match &app.secret {
            Some(secret) => Entry::Begins(token(secret).text(place)),
            None => Entry::Follows(token("")),
        })
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
            let mut known = self.known.lock();
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
        self.known.lock().remove(&place.tenant);
    }
}

/// Whether the server does not accept the login: neither its name nor its password, or it may not log in any
/// more.
fn is_not_let_in(error: &DataError) -> bool {
    let code = match error.database() {
        Some(DbErr::Query(RuntimeErr::SqlxError(error))) => {
            error.as_database_error().and_then(|error| error.code())
        }
        _ => None,
    };
    matches!(code.as_deref(), Some("28P01" | "28000"))
}

const BEGINNING: &str = "begin a transaction";

/// After a restart of the server all connections that nobody used are broken, and each says so when it is
/// first used. Nothing has begun by then, so another one is taken.
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
    // What the engine writes with a completion relies on every statement seeing what was committed before it.
    let mode = match access {
        Access::Read => "REPEATABLE READ, READ ONLY",
        Access::Write => "READ COMMITTED",
    };
    format!("BEGIN ISOLATION LEVEL {mode}; SET LOCAL search_path = {}, pg_temp; {TIMEOUTS}", schema.quoted())
}

/// How a transaction begins that looks at the registry.
fn look() -> String {
    format!("BEGIN ISOLATION LEVEL READ COMMITTED, READ ONLY; {TIMEOUTS}")
}

fn pool(address: &PostgresAddress, max_connections: u32) -> Result<Pool> {
    pool_with(pool_options(max_connections), address)
}

fn pool_options(max_connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(max_connections.max(1))
        .acquire_timeout(ACQUIRE)
        .idle_timeout(IDLE)
        // A connection that broke says so with the first statement; to ask each time costs as much as a
        // statement.
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
        // A pooler of whatever mode refuses a session that begins with it. It is about numbers as text; ours
        // go over in binary.
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
