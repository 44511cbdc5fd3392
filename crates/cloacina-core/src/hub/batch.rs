//! What goes into one flush, by place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::place::OpenPlace;
use super::transition::{ClaimRequest, Ending, Incarnation, Submit, Transition};
use crate::slots::Permit;

/// What comes to a lane.
pub(crate) enum Queued {
    One(Transition, Ticket),
    /// What another lane could not write.
    Batch(PlaceBatch),
}

impl Queued {
    pub(super) fn place(&self) -> &Arc<OpenPlace> {
        match self {
            Self::One(transition, _) => transition.place(),
            Self::Batch(batch) => &batch.place,
        }
    }
}

/// How much there is to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) transitions: usize,
    pub(super) bytes: usize,
}

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

impl Size {
    pub(super) fn of(batch: &PlaceBatch) -> Self {
        Self { transitions: batch.len(), bytes: batch.size() }
    }

    pub(super) fn fits(self, most: Self) -> bool {
        self.transitions <= most.transitions && self.bytes <= most.bytes
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self { transitions: self.transitions + other.transitions, bytes: self.bytes + other.bytes }
    }
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

    /// How many bytes it writes, beside rows.
    pub(super) fn size(&self) -> usize {
        let submits: usize = self.submits.iter().map(Submit::size).sum();
        submits + self.endings.iter().map(Ending::size).sum::<usize>()
    }

    /// Adds what came to a lane for this place.
    pub(super) fn add(&mut self, queued: Queued) {
        match queued {
            Queued::Batch(other) => self.absorb(other),
            Queued::One(transition, ticket) => {
                self.tickets.push(ticket);
                match transition {
                    Transition::Submit(submit) => self.submits.push(*submit),
                    Transition::Ending(ending) => self.endings.push(*ending),
                    Transition::Claim(ClaimRequest { permits, news, .. }) => {
                        self.permits.extend(permits);
                        self.news = news;
                    }
                }
            }
        }
    }

    /// Drops the endings of tasks that an earlier incarnation held: they are not ours any more.
    pub(super) fn drop_void(&mut self, current: Option<&Arc<Incarnation>>) {
        self.endings.retain(|ending| current.is_some_and(|current| current.id == ending.incarnation.id));
    }

    /// Takes at most so much out of it, from the front; if it `must`, one transition at least. What counts it
    /// goes with the last part.
    pub(super) fn take_part(&mut self, most: Size, must: bool) -> Self {
        if Size::of(self).fits(most) {
            return std::mem::replace(self, Self::new(Arc::clone(&self.place)));
        }
        let mut part = Self::new(Arc::clone(&self.place));
        // A claim is one transition, and the first that is due: what it brings comes while the rest is
        // written.
        if !self.permits.is_empty() {
            part.permits = std::mem::take(&mut self.permits);
            part.news = self.news;
        }
        let mut size = Size::of(&part);
        let mut fits = |bytes: usize| {
            let with = Size { transitions: size.transitions + 1, bytes: size.bytes + bytes };
            let fits = with.fits(most) || must && size.transitions == 0;
            if fits {
                size = with;
            }
            fits
        };
        // What ends gives slots back.
        let endings = self.endings.iter().take_while(|ending| fits(ending.size())).count();
        part.endings.extend(self.endings.drain(..endings));
        let submits = self.submits.iter().take_while(|submit| fits(submit.size())).count();
        part.submits.extend(self.submits.drain(..submits));
        part
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
