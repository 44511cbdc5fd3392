//! Executions that wait for others: children, and maps over lists.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cloacina::{
    Context, ErrorKind, Execution, ExecutionFilter, ExecutionResult, ExecutionStatus, Item, ParentClose,
    Runner, TaskDefinition, TaskError, TaskInfo, TaskState, Wait, Workflow,
};
use serde_json::{Value, json};

use crate::process::Other;
use crate::support::{Database, Gate, assert_error, in_time, quick, reaches, setting, task, task_of, until};

/// A workflow that only waits for a child.
fn parent(wait: Wait) -> Workflow {
    Workflow::builder("parent").wait(wait).build()
}

/// Returns once an execution has so many children.
async fn has_children(execution: &Execution, number: usize) {
    until(async || execution.children(None, 10_000).await.unwrap().len() == number).await;
}

async fn ends(execution: &Execution) -> ExecutionResult {
    in_time(execution.wait_for_completion()).await.unwrap()
}

/// A task that squares its item.
fn square(id: &str) -> TaskDefinition {
    let of = id.to_owned();
    task(id, move |context: Context| {
        let (item, of) = (context.get::<u64>("item").unwrap(), of.clone());
        async move { Ok(context.with(&of, item * item)) }
    })
}

/// A task that adds up what the children of a node came to.
fn sum(id: &str, of: &'static str) -> TaskDefinition {
    let id_of = id.to_owned();
    TaskDefinition::from_async(id, move |context: Context| {
        let id = id_of.clone();
        async move {
            let (mut results, mut all, mut items) = (context.results::<u64>(of), 0, Vec::new());
            while let Some((item, result)) = results.next().await? {
                items.push(item);
                all += result.unwrap_or(1_000_000);
            }
            assert!(items.is_sorted());
            Ok::<_, TaskError>(context.with(&id, all))
        }
    })
    .dependencies([of])
}

on_each_store! {
    async fn a_child_runs_with_its_parents_context_and_leaves_its_own(database: Database) {
        let child = task("pack", |context: Context| async move {
            let parent = context.parent().expect("it is a child").clone();
            assert_eq!((parent.node.as_str(), parent.item, parent.depth), ("ship", 0, 1));
            let order = context.get::<u32>("order").unwrap();
            Ok(context.with("parcel", order + 1).with("parent", parent.execution_id.to_string()))
        });
        let parent = Workflow::builder("parent")
            .task(setting("first", "order", 7))
            .wait(Wait::child("ship", "shipping").after("first"))
            .task(task("last", |context: Context| async move {
                let child = context.get::<Value>("ship").unwrap();
                Ok(context.with("parcel", child["parcel"].clone()))
            }).dependencies(["ship"]))
            .build();
        let runner = database.runner([parent, Workflow::builder("shipping").task(child).build()]).await;
        let execution = runner.execute_async("parent", Context::new()).await.unwrap();
        let result = ends(&execution).await;
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        assert_eq!(result.final_context.get::<u32>("parcel"), Some(8));
        let left = result.final_context.get::<Value>("ship").unwrap();
        assert_eq!(left, json!({"order": 7, "parcel": 8, "parent": execution.execution_id.to_string()}));
        let children = execution.children(None, 10).await.unwrap();
        assert_eq!(children.len(), 1);
        assert_eq!((children[0].node.as_str(), children[0].status), ("ship", ExecutionStatus::Completed));
        let listed = runner.list(ExecutionFilter::all(), None, 10).await.unwrap();
        assert_eq!(listed.len(), 1, "children are not listed with the others");
        let completed = ExecutionFilter::all().status(ExecutionStatus::Completed);
        assert_eq!(runner.list(completed, None, 10).await.unwrap().len(), 1);
        runner.shutdown().await.unwrap();
    }

    async fn a_child_that_fails_fails_its_node_with_its_error(database: Database) {
        let failing = task("breaks", |_| async { Err(TaskError::fatal("no stock")) });
        let workflows = [parent(Wait::child("ship", "shipping")), Workflow::builder("shipping").task(failing).build()];
        let runner = database.runner(workflows).await;
        let execution = runner.execute_async("parent", Context::new()).await.unwrap();
        let result = ends(&execution).await;
        let child = execution.children(None, 10).await.unwrap().remove(0);
        assert_eq!(result.status, ExecutionStatus::Failed);
        let error = format!("child {} is failed: no stock", child.execution_id);
        assert_eq!(task_of(&result, "ship").error_message.as_deref(), Some(&*error));
        runner.shutdown().await.unwrap();
    }

    async fn a_parent_that_waits_holds_no_slot(database: Database) {
        let gate = Gate::new();
        let workflows = [parent(Wait::child("ship", "shipping")), Workflow::builder("shipping").task(gate.task("slow")).build()];
        let config = quick().max_concurrent_tasks(1);
        let runner = database.configured(config, workflows).await;
        let execution = runner.execute_async("parent", Context::new()).await.unwrap();
        gate.started().await;
        reaches(&execution, ExecutionStatus::Waiting).await;
        let waiting = execution.waits().await.unwrap().remove(0);
        assert_eq!((waiting.wait.as_str(), waiting.signal, waiting.until), ("ship", None, None));
        gate.open(1);
        assert_eq!(ends(&execution).await.status, ExecutionStatus::Completed);
        runner.shutdown().await.unwrap();
    }

    async fn a_map_runs_for_each_item_and_its_results_come_in_their_order(database: Database) {
        let workflow = Workflow::builder("squares")
            .task(setting("list", "numbers", (0..250).collect::<Vec<u64>>()))
            .task(square("square").map("numbers").parallel(50).dependencies(["list"]))
            .task(sum("sum", "square"))
            .build();
        let runner = database.runner([workflow]).await;
        let execution = runner.execute_async("squares", Context::new()).await.unwrap();
        let result = ends(&execution).await;
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        let expected: u64 = (0..250).map(|number| number * number).sum();
        assert_eq!(result.final_context.get::<u64>("sum"), Some(expected));
        assert!(result.final_context.get::<Value>("square").is_none(), "results are not in the context");
        let progress = execution.progress().await.unwrap().remove(0);
        assert_eq!((progress.total, progress.completed, progress.failed), (250, 250, 0));
        assert_eq!((progress.running(), progress.left()), (0, 0));
        let squares = execution.results::<u64>("square").completed().await.unwrap();
        assert_eq!(squares, (0..250).map(|number| number * number).collect::<Vec<u64>>());
        let children = execution.children(None, 100).await.unwrap();
        let next = execution.children(children.last().map(cloacina::Child::cursor), 1_000).await.unwrap();
        assert_eq!((children.len(), next.len(), next[0].item), (100, 150, 100));
        runner.shutdown().await.unwrap();
    }

    async fn no_more_items_are_open_than_may_be(database: Database) {
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&open), Arc::clone(&most));
        // They go on by threes, so there are as many.
        let three = Arc::new(tokio::sync::Barrier::new(3));
        let item = task("item", move |context: Context| {
            let (open, most) = counts.clone();
            let three = Arc::clone(&three);
            async move {
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                three.wait().await;
                open.fetch_sub(1, Ordering::SeqCst);
                Ok(context)
            }
        });
        let workflow = Workflow::builder("map")
            .task(setting("list", "items", vec![1; 60]))
            .wait(Wait::map("each", "one").over("items").parallel(3).after("list"))
            .build();
        let runner = database.runner([workflow, Workflow::builder("one").task(item).build()]).await;
        let execution = runner.execute_async("map", Context::new()).await.unwrap();
        let result = ends(&execution).await;
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        assert_eq!(most.load(Ordering::SeqCst), 3);
        runner.shutdown().await.unwrap();
    }

    async fn an_empty_list_is_over_at_once_and_what_is_no_list_fails(database: Database) {
        let of = |name: &str, value: Value| {
            Workflow::builder(name)
                .task(setting("list", "items", value))
                .wait(Wait::map("each", "one").over("items").after("list"))
                .build()
        };
        let one = Workflow::builder("one").task(setting("a", "b", 1)).build();
        let large = json!([1, "x".repeat(70_000)]);
        let missing = Workflow::builder("missing").wait(Wait::map("each", "one").over("nothing")).build();
        let runner = database.runner([
            of("empty", json!([])), of("object", json!({"a": 1})), of("large", large), missing, one,
        ]).await;
        let empty = runner.execute("empty", Context::new()).await.unwrap();
        assert_eq!(empty.status, ExecutionStatus::Completed);
        for (name, error) in [
            ("object", "`items` in the context is no list"),
            ("missing", "there is no `nothing` in the context, which is to be a list"),
            ("large", "item 1 of the list `items` has 70002 bytes, and 65536 are the most: keep what is large elsewhere"),
        ] {
            let result = in_time(runner.execute(name, Context::new())).await.unwrap();
            assert_eq!(result.status, ExecutionStatus::Failed);
            assert_eq!(task_of(&result, "each").error_message.as_deref(), Some(error));
        }
        runner.shutdown().await.unwrap();
    }

    async fn items_that_fail_are_tolerated_as_far_as_the_map_says(database: Database) {
        let item = || task("item", |context: Context| async move {
            match context.get::<u64>("item").unwrap() {
                number if number % 10 == 3 => Err(TaskError::fatal(format!("{number} is unlucky"))),
                number => Ok(context.with("item_of", number)),
            }
        });
        let of = |name: &str, tolerance: &str| {
            Workflow::builder(name)
                .task(setting("list", "items", (0..30).collect::<Vec<u64>>()))
                .task(item().map("items").parallel(2).tolerate(tolerance).dependencies(["list"]))
                .build()
        };
        let runner = database.runner([of("patient", "10%"), of("strict", "6%")]).await;
        let patient = runner.execute_async("patient", Context::new()).await.unwrap();
        let result = ends(&patient).await;
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        let progress = patient.progress().await.unwrap().remove(0);
        assert_eq!((progress.completed, progress.failed, progress.tolerated), (27, 3, 3));
        let mut results = patient.results::<Value>("item");
        let mut failed = Vec::new();
        while let Some((item, result)) = results.next().await.unwrap() {
            failed.extend(result.err().map(|error| (item, error)));
        }
        let unlucky = |number: u64| (number, format!("{number} is unlucky"));
        assert_eq!(failed, [unlucky(3), unlucky(13), unlucky(23)]);
        let strict = runner.execute_async("strict", Context::new()).await.unwrap();
        let result = ends(&strict).await;
        assert_eq!(result.status, ExecutionStatus::Failed);
        let error = task_of(&result, "item").error_message.clone().unwrap();
        assert!(error.starts_with("2 of 30 items failed, and 1 may; item 13: "), "{error}");
        assert!(error.ends_with(" is failed: 13 is unlucky"), "{error}");
        let progress = strict.progress().await.unwrap().remove(0);
        assert!(progress.started < 20, "nothing new is started then: {progress:?}");
        runner.shutdown().await.unwrap();
    }

    async fn the_children_of_an_execution_that_is_cancelled_are_cancelled(database: Database) {
        let gate = Gate::new();
        let inner = Workflow::builder("inner").wait(Wait::child("deeper", "leaf")).build();
        let of = |name: &str, close: ParentClose| {
            Workflow::builder(name)
                .task(setting("list", "items", vec![0; 300]))
                .wait(Wait::map("each", "inner").over("items").parallel(300).on_close(close).after("list"))
                .build()
        };
        let config = quick().max_concurrent_tasks(400);
        let leaf = Workflow::builder("leaf").task(gate.task("slow")).build();
        let workflows = [of("cancels", ParentClose::Cancel), of("abandons", ParentClose::Abandon), inner, leaf];
        let runner = database.configured(config, workflows).await;
        let execution = runner.execute_async("cancels", Context::new()).await.unwrap();
        has_children(&execution, 300).await;
        let children = execution.children(None, 1_000).await.unwrap();
        let first = runner.execution(children[0].execution_id);
        has_children(&first, 1).await;
        execution.cancel().await.unwrap();
        until(async || {
            execution.children(None, 1_000).await.unwrap().iter().all(|child| child.status == ExecutionStatus::Cancelled)
        }).await;
        let deeper = first.children(None, 10).await.unwrap().remove(0);
        reaches(&runner.execution(deeper.execution_id), ExecutionStatus::Cancelled).await;
        let error = runner.get_execution(children[7].execution_id).await.unwrap().error_message.unwrap();
        assert_eq!(error, "cancelled, because its parent has ended");

        let abandoned = runner.execute_async("abandons", Context::new()).await.unwrap();
        has_children(&abandoned, 300).await;
        abandoned.cancel().await.unwrap();
        gate.open(1_000);
        until(async || {
            abandoned.children(None, 1_000).await.unwrap().iter().all(|child| child.status == ExecutionStatus::Completed)
        }).await;
        runner.shutdown().await.unwrap();
    }

    async fn an_item_that_leaves_too_much_has_failed(database: Database) {
        let item = task("item", |context: Context| async move {
            Ok(context.with("large", "x".repeat(70_000)))
        });
        let workflow = Workflow::builder("map")
            .task(setting("list", "items", [1]))
            .task(item.map("items").tolerate(1).dependencies(["list"]))
            .build();
        let runner = database.runner([workflow]).await;
        let execution = runner.execute_async("map", Context::new()).await.unwrap();
        assert_eq!(ends(&execution).await.status, ExecutionStatus::Completed);
        let (_, result) = execution.results::<Value>("item").next().await.unwrap().unwrap();
        let error = result.unwrap_err();
        assert!(error.starts_with("the item leaves 70") && error.contains("65536 are the most"), "{error}");
        runner.shutdown().await.unwrap();
    }

    async fn an_item_that_leaves_what_has_no_json_form_has_failed(database: Database) {
        let workflow = Workflow::builder("pairs").task(setting("list", "numbers", [1, 2])).task(pair).build();
        let runner = database.runner([workflow]).await;
        let execution = runner.execute_async("pairs", Context::new()).await.unwrap();
        assert_eq!(ends(&execution).await.status, ExecutionStatus::Completed);
        let mut results = execution.results::<Value>("pair");
        let (_, refused) = results.next().await.unwrap().unwrap();
        let error = refused.unwrap_err();
        assert!(error.contains("cannot be written as JSON"), "{error}");
        assert_eq!(results.next().await.unwrap(), Some((1, Ok(json!({})))));
        runner.shutdown().await.unwrap();
    }

    async fn one_item_at_a_time_is_one_over_three_processes(database: Database) {
        const ITEMS: u64 = 60;
        let directory = tempfile::tempdir().unwrap();
        let mut others: Vec<Other> =
            (0..3).map(|_| Other::start("serial", &database, directory.path().to_str().unwrap())).collect();
        for other in &mut others {
            assert_eq!(other.says(), "ready");
        }
        let lists = Context::new().with("numbers", (0..ITEMS).collect::<Vec<u64>>());
        let runner = database.configured(quick().submit_only(true), [serial(directory.path())]).await;
        let execution = runner.submit("serial").input(lists).send().await.unwrap();
        let result = ends(&execution).await;
        assert_eq!(result.status, ExecutionStatus::Completed, "{:?}", result.error_message);
        let notes = std::fs::read_to_string(directory.path().join("notes")).unwrap();
        let notes: Vec<(&str, &str)> = notes.lines().filter_map(|line| line.split_once(' ')).collect();
        let mut items: Vec<u64> = notes.iter().map(|(_, item)| item.parse().unwrap()).collect();
        items.sort_unstable();
        assert_eq!(items, (0..ITEMS).collect::<Vec<u64>>(), "each once");
        let by: HashSet<&str> = notes.iter().map(|(process, _)| *process).collect();
        assert_eq!(by.len(), 3, "two of them do not run all");
        runner.shutdown().await.unwrap();
    }

    async fn a_map_that_is_paused_starts_nothing_until_it_is_resumed(database: Database) {
        let gate = Gate::new();
        let workflow = Workflow::builder("map")
            .task(setting("list", "items", vec![1; 5]))
            .wait(Wait::map("each", "one").over("items").parallel(2).after("list"))
            .build();
        let one = Workflow::builder("one").task(gate.task("item")).build();
        let runner = database.runner([workflow, one]).await;
        let execution = runner.execute_async("map", Context::new()).await.unwrap();
        gate.started().await;
        gate.started().await;
        execution.pause().await.unwrap();
        gate.open(2);
        until(async || execution.progress().await.unwrap()[0].completed == 2).await;
        assert_eq!(execution.progress().await.unwrap()[0].started, 2);
        gate.open(3);
        execution.resume().await.unwrap();
        let result = ends(&execution).await;
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        runner.shutdown().await.unwrap();
    }

    async fn how_many_items_are_open_can_be_changed_while_a_map_runs(database: Database) {
        let gate = Gate::new();
        let workflow = Workflow::builder("map")
            .task(setting("list", "items", vec![1; 40]))
            .wait(Wait::map("each", "one").over("items").parallel(1).after("list"))
            .build();
        let one = Workflow::builder("one").task(gate.task("item")).build();
        let runner = database.configured(quick().max_concurrent_tasks(64), [workflow, one]).await;
        let execution = runner.execute_async("map", Context::new()).await.unwrap();
        gate.started().await;
        execution.set_parallel("each", 10).await.unwrap();
        until(async || execution.progress().await.unwrap()[0].started == 10).await;
        execution.set_parallel("each", 0).await.unwrap();
        gate.open(10);
        until(async || execution.progress().await.unwrap()[0].completed == 10).await;
        assert_eq!(execution.progress().await.unwrap()[0].started, 10);
        assert_error(&execution.set_parallel("other", 1).await.unwrap_err(), ErrorKind::WrongState, "has no node `other`");
        assert_error(&execution.set_parallel("each", 10_001).await.unwrap_err(), ErrorKind::Configuration, "more than 10000");
        gate.open(30);
        execution.set_parallel("each", 10_000).await.unwrap();
        assert_eq!(ends(&execution).await.status, ExecutionStatus::Completed);
        runner.shutdown().await.unwrap();
    }

    async fn children_that_are_not_over_in_time_fail_their_node_and_are_cancelled(database: Database) {
        let gate = Gate::new();
        let wait = Wait::child("ship", "shipping").timeout(Duration::from_secs(3_600));
        let runner = database.runner([
            parent(wait), Workflow::builder("shipping").task(gate.task("slow")).build(),
        ]).await;
        let execution = runner.execute_async("parent", Context::new()).await.unwrap();
        gate.started().await;
        execution.wake("ship").await.unwrap();
        let result = ends(&execution).await;
        let error = task_of(&result, "ship").error_message.as_deref();
        assert_eq!(error, Some("its children were not over within 3600s"));
        let child = execution.children(None, 10).await.unwrap().remove(0);
        reaches(&runner.execution(child.execution_id), ExecutionStatus::Cancelled).await;
        runner.shutdown().await.unwrap();
    }

    async fn a_workflow_that_starts_itself_ends(database: Database) {
        let endless = Workflow::builder("endless").wait(Wait::child("again", "endless")).build();
        let runner = database.runner([endless]).await;
        let execution = runner.execute_async("endless", Context::new()).await.unwrap();
        let result = ends(&execution).await;
        assert_eq!(result.status, ExecutionStatus::Failed);
        let (mut deepest, mut depth) = (execution, 0);
        while let Some(child) = deepest.children(None, 1).await.unwrap().pop() {
            (deepest, depth) = (runner.execution(child.execution_id), depth + 1);
        }
        assert_eq!(depth, 16);
        let error = runner.get_execution(deepest.execution_id).await.unwrap().error_message.unwrap();
        assert!(error.starts_with("there are 16 executions above it already"), "{error}");
        runner.shutdown().await.unwrap();
    }

    async fn a_task_with_a_list_takes_an_item_and_returns_a_result(database: Database) {
        let runner = database.runner([halves()]).await;
        let numbers = Context::new().with("numbers", [2, 3, 4, 6]);
        let result = in_time(runner.execute("halves", numbers)).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        assert_eq!(result.final_context.get::<Vec<u64>>("all_halves"), Some(vec![1, 2, 3]));
        runner.shutdown().await.unwrap();
    }

    async fn a_child_is_started_by_who_has_only_the_code_of_its_parent(database: Database) {
        let front = database.runner([parent(Wait::child("ship", "shipping"))]).await;
        let execution = front.execute_async("parent", Context::new()).await.unwrap();
        has_children(&execution, 1).await;
        let worker = database.runner([Workflow::builder("shipping").task(setting("pack", "parcel", 1)).build()]).await;
        let result = ends(&execution).await;
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        assert_eq!(result.final_context.get::<Value>("ship"), Some(json!({"parcel": 1})));
        worker.shutdown().await.unwrap();
        front.shutdown().await.unwrap();
    }
}

/// Leaves for the first item what JSON cannot say.
#[cloacina::task(map = "numbers", tolerate = 1, dependencies = ["list"], retry(attempts = 1))]
async fn pair(item: Item<u8>) -> Result<BTreeMap<(u8, u8), u8>, TaskError> {
    Ok(if item.index() == 0 { BTreeMap::from([((1, 2), 3)]) } else { BTreeMap::new() })
}

/// A map, one item at a time, that fails if two of them run at once.
fn serial(directory: &Path) -> Workflow {
    let directory = directory.to_owned();
    let item = task("item", move |context: Context| {
        let (directory, item) = (directory.clone(), context.get::<u64>("item").unwrap());
        async move {
            let alone = directory.join("alone");
            // Whoever comes while another one is there finds it.
            File::create_new(&alone).map_err(TaskError::fatal)?;
            let note = format!("{} {item}\n", std::process::id());
            let mut notes = OpenOptions::new().append(true).create(true).open(directory.join("notes"))?;
            notes.write_all(note.as_bytes())?;
            tokio::time::sleep(Duration::from_millis(1)).await;
            std::fs::remove_file(alone)?;
            RUN_HERE.fetch_add(1, Ordering::Relaxed);
            Ok(context)
        }
    });
    Workflow::builder("serial").task(item.map("numbers").parallel(1)).build()
}

/// How many items of [`serial`] have run in this process.
static RUN_HERE: AtomicUsize = AtomicUsize::new(0);

/// Runs some items of [`serial`], and leaves the rest to others.
pub(crate) async fn takes_part_in_serial(directory: &Path) {
    let runner = crate::process::place().workflow(serial(directory)).build().await.unwrap();
    crate::process::say("ready");
    until(async || RUN_HERE.load(Ordering::Relaxed) >= 25).await;
    runner.shutdown().await.unwrap();
}

#[cloacina::task(
    map = "numbers",
    parallel = 8,
    tolerate = "50%",
    retry(attempts = 2, base = "1ms", cap = "2ms")
)]
async fn halve(item: Item<u64>, task: &TaskInfo) -> Result<u64, TaskError> {
    assert_eq!(task.parent().map(|parent| parent.item), Some(item.index()));
    match item.value() % 2 {
        0 => Ok(item.value() / 2),
        _ => Err(TaskError::fatal("it is odd")),
    }
}

#[cloacina::task(dependencies = [halve])]
async fn all_halves(context: &mut Context) -> Result<Vec<u64>, cloacina::Error> {
    context.results::<u64>("halve").completed().await
}

fn halves() -> Workflow {
    Workflow::builder("halves").task(halve).task(all_halves).build()
}

#[tokio::test]
async fn what_children_came_to_can_be_said_in_a_unit_test() {
    let results = [Ok(1_u64), Err("odd".to_owned()), Ok(3)];
    let mut context = Context::new().in_task(TaskInfo::for_test("all_halves").with_results("halve", results));
    assert_eq!(all_halves(&mut context).await.unwrap(), [1, 3]);
    let mut nobody = Context::new().in_task(TaskInfo::for_test("all_halves"));
    assert_error(&all_halves(&mut nobody).await.unwrap_err(), ErrorKind::WrongState, "with_results");
    assert_eq!(
        halve(
            Item::for_test(8, 0),
            &TaskInfo::for_test("halve").with_parent(cloacina::Parent::for_test("halve", 0))
        )
        .await
        .unwrap(),
        4
    );
}

#[test]
fn what_a_wait_cannot_say_is_told() {
    let refused = |wait: Wait| Workflow::builder("w").wait(wait).try_build().unwrap_err().to_string();
    let on_sleep = refused(Wait::sleep("s", Duration::ZERO).parallel(3));
    assert!(on_sleep.contains("says `parallel`, which is for a map"), "{on_sleep}");
    let on_child = refused(Wait::child("c", "x").tolerate(1));
    assert!(on_child.contains("says `tolerate`, which is for a map"), "{on_child}");
    let on_map = refused(Wait::map("m", "x").input("a"));
    assert!(on_map.contains("says `input`, which is for the wait for one child"), "{on_map}");
    let none = refused(Wait::map("m", "x").parallel(0));
    assert!(none.contains("is not between 1 and 10,000"), "{none}");
    let tolerance = refused(Wait::map("m", "x").tolerate("two"));
    assert!(tolerance.contains("neither a number of items nor a percentage"), "{tolerance}");
    let reserved = refused(Wait::child("c", "cloacina/bulk"));
    assert!(reserved.contains("names a workflow by a name that none can have"), "{reserved}");
    let alone = Workflow::builder("w").task(square("s").parallel(3)).try_build().unwrap_err().to_string();
    assert!(alone.contains("add `.map(…)`"), "{alone}");
}

/// Squares the numbers of a list, beside a child.
fn squares() -> [Workflow; 2] {
    let squares = Workflow::builder("squares")
        .task(square("square").map("numbers").parallel(3))
        .wait(Wait::child("alone", "leaf"))
        .wait(Wait::child("waits", "sleeper").after("square"))
        .task(sum("sum", "square").dependencies(["square", "alone"]))
        .build();
    [squares, Workflow::builder("leaf").task(setting("a", "b", 1)).build()]
}

/// A login of its own, the operator in its place, and shared tables; schemas and files are above.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_run_in_every_placement_and_are_no_other_tenants() {
    let database = crate::admin::Administered::by_a_provisioner().await;
    let (acme, globex) = (database.tenant("acme").await, database.tenant("globex").await);
    let (_admin, shared) = crate::shared::shared().await;
    let runner = async |builder: cloacina::runner::RunnerBuilder| {
        let sleeper =
            Workflow::builder("sleeper").wait(Wait::sleep("day", Duration::from_secs(86_400))).build();
        let [squares, leaf] = squares();
        let builder = builder.config(quick().build()).workflow(squares).workflow(leaf).workflow(sleeper);
        builder.build().await.unwrap()
    };
    let login = |url: &str| Runner::builder().database_url(url);
    for (ours, theirs) in [
        (login(&acme.connection_string), login(&globex.connection_string)),
        (login(&database.url).schema("acme"), login(&database.url).schema("globex")),
        (login(&shared).tenant("acme"), login(&shared).tenant("globex")),
    ] {
        let (ours, theirs) = (runner(ours).await, runner(theirs).await);
        let numbers = Context::new().with("numbers", (0..20).collect::<Vec<u64>>());
        let execution = ours.execute_async("squares", numbers).await.unwrap();
        has_children(&execution, 22).await;
        until(async || {
            let result = ours.get_execution(execution.execution_id).await.unwrap();
            task_of(&result, "sum").state == TaskState::Completed
        })
        .await;
        let result = ours.get_execution(execution.execution_id).await.unwrap();
        let expected: u64 = (0..20).map(|number| number * number).sum();
        assert_eq!(result.final_context.get::<u64>("sum"), Some(expected));
        let foreign = theirs.execution(execution.execution_id);
        assert!(foreign.children(None, 10).await.unwrap().is_empty());
        assert!(foreign.progress().await.unwrap().is_empty());
        let error = foreign.results::<u64>("square").next().await.unwrap_err();
        assert_error(&error, ErrorKind::NotFound, "has no node `square`");
        let error = foreign.set_parallel("square", 1).await.unwrap_err();
        assert_error(&error, ErrorKind::WrongState, "has no node `square`");
        execution.cancel().await.unwrap();
        let sleeper = execution.children(None, 100).await.unwrap().pop().unwrap();
        reaches(&ours.execution(sleeper.execution_id), ExecutionStatus::Cancelled).await;
        ours.shutdown().await.unwrap();
        theirs.shutdown().await.unwrap();
    }
}

/// What a tenant's login can write into the tables of children.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_login_plants_about_children_spoils_only_its_own() {
    let database = crate::admin::Administered::by_a_provisioner().await;
    let acme = database.tenant("acme").await;
    let gate = Gate::new();
    let shipping = Workflow::builder("shipping").task(gate.task("slow")).build();
    let runner = Runner::builder().database_url(&database.url).schema("acme").config(quick().build());
    let runner = runner.workflow(parent(Wait::child("ship", "shipping"))).workflow(shipping);
    let runner = runner.build().await.unwrap();
    let execution = runner.execute_async("parent", Context::new()).await.unwrap();
    gate.started().await;
    let child = execution.children(None, 10).await.unwrap().remove(0).execution_id;
    let session = crate::admin::connect(&acme.connection_string).await.unwrap();
    let id = execution.execution_id;
    // Rows about nothing, about a child that runs, about one that is none, and a sweep of what is not over.
    session
        .batch_execute(&format!(
            "INSERT INTO due_rows SELECT tenant_id, 3, now(), gen_random_uuid(), '' FROM cloacina.me();
             INSERT INTO due_rows SELECT tenant_id, 3, now(), '{id}', '{child}' FROM cloacina.me();
             INSERT INTO due_rows SELECT tenant_id, 3, now(), '{id}', '{id}' FROM cloacina.me();
             INSERT INTO due_rows SELECT tenant_id, 3, now(), '{id}', 'nonsense' FROM cloacina.me();
             INSERT INTO due_rows SELECT tenant_id, 4, now(), '{id}', '' FROM cloacina.me();
             INSERT INTO due_rows SELECT tenant_id, 4, now(), '{id}', '99999' FROM cloacina.me();
             SELECT cloacina.ring(now());"
        ))
        .await
        .unwrap();
    let refused = "INSERT INTO task_children SELECT tenant_id, gen_random_uuid(), 0, -1, 1, 0, 0, 0, 0, false FROM cloacina.me()";
    session.batch_execute(refused).await.unwrap_err();
    let rows = "SELECT count(*) FROM due_rows WHERE kind IN (3, 4)";
    until(async || session.query_one(rows, &[]).await.unwrap().get::<_, i64>(0) == 0).await;
    assert_eq!(runner.get_execution_status(child).await.unwrap(), ExecutionStatus::Running);
    gate.open(1);
    assert_eq!(ends(&execution).await.status, ExecutionStatus::Completed);
    runner.shutdown().await.unwrap();
}
