//! What is to be done once the state of a place is free.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::super::place::{Admitted, Submitting, Waiter};
use super::super::stop::Stop;
use super::super::transition::Submit;
use super::report::Report;
use crate::context::{Patch, Values};
use crate::error::Error;
use crate::execution::{ExecutionResult, ExecutionStatus};
use crate::id::{ExecutionId, SubmitterId, TaskIndex};
use crate::origin::Origin;
use crate::slots::Permit;
use crate::store::TaskOutcome;
use crate::workflow::Workflow;

/// When something happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// By the clock of the database, as far as it is known.
    pub(crate) now: Timestamp,
    pub(crate) monotonic: Duration,
}

/// What is to be done once the state of a place is free. The order of the fields is the order in which it is
/// done.
#[derive(Default)]
pub(crate) struct Effects {
    /// These attempts have nothing to record any more.
    pub(crate) stops: Vec<Arc<Stop>>,
    /// New executions that are recorded: whoever submitted them is told.
    pub(crate) recorded: Vec<Recorded>,
    /// New executions of which it has to be found out whether they are recorded, each with whether it was
    /// counted.
    pub(crate) unresolved: Vec<(Submit, bool)>,
    /// Those who waited for executions that are over.
    pub(crate) finished: Vec<(Waiter, Result<ExecutionResult, Error>)>,
    /// Executions that cannot be run as they are stored, and why: they are cancelled.
    pub(crate) abandoned: Vec<(ExecutionId, String)>,
    pub(crate) runs: Vec<Run>,
    /// Held tasks that end without being run.
    pub(crate) ends: Vec<(Start, TaskOutcome)>,
    /// Held tasks whose executions have to be read first.
    pub(crate) loads: Vec<Start>,
    /// Executions that have to be compared with the database.
    pub(crate) audits: Vec<ExecutionId>,
    /// When there is work that cannot be claimed yet, and when the engine itself has something to do.
    pub(crate) work_in: Option<Duration>,
    pub(crate) due_in: Option<Duration>,
    /// Whether waits were reached.
    pub(crate) reached: bool,
    /// When the database is to be asked for executions that run elsewhere.
    pub(crate) poll_at: Option<Duration>,
    pub(crate) reports: Vec<Report>,
    pub(crate) counts: Counts,
    /// How executions ended.
    pub(crate) ended: Vec<HowEnded>,
    /// Who submitted the executions that ended.
    pub(crate) tells: Vec<SubmitterId>,
    /// How many tasks were adopted whose claim was not learned of.
    pub(crate) adopted: usize,
    /// Whether nothing is held or claimed any more.
    pub(crate) is_idle: bool,
    /// Whether nothing claimable is left, so that the bell of the place can be lowered.
    pub(crate) lowers: bool,
    /// Whether the place is to be put into the queue of those that wait for slots.
    pub(crate) takes_turn: bool,
}

/// How an execution ended, and if that is known what it ran, and for how long since it was recorded.
pub(crate) type HowEnded = (ExecutionStatus, Option<(Arc<Workflow>, SignedDuration)>);

/// How many executions began and ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) submitted: usize,
    pub(crate) completed: usize,
    pub(crate) failed: usize,
}

/// A new execution that is recorded. What counted it while it was on its way goes with it.
pub(crate) struct Recorded {
    pub(crate) id: ExecutionId,
    pub(crate) reply: Option<oneshot::Sender<Result<ExecutionId, Error>>>,
    pub(crate) admitted: Option<Admitted>,
    pub(crate) _under_way: Submitting,
}

/// A task that is held and to be started.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) execution: ExecutionId,
    pub(crate) task: TaskIndex,
    pub(crate) attempt: i32,
    pub(crate) failures: i32,
    pub(crate) lost: i32,
    /// For how long it waited to be claimed; `None` if it was claimed before.
    pub(crate) waited: Option<Duration>,
    /// If there is none yet, it gets one beyond all limits: it is ours already.
    pub(crate) permit: Option<Permit>,
}

/// A task that is held and may run.
pub(crate) struct Run {
    pub(crate) start: Start,
    pub(crate) workflow: Arc<Workflow>,
    /// What its context is made of.
    pub(crate) input: Arc<Values>,
    pub(crate) patches: Vec<Arc<Patch>>,
    /// What started its execution.
    pub(crate) origin: Origin,
    /// When its execution was recorded, and whether one of its waits is over.
    pub(crate) created_at: Timestamp,
    pub(crate) has_waited: bool,
    pub(crate) stop: Arc<Stop>,
    pub(crate) timeout: Option<Duration>,
    /// How long it may go on when it is told to end.
    pub(crate) grace: Duration,
    /// Where it runs; without, it is given back.
    pub(crate) runtime: Option<Handle>,
}

impl Effects {
    pub(crate) fn audit(&mut self, execution: ExecutionId) {
        self.audits.push(execution);
    }

    /// Work that is recorded can be claimed after `delay`.
    pub(crate) fn work_in(&mut self, delay: Duration) {
        self.work_in = Some(self.work_in.map_or(delay, |known| known.min(delay)));
    }

    /// A due row is recorded that is due after `delay`.
    pub(crate) fn due_in(&mut self, delay: Duration) {
        self.due_in = Some(self.due_in.map_or(delay, |known| known.min(delay)));
    }
}

impl Moment {
    /// How long it is until then.
    pub(crate) fn until(&self, due: Timestamp) -> Duration {
        due.duration_since(self.now).try_into().unwrap_or(Duration::ZERO)
    }
}
