//! What a place works on: the tasks that are ours, and what is known of their executions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::super::live::Live;
use super::super::stop::Stop;
use crate::id::{ExecutionId, TaskIndex};

/// How many executions that were given up are remembered.
const GIVEN_UP: usize = 1000;

/// The tasks that are held, and what is known of executions. Written by the [kernel](super::super::kernel)
/// and by whoever declares a runner void; attempts read it, and note that they are about to end.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// What is known of executions that are worked on, or waited for, here.
    pub(crate) live: HashMap<ExecutionId, Live>,
    /// The tasks that the database says are ours, from the claim to the recorded outcome.
    held: BTreeMap<(ExecutionId, TaskIndex), Held>,
    /// Executions that could not be run as they are stored: they are not adopted again, whatever their rows
    /// say.
    given_up: HashSet<ExecutionId>,
}

/// A task that the database says is ours.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) attempt: i32,
    pub(crate) stop: Arc<Stop>,
}

impl Work {
    /// Whether no task is held.
    pub(crate) fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    /// All that is held.
    pub(crate) fn all_held(&self) -> impl ExactSizeIterator<Item = &Held> {
        self.held.values()
    }

    pub(crate) fn held(&self, execution: ExecutionId, task: TaskIndex) -> Option<&Held> {
        self.held.get(&(execution, task))
    }

    /// Whether a task is held for this very attempt.
    pub(crate) fn holds_attempt(&self, execution: ExecutionId, task: TaskIndex, attempt: i32) -> bool {
        self.held(execution, task).is_some_and(|held| held.attempt == attempt)
    }

    /// Which tasks are held, and for which attempt.
    #[cfg(feature = "testing")]
    pub(crate) fn all_attempts(&self) -> impl Iterator<Item = (ExecutionId, TaskIndex, i32)> {
        self.held.iter().map(|((execution, task), held)| (*execution, *task, held.attempt))
    }

    /// Whether any task of an execution is held.
    pub(crate) fn holds(&self, execution: ExecutionId) -> bool {
        self.held_of(execution).next().is_some()
    }

    /// The held tasks of an execution.
    pub(crate) fn held_of(&self, execution: ExecutionId) -> impl Iterator<Item = (TaskIndex, &Held)> {
        self.held
            .range((execution, TaskIndex::MIN)..=(execution, TaskIndex::MAX))
            .map(|((_, task), held)| (*task, held))
    }

    /// Those of these executions that may have due rows: all of which it is not known that they have none.
    pub(crate) fn timed(&self, executions: impl Iterator<Item = ExecutionId>) -> Vec<ExecutionId> {
        executions.filter(|id| self.live.get(id).is_none_or(|live| live.timed)).collect()
    }

    /// Those of these executions whose end may matter to something else: a schedule that started them, a
    /// parent, children, a workflow that is started when they fail. All of which it is not known that nothing
    /// else is concerned.
    pub(crate) fn related(&self, executions: impl Iterator<Item = ExecutionId>) -> Vec<ExecutionId> {
        let is_related = |live: &Live| {
            live.origin.is_known()
                || live.graph.has_children()
                || live.has_children
                || live.graph.on_failure().is_some()
        };
        executions.filter(|id| self.live.get(id).is_none_or(is_related)).collect()
    }

    /// Whether all that is known of an execution is that it is a child: only its parent wants to know of its
    /// end.
    pub(crate) fn is_only_a_child(&self, execution: ExecutionId) -> bool {
        let is_it = |live: &Live| {
            live.origin.parent.is_some()
                && live.origin.fire.is_none()
                && !live.graph.has_children()
                && live.graph.on_failure().is_none()
                && !live.has_children
        };
        self.live.get(&execution).is_some_and(is_it)
    }

    pub(crate) fn hold(&mut self, execution: ExecutionId, task: TaskIndex, attempt: i32) {
        self.held.insert((execution, task), Held { attempt, stop: Arc::default() });
    }

    /// Lets go of a task that is held for this attempt, and says whether it was. A later attempt may be held
    /// already, while the earlier one is still coming to its end or its outcome is written once more after a
    /// lost answer: that one is kept.
    pub(crate) fn let_go(&mut self, execution: ExecutionId, task: TaskIndex, attempt: i32) -> bool {
        let held = self.holds_attempt(execution, task, attempt);
        if held {
            self.held.remove(&(execution, task));
        }
        held
    }

    /// Forgets all executions and all that is held; what was.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = Held> + use<> {
        self.live.clear();
        std::mem::take(&mut self.held).into_values()
    }

    /// Gives an execution up. False if it was given up before.
    pub(crate) fn give_up(&mut self, execution: ExecutionId) -> bool {
        self.live.remove(&execution);
        if self.given_up.len() >= GIVEN_UP {
            self.given_up.clear();
        }
        self.given_up.insert(execution)
    }

    pub(crate) fn is_given_up(&self, execution: ExecutionId) -> bool {
        self.given_up.contains(&execution)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_attempt_is_kept_when_an_earlier_one_comes_to_its_end() {
        let (mut work, execution) = (Work::default(), ExecutionId::new());
        work.hold(execution, 3, 1);
        work.hold(execution, 3, 2);
        assert!(!work.let_go(execution, 3, 1));
        assert!(work.holds(execution));
        assert!(work.let_go(execution, 3, 2));
        assert!(work.is_idle());
    }

    #[test]
    fn what_is_held_of_one_execution_is_not_mixed_with_that_of_others() {
        let (mut work, one, other) = (Work::default(), ExecutionId::new(), ExecutionId::new());
        work.hold(one, 0, 1);
        work.hold(other, 0, 1);
        work.hold(one, TaskIndex::MAX, 1);
        let tasks: Vec<_> = work.held_of(one).map(|(task, _)| task).collect();
        assert_eq!(tasks, [0, TaskIndex::MAX]);
    }
}
