//! What is counted and timed, by the facade `metrics`.
//!
//! The recorder is asked once for each series, by the first event of it. So a program installs its recorder
//! before it opens a runner; what was counted before is lost, and so is what a series counts that was asked
//! for by then.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use parking_lot::Mutex;

use crate::execution::{AttemptOutcome, ExecutionStatus};
use crate::id::TaskIndex;
use crate::store::{FireOutcome, SignalSent};

/// The workflow of an execution that ended without this process having known it.
const OTHER: &str = "other";

/// The series of one workflow.
pub(crate) struct Meters {
    workflow: String,
    completed: OnceLock<Ended>,
    failed: OnceLock<Ended>,
    waited: OnceLock<Histogram>,
    tasks: Box<[TaskMeters]>,
}

/// How many executions ended in one way, and how long they took.
struct Ended {
    count: Counter,
    seconds: Histogram,
}

struct TaskMeters {
    task: String,
    outcomes: [OnceLock<Counter>; AttemptOutcome::ALL.len()],
    seconds: OnceLock<Histogram>,
}

impl Meters {
    /// For a workflow of this name with tasks of these ids.
    pub(crate) fn new<'a>(workflow: &str, tasks: impl Iterator<Item = &'a str>) -> Self {
        let tasks = tasks.map(|task| TaskMeters {
            task: task.to_owned(),
            outcomes: Default::default(),
            seconds: OnceLock::new(),
        });
        let (completed, failed, waited) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { workflow: workflow.to_owned(), completed, failed, waited, tasks: tasks.collect() }
    }

    /// A task of it was claimed that had been due for so long.
    pub(crate) fn waited(&self, waited: Duration) {
        let meter = self
            .waited
            .get_or_init(|| histogram!("cloacina_queue_wait_seconds", "workflow" => self.workflow.clone()));
        meter.record(waited.as_secs_f64());
    }

    /// An execution ended after so long, from when it was recorded.
    pub(crate) fn ended(&self, status: ExecutionStatus, took: Duration) {
        let ended = match status {
            ExecutionStatus::Completed => &self.completed,
            ExecutionStatus::Failed => &self.failed,
            _ => return,
        };
        let ended = ended.get_or_init(|| {
            let (workflow, outcome) = (self.workflow.clone(), status.as_str());
            Ended {
                count: counter!("cloacina_executions_total", "workflow" => workflow.clone(), "outcome" => outcome),
                seconds: histogram!("cloacina_execution_seconds", "workflow" => workflow, "outcome" => outcome),
            }
        });
        ended.count.increment(1);
        ended.seconds.record(took.as_secs_f64());
    }

    /// An attempt of a task ended like this, after so long.
    pub(crate) fn attempt(&self, task: TaskIndex, outcome: AttemptOutcome, took: Duration) {
        let Some(meters) = usize::try_from(task).ok().and_then(|task| self.tasks.get(task)) else { return };
        let names = || (self.workflow.clone(), meters.task.clone());
        let position = AttemptOutcome::ALL.iter().position(|known| *known == outcome).unwrap_or_default();
        let count = meters.outcomes[position].get_or_init(|| {
            let (workflow, task) = names();
            counter!("cloacina_task_attempts_total", "workflow" => workflow, "task" => task, "outcome" => outcome.as_str())
        });
        count.increment(1);
        let seconds = meters.seconds.get_or_init(|| {
            let (workflow, task) = names();
            histogram!("cloacina_task_seconds", "workflow" => workflow, "task" => task)
        });
        seconds.record(took.as_secs_f64());
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters").field("workflow", &self.workflow).finish_non_exhaustive()
    }
}

/// So many executions are recorded.
pub(crate) fn count_submitted(executions: usize) {
    if executions > 0 {
        counter!("cloacina_executions_submitted_total").increment(executions as u64);
    }
}

/// So many executions ended like this of which it is not known here what they ran.
pub(crate) fn count_ended(status: ExecutionStatus, executions: usize) {
    if executions > 0 && status.is_terminal() {
        counter!("cloacina_executions_total", "workflow" => OTHER, "outcome" => status.as_str())
            .increment(executions as u64);
    }
}

/// So many finished executions were deleted.
pub(crate) fn count_pruned(executions: usize) {
    if executions > 0 {
        counter!("cloacina_executions_pruned_total").increment(executions as u64);
    }
}

/// In which databases something was found that has been kept beyond its retention, and for how long.
static BEHIND: Mutex<BTreeMap<String, Duration>> = Mutex::new(BTreeMap::new());

/// In this database something was found that has been kept for so long beyond its retention. The gauge says
/// the most of all databases of this process.
#[doc(hidden)]
pub fn note_behind(database: &str, behind: Duration) {
    let mut all = BEHIND.lock();
    if behind.is_zero() {
        all.remove(database);
    } else {
        all.insert(database.to_owned(), behind);
    }
    let most = all.values().max().copied().unwrap_or_default();
    gauge!("cloacina_retention_lag_seconds").set(most.as_secs_f64());
}

/// So many times of schedules came to this.
pub(crate) fn count_fires(outcome: FireOutcome, fires: usize) {
    if fires > 0 {
        counter!("cloacina_schedule_fires_total", "outcome" => outcome.as_str()).increment(fires as u64);
    }
}

/// A schedule started an execution so long after its time.
pub(crate) fn time_fire(late: Duration) {
    histogram!("cloacina_schedule_lateness_seconds").record(late.as_secs_f64());
}

/// A tenant whose work waits for a slot of this process.
#[derive(Debug)]
pub(crate) struct Starving(());

impl Starving {
    pub(crate) fn new() -> Self {
        gauge!("cloacina_tenants_waiting").increment(1.0);
        Self(())
    }
}

impl Drop for Starving {
    fn drop(&mut self) {
        gauge!("cloacina_tenants_waiting").decrement(1.0);
    }
}

/// What became of a signal.
pub(crate) fn count_signal(sent: &SignalSent) {
    let outcome = match sent {
        SignalSent::Delivered(_) => "delivered",
        SignalSent::Buffered(_) => "buffered",
        SignalSent::Started(_) => "started",
        SignalSent::Repeated(_) => "repeated",
        _ => "refused",
    };
    counter!("cloacina_signals_total", "outcome" => outcome).increment(1);
}

/// How long a batch of transitions took to be committed, or to fail, and how many there were in it.
pub(crate) fn time_flush(took: Duration, transitions: usize) {
    static METERS: OnceLock<(Histogram, Histogram)> = OnceLock::new();
    let (seconds, count) = METERS
        .get_or_init(|| (histogram!("cloacina_flush_seconds"), histogram!("cloacina_flush_transitions")));
    seconds.record(took.as_secs_f64());
    count.record(transitions as f64);
}

/// How many slots of the process are used, of how many.
pub(crate) fn slots(used: usize, limit: usize) {
    static METERS: OnceLock<(Gauge, Gauge)> = OnceLock::new();
    let (all_used, all) = METERS.get_or_init(|| (gauge!("cloacina_slots_used"), gauge!("cloacina_slots")));
    all_used.set(used as f64);
    all.set(limit as f64);
}

/// How many blocking tasks run in the process, and how many wait for a thread.
pub(crate) fn blocking(running: usize, waiting: usize) {
    static METERS: OnceLock<(Gauge, Gauge)> = OnceLock::new();
    let (all_running, all_waiting) = METERS.get_or_init(|| {
        (gauge!("cloacina_blocking_tasks_running"), gauge!("cloacina_blocking_tasks_waiting"))
    });
    all_running.set(running as f64);
    all_waiting.set(waiting as f64);
}
