//! The first line: every statement is parsed, refused unless it is understood, and rewritten so that it sees
//! the rows of one tenant.
//!
//! ```text
//! text ── text.rs ──> tree ── statement.rs, query.rs, from.rs, write.rs, expression.rs ──> scoped tree ──> text for the database
//!          bounded            every node is looked at: accepted, rewritten or refused        rendered, parsed again, compared
//! ```
//!
//! What holds for a statement that is admitted:
//!
//! - The database receives the rendered tree, never the text that came in. Whatever the walk has not looked
//!   at is not in that tree: structs are taken apart without `..`, and of enums only the variants that are
//!   named are accepted.
//! - A tenant's table stands in FROM only as `(SELECT * FROM "t" WHERE "t"."tenant_id" = $k) AS "alias"`; an
//!   UPDATE or DELETE of it carries `"alias"."tenant_id" = $k` before everything the caller wrote. `$k` comes
//!   after the caller's parameters, which have no gaps, so no statement can name it.
//! - No identifier is `tenant_id`. INSERT therefore takes the column's default, which the database fills with
//!   the tenant of the transaction, and UPDATE cannot move a row.
//! - Every name is rendered quoted, but for those of allowed functions and types: none can be a keyword to
//!   the database.
//!
//! What it leaves to the database: that declared tables have the column, its default, and keys led by it; and
//! that a condition of the caller's that can fail (`name::int > 0` fails with the name in its message) is not
//! tried on other tenants' rows first. PostgreSQL promises that order for row security only.
//!
//! Whoever sends an admitted statement must compare [`Admitted::parameters`] with the number of values first:
//! one value too many would take the place of the tenant's id ([`Admitted::fits`]).

mod admitted;
mod allowed;
mod cache;
mod dialect;
mod expression;
mod from;
mod function;
mod name;
mod query;
mod refusal;
mod rules;
mod statement;
mod tables;
mod text;
mod types;
mod write;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

pub(crate) use admitted::Admitted;
use cache::Cache;
pub(crate) use dialect::Dialect;
pub use refusal::Refusal;
use rules::Rules;
use statement::Walk;
pub(crate) use tables::{Kind, Tables};
use text::Text;

/// Enough for the deepest tree that `text.rs` lets through, in a build without optimisation; a thread of
/// tokio's has 2 MiB.
const STACK: usize = 16 * 1024 * 1024;

/// Admits statements that touch declared tables, one tenant's rows of them.
pub(crate) struct Gate {
    rules: Rules,
    cache: Cache,
}

impl Gate {
    pub(crate) fn new(dialect: Dialect, tables: Tables) -> Self {
        let rules = Rules { dialect, tables, functions: HashSet::new(), types: HashSet::new() };
        Self { rules, cache: Cache::default() }
    }

    /// Functions of the operator's that touch nothing but their arguments, by their lower-case names. A name
    /// that would need quotes is left out.
    pub(crate) fn with_functions<I: IntoIterator<Item: Into<String>>>(mut self, names: I) -> Self {
        self.rules.functions.extend(names.into_iter().map(Into::into).filter(|name| allowed::is_plain(name)));
        self
    }

    /// Types of the operator's that a value may be cast to, such as enums, by their exact names.
    pub(crate) fn with_types<I: IntoIterator<Item: Into<String>>>(mut self, names: I) -> Self {
        self.rules.types.extend(names.into_iter().map(Into::into));
        self
    }

    /// The statement, scoped to one tenant. Costs a lookup for a text that was admitted before.
    ///
    /// # Errors
    ///
    /// When any part of the statement is not understood or not allowed.
    pub(crate) fn admit(&self, sql: &str) -> Result<Arc<Admitted>, Refusal> {
        if let Some(admitted) = self.cache.get(sql) {
            return Ok(admitted);
        }
        let admitted = Arc::new(stacker::maybe_grow(STACK, STACK, || self.scope(sql))?);
        self.cache.put(sql, &admitted);
        Ok(admitted)
    }

    fn scope(&self, sql: &str) -> Result<Admitted, Refusal> {
        let Text { mut statement, parameters } = Text::read(self.rules.dialect, sql)?;
        let mut walk = Walk::new(&self.rules, parameters + 1);
        walk.statement(&mut statement)?;

        let rendered = statement.to_string();
        if text::parse(self.rules.dialect, &rendered).as_ref() != Ok(&statement) {
            return Err(Refusal::new(
                self.rules.dialect,
                &rendered,
                "is not understood: it does not read the same after it was written",
                "write it in a simpler way, and give strings with quotes or backslashes as parameters",
            ));
        }
        Ok(walk.admitted(rendered, parameters))
    }
}
