//! What rows say. A tenant's login may have written them, so whatever is in one must not be a panic.

use std::time::Duration;

use cloacina_core::id::ExecutionId;
use cloacina_core::store::{Claimed, Place, Result, StoreError, StoreErrorKind, WorkflowKey};
use cloacina_core::workflow::Fingerprint;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

/// Reads columns of the rows of a place.
pub(crate) struct Get<'a>(pub(crate) &'a Place);

impl Get<'_> {
    pub(crate) fn of<'r, T: FromSql<'r>>(&self, row: &'r Row, name: &str) -> Result<T> {
        column(row, name, &self.0.name)
    }
}

/// A column that a tenant's login may have written, here or by a function of `cloacina`.
pub(crate) fn column<'a, T: FromSql<'a>>(row: &'a Row, name: &str, place: &str) -> Result<T> {
    row.try_get(name).map_err(|error| {
        let message = format!("a row in schema `{place}` cannot be read: {error}");
        StoreError::new(StoreErrorKind::Data, message)
    })
}

/// Those rows that can be read. The others are left out, each with a word to the operator.
pub(crate) fn readable<'a, T>(rows: &'a [Row], place: &str, read: impl Fn(&'a Row) -> Result<T>) -> Vec<T> {
    let read =
        |row| read(row).inspect_err(|error| tracing::warn!(tenant = place, %error, "a row is left out")).ok();
    rows.iter().filter_map(read).collect()
}

/// A task that a runner holds.
pub(crate) fn claimed(row: &Row, place: &str) -> Result<Claimed> {
    Ok(Claimed {
        execution: ExecutionId(column(row, "execution_id", place)?),
        task: column(row, "task", place)?,
        workflow: workflow_key(row, place)?,
        priority: column(row, "priority", place)?,
        attempt: column(row, "attempt", place)?,
        failures: column(row, "failures", place)?,
        lost: column(row, "lost", place)?,
        waited: Duration::ZERO,
        fresh: None,
    })
}

/// What an execution runs.
pub(crate) fn workflow_key(row: &Row, place: &str) -> Result<WorkflowKey> {
    Ok(WorkflowKey {
        name: column::<&str>(row, "workflow", place)?.into(),
        fingerprint: Fingerprint(column(row, "fingerprint", place)?),
    })
}

/// A state as text; one that this program does not know was written by a newer one.
pub(crate) fn parse<T: std::str::FromStr>(text: &str, name: &str) -> Result<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| {
        StoreError::new(StoreErrorKind::Version, format!("of tenant `{name}`: {error}"))
    })
}
