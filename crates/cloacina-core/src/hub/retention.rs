//! What is done in places now and then: what is wrong there is mended, and what has been kept for long enough
//! is deleted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::place::OpenPlace;
use super::shared::{Audit, Hub};
use crate::clock::LONGEST_WAIT;
use crate::id::TenantId;
use crate::meters::note_behind;
use crate::pruning::Pruning;
use crate::retention::Retention;
use crate::store::{Place, Repaired, StoreError};

/// How many tenants that nobody opened are taken at once.
const AT_ONCE: usize = 100;

/// For how long places are deleted in before others have their turn.
const TURN: Duration = Duration::from_secs(10);

/// When places are looked at for the first time.
const FIRST: Duration = Duration::from_secs(2);

/// How often a place is looked at at most: if something was deleted there lately, and if not.
const SOON: Duration = Duration::from_secs(60);
const SELDOM: Duration = Duration::from_secs(3600);

impl Hub {
    /// Mends what no transaction of ours leaves behind in a place.
    pub(super) async fn repair(self: Arc<Self>, place: Arc<OpenPlace>) {
        if !place.state().standing.is_active() {
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
                place.queue.left(closed.len());
                if !closed.is_empty() {
                    self.spawn(Arc::clone(&self).note_closed(Arc::clone(&place), closed.clone()));
                }
                place.state().claiming.note_any();
                self.look(&place);
                for execution in rescued.into_iter().chain(closed) {
                    self.request_audit(Audit::Execution(Arc::clone(&place), execution));
                }
            }
            Err(_) => {}
        }
    }

    /// Mends places once an hour, and deletes what has been kept for long enough.
    pub(super) async fn prune(self: Arc<Self>) {
        let mut visits = Visits::default();
        let mut seals = Duration::ZERO;
        // Before a file goes to rest it is known when something comes of age there.
        if !self.pause(FIRST).await {
            return;
        }
        visits.know(&self.all_places());
        self.prune_all(&mut visits).await;
        while self.next_prune(visits.next()).await {
            let places = self.all_places();
            visits.know(&places);
            if self.rest.is_awake() {
                if self.clock.monotonic() >= seals {
                    seals = self.clock.monotonic() + SELDOM;
                    self.troubles.sealing.note(self.whose(), &self.store.audit_seal().await);
                }
                for place in visits.take_for_repair(places, self.clock.monotonic()) {
                    Arc::clone(&self).repair(place).await;
                }
            }
            self.prune_all(&mut visits).await;
        }
        note_behind(self.label(), Duration::ZERO);
    }

    /// Waits for the next look: at rest, until something has been kept for long enough. False once the hub is
    /// being closed.
    async fn next_prune(&self, at: Option<Duration>) -> bool {
        self.pause(SOON).await
            && tokio::select! {
                biased;
                () = self.stop.cancelled() => false,
                () = self.rest.awake() => true,
                () = self.clock.sleep_until(at.unwrap_or_default()), if at.is_some() => true,
            }
    }

    /// Deletes what has been kept for long enough: in the places that are open, and if all tenants are served
    /// here, in those that nobody opened. One after the other, so that most connections are left to others.
    async fn prune_all(&self, visits: &mut Visits) {
        let mut behind = Duration::ZERO;
        loop {
            let now = self.clock.monotonic();
            let (open, others) = self.retentions(visits, now);
            if others.is_none() && open.iter().all(|(_, retention)| retention.shortest().is_none()) {
                break;
            }
            let taken =
                self.store.retention_take(&open, others.as_ref(), AT_ONCE, self.clock.database_now()).await;
            self.troubles.retention.note(self.whose(), &taken);
            let Ok(taken) = taken else { break };
            behind = behind.max(taken.behind);
            let open: HashMap<TenantId, Retention> = open.into_iter().collect();
            let (mut unopened, mut more) = (0, false);
            for tenant in taken.tenants {
                if self.stop.is_cancelled() {
                    return;
                }
                match (open.get(&tenant), &others) {
                    (Some(retention), _) => {
                        if let Some(place) = self.open_place(tenant) {
                            let pruned = self.prune_place(&place.place, retention, visits).await;
                            place.troubles.pruning.note(place.whose(), &pruned);
                            let Ok(looked) = pruned else { continue };
                            behind = behind.max(looked.behind);
                            more |= looked.more;
                        }
                    }
                    (None, Some(retention)) => {
                        unopened += 1;
                        more |= self.prune_unopened(tenant, retention, visits).await;
                    }
                    (None, None) => {}
                }
            }
            if unopened < AT_ONCE && !more {
                break;
            }
        }
        note_behind(self.label(), behind);
    }

    /// How long executions are kept: in each place that is open, for ever where nothing is to be done at this
    /// look; and in those of all others that this process works for.
    fn retentions(&self, visits: &Visits, now: Duration) -> (Vec<(TenantId, Retention)>, Option<Retention>) {
        let places = self.places();
        let open = places.open.values().map(|place| {
            let (state, tenant) = (place.state(), place.place.tenant);
            let is_due = state.standing.is_active() && visits.may_prune(tenant, now);
            (tenant, if is_due { state.handles.settings.retention } else { Retention::FOREVER })
        });
        let others = places.serving.servers.last().map(|(_, server)| server.settings.retention);
        (open.collect(), others.filter(|retention| retention.shortest().is_some()))
    }

    /// Whether there is more to be deleted.
    async fn prune_unopened(&self, tenant: TenantId, retention: &Retention, visits: &mut Visits) -> bool {
        let pruned = match self.find_place(tenant).await {
            Ok(Some((place, _))) => self.prune_place(&place, retention, visits).await,
            Ok(None) => return false,
            Err(error) => Err(error),
        };
        match pruned {
            Ok(looked) => looked.more,
            Err(error) => {
                warn!(%tenant, %error, "what has been kept for long enough in the place of a tenant that nobody opened was not deleted; will \
                     try again in an hour");
                false
            }
        }
    }

    /// Deletes in one place for a while, and notes what is left.
    async fn prune_place(
        &self,
        place: &Place,
        retention: &Retention,
        visits: &mut Visits,
    ) -> Result<Looked, StoreError> {
        let tenant = place.tenant;
        let mut pruning = visits.pruning.remove(&tenant).unwrap_or_default();
        let until = self.clock.monotonic() + TURN;
        let go_on = || !self.stop.is_cancelled() && self.clock.monotonic() < until;
        let pruned = pruning.prune(&*self.store, &*self.clock, place, retention, go_on).await;
        if !pruning.is_usual() {
            visits.pruning.insert(tenant, pruning);
        }
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        let pause = match &pruned {
            Ok(pruned) if pruned.more => Duration::ZERO,
            // Where executions end all the time they are deleted as they come of age, and not all at once.
            Ok(pruned) if pruned.executions > 0 => SOON,
            _ => SELDOM,
        };
        // What could not be deleted is tried again after the pause.
        let next = pruned.as_ref().map_or(Some(wall), |pruned| pruned.oldest.next(retention, wall));
        let comes_of_age = next.map(|next| {
            let until = Duration::try_from(next.duration_since(wall)).unwrap_or_default();
            now + until.max(pause).min(LONGEST_WAIT)
        });
        visits.pruned(tenant, now + pause, comes_of_age);
        let pruned = pruned?;
        self.store.retention_note(place, &pruned.oldest, pause, self.clock.database_now()).await?;
        Ok(Looked { behind: pruned.found.behind(retention, wall), more: pruned.more })
    }
}

/// What came of a look at a place.
#[derive(Debug)]
struct Looked {
    /// For how long something was kept that should have been gone.
    behind: Duration,
    /// Whether there is more to be deleted.
    more: bool,
}

/// When places are looked at next.
#[derive(Debug, Default)]
struct Visits {
    open: HashMap<TenantId, Visit>,
    /// Those in which it takes smaller batches.
    pruning: HashMap<TenantId, Pruning>,
}

/// When an open place is looked at next.
#[derive(Debug, Default)]
struct Visit {
    repair: Duration,
    prune: Duration,
    /// When something will have been kept for long enough, although nothing ever ends there.
    comes_of_age: Option<Duration>,
}

impl Visits {
    /// Takes note of the places that are open; what is known of others is forgotten.
    fn know(&mut self, places: &[Arc<OpenPlace>]) {
        let open: HashSet<TenantId> = places.iter().map(|place| place.place.tenant).collect();
        self.open.retain(|tenant, _| open.contains(tenant));
        open.into_iter().for_each(|tenant| {
            self.open.entry(tenant).or_default();
        });
    }

    /// The places that are to be mended now.
    fn take_for_repair(&mut self, mut places: Vec<Arc<OpenPlace>>, now: Duration) -> Vec<Arc<OpenPlace>> {
        places.retain(|place| {
            let visit = self.open.entry(place.place.tenant).or_default();
            let is_due = now >= visit.repair;
            if is_due {
                visit.repair = now + SELDOM;
            }
            is_due
        });
        places
    }

    fn may_prune(&self, tenant: TenantId, now: Duration) -> bool {
        self.open.get(&tenant).is_none_or(|visit| now >= visit.prune)
    }

    fn pruned(&mut self, tenant: TenantId, next: Duration, comes_of_age: Option<Duration>) {
        if let Some(visit) = self.open.get_mut(&tenant) {
            (visit.prune, visit.comes_of_age) = (next, comes_of_age);
        }
    }

    /// When a place has to be looked at in which nothing happens.
    fn next(&self) -> Option<Duration> {
        self.open.values().filter_map(|visit| visit.comes_of_age).min()
    }
}
