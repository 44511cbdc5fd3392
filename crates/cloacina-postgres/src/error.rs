//! What the server's errors mean to the engine.

use std::error::Error as _;
use std::fmt::Write as _;

use cloacina_core::store::{Place, StoreError, StoreErrorKind};
use tokio_postgres::error::SqlState;

/// The SQLSTATE that `cloacina.fence` raises.
const FENCED: &str = "CL001";

/// A statement that this connection prepared is not there, or one that it did not prepare is: the server
/// process is not always the same.
const PREPARED_ELSEWHERE: [&str; 2] = ["26000", "42P05"];

const POOLER_HINT: &str = "; if a pooler in transaction mode stands before the server, the URL has to say so: `?pooler=transaction`";

/// Why a flight did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server refused a statement and with it the whole transaction; the connection is as good as before.
    Refused {
        /// Where the statement stands in the flight.
        step: usize,
        error: tokio_postgres::Error,
    },
    /// The connection is gone, or did not answer in time. What was sent may have been done.
    Lost { cause: String },
    /// Nothing was sent.
    NotSent(StoreError),
}

/// A place for messages, between backticks: the schema, and the tenant's name if it is called otherwise.
pub(crate) fn named(place: &Place) -> String {
    if place.name == place.schema {
        return place.schema.clone();
    }
    format!("{}` of tenant `{}", place.schema, place.name)
}

/// As [`named`], for places that share tables.
pub(crate) fn named_all(places: &[&Place]) -> String {
    match places {
        [] => String::new(),
        [one] => named(one),
        [Place { schema, name, .. }, others @ ..] => {
            format!("{schema}` of tenant `{name}` and of {} others in `{schema}", others.len())
        }
    }
}

impl Failure {
    /// The SQLSTATE of the statement that was refused.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { error, .. } => error.code().map(SqlState::code),
            Self::Lost { .. } | Self::NotSent(_) => None,
        }
    }

    /// What the server or the connection said.
    pub(crate) fn described(&self) -> String {
        match self {
            Self::Refused { error, .. } => describe(error),
            Self::Lost { cause } => cause.clone(),
            Self::NotSent(error) => error.to_string(),
        }
    }

    /// That of a statement which touches no place.
    pub(crate) fn in_control(self) -> StoreError {
        self.into_error("cloacina")
    }

    /// For an operation that may simply be repeated, whether its commit happened or not.
    pub(crate) fn into_error(self, place: &str) -> StoreError {
        match self {
            Self::Refused { error, .. } => refused(&error, place),
            Self::Lost { cause } => StoreError::new(
                StoreErrorKind::Transient,
                format!("the connection broke while working on `{place}`: {cause}"),
            ),
            Self::NotSent(error) => error,
        }
    }
}

/// Whether the connection, rather than the statement, is what failed.
pub(crate) fn is_lost(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        None => true,
        Some(code) => {
            code.code().starts_with("08")
                || [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW]
                    .contains(code)
        }
    }
}

/// What an error says, with its causes, without values of rows: the server puts those into the detail, which
/// is left out.
pub(crate) fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(server) = error.as_db_error() {
        let code = server.code().code();
        let hint = if PREPARED_ELSEWHERE.contains(&code) { POOLER_HINT } else { "" };
        return format!("{} (SQLSTATE {code}){hint}", server.message());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _infallible = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// The error for a statement that the server refused.
pub(crate) fn refused(error: &tokio_postgres::Error, place: &str) -> StoreError {
    let Some(code) = error.code() else {
        return StoreError::new(StoreErrorKind::Internal, format!("in `{place}`: {}", describe(error)));
    };
    let kind = kind_of(code.code());
    let message = match kind {
        StoreErrorKind::Fenced => describe(error),
        StoreErrorKind::Place => format!("the schema `{place}` cannot be used: {}", describe(error)),
        StoreErrorKind::Data => format!("a value that schema `{place}` cannot keep: {}", describe(error)),
        _ => format!("in schema `{place}`: {}", describe(error)),
    };
    StoreError::new(kind, message)
}

fn kind_of(code: &str) -> StoreErrorKind {
    match code {
        FENCED => StoreErrorKind::Fenced,
        // Deadlock, serialization, out of memory, too many connections, shutting down, a server that can only
        // be read (a standby, or an operator that closed it to writing), a cached plan whose tables were
        // migrated, and a prepared statement that is not ours (the connection of the last three is replaced).
        "40001" | "40P01" | "53000" | "53200" | "53300" | "25006" | "0A000" | "26000" | "42P05" => {
            StoreErrorKind::Transient
        }
        // Lock and statement timeouts.
        "55P03" | "57014" => StoreErrorKind::Busy,
        "54000" | "54001" | "54023" | "23514" | "23502" | "23505" => StoreErrorKind::Data,
        // No such schema or table or column, no right, disk full, a damaged index or page.
        "3F000" | "42P01" | "42703" | "42501" | "42883" | "53100" | "XX001" | "XX002" | "58030" => {
            StoreErrorKind::Place
        }
        _ if code.starts_with("22") => StoreErrorKind::Data,
        _ if code.starts_with("08") || code.starts_with("57P") => StoreErrorKind::Transient,
        _ => StoreErrorKind::Internal,
    }
}

/// Whether another connection might get on: the statements that are prepared on this one are worth nothing
/// any more, or the server was read-only when it was made.
pub(crate) fn spoils_connection(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else { return false };
    matches!(code.code(), "0A000" | "25006") || PREPARED_ELSEWHERE.contains(&code.code())
}
