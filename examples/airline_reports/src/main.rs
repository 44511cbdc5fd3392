//! A delay report for each airline that flies from New York, with the airlines as tenants.
//!
//! Every airline has a place of its own, a SQLite file or a PostgreSQL schema, and in it an execution of one
//! workflow:
//!
//! ```text
//!                   ┌─ by_month ───────┐                   ┌─ write_json
//!    read_flights ──┼─ by_hour ────────┼── join_figures ───┤
//!                   └─ by_destination ─┘                   └─ write_page
//! ```
//!
//! The tasks pass a path and figures, never rows. Killed at any moment and started again, the program goes on
//! with the tasks that were not finished.

mod args;
mod figures;
mod flights;
mod inputs;
mod names;
mod progress;
mod report;
mod serve;
mod tasks;
mod tenants;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::args::{Command, Options};
use crate::progress::{SummaryRow, summary};
use crate::report::index::{self, Entry};
use crate::tenants::{Finished, Job, Settings};

fn main() -> ExitCode {
    match args::parse(std::env::args_os().skip(1), std::env::var("DATABASE_URL").ok()) {
        Ok(Command::Help) => {
            print!("{}", args::HELP);
            ExitCode::SUCCESS
        }
        Ok(Command::Reports(options)) => reports(options).unwrap_or_else(failed),
        Ok(Command::Serve(out)) => serve::serve(&out).map_or_else(failed, |()| ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("error: {error}\n\nhint: airline_reports --help shows the arguments");
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what becomes of a result")]
fn failed(error: anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

/// An airline, and its report or why it has none.
struct Airline {
    carrier: String,
    name: String,
    outcome: anyhow::Result<Finished>,
}

fn reports(options: Options) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let data = options.data.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("data"));
    let inputs = inputs::find(&data)?;
    let out = directory(&options.out)?;
    let settings = Settings {
        database: options.database,
        airports: names::find(&data, "airports.csv").map(|path| absolute(&path)).transpose()?,
        out,
        fresh: options.fresh,
    };
    let airlines = names::airlines(names::find(&data, "airlines.csv").as_deref());

    let mut jobs = Vec::new();
    let mut all = Vec::new();
    for input in inputs {
        let name = airlines.get(&input.carrier).unwrap_or(&input.carrier).clone();
        let carrier = input.carrier;
        match input.source {
            Ok(source) => jobs.push(Job { carrier, airline: name, source }),
            Err(reason) => all.push(Airline { carrier, name, outcome: Err(anyhow::Error::msg(reason)) }),
        }
    }
    let outcomes = tenants::run(&jobs, &settings)?;
    all.extend(jobs.into_iter().zip(outcomes).map(|(job, outcome)| Airline {
        carrier: job.carrier,
        name: job.airline,
        outcome,
    }));
    all.sort_by(|a, b| a.carrier.cmp(&b.carrier));
    show(&all, &settings.out, started.elapsed())
}

/// Writes the overview, prints the summary on standard output and the failures on standard error.
fn show(all: &[Airline], out: &Path, took: Duration) -> anyhow::Result<ExitCode> {
    let failures: Vec<_> = all
        .iter()
        .filter_map(|airline| Some((airline, format!("{:#}", airline.outcome.as_ref().err()?))))
        .collect();
    let finished: Vec<_> = all.iter().filter_map(|airline| airline.outcome.as_ref().ok()).collect();
    let mut entries: Vec<_> = finished.iter().map(|finished| Entry::Report(&finished.report)).collect();
    entries.extend(failures.iter().map(|(airline, reason)| Entry::Failed {
        carrier: &airline.carrier,
        airline: &airline.name,
        reason,
    }));
    let overview = out.join("index.html");
    report::write_atomically(&overview, &index::page(&entries))?;

    let rows: Vec<_> = finished.iter().map(|finished| row(finished)).collect();
    if !rows.is_empty() {
        print!("{}", summary(&rows, took));
    }
    if !finished.is_empty() && finished.iter().all(|finished| finished.took.is_none()) {
        eprintln!("\nEverything was finished before; --fresh computes it again.");
    }
    eprintln!("\nThe reports: {}", overview.display());
    for (airline, reason) in &failures {
        eprintln!("error: {}: {reason}", airline.carrier);
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn row(finished: &Finished) -> SummaryRow {
    let report = &finished.report;
    let total = &report.total;
    SummaryRow {
        airline: format!("{:<2} {}", report.carrier, report.airline),
        flights: total.flights,
        cancelled: total.cancelled,
        not_arrived: total.not_arrived,
        broken: report.rows.broken,
        delay_minutes: total.mean_delay_minutes.unwrap_or(0.0) * total.arrived as f64,
        arrived: total.arrived,
        time: finished.took.map_or_else(|| "before".to_owned(), progress::seconds),
    }
}

/// The directory, made if need be, as an absolute path: a task may run in a later process that was started
/// elsewhere.
fn directory(path: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(path)
        .with_context(|| format!("the output directory {} cannot be made", path.display()))?;
    absolute(path)
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::fs::canonicalize(path).with_context(|| format!("{} cannot be found", path.display()))
}
