//! What became of tasks, column by column, as a flush records it or a transaction that is not the store's.

use std::borrow::Cow;
use std::sync::Arc;

use cloacina_core::id::TaskIndex;
use cloacina_core::store::{Outcome, TaskOutcome};
use uuid::Uuid;

use crate::statement::{self as sql, Statement};
use crate::submits::Reached;
use crate::value::{Texts, Value};

/// A hundred years: the server cannot write the times that lie behind much longer waits.
const LONGEST_WAIT_US: i64 = 100 * 365 * 24 * 3_600 * 1_000_000;

/// Outcomes of tasks.
#[derive(Default)]
pub(crate) struct Outcomes<'a> {
    tenant: Vec<Uuid>,
    execution: Vec<Uuid>,
    task: Vec<TaskIndex>,
    attempt: Vec<i32>,
    state: Texts<'a>,
    outcome: Texts<'a>,
    patch: Texts<'a>,
    error: Texts<'a>,
    skip_reason: Texts<'a>,
    after_us: Vec<Option<i64>>,
    successors: Texts<'a>,
    becomes: Texts<'a>,
    handles: Texts<'a>,
    /// The tenants and executions, in the order of their locks.
    pub(crate) locked: Vec<(Uuid, Uuid)>,
    /// Those in which a task ended that nothing waits for: only they can have nothing left.
    pub(crate) closable: Vec<(Uuid, Uuid)>,
    /// The tenants and executions that may have nothing left but waits.
    pub(crate) parking: Vec<(Uuid, Uuid)>,
    /// The waits that may be reached with them.
    pub(crate) reached: Vec<Reached>,
    /// Whether all of them end a task that nothing waits for, and handle nothing.
    pub(crate) only_ends: bool,
    pub(crate) leaves_work: bool,
}

impl<'a> Outcomes<'a> {
    /// Of no task, to take in others.
    pub(crate) fn none() -> Self {
        Self { only_ends: true, ..Self::default() }
    }

    pub(crate) fn of(tenant: Uuid, outcomes: &'a [Arc<Outcome>]) -> Self {
        let mut columns = Self::none();
        for outcome in outcomes {
            columns.push(tenant, outcome);
        }
        for ids in [&mut columns.locked, &mut columns.closable, &mut columns.parking] {
            ids.sort_unstable();
            ids.dedup();
        }
        columns
    }

    /// Takes those of another tenant in, all of which end tasks.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.tenant.append(&mut other.tenant);
        self.execution.append(&mut other.execution);
        self.task.append(&mut other.task);
        self.attempt.append(&mut other.attempt);
        self.state.append(&mut other.state);
        self.outcome.append(&mut other.outcome);
        self.patch.append(&mut other.patch);
        self.error.append(&mut other.error);
        self.skip_reason.append(&mut other.skip_reason);
        self.closable.append(&mut other.closable);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.execution.is_empty()
    }

    fn push(&mut self, tenant: Uuid, outcome: &'a Outcome) {
        let execution = Uuid::from(outcome.execution);
        let (mut patch_text, mut error_text, mut reason, mut after_us) = (None, None, None, None);
        let (state, how) = match &outcome.outcome {
            TaskOutcome::Completed { patch } => {
                patch_text = patch.as_deref();
                ("completed", Some("completed"))
            }
            TaskOutcome::Failed { how, error } => {
                error_text = Some(error.as_str());
                ("failed", Some(how.as_str()))
            }
            TaskOutcome::Skipped { reason: why } => {
                reason = Some(why.as_str());
                ("skipped", None)
            }
            TaskOutcome::Retry { how, error, after } => {
                error_text = Some(error.as_str());
                after_us = Some(i64::try_from(after.as_micros()).unwrap_or(i64::MAX).min(LONGEST_WAIT_US));
                ("ready", Some(how.as_str()))
            }
            TaskOutcome::Released => {
                after_us = Some(0);
                ("ready", Some("released"))
            }
        };
        let is_over = state != "ready";
        self.tenant.push(tenant);
        self.execution.push(execution);
        self.task.push(outcome.task);
        self.attempt.push(outcome.attempt);
        self.state.push(Some(state.into()));
        self.outcome.push(how.map(Cow::Borrowed));
        self.patch.push(patch_text.map(Cow::Borrowed));
        self.error.push(error_text.map(Cow::Borrowed));
        self.skip_reason.push(reason.map(Cow::Borrowed));
        self.after_us.push(after_us);
        let (successors, waits): (&[_], &[_]) =
            if is_over { (&outcome.successors, &outcome.waits) } else { (&[], &[]) };
        let is_last = successors.is_empty() && waits.is_empty();
        // What a successor becomes that has nothing left to wait for: claimed, ready, or a wait that waits.
        let becomes = successors.iter().map(|(_, wanted)| if *wanted { 'c' } else { 'r' });
        self.successors.push(array_literal(successors.iter().map(|(task, _)| task).chain(waits)));
        self.becomes.push(array_literal(becomes.chain(waits.iter().map(|_| 'w'))));
        self.reached.extend(waits.iter().map(|wait| (tenant, execution, *wait)));
        let handles: &[_] = if state == "completed" { &outcome.handles } else { &[] };
        self.handles.push(array_literal(handles.iter()));
        self.locked.push((tenant, execution));
        if is_over && is_last {
            self.closable.push((tenant, execution));
        }
        if outcome.parks {
            self.parking.push((tenant, execution));
        }
        self.only_ends &= is_over && is_last && handles.is_empty() && outcome.attempt > 0;
        self.leaves_work |= !is_over || !waits.is_empty() || successors.iter().any(|(_, wanted)| !wanted);
    }

    /// The statement that records them, and its parameters.
    pub(crate) fn statement(
        self,
        whose: impl FnOnce(Vec<Uuid>) -> Value<'a>,
        now: Value<'a>,
        runner: Uuid,
    ) -> (&'static Statement, Vec<Value<'a>>) {
        let mut values = vec![
            whose(self.tenant),
            now,
            Value::Uuid(runner),
            Value::Uuids(self.execution),
            Value::SmallInts(self.task),
            Value::Integers(self.attempt),
            Value::Texts(self.state),
            Value::Texts(self.outcome),
            Value::Texts(self.patch),
            Value::Texts(self.error),
            Value::Texts(self.skip_reason),
        ];
        if self.only_ends {
            return (sql::TASK_END, values);
        }
        values.push(Value::BigInts(self.after_us));
        values.extend([self.successors, self.becomes, self.handles].map(Value::Texts));
        (sql::TASK_RECORD, values)
    }
}

/// `{1,2,3}`; `None` for an empty list.
fn array_literal<T: ToString>(values: impl Iterator<Item = T>) -> Option<Cow<'static, str>> {
    let values: Vec<_> = values.map(|value| value.to_string()).collect();
    (!values.is_empty()).then(|| format!("{{{}}}", values.join(",")).into())
}
