//! What a running task can learn about itself.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::outcome::{DependencyOutcome, Outcomes};
use crate::id::TenantId;
use crate::origin::{Origin, Parent};
use crate::resources::Resources;
use crate::schedule::Fire;
use crate::state::State;
use crate::store::Place;

/// What runs: which task of which execution, for which time.
#[derive(Clone)]
pub struct TaskInfo {
    pub(crate) execution_id: Uuid,
    pub(crate) workflow: String,
    pub(crate) task_id: String,
    pub(crate) attempt: u32,
    pub(crate) cancellation: Cancellation,
    pub(crate) place: Arc<Place>,
    pub(crate) resources: Option<Arc<dyn Resources>>,
    pub(crate) origin: Origin,
    pub(crate) state: State,
    /// What its execution was given.
    pub(crate) input: Arc<BTreeMap<String, Value>>,
    /// How those before it ended.
    pub(crate) outcomes: Outcomes,
    /// What a test says the children of nodes came to.
    pub(crate) given: HashMap<String, Vec<Result<Value, String>>>,
    /// What the engine that runs it needs to know of it.
    pub(crate) engine: Arc<dyn Any + Send + Sync>,
}

impl TaskInfo {
    /// What a task is told in a unit test: the first attempt of a task with this id, of an execution with a
    /// made-up id, which nobody cancels.
    ///
    /// A task that asks for `task: &TaskInfo` is called with it;
    /// [`Context::in_task`](crate::Context::in_task) puts it into a context.
    ///
    /// ```
    /// use cloacina_core::Context;
    /// use cloacina_core::execution::TaskInfo;
    ///
    /// let task = TaskInfo::for_test("charge").with_attempt(2);
    /// let context = Context::new().with("cents", 5).in_task(task.clone());
    /// assert_eq!(context.task().attempt(), 2);
    /// assert_eq!(context.task().idempotency_token(), task.idempotency_token());
    /// ```
    #[must_use]
    pub fn for_test(task_id: impl Into<String>) -> Self {
        let place = Place {
            tenant: TenantId(Uuid::nil()),
            name: "test".to_owned(),
            schema: String::new(),
            epoch: 0,
            shared: false,
        };
        Self {
            execution_id: Uuid::now_v7(),
            workflow: "test".to_owned(),
            task_id: task_id.into(),
            attempt: 1,
            cancellation: Cancellation::default(),
            place: Arc::new(place),
            resources: None,
            origin: Origin::default(),
            state: State::default(),
            input: Arc::default(),
            outcomes: Outcomes::default(),
            given: HashMap::new(),
            engine: Arc::new(Emitted::default()),
        }
    }

    /// With this workflow's name, for tests.
    #[must_use]
    pub fn with_workflow(mut self, workflow: impl Into<String>) -> Self {
        self.workflow = workflow.into();
        self
    }

    /// With this execution's id, for tests. The idempotency token depends on it, and on the task's id.
    #[must_use]
    pub fn with_execution_id(mut self, execution_id: Uuid) -> Self {
        self.execution_id = execution_id;
        self
    }

    /// As of an execution that a schedule started, for tests. Each part can be set on what
    /// [`Fire::for_test`] returns.
    #[must_use]
    pub fn with_schedule(mut self, fire: Fire) -> Self {
        self.origin.fire = Some(Arc::new(fire));
        self
    }

    /// After a task that ended so, for tests.
    #[must_use]
    pub fn with_outcome(mut self, task: impl Into<String>, outcome: DependencyOutcome) -> Self {
        self.outcomes.tell(task.into(), outcome);
        self
    }

    /// As of an execution with these tags, for tests.
    #[must_use]
    pub fn with_tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.origin.tags = Some(tags.into_iter().map(Into::into).collect());
        self
    }

    /// With this number of the attempt, for tests; the first is 1.
    #[must_use]
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// With a function that cancels it, for tests.
    ///
    /// ```
    /// # use cloacina_core::execution::TaskInfo;
    /// let (task, cancel) = TaskInfo::for_test("copy").cancellable();
    /// assert!(!task.cancellation().is_cancelled());
    /// cancel();
    /// assert!(task.cancellation().is_cancelled());
    /// ```
    pub fn cancellable(mut self) -> (Self, impl FnOnce() + Send + 'static) {
        let token = CancellationToken::new();
        self.cancellation = Cancellation { token: token.clone() };
        (self, move || token.cancel())
    }

    /// The moment of a schedule that the execution was started for; `None` if no schedule started it.
    #[must_use]
    pub fn schedule(&self) -> Option<&Fire> {
        self.origin.fire.as_deref()
    }

    /// What its execution was called, besides, when it was submitted.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        self.origin.tags.as_deref().unwrap_or_default()
    }

    /// The W3C trace context in which its execution was submitted, if there was one: see
    /// [`Submission::traceparent`](crate::Submission::traceparent). With the feature `opentelemetry` the task
    /// runs in a span of its own; what it calls belongs there rather.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.origin.trace.as_deref()
    }

    /// How a task ended that comes before this one, which runs although it failed or was skipped: by a
    /// [rule](crate::TriggerRule). `None` if none of this id comes before it. To ask costs a look at what
    /// this process knows, and nothing if it is not asked.
    ///
    /// ```
    /// # use cloacina_core::execution::{DependencyOutcome, TaskInfo};
    /// let outcome = DependencyOutcome::failed("card declined");
    /// let task = TaskInfo::for_test("notify").with_outcome("charge", outcome);
    /// let charge = task.outcome_of("charge");
    /// assert_eq!(charge.and_then(|charge| charge.error_message).as_deref(), Some("card declined"));
    /// ```
    #[must_use]
    pub fn outcome_of(&self, task: &str) -> Option<DependencyOutcome> {
        self.outcomes.of(task)
    }

    /// The execution whose place this one took; `None` if it is no [rerun](crate::rerun).
    #[must_use]
    pub fn rerun_of(&self) -> Option<Uuid> {
        self.origin.rerun_of
    }

    /// As of an execution that is a child, for tests.
    #[must_use]
    pub fn with_parent(mut self, parent: Parent) -> Self {
        self.origin.parent = Some(Arc::new(parent));
        self
    }

    /// The execution that this one is a child of; `None` if it is none.
    #[must_use]
    pub fn parent(&self) -> Option<&Parent> {
        self.origin.parent.as_deref()
    }

    /// The execution this task belongs to.
    #[must_use]
    pub fn execution_id(&self) -> Uuid {
        self.execution_id
    }

    /// The name of the workflow.
    #[must_use]
    pub fn workflow(&self) -> &str {
        &self.workflow
    }

    /// The id of the task.
    #[must_use]
    pub fn task_id(&self) -> &str {
        &self.task_id
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// What the runner was given for its tasks, for the tenant that this one runs for.
    #[doc(hidden)]
    #[must_use]
    pub fn resource(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self.resources.as_ref()?.of(&self.place))
    }

    /// The place it runs in, for messages.
    #[doc(hidden)]
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place.name
    }

    /// Tells when this attempt should stop.
    #[must_use]
    pub fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }
}

impl fmt::Debug for TaskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskInfo")
            .field("execution_id", &self.execution_id)
            .field("workflow", &self.workflow)
            .field("task_id", &self.task_id)
            .field("attempt", &self.attempt)
            .field("cancellation", &self.cancellation)
            .finish_non_exhaustive()
    }
}

/// Tells a running task that its work is not wanted any more: its execution was cancelled, its deadline or
/// the task's timeout passed, or the runner lost its lease.
///
/// From then on the task has the grace period ([`cancel_grace`](crate::RunnerConfig::cancel_grace)) to
/// end by itself. When it is over, an async task is dropped, whether it looked or not. One that blocks its
/// thread cannot be stopped from outside: it keeps its slot until it returns, so it should look from time to
/// time.
///
/// An attempt whose timeout passed is recorded as timed out, whatever the task returns: as soon as its code
/// has ended, or when the grace period is over. So the next attempt does not overlap with one that ended in
/// time. Code that blocks its thread when its timeout passes has a second, or the grace period if that is
/// shorter.
#[derive(Clone, Default)]
pub struct Cancellation {
    pub(crate) token: CancellationToken,
}

impl Cancellation {
    /// Whether the attempt should stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Returns when the attempt should stop.
    pub async fn cancelled(&self) {
        self.token.cancelled().await;
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancellation").field("is_cancelled", &self.is_cancelled()).finish()
    }
}

/// What is emitted in a unit test.
#[derive(Debug, Default)]
pub(crate) struct Emitted(Mutex<BTreeMap<String, Vec<Value>>>);

impl Emitted {
    pub(crate) fn add(&self, name: &str, item: Option<String>) {
        let mut lists = self.0.lock();
        let list = lists.entry(name.to_owned()).or_default();
        list.extend(item.and_then(|item| serde_json::from_str(&item).ok()));
    }

    pub(crate) fn of(&self, name: &str) -> Vec<Value> {
        self.0.lock().get(name).cloned().unwrap_or_default()
    }
}
