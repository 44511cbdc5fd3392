//! Who may use the connections of a file when: one writes and one reads, the others wait without a thread.

use std::time::{Duration, Instant};

use cloacina_core::backoff::Backoff;
use cloacina_core::store::Result;
use rusqlite::Connection;

use super::{Durability, OpenWriter, Reader, SHORT_WAIT, SqliteStore, Writer};
use crate::address::FileIdentity;
use crate::connect::{self, PATIENCE};
use crate::error::{Failure, deleted_log};
use crate::files::{self, log_of};
use crate::runtime::pause;
use crate::transaction::{checkpoint, snapshot, transaction};

impl SqliteStore {
    /// A log that was deleted can still be written to, too, and what is committed to it is gone with the last
    /// connection. What was committed before that was noticed is written into the file.
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
        Err(deleted_log(path, writer.is_rescued).into())
    }

    /// Looks whether the file is still there, and its log if it is open.
    pub(super) async fn check_file(&self) -> Result<()> {
        let _turn = self.writing.lock().await;
        let checked = match &mut *self.writer.lock() {
            Writer::Open(writer) => self.still_there().and_then(|()| self.log_is_still_there(writer)),
            Writer::Resting | Writer::Closed => Ok(()),
        };
        checked.map_err(|failure| failure.into_store_error(self.label_text()))
    }

    /// Runs `work` in a transaction that writes. It is run again if it met a lock, of which nothing was left.
    pub(super) async fn write<T>(
        &self,
        durability: Durability,
        mut work: impl FnMut(&Connection) -> Result<T, Failure> + Send,
    ) -> Result<T> {
        let begun = Instant::now();
        let mut pause = Backoff::new(Duration::from_millis(1), Duration::from_millis(20));
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
            self.wait(pause.next()).await;
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
        let mut writer = self.writer.lock();
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

    /// Runs `work`, which may take long, on one snapshot of the file: on a thread and a connection of its
    /// own.
    pub(super) async fn read_long<T: Send + 'static>(
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
                Some(Writer::Resting) => Err(Failure::Resting),
                Some(Writer::Closed) => Err(self.closed()),
                // Who has it locked has it open.
                Some(Writer::Open(_)) | None => Ok(()),
            })
            .await?;
            long.read(begun, turn, self.identity, work).await
        };
        read.await.map_err(|failure: Failure| failure.into_store_error(self.label_text()))
    }

    /// Runs `work` on one snapshot of the file, without waiting for the writer.
    pub(super) async fn read<T>(
        &self,
        work: impl Fn(&Connection) -> Result<T, Failure> + Send + Sync,
    ) -> Result<T> {
        if let Some(file) = &self.file {
            file.touch();
        }
        let _turn = self.reading.lock().await;
        self.awake(|| {
            let mut reader = self.reader.lock();
            if matches!(*reader, Reader::Absent) {
                *reader = self.open_reader()?;
            }
            self.read_from(&reader, &work)
        })
        .await
    }

    /// Runs `work` on one snapshot of the file; what is short enough not to keep the writer waiting. So a
    /// file in which nothing happens has one connection.
    pub(super) async fn glance<T>(
        &self,
        work: impl Fn(&Connection) -> Result<T, Failure> + Send + Sync,
    ) -> Result<T> {
        let _turn = self.reading.lock().await;
        self.awake(|| {
            let mut reader = self.reader.lock();
            if matches!(*reader, Reader::Absent) {
                match self.writer.try_lock().as_deref() {
                    Some(Writer::Open(writer)) => return snapshot(&writer.connection, &work),
                    Some(Writer::Resting) => return Err(Failure::Resting),
                    Some(Writer::Closed) => return Err(self.closed()),
                    None => *reader = self.open_reader()?,
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
            Reader::Writer | Reader::Absent => match &*self.writer.lock() {
                Writer::Open(writer) => snapshot(&writer.connection, work),
                Writer::Resting => Err(Failure::Resting),
                Writer::Closed => Err(self.closed()),
            },
            Reader::Closed => Err(self.closed()),
        }
    }

    fn open_reader(&self) -> Result<Reader, Failure> {
        let Some(path) = self.address.path() else { return Ok(Reader::Writer) };
        match *self.writer.lock() {
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
