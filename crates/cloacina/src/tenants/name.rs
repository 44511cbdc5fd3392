//! Names of tenants.

use std::fmt;

use cloacina_core::{Error, ErrorKind};

use super::Placement;

/// The longest name, in characters.
const LENGTH: usize = 63;

/// What a service calls a tenant: 1 to 63 ASCII letters, digits, `_` and `-`, the first no `-`. Kept exactly
/// as given, and unique whatever the case of its letters.
///
/// The only way from a text to a path, a schema or a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TenantName {
    name: String,
    folded: String,
}

impl TenantName {
    /// Understands a name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`], saying what is wrong with it.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let refuse = |why: &str| {
            // Only the beginning of it: it may be long.
            let shown: String = name.chars().take(LENGTH + 1).collect();
            let message = format!("{shown:?} cannot be the name of a tenant: {why}");
            Err(Error::new(ErrorKind::Configuration, message))
        };
        if name.is_empty() || name.len() > LENGTH {
            return refuse("it must have 1 to 63 characters");
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
            return refuse("only ASCII letters, digits, `_` and `-` are allowed");
        }
        if name.starts_with('-') {
            return refuse("it begins with `-`");
        }
        Ok(Self { name: name.to_owned(), folded: name.to_ascii_lowercase() })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    pub(super) fn folded(&self) -> &str {
        &self.folded
    }

    pub(super) fn not_found(&self) -> Error {
        Error::new(ErrorKind::NotFound, format!("there is no tenant `{self}`; `provision` makes one"))
    }

    pub(super) fn differs_from(&self, other: &str) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!(
                "there is no tenant `{self}`, only `{other}`, from which the case of letters tells it apart"
            ),
        )
    }

    pub(super) fn cannot_be_put(&self, placement: Placement, why: &str) -> Error {
        let message = format!("the tenant `{self}` cannot have {placement}: {why}");
        Error::new(ErrorKind::Configuration, message)
    }

    #[cfg(feature = "postgres")]
    pub(super) fn has_no_login(&self) -> Error {
        let message = format!(
            "the tenant `{self}` has no login of its own, and so no credentials; `own_roles` gives one to tenants that are made with it"
        );
        Error::new(ErrorKind::Configuration, message)
    }

    pub(super) fn exists(&self, other: &str) -> Error {
        let message = if other == self.as_str() {
            format!("there is a tenant `{self}` already; nothing was changed")
        } else {
            format!(
                "there is a tenant `{other}` already, from which only the case of letters tells `{self}` apart"
            )
        };
        Error::new(ErrorKind::Conflict, message)
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
