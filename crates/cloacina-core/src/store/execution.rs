//! Executions as they are read and controlled.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Payload, WorkflowKey};
use crate::execution::{AttemptRecord, ExecutionStatus, SkipReason, TaskState};
use crate::id::{ExecutionId, RunnerId, TaskIndex};

/// An execution without its tasks.
#[derive(Debug, Clone)]
pub struct ExecutionHeader {
    /// Its id.
    pub id: ExecutionId,
    /// What it runs.
    pub workflow: WorkflowKey,
    /// Its state.
    pub status: ExecutionStatus,
    /// From 0 to 9.
    pub priority: i16,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// When its first task was claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When it is cancelled if it is not over.
    pub deadline: Option<Timestamp>,
    /// Why it was cancelled, or the error of the first unhandled failure.
    pub error: Option<String>,
    /// The execution whose place it took.
    pub rerun_of: Option<ExecutionId>,
    /// The execution that took its place.
    pub superseded_by: Option<ExecutionId>,
    /// Whether it may have waits or children.
    pub has_waits: bool,
    /// What it is called, besides.
    pub tags: Vec<String>,
    /// Who submitted it, if that was said.
    pub submitted_by: Option<String>,
}

/// An execution with its tasks.
#[derive(Debug, Clone)]
pub struct ExecutionRecord {
    /// What is known of it without its tasks.
    pub header: ExecutionHeader,
    /// Its input: a JSON object.
    pub input: Payload,
    /// Its tasks by position.
    pub tasks: Vec<TaskRecord>,
}

impl ExecutionRecord {
    /// How many bytes of context it has: its input and what its tasks changed.
    #[must_use]
    pub fn context_bytes(&self) -> usize {
        let patches = self.tasks.iter().filter_map(|task| task.patch.as_deref());
        self.input.len() + patches.map(str::len).sum::<usize>()
    }
}

/// A task of an execution.
#[derive(Debug, Clone)]
pub struct TaskRecord {
    /// Its id.
    pub name: String,
    /// Its state.
    pub state: TaskState,
    /// How often it was claimed.
    pub attempt: i32,
    /// How many attempts failed.
    pub failures: i32,
    /// How many attempts were lost with their runner.
    pub lost: i32,
    /// Who holds it, or held it last.
    pub runner: Option<RunnerId>,
    /// When its latest attempt was claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The stored form of its patch.
    pub patch: Option<Payload>,
    /// The error of its latest failed attempt.
    pub error: Option<String>,
    /// Why it was skipped.
    pub skip_reason: Option<SkipReason>,
    /// Whether a completed task handled its failure.
    pub handled: bool,
}

/// What a task that runs has done so far: kept in the row of the task, where its patch will be, until it
/// ends.
#[derive(Debug, Clone)]
pub struct KeptTask {
    /// Its execution.
    pub execution: ExecutionId,
    /// Its position there.
    pub task: TaskIndex,
    /// Who holds it.
    pub runner: RunnerId,
    /// Which attempt of it.
    pub attempt: i32,
    /// The stored form of a patch.
    pub patch: Payload,
}

/// What changes whenever an execution does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pulse(pub u64);

impl Pulse {
    /// Of an execution in this state, with sums over its tasks and over the counters of its children.
    #[must_use]
    pub fn of(
        state: &str,
        finished_at: Option<Timestamp>,
        superseded_by: Option<Uuid>,
        tasks: f64,
        children: f64,
    ) -> Self {
        let mut hasher = DefaultHasher::new();
        (state, finished_at, superseded_by, tasks.to_bits(), children.to_bits()).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// The error of an execution that the engine paused because nobody has its code.
pub const ORPHANED: &str = "paused, because no live runner has this version of its workflow; it resumes by itself when one is started";

/// What can be done to an execution from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Pending, Running or Paused becomes Cancelled, with all unfinished tasks.
    Cancel {
        /// Kept as the execution's error.
        reason: String,
    },
    /// Pending or Running becomes Paused; its ready rows are taken out of the ready table.
    Pause,
    /// As [`Pause`](Self::Pause), with [`ORPHANED`] as the execution's error; its waits are not looked at.
    /// One that is Paused keeps its error, and is refused if none of its waits was to be looked at.
    Orphan,
    /// Paused becomes Running or Pending again, without an error; its ready rows are put back, its waits
    /// are looked at when they would have been, and it is closed if nothing is left.
    Resume,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controlled {
    /// It was done, and this is the state now.
    Done(ExecutionStatus),
    /// The state was this one, from which it cannot be done; nothing was changed.
    Refused(ExecutionStatus),
    /// There is no such execution in this place.
    NotFound,
}

/// The workflow whose executions do one thing to many others, as the engine calls it.
pub const BULK: &str = "cloacina/bulk";

/// Which executions to list. Everything that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ExecutionFilter {
    /// In one of these states; empty for any.
    pub statuses: Vec<ExecutionStatus>,
    /// Of this workflow.
    pub workflow: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// Whether another execution took their place.
    pub superseded: Option<bool>,
    /// Recorded at this time or later. The stores do not look at it: a list goes from the newest on, and
    /// whoever reads it stops there.
    pub since: Option<Timestamp>,
    /// Whether those of the engine's own workflows are among them, as [`BULK`] is; one that is named in
    /// `workflow` always is.
    pub of_engine: bool,
}

impl ExecutionFilter {
    /// Every execution, but for those of the engine's [own workflows](Self::of_engine).
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Those in this state, besides the states named before.
    #[must_use]
    pub fn status(mut self, status: ExecutionStatus) -> Self {
        self.statuses.push(status);
        self
    }

    /// In which states, all of them if none was named, and of which workflow, if one was; `None` if nothing
    /// is filtered. Tags are not looked at.
    #[doc(hidden)]
    #[must_use]
    pub fn parts(&self) -> Option<(&[ExecutionStatus], Option<&str>)> {
        let statuses = if self.statuses.is_empty() { ExecutionStatus::ALL } else { &self.statuses[..] };
        let is_filtered = !self.statuses.is_empty() || self.workflow.is_some() || self.superseded.is_some();
        is_filtered.then_some((statuses, self.workflow.as_deref()))
    }

    /// Those with this tag. A page costs as many looks as there are newer executions of the tag, whatever
    /// else is filtered.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Those whose place another execution took ([rerun](crate::rerun)), or, with `false`, those that stand
    /// for themselves: what failed and was rerun is then told once.
    #[must_use]
    pub fn superseded(mut self, superseded: bool) -> Self {
        self.superseded = Some(superseded);
        self
    }

    /// Those that were recorded at this time or later.
    #[must_use]
    pub fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }

    /// Those of the engine's own workflows as well: the actions on many executions, [`BULK`].
    #[must_use]
    pub fn of_engine(mut self) -> Self {
        self.of_engine = true;
        self
    }

    /// The workflow whose executions are left out.
    #[doc(hidden)]
    #[must_use]
    pub fn left_out(&self) -> Option<&'static str> {
        (!self.of_engine && self.workflow.as_deref() != Some(BULK)).then_some(BULK)
    }

    /// As JSON, for the audit.
    pub(crate) fn described(&self) -> String {
        let statuses: Vec<String> = self.statuses.iter().map(ToString::to_string).collect();
        let (workflow, tag) = (&self.workflow, &self.tag);
        serde_json::json!({ "statuses": statuses, "workflow": workflow, "tag": tag }).to_string()
    }

    /// Those of this workflow.
    #[must_use]
    pub fn workflow(mut self, name: impl Into<String>) -> Self {
        self.workflow = Some(name.into());
        self
    }
}

/// A page of a listing.
#[derive(Debug, Clone)]
pub struct ExecutionList {
    /// Which ones.
    pub filter: ExecutionFilter,
    /// Only those with a smaller id: the last one of the page before.
    pub before: Option<ExecutionId>,
    /// The most to return.
    pub limit: usize,
}

/// What there is in a place, in numbers, each up to [`MOST_COUNTED`](Self::MOST_COUNTED).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlaceFigures {
    /// The executions that are kept, the finished ones included.
    pub executions: u64,
    /// Those that are not over and do not only wait.
    pub open: u64,
    /// Those that wait for a time or a signal.
    pub waiting: u64,
    /// The tasks that are due and that nobody has claimed.
    pub queued: u64,
    /// For how long the first of them has been due.
    pub oldest_queued: Option<Duration>,
    /// The waits that are due.
    pub due_waits: u64,
    /// The deadlines that are due.
    pub due_deadlines: u64,
}

impl PlaceFigures {
    /// How far anything is counted.
    pub const MOST_COUNTED: u64 = 10_000;
}

/// The attempts of an execution.
pub type AttemptList = Vec<AttemptRecord>;
