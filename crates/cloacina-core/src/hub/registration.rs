//! How this process becomes a runner, and goes on as a new one after it was declared dead.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::place::OpenPlace;
use super::shared::Hub;
use super::transition::Incarnation;
use crate::backoff::Backoff;
use crate::id::RunnerId;
use crate::lease::{ProcessIdentity, host_name};
use crate::store::{RunnerRegistration, StoreError, WorkflowKey};

impl Hub {
    /// What this process can run, whatever the place.
    pub(super) fn announced(&self) -> Arc<[WorkflowKey]> {
        let mut keys: BTreeSet<WorkflowKey> = BTreeSet::new();
        // Most places have the same set.
        let mut seen: HashSet<*const WorkflowKey> = HashSet::new();
        for place in self.all_places() {
            let state = place.state();
            let known = state.handles.workflows.keys();
            if !state.handles.executors.is_empty() && seen.insert(known.as_ptr()) {
                keys.extend(known.iter().cloned());
            }
        }
        keys.into_iter().collect()
    }

    /// Registers this process as a runner, if it is not one yet, and takes back at once what a process that
    /// died left behind. From then on work of this place is claimed.
    pub(super) async fn become_runner(self: &Arc<Self>, place: &OpenPlace) -> Result<(), StoreError> {
        let mut unsettled = self.renewing.lock().await;
        if self.incarnation().is_some() {
            place.state().handles.registered = true;
            return Ok(());
        }
        let incarnation = self.register(&mut unsettled).await?;
        let id = incarnation.id;
        *self.incarnation.write() = Some(incarnation);
        if self.has_run.swap(true, Ordering::Relaxed) {
            debug!(database = self.label(), runner = %id, "the runner is registered again after a rest");
        } else {
            self.say_started(id);
        }
        let looked = Arc::clone(self).rescue_the_provably_dead().await;
        self.troubles.runners.note(self.whose(), &looked);
        place.state().handles.registered = true;
        Ok(())
    }

    fn say_started(&self, runner: RunnerId) {
        let (host, pid) = (host_name(), std::process::id());
        info!(database = self.label(), %runner, host, pid, lease = ?self.lease, "a runner started");
    }

    /// Registers this process under the id whose registration had no answer, if there is one: then no row is
    /// left that nobody renews.
    async fn register(&self, unsettled: &mut Option<RunnerId>) -> Result<Arc<Incarnation>, StoreError> {
        let registration = RunnerRegistration {
            id: *unsettled.get_or_insert_with(RunnerId::new),
            lease: self.lease,
            process: ProcessIdentity::current(),
            host_name: host_name(),
            workflows: self.announced(),
        };
        let id = registration.id;
        let (store, now) = (Arc::clone(&self.store), self.clock.database_now());
        self.ask(async move { store.runner_register(&registration, now).await }).await?;
        *unsettled = None;
        Ok(Incarnation::new(id))
    }

    /// Goes on under a new runner id after `old` was declared dead: all that it held is void.
    pub(super) async fn renew(self: &Arc<Self>, old: &Arc<Incarnation>) {
        let mut unsettled = self.renewing.lock().await;
        if self.incarnation().is_none_or(|current| current.id != old.id) {
            return;
        }
        warn!(
            database = self.label(), runner = %old.id,
            "this runner was declared dead, because its heartbeat stood still for a whole lease; its tasks are stopped and it goes on as a new one"
        );
        {
            // A flush that was written before the end must be applied before what is held is dropped, or its
            // claims would be held for ever. What is written from here on is fenced.
            let _gates = self.close_gates().await;
            old.void.store(true, Ordering::Relaxed);
            for place in self.all_places() {
                let effects = place.state().void(self.moment(None));
                self.perform(&place, None, effects);
            }
        }
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let next = loop {
            let registered = self.register(&mut unsettled).await;
            self.troubles.registering.note(self.whose(), &registered);
            if let Ok(next) = registered {
                break next;
            }
            tokio::select! {
                () = self.clock.sleep(backoff.next()) => {}
                () = self.stop.cancelled() => return,
            }
        };
        self.say_started(next.id);
        *self.incarnation.write() = Some(next);
        for place in self.all_places() {
            self.look(&place);
        }
    }
}
