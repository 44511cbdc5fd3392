//! Statements that were damaged at random: nothing panics, and what is admitted all the same is as good as
//! any.

use sqlparser::tokenizer::{Token, Tokenizer};

use super::isolation::{Comparable, Places, cases, is_scoped};
use super::*;

/// What is put into a statement.
const PIECES: &[&str] = &[
    "(",
    ")",
    "((",
    "))",
    ",",
    ".",
    ";",
    "'",
    "\"",
    "`",
    "[",
    "]",
    "{",
    "}",
    "*",
    "=",
    "<>",
    "||",
    "::",
    "->",
    "?",
    "$1",
    "$2",
    "?1",
    ":a",
    "@a",
    "--",
    "/*",
    "*/",
    "/*!",
    "$$",
    "$a$",
    "E'",
    "U&'",
    "U&\"",
    "N'",
    "X'",
    "B'",
    "\\",
    "\0",
    "\u{a0}",
    "\u{2028}",
    "ß",
    "'a'",
    "''",
    "''''",
    "\"\"",
    "0x1",
    "1e",
    "NULL",
    "TRUE",
    "DEFAULT",
    "SELECT",
    "FROM",
    "WHERE",
    "JOIN",
    "LEFT JOIN",
    "NATURAL JOIN",
    "CROSS JOIN",
    "ON",
    "USING (id)",
    "AS",
    "AS tenant_id",
    "GROUP BY",
    "ORDER BY",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "UNION",
    "UNION ALL",
    "EXCEPT",
    "INTERSECT",
    "VALUES",
    "WITH",
    "WITH RECURSIVE",
    "IN",
    "NOT",
    "NOT IN",
    "EXISTS",
    "BETWEEN",
    "LIKE",
    "ESCAPE",
    "IS",
    "AND",
    "OR",
    "OR 1 = 1",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "CAST(",
    "COLLATE",
    "OVER",
    "OVER (",
    "PARTITION BY",
    "FILTER (WHERE",
    "DISTINCT",
    "DISTINCT ON",
    "ALL",
    "ANY",
    "LATERAL",
    "ONLY",
    "TABLE",
    "TABLESAMPLE",
    "FOR UPDATE",
    "FOR SHARE OF",
    "SKIP LOCKED",
    "INSERT INTO",
    "UPDATE",
    "DELETE FROM",
    "SET",
    "RETURNING",
    "RETURNING *",
    "ON CONFLICT",
    "ON CONFLICT (id)",
    "DO NOTHING",
    "DO UPDATE SET",
    "INTO",
    "INDEXED BY",
    "NOT INDEXED",
    "OR REPLACE",
    "ONLY",
    "cake",
    "fruit",
    "filling",
    "country",
    "users",
    "sqlite_master",
    "pg_class",
    "main.",
    "main.cake",
    "public.",
    "excluded",
    "excluded.price",
    "tenant_id",
    "\"tenant_id\"",
    "cake.tenant_id",
    "rowid",
    "ctid",
    "id",
    "price",
    "name",
    "cake.",
    "cake.*",
    "t1",
    "t1.id",
    "w1",
    "a",
    "a.id",
    "x",
    "CAKE",
    "\"Cake\"",
    "lower(",
    "count(*)",
    "set_config('a', 'b')",
    "load_extension('x')",
    "nextval('x')",
    "pg_sleep(1)",
    "current_user",
    "::regclass",
    "(SELECT id FROM users)",
    "(SELECT * FROM cake)",
    "(SELECT price FROM cake LIMIT 1)",
    "EXPLAIN",
    "PRAGMA",
    "ATTACH",
    "DROP TABLE cake",
    "ROW(",
    "ARRAY[",
    "INTERVAL",
    "DATE '2020-01-01'",
    "AT TIME ZONE",
    "OPERATOR(pg_catalog.+)",
    "json_each(",
    "generate_series(1, 3)",
];

const LETTERS: &[char] = &[
    '\'', '"', '`', '$', '?', ';', '(', ')', '[', ']', '\\', '/', '*', '-', '_', '.', ',', ':', '@', '#',
    '%', '&', '|', '\0', '\n', '\t', ' ', '\u{a0}', 'é', 'x', 'E', '1',
];

/// The pieces that a text falls into.
fn pieces(dialect: Dialect, sql: &str) -> Vec<String> {
    match Tokenizer::new(dialect.parser(), sql).tokenize() {
        Ok(tokens) => tokens
            .iter()
            .filter(|token| !matches!(token, Token::Whitespace(_)))
            .map(ToString::to_string)
            .collect(),
        Err(_) => sql.split(' ').map(str::to_owned).collect(),
    }
}

fn damage(random: &mut fastrand::Rng, pieces: &mut Vec<String>, others: &[String]) {
    for _ in 0..random.usize(1..3) {
        let at = random.usize(..=pieces.len());
        let to = random.usize(..=pieces.len());
        let (from, until) = (at.min(to), at.max(to).min(at.min(to) + 6));
        match random.usize(..10) {
            0 | 1 if at < pieces.len() => {
                pieces.remove(at);
            }
            2 if at < pieces.len() && to < pieces.len() => pieces.swap(at, to),
            3 if at < pieces.len() => pieces[at] = PIECES[random.usize(..PIECES.len())].to_owned(),
            // A part of it a second time.
            4 => {
                let part = pieces[from..until].to_vec();
                pieces.splice(at..at, part);
            }
            5 => {
                pieces.drain(from..until);
            }
            // A part of another statement.
            6 if !others.is_empty() => {
                let from = random.usize(..others.len());
                let until = (from + random.usize(1..8)).min(others.len());
                pieces.splice(at..at, others[from..until].to_vec());
            }
            _ => pieces.insert(at, PIECES[random.usize(..PIECES.len())].to_owned()),
        }
    }
}

/// Cuts, doubles or changes single characters.
fn damage_letters(random: &mut fastrand::Rng, sql: &str) -> String {
    let mut letters: Vec<char> = sql.chars().collect();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..letters.len().max(1)).min(letters.len());
        match random.usize(..3) {
            0 if at < letters.len() => {
                letters.remove(at);
            }
            1 => letters.insert(at, LETTERS[random.usize(..LETTERS.len())]),
            _ if at < letters.len() => letters[at] = letters[at].to_ascii_uppercase(),
            _ => {}
        }
    }
    letters.into_iter().collect()
}

/// Statements to start from, for SQLite when `for_sqlite` is set.
fn sound(dialect: Dialect) -> Vec<String> {
    let mut sound: Vec<String> = match dialect {
        Dialect::Postgres => {
            accepted::POSTGRES.iter().chain(accepted::BOTH).map(ToString::to_string).collect()
        }
        Dialect::Sqlite => accepted::SQLITE
            .iter()
            .map(ToString::to_string)
            .chain(accepted::BOTH.iter().map(|sql| for_sqlite(sql)))
            .collect(),
    };
    if dialect == Dialect::Sqlite {
        sound.extend((0..200).map(|seed| statements::random(seed).sql).filter(|sql| sql.len() < 400));
    }
    sound
}

fn damaged(dialect: Dialect, total: u64, mut check: impl FnMut(&str)) {
    let sound = sound(dialect);
    for seed in 0..total {
        let mut random = fastrand::Rng::with_seed(seed);
        let one = &sound[random.usize(..sound.len())];
        let other = pieces(dialect, &sound[random.usize(..sound.len())]);
        let mut pieces = pieces(dialect, one);
        damage(&mut random, &mut pieces, &other);
        let glue = if random.u8(..10) == 0 { "" } else { " " };
        let mut sql = pieces.join(glue);
        if random.u8(..4) == 0 {
            sql = damage_letters(&mut random, &sql);
        }
        check(&sql);
    }
}

#[test]
fn damaged_statements_stay_within_the_tenant_on_sqlite() {
    let places = Places::new();
    let total = cases(6_000);
    let (mut admitted, mut ran) = (0, 0);
    damaged(Dialect::Sqlite, total, |sql| {
        let parameters = sql.matches('?').count();
        let values: Vec<_> =
            (0..parameters).map(|n| rusqlite::types::Value::Integer(i64::try_from(n).unwrap())).collect();
        let changing =
            ["random", "now", "current", "date"].iter().any(|word| sql.to_ascii_lowercase().contains(word));
        // A question mark in a text is none.
        let values = match places.parameters(sql) {
            Some(parameters) => &values[..parameters],
            None => &values,
        };
        let comparable = if changing { Comparable::Nothing } else { Comparable::Rewritten };
        if let Ok(worked) = places.check(sql, values, comparable) {
            admitted += 1;
            ran += u64::from(worked);
        }
    });
    println!("{admitted} of {total} admitted, {ran} ran");
    assert!(ran * 50 > total, "too few are admitted to show anything: {ran} of {total}");
}

#[test]
fn damaged_statements_stay_scoped_on_postgres() {
    let gate = gate(Dialect::Postgres);
    let total = cases(6_000);
    let mut admitted = 0;
    damaged(Dialect::Postgres, total, |sql| {
        if let Ok(found) = gate.admit(sql) {
            is_scoped(Dialect::Postgres, &found);
            admitted += 1;
        }
    });
    println!("{admitted} of {total} admitted");
    assert!(admitted * 50 > total, "too few are admitted to show anything: {admitted} of {total}");
}
