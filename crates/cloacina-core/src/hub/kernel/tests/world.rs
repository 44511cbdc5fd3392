//! Processes that share one place, played step by step.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;

use super::super::effects::{Effects, Moment, Start};
use super::super::reconcile::Loaded;
use super::rows::place::{PlaceRows, Writer};
use crate::config::RunnerConfig;
use crate::context::Values;
use crate::error::Error;
use crate::execution::{AttemptOutcome, ExecutionResult, ExecutionStatus};
use crate::hub::batch::PlaceBatch;
use crate::hub::place::{Ended, OpenPlace, Poll, Submitting, WorkflowSet};
use crate::hub::stop::StopReason;
use crate::hub::transition::{Ending, Incarnation, Submit, SubmitReply};
use crate::id::{ExecutionId, RunnerId, TaskIndex, TenantId};
use crate::retry::RetryPolicy;
use crate::rule::TriggerRule;
use crate::slots::{Permit, TenantSlots};
use crate::store::{
    Claim, Control, Controlled, DueKind, NewExecution, NewTask, Outcome, Place, PlaceFlush, PlaceFlushed,
    TaskOutcome, TenantStatus, WorkflowKey,
};
use crate::workflow::{TaskDefinition, Workflow};

/// An attempt is this very try of this very task.
pub(super) type AttemptId = (ExecutionId, TaskIndex, i32);

/// Where tasks would run, if they did.
static NOWHERE: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime without anything can be made")
});

/// One database with one place, and all that was seen of it.
pub(super) struct World {
    pub(super) rows: PlaceRows,
    pub(super) workflows: Vec<Workflow>,
    pub(super) now: i64,
    dead: BTreeSet<RunnerId>,
    /// Every attempt that was ever started, by whomever.
    pub(super) started: BTreeSet<AttemptId>,
}

/// One process that has the place open.
pub(super) struct Process {
    pub(super) place: Arc<OpenPlace>,
    pub(super) incarnation: Arc<Incarnation>,
    /// What waits for the lane, and what was written and is not taken over yet.
    pub(super) waiting: PlaceBatch,
    pub(super) written: Option<(PlaceBatch, PlaceFlushed)>,
    pub(super) running: BTreeMap<AttemptId, Option<Permit>>,
    pub(super) loads: Vec<Start>,
    pub(super) audits: BTreeSet<ExecutionId>,
    /// Notices that have not reached it yet.
    pub(super) notices: BTreeSet<ExecutionId>,
    pub(super) unresolved: Vec<Submit>,
    pub(super) waiters: Vec<Waits>,
    pub(super) handles: Vec<(ExecutionId, Arc<std::sync::OnceLock<Ended>>)>,
}

/// Somebody who waits for an execution.
pub(super) struct Waits {
    pub(super) execution: ExecutionId,
    receiver: oneshot::Receiver<Result<ExecutionResult, Error>>,
}

impl Waits {
    pub(super) fn result(&mut self) -> Option<ExecutionResult> {
        let answer = (&mut self.receiver).now_or_never()?;
        Some(answer.expect("whoever waits is told").expect("the execution is there"))
    }
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).expect("the time is within reach")
}

fn workflow(name: &str, tasks: &[(&str, &[&str], TriggerRule)]) -> Workflow {
    let task = |(id, dependencies, rule): &(&str, &[&str], TriggerRule)| {
        TaskDefinition::from_async(*id, |context| async { Ok::<_, crate::TaskError>(context) })
            .dependencies(dependencies.iter().copied())
            .retry(RetryPolicy::NEVER)
            .rule(*rule)
    };
    tasks.iter().map(task).fold(Workflow::builder(name), |builder, task| builder.task(task)).build()
}

impl World {
    pub(super) fn new() -> Self {
        let all = TriggerRule::default();
        let place = Place {
            tenant: TenantId::new(),
            name: "acme".to_owned(),
            schema: String::new(),
            epoch: 1,
            shared: false,
        };
        let diamond: [(&str, &[&str], TriggerRule); 4] = [
            ("top", &[], all),
            ("left", &["top"], all),
            ("right", &["top"], all),
            ("bottom", &["left", "right"], TriggerRule::AllDone),
        ];
        let chain: [(&str, &[&str], TriggerRule); 3] =
            [("a", &[], all), ("b", &["a"], all), ("c", &["b"], all)];
        let wide: [(&str, &[&str], TriggerRule); 4] = [
            ("one", &[], all),
            ("two", &[], all),
            ("three", &[], all),
            ("end", &["one", "two", "three"], all),
        ];
        let workflows =
            vec![workflow("diamond", &diamond), workflow("chain", &chain), workflow("wide", &wide)];
        let rows = PlaceRows::new(place);
        Self { rows, workflows, now: 0, dead: BTreeSet::new(), started: BTreeSet::new() }
    }

    pub(super) fn moment(&self) -> Moment {
        let monotonic = Duration::from_secs(self.now.unsigned_abs());
        Moment { now: at(self.now), monotonic }
    }

    pub(super) fn process(&self) -> Process {
        let settings = RunnerConfig::builder().max_concurrent_tasks(8).build();
        let slots = TenantSlots::new(8, Arc::default());
        let place = Arc::new(OpenPlace::new(
            self.rows.place.clone(),
            slots,
            Arc::new(settings),
            TenantStatus::default(),
        ));
        {
            let mut state = place.state();
            let workflows = self.workflows.iter().cloned().map(Arc::new);
            let set = WorkflowSet::new(&WorkflowSet::default(), workflows).expect("the workflows are sound");
            let handle = state.handles.open();
            state.handles.workflows = Arc::new(set);
            state.handles.executors.push((handle, Handle::clone(NOWHERE.handle())));
            state.handles.registered = true;
            state.claiming.note_any();
        }
        Process {
            waiting: PlaceBatch::new(Arc::clone(&place)),
            place,
            incarnation: Incarnation::new(RunnerId::new()),
            written: None,
            running: BTreeMap::new(),
            loads: Vec::new(),
            audits: BTreeSet::new(),
            notices: BTreeSet::new(),
            unresolved: Vec::new(),
            waiters: Vec::new(),
            handles: Vec::new(),
        }
    }

    /// Declares a runner dead, and takes its work back.
    pub(super) fn rescue(&mut self, runner: RunnerId) {
        self.dead.insert(runner);
        self.rows.rescue(runner, at(self.now));
    }

    pub(super) fn is_dead(&self, runner: RunnerId) -> bool {
        self.dead.contains(&runner)
    }

    /// Whether it was done.
    pub(super) fn control(&mut self, execution: ExecutionId, control: &Control) -> bool {
        matches!(self.rows.control(execution, control, at(self.now)), Controlled::Done(_))
    }

    pub(super) fn load(&self, executions: impl IntoIterator<Item = ExecutionId>) -> Loaded {
        let mut loaded = Loaded::default();
        for id in executions {
            match self.rows.record(id) {
                Some(record) => loaded.records.push(record),
                None => drop(loaded.missing.insert(id)),
            }
        }
        loaded
    }

    pub(super) fn status(&self, execution: ExecutionId) -> Option<ExecutionStatus> {
        self.rows.header(execution).map(|header| header.status)
    }
}

impl Process {
    pub(super) fn runner(&self) -> RunnerId {
        self.incarnation.id
    }

    /// Sends a new execution on its way, with its first tasks claimed if that may be.
    pub(super) fn submit(
        &mut self,
        world: &World,
        workflow: usize,
        direct: bool,
        waits: bool,
    ) -> ExecutionId {
        self.submit_until(world, workflow, (direct, waits), None)
    }

    /// The same with a deadline.
    pub(super) fn submit_until(
        &mut self,
        world: &World,
        workflow: usize,
        (direct, waits): (bool, bool),
        deadline: Option<i64>,
    ) -> ExecutionId {
        let workflow = Arc::new(world.workflows[workflow].clone());
        let graph = Arc::clone(workflow.graph().expect("the workflow is sound"));
        let under_way = Submitting::new(&self.place).expect("few are on their way");
        let direct = direct && self.place.state().claims() && !self.place.state().claiming.has_backlog();
        let tasks: Arc<[NewTask]> = (0..)
            .zip(workflow.tasks())
            .map(|(position, task)| NewTask {
                name: task.id().to_owned(),
                is_wait: false,
                waiting_on: i16::try_from(graph.dependencies(position).len()).expect("there are few"),
            })
            .collect();
        let roots: Vec<TaskIndex> =
            (0..).zip(&*tasks).filter(|(_, task)| task.waiting_on == 0).map(|(task, _)| task).collect();
        let permits = if direct { self.place.slots.take(roots.len()) } else { Vec::new() };
        let execution = NewExecution {
            id: ExecutionId::new(),
            workflow: WorkflowKey {
                name: Arc::clone(workflow.shared_name()),
                fingerprint: graph.fingerprint(),
            },
            priority: 5,
            input: "{}".to_owned().into(),
            idempotency: None,
            start_at: None,
            deadline: deadline.map(at),
            claimed: roots[..permits.len()].to_vec(),
            submitter: None,
            tags: Vec::new(),
            submitted_by: None,
            on_failure: None,
            rerun: None,
            child: None,
            tasks,
        };
        let id = execution.id;
        let reply = if waits {
            let (sender, receiver) = oneshot::channel();
            self.waiters.push(Waits { execution: id, receiver });
            SubmitReply::Finished(sender)
        } else {
            let handle = Arc::default();
            self.handles.push((id, Arc::clone(&handle)));
            // Somebody listens, as far as the kernel can tell.
            let (sender, receiver) = oneshot::channel();
            std::mem::forget(receiver);
            SubmitReply::Recorded(sender, handle)
        };
        self.waiting.submits.push(Submit {
            place: Arc::clone(&self.place),
            execution: Arc::new(execution),
            workflow: Some(workflow),
            input: Arc::new(Values::default()),
            origin: crate::origin::Origin::default(),
            permits,
            reply,
            under_way,
            since: Duration::ZERO,
            unsure: false,
            admitted: None,
        });
        id
    }

    /// Waits for an execution that was submitted by whomever.
    pub(super) fn wait(&mut self, world: &World, execution: ExecutionId) {
        let (sender, receiver) = oneshot::channel();
        self.waiters.push(Waits { execution, receiver });
        let mut state = self.place.state();
        let poll = (!state.work.holds(execution)).then(|| Poll::at_once(world.moment().monotonic));
        state.waiters.add(execution, sender, poll);
    }

    /// An attempt comes to its end.
    pub(super) fn end(&mut self, attempt: AttemptId, outcome: TaskOutcome) {
        let permit = self.running.remove(&attempt).expect("it runs").filter(|_| true);
        self.send(attempt, outcome, permit);
    }

    fn send(&mut self, (execution, task, attempt): AttemptId, outcome: TaskOutcome, permit: Option<Permit>) {
        let mut outcome = Outcome::new(execution, task, attempt, outcome);
        let slots = &self.place.slots;
        let permits = self.place.state().prepare(&mut outcome, permit, |wanted| slots.take(wanted));
        self.waiting.endings.push(Ending {
            place: Arc::clone(&self.place),
            incarnation: Arc::clone(&self.incarnation),
            outcome: Arc::new(outcome),
            patch: None,
            permits,
            refused: false,
        });
    }

    /// Takes due rows; the executions that were cancelled.
    pub(super) fn settle_due(&mut self, world: &mut World) -> Vec<ExecutionId> {
        let settled = world.rows.settle_due(DueKind::ALL, at(world.now), 4);
        assert_eq!(settled.taken, settled.expired.len(), "whatever is over has nothing due");
        self.audits.extend(&settled.expired);
        settled.expired
    }

    /// Claims ready work, if some is known and a slot is free.
    pub(super) fn claim(&mut self, most: usize) {
        let may = {
            let state = self.place.state();
            !state.claiming.under_way && state.claiming.has_backlog() && state.claims()
        };
        let permits = if may { self.place.slots.take(most) } else { Vec::new() };
        if !permits.is_empty() {
            self.waiting.news = self.place.state().claiming.begin();
            self.waiting.permits = permits;
        }
    }

    /// Writes what waits. What the database said is taken over [later](Self::take_over), or is lost.
    pub(super) fn flush(&mut self, world: &mut World) {
        if self.written.is_some() || self.waiting.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.waiting, PlaceBatch::new(Arc::clone(&self.place)));
        if world.is_dead(self.runner()) {
            // Fenced: nothing is written, and the process goes on as a new runner.
            self.waiting = batch;
            return self.renew(world);
        }
        let (workflows, timed, related) = {
            let state = self.place.state();
            let ended = || batch.endings.iter().map(|ending| ending.outcome.execution);
            (Arc::clone(state.claimable()), state.work.timed(ended()), state.work.related(ended()))
        };
        let flush = PlaceFlush {
            place: Arc::clone(&self.place.place),
            first_claim: false,
            submits: batch.submits.iter().map(|submit| Arc::clone(&submit.execution)).collect(),
            outcomes: batch.endings.iter().map(|ending| Arc::clone(&ending.outcome)).collect(),
            timed,
            related,
            claim: (!batch.permits.is_empty()).then_some(Claim { limit: batch.permits.len(), workflows }),
        };
        let writer = Writer { runner: Some(self.runner()), now: at(world.now) };
        let done = world.rows.flush(writer, &flush);
        self.written = Some((batch, done));
    }

    /// Takes over what was written.
    pub(super) fn take_over(&mut self, world: &mut World) {
        let Some((batch, done)) = self.written.take() else { return };
        let effects = self.place.state().apply(batch, done, world.moment());
        self.perform(world, effects);
    }

    /// Writes what waits, and takes it over.
    pub(super) fn commit(&mut self, world: &mut World) {
        self.flush(world);
        self.take_over(world);
    }

    /// The answer to a commit is lost: everything is tried again, and what is held is compared with the
    /// database.
    pub(super) fn lose_the_answer(&mut self, world: &mut World) {
        let Some((mut batch, _)) = self.written.take() else { return };
        batch.submits.iter_mut().for_each(|submit| submit.unsure = true);
        batch.absorb(std::mem::replace(&mut self.waiting, PlaceBatch::new(Arc::clone(&self.place))));
        self.waiting = batch;
        self.audit_held(world);
    }

    /// Adds what runs under our name and is not held here to what is to be audited.
    pub(super) fn audit_held(&mut self, world: &World) {
        let state = self.place.state();
        let held = world.rows.held(self.runner());
        let unheld = held.into_iter().filter(|task| state.work.held(task.execution, task.task).is_none());
        self.audits.extend(unheld.map(|task| task.execution));
    }

    /// Notices reach it.
    pub(super) fn hear(&mut self) {
        self.audits.append(&mut self.notices);
    }

    /// Compares executions with the database, while nothing is being written.
    pub(super) fn audit(&mut self, world: &mut World) {
        if self.written.is_some() {
            return;
        }
        let loaded = world.load(std::mem::take(&mut self.audits));
        let runner = (!world.is_dead(self.runner())).then(|| self.runner());
        let effects = self.place.state().reconcile(loaded, runner, self.place.slots.free(), world.moment());
        self.perform(world, effects);
    }

    /// Reads executions that are waited for, whatever is being written.
    pub(super) fn poll(&mut self, world: &mut World) {
        let due = {
            let mut state = self.place.state();
            let state = &mut *state;
            let work = &state.work;
            state.waiters.due(world.moment().monotonic, |execution| work.holds(execution), |_, _| false)
        };
        let loaded = world.load(due.unknown.into_iter().chain(due.open));
        let effects = self.place.state().settle(loaded, Some(self.runner()));
        self.perform(world, effects);
    }

    /// Reads executions of claimed tasks.
    pub(super) fn load(&mut self, world: &mut World) {
        let starts = std::mem::take(&mut self.loads);
        let ids: HashSet<ExecutionId> = starts.iter().map(|start| start.execution).collect();
        let effects = self.place.state().begin(starts, world.load(ids), world.moment());
        self.perform(world, effects);
    }

    /// Finds out what became of executions that may have been recorded.
    pub(super) fn resolve(&mut self, world: &World) {
        for submit in std::mem::take(&mut self.unresolved) {
            let id = submit.execution.id;
            assert!(world.status(id).is_some(), "what is resolved was recorded");
            if let SubmitReply::Finished(waiter) = submit.reply {
                self.place.state().waiters.add(id, waiter, Some(Poll::soon(world.moment().monotonic)));
            }
            self.audits.insert(id);
            self.place.state().claiming.note_backlog(submit.execution.priority);
        }
    }

    /// Goes on as a new runner: all that is held is void.
    pub(super) fn renew(&mut self, world: &mut World) {
        // What was written is taken over first.
        self.take_over(world);
        let effects = self.place.state().void(world.moment());
        self.perform(world, effects);
        self.loads.clear();
        self.incarnation = Incarnation::new(RunnerId::new());
        self.waiting.drop_void(Some(&self.incarnation));
        for submit in &mut self.waiting.submits {
            // Its permits were for tasks that run under the old name; those of an unsure one may be
            // another's.
            assert!(submit.permits.len() >= submit.execution.claimed.len() || submit.unsure);
        }
    }

    fn perform(&mut self, world: &mut World, effects: Effects) {
        let Effects { stops, unresolved, finished, abandoned, runs, ends, loads, audits, .. } = effects;
        assert!(abandoned.is_empty(), "everything can be run as it is stored: {abandoned:?}");
        for stop in &stops {
            stop.stop(StopReason::Void);
        }
        for (waiter, result) in finished {
            drop(waiter.send(result));
        }
        self.unresolved.extend(unresolved.into_iter().map(|(submit, _)| submit));
        for run in runs {
            let attempt = (run.start.execution, run.start.task, run.start.attempt);
            assert!(world.started.insert(attempt), "no attempt is started twice: {attempt:?}");
            self.running.insert(attempt, run.start.permit);
        }
        for (start, outcome) in ends {
            self.send((start.execution, start.task, start.attempt), outcome, start.permit);
        }
        self.loads.extend(loads);
        self.audits.extend(audits);
        self.stop_running();
    }

    /// Ends the attempts that were told to stop, as they do themselves.
    fn stop_running(&mut self) {
        let state = self.place.state();
        self.running
            .retain(|(execution, task, attempt), _| state.work.holds_attempt(*execution, *task, *attempt));
    }
}

/// How a task that ran may end.
pub(super) fn outcome(rng: &mut fastrand::Rng) -> TaskOutcome {
    let error = || "no luck".to_owned();
    match rng.u32(0..10) {
        0 => TaskOutcome::Failed { how: AttemptOutcome::Failed, error: error() },
        1 => {
            TaskOutcome::Retry { how: AttemptOutcome::Failed, error: error(), after: Duration::from_secs(3) }
        }
        2 => TaskOutcome::Retry { how: AttemptOutcome::TimedOut, error: error(), after: Duration::ZERO },
        3 => TaskOutcome::Released,
        _ => TaskOutcome::Completed { patch: None },
    }
}
