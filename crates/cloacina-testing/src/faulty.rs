//! A store that fails when it is told to.
//!
//! [`FaultyStore`] stands around another store and asks a hook before and after every call what is to happen.
//! So a test can have a call refused before anything was written, have its answer lost after everything was,
//! hold it up, or end the process right there.
//!
//! ```text
//!   engine ──call──► Moment::Before ──► the store ──► Moment::After ──answer──► engine
//!                        │                                 │
//!                     refused: nothing is written       lost: everything is
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cloacina_core::Retention;
use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::{ExecutionId, RunnerId, SubmitterId, TenantId};
use cloacina_core::store::{
    Aged, AttemptList, AuditChain, AuditList, AuditOf, AuditRecord, AuditStore, Bells, ChildList,
    ChildRecord, ChildrenProgress, Claimed, Control, Controlled, Decide, DescribedWorkflow, DueChildren,
    DueKind, DueWaits, ExecutionHeader, ExecutionList, ExecutionRecord, Expanded, Expansion, Finding,
    FireList, FireRecord, Flush, Flushed, KeptTask, KeyId, KeyList, KeyRecord, KeyRefusal, KeyStore,
    KnownWorkflow, Liveness, NewAudit, NewExecution, NewKey, NewSignal, NextDue, NodeEnd, OldestEnds,
    OpenWait, ParentStep, Place, PlaceFigures, PlaceName, Pulse, RecordedExecutions, Repaired, RescuedPlace,
    Result, RunnerRecord, RunnerRegistration, ScheduleRecord, ScheduleSelection, SchedulesSettled, Settled,
    SettledWaits, SignalSent, Store, StoreError, StoreErrorKind, Stream, StreamPage, TenantStatus,
    WaitCursor, WaitFilter, WaitStep, WorkflowKey,
};
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::watch;

macro_rules! methods {
    ($($variant:ident = $name:literal,)*) => {
        /// A method of the store.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Method {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Method {
            /// Every method, in the order of the trait.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The method of this name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|method| method.name() == name)
            }
        }
    };
}

methods! {
    PlaceOpen = "place_open",
    PlaceOf = "place_of",
    TenantStatus = "tenant_status",
    PlaceExamine = "place_examine",
    Flush = "flush",
    ExecutionRecord = "execution_record",
    ExecutionControl = "execution_control",
    DueSettle = "due_settle",
    ScheduleSettle = "schedule_settle",
    ScheduleChange = "schedule_change",
    ScheduleList = "schedule_list",
    ScheduleFires = "schedule_fires",
    ExecutionExpand = "execution_expand",
    ExecutionExpandRerun = "execution_expand_rerun",
    WaitDue = "wait_due",
    WaitEnds = "wait_ends",
    WaitSettle = "wait_settle",
    WaitMove = "wait_move",
    WaitList = "wait_list",
    ChildrenDue = "children_due",
    ChildrenSettle = "children_settle",
    ChildrenList = "children_list",
    ChildrenProgress = "children_progress",
    ChildrenParallel = "children_parallel",
    TaskKeep = "task_keep",
    PageWrite = "page_write",
    PageRead = "page_read",
    SignalSend = "signal_send",
    ExecutionLoad = "execution_load",
    ExecutionHeaders = "execution_headers",
    ExecutionPulse = "execution_pulse",
    ExecutionFind = "execution_find",
    ExecutionList = "execution_list",
    AttemptList = "attempt_list",
    ExecutionOverdue = "execution_overdue",
    ExecutionOrphaned = "execution_orphaned",
    PlaceRepair = "place_repair",
    ExecutionCount = "execution_count",
    ExecutionWaiting = "execution_waiting",
    PlaceFigures = "place_figures",
    TaskHeld = "task_held",
    ExecutionPrune = "execution_prune",
    ExecutionOldest = "execution_oldest",
    RetentionTake = "retention_take",
    RetentionNote = "retention_note",
    BellDue = "bell_due",
    BellLower = "bell_lower",
    RunnerRegister = "runner_register",
    RunnerHeartbeat = "runner_heartbeat",
    WorkflowDescribe = "workflow_describe",
    WorkflowList = "workflow_list",
    WorkflowDescription = "workflow_description",
    AuditNote = "audit_note",
    RunnerList = "runner_list",
    RunnerCondemn = "runner_condemn",
    RunnerRescue = "runner_rescue",
    RunnerRetire = "runner_retire",
    Rest = "rest",
    Close = "close",
}

/// When the hook is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// Before anything is written.
    Before,
    /// After everything is written, before the engine learns of it. Not asked when the call failed by itself.
    After,
}

/// A call at one of its moments.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Which method.
    pub method: Method,
    /// When.
    pub moment: Moment,
    /// The number of the call, counted from 0 over all methods of this store.
    pub number: u64,
    /// The tenant that a flush writes for; `None` if there are several, and for other methods.
    pub tenant: Option<TenantId>,
    /// How many new executions a flush, or `execution_record`, has to record.
    pub submits: usize,
    /// How many outcomes a flush has to record.
    pub outcomes: usize,
    /// How many tasks the runner holds by this flush that it did not hold before: claimed with their
    /// execution, set free by a predecessor, or from the ready table. Known afterwards only.
    pub claims: usize,
}

/// What is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It goes on after this time.
    Delay(Duration),
    /// The engine is told of this error: instead of the call before it, instead of its answer after it.
    Fail(StoreErrorKind),
}

/// Decides what happens to a call.
pub type Hook = dyn Fn(&Call) -> Verdict + Send + Sync;

/// A store around another one that asks a hook before and after every call.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    hook: Box<Hook>,
    calls: AtomicU64,
    has_aside: bool,
}

impl FaultyStore {
    /// A store around this one.
    pub fn new(inner: Arc<dyn Store>, hook: impl Fn(&Call) -> Verdict + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { inner, hook: Box::new(hook), calls: AtomicU64::new(0), has_aside: false })
    }

    /// One that has as many lanes as the engine likes; the store that it stands around looks at no number.
    pub fn with_aside(
        inner: Arc<dyn Store>,
        hook: impl Fn(&Call) -> Verdict + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { inner, hook: Box::new(hook), calls: AtomicU64::new(0), has_aside: true })
    }

    fn call(&self, method: Method) -> Call {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        Call { method, moment: Moment::Before, number, tenant: None, submits: 0, outcomes: 0, claims: 0 }
    }

    async fn ask(&self, call: &Call) -> Result<()> {
        match (self.hook)(call) {
            Verdict::Pass => Ok(()),
            Verdict::Delay(delay) => {
                tokio::time::sleep(delay).await;
                Ok(())
            }
            Verdict::Fail(kind) => {
                let when = match call.moment {
                    Moment::Before => "before",
                    Moment::After => "after",
                };
                let name = call.method.name();
                Err(StoreError::new(
                    kind,
                    format!("a fault was asked for {when} `{name}` (call {})", call.number),
                ))
            }
        }
    }

    async fn through<T>(&self, method: Method, work: impl Future<Output = Result<T>>) -> Result<T> {
        let call = self.call(method);
        self.ask(&call).await?;
        let answer = work.await?;
        self.ask(&Call { moment: Moment::After, ..call }).await?;
        Ok(answer)
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner.label()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn label(&self) -> &str {
        self.inner.label()
    }

    fn runtime(&self) -> Handle {
        self.inner.runtime()
    }

    fn lanes(&self) -> usize {
        self.inner.lanes()
    }

    fn has_aside(&self) -> bool {
        self.has_aside
    }

    fn hint_others(&self) {
        self.inner.hint_others();
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.inner.hints()
    }

    fn submitter(&self) -> Option<SubmitterId> {
        self.inner.submitter()
    }

    fn ends(&self) -> watch::Receiver<u64> {
        self.inner.ends()
    }

    fn tell(&self, submitters: &[SubmitterId]) {
        self.inner.tell(submitters);
    }

    async fn place_open(&self, name: &PlaceName) -> Result<Place> {
        self.through(Method::PlaceOpen, self.inner.place_open(name)).await
    }

    async fn place_of(&self, tenant: TenantId) -> Result<Option<Place>> {
        self.through(Method::PlaceOf, self.inner.place_of(tenant)).await
    }

    async fn tenant_status(&self, place: &Place) -> Result<TenantStatus> {
        self.through(Method::TenantStatus, self.inner.tenant_status(place)).await
    }

    async fn place_examine(&self, place: &Place) -> Result<Vec<Finding>> {
        self.through(Method::PlaceExamine, self.inner.place_examine(place)).await
    }

    async fn flush(&self, lane: usize, flush: &Flush) -> Result<Flushed> {
        let tenant = match &flush.places[..] {
            [place] => Some(place.place.tenant),
            _ => None,
        };
        let call = Call {
            tenant,
            submits: flush.places.iter().map(|place| place.submits.len()).sum(),
            outcomes: flush.places.iter().map(|place| place.outcomes.len()).sum(),
            ..self.call(Method::Flush)
        };
        self.ask(&call).await?;
        let flushed = self.inner.flush(lane, flush).await?;
        let mut claims = 0;
        for (asked, done) in flush.places.iter().zip(&flushed.places) {
            claims += done.claimed.len();
            claims += done.freed.iter().filter(|freed| freed.claimed.is_some()).count();
            let recorded = asked.submits.iter().filter(|submit| done.submitted.contains(&submit.id));
            claims += recorded.map(|submit| submit.claimed.len()).sum::<usize>();
        }
        self.ask(&Call { moment: Moment::After, claims, ..call }).await?;
        Ok(flushed)
    }

    async fn execution_record(
        &self,
        place: &Place,
        submits: &[Arc<NewExecution>],
        now: Option<Timestamp>,
    ) -> Result<RecordedExecutions> {
        let call = Call { submits: submits.len(), ..self.call(Method::ExecutionRecord) };
        self.ask(&call).await?;
        let recorded = self.inner.execution_record(place, submits, now).await?;
        self.ask(&Call { moment: Moment::After, ..call }).await?;
        Ok(recorded)
    }

    async fn execution_control(
        &self,
        place: &Place,
        execution: ExecutionId,
        control: Control,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<Controlled> {
        let work = self.inner.execution_control(place, execution, control, audit, now);
        self.through(Method::ExecutionControl, work).await
    }

    async fn execution_expand(
        &self,
        places: &[(Arc<Place>, Arc<[Expansion]>)],
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<Vec<Expanded>> {
        let work = self.inner.execution_expand(places, limit, now);
        self.through(Method::ExecutionExpand, work).await
    }

    async fn execution_expand_rerun(
        &self,
        place: &Place,
        rerun: &Arc<NewExecution>,
        now: Option<Timestamp>,
    ) -> Result<bool> {
        self.through(Method::ExecutionExpandRerun, self.inner.execution_expand_rerun(place, rerun, now)).await
    }

    async fn due_settle(
        &self,
        place: &Place,
        kinds: &'static [DueKind],
        now: Option<Timestamp>,
    ) -> Result<Settled> {
        self.through(Method::DueSettle, self.inner.due_settle(place, kinds, now)).await
    }

    async fn schedule_settle(
        &self,
        places: &[(Arc<Place>, Decide)],
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<Vec<SchedulesSettled>> {
        self.through(Method::ScheduleSettle, self.inner.schedule_settle(places, limit, now)).await
    }

    async fn schedule_change(
        &self,
        place: &Place,
        selection: &ScheduleSelection,
        now: Option<Timestamp>,
        decide: &Decide,
    ) -> Result<SchedulesSettled> {
        let call = self.inner.schedule_change(place, selection, now, decide);
        self.through(Method::ScheduleChange, call).await
    }

    async fn schedule_list(
        &self,
        place: &Place,
        selection: &ScheduleSelection,
    ) -> Result<Vec<ScheduleRecord>> {
        self.through(Method::ScheduleList, self.inner.schedule_list(place, selection)).await
    }

    async fn schedule_fires(&self, place: &Place, list: &FireList) -> Result<Vec<FireRecord>> {
        self.through(Method::ScheduleFires, self.inner.schedule_fires(place, list)).await
    }

    async fn wait_due(
        &self,
        place: &Place,
        workflows: &Arc<[WorkflowKey]>,
        after: Option<&WaitCursor>,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<DueWaits> {
        self.through(Method::WaitDue, self.inner.wait_due(place, workflows, after, limit, now)).await
    }

    async fn wait_ends(&self, place: &Place, executions: &[ExecutionId]) -> Result<Vec<NodeEnd>> {
        self.through(Method::WaitEnds, self.inner.wait_ends(place, executions)).await
    }

    async fn wait_settle(
        &self,
        place: &Place,
        steps: &Arc<[WaitStep]>,
        void: &[WaitCursor],
        now: Option<Timestamp>,
    ) -> Result<SettledWaits> {
        self.through(Method::WaitSettle, self.inner.wait_settle(place, steps, void, now)).await
    }

    async fn wait_move(
        &self,
        place: &Place,
        execution: ExecutionId,
        wait: &str,
        until: Option<Timestamp>,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<bool> {
        self.through(Method::WaitMove, self.inner.wait_move(place, execution, wait, until, audit, now)).await
    }

    async fn wait_list(&self, place: &Place, filter: &WaitFilter) -> Result<Vec<OpenWait>> {
        self.through(Method::WaitList, self.inner.wait_list(place, filter)).await
    }

    async fn children_due(
        &self,
        place: &Place,
        workflows: &Arc<[WorkflowKey]>,
        after: Option<&WaitCursor>,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<DueChildren> {
        self.through(Method::ChildrenDue, self.inner.children_due(place, workflows, after, limit, now)).await
    }

    async fn children_settle(
        &self,
        place: &Place,
        steps: &Arc<[ParentStep]>,
        void: &[WaitCursor],
        now: Option<Timestamp>,
    ) -> Result<SettledWaits> {
        self.through(Method::ChildrenSettle, self.inner.children_settle(place, steps, void, now)).await
    }

    async fn page_write(
        &self,
        place: &Place,
        runner: RunnerId,
        stream: &Stream,
        page: &StreamPage,
    ) -> Result<bool> {
        self.through(Method::PageWrite, self.inner.page_write(place, runner, stream, page)).await
    }

    async fn page_read(&self, place: &Place, stream: &Stream, item: i64) -> Result<Vec<StreamPage>> {
        self.through(Method::PageRead, self.inner.page_read(place, stream, item)).await
    }

    async fn task_keep(&self, place: &Place, kept: &KeptTask) -> Result<bool> {
        self.through(Method::TaskKeep, self.inner.task_keep(place, kept)).await
    }

    async fn children_list(&self, place: &Place, list: &ChildList) -> Result<Vec<ChildRecord>> {
        self.through(Method::ChildrenList, self.inner.children_list(place, list)).await
    }

    async fn children_progress(
        &self,
        place: &Place,
        execution: ExecutionId,
    ) -> Result<Vec<ChildrenProgress>> {
        self.through(Method::ChildrenProgress, self.inner.children_progress(place, execution)).await
    }

    async fn children_parallel(
        &self,
        place: &Place,
        execution: ExecutionId,
        node: &str,
        parallel: i64,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<bool> {
        let call = self.inner.children_parallel(place, execution, node, parallel, audit, now);
        self.through(Method::ChildrenParallel, call).await
    }

    async fn signal_send(
        &self,
        place: &Place,
        signal: &NewSignal,
        now: Option<Timestamp>,
    ) -> Result<SignalSent> {
        self.through(Method::SignalSend, self.inner.signal_send(place, signal, now)).await
    }

    async fn execution_load(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<ExecutionRecord>> {
        self.through(Method::ExecutionLoad, self.inner.execution_load(place, executions)).await
    }

    async fn execution_headers(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<ExecutionHeader>> {
        self.through(Method::ExecutionHeaders, self.inner.execution_headers(place, executions)).await
    }

    async fn execution_pulse(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<(ExecutionId, Pulse)>> {
        self.through(Method::ExecutionPulse, self.inner.execution_pulse(place, executions)).await
    }

    async fn execution_find(
        &self,
        place: &Place,
        workflow: &str,
        key: &str,
    ) -> Result<Option<(ExecutionId, i64)>> {
        self.through(Method::ExecutionFind, self.inner.execution_find(place, workflow, key)).await
    }

    async fn execution_list(&self, place: &Place, list: &ExecutionList) -> Result<Vec<ExecutionHeader>> {
        self.through(Method::ExecutionList, self.inner.execution_list(place, list)).await
    }

    async fn attempt_list(&self, place: &Place, execution: ExecutionId) -> Result<Option<AttemptList>> {
        self.through(Method::AttemptList, self.inner.attempt_list(place, execution)).await
    }

    async fn execution_overdue(
        &self,
        place: &Place,
        known: &Arc<[WorkflowKey]>,
        since: Duration,
        now: Option<Timestamp>,
    ) -> Result<Vec<(ExecutionId, WorkflowKey)>> {
        self.through(Method::ExecutionOverdue, self.inner.execution_overdue(place, known, since, now)).await
    }

    async fn execution_orphaned(
        &self,
        place: &Place,
        known: &Arc<[WorkflowKey]>,
    ) -> Result<Vec<(ExecutionId, WorkflowKey)>> {
        self.through(Method::ExecutionOrphaned, self.inner.execution_orphaned(place, known)).await
    }

    async fn place_repair(&self, place: &Place, now: Option<Timestamp>) -> Result<Repaired> {
        self.through(Method::PlaceRepair, self.inner.place_repair(place, now)).await
    }

    async fn execution_count(&self, place: &Place, at_most: usize) -> Result<usize> {
        self.through(Method::ExecutionCount, self.inner.execution_count(place, at_most)).await
    }

    async fn execution_waiting(&self, place: &Place, at_most: usize) -> Result<usize> {
        self.through(Method::ExecutionWaiting, self.inner.execution_waiting(place, at_most)).await
    }

    async fn place_figures(&self, place: &Place, now: Option<Timestamp>) -> Result<PlaceFigures> {
        self.through(Method::PlaceFigures, self.inner.place_figures(place, now)).await
    }

    async fn task_held(&self, place: &Place, runner: RunnerId) -> Result<Vec<Claimed>> {
        self.through(Method::TaskHeld, self.inner.task_held(place, runner)).await
    }

    async fn execution_prune(
        &self,
        place: &Place,
        end: ExecutionStatus,
        retention: Duration,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<usize> {
        let prune = self.inner.execution_prune(place, end, retention, limit, now);
        self.through(Method::ExecutionPrune, prune).await
    }

    async fn execution_oldest(&self, places: &[Arc<Place>]) -> Result<Vec<OldestEnds>> {
        self.through(Method::ExecutionOldest, self.inner.execution_oldest(places)).await
    }

    async fn retention_take(
        &self,
        open: &[(TenantId, Retention)],
        others: Option<&Retention>,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<Aged> {
        self.through(Method::RetentionTake, self.inner.retention_take(open, others, limit, now)).await
    }

    async fn retention_note(
        &self,
        left: &[(TenantId, OldestEnds, Duration)],
        now: Option<Timestamp>,
    ) -> Result<()> {
        self.through(Method::RetentionNote, self.inner.retention_note(left, now)).await
    }

    async fn bell_due(&self, now: Option<Timestamp>) -> Result<Bells> {
        self.through(Method::BellDue, self.inner.bell_due(now)).await
    }

    async fn bell_lower(
        &self,
        places: &[Arc<Place>],
        kinds: &'static [DueKind],
        now: Option<Timestamp>,
    ) -> Result<Vec<NextDue>> {
        self.through(Method::BellLower, self.inner.bell_lower(places, kinds, now)).await
    }

    async fn runner_register(&self, runner: &RunnerRegistration, now: Option<Timestamp>) -> Result<()> {
        self.through(Method::RunnerRegister, self.inner.runner_register(runner, now)).await
    }

    async fn runner_heartbeat(
        &self,
        runner: RunnerId,
        workflows: &Arc<[WorkflowKey]>,
        now: Option<Timestamp>,
    ) -> Result<Liveness> {
        self.through(Method::RunnerHeartbeat, self.inner.runner_heartbeat(runner, workflows, now)).await
    }

    async fn workflow_describe(
        &self,
        place: &Place,
        workflows: &Arc<[DescribedWorkflow]>,
        now: Option<Timestamp>,
    ) -> Result<()> {
        let described = self.inner.workflow_describe(place, workflows, now);
        self.through(Method::WorkflowDescribe, described).await
    }

    async fn workflow_list(&self, place: &Place) -> Result<Vec<KnownWorkflow>> {
        self.through(Method::WorkflowList, self.inner.workflow_list(place)).await
    }

    async fn workflow_description(&self, place: &Place, key: &WorkflowKey) -> Result<Option<String>> {
        self.through(Method::WorkflowDescription, self.inner.workflow_description(place, key)).await
    }

    async fn audit_note(&self, place: &Place, audit: &NewAudit, now: Option<Timestamp>) -> Result<()> {
        self.through(Method::AuditNote, self.inner.audit_note(place, audit, now)).await
    }

    async fn runner_list(&self) -> Result<Vec<RunnerRecord>> {
        self.through(Method::RunnerList, self.inner.runner_list()).await
    }

    async fn runner_condemn(&self, runner: RunnerId, beat: i64) -> Result<bool> {
        self.through(Method::RunnerCondemn, self.inner.runner_condemn(runner, beat)).await
    }

    async fn runner_rescue(&self, runner: RunnerId, now: Option<Timestamp>) -> Result<Vec<RescuedPlace>> {
        self.through(Method::RunnerRescue, self.inner.runner_rescue(runner, now)).await
    }

    async fn runner_retire(&self, runner: RunnerId) -> Result<()> {
        self.through(Method::RunnerRetire, self.inner.runner_retire(runner)).await
    }

    fn rests(&self) -> bool {
        self.inner.rests()
    }

    async fn pressed(&self) {
        self.inner.pressed().await;
    }

    async fn rest(&self) -> Result<bool> {
        self.through(Method::Rest, self.inner.rest()).await
    }

    async fn close(&self) -> Result<()> {
        self.through(Method::Close, self.inner.close()).await
    }
}

#[async_trait]
impl AuditStore for FaultyStore {
    async fn audit_seal(&self) -> Result<()> {
        self.inner.audit_seal().await
    }

    async fn audit_list(&self, list: &AuditList) -> Result<Vec<AuditRecord>> {
        self.inner.audit_list(list).await
    }

    async fn audit_chain(&self, of: &AuditOf, after: (String, i64)) -> Result<AuditChain> {
        self.inner.audit_chain(of, after).await
    }
}

/// Keys are no business of the engine's: nothing fails there.
#[async_trait]
impl KeyStore for FaultyStore {
    async fn key_insert(
        &self,
        key: &NewKey,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<Result<Timestamp, KeyRefusal>> {
        self.inner.key_insert(key, audit, now).await
    }

    async fn key_find(&self, id: KeyId, now: Option<Timestamp>) -> Result<Option<KeyRecord>> {
        self.inner.key_find(id, now).await
    }

    async fn key_list(&self, list: &KeyList) -> Result<Vec<KeyRecord>> {
        self.inner.key_list(list).await
    }

    async fn key_delete(&self, id: KeyId, audit: Option<&NewAudit>, now: Option<Timestamp>) -> Result<bool> {
        self.inner.key_delete(id, audit, now).await
    }

    async fn key_used(&self, ids: &[KeyId], now: Option<Timestamp>) -> Result<()> {
        self.inner.key_used(ids, now).await
    }

    async fn key_prune(&self, now: Option<Timestamp>) -> Result<u64> {
        self.inner.key_prune(now).await
    }
}
