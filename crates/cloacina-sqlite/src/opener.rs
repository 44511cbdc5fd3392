//! Who has a file open, as the watch over all files knows it.

/// What it is asked.
pub(crate) trait Opener: Send + Sync {
    /// Hints if somebody else wrote to the file since this was asked last. False if the writer is busy, and was not asked.
    fn look_for_others(&self) -> bool;

    /// Closes the file until its next use, because there is no room for it. False if somebody uses it at this moment.
    fn evict(&self) -> bool;
}
