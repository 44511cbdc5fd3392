//! Runs the workflow for each airline.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::args::Database;
use crate::inputs::Source;
use crate::report::{self, Parts, Report};
use crate::{names, progress};

/// One airline to report on.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// Its code, which names its place.
    pub(crate) carrier: String,
    /// Its name.
    pub(crate) airline: String,
    /// Its flights.
    pub(crate) source: Source,
}

/// What is the same for all airlines.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where the state of the executions lives.
    pub(crate) database: Database,
    /// Where the reports go; absolute.
    pub(crate) out: PathBuf,
    /// The names of the airports, if there is a file of them.
    pub(crate) airports: Option<PathBuf>,
    /// Whether finished reports are computed again.
    pub(crate) fresh: bool,
}

/// A report that is written.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The report.
    pub(crate) report: Report,
    /// How long its execution took, if it was not finished before.
    pub(crate) took: Option<Duration>,
}

/// Writes the reports, in the order of the jobs.
pub(crate) fn run(jobs: &[Job], settings: &Settings) -> anyhow::Result<Vec<anyhow::Result<Finished>>> {
    Ok(jobs.iter().map(|job| one(job, settings)).collect())
}

fn one(job: &Job, settings: &Settings) -> anyhow::Result<Finished> {
    let Job { carrier, airline, source } = job;
    let started = Instant::now();
    let parts = Parts {
        inventory: report::inventory(&source.path, carrier)?,
        by_month: report::by_month(&source.path, carrier)?,
        by_hour: report::by_hour(&source.path, carrier)?,
        by_destination: report::by_destination(&source.path, carrier)?,
    };
    let airports = names::airports(settings.airports.as_deref());
    let report = report::join(carrier, airline, source.clone(), parts, &airports)?;
    report::write_json(&settings.out, &report)?;
    report::write_page(&settings.out, &report)?;
    progress::finished(carrier, "report", started.elapsed(), "");
    Ok(Finished { report, took: Some(started.elapsed()) })
}
