//! Workflows: what is run.
//!
//! A [`Workflow`] is a DAG of tasks with a name. Building one cannot fail; what is wrong with its graph is
//! kept and told when a runner starts, or at once by [`WorkflowBuilder::try_build`]. The `#[workflow]` macro
//! finds most of it when the program is compiled.

pub mod check;
mod children;
mod description;
mod fingerprint;
pub mod form;
mod graph;
mod name;
mod node;
mod registry;
mod task;
mod version;
mod wait;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub(crate) use children::{Children, MOST_PARALLEL, OF_TASK};
pub use children::{ParentClose, Tolerance};
pub use description::{TaskDescription, TaskKind, WorkflowDescription, WorkflowInfo};
pub use fingerprint::Fingerprint;
pub(crate) use fingerprint::StableHash;
pub(crate) use graph::Graph;
pub use graph::WorkflowError;
pub(crate) use name::{RESERVED, check_name, check_workflow_name};
pub(crate) use node::Node;
pub use registry::{WorkflowRegistration, registered};
pub(crate) use task::TaskTimeout;
pub use task::{Task, TaskBody, TaskDefinition, TaskFuture};
pub(crate) use version::by_age;
pub(crate) use wait::Awaited;
pub use wait::{Ask, Dependency, OnTimeout, Wait};

use crate::error::{Error, ErrorKind};
use crate::id::TaskIndex;
use crate::meters::Meters;
use crate::rule::TriggerRule;
use crate::state::State;

/// A DAG of tasks with a name.
#[derive(Debug, Clone)]
pub struct Workflow {
    name: Arc<str>,
    version: Option<Arc<str>>,
    description: String,
    operator_only: bool,
    nodes: Arc<[Node]>,
    graph: Result<Arc<Graph>, WorkflowError>,
    /// Those that its maps start which run one task of it for each item of a list.
    items: Arc<[Self]>,
    /// What its tasks are given; `None` until a runner that runs it is opened.
    state: Option<State>,
    /// What is counted of its executions.
    meters: Arc<OnceLock<Meters>>,
}

impl Workflow {
    /// Starts the definition of a workflow.
    #[must_use]
    pub fn builder(name: impl Into<String>) -> WorkflowBuilder {
        WorkflowBuilder {
            name: name.into(),
            version: None,
            description: String::new(),
            operator_only: false,
            on_failure: None,
            nodes: Vec::new(),
            mapped: Vec::new(),
        }
    }

    /// What a map starts that runs one task for each item of a list. Its version is that of the workflow with
    /// the map, so that items run by the code that their parent began with.
    fn of_task(
        task: TaskDefinition,
        parent: &Result<Arc<Graph>, WorkflowError>,
        operator_only: bool,
    ) -> Self {
        let name = format!("{OF_TASK}{}", task.id);
        let version = parent.as_ref().map_or_else(|_| String::new(), |graph| graph.fingerprint().to_string());
        let nodes: Arc<[Node]> = [Node::Task(task)].into();
        Self {
            graph: Graph::of_task(&version, &nodes).map(Arc::new),
            name: name.into(),
            version: Some(version.into()),
            description: String::new(),
            operator_only,
            nodes,
            items: Arc::default(),
            state: None,
            meters: Arc::default(),
        }
    }

    /// One of the engine's own, with one task.
    pub(crate) fn of_engine(name: &str, task: TaskDefinition) -> Self {
        let nodes: Arc<[Node]> = [Node::Task(task)].into();
        Self {
            graph: Graph::of_task("1", &nodes).map(Arc::new),
            name: name.into(),
            version: Some("1".into()),
            description: String::new(),
            operator_only: false,
            nodes,
            items: Arc::default(),
            state: None,
            meters: Arc::default(),
        }
    }

    /// What is counted of its executions.
    pub(crate) fn meters(&self) -> &Meters {
        self.meters.get_or_init(|| Meters::new(&self.name, self.nodes.iter().map(Node::id)))
    }

    /// The workflows that its maps start which run one task of it for each item of a list.
    pub(crate) fn items(&self) -> &[Self] {
        &self.items
    }

    /// That of these which a map starts, by its name.
    pub(crate) fn item(&self, name: &str) -> Option<&Self> {
        self.items.iter().find(|item| item.name() == name)
    }

    /// The name that executions are asked for by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its [version](WorkflowBuilder::version), if it was given one.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// What it is for, in words.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Whether a task of it asks for what [`Resources`](crate::Resources) make.
    pub(crate) fn asks_for_resources(&self) -> bool {
        self.definitions().any(|task| task.asks_for_resources)
    }

    /// The workflow that is started when an execution [fails](WorkflowBuilder::on_failure).
    #[must_use]
    pub fn on_failure(&self) -> Option<&str> {
        self.shared_on_failure().map(|workflow| &**workflow)
    }

    pub(crate) fn shared_on_failure(&self) -> Option<&Arc<str>> {
        self.graph.as_ref().ok()?.on_failure()
    }

    /// Whether it is [for the operator only](WorkflowBuilder::operator_only).
    #[must_use]
    pub fn is_operator_only(&self) -> bool {
        self.operator_only
    }

    /// Its tasks, in the order of declaration.
    #[must_use]
    pub fn tasks(&self) -> Vec<&TaskDefinition> {
        self.definitions().collect()
    }

    fn definitions(&self) -> impl Iterator<Item = &TaskDefinition> {
        self.nodes.iter().filter_map(Node::task)
    }

    /// Its tasks and what the engine runs, by position.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node at a position, if there is one. What is stored may say anything.
    pub(crate) fn node(&self, position: TaskIndex) -> Option<&Node> {
        usize::try_from(position).ok().and_then(|position| self.nodes.get(position))
    }

    /// A hash over ids, edges, rules, what waits wait for, and the version if there is one: two workflows of
    /// one name and one fingerprint are the same to the engine. Retry policies, timeouts and code do not
    /// change it.
    ///
    /// # Errors
    ///
    /// What is wrong with the graph.
    pub fn fingerprint(&self) -> Result<Fingerprint, WorkflowError> {
        self.graph.as_ref().map(|graph| graph.fingerprint()).map_err(Clone::clone)
    }

    /// With what its tasks are given on the runner of this tenant; for every tenant if none is named.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] if a task asks for more.
    pub(crate) fn given(mut self, state: &State, tenant: Option<&str>) -> Result<Self, Error> {
        let asked = self.definitions().flat_map(|task| task.state.iter().map(move |asked| (task, asked)));
        let lacked = { asked }.find(|(_, asked)| !state.has(**asked, tenant));
        if let Some((task, lacked)) = lacked {
            let whose = tenant.map_or("every tenant".to_owned(), |tenant| format!("tenant `{tenant}`"));
            return Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "task `{}` of workflow `{}` asks for a `{}`, which the runner of {whose} was not given: add `.state(…)` \
                     where it is built",
                    task.id, self.name, lacked.name,
                ),
            ));
        }
        let items = self.items.iter().map(|item| item.clone().given(state, tenant));
        self.items = items.collect::<Result<_, _>>()?;
        self.state = Some(state.clone());
        Ok(self)
    }

    /// Whether its tasks ask for something that nobody gave them: it comes from a runner that only submits.
    pub(crate) fn lacks_state(&self) -> bool {
        self.state.is_none() && self.definitions().any(|task| !task.state.is_empty())
    }

    /// What its tasks are given.
    pub(crate) fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// The first wait that cannot end within this time, because of it or of those before it that sleep.
    pub(crate) fn ends_after(&self, time: Duration) -> Option<&Wait> {
        let graph = self.graph().ok().filter(|graph| graph.has_waits())?;
        let mut least: HashMap<TaskIndex, Duration> = HashMap::new();
        for position in graph.merge_order() {
            let before = graph.dependencies(position).iter().filter_map(|node| least.get(node)).max();
            let wait = self.node(position)?.wait();
            let sleeps = match wait.map(|wait| &wait.what) {
                Some(Awaited::Sleep(duration)) => *duration,
                _ => Duration::ZERO,
            };
            let ends = before.copied().unwrap_or_default().saturating_add(sleeps);
            if let Some(wait) = wait.filter(|_| ends > time) {
                return Some(wait);
            }
            least.insert(position, ends);
        }
        None
    }

    pub(crate) fn graph(&self) -> Result<&Arc<Graph>, WorkflowError> {
        self.graph.as_ref().map_err(Clone::clone)
    }
}

/// Defines a [`Workflow`].
#[derive(Debug, Clone)]
pub struct WorkflowBuilder {
    name: String,
    version: Option<String>,
    description: String,
    operator_only: bool,
    on_failure: Option<String>,
    nodes: Vec<Node>,
    /// The tasks that run for each item of a list.
    mapped: Vec<TaskDefinition>,
}

impl WorkflowBuilder {
    /// Says what the workflow is for.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Says which version of the workflow this is: 1 to 200 bytes, without control characters.
    ///
    /// A program may have several versions of a workflow. New executions take the newest; each goes on with
    /// the one that it began with, and can end as long as some process has that. So code that means something
    /// else than before gets a new version, and the one before stays until its executions are over. Without a
    /// call, what tells versions apart is the graph alone: see [`fingerprint`](Workflow::fingerprint).
    ///
    /// Which is the newest is found from left to right: digits compare as a number, everything else as text,
    /// and what has no version is the oldest. So `10` is newer than `9`, `1.10` newer than `1.9`, and
    /// `2026-11-30` newer than `2026-02-01`.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Makes it a workflow that no tenant with a database login of its own can start.
    ///
    /// Such a tenant can write executions into its place by itself, with any input, and this program would
    /// run them. A workflow that must not be started so, because it works for several tenants say, is neither
    /// submitted nor run in such a tenant's place, also if somebody wrote its rows by hand; in all other
    /// places it is a workflow like any other. It does not change the [`fingerprint`](Workflow::fingerprint).
    /// Without this call any workflow may be started by any tenant.
    #[must_use]
    pub fn operator_only(mut self) -> Self {
        self.operator_only = true;
        self
    }

    /// Names a workflow that is started once for each execution that fails for good: with the input
    /// `execution_id`, `workflow` and `error` of that one, and its priority.
    ///
    /// It is recorded in the commit that records the failure, by its name, so it may be one that only other
    /// programs have. One that was cancelled does not count as failed, also by its deadline. An execution
    /// that was started so starts nothing itself when it fails, nor do its children: there is no loop. It
    /// does not change the [`fingerprint`](Workflow::fingerprint): what counts is what the program says that
    /// records the execution, and gives it its tasks. A [schedule](crate::Schedule::on_failure) may say
    /// another one for what it starts. Without this call nothing is started.
    #[must_use]
    pub fn on_failure(mut self, workflow: impl Into<String>) -> Self {
        self.on_failure = Some(workflow.into());
        self
    }

    /// Adds a task. The order of these calls is the order in which patches of equals are merged.
    #[must_use]
    pub fn task(mut self, task: impl Task) -> Self {
        let mut task = task.definition();
        let Some(map) = task.map.take() else {
            self.nodes.push(Node::Task(task));
            return self;
        };
        let dependencies = std::mem::take(&mut task.dependencies);
        let map = Children { workflow: format!("{OF_TASK}{}", task.id), ..map };
        self.nodes.push(Node::Wait(Wait::of_task(&task.id, dependencies, task.rule, map)));
        task.rule = TriggerRule::default();
        self.mapped.push(task);
        self
    }

    /// Adds a wait. It counts as a task in the order of these calls.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.nodes.push(Node::Wait(wait));
        self
    }

    /// The workflow. What is wrong with it is told when a runner starts.
    #[must_use]
    pub fn build(self) -> Workflow {
        let graph = Graph::new(&self.name, self.version.as_deref(), &self.nodes);
        let graph = match &self.on_failure {
            Some(workflow) => graph.and_then(|graph| graph.with_on_failure(&self.name, workflow)),
            None => graph,
        };
        let graph = graph.map(Arc::new);
        let items = self.mapped.into_iter().map(|task| Workflow::of_task(task, &graph, self.operator_only));
        Workflow {
            items: items.collect(),
            name: self.name.into(),
            version: self.version.map(Into::into),
            description: self.description,
            operator_only: self.operator_only,
            nodes: self.nodes.into(),
            graph,
            state: None,
            meters: Arc::default(),
        }
    }

    /// The workflow, if nothing is wrong with it.
    ///
    /// # Errors
    ///
    /// A name, version or task id that is empty, too long or contains a control character; no task or more
    /// than 10,000; two tasks or waits of one id; two waits for one signal at the same time; a dependency
    /// that is not in the workflow or named twice; a cycle; a retry policy without attempts.
    pub fn try_build(self) -> Result<Workflow, WorkflowError> {
        let workflow = self.build();
        workflow.graph()?;
        Ok(workflow)
    }
}
