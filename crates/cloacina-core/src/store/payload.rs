//! What belongs to a tenant.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The JSON text of an input or of what a task changed. `Debug` tells its size only, since it may hold
/// secrets. Clones share it.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Arc<str>);

impl Deref for Payload {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of JSON", self.len())
    }
}
