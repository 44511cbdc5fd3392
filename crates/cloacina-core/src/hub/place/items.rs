//! The lists of nodes that start children, so that they are not read again for each window.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use crate::id::{ExecutionId, TaskIndex};
use crate::store::Stream;

/// How many bytes of lists are kept, as JSON. One that is not kept is read again.
const KEPT: usize = 8 << 20;

/// What the children of a node are about.
#[derive(Debug, Clone)]
pub(crate) struct Items {
    /// How many there are: one for each child.
    pub(crate) total: usize,
    /// The number of the first of those that are here.
    pub(crate) first: i64,
    /// All of them, or some if they were emitted.
    pub(crate) list: Vec<Value>,
    /// What they were emitted as.
    pub(crate) stream: Option<Stream>,
    /// How many bytes the context has that it is from.
    pub(crate) bytes: usize,
    /// How many executions are above a child.
    pub(crate) depth: u16,
    /// The tags of their parent.
    pub(crate) tags: Option<Arc<[String]>>,
    /// Of what its idempotency tokens are made, if not of its id.
    pub(crate) token: Option<Uuid>,
    /// In which trace their parent was submitted.
    pub(crate) trace: Option<Arc<str>>,
}

impl Items {
    /// Whether there is nothing to be read for the items from this one on.
    pub(crate) fn has(&self, from: i64) -> bool {
        let here = |number: i64| usize::try_from(number).is_ok_and(|number| number < self.list.len());
        self.stream.is_none()
            || usize::try_from(from).is_ok_and(|from| from >= self.total)
            || here(from - self.first)
    }
}

/// The lists of a place. Written and read by who looks after children.
#[derive(Debug, Default)]
pub(crate) struct KnownItems {
    lists: HashMap<(ExecutionId, TaskIndex), Arc<Items>>,
    bytes: usize,
}

impl KnownItems {
    pub(crate) fn get(&self, execution: ExecutionId, node: TaskIndex) -> Option<Arc<Items>> {
        self.lists.get(&(execution, node)).cloned()
    }

    pub(crate) fn keep(&mut self, execution: ExecutionId, node: TaskIndex, items: Arc<Items>) {
        self.forget(execution, node);
        if self.bytes + items.bytes > KEPT {
            // Those of executions that were cancelled are among them.
            *self = Self::default();
        }
        self.bytes += items.bytes;
        self.lists.insert((execution, node), items);
    }

    pub(crate) fn forget(&mut self, execution: ExecutionId, node: TaskIndex) {
        if let Some(items) = self.lists.remove(&(execution, node)) {
            self.bytes -= items.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: usize) -> Arc<Items> {
        Arc::new(Items {
            total: 0,
            first: 0,
            list: Vec::new(),
            stream: None,
            bytes,
            depth: 1,
            tags: None,
            token: None,
            trace: None,
        })
    }

    #[test]
    fn lists_are_kept_until_they_are_too_many_bytes_together() {
        let (mut known, ids) = (KnownItems::default(), [(); 3].map(|()| ExecutionId::new()));
        known.keep(ids[0], 0, of(KEPT / 2));
        known.keep(ids[0], 0, of(KEPT / 2));
        known.keep(ids[1], 0, of(KEPT / 2));
        assert!(known.get(ids[0], 0).is_some() && known.get(ids[1], 0).is_some());
        known.keep(ids[2], 0, of(1));
        assert!(known.get(ids[0], 0).is_none() && known.get(ids[2], 0).is_some());
        known.forget(ids[2], 0);
        assert_eq!((known.lists.len(), known.bytes), (0, 0));
    }
}
