//! Signals that are sent in a transaction: each arrives exactly if the transaction is committed.

use cloacina::data::sea_orm::{TransactionSession, TransactionTrait};
use cloacina::data::{DataError, TenantDb, TenantTx};
use cloacina::{
    Context, Error, ErrorKind, Execution, ExecutionStatus, Runner, Task, TaskError, Wait, Workflow, task,
};
use uuid::Uuid;

use crate::ledger::{PATIENT, data, mark, until};
use crate::support::{Placement, in_each_placement};

#[task(id = "told", dependencies = ["paid"])]
async fn told(_context: &mut Context) -> Result<(), TaskError> {
    Ok(())
}

/// Two payments, one after the other.
fn order() -> Workflow {
    Workflow::builder("order")
        .wait(Wait::signal("first"))
        .wait(Wait::signal("paid").after("first"))
        .task(told)
        .build()
}

/// Tells the order in its input of the payment, and fails the first time after it did.
#[task(id = "pay")]
async fn pay(context: &mut Context, tx: &TenantTx) -> anyhow::Result<()> {
    let order: Uuid = context.get("order").unwrap();
    mark(tx, order).await?;
    tx.signal(order, "first", context.task().attempt()).send().await?;
    anyhow::ensure!(context.task().attempt() > 1, "it changed its mind");
    tx.signal(order, "paid", context.task().attempt()).send().await?;
    Ok(())
}

async fn open(place: &Placement) -> Runner {
    let paying = Workflow::builder("paying").task(pay.definition().retry(PATIENT)).build();
    place.runner("acme", &data(), vec![order(), paying]).await
}

async fn send(db: &TenantDb, execution: Uuid, name: &'static str, payload: i64) {
    db.run_as(async |tx| tx.signal(execution, name, payload).send().await).await.unwrap();
}

/// Returns once the execution waits for this.
async fn waits_for(execution: &Execution, wait: &str) {
    until("it waits", async || {
        let waits = execution.waits().await.unwrap();
        waits.iter().any(|waiting| waiting.wait == wait).then_some(())
    })
    .await;
}

async fn end_of(execution: &Execution) -> (Option<i64>, Option<i64>) {
    let result = execution.wait_for_completion().await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
    (result.final_context.get("first"), result.final_context.get("paid"))
}

in_each_placement! {
    async fn a_signal_arrives_exactly_if_its_transaction_is_committed(place: Placement) {
        let runner = open(&place).await;
        let db = runner.data().unwrap();
        let execution = runner.submit("order").send().await.unwrap();
        waits_for(&execution, "first").await;
        let id = execution.execution_id;
        let undone = db
            .run_as(async |tx| {
                tx.signal(id, "first", 1).send().await?;
                Err::<(), _>(Error::new(ErrorKind::Task, "it changed its mind"))
            })
            .await;
        assert!(undone.is_err());
        db.run_as(async |tx| {
            let inner = tx.begin().await?;
            inner.signal(id, "first", 2).send().await?;
            inner.rollback().await?;
            drop(tx.begin().await?.signal(id, "first", 3).send().await);
            // Twice with one key is once.
            for _ in 0..2 {
                tx.signal(id, "first", 4).key("bank 1").send().await?;
            }
            anyhow::Ok(())
        })
        .await
        .unwrap();
        waits_for(&execution, "paid").await;
        assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Waiting);
        send(&db, id, "paid", 5).await;
        assert_eq!(end_of(&execution).await, (Some(4), Some(5)));
        runner.shutdown().await.unwrap();
    }

    async fn what_is_submitted_in_a_transaction_gets_the_signals_of_it(place: Placement) {
        let runner = open(&place).await;
        let db = runner.data().unwrap();
        for payment in [1, 2] {
            // Whoever comes first starts it.
            db.run_as(async |tx| {
                let order = tx.submit("order").idempotency_key("7").send().await?;
                tx.signal(order, if payment == 1 { "first" } else { "paid" }, payment).send().await?;
                tx.by_key("order", "7").signal("first", payment).key("once").send().await
            })
            .await
            .unwrap();
        }
        let all = runner.list_executions().await.unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(end_of(&runner.execution(all[0].execution_id)).await, (Some(1), Some(2)));
        runner.shutdown().await.unwrap();
    }

    async fn a_transactional_task_that_is_tried_again_signals_once(place: Placement) {
        let runner = open(&place).await;
        let execution = runner.submit("order").send().await.unwrap();
        let paid = runner.execute("paying", Context::new().with("order", execution.execution_id)).await.unwrap();
        assert_eq!(paid.status, ExecutionStatus::Completed, "{paid:?}");
        assert_eq!(end_of(&execution).await, (Some(2), Some(2)));
        runner.shutdown().await.unwrap();
    }

    async fn a_signal_that_nobody_takes_keeps_no_transaction_from_its_commit(place: Placement) {
        let runner = open(&place).await;
        let db = runner.data().unwrap();
        let over = runner.submit("order").send().await.unwrap();
        over.cancel().await.unwrap();
        over.wait_for_completion().await.unwrap();
        let new = db
            .run_as(async |tx| {
                tx.signal(over.execution_id, "first", 1).send().await?;
                tx.signal(Uuid::from_u128(7), "first", 1).send().await?;
                tx.by_key("order", "of nobody").signal("first", 1).send().await?;
                let unusable = tx.signal(over.execution_id, "", 1).send().await.unwrap_err();
                assert_eq!(unusable.kind(), ErrorKind::Configuration, "{unusable}");
                let large = tx.signal(over.execution_id, "first", "x".repeat(20 << 20)).send().await.unwrap_err();
                assert_eq!(large.kind(), ErrorKind::Context, "{large}");
                tx.submit("order").send().await
            })
            .await
            .unwrap();
        send(&db, new, "first", 1).await;
        send(&db, new, "paid", 2).await;
        assert_eq!(end_of(&runner.execution(new)).await, (Some(1), Some(2)));
        let read = db
            .read_as(async |tx| {
                let refused = tx.signal(new, "first", 1).send().await.unwrap_err();
                Ok::<_, DataError>(refused)
            })
            .await
            .unwrap();
        assert!(read.kind() == ErrorKind::Configuration && read.to_string().contains("only reads"), "{read}");
        runner.shutdown().await.unwrap();
    }
}
