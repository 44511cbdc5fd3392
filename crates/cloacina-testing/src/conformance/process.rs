//! Short words for what the behaviours do: processes, runners and batches.
//!
//! Every call is run where its store asks for it, and every time is passed explicitly, so nothing waits.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cloacina_core::execution::{AttemptOutcome, AttemptRecord, SkipReason, TaskState};
use cloacina_core::id::{ExecutionId, RunnerId, ScheduleId, TaskIndex, TenantId};
use cloacina_core::store::{
    Bells, Claim, Claimed, Control, Controlled, Decide, DueKind, ENDS, ExecutionHeader, ExecutionList,
    ExecutionRecord, Expanded, Expansion, FireList, FireRecord, Flush, Flushed, Liveness, NewExecution,
    NewTask, NextDue, Outcome, Place, PlaceFlush, PlaceFlushed, PlaceName, RecordedExecutions, Repaired,
    RescuedPlace, Result, RunnerRecord, RunnerRegistration, ScheduleRecord, ScheduleSelection,
    SchedulesSettled, Settled, Store, StoreError, StoreErrorKind, TaskOutcome, TenantStatus, WorkflowKey,
};
use cloacina_core::workflow::Fingerprint;
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::Fixture;

/// The workflow that is meant where none is named.
pub(in crate::conformance) const WORKFLOW: &str = "ordering";

/// So many milliseconds after the start of a test.
pub(in crate::conformance) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_750_000_000_000 + millis).expect("the times of the tests are in range")
}

pub(in crate::conformance) fn key(name: &str, fingerprint: i64) -> WorkflowKey {
    WorkflowKey { name: name.into(), fingerprint: Fingerprint(fingerprint) }
}

/// An execution with a task for each number, which says how many tasks it waits for.
pub(in crate::conformance) fn draft(waiting_on: &[i16]) -> NewExecution {
    let tasks = waiting_on.iter().enumerate();
    NewExecution {
        id: ExecutionId::new(),
        workflow: key(WORKFLOW, 1),
        priority: 4,
        input: "{}".into(),
        idempotency: None,
        start_at: None,
        deadline: None,
        tasks: tasks
            .map(|(index, count)| NewTask { name: format!("t{index}"), is_wait: false, waiting_on: *count })
            .collect(),
        claimed: Vec::new(),
        submitter: None,
        tags: Vec::new(),
        submitted_by: None,
        on_failure: None,
        rerun: None,
        child: None,
    }
}

/// An execution whose tasks all are roots and claimed.
pub(in crate::conformance) fn claimed_draft(tasks: TaskIndex) -> NewExecution {
    NewExecution { claimed: (0..tasks).collect(), ..draft(&vec![0; tasks.unsigned_abs().into()]) }
}

pub(in crate::conformance) fn outcome(
    execution: ExecutionId,
    task: TaskIndex,
    outcome: TaskOutcome,
) -> Outcome {
    Outcome::new(execution, task, 1, outcome)
}

pub(in crate::conformance) fn completed(execution: ExecutionId, task: TaskIndex) -> Outcome {
    outcome(execution, task, TaskOutcome::Completed { patch: None })
}

pub(in crate::conformance) fn failed(execution: ExecutionId, task: TaskIndex, error: &str) -> Outcome {
    outcome(execution, task, TaskOutcome::Failed { how: AttemptOutcome::Failed, error: error.to_owned() })
}

pub(in crate::conformance) fn skipped(execution: ExecutionId, task: TaskIndex) -> Outcome {
    outcome(execution, task, TaskOutcome::Skipped { reason: SkipReason::ByRule })
}

pub(in crate::conformance) fn retried(
    execution: ExecutionId,
    task: TaskIndex,
    error: &str,
    after: Duration,
) -> Outcome {
    let how = AttemptOutcome::Failed;
    outcome(execution, task, TaskOutcome::Retry { how, error: error.to_owned(), after })
}

pub(in crate::conformance) fn released(execution: ExecutionId, task: TaskIndex) -> Outcome {
    outcome(execution, task, TaskOutcome::Released)
}

/// A database of its own, and the first process on it.
pub(in crate::conformance) struct World<'a, F: Fixture> {
    fixture: &'a F,
    pub(in crate::conformance) database: F::Database,
    process: Process,
}

impl<'a, F: Fixture> World<'a, F> {
    pub(in crate::conformance) async fn new(fixture: &'a F) -> Self {
        let database = fixture.create().await;
        let process = Process::open(fixture, &database).await;
        Self { fixture, database, process }
    }

    /// Another process on the same database and place.
    pub(in crate::conformance) async fn process(&self) -> Process {
        Process::open(self.fixture, &self.database).await
    }
}

impl<F: Fixture> Deref for World<'_, F> {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// How often a call is made that meets a transient error each time.
const ATTEMPTS: usize = 50;

/// A store as one process has it, and the place it works in.
#[derive(Clone)]
pub(in crate::conformance) struct Process {
    pub(in crate::conformance) store: Arc<dyn Store>,
    pub(in crate::conformance) place: Arc<Place>,
    lanes: Arc<Lanes>,
}

/// Two flushes of one lane are never under way at once.
struct Lanes {
    next: AtomicUsize,
    free: Vec<Mutex<()>>,
}

impl Process {
    pub(in crate::conformance) async fn open<F: Fixture>(fixture: &F, database: &F::Database) -> Self {
        let store = fixture.open(database).await;
        let name = fixture.places().into_iter().next().expect("a fixture has a place");
        Self::in_place(store, name).await.expect("the place opens")
    }

    pub(in crate::conformance) async fn in_place(store: Arc<dyn Store>, name: PlaceName) -> Result<Self> {
        let place = call(&store, |store| async move { store.place_open(&name).await }).await?;
        let free = (0..store.lanes()).map(|_| Mutex::default()).collect();
        Ok(Self { store, place: Arc::new(place), lanes: Arc::new(Lanes { next: AtomicUsize::new(0), free }) })
    }

    /// This process in another place.
    pub(in crate::conformance) async fn visit(&self, name: PlaceName) -> Self {
        let place = self.call(|store| async move { store.place_open(&name).await }).await;
        Self { place: Arc::new(place), ..self.clone() }
    }

    /// What comes of a call that must succeed, if not at once: another may hold what it needs for longer than
    /// it waits.
    pub(in crate::conformance) async fn call<T, C>(&self, work: impl FnOnce(Arc<dyn Store>) -> C + Clone) -> T
    where
        T: Send + 'static,
        C: Future<Output = Result<T>> + Send + 'static,
    {
        for _ in 1..ATTEMPTS {
            match call(&self.store, work.clone()).await {
                Err(error) if passes(&error) => {}
                answer => return answer.expect("the store answers"),
            }
        }
        call(&self.store, work).await.expect("the store answers")
    }

    pub(in crate::conformance) async fn flush(&self, flush: impl Into<Arc<Flush>>) -> Result<Flushed> {
        let flush = flush.into();
        let lane = self.lanes.next.fetch_add(1, Ordering::Relaxed) % self.lanes.free.len();
        let _under_way = self.lanes.free[lane].lock().await;
        call(&self.store, |store| async move { store.flush(lane, &flush).await }).await
    }

    /// A batch of a process that has no runner.
    pub(in crate::conformance) fn batch(&self, now: Timestamp) -> Batch {
        Batch::new(self.clone(), None, now)
    }

    /// Records an execution that nobody has claimed.
    pub(in crate::conformance) async fn submit(&self, new: NewExecution, now: Timestamp) -> ExecutionId {
        let id = new.id;
        assert_eq!(self.batch(now).submit(new).write().await.submitted, [id]);
        id
    }

    /// A new live runner of this process.
    pub(in crate::conformance) async fn runner(&self) -> Runner {
        self.runner_for(&[key(WORKFLOW, 1)]).await
    }

    pub(in crate::conformance) async fn runner_for(&self, workflows: &[WorkflowKey]) -> Runner {
        let id = RunnerId::new();
        self.register(RunnerRegistration {
            id,
            lease: Duration::from_secs(30),
            process: None,
            host_name: None,
            workflows: workflows.into(),
        })
        .await;
        let claims = Claims { workflows: workflows.into(), before: AtomicBool::new(false) };
        Runner { process: self.clone(), id, claims: Arc::new(claims) }
    }

    pub(in crate::conformance) async fn register(&self, registration: RunnerRegistration) {
        self.call(|store| async move { store.runner_register(&registration, Some(at(0))).await }).await;
    }

    pub(in crate::conformance) async fn heartbeat(
        &self,
        runner: RunnerId,
        workflows: &[WorkflowKey],
    ) -> Liveness {
        let workflows = workflows.into();
        self.call(|store| async move { store.runner_heartbeat(runner, &workflows, Some(at(0))).await }).await
    }

    pub(in crate::conformance) async fn runners(&self) -> Vec<RunnerRecord> {
        self.call(|store| async move { store.runner_list().await }).await
    }

    /// The record of a runner, if there is one.
    pub(in crate::conformance) async fn runner_record(&self, runner: RunnerId) -> Option<RunnerRecord> {
        self.runners().await.into_iter().find(|record| record.id == runner)
    }

    pub(in crate::conformance) async fn condemn(&self, runner: RunnerId, beat: i64) -> bool {
        self.call(|store| async move { store.runner_condemn(runner, beat).await }).await
    }

    pub(in crate::conformance) async fn rescue(&self, runner: RunnerId, now: Timestamp) -> Vec<RescuedPlace> {
        self.call(|store| async move { store.runner_rescue(runner, Some(now)).await }).await
    }

    pub(in crate::conformance) async fn try_rescue(
        &self,
        runner: RunnerId,
        now: Timestamp,
    ) -> Result<Vec<RescuedPlace>> {
        call(&self.store, |store| async move { store.runner_rescue(runner, Some(now)).await }).await
    }

    pub(in crate::conformance) async fn retire(&self, runner: RunnerId) {
        self.call(|store| async move { store.runner_retire(runner).await }).await;
    }

    pub(in crate::conformance) async fn control(
        &self,
        id: ExecutionId,
        control: Control,
        now: Timestamp,
    ) -> Controlled {
        let place = Arc::clone(&self.place);
        self.call(|store| async move { store.execution_control(&place, id, control, None, Some(now)).await })
            .await
    }

    pub(in crate::conformance) async fn overdue(
        &self,
        known: &[WorkflowKey],
        grace: Duration,
        now: Timestamp,
    ) -> Vec<(ExecutionId, WorkflowKey)> {
        let (place, known) = (Arc::clone(&self.place), known.into());
        self.call(|store| async move { store.execution_overdue(&place, &known, grace, Some(now)).await })
            .await
    }

    pub(in crate::conformance) async fn orphaned(
        &self,
        known: &[WorkflowKey],
    ) -> Vec<(ExecutionId, WorkflowKey)> {
        let (place, known) = (Arc::clone(&self.place), known.into());
        self.call(|store| async move { store.execution_orphaned(&place, &known).await }).await
    }

    pub(in crate::conformance) async fn repair(&self, now: Timestamp) -> Repaired {
        let place = Arc::clone(&self.place);
        self.call(|store| async move { store.place_repair(&place, Some(now)).await }).await
    }

    pub(in crate::conformance) async fn cancel(&self, id: ExecutionId, now: Timestamp) -> Controlled {
        self.control(id, Control::Cancel { reason: "not wanted".to_owned() }, now).await
    }

    pub(in crate::conformance) async fn pause(&self, id: ExecutionId, now: Timestamp) -> Controlled {
        self.control(id, Control::Pause, now).await
    }

    pub(in crate::conformance) async fn resume(&self, id: ExecutionId, now: Timestamp) -> Controlled {
        self.control(id, Control::Resume, now).await
    }

    pub(in crate::conformance) async fn expire(&self, now: Timestamp) -> Vec<ExecutionId> {
        let place = Arc::clone(&self.place);
        self.call(|store| async move { store.due_settle(&place, DueKind::ALL, Some(now)).await })
            .await
            .expired
    }

    /// How many executions were given the tasks of a workflow of this version; each task waits for so many.
    pub(in crate::conformance) async fn expand(
        &self,
        workflow: &WorkflowKey,
        waiting_on: &[i16],
        limit: usize,
        now: Timestamp,
    ) -> usize {
        self.expand_any(workflow, waiting_on, limit, now).await.executions
    }

    async fn expand_any(
        &self,
        workflow: &WorkflowKey,
        waiting_on: &[i16],
        limit: usize,
        now: Timestamp,
    ) -> Expanded {
        let tasks = draft(waiting_on).tasks;
        let expansion = Expansion { workflow: workflow.clone(), tasks, on_failure: None };
        let places = [(Arc::clone(&self.place), Arc::from([expansion]))];
        let expand =
            |store: Arc<dyn Store>| async move { store.execution_expand(&places, limit, Some(now)).await };
        self.call(expand).await.remove(0)
    }

    /// The reruns that are met by whoever has this version of the workflow.
    pub(in crate::conformance) async fn reruns_met(
        &self,
        workflow: &WorkflowKey,
        waiting_on: &[i16],
        now: Timestamp,
    ) -> Vec<ExecutionId> {
        let expanded = self.expand_any(workflow, waiting_on, 10, now).await;
        assert_eq!(expanded.executions, 0);
        expanded.reruns
    }

    /// Gives a rerun its tasks.
    pub(in crate::conformance) async fn expand_rerun(
        &self,
        rerun: &Arc<NewExecution>,
        now: Timestamp,
    ) -> bool {
        let (place, rerun) = (Arc::clone(&self.place), Arc::clone(rerun));
        self.call(|store| async move { store.execution_expand_rerun(&place, &rerun, Some(now)).await }).await
    }

    /// Takes due rows, as a program that knows these kinds.
    pub(in crate::conformance) async fn settle(&self, kinds: &'static [DueKind], now: Timestamp) -> Settled {
        let place = Arc::clone(&self.place);
        self.call(|store| async move { store.due_settle(&place, kinds, Some(now)).await }).await
    }

    pub(in crate::conformance) async fn settle_schedules(
        &self,
        limit: usize,
        decide: Decide,
        now: Timestamp,
    ) -> SchedulesSettled {
        let place = Arc::clone(&self.place);
        let places = [(place, decide)];
        self.call(|store| async move { store.schedule_settle(&places, limit, Some(now)).await })
            .await
            .remove(0)
    }

    pub(in crate::conformance) async fn change_schedules(
        &self,
        selection: ScheduleSelection,
        decide: Decide,
        now: Timestamp,
    ) -> SchedulesSettled {
        let place = Arc::clone(&self.place);
        self.call(|store| async move { store.schedule_change(&place, &selection, Some(now), &decide).await })
            .await
    }

    pub(in crate::conformance) async fn list_schedules(
        &self,
        selection: ScheduleSelection,
    ) -> Vec<ScheduleRecord> {
        let place = Arc::clone(&self.place);
        self.call(|store| async move { store.schedule_list(&place, &selection).await }).await
    }

    pub(in crate::conformance) async fn fires_of(
        &self,
        schedule: ScheduleId,
        from: Timestamp,
        before: Timestamp,
        limit: usize,
    ) -> Vec<FireRecord> {
        let (place, list) = (Arc::clone(&self.place), FireList { schedule, from, before, limit });
        self.call(|store| async move { store.schedule_fires(&place, &list).await }).await
    }

    pub(in crate::conformance) async fn count(&self, at_most: usize) -> usize {
        let place = Arc::clone(&self.place);
        self.call(|store| async move { store.execution_count(&place, at_most).await }).await
    }

    pub(in crate::conformance) async fn place_of(&self, tenant: TenantId) -> Option<Place> {
        self.call(|store| async move { store.place_of(tenant).await }).await
    }

    pub(in crate::conformance) async fn status(&self) -> TenantStatus {
        let place = Arc::clone(&self.place);
        self.call(|store| async move { store.tenant_status(&place).await }).await
    }

    pub(in crate::conformance) async fn load_all(&self, ids: &[ExecutionId]) -> Vec<ExecutionRecord> {
        let (place, ids) = (Arc::clone(&self.place), ids.to_vec());
        self.call(|store| async move { store.execution_load(&place, &ids).await }).await
    }

    /// Why executions are not read.
    pub(in crate::conformance) async fn load_refused(&self, ids: &[ExecutionId]) -> StoreErrorKind {
        let (place, ids) = (Arc::clone(&self.place), ids.to_vec());
        let loaded = call(&self.store, |store| async move { store.execution_load(&place, &ids).await }).await;
        loaded.expect_err("they are too large").kind()
    }

    pub(in crate::conformance) async fn load(&self, id: ExecutionId) -> ExecutionRecord {
        let [record] = self.load_all(&[id]).await.try_into().expect("the execution is there once");
        record
    }

    pub(in crate::conformance) async fn states(&self, id: ExecutionId) -> Vec<TaskState> {
        self.load(id).await.tasks.iter().map(|task| task.state).collect()
    }

    pub(in crate::conformance) async fn headers(&self, ids: &[ExecutionId]) -> Vec<ExecutionHeader> {
        let (place, ids) = (Arc::clone(&self.place), ids.to_vec());
        self.call(|store| async move { store.execution_headers(&place, &ids).await }).await
    }

    pub(in crate::conformance) async fn header(&self, id: ExecutionId) -> ExecutionHeader {
        let [header] = self.headers(&[id]).await.try_into().expect("the execution is there once");
        header
    }

    pub(in crate::conformance) async fn find(
        &self,
        workflow: &'static str,
        key: &str,
    ) -> Option<(ExecutionId, i64)> {
        let (place, key) = (Arc::clone(&self.place), key.to_owned());
        self.call(|store| async move { store.execution_find(&place, workflow, &key).await }).await
    }

    pub(in crate::conformance) async fn list(&self, list: ExecutionList) -> Vec<ExecutionId> {
        let place = Arc::clone(&self.place);
        let headers = self.call(|store| async move { store.execution_list(&place, &list).await }).await;
        headers.iter().map(|header| header.id).collect()
    }

    pub(in crate::conformance) async fn attempts(&self, id: ExecutionId) -> Option<Vec<AttemptRecord>> {
        let place = Arc::clone(&self.place);
        self.call(|store| async move { store.attempt_list(&place, id).await }).await
    }

    /// How the attempts of an execution ended, in the order of tasks and attempts.
    pub(in crate::conformance) async fn endings(&self, id: ExecutionId) -> Vec<AttemptOutcome> {
        self.attempts(id)
            .await
            .expect("the execution is there")
            .iter()
            .map(|attempt| attempt.outcome)
            .collect()
    }

    pub(in crate::conformance) async fn held(&self, runner: RunnerId) -> Vec<Claimed> {
        let place = Arc::clone(&self.place);
        self.call(|store| async move { store.task_held(&place, runner).await }).await
    }

    /// Records executions in a transaction that no lane has.
    pub(in crate::conformance) async fn record(
        &self,
        new: Vec<NewExecution>,
        now: Timestamp,
    ) -> RecordedExecutions {
        let (place, new): (_, Arc<[_]>) = (Arc::clone(&self.place), new.into_iter().map(Arc::new).collect());
        self.call(|store| async move { store.execution_record(&place, &new, Some(now)).await }).await
    }

    pub(in crate::conformance) async fn prune(&self, before: Timestamp, limit: usize) -> usize {
        let place = Arc::clone(&self.place);
        let mut pruned = 0;
        for end in ENDS {
            let (place, limit) = (Arc::clone(&place), limit - pruned);
            pruned += self
                .call(|store| async move {
                    store.execution_prune(&place, end, Duration::ZERO, limit, Some(before)).await
                })
                .await;
        }
        pruned
    }

    pub(in crate::conformance) async fn bells(&self, now: Timestamp) -> Bells {
        self.call(|store| async move { store.bell_due(Some(now)).await }).await
    }

    /// Whether the bell of this place is due.
    pub(in crate::conformance) async fn is_rung(&self, now: Timestamp) -> bool {
        self.bells(now).await.due.iter().any(|due| due.tenant == self.place.tenant)
    }

    /// Whether there is a notice of this execution.
    pub(in crate::conformance) async fn is_noticed(&self, id: ExecutionId, now: Timestamp) -> bool {
        self.bells(now).await.notices.contains(&(self.place.tenant, id))
    }

    pub(in crate::conformance) async fn lower(&self, now: Timestamp) -> NextDue {
        self.lower_knowing(DueKind::ALL, now).await
    }

    /// Lowers the bell, as a program that knows these kinds of due rows.
    pub(in crate::conformance) async fn lower_knowing(
        &self,
        kinds: &'static [DueKind],
        now: Timestamp,
    ) -> NextDue {
        let place = Arc::clone(&self.place);
        self.call(|store| async move { store.bell_lower(&[place], kinds, Some(now)).await }).await.remove(0)
    }
}

/// Whether what met this error is to be tried again. A store may be busy; two of its transactions that wait
/// for each other are a fault of it.
fn passes(error: &StoreError) -> bool {
    let said = format!("{error} {error:?}");
    assert!(!said.contains("deadlock"), "{said}");
    matches!(error.kind(), StoreErrorKind::Transient | StoreErrorKind::Busy)
}

/// Runs a call where the store asks for it.
async fn call<T, C>(store: &Arc<dyn Store>, work: impl FnOnce(Arc<dyn Store>) -> C) -> T
where
    T: Send + 'static,
    C: Future<Output = T> + Send + 'static,
{
    store.runtime().spawn(work(Arc::clone(store))).await.expect("a store does not panic")
}

/// A live engine of a process.
#[derive(Clone)]
pub(in crate::conformance) struct Runner {
    pub(in crate::conformance) process: Process,
    pub(in crate::conformance) id: RunnerId,
    claims: Arc<Claims>,
}

struct Claims {
    workflows: Arc<[WorkflowKey]>,
    /// Whether it has claimed something before.
    before: AtomicBool,
}

impl Runner {
    pub(in crate::conformance) fn batch(&self, now: Timestamp) -> Batch {
        Batch::new(self.process.clone(), Some(self), now)
    }

    /// Records an execution, with those of its tasks that it names as claimed.
    pub(in crate::conformance) async fn submit(&self, new: NewExecution, now: Timestamp) -> ExecutionId {
        let id = new.id;
        assert_eq!(self.batch(now).submit(new).write().await.submitted, [id]);
        id
    }

    /// Claims up to `limit` tasks.
    pub(in crate::conformance) async fn claim(&self, limit: usize, now: Timestamp) -> Vec<Claimed> {
        self.batch(now).claim(limit).write().await.claimed
    }

    /// Hands in one outcome.
    pub(in crate::conformance) async fn report(&self, outcome: Outcome, now: Timestamp) -> PlaceFlushed {
        self.batch(now).outcome(outcome).write().await
    }

    /// Declares this runner dead, as another process does.
    pub(in crate::conformance) async fn condemn(&self) {
        let record = self.process.runner_record(self.id).await.expect("the runner is registered");
        assert!(self.process.condemn(self.id, record.beat).await, "a runner that is silent is declared dead");
    }
}

/// A flush in the making, of one place.
pub(in crate::conformance) struct Batch {
    process: Process,
    runner: Option<Runner>,
    now: Timestamp,
    part: PlaceFlush,
}

impl Batch {
    fn new(process: Process, runner: Option<&Runner>, now: Timestamp) -> Self {
        let part = PlaceFlush {
            place: Arc::clone(&process.place),
            first_claim: runner.is_some_and(|runner| !runner.claims.before.load(Ordering::Relaxed)),
            submits: Vec::new(),
            outcomes: Vec::new(),
            timed: Vec::new(),
            related: Vec::new(),
            claim: None,
        };
        Self { process, runner: runner.cloned(), now, part }
    }

    pub(in crate::conformance) fn submit(mut self, new: NewExecution) -> Self {
        self.part.submits.push(Arc::new(new));
        self
    }

    pub(in crate::conformance) fn submits(
        mut self,
        new: impl IntoIterator<Item = Arc<NewExecution>>,
    ) -> Self {
        self.part.submits.extend(new);
        self
    }

    pub(in crate::conformance) fn outcome(mut self, outcome: Outcome) -> Self {
        self.part.timed.push(outcome.execution);
        self.part.related.push(outcome.execution);
        self.part.outcomes.push(Arc::new(outcome));
        self
    }

    pub(in crate::conformance) fn outcomes(self, outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        outcomes.into_iter().fold(self, Self::outcome)
    }

    pub(in crate::conformance) fn claim(mut self, limit: usize) -> Self {
        let workflows = self.runner.as_ref().map(|runner| Arc::clone(&runner.claims.workflows));
        let workflows = workflows.expect("only a runner claims");
        self.part.claim = Some(Claim { limit, workflows });
        self
    }

    pub(in crate::conformance) async fn write(self) -> PlaceFlushed {
        self.send(ATTEMPTS).await.expect("the flush succeeds")
    }

    /// As somebody who has forgotten which executions have due rows.
    pub(in crate::conformance) async fn write_untimed(mut self) -> PlaceFlushed {
        self.part.timed.clear();
        self.write().await
    }

    pub(in crate::conformance) async fn try_write(self) -> Result<PlaceFlushed> {
        self.send(1).await
    }

    /// Tries so often, if there are only transient errors.
    async fn send(self, attempts: usize) -> Result<PlaceFlushed> {
        let Self { process, runner, now, part } = self;
        let flush = Arc::new(Flush {
            runner: runner.as_ref().map(|runner| runner.id),
            now: Some(now),
            places: vec![part],
        });
        let mut flushed = process.flush(Arc::clone(&flush)).await;
        for _ in 1..attempts {
            match &flushed {
                Err(error) if passes(error) => {
                    flushed = process.flush(Arc::clone(&flush)).await;
                }
                _ => break,
            }
        }
        let mut flushed = flushed?;
        assert_eq!(flushed.now, now, "a flush uses the time it is given");
        if let Some(runner) = runner {
            runner.claims.before.store(true, Ordering::Relaxed);
        }
        let place = flushed.places.pop().expect("a flush answers for its place");
        assert!(flushed.places.is_empty(), "a flush answers for each place once");
        Ok(place)
    }
}
