//! How places and the hub are opened and closed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Handle;
use tracing::field::display;
use tracing::{info, warn};

use super::place::{HandleNumber, OpenPlace, WorkflowSet};
use super::places::Server;
use super::shared::Hub;
use super::stop::StopReason;
use crate::clock::LONGEST_WAIT;
use crate::config::RunnerConfig;
use crate::error::{Error, ErrorKind};
use crate::slots::{self, TenantSlots};
use crate::store::Place;
use crate::workflow::Workflow;

impl Hub {
    /// Opens a place for one more handle, and gives it a number; `None` if the hub has closed.
    pub(crate) async fn open(
        self: &Arc<Self>,
        place: Place,
        settings: Arc<RunnerConfig>,
        workflows: Vec<Workflow>,
        runtime: Handle,
    ) -> Result<Option<(Arc<OpenPlace>, HandleNumber)>, Error> {
        if let Some(limit) = settings.max_process_tasks {
            slots::set_process_limit(limit);
        }
        if let Some(limit) = settings.max_process_queue {
            slots::set_queue_limit(limit);
        }
        let executes = !settings.submit_only;
        let workflows: Vec<Arc<Workflow>> = workflows.into_iter().map(Arc::new).collect();
        let server = settings
            .serve_all_tenants
            .then(|| Server::new(&settings, &workflows, runtime.clone()))
            .transpose()?;
        let status = {
            let (store, place) = (Arc::clone(&self.store), place.clone());
            self.ask(async move { store.tenant_status(&place).await }).await
        };
        // A store that was closed with its hub answers nothing.
        let status = match status {
            Err(_) if self.is_closed() => return Ok(None),
            status => status?,
        };
        let (open, handle) = {
            let mut places = self.places();
            if places.closed {
                return Ok(None);
            }
            let open = match places.open.get(&place.tenant) {
                Some(open) => Arc::clone(open),
                None => {
                    let slots = TenantSlots::new(settings.max_concurrent_tasks, Arc::clone(&self.slot_watch));
                    let open = Arc::new(OpenPlace::new(place.clone(), slots, Arc::clone(&settings), status));
                    places.open.insert(place.tenant, Arc::clone(&open));
                    open
                }
            };
            let mut guard = open.state();
            let handles = &mut guard.handles;
            match WorkflowSet::new(&handles.workflows, workflows) {
                Ok(known) => handles.workflows = Arc::new(known),
                Err(error) => {
                    if handles.count == 0 {
                        places.open.remove(&place.tenant);
                    }
                    return Err(error);
                }
            }
            let handle = handles.open();
            if executes {
                handles.executors.push((handle, runtime));
            }
            handles.settings = settings;
            open.limit_slots(&guard);
            drop(guard);
            (open, handle)
        };
        // It may have been open before.
        self.put_into_force(&open, status);
        if executes {
            if let Err(error) = self.become_runner(&open).await {
                self.close(&open, handle, true).await;
                return Err(error.into());
            }
            open.state().claiming.note_any();
            self.look(&open);
            self.spawn(Arc::clone(self).repair(Arc::clone(&open)));
            self.spawn(Arc::clone(self).resume_orphans(Arc::clone(&open)));
            if let Some(server) = server {
                self.add_server((open.place.tenant, handle), server);
            }
        }
        self.describe(&open);
        Ok(Some((open, handle)))
    }

    /// Closes one handle on a place. With the last one that runs tasks nothing more is claimed; running tasks
    /// may finish for `shutdown_timeout` (not at all with `at_once`), then they are given back. With the last
    /// one of all the place is closed.
    ///
    /// With the last place the hub is closed as well. Claiming ends with the call, the rest is done by the
    /// future.
    pub(crate) fn close(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        handle: HandleNumber,
        at_once: bool,
    ) -> impl Future<Output = ()> + Send + 'static {
        let mut draining = vec![(Arc::clone(place), self.let_go_of(place, handle, at_once))];
        for (served, handle) in self.remove_server((place.place.tenant, handle)) {
            let patience = self.let_go_of(&served, handle, at_once);
            draining.push((served, patience));
        }
        let hub = Arc::clone(self);
        async move {
            let draining =
                draining.iter().filter_map(|(place, patience)| Some(hub.drain(place, (*patience)?)));
            join_all(draining).await;
        }
    }

    /// Takes one handle off a place; for how long what runs there may go on, if it has to end.
    fn let_go_of(&self, place: &OpenPlace, handle: HandleNumber, at_once: bool) -> Option<Duration> {
        let mut state = place.state();
        let patience = state.handles.close(handle, at_once);
        place.limit_slots(&state);
        patience
    }

    /// Ends what runs in a place, and closes it if no handle is left.
    async fn drain(self: &Arc<Self>, place: &Arc<OpenPlace>, patience: Duration) {
        let grace = place.state().handles.settings.cancel_grace;
        if !self.drained(place, patience).await {
            let held: Vec<_> = place.state().work.all_held().map(|held| Arc::clone(&held.stop)).collect();
            warn!(
                tenant = place.place.name,
                tasks = held.len(),
                "giving back tasks that did not finish before the shutdown"
            );
            held.iter().for_each(|stop| stop.stop(StopReason::GiveBack));
            // Beyond the grace period only the database can be what keeps us; a rescue returns what is left
            // then.
            self.drained(place, grace.saturating_add(Duration::from_secs(5))).await;
        }
        let (waiters, last) = {
            let mut places = self.places();
            let mut state = place.state();
            // Somebody may have opened the place again in the meantime.
            if state.handles.count > 0 {
                return;
            }
            places.open.remove(&place.place.tenant);
            places.closed = places.open.is_empty();
            (state.waiters.take_all().collect::<Vec<_>>(), places.closed)
        };
        for (execution, waiter) in waiters {
            let message = format!(
                "the runner was shut down while execution {execution} was waited for; it goes on when a runner is started"
            );
            drop(waiter.send(Err(Error::new(ErrorKind::ShutDown, message))));
        }
        if last {
            self.finish().await;
        }
    }

    /// Waits until nothing is held and nothing is being claimed in a place, at most for `patience`.
    async fn drained(&self, place: &Arc<OpenPlace>, patience: Duration) -> bool {
        let deadline = self.clock.monotonic() + patience.min(LONGEST_WAIT);
        loop {
            let idle = place.idle.notified();
            if place.is_idle() {
                return true;
            }
            tokio::select! {
                () = idle => {}
                () = self.clock.sleep_until(deadline) => return place.is_idle(),
            }
        }
    }

    /// Returns when the hub has been told to stop and had time enough to end what was under way: only a
    /// database that does not answer can keep it longer.
    pub(super) async fn shut_down_long_ago(&self) {
        self.stop.cancelled().await;
        self.clock.sleep(Duration::from_secs(5)).await;
    }

    /// Ends the hub's background work, its runner and its store. Nothing is open any more.
    async fn finish(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let incarnation = self.incarnation.write().take();
        let unsettled = self.renewing.lock().await.take();
        let runner = incarnation.as_ref().map(|incarnation| display(incarnation.id));
        for id in incarnation.map(|incarnation| incarnation.id).into_iter().chain(unsettled) {
            let store = Arc::clone(&self.store);
            if let Err(error) = self.ask(async move { store.runner_retire(id).await }).await {
                warn!(database = self.label(), %error, "failed to sign off; other runners wait for the lease to end");
            }
        }
        let store = Arc::clone(&self.store);
        if let Err(error) = self.ask(async move { store.close().await }).await {
            warn!(database = self.label(), %error, "failed to close the database");
        }
        if self.has_run.load(Ordering::Relaxed) {
            info!(database = self.label(), runner, "the runner ended");
        }
    }
}
