//! FROM: where a table becomes a tenant's part of it.

use sqlparser::ast::{
    Ident, Join, JoinConstraint, JoinOperator, TableAlias, TableFactor, TableFunctionArgs, TableWithJoins,
};

use super::statement::Walk;
use super::tables::Kind;
use super::{Refusal, allowed, text};

/// The names that stand for rows in one FROM.
#[derive(Default)]
pub(super) struct Ranges {
    /// All of them, in lower case.
    names: Vec<String>,
    /// Those that are a tenant's table.
    tenant: Vec<String>,
    /// Whether something else is there too.
    other: bool,
}

impl Ranges {
    /// Of a query that is no simple SELECT.
    pub(super) fn unlockable() -> Self {
        Self { other: true, ..Self::default() }
    }

    pub(super) fn is_tenant(&self, name: &str) -> bool {
        self.tenant.iter().any(|tenant| tenant == name)
    }

    pub(super) fn all_tenant(&self) -> bool {
        !self.other && !self.tenant.is_empty()
    }
}

impl Walk<'_> {
    pub(super) fn table_with_joins(
        &mut self,
        item: &mut TableWithJoins,
        ranges: &mut Ranges,
    ) -> Result<(), Refusal> {
        let TableWithJoins { relation, joins } = item;
        self.factor(relation, ranges)?;
        for join in joins {
            self.join(join, ranges)?;
        }
        Ok(())
    }

    fn join(&mut self, join: &mut Join, ranges: &mut Ranges) -> Result<(), Refusal> {
        let Join { relation, global, join_operator } = join;
        self.absent(*global, "GLOBAL")?;
        self.factor(relation, ranges)?;
        match join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint)
            | JoinOperator::CrossJoin(constraint) => self.constraint(constraint),
            _ => self.refuse(
                join,
                "is a join of another database",
                "use INNER, LEFT, RIGHT, FULL or CROSS JOIN",
            ),
        }
    }

    fn constraint(&mut self, constraint: &mut JoinConstraint) -> Result<(), Refusal> {
        match constraint {
            JoinConstraint::On(condition) => self.expression(condition),
            JoinConstraint::Using(columns) => {
                columns.iter_mut().try_for_each(|column| self.simple_name(column))
            }
            // The tables of a tenant have `tenant_id` in common, and there it is the same in all rows.
            JoinConstraint::Natural | JoinConstraint::None => Ok(()),
            JoinConstraint::UsingAlias(..) => self.refuse("AS after USING", "names a row", "use ON"),
        }
    }

    fn factor(&mut self, factor: &mut TableFactor, ranges: &mut Ranges) -> Result<(), Refusal> {
        self.source()?;
        match factor {
            TableFactor::Table { args: Some(_), .. } => self.table_function(factor, ranges),
            TableFactor::Table { .. } => self.table(factor, ranges),
            TableFactor::Derived { lateral, subquery, alias, sample } => {
                if *lateral {
                    self.only_postgres("LATERAL")?;
                }
                self.absent(sample.is_some(), "TABLESAMPLE")?;
                self.query(subquery)?;
                ranges.other = true;
                if let Some(alias) = alias {
                    self.alias(alias)?;
                    self.range(&alias.name, None, ranges)?;
                }
                Ok(())
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                self.absent(alias.is_some(), "a name of a join")?;
                self.table_with_joins(table_with_joins, ranges)
            }
            TableFactor::UNNEST { alias, array_exprs, with_offset, with_offset_alias, with_ordinality } => {
                self.only_postgres("UNNEST")?;
                self.absent(*with_offset, "WITH OFFSET")?;
                self.absent(with_offset_alias.is_some(), "WITH OFFSET")?;
                self.absent(*with_ordinality, "WITH ORDINALITY")?;
                for array in array_exprs {
                    self.expression(array)?;
                }
                self.function_alias(alias, ranges)
            }
            other => self.refuse(other, "is no table", "use a declared table, or a query in parentheses"),
        }
    }

    /// A declared table or a common table expression.
    fn table(&mut self, factor: &mut TableFactor, ranges: &mut Ranges) -> Result<(), Refusal> {
        let TableFactor::Table {
            name,
            alias,
            args: None,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_directives,
            inheritance,
        } = factor
        else {
            return self.refuse(factor, "is no table", "use a declared table");
        };
        self.absent(!with_hints.is_empty(), "WITH after a table")?;
        self.absent(version.is_some(), "a version of a table")?;
        self.absent(*with_ordinality, "WITH ORDINALITY")?;
        self.absent(!partitions.is_empty(), "PARTITION")?;
        self.absent(json_path.is_some(), "a path in a table")?;
        self.absent(sample.is_some(), "TABLESAMPLE")?;
        self.absent(!index_directives.is_empty(), "an index of a table")?;
        self.absent(inheritance.is_some(), "ONLY")?;

        let name = self.unqualified(name)?;
        let declared = self.declared(name)?;
        self.name(name)?;
        if let Some(alias) = alias {
            self.alias(alias)?;
        }
        let Some((table, kind)) = declared else {
            if !self.visible.contains(&name.value) {
                let otherwise = "declare the table, or name one in WITH first";
                let instead = self.rules.tables.meant(&name.value).unwrap_or(otherwise.into());
                return self.refuse(&*name, "is not a declared table", instead);
            }
            ranges.other = true;
            return self.range(alias.as_ref().map_or(&*name, |alias| &alias.name), None, ranges);
        };
        name.value.clone_from(&table);
        let columns = alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
        self.absent(columns, "names of columns after a table")?;
        let called = alias.as_ref().map_or(&*name, |alias| &alias.name).clone();
        self.range(&called, Some(&table), ranges)?;
        match kind {
            Kind::Reference => ranges.other = true,
            Kind::Tenant => {
                ranges.tenant.push(called.value.clone());
                *factor = self.scoped(&table, called)?;
            }
        }
        self.tables.insert(table);
        Ok(())
    }

    /// The declared table of that name.
    pub(super) fn declared(&self, name: &Ident) -> Result<Option<(String, Kind)>, Refusal> {
        let lower = name.value.to_ascii_lowercase();
        // The database finds its own tables of these names before any of ours.
        if lower.starts_with("pg_") || lower.starts_with("sqlite_") {
            return self.refuse(name, "is the database's own", "use a declared table");
        }
        Ok(self.rules.tables.find(self.dialect(), name).map(|(table, kind)| (table.to_owned(), kind)))
    }

    /// One tenant's rows of a table, under a name.
    fn scoped(&mut self, table: &str, called: Ident) -> Result<TableFactor, Refusal> {
        let tenant = self.tenant();
        let sql = format!("SELECT * FROM \"{table}\" WHERE \"{table}\".\"tenant_id\" = {tenant}");
        let query =
            text::rendered(self.dialect()).try_with_sql(&sql).and_then(|mut parser| parser.parse_query());
        let Ok(subquery) = query else {
            return self.refuse(table, "is no usable name of a table", "declare tables by plain names");
        };
        let alias = TableAlias { explicit: true, name: called, columns: vec![], at: None };
        Ok(TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None })
    }

    /// Notes a name that stands for a row, of a declared table or of something else. Twice in one FROM it
    /// would be open which of the two a condition means.
    pub(super) fn range(
        &mut self,
        name: &Ident,
        table: Option<&str>,
        ranges: &mut Ranges,
    ) -> Result<(), Refusal> {
        self.row(&name.value, table);
        self.note(name, ranges)
    }

    /// Notes a name that stands for a row.
    pub(super) fn row(&mut self, name: &str, table: Option<&str>) {
        let name = name.to_ascii_lowercase();
        self.ranges.entry(name.clone()).or_default().insert(table.map(str::to_owned));
        self.rows.insert(name);
    }

    fn range_of_values(&mut self, name: &Ident, ranges: &mut Ranges) -> Result<(), Refusal> {
        self.ranges.entry(name.value.to_ascii_lowercase()).or_default().insert(None);
        self.note(name, ranges)
    }

    fn note(&self, name: &Ident, ranges: &mut Ranges) -> Result<(), Refusal> {
        let lower = name.value.to_ascii_lowercase();
        if ranges.names.contains(&lower) {
            return self.refuse(name, "stands for two tables", "give each its own alias");
        }
        ranges.names.push(lower);
        Ok(())
    }

    fn table_function(&mut self, factor: &mut TableFactor, ranges: &mut Ranges) -> Result<(), Refusal> {
        let TableFactor::Table {
            name,
            alias,
            args: Some(TableFunctionArgs { args, settings: None }),
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_directives,
            inheritance: None,
        } = factor
        else {
            return self.refuse(factor, "is more than a function", "use the function alone");
        };
        self.absent(!with_hints.is_empty(), "WITH after a table")?;
        self.absent(!partitions.is_empty(), "PARTITION")?;
        self.absent(!index_directives.is_empty(), "an index of a table")?;
        self.function_name(name, allowed::is_table_function)?;
        self.arguments(args)?;
        self.function_alias(alias, ranges)
    }

    /// A function's rows are made of its arguments: to name a whole one is harmless, and how PostgreSQL reads
    /// a single column.
    fn function_alias(&mut self, alias: &mut Option<TableAlias>, ranges: &mut Ranges) -> Result<(), Refusal> {
        ranges.other = true;
        match alias {
            Some(alias) => {
                self.alias(alias)?;
                self.range_of_values(&alias.name, ranges)
            }
            None => Ok(()),
        }
    }
}
