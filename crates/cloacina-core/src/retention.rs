//! How long executions are kept that are over.

use std::time::Duration;

use jiff::Timestamp;

use crate::execution::ExecutionStatus;

/// The states in which an execution is over.
pub const ENDS: [ExecutionStatus; 3] =
    [ExecutionStatus::Completed, ExecutionStatus::Failed, ExecutionStatus::Cancelled];

/// How long executions are kept that are over, by how they ended.
///
/// ```
/// use std::time::Duration;
///
/// use cloacina_core::execution::ExecutionStatus;
/// use cloacina_core::{Retention, RunnerConfig};
///
/// const DAY: Duration = Duration::from_secs(24 * 3600);
///
/// // What failed is looked at longer than what went well.
/// let retention = Retention::of(7 * DAY).failed(90 * DAY);
/// let config = RunnerConfig::builder().retention(retention).build();
/// assert_eq!(config.retention.after(ExecutionStatus::Failed), Some(90 * DAY));
/// // All the same, and for ever.
/// let config = RunnerConfig::builder().retention(30 * DAY).build();
/// let config = RunnerConfig::builder().retention(None).build();
/// # drop(config);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    completed: Option<Duration>,
    failed: Option<Duration>,
    cancelled: Option<Duration>,
}

impl Retention {
    /// For ever.
    pub const FOREVER: Self = Self { completed: None, failed: None, cancelled: None };

    /// As long as this, however they ended; `None` for ever.
    #[must_use]
    pub fn of(retention: impl Into<Option<Duration>>) -> Self {
        let retention = retention.into();
        Self { completed: retention, failed: retention, cancelled: retention }
    }

    /// Those that completed as long as this; `None` for ever.
    #[must_use]
    pub fn completed(self, retention: impl Into<Option<Duration>>) -> Self {
        Self { completed: retention.into(), ..self }
    }

    /// Those that failed as long as this; `None` for ever.
    #[must_use]
    pub fn failed(self, retention: impl Into<Option<Duration>>) -> Self {
        Self { failed: retention.into(), ..self }
    }

    /// Those that were cancelled as long as this; `None` for ever.
    #[must_use]
    pub fn cancelled(self, retention: impl Into<Option<Duration>>) -> Self {
        Self { cancelled: retention.into(), ..self }
    }

    /// How long those are kept that ended like this; `None` for ever.
    #[must_use]
    pub fn after(&self, end: ExecutionStatus) -> Option<Duration> {
        match end {
            ExecutionStatus::Completed => self.completed,
            ExecutionStatus::Failed => self.failed,
            ExecutionStatus::Cancelled => self.cancelled,
            _ => None,
        }
    }

    /// For how long at least everything is kept; `None` for ever.
    #[must_use]
    pub fn shortest(&self) -> Option<Duration> {
        ENDS.into_iter().filter_map(|end| self.after(end)).min()
    }
}

impl From<Duration> for Retention {
    fn from(retention: Duration) -> Self {
        Self::of(retention)
    }
}

impl From<Option<Duration>> for Retention {
    fn from(retention: Option<Duration>) -> Self {
        Self::of(retention)
    }
}

/// When the executions ended that are kept longest, by how they ended; `None` where there are none. Children
/// do not count: they go with their parents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OldestEnds {
    /// Of those that completed.
    pub completed: Option<Timestamp>,
    /// Of those that failed.
    pub failed: Option<Timestamp>,
    /// Of those that were cancelled.
    pub cancelled: Option<Timestamp>,
}

impl OldestEnds {
    /// Of those that ended like this.
    #[must_use]
    pub fn of(&self, end: ExecutionStatus) -> Option<Timestamp> {
        match end {
            ExecutionStatus::Completed => self.completed,
            ExecutionStatus::Failed => self.failed,
            ExecutionStatus::Cancelled => self.cancelled,
            _ => None,
        }
    }

    /// Whether there are any that are not kept for ever.
    pub(crate) fn ends(&self, retention: &Retention) -> bool {
        ENDS.into_iter().any(|end| self.of(end).is_some() && retention.after(end).is_some())
    }

    /// When the first of them has been kept for long enough, or of those that end from `now` on.
    pub(crate) fn next(&self, retention: &Retention, now: Timestamp) -> Option<Timestamp> {
        let come_of_age = ENDS.into_iter().filter_map(|end| {
            let kept = self.of(end).unwrap_or(now);
            Some(kept.checked_add(retention.after(end)?).unwrap_or(Timestamp::MAX))
        });
        come_of_age.min()
    }

    /// For how long one of them has been kept that should be gone.
    pub(crate) fn behind(&self, retention: &Retention, now: Timestamp) -> Duration {
        let late = |end| {
            let due = self.of(end)?.checked_add(retention.after(end)?).ok()?;
            Duration::try_from(now.duration_since(due)).ok()
        };
        ENDS.into_iter().filter_map(late).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn each_end_has_a_retention_of_its_own() {
        let (short, long) = (Duration::from_secs(10), Duration::from_secs(100));
        let retention = Retention::of(short).failed(long).cancelled(None);
        assert_eq!(ENDS.map(|end| retention.after(end)), [Some(short), Some(long), None]);
        assert_eq!(retention.after(ExecutionStatus::Running), None);
        assert_eq!((retention.shortest(), Retention::FOREVER.shortest()), (Some(short), None));
        assert_eq!(Retention::from(None::<Duration>), Retention::FOREVER);
    }

    #[test]
    fn what_comes_of_age_first_is_known_and_how_late_it_is() {
        let retention =
            Retention::of(Duration::from_secs(10)).failed(Duration::from_secs(100)).cancelled(None);
        let kept = OldestEnds { completed: Some(at(50)), failed: Some(at(5)), cancelled: Some(at(1)) };
        assert_eq!(kept.next(&retention, at(50)), Some(at(60)));
        assert_eq!(kept.behind(&retention, at(60)), Duration::ZERO);
        assert_eq!(kept.behind(&retention, at(107)), Duration::from_secs(47));
        let only_failed = OldestEnds { completed: None, ..kept };
        assert_eq!(only_failed.behind(&retention, at(107)), Duration::from_secs(2));
        // What ends from now on.
        assert_eq!(only_failed.next(&retention, at(80)), Some(at(90)));
        assert_eq!(kept.next(&Retention::FOREVER, at(80)), None);
        assert_eq!(kept.next(&Retention::of(Duration::MAX), at(80)), Some(Timestamp::MAX));
        assert_eq!(kept.behind(&Retention::of(Duration::MAX), at(80)), Duration::ZERO);
    }
}
