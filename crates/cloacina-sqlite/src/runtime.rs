//! The threads of all stores of this process.

use std::sync::OnceLock;
use std::time::Duration;

use cloacina_core::store::{Result, StoreError, StoreErrorKind};
use tokio::runtime::{Handle, Runtime};

/// How many long reads run at once in a process.
pub(crate) const LONG_AT_ONCE: usize = 8;

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

/// The runtime of what may take long. Its threads give way to all others, so that whoever asks for much costs
/// only whoever else does.
pub(crate) fn long_runtime() -> Result<Handle> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(LONG_AT_ONCE)
            .thread_name("cloacina-long")
            .on_thread_start(give_way)
            .build()
            .inspect_err(|error| tracing::error!(%error, "the threads for long reads of SQLite files could not be started"))
            .ok()
    });
    match runtime {
        Some(runtime) => Ok(runtime.handle().clone()),
        None => Err(StoreError::new(
            StoreErrorKind::Internal,
            "the threads for long reads of SQLite files could not be started",
        )),
    }
}

/// Makes the calling thread give way to others: it gets a tenth of a processor that somebody else wants too.
/// On Linux that can be said of a thread, elsewhere of the process only.
fn give_way() {
    #[cfg(target_os = "linux")]
    const NICER: i32 = 10;
    #[cfg(target_os = "linux")]
    if let Ok(niceness) = rustix::process::getpriority_process(None) {
        // Nothing depends on it where it is not allowed.
        _ = rustix::process::setpriority_process(None, (niceness + NICER).min(19));
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
