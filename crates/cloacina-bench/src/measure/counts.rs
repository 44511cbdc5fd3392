//! What goes over the wire for one execution.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::scale::Scale;
use crate::database::{Database, Kind};
use crate::engine;
use crate::proxy::{Counts, Proxy};
use crate::sample::Spread;
use crate::shape::ONE;
use crate::table::{Row, Target};

/// How long we listen to what goes over the wire while nothing is done.
const SILENCE: Duration = Duration::from_secs(6);

/// Round trips, commits and statements of one-task executions alone, through a proxy that counts.
pub(crate) async fn counts(scale: Scale) -> Result<Vec<Row>> {
    let Database::Postgres { url } = Database::fresh(Kind::Postgres).await? else {
        anyhow::bail!("a fresh PostgreSQL database is one");
    };
    let proxy = Proxy::start(&url).await?;
    let runner = Database::Postgres { url: proxy.url().to_owned() }.runner(0).await?;
    // Enough for every lane to have prepared its statements.
    engine::alone(&runner, ONE, 100).await?;
    // The heartbeat and the bell go on, whatever is executed.
    let idle = proxy.counts();
    tokio::time::sleep(SILENCE).await;
    let idle = per_second(idle, proxy.counts(), SILENCE);

    let mut runs = Vec::new();
    for _ in 0..scale.runs {
        let (begun, before) = (Instant::now(), proxy.counts());
        engine::alone(&runner, ONE, scale.alone).await?;
        let elapsed = begun.elapsed();
        let busy = per_second(before, proxy.counts(), elapsed);
        let rate = scale.alone as f64 / elapsed.as_secs_f64();
        runs.push([0, 1, 2].map(|column| (busy[column] - idle[column]) / rate));
    }
    runner.shutdown().await?;
    let row = |title: &str, column: usize, target: Option<f64>| {
        let engine = Spread::of(runs.iter().map(|run| run[column]));
        let target = engine.zip(target).map(|(engine, target)| Target {
            words: format!("{target}"),
            met: (engine.median - target).abs() < 0.05,
        });
        Row { engine, target, ..Row::new(title, "") }
    };
    Ok(vec![
        row("one task alone: round trips", 0, Some(2.0)),
        row("one task alone: commits", 1, Some(2.0)),
        row("one task alone: statements, those around the transaction included", 2, None),
    ])
}

fn per_second(before: Counts, after: Counts, time: Duration) -> [f64; 3] {
    let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / time.as_secs_f64();
    [
        rate(before.round_trips, after.round_trips),
        rate(before.commits, after.commits),
        rate(before.statements, after.statements),
    ]
}
