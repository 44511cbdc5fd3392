//! Serving tenants that nobody opened.
//!
//! A runner may ask to work for every tenant of the database. Nobody lists them: the doorbell names those
//! that have work due, in one query whatever their number, and the places of these are opened then, with the
//! runner's workflows and settings. Such a place is held open by a handle of the hub's own, so whoever opens
//! it besides shares everything, and closing that handle ends nothing.
//!
//! It is closed when nobody refers to it any more and nothing is due soon: what comes later is in the bell.
//! So idle tenants cost nothing here. At the most that may be open, idle places are closed at once, those
//! that were used longest ago first; if none is idle, those that have been open longest claim nothing more,
//! and are closed when what runs there has ended: tenants with work take turns.
//!
//! A place that cannot be opened or used is put aside, longer each time.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;
use tracing::warn;

use super::place::{HandleNumber, OpenPlace, Served};
use super::places::{ASIDE, Aside, Places, Server};
use super::shared::Hub;
use crate::id::TenantId;
use crate::slots::TenantSlots;
use crate::store::{Due, Place, StoreError, TenantStatus};

/// How long a place stays open after it was last used, and how near the next due time keeps it open.
const LINGER: Duration = Duration::from_secs(10);

/// How often places are looked at that could be closed.
const TEND: Duration = Duration::from_secs(1);

impl Hub {
    pub(super) fn add_server(&self, handle: (TenantId, HandleNumber), server: Server) {
        let mut places = self.places();
        places.serving.servers.push((handle, Arc::new(server)));
        places.serving.aside.clear();
        places.equip_all();
        drop(places);
        // What was due before has rung already.
        self.bells_wanted.wake();
    }

    /// Forgets a runner that served every tenant; the places that it leaves behind, each with the handle that
    /// keeps it open, if it was the last one.
    pub(super) fn remove_server(
        &self,
        handle: (TenantId, HandleNumber),
    ) -> Vec<(Arc<OpenPlace>, HandleNumber)> {
        let mut places = self.places();
        let before = places.serving.servers.len();
        places.serving.servers.retain(|(known, _)| *known != handle);
        if places.serving.servers.len() == before {
            return Vec::new();
        }
        if !places.serving.servers.is_empty() {
            places.equip_all();
            return Vec::new();
        }
        let served = places.open.values().filter_map(|place| {
            let handle = place.state().handles.served.as_ref()?.handle;
            Some((Arc::clone(place), handle))
        });
        served.collect()
    }

    /// Opens the places of tenants that have work due and are not served yet.
    pub(super) fn serve(self: &Arc<Self>, due: &[Due]) {
        let now = self.clock.monotonic();
        let mut guard = self.places();
        let places = &mut *guard;
        let Some((_, server)) = places.serving.servers.last() else { return };
        let most = server.settings.max_served_places;
        places.serving.aside.retain(|_, aside| aside.until + ASIDE.1 > now);
        let mut waiting: Vec<TenantId> = due
            .iter()
            .map(|due| due.tenant)
            .filter(|tenant| {
                let serving = &places.serving;
                let aside = serving.aside.get(tenant).is_some_and(|aside| aside.until > now);
                let served =
                    places.open.get(tenant).is_some_and(|place| place.state().handles.served.is_some());
                !aside && !served && !serving.opening.contains(tenant)
            })
            .collect();
        if waiting.is_empty() {
            return;
        }
        waiting.sort_unstable();
        let first = waiting.partition_point(|tenant| places.serving.last.is_some_and(|last| *tenant <= last));
        waiting.rotate_left(first);
        let taken = places.served() + places.serving.opening.len();
        if taken + waiting.len() > most {
            let closed = self.close_idle(places, taken + waiting.len() - most, now);
            let room = (most + closed).saturating_sub(taken);
            places.serving.crowded = waiting.len().saturating_sub(room);
            waiting.truncate(room);
        }
        places.serving.opening.extend(waiting.iter().copied());
        places.serving.last = waiting.last().copied().or(places.serving.last);
        drop(guard);
        for tenant in waiting {
            self.spawn(Arc::clone(self).serve_one(tenant));
        }
    }

    async fn serve_one(self: Arc<Self>, tenant: TenantId) {
        // Few at once: each takes a connection from those that everything else needs as well.
        let _turn = self.openings.acquire().await;
        if self.stop.is_cancelled() {
            return;
        }
        let found = self.find_place(tenant).await;
        let now = self.clock.monotonic();
        let mut places = self.places();
        places.serving.opening.remove(&tenant);
        match found {
            Ok(Some((place, status))) => self.serve_place(places, place, status, now),
            Ok(None) => places.serving.put_aside(tenant, now, ASIDE.1),
            Err(error) => {
                let wait = places.serving.longer(tenant);
                places.serving.put_aside(tenant, now, wait);
                drop(places);
                warn_of(tenant, wait, &error);
            }
        }
    }

    pub(super) async fn find_place(
        &self,
        tenant: TenantId,
    ) -> Result<Option<(Place, TenantStatus)>, StoreError> {
        let Some(place) = self.store.place_of(tenant).await? else { return Ok(None) };
        let status = self.store.tenant_status(&place).await?;
        Ok(Some((place, status)))
    }

    /// Something was decided about a tenant that nobody opened: it may be worked for again.
    pub(super) fn try_again_to_serve(&self, tenant: TenantId) {
        if self.places().serving.aside.remove(&tenant).is_some() {
            self.bells_wanted.wake();
        }
    }

    fn serve_place(
        self: &Arc<Self>,
        mut places: MutexGuard<'_, Places>,
        place: Place,
        status: TenantStatus,
        now: Duration,
    ) {
        let Some(server) = places.serving.servers.last().map(|(_, server)| Arc::clone(server)) else {
            return;
        };
        let tenant = place.tenant;
        let trouble = places.serving.aside.remove(&tenant).map(|aside| aside.wait);
        let open = match places.open.get(&tenant) {
            Some(open) => Arc::clone(open),
            None => {
                let limit = server.settings.max_concurrent_tasks;
                let slots = TenantSlots::new(limit, Arc::clone(&self.slot_watch));
                let open = Arc::new(OpenPlace::new(place, slots, Arc::clone(&server.settings), status));
                open.state().standing.health.trouble = trouble;
                places.open.insert(tenant, Arc::clone(&open));
                open
            }
        };
        {
            let mut state = open.state();
            let handle = state.handles.open();
            let settings = Arc::clone(&server.settings);
            state.handles.served = Some(Served { handle, settings, since: now, yields: false });
            state.standing.used = now;
            state.handles.registered = true;
            state.claiming.note_any();
        }
        if let Err(error) = server.equip(&open) {
            warn!(tenant = open.place.name, %error, "this tenant's work is left to whoever opens its place");
        }
        drop(places);
        self.look(&open);
        self.spawn(Arc::clone(self).resume_orphans(open));
    }

    /// Closes served places that nobody needs any more.
    pub(super) async fn close_served_places(self: Arc<Self>) {
        while self.pause(TEND).await {
            let now = self.clock.monotonic();
            let mut guard = self.places();
            let places = &mut *guard;
            if places.serving.servers.is_empty() {
                continue;
            }
            let idle: Vec<TenantId> = places
                .open
                .values()
                .filter_map(|place| {
                    let used = self.idle_since(place)?;
                    let state = place.state();
                    let rests = state.handles.served.as_ref().is_some_and(|served| served.yields);
                    let next = self.next_look(place.place.tenant);
                    let far = next.is_none_or(|next| next >= now + LINGER) && now >= used + LINGER;
                    (rests || far).then_some(place.place.tenant)
                })
                .collect();
            for tenant in idle {
                self.close_served(places, tenant, now);
            }
            let crowded = std::mem::take(&mut places.serving.crowded);
            places.make_room(crowded, now);
        }
    }

    /// Closes up to `wanted` idle places, those first that were used longest ago.
    fn close_idle(&self, places: &mut Places, wanted: usize, now: Duration) -> usize {
        let mut idle: Vec<(Duration, TenantId)> = places
            .open
            .values()
            .filter_map(|place| Some((self.idle_since(place)?, place.place.tenant)))
            .collect();
        idle.sort_unstable();
        idle.truncate(wanted);
        for (_, tenant) in &idle {
            self.close_served(places, *tenant, now);
        }
        idle.len()
    }

    /// When a place was last used that is only served and in which nothing is under way.
    fn idle_since(&self, place: &Arc<OpenPlace>) -> Option<Duration> {
        // Whatever is under way refers to the place: attempts, transitions, audits, the queue. Nobody can
        // begin to, because these come from one another, or from the list of open places, which is locked.
        if Arc::strong_count(place) > 1 || place.slots.used() > 0 {
            return None;
        }
        let state = place.state();
        let nothing = state.is_idle() && state.waiters.is_empty();
        (state.handles.only_served() && nothing).then_some(state.standing.used)
    }

    fn next_look(&self, tenant: TenantId) -> Option<Duration> {
        self.timers.lock().next(tenant)
    }

    fn close_served(&self, places: &mut Places, tenant: TenantId, now: Duration) {
        let Some(place) = places.open.remove(&tenant) else { return };
        let mut state = place.state();
        state.handles.closing = true;
        let rests = state.handles.served.as_ref().is_some_and(|served| served.yields);
        // Its bell is still due, but there is nothing to be done about it before this time.
        if let Some(wait) = state.standing.health.trouble.or(state.claiming.patience) {
            let until = self.next_look(tenant).unwrap_or(now + wait).min(now + ASIDE.1);
            places.serving.aside.insert(tenant, Aside { until, wait });
        } else if rests {
            places.serving.put_aside(tenant, now, TEND);
        }
        drop(state);
        self.timers.lock().forget(tenant);
    }
}

fn warn_of(tenant: TenantId, wait: Duration, error: &StoreError) {
    warn!(%tenant, %error, wait = wait.as_secs(), "the place of a tenant that has work due cannot be opened; will try again");
}
