//! Random executions, and how they must end.

use cloacina_core::execution::{ExecutionStatus, SkipReason, TaskState};
use cloacina_core::id::{ExecutionId, TaskIndex};
use cloacina_core::store::NewExecution;
use fastrand::Rng;

use crate::conformance::process::{at, draft};

/// A task's state as its dependents see it.
pub(super) type Seen = (TaskState, Option<SkipReason>);

/// An execution and the script of its tasks. What a task comes to depends on nothing but the script and its
/// dependencies, never on timing, so how the execution ends is known beforehand, unless it is cancelled.
pub(super) struct Plan {
    pub(super) id: ExecutionId,
    priority: i16,
    start_at: Option<i64>,
    deadline: Option<i64>,
    pub(super) tasks: Vec<PlannedTask>,
}

pub(super) struct PlannedTask {
    /// Tasks before this one.
    pub(super) depends_on: Vec<TaskIndex>,
    /// Whether it runs only if something before it failed, and then handles that; otherwise only if nothing
    /// did.
    handler: bool,
    /// How many attempts fail before the last one.
    pub(super) retries: i32,
    /// Whether the last one fails as well.
    pub(super) fails: bool,
}

/// How an execution ends that nobody cancels.
pub(super) struct Ending {
    pub(super) status: ExecutionStatus,
    pub(super) tasks: Vec<Seen>,
    pub(super) handled: Vec<bool>,
}

impl Plan {
    pub(super) fn random(rng: &mut Rng, now: i64) -> Self {
        let count = rng.i16(1..=8);
        let tasks = (0..count).map(|task| {
            let depends_on: Vec<_> = (0..task).filter(|_| rng.u8(..100) < 35).collect();
            PlannedTask {
                handler: !depends_on.is_empty() && rng.u8(..100) < 20,
                depends_on,
                retries: if rng.u8(..100) < 20 { rng.i32(1..=2) } else { 0 },
                fails: rng.u8(..100) < 15,
            }
        });
        Self {
            tasks: tasks.collect(),
            id: ExecutionId::new(),
            priority: rng.i16(0..=9),
            start_at: (rng.u8(..100) < 20).then(|| now + rng.i64(0..50)),
            deadline: (rng.u8(..100) < 15).then(|| now + rng.i64(30..300)),
        }
    }

    /// The execution, with each of its roots claimed that `claims` says yes to.
    pub(super) fn draft(&self, mut claims: impl FnMut() -> bool) -> NewExecution {
        let waiting_on: Vec<_> = self
            .tasks
            .iter()
            .map(|task| i16::try_from(task.depends_on.len()).expect("plans are small"))
            .collect();
        let roots = (0..).zip(&waiting_on).filter(|(_, count)| **count == 0).map(|(task, _)| task);
        NewExecution {
            id: self.id,
            priority: self.priority,
            start_at: self.start_at.map(at),
            deadline: self.deadline.map(at),
            claimed: roots.filter(|_| self.start_at.is_none() && claims()).collect(),
            ..draft(&waiting_on)
        }
    }

    pub(super) fn task(&self, task: TaskIndex) -> &PlannedTask {
        &self.tasks[usize::try_from(task).expect("a position is not negative")]
    }

    pub(super) fn successors(&self, task: TaskIndex) -> Vec<TaskIndex> {
        let after = (0..).zip(&self.tasks).filter(|(_, other)| other.depends_on.contains(&task));
        after.map(|(index, _)| index).collect()
    }

    /// What a task that completes has stored.
    pub(super) fn patch(&self, task: TaskIndex) -> String {
        format!(r#"{{"set":{{"{}/{task}":1.0}}}}"#, self.id)
    }

    /// The failures that the task handles if it completes, or why it is skipped.
    pub(super) fn decide(&self, task: TaskIndex, seen: &[Seen]) -> Result<Vec<TaskIndex>, SkipReason> {
        let PlannedTask { depends_on, handler, .. } = self.task(task);
        let state = |task: &TaskIndex| seen[usize::try_from(*task).expect("a position is not negative")];
        let failed = |task: &TaskIndex| {
            matches!(state(task), (TaskState::Failed, _) | (_, Some(SkipReason::UpstreamFailed)))
        };
        let any_failed = depends_on.iter().any(failed);
        if *handler {
            let handles = depends_on.iter().filter(|task| state(task).0 == TaskState::Failed);
            if any_failed { Ok(handles.copied().collect()) } else { Err(SkipReason::ByRule) }
        } else if any_failed {
            Err(SkipReason::UpstreamFailed)
        } else if depends_on.iter().all(|task| state(task).0 == TaskState::Completed) {
            Ok(Vec::new())
        } else {
            Err(SkipReason::ByRule)
        }
    }

    pub(super) fn ending(&self) -> Ending {
        let mut tasks: Vec<Seen> = Vec::new();
        let mut handled = vec![false; self.tasks.len()];
        for (index, task) in (0..).zip(&self.tasks) {
            match self.decide(index, &tasks) {
                Err(reason) => tasks.push((TaskState::Skipped, Some(reason))),
                Ok(_) if task.fails => tasks.push((TaskState::Failed, None)),
                Ok(handles) => {
                    tasks.push((TaskState::Completed, None));
                    for task in handles {
                        handled[usize::try_from(task).expect("a position is not negative")] = true;
                    }
                }
            }
        }
        let left =
            tasks.iter().zip(&handled).any(|((state, _), handled)| *state == TaskState::Failed && !handled);
        let status = if left { ExecutionStatus::Failed } else { ExecutionStatus::Completed };
        Ending { status, tasks, handled }
    }
}
