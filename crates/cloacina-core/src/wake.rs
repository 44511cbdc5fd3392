//! A wake-up call for one background task.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Wakes the one task that waits on it. One that is woken only [if armed](Self::wake_if_armed) costs the
/// callers next to nothing while nobody wants to know.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    armed: AtomicBool,
    notify: Notify,
}

impl Wake {
    /// Asks to be woken by the next [`wake_if_armed`](Self::wake_if_armed).
    pub(crate) fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn wake_if_armed(&self) {
        if self.armed.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    pub(crate) fn wake(&self) {
        self.notify.notify_one();
    }

    pub(crate) async fn woken(&self) {
        self.notify.notified().await;
    }
}
