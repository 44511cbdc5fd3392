//! A PostgreSQL database.

mod doctor;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use cloacina_core::Completion;
use cloacina_core::execution::PipelineStatus;
use cloacina_core::id::{ExecutionId, TenantId};
use cloacina_core::store::{Closed, Freed, Place, PlaceFlushed, Recorded, StoreError, StoreErrorKind};
use cloacina_postgres::completion::{Answer, Value, WrittenAs, completion};
use cloacina_postgres::{PostgresAddress, SchemaName};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow, PgSslMode, Postgres};
use sqlx::query::Query;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool, Row as _,
};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::across::Scope;
use crate::connection::{Completed, CompletionError};
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
    pool: PgPool,
    login: String,
    /// Whether the login is a tenant's own.
    own: bool,
    /// Whether it reads across tenants.
    reads: bool,
    /// The application's login, for tenants that share tables.
    app: Option<App>,
}

/// The application's login.
struct App {
    pool: PgPool,
    name: String,
    /// Read with the operator's login when it is first needed.
    key: OnceCell<Key>,
}

/// A connection with a transaction. One that is dropped before its end, or whose beginning failed, is closed: the pool would hand it on with
/// what is left of the transaction, and the driver does not know of one whose `BEGIN` succeeded and whose settings did not.
pub(crate) struct Open {
    /// `None` once the transaction has ended.
    connection: Option<PoolConnection<Postgres>>,
    written_as: WrittenAs,
}

impl Server {
    pub(crate) fn new(
        address: &PostgresAddress,
        app: Option<&GivenLogin>,
        max_connections: u32,
        own: bool,
    ) -> Result<Self> {
        let app = match app {
            Some(GivenLogin { username, password }) => {
                let address = address
                    .with_login(username, password.expose_secret())
                    .map_err(|error| DataError::configuration(error.to_string()))?;
                Some(App {
                    pool: pool(&address, max_connections)?,
                    name: username.clone(),
                    key: OnceCell::new(),
                })
            }
            None => None,
        };
        Ok(Self {
            pool: pool(address, max_connections)?,
            login: address.user().to_owned(),
            own,
            reads: false,
            app,
        })
    }

    /// The database as a reader across tenants reaches it: with one connection, for as long as it reads.
    pub(crate) fn reader(address: &PostgresAddress, reader: &GivenLogin) -> Result<Self> {
        let address = address
            .with_login(&reader.username, reader.password.expose_secret())
            .map_err(|error| DataError::configuration(error.to_string()))?;
        Ok(Self { reads: true, ..Self::new(&address, None, 1, false)? })
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

    /// Whose connections reach a place, and as whom.
    fn pool(&self, place: &Place) -> Result<(&PgPool, WrittenAs)> {
        match (&self.app, place.shared) {
            (Some(app), true) => Ok((&app.pool, WrittenAs::App)),
            (None, true) if self.reads => Ok((&self.pool, WrittenAs::App)),
            (None, true) => Err(without_app(place)),
            (_, false) if self.own => Ok((&self.pool, WrittenAs::Tenant)),
            (_, false) => Ok((&self.pool, WrittenAs::Operator)),
        }
    }

    /// The login that works with the data of a place, and the operator's where that is another one.
    fn logins(&self, place: &Place) -> (&str, Option<&str>) {
        match &self.app {
            Some(app) if place.shared => (&app.name, Some(&self.login)),
            _ => (&self.login, None),
        }
    }

    pub(crate) async fn verify_login(&self, place: &Place, declared: &Declared) -> Result<Vec<Finding>> {
        let (login, operator) = self.logins(place);
        let placed = if self.reads { Placed::Reader } else { Placed::of(place, self.own) };
        let mut open = self.examine(place).await?;
        let found = doctor::login(open.driver(), place, placed, (login, operator), declared).await?;
        open.rollback(false).await;
        Ok(found)
    }

    pub(crate) async fn verify_place(&self, place: &Place, declared: &Declared) -> Result<Vec<Finding>> {
        let mut open = self.examine(place).await?;
        let found =
            doctor::place(open.driver(), place, Placed::of(place, self.own), self.logins(place).0, declared)
                .await?;
        open.rollback(false).await;
        Ok(found)
    }

    /// A transaction for the doctor, in which no name means anything of the place's own.
    async fn examine(&self, place: &Place) -> Result<Open> {
        let (pool, written_as) = self.pool(place)?;
        begun(pool, place, &format!("{}; {TIMEOUTS}", doctor::BEGIN), written_as).await
    }

    pub(crate) async fn begin(&self, place: &Place, access: Access) -> Result<Open> {
        let (pool, written_as) = self.pool(place)?;
        let begin = begin(&SchemaName::of(place).map_err(|error| place_error(place, &error))?, access);
        let mut open = begun(pool, place, &begin, written_as).await?;
        if let Some(app) = self.app.as_ref().filter(|_| place.shared) {
            let key = app.key.get_or_try_init(|| self.key(place)).await?;
            key.enter(open.driver(), place.tenant.into(), &app.name)
                .await
                .map_err(|error| DataError::driver(&place.name, BEGINNING, error))?;
        }
        Ok(open)
    }

    async fn key(&self, place: &Place) -> Result<Key> {
        let failed = |error| DataError::driver(&place.name, "read the key of tokens", error);
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        Key::read(&mut connection).await.map_err(failed)
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
        if self.own || place.shared {
            open.rollback(false).await;
            crate::versions::check(place, version, latest)?;
            let what = if place.shared {
                "the shared tables, once, with `Data::migrate_shared`"
            } else {
                "its tables"
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
            .execute(open.driver())
            .await
            .map_err(failed)?;
        let whose = Whose::Tenant(place.tenant.into());
        apply(open.driver(), place, whose, declared).await?;
        open.commit().await.map_err(failed)?;
        Ok(())
    }
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
    let place = Place { tenant: TenantId(Uuid::nil()), name: shared.as_str().to_owned(), shared: true };
    let mut connection = administrator(address).await?;
    let of = "SELECT tenant_id FROM cloacina.tenant WHERE placement = 'host'";
    let host = sqlx::query_scalar::<_, Uuid>(of)
        .fetch_optional(&mut connection)
        .await
        .map_err(|error| DataError::driver(&place.name, MIGRATING, error))?;
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

/// Makes or changes the tables of tenants that have logins of their own, one after the other, as an administrator. The first that fails ends it.
pub(crate) async fn migrate_tenants(address: &PostgresAddress, declared: &Declared) -> Result<usize> {
    let mut connection = administrator(address).await?;
    let of = "SELECT tenant_id, schema_name, group_name FROM cloacina.tenant \
              WHERE placement = 'schema' AND group_name IS NOT NULL AND state IN ('active', 'suspended') ORDER BY schema_name";
    let tenants: Vec<(Uuid, String, String)> = sqlx::query_as(of)
        .fetch_all(&mut connection)
        .await
        .map_err(|error| DataError::driver("all", "read the registry of tenants", error))?;
    for (tenant, name, group) in &tenants {
        let place = Place { tenant: TenantId(*tenant), name: name.clone(), shared: false };
        let whose = Whose::Login { tenant: *tenant, group };
        migrate_as_owner(&mut connection, &place, *tenant, whose, declared).await?;
    }
    Ok(tenants.len())
}

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
    let places: Vec<(Uuid, String, bool, bool, Vec<String>)> =
        sqlx::query_as(doctor::PLACES).bind(app).fetch_all(&mut connection).await.map_err(failed)?;
    let mut found = Vec::new();
    for (tenant, name, shared, own, mut logins) in places {
        let place = Place { tenant: TenantId(tenant), name, shared };
        let placed = Placed::of(&place, own);
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
    Ok(found)
}

async fn administrator(address: &PostgresAddress) -> Result<PgConnection> {
    let failed = |error| DataError::driver("all", "connect as an administrator", error);
    let mut connection = options(address)?.connect().await.map_err(failed)?;
    connection.execute("SET ROLE cloacina_owner").await.map_err(failed)?;
    Ok(connection)
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
    let mut transaction =
        connection.begin_with(AssertSqlSafe(begin(&schema, Access::Write))).await.map_err(failed)?;
    sqlx::query("SELECT FROM cloacina.tenant WHERE tenant_id = $1 FOR NO KEY UPDATE")
        .bind(registered)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    apply(&mut transaction, place, whose, declared).await?;
    transaction.commit().await.map_err(failed)
}

const BEGINNING: &str = "begin a transaction";

/// After a restart of the server all connections that nobody used are broken, and each says so when it is first used. Nothing has begun by
/// then, so another one is taken.
async fn begun(pool: &PgPool, place: &Place, begin: &str, written_as: WrittenAs) -> Result<Open> {
    let mut perhaps_broken = pool.num_idle();
    loop {
        let attempt = async {
            let mut open = Open { connection: Some(pool.acquire().await?), written_as };
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
    .fetch_one(&mut *connection)
    .await?;
    if !known {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT coalesce(max(number), 0) FROM cloacina_data_migration")
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

fn pool(address: &PostgresAddress, max_connections: u32) -> Result<PgPool> {
    Ok(PgPoolOptions::new()
        .max_connections(max_connections.max(1))
        .acquire_timeout(ACQUIRE)
        .idle_timeout(IDLE)
        // A connection that broke says so with the first statement; to ask each time costs as much as a statement.
        .test_before_acquire(false)
        .connect_lazy_with(options(address)?))
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

    pub(crate) async fn complete(&mut self, done: &Completion) -> Result<Completed, CompletionError> {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut flushed = PlaceFlushed::default();
        for step in completion(done, self.written_as) {
            let mut query = sqlx::query(step.text);
            for value in step.values {
                query = bind(query, value);
            }
            let rows = query.fetch_all(self.driver()).await?;
            match step.answer {
                Answer::Clock => now = time(rows.first())?,
                Answer::Nothing => {}
                Answer::Recorded => {
                    for row in rows {
                        let (execution, task) =
                            (ExecutionId(row.try_get("execution_id")?), row.try_get("task")?);
                        if row.try_get("recorded")? {
                            flushed.recorded.push(Recorded { execution, task });
                        } else {
                            flushed.freed.push(Freed { execution, task, claimed: None });
                        }
                    }
                    if flushed.recorded.is_empty() {
                        return Ok(Completed::Superseded);
                    }
                }
                Answer::Closed => {
                    for row in rows {
                        let status = status(row.try_get("state")?)?;
                        flushed.closed.push(Closed { execution: ExecutionId(row.try_get("id")?), status });
                    }
                }
            }
        }
        Ok(Completed::Written(now, flushed))
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

fn time(row: Option<&PgRow>) -> Result<Timestamp, CompletionError> {
    let row = row.ok_or(sqlx::Error::RowNotFound)?;
    let now: DateTime<Utc> = row.try_get("now")?;
    let out_of_range = |error: jiff::Error| StoreError::new(StoreErrorKind::Internal, error.to_string());
    Timestamp::from_microsecond(now.timestamp_micros())
        .map_err(|error| CompletionError::Store(out_of_range(error)))
}

fn status(text: &str) -> Result<PipelineStatus, CompletionError> {
    text.parse().map_err(|error| {
        CompletionError::Store(StoreError::new(
            StoreErrorKind::Version,
            format!("the state of an execution: {error}"),
        ))
    })
}

fn bind<'q>(query: Query<'q, Postgres, PgArguments>, value: Value) -> Query<'q, Postgres, PgArguments> {
    match value {
        Value::Uuid(value) => query.bind(value),
        Value::Timestamp(value) => {
            query.bind(value.and_then(|value| DateTime::<Utc>::from_timestamp_micros(value.as_microsecond())))
        }
        Value::Uuids(values) => query.bind(values),
        Value::SmallInts(values) => query.bind(values),
        Value::Integers(values) => query.bind(values),
        Value::BigInts(values) => query.bind(values),
        Value::Texts(values) => query.bind(values),
    }
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
    if parts.pooled {
        options = options.statement_cache_capacity(0);
    }
    Ok(options)
}
