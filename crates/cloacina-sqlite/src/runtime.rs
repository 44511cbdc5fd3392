//! The threads of all stores of this process.

use std::sync::OnceLock;
use std::time::Duration;

use cloacina_core::store::{Result, StoreError, StoreErrorKind};
use tokio::runtime::{Handle, Runtime};

use crate::long::AT_ONCE;

/// Sleeps; whoever polls this need not have a timer.
pub(crate) async fn pause(runtime: &Handle, duration: Duration) {
    let sleep = {
        let _context = runtime.enter();
        tokio::time::sleep(duration)
    };
    sleep.await;
}

/// The runtime of all stores of this process.
pub(crate) fn runtime() -> Result<Handle> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4);
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            // For opening and closing files, and for what may take long, so that neither waits for the other.
            .max_blocking_threads(threads + AT_ONCE)
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

/// Does work that may take a while on a thread of its own.
pub(crate) async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match runtime()?.spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            Err(StoreError::new(StoreErrorKind::Internal, "a call into SQLite panicked").with_source(error))
        }
    }
}
