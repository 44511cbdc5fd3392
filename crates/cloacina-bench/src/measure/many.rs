//! Many executions that are recorded at once.

use anyhow::Result;
use cloacina::RunnerConfig;

use super::scale::{IN_FLIGHT, Scale, per_second};
use crate::database::{Database, Kind};
use crate::engine;
use crate::sample::Spread;
use crate::shape::ONE;
use crate::table::{Row, Target};

/// How many rows are inserted by hand in one commit.
const THOUSAND: usize = 1_000;

/// `submit_many` beside single submissions with 1,000 in flight, and beside the same rows inserted by hand in
/// thousands. Nothing runs meanwhile.
pub(crate) async fn submit_many(kind: Kind, scale: Scale) -> Result<Vec<Row>> {
    let count = scale.rate * 2;
    let (mut many, mut singles, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.runs {
        // Anew each time: what is recorded stays.
        let (ours, theirs) = (Database::fresh(kind).await?, Database::fresh(kind).await?);
        let mut hand = theirs.hand(1).await?;
        let config = RunnerConfig::builder().submit_only(true).retention(None).build();
        let runner = ours.runner_with(0, config).await?;
        engine::submit_many(&runner, ONE, count / 4).await?;
        engine::submits(&runner, ONE, count / 4, IN_FLIGHT).await?;
        hand.submits(ONE, count / 4, THOUSAND).await?;
        many.push(per_second(count, engine::submit_many(&runner, ONE, count).await?));
        by_hand.push(per_second(count, hand.submits(ONE, count, THOUSAND).await?));
        singles.push(per_second(count, engine::submits(&runner, ONE, count, IN_FLIGHT).await?));
        runner.shutdown().await?;
    }
    let beside = |title: &str, others: &[f64], least: f64| {
        let ratio = Spread::of(many.iter().zip(others).map(|(many, other)| many / other));
        let target = ratio.map(|ratio| Target { words: format!("≥ {least}"), met: ratio.median >= least });
        Row {
            engine: Spread::of(many.iter().copied()),
            hand: Spread::of(others.iter().copied()),
            ratio,
            target,
            ..Row::new(title, "1/s")
        }
    };
    Ok(vec![
        beside("submit_many, beside the rows by hand in thousands", &by_hand, 0.7),
        beside("submit_many, beside single submissions with 1,000 in flight", &singles, 1.5),
    ])
}
