//! What the operator decided about tenants, put into force here.
//!
//! It is read when a place is opened, and again when the doorbell says that it was changed. A tenant that may not work claims nothing,
//! its running tasks are told to stop and given back if they do not end in time, and what ended is recorded. Nothing is lost, and
//! who waits goes on waiting, unless the tenant is removed.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::Hub;
use super::place::{OpenPlace, PlaceState, StopReason};
use crate::error::{ErrorKind, PipelineError};
use crate::id::TenantId;
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
            if state.status_asked.is_some_and(|(asked, _)| now < asked + REREAD) {
                return;
            }
            let number = state.status_asked.map_or(0, |(_, number)| number) + 1;
            state.status_asked = Some((now, number));
            number
        };
        let hub = Arc::clone(self);
        self.spawn(async move {
            loop {
                let read = hub.store.tenant_status(&place.place).await;
                place.troubles.status.note(place.whose(), &read);
                if let Ok(status) = read {
                    // Who was asked later may have been answered earlier.
                    if place.state().status_asked.is_none_or(|(_, latest)| latest <= asked) {
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
        let before = {
            let mut state = place.state();
            let before = std::mem::replace(&mut state.status, status);
            place.limit_slots(&state);
            if status.state != TenantState::Active {
                stop_all(&mut state);
            } else if before.state != TenantState::Active {
                state.note_backlog(i16::MIN);
            }
            if is_gone(status.state) {
                tell_waiters(place, &mut state);
            }
            before
        };
        if before.state != status.state {
            info!(tenant = place.place.name, before = %before.state, now = %status.state, "the operator decided about a tenant");
        }
        if before.state != TenantState::Active && status.state == TenantState::Active {
            self.spawn(Arc::clone(self).resume_orphans(Arc::clone(place)));
        }
        self.look(place);
    }
}

impl OpenPlace {
    /// Brings the number of slots in line with what was configured and decided.
    pub(crate) fn limit_slots(&self, state: &PlaceState) {
        let configured = state.settings.max_concurrent_tasks;
        let decided = smaller(configured, state.status.limits.max_concurrent_tasks);
        self.slots.set_limit(decided);
    }

    /// The error for what may not be done while the tenant may not work.
    pub(crate) fn check_active(&self, state: &PlaceState) -> Result<(), PipelineError> {
        let tenant = &self.place.name;
        let todo = match state.status.state {
            TenantState::Active => return Ok(()),
            TenantState::Suspended => "nothing of it is lost; ask the operator to resume the tenant",
            TenantState::Creating => "an administrator has not finished making it",
            TenantState::Moving => "open the tenant again in a moment",
            TenantState::Removing | TenantState::Removed => "there is nothing to be done here any more",
        };
        let message = format!(
            "tenant `{tenant}` is {}, so nothing is submitted or changed there: {todo}",
            state.status.state
        );
        Err(PipelineError::new(ErrorKind::Suspended, message))
    }
}

/// The configured limit, or the tenant's own if that is smaller.
pub(crate) fn smaller(configured: usize, decided: Option<u32>) -> usize {
    decided.map_or(configured, |decided| configured.min(usize::try_from(decided).unwrap_or(usize::MAX)))
}

fn is_gone(state: TenantState) -> bool {
    matches!(state, TenantState::Removing | TenantState::Removed)
}

fn stop_all(state: &mut PlaceState) {
    state.held.values().for_each(|held| held.stop.stop(StopReason::GiveBack));
}

fn tell_waiters(place: &OpenPlace, state: &mut PlaceState) {
    for (execution, waiting) in std::mem::take(&mut state.waiting) {
        for sender in waiting.senders {
            let message = format!(
                "tenant `{}` is {} while execution {execution} was waited for; it does not go on",
                place.place.name, state.status.state
            );
            // Whoever dropped its future does not want to know.
            drop(sender.send(Err(PipelineError::new(ErrorKind::Suspended, message))));
        }
    }
}
