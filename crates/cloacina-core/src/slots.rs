//! How many tasks may run at once: in one tenant's place, and in the whole process.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::wake::Wake;

/// A number of slots.
#[derive(Debug)]
struct Slots {
    used: AtomicUsize,
    limit: AtomicUsize,
}

impl Slots {
    const fn new(limit: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit: AtomicUsize::new(limit) }
    }

    /// Takes up to `wanted` slots and says how many it got.
    fn take(&self, wanted: usize) -> usize {
        let limit = self.limit.load(Ordering::Relaxed);
        let mut granted = 0;
        // The closure always returns a value, so the update never fails.
        let _ = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            granted = wanted.min(limit.saturating_sub(used));
            Some(used + granted)
        });
        granted
    }

    fn force(&self, count: usize) {
        self.used.fetch_add(count, Ordering::AcqRel);
    }

    fn give(&self, count: usize) {
        self.used.fetch_sub(count, Ordering::AcqRel);
    }
}

/// The slots of the process, whatever databases its tenants are in.
#[derive(Debug)]
struct ProcessSlots {
    slots: Slots,
    /// Whether somebody got less than it wanted since the last slot came back.
    starved: AtomicBool,
    /// Whom to wake when one does.
    waiting: Mutex<Vec<Arc<Wake>>>,
}

/// How many tasks a process runs at once unless it is told otherwise.
const DEFAULT_PROCESS_TASKS: usize = 1024;

static PROCESS: ProcessSlots = ProcessSlots::new(DEFAULT_PROCESS_TASKS);

/// How many more tasks this process could run.
pub(crate) fn free_in_process() -> usize {
    let slots = &PROCESS.slots;
    slots.limit.load(Ordering::Relaxed).saturating_sub(slots.used.load(Ordering::Relaxed))
}

/// Sets how many tasks this process runs at once.
pub(crate) fn set_process_limit(limit: usize) {
    PROCESS.slots.limit.store(limit, Ordering::Relaxed);
    PROCESS.wake();
}

impl ProcessSlots {
    const fn new(limit: usize) -> Self {
        Self { slots: Slots::new(limit), starved: AtomicBool::new(false), waiting: Mutex::new(Vec::new()) }
    }

    /// Takes up to `wanted` slots and says how many it got. If it got less, `watch` is woken when one comes back.
    fn take(&self, wanted: usize, watch: &Arc<Wake>) -> usize {
        let granted = self.slots.take(wanted);
        if granted == wanted {
            return granted;
        }
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if !waiting.iter().any(|known| Arc::ptr_eq(known, watch)) {
                waiting.push(Arc::clone(watch));
            }
            self.starved.swap(true, Ordering::AcqRel);
        }
        // What came back since the first look woke nobody.
        granted + self.slots.take(wanted - granted)
    }

    /// Wakes everybody who got less than it wanted.
    fn wake(&self) {
        if self.starved.swap(false, Ordering::AcqRel) {
            let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            waiting.iter().for_each(|watch| watch.wake());
        }
    }
}

/// The slots of one tenant in this process.
#[derive(Debug)]
pub(crate) struct TenantSlots {
    slots: Slots,
    watch: Arc<Wake>,
    process: &'static ProcessSlots,
}

impl TenantSlots {
    pub(crate) fn new(limit: usize, watch: Arc<Wake>) -> Arc<Self> {
        Arc::new(Self { slots: Slots::new(limit), watch, process: &PROCESS })
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.slots.limit.store(limit, Ordering::Relaxed);
        // There may be more of them now than somebody got.
        self.watch.wake();
    }

    /// How many are used at the moment.
    pub(crate) fn used(&self) -> usize {
        self.slots.used.load(Ordering::Relaxed)
    }

    /// Whether more are used than there are.
    pub(crate) fn is_above_limit(&self) -> bool {
        self.used() > self.slots.limit.load(Ordering::Relaxed)
    }

    /// Up to `wanted` permits.
    pub(crate) fn take(self: &Arc<Self>, wanted: usize) -> Vec<Permit> {
        let here = self.slots.take(wanted);
        if here == 0 {
            return Vec::new();
        }
        let granted = self.process.take(here, &self.watch);
        if granted < here {
            self.slots.give(here - granted);
        }
        (0..granted).map(|_| Permit { slots: Arc::clone(self) }).collect()
    }

    /// A permit beyond all limits, for work that is already claimed.
    pub(crate) fn force(self: &Arc<Self>) -> Permit {
        self.slots.force(1);
        self.process.slots.force(1);
        Permit { slots: Arc::clone(self) }
    }
}

/// The right to run one task; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    slots: Arc<TenantSlots>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.slots.slots.give(1);
        self.slots.process.slots.give(1);
        self.slots.process.wake();
        self.slots.watch.wake_if_armed();
    }
}

/// New executions on their way to the databases, of all tenants.
static QUEUE: Slots = Slots::new(DEFAULT_PROCESS_QUEUE);

/// How many of them there may be unless the process is told otherwise.
const DEFAULT_PROCESS_QUEUE: usize = 100_000;

/// Sets how many new executions of this process may be on their way to a database.
pub(crate) fn set_queue_limit(limit: usize) {
    QUEUE.limit.store(limit, Ordering::Relaxed);
}

/// A new execution on its way to a database; it has arrived, or was refused, when this is dropped.
#[derive(Debug)]
pub(crate) struct QueuePermit(());

impl QueuePermit {
    /// Otherwise: how many there are.
    pub(crate) fn take() -> Result<Self, usize> {
        if QUEUE.take(1) == 1 { Ok(Self(())) } else { Err(QUEUE.used.load(Ordering::Relaxed)) }
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        QUEUE.give(1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_slot_that_comes_back_while_somebody_looks_for_one_is_not_missed() {
        for round in 0..200 {
            let process: &'static ProcessSlots = Box::leak(Box::new(ProcessSlots::new(1)));
            let watch = Arc::new(Wake::default());
            // More of its own than the process has.
            let tenant = Arc::new(TenantSlots { slots: Slots::new(8), watch: Arc::clone(&watch), process });
            let permit = tenant.take(1).pop().unwrap();
            // Whoever gets nothing stops here before it says so.
            let list = process.waiting.lock().unwrap();
            let taker = std::thread::spawn({
                let tenant = Arc::clone(&tenant);
                move || tenant.take(1)
            });
            while tenant.used() < 2 {
                std::thread::yield_now();
            }
            // It is about to see that the process has none.
            (0..100).for_each(|_| std::thread::yield_now());
            drop(permit);
            drop(list);
            let taken = taker.join().unwrap();
            let told = watch.woken().now_or_never().is_some();
            assert!(!taken.is_empty() || told, "round {round}");
        }
    }
}
