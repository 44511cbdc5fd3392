//! What is done in places now and then: what is wrong there is mended, and what has been kept for long enough
//! is deleted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::warn;

use super::place::OpenPlace;
use super::shared::{Audit, Hub};
use crate::clock::LONGEST_WAIT;
use crate::id::TenantId;
use crate::meters::note_behind;
use crate::pruning::{MOST, Pruned, Pruning};
use crate::retention::{OldestEnds, Retention};
use crate::store::{Place, Repaired, StoreError};

/// How many tenants that nobody opened are taken at once.
const AT_ONCE: usize = 100;

/// For how long places are deleted in before others have their turn.
const TURN: Duration = Duration::from_secs(10);

/// How many places are mended at one look: so that ten thousand take an hour, and not all at once the time of
/// everybody else.
const MENDED: usize = 200;

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
            let (mut shared, mut own, mut unopened) = (Vec::new(), Vec::new(), 0);
            for tenant in taken.tenants {
                unopened += usize::from(!open.contains_key(&tenant));
                if let Some(aged) = self.aged(tenant, open.get(&tenant), others).await {
                    if aged.place.shared { shared.push(aged) } else { own.push(aged) }
                }
            }
            let mut more = false;
            for places in shared.chunks(AT_ONCE).chain(own.chunks(1)) {
                if self.stop.is_cancelled() {
                    return;
                }
                let looked = self.prune_places(places, visits).await;
                behind = behind.max(looked.behind);
                more |= looked.more;
            }
            if unopened < AT_ONCE && !more {
                break;
            }
        }
        note_behind(self.label(), behind);
    }

    /// The place of a tenant that was taken: one that is open, and is kept so for as long, or another one.
    async fn aged(
        &self,
        tenant: TenantId,
        retention: Option<&Retention>,
        others: Option<Retention>,
    ) -> Option<Aged> {
        if let Some(retention) = retention {
            let open = self.open_place(tenant)?;
            return Some(Aged { place: Arc::clone(&open.place), retention: *retention, open: Some(open) });
        }
        match self.store.place_of(tenant).await {
            Ok(place) => Some(Aged { place: Arc::new(place?), retention: others?, open: None }),
            Err(error) => {
                warn_unopened(tenant, &error);
                None
            }
        }
    }

    /// Deletes in places that share tables, or in one. Those in which there is nothing cost two statements,
    /// however many they are.
    async fn prune_places(&self, places: &[Aged], visits: &mut Visits) -> Looked {
        let mut all = Looked::default();
        let asked: Vec<_> = places.iter().map(|aged| Arc::clone(&aged.place)).collect();
        let found = match self.store.execution_oldest(&asked).await {
            Ok(found) => found,
            Err(error) => {
                let failed = Err::<(), _>(error);
                places.iter().for_each(|aged| aged.note(&failed));
                return all;
            }
        };
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        let mut empty = Vec::new();
        for (aged, found) in places.iter().zip(found) {
            if found.ends(&aged.retention) {
                let pruned = self.prune_place(aged, found, visits).await;
                aged.note(&pruned);
                if let Ok(looked) = pruned {
                    all.behind = all.behind.max(looked.behind);
                    all.more |= looked.more;
                }
            } else {
                visits.pruned(aged.place.tenant, now + SELDOM, self.comes_of_age(aged, &found, wall, SELDOM));
                empty.push((aged.place.tenant, found, SELDOM));
            }
        }
        let noted = self.store.retention_note(&empty, self.clock.database_now()).await;
        self.troubles.retention.note(self.whose(), &noted);
        all
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

    /// Deletes in one place for a while, and notes what is left.
    async fn prune_place(
        &self,
        aged: &Aged,
        found: OldestEnds,
        visits: &mut Visits,
    ) -> Result<Looked, StoreError> {
        let Aged { place, retention, .. } = aged;
        let tenant = place.tenant;
        let mut pruning = visits.pruning.remove(&tenant).unwrap_or_default();
        let until = self.clock.monotonic() + TURN;
        let go_on = || !self.stop.is_cancelled() && self.clock.monotonic() < until;
        let pruned = pruning.prune(&*self.store, &*self.clock, place, found, retention, go_on).await;
        if !pruning.is_usual() {
            visits.pruning.insert(tenant, pruning);
        }
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        let behind = found.behind(retention, wall);
        let pause = match &pruned {
            Ok(pruned) if pruned.more => Duration::ZERO,
            Ok(pruned) => pause(pruned.executions, behind),
            Err(_) => SELDOM,
        };
        // What could not be deleted is tried again after the pause.
        let comes_of_age = match &pruned {
            Ok(pruned) => self.comes_of_age(aged, &pruned.oldest, wall, pause),
            Err(_) => Some(now + pause),
        };
        visits.pruned(tenant, now + pause, comes_of_age);
        let Pruned { oldest, more, .. } = pruned?;
        self.store.retention_note(&[(tenant, oldest, pause)], self.clock.database_now()).await?;
        Ok(Looked { behind, more })
    }

    /// When something of what is left in a place has been kept for long enough, but not before the pause is
    /// over.
    fn comes_of_age(
        &self,
        aged: &Aged,
        left: &OldestEnds,
        wall: Timestamp,
        pause: Duration,
    ) -> Option<Duration> {
        let next = left.next(&aged.retention, wall)?;
        let until = Duration::try_from(next.duration_since(wall)).unwrap_or_default();
        Some(self.clock.monotonic() + until.max(pause).min(LONGEST_WAIT))
    }
}

/// How long a place is left alone in which so many were deleted, the first of which should have gone so long
/// before: until there are as many as one transaction deletes, if they come of age as they did.
fn pause(deleted: usize, behind: Duration) -> Duration {
    let Some(deleted) = u32::try_from(deleted).ok().filter(|deleted| *deleted > 0) else { return SELDOM };
    (behind * MOST / deleted).clamp(SOON, SELDOM)
}

/// A place in which something may have been kept for long enough.
#[derive(Debug)]
struct Aged {
    place: Arc<Place>,
    retention: Retention,
    /// If it is open here.
    open: Option<Arc<OpenPlace>>,
}

impl Aged {
    /// Tells what came of a look at it.
    fn note<T>(&self, outcome: &Result<T, StoreError>) {
        match (&self.open, outcome) {
            (Some(open), _) => open.troubles.pruning.note(open.whose(), outcome),
            (None, Err(error)) => warn_unopened(self.place.tenant, error),
            (None, Ok(_)) => {}
        }
    }
}

fn warn_unopened(tenant: TenantId, error: &StoreError) {
    warn!(
        %tenant,
        %error,
        "what has been kept for long enough in the place of a tenant that nobody opened was not deleted; will \
         try again in an hour"
    );
}

/// What came of a look at places.
#[derive(Debug, Default)]
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

    /// The places that are to be mended now: those that have waited longest for it.
    fn take_for_repair(&mut self, mut places: Vec<Arc<OpenPlace>>, now: Duration) -> Vec<Arc<OpenPlace>> {
        let due = |place: &Arc<OpenPlace>| self.open.get(&place.place.tenant).map(|visit| visit.repair);
        places.retain(|place| due(place).is_some_and(|due| now >= due));
        places.sort_by_key(due);
        places.truncate(MENDED);
        for place in &places {
            self.open.entry(place.place.tenant).or_default().repair = now + SELDOM;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_left_alone_until_there_is_enough_to_be_deleted() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        // Nothing could be deleted.
        assert_eq!(pause(0, minutes(5)), SELDOM);
        // A hundred within ten minutes; a thousand within one; and a few in an hour.
        assert_eq!(pause(100, minutes(6)), minutes(60));
        assert_eq!(pause(500, minutes(6)), minutes(12));
        assert_eq!(pause(1000, minutes(1)), minutes(1));
        assert_eq!(pause(20, minutes(60)), SELDOM);
        assert_eq!(pause(5_000, minutes(1)), SOON);
    }
}
