//! How long to wait before something is tried again.

use std::time::Duration;

/// Waits of which each is twice as long as the one before, up to the longest.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
    is_spread: bool,
}

impl Backoff {
    /// Waits from `first` to `most`.
    #[must_use]
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first, is_spread: false }
    }

    /// Each wait is cut by chance, at most by half: those that failed together should not try again together.
    #[must_use]
    pub const fn spread(self) -> Self {
        Self { is_spread: true, ..self }
    }

    /// How long to wait now.
    #[expect(
        clippy::should_implement_trait,
        reason = "there is always another wait, which an iterator does not say"
    )]
    pub fn next(&mut self) -> Duration {
        let wait = self.next.min(self.most);
        self.next = wait.saturating_mul(2);
        if self.is_spread { wait.mul_f64(0.5 + fastrand::f64() / 2.0) } else { wait }
    }

    /// The next wait is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_twice_as_long_up_to_the_longest_until_it_begins_again() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let mut waits = || [(); 4].map(|()| backoff.next().as_secs());
        assert_eq!(waits(), [1, 2, 4, 5]);
        assert_eq!(waits(), [5, 5, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.next(), Duration::from_secs(1));
    }

    #[test]
    fn a_wait_that_is_spread_lasts_half_of_it_to_all_of_it() {
        let mut backoff = Backoff::new(Duration::from_secs(8), Duration::from_secs(8)).spread();
        for _ in 0..100 {
            let wait = backoff.next();
            assert!((Duration::from_secs(4)..=Duration::from_secs(8)).contains(&wait), "{wait:?}");
        }
    }
}
