//! What goes over the wire for one execution.

use anyhow::Result;

use super::Scale;
use crate::database::{Database, Kind};
use crate::proxy::Proxy;
use crate::sample::Spread;
use crate::shape::ONE;
use crate::table::{Row, Target};
use crate::{engine, hand};

/// Round trips, commits and statements of one-task executions alone, through a proxy that counts.
pub(crate) async fn counts(scale: Scale) -> Result<Vec<Row>> {
    let database = Database::fresh(Kind::Postgres).await?;
    let Database::Postgres { url } = &database else { anyhow::bail!("a fresh PostgreSQL database is one") };
    let proxy = Proxy::start(url).await?;
    let proxied = Database::Postgres { url: proxy.url().to_owned() };
    let runner = proxied.runner(0).await?;
    // Enough for every lane to have prepared its statements.
    engine::alone(&runner, ONE, 100).await?;
    let client = hand::postgres::connect(url).await?;

    let count = scale.alone;
    let mut runs = Vec::new();
    for _ in 0..scale.runs {
        let (before, commits_before) = (proxy.counts(), commits(&client).await?);
        engine::alone(&runner, ONE, count).await?;
        let (after, commits_after) = (proxy.counts(), commits(&client).await?);
        let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / count as f64;
        runs.push([
            each(before.round_trips, after.round_trips),
            each(commits_before, commits_after),
            each(before.statements, after.statements),
        ]);
    }
    runner.shutdown().await?;
    let row = |title: &str, column: usize, target: Option<f64>| {
        let engine = Spread::of(runs.iter().map(|run| run[column]));
        let target = engine.zip(target).map(|(engine, target)| Target {
            words: format!("{target}"),
            // The heartbeat and the bell go over the wire as well.
            met: engine.median < target + 0.1,
        });
        Row { engine, target, ..Row::new(title, "") }
    };
    Ok(vec![
        row("one task alone: round trips", 0, Some(2.0)),
        row("one task alone: commits", 1, Some(2.0)),
        row("one task alone: statements, those of BEGIN and COMMIT included", 2, None),
    ])
}

/// The commits of this database. What backends have not reported yet is at most a second old.
async fn commits(client: &tokio_postgres::Client) -> Result<u64> {
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    let row = client
        .query_one("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()", &[])
        .await?;
    Ok(u64::try_from(row.get::<_, i64>(0))?)
}
