//! Executions that wait: for a time, and for signals.

use std::sync::Arc;
use std::time::Duration;

use cloacina::{
    Ask, Context, ErrorKind, Execution, ExecutionStatus, FireOutcome, OnTimeout, Overlap, Runner, Schedule,
    SignalReceipt, TaskState, TriggerRule, Wait, Waiting, Workflow,
};
use cloacina_core::clock::Clock;
use cloacina_testing::clock::ManualClock;
use serde_json::{Value, json};

use crate::support::{
    Database, Gate, assert_error, failing, idle, in_time, quick, reaches, setting, task, task_of, until,
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What waits, and a task that tells what it finds in the context after it.
fn then(wait: Wait) -> Workflow {
    let id = wait.id().to_owned();
    let tells = task("tell", move |context: Context| {
        let found = context.get::<Value>(&id);
        async move { Ok(context.with("told", found)) }
    });
    Workflow::builder("w")
        .wait(wait.after("first"))
        .task(setting("first", "begun", true))
        .task(tells.dependencies(["wait"]))
        .build()
}

/// A runner whose time the test moves.
async fn with_clock(
    database: &Database,
    workflows: impl IntoIterator<Item = Workflow>,
) -> (Runner, ManualClock) {
    let clock = ManualClock::new();
    let config = quick().clock(Arc::new(clock.clone()));
    (database.configured(config, workflows).await, clock)
}

/// Returns once the execution waits for something.
async fn waits(execution: &Execution) -> Waiting {
    until(async || !execution.waits().await.unwrap().is_empty()).await;
    execution.waits().await.unwrap().remove(0)
}

async fn is_over(execution: &Execution, clock: &ManualClock) -> cloacina::ExecutionResult {
    until(async || {
        clock.advance(Duration::from_millis(100));
        execution.get_status().await.unwrap().is_terminal()
    })
    .await;
    in_time(execution.wait_for_completion()).await.unwrap()
}

on_each_store! {
    async fn a_wait_whose_code_went_away_is_at_rest_and_ends_when_it_comes_back(database: Database) {
        let (with_code, clock) = with_clock(&database, [then(Wait::sleep("wait", DAY))]).await;
        let execution = with_code.execute_async("w", Context::new()).await.unwrap();
        waits(&execution).await;
        let id = execution.execution_id;
        with_code.shutdown().await.unwrap();
        clock.advance(DAY);
        let config = || quick().clock(Arc::new(clock.clone())).orphan_grace(Duration::from_secs(60));
        let other = database.configured(config(), [Workflow::builder("other").task(idle("t")).build()]).await;
        let execution = other.execution(id);
        until(async || {
            clock.advance(Duration::from_secs(1));
            execution.get_status().await.unwrap() == ExecutionStatus::Paused
        })
        .await;
        other.shutdown().await.unwrap();
        let with_code = database.configured(config(), [then(Wait::sleep("wait", DAY))]).await;
        let result = is_over(&with_code.execution(id), &clock).await;
        assert!(result.status.is_success(), "{result:?}");
        with_code.shutdown().await.unwrap();
    }

    async fn a_sleep_ends_at_its_time_and_not_before(database: Database) {
        let (runner, clock) = with_clock(&database, [
            then(Wait::sleep("wait", 3 * DAY)),
            Workflow::builder("early").wait(Wait::sleep("wait", 3 * DAY - Duration::from_secs(1))).build(),
        ]).await;
        let begun = clock.now();
        let early = runner.execute_async("early", Context::new()).await.unwrap();
        waits(&early).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        let waiting = waits(&execution).await;
        assert_eq!((waiting.wait.as_str(), waiting.workflow.as_str(), waiting.signal), ("wait", "w", None));
        assert_eq!((waiting.since, waiting.until), (begun, Some(begun + 3 * DAY)));
        let now = runner.get_execution(execution.execution_id).await.unwrap();
        let states: Vec<_> = now.task_results.iter().map(|task| task.state).collect();
        assert_eq!(states, [TaskState::Waiting, TaskState::Completed, TaskState::Pending]);
        clock.advance(3 * DAY - Duration::from_secs(1));
        // Whoever ended the one has looked at both.
        reaches(&early, ExecutionStatus::Completed).await;
        assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Waiting);
        let figures = runner.metrics().await.unwrap();
        assert_eq!((figures.waiting_executions, figures.active_executions, figures.queue_depth), (1, 0, 0));
        clock.advance(Duration::from_secs(1));
        let result = is_over(&execution, &clock).await;
        assert_eq!(result.status, ExecutionStatus::Completed);
        assert_eq!(result.final_context, Context::new().with("begun", true).with("told", None::<Value>));
        assert!(execution.waits().await.unwrap().is_empty());
        let tried: Vec<_> = execution.history().await.unwrap().into_iter().map(|attempt| attempt.task_id).collect();
        assert_eq!(tried, ["first", "tell"], "a wait has no attempts");
        runner.shutdown().await.unwrap();
    }

    async fn a_signal_is_taken_by_the_wait_that_is_open(database: Database) {
        let runner = database.runner([then(Wait::signal("wait"))]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        let waiting = waits(&execution).await;
        assert_eq!((waiting.signal.as_deref(), waiting.until), (Some("wait"), None));
        let sent = execution.signal("wait", json!({"by": "eva"})).send().await.unwrap();
        assert_eq!(sent, SignalReceipt::Delivered);
        let result = in_time(execution.wait_for_completion()).await.unwrap();
        assert_eq!(result.final_context.get::<Value>("told"), Some(json!({"by": "eva"})));
        assert_eq!(execution.signal("wait", 1).send().await.unwrap(), SignalReceipt::AlreadyOver { superseded_by: None });
        runner.shutdown().await.unwrap();
    }

    async fn a_signal_starts_the_execution_that_is_not_there(database: Database) {
        let gate = Gate::new();
        let gated = Workflow::builder("gated").task(gate.task("t")).build();
        let runner = database.configured(quick().max_queue_length(2), [then(Wait::signal("wait")), gated]).await;
        let signal = |key: &str| {
            let input = Context::new().with("invoice", key);
            runner.by_key("w", key).signal_or_start("wait", 7, input).key("bank-1").send()
        };
        assert_eq!(signal("77").await.unwrap(), SignalReceipt::Started);
        until(async || runner.list_executions().await.unwrap()[0].status.is_terminal()).await;
        let all = runner.list_executions().await.unwrap();
        let result = runner.get_execution(all[0].execution_id).await.unwrap();
        let expected = [("begun", json!(true)), ("invoice", json!("77")), ("told", json!(7)), ("wait", json!(7))];
        let context: Vec<_> = result.final_context.iter().map(|(key, value)| (key, value.clone())).collect();
        assert_eq!(context, expected);
        assert_eq!(signal("77").await.unwrap(), SignalReceipt::AlreadyOver { superseded_by: None });
        // Whoever submits it later finds it, and whoever signals later signals it.
        let submitted = runner.submit("w").input(Context::new()).idempotency_key("78").send().await.unwrap();
        waits(&submitted).await;
        assert_eq!(signal("78").await.unwrap(), SignalReceipt::Delivered);
        in_time(submitted.wait_for_completion()).await.unwrap();
        for _ in 0..2 {
            runner.execute_async("gated", Context::new()).await.unwrap();
            gate.started().await;
        }
        assert_error(&signal("79").await.unwrap_err(), ErrorKind::Limit, "max_queue_length");
        assert_eq!(signal("78").await.unwrap(), SignalReceipt::AlreadyOver { superseded_by: None }, "it starts nothing");
        let unfit = runner.by_key("w", "80").signal_or_start("wait", 7, Context::new().with("x", f64::NAN));
        assert_error(&unfit.send().await.unwrap_err(), ErrorKind::Context, "x");
        assert_eq!(runner.list_executions().await.unwrap().len(), 4);
        gate.open(2);
        runner.shutdown().await.unwrap();
    }

    async fn no_more_executions_wait_than_a_tenant_may_have(database: Database) {
        let plain = Workflow::builder("plain").task(idle("t")).build();
        let runner = database.configured(quick().max_waiting(2), [then(Wait::signal("wait")), plain]).await;
        let mut waiting = Vec::new();
        for _ in 0..2 {
            let execution = runner.execute_async("w", Context::new()).await.unwrap();
            waits(&execution).await;
            waiting.push(execution);
        }
        let refused = runner.execute_async("w", Context::new()).await.unwrap_err();
        assert_error(&refused, ErrorKind::Limit, "max_waiting");
        let refused = runner.submit_many("w", [Context::new()]).send().await.unwrap();
        assert_error(refused[0].as_ref().unwrap_err(), ErrorKind::Limit, "max_waiting");
        // What does not wait is not concerned, and what waits no more makes room.
        assert_eq!(runner.execute("plain", Context::new()).await.unwrap().status, ExecutionStatus::Completed);
        waiting[0].signal("wait", 1).send().await.unwrap();
        in_time(waiting[0].wait_for_completion()).await.unwrap();
        until(async || runner.execute_async("w", Context::new()).await.is_ok()).await;
        until(async || runner.execute_async("w", Context::new()).await.is_err()).await;
        runner.shutdown().await.unwrap();
    }

    async fn what_needs_no_slot_comes_on_time_while_all_slots_are_taken(database: Database) {
        let (clock, gate) = (ManualClock::new(), Gate::new());
        let config = quick().clock(Arc::new(clock.clone())).max_concurrent_tasks(64).task_timeout(None);
        let slow = Workflow::builder("slow").task(gate.task("t")).build();
        let waiting = Workflow::builder("waiting")
            .wait(Wait::sleep("nap", HOUR))
            .wait(Wait::signal("paid").timeout(HOUR).on_timeout(OnTimeout::Continue))
            .build();
        let runner = database.configured(config, [slow, waiting]).await;
        for _ in 0..64 {
            runner.execute_async("slow", Context::new()).await.unwrap();
        }
        for _ in 0..64 {
            gate.started().await;
        }
        let hourly = Schedule::new("hourly", "slow").at(clock.now() + HOUR).overlap(Overlap::Allow);
        runner.schedules().put(hourly).await.unwrap();
        let execution = runner.execute_async("waiting", Context::new()).await.unwrap();
        until(async || execution.waits().await.unwrap().len() == 2).await;
        clock.advance(HOUR);
        let result = in_time(execution.wait_for_completion()).await.unwrap();
        assert_eq!((result.status, result.end_time), (ExecutionStatus::Completed, Some(clock.now())));
        until(async || !runner.schedules().fires("hourly", None, 10).await.unwrap().is_empty()).await;
        let fires = runner.schedules().fires("hourly", None, 10).await.unwrap();
        assert_eq!((fires[0].outcome, fires[0].fired_at), (FireOutcome::Started, clock.now()));
        assert!(!gate.has_started().await, "nobody has left a slot");
        gate.open(65);
        runner.shutdown().await.unwrap();
    }

    async fn a_signal_that_comes_before_its_wait_is_kept_for_it(database: Database) {
        let gate = Gate::new();
        let workflow = Workflow::builder("w")
            .task(gate.task("first"))
            .wait(Wait::signal("one").named("paid").after("first"))
            .wait(Wait::signal("two").named("paid").after("one"))
            .build();
        let runner = database.runner([workflow]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        gate.started().await;
        for amount in [7, 8, 9] {
            assert_eq!(execution.signal("paid", amount).send().await.unwrap(), SignalReceipt::Buffered);
        }
        gate.open(1);
        let result = in_time(execution.wait_for_completion()).await.unwrap();
        assert_eq!(result.final_context, Context::new().with("one", 7).with("two", 8), "in their order");
        runner.shutdown().await.unwrap();
    }

    async fn a_signal_with_a_key_arrives_once(database: Database) {
        let gate = Gate::new();
        let workflow = Workflow::builder("w")
            .task(gate.task("first"))
            .wait(Wait::signal("paid").after("first"))
            .build();
        let runner = database.runner([workflow]).await;
        let submission = runner.submit("w").idempotency_key("invoice-77");
        let execution = submission.send().await.unwrap();
        gate.started().await;
        let invoice = runner.by_key("w", "invoice-77");
        assert_eq!(invoice.signal("paid", 1).key("web-1").send().await.unwrap(), SignalReceipt::Buffered);
        assert_eq!(invoice.signal("paid", 2).key("web-1").send().await.unwrap(), SignalReceipt::Repeated);
        assert_eq!(invoice.signal("other", 3).key("web-1").send().await.unwrap(), SignalReceipt::Buffered);
        gate.open(1);
        let result = in_time(execution.wait_for_completion()).await.unwrap();
        assert_eq!(result.final_context.get::<i64>("paid"), Some(1));
        runner.shutdown().await.unwrap();
    }

    async fn a_wait_whose_time_is_over_ends_as_it_says(database: Database) {
        let wait = |id: &str, on| Wait::signal(id).timeout(DAY).on_timeout(on);
        let after = |id: &'static str| idle(id);
        let workflow = Workflow::builder("w")
            .wait(wait("fails", OnTimeout::Fail))
            .wait(wait("skips", OnTimeout::Skip))
            .wait(wait("goes_on", OnTimeout::Continue))
            .task(after("handles").dependencies(["fails"]).rule(TriggerRule::AnyFailed))
            .task(after("is_skipped").dependencies(["skips"]))
            .task(after("runs").dependencies(["goes_on"]))
            .build();
        let (runner, clock) = with_clock(&database, [workflow]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        until(async || execution.waits().await.unwrap().len() == 3).await;
        clock.advance(DAY);
        let result = is_over(&execution, &clock).await;
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        let states: Vec<_> = result.task_results.iter().map(|task| task.state).collect();
        use TaskState::{Completed, Failed, Skipped};
        assert_eq!(states, [Failed, Skipped, Completed, Completed, Skipped, Completed]);
        let error = task_of(&result, "fails").error_message.clone().unwrap();
        assert!(error.contains("no signal `fails` came within"), "{error}");
        assert_eq!(result.final_context, Context::new().with("goes_on", Value::Null));
        runner.shutdown().await.unwrap();
    }

    async fn a_wait_is_skipped_by_its_rule_when_it_is_reached(database: Database) {
        let workflow = Workflow::builder("w")
            .task(failing("breaks"))
            .wait(Wait::signal("never").after("breaks"))
            .wait(Wait::sleep("cool_off", Duration::ZERO).after("breaks").rule(TriggerRule::AnyFailed))
            .build();
        let runner = database.runner([workflow]).await;
        let result = in_time(runner.execute("w", Context::new())).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "the sleep handled the failure: {result:?}");
        assert_eq!(task_of(&result, "never").state, TaskState::Skipped);
        assert_eq!(task_of(&result, "cool_off").state, TaskState::Completed);
        runner.shutdown().await.unwrap();
    }

    async fn waiting_takes_no_slot(database: Database) {
        let gate = Gate::new();
        let sleeper = Workflow::builder("sleeper").wait(Wait::sleep("wait", DAY)).build();
        let clock = ManualClock::new();
        let config = quick().clock(Arc::new(clock.clone())).max_concurrent_tasks(1);
        let hog = Workflow::builder("hog").task(gate.task("t")).build();
        let runner = database.configured(config, [sleeper, hog]).await;
        runner.execute_async("hog", Context::new()).await.unwrap();
        gate.started().await;
        // It begins to wait, and ends, although every slot is taken.
        let execution = runner.execute_async("sleeper", Context::new()).await.unwrap();
        waits(&execution).await;
        clock.advance(DAY);
        assert_eq!(is_over(&execution, &clock).await.status, ExecutionStatus::Completed);
        gate.open(1);
        runner.shutdown().await.unwrap();
    }

    async fn a_wait_goes_on_in_another_process(database: Database) {
        let runner = database.runner([then(Wait::signal("wait"))]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        waits(&execution).await;
        runner.shutdown().await.unwrap();
        // Nobody needs the code to send.
        let sender = database.configured(quick().submit_only(true), []).await;
        let sent = sender.execution(execution.execution_id).signal("wait", "later").send().await.unwrap();
        assert_eq!(sent, SignalReceipt::Delivered);
        let next = database.runner([then(Wait::signal("wait"))]).await;
        let execution = next.execution(execution.execution_id);
        let result = in_time(execution.wait_for_completion()).await.unwrap();
        assert_eq!(result.final_context.get::<String>("told").as_deref(), Some("later"));
        sender.shutdown().await.unwrap();
        next.shutdown().await.unwrap();
    }

    async fn an_execution_that_was_submitted_by_name_waits(database: Database) {
        let front = database.configured(quick().submit_only(true), []).await;
        let workflow = Workflow::builder("w").wait(Wait::signal("go")).task(idle("t").dependencies(["go"])).build();
        let execution = front.submit("w").by_name().send().await.unwrap();
        let runner = database.runner([workflow]).await;
        waits(&execution).await;
        assert_eq!(execution.signal("go", ()).send().await.unwrap(), SignalReceipt::Delivered);
        let result = in_time(execution.wait_for_completion()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        front.shutdown().await.unwrap();
        runner.shutdown().await.unwrap();
    }

    async fn what_waits_can_be_cancelled_paused_and_woken(database: Database) {
        let runner = database.runner([then(Wait::sleep("wait", DAY))]).await;
        let [cancelled, paused] = [
            runner.execute_async("w", Context::new()).await.unwrap(),
            runner.execute_async("w", Context::new()).await.unwrap(),
        ];
        waits(&cancelled).await;
        cancelled.cancel().await.unwrap();
        assert!(cancelled.waits().await.unwrap().is_empty());
        assert_error(&cancelled.wake("wait").await.unwrap_err(), ErrorKind::WrongState, "no open wait `wait`");
        waits(&paused).await;
        paused.pause().await.unwrap();
        assert_error(&paused.wake("other").await.unwrap_err(), ErrorKind::WrongState, "no open wait `other`");
        paused.wake("wait").await.unwrap();
        // The end of the sleep is recorded, and nothing starts.
        until(async || paused.waits().await.unwrap().is_empty()).await;
        assert_eq!(paused.get_status().await.unwrap(), ExecutionStatus::Paused);
        let now = runner.get_execution(paused.execution_id).await.unwrap();
        assert_eq!(task_of(&now, "wait").state, TaskState::Completed);
        paused.resume().await.unwrap();
        let result = in_time(paused.wait_for_completion()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        runner.shutdown().await.unwrap();
    }

    async fn the_time_of_a_wait_can_be_extended(database: Database) {
        let (runner, clock) = with_clock(&database, [then(Wait::signal("wait").timeout(DAY))]).await;
        let begun = clock.now();
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        let other = runner.execute_async("w", Context::new()).await.unwrap();
        waits(&other).await;
        waits(&execution).await;
        execution.wait_until("wait", begun + 2 * DAY).await.unwrap();
        assert_eq!(waits(&execution).await.until, Some(begun + 2 * DAY));
        clock.advance(DAY + Duration::from_secs(1));
        // Whoever ended the one has looked at both.
        reaches(&other, ExecutionStatus::Failed).await;
        assert_eq!(execution.signal("wait", "in time").send().await.unwrap(), SignalReceipt::Delivered);
        let result = is_over(&execution, &clock).await;
        assert_eq!(result.final_context.get::<String>("told").as_deref(), Some("in time"));
        runner.shutdown().await.unwrap();
    }

    async fn a_question_is_answered_by_one_of_its_choices(database: Database) {
        let ask = Ask::new("Refund over 500?").choices(["yes", "no"]).role("finance");
        let runner = database.runner([
            then(Wait::signal("wait").ask(ask.clone())),
            Workflow::builder("sleeper").wait(Wait::sleep("night", DAY)).build(),
        ]).await;
        let sleeper = runner.execute_async("sleeper", Context::new()).await.unwrap();
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        waits(&sleeper).await;
        waits(&execution).await;
        let inbox = runner.inbox(None, 10).await.unwrap();
        assert_eq!(inbox.len(), 1, "what only sleeps asks nobody");
        assert_eq!((inbox[0].execution_id, inbox[0].ask.as_ref()), (execution.execution_id, Some(&ask)));
        assert_eq!(runner.waits(None, 10).await.unwrap().len(), 2);
        assert_eq!(runner.waits(None, 1).await.unwrap().len(), 1);
        let first = runner.waits(None, 1).await.unwrap().remove(0);
        let second = runner.waits(Some(first.cursor()), 10).await.unwrap();
        assert_eq!(second.len(), 1);
        assert_ne!(first.execution_id, second[0].execution_id);
        let error = execution.signal("wait", "perhaps").send().await.unwrap_err();
        assert_error(&error, ErrorKind::Context, "none of the choices");
        execution.signal("wait", "no").send().await.unwrap();
        let result = in_time(execution.wait_for_completion()).await.unwrap();
        assert_eq!(result.final_context.get::<String>("told").as_deref(), Some("no"));
        assert!(runner.inbox(None, 10).await.unwrap().is_empty());
        runner.shutdown().await.unwrap();
    }

    async fn a_signal_that_cannot_be_sent_says_why(database: Database) {
        let runner = database.runner([then(Wait::signal("wait"))]).await;
        let unknown = runner.execution(cloacina::Uuid::nil());
        assert_error(&unknown.signal("a", 1).send().await.unwrap_err(), ErrorKind::NotFound, "no execution");
        let error = runner.by_key("w", "none").signal("a", 1).send().await.unwrap_err();
        assert_error(&error, ErrorKind::NotFound, "of workflow `w` with key `none`");
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        let send = async |name: &str, payload: Value| execution.signal(name, payload).send().await.unwrap_err();
        assert_error(&send("", json!(1)).await, ErrorKind::Configuration, "is empty");
        assert_error(&send("a\nb", json!(1)).await, ErrorKind::Configuration, "control character");
        assert_error(&send(&"x".repeat(201), json!(1)).await, ErrorKind::Configuration, "longer than 200 bytes");
        assert_error(&send("a", json!("x".repeat(2 << 20))).await, ErrorKind::Context, "payload of the signal");
        let error = execution.signal("a", f64::NAN).send().await.unwrap_err();
        assert_error(&error, ErrorKind::Context, "`a`");
        assert!(!format!("{:?}", execution.signal("a", "secret")).contains("secret"));
        execution.cancel().await.unwrap();
        runner.shutdown().await.unwrap();
    }
}

#[test]
fn a_wait_that_cannot_work_is_refused_with_what_to_do() {
    let refused = |wait: Wait, more: Option<Wait>| {
        let builder = Workflow::builder("w").task(idle("t")).wait(wait);
        let builder = more.into_iter().fold(builder, |builder, wait| builder.wait(wait));
        builder.try_build().unwrap_err().to_string()
    };
    let both = refused(Wait::signal("a").named("paid"), Some(Wait::signal("b").named("paid")));
    assert!(both.contains("may wait for the signal `paid` at the same time"), "{both}");
    assert!(refused(Wait::sleep("t", DAY), None).contains("two tasks with the id `t`"));
    assert!(refused(Wait::sleep("a", DAY).after("b"), None).contains("depends on `b`"));
    assert!(refused(Wait::sleep("a", DAY).timeout(DAY), None).contains("is a sleep"));
    assert!(refused(Wait::signal("a").named(""), None).contains("is empty"));
    let ask = Wait::signal("a").ask(Ask::new(""));
    assert!(refused(ask, None).contains("asks a question that is empty"));
    // A control character takes six bytes in JSON.
    let ask = Ask::new("?").choices((0..100).map(|n| format!("{n}{}", "\u{1}".repeat(190))));
    assert!(refused(Wait::signal("a").ask(ask), None).contains("longer than 64 KiB as JSON"));
}

#[test]
fn what_a_wait_waits_for_is_part_of_the_version() {
    let of = |wait: Option<Wait>| {
        let builder = Workflow::builder("w").task(idle("t"));
        wait.into_iter().fold(builder, |builder, wait| builder.wait(wait)).build().fingerprint().unwrap()
    };
    let sleep = of(Some(Wait::sleep("a", DAY)));
    assert_eq!(sleep, of(Some(Wait::sleep("a", 2 * DAY))), "how long is not");
    let task = Workflow::builder("w").task(idle("t")).task(idle("a")).build().fingerprint().unwrap();
    let others = [sleep, of(Some(Wait::signal("a"))), of(Some(Wait::signal("a").named("b"))), task, of(None)];
    for (at, one) in others.iter().enumerate() {
        assert!(others[at + 1..].iter().all(|other| other != one), "{others:?}");
    }
}

/// A login of its own, the operator in its place, and shared tables; schemas and files are above.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executions_wait_in_every_placement_and_hear_no_signal_of_another_tenant() {
    let database = crate::admin::Administered::by_a_provisioner().await;
    let (acme, globex) = (database.tenant("acme").await, database.tenant("globex").await);
    let (_admin, shared) = crate::shared::shared().await;
    let runner = async |builder: cloacina::runner::RunnerBuilder| {
        let builder = builder.config(quick().build()).workflow(then(Wait::signal("wait").timeout(DAY)));
        builder.build().await.unwrap()
    };
    let login = |url: &str| Runner::builder().database_url(url);
    for (ours, theirs) in [
        (login(&acme.connection_string), login(&globex.connection_string)),
        (login(&database.url).schema("acme"), login(&database.url).schema("globex")),
        (login(&shared).tenant("acme"), login(&shared).tenant("globex")),
    ] {
        let (ours, theirs) = (runner(ours).await, runner(theirs).await);
        let execution = ours.execute_async("w", Context::new()).await.unwrap();
        waits(&execution).await;
        let id = execution.execution_id;
        let error = theirs.execution(id).signal("wait", "not yours").send().await.unwrap_err();
        assert_error(&error, ErrorKind::NotFound, "no execution");
        assert!(theirs.waits(None, 10).await.unwrap().is_empty());
        let error = theirs.execution(id).wake("wait").await.unwrap_err();
        assert_error(&error, ErrorKind::WrongState, "no open wait");
        execution.signal("wait", "ours").send().await.unwrap();
        let result = in_time(execution.wait_for_completion()).await.unwrap();
        assert_eq!(result.final_context.get::<String>("told").as_deref(), Some("ours"));
        let cancelled = ours.execute_async("w", Context::new()).await.unwrap();
        waits(&cancelled).await;
        cancelled.cancel().await.unwrap();
        assert!(ours.waits(None, 10).await.unwrap().is_empty());
        ours.shutdown().await.unwrap();
        theirs.shutdown().await.unwrap();
    }
}

/// What a tenant's login can write into the tables of waits.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn due_rows_behind_which_nothing_waits_are_taken_away_and_keep_nobody_waiting() {
    let database = crate::admin::Administered::by_a_provisioner().await;
    let acme = database.tenant("acme").await;
    let runner = Runner::builder().database_url(&database.url).schema("acme").config(quick().build());
    let runner = runner.workflow(then(Wait::signal("wait"))).build().await.unwrap();
    let over = runner.execute_async("w", Context::new()).await.unwrap();
    waits(&over).await;
    over.signal("wait", 1).send().await.unwrap();
    in_time(over.wait_for_completion()).await.unwrap();
    let open = runner.execute_async("w", Context::new()).await.unwrap();
    waits(&open).await;
    // One that its tenant ended by hand, without what waits in it.
    let ended = runner.execute_async("w", Context::new()).await.unwrap();
    waits(&ended).await;
    let session = crate::admin::connect(&acme.connection_string).await.unwrap();
    // One that cannot be read, and is due.
    let spoiled = runner.execute_async("w", Context::new()).await.unwrap();
    waits(&spoiled).await;
    let end_by_hand = format!(
        "BEGIN; UPDATE workflow_executions SET state = 'cancelled', finished_at = now() WHERE id = '{0}';
         UPDATE task_executions SET due_at = now() WHERE execution_id = '{0}' AND state = 'waiting';
         UPDATE due_rows SET due_at = now() WHERE subject = '{0}'; COMMIT",
        ended.execution_id
    );
    session.batch_execute(&end_by_hand).await.unwrap();
    let plant = format!(
        "INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
             SELECT tenant_id, 1, now() - n * interval '1 second', gen_random_uuid(), n::text FROM cloacina.me(), generate_series(1, 2500) AS n
             UNION ALL SELECT tenant_id, 1, now(), '{over}', cause
                 FROM cloacina.me(), unnest(ARRAY['0', '-1', '99999', 'a', '', '1; DROP TABLE signals']) AS cause
             UNION ALL SELECT tenant_id, 1, now(), '{open}', cause FROM cloacina.me(), unnest(ARRAY['0', '1', '7']) AS cause;
         INSERT INTO signals (tenant_id, execution_id, name, number, payload, received_at)
             SELECT tenant_id, '{open}', 'wait', 9223372036854775807, '\"theirs\"', now() FROM cloacina.me();
         INSERT INTO task_waits (tenant_id, execution_id, task, signal, until, ask)
             SELECT tenant_id, gen_random_uuid(), 7, 'wait', now(), '{{\"question\": 1}}' FROM cloacina.me();
         UPDATE task_executions SET started_at = 'infinity', due_at = now() WHERE execution_id = '{spoiled}' AND state = 'waiting';
         UPDATE due_rows SET due_at = now() WHERE subject = '{spoiled}';
         SELECT cloacina.ring(now())",
        spoiled = spoiled.execution_id,
        over = over.execution_id,
        open = open.execution_id,
    );
    session.batch_execute(&plant).await.unwrap();
    for refused in [
        "INSERT INTO signals SELECT tenant_id, gen_random_uuid(), repeat('x', 201), 1, NULL, '1', now() FROM cloacina.me()",
        "INSERT INTO task_waits SELECT tenant_id, gen_random_uuid(), 1, 'a', 'infinity', NULL FROM cloacina.me()",
        "UPDATE task_executions SET due_at = NULL WHERE state = 'waiting'",
    ] {
        session.batch_execute(refused).await.unwrap_err();
    }
    let superuser = database.superuser().await;
    let left = format!(
        "SELECT count(*) FROM acme.due_rows WHERE kind = 1 AND due_at <= now() AND subject <> '{}'",
        spoiled.execution_id
    );
    until(async || superuser.query_one(&left, &[]).await.unwrap().get::<_, i64>(0) == 0).await;
    open.signal("wait", "ours").send().await.unwrap();
    let result = in_time(open.wait_for_completion()).await.unwrap();
    assert_eq!(result.final_context.get::<String>("told").as_deref(), Some("ours"), "it comes first");
    let next = runner.execute_async("w", Context::new()).await.unwrap();
    waits(&next).await;
    next.signal("wait", 2).send().await.unwrap();
    assert!(in_time(next.wait_for_completion()).await.unwrap().status.is_success());
    runner.shutdown().await.unwrap();
}
