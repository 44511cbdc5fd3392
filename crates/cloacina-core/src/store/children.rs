//! Children: executions that a node of another one waits for.
//!
//! The node is a [wait](super::WaitBegin), and how far it is stands in the counters of its row. Children are
//! started, and counted when they have ended, under the lock of their parent.
//! [`children_due`](super::Store::children_due) reads what is due, and locks nothing. Who read it decides,
//! and [`children_settle`](super::Store::children_settle) does what was decided where the counters are still
//! those that were read.

use std::sync::Arc;

use jiff::Timestamp;

use super::{NewExecution, Outcome, Payload, WaitCursor, WorkflowKey};
use crate::execution::ExecutionStatus;
use crate::id::{ExecutionId, TaskIndex};

/// A node that waits for children, and how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChildrenNode {
    /// Its position.
    pub node: TaskIndex,
    /// How many there are to be.
    pub total: i64,
    /// How many may be open at once.
    pub parallel: i64,
    /// How many may fail.
    pub tolerated: i64,
    /// How many were started: those of the first items.
    pub started: i64,
    /// How many have completed.
    pub completed: i64,
    /// How many have failed or were cancelled.
    pub failed: i64,
}

impl ChildrenNode {
    /// How many are open.
    #[must_use]
    pub fn open(&self) -> i64 {
        self.started - self.completed - self.failed
    }

    /// How many more may be started.
    #[must_use]
    pub fn room(&self) -> i64 {
        (self.parallel - self.open()).min(self.total - self.started).max(0)
    }
}

/// What [`children_due`](super::Store::children_due) found.
#[derive(Debug, Clone)]
pub struct DueChildren {
    /// Executions of workflows that the caller knows, whose children are to be looked at.
    pub parents: Vec<DueParent>,
    /// Due rows of which nothing can come: their executions are over, or not there. They are given back to be
    /// taken away.
    pub void: Vec<WaitCursor>,
    /// Where to go on, if there may be more.
    pub next: Option<WaitCursor>,
}

/// An execution whose children are to be looked at.
#[derive(Debug, Clone)]
pub struct DueParent {
    /// Which.
    pub execution: ExecutionId,
    /// What it runs.
    pub workflow: WorkflowKey,
    /// From 0 to 9.
    pub priority: i16,
    /// When it is cancelled if it is not over.
    pub deadline: Option<Timestamp>,
    /// Whether it is paused: nothing is started then.
    pub is_paused: bool,
    /// The due rows that say so.
    pub rows: Vec<WaitCursor>,
    /// Its nodes that wait for children.
    pub nodes: Vec<ChildrenNode>,
    /// The children that the due rows name, as far as they are over.
    pub ended: Vec<EndedChild>,
}

/// A child that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedChild {
    /// Which.
    pub execution: ExecutionId,
    /// The node of its parent.
    pub node: TaskIndex,
    /// Its number among those of the node.
    pub item: i64,
    /// How it ended.
    pub status: ExecutionStatus,
    /// Why, if it did not complete.
    pub error: Option<String>,
}

/// What becomes of an execution whose children were looked at.
#[derive(Debug, Clone)]
pub struct ParentStep {
    /// Which.
    pub execution: ExecutionId,
    /// The due rows that are taken away.
    pub rows: Vec<WaitCursor>,
    /// Its nodes, those that stay as they are too.
    pub nodes: Vec<NodeStep>,
    /// Whether more is to be started: a due row is left that says so.
    pub goes_on: bool,
}

/// What becomes of a node that waits for children.
#[derive(Debug, Clone)]
pub struct NodeStep {
    /// What it goes by.
    pub was: ChildrenNode,
    /// How far it is now.
    pub now: ChildrenNode,
    /// What is started.
    pub starts: Vec<NewChild>,
    /// What became of it, if it is over.
    pub end: Option<Arc<Outcome>>,
}

/// A child that is started.
#[derive(Debug, Clone)]
pub struct NewChild {
    /// Its number among those of its node, from 0.
    pub item: i64,
    /// Nothing of it is claimed.
    pub execution: Arc<NewExecution>,
}

/// Children of an execution to list, in the order of nodes and items.
#[derive(Debug, Clone)]
pub struct ChildList {
    /// Whose.
    pub parent: ExecutionId,
    /// Of this node only.
    pub node: Option<TaskIndex>,
    /// After this one: node and item of the last of the page before.
    pub after: Option<(TaskIndex, i64)>,
    /// At most so many.
    pub limit: usize,
}

/// A child as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildRecord {
    /// Which.
    pub execution: ExecutionId,
    /// The node of its parent.
    pub node: TaskIndex,
    /// Its number among those of the node.
    pub item: i64,
    /// Its state.
    pub status: ExecutionStatus,
}

/// How far the nodes of an execution are that wait, or waited, for children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildrenProgress {
    /// The id of the node.
    pub name: String,
    /// How far it is.
    pub node: ChildrenNode,
}

impl ParentStep {
    /// Whether anything is started.
    #[must_use]
    pub fn starts(&self) -> bool {
        self.nodes.iter().any(|node| !node.starts.is_empty())
    }
}

/// The largest input that children of one transaction have together, but for the first.
pub const MOST_STARTED_BYTES: usize = 4 << 20;

/// The largest output of an item of a list, and the largest item, in bytes of JSON.
pub const MOST_ITEM_BYTES: usize = 64 << 10;

/// The most items of a page that a task emits, and the most bytes of JSON unless it has one item.
pub const PAGE_ITEMS: usize = 1_000;
/// See [`PAGE_ITEMS`].
pub const PAGE_BYTES: usize = 4 << 20;

/// What a task emits under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// The execution of the task.
    pub execution: ExecutionId,
    /// The task.
    pub task: TaskIndex,
    /// Which attempt of it.
    pub attempt: i32,
    /// The name.
    pub name: String,
}

/// A page of it.
#[derive(Debug, Clone)]
pub struct StreamPage {
    /// The number of its first item.
    pub first: i64,
    /// A JSON array.
    pub items: Payload,
}
