//! What a test began with, because it was due.

use std::collections::HashMap;

use jiff::Timestamp;

use super::timers::Timer;
use crate::id::TenantId;

/// What was begun because it was due, by its time, and how often: a row that stays where it is belongs to
/// somebody else.
#[derive(Debug, Default)]
pub(super) struct Begun(HashMap<(TenantId, Timer), (Timestamp, usize)>);

/// How often it is begun with what is due at one time.
const TRIES: usize = 10;

impl Begun {
    /// Whether what is due at this time is to be begun with, once more.
    pub(super) fn again(&mut self, what: (TenantId, Timer), time: Option<Timestamp>) -> bool {
        let Some(time) = time else { return false };
        let (latest, tries) = self.0.entry(what).or_insert((time, 0));
        if *latest != time {
            (*latest, *tries) = (time, 0);
        }
        *tries += 1;
        *tries <= TRIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_due_though_it_was_begun_is_left_alone_until_something_else_is_due() {
        let (mut begun, what) = (Begun::default(), (TenantId::new(), Timer::Work));
        let at = |second| Some(Timestamp::constant(second, 0));
        assert!(!begun.again(what, None));
        assert!((0..TRIES).all(|_| begun.again(what, at(1))));
        assert!(!begun.again(what, at(1)));
        assert!(begun.again((what.0, Timer::Due), at(1)));
        assert!(begun.again(what, at(2)));
    }
}
