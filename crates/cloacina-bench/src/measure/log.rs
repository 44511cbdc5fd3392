//! What it costs that somebody listens to spans and log.

use std::io;
use std::sync::OnceLock;

use anyhow::Result;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::rate::{cpu_row, rate_row, watched};
use super::scale::{IN_FLIGHT, Scale};
use crate::database::{Database, Kind};
use crate::engine;
use crate::shape::ONE;
use crate::table::{Row, Target};

/// How many more turns than of other measures: what is looked for is small.
const TURNS: usize = 3;

/// From which level on the subscriber of this process listens; there is one for all databases.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

fn listen() -> reload::Handle<LevelFilter, Registry> {
    let (level, handle) = reload::Layer::new(LevelFilter::OFF);
    tracing_subscriber::registry()
        .with(level)
        .with(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(io::sink))
        .init();
    handle
}

/// The rate with 1,000 in flight and a subscriber that formats all spans and events from INFO on and writes
/// them nowhere, in turns with one that wants nothing, which costs as much as none.
pub(crate) async fn log(kind: Kind, scale: Scale) -> Result<Vec<Row>> {
    let handle = LEVEL.get_or_init(listen);
    let database = Database::fresh(kind).await?;
    let runner = [database.runner(0).await?];
    let count = scale.rate;
    engine::in_flight(&runner, ONE, count / 2, IN_FLIGHT).await?;
    let mut runs = Vec::new();
    for _ in 0..TURNS * scale.runs {
        let without = watched(None, engine::in_flight(&runner, ONE, count, IN_FLIGHT)).await?;
        handle.modify(|level| *level = LevelFilter::INFO)?;
        let with = watched(None, engine::in_flight(&runner, ONE, count, IN_FLIGHT)).await?;
        handle.modify(|level| *level = LevelFilter::OFF)?;
        runs.push((with, without));
    }
    runner[0].shutdown().await?;
    let title = format!("{}, {IN_FLIGHT} in flight, spans and log at INFO", ONE.title);
    let mut rate = rate_row(format!("{title}: rate (by hand: without)"), &runs, count);
    if let Some(ratio) = rate.ratio {
        rate.target = Some(Target { words: "≥ 97 %".to_owned(), met: ratio.median >= 0.97 });
    }
    Ok(vec![rate, cpu_row(format!("{title}: processor, our process"), &runs, count, |run| Some(run.cpu))])
}
