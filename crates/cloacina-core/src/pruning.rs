//! Deleting in one place what has been kept for long enough.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, LONGEST_WAIT};
use crate::execution::ExecutionStatus;
use crate::meters::count_pruned;
use crate::retention::{ENDS, OldestEnds, Retention};
use crate::store::{Place, Result, Store};

/// How many finished executions are deleted in one transaction: at most, and at least. One that is quicker
/// than this may be larger.
pub(crate) const MOST: u32 = 1000;
const LEAST: usize = 16;
const QUICK: Duration = Duration::from_millis(100);

/// What one place is like to delete in; it outlives a look.
#[doc(hidden)]
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pruning {
    batch: Batch,
}

/// What came of a look at a place.
#[doc(hidden)]
#[derive(Debug)]
pub struct Pruned {
    /// How many executions were deleted.
    pub executions: usize,
    /// What is left.
    pub oldest: OldestEnds,
    /// Whether there is more to be deleted, and time is up.
    pub more: bool,
}

impl Pruning {
    /// Deletes what has been kept for long enough, of what was `found`, batch after batch with pauses between
    /// them, for as long as `go_on` says after each pause.
    ///
    /// # Errors
    ///
    /// Those of the store, if a batch fails and it is not worth the while to try a smaller one.
    pub async fn prune(
        &mut self,
        store: &dyn Store,
        clock: &dyn Clock,
        place: &Arc<Place>,
        found: OldestEnds,
        retention: &Retention,
        go_on: impl Fn() -> bool + Send,
    ) -> Result<Pruned> {
        let mut all = 0;
        for end in ENDS {
            let (Some(_), Some(retention)) = (found.of(end), retention.after(end)) else { continue };
            let (executions, more) =
                self.prune_ended(store, clock, place, (end, retention.min(LONGEST_WAIT)), &go_on).await?;
            all += executions;
            if more {
                return Ok(Pruned { executions: all, oldest: found, more });
            }
        }
        let mut oldest = found;
        if all > 0 {
            oldest = store.execution_oldest(std::slice::from_ref(place)).await?.pop().unwrap_or_default();
        }
        Ok(Pruned { executions: all, oldest, more: false })
    }

    async fn prune_ended(
        &mut self,
        store: &dyn Store,
        clock: &dyn Clock,
        place: &Place,
        (end, retention): (ExecutionStatus, Duration),
        go_on: &(impl Fn() -> bool + Send),
    ) -> Result<(usize, bool)> {
        let mut all = 0;
        loop {
            let (most, begun) = (self.batch.most(), clock.monotonic());
            let now = clock.database_now();
            let pruned = store.execution_prune(place, end, retention, most, now).await;
            let took = clock.monotonic().saturating_sub(begun);
            match pruned {
                Ok(pruned) => {
                    count_pruned(pruned);
                    self.batch.succeeded(took);
                    all += pruned;
                    if pruned < most {
                        return Ok((all, false));
                    }
                }
                Err(_) if self.batch.failed() => {}
                Err(error) => return Err(error),
            }
            // Others have their turn for as long as this took, so that half of the time is theirs.
            clock.sleep(took.min(QUICK)).await;
            if !go_on() {
                return Ok((all, true));
            }
        }
    }

    /// Whether nothing has to be remembered.
    pub(crate) fn is_usual(&self) -> bool {
        self.batch == Batch::default()
    }
}

/// How many executions are deleted in one transaction: fewer after one that failed, because it may have taken
/// too long, and more again while they are quick.
#[derive(Debug, PartialEq, Eq)]
struct Batch(usize);

impl Default for Batch {
    fn default() -> Self {
        Self(MOST as usize)
    }
}

impl Batch {
    fn most(&self) -> usize {
        self.0
    }

    fn succeeded(&mut self, took: Duration) {
        if took < QUICK {
            self.0 = (self.0 * 2).min(MOST as usize);
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
