//! The hub: what all runners of one process that use one database share.
//!
//! ```text
//!   runner handles ──submit──►  lanes ──flush──► store          one commit for all that piled up
//!        ▲                       │  ▲
//!        │ result                │  └── outcomes ── attempts     on the caller's runtime
//!        └───────────────────────┴── starts ────────►
//!   scheduler   grants slots, claims ready work, waits for due times
//!   keeper      heartbeat, watching other runners, rescue, doorbell, polling for executions that run elsewhere, pruning
//!   serving     opens the places of tenants that nobody opened here and that have work due, and closes them again
//!   status      puts into force what the operator decided about a tenant
//!   rest        while nothing happens: no heartbeat, no runner, nothing open; stores that are files only
//!   watch       ends attempts that take too long, or do not stop
//!   auditor     compares what the database says with what is held here, and adopts what is ours
//! ```
//!
//! The database is authoritative for everything. What is held in memory is a copy that lets a runner go on without reading:
//! the tasks it holds, and the executions it knows. A task is *held* from the flush that claimed it until its outcome is
//! recorded. Whatever leaves the two in doubt (the answer to a commit was lost, an outcome found its row changed, a lease went
//! by) goes to the auditor, which keeps the place from being flushed for the moment of its look, so that no claim is in between.

mod applying;
mod attempt;
mod auditor;
mod batch;
mod committer;
mod deferred;
mod keeper;
mod live;
mod place;
mod queue;
mod recording;
mod report;
mod rest;
mod scheduler;
mod serving;
mod status;
mod troubles;
mod watch;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::{
    Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard, Semaphore, SemaphorePermit, mpsc, oneshot,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::field::display;
use tracing::{debug, error, info, warn};

use auditor::Audit;
use batch::{Load, PlaceBatch, Ticket};
use committer::Lane;
pub use deferred::{Deferred, Prepared, Submitter};
pub(crate) use live::{result_of, summary_of};
pub(crate) use place::{HandleNumber, OpenPlace, Submitting, Waiter, WorkflowSet};
use place::{Held, StopReason};
use queue::Admitted;
pub use recording::{Completion, Recording, Writing};
use rest::Rest;
use scheduler::{Lowering, Timers};
use serving::{Server, Serving};
pub(crate) use status::smaller;
use troubles::Troubles;
use watch::Watch;

use crate::clock::{Clock, LONGEST_WAIT};
use crate::config::DefaultRunnerConfig;
use crate::contained::message_of;
use crate::context::{Patch, Values};
use crate::error::{ErrorKind, PipelineError};
use crate::id::{ExecutionId, RunnerId, TenantId};
use crate::lease::{ProcessIdentity, host_name};
use crate::slots::{self, Permit, TenantSlots};
use crate::store::{
    Controlled, NewExecution, Outcome, Place, RunnerRegistration, Store, StoreError, WorkflowKey,
};
use crate::streak::Whose;
use crate::wake::Wake;
use crate::workflow::Workflow;

/// How many tasks of a tenant are under way for each lane that it uses.
const TASKS_PER_LANE: usize = 32;

/// From how many transitions on a lane is one in which a tenant with little to do would wait for others.
const FULL_LANE: usize = 64;

/// How many calls beside flushes may be under way at once in places of tenants that have a login of their own: they may keep each
/// other waiting, but not heartbeats and bells.
const UNTRUSTED_CALLS: usize = 2;

/// What all runners of one process that use one database share.
pub struct Hub {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    lease: Duration,
    heartbeat_interval: Duration,
    /// The last one is for places in trouble, if the store has one for them.
    lanes: Vec<mpsc::UnboundedSender<Queued>>,
    load: Arc<Load>,
    /// Held by a lane from the start of a flush until what it did is applied; taken together before a runner id is given up.
    gates: Vec<AsyncMutex<()>>,
    /// The runner that this process is now; `None` while it has only submitted.
    incarnation: RwLock<Option<Arc<Incarnation>>>,
    /// Held while that changes. The id of a runner that may be registered though this process is not it: the answer was lost.
    renewing: AsyncMutex<Option<RunnerId>>,
    /// Whether this process ever was a runner.
    has_run: AtomicBool,
    places: Mutex<Places>,
    /// Places that may have claimable work, in the order in which they are served.
    queue: Mutex<VecDeque<Arc<OpenPlace>>>,
    lowering: Mutex<Lowering>,
    slot_watch: Arc<Wake>,
    timers: Mutex<Timers>,
    watch: Watch,
    audits: mpsc::UnboundedSender<Audit>,
    /// Wakes the task that asks for executions that run elsewhere.
    elsewhere: Wake,
    /// Wakes the task that looks at the doorbell.
    bells_wanted: Wake,
    /// Limits how many served places are opened at once.
    openings: Semaphore,
    /// Limits how many calls into places of tenants that may keep us waiting are under way at once.
    untrusted: Semaphore,
    /// Of which work the log has said that nobody has its code.
    orphans_told: Mutex<HashSet<(TenantId, WorkflowKey)>>,
    troubles: Troubles,
    /// Whether no other runner was seen at the last look.
    alone: AtomicBool,
    rest: Rest,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Places {
    open: HashMap<TenantId, Arc<OpenPlace>>,
    /// What is known of the tenants that nobody opened.
    serving: Serving,
    /// Whether the last place was closed, and the hub with it.
    closed: bool,
}

/// One life of this process as a runner. A process that was declared dead goes on under a new one.
#[derive(Debug)]
pub(crate) struct Incarnation {
    pub(crate) id: RunnerId,
    /// Whether it is known here to be dead. Set while all gates are held; nothing is adopted under it from then on.
    void: AtomicBool,
}

/// What comes to a lane.
pub(crate) enum Queued {
    One(Transition, Ticket),
    /// What another lane could not write.
    Batch(PlaceBatch),
}

impl Queued {
    fn place(&self) -> &Arc<OpenPlace> {
        match self {
            Self::One(Transition::Submit(submit), _) => &submit.place,
            Self::One(Transition::Ending(ending), _) => &ending.place,
            Self::One(Transition::Claim(claim), _) => &claim.place,
            Self::Batch(batch) => &batch.place,
        }
    }
}

/// What a lane writes.
pub(crate) enum Transition {
    Submit(Box<Submit>),
    Ending(Box<Ending>),
    Claim(ClaimRequest),
}

/// An execution to be recorded.
pub(crate) struct Submit {
    pub(crate) place: Arc<OpenPlace>,
    pub(crate) execution: Arc<NewExecution>,
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) input: Arc<Values>,
    /// One for each claimed root.
    pub(crate) permits: Vec<Permit>,
    pub(crate) reply: SubmitReply,
    pub(crate) _under_way: Submitting,
    pub(crate) since: Duration,
    /// Whether an earlier try may have been committed.
    pub(crate) unsure: bool,
    /// If the tenant's executions are limited.
    pub(crate) admitted: Option<Admitted>,
}

/// Whom to tell what.
pub(crate) enum SubmitReply {
    /// The id, when it is recorded.
    Recorded(oneshot::Sender<Result<ExecutionId, PipelineError>>),
    /// The result, when it is over.
    Finished(Waiter),
}

impl SubmitReply {
    /// Tells whoever still listens.
    pub(crate) fn fail(self, error: PipelineError) {
        match self {
            Self::Recorded(sender) => drop(sender.send(Err(error))),
            Self::Finished(sender) => drop(sender.send(Err(error))),
        }
    }
}

/// The end of an attempt.
pub(crate) struct Ending {
    pub(crate) place: Arc<OpenPlace>,
    pub(crate) incarnation: Arc<Incarnation>,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) patch: Option<Arc<Patch>>,
    /// For the wanted successors.
    pub(crate) permits: Vec<Permit>,
    /// Whether the database could not keep it as it was, so that it is written as a failure without the value.
    pub(crate) refused: bool,
}

/// A grant of slots to a place.
pub(crate) struct ClaimRequest {
    pub(crate) place: Arc<OpenPlace>,
    pub(crate) permits: Vec<Permit>,
    /// What was known of the backlog when the claim was asked for.
    pub(crate) news: u64,
}

impl Hub {
    /// Starts the hub of a database. `settings` are those of its first runner.
    pub fn start(store: Arc<dyn Store>, settings: &DefaultRunnerConfig) -> Arc<Self> {
        let (audits, audit_inbox) = mpsc::unbounded_channel();
        let (lanes, inboxes): (Vec<_>, Vec<_>) =
            (0..store.lanes() + usize::from(store.has_aside())).map(|_| mpsc::unbounded_channel()).unzip();
        let hub = Arc::new(Self {
            clock: Arc::clone(&settings.clock),
            lease: settings.lease.min(LONGEST_WAIT),
            heartbeat_interval: settings.heartbeat_interval.min(LONGEST_WAIT),
            gates: lanes.iter().map(|_| AsyncMutex::new(())).collect(),
            load: Arc::new(Load::new(lanes.len())),
            lanes,
            incarnation: RwLock::new(None),
            has_run: AtomicBool::new(false),
            renewing: AsyncMutex::new(None),
            places: Mutex::default(),
            queue: Mutex::new(VecDeque::new()),
            lowering: Mutex::default(),
            slot_watch: Arc::new(Wake::default()),
            timers: Mutex::default(),
            watch: Watch::default(),
            audits,
            elsewhere: Wake::default(),
            bells_wanted: Wake::default(),
            openings: Semaphore::new(serving::OPENING),
            untrusted: Semaphore::new(UNTRUSTED_CALLS),
            orphans_told: Mutex::default(),
            troubles: Troubles::default(),
            alone: AtomicBool::new(false),
            rest: Rest::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            store,
        });
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let lane = Lane::new(Arc::clone(&hub), index, inbox);
            hub.spawn(lane.run());
        }
        hub.spawn(Arc::clone(&hub).audit(audit_inbox));
        hub.spawn(Arc::clone(&hub).schedule());
        // Nobody waits for its end: it looks after attempts that go on for a while when the last runner was shut down.
        drop(hub.store.runtime().spawn(hub.guarded(Arc::clone(&hub).watch_attempts())));
        hub.spawn(Arc::clone(&hub).ring_bells());
        hub.spawn(Arc::clone(&hub).close_served_places());
        hub.spawn(Arc::clone(&hub).beat());
        hub.spawn(Arc::clone(&hub).watch_runners());
        hub.spawn(Arc::clone(&hub).watch_elsewhere());
        hub.spawn(Arc::clone(&hub).pause_orphans());
        hub.spawn(Arc::clone(&hub).prune());
        hub
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

    /// For the log, of work that concerns the whole database.
    fn whose(&self) -> Whose<'_> {
        Whose::Database(self.label())
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
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

    /// Runs background work where the store's futures may run.
    ///
    /// A panic in it is a defect of the engine, after which what is in memory cannot be relied upon: the hub fails as a whole, and
    /// the next runner that is opened on this database has a new one. What the database holds is rescued like that of a process
    /// that died.
    fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(self.guarded(work), &self.store.runtime());
    }

    fn guarded(
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
            state.held.values().for_each(|held| held.stop.stop(StopReason::Void));
            state.held.clear();
            state.claiming = false;
            for waiter in state.waiting.drain().flat_map(|(_, waiting)| waiting.senders) {
                drop(waiter.send(Err(self.failure())));
            }
            drop(state);
            place.idle.notify_waiters();
        }
    }

    /// What callers are told once the hub has failed.
    pub(crate) fn failure(&self) -> PipelineError {
        let message = format!(
            "the engine failed on {} by a defect of its own, which its log describes; open the runner again to go on",
            self.label()
        );
        PipelineError::new(ErrorKind::Internal, message)
    }

    /// Runs a store call where it may run, to its end, even if the caller's future is dropped.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self.store.runtime().spawn(call).await {
            Ok(answer) => answer,
            Err(error) => Err(StoreError::new(
                crate::store::StoreErrorKind::Internal,
                format!("a call to the database {} did not end: {error}", self.label()),
            )),
        }
    }

    /// Waits for the turn of a call into a place whose tenant may keep us waiting.
    async fn turn_in(&self, place: &OpenPlace) -> Option<SemaphorePermit<'_>> {
        let untrusted = place.state().status.has_login;
        // The semaphore is never closed.
        if untrusted { self.untrusted.acquire().await.ok() } else { None }
    }

    pub(crate) fn send(&self, transition: Transition) {
        let (place, execution, bytes) = match &transition {
            Transition::Submit(submit) => {
                (&submit.place, Some(submit.execution.id), submit.execution.input.len())
            }
            Transition::Ending(ending) => {
                (&ending.place, Some(ending.outcome.execution), batch::size_of(&ending.outcome))
            }
            // Claims of one place follow one another, so any lane will do; the same one keeps its caches warm.
            Transition::Claim(claim) => (&claim.place, None, 0),
        };
        let weight = Ticket::weight(bytes);
        let lane = self.lane_of(place, execution, weight);
        let ticket = Ticket::new(&self.load, lane, place, weight);
        // A lane ends only when its hub has closed, and by then nothing is held and no handle is open.
        drop(self.lanes[lane].send(Queued::One(transition, ticket)));
    }

    /// Each tenant has a lane, since what is flushed together shares its statements; one that keeps more than a lane busy spreads over
    /// the others, but for one that is left to tenants with little to do: they use it when their own lane is full of somebody else's
    /// work. All transitions of an execution go one way unless that has changed since, so that two flushes of this process seldom wait
    /// for one another's locks.
    fn lane_of(&self, place: &OpenPlace, execution: Option<ExecutionId>, weight: usize) -> usize {
        let lanes = self.ordinary_lanes();
        if place.is_aside.load(Ordering::Relaxed) && lanes < self.lanes.len() {
            return lanes;
        }
        // The low bits of a UUID of version 7 are random.
        let pick = |id: u128, among: usize| (id % among as u128) as usize;
        let tenant = place.place.tenant.0.as_u128();
        let busy = place.slots.used().max(place.on_their_way.load(Ordering::Relaxed));
        let wanted = 1 + busy / TASKS_PER_LANE;
        // What is large takes one lane, however much there is of it.
        if (wanted > 1 || weight > TASKS_PER_LANE) && lanes > 1 {
            let shared = lanes - usize::from(!slots::is_one_tenant());
            let nth = execution.map_or(0, |execution| pick(execution.0.as_u128(), wanted.min(shared)));
            return (pick(tenant, shared) + nth) % shared;
        }
        let own = pick(tenant, lanes);
        if self.load.of(own) > FULL_LANE { lanes - 1 } else { own }
    }

    fn ordinary_lanes(&self) -> usize {
        self.lanes.len() - usize::from(self.store.has_aside())
    }

    pub(crate) fn incarnation(&self) -> Option<Arc<Incarnation>> {
        self.incarnation.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps every lane from flushing, once what it flushes is applied.
    async fn close_gates(&self) -> Vec<AsyncMutexGuard<'_, ()>> {
        let mut gates = Vec::with_capacity(self.gates.len());
        for gate in &self.gates {
            gates.push(gate.lock().await);
        }
        gates
    }

    fn all_places(&self) -> Vec<Arc<OpenPlace>> {
        self.places().open.values().cloned().collect()
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_place(&self, tenant: TenantId) -> Option<Arc<OpenPlace>> {
        self.places().open.get(&tenant).cloned()
    }

    /// Opens a place for one more handle, and gives it a number; `None` if the hub has closed.
    pub(crate) async fn open(
        self: &Arc<Self>,
        place: Place,
        settings: Arc<DefaultRunnerConfig>,
        workflows: Vec<Workflow>,
        runtime: tokio::runtime::Handle,
    ) -> Result<Option<(Arc<OpenPlace>, HandleNumber)>, PipelineError> {
        if let Some(limit) = settings.max_process_tasks {
            slots::set_process_limit(limit);
        }
        if let Some(limit) = settings.max_process_queue {
            slots::set_queue_limit(limit);
        }
        let executes = !settings.submit_only;
        let workflows: Vec<Arc<Workflow>> = workflows.into_iter().map(Arc::new).collect();
        let server = settings
            .serve_all_tenants
            .then(|| Server::new(&settings, &workflows, runtime.clone()))
            .transpose()?;
        let status = {
            let (store, place) = (Arc::clone(&self.store), place.clone());
            self.ask(async move { store.tenant_status(&place).await }).await
        };
        // A store that was closed with its hub answers nothing.
        let status = match status {
            Err(_) if self.is_closed() => return Ok(None),
            status => status?,
        };
        let (open, handle) = {
            let mut places = self.places();
            if places.closed {
                return Ok(None);
            }
            let open = match places.open.get(&place.tenant) {
                Some(open) => Arc::clone(open),
                None => {
                    let slots = TenantSlots::new(settings.max_concurrent_tasks, Arc::clone(&self.slot_watch));
                    let open = Arc::new(OpenPlace::new(place.clone(), slots, Arc::clone(&settings), status));
                    places.open.insert(place.tenant, Arc::clone(&open));
                    open
                }
            };
            let mut state = open.state();
            let known = WorkflowSet::new(&state.workflows, workflows);
            match known {
                Ok(known) => state.workflows = Arc::new(known),
                Err(error) => {
                    if state.handles == 0 {
                        places.open.remove(&place.tenant);
                    }
                    return Err(error);
                }
            }
            state.handles += 1;
            state.closing = false;
            let handle = state.next_handle;
            state.next_handle += 1;
            if executes {
                state.executors.push((handle, runtime));
            }
            state.settings = settings;
            open.limit_slots(&state);
            drop(state);
            (open, handle)
        };
        // It may have been open before.
        self.put_into_force(&open, status);
        if executes {
            if let Err(error) = self.become_runner(&open).await {
                self.close(&open, handle, true).await;
                return Err(error.into());
            }
            open.state().note_backlog(i16::MIN);
            self.look(&open);
            self.spawn(Arc::clone(self).repair(Arc::clone(&open)));
            self.spawn(Arc::clone(self).resume_orphans(Arc::clone(&open)));
            if let Some(server) = server {
                self.add_server((open.place.tenant, handle), server);
            }
        }
        Ok(Some((open, handle)))
    }

    /// What this process can run, whatever the place.
    fn announced(&self) -> Arc<[WorkflowKey]> {
        let mut keys: BTreeSet<WorkflowKey> = BTreeSet::new();
        // Most places have the same set.
        let mut seen: HashSet<*const WorkflowKey> = HashSet::new();
        for place in self.all_places() {
            let state = place.state();
            if !state.executors.is_empty() && seen.insert(state.workflows.keys().as_ptr()) {
                keys.extend(state.workflows.keys().iter().cloned());
            }
        }
        keys.into_iter().collect()
    }

    /// Registers this process as a runner, if it is not one yet, and takes back at once what a process that died left behind. From
    /// then on work of this place is claimed.
    async fn become_runner(self: &Arc<Self>, place: &OpenPlace) -> Result<(), StoreError> {
        let mut unsettled = self.renewing.lock().await;
        if self.incarnation().is_some() {
            place.state().registered = true;
            return Ok(());
        }
        let incarnation = self.register(&mut unsettled).await?;
        let id = incarnation.id;
        *self.incarnation.write().unwrap_or_else(PoisonError::into_inner) = Some(incarnation);
        if self.has_run.swap(true, Ordering::Relaxed) {
            debug!(database = self.label(), runner = %id, "the runner is registered again after a rest");
        } else {
            self.say_started(id);
        }
        let looked = Arc::clone(self).rescue_the_provably_dead().await;
        self.troubles.runners.note(self.whose(), &looked);
        place.state().registered = true;
        Ok(())
    }

    fn say_started(&self, runner: RunnerId) {
        let (host, pid) = (host_name(), std::process::id());
        info!(database = self.label(), %runner, host, pid, lease = ?self.lease, "a runner started");
    }

    /// Registers this process under the id whose registration had no answer, if there is one: then no row is left that nobody renews.
    async fn register(&self, unsettled: &mut Option<RunnerId>) -> Result<Arc<Incarnation>, StoreError> {
        let registration = RunnerRegistration {
            id: *unsettled.get_or_insert_with(RunnerId::new),
            lease: self.lease,
            process: ProcessIdentity::current(),
            host_name: host_name(),
            workflows: self.announced(),
        };
        let id = registration.id;
        let (store, now) = (Arc::clone(&self.store), self.clock.database_now());
        self.ask(async move { store.runner_register(&registration, now).await }).await?;
        *unsettled = None;
        Ok(Arc::new(Incarnation { id, void: AtomicBool::new(false) }))
    }

    /// Goes on under a new runner id after `old` was declared dead: all that it held is void.
    async fn renew(&self, old: &Arc<Incarnation>) {
        let mut unsettled = self.renewing.lock().await;
        if self.incarnation().is_none_or(|current| current.id != old.id) {
            return;
        }
        warn!(
            database = self.label(), runner = %old.id,
            "this runner was declared dead, because its heartbeat stood still for a whole lease; its tasks are stopped and it goes on as a new one"
        );
        {
            // A flush that was written before the end must be applied before what is held is dropped, or its claims would be
            // held for ever. What is written from here on is fenced.
            let _gates = self.close_gates().await;
            old.void.store(true, Ordering::Relaxed);
            for place in self.all_places() {
                let mut state = place.state();
                for held in state.held.values() {
                    held.stop.stop(StopReason::Void);
                }
                state.held.clear();
                state.live.clear();
                place.idle.notify_waiters();
                state.note_backlog(i16::MIN);
            }
        }
        let mut wait = Duration::from_millis(50);
        let next = loop {
            let registered = self.register(&mut unsettled).await;
            self.troubles.registering.note(self.whose(), &registered);
            if let Ok(next) = registered {
                break next;
            }
            tokio::select! {
                () = self.clock.sleep(wait) => {}
                () = self.stop.cancelled() => return,
            }
            wait = (wait * 2).min(Duration::from_secs(2));
        };
        self.say_started(next.id);
        *self.incarnation.write().unwrap_or_else(PoisonError::into_inner) = Some(next);
        for place in self.all_places() {
            self.look(&place);
        }
    }

    /// Closes one handle on a place. With the last one that runs tasks nothing more is claimed; running tasks may finish for
    /// `shutdown_timeout` (not at all with `at_once`), then they are given back. With the last one of all the place is closed.
    ///
    /// With the last place the hub is closed as well. Claiming ends with the call, the rest is done by the future.
    pub(crate) fn close(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        handle: HandleNumber,
        at_once: bool,
    ) -> impl Future<Output = ()> + Send + 'static {
        let mut draining = vec![(Arc::clone(place), self.let_go_of(place, handle, at_once))];
        for (served, handle) in self.remove_server((place.place.tenant, handle)) {
            let patience = self.let_go_of(&served, handle, at_once);
            draining.push((served, patience));
        }
        let hub = Arc::clone(self);
        async move {
            let draining =
                draining.iter().filter_map(|(place, patience)| Some(hub.drain(place, (*patience)?)));
            join_all(draining).await;
        }
    }

    /// Takes one handle off a place; for how long what runs there may go on, if it has to end.
    fn let_go_of(&self, place: &OpenPlace, handle: HandleNumber, at_once: bool) -> Option<Duration> {
        let mut state = place.state();
        state.handles -= 1;
        state.executors.retain(|(number, _)| *number != handle);
        state.closing = state.handles == 0;
        drop(state.served.take_if(|served| served.handle == handle));
        if state.only_served()
            && let Some(settings) = state.served.as_ref().map(|served| Arc::clone(&served.settings))
        {
            state.settings = settings;
            place.limit_slots(&state);
        }
        let drains = state.handles == 0 || state.executors.is_empty();
        drains.then(|| if at_once { Duration::ZERO } else { state.settings.shutdown_timeout })
    }

    /// Ends what runs in a place, and closes it if no handle is left.
    async fn drain(self: &Arc<Self>, place: &Arc<OpenPlace>, patience: Duration) {
        let grace = place.state().settings.cancel_grace;
        if !self.drained(place, patience).await {
            let held: Vec<Held> = place.state().held.values().cloned().collect();
            warn!(
                tenant = place.place.name,
                tasks = held.len(),
                "giving back tasks that did not finish before the shutdown"
            );
            held.iter().for_each(|held| held.stop.stop(StopReason::GiveBack));
            // Beyond the grace period only the database can be what keeps us; a rescue returns what is left then.
            self.drained(place, grace.saturating_add(Duration::from_secs(5))).await;
        }
        let last = {
            let mut places = self.places();
            let mut state = place.state();
            // Somebody may have opened the place again in the meantime.
            if state.handles > 0 {
                return;
            }
            for (execution, waiting) in state.waiting.drain() {
                let message = format!(
                    "the runner was shut down while execution {execution} was waited for; it goes on when a runner is started"
                );
                for sender in waiting.senders {
                    drop(sender.send(Err(PipelineError::new(ErrorKind::ShutDown, message.clone()))));
                }
            }
            drop(state);
            places.open.remove(&place.place.tenant);
            places.closed = places.open.is_empty();
            places.closed
        };
        if last {
            self.finish().await;
        }
    }

    /// Waits until nothing is held and nothing is being claimed in a place, at most for `patience`.
    async fn drained(&self, place: &Arc<OpenPlace>, patience: Duration) -> bool {
        let deadline = self.clock.monotonic() + patience.min(LONGEST_WAIT);
        loop {
            let idle = place.idle.notified();
            if place.is_idle() {
                return true;
            }
            tokio::select! {
                () = idle => {}
                () = self.clock.sleep_until(deadline) => return place.is_idle(),
            }
        }
    }

    /// Whether the last runner on it was shut down.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.places().closed
    }

    /// Returns when the hub has been told to stop and had time enough to end what was under way: only a database that does not
    /// answer can keep it longer.
    async fn shut_down_long_ago(&self) {
        self.stop.cancelled().await;
        self.clock.sleep(Duration::from_secs(5)).await;
    }

    /// Ends the hub's background work, its runner and its store. Nothing is open any more.
    async fn finish(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let incarnation = self.incarnation.write().unwrap_or_else(PoisonError::into_inner).take();
        let unsettled = self.renewing.lock().await.take();
        let runner = incarnation.as_ref().map(|incarnation| display(incarnation.id));
        for id in incarnation.map(|incarnation| incarnation.id).into_iter().chain(unsettled) {
            let store = Arc::clone(&self.store);
            if let Err(error) = self.ask(async move { store.runner_retire(id).await }).await {
                warn!(database = self.label(), %error, "failed to sign off; other runners wait for the lease to end");
            }
        }
        let store = Arc::clone(&self.store);
        if let Err(error) = self.ask(async move { store.close().await }).await {
            warn!(database = self.label(), %error, "failed to close the database");
        }
        if self.has_run.load(Ordering::Relaxed) {
            info!(database = self.label(), runner, "the runner ended");
        }
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("database", &self.label()).finish_non_exhaustive()
    }
}

impl Hub {
    /// Lets somebody wait for the end of an execution.
    pub(crate) fn wait(&self, place: &OpenPlace, execution: ExecutionId, waiter: Waiter) {
        let mut state = place.state();
        let known = state.live.contains_key(&execution);
        self.add_waiter(&mut state, execution, waiter, known);
    }

    /// An execution was cancelled, paused or resumed by this process.
    pub(crate) fn controlled(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        execution: ExecutionId,
        resumed: bool,
        done: Controlled,
    ) {
        let concerned = {
            let mut state = place.state();
            if resumed {
                state.note_backlog(i16::MIN);
            }
            state.live.contains_key(&execution) || state.waiting.contains_key(&execution)
        };
        self.note_ended(place, execution, done);
        if concerned {
            self.request_audit(Audit::Execution(Arc::clone(place), execution));
        }
        if resumed {
            self.look(place);
        }
    }
}
