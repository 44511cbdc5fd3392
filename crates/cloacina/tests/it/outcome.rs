//! How attempts end: errors, retries, panics, timeouts, and what is kept of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cloacina::{
    AttemptOutcome, Backoff, Context, ExecutionResult, ExecutionStatus, Jitter, RetryPolicy, TaskBody,
    TaskDefinition, TaskError, TaskState,
};
use cloacina_testing::clock::ManualClock;
use tokio::sync::{Semaphore, mpsc};

use crate::support::{Database, Dropped, attempts, idle, in_time, quick, task, task_of, until, workflow};

/// A task that fails in all attempts before this one.
fn failing_until(attempt: u32) -> TaskDefinition {
    task("t", move |context| async move {
        let now = context.task().attempt();
        if now < attempt {
            Err(format!("attempt {now} failed").into())
        } else {
            Ok(context.with("attempt", now))
        }
    })
}

/// A panic whose message is computed, so that the compiler does not see that the code after it is never
/// reached.
fn burst(message: &str) -> Result<Context, TaskError> {
    assert!(message.is_empty(), "{message}");
    Ok(Context::new())
}

#[derive(Debug)]
struct Chained(&'static str, Option<Box<Chained>>);

impl fmt::Display for Chained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Chained {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_deref().map(|source| source as _)
    }
}

/// A value whose drop panics with a value whose drop panics, and so on.
#[derive(Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        // A second panic while the first one unwinds ends any process.
        if !std::thread::panicking() {
            std::panic::panic_any(Self);
        }
    }
}

/// An error that panics when it is dropped, and when it is shown if it was not before.
#[derive(Debug)]
struct BadError {
    shown: bool,
}

impl fmt::Display for BadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shown { f.write_str("a bad error") } else { std::panic::panic_any(Bomb) }
    }
}

impl std::error::Error for BadError {}

impl Drop for BadError {
    fn drop(&mut self) {
        std::panic::panic_any(Bomb);
    }
}

#[track_caller]
fn assert_failed(result: &ExecutionResult, attempts: u32, words: &str) {
    assert_eq!(result.status, ExecutionStatus::Failed, "{result:?}");
    let task = task_of(result, "t");
    assert_eq!((task.state, task.attempts), (TaskState::Failed, attempts));
    assert!(result.error_message.as_deref().unwrap().contains(words), "{result:?}");
    assert_eq!(task.error_message, result.error_message);
}

on_each_store! {
    async fn a_failed_attempt_is_tried_again_as_often_as_the_policy_says(database: Database) {
        let runner = database.runner([
            workflow("in time", [failing_until(3).retry(attempts(3))]),
            workflow("too late", [failing_until(4).retry(attempts(3))]),
            workflow("once", [failing_until(2)]),
        ]).await;
        let result = runner.execute("in time", Context::new()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        assert_eq!(result.final_context.get::<u32>("attempt"), Some(3));
        assert_eq!(result.error_message, None);
        let history = runner.execution(result.execution_id).history().await.unwrap();
        let seen: Vec<_> = history
            .iter()
            .map(|attempt| (attempt.attempt, attempt.outcome, attempt.error_message.as_deref()))
            .collect();
        assert_eq!(seen, [
            (1, AttemptOutcome::Failed, Some("attempt 1 failed")),
            (2, AttemptOutcome::Failed, Some("attempt 2 failed")),
            (3, AttemptOutcome::Completed, None),
        ]);
        assert!(history.iter().all(|attempt| attempt.task_id == "t" && attempt.end_time.unwrap() >= attempt.start_time));

        let result = runner.execute("too late", Context::new()).await.unwrap();
        assert_failed(&result, 3, "attempt 3 failed");
        let result = runner.execute("once", Context::new()).await.unwrap();
        assert_failed(&result, 1, "attempt 1 failed");
        runner.shutdown().await.unwrap();
    }

    async fn the_next_attempt_waits_as_long_as_the_backoff_says(database: Database) {
        let policy = RetryPolicy {
            attempts: 3,
            backoff: Backoff::Linear,
            base: Duration::from_millis(150),
            jitter: Jitter::None,
            ..RetryPolicy::DEFAULT
        };
        let runner = database.runner([workflow("w", [failing_until(3).retry(policy)])]).await;
        let result = runner.execute("w", Context::new()).await.unwrap();
        let history = runner.execution(result.execution_id).history().await.unwrap();
        for (pair, wait) in history.windows(2).zip([150, 300]) {
            let waited: Duration =
                pair[1].start_time.duration_since(pair[0].end_time.unwrap()).try_into().unwrap();
            assert!(waited >= Duration::from_millis(wait), "{waited:?}");
        }
        runner.shutdown().await.unwrap();
    }

    async fn an_hour_of_backoff_passes_with_the_clock(database: Database) {
        let clock = ManualClock::new();
        let policy = RetryPolicy {
            attempts: 2,
            base: Duration::from_secs(3600),
            cap: Duration::from_secs(3600),
            jitter: Jitter::None,
            ..RetryPolicy::DEFAULT
        };
        let config = quick().clock(std::sync::Arc::new(clock.clone()));
        let runner = database.configured(config, [workflow("w", [failing_until(2).retry(policy)])]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        let waiting = tokio::spawn({
            let execution = execution.clone();
            async move { execution.wait_for_completion().await.unwrap() }
        });
        while !waiting.is_finished() {
            clock.advance(Duration::from_secs(60));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(waiting.await.unwrap().status, ExecutionStatus::Completed);
        let history = execution.history().await.unwrap();
        let waited = history[1].start_time.duration_since(history[0].end_time.unwrap());
        assert!(waited.as_secs() >= 3600, "{waited:?}");
        let closing = tokio::spawn(async move { runner.shutdown().await.unwrap() });
        while !closing.is_finished() {
            clock.advance(Duration::from_secs(60));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        closing.await.unwrap();
    }

    async fn a_task_may_say_how_long_to_wait(database: Database) {
        let asking = task("t", |context| async move {
            if context.task().attempt() == 1 {
                return Err(TaskError::retry_after(Duration::from_millis(200), "the bank is closed"));
            }
            Ok(context)
        });
        // The policy alone would wait for a minute.
        let policy = RetryPolicy { attempts: 2, base: Duration::from_secs(60), jitter: Jitter::None, ..RetryPolicy::DEFAULT };
        let runner = database.runner([workflow("w", [asking.retry(policy)])]).await;
        let result = runner.execute("w", Context::new()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        let history = runner.execution(result.execution_id).history().await.unwrap();
        assert_eq!(history[0].error_message.as_deref(), Some("the bank is closed"));
        let waited = history[1].start_time.duration_since(history[0].end_time.unwrap());
        assert!(waited.as_millis() >= 200 && waited.as_secs() < 30, "{waited:?}");
        runner.shutdown().await.unwrap();
    }

    async fn a_task_that_is_too_early_is_run_again_and_has_not_failed(database: Database) {
        let clock = ManualClock::new();
        let early = task("t", |context| async move {
            match context.task().attempt() {
                1 | 2 => Err(TaskError::snooze(Duration::from_secs(600), "the export is not there yet")),
                3 => Err(TaskError::snooze(Duration::ZERO, "nearly")),
                4 => Err(TaskError::new("a failure")),
                _ => Ok(context),
            }
        });
        let config = quick().clock(Arc::new(clock.clone())).max_concurrent_tasks(1);
        let workflows = [workflow("early", [early.retry(attempts(2))]), workflow("other", [idle("t")])];
        let runner = database.configured(config, workflows).await;
        let execution = runner.execute_async("early", Context::new()).await.unwrap();
        until(async || !execution.history().await.unwrap().is_empty()).await;
        // It holds no slot, and says why it is not over.
        assert!(runner.execute("other", Context::new()).await.unwrap().status.is_success());
        let waiting = runner.get_execution(execution.execution_id).await.unwrap();
        assert_eq!(task_of(&waiting, "t").error_message.as_deref(), Some("the export is not there yet"));
        until(async || {
            clock.advance(Duration::from_secs(10));
            execution.get_status().await.unwrap().is_terminal()
        })
        .await;
        let result = in_time(execution.wait_for_completion()).await.unwrap();
        assert!(result.status.is_success(), "{result:?}");
        let history = execution.history().await.unwrap();
        let outcomes: Vec<_> = history.iter().map(|attempt| attempt.outcome).collect();
        let snoozed = AttemptOutcome::Snoozed;
        assert_eq!(outcomes, [snoozed, snoozed, snoozed, AttemptOutcome::Failed, AttemptOutcome::Completed]);
        let waited = |nth: usize| history[nth].start_time.duration_since(history[nth - 1].end_time.unwrap());
        assert!(waited(1).as_secs() >= 600 && waited(2).as_secs() >= 600, "{history:?}");
        assert!((1..600).contains(&waited(3).as_secs()), "not at once, or it would never rest: {history:?}");
        runner.shutdown().await.unwrap();
    }

    async fn asking_for_another_attempt_does_not_make_more_of_them(database: Database) {
        let asking = task("t", |_| async { Err(TaskError::retry_after(Duration::ZERO, "not yet")) });
        let result = database.run(Context::new(), [asking.retry(attempts(3))]).await;
        assert_failed(&result, 3, "not yet");
    }

    async fn a_fatal_error_ends_the_task_at_once(database: Database) {
        let fatal = task("t", |_| async { Err(TaskError::fatal("no card")) });
        let result = database.run(Context::new(), [fatal.retry(attempts(5))]).await;
        assert_failed(&result, 1, "no card");
    }

    async fn the_text_of_an_error_is_kept_with_its_causes(database: Database) {
        let error = || Chained("could not charge", Some(Box::new(Chained("connection reset", Some(Box::new(Chained("by peer", None)))))));
        let runner = database.runner([workflow("w", [task("t", move |_| async move { Err(TaskError::new(error())) })])]).await;
        let result = runner.execute("w", Context::new()).await.unwrap();
        let text = "could not charge: connection reset: by peer";
        assert_eq!(result.error_message.as_deref(), Some(text));
        assert_eq!(task_of(&result, "t").error_message.as_deref(), Some(text));
        let stored = runner.get_execution(result.execution_id).await.unwrap();
        assert_eq!(stored.error_message.as_deref(), Some(text));
        assert_eq!(stored.task_results, result.task_results);
        assert_eq!(runner.list_executions().await.unwrap()[0].error_message.as_deref(), Some(text));
        let history = runner.execution(result.execution_id).history().await.unwrap();
        assert_eq!(history[0].error_message.as_deref(), Some(text));
        runner.shutdown().await.unwrap();
    }

    async fn an_error_text_that_cannot_be_stored_as_it_is_is_kept_as_well_as_can_be(database: Database) {
        let result = database.run(Context::new(), [task("t", |_| async { Err("a\0b".into()) })]).await;
        assert_failed(&result, 1, "a\\0b");
        let long = task("t", |_| async { Err("ü".repeat(100_000).into()) });
        let result = database.of("other").run(Context::new(), [long]).await;
        assert_failed(&result, 1, "üüü");
        assert!(result.error_message.unwrap().len() < 20_000);
    }

    async fn the_error_of_an_execution_is_that_of_its_first_failed_task(database: Database) {
        let result = database.run(Context::new(), [
            task("slow", |_| async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Err("declared first".into())
            }),
            task("quick", |_| async { Err("failed first".into()) }),
        ]).await;
        assert_eq!(result.error_message.as_deref(), Some("declared first"));
    }

    async fn a_panic_is_an_error_with_its_message(database: Database) {
        let runner = database.runner([
            workflow("async", [task("t", |_| async { burst("kaboom 1") })]),
            workflow("at the call", [task("t", |_| {
                let result = burst("kaboom 2");
                async { result }
            })]),
            workflow("blocking", [TaskDefinition::new("t", TaskBody::Blocking(std::sync::Arc::new(|_| burst("kaboom 3"))))
                .retry(RetryPolicy::NEVER)]),
            workflow("no text", [task("t", |_| async { std::panic::panic_any(5) })]),
        ]).await;
        for (name, words) in [
            ("async", "panicked: kaboom 1"),
            ("at the call", "panicked: kaboom 2"),
            ("blocking", "panicked: kaboom 3"),
            ("no text", "panicked: (a value that is no text)"),
        ] {
            let result = runner.execute(name, Context::new()).await.unwrap();
            assert_failed(&result, 1, words);
            let history = runner.execution(result.execution_id).history().await.unwrap();
            assert_eq!((history.len(), history[0].outcome), (1, AttemptOutcome::Panicked));
            assert_eq!(history[0].error_message.as_deref(), Some(words));
            // Nothing is left running.
            let stored = runner.get_execution(result.execution_id).await.unwrap();
            assert_eq!(stored.task_results[0].state, TaskState::Failed);
        }
        runner.shutdown().await.unwrap();
    }

    async fn a_panic_is_retried_as_an_error_is(database: Database) {
        let result = database.run(Context::new(), [task("t", |context| async move {
            if context.task().attempt() == 1 { burst("once") } else { Ok(context) }
        }).retry(attempts(2))]).await;
        assert_eq!(result.status, ExecutionStatus::Completed);
        assert_eq!(task_of(&result, "t").attempts, 2);
    }

    async fn code_of_a_task_that_panics_after_its_end_is_no_worse_than_one_that_panics(database: Database) {
        struct PanicsWhenDropped;
        impl Drop for PanicsWhenDropped {
            fn drop(&mut self) {
                if !std::thread::panicking() {
                    std::panic::panic_any("dropped badly");
                }
            }
        }
        #[derive(Debug)]
        struct PanicsWhenShown;
        impl fmt::Display for PanicsWhenShown {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                std::panic::panic_any("shown badly")
            }
        }
        impl std::error::Error for PanicsWhenShown {}

        let dropped = task("t", |_| async {
            let _guard = PanicsWhenDropped;
            std::future::pending().await
        });
        let runner = database.runner([
            workflow("timeout", [dropped.clone().timeout(Some(Duration::from_millis(20)))]),
            workflow("cancel", [dropped]),
            workflow("error", [task("t", |_| async { Err(TaskError::new(PanicsWhenShown)) })]),
            workflow("fine", [task("t", |context| async { Ok(context) })]),
        ]).await;
        for name in ["timeout", "error"] {
            let result = runner.execute(name, Context::new()).await.unwrap();
            assert_eq!((result.status, task_of(&result, "t").attempts), (ExecutionStatus::Failed, 1), "{result:?}");
        }
        let cancelled = runner.execute_async("cancel", Context::new()).await.unwrap();
        cancelled.cancel().await.unwrap();
        assert_eq!(cancelled.wait_for_completion().await.unwrap().status, ExecutionStatus::Cancelled);
        assert!(runner.execute("fine", Context::new()).await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }

    async fn a_panic_whose_payload_panics_when_it_is_dropped_is_a_panic_like_any_other(database: Database) {
        let starts = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&starts);
        let blocking = TaskBody::Blocking(Arc::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            std::panic::panic_any(Bomb)
        }));
        let held = task("t", |_| {
            let bomb = Bomb;
            async move {
                std::future::pending::<()>().await;
                drop(bomb);
                Ok(Context::new())
            }
        });
        let runner = database.runner([
            workflow("async", [task("t", |_| async { std::panic::panic_any(Bomb) })]),
            workflow("at the call", [task("t", |_| -> std::future::Ready<_> { std::panic::panic_any(Bomb) })]),
            workflow("blocking", [TaskDefinition::new("t", blocking).retry(RetryPolicy::NEVER)]),
            workflow("shown", [task("t", |_| async { Err(TaskError::new(BadError { shown: false })) })]),
            workflow("error", [task("t", |_| async { Err(TaskError::new(BadError { shown: true })) })]),
            workflow("timeout", [held.timeout(Some(Duration::from_millis(20)))]),
            workflow("fine", [task("t", |context| async { Ok(context) })]),
        ]).await;
        for (name, outcome, words) in [
            ("async", AttemptOutcome::Panicked, "panicked: (a value that is no text)"),
            ("at the call", AttemptOutcome::Panicked, "panicked: (a value that is no text)"),
            ("blocking", AttemptOutcome::Panicked, "panicked: (a value that is no text)"),
            ("shown", AttemptOutcome::Panicked, "panicked: (a value that is no text)"),
            ("error", AttemptOutcome::Failed, "a bad error"),
            ("timeout", AttemptOutcome::TimedOut, "longer than its timeout"),
        ] {
            let result = runner.execute(name, Context::new()).await.unwrap();
            assert_failed(&result, 1, words);
            let history = runner.execution(result.execution_id).history().await.unwrap();
            assert_eq!((history.len(), history[0].outcome), (1, outcome), "{name}");
            assert!(runner.execute("fine", Context::new()).await.unwrap().status.is_success(), "{name}");
        }
        assert_eq!(starts.load(Ordering::SeqCst), 1);
        runner.shutdown().await.unwrap();
    }

    async fn an_async_task_that_blocks_its_thread_is_timed_out_and_what_it_returns_is_ignored(database: Database) {
        let (let_go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let (returned, mut returns) = mpsc::unbounded_channel();
        let stuck = task("t", move |context| {
            let (wait, returned) = (Arc::clone(&wait), Dropped(returned.clone()));
            async move {
                // An error means that the sender is gone, as it is meant to be.
                wait.lock().unwrap().recv().unwrap_err();
                drop(returned);
                Ok(context.with("late", true))
            }
        });
        // The grace period is for what can be dropped when it is over.
        let config = quick().max_concurrent_tasks(1).cancel_grace(Duration::from_secs(600));
        let runner = database.configured(config, [
            workflow("stuck", [stuck.timeout(Some(Duration::from_millis(50)))]),
            workflow("next", [task("t", |context| async { Ok(context) })]),
        ]).await;
        let result = runner.execute("stuck", Context::new()).await.unwrap();
        assert_failed(&result, 1, "longer than its timeout of 50ms");
        let execution = runner.execution(result.execution_id);
        assert_eq!(execution.history().await.unwrap()[0].outcome, AttemptOutcome::TimedOut);
        // It is recorded as over, but its slot is still taken.
        let next = runner.execute_async("next", Context::new()).await.unwrap();
        assert_eq!(next.wait_for(Duration::from_millis(200)).await.unwrap().map(|next| next.status), None);
        drop(let_go);
        returns.recv().await.unwrap();
        assert!(next.wait_for_completion().await.unwrap().status.is_success());
        let now = runner.get_execution(result.execution_id).await.unwrap();
        assert_eq!((now.status, now.final_context.get::<bool>("late")), (ExecutionStatus::Failed, None));
        assert_eq!(execution.history().await.unwrap().len(), 1);
        runner.shutdown().await.unwrap();
    }

    async fn an_async_task_that_blocks_its_thread_does_not_keep_a_cancelled_execution_or_a_shutdown(database: Database) {
        let (let_go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let (started, mut starts) = mpsc::unbounded_channel();
        let stuck = task("t", move |context| {
            let (wait, started) = (Arc::clone(&wait), started.clone());
            async move {
                started.send(()).unwrap();
                wait.lock().unwrap().recv().unwrap_err();
                Ok(context)
            }
        });
        let config = quick().shutdown_timeout(Duration::from_millis(50)).task_timeout(None);
        let runner = database.configured(config, [workflow("stuck", [stuck])]).await;
        let execution = runner.execute_async("stuck", Context::new()).await.unwrap();
        starts.recv().await.unwrap();
        runner.shutdown().await.unwrap();
        let next = database.runner([]).await;
        let history = next.execution(execution.execution_id).history().await.unwrap();
        assert_eq!(history[0].outcome, AttemptOutcome::Released);
        drop(let_go);
        next.shutdown().await.unwrap();
    }

    async fn an_attempt_that_ran_out_of_time_has_the_grace_period_before_the_next_one_starts(database: Database) {
        let (running, overlaps) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (at_once, seen) = (Arc::clone(&running), Arc::clone(&overlaps));
        let gate = Arc::new(Semaphore::new(0));
        let (told, mut cancellations) = mpsc::unbounded_channel();
        let open = Arc::clone(&gate);
        let cleaning = task("t", move |context| {
            let (running, overlaps) = (Arc::clone(&at_once), Arc::clone(&seen));
            let (gate, told) = (Arc::clone(&open), told.clone());
            async move {
                overlaps.fetch_add(running.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                if context.task().attempt() == 1 {
                    context.task().cancellation().cancelled().await;
                    told.send(()).unwrap();
                    gate.acquire().await.unwrap().forget();
                }
                running.fetch_sub(1, Ordering::SeqCst);
                let attempt = context.task().attempt();
                Ok(context.with(format!("attempt {attempt}"), true))
            }
        });
        let cleaning = cleaning.timeout(Some(Duration::from_millis(50))).retry(attempts(2));
        let config = quick().cancel_grace(Duration::from_secs(600));
        let runner = database.configured(config, [workflow("w", [cleaning])]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        cancellations.recv().await.unwrap();
        // Nothing is recorded before it has come to its end.
        assert!(execution.wait_for(Duration::from_millis(200)).await.unwrap().is_none());
        assert!(execution.history().await.unwrap().iter().all(|attempt| attempt.attempt == 1));
        gate.add_permits(1);
        let result = execution.wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        let context = &result.final_context;
        assert_eq!((context.get::<bool>("attempt 1"), context.get::<bool>("attempt 2")), (None, Some(true)));
        let outcomes: Vec<_> =
            execution.history().await.unwrap().into_iter().map(|attempt| attempt.outcome).collect();
        assert_eq!(outcomes, [AttemptOutcome::TimedOut, AttemptOutcome::Completed]);
        assert_eq!(overlaps.load(Ordering::SeqCst), 0);
        runner.shutdown().await.unwrap();
    }

    async fn an_attempt_that_takes_too_long_is_stopped_and_retried(database: Database) {
        let (dropped, mut drops) = mpsc::unbounded_channel();
        let slow = task("t", move |context| {
            let guard = Dropped(dropped.clone());
            async move {
                if context.task().attempt() == 1 {
                    std::future::pending::<()>().await;
                }
                drop(guard);
                Ok(context)
            }
        });
        let runner = database.runner([
            workflow("twice", [slow.clone().timeout(Some(Duration::from_millis(50))).retry(attempts(2))]),
            workflow("once", [slow.timeout(Some(Duration::from_millis(50)))]),
        ]).await;
        let result = runner.execute("twice", Context::new()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        drops.recv().await.unwrap();
        let history = runner.execution(result.execution_id).history().await.unwrap();
        assert_eq!(history[0].outcome, AttemptOutcome::TimedOut);
        assert_eq!(history[1].outcome, AttemptOutcome::Completed);
        let result = runner.execute("once", Context::new()).await.unwrap();
        assert_failed(&result, 1, "longer than its timeout of 50ms");
        runner.shutdown().await.unwrap();
    }

    async fn a_task_without_a_timeout_of_its_own_has_the_runners(database: Database) {
        let slow = |id| task(id, |context| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(context)
        });
        let runner = database.configured(quick().task_timeout(Duration::from_millis(50)), [
            workflow("default", [slow("t")]),
            workflow("never", [slow("t").timeout(None)]),
            workflow("own", [slow("t").timeout(Some(Duration::from_secs(60)))]),
        ]).await;
        assert_failed(&runner.execute("default", Context::new()).await.unwrap(), 1, "timeout of 50ms");
        assert!(runner.execute("never", Context::new()).await.unwrap().status.is_success());
        assert!(runner.execute("own", Context::new()).await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }

    async fn the_idempotency_token_is_one_for_all_attempts_and_another_for_every_task(database: Database) {
        let (sender, mut tokens) = mpsc::unbounded_channel();
        let tell = |id| {
            let sender = sender.clone();
            task(id, move |context| {
                let sender = sender.clone();
                async move {
                    sender.send((context.task().task_id().to_owned(), context.task().idempotency_token())).unwrap();
                    if context.task().attempt() < 3 { Err("again".into()) } else { Ok(context) }
                }
            }).retry(attempts(3))
        };
        let runner = database.runner([workflow("w", [tell("a"), tell("b")])]).await;
        for _ in 0..2 {
            assert!(runner.execute("w", Context::new()).await.unwrap().status.is_success());
        }
        let mut by_token = std::collections::HashMap::<_, Vec<String>>::new();
        for _ in 0..12 {
            let (task, token) = tokens.recv().await.unwrap();
            by_token.entry(token).or_default().push(task);
        }
        // Two tasks in two executions.
        assert_eq!(by_token.len(), 4);
        assert!(by_token.values().all(|tasks| tasks.len() == 3 && tasks.iter().all(|task| *task == tasks[0])));
        runner.shutdown().await.unwrap();
    }
}
