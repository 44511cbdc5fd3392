//! What the engine itself has to do at a time.
//!
//! A row of the ready table says that user code may run; a *due row* says that the engine has something to
//! do. It is taken without a slot, together with its subject, and is gone when its effect is committed. A
//! program takes the kinds that it knows and leaves the others.

use crate::id::ExecutionId;

/// What a due row asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DueKind {
    /// The subject, an execution, is cancelled.
    Deadline,
    /// A wait of the subject, an execution, is to be looked at. The cause is its position.
    Wait,
    /// The subject, a schedule, is looked at: it fires, or an execution that it started has ended, which is
    /// the cause then. [`schedule_settle`](super::Store::schedule_settle) takes these.
    Schedule,
    /// The children of the subject, an execution, are to be looked at. The cause is the child that ended, if
    /// one did. [`children_settle`](super::Store::children_settle) takes these.
    Children,
    /// The subject, an execution, is over, or a node of it, which is the cause then: the children that are
    /// open are cancelled.
    Sweep,
}

impl DueKind {
    /// All that this program knows.
    pub const ALL: &'static [Self] =
        &[Self::Deadline, Self::Wait, Self::Schedule, Self::Children, Self::Sweep];

    /// Those that are about executions.
    pub const OF_EXECUTIONS: &'static [Self] = &[Self::Deadline, Self::Wait, Self::Children, Self::Sweep];

    /// How it is stored: from 0 to 15.
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            Self::Deadline => 0,
            Self::Wait => 1,
            Self::Schedule => 2,
            Self::Children => 3,
            Self::Sweep => 4,
        }
    }
}

/// What came of due rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// How many rows were taken, with those that nothing came of.
    pub taken: usize,
    /// The executions that were cancelled because their deadline has passed, or their parent has ended.
    pub expired: Vec<ExecutionId>,
    /// Whether waits are due: [`wait_due`](super::Store::wait_due) says which.
    pub waits: bool,
    /// Whether children are to be looked at: [`children_due`](super::Store::children_due) says which.
    pub children: bool,
}
