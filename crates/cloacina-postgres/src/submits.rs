//! New executions, column by column, as a flush writes them or a transaction that is not the store's.

use std::borrow::Cow;
use std::sync::Arc;

use cloacina_core::id::TaskIndex;
use cloacina_core::store::{CopiedTask, NewExecution, NewTask};
use jiff::Timestamp;
use uuid::Uuid;

use crate::value::{Texts, Value};

/// A wait that may have been reached: its tenant, its execution and its position.
pub(crate) type Reached = (Uuid, Uuid, TaskIndex);

/// New executions with their tasks.
#[derive(Default)]
pub(crate) struct Submits<'a> {
    pub(crate) executions: Executions<'a>,
    pub(crate) tasks: Tasks<'a>,
    /// The tenants, executions and times.
    pub(crate) deadlines: Vec<(Uuid, Uuid, Timestamp)>,
    /// The tenants and executions of those that are not expanded.
    pub(crate) unexpanded: Vec<(Uuid, Uuid)>,
    /// The tenants and executions of those with tags, each with one of these.
    pub(crate) tags: Vec<(Uuid, Uuid, &'a str)>,
    /// The tenants and executions of those of which it is said who submitted them, each with that.
    pub(crate) by: Vec<(Uuid, Uuid, &'a str)>,
    /// The tenants and executions of those whose failure starts a workflow, each with its name.
    pub(crate) on_failure: Vec<(Uuid, Uuid, &'a str)>,
    /// The tasks that are over from the beginning.
    pub(crate) copies: Copies<'a>,
    /// The waits that are reached at once.
    pub(crate) reached: Vec<Reached>,
    /// The tenants of these, and when they are reached if that is not at once.
    waits: Vec<(Uuid, Option<Timestamp>)>,
}

#[derive(Default)]
pub(crate) struct Executions<'a> {
    tenant: Vec<Uuid>,
    id: Vec<Uuid>,
    workflow: Texts<'a>,
    fingerprint: Vec<Option<i64>>,
    priority: Vec<i16>,
    input: Texts<'a>,
    deadline: Vec<Option<Timestamp>>,
    idempotency_key: Texts<'a>,
    input_hash: Vec<Option<i64>>,
    claimed: Vec<bool>,
    submitter: Vec<Option<Uuid>>,
    start_at: Vec<Option<Timestamp>>,
}

impl Executions<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.id.is_empty()
    }
}

/// Tasks of reruns that are over from the beginning.
#[derive(Default)]
pub(crate) struct Copies<'a> {
    execution: Vec<Uuid>,
    task: Vec<TaskIndex>,
    name: Texts<'a>,
    started_at: Vec<Option<Timestamp>>,
    finished_at: Vec<Option<Timestamp>>,
    patch: Texts<'a>,
    skip_reason: Texts<'a>,
}

#[derive(Default)]
pub(crate) struct Tasks<'a> {
    tenant: Vec<Uuid>,
    execution: Vec<Uuid>,
    task: Vec<TaskIndex>,
    name: Texts<'a>,
    waiting_on: Vec<i16>,
    claimed: Vec<bool>,
    start_at: Vec<Option<Timestamp>>,
    is_wait: Vec<bool>,
}

impl<'a> Submits<'a> {
    /// Adds those of a tenant; true if they may leave work in the ready table.
    pub(crate) fn add(&mut self, tenant: Uuid, submits: &'a [Arc<NewExecution>]) -> bool {
        // Two flushes that insert the same keys wait for each other in one order only.
        let mut sorted: Vec<&NewExecution> = submits.iter().map(|submit| &**submit).collect();
        sorted.sort_by_key(|submit| {
            let key = submit.idempotency.as_ref().map(|idempotency| idempotency.key.as_str());
            (key.map(|key| (&submit.workflow.name, key)), submit.id)
        });
        let mut leaves_work = false;
        for submit in sorted {
            leaves_work |= self.push(tenant, submit);
        }
        leaves_work
    }

    /// When the earliest of the tenant's due rows is due.
    pub(crate) fn earliest_due(&self, tenant: Uuid) -> Option<Timestamp> {
        let deadlines = self.deadlines.iter().map(|(whose, _, deadline)| (whose, *deadline));
        let waits = self.waits.iter().map(|(whose, at)| (whose, at.unwrap_or(Timestamp::UNIX_EPOCH)));
        deadlines.chain(waits).filter(|(whose, _)| **whose == tenant).map(|(_, due)| due).min()
    }

    fn push(&mut self, tenant: Uuid, submit: &'a NewExecution) -> bool {
        let mut leaves_work = false;
        let id = Uuid::from(submit.id);
        let idempotency = submit.idempotency.as_ref();
        let executions = &mut self.executions;
        executions.tenant.push(tenant);
        executions.id.push(id);
        executions.workflow.push(Some(Cow::Borrowed(&submit.workflow.name)));
        executions.fingerprint.push(Some(submit.workflow.fingerprint.0));
        executions.priority.push(submit.priority);
        executions.input.push(Some(Cow::Borrowed(&submit.input)));
        executions.deadline.push(submit.deadline);
        executions.idempotency_key.push(idempotency.map(|idempotency| Cow::Borrowed(&*idempotency.key)));
        executions.input_hash.push(idempotency.map(|idempotency| idempotency.input_hash));
        executions.claimed.push(!submit.claimed.is_empty());
        executions.submitter.push(submit.submitter.map(Uuid::from));
        executions.start_at.push(submit.start_at);
        if !submit.is_expanded() {
            self.unexpanded.push((tenant, id));
            leaves_work = true;
        }
        self.tags.extend(submit.tags.iter().map(|tag| (tenant, id, tag.as_str())));
        self.by.extend(submit.submitted_by.iter().map(|by| (tenant, id, &**by)));
        self.on_failure.extend(submit.on_failure.iter().map(|starts| (tenant, id, &**starts)));
        for copied in submit.rerun.iter().flat_map(|rerun| &rerun.copied) {
            self.copies.push(id, copied, submit);
        }
        for (position, task) in submit.open_tasks() {
            let claimed = submit.claimed.contains(&position);
            leaves_work |= task.waiting_on == 0 && !claimed;
            if task.waits() {
                self.reached.push((tenant, id, position));
                self.waits.push((tenant, submit.start_at));
            }
            self.tasks.push(tenant, id, (position, task), claimed, submit.start_at);
        }
        if let Some(deadline) = submit.deadline {
            self.deadlines.push((tenant, id, deadline));
            leaves_work = true;
        }
        leaves_work
    }
}

impl<'a> Executions<'a> {
    /// The parameters of `execution_insert`, where `whose` says how the tenants are told.
    pub(crate) fn values(self, whose: impl FnOnce(Vec<Uuid>) -> Value<'a>, now: Value<'a>) -> Vec<Value<'a>> {
        vec![
            whose(self.tenant),
            now,
            Value::Uuids(self.id),
            Value::Texts(self.workflow),
            Value::BigInts(self.fingerprint),
            Value::SmallInts(self.priority),
            Value::Texts(self.input),
            Value::Timestamps(self.deadline),
            Value::Texts(self.idempotency_key),
            Value::BigInts(self.input_hash),
            Value::Booleans(self.claimed),
            Value::OptionalUuids(self.submitter),
            Value::Timestamps(self.start_at),
        ]
    }
}

impl<'a> Copies<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.task.is_empty()
    }

    fn push(&mut self, execution: Uuid, copied: &'a CopiedTask, submit: &'a NewExecution) {
        let task = usize::try_from(copied.task).ok().and_then(|task| submit.tasks.get(task));
        self.execution.push(execution);
        self.task.push(copied.task);
        self.name.push(task.map(|task| Cow::Borrowed(&*task.name)));
        self.started_at.push(copied.started_at);
        self.finished_at.push(Some(copied.finished_at));
        self.patch.push(copied.patch.as_deref().map(Cow::Borrowed));
        self.skip_reason.push(copied.skipped.map(|reason| Cow::Borrowed(reason.as_str())));
    }

    /// The parameters of `copy_insert`.
    pub(crate) fn values(self, tenant: Uuid) -> Vec<Value<'a>> {
        vec![
            Value::Uuid(tenant),
            Value::Uuids(self.execution),
            Value::SmallInts(self.task),
            Value::Texts(self.name),
            Value::Timestamps(self.started_at),
            Value::Timestamps(self.finished_at),
            Value::Texts(self.patch),
            Value::Texts(self.skip_reason),
        ]
    }
}

/// The parameters of `execution_by` for executions of one tenant.
pub(crate) fn by_values<'a>(tenant: Uuid, by: &[(Uuid, Uuid, &'a str)]) -> Vec<Value<'a>> {
    tag_values(tenant, by)
}

/// The parameters of `tag_insert` for executions of one tenant.
pub(crate) fn tag_values<'a>(tenant: Uuid, tags: &[(Uuid, Uuid, &'a str)]) -> Vec<Value<'a>> {
    let executions = tags.iter().map(|(_, execution, _)| *execution).collect();
    let tags = tags.iter().map(|(_, _, tag)| Some(Cow::Borrowed(*tag))).collect();
    vec![Value::Uuid(tenant), Value::Uuids(executions), Value::Texts(tags)]
}

impl<'a> Tasks<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.task.is_empty()
    }

    /// Adds the tasks of an execution that was recorded without.
    pub(crate) fn add(&mut self, tenant: Uuid, execution: Uuid, tasks: &'a [NewTask]) {
        for (position, task) in (0..).zip(tasks) {
            self.push(tenant, execution, (position, task), false, None);
        }
    }

    fn push(
        &mut self,
        tenant: Uuid,
        execution: Uuid,
        (position, task): (TaskIndex, &'a NewTask),
        claimed: bool,
        start_at: Option<Timestamp>,
    ) {
        self.tenant.push(tenant);
        self.execution.push(execution);
        self.task.push(position);
        self.name.push(Some(Cow::Borrowed(&task.name)));
        self.waiting_on.push(task.waiting_on);
        self.claimed.push(claimed);
        self.start_at.push(start_at);
        self.is_wait.push(task.is_wait);
    }

    /// The parameters of `task_insert`.
    pub(crate) fn values(
        self,
        whose: impl FnOnce(Vec<Uuid>) -> Value<'a>,
        now: Value<'a>,
        runner: Uuid,
    ) -> Vec<Value<'a>> {
        vec![
            whose(self.tenant),
            now,
            Value::Uuid(runner),
            Value::Uuids(self.execution),
            Value::SmallInts(self.task),
            Value::Texts(self.name),
            Value::SmallInts(self.waiting_on),
            Value::Booleans(self.claimed),
            Value::Timestamps(self.start_at),
            Value::Booleans(self.is_wait),
        ]
    }
}
