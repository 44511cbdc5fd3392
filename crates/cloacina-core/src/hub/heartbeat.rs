//! The heartbeat of this process as a runner.

use std::sync::Arc;

use super::shared::{Audit, Hub};
use crate::store::Liveness;

impl Hub {
    /// Renews the lease, and once per lease has the held tasks compared with the database.
    pub(super) async fn beat(self: Arc<Self>) {
        let mut audited = self.clock.monotonic();
        while self.tick(self.heartbeat_interval).await {
            let Some(incarnation) = self.incarnation() else { continue };
            self.describe_what_is_left();
            let announced = self.announced();
            let beat =
                self.store.runner_heartbeat(incarnation.id, &announced, self.clock.database_now()).await;
            self.troubles.heartbeat.note(self.whose(), &beat);
            if let Ok(Liveness::Dead) = beat {
                self.renew(&incarnation).await;
            }
            let now = self.clock.monotonic();
            if now.saturating_sub(audited) >= self.lease {
                let since = std::mem::replace(&mut audited, now);
                for place in self.all_places() {
                    let concerned = {
                        let state = place.state();
                        // Where nothing was written since the last look, nothing can have become ours.
                        state.standing.noted == Some(incarnation.id)
                            && (state.standing.used >= since || !state.work.is_idle())
                    };
                    if concerned {
                        self.request_audit(Audit::Held(Arc::clone(&place)));
                        self.spawn(Arc::clone(&self).repair(place));
                    }
                }
            }
        }
    }
}
