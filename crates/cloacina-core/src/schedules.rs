//! The schedules of a tenant, as its handle has them.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::context::Context;
use crate::error::{Error, ErrorKind};
use crate::hub::{Hub, OpenPlace};
use crate::id::{ScheduleId, TenantId};
use crate::meant::did_you_mean;
use crate::runner::PlaceRunner;
use crate::schedule::decide::{self, FOR_ALL, Found};
use crate::schedule::{Calendar, CatchUp, Missed, Overlap, Redo, Schedule, just_before};
use crate::store::{
    FireList, FireOutcome, FireRecord, MANY, NewAudit, ScheduleChange, ScheduleRecord, ScheduleSelection,
    ScheduleState, ScheduleTemplates,
};

/// How many schedules a tenant may have.
const MOST: usize = 1_000;

/// How many times one backfill runs.
const MOST_BACKFILLED: usize = 1_000;

/// The schedules of a tenant.
///
/// A runner that is open on the tenant's place fires them, or one that serves every tenant; any number of
/// them may: each time fires once.
#[derive(Debug, Clone)]
pub struct Schedules {
    runner: PlaceRunner,
}

/// A schedule as it is now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ScheduleInfo {
    /// Its name.
    pub name: String,
    /// The workflow that it runs.
    pub workflow: String,
    /// Whether it fires.
    pub state: ScheduleState,
    /// Why it does not.
    pub reason: Option<String>,
    /// Who put it together with others; see [`Schedules::apply`].
    pub origin: Option<String>,
    /// Its cron expressions.
    pub cron: Vec<String>,
    /// The cron expressions at whose times it does not fire.
    pub except: Vec<String>,
    /// Its periods.
    pub every: Vec<Duration>,
    /// The single times at which it fires.
    pub at: Vec<Timestamp>,
    /// The zone that they mean, if it is not UTC.
    pub zone: Option<String>,
    /// What happens with times that were missed.
    pub catch_up: CatchUp,
    /// What happens if the execution before is not over.
    pub overlap: Overlap,
    /// How late a time may be and still be caught up with.
    pub window: Option<Duration>,
    /// Over how long its starts are spread.
    pub spread: Option<Duration>,
    /// Not before and not after these times it fires.
    pub between: (Option<Timestamp>, Option<Timestamp>),
    /// How often it fires at most.
    pub at_most: Option<u32>,
    /// After how many failures in a row it is paused.
    pub pause_after_failures: Option<u32>,
    /// The workflow that is started when one of its executions [fails](Schedule::on_failure).
    pub on_failure: Option<String>,
    /// The priority of its executions.
    pub priority: u8,
    /// The input of its executions.
    pub input: Context,
    /// When it fires next.
    pub next: Option<Timestamp>,
    /// The time for which it last started an execution.
    pub last: Option<Timestamp>,
    /// The execution that it started last.
    pub last_execution: Option<Uuid>,
    /// How many executions in a row failed.
    pub failures: u32,
    /// How many starts wait for the execution before.
    pub buffered: usize,
    /// How many executions of a backfill are still to end.
    pub backfilling: usize,
}

/// What came of a [trigger](Schedules::trigger).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Triggered {
    /// This execution was started.
    Started(Uuid),
    /// The execution before is not over, and the schedule's [`Overlap`] says to skip or to drop.
    Skipped,
    /// It starts when the execution before is over.
    Buffered,
    /// The tenant has as many executions as it may.
    Refused,
}

impl PlaceRunner {
    /// The schedules of this tenant: what runs by itself.
    #[must_use]
    pub fn schedules(&self) -> Schedules {
        Schedules::new(self.clone())
    }
}

impl Schedules {
    fn new(runner: PlaceRunner) -> Self {
        Self { runner }
    }

    /// Makes a schedule, or replaces the one of its name. To put the same again changes nothing, so a program
    /// may do it whenever it starts.
    ///
    /// One that is replaced first fires for what it owed by its old definition; the new one counts from now,
    /// so no time that has passed is judged by it. A paused schedule stays paused. Whether there is a
    /// workflow of that name is not known before it fires; until somebody has it, what it started waits as
    /// after [`by_name`](crate::Submission::by_name).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] for what a schedule cannot say, with what to write instead,
    /// [`ErrorKind::Limit`] beyond 1,000 schedules, [`ErrorKind::Suspended`] if the tenant may not work, and
    /// what is wrong with the database.
    pub async fn put(&self, schedule: Schedule) -> Result<(), Error> {
        let names = vec![schedule.name.clone()];
        self.check_room(&names, None).await?;
        let (schedule, least) = (Arc::new(schedule), self.runner.settings().min_schedule_period);
        let put = move |settling: &mut _, mut records: Vec<ScheduleRecord>, now| {
            let change = decide::put(settling, &schedule, None, records.pop().as_ref(), now)?;
            Ok((change.into_iter().collect(), ()))
        };
        self.hub()?
            .change_schedules(
                self.place(),
                ScheduleSelection::Named(names),
                least,
                self.audit("put_schedule"),
                put,
            )
            .await?;
        self.hub()?.look_who_fires(self.place());
        Ok(())
    }

    /// Makes the schedules of an origin, a program say, exactly these: the others of that origin are deleted,
    /// in the same commit. Schedules of other origins, and those that were [put](Self::put) one by one, are
    /// left alone.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), and [`ErrorKind::Conflict`] for a name that belongs to another origin.
    pub async fn apply(
        &self,
        origin: impl Into<String>,
        schedules: impl IntoIterator<Item = Schedule>,
    ) -> Result<(), Error> {
        let (origin, schedules): (String, Vec<Schedule>) = (origin.into(), schedules.into_iter().collect());
        decide::check_origin(&origin)?;
        self.apply_of(origin, schedules).await
    }

    /// Makes the schedules that the operator has for all tenants exactly these, where they may be. Why not,
    /// of each origin where that is so.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    #[doc(hidden)]
    pub async fn apply_templates(
        &self,
        templates: &[ScheduleTemplates],
    ) -> Result<Vec<(String, Error)>, Error> {
        let mut refused = Vec::new();
        let there = self.read(ScheduleSelection::All).await?;
        let origins: BTreeSet<&str> =
            there.iter().filter_map(|record| record.row.origin.as_deref()?.strip_prefix(FOR_ALL)).collect();
        let gone = origins.into_iter().filter(|origin| templates.iter().all(|known| known.origin != *origin));
        let gone = gone.map(|origin| (origin.to_owned(), Ok(Vec::new())));
        let kept = templates
            .iter()
            .map(|known| (known.origin.clone(), decide::of_templates(&known.schedules)))
            .collect::<Vec<_>>();
        for (origin, schedules) in gone.collect::<Vec<_>>().into_iter().chain(kept) {
            let applied = match schedules {
                Ok(schedules) => self.apply_of(format!("{FOR_ALL}{origin}"), schedules).await,
                Err(error) => Err(error),
            };
            match applied {
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Conflict | ErrorKind::Limit | ErrorKind::Configuration
                    ) =>
                {
                    refused.push((origin, error));
                }
                applied => applied?,
            }
        }
        Ok(refused)
    }

    /// What is kept so that all tenants have these schedules.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    #[doc(hidden)]
    pub fn templates(
        origin: &str,
        schedules: &[Schedule],
        least: Duration,
        now: Timestamp,
    ) -> Result<ScheduleTemplates, Error> {
        decide::check_origin(origin)?;
        for (nth, schedule) in schedules.iter().enumerate() {
            decide::preview(TenantId(Uuid::nil()), schedule, least, now, 1)?;
            if schedules[..nth].iter().any(|other| other.name == schedule.name) {
                let name = schedule.name.escape_debug();
                let message = format!("two schedules are called `{name}`: give one another name");
                return Err(Error::new(ErrorKind::Configuration, message));
            }
        }
        Ok(ScheduleTemplates { origin: origin.to_owned(), schedules: decide::templates(schedules)? })
    }

    async fn apply_of(&self, origin: String, schedules: Vec<Schedule>) -> Result<(), Error> {
        let names: Vec<String> = schedules.iter().map(|schedule| schedule.name.clone()).collect();
        self.check_room(&names, Some(&origin)).await?;
        let selection = ScheduleSelection::Applied { origin: origin.clone(), names };
        let least = self.runner.settings().min_schedule_period;
        let apply = move |settling: &mut _, records: Vec<ScheduleRecord>, now| {
            Ok((decide::apply(settling, &origin, &schedules, records, now)?, ()))
        };
        self.hub()?
            .change_schedules(self.place(), selection, least, self.audit("apply_schedules"), apply)
            .await?;
        self.hub()?.look_who_fires(self.place());
        Ok(())
    }

    /// Keeps a schedule from firing until it is resumed. What it started goes on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], and what is wrong with the database.
    pub async fn pause(&self, name: &str, reason: impl Into<String>) -> Result<(), Error> {
        let reason = reason.into();
        self.one("pause_schedule", name, move |_, record, _| Ok((decide::pause(record, &reason), ()))).await
    }

    /// Lets a paused schedule fire again. Resuming one that is not paused is Ok.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], [`ErrorKind::WrongState`] if it is broken, and what is wrong with the
    /// database.
    pub async fn resume(&self, name: &str, missed: Missed) -> Result<(), Error> {
        let resume = move |settling: &mut _, record: ScheduleRecord, now| {
            Ok((decide::resume(settling, &record, missed, now)?, ()))
        };
        self.one("resume_schedule", name, resume).await
    }

    /// Starts an execution now, as the schedule would, besides its times; also while it is paused.
    ///
    /// # Errors
    ///
    /// As [`resume`](Self::resume).
    pub async fn trigger(&self, name: &str) -> Result<Triggered, Error> {
        let trigger = move |settling: &mut _, record: ScheduleRecord, now| {
            let (change, outcome, execution) = decide::trigger(settling, &record, now)?;
            let triggered = match (outcome, execution) {
                (_, Some(execution)) => Triggered::Started(execution.into()),
                (FireOutcome::Buffered, _) => Triggered::Buffered,
                (FireOutcome::Refused, _) => Triggered::Refused,
                _ => Triggered::Skipped,
            };
            Ok((Some(change), triggered))
        };
        self.one("trigger_schedule", name, trigger).await
    }

    /// Deletes a schedule, with its log. What it started goes on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], [`ErrorKind::Conflict`] for one that the operator has for all tenants, and
    /// what is wrong with the database.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        self.one("delete_schedule", name, |_, record, _| Ok((Some(decide::delete_one(&record)?), ()))).await
    }

    /// All schedules by their names.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn list(&self) -> Result<Vec<ScheduleInfo>, Error> {
        let records = self.read(ScheduleSelection::All).await?;
        Ok(records.into_iter().map(|record| info(decide::found(record.row))).collect())
    }

    /// One schedule.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], and what is wrong with the database.
    pub async fn get(&self, name: &str) -> Result<ScheduleInfo, Error> {
        Ok(info(decide::found(self.record(name).await?.row)))
    }

    /// The next times of a schedule, before its [spread](Schedule::spread): what it will do, without doing
    /// it.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), and [`ErrorKind::WrongState`] if it is broken.
    pub async fn next(&self, name: &str, count: usize) -> Result<Vec<Timestamp>, Error> {
        let record = self.record(name).await?;
        let (id, cursor) = (record.row.id, record.row.cursor);
        let calendar = self.calendar(decide::found(record.row), id)?;
        let now = self.hub()?.now().max(cursor);
        Ok(decide::next_of(&calendar, now, count.min(MANY)))
    }

    /// The first times at which a schedule would fire if it were put now, before its
    /// [spread](Schedule::spread). Nothing is put.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] for what [`put`](Self::put) would refuse, with what to write instead.
    pub fn preview(&self, schedule: &Schedule, count: usize) -> Result<Vec<Timestamp>, Error> {
        let (now, least) = (self.hub()?.now(), self.runner.settings().min_schedule_period);
        decide::preview(self.place().place.tenant, schedule, least, now, count.min(MANY))
    }

    /// What came of the times of a schedule, the latest first: at most `limit`, all before `before`. The
    /// newest 1,000 are kept.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn fires(
        &self,
        name: &str,
        before: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<FireRecord>, Error> {
        let schedule = self.record(name).await?.row.id;
        let before = before.unwrap_or(Timestamp::MAX);
        self.fires_of(FireList { schedule, from: Timestamp::UNIX_EPOCH, before, limit: limit.min(MANY) })
            .await
    }

    /// Starts to describe a backfill: executions for times that have passed, by what the schedule says now.
    pub fn backfill(&self, name: impl Into<String>, times: Range<Timestamp>) -> Backfill {
        Backfill { schedules: self.clone(), name: name.into(), times, redo: Redo::default(), running: 1 }
    }

    /// What is noted of an action on schedules, if somebody acts; the schedule is said where it is changed.
    fn audit(&self, action: &'static str) -> Option<NewAudit> {
        self.runner.audit(action, &"")
    }

    fn hub(&self) -> Result<&Arc<Hub>, Error> {
        self.runner.open_hub()
    }

    fn place(&self) -> &Arc<OpenPlace> {
        self.runner.open_place()
    }

    /// Changes one schedule.
    async fn one<T: Send + 'static>(
        &self,
        action: &'static str,
        name: &str,
        work: impl Fn(
            &mut decide::Settling,
            ScheduleRecord,
            Timestamp,
        ) -> Result<(Option<ScheduleChange>, T), Error>
        + Send
        + Sync
        + 'static,
    ) -> Result<T, Error> {
        let wanted = name.to_owned();
        let change = move |settling: &mut _, mut records: Vec<ScheduleRecord>, now| {
            let record = records.pop().ok_or_else(|| Error::new(ErrorKind::NotFound, "there is none"))?;
            let (change, said) = work(settling, record, now)?;
            Ok((change.into_iter().collect(), said))
        };
        let (selection, least) =
            (ScheduleSelection::Named(vec![wanted]), self.runner.settings().min_schedule_period);
        let changed =
            self.hub()?.change_schedules(self.place(), selection, least, self.audit(action), change).await;
        match changed {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(self.not_found(name).await?),
            changed => changed,
        }
    }

    async fn read(&self, selection: ScheduleSelection) -> Result<Vec<ScheduleRecord>, Error> {
        let (store, place) = (Arc::clone(self.hub()?.store()), Arc::clone(&self.place().place));
        Ok(self.hub()?.ask(async move { store.schedule_list(&place, &selection).await }).await?)
    }

    async fn record(&self, name: &str) -> Result<ScheduleRecord, Error> {
        let records = self.read(ScheduleSelection::Named(vec![name.to_owned()])).await?;
        match records.into_iter().next() {
            Some(record) => Ok(record),
            None => Err(self.not_found(name).await?),
        }
    }

    fn calendar(&self, found: Found, id: ScheduleId) -> Result<Calendar, Error> {
        let spec = found.spec.ok_or_else(|| {
            let name = found.row.name.escape_debug().to_string();
            let message = format!("what is stored of schedule `{name}` cannot be used: put it again");
            Error::new(ErrorKind::WrongState, message)
        })?;
        decide::calendar_of(self.place().place.tenant, id, &spec)
    }

    async fn fires_of(&self, list: FireList) -> Result<Vec<FireRecord>, Error> {
        let (store, place) = (Arc::clone(self.hub()?.store()), Arc::clone(&self.place().place));
        Ok(self.hub()?.ask(async move { store.schedule_fires(&place, &list).await }).await?)
    }

    /// Whether the tenant may have these, beside those that it has.
    async fn check_room(&self, names: &[String], origin: Option<&str>) -> Result<(), Error> {
        let there = self.read(ScheduleSelection::All).await?;
        let stays = |record: &&ScheduleRecord| {
            let is_of_origin = origin.is_some() && record.row.origin.as_deref() == origin;
            !is_of_origin && !names.contains(&record.row.name)
        };
        let is_new = |name: &&String| !there.iter().any(|record| record.row.name == **name);
        if names.iter().any(|name| is_new(&name)) && there.iter().filter(stays).count() + names.len() > MOST {
            let message = format!(
                "the schedules of tenant `{}` would be more than {MOST}, as many as it may have: delete some, or let one workflow do the \
                 work of several",
                self.runner.place()
            );
            return Err(Error::new(ErrorKind::Limit, message));
        }
        Ok(())
    }

    /// The error for a name that no schedule has.
    async fn not_found(&self, name: &str) -> Result<Error, Error> {
        let there = self.read(ScheduleSelection::All).await?;
        let names: Vec<&str> = there.iter().map(|record| record.row.name.as_str()).collect();
        let shown: String = name.chars().take(200).collect();
        let message = format!(
            "tenant `{}` has no schedule `{}`; {}",
            self.runner.place(),
            shown.escape_debug(),
            did_you_mean(name, "schedule", &names)
        );
        Ok(Error::new(ErrorKind::NotFound, message))
    }
}

fn info(found: Found) -> ScheduleInfo {
    let Found { row, spec, failures, previous, buffered, backfilling } = found;
    let blank = Schedule::new("", "").spec;
    let spec = spec.unwrap_or(blank);
    ScheduleInfo {
        name: row.name,
        workflow: spec.workflow,
        state: row.state,
        reason: row.reason,
        origin: row.origin,
        cron: spec.cron,
        except: spec.except,
        every: spec.every_ms.into_iter().map(Duration::from_millis).collect(),
        at: spec.at,
        window: spec.window_ms.map(Duration::from_millis),
        spread: spec.spread_ms.map(Duration::from_millis),
        between: (spec.starts_at, spec.ends_at),
        at_most: spec.at_most,
        pause_after_failures: spec.pause_after_failures,
        on_failure: spec.on_failure.clone(),
        priority: spec.priority,
        input: Context::from_values(Arc::new(spec.input.into_iter().collect())),
        zone: spec.zone,
        catch_up: spec.catch_up,
        overlap: spec.overlap,
        next: row.due_at.filter(|_| row.state == ScheduleState::Active),
        last: previous,
        last_execution: row.last_execution.map(Uuid::from),
        failures,
        buffered,
        backfilling,
    }
}

/// A backfill that is being described.
#[derive(Debug, Clone)]
#[must_use = "nothing is started before `start`"]
pub struct Backfill {
    schedules: Schedules,
    name: String,
    times: Range<Timestamp>,
    redo: Redo,
    running: u32,
}

impl Backfill {
    /// Which of the times. Defaults to those that started no execution.
    pub fn redo(mut self, redo: Redo) -> Self {
        self.redo = redo;
        self
    }

    /// How many run at once. Defaults to 1: one after the other, the oldest first.
    pub fn running(mut self, at_once: u32) -> Self {
        self.running = at_once;
        self
    }

    /// The times that it would run, and starts nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Limit`] for more than 1,000 times, and
    /// [`ErrorKind::Configuration`] for a range that ends in the future, or that reaches back to before a log
    /// of 1,000 times begins, where it cannot be known what ran, unless all are to run again.
    pub async fn dry_run(&self) -> Result<Vec<Timestamp>, Error> {
        let schedules = &self.schedules;
        let record = schedules.record(&self.name).await?;
        let (id, now) = (record.row.id, schedules.hub()?.now());
        let calendar = schedules.calendar(decide::found(record.row), id)?;
        let Range { start, end } = self.times;
        if end > now {
            let message = format!(
                "a backfill to {end} reaches into the future, which the schedule itself runs: end it at {now}"
            );
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        let mut times: Vec<Timestamp> = Vec::new();
        let mut after = just_before(start);
        while let Some(next) = calendar.next(after).filter(|next| *next < end) {
            times.push(next);
            after = next;
            if times.len() > MOST_BACKFILLED {
                let message = format!(
                    "a backfill of schedule `{}` from {start} to {end} has more than {MOST_BACKFILLED} times: split it, up to {next} first",
                    self.name.escape_debug()
                );
                return Err(Error::new(ErrorKind::Limit, message));
            }
        }
        if self.redo != Redo::All {
            self.check_log(id).await?;
            let list = FireList { schedule: id, from: start, before: end, limit: MANY };
            let fires = schedules.fires_of(list).await?;
            let is_done = |time: &Timestamp| {
                let fire = fires.iter().find(|fire| fire.nominal == *time);
                fire.is_some_and(|fire| {
                    let has_run = matches!(fire.outcome, FireOutcome::Started | FireOutcome::Repeated);
                    let redone = self.redo == Redo::MissingAndFailed
                        && fire.status.is_some_and(|status| status.is_terminal() && !status.is_success());
                    has_run && !redone
                })
            };
            times.retain(|time| !is_done(time));
        }
        Ok(times)
    }

    /// Refuses what reaches back to before a log that was cut: what ran then is not known.
    async fn check_log(&self, id: ScheduleId) -> Result<(), Error> {
        let (from, before) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        let log = self.schedules.fires_of(FireList { schedule: id, from, before, limit: MANY }).await?;
        let Some(first) = log.iter().map(|fire| fire.nominal).min().filter(|_| log.len() >= MANY) else {
            return Ok(());
        };
        if first <= self.times.start {
            return Ok(());
        }
        let message = format!(
            "a backfill of schedule `{}` from {} reaches back to before its log begins, at {first}: start it there, or run all times \
             again with `.redo(Redo::All)`",
            self.name.escape_debug(),
            self.times.start
        );
        Err(Error::new(ErrorKind::Configuration, message))
    }

    /// Starts it, and returns the times that it runs. They are started as fast as executions of it end; their
    /// tasks see `backfill` in their [`Fire`](crate::Fire).
    ///
    /// # Errors
    ///
    /// As [`dry_run`](Self::dry_run), and [`ErrorKind::WrongState`] if another backfill of the schedule is
    /// under way.
    pub async fn start(self) -> Result<Vec<Timestamp>, Error> {
        let times = self.dry_run().await?;
        let how = (self.redo != Redo::Missing, self.running);
        let filled = times.clone();
        let backfill = move |settling: &mut _, record: ScheduleRecord, now| {
            let change = decide::backfill(settling, &record, filled.clone(), how, now)?;
            Ok((Some(change), ()))
        };
        self.schedules.one("backfill_schedule", &self.name, backfill).await?;
        Ok(times)
    }
}
