//! A flush as statements for a transaction that is not the store's: new executions, signals, and the
//! completion of a task.
//!
//! They are sent one after the other, on whatever driver the transaction is open, in the search path of the
//! tenant's place and as a login that may write there. The steps are those of a flush and come in its order,
//! so the locks do: the bell is rung last, and its row is locked for as long as the commit takes. Nothing may
//! come between them and the commit.

use std::slice;
use std::sync::Arc;

use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::{ExecutionId, TaskIndex};
use cloacina_core::store::{Flush, MOST_SIGNALS, NewSignal, Outcome, SignalLook, SignalSent, TaskOutcome};
use jiff::Timestamp;
use uuid::Uuid;

use crate::doorbell::at_once;
use crate::outcomes::Outcomes;
use crate::statement::{self as sql, Login, Statement};
use crate::submits::{Submits, by_values, tag_values};
pub use crate::value::Value;

const CLOCK: &str = include_str!("../sql/guest/clock.sql");
const FENCE: &str = include_str!("../sql/guest/fence.sql");
const MY_FENCE: &str = include_str!("../sql/guest/my_fence.sql");
const ENTERED_FENCE: &str = include_str!("../sql/guest/entered_fence.sql");
const ENTERED_BELL_RING: &str = include_str!("../sql/guest/entered_bell_ring.sql");

/// As whom the transaction is logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenAs {
    /// As the operator of the service.
    Operator,
    /// As the tenant itself.
    Tenant,
    /// As the application, in a transaction of the tenant that was entered.
    App,
}

/// A statement of a flush.
#[derive(Debug)]
pub struct GuestStep<'a> {
    /// Its text; each parameter is cast to its type.
    pub text: &'static str,
    /// Its parameters, from `$1`.
    pub values: Vec<Value<'a>>,
    /// What its rows say.
    pub answer: Answer,
}

/// What the rows of a statement say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `now timestamptz`: the time of the flush. An error: the runner was declared dead.
    Clock,
    /// Nothing that matters.
    Nothing,
    /// `id uuid`: an execution that was recorded. One that is missing met its idempotency key.
    Submitted,
    /// `execution_id uuid, task smallint, recorded boolean`: what was recorded, and otherwise a task that has
    /// nothing left to wait for. Without a row that was recorded, the task is not this runner's any more, and
    /// the transaction must be rolled back.
    Recorded,
    /// `execution_id uuid, started bigint`: how many children a task of an execution has started. If it is
    /// more than [`MOST_CHILDREN_OF_A_TASK`], the transaction must be rolled back.
    ///
    /// [`MOST_CHILDREN_OF_A_TASK`]: cloacina_core::store::MOST_CHILDREN_OF_A_TASK
    Children,
    /// `id uuid, state text, submitter uuid`: the execution, if it is over now, and who is to be told.
    Closed,
    /// `id uuid, state text`: the executions that are locked now, those of signals among them.
    Locked,
    /// `repeated boolean, kept bigint, number bigint, task smallint, ask text`: what there is for the signal
    /// of this number, or no row. The statements that record it come from [`deliver`], and are sent next.
    Look(usize),
}

/// What there is for a signal, and how its execution stands.
#[derive(Debug)]
pub struct Looked {
    /// The state of its execution.
    pub state: ExecutionStatus,
    /// Whether its key came before.
    pub repeated: bool,
    /// How many signals wait to be taken.
    pub kept: i64,
    /// The number that it gets.
    pub number: i64,
    /// The open wait that takes it.
    pub node: Option<TaskIndex>,
    /// What that asks.
    pub ask: Option<String>,
}

/// What has to be sent, in this order, right before the transaction is committed: new executions that are not
/// claimed, signals to executions with these ids, and outcomes of completed tasks, in one place.
///
/// # Panics
///
/// If the flush holds anything else, or outcomes without a runner.
#[must_use]
pub fn steps<'a>(
    flush: &'a Flush,
    signals: &'a [(ExecutionId, NewSignal)],
    written_as: WrittenAs,
) -> Vec<GuestStep<'a>> {
    let [place] = &*flush.places else { panic!("a transaction is one tenant's") };
    assert!(place.claim.is_none(), "nothing is claimed in a transaction that is not the store's");
    let tenant_id = Uuid::from(place.place.tenant);
    let tenant = Value::Uuid(tenant_id);
    let text = |statement: &'static Statement| match (written_as, statement.name) {
        (WrittenAs::Operator, "fence") => FENCE,
        (WrittenAs::Tenant, "fence") => MY_FENCE,
        (WrittenAs::App, "fence") => ENTERED_FENCE,
        (WrittenAs::App, "bell_ring") => ENTERED_BELL_RING,
        (WrittenAs::App | WrittenAs::Operator, _) => statement.text(Login::Operator),
        (WrittenAs::Tenant, _) => statement.text(Login::Tenant),
    };
    let step = |statement, values, answer| GuestStep { text: text(statement), values, answer };

    let overridden = Value::Timestamp(flush.now);
    let mut steps = vec![match flush.runner {
        Some(runner) => step(sql::FENCE, vec![Value::Uuid(runner.into()), overridden], Answer::Clock),
        None => GuestStep { text: CLOCK, values: vec![overridden], answer: Answer::Clock },
    }];
    let (mut leaves_work, mut due, mut reached) = (false, None, Vec::new());
    if !place.submits.is_empty() {
        let mut submits = Submits::default();
        leaves_work |= submits.add(place.place.tenant.into(), &place.submits);
        due = submits.earliest_due(place.place.tenant.into());
        let Submits { executions, tasks, deadlines, unexpanded, tags, on_failure, reached: first, .. } =
            submits;
        reached.extend(first);
        let values = executions.values(|_| tenant.clone(), Value::Now);
        steps.push(step(sql::EXECUTION_INSERT, values, Answer::Submitted));
        // Nothing is claimed, so there is no runner.
        if !tasks.is_empty() {
            let values = tasks.values(|_| tenant.clone(), Value::Now, Uuid::nil());
            steps.push(step(sql::TASK_INSERT, values, Answer::Nothing));
        }
        if !tags.is_empty() {
            steps.push(step(sql::TAG_INSERT, tag_values(tenant_id, &tags), Answer::Nothing));
        }
        if !on_failure.is_empty() {
            steps.push(step(sql::EXECUTION_ON_FAILURE, by_values(tenant_id, &on_failure), Answer::Nothing));
        }
        if !unexpanded.is_empty() {
            let ids = unexpanded.into_iter().map(|(_, execution)| execution).collect();
            let values = vec![tenant.clone(), Value::Uuids(ids)];
            steps.push(step(sql::EXPAND_INSERT, values, Answer::Nothing));
        }
        if !deadlines.is_empty() {
            let ids = deadlines.into_iter().map(|(_, execution, _)| execution).collect();
            let values = vec![tenant.clone(), Value::Uuids(ids)];
            steps.push(step(sql::DUE_INSERT, values, Answer::Nothing));
        }
    }
    let executions = place.outcomes.iter().map(|outcome| outcome.execution);
    let executions = executions.chain(signals.iter().map(|(execution, _)| *execution));
    let mut executions: Vec<Uuid> = executions.map(Uuid::from).collect();
    let children: Vec<_> =
        place.submits.iter().filter_map(|submit| Some((submit.id, submit.child.as_deref()?))).collect();
    executions.extend(children.iter().map(|(_, child)| Uuid::from(child.parent)));
    executions.sort_unstable();
    executions.dedup();
    if !executions.is_empty() {
        let values = vec![tenant.clone(), Value::Uuids(executions)];
        steps.push(step(sql::EXECUTION_LOCK, values, Answer::Locked));
    }
    if !children.is_empty() {
        let values = vec![
            tenant.clone(),
            Value::Now,
            Value::Uuids(children.iter().map(|(id, _)| (*id).into()).collect()),
            Value::Uuids(children.iter().map(|(_, child)| child.parent.into()).collect()),
            Value::SmallInts(children.iter().map(|(_, child)| child.task).collect()),
            Value::BigInts(children.iter().map(|(_, child)| Some(child.number)).collect()),
        ];
        steps.push(step(sql::CHILD_LINK, values, Answer::Children));
        (leaves_work, due) = (true, Some(at_once(flush.now)));
    }
    for outcome in &place.outcomes {
        let runner = flush.runner.expect("outcomes are recorded under the runner that holds the task");
        let TaskOutcome::Completed { .. } = outcome.outcome else {
            panic!("only a completed task is recorded together with what it did");
        };
        let recorded = Outcomes::of(place.place.tenant.into(), slice::from_ref(outcome));
        let (statement, values) = recorded.statement(|_| tenant.clone(), Value::Now, runner.into());
        steps.push(step(statement, values, Answer::Recorded));
        leaves_work |= !outcome.successors.is_empty();
        reached.extend(outcome.waits.iter().map(|wait| (tenant_id, outcome.execution.into(), *wait)));
    }
    let is_last = |outcome: &&Arc<Outcome>| outcome.successors.is_empty() && outcome.waits.is_empty();
    for outcome in place.outcomes.iter().filter(is_last) {
        let values = vec![tenant.clone(), Value::Now, Value::Uuids(vec![outcome.execution.into()])];
        steps.push(step(sql::EXECUTION_CLOSE, values, Answer::Closed));
        if place.timed.contains(&outcome.execution) {
            let values = vec![tenant.clone(), Value::Uuids(vec![outcome.execution.into()])];
            steps.push(step(sql::DUE_DROP, values, Answer::Nothing));
        }
        if place.related.contains(&outcome.execution) {
            let new = vec![ExecutionId::new().into()];
            let ended = Value::Uuids(vec![outcome.execution.into()]);
            let values = vec![tenant.clone(), Value::Now, ended, Value::Uuids(new)];
            steps.push(step(sql::RELATED_WAKE, values, Answer::Nothing));
            (leaves_work, due) = (true, Some(at_once(flush.now)));
        }
    }
    let parks = place.outcomes.iter().filter(|outcome| outcome.parks);
    let parks: Vec<Uuid> = parks.map(|outcome| outcome.execution.into()).collect();
    if !parks.is_empty() {
        steps.push(step(sql::EXECUTION_PARK, vec![tenant.clone(), Value::Uuids(parks)], Answer::Nothing));
    }
    if !reached.is_empty() {
        (leaves_work, due) = (true, Some(Timestamp::UNIX_EPOCH));
        let (executions, tasks) = reached.into_iter().map(|(_, execution, task)| (execution, task)).unzip();
        let values = vec![tenant.clone(), Value::Uuids(executions), Value::SmallInts(tasks)];
        steps.push(step(sql::WAIT_REACH, values, Answer::Nothing));
    }
    for (at, (execution, signal)) in signals.iter().enumerate() {
        let values = vec![
            tenant.clone(),
            Value::Uuid((*execution).into()),
            Value::OptionalText(None),
            Value::OptionalText(None),
            Value::Text(&signal.name),
            Value::OptionalText(signal.key.as_deref()),
            Value::BigInt(i64::try_from(MOST_SIGNALS).unwrap_or(i64::MAX)),
        ];
        steps.push(step(sql::SIGNAL_LOOK, values, Answer::Look(at)));
        // A wait that takes it is due at once.
        (leaves_work, due) = (true, Some(at_once(flush.now)));
    }
    if leaves_work {
        let values = vec![tenant, Value::Now, Value::Timestamp(due)];
        steps.push(step(sql::BELL_RING, values, Answer::Nothing));
    }
    steps
}

/// What becomes of a signal to an execution that is locked, and what records that.
#[must_use]
pub fn deliver<'a>(
    tenant: Uuid,
    (execution, signal): &'a (ExecutionId, NewSignal),
    looked: Option<Looked>,
) -> (SignalSent, Vec<GuestStep<'a>>) {
    let Some(Looked { state, repeated, kept, number, node, ask }) = looked else {
        return (SignalSent::NotFound, Vec::new());
    };
    if state.is_terminal() {
        return (SignalSent::AlreadyOver(*execution, state, None), Vec::new());
    }
    let look = SignalLook { repeated, kept, ask: ask.as_deref() };
    if let Some(refused) = look.refuses(signal, *execution) {
        return (refused, Vec::new());
    }
    let step = |statement: &'static Statement, values| GuestStep {
        text: statement.text(Login::Operator),
        values,
        answer: Answer::Nothing,
    };
    let (tenant, id) = (Value::Uuid(tenant), Value::Uuid((*execution).into()));
    let insert = vec![
        tenant.clone(),
        id.clone(),
        Value::Text(&signal.name),
        Value::BigInt(number),
        Value::OptionalText(signal.key.as_deref()),
        Value::Text(&signal.payload),
        Value::Now,
    ];
    let mut steps = vec![step(sql::SIGNAL_INSERT, insert)];
    let Some(node) = node else { return (SignalSent::Buffered(*execution), steps) };
    let none = Value::Timestamp(None);
    let moved = vec![tenant, id, Value::SmallInt(node), none.clone(), none, Value::Now];
    steps.push(step(sql::WAIT_MOVE, moved));
    (SignalSent::Delivered(*execution), steps)
}

/// Looks for the execution of a workflow that was recorded under an idempotency key: `id uuid, input_hash
/// bigint`.
#[must_use]
pub fn find<'a>(tenant: Uuid, workflow: &'a str, key: &'a str) -> (&'static str, Vec<Value<'a>>) {
    let values = vec![Value::Uuid(tenant), Value::Text(workflow), Value::Text(key)];
    (sql::EXECUTION_FIND.text(Login::Operator), values)
}
