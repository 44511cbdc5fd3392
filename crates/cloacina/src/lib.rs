//! Durable workflows for many tenants, embedded in your program.
//!
//! Tasks are async functions, workflows are graphs of them, and every step survives a crash in a database
//! that you already run: a SQLite file, or PostgreSQL.
//!
//! ```standalone_crate
//! # #[cfg(all(feature = "macros", feature = "sqlite"))]
//! # mod example {
//! use cloacina::{Context, Error, Runner, TaskError, Workflow, task, workflow};
//!
//! #[task(retry(attempts = 5), timeout = "30s")]
//! async fn charge(context: &mut Context) -> Result<(), TaskError> {
//!     let cents: u32 = context.try_get("cents")?;
//!     // The same in every attempt: a bank that knows it charges once.
//!     let token = context.task().idempotency_token();
//!     context.set("payment", format!("{cents} cents, {token}"));
//!     Ok(())
//! }
//!
//! #[task(dependencies = [charge])]
//! async fn receipt(context: &mut Context) -> Result<(), TaskError> {
//!     let payment: String = context.try_get("payment")?;
//!     context.set("receipt", format!("with thanks: {payment}"));
//!     Ok(())
//! }
//!
//! #[workflow]
//! fn order() -> Workflow {
//!     Workflow::builder("order").task(charge).task(receipt).build()
//! }
//!
//! # pub
//! async fn sell() -> Result<(), Error> {
//!     let acme = Runner::new("sqlite::memory:").await?; // or sqlite://./acme.db, postgresql://…
//!     let result = acme.execute("order", Context::new().with("cents", 500)).await?;
//!     assert!(result.status.is_success());
//!     acme.shutdown().await
//! }
//! # }
//! # #[cfg(all(feature = "macros", feature = "sqlite"))]
//! # #[tokio::main]
//! # async fn main() { example::sell().await.unwrap() }
//! # #[cfg(not(all(feature = "macros", feature = "sqlite")))]
//! # fn main() {}
//! ```
//!
//! # Where to look
//!
//! | for | look at |
//! |---|---|
//! | tasks and workflows | [`Context`], [`TaskError`], [`TaskInfo`], [`Workflow`], [`TriggerRule`], [`RetryPolicy`] |
//! | waits, children and maps | [`Wait`], [`Ask`], [`Item`], [`Signal`] |
//! | one execution | [`Execution`], [`ExecutionResult`], [`rerun`] |
//! | schedules | [`Schedule`], [`Schedules`] |
//! | errors | [`Error`], [`ErrorKind`] |
//! | who did what, and who may | [`audit`], [`keys`] |
#![cfg_attr(
    feature = "macros",
    doc = "| the macros | [`#[task]`](macro@task), [`#[workflow]`](macro@workflow) |"
)]
#![cfg_attr(
    any(feature = "sqlite", feature = "postgres"),
    doc = "| running them | [`Runner`], [`RunnerConfig`], [`tenants`] for many tenants |"
)]
#![cfg_attr(feature = "postgres", doc = "| tenants with database logins of their own | [`database`] |")]
#![cfg_attr(
    all(feature = "data", any(feature = "sqlite", feature = "postgres")),
    doc = "| tenants' own tables | [`data`], [`data::TenantDb`], [`data::TenantTx`] |"
)]
#![cfg_attr(feature = "testing", doc = "| tests that skip time | [`testing`] |")]
//!
//! The book in `docs` of the repository starts with ten minutes for newcomers, and has a reference of all
//! settings, errors, metrics and views.
//!
//! # Features
//!
//! | feature | what it brings | on by default |
//! |---|---|---|
//! | `sqlite` | places in SQLite files | yes |
//! | `macros` | `#[task]` and `#[workflow]` | yes |
//! | `postgres` | places in PostgreSQL databases, tenants with logins of their own; it brings TLS along | no |
//! | `data` | tenants' own tables, on SeaORM | no |
//! | `opentelemetry` | traces over processes | no |
//! | `testing` | for tests: a runner whose time the test moves | no |
//!
//! Without a database there is no runner, only what workflows are made of.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(hidden)]
pub mod __private;
#[cfg(all(feature = "data", any(feature = "sqlite", feature = "postgres")))]
pub mod data;
#[cfg(feature = "postgres")]
pub mod database;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod executor;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod runner;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod tenants;
#[cfg(feature = "testing")]
pub mod testing;

/// Keys that let programs and people in that use a service built on this, and the sessions made from them.
///
/// ```
/// use cloacina::keys::{KeyHash, KeyId, NewKey};
///
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main]
/// # async fn main() -> Result<(), cloacina::Error> {
/// # let runner = cloacina::Runner::new("sqlite::memory:").await?;
/// # let sha256_of_the_secret = [7; 32];
/// let key = NewKey {
///     id: KeyId::new(),
///     hash: KeyHash(sha256_of_the_secret),
///     parent: None,
///     tenant: None,
///     role: "operator".to_owned(),
///     payloads: false,
///     name: "night shift".to_owned(),
///     created_by: "ada".to_owned(),
///     expires_at: None,
/// };
/// let kept = runner.keys().insert(key).await?;
/// let found = runner.keys().find(kept.id.as_str()).await?;
/// assert_eq!(found.map(|key| key.hash), Some(KeyHash(sha256_of_the_secret)));
/// # runner.shutdown().await
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
pub mod keys {
    pub use cloacina_core::Keys;
    pub use cloacina_core::store::{KeyHash, KeyId, KeyRecord, NewKey};
}

/// Who did what by name: see [`Runner::acting`].
///
/// ```
/// use cloacina::audit::Actor;
/// use cloacina::{Context, Error, Runner};
///
/// # async fn stop(runner: &Runner, id: cloacina::Uuid) -> Result<(), Error> {
/// let ada = Actor::new("ada").role("operator").reason("charged twice");
/// runner.acting(ada).execution(id).cancel().await?;
/// let row = &runner.audit(None, 1).await?[0];
/// assert_eq!((row.actor.as_str(), row.action.as_str()), ("ada", "cancel"));
/// assert_eq!(runner.audit_verify().await?.broken_at, None);
/// # Ok(()) }
/// ```
pub mod audit {
    pub use cloacina_core::store::{Actor, AuditRecord, AuditVerdict};
}

/// Executions that are run again, from where they failed or from elsewhere.
pub mod rerun {
    pub use cloacina_core::rerun::{From, Rerun};
}

pub use cloacina_core::execution::{
    AttemptOutcome, AttemptRecord, Cancellation, DependencyOutcome, ExecutionDetails, ExecutionResult,
    ExecutionStatus, SkipReason, TaskDetails, TaskInfo, TaskResult, TaskState,
};
pub use cloacina_core::store::{ExecutionFilter, FireOutcome, FireRecord, ScheduleState};
pub use cloacina_core::workflow::{
    Ask, Fingerprint, OnTimeout, ParentClose, Task, TaskBody, TaskDefinition, TaskDescription, TaskKind,
    Tolerance, Wait, WorkflowBuilder, WorkflowDescription, WorkflowError, WorkflowInfo,
    registered as registered_workflows,
};
pub use cloacina_core::{
    BULK, Backfill, Backoff, Bulk, BulkAction, BulkReport, BulkRun, ByKey, CatchUp, Child, Context,
    ContextError, Cursor, Error, ErrorKind, Execution, Fire, Input, Item, Jitter, Missed, Overdue,
    OverdueSchedule, Overlap, Parent, Progress, Redo, Results, Retention, RetryPolicy, RunnerInfo, Schedule,
    ScheduleInfo, Schedules, Signal, SignalReceipt, Submission, Submissions, TaskError, TenantLabel,
    TriggerRule, Triggered, Waiting, Workflow, join_all, label_tenants,
};
/// A point in time: when something began or ended, or is to start.
#[doc(no_inline)]
pub use jiff::Timestamp;
/// The id of an execution, or an idempotency token.
#[doc(no_inline)]
pub use uuid::Uuid;

#[cfg(feature = "macros")]
pub use cloacina_macros::{task, workflow};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use runner::{Runner, RunnerConfig};

/// These types under their other names.
#[doc(no_inline)]
pub use cloacina_core::{
    Error as PipelineError, Execution as PipelineExecution,
    execution::{ExecutionResult as PipelineResult, ExecutionStatus as PipelineStatus},
};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[doc(no_inline)]
pub use runner::{DefaultRunner, DefaultRunnerConfig};

#[cfg(all(doctest, feature = "macros", feature = "sqlite"))]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "macros", feature = "sqlite", feature = "postgres"))]
mod guides {
    #[doc = include_str!("../../../docs/guides/first-steps.md")]
    struct FirstSteps;
    #[doc = include_str!("../../../docs/guides/workflows.md")]
    struct Workflows;
    #[doc = include_str!("../../../docs/guides/patterns.md")]
    struct Patterns;
    #[doc = include_str!("../../../docs/guides/deploying.md")]
    struct Deploying;
    #[doc = include_str!("../../../docs/guides/multi-tenant.md")]
    struct MultiTenant;
    #[doc = include_str!("../../../docs/guides/credentials.md")]
    struct Credentials;
    #[doc = include_str!("../../../docs/guides/recovery.md")]
    struct Recovery;
    #[doc = include_str!("../../../docs/guides/placement.md")]
    struct Placement;
    #[doc = include_str!("../../../docs/guides/tasks.md")]
    struct Tasks;
    #[doc = include_str!("../../../docs/guides/waiting.md")]
    struct Waiting;
    #[doc = include_str!("../../../docs/guides/rerun.md")]
    struct Rerun;
    #[doc = include_str!("../../../docs/guides/fan-out.md")]
    struct FanOut;
    #[doc = include_str!("../../../docs/guides/schedules.md")]
    struct Schedules;
    #[doc = include_str!("../../../docs/guides/testing.md")]
    struct Testing;
    #[doc = include_str!("../../../docs/guides/observe.md")]
    struct Observe;
    #[cfg(feature = "data")]
    #[doc = include_str!("../../../docs/guides/tenant-data.md")]
    struct TenantData;
}
