//! The work with the engine, as a service would ask for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cloacina::{ExecutionStatus, Runner};

use crate::shape::{Shape, input};

/// The latencies of executions one after another.
pub(crate) async fn alone(runner: &Runner, shape: Shape, count: usize) -> Result<Vec<Duration>> {
    let runner = runner.clone();
    // On a worker of the runtime, where a service would call: what runs on the main thread is woken by
    // another one each time.
    let work = tokio::spawn(async move {
        let mut latencies = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            execute(&runner, shape).await?;
            latencies.push(begun.elapsed());
        }
        Ok(latencies)
    });
    work.await?
}

/// How long `count` executions take with `in_flight` callers, spread over the tenants.
pub(crate) async fn in_flight(
    runners: &[Runner],
    shape: Shape,
    count: usize,
    in_flight: usize,
) -> Result<Duration> {
    let left = Arc::new(AtomicUsize::new(count));
    let begun = Instant::now();
    let callers: Vec<_> = runners
        .iter()
        .cycle()
        .take(in_flight)
        .map(|runner| {
            let (runner, left) = (runner.clone(), Arc::clone(&left));
            tokio::spawn(async move {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    execute(&runner, shape).await?;
                }
                Ok::<_, anyhow::Error>(())
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    Ok(begun.elapsed())
}

/// How long it takes to submit `count` executions at once and then to see them all end.
pub(crate) async fn outstanding(runner: &Runner, shape: Shape, count: usize) -> Result<Duration> {
    let begun = Instant::now();
    let callers: Vec<_> = (0..count)
        .map(|_| {
            let runner = runner.clone();
            tokio::spawn(async move {
                let execution = runner.execute_async(shape.workflow, input()).await?;
                let result = execution.wait_for_completion().await?;
                ensure!(result.status == ExecutionStatus::Completed, "an execution did not complete");
                Ok::<_, anyhow::Error>(())
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    Ok(begun.elapsed())
}

/// How long it takes to record `count` executions one by one, with `in_flight` callers.
pub(crate) async fn submits(
    runner: &Runner,
    shape: Shape,
    count: usize,
    in_flight: usize,
) -> Result<Duration> {
    let left = Arc::new(AtomicUsize::new(count));
    let begun = Instant::now();
    let callers: Vec<_> = (0..in_flight)
        .map(|_| {
            let (runner, left) = (runner.clone(), Arc::clone(&left));
            tokio::spawn(async move {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    runner.submit(shape.workflow).input(input()).send().await?;
                }
                Ok::<_, anyhow::Error>(())
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    Ok(begun.elapsed())
}

/// How long it takes to record `count` executions at once.
pub(crate) async fn submit_many(runner: &Runner, shape: Shape, count: usize) -> Result<Duration> {
    let runner = runner.clone();
    let work = tokio::spawn(async move {
        let begun = Instant::now();
        let recorded = runner.submit_many(shape.workflow, (0..count).map(|_| input())).send().await?;
        let time = begun.elapsed();
        ensure!(recorded.iter().all(Result::is_ok), "an execution was not recorded");
        Ok(time)
    });
    work.await?
}

async fn execute(runner: &Runner, shape: Shape) -> Result<()> {
    let result = runner.execute(shape.workflow, input()).await?;
    ensure!(result.status == ExecutionStatus::Completed, "an execution ended as {:?}", result.status);
    Ok(())
}
