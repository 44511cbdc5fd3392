//! A file that is open, or at rest.

mod access;
mod calls;
mod rest;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use cloacina_core::store::{Place, Result, StoreError, StoreErrorKind};
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::address::{FileIdentity, SqliteAddress};
use crate::connect::{self, PATIENCE};
use crate::descriptors::are_descriptors_short;
use crate::error::Failure;
use crate::files::{self, OpenFile, log_of};
use crate::long::{self, LongReads};
use crate::migrate::{MIGRATIONS, migrate};
use crate::registry::Holder;
use crate::release::release;
use crate::runtime::{on_blocking_thread, pause, runtime};
use crate::schedule::Moment;
use crate::time::{self, FileClock, micros};
use crate::transaction::{checkpoint, data_version};

/// How long SQLite itself waits for the lock on the file, and with it a thread of the shared runtime. Beyond
/// that we wait without one.
const SHORT_WAIT: Duration = Duration::from_millis(5);

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
    /// SQLite's count of what other connections committed, when the engine last looked at the bell.
    seen_version: i64,
    /// The same, when the engine was last told to look.
    told_version: i64,
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
    /// It may be lost with the machine, not with the process. For what means nothing once the machine has
    /// lost its power: heartbeats.
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
    /// [`StoreErrorKind::Configuration`] for an address that cannot be used, [`StoreErrorKind::Place`] for a
    /// file that cannot be used, [`StoreErrorKind::Version`] for one that was made by a newer program,
    /// [`StoreErrorKind::Transient`] if somebody else has it locked.
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
                        && are_descriptors_short() =>
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
            let tenant = migrate(&connection, &label, MIGRATIONS, now)?;
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
        let name = address.place_name();
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
            file.of(Arc::<Self>::downgrade(&store));
        }
        Ok(store)
    }

    /// The address that this store was opened with.
    #[must_use]
    pub fn address(&self) -> &SqliteAddress {
        &self.address
    }

    /// Folds the write-ahead log into the file and closes it. Unless somebody else has the file open, only
    /// the file itself is left.
    ///
    /// Waits for the call that is under way; a list or the like is given up. Later calls fail with
    /// [`StoreErrorKind::Place`]; a second `close` is `Ok`. Dropping the future does not stop it. Dropping
    /// the store closes it as well.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Place`] if the log could not be written back. Nothing is lost then: it is read when
    /// the file is opened again.
    pub async fn close(&self) -> Result<()> {
        release(self.address.path()).await;
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
        let reader = std::mem::replace(&mut *self.reader.lock(), Reader::Closed);
        let writer = std::mem::replace(&mut *self.writer.lock(), Writer::Closed);
        (reader, writer)
    }

    /// The time of a transaction, as it is stored.
    /// The time of a transaction. A test's clock is that on the wall.
    fn moment(&self, now: Option<Timestamp>) -> Moment {
        match now {
            Some(now) => Moment { now: now.as_microsecond(), ahead: 0 },
            None => {
                let (now, ahead) = self.clock.now_and_ahead();
                Moment { now, ahead }
            }
        }
    }

    fn micros(&self, now: Option<Timestamp>) -> i64 {
        now.map_or_else(|| self.clock.now(), Timestamp::as_microsecond)
    }

    /// Sets the wall clock of this store forward or back; for tests.
    #[doc(hidden)]
    pub fn shift_clock(&self, by: jiff::SignedDuration) {
        self.clock.shift(i64::try_from(by.as_micros()).unwrap_or(i64::MAX));
    }

    /// The place of the file's tenant.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    fn hint(&self) {
        self.hints.send_modify(|hints| *hints = hints.wrapping_add(1));
    }

    pub(crate) fn label_text(&self) -> &str {
        self.address.label()
    }

    fn closed(&self) -> Failure {
        long::closed(self.label_text())
    }

    /// A file that was deleted or replaced can still be written to as long as it is open, and everything
    /// would be gone with the process.
    fn still_there(&self) -> Result<(), Failure> {
        match self.address.path() {
            Some(path) if FileIdentity::of(path) != self.identity => Err(self.replaced()),
            _ => Ok(()),
        }
    }

    fn replaced(&self) -> Failure {
        long::replaced(self.label_text())
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
        Ok(Self {
            connection,
            durability: Durability::Full,
            seen_version,
            told_version: seen_version,
            log,
            is_rescued: false,
        })
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
