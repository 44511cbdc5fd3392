//! The children of executions.

use std::collections::BTreeMap;

use cloacina_core::execution::{ExecutionStatus, TaskState};
use cloacina_core::id::{ExecutionId, TaskIndex};
use cloacina_core::store::{
    ChildList, ChildRecord, ChildrenNode, ChildrenPlan, ChildrenProgress, Closed, DueChildren, DueKind,
    DueParent, EndedChild, NewChild, ParentStep, SettledWaits, WaitCursor, WorkflowKey,
};
use jiff::Timestamp;
use uuid::Uuid;

use super::{ChildrenRow, DueRow, Execution, PlaceRows, Writer};

/// The error of a child whose parent ended before it.
const PARENT_ENDED: &str = "cancelled, because its parent has ended";

/// How many children are cancelled at once.
const SWEPT_AT_ONCE: usize = 256;

impl PlaceRows {
    pub(super) fn begin_children(
        &mut self,
        id: ExecutionId,
        node: TaskIndex,
        plan: ChildrenPlan,
        now: Timestamp,
    ) {
        let ChildrenPlan { total, parallel, tolerated, abandons } = plan;
        let node = ChildrenNode { node, total, parallel, tolerated, started: 0, completed: 0, failed: 0 };
        self.children.insert((id, node.node), ChildrenRow { node, abandons });
        self.ask_for_children(id, "", now);
    }

    fn ask_for_children(&mut self, id: ExecutionId, cause: &str, now: Timestamp) {
        self.due.insert((DueKind::Children.number(), now, id, cause.to_owned()));
        self.ring(now);
    }

    /// What the end of an execution asks for: a look by its parent, a sweep of its own children.
    pub(super) fn note_relations(&mut self, id: ExecutionId, now: Timestamp) {
        if let Some((parent, ..)) = self.executions.get(&id).and_then(|execution| execution.parent) {
            self.ask_for_children(parent, &id.to_string(), now);
        }
        self.sweep_later(id, None, now);
    }

    /// What was not started while an execution was paused.
    pub(super) fn resume_children(&mut self, id: ExecutionId, now: Timestamp) {
        if self.children.keys().any(|(of, _)| *of == id) {
            self.ask_for_children(id, "", now);
        }
    }

    pub(super) fn sweep_later(&mut self, id: ExecutionId, node: Option<TaskIndex>, now: Timestamp) {
        if !self.open_children(id, node).is_empty() {
            let cause = node.map_or_else(String::new, |node| node.to_string());
            self.due.insert((DueKind::Sweep.number(), now, id, cause));
            self.ring(now);
        }
    }

    /// Those that do not outlive their parent.
    fn open_children(&self, id: ExecutionId, node: Option<TaskIndex>) -> Vec<ExecutionId> {
        let is_meant = |execution: &&Execution| {
            execution.parent.is_some_and(|(parent, of, _)| {
                parent == id
                    && node.is_none_or(|node| node == of)
                    && self.children.get(&(id, of)).is_some_and(|row| !row.abandons)
            }) && !execution.header.status.is_terminal()
        };
        self.executions.values().filter(is_meant).map(|execution| execution.header.id).collect()
    }

    /// Cancels children; those that were. The row stays until none is left.
    pub(super) fn sweep(&mut self, row: &DueRow, now: Timestamp) -> Vec<ExecutionId> {
        let open = self.open_children(row.2, row.3.parse().ok());
        let swept: Vec<_> = open.iter().copied().take(SWEPT_AT_ONCE).collect();
        for child in &swept {
            self.cancel(*child, PARENT_ENDED, now);
        }
        if open.len() <= SWEPT_AT_ONCE {
            self.due.remove(row);
        }
        swept
    }

    fn nodes(&self, id: ExecutionId) -> Vec<ChildrenNode> {
        let of = self.children.range((id, TaskIndex::MIN)..=(id, TaskIndex::MAX));
        let waits = |node: TaskIndex| self.tasks(id)[node as usize].record.state == TaskState::Waiting;
        of.filter(|((_, node), _)| waits(*node)).map(|(_, row)| row.node).collect()
    }

    pub(crate) fn children_due(
        &self,
        workflows: &[WorkflowKey],
        after: Option<&WaitCursor>,
        limit: usize,
        now: Timestamp,
    ) -> DueChildren {
        let mut due = DueChildren { parents: Vec::new(), void: Vec::new(), next: None };
        let mut parents: BTreeMap<ExecutionId, DueParent> = BTreeMap::new();
        let is_later = |row: &WaitCursor| {
            let key = |row: &WaitCursor| (row.due_at, row.execution, row.cause.clone());
            after.is_none_or(|after| key(row) > key(after))
        };
        let rows = self.due.iter().filter(|row| row.0 == DueKind::Children.number() && row.1 <= now);
        let rows = rows.map(|(_, due_at, execution, cause)| WaitCursor {
            due_at: *due_at,
            execution: *execution,
            cause: cause.clone(),
        });
        let rows: Vec<_> = rows.filter(is_later).take(limit).collect();
        if rows.len() == limit {
            due.next = rows.last().cloned();
        }
        for row in rows {
            let id = row.execution;
            let Some(execution) = self.executions.get(&id).filter(|of| !of.header.status.is_terminal())
            else {
                due.void.push(row);
                continue;
            };
            let header = &execution.header;
            if !workflows.contains(&header.workflow) {
                continue;
            }
            let ended = self.ended_child(id, &row.cause);
            let parent = parents.entry(id).or_insert_with(|| DueParent {
                execution: id,
                workflow: header.workflow.clone(),
                priority: header.priority,
                deadline: header.deadline,
                is_paused: header.status == ExecutionStatus::Paused,
                rows: Vec::new(),
                nodes: self.nodes(id),
                ended: Vec::new(),
            });
            parent.ended.extend(ended);
            parent.rows.push(row);
        }
        due.parents = parents.into_values().collect();
        due
    }

    fn ended_child(&self, parent: ExecutionId, cause: &str) -> Option<EndedChild> {
        let execution = self.executions.get(&ExecutionId(Uuid::try_parse(cause).ok()?))?;
        let (of, node, item) = execution.parent?;
        let header = &execution.header;
        (of == parent && header.status.is_terminal()).then(|| EndedChild {
            execution: header.id,
            node,
            item,
            status: header.status,
            error: header.error.clone(),
        })
    }

    pub(crate) fn children_settle(
        &mut self,
        steps: &[ParentStep],
        void: &[WaitCursor],
        now: Timestamp,
    ) -> SettledWaits {
        let mut settled = SettledWaits::default();
        for step in steps {
            let id = step.execution;
            let Some(header) = self.header(id).filter(|header| !header.status.is_terminal()) else {
                continue;
            };
            let current = self.nodes(id);
            let is_there = |row: &WaitCursor| {
                let kind = DueKind::Children.number();
                self.due.contains(&(kind, row.due_at, row.execution, row.cause.clone()))
            };
            // What a row said that is not there was counted already.
            let is_right =
                step.nodes.iter().all(|node| current.contains(&node.was)) && step.rows.iter().all(is_there);
            if !is_right || (header.status == ExecutionStatus::Paused && step.starts()) {
                continue;
            }
            step.rows.iter().for_each(|row| self.take_row(row));
            for node in &step.nodes {
                if let Some(row) = self.children.get_mut(&(id, node.now.node)) {
                    row.node = node.now;
                }
                for child in &node.starts {
                    self.start_child(id, node.now.node, child, now);
                }
                if let Some(outcome) = &node.end {
                    self.end_wait(outcome, now);
                    self.start(id, now);
                    self.put_ready(id);
                    self.put_waiting(id);
                }
            }
            if step.goes_on {
                self.ask_for_children(id, "", now);
            }
            settled.done += 1;
            if step.nodes.iter().any(|node| node.end.is_some()) {
                if let Some(status) = self.close(id, now) {
                    settled.closed.push(Closed { execution: id, status });
                    self.drop_due(id);
                }
                self.park(id);
            }
        }
        for row in void {
            if self.header(row.execution).is_none_or(|header| header.status.is_terminal()) {
                self.take_row(row);
                settled.voided += 1;
            }
        }
        settled
    }

    fn take_row(&mut self, row: &WaitCursor) {
        self.due.remove(&(DueKind::Children.number(), row.due_at, row.execution, row.cause.clone()));
    }

    fn start_child(&mut self, parent: ExecutionId, node: TaskIndex, child: &NewChild, now: Timestamp) {
        let is_new = self.submit(Writer { runner: None, now }, &child.execution);
        if let Some(execution) = self.executions.get_mut(&child.execution.id).filter(|_| is_new) {
            execution.parent = Some((parent, node, child.item));
        }
    }

    pub(crate) fn children_list(&self, list: &ChildList) -> Vec<ChildRecord> {
        let of = |execution: &Execution| {
            let (parent, node, item) = execution.parent?;
            let (id, status) = (execution.header.id, execution.header.status);
            (parent == list.parent).then_some(ChildRecord { execution: id, node, item, status })
        };
        let mut children: Vec<_> = self.executions.values().filter_map(of).collect();
        children.sort_by_key(|child| (child.node, child.item));
        children.retain(|child| {
            list.node.is_none_or(|node| node == child.node)
                && list.after.is_none_or(|after| (child.node, child.item) > after)
        });
        children.truncate(list.limit);
        children
    }

    pub(crate) fn children_progress(&self, id: ExecutionId) -> Vec<ChildrenProgress> {
        let of = self.children.range((id, TaskIndex::MIN)..=(id, TaskIndex::MAX));
        of.map(|((_, node), row)| ChildrenProgress {
            name: self.tasks(id)[*node as usize].record.name.clone(),
            node: row.node,
        })
        .collect()
    }

    pub(crate) fn children_parallel(
        &mut self,
        id: ExecutionId,
        node: &str,
        parallel: i64,
        now: Timestamp,
    ) -> bool {
        let waits = (0..)
            .zip(self.tasks(id))
            .find(|(_, task)| task.record.name == node && task.record.state == TaskState::Waiting);
        let Some((node, _)) = waits else { return false };
        let Some(row) = self.children.get_mut(&(id, node)) else { return false };
        row.node.parallel = parallel;
        self.ask_for_children(id, "", now);
        true
    }

    /// An execution and all that come from it.
    pub(super) fn tree(&self, root: ExecutionId) -> Vec<ExecutionId> {
        let (mut tree, mut next) = (vec![root], 0);
        while let Some(id) = tree.get(next).copied() {
            let is_child = |of: &&Execution| of.parent.is_some_and(|(parent, ..)| parent == id);
            tree.extend(self.executions.values().filter(is_child).map(|of| of.header.id));
            next += 1;
        }
        tree
    }

    pub(super) fn is_over_below(&self, root: ExecutionId) -> bool {
        self.tree(root).iter().all(|id| self.executions[id].header.status.is_terminal())
    }
}
