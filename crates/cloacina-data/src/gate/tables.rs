//! The tables a statement may name.

use std::collections::HashMap;

use sqlparser::ast::Ident;

use super::Dialect;

/// Whose rows a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Rows of many tenants, told apart by `tenant_id`.
    Tenant,
    /// Rows that every tenant may read and none may write.
    Reference,
}

/// The declared tables, by their exact names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    by_name: HashMap<String, Kind>,
    /// Lower-case name to exact name: how SQLite finds a table, and how a name that only looks like a table's is found.
    folded: HashMap<String, String>,
}

impl Tables {
    pub(crate) fn new<I: IntoIterator<Item = (S, Kind)>, S: Into<String>>(tables: I) -> Self {
        let mut declared = Self::default();
        for (name, kind) in tables {
            let name = name.into();
            declared.folded.insert(name.to_ascii_lowercase(), name.clone());
            declared.by_name.insert(name, kind);
        }
        declared
    }

    /// The table that the database would find under this name, as it was declared.
    pub(super) fn find(&self, dialect: Dialect, name: &Ident) -> Option<(&str, Kind)> {
        let exact = match (dialect, name.quote_style) {
            (Dialect::Postgres, Some(_)) => name.value.as_str(),
            (Dialect::Postgres, None) => &name.value.to_ascii_lowercase(),
            (Dialect::Sqlite, _) => self.folded.get(&name.value.to_ascii_lowercase())?,
        };
        self.by_name.get_key_value(exact).map(|(name, kind)| (name.as_str(), *kind))
    }

    /// Whether a table is called so, in any case of letters.
    pub(super) fn resembles(&self, name: &str) -> bool {
        self.folded.contains_key(&name.to_ascii_lowercase())
    }
}
