//! Fires schedules, and changes them.
//!
//! There is no leader: whoever looks at what is due in a place takes the schedules that nobody else has
//! locked, and decides about them under these locks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tracing::{debug, warn};

use super::place::{OpenPlace, smaller};
use super::shared::{Audit, Hub};
use crate::error::{Error, ErrorKind};
use crate::execution::ExecutionStatus;
use crate::id::ScheduleId;
use crate::meters::{count_ended, count_fires, time_fire};
use crate::schedule::decide::{self, Settling};
use crate::store::{
    Budget, Decide, FireOutcome, NewAudit, ScheduleChange, ScheduleRecord, ScheduleRow, ScheduleSelection,
    ScheduleState, SchedulesSettled, StoreError, StoreErrorKind, short_hash,
};

/// How many due rows of schedules are taken in one transaction.
const AT_ONCE: usize = 100;

/// How many are taken of each place, where many places are settled in one transaction.
pub(super) const OF_EACH: usize = 10;

/// How often a change is tried that met another one of the same name.
const ATTEMPTS: usize = 5;

impl Hub {
    /// Does what is due of the schedules of a place. How many due rows were taken.
    pub(super) async fn settle_schedules(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
    ) -> Result<usize, StoreError> {
        let settling = self.settling(place, Duration::ZERO).await?;
        let all = move |records, now, budget: &mut Budget| decide::settle(settling, records, now, budget);
        match self.settle_some(place, AT_ONCE, all).await {
            Err(error) if error.kind() == StoreErrorKind::Data => self.settle_one_by_one(place).await,
            settled => settled,
        }
    }

    /// Settles schedules one by one, because the database refused something about one of them, which is
    /// broken then. It could not fire, and would keep the others from it.
    async fn settle_one_by_one(self: &Arc<Self>, place: &Arc<OpenPlace>) -> Result<usize, StoreError> {
        let mut all = 0;
        for _ in 0..AT_ONCE {
            let settling = self.settling(place, Duration::ZERO).await?;
            let met: Arc<Mutex<HashSet<ScheduleId>>> = Arc::default();
            let noted = Arc::clone(&met);
            let one = move |records: Vec<ScheduleRecord>, now, budget: &mut Budget| {
                noted.lock().extend(records.iter().map(|record| record.row.id));
                decide::settle(settling, records, now, budget)
            };
            let taken = match self.settle_some(place, 1, one).await {
                Err(error) if error.kind() == StoreErrorKind::Data => {
                    let refused = std::mem::take(&mut *met.lock());
                    self.break_schedules(place, settling, refused, &error).await?
                }
                taken => taken?,
            };
            if taken == 0 {
                break;
            }
            all += taken;
        }
        Ok(all)
    }

    /// Makes those of these schedules that are due broken, which the database refused something about.
    async fn break_schedules(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        settling: Settling,
        refused: HashSet<ScheduleId>,
        error: &StoreError,
    ) -> Result<usize, StoreError> {
        let reason = format!("the database refused what it would do ({error}): put it again");
        let refused = Arc::new(refused);
        let but =
            move |records: Vec<ScheduleRecord>, now, budget: &mut Budget, refused: &HashSet<ScheduleId>| {
                let (bad, sound): (Vec<_>, Vec<_>) =
                    records.into_iter().partition(|record| refused.contains(&record.row.id));
                (bad, decide::settle(settling, sound, now, budget))
            };
        let known = Arc::clone(&refused);
        let breaks = move |records, now, budget: &mut Budget| {
            let (bad, mut changes) = but(records, now, budget, &known);
            changes.extend(bad.into_iter().map(|record| decide::broken(record.row, &reason)));
            changes
        };
        match self.settle_some(place, 1, breaks).await {
            // Not even that: it is left alone, without the row that said that it is due.
            Err(error) if error.kind() == StoreErrorKind::Data => {
                let tenant = place.place.name.clone();
                let leaves = move |records, now, budget: &mut Budget| {
                    let (bad, changes) = but(records, now, budget, &refused);
                    for record in bad {
                        warn!(tenant, schedule = record.row.name, %error, "a schedule cannot be settled, and does not fire: put it again");
                    }
                    changes
                };
                self.settle_some(place, 1, leaves).await
            }
            taken => taken,
        }
    }

    /// Takes due rows of schedules, and does what is decided about these. How many rows.
    async fn settle_some(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        limit: usize,
        work: impl Fn(Vec<ScheduleRecord>, Timestamp, &mut Budget) -> Vec<ScheduleChange> + Send + Sync + 'static,
    ) -> Result<usize, StoreError> {
        let deciding = Deciding::new(work);
        let places = [(Arc::clone(&place.place), Arc::clone(&deciding.decide))];
        let (store, now) = (Arc::clone(&self.store), self.clock.database_now());
        let _turn = self.turn_in(place).await;
        let settled = self.ask(async move { store.schedule_settle(&places, limit, now).await }).await?;
        let settled = settled.into_iter().next().unwrap_or_default();
        self.decided(place, &deciding, &settled);
        Ok(settled.taken)
    }

    /// Does what is due of the schedules of places that share tables, in one transaction. How many due rows
    /// were taken of each.
    pub(super) async fn settle_schedules_of(
        self: &Arc<Self>,
        places: &[Arc<OpenPlace>],
    ) -> Result<Vec<usize>, StoreError> {
        let mut all = Vec::with_capacity(places.len());
        for place in places {
            let settling = self.settling(place, Duration::ZERO).await?;
            let decide =
                move |records, now, budget: &mut Budget| decide::settle(settling, records, now, budget);
            all.push(Deciding::new(decide));
        }
        let of = places.iter().zip(&all);
        let of: Vec<_> =
            of.map(|(place, deciding)| (Arc::clone(&place.place), Arc::clone(&deciding.decide))).collect();
        let (store, now) = (Arc::clone(&self.store), self.clock.database_now());
        let settled = self.ask(async move { store.schedule_settle(&of, OF_EACH, now).await }).await?;
        for ((place, deciding), settled) in places.iter().zip(&all).zip(&settled) {
            self.decided(place, deciding, settled);
        }
        Ok(settled.iter().map(|settled| settled.taken).collect())
    }

    /// Tells what was decided about the schedules of a place, once it is committed.
    fn decided(self: &Arc<Self>, place: &Arc<OpenPlace>, deciding: &Deciding, settled: &SchedulesSettled) {
        for row in std::mem::take(&mut *deciding.broken.lock()) {
            let (tenant, reason) = (&place.place.name, row.reason.as_deref().unwrap_or_default());
            warn!(tenant, schedule = row.name, reason, "a schedule does not fire: put it again");
        }
        self.settled(place, settled);
        deciding.fired.lock().count(settled.started);
    }

    /// What decisions about the schedules of a place need to know.
    async fn settling(&self, place: &Arc<OpenPlace>, least: Duration) -> Result<Settling, StoreError> {
        let limit = {
            let state = place.state();
            let own = state.handles.settings.max_queue_length.unwrap_or(usize::MAX);
            smaller(own, state.standing.status.limits.max_queue_length)
        };
        let room = if limit == usize::MAX {
            usize::MAX
        } else {
            let (store, inner) = (Arc::clone(&self.store), Arc::clone(&place.place));
            let open = self.ask(async move { store.execution_count(&inner, limit).await }).await?;
            limit.saturating_sub(open)
        };
        let least = SignedDuration::try_from(least).unwrap_or(SignedDuration::MAX);
        Ok(Settling::new(place.place.tenant, room, least))
    }

    fn settled(self: &Arc<Self>, place: &Arc<OpenPlace>, settled: &SchedulesSettled) {
        let (started, cancelled) = (settled.started, settled.cancelled.len());
        if settled.taken + started + cancelled > 0 {
            debug!(tenant = place.place.name, rows = settled.taken, started, cancelled, "settled schedules");
        }
        place.queue.left(cancelled);
        count_ended(ExecutionStatus::Cancelled, cancelled);
        for execution in &settled.cancelled {
            self.request_audit(Audit::Execution(Arc::clone(place), *execution));
        }
    }

    /// Changes schedules of a place as `work` says, which may be asked more than once.
    pub(crate) async fn change_schedules<T: Send + 'static>(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        selection: ScheduleSelection,
        least: Duration,
        audit: Option<NewAudit>,
        work: impl Fn(&mut Settling, Vec<ScheduleRecord>, Timestamp) -> Result<(Vec<ScheduleChange>, T), Error>
        + Send
        + Sync
        + 'static,
    ) -> Result<T, Error> {
        let settling = self.settling(place, least).await?;
        let answer = Arc::new(Mutex::new(None));
        let fired: Arc<Mutex<Fired>> = Arc::default();
        let (told, counted) = (Arc::clone(&answer), Arc::clone(&fired));
        let decide: Decide = Arc::new(move |records, now, _| {
            let mut settling = settling;
            let before = audit.as_ref().map(|_| short_of(&records));
            let (mut changes, said) = match work(&mut settling, records, now) {
                Ok((changes, said)) => (changes, Ok(said)),
                // Nothing is written.
                Err(error) => (Vec::new(), Err(error)),
            };
            if let (Some(audit), Some(before)) = (&audit, before) {
                changes.iter_mut().for_each(|change| note_change(change, audit, &before));
            }
            *told.lock() = Some(said);
            *counted.lock() = Fired::of(&changes, now);
            changes
        });
        self.rest.stir();
        let mut attempt = 1;
        let settled = loop {
            let (store, inner, now) =
                (Arc::clone(&self.store), Arc::clone(&place.place), self.clock.database_now());
            let (decide, selection) = (Arc::clone(&decide), selection.clone());
            let changed = {
                let _turn = self.turn_in(place).await;
                self.ask(async move { store.schedule_change(&inner, &selection, now, &decide).await }).await
            };
            match changed {
                // Somebody made one of the same name at the same time.
                Err(error) if error.kind() == StoreErrorKind::Data && attempt < ATTEMPTS => attempt += 1,
                changed => break changed?,
            }
        };
        self.settled(place, &settled);
        fired.lock().count(settled.started);
        self.lower(Arc::clone(place));
        let said = answer.lock().take();
        said.unwrap_or_else(|| {
            let message = format!("the schedules of tenant `{}` were not decided about", place.place.name);
            Err(Error::new(ErrorKind::Internal, message))
        })
    }
}

/// What is decided about the schedules of a place, and what is told of it once it is committed.
struct Deciding {
    decide: Decide,
    broken: Arc<Mutex<Vec<ScheduleRow>>>,
    fired: Arc<Mutex<Fired>>,
}

impl Deciding {
    fn new(
        work: impl Fn(Vec<ScheduleRecord>, Timestamp, &mut Budget) -> Vec<ScheduleChange> + Send + Sync + 'static,
    ) -> Self {
        let broken: Arc<Mutex<Vec<ScheduleRow>>> = Arc::default();
        let fired: Arc<Mutex<Fired>> = Arc::default();
        let (noted, counted) = (Arc::clone(&broken), Arc::clone(&fired));
        let decide: Decide = Arc::new(move |records, now, budget| {
            let changes = work(records, now, budget);
            *counted.lock() = Fired::of(&changes, now);
            let rows = changes.iter().filter_map(|change| change.row.as_ref());
            *noted.lock() = rows.filter(|row| row.state == ScheduleState::Broken).cloned().collect();
            changes
        });
        Self { decide, broken, fired }
    }
}

/// What is decided about times of schedules, and counted once it is committed.
#[derive(Debug, Default)]
struct Fired {
    outcomes: Vec<FireOutcome>,
    /// How late those are that start an execution, but for what was missed.
    late: Vec<Duration>,
}

impl Fired {
    fn of(changes: &[ScheduleChange], now: Timestamp) -> Self {
        let fires = || changes.iter().flat_map(|change| &change.fires);
        let starts = fires().filter(|fire| fire.outcome == FireOutcome::Started && fire.missed == 0);
        Self {
            outcomes: fires().map(|fire| fire.outcome).collect(),
            late: starts
                .map(|fire| now.duration_since(fire.nominal).try_into().unwrap_or_default())
                .collect(),
        }
    }

    /// Counts them. Those that found their execution there already are not among the `started`.
    fn count(&self, started: usize) {
        for outcome in FireOutcome::ALL {
            let decided = self.outcomes.iter().filter(|decided| *decided == outcome).count();
            let all = || self.outcomes.iter().filter(|decided| **decided == FireOutcome::Started).count();
            let fires = match outcome {
                FireOutcome::Started => started,
                FireOutcome::Repeated => decided + all().saturating_sub(started),
                _ => decided,
            };
            count_fires(*outcome, fires);
        }
        self.late.iter().copied().for_each(time_fire);
    }
}

/// The names of schedules, and hashes of what they say.
fn short_of(records: &[ScheduleRecord]) -> HashMap<ScheduleId, (String, String)> {
    let of = |record: &ScheduleRecord| (record.row.name.clone(), short_hash(&record.row.spec));
    records.iter().map(|record| (record.row.id, of(record))).collect()
}

/// What is noted of a change, with a hash of what the schedule said before and says now.
fn note_change(
    change: &mut ScheduleChange,
    audit: &NewAudit,
    before: &HashMap<ScheduleId, (String, String)>,
) {
    let (was, is) = (before.get(&change.id), change.row.as_ref());
    let name = is.map(|row| &row.name).or(was.map(|(name, _)| name));
    let detail = serde_json::json!({
        "before": was.map(|(_, hash)| hash),
        "after": is.map(|row| short_hash(&row.spec)),
        "state": is.map(|row| row.state.as_str()),
    });
    let audit = NewAudit { object: name.cloned(), ..audit.with_detail(detail) };
    change.audit = Some(Box::new(audit));
}
