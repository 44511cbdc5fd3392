//! How a place stands: what the operator decided about its tenant, and whether it can be written.

use std::time::Duration;

use super::look::Look;
use crate::id::RunnerId;
use crate::store::{TenantState, TenantStatus};

/// How long a place that cannot be used is left alone: at first, at most, and at most if nobody waits for it.
const PARKING: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
const LONG_PARKING: Duration = Duration::from_secs(60);

/// How long a place must have been well before it shares a lane with others again: at first, and at most.
/// Twice as long each time.
const CONVALESCENCE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));

/// How a place stands. Each field says who writes it.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// What the operator decided about the tenant, as far as it is known here. Written by whoever reads it
    /// from the database.
    pub(crate) status: TenantStatus,
    /// Whether it was put back from a backup, and nothing is begun before somebody says so. Written by
    /// whoever opens it, and by whoever says so.
    pub(crate) held: bool,
    /// When that was asked for last, and how many times it was asked for.
    pub(crate) status_asked: Option<(Duration, u64)>,
    /// Whether it can be written. Written by lanes and served places.
    pub(crate) health: Health,
    /// What the auditor was asked to look at while it looks already, where it looks aside. Written by the
    /// auditor.
    pub(crate) looks: Option<Look>,
    /// The runner whose presence here is recorded. Written by lanes.
    pub(crate) noted: Option<RunnerId>,
    /// When something was last written here. Written by lanes.
    pub(crate) used: Duration,
}

impl Standing {
    /// Whether the tenant may work.
    pub(crate) fn is_active(&self) -> bool {
        self.status.state == TenantState::Active && !self.held
    }
}

/// Whether a place can be written, and for how long it could not.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// How long the last flush or claim that could not be made was put off.
    pub(crate) trouble: Option<Duration>,
    /// How long the place has to be well before it leaves the lane of those in trouble.
    well_for: Duration,
    /// When it was last in trouble.
    ill_at: Duration,
}

/// How many flushes of a place failed one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failures {
    One,
    Two,
    More,
}

impl Health {
    /// A flush failed: how many did in a row, and how long the place is left alone. Nobody waits for one that
    /// does not `hurry`.
    pub(crate) fn failed(&mut self, hurries: bool, now: Duration) -> (Failures, Duration) {
        let most = if hurries { PARKING.1 } else { LONG_PARKING };
        let wait = self.trouble.map_or(PARKING.0, |before| (before * 2).min(most));
        let failures = match self.trouble.replace(wait) {
            None => Failures::One,
            Some(before) if before == PARKING.0 => Failures::Two,
            Some(_) => Failures::More,
        };
        // The first may come of a lock that is held for a moment.
        if failures == Failures::Two {
            self.well_for = (self.well_for * 2).clamp(CONVALESCENCE.0, CONVALESCENCE.1);
        }
        if failures != Failures::One {
            self.ill_at = now;
        }
        (failures, wait)
    }

    /// A flush succeeded. Whether that is news.
    pub(crate) fn succeeded(&mut self) -> bool {
        self.trouble.take().is_some_and(|wait| wait > PARKING.0)
    }

    /// Whether it has been well for long enough to share a lane with others.
    pub(crate) fn has_recovered(&self, now: Duration) -> bool {
        now.saturating_sub(self.ill_at) >= self.well_for
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_failure_is_a_moments_and_costs_no_convalescence() {
        let mut health = Health::default();
        assert_eq!(health.failed(true, SECOND), (Failures::One, PARKING.0));
        assert!(!health.succeeded());
        assert!(health.has_recovered(SECOND));
    }

    #[test]
    fn pauses_grow_up_to_their_limit_and_begin_anew_when_it_was_well() {
        let mut health = Health::default();
        let waits: Vec<_> = (0..9).map(|_| health.failed(true, SECOND).1.as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert!(health.succeeded());
        assert_eq!(health.failed(false, SECOND).1, PARKING.0);
    }

    #[test]
    fn a_place_that_falls_ill_again_has_to_be_well_for_longer() {
        let mut health = Health::default();
        for (round, expected) in [2, 4, 8].into_iter().enumerate() {
            let now = SECOND * 1000 * (u32::try_from(round).unwrap() + 1);
            assert_eq!(health.failed(true, now).0, Failures::One);
            assert_eq!(health.failed(true, now).0, Failures::Two);
            assert_eq!(health.failed(true, now).0, Failures::More);
            assert!(health.succeeded());
            assert!(!health.has_recovered(now + SECOND * expected - Duration::from_millis(1)));
            assert!(health.has_recovered(now + SECOND * expected));
        }
    }
}
