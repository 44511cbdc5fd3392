//! A clock that a test moves by hand.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

use super::Clock;

/// The instant at which a [`ManualClock`] starts, in seconds since 1970: 2025-06-15 15:06:40 UTC.
const START: i64 = 1_750_000_000;

/// A clock that stands still until a test moves it.
///
/// Clones share the time. The database is told this time as well, so that everything in a test lives at one
/// moment.
///
/// Whoever wants to see a wait end first awaits [`sleepers`](Self::sleepers) and then
/// [`advance`](Self::advance)s; no test sleeps itself.
#[derive(Debug, Clone)]
pub struct ManualClock {
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    now: Timestamp,
    monotonic: Duration,
    sleepers: usize,
}

impl ManualClock {
    /// A clock at its fixed start.
    #[must_use]
    pub fn new() -> Self {
        let now = Timestamp::from_second(START).expect("the start is within the range of timestamps");
        Self { state: Arc::new(watch::Sender::new(State { now, monotonic: Duration::ZERO, sleepers: 0 })) }
    }

    /// Moves wall-clock and monotonic time forward. Sleepers whose time has come wake.
    pub fn advance(&self, by: Duration) {
        self.state.send_modify(|state| {
            state.now += by;
            state.monotonic += by;
        });
    }

    /// Moves both forward to this time of the wall clock. A time that is over changes nothing.
    pub fn advance_to(&self, time: Timestamp) {
        self.state.send_if_modified(|state| {
            let Ok(by) = Duration::try_from(time.duration_since(state.now)) else { return false };
            state.now = time;
            state.monotonic += by;
            !by.is_zero()
        });
    }

    /// Sets the wall clock, also back, as an administrator may. Monotonic time does not move, so nobody
    /// wakes.
    pub fn set(&self, now: Timestamp) {
        self.state.send_modify(|state| state.now = now);
    }

    /// Returns as soon as at least `count` sleepers wait for a time that has not come.
    pub async fn sleepers(&self, count: usize) {
        self.state
            .subscribe()
            .wait_for(|state| state.sleepers >= count)
            .await
            .expect("the clock that is borrowed here holds the sender");
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state.borrow().now
    }

    fn monotonic(&self) -> Duration {
        self.state.borrow().monotonic
    }

    async fn sleep_until(&self, deadline: Duration) {
        if self.monotonic() >= deadline {
            return;
        }
        let mut changes = self.state.subscribe();
        let _sleeper = Sleeper::new(&self.state);
        changes
            .wait_for(|state| state.monotonic >= deadline)
            .await
            .expect("the clock that is borrowed here holds the sender");
    }

    fn database_now(&self) -> Option<Timestamp> {
        Some(self.now())
    }
}

/// Counts one sleeper for as long as it sleeps, also if its future is dropped.
struct Sleeper<'a> {
    state: &'a watch::Sender<State>,
}

impl<'a> Sleeper<'a> {
    fn new(state: &'a watch::Sender<State>) -> Self {
        state.send_modify(|state| state.sleepers += 1);
        Self { state }
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.state.send_modify(|state| state.sleepers -= 1);
    }
}
