//! Durable workflows for many tenants, embedded in your program.

#[doc(hidden)]
pub mod __private;

pub use cloacina_core::execution::TaskInfo;
pub use cloacina_core::workflow::{
    Task, TaskBody, TaskDefinition, WorkflowBuilder, WorkflowError, registered as registered_workflows,
};
pub use cloacina_core::{
    Backoff, Context, ContextError, ErrorKind, Jitter, PipelineError, RetryPolicy, TaskError, TriggerRule,
    Workflow,
};
#[cfg(feature = "macros")]
pub use cloacina_macros::{task, workflow};
