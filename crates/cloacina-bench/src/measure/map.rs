//! A map over a long list, beside ordinary executions.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cloacina::{Context, ExecutionStatus, RunnerConfig};

use super::scale::{IN_FLIGHT, Scale, per_second};
use crate::database::{Database, Kind};
use crate::engine;
use crate::process;
use crate::sample::Spread;
use crate::shape::{FIRST_ITEM, LISTED, ONE};
use crate::table::{Row, Target};

/// How many items are measured, for each execution of a rate measure.
const ITEMS: usize = 5;

pub(crate) async fn map(kind: Kind, scale: Scale) -> Result<Vec<Row>> {
    let count = if scale.rate > 10_000 { scale.rate * ITEMS } else { scale.rate * 2 };
    let (mut rates, mut ordinary, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut firsts, mut grown, mut cancelled) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.runs {
        let database = Database::fresh(kind).await?;
        let config = RunnerConfig::builder().max_concurrent_tasks(IN_FLIGHT).build();
        let runner = database.runner_with(0, config).await?;
        let runners = [runner];
        engine::in_flight(&runners, ONE, scale.rate / 4, IN_FLIGHT).await?;
        let alone = engine::in_flight(&runners, ONE, scale.rate, IN_FLIGHT).await?;
        let runner = &runners[0];
        // A short one first, as the others had.
        runner.execute("mapping", Context::new().with("count", 2_000)).await?;
        let before = process::resident()?;
        *FIRST_ITEM.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let begun = Instant::now();
        let execution = runner.execute_async("mapping", Context::new().with("count", count)).await?;
        let result = execution.wait_for_completion().await?;
        let time = begun.elapsed();
        ensure!(result.status == ExecutionStatus::Completed, "{result:?}");
        grown.push((process::resident()?.saturating_sub(before)) as f64 / 1e6);
        let at = |moment: &std::sync::Mutex<Option<Instant>>| {
            *moment.lock().unwrap_or_else(PoisonError::into_inner)
        };
        if let (Some(listed), Some(first)) = (at(&LISTED), at(&FIRST_ITEM)) {
            firsts.push(first.saturating_duration_since(listed).as_secs_f64() * 1e3);
        }
        rates.push(per_second(count, time));
        ordinary.push(per_second(scale.rate, alone));
        ratios.push(rates[rates.len() - 1] / ordinary[ordinary.len() - 1]);
        cancelled.push(cancel(runner, scale).await?.as_secs_f64() * 1e3);
        for runner in runners {
            runner.shutdown().await?;
        }
    }
    let ratio = Spread::of(ratios);
    let target = ratio.map(|ratio| Target { words: "≥ 0.6".to_owned(), met: ratio.median >= 0.6 });
    let first = Spread::of(firsts);
    let soon = first.map(|first| Target { words: "≤ 50".to_owned(), met: first.median <= 50.0 });
    let grown = Spread::of(grown);
    let flat = grown.map(|grown| Target { words: "≤ 50".to_owned(), met: grown.median <= 50.0 });
    let title = format!("a map of {count} items, 1,000 at once, beside ordinary executions");
    Ok(vec![
        Row {
            engine: Spread::of(rates),
            hand: Spread::of(ordinary),
            ratio,
            target,
            ..Row::new(title, "1/s")
        },
        Row { engine: first, target: soon, ..Row::new("from the list to the code of the first item", "ms") },
        Row { engine: grown, target: flat, ..Row::new("memory that the process grows by meanwhile", "MB") },
        Row {
            engine: Spread::of(cancelled),
            ..Row::new(format!("{} open children cancelled with their parent", children(scale)), "ms")
        },
    ])
}

fn children(scale: Scale) -> usize {
    scale.rate / 2
}

/// How long it takes until all children of a parent are over that is cancelled.
async fn cancel(runner: &cloacina::Runner, scale: Scale) -> Result<Duration> {
    let count = children(scale);
    let input = Context::new().with("count", count);
    let execution = runner.execute_async("sleeping_children", input).await?;
    while execution.progress().await?.first().is_none_or(|progress| progress.running() < count as u64) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let begun = Instant::now();
    execution.cancel().await?;
    // They are swept in their order or not: when all are over is seen at their number.
    loop {
        let figures = runner.metrics().await?;
        if figures.waiting_executions == 0 && figures.active_executions == 0 {
            return Ok(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
