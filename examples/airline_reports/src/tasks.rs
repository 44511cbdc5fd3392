//! The tasks of the workflow, and how they hang together.
//!
//! What passes between them is the path of a file and figures. Three tasks read the file at the same time,
//! each for itself: a pass takes a fraction of a second, and rows in the context would be megabytes in the
//! database.

use std::path::PathBuf;
use std::time::Instant;

use cloacina::{Context, TaskError, Workflow, task, workflow};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::flights::ReadError;
use crate::inputs::Source;
use crate::progress::thousands;
use crate::report::{self, Inventory, Parts, Report};
use crate::{names, progress};

/// The name of the workflow.
pub(crate) const WORKFLOW: &str = "airline_report";

/// How many tasks it has.
pub(crate) const TASKS: usize = 7;

/// What an execution is started with, under the key `input`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Input {
    /// The airline's code.
    pub(crate) carrier: String,
    /// Its name.
    pub(crate) airline: String,
    /// Its flights, and which version of the file.
    pub(crate) source: Source,
    /// A file of airports' names.
    pub(crate) airports: Option<PathBuf>,
    /// The directory for the report.
    pub(crate) out: PathBuf,
}

/// The workflow: read, compute three ways at once, join, write twice at once.
#[workflow]
pub(crate) fn airline_report() -> Workflow {
    Workflow::builder("airline_report")
        .description("The delays of one airline by month, by hour and by destination")
        .task(read_flights)
        .task(by_month)
        .task(by_hour)
        .task(by_destination)
        .task(join_figures)
        .task(write_json)
        .task(write_page)
        .build()
}

/// Counts everything in one pass, and fails at once if there is nothing to report on.
#[task(id = "read_flights", timeout = "5m", blocking)]
fn read_flights(context: &mut Context) -> Result<(), TaskError> {
    step(context, "read_flights", "inventory", |input, _| {
        let inventory = report::inventory(&unchanged(input)?, &input.carrier).map_err(unreadable)?;
        if inventory.total.flights == 0 {
            return Err(TaskError::fatal(nothing_to_report(&inventory, &input.carrier)));
        }
        let told = format!(
            "{} flights, {} broken rows",
            thousands(inventory.total.flights),
            thousands(inventory.rows.broken)
        );
        Ok((inventory, told))
    })
}

/// The figures of each month.
#[task(id = "by_month", dependencies = ["read_flights"], timeout = "5m", blocking)]
fn by_month(context: &mut Context) -> Result<(), TaskError> {
    step(context, "by_month", "by_month", |input, _| {
        let groups = report::by_month(&unchanged(input)?, &input.carrier).map_err(unreadable)?;
        let told = format!("{} months", groups.len());
        Ok((groups, told))
    })
}

/// The figures of each hour of departure.
#[task(id = "by_hour", dependencies = ["read_flights"], timeout = "5m", blocking)]
fn by_hour(context: &mut Context) -> Result<(), TaskError> {
    step(context, "by_hour", "by_hour", |input, _| {
        let groups = report::by_hour(&unchanged(input)?, &input.carrier).map_err(unreadable)?;
        let told = format!("{} hours", groups.len());
        Ok((groups, told))
    })
}

/// The figures of each destination.
#[task(id = "by_destination", dependencies = ["read_flights"], timeout = "5m", blocking)]
fn by_destination(context: &mut Context) -> Result<(), TaskError> {
    step(context, "by_destination", "by_destination", |input, _| {
        let groups = report::by_destination(&unchanged(input)?, &input.carrier).map_err(unreadable)?;
        let told = format!("{} destinations", groups.len());
        Ok((groups, told))
    })
}

/// Joins the figures, which must agree, and names the airports.
#[task(id = "join_figures", dependencies = ["by_month", "by_hour", "by_destination"], blocking)]
fn join_figures(context: &mut Context) -> Result<(), TaskError> {
    step(context, "join_figures", "report", |input, context| {
        unchanged(input)?;
        let parts = Parts {
            inventory: from(context, "inventory")?,
            by_month: from(context, "by_month")?,
            by_hour: from(context, "by_hour")?,
            by_destination: from(context, "by_destination")?,
        };
        let airports = names::airports(input.airports.as_deref());
        let report = report::join(&input.carrier, &input.airline, input.source.clone(), parts, &airports)
            .map_err(TaskError::fatal)?;
        Ok((report, String::new()))
    })
}

/// Writes the report for programs.
#[task(id = "write_json", dependencies = ["join_figures"], blocking)]
fn write_json(context: &mut Context) -> Result<(), TaskError> {
    step(context, "write_json", "json", |input, context| {
        let path = report::write_json(&input.out, &from::<Report>(context, "report")?)?;
        let told = path.display().to_string();
        Ok((path, told))
    })
}

/// Writes the report for people.
#[task(id = "write_page", dependencies = ["join_figures"], blocking)]
fn write_page(context: &mut Context) -> Result<(), TaskError> {
    step(context, "write_page", "page", |input, context| {
        let path = report::write_page(&input.out, &from::<Report>(context, "report")?)?;
        let told = path.display().to_string();
        Ok((path, told))
    })
}

/// Does the work of one task: puts its result into the context under `key`, and says how it went.
fn step<T: Serialize>(
    context: &mut Context,
    task: &str,
    key: &str,
    work: impl FnOnce(&Input, &Context) -> Result<(T, String), TaskError>,
) -> Result<(), TaskError> {
    let started = Instant::now();
    let input: Input = from(context, "input")?;
    let worked = work(&input, context).and_then(|(result, told)| {
        context.try_set(key, result)?;
        Ok(told)
    });
    match &worked {
        Ok(told) => progress::finished(&input.carrier, task, started.elapsed(), told),
        Err(error) => progress::failed(&input.carrier, task, started.elapsed(), error.get_ref()),
    }
    worked.map(drop)
}

/// A value that an earlier task, or the start, must have put there: if it has not, another attempt will not
/// find it.
fn from<T: DeserializeOwned>(context: &Context, key: &str) -> Result<T, TaskError> {
    context.try_get(key).map_err(TaskError::fatal)
}

/// The path of the flights, if they still are those that the execution was started for.
///
/// An execution may go on in another process, days later. A file that was replaced meanwhile has an execution
/// of its own, and this one must not write over its report.
fn unchanged(input: &Input) -> Result<PathBuf, TaskError> {
    let path = &input.source.path;
    match Source::of(path) {
        Ok(source) if source == input.source => Ok(path.clone()),
        Ok(_) => Err(TaskError::fatal(format!("{} was changed after the start", path.display()))),
        Err(error) => Err(TaskError::fatal(format!("{}: {error:#}", path.display()))),
    }
}

/// A file that is empty, torn or of another kind stays so; a disk that did not answer may do so at the next
/// attempt.
fn unreadable(error: ReadError) -> TaskError {
    if error.is_permanent() { TaskError::fatal(error) } else { TaskError::new(error) }
}

fn nothing_to_report(inventory: &Inventory, carrier: &str) -> String {
    match inventory.rows.first_broken.first() {
        None => "the file has a header and no rows".to_owned(),
        Some(first) => format!(
            "none of its {} rows is a flight of {carrier} (line {}: {})",
            thousands(inventory.rows.read),
            first.line,
            first.reason
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn context(directory: &std::path::Path, rows: &str) -> Context {
        let path = directory.join("AA.csv");
        fs::write(&path, format!("month,dep_time,arr_delay,carrier,dest,hour\n{rows}")).unwrap();
        let input = Input {
            carrier: "AA".to_owned(),
            airline: "American".to_owned(),
            source: Source::of(&path).unwrap(),
            airports: None,
            out: directory.to_owned(),
        };
        Context::new().with("input", input)
    }

    #[test]
    fn the_tasks_one_after_the_other_make_a_report() {
        let dir = tempfile::tempdir().unwrap();
        let mut context = context(dir.path(), "1,542,33,AA,MIA,5\n2,NA,NA,AA,SJU,6\n2,600,NA,AA,MIA,6\n");
        read_flights(&mut context).unwrap();
        by_month(&mut context).unwrap();
        by_hour(&mut context).unwrap();
        by_destination(&mut context).unwrap();
        join_figures(&mut context).unwrap();
        write_json(&mut context).unwrap();
        write_page(&mut context).unwrap();
        let report: Report = context.get("report").unwrap();
        assert_eq!((report.total.flights, report.total.cancelled, report.total.not_arrived), (3, 1, 1));
        assert!(report::is_written(dir.path(), &report));
    }

    #[test]
    fn a_file_without_flights_fails_with_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let error = read_flights(&mut context(dir.path(), "")).unwrap_err();
        assert_eq!(error.to_string(), "the file has a header and no rows");
        let error = read_flights(&mut context(dir.path(), "1,542,33,UA,MIA,5\n")).unwrap_err();
        assert_eq!(error.to_string(), "none of its 1 rows is a flight of AA (line 2: a flight of \"UA\")");
    }

    #[test]
    fn a_file_that_was_replaced_is_not_read_for_the_old_execution() {
        let dir = tempfile::tempdir().unwrap();
        let mut old = context(dir.path(), "1,542,33,AA,MIA,5\n");
        context(dir.path(), "1,542,33,AA,MIA,5\n1,542,34,AA,MIA,5\n");
        assert!(read_flights(&mut old).unwrap_err().to_string().ends_with("was changed after the start"));
    }
}
