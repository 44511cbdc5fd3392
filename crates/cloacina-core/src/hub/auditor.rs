//! Compares what the database says with what is held here, and adopts what is ours.
//!
//! Needed when the answer to a commit was lost, when an outcome found its row changed, when an execution that somebody waits
//! for ended elsewhere, and once per lease as a net. The auditor takes the gates of all lanes first: no flush is under way while
//! it looks, so a task that runs in the database and is not held here is one whose claim was never learned of.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::applying::{Applying, Start};
use super::live::{Live, is_ours, result_of};
use super::place::{OpenPlace, PlaceState, StopReason};
use super::{Hub, Incarnation, Submit, SubmitReply};
use crate::error::{ErrorKind, PipelineError};
use crate::execution::TaskState;
use crate::id::{ExecutionId, TaskIndex, TenantId};
use crate::store::{Control, ExecutionRecord, StoreError};
use crate::workflow::Workflow;

/// What to look at.
pub(crate) enum Audit {
    /// This execution.
    Execution(Arc<OpenPlace>, ExecutionId),
    /// All tasks that the database says this runner holds in a place.
    Held(Arc<OpenPlace>),
}

/// All that was asked for one place.
struct Look {
    place: Arc<OpenPlace>,
    executions: HashSet<ExecutionId>,
    held: bool,
}

impl Hub {
    pub(crate) fn request_audit(&self, audit: Audit) {
        // The auditor ends only with the hub, and then nobody waits for its findings.
        drop(self.audits.send(audit));
    }

    pub(super) async fn audit(self: Arc<Self>, mut inbox: mpsc::UnboundedReceiver<Audit>) {
        let mut requests = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                received = inbox.recv_many(&mut requests, 256) => if received == 0 { return },
            }
            let mut looks: HashMap<TenantId, Look> = HashMap::new();
            for request in requests.drain(..) {
                let (place, execution) = match request {
                    Audit::Execution(place, execution) => (place, Some(execution)),
                    Audit::Held(place) => (place, None),
                };
                let look = looks.entry(place.place.tenant).or_insert_with(|| Look {
                    place,
                    executions: HashSet::new(),
                    held: false,
                });
                look.held |= execution.is_none();
                look.executions.extend(execution);
            }
            for look in looks.into_values() {
                if let Err(error) = self.look_into(&look).await {
                    warn!(tenant = look.place.place.name, %error, "failed to compare held tasks with the database; will try again");
                    let hub = Arc::clone(&self);
                    self.spawn(async move {
                        hub.clock.sleep(Duration::from_millis(500)).await;
                        for execution in look.executions {
                            hub.request_audit(Audit::Execution(Arc::clone(&look.place), execution));
                        }
                        if look.held {
                            hub.request_audit(Audit::Held(look.place));
                        }
                    });
                }
            }
        }
    }

    async fn look_into(self: &Arc<Self>, look: &Look) -> Result<(), StoreError> {
        let mut executions = look.executions.clone();
        self.settle_strangers(&look.place, &mut executions).await?;
        if executions.is_empty() && !look.held {
            return Ok(());
        }
        let _gates = self.close_gates().await;
        let incarnation = self.incarnation().filter(|incarnation| !incarnation.void.load(Ordering::Relaxed));
        if let Some(incarnation) = incarnation.as_ref().filter(|_| look.held) {
            let ours = self.store.task_held(&look.place.place, incarnation.id).await?;
            let state = look.place.state();
            executions.extend(
                ours.iter()
                    .filter(|task| !state.held.contains_key(&(task.execution, task.task)))
                    .map(|task| task.execution),
            );
        }
        if executions.is_empty() {
            return Ok(());
        }
        let ids: Vec<ExecutionId> = executions.iter().copied().collect();
        let records = self.store.execution_load(&look.place.place, &ids).await?;
        let applying = Applying {
            hub: self,
            place: Arc::clone(&look.place),
            incarnation: incarnation.clone(),
            now: self.clock.database_now().unwrap_or_else(|| self.clock.now()),
        };
        let mut state = look.place.state();
        let mut starts = Vec::new();
        for record in records {
            executions.remove(&record.header.id);
            self.reconcile(&look.place, &mut state, &record, incarnation.as_deref(), &mut starts);
        }
        for missing in executions {
            self.drop_held(&look.place, &mut state, missing, |_, _| true);
            let message =
                format!("there is no execution {missing} in the place of tenant `{}`", look.place.place.name);
            state.finish(missing, &Err(PipelineError::new(ErrorKind::NotFound, message)));
        }
        starts.iter().for_each(|start| applying.hold(&mut state, start));
        let plans = applying.plan(&mut state, starts);
        drop(state);
        applying.begin(plans);
        Ok(())
    }

    /// Tells who waits for executions that nothing is known of here how they ended, and takes these off the list, with those in which no
    /// task runs under our name. Nobody is stopped for that: what is over never changes, and of the others there is nothing to adopt. So
    /// to submit and to wait later costs no more than to wait at once.
    async fn settle_strangers(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        executions: &mut HashSet<ExecutionId>,
    ) -> Result<(), StoreError> {
        let strangers: Vec<ExecutionId> = {
            let state = place.state();
            let known = |id: &ExecutionId| state.live.contains_key(id) || state.holds(*id);
            executions.iter().copied().filter(|id| !known(id)).collect()
        };
        if strangers.is_empty() {
            return Ok(());
        }
        let records = self.store.execution_load(&place.place, &strangers).await?;
        let runner = self.incarnation().map(|incarnation| incarnation.id);
        let mut state = place.state();
        for record in records {
            if record.header.status.is_terminal() {
                self.reconcile(place, &mut state, &record, None, &mut Vec::new());
            } else if record
                .tasks
                .iter()
                .any(|task| task.state == TaskState::Running && task.runner == runner)
            {
                continue;
            }
            executions.remove(&record.header.id);
        }
        Ok(())
    }

    /// Brings what is held of one execution in line with what the database says.
    fn reconcile(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        state: &mut PlaceState,
        record: &ExecutionRecord,
        incarnation: Option<&Incarnation>,
        starts: &mut Vec<Start>,
    ) {
        let id = record.header.id;
        let runs_here = |task: TaskIndex, attempt: i32| {
            record.tasks.get(task as usize).is_some_and(|row| {
                row.state == TaskState::Running
                    && incarnation.is_some_and(|incarnation| is_ours(row, incarnation.id, attempt))
            })
        };
        self.drop_held(place, state, id, |task, attempt| !runs_here(task, attempt));
        if record.header.status.is_terminal() {
            let graph = state
                .workflows
                .version(&record.header.workflow)
                .and_then(|workflow| workflow.graph().ok().cloned());
            if state.waiting.contains_key(&id) {
                let result = result_of(record, graph.as_deref());
                state.finish(id, &result);
            }
            state.live.remove(&id);
            return;
        }
        let Some(incarnation) = incarnation else { return };
        let adopted = (0..).zip(&record.tasks).filter(|(task, row)| {
            row.state == TaskState::Running
                && row.runner == Some(incarnation.id)
                && !state.held.contains_key(&(id, *task))
        });
        let adopted: Vec<Start> = adopted
            .map(|(task, row)| Start {
                execution: id,
                task,
                attempt: row.attempt,
                failures: row.failures,
                lost: row.lost,
                permit: place.slots.force(),
            })
            .collect();
        if adopted.is_empty() && !state.live.contains_key(&id) {
            return;
        }
        match self.learn(place, state, record) {
            Ok(()) if adopted.is_empty() => {}
            Ok(()) => {
                info!(tenant = place.place.name, execution = %id, tasks = adopted.len(), "adopted tasks whose claim was not learned of");
                starts.extend(adopted);
            }
            Err(reason) => self.abandon(Arc::clone(place), id, reason),
        }
    }

    /// Takes an execution that was read into memory.
    fn learn(
        &self,
        place: &OpenPlace,
        state: &mut PlaceState,
        record: &ExecutionRecord,
    ) -> Result<(), String> {
        let id = record.header.id;
        let workflow: Arc<Workflow> =
            state.workflows.version(&record.header.workflow).cloned().ok_or_else(|| {
                format!(
                    "this process does not have version {} of its workflow",
                    record.header.workflow.fingerprint
                )
            })?;
        if workflow.tasks().len() != record.tasks.len() {
            return Err(format!(
                "its rows are not those of its workflow: {} tasks are stored, {} are in the code",
                record.tasks.len(),
                workflow.tasks().len()
            ));
        }
        let read = Live::loaded(record, workflow).map_err(|error| {
            let tenant = &place.place.name;
            error!(tenant, execution = %id, %error, "a stored context cannot be read");
            error.to_string()
        })?;
        match state.live.get_mut(&id) {
            Some(live) => live.learn(read),
            None => drop(state.live.insert(id, read)),
        }
        Ok(())
    }

    /// Stops and lets go of the held tasks of an execution for which `void` holds.
    fn drop_held(
        &self,
        place: &OpenPlace,
        state: &mut PlaceState,
        execution: ExecutionId,
        void: impl Fn(TaskIndex, i32) -> bool,
    ) {
        let gone: Vec<(TaskIndex, i32)> = state
            .held_of(execution)
            .filter(|(task, claim)| void(*task, claim.attempt))
            .map(|(task, claim)| {
                claim.stop.stop(StopReason::Void);
                (task, claim.attempt)
            })
            .collect();
        for (task, attempt) in gone {
            place.let_go(state, execution, task, attempt);
        }
    }

    /// Reads the executions of claimed tasks and starts them.
    pub(super) fn load(self: &Arc<Self>, place: Arc<OpenPlace>, mut starts: Vec<Start>) {
        let hub = Arc::clone(self);
        self.spawn(async move {
            let ids: HashSet<ExecutionId> = starts.iter().map(|start| start.execution).collect();
            let ids: Vec<ExecutionId> = ids.into_iter().collect();
            let mut wait = Duration::from_millis(10);
            let records = loop {
                match hub.store.execution_load(&place.place, &ids).await {
                    Ok(records) => break records,
                    Err(error) => warn!(tenant = place.place.name, %error, "failed to read claimed executions; will try again"),
                }
                tokio::select! {
                    () = hub.clock.sleep(wait) => {}
                    () = hub.stop.cancelled() => return,
                }
                wait = (wait * 2).min(Duration::from_secs(2));
            };
            let applying = Applying {
                hub: &hub,
                place: Arc::clone(&place),
                incarnation: hub.incarnation(),
                now: hub.clock.database_now().unwrap_or_else(|| hub.clock.now()),
            };
            let mut state = place.state();
            let mut unusable: HashMap<ExecutionId, String> =
                ids.iter().map(|id| (*id, "its rows are gone".to_owned())).collect();
            for record in &records {
                match hub.learn(&place, &mut state, record) {
                    Ok(()) => drop(unusable.remove(&record.header.id)),
                    Err(reason) => drop(unusable.insert(record.header.id, reason)),
                }
            }
            // Claimed tasks have nothing left to wait for, unless somebody changed the rows by hand.
            for start in &starts {
                if state.live.get(&start.execution).is_some_and(|live| live.dependencies(start.task).is_none()) {
                    unusable.insert(start.execution, "a task was ready before its dependencies were over".to_owned());
                }
            }
            // A task that was stopped while its execution was read is not ours any more.
            starts.retain(|start| {
                let held = state.held.get(&(start.execution, start.task)).is_some_and(|held| held.attempt == start.attempt);
                held && !unusable.contains_key(&start.execution)
            });
            for id in unusable.keys() {
                hub.drop_held(&place, &mut state, *id, |_, _| true);
            }
            let plans = applying.plan(&mut state, starts);
            drop(state);
            for (id, reason) in unusable {
                hub.abandon(Arc::clone(&place), id, reason);
            }
            applying.begin(plans);
        });
    }

    /// Cancels an execution that cannot be run as it is stored.
    fn abandon(self: &Arc<Self>, place: Arc<OpenPlace>, execution: ExecutionId, reason: String) {
        let hub = Arc::clone(self);
        self.spawn(async move {
            error!(tenant = place.place.name, %execution, reason, "this execution cannot be run and is cancelled");
            let control = Control::Cancel { reason: format!("cannot be run: {reason}") };
            let now = hub.clock.database_now();
            if let Err(error) = hub.store.execution_control(&place.place, execution, control, now).await {
                warn!(tenant = place.place.name, %execution, %error, "failed to cancel it");
            }
            hub.request_audit(Audit::Execution(place, execution));
        });
    }

    /// Finds out what became of a new execution that a flush did not record, or that an earlier try may have recorded.
    pub(super) fn resolve(self: &Arc<Self>, place: Arc<OpenPlace>, submit: Submit) {
        let hub = Arc::clone(self);
        self.spawn(async move {
            let Submit { execution, reply, .. } = submit;
            let mut wait = Duration::from_millis(10);
            let found = loop {
                match hub.find(&place, &execution).await {
                    Ok(found) => break found,
                    Err(error) => warn!(tenant = place.place.name, execution = %execution.id, %error, "failed to look for it; will try again"),
                }
                tokio::select! {
                    () = hub.clock.sleep(wait) => {}
                    () = hub.stop.cancelled() => return,
                }
                wait = (wait * 2).min(Duration::from_secs(2));
            };
            let id = match found {
                Ok(id) => id,
                Err(error) => return reply.fail(error),
            };
            match reply {
                SubmitReply::Recorded(sender) => drop(sender.send(Ok(id))),
                SubmitReply::Finished(sender) => {
                    let mut state = place.state();
                    hub.add_waiter(&mut state, id, sender, true);
                }
            }
            hub.request_audit(Audit::Execution(Arc::clone(&place), id));
            place.state().note_backlog(execution.priority);
            hub.look(&place);
        });
    }

    /// The id under which an execution is recorded: its own, or that of the one that used its idempotency key before.
    async fn find(
        &self,
        place: &OpenPlace,
        execution: &crate::store::NewExecution,
    ) -> Result<Result<ExecutionId, PipelineError>, StoreError> {
        if !self.store.execution_headers(&place.place, &[execution.id]).await?.is_empty() {
            return Ok(Ok(execution.id));
        }
        let tenant = &place.place.name;
        let Some(idempotency) = &execution.idempotency else {
            let message =
                format!("execution {} of tenant `{tenant}` was not recorded; submit it again", execution.id);
            return Ok(Err(PipelineError::new(ErrorKind::Internal, message)));
        };
        let workflow = &execution.workflow.name;
        match self.store.execution_find(&place.place, workflow, &idempotency.key).await? {
            Some((id, input_hash)) if input_hash == idempotency.input_hash => Ok(Ok(id)),
            Some((id, _)) => {
                let message = format!(
                    "the idempotency key `{}` was used before in tenant `{tenant}` for workflow `{workflow}` with another input (execution {id}): \
                     use another key for another input",
                    idempotency.key.escape_debug()
                );
                Ok(Err(PipelineError::new(ErrorKind::Conflict, message)))
            }
            None => {
                let message = format!(
                    "the execution of tenant `{tenant}` that used the idempotency key `{}` was removed at this moment; submit again",
                    idempotency.key.escape_debug()
                );
                Ok(Err(PipelineError::new(ErrorKind::Unavailable, message)))
            }
        }
    }
}
