//! SELECT, VALUES, set operations and WITH.

use sqlparser::ast::{
    Cte, Distinct, GroupByExpr, LimitClause, LockClause, NamedWindowDefinition, NamedWindowExpr, Offset,
    OrderBy, OrderByExpr, OrderByKind, OrderByOptions, OrderBySort, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, Statement, TableAlias,
    TableAliasColumnDef, Values, WildcardAdditionalOptions, With,
};

use super::Refusal;
use super::from::Ranges;
use super::statement::Walk;
use super::write::is_default;

impl Walk<'_> {
    /// A query that is the statement: it may also be a WITH before an INSERT, UPDATE or DELETE.
    pub(super) fn whole_query(&mut self, query: &mut Query) -> Result<(), Refusal> {
        self.query_of(query, true)
    }

    /// A query inside of a statement.
    pub(super) fn query(&mut self, query: &mut Query) -> Result<(), Refusal> {
        self.query_of(query, false)
    }

    fn query_of(&mut self, query: &mut Query, whole: bool) -> Result<(), Refusal> {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        self.absent(fetch.is_some(), "FETCH")?;
        self.absent(for_clause.is_some(), "FOR")?;
        self.absent(settings.is_some(), "SETTINGS")?;
        self.absent(format_clause.is_some(), "FORMAT")?;
        self.absent(!pipe_operators.is_empty(), "|>")?;

        let outside = self.visible.len();
        if let Some(with) = with {
            self.with(with)?;
        }
        let ranges = self.body(body, whole)?;
        if let Some(order_by) = order_by {
            self.order_by(order_by)?;
        }
        if let Some(limit) = limit_clause {
            self.limit(limit)?;
        }
        for lock in locks {
            self.lock(lock, &ranges)?;
        }
        self.visible.truncate(outside);
        Ok(())
    }

    /// The expressions become visible one after the other, and with RECURSIVE also to themselves: an
    /// expression that names itself without it reads a table of that name on PostgreSQL and itself on SQLite.
    fn with(&mut self, with: &mut With) -> Result<(), Refusal> {
        let With { with_token: _, recursive, cte_tables } = with;
        for cte in cte_tables {
            let Cte { alias, query, from, materialized: _, closing_paren_token: _ } = cte;
            self.source()?;
            self.absent(from.is_some(), "FROM after WITH")?;
            self.alias(alias)?;
            alias.explicit = false;
            let name = alias.name.value.clone();
            if self.rules.tables.resembles(&name) {
                return self.refuse(&alias.name, "is called like a table", "give it another name");
            }
            if !self.expressions.insert(name.to_ascii_lowercase()) {
                return self.refuse(&alias.name, "is in WITH twice", "give each its own name");
            }
            if *recursive {
                self.visible.push(name);
                self.query(query)?;
            } else {
                self.query(query)?;
                self.visible.push(name);
            }
        }
        Ok(())
    }

    fn body(&mut self, body: &mut SetExpr, whole: bool) -> Result<Ranges, Refusal> {
        match body {
            SetExpr::Select(select) => return self.select(select),
            SetExpr::Query(query) => self.query(query)?,
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                match op {
                    SetOperator::Union | SetOperator::Except | SetOperator::Intersect => {}
                    SetOperator::Minus => {
                        return self.refuse(op, "is the syntax of another database", "use EXCEPT");
                    }
                }
                match set_quantifier {
                    SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None => {}
                    SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName => {
                        return self.refuse(
                            set_quantifier,
                            "is the syntax of another database",
                            "list the columns",
                        );
                    }
                }
                self.body(left, false)?;
                self.body(right, false)?;
            }
            SetExpr::Values(values) => self.value_rows(values)?,
            SetExpr::Insert(Statement::Insert(insert)) if whole => self.insert(insert)?,
            SetExpr::Update(Statement::Update(update)) if whole => self.update(update)?,
            SetExpr::Delete(Statement::Delete(delete)) if whole => self.delete(delete)?,
            other => {
                return self.refuse(
                    other,
                    "is no query",
                    "use SELECT, VALUES, UNION, INTERSECT or EXCEPT; INSERT, UPDATE and DELETE are statements of their own",
                );
            }
        }
        Ok(Ranges::unlockable())
    }

    fn value_rows(&mut self, values: &mut Values) -> Result<(), Refusal> {
        let Values { explicit_row, value_keyword, rows } = values;
        self.absent(*explicit_row, "ROW")?;
        self.absent(*value_keyword, "VALUE")?;
        for row in rows {
            for value in row.content.iter_mut().filter(|value| !is_default(value)) {
                self.expression(value)?;
            }
        }
        Ok(())
    }

    fn select(&mut self, select: &mut Select) -> Result<Ranges, Refusal> {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        self.absent(!optimizer_hints.is_empty(), "/*+")?;
        self.absent(select_modifiers.is_some(), "a modifier of SELECT")?;
        self.absent(top.is_some(), "TOP")?;
        self.absent(exclude.is_some(), "EXCLUDE")?;
        self.absent(into.is_some(), "INTO")?;
        self.absent(!lateral_views.is_empty(), "LATERAL VIEW")?;
        self.absent(prewhere.is_some(), "PREWHERE")?;
        self.absent(!connect_by.is_empty(), "CONNECT BY")?;
        self.absent(!cluster_by.is_empty(), "CLUSTER BY")?;
        self.absent(!distribute_by.is_empty(), "DISTRIBUTE BY")?;
        self.absent(!sort_by.is_empty(), "SORT BY")?;
        self.absent(qualify.is_some(), "QUALIFY")?;
        self.absent(value_table_mode.is_some(), "AS STRUCT")?;
        self.absent(*flavor != SelectFlavor::Standard, "FROM before SELECT")?;

        let mut ranges = Ranges::default();
        for item in from {
            self.table_with_joins(item, &mut ranges)?;
        }
        match distinct {
            None | Some(Distinct::All | Distinct::Distinct) => {}
            Some(Distinct::On(columns)) => {
                self.only_postgres("DISTINCT ON")?;
                self.output_expressions(columns)?;
            }
        }
        self.projection(projection)?;
        for condition in [selection, having].into_iter().flatten() {
            self.expression(condition)?;
        }
        match group_by {
            GroupByExpr::Expressions(columns, modifiers) if modifiers.is_empty() => {
                self.output_expressions(columns)?;
            }
            GroupByExpr::Expressions(..) | GroupByExpr::All(_) => {
                return self.refuse(
                    group_by,
                    "is the syntax of another database",
                    "list the columns after GROUP BY",
                );
            }
        }
        for NamedWindowDefinition(name, definition) in named_window {
            self.name(name)?;
            match definition {
                NamedWindowExpr::NamedWindow(name) => self.name(name)?,
                NamedWindowExpr::WindowSpec(window) => self.window(window)?,
            }
        }
        Ok(ranges)
    }

    /// What a SELECT or a RETURNING lists.
    pub(super) fn projection(&mut self, items: &mut [SelectItem]) -> Result<(), Refusal> {
        for item in items {
            match item {
                SelectItem::UnnamedExpr(value) => self.expression(value)?,
                SelectItem::ExprWithAlias { expr, alias } => {
                    self.expression(expr)?;
                    self.name(alias)?;
                }
                SelectItem::Wildcard(options) => self.wildcard(options)?,
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(table),
                    options,
                ) => {
                    self.simple_name(table)?;
                    self.wildcard(options)?;
                }
                SelectItem::ExprWithAliases { .. }
                | SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _) => {
                    return self.refuse(item, "opens up a row", "list the columns");
                }
            }
        }
        Ok(())
    }

    fn wildcard(&self, options: &WildcardAdditionalOptions) -> Result<(), Refusal> {
        let WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike,
            opt_exclude,
            opt_except,
            opt_replace,
            opt_rename,
            opt_alias,
        } = options;
        self.absent(opt_ilike.is_some(), "ILIKE after *")?;
        self.absent(opt_exclude.is_some(), "EXCLUDE after *")?;
        self.absent(opt_except.is_some(), "EXCEPT after *")?;
        self.absent(opt_replace.is_some(), "REPLACE after *")?;
        self.absent(opt_rename.is_some(), "RENAME after *")?;
        self.absent(opt_alias.is_some(), "AS after *")
    }

    fn order_by(&mut self, order_by: &mut OrderBy) -> Result<(), Refusal> {
        let OrderBy { kind, interpolate } = order_by;
        self.absent(interpolate.is_some(), "INTERPOLATE")?;
        match kind {
            OrderByKind::Expressions(columns) => self.order(columns),
            OrderByKind::All(_) => {
                self.refuse("ORDER BY ALL", "is the syntax of another database", "list the columns")
            }
        }
    }

    pub(super) fn order(&mut self, columns: &mut [OrderByExpr]) -> Result<(), Refusal> {
        for OrderByExpr { expr, options, with_fill } in columns {
            let OrderByOptions { sort, nulls_first: _ } = options;
            match sort {
                None | Some(OrderBySort::Asc | OrderBySort::Desc) => {}
                Some(OrderBySort::Using(_)) => {
                    return self.refuse("USING", "names an operator", "use ASC or DESC");
                }
            }
            self.absent(with_fill.is_some(), "WITH FILL")?;
            self.output_expression(expr)?;
        }
        Ok(())
    }

    fn limit(&mut self, limit: &mut LimitClause) -> Result<(), Refusal> {
        match limit {
            LimitClause::LimitOffset { limit, offset, limit_by } => {
                self.absent(!limit_by.is_empty(), "LIMIT BY")?;
                if let Some(limit) = limit {
                    self.expression(limit)?;
                }
                if let Some(Offset { value, rows: _ }) = offset {
                    self.expression(value)?;
                }
                Ok(())
            }
            LimitClause::OffsetCommaLimit { .. } => {
                self.refuse("LIMIT …, …", "is ambiguous", "use LIMIT … OFFSET …")
            }
        }
    }

    /// A lock reaches into derived tables and holds up everybody who wants the row, so it may only be on the
    /// tenant's own.
    fn lock(&mut self, lock: &mut LockClause, ranges: &Ranges) -> Result<(), Refusal> {
        self.only_postgres(&*lock)?;
        let LockClause { lock_type: _, of, nonblock: _ } = lock;
        let own = match of {
            Some(of) => {
                let name = self.unqualified(of)?;
                self.name(name)?;
                ranges.is_tenant(&name.value)
            }
            None => ranges.all_tenant(),
        };
        if own {
            return Ok(());
        }
        self.refuse(
            lock,
            "would lock more than rows of a tenant's table",
            "use FOR UPDATE OF with such a table in FROM",
        )
    }

    /// An alias with the names of its columns.
    pub(super) fn alias(&self, alias: &mut TableAlias) -> Result<(), Refusal> {
        let TableAlias { explicit, name, columns, at } = alias;
        *explicit = true;
        self.name(name)?;
        self.absent(at.is_some(), "AT")?;
        for TableAliasColumnDef { name, data_type } in columns {
            self.name(name)?;
            self.absent(data_type.is_some(), "a type of a column")?;
        }
        Ok(())
    }
}
