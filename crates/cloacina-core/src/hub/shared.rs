//! What all runners of one process that use one database share.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard, Semaphore, SemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use super::awake::Awake;
use super::batch::{Load, Queued};
#[cfg(feature = "testing")]
use super::begun::Begun;
use super::place::OpenPlace;
use super::places::{Places, Serving};
use super::stop::StopReason;
use super::timers::Timers;
use super::transition::Incarnation;
use super::troubles::Troubles;
use super::turns::{Gathering, Turns};
use super::watch::Watch;
use crate::clock::{Clock, LONGEST_WAIT};
use crate::config::RunnerConfig;
use crate::contained::message_of;
use crate::error::{Error, ErrorKind};
use crate::id::{ExecutionId, RunnerId, TenantId};
use crate::store::{Store, StoreError, StoreErrorKind, WorkflowKey};
use crate::streak::Whose;
use crate::wake::Wake;

/// How many served places are opened at once.
const OPENING: usize = 4;

/// How many calls beside flushes may be under way at once in places of tenants that have a login of their
/// own: they may keep each other waiting, but not heartbeats and bells.
const UNTRUSTED_CALLS: usize = 2;

/// What all runners of one process that use one database share.
pub struct Hub {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lease: Duration,
    pub(super) heartbeat_interval: Duration,
    /// Those for everybody; then, if the store has them, the one for places in trouble, and those for tenants
    /// with logins.
    pub(super) lanes: Vec<mpsc::UnboundedSender<Queued>>,
    pub(super) load: Arc<Load>,
    /// Held by a lane from the start of a flush until what it did is applied; taken together before a runner
    /// id is given up.
    pub(super) gates: Vec<AsyncMutex<()>>,
    /// The runner that this process is now; `None` while it has only submitted.
    pub(super) incarnation: RwLock<Option<Arc<Incarnation>>>,
    /// Held while that changes. The id of a runner that may be registered though this process is not it: the
    /// answer was lost.
    pub(super) renewing: AsyncMutex<Option<RunnerId>>,
    /// Whether this process ever was a runner.
    pub(super) has_run: AtomicBool,
    places: Mutex<Places>,
    pub(super) turns: Turns,
    pub(super) lowering: Gathering,
    pub(super) settling: Gathering,
    pub(super) expanding: Gathering,
    pub(super) orphaned: Gathering,
    /// Woken when a slot comes back that somebody waits for, when a place takes a turn, and for an earlier
    /// timer.
    pub(super) slot_watch: Arc<Wake>,
    pub(super) timers: Mutex<Timers>,
    /// Held while timers are acted on and slots are granted: in between, what is to be done stands nowhere.
    pub(super) acting: Mutex<()>,
    pub(super) watch: Watch,
    pub(super) audits: mpsc::UnboundedSender<Audit>,
    /// How many of them were asked for and are not done.
    pub(super) audits_left: AtomicUsize,
    /// Wakes the task that looks at the doorbell.
    pub(super) bells_wanted: Wake,
    /// Limits how many served places are opened at once.
    pub(super) openings: Semaphore,
    /// Limits how many calls into places of tenants that may keep us waiting are under way at once.
    untrusted: Semaphore,
    /// Of which work the log has said that nobody has its code.
    pub(super) orphans_told: Mutex<HashSet<(TenantId, WorkflowKey)>>,
    /// When it was last looked whether somebody has a workflow of a name that something was submitted by.
    pub(super) names_looked: Mutex<HashMap<(TenantId, Arc<str>), Duration>>,
    /// When it was last said of a workflow that a wait of it cannot end before the deadline.
    pub(super) late_waits_told: Mutex<HashMap<(TenantId, Arc<str>), Duration>>,
    /// The workflows whose descriptions are in the database, and whether some could not be written.
    pub(super) described: Mutex<HashSet<WorkflowKey>>,
    pub(super) lacks_descriptions: AtomicBool,
    pub(super) troubles: Troubles,
    /// Whether no other runner was seen at the last look.
    pub(super) alone: AtomicBool,
    pub(super) rest: Awake,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    /// How many of these run for as long as the hub does.
    #[cfg(feature = "testing")]
    pub(super) lasting_tasks: AtomicUsize,
    /// What a test began with.
    #[cfg(feature = "testing")]
    pub(super) begun: Mutex<Begun>,
}

/// What is to be compared with the database.
pub(crate) enum Audit {
    /// This execution.
    Execution(Arc<OpenPlace>, ExecutionId),
    /// All tasks that the database says this runner holds in a place.
    Held(Arc<OpenPlace>),
}

impl Hub {
    pub(super) fn new(
        store: Arc<dyn Store>,
        settings: &RunnerConfig,
        lanes: Vec<mpsc::UnboundedSender<Queued>>,
        audits: mpsc::UnboundedSender<Audit>,
    ) -> Self {
        Self {
            clock: Arc::clone(&settings.clock),
            lease: settings.lease.min(LONGEST_WAIT),
            heartbeat_interval: settings.heartbeat_interval.min(LONGEST_WAIT),
            gates: lanes.iter().map(|_| AsyncMutex::new(())).collect(),
            load: Arc::new(Load::new(lanes.len())),
            lanes,
            incarnation: RwLock::new(None),
            renewing: AsyncMutex::new(None),
            has_run: AtomicBool::new(false),
            places: Mutex::default(),
            turns: Turns::default(),
            lowering: Gathering::lowering(),
            settling: Gathering::settling(),
            expanding: Gathering::expanding(),
            orphaned: Gathering::orphaned(),
            slot_watch: Arc::new(Wake::default()),
            timers: Mutex::default(),
            acting: Mutex::default(),
            watch: Watch::default(),
            audits,
            audits_left: AtomicUsize::new(0),
            bells_wanted: Wake::default(),
            openings: Semaphore::new(OPENING),
            untrusted: Semaphore::new(UNTRUSTED_CALLS),
            orphans_told: Mutex::default(),
            names_looked: Mutex::default(),
            late_waits_told: Mutex::default(),
            described: Mutex::default(),
            lacks_descriptions: AtomicBool::new(false),
            troubles: Troubles::default(),
            alone: AtomicBool::new(false),
            rest: Awake::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            #[cfg(feature = "testing")]
            lasting_tasks: AtomicUsize::new(0),
            #[cfg(feature = "testing")]
            begun: Mutex::default(),
            store,
        }
    }

    /// How many places are open, by whomever.
    #[must_use]
    pub fn open_places(&self) -> usize {
        self.places().open.len()
    }

    /// Which database this is, for messages.
    #[must_use]
    pub fn label(&self) -> &str {
        self.store.label()
    }

    /// Whether the last runner on it was shut down.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.places().closed
    }

    /// For the log, of work that concerns the whole database.
    pub(super) fn whose(&self) -> Whose<'_> {
        Whose::Database(self.label())
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// What time it is for what somebody asks here. Between processes the database's counts.
    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.clock.database_now().unwrap_or_else(|| self.clock.now())
    }

    /// Returns after `duration`, also on a runtime of the caller's that has no timers.
    pub(crate) async fn sleep(&self, duration: Duration) {
        let runtime = self.store.runtime();
        let mut sleep = std::pin::pin!(self.clock.sleep(duration));
        std::future::poll_fn(|context| {
            let _within = runtime.enter();
            sleep.as_mut().poll(context)
        })
        .await;
    }

    /// Waits; false once the hub is being closed.
    pub(super) async fn pause(&self, duration: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = self.clock.sleep(duration) => true,
        }
    }

    /// Waits, and then for as long as the hub rests; false once it is being closed.
    pub(super) async fn tick(&self, period: Duration) -> bool {
        self.pause(period).await
            && tokio::select! {
                biased;
                () = self.stop.cancelled() => false,
                () = self.rest.awake() => true,
            }
    }

    /// Runs background work where the store's futures may run.
    ///
    /// A panic in it is a defect of the engine, after which what is in memory cannot be relied upon: the hub
    /// fails as a whole, and the next runner that is opened on this database has a new one. What the database
    /// holds is rescued like that of a process that died.
    pub(super) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(self.guarded(work), &self.store.runtime());
    }

    pub(super) fn guarded(
        self: &Arc<Self>,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let hub = Arc::clone(self);
        AssertUnwindSafe(work).catch_unwind().map(move |ended| {
            if let Err(panic) = ended {
                hub.fail(&message_of(panic));
            }
        })
    }

    fn fail(&self, message: &str) {
        error!(
            database = self.label(),
            message,
            "the engine failed by a defect of its own and stops on this database; open the runners again to go on"
        );
        self.stop.cancel();
        let places = {
            let mut places = self.places();
            places.closed = true;
            places.serving = Serving::default();
            std::mem::take(&mut places.open)
        };
        for place in places.into_values() {
            let mut state = place.state();
            let held: Vec<_> = state.work.clear().collect();
            let waiters: Vec<_> = state.waiters.take_all().collect();
            state.claiming.under_way = false;
            drop(state);
            held.iter().for_each(|held| held.stop.stop(StopReason::Void));
            waiters.into_iter().for_each(|(_, waiter)| drop(waiter.send(Err(self.failure()))));
            place.idle.notify_waiters();
        }
    }

    /// What callers are told once the hub has failed.
    pub(crate) fn failure(&self) -> Error {
        let message = format!(
            "the engine failed on {} by a defect of its own, which its log describes; open the runner again to go on",
            self.label()
        );
        Error::new(ErrorKind::Internal, message)
    }

    /// Runs a store call where it may run, to its end, even if the caller's future is dropped.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self.store.runtime().spawn(call).await {
            Ok(answer) => answer,
            Err(error) => Err(StoreError::new(
                StoreErrorKind::Internal,
                format!("a call to the database {} did not end: {error}", self.label()),
            )),
        }
    }

    /// Waits for the turn of a call into a place whose tenant may keep us waiting.
    pub(super) async fn turn_in(&self, place: &OpenPlace) -> Option<SemaphorePermit<'_>> {
        let untrusted = place.state().standing.status.has_login;
        // The semaphore is never closed.
        if untrusted { self.untrusted.acquire().await.ok() } else { None }
    }

    /// How many lanes there are for everybody. The one of this number is for places in trouble, those after
    /// it for tenants with logins.
    pub(super) fn ordinary_lanes(&self) -> usize {
        self.store.lanes()
    }

    pub(crate) fn incarnation(&self) -> Option<Arc<Incarnation>> {
        self.incarnation.read().clone()
    }

    /// Keeps every lane from flushing, once what it flushes is applied.
    pub(super) async fn close_gates(&self) -> Vec<AsyncMutexGuard<'_, ()>> {
        let mut gates = Vec::with_capacity(self.gates.len());
        for gate in &self.gates {
            gates.push(gate.lock().await);
        }
        gates
    }

    pub(super) fn all_places(&self) -> Vec<Arc<OpenPlace>> {
        self.places().open.values().cloned().collect()
    }

    pub(super) fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock()
    }

    pub(super) fn open_place(&self, tenant: TenantId) -> Option<Arc<OpenPlace>> {
        self.places().open.get(&tenant).cloned()
    }

    /// Whether a handle is open that runs tasks.
    pub(super) fn executes(&self) -> bool {
        self.all_places().iter().any(|place| !place.state().handles.executors.is_empty())
    }

    pub(crate) fn request_audit(&self, audit: Audit) {
        self.audits_left.fetch_add(1, Ordering::Relaxed);
        // The auditor ends only with the hub, and then nobody waits for its findings.
        drop(self.audits.send(audit));
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("database", &self.label()).finish_non_exhaustive()
    }
}
