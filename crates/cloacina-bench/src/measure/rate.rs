//! Many executions at once.

use std::time::Duration;

use anyhow::Result;

use super::scale::{BATCH, IN_FLIGHT, Scale, per_second};
use crate::database::{Database, Kind};
use crate::engine;
use crate::hand::Hand;
use crate::process;
use crate::sample::{Spread, p50};
use crate::shape::{ONE, Shape};
use crate::table::{Row, Target};

/// What one run came to.
pub(super) struct Run {
    time: Duration,
    /// In this process.
    pub(super) cpu: Duration,
    /// In the server, where there is one that we can look at.
    server: Option<Duration>,
}

/// The processor time used so far.
async fn cpu(server: Option<u32>) -> Result<(Duration, Option<Duration>)> {
    Ok((process::cpu()?, server.map(process::cpu_of_family).transpose()?))
}

pub(super) async fn watched(
    server: Option<u32>,
    work: impl Future<Output = Result<Duration>>,
) -> Result<Run> {
    let (before, server_before) = cpu(server).await?;
    let time = work.await?;
    let (after, server_after) = cpu(server).await?;
    Ok(Run {
        time,
        cpu: after - before,
        server: server_after.zip(server_before).map(|(after, before)| after.saturating_sub(before)),
    })
}

/// The rate with 1,000 in flight over this many tenants, and the processor time of an execution.
pub(crate) async fn in_flight(kind: Kind, scale: Scale, shape: Shape, tenants: usize) -> Result<Vec<Row>> {
    let (ours, theirs) = (Database::fresh(kind).await?, Database::fresh(kind).await?);
    let mut hand = theirs.hand(tenants).await?;
    let runners = ours.runners(tenants).await?;
    let server = ours.server_process().await?;
    let batch = if tenants == 1 { BATCH } else { IN_FLIGHT / tenants };
    // A chain takes longer than one task, and what is asked is the same.
    let count = scale.rate / shape.layers.len();
    hand.batches(shape, count / 4, batch).await?;
    engine::in_flight(&runners, shape, count / 4, IN_FLIGHT).await?;

    let mut runs = Vec::new();
    let mut commits = Vec::new();
    for _ in 0..scale.runs {
        let by_hand = watched(server, hand.batches(shape, count, batch)).await?;
        let engine = watched(server, engine::in_flight(&runners, shape, count, IN_FLIGHT)).await?;
        commits.push(bare_commit(&mut hand).await?);
        runs.push((engine, by_hand));
    }
    for runner in runners {
        runner.shutdown().await?;
    }

    let tenants = if tenants == 1 { String::new() } else { format!("{tenants} tenants, ") };
    let title = format!("{}, {tenants}{IN_FLIGHT} in flight", shape.title);
    let mut rate = rate_row(format!("{title}: rate"), &runs, count);
    let bare = Spread::of(commits);
    if let Some((ratio, engine)) = rate.ratio.zip(rate.engine) {
        // The absolute figure is for a machine whose commit takes 0.16 ms.
        let fast = bare.is_some_and(|bare| bare.median <= 160.0) && shape == ONE && tenants.is_empty();
        let words = if fast { "≥ 50 % and ≥ 15,000/s" } else { "≥ 50 %" };
        let met = ratio.median >= 0.5 && (!fast || engine.median >= 15_000.0);
        rate.target = Some(Target { words: words.to_owned(), met });
    }
    let mut rows = vec![rate];
    rows.push(cpu_row(format!("{title}: processor, our process"), &runs, count, |run| Some(run.cpu)));
    if server.is_some() {
        rows.push(cpu_row(format!("{title}: processor, server"), &runs, count, |run| run.server));
    }
    if shape == ONE && tenants.is_empty() {
        rows.push(Row { bare, ..Row::new("one bare commit, p50", "µs") });
    }
    Ok(rows)
}

/// The rate of executions that are all submitted at once, and then waited for.
pub(crate) async fn outstanding(kind: Kind, scale: Scale) -> Result<Vec<Row>> {
    let (ours, theirs) = (Database::fresh(kind).await?, Database::fresh(kind).await?);
    let mut hand = theirs.hand(1).await?;
    let runner = ours.runner(0).await?;
    let count = scale.outstanding;
    hand.batches(ONE, count / 4, BATCH).await?;
    engine::outstanding(&runner, ONE, count / 4).await?;
    let mut runs = Vec::new();
    for _ in 0..scale.runs {
        let by_hand = watched(None, hand.batches(ONE, count, BATCH)).await?;
        let engine = watched(None, engine::outstanding(&runner, ONE, count)).await?;
        runs.push((engine, by_hand));
    }
    runner.shutdown().await?;
    Ok(vec![rate_row(format!("{}, {count} outstanding: rate", ONE.title), &runs, count)])
}

async fn bare_commit(hand: &mut Hand) -> Result<f64> {
    Ok(p50(&mut hand.bare(200, 1).await?))
}

pub(super) fn rate_row(title: String, runs: &[(Run, Run)], count: usize) -> Row {
    let rate = |run: &Run| per_second(count, run.time);
    Row {
        engine: Spread::of(runs.iter().map(|(engine, _)| rate(engine))),
        hand: Spread::of(runs.iter().map(|(_, hand)| rate(hand))),
        ratio: Spread::of(runs.iter().map(|(engine, hand)| rate(engine) / rate(hand))),
        ..Row::new(title, "1/s")
    }
}

pub(super) fn cpu_row(
    title: String,
    runs: &[(Run, Run)],
    count: usize,
    time: fn(&Run) -> Option<Duration>,
) -> Row {
    let each = |run: &Run| time(run).map(|time| time.as_secs_f64() * 1e6 / count as f64);
    Row {
        engine: Spread::of(runs.iter().filter_map(|(engine, _)| each(engine))),
        hand: Spread::of(runs.iter().filter_map(|(_, hand)| each(hand))),
        // Linux counts in hundredths of a second, so a short run by hand may have taken none.
        ratio: Spread::of(
            runs.iter()
                .filter_map(|(engine, hand)| Some(each(engine)? / each(hand).filter(|hand| *hand > 0.0)?)),
        ),
        ..Row::new(title, "µs")
    }
}
