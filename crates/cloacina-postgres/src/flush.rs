//! The one write path of the engine; its steps are told at the head of `cloacina_core::store`'s `flush`.
//!
//! All places of a flush travel in one flight under one `COMMIT`. Steps with nothing to do are not sent.
//!
//! When the connection breaks before every answer has come, it is not known whether the commit happened.
//! Before that is reported, the server process that worked on it is ended, so that it *is* decided and the
//! caller can read what happened. As long as the server cannot be reached nothing can be said, neither
//! "nothing was written" nor "read it": the flush waits, with backoff and without a limit, and with it its
//! lane.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::{ExecutionId, RunnerId, SubmitterId, TenantId};
use cloacina_core::store::{
    Claim, Claimed, Closed, Flush, Flushed, Freed, Fresh, PlaceFlush, PlaceFlushed, Recorded, Result,
    StoreError, StoreErrorKind,
};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::doorbell;
use crate::doorbell::at_once;
use crate::ends::reach;
use crate::error::{Failure, refused};
use crate::execution::columns;
use crate::flight::{Param, Scope, Step, Use, params};
use crate::inner::Inner;
use crate::outcomes::Outcomes;
use crate::row::{claimed, column, parse};
use crate::schema::SchemaName;
use crate::statement::{self as sql, Statement};
use crate::submits::{Submits, by_values, tag_values};
use crate::value::Value;

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
            timed: place.timed.clone(),
            related: place.related.clone(),
            claim: place.claim.clone(),
        });
        Self { runner: flush.runner, now: flush.now, places: places.collect() }
    }
}

/// What the rows of a step say.
#[derive(Clone, Copy)]
enum Rows {
    Nothing,
    Submitted,
    Recorded,
    Closed,
    Claimed,
    Rang,
}

/// What a step answers, and for which places; for none, the time of the flush.
type Answer = (Rows, Option<Whose>);

/// Which places a step is for.
#[derive(Clone, Copy)]
enum Whose {
    /// This one.
    One(usize),
    /// Several whose rows lie in the same tables, of which this is the first: each row says whose it is.
    Several(usize),
}

impl Whose {
    fn first(self) -> usize {
        match self {
            Self::One(place) | Self::Several(place) => place,
        }
    }

    /// The place, if it is for no other.
    fn only(self) -> Option<usize> {
        match self {
            Self::One(place) => Some(place),
            Self::Several(_) => None,
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
    fn tenants<'a>(self, tenants: Vec<Uuid>, flush: &OwnedFlush) -> Value<'a> {
        match self {
            Self::One(place) => Value::Uuid(flush.places[place].place.tenant.into()),
            Self::Several(_) => Value::Uuids(tenants),
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

    let lane = match lane.cmp(&inner.pool.lanes()) {
        Ordering::Less => Use::Lane(lane),
        Ordering::Equal => Use::Aside,
        Ordering::Greater => Use::Guarded,
    };
    let mut lane = inner.pool.get(lane).await?;
    let mut steps = Vec::with_capacity(8 * order.len());
    let mut answers = Vec::with_capacity(steps.capacity());
    match flush.runner {
        Some(runner) => steps.push(Step::Run(sql::FENCE, params![Uuid::from(runner), flush.now])),
        None => steps.push(Step::Run(sql::CLOCK, params![flush.now])),
    }
    answers.push((Rows::Nothing, None));
    let together =
        |one: &usize, other: &usize| flush.places[*one].place.shared && flush.places[*other].place.shared;
    for (nth, group) in order.chunk_by(together).enumerate() {
        let whose = if group.len() == 1 { Whose::One(group[0]) } else { Whose::Several(group[0]) };
        if nth > 0 {
            steps.push(Step::Enter(Scope::Schema(&schemas[group[0]])));
            answers.push((Rows::Nothing, Some(whose)));
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
            let whose = answers.get(step).and_then(|(_, whose)| *whose);
            let place = whose.map(Whose::first).or(order.first().copied());
            let named = place.map(|place| crate::error::named(&flush.places[place].place));
            let error = refused(&error, named.as_deref().unwrap_or("cloacina"));
            Err(match whose.and_then(Whose::only) {
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
    let now = Value::Timestamp(flush.now);
    let tenants_of = |tenants| whose.tenants(tenants, flush);
    let mut push = |rows, whose, step| {
        answers.push((rows, Some(whose)));
        steps.push(step);
    };
    let runner = flush.runner.map_or(Uuid::nil(), Uuid::from);
    let (mut submits, mut ends) = (Submits::default(), Outcomes::none());
    let (mut first_claims, mut more, mut leaving) = (Vec::new(), Vec::new(), Vec::new());
    let (mut locked, mut timed, mut related) =
        (Vec::new(), Vec::<(Uuid, Uuid)>::new(), Vec::<(Uuid, Uuid)>::new());
    let (mut reached, mut parking) = (Vec::new(), Vec::<(Uuid, Uuid)>::new());
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
        reached.extend_from_slice(&outcomes.reached);
        parking.extend_from_slice(&outcomes.parking);
        let is_timed = |id: &Uuid| place.timed.iter().any(|timed| timed.0 == *id);
        timed.extend(outcomes.closable.iter().filter(|(_, id)| is_timed(id)));
        if !place.related.is_empty() {
            let is_related = |id: &Uuid| place.related.iter().any(|related| related.0 == *id);
            let before = related.len();
            related.extend(outcomes.closable.iter().filter(|(_, id)| is_related(id)));
            may_leave_work |= related.len() > before;
        }
        if outcomes.only_ends {
            ends.absorb(outcomes);
        } else {
            more.push((*index, outcomes));
        }
        if may_leave_work {
            leaving.push(tenant);
        }
    }
    let due_of = |tenant: &Uuid| {
        let is_at_once = related.iter().any(|(whose, _)| whose == tenant)
            || reached.iter().any(|(whose, ..)| whose == tenant);
        if is_at_once { Some(at_once(flush.now)) } else { submits.earliest_due(*tenant) }
    };
    let due: Vec<Option<Timestamp>> = leaving.iter().map(due_of).collect();

    if !first_claims.is_empty() {
        let insert = whose.of(sql::RUNNER_PLACE_INSERT, sql::MANY_RUNNER_PLACE_INSERT);
        push(Rows::Nothing, whose, Step::of(insert, vec![Value::Uuid(runner), tenants_of(first_claims)]));
    }
    if !submits.executions.is_empty() {
        let Submits { executions, tasks, deadlines, unexpanded, tags, by, reached: first, .. } = submits;
        reached.extend(first);
        let insert = whose.of(sql::EXECUTION_INSERT, sql::MANY_EXECUTION_INSERT);
        push(Rows::Submitted, whose, Step::of(insert, executions.values(tenants_of, now.clone())));
        if !tasks.is_empty() {
            let insert = whose.of(sql::TASK_INSERT, sql::MANY_TASK_INSERT);
            push(Rows::Nothing, whose, Step::of(insert, tasks.values(tenants_of, now.clone(), runner)));
        }
        for of_tenant in tags.chunk_by(|one, other| one.0 == other.0) {
            push(Rows::Nothing, whose, Step::of(sql::TAG_INSERT, tag_values(of_tenant[0].0, of_tenant)));
        }
        for of_tenant in by.chunk_by(|one, other| one.0 == other.0) {
            push(Rows::Nothing, whose, Step::of(sql::EXECUTION_BY, by_values(of_tenant[0].0, of_tenant)));
        }
        for of_tenant in unexpanded.chunk_by(|one, other| one.0 == other.0) {
            let ids: Vec<Uuid> = of_tenant.iter().map(|(_, id)| *id).collect();
            push(Rows::Nothing, whose, Step::Run(sql::EXPAND_INSERT, params![of_tenant[0].0, ids]));
        }
        for of_tenant in deadlines.chunk_by(|one, other| one.0 == other.0) {
            let ids: Vec<Uuid> = of_tenant.iter().map(|(_, id, _)| *id).collect();
            push(Rows::Nothing, whose, Step::Run(sql::DUE_INSERT, params![of_tenant[0].0, ids]));
        }
    }
    if !locked.is_empty() {
        let (tenants, ids) = locked.into_iter().unzip();
        let lock = whose.of(sql::EXECUTION_LOCK, sql::MANY_EXECUTION_LOCK);
        push(Rows::Nothing, whose, Step::of(lock, vec![tenants_of(tenants), Value::Uuids(ids)]));
        let mut closable = std::mem::take(&mut ends.closable);
        if !ends.is_empty() {
            let (end, values) = ends.statement(tenants_of, now.clone(), runner);
            push(Rows::Recorded, whose, Step::of(whose.of(end, sql::MANY_TASK_END), values));
        }
        for (index, outcomes) in more {
            closable.extend_from_slice(&outcomes.closable);
            let whose = Whose::One(index);
            let tenants_of = |tenants| whose.tenants(tenants, flush);
            let (record, values) = outcomes.statement(tenants_of, now.clone(), runner);
            push(Rows::Recorded, whose, Step::of(record, values));
        }
        if !closable.is_empty() {
            let (tenants, ids) = closable.into_iter().unzip();
            let close = whose.of(sql::EXECUTION_CLOSE, sql::MANY_EXECUTION_CLOSE);
            let values = vec![tenants_of(tenants), now.clone(), Value::Uuids(ids)];
            push(Rows::Closed, whose, Step::of(close, values));
        }
        for of_tenant in parking.chunk_by(|one, other| one.0 == other.0) {
            let ids: Vec<Uuid> = of_tenant.iter().map(|(_, id)| *id).collect();
            push(Rows::Nothing, whose, Step::Run(sql::EXECUTION_PARK, params![of_tenant[0].0, ids]));
        }
        for of_tenant in timed.chunk_by(|one, other| one.0 == other.0) {
            let ids: Vec<Uuid> = of_tenant.iter().map(|(_, id)| *id).collect();
            push(Rows::Nothing, whose, Step::Run(sql::DUE_DROP, params![of_tenant[0].0, ids]));
        }
        for of_tenant in related.chunk_by(|one, other| one.0 == other.0) {
            let ids: Vec<Uuid> = of_tenant.iter().map(|(_, id)| *id).collect();
            let parameters = params![of_tenant[0].0, flush.now, ids];
            push(Rows::Nothing, whose, Step::Run(sql::RELATED_WAKE, parameters));
        }
    }
    for of_tenant in reached.chunk_by(|one, other| one.0 == other.0) {
        push(Rows::Nothing, whose, reach(of_tenant));
    }
    let mut claims: Vec<(usize, &Claim)> =
        group.iter().filter_map(|index| Some((*index, flush.places[*index].claim.as_ref()?))).collect();
    while let Some((first, claim)) = claims.first().copied() {
        let alike: Vec<(usize, &Claim)> =
            claims.extract_if(.., |(_, other)| other.workflows == claim.workflows).collect();
        // What the step is for is said by its form, not by that of the others.
        let whose = if alike.len() == 1 { Whose::One(first) } else { Whose::Several(first) };
        push(Rows::Claimed, whose, claim_step(&alike, whose, flush, runner));
    }
    if !leaving.is_empty() {
        let ring = whose.of(sql::BELL_RING, sql::MANY_BELL_RING);
        let due = match whose {
            Whose::One(_) => Value::Timestamp(due[0]),
            Whose::Several(_) => Value::Timestamps(due),
        };
        push(Rows::Rang, whose, Step::of(ring, vec![tenants_of(leaving), now, due]));
    }
    Ok(())
}

/// Claims that know the same workflows.
fn claim_step<'a>(claims: &[(usize, &'a Claim)], whose: Whose, flush: &OwnedFlush, runner: Uuid) -> Step<'a> {
    let (names, fingerprints) = columns(&claims[0].1.workflows);
    let tenants = claims.iter().map(|(index, _)| Uuid::from(flush.places[*index].place.tenant)).collect();
    let limits: Vec<i64> =
        claims.iter().map(|(_, claim)| i64::try_from(claim.limit).unwrap_or(i64::MAX)).collect();
    let limit: Param<'a> = match whose {
        Whose::One(_) => Box::new(limits[0]),
        Whose::Several(_) => Box::new(limits),
    };
    let mut parameters = params![whose.tenants(tenants, flush), flush.now, runner];
    parameters.push(limit);
    parameters.extend(params![names, fingerprints]);
    Step::Run(whose.of(sql::TASK_CLAIM, sql::MANY_TASK_CLAIM), parameters)
}

/// Reads the rows of a step; true if there is work for others now. They are committed, whatever a tenant
/// wrote into them: one that cannot be read is left out.
fn read(
    answer: Answer,
    rows: &[Row],
    flushed: &mut Flushed,
    flush: &OwnedFlush,
    places: &HashMap<TenantId, usize>,
) -> bool {
    let (said, Some(whose)) = answer else { return false };
    if matches!(said, Rows::Nothing) {
        return false;
    }
    let mut work_for_others = false;
    for row in rows {
        // The statements are asked about these tenants only.
        let Some(index) = whose.place_of(row, places) else { continue };
        let (name, done) = (&flush.places[index].place.name, &mut flushed.places[index]);
        match read_row(said, row, name, done) {
            Ok(has_work) => work_for_others |= has_work,
            Err(error) => tracing::warn!(tenant = name, %error, "a row is left out"),
        }
    }
    work_for_others
}

fn read_row(said: Rows, row: &Row, name: &str, done: &mut PlaceFlushed) -> Result<bool> {
    match said {
        Rows::Nothing => {}
        Rows::Submitted => done.submitted.push(ExecutionId(column(row, "id", name)?)),
        Rows::Recorded => {
            let execution = ExecutionId(column(row, "execution_id", name)?);
            let task = column(row, "task", name)?;
            if column(row, "recorded", name)? {
                done.recorded.push(Recorded { execution, task });
            } else {
                done.freed.push(Freed { execution, task, claimed: column(row, "attempt", name)? });
            }
        }
        Rows::Closed => {
            let status = parse::<ExecutionStatus>(column(row, "state", name)?, name)?;
            done.closed.push(Closed { execution: ExecutionId(column(row, "id", name)?), status });
            done.submitters.extend(column::<Option<Uuid>>(row, "submitter", name)?.map(SubmitterId));
        }
        Rows::Claimed => done.claimed.push(claimed_now(row, name)?),
        Rows::Rang => return Ok(doorbell::rang_for_others(row, name)),
    }
    Ok(false)
}

/// A task that was just claimed, with what was read of its execution if that begins with it.
fn claimed_now(row: &Row, place: &str) -> Result<Claimed> {
    // What cannot be read is for whoever reads the execution, and says why.
    let input: Option<&str> = row.try_get("input").ok().flatten();
    let created_at: Option<Timestamp> = row.try_get("created_at").ok();
    // What is not known is taken for yes.
    let timed = row.try_get("timed").unwrap_or(true);
    let fresh =
        input.zip(created_at).map(|(input, created_at)| Fresh { input: input.into(), created_at, timed });
    let waited = row.try_get("waited").ok().and_then(|waited| Duration::try_from_secs_f64(waited).ok());
    Ok(Claimed { fresh, waited: waited.unwrap_or_default(), ..claimed(row, place)? })
}
