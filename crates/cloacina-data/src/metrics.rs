//! What a tenant's data is used for, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What this process did on one tenant's data since it first used it. See
/// [`TenantDb::metrics`](crate::TenantDb::metrics).
///
/// All of them but [`open_transactions`](Self::open_transactions) only grow. Read while transactions run,
/// they may be one apart from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DataMetrics {
    /// The transactions that are open now.
    pub open_transactions: u64,
    /// The transactions that were committed, those of transactional tasks included.
    pub committed: u64,
    /// The transactions of which nothing was written: their work failed, or was dropped.
    pub rolled_back: u64,
    /// The transactions whose commit was not answered, so that nobody here knows whether they were committed.
    pub unknown: u64,
    /// The statements that the database ran, of transactions that were rolled back as well. Savepoints, and
    /// what begins and ends a transaction, are not counted.
    pub statements: u64,
    /// The rows that they returned or changed.
    pub rows: u64,
    /// The statements that were refused before they reached the database.
    pub refused: u64,
    /// What the database, or the way to it, answered with an error: transactions that could not be begun,
    /// statements, and commits.
    pub failed: u64,
    /// How long the statements took. Divided by [`statements`](Self::statements): on average.
    pub statement_time: Duration,
    /// How long transactions waited to begin: for a connection, for the database's answer, and in a SQLite
    /// file for those that write before them.
    pub begin_time: Duration,
}

/// The same, as it is counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    begun: AtomicU64,
    ended: AtomicU64,
    committed: AtomicU64,
    unknown: AtomicU64,
    statements: AtomicU64,
    rows: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    statement_nanos: AtomicU64,
    begin_nanos: AtomicU64,
}

impl Counters {
    pub(crate) fn begun(&self) {
        add(&self.begun, 1);
    }

    /// However a transaction ended.
    pub(crate) fn ended(&self) {
        add(&self.ended, 1);
    }

    pub(crate) fn committed(&self) {
        add(&self.committed, 1);
    }

    pub(crate) fn unknown(&self) {
        add(&self.unknown, 1);
    }

    pub(crate) fn waited_to_begin(&self, time: Duration) {
        add(&self.begin_nanos, nanos(time));
    }

    pub(crate) fn ran(&self, rows: u64, time: Duration) {
        add(&self.statements, 1);
        add(&self.rows, rows);
        add(&self.statement_nanos, nanos(time));
    }

    pub(crate) fn refused(&self) {
        add(&self.refused, 1);
    }

    pub(crate) fn failed(&self) {
        add(&self.failed, 1);
    }

    pub(crate) fn read(&self) -> DataMetrics {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // What ends is read before what begins, and a transaction is committed before it ends: no difference
        // is less than nothing for long.
        let (ended, committed, unknown) = (of(&self.ended), of(&self.committed), of(&self.unknown));
        DataMetrics {
            open_transactions: of(&self.begun).saturating_sub(ended),
            committed,
            rolled_back: ended.saturating_sub(committed + unknown),
            unknown,
            statements: of(&self.statements),
            rows: of(&self.rows),
            refused: of(&self.refused),
            failed: of(&self.failed),
            statement_time: Duration::from_nanos(of(&self.statement_nanos)),
            begin_time: Duration::from_nanos(of(&self.begin_nanos)),
        }
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
