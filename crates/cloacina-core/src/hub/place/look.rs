//! What the auditor is asked to look at in one place.

use std::collections::HashSet;

use crate::id::ExecutionId;

/// All that was asked for one place.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// These executions.
    pub(crate) executions: HashSet<ExecutionId>,
    /// All tasks that the database says this runner holds.
    pub(crate) held: bool,
}

impl Look {
    pub(crate) fn add(&mut self, other: Self) {
        self.executions.extend(other.executions);
        self.held |= other.held;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.executions.is_empty() && !self.held
    }
}
