//! The watch over attempts whose time is limited.
//!
//! It runs beside the attempts, on the engine's own runtime, so that it sees the time pass whatever a task does to its thread. An attempt
//! that ends in time costs it two short moments under a lock, and does not wake it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Hub;
use super::attempt::Running;
use crate::clock::LONGEST_WAIT;
use crate::wake::Wake;

/// When an attempt is due, and a number that tells those of one moment apart.
pub(super) type Key = (Duration, u64);

/// What an attempt is due for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Its timeout has passed: it is told to end.
    Timeout,
    /// Its code had the thread when its timeout passed. If it has not given it back, its end is reported without it.
    Blocking { turn: u64 },
    /// It was told to end and has not: its future is dropped.
    Grace,
    /// Its future was not dropped, since it blocks its thread: its end is reported without it.
    Report,
}

#[derive(Default)]
pub(super) struct Watch {
    attempts: Mutex<Attempts>,
    earlier: Wake,
}

struct Attempts {
    due: BTreeMap<Key, (Arc<Running>, Due)>,
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
    fn remove(&mut self, attempt: &Running) {
        if let Some(key) = attempt.watched.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.due.remove(&key);
        }
    }

    /// The first one that is due; otherwise the watch waits for it.
    fn pop(&mut self, now: Duration) -> Result<(Arc<Running>, Due), Option<Duration>> {
        match self.due.first_entry() {
            Some(first) if first.key().0 <= now => {
                let (attempt, due) = first.remove();
                attempt.watched.lock().unwrap_or_else(PoisonError::into_inner).take();
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
    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// Looks at an attempt after `delay`, and not at what it was watched for before.
    pub(super) fn watch_over(&self, attempt: &Arc<Running>, due: Due, delay: Duration) {
        let at = self.clock.monotonic() + delay.min(LONGEST_WAIT);
        let mut attempts = self.watch.attempts();
        attempts.remove(attempt);
        attempts.number += 1;
        let key = (at, attempts.number);
        *attempt.watched.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        attempts.due.insert(key, (Arc::clone(attempt), due));
        if at < attempts.waits_until {
            attempts.waits_until = at;
            drop(attempts);
            self.watch.earlier.wake();
        }
    }

    /// Looks at an attempt no more.
    pub(super) fn watch_no_more(&self, attempt: &Running) {
        self.watch.attempts().remove(attempt);
    }

    /// Until the hub has been told to stop and no attempt is left.
    pub(super) async fn watch_attempts(self: Arc<Self>) {
        loop {
            let next = loop {
                // The lock is not held while an attempt is looked at.
                let first = self.watch.attempts().pop(self.clock.monotonic());
                match first {
                    Ok((attempt, due)) => attempt.is_due(due),
                    Err(next) => break next,
                }
            };
            let stopped = self.stop.is_cancelled();
            if stopped && next.is_none() {
                return;
            }
            let timer = async {
                match next {
                    Some(due) => self.clock.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.stop.cancelled(), if !stopped => {}
                () = self.watch.earlier.woken() => {}
                () = timer => {}
            }
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}
