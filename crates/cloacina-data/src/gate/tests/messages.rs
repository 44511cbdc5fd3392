//! What is said of statements that people get wrong, as they read it: `messages.txt`.
//!
//! Read each line aloud once before you change the file: it has a verb, it names the tenant and what is
//! wrong, and it says what to do.

use std::fmt::Write as _;

use super::*;
use crate::DataError;

const WRONG: &[&str] = &[
    "",
    "SELEC id FROM cake",
    "SELECT id FRO cake WHERE",
    "SELECT FROM",
    "SELECT 1; SELECT 2",
    "SELECT id FROM cake -- all",
    "SELECT id FROM cak",
    "SELECT id FROM public.cake",
    "SELECT id FROM pg_class",
    "SELECT id FROM workflow_executions",
    "SELECT tenant_id FROM cake",
    "SELECT ctid FROM cake",
    "SELECT cake FROM cake",
    "SELECT cake.name.x FROM cake",
    "SELECT id FROM cake WHERE name = 'a\\b'",
    "SELECT id FROM cake WHERE name = :name",
    "SELECT pg_sleep(10)",
    "SELECT current_user",
    "SELECT CAST(id AS regclass) FROM cake",
    "SELECT id FROM cake FOR UPDATE OF country",
    "SELECT id FROM cake a, fruit a",
    "WITH cake AS (SELECT 1 AS id) SELECT id FROM cake",
    "INSERT INTO cake VALUES (1, 'tart')",
    "INSERT INTO cake (id, tenant_id) VALUES (1, 'x')",
    "INSERT INTO country (id) VALUES (1)",
    "INSERT INTO cake (id) VALUES (1) ON CONFLICT ON CONSTRAINT cake_pkey DO NOTHING",
    "UPDATE cake SET tenant_id = 'x'",
    "UPDATE country SET name = 'x'",
    "DELETE cake",
    "CREATE TABLE x (id integer)",
    "BEGIN",
    "SET search_path TO globex",
];

#[test]
fn wrong_statements_are_refused_in_words_that_help() {
    let mut text = String::new();
    for sql in WRONG {
        let [postgres, sqlite] = [Dialect::Postgres, Dialect::Sqlite].map(|dialect| {
            let refused = gate(dialect).admit(sql).err();
            refused
                .map_or("it is sent".to_owned(), |refusal| DataError::refused("acme", &refusal).to_string())
        });
        writeln!(text, "{sql}\n    {postgres}").unwrap();
        if sqlite != postgres {
            writeln!(text, "    on SQLite: {sqlite}").unwrap();
        }
        text.push('\n');
    }
    expect("messages.txt", &text);
}
