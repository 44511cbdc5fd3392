//! In which order a lane writes what came to it.
//!
//! A lane goes in rounds. First come the places with little to do, together in one flush; then those that may
//! keep us waiting, each alone; then one flush of those with much to do, as much as fits. What came in the
//! meantime is in the next round. So whoever has little to do waits for one flush of somebody else's bulk at
//! most, however much of that there is.

use std::collections::HashMap;

use super::batch::{PlaceBatch, Queued, Size};
use super::transition::Submit;
use crate::id::TenantId;

/// The most transitions, and the most bytes of JSON, in one flush: what keeps a flush at a few milliseconds.
const MOST: Size = Size { transitions: 1000, bytes: 1 << 20 };

/// The most that a place with little to do has to write.
const LITTLE: Size = Size { transitions: 64, bytes: 64 << 10 };

/// What came to a lane and is not written yet: each place stands here once.
#[derive(Default)]
pub(super) struct Rounds {
    pending: Vec<PlaceBatch>,
}

impl Rounds {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Adds what came to the lane.
    pub(super) fn add(&mut self, received: impl IntoIterator<Item = Queued>) {
        let of = |batch: &PlaceBatch| batch.place.place.tenant;
        let mut positions: HashMap<TenantId, usize> = self.pending.iter().map(of).zip(0..).collect();
        for queued in received {
            let at = *positions.entry(queued.place().place.tenant).or_insert_with(|| {
                self.pending.push(PlaceBatch::new(queued.place().clone()));
                self.pending.len() - 1
            });
            self.pending[at].add(queued);
        }
    }

    /// Takes what there is of a place.
    pub(super) fn take(&mut self, tenant: TenantId) -> Option<PlaceBatch> {
        let at = self.pending.iter().position(|batch| batch.place.place.tenant == tenant)?;
        Some(self.pending.remove(at))
    }

    /// Takes out the new executions of which this is true.
    pub(super) fn take_submits(&mut self, of: impl Fn(&Submit) -> bool) -> Vec<Submit> {
        let submits: Vec<Submit> = self
            .pending
            .iter_mut()
            .flat_map(|batch| batch.submits.extract_if(.., |submit| of(submit)))
            .collect();
        self.pending.retain(|batch| !batch.is_empty());
        submits
    }

    /// The flushes of the next round. Whoever is flushed `alone` may keep others waiting.
    pub(super) fn next(&mut self, alone: impl Fn(&PlaceBatch) -> bool) -> Vec<Vec<PlaceBatch>> {
        let mut round = Vec::new();
        let (mut few, mut size) = (Vec::new(), Size { transitions: 0, bytes: 0 });
        let little = self.pending.extract_if(.., |batch| Size::of(batch).fits(LITTLE));
        let (apart, together): (Vec<_>, Vec<_>) = little.partition(&alone);
        for batch in together {
            let with = size.and(Size::of(&batch));
            if with.fits(MOST) {
                size = with;
            } else {
                round.push(std::mem::take(&mut few));
                size = Size::of(&batch);
            }
            few.push(batch);
        }
        round.push(few);
        round.extend(apart.into_iter().map(|batch| vec![batch]));
        round.push(self.bulk(alone));
        round.retain(|flush| !flush.is_empty());
        round
    }

    /// As much of the places with much to do as fits into one flush, from the one that has waited longest.
    fn bulk(&mut self, alone: impl Fn(&PlaceBatch) -> bool) -> Vec<PlaceBatch> {
        let mut flush: Vec<PlaceBatch> = Vec::new();
        let mut left = MOST;
        let mut rest = Vec::new();
        for mut batch in std::mem::take(&mut self.pending) {
            let is_alone = alone(&batch);
            let takes = match flush.first() {
                None => true,
                Some(first) => left.transitions > 0 && left.bytes > 0 && !is_alone && !alone(first),
            };
            if !takes {
                rest.push(batch);
                continue;
            }
            let part = batch.take_part(left, flush.is_empty());
            let size = Size::of(&part);
            left.transitions = left.transitions.saturating_sub(size.transitions);
            left.bytes = left.bytes.saturating_sub(size.bytes);
            if !part.is_empty() {
                flush.push(part);
            }
            if !batch.is_empty() {
                // It waits behind those that were not served.
                self.pending.push(batch);
            }
        }
        rest.append(&mut self.pending);
        self.pending = rest;
        flush
    }
}
