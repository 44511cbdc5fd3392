//! Several versions of a workflow in one process.

use std::time::Duration;

use cloacina::{Context, ErrorKind, Workflow};

use crate::support::{Database, Gate, assert_error, idle, in_time, quick, setting, workflow};

fn report(version: Option<&str>, gate: &Gate, by: &str) -> Workflow {
    let builder = Workflow::builder("report");
    let builder = match version {
        Some(version) => builder.version(version),
        None => builder,
    };
    builder.task(gate.task("wait")).task(setting("say", "by", by).dependencies(["wait"])).build()
}

on_each_store! {
    async fn executions_end_on_the_version_that_they_began_with(database: Database) {
        let gate = Gate::new();
        let mut begun = Vec::new();
        for version in [None, Some("9")] {
            let by = version.unwrap_or("none");
            let config = quick().shutdown_timeout(Duration::ZERO);
            let runner = database.configured(config, [report(version, &gate, by)]).await;
            begun.push((by, runner.execute_async("report", Context::new()).await.unwrap()));
            gate.started().await;
            runner.shutdown().await.unwrap();
        }
        // In any order: 10 is the newest.
        let versions = [Some("10"), None, Some("9")].map(|version| report(version, &gate, version.unwrap_or("none")));
        let runner = database.runner(versions).await;
        begun.push(("10", runner.execute_async("report", Context::new()).await.unwrap()));
        begun.push(("10", runner.submit("report").by_name().send().await.unwrap()));
        gate.open(begun.len());
        for (by, execution) in begun {
            let result = in_time(runner.execution(execution.execution_id).wait_for_completion()).await.unwrap();
            assert!(result.status.is_success(), "{result:?}");
            assert_eq!(result.final_context.get::<String>("by").as_deref(), Some(by), "{result:?}");
        }
        runner.shutdown().await.unwrap();
    }

    async fn what_was_submitted_by_name_becomes_the_newest_version(database: Database) {
        let submitter = database.configured(quick().submit_only(true), []).await;
        let executions =
            [submitter.submit("report").by_name().send().await, submitter.submit("report").by_name().send().await];
        let gate = Gate::new();
        gate.open(2);
        let versions = [Some("2"), Some("1")].map(|version| report(version, &gate, version.unwrap_or("none")));
        let runner = database.runner(versions).await;
        for execution in executions {
            let result = in_time(execution.unwrap().wait_for_completion()).await.unwrap();
            assert_eq!(result.final_context.get::<String>("by").as_deref(), Some("2"), "{result:?}");
        }
        runner.shutdown().await.unwrap();
        submitter.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn two_graphs_of_one_version_are_refused() {
    let database = Database::sqlite();
    let two = [["a"].as_slice(), &["a", "b"]].map(|tasks| {
        let builder = Workflow::builder("w").version("1");
        tasks.iter().fold(builder, |builder, task| builder.task(idle(task))).build()
    });
    let config = two.into_iter().fold(quick(), |config, workflow| config.workflow(workflow));
    let error = database.builder().config(config.build()).build().await.unwrap_err();
    assert_error(&error, ErrorKind::Workflow, "the name `w` and the version `1`: give one another version");
}

#[test]
fn a_version_is_part_of_the_fingerprint_where_there_is_one() {
    let of = |version: &str| {
        Workflow::builder("w").version(version).task(idle("a")).build().fingerprint().unwrap()
    };
    let without = workflow("w", [idle("a")]).fingerprint().unwrap();
    assert_eq!(of("1"), of("1"));
    assert_ne!(of("1"), of("2"));
    assert_ne!(of("1"), without);
    // As it was before there were versions: executions that wait in a database go on.
    assert_eq!(without.to_string(), "010c2fe9caa0f13a");
    for version in ["", "1\n2", &"x".repeat(201)] {
        let error = Workflow::builder("w").version(version).task(idle("a")).try_build().unwrap_err();
        assert!(error.to_string().contains("its version"), "{error}");
    }
}
