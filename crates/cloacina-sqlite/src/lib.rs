//! The engine's store on SQLite: one store is one file, and one file is one tenant.
//!
//! The file is in write-ahead-log mode with `synchronous=FULL`: what a flush reported is on the disk. It may be opened by several processes
//! at once; SQLite's lock on the file keeps their transactions apart. This crate knows the statements; what they are for is decided by
//! `cloacina-core`. Its twin on PostgreSQL has the same files and the same names of statements.
//!
//! # Threads
//!
//! A store has no thread and no timer of its own, so that ten thousand idle files cost memory only. It has two connections, one that writes
//! and one that only reads and so never waits for the writer. All stores of a process share one small runtime, on which the engine
//! runs their futures; the calls into SQLite happen there directly, since a hop to another thread would take longer than most of them.
//! A lock is never held across an `.await`, and a file that another process has locked is waited for without holding a thread.
//!
//! # When a commit fails
//!
//! SQLite decides every commit before it answers. Where writing or syncing the log fails, the transaction is rolled back: no reader
//! will see it, and the next commit writes over its pages. So a flush never ends as
//! [`StoreErrorKind::Unknown`]: either it is committed, or nothing was written. (After a power
//! failure at just that moment the log may hold the whole commit after all. Then its runner is gone as well, and what was recorded is adopted
//! like everything that it recorded before.)

mod connect;
mod doorbell;
mod error;
mod execution;
mod flush;
mod migrate;
#[cfg(test)]
mod plans;
mod runner;
mod tenant;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cloacina_core::clock::{Clock, SystemClock};
use cloacina_core::id::{ExecutionId, RunnerId, TenantId};
use cloacina_core::store::{
    AttemptList, Bells, Claimed, Control, Controlled, ExecutionHeader, ExecutionList, ExecutionRecord, Flush,
    Flushed, Liveness, NextDue, Place, PlaceName, RescuedPlace, Result, RunnerRecord, RunnerRegistration,
    Store, StoreError, StoreErrorKind, WorkflowKey,
};
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

pub use connect::SqliteAddress;
use connect::{FileIdentity, PATIENCE};
use error::Failure;

/// How long SQLite itself waits for the lock on the file, and with it a thread of the shared runtime. Beyond that we wait without one.
const SHORT_WAIT: Duration = Duration::from_millis(5);

/// One SQLite file.
pub struct SqliteStore {
    address: SqliteAddress,
    place: Place,
    /// The file that was opened; `None` in memory.
    identity: Option<FileIdentity>,
    runtime: Handle,
    /// `None` once the store is closed.
    writer: Mutex<Option<Writer>>,
    reader: Mutex<Reader>,
    hints: watch::Sender<u64>,
}

struct Writer {
    connection: Connection,
    durability: Durability,
    /// SQLite's count of what other connections committed, when it was last looked at.
    seen_version: i64,
}

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// It is on the disk once it is reported.
    Full,
    /// It may be lost with the machine, not with the process. For what means nothing once the machine has lost its power: heartbeats.
    Process,
}

enum Reader {
    Own(Connection),
    /// A database in memory has one connection.
    Writer,
    Closed,
}

impl SqliteStore {
    /// Opens a file, makes it if it is not there, and brings its tables to what this program needs.
    ///
    /// See [`SqliteAddress::parse`] for what can be written. The directory must exist.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Configuration`] for an address that cannot be used, [`StoreErrorKind::Place`] for a file that cannot be used,
    /// [`StoreErrorKind::Version`] for one that was made by a newer program, [`StoreErrorKind::Transient`] if somebody else has it locked.
    pub async fn open(url_or_path: &str) -> Result<Arc<Self>> {
        let text = url_or_path.to_owned();
        on_blocking_thread(move || Self::open_now(SqliteAddress::parse(&text)?)).await
    }

    /// Opens the file of an address; see [`open`](Self::open).
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub async fn open_address(address: SqliteAddress) -> Result<Arc<Self>> {
        on_blocking_thread(move || Self::open_now(address)).await
    }

    fn open_now(address: SqliteAddress) -> Result<Arc<Self>> {
        let runtime = runtime()?;
        let label = address.label().to_owned();
        let opened = (|| {
            let now = micros(None);
            let connection = connect::open_writer(&address, now)?;
            let tenant = migrate::migrate(&connection, &label, migrate::MIGRATIONS, now)?;
            let reader = match address.path() {
                Some(path) => Reader::Own(connect::open_reader(path)?),
                None => Reader::Writer,
            };
            let seen_version = data_version(&connection)?;
            connection.busy_timeout(SHORT_WAIT)?;
            let writer = Writer { connection, durability: Durability::Full, seen_version };
            Ok((writer, reader, tenant))
        })();
        let identity = address.path().and_then(FileIdentity::of);
        let (writer, reader, tenant) = opened.map_err(|failure: Failure| failure.into_store_error(&label))?;
        let place = Place { tenant, name: tenant::place_name(&address) };
        Ok(Arc::new(Self {
            address,
            place,
            identity,
            runtime,
            writer: Mutex::new(Some(writer)),
            reader: Mutex::new(reader),
            hints: watch::Sender::new(0),
        }))
    }

    /// The address that this store was opened with.
    #[must_use]
    pub fn address(&self) -> &SqliteAddress {
        &self.address
    }

    /// Folds the write-ahead log into the file and closes it. Unless somebody else has the file open, only the file itself is left.
    ///
    /// Waits for the call that is under way. Later calls fail with [`StoreErrorKind::Place`]; a second `close` is `Ok`. Dropping the
    /// future does not stop it. Dropping the store closes it as well.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Place`] if the log could not be written back. Nothing is lost then: it is read when the file is opened again.
    pub async fn close(&self) -> Result<()> {
        let (reader, writer) = self.take();
        let label = self.address.label().to_owned();
        on_blocking_thread(move || fold(reader, writer).map_err(|failure| failure.into_store_error(&label)))
            .await
    }

    fn take(&self) -> (Reader, Option<Writer>) {
        let writer = lock(&self.writer).take();
        let reader = std::mem::replace(&mut *lock(&self.reader), Reader::Closed);
        (reader, writer)
    }

    fn label_text(&self) -> &str {
        self.address.label()
    }

    fn closed(&self) -> Failure {
        StoreError::new(
            StoreErrorKind::Place,
            format!("the SQLite file {} was closed by this process", self.label_text()),
        )
        .into()
    }

    /// A file that was deleted or replaced can still be written to as long as it is open, and everything would be gone with the process.
    fn still_there(&self) -> Result<(), Failure> {
        match self.address.path() {
            Some(path) if FileIdentity::of(path) != self.identity => Err(StoreError::new(
                StoreErrorKind::Place,
                format!(
                    "the SQLite file {} was deleted or replaced while it was open; close what uses it before you do that",
                    self.label_text()
                ),
            )
            .into()),
            _ => Ok(()),
        }
    }

    /// Runs `work` in a transaction that writes. It is run again if it met a lock, of which nothing was left.
    async fn write<T>(
        &self,
        durability: Durability,
        mut work: impl FnMut(&Connection) -> Result<T, Failure> + Send,
    ) -> Result<T> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            match self.write_once(durability, &mut work) {
                Err(failure) if failure.is_busy() && begun.elapsed() < PATIENCE => {}
                result => return result.map_err(|failure| failure.into_store_error(self.label_text())),
            }
            let sleep = {
                // Whoever polls this future need not have a timer.
                let _context = self.runtime.enter();
                tokio::time::sleep(pause)
            };
            sleep.await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn write_once<T>(
        &self,
        durability: Durability,
        work: &mut impl FnMut(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut writer = lock(&self.writer);
        let writer = writer.as_mut().ok_or_else(|| self.closed())?;
        self.still_there()?;
        if writer.durability != durability {
            let synchronous = match durability {
                Durability::Full => "FULL",
                Durability::Process => "NORMAL",
            };
            writer.connection.pragma_update(None, "synchronous", synchronous)?;
            writer.durability = durability;
        }
        transaction(&writer.connection, || work(&writer.connection))
    }

    /// Runs `work` on one snapshot of the file, without waiting for the writer.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T> {
        let result = match &*lock(&self.reader) {
            Reader::Own(connection) => snapshot(connection, work),
            Reader::Writer => match &*lock(&self.writer) {
                Some(writer) => snapshot(&writer.connection, work),
                None => Err(self.closed()),
            },
            Reader::Closed => Err(self.closed()),
        };
        result.map_err(|failure| failure.into_store_error(self.label_text()))
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        let (reader, writer) = self.take();
        if let Err(failure) = fold(reader, writer) {
            let error = failure.into_store_error(self.label_text());
            tracing::warn!(%error, "the write-ahead log of a SQLite file was not folded in");
        }
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.label_text()).finish_non_exhaustive()
    }
}

/// The writer is the last to go: it is the one that may remove the log.
fn fold(reader: Reader, writer: Option<Writer>) -> Result<(), Failure> {
    if let Reader::Own(connection) = reader {
        connection.close().map_err(|(_, error)| error)?;
    }
    if let Some(Writer { connection, .. }) = writer {
        // Whether the log was emptied (0) or somebody else is reading from it (1) makes no difference: then that one will do it.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))?;
        connection.close().map_err(|(_, error)| error)?;
    }
    Ok(())
}

/// A panic while a connection was locked rolled its transaction back, so the connection is good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a transaction that was not committed, also when `work` panics.
struct Transaction<'a>(&'a Connection);

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // SQLite has rolled back by itself after some errors.
        if !self.0.is_autocommit()
            && let Err(error) = self.0.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a SQLite transaction was not rolled back");
        }
    }
}

/// Runs `work` under the write lock of the file, and commits it if it succeeds.
fn transaction<T>(connection: &Connection, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let open = Transaction(connection);
    let value = work()?;
    connection.prepare_cached("COMMIT")?.execute([])?;
    drop(open);
    Ok(value)
}

fn snapshot<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    connection.prepare_cached("BEGIN DEFERRED")?.execute([])?;
    let _open = Transaction(connection);
    let value = work(connection)?;
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(value)
}

fn data_version(connection: &Connection) -> Result<i64, Failure> {
    Ok(connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?)
}

/// The runtime of all stores of this process.
fn runtime() -> Result<Handle> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4);
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            // For opening and closing files.
            .max_blocking_threads(threads)
            .thread_name("cloacina-sqlite")
            .enable_time()
            .build()
            .inspect_err(|error| tracing::error!(%error, "the threads for SQLite could not be started"))
            .ok()
    });
    match runtime {
        Some(runtime) => Ok(runtime.handle().clone()),
        None => Err(StoreError::new(StoreErrorKind::Internal, "the threads for SQLite could not be started")),
    }
}

async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match runtime()?.spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            Err(StoreError::new(StoreErrorKind::Internal, "a call into SQLite panicked").with_source(error))
        }
    }
}

/// The time of a transaction, as it is stored.
fn micros(now: Option<Timestamp>) -> i64 {
    now.unwrap_or_else(|| SystemClock.now()).as_microsecond()
}

fn timestamp(micros: i64) -> Result<Timestamp, Failure> {
    Timestamp::from_microsecond(micros).map_err(|_| Failure::damaged(format!("{micros} is no time")))
}

fn optional_timestamp(micros: Option<i64>) -> Result<Option<Timestamp>, Failure> {
    micros.map(timestamp).transpose()
}

#[async_trait]
impl Store for SqliteStore {
    fn label(&self) -> &str {
        self.label_text()
    }

    fn runtime(&self) -> Handle {
        self.runtime.clone()
    }

    fn lanes(&self) -> usize {
        1
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.hints.subscribe()
    }

    async fn place_open(&self, name: &PlaceName) -> Result<Place> {
        self.find_place(name)
    }

    async fn place_of(&self, tenant: TenantId) -> Result<Option<Place>> {
        Ok((self.place.tenant == tenant).then(|| self.place.clone()))
    }

    async fn flush(&self, _lane: usize, flush: &Flush) -> Result<Flushed> {
        for place in &flush.places {
            self.own(&place.place)?;
        }
        self.write(Durability::Full, |connection| flush::flush(connection, flush)).await
    }

    async fn execution_control(
        &self,
        place: &Place,
        execution: ExecutionId,
        control: Control,
        now: Option<Timestamp>,
    ) -> Result<Controlled> {
        self.own(place)?;
        self.write(Durability::Full, |connection| {
            execution::control(connection, place.tenant, execution, &control, micros(now))
        })
        .await
    }

    async fn execution_overdue(
        &self,
        place: &Place,
        grace: Duration,
        now: Option<Timestamp>,
    ) -> Result<Vec<(ExecutionId, WorkflowKey)>> {
        self.own(place)?;
        let grace = i64::try_from(grace.as_micros()).unwrap_or(i64::MAX);
        let before = micros(now).saturating_sub(grace);
        self.read(|connection| execution::overdue(connection, place.tenant, before))
    }

    async fn execution_orphaned(&self, place: &Place) -> Result<Vec<(ExecutionId, WorkflowKey)>> {
        self.own(place)?;
        self.read(|connection| execution::orphaned(connection, place.tenant))
    }

    async fn execution_count(&self, place: &Place, at_most: usize) -> Result<usize> {
        self.own(place)?;
        self.read(|connection| execution::count(connection, place.tenant, at_most))
    }

    async fn execution_expire(&self, place: &Place, now: Option<Timestamp>) -> Result<Vec<ExecutionId>> {
        self.own(place)?;
        self.write(Durability::Full, |connection| execution::expire(connection, place.tenant, micros(now)))
            .await
    }

    async fn execution_load(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<ExecutionRecord>> {
        self.own(place)?;
        self.read(|connection| execution::load(connection, place.tenant, executions))
    }

    async fn execution_headers(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<ExecutionHeader>> {
        self.own(place)?;
        self.read(|connection| execution::headers(connection, place.tenant, executions))
    }

    async fn execution_find(
        &self,
        place: &Place,
        workflow: &str,
        key: &str,
    ) -> Result<Option<(ExecutionId, i64)>> {
        self.own(place)?;
        self.read(|connection| execution::find(connection, place.tenant, workflow, key))
    }

    async fn execution_list(&self, place: &Place, list: &ExecutionList) -> Result<Vec<ExecutionHeader>> {
        self.own(place)?;
        self.read(|connection| execution::list(connection, place.tenant, list))
    }

    async fn attempt_list(&self, place: &Place, execution: ExecutionId) -> Result<Option<AttemptList>> {
        self.own(place)?;
        self.read(|connection| execution::attempts(connection, place.tenant, execution))
    }

    async fn task_held(&self, place: &Place, runner: RunnerId) -> Result<Vec<Claimed>> {
        self.own(place)?;
        self.read(|connection| {
            let held = execution::held(connection, place.tenant, runner)?;
            Ok(held.into_iter().map(|held| held.claimed).collect())
        })
    }

    async fn execution_prune(&self, place: &Place, before: Timestamp, limit: usize) -> Result<usize> {
        self.own(place)?;
        self.write(Durability::Full, |connection| {
            execution::prune(connection, place.tenant, before.as_microsecond(), limit)
        })
        .await
    }

    async fn bell_due(&self, now: Option<Timestamp>) -> Result<Bells> {
        self.look_for_others();
        self.read(|connection| doorbell::due(connection, self.place.tenant, micros(now)))
    }

    async fn bell_lower(&self, place: &Place, now: Option<Timestamp>) -> Result<NextDue> {
        self.own(place)?;
        self.read(|connection| doorbell::next(connection, place.tenant, micros(now)))
    }

    async fn runner_register(&self, runner: &RunnerRegistration, now: Option<Timestamp>) -> Result<()> {
        self.write(Durability::Full, |connection| runner::register(connection, runner, micros(now))).await
    }

    async fn runner_heartbeat(
        &self,
        runner: RunnerId,
        workflows: &Arc<[WorkflowKey]>,
        now: Option<Timestamp>,
    ) -> Result<Liveness> {
        self.write(Durability::Process, |connection| {
            runner::heartbeat(connection, runner, workflows, micros(now))
        })
        .await
    }

    async fn runner_list(&self) -> Result<Vec<RunnerRecord>> {
        self.read(runner::list)
    }

    async fn runner_condemn(&self, runner: RunnerId, beat: i64) -> Result<bool> {
        self.write(Durability::Full, |connection| runner::condemn(connection, runner, beat)).await
    }

    async fn runner_rescue(&self, runner: RunnerId, now: Option<Timestamp>) -> Result<Vec<RescuedPlace>> {
        self.write(Durability::Full, |connection| {
            runner::rescue(connection, &self.place, runner, micros(now))
        })
        .await
    }

    async fn runner_retire(&self, runner: RunnerId) -> Result<()> {
        self.write(Durability::Full, |connection| runner::retire(connection, self.place.tenant, runner)).await
    }
    async fn close(&self) -> Result<()> {
        SqliteStore::close(self).await
    }
}
