//! Tells an attempt to stop, and why.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use tokio_util::sync::CancellationToken;

/// Tells an attempt to stop. The first reason counts, unless the task turns out not to be ours any more.
#[derive(Default)]
pub(crate) struct Stop {
    pub(crate) token: CancellationToken,
    reason: AtomicU8,
    attempt: OnceLock<Weak<dyn Stopped>>,
}

/// Why an attempt has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// The task is not ours any more: its execution was cancelled, or the runner was declared dead. Nothing
    /// is recorded.
    Void,
    /// The runner shuts down, or the tenant may not work for a while: what does not finish is given back.
    GiveBack,
}

/// What is told to stop.
pub(crate) trait Stopped: Send + Sync {
    /// It was told to.
    fn stopped(self: Arc<Self>);
}

impl Stop {
    pub(crate) fn stop(&self, reason: StopReason) {
        self.reason.fetch_max(if reason == StopReason::Void { 2 } else { 1 }, Ordering::AcqRel);
        self.token.cancel();
        if let Some(attempt) = self.attempt.get().and_then(Weak::upgrade) {
            attempt.stopped();
        }
    }

    /// Which attempt it stops.
    pub(crate) fn tells(&self, attempt: Weak<dyn Stopped>) {
        self.attempt.get_or_init(|| attempt);
    }

    pub(crate) fn reason(&self) -> Option<StopReason> {
        match self.reason.load(Ordering::Acquire) {
            0 => None,
            1 => Some(StopReason::GiveBack),
            _ => Some(StopReason::Void),
        }
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("reason", &self.reason()).finish_non_exhaustive()
    }
}
