//! Who has a place open, and with what: handles, runtimes, settings and workflows.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::workflows::WorkflowSet;
use crate::config::RunnerConfig;

/// Tells the handles on one place apart.
pub(crate) type HandleNumber = u64;

/// Who has a place open. Written when handles are opened and closed, and by the runners that serve all
/// tenants.
#[derive(Debug)]
pub(crate) struct Handles {
    /// How many are open.
    pub(crate) count: usize,
    /// The number of the next one.
    next: HandleNumber,
    /// The open handles that run tasks, each with the runtime that it was opened on, the newest last: tasks
    /// run there. Those whose runtime has ended are taken out; nothing is claimed if none is left.
    pub(crate) executors: Vec<(HandleNumber, Handle)>,
    pub(crate) settings: Arc<RunnerConfig>,
    pub(crate) workflows: Arc<WorkflowSet>,
    /// Whether the runner is registered, without which nothing is claimed.
    pub(crate) registered: bool,
    /// Whether the last handle is being shut down: nothing more is claimed.
    pub(crate) closing: bool,
    /// Whether, and since when, the place is also open because a runner serves every tenant.
    pub(crate) served: Option<Served>,
}

/// What keeps a place open for a runner that serves every tenant: a handle that the hub holds itself.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) handle: HandleNumber,
    /// Those of the runner.
    pub(crate) settings: Arc<RunnerConfig>,
    pub(crate) since: Duration,
    /// Whether it makes room for others as soon as nothing runs here.
    pub(crate) yields: bool,
}

impl Handles {
    pub(crate) fn new(settings: Arc<RunnerConfig>) -> Self {
        Self {
            count: 0,
            next: 0,
            executors: Vec::new(),
            settings,
            workflows: Arc::default(),
            registered: false,
            closing: false,
            served: None,
        }
    }

    /// Opens one more handle.
    pub(crate) fn open(&mut self) -> HandleNumber {
        self.count += 1;
        self.closing = false;
        self.next += 1;
        self.next - 1
    }

    /// Closes a handle. For how long what runs may go on, if it has to end.
    pub(crate) fn close(&mut self, handle: HandleNumber, at_once: bool) -> Option<Duration> {
        self.count -= 1;
        self.executors.retain(|(number, _)| *number != handle);
        self.closing = self.count == 0;
        drop(self.served.take_if(|served| served.handle == handle));
        if let Some(served) = self.served.as_ref().filter(|_| self.count == 1) {
            self.settings = Arc::clone(&served.settings);
        }
        let drains = self.count == 0 || self.executors.is_empty();
        drains.then(|| if at_once { Duration::ZERO } else { self.settings.shutdown_timeout })
    }

    /// Whether the place is open for nobody but a runner that serves every tenant.
    pub(crate) fn only_served(&self) -> bool {
        self.served.is_some() && self.count == 1
    }

    /// Whether it makes room for others.
    pub(crate) fn yields(&self) -> bool {
        self.count == 1 && self.served.as_ref().is_some_and(|served| served.yields)
    }

    /// Whether tasks might be started here if the runner were registered.
    pub(crate) fn lacks_runner(&self) -> bool {
        !self.registered && !self.closing && !self.executors.is_empty()
    }

    /// Takes out the handles of a runtime that has ended.
    pub(crate) fn runtime_ended(&mut self, ended: &Handle) {
        self.executors.retain(|(_, runtime)| runtime.id() != ended.id());
    }
}
