//! What a test has to say about attempts.

use std::fmt;

use async_trait::async_trait;

use crate::error::TaskError;
use crate::execution::TaskInfo;

/// Says of each attempt when its code may begin, and whether it may.
#[async_trait]
pub trait Script: Send + Sync + fmt::Debug + 'static {
    /// Returns when the code of this attempt may begin. After an error it does not: the attempt fails with
    /// it.
    ///
    /// This belongs to the attempt: its timeout counts, and it is dropped as the code would be.
    async fn begin(&self, attempt: &TaskInfo) -> Result<(), TaskError>;
}
