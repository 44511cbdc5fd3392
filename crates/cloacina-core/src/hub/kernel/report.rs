//! What the log will say of attempts and executions that failed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::super::live::Live;
use crate::execution::{AttemptOutcome, TaskState};
use crate::id::{ExecutionId, TaskIndex};
use crate::store::{Outcome, TaskOutcome};
use crate::workflow::Workflow;

/// How much of an error's text the log shows, in bytes. The history of the execution has more.
const SHOWN: usize = 1000;

/// Something that the log will say once the state of the place is free.
pub(crate) enum Report {
    /// An attempt failed. With when the next one is due, if there is one.
    Attempt {
        workflow: Arc<Workflow>,
        execution: ExecutionId,
        task: TaskIndex,
        attempt: i32,
        error: String,
        after: Option<Duration>,
    },
    /// An execution failed for good.
    Failure { workflow: Arc<Workflow>, execution: ExecutionId, task: TaskIndex, error: String },
    /// The same, where it is not known here which task failed.
    Unread(ExecutionId),
}

impl Report {
    pub(crate) fn of_attempt(live: &Live, outcome: &Outcome) -> Option<Self> {
        let (error, after) = match &outcome.outcome {
            TaskOutcome::Retry { how: AttemptOutcome::Snoozed, .. } => return None,
            TaskOutcome::Retry { error, after, .. } => (error, Some(*after)),
            TaskOutcome::Failed { error, .. } => (error, None),
            TaskOutcome::Completed { .. } | TaskOutcome::Skipped { .. } | TaskOutcome::Released => {
                return None;
            }
        };
        live.has(outcome.task).then(|| Self::Attempt {
            workflow: Arc::clone(&live.workflow),
            execution: outcome.execution,
            task: outcome.task,
            attempt: outcome.attempt,
            error: Short(error).to_string(),
            after,
        })
    }

    pub(crate) fn of_failure(execution: ExecutionId, live: Option<&Live>) -> Self {
        let failed = live.and_then(|live| {
            let tasks = (0..).zip(&live.tasks);
            let mut failed = tasks.filter(|(_, task)| task.state == TaskState::Failed && !task.handled);
            failed.find_map(|(at, task)| Some((live, at, task.error.as_deref()?)))
        });
        match failed {
            Some((live, task, error)) => Self::Failure {
                workflow: Arc::clone(&live.workflow),
                execution,
                task,
                error: Short(error).to_string(),
            },
            None => Self::Unread(execution),
        }
    }
}

/// A text of which only the beginning is shown.
pub(crate) struct Short<'a>(pub(crate) &'a str);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() <= SHOWN {
            return f.write_str(self.0);
        }
        let end = (0..=SHOWN).rev().find(|at| self.0.is_char_boundary(*at)).unwrap_or(0);
        write!(f, "{} … (cut)", &self.0[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_two_characters() {
        assert_eq!(Short("short").to_string(), "short");
        let long = format!("{}é", "x".repeat(SHOWN - 1));
        assert_eq!(Short(&long).to_string(), format!("{} … (cut)", "x".repeat(SHOWN - 1)));
    }
}
