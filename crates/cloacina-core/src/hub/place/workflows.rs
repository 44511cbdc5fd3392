//! The workflows that a place can run.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::store::{NewTask, WorkflowKey};
use crate::workflow::{Workflow, WorkflowError};

/// What an execution of a workflow is made of.
pub(crate) fn key_and_tasks(workflow: &Workflow) -> Result<(WorkflowKey, Arc<[NewTask]>), WorkflowError> {
    let graph = workflow.graph()?;
    let tasks = workflow.tasks().iter().zip(0..).map(|(task, position)| NewTask {
        name: task.id().to_owned(),
        waiting_on: i16::try_from(graph.dependencies(position).len())
            .expect("a workflow has at most 10,000 tasks"),
    });
    let key = WorkflowKey { name: Arc::clone(workflow.shared_name()), fingerprint: graph.fingerprint() };
    Ok((key, tasks.collect()))
}

/// The workflows that a place can run, by name.
#[derive(Debug, Default)]
pub(crate) struct WorkflowSet {
    by_name: HashMap<String, Arc<Workflow>>,
    keys: Arc<[WorkflowKey]>,
    /// Those that are not for the operator alone.
    open_keys: Arc<[WorkflowKey]>,
    /// Those of them whose tasks ask for nothing.
    bare_keys: Arc<[WorkflowKey]>,
}

impl WorkflowSet {
    /// These workflows and those of `base`.
    pub(crate) fn new(
        base: &Self,
        workflows: impl IntoIterator<Item = Arc<Workflow>>,
    ) -> Result<Self, Error> {
        let mut by_name = base.by_name.clone();
        for workflow in workflows {
            let fingerprint = workflow.fingerprint()?;
            if let Some(known) = by_name.get(workflow.name())
                && known.fingerprint()? != fingerprint
            {
                return Err(Error::new(
                    ErrorKind::Workflow,
                    format!(
                        "two different workflows have the name `{}`: give one another name",
                        workflow.name()
                    ),
                ));
            }
            // A runner that only submits has nothing for tasks: one that runs them had.
            if workflow.state().is_some() || !by_name.contains_key(workflow.name()) {
                by_name.insert(workflow.name().to_owned(), workflow);
            }
        }
        let mut keys: Vec<WorkflowKey> = Vec::with_capacity(by_name.len());
        for workflow in by_name.values() {
            keys.push(WorkflowKey {
                name: Arc::clone(workflow.shared_name()),
                fingerprint: workflow.fingerprint()?,
            });
        }
        keys.sort_unstable();
        let keys_of = |holds: fn(&Workflow) -> bool| -> Arc<[WorkflowKey]> {
            let held = |key: &&WorkflowKey| by_name.get(&*key.name).is_some_and(|workflow| holds(workflow));
            keys.iter().filter(held).cloned().collect()
        };
        let open_keys = keys_of(|workflow| !workflow.is_operator_only());
        let bare_keys = keys_of(|workflow| !workflow.is_operator_only() && !workflow.asks_for_resources());
        Ok(Self { by_name, keys: keys.into(), open_keys, bare_keys })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Workflow>> {
        self.by_name.get(name)
    }

    /// The workflow, if it is this very version.
    pub(crate) fn version(&self, key: &WorkflowKey) -> Option<&Arc<Workflow>> {
        self.get(&key.name)
            .filter(|workflow| workflow.fingerprint().is_ok_and(|fingerprint| fingerprint == key.fingerprint))
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Workflow>> {
        self.by_name.values()
    }

    pub(crate) fn keys(&self) -> &Arc<[WorkflowKey]> {
        &self.keys
    }

    /// Those that may be claimed where the tenant has a login of its own, and where tasks find nothing to ask
    /// for.
    pub(crate) fn claimable(&self, has_login: bool, lacks_resources: bool) -> &Arc<[WorkflowKey]> {
        match (has_login, lacks_resources) {
            (false, _) => &self.keys,
            (true, false) => &self.open_keys,
            (true, true) => &self.bare_keys,
        }
    }
}
