//! What a schedule owes since it was looked at last.

use jiff::{SignedDuration, Timestamp};

use super::calendar::{Calendar, before};
use super::definition::CatchUp;

/// For how long after its time a run that is not caught up with is still started.
const FORGIVEN: SignedDuration = SignedDuration::from_secs(60);

/// How many runs are owed at once; what is left is owed again.
const AT_ONCE: usize = 1_000;

/// How far missed times are counted.
pub(super) const COUNTED: u32 = 1_000;

/// How many steps are taken from the last time that is settled, if the latest one is too far from there to be
/// found.
const ONWARD: u32 = 2_000;

/// The times before `now` at which the latest is looked for, the nearest first.
const BACK: [i64; 7] = [60, 3_600, 86_400, 7 * 86_400, 32 * 86_400, 366 * 86_400, 3_660 * 86_400];

/// What a schedule owes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owed {
    /// What is to be started, the oldest first.
    pub(crate) fires: Vec<Nominal>,
    /// The times that are missed: the latest of them, and how many.
    pub(crate) missed: Option<Nominal>,
    /// Up to which time this is all.
    pub(crate) cursor: Timestamp,
    /// Whether more is owed at once.
    pub(crate) more: bool,
}

/// What was looked for takes more steps than are allowed; up to this time there is nothing.
#[derive(Debug)]
pub(super) struct TooFar {
    none_until: Timestamp,
}

/// A time at which a schedule fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nominal {
    pub(crate) at: Timestamp,
    /// How many times it stands for besides.
    pub(crate) missed: u32,
}

impl Calendar {
    /// When what is to happen at this time does: later by the spread, but before the time after it.
    pub(crate) fn due(&self, nominal: Timestamp) -> Timestamp {
        if self.offset.is_zero() {
            return nominal;
        }
        let due = nominal.checked_add(self.offset).unwrap_or(Timestamp::MAX);
        match self.next(nominal) {
            Some(next) if next <= due => {
                next.checked_sub(SignedDuration::from_secs(1)).unwrap_or(nominal).max(nominal)
            }
            _ => due,
        }
    }

    /// When it has to be looked at next.
    pub(crate) fn next_due(&self, cursor: Timestamp) -> Option<Timestamp> {
        match self.look(cursor) {
            Ok(next) => next.map(|next| self.due(next)),
            // Nothing before it; what comes then is seen then.
            Err(until) => Some(until),
        }
    }

    /// Up to which time everything is due, if a spread is not cut short.
    pub(super) fn due_by(&self, now: Timestamp) -> Timestamp {
        now.checked_sub(self.offset).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// What it owes at `now`, if everything up to `cursor` is settled.
    pub(crate) fn owed(
        &self,
        catch_up: CatchUp,
        window: Option<SignedDuration>,
        mut cursor: Timestamp,
        now: Timestamp,
    ) -> Owed {
        let until = now.checked_sub(self.offset).unwrap_or(cursor);
        let latest = match self.latest(cursor, now) {
            Ok(Some(latest)) => latest,
            Ok(None) => {
                // All that can be due is known, so the next look begins here.
                return Owed { fires: Vec::new(), missed: None, cursor: cursor.max(until), more: false };
            }
            Err(TooFar { none_until }) => {
                cursor = none_until;
                self.allow(ONWARD);
                if catch_up == CatchUp::Latest {
                    return self.onward(cursor, until);
                }
                until
            }
        };
        let since = |back: SignedDuration| now.checked_sub(back).unwrap_or(Timestamp::MIN);
        match catch_up {
            CatchUp::Latest => {
                let count = self.count(cursor, latest);
                let fire = Nominal { at: latest, missed: count.saturating_sub(1) };
                let is_worth_it = window.is_none_or(|window| self.due(latest) >= since(window));
                let (fires, missed) = if is_worth_it {
                    (vec![fire], None)
                } else {
                    (Vec::new(), Some(Nominal { at: latest, missed: count }))
                };
                Owed { fires, missed, cursor: latest, more: false }
            }
            CatchUp::Nothing => self.each(cursor, latest, since(FORGIVEN)),
            CatchUp::All => self.each(cursor, latest, since(window.unwrap_or(FORGIVEN))),
        }
    }

    /// Each time up to `latest` that is due since then; those before are missed.
    fn each(&self, cursor: Timestamp, latest: Timestamp, since: Timestamp) -> Owed {
        let since_nominal = before(since.checked_sub(self.offset).unwrap_or(Timestamp::MIN));
        let mut missed = None;
        let mut at = cursor;
        if since_nominal > cursor
            && let Ok(Some(newest)) = self.latest_nominal(cursor, since_nominal.min(latest))
        {
            missed = Some(Nominal { at: newest, missed: self.count(cursor, newest) });
            at = newest;
        }
        let mut fires = Vec::new();
        while fires.len() < AT_ONCE {
            let next = match self.look(at) {
                Ok(Some(next)) if next <= latest => next,
                Ok(_) => break,
                Err(until) => {
                    // As far as is known.
                    at = at.max(until.min(latest));
                    if self.steps_left() == 0 || at == latest {
                        break;
                    }
                    continue;
                }
            };
            // A spread that was cut short made it due earlier than the others.
            if self.due(next) < since {
                let count = missed.map_or(0, |missed: Nominal| missed.missed);
                missed = Some(Nominal { at: next, missed: (count + 1).min(COUNTED) });
            } else {
                fires.push(Nominal { at: next, missed: 0 });
            }
            at = next;
        }
        Owed { fires, missed, cursor: at, more: at < latest }
    }

    /// Some way on from `cursor`, without knowing which time is the latest. The last that is found may be.
    fn onward(&self, cursor: Timestamp, until: Timestamp) -> Owed {
        let owed = self.each(cursor, until, Timestamp::MIN);
        match owed.fires[..] {
            [.., before, _] => Owed { fires: Vec::new(), cursor: before.at, more: true, ..owed },
            _ => owed,
        }
    }

    /// The latest time after `cursor` that is due at `now`.
    fn latest(&self, cursor: Timestamp, now: Timestamp) -> Result<Option<Timestamp>, TooFar> {
        let until = now.checked_sub(self.offset).unwrap_or(Timestamp::MIN);
        let mut latest = self.latest_nominal(cursor, until)?;
        if !self.offset.is_zero() {
            // Those that are due before the spread is over, because another one follows.
            while let Some(next) = self.next(latest.unwrap_or(cursor))
                && self.due(next) <= now
            {
                latest = Some(next);
            }
        }
        Ok(latest)
    }

    /// The latest time after `cursor` and not after `until`.
    pub(super) fn latest_nominal(
        &self,
        cursor: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, TooFar> {
        // What is asked later is known from this, as far as it fires rarely.
        let mut cursor = cursor;
        loop {
            match self.look(cursor) {
                Ok(Some(first)) if first <= until => break,
                Err(none_until) if none_until < until && self.steps_left() == 0 => {
                    return Err(TooFar { none_until });
                }
                Err(none_until) if none_until < until => cursor = none_until,
                _ => return Ok(None),
            }
        }
        for back in BACK {
            let from = until.checked_sub(SignedDuration::from_secs(back)).unwrap_or(cursor).max(cursor);
            let (mut at, mut latest) = (from, None);
            loop {
                match self.look(at) {
                    Ok(Some(next)) if next <= until => {
                        latest = Some(next);
                        at = next;
                    }
                    Ok(_) => break,
                    Err(none_until) if none_until >= until => break,
                    Err(_) if self.steps_left() == 0 => return Err(TooFar { none_until: cursor }),
                    Err(none_until) => at = none_until,
                }
            }
            if latest.is_some() || from == cursor {
                return Ok(latest);
            }
        }
        Ok(None)
    }

    /// How many times there are after `cursor` up to `until`.
    fn count(&self, cursor: Timestamp, until: Timestamp) -> u32 {
        let (mut at, mut count) = (cursor, 0);
        while count < COUNTED
            && let Some(next) = self.next(at).filter(|next| *next <= until)
        {
            at = next;
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::definition::Schedule;
    use super::*;

    const MINUTE: SignedDuration = SignedDuration::from_secs(60);

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn of(schedule: &Schedule) -> Calendar {
        Calendar::of(&schedule.spec, &[b"tenant", b"schedule"]).unwrap()
    }

    fn each_minute() -> Calendar {
        of(&Schedule::new("s", "w").cron("* * * * *").unwrap())
    }

    fn texts(owed: &Owed) -> Vec<String> {
        let of = |nominal: &Nominal| format!("{}+{}", nominal.at.strftime("%H:%M:%S"), nominal.missed);
        let missed = owed.missed.iter().map(|missed| format!("missed {}", of(missed)));
        owed.fires.iter().map(of).chain(missed).collect()
    }

    #[test]
    fn a_schedule_goes_on_behind_times_that_are_left_out_however_many_they_are() {
        let calendar =
            of(&Schedule::new("s", "w").every(Duration::from_secs(10)).except("* * * * SAT,SUN").unwrap());
        // The last run of a Friday.
        let mut cursor = time("2026-11-27T23:59:50Z");
        let mut looks = 0;
        let first = loop {
            let now = calendar.next_due(cursor).expect("it never ends");
            let owed = calendar.owed(CatchUp::Latest, None, cursor, now);
            assert!(owed.cursor > cursor, "each look gets further");
            cursor = owed.cursor;
            looks += 1;
            if let Some(fire) = owed.fires.first() {
                break fire.at;
            }
        };
        assert_eq!((first, looks), (time("2026-11-30T00:00:00Z"), 2), "nothing is computed twice");
    }

    #[test]
    fn the_latest_of_many_times_is_found_although_more_are_left_out_than_a_look_steps_over() {
        // A runner that comes back on a Sunday: 17,280 times a day, and none of them since Friday.
        let calendar =
            of(&Schedule::new("s", "w").every(Duration::from_secs(5)).except("* * * * SAT,SUN").unwrap());
        let (mut cursor, now) = (time("2026-11-27T12:00:00Z"), time("2026-11-29T20:00:00Z"));
        let (mut fired, mut looks) = (Vec::new(), 0);
        while calendar.next_due(cursor).is_some_and(|due| due <= now) {
            calendar.allow(20_000);
            let owed = calendar.owed(CatchUp::Latest, None, cursor, now);
            assert!(owed.cursor > cursor, "each look gets further");
            cursor = owed.cursor;
            fired.extend(owed.fires.iter().map(|fire| fire.at));
            looks += 1;
            calendar.allow(20_000);
        }
        assert_eq!(fired, [time("2026-11-27T23:59:55Z")], "one stands for all");
        assert!(looks < 50, "{looks}");
    }

    #[test]
    fn a_look_takes_no_more_steps_than_it_may() {
        let mut schedule = Schedule::new("s", "w").every(Duration::from_secs(1));
        for _ in 0..20 {
            schedule = schedule.cron("0 0 30 2 *").unwrap();
        }
        let calendar = of(&schedule.except("* * * * *").unwrap());
        let (mut cursor, now) = (time("2026-01-01T00:00:00Z"), time("2026-11-30T00:00:00Z"));
        for _ in 0..3 {
            calendar.allow(20_000);
            let owed = calendar.owed(CatchUp::Latest, None, cursor, now);
            assert_eq!(owed.fires, []);
            assert!(owed.cursor > cursor && owed.cursor < now, "each look gets further: {}", owed.cursor);
            assert!(calendar.next_due(owed.cursor).is_some_and(|due| due <= now), "it is looked at again");
            cursor = owed.cursor;
        }
    }

    #[test]
    fn a_cursor_of_long_ago_does_not_make_it_due_for_ever() {
        let single = of(&Schedule::new("s", "w").at(time("1971-01-01T00:00:00Z")));
        let (cursor, now) = (time("1970-01-02T00:00:00Z"), time("2026-11-30T10:00:00Z"));
        let owed = single.owed(CatchUp::Latest, None, cursor, now);
        assert!(single.next_due(owed.cursor).is_none_or(|due| due > now));
    }

    #[test]
    fn one_run_stands_for_all_that_was_missed() {
        let (cursor, now) = (time("2026-11-30T10:00:00Z"), time("2026-11-30T11:00:30Z"));
        let owed = each_minute().owed(CatchUp::Latest, None, cursor, now);
        assert_eq!(texts(&owed), ["11:00:00+59"]);
        assert_eq!((owed.cursor, owed.more), (time("2026-11-30T11:00:00Z"), false));
        let again = each_minute().owed(CatchUp::Latest, None, owed.cursor, now);
        assert_eq!(texts(&again), [""; 0]);
    }

    #[test]
    fn a_run_outside_its_window_is_missed() {
        let daily = of(&Schedule::new("s", "w").cron("0 2 * * *").unwrap());
        let (cursor, now) = (time("2026-11-28T02:00:00Z"), time("2026-11-30T10:00:00Z"));
        let hours = SignedDuration::from_hours;
        assert_eq!(texts(&daily.owed(CatchUp::Latest, Some(hours(9)), cursor, now)), ["02:00:00+1"]);
        assert_eq!(texts(&daily.owed(CatchUp::Latest, Some(hours(7)), cursor, now)), ["missed 02:00:00+2"]);
    }

    #[test]
    fn a_restart_of_less_than_a_minute_drops_no_run() {
        let tens = of(&Schedule::new("s", "w").every(Duration::from_secs(10)));
        let (cursor, now) = (time("2026-11-30T10:00:00Z"), time("2026-11-30T10:00:45Z"));
        let owed = tens.owed(CatchUp::Nothing, None, cursor, now);
        assert_eq!(texts(&owed), ["10:00:10+0", "10:00:20+0", "10:00:30+0", "10:00:40+0"]);
        let later = tens.owed(CatchUp::Nothing, None, cursor, now + 60 * MINUTE);
        assert_eq!(later.fires.len(), 6);
        assert_eq!(later.missed.map(|missed| missed.missed), Some(358));
        assert_eq!(later.cursor, time("2026-11-30T11:00:40Z"));
    }

    #[test]
    fn all_that_is_in_the_window_is_owed_a_thousand_at_once() {
        let (cursor, now) = (time("2026-11-29T00:00:00Z"), time("2026-11-30T00:00:00Z"));
        let mut owed = each_minute().owed(CatchUp::All, Some(20 * 60 * MINUTE), cursor, now);
        assert_eq!((owed.fires.len(), owed.more), (1_000, true));
        assert_eq!(owed.fires[0].at, time("2026-11-29T04:00:00Z"));
        assert_eq!(owed.missed, Some(Nominal { at: time("2026-11-29T03:59:00Z"), missed: 239 }));
        owed = each_minute().owed(CatchUp::All, Some(20 * 60 * MINUTE), owed.cursor, now);
        assert_eq!((owed.fires.len(), owed.more, owed.missed), (201, false, None));
        assert_eq!(owed.cursor, now);
    }

    #[test]
    fn ten_years_of_seconds_are_not_counted_one_by_one() {
        let seconds = of(&Schedule::new("s", "w").every(Duration::from_secs(1)));
        let (cursor, now) = (time("2016-11-30T00:00:00Z"), time("2026-11-30T00:00:00Z"));
        let owed = seconds.owed(CatchUp::Latest, None, cursor, now);
        assert_eq!((owed.cursor, owed.fires[0].missed), (now, COUNTED - 1));
    }

    #[test]
    fn a_spread_is_stable_and_ends_before_the_next_time() {
        let schedule =
            Schedule::new("s", "w").cron("0 * * * *").unwrap().spread(Duration::from_secs(6 * 3600));
        let whose = |tenant: u8| Calendar::of(&schedule.spec, &[&[tenant], b"schedule"]).unwrap();
        let offsets: Vec<_> = (0..32).map(|tenant| whose(tenant).offset).collect();
        assert!(offsets.iter().all(|offset| *offset < SignedDuration::from_hours(6)));
        assert!(offsets.iter().any(|offset| offset.as_hours() >= 1));
        assert_eq!(offsets, (0..32).map(|tenant| whose(tenant).offset).collect::<Vec<_>>());
        let calendar = (0..32).map(whose).find(|calendar| calendar.offset.as_hours() >= 1).unwrap();
        let cursor = time("2026-11-30T10:00:00Z");
        assert_eq!(calendar.next_due(cursor), Some(time("2026-11-30T11:59:59Z")));
        let early = calendar.owed(CatchUp::Latest, None, cursor, time("2026-11-30T11:59:58Z"));
        assert_eq!(texts(&early), [""; 0]);
        let due = calendar.owed(CatchUp::Latest, None, cursor, time("2026-11-30T11:59:59Z"));
        assert_eq!(texts(&due), ["11:00:00+0"]);
    }

    #[test]
    fn a_clock_that_went_back_owes_nothing_twice() {
        let cursor = time("2026-11-30T10:05:00Z");
        let owed = each_minute().owed(CatchUp::Latest, None, cursor, time("2026-11-30T10:01:00Z"));
        assert_eq!((texts(&owed), owed.cursor), (Vec::<String>::new(), cursor));
    }
}
