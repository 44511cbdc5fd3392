//! What is printed: tables that fit the terminal, or JSON.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Result;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde_json::Value;

use crate::failure::Refused;

/// How answers are printed.
#[derive(clap::Args, Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Prints what the interface answers, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Answers every question with yes
    #[arg(long, short, global = true)]
    pub(crate) yes: bool,
}

impl Output {
    /// Prints JSON if that is wanted; says whether it did.
    pub(crate) fn json(self, value: &Value) -> Result<bool> {
        if self.json {
            say(&format!("{value:#}"))?;
        }
        Ok(self.json)
    }

    /// Prints a table of these rows, or says that there are none.
    pub(crate) fn table<const N: usize>(
        self,
        head: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
        none: &str,
    ) -> Result<()> {
        let rows: Vec<[String; N]> = rows.into_iter().collect();
        if rows.is_empty() {
            return say(none);
        }
        say(&table(&head, rows.iter().map(<[String; N]>::as_slice)))
    }

    /// Asks before something is done that cannot be undone.
    pub(crate) fn confirm(self, question: &str) -> Result<()> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            let detail = format!("{question} Nobody is here to answer: say --yes, or use --dry-run");
            return Err(Refused::not_confirmed(detail).into());
        }
        eprint!("{question} [y/N] ");
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(());
        }
        Err(Refused::not_confirmed("nothing was done".to_owned()).into())
    }
}

/// Prints a line. A reader that has gone away, as `head` does, is no error.
pub(crate) fn say(text: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result?),
    }
}

fn table<'a>(head: &[&str], rows: impl Iterator<Item = &'a [String]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(head);
    for row in rows {
        table.add_row(row);
    }
    let columns = table.column_count();
    for (position, column) in table.column_iter_mut().enumerate() {
        let (left, right) = (0, if position + 1 == columns { 0 } else { 2 });
        column.set_padding((left, right)).set_cell_alignment(CellAlignment::Left);
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// A text of an answer; a dash where there is none.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => shown(text),
        other => other.to_string(),
    }
}

/// What somebody else wrote, without what would move the cursor.
pub(crate) fn shown(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// What time it is here.
#[expect(clippy::disallowed_methods, reason = "people read what is told beside it")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// How long ago, or how soon, a time is.
pub(crate) fn when(value: &Value, now: Timestamp) -> String {
    let Some(time) = value.as_str().and_then(|time| time.parse::<Timestamp>().ok()) else {
        return "–".to_owned();
    };
    let seconds = time.duration_since(now).as_secs();
    let span = seconds.unsigned_abs();
    let span = match span {
        0..60 => format!("{span} s"),
        60..3_600 => format!("{} min", span / 60),
        3_600..172_800 => format!("{} h", span / 3_600),
        _ => format!("{} d", span / 86_400),
    };
    if seconds > 0 { format!("in {span}") } else { format!("{span} ago") }
}

/// How long something took, from one time to another.
pub(crate) fn took(from: &Value, to: &Value) -> String {
    let time = |value: &Value| value.as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let (Some(from), Some(to)) = (time(from), time(to)) else { return "–".to_owned() };
    let millis = to.duration_since(from).as_millis().max(0);
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", millis / 60_000, millis / 1_000 % 60),
        _ => format!("{} h {} min", millis / 3_600_000, millis / 60_000 % 60),
    }
}

/// The error of something, as far as it may be seen.
pub(crate) fn error(value: &Value) -> String {
    match (&value["text"], value["hidden_bytes"].as_u64()) {
        (Value::String(text), _) => shown(text),
        (_, Some(bytes)) => format!("({bytes} bytes, which you may not see)"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{error, took, when};

    #[test]
    fn times_are_told_as_people_say_them() {
        let now = "2026-11-29T15:00:00Z".parse().unwrap();
        for (time, said) in [
            ("2026-11-29T14:59:18Z", "42 s ago"),
            ("2026-11-29T14:00:00Z", "1 h ago"),
            ("2026-11-29T15:05:30Z", "in 5 min"),
            ("2026-12-29T15:00:00Z", "in 30 d"),
            ("2026-11-29T15:00:00Z", "0 s ago"),
        ] {
            assert_eq!(when(&json!(time), now), said);
        }
        assert_eq!(when(&json!(null), now), "–");
        assert_eq!(took(&json!("2026-11-29T14:00:00Z"), &json!("2026-11-29T14:00:01.25Z")), "1.2 s");
        assert_eq!(took(&json!("2026-11-29T14:00:00Z"), &json!("2026-11-29T15:02:03Z")), "1 h 2 min");
    }

    #[test]
    fn an_error_moves_no_cursor_and_says_what_is_hidden() {
        assert_eq!(error(&json!({"text": "a\u{1b}[2Jb\nc"})), "a [2Jb c");
        assert_eq!(error(&json!({"hidden_bytes": 77})), "(77 bytes, which you may not see)");
        assert_eq!(error(&json!(null)), "");
    }
}
