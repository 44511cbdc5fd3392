//! Records what the workflows of this process look like, so that one without their code can draw them.
//!
//! Each version is written once, by whoever has it first: when a place is opened, beside everything else.
//! What this process knows to be there is not asked for again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::place::{OpenPlace, WorkflowSet};
use super::shared::Hub;
use crate::id::TenantId;
use crate::store::{DescribedWorkflow, KnownWorkflow, Liveness, RunnerRecord, WorkflowKey};
use crate::workflow::{RESERVED, Workflow, WorkflowInfo, by_age};

fn key_of(workflow: &Workflow) -> Option<WorkflowKey> {
    let (name, fingerprint) = (Arc::clone(workflow.shared_name()), workflow.fingerprint().ok()?);
    Some(WorkflowKey { name, fingerprint })
}

/// What is known of workflows: by the database, by live runners and here.
pub(crate) fn infos(
    known: Vec<KnownWorkflow>,
    here: &WorkflowSet,
    runners: &[RunnerRecord],
    tenant: TenantId,
) -> Vec<WorkflowInfo> {
    let mut all: BTreeMap<WorkflowKey, WorkflowInfo> = BTreeMap::new();
    let entry = |key: &WorkflowKey| WorkflowInfo {
        name: key.name.to_string(),
        version: None,
        fingerprint: key.fingerprint,
        first_seen: None,
        live_runners: Vec::new(),
        is_registered: false,
    };
    for KnownWorkflow { key, version, first_seen } in known {
        let info = WorkflowInfo { version, first_seen: Some(first_seen), ..entry(&key) };
        all.insert(key, info);
    }
    for workflow in here.all() {
        let Some(key) = key_of(workflow) else { continue };
        let info = all.entry(key).or_insert_with_key(entry);
        info.version = workflow.version().map(str::to_owned);
        info.is_registered = true;
    }
    let may_run = |runner: &&RunnerRecord| {
        runner.liveness == Liveness::Live && runner.tenant.is_none_or(|whose| whose == tenant)
    };
    for runner in runners.iter().filter(may_run) {
        for key in &runner.workflows {
            all.entry(key.clone()).or_insert_with_key(entry).live_runners.push(Uuid::from(runner.id));
        }
    }
    let mut all: Vec<WorkflowInfo> =
        all.into_values().filter(|info| !info.name.starts_with(RESERVED)).collect();
    all.sort_by(|one, other| {
        let newer = || by_age(other.version.as_deref(), one.version.as_deref());
        one.name.cmp(&other.name).then_with(newer).then_with(|| other.first_seen.cmp(&one.first_seen))
    });
    all
}

impl Hub {
    /// Has the workflows of a place described that are not.
    pub(super) fn describe(self: &Arc<Self>, place: &Arc<OpenPlace>) {
        let workflows = Arc::clone(&place.state().handles.workflows);
        let new: Vec<DescribedWorkflow> = {
            let described = self.described.lock();
            let keyed = workflows.all().filter_map(|workflow| Some((key_of(workflow)?, workflow)));
            let unknown = keyed.filter(|(key, _)| !described.contains(key));
            let described = unknown.map(|(key, workflow)| DescribedWorkflow {
                key,
                version: workflow.version().map(str::to_owned),
                description: workflow.describe().to_json(),
            });
            described.collect()
        };
        if new.is_empty() {
            return;
        }
        let (hub, place, new) = (Arc::clone(self), Arc::clone(place), Arc::<[_]>::from(new));
        self.spawn(async move {
            let now = hub.clock.database_now();
            let written = hub.store.workflow_describe(&place.place, &new, now).await;
            hub.troubles.describing.note(hub.whose(), &written);
            match written {
                Ok(()) => hub.described.lock().extend(new.iter().map(|workflow| workflow.key.clone())),
                Err(_) => hub.lacks_descriptions.store(true, Ordering::Relaxed),
            }
        });
    }

    /// Tries again what could not be written.
    pub(super) fn describe_what_is_left(self: &Arc<Self>) {
        if self.lacks_descriptions.swap(false, Ordering::Relaxed) {
            self.all_places().iter().for_each(|place| self.describe(place));
        }
    }
}
