//! What becomes of tenants when another one is in trouble.

use cloacina::{Context, ExecutionStatus, Runner};
use cloacina_testing::cluster::Cluster;
use tokio_postgres::{Client, NoTls};

use crate::support::{Database, idle, in_time, until, workflow};

async fn superuser(url: &str) -> Client {
    let url = Cluster::shared().unwrap().superuser_url_of(url);
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn completes(runner: &Runner) {
    let result = in_time(runner.execute("w", Context::new())).await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_whose_tables_are_locked_keeps_nobody_waiting_and_goes_on_when_they_are_free() {
    let database = Database::postgres().await;
    let mut quiet = Vec::new();
    for number in 0..9 {
        quiet.push(database.of(&format!("quiet_{number}")).runner([workflow("w", [idle("t")])]).await);
    }
    let locked = database.of("locked").runner([workflow("w", [idle("t")])]).await;
    for table in ["task_executions", "workflow_executions", "ready_tasks"] {
        let beside = superuser(&database.url).await;
        let lock = format!("BEGIN; LOCK TABLE locked.{table} IN ACCESS EXCLUSIVE MODE");
        beside.batch_execute(&lock).await.unwrap();
        let stuck: Vec<_> = (0..20)
            .map(|_| {
                let locked = locked.clone();
                tokio::spawn(async move { completes(&locked).await })
            })
            .collect();
        for _ in 0..20 {
            // All at once, so that they share flushes with the one that is locked.
            futures_util::future::join_all(quiet.iter().map(completes)).await;
        }
        assert!(stuck.iter().all(|stuck| !stuck.is_finished()), "{table} is locked");
        beside.batch_execute("COMMIT").await.unwrap();
        for stuck in stuck {
            in_time(stuck).await.unwrap();
        }
    }
    for runner in quiet.iter().chain([&locked]) {
        runner.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_whose_schema_is_gone_keeps_nobody_waiting() {
    let database = Database::postgres().await;
    let quiet = database.of("quiet").runner([workflow("w", [idle("t")])]).await;
    let gone = database.of("gone").runner([workflow("w", [idle("t")])]).await;
    let beside = superuser(&database.url).await;
    beside.batch_execute("ALTER SCHEMA gone RENAME TO elsewhere").await.unwrap();
    for _ in 0..20 {
        let refused = gone.execute("w", Context::new());
        let (refused, ()) = tokio::join!(in_time(refused), completes(&quiet));
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
    }
    beside.batch_execute("ALTER SCHEMA elsewhere RENAME TO gone").await.unwrap();
    until(async || gone.execute("w", Context::new()).await.is_ok()).await;
    gone.shutdown().await.unwrap();
    quiet.shutdown().await.unwrap();
}
