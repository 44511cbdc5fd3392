//! Tasks that fail or take long because a test says so.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use cloacina_core::clock::{Clock as _, ManualClock};
use cloacina_core::execution::TaskInfo;
use cloacina_core::{RunningTask, Script, TaskError};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

/// An attempt: execution, task and number.
type Attempt = (Uuid, String, u32);

/// What is to become of attempts, and which of them wait for the time.
pub(super) struct Scripts {
    clock: ManualClock,
    /// Changed by the test, read by attempts.
    tasks: watch::Sender<Tasks>,
    /// Until when attempts wait; `None` for ever. Written by themselves, read by the test.
    parked: Mutex<HashMap<Attempt, Option<Duration>>>,
}

#[derive(Default)]
struct Tasks {
    of: HashMap<(String, String), Planned>,
    /// The test is over.
    ended: bool,
}

/// What is to become of the attempts of a task.
#[derive(Default)]
struct Planned {
    errors: VecDeque<TaskError>,
    takes: Takes,
}

/// How long an attempt takes by the clock before its code begins.
#[derive(Clone, Copy)]
enum Takes {
    Time(Duration),
    Ever,
}

impl Default for Takes {
    fn default() -> Self {
        Self::Time(Duration::ZERO)
    }
}

impl Scripts {
    pub(super) fn new(clock: ManualClock) -> Self {
        Self { clock, tasks: watch::Sender::new(Tasks::default()), parked: Mutex::default() }
    }

    /// Whether an attempt waits for a time that has not come.
    pub(super) fn is_parked(&self, task: &RunningTask) -> bool {
        let attempt = (task.execution, task.task.clone(), task.attempt);
        let parked = self.parked.lock();
        let until = parked.get(&attempt);
        until.is_some_and(|until| until.is_none_or(|until| until > self.clock.monotonic()))
    }

    /// When the first attempt goes on that waits for the time.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let until = self.parked.lock().values().copied().flatten().min()?;
        self.clock.now().checked_add(until.saturating_sub(self.clock.monotonic())).ok()
    }

    /// Gives up what waits for the time, from now on.
    pub(super) fn end(&self) {
        self.tasks.send_modify(|tasks| tasks.ended = true);
    }

    fn park(&self, attempt: &Attempt, until: Option<Duration>) -> Parked<'_> {
        self.parked.lock().insert(attempt.clone(), until);
        Parked { scripts: self, attempt: attempt.clone() }
    }
}

/// An attempt that waits for the time.
struct Parked<'a> {
    scripts: &'a Scripts,
    attempt: Attempt,
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.scripts.parked.lock().remove(&self.attempt);
    }
}

#[async_trait]
impl Script for Scripts {
    async fn begin(&self, attempt: &TaskInfo) -> Result<(), TaskError> {
        let key = (attempt.workflow().to_owned(), attempt.task_id().to_owned());
        let number = (attempt.execution_id(), attempt.task_id().to_owned(), attempt.attempt());
        let begun = self.clock.monotonic();
        let mut tasks = self.tasks.subscribe();
        loop {
            let (takes, ended) = {
                let tasks = tasks.borrow_and_update();
                (tasks.of.get(&key).map_or_else(Takes::default, |planned| planned.takes), tasks.ended)
            };
            let until = match takes {
                Takes::Time(time) if begun + time <= self.clock.monotonic() => break,
                _ if ended => return Err(TaskError::new("the test is over")),
                Takes::Time(time) => Some(begun + time),
                Takes::Ever => None,
            };
            let _parked = self.park(&number, until);
            let time = async {
                match until {
                    Some(until) => self.clock.sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = time => {}
                () = attempt.cancellation().cancelled() => {
                    return Err(TaskError::new("it was told to end before its time was over"));
                }
                changed = tasks.changed() => if changed.is_err() { break },
            }
        }
        let mut error = None;
        self.tasks.send_if_modified(|tasks| {
            error = tasks.of.get_mut(&key).and_then(|planned| planned.errors.pop_front());
            false
        });
        error.map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Scripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripts").field("parked", &self.parked.lock()).finish_non_exhaustive()
    }
}

/// What is to become of the attempts of a task, from now on.
///
/// An attempt first takes its time, by the clock of the test; then it fails, or its code runs.
#[derive(Debug)]
pub struct TestTask<'a> {
    scripts: &'a Scripts,
    key: (String, String),
}

impl<'a> TestTask<'a> {
    pub(super) fn new(scripts: &'a Scripts, workflow: &str, task: &str) -> Self {
        Self { scripts, key: (workflow.to_owned(), task.to_owned()) }
    }

    /// So many attempts fail, after those that fail already; their code does not run. What comes next is
    /// decided by the retry policy.
    pub fn fails(self, attempts: usize) -> Self {
        (0..attempts).fold(self, |task, _| task.fails_with(TaskError::new("the test has it fail")))
    }

    /// One more attempt fails, with this error: one that is fatal, or says when to retry, say.
    pub fn fails_with(self, error: impl Into<TaskError>) -> Self {
        let error = error.into();
        self.plan(|planned| planned.errors.push_back(error))
    }

    /// Each attempt takes so long before its code runs, those included that take their time at this moment.
    /// While only such attempts run, the clock goes on. One that is told to end, by its timeout say, ends.
    pub fn takes(self, time: Duration) -> Self {
        self.plan(|planned| planned.takes = Takes::Time(time))
    }

    /// No attempt comes to its end before it is told to, until [`takes`](Self::takes) is called.
    pub fn hangs(self) -> Self {
        self.plan(|planned| planned.takes = Takes::Ever)
    }

    fn plan(self, plan: impl FnOnce(&mut Planned)) -> Self {
        self.scripts.tasks.send_modify(|tasks| plan(tasks.of.entry(self.key.clone()).or_default()));
        self
    }
}
