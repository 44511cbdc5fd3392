//! Recording executions.

use std::time::Duration;

use cloacina::{Context, ErrorKind, ExecutionStatus};
use cloacina_core::clock::{Clock, SystemClock};

use crate::support::{Database, assert_error, idle, setting, workflow};

on_each_store! {
    async fn an_unknown_workflow_is_refused_with_the_name_that_was_meant(database: Database) {
        let runner = database.runner([workflow("billing", [idle("t")]), workflow("dunning", [idle("t")])]).await;
        for error in [
            runner.execute("bilings", Context::new()).await.unwrap_err(),
            runner.execute_async("bilings", Context::new()).await.unwrap_err(),
            runner.submit("bilings").send().await.unwrap_err(),
        ] {
            assert_error(&error, ErrorKind::Workflow, "this program has no workflow `bilings`");
            assert_error(&error, ErrorKind::Workflow, "did you mean `billing`?");
        }
        assert!(runner.list_executions().await.unwrap().is_empty());
        runner.shutdown().await.unwrap();
    }

    async fn one_key_is_one_execution(database: Database) {
        let runner = database.runner([workflow("w", [setting("t", "done", true)]), workflow("other", [idle("t")])]).await;
        let submit = |name: &str, n: i32| runner.submit(name).input(Context::new().with("n", n)).idempotency_key("order-1");
        let first = submit("w", 1).send().await.unwrap();
        // While it runs or when it is over, it makes no difference.
        assert_eq!(submit("w", 1).send().await.unwrap().execution_id, first.execution_id);
        let result = first.wait_for_completion().await.unwrap();
        let again = submit("w", 1).send().await.unwrap();
        assert_eq!(again.execution_id, first.execution_id);
        assert_eq!(again.wait_for_completion().await.unwrap().final_context, result.final_context);
        let error = submit("w", 2).send().await.unwrap_err();
        assert_error(&error, ErrorKind::Conflict, "order-1");
        // The key belongs to the workflow.
        assert_ne!(submit("other", 2).send().await.unwrap().execution_id, first.execution_id);
        assert_eq!(runner.list_executions().await.unwrap().len(), 2);
        runner.shutdown().await.unwrap();
    }

    async fn a_key_of_one_tenant_means_nothing_to_another(database: Database) {
        let workflows = || [workflow("w", [idle("t")])];
        let (a, b) = (database.runner(workflows()).await, database.of("globex").runner(workflows()).await);
        let first = a.submit("w").idempotency_key("k").send().await.unwrap();
        let second = b.submit("w").input(Context::new().with("n", 1)).idempotency_key("k").send().await.unwrap();
        assert_ne!(first.execution_id, second.execution_id);
        a.shutdown().await.unwrap();
        b.shutdown().await.unwrap();
    }

    async fn many_submits_under_one_key_at_once_make_one_execution(database: Database) {
        let runner = database.runner([workflow("w", [idle("t")])]).await;
        let submits: Vec<_> = (0..20)
            .map(|_| tokio::spawn(runner.submit("w").input(Context::new().with("n", 1)).idempotency_key("k").send()))
            .collect();
        let mut ids = Vec::new();
        for submit in submits {
            ids.push(submit.await.unwrap().unwrap().execution_id);
        }
        ids.dedup();
        assert_eq!(ids.len(), 1);
        assert_eq!(runner.list_executions().await.unwrap().len(), 1);
        runner.shutdown().await.unwrap();
    }

    async fn conflicting_submits_at_once_have_one_winner(database: Database) {
        let runner = database.runner([workflow("w", [idle("t")])]).await;
        let submits: Vec<_> = (0..10)
            .map(|n| tokio::spawn(runner.submit("w").input(Context::new().with("n", n)).idempotency_key("k").send()))
            .collect();
        let mut won = 0;
        for submit in submits {
            match submit.await.unwrap() {
                Ok(_) => won += 1,
                Err(error) => assert_error(&error, ErrorKind::Conflict, "`k`"),
            }
        }
        assert_eq!(won, 1);
        assert_eq!(runner.list_executions().await.unwrap().len(), 1);
        runner.shutdown().await.unwrap();
    }

    async fn a_key_or_priority_that_cannot_be_used_is_refused(database: Database) {
        let runner = database.runner([workflow("w", [idle("t")])]).await;
        for (key, words) in [(String::new(), "empty"), ("k".repeat(501), "500 bytes"), ("a\0".into(), "\\u0000")] {
            let error = runner.submit("w").idempotency_key(key).send().await.unwrap_err();
            assert_error(&error, ErrorKind::Configuration, words);
        }
        let error = runner.submit("w").priority(10).send().await.unwrap_err();
        assert_error(&error, ErrorKind::Configuration, "priority 10 is above 9");
        let key = "ü'\";--\u{1}".repeat(40);
        let first = runner.submit("w").idempotency_key(&key).send().await.unwrap();
        assert_eq!(runner.submit("w").idempotency_key(&key).send().await.unwrap().execution_id, first.execution_id);
        runner.shutdown().await.unwrap();
    }

    async fn an_execution_starts_when_it_is_told_to(database: Database) {
        let runner = database.runner([workflow("w", [idle("t")])]).await;
        let at = SystemClock.now() + Duration::from_millis(500);
        let later = runner.submit("w").start_at(at).send().await.unwrap();
        let now = runner.execute("w", Context::new()).await.unwrap();
        assert!(now.status.is_success());
        let status = later.get_status().await.unwrap();
        // On a machine that is busy enough its time has come by now.
        if SystemClock.now() < at {
            assert_eq!(status, ExecutionStatus::Pending);
        }
        let result = later.wait_for_completion().await.unwrap();
        assert!(result.status.is_success());
        assert!(result.start_time >= at, "{} < {at}", result.start_time);
        runner.shutdown().await.unwrap();
    }

    async fn a_start_in_the_past_is_now(database: Database) {
        let runner = database.runner([workflow("w", [idle("t")])]).await;
        let past = SystemClock.now() - Duration::from_secs(3600);
        let execution = runner.submit("w").start_at(past).send().await.unwrap();
        assert!(execution.wait_for_completion().await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }
}
