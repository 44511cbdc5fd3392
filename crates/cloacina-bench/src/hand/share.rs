//! How those who work side by side share what there is.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Takes up to `batch` of what is left.
pub(super) fn share(left: &AtomicUsize, batch: usize) -> usize {
    let mut taken = 0;
    // The closure always returns a value, so the update never fails.
    let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        taken = left.min(batch);
        Some(left - taken)
    });
    taken
}
