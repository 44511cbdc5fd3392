//! What an execution that a schedule started knows of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Under which key the stored input of an execution says by which fire it was started. Tasks do not see it in
/// their context.
pub(crate) const RESERVED_KEY: &str = "cloacina/schedule";

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

/// The input of an execution, as tasks see it.
type Input = Arc<BTreeMap<String, Value>>;

/// Takes what a schedule left in an input out of it.
pub(crate) fn taken_out(mut values: BTreeMap<String, Value>) -> (Input, Option<Arc<Fire>>) {
    let fire = values.remove(RESERVED_KEY).and_then(|value: Value| serde_json::from_value(value).ok());
    (Arc::new(values), fire.map(Arc::new))
}
