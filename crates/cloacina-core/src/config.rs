//! How a runner behaves.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind};
use crate::resources::Resources;
use crate::retention::Retention;
#[cfg(feature = "testing")]
use crate::script::Script;
use crate::state::State;
use crate::workflow::Workflow;

/// How a runner behaves. Checked when the runner starts.
///
/// What concerns the whole database in this process (connections, lease, heartbeat) is taken from the first
/// runner that is opened on it; the connection pool grows to the largest size asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunnerConfig {
    /// How many connections to the database this process may open. PostgreSQL only.
    ///
    /// Defaults to 10.
    pub max_connections: u32,
    /// How many tasks of this tenant may run at once in this process. More work waits in the database.
    ///
    /// Defaults to 64.
    pub max_concurrent_tasks: usize,
    /// How many tasks of all tenants together may run at once in this process. The value given last holds.
    ///
    /// Defaults to 1,024 (`None` leaves what was set before).
    pub max_process_tasks: Option<usize>,
    /// How many executions of this tenant may be under way, that is recorded and not over, before another one
    /// is refused with [`ErrorKind::Limit`]; `None` for no limit. If the operator set one for the tenant, the
    /// smaller one counts.
    ///
    /// It costs nothing while there are clearly fewer. This process never passes it, but learns of what
    /// others submit only once a second. At the limit a submission under an idempotency key that was used
    /// before is refused as well.
    ///
    /// Defaults to `None`.
    pub max_queue_length: Option<usize>,
    /// How many executions of this tenant may wait, for a time, a signal or other executions, before another
    /// one of a workflow with waits is refused with [`ErrorKind::Limit`]; `None` for no limit.
    ///
    /// Executions that wait cost nothing but their rows, and do not count in
    /// [`max_queue_length`](Self::max_queue_length). Without a limit a tenant may fill its database with
    /// them. What waits goes on, and what was submitted is not held up before its waits: only new ones are
    /// refused, so somewhat more may come to wait than this. Those that schedules and signals start, and
    /// those that are submitted by name where their workflow is not known, are not refused.
    ///
    /// Defaults to `None`.
    pub max_waiting: Option<usize>,
    /// How many executions of all tenants together may be on their way from this process to a database before
    /// another one is refused with [`ErrorKind::Limit`]. The value given last holds.
    ///
    /// They are kept in memory, each with its input, and pile up when a database is slow or away: too many
    /// and the process runs out of memory, too few and callers are refused in a burst.
    ///
    /// Defaults to 100,000 (`None` leaves what was set before).
    pub max_process_queue: Option<usize>,
    /// How long one attempt of a task may take if the task does not say so itself; `None` for no limit.
    ///
    /// When it has passed, the task is told to end and has [`cancel_grace`](Self::cancel_grace) for that;
    /// then the attempt is recorded as timed out. The time that a blocking task waits for a thread does not
    /// count.
    ///
    /// Defaults to 300 seconds.
    pub task_timeout: Option<Duration>,
    /// How long claimed work stays ours without a heartbeat.
    ///
    /// Too short and a runner that was held up loses its work to another; too long and the work of a machine
    /// that is gone waits. (The work of a process that died on this machine is taken back at once.) At least
    /// three times [`heartbeat_interval`](Self::heartbeat_interval).
    ///
    /// Defaults to 30 seconds.
    pub lease: Duration,
    /// How often a runner renews its lease.
    ///
    /// Defaults to 5 seconds.
    pub heartbeat_interval: Duration,
    /// How long `shutdown` waits for running tasks before it gives them back.
    ///
    /// Defaults to 30 seconds.
    pub shutdown_timeout: Duration,
    /// How long a task that was told to end may go on: because its execution was cancelled, its timeout
    /// passed or the runner shuts down.
    ///
    /// Then an async task is dropped. A task that blocks its thread cannot be stopped: its attempt is
    /// recorded without it (after a timeout it is waited for at most a second), and its slot stays taken
    /// until it returns. Too short and tasks are cut off while they clean up; too long and a retry waits for
    /// a task that does not look at its [cancellation](crate::execution::Cancellation).
    ///
    /// Defaults to 5 seconds.
    pub cancel_grace: Duration,
    /// The largest input of an execution, in bytes of JSON.
    ///
    /// Defaults to 1 MiB.
    pub max_context_bytes: usize,
    /// The largest change that one task may make to the context, in bytes of JSON.
    ///
    /// Defaults to 1 MiB.
    pub max_patch_bytes: usize,
    /// The largest context of an execution, in bytes of JSON: its input and the changes that all its tasks
    /// made, those that were overwritten included.
    ///
    /// A task whose change would exceed it fails, and is not tried again. Until an execution is pruned, each
    /// of its readers fetches all of this. At most 48 MiB, so that what was accepted can always be read
    /// again.
    ///
    /// Defaults to 32 MiB.
    pub max_execution_bytes: usize,
    /// After how many attempts that were lost with their runner a task fails: it may be what kills the
    /// process.
    ///
    /// Defaults to 3.
    pub max_lost: u32,
    /// How long work may wait for a process that has its version of its workflow, before its execution is
    /// paused.
    ///
    /// It resumes by itself when such a process is started. Longer than a rolling deploy takes, so that one
    /// pauses nothing.
    ///
    /// Defaults to 5 minutes.
    pub orphan_grace: Duration,
    /// The least time between two executions of a schedule that is put.
    ///
    /// A shorter one is refused, a second in any case: too short and a slip of the pen fills the database;
    /// too long and what has to run often needs a loop of its own.
    ///
    /// Defaults to 10 seconds.
    pub min_schedule_period: Duration,
    /// How long executions are kept that are over: all the same, or by how they ended; `None` for ever.
    ///
    /// Too short and nobody can look at what went wrong, or rerun it; too long and the database grows. Where
    /// tenants are served that nobody opened, this holds for them as well.
    ///
    /// Defaults to 30 days.
    pub retention: Retention,
    /// Whether this runner only submits: it records executions of the workflows it knows and runs none of
    /// them.
    ///
    /// Defaults to false.
    pub submit_only: bool,
    /// Whether this runner also works for every other tenant of the database, those nobody opened in this
    /// process included.
    ///
    /// A tenant's place is opened when work of this runner's workflows is due there, with the settings of
    /// this runner, and closed when nothing has been due for some seconds; a tenant without work costs
    /// nothing, however many there are. Without it a process works only for the tenants it has opened, and
    /// what it recorded for the others, a retry say, waits until somebody opens them. It goes on until this
    /// runner is shut down, whoever opens and closes the same places in the meantime. What is opened for a
    /// tenant by a handle of its own has the settings of that handle for as long.
    ///
    /// Of PostgreSQL; a SQLite file has one tenant. Defaults to false.
    pub serve_all_tenants: bool,
    /// Whether the places that this process opens were put back from a backup, and nothing that is due there
    /// is begun before [`resume_after_restore`](crate::PlaceRunner::resume_after_restore) of a runner of
    /// them: [`overdue`](crate::PlaceRunner::overdue) tells first what that would be.
    ///
    /// For a program of its own that is run before all others, because it holds back this process only. It
    /// refuses what is submitted until then. A place that is closed and opened again is held back again.
    ///
    /// Defaults to false.
    pub after_restore: bool,
    /// How many places [`serve_all_tenants`](Self::serve_all_tenants) keeps open at once.
    ///
    /// If more tenants have work at the same time, they take turns of some seconds, so too few cost time for
    /// opening them again and again; each takes a few kilobytes here, and what the server's processes
    /// remember of its tables.
    ///
    /// Defaults to 1,000.
    pub max_served_places: usize,
    /// What tasks may ask for beside their context.
    #[doc(hidden)]
    pub resources: Option<Arc<dyn Resources>>,
    /// What the program gives its tasks, by type; see [`state`](RunnerConfigBuilder::state).
    pub state: State,
    /// Workflows besides those that `#[workflow]` registered.
    pub workflows: Vec<Workflow>,
    /// Where time comes from; for tests.
    #[doc(hidden)]
    pub clock: Arc<dyn Clock>,
    /// What a test has to say about attempts.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub script: Option<Arc<dyn Script>>,
}

/// The most context of an execution that is read, in bytes of JSON. No runner writes more.
pub const MOST_EXECUTION_BYTES: usize = 48 << 20;

impl Default for RunnerConfig {
    fn default() -> Self {
        Self {
            max_connections: 10,
            max_concurrent_tasks: 64,
            max_process_tasks: None,
            max_queue_length: None,
            max_waiting: None,
            max_process_queue: None,
            task_timeout: Some(Duration::from_secs(300)),
            lease: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(30),
            cancel_grace: Duration::from_secs(5),
            max_context_bytes: 1 << 20,
            max_patch_bytes: 1 << 20,
            max_execution_bytes: 32 << 20,
            max_lost: 3,
            orphan_grace: Duration::from_secs(300),
            min_schedule_period: Duration::from_secs(10),
            retention: Retention::of(Duration::from_secs(30 * 24 * 3600)),
            submit_only: false,
            serve_all_tenants: false,
            after_restore: false,
            max_served_places: 1_000,
            resources: None,
            state: State::default(),
            workflows: Vec::new(),
            clock: Arc::new(SystemClock),
            #[cfg(feature = "testing")]
            script: None,
        }
    }
}

impl RunnerConfig {
    /// Starts from the defaults.
    #[must_use]
    pub fn builder() -> RunnerConfigBuilder {
        RunnerConfigBuilder { config: Self::default() }
    }

    /// Whether a runner can work with this.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`], naming the setting.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |message: &str| Err(Error::new(ErrorKind::Configuration, message));
        if self.max_connections == 0 {
            return refuse("max_connections is 0: at least 1 connection is needed");
        }
        if self.max_concurrent_tasks == 0 && !self.submit_only {
            return refuse("max_concurrent_tasks is 0: use submit_only for a runner that runs nothing");
        }
        if self.max_process_tasks == Some(0) {
            return refuse("max_process_tasks is 0: use submit_only for a runner that runs nothing");
        }
        if self.max_execution_bytes > MOST_EXECUTION_BYTES {
            return refuse("max_execution_bytes is above 48 MiB: larger executions could not be read again");
        }
        if self.max_waiting == Some(0) {
            return refuse(
                "max_waiting is 0: no workflow with waits could be submitted; use `None` for no limit",
            );
        }
        if self.max_queue_length == Some(0) {
            return refuse("max_queue_length is 0: nothing could be submitted; use `None` for no limit");
        }
        if self.max_process_queue == Some(0) {
            return refuse("max_process_queue is 0: nothing could be submitted");
        }
        if self.task_timeout.is_some_and(|timeout| timeout.is_zero()) {
            return refuse("task_timeout is 0: use `None` for no limit");
        }
        if self.heartbeat_interval.is_zero() {
            return refuse(
                "heartbeat_interval is 0: use some seconds, by which others see that this runner lives",
            );
        }
        if self.lease < self.heartbeat_interval.saturating_mul(3) {
            return refuse(
                "lease is shorter than three times heartbeat_interval: a single late heartbeat would lose it",
            );
        }
        if self.serve_all_tenants && self.submit_only {
            return refuse(
                "serve_all_tenants and submit_only are both set: a runner that only submits serves nobody",
            );
        }
        if self.max_served_places == 0 {
            return refuse(
                "max_served_places is 0: leave serve_all_tenants out for a runner that serves nobody else",
            );
        }
        if self.retention.shortest().is_some_and(|retention| retention.is_zero()) {
            return refuse("retention is 0: what is over could not be read; use `None` to keep it for ever");
        }
        if self.max_lost == 0 {
            return refuse("max_lost is 0: a task has to be started before it can be lost");
        }
        Ok(())
    }
}

/// Sets a [`RunnerConfig`] field by field; each method is named after the field it sets.
#[derive(Debug, Clone)]
pub struct RunnerConfigBuilder {
    config: RunnerConfig,
}

macro_rules! setters {
    ($($name:ident: $type:ty,)*) => {
        impl RunnerConfigBuilder {
            $(
                #[doc = concat!("Sets [`", stringify!($name), "`](RunnerConfig::", stringify!($name), ").")]
                #[must_use]
                pub fn $name(mut self, $name: $type) -> Self {
                    self.config.$name = $name.into();
                    self
                }
            )*
        }
    };
}

setters! {
    max_connections: u32,
    max_concurrent_tasks: usize,
    max_process_tasks: usize,
    max_queue_length: impl Into<Option<usize>>,
    max_waiting: impl Into<Option<usize>>,
    max_process_queue: usize,
    task_timeout: impl Into<Option<Duration>>,
    lease: Duration,
    heartbeat_interval: Duration,
    shutdown_timeout: Duration,
    cancel_grace: Duration,
    max_context_bytes: usize,
    max_patch_bytes: usize,
    max_execution_bytes: usize,
    max_lost: u32,
    orphan_grace: Duration,
    min_schedule_period: Duration,
    retention: impl Into<Retention>,
    submit_only: bool,
    serve_all_tenants: bool,
    after_restore: bool,
    max_served_places: usize,
}

impl RunnerConfigBuilder {
    /// Adds a workflow to those that `#[workflow]` registered.
    #[must_use]
    pub fn workflow(mut self, workflow: Workflow) -> Self {
        self.config.workflows.push(workflow);
        self
    }

    /// Gives tasks a value, which they ask for by its type: `mailer: &Mailer`. One for each type; the last
    /// one given holds.
    ///
    /// A runner that lacks what a task of its workflows asks for does not start.
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.config.state.insert(value);
        self
    }

    /// Gives tasks of one tenant another value than [`state`](Self::state) gives to those of all. The tenant
    /// is what [`Runner::place`](crate::PlaceRunner::place) returns; a name that no tenant has is no error.
    #[must_use]
    pub fn state_for<T: Send + Sync + 'static>(mut self, tenant: impl Into<String>, value: T) -> Self {
        self.config.state.insert_for(tenant, value);
        self
    }

    /// What tasks may ask for beside their context.
    #[doc(hidden)]
    #[must_use]
    pub fn resources(mut self, resources: Arc<dyn Resources>) -> Self {
        self.config.resources = Some(resources);
        self
    }

    /// Where time comes from; for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.config.clock = clock;
        self
    }

    /// The configuration. It is checked when the runner starts.
    #[must_use]
    pub fn build(self) -> RunnerConfig {
        self.config
    }
}
