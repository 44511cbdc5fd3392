//! One execution after another.

use anyhow::Result;

use super::scale::Scale;
use crate::database::{Database, Kind};
use crate::engine;
use crate::sample::{Spread, p50};
use crate::shape::Shape;
use crate::table::{Row, Target};

/// The median latency, beside the same transactions by hand and as many bare commits.
pub(crate) async fn alone(kind: Kind, scale: Scale, shape: Shape) -> Result<Vec<Row>> {
    let (ours, theirs) = (Database::fresh(kind).await?, Database::fresh(kind).await?);
    let mut hand = theirs.hand(1).await?;
    let runner = ours.runner(0).await?;
    // What is done once (prepared statements, the first pages) is not what we want to know.
    let warm = scale.alone.min(100);
    hand.alone(shape, warm).await?;
    hand.bare(warm, 1).await?;
    engine::alone(&runner, shape, warm).await?;

    let mut runs = Vec::new();
    for _ in 0..scale.runs {
        let by_hand = p50(&mut hand.alone(shape, scale.alone).await?);
        let engine = p50(&mut engine::alone(&runner, shape, scale.alone).await?);
        let bare = p50(&mut hand.bare(scale.alone, shape.transactions()).await?);
        runs.push((engine, by_hand, bare));
    }
    runner.shutdown().await?;

    let engine = Spread::of(runs.iter().map(|run| run.0));
    let by_hand = Spread::of(runs.iter().map(|run| run.1));
    let target = engine.zip(by_hand).map(|(engine, by_hand)| Target {
        words: format!("≤ {:.0}", 1.3 * by_hand.median + 50.0),
        met: engine.median <= 1.3 * by_hand.median + 50.0,
    });
    let row = Row {
        engine,
        hand: by_hand,
        bare: Spread::of(runs.iter().map(|run| run.2)),
        ratio: Spread::of(runs.iter().map(|run| run.0 / run.1)),
        target,
        ..Row::new(format!("{} alone, p50", shape.title), "µs")
    };
    Ok(vec![row])
}
