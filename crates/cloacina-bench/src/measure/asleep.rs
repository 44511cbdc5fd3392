//! Executions that sleep or wait for a signal.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cloacina::{Context, ExecutionFilter, ExecutionStatus, Runner, RunnerConfig, SignalReceipt};
use futures_util::future::try_join_all;

use super::scale::{IN_FLIGHT, Scale, per_second};
use crate::database::{Database, Kind};
use crate::sample::{Spread, p50};
use crate::shape::{AWAKE, HEARD, SLEEP};
use crate::table::{Row, Target};

/// How many sleeps are over at one moment, for each that is measured alone.
const SLEEPERS: usize = 50;

pub(crate) async fn asleep(kind: Kind, scale: Scale) -> Result<Vec<Row>> {
    Ok(vec![signal(kind, scale).await?, awake(kind, scale).await?])
}

/// From a signal to the code that waits for it, in one process.
async fn signal(kind: Kind, scale: Scale) -> Result<Row> {
    let (ours, theirs) = (Database::fresh(kind).await?, Database::fresh(kind).await?);
    let mut hand = theirs.hand(1).await?;
    let runner = ours.runner(0).await?;
    let mut runs = Vec::new();
    hand.bare(50, 1).await?;
    for _ in 0..scale.runs {
        let latency = p50(&mut signals(&runner, scale.alone / 4).await?);
        runs.push((latency, p50(&mut hand.bare(scale.alone / 4, 1).await?)));
    }
    runner.shutdown().await?;
    let (engine, bare) = (Spread::of(runs.iter().map(|run| run.0)), Spread::of(runs.iter().map(|run| run.1)));
    let target = engine.zip(bare).map(|(engine, bare)| {
        let most = 5.0 * bare.median + 500.0;
        Target { words: format!("≤ {most:.0}"), met: engine.median <= most }
    });
    Ok(Row { engine, bare, target, ..Row::new("from a signal to the code that waits for it, p50", "µs") })
}

async fn signals(runner: &Runner, count: usize) -> Result<Vec<Duration>> {
    let mut latencies = Vec::with_capacity(count);
    for _ in 0..count {
        let execution = runner.execute_async("hearing", Context::new()).await?;
        while execution.waits().await?.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let begun = Instant::now();
        let sent = execution.signal("go", 1).send().await?;
        ensure!(sent == SignalReceipt::Delivered, "the signal was {sent:?}");
        HEARD.notified().await;
        latencies.push(begun.elapsed());
        execution.wait_for_completion().await?;
    }
    Ok(latencies)
}

/// Sleeps that are over at one moment, when nobody was there: beside as many tasks that are ready.
async fn awake(kind: Kind, scale: Scale) -> Result<Row> {
    let count = scale.alone * SLEEPERS;
    let (mut engine, mut ready, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.runs {
        let database = Database::fresh(kind).await?;
        let front = database.runner_with(0, RunnerConfig::builder().submit_only(true).build()).await?;
        submit(&front, "ready", count).await?;
        front.shutdown().await?;
        ready.push(drain(&database, count).await?);

        let database = Database::fresh(kind).await?;
        let runner = database.runner(0).await?;
        submit(&runner, "asleep", count).await?;
        // All of them have begun to sleep, and none has ended.
        let reached = Instant::now();
        while sleeping(&runner).await? < 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ensure!(reached.elapsed() < SLEEP, "the first woke before the last slept");
        runner.shutdown().await?;
        tokio::time::sleep(SLEEP).await;
        engine.push(drain(&database, count).await?);
        ratio.push(engine[engine.len() - 1] / ready[ready.len() - 1]);
    }
    let ratio = Spread::of(ratio);
    let target = ratio.map(|ratio| Target { words: "≥ 0.4".to_owned(), met: ratio.median >= 0.4 });
    let title = format!("{count} sleeps that are over at one moment, beside as many ready tasks");
    Ok(Row { engine: Spread::of(engine), hand: Spread::of(ready), ratio, target, ..Row::new(title, "1/s") })
}

async fn sleeping(runner: &Runner) -> Result<usize> {
    let filter = ExecutionFilter::all().status(ExecutionStatus::Pending);
    Ok(usize::from(runner.list(filter, None, 1).await?.is_empty()))
}

async fn submit(runner: &Runner, workflow: &str, count: usize) -> Result<()> {
    for some in 0..count.div_ceil(IN_FLIGHT) {
        let some = IN_FLIGHT.min(count - some * IN_FLIGHT);
        try_join_all((0..some).map(|_| runner.execute_async(workflow, Context::new()))).await?;
    }
    Ok(())
}

/// How many a second run their task, from the start of a process.
async fn drain(database: &Database, count: usize) -> Result<f64> {
    let before = AWAKE.load(Ordering::Relaxed);
    let runner = database.runner(0).await?;
    let begun = Instant::now();
    while AWAKE.load(Ordering::Relaxed) < before + count {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let rate = per_second(count, begun.elapsed());
    runner.shutdown().await?;
    Ok(rate)
}
