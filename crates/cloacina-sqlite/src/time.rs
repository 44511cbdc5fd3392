//! What time it is in a file.
//!
//! Times are kept as the wall clock says them, and the wall clock of a machine may be set. So the time of a
//! file follows the wall clock forward, and goes on by itself where that is set back: what is due in four
//! seconds is due in four seconds. A file remembers the latest time that a runner wrote to it, and opened
//! again it goes on from there.
//!
//! What a user names, a start or a deadline, is a time of the wall clock, and is moved by as much as the file
//! is ahead of it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use cloacina_core::clock::{Clock, SystemClock};
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;

use crate::error::Failure;

const PLACE_LATEST: &str = include_str!("../sql/place_latest.sql");
const PLACE_PASSED: &str = include_str!("../sql/place_passed.sql");

/// By how much the wall clock may be behind without having been set: the file's time waits for it.
const TOLERANCE: i64 = 5_000_000;

/// By how much the wall clock may have gone ahead of what the file remembers, beside the time that this
/// process has run, for what is over to be deleted by it.
const BELIEVED: i64 = 24 * 3_600_000_000;

/// No file is believed to come from further in the future.
const FURTHEST: i64 = 366 * BELIEVED;

pub(crate) struct FileClock {
    state: Mutex<State>,
    /// Added to the wall clock; for tests.
    shift: AtomicI64,
}

struct State {
    /// The latest time that was told, and when.
    latest: i64,
    told: Instant,
    /// The latest time in the file when it was opened, and when that was.
    found: i64,
    opened: Instant,
}

impl FileClock {
    /// The clock of a file with this latest time in it; 0 for none.
    pub(crate) fn new(found: i64) -> Self {
        let wall = wall();
        if found > wall.saturating_add(TOLERANCE) {
            let behind = Duration::from_micros(found.saturating_sub(wall).unsigned_abs());
            tracing::warn!(
                ?behind,
                "the clock of this machine is behind the latest time in a SQLite file, which goes on from there"
            );
        }
        let opened = Instant::now();
        let latest = found.min(wall.saturating_add(FURTHEST));
        let found = if found > 0 { latest } else { wall };
        Self { state: Mutex::new(State { latest, told: opened, found, opened }), shift: AtomicI64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn wall(&self) -> i64 {
        wall().saturating_add(self.shift.load(Ordering::Relaxed))
    }

    /// Sets the wall clock of this file forward or back.
    pub(crate) fn shift(&self, micros: i64) {
        self.shift.fetch_add(micros, Ordering::Relaxed);
    }

    /// The time, which never goes back.
    pub(crate) fn now(&self) -> i64 {
        self.now_and_ahead().0
    }

    /// The time, and by how much it is ahead of the wall clock because that was set back.
    pub(crate) fn now_and_ahead(&self) -> (i64, i64) {
        let mut state = self.lock();
        let wall = self.wall();
        let steady = state.latest.saturating_add(micros_of(state.told.elapsed()));
        let (now, ahead) = match steady.saturating_sub(wall) {
            ahead if ahead > TOLERANCE => (steady, ahead),
            _ => (wall.max(state.latest), 0),
        };
        state.latest = now;
        state.told = Instant::now();
        (now, ahead)
    }

    /// The time by which what is over may be deleted.
    pub(crate) fn believed(&self) -> i64 {
        let now = self.now();
        let state = self.lock();
        let since = micros_of(state.opened.elapsed());
        now.min(state.found.saturating_add(since).saturating_add(BELIEVED))
    }

    /// Takes a later time over that somebody else wrote to the file meanwhile.
    pub(crate) fn raise(&self, found: i64) {
        let furthest = self.wall().saturating_add(FURTHEST);
        let mut state = self.lock();
        if found.min(furthest) > state.latest {
            state.latest = found.min(furthest);
            state.told = Instant::now();
        }
    }
}

/// The time of a transaction, as it is stored.
pub(crate) fn micros(now: Option<Timestamp>) -> i64 {
    now.unwrap_or_else(|| SystemClock.now()).as_microsecond()
}

fn wall() -> i64 {
    SystemClock.now().as_microsecond()
}

fn micros_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The latest time that a runner wrote to the file; 0 if none did.
pub(crate) fn latest(connection: &Connection) -> Result<i64, Failure> {
    Ok(connection.prepare_cached(PLACE_LATEST)?.query_row([], |row| row.get(0))?)
}

/// Has the file remember that it was this late, after the row of a runner with its time in it is gone.
pub(crate) fn passed(connection: &Connection, now: i64) -> Result<(), Failure> {
    connection.prepare_cached(PLACE_PASSED)?.execute([now])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;
    const SECOND: i64 = 1_000_000;

    #[test]
    fn time_goes_on_when_the_wall_clock_is_set_back() {
        let clock = FileClock::new(0);
        let before = clock.now();
        clock.shift(-HOUR);
        let (now, ahead) = clock.now_and_ahead();
        assert!((before..before + 60 * SECOND).contains(&now));
        assert!((HOUR - 60 * SECOND..=HOUR + SECOND).contains(&ahead), "{ahead}");
        clock.shift(2 * HOUR);
        let (later, ahead) = clock.now_and_ahead();
        assert!(later >= before + HOUR && ahead == 0, "it follows the wall clock forward");
    }

    #[test]
    fn time_goes_on_from_the_latest_in_the_file() {
        let ahead = wall() + HOUR;
        assert!(FileClock::new(ahead).now() >= ahead);
        let absurd = FileClock::new(i64::MAX);
        assert!(absurd.now() <= wall() + FURTHEST + HOUR, "nobody's rows move it out of the calendar");
    }

    #[test]
    fn what_is_over_is_not_deleted_by_a_clock_that_jumped() {
        let clock = FileClock::new(0);
        assert_eq!(clock.believed() / HOUR, clock.now() / HOUR);
        clock.shift(30 * 24 * HOUR);
        assert!(clock.believed() < wall() + 25 * HOUR);
        let old = FileClock::new(wall() - 30 * 24 * HOUR);
        assert!(
            old.believed() < wall() - 28 * 24 * HOUR,
            "the file was last written a month ago, as far as it knows"
        );
    }
}
