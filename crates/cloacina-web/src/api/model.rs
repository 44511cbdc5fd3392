//! What the HTTP interface says of executions.
//!
//! The text of errors can hold what a task was given, so it is a payload like inputs and contexts: who may
//! not see payloads is told how long it is.

use std::collections::HashMap;

use cloacina::{
    AttemptOutcome, AttemptRecord, Child, ExecutionResult, ExecutionStatus, Progress, TaskKind, TaskResult,
    TaskState, Waiting, WorkflowDescription,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// The text of an error, or what may be known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    /// The text.
    Text(String),
    /// How many bytes it has; what it says is a payload.
    HiddenBytes(usize),
}

impl Failure {
    pub(crate) fn of(error: Option<String>, shown: bool) -> Option<Self> {
        error.map(|text| if shown { Self::Text(text) } else { Self::HiddenBytes(text.len()) })
    }
}

/// An execution in a listing.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ExecutionSummary {
    /// Its id.
    id: Uuid,
    /// The name of its workflow.
    workflow: String,
    /// Its state: `pending`, `running`, `paused`, `completed`, `failed` or `cancelled`.
    #[schema(value_type = String)]
    status: ExecutionStatus,
    /// When its first task was claimed, or it was recorded if none was.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// Why it did not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    /// The execution whose place it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    rerun_of: Option<Uuid>,
    /// The execution that took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_by: Option<Uuid>,
    /// Its tags.
    tags: Vec<String>,
    /// Who submitted it, if somebody did by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    submitted_by: Option<String>,
    /// The W3C trace context in which it was submitted. Not told in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

impl ExecutionSummary {
    pub(crate) fn of(execution: ExecutionResult, payloads: bool) -> Self {
        Self {
            id: execution.execution_id,
            workflow: execution.workflow_name,
            status: execution.status,
            started_at: execution.start_time,
            ended_at: execution.end_time,
            error: Failure::of(execution.error_message, payloads),
            rerun_of: execution.rerun_of,
            superseded_by: execution.superseded_by,
            tags: execution.tags,
            submitted_by: execution.submitted_by,
            traceparent: execution.traceparent,
        }
    }
}

/// An execution with its tasks.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ExecutionDetail {
    #[serde(flatten)]
    summary: ExecutionSummary,
    /// The input overlaid by what the completed tasks changed. Left out for who may not see payloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    context: Option<Value>,
    /// Its tasks, in the order of declaration.
    tasks: Vec<TaskView>,
    /// What it waits for at the moment.
    waits: Vec<WaitView>,
    /// How far the nodes are that wait, or waited, for children.
    children: Vec<ProgressView>,
}

impl ExecutionDetail {
    pub(crate) fn of(
        mut execution: ExecutionResult,
        waits: Vec<Waiting>,
        progress: Vec<Progress>,
        graph: Option<&WorkflowDescription>,
        payloads: bool,
    ) -> Self {
        let described = graph.into_iter().flat_map(|graph| &graph.tasks);
        let kinds: HashMap<&str, TaskKind> = described.map(|task| (task.id.as_str(), task.kind)).collect();
        let tasks = std::mem::take(&mut execution.task_results);
        let context = payloads.then(|| execution.final_context.to_value());
        Self {
            context,
            tasks: tasks.into_iter().map(|task| TaskView::of(task, &kinds, payloads)).collect(),
            waits: waits.into_iter().map(|wait| WaitView::of(wait, payloads)).collect(),
            children: progress.into_iter().map(ProgressView::of).collect(),
            summary: ExecutionSummary::of(execution, payloads),
        }
    }
}

/// A task of an execution.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct TaskView {
    /// Its id.
    id: String,
    /// What it does: `task`, `sleep`, `signal`, `ask`, `child` or `map`; left out if nobody described the
    /// workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    /// Its state.
    #[schema(value_type = String)]
    state: TaskState,
    /// How often it was tried.
    attempts: u32,
    /// When its latest attempt began.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// The error of its latest failed attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    /// Why it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    skip_reason: Option<String>,
}

impl TaskView {
    fn of(task: TaskResult, kinds: &HashMap<&str, TaskKind>, payloads: bool) -> Self {
        let kind = task.kind.or_else(|| kinds.get(task.task_id.as_str()).copied());
        Self {
            kind: kind.map(TaskKind::as_str),
            id: task.task_id,
            state: task.state,
            attempts: task.attempts,
            started_at: task.start_time,
            ended_at: task.end_time,
            error: Failure::of(task.error_message, payloads),
            skip_reason: task.skip_reason.map(|reason| reason.as_str().to_owned()),
        }
    }
}

/// What an execution waits for.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct WaitView {
    /// The execution.
    execution: Uuid,
    /// Its workflow.
    workflow: String,
    /// The id of the wait.
    wait: String,
    /// Since when it waits.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// When its time is over, if it ever is.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The name of the signal that it waits for; left out if it sleeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
    /// What it asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    ask: Option<AskView>,
}

/// What a wait asks of a person.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct AskView {
    /// The question; left out for who may not see payloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    question: Option<String>,
    /// What it may be answered by; anything if there are none.
    choices: Vec<String>,
    /// Who is to answer it.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
}

impl WaitView {
    pub(crate) fn of(wait: Waiting, payloads: bool) -> Self {
        Self {
            execution: wait.execution_id,
            workflow: wait.workflow,
            wait: wait.wait,
            since: wait.since,
            until: wait.until,
            signal: wait.signal,
            ask: wait.ask.map(|ask| AskView {
                question: payloads.then_some(ask.question),
                choices: ask.choices,
                role: ask.role,
            }),
        }
    }
}

/// How far a node is that waits, or waited, for children.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ProgressView {
    /// The id of the node.
    node: String,
    /// How many children there are to be: the items of a list.
    total: u64,
    /// How many of them were started.
    started: u64,
    /// How many are open.
    running: u64,
    /// How many have completed.
    completed: u64,
    /// How many have failed or were cancelled.
    failed: u64,
    /// How many may be open at once.
    parallel: u64,
    /// How many may fail.
    tolerated: u64,
}

impl ProgressView {
    pub(crate) fn of(progress: Progress) -> Self {
        Self {
            running: progress.running(),
            node: progress.node,
            total: progress.total,
            started: progress.started,
            completed: progress.completed,
            failed: progress.failed,
            parallel: progress.parallel,
            tolerated: progress.tolerated,
        }
    }
}

/// A child of an execution.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ChildView {
    /// Its own id.
    execution: Uuid,
    /// The id of the node that waits for it.
    node: String,
    /// Its number among the children of that node, from 0.
    item: u64,
    /// Its state.
    #[schema(value_type = String)]
    status: ExecutionStatus,
}

impl ChildView {
    pub(crate) fn of(child: Child) -> Self {
        Self { execution: child.execution_id, node: child.node, item: child.item, status: child.status }
    }
}

/// One try of a task.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct AttemptView {
    /// The id of the task.
    task: String,
    /// Its number, from 1.
    attempt: u32,
    /// The runner that made it.
    runner: Uuid,
    /// How it ended.
    #[schema(value_type = String)]
    outcome: AttemptOutcome,
    /// When it was claimed.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// Its error.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

impl AttemptView {
    pub(crate) fn of(attempt: AttemptRecord, payloads: bool) -> Self {
        Self {
            task: attempt.task_id,
            attempt: attempt.attempt,
            runner: attempt.runner_id,
            outcome: attempt.outcome,
            started_at: attempt.start_time,
            ended_at: attempt.end_time,
            error: Failure::of(attempt.error_message, payloads),
        }
    }
}

/// A part of a list. Lists are read by asking for what comes after the last part, until `next` is missing.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// What is in this part.
    pub(crate) items: Vec<T>,
    /// The `after` of the part that follows, if there may be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

impl<T> Page<T> {
    /// A part of at most `limit`. One that is full may have a part after it, which begins behind this cursor.
    pub(crate) fn of(items: Vec<T>, limit: usize, cursor: impl FnOnce(&T) -> String) -> Self {
        let next = items.last().filter(|_| items.len() >= limit).map(cursor);
        Self { items, next }
    }
}
