//! Waits: nodes of an execution that no task runs for.
//!
//! A wait is *reached* when nothing before it is left: its row becomes `waiting`, and a due row says that
//! somebody has to look. Somebody who has the code decides by its rule whether it *begins* to wait; then the
//! due row says when its time is over, or that a signal came. At either it *ends*, as a task ends.
//!
//! [`wait_due`](super::Store::wait_due) reads what is due, and locks nothing. Who read it decides, and
//! [`wait_settle`](super::Store::wait_settle) does what was decided where it is still right: it locks the
//! execution, and looks again. So a wait has one end, whoever comes first: the signal, its time, a
//! cancellation.

use std::sync::Arc;

use jiff::Timestamp;

use super::{NewAudit, Payload, WorkflowKey};
use crate::execution::{ExecutionStatus, SkipReason, TaskState};
use crate::id::{ExecutionId, SubmitterId, TaskIndex};
use crate::store::{Closed, Outcome};
use crate::workflow::Ask;

/// When a wait without an end is looked at: the beginning of the year 9000.
pub const NEVER: Timestamp = Timestamp::constant(221_845_392_000, 0);

/// Where [`wait_due`](super::Store::wait_due) goes on: a due row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitCursor {
    /// When it is due.
    pub due_at: Timestamp,
    /// Its execution.
    pub execution: ExecutionId,
    /// Its cause.
    pub cause: String,
}

/// What [`wait_due`](super::Store::wait_due) found.
#[derive(Debug, Clone)]
pub struct DueWaits {
    /// The time of the look.
    pub now: Timestamp,
    /// Waits that are due, of workflows that the caller knows.
    pub waits: Vec<DueWait>,
    /// Due rows of which nothing can come: nothing waits there. They are given back to be taken away.
    pub void: Vec<WaitCursor>,
    /// Where to go on, if there may be more.
    pub next: Option<WaitCursor>,
}

/// A wait that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueWait {
    /// Its execution.
    pub execution: ExecutionId,
    /// Its position.
    pub node: TaskIndex,
    /// What it is a node of.
    pub workflow: WorkflowKey,
    /// When it was reached.
    pub reached_at: Timestamp,
    /// If it has begun to wait: when its time is over.
    pub until: Option<Timestamp>,
    /// If it has begun to wait for a signal: the first that is there.
    pub signal: Option<ReceivedSignal>,
}

/// A signal that no wait has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedSignal {
    /// Its number among those of its name and execution, from 1.
    pub number: i64,
    /// What it brings: JSON.
    pub payload: Payload,
}

/// How the nodes of an execution ended that are over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEnd {
    /// Its execution.
    pub execution: ExecutionId,
    /// Its position.
    pub node: TaskIndex,
    /// How it ended.
    pub state: TaskState,
    /// Why it was skipped.
    pub skip_reason: Option<SkipReason>,
}

/// What becomes of a wait.
#[derive(Debug, Clone)]
pub enum WaitStep {
    /// It begins to wait.
    Begin(WaitBegin),
    /// It is over.
    End(WaitEnd),
}

/// A wait begins to wait.
#[derive(Debug, Clone)]
pub struct WaitBegin {
    /// Its execution.
    pub execution: ExecutionId,
    /// Its position.
    pub node: TaskIndex,
    /// The name of the signal that it waits for, if any.
    pub signal: Option<Arc<str>>,
    /// When its time is over; [`NEVER`] if it waits without end.
    pub until: Timestamp,
    /// What it asks, as JSON.
    pub ask: Option<Payload>,
    /// What is started for it, if it waits for children.
    pub children: Option<ChildrenPlan>,
}

/// What a node starts that begins to wait for children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildrenPlan {
    /// How many.
    pub total: i64,
    /// How many may be open at once.
    pub parallel: i64,
    /// How many may fail.
    pub tolerated: i64,
    /// Whether they go on when their parent ends before them.
    pub abandons: bool,
}

/// A wait is over.
#[derive(Debug, Clone)]
pub struct WaitEnd {
    /// Why.
    pub by: EndedBy,
    /// What became of it, as of a task: completed, failed or skipped. It was never claimed, so the attempt is
    /// 0.
    pub outcome: Arc<Outcome>,
    /// Whether it waits for children, which are swept if they are still open.
    pub sweeps: bool,
}

/// What ends a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// Its rule, before it began.
    Rule,
    /// Its time is over, and no signal is there.
    Time,
    /// The signal of this number, which is taken with it.
    Signal(i64),
}

/// What came of [`wait_settle`](super::Store::wait_settle).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettledWaits {
    /// How many steps were done. The others were not right any more, or somebody has their executions locked.
    pub done: usize,
    /// How many due rows were taken away because nothing waits there.
    pub voided: usize,
    /// The executions that ended with their last wait.
    pub closed: Vec<Closed>,
    /// Who submitted them, as far as somebody wants to be told.
    pub submitters: Vec<SubmitterId>,
}

impl SettledWaits {
    /// Adds what came of another call.
    pub fn absorb(&mut self, other: Self) {
        self.done += other.done;
        self.voided += other.voided;
        self.closed.extend(other.closed);
        self.submitters.extend(other.submitters);
    }
}

/// Whom a signal is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignalTarget {
    /// The execution with this id.
    Id(ExecutionId),
    /// The execution of a workflow that was recorded under an idempotency key.
    Key {
        /// The workflow.
        workflow: Arc<str>,
        /// The key.
        key: Arc<str>,
    },
}

/// A signal on its way.
#[derive(Debug, Clone)]
pub struct NewSignal {
    /// What is noted of it in the audit.
    pub audit: Option<Box<NewAudit>>,
    /// Whom it is for.
    pub target: SignalTarget,
    /// Its name.
    pub name: Arc<str>,
    /// What it brings: JSON.
    pub payload: Payload,
    /// A key under which an execution gets it only once.
    pub key: Option<Arc<str>>,
    /// What is recorded under the key of the target if there is nothing, in the same commit; nothing for a
    /// target with an id.
    pub starts: Option<SignalStart>,
}

/// An execution that a signal starts. It is recorded as one that was submitted by name.
#[derive(Debug, Clone)]
pub struct SignalStart {
    /// Its id.
    pub execution: ExecutionId,
    /// From 0 to 9.
    pub priority: i16,
    /// A JSON object.
    pub input: Payload,
    /// The hash of that.
    pub input_hash: i64,
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalSent {
    /// A wait for it is open, and takes it.
    Delivered(ExecutionId),
    /// No wait for it is open: the first that is reached takes it.
    Buffered(ExecutionId),
    /// There was no such execution: it is recorded, and so is the signal.
    Started(ExecutionId),
    /// The execution has one with this key.
    Repeated(ExecutionId),
    /// The execution is over.
    AlreadyOver(ExecutionId, ExecutionStatus, Option<ExecutionId>),
    /// There is no such execution.
    NotFound,
    /// An open wait asks for something else: nothing was recorded.
    NotAChoice(ExecutionId),
    /// So many wait to be taken already that there may not be more.
    TooMany(ExecutionId),
}

impl SignalSent {
    /// The execution, if it was recorded.
    #[must_use]
    pub fn recorded(&self) -> Option<ExecutionId> {
        match self {
            Self::Delivered(id) | Self::Buffered(id) | Self::Started(id) => Some(*id),
            _ => None,
        }
    }
}

/// The most signals of an execution that wait to be taken.
pub const MOST_SIGNALS: usize = 10_000;

/// What there is for a signal in an execution that is not over, as it stands under the execution's lock.
#[derive(Debug, Clone, Copy)]
pub struct SignalLook<'a> {
    /// Whether its key came before.
    pub repeated: bool,
    /// How many signals wait to be taken.
    pub kept: i64,
    /// What the open wait asks that would take it, as JSON.
    pub ask: Option<&'a str>,
}

impl SignalLook<'_> {
    /// Why the signal is not recorded, if it is not.
    #[must_use]
    pub fn refuses(&self, signal: &NewSignal, execution: ExecutionId) -> Option<SignalSent> {
        if self.repeated {
            return Some(SignalSent::Repeated(execution));
        }
        if self.ask.and_then(Ask::from_json).is_some_and(|ask| !ask.is_answered_by(&signal.payload)) {
            return Some(SignalSent::NotAChoice(execution));
        }
        let most = i64::try_from(MOST_SIGNALS).unwrap_or(i64::MAX);
        (self.kept >= most).then_some(SignalSent::TooMany(execution))
    }
}

/// A wait that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenWait {
    /// Its execution.
    pub execution: ExecutionId,
    /// Its position.
    pub node: TaskIndex,
    /// Its id.
    pub name: String,
    /// What it is a node of.
    pub workflow: Arc<str>,
    /// When it was reached.
    pub reached_at: Timestamp,
    /// The signal that it waits for; `None` if it sleeps.
    pub signal: Option<String>,
    /// When its time is over, if it ever is.
    pub until: Option<Timestamp>,
    /// What it asks, as JSON.
    pub ask: Option<Payload>,
}

/// Which open waits to list.
#[derive(Debug, Clone, Default)]
pub struct WaitFilter {
    /// Of this execution.
    pub execution: Option<ExecutionId>,
    /// Only those that ask.
    pub asking: bool,
    /// After this one: the last of the page before.
    pub after: Option<(ExecutionId, TaskIndex)>,
    /// At most so many.
    pub limit: usize,
}

impl WaitStep {
    /// The execution.
    #[must_use]
    pub fn execution(&self) -> ExecutionId {
        match self {
            Self::Begin(begin) => begin.execution,
            Self::End(end) => end.outcome.execution,
        }
    }

    /// The position of the wait.
    #[must_use]
    pub fn node(&self) -> TaskIndex {
        match self {
            Self::Begin(begin) => begin.node,
            Self::End(end) => end.outcome.task,
        }
    }

    /// The name of the signal that it begins to wait for.
    #[must_use]
    pub fn signal(&self) -> Option<&str> {
        match self {
            Self::Begin(begin) => begin.signal.as_deref(),
            Self::End(_) => None,
        }
    }
}

impl WaitEnd {
    /// Whether it is still right, of a wait that waits to `until`, if it has begun to, and could take the
    /// signal of this number.
    #[must_use]
    pub fn holds(&self, until: Option<Timestamp>, signal: Option<i64>, now: Timestamp) -> bool {
        match self.by {
            EndedBy::Rule => until.is_none(),
            EndedBy::Time => until.is_some_and(|until| until <= now) && signal.is_none(),
            EndedBy::Signal(number) => until.is_some() && signal == Some(number),
        }
    }
}
