//! The completion of a task as statements for a transaction that is not the store's: the steps of a flush, for one outcome.
//!
//! They are sent one after the other, on whatever driver the transaction is open, in the search path of the tenant's place and as a login
//! that may write there.

use cloacina_core::Completion;
use cloacina_core::id::TaskIndex;
use cloacina_core::store::{Outcome, TaskOutcome};
use jiff::Timestamp;
use uuid::Uuid;

use crate::statement::{self as sql, Login, Statement};

const APP_FENCE: &str = include_str!("../sql/app/fence.sql");
const APP_BELL_RING: &str = include_str!("../sql/app/bell_ring.sql");

/// As whom the transaction is logged in that a completion is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenAs {
    /// As the operator of the service.
    Operator,
    /// As the tenant itself.
    Tenant,
    /// As the application, in a transaction of the tenant that was entered.
    App,
}

/// A statement of a completion.
#[derive(Debug)]
pub struct CompletionStatement {
    /// Its text; each parameter is cast to its type.
    pub text: &'static str,
    /// Its parameters, from `$1`.
    pub values: Vec<Value>,
    /// What its rows say.
    pub answer: Answer,
}

/// A parameter.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    Uuid(Uuid),
    Timestamp(Option<Timestamp>),
    Uuids(Vec<Uuid>),
    SmallInts(Vec<i16>),
    Integers(Vec<i32>),
    BigInts(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
}

/// What the rows of a statement say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `now timestamptz`: the time of the transaction. An error: the runner was declared dead.
    Clock,
    /// Nothing that matters.
    Nothing,
    /// `execution_id uuid, task smallint, recorded boolean`: what was recorded, and otherwise a task that has nothing left to wait for.
    /// Without a row that was recorded, the task is not this runner's any more, and the transaction must be rolled back.
    Recorded,
    /// `id uuid, state text`: the execution, if it is over now.
    Closed,
}

/// What has to be sent, in this order, before the transaction is committed.
///
/// # Panics
///
/// If the outcome is not that of a completed task.
#[must_use]
pub fn completion(completion: &Completion, written_as: WrittenAs) -> Vec<CompletionStatement> {
    let Outcome { execution, task, attempt, outcome, successors, handles } = &*completion.outcome;
    let TaskOutcome::Completed { patch } = outcome else {
        panic!("only a completed task is recorded together with what it did");
    };
    let text_of = |statement: &'static Statement| match (written_as, statement.name) {
        (WrittenAs::App, "fence") => APP_FENCE,
        (WrittenAs::App, "bell_ring") => APP_BELL_RING,
        (WrittenAs::App | WrittenAs::Operator, _) => statement.text(Login::Operator),
        (WrittenAs::Tenant, _) => statement.text(Login::Tenant),
    };
    let step = |statement, values, answer| CompletionStatement { text: text_of(statement), values, answer };
    let tenant = Value::Uuid(completion.place.tenant.into());
    let now = Value::Timestamp(completion.now);
    let runner = Value::Uuid(completion.runner.into());
    let execution = Uuid::from(*execution);
    let text = |text: Option<String>| Value::Texts(vec![text]);
    let completed = || text(Some("completed".to_owned()));

    let mut record = vec![
        tenant.clone(),
        now.clone(),
        runner.clone(),
        Value::Uuids(vec![execution]),
        Value::SmallInts(vec![*task]),
        Value::Integers(vec![*attempt]),
        completed(),
        completed(),
        text(patch.as_deref().map(str::to_owned)),
        text(None),
        text(None),
    ];
    let mut steps = vec![
        step(sql::FENCE, vec![runner, now.clone()], Answer::Clock),
        step(sql::EXECUTION_LOCK, vec![tenant.clone(), Value::Uuids(vec![execution])], Answer::Nothing),
    ];
    if successors.is_empty() && handles.is_empty() {
        steps.push(step(sql::TASK_END, record, Answer::Recorded));
    } else {
        let tasks: Vec<TaskIndex> = successors.iter().map(|(task, _)| *task).collect();
        let wanted: Vec<bool> = successors.iter().map(|(_, wanted)| *wanted).collect();
        record.push(Value::BigInts(vec![None]));
        record.extend([text(literal(&tasks)), text(literal(&wanted)), text(literal(handles))]);
        steps.push(step(sql::TASK_RECORD, record, Answer::Recorded));
    }
    if successors.is_empty() {
        let close = vec![tenant, now, Value::Uuids(vec![execution])];
        steps.push(step(sql::EXECUTION_CLOSE, close, Answer::Closed));
    } else {
        steps.push(step(sql::BELL_RING, vec![tenant, now], Answer::Nothing));
    }
    steps
}

/// `{1,2,3}`; `None` for an empty list.
fn literal<T: ToString>(values: &[T]) -> Option<String> {
    let values: Vec<_> = values.iter().map(ToString::to_string).collect();
    (!values.is_empty()).then(|| format!("{{{}}}", values.join(",")))
}
