//! What is done in places now and then: what is wrong there is mended, and what has been kept for long enough
//! is deleted.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::place::OpenPlace;
use super::shared::{Audit, Hub};
use crate::clock::LONGEST_WAIT;
use crate::store::Repaired;

/// How many finished executions are pruned in one transaction, and how often the pruner looks.
const PRUNE_BATCH: usize = 1000;
const PRUNE: Duration = Duration::from_secs(3600);

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

    /// Deletes finished executions that are older than the retention of their place, in small batches.
    pub(super) async fn prune(self: Arc<Self>) {
        let mut wait = Duration::from_secs(60);
        while self.tick(wait).await {
            wait = PRUNE;
            for place in self.all_places() {
                Arc::clone(&self).repair(Arc::clone(&place)).await;
                let retention = {
                    let state = place.state();
                    state.handles.settings.retention.filter(|_| state.standing.is_active())
                };
                let Some(retention) = retention else { continue };
                let retention = retention.min(LONGEST_WAIT);
                loop {
                    let now = self.clock.database_now();
                    let pruned = self.store.execution_prune(&place.place, retention, PRUNE_BATCH, now).await;
                    place.troubles.pruning.note(place.whose(), &pruned);
                    if !pruned.is_ok_and(|pruned| pruned == PRUNE_BATCH) {
                        break;
                    }
                    if !self.pause(Duration::from_millis(100)).await {
                        return;
                    }
                }
            }
        }
    }
}
