//! The runner under its other name.

/// [`DefaultRunner`](crate::runner::DefaultRunner) under its other name.
pub mod unified_executor {
    pub use crate::runner::{
        DefaultRunner as UnifiedExecutor, DefaultRunnerBuilder as UnifiedExecutorBuilder,
    };
}
