//! What a task may know of those before it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{SkipReason, TaskState};

/// How a task ended that comes before another one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DependencyOutcome {
    /// Its state: completed, failed or skipped.
    pub state: TaskState,
    /// Why it failed: the error of its last attempt.
    pub error_message: Option<String>,
    /// Why it was skipped.
    pub skip_reason: Option<SkipReason>,
}

impl DependencyOutcome {
    /// That of a task that completed.
    #[must_use]
    pub fn completed() -> Self {
        Self { state: TaskState::Completed, error_message: None, skip_reason: None }
    }

    /// That of a task that failed with this error.
    #[must_use]
    pub fn failed(error: impl Into<String>) -> Self {
        Self { state: TaskState::Failed, error_message: Some(error.into()), skip_reason: None }
    }

    /// That of a task that was skipped.
    #[must_use]
    pub fn skipped(reason: SkipReason) -> Self {
        Self { state: TaskState::Skipped, error_message: None, skip_reason: Some(reason) }
    }
}

/// Whoever knows how the tasks before one ended.
pub(crate) trait Before: Send + Sync {
    /// `None` if no task of this id comes before it.
    fn outcome_of(&self, task: &str) -> Option<DependencyOutcome>;
}

/// What is asked for how the tasks before one ended. To have it costs nothing; it is looked for when it is
/// asked.
#[derive(Clone)]
pub(crate) enum Outcomes {
    /// For a unit test.
    Told(Arc<BTreeMap<String, DependencyOutcome>>),
    Asked(Arc<dyn Before>),
}

impl Outcomes {
    pub(crate) fn of(&self, task: &str) -> Option<DependencyOutcome> {
        match self {
            Self::Told(outcomes) => outcomes.get(task).cloned(),
            Self::Asked(before) => before.outcome_of(task),
        }
    }

    /// Tells one for a unit test.
    pub(crate) fn tell(&mut self, task: String, outcome: DependencyOutcome) {
        match self {
            Self::Told(outcomes) => drop(Arc::make_mut(outcomes).insert(task, outcome)),
            Self::Asked(_) => *self = Self::Told(Arc::new(BTreeMap::from([(task, outcome)]))),
        }
    }
}

impl Default for Outcomes {
    fn default() -> Self {
        Self::Told(Arc::default())
    }
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outcomes")
    }
}
