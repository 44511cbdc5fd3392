//! What the log says of attempts and executions that failed, and how executions are counted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tracing::{debug, error, warn};

use super::Hub;
use super::live::Live;
use super::place::OpenPlace;
use crate::execution::{PipelineStatus, TaskState};
use crate::id::{ExecutionId, TaskIndex};
use crate::store::{Controlled, ExecutionRecord, Outcome, TaskOutcome};
use crate::workflow::Workflow;

/// How much of an error's text the log shows, in bytes. The history of the execution has more.
const SHOWN: usize = 1000;

/// Something that the log will say once the state of the place is free.
pub(super) enum Report {
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
    pub(super) fn of_attempt(live: &Live, outcome: &Outcome) -> Option<Self> {
        let (error, after) = match &outcome.outcome {
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

    pub(super) fn of_failure(execution: ExecutionId, live: Option<&Live>) -> Self {
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

impl Hub {
    pub(super) fn say(self: &Arc<Self>, place: &Arc<OpenPlace>, reports: Vec<Report>) {
        let tenant = &place.place.name;
        for report in reports {
            match report {
                Report::Attempt { workflow, execution, task, attempt, error, after: Some(after) } => {
                    let (workflow, task) = (workflow.name(), workflow.tasks()[task as usize].id());
                    warn!(
                        tenant, workflow, %execution, task, attempt, error, again_in = ?after,
                        "an attempt failed; the task is tried again"
                    );
                }
                Report::Attempt { workflow, execution, task, attempt, error, after: None } => {
                    let (workflow, task) = (workflow.name(), workflow.tasks()[task as usize].id());
                    debug!(
                        tenant, workflow, %execution, task, attempt, error,
                        "an attempt failed; the task is not tried again"
                    );
                }
                Report::Failure { workflow, execution, task, error } => {
                    let task = workflow.tasks()[task as usize].id();
                    say_failure(tenant, workflow.name(), execution, task, &error);
                }
                Report::Unread(execution) => {
                    self.spawn(Arc::clone(self).say_failures(Arc::clone(place), vec![execution]));
                }
            }
        }
    }

    /// Reads why executions failed, and says it.
    pub(super) async fn say_failures(self: Arc<Self>, place: Arc<OpenPlace>, executions: Vec<ExecutionId>) {
        let read = {
            let _turn = self.turn_in(&place).await;
            self.store.execution_load(&place.place, &executions).await
        };
        match read {
            Ok(records) => records.iter().for_each(|record| say_stored_failure(&place, record)),
            Err(error) => {
                let tenant = &place.place.name;
                for execution in executions {
                    error!(tenant, %execution, "an execution failed for good; failed to read why: {error}");
                }
            }
        }
    }
}

impl Hub {
    /// An execution was cancelled, paused or resumed; if that ended it, it is counted, and a failure is said.
    pub(super) fn note_ended(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        execution: ExecutionId,
        done: Controlled,
    ) {
        let Controlled::Done(status) = done else { return };
        if !status.is_terminal() {
            return;
        }
        place.left_queue(1);
        count_ended(status, 1);
        if status == PipelineStatus::Failed {
            self.spawn(Arc::clone(self).say_failures(Arc::clone(place), vec![execution]));
        }
    }

    /// Counts executions that were closed, and says which of them failed. How they ended has to be read.
    pub(super) async fn note_closed(self: Arc<Self>, place: Arc<OpenPlace>, executions: Vec<ExecutionId>) {
        let headers = {
            let _turn = self.turn_in(&place).await;
            self.store.execution_headers(&place.place, &executions).await
        };
        let headers = match headers {
            Ok(headers) => headers,
            Err(error) => {
                debug!(tenant = place.place.name, %error, "failed to read how executions ended that were closed");
                return;
            }
        };
        headers.iter().for_each(|header| count_ended(header.status, 1));
        let failed = headers.iter().filter(|header| header.status == PipelineStatus::Failed);
        let failed: Vec<ExecutionId> = failed.map(|header| header.id).collect();
        if !failed.is_empty() {
            self.say_failures(place, failed).await;
        }
    }
}

/// An execution is recorded.
pub(super) fn count_submitted() {
    counter!("cloacina_executions_submitted_total").increment(1);
}

/// So many executions ended like this.
pub(super) fn count_ended(status: PipelineStatus, executions: usize) {
    let name = match status {
        PipelineStatus::Completed => "cloacina_executions_completed_total",
        PipelineStatus::Failed => "cloacina_executions_failed_total",
        PipelineStatus::Cancelled => "cloacina_executions_cancelled_total",
        PipelineStatus::Pending | PipelineStatus::Running | PipelineStatus::Paused => return,
    };
    counter!(name).increment(executions as u64);
}

fn say_failure(tenant: &str, workflow: &str, execution: ExecutionId, task: &str, error: &str) {
    error!(tenant, workflow, %execution, task, error, "an execution failed for good");
}

/// What is stored was perhaps written by a tenant.
fn say_stored_failure(place: &OpenPlace, record: &ExecutionRecord) {
    let failed = record.tasks.iter().find(|task| task.state == TaskState::Failed && !task.handled);
    let (task, error) = match failed {
        Some(task) => (task.name.as_str(), task.error.as_deref()),
        None => ("", record.header.error.as_deref()),
    };
    let shown = |text: &str| Short(text).to_string();
    let workflow = shown(&record.header.workflow.name);
    say_failure(
        &place.place.name,
        &workflow,
        record.header.id,
        &shown(task),
        &shown(error.unwrap_or_default()),
    );
}

/// A text of which only the beginning is shown.
pub(super) struct Short<'a>(pub(super) &'a str);

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
