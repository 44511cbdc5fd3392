//! The lists of nodes that start children, so that they are not read again for each window.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use crate::id::{ExecutionId, TaskIndex};

/// How many lists are kept. One that is not is read again.
const KEPT: usize = 64;

/// What the children of a node are about.
#[derive(Debug)]
pub(crate) struct Items {
    /// One for each child.
    pub(crate) list: Vec<Value>,
    /// How many executions are above a child.
    pub(crate) depth: u16,
    /// The tags of their parent.
    pub(crate) tags: Option<Arc<[String]>>,
    /// Of what its idempotency tokens are made, if not of its id.
    pub(crate) token: Option<Uuid>,
}

/// The lists of a place. Written and read by who looks after children.
#[derive(Debug, Default)]
pub(crate) struct KnownItems(HashMap<(ExecutionId, TaskIndex), Arc<Items>>);

impl KnownItems {
    pub(crate) fn get(&self, execution: ExecutionId, node: TaskIndex) -> Option<Arc<Items>> {
        self.0.get(&(execution, node)).cloned()
    }

    pub(crate) fn keep(&mut self, execution: ExecutionId, node: TaskIndex, items: Arc<Items>) {
        if self.0.len() >= KEPT {
            self.0.clear();
        }
        self.0.insert((execution, node), items);
    }

    pub(crate) fn forget(&mut self, execution: ExecutionId, node: TaskIndex) {
        self.0.remove(&(execution, node));
    }
}
