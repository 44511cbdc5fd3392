//! Places that wait for their turn: for slots, and for what is done for many at once.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::place::OpenPlace;

/// The most bells that are lowered in one transaction: whoever rings one of them meanwhile waits for its end.
/// One task lowers them.
const LOWERED: (usize, usize) = (256, 1);

/// How many places are settled in one transaction, and how many such transactions there are at once: while
/// one waits for what somebody else has locked, another goes on.
const SETTLED: (usize, usize) = (64, 2);

/// How many places are expanded in one transaction, and how many such transactions there are at once.
const EXPANDED: (usize, usize) = (64, 2);

/// How many places share one answer about which code lives. One task asks.
const ORPHANED: (usize, usize) = (256, 1);

/// Places that may have claimable work, in the order in which they are served.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<VecDeque<Arc<OpenPlace>>>);

/// Places for which the same is to be done. While it is done for some, others gather.
#[derive(Debug)]
pub(super) struct Gathering {
    /// For how many it is done at once.
    together: usize,
    /// How many tasks do it.
    workers: usize,
    gathered: Mutex<Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    waiting: VecDeque<Arc<OpenPlace>>,
    /// How many are at work, and look for more.
    under_way: usize,
}

impl Turns {
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }

    pub(super) fn push(&self, place: Arc<OpenPlace>) {
        self.0.lock().push_back(place);
    }

    pub(super) fn pop(&self) -> Option<Arc<OpenPlace>> {
        self.0.lock().pop_front()
    }
}

impl Gathering {
    /// Gathers places that share tables, and whose bells are to be lowered.
    pub(super) fn lowering() -> Self {
        Self::new(LOWERED)
    }

    /// Gathers places that share tables, and in which something may be due.
    pub(super) fn settling() -> Self {
        Self::new(SETTLED)
    }

    /// Gathers places that share tables, and in which executions wait for their tasks.
    pub(super) fn expanding() -> Self {
        Self::new(EXPANDED)
    }

    /// Gathers places whose work may be of code that nobody has.
    pub(super) fn orphaned() -> Self {
        Self::new(ORPHANED)
    }

    fn new((together, workers): (usize, usize)) -> Self {
        Self { together, workers, gathered: Mutex::default() }
    }

    /// True if one more is to begin.
    pub(super) fn add(&self, place: Arc<OpenPlace>) -> bool {
        let mut gathered = self.gathered.lock();
        gathered.waiting.push_back(place);
        let begins = gathered.under_way < self.workers;
        gathered.under_way += usize::from(begins);
        begins
    }

    /// The next ones; if there are none, whoever asks is done.
    pub(super) fn next(&self) -> Vec<Arc<OpenPlace>> {
        let mut gathered = self.gathered.lock();
        let most = gathered.waiting.len().min(self.together);
        if most == 0 {
            gathered.under_way -= 1;
        }
        gathered.waiting.drain(..most).collect()
    }
}
