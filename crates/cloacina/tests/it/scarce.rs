//! A runner with fewer connections than it would like, as another role than its login, and on a server that
//! can only be read.

use std::time::Duration;

use cloacina::{Context, ExecutionStatus};
use cloacina_testing::cluster::{Cluster, Server};
use tokio_postgres::{Client, NoTls};

use crate::support::{Database, Gate, idle, in_time, quick, until, workflow};

fn server() -> &'static Server {
    Cluster::shared().unwrap()
}

async fn superuser(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(&server().superuser_url_of(url), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The login of a URL, and the name of its database.
fn names(url: &str) -> (String, String) {
    let login = url.split("://").nth(1).unwrap().split(':').next().unwrap();
    let database = url.rsplit('/').next().unwrap();
    (login.to_owned(), database.split('?').next().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_works_with_as_many_connections_as_its_login_may_have() {
    for limit in 1..=5 {
        let database = Database::postgres().await;
        let beside = superuser(&database.url).await;
        let (login, _) = names(&database.url);
        let alter = format!("ALTER ROLE \"{login}\" CONNECTION LIMIT {limit}");
        beside.batch_execute(&alter).await.unwrap();
        let runner = database.runner([workflow("w", [idle("t")])]).await;
        let executions = (0..50).map(|_| runner.execute("w", Context::new()));
        for result in in_time(futures_util::future::join_all(executions)).await {
            assert_eq!(result.unwrap().status, ExecutionStatus::Completed, "with {limit} connections");
        }
        assert_eq!(runner.list_executions().await.unwrap().len(), 50);
        runner.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_opens_no_more_connections_than_it_is_told() {
    for most in 1..=4 {
        let database = Database::postgres().await;
        let (login, _) = names(&database.url);
        let gate = Gate::new();
        let runner =
            database.configured(quick().max_connections(most), [workflow("w", [gate.task("t")])]).await;
        let beside = superuser(&database.url).await;
        // One more would be refused, and said so.
        let alter = format!("ALTER ROLE \"{login}\" CONNECTION LIMIT {most}");
        beside.batch_execute(&alter).await.unwrap();
        let executions: Vec<_> = (0..20).map(|_| runner.execute_async("w", Context::new())).collect();
        let executions = in_time(futures_util::future::join_all(executions)).await;
        gate.started().await;
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1";
        let open: i64 = beside.query_one(sessions, &[&login]).await.unwrap().get(0);
        assert!(open <= i64::from(most), "{open} connections of {most}");
        gate.open(20);
        for execution in executions {
            let result = in_time(execution.unwrap().wait_for_completion()).await.unwrap();
            assert_eq!(result.status, ExecutionStatus::Completed);
        }
        runner.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_may_have_no_connection_is_told_which_limit_it_met() {
    let database = Database::postgres().await;
    let (login, _) = names(&database.url);
    let alter = format!("ALTER ROLE \"{login}\" CONNECTION LIMIT 0");
    superuser(&database.url).await.batch_execute(&alter).await.unwrap();
    let error = database.builder().build().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("too many connections for role"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_whose_sessions_work_as_another_role_works_as_that_role() {
    let database = Database::postgres().await;
    let (login, name) = names(&database.url);
    let beside = superuser(&database.url).await;
    let owner = format!("{login}_owner");
    let make = format!(
        "CREATE ROLE \"{owner}\" NOLOGIN; GRANT \"{owner}\" TO \"{login}\"; GRANT ALL ON DATABASE \"{name}\" TO \"{owner}\"; \
         ALTER ROLE \"{login}\" SET role = '{owner}'"
    );
    beside.batch_execute(&make).await.unwrap();
    let runner = database.runner([workflow("w", [idle("t")])]).await;
    let result = in_time(runner.execute("w", Context::new())).await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Completed);
    let owned = "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'acme'";
    assert_eq!(beside.query_one(owned, &[]).await.unwrap().get::<_, String>(0), owner);
    // A commit whose answer is lost is decided by such a login as well.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1";
    beside.execute(end, &[&login]).await.unwrap();
    let result = in_time(runner.execute("w", Context::new())).await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Completed);
    runner.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_waits_for_a_server_that_can_only_be_read_for_a_while() {
    let database = Database::postgres().await;
    let (login, name) = names(&database.url);
    let runner = database.runner([workflow("w", [idle("t")])]).await;
    let beside = superuser(&database.url).await;
    let only_read = async |how: &str| {
        let set = format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = {how}");
        beside.batch_execute(&format!("SET default_transaction_read_only = off; {set}")).await.unwrap();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1";
        beside.query(end, &[&login]).await.unwrap();
    };
    only_read("on").await;
    let submitted = {
        let runner = runner.clone();
        tokio::spawn(async move { runner.execute("w", Context::new()).await })
    };
    // It has met the closed database once its connections are there again.
    let back = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND query LIKE '%COMMIT%'";
    until(async || beside.query_one(back, &[&login]).await.unwrap().get::<_, i64>(0) > 0).await;
    assert!(!submitted.is_finished());
    only_read("off").await;
    let result = in_time(submitted).await.unwrap().unwrap();
    assert_eq!(result.status, ExecutionStatus::Completed);
    runner.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_read_much_do_not_keep_the_engine_from_its_work() {
    let database = Database::postgres().await;
    let beside = superuser(&database.url).await;
    let config = quick()
        .max_connections(10)
        .lease(Duration::from_secs(3))
        .heartbeat_interval(Duration::from_millis(150));
    let gate = Gate::new();
    let runner = database.configured(config, [workflow("w", [gate.task("t")])]).await;
    let execution = runner.execute_async("w", Context::new()).await.unwrap();
    gate.started().await;
    let runners = "SELECT id::text FROM cloacina.runner";
    let before: String = beside.query_one(runners, &[]).await.unwrap().get(0);
    // Whoever reads waits for this lock; what is locked is no table that a running task needs.
    beside.batch_execute("BEGIN; LOCK TABLE acme.task_attempts").await.unwrap();
    let readers: Vec<_> = (0..20)
        .map(|_| {
            let execution = runner.execution(execution.execution_id);
            tokio::spawn(async move { execution.history().await.map(drop) })
        })
        .collect();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until(async || {
        beside.batch_execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
        beside.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;
    let beats = "SELECT beat FROM cloacina.runner";
    let at_first: i64 = beside.query_one(beats, &[]).await.unwrap().get(0);
    until(async || beside.query_one(beats, &[]).await.unwrap().get::<_, i64>(0) > at_first + 8).await;
    assert_eq!(beside.query_one(runners, &[]).await.unwrap().get::<_, String>(0), before);
    gate.open(1);
    let result = in_time(execution.wait_for_completion()).await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Completed);
    beside.batch_execute("COMMIT").await.unwrap();
    for reader in readers {
        in_time(reader).await.unwrap().unwrap_or_default();
    }
    runner.shutdown().await.unwrap();
}
