//! Runs the workflow for each airline, in the airline's own place.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use cloacina::Context;
use cloacina::runner::Runner;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::args::Database;
use crate::inputs::Source;
use crate::progress;
use crate::report::{self, Report};
use crate::tasks::{self, Input, TASKS, WORKFLOW};

/// How many airlines are worked on at a time. They share the machine's cores, so more would not be done
/// sooner; fewer finished reports would be there if the program were killed.
const AIRLINES_AT_A_TIME: usize = 4;

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

/// Writes the reports, and returns them in the order of the jobs.
pub(crate) fn run(jobs: &[Job], settings: &Settings) -> anyhow::Result<Vec<anyhow::Result<Finished>>> {
    if settings.database == Database::Files {
        let state = settings.out.join("state");
        std::fs::create_dir_all(&state).with_context(|| format!("{} cannot be made", state.display()))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let turns = Arc::new(Semaphore::new(AIRLINES_AT_A_TIME));
        let airlines: Vec<_> = jobs
            .iter()
            .map(|job| {
                let (job, settings, turns) = (job.clone(), settings.clone(), Arc::clone(&turns));
                tokio::spawn(async move {
                    let _turn = turns.acquire_owned().await.expect("the semaphore is never closed");
                    airline(&job, &settings).await
                })
            })
            .collect();
        let mut outcomes = Vec::with_capacity(airlines.len());
        for airline in airlines {
            outcomes.push(airline.await.unwrap_or_else(|panic| Err(anyhow!(panic))));
        }
        Ok(outcomes)
    })
}

/// Opens the airline's place, has its report made there, and closes the place whatever came of it.
async fn airline(job: &Job, settings: &Settings) -> anyhow::Result<Finished> {
    let place = match &settings.database {
        Database::Files => {
            let file = settings.out.join("state").join(format!("{}.db", job.carrier));
            Runner::new(&format!("sqlite://{}", file.display())).await
        }
        Database::Postgres(url) => {
            Runner::with_schema(url, &format!("airline_{}", job.carrier.to_lowercase())).await
        }
    };
    let runner = place.context("its place cannot be opened")?;
    let finished = report(&runner, job, settings).await;
    runner.shutdown().await.context("its place cannot be closed")?;
    finished
}

/// Has the report made, or finds that it was made before.
///
/// The idempotency key is made from the whole input: the same file, unchanged, for the same directory is the
/// same execution, so a start after a crash meets the one that was interrupted and goes on with it. An
/// execution that ended before this start is good if it completed and its report still lies there; otherwise
/// its turn is over, and the next number makes a new key.
async fn report(runner: &Runner, job: &Job, settings: &Settings) -> anyhow::Result<Finished> {
    let Job { carrier, airline, source } = job.clone();
    let input =
        Input { carrier, airline, source, airports: settings.airports.clone(), out: settings.out.clone() };
    let carrier = &job.carrier;
    // A digest, since two paths may be longer than a key.
    let made_from = Uuid::new_v5(&Uuid::NAMESPACE_OID, &serde_json::to_vec(&input)?);
    // An execution of another shape of the workflow is not this program's to go on with.
    let shape = tasks::airline_report().fingerprint()?;
    // Ids are in the order of time: an execution with a lower one was there before.
    let now = Uuid::now_v7();
    for turn in 1.. {
        let key = match settings.fresh {
            true => format!("{made_from} {now} {turn}"),
            false => format!("{made_from} {shape} {} {turn}", env!("CARGO_PKG_VERSION")),
        };
        let context = Context::new().with("input", &input);
        let execution = runner.submit(WORKFLOW).input(context).idempotency_key(key).send().await;
        let execution = execution.context("its execution cannot be started")?;
        let result = execution.wait_for_completion().await.context("its execution cannot be followed")?;

        let ended_before = execution.execution_id < now && !progress::worked_here(carrier);
        if !result.status.is_success() {
            if ended_before {
                progress::note(carrier, "failed before: trying again");
                continue;
            }
            bail!(result.error_message.unwrap_or_else(|| format!("its execution is {:?}", result.status)));
        }
        let report: Report =
            result.final_context.try_get("report").context("its execution holds no report")?;
        if !ended_before {
            let before = TASKS.saturating_sub(progress::finished_here(carrier));
            if before > 0 {
                progress::note(carrier, &format!("went on: {before} of {TASKS} tasks were finished before"));
            }
            return Ok(Finished { report, took: Some(result.duration.unwrap_or_default()) });
        }
        if report::is_written(&settings.out, &report) {
            progress::note(carrier, "was finished before");
            return Ok(Finished { report, took: None });
        }
        progress::note(carrier, "was finished before, but its report is gone: computing it again");
    }
    unreachable!("the turns are endless")
}
