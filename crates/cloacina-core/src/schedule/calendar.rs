//! When a schedule fires.

use std::collections::HashMap;
use std::sync::LazyLock;

use croner::Cron;
use croner::errors::CronError;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};
use parking_lot::Mutex;

use super::definition::{CatchUp, Overlap, Spec};
use super::expression::{read, refuse, zone};
use crate::error::Error;
use crate::workflow::StableHash;

/// How far ahead is looked for the next time.
const HORIZON: SignedDuration = SignedDuration::from_hours(10 * 366 * 24);

/// How many times in a row exclusions may leave out.
const MOST_EXCLUDED: usize = 10_000;

/// How many steps a change of a schedule, or a listing of its times, may take: some hundred milliseconds.
const STEPS: u32 = 100_000;

/// How many steps it counts for to find out that an expression never fires again: some milliseconds.
const NEVER_FIRES: u32 = 2_000;

/// How many times ahead are looked at to see how close they are.
const SAMPLE: usize = 64;

/// How many expressions, intervals, times and exclusions a schedule may have, each.
const MOST_TIMES: usize = 100;

/// How many executions may wait for the one before.
const MOST_BUFFERED: u32 = 1_000;

/// No schedule fires later.
const LATEST: Timestamp = Timestamp::constant(221_845_392_000, 0);

/// Expressions of which it was found out, which takes long, after what time they do not fire any more. So
/// many are remembered.
static OVER: LazyLock<Mutex<HashMap<String, Timestamp>>> = LazyLock::new(Mutex::default);
const MOST_OVER: usize = 1_000;

const DAY: SignedDuration = SignedDuration::from_hours(24);
const SECOND: SignedDuration = SignedDuration::from_secs(1);
const TICK: SignedDuration = SignedDuration::from_micros(1);

/// When a schedule fires: its times, read and checked.
#[derive(Debug)]
pub(crate) struct Calendar {
    zone: TimeZone,
    has_zone: bool,
    crons: Vec<Cron>,
    every: Vec<SignedDuration>,
    at: Vec<Timestamp>,
    except: Vec<(Cron, bool)>,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    /// How much later than its time this schedule fires.
    pub(super) offset: SignedDuration,
    effort: Mutex<Effort>,
}

/// What a calendar may still compute, and what it has found out. It is asked while schedules are locked.
#[derive(Debug)]
struct Effort {
    steps: u32,
    /// Of each expression, after which time it was asked last, and when it fires next.
    known: Vec<Option<(Timestamp, Option<Timestamp>)>>,
}

impl Calendar {
    /// Reads what a schedule says, which may come from a row that a tenant spoiled. `whose` is what tells it
    /// from others: its spread goes by that.
    pub(crate) fn of(spec: &Spec, whose: &[&[u8]]) -> Result<Self, Error> {
        let lengths = [spec.cron.len(), spec.every_ms.len(), spec.at.len(), spec.except.len()];
        if lengths.iter().any(|length| *length > MOST_TIMES) {
            return refuse(format!("it has more than {MOST_TIMES} times of one kind: use several"));
        }
        if lengths[..3].iter().all(|length| *length == 0) {
            return refuse("it has no time: add `.cron(…)`, `.every(…)` or `.at(…)`");
        }
        if spec.catch_up == CatchUp::All && spec.window_ms.is_none() {
            return refuse("`CatchUp::All` needs a limit: add `.window(…)`, how far back it catches up");
        }
        if let Overlap::Buffer(most) = spec.overlap
            && !(1..=MOST_BUFFERED).contains(&most)
        {
            return refuse(format!("`Overlap::Buffer({most})` is out of range: give 1 to {MOST_BUFFERED}"));
        }
        if let (Some(from), Some(to)) = (spec.starts_at, spec.ends_at)
            && from >= to
        {
            return refuse("`.between(…)` ends before it starts: give the earlier time first");
        }
        if spec.at_most == Some(0) || spec.pause_after_failures == Some(0) {
            return refuse("`.at_most(0)` or `.pause_after_failures(0)` would never run: leave it out");
        }
        let mut every = Vec::with_capacity(spec.every_ms.len());
        for period in &spec.every_ms {
            if *period == 0 || period % 1_000 != 0 {
                return refuse("`.every(…)` is not a whole number of seconds, 1 or more");
            }
            let period = i64::try_from(*period).unwrap_or(i64::MAX);
            every.push(SignedDuration::from_millis(period).min(HORIZON));
        }
        let except = spec.except.iter().map(|expression| {
            let is_by_minute = expression.split_ascii_whitespace().count() == 5;
            read(expression).map(|cron| (cron, is_by_minute))
        });
        let zone = spec.zone.as_deref().map_or(Ok(TimeZone::UTC), zone)?;
        let known = {
            let over = OVER.lock();
            let known = |expression: &String| over.get(&key(&zone, expression)).map(|since| (*since, None));
            spec.cron.iter().map(known).collect()
        };
        let hash = whose.iter().fold(StableHash::new(), |hash, part| hash.bytes(part));
        let spread = i64::try_from(spec.spread_ms.unwrap_or_default()).unwrap_or(i64::MAX);
        let offset = if spread == 0 { 0 } else { hash.finish().rem_euclid(spread) };
        Ok(Self {
            zone,
            has_zone: spec.zone.is_some(),
            crons: spec.cron.iter().map(|expression| read(expression)).collect::<Result<_, _>>()?,
            every,
            at: spec.at.iter().copied().map(storable).collect(),
            except: except.collect::<Result<_, _>>()?,
            starts_at: spec.starts_at.map(storable),
            ends_at: spec.ends_at.map(storable),
            // Beyond it nothing is looked for.
            offset: SignedDuration::from_millis(offset).min(HORIZON),
            effort: Mutex::new(Effort { steps: STEPS, known }),
        })
    }

    /// Lets it take so many steps, of those that it has left none.
    pub(super) fn allow(&self, steps: u32) {
        self.effort.lock().steps = steps;
    }

    /// How many steps it may still take.
    pub(super) fn steps_left(&self) -> u32 {
        self.effort.lock().steps
    }

    fn spend(&self, steps: u32) {
        let mut effort = self.effort.lock();
        effort.steps = effort.steps.saturating_sub(steps);
    }

    /// Whether what it says will ever fire, and not too often, seen from `now`.
    pub(crate) fn check(&self, now: Timestamp, least: SignedDuration) -> Result<(), Error> {
        let Some(first) = self.next(now) else {
            if self.late(now).is_some() {
                return Ok(());
            }
            return refuse(
                "it never fires within ten years from now: look at the days of its cron expressions, at its exclusions and at \
                 when it ends",
            );
        };
        let mut last = first;
        for _ in 0..SAMPLE {
            let Some(next) = self.next(last) else { break };
            if next.duration_since(last) < least.max(SECOND) {
                return refuse(format!(
                    "it would fire at {last} and again at {next}: the least period is {} s (min_schedule_period); start one \
                     execution that does the work of several",
                    least.max(SECOND).as_secs()
                ));
            }
            last = next;
        }
        Ok(())
    }

    /// The latest of the single times that have passed.
    pub(crate) fn late(&self, now: Timestamp) -> Option<Timestamp> {
        self.at.iter().copied().filter(|time| *time <= now).max()
    }

    /// The first time after `after`; `None` if there is none within ten years, or none before 10,000 times
    /// that are left out, or if it may take no more steps.
    pub(crate) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.look(after).ok().flatten()
    }

    /// The same, where the error says up to which time there is none: there may be others behind it.
    pub(super) fn look(&self, after: Timestamp) -> Result<Option<Timestamp>, Timestamp> {
        let mut after = match self.starts_at {
            Some(start) => after.max(before(start)),
            None => after,
        };
        for _ in 0..MOST_EXCLUDED {
            if self.steps_left() == 0 {
                break;
            }
            self.spend(1);
            let next = self.next_of_all(after).filter(|next| *next < self.ends_at.unwrap_or(LATEST));
            let Some(next) = next.filter(|next| self.is_excluded(*next)) else { return Ok(next) };
            after = next;
        }
        Err(after)
    }

    fn next_of_all(&self, after: Timestamp) -> Option<Timestamp> {
        let limit = after.checked_add(HORIZON).unwrap_or(Timestamp::MAX);
        let crons = (0..self.crons.len()).filter_map(|nth| self.next_of_known(nth, after, limit));
        let every = self.every.iter().filter_map(|period| self.next_of_interval(*period, after));
        let at = self.at.iter().copied().filter(|time| *time > after);
        crons.chain(every).filter(|time| *time <= limit).chain(at).min()
    }

    /// When an expression fires next, which is computed once for all times before that.
    fn next_of_known(&self, nth: usize, after: Timestamp, limit: Timestamp) -> Option<Timestamp> {
        if let Some((asked, next)) = self.effort.lock().known[nth]
            && asked <= after
            && next.is_none_or(|next| next > after)
        {
            return next;
        }
        let next = self.next_of_cron(&self.crons[nth], after, limit);
        self.spend(if next.is_some() { 1 } else { NEVER_FIRES });
        if next.is_none() {
            let mut over = OVER.lock();
            if over.len() >= MOST_OVER {
                over.clear();
            }
            let since = over.entry(key(&self.zone, self.crons[nth].as_str())).or_insert(after);
            *since = after.min(*since);
        }
        self.effort.lock().known[nth] = Some((after, next));
        next
    }

    fn next_of_cron(&self, cron: &Cron, after: Timestamp, limit: Timestamp) -> Option<Timestamp> {
        let mut from = after.to_zoned(self.zone.clone());
        let mut inclusive = false;
        // Once for each gap that croner does not look across.
        while from.timestamp() <= limit {
            match cron.find_next_occurrence(&from, inclusive) {
                Ok(next) => return Some(next.timestamp()),
                // It gives up on gaps of more than two hours: a zone that left a day out. No time of that day
                // ever comes.
                Err(CronError::TimeSearchLimitExceeded) => {
                    from = self.after_wide_gap(&from, limit)?;
                    inclusive = true;
                }
                Err(_) => return None,
            }
        }
        None
    }

    /// The first moment after the next gap of more than two hours.
    fn after_wide_gap(&self, from: &Zoned, limit: Timestamp) -> Option<Zoned> {
        let changes = self.zone.following(from.timestamp());
        for change in changes.take_while(|change| change.timestamp() <= limit) {
            let before = before(change.timestamp()).to_zoned(self.zone.clone()).offset().seconds();
            if change.offset().seconds() - before > 2 * 3600 {
                return Some(change.timestamp().to_zoned(self.zone.clone()));
            }
        }
        None
    }

    fn next_of_interval(&self, period: SignedDuration, after: Timestamp) -> Option<Timestamp> {
        let anchor = self.starts_at.unwrap_or(Timestamp::UNIX_EPOCH);
        let in_days = self.has_zone && period.as_secs() % DAY.as_secs() == 0;
        if !in_days {
            let passed = after.as_microsecond() - anchor.as_microsecond();
            let period = i64::try_from(period.as_micros()).ok()?;
            let count = if passed < 0 { 0 } else { passed / period + 1 };
            let next = anchor.as_microsecond().checked_add(count.checked_mul(period)?)?;
            return Timestamp::from_microsecond(next).ok();
        }
        let period = period.as_secs() / DAY.as_secs();
        let anchor = match self.starts_at {
            Some(start) => start.to_zoned(self.zone.clone()).datetime(),
            None => DateTime::constant(1970, 1, 1, 0, 0, 0, 0),
        };
        let date = after.to_zoned(self.zone.clone()).datetime();
        let passed = i64::from((date.date() - anchor.date()).get_days());
        // A change of the clocks moves less than a day.
        let first = (passed / period - 1).max(0);
        (first..first + 4).find_map(|count| {
            let days = count.checked_mul(period)?.days();
            let next = anchor.checked_add(days).ok()?;
            self.moment(next).filter(|next| *next > after)
        })
    }

    /// When the clocks of the zone say this: the first of two moments, or the first after a gap.
    fn moment(&self, time: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                offset.to_timestamp(time).ok()
            }
            AmbiguousOffset::Gap { before, .. } => {
                let within = before.to_timestamp(time).ok()?.checked_add(TICK).ok()?;
                self.zone.preceding(within).next().map(|change| change.timestamp())
            }
        }
    }

    fn is_excluded(&self, time: Timestamp) -> bool {
        if self.except.is_empty() {
            return false;
        }
        let time = time.to_zoned(self.zone.clone());
        self.except.iter().any(|(cron, is_by_minute)| {
            let minute = if *is_by_minute { time.with().second(0).build().ok() } else { None };
            cron.is_time_matching(minute.as_ref().unwrap_or(&time)).unwrap_or(false)
        })
    }
}

/// What tells an expression from others in what is remembered of it.
fn key(zone: &TimeZone, expression: &str) -> String {
    format!("{} {expression}", zone.iana_name().unwrap_or_default())
}

/// The same time as a database keeps it.
fn storable(time: Timestamp) -> Timestamp {
    let time = Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time);
    time.clamp(Timestamp::UNIX_EPOCH, LATEST)
}

/// The last moment before this one that a database can tell from it.
pub(crate) fn before(time: Timestamp) -> Timestamp {
    time.checked_sub(TICK).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::super::definition::Schedule;
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn of(schedule: &Schedule) -> Calendar {
        Calendar::of(&schedule.spec, &[b"tenant", b"schedule"]).unwrap()
    }

    fn cron(expression: &str, zone: &str) -> Calendar {
        of(&Schedule::new("s", "w").cron(expression).unwrap().zone(zone).unwrap())
    }

    fn next(calendar: &Calendar, after: &str, count: usize) -> Vec<String> {
        let mut after = time(after);
        let mut next = Vec::new();
        while next.len() < count {
            let Some(time) = calendar.next(after) else { break };
            next.push(time.to_string());
            after = time;
        }
        next
    }

    #[test]
    fn a_time_of_the_day_fires_once_a_day_whatever_the_clocks_do() {
        let zurich = cron("30 2 * * *", "Europe/Zurich");
        // The gap from 2 to 3.
        assert_eq!(
            next(&zurich, "2026-03-28T00:00:00Z", 3),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        // 2:30 comes twice.
        assert_eq!(
            next(&zurich, "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        let every_half_hour = cron("*/30 * * * *", "Australia/Lord_Howe");
        assert_eq!(
            next(&every_half_hour, "2026-04-04T14:29:00Z", 4),
            ["2026-04-04T14:30:00Z", "2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z", "2026-04-04T16:00:00Z"]
        );
    }

    #[test]
    fn a_day_that_a_zone_leaves_out_has_no_runs_and_is_no_obstacle() {
        let daily = cron("0 2 * * *", "Pacific/Apia");
        assert_eq!(
            next(&daily, "2011-12-29T00:00:00Z", 3),
            ["2011-12-29T12:00:00Z", "2011-12-30T12:00:00Z", "2011-12-31T12:00:00Z"]
        );
        let every_hour = cron("0 * * * *", "Pacific/Apia");
        assert_eq!(
            next(&every_hour, "2011-12-30T08:30:00Z", 3),
            ["2011-12-30T09:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T11:00:00Z"]
        );
        let days =
            of(&Schedule::new("s", "w").every(Duration::from_secs(86_400)).zone("Pacific/Apia").unwrap());
        assert_eq!(
            next(&days, "2011-12-29T00:00:00Z", 3),
            ["2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"]
        );
    }

    use std::time::Duration;

    #[test]
    fn an_interval_is_time_that_passes_or_days_of_a_zone() {
        let start = time("2026-10-24T00:15:00Z");
        let hours = of(&Schedule::new("s", "w")
            .every(Duration::from_secs(36 * 3600))
            .zone("Europe/Zurich")
            .unwrap()
            .between(start, None));
        assert_eq!(
            next(&hours, "2020-01-01T00:00:00Z", 3),
            ["2026-10-24T00:15:00Z", "2026-10-25T12:15:00Z", "2026-10-27T00:15:00Z"]
        );
        let days = of(&Schedule::new("s", "w")
            .every(Duration::from_secs(24 * 3600))
            .zone("Europe/Zurich")
            .unwrap()
            .between(start, None));
        assert_eq!(next(&days, "2026-10-24T00:15:00Z", 2), ["2026-10-25T00:15:00Z", "2026-10-26T01:15:00Z"]);
        let utc = of(&Schedule::new("s", "w").every(Duration::from_secs(24 * 3600)));
        assert_eq!(next(&utc, "2026-10-24T00:00:00Z", 1), ["2026-10-25T00:00:00Z"]);
    }

    #[test]
    fn several_times_add_up_and_exclusions_are_left_out() {
        let schedule = Schedule::new("s", "w")
            .cron("0 0 24-26 12 *")
            .unwrap()
            .cron("0 0 24 12 *")
            .unwrap()
            .at(time("2026-12-24T06:00:00Z"))
            .except("* * 25 12 *")
            .unwrap()
            .between(None, time("2026-12-26T00:00:01Z"));
        assert_eq!(
            next(&of(&schedule), "2026-12-01T00:00:00Z", 9),
            ["2026-12-24T00:00:00Z", "2026-12-24T06:00:00Z", "2026-12-26T00:00:00Z"]
        );
        let seconds = Schedule::new("s", "w").cron("*/30 * * * * *").unwrap().except("5 * * * *").unwrap();
        assert_eq!(
            next(&of(&seconds), "2026-12-01T00:04:15Z", 2),
            ["2026-12-01T00:04:30Z", "2026-12-01T00:06:00Z"]
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_write_instead() {
        let now = time("2026-11-30T00:00:00Z");
        let told = |schedule: Result<Schedule, Error>| {
            let calendar = schedule.and_then(|schedule| Calendar::of(&schedule.spec, &[]));
            let ten = SignedDuration::from_secs(10);
            calendar.and_then(|calendar| calendar.check(now, ten)).unwrap_err().to_string()
        };
        let new = || Schedule::new("s", "w");
        for (schedule, what) in [
            (new().cron("every day"), "0 2 * * MON-FRI"),
            (new().cron("0".repeat(300)), "longer than 256"),
            (new().cron("0 0 30 2 *"), "never fires"),
            (new().cron("0 0 1 1 *").and_then(|of| of.except("* * 1 1 *")), "never fires"),
            (new().cron("*/5 * * * * *"), "least period is 10 s"),
            (new().cron("0,3 0 0 1 1 *"), "least period is 10 s"),
            (new().zone("Europe/Zürich"), "Europe/Zurich"),
            (Ok(new()), "has no time"),
            (Ok(new().every(Duration::from_millis(1_500))), "whole number of seconds"),
            (Ok(new().every(Duration::from_secs(60)).catch_up(CatchUp::All)), ".window"),
            (Ok(new().every(Duration::from_secs(60)).overlap(Overlap::Buffer(0))), "1 to 1000"),
            (Ok(new().every(Duration::from_secs(60)).between(now, now)), "earlier time first"),
            (Ok(new().every(Duration::from_secs(60)).at_most(0)), "leave it out"),
        ] {
            let told = told(schedule);
            assert!(told.contains(what), "{told}");
        }
    }

    #[test]
    fn a_time_that_has_passed_is_late_and_not_never() {
        let now = time("2026-11-30T00:00:00Z");
        let calendar = of(&Schedule::new("s", "w").at(time("2026-11-29T00:00:00Z")));
        calendar.check(now, SECOND).unwrap();
        assert_eq!((calendar.next(now), calendar.late(now)), (None, Some(time("2026-11-29T00:00:00Z"))));
    }

    /// An expression, what the minutes of a clock on the wall must be, and whether it is one time of the day.
    type Case = (&'static str, fn(DateTime) -> bool, bool);

    const CASES: [Case; 5] = [
        ("30 2 * * *", |at| (at.hour(), at.minute()) == (2, 30), true),
        ("0 0 * * *", |at| (at.hour(), at.minute()) == (0, 0), true),
        (
            "15 23 * * SUN",
            |at| (at.hour(), at.minute()) == (23, 15) && at.weekday() == jiff::civil::Weekday::Sunday,
            true,
        ),
        ("*/20 * * * *", |at| at.minute() % 20 == 0, false),
        ("10 1-3 * * *", |at| at.minute() == 10 && (1..=3).contains(&at.hour()), false),
    ];

    /// What a clock on the wall says, minute by minute, two days before and after a change of the clocks.
    fn oracle(zone: &TimeZone, around: Timestamp, (_, fits, is_once_a_day): Case) -> Vec<Timestamp> {
        let (from, to) = (around - 2 * DAY, around + 2 * DAY);
        let minutes = |from: DateTime, to: DateTime| {
            std::iter::successors(Some(from), |at| at.checked_add(1.minute()).ok())
                .take_while(move |at| *at <= to)
        };
        let mut times: Vec<Timestamp> = if is_once_a_day {
            let day = |at: Timestamp| at.to_zoned(zone.clone()).datetime();
            let floor = |at: DateTime| at.with().second(0).subsec_nanosecond(0).build().unwrap();
            minutes(floor(day(from - DAY)), day(to + DAY))
                .filter(|at| fits(*at))
                .filter_map(|at| match zone.to_ambiguous_timestamp(at).offset() {
                    AmbiguousOffset::Unambiguous { offset }
                    | AmbiguousOffset::Fold { before: offset, .. } => Some(offset.to_timestamp(at).unwrap()),
                    AmbiguousOffset::Gap { .. } => {
                        // The first whole second that there is again, on a day that the expression allows.
                        let (mut second, mut passed) = (at, 0);
                        while let AmbiguousOffset::Gap { .. } = zone.to_ambiguous_timestamp(second).offset() {
                            second = second.checked_add(1.second()).unwrap();
                            passed += 1;
                        }
                        let is_allowed = fits(
                            second.with().hour(at.hour()).minute(at.minute()).second(0).build().unwrap(),
                        );
                        (passed <= 7200 && is_allowed)
                            .then(|| zone.to_ambiguous_timestamp(second).earlier().unwrap())
                    }
                })
                .collect()
        } else {
            let seconds = from.as_second()..=to.as_second();
            // Zones were off by odd seconds until 1972 at the latest.
            seconds
                .step_by(1)
                .filter(|second| second % 30 == 0)
                .map(|second| Timestamp::from_second(second).unwrap())
                .filter(|at| {
                    let at = at.to_zoned(zone.clone()).datetime();
                    at.second() == 0 && fits(at)
                })
                .collect()
        };
        times.retain(|at| *at > from && *at <= to);
        times.sort_unstable();
        times.dedup();
        times
    }

    fn compare(zone: &str, years: (&str, &str)) {
        let known = super::zone(zone).unwrap();
        let changes: Vec<Timestamp> = known
            .following(time(years.0))
            .map(|change| change.timestamp())
            .take_while(|change| *change < time(years.1))
            .collect();
        for around in changes {
            for case in CASES {
                let calendar = cron(case.0, zone);
                let mut found = Vec::new();
                let mut after = around - 2 * DAY;
                while let Some(next) = calendar.next(after).filter(|next| *next <= around + 2 * DAY) {
                    found.push(next);
                    after = next;
                }
                assert_eq!(found, oracle(&known, around, case), "`{}` in {zone} around {around}", case.0);
            }
        }
    }

    /// `CLOACINA_ZONES` says how many zones are compared from 1990 to 2050, and has those with the oddest
    /// clocks compared for as long; otherwise they are for the years in which those were odd.
    #[test]
    fn the_calendar_agrees_with_a_clock_on_the_wall_minute_by_minute() {
        let count = std::env::var("CLOACINA_ZONES").ok();
        let years = count.as_ref().map(|_| ("1990-01-01T00:00:00Z", "2050-01-01T00:00:00Z"));
        if let Some(count) = count {
            let count: usize = count.parse().unwrap();
            let names: Vec<String> =
                super::super::expression::ZONES.available().map(|name| name.to_string()).collect();
            let step = (names.len() / count).max(1);
            for name in names.iter().step_by(step).take(count) {
                compare(name, ("1990-01-01T00:00:00Z", "2050-01-01T00:00:00Z"));
            }
        }
        for (zone, from, to) in [
            ("Australia/Lord_Howe", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("Pacific/Apia", "2011-06-01T00:00:00Z", "2012-06-01T00:00:00Z"),
            ("Africa/Casablanca", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("America/Sao_Paulo", "2017-06-01T00:00:00Z", "2018-06-01T00:00:00Z"),
            ("Europe/London", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("America/New_York", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ] {
            compare(zone, years.unwrap_or((from, to)));
        }
    }
}
