//! The edges of a workflow, resolved to positions.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::children::OF_TASK;
use super::fingerprint::StableHash;
use super::name::{check_name, check_workflow_name};
use super::wait::Awaited;
use super::{Fingerprint, Node};
use crate::error::{Error, ErrorKind};
use crate::id::TaskIndex;
use crate::meant::meant;

/// The most tasks that one workflow may have.
pub(super) const MAX_TASKS: usize = 10_000;

/// The edges of a workflow.
#[derive(Debug)]
pub(crate) struct Graph {
    nodes: Vec<Edges>,
    has_waits: bool,
    has_children: bool,
    /// The workflow that is started when an execution fails.
    on_failure: Option<Arc<str>>,
    fingerprint: Fingerprint,
}

#[derive(Debug, Default)]
struct Edges {
    dependencies: Vec<TaskIndex>,
    successors: Vec<TaskIndex>,
    /// Its place in the order in which patches are merged.
    rank: usize,
}

impl Graph {
    pub(crate) fn new(workflow: &str, version: Option<&str>, of: &[Node]) -> Result<Self, WorkflowError> {
        let fail = |problem| WorkflowError { workflow: workflow.to_owned(), problem };
        check_workflow_name(workflow)
            .map_err(|reason| fail(Problem::Name { what: "name".into(), reason }))?;
        if let Some(version) = version {
            check_name(version).map_err(|reason| fail(Problem::Name { what: "version".into(), reason }))?;
        }
        if of.is_empty() {
            return Err(fail(Problem::Empty));
        }
        if of.len() > MAX_TASKS {
            return Err(fail(Problem::TooMany { tasks: of.len() }));
        }
        let mut positions: HashMap<&str, TaskIndex> = HashMap::new();
        for (position, node) in (0..).zip(of) {
            let id = node.id();
            check_name(id).map_err(|reason| {
                fail(Problem::Name { what: format!("task id `{}`", id.escape_debug()), reason })
            })?;
            match node {
                Node::Task(task) if task.retry.attempts == 0 => {
                    return Err(fail(Problem::NoAttempts { task: id.to_owned() }));
                }
                Node::Task(_) => {}
                Node::Wait(wait) => {
                    wait.check().map_err(|reason| fail(Problem::Wait { wait: id.to_owned(), reason }))?;
                }
            }
            if positions.insert(id, position).is_some() {
                return Err(fail(Problem::Duplicate { task: id.to_owned() }));
            }
        }
        let mut nodes: Vec<Edges> = of.iter().map(|_| Edges::default()).collect();
        for (position, node) in (0..).zip(of) {
            for dependency in node.dependencies() {
                let task = node.id().to_owned();
                let Some(&from) = positions.get(dependency.as_str()) else {
                    let others = of.iter().map(Node::id).filter(|id| *id != task);
                    let meant = meant(dependency, others).map(str::to_owned);
                    return Err(fail(Problem::Unknown { task, dependency: dependency.clone(), meant }));
                };
                if from == position {
                    return Err(fail(Problem::Itself { task }));
                }
                if nodes[position as usize].dependencies.contains(&from) {
                    return Err(fail(Problem::Repeated { task, dependency: dependency.clone() }));
                }
                nodes[position as usize].dependencies.push(from);
                nodes[from as usize].successors.push(position);
            }
        }
        rank(&mut nodes).map_err(|stuck| fail(Problem::Cycle { task: of[stuck].id().to_owned() }))?;
        let fingerprint = fingerprint(version, of, &nodes);
        let has_waits = of.iter().any(|node| node.wait().is_some());
        let waits = || of.iter().filter_map(Node::wait);
        let has_children = waits().any(|wait| wait.what.children().is_some());
        let graph = Self { nodes, has_waits, has_children, on_failure: None, fingerprint };
        graph.check_signals(of).map_err(fail)?;
        Ok(graph)
    }

    /// That of a workflow with one task, which is part of another one: its ids were checked there.
    pub(crate) fn of_task(version: &str, of: &[Node]) -> Result<Self, WorkflowError> {
        let nodes = vec![Edges::default()];
        let fingerprint = fingerprint(Some(version), of, &nodes);
        if let Some(Node::Task(task)) =
            of.first().filter(|node| node.task().is_some_and(|task| task.retry.attempts == 0))
        {
            let problem = Problem::NoAttempts { task: task.id.clone() };
            return Err(WorkflowError { workflow: format!("{OF_TASK}{}", task.id), problem });
        }
        Ok(Self { nodes, has_waits: false, has_children: false, on_failure: None, fingerprint })
    }

    /// The same for a workflow whose failures start another one.
    pub(super) fn with_on_failure(self, workflow: &str, starts: &str) -> Result<Self, WorkflowError> {
        check_workflow_name(starts).map_err(|reason| WorkflowError {
            workflow: workflow.to_owned(),
            problem: Problem::Name {
                what: format!("workflow `{}` of `on_failure`", starts.escape_debug()),
                reason,
            },
        })?;
        Ok(Self { on_failure: Some(starts.into()), ..self })
    }

    /// Refuses two waits for one signal that may be open at one time: which of them it would come to would be
    /// a matter of chance.
    fn check_signals(&self, of: &[Node]) -> Result<(), Problem> {
        let mut first: HashMap<&str, Vec<TaskIndex>> = HashMap::new();
        for (position, node) in (0..).zip(of) {
            let Some(signal) = node.wait().and_then(|wait| wait.what.signal()) else { continue };
            let others = first.entry(&signal.name).or_default();
            for other in &*others {
                let follows = |one, other| self.ancestors(one).contains(&other);
                if !follows(position, *other) && !follows(*other, position) {
                    return Err(Problem::TwoWaits {
                        one: of[*other as usize].id().to_owned(),
                        other: node.id().to_owned(),
                        signal: signal.name.clone(),
                    });
                }
            }
            others.push(position);
        }
        Ok(())
    }

    pub(crate) fn has_waits(&self) -> bool {
        self.has_waits
    }

    pub(crate) fn has_children(&self) -> bool {
        self.has_children
    }

    pub(crate) fn on_failure(&self) -> Option<&Arc<str>> {
        self.on_failure.as_ref()
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(crate) fn dependencies(&self, task: TaskIndex) -> &[TaskIndex] {
        &self.nodes[task as usize].dependencies
    }

    pub(crate) fn successors(&self, task: TaskIndex) -> &[TaskIndex] {
        &self.nodes[task as usize].successors
    }

    /// All that `task` comes after, in the order in which their patches are merged.
    pub(crate) fn ancestors(&self, task: TaskIndex) -> Vec<TaskIndex> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<TaskIndex> = self.dependencies(task).to_vec();
        while let Some(next) = open.pop() {
            if seen.insert((self.nodes[next as usize].rank, next)) {
                open.extend(self.dependencies(next));
            }
        }
        seen.into_iter().map(|(_, task)| task).collect()
    }

    /// All tasks, in the order in which their patches are merged.
    pub(crate) fn merge_order(&self) -> Vec<TaskIndex> {
        let mut order: Vec<TaskIndex> = (0..).take(self.nodes.len()).collect();
        order.sort_unstable_by_key(|task| self.nodes[*task as usize].rank);
        order
    }
}

/// Gives every node its rank: topological, and between equals in the order of declaration. Otherwise: a node
/// of a cycle, or behind one.
fn rank(nodes: &mut [Edges]) -> Result<(), usize> {
    let mut missing: Vec<usize> = nodes.iter().map(|node| node.dependencies.len()).collect();
    let mut free: BTreeSet<usize> = (0..nodes.len()).filter(|node| missing[*node] == 0).collect();
    let mut rank = 0;
    while let Some(next) = free.pop_first() {
        nodes[next].rank = rank;
        rank += 1;
        for &successor in &nodes[next].successors {
            missing[successor as usize] -= 1;
            if missing[successor as usize] == 0 {
                free.insert(successor as usize);
            }
        }
    }
    match missing.iter().position(|missing| *missing > 0) {
        Some(stuck) => Err(stuck),
        None => Ok(()),
    }
}

fn fingerprint(version: Option<&str>, of: &[Node], nodes: &[Edges]) -> Fingerprint {
    let hash = of.iter().zip(nodes).fold(StableHash::new().number(of.len()), |hash, (node, edges)| {
        let mut dependencies = edges.dependencies.clone();
        dependencies.sort_unstable();
        let hash = hash.text(node.id()).text(node.rule().name()).number(dependencies.len());
        let hash = dependencies.iter().fold(hash, |hash, dependency| hash.number(*dependency as usize));
        match node {
            Node::Task(_) => hash,
            Node::Wait(wait) => match &wait.what {
                Awaited::Sleep(_) => hash.text("sleep"),
                Awaited::Signal(signal) => hash.text("signal").text(&signal.name),
                Awaited::Children(children) => {
                    let hash = hash.text("children").text(&children.workflow);
                    children.list.iter().chain(&children.input).fold(hash, |hash, key| hash.text(key))
                }
            },
        }
    });
    // Only where there is one, so that a workflow without it has the fingerprint that it always had.
    let hash = version.into_iter().fold(hash, |hash, version| hash.text("version").text(version));
    // One in 2^64 would be taken for an execution that is not expanded.
    Fingerprint(if hash.finish() == Fingerprint::UNKNOWN.0 { 1 } else { hash.finish() })
}

/// What is wrong with a workflow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("workflow `{}` {problem}", .workflow.escape_debug())]
pub struct WorkflowError {
    workflow: String,
    problem: Problem,
}

impl WorkflowError {
    pub(super) fn registered_twice(workflow: &str, first: String, second: String) -> Self {
        Self { workflow: workflow.to_owned(), problem: Problem::RegisteredTwice { first, second } }
    }

    /// The name of the workflow.
    #[must_use]
    pub fn workflow(&self) -> &str {
        &self.workflow
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("has no tasks: add one with `.task(…)`")]
    Empty,
    #[error("has {tasks} tasks, more than the 10,000 that are allowed")]
    TooMany { tasks: usize },
    #[error("cannot be used: its {what} {reason}")]
    Name { what: String, reason: &'static str },
    #[error("has two tasks with the id `{task}`")]
    Duplicate { task: String },
    #[error(
        "has a task `{task}` that depends on `{dependency}`, which is not in the workflow{}",
        match meant {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None => ": add it with `.task(…)` or `.wait(…)`".to_owned(),
        }
    )]
    Unknown { task: String, dependency: String, meant: Option<String> },
    #[error("has a task `{task}` that depends on itself")]
    Itself { task: String },
    #[error("has a task `{task}` that names its dependency `{dependency}` twice")]
    Repeated { task: String, dependency: String },
    #[error("has dependencies that go round in a circle, at the task `{task}`")]
    Cycle { task: String },
    #[error(
        "has a task `{task}` with a retry policy of no attempts: the first try counts, so use at least 1"
    )]
    NoAttempts { task: String },
    #[error("has a wait `{wait}` that {reason}")]
    Wait { wait: String, reason: &'static str },
    #[error(
        "has two waits, `{one}` and `{other}`, that may wait for the signal `{signal}` at the same time: let one come after \
         the other, or give one another name with `.named(…)`"
    )]
    TwoWaits { one: String, other: String, signal: String },
    #[error(
        "is registered twice, by {first} and by {second}: give one of them another name, or another version"
    )]
    RegisteredTwice { first: String, second: String },
}

impl From<WorkflowError> for Error {
    fn from(error: WorkflowError) -> Self {
        Self::new(ErrorKind::Workflow, error.to_string())
    }
}
