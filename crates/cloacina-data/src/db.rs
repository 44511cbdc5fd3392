//! One tenant's data.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use cloacina_core::store::Place;
use cloacina_core::{Context, Recording, Submitter};
use uuid::Uuid;

use crate::doctor::Finding;
use crate::error::{DataError, DataErrorKind, Result};
use crate::metrics::{Counters, DataMetrics};
use crate::source::{DataOf, Known, Source};
use crate::tx::TenantTx;

/// The data of one tenant: a handle, cheap to clone.
///
/// It runs nothing itself: statements run in a transaction, which belongs to the tenant.
#[derive(Clone)]
pub struct TenantDb {
    source: Arc<Source>,
    place: Arc<Place>,
    known: Arc<Known>,
    /// Of a runner; nobody submits what only reads across tenants.
    submitter: Option<Submitter>,
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

impl TenantDb {
    pub(crate) fn new(source: Arc<Source>, place: Arc<Place>, submitter: Option<Submitter>) -> Self {
        let known = source.known(&place);
        Self { source, place, known, submitter }
    }

    /// That of the tenant that a task runs for.
    pub(crate) fn of(context: &Context) -> Result<Self> {
        let task =
            context.try_task().ok_or_else(|| DataError::without("the context is no running task's"))?;
        let resource = task.resource().ok_or_else(|| {
            DataError::without(&format!(
                "task `{}` of tenant `{}` runs on a runner that was opened without any",
                task.task_id(),
                task.place()
            ))
        })?;
        let data = resource
            .downcast::<DataOf>()
            .map_err(|_| DataError::configuration("the runner was given something else than data"))?;
        let submitter = Recording::of(task).and_then(Recording::submitter).map_err(|error| {
            DataError::new(DataErrorKind::Over, format!("tenant `{}`: {error}", task.place()))
        })?;
        Ok(data.source.db(Arc::clone(&data.place), submitter))
    }

    /// Whose data it is, as messages name the place.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.place.name
    }

    pub(crate) fn tenant_id(&self) -> Uuid {
        self.place.tenant.into()
    }

    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    pub(crate) fn submitter(&self) -> Option<&Submitter> {
        self.submitter.as_ref()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.known.counters
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// What this process did on the tenant's data since it first used it. [`Data::metrics`](crate::Data::metrics) has those of all tenants.
    ///
    /// To each of the statements there is an event besides, `ran a statement` of the target `cloacina::data`, at the level `DEBUG`.
    #[must_use]
    pub fn metrics(&self) -> DataMetrics {
        self.counters().read()
    }

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

    /// Looks at the tenant's place as it is now: its tables with their columns, keys, policies and rights, and what the login can do besides. Reads
    /// catalogs only, and changes nothing: of a place that was never used, the tables are missing.
    ///
    /// The same happens once in a process before a place is opened; one with a fatal finding is not.
    ///
    /// # Errors
    ///
    /// A [`DataError`] if the place cannot be looked at. What is found is none.
    pub async fn verify(&self) -> Result<Vec<Finding>> {
        self.source.verify(&self.place).await
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
            self.source.prepare(&self.place, &self.known).await?;
            self.source.begin(&self.place, access).await
        };
        let connection = connection.await.inspect_err(|_| self.counters().failed())?;
        self.counters().waited_to_begin(begun.elapsed());
        Ok(TenantTx::new(self.clone(), connection, access))
    }
}

impl fmt::Debug for TenantDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantDb").field("tenant", &self.tenant()).finish_non_exhaustive()
    }
}
