//! The workflows that run, and who submits them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cloacina::runner::PlaceRunner;
use cloacina::{
    Context, Error, Execution, ExecutionResult, ExecutionStatus, Item, OnTimeout, SignalReceipt, TaskError,
    TaskInfo, Wait, Workflow, task, workflow,
};
use uuid::Uuid;

use crate::journal::{Event, note};

/// A task, and the tasks that it waits for.
pub(crate) type Task<'a> = (&'a str, &'a [&'a str]);

/// The workflows, and the tasks of each.
pub(crate) const WORKFLOWS: &[(&str, &[Task<'_>])] = &[
    ("crash_single", &[("only", &[])]),
    ("crash_chain", &[("first", &[]), ("second", &["first"]), ("third", &["second"])]),
    (
        "crash_fan",
        &[
            ("root", &[]),
            ("left", &["root"]),
            ("middle", &["root"]),
            ("right", &["root"]),
            ("join", &["left", "middle", "right"]),
        ],
    ),
    ("crash_flaky", &[("stumbles", &[]), ("trips", &[]), ("follows", &["stumbles", "trips"])]),
    // Between them it sleeps, and waits for a signal.
    ("crash_wait", &[("early", &[]), ("rested", &["early"]), ("told", &["rested"])]),
    // Between them it runs for each item of a list, and waits for a child.
    ("crash_map", &[("listed", &[]), ("summed", &["listed"])]),
    ("crash_slow", &[("slow", &[]), ("after", &["slow"])]),
];

/// The workflows of the mixed load: all but the slow one.
const MIXED: &[&str] =
    &["crash_single", "crash_chain", "crash_fan", "crash_flaky", "crash_wait", "crash_map"];

/// How many items the list has, and how many of them may be open at once.
const ITEMS: u64 = 12;
const AT_ONCE: u64 = 3;

/// The tasks that fail at their first attempt.
pub(crate) const FLAKY: &[&str] = &["stumbles", "trips"];

fn start(context: &Context) -> (Event, Event) {
    let info = context.task();
    let (execution, task, attempt) = (info.execution_id(), info.task_id().to_owned(), info.attempt());
    let pid = std::process::id();
    let saw = context.iter().filter(|(key, _)| key.starts_with("by_")).count();
    note(Event::Start { execution, task: task.clone(), attempt, pid, saw });
    let end = Event::End { execution, task: task.clone(), attempt, pid };
    (end, Event::Fail { execution, task, attempt, pid })
}

/// What every task does: say that it started, take a moment, leave a key with its attempt and process, say
/// that it ends.
async fn step(context: &mut Context, moment: Duration) -> Result<(), TaskError> {
    let (end, _) = start(context);
    tokio::time::sleep(moment).await;
    let (task, attempt) = (context.task().task_id().to_owned(), context.task().attempt());
    context.set(format!("by_{task}"), format!("{attempt}/{}", std::process::id()));
    note(end);
    Ok(())
}

fn moment() -> Duration {
    Duration::from_micros(fastrand::u64(0..4_000))
}

#[task]
async fn only(context: &mut Context) -> Result<(), TaskError> {
    step(context, moment()).await
}

#[task]
async fn first(context: &mut Context) -> Result<(), TaskError> {
    step(context, moment()).await
}

#[task(dependencies = [first])]
async fn second(context: &mut Context) -> Result<(), TaskError> {
    step(context, moment()).await
}

#[task(dependencies = [second])]
async fn third(context: &mut Context) -> Result<(), TaskError> {
    step(context, moment()).await
}

#[task]
async fn root(context: &mut Context) -> Result<(), TaskError> {
    step(context, moment()).await
}

#[task(dependencies = [root])]
async fn left(context: &mut Context) -> Result<(), TaskError> {
    step(context, moment()).await
}

#[task(dependencies = [root])]
async fn middle(context: &mut Context) -> Result<(), TaskError> {
    step(context, moment()).await
}

#[task(dependencies = [root])]
async fn right(context: &mut Context) -> Result<(), TaskError> {
    step(context, moment()).await
}

#[task(dependencies = [left, middle, right])]
async fn join(context: &mut Context) -> Result<(), TaskError> {
    step(context, moment()).await
}

/// Fails at its first attempt, and not at a later one, also if the first was lost.
#[task(retry(attempts = 3, base = "5ms"))]
async fn stumbles(context: &mut Context) -> Result<(), TaskError> {
    if context.task().attempt() > 1 {
        return step(context, moment()).await;
    }
    let (_, failed) = start(context);
    tokio::time::sleep(moment()).await;
    note(failed);
    Err(TaskError::new("stumbled"))
}

/// Fails its first attempt without waiting before the next.
#[task(retry(attempts = 3, base = "0ms"))]
async fn trips(context: &mut Context) -> Result<(), TaskError> {
    if context.task().attempt() > 1 {
        return step(context, moment()).await;
    }
    let (_, failed) = start(context);
    note(failed);
    Err(TaskError::new("tripped"))
}

#[task(dependencies = [stumbles, trips])]
async fn follows(context: &mut Context) -> Result<(), TaskError> {
    step(context, moment()).await
}

#[task]
async fn early(context: &mut Context) -> Result<(), TaskError> {
    step(context, moment()).await
}

#[task(dependencies = ["rest"])]
async fn rested(context: &mut Context) -> Result<(), TaskError> {
    step(context, moment()).await
}

#[task(dependencies = ["go"])]
async fn told(context: &mut Context) -> Result<(), TaskError> {
    step(context, moment()).await
}

#[task]
async fn listed(context: &mut Context) -> Result<(), TaskError> {
    context.set("numbers", (0..ITEMS).collect::<Vec<u64>>());
    step(context, moment()).await
}

/// Runs for each item; every third stumbles.
#[task(map = "numbers", parallel = 3, dependencies = [listed], retry(attempts = 3, base = "5ms"))]
async fn doubled(item: Item<u64>, task: &TaskInfo) -> Result<u64, TaskError> {
    tokio::time::sleep(moment()).await;
    match item.index() % 3 {
        0 if task.attempt() == 1 => Err(TaskError::new("stumbled")),
        _ => Ok(item.value() * 2),
    }
}

#[task(dependencies = [doubled, "alone"])]
async fn summed(context: &mut Context) -> Result<(), TaskError> {
    let results = patiently(|| context.results::<u64>("doubled").completed()).await?;
    let doubles = (0..ITEMS).map(|number| number * 2).eq(results.iter().copied());
    if !doubles
        || context.get::<HashMap<String, serde_json::Value>>("alone").is_none_or(|child| child["left"] != 1)
    {
        return Err(TaskError::fatal(format!("what children came to is {results:?}: {context:?}")));
    }
    step(context, moment()).await
}

#[task]
async fn leaves(context: &mut Context) -> Result<(), TaskError> {
    tokio::time::sleep(moment()).await;
    context.set("left", 1);
    Ok(())
}

/// Takes the milliseconds that the input says at its first attempt, and no time at a later one.
#[task]
async fn slow(context: &mut Context) -> Result<(), TaskError> {
    let milliseconds =
        if context.task().attempt() > 1 { 0 } else { context.get("milliseconds").unwrap_or(0) };
    step(context, Duration::from_millis(milliseconds)).await
}

#[task(dependencies = [slow])]
async fn after(context: &mut Context) -> Result<(), TaskError> {
    step(context, moment()).await
}

#[workflow]
fn crash_single() -> Workflow {
    Workflow::builder("crash_single").task(only).build()
}

#[workflow]
fn crash_chain() -> Workflow {
    Workflow::builder("crash_chain").task(first).task(second).task(third).build()
}

#[workflow]
fn crash_fan() -> Workflow {
    Workflow::builder("crash_fan").task(root).task(left).task(middle).task(right).task(join).build()
}

#[workflow]
fn crash_flaky() -> Workflow {
    Workflow::builder("crash_flaky").task(stumbles).task(trips).task(follows).build()
}

#[workflow]
fn crash_wait() -> Workflow {
    Workflow::builder("crash_wait")
        .task(early)
        .wait(Wait::sleep("rest", Duration::from_millis(5)).after(early))
        .task(rested)
        .wait(
            Wait::signal("go")
                .after(rested)
                .timeout(Duration::from_millis(150))
                .on_timeout(OnTimeout::Continue),
        )
        .task(told)
        .build()
}

#[workflow]
fn crash_map() -> Workflow {
    Workflow::builder("crash_map")
        .task(listed)
        .task(doubled)
        .wait(Wait::child("alone", "crash_child").after(listed))
        .task(summed)
        .build()
}

#[workflow]
fn crash_child() -> Workflow {
    Workflow::builder("crash_child").task(leaves).build()
}

#[workflow]
fn crash_slow() -> Workflow {
    Workflow::builder("crash_slow").task(slow).task(after).build()
}

/// Submits the execution of this number, in the way that its number says, and waits for its end.
///
/// Numbers that end in 0 are run by `execute`. Every fourth has an idempotency key and is submitted twice;
/// the others are submitted once and then waited for.
pub(crate) async fn run_one(runner: &PlaceRunner, number: u64) -> Result<ExecutionResult, Error> {
    let workflow = MIXED[(number / 7 % MIXED.len() as u64) as usize];
    let input = Context::new().with("number", number);
    if number.is_multiple_of(10) {
        let result = runner.execute(workflow, input).await?;
        note(Event::Acknowledged { execution: result.execution_id });
        note(Event::Completed { execution: result.execution_id });
        return Ok(result);
    }
    let submission = runner.submit(workflow).input(input).priority((number % 10) as u8);
    let execution = if number % 4 == 1 {
        let submission = submission.idempotency_key(format!("key {number}"));
        let (one, other) = tokio::join!(submission.clone().send(), submission.send());
        let (one, other) = (one?, other?);
        assert_eq!(one.execution_id, other.execution_id, "one key, two executions");
        one
    } else {
        submission.send().await?
    };
    note(Event::Acknowledged { execution: execution.execution_id });
    let sent = if workflow == "crash_wait" { Some(signal(&execution, number).await?) } else { None };
    let result = execution.wait_for_completion().await?;
    if sent == Some(SignalReceipt::Delivered) {
        let taken = result.final_context.get::<u64>("go");
        assert_eq!(taken, Some(number), "a signal that was delivered was not taken: {result:?}");
    }
    if workflow == "crash_map" {
        check_children(&execution).await?;
    }
    note(Event::Completed { execution: execution.execution_id });
    Ok(result)
}

/// Each item has one child, and each child is counted once.
async fn check_children(execution: &Execution) -> Result<(), Error> {
    let progress = patiently(|| execution.progress()).await?;
    let children = patiently(|| execution.children(None, 100)).await?;
    let map = progress.iter().find(|progress| progress.node == "doubled").expect("the map has begun");
    let counts = (map.total, map.started, map.completed, map.failed, map.parallel);
    assert_eq!(counts, (ITEMS, ITEMS, ITEMS, 0, AT_ONCE), "{execution:?}");
    let items: Vec<u64> =
        children.iter().filter(|child| child.node == "doubled").map(|child| child.item).collect();
    assert_eq!(items, (0..ITEMS).collect::<Vec<u64>>(), "{children:?}");
    assert!(children.iter().all(|child| child.status == ExecutionStatus::Completed), "{children:?}");
    Ok(())
}

/// Asks again as long as the error is one that passes.
async fn patiently<T, Fut: Future<Output = Result<T, Error>>>(ask: impl Fn() -> Fut) -> Result<T, Error> {
    loop {
        match ask().await {
            Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_millis(20)).await,
            answer => return answer,
        }
    }
}

/// Sends an execution the signal that it waits for: before it does, while it does or after, and twice. What
/// became of the one that was recorded.
async fn signal(execution: &Execution, number: u64) -> Result<SignalReceipt, Error> {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..200))).await;
    // Whoever does not know whether a signal arrived sends it again.
    let send = || execution.signal("go", number).key("same").send();
    let (one, other) = tokio::join!(patiently(send), patiently(send));
    let receipts = [one?, other?];
    let over = receipts.contains(&SignalReceipt::AlreadyOver { superseded_by: None });
    assert!(over || receipts.contains(&SignalReceipt::Repeated), "one key, two signals: {receipts:?}");
    Ok(*receipts.iter().find(|receipt| **receipt != SignalReceipt::Repeated).unwrap_or(&receipts[0]))
}

/// Runs executions of these numbers, so many at once, until they are all over. Returns their ids.
pub(crate) async fn run_many(
    runner: &PlaceRunner,
    numbers: std::ops::Range<u64>,
    at_once: usize,
) -> HashSet<Uuid> {
    let next = Arc::new(AtomicU64::new(numbers.start));
    let submitters: Vec<_> = (0..at_once)
        .map(|_| {
            let (runner, next, end) = (runner.clone(), Arc::clone(&next), numbers.end);
            tokio::spawn(async move {
                let mut ids = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        return ids;
                    }
                    let result = run_one(&runner, number).await;
                    let result = result.unwrap_or_else(|error| panic!("execution number {number}: {error}"));
                    assert!(result.status.is_success(), "execution number {number}: {result:?}");
                    ids.push(result.execution_id);
                }
            })
        })
        .collect();
    let mut ids = HashSet::new();
    for submitter in submitters {
        ids.extend(submitter.await.expect("a submitter came to its end"));
    }
    ids
}
