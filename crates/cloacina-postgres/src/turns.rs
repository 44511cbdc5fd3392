//! Whose turn it is to read.
//!
//! What a user reads may take long, and any number of such reads may be asked for at once. Each tenant has a
//! part of the connections for reads, and waits for its own reads only: so one that reads all the time keeps
//! neither the connections from the others nor all cores of the server busy.

use std::collections::HashMap;
use std::sync::Arc;

use cloacina_core::id::TenantId;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<TenantId, Arc<Semaphore>>>);

impl Turns {
    /// The turn of a tenant, of which at most so many are taken at once.
    pub(crate) async fn take(&self, tenant: TenantId, at_once: usize) -> Turn<'_> {
        let turns = {
            let mut known = self.0.lock();
            Arc::clone(known.entry(tenant).or_insert_with(|| Arc::new(Semaphore::new(at_once.max(1)))))
        };
        // Nobody closes it.
        let permit = turns.acquire_owned().await.ok();
        Turn { turns: self, tenant, permit }
    }
}

/// The right to read.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    tenant: TenantId,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut known = self.turns.0.lock();
        self.permit = None;
        // Who waits has a part in it, and nobody gets one without the lock.
        if known.get(&self.tenant).is_some_and(|turns| Arc::strong_count(turns) == 1) {
            known.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_tenant_waits_for_its_own_turns_only() {
        let turns = Turns::default();
        let (one, other) = (TenantId::new(), TenantId::new());
        let taken = turns.take(one, 1).now_or_never().unwrap();
        assert!(turns.take(one, 1).now_or_never().is_none());
        let others = turns.take(other, 1).now_or_never().unwrap();
        drop(taken);
        drop(turns.take(one, 1).now_or_never().unwrap());
        drop(others);
        assert!(turns.0.lock().is_empty());
    }

    #[test]
    fn who_waits_gets_the_turn_that_is_given_back() {
        let turns = Turns::default();
        let tenant = TenantId::new();
        let taken = turns.take(tenant, 1).now_or_never().unwrap();
        let mut waits = Box::pin(turns.take(tenant, 1));
        assert!((&mut waits).now_or_never().is_none());
        drop(taken);
        assert!(turns.take(tenant, 1).now_or_never().is_none());
        drop(waits.now_or_never().unwrap());
        assert!(turns.0.lock().is_empty());
    }
}
