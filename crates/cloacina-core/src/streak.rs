//! Background work that fails again and again, and what the log says of it.

use std::fmt::Display;
use std::sync::atomic::{AtomicU32, Ordering};

use tracing::{debug, info, warn};

/// How often in a row some work has failed that goes on by itself.
///
/// One failure may be a moment's, so it is only a detail. The second in a row is a warning, once for the
/// whole streak, with what follows from it; when the work succeeds again, the log says so.
#[derive(Debug)]
pub struct Streak {
    work: &'static str,
    follows: &'static str,
    failures: AtomicU32,
}

/// Whose work it is.
#[derive(Debug, Clone, Copy)]
pub enum Whose<'a> {
    /// That of a whole database, by its label.
    Database(&'a str),
    /// That of one tenant, by its name.
    Tenant(&'a str),
}

/// What the log says of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Detail,
    Warning,
    Well,
}

impl Streak {
    /// `work` follows "failed to"; `follows` tells what it means while it goes on.
    #[must_use]
    pub const fn new(work: &'static str, follows: &'static str) -> Self {
        Self { work, follows, failures: AtomicU32::new(0) }
    }

    /// Notes how it went, and says it where that is news.
    pub fn note<T, E: Display>(&self, whose: Whose<'_>, outcome: &Result<T, E>) {
        let Err(error) = outcome else { return self.succeeded(whose) };
        let Self { work, follows, .. } = self;
        let (database, tenant) = whose.fields();
        match self.count_failure() {
            News::Warning => warn!(database, tenant, %error, "failed to {work} twice in a row: {follows}"),
            News::Detail | News::Well => debug!(database, tenant, %error, "failed to {work}; will try again"),
        }
    }

    /// It went well.
    pub fn succeeded(&self, whose: Whose<'_>) {
        if self.count_success() == News::Well {
            let ((database, tenant), work) = (whose.fields(), self.work);
            info!(database, tenant, "this goes well again: {work}");
        }
    }

    fn count_failure(&self) -> News {
        match self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count.saturating_add(1)))
        {
            Ok(1) => News::Warning,
            Ok(_) | Err(_) => News::Detail,
        }
    }

    fn count_success(&self) -> News {
        // Mostly there is nothing to be changed.
        if self.failures.load(Ordering::Relaxed) == 0 || self.failures.swap(0, Ordering::Relaxed) < 2 {
            return News::Detail;
        }
        News::Well
    }
}

impl<'a> Whose<'a> {
    fn fields(self) -> (Option<&'a str>, Option<&'a str>) {
        match self {
            Self::Database(database) => (Some(database), None),
            Self::Tenant(tenant) => (None, Some(tenant)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_failure_in_a_row_is_a_warning_and_the_end_of_its_streak_is_told() {
        use News::{Detail, Warning, Well};
        let streak = Streak::new("look", "nothing is seen");
        let news = [false, true, false, false, false, true, true, false, false, true]
            .map(|succeeds| if succeeds { streak.count_success() } else { streak.count_failure() });
        let expected = [Detail, Detail, Detail, Warning, Detail, Well, Detail, Detail, Warning, Well];
        assert_eq!(news, expected);
    }
}
