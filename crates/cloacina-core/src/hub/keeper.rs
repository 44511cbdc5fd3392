//! The hub's clockwork: heartbeat, watch over other runners, doorbell, executions that run elsewhere, pruning, executions whose code is gone.
//!
//! The runner row decides who is alive, not a clock. A runner is declared dead if its heartbeat has stood still for its whole
//! lease while we could see the database all that time, so a database that was down kills nobody; or at once if its process ran
//! on this host and is provably gone.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{debug, info, warn};

use super::auditor::Audit;
use super::place::PlaceState;
use super::report::Short;
use super::rest::Quiet;
use super::{Hub, OpenPlace, Waiter};
use crate::clock::LONGEST_WAIT;
use crate::id::{ExecutionId, RunnerId, TenantId};
use crate::lease::ProcessIdentity;
use crate::store::{
    Control, Controlled, Liveness, MANY, Repaired, RescuedPlace, RunnerRecord, StoreError, WorkflowKey,
};

/// How often the doorbell is looked at when nobody hints.
const BELL: Duration = Duration::from_secs(1);

/// For how long a notice is told at least.
const NOTICED: Duration = Duration::from_secs(8);

/// How often other runners are looked at, at least.
const WATCH: Duration = Duration::from_secs(2);

/// How long to wait before asking for an execution that runs elsewhere: at first, and at most.
const POLL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How many of those that are waited for are asked for in one query.
const POLL_BATCH: usize = 1000;

/// How often places with work that is not for us are looked at for executions that nobody has the code of.
const ORPHANS: Duration = Duration::from_secs(30);

/// Of how many versions of workflows at most it is looked for at once that nobody has them, and how many are remembered as told.
const ORPHAN_VERSIONS: usize = 100;
const ORPHANS_TOLD: usize = 10_000;

/// How long to wait before looking again for executions whose code came: at first, and at most.
const RESUME: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// How many finished executions are pruned in one transaction, and how often the pruner looks.
const PRUNE_BATCH: usize = 1000;
const PRUNE: Duration = Duration::from_secs(3600);

impl Hub {
    /// Waits; false once the hub is being closed.
    pub(super) async fn pause(&self, duration: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = self.clock.sleep(duration) => true,
        }
    }

    /// Waits, and then for as long as the hub rests; false once it is being closed.
    async fn tick(&self, period: Duration) -> bool {
        self.pause(period).await && self.awake().await
    }

    /// Renews the lease, and once per lease has the held tasks compared with the database.
    pub(super) async fn beat(self: Arc<Self>) {
        let mut audited = self.clock.monotonic();
        while self.tick(self.heartbeat_interval).await {
            let Some(incarnation) = self.incarnation() else { continue };
            let announced = self.announced();
            let beat =
                self.store.runner_heartbeat(incarnation.id, &announced, self.clock.database_now()).await;
            self.troubles.heartbeat.note(self.whose(), &beat);
            if let Ok(Liveness::Dead) = beat {
                self.renew(&incarnation).await;
            }
            let now = self.clock.monotonic();
            if now.saturating_sub(audited) >= self.lease {
                let since = std::mem::replace(&mut audited, now);
                for place in self.all_places() {
                    let concerned = {
                        let state = place.state();
                        // Where nothing was written since the last look, nothing can have become ours.
                        state.noted == Some(incarnation.id) && (state.used >= since || !state.held.is_empty())
                    };
                    if concerned {
                        self.request_audit(Audit::Held(Arc::clone(&place)));
                        self.spawn(Arc::clone(&self).repair(place));
                    }
                }
            }
        }
    }

    /// Declares runners dead whose heartbeat stands still, and returns their work.
    pub(super) async fn watch_runners(self: Arc<Self>) {
        let here = ProcessIdentity::current();
        // For how long which heartbeat has been seen unchanged; emptied when the database could not be seen.
        let mut seen: HashMap<RunnerId, (i64, Duration)> = HashMap::new();
        let mut looked = self.clock.monotonic();
        let period = WATCH.min(self.heartbeat_interval);
        while self.tick(period).await {
            let me = self.incarnation().map(|incarnation| incarnation.id);
            if me.is_none() && !self.executes() {
                continue;
            }
            let listed = self.store.runner_list().await;
            self.troubles.runners.note(self.whose(), &listed);
            let Ok(runners) = listed else {
                seen.clear();
                continue;
            };
            let now = self.clock.monotonic();
            let unseen = now.saturating_sub(looked);
            looked = now;
            let mut others: Vec<RunnerRecord> =
                runners.into_iter().filter(|runner| Some(runner.id) != me).collect();
            // A tenant may keep whoever rescues its own runners waiting: these come last, and only until the first that fails.
            others.sort_by_key(|runner| runner.tenant);
            let mut failed: HashSet<TenantId> = HashSet::new();
            seen.retain(|id, _| others.iter().any(|runner| runner.id == *id));
            self.note_alone(others.is_empty());
            for runner in others {
                // A look that took long counts little: the database, the network or this very process stood still, and the
                // heartbeat may be on its way as our question was. No single look declares anybody dead.
                let counts = unseen.min(period * 3 / 2).min(runner.lease / 2);
                let stood = match seen.get(&runner.id) {
                    Some((beat, stood)) if *beat == runner.beat => *stood + counts,
                    _ => Duration::ZERO,
                };
                seen.insert(runner.id, (runner.beat, stood));
                if let Some(why) = Death::of(&runner, here.as_ref(), stood) {
                    if runner.tenant.is_some_and(|tenant| failed.contains(&tenant)) {
                        continue;
                    }
                    if !self.rescue(&runner, why).await {
                        failed.extend(runner.tenant);
                    }
                    // If it is still there the next attempt waits for another whole lease, unless it is dead already.
                    seen.remove(&runner.id);
                }
            }
        }
    }

    /// Notes whether no other runner was seen. What a runner that left has ended since it was last asked for is not learned from
    /// our own commits, so everything that is waited for is asked for once more.
    pub(super) fn note_alone(&self, alone: bool) {
        if self.alone.swap(alone, Ordering::Relaxed) || !alone {
            return;
        }
        for place in self.all_places() {
            let state = place.state();
            for execution in state.waiting.keys().filter(|execution| !state.holds(**execution)) {
                self.request_audit(Audit::Execution(Arc::clone(&place), *execution));
            }
        }
    }

    /// Takes back what processes of this host that have ended left behind.
    pub(super) async fn rescue_the_provably_dead(self: Arc<Self>) -> Result<(), StoreError> {
        let Some(here) = ProcessIdentity::current() else { return Ok(()) };
        let store = Arc::clone(&self.store);
        let runners = self.ask(async move { store.runner_list().await }).await?;
        let me = self.incarnation().map(|incarnation| incarnation.id);
        self.note_alone(runners.iter().all(|runner| Some(runner.id) == me));
        let of = |runner: RunnerRecord| Some((Death::of(&runner, Some(&here), Duration::ZERO)?, runner));
        let mut gone: Vec<(Death, RunnerRecord)> = runners.into_iter().filter_map(of).collect();
        gone.sort_by_key(|(_, runner)| runner.tenant);
        let mut failed: HashSet<TenantId> = HashSet::new();
        for (why, runner) in gone {
            if runner.tenant.is_some_and(|tenant| failed.contains(&tenant)) {
                continue;
            }
            let (hub, tenant) = (Arc::clone(&self), runner.tenant);
            if !self.ask(async move { Ok(hub.rescue(&runner, why).await) }).await? {
                failed.extend(tenant);
            }
        }
        Ok(())
    }

    /// Declares a runner dead and returns its work. What fails is tried again by the next look at the runners; false then.
    async fn rescue(self: &Arc<Self>, runner: &RunnerRecord, why: Death) -> bool {
        let dead = match runner.liveness {
            Liveness::Dead => Ok(true),
            Liveness::Live => self.store.runner_condemn(runner.id, runner.beat).await,
        };
        match dead {
            Ok(true) => {}
            Ok(false) => return true,
            Err(_) => {
                self.troubles.rescue.note(self.whose(), &dead);
                return false;
            }
        }
        let rescued = self.store.runner_rescue(runner.id, self.clock.database_now()).await;
        self.troubles.rescue.note(self.whose(), &rescued);
        match rescued {
            Ok(rescued) => {
                self.say_rescued(runner, why, &rescued);
                for rescued in rescued {
                    let place = self.open_place(rescued.place.tenant);
                    if let Some(place) = place {
                        place.state().note_backlog(i16::MIN);
                        self.look(&place);
                    }
                }
                true
            }
            Err(_) => false,
        }
    }

    fn say_rescued(&self, runner: &RunnerRecord, why: Death, rescued: &[RescuedPlace]) {
        let executions: usize = rescued.iter().map(|rescued| rescued.executions.len()).sum();
        let tasks: usize = rescued.iter().map(|rescued| rescued.tasks).sum();
        let (database, id, process) = (self.label(), runner.id, Whereabouts(runner));
        if tasks == 0 {
            // It held nothing, or somebody else was faster.
            debug!(database, runner = %id, "took back no tasks of a runner {process}, {why}");
            return;
        }
        let noun = if tasks == 1 { "task" } else { "tasks" };
        info!(database, runner = %id, tasks, executions, "took back {tasks} {noun} of a runner {process}, {why}");
    }

    /// Asks the doorbell once a second, and whenever somebody hints that it rang.
    pub(super) async fn ring_bells(self: Arc<Self>) {
        let mut hints = self.store.hints();
        let mut looked = self.clock.monotonic();
        let mut quiet = Quiet::default();
        loop {
            let hint = async {
                if hints.changed().await.is_err() {
                    // This store does not hint.
                    std::future::pending::<()>().await;
                }
            };
            let awake = self.is_awake();
            let pressed = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = hint => {
                    self.awaken();
                    false
                }
                () = self.bells_wanted.woken() => false,
                () = self.store.pressed(), if awake => true,
                () = self.clock.sleep(BELL), if awake => false,
            };
            if self.places().open.is_empty() {
                continue;
            }
            let rung = self.store.bell_due(self.clock.database_now()).await;
            self.troubles.bells.note(self.whose(), &rung);
            let Ok(bells) = rung else { continue };
            let now = self.clock.monotonic();
            if now.saturating_sub(std::mem::replace(&mut looked, now)) > NOTICED {
                // What was told in the meantime was missed.
                self.all_places().into_iter().for_each(|place| self.reread_status(place));
            }
            self.statuses_changed(&bells.changed);
            self.serve(&bells.due);
            for due in bells.due {
                let place = self.open_place(due.tenant);
                if let Some(place) = place {
                    {
                        let mut state = place.state();
                        // Looked at already, or looked at lately with nothing for us in it.
                        if state.backlog.is_some() || state.claiming || state.patience.is_some() {
                            continue;
                        }
                        state.note_backlog(i16::MIN);
                    }
                    self.look(&place);
                }
            }
            for (tenant, execution) in bells.notices {
                let place = self.open_place(tenant);
                if let Some(place) = place {
                    let concerned = {
                        let state = place.state();
                        state.live.contains_key(&execution) || state.waiting.contains_key(&execution)
                    };
                    if concerned {
                        self.request_audit(Audit::Execution(place, execution));
                    }
                }
            }
            if self.store.rests() {
                self.rest_if_quiet(&mut quiet, pressed).await;
            }
        }
    }

    /// Lets somebody wait for an execution. One of which no task is held may run elsewhere, and is asked for soon; one that nothing
    /// is known of may be over, or not exist, and is asked for at once.
    pub(super) fn add_waiter(
        &self,
        state: &mut PlaceState,
        execution: ExecutionId,
        waiter: Waiter,
        known: bool,
    ) {
        let here = state.holds(execution);
        let (delay, step) = match (here, known) {
            (true, _) => (POLL.1, POLL.1),
            (false, true) => (POLL.0, POLL.0),
            (false, false) => (Duration::ZERO, POLL.0 / 2),
        };
        let next = self.clock.monotonic() + delay;
        let waiting = state.waiting.entry(execution).or_default();
        waiting.senders.push(waiter);
        waiting.poll = Some(waiting.poll.map_or((next, step), |(known, step)| (known.min(next), step)));
        if here {
            self.elsewhere.wake_if_armed();
        } else {
            self.elsewhere.wake();
        }
    }

    /// Asks for executions that are waited for here and run elsewhere: many in one query, at 50 ms doubling to 1 s.
    pub(super) async fn watch_elsewhere(self: Arc<Self>) {
        loop {
            // Armed before the look, so that a waiter that comes in between is not missed.
            self.elsewhere.arm();
            let mut next: Option<Duration> = None;
            for place in self.all_places() {
                let (due, then) = self.due_polls(&place);
                next = next.into_iter().chain(then).min();
                for due in due.chunks(POLL_BATCH) {
                    let asked = self.store.execution_headers(&place.place, due).await;
                    place.troubles.elsewhere.note(place.whose(), &asked);
                    let Ok(headers) = asked else { continue };
                    let open: HashSet<ExecutionId> = headers
                        .iter()
                        .filter(|header| !header.status.is_terminal())
                        .map(|header| header.id)
                        .collect();
                    for ended in due.iter().filter(|id| !open.contains(id)) {
                        self.request_audit(Audit::Execution(Arc::clone(&place), *ended));
                    }
                }
            }
            let timer = async {
                match next {
                    Some(next) => self.clock.sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = timer => {}
                // Those that come while one look is under way are in the next.
                () = self.elsewhere.woken() => {}
            }
        }
    }

    /// The executions that it is time to ask for, and when the next one is.
    fn due_polls(&self, place: &OpenPlace) -> (Vec<ExecutionId>, Option<Duration>) {
        let now = self.clock.monotonic();
        let mut guard = place.state();
        let state = &mut *guard;
        // What this process is the only one to run, and knows, needs no asking: its end is learned from the commit. What it knows
        // nothing of may have ended while it was declared dead, or by a commit whose answer was lost.
        let alone = self.alone.load(Ordering::Relaxed) && state.claims();
        let mut due = Vec::new();
        let mut next: Option<Duration> = None;
        let mut asked: Vec<(ExecutionId, bool)> = Vec::new();
        for (execution, waiting) in &state.waiting {
            let at = waiting.poll.map_or(now, |(at, _)| at);
            if at <= now {
                let here = state.holds(*execution) || alone && state.live.contains_key(execution);
                asked.push((*execution, here));
            } else {
                next = next.into_iter().chain([at]).min();
            }
        }
        for (execution, here) in asked {
            let waiting = state.waiting.get_mut(&execution).expect("it was just seen under this lock");
            let step = waiting.poll.map_or(POLL.0, |(_, step)| (step * 2).min(POLL.1));
            let step = if here { POLL.1 } else { step };
            waiting.poll = Some((now + step, step));
            next = next.into_iter().chain([now + step]).min();
            if !here {
                due.push(execution);
            }
        }
        (due, next)
    }

    /// Pauses executions that nobody who lives has the code of. Asked only of places where work is due and none of it is for us.
    ///
    /// Places that are only served are left out: what is paused there makes no bell ring, and nobody would open the place to resume it
    /// when the code is there again.
    pub(super) async fn pause_orphans(self: Arc<Self>) {
        while self.tick(ORPHANS).await {
            let idle = |place: &Arc<OpenPlace>| {
                let state = place.state();
                state.patience.is_some() && state.is_active() && !state.only_served()
            };
            let places: Vec<Arc<OpenPlace>> = self.all_places().into_iter().filter(idle).collect();
            if places.is_empty() {
                continue;
            }
            let asked = self.announced_by_all().await;
            self.troubles.announced.note(self.whose(), &asked);
            let Ok(announced) = asked else { continue };
            for place in places {
                let grace = place.state().settings.orphan_grace.min(LONGEST_WAIT);
                let known: Arc<[WorkflowKey]> = known_to(&announced, &place).into_iter().collect();
                let mut all = false;
                while !all {
                    let (now, known) = (self.clock.database_now(), &known);
                    let overdue = self.store.execution_overdue(&place.place, known, grace, now).await;
                    place.troubles.orphans.note(place.whose(), &overdue);
                    let Ok(orphans) = overdue else { break };
                    let paused = self.control_all(&place, &orphans, &Control::Orphan).await;
                    all = orphans.len() < MANY || paused == 0;
                }
            }
        }
    }

    /// What all live runners can run. What a tenant's own runner says it can run counts for that tenant alone.
    async fn announced_by_all(&self) -> Result<Announced, StoreError> {
        let mut announced = Announced::new();
        let runners = self.store.runner_list().await?;
        for runner in runners.into_iter().filter(|runner| runner.liveness == Liveness::Live) {
            announced.entry(runner.tenant).or_default().extend(runner.workflows);
        }
        announced.entry(None).or_default().extend(self.announced().iter().cloned());
        Ok(announced)
    }

    /// Says it if nobody who lives has the code of work that is due in a place, and none of it is for us. Looked for at once, and then
    /// not more often than it is looked for executions to be paused.
    pub(super) fn look_for_orphans(self: &Arc<Self>, place: &Arc<OpenPlace>) {
        let now = self.clock.monotonic();
        {
            let mut state = place.state();
            if !state.is_active() || state.orphans_looked.is_some_and(|at| now < at + ORPHANS) {
                return;
            }
            state.orphans_looked = Some(now);
        }
        let (hub, place) = (Arc::clone(self), Arc::clone(place));
        self.spawn(async move {
            place.troubles.orphans.note(place.whose(), &hub.tell_orphans(&place).await);
        });
    }

    async fn tell_orphans(&self, place: &OpenPlace) -> Result<(), StoreError> {
        let mut known = known_to(&self.announced_by_all().await?, place);
        self.orphans_told().retain(|(tenant, key)| *tenant != place.place.tenant || !known.contains(key));
        let mut executions: HashMap<WorkflowKey, usize> = HashMap::new();
        loop {
            let (keys, now) = (known.iter().cloned().collect(), self.clock.database_now());
            let found = {
                let _turn = self.turn_in(place).await;
                self.store.execution_overdue(&place.place, &keys, Duration::ZERO, now).await?
            };
            for (_, key) in &found {
                *executions.entry(key.clone()).or_default() += 1;
            }
            known.extend(found.iter().map(|(_, key)| key.clone()));
            // Behind as many of one version there may be others.
            if found.len() < MANY || executions.len() >= ORPHAN_VERSIONS {
                break;
            }
        }
        let tenant = &place.place.name;
        if executions.is_empty() {
            debug!(tenant, "the work that is due is for other runners");
        }
        for (key, executions) in executions {
            let told = {
                let mut told = self.orphans_told();
                if told.len() >= ORPHANS_TOLD {
                    told.clear();
                }
                !told.insert((place.place.tenant, key.clone()))
            };
            if told {
                continue;
            }
            // A tenant may have written it.
            let workflow = key.name.chars().take(100).collect::<String>();
            let (workflow, version) = (workflow.escape_debug(), key.fingerprint);
            warn!(
                tenant, %workflow, %version, executions,
                "work is due whose code no live runner has: start a process that has this version of the workflow, or cancel the executions"
            );
        }
        Ok(())
    }

    fn orphans_told(&self) -> MutexGuard<'_, HashSet<(TenantId, WorkflowKey)>> {
        self.orphans_told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resumes the executions of a place that were paused because nobody had the code that this process has.
    pub(super) async fn resume_orphans(self: Arc<Self>, place: Arc<OpenPlace>) {
        let known: Arc<[WorkflowKey]> = {
            let state = place.state();
            if !state.is_active() {
                return;
            }
            Arc::clone(state.workflows.keys())
        };
        let mut wait = RESUME.0;
        loop {
            let found = self.store.execution_orphaned(&place.place, &known).await;
            place.troubles.resuming.note(place.whose(), &found);
            let resumed = match found {
                Ok(orphaned) if orphaned.is_empty() => return,
                Ok(orphaned) => self.control_all(&place, &orphaned, &Control::Resume).await,
                Err(_) => 0,
            };
            if resumed > 0 {
                place.state().note_backlog(i16::MIN);
                self.look(&place);
                wait = RESUME.0;
                continue;
            }
            if !self.pause(wait).await || place.state().executors.is_empty() {
                return;
            }
            wait = (wait * 2).min(RESUME.1);
        }
    }

    /// How many of the executions it was done to.
    async fn control_all(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        executions: &[(ExecutionId, WorkflowKey)],
        control: &Control,
    ) -> usize {
        let tenant = &place.place.name;
        let mut done = 0;
        for (execution, workflow) in executions {
            let now = self.clock.database_now();
            match self.store.execution_control(&place.place, *execution, control.clone(), now).await {
                Ok(controlled @ Controlled::Done(_)) => {
                    done += 1;
                    self.note_ended(place, *execution, controlled);
                    let workflow = Short(&workflow.name);
                    debug!(tenant, %execution, %workflow, ?control, "the code of an execution came or went");
                }
                Ok(Controlled::Refused(_) | Controlled::NotFound) => {}
                Err(error) => {
                    warn!(
                        tenant, %execution, %error, ?control,
                        "failed to pause or resume an execution whose code came or went; will try again"
                    );
                }
            }
        }
        if done > 0 {
            info!(tenant, executions = done, ?control, "the code of executions came or went");
        }
        done
    }

    /// Mends what no transaction of ours leaves behind in a place.
    pub(super) async fn repair(self: Arc<Self>, place: Arc<OpenPlace>) {
        if !place.state().is_active() {
            return;
        }
        let repaired = {
            let _turn = self.turn_in(&place).await;
            self.store.place_repair(&place.place, self.clock.database_now()).await
        };
        place.troubles.repair.note(place.whose(), &repaired);
        match repaired {
            Ok(repaired) if repaired.is_empty() => {}
            Ok(Repaired { rescued, tasks, closed }) => {
                warn!(
                    tenant = place.place.name,
                    tasks,
                    rescued = rescued.len(),
                    closed = closed.len(),
                    "took back tasks of runners that are not known, and closed executions with nothing left to be done; was this \
                     place put back from a backup?"
                );
                place.left_queue(closed.len());
                if !closed.is_empty() {
                    self.spawn(Arc::clone(&self).note_closed(Arc::clone(&place), closed.clone()));
                }
                place.state().note_backlog(i16::MIN);
                self.look(&place);
                for execution in rescued.into_iter().chain(closed) {
                    self.request_audit(Audit::Execution(Arc::clone(&place), execution));
                }
            }
            Err(_) => {}
        }
    }

    /// Deletes finished executions that are older than the retention of their place, in small batches.
    pub(super) async fn prune(self: Arc<Self>) {
        let mut wait = Duration::from_secs(60);
        while self.tick(wait).await {
            wait = PRUNE;
            for place in self.all_places() {
                Arc::clone(&self).repair(Arc::clone(&place)).await;
                let retention = {
                    let state = place.state();
                    state.settings.retention.filter(|_| state.is_active())
                };
                let Some(retention) = retention else { continue };
                let retention = retention.min(LONGEST_WAIT);
                loop {
                    let now = self.clock.database_now();
                    let pruned = self.store.execution_prune(&place.place, retention, PRUNE_BATCH, now).await;
                    place.troubles.pruning.note(place.whose(), &pruned);
                    if !pruned.is_ok_and(|pruned| pruned == PRUNE_BATCH) {
                        break;
                    }
                    if !self.pause(Duration::from_millis(100)).await {
                        return;
                    }
                }
            }
        }
    }
}

/// What runners can run, by whose they are; `None` is the operator's.
type Announced = HashMap<Option<TenantId>, HashSet<WorkflowKey>>;

/// What runners have that may work in a place.
fn known_to(announced: &Announced, place: &OpenPlace) -> HashSet<WorkflowKey> {
    let runners = [None, Some(place.place.tenant)];
    runners.iter().filter_map(|whose| announced.get(whose)).flatten().cloned().collect()
}

/// How it is known that a runner does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// Somebody has declared it dead.
    Declared,
    /// It ran on this host, and its process is not there.
    Gone,
    /// Its heartbeat was seen unchanged for this long, which is at least its lease.
    Silent(Duration),
}

impl Death {
    /// `None` of a runner that may live; `stood` is for how long its heartbeat was seen unchanged.
    fn of(runner: &RunnerRecord, here: Option<&ProcessIdentity>, stood: Duration) -> Option<Self> {
        match (runner.liveness, &runner.process, here) {
            (Liveness::Dead, ..) => Some(Self::Declared),
            (Liveness::Live, Some(process), Some(here)) if process.is_gone(here) => Some(Self::Gone),
            (Liveness::Live, ..) => {
                (!stood.is_zero() && stood >= runner.lease).then_some(Self::Silent(stood))
            }
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declared => f.write_str("which had been declared dead before"),
            Self::Gone => f.write_str("whose process is gone"),
            Self::Silent(stood) if stood.as_secs() == 0 => {
                write!(f, "whose heartbeat stood still for {} ms", stood.as_millis())
            }
            Self::Silent(stood) => write!(f, "whose heartbeat stood still for {} s", stood.as_secs()),
        }
    }
}

/// Where a runner runs, as far as it was recorded. A tenant writes the rows of its own runners itself.
struct Whereabouts<'a>(&'a RunnerRecord);

impl fmt::Display for Whereabouts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.host_name {
            Some(name) => write!(f, "on host {}", name.escape_debug())?,
            None => f.write_str("on a host of unknown name")?,
        }
        match &self.0.process {
            Some(process) => write!(f, ", pid {}", process.pid),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(liveness: Liveness, process: Option<ProcessIdentity>) -> RunnerRecord {
        RunnerRecord {
            id: RunnerId::new(),
            tenant: None,
            liveness,
            beat: 7,
            lease: Duration::from_secs(30),
            process,
            host_name: Some("web-3".to_owned()),
            workflows: Vec::new(),
        }
    }

    #[test]
    fn the_reason_is_the_one_that_is_known() {
        let here = ProcessIdentity { host: "here".to_owned(), pid: 1, started: 0 };
        let nobody = ProcessIdentity { pid: i32::MAX, ..here.clone() };
        let elsewhere = ProcessIdentity { host: "there".to_owned(), ..nobody.clone() };
        let of = |liveness, process: &ProcessIdentity, seconds: u64| {
            let runner = runner(liveness, Some(process.clone()));
            let why = Death::of(&runner, Some(&here), Duration::from_millis(seconds * 1000 + 400));
            why.map(|why| format!("{}, {why}", Whereabouts(&runner)))
        };
        assert_eq!(of(Liveness::Live, &elsewhere, 29), None);
        let pid = i32::MAX;
        let expected = format!("on host web-3, pid {pid}, whose heartbeat stood still for 30 s");
        assert_eq!(of(Liveness::Live, &elsewhere, 30), Some(expected));
        let expected = format!("on host web-3, pid {pid}, which had been declared dead before");
        assert_eq!(of(Liveness::Dead, &elsewhere, 30), Some(expected));
        if cfg!(target_os = "linux") {
            let expected = format!("on host web-3, pid {pid}, whose process is gone");
            assert_eq!(of(Liveness::Live, &nobody, 0), Some(expected));
        }
    }

    #[test]
    fn a_runner_that_does_not_say_where_it_runs_is_on_an_unknown_host() {
        let silent = RunnerRecord { host_name: None, ..runner(Liveness::Live, None) };
        assert_eq!(Whereabouts(&silent).to_string(), "on a host of unknown name");
        let forged = RunnerRecord { host_name: Some("x\n\u{1b}[2J".to_owned()), ..silent };
        assert_eq!(Whereabouts(&forged).to_string(), "on host x\\n\\u{1b}[2J");
    }
}
