//! What is admitted is run, on SQLite: with another tenant's rows beside its own, a tenant sees and changes
//! what it would alone.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rusqlite::functions::FunctionFlags;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, params_from_iter};
use sqlparser::ast::{Expr, FromTable, Statement, TableFactor, TableWithJoins, visit_relations};
use sqlparser::ast::{Query, Visit, Visitor};

use super::*;
use crate::gate::text;

/// The tables for tenants. Their rows get the tenant from a function, as PostgreSQL's from the transaction.
const SHARED: &str = "
    CREATE TABLE cake (tenant_id TEXT NOT NULL DEFAULT (tenant()), id INTEGER NOT NULL, shop TEXT, name TEXT, price INTEGER,
        parent INTEGER, sold INTEGER, PRIMARY KEY (tenant_id, id), UNIQUE (tenant_id, shop, name));
    CREATE TABLE fruit (tenant_id TEXT NOT NULL DEFAULT (tenant()), id INTEGER NOT NULL, name TEXT, cake_id INTEGER, ripe INTEGER,
        price INTEGER, PRIMARY KEY (tenant_id, id));
    CREATE TABLE filling (tenant_id TEXT NOT NULL DEFAULT (tenant()), id INTEGER NOT NULL, name TEXT, price INTEGER,
        PRIMARY KEY (tenant_id, id));
    CREATE TABLE country (code INTEGER PRIMARY KEY, name TEXT, size INTEGER);
    CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);
";

/// The same tables for one who is alone, without a column for it.
const ALONE: &str = "
    CREATE TABLE cake (id INTEGER NOT NULL, shop TEXT, name TEXT, price INTEGER, parent INTEGER, sold INTEGER, PRIMARY KEY (id),
        UNIQUE (shop, name));
    CREATE TABLE fruit (id INTEGER NOT NULL, name TEXT, cake_id INTEGER, ripe INTEGER, price INTEGER, PRIMARY KEY (id));
    CREATE TABLE filling (id INTEGER NOT NULL, name TEXT, price INTEGER, PRIMARY KEY (id));
    CREATE TABLE country (code INTEGER PRIMARY KEY, name TEXT, size INTEGER);
";

/// A tenant's rows: the same ids and names for each, other prices.
fn rows(base: i64) -> String {
    let price = |n: i64| base + n * n % 11;
    let mut sql = String::new();
    for id in 1..=7 {
        let (shop, name) = (["north", "south"][id % 2], ["apple", "plum", "pear", "cherry"][id / 2]);
        let id = i64::try_from(id).unwrap();
        let parent = if id == 1 { "NULL".to_owned() } else { (id / 2).to_string() };
        sql += &format!(
            "INSERT INTO cake (id, shop, name, price, parent, sold) VALUES ({id}, '{shop}', '{name}', {}, {parent}, {});",
            price(id),
            if id % 3 == 0 { "NULL".to_owned() } else { id.to_string() },
        );
    }
    for id in 1..=6 {
        sql += &format!(
            "INSERT INTO fruit (id, name, cake_id, ripe, price) VALUES ({id}, '{}', {}, {}, {});",
            ["plum", "apple", "north"][usize::try_from(id % 3).unwrap()],
            id % 4 + 1,
            id % 2,
            price(id + 3),
        );
    }
    for id in 2..=5 {
        sql += &format!(
            "INSERT INTO filling (id, name, price) VALUES ({id}, 'filling {}', {});",
            id % 3,
            price(id + 5)
        );
    }
    sql
}

const COUNTRIES: &str =
    "INSERT INTO country (code, name, size) VALUES (1, 'north', 10), (2, 'south', 7), (3, 'apple', NULL);
    ";

/// Three places: all tenants' rows, the tenant's alone in the same tables, and alone in tables without
/// tenants.
pub(super) struct Places {
    gate: Gate,
    both: Connection,
    own: Connection,
    alone: Connection,
    /// Of the other tenant, which no statement may change.
    others: Vec<String>,
}

/// Rows in no order, or that there was an error.
type Outcome = Result<Vec<String>, Option<ErrorCode>>;

/// How long a statement may run, in thousands of SQLite's instructions.
const PATIENCE: usize = 500;

impl Places {
    pub(super) fn new() -> Self {
        let shared = |tenants: &[(&'static str, i64)]| {
            let place = Connection::open_in_memory().unwrap();
            let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
            place.create_scalar_function("tenant", 0, flags, |_| Ok("b")).unwrap();
            place.execute_batch(SHARED).unwrap();
            place.execute_batch(COUNTRIES).unwrap();
            place.execute_batch("INSERT INTO users (id, name) VALUES (1, 'root')").unwrap();
            for (tenant, base) in tenants {
                let name = *tenant;
                place.create_scalar_function("tenant", 0, flags, move |_| Ok(name)).unwrap();
                place.execute_batch(&rows(*base)).unwrap();
            }
            place
        };
        let alone = Connection::open_in_memory().unwrap();
        alone.execute_batch(ALONE).unwrap();
        alone.execute_batch(COUNTRIES).unwrap();
        alone.execute_batch(&rows(1)).unwrap();
        // The last one's name is what the column's default gives from now on.
        let both = shared(&[("b", 1000), ("a", 1)]);
        both.authorizer(Some(only_declared)).unwrap();
        let others = content(&both, "WHERE tenant_id = 'b'");
        assert!(others.len() > 10);
        Self { gate: gate(Dialect::Sqlite), both, own: shared(&[("a", 1)]), alone, others }
    }

    /// How many values a statement takes, if the gate admits it.
    pub(super) fn parameters(&self, sql: &str) -> Option<usize> {
        self.gate.admit(sql).ok().map(|admitted| admitted.parameters)
    }

    /// Runs a statement of tenant `a` if the gate admits it, checks all that must hold, and undoes it.
    /// Returns whether it was admitted, and whether it ran without an error.
    pub(super) fn check(&self, sql: &str, values: &[Value], comparable: Comparable) -> Result<bool, Refusal> {
        let admitted = self.gate.admit(sql)?;
        is_scoped(Dialect::Sqlite, &admitted);
        let tenant = admitted.tenant_parameter.then(|| Value::Text("a".to_owned()));
        let values: Vec<Value> = values.iter().cloned().chain(tenant).collect();
        let places = [&self.both, &self.own, &self.alone];
        places.iter().for_each(|place| place.execute_batch("SAVEPOINT before").unwrap());

        let found = run(&self.both, &admitted.sql, &values);
        assert_ne!(found, Err(Some(ErrorCode::AuthorizationForStatementDenied)), "{sql}\n{}", admitted.sql);
        assert_eq!(
            content(&self.both, "WHERE tenant_id = 'b'"),
            self.others,
            "{sql} changes the other tenant's rows"
        );
        assert_eq!(content(&self.both, "WHERE tenant_id NOT IN ('a', 'b')"), Vec::<String>::new(), "{sql}");
        if comparable != Comparable::Nothing {
            let own = run(&self.own, &admitted.sql, &values);
            if !took_too_long(&found) && !took_too_long(&own) {
                assert_eq!(found, own, "{sql}\n{}", admitted.sql);
                assert_eq!(content(&self.both, "WHERE tenant_id = 'a'"), content(&self.own, ""), "{sql}");
            }
        }
        if comparable == Comparable::Original {
            // What came in, and not what the gate made of it.
            let alone = run(&self.alone, sql, &values[..admitted.parameters]);
            if !took_too_long(&found) && !took_too_long(&alone) {
                assert_eq!(found, alone, "{sql}\n{}", admitted.sql);
                assert_eq!(content(&self.both, "WHERE tenant_id = 'a'"), content(&self.alone, ""), "{sql}");
            }
        }
        for place in places {
            // SQLite has already undone it all when a writing statement took too long.
            if !place.is_autocommit() {
                place.execute_batch("ROLLBACK TO before; RELEASE before").unwrap();
            }
        }
        Ok(found.is_ok())
    }
}

/// What a statement's result may be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparable {
    /// The original, run without other tenants and without their column.
    Original,
    /// The rewritten one, run without other tenants.
    Rewritten,
    /// Its result depends on the order of rows.
    Nothing,
}

fn run(place: &Connection, sql: &str, values: &[Value]) -> Outcome {
    let mut statement = place.prepare(sql).map_err(|error| kind(&error))?;
    let mut instructions = 0;
    let patience = move || {
        instructions += 1;
        instructions > PATIENCE
    };
    place.progress_handler(1_000, Some(patience)).unwrap();
    let columns = statement.column_count();
    let mut rows = statement.query(params_from_iter(values)).map_err(|error| kind(&error))?;
    let mut found = vec![];
    while let Some(row) = rows.next().map_err(|error| kind(&error))? {
        let row: Vec<Value> = (0..columns).map(|n| row.get(n).unwrap()).collect();
        found.push(format!("{row:?}"));
    }
    found.sort();
    Ok(found)
}

fn took_too_long(outcome: &Outcome) -> bool {
    *outcome == Err(Some(ErrorCode::OperationInterrupted))
}

/// The message has names that differ by place.
fn kind(error: &rusqlite::Error) -> Option<ErrorCode> {
    error.sqlite_error_code()
}

/// Lets statements read declared tables (and what the statement itself names), and write all of these but the
/// reference table.
fn only_declared(context: AuthContext<'_>) -> Authorization {
    let declared = |table: &str| matches!(table, "cake" | "fruit" | "filling" | "country");
    match context.action {
        AuthAction::Read { table_name, .. } if table_name == "users" || table_name.starts_with("sqlite_") => {
            Authorization::Deny
        }
        AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name }
            if !declared(table_name) || table_name == "country" =>
        {
            Authorization::Deny
        }
        AuthAction::Update { column_name: "tenant_id", .. } => Authorization::Deny,
        AuthAction::Select
        | AuthAction::Read { .. }
        | AuthAction::Insert { .. }
        | AuthAction::Update { .. }
        | AuthAction::Delete { .. }
        | AuthAction::Function { .. }
        | AuthAction::Recursive
        | AuthAction::Savepoint { .. } => Authorization::Allow,
        _ => Authorization::Deny,
    }
}

/// All rows of the tenants' tables, without the tenant.
fn content(place: &Connection, condition: &str) -> Vec<String> {
    let columns = BTreeMap::from([
        ("cake", "id, shop, name, price, parent, sold"),
        ("fruit", "id, name, cake_id, ripe, price"),
        ("filling", "id, name, price"),
    ]);
    columns
        .iter()
        .flat_map(|(table, columns)| {
            run(place, &format!("SELECT '{table}', {columns} FROM {table} {condition}"), &[]).unwrap()
        })
        .collect()
}

/// Finds by other means than the gate that each tenant's table stands beside the tenant's id.
pub(super) fn is_scoped(dialect: Dialect, admitted: &Admitted) {
    let statement = text::parse(dialect, &admitted.sql).unwrap();
    // What is sent is what was looked at.
    assert_eq!(statement.to_string(), admitted.sql);

    let sign = if dialect == Dialect::Postgres { '$' } else { '?' };
    let tenant = format!("{sign}{}", admitted.parameters + 1);
    let mut tables = BTreeMap::<String, usize>::new();
    let _: ControlFlow<()> = visit_relations(&statement, |relation| {
        *tables.entry(relation.to_string().trim_matches(['"', '`']).to_owned()).or_default() += 1;
        ControlFlow::Continue(())
    });
    let mut scopes = Scopes { tenant: tenant.clone(), found: BTreeMap::new() };
    let _ = statement.visit(&mut scopes);
    if let Some(target) = target(&statement, &tenant) {
        *scopes.found.entry(target).or_default() += 1;
    }
    for (table, times) in tables {
        match table.as_str() {
            "cake" | "fruit" | "filling" | "cake_filling" | "status" | "Order" => {
                assert_eq!(scopes.found.get(&table), Some(&times), "{table} in {}", admitted.sql);
                assert!(admitted.tables.contains(&table));
            }
            "country" => assert!(admitted.tables.contains(&table)),
            function if admitted.sql.contains(&format!("{function}(")) => {}
            name => assert!(
                admitted.sql.contains(name) && admitted.sql.contains("WITH "),
                "{name} in {}",
                admitted.sql
            ),
        }
    }
}

/// Counts the derived tables that are a tenant's part of a table.
struct Scopes {
    tenant: String,
    found: BTreeMap<String, usize>,
}

impl Visitor for Scopes {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for table in ["cake", "fruit", "filling", "cake_filling", "status", "Order"] {
            let scoped = format!(r#"SELECT * FROM "{table}" WHERE "{table}"."tenant_id" = {}"#, self.tenant);
            if query.to_string() == scoped {
                *self.found.entry(table.to_owned()).or_default() += 1;
            }
        }
        ControlFlow::Continue(())
    }
}

/// The table a statement writes to, after checking that UPDATE and DELETE begin with the tenant's rows.
fn target(statement: &Statement, tenant: &str) -> Option<String> {
    let begins = |table: &TableWithJoins, selection: &Option<Expr>| {
        let TableFactor::Table { name, alias, .. } = &table.relation else { panic!("{statement}") };
        let called = alias.as_ref().map_or(name.to_string(), |alias| alias.name.to_string());
        let called = called.trim_matches(['"', '`']);
        let condition = selection.as_ref().unwrap().to_string();
        let scope = format!(r#"("{called}"."tenant_id" = {tenant})"#);
        assert!(condition == scope || condition.starts_with(&format!("{scope} AND (")), "{statement}");
        Some(name.to_string().trim_matches(['"', '`']).to_owned())
    };
    match statement {
        Statement::Insert(insert) => Some(insert.table.to_string().trim_matches(['"', '`']).to_owned()),
        Statement::Update(update) => begins(&update.table, &update.selection),
        Statement::Delete(delete) => {
            let FromTable::WithFromKeyword(tables) = &delete.from else { panic!("{statement}") };
            begins(&tables[0], &delete.selection)
        }
        Statement::Query(query) => match query.body.as_ref() {
            sqlparser::ast::SetExpr::Insert(inner)
            | sqlparser::ast::SetExpr::Update(inner)
            | sqlparser::ast::SetExpr::Delete(inner) => target(inner, tenant),
            _ => None,
        },
        _ => None,
    }
}

/// How many statements a test makes; `CLOACINA_CASES` asks for more.
pub(super) fn cases(usual: u64) -> u64 {
    std::env::var("CLOACINA_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}

#[test]
fn a_tenant_among_others_sees_what_it_would_see_alone() {
    let places = Places::new();
    let total = cases(2_000);
    let (mut ran, mut failed) = (0, 0);
    for seed in 0..total {
        let statements::Random { sql, values, all_columns } = statements::random(seed);
        let comparable = if all_columns { Comparable::Rewritten } else { Comparable::Original };
        match places.check(&sql, &values, comparable) {
            Ok(true) => ran += 1,
            Ok(false) => failed += 1,
            Err(refusal) => panic!("seed {seed}: {sql}\n{refusal}"),
        }
    }
    println!("{ran} ran, {failed} failed");
    assert!(failed * 5 < total, "too many of the statements are errors: {failed} of {total}");
}
