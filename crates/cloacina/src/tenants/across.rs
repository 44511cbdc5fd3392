//! What all tenants have, without opening one.

use cloacina_core::execution::ExecutionResult;
use cloacina_core::store::{ExecutionFilter, ExecutionHeader, ExecutionList, WaitFilter};
use cloacina_core::{Cursor, Error, Waiting, summary_of};
use uuid::Uuid;

use super::found::Across;
use super::{Backend, TenantManager};

/// The most rows that are listed at once.
const LIST_LIMIT: usize = 1_000;

impl TenantManager {
    /// A page of the executions of all tenants, the newest first: at most `limit`, and 1,000, all older than
    /// `before`, which is the last one of the page before. Their contexts are not merged and their tasks not
    /// read.
    ///
    /// No tenant is opened for it: their places are read one after the other, many in a transaction where
    /// they are in one database. It takes the longer the more tenants there are: a page for people, not for a
    /// loop. A tenant that cannot be read is named, and keeps no other from being listed.
    ///
    /// ```
    /// # use cloacina::{Error, ExecutionFilter, ExecutionStatus, tenants::TenantManager};
    /// # async fn night(tenants: &TenantManager) -> Result<(), Error> {
    /// let failed = ExecutionFilter::all().status(ExecutionStatus::Failed).superseded(false);
    /// for (tenant, execution) in tenants.executions(failed, None, 50).await?.found {
    ///     println!("{tenant}: {} {:?}", execution.workflow_name, execution.error_message);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ShutDown`](crate::ErrorKind::ShutDown), and what is wrong with the database or the
    /// directory.
    pub async fn executions(
        &self,
        filter: ExecutionFilter,
        before: Option<Uuid>,
        limit: usize,
    ) -> Result<Across<ExecutionResult>, Error> {
        self.shared.check_open()?;
        let (since, limit) = (filter.since, limit.min(LIST_LIMIT));
        let list = ExecutionList { filter, before: before.map(Into::into), limit };
        let mut across = Across::default();
        let read = |header: ExecutionHeader| summary_of(&header);
        match &self.shared.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => databases.executions(list, read, &mut across).await?,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => across.add(files.executions(list).await?, read),
        }
        across.found.sort_by_key(|(_, execution)| std::cmp::Reverse(execution.execution_id));
        if let Some(since) = since {
            // The time at which it was recorded is in its id.
            let is_wanted = |id: Uuid| created(id).is_none_or(|created| created >= since);
            across.found.retain(|(_, execution)| is_wanted(execution.execution_id));
        }
        across.found.truncate(limit);
        Ok(across)
    }

    /// The tenants that take the most room, the largest first, with the bytes of their files, or of their
    /// tables with their indexes: at most `limit`. In a PostgreSQL database an administrator measures them
    /// once an hour; without one there are none.
    ///
    /// # Errors
    ///
    /// As [`executions`](Self::executions).
    pub async fn largest(&self, limit: usize) -> Result<Vec<(String, u64)>, Error> {
        self.shared.check_open()?;
        match &self.shared.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => databases.largest(limit).await,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => files.largest(limit).await,
        }
    }

    /// A page of what the executions of all tenants wait for, tenant after tenant in the order of names, or
    /// only of what is asked of humans: at most `limit`, and 1,000, all after the [cursor](Waiting::cursor)
    /// of the last one of the page before, with the name of its tenant.
    ///
    /// As with [`executions`](Self::executions) no tenant is opened. It reads on until the page is full.
    ///
    /// # Errors
    ///
    /// As [`executions`](Self::executions).
    pub async fn waits(
        &self,
        asking: bool,
        after: Option<(&str, Cursor)>,
        limit: usize,
    ) -> Result<Across<Waiting>, Error> {
        self.shared.check_open()?;
        let limit = limit.min(LIST_LIMIT);
        let (from, after) = after.map(|(tenant, cursor)| (tenant.to_owned(), Waiting::after(cursor))).unzip();
        let filter = WaitFilter { asking, after, limit, ..WaitFilter::default() };
        let mut across = Across::default();
        match &self.shared.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => databases.waits(from.as_deref(), filter, &mut across).await?,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => {
                across.add(files.waits(from.as_deref(), filter).await?, Waiting::from);
            }
        }
        across.found.sort_by(|(one, _), (other, _)| one.cmp(other));
        across.found.truncate(limit);
        Ok(across)
    }
}

/// When an execution was recorded, to the millisecond.
fn created(id: Uuid) -> Option<jiff::Timestamp> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    jiff::Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
}
