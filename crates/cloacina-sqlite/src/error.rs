//! What SQLite's errors mean to the engine.

use std::path::Path;

use cloacina_core::id::ExecutionId;
use cloacina_core::store::{StoreError, StoreErrorKind};
use rusqlite::ErrorCode;

use crate::descriptors;

/// What stops a transaction: SQLite, or something that the store says itself.
#[derive(Debug)]
pub(crate) enum Failure {
    Sqlite(rusqlite::Error),
    Store(StoreError),
    /// The file is at rest, and has to be opened first.
    Resting,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    /// A row that no engine wrote.
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        let what: String = what.into();
        Self::Sqlite(rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Null, what.into()))
    }

    /// Where only the rows of one execution cannot be understood, that is no reason to leave the file alone.
    pub(crate) fn of_rows(self, execution: ExecutionId) -> Self {
        match self {
            Self::Sqlite(
                error @ (rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..)),
            ) => {
                let message = format!(
                    "the rows of execution {execution} cannot be understood, repair or delete them: {error}"
                );
                Self::Store(StoreError::new(StoreErrorKind::Data, message).with_source(error))
            }
            other => other,
        }
    }

    /// Whether somebody else holds the write lock.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(
            self,
            Self::Sqlite(error) if matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
            )
        )
    }

    /// Whether the process has no descriptors left to open a file with.
    pub(crate) fn is_short_of_descriptors(&self) -> bool {
        match self {
            Self::Sqlite(error) => {
                error.sqlite_error_code() == Some(ErrorCode::CannotOpen)
                    && descriptors::are_descriptors_short()
            }
            _ => false,
        }
    }

    /// What the engine is told; `label` is the path of the file.
    pub(crate) fn into_store_error(self, label: &str) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Sqlite(error) => store_error(error, label),
            Self::Resting => {
                StoreError::new(StoreErrorKind::Internal, format!("the SQLite file {label} is at rest"))
            }
        }
    }
}

fn store_error(error: rusqlite::Error, label: &str) -> StoreError {
    use StoreErrorKind::{Data, Internal, Place, Transient};

    let (kind, message) = match &error {
        rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                (Transient, format!("the SQLite file {label} is locked by somebody else"))
            }
            ErrorCode::SchemaChanged | ErrorCode::OperationInterrupted | ErrorCode::OperationAborted => {
                (Transient, format!("a statement on the SQLite file {label} was interrupted"))
            }
            ErrorCode::NotADatabase => (
                Place,
                format!("{label} is not an SQLite database; name another file, or move this one away"),
            ),
            ErrorCode::DatabaseCorrupt => (
                Place,
                format!("the SQLite file {label} is damaged; restore it from a backup, or move it away"),
            ),
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => (
                Place,
                format!(
                    "the SQLite file {label} cannot be written; check the rights on it and its directory"
                ),
            ),
            ErrorCode::DiskFull => (Place, format!("no space is left for the SQLite file {label}")),
            ErrorCode::CannotOpen if descriptors::are_descriptors_short() => (
                Transient,
                format!(
                    "the SQLite file {label} cannot be opened now, since this process has too many files open: its limit (RLIMIT_NOFILE, \
                     `ulimit -n`) is {}; raise it, or close what else is open",
                    descriptors::limit().map_or("unlimited".to_owned(), |limit| limit.to_string())
                ),
            ),
            ErrorCode::CannotOpen => (
                Place,
                format!(
                    "the SQLite file {label} cannot be opened; check that its directory is there and can be written"
                ),
            ),
            ErrorCode::SystemIoFailure => {
                (Place, format!("the SQLite file {label} cannot be read or written; check its disk"))
            }
            ErrorCode::FileLockingProtocolFailed | ErrorCode::NoLargeFileSupport => (
                Place,
                format!("the file system of {label} cannot lock files as SQLite needs it; use a local disk"),
            ),
            ErrorCode::TooBig => (Data, format!("a value is too large for the SQLite file {label}")),
            ErrorCode::ConstraintViolation => {
                (Data, format!("a value that the SQLite file {label} cannot keep"))
            }
            // Somebody dropped or changed a table: this is the only error of ours whose code says no more
            // than that.
            ErrorCode::Unknown if failure.extended_code == rusqlite::ffi::SQLITE_ERROR => {
                (Place, format!("the tables in the SQLite file {label} are not those of this program"))
            }
            _ => (Internal, format!("a statement on the SQLite file {label} failed")),
        },
        rusqlite::Error::SqlInputError { .. } => {
            (Place, format!("the tables in the SQLite file {label} are not those of this program"))
        }
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..)
        | rusqlite::Error::QueryReturnedNoRows => (
            Place,
            format!(
                "the SQLite file {label} holds a row that cannot be understood; restore it from a backup, or repair the row"
            ),
        ),
        _ => (Internal, format!("a statement on the SQLite file {label} failed")),
    };
    // SQLite's own words belong to the message as well: not every caller prints the chain of sources.
    StoreError::new(kind, format!("{message} ({error})")).with_source(error)
}

/// The error of whoever finds that the log of an open file was deleted. `is_rescued` says whether what had
/// been committed to it was written into the file.
#[must_use]
pub fn deleted_log(path: &Path, is_rescued: bool) -> StoreError {
    let (done, next) = if is_rescued {
        ("what had been committed was written into the file", "open the file again to go on")
    } else {
        ("what had been committed is in the deleted log alone", "copy what you need before this process ends")
    };
    let file = path.display();
    StoreError::new(
        StoreErrorKind::Place,
        format!(
            "the write-ahead log {file}-wal was deleted or replaced while the SQLite file was open; {done}; {next}, and leave the \
             log to SQLite"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_sqlite_say_what_to_do() {
        use rusqlite::ffi;
        for (code, kind, words) in [
            (ffi::SQLITE_BUSY, StoreErrorKind::Transient, "locked"),
            (ffi::SQLITE_CORRUPT, StoreErrorKind::Place, "backup"),
            (ffi::SQLITE_NOTADB, StoreErrorKind::Place, "not an SQLite database"),
            (ffi::SQLITE_READONLY_DIRECTORY, StoreErrorKind::Place, "rights"),
            (ffi::SQLITE_FULL, StoreErrorKind::Place, "no space"),
            (ffi::SQLITE_IOERR_FSYNC, StoreErrorKind::Place, "disk"),
            (ffi::SQLITE_TOOBIG, StoreErrorKind::Data, "too large"),
            (ffi::SQLITE_CONSTRAINT_CHECK, StoreErrorKind::Data, "cannot keep"),
        ] {
            let failure = Failure::Sqlite(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
            let error = failure.into_store_error("/data/acme.db");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(words), "{error}");
            assert!(error.to_string().contains("/data/acme.db"), "{error}");
        }
    }
}
