//! The runner under its other name.

/// [`Runner`](crate::runner::Runner) under its other name.
pub mod unified_executor {
    pub use crate::runner::{Runner as UnifiedExecutor, RunnerBuilder as UnifiedExecutorBuilder};
}
