//! The flights of each airline in tables of its own, and what is counted of them: like `airline_reports`,
//! with the rows in the database.
//!
//! Each airline is a tenant: a SQLite file in `./airline_tables_files`, or, with `DATABASE_URL` set to a
//! PostgreSQL URL, a schema. Killed at any moment and started again, the program goes on where it was; what a
//! task did to the tables and that it is done are one commit.
//!
//! `airline_tables [DATA_DIR [STATE_DIR]]`; without arguments it takes the extract that comes with
//! `airline_reports`.

mod model;
mod tasks;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use cloacina::Context;
use cloacina::data::sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use cloacina::runner::Runner;
use uuid::Uuid;

use crate::model::{data, figure};

/// Where the tenants are.
#[derive(Clone)]
enum State {
    /// A SQLite file each.
    Files(PathBuf),
    /// A schema each.
    Schemas(String),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let extract = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../airline_reports/data");
    let directory = arguments.next().unwrap_or_else(extract);
    let files = arguments.next().unwrap_or_else(|| "airline_tables_files".into());
    let state = match std::env::var("DATABASE_URL") {
        Ok(url) if !url.is_empty() => State::Schemas(url),
        _ => State::Files(files),
    };
    let airlines = airlines(&directory)?;
    let working: Vec<_> = airlines
        .into_iter()
        .map(|(carrier, path)| {
            let state = state.clone();
            let of = carrier.clone();
            (carrier, tokio::spawn(async move { airline(&of, &path, &state).await }))
        })
        .collect();

    let mut table = String::from("airline  flights  cancelled  not arrived  mean delay  worst hour\n");
    let mut all = Figures::default();
    let mut code = ExitCode::SUCCESS;
    for (carrier, working) in working {
        match working.await.unwrap_or_else(|panic| Err(anyhow!(panic))) {
            Ok(figures) => {
                figures.show(&carrier, &mut table);
                all.add(&figures);
            }
            Err(error) => {
                eprintln!("error: {carrier}: {error:#}");
                code = ExitCode::FAILURE;
            }
        }
    }
    all.show("all", &mut table);
    print!("{table}");
    Ok(code)
}

/// Every `<carrier>.csv` and `<carrier>.csv.gz`.
fn airlines(directory: &Path) -> Result<Vec<(String, PathBuf)>> {
    let unreadable = || format!("the directory {} cannot be read", directory.display());
    let mut airlines = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path().canonicalize()?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let carrier = name.strip_suffix(".gz").unwrap_or(name).strip_suffix(".csv").unwrap_or_default();
        if carrier.len() == 2 && carrier.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            airlines.push((carrier.to_owned(), path.clone()));
        }
    }
    ensure!(!airlines.is_empty(), "the directory {} holds no flights", directory.display());
    airlines.sort();
    Ok(airlines)
}

/// Has the flights of an airline loaded and counted in its place, where that was not done before, and reads
/// what was counted.
async fn airline(carrier: &str, path: &Path, state: &State) -> Result<Figures> {
    let builder = Runner::builder().data(&data()?);
    let builder = match state {
        State::Files(directory) => {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("the directory {} cannot be made", directory.display()))?;
            builder.database_url(format!("sqlite://{}", directory.join(format!("{carrier}.db")).display()))
        }
        State::Schemas(url) => {
            builder.database_url(url).schema(format!("airline_tables_{}", carrier.to_lowercase()))
        }
    };
    let runner = builder.build().await.context("its place cannot be opened")?;
    let figures = figures(&runner, carrier, path).await;
    runner.shutdown().await.context("its place cannot be closed")?;
    figures
}

async fn figures(runner: &Runner, carrier: &str, path: &Path) -> Result<Figures> {
    // The same file is the same execution, so a start after a crash meets the one that was interrupted.
    let metadata = path.metadata()?;
    let version = format!("{} {} {:?}", path.display(), metadata.len(), metadata.modified()?);
    let key = Uuid::new_v5(&Uuid::NAMESPACE_OID, version.as_bytes()).to_string();
    let path = path.to_str().context("the name of its file is not UTF-8")?;
    let input = Context::new().with("carrier", carrier).with("path", path);
    let loading = runner.submit("load").input(input).idempotency_key(key).send().await?;
    let loaded = completed(&loading).await?;

    // It is there, because the flights are.
    let report = loaded.get::<Uuid>("report").context("loading submitted no report")?;
    completed(&runner.execution(report)).await?;
    let by_hour = runner
        .data()?
        .read(async |tx| Ok(figure::Entity::find().filter(figure::Column::Kind.eq("hour")).all(tx).await?))
        .await?;
    let mut figures = Figures::default();
    by_hour.iter().for_each(|hour| figures.count(hour));
    Ok(figures)
}

async fn completed(execution: &cloacina::Execution) -> Result<Context> {
    let result = execution.wait_for_completion().await?;
    if !result.status.is_success() {
        bail!(result.error_message.unwrap_or_else(|| format!("its execution is {:?}", result.status)));
    }
    Ok(result.final_context)
}

#[derive(Default)]
struct Figures {
    flights: i64,
    departed: i64,
    arrived: i64,
    delay_minutes: i64,
    /// The hour of departure with the greatest mean delay, and that delay.
    worst: Option<(String, f64)>,
}

impl Figures {
    fn count(&mut self, hour: &figure::Model) {
        let mean = mean(hour.delay_minutes, hour.arrived);
        let worst = (self.worst.is_none() || self.worst.as_ref().is_some_and(|(_, worst)| mean > *worst))
            .then(|| (hour.key.clone(), mean));
        self.add(&Self {
            flights: hour.flights,
            departed: hour.departed,
            arrived: hour.arrived,
            delay_minutes: hour.delay_minutes,
            worst,
        });
    }

    fn add(&mut self, other: &Self) {
        self.flights += other.flights;
        self.departed += other.departed;
        self.arrived += other.arrived;
        self.delay_minutes += other.delay_minutes;
        let greater = match (&self.worst, &other.worst) {
            (Some((_, worst)), Some((_, other))) => other > worst,
            (None, other) => other.is_some(),
            (Some(_), None) => false,
        };
        if greater {
            self.worst.clone_from(&other.worst);
        }
    }

    fn show(&self, name: &str, table: &mut String) {
        let Self { flights, departed, arrived, delay_minutes, worst } = self;
        let (cancelled, not_arrived) = (flights - departed, departed - arrived);
        let mean = mean(*delay_minutes, *arrived);
        let hour = worst.as_ref().map_or("", |(hour, _)| hour);
        let _infallible = writeln!(
            table,
            "{name:<7}  {flights:>7}  {cancelled:>9}  {not_arrived:>11}  {mean:>10.1}  {hour:>10}"
        );
    }
}

fn mean(minutes: i64, of: i64) -> f64 {
    if of == 0 { 0.0 } else { minutes as f64 / of as f64 }
}
