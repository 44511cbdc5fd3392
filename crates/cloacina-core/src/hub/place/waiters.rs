//! Who waits for executions of a place, and when the database is asked for those that run elsewhere.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::super::live::Live;
use crate::error::Error;
use crate::execution::{ExecutionResult, ExecutionStatus};
use crate::id::ExecutionId;

/// How long to wait before asking for an execution that runs elsewhere: at first, and at most.
const POLL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How often to ask for one that this process is the only one to run, and knows: its end is learned from the
/// commit.
const RARELY: Duration = Duration::from_secs(30);

/// How often to ask at least for one that waits for a time or a signal.
const WAITING: Duration = Duration::from_secs(5);

pub(crate) type Waiter = oneshot::Sender<Result<ExecutionResult, Error>>;

/// Who waits for which execution. Written by handles, by the [kernel](super::super::kernel) and by whoever
/// asks the database.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: HashMap<ExecutionId, Waiting>,
    /// When to ask the database for which of them. Those of which a task is held here are not in it.
    polls: BTreeSet<(Duration, ExecutionId)>,
    /// Where handles that live will find how their executions ended.
    handles: HashMap<ExecutionId, Arc<OnceLock<Ended>>>,
    /// Whether the database is being asked.
    pub(crate) asking: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    senders: Vec<Waiter>,
    poll: Option<Poll>,
}

/// When to ask for an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Poll {
    at: Duration,
    /// How long to wait after that; zero if nothing is known of the execution, which is read at once then.
    step: Duration,
    /// Whether it is asked for even if only this process runs it now: another may have, or it is time to make
    /// sure.
    anyway: bool,
    /// Whether it waited when it was asked for last: the longer it does, the more seldom it is asked for.
    waits: bool,
}

/// How an execution ended, as its handle remembers it.
#[derive(Debug)]
pub(crate) enum Ended {
    /// By what this process knows of it.
    Known(Box<Live>, ExecutionStatus, Timestamp),
    /// As it was read.
    Read(Box<ExecutionResult>),
}

/// What it is to be asked for, and how.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// Nothing is known of these.
    pub(crate) unknown: Vec<ExecutionId>,
    /// These were not over when they were asked for last.
    pub(crate) open: Vec<ExecutionId>,
}

impl Poll {
    /// Of an execution that may be over: at once.
    pub(crate) fn at_once(now: Duration) -> Self {
        Self { at: now, step: Duration::ZERO, anyway: true, waits: false }
    }

    /// Of one that is known and of which no task is held here: it may run elsewhere.
    pub(crate) fn soon(now: Duration) -> Self {
        Self { at: now + POLL.0, step: POLL.0, anyway: false, waits: false }
    }

    /// Of one that is known, and may have ended elsewhere.
    pub(crate) fn now(now: Duration) -> Self {
        Self { at: now, step: POLL.0, anyway: true, waits: false }
    }

    fn next(self, now: Duration) -> Self {
        let most = if self.waits { WAITING } else { POLL.1 };
        let step = (self.step * 2).clamp(POLL.0, most);
        Self { at: now + step, step, anyway: false, ..self }
    }

    fn rarely(now: Duration) -> Self {
        Self { at: now + RARELY, step: POLL.1, anyway: true, waits: false }
    }
}

impl Ended {
    pub(crate) fn result(&self) -> Option<ExecutionResult> {
        match self {
            Self::Known(live, status, finished_at) => live.result(*status, *finished_at),
            Self::Read(result) => Some(ExecutionResult::clone(result)),
        }
    }
}

impl Waiters {
    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn contains(&self, execution: ExecutionId) -> bool {
        self.waiting.contains_key(&execution)
    }

    /// Somebody waits for an execution. Without a poll it is not asked for.
    pub(crate) fn add(&mut self, execution: ExecutionId, waiter: Waiter, poll: Option<Poll>) {
        self.waiting.entry(execution).or_default().senders.push(waiter);
        if let Some(poll) = poll {
            self.arm(execution, poll);
        }
    }

    /// Asks for an execution that is waited for at this time, if it would not be asked for earlier.
    pub(crate) fn arm(&mut self, execution: ExecutionId, poll: Poll) {
        let Some(waiting) = self.waiting.get_mut(&execution) else { return };
        if waiting.poll.is_some_and(|known| known.at <= poll.at) {
            return;
        }
        if let Some(known) = waiting.poll.replace(poll) {
            self.polls.remove(&(known.at, execution));
        }
        self.polls.insert((poll.at, execution));
    }

    /// Notes of an execution that was asked for whether it waits.
    pub(crate) fn found(&mut self, execution: ExecutionId, waits: bool) {
        if let Some(poll) = self.waiting.get_mut(&execution).and_then(|waiting| waiting.poll.as_mut()) {
            poll.waits = waits;
        }
    }

    /// Asks now for everything that is asked for at all. How many those are.
    pub(crate) fn arm_all(&mut self, now: Duration) -> u32 {
        let armed: Vec<ExecutionId> = self.polls.iter().map(|(_, execution)| *execution).collect();
        armed.iter().for_each(|execution| self.arm(*execution, Poll::now(now)));
        u32::try_from(armed.len()).unwrap_or(u32::MAX)
    }

    /// Asks for everything that is waited for, what was held here as well.
    pub(crate) fn arm_everybody(&mut self, poll: Poll) {
        let waiting: Vec<ExecutionId> = self.waiting.keys().copied().collect();
        waiting.into_iter().for_each(|execution| self.arm(execution, poll));
    }

    /// When the database is to be asked next.
    pub(crate) fn next_poll(&self) -> Option<Duration> {
        self.polls.first().map(|(at, _)| *at)
    }

    /// Takes what it is time to ask for. What is `held` here is left out: it is armed again when its last
    /// task is let go. What only we run needs no asking either, but once in a while.
    pub(crate) fn due(
        &mut self,
        now: Duration,
        held: impl Fn(ExecutionId) -> bool,
        only_ours: impl Fn(ExecutionId, bool) -> bool,
    ) -> Due {
        let mut due = Due::default();
        while let Some((at, execution)) = self.polls.first().copied().filter(|(at, _)| *at <= now) {
            self.polls.remove(&(at, execution));
            let Some(waiting) = self.waiting.get_mut(&execution) else { continue };
            let Some(poll) = waiting.poll.take() else { continue };
            if held(execution) {
                continue;
            }
            let is_only_ours = only_ours(execution, self.handles.contains_key(&execution));
            if poll.anyway || !is_only_ours {
                if poll.step.is_zero() { &mut due.unknown } else { &mut due.open }.push(execution);
            }
            let next = if is_only_ours { Poll::rarely(now) } else { poll.next(now) };
            waiting.poll = Some(next);
            self.polls.insert((next.at, execution));
        }
        due
    }

    /// Lets a handle remember how its execution ends.
    pub(crate) fn remember(&mut self, execution: ExecutionId, handle: Arc<OnceLock<Ended>>) {
        self.handles.insert(execution, handle);
    }

    /// Whether a handle that lives is told when an execution ends here: so far it has not.
    pub(crate) fn is_remembered(&self, execution: ExecutionId) -> bool {
        self.handles.contains_key(&execution)
    }

    /// What the handle on an execution is to be told, if it lives.
    pub(crate) fn handle_of(&mut self, execution: ExecutionId) -> Option<Arc<OnceLock<Ended>>> {
        self.handles.remove(&execution)
    }

    /// Takes whoever waits for an execution.
    pub(crate) fn take(&mut self, execution: ExecutionId) -> Vec<Waiter> {
        let Some(waiting) = self.waiting.remove(&execution) else { return Vec::new() };
        if let Some(poll) = waiting.poll {
            self.polls.remove(&(poll.at, execution));
        }
        waiting.senders
    }

    /// Takes everybody who waits, or nobody.
    pub(crate) fn take_all_if(&mut self, all: bool) -> impl Iterator<Item = (ExecutionId, Waiter)> + use<> {
        all.then(|| self.take_all()).into_iter().flatten()
    }

    /// Takes everybody who waits.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = (ExecutionId, Waiter)> + use<> {
        self.polls.clear();
        let of = |(execution, waiting): (ExecutionId, Waiting)| {
            waiting.senders.into_iter().map(move |sender| (execution, sender))
        };
        std::mem::take(&mut self.waiting).into_iter().flat_map(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn waits(waiters: &mut Waiters, poll: Option<Poll>) -> ExecutionId {
        let execution = ExecutionId::new();
        waiters.add(execution, oneshot::channel().0, poll);
        execution
    }

    #[test]
    fn what_is_unknown_is_read_at_once_and_then_asked_for_with_growing_pauses() {
        let mut waiters = Waiters::default();
        let execution = waits(&mut waiters, Some(Poll::at_once(NOW)));
        assert_eq!(waiters.due(NOW, |_| false, |_, _| false).unknown, [execution]);
        let mut pauses = Vec::new();
        let mut now = NOW;
        for _ in 0..7 {
            let next = waiters.next_poll().unwrap();
            pauses.push((next - now).as_millis());
            now = next;
            assert_eq!(waiters.due(now, |_| false, |_, _| false).open, [execution]);
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn what_waits_is_asked_for_the_more_seldom_the_longer_it_does() {
        let mut waiters = Waiters::default();
        let execution = waits(&mut waiters, Some(Poll::soon(NOW)));
        let (mut pauses, mut now) = (Vec::new(), NOW + POLL.0);
        for round in 0..13 {
            assert_eq!(waiters.due(now, |_| false, |_, _| false).open, [execution]);
            waiters.found(execution, round < 11);
            let next = waiters.next_poll().unwrap();
            pauses.push((next - now).as_millis());
            now = next;
        }
        let waiting = [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000, 5_000, 5_000];
        assert_eq!(pauses, [&waiting[..], &[5_000, 1_000]].concat(), "the first answer counts from the next");
    }

    #[test]
    fn what_is_held_is_not_asked_for_until_it_is_let_go() {
        let mut waiters = Waiters::default();
        let execution = waits(&mut waiters, Some(Poll::at_once(NOW)));
        assert_eq!(waiters.due(NOW, |_| true, |_, _| false), Due::default());
        assert_eq!(waiters.next_poll(), None);
        waiters.arm(execution, Poll::soon(NOW));
        assert_eq!(waiters.next_poll(), Some(NOW + POLL.0));
    }

    #[test]
    fn what_only_we_run_is_seldom_asked_for() {
        let mut waiters = Waiters::default();
        waits(&mut waiters, Some(Poll::soon(NOW)));
        assert_eq!(waiters.due(NOW + POLL.0, |_| false, |_, _| true), Due::default());
        let next = NOW + POLL.0 + RARELY;
        assert_eq!(waiters.next_poll(), Some(next));
        assert_eq!(waiters.due(next, |_| false, |_, _| true).open.len(), 1);
    }

    #[test]
    fn what_another_process_may_have_ended_is_asked_for_although_that_one_has_left() {
        let mut waiters = Waiters::default();
        let execution = waits(&mut waiters, None);
        waiters.arm_everybody(Poll::now(NOW));
        assert_eq!(waiters.due(NOW, |_| false, |_, _| true).open, [execution]);
    }

    #[test]
    fn whoever_is_taken_is_asked_for_no_more() {
        let mut waiters = Waiters::default();
        let execution = waits(&mut waiters, Some(Poll::at_once(NOW)));
        waiters.add(execution, oneshot::channel().0, Some(Poll::soon(NOW)));
        assert_eq!(waiters.take(execution).len(), 2);
        assert!(waiters.is_empty() && waiters.next_poll().is_none());
    }
}
