//! A tenant's place as this process has it open.

mod claiming;
mod handles;
mod items;
mod look;
mod queue;
mod standing;
mod waiters;
mod work;
mod workflows;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, RwLock};

use super::troubles::PlaceTroubles;
use crate::config::RunnerConfig;
use crate::error::{Error, ErrorKind};
use crate::slots::{QueuePermit, TenantSlots};
use crate::store::{Expansion, Place, TenantState, TenantStatus, WorkflowKey};
use crate::streak::Whose;
use crate::workflow::Workflow;

pub(crate) use claiming::{Claiming, PATIENCE, Settling, Sort};
pub(crate) use handles::{HandleNumber, Handles, Served};
pub(crate) use items::{Items, KnownItems};
pub(crate) use look::Look;
pub(crate) use queue::{Admitted, Counted, Queue};
pub(crate) use standing::{Failures, Standing};
pub(crate) use waiters::{Due, Ended, Poll, Waiter, Waiters};
pub(crate) use work::Work;
pub(crate) use workflows::{WorkflowSet, key_and_tasks};

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
    /// Whether its transitions go through the lane of places in trouble. Written by lanes, read by whoever
    /// sends one.
    pub(crate) is_aside: AtomicBool,
    /// Of a tenant with a login: the lane that its latest transition took. Read and written by whoever sends
    /// one.
    pub(crate) lane: AtomicUsize,
    /// Woken when the last held task is let go, or the last new execution is recorded.
    pub(crate) idle: Notify,
    /// What is known of the executions that are not over.
    pub(crate) queue: Arc<Queue>,
    /// How many executions wait, where that is limited.
    pub(crate) waiting: Arc<Queue>,
    /// Held shared by a lane from the start of a flush of this place until what it did is applied; the
    /// auditor takes it alone.
    pub(crate) gate: Arc<RwLock<()>>,
    /// The same for a completion that is recorded in a transaction that is not the engine's. The auditor
    /// takes it after the gate.
    pub(crate) recording: Arc<RwLock<()>>,
    pub(crate) troubles: PlaceTroubles,
}

/// What changes about an open place. Held for short moments only; who writes which part stands there.
#[derive(Debug)]
pub(crate) struct PlaceState {
    /// Which it is. Never changes.
    pub(crate) place: Arc<Place>,
    pub(crate) work: Work,
    pub(crate) waiters: Waiters,
    pub(crate) claiming: Claiming,
    pub(crate) handles: Handles,
    pub(crate) standing: Standing,
    /// The lists of nodes that start children.
    pub(crate) items: KnownItems,
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

impl OpenPlace {
    pub(crate) fn new(
        place: Place,
        slots: Arc<TenantSlots>,
        settings: Arc<RunnerConfig>,
        status: TenantStatus,
    ) -> Self {
        let place = Arc::new(place);
        Self {
            state: Mutex::new(PlaceState::new(Arc::clone(&place), settings, status)),
            place,
            slots,
            submitting: AtomicUsize::new(0),
            on_their_way: AtomicUsize::new(0),
            is_aside: AtomicBool::new(false),
            lane: AtomicUsize::new(0),
            idle: Notify::new(),
            queue: Arc::default(),
            waiting: Arc::default(),
            gate: Arc::default(),
            recording: Arc::default(),
            troubles: PlaceTroubles::default(),
        }
    }

    /// For the log.
    pub(crate) fn whose(&self) -> Whose<'_> {
        Whose::Tenant(&self.place.name)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, PlaceState> {
        self.state.lock()
    }

    /// Whether nothing is on the way, waited for, or known to be claimable.
    pub(crate) fn is_unused(&self) -> bool {
        let state = self.state();
        state.is_idle()
            && state.waiters.is_empty()
            && !state.claiming.has_backlog()
            && self.submitting.load(Ordering::Acquire) == 0
    }

    /// Whether nothing of it is on the way: no task held, no claim or new execution under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.state().is_idle() && self.submitting.load(Ordering::Acquire) == 0
    }

    /// Whether new executions are on their way.
    #[cfg(feature = "testing")]
    pub(crate) fn is_submitting(&self) -> bool {
        self.submitting.load(Ordering::Acquire) > 0
    }

    /// Whether nothing can happen here before a due time, unless somebody comes: nobody waits, no work that
    /// may be claimed is known.
    pub(crate) fn is_quiet(&self, state: &PlaceState) -> bool {
        let claiming = &state.claiming;
        let no_work = !claiming.has_backlog() && claiming.patience.is_none() && !claiming.queued;
        state.is_idle()
            && !state.handles.closing
            && state.waiters.is_empty()
            && (no_work || state.handles.executors.is_empty())
            && self.submitting.load(Ordering::Acquire) == 0
    }

    /// Brings the number of slots in line with what was configured and decided.
    pub(crate) fn limit_slots(&self, state: &PlaceState) {
        let configured = state.handles.settings.max_concurrent_tasks;
        self.slots.set_limit(smaller(configured, state.standing.status.limits.max_concurrent_tasks));
    }
}

impl PlaceState {
    pub(crate) fn new(place: Arc<Place>, settings: Arc<RunnerConfig>, status: TenantStatus) -> Self {
        let standing = Standing { status, held: settings.after_restore, ..Standing::default() };
        Self {
            place,
            work: Work::default(),
            waiters: Waiters::default(),
            claiming: Claiming::default(),
            handles: Handles::new(settings),
            standing,
            items: KnownItems::default(),
        }
    }

    /// Whether no task is held and none is being claimed.
    pub(crate) fn is_idle(&self) -> bool {
        self.work.is_idle() && !self.claiming.under_way
    }

    /// Whether tasks may be started here.
    pub(crate) fn claims(&self) -> bool {
        let handles = &self.handles;
        handles.registered
            && self.standing.is_active()
            && !handles.closing
            && !handles.yields()
            && !handles.executors.is_empty()
    }

    /// Takes a turn in the queue of places that wait for slots, if there is a reason to. True if it has to be
    /// put there.
    pub(crate) fn takes_turn(&mut self) -> bool {
        let wants = !self.claiming.queued
            && self.claiming.has_backlog()
            && (self.claims() || self.handles.lacks_runner());
        self.claiming.queued |= wants;
        wants
    }

    /// The workflows that are claimed here. Where the tenant can write executions itself, not those that are
    /// for the operator alone.
    pub(crate) fn claimable(&self) -> &Arc<[WorkflowKey]> {
        self.handles.workflows.claimable(self.standing.status.has_login, self.lacks_resources())
    }

    /// Whether what tasks may ask for is not to be had here, because the tenant has a login of its own.
    fn lacks_resources(&self) -> bool {
        let resources = self.handles.settings.resources.as_ref();
        self.standing.status.has_login && resources.is_some_and(|resources| !resources.reaches_logins())
    }

    /// Whether tasks of the workflow may be started here.
    pub(crate) fn may_start(&self, workflow: &Workflow) -> bool {
        !(workflow.asks_for_resources() && self.lacks_resources())
    }

    /// Whether executions that were submitted by name may become anything here at the moment.
    pub(crate) fn may_expand(&self) -> bool {
        !self.handles.executors.is_empty() && self.standing.is_active()
    }

    /// The workflows that executions which were submitted by name may become here.
    pub(crate) fn expandable(&self) -> impl Iterator<Item = &Arc<Workflow>> {
        self.handles
            .workflows
            .newest()
            .filter(|workflow| !self.forbids(workflow) && self.may_start(workflow) && !workflow.lacks_state())
    }

    /// What executions that were submitted by name may become here.
    pub(crate) fn expansions(&self) -> Vec<Expansion> {
        let expansion = |workflow: &Arc<Workflow>| {
            let on_failure = workflow.shared_on_failure().cloned();
            key_and_tasks(workflow).map(|(workflow, tasks)| Expansion { workflow, tasks, on_failure })
        };
        self.expandable().filter_map(|workflow| expansion(workflow).ok()).collect()
    }

    /// Whether the workflow is for the operator only, and the tenant can write executions itself.
    pub(crate) fn forbids(&self, workflow: &Workflow) -> bool {
        self.standing.status.has_login && workflow.is_operator_only()
    }

    /// The workflow, if it is this very version and may be run here.
    pub(crate) fn runnable(&self, key: &WorkflowKey) -> Option<&Arc<Workflow>> {
        self.handles.workflows.version(key).filter(|workflow| !self.forbids(workflow))
    }

    /// The error for signals that are not taken, and times of waits that are not moved. Those of a tenant
    /// that is suspended are data that waits for it: whoever sends a signal may not be able to send it again.
    pub(crate) fn check_takes_signals(&self) -> Result<(), Error> {
        match self.standing.status.state {
            TenantState::Suspended => Ok(()),
            TenantState::Active if self.standing.held => Ok(()),
            _ => self.check_active(),
        }
    }

    /// The error for what may not be done while the tenant may not work.
    pub(crate) fn check_active(&self) -> Result<(), Error> {
        let (tenant, state) = (&self.place.name, self.standing.status.state);
        if self.standing.held && state == TenantState::Active {
            let message = format!(
                "the place of tenant `{tenant}` was put back from a backup, so nothing is submitted or changed there: call \
                 `resume_after_restore` first"
            );
            return Err(Error::new(ErrorKind::Suspended, message));
        }
        let todo = match state {
            TenantState::Active => return Ok(()),
            TenantState::Suspended => "nothing of it is lost; ask the operator to resume the tenant",
            TenantState::Creating => "an administrator has not finished making it",
            TenantState::Moving => "open the tenant again in a moment",
            TenantState::Removing | TenantState::Removed => "there is nothing to be done here any more",
        };
        let message =
            format!("tenant `{tenant}` is {state}, so nothing is submitted or changed there: {todo}");
        Err(Error::new(ErrorKind::Suspended, message))
    }
}

/// The configured limit, or the tenant's own if that is smaller.
pub(crate) fn smaller(configured: usize, decided: Option<u32>) -> usize {
    decided.map_or(configured, |decided| configured.min(usize::try_from(decided).unwrap_or(usize::MAX)))
}
