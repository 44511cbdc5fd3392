//! What was measured, as a table.

use serde_json::json;

use crate::sample::Spread;

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) measure: String,
    pub(crate) unit: &'static str,
    /// What it costs, or yields, with the engine.
    pub(crate) engine: Option<Spread>,
    /// The same work by hand, measured in turns with it.
    pub(crate) hand: Option<Spread>,
    /// Bare commits, as many as the work needs.
    pub(crate) bare: Option<Spread>,
    /// Engine by hand, run by run.
    pub(crate) ratio: Option<Spread>,
    pub(crate) target: Option<Target>,
}

/// What we have set ourselves.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) words: String,
    pub(crate) met: bool,
}

impl Row {
    pub(crate) fn new(measure: impl Into<String>, unit: &'static str) -> Self {
        Self {
            measure: measure.into(),
            unit,
            engine: None,
            hand: None,
            bare: None,
            ratio: None,
            target: None,
        }
    }
}

const HEAD: [&str; 7] = ["measure", "unit", "engine", "by hand", "bare commits", "engine / hand", "target"];

/// The rows of one database, aligned.
pub(crate) fn text(rows: &[Row]) -> String {
    let spread = |spread: &Option<Spread>| spread.map_or_else(String::new, |spread| spread.to_string());
    let mut lines: Vec<[String; 7]> = vec![HEAD.map(str::to_owned)];
    for row in rows {
        let target = row.target.as_ref().map_or_else(String::new, |target| {
            format!("{}: {}", target.words, if target.met { "met" } else { "MISSED" })
        });
        lines.push([
            row.measure.clone(),
            row.unit.to_owned(),
            spread(&row.engine),
            spread(&row.hand),
            spread(&row.bare),
            spread(&row.ratio),
            target,
        ]);
    }
    let mut widths = [0; 7];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        let mut written = String::new();
        for (cell, width) in line.iter().zip(widths) {
            written.push_str(cell);
            let padding = width - cell.chars().count() + 2;
            written.extend(std::iter::repeat_n(' ', padding));
        }
        text.push_str(written.trim_end());
        text.push('\n');
    }
    text
}

/// The rows of one database for a program, one object a line.
pub(crate) fn json(database: &str, rows: &[Row]) -> String {
    let spread = |spread: &Option<Spread>| {
        spread.map(|Spread { median, least, most }| json!({ "median": median, "min": least, "max": most }))
    };
    let mut text = String::new();
    for row in rows {
        let line = json!({
            "database": database,
            "measure": row.measure,
            "unit": row.unit,
            "engine": spread(&row.engine),
            "hand": spread(&row.hand),
            "bare": spread(&row.bare),
            "ratio": spread(&row.ratio),
            "target": row.target.as_ref().map(|target| &target.words),
            "met": row.target.as_ref().map(|target| target.met),
        });
        text.push_str(&format!("{line}\n"));
    }
    text
}
