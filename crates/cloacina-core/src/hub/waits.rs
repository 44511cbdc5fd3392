//! Looks after the waits of executions: decides what becomes of those that are due.
//!
//! It needs no slot, and no task of the execution has to be known here. What is freed by the end of a wait
//! goes to the ready table.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tracing::warn;

use super::place::{OpenPlace, Settling};
use super::report::count_ended;
use super::shared::{Audit, Hub};
use super::timers::Timer;
use crate::context::Patch;
use crate::execution::{AttemptOutcome, ExecutionStatus, SkipReason, TaskState};
use crate::id::{ExecutionId, TaskIndex};
use crate::store::{
    ChildrenPlan, DueWait, DueWaits, EndedBy, MANY, NEVER, Outcome, Payload, Place, SettledWaits, Store,
    StoreError, StoreErrorKind, TaskOutcome, WaitBegin, WaitCursor, WaitEnd, WaitStep, WorkflowKey,
};
use crate::workflow::{Awaited, Children, Graph, OnTimeout, Wait, Workflow};

/// How the nodes of an execution ended that are over.
pub(super) type Ends = HashMap<TaskIndex, (TaskState, Option<SkipReason>)>;

impl Hub {
    /// Waits may be due now: some were reached, or somebody sent a signal.
    pub(crate) fn look_for_waits(self: &Arc<Self>, place: &Arc<OpenPlace>) {
        if !place.state().may_expand() {
            return;
        }
        let (hub, place) = (Arc::clone(self), Arc::clone(place));
        self.spawn(async move {
            let answer = hub.settle_waits(&place).await;
            place.troubles.settling.note(place.whose(), &answer);
            match answer {
                // What comes next has to be known.
                Ok(settled) => {
                    // What somebody else has locked is tried again after a pause.
                    place.state().claiming.due_taken(settled, hub.clock().monotonic());
                    hub.lower(place);
                }
                Err(_) => hub.set_timer(place.place.tenant, Timer::Due, Duration::from_secs(1)),
            }
        });
    }

    /// Settles the waits of a place that are due, unless somebody does, who looks once more then. Returns how
    /// many due rows that took away.
    pub(super) async fn settle_waits(self: &Arc<Self>, place: &Arc<OpenPlace>) -> Result<usize, StoreError> {
        if !place.state().claiming.waits.begin() {
            return Ok(0);
        }
        let mut settled = 0;
        loop {
            let answer = self.settle_all(place).await;
            let again = place.state().claiming.waits.end();
            settled += match answer {
                Ok(some) => some,
                Err(error) => {
                    place.state().claiming.waits = Settling::default();
                    return Err(error);
                }
            };
            if !again {
                return Ok(settled);
            }
        }
    }

    async fn settle_all(self: &Arc<Self>, place: &Arc<OpenPlace>) -> Result<usize, StoreError> {
        let (mut settled, mut after) = (0, None);
        loop {
            let workflows = {
                let state = place.state();
                if !state.may_expand() {
                    return Ok(settled);
                }
                Arc::clone(state.claimable())
            };
            let _turn = self.turn_in(place).await;
            let (store, inner, now) = self.asked_for(place);
            let looked =
                self.ask(async move { store.wait_due(&inner, &workflows, after.as_ref(), MANY, now).await });
            let DueWaits { now, waits, void, next } = looked.await?;
            let steps = self.decide(place, waits, now).await?;
            if !steps.is_empty() || !void.is_empty() {
                let done = match self.settle_steps(place, &steps, void).await {
                    Err(error) if error.kind() == StoreErrorKind::Data && steps.len() > 1 => {
                        self.settle_each(place, &steps).await?
                    }
                    done => done?,
                };
                settled += done.done + done.voided;
                if done.voided > 0 {
                    let rows = done.voided;
                    warn!(
                        tenant = place.place.name,
                        rows, "due rows are left out, because nothing waits there"
                    );
                }
                let starts =
                    |step: &WaitStep| matches!(step, WaitStep::Begin(begin) if begin.children.is_some());
                if steps.iter().any(starts) {
                    self.look_for_children(place);
                }
                self.settled_waits(place, done);
            }
            let Some(next) = next else { return Ok(settled) };
            after = Some(next);
        }
    }

    async fn settle_steps(
        &self,
        place: &OpenPlace,
        steps: &Arc<[WaitStep]>,
        void: Vec<WaitCursor>,
    ) -> Result<SettledWaits, StoreError> {
        let (store, inner, now) = self.asked_for(place);
        let steps = Arc::clone(steps);
        self.ask(async move { store.wait_settle(&inner, &steps, &void, now).await }).await
    }

    /// Settles waits one by one, because the database refused something about one of them.
    async fn settle_each(&self, place: &OpenPlace, steps: &[WaitStep]) -> Result<SettledWaits, StoreError> {
        let mut all = SettledWaits::default();
        for step in steps {
            match self.settle_steps(place, &[step.clone()].into(), Vec::new()).await {
                Ok(done) => all.absorb(done),
                Err(error) if error.kind() == StoreErrorKind::Data => {
                    let (tenant, execution) = (&place.place.name, step.execution());
                    warn!(tenant, %execution, node = step.node(), %error, "a wait cannot be settled");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    pub(super) fn asked_for(&self, place: &OpenPlace) -> (Arc<dyn Store>, Arc<Place>, Option<Timestamp>) {
        (Arc::clone(&self.store), Arc::clone(&place.place), self.clock.database_now())
    }

    /// Decides what becomes of waits.
    async fn decide(
        &self,
        place: &OpenPlace,
        waits: Vec<DueWait>,
        now: Timestamp,
    ) -> Result<Arc<[WaitStep]>, StoreError> {
        let known = Arc::clone(&place.state().handles.workflows);
        let of = |wait: DueWait| {
            let workflow = Arc::clone(known.version(&wait.workflow)?);
            let graph = Arc::clone(workflow.graph().ok()?);
            Some(Known { wait, workflow, graph })
        };
        let waits: Vec<Known> = waits.into_iter().filter_map(of).collect();
        let asks = waits.iter().filter(|known| known.asks()).map(|known| known.wait.execution);
        let asks: Vec<ExecutionId> = asks.collect::<BTreeSet<_>>().into_iter().collect();
        let mut ends: HashMap<ExecutionId, Ends> = HashMap::new();
        if !asks.is_empty() {
            let (store, inner, _) = self.asked_for(place);
            for end in self.ask(async move { store.wait_ends(&inner, &asks).await }).await? {
                ends.entry(end.execution).or_default().insert(end.node, (end.state, end.skip_reason));
            }
        }
        let none = Ends::new();
        let mut steps = Vec::new();
        for known in &waits {
            match known.step(ends.get(&known.wait.execution).unwrap_or(&none), now) {
                Some(WaitStep::Begin(begin)) => steps.push(match known.children() {
                    Some(children) => self.begin_children(place, known, children).await?,
                    None => WaitStep::Begin(begin),
                }),
                step => steps.extend(step),
            }
        }
        Ok(steps.into())
    }

    pub(super) fn settled_waits(self: &Arc<Self>, place: &Arc<OpenPlace>, done: SettledWaits) {
        if done.done > 0 {
            // What was freed waits in the ready table.
            place.state().claiming.note_any();
            self.look(place);
        }
        place.queue.left(done.closed.len());
        let mut failed = Vec::new();
        for closed in done.closed {
            count_ended(closed.status, 1);
            if closed.status == ExecutionStatus::Failed {
                failed.push(closed.execution);
            }
            self.request_audit(Audit::Execution(Arc::clone(place), closed.execution));
        }
        if !failed.is_empty() {
            self.spawn(Arc::clone(self).say_failures(Arc::clone(place), failed));
        }
        if !done.submitters.is_empty() {
            self.store.tell(&done.submitters);
        }
    }
}

/// A wait that is due, with what is known of its workflow here.
pub(super) struct Known {
    wait: DueWait,
    workflow: Arc<Workflow>,
    graph: Arc<Graph>,
}

impl Known {
    /// A node that has begun to wait for children, if it does by its code.
    pub(super) fn begun(
        execution: ExecutionId,
        node: TaskIndex,
        key: &WorkflowKey,
        workflow: &Arc<Workflow>,
    ) -> Option<Self> {
        let graph = Arc::clone(workflow.graph().ok()?);
        let (reached_at, until) = (Timestamp::UNIX_EPOCH, Some(NEVER));
        let wait = DueWait { execution, node, workflow: key.clone(), reached_at, until, signal: None };
        let known = Self { wait, workflow: Arc::clone(workflow), graph };
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
    fn step(&self, ends: &Ends, now: Timestamp) -> Option<WaitStep> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;
    use crate::error::TaskError;
    use crate::rule::TriggerRule;
    use crate::store::{ReceivedSignal, WorkflowKey};
    use crate::workflow::TaskDefinition;

    #[test]
    fn a_wait_that_handles_failures_ends_only_when_all_of_them_are_known() {
        let task = |id: &str| {
            TaskDefinition::from_async(id, |context: Context| async { Ok::<_, TaskError>(context) })
        };
        let wait = Wait::signal("paid").after("a").after("b").rule(TriggerRule::AnyFailed);
        let workflow = Workflow::builder("w").task(task("a")).task(task("b")).wait(wait).build();
        let node =
            (0..3).find(|node| workflow.node(*node).is_some_and(|node| node.wait().is_some())).unwrap();
        let graph = Arc::clone(workflow.graph().unwrap());
        let key = WorkflowKey { name: "w".into(), fingerprint: workflow.fingerprint().unwrap() };
        let wait = DueWait {
            execution: ExecutionId::new(),
            node,
            workflow: key,
            reached_at: Timestamp::UNIX_EPOCH,
            until: Some(NEVER),
            signal: Some(ReceivedSignal { number: 1, payload: "1".into() }),
        };
        let [one, other] = graph.dependencies(node)[..] else { panic!("it has two dependencies") };
        let known = Known { wait, workflow: Arc::new(workflow), graph };
        let completed = (TaskState::Completed, None);
        let told = Ends::from([(one, completed)]);
        assert!(known.step(&told, Timestamp::UNIX_EPOCH).is_none(), "the other may have failed");
        let all = Ends::from([(one, completed), (other, (TaskState::Failed, None))]);
        let Some(WaitStep::End(end)) = known.step(&all, Timestamp::UNIX_EPOCH) else { panic!("it ends") };
        assert_eq!(end.outcome.handles, [other]);
    }
}
