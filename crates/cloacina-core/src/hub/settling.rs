//! Has what is due of nodes looked at that the engine runs itself.

use std::sync::Arc;
use std::time::Duration;

use super::place::{OpenPlace, Settling, Sort};
use super::shared::Hub;
use super::timers::Timer;
use crate::store::StoreError;

impl Hub {
    /// Waits may be due now: some were reached, or somebody sent a signal.
    pub(crate) fn look_for_waits(self: &Arc<Self>, place: &Arc<OpenPlace>) {
        self.look_for(Sort::Waits, place);
    }

    /// Children may have ended, or are to be started.
    pub(crate) fn look_for_children(self: &Arc<Self>, place: &Arc<OpenPlace>) {
        self.look_for(Sort::Children, place);
    }

    fn look_for(self: &Arc<Self>, sort: Sort, place: &Arc<OpenPlace>) {
        if !place.state().may_expand() {
            return;
        }
        let (hub, place) = (Arc::clone(self), Arc::clone(place));
        self.spawn(async move {
            let answer = hub.settle(sort, &place).await;
            place.troubles.settling.note(place.whose(), &answer);
            match answer {
                // Whoever does it knows what comes next.
                Ok(None) => {}
                // What comes next has to be known.
                Ok(Some(settled)) => {
                    // What another process has locked is tried again after a pause.
                    place.state().claiming.due_taken(settled, hub.clock().monotonic());
                    hub.lower(place);
                }
                Err(_) => hub.set_timer(place.place.tenant, Timer::Due, Duration::from_secs(1)),
            }
        });
    }

    /// Settles what is due of one sort of nodes in a place. Returns how much that was; `None` if somebody
    /// does it, who looks once more then.
    pub(super) async fn settle(
        self: &Arc<Self>,
        sort: Sort,
        place: &Arc<OpenPlace>,
    ) -> Result<Option<usize>, StoreError> {
        if !place.state().claiming.settling(sort).begin() {
            return Ok(None);
        }
        let mut settled = 0;
        loop {
            let answer = match sort {
                Sort::Waits => self.settle_all_waits(place).await,
                Sort::Children => self.settle_all_children(place).await,
            };
            let again = place.state().claiming.settling(sort).end();
            settled += match answer {
                Ok(some) => some,
                Err(error) => {
                    *place.state().claiming.settling(sort) = Settling::default();
                    return Err(error);
                }
            };
            if !again {
                return Ok(Some(settled));
            }
        }
    }
}
