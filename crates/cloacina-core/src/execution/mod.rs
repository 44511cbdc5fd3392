//! What one run of a workflow is, and what it came to.

mod result;
mod state;
mod task_info;

pub use result::{AttemptRecord, ExecutionResult, TaskResult};
pub use state::{AttemptOutcome, ExecutionStatus, SkipReason, TaskState};
pub use task_info::{Cancellation, TaskInfo};
