//! Waits and the signals that end them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cloacina_core::execution::{ExecutionStatus, SkipReason, TaskState};
use cloacina_core::id::{ExecutionId, TaskIndex};
use cloacina_core::store::{
    DueWait, DueWaits, EndedBy, MOST_BYTES_AT_ONCE, MOST_SIGNALS, NEVER, NewAudit, NewSignal, NodeEnd,
    OpenWait, Outcome, Place, ReceivedSignal, Result, SettledWaits, SignalLook, SignalSent, SignalTarget,
    WaitBegin, WaitCursor, WaitEnd, WaitFilter, WaitStep, WorkflowKey,
};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::audit;
use crate::children;
use crate::doorbell;
use crate::ends::{closed_of, push_ends};
use crate::error::Failure;
use crate::execution::{columns, in_place_for, long_in_place};
use crate::flight::{Step, Use, params};
use crate::inner::Inner;
use crate::pool::Lent;
use crate::row::{Get, column, parse, readable, workflow_key};
use crate::schema::SchemaName;
use crate::statement as sql;

pub(crate) async fn due(
    inner: Arc<Inner>,
    place: Place,
    workflows: Arc<[WorkflowKey]>,
    after: Option<WaitCursor>,
    limit: usize,
    now: Option<Timestamp>,
) -> Result<DueWaits> {
    let (names, fingerprints) = columns(&workflows);
    let (due_at, subject, cause) = match after {
        Some(after) => (Some(after.due_at), Uuid::from(after.execution), after.cause),
        None => (None, Uuid::nil(), String::new()),
    };
    let bytes = i64::try_from(MOST_BYTES_AT_ONCE).unwrap_or(i64::MAX);
    let mut parameters = params![Uuid::from(place.tenant), now, due_at, subject, cause];
    parameters.push(Box::new(i64::try_from(limit).unwrap_or(i64::MAX)));
    parameters.extend(params![names, fingerprints, bytes]);
    let rows =
        in_place_for(Use::Waits, &inner, &place, &[Step::Run(sql::WAIT_DUE, parameters)]).await?.remove(0);
    let get = Get(&place);
    let now = rows.first().map_or(Timestamp::UNIX_EPOCH, |row| row.get("now"));
    let mut due = DueWaits { now, waits: Vec::new(), void: Vec::new(), next: None };
    let mut looked = 0;
    for row in &rows {
        let Some(due_at) = get.of::<Option<Timestamp>>(row, "due_at")? else { continue };
        looked += 1;
        let cursor = WaitCursor {
            due_at,
            execution: ExecutionId(get.of(row, "subject")?),
            cause: get.of(row, "cause")?,
        };
        let (open, known): (bool, bool) = (row.get("open"), row.get("known"));
        let wait = get.of::<Option<Timestamp>>(row, "reached_at").and_then(|reached_at| {
            reached_at.map(|reached_at| due_wait(&get, row, cursor.execution, reached_at)).transpose()
        });
        match wait {
            Ok(Some(wait)) => due.waits.extend(wait),
            // Of a version that nobody here has, it is for somebody else.
            Ok(None) if open && !known => {}
            Ok(None) => due.void.push(cursor.clone()),
            // A tenant wrote it; the others go on.
            Err(error) => {
                tracing::warn!(tenant = place.name, execution = %cursor.execution, %error, "a wait is left out");
            }
        }
        due.next = Some(cursor);
    }
    if looked < limit {
        due.next = None;
    }
    Ok(due)
}

/// None if its signal was not fetched.
fn due_wait(
    get: &Get<'_>,
    row: &Row,
    execution: ExecutionId,
    reached_at: Timestamp,
) -> Result<Option<DueWait>> {
    let number: Option<i64> = get.of(row, "number")?;
    let payload: Option<&str> = get.of(row, "payload")?;
    let signal = match (number, payload) {
        (Some(_), None) => return Ok(None),
        (Some(number), Some(payload)) => Some(ReceivedSignal { number, payload: payload.into() }),
        (None, _) => None,
    };
    Ok(Some(DueWait {
        execution,
        node: get.of(row, "task")?,
        workflow: workflow_key(row, &get.0.name)?,
        reached_at,
        until: get.of(row, "until")?,
        signal,
    }))
}

pub(crate) async fn ends(
    inner: Arc<Inner>,
    place: Place,
    executions: Vec<ExecutionId>,
) -> Result<Vec<NodeEnd>> {
    let ids: Vec<Uuid> = executions.into_iter().map(Uuid::from).collect();
    let step = Step::Run(sql::WAIT_ENDS, params![Uuid::from(place.tenant), ids]);
    let rows = in_place_for(Use::Waits, &inner, &place, &[step]).await?.remove(0);
    let get = Get(&place);
    Ok(readable(&rows, &place.name, |row| {
        let reason: Option<&str> = get.of(row, "skip_reason")?;
        Ok(NodeEnd {
            execution: ExecutionId(get.of(row, "execution_id")?),
            node: get.of(row, "task")?,
            state: parse::<TaskState>(get.of(row, "state")?, &place.name)?,
            skip_reason: reason.map(|reason| parse::<SkipReason>(reason, &place.name)).transpose()?,
        })
    }))
}

/// How a wait stands under the lock of its execution.
struct Stands {
    until: Option<Timestamp>,
    signal: Option<i64>,
}

pub(crate) async fn settle(
    inner: Arc<Inner>,
    place: Place,
    steps: Arc<[WaitStep]>,
    void: Vec<WaitCursor>,
    now: Option<Timestamp>,
) -> Result<SettledWaits> {
    let (tenant, schema) = (Uuid::from(place.tenant), SchemaName::of(&place)?);
    let failed = |failure: Failure| failure.into_error(&crate::error::named(&place));
    let get = Get(&place);
    let mut side = inner.pool.get(Use::Waits).await?;
    side.touch(place.tenant);
    let executions: Vec<Uuid> = steps.iter().map(|step| step.execution().into()).collect();
    let nodes: Vec<TaskIndex> = steps.iter().map(WaitStep::node).collect();
    let signals: Vec<Option<&str>> = steps.iter().map(WaitStep::signal).collect();
    // A flight of its own: what is done goes by what its answer says. The look is a statement after the lock,
    // so that it sees what the last holders of the locks wrote.
    let look = [
        Step::Run(sql::WAIT_LOCK, params![tenant, executions.clone()]),
        Step::Run(sql::WAIT_LOOK, params![tenant, executions, nodes, signals, now]),
    ];
    let rows = side.begin(inner.scope(place.tenant, &schema), &look).await.map_err(failed)?;
    let locked: HashSet<Uuid> =
        readable(&rows[0], &place.name, |row| column(row, "id", &place.name)).into_iter().collect();
    let mut at = Timestamp::UNIX_EPOCH;
    let mut stands: HashMap<(Uuid, TaskIndex), Stands> = HashMap::new();
    if let Some(row) = rows[1].first() {
        at = row.get("now");
    }
    let read = |row| {
        let wait = Stands { until: get.of(row, "until")?, signal: get.of(row, "number")? };
        Ok(((get.of::<Uuid>(row, "execution_id")?, get.of(row, "task")?), wait))
    };
    let found = readable(&rows[1], &place.name, read).into_iter();
    stands.extend(found.filter(|((execution, _), _)| locked.contains(execution)));
    let (mut begins, mut ended) = (Vec::new(), Vec::new());
    for step in &*steps {
        // Each wait is settled once.
        let Some(wait) = stands.remove(&(step.execution().into(), step.node())) else { continue };
        match step {
            WaitStep::Begin(begin) if wait.until.is_none() => begins.push((begin, wait.signal.is_some())),
            WaitStep::End(end) if end.holds(wait.until, wait.signal, at) => ended.push(end),
            _ => {}
        }
    }
    let mut settled = SettledWaits { done: begins.len() + ended.len(), ..SettledWaits::default() };
    let outcomes: Vec<Arc<Outcome>> = ended.iter().map(|end| Arc::clone(&end.outcome)).collect();
    let mut next = Vec::new();
    let mut due = begins.iter().map(|(begin, signalled)| if *signalled { at } else { begin.until }).min();
    if !begins.is_empty() {
        next.push(begin(tenant, &begins, at, now));
    }
    let parents: Vec<_> = begins.iter().filter_map(|(begin, _)| Some((*begin, begin.children?))).collect();
    if !parents.is_empty() {
        next.push(children::begin(tenant, now, &parents));
        due = Some(Timestamp::UNIX_EPOCH);
    }
    let (mut closes, mut voids) = (None, None);
    if !ended.is_empty() {
        let swept = ended.iter().filter(|end| end.sweeps);
        let swept = swept.map(|end| (Uuid::from(end.outcome.execution), end.outcome.task));
        let (executions, nodes): (Vec<Uuid>, Vec<TaskIndex>) = swept.unzip();
        let ends =
            ended.iter().map(|end| (end.outcome.execution, end.outcome.task, number_of(end))).collect();
        closes = push_ends(tenant, now, ends, &outcomes, &mut next, &mut due);
        if !executions.is_empty() {
            next.push(Step::Run(sql::CHILDREN_SWEEP, params![tenant, now, executions, nodes]));
            due = Some(Timestamp::UNIX_EPOCH);
        }
    }
    let touched = begins.iter().map(|(begin, _)| begin.execution);
    let touched = touched.chain(ended.iter().map(|end| end.outcome.execution));
    let touched: Vec<Uuid> = touched.map(Uuid::from).collect::<BTreeSet<_>>().into_iter().collect();
    if !touched.is_empty() {
        next.push(Step::Run(sql::EXECUTION_PARK, params![tenant, touched]));
    }
    if !void.is_empty() {
        voids = Some(next.len());
        next.push(take_away(tenant, void));
    }
    if settled.done > 0 {
        next.push(doorbell::ring_at(place.tenant, now, due));
    }
    let rows = side.finish(&next).await.map_err(failed)?;
    settled.voided = voids.map_or(0, |at| rows[at].len());
    closed_of(closes.map_or(&[][..], |at| &rows[at]), &place, &mut settled)?;
    if settled.done > 0 {
        inner.hints.tell_of_work();
    }
    Ok(settled)
}

/// Those that a signal waits for already are looked at again at once.
fn begin<'a>(
    tenant: Uuid,
    begins: &[(&'a WaitBegin, bool)],
    at: Timestamp,
    now: Option<Timestamp>,
) -> Step<'a> {
    let (mut executions, mut nodes, mut signals) = (Vec::new(), Vec::new(), Vec::new());
    let (mut untils, mut asks, mut dues) = (Vec::new(), Vec::new(), Vec::new());
    for (begin, signalled) in begins {
        executions.push(Uuid::from(begin.execution));
        nodes.push(begin.node);
        signals.push(begin.signal.as_deref());
        untils.push(begin.until);
        asks.push(begin.ask.as_deref());
        dues.push(if *signalled { at } else { begin.until });
    }
    Step::Run(sql::WAIT_BEGIN, params![tenant, executions, nodes, signals, untils, asks, dues, now])
}

/// The signal that a wait takes.
fn number_of(end: &WaitEnd) -> Option<i64> {
    match end.by {
        EndedBy::Signal(number) => Some(number),
        EndedBy::Rule | EndedBy::Time => None,
    }
}

fn take_away<'a>(tenant: Uuid, void: Vec<WaitCursor>) -> Step<'a> {
    let due: Vec<Timestamp> = void.iter().map(|void| void.due_at).collect();
    let subjects: Vec<Uuid> = void.iter().map(|void| void.execution.into()).collect();
    let causes: Vec<String> = void.into_iter().map(|void| void.cause).collect();
    Step::Run(sql::WAIT_VOID, params![tenant, due, subjects, causes])
}

pub(crate) async fn move_to(
    inner: Arc<Inner>,
    place: Place,
    execution: ExecutionId,
    wait: String,
    until: Option<Timestamp>,
    audit: Option<NewAudit>,
    now: Option<Timestamp>,
) -> Result<bool> {
    let (tenant, id, schema) = (Uuid::from(place.tenant), Uuid::from(execution), SchemaName::of(&place)?);
    let failed = |failure: Failure| failure.into_error(&crate::error::named(&place));
    let mut side = inner.pool.get(Use::Waits).await?;
    side.touch(place.tenant);
    let look = [
        Step::Run(sql::EXECUTION_LOCK, params![tenant, vec![id]]),
        Step::Run(sql::WAIT_OPEN, params![tenant, id, wait, now]),
    ];
    let rows = side.begin(inner.scope(place.tenant, &schema), &look).await.map_err(failed)?;
    let Some(open) = rows[1].first() else {
        side.finish(&[]).await.map_err(failed)?;
        return Ok(false);
    };
    let node: TaskIndex = column(open, "task", &place.name)?;
    let at: Timestamp = open.get("now");
    let until = until.unwrap_or(at);
    // A signal that is there is taken, however long the wait may last.
    let due = if open.get("signalled") { until.min(at) } else { until };
    let mut steps = vec![
        Step::Run(sql::WAIT_MOVE, params![tenant, id, node, Some(due), Some(until), now]),
        doorbell::ring_at(place.tenant, now, Some(due)),
    ];
    steps.extend(audit.map(|audit| audit::note(&place, &audit, now)));
    side.finish(&steps).await.map_err(failed)?;
    inner.hints.tell_of_work();
    Ok(true)
}

pub(crate) async fn list(inner: Arc<Inner>, place: Place, filter: WaitFilter) -> Result<Vec<OpenWait>> {
    let rows = long_in_place(&inner, &place, &[wait_step(&place, &filter)]).await?.remove(0);
    Ok(waits_of(&rows, &place))
}

/// The statement that lists waits.
pub(crate) fn wait_step(place: &Place, filter: &WaitFilter) -> Step<'static> {
    let (after, node) = filter.after.map_or((Uuid::nil(), -1), |(execution, node)| (execution.into(), node));
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    let of = filter.execution.map(Uuid::from);
    Step::Run(sql::WAIT_LIST, params![Uuid::from(place.tenant), of, after, node, filter.asking, limit])
}

/// The rows of such a list.
pub(crate) fn waits_of(rows: &[Row], place: &Place) -> Vec<OpenWait> {
    let get = Get(place);
    readable(rows, &place.name, |row| {
        let until: Timestamp = get.of(row, "until")?;
        Ok(OpenWait {
            execution: ExecutionId(get.of(row, "execution_id")?),
            node: get.of(row, "task")?,
            name: get.of(row, "name")?,
            workflow: get.of::<&str>(row, "workflow")?.into(),
            reached_at: get.of(row, "reached_at")?,
            signal: get.of(row, "signal")?,
            until: (until < NEVER).then_some(until),
            ask: get.of::<Option<&str>>(row, "ask")?.map(Into::into),
        })
    })
}

pub(crate) async fn send(
    inner: Arc<Inner>,
    place: Place,
    signal: NewSignal,
    now: Option<Timestamp>,
) -> Result<SignalSent> {
    let failed = |failure: Failure| failure.into_error(&crate::error::named(&place));
    let mut side = inner.pool.get(Use::Waits).await?;
    let (sent, mut steps) = look_for_signal(&inner, &mut side, &place, &signal, now).await?;
    if let (Some(audit), Some(id)) = (&signal.audit, sent.recorded()) {
        let audit = NewAudit { object: Some(id.to_string()), ..(**audit).clone() };
        steps.push(audit::note(&place, &audit, now));
    }
    side.finish(&steps).await.map_err(failed)?;
    if matches!(sent, SignalSent::Delivered(_) | SignalSent::Started(_)) {
        inner.hints.tell_of_work();
    }
    Ok(sent)
}

/// Locks the execution, and says what becomes of the signal and how that is recorded.
async fn look_for_signal<'a>(
    inner: &Inner,
    side: &mut Lent,
    place: &Place,
    signal: &NewSignal,
    now: Option<Timestamp>,
) -> Result<(SignalSent, Vec<Step<'a>>)> {
    let (tenant, schema) = (Uuid::from(place.tenant), SchemaName::of(place)?);
    let failed = |failure: Failure| failure.into_error(&crate::error::named(place));
    side.touch(place.tenant);
    let (id, workflow, key) = match &signal.target {
        SignalTarget::Id(id) => (Some(Uuid::from(*id)), None, None),
        SignalTarget::Key { workflow, key } => (None, Some(&**workflow), Some(&**key)),
    };
    let (name, signal_key) = (signal.name.to_string(), signal.key.as_deref().map(str::to_owned));
    let most = i64::try_from(MOST_SIGNALS).unwrap_or(i64::MAX);
    // The look is a statement after the lock, so that it sees what the last holder of the lock wrote.
    let look = params![tenant, id, workflow, key, name.clone(), signal_key.clone(), most];
    let mut steps = vec![
        Step::Run(sql::SIGNAL_LOCK, params![tenant, id, workflow, key]),
        Step::Run(sql::SIGNAL_LOOK, look),
    ];
    if let (Some(start), Some(_)) = (&signal.starts, key) {
        let (new, input) = (Uuid::from(start.execution), &*start.input);
        let start = params![tenant, new, workflow, key, input, start.input_hash, now, start.priority];
        steps.push(Step::Run(sql::SIGNAL_START, start));
        steps.push(Step::Run(sql::EXPAND_INSERT, params![tenant, vec![new]]));
        // Before the look.
        steps.rotate_left(2);
    }
    let mut rows = side.begin(inner.scope(place.tenant, &schema), &steps).await.map_err(failed)?;
    let looked = rows.split_off(rows.len() - 2);
    let has_started = rows.first().is_some_and(|started| !started.is_empty());
    let (Some(found), Some(row)) = (looked[0].first(), looked[1].first()) else {
        return Ok((SignalSent::NotFound, Vec::new()));
    };
    let id: Uuid = column(found, "id", &place.name)?;
    let execution = ExecutionId(id);
    let status = parse::<ExecutionStatus>(column(found, "state", &place.name)?, &place.name)?;
    if status.is_terminal() {
        let by: Option<Uuid> = column(found, "superseded_by", &place.name)?;
        return Ok((SignalSent::AlreadyOver(execution, status, by.map(ExecutionId)), Vec::new()));
    }
    let node: Option<TaskIndex> = column(row, "task", &place.name)?;
    let ask: Option<&str> = column(row, "ask", &place.name)?;
    let look = SignalLook { repeated: row.get("repeated"), kept: row.get("kept"), ask };
    if let Some(refused) = look.refuses(signal, execution) {
        return Ok((refused, Vec::new()));
    }
    let number: i64 = row.get("number");
    let payload = signal.payload.to_string();
    let mut steps =
        vec![Step::Run(sql::SIGNAL_INSERT, params![tenant, id, name, number, signal_key, payload, now])];
    if has_started {
        steps.push(doorbell::ring(place.tenant, now));
        return Ok((SignalSent::Started(execution), steps));
    }
    let Some(node) = node else { return Ok((SignalSent::Buffered(execution), steps)) };
    let none = None::<Timestamp>;
    steps.push(Step::Run(sql::WAIT_MOVE, params![tenant, id, node, none, none, now]));
    steps.push(doorbell::ring_at(place.tenant, now, Some(Timestamp::UNIX_EPOCH)));
    Ok((SignalSent::Delivered(execution), steps))
}
