//! A handle on the engine, for one tenant.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::audit::{audit_list, audit_verify};
use crate::config::RunnerConfig;
use crate::context::{Context, payload_of};
use crate::cursor::Cursor;
use crate::error::{Error, ErrorKind};
use crate::execution::{AttemptRecord, ExecutionDetails, ExecutionResult, ExecutionStatus};
use crate::hub::{
    Ended, HandleNumber, Hub, OpenPlace, Room, Roots, Submit, SubmitReply, Submitter, details_of, infos,
    result_of, summary_of, waiting,
};
use crate::id::ExecutionId;
use crate::keys::Keys;
use crate::meters::count_signal;
use crate::metrics::TenantMetrics;
use crate::rerun::{self, Rerun, Reruns};
use crate::signal::{ByKey, Carrier, Signal, SignalReceipt, Waiting};
use crate::store::{
    Actor, AuditOf, AuditRecord, AuditVerdict, Control, Controlled, ExecutionFilter, ExecutionList,
    ExecutionRecord, Finding, NEVER, NewAudit, NewSignal, Payload, Place, PlaceName, SignalSent,
    SignalTarget, TenantStatus, WaitFilter, WorkflowKey,
};
use crate::submission::{Described, Destination, Input, Submission, Submissions};
use crate::workflow::{Fingerprint, Workflow, WorkflowDescription, WorkflowInfo};

/// The most executions that a listing without a limit returns.
const LIST_LIMIT: usize = 10_000;

/// How many executions are recorded in one commit where many are submitted, and how many bytes of input.
const CHUNK: usize = 1_000;
const CHUNK_BYTES: usize = 4 << 20;

/// How many such commits are under way at once.
const CHUNKS: usize = 2;

/// A handle on the engine, for one tenant. Clones share it.
///
/// Every method runs to its end in the background once its future was polled, also if that is dropped:
/// dropping the future of [`execute`](Self::execute) does not cancel the execution, it only stops waiting for
/// it.
///
/// What a `Runner` of the crate `cloacina` is made of: use that one.
#[derive(Clone, Debug)]
pub struct PlaceRunner {
    handle: Arc<Handle>,
    acting: Option<Acting>,
}

/// For whom a handle acts.
#[derive(Clone, Debug)]
struct Acting {
    actor: Arc<Actor>,
    /// Whether what it does is noted; not if it is a part of something that is.
    is_noted: bool,
}

#[derive(Debug)]
struct Handle {
    hub: Arc<Hub>,
    place: Arc<OpenPlace>,
    /// None if it keeps nothing open.
    number: Option<HandleNumber>,
    settings: Arc<RunnerConfig>,
    shut: AtomicBool,
    /// Whether the shutdown has come to its end.
    ended: watch::Sender<bool>,
}

/// Tells whoever waits for a shutdown that it is over, however it ended.
struct Closing(Arc<Handle>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.ended.send_replace(true);
    }
}

impl PlaceRunner {
    /// Opens a tenant's place on a hub, with these workflows besides those of the configuration.
    ///
    /// Tasks run on the Tokio runtime of the caller. `None` if the hub has closed since it was looked up: the
    /// last runner on it was shut down.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] and [`ErrorKind::Workflow`] for what is wrong with the configuration or a
    /// workflow, [`ErrorKind::Place`] and [`ErrorKind::Unavailable`] for what is wrong with the database.
    pub async fn open(
        hub: Arc<Hub>,
        place: PlaceName,
        settings: RunnerConfig,
        mut workflows: Vec<Workflow>,
    ) -> Result<Option<Self>, Error> {
        settings.validate()?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
            Error::new(ErrorKind::Configuration, "a runner has to be opened within a Tokio runtime")
                .with_source(error)
        })?;
        workflows.extend(settings.workflows.iter().cloned());
        let settings = Arc::new(settings);
        let store = Arc::clone(hub.store());
        let place = match hub.ask(async move { store.place_open(&place).await }).await {
            // Whoever shut the last runner down closed the store under us.
            Err(_) if hub.is_closed() => return Ok(None),
            place => place?,
        };
        if !settings.submit_only {
            // Tasks of a runner that serves every tenant run for whom it has nothing of its own, too.
            let tenant = (!settings.serve_all_tenants).then_some(place.name.as_str());
            let given = workflows.into_iter().map(|workflow| workflow.given(&settings.state, tenant));
            workflows = given.collect::<Result<_, _>>()?;
        }
        let Some((place, number)) = hub.open(place, Arc::clone(&settings), workflows, runtime).await? else {
            return Ok(None);
        };
        let (shut, ended) = (AtomicBool::new(false), watch::Sender::new(false));
        let handle = Arc::new(Handle { hub, place, number: Some(number), settings, shut, ended });
        Ok(Some(Self { handle, acting: None }))
    }

    /// A handle for a task that runs in this place. It keeps nothing open, and notes nothing in the audit.
    pub(crate) fn within(hub: Arc<Hub>, place: Arc<OpenPlace>, actor: Option<Actor>) -> Self {
        let settings = Arc::clone(&place.state().handles.settings);
        let (shut, ended) = (AtomicBool::new(false), watch::Sender::new(false));
        let handle = Arc::new(Handle { hub, place, number: None, settings, shut, ended });
        let acting = actor.map(|actor| Acting { actor: Arc::new(actor.trimmed()), is_noted: false });
        Self { handle, acting }
    }

    /// Who it acts for.
    pub(crate) fn actor(&self) -> Option<&Actor> {
        self.acting.as_ref().map(|acting| &*acting.actor)
    }

    /// Records an execution of a workflow of the engine's own, however many the tenant has.
    pub(crate) async fn submit_own(&self, described: Described) -> Result<Execution, Error> {
        self.check_open()?;
        let described =
            Described { by_engine: true, by_name: true, submitted_by: self.submitted_by(), ..described };
        let Handle { hub, place, settings, .. } = &*self.handle;
        let (reply, on_its_way) = OnItsWay::new(self);
        let (submit, _) = hub.check(described, place, settings, Roots::Claimed, reply)?;
        let id = submit.execution.id;
        if !submit.execution.is_expanded() {
            hub.look_for_name(place, &submit.execution.workflow.name);
        }
        hub.admit(Box::new(submit), Room::ENDLESS);
        on_its_way.of(id).recorded().await
    }

    /// The tenant's name: as the operator calls it, else its schema on PostgreSQL, or the name of its SQLite
    /// file without the extension.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.handle.place.place.name
    }

    /// The same runner, acting for somebody: what it does to executions, schedules and keys is noted in the
    /// audit with it, and what it submits says by whom.
    #[must_use]
    pub fn acting(&self, actor: Actor) -> Self {
        let acting = Acting { actor: Arc::new(actor.trimmed()), is_noted: true };
        Self { handle: Arc::clone(&self.handle), acting: Some(acting) }
    }

    /// What is noted of an action, if somebody acts.
    pub(crate) fn audit(&self, action: &'static str, object: &dyn std::fmt::Display) -> Option<NewAudit> {
        let acting = self.acting.as_ref().filter(|acting| acting.is_noted)?;
        let (actor, object) = (Arc::clone(&acting.actor), Some(object.to_string()));
        Some(NewAudit { actor, action, object, detail: None })
    }

    /// Who submits what it submits.
    fn submitted_by(&self) -> Option<Arc<str>> {
        self.acting.as_ref().map(|acting| acting.actor.name.as_str().into())
    }

    /// Notes an action of many parts; the handle does these, without noting them.
    pub(crate) async fn noting(mut self, action: &'static str, detail: String) -> Result<Self, Error> {
        let audit =
            self.audit(action, &"").map(|audit| NewAudit { object: None, ..audit.with_detail(detail) });
        if let Some(audit) = audit {
            self.check_open()?;
            let ((store, place), now) = (self.store(), self.handle.hub.clock().database_now());
            self.handle.hub.ask(async move { store.audit_note(&place, &audit, now).await }).await?;
        }
        if let Some(acting) = &mut self.acting {
            acting.is_noted = false;
        }
        Ok(self)
    }

    /// Rows of the audit about this place and what is done in it, the newest first: at most `limit`, all
    /// before `before`, the number of the last one of the page before.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn audit_list(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRecord>, Error> {
        self.check_open()?;
        let (store, place) = self.store();
        let runtime = store.runtime();
        audit_list(store, &runtime, AuditOf::Tenant(place.tenant), before, limit).await
    }

    /// Whether the audit about this place is as it was written.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] for a tenant's own login; what is wrong with the database.
    pub async fn audit_verify(&self) -> Result<AuditVerdict, Error> {
        self.check_open()?;
        let (store, place) = self.store();
        let runtime = store.runtime();
        audit_verify(store, &runtime, AuditOf::Tenant(place.tenant)).await
    }

    /// The tenant's place.
    #[doc(hidden)]
    #[must_use]
    pub fn place_itself(&self) -> &Arc<Place> {
        &self.handle.place.place
    }

    /// What runs it.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.handle.hub
    }

    /// What submits executions of the tenant, in its transactions.
    #[doc(hidden)]
    #[must_use]
    pub fn submitter(&self) -> Submitter {
        let Handle { hub, place, settings, .. } = &*self.handle;
        Submitter::new(Arc::clone(hub), Arc::clone(place), Some(Arc::clone(settings)))
    }

    /// Runs a workflow and waits for its end.
    ///
    /// # Errors
    ///
    /// An execution that failed or was cancelled is `Ok`, with that status. An error means that the engine
    /// could not record the execution ([`ErrorKind::Workflow`], [`ErrorKind::Context`],
    /// [`ErrorKind::Unavailable`], [`ErrorKind::Place`]) or could not learn how it ended
    /// ([`ErrorKind::ShutDown`]).
    pub async fn execute(&self, workflow: &str, context: Context) -> Result<ExecutionResult, Error> {
        let (sender, receiver) = oneshot::channel();
        let (_, described) = self.submit(workflow).input(context).into_parts();
        let execution = self.send(described, SubmitReply::Finished(sender))?;
        waiting(execution, receiver).await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Records an execution and returns a handle on it at once.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute), as far as recording goes.
    pub async fn execute_async(&self, workflow: &str, context: Context) -> Result<Execution, Error> {
        self.submit(workflow).input(context).send().await
    }

    /// Starts to describe an execution: its input, and what else can be said about it.
    pub fn submit(&self, workflow: impl Into<String>) -> Submission<Self> {
        Submission::new(self.clone(), workflow)
    }

    /// Starts to describe many executions of one workflow, which are recorded a thousand at a time.
    pub fn submit_many<Inputs>(
        &self,
        workflow: impl Into<String>,
        inputs: Inputs,
    ) -> Submissions<Self, Inputs::IntoIter>
    where
        Inputs: IntoIterator<Item: Into<Input>>,
    {
        Submissions::new(self.clone(), workflow, inputs.into_iter())
    }

    /// A handle on an execution of this tenant. Whether there is one is found out when it is used.
    #[must_use]
    pub fn execution(&self, id: Uuid) -> Execution {
        Execution { execution_id: id, runner: self.clone(), end: Arc::default() }
    }

    /// The execution of a workflow that was submitted under an idempotency key, to send it a signal.
    #[must_use]
    pub fn by_key(&self, workflow: &str, key: &str) -> ByKey<Self> {
        ByKey::new(self.clone(), workflow, key)
    }

    /// What the executions of this tenant wait for, in the order of executions: at most `limit`, all after
    /// `after`, the [cursor](Waiting::cursor) of the last one of the page before.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn waits(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Waiting>, Error> {
        self.list_waits(WaitFilter { after: after.map(Waiting::after), limit, ..WaitFilter::default() }).await
    }

    /// What is asked of humans: those of [`waits`](Self::waits) that [ask](crate::workflow::Ask).
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn inbox(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Waiting>, Error> {
        let after = after.map(Waiting::after);
        self.list_waits(WaitFilter { asking: true, after, limit, ..WaitFilter::default() }).await
    }

    async fn list_waits(&self, mut filter: WaitFilter) -> Result<Vec<Waiting>, Error> {
        self.check_open()?;
        filter.limit = filter.limit.min(LIST_LIMIT);
        let (store, place) = self.store();
        let open = self.handle.hub.ask(async move { store.wait_list(&place, &filter).await }).await?;
        Ok(open.into_iter().map(Waiting::from).collect())
    }

    /// The state of an execution.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if this tenant has no such execution.
    pub async fn get_execution_status(&self, id: Uuid) -> Result<ExecutionStatus, Error> {
        self.check_open()?;
        let ids = [ExecutionId(id)];
        let (store, place) = self.store();
        let headers = self.handle.hub.ask(async move { store.execution_headers(&place, &ids).await }).await?;
        headers.first().map(|header| header.status).ok_or_else(|| self.not_found(id))
    }

    /// For each of these executions, a thousand at most, a number that changes whenever its state, one of its
    /// tasks or a counter of its children does: to look at many at once for what is new. Those that are not
    /// there are left out.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn pulse(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, u64)>, Error> {
        self.check_open()?;
        let ids: Vec<ExecutionId> = ids.iter().take(crate::store::MANY).copied().map(ExecutionId).collect();
        let (store, place) = self.store();
        let pulses = self.handle.hub.ask(async move { store.execution_pulse(&place, &ids).await }).await?;
        Ok(pulses.into_iter().map(|(id, pulse)| (id.into(), pulse.0)).collect())
    }

    /// An execution as it is now, with its tasks and the context as far as it is known.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if this tenant has no such execution.
    pub async fn get_execution(&self, id: Uuid) -> Result<ExecutionResult, Error> {
        self.check_open()?;
        let record = self.load(id).await?;
        let workflows = Arc::clone(&self.handle.place.state().handles.workflows);
        result_of(&record, workflows.version(&record.header.workflow).map(Arc::as_ref))
    }

    /// The newest 10,000 executions, newest first. Their contexts are not merged and their tasks not read;
    /// ask [`get_execution`](Self::get_execution) for one.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn list_executions(&self) -> Result<Vec<ExecutionResult>, Error> {
        self.list(ExecutionFilter::all(), None, LIST_LIMIT).await
    }

    /// A page of executions, newest first: at most `limit`, all older than `before`, which is the last one of
    /// the page before. With [`since`](ExecutionFilter::since) a page that has fewer is the last one.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn list(
        &self,
        filter: ExecutionFilter,
        before: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<ExecutionResult>, Error> {
        self.check_open()?;
        let since = filter.since;
        let list = ExecutionList { filter, before: before.map(ExecutionId), limit: limit.min(LIST_LIMIT) };
        let (store, place) = self.store();
        let mut headers =
            self.handle.hub.ask(async move { store.execution_list(&place, &list).await }).await?;
        if let Some(since) = since {
            headers.retain(|header| header.created_at >= since);
        }
        Ok(headers.iter().map(summary_of).collect())
    }

    /// What the operator decided about this tenant: whether it may work, and what it may use.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn tenant_status(&self) -> Result<TenantStatus, Error> {
        self.check_open()?;
        let (store, place) = self.store();
        Ok(self.handle.hub.ask(async move { store.tenant_status(&place).await }).await?)
    }

    /// What is wrong with the place, as far as its database tells. Changes nothing.
    ///
    /// # Errors
    ///
    /// What keeps the place from being looked at.
    pub async fn examine(&self) -> Result<Vec<Finding>, Error> {
        self.check_open()?;
        let (store, place) = self.store();
        Ok(self.handle.hub.ask(async move { store.place_examine(&place).await }).await?)
    }

    /// What time it is for what is shown of this tenant: the time of this process, or of the clock that a
    /// test moves.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.handle.hub.now()
    }

    /// The keys that are kept beside this place, in its file or its database.
    #[must_use]
    pub fn keys(&self) -> Keys {
        let (store, runner) = (Arc::clone(self.handle.hub.store()), self.clone());
        let (runtime, clock) = (store.runtime(), Arc::clone(self.handle.hub.clock()));
        let actor = self.acting.as_ref().map(|acting| Arc::clone(&acting.actor));
        Keys::new(store, runtime, clock, actor, move || runner.check_open())
    }

    /// The versions of workflows that can run here and that some process had, by name, the newest of each
    /// first: at most 10,000. Those that a map makes of one task are left out.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn workflows(&self) -> Result<Vec<WorkflowInfo>, Error> {
        self.check_open()?;
        let (store, place) = self.store();
        let tenant = place.tenant;
        let asked = async move { Ok((store.workflow_list(&place).await?, store.runner_list().await?)) };
        let (known, runners) = self.handle.hub.ask(asked).await?;
        let here = Arc::clone(&self.handle.place.state().handles.workflows);
        Ok(infos(known, &here, &runners, tenant))
    }

    /// What the workflow of an execution looks like.
    async fn graph(&self, id: Uuid) -> Result<Option<WorkflowDescription>, Error> {
        self.check_open()?;
        let (store, place) = self.store();
        let ids = [ExecutionId(id)];
        let headers = self.handle.hub.ask(async move { store.execution_headers(&place, &ids).await }).await?;
        let key = headers.into_iter().next().ok_or_else(|| self.not_found(id))?.workflow;
        self.describe(key).await
    }

    /// What a version of a workflow looks like: from the code if this process has it, else as a process that
    /// had it described it.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn workflow(
        &self,
        name: &str,
        fingerprint: Fingerprint,
    ) -> Result<Option<WorkflowDescription>, Error> {
        self.check_open()?;
        self.describe(WorkflowKey { name: name.into(), fingerprint }).await
    }

    async fn describe(&self, key: WorkflowKey) -> Result<Option<WorkflowDescription>, Error> {
        let here = self.handle.place.state().handles.workflows.version(&key).cloned();
        if let Some(workflow) = here {
            return Ok(Some(workflow.describe()));
        }
        let (store, place) = self.store();
        let asked = key.clone();
        let kept = async move { store.workflow_description(&place, &asked).await };
        let kept = self.handle.hub.ask(kept).await?;
        Ok(kept.and_then(|json| WorkflowDescription::from_json(&json, &key.name)))
    }

    /// How this tenant does, in numbers. It counts rows, so it is for a look now and then.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Place`] and [`ErrorKind::Unavailable`] for what is wrong with the database.
    pub async fn metrics(&self) -> Result<TenantMetrics, Error> {
        let (store, place) = self.store();
        let now = self.handle.hub.clock().database_now();
        let ended = ExecutionFilter::all().status(ExecutionStatus::Completed).status(ExecutionStatus::Failed);
        let list = ExecutionList { filter: ended, before: None, limit: 1_000 };
        let asked = async move {
            let figures = store.place_figures(&place, now).await?;
            Ok((figures, store.execution_list(&place, &list).await?))
        };
        let (figures, latest) = self.handle.hub.ask(asked).await?;
        Ok(TenantMetrics::new(figures, &latest))
    }

    /// Whether nothing of this tenant is under way in this process, and nobody but the caller has this
    /// runner: it could be shut down without anybody noticing.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        Arc::strong_count(&self.handle) == 1 && self.handle.place.is_unused()
    }

    /// Whether it was shut down.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.handle.shut.load(Ordering::Acquire) || self.handle.hub.is_closed()
    }

    /// Stops this runner: nothing more is claimed, running tasks may finish for
    /// [`shutdown_timeout`](RunnerConfig::shutdown_timeout), the rest is given back; returns when
    /// everything is written.
    ///
    /// Clones share one runner, so this ends it for all of them; later calls give [`ErrorKind::ShutDown`]. A
    /// second shutdown waits for the first, and is Ok. Other runners that were opened on the same place go
    /// on, and with them the tasks.
    ///
    /// # Errors
    ///
    /// None at present.
    pub async fn shutdown(&self) -> Result<(), Error> {
        if !self.handle.shut.swap(true, Ordering::AcqRel) {
            let ending = Closing(Arc::clone(&self.handle));
            let close = |number| self.handle.hub.close(&self.handle.place, number, false);
            let closing = self.handle.number.map(close);
            // To the end, even if the caller's future is dropped.
            self.handle.hub.store().runtime().spawn(async move {
                if let Some(closing) = closing {
                    closing.await;
                }
                drop(ending);
            });
        }
        // The sender is ours, so there is an answer.
        drop(self.handle.ended.subscribe().wait_for(|ended| *ended).await);
        Ok(())
    }

    pub(crate) fn settings(&self) -> &RunnerConfig {
        &self.handle.settings
    }

    /// The hub, unless this runner was shut down.
    pub(crate) fn open_hub(&self) -> Result<&Arc<Hub>, Error> {
        self.check_open()?;
        Ok(&self.handle.hub)
    }

    pub(crate) fn open_place(&self) -> &Arc<OpenPlace> {
        &self.handle.place
    }

    fn store(&self) -> (Arc<dyn crate::store::Store>, Arc<crate::store::Place>) {
        (Arc::clone(self.handle.hub.store()), Arc::clone(&self.handle.place.place))
    }

    async fn load(&self, id: Uuid) -> Result<ExecutionRecord, Error> {
        let ids = [ExecutionId(id)];
        let (store, place) = self.store();
        let records = self.handle.hub.ask(async move { store.execution_load(&place, &ids).await }).await?;
        records.into_iter().next().ok_or_else(|| self.not_found(id))
    }

    async fn control(&self, id: Uuid, control: Control) -> Result<Controlled, Error> {
        self.check_open()?;
        self.handle.place.state().check_active()?;
        let hub = &self.handle.hub;
        let (store, place) = self.store();
        let now = hub.clock().database_now();
        let resumes = control == Control::Resume;
        let audit = match control {
            Control::Cancel { .. } => self.audit("cancel", &id),
            Control::Pause | Control::Orphan => self.audit("pause", &id),
            Control::Resume => self.audit("resume", &id),
        };
        let done = hub
            .ask(async move {
                store.execution_control(&place, ExecutionId(id), control, audit.as_ref(), now).await
            })
            .await?;
        if done == Controlled::NotFound {
            return Err(self.not_found(id));
        }
        hub.controlled(&self.handle.place, ExecutionId(id), resumes, done);
        Ok(done)
    }

    fn send(&self, mut described: Described, reply: SubmitReply) -> Result<ExecutionId, Error> {
        self.check_open()?;
        described.submitted_by = self.submitted_by();
        let Handle { hub, place, settings, .. } = &*self.handle;
        let (submit, room) = hub.check(described, place, settings, Roots::Claimed, reply)?;
        let id = submit.execution.id;
        if !submit.execution.is_expanded() {
            hub.look_for_name(place, &submit.execution.workflow.name);
        }
        hub.admit(Box::new(submit), room);
        Ok(id)
    }

    pub(crate) async fn sleep(&self, time: Duration) -> Result<(), Error> {
        self.check_open()?;
        self.handle.hub.sleep(time).await;
        Ok(())
    }

    /// Reruns executions, with a few commits for all of them. Those that can be come first.
    pub(crate) async fn rerun_all(
        &self,
        ids: &[ExecutionId],
        from: rerun::From<'_>,
    ) -> Vec<(ExecutionId, Result<Execution, Error>)> {
        let (store, place) = self.store();
        let all = ids.to_vec();
        let loaded = self
            .handle
            .hub
            .ask(async move { store.execution_load(&place, &all).await })
            .await
            .map_err(Error::from);
        let Ok(records) = loaded else {
            // Together they are too large, or one of them cannot be read.
            let mut results = Vec::with_capacity(ids.len());
            for id in ids {
                results.push((*id, Reruns::rerun(self.clone(), *id, from, None).await));
            }
            return results;
        };
        let Handle { hub, place, settings, .. } = &*self.handle;
        let (mut chunk, mut bytes, mut under_way) = (Chunk::default(), 0, Vec::new());
        let mut of = Vec::with_capacity(ids.len());
        for record in &records {
            let (reply, on_its_way) = OnItsWay::new(self);
            let prepared = match hub.prepare_rerun(record, from, None, place, settings, reply) {
                Ok((submit, limit)) => hub.admitted(self.signed(submit), limit).await,
                Err(error) => Err(error),
            };
            of.push(record.header.id);
            chunk.add(prepared, on_its_way);
            bytes += record.context_bytes();
            if bytes >= CHUNK_BYTES {
                under_way.push(std::mem::take(&mut chunk).record(hub, place));
                bytes = 0;
            }
        }
        under_way.push(chunk.record(hub, place));
        let mut results = Vec::with_capacity(ids.len());
        for replies in under_way {
            answered(Some(replies), &mut results).await;
        }
        let gone =
            ids.iter().filter(|id| !of.contains(id)).map(|id| (*id, Err(self.not_found((*id).into()))));
        let gone: Vec<_> = gone.collect();
        of.into_iter().zip(results).chain(gone).collect()
    }

    /// A rerun, with who does it.
    fn signed(&self, mut submit: Submit) -> Submit {
        let by = self.submitted_by();
        if let Some(new) = Arc::get_mut(&mut submit.execution).filter(|_| by.is_some()) {
            new.submitted_by = by;
            let id = new.id;
            if let Some(rerun) = &mut new.rerun {
                let audit = self.audit("rerun", &rerun.of);
                let detail = format!(r#"{{"rerun":"{id}"}}"#);
                rerun.audit = audit.map(|audit| Box::new(audit.with_detail(detail)));
            }
        }
        submit
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.handle.shut.load(Ordering::Acquire) { Err(self.gone()) } else { Ok(()) }
    }

    fn gone(&self) -> Error {
        // Whoever was not shut down and is not answered has to do with a hub that failed.
        if !self.handle.shut.load(Ordering::Acquire) {
            return self.handle.hub.failure();
        }
        let message = format!("the runner of tenant `{}` was shut down", self.place());
        Error::new(ErrorKind::ShutDown, message)
    }

    fn not_found(&self, id: Uuid) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!("there is no execution {id} in the place of tenant `{}`", self.place()),
        )
    }
}

impl Destination for PlaceRunner {
    type Recorded = Execution;

    async fn record(self, described: Described) -> Result<Execution, Error> {
        let (reply, on_its_way) = OnItsWay::new(&self);
        let execution = self.send(described, reply)?;
        on_its_way.of(execution).recorded().await
    }

    async fn record_many(
        self,
        mut described: Described,
        inputs: impl Iterator<Item = Input> + Send,
    ) -> Result<Vec<Result<Execution, Error>>, Error> {
        self.check_open()?;
        described.submitted_by = self.submitted_by();
        let Handle { hub, place, settings, .. } = &*self.handle;
        hub.check_workflow(place, &described)?;
        let mut results = Vec::with_capacity(inputs.size_hint().0);
        let (mut under_way, mut chunk, mut bytes) = (VecDeque::new(), Chunk::default(), 0);
        let mut looked = false;
        for input in inputs {
            let (reply, on_its_way) = OnItsWay::new(&self);
            let checked = hub.check(described.one(input), place, settings, Roots::Left, reply);
            let admitted = match checked {
                Ok((submit, limit)) => hub.admitted(submit, limit).await,
                Err(error) => Err(error),
            };
            if let Ok(submit) = &admitted {
                if !std::mem::replace(&mut looked, true) && !submit.execution.is_expanded() {
                    hub.look_for_name(place, &submit.execution.workflow.name);
                }
                bytes += submit.execution.input.len();
            }
            chunk.add(admitted, on_its_way);
            if chunk.replies.len() >= CHUNK || bytes >= CHUNK_BYTES {
                // While one is written the next is made.
                if under_way.len() >= CHUNKS {
                    answered(under_way.pop_front(), &mut results).await;
                }
                under_way.push_back(std::mem::take(&mut chunk).record(hub, place));
                bytes = 0;
            }
        }
        under_way.push_back(chunk.record(hub, place));
        for replies in under_way {
            answered(Some(replies), &mut results).await;
        }
        Ok(results)
    }
}

/// What was asked for of one of many, or why it was not.
type Replies = Vec<Result<OnItsWay, Error>>;

/// Executions that are recorded in one commit.
#[derive(Default)]
struct Chunk {
    submits: Vec<Submit>,
    replies: Replies,
}

impl Chunk {
    fn add(&mut self, admitted: Result<Submit, Error>, on_its_way: OnItsWay) {
        self.replies.push(admitted.map(|submit| {
            let on_its_way = on_its_way.of(submit.execution.id);
            self.submits.push(submit);
            on_its_way
        }));
    }

    fn record(self, hub: &Arc<Hub>, place: &Arc<OpenPlace>) -> Replies {
        if !self.submits.is_empty() {
            hub.record(Arc::clone(place), self.submits);
        }
        self.replies
    }
}

async fn answered(replies: Option<Replies>, results: &mut Vec<Result<Execution, Error>>) {
    for reply in replies.into_iter().flatten() {
        results.push(match reply {
            Ok(on_its_way) => on_its_way.recorded().await,
            Err(error) => Err(error),
        });
    }
}

/// Waits for the end of executions, wherever they run, and returns what came of each, in their order.
///
/// # Errors
///
/// In the place of each, as [`Execution::wait_for_completion`].
pub async fn join_all(
    executions: impl IntoIterator<Item = &Execution>,
) -> Vec<Result<ExecutionResult, Error>> {
    let waiting = executions.into_iter().map(Execution::wait_for_completion);
    futures_util::future::join_all(waiting).await
}

impl Reruns for PlaceRunner {
    type Rerun = Execution;

    async fn rerun(
        self,
        of: ExecutionId,
        from: rerun::From<'_>,
        input: Option<Context>,
    ) -> Result<Execution, Error> {
        self.check_open()?;
        let record = self.load(of.into()).await?;
        let Handle { hub, place, settings, .. } = &*self.handle;
        let (reply, on_its_way) = OnItsWay::new(&self);
        let (submit, limit) = hub.prepare_rerun(&record, from, input, place, settings, reply)?;
        let on_its_way = on_its_way.of(submit.execution.id);
        let submit = hub.admitted(self.signed(submit), limit).await?;
        hub.record(Arc::clone(place), vec![submit]);
        on_its_way.recorded().await
    }
}

/// A new execution on its way to the database.
struct OnItsWay {
    // Dropped before the end: so none is kept for a handle that nobody has.
    receiver: oneshot::Receiver<Result<ExecutionId, Error>>,
    end: RememberedEnd,
    runner: PlaceRunner,
}

impl OnItsWay {
    fn new(runner: &PlaceRunner) -> (SubmitReply, Self) {
        let (sender, receiver) = oneshot::channel();
        let ended = Arc::default();
        let reply = SubmitReply::Recorded(sender, Arc::clone(&ended));
        (reply, Self { receiver, end: RememberedEnd { ended, of: None }, runner: runner.clone() })
    }

    fn of(mut self, execution: ExecutionId) -> Self {
        self.end.of = Some((Arc::clone(&self.runner.handle.place), execution));
        self
    }

    /// A handle on it, once it is recorded.
    async fn recorded(mut self) -> Result<Execution, Error> {
        let id = (&mut self.receiver).await.unwrap_or_else(|_| Err(self.runner.gone()))?;
        let Self { end, runner, .. } = self;
        Ok(Execution { execution_id: id.into(), runner, end: Arc::new(end) })
    }
}

impl Carrier for PlaceRunner {
    type Receipt = SignalReceipt;

    fn payload(&self, name: &str, value: impl Serialize) -> Result<Payload, Error> {
        Ok(payload_of(name, value, self.handle.settings.max_patch_bytes)?)
    }

    fn tenant(&self) -> &str {
        self.place()
    }

    async fn carry(self, mut signal: NewSignal, starts: Option<Context>) -> Result<SignalReceipt, Error> {
        self.check_open()?;
        self.handle.place.state().check_takes_signals()?;
        let Handle { hub, place: open, .. } = &*self.handle;
        let mut refused = None;
        if let Some(input) = starts {
            // It may be there; then it takes the signal whatever a new one could not do.
            match hub.signal_start(open, self.settings(), &signal.target, input).await {
                Ok(start) => signal.starts = start,
                Err(error) if matches!(error.kind(), ErrorKind::Limit | ErrorKind::Suspended) => {
                    refused = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        let detail = || format!(r#"{{"signal":{}}}"#, Value::from(&*signal.name));
        // The store says to which execution.
        let audit = self.audit("signal", &"").map(|audit| Box::new(audit.with_detail(detail())));
        signal.audit = audit;
        let (store, place) = self.store();
        let now = hub.clock().database_now();
        let (target, name) = (signal.target.clone(), Arc::clone(&signal.name));
        let sent = hub.ask(async move { store.signal_send(&place, &signal, now).await }).await?;
        count_signal(&sent);
        match (sent, &target, refused) {
            (SignalSent::NotFound, _, Some(refused)) => return Err(refused),
            (SignalSent::Delivered(_), ..) => hub.look_for_waits(open),
            (SignalSent::Started(_), SignalTarget::Key { workflow, .. }, _) => hub.started(open, workflow),
            _ => {}
        }
        SignalReceipt::of(sent, &target, &name, self.place())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(number) = self.number.filter(|_| !*self.shut.get_mut()) {
            // The last clone is gone: what runs is given back, in the background.
            self.hub.store().runtime().spawn(self.hub.close(&self.place, number, true));
        }
    }
}

/// A handle on an execution.
#[derive(Debug, Clone)]
pub struct Execution {
    /// Its id.
    pub execution_id: Uuid,
    runner: PlaceRunner,
    end: Arc<RememberedEnd>,
}

/// How an execution ended that was submitted by this handle, once this process has seen its end. It is kept
/// for as long as the handle, so that to wait later costs no more than to wait at once.
#[derive(Debug, Default)]
struct RememberedEnd {
    ended: Arc<OnceLock<Ended>>,
    of: Option<(Arc<OpenPlace>, ExecutionId)>,
}

impl Drop for RememberedEnd {
    fn drop(&mut self) {
        if let Some((place, execution)) = self.of.take().filter(|_| self.ended.get().is_none()) {
            // Nobody will ask for it.
            drop(place.state().waiters.handle_of(execution));
        }
    }
}

impl Execution {
    pub(crate) fn id(&self) -> ExecutionId {
        ExecutionId(self.execution_id)
    }

    /// Where it is, if the runner is open.
    pub(crate) fn whereabouts(&self) -> Result<(&Arc<Hub>, &Arc<OpenPlace>), Error> {
        self.runner.check_open()?;
        Ok((&self.runner.handle.hub, &self.runner.handle.place))
    }

    /// Waits until the execution is over, wherever it runs.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such execution, [`ErrorKind::ShutDown`] if the runner was shut
    /// down first.
    pub async fn wait_for_completion(&self) -> Result<ExecutionResult, Error> {
        self.runner.check_open()?;
        let Handle { hub, place, .. } = &*self.runner.handle;
        let (sender, receiver) = oneshot::channel();
        hub.wait(place, ExecutionId(self.execution_id), &self.end.ended, sender);
        if hub.is_closed() {
            // Whoever closed it may have told all who waited before we did.
            return Err(self.runner.gone());
        }
        waiting(self.id(), receiver).await.unwrap_or_else(|_| Err(self.runner.gone()))
    }

    /// As [`wait_for_completion`](Self::wait_for_completion), for at most `timeout`; `None` if it is not over
    /// by then.
    ///
    /// # Errors
    ///
    /// As [`wait_for_completion`](Self::wait_for_completion).
    pub async fn wait_for(&self, timeout: Duration) -> Result<Option<ExecutionResult>, Error> {
        tokio::select! {
            result = self.wait_for_completion() => result.map(Some),
            () = self.runner.handle.hub.sleep(timeout) => Ok(None),
        }
    }

    /// Its state.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such execution.
    pub async fn get_status(&self) -> Result<ExecutionStatus, Error> {
        self.runner.get_execution_status(self.execution_id).await
    }

    /// Cancels it: terminal at once, in the database. Tasks that run see their
    /// [cancellation](crate::execution::TaskInfo::cancellation) and are dropped after a grace period; what
    /// they changed is ignored. Cancelling a cancelled execution is Ok.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongState`] if it completed or failed before, [`ErrorKind::NotFound`].
    pub async fn cancel(&self) -> Result<(), Error> {
        let control = Control::Cancel { reason: "cancelled by request".to_owned() };
        match self.runner.control(self.execution_id, control).await? {
            Controlled::Refused(ExecutionStatus::Cancelled) => Ok(()),
            other => self.done(other, "cancelled"),
        }
    }

    /// Pauses it: no further task is claimed until it is resumed. Tasks that run go on, and what they did is
    /// recorded. Pausing a paused execution is Ok.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongState`] if it is over, [`ErrorKind::NotFound`].
    pub async fn pause(&self) -> Result<(), Error> {
        match self.runner.control(self.execution_id, Control::Pause).await? {
            Controlled::Refused(ExecutionStatus::Paused) => Ok(()),
            other => self.done(other, "paused"),
        }
    }

    /// Lets it go on. Resuming one that is not paused and not over is Ok.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongState`] if it is over, [`ErrorKind::NotFound`].
    pub async fn resume(&self) -> Result<(), Error> {
        match self.runner.control(self.execution_id, Control::Resume).await? {
            Controlled::Refused(
                ExecutionStatus::Pending | ExecutionStatus::Running | ExecutionStatus::Waiting,
            ) => Ok(()),
            other => self.done(other, "resumed"),
        }
    }

    /// What its workflow looks like: from the code if this process has it, else as a process that had it
    /// described it. `None` if nobody did, its graph is too large to be kept, or it was submitted by name and
    /// has not begun.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such execution.
    pub async fn graph(&self) -> Result<Option<WorkflowDescription>, Error> {
        self.runner.graph(self.execution_id).await
    }

    /// Every attempt of every task, with its error, in the order of tasks and attempts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such execution.
    pub async fn history(&self) -> Result<Vec<AttemptRecord>, Error> {
        self.runner.check_open()?;
        let (store, place) = self.runner.store();
        let id = ExecutionId(self.execution_id);
        let attempts =
            self.runner.handle.hub.ask(async move { store.attempt_list(&place, id).await }).await?;
        attempts.ok_or_else(|| self.runner.not_found(self.execution_id))
    }

    /// Everything that is stored of it: besides what
    /// [`get_execution`](PlaceRunner::get_execution) tells, its input and what each task changed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such execution, [`ErrorKind::Context`] if what is stored of it
    /// cannot be read.
    pub async fn details(&self) -> Result<ExecutionDetails, Error> {
        self.runner.check_open()?;
        let record = self.runner.load(self.execution_id).await?;
        let workflows = Arc::clone(&self.runner.handle.place.state().handles.workflows);
        details_of(&record, workflows.version(&record.header.workflow).map(Arc::as_ref))
    }

    /// Starts to describe a rerun of it: a new execution that takes its place, and runs it from there.
    ///
    /// ```
    /// # use cloacina_core::{Error, Execution, rerun::From};
    /// # async fn repair(execution: Execution) -> Result<(), Error> {
    /// let again = execution.rerun(From::Failed).send().await?;
    /// let result = again.wait_for_completion().await?;
    /// # drop(result); Ok(()) }
    /// ```
    pub fn rerun<'a>(&self, from: rerun::From<'a>) -> Rerun<'a, PlaceRunner> {
        Rerun::new(self.runner.clone(), ExecutionId(self.execution_id), from)
    }

    /// Starts to describe a signal to it: `payload` is what it brings, anything that has a JSON form.
    pub fn signal(&self, name: impl Into<String>, payload: impl Serialize) -> Signal<PlaceRunner> {
        let target = SignalTarget::Id(ExecutionId(self.execution_id));
        Signal::new(self.runner.clone(), target, name.into(), payload)
    }

    /// What is noted of an action on it, if somebody acts.
    pub(crate) fn audit(&self, action: &'static str) -> Option<NewAudit> {
        self.runner.audit(action, &self.execution_id)
    }

    /// What it waits for at the moment.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn waits(&self) -> Result<Vec<Waiting>, Error> {
        let of = Some(ExecutionId(self.execution_id));
        let filter = WaitFilter { execution: of, limit: LIST_LIMIT, ..WaitFilter::default() };
        self.runner.list_waits(filter).await
    }

    /// Ends the time of an open wait now: a sleep is over, and a wait for a signal goes on as if none had
    /// come in time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongState`] if no such wait is open.
    pub async fn wake(&self, wait: &str) -> Result<(), Error> {
        self.move_wait(wait, None).await
    }

    /// Says anew when the time of an open wait is over.
    ///
    /// # Errors
    ///
    /// As [`wake`](Self::wake).
    pub async fn wait_until(&self, wait: &str, until: Timestamp) -> Result<(), Error> {
        self.move_wait(wait, Some(until.clamp(Timestamp::UNIX_EPOCH, NEVER))).await
    }

    async fn move_wait(&self, wait: &str, until: Option<Timestamp>) -> Result<(), Error> {
        self.runner.check_open()?;
        self.runner.handle.place.state().check_takes_signals()?;
        let Handle { hub, place: open, .. } = &*self.runner.handle;
        let (store, place) = self.runner.store();
        let (id, name, now) = (ExecutionId(self.execution_id), wait.to_owned(), hub.clock().database_now());
        let action = if until.is_some() { "move_wait" } else { "wake" };
        let until_text = until.map_or(Value::Null, |until| until.to_string().into());
        let detail = serde_json::json!({ "wait": wait, "until": until_text });
        let audit = self.runner.audit(action, &id).map(|audit| audit.with_detail(detail));
        let moved = async move { store.wait_move(&place, id, &name, until, audit.as_ref(), now).await };
        let moved = hub.ask(moved).await?;
        if !moved {
            let message = format!(
                "execution {id} of tenant `{}` has no open wait `{}`; `waits()` tells what it waits for",
                self.runner.place(),
                wait.escape_debug()
            );
            return Err(Error::new(ErrorKind::WrongState, message));
        }
        hub.look_for_waits(open);
        Ok(())
    }

    fn done(&self, controlled: Controlled, what: &str) -> Result<(), Error> {
        match controlled {
            Controlled::Refused(status) => Err(Error::new(
                ErrorKind::WrongState,
                format!(
                    "execution {} of tenant `{}` is {status} and cannot be {what}",
                    self.execution_id,
                    self.runner.place()
                ),
            )),
            Controlled::Done(_) | Controlled::NotFound => Ok(()),
        }
    }
}
