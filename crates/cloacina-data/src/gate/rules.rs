//! What statements may name.

use std::collections::HashSet;

use super::dialect::Dialect;
use super::tables::Tables;

/// The tables, functions and types that were declared.
pub(super) struct Rules {
    pub(super) dialect: Dialect,
    pub(super) tables: Tables,
    pub(super) functions: HashSet<String>,
    pub(super) types: HashSet<String>,
}
