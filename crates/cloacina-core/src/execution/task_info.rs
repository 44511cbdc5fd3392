//! What a running task can learn about itself.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::id::{TaskIndex, TenantId};
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
    pub(crate) position: TaskIndex,
    pub(crate) cancellation: Cancellation,
    pub(crate) place: Arc<Place>,
    pub(crate) resources: Option<Arc<dyn Resources>>,
    pub(crate) origin: Origin,
    pub(crate) state: State,
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
            position: 0,
            cancellation: Cancellation::default(),
            place: Arc::new(place),
            resources: None,
            origin: Origin::default(),
            state: State::default(),
            given: HashMap::new(),
            engine: Arc::new(()),
        }
    }

    /// With this workflow's name, for tests.
    #[must_use]
    pub fn with_workflow(mut self, workflow: impl Into<String>) -> Self {
        self.workflow = workflow.into();
        self
    }

    /// With this execution's id, for tests. The idempotency token depends on it, and on the task's position,
    /// which is 0 for every task here.
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

    /// A token that is the same in every attempt of this task of this execution and nowhere else: hand it to
    /// services that drop repeated requests.
    ///
    /// It is the UUID of version 5 over the execution's id and the position of the task.
    #[must_use]
    pub fn idempotency_token(&self) -> Uuid {
        Uuid::new_v5(&self.execution_id, &self.position.to_be_bytes())
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
