//! Random histories: several engines play random executions through one database, while they cancel, pause,
//! resume, crash, condemn and rescue each other. At the end everything must be as a model says that knows
//! nothing of all that.
//!
//! A usual run plays 40 histories; `CLOACINA_SEEDS` says how many, or which (`17..18`). The seed decides what
//! is tried, the operating system decides who comes first: a seed that failed is worth repeating a few times.

mod engine;
mod plan;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cloacina_core::execution::{AttemptOutcome, AttemptRecord, ExecutionStatus, TaskState};
use cloacina_core::store::TaskRecord;
use fastrand::Rng;

use super::Fixture;
use super::process::{Process, World};
use engine::{Engine, History};
use plan::{Ending, Plan};

const ENGINES: usize = 3;

pub async fn every_execution_ends_as_its_model_says(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let mut processes = Vec::new();
    for _ in 0..ENGINES {
        processes.push(world.process().await);
    }
    let clock = Arc::new(AtomicI64::new(0));
    for seed in seeds() {
        let history = play(seed, processes.clone(), Arc::clone(&clock));
        if let Err(error) = tokio::spawn(history).await {
            panic!(
                "the history of seed {seed} went wrong; repeat it with CLOACINA_SEEDS={seed}..{}: {error}",
                seed + 1
            );
        }
    }
}

fn seeds() -> Range<u64> {
    let Ok(seeds) = std::env::var("CLOACINA_SEEDS") else {
        return 0..40;
    };
    let (first, end) = seeds.split_once("..").unwrap_or(("0", &seeds));
    let number =
        |text: &str| text.parse().expect("CLOACINA_SEEDS is a number, or two with `..` between them");
    number(first)..number(end)
}

async fn play(seed: u64, processes: Vec<Process>, clock: Arc<AtomicI64>) {
    let mut rng = Rng::with_seed(seed);
    let start = clock.load(Ordering::Relaxed);
    let plans = (0..rng.usize(3..=8)).map(|_| Plan::random(&mut rng, start)).collect();
    let history = Arc::new(History::new(plans, clock, processes.len()));
    let mut engines = Vec::new();
    for (number, process) in processes.iter().enumerate() {
        let engine = Engine::new(Arc::clone(&history), number, process.clone(), rng.fork()).await;
        engines.push(tokio::spawn(engine.run()));
    }
    for engine in engines {
        engine.await.expect("the engine plays to the end");
    }
    check(&history, &processes).await;
}

async fn check(history: &History, processes: &[Process]) {
    let process = &processes[0];
    for plan in history.plans.values() {
        let record = process.load(plan.id).await;
        let status = record.header.status;
        assert_eq!(history.ended(plan.id), [status], "an execution ends once, and stays as it ended");
        let ending = plan.ending();
        let cancelled = status == ExecutionStatus::Cancelled;
        assert!(cancelled || status == ending.status, "{status} instead of {}", ending.status);
        assert!(record.header.finished_at.is_some());
        let attempts = process.attempts(plan.id).await.expect("the execution is there");
        for (index, task) in (0..).zip(&record.tasks) {
            let expected_recordings = match task.state {
                TaskState::Cancelled => 0,
                _ => 1 + usize::try_from(task.failures).expect("failures are counted up"),
            };
            let failed = usize::from(task.state == TaskState::Failed);
            let attempts: Vec<_> = attempts.iter().filter(|attempt| attempt.task_id == task.name).collect();
            let released = count(&attempts, |outcome| outcome == AttemptOutcome::Released);
            if task.state != TaskState::Cancelled {
                let recordings = history.recorded(plan.id, index);
                assert_eq!(recordings, expected_recordings - failed + released, "{}", task.name);
                if !cancelled {
                    check_task(plan, &ending, index, task);
                }
            }
            check_attempts(task, &attempts);
        }
    }
    let now = history.now();
    for process in processes {
        for crashed in history.crashed().into_iter().chain(history.rescued()) {
            if let Some(record) = process.runner_record(crashed).await {
                process.condemn(crashed, record.beat).await;
            }
            let rescued = process.rescue(crashed, now).await;
            assert!(rescued.iter().all(|place| place.executions.is_empty()), "nothing was held any more");
        }
    }
    assert_eq!(process.runners().await.len(), 0, "every runner is gone");
    let next = process.lower(now).await;
    assert_eq!((next.work, next.due), (None, None), "nothing is left to do");
    assert!(!process.is_rung(now).await);
}

fn check_task(plan: &Plan, ending: &Ending, index: i16, task: &TaskRecord) {
    let position = usize::try_from(index).expect("a position is not negative");
    assert_eq!((task.state, task.skip_reason), ending.tasks[position], "{}", task.name);
    assert_eq!(task.handled, ending.handled[position], "{}", task.name);
    let planned = plan.task(index);
    let ran = task.state != TaskState::Skipped;
    let failures = if ran { planned.retries + i32::from(planned.fails) } else { 0 };
    assert_eq!(task.failures, failures, "{}", task.name);
    let patch = (task.state == TaskState::Completed).then(|| plan.patch(index));
    assert_eq!(task.patch.as_deref(), patch.as_deref(), "{}", task.name);
}

fn check_attempts(task: &TaskRecord, attempts: &[&AttemptRecord]) {
    // The claim that ended in a skip is no attempt.
    let tried = task.attempt - i32::from(task.state == TaskState::Skipped);
    let numbers: Vec<_> = attempts.iter().map(|attempt| attempt.attempt).collect();
    assert_eq!(numbers, (1..=tried.unsigned_abs()).collect::<Vec<_>>(), "{}", task.name);
    let lost = count(attempts, |outcome| outcome == AttemptOutcome::Lost);
    assert_eq!(lost, usize::try_from(task.lost).expect("losses are counted up"), "{}", task.name);
    let failed = |outcome| matches!(outcome, AttemptOutcome::Failed | AttemptOutcome::TimedOut);
    assert_eq!(count(attempts, failed), usize::try_from(task.failures).expect("failures are counted up"));
    assert_eq!(count(attempts, |outcome| outcome == AttemptOutcome::Running), 0, "{}", task.name);
    let completed = usize::from(task.state == TaskState::Completed);
    assert_eq!(count(attempts, |outcome| outcome == AttemptOutcome::Completed), completed);
}

fn count(attempts: &[&AttemptRecord], of: impl Fn(AttemptOutcome) -> bool) -> usize {
    attempts.iter().filter(|attempt| of(attempt.outcome)).count()
}
