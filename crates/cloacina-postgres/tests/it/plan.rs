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
        "due_insert",
        "due_take",
        "due_drop",
        "execution_lock",
        "task_record",
        "task_end",
        "execution_close",
        "task_claim",
        "execution_cancel",
        "bell_ring",
        "bell_due_next",
        "many/bell_lock",
        "many/bell_due_next",
        "many/bell_lower",
    ] {
        let plan = plan(&t, name).await;
        for wrong in ["Seq Scan", "Hash Join", "Merge Join", "Bitmap"] {
            assert!(!plan.contains(wrong), "{name}: {plan}");
        }
        // In it an execution would be found by its state.
        assert!(!plan.contains("workflow_executions_listed"), "{name}: {plan}");
        let lines: Vec<_> = plan.lines().collect();
        for (line, next) in lines.iter().zip(&lines[1..]) {
            // Everything but the tenant alone.
            let key = if line.contains("workflow_executions_pkey") {
                "(id = "
            } else if line.contains("task_executions_pkey") {
                "(execution_id = "
            } else if line.contains("ready_tasks_pkey") {
                "(priority = "
            } else if line.contains("due_rows_pkey") {
                "(kind = "
            } else {
                continue;
            };
            assert!(next.contains("Index Cond") && next.contains(key), "{name}: {plan}");
        }
    }
}

#[tokio::test]
async fn nothing_that_an_execution_without_a_deadline_needs_touches_the_due_rows() {
    let t = Handle::new().await;
    t.beside.batch_execute("ALTER TABLE due_rows RENAME TO away").await.unwrap();
    let execution = t.submit(new_execution(&[0, 1], &[])).await;
    let claimed = t.flush(vec![], vec![], 10).await.claimed;
    assert_eq!(claimed.len(), 1);
    t.flush(vec![], vec![completed(execution, 0, &[(1, true)])], 0).await;
    let closed = t.flush(vec![], vec![completed(execution, 1, &[])], 10).await.closed;
    assert_eq!(closed.len(), 1);
}

#[tokio::test]
async fn a_claim_walks_no_rows_that_nobody_here_can_claim_however_many_there_are() {
    let t = Handle::new().await;
    let ours = t.submit(new_execution(&[0], &[])).await;
    let tenant: uuid::Uuid =
        t.beside.query_one("SELECT tenant_id FROM workflow_executions", &[]).await.unwrap().get(0);
    let values =
        format!("'{tenant}', NULL, '00000000-0000-0000-0000-00000000000a', 16, ARRAY['etl'], ARRAY[7]");
    t.beside.batch_execute(SETTINGS).await.unwrap();
    let plant = |what: &str, count: u32| {
        format!(
            "INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
             SELECT tenant_id, 9, now() - interval '1 hour', gen_random_uuid(), 0, {what}
             FROM workflow_executions, generate_series(1, {count}) AS n"
        )
    };
    // All of one version, each of a version of its own, and of the version that is known but without an
    // execution.
    for (what, count) in [("'etl', 8", 100_000), ("'etl' || n, n", 100_000), ("'etl', 7", 100_000)] {
        t.beside.batch_execute(&plant(what, count)).await.unwrap();
        t.beside.batch_execute("ANALYZE ready_tasks").await.unwrap();
        let claimed = t.flush(vec![], vec![], 16).await.claimed;
        let claimed: Vec<_> = claimed.iter().map(|task| task.execution).collect();
        assert_eq!(claimed, [ours], "{what}");
        let again = "UPDATE task_executions SET state = 'ready', attempt = 0;
            INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
            SELECT tenant_id, 5, due_at, execution_id, 0, 'etl', 7 FROM task_executions";
        t.beside.batch_execute(again).await.unwrap();
        for expected in [1, 0, 0] {
            assert_eq!(t.flush(vec![], vec![], 16).await.claimed.len(), expected, "{what}");
        }
        let pages = pages(&t, "task_claim", &values).await;
        // Each of them that is walked costs a page at least.
        assert!(pages < 30_000, "{what}: {pages}");
        t.beside
            .batch_execute(
                "UPDATE task_executions SET state = 'ready', attempt = 0;
                 TRUNCATE ready_tasks;
                 INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
                 SELECT tenant_id, 5, due_at, execution_id, 0, 'etl', 7 FROM task_executions",
            )
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_claim_takes_rows_without_an_execution_away_if_they_are_in_its_way() {
    let t = Handle::new().await;
    t.submit(new_execution(&[0], &[0])).await;
    let plant = "INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
        SELECT tenant_id, 5, now() - interval '1 hour', gen_random_uuid(), 0, 'etl', 7 FROM workflow_executions, generate_series(1, 5000)";
    t.beside.batch_execute(plant).await.unwrap();
    for _ in 0..6 {
        assert!(t.flush(vec![], vec![], 16).await.claimed.is_empty());
    }
    let left = t.beside.query_one("SELECT count(*) FROM ready_tasks", &[]).await.unwrap();
    assert!(left.get::<_, i64>(0) <= 1016);
    let sound = t.submit(new_execution(&[0], &[])).await;
    let claimed = t.flush(vec![], vec![], 16).await.claimed;
    assert_eq!(claimed.iter().map(|task| task.execution).collect::<Vec<_>>(), [sound]);
}

/// How many pages a statement looks at.
async fn pages(t: &Handle, name: &str, values: &str) -> u64 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("sql/{name}.sql"));
    let text = fs::read_to_string(path).unwrap();
    let prepare = format!("DEALLOCATE ALL; PREPARE looked AS {text}");
    t.beside.batch_execute(&prepare).await.unwrap();
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS) EXECUTE looked ({values})");
    let lines = t.beside.simple_query(&explain).await.unwrap();
    let buffers = lines.iter().find_map(|line| match line {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).filter(|line| line.contains("Buffers: ")),
        _ => None,
    });
    // "Buffers: shared hit=12 read=3 dirtied=1"
    let words = buffers.unwrap().split_whitespace();
    let counts = words.filter_map(|word| word.strip_prefix("hit=").or_else(|| word.strip_prefix("read=")));
    counts.map(|count| count.parse::<u64>().unwrap()).sum()
}

/// A place with many executions that are over and many that wait, and some that run.
async fn crowded(t: &Handle, over: u32, waiting: u32, running: u32) {
    t.submit(new_execution(&[0], &[])).await;
    let plant = format!(
        "CREATE TEMPORARY TABLE planted AS
             SELECT lpad(to_hex(n), 32, '0')::uuid AS id, 'workflow_' || (n % 10) AS workflow,
                    CASE WHEN n <= 10 THEN 'failed' WHEN n <= {over} THEN 'completed' WHEN n <= {over} + {running} THEN 'running' ELSE 'pending' END AS state,
                    '2026-01-01'::timestamptz + n * interval '1 second' AS at, n
             FROM generate_series(1, {over} + {running} + {waiting}) AS n;
         INSERT INTO workflow_executions (tenant_id, id, workflow, fingerprint, state, priority, input, created_at, started_at, finished_at)
             SELECT tenant_id, planted.id, planted.workflow, 1, planted.state, 4, '{{}}', at, CASE WHEN planted.state <> 'pending' THEN at END,
                    CASE WHEN n <= {over} THEN at END
             FROM workflow_executions, planted;
         INSERT INTO task_executions (tenant_id, execution_id, task, name, state, waiting_on, attempt, runner_id, due_at, started_at, finished_at)
             SELECT tenant_id, planted.id, 0, 't', CASE planted.state WHEN 'pending' THEN 'ready' ELSE planted.state END, 0, 1,
                    '00000000-0000-0000-0000-00000000000a', at, at, CASE WHEN n <= {over} THEN at END
             FROM planted, (SELECT tenant_id FROM workflow_executions LIMIT 1) AS tenant;
         INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
             SELECT tenant_id, 4, at, planted.id, 0, planted.workflow, 1
             FROM planted, (SELECT tenant_id FROM workflow_executions LIMIT 1) AS tenant WHERE planted.state = 'pending'"
    );
    t.beside.batch_execute(&plant).await.unwrap();
    let settings = SETTINGS.replace("force_generic_plan", "force_custom_plan");
    t.beside.batch_execute(&settings).await.unwrap();
    t.beside.batch_execute("VACUUM ANALYZE").await.unwrap();
}

#[tokio::test]
async fn what_runs_is_found_without_what_waits_or_is_over() {
    let t = Handle::new().await;
    crowded(&t, 20_000, 20_000, 100).await;
    let tenant: uuid::Uuid =
        t.beside.query_one("SELECT tenant_id FROM workflow_executions LIMIT 1", &[]).await.unwrap().get(0);
    let runner = "'00000000-0000-0000-0000-00000000000a'";
    let names: Vec<_> = (0..10).map(|n| format!("'workflow_{n}'")).collect();
    let known = format!("ARRAY[{}], array_fill(1::bigint, ARRAY[10])", names.join(", "));
    for (name, values) in [
        ("task_held", format!("'{tenant}', {runner}")),
        ("rescue_lock", format!("'{tenant}', {runner}")),
        ("running_count", format!("'{tenant}'")),
        ("runner_unknown", format!("'{tenant}'")),
        ("execution_stuck", format!("'{tenant}', 1000")),
        ("execution_orphaned", format!("'{tenant}', 'orphaned', {known}, 1000")),
        ("execution_overdue", format!("'{tenant}', NULL, 0, {known}, 1000")),
        // Nothing ended so long ago.
        (
            "execution_prune",
            format!("'{tenant}', '2026-01-02', {}, 1000, 'completed'", 3_600_000_000_u64 * 24 * 30),
        ),
        ("execution_oldest", format!("ARRAY['{tenant}'::uuid]")),
    ] {
        let pages = pages(&t, name, &values).await;
        assert!(pages < 2_500, "{name}: {pages}");
    }
}

#[tokio::test]
async fn a_page_of_a_listing_is_found_without_what_is_not_listed() {
    let t = Handle::new().await;
    crowded(&t, 20_000, 5_000, 100).await;
    let tenant: uuid::Uuid =
        t.beside.query_one("SELECT tenant_id FROM workflow_executions LIMIT 1", &[]).await.unwrap().get(0);
    let newest = "'ffffffff-ffff-ffff-ffff-ffffffffffff'";
    for (states, workflow) in [
        ("failed", "NULL"),
        ("running", "NULL"),
        ("paused", "NULL"),
        ("failed,cancelled,paused", "NULL"),
        ("completed", "'workflow_3'"),
        ("failed", "'workflow_3'"),
        ("pending,running,paused,completed,failed,cancelled", "'none'"),
        ("pending,running,paused,completed,failed,cancelled", "'workflow_3'"),
    ] {
        let values = format!(
            "'{tenant}', {newest}, string_to_array('{states}', ','), {workflow}, 20, 'cloacina/bulk'"
        );
        let pages = pages(&t, "execution_list_filtered", &values).await;
        assert!(pages < 1_000, "{states} of {workflow}: {pages}");
    }
}
