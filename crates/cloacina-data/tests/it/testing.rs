//! A tenant's data in a test in which time is skipped.

use std::time::Duration;

use cloacina::data::sea_orm::{self, EntityTrait};
use cloacina::data::{TenantDb, TenantTx};
use cloacina::testing::TestRunner;
use cloacina::{
    Backoff, Context, ExecutionStatus, Jitter, RetryPolicy, Runner, Task, TaskError, Workflow, task,
};

use crate::ledger::{data, enter, entry};

const HOUR: Duration = Duration::from_secs(3600);
const HOURLY: RetryPolicy =
    RetryPolicy { attempts: 5, backoff: Backoff::Fixed, base: HOUR, cap: HOUR, jitter: Jitter::None };

/// Recorded as done in the transaction of its row.
#[task(id = "pay")]
async fn pay(context: &mut Context, tx: &TenantTx) -> Result<(), sea_orm::DbErr> {
    enter(context, tx).await
}

#[task(id = "count", dependencies = ["pay"])]
async fn count(context: &mut Context, db: TenantDb) -> Result<(), TaskError> {
    let rows = db.read(async |tx| Ok(entry::Entity::find().all(tx).await?)).await?;
    context.set("rows", rows.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_with_data_is_in_a_temporary_file_and_skips_time_as_any_other() {
    let workflow = Workflow::builder("w").task(pay.definition().retry(HOURLY)).task(count).build();
    let runner = TestRunner::start(Runner::builder().data(&data()).workflow(workflow)).await.unwrap();
    runner.task("w", "pay").fails(2);
    let begun = runner.now();
    for nth in 1..=3 {
        let result = runner.execute("w", Context::new()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        assert_eq!(result.final_context.get::<usize>("rows"), Some(nth));
        // Long enough for the file to be at rest in between.
        runner.run_for(HOUR).await;
    }
    assert_eq!(runner.now(), begun + 5 * HOUR);
    let db = runner.runner().data().unwrap();
    let rows = db.read(async |tx| Ok(entry::Entity::find().all(tx).await?)).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.attempt).collect::<Vec<_>>(), [3, 1, 1]);
    runner.shutdown().await.unwrap();
}
