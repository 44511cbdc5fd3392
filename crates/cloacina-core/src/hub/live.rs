//! What a process knows of the executions it works on.
//!
//! A [`Live`] is knowledge, not authority: the database decides. Only what is terminal in it is relied upon,
//! because a terminal task never changes again; anything else may have been moved on by another process.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::context::{Context, ContextError, Patch, Values, values_from_json};
use crate::error::{Error, ErrorKind};
use crate::execution::{
    DependencyOutcome, ExecutionDetails, ExecutionResult, ExecutionStatus, SkipReason, TaskDetails,
    TaskResult, TaskState,
};
use crate::id::{ExecutionId, RunnerId, TaskIndex};
use crate::origin::{Origin, taken_out};
use crate::store::{ExecutionHeader, ExecutionRecord, TaskRecord, WorkflowKey};
use crate::workflow::{Graph, Node, Workflow};

/// What is known of one execution.
pub(crate) struct Live {
    pub(crate) id: ExecutionId,
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) graph: Arc<Graph>,
    pub(crate) priority: i16,
    /// Whether it may have due rows.
    pub(crate) timed: bool,
    /// Whether tasks of it may have started children.
    pub(crate) has_children: bool,
    pub(crate) origin: Origin,
    pub(crate) input: Arc<Values>,
    /// The size of the input as JSON.
    pub(crate) input_bytes: usize,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) tasks: Vec<LiveTask>,
}

/// What is known of one task.
#[derive(Debug, Clone)]
pub(crate) struct LiveTask {
    pub(crate) state: TaskState,
    /// Whether an outcome that ends the task is on its way to the database.
    pub(crate) ending: bool,
    pub(crate) attempt: i32,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) patch: Option<Arc<Patch>>,
    /// The size of the patch as JSON, counted before it is recorded.
    pub(crate) patch_bytes: usize,
    pub(crate) error: Option<String>,
    pub(crate) skip_reason: Option<SkipReason>,
    pub(crate) handled: bool,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The input belongs to the tenant.
        f.debug_struct("Live")
            .field("id", &self.id)
            .field("workflow", &self.workflow.name())
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

impl LiveTask {
    fn new(state: TaskState) -> Self {
        Self {
            state,
            ending: false,
            attempt: 0,
            started_at: None,
            finished_at: None,
            patch: None,
            patch_bytes: 0,
            error: None,
            skip_reason: None,
            handled: false,
        }
    }
}

impl Live {
    /// An execution of which no task was claimed yet.
    pub(crate) fn new(
        id: ExecutionId,
        workflow: Arc<Workflow>,
        graph: Arc<Graph>,
        (priority, timed): (i16, bool),
        (input, input_bytes): (Arc<Values>, usize),
        created_at: Timestamp,
    ) -> Self {
        let root = |task| graph.dependencies(task).is_empty();
        let tasks = (0..)
            .zip(workflow.nodes())
            .map(|(task, node)| {
                LiveTask::new(match node {
                    _ if !root(task) => TaskState::Pending,
                    Node::Task(_) => TaskState::Ready,
                    Node::Wait(_) => TaskState::Waiting,
                })
            })
            .collect();
        Self {
            id,
            workflow,
            graph,
            priority,
            timed,
            has_children: false,
            origin: Origin::default(),
            input,
            input_bytes,
            created_at,
            started_at: None,
            tasks,
        }
    }

    /// An execution as it was read. Its rows must be those of the workflow: everything here goes by their
    /// positions.
    pub(crate) fn loaded(record: &ExecutionRecord, workflow: Arc<Workflow>) -> Result<Self, Error> {
        check_rows(record, &workflow)?;
        let graph = Arc::clone(workflow.graph()?);
        let ContextParts { input, origin, patches } = ContextParts::of(record)?;
        let tasks = record
            .tasks
            .iter()
            .zip(patches)
            .map(|(task, patch)| LiveTask {
                state: task.state,
                ending: false,
                attempt: task.attempt,
                started_at: task.started_at,
                finished_at: task.finished_at,
                patch,
                patch_bytes: task.patch.as_deref().map_or(0, str::len),
                error: task.error.clone(),
                skip_reason: task.skip_reason,
                handled: task.handled,
            })
            .collect();
        let header = &record.header;
        Ok(Self {
            id: header.id,
            workflow,
            graph,
            priority: header.priority,
            timed: header.deadline.is_some(),
            has_children: header.has_waits,
            origin,
            input,
            input_bytes: record.input.len(),
            created_at: header.created_at,
            started_at: header.started_at,
            tasks,
        })
    }

    /// Whether one of its waits is over.
    pub(crate) fn has_waited(&self) -> bool {
        self.graph.has_waits()
            && self.workflow.nodes().iter().zip(&self.tasks).any(|(node, task)| {
                matches!(node, Node::Wait(_)) && task.state.is_terminal() && task.state != TaskState::Skipped
            })
    }

    /// Counts a patch to the size of the context. The size that it would have, and nothing is counted, if
    /// that is more than `limit`.
    pub(crate) fn count_in(&mut self, task: TaskIndex, bytes: usize, limit: usize) -> Result<(), usize> {
        let known: usize = self.tasks.iter().map(|task| task.patch_bytes).sum();
        let input = self.input_bytes;
        let Some(task) = self.task(task) else { return Ok(()) };
        // What an attempt before counted was not recorded.
        let before = std::mem::take(&mut task.patch_bytes);
        let size = input + known - before + bytes;
        if size > limit {
            return Err(size);
        }
        task.patch_bytes = bytes;
        Ok(())
    }

    /// Takes over what another reading of the same execution knows to be over.
    pub(crate) fn learn(&mut self, other: Self) {
        self.started_at = self.started_at.or(other.started_at);
        for (mine, theirs) in self.tasks.iter_mut().zip(other.tasks) {
            if !mine.state.is_terminal() && theirs.state.is_terminal() {
                *mine = theirs;
            }
            // A failure may have been handled since.
            else if mine.state == theirs.state {
                mine.handled |= theirs.handled;
            }
        }
    }

    /// Its tags, unless they are those of its parent.
    fn own_tags(&self) -> Vec<String> {
        let tags = self.origin.tags.as_deref().filter(|_| self.origin.parent.is_none());
        tags.unwrap_or_default().to_vec()
    }

    /// Whether the workflow has such a task. What is stored may say anything.
    pub(crate) fn has(&self, task: TaskIndex) -> bool {
        usize::try_from(task).is_ok_and(|task| task < self.tasks.len())
    }

    pub(crate) fn task(&mut self, task: TaskIndex) -> Option<&mut LiveTask> {
        usize::try_from(task).ok().and_then(|task| self.tasks.get_mut(task))
    }

    /// Whether all its tasks are known to be over.
    pub(crate) fn is_over(&self) -> bool {
        self.tasks.iter().all(|task| task.state.is_terminal())
    }

    /// Whether this is an execution of that version of that workflow.
    pub(crate) fn runs(&self, workflow: &WorkflowKey) -> bool {
        *self.workflow.name() == *workflow.name && self.graph.fingerprint() == workflow.fingerprint
    }

    /// How the dependencies of a task ended; `None` if one is not known to be over.
    pub(crate) fn dependencies(&self, task: TaskIndex) -> Option<Vec<(TaskState, Option<SkipReason>)>> {
        if !self.has(task) {
            return None;
        }
        let dependencies = self.graph.dependencies(task).iter().map(|dependency| {
            let dependency = &self.tasks[*dependency as usize];
            dependency.state.is_terminal().then_some((dependency.state, dependency.skip_reason))
        });
        dependencies.collect()
    }

    /// How the task of this id ended, if it comes before `task`.
    pub(crate) fn outcome_of(&self, task: TaskIndex, id: &str) -> Option<DependencyOutcome> {
        if !self.has(task) {
            return None;
        }
        let named = |task: &TaskIndex| self.workflow.node(*task).is_some_and(|node| node.id() == id);
        let before = self.graph.ancestors(task).into_iter().find(named)?;
        let before = &self.tasks[before as usize];
        match before.state {
            TaskState::Completed => Some(DependencyOutcome::completed()),
            TaskState::Failed => Some(DependencyOutcome::failed(before.error.clone().unwrap_or_default())),
            TaskState::Skipped => before.skip_reason.map(DependencyOutcome::skipped),
            _ => None,
        }
    }

    /// The failed dependencies that `task` handles if it completes.
    pub(crate) fn handles(&self, task: TaskIndex) -> Vec<TaskIndex> {
        if !self.workflow.node(task).is_some_and(|node| node.rule().handles_failures()) {
            return Vec::new();
        }
        let dependencies = self.graph.dependencies(task).iter();
        dependencies
            .copied()
            .filter(|dependency| self.tasks[*dependency as usize].state == TaskState::Failed)
            .collect()
    }

    /// The tasks that wait for `task`, each with whether nothing else known keeps it waiting.
    pub(crate) fn successors(&self, task: TaskIndex) -> Vec<(TaskIndex, bool)> {
        if !self.has(task) {
            return Vec::new();
        }
        let last = |successor: TaskIndex| {
            self.graph.dependencies(successor).iter().all(|dependency| {
                let dependency = &self.tasks[*dependency as usize];
                dependency.ending || dependency.state.is_terminal()
            })
        };
        let tasks = self.graph.successors(task).iter().filter(|successor| !self.is_wait(**successor));
        tasks.map(|successor| (*successor, last(*successor))).collect()
    }

    /// The waits that wait for `task`.
    pub(crate) fn waits(&self, task: TaskIndex) -> Vec<TaskIndex> {
        if !self.has(task) {
            return Vec::new();
        }
        self.graph.successors(task).iter().copied().filter(|successor| self.is_wait(*successor)).collect()
    }

    pub(crate) fn is_wait(&self, node: TaskIndex) -> bool {
        self.workflow.node(node).is_some_and(|node| node.wait().is_some())
    }

    /// What the context of a task is made of: the input, and the patches of its ancestors in order.
    pub(crate) fn context_of(&self, task: TaskIndex) -> (Arc<Values>, Vec<Arc<Patch>>) {
        let patches = self
            .graph
            .ancestors(task)
            .into_iter()
            .filter_map(|ancestor| self.tasks[ancestor as usize].patch.clone());
        (Arc::clone(&self.input), patches.collect())
    }

    /// The result, if all that belongs to it is known.
    pub(crate) fn result(&self, status: ExecutionStatus, finished_at: Timestamp) -> Option<ExecutionResult> {
        if !self.is_over() {
            return None;
        }
        let patches: Vec<Arc<Patch>> = self
            .graph
            .merge_order()
            .into_iter()
            .filter_map(|task| self.tasks[task as usize].patch.clone())
            .collect();
        let unhandled = |task: &&LiveTask| task.state == TaskState::Failed && !task.handled;
        let error = self.tasks.iter().find(unhandled).and_then(|task| task.error.clone());
        let start_time = self.started_at.unwrap_or(self.created_at);
        Some(ExecutionResult {
            execution_id: self.id.into(),
            workflow_name: self.workflow.name().to_owned(),
            status,
            start_time,
            end_time: Some(finished_at),
            duration: Some(between(start_time, finished_at)),
            final_context: Context::shared(merge(Arc::clone(&self.input), &patches)),
            task_results: self
                .workflow
                .nodes()
                .iter()
                .zip(&self.tasks)
                .map(|(node, task)| TaskResult {
                    task_id: node.id().to_owned(),
                    kind: Some(node.kind()),
                    state: task.state,
                    attempts: tries(task.state, task.attempt),
                    start_time: task.started_at,
                    end_time: task.finished_at,
                    error_message: task.error.clone(),
                    skip_reason: task.skip_reason,
                })
                .collect(),
            error_message: error,
            submitted_by: None,
            traceparent: self.origin.trace.as_deref().map(str::to_owned),
            rerun_of: self.origin.rerun_of,
            superseded_by: None,
            tags: self.own_tags(),
        })
    }
}

fn check_rows(record: &ExecutionRecord, workflow: &Workflow) -> Result<(), Error> {
    let definitions = workflow.nodes();
    let stored = record.tasks.len();
    let wrong = if stored != definitions.len() {
        format!("{stored} tasks are stored, {} are in the code", definitions.len())
    } else if let Some((row, task)) =
        record.tasks.iter().zip(definitions).find(|(row, task)| row.name != task.id())
    {
        // The stored name may be of any length.
        let name: String = row.name.chars().take(100).collect();
        format!("a task `{}` is stored where the code has `{}`", name.escape_debug(), task.id())
    } else {
        return Ok(());
    };
    let message = format!("its rows are not those of its workflow: {wrong}");
    Err(Error::new(ErrorKind::Workflow, message))
}

/// Whether a stored task runs, or ended, under this claim.
pub(crate) fn is_ours(task: &TaskRecord, runner: RunnerId, attempt: i32) -> bool {
    task.runner == Some(runner) && task.attempt == attempt
}

/// `base` overlaid by `patches`.
pub(crate) fn merge(base: Arc<Values>, patches: &[Arc<Patch>]) -> Arc<Values> {
    if patches.iter().all(|patch| patch.is_empty()) {
        return base;
    }
    let mut values = base;
    let merged = Arc::make_mut(&mut values);
    patches.iter().for_each(|patch| patch.apply(merged));
    values
}

struct ContextParts {
    input: Arc<Values>,
    origin: Origin,
    patches: Vec<Option<Arc<Patch>>>,
}

impl ContextParts {
    fn of(record: &ExecutionRecord) -> Result<Self, Error> {
        let broken = |error: ContextError| {
            let message = format!("the stored context of execution {} cannot be read", record.header.id);
            Error::new(ErrorKind::Context, message).with_source(error)
        };
        let (input, origin) = taken_out(values_from_json(&record.input).map_err(broken)?);
        let patch = |task: &TaskRecord| {
            task.patch.as_deref().map(Patch::from_json).transpose().map(|patch| patch.map(Arc::new))
        };
        let patches = record.tasks.iter().map(patch).collect::<Result<_, _>>().map_err(broken)?;
        Ok(Self { input, origin, patches })
    }
}

/// The context that a node of a stored execution is reached with, and what started the execution.
pub(crate) fn context_at(
    record: &ExecutionRecord,
    graph: &Graph,
    node: TaskIndex,
) -> Result<(Arc<Values>, Origin), Error> {
    let ContextParts { input, origin, patches } = ContextParts::of(record)?;
    let before = graph.ancestors(node).into_iter();
    let patches: Vec<Arc<Patch>> = before.filter_map(|task| patches.get(task as usize).cloned()?).collect();
    Ok((merge(input, &patches), origin))
}

/// A stored execution as its caller sees it. Without the workflow's code the patches are merged in the order
/// of the tasks' positions.
pub(crate) fn result_of(
    record: &ExecutionRecord,
    workflow: Option<&Workflow>,
) -> Result<ExecutionResult, Error> {
    let graph = workflow.and_then(|workflow| workflow.graph().ok());
    let ContextParts { input, patches, origin } = ContextParts::of(record)?;
    let order: Vec<TaskIndex> = match graph {
        Some(graph) => graph.merge_order(),
        None => (0..).take(patches.len()).collect(),
    };
    let ordered: Vec<Arc<Patch>> =
        order.into_iter().filter_map(|task| patches.get(task as usize).cloned()?).collect();
    Ok(ExecutionResult {
        final_context: Context::shared(merge(input, &ordered)),
        task_results: record
            .tasks
            .iter()
            .zip(0..)
            .map(|(task, position)| TaskResult {
                task_id: task.name.clone(),
                kind: workflow.and_then(|workflow| workflow.node(position)).map(Node::kind),
                state: task.state,
                attempts: tries(task.state, task.attempt),
                start_time: task.started_at,
                end_time: task.finished_at,
                error_message: task.error.clone(),
                skip_reason: task.skip_reason,
            })
            .collect(),
        traceparent: origin.trace.as_deref().map(str::to_owned),
        ..summary_of(&record.header)
    })
}

/// A stored execution with everything that its caller may see of it.
pub(crate) fn details_of(
    record: &ExecutionRecord,
    workflow: Option<&Workflow>,
) -> Result<ExecutionDetails, Error> {
    let ContextParts { input, patches, .. } = ContextParts::of(record)?;
    let task = |(task, patch): (&TaskRecord, Option<Arc<Patch>>)| TaskDetails {
        failures: task.failures.max(0).cast_unsigned(),
        lost: task.lost.max(0).cast_unsigned(),
        runner_id: task.runner.map(|runner| runner.0),
        changes: patch.map(|patch| patch.changes().clone()).unwrap_or_default(),
    };
    Ok(ExecutionDetails {
        result: result_of(record, workflow)?,
        fingerprint: record.header.workflow.fingerprint,
        priority: u8::try_from(record.header.priority).unwrap_or_default(),
        created_at: record.header.created_at,
        deadline: record.header.deadline,
        input: Arc::unwrap_or_clone(input),
        tasks: record.tasks.iter().zip(patches).map(task).collect(),
    })
}

/// A stored execution without its tasks.
pub fn summary_of(header: &ExecutionHeader) -> ExecutionResult {
    let start_time = header.started_at.unwrap_or(header.created_at);
    ExecutionResult {
        execution_id: Uuid::from(header.id),
        workflow_name: header.workflow.name.to_string(),
        status: header.status,
        start_time,
        end_time: header.finished_at,
        duration: header.finished_at.map(|finished_at| between(start_time, finished_at)),
        final_context: Context::new(),
        task_results: Vec::new(),
        error_message: header.error.clone(),
        rerun_of: header.rerun_of.map(Uuid::from),
        superseded_by: header.superseded_by.map(Uuid::from),
        tags: header.tags.to_vec(),
        submitted_by: header.submitted_by.clone(),
        traceparent: None,
    }
}

/// How often a task was tried. To be skipped it was claimed as well, but not tried.
fn tries(state: TaskState, attempt: i32) -> u32 {
    (attempt - i32::from(state == TaskState::Skipped)).max(0).cast_unsigned()
}

fn between(start: Timestamp, end: Timestamp) -> std::time::Duration {
    end.duration_since(start).try_into().unwrap_or_default()
}
