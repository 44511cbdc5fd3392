//! The watch over attempts whose time is limited.
//!
//! It runs beside the attempts, on the engine's own runtime, so that it sees the time pass whatever a task
//! does to its thread. An attempt that ends in time costs it two short moments under a lock, and does not
//! wake it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, LONGEST_WAIT};
use crate::wake::Wake;

/// When an attempt is due, and a number that tells those of one moment apart.
pub(super) type Key = (Duration, u64);

/// What an attempt is due for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Its timeout has passed: it is told to end.
    Timeout,
    /// Its code had the thread when its timeout passed. If it has not given it back, its end is reported
    /// without it.
    Blocking { turn: u64 },
    /// It was told to end and has not: its future is dropped.
    Grace,
    /// Its future was not dropped, since it blocks its thread: its end is reported without it.
    Report,
}

/// An attempt that is watched.
pub(super) trait Watched: Send + Sync {
    /// Where the watch has it. Written and read under the lock of the watch.
    fn key(&self) -> &Mutex<Option<Key>>;

    /// Its time has come.
    fn is_due(self: Arc<Self>, due: Due);
}

#[derive(Default)]
pub(super) struct Watch {
    attempts: Mutex<Attempts>,
    earlier: Wake,
}

struct Attempts {
    due: BTreeMap<Key, (Arc<dyn Watched>, Due)>,
    number: u64,
    /// Until when the watch waits unless it is woken.
    waits_until: Duration,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { due: BTreeMap::new(), number: 0, waits_until: Duration::MAX }
    }
}

impl Attempts {
    fn remove(&mut self, attempt: &dyn Watched) {
        if let Some(key) = attempt.key().lock().take() {
            self.due.remove(&key);
        }
    }

    /// The first one that is due; otherwise the watch waits for it.
    fn pop(&mut self, now: Duration) -> Result<(Arc<dyn Watched>, Due), Option<Duration>> {
        match self.due.first_entry() {
            Some(first) if first.key().0 <= now => {
                let (attempt, due) = first.remove();
                attempt.key().lock().take();
                Ok((attempt, due))
            }
            first => {
                let next = first.map(|first| first.key().0);
                self.waits_until = next.unwrap_or(Duration::MAX);
                Err(next)
            }
        }
    }
}

impl Watch {
    /// Looks at an attempt after `delay`, and not at what it was watched for before.
    pub(super) fn over(&self, attempt: Arc<dyn Watched>, due: Due, delay: Duration, now: Duration) {
        let at = now + delay.min(LONGEST_WAIT);
        let mut attempts = self.attempts.lock();
        attempts.remove(&*attempt);
        attempts.number += 1;
        let key = (at, attempts.number);
        *attempt.key().lock() = Some(key);
        attempts.due.insert(key, (attempt, due));
        if at < attempts.waits_until {
            attempts.waits_until = at;
            drop(attempts);
            self.earlier.wake();
        }
    }

    /// Looks at an attempt no more.
    pub(super) fn no_more(&self, attempt: &dyn Watched) {
        self.attempts.lock().remove(attempt);
    }

    /// When the first attempt is due that it looks after.
    #[cfg(feature = "testing")]
    pub(super) fn next(&self) -> Option<Duration> {
        self.attempts.lock().due.first_key_value().map(|(key, _)| key.0)
    }

    /// Until it is told to stop and no attempt is left.
    pub(super) async fn run(&self, clock: &dyn Clock, stop: &CancellationToken) {
        loop {
            let next = loop {
                // The lock is not held while an attempt is looked at.
                let first = self.attempts.lock().pop(clock.monotonic());
                match first {
                    Ok((attempt, due)) => attempt.is_due(due),
                    Err(next) => break next,
                }
            };
            let stopped = stop.is_cancelled();
            if stopped && next.is_none() {
                return;
            }
            let timer = async {
                match next {
                    Some(due) => clock.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled(), if !stopped => {}
                () = self.earlier.woken() => {}
                () = timer => {}
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
