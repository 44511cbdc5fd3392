//! INSERT, UPDATE and DELETE.

use sqlparser::ast::{
    Assignment, AssignmentTarget, ConflictTarget, Delete, DoUpdate, Expr, FromTable, Ident, Insert,
    ObjectName, OnConflict, OnConflictAction, OnInsert, SelectItem, TableAliasWithoutColumns, TableFactor,
    TableObject, TableWithJoins, Update, UpdateTableFromKind,
};

use super::from::Ranges;
use super::name::TENANT;
use super::statement::Walk;
use super::tables::Kind;
use super::{Refusal, text};

impl Walk<'_> {
    pub(super) fn insert(&mut self, insert: &mut Insert) -> Result<(), Refusal> {
        let Insert {
            insert_token: _,
            optimizer_hints,
            or,
            ignore,
            into,
            table,
            table_alias,
            columns,
            by_name,
            overwrite,
            source,
            assignments,
            partitioned,
            after_columns,
            overriding,
            has_table_keyword,
            on,
            returning,
            output,
            replace_into,
            priority,
            insert_alias,
            settings,
            format_clause,
            multi_table_insert_type,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause,
        } = insert;
        self.absent(!optimizer_hints.is_empty(), "/*+")?;
        // REPLACE deletes whatever is in the way.
        self.absent(or.is_some(), "OR after INSERT")?;
        self.absent(*ignore, "IGNORE")?;
        self.absent(*by_name, "BY NAME")?;
        self.absent(*overwrite, "OVERWRITE")?;
        self.absent(!assignments.is_empty(), "SET in INSERT")?;
        self.absent(partitioned.is_some(), "PARTITION")?;
        self.absent(!after_columns.is_empty(), "columns after PARTITION")?;
        self.absent(overriding.is_some(), "OVERRIDING")?;
        self.absent(*has_table_keyword, "TABLE")?;
        self.absent(output.is_some(), "OUTPUT")?;
        self.absent(*replace_into, "REPLACE")?;
        self.absent(priority.is_some(), "a priority")?;
        self.absent(insert_alias.is_some(), "a name of the new row")?;
        self.absent(settings.is_some(), "SETTINGS")?;
        self.absent(format_clause.is_some(), "FORMAT")?;
        self.absent(multi_table_insert_type.is_some(), "INSERT ALL")?;
        self.absent(!multi_table_into_clauses.is_empty(), "INSERT ALL")?;
        self.absent(!multi_table_when_clauses.is_empty(), "INSERT ALL")?;
        self.absent(multi_table_else_clause.is_some(), "INSERT ALL")?;
        *into = true;
        self.writes = true;

        let TableObject::TableName(name) = table else {
            return self.refuse(table, "is no table", "name a declared table after INSERT INTO");
        };
        let target = self.target(name)?;
        let table = target.value.clone();
        let called = match table_alias {
            Some(TableAliasWithoutColumns { explicit, alias }) => {
                *explicit = true;
                self.name(alias)?;
                alias.clone()
            }
            None => target,
        };
        self.range(&called, Some(&table), &mut Ranges::default())?;

        if columns.is_empty() {
            return self.refuse(
                "INSERT without columns",
                "would also give the tenant",
                "list the columns in parentheses",
            );
        }
        for column in columns {
            self.simple_name(column)?;
        }
        match source {
            Some(source) => self.query(source)?,
            None => return self.refuse("INSERT", "has no rows", "use VALUES or SELECT"),
        }
        match on {
            None => {}
            Some(OnInsert::OnConflict(conflict)) => self.on_conflict(conflict, &table)?,
            Some(_) => {
                return self.refuse("ON", "is the syntax of another database", "use ON CONFLICT (…) DO …");
            }
        }
        self.returning(returning)
    }

    fn on_conflict(&mut self, conflict: &mut OnConflict, table: &str) -> Result<(), Refusal> {
        let OnConflict { conflict_target, action } = conflict;
        self.row("excluded", Some(table));
        match conflict_target {
            Some(ConflictTarget::Columns { columns, predicate }) => {
                for column in columns.iter_mut() {
                    self.name(column)?;
                }
                columns.insert(0, Ident::with_quote('"', TENANT));
                if let Some(predicate) = predicate {
                    self.expression(predicate)?;
                }
            }
            Some(ConflictTarget::OnConstraint(_)) => {
                return self.refuse(
                    "ON CONSTRAINT",
                    "may compare rows of all tenants",
                    "list the columns: ON CONFLICT (…)",
                );
            }
            None => {}
        }
        match action {
            OnConflictAction::DoNothing => Ok(()),
            OnConflictAction::DoUpdate(_) if conflict_target.is_none() => self.refuse(
                "ON CONFLICT DO UPDATE",
                "could meet a row by any key",
                "list the columns: ON CONFLICT (…) DO UPDATE",
            ),
            OnConflictAction::DoUpdate(DoUpdate { assignments, selection }) => {
                self.assignments(assignments)?;
                selection.as_mut().map_or(Ok(()), |condition| self.expression(condition))
            }
        }
    }

    pub(super) fn update(&mut self, update: &mut Update) -> Result<(), Refusal> {
        let Update {
            update_token: _,
            optimizer_hints,
            table,
            on_cluster,
            assignments,
            from,
            selection,
            returning,
            output,
            or,
            order_by,
            limit,
            settings,
        } = update;
        self.absent(!optimizer_hints.is_empty(), "/*+")?;
        self.absent(on_cluster.is_some(), "ON CLUSTER")?;
        self.absent(output.is_some(), "OUTPUT")?;
        self.absent(or.is_some(), "OR after UPDATE")?;
        self.absent(!order_by.is_empty(), "ORDER BY in UPDATE")?;
        self.absent(limit.is_some(), "LIMIT in UPDATE")?;
        self.absent(settings.is_some(), "SETTINGS")?;

        let mut ranges = Ranges::default();
        let called = self.changed(table, &mut ranges)?;
        match from {
            None => {}
            Some(UpdateTableFromKind::AfterSet(items)) => {
                for item in items {
                    self.table_with_joins(item, &mut ranges)?;
                }
            }
            Some(UpdateTableFromKind::BeforeSet(_)) => {
                return self.refuse(
                    "FROM before SET",
                    "is the syntax of another database",
                    "write FROM after SET",
                );
            }
        }
        self.assignments(assignments)?;
        self.own(selection, &called)?;
        self.returning(returning)
    }

    pub(super) fn delete(&mut self, delete: &mut Delete) -> Result<(), Refusal> {
        let Delete {
            delete_token: _,
            optimizer_hints,
            tables,
            from,
            on_cluster,
            using,
            selection,
            returning,
            output,
            order_by,
            limit,
            settings,
        } = delete;
        self.absent(!optimizer_hints.is_empty(), "/*+")?;
        self.absent(!tables.is_empty(), "tables before FROM")?;
        self.absent(on_cluster.is_some(), "ON CLUSTER")?;
        self.absent(output.is_some(), "OUTPUT")?;
        self.absent(!order_by.is_empty(), "ORDER BY in DELETE")?;
        self.absent(limit.is_some(), "LIMIT in DELETE")?;
        self.absent(settings.is_some(), "SETTINGS")?;

        let target = match from {
            FromTable::WithFromKeyword(tables) => match tables.as_mut_slice() {
                [table] => table,
                _ => return self.refuse("DELETE", "names several tables", "delete from one table"),
            },
            FromTable::WithoutKeyword(_) => {
                return self.refuse(
                    "DELETE without FROM",
                    "is the syntax of another database",
                    "use DELETE FROM",
                );
            }
        };
        let mut ranges = Ranges::default();
        let called = self.changed(target, &mut ranges)?;
        if let Some(items) = using {
            self.only_postgres("USING")?;
            for item in items {
                self.table_with_joins(item, &mut ranges)?;
            }
        }
        self.own(selection, &called)?;
        self.returning(returning)
    }

    /// The table that an UPDATE or DELETE changes; returns what it is called in the statement.
    fn changed(&mut self, item: &mut TableWithJoins, ranges: &mut Ranges) -> Result<Ident, Refusal> {
        self.writes = true;
        let TableWithJoins { relation, joins } = item;
        self.absent(!joins.is_empty(), "JOIN with the table that is changed")?;
        let TableFactor::Table {
            name,
            alias,
            args: None,
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_directives,
            inheritance: None,
        } = relation
        else {
            return self.refuse(relation, "cannot be changed", "name a declared table alone");
        };
        self.absent(!with_hints.is_empty(), "WITH after a table")?;
        self.absent(!partitions.is_empty(), "PARTITION")?;
        self.absent(!index_directives.is_empty(), "an index of a table")?;
        let target = self.target(name)?;
        let table = target.value.clone();
        let called = match alias {
            Some(alias) => {
                self.alias(alias)?;
                self.absent(!alias.columns.is_empty(), "names of columns after a table")?;
                alias.name.clone()
            }
            None => target,
        };
        self.range(&called, Some(&table), ranges)?;
        Ok(called)
    }

    /// The tenant's table that a statement writes to.
    fn target(&mut self, name: &mut ObjectName) -> Result<Ident, Refusal> {
        let name = self.unqualified(name)?;
        let declared = self.declared(name)?;
        self.name(name)?;
        match declared {
            Some((table, Kind::Tenant)) => {
                name.value.clone_from(&table);
                self.tables.insert(table);
                Ok(name.clone())
            }
            Some((_, Kind::Reference)) => self.refuse(&*name, "belongs to all tenants", "only read it"),
            None => {
                let instead = self.rules.tables.meant(&name.value).unwrap_or("declare the table".into());
                self.refuse(&*name, "is not a declared table", instead)
            }
        }
    }

    fn assignments(&mut self, assignments: &mut [Assignment]) -> Result<(), Refusal> {
        for Assignment { target, value } in assignments {
            match target {
                AssignmentTarget::ColumnName(column) => self.simple_name(column)?,
                AssignmentTarget::Tuple(columns) => {
                    columns.iter_mut().try_for_each(|column| self.simple_name(column))?;
                }
            }
            if !is_default(value) {
                self.expression(value)?;
            }
        }
        Ok(())
    }

    /// Puts "and it is the tenant's" before a condition.
    fn own(&mut self, selection: &mut Option<Expr>, called: &Ident) -> Result<(), Refusal> {
        if let Some(condition) = selection {
            self.expression(condition)?;
        }
        let sql = format!("(\"{}\".\"tenant_id\" = {})", called.value, self.tenant());
        let scope =
            text::rendered(self.dialect()).try_with_sql(&sql).and_then(|mut parser| parser.parse_expr());
        let Ok(scope) = scope else {
            return self.refuse(called, "is no usable name", "use a plain name");
        };
        *selection = Some(match selection.take() {
            Some(condition) => Expr::BinaryOp {
                left: Box::new(scope),
                op: sqlparser::ast::BinaryOperator::And,
                right: Box::new(Expr::Nested(Box::new(condition))),
            },
            None => scope,
        });
        Ok(())
    }

    /// A whole row here is the caller's own, just written.
    fn returning(&mut self, returning: &mut Option<Vec<SelectItem>>) -> Result<(), Refusal> {
        for item in returning.iter_mut().flatten() {
            match item {
                SelectItem::UnnamedExpr(Expr::Identifier(column)) => self.name(column)?,
                SelectItem::ExprWithAlias { expr: Expr::Identifier(column), alias } => {
                    self.name(column)?;
                    self.name(alias)?;
                }
                other => self.projection(std::slice::from_mut(other))?,
            }
        }
        Ok(())
    }
}

/// Whether a value is the word DEFAULT, which the databases accept only where a column is given a value.
pub(super) fn is_default(value: &Expr) -> bool {
    matches!(value, Expr::Identifier(Ident { value, quote_style: None, span: _ }) if value.eq_ignore_ascii_case("default"))
}
