//! What started an execution, if the engine did.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::reserved::{PARENT_KEY, SCHEDULE_KEY};
use crate::schedule::Fire;

/// What an execution knows of the one that it is a [child](crate::workflow::Wait::child) of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Parent {
    /// The execution that waits for it.
    #[serde(rename = "execution")]
    pub execution_id: Uuid,
    /// The node that waits there.
    pub node: String,
    /// Which item of the list of a [map](crate::workflow::Wait::map) it is about, from 0.
    pub item: u64,
    /// How many executions are above it; 1 for the child of one that has no parent.
    pub depth: u16,
}

impl Parent {
    /// What a task is told in a unit test: it runs for this item of the node of some execution.
    #[must_use]
    pub fn for_test(node: impl Into<String>, item: u64) -> Self {
        Self { execution_id: Uuid::now_v7(), node: node.into(), item, depth: 1 }
    }
}

/// What started an execution: a moment of a schedule, or another execution.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    pub(crate) fire: Option<Arc<Fire>>,
    pub(crate) parent: Option<Arc<Parent>>,
}

impl Origin {
    /// Whether somebody wants to know how the execution ended.
    pub(crate) fn is_known(&self) -> bool {
        self.fire.is_some() || self.parent.is_some()
    }
}

/// The input of an execution, as tasks see it.
type Input = Arc<BTreeMap<String, Value>>;

/// Takes what the engine left in an input out of it.
pub(crate) fn taken_out(mut values: BTreeMap<String, Value>) -> (Input, Origin) {
    let fire = values.remove(SCHEDULE_KEY).and_then(|value| serde_json::from_value(value).ok());
    let parent = values.remove(PARENT_KEY).and_then(|value| serde_json::from_value(value).ok());
    (Arc::new(values), Origin { fire: fire.map(Arc::new), parent: parent.map(Arc::new) })
}
