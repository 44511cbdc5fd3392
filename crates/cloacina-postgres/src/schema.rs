//! Names of schemas.

use std::fmt;
use std::str::FromStr;

use cloacina_core::store::{Place, Result, StoreError, StoreErrorKind};

/// The place of a login without a tenant.
const DEFAULT_PLACE: &str = "cloacina_main";

/// The schema of the tables that tenants share.
const SHARED: &str = "cloacina_shared";

/// The name of a schema that may hold a tenant's place.
///
/// 1 to 63 ASCII letters, digits and underscores, kept exactly as given. The only way from a text to an
/// identifier in SQL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SchemaName(String);

impl SchemaName {
    /// Where a login without a tenant keeps its rows: `cloacina_main`.
    #[must_use]
    pub fn main() -> Self {
        Self(DEFAULT_PLACE.to_owned())
    }

    /// Where the tables are that tenants share: `cloacina_shared`.
    #[must_use]
    pub fn shared() -> Self {
        Self(SHARED.to_owned())
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as it stands in SQL.
    #[must_use]
    pub fn quoted(&self) -> String {
        // The quotes keep the case; there is nothing in the name that could end them.
        format!("\"{}\"", self.0)
    }

    /// That of a place.
    ///
    /// # Errors
    ///
    /// It is no name of a schema: the place is in another database.
    pub fn of(place: &Place) -> Result<Self> {
        match place.schema.as_str() {
            SHARED => Ok(Self::shared()),
            DEFAULT_PLACE => Ok(Self::main()),
            name => name.parse(),
        }
    }
}

impl FromStr for SchemaName {
    type Err = StoreError;

    fn from_str(name: &str) -> Result<Self> {
        let refuse = |why: &str| {
            let message = format!("{name:?} cannot be the name of a schema: {why}");
            Err(StoreError::new(StoreErrorKind::Configuration, message))
        };
        if name.is_empty() || name.len() > 63 {
            return refuse("it must have 1 to 63 characters");
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return refuse("only ASCII letters, digits and underscores are allowed");
        }
        let folded = name.to_ascii_lowercase();
        if folded.starts_with("pg_") || folded == "information_schema" {
            return refuse("it is PostgreSQL's own");
        }
        if folded.starts_with("cloacina") {
            return refuse("names that begin with `cloacina` are the engine's own");
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
