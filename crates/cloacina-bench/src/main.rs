//! What the engine costs beside the same work written by hand, in ratios of one run on one machine: `cargo
//! xtask bench help`.
//!
//! Every figure of the engine stands beside its limit, measured in turns with it: the same rows by the same
//! statements in the same flights over the same driver, without an engine around them ([`hand`]), and bare
//! commits. Absolute figures from a shared machine mean nothing, so each is the median of several runs and is
//! printed with the smallest and the largest.

mod database;
mod engine;
mod hand;
mod measure;
mod process;
mod proxy;
mod sample;
mod shape;
mod table;

use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use database::Kind;
use measure::{NAMES, Scale, TROUBLES};

/// What is asked for.
struct Arguments {
    kinds: Vec<Kind>,
    measures: Vec<&'static str>,
    scale: Scale,
    trouble: Option<String>,
    json: bool,
    strict: bool,
}

fn usage() -> String {
    let mut text = "\
usage: cargo xtask bench [sqlite] [postgres] [measure…] [--runs N] [--quick] [--json]

Without a database both are measured, without a measure all:

"
    .to_owned();
    for (name, what) in NAMES {
        text.push_str(&format!("  {name:<13}{what}\n"));
    }
    text.push_str(
        "
  --runs N     how often each is repeated (5); the median is printed, with the smallest and the largest
  --quick      fewer executions in each run
  --json       one object a line in place of a table
  --strict     fail if a target is missed
  --trouble T  of neighbours, only one of these:
",
    );
    for (name, what) in TROUBLES {
        text.push_str(&format!("                 {name:<10}{what}\n"));
    }
    text.push_str("\nTMPDIR says where the SQLite files lie: it should be a disk.\n");
    text
}

fn main() -> Result<()> {
    let mut raw = std::env::args().skip(1);
    let first = raw.next();
    if first.as_deref() == Some(measure::IDLE_CHILD) {
        let url = raw.next().context("the URL is missing")?;
        let tenants = raw.next().context("the number of tenants is missing")?.parse()?;
        return runtime()?.block_on(measure::idle_child(url, tenants));
    }
    if first.as_deref() == Some(measure::WORKER) {
        let url = raw.next().context("the URL is missing")?;
        return runtime()?.block_on(measure::worker(url, raw.next().unwrap_or_default()));
    }
    if first.as_deref() == Some(measure::CHILD) {
        let kind = if raw.next().as_deref() == Some("sqlite") { Kind::Sqlite } else { Kind::Postgres };
        let tenants = raw.next().context("the number of tenants is missing")?.parse()?;
        return runtime()?.block_on(measure::memory_child(kind, tenants));
    }
    let Some(arguments) = arguments()? else {
        print!("{}", usage());
        return Ok(());
    };
    runtime()?.block_on(run(arguments))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

async fn run(arguments: Arguments) -> Result<()> {
    let mut missed = 0;
    for kind in arguments.kinds {
        let mut rows = Vec::new();
        for measure in &arguments.measures {
            let begun = Instant::now();
            rows.extend(
                measure::measure(measure, kind, arguments.scale, arguments.trouble.as_deref())
                    .await
                    .with_context(|| format!("failed to measure {measure} on {kind}"))?,
            );
            eprintln!("{kind}, {measure}: {:.0?}", begun.elapsed());
        }
        if arguments.json {
            print!("{}", table::json(&kind.to_string(), &rows));
        } else {
            println!("\n{kind}\n\n{}", table::text(&rows));
        }
        missed += rows.iter().filter(|row| row.target.as_ref().is_some_and(|target| !target.met)).count();
    }
    if arguments.strict && missed > 0 {
        bail!("{missed} targets are missed");
    }
    Ok(())
}

/// `None` if help was asked for.
fn arguments() -> Result<Option<Arguments>> {
    use lexopt::prelude::*;

    let (mut kinds, mut measures, mut runs, mut quick, mut json) = (Vec::new(), Vec::new(), 5, false, false);
    let (mut trouble, mut strict) = (None, false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("runs") => runs = parser.value()?.parse()?,
            Long("quick") => quick = true,
            Long("strict") => strict = true,
            Long("trouble") => trouble = Some(parser.value()?.string()?),
            Long("json") => json = true,
            Short('h') | Long("help") => return Ok(None),
            Value(value) => match value.to_str() {
                Some("help") => return Ok(None),
                Some("sqlite") => kinds.push(Kind::Sqlite),
                Some("postgres") => kinds.push(Kind::Postgres),
                other => match NAMES.iter().find(|(name, _)| Some(*name) == other) {
                    Some((name, _)) => measures.push(*name),
                    None => bail!("{value:?} is neither a database nor a measure\n\n{}", usage()),
                },
            },
            _ => return Err(argument.unexpected().into()),
        }
    }
    if runs == 0 {
        bail!("0 runs measure nothing");
    }
    if kinds.is_empty() {
        kinds = vec![Kind::Sqlite, Kind::Postgres];
    }
    if measures.is_empty() {
        // They take a quarter of an hour by themselves, and gigabytes of disk.
        let long = ["neighbours", "history", "web"];
        measures = NAMES.iter().map(|(name, _)| *name).filter(|name| !long.contains(name)).collect();
    }
    if let Some(trouble) = &trouble
        && !TROUBLES.iter().any(|(name, _)| name == trouble)
    {
        bail!("there is no trouble {trouble:?}\n\n{}", usage());
    }
    let scale = if quick { Scale::quick(runs) } else { Scale::full(runs) };
    Ok(Some(Arguments { kinds, measures, scale, trouble, json, strict }))
}
