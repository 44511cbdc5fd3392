//! Reads that may take long: lists, figures, and searches through what is over.
//!
//! They run on threads and connections of their own, so that what the engine asks of any file never waits for
//! them. A file has a few at once, and the process has a few more; the files take turns. Each has a deadline,
//! and ends when nobody waits for it any more.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use cloacina_core::store::{StoreError, StoreErrorKind};
use rusqlite::{Connection, ErrorCode};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::address::FileIdentity;
use crate::connect;
use crate::error::Failure;
use crate::runtime::{LONG_AT_ONCE, long_runtime};
use crate::transaction::snapshot;

/// How many of one file run at once.
const AT_ONCE_OF_A_FILE: usize = 2;

/// How long one may take, its turn included. What PostgreSQL's sessions have as their `statement_timeout`.
const DEADLINE: Duration = Duration::from_secs(30);

/// How many steps of SQLite's machine there are between two looks at the time: some hundred microseconds.
const STEPS: i32 = 10_000;

static PROCESS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(LONG_AT_ONCE)));

/// The long reads of one file.
pub(crate) struct LongReads {
    path: PathBuf,
    label: String,
    runtime: Handle,
    deadline: Duration,
    /// One for each that may be under way; closed with the file.
    turns: Arc<Semaphore>,
    is_closed: Arc<AtomicBool>,
}

/// Tells the thread that nobody waits for the answer any more.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl LongReads {
    pub(crate) fn new(path: PathBuf, label: String, runtime: Handle) -> Self {
        Self {
            path,
            label,
            runtime,
            deadline: DEADLINE,
            turns: Arc::new(Semaphore::new(AT_ONCE_OF_A_FILE)),
            is_closed: Arc::default(),
        }
    }

    /// Whether one is under way or about to be.
    pub(crate) fn any(&self) -> bool {
        self.turns.available_permits() < AT_ONCE_OF_A_FILE
    }

    /// Ends those that are under way, and waits until their connections are closed.
    pub(crate) async fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        let all = u32::try_from(AT_ONCE_OF_A_FILE).unwrap_or(u32::MAX);
        if self.turns.acquire_many(all).await.is_ok() {
            self.turns.close();
        }
    }

    /// Waits until one may be under way; it counts as such until the turn is dropped.
    pub(crate) async fn turn(&self, begun: Instant) -> Result<OwnedSemaphorePermit, Failure> {
        let turn = self.before_deadline(begun, Arc::clone(&self.turns).acquire_owned()).await?;
        turn.map_err(|_| closed(&self.label))
    }

    async fn before_deadline<T>(&self, begun: Instant, work: impl Future<Output = T>) -> Result<T, Failure> {
        let left = self.deadline.saturating_sub(begun.elapsed());
        let timeout = {
            // Whoever polls this future need not have a timer.
            let _context = self.runtime.enter();
            tokio::time::timeout(left, work)
        };
        timeout.await.map_err(|_| too_long(&self.label, self.deadline))
    }

    /// Runs `work` on one snapshot of the file, with a connection of its own. The file stays open as long as
    /// the turn is held.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        begun: Instant,
        turn: OwnedSemaphorePermit,
        identity: Option<FileIdentity>,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let Ok(slot) = self.before_deadline(begun, Arc::clone(&PROCESS).acquire_owned()).await? else {
            return Err(closed(&self.label));
        };
        let wanted = Wanted(Arc::new(AtomicBool::new(true)));
        let (path, label, limit) = (self.path.clone(), self.label.clone(), self.deadline);
        let (is_wanted, is_closed) = (Arc::clone(&wanted.0), Arc::clone(&self.is_closed));
        let read = long_runtime()?.spawn_blocking(move || {
            let result = connect::open_reader(&path).and_then(|connection| {
                if FileIdentity::of(&path) != identity {
                    return Err(replaced(&label));
                }
                let is_over = {
                    let (is_wanted, is_closed) = (Arc::clone(&is_wanted), Arc::clone(&is_closed));
                    move || {
                        begun.elapsed() >= limit
                            || !is_wanted.load(Ordering::Relaxed)
                            || is_closed.load(Ordering::Relaxed)
                    }
                };
                connection.progress_handler(STEPS, Some(is_over))?;
                snapshot(&connection, work)
            });
            // The connection is closed by now.
            drop((turn, slot));
            match result {
                Err(failure) if failure.is_interrupt() && is_closed.load(Ordering::Relaxed) => {
                    Err(closed(&label))
                }
                Err(failure) if failure.is_interrupt() => Err(too_long(&label, limit)),
                result => result,
            }
        });
        let read = read.await;
        drop(wanted);
        read.unwrap_or_else(|error| {
            Err(StoreError::new(StoreErrorKind::Internal, "a read of a SQLite file panicked")
                .with_source(error)
                .into())
        })
    }
}

impl Failure {
    fn is_interrupt(&self) -> bool {
        matches!(
            self,
            Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
        )
    }
}

fn too_long(label: &str, limit: Duration) -> Failure {
    StoreError::new(
        StoreErrorKind::Busy,
        format!(
            "what was asked of the SQLite file {label} takes too long, it was given up after {limit:?}; ask for less, prune what is over, \
             or try again when less is asked at once"
        ),
    )
    .into()
}

pub(crate) fn closed(label: &str) -> Failure {
    StoreError::new(StoreErrorKind::Place, format!("the SQLite file {label} was closed by this process"))
        .into()
}

pub(crate) fn replaced(label: &str) -> Failure {
    StoreError::new(
        StoreErrorKind::Place,
        format!(
            "the SQLite file {label} was deleted or replaced while it was open; close what uses it before you do that"
        ),
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts for ever.
    const ENDLESS: &str =
        "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";

    fn endless(connection: &Connection) -> Result<i64, Failure> {
        Ok(connection.query_row(ENDLESS, [], |row| row.get(0))?)
    }

    fn reads(deadline: Duration) -> (tempfile::TempDir, LongReads) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acme.db");
        Connection::open(&path).unwrap().pragma_update(None, "journal_mode", "WAL").unwrap();
        let mut reads = LongReads::new(path, "acme.db".into(), Handle::current());
        reads.deadline = deadline;
        (directory, reads)
    }

    async fn read(reads: &LongReads) -> Result<i64, Failure> {
        let begun = Instant::now();
        let turn = reads.turn(begun).await?;
        reads.read(begun, turn, FileIdentity::of(&reads.path), endless).await
    }

    #[tokio::test]
    async fn what_takes_too_long_is_given_up_and_may_be_tried_again() {
        let (_directory, reads) = reads(Duration::from_millis(50));
        let all = [read(&reads), read(&reads), read(&reads)];
        for result in futures_of(all).await {
            let error = result.unwrap_err().into_store_error("acme.db");
            assert_eq!(error.kind(), StoreErrorKind::Busy);
            assert!(error.to_string().contains("takes too long"), "{error}");
        }
    }

    async fn futures_of<F: Future<Output = Result<i64, Failure>>>(all: [F; 3]) -> [Result<i64, Failure>; 3] {
        let [a, b, c] = all;
        tokio::join!(a, b, c).into()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn long_reads_give_way_to_everything_else() {
        let (_directory, reads) = reads(DEADLINE);
        let begun = Instant::now();
        let turn = reads.turn(begun).await.unwrap();
        let niceness = |_: &Connection| Ok(rustix::process::getpriority_process(None).unwrap());
        let theirs = reads.read(begun, turn, FileIdentity::of(&reads.path), niceness).await.unwrap();
        let ours = rustix::process::getpriority_process(None).unwrap();
        assert!(theirs > ours || ours == 19, "{theirs}, {ours}");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_ends() {
        let (_directory, reads) = reads(Duration::from_secs(3600));
        {
            let asked = read(&reads);
            tokio::pin!(asked);
            // Until it runs on its thread.
            while !reads.any() || reads.turns.available_permits() == AT_ONCE_OF_A_FILE {
                tokio::select! {
                    biased;
                    _ = &mut asked => panic!("it ended"),
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        let all = u32::try_from(AT_ONCE_OF_A_FILE).unwrap();
        drop(reads.turns.acquire_many(all).await.unwrap());
    }

    #[tokio::test]
    async fn closing_ends_what_is_under_way() {
        let (_directory, reads) = reads(Duration::from_secs(3600));
        let (result, ()) = tokio::join!(read(&reads), async {
            tokio::task::yield_now().await;
            reads.close().await;
        });
        let error = result.unwrap_err().into_store_error("acme.db");
        assert_eq!(error.kind(), StoreErrorKind::Place, "{error}");
        assert!(read(&reads).await.is_err());
    }
}
