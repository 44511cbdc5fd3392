//! What this process tells others, and hears from them: that there is work, and that executions are over.
//!
//! All listen for work on one channel. Each listens for ends of executions that it submitted on a channel of
//! its own, so that nobody is woken for those of others. A hint has no content, and nothing depends on it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use cloacina_core::id::SubmitterId;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

/// The channel that everybody listens on.
const WORK: &str = "cloacina";

/// The most processes that are told of ends in one statement. The others come with the next.
const TOLD_TOGETHER: usize = 100;

#[derive(Debug)]
pub(crate) struct Hints {
    /// Under which this process is told of ends.
    pub(crate) me: SubmitterId,
    wanted: Notify,
    /// Whether others are to hear of work, and who is to hear of ends.
    work_wanted: AtomicBool,
    ends_wanted: Mutex<BTreeSet<SubmitterId>>,
    heard: Notify,
    work_heard: AtomicBool,
    ends_heard: AtomicBool,
    pub(crate) work: watch::Sender<u64>,
    pub(crate) ends: watch::Sender<u64>,
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            me: SubmitterId::new(),
            wanted: Notify::new(),
            work_wanted: AtomicBool::new(false),
            ends_wanted: Mutex::default(),
            heard: Notify::new(),
            work_heard: AtomicBool::new(false),
            ends_heard: AtomicBool::new(false),
            work: watch::Sender::new(0),
            ends: watch::Sender::new(0),
        }
    }
}

impl Hints {
    /// Others are to hear that there is work, or a notice.
    pub(crate) fn tell_of_work(&self) {
        self.work_wanted.store(true, Ordering::Release);
        self.wanted.notify_one();
    }

    /// These are to hear that executions of theirs are over.
    pub(crate) fn tell_of_ends(&self, submitters: &[SubmitterId]) {
        let mut others = submitters.iter().filter(|submitter| **submitter != self.me).peekable();
        if others.peek().is_some() {
            self.ends_wanted.lock().extend(others);
            self.wanted.notify_one();
        }
    }

    /// What to send, as soon as there is something.
    pub(crate) async fn to_be_sent(&self) -> String {
        loop {
            self.wanted.notified().await;
            let mut statements = Vec::new();
            if self.work_wanted.swap(false, Ordering::AcqRel) {
                statements.push(format!("NOTIFY {WORK}"));
            }
            let mut ends = self.ends_wanted.lock();
            while let Some(submitter) = ends.pop_first() {
                statements.push(format!("NOTIFY {}", channel(submitter)));
                if statements.len() >= TOLD_TOGETHER {
                    self.wanted.notify_one();
                    break;
                }
            }
            if !statements.is_empty() {
                return statements.join("; ");
            }
        }
    }

    /// What to send so that others are heard.
    pub(crate) fn listen(&self) -> String {
        format!("LISTEN {WORK}; LISTEN {}", channel(self.me))
    }

    /// Somebody told something on this channel.
    pub(crate) fn hear(&self, channel: &str) {
        let heard = if channel == WORK { &self.work_heard } else { &self.ends_heard };
        heard.store(true, Ordering::Release);
        self.heard.notify_one();
    }

    /// Passes on what was heard, as soon as there is something.
    pub(crate) async fn pass_on(&self) {
        self.heard.notified().await;
        for (heard, hint) in [(&self.work_heard, &self.work), (&self.ends_heard, &self.ends)] {
            if heard.swap(false, Ordering::AcqRel) {
                send(hint);
            }
        }
    }

    /// Something may have been missed.
    pub(crate) fn missed(&self) {
        send(&self.work);
        send(&self.ends);
    }
}

fn send(hint: &watch::Sender<u64>) {
    hint.send_modify(|count| *count = count.wrapping_add(1));
}

/// Its name has no character that would have to be quoted.
fn channel(submitter: SubmitterId) -> String {
    format!("{WORK}_{}", submitter.0.simple())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn who_submitted_is_told_and_nobody_else() {
        let (hints, other) = (Hints::default(), SubmitterId::new());
        hints.tell_of_ends(&[hints.me]);
        assert_eq!(hints.to_be_sent().now_or_never(), None);
        hints.tell_of_ends(&[other, hints.me, other]);
        assert_eq!(hints.to_be_sent().now_or_never(), Some(format!("NOTIFY cloacina_{}", other.0.simple())));
        hints.tell_of_work();
        assert_eq!(hints.to_be_sent().now_or_never().as_deref(), Some("NOTIFY cloacina"));
        assert_eq!(hints.to_be_sent().now_or_never(), None);
    }

    #[test]
    fn many_are_told_one_batch_after_the_other() {
        let hints = Hints::default();
        let others: Vec<_> = (0..150).map(|_| SubmitterId::new()).collect();
        hints.tell_of_ends(&others);
        let sent = [hints.to_be_sent(), hints.to_be_sent()].map(|sent| sent.now_or_never().unwrap());
        assert_eq!(sent.map(|sent| sent.split("; ").count()), [100, 50]);
    }

    #[test]
    fn what_is_heard_is_passed_on_where_it_belongs() {
        let hints = Hints::default();
        let (mut work, mut ends) = (hints.work.subscribe(), hints.ends.subscribe());
        hints.hear(&channel(hints.me));
        assert!(hints.pass_on().now_or_never().is_some());
        assert_eq!((work.has_changed().unwrap(), ends.has_changed().unwrap()), (false, true));
        ends.mark_unchanged();
        hints.hear(WORK);
        assert!(hints.pass_on().now_or_never().is_some());
        assert_eq!((work.has_changed().unwrap(), ends.has_changed().unwrap()), (true, false));
        work.mark_unchanged();
    }
}
