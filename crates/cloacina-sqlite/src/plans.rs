//! Whether SQLite finds rows the way the statements mean it to.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

use crate::migrate::{MIGRATIONS, migrate};

#[test]
fn no_statement_reads_a_whole_table() {
    let connection = Connection::open_in_memory().unwrap();
    migrate(&connection, ":memory:", MIGRATIONS, 0).unwrap();
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("sql")).unwrap() {
        let path = file.unwrap().path();
        // It counts all executions of a tenant, which is said where it is offered.
        if path.ends_with("place_figures.sql") {
            continue;
        }
        let sql = fs::read_to_string(&path).unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let step: String = row.get(3).unwrap();
            let path = path.display();
            // By no more than the tenant would be the whole file.
            assert!(!step.ends_with("(tenant_id=?)"), "{path}: {step}");
            for table in ["workflow_executions", "task_executions", "ready_tasks", "task_attempts"] {
                assert!(!step.contains(&format!("SCAN {table}")), "{path}: {step}");
            }
        }
    }
}
