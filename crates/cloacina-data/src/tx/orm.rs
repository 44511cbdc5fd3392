//! What SeaORM asks of a transaction.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sea_orm::{
    AccessMode, ConnectionTrait, DbBackend, DbErr, ExecResult, IsolationLevel, QueryResult, Statement,
    StreamTrait, TransactionError, TransactionOptions, TransactionSession, TransactionTrait,
};

use super::TenantTx;
use crate::error::DataErrorKind;
use crate::gate::Admitted;

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
                let mut running = Running { tx: self, admitted, begun: Instant::now(), rows: 0, failed: false };
                let Some(connection) = guard.as_mut() else { return };
                let mut rows = connection.fetch(statement);
                while let Some(row) = rows.next().await {
                    running.rows += u64::from(row.is_ok());
                    running.failed |= row.is_err();
                    yield row.map_err(|error| DbErr::from(self.driver("run a statement", error)));
                }
            };
            Ok(rows.boxed())
        })
    }
}

/// A statement whose rows are read one by one, to their end or not.
struct Running<'tx> {
    tx: &'tx TenantTx,
    admitted: Arc<Admitted>,
    begun: Instant,
    rows: u64,
    failed: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.failed {
            self.tx.ran(&self.admitted, self.begun, self.rows);
        }
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
