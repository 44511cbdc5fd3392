//! Rest: what a hub does while nothing happens on its database, which is nothing.
//!
//! For a database that is one tenant's file, so that thousands of them may be open. A hub that is quiet for a
//! while signs its runner off, takes the next due time into its timers and has the
//! [`Store`](crate::store::Store) close what it keeps open; nothing ticks from then on. It is awake again as
//! soon as the store hints, which it does with the first call that opens the file again, whoever made it, and
//! when somebody else wrote to it.
//!
//! ```text
//!            quiet for 5 s, or pressed, and alone                work to be claimed
//!   runner ───────────────────────────────────► resting ··hint··► awake ──────────────► runner
//!                        │ not alone                                │ quiet
//!                        └──► awake, without a runner ──► resting ◄─┘
//! ```
//!
//! Awake without a runner, a hub looks and does not write: two processes that are done with a file see each
//! other sign off, and then both rest. While another runner is registered nobody rests: its heartbeat must be
//! watched, for it may die.
//!
//! Nothing is lost between the last look and the rest. In this process, whatever is on its way keeps a place
//! from being quiet: a submission from before it looks whether it may claim. Of others, the store says
//! whether they wrote since the look.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::debug;

use super::place::OpenPlace;
use super::shared::Hub;
use super::timers::Timer;
use super::transition::Incarnation;
use crate::store::{DueKind, StoreError};

/// How long nothing has to happen.
const REST: Duration = Duration::from_secs(5);

/// Since when a hub has been quiet, and how much had happened by then.
#[derive(Debug, Default)]
pub(super) struct Quiet(Option<(Duration, u64)>);

impl Hub {
    /// Registers the runner again, since there is something to be claimed.
    pub(super) async fn rouse(self: Arc<Self>, place: Arc<OpenPlace>) {
        if self.rest.rousing.swap(true, Ordering::AcqRel) {
            // It looks at all places when it is done.
            return;
        }
        let registered = self.become_runner(&place).await;
        self.rest.rousing.store(false, Ordering::Release);
        self.troubles.registering.note(self.whose(), &registered);
        match registered {
            Ok(()) => self.look(&place),
            Err(_) => self.set_timer(place.place.tenant, Timer::Work, Duration::from_secs(1)),
        }
    }

    /// Rests if nothing happens, and has not for a while; at once if it is `pressed`.
    pub(super) async fn rest_if_quiet(self: &Arc<Self>, quiet: &mut Quiet, pressed: bool) {
        let (now, stirs) = (self.clock.monotonic(), self.rest.stirs());
        if !self.is_quiet() {
            quiet.0 = None;
            return;
        }
        let since = match quiet.0 {
            Some((since, seen)) if seen == stirs => since,
            _ => now,
        };
        quiet.0 = Some((since, stirs));
        if !pressed && now.saturating_sub(since) < REST {
            return;
        }
        let rests = self.lie_down().await;
        self.troubles.resting.note(self.whose(), &rests);
        if let Ok(true) = rests {
            debug!(database = self.label(), "nothing happens here; at rest");
        }
    }

    /// Signs the runner off and closes the store, unless something happens after all. True if the hub rests
    /// now.
    async fn lie_down(self: &Arc<Self>) -> Result<bool, StoreError> {
        {
            let mut unsettled = self.renewing.lock().await;
            let Some(incarnation) = self.stop_claiming().await else { return Ok(false) };
            if let Some(incarnation) = incarnation {
                *unsettled = Some(incarnation.id);
            }
            if let Some(id) = *unsettled {
                let store = Arc::clone(&self.store);
                self.ask(async move { store.runner_retire(id).await }).await?;
                *unsettled = None;
            }
        }
        // From here on the store says whether anybody else wrote.
        let bells = self.store.bell_due(self.clock.database_now()).await?;
        let runners = self.store.runner_list().await?;
        if self.executes() {
            self.note_alone(runners.is_empty());
        }
        if !runners.is_empty() {
            return Ok(false);
        }
        for place in self.all_places() {
            if place.state().handles.executors.is_empty() {
                continue;
            }
            if bells.due.iter().any(|due| due.tenant == place.place.tenant) {
                place.state().claiming.note_any();
                self.look(&place);
                return Ok(false);
            }
            let this = std::slice::from_ref(&place.place);
            for next in self.store.bell_lower(this, DueKind::ALL, self.clock.database_now()).await? {
                self.wait_for(&place, next);
            }
        }
        if !self.store.rest().await? {
            return Ok(false);
        }
        // Who comes from here on opens the store again, which leaves a hint for the next look.
        let is_resting = self.incarnation().is_none() && self.is_quiet();
        self.rest.set(!is_resting);
        Ok(is_resting)
    }

    fn is_quiet(&self) -> bool {
        self.all_places().iter().all(|place| place.is_quiet(&place.state()))
    }

    /// Ends the claiming in all places, if all are quiet; what was the runner has to be signed off then.
    /// `None` if something happens. No runner is being registered or renewed meanwhile.
    async fn stop_claiming(&self) -> Option<Option<Arc<Incarnation>>> {
        // No flush and no look at what is held is in between.
        let _gates = self.close_gates().await;
        let places = self.all_places();
        let mut states: Vec<_> = places.iter().map(|place| (place, place.state())).collect();
        if !states.iter().all(|(place, state)| place.is_quiet(state)) {
            return None;
        }
        for (_, state) in &mut states {
            state.handles.registered = false;
            state.standing.noted = None;
        }
        Some(self.incarnation.write().take())
    }
}
