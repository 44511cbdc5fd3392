//! What is shown while the work goes on, and the table at its end.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The tasks that this process has run, by airline; they report to it, whichever runner they belong to.
static RAN: Mutex<BTreeMap<String, Ran>> = Mutex::new(BTreeMap::new());

#[derive(Default, Clone, Copy)]
struct Ran {
    finished: usize,
    failed: usize,
}

fn ran() -> MutexGuard<'static, BTreeMap<String, Ran>> {
    RAN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says on standard error that a task of an airline is finished.
pub(crate) fn finished(carrier: &str, task: &str, took: Duration, what: &str) {
    let mut ran = ran();
    ran.entry(carrier.to_owned()).or_default().finished += 1;
    // Still under the lock, so that lines of parallel tasks do not mix.
    line(&format!("{carrier:<3} {task:<14} {:>8}  {what}", seconds(took)));
}

/// Says on standard error that an attempt of a task failed.
pub(crate) fn failed(carrier: &str, task: &str, took: Duration, error: &dyn std::error::Error) {
    let mut ran = ran();
    ran.entry(carrier.to_owned()).or_default().failed += 1;
    line(&format!("{carrier:<3} {task:<14} {:>8}  failed: {error}", seconds(took)));
}

/// Says something about an airline on standard error.
pub(crate) fn note(carrier: &str, what: &str) {
    let _ran = ran();
    line(&format!("{carrier:<3} {what}"));
}

/// How many tasks of the airline this process has finished.
pub(crate) fn finished_here(carrier: &str) -> usize {
    ran().get(carrier).map_or(0, |ran| ran.finished)
}

/// Whether this process has run any task of the airline, well or badly.
pub(crate) fn worked_here(carrier: &str) -> bool {
    ran().get(carrier).is_some_and(|ran| ran.finished + ran.failed > 0)
}

/// A closed standard error is no reason to stop the work, so its error is dropped.
fn line(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").ok();
}

/// A duration as people read it: `0.42 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// A number with commas between the thousands.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One line of the table at the end.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SummaryRow {
    /// The airline's code and name.
    pub(crate) airline: String,
    /// All its flights.
    pub(crate) flights: u64,
    /// Those that never left.
    pub(crate) cancelled: u64,
    /// Those that left and did not arrive.
    pub(crate) not_arrived: u64,
    /// Rows that were passed over.
    pub(crate) broken: u64,
    /// The sum of all delays, so that the last line can show their mean.
    pub(crate) delay_minutes: f64,
    /// The flights that have a delay.
    pub(crate) arrived: u64,
    /// How long its execution took, or why it took none.
    pub(crate) time: String,
}

/// The table at the end, with a last line for all airlines together.
pub(crate) fn summary(rows: &[SummaryRow], took: Duration) -> String {
    let mut all = SummaryRow { airline: "all".to_owned(), time: seconds(took), ..SummaryRow::default() };
    for row in rows {
        all.flights += row.flights;
        all.cancelled += row.cancelled;
        all.not_arrived += row.not_arrived;
        all.broken += row.broken;
        all.delay_minutes += row.delay_minutes;
        all.arrived += row.arrived;
    }
    let width = rows.iter().map(|row| row.airline.chars().count()).max().unwrap_or(0).max(7);
    let mut text = format!(
        "{:<width$}  {:>8}  {:>9}  {:>11}  {:>6}  {:>10}  {:>8}\n",
        "airline", "flights", "cancelled", "not arrived", "broken", "mean delay", "time"
    );
    let rule = "-".repeat(text.len() - 1);
    text += &format!("{rule}\n");
    for (index, row) in rows.iter().chain([&all]).enumerate() {
        if index == rows.len() {
            text += &format!("{rule}\n");
        }
        let mean = match row.arrived {
            0 => "-".to_owned(),
            arrived => format!("{:.1} min", row.delay_minutes / arrived as f64),
        };
        text += &format!(
            "{:<width$}  {:>8}  {:>9}  {:>11}  {:>6}  {mean:>10}  {:>8}\n",
            row.airline,
            thousands(row.flights),
            thousands(row.cancelled),
            thousands(row.not_arrived),
            thousands(row.broken),
            row.time,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 336_776].map(thousands), ["0", "999", "1,000", "336,776"]);
    }

    #[test]
    fn the_last_line_weighs_the_means_by_arrivals() {
        let row = |airline: &str, arrived, mean: f64| SummaryRow {
            airline: airline.to_owned(),
            flights: arrived,
            arrived,
            delay_minutes: mean * arrived as f64,
            time: "0.10 s".to_owned(),
            ..SummaryRow::default()
        };
        let table =
            summary(&[row("AA American", 3000, 10.0), row("OO", 1000, -2.0)], Duration::from_millis(1500));
        assert_eq!(
            table,
            "airline       flights  cancelled  not arrived  broken  mean delay      time\n\
             ---------------------------------------------------------------------------\n\
             AA American     3,000          0            0       0    10.0 min    0.10 s\n\
             OO              1,000          0            0       0    -2.0 min    0.10 s\n\
             ---------------------------------------------------------------------------\n\
             all             4,000          0            0       0     7.0 min    1.50 s\n"
        );
    }
}
