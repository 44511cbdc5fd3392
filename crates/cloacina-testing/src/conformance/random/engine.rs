//! An engine without tasks: it plays the scripts of plans through a store, and makes trouble.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloacina_core::execution::{AttemptOutcome, ExecutionStatus, SkipReason};
use cloacina_core::id::{ExecutionId, RunnerId, TaskIndex};
use cloacina_core::store::{
    Claim, Controlled, Flush, Liveness, NewExecution, Outcome, PlaceFlush, PlaceFlushed, StoreErrorKind,
    TaskOutcome,
};
use fastrand::Rng;
use jiff::Timestamp;

use super::plan::{Plan, Seen};
use crate::conformance::process::{Process, Runner, WORKFLOW, at, key};

/// After so many steps of all engines nobody makes trouble any more, and what is left has to end.
const TROUBLE: usize = 120;
/// If every engine has made so many steps since anything happened, nothing will.
const PATIENCE: usize = 200;

/// What the engines of one history share.
pub(super) struct History {
    pub(super) plans: BTreeMap<ExecutionId, Plan>,
    clock: Arc<AtomicI64>,
    steps: AtomicUsize,
    told: Mutex<Told>,
}

/// What the store has told about it.
#[derive(Default)]
struct Told {
    unsubmitted: Vec<ExecutionId>,
    ended: BTreeMap<ExecutionId, Vec<ExecutionStatus>>,
    recorded: BTreeMap<(ExecutionId, TaskIndex), usize>,
    /// Runners whose work somebody has to take back.
    crashed: Vec<RunnerId>,
    rescued: Vec<RunnerId>,
    /// For each engine, its steps since anything happened.
    idle: Vec<usize>,
}

impl History {
    pub(super) fn new(plans: Vec<Plan>, clock: Arc<AtomicI64>, engines: usize) -> Self {
        let told = Told {
            unsubmitted: plans.iter().map(|plan| plan.id).collect(),
            idle: vec![0; engines],
            ..Told::default()
        };
        Self {
            plans: plans.into_iter().map(|plan| (plan.id, plan)).collect(),
            clock,
            steps: AtomicUsize::new(0),
            told: Mutex::new(told),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        at(self.clock.load(Ordering::Relaxed))
    }

    /// How an execution was said to have ended.
    pub(super) fn ended(&self, id: ExecutionId) -> Vec<ExecutionStatus> {
        self.tell(|told| told.ended.get(&id).cloned().unwrap_or_default())
    }

    /// How often a task was said to be over.
    pub(super) fn recorded(&self, id: ExecutionId, task: TaskIndex) -> usize {
        self.tell(|told| told.recorded.get(&(id, task)).copied().unwrap_or_default())
    }

    pub(super) fn crashed(&self) -> Vec<RunnerId> {
        self.tell(|told| told.crashed.clone())
    }

    /// Those that were rescued. A process that is logged in as a tenant takes an operator's tasks back, and
    /// leaves its row to another operator.
    pub(super) fn rescued(&self) -> Vec<RunnerId> {
        self.tell(|told| told.rescued.clone())
    }

    fn tell<T>(&self, work: impl FnOnce(&mut Told) -> T) -> T {
        work(&mut self.told.lock().expect("an engine that panics ends the test"))
    }

    fn is_over(&self) -> bool {
        self.tell(|told| told.ended.len() == self.plans.len())
    }

    fn end(&self, id: ExecutionId, status: ExecutionStatus) {
        self.tell(|told| {
            told.ended.entry(id).or_default().push(status);
            told.idle.fill(0);
        });
    }

    /// The engine of this number has made a step. Returns whether nothing has happened for long.
    fn step(&self, engine: usize, progress: bool) -> bool {
        self.tell(|told| {
            if progress {
                told.idle.fill(0);
            }
            told.idle[engine] += 1;
            told.idle.iter().all(|idle| *idle > PATIENCE)
        })
    }
}

/// A task in hand.
struct Held {
    execution: ExecutionId,
    task: TaskIndex,
    attempt: i32,
    failures: i32,
    decision: Result<Vec<TaskIndex>, SkipReason>,
}

pub(super) struct Engine {
    history: Arc<History>,
    number: usize,
    process: Process,
    runner: Runner,
    claimed_before: bool,
    held: Vec<Held>,
    /// What was reported before, and must never count again.
    stale: Vec<(ExecutionId, TaskIndex, i32)>,
    rng: Rng,
}

impl Engine {
    pub(super) async fn new(history: Arc<History>, number: usize, process: Process, rng: Rng) -> Self {
        let runner = process.runner().await;
        Self {
            history,
            number,
            process,
            runner,
            claimed_before: false,
            held: Vec::new(),
            stale: Vec::new(),
            rng,
        }
    }

    pub(super) async fn run(mut self) {
        while !self.history.is_over() {
            let calm = self.history.steps.fetch_add(1, Ordering::Relaxed) >= TROUBLE;
            if calm {
                self.tidy().await;
            } else if self.chance(25) {
                self.trouble().await;
            }
            let progress = self.step(calm).await;
            if self.history.step(self.number, progress) {
                self.explain().await;
            }
        }
        self.process.retire(self.runner.id).await;
    }

    /// Says what is left, and ends the history.
    async fn explain(&mut self) -> ! {
        let mut left = Vec::new();
        for id in self.history.plans.keys() {
            if self.history.ended(*id).is_empty() {
                let record = self.process.load(*id).await;
                let tasks = record.tasks.iter().map(|task| (task.state, task.attempt, task.runner));
                left.push(format!("{id} is {}: {:?}", record.header.status, tasks.collect::<Vec<_>>()));
            }
        }
        let now = self.history.now();
        let bells = self.process.bells(now).await;
        let runners = self.process.runners().await;
        let crashed = self.history.crashed();
        panic!(
            "nothing happens any more at {now}, and these have not ended: {left:#?}\nbells: {:?}\nrunners: {:?}\n\
             to be rescued: {crashed:?}\nthis one: {}",
            bells.due,
            runners.iter().map(|r| r.id).collect::<Vec<_>>(),
            self.runner.id
        );
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(..100) < percent
    }

    fn now(&mut self) -> Timestamp {
        self.history.clock.fetch_add(self.rng.i64(1..=4), Ordering::Relaxed);
        self.history.now()
    }

    fn any_execution(&mut self) -> ExecutionId {
        let number = self.rng.usize(..self.history.plans.len());
        *self.history.plans.keys().nth(number).expect("the number is in range")
    }

    async fn trouble(&mut self) {
        let (now, id) = (self.now(), self.any_execution());
        match self.rng.u8(..12) {
            0 => {
                if let Controlled::Done(status) = self.process.cancel(id, now).await {
                    self.history.end(id, status);
                }
            }
            1..=3 => {
                self.process.pause(id, now).await;
            }
            4..=6 => self.resume(id).await,
            7 => {
                self.history.tell(|told| told.crashed.push(self.runner.id));
                self.incarnate().await;
            }
            8 => {
                let live = self.process.runners().await;
                let live: Vec<_> = live.iter().filter(|other| other.liveness == Liveness::Live).collect();
                if let Some(other) = self.rng.choice(live)
                    && self.process.condemn(other.id, other.beat).await
                {
                    self.history.tell(|told| told.crashed.push(other.id));
                }
            }
            9 => self.rescue().await,
            10 => self.expire().await,
            _ => {
                self.process.heartbeat(self.runner.id, &[key(WORKFLOW, 1)]).await;
            }
        }
    }

    /// What has to happen so that everything can end.
    async fn tidy(&mut self) {
        if self.chance(30) {
            self.rescue().await;
        }
        if self.chance(30) {
            let id = self.any_execution();
            self.resume(id).await;
        }
        if self.chance(10) {
            self.expire().await;
        }
    }

    async fn resume(&mut self, id: ExecutionId) {
        let now = self.now();
        match self.process.resume(id, now).await {
            Controlled::Done(status) if status.is_terminal() => self.history.end(id, status),
            Controlled::Done(_) => drop(self.history.step(self.number, true)),
            _ => {}
        }
    }

    async fn expire(&mut self) {
        let now = self.now();
        for id in self.process.expire(now).await {
            self.history.end(id, ExecutionStatus::Cancelled);
        }
    }

    async fn rescue(&mut self) {
        for id in self.history.crashed() {
            let now = self.now();
            if let Some(record) = self.process.runner_record(id).await
                && !self.process.condemn(id, record.beat).await
            {
                continue;
            }
            self.process.rescue(id, now).await;
            self.history.tell(|told| {
                told.crashed.retain(|other| *other != id);
                told.rescued.push(id);
            });
        }
    }

    /// Starts again as a process that knows nothing.
    async fn incarnate(&mut self) {
        self.runner = self.process.runner().await;
        self.claimed_before = false;
        self.held.clear();
    }

    /// One flush; whether it brought anything.
    async fn step(&mut self, calm: bool) -> bool {
        let now = self.now();
        let reported: Vec<Held> = {
            let (kept, reported) = mem::take(&mut self.held).into_iter().partition(|_| self.chance(35));
            self.held = kept;
            reported
        };
        let mut outcomes: Vec<_> = reported.iter().map(|held| Arc::new(self.outcome(held))).collect();
        outcomes.extend(self.stale_outcome(&reported).map(Arc::new));
        let submits = self.submits();
        // Once it is calm, only the bell tells of work: one that was lost is found out.
        let looks = if calm { self.process.is_rung(now).await } else { self.chance(70) };
        let limit = self.rng.usize(1..=6);
        if outcomes.is_empty() && submits.is_empty() && !looks {
            return false;
        }
        let part = PlaceFlush {
            place: Arc::clone(&self.process.place),
            first_claim: !self.claimed_before,
            submits: submits.clone(),
            timed: outcomes.iter().map(|outcome| outcome.execution).collect(),
            related: outcomes.iter().map(|outcome| outcome.execution).collect(),
            outcomes,
            claim: looks.then(|| Claim { limit, workflows: [key(WORKFLOW, 1)].into() }),
        };
        let Some(flushed) =
            self.flush(Flush { runner: Some(self.runner.id), now: Some(now), places: vec![part] }).await
        else {
            self.history.tell(|told| told.unsubmitted.extend(submits.iter().map(|new| new.id)));
            self.incarnate().await;
            return false;
        };
        self.claimed_before = true;
        assert_eq!(flushed.submitted.len(), submits.len(), "every new execution is recorded");
        let roots = submits.iter().flat_map(|new| new.claimed.iter().map(|task| (new.id, *task, 1, 0)));
        let freed =
            flushed.freed.iter().filter_map(|freed| Some((freed.execution, freed.task, freed.claimed?, 0)));
        let claimed = flushed.claimed.iter().map(|one| (one.execution, one.task, one.attempt, one.failures));
        let taken: Vec<_> = roots.chain(freed).chain(claimed).collect();
        let progress = !taken.is_empty() || !flushed.recorded.is_empty() || !submits.is_empty();
        self.note(&reported, &flushed);
        self.take(taken).await;
        if looks && (calm || self.chance(50)) {
            let now = self.now();
            self.process.lower(now).await;
        }
        progress
    }

    /// `None` if the runner is fenced.
    async fn flush(&self, flush: Flush) -> Option<PlaceFlushed> {
        let flush = Arc::new(flush);
        for _ in 0..50 {
            match self.process.flush(Arc::clone(&flush)).await {
                Ok(mut flushed) => return flushed.places.pop(),
                Err(error) => match error.kind() {
                    StoreErrorKind::Fenced => return None,
                    StoreErrorKind::Transient | StoreErrorKind::Busy => {}
                    _ => panic!("a flush failed: {error:?}"),
                },
            }
        }
        panic!("a flush met nothing but transient errors");
    }

    fn submits(&mut self) -> Vec<Arc<NewExecution>> {
        let some = self.rng.usize(..=2);
        let ids = self.history.tell(|told| {
            let left = told.unsubmitted.len();
            told.unsubmitted.split_off(left.saturating_sub(some))
        });
        let history = Arc::clone(&self.history);
        ids.iter().map(|id| Arc::new(history.plans[id].draft(|| self.chance(60)))).collect()
    }

    fn outcome(&mut self, held: &Held) -> Outcome {
        let history = Arc::clone(&self.history);
        let plan = &history.plans[&held.execution];
        let task = plan.task(held.task);
        let how =
            *self.rng.choice(&[AttemptOutcome::Failed, AttemptOutcome::TimedOut]).expect("there are two");
        let error = format!("failure {}", held.failures);
        let outcome = match &held.decision {
            Err(reason) => TaskOutcome::Skipped { reason: *reason },
            Ok(_) if self.chance(10) => TaskOutcome::Released,
            Ok(_) if held.failures < task.retries => {
                TaskOutcome::Retry { how, error, after: Duration::from_millis(self.rng.u64(0..30)) }
            }
            Ok(_) if task.fails => TaskOutcome::Failed { how, error },
            Ok(_) => TaskOutcome::Completed { patch: Some(plan.patch(held.task).into()) },
        };
        let (mut successors, mut handles) = (Vec::new(), Vec::new());
        if !matches!(outcome, TaskOutcome::Released | TaskOutcome::Retry { .. }) {
            successors = plan.successors(held.task).into_iter().map(|task| (task, self.rng.bool())).collect();
        }
        if let (TaskOutcome::Completed { .. }, Ok(handled)) = (&outcome, &held.decision) {
            handles.clone_from(handled);
        }
        let Held { execution, task, attempt, .. } = *held;
        Outcome { successors, handles, ..Outcome::new(execution, task, attempt, outcome) }
    }

    /// Something that was reported before, as a runner might that has lost count.
    fn stale_outcome(&mut self, reported: &[Held]) -> Option<Outcome> {
        if !self.chance(15) {
            return None;
        }
        let (execution, task, attempt) = self.rng.choice(self.stale.iter().copied())?;
        if reported.iter().any(|held| (held.execution, held.task) == (execution, task)) {
            return None;
        }
        let successors = self.history.plans[&execution].successors(task);
        let successors = successors.into_iter().map(|task| (task, true)).collect();
        let outcome = TaskOutcome::Completed { patch: Some(r#"{"set":{"stale":true}}"#.into()) };
        Some(Outcome { successors, ..Outcome::new(execution, task, attempt, outcome) })
    }

    fn note(&mut self, reported: &[Held], flushed: &PlaceFlushed) {
        for recorded in &flushed.recorded {
            let ours = reported
                .iter()
                .find(|held| (held.execution, held.task) == (recorded.execution, recorded.task))
                .expect("only what was held is recorded");
            self.stale.push((ours.execution, ours.task, ours.attempt));
        }
        let recorded = flushed.recorded.iter().map(|recorded| (recorded.execution, recorded.task));
        self.history.tell(|told| {
            for task in recorded {
                *told.recorded.entry(task).or_default() += 1;
            }
        });
        for closed in &flushed.closed {
            self.history.end(closed.execution, closed.status);
        }
    }

    async fn take(&mut self, taken: Vec<(ExecutionId, TaskIndex, i32, i32)>) {
        let ids: BTreeSet<_> = taken.iter().map(|(id, ..)| *id).collect();
        if ids.is_empty() {
            return;
        }
        let records = self.process.load_all(&ids.into_iter().collect::<Vec<_>>()).await;
        for (execution, task, attempt, failures) in taken {
            let record = records.iter().find(|record| record.header.id == execution);
            let record = record.expect("an execution that is claimed can be loaded");
            let seen: Vec<Seen> = record.tasks.iter().map(|task| (task.state, task.skip_reason)).collect();
            let plan = &self.history.plans[&execution];
            for dependency in &plan.task(task).depends_on {
                let (state, _) = seen[usize::try_from(*dependency).expect("a position is not negative")];
                assert!(state.is_terminal(), "a task was claimed before its dependencies were over");
            }
            let decision = plan.decide(task, &seen);
            self.held.push(Held { execution, task, attempt, failures, decision });
        }
    }
}
