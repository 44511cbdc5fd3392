//! Months in which nobody waits, and the program from outside.
#![allow(clippy::unwrap_used, reason = "clippy takes only the test functions for tests, not their helpers")]

use std::process::Command;
use std::time::Duration;

use cloacina::testing::TestRunner;
use cloacina::{Context, ExecutionFilter, ExecutionStatus, FireOutcome, Runner};
use jiff::tz::TimeZone;
use subscriptions::{Terms, nightly, workflows};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn start() -> TestRunner {
    let builder = workflows(&Terms::default())
        .into_iter()
        .fold(Runner::builder(), |builder, workflow| builder.workflow(workflow));
    TestRunner::start(builder).await.unwrap()
}

async fn alerts(runner: &TestRunner) -> Vec<String> {
    runner.run_until_idle().await;
    let found = runner.runner().list(ExecutionFilter::all().workflow("alert"), None, 10).await.unwrap();
    let mut told = Vec::new();
    for alert in found {
        let result = runner.run_to_end(alert.execution_id).await;
        told.push(result.final_context.get("told").unwrap());
    }
    told
}

#[tokio::test]
async fn who_does_not_pay_is_reminded_three_days_after_the_trial() {
    let runner = start().await;
    let begun = runner.now();
    let result = runner.execute("subscription", Context::new().with("plan", "small")).await.unwrap();
    assert_eq!(result.final_context.get::<String>("state").as_deref(), Some("reminded"));
    assert_eq!(runner.now(), begun + 17 * DAY);
    runner.shutdown().await.unwrap();
}

#[tokio::test]
async fn who_pays_is_active_at_once() {
    let runner = start().await;
    let begun = runner.now();
    let execution =
        runner.submit("subscription").input(Context::new().with("plan", "small")).send().await.unwrap();
    runner.run_for(15 * DAY).await;
    assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Waiting);
    execution.signal("paid", 9).send().await.unwrap();
    let result = runner.run_to_end(execution.execution_id).await;
    assert_eq!(result.final_context.get::<String>("state").as_deref(), Some("active"));
    assert_eq!(runner.now(), begun + 15 * DAY);
    runner.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_plan_that_there_is_not_tells_somebody() {
    let runner = start().await;
    let result = runner.execute("subscription", Context::new().with("plan", "huge")).await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Failed);
    let told = alerts(&runner).await;
    assert!(matches!(&told[..], [told] if told.contains("there is no plan `huge`")), "{told:?}");
    runner.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_refund_that_nobody_answers_fails_after_two_days_and_tells_somebody() {
    let runner = start().await;
    let begun = runner.now();
    let result = runner.execute("refund", Context::new().with("amount", 120)).await.unwrap();
    assert_eq!((result.status, runner.now()), (ExecutionStatus::Failed, begun + 2 * DAY));
    assert_eq!(alerts(&runner).await.len(), 1);
    runner.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_quarter_of_nights_is_counted_at_four_where_the_customer_lives() {
    let runner = start().await;
    let (schedules, zone) = (runner.runner().schedules(), TimeZone::get("Europe/Zurich").unwrap());
    schedules.put(nightly("Europe/Zurich").unwrap()).await.unwrap();
    // The clocks go back in the night of October 26th.
    runner.run_for(150 * DAY).await;
    let fires = schedules.fires("nightly", None, 1_000).await.unwrap();
    assert_eq!(fires.len(), 150);
    for fire in fires {
        assert_eq!(fire.outcome, FireOutcome::Started);
        assert_eq!(fire.nominal.to_zoned(zone.clone()).hour(), 4);
    }
    runner.shutdown().await.unwrap();
}

#[test]
fn the_program_shows_it_all_in_a_few_seconds() {
    let output = Command::new(env!("CARGO_BIN_EXE_subscriptions")).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{out}\n{err}");
    for line in [
        "acme is active after the trial",
        "globex is reminded after the trial",
        "acme is counted next at ",
        "120 to acme: Pay it back? yes; paid back: Some(120)",
        "5000 to acme: Pay it back? no; paid back: Some(0)",
        "refund failed: ",
    ] {
        assert!(out.lines().any(|said| said.starts_with(line)), "{line}: {out}");
    }
}
