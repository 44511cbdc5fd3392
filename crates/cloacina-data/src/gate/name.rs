//! Names: which may be said, and how they are written.

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

use super::statement::Walk;
use super::{Dialect, Refusal};

/// PostgreSQL cuts a longer name, so that two different ones could mean the same.
const LONGEST: usize = 63;

pub(super) const TENANT: &str = "tenant_id";

/// Columns that every table has without declaring them: a row's place, age or table.
const SYSTEM: &[&str] = &["cmax", "cmin", "ctid", "oid", "_rowid_", "rowid", "tableoid", "xmax", "xmin"];

/// Functions that PostgreSQL calls when it reads their bare names.
const WITHOUT_PARENTHESES: &[&str] = &[
    "current_catalog",
    "current_role",
    "current_schema",
    "current_user",
    "session_user",
    "system_user",
    "user",
];

impl Walk<'_> {
    /// Checks a name of the caller's and makes it a quoted one.
    pub(super) fn name(&self, name: &mut Ident) -> Result<(), Refusal> {
        let Ident { value, quote_style, span: _ } = &*name;
        let plain = "use a name of at most 63 letters, digits and underscores, in double quotes or none";
        if value.eq_ignore_ascii_case(TENANT) {
            return self.refuse(name, "is set by the database", "leave the column out of the statement");
        }
        if SYSTEM.iter().any(|column| value.eq_ignore_ascii_case(column)) {
            return self.refuse(name, "is a system column", "use the table's key");
        }
        if value.is_empty() || value.len() > LONGEST {
            return self.refuse(name, "is no usable name", plain);
        }
        if value.chars().any(|c| c.is_control() || matches!(c, '"' | '\\' | '`' | '[' | ']')) {
            return self.refuse("…", "is a name with quotes, backslashes or control characters", plain);
        }
        match (self.dialect(), quote_style) {
            (_, Some('"')) | (Dialect::Sqlite, Some('`')) => {}
            // Which letters beyond ASCII a database folds depends on its settings.
            (_, None) if !value.is_ascii() => {
                return self.refuse(name, "has letters that need quotes", plain);
            }
            (_, None) if WITHOUT_PARENTHESES.iter().any(|function| value.eq_ignore_ascii_case(function)) => {
                return self.refuse(name, "asks who is connected", "give the value as a parameter");
            }
            (Dialect::Postgres, None) => {
                name.value.make_ascii_lowercase();
                name.quote_style = Some('"');
            }
            // SQLite takes a name in double quotes that it does not find for a text.
            (Dialect::Sqlite, None) => name.quote_style = Some('`'),
            (_, Some(_)) => return self.refuse("…", "is a name in another quoting", plain),
        }
        Ok(())
    }

    /// The only part of a name that must have no qualifier.
    pub(super) fn unqualified<'n>(&self, name: &'n mut ObjectName) -> Result<&'n mut Ident, Refusal> {
        if !matches!(name.0.as_slice(), [ObjectNamePart::Identifier(_)]) {
            return self.refuse(name, "is a qualified name", "use the name alone");
        }
        match name.0.first_mut() {
            Some(ObjectNamePart::Identifier(name)) => Ok(name),
            Some(ObjectNamePart::Function(_)) | None => self.refuse("…", "is no name", "use a plain name"),
        }
    }

    /// A column's or table's name without a qualifier.
    pub(super) fn simple_name(&self, name: &mut ObjectName) -> Result<(), Refusal> {
        self.name(self.unqualified(name)?)
    }
}
