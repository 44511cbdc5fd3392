//! What becomes of schedules: decided on their rows as they are locked.
//!
//! ```text
//!   ends of executions ─► failures counted
//!   what waits         ─► started, if the execution before is over
//!   what is owed       ─► by the catch-up rule, each through the overlap rule
//!   a backfill         ─► so many at once
//!   then               ─► the cursor, and when to look next
//! ```
//!
//! Whether the execution before is over, and which of a backfill are, was read under the lock of the
//! schedule. One that ends later leaves a due row of the schedule, so no end and no fire miss each other.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::calendar::Calendar;
use super::definition::{Missed, Overlap, Schedule, Spec};
use super::fire::Fire;
use super::owed::{COUNTED, Nominal, Owed};
use crate::contained::call;
use crate::context::Context;
use crate::context::values_to_json;
use crate::error::{Error, ErrorKind};
use crate::execution::ExecutionStatus;
use crate::id::{ExecutionId, ScheduleId, TenantId};
use crate::reserved::{SCHEDULE_KEY, TRACE_KEY, reserved_key};
use crate::store::{
    Budget, FireOutcome, NewFire, ScheduleChange, ScheduleRecord, ScheduleRow, ScheduleState,
    ScheduledExecution,
};
use crate::trace;
use crate::workflow::check_workflow_name;

/// When it is tried again if the tenant has as many executions as it may.
const REFUSED_AGAIN: SignedDuration = SignedDuration::from_secs(15);

/// Old entries of the fire log are deleted with every so many changes of a schedule.
const PRUNE_EVERY: i32 = 32;

/// The longest name or origin, in bytes.
const MAX_NAME: usize = 200;

/// The largest input, in bytes of JSON.
const MAX_INPUT: usize = 1 << 20;

/// How many starts are kept that could not be made when a schedule was put, and how often it is looked for
/// them.
const MOST_KEPT: usize = 1_000;
const MOST_LOOKS: usize = 100;

/// How many steps the calendar of one schedule takes in a transaction.
const MAX_STEPS_OF_ONE: u32 = 20_000;

/// How many characters of an error are kept as the reason why a schedule is broken.
const MAX_REASON: usize = 500;

/// What decisions need to know besides the rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settling {
    pub(crate) tenant: TenantId,
    /// How many more executions the tenant may have.
    room: usize,
    /// The least period of a schedule.
    least: SignedDuration,
    budget: Budget,
}

impl Settling {
    /// What a transaction begins with: the tenant may have so many more executions, and each schedule has
    /// this least period.
    pub(crate) fn new(tenant: TenantId, room: usize, least: SignedDuration) -> Self {
        Self { tenant, room, least, budget: Budget::default() }
    }
}

/// How far a schedule is: its stored form. Another part of that is in the columns of its row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    /// How many executions it may still start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remaining: Option<u32>,
    /// The time that it last started an execution for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Timestamp>,
    /// How many executions in a row failed.
    #[serde(default)]
    failures: u32,
    /// What waits for the execution before.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    buffered: VecDeque<Waiting>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backfill: Option<Backfilling>,
}

/// A start that waits for the execution before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Waiting {
    nominal: Timestamp,
    #[serde(default)]
    missed: u32,
    #[serde(default)]
    triggered: bool,
}

/// A backfill that is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Backfilling {
    /// Its executions have keys of their own if they are to run although others ran for their times.
    pub(crate) id: ExecutionId,
    pub(crate) redoes: bool,
    /// What is still to be started.
    pub(crate) times: VecDeque<Timestamp>,
    /// How many run at once.
    pub(crate) at_once: u32,
}

/// Why an execution is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Due,
    Triggered,
    Backfilled,
}

/// What a schedule is for those who ask.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) row: ScheduleRow,
    pub(crate) spec: Option<Spec>,
    pub(crate) failures: u32,
    pub(crate) previous: Option<Timestamp>,
    pub(crate) buffered: usize,
    pub(crate) backfilling: usize,
}

/// A schedule that is being decided about.
struct Desk<'a> {
    settling: &'a mut Settling,
    now: Timestamp,
    row: ScheduleRow,
    was_due_at: Option<Timestamp>,
    spec: Spec,
    calendar: Calendar,
    progress: Progress,
    /// Whether the execution that it started last is not over.
    runs: bool,
    /// Whether the tenant had no room for something.
    refused: bool,
    /// Whether something is left for the next transaction.
    is_cut: bool,
    cancels: Vec<ExecutionId>,
    starts: Vec<ScheduledExecution>,
    fires: Vec<NewFire>,
}

/// Does what is due of these schedules.
pub(crate) fn settle(
    mut settling: Settling,
    records: Vec<ScheduleRecord>,
    now: Timestamp,
    budget: &mut Budget,
) -> Vec<ScheduleChange> {
    settling.budget = *budget;
    let changes = records
        .into_iter()
        .map(|record| {
            let is_over = settling.budget.bytes == 0 || settling.budget.steps < MAX_STEPS_OF_ONE;
            let opened = call(|| {
                Desk::open(&mut settling, &record, now).map(|mut desk| {
                    desk.hear_of(&record.ended);
                    if is_over {
                        return desk.postpone();
                    }
                    desk.calendar.allow(MAX_STEPS_OF_ONE);
                    desk.work();
                    desk.close()
                })
            });
            match opened {
                Ok(Ok(change)) => change,
                Ok(Err(error)) => broken(record.row, &error.to_string()),
                Err(panic) => broken(record.row, &panic),
            }
        })
        .collect();
    *budget = settling.budget;
    changes
}

/// Makes or replaces a schedule.
pub(crate) fn put(
    settling: &mut Settling,
    schedule: &Schedule,
    origin: Option<&str>,
    record: Option<&ScheduleRecord>,
    now: Timestamp,
) -> Result<Option<ScheduleChange>, Error> {
    check_name("the name of a schedule", &schedule.name)?;
    put_named(settling, schedule, origin, record, now).map_err(|error| {
        let message = format!("schedule `{}` was not put: {error}", schedule.name.escape_debug());
        match std::error::Error::source(&error) {
            None => Error::new(error.kind(), message),
            Some(_) => error,
        }
    })
}

fn put_named(
    settling: &mut Settling,
    schedule: &Schedule,
    origin: Option<&str>,
    record: Option<&ScheduleRecord>,
    now: Timestamp,
) -> Result<Option<ScheduleChange>, Error> {
    let spec = checked(schedule)?;
    let name = &schedule.name;
    let stored = serde_json::to_string(&spec)
        .map_err(|error| Error::new(ErrorKind::Internal, "a schedule has no JSON form").with_source(error))?;
    let row = record.map_or_else(|| blank(ScheduleId::new(), name, now), |known| known.row.clone());
    if origin.is_none() && is_for_all(&row) {
        return Err(for_all(name, "put"));
    }
    if let (Some(_), None, Some(mine)) = (record, &row.origin, origin)
        && mine.starts_with(FOR_ALL)
    {
        let message = format!(
            "schedule `{}` was not put: the tenant has one of that name of its own; give it another name",
            name.escape_debug()
        );
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    if let (Some(mine), Some(theirs)) = (origin, row.origin.as_deref())
        && mine != theirs
    {
        let message = format!(
            "schedule `{}` was not put: it belongs to the origin `{}`; give it another name, or apply that origin without it first",
            name.escape_debug(),
            theirs.escape_debug()
        );
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    let calendar = calendar_of(settling.tenant, row.id, &spec)?;
    // What cannot be read is replaced.
    let known = record.filter(|known| known.row.state != ScheduleState::Broken);
    let least = settling.least;
    let desk = known.and_then(|known| Desk::open(settling, known, now).ok());
    if let Some(desk) = &desk
        && desk.spec == spec
        && (origin.is_none() || desk.row.origin.as_deref() == origin)
    {
        return Ok(None);
    }
    calendar.check(now, least)?;
    let mut change = match desk {
        Some(mut desk) => {
            // What the old definition owes is settled by its own rules.
            let changes = desk.spec != spec;
            if desk.row.state == ScheduleState::Active {
                desk.work();
                if changes {
                    desk.fire_what_is_spread();
                    desk.keep_what_is_left();
                }
            }
            let known: Vec<Timestamp> = desk.spec.at.clone();
            (desk.spec, desk.calendar) = (spec, calendar);
            if changes {
                desk.row.cursor = desk.row.cursor.max(now);
                desk.progress.remaining = desk.spec.at_most;
                if desk.row.state == ScheduleState::Done {
                    desk.row.state = ScheduleState::Active;
                }
                desk.be_late(&known);
            }
            desk.close()
        }
        None => {
            let progress = Progress { remaining: spec.at_most, ..Progress::default() };
            let mut desk = Desk {
                settling,
                now,
                was_due_at: row.due_at,
                row: ScheduleRow { state: ScheduleState::Active, reason: None, cursor: now, ..row },
                spec,
                calendar,
                progress,
                runs: false,
                refused: false,
                is_cut: false,
                cancels: Vec::new(),
                starts: Vec::new(),
                fires: Vec::new(),
            };
            desk.be_late(&[]);
            desk.close()
        }
    };
    if let Some(row) = &mut change.row {
        row.spec = stored.into();
        if let Some(origin) = origin {
            row.origin = Some(origin.to_owned());
        }
    }
    Ok(Some(change))
}

/// Makes the schedules of an origin exactly these.
pub(crate) fn apply(
    settling: &mut Settling,
    origin: &str,
    schedules: &[Schedule],
    records: Vec<ScheduleRecord>,
    now: Timestamp,
) -> Result<Vec<ScheduleChange>, Error> {
    let mut records: Vec<Option<ScheduleRecord>> = records.into_iter().map(Some).collect();
    let mut changes = Vec::new();
    for (nth, schedule) in schedules.iter().enumerate() {
        if schedules[..nth].iter().any(|other| other.name == schedule.name) {
            return super::expression::refuse(format!(
                "two schedules of the origin `{}` are called `{}`: give one another name",
                origin.escape_debug(),
                schedule.name.escape_debug()
            ));
        }
        let known = records
            .iter_mut()
            .find(|record| record.as_ref().is_some_and(|record| record.row.name == schedule.name));
        changes.extend(put(settling, schedule, Some(origin), known.and_then(Option::take).as_ref(), now)?);
    }
    // The selection brought those of the origin, and those of these names.
    changes.extend(records.iter().flatten().map(delete));
    Ok(changes)
}

/// Keeps a schedule from firing.
pub(crate) fn pause(record: ScheduleRecord, reason: &str) -> Option<ScheduleChange> {
    let mut row = record.row;
    if !matches!(row.state, ScheduleState::Active | ScheduleState::Paused) {
        return None;
    }
    let was_due_at = row.due_at;
    // A backfill goes on: it may be due because the tenant had no room.
    let progress: Option<Progress> = serde_json::from_str(&row.progress).ok();
    if progress.is_none_or(|progress| progress.backfill.is_none()) {
        row.due_at = None;
    }
    row.state = ScheduleState::Paused;
    row.reason = Some(shown(reason));
    row.version = row.version.wrapping_add(1);
    Some(change_of(row, was_due_at))
}

/// Lets a schedule fire again.
pub(crate) fn resume(
    settling: &mut Settling,
    record: &ScheduleRecord,
    missed: Missed,
    now: Timestamp,
) -> Result<Option<ScheduleChange>, Error> {
    let mut desk = Desk::open(settling, record, now)?;
    if desk.row.state != ScheduleState::Paused {
        return Ok(None);
    }
    desk.row.state = ScheduleState::Active;
    desk.row.reason = None;
    desk.progress.failures = 0;
    if missed == Missed::Skip {
        desk.miss_what_is_owed();
    }
    desk.work();
    Ok(Some(desk.close()))
}

/// Starts an execution now, besides those at the schedule's times. What came of it, and the execution.
pub(crate) fn trigger(
    settling: &mut Settling,
    record: &ScheduleRecord,
    now: Timestamp,
) -> Result<(ScheduleChange, FireOutcome, Option<ExecutionId>), Error> {
    let mut desk = Desk::open(settling, record, now)?;
    let (outcome, execution) = desk.fire(Nominal { at: now, missed: 0 }, Why::Triggered);
    Ok((desk.close(), outcome, execution))
}

/// Starts to run the schedule for times that have passed. The times that it will.
pub(crate) fn backfill(
    settling: &mut Settling,
    record: &ScheduleRecord,
    times: Vec<Timestamp>,
    (redoes, at_once): (bool, u32),
    now: Timestamp,
) -> Result<ScheduleChange, Error> {
    let mut desk = Desk::open(settling, record, now)?;
    // One whose last execution has just ended is over, although nobody has looked at the schedule since.
    let to_go = |backfill: &&Backfilling| !backfill.times.is_empty() || !desk.row.backfilling.is_empty();
    if let Some(backfill) = desk.progress.backfill.as_ref().filter(to_go) {
        let message = format!(
            "schedule `{}` is in a backfill with {} times to go: wait for its end",
            desk.row.name.escape_debug(),
            backfill.times.len() + desk.row.backfilling.len()
        );
        return Err(Error::new(ErrorKind::WrongState, message));
    }
    desk.progress.backfill =
        Some(Backfilling { id: ExecutionId::new(), redoes, times: times.into(), at_once: at_once.max(1) });
    desk.continue_backfill();
    Ok(desk.close())
}

/// The beginning of the origins of schedules that the operator put for all tenants.
pub(crate) const FOR_ALL: &str = "cloacina/all/";

/// What may be called an origin by those who apply schedules.
pub(crate) fn check_origin(origin: &str) -> Result<(), Error> {
    check_name("an origin", origin)
}

fn is_for_all(row: &ScheduleRow) -> bool {
    row.origin.as_deref().is_some_and(|origin| origin.starts_with(FOR_ALL))
}

fn for_all(name: &str, what: &str) -> Error {
    let message = format!(
        "schedule `{}` was not {what}: the operator has it for all tenants; pause it, or take it away there",
        name.escape_debug()
    );
    Error::new(ErrorKind::Conflict, message)
}

/// Deletes a schedule, for whoever asks for that. What it started goes on.
pub(crate) fn delete_one(record: &ScheduleRecord) -> Result<ScheduleChange, Error> {
    if is_for_all(&record.row) {
        return Err(for_all(&record.row.name, "deleted"));
    }
    Ok(delete(record))
}

/// The same, whoever has it.
fn delete(record: &ScheduleRecord) -> ScheduleChange {
    ScheduleChange {
        id: record.row.id,
        was_due_at: record.row.due_at,
        row: None,
        cancels: Vec::new(),
        starts: Vec::new(),
        fires: Vec::new(),
        prunes: false,
        audit: None,
    }
}

/// Schedules as templates of them are kept.
pub(crate) fn templates(schedules: &[Schedule]) -> Result<String, Error> {
    let specs: Vec<(&str, Spec)> = schedules
        .iter()
        .map(|schedule| Ok((schedule.name.as_str(), checked(schedule)?)))
        .collect::<Result<_, Error>>()?;
    serde_json::to_string(&specs)
        .map_err(|error| Error::new(ErrorKind::Internal, "schedules have no JSON form").with_source(error))
}

/// The schedules of templates.
pub(crate) fn of_templates(json: &str) -> Result<Vec<Schedule>, Error> {
    let specs: Vec<(String, Spec)> = serde_json::from_str(json).map_err(|error| {
        let message = "schedules for all tenants cannot be read: a newer program may have put them";
        Error::new(ErrorKind::Configuration, message).with_source(error)
    })?;
    let schedule = |(name, spec): (String, Spec)| {
        let input = spec.input.iter().fold(Context::new(), |input, (key, value)| input.with(key, value));
        Schedule { name, input, spec }
    };
    Ok(specs.into_iter().map(schedule).collect())
}

/// What is stored of a schedule, for those who ask.
pub(crate) fn found(row: ScheduleRow) -> Found {
    let progress: Progress = serde_json::from_str(&row.progress).unwrap_or_default();
    Found {
        spec: serde_json::from_str(&row.spec).ok(),
        failures: progress.failures,
        previous: progress.previous,
        buffered: progress.buffered.len(),
        backfilling: progress.backfill.map_or(0, |backfill| backfill.times.len() + row.backfilling.len()),
        row,
    }
}

/// The calendar of a schedule that was found.
pub(crate) fn calendar_of(tenant: TenantId, id: ScheduleId, spec: &Spec) -> Result<Calendar, Error> {
    Calendar::of(spec, &[tenant.0.as_bytes(), id.0.as_bytes()])
}

/// The first `count` times after `now` at which a schedule will fire.
pub(crate) fn next_of(calendar: &Calendar, now: Timestamp, count: usize) -> Vec<Timestamp> {
    let times = std::iter::successors(calendar.next(now), |last| calendar.next(*last));
    times.take(count).collect()
}

/// The first `count` times after `now` at which a schedule would fire, if it can be put.
pub(crate) fn preview(
    tenant: TenantId,
    schedule: &Schedule,
    least: Duration,
    now: Timestamp,
    count: usize,
) -> Result<Vec<Timestamp>, Error> {
    let spec = checked(schedule)?;
    check_name("the name of a schedule", &schedule.name)?;
    let calendar = calendar_of(tenant, ScheduleId::new(), &spec)?;
    calendar.check(now, SignedDuration::try_from(least).unwrap_or(SignedDuration::MAX))?;
    Ok(next_of(&calendar, now, count))
}

impl<'a> Desk<'a> {
    /// Reads a schedule, which a tenant may have spoiled.
    fn open(settling: &'a mut Settling, record: &ScheduleRecord, now: Timestamp) -> Result<Self, Error> {
        let row = record.row.clone();
        let spec: Spec = serde_json::from_str(&row.spec).map_err(|error| unreadable(&row.name, &error))?;
        let progress: Progress =
            serde_json::from_str(&row.progress).map_err(|error| unreadable(&row.name, &error))?;
        check_spec(&spec).map_err(|error| unreadable(&row.name, &error))?;
        let calendar =
            calendar_of(settling.tenant, row.id, &spec).map_err(|error| unreadable(&row.name, &error))?;
        Ok(Self {
            settling,
            now,
            was_due_at: row.due_at,
            row,
            spec,
            calendar,
            progress,
            runs: record.last_status.is_some_and(|status| !status.is_terminal()),
            refused: false,
            is_cut: false,
            cancels: Vec::new(),
            starts: Vec::new(),
            fires: Vec::new(),
        })
    }

    /// Counts failures in a row.
    fn hear_of(&mut self, ended: &[(ExecutionId, ExecutionStatus)]) {
        for (execution, status) in ended {
            match status {
                ExecutionStatus::Completed => self.progress.failures = 0,
                ExecutionStatus::Failed => {
                    self.progress.failures = self.progress.failures.saturating_add(1);
                    let limit = self.spec.pause_after_failures;
                    if self.row.state == ScheduleState::Active
                        && limit.is_some_and(|limit| self.progress.failures >= limit)
                    {
                        self.row.state = ScheduleState::Paused;
                        self.row.reason = Some(format!(
                            "{} executions in a row failed, the last of them {execution}: resume it when the cause is mended",
                            self.progress.failures
                        ));
                    }
                }
                _ => {}
            }
        }
    }

    fn work(&mut self) {
        if self.row.state == ScheduleState::Active {
            self.start_what_waits();
            self.fire_what_is_owed();
        }
        if self.row.state != ScheduleState::Broken {
            self.continue_backfill();
        }
    }

    fn start_what_waits(&mut self) {
        while !self.blocks()
            && !self.progress.buffered.is_empty()
            && !self.is_full()
            && let Some(waiting) = self.progress.buffered.pop_front()
        {
            let why = if waiting.triggered { Why::Triggered } else { Why::Due };
            let nominal = Nominal { at: waiting.nominal, missed: waiting.missed };
            let started = self.start(nominal, why);
            let outcome = if started.is_some() { FireOutcome::Started } else { FireOutcome::Refused };
            self.note(nominal, outcome, started);
            if started.is_none() {
                self.progress.buffered.push_front(waiting);
                return;
            }
        }
    }

    /// What it owes now; what it missed is noted.
    fn owed(&mut self) -> Owed {
        let millis = self.spec.window_ms.map(|window| i64::try_from(window).unwrap_or(i64::MAX));
        let window = millis.map(SignedDuration::from_millis);
        let owed = self.calendar.owed(self.spec.catch_up, window, self.row.cursor, self.now);
        if let Some(missed) = owed.missed {
            self.note_missed(missed);
        }
        owed
    }

    fn fire_what_is_owed(&mut self) {
        let owed = self.owed();
        let last = owed.fires.last().copied();
        for nominal in owed.fires {
            if self.row.state != ScheduleState::Active || self.is_full() {
                return;
            }
            // Of several at once only the last would be left.
            let outcome = if self.spec.overlap == Overlap::CancelOther && last != Some(nominal) {
                self.note(nominal, FireOutcome::Skipped, None);
                FireOutcome::Skipped
            } else {
                self.fire(nominal, Why::Due).0
            };
            if outcome == FireOutcome::Refused {
                return;
            }
            self.row.cursor = nominal.at;
        }
        self.row.cursor = self.row.cursor.max(owed.cursor);
    }

    /// Fires what has its time behind it and only waits for its spread.
    fn fire_what_is_spread(&mut self) {
        while self.row.state == ScheduleState::Active
            && !self.refused
            && !self.is_full()
            && let Some(next) = self.calendar.next(self.row.cursor).filter(|next| *next <= self.now)
        {
            if self.fire(Nominal { at: next, missed: 0 }, Why::Due).0 != FireOutcome::Refused {
                self.row.cursor = next;
            }
        }
    }

    /// What is owed and could not be started waits for its turn, because nobody looks at its time again.
    fn keep_what_is_left(&mut self) {
        for _ in 0..MOST_LOOKS {
            let cursor = self.row.cursor;
            let owed = self.owed();
            let last = owed.fires.last().copied();
            for nominal in owed.fires {
                let is_replaced = self.spec.overlap == Overlap::CancelOther && last != Some(nominal);
                let is_beside = self.runs || !self.progress.buffered.is_empty();
                if is_replaced || self.spec.overlap == Overlap::Skip && is_beside {
                    self.note(nominal, FireOutcome::Skipped, None);
                } else {
                    self.keep(nominal);
                }
            }
            self.row.cursor = cursor.max(owed.cursor);
            if !owed.more || self.row.cursor == cursor || self.progress.buffered.len() >= MOST_KEPT {
                break;
            }
        }
        // More than is kept.
        self.miss_what_is_owed();
        while let Some(next) = self.calendar.next(self.row.cursor).filter(|next| *next <= self.now) {
            self.row.cursor = next;
            self.keep(Nominal { at: next, missed: 0 });
        }
    }

    /// It starts as soon as it may.
    fn keep(&mut self, nominal: Nominal) {
        if self.progress.buffered.len() >= MOST_KEPT {
            return self.note(nominal, FireOutcome::Dropped, None);
        }
        let waiting = Waiting { nominal: nominal.at, missed: nominal.missed, triggered: false };
        self.progress.buffered.push_back(waiting);
        self.note(nominal, FireOutcome::Buffered, None);
    }

    /// What was due by now is missed. What only waits for its spread is not.
    fn miss_what_is_owed(&mut self) {
        let owed = self.calendar.owed(super::CatchUp::Latest, None, self.row.cursor, self.now);
        if let Some(fire) = owed.fires.first() {
            self.note_missed(Nominal { missed: fire.missed.saturating_add(1).min(COUNTED), ..*fire });
        }
        // Which was the latest of many need not be known.
        let due = if owed.more { self.calendar.due_by(self.now) } else { owed.cursor };
        self.row.cursor = self.row.cursor.max(due);
    }

    /// What comes of a time, and the execution that was started.
    fn fire(&mut self, nominal: Nominal, why: Why) -> (FireOutcome, Option<ExecutionId>) {
        let mut execution = None;
        let outcome = if !self.blocks() {
            execution = self.start(nominal, why);
            if execution.is_some() { FireOutcome::Started } else { FireOutcome::Refused }
        } else {
            match self.spec.overlap {
                Overlap::Buffer(most) if self.progress.buffered.len() < most as usize => {
                    let triggered = why == Why::Triggered;
                    let waiting = Waiting { nominal: nominal.at, missed: nominal.missed, triggered };
                    self.progress.buffered.push_back(waiting);
                    FireOutcome::Buffered
                }
                Overlap::Buffer(_) => FireOutcome::Dropped,
                Overlap::Skip | Overlap::Allow | Overlap::CancelOther => FireOutcome::Skipped,
            }
        };
        self.note(nominal, outcome, execution);
        (outcome, execution)
    }

    /// Whether a start is for the next transaction, because this one has written enough.
    fn is_full(&mut self) -> bool {
        self.is_cut |= self.settling.budget.bytes == 0;
        self.is_cut
    }

    /// Whether nothing can be started beside what runs.
    fn blocks(&self) -> bool {
        self.runs && !matches!(self.spec.overlap, Overlap::Allow | Overlap::CancelOther)
    }

    /// Starts an execution; `None` if the tenant has no room for it.
    fn start(&mut self, nominal: Nominal, why: Why) -> Option<ExecutionId> {
        if self.settling.room == 0 {
            self.refused = true;
            return None;
        }
        let execution = ExecutionId::new();
        let at = nominal.at.as_microsecond();
        let key = match (why, &self.progress.backfill) {
            (Why::Triggered, _) => format!("cloacina/schedule/{}/trigger/{execution}", self.row.id),
            (Why::Backfilled, Some(Backfilling { redoes: true, id, .. })) => {
                format!("cloacina/schedule/{}/{at}/{id}", self.row.id)
            }
            _ => format!("cloacina/schedule/{}/{at}", self.row.id),
        };
        let is_backfilled = why == Why::Backfilled;
        let previous = if is_backfilled {
            // The time before this one, from which it would have been counted then.
            let day_before = nominal.at.checked_sub(SignedDuration::from_hours(24 * 366)).ok();
            day_before.and_then(|from| self.calendar.before(from, nominal.at))
        } else {
            self.progress.previous
        };
        let fire = Fire {
            name: self.row.name.clone(),
            nominal: nominal.at,
            previous,
            missed: nominal.missed,
            backfill: is_backfilled,
        };
        let mut input = self.spec.input.clone();
        if let Ok(fire) = serde_json::to_value(fire) {
            input.insert(SCHEDULE_KEY.to_owned(), fire);
        }
        if let Some(trace) = trace::submitted(&self.spec.workflow, None) {
            input.insert(TRACE_KEY.to_owned(), (*trace).into());
        }
        let input = serde_json::to_string(&input).unwrap_or_else(|_| "{}".to_owned());
        self.settling.budget.bytes = self.settling.budget.bytes.saturating_sub(input.len());
        if !is_backfilled {
            if self.runs && self.spec.overlap == Overlap::CancelOther {
                self.cancels.extend(self.row.last_execution);
            }
            self.row.last_execution = Some(execution);
            self.runs = true;
            if why == Why::Due {
                self.progress.previous = Some(nominal.at);
                if let Some(remaining) = &mut self.progress.remaining {
                    *remaining = remaining.saturating_sub(1);
                    if *remaining == 0 {
                        self.row.state = ScheduleState::Done;
                        for waiting in std::mem::take(&mut self.progress.buffered) {
                            let nominal = Nominal { at: waiting.nominal, missed: waiting.missed };
                            self.note(nominal, FireOutcome::Dropped, None);
                        }
                    }
                }
            }
        }
        self.starts.push(ScheduledExecution {
            id: execution,
            schedule: self.row.id,
            workflow: self.spec.workflow.clone(),
            priority: i16::from(self.spec.priority.min(9)),
            input: input.into(),
            key,
            on_failure: self.spec.on_failure.clone(),
        });
        self.settling.room -= 1;
        Some(execution)
    }

    fn continue_backfill(&mut self) {
        while let Some(backfill) = &mut self.progress.backfill {
            let Some(time) = backfill.times.front().copied() else {
                if self.row.backfilling.is_empty() {
                    self.progress.backfill = None;
                }
                return;
            };
            if self.row.backfilling.len() >= backfill.at_once as usize || self.is_full() {
                return;
            }
            let nominal = Nominal { at: time, missed: 0 };
            let Some(execution) = self.start(nominal, Why::Backfilled) else { return };
            self.note(nominal, FireOutcome::Started, Some(execution));
            if let Some(backfill) = &mut self.progress.backfill {
                backfill.times.pop_front();
            }
            self.row.backfilling.push(execution);
        }
    }

    /// A single time that had passed when the schedule was put fires now.
    fn be_late(&mut self, known: &[Timestamp]) {
        if self.row.state == ScheduleState::Active
            && let Some(late) = self.calendar.late(self.now).filter(|late| !known.contains(late))
        {
            let nominal = Nominal { at: late, missed: 0 };
            if self.fire(nominal, Why::Due).0 == FireOutcome::Refused {
                self.keep(nominal);
            }
        }
    }

    fn note(&mut self, nominal: Nominal, outcome: FireOutcome, execution: Option<ExecutionId>) {
        self.fires.retain(|fire| fire.nominal != nominal.at);
        self.fires.push(NewFire { nominal: nominal.at, outcome, execution, missed: nominal.missed });
    }

    fn note_missed(&mut self, missed: Nominal) {
        let others = Nominal { missed: missed.missed.saturating_sub(1), ..missed };
        self.note(others, FireOutcome::Missed, None);
    }

    /// What is written if this transaction has no time for it: it is looked at in the next one.
    fn postpone(mut self) -> ScheduleChange {
        self.row.due_at = Some(self.now);
        self.written()
    }

    /// What is written.
    fn close(mut self) -> ScheduleChange {
        let next = self.calendar.next_due(self.row.cursor);
        let waits = !self.progress.buffered.is_empty() || self.progress.backfill.is_some();
        if self.row.state == ScheduleState::Active && next.is_none() && !waits {
            self.row.state = ScheduleState::Done;
        }
        self.row.due_at = if self.is_cut {
            Some(self.now)
        } else if self.refused {
            self.now.checked_add(REFUSED_AGAIN).ok()
        } else {
            next.filter(|_| self.row.state == ScheduleState::Active)
        };
        let left = self.calendar.steps_left();
        self.settling.budget.steps =
            self.settling.budget.steps.saturating_sub(MAX_STEPS_OF_ONE.saturating_sub(left));
        self.written()
    }

    fn written(mut self) -> ScheduleChange {
        self.row.version = self.row.version.wrapping_add(1);
        // A map with texts as keys has a JSON form.
        self.row.progress = serde_json::to_string(&self.progress).unwrap_or_default().into();
        let prunes = !self.fires.is_empty() && self.row.version % PRUNE_EVERY == 0;
        let Self { row, was_due_at, cancels, starts, fires, .. } = self;
        ScheduleChange { id: row.id, was_due_at, row: Some(row), cancels, starts, fires, prunes, audit: None }
    }
}

impl Calendar {
    /// The last time before this one, and after `from`.
    fn before(&self, from: Timestamp, nominal: Timestamp) -> Option<Timestamp> {
        self.latest_nominal(from, super::calendar::before(nominal)).ok().flatten()
    }
}

fn change_of(row: ScheduleRow, was_due_at: Option<Timestamp>) -> ScheduleChange {
    ScheduleChange {
        id: row.id,
        was_due_at,
        row: Some(row),
        cancels: Vec::new(),
        starts: Vec::new(),
        fires: Vec::new(),
        prunes: false,
        audit: None,
    }
}

/// A schedule that does not fire until it is put again.
pub(crate) fn broken(mut row: ScheduleRow, reason: &str) -> ScheduleChange {
    let was_due_at = row.due_at.take();
    row.state = ScheduleState::Broken;
    row.reason = Some(shown(reason));
    row.version = row.version.wrapping_add(1);
    change_of(row, was_due_at)
}

/// A reason as it is kept. It may repeat what was stored, which a tenant wrote.
fn shown(reason: &str) -> String {
    reason.chars().filter(|letter| !letter.is_control()).take(MAX_REASON).collect()
}

fn blank(id: ScheduleId, name: &str, now: Timestamp) -> ScheduleRow {
    ScheduleRow {
        id,
        name: name.to_owned(),
        origin: None,
        state: ScheduleState::Active,
        reason: None,
        version: 0,
        spec: "{}".into(),
        progress: "{}".into(),
        cursor: now,
        due_at: None,
        last_execution: None,
        backfilling: Vec::new(),
    }
}

fn unreadable(name: &str, error: &dyn std::fmt::Display) -> Error {
    let message = format!(
        "what is stored of schedule `{}` cannot be used ({error}): put it again",
        name.escape_debug()
    );
    Error::new(ErrorKind::WrongState, message)
}

fn check_name(what: &str, name: &str) -> Result<(), Error> {
    let wrong = if name.is_empty() {
        "is empty"
    } else if name.len() > MAX_NAME {
        "is longer than 200 bytes"
    } else if name.chars().any(char::is_control) {
        "contains a control character"
    } else if name.starts_with(crate::workflow::RESERVED) {
        "begins with `cloacina/`, as only names of the engine do"
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(50).collect();
    super::expression::refuse(format!("{what} {wrong}: `{}`", shown.escape_debug()))
}

fn check_spec(spec: &Spec) -> Result<(), Error> {
    check_workflow_name(&spec.workflow).map_err(|reason| {
        let shown: String = spec.workflow.chars().take(50).collect();
        let message = format!("the name of the workflow {reason}: `{}`", shown.escape_debug());
        Error::new(ErrorKind::Configuration, message)
    })?;
    if spec.priority > 9 {
        return super::expression::refuse(format!("priority {} is above 9, the highest", spec.priority));
    }
    if let Some(starts) = &spec.on_failure {
        check_workflow_name(starts).map_err(|reason| {
            let shown: String = starts.chars().take(50).collect();
            let message =
                format!("the name of the workflow of `on_failure` {reason}: `{}`", shown.escape_debug());
            Error::new(ErrorKind::Configuration, message)
        })?;
    }
    Ok(())
}

/// What a schedule says, if it may be stored.
fn checked(schedule: &Schedule) -> Result<Spec, Error> {
    let mut spec = schedule.spec.clone();
    check_spec(&spec)?;
    let values = schedule.input.clone().into_values()?;
    if let Some(key) = reserved_key(&values) {
        let key = key.escape_debug();
        return super::expression::refuse(format!("the input has a key `{key}`, which is the engine's"));
    }
    let bytes = values_to_json(&values)?.len();
    if bytes > MAX_INPUT {
        return super::expression::refuse(format!(
            "the input of the schedule has {bytes} bytes, more than {MAX_INPUT}: store it elsewhere and give its address"
        ));
    }
    spec.input = values.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::definition::CatchUp;
    use super::*;
    use crate::context::Context;

    const MINUTE: Duration = Duration::from_secs(60);

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn settling() -> Settling {
        Settling::new(TenantId(uuid::Uuid::nil()), usize::MAX, SignedDuration::from_secs(1))
    }

    /// What is stored of a schedule that was put at this time.
    fn stored(schedule: &Schedule, at: Timestamp) -> ScheduleRecord {
        let change = put(&mut settling(), schedule, None, None, at).unwrap().unwrap();
        ScheduleRecord { row: change.row.unwrap(), last_status: None, ended: Vec::new() }
    }

    /// Settles all until none is due any more, and returns how many each transaction started.
    fn settled(mut records: Vec<ScheduleRecord>, now: Timestamp) -> Vec<Vec<(String, usize)>> {
        let mut transactions = Vec::new();
        while !records.is_empty() {
            let changes = settle(settling(), records, now, &mut Budget::default());
            let started =
                |change: &ScheduleChange| (change.row.as_ref().unwrap().name.clone(), change.starts.len());
            transactions.push(changes.iter().map(started).collect());
            records = changes
                .into_iter()
                .filter_map(|change| change.row)
                .filter(|row| row.due_at.is_some_and(|due| due <= now))
                .map(|row| ScheduleRecord { row, last_status: None, ended: Vec::new() })
                .collect();
            assert!(transactions.len() < 1_000, "it never ends");
        }
        transactions
    }

    #[test]
    fn a_transaction_starts_what_has_a_megabyte_of_inputs_and_the_others_follow() {
        let of = |name: &str, bytes: usize| {
            let schedule = Schedule::new(name, "w").every(MINUTE).overlap(Overlap::Allow);
            schedule
                .catch_up(CatchUp::All)
                .window(60 * MINUTE)
                .input(Context::new().with("x", "x".repeat(bytes)))
        };
        let (before, now) = (time("2026-11-30T10:00:30Z"), time("2026-11-30T10:10:30Z"));
        let records = vec![stored(&of("large", 300_000), before), stored(&of("small", 0), before)];
        let transactions = settled(records, now);
        let started: Vec<Vec<usize>> =
            transactions.iter().map(|all| all.iter().map(|(_, count)| *count).collect()).collect();
        assert_eq!(started, [vec![4, 0], vec![4, 0], vec![2, 10]]);
    }

    #[test]
    fn a_transaction_computes_for_some_time_and_the_others_follow() {
        // Each has a weekend of seconds behind it that are left out.
        let records = (0..5).map(|nth| {
            let schedule = Schedule::new(nth.to_string(), "w").every(Duration::from_secs(1));
            stored(&schedule.except("* * * * SAT,SUN").unwrap(), time("2026-11-27T23:59:30Z"))
        });
        let transactions = settled(records.collect(), time("2026-11-28T16:00:00Z"));
        assert!((4..50).contains(&transactions.len()), "{}", transactions.len());
        let all: usize = transactions.iter().flatten().map(|(_, started)| started).sum();
        assert_eq!(all, 5, "one stands for all, {transactions:?}");
    }

    fn with_room(room: usize) -> Settling {
        Settling { room, ..settling() }
    }

    /// What is stored after a change, with a last execution that is over.
    fn after(change: ScheduleChange) -> ScheduleRecord {
        ScheduleRecord { row: change.row.unwrap(), last_status: None, ended: Vec::new() }
    }

    fn outcomes(change: &ScheduleChange) -> Vec<(String, FireOutcome)> {
        change.fires.iter().map(|fire| (fire.nominal.strftime("%H:%M").to_string(), fire.outcome)).collect()
    }

    fn outcome(at: &str, outcome: FireOutcome) -> (String, FireOutcome) {
        (at.to_owned(), outcome)
    }

    fn hourly() -> Schedule {
        Schedule::new("s", "w").cron("0 * * * *").unwrap()
    }

    fn only(changes: Vec<ScheduleChange>) -> ScheduleChange {
        let [change] = <[ScheduleChange; 1]>::try_from(changes).unwrap();
        change
    }

    #[test]
    fn what_the_tenant_had_no_room_for_is_started_after_the_schedule_has_changed() {
        let before = time("2026-11-30T10:30:00Z");
        let now = time("2026-11-30T12:30:00Z");
        for (catch_up, overlap, times) in [
            (CatchUp::Latest, Overlap::Skip, vec!["12:00"]),
            (CatchUp::All, Overlap::Skip, vec!["11:00"]),
            (CatchUp::All, Overlap::CancelOther, vec!["12:00"]),
            (CatchUp::All, Overlap::Allow, vec!["11:00", "12:00"]),
        ] {
            let old = hourly().catch_up(catch_up).window(600 * MINUTE).overlap(overlap);
            let changed = old.clone().input(Context::new().with("x", 1));
            let record = stored(&old, before);
            let change = put(&mut with_room(0), &changed, None, Some(&record), now).unwrap().unwrap();
            assert_eq!(change.starts.len(), 0);
            let again = change.row.as_ref().unwrap().due_at.unwrap();
            assert!(again < now + MINUTE, "{again}");
            let started = only(settle(settling(), vec![after(change)], again, &mut Budget::default()));
            let expected: Vec<_> = times.iter().map(|at| outcome(at, FireOutcome::Started)).collect();
            assert_eq!(outcomes(&started), expected, "{catch_up:?}, {overlap:?}");
        }
        let late = Schedule::new("s", "w").at(before);
        let change = put(&mut with_room(0), &late, None, None, now).unwrap().unwrap();
        let again = change.row.as_ref().unwrap().due_at.unwrap();
        let started = only(settle(settling(), vec![after(change)], again, &mut Budget::default()));
        assert_eq!(outcomes(&started), [outcome("10:30", FireOutcome::Started)]);
    }

    #[test]
    fn what_waits_for_its_spread_is_fired_when_the_schedule_changes_and_waits_on_when_it_is_resumed() {
        let spread = |minutes: u32| hourly().spread(minutes * MINUTE);
        let before = time("2026-11-30T10:30:00Z");
        let now = time("2026-11-30T11:00:01Z");
        let record = stored(&spread(50), before);
        assert!(record.row.due_at.unwrap() > now, "its spread is longer than a second");
        let put =
            |room| super::put(&mut with_room(room), &spread(40), None, Some(&record), now).unwrap().unwrap();
        assert_eq!(outcomes(&put(9)), [outcome("11:00", FireOutcome::Started)]);
        let refused = put(0);
        let again = refused.row.as_ref().unwrap().due_at.unwrap();
        let started = only(settle(settling(), vec![after(refused)], again, &mut Budget::default()));
        assert_eq!(outcomes(&started), [outcome("11:00", FireOutcome::Started)]);

        let due = record.row.due_at;
        let paused = after(pause(record, "").unwrap());
        let resumed = resume(&mut settling(), &paused, Missed::Skip, now).unwrap().unwrap();
        assert_eq!((resumed.fires.len(), resumed.row.as_ref().unwrap().due_at), (0, due));
        let later = time("2026-11-30T13:00:01Z");
        let resumed = resume(&mut settling(), &paused, Missed::Skip, later).unwrap().unwrap();
        assert_eq!(outcomes(&resumed), [outcome("12:00", FireOutcome::Missed)]);
        assert_eq!(resumed.fires[0].missed, 1);
        assert_eq!(resumed.row.unwrap().due_at, due.map(|due| due + 120 * MINUTE));
    }

    #[test]
    fn what_waits_when_the_last_execution_starts_is_dropped_and_noted() {
        let schedule =
            hourly().overlap(Overlap::Buffer(9)).at_most(2).catch_up(CatchUp::All).window(600 * MINUTE);
        let record = stored(&schedule, time("2026-11-30T10:30:00Z"));
        let first =
            only(settle(settling(), vec![record], time("2026-11-30T13:30:00Z"), &mut Budget::default()));
        let expected = [
            ("11:00", FireOutcome::Started),
            ("12:00", FireOutcome::Buffered),
            ("13:00", FireOutcome::Buffered),
        ];
        assert_eq!(outcomes(&first), expected.map(|(at, what)| outcome(at, what)));
        let last = only(settle(
            settling(),
            vec![after(first)],
            time("2026-11-30T13:31:00Z"),
            &mut Budget::default(),
        ));
        let expected = [("13:00", FireOutcome::Dropped), ("12:00", FireOutcome::Started)];
        assert_eq!(outcomes(&last), expected.map(|(at, what)| outcome(at, what)));
        assert_eq!(last.row.unwrap().state, ScheduleState::Done);
    }

    #[test]
    fn a_backfill_may_follow_one_whose_last_execution_has_just_ended() {
        let now = time("2026-11-30T10:30:00Z");
        let times = || vec![time("2026-11-30T09:00:00Z")];
        let begun = backfill(&mut settling(), &stored(&hourly(), now), times(), (true, 1), now).unwrap();
        let mut record = after(begun);
        let refused = backfill(&mut settling(), &record, times(), (true, 1), now).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongState);
        // The commit that ends the execution takes it out of the row, and nothing else.
        record.row.backfilling.clear();
        let second = backfill(&mut settling(), &record, times(), (true, 1), now).unwrap();
        assert_eq!(outcomes(&second), [outcome("09:00", FireOutcome::Started)]);
    }

    #[test]
    fn a_backfill_that_had_no_room_goes_on_although_its_schedule_is_paused() {
        let now = time("2026-11-30T10:30:00Z");
        let record = stored(&hourly(), now);
        let times = vec![time("2026-11-30T09:00:00Z")];
        let refused = backfill(&mut with_room(0), &record, times, (false, 1), now).unwrap();
        let paused = pause(after(refused).clone(), "an incident").unwrap();
        let again = paused.row.as_ref().unwrap().due_at.expect("somebody looks again");
        let started = only(settle(settling(), vec![after(paused)], again, &mut Budget::default()));
        assert_eq!(outcomes(&started), [outcome("09:00", FireOutcome::Started)]);
        assert_eq!(started.row.unwrap().state, ScheduleState::Paused);
    }
}
