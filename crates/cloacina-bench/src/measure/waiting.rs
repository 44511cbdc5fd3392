//! Waiting: for what is over, and for what another process runs.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cloacina::{Execution, ExecutionStatus, Runner, RunnerConfig};
use futures_util::future::try_join_all;

use super::scale::{Scale, per_second};
use crate::database::{Database, Kind};
use crate::sample::{Spread, p50};
use crate::shape::{ONE, input};
use crate::table::{Row, Target};

/// The argument that makes this program the worker.
pub(crate) const WORKER: &str = "waiting-worker";

/// How many executions are started before the first is awaited.
const STARTED: usize = 500;

pub(crate) async fn waiting(kind: Kind, scale: Scale) -> Result<Vec<Row>> {
    let mut rows = over(kind, scale).await?;
    rows.push(two_processes(kind, scale).await?);
    Ok(rows)
}

/// Executions are started, and all are over before the first is awaited.
async fn over(kind: Kind, scale: Scale) -> Result<Vec<Row>> {
    let database = Database::fresh(kind).await?;
    let runner = database.runner(0).await?;
    let (mut one_by_one, mut unknown, mut together, mut rate) = (vec![], vec![], vec![], vec![]);
    for _ in 0..scale.runs {
        let started = start(&runner).await?;
        until_over(&started).await?;
        one_by_one.push(each(&started).await?);
        // Handles that know nothing, as those of another process.
        let strangers: Vec<_> =
            started.iter().map(|execution| runner.execution(execution.execution_id)).collect();
        unknown.push(each(&strangers).await?);
        let strangers: Vec<_> =
            started.iter().map(|execution| runner.execution(execution.execution_id)).collect();
        let begun = Instant::now();
        try_join_all(strangers.iter().map(Execution::wait_for_completion)).await?;
        together.push(begun.elapsed().as_secs_f64() * 1e3 / STARTED as f64);
        let begun = Instant::now();
        for execution in start(&runner).await? {
            execution.wait_for_completion().await?;
        }
        rate.push(per_second(STARTED, begun.elapsed()));
    }
    runner.shutdown().await?;
    let row = |title: &str, runs: Vec<f64>| {
        let engine = Spread::of(runs);
        let target = engine.map(|each| Target { words: "≤ 0.3 ms".to_owned(), met: each.median <= 0.3 });
        Row { engine, target, ..Row::new(title, "ms") }
    };
    Ok(vec![
        row("500 that are over, awaited one after another: each", one_by_one),
        row("the same by new handles", unknown),
        row("the same by new handles, all at once", together),
        Row { engine: Spread::of(rate), ..Row::new("500 started and then awaited one after another", "1/s") },
    ])
}

async fn start(runner: &Runner) -> Result<Vec<Execution>> {
    let mut started = Vec::with_capacity(STARTED);
    for _ in 0..STARTED {
        started.push(runner.execute_async(ONE.workflow, input()).await?);
    }
    Ok(started)
}

async fn until_over(executions: &[Execution]) -> Result<()> {
    for execution in executions {
        while !execution.get_status().await?.is_terminal() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

/// How long each takes, in milliseconds, one after the other.
async fn each(executions: &[Execution]) -> Result<f64> {
    let begun = Instant::now();
    for execution in executions {
        let result = execution.wait_for_completion().await?;
        ensure!(result.status == ExecutionStatus::Completed, "it ended as {:?}", result.status);
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3 / executions.len() as f64)
}

/// A process that only submits and waits, and one that runs.
async fn two_processes(kind: Kind, scale: Scale) -> Result<Row> {
    let (ours, theirs) = (Database::fresh(kind).await?, Database::fresh(kind).await?);
    let mut hand = theirs.hand(1).await?;
    let front = ours.runner_with(0, RunnerConfig::builder().submit_only(true).build()).await?;
    let worker = Worker::start(&ours)?;
    let mut runs = Vec::new();
    alone(&front, 50).await?;
    hand.bare(50, 1).await?;
    for _ in 0..scale.runs {
        let latency = p50(&mut alone(&front, scale.alone / 4).await?);
        runs.push((latency, p50(&mut hand.bare(scale.alone / 4, 1).await?)));
    }
    drop(worker);
    front.shutdown().await?;
    let (engine, bare) = (Spread::of(runs.iter().map(|run| run.0)), Spread::of(runs.iter().map(|run| run.1)));
    let target = engine.zip(bare).map(|(engine, bare)| {
        let most = 4.0 * bare.median + 1_000.0;
        Target { words: format!("≤ {most:.0}"), met: engine.median <= most }
    });
    Ok(Row { engine, bare, target, ..Row::new("a front and a worker in two processes, p50", "µs") })
}

async fn alone(front: &Runner, count: usize) -> Result<Vec<Duration>> {
    let front = front.clone();
    let work = tokio::spawn(async move {
        let mut latencies = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            let result = front.execute(ONE.workflow, input()).await?;
            ensure!(result.status == ExecutionStatus::Completed, "it ended as {:?}", result.status);
            latencies.push(begun.elapsed());
        }
        Ok(latencies)
    });
    work.await?
}

/// The process that runs; killed when this is dropped.
struct Worker(Child);

impl Worker {
    fn start(database: &Database) -> Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .args([WORKER, &database.url(0)?, &database.schema(0).unwrap_or_default()])
            .stdin(Stdio::null())
            .spawn()
            .context("the worker does not start")?;
        Ok(Self(child))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs what others submit, until it is killed.
pub(crate) async fn worker(url: String, schema: String) -> Result<()> {
    let builder = Runner::builder().database_url(url);
    let builder = if schema.is_empty() { builder } else { builder.schema(schema) };
    let _runner = builder.build().await?;
    std::future::pending::<()>().await;
    Ok(())
}
