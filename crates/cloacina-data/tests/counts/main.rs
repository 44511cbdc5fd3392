//! What is counted of executions, by the facade `metrics`. There is one recorder in a program, so this is one
//! test.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

#[path = "../it/support.rs"]
#[expect(dead_code, unused_imports, unused_macros, reason = "the other tests need more of it")]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use cloacina::data::{Data, TenantTx};
use cloacina::{
    Context, ExecutionStatus, RetryPolicy, Schedule, Task, TaskDefinition, TaskError, TenantLabel,
    label_tenants, task,
};
use cloacina_core::clock::{Clock as _, SystemClock};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

use support::{Placement, workflow};

/// Submits an execution in the transaction in which it is recorded as done.
#[task(id = "order")]
async fn order(context: &mut Context, tx: &TenantTx) -> anyhow::Result<()> {
    context.set("payment", tx.submit("noting").send().await?);
    Ok(())
}

fn note(id: &str) -> TaskDefinition {
    TaskDefinition::from_async(id, async |context: Context| Ok::<_, TaskError>(context))
}

/// What was counted since the last time.
fn counted(snapshotter: &Snapshotter) -> (BTreeMap<String, u64>, BTreeMap<String, usize>) {
    let (mut counters, mut others) = (BTreeMap::new(), BTreeMap::new());
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels: Vec<String> =
            key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = match labels.is_empty() {
            true => key.key().name().to_owned(),
            false => format!("{}{{{}}}", key.key().name(), labels.join(",")),
        };
        match value {
            DebugValue::Counter(counted) => drop(counters.insert(name, counted)),
            DebugValue::Histogram(values) => drop(others.insert(name, values.len())),
            DebugValue::Gauge(_) => drop(others.insert(name, 1)),
        }
    }
    (counters, others)
}

async fn count(place: Placement, snapshotter: &Snapshotter) {
    let data = Data::builder().build().unwrap();
    let broken = TaskDefinition::from_async("break", async |_| Err::<Context, TaskError>("broken".into()));
    let blocking = TaskDefinition::new("block", cloacina::TaskBody::Blocking(std::sync::Arc::new(Ok)));
    let workflows = vec![
        workflow("noting", [note("note")]),
        workflow("ordering", [order.definition()]),
        workflow("breaking", [broken.retry(RetryPolicy::NEVER)]),
        workflow("blocking", [blocking]),
    ];
    let runner = place.runner("acme", &data, workflows).await;
    let db = runner.data().unwrap();
    counted(snapshotter);

    // From outside, in a transaction, and in the transaction of a task.
    runner.execute("noting", Context::new()).await.unwrap();
    let submit = async |tx: &TenantTx| tx.submit("noting").send().await;
    let mut submitted = vec![db.run_as(submit).await.unwrap()];
    let ordered = runner.execute("ordering", Context::new()).await.unwrap();
    assert_eq!(ordered.status, ExecutionStatus::Completed, "{ordered:?}");
    submitted.push(ordered.final_context.get("payment").unwrap());
    for execution in submitted {
        runner.execution(execution).wait_for_completion().await.unwrap();
    }
    runner.execute("blocking", Context::new()).await.unwrap();
    // Twice under one key.
    for _ in 0..2 {
        let keyed = runner.submit("noting").idempotency_key("once").send().await.unwrap();
        keyed.wait_for_completion().await.unwrap();
    }
    let rolled_back: anyhow::Result<()> = db
        .run_as(async |tx| {
            tx.submit("noting").send().await?;
            anyhow::bail!("it changed its mind")
        })
        .await;
    rolled_back.unwrap_err();
    runner.execute("breaking", Context::new()).await.unwrap();
    let later = SystemClock.now() + Duration::from_secs(3600);
    let cancelled = runner.submit("noting").start_at(later).send().await.unwrap();
    cancelled.cancel().await.unwrap();
    let missed = runner.submit("noting").start_at(later).deadline(SystemClock.now()).send().await.unwrap();
    assert_eq!(missed.wait_for_completion().await.unwrap().status, ExecutionStatus::Cancelled);

    let (counters, others) = counted(snapshotter);
    let submitted = counters.get("cloacina_executions_submitted_total").copied();
    let ended = ["completed", "failed", "cancelled"].map(|how| {
        let of = |(name, count): (&String, &u64)| {
            let is_it =
                name.starts_with("cloacina_executions_total{") && name.contains(&format!("outcome={how}"));
            is_it.then_some(*count)
        };
        counters.iter().filter_map(of).sum::<u64>()
    });
    assert_eq!((submitted, ended), (Some(9), [6, 1, 2]), "{counters:?}");
    let tries = |outcome: &str| {
        counters
            .iter()
            .filter(|(name, _)| name.starts_with("cloacina_task_attempts_total{") && name.contains(outcome))
            .map(|(_, count)| *count)
            .sum::<u64>()
    };
    assert!(tries("outcome=completed") >= 6 && tries("outcome=failed") >= 1, "{counters:?}");
    for name in [
        "cloacina_flush_seconds",
        "cloacina_flush_transitions",
        "cloacina_blocking_tasks_running",
        "cloacina_blocking_tasks_waiting",
    ] {
        assert!(others.get(name).is_some_and(|values| *values > 0), "{name}: {others:?}");
    }
    let waits = |workflow: &str| others.get(&format!("cloacina_queue_wait_seconds{{workflow={workflow}}}"));
    assert!(waits("noting").is_some_and(|waits| *waits >= 4), "{others:?}");
    assert!(waits("breaking").is_some_and(|waits| *waits == 1), "{others:?}");
    let named = "cloacina_tenant_slot_seconds_total{tenant=acme}";
    assert!(counters.contains_key(named), "{counters:?}");

    let past = Schedule::new("past", "noting").at(SystemClock.now() - Duration::from_secs(3600));
    runner.schedules().put(past).await.unwrap();
    let (counters, others) = counted(snapshotter);
    assert_eq!(counters["cloacina_schedule_fires_total{outcome=started}"], 1, "{counters:?}");
    assert_eq!(others["cloacina_schedule_lateness_seconds"], 1, "{others:?}");
    runner.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_execution_is_counted_once_when_it_is_recorded_and_once_when_it_ends() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();
    label_tenants(TenantLabel::Listed(["acme".to_owned()].into()));
    let all = async {
        count(Placement::sqlite(), &snapshotter).await;
        count(Placement::schema().await, &snapshotter).await;
    };
    tokio::time::timeout(support::PATIENCE, Box::pin(all)).await.expect("it ends in time");
}
