//! What must hold of a place in which everything has come to an end, whatever happened on the way.

use std::collections::{HashMap, HashSet};

use cloacina::runner::PlaceRunner;
use cloacina::{AttemptOutcome, ExecutionFilter, ExecutionResult, ExecutionStatus, TaskState};
use uuid::Uuid;

use crate::journal::Event;
use crate::workload::{FLAKY, Task, WORKFLOWS};

/// What is in a place in the end.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// How many executions there are.
    pub(crate) executions: usize,
    /// How many attempts were lost with their runner.
    pub(crate) lost: usize,
}

/// Checks a place against the journal, and fails with everything that is wrong.
///
/// - Everything is completed, and everything whose submission was acknowledged is there, once.
/// - Of every task exactly one attempt is completed, and it is the last; the others failed where they should,
///   or were lost or given back.
/// - No attempt started twice, none after the one that is recorded as completed, none before its dependencies
///   were over.
/// - The final context has the value of every task, and it is that of the completed attempt.
pub(crate) async fn check(runner: &PlaceRunner, events: &[Event], hint: &str) -> Summary {
    let mut summary = Summary::default();
    let mut wrong = Vec::new();
    let mut by_execution: HashMap<Uuid, Vec<&Event>> = HashMap::new();
    for event in events {
        by_execution.entry(event.execution()).or_default().push(event);
    }
    let mut numbers = HashMap::new();
    let mut known = HashSet::new();
    for listed in everything(runner).await {
        let result = runner.get_execution(listed.execution_id).await.expect("what was listed can be read");
        let execution = result.execution_id;
        known.insert(execution);
        summary.executions += 1;
        let number = result.final_context.get::<u64>("number");
        if let Some(other) = number.and_then(|number| numbers.insert(number, execution)) {
            wrong.push(format!("number {number:?} was recorded twice, as {other} and as {execution}"));
        }
        let mut told = Vec::new();
        let events = by_execution.get(&execution).map_or(&[][..], Vec::as_slice);
        summary.lost += check_execution(runner, &result, events, &mut told).await;
        if !told.is_empty() {
            wrong.push(format!("{execution} ({}):\n    {}", result.workflow_name, told.join("\n    ")));
        }
    }
    for event in events {
        if let Event::Acknowledged { execution } | Event::Completed { execution } = event
            && !known.contains(execution)
        {
            wrong.push(format!("{event:?}, but it is not there"));
        }
    }
    let total = wrong.len();
    wrong.truncate(8);
    assert!(total == 0, "{total} things are wrong ({hint}):\n{}", wrong.join("\n"));
    summary
}

/// All executions, by pages.
pub(crate) async fn everything(runner: &PlaceRunner) -> Vec<ExecutionResult> {
    let mut all: Vec<ExecutionResult> = Vec::new();
    loop {
        let before = all.last().map(|result| result.execution_id);
        let page = runner.list(ExecutionFilter::all(), before, 1_000).await.expect("executions are listed");
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

async fn check_execution(
    runner: &PlaceRunner,
    result: &ExecutionResult,
    events: &[&Event],
    wrong: &mut Vec<String>,
) -> usize {
    if result.status != ExecutionStatus::Completed {
        wrong.push(format!("it is {}: {:?}", result.status, result.error_message));
    }
    let (_, tasks) =
        WORKFLOWS.iter().find(|(name, _)| *name == result.workflow_name).expect("a known workflow");
    let history =
        runner.execution(result.execution_id).history().await.expect("what was listed has a history");
    let mut lost = 0;
    let mut ends: HashMap<&str, usize> = HashMap::new();
    for (name, dependencies) in *tasks {
        let mut tell = |message: String| wrong.push(format!("{name}: {message}"));
        let Some(task) = result.task_results.iter().find(|task| task.task_id == *name) else {
            tell("it is missing".to_owned());
            continue;
        };
        if task.state != TaskState::Completed {
            tell(format!("it is {}: {:?}", task.state, task.error_message));
        }
        let attempts: Vec<_> = history.iter().filter(|attempt| attempt.task_id == *name).collect();
        let outcomes: Vec<(u32, AttemptOutcome)> =
            attempts.iter().map(|attempt| (attempt.attempt, attempt.outcome)).collect();
        if !outcomes.iter().map(|(number, _)| *number).eq(1..=task.attempts) {
            tell(format!("its result has {} attempts, its history {outcomes:?}", task.attempts));
        }
        for (number, outcome) in &outcomes {
            lost += usize::from(*outcome == AttemptOutcome::Lost);
            let right = match outcome {
                AttemptOutcome::Completed => *number == task.attempts,
                AttemptOutcome::Failed => {
                    *number == 1
                        && FLAKY.contains(name)
                        && events.iter().any(
                            |event| matches!(event, Event::Fail { task, attempt: 1, .. } if task == name),
                        )
                }
                AttemptOutcome::Lost | AttemptOutcome::Released => *number < task.attempts,
                _ => false,
            };
            if !right {
                tell(format!("attempt {number} cannot have been {outcome}: {outcomes:?}"));
            }
        }
        let mut started: Vec<(u32, u32)> = Vec::new();
        for (position, event) in events.iter().enumerate() {
            match event {
                Event::Start { task: started_task, attempt, pid, saw, .. } if started_task == name => {
                    if started.iter().any(|(known, _)| known == attempt) {
                        tell(format!("attempt {attempt} started twice"));
                    }
                    // A process that lives on after it was declared dead stops what it ran, but a thread that
                    // was on its way into the code may get there only after the next attempt has begun.
                    let was_lost = outcomes.contains(&(*attempt, AttemptOutcome::Lost));
                    if started.iter().any(|(known, by)| known > attempt && !(was_lost && by == pid)) {
                        tell(format!("attempt {attempt} started after a later one"));
                    }
                    if *attempt > task.attempts {
                        tell(format!(
                            "attempt {attempt} started, though attempt {} completed it",
                            task.attempts
                        ));
                    }
                    if let Some(early) =
                        dependencies.iter().find(|dependency| !ends.contains_key(*dependency))
                    {
                        tell(format!("its dependency `{early}` never ended"));
                    }
                    if dependencies.iter().any(|dependency| ends.get(dependency) > Some(&position)) {
                        tell(format!("attempt {attempt} started before its dependencies ended"));
                    }
                    if *saw != ancestors(tasks, name).len() {
                        tell(format!("attempt {attempt} saw the values of {saw} tasks"));
                    }
                    started.push((*attempt, *pid));
                }
                Event::End { task: ended, attempt, .. } if ended == name && *attempt == task.attempts => {
                    ends.insert(name, position);
                }
                _ => {}
            }
        }
        let Some((_, pid)) = started.iter().find(|(attempt, _)| *attempt == task.attempts) else {
            tell(format!("attempt {} completed it, but never started: {started:?}", task.attempts));
            continue;
        };
        if !ends.contains_key(name) {
            tell(format!("attempt {} completed it, but never ended", task.attempts));
        }
        let expected = format!("{}/{pid}", task.attempts);
        let value: Option<String> = result.final_context.get(&format!("by_{name}"));
        if value.as_deref() != Some(&*expected) {
            tell(format!("its value is {value:?} instead of {expected}"));
        }
    }
    lost
}

fn ancestors<'a>(tasks: &[Task<'a>], name: &'a str) -> HashSet<&'a str> {
    let mut found = HashSet::new();
    let mut open: Vec<&str> = vec![name];
    while let Some(next) = open.pop() {
        let (_, dependencies) = tasks.iter().find(|(task, _)| *task == next).expect("a known task");
        open.extend(dependencies.iter().copied().filter(|dependency| found.insert(*dependency)));
    }
    found
}
