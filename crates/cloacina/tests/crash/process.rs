//! Databases, and processes that work on them: this binary once more, told by its environment what to do.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cloacina::runner::{PlaceRunner, Runner, RunnerConfigBuilder};
use cloacina::{Context, RunnerConfig, registered_workflows};
use cloacina_core::Hub;
use cloacina_core::store::{PlaceName, Store};
use cloacina_sqlite::SqliteStore;
use cloacina_testing::faulty::{Call, FaultyStore, Method, Moment, Verdict};
use tempfile::TempDir;

use crate::check::{Summary, check, everything};
use crate::journal::{self, Event, note};
use crate::workload::{run_many, run_one};

const ROLE: &str = "CLOACINA_CRASH_ROLE";
const URL: &str = "CLOACINA_CRASH_URL";
const FIRST: &str = "CLOACINA_CRASH_FIRST";
const LEASE: &str = "CLOACINA_CRASH_LEASE";
const POINT: &str = "CLOACINA_CRASH_POINT";

/// Longer than anything takes here, also on a machine that does other things too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// A lease that ends by no accident: who is rescued was seen to be gone.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// How many executions a child that submits has under way.
const AT_ONCE: usize = 16;

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Submits executions and works, until its input ends.
    Load,
    /// Works until nothing is left.
    Drain,
    /// Works until its input ends.
    Serve,
    /// Submits ten executions whose first task takes a minute at its first attempt, and waits for them.
    Slow,
    /// The same with a second and a half; then runs twenty other executions.
    Stopped,
}

impl Role {
    const ALL: &[Self] = &[Self::Load, Self::Drain, Self::Serve, Self::Slow, Self::Stopped];

    fn name(self) -> String {
        format!("{self:?}")
    }
}

/// A place to die: at the `nth` call of this method at this moment that claims something, if that is asked
/// for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) method: Method,
    pub(crate) moment: Moment,
    pub(crate) with_claims: bool,
    pub(crate) nth: u64,
}

impl Point {
    fn text(&self) -> String {
        format!("{} {} {} {}", self.method.name(), self.moment == Moment::After, self.with_claims, self.nth)
    }

    fn parse(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        Self {
            method: Method::named(words[0]).unwrap(),
            moment: if words[1] == "true" { Moment::After } else { Moment::Before },
            with_claims: words[2] == "true",
            nth: words[3].parse().unwrap(),
        }
    }

    /// A hook that ends the process there, as a crash would.
    fn hook(self) -> impl Fn(&Call) -> Verdict + Send + Sync {
        let seen = AtomicU64::new(0);
        move |call| {
            let here = call.method == self.method
                && call.moment == self.moment
                && (!self.with_claims || call.claims > 0);
            if here && seen.fetch_add(1, Ordering::Relaxed) + 1 >= self.nth {
                std::process::abort();
            }
            Verdict::Pass
        }
    }
}

/// A place, and the journal of those who work there.
pub(crate) struct Database {
    pub(crate) url: String,
    directory: TempDir,
    children: AtomicU64,
}

impl Database {
    pub(crate) fn at(url: String) -> Self {
        Self { url, directory: tempfile::tempdir().unwrap(), children: AtomicU64::new(0) }
    }

    pub(crate) fn sqlite() -> Self {
        let mut database = Self::at(String::new());
        database.url = format!("sqlite://{}", database.directory.path().join("crash.db").display());
        database
    }

    #[cfg(feature = "postgres")]
    pub(crate) async fn postgres() -> Self {
        let server = cloacina_testing::cluster::Cluster::shared().expect("a server for tests starts");
        Self::at(server.fresh_database().await.expect("a fresh database"))
    }

    fn journal(&self) -> PathBuf {
        self.directory.path().join("journal")
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        journal::read(&self.journal())
    }

    /// Starts a child. `first` is the number of the first execution that it submits.
    pub(crate) fn child(&self, role: Role, first: u64, lease: Duration, point: Option<Point>) -> Child {
        let number = self.children.fetch_add(1, Ordering::Relaxed);
        let told = self.directory.path().join(format!("child-{number}"));
        let output = File::options().create(true).append(true).open(&told).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "a_child_does_what_its_parent_says", "--nocapture", "--test-threads=1"])
            .env(ROLE, role.name())
            .env(URL, &self.url)
            .env(FIRST, first.to_string())
            .env(LEASE, lease.as_millis().to_string())
            .env(journal::FILE, self.journal())
            .env("RUST_LOG", "warn")
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        if let Some(point) = point {
            command.env(POINT, point.text());
        }
        Child { process: command.spawn().unwrap(), told }
    }

    /// Has a child finish whatever is left.
    pub(crate) async fn drain(&self) {
        self.child(Role::Drain, 0, LONG, None).succeeds().await;
    }

    /// Checks the place against the journal.
    pub(crate) async fn check(&self, hint: &str) -> Summary {
        let reader = self.reader().await;
        let summary = check(reader.place_runner(), &self.events(), hint).await;
        reader.shutdown().await.unwrap();
        summary
    }

    /// A runner that runs nothing.
    pub(crate) async fn reader(&self) -> Runner {
        self.reader_with(|settings| settings).await
    }

    pub(crate) async fn reader_with(
        &self,
        set: impl FnOnce(RunnerConfigBuilder) -> RunnerConfigBuilder,
    ) -> Runner {
        let settings = set(RunnerConfig::builder().submit_only(true)).build();
        Runner::with_config(&self.url, settings).await.unwrap()
    }

    /// Waits until the journal says what is wanted.
    pub(crate) async fn until<T>(&self, what: &str, found: impl Fn(&[Event]) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = found(&self.events()) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A child. It is killed when it is dropped.
pub(crate) struct Child {
    process: std::process::Child,
    told: PathBuf,
}

impl Child {
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it wrote to its standard output and error.
    pub(crate) fn told(&self) -> String {
        std::fs::read_to_string(&self.told).unwrap_or_default()
    }

    /// Kills it; fails if it has come to a bad end before.
    pub(crate) fn kill(mut self) {
        if let Some(status) = self.process.try_wait().unwrap() {
            assert!(status.success(), "a child ended with {status}:\n{}", self.told());
        }
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Sends it a signal by name, `STOP` say.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(sent.success(), "kill -{name}: {sent}");
    }

    /// Tells a child that works until its input ends that it may end.
    pub(crate) fn finish(&mut self) {
        drop(self.process.stdin.take());
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "a child does not end:\n{}", self.told());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until it has ended well.
    pub(crate) async fn succeeds(mut self) -> String {
        let status = self.ended().await;
        assert!(status.success(), "a child ended with {status}:\n{}", self.told());
        self.told()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended, and then there is nothing to kill.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What a process does that was started by [`Database::child`]; nothing in any other.
pub(crate) fn be_a_child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let role = Role::ALL.iter().copied().find(|known| known.name() == role).expect("a known role");
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let may_end = Arc::new(AtomicBool::new(false));
    let until_input_ends = Arc::clone(&may_end);
    // The input ends when the parent says so, and also when the parent is gone.
    std::thread::spawn(move || {
        let ended = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        until_input_ends.store(true, Ordering::Relaxed);
        ended
    });
    runtime.block_on(work(role, &may_end));
}

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

async fn work(role: Role, may_end: &AtomicBool) {
    let (runner, _handle) = open().await;
    let first: u64 = setting(FIRST).parse().unwrap();
    match role {
        Role::Load => {
            let submitters = (0..AT_ONCE as u64).map(|submitter| {
                let runner = runner.clone();
                async move {
                    let mut number = first + submitter;
                    while !may_end.load(Ordering::Relaxed) {
                        let result = run_one(&runner, number).await;
                        let result =
                            result.unwrap_or_else(|error| panic!("execution number {number}: {error}"));
                        assert!(result.status.is_success(), "execution number {number}: {result:?}");
                        number += AT_ONCE as u64;
                    }
                }
            });
            join_all(submitters).await;
        }
        Role::Drain => {
            while everything(&runner).await.iter().any(|execution| !execution.status.is_terminal()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Role::Serve => {
            while !may_end.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Role::Slow => slow(&runner, 60_000).await,
        Role::Stopped => {
            slow(&runner, 1_500).await;
            run_many(&runner, first..first + 20, 4).await;
        }
    }
    runner.shutdown().await.unwrap();
}

/// Runs all of them side by side.
pub(crate) async fn join_all(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut all: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

async fn slow(runner: &PlaceRunner, milliseconds: u64) {
    let mut executions = Vec::new();
    for _ in 0..10 {
        let input = Context::new().with("milliseconds", milliseconds);
        let execution = runner.execute_async("crash_slow", input).await.unwrap();
        note(Event::Acknowledged { execution: execution.execution_id });
        executions.push(execution);
    }
    for execution in executions {
        let result = execution.wait_for_completion().await.unwrap();
        assert!(result.status.is_success(), "{result:?}");
        note(Event::Completed { execution: execution.execution_id });
    }
}

async fn open() -> (PlaceRunner, Option<Runner>) {
    let url = setting(URL);
    let lease = Duration::from_millis(setting(LEASE).parse().unwrap());
    let settings = RunnerConfig::builder()
        .lease(lease)
        .heartbeat_interval(Duration::from_millis(100))
        .cancel_grace(Duration::from_millis(100))
        .max_lost(1_000u32)
        .build();
    let Ok(point) = std::env::var(POINT) else {
        let runner = Runner::with_config(&url, settings).await.unwrap();
        return (runner.place_runner().clone(), Some(runner));
    };
    let store = FaultyStore::new(connect(&url).await, Point::parse(&point).hook());
    let hub = Hub::start(store, &settings);
    let runner = PlaceRunner::open(hub, PlaceName::Default, settings, registered_workflows().unwrap()).await;
    (runner.unwrap().expect("a new hub is open"), None)
}

async fn connect(url: &str) -> Arc<dyn Store> {
    #[cfg(feature = "postgres")]
    if url.starts_with("postgres") {
        use cloacina_postgres::{PostgresOptions, PostgresStore};
        return PostgresStore::connect(url, PostgresOptions::default()).await.unwrap();
    }
    SqliteStore::open(url).await.unwrap()
}

/// Whether a child ended itself at its [`Point`].
pub(crate) fn ended_by_abort(status: ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(6)
}

/// So many as the environment says, or as a usual run has.
pub(crate) fn count(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |count| count.parse().expect("a number"))
}

/// The seed that the environment says, or a new one.
pub(crate) fn seed() -> u64 {
    count("CLOACINA_SEED", fastrand::u64(0..1_000_000))
}

/// Defines tests that run on a SQLite file and on a PostgreSQL database.
macro_rules! on_each_database {
    ($(async fn $name:ident($database:ident: Database) $body:block)*) => {
        $(async fn $name($database: Database) $body)*

        mod sqlite {
            use crate::process::Database;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(Database::sqlite()).await;
                }
            )*
        }

        #[cfg(feature = "postgres")]
        mod postgres {
            use crate::process::Database;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(Database::postgres().await).await;
                }
            )*
        }
    };
}

pub(crate) use on_each_database;
