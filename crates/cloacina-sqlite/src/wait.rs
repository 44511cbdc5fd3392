//! Waits and the signals that end them. The write lock of the file stands for the locks of the twin.

use std::sync::Arc;

use cloacina_core::id::{ExecutionId, TaskIndex, TenantId};
use cloacina_core::store::{
    ChildrenPlan, DueKind, DueWait, DueWaits, EndedBy, MOST_BYTES_AT_ONCE, MOST_SIGNALS, NEVER, NewAudit,
    NewSignal, NodeEnd, OpenWait, Outcome, ReceivedSignal, SettledWaits, SignalLook, SignalSent, SignalStart,
    SignalTarget, WaitBegin, WaitCursor, WaitFilter, WaitStep, WorkflowKey,
};
use cloacina_core::workflow::Fingerprint;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::audit;
use crate::error::Failure;
use crate::flush::end_waits;
use crate::row::{state, timestamp};
use crate::rows::{
    NO_CAUSE, due_delete, due_insert, execution_find, execution_lock, park, reach, ready_insert, sweep,
    waiting,
};

const DUE_TAKE_LOOKS: &str = include_str!("../sql/due_take_looks.sql");
const WAIT_DUE: &str = include_str!("../sql/wait_due.sql");
const WAIT_STANDS: &str = include_str!("../sql/wait_stands.sql");
const WAIT_ENDS: &str = include_str!("../sql/wait_ends.sql");
const WAIT_INSERT: &str = include_str!("../sql/wait_insert.sql");
const WAIT_DELETE: &str = include_str!("../sql/wait_delete.sql");
const WAIT_UNTIL: &str = include_str!("../sql/wait_until.sql");
const WAIT_MOVE: &str = include_str!("../sql/wait_move.sql");
const WAIT_MARK: &str = include_str!("../sql/wait_mark.sql");
const WAIT_LIST_ASKING: &str = include_str!("../sql/wait_list_asking.sql");
const WAIT_LIST: &str = include_str!("../sql/wait_list.sql");
const CHILDREN_BEGIN: &str = include_str!("../sql/children_begin.sql");
const SIGNAL_PAYLOAD: &str = include_str!("../sql/signal_payload.sql");
const SIGNAL_LOOK: &str = include_str!("../sql/signal_look.sql");
const SIGNAL_INSERT: &str = include_str!("../sql/signal_insert.sql");
const SIGNAL_START: &str = include_str!("../sql/signal_start.sql");
const SIGNAL_TAKE: &str = include_str!("../sql/signal_take.sql");
const DUE_PICK: &str = include_str!("../sql/due_pick.sql");

/// Whether waits are due.
pub(crate) fn peek(connection: &Connection, tenant: TenantId, now: i64) -> Result<bool, Failure> {
    let mut statement = connection.prepare_cached(DUE_PICK)?;
    Ok(statement.exists(params![tenant.0, DueKind::Wait.number(), now, 1])?)
}

pub(crate) fn due(
    connection: &Connection,
    tenant: TenantId,
    workflows: &[WorkflowKey],
    after: Option<&WaitCursor>,
    limit: usize,
    now: i64,
) -> Result<DueWaits, Failure> {
    let (due_at, subject, cause) = match after {
        Some(after) => (after.due_at.as_microsecond(), Uuid::from(after.execution), &*after.cause),
        None => (-1, Uuid::nil(), ""),
    };
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(WAIT_DUE)?;
    let mut rows = statement.query(params![tenant.0, now, due_at, subject, cause, most])?;
    let mut due = DueWaits { now: timestamp(now)?, waits: Vec::new(), void: Vec::new(), next: None };
    let (mut looked, mut bytes) = (0, 0);
    while let Some(row) = rows.next()? {
        looked += 1;
        let execution = ExecutionId(row.get(1)?);
        let cursor = WaitCursor { due_at: timestamp(row.get(0)?)?, execution, cause: row.get(2)? };
        due.next = Some(cursor.clone());
        let (node, name): (Option<TaskIndex>, Option<Arc<str>>) = (row.get(5)?, row.get(3)?);
        let (Some(node), Some(name)) = (node, name) else {
            due.void.push(cursor);
            continue;
        };
        let workflow = WorkflowKey { name, fingerprint: Fingerprint(row.get(4)?) };
        // Of a version that nobody here has, it is for somebody else.
        if !workflows.contains(&workflow) {
            continue;
        }
        let Some(stands) = Stands::of(connection, tenant, execution, node, None)? else { continue };
        let signal = match (stands.until, stands.signal) {
            (Some(_), Some(number)) => Some(received(connection, tenant, execution, &stands.name, number)?),
            _ => None,
        };
        bytes += signal.as_ref().map_or(0, |signal| signal.payload.len());
        if bytes > MOST_BYTES_AT_ONCE && signal.is_some() && !due.waits.is_empty() {
            // It is for the next look.
            continue;
        }
        due.waits.push(DueWait {
            execution,
            node,
            workflow,
            reached_at: timestamp(row.get(6)?)?,
            until: stands.until.map(timestamp).transpose()?,
            signal,
        });
    }
    if looked < limit {
        due.next = None;
    }
    Ok(due)
}

/// How a wait stands that still waits.
struct Stands {
    until: Option<i64>,
    signal: Option<i64>,
    /// The name of its signal.
    name: Option<String>,
}

impl Stands {
    /// None if it does not wait. `signal` is what it begins to wait for.
    fn of(
        connection: &Connection,
        tenant: TenantId,
        execution: ExecutionId,
        node: TaskIndex,
        signal: Option<&str>,
    ) -> Result<Option<Self>, Failure> {
        let mut statement = connection.prepare_cached(WAIT_STANDS)?;
        let stands = statement
            .query_row(params![tenant.0, execution.0, node, signal], |row| {
                Ok(Self { until: row.get(0)?, signal: row.get(1)?, name: row.get(2)? })
            })
            .optional()?;
        Ok(stands)
    }
}

fn received(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    name: &Option<String>,
    number: i64,
) -> Result<ReceivedSignal, Failure> {
    let mut statement = connection.prepare_cached(SIGNAL_PAYLOAD)?;
    let payload: String =
        statement.query_row(params![tenant.0, execution.0, name, number], |row| row.get(0))?;
    Ok(ReceivedSignal { number, payload: payload.into() })
}

pub(crate) fn ends(
    connection: &Connection,
    tenant: TenantId,
    executions: &[ExecutionId],
) -> Result<Vec<NodeEnd>, Failure> {
    let mut ends = Vec::new();
    let mut statement = connection.prepare_cached(WAIT_ENDS)?;
    for execution in executions {
        let mut rows = statement.query(params![tenant.0, execution.0])?;
        while let Some(row) = rows.next()? {
            let skipped = row.get::<_, Option<String>>(2)?.is_some();
            ends.push(NodeEnd {
                execution: *execution,
                node: row.get(0)?,
                state: state(row, 1)?,
                skip_reason: if skipped { Some(state(row, 2)?) } else { None },
            });
        }
    }
    Ok(ends)
}

pub(crate) fn settle(
    connection: &Connection,
    tenant: TenantId,
    steps: &[WaitStep],
    void: &[WaitCursor],
    now: i64,
) -> Result<SettledWaits, Failure> {
    let mut settled = SettledWaits::default();
    let mut ended: Vec<&Outcome> = Vec::new();
    for step in steps {
        let (execution, node) = (step.execution(), step.node());
        let known = execution_lock(connection, tenant, execution)?;
        if known.is_none_or(|known| known.status.is_terminal()) {
            continue;
        }
        let Some(stands) = Stands::of(connection, tenant, execution, node, step.signal())? else { continue };
        match step {
            WaitStep::Begin(wait) if stands.until.is_none() => {
                begin(connection, tenant, wait, stands.signal.is_some(), now)?;
            }
            WaitStep::End(end)
                if end.holds(stands.until.map(timestamp).transpose()?, stands.signal, timestamp(now)?) =>
            {
                leave(connection, tenant, execution, node, now)?;
                if end.sweeps {
                    sweep(connection, tenant, execution, Some(node), now)?;
                }
                if let EndedBy::Signal(number) = end.by {
                    let values = params![tenant.0, execution.0, stands.name, number, node];
                    connection.prepare_cached(SIGNAL_TAKE)?.execute(values)?;
                }
                ended.push(&end.outcome);
            }
            _ => continue,
        }
        settled.done += 1;
    }
    settled.closed = end_waits(connection, tenant, &ended, now)?;
    for step in steps {
        park(connection, tenant, step.execution())?;
    }
    for cursor in void {
        let due = cursor.due_at.as_microsecond();
        let known = execution_lock(connection, tenant, cursor.execution)?;
        let is_open = known.is_some_and(|known| !known.status.is_terminal());
        let waits = if is_open { waiting(connection, tenant, cursor.execution)? } else { Vec::new() };
        let is_void =
            |(node, at, _): &(TaskIndex, i64, String)| *at != due || node.to_string() != cursor.cause;
        if waits.iter().all(is_void) {
            due_delete(connection, tenant, DueKind::Wait, due, cursor.execution, &cursor.cause)?;
            settled.voided += 1;
        }
    }
    Ok(settled)
}

/// A wait is over: its due row goes, and what it waited for.
pub(crate) fn leave(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    node: TaskIndex,
    now: i64,
) -> Result<(), Failure> {
    move_due(connection, tenant, execution, node, None)?;
    connection.prepare_cached(WAIT_DELETE)?.execute(params![tenant.0, execution.0, node])?;
    connection.prepare_cached(WAIT_MARK)?.execute(params![tenant.0, execution.0, now])?;
    Ok(())
}

/// One that a signal waits for already is looked at again at once.
fn begin(
    connection: &Connection,
    tenant: TenantId,
    wait: &WaitBegin,
    signalled: bool,
    now: i64,
) -> Result<(), Failure> {
    let WaitBegin { execution, node, signal, until, ask, children } = wait;
    let until = until.as_microsecond();
    let values = params![tenant.0, execution.0, node, signal.as_deref(), until, ask.as_deref()];
    connection.prepare_cached(WAIT_INSERT)?.execute(values)?;
    connection.prepare_cached(WAIT_MARK)?.execute(params![tenant.0, execution.0, now])?;
    if let Some(ChildrenPlan { total, parallel, tolerated, abandons }) = children {
        let values = params![tenant.0, execution.0, node, total, parallel, tolerated, abandons];
        connection.prepare_cached(CHILDREN_BEGIN)?.execute(values)?;
        due_insert(connection, tenant, DueKind::Children, now, *execution, NO_CAUSE)?;
    }
    move_due(connection, tenant, *execution, *node, Some(if signalled { now } else { until }))
}

/// Moves the due rows that ask for a look at the children of an execution. Whether there was any.
fn move_looks(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    (from, until): (i64, i64),
    to: i64,
) -> Result<bool, Failure> {
    let causes: Vec<String> = connection
        .prepare_cached(DUE_TAKE_LOOKS)?
        .query_map(params![tenant.0, execution.0, from, until], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for cause in &causes {
        due_insert(connection, tenant, DueKind::Children, to, execution, cause)?;
    }
    Ok(!causes.is_empty())
}

/// The waits of an execution whose code nobody has are not to be looked at, nor its children. Whether any
/// was.
pub(crate) fn away(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
) -> Result<bool, Failure> {
    let never = NEVER.as_microsecond();
    let mut any = false;
    for (node, due, _) in waiting(connection, tenant, execution)? {
        if due < never {
            move_due(connection, tenant, execution, node, Some(never))?;
            any = true;
        }
    }
    Ok(any | move_looks(connection, tenant, execution, (0, never - 1), never)?)
}

/// They are again, when they would have been.
pub(crate) fn back(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    now: i64,
) -> Result<(), Failure> {
    let never = NEVER.as_microsecond();
    move_looks(connection, tenant, execution, (never, never), now)?;
    for (node, due, _) in waiting(connection, tenant, execution)? {
        if due < never {
            continue;
        }
        let Some(stands) = Stands::of(connection, tenant, execution, node, None)? else { continue };
        let due = stands.until.filter(|_| stands.signal.is_none()).unwrap_or(now);
        move_due(connection, tenant, execution, node, Some(due))?;
    }
    Ok(())
}

/// Moves the due row of a wait, or takes it away.
fn move_due(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    node: TaskIndex,
    to: Option<i64>,
) -> Result<(), Failure> {
    let waits = waiting(connection, tenant, execution)?;
    for (_, due, _) in waits.iter().filter(|(of, ..)| *of == node) {
        due_delete(connection, tenant, DueKind::Wait, *due, execution, &node.to_string())?;
        if let Some(to) = to {
            connection.prepare_cached(WAIT_MOVE)?.execute(params![tenant.0, execution.0, node, to])?;
            reach(connection, tenant, execution, node, to)?;
        }
    }
    Ok(())
}

pub(crate) fn move_to(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    name: &str,
    until: i64,
    now: i64,
) -> Result<bool, Failure> {
    let waits = waiting(connection, tenant, execution)?;
    let Some((node, ..)) = waits.into_iter().find(|(.., of)| of == name) else { return Ok(false) };
    let moved =
        connection.prepare_cached(WAIT_UNTIL)?.execute(params![tenant.0, execution.0, node, until])?;
    if moved > 0 {
        let stands = Stands::of(connection, tenant, execution, node, None)?;
        // A signal that is there is taken, however long the wait may last.
        let signalled = stands.is_some_and(|stands| stands.signal.is_some());
        move_due(connection, tenant, execution, node, Some(if signalled { until.min(now) } else { until }))?;
    }
    Ok(moved > 0)
}

pub(crate) fn list(
    connection: &Connection,
    tenant: TenantId,
    filter: &WaitFilter,
) -> Result<Vec<OpenWait>, Failure> {
    let (after, node) = filter.after.map_or((Uuid::nil(), -1), |(execution, node)| (execution.into(), node));
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    let (first, last) = match filter.execution {
        Some(execution) => (execution.0, execution.0),
        None => (Uuid::nil(), Uuid::max()),
    };
    let list = if filter.asking { WAIT_LIST_ASKING } else { WAIT_LIST };
    let mut statement = connection.prepare_cached(list)?;
    let mut rows = statement.query(params![tenant.0, first, last, after, node, limit])?;
    let mut open = Vec::new();
    while let Some(row) = rows.next()? {
        let until = timestamp(row.get(6)?)?;
        open.push(OpenWait {
            execution: ExecutionId(row.get(0)?),
            node: row.get(1)?,
            name: row.get(2)?,
            workflow: row.get(3)?,
            reached_at: timestamp(row.get(4)?)?,
            signal: row.get(5)?,
            until: (until < NEVER).then_some(until),
            ask: row.get::<_, Option<String>>(7)?.map(Into::into),
        });
    }
    Ok(open)
}

fn start(
    connection: &Connection,
    tenant: TenantId,
    (workflow, key): (&str, &str),
    starts: &SignalStart,
    now: i64,
) -> Result<ExecutionId, Failure> {
    let id = starts.execution;
    connection.prepare_cached(SIGNAL_START)?.execute(params![
        tenant.0,
        id.0,
        workflow,
        starts.priority,
        now,
        key,
        starts.input_hash,
        &*starts.input,
    ])?;
    ready_insert(connection, tenant, id, 0, starts.priority, now, (workflow, 0))?;
    Ok(id)
}

pub(crate) fn send(
    connection: &Connection,
    tenant: TenantId,
    signal: &NewSignal,
    now: i64,
) -> Result<SignalSent, Failure> {
    let execution = match &signal.target {
        SignalTarget::Id(id) => *id,
        SignalTarget::Key { workflow, key } => match execution_find(connection, tenant, workflow, key)? {
            Some((id, _)) => id,
            None => match &signal.starts {
                Some(starts) => start(connection, tenant, (workflow, key), starts, now)?,
                None => return Ok(SignalSent::NotFound),
            },
        },
    };
    let has_started = signal.starts.as_ref().is_some_and(|starts| starts.execution == execution);
    let Some(known) = execution_lock(connection, tenant, execution)? else { return Ok(SignalSent::NotFound) };
    if known.status.is_terminal() {
        return Ok(SignalSent::AlreadyOver(execution, known.status, known.superseded_by.map(ExecutionId)));
    }
    let (name, key) = (&*signal.name, signal.key.as_deref());
    let most = i64::try_from(MOST_SIGNALS).unwrap_or(i64::MAX);
    let (repeated, kept, number, node, ask): (bool, i64, i64, Option<TaskIndex>, Option<String>) = connection
        .prepare_cached(SIGNAL_LOOK)?
        .query_row(params![tenant.0, execution.0, name, key, most], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(5)?))
        })?;
    let look = SignalLook { repeated, kept, ask: ask.as_deref() };
    if let Some(refused) = look.refuses(signal, execution) {
        return Ok(refused);
    }
    let values = params![tenant.0, execution.0, name, number, key, &*signal.payload, now];
    connection.prepare_cached(SIGNAL_INSERT)?.execute(values)?;
    connection.prepare_cached(WAIT_MARK)?.execute(params![tenant.0, execution.0, None::<i64>])?;
    if let Some(audit) = &signal.audit {
        let audit = NewAudit { object: Some(execution.to_string()), ..(**audit).clone() };
        audit::note(connection, audit::OWN, &audit, now)?;
    }
    if has_started {
        return Ok(SignalSent::Started(execution));
    }
    let Some(node) = node else { return Ok(SignalSent::Buffered(execution)) };
    move_due(connection, tenant, execution, node, Some(now))?;
    Ok(SignalSent::Delivered(execution))
}
