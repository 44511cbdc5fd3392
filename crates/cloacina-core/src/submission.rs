//! An execution to be recorded: what can be said about it, and whether it may be.

use std::sync::Arc;

use jiff::Timestamp;

use crate::config::DefaultRunnerConfig;
use crate::context::{Context, ContextError, Values, hash_of, values_to_json};
use crate::error::{ErrorKind, PipelineError};
use crate::hub::{Hub, OpenPlace, Submit, SubmitReply, Submitting, smaller};
use crate::id::ExecutionId;
use crate::runner::Runner;
use crate::store::{Idempotency, NewExecution, NewTask, WorkflowKey};

/// The priorities that an execution may have; the highest is claimed first.
const MAX_PRIORITY: u8 = 9;
const DEFAULT_PRIORITY: u8 = 5;

/// The latest time that anything starts or ends: the beginning of the year 9000.
const LATEST: Timestamp = Timestamp::constant(221_845_392_000, 0);

/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 500;

/// An execution to be recorded: by a runner, or in a transaction of the tenant's data.
#[derive(Debug, Clone)]
#[must_use = "nothing is recorded before `send`"]
pub struct Submission<To = Runner> {
    to: To,
    described: Described,
}

/// What was said about an execution.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Described {
    workflow: String,
    input: Context,
    idempotency_key: Option<String>,
    start_at: Option<Timestamp>,
    deadline: Option<Timestamp>,
    priority: u8,
}

/// Where an execution is recorded.
#[doc(hidden)]
pub trait Destination: Sized {
    /// What is known of it then.
    type Recorded;

    /// Records it.
    fn record(
        self,
        described: Described,
    ) -> impl Future<Output = Result<Self::Recorded, PipelineError>> + Send;
}

/// Whether the first tasks of an execution may be claimed by who records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roots {
    /// If there are slots for them.
    Claimed,
    /// They go to the ready table.
    Left,
}

impl<To> Submission<To> {
    #[doc(hidden)]
    pub fn new(to: To, workflow: impl Into<String>) -> Self {
        let described = Described {
            workflow: workflow.into(),
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

    /// The context that the first tasks are given. Defaults to an empty one.
    pub fn input(mut self, input: Context) -> Self {
        self.described.input = input;
        self
    }

    /// Records the execution only if this tenant has none of this workflow under the same key; otherwise `send` returns that one, or
    /// [`ErrorKind::Conflict`] if its input was another. The order of fields does not matter; `1` and `1.0` are two inputs.
    ///
    /// A key lives as long as its execution is kept: see [`retention`](DefaultRunnerConfig::retention). At most 500 bytes.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.described.idempotency_key = Some(key.into());
        self
    }

    /// Starts the execution not before this time. If that is not before its [deadline](Self::deadline), it never starts.
    pub fn start_at(mut self, start_at: Timestamp) -> Self {
        self.described.start_at = Some(start_at);
        self
    }

    /// Cancels the execution if it is not over by this time. If that has passed when it is submitted, it is recorded and cancelled
    /// without a task having run.
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
    /// Submitted to a runner, it survives a crash when this returns, and a handle on it is returned. Submitted to a transaction, it exists
    /// exactly if the transaction is committed, and its id is returned.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Workflow`] for an unknown workflow, [`ErrorKind::Context`] for an input that cannot be stored,
    /// [`ErrorKind::Configuration`] for a priority above 9 or an unusable key, [`ErrorKind::Conflict`] as said at
    /// [`idempotency_key`](Self::idempotency_key), [`ErrorKind::Limit`] if there are as many executions as may be,
    /// [`ErrorKind::Suspended`] if the tenant may not work, and what is wrong with the database.
    pub async fn send(self) -> Result<To::Recorded, PipelineError> {
        self.to.record(self.described).await
    }
}

impl Described {
    /// Checks all that can be known of it here, and makes what is to be written. The second value is how many executions the tenant may have
    /// that are not over, if that is limited.
    pub(crate) fn check(
        self,
        hub: &Hub,
        place: &Arc<OpenPlace>,
        settings: &DefaultRunnerConfig,
        roots: Roots,
        reply: SubmitReply,
    ) -> Result<(Submit, Option<usize>), PipelineError> {
        let Self { workflow: name, input, idempotency_key, start_at, deadline, priority } = self;
        let tenant = &place.place.name;
        // Before the look at the state, so that the hub does not go to rest between the two.
        let under_way = Submitting::new(place).map_err(|there_are| too_many(there_are, tenant))?;
        let (workflow, mut direct, max_context_bytes, max_queue_length) = {
            let state = place.state();
            place.check_active(&state)?;
            let max_context_bytes = smaller(
                settings.max_context_bytes.min(settings.max_execution_bytes),
                state.status.limits.max_context_bytes,
            );
            let max_queue_length = smaller(
                settings.max_queue_length.unwrap_or(usize::MAX),
                state.status.limits.max_queue_length,
            );
            let Some(workflow) = state.workflows.get(&name) else {
                return Err(unknown_workflow(&name, &state.workflows.names()));
            };
            if workflow.is_operator_only() && state.status.has_login {
                let message = format!(
                    "workflow `{}` is for the operator only and was not submitted: tenant `{tenant}` has a database login of its own; submit it \
                     in a place without one",
                    name.escape_debug(),
                );
                return Err(PipelineError::new(ErrorKind::Workflow, message));
            }
            // What waits in the ready table goes first.
            let direct = roots == Roots::Claimed
                && state.claims()
                && state.backlog.is_none()
                && state.may_start(workflow);
            (Arc::clone(workflow), direct, max_context_bytes, max_queue_length)
        };
        let graph = workflow.graph()?;
        if priority > MAX_PRIORITY {
            let message = format!("priority {priority} is above {MAX_PRIORITY}, the highest");
            return Err(PipelineError::new(ErrorKind::Configuration, message));
        }
        let values = input.into_values()?;
        let json = values_to_json(&values)?;
        if json.len() > max_context_bytes {
            let limit = max_context_bytes;
            return Err(
                ContextError::TooLarge { what: "input of the execution", size: json.len(), limit }.into()
            );
        }
        let idempotency = idempotency_key.map(|key| idempotency(key, &values)).transpose()?;
        let now = hub.clock().database_now().unwrap_or_else(|| hub.clock().now());
        // Only its deadline ends what can begin no earlier.
        let start_at = match deadline {
            Some(deadline) if deadline <= start_at.unwrap_or(now).max(now) => Some(LATEST),
            _ => start_at,
        };
        direct = direct && start_at.is_none();
        let first: Vec<i16> =
            (0..).take(workflow.tasks().len()).filter(|task| graph.dependencies(*task).is_empty()).collect();
        let permits = if direct { place.slots.take(first.len()) } else { Vec::new() };
        let claimed = first[..permits.len()].to_vec();
        let execution = NewExecution {
            id: ExecutionId::new(),
            workflow: WorkflowKey {
                name: Arc::clone(workflow.shared_name()),
                fingerprint: graph.fingerprint(),
            },
            priority: i16::from(priority),
            input: json.into(),
            idempotency,
            start_at: start_at.map(within_reach),
            deadline: deadline.map(within_reach),
            tasks: workflow
                .tasks()
                .iter()
                .zip(0..)
                .map(|(task, position)| NewTask {
                    name: task.id().to_owned(),
                    waiting_on: i16::try_from(graph.dependencies(position).len())
                        .expect("a workflow has at most 10,000 tasks"),
                })
                .collect(),
            claimed,
        };
        let submit = Submit {
            place: Arc::clone(place),
            execution: Arc::new(execution),
            workflow,
            input: values,
            permits,
            reply,
            _under_way: under_way,
            since: hub.clock().monotonic(),
            unsure: false,
            admitted: None,
        };
        Ok((submit, (max_queue_length < usize::MAX).then_some(max_queue_length)))
    }
}

fn too_many(there_are: usize, tenant: &str) -> PipelineError {
    let message = format!(
        "an execution of tenant `{tenant}` was not recorded: {there_are} executions of this process are on their way to the database, as many \
         as may be (max_process_queue); submit it again in a moment, and less at once if this happens often"
    );
    PipelineError::new(ErrorKind::Limit, message)
}

/// The same time as far as anybody will see, and one that every database can keep.
fn within_reach(time: Timestamp) -> Timestamp {
    time.clamp(Timestamp::UNIX_EPOCH, LATEST)
}

fn unknown_workflow(name: &str, known: &[&str]) -> PipelineError {
    let known = match known {
        [] => "this program has none: put `#[workflow]` on the function that builds it".to_owned(),
        known => format!(
            "this program has {}",
            known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        ),
    };
    PipelineError::new(
        ErrorKind::Workflow,
        format!("there is no workflow `{}`; {known}", name.escape_debug()),
    )
}

fn idempotency(key: String, input: &Values) -> Result<Idempotency, PipelineError> {
    let refuse = |reason: &str| {
        Err(PipelineError::new(ErrorKind::Configuration, format!("the idempotency key {reason}")))
    };
    if key.is_empty() {
        return refuse("is empty");
    }
    if key.len() > MAX_KEY {
        return refuse("is longer than 500 bytes: use a hash of it");
    }
    if key.contains('\0') {
        return refuse("contains the character \\u0000, which cannot be stored");
    }
    Ok(Idempotency { key, input_hash: hash_of(input) })
}

/// The execution that was recorded under the idempotency key of this one before, with the hash of its input; if it is the same.
pub(crate) fn same(
    tenant: &str,
    execution: &NewExecution,
    (id, input_hash): (ExecutionId, i64),
) -> Result<ExecutionId, PipelineError> {
    match &execution.idempotency {
        Some(idempotency) if idempotency.input_hash != input_hash => {
            let message = format!(
                "the idempotency key `{}` was used before in tenant `{tenant}` for workflow `{}` with another input (execution {id}): \
                 use another key for another input",
                idempotency.key.escape_debug(),
                execution.workflow.name
            );
            Err(PipelineError::new(ErrorKind::Conflict, message))
        }
        _ => Ok(id),
    }
}
