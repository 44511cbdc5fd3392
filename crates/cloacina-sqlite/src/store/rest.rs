//! Closing a file in which nothing happens, or for which there is no room, and opening it again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use cloacina_core::store::{self, DueKind};
use rusqlite::config::DbConfig;

use super::{OpenWriter, Reader, SqliteStore, Writer, fold};
use crate::error::Failure;
use crate::files::Footprint;
use crate::holds::Holds;
use crate::long::LongReads;
use crate::opener::Opener;
use crate::release::release;
use crate::runtime::pause;
use crate::transaction::{checkpoint, data_version};
use crate::{connect, doorbell, execution, migrate, runner, time};

/// How long a file has to look the same before it can be told by its looks that nobody wrote to it: longer
/// than the ticks of every file system's clock.
const SETTLE: Duration = Duration::from_millis(20);

impl SqliteStore {
    /// Closes the file until the next call, if nobody else wrote to it since the last look at the bell. False
    /// if somebody may have, or there is nothing that could be closed.
    pub(super) async fn lie_down(&self) -> Result<bool, Failure> {
        let (Some(file), Some(path)) = (&self.file, self.address.path()) else { return Ok(false) };
        release(Some(path)).await;
        match &*self.writer.lock() {
            Writer::Open(writer) => checkpoint(&writer.connection)?,
            Writer::Resting if !self.is_evicted.load(Ordering::Relaxed) => return Ok(true),
            Writer::Resting => return Err(Failure::Resting),
            Writer::Closed => return Err(self.closed()),
        }
        let before = Footprint::of(path);
        pause(&self.runtime, SETTLE).await;
        let mut reader = self.reader.lock();
        let mut writer = self.writer.lock();
        let Writer::Open(open) = &*writer else { return Ok(false) };
        if self.long.as_ref().is_some_and(LongReads::any) {
            return Ok(false);
        }
        // What is committed from here on shows in the looks of the file, what was before in the version.
        let after = Footprint::of(path);
        if let Some(holder) = &self.holder {
            let holds = Holds::of(&open.connection, self.place.tenant)?;
            holder.rested(self.next_due(open)?, Some(holds))?;
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

    /// Opens the file again after a rest.
    pub(super) async fn reopen(&self) -> Result<(), Failure> {
        let Some(file) = &self.file else { return Ok(()) };
        file.admit(&self.runtime).await;
        let mut writer = self.writer.lock();
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

    /// When somebody has to look at the file; at once if somebody may have died in it, or executions wait for
    /// code.
    fn next_due(&self, writer: &OpenWriter) -> Result<Option<i64>, Failure> {
        let connection = &writer.connection;
        if !runner::list(connection)?.is_empty() || execution::has_orphans(connection, self.place.tenant)? {
            return Ok(Some(0));
        }
        let next = doorbell::next(connection, self.place.tenant, DueKind::ALL, 0)?;
        // The registry goes by the wall clock.
        let ahead = self.clock.now_and_ahead().1;
        Ok(next.earliest().map(|next| next.as_microsecond().saturating_sub(ahead)))
    }

    /// Notes in the registry that this store is gone, and what it leaves. What fails stays noted as open, and
    /// is looked at.
    pub(super) fn sign_off(&self, writer: &Writer) {
        let Some(holder) = &self.holder else { return };
        let signed = (|| {
            if let Writer::Open(writer) = writer {
                let version = data_version(&writer.connection)?;
                let holds = Holds::of(&writer.connection, self.place.tenant)?;
                holder.rested(self.next_due(writer)?, Some(holds))?;
                if data_version(&writer.connection)? != version {
                    // Somebody wrote since it was read.
                    holder.rested(Some(0), None)?;
                }
            }
            holder.gone()
        })();
        if let Err(failure) = signed {
            let error = failure.into_store_error(self.label_text());
            tracing::warn!(%error, "a file was not signed off in the registry; it will be looked at");
        }
    }
}

impl SqliteStore {
    /// Hints if another connection wrote to the file since the engine was last told, and notes if the engine
    /// looks at the bell now. False if the writer is busy, and was not asked.
    pub(super) fn tell_of_others(&self, is_looking: bool) -> bool {
        let Some(mut writer) = self.writer.try_lock() else { return false };
        if let Writer::Open(writer) = &mut *writer
            // An error shows in the query that follows.
            && let Ok(version) = data_version(&writer.connection)
        {
            if version != writer.told_version {
                writer.told_version = version;
                self.hint();
            }
            if is_looking {
                writer.seen_version = version;
            }
        }
        true
    }
}

#[async_trait]
impl Opener for SqliteStore {
    async fn check(&self) -> store::Result<()> {
        self.check_file().await
    }

    fn now_and_ahead(&self) -> (i64, i64) {
        self.clock.now_and_ahead()
    }

    fn look_for_others(&self) -> bool {
        self.tell_of_others(false)
    }

    fn evict(&self) -> bool {
        let (Some(file), Some(long)) = (&self.file, &self.long) else { return false };
        let Some(mut reader) = self.reader.try_lock() else { return false };
        let Some(mut writer) = self.writer.try_lock() else { return false };
        let Writer::Open(open) = &*writer else { return false };
        if long.any() {
            return false;
        }
        if !data_version(&open.connection).is_ok_and(|version| version == open.told_version) {
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
}
