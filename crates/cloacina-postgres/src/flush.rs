//! The one write path of the engine; its steps are told at the head of `cloacina_core::store`'s `flush`.
//!
//! All places of a flush travel in one flight under one `COMMIT`. Steps with nothing to do are not sent.
//!
//! When the connection breaks before every answer has come, it is not known whether the commit happened. Before that is
//! reported, the server process that worked on it is ended, so that it *is* decided and the caller can read what happened. As
//! long as the server cannot be reached nothing can be said, neither "nothing was written" nor "read it": the flush waits, with
//! backoff and without a limit, and with it its lane.

use std::collections::HashMap;
use std::sync::Arc;

use cloacina_core::execution::PipelineStatus;
use cloacina_core::id::{ExecutionId, RunnerId, SubmitterId, TaskIndex, TenantId};
use cloacina_core::store::{
    Claim, Claimed, Closed, Flush, Flushed, Freed, Fresh, NewExecution, Outcome, PlaceFlush, PlaceFlushed,
    Recorded, Result, StoreError, StoreErrorKind, TaskOutcome, WorkflowKey,
};
use cloacina_core::workflow::Fingerprint;
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::Inner;
use crate::connect::{Param, Scope, Step, params};
use crate::doorbell;
use crate::error::{Failure, column, refused};
use crate::guest::Value;
use crate::pool::Use;
use crate::statement::{self as sql, Statement};
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

/// What a step answers.
#[derive(Clone, Copy)]
enum Answer {
    Clock,
    Submitted(Whose),
    Recorded(Whose),
    Closed(Whose),
    Claimed(Whose),
    Rang(Whose),
    Nothing(Whose),
}

/// Which places a step is for.
#[derive(Clone, Copy)]
enum Whose {
    /// This one.
    One(usize),
    /// Several whose rows lie in the same tables, of which this is the first: each row says whose it is.
    Several(usize),
}

impl Answer {
    fn place(self) -> Option<usize> {
        match self {
            Self::Clock => None,
            Self::Submitted(whose)
            | Self::Recorded(whose)
            | Self::Closed(whose)
            | Self::Claimed(whose)
            | Self::Rang(whose)
            | Self::Nothing(whose) => Some(whose.first()),
        }
    }

    /// The place, if it is for no other.
    fn only_place(self) -> Option<usize> {
        match self {
            Self::Submitted(Whose::One(place))
            | Self::Recorded(Whose::One(place))
            | Self::Closed(Whose::One(place))
            | Self::Claimed(Whose::One(place))
            | Self::Rang(Whose::One(place))
            | Self::Nothing(Whose::One(place)) => Some(place),
            _ => None,
        }
    }
}

impl Whose {
    fn first(self) -> usize {
        match self {
            Self::One(place) | Self::Several(place) => place,
        }
    }

    /// The statement for one place, or the one for several.
    fn of<'a>(self, one: &'a Statement, several: &'a Statement) -> &'a Statement {
        match self {
            Self::One(_) => one,
            Self::Several(_) => several,
        }
    }

    /// The first parameter of a statement: the tenant, or that of each row.
    fn tenants<'a>(self, tenants: Vec<Uuid>, flush: &OwnedFlush) -> Param<'a> {
        match self {
            Self::One(place) => Box::new(Uuid::from(flush.places[place].place.tenant)),
            Self::Several(_) => Box::new(tenants),
        }
    }

    /// The place that a row is about.
    fn place_of(self, row: &Row, places: &HashMap<TenantId, usize>) -> Option<usize> {
        match self {
            Self::One(place) => Some(place),
            Self::Several(_) => {
                row.try_get("tenant_id").ok().and_then(|tenant| places.get(&TenantId(tenant)).copied())
            }
        }
    }
}

pub(crate) async fn flush(inner: Arc<Inner>, lane: usize, flush: OwnedFlush) -> Result<Flushed> {
    let schemas =
        flush.places.iter().map(|place| SchemaName::of(&place.place)).collect::<Result<Vec<_>>>()?;
    // Those that share tables first, so that they are together. All flushes have the same order.
    let mut order: Vec<usize> = (0..flush.places.len()).collect();
    order.sort_by_key(|place| (!flush.places[*place].place.shared, flush.places[*place].place.tenant));

    // The lane after the last is that of places in trouble.
    let lane = if lane == inner.pool.lanes() { Use::Aside } else { Use::Lane(lane) };
    let mut lane = inner.pool.get(lane).await?;
    let mut steps = Vec::with_capacity(8 * order.len());
    let mut answers = Vec::with_capacity(steps.capacity());
    match flush.runner {
        Some(runner) => steps.push(Step::Run(sql::FENCE, params![Uuid::from(runner), flush.now])),
        None => steps.push(Step::Run(sql::CLOCK, params![flush.now])),
    }
    answers.push(Answer::Clock);
    let together =
        |one: &usize, other: &usize| flush.places[*one].place.shared && flush.places[*other].place.shared;
    for (nth, group) in order.chunk_by(together).enumerate() {
        let whose = if group.len() == 1 { Whose::One(group[0]) } else { Whose::Several(group[0]) };
        if nth > 0 {
            steps.push(Step::Enter(Scope::Schema(&schemas[group[0]])));
            answers.push(Answer::Nothing(whose));
        }
        for place in group {
            lane.touch(flush.places[*place].place.tenant);
        }
        push_group(&flush, group, whose, &mut steps, &mut answers)?;
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
            let places: HashMap<TenantId, usize> =
                flush.places.iter().map(|place| place.place.tenant).zip(0..).collect();
            let mut work_for_others = false;
            for (answer, rows) in answers.iter().zip(&rows) {
                work_for_others |= read(*answer, rows, &mut flushed, &flush, &places);
            }
            if work_for_others {
                inner.hints.tell_of_work();
            }
            Ok(flushed)
        }
        Err(Failure::Refused { step, error }) => {
            let answer = answers.get(step);
            let place = answer.and_then(|answer| answer.place()).or(order.first().copied());
            let named = place.map(|place| crate::error::named(&flush.places[place].place));
            let error = refused(&error, named.as_deref().unwrap_or("cloacina"));
            Err(match answer.and_then(|answer| answer.only_place()) {
                Some(place) => error.of(flush.places[place].place.tenant),
                None => error,
            })
        }
        Err(Failure::Lost { cause }) => {
            let backend = lane.backend.clone();
            lane.discard();
            inner.pool.decide(&backend).await;
            let message = format!("the connection to {} broke around a commit: {cause}", inner.label());
            Err(StoreError::new(StoreErrorKind::Unknown, message))
        }
        Err(Failure::NotSent(error)) => {
            lane.discard();
            Err(error)
        }
    }
}

fn push_group<'a>(
    flush: &'a OwnedFlush,
    group: &[usize],
    whose: Whose,
    steps: &mut Vec<Step<'a>>,
    answers: &mut Vec<Answer>,
) -> Result<()> {
    let now = flush.now;
    let mut push = |answer, step| {
        answers.push(answer);
        steps.push(step);
    };
    let runner = flush.runner.map_or(Uuid::nil(), Uuid::from);
    let (mut submits, mut ends) = (Submits::default(), Outcomes::default());
    let (mut first_claims, mut more, mut leaving) = (Vec::new(), Vec::new(), Vec::new());
    let mut locked = Vec::new();
    for index in group {
        let place = &flush.places[*index];
        let tenant = Uuid::from(place.place.tenant);
        let claims = place.claim.is_some() || place.submits.iter().any(|submit| !submit.claimed.is_empty());
        if flush.runner.is_none() && (claims || !place.outcomes.is_empty()) {
            let message = "a flush without a runner claims nothing and records nothing";
            return Err(StoreError::new(StoreErrorKind::Internal, message));
        }
        if place.first_claim && flush.runner.is_some() {
            first_claims.push(tenant);
        }
        let mut may_leave_work = submits.add(tenant, &place.submits);
        let outcomes = Outcomes::of(tenant, &place.outcomes);
        may_leave_work |= outcomes.leaves_work;
        locked.extend_from_slice(&outcomes.locked);
        if outcomes.only_ends {
            ends.absorb(outcomes);
        } else {
            more.push((*index, outcomes));
        }
        if may_leave_work {
            leaving.push(tenant);
        }
    }

    if !first_claims.is_empty() {
        let step = match whose {
            Whose::One(_) => Step::Run(sql::RUNNER_PLACE_INSERT, params![runner, first_claims[0]]),
            Whose::Several(_) => Step::Run(sql::MANY_RUNNER_PLACE_INSERT, params![runner, first_claims]),
        };
        push(Answer::Nothing(whose), step);
    }
    if !submits.executions.id.is_empty() {
        let Submits { executions, tasks, deadlines } = submits;
        push(Answer::Submitted(whose), executions.into_step(whose, flush));
        push(Answer::Nothing(whose), tasks.into_step(whose, flush, runner));
        for of_tenant in deadlines.chunk_by(|one, other| one.0 == other.0) {
            let ids: Vec<Uuid> = of_tenant.iter().map(|(_, id)| *id).collect();
            push(Answer::Nothing(whose), Step::Run(sql::DEADLINE_INSERT, params![of_tenant[0].0, ids]));
        }
    }
    if !locked.is_empty() {
        let (tenants, ids): (_, Vec<Uuid>) = locked.into_iter().unzip();
        let lock = whose.of(sql::EXECUTION_LOCK, sql::MANY_EXECUTION_LOCK);
        push(Answer::Nothing(whose), Step::Run(lock, vec![whose.tenants(tenants, flush), Box::new(ids)]));
        let mut closable = std::mem::take(&mut ends.closable);
        if !ends.execution.is_empty() {
            push(Answer::Recorded(whose), ends.into_end(whose, flush, runner));
        }
        for (index, outcomes) in more {
            closable.extend_from_slice(&outcomes.closable);
            let tenant = Uuid::from(flush.places[index].place.tenant);
            push(Answer::Recorded(Whose::One(index)), outcomes.into_record(tenant, now, runner));
        }
        if !closable.is_empty() {
            let (tenants, ids): (_, Vec<Uuid>) = closable.into_iter().unzip();
            let close = whose.of(sql::EXECUTION_CLOSE, sql::MANY_EXECUTION_CLOSE);
            let parameters: Vec<Param<'_>> =
                vec![whose.tenants(tenants, flush), Box::new(now), Box::new(ids)];
            push(Answer::Closed(whose), Step::Run(close, parameters));
        }
    }
    let mut claims: Vec<(usize, &Claim)> =
        group.iter().filter_map(|index| Some((*index, flush.places[*index].claim.as_ref()?))).collect();
    while let Some((first, claim)) = claims.first().copied() {
        let alike: Vec<(usize, &Claim)> =
            claims.extract_if(.., |(_, other)| other.workflows == claim.workflows).collect();
        // What the step is for is said by its form, not by that of the others.
        let whose = if alike.len() == 1 { Whose::One(first) } else { Whose::Several(first) };
        push(Answer::Claimed(whose), claim_step(&alike, whose, flush, runner));
    }
    if !leaving.is_empty() {
        let ring = whose.of(sql::BELL_RING, sql::MANY_BELL_RING);
        push(Answer::Rang(whose), Step::Run(ring, vec![whose.tenants(leaving, flush), Box::new(now)]));
    }
    Ok(())
}

/// New executions, column by column.
#[derive(Default)]
pub(crate) struct Submits<'a> {
    pub(crate) executions: Executions<'a>,
    pub(crate) tasks: Tasks<'a>,
    /// The tenants and executions.
    pub(crate) deadlines: Vec<(Uuid, Uuid)>,
}

#[derive(Default)]
pub(crate) struct Executions<'a> {
    tenant: Vec<Uuid>,
    id: Vec<Uuid>,
    workflow: Vec<&'a str>,
    fingerprint: Vec<i64>,
    priority: Vec<i16>,
    input: Vec<&'a str>,
    deadline: Vec<Option<Timestamp>>,
    idempotency_key: Vec<Option<&'a str>>,
    input_hash: Vec<Option<i64>>,
    claimed: Vec<bool>,
    submitter: Vec<Option<Uuid>>,
}

#[derive(Default)]
pub(crate) struct Tasks<'a> {
    tenant: Vec<Uuid>,
    execution: Vec<Uuid>,
    task: Vec<TaskIndex>,
    name: Vec<&'a str>,
    waiting_on: Vec<i16>,
    claimed: Vec<bool>,
    start_at: Vec<Option<Timestamp>>,
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

    fn push(&mut self, tenant: Uuid, submit: &'a NewExecution) -> bool {
        let mut leaves_work = false;
        let id = Uuid::from(submit.id);
        let idempotency = submit.idempotency.as_ref();
        let executions = &mut self.executions;
        executions.tenant.push(tenant);
        executions.id.push(id);
        executions.workflow.push(&submit.workflow.name);
        executions.fingerprint.push(submit.workflow.fingerprint.0);
        executions.priority.push(submit.priority);
        executions.input.push(&submit.input);
        executions.deadline.push(submit.deadline);
        executions.idempotency_key.push(idempotency.map(|idempotency| idempotency.key.as_str()));
        executions.input_hash.push(idempotency.map(|idempotency| idempotency.input_hash));
        executions.claimed.push(!submit.claimed.is_empty());
        executions.submitter.push(submit.submitter.map(Uuid::from));
        for (position, task) in (0..).zip(submit.tasks.iter()) {
            let claimed = submit.claimed.contains(&position);
            leaves_work |= task.waiting_on == 0 && !claimed;
            self.tasks.tenant.push(tenant);
            self.tasks.execution.push(id);
            self.tasks.task.push(position);
            self.tasks.name.push(&task.name);
            self.tasks.waiting_on.push(task.waiting_on);
            self.tasks.claimed.push(claimed);
            self.tasks.start_at.push(submit.start_at);
        }
        if submit.deadline.is_some() {
            self.deadlines.push((tenant, id));
            leaves_work = true;
        }
        leaves_work
    }
}

impl<'a> Executions<'a> {
    fn into_step(self, whose: Whose, flush: &OwnedFlush) -> Step<'a> {
        let mut parameters = vec![whose.tenants(self.tenant, flush)];
        parameters.extend(params![
            flush.now,
            self.id,
            self.workflow,
            self.fingerprint,
            self.priority,
            self.input,
            self.deadline,
            self.idempotency_key,
            self.input_hash,
            self.claimed,
            self.submitter,
        ]);
        Step::Run(whose.of(sql::EXECUTION_INSERT, sql::MANY_EXECUTION_INSERT), parameters)
    }

    /// The parameters for a driver that is not ours.
    pub(crate) fn into_values(self, tenant: &Value) -> Vec<Value> {
        vec![
            tenant.clone(),
            Value::Now,
            Value::Uuids(self.id),
            texts(self.workflow),
            Value::BigInts(self.fingerprint.into_iter().map(Some).collect()),
            Value::SmallInts(self.priority),
            texts(self.input),
            Value::Timestamps(self.deadline),
            Value::Texts(self.idempotency_key.into_iter().map(|key| key.map(str::to_owned)).collect()),
            Value::BigInts(self.input_hash),
            Value::Booleans(self.claimed),
            Value::OptionalUuids(self.submitter),
        ]
    }
}

impl<'a> Tasks<'a> {
    fn into_step(self, whose: Whose, flush: &OwnedFlush, runner: Uuid) -> Step<'a> {
        let mut parameters = vec![whose.tenants(self.tenant, flush)];
        parameters.extend(params![
            flush.now,
            runner,
            self.execution,
            self.task,
            self.name,
            self.waiting_on,
            self.claimed,
            self.start_at,
        ]);
        Step::Run(whose.of(sql::TASK_INSERT, sql::MANY_TASK_INSERT), parameters)
    }

    /// The parameters for a driver that is not ours. Nothing is claimed, so there is no runner.
    pub(crate) fn into_values(self, tenant: &Value) -> Vec<Value> {
        vec![
            tenant.clone(),
            Value::Now,
            Value::Uuid(Uuid::nil()),
            Value::Uuids(self.execution),
            Value::SmallInts(self.task),
            texts(self.name),
            Value::SmallInts(self.waiting_on),
            Value::Booleans(self.claimed),
            Value::Timestamps(self.start_at),
        ]
    }
}

fn texts(texts: Vec<&str>) -> Value {
    Value::Texts(texts.into_iter().map(|text| Some(text.to_owned())).collect())
}

/// Outcomes, column by column.
#[derive(Default)]
struct Outcomes<'a> {
    tenant: Vec<Uuid>,
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
    /// The tenants and executions, in the order of their locks.
    locked: Vec<(Uuid, Uuid)>,
    /// Those in which a task ended that nothing waits for: only they can have nothing left.
    closable: Vec<(Uuid, Uuid)>,
    /// Whether all of them end a task that nothing waits for, and handle nothing.
    only_ends: bool,
    leaves_work: bool,
}

impl<'a> Outcomes<'a> {
    fn of(tenant: Uuid, outcomes: &'a [Arc<Outcome>]) -> Self {
        let mut columns = Self { only_ends: true, ..Self::default() };
        for outcome in outcomes {
            columns.push(tenant, outcome);
        }
        for ids in [&mut columns.locked, &mut columns.closable] {
            ids.sort_unstable();
            ids.dedup();
        }
        columns
    }

    /// Takes those of another tenant in, all of which end tasks.
    fn absorb(&mut self, mut other: Self) {
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
        self.locked.push((tenant, execution));
        if is_over && successors.is_empty() {
            self.closable.push((tenant, execution));
        }
        self.only_ends &= is_over && successors.is_empty() && handles.is_empty();
        self.leaves_work |= !is_over || successors.iter().any(|(_, wanted)| !wanted);
    }

    fn into_end(self, whose: Whose, flush: &OwnedFlush, runner: Uuid) -> Step<'a> {
        let mut parameters = vec![whose.tenants(self.tenant, flush)];
        parameters.extend(params![
            flush.now,
            runner,
            self.execution,
            self.task,
            self.attempt,
            self.state,
            self.outcome,
            self.patch,
            self.error,
            self.skip_reason,
        ]);
        Step::Run(whose.of(sql::TASK_END, sql::MANY_TASK_END), parameters)
    }

    fn into_record(self, tenant: Uuid, now: Option<Timestamp>, runner: Uuid) -> Step<'a> {
        let parameters = params![
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
            self.after_us,
            self.successors,
            self.wanted,
            self.handles,
        ];
        Step::Run(sql::TASK_RECORD, parameters)
    }
}

/// `{1,2,3}`; `None` for an empty list.
fn array_literal<T: ToString>(values: impl Iterator<Item = T>) -> Option<String> {
    let values: Vec<_> = values.map(|value| value.to_string()).collect();
    if values.is_empty() { None } else { Some(format!("{{{}}}", values.join(","))) }
}

/// Claims that know the same workflows.
fn claim_step<'a>(claims: &[(usize, &'a Claim)], whose: Whose, flush: &OwnedFlush, runner: Uuid) -> Step<'a> {
    let workflows = &claims[0].1.workflows;
    let names: Vec<&str> = workflows.iter().map(|key| &*key.name).collect();
    let fingerprints: Vec<i64> = workflows.iter().map(|key| key.fingerprint.0).collect();
    let tenants = claims.iter().map(|(index, _)| Uuid::from(flush.places[*index].place.tenant)).collect();
    let limits: Vec<i64> =
        claims.iter().map(|(_, claim)| i64::try_from(claim.limit).unwrap_or(i64::MAX)).collect();
    let limit: Param<'a> = match whose {
        Whose::One(_) => Box::new(limits[0]),
        Whose::Several(_) => Box::new(limits),
    };
    let mut parameters = vec![whose.tenants(tenants, flush)];
    parameters.extend(params![flush.now, runner]);
    parameters.push(limit);
    parameters.extend(params![names, fingerprints]);
    Step::Run(whose.of(sql::TASK_CLAIM, sql::MANY_TASK_CLAIM), parameters)
}

/// Reads the rows of a step; true if there is work for others now. They are committed, whatever a tenant wrote into them: one that cannot be
/// read is left out.
fn read(
    answer: Answer,
    rows: &[Row],
    flushed: &mut Flushed,
    flush: &OwnedFlush,
    places: &HashMap<TenantId, usize>,
) -> bool {
    let (Answer::Submitted(whose)
    | Answer::Recorded(whose)
    | Answer::Closed(whose)
    | Answer::Claimed(whose)
    | Answer::Rang(whose)) = answer
    else {
        return false;
    };
    let mut work_for_others = false;
    for row in rows {
        // The statements are asked about these tenants only.
        let Some(index) = whose.place_of(row, places) else { continue };
        let (name, done) = (&flush.places[index].place.name, &mut flushed.places[index]);
        match read_row(answer, row, name, done) {
            Ok(has_work) => work_for_others |= has_work,
            Err(error) => tracing::warn!(tenant = name, %error, "a row is left out"),
        }
    }
    work_for_others
}

fn read_row(answer: Answer, row: &Row, name: &str, done: &mut PlaceFlushed) -> Result<bool> {
    match answer {
        Answer::Clock | Answer::Nothing(_) => {}
        Answer::Submitted(_) => done.submitted.push(ExecutionId(column(row, "id", name)?)),
        Answer::Recorded(_) => {
            let execution = ExecutionId(column(row, "execution_id", name)?);
            let task = column(row, "task", name)?;
            if column(row, "recorded", name)? {
                done.recorded.push(Recorded { execution, task });
            } else {
                done.freed.push(Freed { execution, task, claimed: column(row, "attempt", name)? });
            }
        }
        Answer::Closed(_) => {
            let status = parse::<PipelineStatus>(column(row, "state", name)?, name)?;
            done.closed.push(Closed { execution: ExecutionId(column(row, "id", name)?), status });
            done.submitters.extend(column::<Option<Uuid>>(row, "submitter", name)?.map(SubmitterId));
        }
        Answer::Claimed(_) => done.claimed.push(claimed_now(row, name)?),
        Answer::Rang(_) => return Ok(doorbell::rang_for_others(row, name)),
    }
    Ok(false)
}

pub(crate) fn claimed(row: &Row, place: &str) -> Result<Claimed> {
    Ok(Claimed {
        execution: ExecutionId(column(row, "execution_id", place)?),
        task: column(row, "task", place)?,
        workflow: workflow_key(row, place)?,
        priority: column(row, "priority", place)?,
        attempt: column(row, "attempt", place)?,
        failures: column(row, "failures", place)?,
        lost: column(row, "lost", place)?,
        fresh: None,
    })
}

/// A task that was just claimed, with what was read of its execution if that begins with it.
fn claimed_now(row: &Row, place: &str) -> Result<Claimed> {
    // What cannot be read is for whoever reads the execution, and says why.
    let input: Option<&str> = row.try_get("input").ok().flatten();
    let created_at: Option<Timestamp> = row.try_get("created_at").ok();
    let fresh = input.zip(created_at).map(|(input, created_at)| Fresh { input: input.into(), created_at });
    Ok(Claimed { fresh, ..claimed(row, place)? })
}

pub(crate) fn workflow_key(row: &Row, place: &str) -> Result<WorkflowKey> {
    Ok(WorkflowKey {
        name: column::<&str>(row, "workflow", place)?.into(),
        fingerprint: Fingerprint(column(row, "fingerprint", place)?),
    })
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
