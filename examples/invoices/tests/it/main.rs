//! The service's nights, in which time is skipped.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

use std::time::Duration;

use cloacina::data::sea_orm::{EntityTrait, QueryOrder};
use cloacina::testing::TestRunner;
use cloacina::{ExecutionFilter, ExecutionStatus, Runner, SignalReceipt, TaskError};
use invoices::{add, data, invoice, ledger, nightly, paid, workflows};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn customer() -> TestRunner {
    let builder =
        workflows().into_iter().fold(Runner::builder(), |builder, workflow| builder.workflow(workflow));
    let customer = TestRunner::start(builder.data(&data().unwrap())).await.unwrap();
    customer.runner().schedules().put(nightly("Europe/Zurich").unwrap()).await.unwrap();
    customer
}

async fn states(customer: &Runner) -> Vec<String> {
    let (db, all) = (customer.data().unwrap(), invoice::Entity::find().order_by_asc(invoice::Column::Id));
    let all = db.read(async |tx| Ok(all.clone().all(tx).await?)).await.unwrap();
    all.into_iter().map(|invoice| invoice.state).collect()
}

async fn charges(customer: &Runner) -> Vec<(i32, i64)> {
    let (db, all) = (customer.data().unwrap(), ledger::Entity::find().order_by_asc(ledger::Column::Invoice));
    let all = db.read(async |tx| Ok(all.clone().all(tx).await?)).await.unwrap();
    all.into_iter().map(|entry| (entry.invoice, entry.cents)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_night_charges_each_invoice_once_and_reminds_who_does_not_pay() {
    let customer = customer().await;
    let runner = customer.runner();
    add(runner, 1, 500).await.unwrap();
    add(runner, 2, 900).await.unwrap();
    customer.task("invoice", "charge").fails(1);
    customer.run_for(DAY).await;
    assert_eq!(charges(runner).await, [(1, 500), (2, 900)]);
    assert_eq!(states(runner).await, ["billed", "billed"]);

    for expected in [SignalReceipt::Delivered, SignalReceipt::Repeated] {
        assert_eq!(paid(runner, 1, 500, "bank-4711").await.unwrap(), expected);
    }
    // Further nights find nothing that is new.
    customer.run_for(4 * DAY).await;
    assert_eq!(states(runner).await, ["paid", "reminded"]);
    assert_eq!(charges(runner).await, [(1, 500), (2, 900)]);
    customer.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoice_that_failed_is_run_again_and_one_that_waits_is_cancelled() {
    let customer = customer().await;
    let runner = customer.runner();
    add(runner, 1, 500).await.unwrap();
    customer.task("invoice", "charge").fails_with(TaskError::fatal("the ledger is closed"));
    customer.run_for(DAY).await;
    let night = runner.list(ExecutionFilter::all().workflow("billing"), None, 1).await.unwrap().remove(0);
    assert_eq!(night.status, ExecutionStatus::Failed);
    assert_eq!(charges(runner).await, []);

    let failed = runner.execution(night.execution_id);
    let again = failed.rerun(cloacina::rerun::From::Failed).send().await.unwrap();
    customer.run_for(Duration::from_secs(60)).await;
    assert_eq!(charges(runner).await, [(1, 500)]);
    again.cancel().await.unwrap();
    customer.run_for(4 * DAY).await;
    assert_eq!(again.get_status().await.unwrap(), ExecutionStatus::Cancelled);
    assert_eq!(states(runner).await, ["billed"]);
    customer.shutdown().await.unwrap();
}
