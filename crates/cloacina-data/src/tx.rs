//! A transaction that belongs to one tenant.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use cloacina_core::{Completion, Context, Recording, TaskError};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sea_orm::sea_query::{Value, Values};
use sea_orm::{
    AccessMode, ConnectionTrait, DbBackend, DbErr, ExecResult, IsolationLevel, QueryResult, Statement,
    StreamTrait, TransactionError, TransactionOptions, TransactionSession, TransactionTrait,
};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};

use crate::connection::{Completed, CompletionError, Connection};
use crate::db::TenantDb;
use crate::error::{DataError, DataErrorKind, Result};
use crate::gate::{Admitted, Dialect};

/// A transaction of one tenant: what SeaORM's queries run on.
///
/// Every statement is parsed, refused if a part of it is not understood, and rewritten so that it sees and touches only the rows of the
/// tenant. After an error nothing more is accepted, as PostgreSQL has it, and nothing is committed; what may fail goes into a transaction of
/// its own within this one, a savepoint.
///
/// It lives as long as the closure that is given it; what is kept of it beyond that takes no statement.
pub struct TenantTx {
    shared: Arc<Shared>,
    /// 0 for the transaction itself, otherwise the number of its savepoint.
    savepoint: u32,
    poisoned: AtomicBool,
    /// Whether the savepoint was released or rolled back.
    ended: bool,
}

struct Shared {
    db: TenantDb,
    /// `None` once the transaction is over.
    connection: AsyncMutex<Option<Connection>>,
    savepoints: AtomicU32,
    /// How many savepoints met an error and have not come to their end: what is open in the database then is none of what was asked for.
    failed: AtomicU32,
    /// The first of the savepoints that were dropped without an end: they are rolled back before anything else is done.
    dropped: Mutex<Option<u32>>,
}

impl TenantTx {
    pub(crate) fn new(db: TenantDb, connection: Connection) -> Self {
        Self {
            shared: Arc::new(Shared {
                db,
                connection: AsyncMutex::new(Some(connection)),
                savepoints: AtomicU32::new(0),
                failed: AtomicU32::new(0),
                dropped: Mutex::new(None),
            }),
            savepoint: 0,
            poisoned: AtomicBool::new(false),
            ended: false,
        }
    }

    /// Whose data it is, as messages name the place.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.shared.db.tenant()
    }

    fn backend(&self) -> DbBackend {
        match self.shared.db.source().dialect() {
            Dialect::Postgres => DbBackend::Postgres,
            Dialect::Sqlite => DbBackend::Sqlite,
        }
    }

    fn poison(&self) {
        if !self.poisoned.swap(true, Ordering::AcqRel) && self.savepoint > 0 {
            self.shared.failed.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn error(&self, kind: DataErrorKind, what: &str) -> DataError {
        DataError::new(kind, format!("tenant `{}`: {what}", self.tenant()))
    }

    fn check(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(self.error(
                DataErrorKind::Poisoned,
                "the transaction met an error before and takes nothing more; let that error end it, or put what may fail into a transaction \
                 within this one",
            ));
        }
        Ok(())
    }

    /// The statement as it may be sent.
    fn admit(&self, sql: &str, values: Option<Values>) -> Result<(Arc<Admitted>, Statement)> {
        self.check()?;
        let source = self.shared.db.source();
        let admitted = source.declared.gate(source.dialect()).admit(sql).map_err(|refusal| {
            self.poison();
            tracing::warn!(tenant = self.tenant(), %refusal, "a statement was refused");
            DataError::refused(self.tenant(), &refusal)
        })?;
        let mut values = values.unwrap_or(Values(Vec::new()));
        if !admitted.fits(values.0.len()) {
            self.poison();
            let problem = format!(
                "a statement names {} parameters and is given {} values",
                admitted.parameters,
                values.0.len()
            );
            return Err(self.error(DataErrorKind::Refused, &problem));
        }
        if admitted.tenant_parameter {
            values.0.push(Value::Uuid(Some(self.shared.db.tenant_id())));
        }
        let statement =
            Statement { sql: admitted.sql.clone(), values: Some(values), db_backend: self.backend() };
        Ok((admitted, statement))
    }

    /// The connection, with savepoints that were dropped rolled back.
    async fn connection(&self) -> Result<MutexGuard<'_, Option<Connection>>> {
        let mut guard = self.shared.connection.lock().await;
        let dropped = self.shared.dropped.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(connection) = guard.as_mut() else {
            return Err(self.error(DataErrorKind::Over, "the transaction is over"));
        };
        if let Some(dropped) = dropped {
            let undo = format!("ROLLBACK TO SAVEPOINT sp_{dropped}");
            connection
                .savepoint(undo)
                .await
                .map_err(|error| self.driver("roll back to a savepoint", error))?;
        }
        Ok(guard)
    }

    fn driver(&self, doing: &str, error: sqlx::Error) -> DataError {
        self.poison();
        let error = DataError::driver(self.tenant(), doing, error);
        // What the database says may hold a value of a row.
        tracing::debug!(target: "cloacina::data", tenant = self.tenant(), kind = ?error.kind(), "failed to {doing}");
        error
    }

    fn ran(&self, admitted: &Admitted, begun: Instant, rows: u64) {
        tracing::debug!(
            target: "cloacina::data",
            tenant = self.tenant(), tables = ?admitted.tables, writes = admitted.writes, rows, time = ?begun.elapsed(),
            "ran a statement"
        );
    }

    /// Commits.
    pub(crate) async fn finish(self) -> Result<()> {
        if let Err(error) = self.check() {
            self.undo().await;
            return Err(error);
        }
        // Rolls dropped savepoints back.
        drop(self.connection().await?);
        // To PostgreSQL the whole transaction has failed then, and its answer to COMMIT would not say so.
        if self.shared.failed.load(Ordering::Acquire) > 0 {
            self.undo().await;
            return Err(self.error(
                DataErrorKind::Poisoned,
                "a transaction within this one met an error and was not ended: commit it, roll it back or drop it before this one ends",
            ));
        }
        match self.shared.connection.lock().await.take() {
            Some(connection) => connection.commit().await.map_err(|error| {
                DataError::driver(self.tenant(), "commit a transaction", error).or_unknown()
            }),
            None => Err(self.error(DataErrorKind::Over, "the transaction is over")),
        }
    }

    /// Rolls back.
    pub(crate) async fn undo(&self) {
        let connection = self.shared.connection.lock().await.take();
        if let Some(connection) = connection {
            connection.rollback(self.poisoned.load(Ordering::Acquire)).await;
        }
    }

    /// Commits, and with it that the task is done. It goes on when its caller goes away.
    pub(crate) async fn complete(self, recording: Recording, context: Context) -> Result<(), TaskError> {
        if let Err(error) = self.check() {
            self.undo().await;
            return Err(TaskError::new(error));
        }
        let tenant = self.tenant().to_owned();
        let writing = match recording.begin(context).await {
            Ok(writing) => writing,
            Err(error) => {
                self.undo().await;
                return Err(error);
            }
        };
        let written = match self.write(writing.completion()).await {
            Ok(written) => written,
            Err(error) => {
                self.undo().await;
                return Err(TaskError::new(error));
            }
        };
        match written {
            Completed::Superseded => {
                self.undo().await;
                writing.unknown();
                Err(TaskError::new(format!(
                    "tenant `{tenant}`: the task was taken from this runner while it ran; nothing of it was written"
                )))
            }
            Completed::Written(now, done) => match self.finish().await {
                Ok(()) => {
                    writing.committed(now, done);
                    Ok(())
                }
                Err(error) => {
                    if error.kind() == DataErrorKind::Unknown {
                        writing.unknown();
                    }
                    Err(TaskError::new(error))
                }
            },
        }
    }

    async fn write(&self, completion: &Completion) -> Result<Completed> {
        let mut guard = self.connection().await?;
        let Some(connection) = guard.as_mut() else {
            return Err(self.error(DataErrorKind::Over, "the transaction is over"));
        };
        connection.complete(completion).await.map_err(|error| match error {
            CompletionError::Driver(error) => self.driver("record that the task is done", error),
            CompletionError::Store(error) => self
                .error(DataErrorKind::Database, &format!("failed to record that the task is done: {error}")),
        })
    }

    async fn nested(&self) -> Result<Self> {
        self.check()?;
        let number = self.shared.savepoints.fetch_add(1, Ordering::Relaxed) + 1;
        let mut guard = self.connection().await?;
        if let Some(connection) = guard.as_mut() {
            let set = format!("SAVEPOINT sp_{number}");
            connection.savepoint(set).await.map_err(|error| self.driver("set a savepoint", error))?;
        }
        Ok(Self {
            shared: Arc::clone(&self.shared),
            savepoint: number,
            poisoned: AtomicBool::new(false),
            ended: false,
        })
    }

    /// Ends a savepoint.
    async fn leave(mut self, keep: bool) -> Result<()> {
        if self.savepoint == 0 {
            // Only what `begin` returns is owned by anybody.
            return Err(self.error(
                DataErrorKind::Refused,
                "the transaction ends with the closure that it was given to",
            ));
        }
        let outcome = if keep { self.check() } else { Ok(()) };
        let text = match keep && outcome.is_ok() {
            true => format!("RELEASE SAVEPOINT sp_{}", self.savepoint),
            false => format!("ROLLBACK TO SAVEPOINT sp_{}", self.savepoint),
        };
        let mut guard = self.connection().await?;
        if let Some(connection) = guard.as_mut() {
            connection.savepoint(text).await.map_err(|error| self.driver("end a savepoint", error))?;
        }
        drop(guard);
        self.ended = true;
        outcome
    }
}

impl Drop for TenantTx {
    fn drop(&mut self) {
        if self.savepoint > 0 && *self.poisoned.get_mut() {
            self.shared.failed.fetch_sub(1, Ordering::AcqRel);
        }
        if self.savepoint > 0 && !self.ended {
            let mut dropped = self.shared.dropped.lock().unwrap_or_else(PoisonError::into_inner);
            *dropped = Some(dropped.map_or(self.savepoint, |first| first.min(self.savepoint)));
        }
    }
}

impl fmt::Debug for TenantTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantTx").field("tenant", &self.tenant()).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for TenantTx {
    fn get_database_backend(&self) -> DbBackend {
        self.backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let (admitted, statement) = self.admit(&statement.sql, statement.values)?;
        let mut guard = self.connection().await?;
        let begun = Instant::now();
        let connection =
            guard.as_mut().ok_or_else(|| self.error(DataErrorKind::Over, "the transaction is over"))?;
        let (result, rows) =
            connection.execute(statement).await.map_err(|error| self.driver("run a statement", error))?;
        self.ran(&admitted, begun, rows);
        Ok(result)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(self.backend(), sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let (admitted, statement) = self.admit(&statement.sql, statement.values)?;
        let mut guard = self.connection().await?;
        let begun = Instant::now();
        let connection =
            guard.as_mut().ok_or_else(|| self.error(DataErrorKind::Over, "the transaction is over"))?;
        let row = connection
            .fetch_optional(statement)
            .await
            .map_err(|error| self.driver("run a statement", error))?;
        self.ran(&admitted, begun, u64::from(row.is_some()));
        Ok(row)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let (admitted, statement) = self.admit(&statement.sql, statement.values)?;
        let mut guard = self.connection().await?;
        let begun = Instant::now();
        let connection =
            guard.as_mut().ok_or_else(|| self.error(DataErrorKind::Over, "the transaction is over"))?;
        let rows =
            connection.fetch_all(statement).await.map_err(|error| self.driver("run a statement", error))?;
        self.ran(&admitted, begun, rows.len() as u64);
        Ok(rows)
    }
}

impl StreamTrait for TenantTx {
    type Stream<'a> = BoxStream<'a, Result<QueryResult, DbErr>>;

    fn get_database_backend(&self) -> DbBackend {
        self.backend()
    }

    fn stream_raw<'a>(
        &'a self,
        statement: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        Box::pin(async move {
            let (admitted, statement) = self.admit(&statement.sql, statement.values)?;
            let mut guard = self.connection().await?;
            let rows = async_stream::stream! {
                let begun = Instant::now();
                let Some(connection) = guard.as_mut() else { return };
                let mut count = 0;
                let mut rows = connection.fetch(statement);
                while let Some(row) = rows.next().await {
                    count += 1;
                    yield row.map_err(|error| DbErr::from(self.driver("run a statement", error)));
                }
                self.ran(&admitted, begun, count);
            };
            Ok(rows.boxed())
        })
    }
}

#[async_trait::async_trait]
impl TransactionTrait for TenantTx {
    type Transaction = Self;

    async fn begin(&self) -> Result<Self, DbErr> {
        Ok(self.nested().await?)
    }

    async fn begin_with_config(
        &self,
        isolation: Option<IsolationLevel>,
        access: Option<AccessMode>,
    ) -> Result<Self, DbErr> {
        let options = TransactionOptions {
            isolation_level: isolation,
            access_mode: access,
            ..TransactionOptions::default()
        };
        self.begin_with_options(options).await
    }

    async fn begin_with_options(&self, options: TransactionOptions) -> Result<Self, DbErr> {
        let TransactionOptions { isolation_level, access_mode, sqlite_transaction_mode } = options;
        if isolation_level.is_some() || access_mode.is_some() || sqlite_transaction_mode.is_some() {
            let problem = "a transaction within another one has the isolation and the access of that one";
            return Err(self.error(DataErrorKind::Refused, problem).into());
        }
        Ok(self.nested().await?)
    }

    async fn transaction<F, T, E>(&self, work: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        let nested = self.nested().await.map_err(|error| TransactionError::Connection(error.into()))?;
        let result = work(&nested).await;
        let left = nested.leave(result.is_ok()).await;
        match result {
            Ok(value) => left.map(|()| value).map_err(|error| TransactionError::Connection(error.into())),
            Err(error) => Err(TransactionError::Transaction(error)),
        }
    }

    async fn transaction_with_config<F, T, E>(
        &self,
        work: F,
        isolation: Option<IsolationLevel>,
        access: Option<AccessMode>,
    ) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        if isolation.is_some() || access.is_some() {
            let problem = "a transaction within another one has the isolation and the access of that one";
            return Err(TransactionError::Connection(self.error(DataErrorKind::Refused, problem).into()));
        }
        self.transaction(work).await
    }
}

#[async_trait::async_trait]
impl TransactionSession for TenantTx {
    async fn commit(self) -> Result<(), DbErr> {
        Ok(self.leave(true).await?)
    }

    async fn rollback(self) -> Result<(), DbErr> {
        Ok(self.leave(false).await?)
    }
}
