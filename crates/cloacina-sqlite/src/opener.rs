//! Who has a file open, as the watch over all files knows it.

use async_trait::async_trait;
use cloacina_core::store::Result;

/// What it is asked.
#[async_trait]
pub(crate) trait Opener: Send + Sync {
    /// Looks whether the file is still there, and its log if it is open.
    async fn check(&self) -> Result<()>;

    /// The time of a transaction, and by how much it is ahead of the wall clock.
    fn now_and_ahead(&self) -> (i64, i64);

    /// Hints if somebody else wrote to the file since the engine was last told. False if the writer is busy,
    /// and was not asked.
    fn look_for_others(&self) -> bool;

    /// Closes the file until its next use, because there is no room for it. False if somebody uses it at this
    /// moment.
    fn evict(&self) -> bool;
}
