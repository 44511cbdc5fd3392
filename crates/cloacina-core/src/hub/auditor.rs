//! Compares what the database says with what is held here, and adopts what is ours.
//!
//! Needed when the answer to a commit was lost, when an outcome found its row changed, when an execution that
//! somebody waits for ended elsewhere, and once per lease as a net. The auditor takes the gate of the place
//! first: no flush of it is under way while it looks, so a task that runs in the database and is not held
//! here is one whose claim was never learned of.
//!
//! What it reads may have been written by a tenant. An execution that cannot be read or run as it is stored
//! is cancelled, and whoever waits for it is told; nothing else depends on it. Places of tenants with a login
//! of their own are looked at beside the others, because such a tenant may keep us waiting.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{error, warn};

use super::kernel::{Effects, Loaded, Start};
use super::place::{Look, OpenPlace, Poll};
use super::shared::{Audit, Hub};
use super::transition::{Submit, SubmitReply};
use crate::backoff::Backoff;
use crate::config::MOST_EXECUTION_BYTES;
use crate::error::{Error, ErrorKind};
use crate::id::{ExecutionId, TenantId};
use crate::meters::count_submitted;
use crate::store::{Control, NewExecution, StoreError, StoreErrorKind};
use crate::submission::same;

/// How many executions are read at once.
pub(super) const LOAD: usize = 256;

/// How long to wait after a look that failed.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long to wait after what has to be known could not be read: at first, and at most.
const READ_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));

/// How long to wait after an execution could not be cancelled: at first, and at most.
const ABANDON: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

impl Hub {
    pub(super) async fn audit(self: Arc<Self>, mut inbox: mpsc::UnboundedReceiver<Audit>) {
        let mut requests = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                received = inbox.recv_many(&mut requests, 256) => if received == 0 { return },
            }
            let asked = requests.len();
            let mut looks: HashMap<TenantId, (Arc<OpenPlace>, Look)> = HashMap::new();
            for request in requests.drain(..) {
                let (place, execution) = match request {
                    Audit::Execution(place, execution) => (place, Some(execution)),
                    Audit::Held(place) => (place, None),
                };
                let (_, look) = looks.entry(place.place.tenant).or_insert_with(|| (place, Look::default()));
                look.held |= execution.is_none();
                look.executions.extend(execution);
            }
            for (place, look) in looks.into_values() {
                if place.state().standing.status.has_login {
                    self.look_aside(place, look);
                } else if let Some(again) = self.look_into(&place, look).await {
                    let hub = Arc::clone(&self);
                    self.spawn(async move {
                        hub.clock.sleep(LOOK_AGAIN).await;
                        for execution in again.executions {
                            hub.request_audit(Audit::Execution(Arc::clone(&place), execution));
                        }
                        if again.held {
                            hub.request_audit(Audit::Held(place));
                        }
                    });
                }
            }
            self.audits_left.fetch_sub(asked, Ordering::Relaxed);
        }
    }

    /// Looks into a place of a tenant that may keep us waiting, beside everything else: one look after the
    /// other.
    fn look_aside(self: &Arc<Self>, place: Arc<OpenPlace>, look: Look) {
        {
            let mut state = place.state();
            if let Some(asked) = &mut state.standing.looks {
                asked.add(look);
                return;
            }
            state.standing.looks = Some(look);
        }
        let hub = Arc::clone(self);
        self.spawn(async move {
            loop {
                let look = {
                    let mut state = place.state();
                    match state.standing.looks.take().filter(|look| !look.is_empty()) {
                        Some(look) => {
                            state.standing.looks = Some(Look::default());
                            look
                        }
                        None => return,
                    }
                };
                let again = {
                    let _turn = hub.turn_in(&place).await;
                    hub.look_into(&place, look).await
                };
                if let Some(again) = again {
                    if let Some(asked) = &mut place.state().standing.looks {
                        asked.add(again);
                    }
                    if !hub.pause(LOOK_AGAIN).await {
                        return;
                    }
                }
            }
        });
    }

    /// What has to be looked at again, if it failed.
    async fn look_into(self: &Arc<Self>, place: &Arc<OpenPlace>, look: Look) -> Option<Look> {
        let compared = self.compare(place, &look).await;
        place.troubles.audit.note(place.whose(), &compared);
        compared.is_err().then_some(look)
    }

    async fn compare(self: &Arc<Self>, place: &Arc<OpenPlace>, look: &Look) -> Result<(), StoreError> {
        let mut executions = self.settle_unheld(place, &look.executions).await?;
        if look.held {
            executions.extend(self.unheld(place).await?);
        }
        if executions.is_empty() {
            return Ok(());
        }
        let _gate = Arc::clone(&place.gate).write_owned().await;
        let _recording = Arc::clone(&place.recording).write_owned().await;
        let incarnation = self.incarnation();
        let ids: Vec<ExecutionId> = executions.into_iter().collect();
        for ids in ids.chunks(LOAD) {
            let loaded = self.load_each(place, ids).await?;
            let effects = {
                let mut state = place.state();
                // Whoever declares it void does so before it drops what is held, which takes the state as
                // well.
                let valid = incarnation.as_ref().filter(|incarnation| !incarnation.is_void());
                state.reconcile(loaded, valid.map(|valid| valid.id), place.slots.free(), self.moment(None))
            };
            self.perform(place, incarnation.as_ref(), effects);
        }
        Ok(())
    }

    /// Tells those who wait for executions of which nothing is held here how they ended. Nobody is stopped
    /// for that, so to submit and to wait later costs no more than to wait at once. The executions that are
    /// left.
    async fn settle_unheld(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        executions: &HashSet<ExecutionId>,
    ) -> Result<HashSet<ExecutionId>, StoreError> {
        let (mut left, unheld): (HashSet<_>, Vec<_>) = {
            let state = place.state();
            let held = executions.iter().copied().filter(|id| state.work.holds(*id));
            (held.collect(), executions.iter().copied().filter(|id| !state.work.holds(*id)).collect())
        };
        let incarnation = self.incarnation();
        for ids in unheld.chunks(LOAD) {
            let loaded = self.load_each(place, ids).await?;
            let runner = incarnation.as_ref().map(|incarnation| incarnation.id);
            let mut effects = place.state().settle(loaded, runner);
            left.extend(std::mem::take(&mut effects.audits));
            self.perform(place, incarnation.as_ref(), effects);
        }
        Ok(left)
    }

    /// The executions with tasks that run under our name in the database and are not held here. The look
    /// keeps nobody waiting, so what was claimed at that moment is among them at first; it is held once the
    /// flushes that were under way are taken over.
    async fn unheld(self: &Arc<Self>, place: &Arc<OpenPlace>) -> Result<HashSet<ExecutionId>, StoreError> {
        let Some(incarnation) = self.incarnation() else { return Ok(HashSet::new()) };
        let mut unheld = self.store.task_held(&place.place, incarnation.id).await?;
        let mut forget_held = || {
            let state = place.state();
            unheld.retain(|task| state.work.held(task.execution, task.task).is_none());
            unheld.is_empty()
        };
        if !forget_held() {
            drop(Arc::clone(&place.gate).write_owned().await);
            forget_held();
        }
        Ok(unheld.into_iter().map(|task| task.execution).collect())
    }

    /// Reads executions. One whose rows cannot be read does not keep the others from being read.
    pub(super) async fn load_each(
        &self,
        place: &OpenPlace,
        ids: &[ExecutionId],
    ) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded { missing: ids.iter().copied().collect(), ..Loaded::default() };
        match self.store.execution_load(&place.place, ids).await {
            Ok(records) => loaded.records = records,
            Err(error) if error.kind() == StoreErrorKind::Data => {
                for id in ids {
                    match self.store.execution_load(&place.place, &[*id]).await {
                        Ok(records) => loaded.records.extend(records),
                        Err(error) if error.kind() == StoreErrorKind::Data => {
                            loaded.missing.remove(id);
                            loaded.unreadable.push((*id, error));
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
        for record in std::mem::take(&mut loaded.records) {
            let id = record.header.id;
            loaded.missing.remove(&id);
            let patches = record.tasks.iter().filter_map(|task| task.patch.as_deref());
            let size = record.input.len() + patches.map(str::len).sum::<usize>();
            if size <= MOST_EXECUTION_BYTES {
                loaded.records.push(record);
                continue;
            }
            // No runner of ours wrote this.
            let message =
                format!("the context of execution {id} has {size} bytes, more than {MOST_EXECUTION_BYTES}");
            loaded.unreadable.push((id, StoreError::new(StoreErrorKind::Data, message)));
        }
        Ok(loaded)
    }

    /// Reads the executions of claimed tasks and starts them.
    pub(super) fn load(self: &Arc<Self>, place: Arc<OpenPlace>, starts: Vec<Start>) {
        let hub = Arc::clone(self);
        self.spawn(async move {
            let ids: HashSet<ExecutionId> = starts.iter().map(|start| start.execution).collect();
            let ids: Vec<ExecutionId> = ids.into_iter().collect();
            let mut loaded = Loaded::default();
            for ids in ids.chunks(LOAD) {
                let mut backoff = Backoff::new(READ_AGAIN.0, READ_AGAIN.1);
                loop {
                    let read = {
                        let _turn = hub.turn_in(&place).await;
                        hub.load_each(&place, ids).await
                    };
                    place.troubles.loading.note(place.whose(), &read);
                    if let Ok(more) = read {
                        loaded.extend(more);
                        break;
                    }
                    if !hub.pause(backoff.next()).await {
                        return;
                    }
                }
            }
            let effects = place.state().begin(starts, loaded, hub.moment(None));
            hub.perform(&place, hub.incarnation().as_ref(), effects);
        });
    }

    /// Gives up what is held of an execution that cannot be run as it is stored, and cancels it.
    pub(super) fn abandon(self: &Arc<Self>, place: &Arc<OpenPlace>, execution: ExecutionId, reason: String) {
        let mut effects = Effects::default();
        place.state().abandon(execution, reason, &mut effects);
        self.perform(place, None, effects);
    }

    /// Cancels an execution that cannot be run as it is stored.
    pub(super) fn cancel_abandoned(
        self: &Arc<Self>,
        place: Arc<OpenPlace>,
        execution: ExecutionId,
        reason: String,
    ) {
        let hub = Arc::clone(self);
        self.spawn(async move {
            error!(tenant = place.place.name, %execution, reason, "this execution cannot be run and is cancelled");
            let control = Control::Cancel { reason: format!("cannot be run: {reason}") };
            let mut backoff = Backoff::new(ABANDON.0, ABANDON.1);
            loop {
                let now = hub.clock.database_now();
                let cancelled = {
                    let _turn = hub.turn_in(&place).await;
                    hub.store.execution_control(&place.place, execution, control.clone(), None, now).await
                };
                match cancelled {
                    Ok(done) => {
                        hub.note_ended(&place, execution, done);
                        break;
                    }
                    Err(error) => {
                        warn!(tenant = place.place.name, %execution, %error, "failed to cancel it");
                        if error.kind() == StoreErrorKind::Data {
                            break;
                        }
                    }
                }
                if !hub.pause(backoff.next()).await {
                    return;
                }
            }
            hub.request_audit(Audit::Execution(place, execution));
        });
    }

    /// Finds out what became of a new execution that a flush did not record, or that an earlier try may have
    /// recorded.
    pub(super) fn resolve(self: &Arc<Self>, place: Arc<OpenPlace>, submit: Submit, counted: bool) {
        let hub = Arc::clone(self);
        self.spawn(async move {
            let Submit { execution, reply, admitted, .. } = submit;
            let mut backoff = Backoff::new(READ_AGAIN.0, READ_AGAIN.1);
            let found = loop {
                match hub.find(&place, &execution).await {
                    Ok(found) => break found,
                    Err(error) => warn!(tenant = place.place.name, execution = %execution.id, %error, "failed to look for it; will try again"),
                }
                tokio::select! {
                    () = hub.clock.sleep(backoff.next()) => {}
                    () = hub.stop.cancelled() => return,
                }
            };
            let id = match found {
                Ok(id) => id,
                Err(error) => return reply.fail(error),
            };
            if id == execution.id {
                count_submitted(usize::from(!counted));
                if let Some(admitted) = admitted {
                    admitted.recorded();
                }
            }
            match reply {
                // Under an idempotency key it may be the execution of another handle, so this one asks.
                SubmitReply::Recorded(sender, _) => drop(sender.send(Ok(id))),
                SubmitReply::Finished(waiter) => {
                    place.state().waiters.add(id, waiter, Some(Poll::soon(hub.clock.monotonic())));
                    hub.ask_elsewhere(&place);
                }
            }
            hub.request_audit(Audit::Execution(Arc::clone(&place), id));
            place.state().claiming.note_backlog(execution.priority);
            hub.look(&place);
        });
    }

    /// The id under which an execution is recorded: its own, or that of the one that used its idempotency key
    /// before.
    async fn find(
        &self,
        place: &OpenPlace,
        execution: &NewExecution,
    ) -> Result<Result<ExecutionId, Error>, StoreError> {
        if !self.store.execution_headers(&place.place, &[execution.id]).await?.is_empty() {
            return Ok(Ok(execution.id));
        }
        let tenant = &place.place.name;
        let Some(idempotency) = &execution.idempotency else {
            let message =
                format!("execution {} of tenant `{tenant}` was not recorded; submit it again", execution.id);
            return Ok(Err(Error::new(ErrorKind::Internal, message)));
        };
        let workflow = &execution.workflow.name;
        match self.store.execution_find(&place.place, workflow, &idempotency.key).await? {
            Some(found) => Ok(same(tenant, execution, found)),
            None => {
                let message = format!(
                    "the execution of tenant `{tenant}` that used the idempotency key `{}` was removed at this moment; submit again",
                    idempotency.key.escape_debug()
                );
                Ok(Err(Error::new(ErrorKind::Unavailable, message)))
            }
        }
    }
}
