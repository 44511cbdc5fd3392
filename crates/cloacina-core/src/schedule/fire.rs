//! What an execution that a schedule started knows of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The moment of a schedule that an execution was started for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fire {
    /// The name of the schedule.
    pub name: String,
    /// When it was to start. It may have started later: after a [spread](super::Schedule::spread), when the
    /// execution before it had ended, or when a runner was there again.
    pub nominal: Timestamp,
    /// The nominal time of the run before this one; `None` for the first. From there to
    /// [`nominal`](Self::nominal) is the time that this run is about.
    pub previous: Option<Timestamp>,
    /// How many times before this one it also stands for, because nobody was there to fire; counted to 1,000.
    #[serde(default)]
    pub missed: u32,
    /// Whether a backfill started it.
    #[serde(default)]
    pub backfill: bool,
}

impl Fire {
    /// What a task is told in a unit test: the first run of a schedule of this name, for this time.
    #[must_use]
    pub fn for_test(name: impl Into<String>, nominal: Timestamp) -> Self {
        Self { name: name.into(), nominal, previous: None, missed: 0, backfill: false }
    }
}
