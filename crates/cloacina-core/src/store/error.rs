//! What a store says when it fails.

use std::error::Error as StdError;
use std::fmt;

use crate::error::{Error, ErrorKind};
use crate::id::TenantId;

/// What the engine does about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// Nothing was written; the same call may succeed: a deadlock, a serialization failure, no connection, a
    /// busy file, a database that can only be read for a while.
    Transient,
    /// Nothing was written: somebody else holds locks in this place, or what was asked takes too long there.
    /// The same call may succeed later, and other places should not wait for it.
    Busy,
    /// The connection broke around the commit: it may or may not have happened, but it is decided.
    Unknown,
    /// The runner was declared dead; nothing was written.
    Fenced,
    /// This place cannot be used: its schema is gone, its file is damaged, full or read-only, rights are
    /// missing.
    Place,
    /// The database is newer than this program, or older than it knows.
    Version,
    /// A value that this database cannot keep.
    Data,
    /// The address, the login or the name cannot be used.
    Configuration,
    /// Something that should not happen.
    Internal,
}

/// A failure of the database.
pub struct StoreError {
    inner: Box<Inner>,
}

struct Inner {
    kind: StoreErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    tenant: Option<TenantId>,
}

impl StoreError {
    /// An error of this kind. The message says to which place it happened and what to do, and holds no
    /// password.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { inner: Box::new(Inner { kind, message: message.into(), source: None, tenant: None }) }
    }

    /// With what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// With the tenant in whose place it happened, if the call was about several.
    #[must_use]
    pub fn of(mut self, tenant: TenantId) -> Self {
        self.inner.tenant = Some(tenant);
        self
    }

    /// The tenant in whose place it happened, if the call was about several and it is known.
    #[must_use]
    pub fn tenant(&self) -> Option<TenantId> {
        self.inner.tenant
    }

    /// The error once more, without its cause, for the next of many who are told of it.
    #[must_use]
    pub(crate) fn copy(&self) -> Self {
        Self::new(self.kind(), self.to_string())
    }

    /// What lies beneath it.
    pub(crate) fn into_source(self) -> Option<Box<dyn StdError + Send + Sync>> {
        self.inner.source
    }

    /// What the engine does about it.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.inner.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("StoreError");
        debug.field("kind", &self.inner.kind).field("message", &self.inner.message);
        if let Some(source) = &self.inner.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

impl From<StoreErrorKind> for ErrorKind {
    fn from(kind: StoreErrorKind) -> Self {
        match kind {
            StoreErrorKind::Transient
            | StoreErrorKind::Busy
            | StoreErrorKind::Unknown
            | StoreErrorKind::Fenced => Self::Unavailable,
            StoreErrorKind::Place | StoreErrorKind::Version => Self::Place,
            StoreErrorKind::Data => Self::Context,
            StoreErrorKind::Configuration => Self::Configuration,
            StoreErrorKind::Internal => Self::Internal,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let told = Self::new(error.kind().into(), error.to_string());
        // Its words are this level's: as the source they would be told a second time.
        match error.into_source() {
            Some(source) => told.with_source(source),
            None => told,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn what_a_store_said_is_told_once() {
        let lost =
            StoreError::new(StoreErrorKind::Transient, "the connection is gone").with_source("broken pipe");
        let error = Error::from(lost);
        assert_eq!(error.to_string(), "the connection is gone");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("broken pipe"));
    }
}
