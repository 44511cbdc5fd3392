//! What the statements cost: how they are planned, and how many there are.

use std::fs;
use std::path::Path;

use crate::support::{Handle, completed, new_execution};

const SETTINGS: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; \
    SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan";

/// The plan of a statement as it is kept when it is made on tables that hold a row or two.
async fn plan(t: &Handle, name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("sql/{name}.sql"));
    let text = fs::read_to_string(path).unwrap();
    let name = &name.replace('/', "_");
    t.beside.batch_execute(&format!("PREPARE {name} AS {text}")).await.unwrap();
    let count = "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = $1";
    let count: i32 = t.beside.query_one(count, &[&name]).await.unwrap().get(0);
    let nulls = vec!["NULL"; count.unsigned_abs() as usize].join(", ");
    let lines = t.beside.simple_query(&format!("EXPLAIN EXECUTE {name} ({nulls})")).await.unwrap();
    let lines = lines.iter().filter_map(|line| match line {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_statements_of_a_flush_walk_indexes_by_their_keys_even_if_planned_on_empty_tables() {
    let t = Handle::new().await;
    let execution = t.submit(new_execution(&[0, 1], &[0])).await;
    t.flush(vec![], vec![completed(execution, 0, &[(1, false)])], 0).await;
    t.beside.batch_execute(&format!("ANALYZE; {SETTINGS}")).await.unwrap();
    for name in [
        "execution_insert",
        "task_insert",
        "deadline_insert",
        "execution_lock",
        "task_record",
        "task_end",
        "execution_close",
        "task_claim",
        "bell_ring",
        "many/bell_lock",
        "many/bell_due_next",
        "many/bell_lower",
    ] {
        let plan = plan(&t, name).await;
        for wrong in ["Seq Scan", "Hash Join", "Merge Join", "Bitmap"] {
            assert!(!plan.contains(wrong), "{name}: {plan}");
        }
        let lines: Vec<_> = plan.lines().collect();
        for (line, next) in lines.iter().zip(&lines[1..]) {
            // Everything but the tenant alone.
            let key = if line.contains("workflow_executions_pkey") {
                "(id = "
            } else if line.contains("task_executions_pkey") {
                "(execution_id = "
            } else if line.contains("ready_tasks_pkey") {
                "(priority = "
            } else {
                continue;
            };
            assert!(next.contains("Index Cond") && next.contains(key), "{name}: {plan}");
        }
    }
}
