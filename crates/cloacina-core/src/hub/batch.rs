//! What goes into one flush, by place.

use std::sync::Arc;

use super::place::OpenPlace;
use super::{Ending, Hub, Incarnation, Submit};
use crate::error::{ErrorKind, PipelineError};
use crate::execution::AttemptOutcome;
use crate::slots::Permit;
use crate::store::{Outcome, StoreError, TaskOutcome};

/// The transitions of one place.
pub(super) struct PlaceBatch {
    pub(super) place: Arc<OpenPlace>,
    pub(super) submits: Vec<Submit>,
    pub(super) endings: Vec<Ending>,
    pub(super) permits: Vec<Permit>,
    /// Of the claim: what was known of the backlog when it was asked for.
    pub(super) news: u64,
}

impl PlaceBatch {
    pub(super) fn new(place: Arc<OpenPlace>) -> Self {
        Self { place, submits: Vec::new(), endings: Vec::new(), permits: Vec::new(), news: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.submits.is_empty() && self.endings.is_empty() && self.permits.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.submits.len() + self.endings.len() + usize::from(!self.permits.is_empty())
    }

    /// Each transition alone.
    pub(super) fn split(self) -> Vec<Self> {
        let Self { place, submits, endings, permits, news } = self;
        let alone = |fill: &dyn Fn(&mut Self)| {
            let mut batch = Self::new(Arc::clone(&place));
            fill(&mut batch);
            batch
        };
        let empty = || alone(&|_| ());
        let submits = submits.into_iter().map(|submit| Self { submits: vec![submit], ..empty() });
        let endings = endings.into_iter().map(|ending| Self { endings: vec![ending], ..empty() });
        let mut all: Vec<Self> = submits.chain(endings).collect();
        if !permits.is_empty() {
            all.push(Self { permits, news, ..empty() });
        }
        all
    }

    pub(super) fn absorb(&mut self, other: Self) {
        self.submits.extend(other.submits);
        self.endings.extend(other.endings);
        self.permits.extend(other.permits);
        self.news = self.news.max(other.news);
    }
}

/// Drops the endings of tasks that an earlier incarnation held: they are not ours any more.
pub(super) fn drop_void(batch: &mut PlaceBatch, current: Option<&Arc<Incarnation>>) {
    batch.endings.retain(|ending| current.is_some_and(|current| current.id == ending.incarnation.id));
}

pub(super) fn size_of_batch(batch: &PlaceBatch) -> usize {
    let submits: usize = batch.submits.iter().map(|submit| submit.execution.input.len()).sum();
    let endings = batch.endings.iter().map(|ending| match &ending.outcome.outcome {
        TaskOutcome::Completed { patch } => patch.as_ref().map_or(0, |patch| patch.len()),
        TaskOutcome::Failed { error, .. } | TaskOutcome::Retry { error, .. } => error.len(),
        TaskOutcome::Skipped { .. } | TaskOutcome::Released => 0,
    });
    submits + endings.sum::<usize>()
}

/// A single transition that the database cannot keep: a new execution is refused, an outcome becomes a failure without the value. If that
/// cannot be kept either, it is the rows that are wrong, and their execution is given up.
pub(super) fn refuse_data(hub: &Arc<Hub>, mut batch: PlaceBatch, error: &StoreError) -> Option<PlaceBatch> {
    for submit in batch.submits.drain(..) {
        let message = format!(
            "execution {} of tenant `{}` was not recorded, because the database cannot keep its input: {error}",
            submit.execution.id, batch.place.place.name
        );
        submit.reply.fail(PipelineError::new(ErrorKind::Context, message).with_source(error.copy()));
    }
    for ending in batch.endings.extract_if(.., |ending| ending.refused) {
        let reason =
            format!("what became of its task number {} cannot be recorded: {error}", ending.outcome.task);
        hub.drop_and_abandon(&batch.place, ending.outcome.execution, reason);
    }
    for ending in &mut batch.endings {
        let outcome = &ending.outcome;
        ending.patch = None;
        ending.refused = true;
        ending.outcome = Arc::new(Outcome {
            outcome: TaskOutcome::Failed {
                how: AttemptOutcome::Failed,
                error: format!("the database cannot keep what the task returned: {error}"),
            },
            successors: outcome.successors.clone(),
            handles: Vec::new(),
            ..**outcome
        });
    }
    (!batch.is_empty()).then_some(batch)
}
