//! Nodes of executions that the engine runs itself, with what is known of their workflows here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::context::Patch;
use crate::execution::{AttemptOutcome, SkipReason, TaskState};
use crate::id::{ExecutionId, TaskIndex};
use crate::store::{
    ChildrenPlan, DueWait, EndedBy, NEVER, Outcome, Payload, TaskOutcome, WaitBegin, WaitEnd, WaitStep,
    WorkflowKey,
};
use crate::workflow::{Awaited, Children, Graph, OnTimeout, Wait, Workflow};

/// How the nodes of an execution ended that are over.
pub(super) type Ends = HashMap<TaskIndex, (TaskState, Option<SkipReason>)>;

/// A node that is to be looked at.
pub(super) struct Known {
    wait: DueWait,
    workflow: Arc<Workflow>,
    graph: Arc<Graph>,
}

impl Known {
    /// A wait that is due.
    pub(super) fn new(wait: DueWait, workflow: Arc<Workflow>) -> Option<Self> {
        let graph = Arc::clone(workflow.graph().ok()?);
        Some(Self { wait, workflow, graph })
    }

    /// A node that has begun to wait for children, if it does by its code.
    pub(super) fn begun(
        execution: ExecutionId,
        node: TaskIndex,
        key: &WorkflowKey,
        workflow: &Arc<Workflow>,
    ) -> Option<Self> {
        let (reached_at, until) = (Timestamp::UNIX_EPOCH, Some(NEVER));
        let wait = DueWait { execution, node, workflow: key.clone(), reached_at, until, signal: None };
        let known = Self::new(wait, Arc::clone(workflow))?;
        known.children().is_some().then_some(known)
    }

    fn definition(&self) -> Option<&Wait> {
        self.workflow.node(self.wait.node)?.wait()
    }

    pub(super) fn children(&self) -> Option<&Children> {
        self.definition()?.what.children()
    }

    pub(super) fn execution(&self) -> ExecutionId {
        self.wait.execution
    }

    pub(super) fn node(&self) -> TaskIndex {
        self.wait.node
    }

    /// The id of the node.
    pub(super) fn id(&self) -> &str {
        self.workflow.node(self.wait.node).map_or("", |node| node.id())
    }

    pub(super) fn workflow(&self) -> &Workflow {
        &self.workflow
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Whether it has to be known how the nodes before it ended.
    pub(super) fn asks(&self) -> bool {
        let handles = self.workflow.node(self.wait.node).is_some_and(|node| node.rule().handles_failures());
        !self.dependencies().is_empty() && (self.wait.until.is_none() || handles)
    }

    fn dependencies(&self) -> &[TaskIndex] {
        if self.workflow.node(self.wait.node).is_none() {
            return &[];
        }
        self.graph.dependencies(self.wait.node)
    }

    /// What becomes of it; nothing if what is stored does not fit the code.
    pub(super) fn step(&self, ends: &Ends, now: Timestamp) -> Option<WaitStep> {
        let wait = self.definition()?;
        let Some(until) = self.wait.until else {
            let ends = self.dependencies().iter().map(|dependency| ends.get(dependency).copied());
            return match wait.rule.decide(&ends.collect::<Option<Vec<_>>>()?) {
                Ok(()) => Some(WaitStep::Begin(self.begin(None))),
                Err(reason) => {
                    let outcome = TaskOutcome::Skipped { reason };
                    Some(WaitStep::End(self.end(EndedBy::Rule, outcome, Vec::new())))
                }
            };
        };
        let (by, outcome) = match &self.wait.signal {
            Some(signal) => (EndedBy::Signal(signal.number), answered(wait, &signal.payload)),
            None if until <= now => (EndedBy::Time, timed_out(wait)),
            None => return None,
        };
        let handles = self.handles(wait, &outcome, ends)?;
        Some(WaitStep::End(self.end(by, outcome, handles)))
    }

    /// The failed dependencies that it handles. None if how some of them ended was not told, because there
    /// were many: it is for the next look.
    fn handles(&self, wait: &Wait, outcome: &TaskOutcome, ends: &Ends) -> Option<Vec<TaskIndex>> {
        if self.asks() && !self.dependencies().iter().all(|node| ends.contains_key(node)) {
            return None;
        }
        let mut handles = Vec::new();
        if wait.rule.handles_failures() && matches!(outcome, TaskOutcome::Completed { .. }) {
            let failed =
                |node: &&TaskIndex| ends.get(node).is_some_and(|(state, _)| *state == TaskState::Failed);
            handles.extend(self.dependencies().iter().filter(failed));
        }
        Some(handles)
    }

    /// How a node ends whose children came to this outcome; none if that is for the next look.
    pub(super) fn ended(&self, outcome: TaskOutcome, ends: &Ends) -> Option<Arc<Outcome>> {
        let handles = self.handles(self.definition()?, &outcome, ends)?;
        Some(self.end(EndedBy::Time, outcome, handles).outcome)
    }

    /// It begins to wait. Its time is counted from when it was reached.
    pub(super) fn begin(&self, children: Option<ChildrenPlan>) -> WaitBegin {
        let DueWait { execution, node, reached_at, .. } = self.wait;
        let what = self.definition().map(|wait| &wait.what);
        let signal = what.and_then(Awaited::signal);
        let ask = signal.and_then(|signal| signal.ask.as_ref());
        WaitBegin {
            execution,
            node,
            signal: signal.map(|signal| signal.name.as_str().into()),
            until: what.and_then(Awaited::lasts).map_or(NEVER, |lasts| later(reached_at, lasts)),
            ask: ask.and_then(|ask| serde_json::to_string(ask).ok()).map(Into::into),
            children,
        }
    }

    pub(super) fn end(&self, by: EndedBy, outcome: TaskOutcome, handles: Vec<TaskIndex>) -> WaitEnd {
        let DueWait { execution, node, .. } = self.wait;
        let is_wait = |node: &TaskIndex| self.workflow.node(*node).is_some_and(|node| node.wait().is_some());
        let (waits, tasks): (Vec<_>, Vec<_>) = self.graph.successors(node).iter().copied().partition(is_wait);
        let successors = tasks.into_iter().map(|task| (task, false)).collect();
        let outcome = Outcome { successors, waits, handles, ..Outcome::new(execution, node, 0, outcome) };
        let sweeps = by == EndedBy::Time && self.children().is_some();
        WaitEnd { by, outcome: Arc::new(outcome), sweeps }
    }
}

/// The time that much later, as far as anybody will see.
fn later(from: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    from.checked_add(by).unwrap_or(NEVER).clamp(Timestamp::UNIX_EPOCH, NEVER)
}

/// What becomes of a wait whose signal came.
fn answered(wait: &Wait, payload: &Payload) -> TaskOutcome {
    let failed = |error| TaskOutcome::Failed { how: AttemptOutcome::Failed, error };
    let ask = wait.what.signal().and_then(|signal| signal.ask.as_ref());
    if ask.is_some_and(|ask| !ask.is_answered_by(payload)) {
        return failed(format!(
            "the signal for `{}` came before it was asked, and is none of its choices",
            wait.id
        ));
    }
    match Patch::of_one(&wait.id, payload) {
        Ok(patch) => TaskOutcome::Completed { patch: Some(patch) },
        Err(error) => failed(format!("what the signal for `{}` brought cannot be read: {error}", wait.id)),
    }
}

/// What becomes of a wait whose time is over.
fn timed_out(wait: &Wait) -> TaskOutcome {
    let signal = match &wait.what {
        Awaited::Sleep(_) => return TaskOutcome::Completed { patch: None },
        Awaited::Children(children) => {
            let error = match children.timeout {
                Some(timeout) => format!("its children were not over within {timeout:?}"),
                None => "the wait for its children was ended by hand".to_owned(),
            };
            return TaskOutcome::Failed { how: AttemptOutcome::TimedOut, error };
        }
        Awaited::Signal(signal) => signal,
    };
    match signal.on_timeout {
        OnTimeout::Fail => {
            let error = match signal.timeout {
                Some(timeout) => format!("no signal `{}` came within {timeout:?}", signal.name),
                None => format!("no signal `{}` came until the wait was ended by hand", signal.name),
            };
            TaskOutcome::Failed { how: AttemptOutcome::TimedOut, error }
        }
        OnTimeout::Skip => TaskOutcome::Skipped { reason: SkipReason::ByRule },
        OnTimeout::Continue => TaskOutcome::Completed { patch: Patch::of_one(&wait.id, "null").ok() },
    }
}
