//! A PostgreSQL database.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use cloacina_core::Completion;
use cloacina_core::execution::PipelineStatus;
use cloacina_core::id::ExecutionId;
use cloacina_core::store::{Closed, Freed, Place, PlaceFlushed, Recorded, StoreError, StoreErrorKind};
use cloacina_postgres::completion::{Answer, Value, completion};
use cloacina_postgres::{PostgresAddress, SchemaName};
use jiff::Timestamp;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow, PgSslMode, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, Row as _, Transaction};
use uuid::Uuid;

use crate::connection::{Completed, CompletionError};
use crate::db::Access;
use crate::declaration::Declared;
use crate::error::{DataError, DataErrorKind, Result};
use crate::gate::Dialect;

/// How long a transaction waits for a connection, a statement for a lock, a statement for its end, and a transaction for its next statement.
const ACQUIRE: Duration = Duration::from_secs(10);
const TIMEOUTS: &str = "SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '30s'; \
                        SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// How long a connection that nobody uses stays open.
const IDLE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    pool: PgPool,
    /// Whether the login is a tenant's own.
    own: bool,
}

/// A connection with a transaction.
pub(crate) struct Open {
    transaction: Transaction<'static, Postgres>,
    own: bool,
}

impl Server {
    pub(crate) fn new(address: &PostgresAddress, max_connections: u32, own: bool) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(max_connections.max(1))
            .acquire_timeout(ACQUIRE)
            .idle_timeout(IDLE)
            // A connection that broke says so with the first statement; to ask each time costs as much as a statement.
            .test_before_acquire(false)
            .connect_lazy_with(options(address)?);
        Ok(Self { pool, own })
    }

    pub(crate) async fn begin(&self, place: &Place, access: Access) -> Result<Open> {
        let schema = schema(place)?;
        let mode = match access {
            Access::Read => " ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            Access::Write => "",
        };
        let begin = format!("BEGIN{mode}; SET LOCAL search_path = {}, pg_temp; {TIMEOUTS}", schema.quoted());
        // After a restart of the server all that nobody used are broken, and each says so when it is first used. Nothing has begun by then.
        let mut perhaps_broken = self.pool.num_idle();
        loop {
            let error = match self.pool.begin_with(AssertSqlSafe(begin.as_str())).await {
                Ok(transaction) => return Ok(Open { transaction, own: self.own }),
                Err(error) => error,
            };
            let waited = matches!(error, sqlx::Error::PoolTimedOut);
            let error = DataError::driver(&place.name, "begin a transaction", error);
            if waited || perhaps_broken == 0 || error.kind() != DataErrorKind::Unavailable {
                return Err(error);
            }
            perhaps_broken -= 1;
        }
    }

    pub(crate) async fn migrate(&self, place: &Arc<Place>, declared: &Declared) -> Result<()> {
        let mut open = self.begin(place, Access::Write).await?;
        let failed = |error| DataError::driver(&place.name, "make or change the tables of its data", error);
        let latest = declared.migrations.last().map_or(0, |migration| migration.number());
        if open.version().await.map_err(failed)? == latest {
            open.rollback(false).await;
            return Ok(());
        }
        if self.own {
            open.rollback(false).await;
            return Err(DataError::new(
                DataErrorKind::Place,
                format!(
                    "tenant `{}`: its tables are not those of this program, and its own login may not change them: open the tenant once with the \
                     operator's login, which makes them",
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
        let version = open.version().await.map_err(failed)?;
        crate::versions::check(place, version, latest)?;
        let mut text = String::new();
        if version == 0 {
            text.push_str(
                "CREATE TABLE cloacina_data_migration (number integer NOT NULL PRIMARY KEY, name text NOT NULL, \
                 applied_at timestamptz NOT NULL DEFAULT now());",
            );
        }
        for migration in declared.migrations.iter().filter(|migration| migration.number() > version) {
            for statement in migration.statements(Dialect::Postgres, place.tenant.into(), &declared.kinds)? {
                let _infallible = write!(text, "{statement};");
            }
            let name = migration.name().replace('\'', "''");
            let _infallible = write!(
                text,
                "INSERT INTO cloacina_data_migration (number, name) VALUES ({}, '{name}');",
                migration.number()
            );
            let applied = open.driver().execute(AssertSqlSafe(std::mem::take(&mut text))).await;
            applied.map_err(|error| DataError::driver(&place.name, &migration.doing(), error))?;
        }
        open.commit().await.map_err(failed)?;
        tracing::info!(
            tenant = place.name,
            from = version,
            to = latest,
            "made or changed the tables of its data"
        );
        Ok(())
    }
}

impl Open {
    pub(crate) fn driver(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// The number of the last migration; 0 if there was none.
    async fn version(&mut self) -> sqlx::Result<i32> {
        let known: bool = sqlx::query_scalar(
            "SELECT to_regclass(format('%I.cloacina_data_migration', current_schema())) IS NOT NULL",
        )
        .fetch_one(self.driver())
        .await?;
        if !known {
            return Ok(0);
        }
        sqlx::query_scalar("SELECT coalesce(max(number), 0) FROM cloacina_data_migration")
            .fetch_one(self.driver())
            .await
    }

    pub(crate) async fn complete(&mut self, done: &Completion) -> Result<Completed, CompletionError> {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut flushed = PlaceFlushed::default();
        for step in completion(done, self.own) {
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

    pub(crate) async fn commit(self) -> sqlx::Result<()> {
        self.transaction.commit().await
    }

    pub(crate) async fn rollback(mut self, after_error: bool) {
        if after_error {
            // Its prepared statements may be of tables that have changed since.
            drop(self.transaction.clear_cached_statements().await);
        }
        // What cannot be rolled back is closed by the pool.
        drop(self.transaction.rollback().await);
    }
}

fn schema(place: &Place) -> Result<SchemaName> {
    SchemaName::of(place).map_err(|error| DataError::new(DataErrorKind::Place, error.to_string()))
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
