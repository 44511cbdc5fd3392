//! One commit: what the engine hands to a store, and what it learns.
//!
//! The steps, for each place in the order of tenants, all under one commit:
//!
//! 1. *Fence*, once: the runner's row is locked `FOR KEY SHARE` and must be `live`; otherwise nothing is
//!    written and the error is [`StoreErrorKind::Fenced`](super::StoreErrorKind::Fenced).
//! 2. *Submit*: new executions and their tasks.
//! 3. *Lock* the executions that have outcomes, in the order of ids, in a statement of its own.
//! 4. *Record* the outcomes whose row is still running under this runner and attempt; count their successors
//!    down; a successor that has nothing left to wait for becomes running if it is wanted, otherwise ready.
//! 5. *Close* the executions that have nothing left, drop their due rows, and leave one of the schedule that
//!    started them; those that have nothing left but waits are waiting.
//! 6. *Claim* ready work.
//!
//! Whatever leaves a ready or a due row rings the place's bell.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::error::{StoreError, StoreErrorKind};
use super::{NewAudit, Payload, Place};
use crate::execution::{AttemptOutcome, ExecutionStatus, SkipReason};
use crate::id::{ExecutionId, RunnerId, SubmitterId, TaskIndex};
use crate::workflow::Fingerprint;

/// A batch of transitions.
#[derive(Debug)]
pub struct Flush {
    /// Who writes. `None` is a process that only submits: it records no outcomes, claims nothing and needs no
    /// fence.
    pub runner: Option<RunnerId>,
    /// The time, if the clock of a test overrides the database's.
    pub now: Option<Timestamp>,
    /// What happens in each place; every place stands here once.
    pub places: Vec<PlaceFlush>,
}

/// The transitions of one place.
#[derive(Debug)]
pub struct PlaceFlush {
    /// Where.
    pub place: Arc<Place>,
    /// Whether the runner has claimed nothing here before: the store then notes that it has, so that a rescue
    /// finds it.
    pub first_claim: bool,
    /// New executions.
    pub submits: Vec<Arc<NewExecution>>,
    /// What became of tasks that this runner holds; no task stands here twice.
    pub outcomes: Vec<Arc<Outcome>>,
    /// The executions among those of `outcomes` that may have [due rows](super::DueKind): these go when the
    /// execution is closed.
    pub timed: Vec<ExecutionId>,
    /// The executions among those of `outcomes` whose end may matter to something else: the schedule or the
    /// parent that started it is looked at, and its own children are swept, when the execution is closed.
    pub related: Vec<ExecutionId>,
    /// What to claim from the ready table.
    pub claim: Option<Claim>,
}

/// The beginning of the idempotency key of an execution that is started because another one failed; that
/// one's id follows.
///
/// Whatever closes an execution as failed starts, in the same transaction, the workflow that its `on_failure`
/// names: not expanded, with its priority, an input hash of 0, and the input
/// `{"execution_id": …, "workflow": …, "error": …}`. Not for one whose own key, or whose parent's, begins so.
pub const ON_FAILURE: &str = "cloacina/on-failure/";

/// Which version of which workflow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkflowKey {
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub fingerprint: Fingerprint,
}

/// An execution to be recorded.
#[derive(Debug)]
pub struct NewExecution {
    /// Its id, chosen by the caller, so that a repeat after a lost answer is recognised.
    pub id: ExecutionId,
    /// What it runs.
    pub workflow: WorkflowKey,
    /// From 0 to 9; 9 is claimed first.
    pub priority: i16,
    /// A JSON object.
    pub input: Payload,
    /// A key under which it may be recorded only once.
    pub idempotency: Option<Idempotency>,
    /// Not before this time. With it `claimed` is empty.
    pub start_at: Option<Timestamp>,
    /// Cancelled if it is not over by then.
    pub deadline: Option<Timestamp>,
    /// Its tasks by position; none if it is [not expanded](Self::is_expanded). Those that wait for nothing
    /// are ready.
    pub tasks: Arc<[NewTask]>,
    /// The ready ones that the runner of the flush has claimed, for attempt 1.
    pub claimed: Vec<TaskIndex>,
    /// Who is told when it ends.
    pub submitter: Option<SubmitterId>,
    /// What it is called, besides: at most 10 texts.
    pub tags: Vec<String>,
    /// Who submitted it, if that was said.
    pub submitted_by: Option<Arc<str>>,
    /// The workflow that is started when it [fails](super::ON_FAILURE).
    pub on_failure: Option<Arc<str>>,
    /// If it takes the place of another one. Such a one is recorded by
    /// [`execution_record`](super::Store::execution_record) alone.
    pub rerun: Option<Box<Rerun>>,
    /// If a task of another one starts it. Such a one is recorded in a transaction of the tenant's alone.
    pub child: Option<Box<TaskChild>>,
}

/// Whose child an execution is that a task starts in a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskChild {
    /// The execution of the task.
    pub parent: ExecutionId,
    /// The task.
    pub task: TaskIndex,
    /// Tells it apart from other children of the task.
    pub number: i64,
}

impl TaskChild {
    /// The error for one more than a task may start.
    #[must_use]
    pub fn too_many(parent: ExecutionId) -> StoreError {
        let message = format!(
            "a task of execution {parent} has started {MOST_CHILDREN_OF_A_TASK} children, the most; run more over a list, \
             with a map"
        );
        StoreError::new(StoreErrorKind::Data, message)
    }
}

/// How many children a task may start.
pub const MOST_CHILDREN_OF_A_TASK: i64 = 10_000;

/// What an execution takes over of the one whose place it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rerun {
    /// What is noted of it in the audit.
    pub audit: Option<Box<NewAudit>>,
    /// Which execution that is. It is over.
    pub of: ExecutionId,
    /// The tasks that are over from the beginning, in the order of their positions. The others do not count
    /// them among those that they [wait for](NewTask::waiting_on).
    pub copied: Vec<CopiedTask>,
}

/// A task that is over from the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedTask {
    /// Its position.
    pub task: TaskIndex,
    /// Why it was skipped, if it was: by its rule. Otherwise it completed.
    pub skipped: Option<SkipReason>,
    /// When it began, where it was tried first.
    pub started_at: Option<Timestamp>,
    /// When it ended there.
    pub finished_at: Timestamp,
    /// The stored form of its patch.
    pub patch: Option<Payload>,
}

/// What came of [`execution_record`](super::Store::execution_record).
#[derive(Debug, Clone)]
pub struct RecordedExecutions {
    /// The time of the commit.
    pub now: Timestamp,
    /// The executions that are recorded now. One that stands nowhere here is as one that is missing in
    /// [`PlaceFlushed::submitted`].
    pub submitted: Vec<ExecutionId>,
    /// Those that met their idempotency key, each with the execution that was recorded under it and the hash
    /// of its input, as far as that is known.
    pub met: Vec<(ExecutionId, (ExecutionId, i64))>,
    /// The reruns that were refused.
    pub refused: Vec<(ExecutionId, RerunRefusal)>,
}

/// Why an execution cannot be rerun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RerunRefusal {
    /// It is not there, or no longer.
    NotFound,
    /// It is not over.
    NotOver(ExecutionStatus),
    /// It was rerun before, as this one.
    Superseded(ExecutionId),
}

impl NewExecution {
    /// What one that is there and has no tasks becomes. Beside its id, only what is said here counts.
    #[must_use]
    pub fn expanding(id: ExecutionId, expansion: &Expansion) -> Self {
        Self {
            id,
            workflow: expansion.workflow.clone(),
            priority: 0,
            input: "{}".into(),
            idempotency: None,
            start_at: None,
            deadline: None,
            tasks: Arc::clone(&expansion.tasks),
            claimed: Vec::new(),
            submitter: None,
            tags: Vec::new(),
            submitted_by: None,
            on_failure: expansion.on_failure.clone(),
            rerun: None,
            child: None,
        }
    }

    /// What is started because one of a workflow [failed](ON_FAILURE), with its priority.
    #[must_use]
    pub fn for_failure(
        failed: ExecutionId,
        of: &str,
        error: Option<&str>,
        priority: i16,
        workflow: Arc<str>,
    ) -> Self {
        let input = serde_json::json!({ "execution_id": failed.to_string(), "workflow": of, "error": error });
        let key = format!("{ON_FAILURE}{failed}");
        Self {
            id: ExecutionId::new(),
            workflow: WorkflowKey { name: workflow, fingerprint: Fingerprint::UNKNOWN },
            priority,
            input: input.to_string().into(),
            idempotency: Some(Idempotency { key, input_hash: 0 }),
            start_at: None,
            deadline: None,
            tasks: Arc::default(),
            claimed: Vec::new(),
            submitter: None,
            tags: Vec::new(),
            submitted_by: None,
            on_failure: None,
            rerun: None,
            child: None,
        }
    }

    /// Its tasks that are not over from the beginning, with their positions.
    pub fn open_tasks(&self) -> impl Iterator<Item = (TaskIndex, &NewTask)> {
        let copied = self.rerun.as_ref().map_or(&[][..], |rerun| &rerun.copied);
        (0..).zip(&*self.tasks).filter(move |(position, _)| {
            copied.is_empty() || copied.binary_search_by_key(position, |copied| copied.task).is_err()
        })
    }

    /// Whether it has its tasks. One that was submitted by name has none until somebody who has the workflow
    /// gives it those, see [`execution_expand`](super::Store::execution_expand); until then one ready row of
    /// task 0 says when it starts.
    #[must_use]
    pub fn is_expanded(&self) -> bool {
        self.workflow.fingerprint != Fingerprint::UNKNOWN
    }
}

/// What an execution becomes that was submitted by the name of a workflow.
#[derive(Debug, Clone)]
pub struct Expansion {
    /// Its version.
    pub workflow: WorkflowKey,
    /// Its tasks by position.
    pub tasks: Arc<[NewTask]>,
    /// The workflow that is started when it [fails](super::ON_FAILURE), unless its execution says another
    /// one.
    pub on_failure: Option<Arc<str>>,
}

/// What came of [`execution_expand`](super::Store::execution_expand).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// How many executions have tasks now.
    pub executions: usize,
    /// Reruns that were met, as many as were looked at.
    pub reruns: Vec<ExecutionId>,
}

/// A task of a new execution.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// Its id.
    pub name: String,
    /// Whether it is a wait, which is never ready: once it is reached, it waits, and a [due
    /// row](super::DueKind::Wait) says when to look at it.
    pub is_wait: bool,
    /// How many dependencies it has.
    pub waiting_on: i16,
}

impl NewTask {
    /// Whether it may run at once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.waiting_on == 0 && !self.is_wait
    }

    /// Whether it waits at once.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.waiting_on == 0 && self.is_wait
    }
}

/// A key under which one execution of a workflow may be recorded in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The key.
    pub key: String,
    /// A hash over the input, to tell a repeat from a conflict.
    pub input_hash: i64,
}

/// What became of a running task.
#[derive(Debug)]
pub struct Outcome {
    /// Its execution.
    pub execution: ExecutionId,
    /// Its position.
    pub task: TaskIndex,
    /// The attempt that this is the outcome of.
    pub attempt: i32,
    /// What became of it.
    pub outcome: TaskOutcome,
    /// If the task is over: those that wait for it, and whether the runner has a slot for it should this have
    /// been the last.
    pub successors: Vec<(TaskIndex, bool)>,
    /// If the task is over: the waits among those that wait for it. They stand here alone.
    pub waits: Vec<TaskIndex>,
    /// If the task completed: the failed dependencies that it handles.
    pub handles: Vec<TaskIndex>,
    /// Whether its execution may have nothing left but waits: it is waiting then.
    pub parks: bool,
}

impl Outcome {
    /// What became of a task that nothing waits for.
    #[must_use]
    pub fn new(execution: ExecutionId, task: TaskIndex, attempt: i32, outcome: TaskOutcome) -> Self {
        let (successors, waits, handles) = Default::default();
        Self { execution, task, attempt, outcome, successors, waits, handles, parks: false }
    }
}

/// What became of a task.
#[derive(Debug)]
pub enum TaskOutcome {
    /// It is over, and this is what it changed in the context: JSON, or `None` for nothing.
    Completed {
        /// The stored form of the patch.
        patch: Option<Payload>,
    },
    /// It is over, and this is the error of its last attempt.
    Failed {
        /// How the attempt ended.
        how: AttemptOutcome,
        /// Its error.
        error: String,
    },
    /// It is over without having been run: the rule said no.
    Skipped {
        /// Why.
        reason: SkipReason,
    },
    /// The attempt failed and another one follows: the task is ready again.
    Retry {
        /// How the attempt ended.
        how: AttemptOutcome,
        /// Its error.
        error: String,
        /// How long from now the next attempt is due.
        after: Duration,
    },
    /// The runner gives the task back; this attempt is no failure.
    Released,
}

/// A claim from the ready table.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The most tasks to claim; not 0.
    pub limit: usize,
    /// What this process can run.
    pub workflows: Arc<[WorkflowKey]>,
}

/// What a flush did. Success means that every statement succeeded.
#[derive(Debug)]
pub struct Flushed {
    /// The time of the flush: what every `started_at` and `finished_at` in it was set to.
    pub now: Timestamp,
    /// What happened in each place, in the order of [`Flush::places`].
    pub places: Vec<PlaceFlushed>,
}

/// What a flush did in one place.
#[derive(Debug, Default)]
pub struct PlaceFlushed {
    /// The new executions that are recorded now. One that is missing met its idempotency key.
    pub submitted: Vec<ExecutionId>,
    /// The outcomes that were recorded. One that is missing found its row changed: the other side won.
    pub recorded: Vec<Recorded>,
    /// The successors that have nothing left to wait for.
    pub freed: Vec<Freed>,
    /// The executions that ended.
    pub closed: Vec<Closed>,
    /// Who submitted them, as far as somebody wants to be told.
    pub submitters: Vec<SubmitterId>,
    /// The tasks that were claimed from the ready table.
    pub claimed: Vec<Claimed>,
}

/// An outcome that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Its execution.
    pub execution: ExecutionId,
    /// Its position.
    pub task: TaskIndex,
}

/// A task that has nothing left to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freed {
    /// Its execution.
    pub execution: ExecutionId,
    /// Its position.
    pub task: TaskIndex,
    /// The attempt that this runner has claimed it for; `None` if it went to the ready table.
    pub claimed: Option<i32>,
}

/// An execution that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Which.
    pub execution: ExecutionId,
    /// How: completed or failed.
    pub status: ExecutionStatus,
}

/// A task that this runner holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Its execution.
    pub execution: ExecutionId,
    /// Its position.
    pub task: TaskIndex,
    /// What it is a task of.
    pub workflow: WorkflowKey,
    /// The priority of its execution.
    pub priority: i16,
    /// The attempt that it was claimed for.
    pub attempt: i32,
    /// How many attempts failed before.
    pub failures: i32,
    /// How many attempts were lost with their runner before.
    pub lost: i32,
    /// For how long it had been due when this flush claimed it; elsewhere zero.
    pub waited: Duration,
    /// The beginnings of an execution of which no task was claimed before this flush, so that it need not be
    /// read. At least one of the tasks that a flush claims of it brings them; elsewhere it is `None`.
    pub fresh: Option<Fresh>,
}

/// All that there is of an execution before its first task is claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// Its input: a JSON object.
    pub input: Payload,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// Whether it may have [due rows](super::DueKind).
    pub timed: bool,
}
