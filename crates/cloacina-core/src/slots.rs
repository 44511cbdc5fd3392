//! How many tasks may run at once: in one tenant's place, and in the whole process.
//!
//! A running task cannot be taken its slot away, so where one tenant had them all, another would wait for as
//! long as its tasks take. Therefore a part of the process's slots is kept for tenants below their share: the
//! slots divided by the tenants that use any, and one more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::meters;
use crate::wake::Wake;

/// A number of slots.
#[derive(Debug)]
struct Slots {
    used: AtomicUsize,
    limit: AtomicUsize,
    /// How many of those that are used are held by tasks that wait for executions.
    waiting: AtomicUsize,
}

impl Slots {
    const fn new(limit: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit: AtomicUsize::new(limit), waiting: AtomicUsize::new(0) }
    }

    /// Takes up to `wanted` slots, and says how many were used before and how many it got.
    fn take(&self, wanted: usize) -> (usize, usize) {
        self.take_with(wanted, wanted, 0)
    }

    /// As [`take`](Self::take); of the last `reserve` slots at most `privileged`.
    fn take_with(&self, wanted: usize, privileged: usize, reserve: usize) -> (usize, usize) {
        let limit = self.limit.load(Ordering::Relaxed);
        let mut granted = 0;
        // The closure always returns a value, so the update never fails.
        let before = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            let free = limit.saturating_sub(used);
            granted = wanted.min(free.saturating_sub(reserve)).max(wanted.min(privileged).min(free));
            Some(used + granted)
        });
        (before.unwrap_or_default(), granted)
    }

    /// How many were used before.
    fn force(&self, count: usize) -> usize {
        self.used.fetch_add(count, Ordering::AcqRel)
    }

    /// How many are used after it.
    fn give(&self, count: usize) -> usize {
        self.used.fetch_sub(count, Ordering::AcqRel) - count
    }

    /// How many are used, if all of them are held by tasks that wait.
    fn all_wait(&self) -> Option<usize> {
        let used = self.used.load(Ordering::Acquire);
        (used > 0 && self.waiting.load(Ordering::Acquire) >= used).then_some(used)
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
    /// How many tenants there are, and how many of them use slots.
    tenants: AtomicUsize,
    active: AtomicUsize,
}

/// How many tasks a process runs at once unless it is told otherwise.
const DEFAULT_PROCESS_TASKS: usize = 1024;

static PROCESS: ProcessSlots = ProcessSlots::new(DEFAULT_PROCESS_TASKS);

/// How many more tasks this process could run.
pub(crate) fn free_in_process() -> usize {
    let slots = &PROCESS.slots;
    slots.limit.load(Ordering::Relaxed).saturating_sub(slots.used.load(Ordering::Relaxed))
}

/// Whether so many are all that this process has.
#[cfg(feature = "testing")]
pub(crate) fn are_all(used: usize) -> bool {
    used >= PROCESS.slots.limit.load(Ordering::Relaxed)
}

/// Whether no more than one tenant is open in this process.
pub(crate) fn is_one_tenant() -> bool {
    PROCESS.tenants.load(Ordering::Relaxed) < 2
}

/// Sets how many tasks this process runs at once.
pub(crate) fn set_process_limit(limit: usize) {
    PROCESS.slots.limit.store(limit, Ordering::Relaxed);
    PROCESS.wake();
}

impl ProcessSlots {
    const fn new(limit: usize) -> Self {
        Self {
            slots: Slots::new(limit),
            starved: AtomicBool::new(false),
            waiting: Mutex::new(Vec::new()),
            tenants: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
        }
    }

    /// How many slots are kept for tenants below their share, and what that is: a tenth, where there is more
    /// than one tenant.
    fn reserve(&self) -> (usize, usize) {
        let limit = self.slots.limit.load(Ordering::Relaxed);
        let tenants = self.tenants.load(Ordering::Relaxed);
        if tenants < 2 {
            return (0, limit);
        }
        let reserve = limit.div_ceil(10).min(limit.saturating_sub(1));
        // One that uses none may be the next to come.
        (reserve, limit / (self.active.load(Ordering::Relaxed) + 1).min(tenants))
    }

    /// Takes up to `wanted` slots for a tenant that used `used` before, and says how many it got. If it got
    /// less, `watch` is woken when one comes back.
    fn take(&self, wanted: usize, used: usize, watch: &Arc<Wake>) -> usize {
        let (reserve, share) = self.reserve();
        let take = |wanted, used| self.slots.take_with(wanted, share.saturating_sub(used), reserve).1;
        let granted = take(wanted, used);
        if granted == wanted {
            return granted;
        }
        {
            let mut waiting = self.waiting.lock();
            if !waiting.iter().any(|known| Arc::ptr_eq(known, watch)) {
                waiting.push(Arc::clone(watch));
            }
            self.starved.swap(true, Ordering::AcqRel);
        }
        // What came back since the first look woke nobody.
        granted + take(wanted - granted, used + granted)
    }

    fn tell(&self) {
        meters::slots(self.slots.used.load(Ordering::Relaxed), self.slots.limit.load(Ordering::Relaxed));
    }

    /// Wakes everybody who got less than it wanted.
    fn wake(&self) {
        if self.starved.swap(false, Ordering::AcqRel) {
            let waiting = std::mem::take(&mut *self.waiting.lock());
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
        Self::of(&PROCESS, limit, watch)
    }

    fn of(process: &'static ProcessSlots, limit: usize, watch: Arc<Wake>) -> Arc<Self> {
        process.tenants.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { slots: Slots::new(limit), watch, process })
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

    /// How many are free, as far as the tenant's own limit goes.
    pub(crate) fn free(&self) -> usize {
        self.slots.limit.load(Ordering::Relaxed).saturating_sub(self.used())
    }

    /// The slot of a task waits with it, until this is dropped.
    pub(crate) fn waits(self: &Arc<Self>) -> SlotWaits {
        self.slots.waiting.fetch_add(1, Ordering::AcqRel);
        self.process.slots.waiting.fetch_add(1, Ordering::AcqRel);
        SlotWaits { slots: Arc::clone(self) }
    }

    /// Whether all slots that keep another task of this tenant from one are held by tasks that wait.
    pub(crate) fn all_wait(&self) -> Option<AllWait> {
        if self.free() == 0 {
            return self.slots.all_wait().map(AllWait::OfTenant);
        }
        self.process.slots.all_wait().map(AllWait::OfProcess)
    }

    /// Up to `wanted` permits.
    pub(crate) fn take(self: &Arc<Self>, wanted: usize) -> Vec<Permit> {
        let (used, here) = self.slots.take(wanted);
        if here == 0 {
            return Vec::new();
        }
        self.note_active(used);
        let granted = self.process.take(here, used, &self.watch);
        if granted < here {
            self.give(here - granted);
        }
        self.process.tell();
        (0..granted).map(|_| Permit { slots: Arc::clone(self) }).collect()
    }

    /// A permit beyond all limits, for work that is already claimed.
    pub(crate) fn force(self: &Arc<Self>) -> Permit {
        self.note_active(self.slots.force(1));
        self.process.slots.force(1);
        self.process.tell();
        Permit { slots: Arc::clone(self) }
    }

    fn note_active(&self, used_before: usize) {
        if used_before == 0 {
            self.process.active.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn give(&self, count: usize) {
        if self.slots.give(count) == 0 {
            self.process.active.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for TenantSlots {
    fn drop(&mut self) {
        self.process.tenants.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The right to run one task; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    slots: Arc<TenantSlots>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.slots.give(1);
        self.slots.process.slots.give(1);
        self.slots.process.tell();
        self.slots.process.wake();
        self.slots.watch.wake_if_armed();
    }
}

/// A slot whose task waits for an execution, as long as this lives.
#[derive(Debug)]
pub(crate) struct SlotWaits {
    slots: Arc<TenantSlots>,
}

impl Drop for SlotWaits {
    fn drop(&mut self) {
        self.slots.slots.waiting.fetch_sub(1, Ordering::AcqRel);
        self.slots.process.slots.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// That so many slots are all held by tasks that wait for executions: as many as a tenant may have, or all
/// that are used in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AllWait {
    OfTenant(usize),
    OfProcess(usize),
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
        if QUEUE.take(1).1 == 1 { Ok(Self(())) } else { Err(QUEUE.used.load(Ordering::Relaxed)) }
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

    fn tenants<const N: usize>(limit: usize) -> (&'static ProcessSlots, [Arc<TenantSlots>; N]) {
        let process: &'static ProcessSlots = Box::leak(Box::new(ProcessSlots::new(limit)));
        (process, std::array::from_fn(|_| TenantSlots::of(process, 1_000, Arc::default())))
    }

    #[test]
    fn a_tenant_that_is_alone_may_use_all_slots() {
        let (_, [alone]) = tenants(100);
        assert_eq!(alone.take(200).len(), 100);
    }

    #[test]
    fn one_that_uses_all_that_it_may_leaves_slots_to_another() {
        for (limit, most) in [(1, 1), (2, 1), (10, 9), (100, 90), (1_024, 921)] {
            let (_, [loud, quiet]) = tenants(limit);
            let held = loud.take(1_000).into_iter().chain(loud.take(1_000)).collect::<Vec<_>>();
            assert_eq!(held.len(), most, "of {limit}");
            assert_eq!(quiet.take(1_000).len(), limit - most, "of {limit}");
        }
    }

    #[test]
    fn of_the_reserve_a_tenant_gets_what_is_below_its_share() {
        let (_, [loud, quiet, other]) = tenants(100);
        let _loud = loud.take(1_000);
        // A third of the slots each, of which ten are left.
        let _quiet = quiet.take(6);
        assert_eq!(other.take(50).len(), 4);
        assert_eq!(loud.take(1).len(), 0);
    }

    #[test]
    fn all_wait_only_when_each_slot_is_held_by_a_task_that_waits() {
        let (_, [acme, globex]) = tenants(3);
        acme.set_limit(2);
        let _acme = acme.take(2);
        let one = acme.waits();
        assert_eq!(acme.all_wait(), None, "the other task may end");
        let two = acme.waits();
        assert_eq!(acme.all_wait(), Some(AllWait::OfTenant(2)));
        // Others have slots of the process left, until what they use waits as well.
        let _globex = globex.take(2);
        assert_eq!(globex.all_wait(), None);
        let three = globex.waits();
        assert_eq!(globex.all_wait(), Some(AllWait::OfProcess(3)));
        drop(two);
        assert_eq!((acme.all_wait(), globex.all_wait()), (None, None));
        drop((one, three));
        assert_eq!(acme.all_wait(), None);
    }

    #[test]
    fn a_slot_that_comes_back_while_somebody_looks_for_one_is_not_missed() {
        for round in 0..200 {
            let process: &'static ProcessSlots = Box::leak(Box::new(ProcessSlots::new(1)));
            let watch = Arc::new(Wake::default());
            // More of its own than the process has.
            let tenant = TenantSlots::of(process, 8, Arc::clone(&watch));
            let permit = tenant.take(1).pop().unwrap();
            // Whoever gets nothing stops here before it says so.
            let list = process.waiting.lock();
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
