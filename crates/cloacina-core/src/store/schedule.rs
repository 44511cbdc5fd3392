//! Schedules as they are stored.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;

use super::{NewAudit, Payload};
use crate::execution::ExecutionStatus;
use crate::id::{ExecutionId, ScheduleId};

/// Whether a schedule fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScheduleState {
    /// It does.
    Active,
    /// Somebody paused it, or too many of its executions failed.
    Paused,
    /// It has fired for the last time.
    Done,
    /// What is stored of it cannot be read: put it again.
    Broken,
}

impl ScheduleState {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Active, Self::Paused, Self::Done, Self::Broken];

    /// As it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Broken => "broken",
        }
    }
}

/// What came of a time at which a schedule fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FireOutcome {
    /// An execution was started.
    Started,
    /// An execution was there already that had been started for this time.
    Repeated,
    /// None was, because the one before was not over.
    Skipped,
    /// None was, because it was too late.
    Missed,
    /// It waits for the one before.
    Buffered,
    /// It would have waited, but as many did as may.
    Dropped,
    /// The tenant had as many executions as it may; it is tried again.
    Refused,
}

impl FireOutcome {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Started,
        Self::Repeated,
        Self::Skipped,
        Self::Missed,
        Self::Buffered,
        Self::Dropped,
        Self::Refused,
    ];

    /// As it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Repeated => "repeated",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
            Self::Buffered => "buffered",
            Self::Dropped => "dropped",
            Self::Refused => "refused",
        }
    }
}

macro_rules! texts {
    ($($name:ident $what:literal)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let known = Self::ALL.iter().copied().find(|known| known.as_str() == text);
                known.ok_or_else(|| format!(concat!("`{}` is no ", $what, " that this program knows"), text.escape_debug()))
            }
        }
    )*};
}

texts! { ScheduleState "state of a schedule" FireOutcome "outcome of a time of a schedule" }

/// A schedule as it is stored. What it says and how far it is are JSON that the engine reads, and does not
/// trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRow {
    /// Its id.
    pub id: ScheduleId,
    /// Its name, of which the tenant has one.
    pub name: String,
    /// Who put it together with others, if somebody did.
    pub origin: Option<String>,
    /// Whether it fires.
    pub state: ScheduleState,
    /// Why it does not.
    pub reason: Option<String>,
    /// Counts its changes.
    pub version: i32,
    /// What it says.
    pub spec: Payload,
    /// How far it is.
    pub progress: Payload,
    /// Up to which time it has fired.
    pub cursor: Timestamp,
    /// When it is to be looked at next: the time of its due row.
    pub due_at: Option<Timestamp>,
    /// The execution that it started last.
    pub last_execution: Option<ExecutionId>,
    /// What its backfill started. A store that reads it leaves those out that are over or not there: such an
    /// end may not have been told.
    pub backfilling: Vec<ExecutionId>,
}

/// A schedule as it was found.
#[derive(Debug, Clone)]
pub struct ScheduleRecord {
    /// What is stored.
    pub row: ScheduleRow,
    /// The state of the execution that it started last, if that is there.
    pub last_status: Option<ExecutionStatus>,
    /// The executions whose ends are the cause of the due rows that were taken, with how they ended. Those
    /// that are not there, or not over, are left out.
    pub ended: Vec<(ExecutionId, ExecutionStatus)>,
}

/// An execution that a schedule starts. It is recorded as one that was submitted by name.
#[derive(Debug, Clone)]
pub struct ScheduledExecution {
    /// Its id.
    pub id: ExecutionId,
    /// What starts it.
    pub schedule: ScheduleId,
    /// The name of what it runs.
    pub workflow: String,
    /// From 0 to 9.
    pub priority: i16,
    /// A JSON object.
    pub input: Payload,
    /// The idempotency key: who finds one under it leaves this one out. Then the schedule is due at once,
    /// with this execution as the cause.
    pub key: String,
    /// The workflow that is started when it [fails](super::ON_FAILURE).
    pub on_failure: Option<String>,
}

/// What came of a time of a schedule; it takes the place of what was known of that time before.
#[derive(Debug, Clone)]
pub struct NewFire {
    /// When it was to fire.
    pub nominal: Timestamp,
    /// What came of it.
    pub outcome: FireOutcome,
    /// The execution.
    pub execution: Option<ExecutionId>,
    /// How many other times it stands for.
    pub missed: u32,
}

/// What is written of a schedule.
#[derive(Debug, Clone)]
pub struct ScheduleChange {
    /// Which.
    pub id: ScheduleId,
    /// When its due row was due, which goes.
    pub was_due_at: Option<Timestamp>,
    /// What it is now, new or not; `None` if it is deleted.
    pub row: Option<ScheduleRow>,
    /// Executions that are cancelled, if they are not over.
    pub cancels: Vec<ExecutionId>,
    /// Executions that it starts.
    pub starts: Vec<ScheduledExecution>,
    /// What is noted, one for a time.
    pub fires: Vec<NewFire>,
    /// Whether what was noted long ago is deleted.
    pub prunes: bool,
    /// What is noted of it in the audit.
    pub audit: Option<Box<NewAudit>>,
}

/// Decides about schedules that are locked, at the time that the clock on the wall says. It may be asked
/// again when a transaction is repeated; then nothing is left of what it said before. All that is decided in
/// a transaction has one budget.
pub type Decide =
    Arc<dyn Fn(Vec<ScheduleRecord>, Timestamp, &mut Budget) -> Vec<ScheduleChange> + Send + Sync>;

/// What may still be done in a transaction, with `default` when it begins.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// How many bytes of inputs may be written. It may be exceeded once.
    pub(crate) bytes: usize,
    /// How many steps calendars may take: some 50 ms.
    pub(crate) steps: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: 1 << 20, steps: 50_000 }
    }
}

/// Which schedules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleSelection {
    /// All.
    All,
    /// Those of these names.
    Named(Vec<String>),
    /// Those of this origin, and those of these names.
    Applied {
        /// The origin.
        origin: String,
        /// The names.
        names: Vec<String>,
    },
}

/// What was done about schedules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchedulesSettled {
    /// How many due rows were taken.
    pub taken: usize,
    /// How many executions were started.
    pub started: usize,
    /// The executions that were cancelled.
    pub cancelled: Vec<ExecutionId>,
}

/// Which times of a schedule.
#[derive(Debug, Clone)]
pub struct FireList {
    /// Of which schedule.
    pub schedule: ScheduleId,
    /// From this one on.
    pub from: Timestamp,
    /// Before this one.
    pub before: Timestamp,
    /// The most to return.
    pub limit: usize,
}

/// What came of a time of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FireRecord {
    /// When it was to fire.
    pub nominal: Timestamp,
    /// What came of it.
    pub outcome: FireOutcome,
    /// The execution that was started.
    pub execution: Option<ExecutionId>,
    /// Its state, as long as it is kept.
    pub status: Option<ExecutionStatus>,
    /// When that was decided.
    pub fired_at: Timestamp,
    /// How many other times it stands for.
    pub missed: u32,
}

impl FireRecord {
    /// A record with these values; its status is not known.
    #[must_use]
    pub fn new(new: &NewFire, fired_at: Timestamp) -> Self {
        let NewFire { nominal, outcome, execution, missed } = *new;
        Self { nominal, outcome, execution, status: None, fired_at, missed }
    }
}
