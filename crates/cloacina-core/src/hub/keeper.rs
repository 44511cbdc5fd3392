//! The hub's clockwork: heartbeat, watch over other runners, doorbell, executions that run elsewhere, pruning, executions whose code is gone.
//!
//! The runner row decides who is alive, not a clock. A runner is declared dead if its heartbeat has stood still for its whole
//! lease while we could see the database all that time, so a database that was down kills nobody; or at once if its process ran
//! on this host and is provably gone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::auditor::Audit;
use super::place::PlaceState;
use super::rest::Quiet;
use super::{Hub, OpenPlace, Waiter};
use crate::clock::LONGEST_WAIT;
use crate::id::{ExecutionId, RunnerId, TenantId};
use crate::lease::ProcessIdentity;
use crate::store::{Control, Controlled, Liveness, MANY, Repaired, RunnerRecord, StoreError, WorkflowKey};

/// How often the doorbell is looked at when nobody hints.
const BELL: Duration = Duration::from_secs(1);

/// For how long a notice is told at least.
const NOTICED: Duration = Duration::from_secs(8);

/// How often other runners are looked at, at least.
const WATCH: Duration = Duration::from_secs(2);

/// How long to wait before asking for an execution that runs elsewhere: at first, and at most.
const POLL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long the first of many waiters waits for the others, and how many of them are asked for in one query.
const GATHER: Duration = Duration::from_millis(5);
const POLL_BATCH: usize = 1000;

/// How often places with work that is not for us are looked at for executions that nobody has the code of.
const ORPHANS: Duration = Duration::from_secs(30);

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
            match self.store.runner_heartbeat(incarnation.id, &announced, self.clock.database_now()).await {
                Ok(Liveness::Live) => {}
                Ok(Liveness::Dead) => self.renew(&incarnation).await,
                Err(error) => {
                    warn!(database = self.label(), %error, "failed to renew the lease; will try again");
                }
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
            let runners = match self.store.runner_list().await {
                Ok(runners) => runners,
                Err(error) => {
                    warn!(database = self.label(), %error, "failed to look at the other runners; nobody's work is taken back until that succeeds");
                    seen.clear();
                    continue;
                }
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
                let stood_still = stood >= runner.lease;
                if stood_still || is_provably_gone(&runner, here.as_ref()) {
                    if runner.tenant.is_some_and(|tenant| failed.contains(&tenant)) {
                        continue;
                    }
                    if !self.rescue(&runner).await {
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
        let mut gone: Vec<RunnerRecord> =
            runners.into_iter().filter(|runner| is_provably_gone(runner, Some(&here))).collect();
        gone.sort_by_key(|runner| runner.tenant);
        let mut failed: HashSet<TenantId> = HashSet::new();
        for runner in gone {
            if runner.tenant.is_some_and(|tenant| failed.contains(&tenant)) {
                continue;
            }
            let (hub, tenant) = (Arc::clone(&self), runner.tenant);
            if !self.ask(async move { Ok(hub.rescue(&runner).await) }).await? {
                failed.extend(tenant);
            }
        }
        Ok(())
    }

    /// Declares a runner dead and returns its work. What fails is tried again by the next look at the runners; false then.
    async fn rescue(self: &Arc<Self>, runner: &RunnerRecord) -> bool {
        let dead = match runner.liveness {
            Liveness::Dead => Ok(true),
            Liveness::Live => self.store.runner_condemn(runner.id, runner.beat).await,
        };
        match dead {
            Ok(true) => {}
            Ok(false) => return true,
            Err(error) => {
                warn!(database = self.label(), runner = %runner.id, %error, "failed to declare a runner dead; will try again");
                return false;
            }
        }
        match self.store.runner_rescue(runner.id, self.clock.database_now()).await {
            Ok(rescued) => {
                let executions: usize = rescued.iter().map(|rescued| rescued.executions.len()).sum();
                info!(database = self.label(), runner = %runner.id, executions, "took back the work of a runner that died");
                for rescued in rescued {
                    let place = self.open_place(rescued.place.tenant);
                    if let Some(place) = place {
                        place.state().note_backlog(i16::MIN);
                        self.look(&place);
                    }
                }
                true
            }
            Err(error) => {
                warn!(database = self.label(), runner = %runner.id, %error, "failed to take back all the work of a runner that died; will try again");
                false
            }
        }
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
            let bells = match self.store.bell_due(self.clock.database_now()).await {
                Ok(bells) => bells,
                Err(error) => {
                    debug!(database = self.label(), %error, "failed to look at the doorbell");
                    continue;
                }
            };
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
                    match self.store.execution_headers(&place.place, due).await {
                        Ok(headers) => {
                            let open: HashSet<ExecutionId> = headers
                                .iter()
                                .filter(|header| !header.status.is_terminal())
                                .map(|header| header.id)
                                .collect();
                            for ended in due.iter().filter(|id| !open.contains(id)) {
                                self.request_audit(Audit::Execution(Arc::clone(&place), *ended));
                            }
                        }
                        Err(error) => {
                            debug!(tenant = place.place.name, %error, "failed to ask for executions that run elsewhere");
                        }
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
                // Many waiters come at once: one look is enough for them all.
                () = self.elsewhere.woken() => if !self.pause(GATHER).await { return },
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
            // What a tenant's own runner says it can run counts for that tenant alone.
            let mut announced: HashMap<Option<TenantId>, HashSet<WorkflowKey>> = HashMap::new();
            match self.store.runner_list().await {
                Ok(runners) => {
                    for runner in runners.into_iter().filter(|runner| runner.liveness == Liveness::Live) {
                        announced.entry(runner.tenant).or_default().extend(runner.workflows);
                    }
                    announced.entry(None).or_default().extend(self.announced().iter().cloned());
                }
                Err(error) => {
                    debug!(database = self.label(), %error, "failed to look at what the runners can run");
                    continue;
                }
            };
            for place in places {
                let grace = place.state().settings.orphan_grace.min(LONGEST_WAIT);
                let known = [None, Some(place.place.tenant)];
                let known = known.iter().filter_map(|who| announced.get(who)).flatten().cloned();
                let known: Arc<[WorkflowKey]> = known.collect();
                let mut all = false;
                while !all {
                    let (now, known) = (self.clock.database_now(), &known);
                    match self.store.execution_overdue(&place.place, known, grace, now).await {
                        Ok(orphans) => {
                            let paused = self.control_all(&place, &orphans, &Control::Orphan).await;
                            all = orphans.len() < MANY || paused == 0;
                        }
                        Err(error) => {
                            warn!(tenant = place.place.name, %error, "failed to look for executions without code");
                            break;
                        }
                    }
                }
            }
        }
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
            let resumed = match self.store.execution_orphaned(&place.place, &known).await {
                Ok(orphaned) if orphaned.is_empty() => return,
                Ok(orphaned) => self.control_all(&place, &orphaned, &Control::Resume).await,
                Err(error) => {
                    warn!(
                        tenant = place.place.name, %error,
                        "failed to resume executions whose code is here again; will try again"
                    );
                    0
                }
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
        &self,
        place: &OpenPlace,
        executions: &[(ExecutionId, WorkflowKey)],
        control: &Control,
    ) -> usize {
        let mut done = 0;
        for (execution, workflow) in executions {
            let now = self.clock.database_now();
            match self.store.execution_control(&place.place, *execution, control.clone(), now).await {
                Ok(Controlled::Done(_)) => {
                    done += 1;
                    info!(
                        tenant = place.place.name, %execution, workflow = &*workflow.name, version = %workflow.fingerprint,
                        ?control, "the code of an execution came or went"
                    );
                }
                Ok(Controlled::Refused(_) | Controlled::NotFound) => {}
                Err(error) => {
                    warn!(
                        tenant = place.place.name, %execution, %error, ?control,
                        "failed to pause or resume an execution whose code came or went; will try again"
                    );
                }
            }
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
        match repaired {
            Ok(repaired) if repaired.is_empty() => {}
            Ok(Repaired { rescued, closed }) => {
                warn!(
                    tenant = place.place.name,
                    rescued = rescued.len(),
                    closed = closed.len(),
                    "took back tasks of runners that are not known, and closed executions with nothing left to be done; was this \
                     place put back from a backup?"
                );
                place.left_queue(closed.len());
                place.state().note_backlog(i16::MIN);
                self.look(&place);
                for execution in rescued.into_iter().chain(closed) {
                    self.request_audit(Audit::Execution(Arc::clone(&place), execution));
                }
            }
            Err(error) => {
                debug!(tenant = place.place.name, %error, "failed to look for what has to be mended; will look again");
            }
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
                    match self.store.execution_prune(&place.place, retention, PRUNE_BATCH, now).await {
                        Ok(pruned) if pruned == PRUNE_BATCH => {}
                        Ok(_) => break,
                        Err(error) => {
                            warn!(tenant = place.place.name, %error, "failed to prune finished executions; will try again");
                            break;
                        }
                    }
                    if !self.pause(Duration::from_millis(100)).await {
                        return;
                    }
                }
            }
        }
    }
}

fn is_provably_gone(runner: &RunnerRecord, here: Option<&ProcessIdentity>) -> bool {
    match (runner.liveness, &runner.process, here) {
        (Liveness::Dead, ..) => true,
        (Liveness::Live, Some(process), Some(here)) => process.is_gone(here),
        (Liveness::Live, ..) => false,
    }
}
