//! How many executions of a tenant are under way, and how many wait, as far as is known here.
//!
//! No row counts them: the estimate is what the database said last, and what was submitted here since, less
//! what ended here since. While it is below the limit a submission costs nothing.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard};

/// How old an answer may become while executions are submitted.
const RECOUNT: Duration = Duration::from_secs(1);

/// How old an answer may be for a refusal.
const FRESH: Duration = Duration::from_millis(100);

/// What is known of the executions of a place that are not over. Written by whoever submits, by the kernel
/// and by whoever counts them.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<Estimate>,
    /// Held by whoever counts them for those that wait for the answer.
    counting: AsyncMutex<()>,
}

#[derive(Debug, Default)]
struct Estimate {
    open: usize,
    /// When the database was asked last; `None` if never.
    counted: Option<Duration>,
    /// Whether it is being asked beside the submissions.
    recounting: bool,
    /// Admitted and not known to be recorded.
    under_way: usize,
    /// How many were ever admitted.
    admitted: u64,
}

/// A new execution that counts, where there are limits. It no longer does if this is dropped before it is
/// recorded.
#[derive(Debug)]
pub(crate) struct Admitted(pub(crate) Vec<Counted>);

/// One that counts in one queue.
#[derive(Debug)]
pub(crate) struct Counted {
    queue: Arc<Queue>,
    recorded: bool,
}

/// What was under way when the database was asked.
pub(crate) struct Count {
    under_way: usize,
    admitted: u64,
}

impl Admitted {
    pub(crate) fn recorded(mut self) {
        for counted in &mut self.0 {
            counted.recorded = true;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut estimate = self.queue.state.lock();
        estimate.under_way -= 1;
        if !self.recorded {
            estimate.open = estimate.open.saturating_sub(1);
        }
    }
}

impl Queue {
    /// Executions ended.
    pub(crate) fn left(&self, ended: usize) {
        if ended > 0 {
            let mut estimate = self.state.lock();
            estimate.open = estimate.open.saturating_sub(ended);
        }
    }

    /// Counts a new execution, if by what is known there are fewer than `limit`. The second value is whether
    /// the database should be asked again; whoever does says so by [`recounted`](Self::recounted).
    pub(crate) fn admit(self: &Arc<Self>, limit: usize, now: Duration) -> (Option<Counted>, bool) {
        let admitted = self.try_admit(limit);
        let mut estimate = self.state.lock();
        let old = estimate.counted.is_some_and(|counted| now >= counted + RECOUNT);
        let recount = admitted.is_some() && old && !estimate.recounting;
        estimate.recounting |= recount;
        (admitted, recount)
    }

    pub(crate) fn try_admit(self: &Arc<Self>, limit: usize) -> Option<Counted> {
        let mut estimate = self.state.lock();
        if estimate.counted.is_none() || estimate.open >= limit {
            return None;
        }
        estimate.open += 1;
        estimate.under_way += 1;
        estimate.admitted += 1;
        Some(Counted { queue: Arc::clone(self), recorded: false })
    }

    /// Waits for one's turn to ask the database before a refusal.
    pub(crate) async fn turn(&self) -> AsyncMutexGuard<'_, ()> {
        self.counting.lock().await
    }

    /// Whether the last answer is new enough to refuse an execution.
    pub(crate) fn is_fresh(&self, now: Duration) -> bool {
        self.state.lock().counted.is_some_and(|counted| now < counted + FRESH)
    }

    pub(crate) fn recounted(&self) {
        self.state.lock().recounting = false;
    }

    /// The database is about to be asked.
    pub(crate) fn begin_count(&self) -> Count {
        let estimate = self.state.lock();
        Count { under_way: estimate.under_way, admitted: estimate.admitted }
    }

    /// The database said that there are so many.
    pub(crate) fn end_count(&self, before: &Count, counted: usize, now: Duration) {
        let mut estimate = self.state.lock();
        // What was under way may have been counted as well, and what ended in the meantime may not: the
        // estimate errs on the safe side.
        let since = usize::try_from(estimate.admitted - before.admitted).unwrap_or(usize::MAX);
        estimate.open = counted.saturating_add(before.under_way).saturating_add(since);
        estimate.counted = Some(now);
    }
}
