//! What a file holds, in so few words that the registry of a directory remembers it: which files a look over
//! all tenants has to read.

use std::time::Duration;

use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::TenantId;
use cloacina_core::store::{ENDS, ExecutionFilter, ExecutionList};
use rusqlite::{Connection, Row};

use crate::error::Failure;
use crate::execution;

const PLACE_HOLDS: &str = include_str!("../sql/place_holds.sql");

/// The states, in the order of their bits.
const STATES: [ExecutionStatus; 7] = [
    ExecutionStatus::Pending,
    ExecutionStatus::Running,
    ExecutionStatus::Waiting,
    ExecutionStatus::Paused,
    ExecutionStatus::Completed,
    ExecutionStatus::Failed,
    ExecutionStatus::Cancelled,
];

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Holds {
    pub(crate) states: i64,
    /// When the newest execution was recorded that failed.
    pub(crate) failed_at: Option<i64>,
    /// Whether something waits (1), and whether something asks (2).
    pub(crate) waits: i64,
    /// When the executions ended that have been kept longest, in the order of [`ENDS`].
    pub(crate) oldest: [Option<i64>; ENDS.len()],
}

impl Holds {
    /// What there is in a file.
    pub(crate) fn of(connection: &Connection, tenant: TenantId) -> Result<Self, Failure> {
        let bits = |row: &Row<'_>, columns: std::ops::Range<usize>| {
            columns.enumerate().try_fold(0, |bits, (bit, column)| {
                Ok::<i64, rusqlite::Error>(bits | (i64::from(row.get::<_, bool>(column)?) << bit))
            })
        };
        let (states, waits) = connection
            .prepare_cached(PLACE_HOLDS)?
            .query_row([tenant.0], |row| Ok((bits(row, 0..7)?, bits(row, 7..9)?)))?;
        let mut holds = Self { states, failed_at: None, waits, oldest: Default::default() };
        for (oldest, end) in holds.oldest.iter_mut().zip(ENDS) {
            *oldest = execution::oldest(connection, tenant, end)?;
        }
        if holds.has(&[ExecutionStatus::Failed]) {
            let filter = ExecutionFilter::all().status(ExecutionStatus::Failed);
            let newest =
                execution::list(connection, tenant, &ExecutionList { filter, before: None, limit: 1 })?;
            holds.failed_at = newest.first().map(|newest| newest.created_at.as_microsecond());
        }
        Ok(holds)
    }

    fn has(self, statuses: &[ExecutionStatus]) -> bool {
        let bits = STATES.iter().enumerate().filter(|(_, state)| statuses.contains(state));
        bits.fold(0, |bits, (bit, _)| bits | 1 << bit) & self.states != 0
    }

    /// Whether there may be executions of a filter.
    pub(crate) fn may_match(self, filter: &ExecutionFilter) -> bool {
        if filter.statuses.is_empty() {
            return self.states != 0;
        }
        let only_failed = filter.statuses.iter().all(|status| *status == ExecutionStatus::Failed);
        let is_old = || match (filter.since, self.failed_at) {
            (Some(since), Some(failed_at)) => failed_at < since.as_microsecond(),
            _ => false,
        };
        self.has(&filter.statuses) && !(only_failed && is_old())
    }

    /// How long before the time that there is for its end something ended, if anything did.
    pub(crate) fn late(self, before: &[Option<i64>; ENDS.len()]) -> Option<Duration> {
        let late = self.oldest.iter().zip(before).filter_map(|(at, before)| at.zip(*before));
        let late = late.map(|(at, before)| before.saturating_sub(at)).max()?;
        (late > 0).then(|| Duration::from_micros(late.unsigned_abs()))
    }

    /// Whether there may be waits, or such that ask.
    pub(crate) fn may_wait(self, asking: bool) -> bool {
        self.waits & if asking { 2 } else { 1 } != 0
    }
}
