//! How a store uses its database.

use std::sync::LazyLock;
use std::time::Duration;

use cloacina_core::store::{Result, StoreError, StoreErrorKind};
use tokio::runtime::{Handle, Runtime};

use crate::migrations::Migration;

/// How a [`PostgresStore`](crate::PostgresStore) uses its database.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The most connections to keep.
    ///
    /// Up to four are lanes for flushes, one listens, one is the engine's own, the others serve everything
    /// else. Fewer lanes write less at once; more connections than the server has to spare keep others out.
    /// Where the server lets us have fewer, those that there are take turns.
    ///
    /// Defaults to 10.
    pub max_connections: u32,
    /// Where the store's work runs. It must have its I/O and time drivers enabled.
    ///
    /// Defaults to a runtime with one thread, `cloacina-hub`, that all stores of the process share: a task
    /// that blocks the caller's threads then cannot keep heartbeats and commits from being sent.
    pub runtime: Option<Handle>,
    /// How long a lane waits for a lock, for tests of what happens after such a wait.
    #[doc(hidden)]
    pub lane_patience: Option<Duration>,
    /// Further scripts for places, for tests of migrations.
    #[doc(hidden)]
    pub further_migrations: Vec<Migration>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { max_connections: 10, runtime: None, lane_patience: None, further_migrations: Vec::new() }
    }
}

static HUB: LazyLock<std::io::Result<Runtime>> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("cloacina-hub")
        .enable_all()
        .build()
});

impl PostgresOptions {
    pub(crate) fn runtime(&self) -> Result<Handle> {
        if let Some(runtime) = &self.runtime {
            return Ok(runtime.clone());
        }
        match &*HUB {
            Ok(runtime) => Ok(runtime.handle().clone()),
            Err(error) => {
                let message = format!("the runtime of the engine cannot be started: {error}");
                Err(StoreError::new(StoreErrorKind::Internal, message))
            }
        }
    }
}
