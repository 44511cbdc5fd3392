//! What is known of the work that waits in the ready table of a place.

use std::time::Duration;

use crate::meters::Starving;

/// How long to wait when work is due but none of it is for us: at first, and at most.
pub(crate) const PATIENCE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What is known of the ready table, and how far its claims are. Written by claims and by the
/// [kernel](super::super::kernel).
#[derive(Debug, Default)]
pub(crate) struct Claiming {
    /// Whether there may be claimable rows in the ready table, and if so the highest priority known among
    /// them.
    backlog: Option<i16>,
    /// Counts the news about the backlog, so that a claim knows whether it looked before the latest.
    news: u64,
    /// Whether the place stands in the queue of those that wait for slots.
    pub(crate) queued: bool,
    /// Whether it got no slot when its turn came.
    pub(crate) starving: Option<Starving>,
    /// Whether a claim is under way.
    pub(crate) under_way: bool,
    /// How long to wait before looking again, when work was due but none of it for us.
    pub(crate) patience: Option<Duration>,
    /// When it was last looked what is due, by lowering the bell.
    pub(crate) due_looked: Duration,
    /// Whether executions are being expanded.
    pub(crate) expanding: bool,
    /// Whether all that is due is being settled. One task of this process does it at a time, so if it finds
    /// nothing that it can take, another process has it.
    pub(crate) due: Settling,
    /// Whether waits are being settled.
    waits: Settling,
    /// Whether children are being settled.
    children: Settling,
    /// How long to wait before due rows are taken again, when none could be, and until when.
    due_patience: Option<Duration>,
    due_after: Duration,
    /// When it was last said that tasks which wait for executions hold all slots.
    pub(crate) all_wait_told: Option<Duration>,
    /// When it was last looked whether the work that is due is nobody's.
    pub(crate) orphans_looked: Option<Duration>,
}

/// What is looked at of the nodes that the engine runs itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Those that are reached, or whose time or signal came.
    Waits,
    /// Those that wait for children.
    Children,
}

/// Whether something is being done, and is to be done once more because there was news meanwhile.
#[derive(Debug, Default)]
pub(crate) enum Settling {
    #[default]
    Idle,
    UnderWay,
    Again,
}

impl Settling {
    /// False if somebody does it, who does it once more then.
    pub(crate) fn begin(&mut self) -> bool {
        let begins = matches!(self, Self::Idle);
        *self = if begins { Self::UnderWay } else { Self::Again };
        begins
    }

    /// Whether it is to be done once more.
    pub(crate) fn end(&mut self) -> bool {
        let again = matches!(self, Self::Again);
        *self = if again { Self::UnderWay } else { Self::Idle };
        again
    }
}

impl Claiming {
    pub(crate) fn settling(&mut self, sort: Sort) -> &mut Settling {
        match sort {
            Sort::Waits => &mut self.waits,
            Sort::Children => &mut self.children,
        }
    }

    /// There may be claimable work of this priority.
    pub(crate) fn note_backlog(&mut self, priority: i16) {
        self.backlog = Some(self.backlog.map_or(priority, |known| known.max(priority)));
        self.news += 1;
    }

    /// There may be claimable work, of whatever priority.
    pub(crate) fn note_any(&mut self) {
        self.note_backlog(i16::MIN);
    }

    pub(crate) fn has_backlog(&self) -> bool {
        self.backlog.is_some()
    }

    /// Whether nothing waits in the ready table that would have to go before work of this priority.
    pub(crate) fn may_overtake(&self, priority: i16) -> bool {
        self.backlog.is_none_or(|waiting| waiting <= priority)
    }

    /// A claim is sent. What is known of the backlog at this moment.
    pub(crate) fn begin(&mut self) -> u64 {
        self.queued = false;
        self.starving = None;
        self.under_way = true;
        self.news
    }

    /// A claim came back with `claimed` of `asked` tasks; `news` is what was known when it was sent. True if
    /// nothing is left for us.
    pub(crate) fn end(&mut self, asked: usize, claimed: usize, news: u64) -> bool {
        // What became ready after the claim was sent may have been missed by it.
        let exhausted = claimed < asked && self.news == news;
        self.under_way = false;
        if claimed > 0 {
            self.patience = None;
        }
        if exhausted {
            self.backlog = None;
        }
        exhausted
    }

    /// Work is due, but none of it is for us: how long to wait before the next look.
    pub(crate) fn lose_patience(&mut self) -> Duration {
        lose(&mut self.patience)
    }

    /// So many due rows were taken. What is due and could not be taken is locked by somebody else: it is
    /// tried again after longer and longer pauses.
    pub(crate) fn due_taken(&mut self, rows: usize, now: Duration) {
        if rows == 0 {
            self.due_after = now + lose(&mut self.due_patience);
        } else {
            self.nothing_is_due();
        }
    }

    /// No due row waits for its turn.
    pub(crate) fn nothing_is_due(&mut self) {
        self.due_patience = None;
        self.due_after = Duration::ZERO;
    }

    /// Whether something is due that is not for us, or that somebody else has.
    pub(crate) fn is_patient(&self) -> bool {
        self.patience.is_some() || self.due_patience.is_some()
    }

    /// For how long what is due is left alone.
    pub(crate) fn due_in(&self, now: Duration) -> Duration {
        self.due_after.saturating_sub(now)
    }
}

fn lose(patience: &mut Option<Duration>) -> Duration {
    let longer = patience.map_or(PATIENCE.0, |patience| (patience * 2).min(PATIENCE.1));
    *patience.insert(longer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_rows_that_cannot_be_taken_are_tried_again_after_longer_and_longer_pauses() {
        let now = Duration::from_secs(7);
        let mut claiming = Claiming::default();
        let mut pause = |rows| {
            claiming.due_taken(rows, now);
            // However often somebody looks in the meantime.
            assert_eq!(claiming.due_in(now + Duration::from_secs(3)), Duration::ZERO);
            claiming.due_in(now).as_millis()
        };
        let pauses: Vec<_> = (0..8).map(|_| pause(0)).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
        assert_eq!([pause(3), pause(0), pause(0)], [0, 50, 100]);
        claiming.nothing_is_due();
        assert_eq!(claiming.due_in(now), Duration::ZERO);
    }

    #[test]
    fn a_claim_that_gets_less_than_it_asked_for_ends_the_backlog() {
        let mut claiming = Claiming::default();
        claiming.note_backlog(5);
        let news = claiming.begin();
        assert!(!claiming.end(2, 2, news));
        assert!(claiming.has_backlog());
        let news = claiming.begin();
        assert!(claiming.end(2, 1, news));
        assert!(!claiming.has_backlog());
    }

    #[test]
    fn work_that_became_ready_while_a_claim_was_under_way_is_looked_for_again() {
        let mut claiming = Claiming::default();
        claiming.note_backlog(5);
        let news = claiming.begin();
        claiming.note_backlog(2);
        assert!(!claiming.end(8, 0, news));
        assert!(claiming.has_backlog());
    }

    #[test]
    fn nothing_overtakes_waiting_work_of_a_higher_priority() {
        let mut claiming = Claiming::default();
        assert!(claiming.may_overtake(0));
        claiming.note_backlog(5);
        assert!(claiming.may_overtake(5));
        assert!(!claiming.may_overtake(4));
    }
}
