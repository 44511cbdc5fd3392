//! Tenants that could not be opened.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use cloacina_core::backoff::Backoff;

/// How long one is left alone: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Those that are left alone for a while. Each failure doubles it.
#[derive(Debug)]
pub(super) struct Aside<K>(HashMap<K, (Instant, Backoff)>);

impl<K> Default for Aside<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Aside<K> {
    pub(super) fn holds(&self, id: &K, now: Instant) -> bool {
        self.0.get(id).is_some_and(|(until, _)| now < *until)
    }

    /// Returns for how long.
    pub(super) fn put(&mut self, id: K, now: Instant) -> Duration {
        let (until, pauses) = self.0.entry(id).or_insert((now, Backoff::new(PAUSE.0, PAUSE.1)));
        let pause = pauses.next();
        *until = now + pause;
        pause
    }

    /// Forgets the failures of others than these.
    pub(super) fn retain(&mut self, mut kept: impl FnMut(&K) -> bool) {
        self.0.retain(|id, _| kept(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_cannot_be_opened_is_left_alone_for_longer_each_time_up_to_a_minute() {
        let (mut aside, mut now) = (Aside::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let pause = aside.put("broken", now);
            assert!(aside.holds(&"broken", now) && !aside.holds(&"other", now));
            now += pause;
            assert!(!aside.holds(&"broken", now));
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
