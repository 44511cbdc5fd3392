//! A tenant's place as this process has it open.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, Notify, RwLock, oneshot};
use tokio_util::sync::CancellationToken;

use super::attempt::Running;
use super::auditor::Look;
use super::live::Live;
use super::queue::Queue;
use super::troubles::PlaceTroubles;
use crate::config::DefaultRunnerConfig;
use crate::error::{ErrorKind, PipelineError};
use crate::execution::PipelineResult;
use crate::id::{ExecutionId, RunnerId, TaskIndex};
use crate::slots::{QueuePermit, TenantSlots};
use crate::store::{Place, TenantState, TenantStatus, WorkflowKey};
use crate::streak::Whose;
use crate::workflow::Workflow;

/// A tenant's place as this process has it open, shared by all handles on it.
#[derive(Debug)]
pub(crate) struct OpenPlace {
    pub(crate) place: Arc<Place>,
    pub(crate) slots: Arc<TenantSlots>,
    state: Mutex<PlaceState>,
    /// How many new executions are on their way to the database.
    submitting: AtomicUsize,
    /// How many transitions are on their way to the database.
    pub(crate) on_their_way: AtomicUsize,
    /// Whether its transitions go through the lane of places in trouble. Written by lanes, read by whoever sends one.
    pub(crate) is_aside: AtomicBool,
    /// Woken when the last held task is let go, or the last new execution is recorded.
    pub(crate) idle: Notify,
    /// What is known of the executions that are not over.
    pub(crate) queue: Mutex<Queue>,
    /// Held by whoever counts them for those that wait for the answer.
    pub(crate) counting: AsyncMutex<()>,
    /// Held shared by a lane from the start of a flush of this place until what it did is applied; the auditor takes it alone.
    pub(crate) gate: Arc<RwLock<()>>,
    /// The same for a completion that is recorded in a transaction that is not the engine's. The auditor takes it after the gate.
    pub(crate) recording: Arc<RwLock<()>>,
    pub(crate) troubles: PlaceTroubles,
}

/// A new execution on its way to the database.
#[derive(Debug)]
pub(crate) struct Submitting {
    place: Arc<OpenPlace>,
    _counted: QueuePermit,
}

impl Submitting {
    /// Otherwise: how many of the process are on their way, which is as many as may be.
    pub(crate) fn new(place: &Arc<OpenPlace>) -> Result<Self, usize> {
        let counted = QueuePermit::take()?;
        place.submitting.fetch_add(1, Ordering::AcqRel);
        Ok(Self { place: Arc::clone(place), _counted: counted })
    }
}

impl Drop for Submitting {
    fn drop(&mut self) {
        if self.place.submitting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.place.idle.notify_waiters();
        }
    }
}

/// Tells the handles on one place apart.
pub(crate) type HandleNumber = u64;

/// What changes about an open place. Written by handles, lanes and attempts; held for short moments only.
#[derive(Debug)]
pub(crate) struct PlaceState {
    /// How many handles are open.
    pub(crate) handles: usize,
    /// The number of the next handle.
    pub(crate) next_handle: HandleNumber,
    /// The open handles that run tasks, each with the runtime that it was opened on, the newest last: tasks run there. Those whose
    /// runtime has ended are taken out; nothing is claimed if none is left.
    pub(crate) executors: Vec<(HandleNumber, Handle)>,
    pub(crate) settings: Arc<DefaultRunnerConfig>,
    pub(crate) workflows: Arc<WorkflowSet>,
    /// What the operator decided about the tenant, as far as it is known here.
    pub(crate) status: TenantStatus,
    /// When that was asked for last, and the how manieth time it was.
    pub(crate) status_asked: Option<(Duration, u64)>,
    /// Whether the runner is registered, without which nothing is claimed.
    pub(crate) registered: bool,
    /// Whether the last handle is being shut down: nothing more is claimed.
    pub(crate) closing: bool,
    /// What is known of executions that are worked on, or waited for, here.
    pub(crate) live: HashMap<ExecutionId, Live>,
    /// The tasks that the database says are ours, from the claim to the recorded outcome.
    pub(crate) held: BTreeMap<(ExecutionId, TaskIndex), Held>,
    /// Who waits for which execution.
    pub(crate) waiting: HashMap<ExecutionId, Waiting>,
    /// Whether there may be claimable rows in the ready table, and if so the highest priority known among them.
    pub(crate) backlog: Option<i16>,
    /// Counts the news about the backlog, so that a claim knows whether it looked before the latest.
    pub(crate) backlog_news: u64,
    /// Whether the place stands in the scheduler's queue.
    pub(crate) queued: bool,
    /// Whether a claim is under way.
    pub(crate) claiming: bool,
    /// How long to wait before looking again, when work was due but none of it for us.
    pub(crate) patience: Option<Duration>,
    /// When it was last looked whether the work that is due is nobody's.
    pub(crate) orphans_looked: Option<Duration>,
    /// How long the last flush or claim that could not be made was put off. Written by lanes and served places.
    pub(crate) trouble: Option<Duration>,
    /// How long the place has to be well before it leaves the lane of those in trouble, and when it was last in trouble. Written
    /// by lanes.
    pub(crate) convalescence: (Duration, Duration),
    /// What the auditor was asked to look at while it looks already, where it looks aside.
    pub(crate) looks: Option<Look>,
    /// Executions that could not be run as they are stored.
    pub(crate) given_up: HashSet<ExecutionId>,
    /// The runner whose presence here is recorded.
    pub(crate) noted: Option<RunnerId>,
    /// Whether, and since when, the place is also open because a runner serves every tenant.
    pub(crate) served: Option<Served>,
    /// When something was last written here.
    pub(crate) used: Duration,
}

/// What keeps a place open for a runner that serves every tenant: a handle that the hub holds itself.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) handle: HandleNumber,
    /// Those of the runner.
    pub(crate) settings: Arc<DefaultRunnerConfig>,
    pub(crate) since: Duration,
    /// Whether it makes room for others as soon as nothing runs here.
    pub(crate) yields: bool,
}

/// A task that the database says is ours.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) attempt: i32,
    pub(crate) stop: Arc<Stop>,
}

/// Who waits for an execution.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) senders: Vec<Waiter>,
    /// When to ask the database, and how long to wait after that.
    pub(crate) poll: Option<(Duration, Duration)>,
}

pub(crate) type Waiter = oneshot::Sender<Result<PipelineResult, PipelineError>>;

/// Tells an attempt to stop, and why.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    pub(crate) token: CancellationToken,
    reason: AtomicU8,
    attempt: OnceLock<Weak<Running>>,
}

/// Why an attempt has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// The task is not ours any more: its execution was cancelled, or the runner was declared dead. Nothing is recorded.
    Void,
    /// The runner shuts down, or the tenant may not work for a while: what does not finish is given back.
    GiveBack,
}

impl Stop {
    /// The first reason counts, unless the task turns out not to be ours any more.
    pub(crate) fn stop(&self, reason: StopReason) {
        self.reason.fetch_max(if reason == StopReason::Void { 2 } else { 1 }, Ordering::AcqRel);
        self.token.cancel();
        if let Some(attempt) = self.attempt.get().and_then(Weak::upgrade) {
            attempt.stopped();
        }
    }

    /// Which attempt it stops.
    pub(super) fn tells(&self, attempt: &Arc<Running>) {
        self.attempt.get_or_init(|| Arc::downgrade(attempt));
    }

    pub(crate) fn reason(&self) -> Option<StopReason> {
        match self.reason.load(Ordering::Acquire) {
            0 => None,
            1 => Some(StopReason::GiveBack),
            _ => Some(StopReason::Void),
        }
    }
}

impl OpenPlace {
    pub(crate) fn new(
        place: Place,
        slots: Arc<TenantSlots>,
        settings: Arc<DefaultRunnerConfig>,
        status: TenantStatus,
    ) -> Self {
        Self {
            place: Arc::new(place),
            slots,
            state: Mutex::new(PlaceState {
                handles: 0,
                next_handle: 0,
                executors: Vec::new(),
                settings,
                workflows: Arc::default(),
                status,
                status_asked: None,
                registered: false,
                closing: false,
                live: HashMap::new(),
                held: BTreeMap::new(),
                waiting: HashMap::new(),
                backlog: None,
                backlog_news: 0,
                queued: false,
                claiming: false,
                patience: None,
                orphans_looked: None,
                trouble: None,
                convalescence: (Duration::ZERO, Duration::ZERO),
                looks: None,
                given_up: HashSet::new(),
                noted: None,
                served: None,
                used: Duration::ZERO,
            }),
            submitting: AtomicUsize::new(0),
            on_their_way: AtomicUsize::new(0),
            is_aside: AtomicBool::new(false),
            idle: Notify::new(),
            queue: Mutex::default(),
            counting: AsyncMutex::default(),
            gate: Arc::default(),
            recording: Arc::default(),
            troubles: PlaceTroubles::default(),
        }
    }

    /// For the log.
    pub(crate) fn whose(&self) -> Whose<'_> {
        Whose::Tenant(&self.place.name)
    }

    /// The state. A panic while it was held can only come from a defect; the state is used on as it is.
    pub(crate) fn state(&self) -> MutexGuard<'_, PlaceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is on the way, waited for, or known to be claimable.
    pub(crate) fn is_unused(&self) -> bool {
        let state = self.state();
        state.held.is_empty()
            && !state.claiming
            && state.waiting.is_empty()
            && state.backlog.is_none()
            && self.submitting.load(Ordering::Acquire) == 0
    }

    /// Whether nothing of it is on the way: no task held, no claim or new execution under way.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state();
        state.held.is_empty() && !state.claiming && self.submitting.load(Ordering::Acquire) == 0
    }

    /// Whether nothing can happen here before a due time, unless somebody comes: nobody waits, no work that may be claimed is known.
    pub(crate) fn is_quiet(&self, state: &PlaceState) -> bool {
        let no_work = state.backlog.is_none() && state.patience.is_none() && !state.queued;
        state.held.is_empty()
            && !state.claiming
            && !state.closing
            && state.waiting.is_empty()
            && (no_work || state.executors.is_empty())
            && self.submitting.load(Ordering::Acquire) == 0
    }

    /// Lets go of a task that is held for this attempt. A later attempt may be held already, while the earlier one is still
    /// coming to its end or its outcome is written once more after a lost answer: that one is kept.
    pub(crate) fn let_go(
        &self,
        state: &mut PlaceState,
        execution: ExecutionId,
        task: TaskIndex,
        attempt: i32,
    ) {
        if state.held.get(&(execution, task)).is_some_and(|held| held.attempt == attempt) {
            state.held.remove(&(execution, task));
            if state.held.is_empty() {
                self.idle.notify_waiters();
            }
        }
    }
}

impl PlaceState {
    /// Whether tasks may be started here.
    pub(crate) fn claims(&self) -> bool {
        let yields = self.served.as_ref().is_some_and(|served| served.yields) && self.handles == 1;
        self.registered && self.is_active() && !self.closing && !yields && !self.executors.is_empty()
    }

    /// Whether the tenant may work.
    pub(crate) fn is_active(&self) -> bool {
        self.status.state == TenantState::Active
    }

    /// Whether the place is open for nobody but a runner that serves every tenant.
    pub(crate) fn only_served(&self) -> bool {
        self.served.is_some() && self.handles == 1
    }

    /// Whether tasks might be started here if the runner were registered.
    pub(crate) fn lacks_runner(&self) -> bool {
        !self.registered && !self.closing && !self.executors.is_empty()
    }

    pub(crate) fn note_backlog(&mut self, priority: i16) {
        self.backlog = Some(self.backlog.map_or(priority, |known| known.max(priority)));
        self.backlog_news += 1;
    }

    /// The workflows that are claimed here. Where the tenant can write executions itself, not those that are for the operator alone.
    pub(crate) fn claimable(&self) -> &Arc<[WorkflowKey]> {
        match (self.status.has_login, self.lacks_resources()) {
            (false, _) => &self.workflows.keys,
            (true, false) => &self.workflows.open_keys,
            (true, true) => &self.workflows.bare_keys,
        }
    }

    /// Whether what tasks may ask for is not to be had here, because the tenant has a login of its own.
    fn lacks_resources(&self) -> bool {
        let resources = self.settings.resources.as_ref();
        self.status.has_login && resources.is_some_and(|resources| !resources.reaches_logins())
    }

    /// Whether tasks of the workflow may be started here.
    pub(crate) fn may_start(&self, workflow: &Workflow) -> bool {
        !(workflow.asks_for_resources() && self.lacks_resources())
    }

    /// The workflow, if it is this very version and may be run here.
    pub(crate) fn runnable(&self, key: &WorkflowKey) -> Option<&Arc<Workflow>> {
        let forbidden = |workflow: &Workflow| self.status.has_login && workflow.is_operator_only();
        self.workflows.version(key).filter(|workflow| !forbidden(workflow))
    }

    /// The held tasks of an execution.
    pub(crate) fn held_of(&self, execution: ExecutionId) -> impl Iterator<Item = (TaskIndex, &Held)> {
        self.held
            .range((execution, TaskIndex::MIN)..=(execution, TaskIndex::MAX))
            .map(|((_, task), held)| (*task, held))
    }

    pub(crate) fn holds(&self, execution: ExecutionId) -> bool {
        self.held_of(execution).next().is_some()
    }

    /// Forgets an execution that nobody here works on or waits for.
    pub(crate) fn forget_if_unused(&mut self, execution: ExecutionId) {
        if !self.waiting.contains_key(&execution) && !self.holds(execution) {
            self.live.remove(&execution);
        }
    }

    /// Hands the result of an execution to all who wait for it.
    pub(crate) fn finish(&mut self, execution: ExecutionId, result: &Result<PipelineResult, PipelineError>) {
        self.live.remove(&execution);
        let Some(waiting) = self.waiting.remove(&execution) else { return };
        for sender in waiting.senders {
            let copy = match result {
                Ok(result) => Ok(result.clone()),
                Err(error) => Err(PipelineError::new(error.kind(), error.to_string())),
            };
            // Whoever dropped its future does not want to know.
            drop(sender.send(copy));
        }
    }
}

/// The workflows that a place can run, by name.
#[derive(Debug, Default)]
pub(crate) struct WorkflowSet {
    by_name: HashMap<String, Arc<Workflow>>,
    keys: Arc<[WorkflowKey]>,
    /// Those that are not for the operator alone.
    open_keys: Arc<[WorkflowKey]>,
    /// Those of them whose tasks ask for nothing.
    bare_keys: Arc<[WorkflowKey]>,
}

impl WorkflowSet {
    /// These workflows and those of `base`.
    pub(crate) fn new(
        base: &Self,
        workflows: impl IntoIterator<Item = Arc<Workflow>>,
    ) -> Result<Self, PipelineError> {
        let mut by_name = base.by_name.clone();
        for workflow in workflows {
            let fingerprint = workflow.fingerprint()?;
            if let Some(known) = by_name.get(workflow.name())
                && known.fingerprint()? != fingerprint
            {
                return Err(PipelineError::new(
                    ErrorKind::Workflow,
                    format!(
                        "two different workflows have the name `{}`: give one another name",
                        workflow.name()
                    ),
                ));
            }
            by_name.insert(workflow.name().to_owned(), workflow);
        }
        let mut keys: Vec<WorkflowKey> = Vec::with_capacity(by_name.len());
        for workflow in by_name.values() {
            keys.push(WorkflowKey {
                name: Arc::clone(workflow.shared_name()),
                fingerprint: workflow.fingerprint()?,
            });
        }
        keys.sort_unstable();
        let keys_of = |holds: fn(&Workflow) -> bool| -> Arc<[WorkflowKey]> {
            let held = |key: &&WorkflowKey| by_name.get(&*key.name).is_some_and(|workflow| holds(workflow));
            keys.iter().filter(held).cloned().collect()
        };
        let open_keys = keys_of(|workflow| !workflow.is_operator_only());
        let bare_keys = keys_of(|workflow| !workflow.is_operator_only() && !workflow.asks_for_resources());
        Ok(Self { by_name, keys: keys.into(), open_keys, bare_keys })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Workflow>> {
        self.by_name.get(name)
    }

    /// The workflow, if it is this very version.
    pub(crate) fn version(&self, key: &WorkflowKey) -> Option<&Arc<Workflow>> {
        self.get(&key.name)
            .filter(|workflow| workflow.fingerprint().is_ok_and(|fingerprint| fingerprint == key.fingerprint))
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Workflow>> {
        self.by_name.values()
    }

    pub(crate) fn keys(&self) -> &Arc<[WorkflowKey]> {
        &self.keys
    }
}
