//! What lanes write.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::oneshot;

use super::place::{Admitted, Ended, OpenPlace, Submitting, Waiter};
use crate::context::{Patch, Values};
use crate::error::Error;
use crate::id::{ExecutionId, RunnerId};
use crate::origin::Origin;
use crate::slots::Permit;
use crate::store::{NewExecution, Outcome, TaskOutcome};
use crate::workflow::Workflow;

/// One life of this process as a runner. A process that was declared dead goes on under a new one.
#[derive(Debug)]
pub(crate) struct Incarnation {
    pub(crate) id: RunnerId,
    /// Whether it is known here to be dead. Set while all gates are held; nothing is adopted under it from
    /// then on.
    pub(super) void: AtomicBool,
}

impl Incarnation {
    pub(super) fn new(id: RunnerId) -> Arc<Self> {
        Arc::new(Self { id, void: AtomicBool::new(false) })
    }

    pub(super) fn is_void(&self) -> bool {
        self.void.load(Ordering::Relaxed)
    }
}

/// What a lane writes.
pub(crate) enum Transition {
    Submit(Box<Submit>),
    Ending(Box<Ending>),
    Claim(ClaimRequest),
}

/// An execution to be recorded.
pub(crate) struct Submit {
    pub(crate) place: Arc<OpenPlace>,
    pub(crate) execution: Arc<NewExecution>,
    /// None if it is not expanded.
    pub(crate) workflow: Option<Arc<Workflow>>,
    pub(crate) input: Arc<Values>,
    pub(crate) origin: Origin,
    /// One for each claimed root.
    pub(crate) permits: Vec<Permit>,
    pub(crate) reply: SubmitReply,
    pub(crate) under_way: Submitting,
    pub(crate) since: Duration,
    /// Whether an earlier try may have been committed.
    pub(crate) unsure: bool,
    /// If the tenant's executions are limited.
    pub(crate) admitted: Option<Admitted>,
}

/// Whom to tell what.
pub(crate) enum SubmitReply {
    /// The id, when it is recorded; and where the handle on it will find how it ended.
    Recorded(oneshot::Sender<Result<ExecutionId, Error>>, Arc<OnceLock<Ended>>),
    /// The result, when it is over.
    Finished(Waiter),
}

impl SubmitReply {
    /// Tells whoever still listens.
    pub(crate) fn fail(self, error: Error) {
        match self {
            Self::Recorded(sender, _) => drop(sender.send(Err(error))),
            Self::Finished(sender) => drop(sender.send(Err(error))),
        }
    }

    /// Tells who waits for no more than that it is recorded, and as what.
    pub(crate) fn answer(self, recorded: Result<ExecutionId, Error>) {
        match (self, recorded) {
            (Self::Recorded(sender, _), recorded) => drop(sender.send(recorded)),
            (this @ Self::Finished(_), Err(error)) => this.fail(error),
            (Self::Finished(_), Ok(_)) => {}
        }
    }
}

/// The end of an attempt, on its way to the database.
pub(crate) struct Ending {
    pub(crate) place: Arc<OpenPlace>,
    pub(crate) incarnation: Arc<Incarnation>,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) patch: Option<Arc<Patch>>,
    /// For the wanted successors.
    pub(crate) permits: Vec<Permit>,
    /// Whether the database could not keep it as it was, so that it is written as a failure without the
    /// value.
    pub(crate) refused: bool,
}

/// A grant of slots to a place.
pub(crate) struct ClaimRequest {
    pub(crate) place: Arc<OpenPlace>,
    pub(crate) permits: Vec<Permit>,
    /// What was known of the backlog when the claim was asked for.
    pub(crate) news: u64,
}

impl Submit {
    /// How many bytes it writes, beside its rows.
    pub(super) fn size(&self) -> usize {
        self.execution.input.len()
    }
}

impl Ending {
    /// How many bytes it writes, beside its row.
    pub(super) fn size(&self) -> usize {
        match &self.outcome.outcome {
            TaskOutcome::Completed { patch } => patch.as_ref().map_or(0, |patch| patch.len()),
            TaskOutcome::Failed { error, .. } | TaskOutcome::Retry { error, .. } => error.len(),
            TaskOutcome::Skipped { .. } | TaskOutcome::Released => 0,
        }
    }
}

impl Transition {
    pub(super) fn place(&self) -> &Arc<OpenPlace> {
        match self {
            Self::Submit(submit) => &submit.place,
            Self::Ending(ending) => &ending.place,
            Self::Claim(claim) => &claim.place,
        }
    }
}
