//! Rows that no engine wrote.
//!
//! A tenant with a database login of its own can write into its place whatever the constraints of the tables
//! let through, and so can whoever opens a SQLite file. It may spoil the executions that it writes to, and
//! nothing else.

use std::time::Duration;

use cloacina::runner::Runner;
use cloacina::{Context, ExecutionFilter, ExecutionStatus, RetryPolicy, TaskDefinition, Workflow};
use uuid::Uuid;

use crate::support::{Database, Gate, idle, in_time, quick, setting, task, until, workflow};

/// What becomes of the execution whose rows were written to.
#[derive(Debug, Clone, Copy)]
enum End {
    /// It ends so, with these words in its error.
    In(ExecutionStatus, &'static str),
    /// It is left where it is.
    Aside,
    /// That depends on the database, and on what comes first.
    Anyhow,
}

use End::{Anyhow, Aside, In};
use ExecutionStatus::{Cancelled, Completed, Failed};

/// Which databases can express it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Both,
    #[cfg(feature = "postgres")]
    Postgres,
}

use Where::Both;
#[cfg(feature = "postgres")]
use Where::Postgres;

/// The execution that is spoiled: `a`, then `b` and `c`, then `d`.
const SPOILED: &str = "execution_id = (SELECT id FROM workflow_executions WHERE workflow = 'spoiled')";

fn spoiled(first: TaskDefinition) -> Workflow {
    workflow(
        "spoiled",
        [
            first,
            setting("b", "b", 1).dependencies(["a"]),
            setting("c", "c", 1).dependencies(["a"]),
            idle("d").dependencies(["b", "c"]),
        ],
    )
}

fn workflows(first: TaskDefinition) -> [Workflow; 2] {
    [spoiled(first), workflow("sound", [setting("a", "a", 1), idle("b").dependencies(["a"])])]
}

pub(crate) async fn write(database: &Database, statements: &str) {
    let statements = statements.replace("SPOILED", SPOILED);
    if let Some(path) = database.path() {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        // What a STRICT table does not know.
        let statements = statements.replace("now()", "1750000000000000");
        connection.execute_batch(&statements).unwrap_or_else(|error| panic!("{error}: {statements}"));
        return;
    }
    #[cfg(feature = "postgres")]
    {
        let schema = database.schema.as_ref().unwrap();
        crate::tenant::schemas::sql(
            &database.url,
            &format!("SET search_path TO {schema}, cloacina; {statements}"),
        )
        .await;
    }
}

/// The same in every row: what is written before the engine sees it, and what comes of it.
const BEFORE: &[(&str, Where, &str, End)] = &[
    ("a task is missing", Both, "DELETE FROM task_executions WHERE SPOILED AND name = 'd'", Anyhow),
    ("all tasks are missing", Both, "DELETE FROM task_executions WHERE SPOILED", Anyhow),
    (
        "there are too many tasks, and the last one is ready",
        Both,
        "INSERT INTO task_executions (tenant_id, execution_id, task, name, state, waiting_on, due_at)
             SELECT tenant_id, execution_id, 9, 'e', 'ready', 0, due_at FROM task_executions WHERE SPOILED AND name = 'a';
         INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
             SELECT tenant_id, priority, due_at, execution_id, 9, workflow, fingerprint FROM ready_tasks WHERE workflow = 'spoiled'",
        In(Cancelled, "no task number 9"),
    ),
    (
        "the only ready task is one that the workflow has not",
        Both,
        "UPDATE task_executions SET task = 32767 WHERE SPOILED AND name = 'a';
         UPDATE ready_tasks SET task = 32767 WHERE workflow = 'spoiled'",
        In(Cancelled, "no task number 32767"),
    ),
    (
        "the names are others, and something was claimed before",
        Both,
        "UPDATE task_executions SET name = 'x' WHERE SPOILED AND name = 'd';
         UPDATE workflow_executions SET state = 'running', started_at = created_at WHERE workflow = 'spoiled'",
        In(Cancelled, "a task `x` is stored where the code has `d`"),
    ),
    (
        "a task is ready before its dependencies are over",
        Both,
        "UPDATE task_executions SET state = 'ready', waiting_on = 0, due_at = (SELECT due_at FROM ready_tasks WHERE workflow = 'spoiled')
             WHERE SPOILED AND name = 'd';
         UPDATE ready_tasks SET task = 3 WHERE workflow = 'spoiled'",
        In(Cancelled, "before its dependencies were over"),
    ),
    (
        "the successors are over already",
        Both,
        "UPDATE task_executions SET state = 'completed', waiting_on = 0, finished_at = now() WHERE SPOILED AND name <> 'a'",
        Anyhow,
    ),
    (
        "a task waits for fewer than it has",
        Both,
        "UPDATE task_executions SET waiting_on = 1 WHERE SPOILED AND name = 'd'",
        Anyhow,
    ),
    ("a task waits for more than it has", Both, "UPDATE task_executions SET waiting_on = 9 WHERE SPOILED AND name = 'd'", Aside),
    (
        "tasks have been lost more often than can be counted",
        Both,
        "UPDATE task_executions SET lost = 2147483647 WHERE SPOILED AND name = 'a'",
        In(Failed, "2147483647 times"),
    ),
    ("the ready row has no task", Both, "UPDATE ready_tasks SET task = 77 WHERE workflow = 'spoiled'", Aside),
    (
        "ready rows have no execution",
        Both,
        "UPDATE ready_tasks SET execution_id = (SELECT tenant_id FROM workflow_executions WHERE workflow = 'spoiled') WHERE workflow = 'spoiled'",
        Aside,
    ),
    ("the ready row names another version", Both, "UPDATE ready_tasks SET fingerprint = 1 WHERE workflow = 'spoiled'", Aside),
    (
        "the execution is of another version, and something was claimed before",
        Both,
        "UPDATE workflow_executions SET fingerprint = 1, state = 'running', started_at = created_at WHERE workflow = 'spoiled'",
        In(Cancelled, "does not have version"),
    ),
    (
        "the ready rows are of two workflows",
        Both,
        "UPDATE task_executions SET state = 'ready', waiting_on = 0, due_at = (SELECT due_at FROM ready_tasks WHERE workflow = 'spoiled')
             WHERE SPOILED AND name = 'd';
         INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
             SELECT ready.tenant_id, ready.priority, ready.due_at, ready.execution_id, 3, sound.workflow, sound.fingerprint
             FROM ready_tasks AS ready, workflow_executions AS sound WHERE ready.workflow = 'spoiled' AND sound.workflow = 'sound'",
        In(Cancelled, "cannot be run"),
    ),
    ("the input is an array", Both, "UPDATE workflow_executions SET input = '[1]' WHERE workflow = 'spoiled'", In(Cancelled, "not a stored context")),
    ("the input is a text", Both, "UPDATE workflow_executions SET input = '\"x\"' WHERE workflow = 'spoiled'", In(Cancelled, "not a stored context")),
    (
        "the input holds a number that nobody can hold",
        Both,
        "UPDATE workflow_executions SET input = '{\"n\": 1e999999}' WHERE workflow = 'spoiled'",
        In(Cancelled, "not a stored context"),
    ),
    (
        "the patch of a dependency is no patch",
        Both,
        "UPDATE task_executions SET state = 'completed', attempt = 1, started_at = now(), finished_at = now(), patch = '[]'
             WHERE SPOILED AND name = 'a';
         UPDATE task_executions SET state = 'ready', waiting_on = 0, due_at = (SELECT due_at FROM ready_tasks WHERE workflow = 'spoiled')
             WHERE SPOILED AND name = 'b';
         UPDATE ready_tasks SET task = 1 WHERE workflow = 'spoiled';
         UPDATE workflow_executions SET state = 'running', started_at = created_at WHERE workflow = 'spoiled'",
        In(Cancelled, "not a stored context"),
    ),
    (
        "deadlines have no execution",
        Both,
        "INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
             SELECT tenant_id, 0, due_at, tenant_id, '' FROM ready_tasks WHERE workflow = 'spoiled'",
        In(Completed, ""),
    ),
    (
        "a deadline has passed that it does not have",
        Both,
        "INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
             SELECT tenant_id, 0, created_at, id, 'planted' FROM workflow_executions WHERE workflow = 'spoiled'",
        In(Completed, ""),
    ),
    (
        "something is due that nobody here knows",
        Both,
        "INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
             SELECT tenant_id, 7, created_at, id, 'planted' FROM workflow_executions WHERE workflow = 'spoiled'",
        In(Completed, ""),
    ),
    #[cfg(feature = "postgres")]
    (
        "there are many deadlines without an execution",
        Postgres,
        "INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
             SELECT tenant_id, 0, created_at, gen_random_uuid(), '' FROM workflow_executions, generate_series(1, 5000)
             WHERE workflow = 'spoiled'",
        In(Completed, ""),
    ),
    (
        "attempts cannot be counted further",
        Both,
        "UPDATE task_executions SET attempt = 2147483647 WHERE SPOILED",
        In(Completed, ""),
    ),
    #[cfg(feature = "postgres")]
    (
        "the input is nested deeper than anybody reads",
        Postgres,
        "UPDATE workflow_executions SET input = ('{\"n\": ' || repeat('[', 3000) || repeat(']', 3000) || '}')::json WHERE workflow = 'spoiled'",
        In(Cancelled, "not a stored context"),
    ),
    #[cfg(feature = "postgres")]
    (
        "it was recorded at the end of time",
        Postgres,
        "UPDATE workflow_executions SET created_at = 'infinity' WHERE workflow = 'spoiled'",
        In(Cancelled, "cannot be read"),
    ),
    #[cfg(feature = "postgres")]
    (
        "it was recorded in a year that no calendar has",
        Postgres,
        "UPDATE workflow_executions SET created_at = '200000-01-01' WHERE workflow = 'spoiled'",
        In(Cancelled, "cannot be read"),
    ),
    #[cfg(feature = "postgres")]
    (
        "its work has been due for ever",
        Postgres,
        "UPDATE ready_tasks SET due_at = '-infinity' WHERE workflow = 'spoiled'",
        In(Completed, ""),
    ),
    #[cfg(feature = "postgres")]
    (
        "work that nobody can do has been due for ever",
        Postgres,
        "UPDATE ready_tasks SET due_at = '-infinity', fingerprint = 7 WHERE workflow = 'spoiled'",
        Aside,
    ),
    #[cfg(feature = "postgres")]
    ("its work is never due", Postgres, "UPDATE ready_tasks SET due_at = 'infinity' WHERE workflow = 'spoiled'", Aside),
    #[cfg(feature = "postgres")]
    (
        "there is much ready work without an execution",
        Postgres,
        "INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
             SELECT tenant_id, 9, due_at, gen_random_uuid(), 0, workflow, fingerprint FROM ready_tasks, generate_series(1, 3000)
             WHERE workflow = 'spoiled'",
        In(Completed, ""),
    ),
];

struct Tenants {
    /// The one that writes.
    database: Database,
    runner: Runner,
    other: Runner,
    spoiled: Uuid,
    sound: Uuid,
}

impl Tenants {
    /// Two executions of a tenant, of which one is written to before anybody works.
    async fn new(database: &Database, statements: &str, first: &TaskDefinition) -> Self {
        let config = || quick().submit_only(true);
        let submits = database.configured(config(), workflows(first.clone())).await;
        let spoiled = submits.execute_async("spoiled", Context::new()).await.unwrap().execution_id;
        let sound = submits.execute_async("sound", Context::new()).await.unwrap().execution_id;
        submits.shutdown().await.unwrap();
        write(database, statements).await;
        let runner = database.runner(workflows(first.clone())).await;
        let other = database.of("globex").runner(workflows(first.clone())).await;
        Self { database: database.clone(), runner, other, spoiled, sound }
    }

    /// Everybody but the spoiled execution goes on.
    async fn others_go_on(&self, case: &str) {
        let sound = in_time(self.runner.execution(self.sound).wait_for_completion()).await.unwrap();
        assert_eq!(sound.status, Completed, "{case}: {sound:?}");
        let next = in_time(self.runner.execute("sound", Context::new())).await.unwrap();
        assert_eq!(next.status, Completed, "{case}: {next:?}");
        let soon = next.end_time.unwrap() + Duration::from_millis(100);
        let late =
            self.runner.submit("sound").start_at(jiff::Timestamp::MAX).deadline(soon).send().await.unwrap();
        let late = in_time(late.wait_for_completion()).await.unwrap();
        assert_eq!(late.status, Cancelled, "{case}: {late:?}");
        let other = in_time(self.other.execute("sound", Context::new())).await.unwrap();
        assert_eq!(other.status, Completed, "{case}: {other:?}");
    }

    async fn ends(&self, case: &str, end: End) {
        match end {
            In(status, words) => {
                let execution = self.runner.execution(self.spoiled);
                // What it was given may not be readable at all.
                match in_time(execution.wait_for_completion()).await {
                    Ok(result) => {
                        assert_eq!(result.status, status, "{case}: {result:?}");
                        let error = result.error_message.unwrap_or_default();
                        assert!(error.contains(words), "{case}: {error}");
                    }
                    Err(error) => assert!(
                        status == Cancelled && error.to_string().contains("cannot be read"),
                        "{case}: {error:?}"
                    ),
                }
            }
            Anyhow => {}
            Aside => match self.runner.execution(self.spoiled).wait_for(Duration::from_millis(50)).await {
                Ok(ended) => assert!(ended.is_none(), "{case}: {ended:?}"),
                Err(error) => assert!(error.to_string().contains("cannot be read"), "{case}: {error:?}"),
            },
        }
    }

    async fn end(self) {
        in_time(self.runner.shutdown()).await.unwrap();
        in_time(self.other.shutdown()).await.unwrap();
    }
}

/// Runs every case of a table in a place of its own, some of them side by side.
async fn each(database: Database, table: &'static [(&str, Where, &str, End)]) {
    let expressible = |on: &Where| database.path().is_none() || *on == Both;
    let cases: Vec<_> = table.iter().enumerate().filter(|(_, (_, on, ..))| expressible(on)).collect();
    for cases in cases.chunks(4) {
        let mut running = tokio::task::JoinSet::new();
        for (number, (case, _, statements, end)) in cases {
            let database = database.of(&format!("tenant_{number}"));
            running.spawn(async move {
                let tenants = Tenants::new(&database, statements, &idle("a")).await;
                tenants.others_go_on(case).await;
                tenants.ends(case, *end).await;
                tenants.others_go_on(case).await;
                tenants.end().await;
            });
        }
        while let Some(done) = running.join_next().await {
            done.unwrap();
        }
    }
}

on_each_store! {
    async fn rows_that_were_written_before_spoil_only_their_execution(database: Database) {
        each(database, BEFORE).await;
    }

    async fn rows_that_are_changed_while_a_task_runs_spoil_only_their_execution(database: Database) {
        const WHILE: &[(&str, &str, End)] = &[
            ("its row is gone", "DELETE FROM task_executions WHERE SPOILED AND name = 'a'", Aside),
            ("its successors are gone", "DELETE FROM task_executions WHERE SPOILED AND name <> 'a'", Anyhow),
            ("it is of another attempt", "UPDATE task_executions SET attempt = 5 WHERE SPOILED AND name = 'a'", In(Completed, "")),
            (
                "it waits again",
                "UPDATE task_executions SET state = 'pending', waiting_on = 1 WHERE SPOILED AND name = 'a'",
                Aside,
            ),
            (
                "its execution is over",
                "UPDATE workflow_executions SET state = 'completed', finished_at = now() WHERE workflow = 'spoiled'",
                In(Completed, ""),
            ),
            (
                "its input cannot be read any more",
                "UPDATE workflow_executions SET input = '[]' WHERE workflow = 'spoiled'",
                Anyhow,
            ),
        ];
        for (number, (case, statements, end)) in WHILE.iter().enumerate() {
            println!("{case}");
            let database = database.of(&format!("tenant_{number}"));
            let gate = Gate::new();
            let tenants = Tenants::new(&database, "", &gate.task("a")).await;
            tenants.others_go_on(case).await;
            gate.started().await;
            write(&tenants.database, statements).await;
            // It may be started once more.
            gate.open(2);
            tenants.others_go_on(case).await;
            tenants.ends(case, *end).await;
            tenants.others_go_on(case).await;
            tenants.end().await;
        }
    }

    async fn an_attempt_that_is_recorded_already_does_not_keep_a_task_from_being_tried_again(database: Database) {
        let flaky = task("a", |context| async move {
            if context.task().attempt() < 3 { Err("not yet".into()) } else { Ok(context) }
        });
        let flaky = flaky.retry(RetryPolicy { attempts: 5, base: Duration::ZERO, ..RetryPolicy::DEFAULT });
        let planted = "INSERT INTO task_attempts (tenant_id, execution_id, task, attempt, outcome, runner_id, started_at, finished_at)
                       SELECT tenant_id, execution_id, task, 1, 'lost', execution_id, now(), now() FROM task_executions WHERE SPOILED";
        let tenants = Tenants::new(&database, planted, &flaky).await;
        tenants.ends("planted", In(Completed, "")).await;
        tenants.others_go_on("planted").await;
        tenants.end().await;
    }

    async fn executions_that_are_too_large_to_be_read_are_ended_and_hold_nobody_up(database: Database) {
        let number = std::env::var("CLOACINA_LARGE").map_or(3, |number| number.parse().unwrap());
        let submits = database.configured(quick().submit_only(true), workflows(idle("a"))).await;
        let mut spoiled = Vec::new();
        for _ in 0..number {
            spoiled.push(submits.execute_async("spoiled", Context::new()).await.unwrap().execution_id);
        }
        let sound = submits.execute_async("sound", Context::new()).await.unwrap().execution_id;
        submits.shutdown().await.unwrap();
        // 60 MB each: three tasks are over, with 20 MB of changes, and the fourth is due.
        let text = match database.path() {
            Some(_) => "replace(hex(zeroblob(10000000)), '0', 'x')",
            None => "repeat('x', 20000000)",
        };
        let all = "execution_id IN (SELECT id FROM workflow_executions WHERE workflow = 'spoiled')";
        let due = "(SELECT min(due_at) FROM ready_tasks WHERE workflow = 'spoiled')";
        let patch = format!("'{{\"set\":{{\"x\":\"' || {text} || '\"}}}}'");
        let patch = if database.path().is_some() { patch } else { format!("({patch})::json") };
        write(&database, &format!(
            "UPDATE task_executions SET state = 'completed', waiting_on = 0, attempt = 1, started_at = now(), finished_at = now(), patch = {patch}
                 WHERE {all} AND name <> 'd';
             UPDATE task_executions SET state = 'ready', waiting_on = 0, due_at = {due} WHERE {all} AND name = 'd';
             UPDATE ready_tasks SET task = 3, due_at = {due} WHERE workflow = 'spoiled';
             UPDATE workflow_executions SET state = 'running', started_at = created_at WHERE workflow = 'spoiled'"
        )).await;
        let runner = database.runner(workflows(idle("a"))).await;
        let other = database.of("globex").runner(workflows(idle("a"))).await;
        let tenants = Tenants { database, runner, other, spoiled: spoiled[0], sound };
        tenants.others_go_on("while the large ones are looked at").await;
        for id in &spoiled {
            let execution = tenants.runner.execution(*id);
            until(async || execution.get_status().await.unwrap() == Cancelled).await;
        }
        let cancelled = ExecutionFilter::all().status(Cancelled).workflow("spoiled");
        let listed = tenants.runner.list(cancelled, None, 100).await.unwrap();
        assert_eq!(listed.len(), number);
        for listed in listed {
            let error = listed.error_message.unwrap();
            assert!(error.contains("more than 48 MiB"), "{error}");
        }
        tenants.others_go_on("afterwards").await;
        tenants.end().await;
    }

    async fn failures_that_cannot_be_counted_further_fail_the_task(database: Database) {
        let failing = task("a", |_| async { Err("broken".into()) }).retry(RetryPolicy::DEFAULT);
        let planted = "UPDATE task_executions SET failures = 2147483647 WHERE SPOILED";
        let tenants = Tenants::new(&database, planted, &failing).await;
        tenants.ends("planted", In(Failed, "broken")).await;
        tenants.others_go_on("planted").await;
        tenants.end().await;
    }
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_writes_our_name_into_its_rows_runs_no_more_than_it_may() {
    use crate::limit::Meter;
    use crate::tenant::schemas::{query, sql};

    let database = Database::postgres().await;
    let meter = Meter::default();
    let workflows = || [workflow("spoiled", [meter.task("a")]), workflow("sound", [idle("a")])];
    let config = || quick().lease(Duration::from_secs(3)).heartbeat_interval(Duration::from_millis(100));
    let submits = database.configured(config().submit_only(true), workflows()).await;
    for _ in 0..40 {
        submits.execute_async("spoiled", Context::new()).await.unwrap();
    }
    sql(
        &database.url,
        "INSERT INTO cloacina.login (role_oid, tenant_id, role_name) SELECT 1, tenant_id, 'acme' FROM cloacina.tenant WHERE schema_name = 'acme'",
    )
    .await;
    submits.shutdown().await.unwrap();
    let other = database.of("globex").configured(config(), workflows()).await;
    other.execute("sound", Context::new()).await.unwrap();
    sql(
        &database.url,
        "UPDATE acme.task_executions SET state = 'running', attempt = 1, started_at = now(),
             runner_id = (SELECT id FROM cloacina.runner LIMIT 1);
         UPDATE acme.workflow_executions SET state = 'running', started_at = now();
         DELETE FROM acme.ready_tasks",
    )
    .await;
    let runner = database.configured(config().max_concurrent_tasks(2), workflows()).await;
    // The first claim is what the next look at what is held goes by.
    runner.execute("sound", Context::new()).await.unwrap();
    let open = "SELECT count(*)::text FROM acme.workflow_executions WHERE finished_at IS NULL";
    until(async || query(&database.url, open).await == "0").await;
    assert!(meter.most() <= 2, "{}", meter.most());
    assert!(other.execute("sound", Context::new()).await.unwrap().status.is_success());
    in_time(runner.shutdown()).await.unwrap();
    in_time(other.shutdown()).await.unwrap();
}
