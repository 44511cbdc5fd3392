//! What a workflow is made of.

use super::{TaskDefinition, Wait};
use crate::rule::TriggerRule;

/// A task, or something that the engine runs itself. Its position among the nodes of its workflow is its
/// number everywhere.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Task(TaskDefinition),
    Wait(Wait),
}

impl Node {
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Task(task) => &task.id,
            Self::Wait(wait) => &wait.id,
        }
    }

    pub(crate) fn dependencies(&self) -> &[String] {
        match self {
            Self::Task(task) => &task.dependencies,
            Self::Wait(wait) => &wait.dependencies,
        }
    }

    pub(crate) fn rule(&self) -> &TriggerRule {
        match self {
            Self::Task(task) => &task.rule,
            Self::Wait(wait) => &wait.rule,
        }
    }

    pub(crate) fn task(&self) -> Option<&TaskDefinition> {
        match self {
            Self::Task(task) => Some(task),
            Self::Wait(_) => None,
        }
    }

    pub(crate) fn wait(&self) -> Option<&Wait> {
        match self {
            Self::Task(_) => None,
            Self::Wait(wait) => Some(wait),
        }
    }
}
