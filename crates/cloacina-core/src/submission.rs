//! An execution to be recorded: what can be said about it, and whether it may be.

use jiff::Timestamp;

use crate::context::{Context, Values, hash_of};
use crate::error::{Error, ErrorKind};
use crate::id::ExecutionId;
use crate::store::{Idempotency, NewExecution};
use crate::workflow::RESERVED;

/// The priority that an execution has unless it is said.
pub(crate) const DEFAULT_PRIORITY: u8 = 5;

/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 500;

/// An execution to be recorded: by a runner, or in a transaction of the tenant's data.
#[derive(Debug, Clone)]
#[must_use = "nothing is recorded before `send`"]
pub struct Submission<To> {
    to: To,
    described: Described,
}

/// What was said about an execution.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Described {
    pub(crate) workflow: String,
    pub(crate) by_name: bool,
    pub(crate) input: Context,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) start_at: Option<Timestamp>,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) priority: u8,
}

/// Where an execution is recorded.
#[doc(hidden)]
pub trait Destination: Sized {
    /// What is known of it then.
    type Recorded;

    /// Records it.
    fn record(self, described: Described) -> impl Future<Output = Result<Self::Recorded, Error>> + Send;
}

impl<To> Submission<To> {
    #[doc(hidden)]
    pub fn new(to: To, workflow: impl Into<String>) -> Self {
        let described = Described {
            workflow: workflow.into(),
            by_name: false,
            input: Context::new(),
            idempotency_key: None,
            start_at: None,
            deadline: None,
            priority: DEFAULT_PRIORITY,
        };
        Self { to, described }
    }

    pub(crate) fn into_parts(self) -> (To, Described) {
        (self.to, self.described)
    }

    /// Records the execution also if this process does not have the workflow, for one that has: the first
    /// runner that has a workflow of this name makes it an execution of its version.
    ///
    /// Until then it is `Pending` and has no tasks, and whether the name is right cannot be known. If no live
    /// runner has a workflow of this name, the log says so. Where a runner that runs tasks is open on the
    /// place, the execution is paused after [`orphan_grace`](crate::RunnerConfig::orphan_grace), and resumed
    /// when such a workflow comes; elsewhere it waits. A process that has the workflow submits as without
    /// this.
    pub fn by_name(mut self) -> Self {
        self.described.by_name = true;
        self
    }

    /// The context that the first tasks are given. Defaults to an empty one.
    pub fn input(mut self, input: Context) -> Self {
        self.described.input = input;
        self
    }

    /// Records the execution only if this tenant has none of this workflow under the same key; otherwise
    /// `send` returns that one, or [`ErrorKind::Conflict`] if its input was another. The order of fields does
    /// not matter; `1` and `1.0` are two inputs.
    ///
    /// A key lives as long as its execution is kept: see [`retention`](crate::RunnerConfig::retention). At
    /// most 500 bytes; keys that begin with `cloacina/` are the engine's.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.described.idempotency_key = Some(key.into());
        self
    }

    /// Starts the execution not before this time. If that is not before its [deadline](Self::deadline), it
    /// never starts.
    pub fn start_at(mut self, start_at: Timestamp) -> Self {
        self.described.start_at = Some(start_at);
        self
    }

    /// Cancels the execution if it is not over by this time. If that has passed when it is submitted, it is
    /// recorded and cancelled without a task having run.
    pub fn deadline(mut self, deadline: Timestamp) -> Self {
        self.described.deadline = Some(deadline);
        self
    }

    /// From 0 to 9; when tasks have to wait for a slot, those of a higher priority go first. Defaults to 5.
    pub fn priority(mut self, priority: u8) -> Self {
        self.described.priority = priority;
        self
    }
}

impl<To: Destination> Submission<To> {
    /// Records the execution.
    ///
    /// Submitted to a runner, it survives a crash when this returns, and a handle on it is returned.
    /// Submitted to a transaction, it exists exactly if the transaction is committed, and its id is returned.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Workflow`] for a workflow that this process does not have, unless it is submitted
    /// [by name](Self::by_name), [`ErrorKind::Context`] for an input that cannot be
    /// stored, [`ErrorKind::Configuration`] for a priority above 9 or an unusable key,
    /// [`ErrorKind::Conflict`] as said at [`idempotency_key`](Self::idempotency_key), [`ErrorKind::Limit`] if
    /// there are as many executions as may be, [`ErrorKind::Suspended`] if the tenant may not work, and what
    /// is wrong with the database.
    pub async fn send(self) -> Result<To::Recorded, Error> {
        self.to.record(self.described).await
    }
}

/// A key that was given, with the hash of the input.
pub(crate) fn idempotency(key: String, input: &Values) -> Result<Idempotency, Error> {
    let refuse =
        |reason: &str| Err(Error::new(ErrorKind::Configuration, format!("the idempotency key {reason}")));
    if key.is_empty() {
        return refuse("is empty");
    }
    if key.len() > MAX_KEY {
        return refuse("is longer than 500 bytes: use a hash of it");
    }
    if key.starts_with(RESERVED) {
        return refuse("begins with `cloacina/`, as only keys of the engine do: begin it otherwise");
    }
    if key.contains('\0') {
        return refuse("contains the character \\u0000, which cannot be stored");
    }
    Ok(Idempotency { key, input_hash: hash_of(input) })
}

/// The execution that was recorded under the idempotency key of this one before, with the hash of its input;
/// if it is the same.
pub(crate) fn same(
    tenant: &str,
    execution: &NewExecution,
    (id, input_hash): (ExecutionId, i64),
) -> Result<ExecutionId, Error> {
    match &execution.idempotency {
        Some(idempotency) if idempotency.input_hash != input_hash => {
            let message = format!(
                "the idempotency key `{}` was used before in tenant `{tenant}` for workflow `{}` with another input (execution {id}): \
                 use another key for another input",
                idempotency.key.escape_debug(),
                execution.workflow.name
            );
            Err(Error::new(ErrorKind::Conflict, message))
        }
        _ => Ok(id),
    }
}
