//! The tables a statement may name.

use std::borrow::Cow;
use std::collections::HashMap;

use cloacina_core::meant::meant;
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
    /// Lower-case name to exact name: how SQLite finds a table, and how a name that only looks like a table's
    /// is found.
    folded: HashMap<String, String>,
    /// The columns of those of which they are known.
    columns: HashMap<String, Vec<String>>,
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

    /// With what is known of columns: a table and one of its columns each.
    pub(crate) fn with_columns<'a>(
        mut self,
        columns: impl IntoIterator<Item = &'a (String, String)>,
    ) -> Self {
        for (table, column) in columns {
            self.columns.entry(table.clone()).or_default().push(column.clone());
        }
        self
    }

    /// Whether a table, by its exact name, has a column; `None` if its columns are not known.
    pub(super) fn has_column(&self, dialect: Dialect, table: &str, column: &str) -> Option<bool> {
        let columns = self.columns.get(table)?;
        Some(columns.iter().any(|known| match dialect {
            Dialect::Postgres => known == column,
            Dialect::Sqlite => known.eq_ignore_ascii_case(column),
        }))
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

    /// What to write instead of the name of no table, if it is like that of one.
    pub(super) fn meant(&self, name: &str) -> Option<Cow<'static, str>> {
        let meant = meant(name, self.by_name.keys().map(String::as_str))?;
        Some(Cow::Owned(format!("did you mean `{meant}`?")))
    }

    /// Whether a table is called so, in any case of letters.
    pub(super) fn resembles(&self, name: &str) -> bool {
        self.folded.contains_key(&name.to_ascii_lowercase())
    }
}
