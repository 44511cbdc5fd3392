//! Transactions of a tenant, from their beginning to their end.

use std::time::Instant;

use super::TenantTx;
use crate::access::Access;
use crate::db::TenantDb;
use crate::error::{DataError, Result};

impl TenantDb {
    /// Runs `work` in a transaction of the tenant, and commits it if `work` succeeds; otherwise nothing of it is written.
    ///
    /// The first use of a place in a process makes or migrates its tables, where that is needed and allowed, and looks whether it is clean: see
    /// [`verify`](Self::verify). In a SQLite file the
    /// transaction is the only one that writes, the engine's own included, from its beginning to its end: keep it short.
    ///
    /// # Errors
    ///
    /// What `work` returns; a [`DataError`] if the transaction could not be begun or committed. A transaction that met an error is
    /// rolled back, even if `work` made up for it.
    pub async fn run<T, E, W>(&self, work: W) -> Result<T, E>
    where
        E: From<DataError>,
        W: AsyncFnOnce(&TenantTx) -> Result<T, E>,
    {
        self.transaction(Access::Write, work).await
    }

    /// The same for work that only reads: it waits for no writer, and sees one state of the data from beginning to end.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); a statement that writes is an error of the database.
    pub async fn read<T, E, W>(&self, work: W) -> Result<T, E>
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
