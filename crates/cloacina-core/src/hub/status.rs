//! What the operator decided about tenants, put into force here.
//!
//! It is read when a place is opened, and again when the doorbell says that it was changed. A tenant that may
//! not work claims nothing, its running tasks are told to stop and given back if they do not end in time, and
//! what ended is recorded. Nothing is lost, and who waits goes on waiting, unless the tenant is removed.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::place::OpenPlace;
use super::shared::Hub;
use super::stop::StopReason;
use crate::error::{Error, ErrorKind};
use crate::id::{ExecutionId, TenantId};
use crate::store::{TenantState, TenantStatus};

/// A change is told again and again for some seconds: how often it is read at most.
const REREAD: Duration = Duration::from_millis(500);

/// How long to wait after it could not be read.
const RETRY: Duration = Duration::from_secs(1);

impl Hub {
    /// The doorbell says that something was decided about these tenants.
    pub(super) fn statuses_changed(self: &Arc<Self>, tenants: &[TenantId]) {
        for tenant in tenants {
            match self.open_place(*tenant) {
                Some(place) => self.reread_status(place),
                None => self.try_again_to_serve(*tenant),
            }
        }
    }

    pub(super) fn reread_status(self: &Arc<Self>, place: Arc<OpenPlace>) {
        let now = self.clock.monotonic();
        let asked = {
            let mut state = place.state();
            if state.standing.status_asked.is_some_and(|(asked, _)| now < asked + REREAD) {
                return;
            }
            let number = state.standing.status_asked.map_or(0, |(_, number)| number) + 1;
            state.standing.status_asked = Some((now, number));
            number
        };
        let hub = Arc::clone(self);
        self.spawn(async move {
            loop {
                let read = hub.store.tenant_status(&place.place).await;
                place.troubles.status.note(place.whose(), &read);
                if let Ok(status) = read {
                    // Who was asked later may have been answered earlier.
                    if place.state().standing.status_asked.is_none_or(|(_, latest)| latest <= asked) {
                        hub.put_into_force(&place, status);
                    }
                    return;
                }
                if !hub.pause(RETRY).await {
                    return;
                }
            }
        });
    }

    pub(super) fn put_into_force(self: &Arc<Self>, place: &Arc<OpenPlace>, status: TenantStatus) {
        let (before, stopped, waiters) = {
            let mut state = place.state();
            let before = std::mem::replace(&mut state.standing.status, status);
            place.limit_slots(&state);
            let mut stopped = Vec::new();
            if status.state != TenantState::Active {
                stopped.extend(state.work.all_held().map(|held| Arc::clone(&held.stop)));
            } else if before.state != TenantState::Active {
                state.claiming.note_any();
            }
            let waiters: Vec<_> = state.waiters.take_all_if(is_gone(status.state)).collect();
            (before, stopped, waiters)
        };
        stopped.iter().for_each(|stop| stop.stop(StopReason::GiveBack));
        for (execution, waiter) in waiters {
            // Whoever dropped its future does not want to know.
            drop(waiter.send(Err(removed(place, status.state, execution))));
        }
        if before.state != status.state {
            info!(tenant = place.place.name, before = %before.state, now = %status.state, "the operator decided about a tenant");
        }
        if before.state != TenantState::Active && status.state == TenantState::Active {
            self.spawn(Arc::clone(self).resume_orphans(Arc::clone(place)));
        }
        self.look(place);
    }
}

impl Hub {
    /// A place that was put back from a backup goes on.
    pub(crate) fn release(self: &Arc<Self>, place: &Arc<OpenPlace>) {
        {
            let mut state = place.state();
            if !std::mem::take(&mut state.standing.held) {
                return;
            }
            state.claiming.note_any();
        }
        self.rest.stir();
        info!(tenant = place.place.name, "a place that was put back from a backup goes on");
        self.spawn(Arc::clone(self).resume_orphans(Arc::clone(place)));
        self.lower(Arc::clone(place));
        self.look(place);
    }
}

fn is_gone(state: TenantState) -> bool {
    matches!(state, TenantState::Removing | TenantState::Removed)
}

/// What those are told who wait for executions of a tenant that is removed.
fn removed(place: &OpenPlace, state: TenantState, execution: ExecutionId) -> Error {
    let message = format!(
        "tenant `{}` is {state} while execution {execution} was waited for; it does not go on",
        place.place.name
    );
    Error::new(ErrorKind::Suspended, message)
}
