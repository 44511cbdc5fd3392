//! The workflows that a place can run.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::store::{NewTask, WorkflowKey};
use crate::workflow::{RESERVED, Workflow, WorkflowError, by_age};

/// What an execution of a workflow is made of.
pub(crate) fn key_and_tasks(workflow: &Workflow) -> Result<(WorkflowKey, Arc<[NewTask]>), WorkflowError> {
    let graph = workflow.graph()?;
    let tasks = workflow.nodes().iter().zip(0..).map(|(node, position)| NewTask {
        name: node.id().to_owned(),
        is_wait: node.wait().is_some(),
        waiting_on: i16::try_from(graph.dependencies(position).len())
            .expect("a workflow has at most 10,000 tasks"),
    });
    let key = WorkflowKey { name: Arc::clone(workflow.shared_name()), fingerprint: graph.fingerprint() };
    Ok((key, tasks.collect()))
}

/// The workflows that a place can run.
#[derive(Debug, Default)]
pub(crate) struct WorkflowSet {
    /// The versions of each name, the newest last.
    by_name: HashMap<String, Vec<Arc<Workflow>>>,
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
        let with_items = workflows.into_iter().flat_map(|workflow| {
            let items: Vec<_> = workflow.items().iter().cloned().map(Arc::new).collect();
            std::iter::once(workflow).chain(items)
        });
        for workflow in with_items {
            let versions = by_name.entry(workflow.name().to_owned()).or_default();
            match versions.binary_search_by(|known| by_age(known.version(), workflow.version())) {
                Err(at) => versions.insert(at, workflow),
                Ok(at) if versions[at].fingerprint()? != workflow.fingerprint()? => {
                    return Err(two_of_one_version(&workflow));
                }
                // A runner that only submits has nothing for tasks: one that runs them had.
                Ok(at) if workflow.state().is_some() => versions[at] = workflow,
                Ok(_) => {}
            }
        }
        let mut keyed = Vec::with_capacity(by_name.len());
        for workflow in by_name.values().flatten() {
            let (name, fingerprint) = (Arc::clone(workflow.shared_name()), workflow.fingerprint()?);
            keyed.push((WorkflowKey { name, fingerprint }, workflow));
        }
        keyed.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let keys_of = |holds: fn(&Workflow) -> bool| -> Arc<[WorkflowKey]> {
            let held = keyed.iter().filter(|(_, workflow)| holds(workflow) && !workflow.lacks_state());
            held.map(|(key, _)| key.clone()).collect()
        };
        let keys = keys_of(|_| true);
        let open_keys = keys_of(|workflow| !workflow.is_operator_only());
        let bare_keys = keys_of(|workflow| !workflow.is_operator_only() && !workflow.asks_for_resources());
        Ok(Self { by_name, keys, open_keys, bare_keys })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The newest version of a workflow.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Workflow>> {
        self.by_name.get(name)?.last()
    }

    /// The workflow, if it is this very version.
    pub(crate) fn version(&self, key: &WorkflowKey) -> Option<&Arc<Workflow>> {
        let mut versions = self.by_name.get(&*key.name)?.iter();
        versions
            .find(|workflow| workflow.fingerprint().is_ok_and(|fingerprint| fingerprint == key.fingerprint))
    }

    /// The workflow as its tasks are to be run: this one, unless another runner gave its tasks what they ask
    /// for.
    pub(crate) fn to_run(&self, workflow: &Arc<Workflow>) -> Arc<Workflow> {
        let given = || {
            let fingerprint = workflow.fingerprint().ok()?;
            self.version(&WorkflowKey { name: Arc::clone(workflow.shared_name()), fingerprint })
        };
        let given = workflow.lacks_state().then(given).flatten();
        Arc::clone(given.unwrap_or(workflow))
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        let names = self.by_name.keys().map(String::as_str);
        let mut names: Vec<&str> = names.filter(|name| !name.starts_with(RESERVED)).collect();
        names.sort_unstable();
        names
    }

    /// All of them, in all versions.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Workflow>> {
        self.by_name.values().flatten()
    }

    /// The newest version of each.
    pub(crate) fn newest(&self) -> impl Iterator<Item = &Arc<Workflow>> {
        self.by_name.values().filter_map(|versions| versions.last())
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

fn two_of_one_version(workflow: &Workflow) -> Error {
    let name = workflow.name();
    let message = match workflow.version() {
        None => {
            format!("two different workflows have the name `{name}`: give one another name, or a version")
        }
        Some(version) => format!(
            "two different workflows have the name `{name}` and the version `{version}`: give one another version"
        ),
    };
    Error::new(ErrorKind::Workflow, message)
}
