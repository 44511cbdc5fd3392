//! What an administrator is told when something goes wrong.

use std::error::Error as StdError;
use std::fmt;

use cloacina_core::store::{StoreError, StoreErrorKind};

/// What a caller can branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AdminErrorKind {
    /// A name, a password, a URL or a limit cannot be used, or the server does not accept the administrator's
    /// login.
    Configuration,
    /// Something of that name exists that is not this tenant; nothing that exists is adopted.
    AlreadyExists,
    /// There is no such tenant.
    NotFound,
    /// The administrator's login lacks a right; the message ends with the statements that give it.
    Privileges,
    /// Something else is at work on the tenant, or work did not end in time. What was done so far stays;
    /// repeat the call.
    Busy,
    /// The database could not be reached, or has no connection to spare. Nothing was done, or all of it.
    Unavailable,
    /// Something of the tenant is left that could not be removed; the message says what and where.
    Remains,
    /// Something of the tenant reaches outside its place, or into it.
    NotIsolated,
    /// The database was made by a newer program.
    Version,
    /// Anything else.
    Internal,
}

/// Why an administrative action failed. No password and no connection string is ever in it.
pub struct AdminError {
    inner: Box<Inner>,
}

struct Inner {
    kind: AdminErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl AdminError {
    pub(crate) fn new(kind: AdminErrorKind, message: impl Into<String>) -> Self {
        Self { inner: Box::new(Inner { kind, message: message.into(), source: None }) }
    }

    /// What a caller can branch on.
    #[must_use]
    pub fn kind(&self) -> AdminErrorKind {
        self.inner.kind
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("AdminError");
        debug.field("kind", &self.inner.kind).field("message", &self.inner.message);
        if let Some(source) = &self.inner.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl StdError for AdminError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind() {
            StoreErrorKind::Transient | StoreErrorKind::Unknown | StoreErrorKind::Fenced => {
                AdminErrorKind::Unavailable
            }
            StoreErrorKind::Busy => AdminErrorKind::Busy,
            StoreErrorKind::Configuration | StoreErrorKind::Data => AdminErrorKind::Configuration,
            StoreErrorKind::Place => AdminErrorKind::Privileges,
            StoreErrorKind::Version => AdminErrorKind::Version,
            StoreErrorKind::Internal => AdminErrorKind::Internal,
        };
        let mut told = Self::new(kind, error.to_string());
        told.inner.source = Some(Box::new(error));
        told
    }
}
