//! Which blocking tasks may run at once in this process.
//!
//! Each takes a thread. All tenants together have as many as there are cores, and those that wait are served
//! in turn. A tenant of which none runs has one beyond that, so that no tenant can keep the tasks of another
//! from running: only all of them together reach the limit of the process.

use std::collections::{HashMap, VecDeque};
use std::sync::LazyLock;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::id::TenantId;
use crate::meters;

/// The most blocking tasks that run at once in this process, unless there are more cores: less than the
/// threads that a Tokio runtime has for them, which the program needs for its own.
const MOST: usize = 256;

static BLOCKING: LazyLock<Blocking> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Blocking::new(cores, cores.max(MOST))
});

struct Blocking {
    /// How many of one tenant may run, and how many of all as long as more than one of a tenant do.
    cores: usize,
    /// How many of all tenants may run.
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: HashMap<TenantId, usize>,
    all_running: usize,
    waiting: HashMap<TenantId, VecDeque<oneshot::Sender<Turn>>>,
    all_waiting: usize,
    /// The tenants that wait, in the order in which they are served.
    order: VecDeque<TenantId>,
}

/// The right to run one blocking task; given back when dropped.
pub(crate) struct Turn {
    of: &'static Blocking,
    tenant: TenantId,
}

/// A place in the queue for one; given up when dropped.
pub(crate) struct Waiting(oneshot::Receiver<Turn>);

impl Waiting {
    pub(crate) async fn turn(&mut self) -> Turn {
        (&mut self.0).await.expect("whoever waits is served before its sender is dropped")
    }
}

/// A turn at once, or a place in the queue for one.
pub(crate) fn turn(tenant: TenantId) -> Result<Turn, Waiting> {
    BLOCKING.turn(tenant)
}

/// How many blocking tasks run and wait at the moment, of all tenants.
pub(crate) fn figures() -> (usize, usize) {
    let state = BLOCKING.state();
    (state.all_running, state.all_waiting)
}

impl Blocking {
    fn new(cores: usize, most: usize) -> Self {
        Self { cores, most, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn turn(&'static self, tenant: TenantId) -> Result<Turn, Waiting> {
        let mut state = self.state();
        // Whoever waits already was served if that was possible, so nobody is overtaken.
        if state.may_run(self, tenant) {
            state.start(tenant);
            return Ok(Turn { of: self, tenant });
        }
        let (sender, receiver) = oneshot::channel();
        let queue = state.waiting.entry(tenant).or_default();
        queue.push_back(sender);
        if queue.len() == 1 {
            state.order.push_back(tenant);
        }
        state.all_waiting += 1;
        state.tell();
        Err(Waiting(receiver))
    }

    /// Serves those that wait, one of each tenant in turn.
    fn serve(&'static self) {
        let mut served = Vec::new();
        {
            let mut state = self.state();
            // How many tenants in a row could not be served.
            let mut passed = 0;
            while passed < state.order.len() {
                let Some(tenant) = state.order.pop_front() else { break };
                if !state.may_run(self, tenant) {
                    state.order.push_back(tenant);
                    passed += 1;
                    continue;
                }
                let Some(sender) = state.next(tenant) else { continue };
                state.start(tenant);
                served.push((sender, tenant));
                passed = 0;
            }
            state.tell();
        }
        for (sender, tenant) in served {
            // Whoever gave up in the meantime hands the turn back by dropping it.
            drop(sender.send(Turn { of: self, tenant }));
        }
    }
}

impl State {
    fn may_run(&self, of: &Blocking, tenant: TenantId) -> bool {
        match self.running.get(&tenant) {
            None => self.all_running < of.most,
            Some(running) => *running < of.cores && self.all_running < of.cores,
        }
    }

    fn start(&mut self, tenant: TenantId) {
        *self.running.entry(tenant).or_default() += 1;
        self.all_running += 1;
        self.tell();
    }

    fn end(&mut self, tenant: TenantId) {
        self.all_running -= 1;
        if let Some(running) = self.running.get_mut(&tenant) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(&tenant);
            }
        }
    }

    /// The first of a tenant that still waits. The tenant goes to the end of the order if there are more.
    fn next(&mut self, tenant: TenantId) -> Option<oneshot::Sender<Turn>> {
        let queue = self.waiting.get_mut(&tenant)?;
        let before = queue.len();
        let next = std::iter::from_fn(|| queue.pop_front()).find(|sender| !sender.is_closed());
        self.all_waiting -= before - queue.len();
        if queue.is_empty() {
            self.waiting.remove(&tenant);
        } else {
            self.order.push_back(tenant);
        }
        next
    }

    fn tell(&self) {
        meters::blocking(self.all_running, self.all_waiting);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.state().end(self.tenant);
        self.of.serve();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.close();
        // The turn may have come in the moment in which it was given up.
        drop(self.0.try_recv());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use uuid::Uuid;

    use super::*;

    fn blocking(cores: usize, most: usize) -> &'static Blocking {
        Box::leak(Box::new(Blocking::new(cores, most)))
    }

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    fn wait(of: &'static Blocking, number: u128) -> Waiting {
        of.turn(tenant(number)).err().unwrap()
    }

    #[test]
    fn a_tenant_has_as_many_as_there_are_cores_and_another_one_has_one_all_the_same() {
        let blocking = blocking(2, 8);
        let first = [blocking.turn(tenant(1)).ok().unwrap(), blocking.turn(tenant(1)).ok().unwrap()];
        let mut third = wait(blocking, 1);
        let _other = blocking.turn(tenant(2)).ok().unwrap();
        let mut other_waits = wait(blocking, 2);
        assert!(third.turn().now_or_never().is_none());
        drop(first);
        // One is left of three, so there is a core for one more: for the one that waited first.
        let _third = third.turn().now_or_never().unwrap();
        assert!(other_waits.turn().now_or_never().is_none());
    }

    #[test]
    fn tenants_that_wait_are_served_in_turn() {
        let blocking = blocking(2, 2);
        let mut running: Vec<_> = (0..2).map(|_| blocking.turn(tenant(1)).ok().unwrap()).collect();
        let mut waiting: Vec<_> = [1, 1, 1, 2, 2, 3].map(|number| (number, wait(blocking, number))).into();
        let mut served = Vec::new();
        while !waiting.is_empty() {
            drop(running.remove(0));
            waiting.retain_mut(|(number, waiting)| match waiting.turn().now_or_never() {
                Some(turn) => {
                    served.push(*number);
                    running.push(turn);
                    false
                }
                None => true,
            });
        }
        assert_eq!(served, [1, 2, 3, 1, 2, 1]);
    }

    #[test]
    fn whoever_gives_up_waiting_is_passed_over() {
        let blocking = blocking(1, 1);
        let running = blocking.turn(tenant(1)).ok().unwrap();
        let (gone, mut next) = (wait(blocking, 1), wait(blocking, 2));
        drop(gone);
        drop(running);
        let turn = next.turn().now_or_never().unwrap();
        drop((turn, next));
        let state = blocking.state();
        assert_eq!((state.all_running, state.all_waiting, state.order.len()), (0, 0, 0));
        assert!(state.running.is_empty() && state.waiting.is_empty());
    }

    #[test]
    fn a_turn_that_comes_when_nobody_waits_for_it_any_more_goes_to_the_next() {
        let blocking = blocking(1, 1);
        let running = blocking.turn(tenant(1)).ok().unwrap();
        let (served, mut next) = (wait(blocking, 1), wait(blocking, 2));
        drop(running);
        drop(served);
        assert!(next.turn().now_or_never().is_some());
    }
}
