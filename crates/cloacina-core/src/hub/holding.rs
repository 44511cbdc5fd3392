//! Tasks that wait for executions while they hold a slot.
//!
//! Where every slot is held so, nothing can start any more, not even what they wait for. The log says so. A
//! wait in another task of the runtime, which the task spawned, is not seen.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tracing::warn;

use super::place::OpenPlace;
use super::shared::Hub;
use crate::id::ExecutionId;
use crate::slots::{AllWait, SlotWaits};

/// How long a task waits before it is looked whether it can ever end; then twice as long, and so on up to
/// `LONGEST`.
const FIRST: Duration = Duration::from_secs(3);
const LONGEST: Duration = Duration::from_secs(600);

/// How long it is not said again of a tenant.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// A task that holds a slot while its code runs.
pub(super) trait Holder: Send + Sync {
    fn held(&self) -> Held<'_>;
}

/// What is known of it.
pub(super) struct Held<'a> {
    pub(super) hub: &'a Hub,
    pub(super) place: &'a OpenPlace,
    pub(super) workflow: &'a str,
    pub(super) execution: ExecutionId,
    pub(super) task: &'a str,
    pub(super) waits: &'a Waits,
}

/// For how many executions a task waits at the moment, and that its slot waits with it.
#[derive(Debug, Default)]
pub(super) struct Waits {
    slot: Mutex<Option<SlotWaits>>,
    count: AtomicUsize,
}

thread_local! {
    /// Whose code has this thread.
    static HERE: Cell<Option<Arc<dyn Holder>>> = const { Cell::new(None) };
}

/// Runs code of a task, which is known for its own meanwhile. It must not panic.
pub(super) fn within<T>(holder: &mut Option<Arc<dyn Holder>>, code: impl FnOnce() -> T) -> T {
    let outer = HERE.replace(holder.take());
    let result = code();
    *holder = HERE.replace(outer);
    result
}

fn here() -> Option<Arc<dyn Holder>> {
    let holder = HERE.take();
    HERE.set(holder.clone());
    holder
}

/// Waits for an execution. If the waiter is a task that holds a slot, somebody looks meanwhile whether that
/// can end.
pub(crate) async fn waiting<T>(execution: ExecutionId, wait: impl Future<Output = T>) -> T {
    let Some(holder) = here() else { return wait.await };
    let waiting = Waiting::begin(holder);
    let mut wait = pin!(wait);
    let mut patience = FIRST;
    loop {
        tokio::select! {
            biased;
            ended = &mut wait => return ended,
            () = waiting.0.held().hub.sleep(patience) => waiting.0.held().look(execution),
        }
        patience = (patience * 2).min(LONGEST);
    }
}

/// A task that waits, as long as this lives.
struct Waiting(Arc<dyn Holder>);

impl Waiting {
    fn begin(holder: Arc<dyn Holder>) -> Self {
        let Held { place, waits, .. } = holder.held();
        if waits.count.fetch_add(1, Ordering::AcqRel) == 0 {
            *waits.slot.lock() = Some(place.slots.waits());
        }
        Self(holder)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Held { waits, .. } = self.0.held();
        if waits.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            waits.slot.lock().take();
        }
    }
}

impl Held<'_> {
    /// Says it if nothing can start any more, since all wait for something that has to start.
    fn look(&self, on: ExecutionId) {
        let Some(all) = self.place.slots.all_wait() else { return };
        let now = self.hub.clock().monotonic();
        {
            let mut state = self.place.state();
            let told = state.claiming.all_wait_told.is_some_and(|at| now < at + SAID_AGAIN);
            if told || state.claiming.starving.is_none() {
                return;
            }
            state.claiming.all_wait_told = Some(now);
        }
        let (slots, setting) = match all {
            AllWait::OfTenant(slots) => (slots, "max_concurrent_tasks"),
            AllWait::OfProcess(slots) => (slots, "max_process_tasks"),
        };
        warn!(
            tenant = self.place.place.name,
            workflow = self.workflow,
            execution = %self.execution,
            task = self.task,
            waits_for = %on,
            slots,
            setting,
            "every slot is held by a task that waits for an execution, and what they wait for gets none: \
             start it as a child of the workflow (`Wait::child`), which takes no slot while it is waited for, or raise \
             the setting"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody who is never asked.
    struct Nobody;

    impl Holder for Nobody {
        fn held(&self) -> Held<'_> {
            unreachable!("nobody waits here")
        }
    }

    #[test]
    fn code_that_runs_within_other_code_is_known_for_its_own() {
        let holder = || Arc::new(Nobody) as Arc<dyn Holder>;
        let is_here = |holder: &Arc<dyn Holder>| here().is_some_and(|here| Arc::ptr_eq(&here, holder));
        let (outer, inner) = (holder(), holder());
        within(&mut Some(Arc::clone(&outer)), || {
            assert!(is_here(&outer));
            within(&mut Some(Arc::clone(&inner)), || assert!(is_here(&inner)));
            within(&mut None, || assert!(here().is_none()));
            assert!(is_here(&outer));
        });
        assert!(here().is_none());
    }
}
