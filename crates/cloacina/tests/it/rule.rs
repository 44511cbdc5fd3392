//! Trigger rules, from end to end.

use cloacina::{Context, ExecutionStatus, SkipReason, TaskDefinition, TaskState, TriggerRule};
use tokio::sync::mpsc;

use crate::support::{Database, failing, idle, setting, task, task_of, workflow};

use TriggerRule::{AllDone, AllSuccess, AnyFailed, AnySuccess, NoneFailed};

const RULES: [TriggerRule; 5] = [AllSuccess, AllDone, AnySuccess, AnyFailed, NoneFailed];

/// What a task came to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Came {
    Run,
    ByRule,
    UpstreamFailed,
}

use Came::{ByRule, Run, UpstreamFailed};

/// A task with each rule behind the same dependencies.
fn behind(dependencies: [&str; 2], ran: &mpsc::UnboundedSender<&'static str>) -> Vec<TaskDefinition> {
    let noting = |rule: TriggerRule| {
        let ran = ran.clone();
        task(rule.name(), move |context| {
            ran.send(rule.name()).unwrap();
            async { Ok(context) }
        })
    };
    RULES.iter().map(|rule| noting(*rule).rule(*rule).dependencies(dependencies)).collect()
}

async fn check(
    database: &Database,
    before: Vec<TaskDefinition>,
    dependencies: [&str; 2],
    expected: [Came; 5],
) {
    let (ran, mut runs) = mpsc::unbounded_channel();
    let runner = database.runner([workflow("w", before.into_iter().chain(behind(dependencies, &ran)))]).await;
    let result = runner.execute("w", Context::new()).await.unwrap();
    let mut names = Vec::new();
    while let Ok(name) = runs.try_recv() {
        names.push(name);
    }
    let history = runner.execution(result.execution_id).history().await.unwrap();
    runner.shutdown().await.unwrap();
    for (rule, expected) in RULES.iter().zip(expected) {
        let task = task_of(&result, rule.name());
        let came = match (task.state, task.skip_reason) {
            (TaskState::Completed, None) => Run,
            (TaskState::Skipped, Some(SkipReason::ByRule)) => ByRule,
            (TaskState::Skipped, Some(SkipReason::UpstreamFailed)) => UpstreamFailed,
            other => panic!("{rule:?}: {other:?}"),
        };
        assert_eq!(came, expected, "{rule:?} behind {dependencies:?}");
        assert_eq!(names.contains(&rule.name()), came == Run, "{rule:?}: a task that is skipped is not run");
        assert_eq!(
            history.iter().any(|attempt| attempt.task_id == rule.name()),
            came == Run,
            "{rule:?}: {history:?}"
        );
    }
}

/// A task that its own rule skips: nothing before it failed.
fn skipped() -> [TaskDefinition; 2] {
    [idle("fine"), idle("skipped").rule(AnyFailed).dependencies(["fine"])]
}

on_each_store! {
    async fn rules_behind_success(database: Database) {
        check(&database, vec![idle("a"), idle("b")], ["a", "b"], [Run, Run, Run, ByRule, Run]).await;
    }

    async fn rules_behind_success_and_failure(database: Database) {
        check(&database, vec![idle("a"), failing("b")], ["a", "b"], [UpstreamFailed, Run, Run, Run, UpstreamFailed]).await;
    }

    async fn rules_behind_success_and_skip(database: Database) {
        let before = skipped().into_iter().chain([idle("a")]).collect();
        check(&database, before, ["a", "skipped"], [ByRule, Run, Run, ByRule, Run]).await;
    }

    async fn rules_behind_failures(database: Database) {
        let expected = [UpstreamFailed, Run, UpstreamFailed, Run, UpstreamFailed];
        check(&database, vec![failing("a"), failing("b")], ["a", "b"], expected).await;
    }

    async fn rules_behind_failure_and_skip(database: Database) {
        let before = skipped().into_iter().chain([failing("a")]).collect();
        let expected = [UpstreamFailed, Run, UpstreamFailed, Run, UpstreamFailed];
        check(&database, before, ["a", "skipped"], expected).await;
    }

    async fn rules_behind_skips(database: Database) {
        let before = skipped().into_iter().chain([idle("other").rule(AnyFailed).dependencies(["fine"])]).collect();
        check(&database, before, ["skipped", "other"], [ByRule, Run, ByRule, ByRule, Run]).await;
    }

    async fn a_skip_because_of_a_failure_counts_as_a_failure_further_on(database: Database) {
        let before = vec![failing("root"), idle("a").dependencies(["root"]), idle("b")];
        check(&database, before, ["a", "b"], [UpstreamFailed, Run, Run, Run, UpstreamFailed]).await;
    }

    async fn a_failure_is_handled_by_a_task_that_completes_under_any_failed(database: Database) {
        let result = database.run(Context::new(), [
            failing("charge"),
            setting("refund", "refunded", true).rule(AnyFailed).dependencies(["charge"]),
        ]).await;
        assert_eq!(result.status, ExecutionStatus::Completed);
        assert_eq!(result.error_message, None);
        assert_eq!(result.final_context.get::<bool>("refunded"), Some(true));
        // It is handled, not forgotten.
        let charge = task_of(&result, "charge");
        assert_eq!((charge.state, charge.error_message.as_deref()), (TaskState::Failed, Some("charge is broken")));
    }

    async fn a_failure_stays_one_if_its_handler_fails(database: Database) {
        let result = database.run(Context::new(), [
            failing("charge"),
            failing("refund").rule(AnyFailed).dependencies(["charge"]),
        ]).await;
        assert_eq!(result.status, ExecutionStatus::Failed);
        assert_eq!(result.error_message.as_deref(), Some("charge is broken"));
    }

    async fn one_handled_failure_does_not_excuse_another(database: Database) {
        let result = database.run(Context::new(), [
            failing("charge"),
            idle("refund").rule(AnyFailed).dependencies(["charge"]),
            failing("mail"),
        ]).await;
        assert_eq!(result.status, ExecutionStatus::Failed);
        assert_eq!(result.error_message.as_deref(), Some("mail is broken"));
    }

    async fn all_done_runs_after_a_failure_and_does_not_handle_it(database: Database) {
        let result = database.run(Context::new(), [
            failing("work"),
            setting("clean_up", "clean", true).rule(AllDone).dependencies(["work"]),
        ]).await;
        assert_eq!(result.status, ExecutionStatus::Failed);
        assert_eq!(result.error_message.as_deref(), Some("work is broken"));
        assert_eq!(result.final_context.get::<bool>("clean"), Some(true));
    }

    async fn an_execution_of_which_only_skips_are_left_completes(database: Database) {
        let result = database.run(Context::new(), skipped()).await;
        assert_eq!(result.status, ExecutionStatus::Completed);
        assert_eq!(task_of(&result, "skipped").state, TaskState::Skipped);
    }
}
