//! The one write path of the engine; its steps are told at the head of `cloacina_core::store`'s `flush`.
//!
//! All places of a flush travel in one flight under one `COMMIT`. Steps with nothing to do are not sent.
//!
//! When the connection breaks before every answer has come, it is not known whether the commit happened. Before that is
//! reported, the server process that worked on it is ended, so that it *is* decided and the caller can read what happened. As
//! long as the server cannot be reached nothing can be said, neither "nothing was written" nor "read it": the flush waits, with
//! backoff and without a limit, and with it its lane.

use std::sync::Arc;

use cloacina_core::execution::PipelineStatus;
use cloacina_core::id::{ExecutionId, RunnerId, TaskIndex};
use cloacina_core::store::{
    Claim, Claimed, Closed, Flush, Flushed, Freed, Fresh, NewExecution, Outcome, PlaceFlush, PlaceFlushed,
    Recorded, Result, StoreError, StoreErrorKind, TaskOutcome, WorkflowKey,
};
use cloacina_core::workflow::Fingerprint;
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::Inner;
use crate::connect::{Scope, Step, params};
use crate::doorbell;
use crate::error::{Failure, refused};
use crate::statement as sql;
use crate::tenant::SchemaName;

/// A hundred years: the server cannot write the times that lie behind much longer waits.
const LONGEST_WAIT_US: i64 = 100 * 365 * 24 * 3_600 * 1_000_000;

/// A flush that owns what it is made of, so that it goes on when its caller goes away.
pub(crate) struct OwnedFlush {
    runner: Option<RunnerId>,
    now: Option<Timestamp>,
    places: Vec<PlaceFlush>,
}

impl From<&Flush> for OwnedFlush {
    fn from(flush: &Flush) -> Self {
        let places = flush.places.iter().map(|place| PlaceFlush {
            place: Arc::clone(&place.place),
            first_claim: place.first_claim,
            submits: place.submits.clone(),
            outcomes: place.outcomes.clone(),
            claim: place.claim.clone(),
        });
        Self { runner: flush.runner, now: flush.now, places: places.collect() }
    }
}

/// Whose answer a step brings.
#[derive(Clone, Copy)]
enum Answer {
    Clock,
    Submitted(usize),
    Recorded(usize),
    Closed(usize),
    Claimed(usize),
    Rang(usize),
    Nothing(usize),
}

impl Answer {
    fn place(self) -> Option<usize> {
        match self {
            Self::Clock => None,
            Self::Submitted(place)
            | Self::Recorded(place)
            | Self::Closed(place)
            | Self::Claimed(place)
            | Self::Rang(place)
            | Self::Nothing(place) => Some(place),
        }
    }
}

pub(crate) async fn flush(inner: Arc<Inner>, lane: usize, flush: OwnedFlush) -> Result<Flushed> {
    let schemas =
        flush.places.iter().map(|place| SchemaName::of(&place.place)).collect::<Result<Vec<_>>>()?;
    let mut order: Vec<usize> = (0..flush.places.len()).collect();
    order.sort_by_key(|place| flush.places[*place].place.tenant);

    let mut lane = inner.pool.lane(lane).await?;
    let mut steps = Vec::with_capacity(8 * order.len());
    let mut answers = Vec::with_capacity(steps.capacity());
    match flush.runner {
        Some(runner) => steps.push(Step::Run(sql::FENCE, params![Uuid::from(runner), flush.now])),
        None => steps.push(Step::Run(sql::CLOCK, params![flush.now])),
    }
    answers.push(Answer::Clock);
    for (nth, place) in order.iter().copied().enumerate() {
        if nth > 0 {
            steps.push(Step::Enter(Scope::Schema(&schemas[place])));
            answers.push(Answer::Nothing(place));
        }
        lane.touch(flush.places[place].place.tenant);
        push_place(&flush, place, &mut steps, &mut answers)?;
    }
    let scope = order
        .first()
        .map_or(Scope::Control, |place| inner.scope(flush.places[*place].place.tenant, &schemas[*place]));

    match lane.transaction(scope, &steps).await {
        Ok(rows) => {
            let mut flushed = Flushed {
                now: rows[0][0].get("now"),
                places: flush.places.iter().map(|_| PlaceFlushed::default()).collect(),
            };
            let mut work_for_others = false;
            for (answer, rows) in answers.iter().zip(&rows) {
                work_for_others |= read(*answer, rows, &mut flushed, &flush.places)?;
            }
            if work_for_others {
                inner.hint_wanted.notify_one();
            }
            Ok(flushed)
        }
        Err(Failure::Refused { step, error }) => {
            let place = answers.get(step).and_then(|answer| answer.place()).or(order.first().copied());
            let named = place.map(|place| crate::error::named(&flush.places[place].place));
            Err(refused(&error, named.as_deref().unwrap_or("cloacina")))
        }
        Err(Failure::Lost { cause }) => {
            let backend = lane.backend.clone();
            lane.close();
            inner.pool.decide(&backend).await;
            let message = format!("the connection to {} broke around a commit: {cause}", inner.label());
            Err(StoreError::new(StoreErrorKind::Unknown, message))
        }
        Err(Failure::NotSent(error)) => {
            lane.close();
            Err(error)
        }
    }
}

fn push_place<'a>(
    flush: &'a OwnedFlush,
    index: usize,
    steps: &mut Vec<Step<'a>>,
    answers: &mut Vec<Answer>,
) -> Result<()> {
    let place = &flush.places[index];
    let tenant = Uuid::from(place.place.tenant);
    let now = flush.now;
    let mut push = |answer, step| {
        answers.push(answer);
        steps.push(step);
    };
    let claims = place.claim.is_some() || place.submits.iter().any(|submit| !submit.claimed.is_empty());
    let runner = match flush.runner {
        Some(runner) => Uuid::from(runner),
        None if claims || !place.outcomes.is_empty() => {
            let message = "a flush without a runner claims nothing and records nothing";
            return Err(StoreError::new(StoreErrorKind::Internal, message));
        }
        None => Uuid::nil(),
    };
    let mut may_leave_work = false;

    if place.first_claim && flush.runner.is_some() {
        push(Answer::Nothing(index), Step::Run(sql::RUNNER_PLACE_INSERT, params![runner, tenant]));
    }
    if !place.submits.is_empty() {
        let submits = Submits::of(&place.submits);
        may_leave_work |= submits.leaves_work;
        let Submits { executions, tasks, deadlines, .. } = submits;
        push(Answer::Submitted(index), executions.into_step(tenant, now));
        push(Answer::Nothing(index), tasks.into_step(tenant, now, runner));
        if !deadlines.is_empty() {
            push(Answer::Nothing(index), Step::Run(sql::DEADLINE_INSERT, params![tenant, deadlines]));
        }
    }
    if !place.outcomes.is_empty() {
        let outcomes = Outcomes::of(&place.outcomes);
        may_leave_work |= outcomes.leaves_work;
        push(
            Answer::Nothing(index),
            Step::Run(sql::EXECUTION_LOCK, params![tenant, outcomes.locked.clone()]),
        );
        let closable = outcomes.closable.clone();
        push(Answer::Recorded(index), outcomes.into_step(tenant, now, runner));
        if !closable.is_empty() {
            push(Answer::Closed(index), Step::Run(sql::EXECUTION_CLOSE, params![tenant, now, closable]));
        }
    }
    if let Some(claim) = &place.claim {
        push(Answer::Claimed(index), claim_step(claim, tenant, now, runner));
    }
    if may_leave_work {
        push(Answer::Rang(index), doorbell::ring(place.place.tenant, now));
    }
    Ok(())
}

/// New executions, column by column.
#[derive(Default)]
struct Submits<'a> {
    executions: Executions<'a>,
    tasks: Tasks<'a>,
    deadlines: Vec<Uuid>,
    leaves_work: bool,
}

#[derive(Default)]
struct Executions<'a> {
    id: Vec<Uuid>,
    workflow: Vec<&'a str>,
    fingerprint: Vec<i64>,
    priority: Vec<i16>,
    input: Vec<&'a str>,
    deadline: Vec<Option<Timestamp>>,
    idempotency_key: Vec<Option<&'a str>>,
    input_hash: Vec<Option<i64>>,
    claimed: Vec<bool>,
}

#[derive(Default)]
struct Tasks<'a> {
    execution: Vec<Uuid>,
    task: Vec<TaskIndex>,
    name: Vec<&'a str>,
    waiting_on: Vec<i16>,
    claimed: Vec<bool>,
    start_at: Vec<Option<Timestamp>>,
}

impl<'a> Submits<'a> {
    fn of(submits: &'a [Arc<NewExecution>]) -> Self {
        let mut columns = Self::default();
        // Two flushes that insert the same keys wait for each other in one order only.
        let mut sorted: Vec<&NewExecution> = submits.iter().map(|submit| &**submit).collect();
        sorted.sort_by_key(|submit| {
            let key = submit.idempotency.as_ref().map(|idempotency| idempotency.key.as_str());
            (key.map(|key| (&submit.workflow.name, key)), submit.id)
        });
        for submit in sorted {
            columns.push(submit);
        }
        columns
    }

    fn push(&mut self, submit: &'a NewExecution) {
        let id = Uuid::from(submit.id);
        let idempotency = submit.idempotency.as_ref();
        let executions = &mut self.executions;
        executions.id.push(id);
        executions.workflow.push(&submit.workflow.name);
        executions.fingerprint.push(submit.workflow.fingerprint.0);
        executions.priority.push(submit.priority);
        executions.input.push(&submit.input);
        executions.deadline.push(submit.deadline);
        executions.idempotency_key.push(idempotency.map(|idempotency| idempotency.key.as_str()));
        executions.input_hash.push(idempotency.map(|idempotency| idempotency.input_hash));
        executions.claimed.push(!submit.claimed.is_empty());
        for (position, task) in (0..).zip(submit.tasks.iter()) {
            let claimed = submit.claimed.contains(&position);
            self.leaves_work |= task.waiting_on == 0 && !claimed;
            self.tasks.execution.push(id);
            self.tasks.task.push(position);
            self.tasks.name.push(&task.name);
            self.tasks.waiting_on.push(task.waiting_on);
            self.tasks.claimed.push(claimed);
            self.tasks.start_at.push(submit.start_at);
        }
        if submit.deadline.is_some() {
            self.deadlines.push(id);
            self.leaves_work = true;
        }
    }
}

impl<'a> Executions<'a> {
    fn into_step(self, tenant: Uuid, now: Option<Timestamp>) -> Step<'a> {
        let parameters = params![
            tenant,
            now,
            self.id,
            self.workflow,
            self.fingerprint,
            self.priority,
            self.input,
            self.deadline,
            self.idempotency_key,
            self.input_hash,
            self.claimed,
        ];
        Step::Run(sql::EXECUTION_INSERT, parameters)
    }
}

impl<'a> Tasks<'a> {
    fn into_step(self, tenant: Uuid, now: Option<Timestamp>, runner: Uuid) -> Step<'a> {
        let parameters = params![
            tenant,
            now,
            runner,
            self.execution,
            self.task,
            self.name,
            self.waiting_on,
            self.claimed,
            self.start_at,
        ];
        Step::Run(sql::TASK_INSERT, parameters)
    }
}

/// Outcomes, column by column.
#[derive(Default)]
struct Outcomes<'a> {
    execution: Vec<Uuid>,
    task: Vec<TaskIndex>,
    attempt: Vec<i32>,
    state: Vec<&'static str>,
    outcome: Vec<Option<&'static str>>,
    patch: Vec<Option<&'a str>>,
    error: Vec<Option<&'a str>>,
    skip_reason: Vec<Option<&'static str>>,
    after_us: Vec<Option<i64>>,
    successors: Vec<Option<String>>,
    wanted: Vec<Option<String>>,
    handles: Vec<Option<String>>,
    /// The executions, in the order of their locks.
    locked: Vec<Uuid>,
    /// Those in which a task ended that nothing waits for: only they can have nothing left.
    closable: Vec<Uuid>,
    /// Whether all of them end a task that nothing waits for, and handle nothing.
    only_ends: bool,
    leaves_work: bool,
}

impl<'a> Outcomes<'a> {
    fn of(outcomes: &'a [Arc<Outcome>]) -> Self {
        let mut columns = Self { only_ends: true, ..Self::default() };
        for outcome in outcomes {
            columns.push(outcome);
        }
        for ids in [&mut columns.locked, &mut columns.closable] {
            ids.sort_unstable();
            ids.dedup();
        }
        columns
    }

    fn push(&mut self, outcome: &'a Outcome) {
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
        self.execution.push(execution);
        self.task.push(outcome.task);
        self.attempt.push(outcome.attempt);
        self.state.push(state);
        self.outcome.push(how);
        self.patch.push(patch_text);
        self.error.push(error_text);
        self.skip_reason.push(reason);
        self.after_us.push(after_us);
        let successors: &[_] = if is_over { &outcome.successors } else { &[] };
        self.successors.push(array_literal(successors.iter().map(|(task, _)| task)));
        self.wanted.push(array_literal(successors.iter().map(|(_, wanted)| wanted)));
        let handles: &[_] = if state == "completed" { &outcome.handles } else { &[] };
        self.handles.push(array_literal(handles.iter()));
        self.locked.push(execution);
        if is_over && successors.is_empty() {
            self.closable.push(execution);
        }
        self.only_ends &= is_over && successors.is_empty() && handles.is_empty();
        self.leaves_work |= !is_over || successors.iter().any(|(_, wanted)| !wanted);
    }

    fn into_step(self, tenant: Uuid, now: Option<Timestamp>, runner: Uuid) -> Step<'a> {
        let mut parameters = params![
            tenant,
            now,
            runner,
            self.execution,
            self.task,
            self.attempt,
            self.state,
            self.outcome,
            self.patch,
            self.error,
            self.skip_reason,
        ];
        if self.only_ends {
            return Step::Run(sql::TASK_END, parameters);
        }
        parameters.extend(params![self.after_us, self.successors, self.wanted, self.handles]);
        Step::Run(sql::TASK_RECORD, parameters)
    }
}

/// `{1,2,3}`; `None` for an empty list.
fn array_literal<T: ToString>(values: impl Iterator<Item = T>) -> Option<String> {
    let values: Vec<_> = values.map(|value| value.to_string()).collect();
    if values.is_empty() { None } else { Some(format!("{{{}}}", values.join(","))) }
}

fn claim_step(claim: &Claim, tenant: Uuid, now: Option<Timestamp>, runner: Uuid) -> Step<'_> {
    let names: Vec<&str> = claim.workflows.iter().map(|key| &*key.name).collect();
    let fingerprints: Vec<i64> = claim.workflows.iter().map(|key| key.fingerprint.0).collect();
    let limit = i64::try_from(claim.limit).unwrap_or(i64::MAX);
    Step::Run(sql::TASK_CLAIM, params![tenant, now, runner, limit, names, fingerprints])
}

/// Reads the rows of a step; true if there is work for others now.
fn read(answer: Answer, rows: &[Row], flushed: &mut Flushed, places: &[PlaceFlush]) -> Result<bool> {
    match answer {
        Answer::Clock | Answer::Nothing(_) => {}
        Answer::Submitted(place) => {
            flushed.places[place].submitted = rows.iter().map(|row| ExecutionId(row.get("id"))).collect();
        }
        Answer::Recorded(place) => {
            let flushed = &mut flushed.places[place];
            for row in rows {
                let (execution, task) = (ExecutionId(row.get("execution_id")), row.get("task"));
                if row.get("recorded") {
                    flushed.recorded.push(Recorded { execution, task });
                } else {
                    flushed.freed.push(Freed { execution, task, claimed: row.get("attempt") });
                }
            }
        }
        Answer::Closed(place) => {
            for row in rows {
                let status = parse::<PipelineStatus>(row.get("state"), &places[place].place.name)?;
                flushed.places[place].closed.push(Closed { execution: ExecutionId(row.get("id")), status });
            }
        }
        Answer::Claimed(place) => flushed.places[place].claimed = rows.iter().map(claimed_now).collect(),
        Answer::Rang(place) => return Ok(doorbell::rang_for_others(rows, &places[place].place.name)),
    }
    Ok(false)
}

pub(crate) fn claimed(row: &Row) -> Claimed {
    Claimed {
        execution: ExecutionId(row.get("execution_id")),
        task: row.get("task"),
        workflow: workflow_key(row),
        priority: row.get("priority"),
        attempt: row.get("attempt"),
        failures: row.get("failures"),
        lost: row.get("lost"),
        fresh: None,
    }
}

/// A task that was just claimed, with what was read of its execution if that begins with it.
fn claimed_now(row: &Row) -> Claimed {
    let input: Option<&str> = row.get("input");
    // A time that cannot be read is for whoever reads the execution, and says why.
    let created_at: Option<Timestamp> = row.try_get("created_at").ok();
    let fresh = input.zip(created_at).map(|(input, created_at)| Fresh { input: input.into(), created_at });
    Claimed { fresh, ..claimed(row) }
}

pub(crate) fn workflow_key(row: &Row) -> WorkflowKey {
    WorkflowKey {
        name: row.get::<_, &str>("workflow").into(),
        fingerprint: Fingerprint(row.get("fingerprint")),
    }
}

/// A state as text; one that this program does not know was written by a newer one.
pub(crate) fn parse<T: std::str::FromStr>(text: &str, name: &str) -> Result<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| {
        StoreError::new(StoreErrorKind::Version, format!("of tenant `{name}`: {error}"))
    })
}
