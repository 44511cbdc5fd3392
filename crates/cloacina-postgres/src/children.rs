//! Children of executions.
//!
//! A look locks nothing. What was decided by it is done under the locks of the parents, where the counters
//! and the due rows are still those that it saw; children are started there, so that they are counted
//! exactly.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cloacina_core::id::{ExecutionId, RunnerId, TaskIndex};
use cloacina_core::store::{
    ChildList, ChildRecord, ChildrenNode, ChildrenPlan, ChildrenProgress, DueChildren, DueParent, EndedChild,
    NewAudit, NewExecution, NodeStep, Outcome, ParentStep, Place, Result, SettledWaits, Stream, StreamPage,
    WaitBegin, WaitCursor, WorkflowKey,
};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::audit;
use crate::doorbell;
use crate::ends::{closed_of, push_ends, reach};
use crate::error::Failure;
use crate::execution::{columns, in_place, in_place_for, long_in_place};
use crate::flight::{Param, Step, Use, params};
use crate::inner::Inner;
use crate::row::{Get, column, parse, readable, workflow_key};
use crate::schema::SchemaName;
use crate::statement as sql;
use crate::submits::{Submits, by_values};
use crate::value::Value;

pub(crate) async fn due(
    inner: Arc<Inner>,
    place: Place,
    workflows: Arc<[WorkflowKey]>,
    after: Option<WaitCursor>,
    limit: usize,
    now: Option<Timestamp>,
) -> Result<DueChildren> {
    let tenant = Uuid::from(place.tenant);
    let (names, fingerprints) = columns(&workflows);
    let (due_at, subject, cause) = match after {
        Some(after) => (Some(after.due_at), Uuid::from(after.execution), after.cause),
        None => (None, Uuid::nil(), String::new()),
    };
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let look = params![tenant, now, due_at, subject, cause, most, names, fingerprints];
    let rows =
        in_place_for(Use::Waits, &inner, &place, &[Step::Run(sql::CHILDREN_DUE, look)]).await?.remove(0);
    let get = Get(&place);
    let mut due = DueChildren { parents: Vec::new(), void: Vec::new(), next: None };
    let mut parents: BTreeMap<ExecutionId, DueParent> = BTreeMap::new();
    for row in &rows {
        let execution = ExecutionId(get.of(row, "subject")?);
        let cursor = WaitCursor { due_at: get.of(row, "due_at")?, execution, cause: get.of(row, "cause")? };
        due.next = Some(cursor.clone());
        match get.of::<Option<bool>>(row, "known")? {
            None => due.void.push(cursor),
            // Of a version that nobody here has, it is for somebody else.
            Some(false) => {}
            Some(true) => {
                let ended = match ended(&get, row, &cursor) {
                    Ok(ended) => ended,
                    // A tenant wrote it; the others go on.
                    Err(error) => {
                        tracing::warn!(tenant = place.name, %execution, %error, "a child is left out");
                        None
                    }
                };
                if let Some(parent) = parents.get_mut(&execution) {
                    parent.rows.push(cursor);
                    parent.ended.extend(ended);
                    continue;
                }
                let mut parent = match parent(&get, row, execution) {
                    Ok(parent) => parent,
                    Err(error) => {
                        tracing::warn!(tenant = place.name, %execution, %error, "its children are left out");
                        continue;
                    }
                };
                parent.rows.push(cursor);
                parent.ended.extend(ended);
                parents.insert(execution, parent);
            }
        }
    }
    if rows.len() < limit {
        due.next = None;
    }
    if !parents.is_empty() {
        let ids: Vec<Uuid> = parents.keys().map(|id| Uuid::from(*id)).collect();
        let nodes = [Step::Run(sql::CHILDREN_NODES, params![tenant, ids])];
        let rows = in_place_for(Use::Waits, &inner, &place, &nodes).await?.remove(0);
        for (execution, _, node) in nodes_of(&get, &rows) {
            if let Some(parent) = parents.get_mut(&ExecutionId(execution)) {
                parent.nodes.push(node);
            }
        }
    }
    due.parents = parents.into_values().collect();
    Ok(due)
}

/// An execution whose children are to be looked at, without what is known of these.
fn parent(get: &Get<'_>, row: &Row, execution: ExecutionId) -> Result<DueParent> {
    Ok(DueParent {
        execution,
        workflow: workflow_key(row, &get.0.name)?,
        priority: get.of(row, "priority")?,
        deadline: get.of(row, "deadline")?,
        is_paused: get.of(row, "is_paused")?,
        rows: Vec::new(),
        nodes: Vec::new(),
        ended: Vec::new(),
    })
}

fn ended(get: &Get<'_>, row: &Row, cursor: &WaitCursor) -> Result<Option<EndedChild>> {
    let Some(state) = get.of::<Option<&str>>(row, "state")? else { return Ok(None) };
    let Ok(child) = Uuid::try_parse(&cursor.cause) else { return Ok(None) };
    Ok(Some(EndedChild {
        execution: ExecutionId(child),
        node: get.of(row, "parent_node")?,
        item: get.of(row, "item")?,
        status: parse(state, &get.0.name)?,
        error: get.of(row, "error")?,
    }))
}

/// Executions, whether they are paused, and their nodes.
fn nodes_of(get: &Get<'_>, rows: &[Row]) -> Vec<(Uuid, bool, ChildrenNode)> {
    readable(rows, &get.0.name, |row| {
        Ok((get.of(row, "execution_id")?, get.of(row, "is_paused")?, node(get, row)?))
    })
}

pub(crate) async fn settle(
    inner: Arc<Inner>,
    place: Place,
    steps: Arc<[ParentStep]>,
    void: Vec<WaitCursor>,
    now: Option<Timestamp>,
) -> Result<SettledWaits> {
    let (tenant, schema) = (Uuid::from(place.tenant), SchemaName::of(&place)?);
    let failed = |failure: Failure| failure.into_error(&crate::error::named(&place));
    let get = Get(&place);
    let mut side = inner.pool.get(Use::Waits).await?;
    side.touch(place.tenant);
    let ids: Vec<Uuid> = steps.iter().map(|step| step.execution.into()).collect();
    let rows = steps.iter().flat_map(|step| &step.rows);
    // A flight of its own: what is done goes by what its answer says. The looks are statements after the
    // lock, so that they see what the last holders of the locks wrote.
    let look = [
        Step::Run(sql::WAIT_LOCK, params![tenant, ids.clone()]),
        Step::Run(sql::CHILDREN_NODES, params![tenant, ids]),
        Step::Run(sql::CHILDREN_ROWS, cursors(tenant, rows)),
    ];
    let found = side.begin(inner.scope(place.tenant, &schema), &look).await.map_err(failed)?;
    let locked: HashSet<Uuid> =
        readable(&found[0], &place.name, |row| column(row, "id", &place.name)).into_iter().collect();
    let (mut nodes, mut paused) = (HashSet::new(), HashSet::new());
    for (execution, is_paused, node) in nodes_of(&get, &found[1]) {
        nodes.insert((execution, node));
        if is_paused {
            paused.insert(execution);
        }
    }
    let read = |row: &Row| Ok((get.of::<Uuid>(row, "subject")?, get.of::<i64>(row, "rows")?));
    let left: HashMap<Uuid, i64> = readable(&found[2], &place.name, read).into_iter().collect();
    let is_right = |step: &&ParentStep| {
        let id = Uuid::from(step.execution);
        locked.contains(&id)
            && step.nodes.iter().all(|node| nodes.contains(&(id, node.was)))
            && left.get(&id).is_some_and(|left| usize::try_from(*left) == Ok(step.rows.len()))
            && !(step.starts() && paused.contains(&id))
    };
    let right: Vec<&ParentStep> = steps.iter().filter(is_right).collect();
    let mut settled = SettledWaits { done: right.len(), ..SettledWaits::default() };
    let outcomes: Vec<Arc<Outcome>> = right
        .iter()
        .flat_map(|step| &step.nodes)
        .filter_map(|node| node.end.as_ref().map(Arc::clone))
        .collect();
    let starts: Vec<Arc<NewExecution>> = all_nodes(&right)
        .flat_map(|(_, node)| &node.starts)
        .map(|child| Arc::clone(&child.execution))
        .collect();
    let mut submits = Submits::default();
    let mut due = None;
    let mut next = Vec::new();
    if !right.is_empty() {
        next.push(Step::Run(sql::CHILDREN_TAKE, cursors(tenant, right.iter().flat_map(|step| &step.rows))));
        next.push(count(tenant, &right));
    }
    if !starts.is_empty() {
        submits.add(tenant, &starts);
        due = submits.earliest_due(tenant);
        start(tenant, now, &right, submits, &mut next);
    }
    let again: Vec<Uuid> =
        right.iter().filter(|step| step.goes_on).map(|step| step.execution.into()).collect();
    if !again.is_empty() {
        next.push(Step::Run(sql::CHILDREN_ASK, params![tenant, now, again]));
        due = Some(Timestamp::UNIX_EPOCH);
    }
    let mut closes = None;
    if !outcomes.is_empty() {
        let ends = outcomes.iter().map(|outcome| (outcome.execution, outcome.task, None)).collect();
        closes = push_ends(tenant, now, ends, &outcomes, &mut next, &mut due);
        let parks: BTreeSet<Uuid> = outcomes.iter().map(|outcome| outcome.execution.into()).collect();
        let parks: Vec<Uuid> = parks.into_iter().collect();
        next.push(Step::Run(sql::EXECUTION_PARK, params![tenant, parks]));
    }
    let mut voids = None;
    if !void.is_empty() {
        voids = Some(next.len());
        next.push(Step::Run(sql::CHILDREN_VOID, cursors(tenant, void.iter())));
    }
    if !right.is_empty() {
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

fn cursors<'a>(tenant: Uuid, rows: impl Iterator<Item = &'a WaitCursor> + Clone) -> Vec<Param<'a>> {
    let due: Vec<Timestamp> = rows.clone().map(|row| row.due_at).collect();
    let subjects: Vec<Uuid> = rows.clone().map(|row| row.execution.into()).collect();
    let causes: Vec<&str> = rows.map(|row| row.cause.as_str()).collect();
    params![tenant, due, subjects, causes]
}

fn count<'a>(tenant: Uuid, steps: &[&'a ParentStep]) -> Step<'a> {
    let (mut executions, mut nodes) = (Vec::new(), Vec::<TaskIndex>::new());
    let (mut started, mut completed, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (execution, NodeStep { now, .. }) in all_nodes(steps) {
        executions.push(Uuid::from(execution));
        nodes.push(now.node);
        started.push(now.started);
        completed.push(now.completed);
        failed.push(now.failed);
    }
    Step::Run(sql::CHILDREN_COUNT, params![tenant, executions, nodes, started, completed, failed])
}

/// Inserts children with their tasks.
fn start<'a>(
    tenant: Uuid,
    now: Option<Timestamp>,
    steps: &[&'a ParentStep],
    submits: Submits<'a>,
    next: &mut Vec<Step<'a>>,
) {
    let (mut ids, mut names, mut fingerprints) = (Vec::new(), Vec::new(), Vec::new());
    let (mut priorities, mut inputs, mut deadlines) = (Vec::new(), Vec::new(), Vec::new());
    let (mut parents, mut nodes, mut items) = (Vec::new(), Vec::<TaskIndex>::new(), Vec::new());
    for (execution, node) in all_nodes(steps) {
        for child in &node.starts {
            let new = &child.execution;
            ids.push(Uuid::from(new.id));
            names.push(&*new.workflow.name);
            fingerprints.push(new.workflow.fingerprint.0);
            priorities.push(new.priority);
            inputs.push(&*new.input);
            deadlines.push(new.deadline);
            parents.push(Uuid::from(execution));
            nodes.push(node.now.node);
            items.push(child.item);
        }
    }
    next.push(Step::Run(
        sql::CHILDREN_INSERT,
        params![tenant, now, ids, names, fingerprints, priorities, inputs, deadlines, parents, nodes, items],
    ));
    let Submits { tasks, deadlines, unexpanded, on_failure, reached, .. } = submits;
    if !on_failure.is_empty() {
        next.push(Step::of(sql::EXECUTION_ON_FAILURE, by_values(tenant, &on_failure)));
    }
    if !tasks.is_empty() {
        let values = tasks.values(|_| Value::Uuid(tenant), Value::Timestamp(now), Uuid::nil());
        next.push(Step::of(sql::TASK_INSERT, values));
    }
    if !unexpanded.is_empty() {
        let ids: Vec<Uuid> = unexpanded.into_iter().map(|(_, id)| id).collect();
        next.push(Step::Run(sql::EXPAND_INSERT, params![tenant, ids]));
    }
    if !deadlines.is_empty() {
        let ids: Vec<Uuid> = deadlines.into_iter().map(|(_, id, _)| id).collect();
        next.push(Step::Run(sql::DUE_INSERT, params![tenant, ids]));
    }
    if !reached.is_empty() {
        next.push(reach(&reached));
    }
}

fn all_nodes<'a, 'b>(steps: &'b [&'a ParentStep]) -> impl Iterator<Item = (ExecutionId, &'a NodeStep)> + 'b {
    steps.iter().flat_map(|step| step.nodes.iter().map(|node| (step.execution, node)))
}

/// What is written besides when nodes begin to wait for children.
pub(crate) fn begin<'a>(
    tenant: Uuid,
    now: Option<Timestamp>,
    begins: &[(&WaitBegin, ChildrenPlan)],
) -> Step<'a> {
    let (mut executions, mut nodes) = (Vec::new(), Vec::<TaskIndex>::new());
    let (mut totals, mut parallels, mut tolerated, mut abandons) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (begin, plan) in begins {
        executions.push(Uuid::from(begin.execution));
        nodes.push(begin.node);
        totals.push(plan.total);
        parallels.push(plan.parallel);
        tolerated.push(plan.tolerated);
        abandons.push(plan.abandons);
    }
    let values = params![tenant, now, executions, nodes, totals, parallels, tolerated, abandons];
    Step::Run(sql::CHILDREN_BEGIN, values)
}

pub(crate) async fn list(inner: Arc<Inner>, place: Place, list: ChildList) -> Result<Vec<ChildRecord>> {
    let first = list.node.unwrap_or_default();
    let (node, item) = list.after.unwrap_or((first, -1));
    let last = list.node.unwrap_or(TaskIndex::MAX);
    let limit = i64::try_from(list.limit).unwrap_or(i64::MAX);
    let values = params![Uuid::from(place.tenant), Uuid::from(list.parent), node, item, last, limit];
    let rows = long_in_place(&inner, &place, &[Step::Run(sql::CHILDREN_LIST, values)]).await?.remove(0);
    let get = Get(&place);
    Ok(readable(&rows, &place.name, |row| {
        Ok(ChildRecord {
            execution: ExecutionId(get.of(row, "id")?),
            node: get.of(row, "parent_node")?,
            item: get.of(row, "item")?,
            status: parse(get.of(row, "state")?, &place.name)?,
        })
    }))
}

pub(crate) async fn progress(
    inner: Arc<Inner>,
    place: Place,
    execution: ExecutionId,
) -> Result<Vec<ChildrenProgress>> {
    let values = params![Uuid::from(place.tenant), Uuid::from(execution)];
    let rows = long_in_place(&inner, &place, &[Step::Run(sql::CHILDREN_PROGRESS, values)]).await?.remove(0);
    let get = Get(&place);
    Ok(readable(&rows, &place.name, |row| {
        Ok(ChildrenProgress { name: get.of(row, "name")?, node: node(&get, row)? })
    }))
}

pub(crate) async fn set_parallel(
    inner: Arc<Inner>,
    place: Place,
    execution: ExecutionId,
    node: String,
    parallel: i64,
    audit: Option<NewAudit>,
    now: Option<Timestamp>,
) -> Result<bool> {
    let (tenant, id, schema) = (Uuid::from(place.tenant), Uuid::from(execution), SchemaName::of(&place)?);
    let failed = |failure: Failure| failure.into_error(&crate::error::named(&place));
    let mut side = inner.pool.get(Use::Waits).await?;
    side.touch(place.tenant);
    let set = [
        Step::Run(sql::EXECUTION_LOCK, params![tenant, vec![id]]),
        Step::Run(sql::CHILDREN_PARALLEL, params![tenant, id, node, parallel]),
    ];
    let rows = side.begin(inner.scope(place.tenant, &schema), &set).await.map_err(failed)?;
    let is_set = !rows[1].is_empty();
    let mut steps = Vec::new();
    if is_set {
        steps.push(Step::Run(sql::CHILDREN_ASK, params![tenant, now, vec![id]]));
        steps.push(doorbell::ring_at(place.tenant, now, Some(Timestamp::UNIX_EPOCH)));
        steps.extend(audit.map(|audit| audit::note(&place, &audit, now)));
    }
    side.finish(&steps).await.map_err(failed)?;
    if is_set {
        inner.hints.tell_of_work();
    }
    Ok(is_set)
}

pub(crate) async fn page_write(
    inner: Arc<Inner>,
    place: Place,
    runner: RunnerId,
    stream: Stream,
    page: StreamPage,
) -> Result<bool> {
    let (tenant, id) = (Uuid::from(place.tenant), Uuid::from(stream.execution));
    let Stream { task, attempt, name, .. } = &stream;
    let (runner, StreamPage { first, items }) = (Uuid::from(runner), &page);
    let write = [
        Step::Run(sql::EXECUTION_LOCK, params![tenant, vec![id]]),
        Step::Run(
            sql::PAGE_WRITE,
            params![tenant, id, *task, runner, *attempt, name.as_str(), *first, &**items],
        ),
    ];
    let rows = in_place(&inner, &place, &write).await?;
    Ok(!rows[1].is_empty())
}

pub(crate) async fn page_read(
    inner: Arc<Inner>,
    place: Place,
    stream: Stream,
    item: i64,
) -> Result<Vec<StreamPage>> {
    let (tenant, id) = (Uuid::from(place.tenant), Uuid::from(stream.execution));
    let Stream { task, attempt, name, .. } = &stream;
    let read = [Step::Run(sql::PAGE_READ, params![tenant, id, *task, *attempt, name.as_str(), item])];
    let rows = long_in_place(&inner, &place, &read).await?;
    let get = Get(&place);
    let page = |row: &Row| {
        Ok(StreamPage { first: get.of(row, "first")?, items: get.of::<String>(row, "items")?.into() })
    };
    rows[0].iter().map(page).collect()
}

fn node(get: &Get<'_>, row: &Row) -> Result<ChildrenNode> {
    Ok(ChildrenNode {
        node: get.of(row, "task")?,
        total: get.of(row, "total")?,
        parallel: get.of(row, "parallel")?,
        tolerated: get.of(row, "tolerated")?,
        started: get.of(row, "started")?,
        completed: get.of(row, "completed")?,
        failed: get.of(row, "failed")?,
    })
}
