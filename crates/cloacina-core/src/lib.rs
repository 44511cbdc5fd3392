//! The engine of Cloacina: durable workflows for many tenants.
//!
//! This crate decides; it knows no SQL, no HTTP and no wall clock. What it needs of a database is the trait
//! [`store::Store`]; what it needs of time is the trait [`clock::Clock`]. Users depend on the crate
//! `cloacina`, which brings the two together.

// The rows of the store in memory, which the tests of the kernel share, name this crate as others do.
#[cfg(test)]
extern crate self as cloacina_core;

mod audit;
pub mod backoff;
mod blocking;
mod bulk;
mod children;
pub mod clock;
mod config;
mod contained;
mod context;
mod cursor;
mod emit;
mod error;
pub mod execution;
mod hub;
pub mod id;
mod json;
mod keys;
mod label;
pub mod lease;
#[doc(hidden)]
pub mod meant;
mod meters;
mod metrics;
mod origin;
mod overdue;
mod pruning;
pub mod rerun;
mod reserved;
mod resources;
mod retention;
mod retry;
mod rule;
mod runner;
mod runners;
pub(crate) mod schedule;
mod schedules;
#[cfg(feature = "testing")]
mod script;
mod signal;
mod slots;
mod state;
pub mod store;
pub mod streak;
mod submission;
mod trace;
mod wake;
pub mod workflow;

pub use audit::{audit_list, audit_verify};
#[doc(hidden)]
pub use bulk::bulk_workflow;
pub use bulk::{BULK, Bulk, BulkAction, BulkReport, BulkRun};
pub use children::{Child, Item, Progress, Results};
pub use config::{RunnerConfig, RunnerConfigBuilder};
pub use context::{Context, ContextError, Values};
pub use cursor::Cursor;
#[doc(hidden)]
pub use error::Carried;
pub use error::{Error, ErrorKind, TaskError};
#[doc(hidden)]
pub use hub::summary_of;
pub use hub::{Completion, Deferred, Hub, Prepared, Recording, Submitter, Writing};
#[cfg(feature = "testing")]
pub use hub::{Doing, RunningTask};
pub use keys::Keys;
pub use label::{TenantLabel, label_tenants};
#[doc(hidden)]
pub use meters::note_behind;
pub use metrics::TenantMetrics;
pub use origin::Parent;
pub use overdue::{Overdue, OverdueSchedule};
#[doc(hidden)]
pub use pruning::Pruning;
pub use resources::Resources;
pub use retention::Retention;
pub use retry::{Backoff, Jitter, RetryPolicy};
pub use rule::TriggerRule;
pub use runner::{Execution, PlaceRunner, join_all};
pub use runners::RunnerInfo;
pub use schedule::{CatchUp, Fire, Missed, Overlap, Redo, Schedule};
pub use schedules::{Backfill, ScheduleInfo, Schedules, Triggered};
#[cfg(feature = "testing")]
pub use script::Script;
pub use signal::{ByKey, Carrier, Signal, SignalReceipt, Waiting};
pub use state::{Shared, State};
pub use submission::{Described, Destination, Input, StartsChildren, Submission, Submissions};
pub use workflow::Workflow;
