//! What one run of a workflow is, and what it came to.

mod outcome;
mod result;
mod state;
mod task_info;

pub use outcome::DependencyOutcome;
pub(crate) use outcome::{Before, Outcomes};
pub use result::{AttemptRecord, ExecutionDetails, ExecutionResult, TaskDetails, TaskResult};
pub use state::{AttemptOutcome, ExecutionStatus, SkipReason, TaskState};
pub(crate) use task_info::Emitted;
pub use task_info::{Cancellation, TaskInfo};
