//! When a failed attempt is tried again.

use std::time::Duration;

/// How often a task is tried, and how long the engine waits between tries.
///
/// The wait before try *n* + 1, after *n* failures, is, before jitter and never above the cap:
///
/// | backoff | formula | base 1 s, cap 60 s |
/// |---|---|---|
/// | fixed | `base` | 1 s, 1 s, 1 s |
/// | linear | `base × n` | 1 s, 2 s, 3 s |
/// | exponential | `base × 2^(n − 1)` | 1 s, 2 s, 4 s, …, 60 s |
///
/// With full jitter the wait is drawn evenly from 0 to that value, which spreads a crowd of tasks that failed
/// together better than a smaller jitter does (Brooker, *Exponential Backoff And Jitter*, AWS Architecture
/// Blog, 2015).
///
/// Defaults to 3 attempts, exponential from 1 s, cap 60 s, full jitter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, the first included; at least 1.
    pub attempts: u32,
    /// How the wait grows.
    pub backoff: Backoff,
    /// The wait after the first failure.
    pub base: Duration,
    /// The longest wait.
    pub cap: Duration,
    /// How the wait is randomised.
    pub jitter: Jitter,
}

/// How the wait grows with the number of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// It does not.
    Fixed,
    /// By `base` with each failure.
    Linear,
    /// It doubles with each failure.
    Exponential,
}

/// How a wait is randomised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Not at all.
    None,
    /// Evenly between 0 and the whole wait.
    Full,
}

impl RetryPolicy {
    /// The default policy, as a constant.
    pub const DEFAULT: Self = Self {
        attempts: 3,
        backoff: Backoff::Exponential,
        base: Duration::from_secs(1),
        cap: Duration::from_secs(60),
        jitter: Jitter::Full,
    };

    /// One try and no more.
    pub const NEVER: Self = Self { attempts: 1, ..Self::DEFAULT };

    /// The wait after `failures` failures, before jitter.
    #[must_use]
    pub fn backoff(&self, failures: u32) -> Duration {
        let steps = failures.max(1);
        let wait = match self.backoff {
            Backoff::Fixed => self.base,
            Backoff::Linear => self.base.saturating_mul(steps),
            Backoff::Exponential => self.base.saturating_mul(2_u32.saturating_pow(steps - 1)),
        };
        wait.min(self.cap)
    }

    /// The wait after `failures` failures; `None` if there is no further try.
    #[must_use]
    pub fn delay(&self, failures: u32) -> Option<Duration> {
        if failures >= self.attempts {
            return None;
        }
        let wait = self.backoff(failures);
        Some(match self.jitter {
            Jitter::None => wait,
            Jitter::Full => wait.mul_f64(fastrand::f64()),
        })
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(policy: &RetryPolicy, failures: impl IntoIterator<Item = u32>) -> Vec<u64> {
        failures.into_iter().map(|n| policy.backoff(n).as_secs()).collect()
    }

    #[test]
    fn the_wait_grows_as_the_table_says() {
        let policy = RetryPolicy { jitter: Jitter::None, ..RetryPolicy::DEFAULT };
        assert_eq!(seconds(&RetryPolicy { backoff: Backoff::Fixed, ..policy.clone() }, 1..4), [1, 1, 1]);
        assert_eq!(seconds(&RetryPolicy { backoff: Backoff::Linear, ..policy.clone() }, 1..4), [1, 2, 3]);
        assert_eq!(seconds(&policy, [1, 2, 3, 6, 7, 8, u32::MAX]), [1, 2, 4, 32, 60, 60, 60]);
    }

    #[test]
    fn the_last_failure_is_final() {
        let policy = RetryPolicy::default();
        assert!(policy.delay(1).is_some() && policy.delay(2).is_some());
        assert_eq!(policy.delay(3), None);
        assert_eq!(RetryPolicy::NEVER.delay(1), None);
    }

    #[test]
    fn full_jitter_stays_within_the_wait() {
        let policy = RetryPolicy { attempts: 100, ..RetryPolicy::default() };
        assert!((1..100).all(|n| policy.delay(n).is_some_and(|delay| delay <= policy.backoff(n))));
    }
}
