//! The definition of one task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::children::{Children, DEFAULT_PARALLEL, Tolerance};
use crate::contained::Contained;
use crate::context::Context;
use crate::error::TaskError;
use crate::execution::TaskInfo;
use crate::retry::RetryPolicy;
use crate::rule::TriggerRule;
use crate::state::{Shared, StateType};

/// What a call of an async task is.
pub type TaskFuture = Pin<Box<dyn Future<Output = Result<Context, TaskError>> + Send>>;

/// Something that can be added to a workflow: what `#[task]` makes of a function, or a [`TaskDefinition`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    label = "not a task",
    note = "put `#[task(id = \"…\")]` on the function and pass it by its name, without parentheses"
)]
pub trait Task {
    /// The id, where it is known at compile time; `""` where it is not.
    const ID: &'static str = "";
    /// The dependencies, where they are known at compile time.
    const DEPENDENCIES: &'static [&'static str] = &[];

    /// The task as the engine knows it.
    fn definition(self) -> TaskDefinition;
}

/// A task as the engine knows it.
#[derive(Clone)]
pub struct TaskDefinition {
    pub(crate) id: String,
    pub(crate) dependencies: Vec<String>,
    pub(crate) retry: RetryPolicy,
    pub(crate) timeout: TaskTimeout,
    pub(crate) rule: TriggerRule,
    pub(crate) body: Contained<TaskBody>,
    pub(crate) asks_for_resources: bool,
    /// Whether it gives its slot back when it begins, because it only asks the engine for things.
    pub(crate) takes_no_slot: bool,
    /// If it runs for each item of a list.
    pub(crate) map: Option<Children>,
    /// The types of the state that its body asks for.
    pub(crate) state: Vec<StateType>,
}

/// How long one attempt may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskTimeout {
    /// As long as the runner's configuration says.
    Default,
    Never,
    After(Duration),
}

/// The code of a task.
#[derive(Clone)]
pub enum TaskBody {
    /// Runs as a Tokio task.
    Async(Arc<dyn Fn(Context) -> TaskFuture + Send + Sync>),
    /// Runs on a thread where it may block.
    Blocking(Arc<dyn Fn(Context) -> Result<Context, TaskError> + Send + Sync>),
}

impl TaskDefinition {
    /// A task with this body, the default retry policy, timeout and rule, and no dependencies.
    #[must_use]
    pub fn new(id: impl Into<String>, body: TaskBody) -> Self {
        Self {
            id: id.into(),
            dependencies: Vec::new(),
            retry: RetryPolicy::default(),
            timeout: TaskTimeout::Default,
            rule: TriggerRule::default(),
            body: Contained::new(body),
            asks_for_resources: false,
            takes_no_slot: false,
            map: None,
            state: Vec::new(),
        }
    }

    /// An async task made from a closure, for workflows whose shape is only known when the program runs.
    pub fn from_async<F, Fut, E>(id: impl Into<String>, code: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Context, E>> + Send + 'static,
        E: Into<TaskError>,
    {
        Self::new(
            id,
            TaskBody::Async(Arc::new(move |context| {
                let future = code(context);
                Box::pin(async move { future.await.map_err(Into::into) })
            })),
        )
    }

    /// With these dependencies, by id.
    #[must_use]
    pub fn dependencies(mut self, ids: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.dependencies = ids.into_iter().map(Into::into).collect();
        self
    }

    /// With this retry policy.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// With this limit on the time of one attempt; `None` for no limit. Without this call the runner's
    /// `task_timeout` holds.
    #[must_use]
    pub fn timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout.map_or(TaskTimeout::Never, TaskTimeout::After);
        self
    }

    /// With this trigger rule.
    #[must_use]
    pub fn rule(mut self, rule: TriggerRule) -> Self {
        self.rule = rule;
        self
    }

    /// As one that runs for each item of the list under this key of the context: a [map](super::Wait::map)
    /// whose children have this one task. Its first parameter is the [`Item`](crate::Item), its results are
    /// [read by pages](crate::Context::results), and retries, timeout and state are those of each item. Its
    /// rule and its dependencies are those of the map.
    #[must_use]
    pub fn map(mut self, list: impl Into<String>) -> Self {
        let (list, parallel) = (Some(list.into()), DEFAULT_PARALLEL);
        self.map = Some(Children { list, parallel, ..Children::of(String::new()) });
        self
    }

    /// How many items of its [map](Self::map) are open at once, see
    /// [`Wait::parallel`](super::Wait::parallel).
    #[must_use]
    pub fn parallel(mut self, parallel: u32) -> Self {
        self.map = Some(Children { parallel, ..self.map.unwrap_or_else(|| Children::of(String::new())) });
        self
    }

    /// How many items of its [map](Self::map) may fail, see [`Wait::tolerate`](super::Wait::tolerate).
    #[must_use]
    pub fn tolerate(mut self, tolerance: impl Into<Tolerance>) -> Self {
        let map = self.map.unwrap_or_else(|| Children::of(String::new()));
        self.map = Some(Children { tolerance: tolerance.into(), ..map });
        self
    }

    /// As one whose body asks for what [`Resources`](crate::Resources) make.
    #[doc(hidden)]
    #[must_use]
    pub fn asks_for_resources(mut self) -> Self {
        self.asks_for_resources = true;
        self
    }

    /// As one whose body asks for a `&T`.
    #[doc(hidden)]
    #[must_use]
    pub fn asks_for<T: Shared>(mut self) -> Self {
        let asked = StateType::of::<T>();
        if asked != StateType::of::<TaskInfo>() {
            self.state.push(asked);
        }
        self
    }

    /// The id, unique in its workflow.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Task for TaskDefinition {
    fn definition(self) -> TaskDefinition {
        self
    }
}

impl fmt::Debug for TaskDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskDefinition")
            .field("id", &self.id)
            .field("dependencies", &self.dependencies)
            .field("retry", &self.retry)
            .field("timeout", &self.timeout)
            .field("rule", &self.rule)
            .field("blocking", &matches!(*self.body, TaskBody::Blocking(_)))
            .finish()
    }
}
