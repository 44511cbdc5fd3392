//! Where time comes from.
//!
//! The engine asks a [`Clock`] and nothing else, so a test can move time by hand. Time that several
//! processes have to agree on is the database's; only a clock that returns something from
//! [`Clock::database_now`] overrides it.

#[cfg(feature = "testing")]
mod manual;

use std::fmt::Debug;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;

#[cfg(feature = "testing")]
pub use manual::ManualClock;

/// Longer than anybody waits, and short enough that no time that is computed with it leaves the range of any
/// database: what is given as a longer wait, `Duration::MAX` say, is this one.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// A source of wall-clock time, monotonic time and waits.
#[async_trait]
pub trait Clock: Debug + Send + Sync + 'static {
    /// The wall-clock time of this process.
    fn now(&self) -> Timestamp;

    /// Time since a fixed moment; never goes back. Only differences mean anything.
    fn monotonic(&self) -> Duration;

    /// Returns once [`monotonic`](Self::monotonic) has reached `deadline`.
    async fn sleep_until(&self, deadline: Duration);

    /// The time that statements use instead of the database's own; `None` in production.
    fn database_now(&self) -> Option<Timestamp>;

    /// Returns after `duration` of monotonic time.
    async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.monotonic() + duration.min(LONGEST_WAIT)).await;
    }
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else asks")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        START.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else asks")]
    async fn sleep_until(&self, deadline: Duration) {
        tokio::time::sleep_until((*START + deadline).into()).await;
    }

    fn database_now(&self) -> Option<Timestamp> {
        None
    }
}
