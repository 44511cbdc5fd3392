//! A connection with a transaction open on it, of either driver.

use cloacina_core::id::ExecutionId;
use cloacina_core::store::{Flush, Flushed, NewSignal, Place, SignalSent};
use sea_orm::{ExecResult, QueryResult, Statement};
use sea_query_sqlx::SqlxValues;
use sqlx::AssertSqlSafe;

use crate::error::FlushError;

pub(crate) enum Connection {
    #[cfg(feature = "postgres")]
    Postgres(crate::postgres::Open),
    #[cfg(feature = "sqlite")]
    Sqlite(crate::sqlite::Open),
}

/// The statement as the driver takes it.
macro_rules! query {
    ($open:expr, $statement:expr) => {{
        let Statement { sql, values, .. } = $statement;
        let values = values.unwrap_or(sea_orm::sea_query::Values(Vec::new()));
        sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values)).persistent($open.keeps_statements())
    }};
}

/// The same code on whichever connection it is.
macro_rules! on {
    ($connection:expr, $open:ident => $code:expr) => {
        match $connection {
            #[cfg(feature = "postgres")]
            Connection::Postgres($open) => $code,
            #[cfg(feature = "sqlite")]
            Connection::Sqlite($open) => $code,
        }
    };
}

impl Connection {
    pub(crate) async fn execute(&mut self, statement: Statement) -> sqlx::Result<(ExecResult, u64)> {
        on!(self, open => {
            let result = query!(open, statement).execute(open.driver()).await?;
            let rows = result.rows_affected();
            Ok((result.into(), rows))
        })
    }

    pub(crate) async fn fetch_optional(&mut self, statement: Statement) -> sqlx::Result<Option<QueryResult>> {
        on!(self, open => Ok(query!(open, statement).fetch_optional(open.driver()).await?.map(Into::into)))
    }

    pub(crate) async fn fetch_all(&mut self, statement: Statement) -> sqlx::Result<Vec<QueryResult>> {
        on!(self, open => Ok(query!(open, statement).fetch_all(open.driver()).await?.into_iter().map(Into::into).collect()))
    }

    pub(crate) fn fetch(
        &mut self,
        statement: Statement,
    ) -> futures_util::stream::BoxStream<'_, sqlx::Result<QueryResult>> {
        use futures_util::{StreamExt as _, TryStreamExt as _};
        on!(self, open => query!(open, statement).fetch(open.driver()).map_ok(Into::into).boxed())
    }

    /// A statement of ours that begins or ends a savepoint.
    pub(crate) async fn savepoint(&mut self, text: String) -> sqlx::Result<()> {
        use sqlx::Executor as _;
        on!(self, open => open.driver().execute(AssertSqlSafe(text)).await.map(drop))
    }

    /// Writes a flush of this place and sends signals to its executions, as the last of the transaction.
    pub(crate) async fn flush(
        &mut self,
        flush: &Flush,
        signals: &[(ExecutionId, NewSignal)],
    ) -> Result<(Flushed, Vec<SignalSent>), FlushError> {
        on!(self, open => open.flush(flush, signals).await)
    }

    /// The execution of a workflow that was recorded under an idempotency key, and the hash of its input.
    pub(crate) async fn find(
        &mut self,
        place: &Place,
        workflow: &str,
        key: &str,
    ) -> Result<Option<(ExecutionId, i64)>, FlushError> {
        on!(self, open => open.find(place, workflow, key).await)
    }

    pub(crate) async fn commit(self) -> sqlx::Result<()> {
        on!(self, open => open.commit().await)
    }

    /// Rolls back. A connection on which that fails is closed, which does the same.
    pub(crate) async fn rollback(self, after_error: bool) {
        on!(self, open => open.rollback(after_error).await);
    }
}
