//! One tenant's data.

use std::fmt;
use std::sync::Arc;

use cloacina_core::store::Place;
use cloacina_core::{Context, Submitter};
use uuid::Uuid;

use crate::doctor::Finding;
use crate::error::{DataError, DataErrorKind, Result};
use crate::metrics::{Counters, DataMetrics};
use crate::source::{DataOf, Known, Source};

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
        let submitter = Submitter::of(task).map_err(|error| {
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

    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// What this process did on the tenant's data since it first used it.
    /// [`Data::metrics`](crate::Data::metrics) has those of all tenants.
    ///
    /// To each of the statements there is an event besides, `ran a statement` of the target `cloacina::data`,
    /// at the level `DEBUG`.
    #[must_use]
    pub fn metrics(&self) -> DataMetrics {
        self.counters().read()
    }

    /// Looks at the tenant's place as it is now: its tables with their columns, keys, policies and rights,
    /// and what the login can do besides. Reads catalogs only, and changes nothing: of a place that was never
    /// used, the tables are missing.
    ///
    /// The same happens once in a process before a place is opened; one with a fatal finding is not.
    ///
    /// # Errors
    ///
    /// A [`DataError`] if the place cannot be looked at. What is found is none.
    pub async fn verify(&self) -> Result<Vec<Finding>> {
        self.source.verify(&self.place).await
    }
}

impl Source {
    /// The data of the tenant of a place in this database, whose executions `submitter` submits.
    pub fn db(self: &Arc<Self>, place: Arc<Place>, submitter: Submitter) -> TenantDb {
        TenantDb::new(Arc::clone(self), place, Some(submitter))
    }
}

impl fmt::Debug for TenantDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantDb").field("tenant", &self.tenant()).finish_non_exhaustive()
    }
}
