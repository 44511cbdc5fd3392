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
        // One counts the executions of a tenant, up to a number; one stops at the first row.
        if path.ends_with("place_figures.sql") || path.ends_with("place_holds.sql") {
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
            for table in [
                "workflow_executions",
                "task_executions",
                "ready_tasks",
                "due_rows",
                "schedules",
                "schedule_fires",
                "task_attempts",
            ] {
                assert!(!step.contains(&format!("SCAN {table}")), "{path}: {step}");
            }
        }
    }
}

/// How many steps of SQLite's machine a statement takes.
fn steps(connection: &Connection, name: &str, values: &[&dyn rusqlite::ToSql]) -> i32 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("sql/{name}.sql"));
    let mut statement = connection.prepare(&fs::read_to_string(path).unwrap()).unwrap();
    let mut rows = statement.query(values).unwrap();
    while rows.next().unwrap().is_some() {}
    drop(rows);
    statement.get_status(rusqlite::StatementStatus::VmStep)
}

#[test]
fn what_runs_or_is_listed_is_found_without_what_waits_or_is_over() {
    let connection = Connection::open_in_memory().unwrap();
    migrate(&connection, ":memory:", MIGRATIONS, 0).unwrap();
    let (tenant, runner) = (uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(10));
    connection
        .execute(
            "INSERT INTO workflow_executions (tenant_id, id, workflow, fingerprint, state, priority, created_at, started_at, finished_at, input)
             WITH RECURSIVE planted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM planted WHERE n < 40100)
             SELECT ?1, unhex(format('%032x', n)), 'workflow_' || (n % 10), 1,
                    CASE WHEN n <= 10 THEN 'failed' WHEN n <= 20000 THEN 'completed' WHEN n <= 20100 THEN 'running' ELSE 'pending' END,
                    4, n, iif(n <= 20100, n, NULL), iif(n <= 20000, n, NULL), '{}'
             FROM planted",
            [tenant],
        )
        .unwrap();
    connection
        .execute(
            "INSERT INTO task_executions (tenant_id, execution_id, task, name, state, waiting_on, attempt, runner_id, due_at, started_at, finished_at)
             SELECT tenant_id, id, 0, 't', iif(state = 'pending', 'ready', state), 0, 1, ?1, created_at, created_at, finished_at
             FROM workflow_executions",
            [runner],
        )
        .unwrap();
    let newest = uuid::Uuid::max();
    for (name, values) in [
        ("task_held", &[&tenant as &dyn rusqlite::ToSql, &runner][..]),
        ("runner_unknown", &[&tenant]),
        ("execution_stuck", &[&tenant, &1000]),
        ("execution_has_orphans", &[&tenant, &"orphaned"]),
        ("execution_orphaned", &[&tenant, &"orphaned", &"[[\"workflow_1\", 1]]", &1000]),
        ("execution_list", &[&tenant, &newest, &100, &"cloacina/bulk"]),
        ("execution_list_part", &[&tenant, &"failed", &"workflow_3", &newest, &100, &None::<bool>]),
        ("execution_list_workflow", &[&tenant, &"failed", &"workflow_3"]),
        ("prune_pick", &[&tenant, &0, &1000, &"completed"]),
        ("prune_oldest", &[&tenant, &"failed"]),
    ] {
        let steps = steps(&connection, name, values);
        assert!(steps < 10_000, "{name}: {steps}");
    }
}
