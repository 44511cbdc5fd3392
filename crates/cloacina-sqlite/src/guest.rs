//! A flush in a transaction that is open on a connection which others in this process keep to the file of a
//! store.

use std::path::Path;

use cloacina_core::id::ExecutionId;
use cloacina_core::store::{Flush, Flushed, NewSignal, Place, Result, SignalSent};
use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ffi};

use crate::address::FileIdentity;
use crate::error::Failure;
use crate::files::{self, log_of};
use crate::flush;
use crate::rows::execution_find;
use crate::time::{self, FileClock};
use crate::wait;

/// Which file and which write-ahead log of it a connection has open: as long as it has, nobody may remove or
/// replace them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    file: Option<FileIdentity>,
    log: Option<FileIdentity>,
}

impl Opened {
    /// What a path means now.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Self { file: FileIdentity::of(path), log: FileIdentity::of(&log_of(path)) }
    }

    /// Whether it is the same file, if not the same log.
    #[must_use]
    pub fn is_same_file(&self, other: &Self) -> bool {
        self.file == other.file
    }
}

/// Looks, before a transaction that writes, whether the file that a store of this process has open is still
/// there, with its log. What is written to one that was deleted is lost.
///
/// # Errors
///
/// [`StoreErrorKind::Place`](cloacina_core::store::StoreErrorKind::Place) if not.
pub async fn check_as_guest(path: &Path) -> Result<()> {
    match files::opener_of(path) {
        Some(opener) => opener.check().await,
        None => Ok(()),
    }
}

/// The time of a transaction of a guest: that of the store, if one of this process uses the file, and by how
/// much it is ahead of the wall clock.
fn time_of(connection: &Connection, path: &Path, now: Option<Timestamp>) -> Result<(i64, i64), Failure> {
    match (now, files::opener_of(path)) {
        (Some(now), _) => Ok((now.as_microsecond(), 0)),
        (None, Some(opener)) => Ok(opener.now_and_ahead()),
        (None, None) => Ok(FileClock::new(time::latest(connection)?).now_and_ahead()),
    }
}

/// Writes a flush of one place, and signals to its executions, in the transaction that is open on a
/// connection of whatever driver to the file of this path. Blocks for as long as that takes.
///
/// If an outcome was not recorded, the task is not this runner's any more, and the transaction must be rolled
/// back.
///
/// # Errors
///
/// Those of a flush. The transaction must be rolled back.
///
/// # Safety
///
/// `handle` is an open connection of the SQLite library that this program is linked to, nobody else uses it
/// before this function returns, and a transaction that may write is open on it.
#[allow(unsafe_code)]
pub unsafe fn flush_as_guest(
    handle: *mut ffi::sqlite3,
    path: &Path,
    flush: &Flush,
    signals: &[NewSignal],
) -> Result<(Flushed, Vec<SignalSent>)> {
    let label = flush.places.first().map_or("", |place| &place.place.name);
    // SAFETY: the caller's promise. The connection does not own the handle, and its statements are finalized
    // when it is dropped.
    let written = unsafe { Connection::from_handle(handle) }.map_err(Failure::from).and_then(|connection| {
        let (now, ahead) = time_of(&connection, path, flush.now)?;
        let flushed = flush::flush(&connection, flush, now, ahead)?;
        let signals = flush.places.iter().flat_map(|place| signals.iter().map(move |signal| (place, signal)));
        let sent = signals.map(|(place, signal)| wait::send(&connection, place.place.tenant, signal, now));
        let sent = sent.collect::<Result<Vec<_>, _>>()?;
        Ok((flushed, sent))
    });
    written.map_err(|failure| failure.into_store_error(label))
}

/// Looks for the execution of a workflow that was recorded under an idempotency key, and the hash of its
/// input, in the transaction that is open on a connection of whatever driver.
///
/// # Errors
///
/// Those of reading.
///
/// # Safety
///
/// `handle` is an open connection of the SQLite library that this program is linked to, and nobody else uses
/// it before this function returns.
#[allow(unsafe_code)]
pub unsafe fn find_as_guest(
    handle: *mut ffi::sqlite3,
    place: &Place,
    workflow: &str,
    key: &str,
) -> Result<Option<(ExecutionId, i64)>> {
    // SAFETY: the caller's promise. The connection does not own the handle, and its statements are finalized
    // when it is dropped.
    let found = unsafe { Connection::from_handle(handle) }
        .map_err(Failure::from)
        .and_then(|connection| execution_find(&connection, place.tenant, workflow, key));
    found.map_err(|failure| failure.into_store_error(&place.name))
}

/// Makes a connection of whatever driver fit for a tenant's data: what the file holds is no program, and
/// closing the connection leaves the log to the store.
///
/// # Errors
///
/// The library refuses a setting.
///
/// # Safety
///
/// `handle` is an open connection of the SQLite library that this program is linked to, and nobody else uses
/// it before this function returns.
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
