//! A store in memory: the contract of [`cloacina_core::store`] in plain Rust.
//!
//! It keeps nothing and costs nothing, so the engine's own tests run on it. It is also the contract in its
//! most readable form: one mutex stands for every lock of the databases, and a method that has checked what
//! it was given cannot fail half-way, which stands for their transactions.
//!
//! What a place holds and how its tasks move is in `place.rs`; here is what all places of a database share.

mod audit;
mod keys;
mod place;
mod schedule;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use cloacina_core::Retention;
use cloacina_core::clock::{Clock, SystemClock};
use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::{ExecutionId, RunnerId, TenantId};
use cloacina_core::store::{
    Aged, AttemptList, AuditChain, AuditList, AuditOf, AuditRecord, AuditStore, Bells, ChildList,
    ChildRecord, ChildrenProgress, Claimed, Control, Controlled, Decide, DescribedWorkflow, Due, DueChildren,
    DueKind, DueWaits, ENDS, ExecutionHeader, ExecutionList, ExecutionRecord, Expanded, Expansion, FireList,
    FireRecord, Flush, Flushed, KeptTask, KeyId, KeyList, KeyRecord, KeyRefusal, KeyStore, KnownWorkflow,
    Liveness, MANY, MOST_BYTES_AT_ONCE, MOST_EXECUTION_BYTES, NewAudit, NewExecution, NewKey, NewSignal,
    NextDue, NodeEnd, OldestEnds, OpenWait, ParentStep, Place, PlaceFigures, PlaceName, Pulse,
    RecordedExecutions, Repaired, RescuedPlace, Result, RunnerRecord, RunnerRegistration, ScheduleRecord,
    ScheduleSelection, SchedulesSettled, Settled, SettledWaits, SignalSent, Store, StoreError,
    StoreErrorKind, Stream, StreamPage, TenantState, TenantStatus, WaitCursor, WaitFilter, WaitStep,
    WorkflowKey,
};
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::watch;

use audit::Audit;
use keys::Keys;
use place::{PlaceRows, Writer};

/// How long a notice is told.
const NOTICE: Duration = Duration::from_secs(60);

/// A database that lives as long as somebody holds it. Each [`open`](Self::open) is like another process that
/// connects.
#[derive(Debug, Clone, Default)]
pub struct MemoryDatabase {
    shared: Arc<Shared>,
}

impl MemoryDatabase {
    /// An empty database.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store on this database.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime: the store's futures are to be run on the one it was opened on.
    #[must_use]
    pub fn open(&self) -> MemoryStore {
        let hint = watch::Sender::new(0);
        let hints = hint.subscribe();
        let mut tables = self.shared.lock();
        tables.hints.push(hint);
        let number = tables.hints.len() - 1;
        MemoryStore { shared: Arc::clone(&self.shared), runtime: Handle::current(), number, hints }
    }

    /// Lets the operator decide about a tenant.
    pub fn decide(&self, tenant: TenantId, status: TenantStatus, now: Option<Timestamp>) {
        let mut tables = self.shared.lock();
        tables.statuses.insert(tenant, status);
        tables.changes.push((or_system(now), tenant));
        tables.hint(usize::MAX);
    }
}

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    runtime: Handle,
    /// Which of the stores of its database this is.
    number: usize,
    hints: watch::Receiver<u64>,
}

#[derive(Default)]
struct Shared {
    tables: Mutex<Tables>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().expect("no method panics while it holds the tables")
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Everything that is in the database.
#[derive(Default)]
struct Tables {
    places: BTreeMap<TenantId, PlaceRows>,
    runners: BTreeMap<RunnerId, Runner>,
    notices: Vec<(Timestamp, TenantId, ExecutionId)>,
    statuses: BTreeMap<TenantId, TenantStatus>,
    keys: Keys,
    audit: Audit,
    workflows: BTreeMap<WorkflowKey, (Timestamp, DescribedWorkflow)>,
    /// When whose status was changed.
    changes: Vec<(Timestamp, TenantId)>,
    /// One for each store that was opened.
    hints: Vec<watch::Sender<u64>>,
}

struct Runner {
    record: RunnerRecord,
    /// Where it has claimed something.
    places: BTreeSet<TenantId>,
}

impl Tables {
    fn place(&mut self, place: &Place) -> Result<&mut PlaceRows> {
        self.places.get_mut(&place.tenant).filter(|rows| rows.place == *place).ok_or_else(|| {
            StoreError::new(StoreErrorKind::Place, format!("the place `{}` does not exist", place.name))
        })
    }

    /// The chain that is meant.
    fn chain_of(&self, of: &AuditOf) -> Option<String> {
        match of {
            AuditOf::All => None,
            AuditOf::Named(name) => Some(name.clone()),
            AuditOf::Tenant(tenant) => {
                Some(self.places.get(tenant).map(|rows| rows.place.name.clone()).unwrap_or_default())
            }
        }
    }

    fn status(&self, tenant: TenantId) -> TenantStatus {
        self.statuses.get(&tenant).copied().unwrap_or_default()
    }

    fn fence(&self, runner: RunnerId) -> Result<()> {
        match self.runners.get(&runner) {
            Some(runner) if runner.record.liveness == Liveness::Live => Ok(()),
            _ => Err(StoreError::new(StoreErrorKind::Fenced, format!("the runner {runner} is not live"))),
        }
    }

    fn notice(&mut self, place: &Place, execution: ExecutionId, now: Timestamp) {
        self.notices.retain(|(at, ..)| *at + NOTICE > now);
        self.notices.push((now, place.tenant, execution));
    }

    /// Tells every store but the one that wrote.
    fn hint(&self, number: usize) {
        for (other, hint) in self.hints.iter().enumerate() {
            if other != number {
                hint.send_modify(|count| *count += 1);
            }
        }
    }
}

fn or_system(now: Option<Timestamp>) -> Timestamp {
    now.unwrap_or_else(|| SystemClock.now())
}

#[async_trait]
impl Store for MemoryStore {
    fn label(&self) -> &str {
        "memory"
    }

    fn runtime(&self) -> Handle {
        self.runtime.clone()
    }

    fn lanes(&self) -> usize {
        2
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.hints.clone()
    }

    async fn place_open(&self, name: &PlaceName) -> Result<Place> {
        let name = match name {
            PlaceName::Default => "main",
            PlaceName::Named(name) | PlaceName::Tenant(name) => name,
        };
        let mut tables = self.shared.lock();
        if let Some(rows) = tables.places.values().find(|rows| rows.place.name == name) {
            return Ok(rows.place.clone());
        }
        let place = Place {
            tenant: TenantId::new(),
            name: name.to_owned(),
            schema: String::new(),
            epoch: 1,
            shared: false,
        };
        tables.places.insert(place.tenant, PlaceRows::new(place.clone()));
        Ok(place)
    }

    async fn place_of(&self, tenant: TenantId) -> Result<Option<Place>> {
        let tables = self.shared.lock();
        let active = tables.status(tenant).state == TenantState::Active;
        Ok(tables.places.get(&tenant).filter(|_| active).map(|rows| rows.place.clone()))
    }

    async fn tenant_status(&self, place: &Place) -> Result<TenantStatus> {
        Ok(self.shared.lock().status(place.tenant))
    }

    async fn flush(&self, _lane: usize, flush: &Flush) -> Result<Flushed> {
        let now = or_system(flush.now);
        let mut tables = self.shared.lock();
        if let Some(runner) = flush.runner {
            tables.fence(runner)?;
        }
        for part in &flush.places {
            tables.place(&part.place)?;
        }
        let mut places = Vec::with_capacity(flush.places.len());
        for part in &flush.places {
            if let Some(runner) = flush.runner.and_then(|id| tables.runners.get_mut(&id))
                && part.first_claim
            {
                runner.places.insert(part.place.tenant);
            }
            places.push(tables.place(&part.place)?.flush(Writer { runner: flush.runner, now }, part));
        }
        tables.hint(self.number);
        Ok(Flushed { now, places })
    }

    async fn execution_record(
        &self,
        place: &Place,
        submits: &[Arc<NewExecution>],
        now: Option<Timestamp>,
    ) -> Result<RecordedExecutions> {
        let writer = Writer { runner: None, now: or_system(now) };
        let mut tables = self.shared.lock();
        let recorded = tables.place(place)?.record_new(writer, submits);
        for submit in submits.iter().filter(|submit| recorded.submitted.contains(&submit.id)) {
            if let Some(audit) = submit.rerun.as_ref().and_then(|rerun| rerun.audit.as_ref()) {
                tables.audit.note(&place.name, audit, writer.now);
            }
        }
        tables.hint(self.number);
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
        let now = or_system(now);
        let mut tables = self.shared.lock();
        let was = tables.place(place)?.status_of(execution);
        let controlled = tables.place(place)?.control(execution, &control, now);
        if let (Some(audit), Some(was), Controlled::Done(is)) = (audit, was, controlled) {
            tables.audit.note(&place.name, &audit.between(was, is), now);
        }
        if matches!(controlled, Controlled::Done(_)) {
            tables.notice(place, execution, now);
            tables.hint(self.number);
        }
        Ok(controlled)
    }

    async fn execution_overdue(
        &self,
        place: &Place,
        known: &Arc<[WorkflowKey]>,
        grace: Duration,
        now: Option<Timestamp>,
    ) -> Result<Vec<(ExecutionId, WorkflowKey)>> {
        let mut overdue = self.shared.lock().place(place)?.overdue(or_system(now) - grace);
        overdue.retain(|(_, workflow)| !known.contains(workflow));
        overdue.truncate(MANY);
        Ok(overdue)
    }

    async fn execution_orphaned(
        &self,
        place: &Place,
        known: &Arc<[WorkflowKey]>,
    ) -> Result<Vec<(ExecutionId, WorkflowKey)>> {
        let mut orphaned = self.shared.lock().place(place)?.orphaned();
        orphaned.retain(|(_, workflow)| known.contains(workflow));
        orphaned.truncate(MANY);
        Ok(orphaned)
    }

    async fn execution_expand(
        &self,
        places: &[(Arc<Place>, Arc<[Expansion]>)],
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<Vec<Expanded>> {
        let now = or_system(now);
        let mut tables = self.shared.lock();
        let mut all = Vec::with_capacity(places.len());
        for (place, workflows) in places {
            all.push(tables.place(place)?.expand(workflows, limit, now));
        }
        tables.hint(self.number);
        Ok(all)
    }

    async fn execution_expand_rerun(
        &self,
        place: &Place,
        rerun: &Arc<NewExecution>,
        now: Option<Timestamp>,
    ) -> Result<bool> {
        let mut tables = self.shared.lock();
        let is_expanded = tables.place(place)?.expand_rerun(rerun, or_system(now));
        tables.hint(self.number);
        Ok(is_expanded)
    }

    async fn place_repair(&self, _: &Place, _: Option<Timestamp>) -> Result<Repaired> {
        // Nobody puts a place of this store back from a backup.
        Ok(Repaired::default())
    }

    async fn place_figures(&self, place: &Place, now: Option<Timestamp>) -> Result<PlaceFigures> {
        Ok(self.shared.lock().place(place)?.figures(or_system(now)))
    }

    async fn execution_count(&self, place: &Place, at_most: usize) -> Result<usize> {
        Ok(self.shared.lock().place(place)?.count(at_most))
    }

    async fn execution_waiting(&self, place: &Place, at_most: usize) -> Result<usize> {
        let waiting = self.shared.lock().place(place)?.figures(or_system(None)).waiting;
        Ok(at_most.min(usize::try_from(waiting).unwrap_or(usize::MAX)))
    }

    async fn due_settle(
        &self,
        place: &Place,
        kinds: &'static [DueKind],
        now: Option<Timestamp>,
    ) -> Result<Settled> {
        let now = or_system(now);
        let mut tables = self.shared.lock();
        let settled = tables.place(place)?.settle_due(kinds, now, MANY);
        for execution in &settled.expired {
            tables.notice(place, *execution, now);
        }
        tables.hint(self.number);
        Ok(settled)
    }

    async fn schedule_settle(
        &self,
        places: &[(Arc<Place>, Decide)],
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<Vec<SchedulesSettled>> {
        let now = or_system(now);
        let mut tables = self.shared.lock();
        let mut all = Vec::with_capacity(places.len());
        for (place, decide) in places {
            let settled = tables.place(place)?.settle_schedules(limit, now, decide);
            for execution in &settled.cancelled {
                tables.notice(place, *execution, now);
            }
            all.push(settled);
        }
        tables.hint(self.number);
        Ok(all)
    }

    async fn schedule_change(
        &self,
        place: &Place,
        selection: &ScheduleSelection,
        now: Option<Timestamp>,
        decide: &Decide,
    ) -> Result<SchedulesSettled> {
        let now = or_system(now);
        let mut tables = self.shared.lock();
        let notes = Arc::new(Mutex::new(Vec::new()));
        let (decide, noted) = (Arc::clone(decide), Arc::clone(&notes));
        let decide: Decide = Arc::new(move |records, now, budget| {
            let changes = decide(records, now, budget);
            let audits = changes.iter().filter_map(|change| change.audit.clone());
            noted.lock().expect("nothing panics here").extend(audits);
            changes
        });
        let settled = tables.place(place)?.change_schedules(selection, now, &decide);
        for audit in notes.lock().expect("nothing panics here").drain(..) {
            tables.audit.note(&place.name, &audit, now);
        }
        for execution in &settled.cancelled {
            tables.notice(place, *execution, now);
        }
        tables.hint(self.number);
        Ok(settled)
    }

    async fn wait_due(
        &self,
        place: &Place,
        workflows: &Arc<[WorkflowKey]>,
        after: Option<&WaitCursor>,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<DueWaits> {
        Ok(self.shared.lock().place(place)?.wait_due(workflows, after, limit, or_system(now)))
    }

    async fn wait_ends(&self, place: &Place, executions: &[ExecutionId]) -> Result<Vec<NodeEnd>> {
        Ok(self.shared.lock().place(place)?.wait_ends(executions))
    }

    async fn wait_settle(
        &self,
        place: &Place,
        steps: &Arc<[WaitStep]>,
        void: &[WaitCursor],
        now: Option<Timestamp>,
    ) -> Result<SettledWaits> {
        assert!(void.is_empty(), "nobody else writes to this store");
        let mut tables = self.shared.lock();
        let settled = tables.place(place)?.wait_settle(steps, or_system(now));
        tables.hint(self.number);
        Ok(settled)
    }

    async fn schedule_list(
        &self,
        place: &Place,
        selection: &ScheduleSelection,
    ) -> Result<Vec<ScheduleRecord>> {
        Ok(self.shared.lock().place(place)?.list_schedules(selection))
    }

    async fn schedule_fires(&self, place: &Place, list: &FireList) -> Result<Vec<FireRecord>> {
        Ok(self.shared.lock().place(place)?.list_fires(list))
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
        let until = until.unwrap_or_else(|| or_system(now));
        let mut tables = self.shared.lock();
        let moved = tables.place(place)?.wait_move(execution, wait, until, or_system(now));
        if let Some(audit) = audit.filter(|_| moved) {
            tables.audit.note(&place.name, audit, or_system(now));
        }
        tables.hint(self.number);
        Ok(moved)
    }

    async fn wait_list(&self, place: &Place, filter: &WaitFilter) -> Result<Vec<OpenWait>> {
        Ok(self.shared.lock().place(place)?.wait_list(filter))
    }

    async fn children_due(
        &self,
        place: &Place,
        workflows: &Arc<[WorkflowKey]>,
        after: Option<&WaitCursor>,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<DueChildren> {
        Ok(self.shared.lock().place(place)?.children_due(workflows, after, limit, or_system(now)))
    }

    async fn children_settle(
        &self,
        place: &Place,
        steps: &Arc<[ParentStep]>,
        void: &[WaitCursor],
        now: Option<Timestamp>,
    ) -> Result<SettledWaits> {
        let mut tables = self.shared.lock();
        let settled = tables.place(place)?.children_settle(steps, void, or_system(now));
        tables.hint(self.number);
        Ok(settled)
    }

    async fn page_write(
        &self,
        place: &Place,
        runner: RunnerId,
        stream: &Stream,
        page: &StreamPage,
    ) -> Result<bool> {
        Ok(self.shared.lock().place(place)?.page_write(runner, stream, page))
    }

    async fn page_read(&self, place: &Place, stream: &Stream, item: i64) -> Result<Vec<StreamPage>> {
        Ok(self.shared.lock().place(place)?.page_read(stream, item))
    }

    async fn task_keep(&self, place: &Place, kept: &KeptTask) -> Result<bool> {
        Ok(self.shared.lock().place(place)?.keep(kept))
    }

    async fn children_list(&self, place: &Place, list: &ChildList) -> Result<Vec<ChildRecord>> {
        Ok(self.shared.lock().place(place)?.children_list(list))
    }

    async fn children_progress(
        &self,
        place: &Place,
        execution: ExecutionId,
    ) -> Result<Vec<ChildrenProgress>> {
        Ok(self.shared.lock().place(place)?.children_progress(execution))
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
        let mut tables = self.shared.lock();
        let is_set = tables.place(place)?.children_parallel(execution, node, parallel, or_system(now));
        if let Some(audit) = audit.filter(|_| is_set) {
            tables.audit.note(&place.name, audit, or_system(now));
        }
        tables.hint(self.number);
        Ok(is_set)
    }

    async fn signal_send(
        &self,
        place: &Place,
        signal: &NewSignal,
        now: Option<Timestamp>,
    ) -> Result<SignalSent> {
        let mut tables = self.shared.lock();
        let sent = tables.place(place)?.signal_send(signal, or_system(now));
        if let (Some(audit), Some(id)) = (&signal.audit, sent.recorded()) {
            let audit = NewAudit { object: Some(id.to_string()), ..(**audit).clone() };
            tables.audit.note(&place.name, &audit, or_system(now));
        }
        tables.hint(self.number);
        Ok(sent)
    }

    async fn execution_load(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<ExecutionRecord>> {
        let mut tables = self.shared.lock();
        let rows = tables.place(place)?;
        let records: Vec<_> = executions.iter().filter_map(|id| rows.record(*id)).collect();
        let all: usize = records.iter().map(ExecutionRecord::context_bytes).sum();
        if records.iter().any(|record| record.context_bytes() > MOST_EXECUTION_BYTES)
            || (all > MOST_BYTES_AT_ONCE && executions.len() > 1)
        {
            return Err(StoreError::new(StoreErrorKind::Data, "that is more than is read"));
        }
        Ok(records)
    }

    async fn execution_headers(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<ExecutionHeader>> {
        let mut tables = self.shared.lock();
        let rows = tables.place(place)?;
        Ok(executions.iter().filter_map(|id| rows.header(*id)).collect())
    }

    async fn execution_pulse(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<(ExecutionId, Pulse)>> {
        let mut tables = self.shared.lock();
        let rows = tables.place(place)?;
        Ok(executions.iter().filter_map(|id| Some((*id, rows.pulse(*id)?))).collect())
    }

    async fn execution_find(
        &self,
        place: &Place,
        workflow: &str,
        key: &str,
    ) -> Result<Option<(ExecutionId, i64)>> {
        Ok(self.shared.lock().place(place)?.find(workflow, key))
    }

    async fn execution_list(&self, place: &Place, list: &ExecutionList) -> Result<Vec<ExecutionHeader>> {
        Ok(self.shared.lock().place(place)?.list(list))
    }

    async fn attempt_list(&self, place: &Place, execution: ExecutionId) -> Result<Option<AttemptList>> {
        Ok(self.shared.lock().place(place)?.attempts(execution))
    }

    async fn task_held(&self, place: &Place, runner: RunnerId) -> Result<Vec<Claimed>> {
        Ok(self.shared.lock().place(place)?.held(runner))
    }

    async fn execution_prune(
        &self,
        place: &Place,
        end: ExecutionStatus,
        retention: Duration,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<usize> {
        let before = or_system(now) - retention;
        Ok(self.shared.lock().place(place)?.prune(end, before, limit))
    }

    async fn execution_oldest(&self, places: &[Arc<Place>]) -> Result<Vec<OldestEnds>> {
        let mut tables = self.shared.lock();
        let mut all = Vec::with_capacity(places.len());
        for place in places {
            let rows = tables.place(place)?;
            all.push(OldestEnds {
                completed: rows.oldest(ExecutionStatus::Completed),
                failed: rows.oldest(ExecutionStatus::Failed),
                cancelled: rows.oldest(ExecutionStatus::Cancelled),
            });
        }
        Ok(all)
    }

    async fn retention_take(
        &self,
        open: &[(TenantId, Retention)],
        others: Option<&Retention>,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<Aged> {
        let now = or_system(now);
        let tables = self.shared.lock();
        let late = |rows: &PlaceRows, retention: &Retention| {
            let late = ENDS.into_iter().filter_map(|end| {
                let due = rows.oldest(end)?.checked_add(retention.after(end)?).ok()?;
                Duration::try_from(now.duration_since(due)).ok().filter(|late| !late.is_zero())
            });
            late.max()
        };
        let mut aged = Aged::default();
        let mut unopened = 0;
        for (tenant, rows) in &tables.places {
            let own = open.iter().find(|(open, _)| open == tenant);
            let Some(retention) = own.map(|(_, retention)| retention).or(others) else { continue };
            let Some(late) = late(rows, retention) else { continue };
            aged.behind = aged.behind.max(late);
            unopened += usize::from(own.is_none());
            if own.is_some() || unopened <= limit {
                aged.tenants.push(*tenant);
            }
        }
        Ok(aged)
    }

    async fn bell_due(&self, now: Option<Timestamp>) -> Result<Bells> {
        let now = or_system(now);
        let tables = self.shared.lock();
        let rung = tables.places.values().filter(|rows| rows.bell.is_some_and(|at| at <= now));
        let notices = tables.notices.iter().filter(|(at, ..)| *at + NOTICE > now);
        let changes = tables.changes.iter().filter(|(at, _)| *at + NOTICE > now);
        Ok(Bells {
            due: rung.map(|rows| Due { tenant: rows.place.tenant }).collect(),
            notices: notices.map(|(_, tenant, execution)| (*tenant, *execution)).collect(),
            changed: changes.map(|(_, tenant)| *tenant).collect(),
        })
    }

    async fn bell_lower(
        &self,
        places: &[Arc<Place>],
        kinds: &'static [DueKind],
        now: Option<Timestamp>,
    ) -> Result<Vec<NextDue>> {
        let mut tables = self.shared.lock();
        places.iter().map(|place| Ok(tables.place(place)?.lower(kinds, or_system(now)))).collect()
    }

    async fn runner_register(&self, runner: &RunnerRegistration, _now: Option<Timestamp>) -> Result<()> {
        let record = RunnerRecord {
            tenant: None,
            id: runner.id,
            liveness: Liveness::Live,
            beat: 0,
            lease: runner.lease,
            process: runner.process.clone(),
            host_name: runner.host_name.clone(),
            workflows: runner.workflows.to_vec(),
        };
        self.shared.lock().runners.entry(runner.id).or_insert(Runner { record, places: BTreeSet::new() });
        Ok(())
    }

    async fn runner_heartbeat(
        &self,
        runner: RunnerId,
        workflows: &Arc<[WorkflowKey]>,
        _now: Option<Timestamp>,
    ) -> Result<Liveness> {
        let mut tables = self.shared.lock();
        let Some(runner) = tables.runners.get_mut(&runner) else {
            return Ok(Liveness::Dead);
        };
        if runner.record.liveness == Liveness::Live {
            runner.record.beat += 1;
            runner.record.workflows = workflows.to_vec();
        }
        Ok(runner.record.liveness)
    }

    async fn workflow_describe(
        &self,
        place: &Place,
        workflows: &Arc<[DescribedWorkflow]>,
        now: Option<Timestamp>,
    ) -> Result<()> {
        let mut tables = self.shared.lock();
        tables.place(place)?;
        for workflow in workflows.iter() {
            let new = || (or_system(now), workflow.clone());
            tables.workflows.entry(workflow.key.clone()).or_insert_with(new);
        }
        Ok(())
    }

    async fn workflow_list(&self, place: &Place) -> Result<Vec<KnownWorkflow>> {
        let mut tables = self.shared.lock();
        tables.place(place)?;
        let known = tables.workflows.values().map(|(first_seen, workflow)| KnownWorkflow {
            key: workflow.key.clone(),
            version: workflow.version.clone(),
            first_seen: *first_seen,
        });
        let mut known: Vec<KnownWorkflow> = known.collect();
        known.sort_by(|one, other| (&one.key.name, other.first_seen).cmp(&(&other.key.name, one.first_seen)));
        Ok(known)
    }

    async fn workflow_description(&self, place: &Place, key: &WorkflowKey) -> Result<Option<String>> {
        let mut tables = self.shared.lock();
        tables.place(place)?;
        Ok(tables.workflows.get(key).and_then(|(_, workflow)| workflow.description.clone()))
    }

    async fn audit_note(&self, place: &Place, audit: &NewAudit, now: Option<Timestamp>) -> Result<()> {
        self.shared.lock().audit.note(&place.name, audit, or_system(now));
        Ok(())
    }

    async fn runner_list(&self) -> Result<Vec<RunnerRecord>> {
        Ok(self.shared.lock().runners.values().map(|runner| runner.record.clone()).collect())
    }

    async fn runner_condemn(&self, runner: RunnerId, beat: i64) -> Result<bool> {
        let mut tables = self.shared.lock();
        let Some(runner) = tables.runners.get_mut(&runner) else {
            return Ok(true);
        };
        if runner.record.beat == beat {
            runner.record.liveness = Liveness::Dead;
        }
        Ok(runner.record.liveness == Liveness::Dead)
    }

    async fn runner_rescue(&self, runner: RunnerId, now: Option<Timestamp>) -> Result<Vec<RescuedPlace>> {
        let now = or_system(now);
        let mut tables = self.shared.lock();
        let Some(Runner { places, .. }) =
            tables.fence(runner).err().and_then(|_| tables.runners.remove(&runner))
        else {
            return Ok(Vec::new());
        };
        let mut rescued = Vec::new();
        for tenant in places {
            if let Some(rows) = tables.places.get_mut(&tenant) {
                let (executions, tasks) = rows.rescue(runner, now);
                rescued.push(RescuedPlace { place: rows.place.clone(), executions, tasks });
            }
        }
        tables.hint(self.number);
        Ok(rescued)
    }

    async fn runner_retire(&self, runner: RunnerId) -> Result<()> {
        let mut tables = self.shared.lock();
        if tables.places.values().any(|rows| !rows.held(runner).is_empty()) {
            if let Some(runner) = tables.runners.get_mut(&runner) {
                runner.record.liveness = Liveness::Dead;
            }
        } else if tables.fence(runner).is_ok() {
            tables.runners.remove(&runner);
        }
        Ok(())
    }
}

#[async_trait]
impl AuditStore for MemoryStore {
    async fn audit_list(&self, list: &AuditList) -> Result<Vec<AuditRecord>> {
        let tables = self.shared.lock();
        let chain = tables.chain_of(&list.of);
        Ok(tables.audit.list(chain.as_deref(), list.before, list.limit))
    }

    async fn audit_chain(&self, of: &AuditOf, after: (String, i64)) -> Result<AuditChain> {
        let tables = self.shared.lock();
        Ok(tables.audit.chain(tables.chain_of(of).as_deref(), &after))
    }
}

#[async_trait]
impl KeyStore for MemoryStore {
    async fn key_insert(
        &self,
        key: &NewKey,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<Result<Timestamp, KeyRefusal>> {
        let mut tables = self.shared.lock();
        let is_there = |tenant: &String| tables.places.values().any(|rows| rows.place.name == *tenant);
        if !key.tenant.as_ref().is_none_or(is_there) {
            return Ok(Err(KeyRefusal::NoTenant));
        }
        let is_new = !tables.keys.is_there(key.id);
        let inserted = tables.keys.insert(key, or_system(now));
        if let Some(audit) = audit.filter(|_| is_new && inserted.is_ok() && key.parent.is_none()) {
            tables.audit.note(key.tenant.as_deref().unwrap_or_default(), audit, or_system(now));
        }
        Ok(inserted)
    }

    async fn key_find(&self, id: KeyId, now: Option<Timestamp>) -> Result<Option<KeyRecord>> {
        Ok(self.shared.lock().keys.find(id, or_system(now)))
    }

    async fn key_list(&self, list: &KeyList) -> Result<Vec<KeyRecord>> {
        Ok(self.shared.lock().keys.list(list))
    }

    async fn key_delete(&self, id: KeyId, audit: Option<&NewAudit>, now: Option<Timestamp>) -> Result<bool> {
        let mut tables = self.shared.lock();
        if let (Some(audit), Some(tenant)) = (audit, tables.keys.whose(id)) {
            tables.audit.note(&tenant, audit, or_system(now));
        }
        Ok(tables.keys.delete(id))
    }

    async fn key_used(&self, ids: &[KeyId], now: Option<Timestamp>) -> Result<()> {
        self.shared.lock().keys.used(ids, or_system(now));
        Ok(())
    }

    async fn key_prune(&self, now: Option<Timestamp>) -> Result<u64> {
        Ok(self.shared.lock().keys.prune(or_system(now)))
    }
}
