//! Which executions somebody looks for, as the address of a page says it.

use cloacina::{ExecutionFilter, ExecutionStatus, Timestamp, Uuid};

use super::parts::url;
use crate::Problem;

/// The states that can be asked for, and how they are called.
pub(super) const STATES: &[(&str, &str)] = &[
    ("", "any"),
    ("open", "not over"),
    ("pending", "pending"),
    ("running", "running"),
    ("waiting", "waiting"),
    ("paused", "paused"),
    ("failed", "failed"),
    ("completed", "completed"),
    ("cancelled", "cancelled"),
];

/// From when on, and how many seconds ago that is.
pub(super) const SINCE: &[(&str, &str, i64)] = &[
    ("", "any time", 0),
    ("1h", "1 h", 3_600),
    ("24h", "24 h", 86_400),
    ("7d", "7 d", 7 * 86_400),
    ("30d", "30 d", 30 * 86_400),
];

/// What somebody looks for, as the address says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) state: String,
    pub(super) workflow: String,
    pub(super) tag: String,
    pub(super) since: String,
    /// `no`: without those whose place another one took.
    pub(super) superseded: String,
    /// `yes`: with those of the engine's own workflows.
    pub(super) engine: String,
}

impl Wanted {
    pub(super) fn of(param: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name: &str| param(name).unwrap_or_default();
        let known = |name: &str, values: &[&str]| {
            Some(value(name)).filter(|text| values.contains(&text.as_str())).unwrap_or_default()
        };
        let states: Vec<&str> = STATES.iter().map(|(name, _)| *name).collect();
        let times: Vec<&str> = SINCE.iter().map(|(name, ..)| *name).collect();
        Self {
            state: known("state", &states),
            workflow: value("workflow"),
            tag: value("tag"),
            since: known("since", &times),
            superseded: known("superseded", &["no"]),
            engine: known("engine", &["yes"]),
        }
    }

    pub(super) fn pairs(&self) -> [(&'static str, &str); 6] {
        [
            ("state", &self.state),
            ("workflow", &self.workflow),
            ("tag", &self.tag),
            ("since", &self.since),
            ("superseded", &self.superseded),
            ("engine", &self.engine),
        ]
    }

    /// The address with this filter.
    pub(super) fn query(&self) -> String {
        url::query(self.pairs())
    }

    pub(super) fn filter(&self, now: Timestamp) -> ExecutionFilter {
        let mut filter = ExecutionFilter::all();
        if self.state == "open" {
            for status in OPEN {
                filter = filter.status(status);
            }
        } else if let Ok(status) = self.state.parse::<ExecutionStatus>() {
            filter = filter.status(status);
        }
        if !self.workflow.is_empty() {
            filter = filter.workflow(&self.workflow);
        }
        if !self.tag.is_empty() {
            filter = filter.tag(&self.tag);
        }
        if let Some(from) = self.from(now) {
            filter = filter.since(from);
        }
        if self.engine == "yes" {
            filter = filter.of_engine();
        }
        if self.superseded == "no" { filter.superseded(false) } else { filter }
    }

    /// From when on, if that is asked for.
    fn from(&self, now: Timestamp) -> Option<Timestamp> {
        let (.., seconds) = SINCE.iter().find(|(name, ..)| *name == self.since)?;
        (*seconds > 0).then(|| now - jiff::SignedDuration::from_secs(*seconds))
    }

    /// Each part of it in words, with the address without it.
    pub(super) fn chips(&self) -> Vec<(String, String)> {
        let without = |name: &str| url::query(self.pairs().into_iter().filter(|(other, _)| *other != name));
        let mut chips = Vec::new();
        for (name, value) in self.pairs().into_iter().filter(|(_, value)| !value.is_empty()) {
            let label = match name {
                "state" => STATES
                    .iter()
                    .find(|(known, _)| *known == value)
                    .map_or(value, |(_, label)| label)
                    .to_owned(),
                "since" => format!(
                    "since {}",
                    SINCE.iter().find(|(known, ..)| *known == value).map_or(value, |(_, label, _)| label)
                ),
                "superseded" => "without superseded".to_owned(),
                "engine" => "with the engine's own".to_owned(),
                _ => format!("{name} {value}"),
            };
            chips.push((label, without(name)));
        }
        chips
    }
}

/// The states of executions that are not over.
const OPEN: [ExecutionStatus; 4] =
    [ExecutionStatus::Pending, ExecutionStatus::Running, ExecutionStatus::Waiting, ExecutionStatus::Paused];

/// The id in an address.
pub(super) fn id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(60).collect();
        Problem::bad_request(format!(
            "`{shown}` is no id of an execution: it has 36 letters, digits and hyphens"
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn wanted(pairs: &[(&str, &str)]) -> Wanted {
        let pairs: HashMap<&str, &str> = pairs.iter().copied().collect();
        Wanted::of(|name| pairs.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn the_address_is_the_filter() {
        let wanted = wanted(&[("state", "open"), ("workflow", "a&b"), ("since", "7d"), ("superseded", "no")]);
        assert_eq!(wanted.query(), "?state=open&workflow=a%26b&since=7d&superseded=no");
        let filter = wanted.filter(Timestamp::UNIX_EPOCH);
        assert_eq!(filter.statuses, OPEN);
        assert_eq!(filter.workflow.as_deref(), Some("a&b"));
        assert_eq!(filter.superseded, Some(false));
        let chips = wanted.chips();
        assert_eq!(chips[0], ("not over".to_owned(), "?workflow=a%26b&since=7d&superseded=no".to_owned()));
        assert_eq!(chips.len(), 4);
    }

    #[test]
    fn a_filter_that_there_is_not_filters_nothing() {
        assert_eq!(wanted(&[("state", "\"><script>"), ("since", "1y")]), Wanted::default());
        assert_eq!(Wanted::default().filter(Timestamp::UNIX_EPOCH), ExecutionFilter::all());
        assert_eq!(Wanted::default().query(), "?");
    }
}
