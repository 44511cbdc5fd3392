//! The walk over a statement, and what it finds out on the way.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use sqlparser::ast::{Ident, Statement};

use super::rules::Rules;
use super::{Admitted, Dialect, Refusal, text};

/// How many tables, queries and functions a statement may name in FROM and WITH.
const MOST_SOURCES: usize = 200;

/// Looks at each node of one statement. What it returns without a refusal was accepted or rewritten.
pub(super) struct Walk<'g> {
    pub(super) rules: &'g Rules,
    /// The position of the tenant's id among the parameters.
    tenant_at: usize,
    /// Whether the tenant's id was written somewhere.
    pub(super) scoped: bool,
    pub(super) tables: BTreeSet<String>,
    pub(super) writes: bool,
    /// Names of common table expressions that can be read at this place.
    pub(super) visible: Vec<String>,
    /// All names of common table expressions in the statement, in lower case.
    pub(super) expressions: BTreeSet<String>,
    /// All names that stand for a row somewhere in the statement, in lower case.
    pub(super) rows: BTreeSet<String>,
    /// The declared tables that such a name stands for somewhere in the statement; `None` for anything else.
    pub(super) ranges: BTreeMap<String, BTreeSet<Option<String>>>,
    /// How many tables, queries and functions stand in FROM and WITH so far.
    sources: usize,
    /// Names without a qualifier that stand for a value.
    pub(super) values: Vec<Ident>,
}

impl<'g> Walk<'g> {
    pub(super) fn new(rules: &'g Rules, tenant_at: usize) -> Self {
        Self {
            rules,
            tenant_at,
            scoped: false,
            tables: BTreeSet::new(),
            writes: false,
            visible: Vec::new(),
            expressions: BTreeSet::new(),
            rows: BTreeSet::new(),
            ranges: BTreeMap::new(),
            sources: 0,
            values: Vec::new(),
        }
    }

    pub(super) fn statement(&mut self, statement: &mut Statement) -> Result<(), Refusal> {
        match statement {
            Statement::Query(query) => self.whole_query(query)?,
            Statement::Insert(insert) => self.insert(insert)?,
            Statement::Update(update) => self.update(update)?,
            Statement::Delete(delete) => self.delete(delete)?,
            other => {
                return self.refuse(
                    other,
                    "is not a statement on rows",
                    "send one SELECT, INSERT, UPDATE or DELETE; migrations change tables, and the engine begins and \
                     ends transactions",
                );
            }
        }
        self.no_whole_rows()
    }

    pub(super) fn admitted(self, sql: String, parameters: usize) -> Admitted {
        Admitted {
            sql,
            parameters,
            tenant_parameter: self.scoped,
            tables: self.tables.into_iter().collect(),
            writes: self.writes,
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.rules.dialect
    }

    pub(super) fn refuse<T>(
        &self,
        part: impl Display,
        reason: &'static str,
        instead: impl Into<Cow<'static, str>>,
    ) -> Result<T, Refusal> {
        Err(Refusal::new(self.dialect(), part, reason, instead))
    }

    /// Refuses a part that only PostgreSQL has.
    pub(super) fn only_postgres(&self, part: impl Display) -> Result<(), Refusal> {
        match self.dialect() {
            Dialect::Postgres => Ok(()),
            Dialect::Sqlite => self.refuse(part, "is not the syntax of SQLite", "write it in standard SQL"),
        }
    }

    /// Refuses a clause unless it is absent.
    pub(super) fn absent(&self, present: bool, clause: &'static str) -> Result<(), Refusal> {
        if present {
            return self.refuse(clause, "is not allowed", "leave the clause out");
        }
        Ok(())
    }

    /// Counts one more table, query or function in FROM or WITH. What plans a statement tries the orders of
    /// all.
    pub(super) fn source(&mut self) -> Result<(), Refusal> {
        self.sources += 1;
        if self.sources > MOST_SOURCES {
            return self.refuse("FROM", "names more than 200 tables", "use IN (…), or several statements");
        }
        Ok(())
    }

    /// The tenant's id, as a parameter.
    pub(super) fn tenant(&mut self) -> String {
        self.scoped = true;
        format!("{}{}", self.dialect().parameter_sign(), self.tenant_at)
    }

    /// Whether this is one of the caller's parameters.
    pub(super) fn is_parameter(&self, placeholder: &str) -> bool {
        let number = placeholder.strip_prefix(self.dialect().parameter_sign()).and_then(text::number);
        number.is_some_and(|number| number < self.tenant_at)
    }

    /// To PostgreSQL a table's name used as a value is the whole row. The gate does not know columns, so a
    /// name that could be either is refused.
    fn no_whole_rows(&self) -> Result<(), Refusal> {
        match self.values.iter().find(|value| self.rows.contains(&value.value.to_ascii_lowercase())) {
            Some(value) => self.refuse(
                value,
                "can mean a whole row",
                "write a column with its table's name in front, as \"t\".\"column\"",
            ),
            None => Ok(()),
        }
    }
}
