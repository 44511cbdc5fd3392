//! Places that wait for their turn: for slots, and for their bells to be lowered.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::place::OpenPlace;

/// The most bells that are lowered in one transaction: whoever rings one of them meanwhile waits for its end.
const LOWERED_TOGETHER: usize = 256;

/// Places that may have claimable work, in the order in which they are served.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<VecDeque<Arc<OpenPlace>>>);

/// The places that share tables and whose bells are to be lowered, each with the time before which its
/// due rows are not to be looked at. While some are lowered, others gather.
#[derive(Debug, Default)]
pub(super) struct Lowering(Mutex<Gathered>);

#[derive(Debug, Default)]
struct Gathered {
    waiting: Vec<Arc<OpenPlace>>,
    /// Whether somebody is lowering, and looks for more.
    under_way: bool,
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

impl Lowering {
    /// True if nobody is lowering at the moment.
    pub(super) fn add(&self, place: Arc<OpenPlace>) -> bool {
        let mut gathered = self.0.lock();
        gathered.waiting.push(place);
        !std::mem::replace(&mut gathered.under_way, true)
    }

    /// The next ones; if there are none, whoever asks is done.
    pub(super) fn next(&self) -> Vec<Arc<OpenPlace>> {
        let mut gathered = self.0.lock();
        let most = gathered.waiting.len().min(LOWERED_TOGETHER);
        gathered.under_way = most > 0;
        gathered.waiting.drain(..most).collect()
    }
}
