//! When places are to be looked at.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::id::TenantId;

/// What a place is to be looked at for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// Work that can be claimed.
    Work,
    /// What the engine itself has to do.
    Due,
    /// Executions that are waited for here and run elsewhere.
    Poll,
}

/// When which place is to be looked at; for each place and purpose only the earliest time counts, because the
/// look says what comes next.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(Duration, TenantId, Timer)>,
    by_place: HashMap<(TenantId, Timer), Duration>,
}

impl Timers {
    /// True if this is now the earliest of all.
    pub(super) fn set(&mut self, tenant: TenantId, timer: Timer, due: Duration) -> bool {
        if let Some(known) = self.by_place.get(&(tenant, timer)) {
            if *known <= due {
                return false;
            }
            self.by_time.remove(&(*known, tenant, timer));
        }
        self.by_place.insert((tenant, timer), due);
        self.by_time.insert((due, tenant, timer));
        self.by_time.first() == Some(&(due, tenant, timer))
    }

    /// When a place is to be looked at next for what its database holds.
    pub(super) fn next(&self, tenant: TenantId) -> Option<Duration> {
        let of = |timer| self.by_place.get(&(tenant, timer)).copied();
        of(Timer::Work).into_iter().chain(of(Timer::Due)).min()
    }

    /// The places with executions that are waited for and may run elsewhere.
    pub(super) fn polled(&self) -> Vec<TenantId> {
        let polled = self.by_place.keys().filter(|(_, timer)| *timer == Timer::Poll);
        polled.map(|(tenant, _)| *tenant).collect()
    }

    pub(super) fn forget(&mut self, tenant: TenantId) {
        for timer in [Timer::Work, Timer::Due, Timer::Poll] {
            if let Some(due) = self.by_place.remove(&(tenant, timer)) {
                self.by_time.remove(&(due, tenant, timer));
            }
        }
    }

    /// The earliest one that is due, or else when the next one is.
    pub(super) fn pop(&mut self, now: Duration) -> Result<(TenantId, Timer), Option<Duration>> {
        match self.by_time.first().copied() {
            Some((due, tenant, timer)) if due <= now => {
                self.by_time.pop_first();
                self.by_place.remove(&(tenant, timer));
                Ok((tenant, timer))
            }
            next => Err(next.map(|(due, ..)| due)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_time_of_a_place_counts() {
        let (mut timers, tenant) = (Timers::default(), TenantId::new());
        let at = Duration::from_secs;
        assert!(timers.set(tenant, Timer::Work, at(5)));
        assert!(timers.set(tenant, Timer::Work, at(3)));
        assert!(!timers.set(tenant, Timer::Work, at(4)));
        assert!(!timers.set(tenant, Timer::Due, at(9)));
        assert_eq!(timers.pop(at(2)), Err(Some(at(3))));
        assert_eq!(timers.pop(at(3)), Ok((tenant, Timer::Work)));
        assert_eq!(timers.pop(at(3)), Err(Some(at(9))));
        assert_eq!(timers.next(tenant), Some(at(9)));
        timers.forget(tenant);
        assert_eq!(timers.pop(at(10)), Err(None));
    }
}
