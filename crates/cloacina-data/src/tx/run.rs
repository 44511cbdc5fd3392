//! Transactions of a tenant, from their beginning to their end.

use std::time::Instant;

use cloacina_core::TaskError;

use super::TenantTx;
use crate::access::Access;
use crate::db::TenantDb;
use crate::error::{DataError, Result};

impl TenantDb {
    /// Runs `work` in a transaction of the tenant, and commits it if `work` succeeds; otherwise nothing of it
    /// is written.
    ///
    /// The first use of a place in a process makes or migrates its tables, where that is needed and allowed,
    /// and looks whether it is clean: see [`verify`](Self::verify). In a SQLite file the transaction is the
    /// only one that writes, the engine's own included, from its beginning to its end: keep it short.
    ///
    /// In it, `?` takes every error. Return a [`TaskError`] by hand to say what a task that runs this should
    /// make of it.
    ///
    /// # Errors
    ///
    /// The [`DataError`] or the error of SeaORM that `work` met, and any other one of `work` as
    /// [`DataErrorKind::Aborted`](crate::DataErrorKind::Aborted); what prevented the transaction from
    /// beginning or committing. A transaction that met an error is rolled back, even if `work` made up for
    /// it.
    pub async fn run<T, W>(&self, work: W) -> Result<T>
    where
        W: AsyncFnOnce(&TenantTx) -> Result<T, TaskError>,
    {
        self.transaction(Access::Write, work).await.map_err(DataError::aborted)
    }

    /// The same for work that only reads: it waits for no writer, and sees one state of the data from
    /// beginning to end.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); a statement that writes is an error of the database.
    pub async fn read<T, W>(&self, work: W) -> Result<T>
    where
        W: AsyncFnOnce(&TenantTx) -> Result<T, TaskError>,
    {
        self.transaction(Access::Read, work).await.map_err(DataError::aborted)
    }

    /// As [`run`](Self::run), with an error of your own, which `work` has to name: it ends with `Ok::<_,
    /// MyError>(…)`, or is a function.
    ///
    /// # Errors
    ///
    /// What `work` returns, and what was made of a [`DataError`].
    pub async fn run_as<T, E, W>(&self, work: W) -> Result<T, E>
    where
        E: From<DataError>,
        W: AsyncFnOnce(&TenantTx) -> Result<T, E>,
    {
        self.transaction(Access::Write, work).await
    }

    /// As [`read`](Self::read), with an error of your own; see [`run_as`](Self::run_as).
    ///
    /// # Errors
    ///
    /// As [`run_as`](Self::run_as).
    pub async fn read_as<T, E, W>(&self, work: W) -> Result<T, E>
    where
        E: From<DataError>,
        W: AsyncFnOnce(&TenantTx) -> Result<T, E>,
    {
        self.transaction(Access::Read, work).await
    }

    async fn transaction<T, E, W>(&self, access: Access, work: W) -> Result<T, E>
    where
        E: From<DataError>,
        W: AsyncFnOnce(&TenantTx) -> Result<T, E>,
    {
        let begun = Instant::now();
        let tx = self.begin(access).await?;
        match work(&tx).await {
            Ok(value) => {
                tx.finish().await?;
                tracing::debug!(tenant = self.tenant(), time = ?begun.elapsed(), "committed");
                Ok(value)
            }
            Err(error) => {
                tx.undo().await;
                tracing::debug!(tenant = self.tenant(), time = ?begun.elapsed(), "rolled back");
                Err(error)
            }
        }
    }

    pub(crate) async fn begin(&self, access: Access) -> Result<TenantTx> {
        let begun = Instant::now();
        let connection = async {
            self.source().prepare(self.place(), self.known()).await?;
            self.source().begin(self.place(), access).await
        };
        let connection = connection.await.inspect_err(|_| self.counters().failed())?;
        self.counters().waited_to_begin(begun.elapsed());
        Ok(TenantTx::new(self.clone(), connection, access))
    }
}
