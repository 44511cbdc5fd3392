//! What the engine asks of a file.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::{ExecutionId, RunnerId, TenantId};
use cloacina_core::store::{
    AttemptList, AuditChain, AuditList, AuditOf, AuditRecord, AuditStore, Bells, ChildList, ChildRecord,
    ChildrenProgress, Claimed, Control, Controlled, Decide, DescribedWorkflow, DueChildren, DueKind,
    DueWaits, ExecutionHeader, ExecutionList, ExecutionRecord, Expanded, Expansion, Finding, FireList,
    FireRecord, Flush, Flushed, KeptTask, KeyId, KeyList, KeyRecord, KeyRefusal, KeyStore, KnownWorkflow,
    Liveness, NewAudit, NewExecution, NewKey, NewSignal, NextDue, NodeEnd, OldestEnds, OpenWait, ParentStep,
    Place, PlaceFigures, PlaceName, Pulse, RecordedExecutions, Repaired, RescuedPlace, Result, RunnerRecord,
    RunnerRegistration, ScheduleRecord, ScheduleSelection, SchedulesSettled, Settled, SettledWaits,
    SignalSent, Store, Stream, StreamPage, WaitCursor, WaitFilter, WaitStep, WorkflowKey,
};
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{Durability, SqliteStore};
use crate::error::Failure;
use crate::schedule::{self, Moment};
use crate::{
    audit, children, doorbell, due, execution, expand, flush, inspect, keys, rows, runner, wait, workflow,
};

/// How many executions are deleted in one transaction: whoever else wants to write waits for it.
const PRUNE_CHUNK: usize = 100;

#[async_trait]
impl Store for SqliteStore {
    fn label(&self) -> &str {
        self.label_text()
    }

    fn runtime(&self) -> Handle {
        self.runtime.clone()
    }

    async fn place_examine(&self, place: &Place) -> Result<Vec<Finding>> {
        match self.address.path() {
            Some(_) => inspect::findings(self.address.clone(), &place.name).await,
            None => Ok(Vec::new()),
        }
    }

    fn lanes(&self) -> usize {
        1
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.hints.subscribe()
    }

    async fn place_open(&self, name: &PlaceName) -> Result<Place> {
        self.find_place(name)
    }

    async fn place_of(&self, tenant: TenantId) -> Result<Option<Place>> {
        Ok((self.place.tenant == tenant).then(|| self.place.clone()))
    }

    async fn flush(&self, _lane: usize, flush: &Flush) -> Result<Flushed> {
        for place in &flush.places {
            self.own(&place.place)?;
        }
        self.write(Durability::Full, |connection| {
            let Moment { now, ahead } = self.moment(flush.now);
            flush::flush(connection, flush, now, ahead)
        })
        .await
    }

    async fn execution_record(
        &self,
        place: &Place,
        submits: &[Arc<NewExecution>],
        now: Option<Timestamp>,
    ) -> Result<RecordedExecutions> {
        self.own(place)?;
        self.write(Durability::Full, |connection| {
            let Moment { now, ahead } = self.moment(now);
            flush::record(connection, place.tenant, submits, (now, ahead))
        })
        .await
    }

    async fn execution_control(
        &self,
        place: &Place,
        execution: ExecutionId,
        control: Control,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<Controlled> {
        self.own(place)?;
        self.write(Durability::Full, |connection| {
            execution::control(connection, place.tenant, execution, &control, audit, self.micros(now))
        })
        .await
    }

    async fn execution_overdue(
        &self,
        place: &Place,
        known: &Arc<[WorkflowKey]>,
        grace: Duration,
        now: Option<Timestamp>,
    ) -> Result<Vec<(ExecutionId, WorkflowKey)>> {
        self.own(place)?;
        let grace = i64::try_from(grace.as_micros()).unwrap_or(i64::MAX);
        let before = self.micros(now).saturating_sub(grace);
        let (tenant, known) = (place.tenant, Arc::clone(known));
        self.read_long(move |connection| execution::overdue(connection, tenant, &known, before)).await
    }

    async fn execution_orphaned(
        &self,
        place: &Place,
        known: &Arc<[WorkflowKey]>,
    ) -> Result<Vec<(ExecutionId, WorkflowKey)>> {
        self.own(place)?;
        let (tenant, known) = (place.tenant, Arc::clone(known));
        self.read_long(move |connection| execution::orphaned(connection, tenant, &known)).await
    }

    async fn place_repair(&self, place: &Place, now: Option<Timestamp>) -> Result<Repaired> {
        self.own(place)?;
        let tenant = place.tenant;
        let (runners, stuck) =
            self.read_long(move |connection| execution::broken(connection, tenant)).await?;
        if runners.is_empty() && stuck.is_empty() {
            return Ok(Repaired::default());
        }
        self.write(Durability::Full, |connection| {
            let mut repaired = Repaired::default();
            for runner in &runners {
                for place in runner::rescue(connection, place, *runner, self.micros(now))? {
                    repaired.rescued.extend(place.executions);
                    repaired.tasks += place.tasks;
                }
            }
            for execution in &stuck {
                if flush::execution_close(connection, place.tenant, *execution, self.micros(now))?.is_some() {
                    repaired.closed.push(*execution);
                }
            }
            Ok(repaired)
        })
        .await
    }

    async fn place_figures(&self, place: &Place, now: Option<Timestamp>) -> Result<PlaceFigures> {
        self.own(place)?;
        let (tenant, now) = (place.tenant, self.micros(now));
        self.read_long(move |connection| execution::figures(connection, tenant, now)).await
    }

    async fn execution_count(&self, place: &Place, at_most: usize) -> Result<usize> {
        self.own(place)?;
        self.read(|connection| execution::count(connection, place.tenant, at_most)).await
    }

    async fn execution_waiting(&self, place: &Place, at_most: usize) -> Result<usize> {
        self.own(place)?;
        self.read(|connection| execution::waiting(connection, place.tenant, at_most)).await
    }

    async fn execution_expand(
        &self,
        places: &[(Arc<Place>, Arc<[Expansion]>)],
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<Vec<Expanded>> {
        // A file holds one place.
        let mut expanded = Vec::with_capacity(places.len());
        for (place, workflows) in places {
            self.own(place)?;
            let answer = self.write(Durability::Full, |connection| {
                expand::expand(connection, place.tenant, workflows, limit, self.micros(now))
            });
            expanded.push(answer.await?);
        }
        Ok(expanded)
    }

    async fn execution_expand_rerun(
        &self,
        place: &Place,
        rerun: &Arc<NewExecution>,
        now: Option<Timestamp>,
    ) -> Result<bool> {
        self.own(place)?;
        self.write(Durability::Full, |connection| {
            expand::expand_rerun(connection, place.tenant, rerun, self.micros(now))
        })
        .await
    }

    async fn due_settle(
        &self,
        place: &Place,
        kinds: &'static [DueKind],
        now: Option<Timestamp>,
    ) -> Result<Settled> {
        self.own(place)?;
        self.write(Durability::Full, |connection| {
            due::settle(connection, place.tenant, kinds, self.micros(now))
        })
        .await
    }

    async fn schedule_settle(
        &self,
        places: &[(Arc<Place>, Decide)],
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<Vec<SchedulesSettled>> {
        // A file holds one place.
        let mut settled = Vec::with_capacity(places.len());
        for (place, decide) in places {
            self.own(place)?;
            let answer = self.write(Durability::Full, |connection| {
                schedule::settle(connection, place.tenant, limit, self.moment(now), decide)
            });
            settled.push(answer.await?);
        }
        Ok(settled)
    }

    async fn schedule_change(
        &self,
        place: &Place,
        selection: &ScheduleSelection,
        now: Option<Timestamp>,
        decide: &Decide,
    ) -> Result<SchedulesSettled> {
        self.own(place)?;
        self.write(Durability::Full, |connection| {
            schedule::change(connection, place.tenant, selection, self.moment(now), decide)
        })
        .await
    }

    async fn wait_due(
        &self,
        place: &Place,
        workflows: &Arc<[WorkflowKey]>,
        after: Option<&WaitCursor>,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<DueWaits> {
        self.own(place)?;
        let now = self.micros(now);
        self.read(|connection| wait::due(connection, place.tenant, workflows, after, limit, now)).await
    }

    async fn wait_ends(&self, place: &Place, executions: &[ExecutionId]) -> Result<Vec<NodeEnd>> {
        self.own(place)?;
        self.read(|connection| wait::ends(connection, place.tenant, executions)).await
    }

    async fn wait_settle(
        &self,
        place: &Place,
        steps: &Arc<[WaitStep]>,
        void: &[WaitCursor],
        now: Option<Timestamp>,
    ) -> Result<SettledWaits> {
        self.own(place)?;
        self.write(Durability::Full, |connection| {
            wait::settle(connection, place.tenant, steps, void, self.micros(now))
        })
        .await
    }

    async fn schedule_list(
        &self,
        place: &Place,
        selection: &ScheduleSelection,
    ) -> Result<Vec<ScheduleRecord>> {
        self.own(place)?;
        let ahead = self.moment(None).ahead;
        self.read(|connection| schedule::list(connection, place.tenant, selection, ahead)).await
    }

    async fn schedule_fires(&self, place: &Place, list: &FireList) -> Result<Vec<FireRecord>> {
        self.own(place)?;
        self.read(|connection| schedule::fires(connection, place.tenant, list)).await
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
        self.own(place)?;
        self.write(Durability::Full, |connection| {
            let (now, ahead) = match now {
                Some(now) => (now.as_microsecond(), 0),
                None => self.clock.now_and_ahead(),
            };
            let until = until.map_or(now, |until| until.as_microsecond().saturating_add(ahead));
            let moved = wait::move_to(connection, place.tenant, execution, wait, until, now)?;
            if let Some(audit) = audit.filter(|_| moved) {
                audit::note(connection, audit::OWN, audit, now)?;
            }
            Ok(moved)
        })
        .await
    }

    async fn wait_list(&self, place: &Place, filter: &WaitFilter) -> Result<Vec<OpenWait>> {
        self.own(place)?;
        let (tenant, filter) = (place.tenant, filter.clone());
        self.read_long(move |connection| wait::list(connection, tenant, &filter)).await
    }

    async fn children_due(
        &self,
        place: &Place,
        workflows: &Arc<[WorkflowKey]>,
        after: Option<&WaitCursor>,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<DueChildren> {
        self.own(place)?;
        let now = self.micros(now);
        self.read(|connection| children::due(connection, place.tenant, workflows, after, limit, now)).await
    }

    async fn children_settle(
        &self,
        place: &Place,
        steps: &Arc<[ParentStep]>,
        void: &[WaitCursor],
        now: Option<Timestamp>,
    ) -> Result<SettledWaits> {
        self.own(place)?;
        self.write(Durability::Full, |connection| {
            children::settle(connection, place.tenant, steps, void, self.micros(now))
        })
        .await
    }

    async fn page_write(
        &self,
        place: &Place,
        runner: RunnerId,
        stream: &Stream,
        page: &StreamPage,
    ) -> Result<bool> {
        self.own(place)?;
        self.write(Durability::Full, |connection| {
            children::page_write(connection, place.tenant, runner, stream, page)
        })
        .await
    }

    async fn page_read(&self, place: &Place, stream: &Stream, item: i64) -> Result<Vec<StreamPage>> {
        self.own(place)?;
        let (tenant, stream) = (place.tenant, stream.clone());
        self.read_long(move |connection| children::page_read(connection, tenant, &stream, item)).await
    }

    async fn task_keep(&self, place: &Place, kept: &KeptTask) -> Result<bool> {
        self.own(place)?;
        self.write(Durability::Full, |connection| execution::keep(connection, place.tenant, kept)).await
    }

    async fn children_list(&self, place: &Place, list: &ChildList) -> Result<Vec<ChildRecord>> {
        self.own(place)?;
        let (tenant, list) = (place.tenant, list.clone());
        self.read_long(move |connection| children::list(connection, tenant, &list)).await
    }

    async fn children_progress(
        &self,
        place: &Place,
        execution: ExecutionId,
    ) -> Result<Vec<ChildrenProgress>> {
        self.own(place)?;
        self.read(|connection| children::progress(connection, place.tenant, execution)).await
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
        self.own(place)?;
        self.write(Durability::Full, |connection| {
            let now = self.micros(now);
            let is_set = children::set_parallel(connection, place.tenant, execution, node, parallel, now)?;
            if let Some(audit) = audit.filter(|_| is_set) {
                audit::note(connection, audit::OWN, audit, now)?;
            }
            Ok(is_set)
        })
        .await
    }

    async fn signal_send(
        &self,
        place: &Place,
        signal: &NewSignal,
        now: Option<Timestamp>,
    ) -> Result<SignalSent> {
        self.own(place)?;
        self.write(Durability::Full, |connection| {
            wait::send(connection, place.tenant, signal, self.micros(now))
        })
        .await
    }

    async fn execution_load(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<ExecutionRecord>> {
        self.own(place)?;
        self.read(|connection| execution::load(connection, place.tenant, executions)).await
    }

    async fn execution_headers(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<ExecutionHeader>> {
        self.own(place)?;
        self.read(|connection| execution::headers(connection, place.tenant, executions)).await
    }

    async fn execution_pulse(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<(ExecutionId, Pulse)>> {
        self.own(place)?;
        self.read(|connection| execution::pulse(connection, place.tenant, executions)).await
    }

    async fn execution_find(
        &self,
        place: &Place,
        workflow: &str,
        key: &str,
    ) -> Result<Option<(ExecutionId, i64)>> {
        self.own(place)?;
        self.read(|connection| rows::execution_find(connection, place.tenant, workflow, key)).await
    }

    async fn execution_list(&self, place: &Place, list: &ExecutionList) -> Result<Vec<ExecutionHeader>> {
        self.own(place)?;
        let (tenant, list) = (place.tenant, list.clone());
        self.read_long(move |connection| execution::list(connection, tenant, &list)).await
    }

    async fn attempt_list(&self, place: &Place, execution: ExecutionId) -> Result<Option<AttemptList>> {
        self.own(place)?;
        let tenant = place.tenant;
        self.read_long(move |connection| execution::attempts(connection, tenant, execution)).await
    }

    async fn task_held(&self, place: &Place, runner: RunnerId) -> Result<Vec<Claimed>> {
        self.own(place)?;
        self.read(|connection| {
            let held = execution::held(connection, place.tenant, runner)?;
            Ok(held.into_iter().map(|held| held.claimed).collect())
        })
        .await
    }

    async fn execution_prune(
        &self,
        place: &Place,
        end: ExecutionStatus,
        retention: Duration,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<usize> {
        self.own(place)?;
        let tenant = place.tenant;
        let retention = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
        let before = now.map_or_else(|| self.clock.believed(), Timestamp::as_microsecond);
        let before = before.saturating_sub(retention);
        let over =
            self.read_long(move |connection| execution::over(connection, tenant, end, before, limit)).await?;
        if over.is_empty() && now.is_none() {
            self.say_what_is_kept(end, retention, before).await?;
        }
        let mut pruned = 0;
        for some in over.chunks(PRUNE_CHUNK) {
            pruned += self
                .write(Durability::Full, |connection| execution::prune(connection, tenant, before, some))
                .await?;
        }
        Ok(pruned)
    }

    async fn execution_oldest(&self, places: &[Arc<Place>]) -> Result<Vec<OldestEnds>> {
        // A file holds one place.
        let mut all = Vec::with_capacity(places.len());
        for place in places {
            self.own(place)?;
            let oldest = self.glance(|connection| {
                let of = |end| {
                    let at = execution::oldest(connection, place.tenant, end)?;
                    // What is out of range has been kept for ever, or is kept for ever.
                    Ok::<_, Failure>(at.map(|at| {
                        let bound = if at < 0 { Timestamp::MIN } else { Timestamp::MAX };
                        Timestamp::from_microsecond(at).unwrap_or(bound)
                    }))
                };
                Ok(OldestEnds {
                    completed: of(ExecutionStatus::Completed)?,
                    failed: of(ExecutionStatus::Failed)?,
                    cancelled: of(ExecutionStatus::Cancelled)?,
                })
            });
            all.push(oldest.await?);
        }
        Ok(all)
    }

    async fn bell_due(&self, now: Option<Timestamp>) -> Result<Bells> {
        // A writer that is busy is asked the next time: a flush says more than a hint.
        self.tell_of_others(true);
        self.glance(|connection| doorbell::due(connection, self.place.tenant, self.micros(now))).await
    }

    async fn bell_lower(
        &self,
        places: &[Arc<Place>],
        kinds: &'static [DueKind],
        now: Option<Timestamp>,
    ) -> Result<Vec<NextDue>> {
        let mut next = Vec::with_capacity(places.len());
        for place in places {
            self.own(place)?;
            let glance =
                self.glance(|connection| doorbell::next(connection, place.tenant, kinds, self.micros(now)));
            next.push(glance.await?);
        }
        Ok(next)
    }

    async fn runner_register(&self, runner: &RunnerRegistration, now: Option<Timestamp>) -> Result<()> {
        self.write(Durability::Full, |connection| runner::register(connection, runner, self.micros(now)))
            .await
    }

    async fn runner_heartbeat(
        &self,
        runner: RunnerId,
        workflows: &Arc<[WorkflowKey]>,
        now: Option<Timestamp>,
    ) -> Result<Liveness> {
        self.write(Durability::Process, |connection| {
            runner::heartbeat(connection, runner, workflows, self.micros(now))
        })
        .await
    }

    async fn workflow_describe(
        &self,
        place: &Place,
        workflows: &Arc<[DescribedWorkflow]>,
        now: Option<Timestamp>,
    ) -> Result<()> {
        self.own(place)?;
        if self.glance(|connection| workflow::are_known(connection, workflows)).await? {
            return Ok(());
        }
        // What is lost with the machine is written by the next process that opens the file.
        self.write(Durability::Process, |connection| {
            workflow::describe(connection, workflows, self.micros(now))
        })
        .await
    }

    async fn workflow_list(&self, place: &Place) -> Result<Vec<KnownWorkflow>> {
        self.own(place)?;
        self.read(workflow::list).await
    }

    async fn workflow_description(&self, place: &Place, key: &WorkflowKey) -> Result<Option<String>> {
        self.own(place)?;
        self.read(|connection| workflow::description(connection, key)).await
    }

    async fn audit_note(&self, place: &Place, audit: &NewAudit, now: Option<Timestamp>) -> Result<()> {
        self.own(place)?;
        self.write(Durability::Full, |connection| {
            audit::note(connection, audit::OWN, audit, self.micros(now))
        })
        .await
    }

    async fn runner_list(&self) -> Result<Vec<RunnerRecord>> {
        self.glance(runner::list).await
    }

    async fn runner_condemn(&self, runner: RunnerId, beat: i64) -> Result<bool> {
        self.write(Durability::Full, |connection| runner::condemn(connection, runner, beat)).await
    }

    async fn runner_rescue(&self, runner: RunnerId, now: Option<Timestamp>) -> Result<Vec<RescuedPlace>> {
        self.write(Durability::Full, |connection| {
            runner::rescue(connection, &self.place, runner, self.micros(now))
        })
        .await
    }

    async fn runner_retire(&self, runner: RunnerId) -> Result<()> {
        self.write(Durability::Full, |connection| {
            runner::retire(connection, self.place.tenant, runner, self.clock.now())
        })
        .await
    }

    fn rests(&self) -> bool {
        self.file.is_some()
    }

    async fn pressed(&self) {
        match &self.file {
            Some(file) => file.pressed().await,
            None => std::future::pending().await,
        }
    }

    async fn rest(&self) -> Result<bool> {
        match self.lie_down().await {
            // What somebody else wrote since it was closed was not seen.
            Err(Failure::Resting) => self.reopen().await.map(|()| false),
            result => result,
        }
        .map_err(|failure| failure.into_store_error(self.label_text()))
    }

    async fn close(&self) -> Result<()> {
        SqliteStore::close(self).await
    }
}

#[async_trait]
impl KeyStore for SqliteStore {
    async fn key_insert(
        &self,
        new: &NewKey,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<Result<Timestamp, KeyRefusal>> {
        if new.tenant.as_ref().is_some_and(|tenant| *tenant != self.place.name) {
            return Ok(Err(KeyRefusal::NoTenant));
        }
        let audit = audit.map(|audit| (audit::OWN, audit));
        self.write(Durability::Full, |connection| keys::insert(connection, new, audit, self.micros(now)))
            .await
    }

    async fn key_find(&self, id: KeyId, now: Option<Timestamp>) -> Result<Option<KeyRecord>> {
        self.read(|connection| keys::find(connection, id, self.micros(now))).await
    }

    async fn key_list(&self, list: &KeyList) -> Result<Vec<KeyRecord>> {
        self.read(|connection| keys::list(connection, list)).await
    }

    async fn key_delete(&self, id: KeyId, audit: Option<&NewAudit>, now: Option<Timestamp>) -> Result<bool> {
        let own = |_: &str| audit::OWN.to_owned();
        self.write(Durability::Full, |connection| keys::delete(connection, id, audit, own, self.micros(now)))
            .await
    }

    async fn key_used(&self, ids: &[KeyId], now: Option<Timestamp>) -> Result<()> {
        self.write(Durability::Process, |connection| keys::used(connection, ids, self.micros(now))).await
    }

    async fn key_prune(&self, now: Option<Timestamp>) -> Result<u64> {
        self.write(Durability::Process, |connection| keys::prune(connection, self.micros(now))).await
    }
}

#[async_trait]
impl AuditStore for SqliteStore {
    async fn audit_list(&self, list: &AuditList) -> Result<Vec<AuditRecord>> {
        let (before, limit, name) = (list.before, list.limit, self.place.name.clone());
        let rows = self.read_long(move |connection| audit::list(connection, None, before, limit)).await?;
        // The file is the tenant's, whatever it is called.
        Ok(rows.into_iter().map(|row| AuditRecord { tenant: Some(name.clone()), ..row }).collect())
    }

    async fn audit_chain(&self, _of: &AuditOf, after: (String, i64)) -> Result<AuditChain> {
        self.read_long(move |connection| audit::chain(connection, None, &after)).await
    }
}

impl SqliteStore {
    /// Says once that the clock would have more deleted than it is believed in.
    async fn say_what_is_kept(&self, end: ExecutionStatus, retention: i64, believed: i64) -> Result<()> {
        let (tenant, before) = (self.place.tenant, self.clock.now().saturating_sub(retention));
        if before <= believed || self.is_kept.load(Ordering::Relaxed) {
            return Ok(());
        }
        let kept =
            self.read_long(move |connection| execution::over(connection, tenant, end, before, 1)).await?;
        if !kept.is_empty() && !self.is_kept.swap(true, Ordering::Relaxed) {
            let ahead = Duration::from_micros(before.saturating_sub(believed).unsigned_abs());
            tracing::warn!(
                path = self.label_text(),
                ?ahead,
                "finished executions are kept although their retention is over: the clock of this machine is further ahead of the latest time \
                 in the file than this process has been running, by more than a day; if the clock is right, they are deleted after the next start"
            );
        }
        Ok(())
    }
}
