//! Connections that others in this process keep to the file of a store.
//!
//! A flush may be written in a transaction that is open on one of them. They are closed before the store closes its file, so that the log is
//! folded in and nothing of the file stays open.

use std::path::Path;
use std::pin::Pin;
use std::sync::OnceLock;

use cloacina_core::id::ExecutionId;
use cloacina_core::store::{Flush, Flushed, Place, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ffi};

use crate::error::Failure;
use crate::time::micros;
use crate::{execution, flush};

/// Closes the connections to a file that nobody uses at the moment.
pub type Release = for<'a> fn(&'a Path) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

static RELEASE: OnceLock<Release> = OnceLock::new();

/// Says how to close what is kept open to the files of stores. Called before the first connection is kept; once in a process.
pub fn release_with(release: Release) {
    RELEASE.get_or_init(|| release);
}

pub(crate) async fn release(path: Option<&Path>) {
    if let Some((release, path)) = RELEASE.get().zip(path) {
        release(path).await;
    }
}

/// Writes a flush of one place in the transaction that is open on a connection of whatever driver. Blocks for as long as that takes.
///
/// If an outcome was not recorded, the task is not this runner's any more, and the transaction must be rolled back.
///
/// # Errors
///
/// Those of a flush. The transaction must be rolled back.
///
/// # Safety
///
/// `handle` is an open connection of the SQLite library that this program is linked to, nobody else uses it before this function returns,
/// and a transaction that may write is open on it.
#[allow(unsafe_code)]
pub unsafe fn flush_as_guest(handle: *mut ffi::sqlite3, flush: &Flush) -> Result<Flushed> {
    let label = flush.places.first().map_or("", |place| &place.place.name);
    // SAFETY: the caller's promise. The connection does not own the handle, and its statements are finalized when it is dropped.
    let written = unsafe { Connection::from_handle(handle) }
        .map_err(Failure::from)
        .and_then(|connection| flush::flush(&connection, flush, micros(flush.now), 0));
    written.map_err(|failure| failure.into_store_error(label))
}

/// Looks for the execution of a workflow that was recorded under an idempotency key, and the hash of its input, in the transaction that is open on
/// a connection of whatever driver.
///
/// # Errors
///
/// Those of reading.
///
/// # Safety
///
/// `handle` is an open connection of the SQLite library that this program is linked to, and nobody else uses it before this function returns.
#[allow(unsafe_code)]
pub unsafe fn find_as_guest(
    handle: *mut ffi::sqlite3,
    place: &Place,
    workflow: &str,
    key: &str,
) -> Result<Option<(ExecutionId, i64)>> {
    // SAFETY: the caller's promise. The connection does not own the handle, and its statements are finalized when it is dropped.
    let found = unsafe { Connection::from_handle(handle) }
        .map_err(Failure::from)
        .and_then(|connection| execution::find(&connection, place.tenant, workflow, key));
    found.map_err(|failure| failure.into_store_error(&place.name))
}

/// Makes a connection of whatever driver fit for a tenant's data: what the file holds is no program, and closing the connection leaves the
/// log to the store.
///
/// # Errors
///
/// The library refuses a setting.
///
/// # Safety
///
/// `handle` is an open connection of the SQLite library that this program is linked to, and nobody else uses it before this function returns.
#[allow(unsafe_code)]
pub unsafe fn prepare_for_data(handle: *mut ffi::sqlite3) -> rusqlite::Result<()> {
    // SAFETY: the caller's promise. The connection does not own the handle.
    let connection = unsafe { Connection::from_handle(handle) }?;
    let settings = [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true),
    ];
    for (setting, value) in settings {
        connection.set_db_config(setting, value)?;
    }
    Ok(())
}
