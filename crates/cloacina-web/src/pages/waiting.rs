//! What waits, in words: what for, since when, until when, and what then. And what of it may be told to who
//! may not see payloads.

use cloacina::{Timestamp, Waiting};

use super::parts::text;

/// How the text begins with which the engine itself pauses an execution whose code nobody has.
const ORPHANED: &str = "paused, because no live runner has this version of its workflow";

/// Whether this is why the engine paused an execution.
pub(super) fn is_orphaned(error: &str) -> bool {
    error.starts_with(ORPHANED)
}

/// An error, or how long it is: its text may hold what belongs to the tenant.
pub(super) fn error(error: &str, sees_payloads: bool) -> String {
    if sees_payloads {
        return error.to_owned();
    }
    format!("an error of {}, hidden", text::count(error.chars().count() as u64, "character", "characters"))
}

/// What a wait is for, in one line, with its id.
pub(super) fn in_short(wait: &Waiting, sees_payloads: bool, now: Timestamp) -> String {
    format!("{}: {}", wait.wait, what(wait, sees_payloads, now))
}

/// What a wait is for, in one line.
pub(super) fn what(wait: &Waiting, sees_payloads: bool, now: Timestamp) -> String {
    let until = match wait.until {
        Some(until) => format!("until {} ({})", text::moment(until, now), text::relative(until, now)),
        None => "without an end".to_owned(),
    };
    match (&wait.ask, &wait.signal) {
        (Some(ask), _) => {
            let whom = ask.role.as_deref().unwrap_or("anybody");
            let question = if sees_payloads { ask.question.as_str() } else { "a question, hidden" };
            format!("asks {whom}, {until}: {question}")
        }
        (None, Some(signal)) if *signal == wait.wait => format!("none sent yet, {until}"),
        (None, Some(signal)) => format!("no signal {signal} yet, {until}"),
        (None, None) => until,
    }
}
