//! What people see who look with SQL.

use std::time::Duration;

use cloacina::{Context, ExecutionStatus, Timestamp, Wait, Workflow};

use crate::support::{Database, attempts, failing, idle, reaches, until, workflow};

const EXECUTIONS: [&str; 21] = [
    "tenant_id",
    "execution_id",
    "workflow",
    "version",
    "state",
    "priority",
    "created_at",
    "started_at",
    "finished_at",
    "seconds",
    "deadline",
    "idempotency_key",
    "tags",
    "submitted_by",
    "schedule",
    "parent_id",
    "item",
    "rerun_of",
    "superseded_by",
    "on_failure",
    "error",
];

const TASKS: [&str; 20] = [
    "tenant_id",
    "execution_id",
    "workflow",
    "position",
    "task",
    "state",
    "attempts",
    "failures",
    "lost",
    "due_at",
    "started_at",
    "finished_at",
    "seconds",
    "outcome",
    "error",
    "skip_reason",
    "handled",
    "runner_id",
    "waits_for",
    "waits_until",
];

/// The rows of a view as text, in an order of one's own.
async fn rows(database: &Database, view: &str, columns: &[&str], order: &str) -> Vec<Vec<Option<String>>> {
    let texts: Vec<String> = columns.iter().map(|column| format!("CAST({column} AS TEXT)")).collect();
    let texts = texts.join(", ");
    match (&database.schema, database.path()) {
        #[cfg(feature = "postgres")]
        (Some(schema), _) => {
            let client = crate::admin::connect(&database.url).await.unwrap();
            let text = format!("SELECT {texts} FROM {schema}.{view} ORDER BY {order}");
            let rows = client.query(&text, &[]).await.unwrap();
            rows.iter().map(|row| (0..columns.len()).map(|n| row.get(n)).collect()).collect()
        }
        (_, Some(path)) => {
            let file = rusqlite::Connection::open(path).unwrap();
            let text = format!("SELECT {texts} FROM {view} ORDER BY {order}");
            let mut statement = file.prepare(&text).unwrap();
            let rows = statement.query_map([], |row| (0..columns.len()).map(|n| row.get(n)).collect());
            rows.unwrap().map(Result::unwrap).collect()
        }
        _ => unreachable!("a database is a schema or a file"),
    }
}

fn time(text: Option<&String>) -> Timestamp {
    text.unwrap().parse().unwrap()
}

on_each_store! {
    async fn executions_can_be_read_with_sql(database: Database) {
        let waits = Workflow::builder("waits").task(idle("before"))
            .wait(Wait::signal("paid").after("before").timeout(Duration::from_secs(3600)))
            .build();
        let fails = workflow("fails", [failing("broken").retry(attempts(2))]);
        let runner = database.runner([waits, fails]).await;
        let failed = runner.execute("fails", Context::new().with("secret", "hunter2")).await.unwrap();
        let waiting = runner.submit("waits").idempotency_key("order 1").tag("night").priority(7).send().await.unwrap();
        reaches(&waiting, ExecutionStatus::Waiting).await;

        let executions = rows(&database, "v_executions", &EXECUTIONS, "workflow").await;
        let of = |row: usize, column: &str| {
            executions[row][EXECUTIONS.iter().position(|name| *name == column).unwrap()].as_ref()
        };
        assert_eq!(executions.len(), 2);
        assert_eq!(of(0, "execution_id"), Some(&failed.execution_id.to_string()));
        assert_eq!(of(0, "state").unwrap(), "failed");
        assert!(of(0, "error").unwrap().contains("broken is broken"));
        assert_eq!(of(0, "version").unwrap().len(), 16);
        assert_eq!(of(0, "tenant_id"), of(1, "tenant_id"));
        // To the millisecond.
        let ended = failed.end_time.unwrap().duration_since(time(of(0, "finished_at")));
        assert!(ended.as_micros().abs() < 1_001, "{ended:?}");
        assert!(of(0, "seconds").unwrap().parse::<f64>().unwrap() >= 0.0);
        assert_eq!((of(1, "state").unwrap().as_str(), of(1, "priority").unwrap().as_str()), ("waiting", "7"));
        assert_eq!(of(1, "idempotency_key").unwrap(), "order 1");
        assert!(of(1, "tags").unwrap().contains("night"));
        for empty in ["finished_at", "seconds", "deadline", "parent_id", "item", "rerun_of", "superseded_by", "error"] {
            assert_eq!(of(1, empty), None, "{empty}");
        }
        assert!(!format!("{executions:?}").contains("hunter2"));
        runner.shutdown().await.unwrap();
    }

    async fn tasks_can_be_read_with_sql(database: Database) {
        let waits = Workflow::builder("waits").task(idle("before"))
            .wait(Wait::signal("paid").after("before").timeout(Duration::from_secs(3600)))
            .wait(Wait::signal("shipped").after("before"))
            .build();
        let fails = workflow("fails", [failing("broken").retry(attempts(2)), idle("after").dependencies(["broken"])]);
        let runner = database.runner([waits, fails]).await;
        runner.execute("fails", Context::new()).await.unwrap();
        let begun = Timestamp::UNIX_EPOCH + runner.now().duration_since(Timestamp::UNIX_EPOCH);
        let waiting = runner.submit("waits").send().await.unwrap();
        until(async || waiting.waits().await.unwrap().len() == 2).await;

        let tasks = rows(&database, "v_tasks", &TASKS, "workflow, position").await;
        let of = |row: usize, column: &str| {
            tasks[row][TASKS.iter().position(|name| *name == column).unwrap()].as_deref()
        };
        let named: Vec<_> = (0..tasks.len()).map(|row| (of(row, "task").unwrap(), of(row, "state").unwrap())).collect();
        assert_eq!(
            named,
            [("broken", "failed"), ("after", "skipped"), ("before", "completed"), ("paid", "waiting"), ("shipped", "waiting")]
        );
        assert_eq!((of(0, "attempts"), of(0, "failures"), of(0, "outcome")), (Some("2"), Some("2"), Some("failed")));
        assert!(of(0, "error").unwrap().contains("broken is broken") && of(0, "runner_id").is_some());
        assert_eq!(of(1, "skip_reason"), Some("upstream_failed"));
        assert_eq!((of(3, "waits_for"), of(4, "waits_for")), (Some("paid"), Some("shipped")));
        let hour = time(of(3, "waits_until").map(str::to_owned).as_ref()).duration_since(begun);
        assert!((3590..3900).contains(&hour.as_secs()), "{hour:?}");
        assert_eq!((of(2, "waits_until"), of(4, "waits_until")), (None, None));
        runner.shutdown().await.unwrap();
    }
}

#[test]
fn the_reference_names_each_column() {
    let reference = include_str!("../../../../docs/guides/reference.md");
    for column in EXECUTIONS.iter().chain(&TASKS) {
        assert!(reference.contains(&format!("`{column}`")), "{column} is not in docs/guides/reference.md");
    }
}

#[cfg(feature = "postgres")]
mod of_tenants {
    use cloacina::runner::Runner;

    use super::*;
    use crate::admin::{Administered, connect, runner, works};

    async fn count(url: &str, view: &str) -> Result<i64, String> {
        let client = connect(url).await.unwrap();
        let counted = client.query_one(&format!("SELECT count(*) FROM {view}"), &[]).await;
        counted.map(|row| row.get(0)).map_err(|error| error.as_db_error().unwrap().message().to_owned())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_tenants_login_reads_its_own_views_and_no_others() {
        let database = Administered::by_a_provisioner().await;
        let (acme, globex) = (database.tenant("acme").await, database.tenant("globex").await);
        let its_own = runner(&acme.connection_string, None, "acme").await;
        works(&its_own).await;
        for view in ["v_executions", "v_tasks"] {
            assert_eq!(count(&acme.connection_string, &format!("acme.{view}")).await, Ok(1));
            let denied = count(&globex.connection_string, &format!("acme.{view}")).await.unwrap_err();
            assert_eq!(denied, "permission denied for schema acme");
        }
        let verified = database.admin.verify_tenant("acme").await.unwrap();
        assert!(verified.objects.iter().any(|object| object.contains("v_executions")), "{verified:?}");
        its_own.shutdown().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn in_shared_tables_operators_read_all_and_the_application_nothing() {
        let (admin, operator) = crate::shared::shared().await;
        let open = async |tenant: &str| {
            let builder = Runner::builder().database_url(&operator).tenant(tenant);
            builder.workflow(workflow("w", [idle("t")])).build().await.unwrap()
        };
        let (acme, globex) = (open("acme").await, open("globex").await);
        for tenant in [&acme, &globex] {
            tenant.execute("w", Context::new()).await.unwrap();
        }
        let by_name = "(SELECT DISTINCT name FROM cloacina_shared.v_executions JOIN cloacina.tenant USING (tenant_id)) AS named";
        assert_eq!(count(&operator, "cloacina_shared.v_executions").await, Ok(2));
        assert_eq!(count(&operator, "cloacina_shared.v_tasks").await, Ok(2));
        assert_eq!(count(&operator, by_name).await, Ok(2));

        let database = operator.rsplit('/').next().unwrap();
        let app = admin.create_app_login(&format!("{database}_app"), String::new()).await.unwrap();
        for view in ["v_executions", "v_tasks"] {
            let denied = count(&app.connection_string, &format!("cloacina_shared.{view}")).await.unwrap_err();
            assert_eq!(denied, format!("permission denied for view {view}"));
        }
        // Were it granted by mistake, row security would hold, where the server can have it so.
        let superuser = cloacina_testing::cluster::Cluster::shared().unwrap().superuser_url_of(&operator);
        let superuser = connect(&superuser).await.unwrap();
        let version: i32 = superuser
            .query_one("SELECT current_setting('server_version_num')::integer", &[])
            .await
            .unwrap()
            .get(0);
        if version >= 150_000 {
            let grant = format!(
                "GRANT SELECT ON cloacina_shared.v_executions, cloacina_shared.v_tasks TO {}",
                app.username
            );
            superuser.batch_execute(&grant).await.unwrap();
            for view in ["v_executions", "v_tasks"] {
                assert_eq!(
                    count(&app.connection_string, &format!("cloacina_shared.{view}")).await.unwrap_or(0),
                    0
                );
            }
        }
        acme.shutdown().await.unwrap();
        globex.shutdown().await.unwrap();
    }
}
