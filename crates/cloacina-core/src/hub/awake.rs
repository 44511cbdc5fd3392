//! Whether a hub rests, and how much has happened.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;

/// Whether a hub [rests](super::rest).
#[derive(Debug)]
pub(super) struct Awake {
    awake: watch::Sender<bool>,
    /// Counts what happened.
    stirs: AtomicU64,
    /// Whether the runner is being registered again.
    pub(super) rousing: AtomicBool,
}

impl Default for Awake {
    fn default() -> Self {
        Self { awake: watch::Sender::new(true), stirs: AtomicU64::new(0), rousing: AtomicBool::new(false) }
    }
}

impl Awake {
    /// Notes that something happened, so that there is no rest for a while.
    pub(super) fn stir(&self) {
        self.stirs.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stirs(&self) -> u64 {
        self.stirs.load(Ordering::Relaxed)
    }

    pub(super) fn is_awake(&self) -> bool {
        *self.awake.borrow()
    }

    pub(super) fn awaken(&self) {
        self.stir();
        self.awake.send_if_modified(|awake| !std::mem::replace(awake, true));
    }

    pub(super) fn set(&self, awake: bool) {
        self.awake.send_replace(awake);
    }

    /// Returns once the hub does not rest.
    pub(super) async fn awake(&self) {
        if !self.is_awake() {
            // The sender is ours, so there is an answer.
            drop(self.awake.subscribe().wait_for(|awake| *awake).await);
        }
    }
}
