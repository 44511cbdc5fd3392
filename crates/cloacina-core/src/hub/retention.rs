//! What is done in places now and then: what is wrong there is mended, and what has been kept for long enough
//! is deleted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::place::OpenPlace;
use super::shared::{Audit, Hub};
use crate::clock::LONGEST_WAIT;
use crate::id::TenantId;
use crate::meters::count_pruned;
use crate::store::Repaired;

/// How many finished executions are deleted in one transaction: at most, and at least. One that is quicker
/// than this may be larger.
const MOST: usize = 1000;
const LEAST: usize = 16;
const QUICK: Duration = Duration::from_millis(100);

/// How long to wait between two transactions, so that others have their turn.
const BETWEEN: Duration = Duration::from_millis(100);

/// How often places are looked at in which something was deleted lately, and all others.
const SOON: Duration = Duration::from_secs(60);
const SELDOM: Duration = Duration::from_secs(3600);

impl Hub {
    /// Mends what no transaction of ours leaves behind in a place.
    pub(super) async fn repair(self: Arc<Self>, place: Arc<OpenPlace>) {
        if !place.state().standing.is_active() {
            return;
        }
        let repaired = {
            let _turn = self.turn_in(&place).await;
            self.store.place_repair(&place.place, self.clock.database_now()).await
        };
        place.troubles.repair.note(place.whose(), &repaired);
        match repaired {
            Ok(repaired) if repaired.is_empty() => {}
            Ok(Repaired { rescued, tasks, closed }) => {
                warn!(
                    tenant = place.place.name,
                    tasks,
                    rescued = rescued.len(),
                    closed = closed.len(),
                    "took back tasks of runners that are not known, and closed executions with nothing left to be done; was this \
                     place put back from a backup?"
                );
                place.queue.left(closed.len());
                if !closed.is_empty() {
                    self.spawn(Arc::clone(&self).note_closed(Arc::clone(&place), closed.clone()));
                }
                place.state().claiming.note_any();
                self.look(&place);
                for execution in rescued.into_iter().chain(closed) {
                    self.request_audit(Audit::Execution(Arc::clone(&place), execution));
                }
            }
            Err(_) => {}
        }
    }

    /// Looks at all places now and then: mends them once an hour, and deletes what has been kept for long
    /// enough.
    pub(super) async fn prune(self: Arc<Self>) {
        let mut visits: HashMap<TenantId, Visit> = HashMap::new();
        let mut seals = Duration::ZERO;
        while self.tick(SOON).await {
            if self.clock.monotonic() >= seals {
                seals = self.clock.monotonic() + SELDOM;
                self.troubles.sealing.note(self.whose(), &self.store.audit_seal().await);
            }
            let places = self.all_places();
            let open: HashSet<TenantId> = places.iter().map(|place| place.place.tenant).collect();
            visits.retain(|tenant, _| open.contains(tenant));
            for place in places {
                let now = self.clock.monotonic();
                let visit = visits.entry(place.place.tenant).or_default();
                if now >= visit.repair {
                    visit.repair = now + SELDOM;
                    Arc::clone(&self).repair(Arc::clone(&place)).await;
                }
                if now < visit.prune {
                    continue;
                }
                let pruned = self.prune_place(&place, &mut visit.batch).await;
                // Where executions end all the time they are deleted as they come of age, and not all at
                // once.
                visit.prune = now + if pruned { SOON } else { SELDOM };
            }
        }
    }

    /// Deletes the finished executions of a place that are older than its retention. Whether there were any.
    async fn prune_place(&self, place: &OpenPlace, batch: &mut Batch) -> bool {
        let retention = {
            let state = place.state();
            state.handles.settings.retention.filter(|_| state.standing.is_active())
        };
        let Some(retention) = retention else { return false };
        let retention = retention.min(LONGEST_WAIT);
        let mut all = 0;
        loop {
            let (most, begun) = (batch.most(), self.clock.monotonic());
            let now = self.clock.database_now();
            let pruned = self.store.execution_prune(&place.place, retention, most, now).await;
            place.troubles.pruning.note(place.whose(), &pruned);
            match pruned {
                Ok(pruned) => {
                    count_pruned(pruned);
                    batch.succeeded(self.clock.monotonic().saturating_sub(begun));
                    all += pruned;
                    if pruned < most {
                        return all > 0;
                    }
                }
                Err(_) if batch.failed() => {}
                Err(_) => return all > 0,
            }
            if !self.pause(BETWEEN).await {
                return true;
            }
        }
    }
}

/// When a place is looked at next.
#[derive(Debug, Default)]
struct Visit {
    repair: Duration,
    prune: Duration,
    batch: Batch,
}

/// How many executions are deleted in one transaction: fewer after one that failed, because it may have taken
/// too long, and more again while they are quick.
#[derive(Debug, PartialEq, Eq)]
struct Batch(usize);

impl Default for Batch {
    fn default() -> Self {
        Self(MOST)
    }
}

impl Batch {
    fn most(&self) -> usize {
        self.0
    }

    fn succeeded(&mut self, took: Duration) {
        if took < QUICK {
            self.0 = (self.0 * 2).min(MOST);
        }
    }

    /// Whether it is worth another try now.
    fn failed(&mut self) -> bool {
        let smaller = (self.0 / 4).max(LEAST);
        std::mem::replace(&mut self.0, smaller) > smaller
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_shrinks_when_it_fails_and_grows_again_while_it_is_quick() {
        let mut batch = Batch::default();
        let sizes: Vec<_> = std::iter::from_fn(|| batch.failed().then(|| batch.most())).collect();
        assert_eq!(sizes, [250, 62, 16]);
        assert_eq!((batch.failed(), batch.most()), (false, 16));
        batch.succeeded(QUICK);
        assert_eq!(batch.most(), 16);
        (0..3).for_each(|_| batch.succeeded(Duration::ZERO));
        assert_eq!(batch.most(), 128);
        (0..9).for_each(|_| batch.succeeded(Duration::ZERO));
        assert_eq!(batch, Batch::default());
    }
}
