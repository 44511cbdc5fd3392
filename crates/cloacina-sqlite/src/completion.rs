//! The completion of a task in a transaction that is not the store's.

use cloacina_core::Completion;
use cloacina_core::store::{Flush, PlaceFlush, PlaceFlushed, Result};
use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ffi};

use crate::error::Failure;
use crate::flush;

/// Writes a completion in the transaction that is open on a connection of whatever driver. Blocks for as long as that takes.
///
/// If nothing was recorded, the task is not this runner's any more, and the transaction must be rolled back.
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
pub unsafe fn complete(
    handle: *mut ffi::sqlite3,
    completion: &Completion,
) -> Result<(Timestamp, PlaceFlushed)> {
    let label = &completion.place.name;
    // SAFETY: the caller's promise. The connection does not own the handle, and its statements are finalized when it is dropped.
    let connection = unsafe { Connection::from_handle(handle) }
        .map_err(|error| Failure::from(error).into_store_error(label))?;
    let part = PlaceFlush {
        place: completion.place.clone(),
        first_claim: false,
        submits: Vec::new(),
        outcomes: vec![completion.outcome.clone()],
        claim: None,
    };
    let flush = Flush { runner: Some(completion.runner), now: completion.now, places: vec![part] };
    let mut done = flush::flush(&connection, &flush).map_err(|failure| failure.into_store_error(label))?;
    Ok((done.now, done.places.pop().unwrap_or_default()))
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
