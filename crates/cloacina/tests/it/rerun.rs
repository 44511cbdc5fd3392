//! Executions that are run again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cloacina::rerun::From;
use cloacina::{
    Context, Error, ErrorKind, Execution, ExecutionFilter, ExecutionStatus, Input, SignalReceipt,
    TaskDefinition, TaskError, TaskState, Uuid, Wait, Workflow, join_all,
};
use parking_lot::Mutex;

use crate::support::{
    Database, Gate, assert_error, failing, idle, in_time, quick, reaches, setting, task, task_of, until,
    workflow,
};

/// Takes money, once for each token.
#[derive(Clone, Default)]
struct Gateway {
    charged: Arc<Mutex<HashMap<Uuid, u32>>>,
    asked: Arc<AtomicUsize>,
}

impl Gateway {
    fn task(&self, id: &str) -> TaskDefinition {
        let gateway = self.clone();
        task(id, move |context| {
            let gateway = gateway.clone();
            async move {
                gateway.asked.fetch_add(1, Ordering::Relaxed);
                let mut charged = gateway.charged.lock();
                let times = charged.entry(context.task().idempotency_token()).or_default();
                *times += 1;
                if *times > 1 {
                    // The card was charged before; the receipt got lost.
                    return Ok(context.with("receipt", "second"));
                }
                Err("the answer got lost".into())
            }
        })
    }
}

/// A task that fails until it is mended.
fn breakable(id: &'static str, mended: &Arc<AtomicBool>) -> TaskDefinition {
    let mended = Arc::clone(mended);
    task(id, move |context| {
        let mended = mended.load(Ordering::Relaxed);
        async move { if mended { Ok(context.with(id, "mended")) } else { Err(format!("{id} is broken").into()) } }
    })
}

fn states(result: &cloacina::ExecutionResult) -> Vec<TaskState> {
    result.task_results.iter().map(|task| task.state).collect()
}

/// Records an execution as soon as there is room for it.
async fn admitted(record: impl AsyncFn() -> Result<Execution, Error>) -> Execution {
    loop {
        match record().await {
            Ok(execution) => return execution,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Limit, "{error}"),
        }
    }
}

on_each_store! {
    async fn a_process_without_the_code_reruns_and_whoever_has_it_works_out_what_is_copied(database: Database) {
        let (mended, first, gateway) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Gateway::default());
        let known = || {
            let counted = Arc::clone(&first);
            [workflow("w", [
                task("first", move |context| {
                    let times = counted.fetch_add(1, Ordering::Relaxed);
                    async move { Ok(context.with("first", times)) }
                }),
                breakable("second", &mended).dependencies(["first"]),
                gateway.task("charge").dependencies(["first"]),
            ])]
        };
        let worker = database.runner(known()).await;
        let old = worker.execute("w", Context::new().with("n", 1)).await.unwrap();
        assert_eq!(old.status, ExecutionStatus::Failed);
        worker.shutdown().await.unwrap();
        mended.store(true, Ordering::Relaxed);

        // As runners of one process share what they know, only one of them is there at a time.
        let in_turn = async |of: Uuid, from: From<'_>, input: Option<Context>| {
            let front = database.configured(quick().submit_only(true), []).await;
            let mut rerun = front.execution(of).rerun(from);
            if let Some(input) = input {
                rerun = rerun.input(input);
            }
            let new = rerun.send().await.unwrap().execution_id;
            let error = front.execution(of).rerun(From::Start).send().await.unwrap_err();
            assert_error(&error, ErrorKind::WrongState, &new.to_string());
            front.shutdown().await.unwrap();
            let worker = database.runner(known()).await;
            let result = in_time(worker.execution(new).wait_for_completion()).await.unwrap();
            worker.shutdown().await.unwrap();
            result
        };
        let result = in_turn(old.execution_id, From::Failed, None).await;
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        assert_eq!(first.load(Ordering::Relaxed), 1, "what completed is not run again");
        assert_eq!(result.final_context.get::<String>("receipt").as_deref(), Some("second"), "the token is the same");
        assert_eq!(result.rerun_of, Some(old.execution_id));
        assert!(result.final_context.iter().all(|(key, _)| !key.starts_with("cloacina/")), "{result:?}");

        let result = in_turn(result.execution_id, From::Task("first"), None).await;
        assert!(result.status.is_success(), "{result:?}");
        assert_eq!(first.load(Ordering::Relaxed), 2);
        let result = in_turn(result.execution_id, From::Start, Some(Context::new().with("n", 2))).await;
        assert_eq!((result.final_context.get::<u32>("n"), first.load(Ordering::Relaxed)), (Some(2), 3));
        // From a task that there is not, nothing can be run.
        let result = in_turn(result.execution_id, From::Task("third"), None).await;
        assert_eq!(result.status, ExecutionStatus::Cancelled);
        assert!(result.error_message.as_deref().unwrap_or_default().contains("from task `third`"), "{result:?}");
    }

    async fn many_reruns_by_name_are_worked_off(database: Database) {
        let mended = Arc::new(AtomicBool::new(false));
        let worker = database.runner([workflow("w", [breakable("only", &mended)])]).await;
        let mut failed = Vec::new();
        for _ in 0..40 {
            failed.push(worker.execute_async("w", Context::new()).await.unwrap());
        }
        for execution in &failed {
            in_time(execution.wait_for_completion()).await.unwrap();
        }
        worker.shutdown().await.unwrap();
        mended.store(true, Ordering::Relaxed);
        let front = database.configured(quick().submit_only(true), []).await;
        let filter = ExecutionFilter::all().status(ExecutionStatus::Failed).superseded(false);
        let run = front.rerun_many(filter, From::Failed).start().await.unwrap();
        // One that has not the code either works it off.
        let other = database.runner([]).await;
        let report = run.wait().await.unwrap();
        assert_eq!((report.done, report.failed), (40, 0), "{report:?}");
        other.shutdown().await.unwrap();
        front.shutdown().await.unwrap();
        let worker = database.runner([workflow("w", [breakable("only", &mended)])]).await;
        let completed = ExecutionFilter::all().workflow("w").status(ExecutionStatus::Completed);
        until(async || worker.list(completed.clone(), None, 100).await.unwrap().len() == 40).await;
        worker.shutdown().await.unwrap();
    }

    async fn a_rerun_from_what_failed_runs_only_that_and_what_lies_behind(database: Database) {
        let (mended, first) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&first);
        let runner = database.runner([workflow("w", [
            task("first", move |context| {
                let times = counted.fetch_add(1, Ordering::Relaxed);
                async move { Ok(context.with("first", times)) }
            }),
            breakable("second", &mended).dependencies(["first"]),
            task("third", |context: Context| async move {
                let first = context.get::<usize>("first");
                Ok(context.with("third", first))
            }).dependencies(["second"]),
        ])]).await;
        let old = runner.submit("w").input(Context::new().with("n", 1)).tag("night").priority(7).send().await.unwrap();
        let failed = in_time(old.wait_for_completion()).await.unwrap();
        assert_eq!((failed.status, failed.superseded_by), (ExecutionStatus::Failed, None));
        mended.store(true, Ordering::Relaxed);
        let new = old.rerun(From::Failed).send().await.unwrap();
        assert_ne!(new.execution_id, old.execution_id);
        let result = in_time(new.wait_for_completion()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        let expected = Context::new().with("n", 1).with("first", 0).with("second", "mended").with("third", 0);
        assert_eq!(result.final_context, expected);
        assert_eq!(first.load(Ordering::Relaxed), 1, "what completed is not run again");
        assert_eq!((result.rerun_of, result.superseded_by), (Some(old.execution_id), None));
        assert_eq!(result.tags, ["night"]);
        assert_eq!(task_of(&result, "first").attempts, 0, "this execution did not try it");
        assert_eq!(task_of(&result, "first").end_time, task_of(&failed, "first").end_time);
        let tried: Vec<_> = new.history().await.unwrap().into_iter().map(|attempt| attempt.task_id).collect();
        assert_eq!(tried, ["second", "third"]);
        let stored = runner.get_execution(old.execution_id).await.unwrap();
        assert_eq!((stored.status, stored.superseded_by), (ExecutionStatus::Failed, Some(new.execution_id)));
        assert_eq!(stored.final_context, failed.final_context, "the old one stays as it is");
        let alone = runner.list(ExecutionFilter::all().superseded(false), None, 10).await.unwrap();
        assert_eq!(alone.iter().map(|one| one.execution_id).collect::<Vec<_>>(), [new.execution_id]);
        let tagged = runner.list(ExecutionFilter::all().tag("night"), None, 10).await.unwrap();
        assert_eq!(tagged.iter().map(|one| one.rerun_of).collect::<Vec<_>>(), [Some(old.execution_id), None]);
        runner.shutdown().await.unwrap();
    }

    async fn a_rerun_charges_nobody_twice(database: Database) {
        let gateway = Gateway::default();
        let code = |before: &[&str]| {
            let added = before.iter().map(|id| idle(id));
            workflow("w", added.chain([gateway.task("charge")]))
        };
        let runner = database.runner([code(&[])]).await;
        let old = runner.execute_async("w", Context::new()).await.unwrap();
        assert_eq!(in_time(old.wait_for_completion()).await.unwrap().status, ExecutionStatus::Failed);
        let id = old.execution_id;
        runner.shutdown().await.unwrap();
        // Another task comes before it in the code of today.
        let runner = database.runner([code(&["greet"])]).await;
        let new = runner.execution(id).rerun(From::Failed).send().await.unwrap();
        let result = in_time(new.wait_for_completion()).await.unwrap();
        assert_eq!(result.final_context.get::<String>("receipt").as_deref(), Some("second"));
        assert_eq!(gateway.charged.lock().len(), 1, "the gateway saw one token");
        // A rerun of the rerun goes on with it, too.
        let third = new.rerun(From::Task("charge")).send().await.unwrap();
        assert!(in_time(third.wait_for_completion()).await.unwrap().status.is_success());
        assert_eq!(gateway.charged.lock().len(), 1);
        // From the start everything is new.
        let fourth = third.rerun(From::Start).send().await.unwrap();
        assert_eq!(in_time(fourth.wait_for_completion()).await.unwrap().status, ExecutionStatus::Failed);
        assert_eq!(gateway.charged.lock().len(), 2);
        let fifth = fourth.rerun(From::Failed).send().await.unwrap();
        assert!(in_time(fifth.wait_for_completion()).await.unwrap().status.is_success());
        assert_eq!((gateway.charged.lock().len(), gateway.asked.load(Ordering::Relaxed)), (2, 5));
        runner.shutdown().await.unwrap();
    }

    async fn a_rerun_may_have_another_input(database: Database) {
        let runner = database.runner([workflow("w", [
            setting("a", "a", 1),
            task("b", |context: Context| async move {
                if context.get::<i32>("divisor") == Some(0) { Err("divided by zero".into()) } else { Ok(context) }
            }).dependencies(["a"]),
        ])]).await;
        let input = Context::new().with("divisor", 0);
        let old = runner.execute_async("w", input).await.unwrap();
        in_time(old.wait_for_completion()).await.unwrap();
        let new = old.rerun(From::Failed).input(Context::new().with("divisor", 2)).send().await.unwrap();
        let result = in_time(new.wait_for_completion()).await.unwrap();
        assert_eq!(result.final_context, Context::new().with("a", 1).with("divisor", 2));
        runner.shutdown().await.unwrap();
    }

    async fn only_what_is_over_and_not_superseded_is_rerun(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([
            workflow("slow", [gate.task("t")]),
            workflow("bad", [failing("t")]),
            workflow("good", [idle("t")]),
        ]).await;
        let running = runner.execute_async("slow", Context::new()).await.unwrap();
        gate.started().await;
        let error = running.rerun(From::Start).send().await.unwrap_err();
        assert_error(&error, ErrorKind::WrongState, "is running, and only what is over can be rerun");
        running.cancel().await.unwrap();
        let nowhere = runner.execution(Uuid::now_v7()).rerun(From::Start).send().await.unwrap_err();
        assert_eq!(nowhere.kind(), ErrorKind::NotFound);
        let good = runner.execute_async("good", Context::new()).await.unwrap();
        in_time(good.wait_for_completion()).await.unwrap();
        let error = good.rerun(From::Failed).send().await.unwrap_err();
        assert_error(&error, ErrorKind::WrongState, "nothing of execution");
        let error = good.rerun(From::Task("x")).send().await.unwrap_err();
        assert_error(&error, ErrorKind::Workflow, "from task `x`, which");
        let bad = runner.execute_async("bad", Context::new()).await.unwrap();
        in_time(bad.wait_for_completion()).await.unwrap();
        let (one, other) = tokio::join!(bad.rerun(From::Failed).send(), bad.rerun(From::Failed).send());
        let (new, error) = match (one, other) {
            (Ok(new), Err(error)) | (Err(error), Ok(new)) => (new, error),
            other => panic!("one of two reruns wins: {other:?}"),
        };
        assert_error(&error, ErrorKind::WrongState, &format!("was rerun before, as execution {}", new.execution_id));
        runner.shutdown().await.unwrap();
    }

    async fn a_rerun_of_code_that_no_longer_fits_is_refused_with_the_differences(database: Database) {
        let runner = database.runner([workflow("w", [idle("a"), idle("b").dependencies(["a"]), failing("c").dependencies(["b"])])]).await;
        let old = runner.execute_async("w", Context::new()).await.unwrap();
        in_time(old.wait_for_completion()).await.unwrap();
        let id = old.execution_id;
        runner.shutdown().await.unwrap();
        let runner = database.runner([workflow("w", [idle("new"), idle("b").dependencies(["new"]), idle("c").dependencies(["b"])])]).await;
        let error = runner.execution(id).rerun(From::Failed).send().await.unwrap_err();
        assert_error(&error, ErrorKind::Workflow, "its task `a` is gone; `b` now depends on `new`, which is new");
        assert_eq!(runner.get_execution(id).await.unwrap().superseded_by, None);
        let new = runner.execution(id).rerun(From::Start).send().await.unwrap();
        assert!(in_time(new.wait_for_completion()).await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }

    async fn the_key_and_signals_stay_with_the_first(database: Database) {
        let mended = Arc::new(AtomicBool::new(false));
        let runner = database.runner([workflow("w", [breakable("t", &mended)])]).await;
        let submit = || runner.submit("w").input(Context::new().with("n", 1)).idempotency_key("order-1").send();
        let old = submit().await.unwrap();
        in_time(old.wait_for_completion()).await.unwrap();
        mended.store(true, Ordering::Relaxed);
        let new = old.rerun(From::Failed).send().await.unwrap();
        in_time(new.wait_for_completion()).await.unwrap();
        let again = submit().await.unwrap();
        assert_eq!(again.execution_id, old.execution_id);
        let result = in_time(again.wait_for_completion()).await.unwrap();
        assert_eq!(result.superseded_by, Some(new.execution_id));
        let over = SignalReceipt::AlreadyOver { superseded_by: Some(new.execution_id) };
        assert_eq!(old.signal("paid", 1).send().await.unwrap(), over);
        assert_eq!(runner.by_key("w", "order-1").signal("paid", 1).send().await.unwrap(), over);
        runner.shutdown().await.unwrap();
    }

    async fn a_wait_that_ended_is_copied_and_one_that_did_not_waits_anew(database: Database) {
        let mended = Arc::new(AtomicBool::new(false));
        let workflow = Workflow::builder("w")
            .wait(Wait::signal("approved"))
            .task(breakable("charge", &mended).dependencies(["approved"]))
            .wait(Wait::signal("shipped").after("charge"))
            .build();
        let runner = database.runner([workflow]).await;
        let old = runner.execute_async("w", Context::new()).await.unwrap();
        old.signal("approved", "eva").send().await.unwrap();
        assert_eq!(in_time(old.wait_for_completion()).await.unwrap().status, ExecutionStatus::Failed);
        mended.store(true, Ordering::Relaxed);
        let new = old.rerun(From::Failed).send().await.unwrap();
        reaches(&new, ExecutionStatus::Waiting).await;
        new.signal("shipped", 7).send().await.unwrap();
        let result = in_time(new.wait_for_completion()).await.unwrap();
        let expected = Context::new().with("approved", "eva").with("charge", "mended").with("shipped", 7);
        assert_eq!(result.final_context, expected);
        runner.shutdown().await.unwrap();
    }

    async fn a_cancelled_execution_goes_on_where_it_was(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([workflow("w", [setting("a", "a", 1), gate.task("b").dependencies(["a"]), idle("c").dependencies(["b"])])]).await;
        let old = runner.execute_async("w", Context::new()).await.unwrap();
        gate.started().await;
        old.cancel().await.unwrap();
        let new = old.rerun(From::Failed).send().await.unwrap();
        let attempt = gate.started().await;
        assert_eq!((attempt.rerun_of(), attempt.execution_id()), (Some(old.execution_id), new.execution_id));
        gate.open(2);
        let result = in_time(new.wait_for_completion()).await.unwrap();
        assert_eq!(states(&result), [TaskState::Completed; 3]);
        assert_eq!(result.final_context, Context::new().with("a", 1));
        runner.shutdown().await.unwrap();
    }

    async fn a_rerun_counts_where_executions_are_limited(database: Database) {
        let gate = Gate::new();
        let runner = database.configured(quick().max_queue_length(1), [
            workflow("bad", [failing("t")]),
            workflow("slow", [gate.task("t")]),
        ]).await;
        let bad = runner.execute_async("bad", Context::new()).await.unwrap();
        in_time(bad.wait_for_completion()).await.unwrap();
        // A count that is a moment old may say that it is not over.
        let slow = admitted(async || runner.execute_async("slow", Context::new()).await).await;
        gate.started().await;
        let error = bad.rerun(From::Failed).send().await.unwrap_err();
        assert_error(&error, ErrorKind::Limit, "max_queue_length");
        gate.open(1);
        in_time(slow.wait_for_completion()).await.unwrap();
        let new = admitted(async || bad.rerun(From::Failed).send().await).await;
        assert_eq!(in_time(new.wait_for_completion()).await.unwrap().status, ExecutionStatus::Failed);
        runner.shutdown().await.unwrap();
    }

    async fn a_program_that_only_submits_reruns_for_one_that_runs(database: Database) {
        let mended = Arc::new(AtomicBool::new(false));
        let code = || workflow("w", [breakable("t", &mended)]);
        let runner = database.runner([code()]).await;
        let old = runner.execute_async("w", Context::new()).await.unwrap();
        in_time(old.wait_for_completion()).await.unwrap();
        mended.store(true, Ordering::Relaxed);
        let other = database.configured(quick().submit_only(true), [code()]).await;
        let new = other.execution(old.execution_id).rerun(From::Failed).send().await.unwrap();
        let result = in_time(new.wait_for(Duration::from_secs(60))).await.unwrap().unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        other.shutdown().await.unwrap();
        runner.shutdown().await.unwrap();
    }

    async fn what_the_children_of_a_copied_map_came_to_is_read_in_a_rerun(database: Database) {
        let (mended, squared) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&squared);
        let square = task("square", move |context: Context| {
            let item = context.get::<u64>("item").unwrap_or_default();
            counted.fetch_add(1, Ordering::Relaxed);
            async move { Ok(context.with("square", item * item)) }
        });
        let parent = Workflow::builder("parent")
            .task(setting("list", "items", vec![1, 2, 3]))
            .wait(Wait::map("each", "one").over("items").parallel(2).after("list"))
            .task(breakable("breaks", &mended).dependencies(["each"]))
            .task(TaskDefinition::from_async("sum", |context: Context| async {
                let all = context.results::<serde_json::Value>("each").completed().await?;
                let sum: u64 = all.iter().filter_map(|one| one["square"].as_u64()).sum();
                Ok::<_, TaskError>(context.with("sum", sum))
            }).dependencies(["breaks"]))
            .build();
        let runner = database.runner([parent, workflow("one", [square])]).await;
        let first = runner.submit("parent").tag("night").send().await.unwrap();
        assert_eq!(in_time(first.wait_for_completion()).await.unwrap().status, ExecutionStatus::Failed);
        let second = first.rerun(From::Failed).send().await.unwrap();
        assert_eq!(in_time(second.wait_for_completion()).await.unwrap().status, ExecutionStatus::Failed);
        mended.store(true, Ordering::Relaxed);
        let third = second.rerun(From::Failed).send().await.unwrap();
        let result = in_time(third.wait_for_completion()).await.unwrap();
        assert_eq!(result.final_context.get::<u64>("sum"), Some(14), "{:?}", result.error_message);
        assert_eq!(squared.load(Ordering::Relaxed), 3, "no child ran again");
        assert_eq!(third.children(None, 10).await.unwrap().len(), 0);
        let again = third.rerun(From::Task("each")).send().await.unwrap();
        let result = in_time(again.wait_for_completion()).await.unwrap();
        assert_eq!(result.final_context.get::<u64>("sum"), Some(14));
        assert_eq!((squared.load(Ordering::Relaxed), again.children(None, 10).await.unwrap().len()), (6, 3));
        runner.shutdown().await.unwrap();
    }

    async fn the_children_of_a_rerun_charge_nobody_twice(database: Database) {
        let tokens = Arc::new(Mutex::new(HashMap::<(u64, u64), HashSet<Uuid>>::new()));
        let (seen, mended) = (Arc::clone(&tokens), Arc::new(AtomicBool::new(false)));
        let is_mended = Arc::clone(&mended);
        let charge = task("charge", move |context: Context| {
            let item = context.get::<u64>("item").unwrap_or_default();
            let index = context.get::<u64>("index").unwrap_or_default();
            assert_eq!(context.tags(), ["night"]);
            seen.lock().entry((index, item)).or_default().insert(context.task().idempotency_token());
            let fails = item == 2 && !is_mended.load(Ordering::Relaxed);
            async move { if fails { Err(TaskError::fatal("declined")) } else { Ok(context) } }
        });
        let nested = Workflow::builder("nested").wait(Wait::map("inner", "pay").over("item")).build();
        let parent = Workflow::builder("parent").wait(Wait::map("each", "nested").over("orders")).build();
        let runner = database.runner([parent, nested, workflow("pay", [charge])]).await;
        let orders = |last: u64| Context::new().with("orders", [vec![1, 2], vec![3, last]]);
        let old = runner.submit("parent").input(orders(3)).tag("night").send().await.unwrap();
        assert_eq!(in_time(old.wait_for_completion()).await.unwrap().status, ExecutionStatus::Failed);
        mended.store(true, Ordering::Relaxed);
        // Another order than before has another token.
        let new = old.rerun(From::Failed).input(orders(4)).send().await.unwrap();
        let result = in_time(new.wait_for_completion()).await.unwrap();
        assert_eq!((result.status, result.tags), (ExecutionStatus::Completed, vec!["night".to_owned()]));
        let last = new.rerun(From::Task("each")).send().await.unwrap();
        assert!(in_time(last.wait_for_completion()).await.unwrap().status.is_success());
        let tokens = std::mem::take(&mut *tokens.lock());
        for unchanged in [(0, 1), (1, 2)] {
            assert_eq!(tokens[&unchanged].len(), 1, "{unchanged:?}: {tokens:?}");
        }
        let all: HashSet<Uuid> = tokens.values().flatten().copied().collect();
        assert_eq!(all.len(), tokens.values().map(HashSet::len).sum::<usize>(), "no two have the same");
        assert_eq!(runner.list(ExecutionFilter::all().tag("night"), None, 10).await.unwrap().len(), 3);
        runner.shutdown().await.unwrap();
    }

    async fn all_that_failed_is_rerun_by_one_call(database: Database) {
        let mended = Arc::new(AtomicBool::new(false));
        let runner = database.runner([
            workflow("w", [setting("first", "first", 1), breakable("t", &mended).dependencies(["first"])]),
            workflow("good", [idle("t")]),
        ]).await;
        let inputs = (0..450).map(|n| Input::new(Context::new().with("n", n)).tag("night"));
        let recorded = runner.submit_many("w", inputs).send().await.unwrap();
        let executions: Vec<_> = recorded.into_iter().map(Result::unwrap).collect();
        in_time(join_all(&executions)).await;
        in_time(runner.execute("good", Context::new())).await.unwrap();
        let night = || ExecutionFilter::all().tag("night");
        assert_eq!(runner.rerun_many(night(), From::Failed).dry_run().await.unwrap(), 450);
        executions[7].rerun(From::Failed).send().await.unwrap().wait_for_completion().await.unwrap();
        mended.store(true, Ordering::Relaxed);
        let mut told = Vec::new();
        let report = runner.rerun_many(night(), From::Failed).on_progress(|report| told.push(report.done)).send();
        let report = in_time(report).await.unwrap();
        assert_eq!((report.matched, report.done, report.failed), (450, 450, 0), "{:?}", report.errors);
        assert_eq!(told.last(), Some(&450));
        assert!(told.is_sorted(), "{told:?}");
        let completed = || night().status(ExecutionStatus::Completed);
        until(async || runner.list(completed(), None, 1_000).await.unwrap().len() == 450).await;
        let left = night().status(ExecutionStatus::Failed).superseded(false);
        assert!(runner.list(left, None, 10).await.unwrap().is_empty());
        let none = runner.rerun_many(night(), From::Failed).pace(10).send().await.unwrap();
        assert_eq!(none.matched, 0);
        // Each of them has to say why it cannot be.
        let good = ExecutionFilter::all().workflow("good").status(ExecutionStatus::Completed);
        let report = runner.rerun_many(good, From::Failed).send().await.unwrap();
        assert_eq!((report.matched, report.done, report.failed, report.errors.len()), (1, 0, 1, 1));
        runner.shutdown().await.unwrap();
    }

    async fn all_of_a_filter_are_paused_resumed_and_cancelled_by_one_call(database: Database) {
        let runner = database.runner([Workflow::builder("w").wait(Wait::signal("never")).build()]).await;
        let recorded = runner.submit_many("w", (0..40).map(|n| Context::new().with("n", n))).send().await.unwrap();
        let executions: Vec<_> = recorded.into_iter().map(Result::unwrap).collect();
        for execution in &executions {
            reaches(execution, ExecutionStatus::Waiting).await;
        }
        executions[3].cancel().await.unwrap();
        let all = || ExecutionFilter::all().workflow("w");
        let count = async |status| runner.list(all().status(status), None, 100).await.unwrap().len();
        assert_eq!(runner.pause_many(all()).send().await.unwrap().done, 39);
        assert_eq!(count(ExecutionStatus::Paused).await, 39);
        assert_eq!(runner.resume_many(all()).send().await.unwrap().done, 39);
        assert_eq!(count(ExecutionStatus::Paused).await, 0);
        let report = runner.cancel_many(all()).send().await.unwrap();
        assert_eq!((report.matched, report.done, report.failed), (39, 39, 0));
        assert_eq!(count(ExecutionStatus::Cancelled).await, 40);
        runner.shutdown().await.unwrap();
    }

    async fn what_a_schedule_said_is_said_to_a_rerun_too(database: Database) {
        let mended = Arc::new(AtomicBool::new(false));
        let is_mended = Arc::clone(&mended);
        let report = task("t", move |context| {
            let mended = is_mended.load(Ordering::Relaxed);
            async move {
                let name = context.schedule().map(|fire| fire.name.clone());
                if mended { Ok(context.with("for", name)) } else { Err(TaskError::from("broken")) }
            }
        });
        let runner = database.runner([workflow("w", [report])]).await;
        let schedules = runner.schedules();
        schedules.put(cloacina::Schedule::new("nightly", "w").cron("0 0 * * *").unwrap()).await.unwrap();
        let triggered = schedules.trigger("nightly").await.unwrap();
        let cloacina::Triggered::Started(id) = triggered else { panic!("it is started: {triggered:?}") };
        let old = runner.execution(id);
        in_time(old.wait_for_completion()).await.unwrap();
        mended.store(true, Ordering::Relaxed);
        let new = old.rerun(From::Start).send().await.unwrap();
        let result = in_time(new.wait_for_completion()).await.unwrap();
        assert_eq!(result.final_context, Context::new().with("for", "nightly"));
        runner.shutdown().await.unwrap();
    }
}
