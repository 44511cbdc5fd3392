//! The places that are open, and what is known of tenants that nobody opened.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::warn;

use super::place::{HandleNumber, OpenPlace, WorkflowSet};
use crate::config::RunnerConfig;
use crate::error::Error;
use crate::id::TenantId;
use crate::workflow::Workflow;

/// How long a tenant may work before it makes room for others that wait.
const TURN: Duration = Duration::from_secs(5);

/// For how long a place that cannot be opened is put aside: at first, and at most.
pub(super) const ASIDE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The places of a database that are open in this process.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) open: HashMap<TenantId, Arc<OpenPlace>>,
    /// What is known of the tenants that nobody opened.
    pub(super) serving: Serving,
    /// Whether the last place was closed, and the hub with it.
    pub(super) closed: bool,
}

/// What is known of the tenants that nobody opened.
#[derive(Debug, Default)]
pub(super) struct Serving {
    /// The handles that asked for it; the newest counts.
    pub(super) servers: Vec<((TenantId, HandleNumber), Arc<Server>)>,
    pub(super) opening: HashSet<TenantId>,
    pub(super) aside: HashMap<TenantId, Aside>,
    /// The last tenant that was opened: the next one is the next in order, so that everybody has a turn.
    pub(super) last: Option<TenantId>,
    /// How many have found no room at the last look.
    pub(super) crowded: usize,
}

/// A runner that serves every tenant.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) settings: Arc<RunnerConfig>,
    workflows: Arc<WorkflowSet>,
    runtime: Handle,
}

/// A tenant that is left alone for a while.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aside {
    pub(super) until: Duration,
    pub(super) wait: Duration,
}

impl Server {
    pub(super) fn new(
        settings: &Arc<RunnerConfig>,
        workflows: &[Arc<Workflow>],
        runtime: Handle,
    ) -> Result<Self, Error> {
        let workflows = WorkflowSet::new(&WorkflowSet::default(), workflows.iter().cloned())?;
        Ok(Self { settings: Arc::clone(settings), workflows: Arc::new(workflows), runtime })
    }

    /// Lets a place that is served have what is this runner's.
    pub(super) fn equip(&self, place: &OpenPlace) -> Result<(), Error> {
        let mut guard = place.state();
        let state = &mut *guard;
        let Some(served) = &mut state.handles.served else { return Ok(()) };
        if state.handles.workflows.is_empty() {
            state.handles.workflows = Arc::clone(&self.workflows);
        } else if !Arc::ptr_eq(&state.handles.workflows, &self.workflows) {
            // Whoever opened the place itself gave its tasks what they ask for.
            let own = state.handles.workflows.all().cloned();
            state.handles.workflows = Arc::new(WorkflowSet::new(&self.workflows, own)?);
        }
        served.settings = Arc::clone(&self.settings);
        state.handles.executors.retain(|(number, _)| *number != served.handle);
        // The last one is where tasks run: on the runtime of whoever opened the place itself, if somebody
        // did.
        state.handles.executors.insert(0, (served.handle, self.runtime.clone()));
        if state.handles.count == 1 {
            state.handles.settings = Arc::clone(&self.settings);
            place.limit_slots(state);
        }
        Ok(())
    }
}

impl Serving {
    pub(super) fn put_aside(&mut self, tenant: TenantId, now: Duration, wait: Duration) {
        self.aside.insert(tenant, Aside { until: now + wait, wait });
    }

    /// For how long a tenant is put aside that was put aside before.
    pub(super) fn longer(&self, tenant: TenantId) -> Duration {
        self.aside.get(&tenant).map_or(ASIDE.0, |aside| (aside.wait * 2).min(ASIDE.1))
    }
}

impl Places {
    /// The places that are served, under the newest of the runners that serve.
    pub(super) fn equip_all(&self) {
        let Some((_, server)) = self.serving.servers.last() else { return };
        for place in self.open.values() {
            if let Err(error) = server.equip(place) {
                warn!(tenant = place.place.name, %error, "a tenant that is served keeps the workflows that it has");
            }
        }
    }

    pub(super) fn served(&self) -> usize {
        self.open.values().filter(|place| place.state().handles.only_served()).count()
    }

    /// Lets tenants that had their turn make room for as many others that wait.
    pub(super) fn make_room(&self, wanted: usize, now: Duration) {
        if wanted == 0 {
            return;
        }
        let had_their_turn = |place: &Arc<OpenPlace>| {
            let state = place.state();
            let served = state
                .handles
                .served
                .as_ref()
                .filter(|served| state.handles.count == 1 && now >= served.since + TURN)?;
            Some((served.since, Arc::clone(place)))
        };
        let mut places: Vec<_> = self.open.values().filter_map(had_their_turn).collect();
        places.sort_unstable_by_key(|(since, _)| *since);
        for (_, place) in places.into_iter().take(wanted) {
            if let Some(served) = &mut place.state().handles.served {
                served.yields = true;
            }
        }
    }
}
