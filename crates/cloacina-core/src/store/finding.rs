//! What is found when somebody looks at a place without working in it.

use std::fmt;

/// Something about a place that is not as it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The tenant, or the schema of the tables that tenants share.
    pub place: String,
    /// What there is.
    pub what: String,
    /// What to do about it: a statement, or some words.
    pub remedy: String,
    /// Whether that must not be. Otherwise it is a warning.
    pub is_fatal: bool,
}

impl Finding {
    /// Something that must not be.
    pub fn fatal(place: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place: place.to_owned(), what: what.into(), remedy: remedy.into(), is_fatal: true }
    }

    /// Something that should not be.
    pub fn warning(place: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { is_fatal: false, ..Self::fatal(place, what, remedy) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (to mend it: {})", self.what, self.remedy)
    }
}

/// Which version the engine's tables of a place have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlaceVersion {
    /// The version; 0 if there are no tables yet.
    pub version: u32,
    /// The version that this program makes of it.
    pub latest: u32,
    /// The oldest program that can work with the tables, by the version that it makes.
    pub min_reader: u32,
}

impl PlaceVersion {
    /// A version, as it was read.
    #[must_use]
    pub fn new(version: u32, latest: u32, min_reader: u32) -> Self {
        Self { version, latest, min_reader }
    }

    /// Whether this program has to change the tables before it works with them.
    #[must_use]
    pub fn is_old(self) -> bool {
        self.version < self.latest
    }

    /// Whether this program cannot work with the tables: a newer one made them.
    #[must_use]
    pub fn is_too_new(self) -> bool {
        self.min_reader > self.latest
    }
}
