//! Executions whose code nobody has: they are told of, paused, and resumed when it is there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::kernel::Short;
use super::place::OpenPlace;
use super::shared::Hub;
use crate::backoff::Backoff;
use crate::clock::LONGEST_WAIT;
use crate::id::{ExecutionId, TenantId};
use crate::store::{Control, Controlled, Liveness, MANY, StoreError, WorkflowKey};
use crate::workflow::{Fingerprint, RESERVED};

/// How often places with work that is not for us are looked at for executions that nobody has the code of.
const ORPHANS: Duration = Duration::from_secs(30);

/// Of how many versions of workflows at most it is looked for at once that nobody has them, and how many are
/// remembered as told.
const ORPHAN_VERSIONS: usize = 100;
const ORPHANS_TOLD: usize = 10_000;

/// How long to wait before looking again for executions whose code came: at first, and at most.
const RESUME: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

impl Hub {
    /// Pauses executions that nobody who lives has the code of. Asked only of places where work is due and
    /// none of it is for us.
    ///
    /// Places that are only served are left out: what is paused there makes no bell ring, and nobody would
    /// open the place to resume it when the code is there again.
    pub(super) async fn pause_orphans(self: Arc<Self>) {
        while self.tick(ORPHANS).await {
            let idle = |place: &Arc<OpenPlace>| {
                let state = place.state();
                state.claiming.is_patient() && state.standing.is_active() && !state.handles.only_served()
            };
            let places: Vec<Arc<OpenPlace>> = self.all_places().into_iter().filter(idle).collect();
            if places.is_empty() {
                continue;
            }
            let asked = self.announced_by_all().await;
            self.troubles.announced.note(self.whose(), &asked);
            let Ok(announced) = asked else { continue };
            for place in places {
                let grace = place.state().handles.settings.orphan_grace.min(LONGEST_WAIT);
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

    /// What all live runners can run. What a tenant's own runner says it can run counts for that tenant
    /// alone.
    async fn announced_by_all(&self) -> Result<Announced, StoreError> {
        let mut announced = Announced::new();
        let runners = self.store.runner_list().await?;
        for runner in runners.into_iter().filter(|runner| runner.liveness == Liveness::Live) {
            announced.entry(runner.tenant).or_default().extend(runner.workflows);
        }
        announced.entry(None).or_default().extend(self.announced().iter().cloned());
        Ok(announced)
    }

    /// Says it if nobody who lives has the code of work that is due in a place, and none of it is for us.
    /// Looked for at once, and then not more often than it is looked for executions to be paused.
    pub(super) fn look_for_orphans(self: &Arc<Self>, place: &Arc<OpenPlace>) {
        let now = self.clock.monotonic();
        {
            let mut state = place.state();
            if !state.standing.is_active()
                || state.claiming.orphans_looked.is_some_and(|at| now < at + ORPHANS)
            {
                return;
            }
            state.claiming.orphans_looked = Some(now);
        }
        if self.orphaned.add(Arc::clone(place)) {
            self.spawn(Arc::clone(self).tell_all_orphans());
        }
    }

    /// What lives is asked once for all places that ask at a time: the answer walks all that are open.
    async fn tell_all_orphans(self: Arc<Self>) {
        loop {
            let places = self.orphaned.next();
            if places.is_empty() {
                return;
            }
            let asked = self.announced_by_all().await;
            self.troubles.announced.note(self.whose(), &asked);
            let Ok(announced) = asked.map(Arc::new) else { continue };
            for place in places {
                let (hub, announced) = (Arc::clone(&self), Arc::clone(&announced));
                self.spawn(async move {
                    place.troubles.orphans.note(place.whose(), &hub.tell_orphans(&place, &announced).await);
                });
            }
        }
    }

    async fn tell_orphans(&self, place: &OpenPlace, announced: &Announced) -> Result<(), StoreError> {
        let mut known = known_to(announced, place);
        self.orphans_told
            .lock()
            .retain(|(tenant, key)| *tenant != place.place.tenant || !known.contains(key));
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
                let mut told = self.orphans_told.lock();
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

    /// Says it if no live runner has a workflow of the name that something is submitted by: the name may be
    /// wrong. Looked for once in a while for each name.
    pub(crate) fn look_for_name(self: &Arc<Self>, place: &Arc<OpenPlace>, name: &Arc<str>) {
        if !self.is_news(place, name) {
            return;
        }
        let (hub, place, name) = (Arc::clone(self), Arc::clone(place), Arc::clone(name));
        self.spawn(async move {
            let announced = hub.announced_by_all().await;
            hub.troubles.announced.note(hub.whose(), &announced);
            let Ok(announced) = announced else { return };
            if !known_to(&announced, &place).iter().any(|key| key.name == name) {
                warn!(
                    tenant = place.place.name, workflow = %name.escape_debug(),
                    "an execution is submitted by name, and no live runner has a workflow of this name: it waits until one is started; if \
                     the name is wrong, cancel it"
                );
            }
        });
    }

    /// Says it if schedules were put that nobody fires when this process has let go of the place: it runs no
    /// tasks there, and no other runner lives. Looked for once in a while for each tenant.
    pub(crate) fn look_who_fires(self: &Arc<Self>, place: &Arc<OpenPlace>) {
        if !place.state().handles.executors.is_empty() || !self.is_news(place, &Arc::from(RESERVED)) {
            return;
        }
        let (hub, place) = (Arc::clone(self), Arc::clone(place));
        self.spawn(async move {
            let runners = hub.store.runner_list().await;
            hub.troubles.announced.note(hub.whose(), &runners);
            let Ok(runners) = runners else { return };
            let own = hub.incarnation().map(|incarnation| incarnation.id);
            let may_fire = runners.iter().any(|runner| {
                let works_here = runner.tenant.is_none_or(|tenant| tenant == place.place.tenant);
                runner.liveness == Liveness::Live && Some(runner.id) != own && works_here
            });
            if !may_fire {
                warn!(
                    tenant = place.place.name,
                    "a schedule was put, and no live runner would fire it when this process has closed the tenant: start one that opens \
                     it, or one that serves all tenants"
                );
            }
        });
    }

    /// Whether nobody looked for this in the place lately; it counts as looked for then.
    fn is_news(&self, place: &OpenPlace, what: &Arc<str>) -> bool {
        let now = self.clock.monotonic();
        let mut looked = self.names_looked.lock();
        let key = (place.place.tenant, Arc::clone(what));
        if looked.get(&key).is_some_and(|at| now < *at + ORPHANS) {
            return false;
        }
        if looked.len() >= ORPHANS_TOLD {
            looked.clear();
        }
        looked.insert(key, now);
        true
    }

    /// Resumes the executions of a place that were paused because nobody had the code that this process has.
    pub(super) async fn resume_orphans(self: Arc<Self>, place: Arc<OpenPlace>) {
        let known: Arc<[WorkflowKey]> = {
            let state = place.state();
            if !state.standing.is_active() {
                return;
            }
            let keys = state.handles.workflows.keys();
            keys.iter().flat_map(|key| [key.clone(), by_name(key)]).collect()
        };
        let mut backoff = Backoff::new(RESUME.0, RESUME.1);
        loop {
            let found = self.store.execution_orphaned(&place.place, &known).await;
            place.troubles.resuming.note(place.whose(), &found);
            let resumed = match found {
                Ok(orphaned) if orphaned.is_empty() => return,
                Ok(orphaned) => self.control_all(&place, &orphaned, &Control::Resume).await,
                Err(_) => 0,
            };
            if resumed > 0 {
                place.state().claiming.note_any();
                self.look(&place);
                backoff.reset();
                continue;
            }
            if !self.pause(backoff.next()).await || place.state().handles.executors.is_empty() {
                return;
            }
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
            match self.store.execution_control(&place.place, *execution, control.clone(), None, now).await {
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
}

/// What runners can run, by whose they are; `None` is the operator's.
type Announced = HashMap<Option<TenantId>, HashSet<WorkflowKey>>;

/// What runners have that may work in a place.
fn known_to(announced: &Announced, place: &OpenPlace) -> HashSet<WorkflowKey> {
    let runners = [None, Some(place.place.tenant)];
    let keys = runners.iter().filter_map(|whose| announced.get(whose)).flatten();
    keys.flat_map(|key| [key.clone(), by_name(key)]).collect()
}

/// What stands for executions that were submitted by the name of a workflow.
fn by_name(key: &WorkflowKey) -> WorkflowKey {
    WorkflowKey { name: Arc::clone(&key.name), fingerprint: Fingerprint::UNKNOWN }
}
