//! What goes into one flush, by place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::place::OpenPlace;
use super::{Ending, Hub, Incarnation, Submit};
use crate::error::{ErrorKind, PipelineError};
use crate::execution::AttemptOutcome;
use crate::slots::Permit;
use crate::store::{Outcome, StoreError, TaskOutcome};

/// The transitions of one place.
pub(crate) struct PlaceBatch {
    pub(super) place: Arc<OpenPlace>,
    pub(super) submits: Vec<Submit>,
    pub(super) endings: Vec<Ending>,
    pub(super) permits: Vec<Permit>,
    /// Of the claim: what was known of the backlog when it was asked for.
    pub(super) news: u64,
    /// What counts these transitions for as long as they are here.
    pub(super) tickets: Vec<Ticket>,
}

/// How much is on its way in each lane, in transitions; a large one counts for as many as take that long.
#[derive(Debug)]
pub(super) struct Load(Vec<AtomicUsize>);

impl Load {
    pub(super) fn new(lanes: usize) -> Self {
        Self((0..lanes).map(|_| AtomicUsize::new(0)).collect())
    }

    pub(super) fn of(&self, lane: usize) -> usize {
        self.0[lane].load(Ordering::Relaxed)
    }
}

/// So many bytes take about as long as a transition.
const BYTES: usize = 16 << 10;

/// A transition on its way, counted for its place, and with its weight for its lane.
#[derive(Debug)]
pub(crate) struct Ticket {
    load: Arc<Load>,
    lane: usize,
    place: Arc<OpenPlace>,
    weight: usize,
}

impl Ticket {
    pub(super) fn new(load: &Arc<Load>, lane: usize, place: &Arc<OpenPlace>, weight: usize) -> Self {
        load.0[lane].fetch_add(weight, Ordering::Relaxed);
        place.on_their_way.fetch_add(1, Ordering::Relaxed);
        Self { load: Arc::clone(load), lane, place: Arc::clone(place), weight }
    }

    /// How much a transition with so many bytes of JSON counts.
    pub(super) fn weight(bytes: usize) -> usize {
        1 + bytes / BYTES
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.load.0[self.lane].fetch_sub(self.weight, Ordering::Relaxed);
        self.place.on_their_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PlaceBatch {
    pub(super) fn new(place: Arc<OpenPlace>) -> Self {
        Self {
            place,
            submits: Vec::new(),
            endings: Vec::new(),
            permits: Vec::new(),
            news: 0,
            tickets: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.submits.is_empty() && self.endings.is_empty() && self.permits.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.submits.len() + self.endings.len() + usize::from(!self.permits.is_empty())
    }

    /// In parts of at most so many transitions and about so many bytes.
    pub(super) fn bounded(mut self, transitions: usize, bytes: usize) -> Vec<Self> {
        if self.len() <= transitions && size_of_batch(&self) <= bytes {
            return vec![self];
        }
        let permits = std::mem::take(&mut self.permits);
        let (news, tickets) = (self.news, std::mem::take(&mut self.tickets));
        let mut parts: Vec<Self> = Vec::new();
        let mut room = (0, 0);
        for alone in self.split() {
            let size = size_of_batch(&alone);
            match parts.last_mut().filter(|_| room.0 > 0 && room.1 >= size) {
                Some(part) => {
                    part.absorb(alone);
                    room = (room.0 - 1, room.1 - size);
                }
                None => {
                    parts.push(alone);
                    room = (transitions - 1, bytes.saturating_sub(size));
                }
            }
        }
        if let Some(last) = parts.last_mut() {
            (last.permits, last.news, last.tickets) = (permits, news, tickets);
        }
        parts
    }

    /// Each transition alone.
    pub(super) fn split(self) -> Vec<Self> {
        let Self { place, submits, endings, permits, news, tickets } = self;
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
        if let Some(last) = all.last_mut() {
            last.tickets = tickets;
        }
        all
    }

    pub(super) fn absorb(&mut self, other: Self) {
        self.submits.extend(other.submits);
        self.endings.extend(other.endings);
        self.permits.extend(other.permits);
        self.news = self.news.max(other.news);
        self.tickets.extend(other.tickets);
    }
}

/// Drops the endings of tasks that an earlier incarnation held: they are not ours any more.
pub(super) fn drop_void(batch: &mut PlaceBatch, current: Option<&Arc<Incarnation>>) {
    batch.endings.retain(|ending| current.is_some_and(|current| current.id == ending.incarnation.id));
}

pub(super) fn size_of_batch(batch: &PlaceBatch) -> usize {
    let submits: usize = batch.submits.iter().map(|submit| submit.execution.input.len()).sum();
    submits + batch.endings.iter().map(|ending| size_of(&ending.outcome)).sum::<usize>()
}

/// How many bytes an outcome writes, beside its row.
pub(super) fn size_of(outcome: &Outcome) -> usize {
    match &outcome.outcome {
        TaskOutcome::Completed { patch } => patch.as_ref().map_or(0, |patch| patch.len()),
        TaskOutcome::Failed { error, .. } | TaskOutcome::Retry { error, .. } => error.len(),
        TaskOutcome::Skipped { .. } | TaskOutcome::Released => 0,
    }
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
