//! For tests of workflows: a runner whose time the test moves.
//!
//! The clock of a [`TestRunner`] stands still. The test says how far it runs, and the time jumps from one
//! moment at which something is due to the next: a retry, a delayed start, a deadline, a timeout, the end of
//! a wait. So an hour between two attempts takes no longer than the attempts.
//!
//! ```
//! use std::time::Duration;
//!
//! use cloacina::testing::TestRunner;
//! use cloacina::{Context, Runner, TaskError, Workflow, task};
//!
//! #[task(id = "charge", retry(attempts = 5, backoff = fixed, base = "1h", cap = "1h", jitter = none))]
//! async fn charge(context: &mut Context) -> Result<(), TaskError> {
//!     context.set("charged", true);
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), cloacina::Error> {
//!     let invoice = Workflow::builder("invoice").task(charge).build();
//!     let runner = TestRunner::start(Runner::builder().workflow(invoice)).await?;
//!     runner.task("invoice", "charge").fails(2);
//!
//!     let begun = runner.now();
//!     let result = runner.execute("invoice", Context::new()).await?;
//!     assert!(result.status.is_success());
//!     assert_eq!(runner.now(), begun + Duration::from_secs(2 * 3600));
//!     let history = runner.history(result.execution_id).await;
//!     assert_eq!(history, ["charge 1 failed", "charge 2 failed", "charge 3 completed"]);
//!     Ok(())
//! }
//! ```
//!
//! What runs in a task runs in real time: the time stands while its code does. So a task that sleeps by
//! Tokio's clock is waited for; give it [a time of its own](TestTask::takes) in place of that.

mod patience;
mod script;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cloacina_core::clock::SystemClock;
use cloacina_core::{Doing, PlaceRunner, RunningTask, Script};
use cloacina_sqlite::SqliteAddress;
use jiff::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

use crate::runner::RunnerBuilder;
use crate::{Context, Error, ErrorKind, ExecutionResult, Runner, Submission};
use patience::Patience;
use script::Scripts;

pub use cloacina_core::clock::{Clock, ManualClock};
pub use script::TestTask;

/// How far [`run_to_end`](TestRunner::run_to_end) lets the time go.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// A runner whose time a test moves, on a database that is gone with it.
///
/// Everything in it lives at the time of its [clock](Self::clock), which begins at 2025-06-15 15:06:40 UTC,
/// the database included. Its methods wait for what runs in real time: after 10 seconds they say on standard
/// error which tasks they wait for.
#[derive(Debug)]
pub struct TestRunner {
    runner: Runner,
    clock: ManualClock,
    scripts: Arc<Scripts>,
    /// Where its database is.
    _directory: Option<TempDir>,
}

impl TestRunner {
    /// Opens a runner that is described as any other, but for its clock and its database: that is in memory,
    /// or in a temporary file if the runner has [`data`](RunnerBuilder::data).
    ///
    /// If the description names a database, it is that one. Nobody else may use it: the time of the test
    /// would be another than theirs.
    ///
    /// # Errors
    ///
    /// As [`RunnerBuilder::build`].
    pub async fn start(builder: RunnerBuilder) -> Result<Self, Error> {
        let clock = ManualClock::new();
        let scripts = Arc::new(Scripts::new(clock.clone()));
        let script = Arc::clone(&scripts) as Arc<dyn Script>;
        let (builder, directory) = placed(builder)?;
        let runner = builder.in_test(Arc::new(clock.clone()), script).build().await?;
        Ok(Self { runner, clock, scripts, _directory: directory })
    }

    /// The runner. What waits for an execution by it alone may wait for ever, since nobody moves the time.
    #[must_use]
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// The clock. To [`advance`](ManualClock::advance) it moves the time at once, whatever is under way:
    /// the methods of the runner are what a test wants nearly always.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What is to become of the attempts of a task.
    #[must_use]
    pub fn task(&self, workflow: &str, task: &str) -> TestTask<'_> {
        TestTask::new(&self.scripts, workflow, task)
    }

    /// Starts to describe an execution, as [`Runner::submit`].
    pub fn submit(&self, workflow: impl Into<String>) -> Submission<PlaceRunner> {
        self.runner.submit(workflow)
    }

    /// Runs a workflow to its end, however long that takes by the clock; see
    /// [`run_to_end`](Self::run_to_end).
    ///
    /// # Errors
    ///
    /// As [`Runner::execute`], as far as recording goes.
    ///
    /// # Panics
    ///
    /// As [`run_to_end`](Self::run_to_end).
    pub async fn execute(&self, workflow: &str, context: Context) -> Result<ExecutionResult, Error> {
        let execution = self.runner.submit(workflow).input(context).send().await?;
        Ok(self.run_to_end(execution.execution_id).await)
    }

    /// Runs all that can be done at this time. The clock does not move.
    ///
    /// # Panics
    ///
    /// If the database fails.
    pub async fn run_until_idle(&self) {
        self.settle().await;
    }

    /// Runs all that is to be done until this time, each at its time; then it is that time.
    ///
    /// # Panics
    ///
    /// If the database fails.
    pub async fn run_until(&self, time: Timestamp) {
        while let Some(next) = self.settle().await.filter(|next| *next <= time) {
            self.clock.advance_to(next);
        }
        self.clock.advance_to(time);
        self.settle().await;
    }

    /// As [`run_until`](Self::run_until), for so long.
    ///
    /// # Panics
    ///
    /// If the database fails, and for a time that no calendar has.
    pub async fn run_for(&self, time: Duration) {
        self.run_until(self.now() + time).await;
    }

    /// Runs until this execution is over, however long that takes by the clock.
    ///
    /// # Panics
    ///
    /// If it cannot come to its end by itself, or not within ten years: says what it waits for. If there is
    /// no such execution, or the database fails.
    pub async fn run_to_end(&self, execution: Uuid) -> ExecutionResult {
        let until = self.now() + LONGEST;
        let handle = self.runner.execution(execution);
        let mut ended = pin!(handle.wait_for_completion());
        loop {
            let next = tokio::select! {
                biased;
                ended = &mut ended => return expected(ended),
                next = self.settle() => next,
            };
            if expected(handle.get_status().await).is_terminal() {
                return expected(ended.await);
            }
            match next.filter(|next| *next <= until) {
                Some(next) => self.clock.advance_to(next),
                None => panic!("{}", self.never_ends(execution).await),
            }
        }
    }

    /// What happened in an execution until now, one line each: `charge 2 failed` is the second attempt of the
    /// task `charge`, `ship skipped` a task without any. In the order of their ends; what ended at the same
    /// time is in the order of the workflow, and what is not over comes last. See
    /// [`Execution::history`](crate::Execution::history) for times and errors.
    ///
    /// # Panics
    ///
    /// If there is no such execution, or the database fails.
    pub async fn history(&self, execution: Uuid) -> Vec<String> {
        let attempts = expected(self.runner.execution(execution).history().await);
        let tasks = expected(self.runner.get_execution(execution).await).task_results;
        let position = |id: &str| tasks.iter().position(|task| task.task_id == id);
        let of_attempts = attempts.iter().map(|attempt| {
            let line = format!("{} {} {}", attempt.task_id, attempt.attempt, attempt.outcome.as_str());
            let times = (attempt.end_time, attempt.start_time);
            ((times.0.is_none(), times, position(&attempt.task_id), attempt.attempt), line)
        });
        let without = tasks.iter().filter(|task| task.attempts == 0 && task.state.is_terminal());
        let others = without.filter_map(|task| {
            let line = format!("{} {}", task.task_id, task.state.as_str());
            let times = (task.end_time, task.end_time?);
            Some(((false, times, position(&task.task_id), 0), line))
        });
        let mut lines: Vec<_> = of_attempts.chain(others).collect();
        lines.sort();
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// Stops the runner. Attempts that [take](TestTask::takes) their time are given up; what else runs has
    /// ten seconds of real time to end.
    ///
    /// # Errors
    ///
    /// As [`Runner::shutdown`].
    pub async fn shutdown(self) -> Result<(), Error> {
        self.scripts.end();
        let pushed = async {
            loop {
                SystemClock.sleep(patience::LONG).await;
                // The runner waits for its tasks by the clock of the test.
                self.clock.advance(LONGEST);
            }
        };
        tokio::select! {
            biased;
            done = self.runner.shutdown() => done,
            () = pushed => Ok(()),
        }
    }

    /// Returns when nothing can be done at this time; when something can be, if ever.
    async fn settle(&self) -> Option<Timestamp> {
        let mut patience = Patience::default();
        loop {
            let is_parked = |task: &RunningTask| self.scripts.is_parked(task);
            match expected(self.runner.place_runner().hub().doing(is_parked).await) {
                Doing::Idle(next) => return next.into_iter().chain(self.scripts.next()).min(),
                doing => patience.wait(&doing).await,
            }
        }
    }

    async fn never_ends(&self, execution: Uuid) -> String {
        let found = expected(self.runner.get_execution(execution).await);
        let waits = expected(self.runner.execution(execution).waits().await);
        let unfinished = found.task_results.iter().filter(|task| !task.state.is_terminal());
        let unfinished = unfinished.map(|task| {
            let signal =
                waits.iter().find(|wait| wait.wait == task.task_id).and_then(|wait| wait.signal.as_deref());
            let signal = signal.map_or_else(String::new, |signal| format!(" for signal `{signal}`"));
            format!("`{}` is {}{signal}", task.task_id, task.state.as_str())
        });
        format!(
            "execution {execution} of workflow `{}` does not end by itself: it is {}, {}, and nothing that it could go on by becomes due",
            found.workflow_name,
            found.status.as_str(),
            unfinished.collect::<Vec<_>>().join(", ")
        )
    }
}

/// In a database of its own, if none was named.
fn placed(builder: RunnerBuilder) -> Result<(RunnerBuilder, Option<TempDir>), Error> {
    if builder.is_placed() {
        return Ok((builder, None));
    }
    if !builder.has_data() {
        return Ok((builder.file(SqliteAddress::memory()), None));
    }
    let made = tempfile::Builder::new().prefix("cloacina-test-").tempdir();
    let directory = made.map_err(|error| {
        Error::new(ErrorKind::Configuration, "no temporary directory could be made for the test")
            .with_source(error)
    })?;
    let file = SqliteAddress::parse(&directory.path().join("test.db").to_string_lossy())?;
    Ok((builder.file(file), Some(directory)))
}

fn expected<T>(answer: Result<T, Error>) -> T {
    answer.unwrap_or_else(|error| panic!("the runner of the test failed: {error}"))
}
