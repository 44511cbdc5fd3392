//! How tenants' tables come to be and change: written once, applied in each tenant's place.
//!
//! What a migration creates is described as everywhere with SeaORM; the column that says whose a row is, and
//! its place at the head of every key, is added here, so that nobody writes it by hand. In a SQLite file a
//! key that counts up has to stand alone, so there the pair is a unique key beside it.
//!
//! | written | PostgreSQL | SQLite |
//! |---|---|---|
//! | a table | `tenant_id uuid NOT NULL DEFAULT '…'` | `tenant_id blob NOT NULL DEFAULT x'…'` |
//! | primary key `(a)` | `PRIMARY KEY (tenant_id, a)` | the same; `a … PRIMARY KEY AUTOINCREMENT, UNIQUE (tenant_id, a)` if it counts up |
//! | unique `(a, b)` | `UNIQUE (tenant_id, a, b)` | the same |
//! | foreign key `(a)` to `t (b)` | `(tenant_id, a)` to `t (tenant_id, b)` | the same |
//! | index `(a)` | `(tenant_id, a)` | the same |
//!
//! In tables that tenants share, `tenant_id` is by default the tenant that the transaction has entered, and
//! row security and policies are added too; there, and for a tenant with logins of its own, also the rights
//! of those who work with the tables.
//!
//! A foreign key to a reference table stays as it is. What happens to the row when what it refers to is
//! deleted may be `CASCADE`, `RESTRICT` and `NO ACTION`: setting the columns to null or their default would
//! set `tenant_id`.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::sea_query::{
    Alias, ColumnDef, Expr, ForeignKey, ForeignKeyAction, ForeignKeyCreateStatement, Index,
    IndexCreateStatement, InsertStatement, PostgresQueryBuilder, SchemaStatementBuilder, SqliteQueryBuilder,
    Table, TableCreateStatement, TableName, TableRef,
};
use uuid::Uuid;

use crate::error::{DataError, Result};
use crate::gate::{Dialect, Kind};
use crate::name::{TENANT_ID, check_name, check_table};

/// Whose the rows of a place are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whose<'a> {
    /// One tenant's.
    Tenant(Uuid),
    /// One tenant's who has logins of its own, which are in a group.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code))]
    Login { tenant: Uuid, group: &'a str },
    /// Those of many, in a PostgreSQL schema.
    Shared,
}

impl Whose<'_> {
    /// The role of those who work with the tables, where that is not their owner.
    pub(crate) fn user(self) -> Option<String> {
        match self {
            Self::Tenant(_) => None,
            Self::Login { group, .. } => Some(format!("\"{}\"", group.replace('"', "\"\""))),
            Self::Shared => Some("cloacina_app".to_owned()),
        }
    }
}

/// One step in the life of the declared tables. See the [table](crate#migrations) of what is added to what is
/// written.
#[derive(Debug, Clone)]
pub struct Migration {
    number: i32,
    name: String,
    changes: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Create(Box<TableCreateStatement>),
    AddColumn { table: String, column: Box<ColumnDef> },
    DropColumn { table: String, column: String },
    Index { table: String, columns: Vec<String>, unique: bool },
    DropIndex { table: String, columns: Vec<String>, unique: bool },
    DropTable { table: String },
    Fill(Box<InsertStatement>),
}

impl Migration {
    /// The migration of this number, from 1, without a gap. The name is for people.
    #[must_use]
    pub fn new(number: i32, name: impl Into<String>) -> Self {
        Self { number, name: name.into(), changes: Vec::new() }
    }

    fn change(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    /// Creates a declared table, with its keys and foreign keys.
    #[must_use]
    pub fn create(self, table: impl Into<TableCreateStatement>) -> Self {
        self.change(Change::Create(Box::new(table.into())))
    }

    /// Adds a column; one that is not null needs a default.
    #[must_use]
    pub fn add_column(self, table: impl Into<String>, column: impl Into<ColumnDef>) -> Self {
        self.change(Change::AddColumn { table: table.into(), column: Box::new(column.into()) })
    }

    /// The columns that count up by themselves in the tables that it creates: each with its table.
    pub(crate) fn counters(&self) -> Vec<(String, String)> {
        let mut counters = Vec::new();
        for change in &self.changes {
            let Change::Create(created) = change else { continue };
            let Some(table) = created.get_table_name().and_then(plain_name) else { continue };
            let counting =
                created.get_columns().iter().filter(|column| column.get_column_spec().auto_increment);
            counters.extend(counting.map(|column| (table.clone(), column.get_column_name())));
        }
        counters
    }

    /// Removes a column with all that is in it.
    #[must_use]
    pub fn drop_column(self, table: impl Into<String>, column: impl Into<String>) -> Self {
        self.change(Change::DropColumn { table: table.into(), column: column.into() })
    }

    /// Makes an index.
    #[must_use]
    pub fn index<C: Into<String>>(
        self,
        table: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
    ) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        self.change(Change::Index { table: table.into(), columns, unique: false })
    }

    /// Makes an index that lets no tenant have the same values twice.
    #[must_use]
    pub fn unique<C: Into<String>>(
        self,
        table: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
    ) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        self.change(Change::Index { table: table.into(), columns, unique: true })
    }

    /// Removes what [`index`](Self::index) made.
    #[must_use]
    pub fn drop_index<C: Into<String>>(
        self,
        table: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
    ) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        self.change(Change::DropIndex { table: table.into(), columns, unique: false })
    }

    /// Removes what [`unique`](Self::unique) made.
    #[must_use]
    pub fn drop_unique<C: Into<String>>(
        self,
        table: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
    ) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        self.change(Change::DropIndex { table: table.into(), columns, unique: true })
    }

    /// Removes a table with all that is in it. It stays declared for as long as there is a migration that
    /// creates it.
    #[must_use]
    pub fn drop_table(self, table: impl Into<String>) -> Self {
        self.change(Change::DropTable { table: table.into() })
    }

    /// Puts rows into a reference table.
    #[must_use]
    pub fn fill(self, rows: impl Into<InsertStatement>) -> Self {
        self.change(Change::Fill(Box::new(rows.into())))
    }

    pub(crate) fn number(&self) -> i32 {
        self.number
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Goes from the tables before this migration to those after it.
    pub(crate) fn follow(&self, tables: &mut BTreeSet<String>) {
        for change in &self.changes {
            match change {
                Change::Create(table) => tables.extend(table.get_table_name().and_then(plain_name)),
                Change::DropTable { table } => drop(tables.remove(table)),
                _ => {}
            }
        }
    }

    /// Whether it creates this table.
    pub(crate) fn creates(&self, name: &str) -> bool {
        self.changes.iter().any(|change| match change {
            Change::Create(table) => table
                .get_table_name()
                .and_then(plain_name)
                .is_some_and(|created| created.eq_ignore_ascii_case(name)),
            _ => false,
        })
    }

    /// What fails, if it does, for the message.
    pub(crate) fn doing(&self) -> String {
        format!(
            "apply migration {} (`{}`) to its tables, which stay as they were; correct the migration or the rows that it meets",
            self.number, self.name
        )
    }

    /// Whether it can be what it says, as the migration of this number.
    pub(crate) fn check(&self, number: i32, kinds: &BTreeMap<String, Kind>) -> Result<()> {
        if self.number != number {
            return Err(DataError::configuration(format!(
                "migration `{}` has number {}, and stands where number {number} is expected: they are numbered 1, 2, 3, …",
                self.name, self.number
            )));
        }
        // Rendered once for nobody, so that a mistake shows when the program starts.
        for dialect in [Dialect::Postgres, Dialect::Sqlite] {
            self.statements(dialect, Whose::Tenant(Uuid::nil()), kinds)?;
        }
        self.statements(Dialect::Postgres, Whose::Shared, kinds).map(drop)
    }

    /// The statements of this migration in the place of one tenant.
    pub(crate) fn statements(
        &self,
        dialect: Dialect,
        whose: Whose<'_>,
        kinds: &BTreeMap<String, Kind>,
    ) -> Result<Vec<String>> {
        let render = Render { dialect, whose, kinds };
        let mut statements = Vec::new();
        for change in &self.changes {
            render.change(change, &mut statements).map_err(|problem| {
                DataError::configuration(format!("migration {} (`{}`): {problem}", self.number, self.name))
            })?;
        }
        Ok(statements)
    }
}

struct Render<'a> {
    dialect: Dialect,
    whose: Whose<'a>,
    kinds: &'a BTreeMap<String, Kind>,
}

type Rendered<T = ()> = std::result::Result<T, String>;

impl Render<'_> {
    fn change(&self, change: &Change, statements: &mut Vec<String>) -> Rendered {
        match change {
            Change::Create(table) => self.create(table, statements)?,
            Change::AddColumn { table, column } => {
                let kind = self.kind(table)?;
                self.check_column(&column.get_column_name())?;
                let spec = column.get_column_spec();
                if spec.primary_key || spec.unique || spec.auto_increment {
                    return Err(format!(
                        "column `{}` is added with a key: add the plain column, and then a `unique` index",
                        column.get_column_name()
                    ));
                }
                statements
                    .push(self.text(&*Table::alter().table(alias(table)).add_column((**column).clone())));
                if kind == Kind::Tenant {
                    self.writable(table, &[column.get_column_name()], statements);
                }
            }
            Change::DropColumn { table, column } => {
                self.kind(table)?;
                self.check_column(column)?;
                statements.push(self.text(&*Table::alter().table(alias(table)).drop_column(alias(column))));
            }
            Change::Index { table, columns, unique } => statements.push(self.index(table, columns, *unique)?),
            Change::DropIndex { table, columns, unique } => {
                let name = index_name(table, columns, *unique);
                statements.push(self.text(&*Index::drop().name(name)));
            }
            Change::DropTable { table } => {
                check_table(table, None).map_err(|error| error.to_string())?;
                statements.push(self.text(&*Table::drop().table(alias(table))));
            }
            Change::Fill(rows) => {
                let text = match self.dialect {
                    Dialect::Postgres => rows.to_string(PostgresQueryBuilder),
                    Dialect::Sqlite => rows.to_string(SqliteQueryBuilder),
                };
                statements.push(text);
            }
        }
        Ok(())
    }

    fn kind(&self, table: &str) -> Rendered<Kind> {
        self.kinds.get(table).copied().ok_or_else(|| {
            format!("table `{table}` is not declared: declare it with `.tenant(…)` or `.reference(…)`")
        })
    }

    fn check_column(&self, column: &str) -> Rendered {
        check_name("column", column).map_err(|error| error.to_string())?;
        if column.eq_ignore_ascii_case(TENANT_ID) {
            return Err(format!(
                "column `{column}` is added to every tenant table, and cannot be written or changed by hand"
            ));
        }
        Ok(())
    }

    fn create(&self, written: &TableCreateStatement, statements: &mut Vec<String>) -> Rendered {
        let name = written
            .get_table_name()
            .and_then(plain_name)
            .ok_or("a table is created with a schema: leave it out; where a tenant's tables are is decided by its placement")?;
        let kind = self.kind(&name)?;
        let tenant = kind == Kind::Tenant;
        if let Some(extra) = written.get_extra() {
            return Err(format!(
                "table `{name}` has `{}` at its end, which cannot be checked: leave it out",
                extra.escape_debug()
            ));
        }
        let mut primary: Vec<String> = Vec::new();
        let mut unique: Vec<Vec<String>> = Vec::new();
        let mut plain: Vec<Vec<String>> = Vec::new();
        for index in written.get_indexes() {
            let columns = self.index_columns(index)?;
            match (index.is_primary_key(), index.is_unique_key()) {
                (true, _) => primary = columns,
                (false, true) => unique.push(columns),
                (false, false) => plain.push(columns),
            }
        }
        let mut table = Table::create();
        table.table(alias(&name));
        if tenant {
            table.col(self.tenant_column());
        }
        let mut counts_up = false;
        for column in written.get_columns() {
            let column_name = column.get_column_name();
            self.check_column(&column_name)?;
            let spec = column.get_column_spec();
            if let Some(extra) = &spec.extra {
                return Err(format!(
                    "column `{column_name}` has `{}`, which cannot be checked: leave it out",
                    extra.escape_debug()
                ));
            }
            if spec.primary_key {
                primary.push(column_name.clone());
            }
            if spec.unique {
                unique.push(vec![column_name.clone()]);
            }
            let stands_alone = spec.auto_increment && self.dialect == Dialect::Sqlite;
            counts_up |= stands_alone;
            table.col(keyless(column, stands_alone || (!tenant && spec.primary_key && spec.auto_increment)));
        }
        if primary.is_empty() {
            return Err(format!("table `{name}` has no primary key: give it one"));
        }
        if counts_up && primary.len() > 1 {
            return Err(format!(
                "table `{name}` has a column that counts up within a longer key, which SQLite does not have: let it be the whole key, or fill it \
                 in yourself"
            ));
        }
        let lone_counter =
            !tenant && written.get_columns().iter().any(|column| column.get_column_spec().auto_increment);
        if counts_up {
            if tenant {
                unique.push(primary);
            }
        } else if !lone_counter {
            let mut key = Index::create();
            key.primary();
            for column in self.led(tenant, &primary) {
                key.col(alias(&column));
            }
            table.primary_key(&mut key);
        }
        for columns in &unique {
            let mut key = Index::create();
            key.unique();
            if self.dialect == Dialect::Postgres {
                key.name(index_name(&name, columns, true));
            }
            for column in self.led(tenant, columns) {
                key.col(alias(&column));
            }
            table.index(&mut key);
        }
        for foreign in written.get_foreign_key_create_stmts() {
            table.foreign_key(&mut self.foreign_key(&name, tenant, foreign)?);
        }
        statements.push(self.text(&table));
        let columns: Vec<_> = written.get_columns().iter().map(ColumnDef::get_column_name).collect();
        self.security(&name, kind, &columns, statements);
        for columns in &plain {
            statements.push(self.index(&name, columns, false)?);
        }
        Ok(())
    }

    /// The column that the database fills in.
    fn tenant_column(&self) -> ColumnDef {
        let mut column = ColumnDef::new(alias(TENANT_ID));
        match self.dialect {
            Dialect::Postgres => column.uuid(),
            Dialect::Sqlite => column.custom(alias("blob")),
        };
        let default = match (self.whose, self.dialect) {
            (Whose::Shared, _) => "nullif(current_setting('cloacina.tenant', true), '')::uuid".to_owned(),
            (Whose::Tenant(tenant) | Whose::Login { tenant, .. }, Dialect::Postgres) => {
                format!("'{tenant}'::uuid")
            }
            (Whose::Tenant(tenant) | Whose::Login { tenant, .. }, Dialect::Sqlite) => {
                format!("x'{}'", tenant.simple())
            }
        };
        column.not_null().default(Expr::cust(default)).take()
    }

    /// What lets others than its owner work with a table, and keeps the tenants of a shared one apart.
    fn security(&self, table: &str, kind: Kind, columns: &[String], statements: &mut Vec<String>) {
        let Some(user) = self.whose.user() else { return };
        if kind == Kind::Reference {
            statements.push(format!("GRANT SELECT ON \"{table}\" TO {user}"));
            if matches!(self.whose, Whose::Shared) {
                statements.push(format!("GRANT SELECT ON \"{table}\" TO cloacina_reader"));
            }
            return;
        }
        if matches!(self.whose, Whose::Shared) {
            let entered = "tenant_id = (SELECT cloacina.entered())";
            let reading = "tenant_id = (SELECT cloacina.reading())";
            statements.extend([
                format!("ALTER TABLE \"{table}\" ENABLE ROW LEVEL SECURITY"),
                format!("ALTER TABLE \"{table}\" FORCE ROW LEVEL SECURITY"),
                format!(
                    "CREATE POLICY operator ON \"{table}\" TO cloacina_owner USING (true) WITH CHECK (true)"
                ),
                format!(
                    "CREATE POLICY tenant ON \"{table}\" TO {user} USING ({entered}) WITH CHECK ({entered})"
                ),
                format!(
                    "CREATE POLICY reader ON \"{table}\" FOR SELECT TO cloacina_reader USING ({reading})"
                ),
                format!("GRANT SELECT ON \"{table}\" TO cloacina_reader"),
            ]);
        }
        statements.push(format!("GRANT SELECT, DELETE ON \"{table}\" TO {user}"));
        self.writable(table, columns, statements);
    }

    /// Every column but the tenant's may be written.
    fn writable(&self, table: &str, columns: &[String], statements: &mut Vec<String>) {
        let Some(user) = self.whose.user() else { return };
        let columns: Vec<_> = columns.iter().map(|column| format!("\"{column}\"")).collect();
        let columns = columns.join(", ");
        statements.push(format!("GRANT INSERT ({columns}), UPDATE ({columns}) ON \"{table}\" TO {user}"));
    }

    fn led(&self, tenant: bool, columns: &[String]) -> Vec<String> {
        let head = tenant.then(|| TENANT_ID.to_owned());
        head.into_iter().chain(columns.iter().cloned()).collect()
    }

    fn index_columns(&self, index: &IndexCreateStatement) -> Rendered<Vec<String>> {
        let columns = index.get_index_spec().get_column_names();
        if columns.is_empty() {
            return Err("an index over an expression cannot be led by the tenant; index columns".to_owned());
        }
        columns.iter().try_for_each(|column| self.check_column(column))?;
        Ok(columns)
    }

    fn index(&self, table: &str, columns: &[String], unique: bool) -> Rendered<String> {
        let tenant = self.kind(table)? == Kind::Tenant;
        if columns.is_empty() {
            return Err(format!("an index on `{table}` has no columns: name at least one"));
        }
        columns.iter().try_for_each(|column| self.check_column(column))?;
        let mut index = Index::create();
        index.name(index_name(table, columns, unique)).table(alias(table));
        if unique {
            index.unique();
        }
        for column in self.led(tenant, columns) {
            index.col(alias(&column));
        }
        Ok(self.text(&index))
    }

    fn foreign_key(
        &self,
        table: &str,
        tenant: bool,
        written: &ForeignKeyCreateStatement,
    ) -> Rendered<ForeignKeyCreateStatement> {
        let spec = written.get_foreign_key();
        let target = spec.get_ref_table().and_then(plain_name).ok_or_else(|| {
            format!("a foreign key of `{table}` refers to a table with a schema: leave the schema out")
        })?;
        let to_tenant = self.kind(&target)? == Kind::Tenant;
        if to_tenant && !tenant {
            return Err(format!(
                "reference table `{table}` refers to rows of tenants, in `{target}`: leave the foreign key out, or declare the table with `.tenant(…)`"
            ));
        }
        for action in [spec.get_on_delete(), spec.get_on_update()].into_iter().flatten() {
            if to_tenant && matches!(action, ForeignKeyAction::SetNull | ForeignKeyAction::SetDefault) {
                return Err(format!(
                    "the foreign key of `{table}` to `{target}` sets its columns to null or their default, and with them whose the row is: use \
                     CASCADE, RESTRICT or NO ACTION"
                ));
            }
        }
        let mut key = ForeignKey::create();
        key.from_tbl(alias(table)).to_tbl(alias(&target));
        for column in self.led(to_tenant, &spec.get_columns()) {
            key.from_col(alias(&column));
        }
        for column in self.led(to_tenant, &spec.get_ref_columns()) {
            key.to_col(alias(&column));
        }
        if let Some(action) = spec.get_on_delete() {
            key.on_delete(action);
        }
        if let Some(action) = spec.get_on_update() {
            key.on_update(action);
        }
        Ok(key)
    }

    fn text(&self, statement: &impl SchemaStatementBuilder) -> String {
        match self.dialect {
            Dialect::Postgres => statement.to_string(PostgresQueryBuilder),
            Dialect::Sqlite => statement.to_string(SqliteQueryBuilder),
        }
    }
}

/// The column without what belongs to keys, which are made of the whole table; with its own key if it is to
/// keep that.
fn keyless(written: &ColumnDef, keeps_key: bool) -> ColumnDef {
    let spec = written.get_column_spec();
    let mut column = ColumnDef::new_with_type(
        alias(&written.get_column_name()),
        written.get_column_type().cloned().unwrap_or(sea_orm::sea_query::ColumnType::Text),
    );
    if spec.nullable == Some(true) && !spec.primary_key {
        column.null();
    } else if spec.nullable == Some(false) || spec.primary_key {
        column.not_null();
    }
    if let Some(default) = &spec.default {
        column.default(default.clone());
    }
    if let Some(check) = &spec.check {
        column.check(check.clone());
    }
    if let Some(generated) = &spec.generated {
        column.generated(generated.expr.clone(), generated.stored);
    }
    if spec.auto_increment {
        column.auto_increment();
    }
    if keeps_key {
        column.primary_key();
    }
    column
}

fn index_name(table: &str, columns: &[String], unique: bool) -> String {
    let mut name = format!("{table}_{}_{}", columns.join("_"), if unique { "key" } else { "idx" });
    if name.len() > 63 {
        // What PostgreSQL would cut, it would cut to the same name for two of them.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        name.truncate(46);
        name.push_str(&format!("_{hash:016x}"));
    }
    name
}

fn alias(name: &str) -> Alias {
    Alias::new(name)
}

/// The name of a table that is named without a schema.
fn plain_name(table: &TableRef) -> Option<String> {
    match table {
        TableRef::Table(TableName(None, name), None) => Some(name.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_that_count_up_are_known() {
        let id = |name: &str| ColumnDef::new(alias(name)).integer().not_null().primary_key().to_owned();
        let migration = Migration::new(1, "tables")
            .create(Table::create().table("member").col(id("id").auto_increment()).to_owned())
            .create(Table::create().table("letter").col(id("number")).to_owned());
        assert_eq!(migration.counters(), [("member".to_owned(), "id".to_owned())]);
    }
}
