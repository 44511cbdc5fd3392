//! What can go wrong with a tenant's data.

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "postgres")]
use cloacina_core::store::Place;
use cloacina_core::store::StoreError;
use cloacina_core::{Carried, Error, ErrorKind, TaskError};
use sea_orm::{DbErr, RuntimeErr};

use crate::gate::Refusal;

/// Something that failed, for which tenant, and what to do about it. Never holds a value of a row, a password
/// or a connection string; one of the kind [`Aborted`](DataErrorKind::Aborted) says what your closure said.
#[derive(Debug, Clone)]
pub struct DataError {
    kind: DataErrorKind,
    message: String,
    source: Option<DbErr>,
    /// What the work of a transaction ended it with.
    aborted: Option<Arc<Carried>>,
}

/// What to do about a [`DataError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataErrorKind {
    /// A statement was not sent, because a part of it is not understood or not allowed. Change the statement.
    Refused,
    /// The database refused a statement: a constraint, a value, a right. Look at the source.
    Database,
    /// Nothing was written, and the same transaction may succeed when it is run again: a deadlock, a lock
    /// timeout, a busy file.
    Transient,
    /// The database cannot be reached. Try again later.
    Unavailable,
    /// It is not known whether the transaction was committed: the connection broke while it was.
    Unknown,
    /// The transaction met an error before and takes nothing more: let that error end the closure.
    Poisoned,
    /// The transaction is over.
    Over,
    /// The tenant's place cannot be used: it is not there, or its tables are older or newer than this
    /// program.
    Place,
    /// The work of the transaction returned an error of its own; nothing was written.
    /// [`downcast_ref`](DataError::downcast_ref) gives it.
    Aborted,
    /// The declaration of tables and migrations, or the way the program is put together, cannot work.
    Configuration,
}

/// A result of this crate.
pub type Result<T, E = DataError> = std::result::Result<T, E>;

/// Why nothing was written, or found, of the engine's rows.
#[derive(Debug)]
pub(crate) enum FlushError {
    Driver(sqlx::Error),
    Store(StoreError),
}

impl From<sqlx::Error> for FlushError {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

impl DataError {
    pub(crate) fn new(kind: DataErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, aborted: None }
    }

    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self::new(DataErrorKind::Configuration, message)
    }

    /// The runner has no data, because of `why`.
    pub(crate) fn without(why: &str) -> Self {
        Self::configuration(format!(
            "there is no data of the tenant: {why}; say which tables there are where the runner is built: `.data(&data)`"
        ))
    }

    /// A place is none, or none that the engine can use.
    #[cfg(feature = "postgres")]
    pub(crate) fn of_place(place: &Place, error: &StoreError) -> Self {
        Self::new(DataErrorKind::Place, format!("tenant `{}`: {error}", place.name))
    }

    pub(crate) fn refused(tenant: &str, refusal: &Refusal) -> Self {
        Self::new(DataErrorKind::Refused, format!("tenant `{tenant}`: {refusal}"))
    }

    /// The error of a driver, while `doing` something for a tenant.
    pub(crate) fn driver(tenant: &str, doing: &str, error: sqlx::Error) -> Self {
        let kind = kind_of(&error);
        let error = Arc::new(error);
        let message = format!("tenant `{tenant}`: failed to {doing}");
        Self { kind, message, source: Some(DbErr::Query(RuntimeErr::SqlxError(error))), aborted: None }
    }

    /// What the work of a transaction ended it with: an error of this crate or of SeaORM is what it was.
    pub(crate) fn aborted(error: TaskError) -> Self {
        let error = match error.into_plain() {
            Ok(plain) => match plain.downcast::<Self>() {
                Ok(error) => return *error,
                Err(plain) => match plain.downcast::<DbErr>() {
                    Ok(error) => return (*error).into(),
                    Err(plain) => TaskError::new(plain),
                },
            },
            Err(advised) => advised,
        };
        let message = error.to_string();
        Self { kind: DataErrorKind::Aborted, message, source: None, aborted: Some(Arc::new(Carried(error))) }
    }

    /// The same, where the answer to a commit is what did not come.
    pub(crate) fn or_unknown(mut self) -> Self {
        if self.kind == DataErrorKind::Unavailable {
            self.kind = DataErrorKind::Unknown;
        }
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> DataErrorKind {
        self.kind
    }

    /// What the work of a transaction ended it with, if that is an `E`: see [`DataErrorKind::Aborted`].
    #[must_use]
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.aborted.as_ref()?.0.get_ref().downcast_ref()
    }

    /// What the database said, if it said something: [`DbErr::sql_err`] tells a violated unique or foreign
    /// key from the rest.
    #[must_use]
    pub fn database(&self) -> Option<&DbErr> {
        self.source.as_ref()
    }
}

fn kind_of(error: &sqlx::Error) -> DataErrorKind {
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            // Serialization, deadlock, lock and statement timeouts, a transaction that was idle for too long.
            Some("40001" | "40P01" | "55P03" | "57014" | "53300" | "25P03") => DataErrorKind::Transient,
            Some("57P01" | "57P02" | "57P03") => DataErrorKind::Unavailable,
            // No schema, table, right, login or database; the tenant is not there, or may not work.
            Some("TN001" | "3F000" | "42P01" | "42501" | "28000" | "28P01" | "3D000") => DataErrorKind::Place,
            Some(code) if code.starts_with("08") => DataErrorKind::Unavailable,
            Some(code) if code.len() < 5 => kind_of_file(code),
            _ => DataErrorKind::Database,
        },
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => DataErrorKind::Unavailable,
        _ => DataErrorKind::Database,
    }
}

/// By the code of SQLite: what it is in the lower byte, the details above
/// (<https://www.sqlite.org/rescode.html>).
fn kind_of_file(code: &str) -> DataErrorKind {
    match code.parse::<u32>().map(|code| code & 0xff) {
        // Busy, locked.
        Ok(5 | 6) => DataErrorKind::Transient,
        // It cannot be opened, or is no database.
        Ok(14 | 26) => DataErrorKind::Place,
        _ => DataErrorKind::Database,
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(DbErr::Query(RuntimeErr::SqlxError(error))) => write!(f, ": {error}"),
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for DataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.aborted.as_deref().map(|aborted| aborted as _)
    }
}

/// For closures and functions that speak SeaORM: what the database said stays as it was. Anything else is
/// carried whole, and is what it was once it is a [`DataError`] again; SeaORM's only error with room for
/// another is that of a conversion.
impl From<DataError> for DbErr {
    fn from(error: DataError) -> Self {
        match error.source {
            Some(source) if kind_of_orm(&source) == error.kind => source,
            _ => {
                Self::TryIntoErr { from: "a statement", into: "one of the tenant's", source: Arc::new(error) }
            }
        }
    }
}

/// An error that SeaORM made of a row or a model, or that of a statement, which says what it was for in the
/// log.
impl From<DbErr> for DataError {
    fn from(error: DbErr) -> Self {
        if let DbErr::TryIntoErr { source, .. } = &error
            && let Some(carried) = source.downcast_ref::<Self>()
        {
            return carried.clone();
        }
        Self {
            kind: kind_of_orm(&error),
            message: "a statement or its rows".to_owned(),
            source: Some(error),
            aborted: None,
        }
    }
}

fn kind_of_orm(error: &DbErr) -> DataErrorKind {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => {
            kind_of(error)
        }
        DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => DataErrorKind::Unavailable,
        _ => DataErrorKind::Database,
    }
}

impl From<DataError> for Error {
    fn from(error: DataError) -> Self {
        let of_the_engine = error
            .aborted
            .as_ref()
            .and_then(|aborted| aborted.0.get_ref().downcast_ref::<Self>())
            .map(Self::kind);
        let kind = match error.kind {
            DataErrorKind::Aborted => of_the_engine.unwrap_or(ErrorKind::Task),
            DataErrorKind::Transient | DataErrorKind::Unavailable | DataErrorKind::Unknown => {
                ErrorKind::Unavailable
            }
            DataErrorKind::Place => ErrorKind::Place,
            DataErrorKind::Configuration => ErrorKind::Configuration,
            DataErrorKind::Refused
            | DataErrorKind::Database
            | DataErrorKind::Poisoned
            | DataErrorKind::Over => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string()).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_what_it_was_after_it_was_sea_orms() {
        let broken = || DataError::driver("acme", "commit a transaction", sqlx::Error::PoolClosed);
        let over = || DataError::new(DataErrorKind::Over, "tenant `acme`: the transaction is over");
        for error in [broken().or_unknown(), over()] {
            let (kind, text) = (error.kind(), error.to_string());
            let carried = DbErr::from(error);
            assert!(carried.to_string().contains(&text), "{carried}");
            let again = DataError::from(carried);
            assert_eq!((again.kind(), again.to_string()), (kind, text));
        }
    }

    #[test]
    fn what_a_driver_said_is_not_hidden_from_sea_orm() {
        let error = DbErr::from(DataError::driver("acme", "run a statement", sqlx::Error::PoolTimedOut));
        assert!(matches!(error, DbErr::Query(RuntimeErr::SqlxError(_))), "{error:?}");
        assert_eq!(DataError::from(error).kind(), DataErrorKind::Unavailable);
    }
}
