//! Compares what the database says with what is held here, and adopts what is ours.
//!
//! Needed when the answer to a commit was lost, when an outcome found its row changed, when an execution that somebody waits
//! for ended elsewhere, and once per lease as a net. The auditor takes the gate of the place first: no flush of it is under way while
//! it looks, so a task that runs in the database and is not held here is one whose claim was never learned of.
//!
//! What it reads may have been written by a tenant. An execution that cannot be read or run as it is stored is cancelled, and whoever
//! waits for it is told; nothing else depends on it. Places of tenants with a login of their own are looked at beside the others,
//! because such a tenant may keep us waiting.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{debug, error, warn};

use super::applying::{Applying, Start, for_the_operator};
use super::live::{Live, is_ours, result_of};
use super::place::{Held, OpenPlace, PlaceState, StopReason};
use super::report::count_submitted;
use super::{Ending, Hub, Incarnation, Submit, SubmitReply, Transition};
use crate::config::MOST_EXECUTION_BYTES;
use crate::error::{ErrorKind, PipelineError};
use crate::execution::TaskState;
use crate::id::{ExecutionId, TaskIndex, TenantId};
use crate::store::{Control, ExecutionRecord, Outcome, StoreError, StoreErrorKind, TaskOutcome};
use crate::submission::same;
use crate::workflow::Workflow;

/// What to look at.
pub(crate) enum Audit {
    /// This execution.
    Execution(Arc<OpenPlace>, ExecutionId),
    /// All tasks that the database says this runner holds in a place.
    Held(Arc<OpenPlace>),
}

/// All that was asked for one place.
#[derive(Debug, Default)]
pub(crate) struct Look {
    executions: HashSet<ExecutionId>,
    held: bool,
}

impl Look {
    fn add(&mut self, other: Self) {
        self.executions.extend(other.executions);
        self.held |= other.held;
    }

    fn is_empty(&self) -> bool {
        self.executions.is_empty() && !self.held
    }
}

/// How many executions are read at once.
const LOAD: usize = 256;

/// How long to wait after a look that failed.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How many executions that were given up a place remembers: they are not adopted again, whatever their rows say.
const GIVEN_UP: usize = 1000;

/// How long to wait after an execution could not be cancelled: at first, and at most.
const ABANDON: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Executions as they were read.
#[derive(Default)]
struct Loaded {
    records: Vec<ExecutionRecord>,
    missing: HashSet<ExecutionId>,
    unreadable: Vec<(ExecutionId, StoreError)>,
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
                if place.state().status.has_login {
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
        }
    }

    /// Looks into a place of a tenant that may keep us waiting, beside everything else: one look after the other.
    fn look_aside(self: &Arc<Self>, place: Arc<OpenPlace>, look: Look) {
        {
            let mut state = place.state();
            if let Some(asked) = &mut state.looks {
                asked.add(look);
                return;
            }
            state.looks = Some(look);
        }
        let hub = Arc::clone(self);
        self.spawn(async move {
            loop {
                let look = {
                    let mut state = place.state();
                    match state.looks.take().filter(|look| !look.is_empty()) {
                        Some(look) => {
                            state.looks = Some(Look::default());
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
                    if let Some(asked) = &mut place.state().looks {
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
        let mut executions = look.executions.clone();
        self.settle_strangers(place, &mut executions).await?;
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
            self.reconcile_all(place, incarnation.as_ref(), loaded);
        }
        Ok(())
    }

    /// The executions with tasks that run under our name in the database and are not held here. The look keeps nobody waiting, so what
    /// was claimed at that moment is among them at first; it is held once the flushes that were under way are taken over.
    async fn unheld(self: &Arc<Self>, place: &Arc<OpenPlace>) -> Result<HashSet<ExecutionId>, StoreError> {
        let Some(incarnation) = self.incarnation() else { return Ok(HashSet::new()) };
        let mut unheld = self.store.task_held(&place.place, incarnation.id).await?;
        let mut forget_held = || {
            let state = place.state();
            unheld.retain(|task| !state.held.contains_key(&(task.execution, task.task)));
            unheld.is_empty()
        };
        if !forget_held() {
            drop(Arc::clone(&place.gate).write_owned().await);
            forget_held();
        }
        Ok(unheld.into_iter().map(|task| task.execution).collect())
    }

    fn reconcile_all(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        incarnation: Option<&Arc<Incarnation>>,
        loaded: Loaded,
    ) {
        let mut state = place.state();
        // Whoever declares it void does so before it drops what is held, which takes the state as well.
        let incarnation = incarnation.filter(|incarnation| !incarnation.void.load(Ordering::Relaxed));
        let applying = Applying {
            hub: self,
            place: Arc::clone(place),
            incarnation: incarnation.cloned(),
            now: self.clock.database_now().unwrap_or_else(|| self.clock.now()),
        };
        let mut starts = Vec::new();
        for record in &loaded.records {
            self.reconcile(place, &mut state, record, incarnation.map(Arc::as_ref), &mut starts);
        }
        for missing in loaded.missing {
            self.drop_held(place, &mut state, missing, |_, _| true);
            let message =
                format!("there is no execution {missing} in the place of tenant `{}`", place.place.name);
            state.finish(missing, &Err(PipelineError::new(ErrorKind::NotFound, message)));
        }
        for (unreadable, error) in loaded.unreadable {
            self.cannot_be_read(place, &mut state, unreadable, &error);
        }
        starts.iter().for_each(|start| applying.hold(&mut state, start));
        let plans = applying.plan(&mut state, starts);
        drop(state);
        applying.begin(plans);
    }

    /// Reads executions. One whose rows cannot be read does not keep the others from being read.
    async fn load_each(&self, place: &OpenPlace, ids: &[ExecutionId]) -> Result<Loaded, StoreError> {
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

    /// Tells who waits for an execution whose rows cannot be read, and gives up what is held of it.
    fn cannot_be_read(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        state: &mut PlaceState,
        execution: ExecutionId,
        error: &StoreError,
    ) {
        let held = state.holds(execution);
        self.drop_held(place, state, execution, |_, _| true);
        let message =
            format!("execution {execution} of tenant `{}` cannot be read: {error}", place.place.name);
        state.finish(execution, &Err(PipelineError::new(ErrorKind::Context, message)));
        if held {
            error!(tenant = place.place.name, %execution, %error, "an execution cannot be read, and is ended");
            self.abandon(Arc::clone(place), state, execution, error.to_string());
        }
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
        let mut loaded = Loaded::default();
        for strangers in strangers.chunks(LOAD) {
            let more = self.load_each(place, strangers).await?;
            loaded.records.extend(more.records);
            loaded.unreadable.extend(more.unreadable);
        }
        let runner = self.incarnation().map(|incarnation| incarnation.id);
        let mut state = place.state();
        for (unreadable, error) in loaded.unreadable {
            self.cannot_be_read(place, &mut state, unreadable, &error);
            executions.remove(&unreadable);
        }
        for record in loaded.records {
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
        if state.given_up.contains(&id) {
            return;
        }
        let adopted = (0..).zip(&record.tasks).filter(|(task, row)| {
            row.state == TaskState::Running
                && row.runner == Some(incarnation.id)
                && !state.held.contains_key(&(id, *task))
        });
        let mut adopted: Vec<Start> = adopted
            .map(|(task, row)| Start {
                execution: id,
                task,
                attempt: row.attempt,
                failures: row.failures,
                lost: row.lost,
                permit: place.slots.force(),
            })
            .collect();
        if state.status.has_login && place.slots.is_above_limit() {
            // A tenant may have written our name into any number of its rows: they run one after the other like all its work.
            self.give_back(place, state, &adopted);
            adopted.clear();
        }
        if adopted.is_empty() && !state.live.contains_key(&id) {
            return;
        }
        match self.learn(state, record) {
            Ok(()) if adopted.is_empty() => {}
            Ok(()) => {
                debug!(tenant = place.place.name, execution = %id, tasks = adopted.len(), "adopted tasks whose claim was not learned of");
                starts.extend(adopted);
            }
            Err(reason) => {
                self.drop_held(place, state, id, |_, _| true);
                self.abandon(Arc::clone(place), state, id, reason);
            }
        }
    }

    /// Takes an execution that was read into memory.
    fn learn(&self, state: &mut PlaceState, record: &ExecutionRecord) -> Result<(), String> {
        let id = record.header.id;
        if state.workflows.version(&record.header.workflow).is_some()
            && state.runnable(&record.header.workflow).is_none()
        {
            return Err(for_the_operator(&record.header.workflow.name));
        }
        let workflow: Arc<Workflow> =
            state.workflows.version(&record.header.workflow).cloned().ok_or_else(|| {
                format!(
                    "this process does not have version {} of its workflow",
                    record.header.workflow.fingerprint
                )
            })?;
        let read =
            Live::loaded(record, workflow).map_err(|error| match std::error::Error::source(&error) {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            })?;
        match state.live.get_mut(&id) {
            Some(live) if !live.runs(&record.header.workflow) => {
                return Err(format!("its tasks are those of workflow `{}` as well", live.workflow.name()));
            }
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
            let mut loaded = Loaded::default();
            for ids in ids.chunks(LOAD) {
                let mut wait = Duration::from_millis(10);
                loop {
                    let read = {
                        let _turn = hub.turn_in(&place).await;
                        hub.load_each(&place, ids).await
                    };
                    place.troubles.loading.note(place.whose(), &read);
                    if let Ok(more) = read {
                        loaded.records.extend(more.records);
                        loaded.unreadable.extend(more.unreadable);
                        break;
                    }
                    if !hub.pause(wait).await {
                        return;
                    }
                    wait = (wait * 2).min(Duration::from_secs(2));
                }
            }
            let applying = Applying {
                hub: &hub,
                place: Arc::clone(&place),
                incarnation: hub.incarnation(),
                now: hub.clock.database_now().unwrap_or_else(|| hub.clock.now()),
            };
            let mut state = place.state();
            let mut unusable: HashMap<ExecutionId, String> =
                ids.iter().map(|id| (*id, "its rows are gone".to_owned())).collect();
            for (id, error) in loaded.unreadable {
                unusable.insert(id, error.to_string());
            }
            for record in &loaded.records {
                match hub.learn(&mut state, record) {
                    Ok(()) => drop(unusable.remove(&record.header.id)),
                    Err(reason) => drop(unusable.insert(record.header.id, reason)),
                }
            }
            // Claimed tasks have nothing left to wait for, unless somebody changed the rows by hand.
            for start in &starts {
                let Some(live) = state.live.get(&start.execution) else { continue };
                if !live.has(start.task) {
                    unusable
                        .insert(start.execution, format!("its workflow has no task number {}", start.task));
                } else if live.dependencies(start.task).is_none() {
                    unusable.insert(
                        start.execution,
                        "a task was ready before its dependencies were over".to_owned(),
                    );
                }
            }
            // A task that was stopped while its execution was read is not ours any more.
            starts.retain(|start| {
                let held = state
                    .held
                    .get(&(start.execution, start.task))
                    .is_some_and(|held| held.attempt == start.attempt);
                held && !unusable.contains_key(&start.execution)
            });
            for id in unusable.keys() {
                hub.drop_held(&place, &mut state, *id, |_, _| true);
            }
            let plans = applying.plan(&mut state, starts);
            for (id, reason) in unusable {
                hub.abandon(Arc::clone(&place), &mut state, id, reason);
            }
            drop(state);
            applying.begin(plans);
        });
    }

    /// Gives up what is held of an execution that cannot be run as it is stored, and cancels it.
    pub(super) fn drop_and_abandon(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        execution: ExecutionId,
        reason: String,
    ) {
        let mut state = place.state();
        self.drop_held(place, &mut state, execution, |_, _| true);
        self.abandon(Arc::clone(place), &mut state, execution, reason);
    }

    /// Cancels an execution that cannot be run as it is stored.
    fn abandon(
        self: &Arc<Self>,
        place: Arc<OpenPlace>,
        state: &mut PlaceState,
        execution: ExecutionId,
        reason: String,
    ) {
        state.live.remove(&execution);
        if state.given_up.len() >= GIVEN_UP {
            state.given_up.clear();
        }
        if !state.given_up.insert(execution) {
            // It is being cancelled, or was.
            return;
        }
        let hub = Arc::clone(self);
        self.spawn(async move {
            error!(tenant = place.place.name, %execution, reason, "this execution cannot be run and is cancelled");
            let control = Control::Cancel { reason: format!("cannot be run: {reason}") };
            let mut wait = ABANDON.0;
            loop {
                let now = hub.clock.database_now();
                let cancelled = {
                    let _turn = hub.turn_in(&place).await;
                    hub.store.execution_control(&place.place, execution, control.clone(), now).await
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
                if !hub.pause(wait).await {
                    return;
                }
                wait = (wait * 2).min(ABANDON.1);
            }
            hub.request_audit(Audit::Execution(place, execution));
        });
    }

    /// Gives tasks back that run under our name in the database and were not claimed here.
    fn give_back(&self, place: &Arc<OpenPlace>, state: &mut PlaceState, starts: &[Start]) {
        let Some(incarnation) = self.incarnation() else { return };
        for start in starts {
            let outcome = Outcome {
                execution: start.execution,
                task: start.task,
                attempt: start.attempt,
                outcome: TaskOutcome::Released,
                successors: Vec::new(),
                handles: Vec::new(),
            };
            // Held until that is written, so that it is not found again.
            let held = Held { attempt: start.attempt, stop: Arc::default() };
            state.held.insert((start.execution, start.task), held);
            self.send(Transition::Ending(Box::new(Ending {
                place: Arc::clone(place),
                incarnation: Arc::clone(&incarnation),
                outcome: Arc::new(outcome),
                patch: None,
                permits: Vec::new(),
                refused: false,
            })));
        }
    }

    /// Finds out what became of a new execution that a flush did not record, or that an earlier try may have recorded.
    pub(super) fn resolve(self: &Arc<Self>, place: Arc<OpenPlace>, submit: Submit, counted: bool) {
        let hub = Arc::clone(self);
        self.spawn(async move {
            let Submit { execution, reply, admitted, .. } = submit;
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
            if id == execution.id {
                if !counted {
                    count_submitted();
                }
                if let Some(admitted) = admitted {
                    admitted.recorded();
                }
            }
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
            Some(found) => Ok(same(tenant, execution, found)),
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
