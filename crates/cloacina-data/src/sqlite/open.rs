//! A connection with a transaction open on it, what the engine writes there, and those that are kept.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use cloacina_core::id::ExecutionId;
use cloacina_core::store::{Flush, Flushed, NewSignal, Place, SignalSent, SignalTarget};
use cloacina_sqlite::Opened;
use parking_lot::Mutex;
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tokio::sync::OwnedMutexGuard;

use crate::error::FlushError;

/// How many connections that nobody uses are kept open, over all files.
const IDLE: usize = 16;

static KEPT: Mutex<VecDeque<Kept>> = Mutex::new(VecDeque::new());

/// A connection that nobody uses.
pub(super) struct Kept {
    path: PathBuf,
    pub(super) opened: Opened,
    pub(super) connection: SqliteConnection,
}

/// A connection with a transaction.
pub(crate) struct Open {
    pub(super) path: PathBuf,
    pub(super) opened: Opened,
    pub(super) connection: SqliteConnection,
    /// Held by a transaction that may write, until it has ended.
    pub(super) _turn: Option<OwnedMutexGuard<()>>,
}

impl Open {
    pub(crate) fn driver(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// A file's statements stay prepared.
    pub(crate) fn keeps_statements(&self) -> bool {
        true
    }

    pub(super) async fn version(&mut self) -> sqlx::Result<i32> {
        let known: Option<i32> = sqlx::query_scalar(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'cloacina_data_migration'",
        )
        .fetch_optional(&mut self.connection)
        .await?;
        if known.is_none() {
            return Ok(0);
        }
        sqlx::query_scalar("SELECT coalesce(max(number), 0) FROM cloacina_data_migration")
            .fetch_one(&mut self.connection)
            .await
    }

    pub(crate) async fn flush(
        &mut self,
        flush: &Flush,
        signals: &[(ExecutionId, NewSignal)],
    ) -> Result<(Flushed, Vec<SignalSent>), FlushError> {
        let signals: Vec<NewSignal> = signals
            .iter()
            .map(|(execution, signal)| NewSignal { target: SignalTarget::Id(*execution), ..signal.clone() })
            .collect();
        let mut handle = self.connection.lock_handle().await?;
        let handle = handle.as_raw_handle().as_ptr();
        // SAFETY: the handle is locked for as long as it is used, and the transaction that is open on it
        // writes. It blocks this thread for some statements without a wait: the transaction has the write
        // lock already.
        #[allow(unsafe_code)]
        let flushed = unsafe { cloacina_sqlite::flush_as_guest(handle, &self.path, flush, &signals) };
        flushed.map_err(FlushError::Store)
    }

    pub(crate) async fn find(
        &mut self,
        place: &Place,
        workflow: &str,
        key: &str,
    ) -> Result<Option<(ExecutionId, i64)>, FlushError> {
        let mut handle = self.connection.lock_handle().await?;
        let handle = handle.as_raw_handle().as_ptr();
        // SAFETY: the handle is locked for as long as it is used.
        #[allow(unsafe_code)]
        let found = unsafe { cloacina_sqlite::find_as_guest(handle, place, workflow, key) };
        found.map_err(FlushError::Store)
    }

    pub(crate) async fn commit(mut self) -> sqlx::Result<()> {
        self.connection.execute("COMMIT").await?;
        self.keep().await;
        Ok(())
    }

    pub(crate) async fn rollback(mut self, _after_error: bool) {
        // What cannot be rolled back is closed, which does the same.
        if self.connection.execute("ROLLBACK").await.is_ok() {
            self.keep().await;
        }
    }

    async fn keep(self) {
        let Self { path, opened, connection, _turn } = self;
        let surplus = {
            let mut kept = KEPT.lock();
            kept.push_back(Kept { path, opened, connection });
            if kept.len() > IDLE { kept.pop_front() } else { None }
        };
        if let Some(surplus) = surplus {
            drop(surplus.connection.close().await);
        }
    }
}

/// A connection to a file that nobody uses.
pub(super) fn kept(path: &Path) -> Option<Kept> {
    let mut kept = KEPT.lock();
    let at = kept.iter().rposition(|kept| kept.path == path)?;
    kept.remove(at)
}

/// Closes the connections to a file that nobody uses.
pub(super) async fn release(path: &Path) {
    while let Some(kept) = kept(path) {
        drop(kept.connection.close().await);
    }
}
