//! What an execution, its tasks and their attempts came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{AttemptOutcome, ExecutionStatus, SkipReason, TaskState};
use crate::Context;
use crate::workflow::{Fingerprint, TaskKind};

/// A snapshot of an execution. Once it has ended, it never changes, but for
/// [`superseded_by`](Self::superseded_by).
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ExecutionResult {
    /// Its id.
    pub execution_id: Uuid,
    /// The name of its workflow.
    pub workflow_name: String,
    /// Its state.
    pub status: ExecutionStatus,
    /// When its first task was claimed, or it was recorded if none was.
    pub start_time: Timestamp,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// From start to end.
    pub duration: Option<Duration>,
    /// The input overlaid by what every completed task changed. In a listing: empty, since contexts are not
    /// merged there.
    pub final_context: Context,
    /// Its tasks, in the order of declaration. In a listing: empty.
    pub task_results: Vec<TaskResult>,
    /// Why it did not complete: the error of the first failed task that nothing handled, or the reason of
    /// its cancellation.
    pub error_message: Option<String>,
    /// The execution whose place it took: see [`rerun`](crate::rerun).
    pub rerun_of: Option<Uuid>,
    /// The execution that took its place, if one has by now.
    pub superseded_by: Option<Uuid>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Who submitted it, if somebody did [by name](crate::PlaceRunner::acting). In what
    /// [`execute`](crate::PlaceRunner::execute) returns it is not told.
    pub submitted_by: Option<String>,
    /// The W3C trace context in which it was submitted, if there was one: see
    /// [`Submission::traceparent`](crate::Submission::traceparent). In a listing it is not told.
    pub traceparent: Option<String>,
}

/// A task of an execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TaskResult {
    /// Its id.
    pub task_id: String,
    /// What it does, if this process has the code of the workflow; else see
    /// [`Execution::graph`](crate::Execution::graph).
    pub kind: Option<TaskKind>,
    /// Its state.
    pub state: TaskState,
    /// How often it was tried.
    pub attempts: u32,
    /// When its latest attempt began.
    pub start_time: Option<Timestamp>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// The error of its latest failed attempt.
    pub error_message: Option<String>,
    /// Why it was skipped.
    pub skip_reason: Option<SkipReason>,
}

/// An execution with all that is stored of it: what one looks at to find out what happened.
#[derive(Clone)]
#[non_exhaustive]
pub struct ExecutionDetails {
    /// What it came to.
    pub result: ExecutionResult,
    /// The version of its workflow.
    pub fingerprint: Fingerprint,
    /// From 0 to 9.
    pub priority: u8,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// When it is cancelled if it is not over.
    pub deadline: Option<Timestamp>,
    /// What it was given. It belongs to the tenant, as what its tasks changed does.
    pub input: BTreeMap<String, Value>,
    /// What is stored of its tasks, in the order of its `task_results`.
    pub tasks: Vec<TaskDetails>,
}

/// Without the input, which belongs to the tenant.
impl fmt::Debug for ExecutionDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutionDetails")
            .field("result", &self.result)
            .field("fingerprint", &self.fingerprint)
            .field("priority", &self.priority)
            .field("created_at", &self.created_at)
            .field("deadline", &self.deadline)
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

/// A task of an execution with what it changed.
#[derive(Clone)]
#[non_exhaustive]
pub struct TaskDetails {
    /// How many of its attempts failed.
    pub failures: u32,
    /// How many of its attempts were lost with their runner.
    pub lost: u32,
    /// Who runs it, or ran it last.
    pub runner_id: Option<Uuid>,
    /// What it set in the context, and what it removed (`None`), once it has completed.
    pub changes: BTreeMap<String, Option<Value>>,
}

/// Without what it changed, which belongs to the tenant.
impl fmt::Debug for TaskDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskDetails")
            .field("failures", &self.failures)
            .field("lost", &self.lost)
            .field("runner_id", &self.runner_id)
            .finish_non_exhaustive()
    }
}

/// One try of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AttemptRecord {
    /// The id of the task.
    pub task_id: String,
    /// Its number, from 1, in the order of claims.
    pub attempt: u32,
    /// The runner that made it.
    pub runner_id: Uuid,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Its error.
    pub error_message: Option<String>,
    /// When it was claimed.
    pub start_time: Timestamp,
    /// When it ended.
    pub end_time: Option<Timestamp>,
}

impl AttemptRecord {
    /// For the stores, which are crates of their own.
    #[must_use]
    pub fn new(
        task_id: String,
        attempt: u32,
        runner_id: Uuid,
        outcome: AttemptOutcome,
        start_time: Timestamp,
    ) -> Self {
        Self { task_id, attempt, runner_id, outcome, error_message: None, start_time, end_time: None }
    }

    /// With how and when it ended.
    #[must_use]
    pub fn ended(mut self, end_time: Option<Timestamp>, error_message: Option<String>) -> Self {
        self.end_time = end_time;
        self.error_message = error_message;
        self
    }
}
