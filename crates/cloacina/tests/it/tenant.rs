//! Tenants side by side.

use cloacina::{Context, ExecutionStatus};

use crate::support::{Database, Gate, idle, setting, workflow};

on_each_store! {
    async fn tenants_see_nothing_of_one_another(database: Database) {
        let acme = database.runner([workflow("w", [setting("t", "of", "acme")])]).await;
        let globex = database.of("globex").runner([workflow("w", [setting("t", "of", "globex")])]).await;
        let (ours, theirs) = tokio::join!(
            acme.execute("w", Context::new().with("secret", 1)),
            globex.execute("w", Context::new()),
        );
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        assert_ne!(ours.execution_id, theirs.execution_id);
        // Each has its own code under the same name.
        assert_eq!(ours.final_context.get::<String>("of").unwrap(), "acme");
        assert_eq!(theirs.final_context.get::<String>("of").unwrap(), "globex");
        assert_eq!(theirs.final_context.value("secret"), None);
        for (runner, own) in [(&acme, &ours), (&globex, &theirs)] {
            let listed = runner.list_executions().await.unwrap();
            assert_eq!(listed.iter().map(|execution| execution.execution_id).collect::<Vec<_>>(), [own.execution_id]);
        }
        assert!(acme.get_execution(theirs.execution_id).await.is_err());
        assert!(globex.get_execution(ours.execution_id).await.is_err());
        acme.shutdown().await.unwrap();
        // The end of one is not the end of the other.
        assert!(globex.execute("w", Context::new()).await.unwrap().status.is_success());
        globex.shutdown().await.unwrap();
    }

    async fn a_workflow_of_one_tenant_is_unknown_to_another(database: Database) {
        let acme = database.runner([workflow("only acme", [idle("t")])]).await;
        let globex = database.of("globex").runner([workflow("only globex", [idle("t")])]).await;
        assert!(acme.execute("only acme", Context::new()).await.unwrap().status.is_success());
        let error = globex.execute("only acme", Context::new()).await.unwrap_err();
        assert!(error.to_string().contains("only globex") && !error.to_string().contains("`only acme`,"), "{error}");
        acme.shutdown().await.unwrap();
        globex.shutdown().await.unwrap();
    }

    async fn many_tenants_work_at_once(database: Database) {
        let mut runners = Vec::new();
        for n in 0..12 {
            let tenant = database.of(&format!("tenant_{n}"));
            runners.push(tenant.runner([workflow("w", [
                setting("a", "a", n),
                idle("b").dependencies(["a"]),
            ])]).await);
        }
        let executions: Vec<_> = runners.iter().flat_map(|runner| (0..5).map(move |_| {
            let runner = runner.clone();
            tokio::spawn(async move { runner.execute("w", Context::new()).await })
        })).collect();
        for (n, execution) in executions.into_iter().enumerate() {
            let result = execution.await.unwrap().unwrap();
            assert_eq!(result.status, ExecutionStatus::Completed);
            assert_eq!(result.final_context.get::<usize>("a"), Some(n / 5));
        }
        for runner in &runners {
            assert_eq!(runner.list_executions().await.unwrap().len(), 5);
            runner.shutdown().await.unwrap();
        }
    }

    async fn stopping_one_tenant_leaves_what_runs_of_another(database: Database) {
        let gate = Gate::new();
        let acme = database.runner([workflow("w", [gate.task("t")])]).await;
        let globex = database.of("globex").runner([workflow("w", [idle("t")])]).await;
        let execution = acme.execute_async("w", Context::new()).await.unwrap();
        let info = gate.started().await;
        globex.shutdown().await.unwrap();
        assert!(!info.cancellation().is_cancelled());
        gate.open(1);
        assert!(execution.wait_for_completion().await.unwrap().status.is_success());
        acme.shutdown().await.unwrap();
    }
}

#[cfg(feature = "postgres")]
pub(crate) mod schemas {
    use std::time::Duration;

    use cloacina::ErrorKind;
    use cloacina::runner::Runner;

    use super::*;
    use crate::support::{assert_error, in_full, in_time, quick, until};

    /// Runs SQL as the owner of a database.
    pub(crate) async fn sql(url: &str, text: &str) {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        client.batch_execute(text).await.unwrap();
        drop(client);
        connection.await.unwrap().unwrap();
    }

    pub(crate) async fn query(url: &str, text: &str) -> String {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.query_one(text, &[]).await.unwrap().get(0)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_schema_that_is_dropped_is_the_trouble_of_its_tenant_alone() {
        let database = Database::postgres().await;
        let gate = Gate::new();
        let workflows = || [workflow("w", [idle("t")]), workflow("gated", [gate.task("t")])];
        // What cannot be written keeps the shutdown for as long as it may.
        let config = quick().shutdown_timeout(std::time::Duration::from_millis(200));
        let acme = database.configured(config, workflows()).await;
        let globex = database.of("globex").runner(workflows()).await;
        assert!(acme.execute("w", Context::new()).await.unwrap().status.is_success());
        let running = acme.execute_async("gated", Context::new()).await.unwrap();
        gate.started().await;
        sql(&database.url, "DROP SCHEMA acme CASCADE").await;
        for error in [
            in_time(acme.execute("w", Context::new())).await.unwrap_err(),
            in_time(acme.execute_async("w", Context::new())).await.unwrap_err(),
            in_time(acme.list_executions()).await.unwrap_err(),
            in_time(running.get_status()).await.unwrap_err(),
            in_time(running.cancel()).await.unwrap_err(),
        ] {
            assert_error(&error, ErrorKind::Place, "`acme`");
        }
        // What its tasks did cannot be written; nobody else waits for it.
        gate.open(1);
        for _ in 0..10 {
            assert!(in_time(globex.execute("w", Context::new())).await.unwrap().status.is_success());
        }
        in_time(globex.shutdown()).await.unwrap();
        in_time(acme.shutdown()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_schema_is_made_on_first_use_and_kept_as_it_was_given() {
        let database = Database::postgres().await;
        for name in ["a", "Acme_Corp", "0", "_", "select", &"x".repeat(63), "public"] {
            let runner = Runner::with_schema(&database.url, name).await.unwrap();
            assert_eq!(runner.place(), name);
            assert!(runner.list_executions().await.unwrap().is_empty());
            runner.shutdown().await.unwrap();
            let there = format!("SELECT nspname::text FROM pg_namespace WHERE nspname = '{name}'");
            assert_eq!(query(&database.url, &there).await, name);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_name_that_is_no_schemas_is_refused() {
        let database = Database::postgres().await;
        let long = "x".repeat(64);
        for name in [
            "",
            " ",
            "tenant-123",
            "tenant 123",
            "tenant@123",
            "a.b",
            "a/b",
            "../a",
            "a\"b",
            "a'b",
            "a;b",
            "a\\b",
            "a\0b",
            "ü",
            "аcme",
            "a\n",
            "${x}",
            "pg_acme",
            "PG_acme",
            "information_schema",
            "Information_Schema",
            "cloacina",
            "cloacina_x",
            "CLOACINA_main",
            &long,
            "\"; DROP SCHEMA public; --",
        ] {
            let error = Runner::with_schema(&database.url, name).await.unwrap_err();
            assert_error(&error, ErrorKind::Configuration, "");
            assert!(error.to_string().contains(&format!("{name:?}")), "{name:?}: {error}");
            assert!(!in_full(&error).contains("password"), "{error:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_name_that_differs_from_another_only_in_case_is_refused_with_both() {
        let database = Database::postgres().await;
        let runner = Runner::with_schema(&database.url, "acme").await.unwrap();
        let error = Runner::with_schema(&database.url, "Acme").await.unwrap_err();
        assert_error(&error, ErrorKind::Configuration, "`Acme`");
        assert_error(&error, ErrorKind::Configuration, "`acme`");
        runner.shutdown().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn without_a_schema_the_place_is_never_public() {
        let database = Database::postgres().await;
        let runner = Runner::new(&database.url).await.unwrap();
        assert_eq!(runner.place(), "cloacina_main");
        let tables = "SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'";
        assert_eq!(query(&database.url, tables).await, "0");
        runner.shutdown().await.unwrap();
    }

    /// By the server's own count, which a connection hands in when it is closed. What opening and closing a
    /// runner costs is counted alone and taken off. The runners beat so seldom that none of it falls here,
    /// however long it takes.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_execution_of_one_task_costs_two_commits_and_a_chain_one_more_for_each_task() {
        let database = Database::postgres().await;
        let chain = || {
            [
                idle("a"),
                idle("b").dependencies(["a"]),
                idle("c").dependencies(["b"]),
                idle("d").dependencies(["c"]),
            ]
        };
        let name = query(&database.url, "SELECT current_database()::text").await;
        // Asked from another database, so that the asking is not counted.
        let elsewhere = format!("{}/postgres", database.url.rsplit_once('/').unwrap().0);
        let place = (elsewhere.as_str(), name.as_str());
        let commits = async |name: &str, executions: usize| {
            let seldom =
                quick().lease(Duration::from_secs(3600)).heartbeat_interval(Duration::from_secs(900));
            let workflows = [workflow("one", [idle("t")]), workflow("chain", chain())];
            let runner = database.configured(seldom, workflows).await;
            for _ in 0..executions {
                runner.execute(name, Context::new()).await.unwrap();
            }
            runner.shutdown().await.unwrap();
            let open = format!("SELECT count(*)::text FROM pg_stat_activity WHERE datname = '{}'", place.1);
            until(async || query(place.0, &open).await == "0").await;
            let count =
                format!("SELECT xact_commit::text FROM pg_stat_database WHERE datname = '{}'", place.1);
            query(place.0, &count).await.parse::<i64>().unwrap()
        };
        let mut before = commits("one", 0).await;
        for (name, each) in [("one", 2), ("chain", 5)] {
            // The least of several, because autovacuum commits as well, now and then.
            let mut least = async |executions| {
                let mut least = i64::MAX;
                for _ in 0..6 {
                    let after = commits(name, executions).await;
                    least = least.min(after - before);
                    before = after;
                }
                least
            };
            // What is prepared on the first use of a connection is taken off as well.
            let counted = -least(50).await + least(150).await;
            // One commit more or less for each would be a hundred.
            let expected = 100 * each;
            assert!(
                (expected - 30..=expected + 30).contains(&counted),
                "{name}: {counted} commits for 100 executions"
            );
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_database_that_became_read_only_is_an_error_until_it_is_writable_again() {
        let database = Database::postgres().await;
        let workflows = || [workflow("w", [setting("t", "done", true)])];
        let runner = database.runner(workflows()).await;
        let first = runner.execute("w", Context::new()).await.unwrap();
        runner.shutdown().await.unwrap();
        let name = query(&database.url, "SELECT quote_ident(current_database())").await;
        let set = |how: &str| format!("ALTER DATABASE {name} SET default_transaction_read_only = {how}");

        let (client, connection) =
            tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&set("on")).await.unwrap();
        let error = database.builder().config(quick().build()).build().await.unwrap_err();
        assert_error(&error, ErrorKind::Unavailable, "read-only");
        assert!(error.is_transient());
        // This session is older than the setting, and may still write.
        client.batch_execute(&set("off")).await.unwrap();

        let runner = database.runner(workflows()).await;
        assert_eq!(
            runner.get_execution_status(first.execution_id).await.unwrap(),
            ExecutionStatus::Completed
        );
        assert!(runner.execute("w", Context::new()).await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn forty_tenants_share_the_connections_of_one() {
        let database = Database::postgres().await;
        let mut runners = Vec::new();
        for n in 0..40 {
            runners.push(database.of(&format!("tenant_{n}")).runner([workflow("w", [idle("t")])]).await);
        }
        for runner in &runners {
            runner.execute("w", Context::new()).await.unwrap();
        }
        let connections: usize = query(
            &database.url,
            "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        ).await.parse().unwrap();
        assert!(connections <= 14, "{connections} connections");
        for runner in &runners {
            runner.shutdown().await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn connections_that_break_lose_nothing_and_repeat_nothing() {
        let database = Database::postgres().await;
        let tasks = || {
            [setting("a", "a", 1), setting("b", "b", 2).dependencies(["a"]), idle("c").dependencies(["b"])]
        };
        let runner = database.runner([workflow("w", tasks())]).await;
        let (client, connection) =
            tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let breaking = tokio::spawn(async move {
            let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                          WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()";
            for _ in 0..15 {
                client.execute(others, &[]).await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(60)).await;
            }
        });
        let mut executions = Vec::new();
        while !breaking.is_finished() {
            let runner = runner.clone();
            executions.push(tokio::spawn(async move { runner.execute("w", Context::new()).await }));
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        breaking.await.unwrap();
        let count = executions.len();
        for execution in executions {
            let result = in_time(execution).await.unwrap().unwrap();
            assert_eq!(result.status, ExecutionStatus::Completed);
            assert_eq!(result.final_context.to_value(), serde_json::json!({"a": 1, "b": 2}));
            let history = loop {
                // Reading is not repeated by itself.
                match runner.execution(result.execution_id).history().await {
                    Ok(history) => break history,
                    Err(error) => assert!(error.is_transient(), "{error:?}"),
                }
            };
            let seen: Vec<_> =
                history.iter().map(|attempt| (attempt.task_id.as_str(), attempt.outcome)).collect();
            let completed = cloacina::AttemptOutcome::Completed;
            assert_eq!(seen, [("a", completed), ("b", completed), ("c", completed)]);
        }
        assert_eq!(runner.list_executions().await.unwrap().len(), count);
        in_time(runner.shutdown()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_that_is_away_for_a_while_is_waited_for() {
        let cluster =
            tokio::task::spawn_blocking(cloacina_testing::cluster::Cluster::start).await.unwrap().unwrap();
        let url = cluster.fresh_database().await.unwrap();
        let gate = Gate::new();
        let runner = Runner::builder()
            .database_url(url)
            .schema("acme")
            .workflow(workflow("w", [gate.task("a"), setting("b", "b", 1).dependencies(["a"])]))
            .build()
            .await
            .unwrap();
        let running = runner.execute_async("w", Context::new()).await.unwrap();
        gate.started().await;
        let cluster = tokio::task::spawn_blocking(move || {
            cluster.kill().unwrap();
            cluster
        })
        .await
        .unwrap();
        // What ends in the meantime is kept, what is submitted waits.
        gate.open(2);
        let submitted = tokio::spawn({
            let runner = runner.clone();
            async move { runner.execute("w", Context::new()).await }
        });
        let error = in_time(runner.list_executions()).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let cluster = tokio::task::spawn_blocking(move || {
            cluster.restart().unwrap();
            cluster
        })
        .await
        .unwrap();
        let result = in_time(running.wait_for_completion()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        assert!(result.task_results.iter().all(|task| task.attempts == 1), "{result:?}");
        assert_eq!(in_time(submitted).await.unwrap().unwrap().status, ExecutionStatus::Completed);
        in_time(runner.shutdown()).await.unwrap();
        tokio::task::spawn_blocking(move || drop(cluster)).await.unwrap();
    }
}
