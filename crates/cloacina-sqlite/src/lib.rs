//! The engine's store on SQLite: one store is one file, and one file is one tenant.
//!
//! The file is in write-ahead-log mode with `synchronous=FULL`: what a flush reported is on the disk. It may be opened by several processes
//! at once; SQLite's lock on the file keeps their transactions apart. This crate knows the statements; what they are for is decided by
//! `cloacina-core`. Its twin on PostgreSQL has the same files and the same names of statements.
//!
//! # Threads
//!
//! A store has no thread and no timer of its own. It has two connections, one that writes and one that only reads and so never waits for the
//! writer; while nothing happens [it has none](Store::rest), so that ten thousand idle files cost some memory only. All stores of a process share one small runtime, on which the engine
//! runs their futures; the calls into SQLite happen there directly, since a hop to another thread would take longer than most of them.
//! A lock is never held across an `.await`, and a file that another process has locked is waited for without holding a thread. Whoever wants to
//! write to a file, or to read from it, waits for its turn without a thread as well, so that a slow file holds two of them at most. What may
//! take long runs on threads and connections of its own.
//!
//! # When a commit fails
//!
//! SQLite decides every commit before it answers. Where writing or syncing the log fails, the transaction is rolled back: no reader
//! will see it, and the next commit writes over its pages. So a flush never ends as
//! [`StoreErrorKind::Unknown`]: either it is committed, or nothing was written. (After a power
//! failure at just that moment the log may hold the whole commit after all. Then its runner is gone as well, and what was recorded is adopted
//! like everything that it recorded before.)

mod connect;
mod directory;
mod doorbell;
mod error;
mod execution;
mod files;
mod flush;
#[cfg(target_os = "linux")]
mod follow;
mod guest;
mod long;
mod migrate;
#[cfg(test)]
mod plans;
mod registry;
mod runner;
mod tenant;
mod time;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cloacina_core::clock::{Clock, SystemClock};
use cloacina_core::id::{ExecutionId, RunnerId, TenantId};
use cloacina_core::store::{
    AttemptList, Bells, Claimed, Control, Controlled, ExecutionHeader, ExecutionList, ExecutionRecord, Flush,
    Flushed, Liveness, NextDue, Place, PlaceFigures, PlaceName, Repaired, RescuedPlace, Result, RunnerRecord,
    RunnerRegistration, Store, StoreError, StoreErrorKind, WorkflowKey,
};
use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

use connect::PATIENCE;
pub use connect::{FileIdentity, SqliteAddress};
pub use directory::{Directory, DueFile, FileId};
use error::Failure;
pub use files::set_max_open_files;
use files::{Footprint, OpenFile, log_of};
pub use guest::{
    Opened, Release, check_as_guest, deleted_log, find_as_guest, flush_as_guest, prepare_for_data,
    release_with,
};
use long::LongReads;
use registry::Holder;
use time::FileClock;

/// How long SQLite itself waits for the lock on the file, and with it a thread of the shared runtime. Beyond that we wait without one.
const SHORT_WAIT: Duration = Duration::from_millis(5);

/// How long a file has to look the same before it can be told by its looks that nobody wrote to it: longer than the ticks of every file
/// system's clock.
const SETTLE: Duration = Duration::from_millis(20);

/// How many executions are deleted in one transaction: whoever else wants to write waits for it.
const PRUNE_CHUNK: usize = 100;

/// One SQLite file.
pub struct SqliteStore {
    address: SqliteAddress,
    place: Place,
    /// The file that was opened; `None` in memory.
    identity: Option<FileIdentity>,
    runtime: Handle,
    /// Who writes, and who reads: the others wait for it without holding a thread.
    writing: tokio::sync::Mutex<()>,
    reading: tokio::sync::Mutex<()>,
    /// Locked after `reader` where both are.
    writer: Mutex<Writer>,
    reader: Mutex<Reader>,
    /// `None` in memory.
    long: Option<LongReads>,
    /// `None` in memory.
    file: Option<OpenFile>,
    /// Whether the file was closed for want of room, not because nothing happens in it.
    is_evicted: AtomicBool,
    /// If a registry lies beside the file.
    holder: Option<Holder>,
    hints: watch::Sender<u64>,
    clock: FileClock,
    /// Whether it was said that what is over is kept because the clock is not believed.
    is_kept: AtomicBool,
}

enum Writer {
    Open(Box<OpenWriter>),
    Resting,
    Closed,
}

struct OpenWriter {
    connection: Connection,
    durability: Durability,
    /// SQLite's count of what other connections committed, when it was last looked at.
    seen_version: i64,
    /// The write-ahead log that the connection has open. As long as it has, nobody may remove it.
    log: Option<FileIdentity>,
    /// Whether the log was found to be gone, and what is in it was written into the file.
    is_rescued: bool,
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
    /// Opened when it is needed.
    Absent,
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
        let address = on_blocking_thread(move || SqliteAddress::parse(&text)).await?;
        Self::open_address(address).await
    }

    /// Opens the file of an address; see [`open`](Self::open).
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub async fn open_address(address: SqliteAddress) -> Result<Arc<Self>> {
        let runtime = runtime()?;
        let begun = Instant::now();
        loop {
            let hints = watch::Sender::new(0);
            let file = address.path().map(|path| OpenFile::new(path, hints.clone()));
            if let Some(file) = &file {
                file.admit(&runtime).await;
            }
            let opened = {
                let (address, runtime) = (address.clone(), runtime.clone());
                on_blocking_thread(move || Self::open_now(address, runtime, file, hints)).await
            };
            match opened {
                Err(error)
                    if error.kind() == StoreErrorKind::Transient
                        && begun.elapsed() < PATIENCE
                        && files::are_descriptors_short() =>
                {
                    files::evict().await;
                    pause(&runtime, SHORT_WAIT).await;
                }
                opened => return opened,
            }
        }
    }

    fn open_now(
        address: SqliteAddress,
        runtime: Handle,
        file: Option<OpenFile>,
        hints: watch::Sender<u64>,
    ) -> Result<Arc<Self>> {
        let label = address.label().to_owned();
        let opened = (|| {
            let now = micros(None);
            let connection = connect::open_writer(&address, now)?;
            let tenant = migrate::migrate(&connection, &label, migrate::MIGRATIONS, now)?;
            // Before anything is written that may be due.
            let holder = match address.path() {
                Some(path) => Holder::new(path, tenant)?,
                None => None,
            };
            let clock = FileClock::new(time::latest(&connection)?);
            Ok((OpenWriter::new(connection)?, tenant, holder, clock))
        })();
        let identity = address.path().and_then(FileIdentity::of);
        let (writer, tenant, holder, clock) =
            opened.map_err(|failure: Failure| failure.into_store_error(&label))?;
        if file.is_some() && identity.is_none() {
            return Err(StoreError::new(
                StoreErrorKind::Place,
                format!("the SQLite file {label} was deleted while it was being opened; open it again"),
            ));
        }
        let name = tenant::place_name(&address);
        let place = Place { tenant, name, schema: String::new(), epoch: 1, shared: false };
        let reader = if file.is_some() { Reader::Absent } else { Reader::Writer };
        let long = address.path().map(|path| LongReads::new(path.to_owned(), label, runtime.clone()));
        let store = Arc::new(Self {
            address,
            place,
            identity,
            runtime,
            writing: tokio::sync::Mutex::new(()),
            reading: tokio::sync::Mutex::new(()),
            writer: Mutex::new(Writer::Open(Box::new(writer))),
            reader: Mutex::new(reader),
            long,
            file,
            is_evicted: AtomicBool::new(false),
            holder,
            hints,
            clock,
            is_kept: AtomicBool::new(false),
        });
        if let Some(file) = &store.file {
            file.of(Arc::downgrade(&store));
        }
        Ok(store)
    }

    /// The address that this store was opened with.
    #[must_use]
    pub fn address(&self) -> &SqliteAddress {
        &self.address
    }

    /// Folds the write-ahead log into the file and closes it. Unless somebody else has the file open, only the file itself is left.
    ///
    /// Waits for the call that is under way; a list or the like is given up. Later calls fail with [`StoreErrorKind::Place`]; a second `close` is `Ok`. Dropping the
    /// future does not stop it. Dropping the store closes it as well.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Place`] if the log could not be written back. Nothing is lost then: it is read when the file is opened again.
    pub async fn close(&self) -> Result<()> {
        guest::release(self.address.path()).await;
        if let Some(long) = &self.long {
            long.close().await;
        }
        let (reader, writer) = self.take();
        if let Some(file) = &self.file {
            file.closed();
        }
        self.sign_off(&writer);
        let label = self.address.label().to_owned();
        on_blocking_thread(move || fold(reader, writer).map_err(|failure| failure.into_store_error(&label)))
            .await
    }

    fn take(&self) -> (Reader, Writer) {
        let reader = std::mem::replace(&mut *lock(&self.reader), Reader::Closed);
        let writer = std::mem::replace(&mut *lock(&self.writer), Writer::Closed);
        (reader, writer)
    }

    /// Closes the file until the next call, if nobody else wrote to it since the last look at the bell. False if somebody may have, or
    /// there is nothing that could be closed.
    async fn lie_down(&self) -> Result<bool, Failure> {
        let (Some(file), Some(path)) = (&self.file, self.address.path()) else { return Ok(false) };
        guest::release(Some(path)).await;
        match &*lock(&self.writer) {
            Writer::Open(writer) => checkpoint(&writer.connection)?,
            Writer::Resting if !self.is_evicted.load(Ordering::Relaxed) => return Ok(true),
            Writer::Resting => return Err(Failure::Resting),
            Writer::Closed => return Err(self.closed()),
        }
        let before = Footprint::of(path);
        let settled = {
            let _context = self.runtime.enter();
            tokio::time::sleep(SETTLE)
        };
        settled.await;
        let mut reader = lock(&self.reader);
        let mut writer = lock(&self.writer);
        let Writer::Open(open) = &*writer else { return Ok(false) };
        if self.long.as_ref().is_some_and(LongReads::any) {
            return Ok(false);
        }
        // What is committed from here on shows in the looks of the file, what was before in the version.
        let after = Footprint::of(path);
        if let Some(holder) = &self.holder {
            holder.rested(self.next_due(open)?)?;
        }
        if after != before
            || after.is_none_or(|looks| Some(looks.identity) != self.identity)
            || data_version(&open.connection)? != open.seen_version
        {
            if let Some(holder) = &self.holder {
                holder.opened()?;
            }
            return Ok(false);
        }
        let closed = fold(
            std::mem::replace(&mut *reader, Reader::Absent),
            std::mem::replace(&mut *writer, Writer::Resting),
        );
        file.rested(after, &self.runtime);
        closed.map(|()| true)
    }

    /// Closes the file until the next call, because there is no room for it. False if somebody uses it at this moment.
    fn evict(&self) -> bool {
        let (Some(file), Some(long)) = (&self.file, &self.long) else { return false };
        let Some(mut reader) = self.reader.try_lock().ok() else { return false };
        let Some(mut writer) = self.writer.try_lock().ok() else { return false };
        let Writer::Open(open) = &*writer else { return false };
        if long.any() {
            return false;
        }
        if !data_version(&open.connection).is_ok_and(|version| version == open.seen_version) {
            self.hint();
        }
        // The log stays: it is folded in when the file rests, and opening it again must not cost two syncs.
        if let Err(error) = open.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
            tracing::debug!(path = self.label_text(), %error, "the log of a file that has to be closed will be folded in");
        }
        *reader = Reader::Absent;
        *writer = Writer::Resting;
        self.is_evicted.store(true, Ordering::Relaxed);
        file.rested(self.address.path().and_then(Footprint::of), &self.runtime);
        true
    }

    /// Opens the file again after a rest.
    async fn reopen(&self) -> Result<(), Failure> {
        let Some(file) = &self.file else { return Ok(()) };
        file.admit(&self.runtime).await;
        let mut writer = lock(&self.writer);
        match *writer {
            Writer::Open(_) => return Ok(()),
            Writer::Resting => {}
            Writer::Closed => {
                file.closed();
                return Ok(());
            }
        }
        match self.connect_again() {
            Ok(open) => {
                *writer = Writer::Open(Box::new(open));
                file.follow();
                self.is_evicted.store(false, Ordering::Relaxed);
                self.hint();
                Ok(())
            }
            Err(failure) => {
                file.rested(self.address.path().and_then(Footprint::of), &self.runtime);
                Err(failure)
            }
        }
    }

    fn connect_again(&self) -> Result<OpenWriter, Failure> {
        let Some(path) = self.address.path() else { return Err(self.closed()) };
        self.still_there()?;
        let connection = connect::open_writer_again(path)?;
        self.still_there()?;
        // The number of a file that was deleted may be given to the next one that is made.
        if migrate::owner(&connection, self.label_text())? != Some(self.place.tenant) {
            return Err(self.replaced());
        }
        if let Some(holder) = &self.holder {
            holder.opened()?;
        }
        self.clock.raise(time::latest(&connection)?);
        OpenWriter::new(connection)
    }

    /// The time of a transaction, as it is stored.
    fn micros(&self, now: Option<Timestamp>) -> i64 {
        now.map_or_else(|| self.clock.now(), Timestamp::as_microsecond)
    }

    /// Sets the wall clock of this store forward or back; for tests.
    #[doc(hidden)]
    pub fn shift_clock(&self, by: jiff::SignedDuration) {
        self.clock.shift(i64::try_from(by.as_micros()).unwrap_or(i64::MAX));
    }

    /// Says once that the clock would have more deleted than it is believed in.
    async fn say_what_is_kept(&self, retention: i64, believed: i64) -> Result<()> {
        let (tenant, before) = (self.place.tenant, self.clock.now().saturating_sub(retention));
        if before <= believed || self.is_kept.load(Ordering::Relaxed) {
            return Ok(());
        }
        let kept = self.read_long(move |connection| execution::over(connection, tenant, before, 1)).await?;
        if !kept.is_empty() && !self.is_kept.swap(true, Ordering::Relaxed) {
            let ahead = Duration::from_micros(before.saturating_sub(believed).unsigned_abs());
            tracing::warn!(
                path = self.label_text(),
                ?ahead,
                "finished executions are kept although their retention is over: the clock of this machine is further ahead of the latest time \
                 in the file than this process has been running, by more than a day; if the clock is right, they are deleted after the next start"
            );
        }
        Ok(())
    }

    /// When somebody has to look at the file; at once if somebody may have died in it, or executions wait for code.
    fn next_due(&self, writer: &OpenWriter) -> Result<Option<i64>, Failure> {
        let connection = &writer.connection;
        if !runner::list(connection)?.is_empty() || execution::has_orphans(connection, self.place.tenant)? {
            return Ok(Some(0));
        }
        let next = doorbell::next(connection, self.place.tenant, 0)?;
        // The registry goes by the wall clock.
        let ahead = self.clock.now_and_ahead().1;
        let next = next.work.into_iter().chain(next.deadline).min();
        Ok(next.map(|next| next.as_microsecond().saturating_sub(ahead)))
    }

    /// Notes in the registry that this store is gone, and what it leaves. What fails stays noted as open, and is looked at.
    fn sign_off(&self, writer: &Writer) {
        let Some(holder) = &self.holder else { return };
        let signed = (|| {
            if let Writer::Open(writer) = writer {
                let version = data_version(&writer.connection)?;
                holder.rested(self.next_due(writer)?)?;
                if data_version(&writer.connection)? != version {
                    // Somebody wrote since it was read.
                    holder.rested(Some(0))?;
                }
            }
            holder.gone()
        })();
        if let Err(failure) = signed {
            let error = failure.into_store_error(self.label_text());
            tracing::warn!(%error, "a file was not signed off in the registry; it will be looked at");
        }
    }

    fn hint(&self) {
        self.hints.send_modify(|hints| *hints = hints.wrapping_add(1));
    }

    fn label_text(&self) -> &str {
        self.address.label()
    }

    fn closed(&self) -> Failure {
        long::closed(self.label_text())
    }

    /// A file that was deleted or replaced can still be written to as long as it is open, and everything would be gone with the process.
    fn still_there(&self) -> Result<(), Failure> {
        match self.address.path() {
            Some(path) if FileIdentity::of(path) != self.identity => Err(self.replaced()),
            _ => Ok(()),
        }
    }

    /// A log that was deleted can still be written to, too, and what is committed to it is gone with the last connection. What was committed
    /// before that was noticed is written into the file.
    fn log_is_still_there(&self, writer: &mut OpenWriter) -> Result<(), Failure> {
        let Some(path) = self.address.path() else { return Ok(()) };
        if writer.log.is_some() && FileIdentity::of(&log_of(path)) == writer.log {
            return Ok(());
        }
        if writer.log.is_none() {
            // SQLite makes it with the first look at the tables.
            writer.log = FileIdentity::of(&log_of(path));
            return Ok(());
        }
        if !writer.is_rescued {
            match checkpoint(&writer.connection) {
                Ok(()) => writer.is_rescued = true,
                Err(failure) => {
                    let error = failure.into_store_error(self.label_text());
                    tracing::error!(%error, "what was committed to a deleted write-ahead log could not be written into the SQLite file");
                }
            }
        }
        Err(guest::deleted_log(path, writer.is_rescued).into())
    }

    /// Looks whether the file is still there, and its log if it is open.
    async fn check(&self) -> Result<()> {
        let _turn = self.writing.lock().await;
        let checked = match &mut *lock(&self.writer) {
            Writer::Open(writer) => self.still_there().and_then(|()| self.log_is_still_there(writer)),
            Writer::Resting | Writer::Closed => Ok(()),
        };
        checked.map_err(|failure| failure.into_store_error(self.label_text()))
    }

    fn replaced(&self) -> Failure {
        long::replaced(self.label_text())
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
            let written = {
                let _turn = self.writing.lock().await;
                self.write_once(durability, &mut work)
            };
            let result = match written {
                Err(Failure::Resting) => match self.reopen().await {
                    Ok(()) => continue,
                    Err(failure) => Err(failure),
                },
                result => result,
            };
            match result {
                Err(failure) if failure.is_busy() && begun.elapsed() < PATIENCE => {}
                Err(failure) if failure.is_short_of_descriptors() && begun.elapsed() < PATIENCE => {
                    files::evict().await;
                }
                result => return result.map_err(|failure| failure.into_store_error(self.label_text())),
            }
            self.wait(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    async fn wait(&self, duration: Duration) {
        pause(&self.runtime, duration).await;
    }

    fn write_once<T>(
        &self,
        durability: Durability,
        work: &mut impl FnMut(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut writer = lock(&self.writer);
        let writer = match &mut *writer {
            Writer::Open(writer) => writer,
            Writer::Resting => return Err(Failure::Resting),
            Writer::Closed => return Err(self.closed()),
        };
        if let Some(file) = &self.file {
            file.touch();
        }
        self.still_there()?;
        self.log_is_still_there(writer)?;
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

    /// Runs `work`, which may take long, on one snapshot of the file: on a thread and a connection of its own.
    async fn read_long<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> Result<T, Failure> + Send + Sync + 'static,
    ) -> Result<T> {
        let Some(long) = &self.long else { return self.read(work).await };
        if let Some(file) = &self.file {
            file.touch();
        }
        let begun = Instant::now();
        let read = async {
            // Held before it is looked whether the file is open: it does not rest from here on.
            let turn = long.turn(begun).await?;
            self.awake(|| match self.writer.try_lock().as_deref() {
                Ok(Writer::Resting) => Err(Failure::Resting),
                Ok(Writer::Closed) => Err(self.closed()),
                // Who has it locked has it open.
                Ok(Writer::Open(_)) | Err(_) => Ok(()),
            })
            .await?;
            long.read(begun, turn, self.identity, work).await
        };
        read.await.map_err(|failure: Failure| failure.into_store_error(self.label_text()))
    }

    /// Runs `work` on one snapshot of the file, without waiting for the writer.
    async fn read<T>(&self, work: impl Fn(&Connection) -> Result<T, Failure> + Send + Sync) -> Result<T> {
        if let Some(file) = &self.file {
            file.touch();
        }
        let _turn = self.reading.lock().await;
        self.awake(|| {
            let mut reader = lock(&self.reader);
            if matches!(*reader, Reader::Absent) {
                *reader = self.open_reader()?;
            }
            self.read_from(&reader, &work)
        })
        .await
    }

    /// Runs `work` on one snapshot of the file; what is short enough not to keep the writer waiting. So a file in which nothing happens
    /// has one connection.
    async fn glance<T>(&self, work: impl Fn(&Connection) -> Result<T, Failure> + Send + Sync) -> Result<T> {
        let _turn = self.reading.lock().await;
        self.awake(|| {
            let mut reader = lock(&self.reader);
            if matches!(*reader, Reader::Absent) {
                match self.writer.try_lock().as_deref() {
                    Ok(Writer::Open(writer)) => return snapshot(&writer.connection, &work),
                    Ok(Writer::Resting) => return Err(Failure::Resting),
                    Ok(Writer::Closed) => return Err(self.closed()),
                    Err(_) => *reader = self.open_reader()?,
                }
            }
            self.read_from(&reader, &work)
        })
        .await
    }

    fn read_from<T>(
        &self,
        reader: &Reader,
        work: impl Fn(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match reader {
            Reader::Own(connection) => snapshot(connection, work),
            Reader::Writer | Reader::Absent => match &*lock(&self.writer) {
                Writer::Open(writer) => snapshot(&writer.connection, work),
                Writer::Resting => Err(Failure::Resting),
                Writer::Closed => Err(self.closed()),
            },
            Reader::Closed => Err(self.closed()),
        }
    }

    fn open_reader(&self) -> Result<Reader, Failure> {
        let Some(path) = self.address.path() else { return Ok(Reader::Writer) };
        match *lock(&self.writer) {
            Writer::Open(_) => {}
            Writer::Resting => return Err(Failure::Resting),
            Writer::Closed => return Err(self.closed()),
        }
        let connection = connect::open_reader(path)?;
        self.still_there()?;
        Ok(Reader::Own(connection))
    }

    /// Runs `work`, after the file was opened again if it is at rest.
    async fn awake<T>(&self, work: impl Fn() -> Result<T, Failure> + Send) -> Result<T> {
        let begun = Instant::now();
        loop {
            let failure = match work() {
                Err(Failure::Resting) => match self.reopen().await {
                    Ok(()) => continue,
                    Err(failure) if failure.is_busy() && begun.elapsed() < PATIENCE => {
                        self.wait(SHORT_WAIT).await;
                        continue;
                    }
                    Err(failure) => failure,
                },
                Err(failure) => failure,
                Ok(value) => return Ok(value),
            };
            if failure.is_short_of_descriptors() && begun.elapsed() < PATIENCE {
                files::evict().await;
                self.wait(SHORT_WAIT).await;
                continue;
            }
            return Err(failure.into_store_error(self.label_text()));
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        let (reader, writer) = self.take();
        if !matches!(writer, Writer::Closed) {
            self.sign_off(&writer);
        }
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

impl OpenWriter {
    fn new(connection: Connection) -> Result<Self, Failure> {
        connection.busy_timeout(SHORT_WAIT)?;
        let seen_version = data_version(&connection)?;
        let log = connection
            .path()
            .filter(|path| !path.is_empty())
            .and_then(|path| FileIdentity::of(&log_of(path.as_ref())));
        Ok(Self { connection, durability: Durability::Full, seen_version, log, is_rescued: false })
    }
}

/// The writer is the last to go: it is the one that may remove the log.
fn fold(reader: Reader, writer: Writer) -> Result<(), Failure> {
    if let Reader::Own(connection) = reader {
        connection.close().map_err(|(_, error)| error)?;
    }
    if let Writer::Open(writer) = writer {
        let OpenWriter { connection, .. } = *writer;
        checkpoint(&connection)?;
        connection.close().map_err(|(_, error)| error)?;
    }
    Ok(())
}

/// Writes the log back into the file.
fn checkpoint(connection: &Connection) -> Result<(), Failure> {
    // Whether the log was emptied (0) or somebody else is reading from it (1) makes no difference: then that one will do it.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))?;
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

async fn pause(runtime: &Handle, duration: Duration) {
    let sleep = {
        // Whoever polls this future need not have a timer.
        let _context = runtime.enter();
        tokio::time::sleep(duration)
    };
    sleep.await;
}

/// The runtime of all stores of this process.
fn runtime() -> Result<Handle> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4);
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            // For opening and closing files, and for what may take long, so that neither waits for the other.
            .max_blocking_threads(threads + long::AT_ONCE)
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
        self.write(Durability::Full, |connection| {
            let (now, ahead) = match flush.now {
                Some(now) => (now.as_microsecond(), 0),
                None => self.clock.now_and_ahead(),
            };
            flush::flush(connection, flush, now, ahead)
        })
        .await
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
            execution::control(connection, place.tenant, execution, &control, self.micros(now))
        })
        .await
    }

    async fn execution_overdue(
        &self,
        place: &Place,
        known: &Arc<[WorkflowKey]>,
        grace: Duration,
        now: Option<Timestamp>,
    ) -> Result<Vec<(ExecutionId, WorkflowKey)>> {
        self.own(place)?;
        let grace = i64::try_from(grace.as_micros()).unwrap_or(i64::MAX);
        let before = self.micros(now).saturating_sub(grace);
        let (tenant, known) = (place.tenant, Arc::clone(known));
        self.read_long(move |connection| execution::overdue(connection, tenant, &known, before)).await
    }

    async fn execution_orphaned(
        &self,
        place: &Place,
        known: &Arc<[WorkflowKey]>,
    ) -> Result<Vec<(ExecutionId, WorkflowKey)>> {
        self.own(place)?;
        let (tenant, known) = (place.tenant, Arc::clone(known));
        self.read_long(move |connection| execution::orphaned(connection, tenant, &known)).await
    }

    async fn place_repair(&self, place: &Place, now: Option<Timestamp>) -> Result<Repaired> {
        self.own(place)?;
        let tenant = place.tenant;
        let (runners, stuck) =
            self.read_long(move |connection| execution::broken(connection, tenant)).await?;
        if runners.is_empty() && stuck.is_empty() {
            return Ok(Repaired::default());
        }
        self.write(Durability::Full, |connection| {
            let mut repaired = Repaired::default();
            for runner in &runners {
                for place in runner::rescue(connection, place, *runner, self.micros(now))? {
                    repaired.rescued.extend(place.executions);
                    repaired.tasks += place.tasks;
                }
            }
            for execution in &stuck {
                if flush::execution_close(connection, place.tenant, *execution, self.micros(now))?.is_some() {
                    repaired.closed.push(*execution);
                }
            }
            Ok(repaired)
        })
        .await
    }

    async fn place_figures(&self, place: &Place, now: Option<Timestamp>) -> Result<PlaceFigures> {
        self.own(place)?;
        let (tenant, now) = (place.tenant, self.micros(now));
        self.read_long(move |connection| execution::figures(connection, tenant, now)).await
    }

    async fn execution_count(&self, place: &Place, at_most: usize) -> Result<usize> {
        self.own(place)?;
        self.read(|connection| execution::count(connection, place.tenant, at_most)).await
    }

    async fn execution_expire(&self, place: &Place, now: Option<Timestamp>) -> Result<Vec<ExecutionId>> {
        self.own(place)?;
        self.write(Durability::Full, |connection| {
            execution::expire(connection, place.tenant, self.micros(now))
        })
        .await
    }

    async fn execution_load(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<ExecutionRecord>> {
        self.own(place)?;
        self.read(|connection| execution::load(connection, place.tenant, executions)).await
    }

    async fn execution_headers(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<ExecutionHeader>> {
        self.own(place)?;
        self.read(|connection| execution::headers(connection, place.tenant, executions)).await
    }

    async fn execution_find(
        &self,
        place: &Place,
        workflow: &str,
        key: &str,
    ) -> Result<Option<(ExecutionId, i64)>> {
        self.own(place)?;
        self.read(|connection| execution::find(connection, place.tenant, workflow, key)).await
    }

    async fn execution_list(&self, place: &Place, list: &ExecutionList) -> Result<Vec<ExecutionHeader>> {
        self.own(place)?;
        let (tenant, list) = (place.tenant, list.clone());
        self.read_long(move |connection| execution::list(connection, tenant, &list)).await
    }

    async fn attempt_list(&self, place: &Place, execution: ExecutionId) -> Result<Option<AttemptList>> {
        self.own(place)?;
        let tenant = place.tenant;
        self.read_long(move |connection| execution::attempts(connection, tenant, execution)).await
    }

    async fn task_held(&self, place: &Place, runner: RunnerId) -> Result<Vec<Claimed>> {
        self.own(place)?;
        self.read(|connection| {
            let held = execution::held(connection, place.tenant, runner)?;
            Ok(held.into_iter().map(|held| held.claimed).collect())
        })
        .await
    }

    async fn execution_prune(
        &self,
        place: &Place,
        retention: Duration,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<usize> {
        self.own(place)?;
        let tenant = place.tenant;
        let retention = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
        let before = now.map_or_else(|| self.clock.believed(), Timestamp::as_microsecond);
        let before = before.saturating_sub(retention);
        let over =
            self.read_long(move |connection| execution::over(connection, tenant, before, limit)).await?;
        if over.is_empty() && now.is_none() {
            self.say_what_is_kept(retention, before).await?;
        }
        let mut pruned = 0;
        for some in over.chunks(PRUNE_CHUNK) {
            pruned += self
                .write(Durability::Full, |connection| execution::prune(connection, tenant, before, some))
                .await?;
        }
        Ok(pruned)
    }

    async fn bell_due(&self, now: Option<Timestamp>) -> Result<Bells> {
        // A writer that is busy is asked the next time: a flush says more than a hint.
        self.look_for_others();
        self.glance(|connection| doorbell::due(connection, self.place.tenant, self.micros(now))).await
    }

    async fn bell_lower(&self, places: &[Arc<Place>], now: Option<Timestamp>) -> Result<Vec<NextDue>> {
        let mut next = Vec::with_capacity(places.len());
        for place in places {
            self.own(place)?;
            next.push(
                self.glance(|connection| doorbell::next(connection, place.tenant, self.micros(now))).await?,
            );
        }
        Ok(next)
    }

    async fn runner_register(&self, runner: &RunnerRegistration, now: Option<Timestamp>) -> Result<()> {
        self.write(Durability::Full, |connection| runner::register(connection, runner, self.micros(now)))
            .await
    }

    async fn runner_heartbeat(
        &self,
        runner: RunnerId,
        workflows: &Arc<[WorkflowKey]>,
        now: Option<Timestamp>,
    ) -> Result<Liveness> {
        self.write(Durability::Process, |connection| {
            runner::heartbeat(connection, runner, workflows, self.micros(now))
        })
        .await
    }

    async fn runner_list(&self) -> Result<Vec<RunnerRecord>> {
        self.glance(runner::list).await
    }

    async fn runner_condemn(&self, runner: RunnerId, beat: i64) -> Result<bool> {
        self.write(Durability::Full, |connection| runner::condemn(connection, runner, beat)).await
    }

    async fn runner_rescue(&self, runner: RunnerId, now: Option<Timestamp>) -> Result<Vec<RescuedPlace>> {
        self.write(Durability::Full, |connection| {
            runner::rescue(connection, &self.place, runner, self.micros(now))
        })
        .await
    }

    async fn runner_retire(&self, runner: RunnerId) -> Result<()> {
        self.write(Durability::Full, |connection| {
            runner::retire(connection, self.place.tenant, runner, self.clock.now())
        })
        .await
    }

    fn rests(&self) -> bool {
        self.file.is_some()
    }

    async fn pressed(&self) {
        match &self.file {
            Some(file) => file.pressed().await,
            None => std::future::pending().await,
        }
    }

    async fn rest(&self) -> Result<bool> {
        match self.lie_down().await {
            // What somebody else wrote since it was closed was not seen.
            Err(Failure::Resting) => self.reopen().await.map(|()| false),
            result => result,
        }
        .map_err(|failure| failure.into_store_error(self.label_text()))
    }

    async fn close(&self) -> Result<()> {
        SqliteStore::close(self).await
    }
}
