//! The SQL that statements are written in.

use sqlparser::dialect::{PostgreSqlDialect, SQLiteDialect};

/// Which SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    Sqlite,
}

impl Dialect {
    pub(super) fn parser(self) -> &'static dyn sqlparser::dialect::Dialect {
        match self {
            Self::Postgres => &PostgreSqlDialect {},
            Self::Sqlite => &SQLiteDialect {},
        }
    }

    /// What a parameter's number stands behind.
    pub(super) fn parameter_sign(self) -> char {
        match self {
            Self::Postgres => '$',
            Self::Sqlite => '?',
        }
    }

    /// The most values a statement can have; one is the tenant's.
    pub(super) fn parameters(self) -> usize {
        match self {
            Self::Postgres => 65_535 - 1,
            Self::Sqlite => 32_766 - 1,
        }
    }
}
