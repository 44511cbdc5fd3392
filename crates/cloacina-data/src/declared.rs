//! The declared tables, as places are made and looked at.

use std::collections::{BTreeMap, BTreeSet};

use crate::gate::{Dialect, Gate, Kind};
use crate::migration::Migration;

pub(crate) struct Declared {
    pub(crate) kinds: BTreeMap<String, Kind>,
    /// Those of the models, table by table.
    pub(crate) columns: Vec<(String, String)>,
    #[cfg(feature = "postgres")]
    pub(crate) functions: Vec<String>,
    #[cfg(feature = "postgres")]
    pub(crate) types: Vec<String>,
    pub(crate) migrations: Vec<Migration>,
    pub(crate) postgres: Gate,
    pub(crate) sqlite: Gate,
}

impl Declared {
    /// The number of the last migration; 0 if there is none.
    pub(crate) fn latest(&self) -> i32 {
        self.migrations.last().map_or(0, Migration::number)
    }

    /// The tables that there are after the last migration.
    pub(crate) fn tables(&self) -> BTreeSet<String> {
        let mut tables = BTreeSet::new();
        self.migrations.iter().for_each(|migration| migration.follow(&mut tables));
        tables
    }

    /// The columns of tenant tables that count up by themselves: each with its table.
    pub(crate) fn counters(&self) -> Vec<(String, String)> {
        let tables = self.tables();
        let counters = self.migrations.iter().flat_map(Migration::counters);
        counters
            .filter(|(table, _)| tables.contains(table) && self.kinds.get(table) == Some(&Kind::Tenant))
            .collect()
    }

    /// The declared tables of a kind.
    pub(crate) fn of_kind(&self, kind: Kind) -> Vec<String> {
        self.kinds.iter().filter(|(_, its)| **its == kind).map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn gate(&self, dialect: Dialect) -> &Gate {
        match dialect {
            Dialect::Postgres => &self.postgres,
            Dialect::Sqlite => &self.sqlite,
        }
    }
}
