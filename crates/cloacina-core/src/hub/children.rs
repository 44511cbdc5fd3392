//! Looks after nodes that wait for children: starts these, adds up those that have ended.
//!
//! It needs the code of the parent, but no slot, and of the children nothing: those whose workflow is not
//! here are left to whoever has it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;
use tracing::warn;

use super::live::{context_at, result_of};
use super::node::{Ends, Known};
use super::place::{Items, OpenPlace, key_and_tasks};
use super::shared::Hub;
use super::stream::{MOST_ITEMS, emitted};
use crate::context::{Patch, token_base, token_of_child, values_from_json, values_to_json};
use crate::execution::{AttemptOutcome, ExecutionStatus};
use crate::id::{ExecutionId, TaskIndex};
use crate::origin::{Origin, Parent, taken_out};
use crate::store::{
    ChildrenNode, ChildrenPlan, DueChildren, DueParent, EndedBy, EndedChild, ExecutionRecord, MANY,
    MOST_BYTES_AT_ONCE, MOST_ITEM_BYTES, MOST_STARTED_BYTES, NewChild, NewExecution, NodeStep, ParentStep,
    SettledWaits, StoreError, StoreErrorKind, TaskOutcome, WaitCursor, WaitStep, WorkflowKey,
};
use crate::workflow::{Children, Fingerprint, ParentClose};

/// How many executions are read in one call.
const LOADED_AT_ONCE: usize = 100;

/// How many generations there may be below an execution that has no parent.
pub(super) const DEEPEST: u16 = 16;

impl Hub {
    /// Settles what is due of children in a place. Returns how many steps that were, and how many due rows
    /// were taken away besides.
    pub(super) async fn settle_all_children(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
    ) -> Result<usize, StoreError> {
        let mut settled = 0;
        loop {
            let (mut after, mut done, mut goes_on) = (None, 0, false);
            loop {
                let workflows = {
                    let state = place.state();
                    if !state.may_expand() {
                        return Ok(settled);
                    }
                    Arc::clone(state.claimable())
                };
                let _turn = self.turn_in(place).await;
                let (store, inner, now) = self.asked_for(place);
                let asked = after.clone();
                let looked = self.ask(async move {
                    store.children_due(&inner, &workflows, asked.as_ref(), MANY, now).await
                });
                let DueChildren { parents, void, next } = looked.await?;
                let steps = self.decide_children(place, parents).await?;
                goes_on |= steps.iter().any(|step| step.goes_on);
                if !steps.is_empty() || !void.is_empty() {
                    done += self.write_children(place, steps.into(), void).await?;
                }
                let Some(next) = next else { break };
                after = Some(next);
            }
            settled += done;
            if !goes_on || done == 0 {
                return Ok(settled);
            }
        }
    }

    async fn write_children(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        steps: Arc<[ParentStep]>,
        void: Vec<WaitCursor>,
    ) -> Result<usize, StoreError> {
        let done = match self.settle_parents(place, &steps, void).await {
            Err(error) if error.kind() == StoreErrorKind::Data && steps.len() > 1 => {
                self.settle_each_parent(place, &steps).await?
            }
            done => done?,
        };
        if done.voided > 0 {
            let rows = done.voided;
            warn!(tenant = place.place.name, rows, "due rows are left out, because nothing waits there");
        }
        let settled = done.done + done.voided;
        let nodes = steps.iter().flat_map(|step| step.nodes.iter().map(move |node| (step.execution, node)));
        let starts_no_more = |node: &NodeStep| node.end.is_some() || node.now.started >= node.now.total;
        for (execution, node) in nodes.filter(|(_, node)| starts_no_more(node)) {
            place.state().items.forget(execution, node.now.node);
        }
        self.settled_waits(place, done);
        Ok(settled)
    }

    async fn settle_parents(
        &self,
        place: &OpenPlace,
        steps: &Arc<[ParentStep]>,
        void: Vec<WaitCursor>,
    ) -> Result<SettledWaits, StoreError> {
        let (store, inner, now) = self.asked_for(place);
        let steps = Arc::clone(steps);
        self.ask(async move { store.children_settle(&inner, &steps, &void, now).await }).await
    }

    /// Settles parents one by one, because the database refused something about one of them.
    async fn settle_each_parent(
        &self,
        place: &OpenPlace,
        steps: &[ParentStep],
    ) -> Result<SettledWaits, StoreError> {
        let mut all = SettledWaits::default();
        for step in steps {
            match self.settle_parents(place, &[step.clone()].into(), Vec::new()).await {
                Ok(done) => all.absorb(done),
                Err(error) if error.kind() == StoreErrorKind::Data => {
                    let (tenant, execution) = (&place.place.name, step.execution);
                    warn!(tenant, %execution, %error, "the children of an execution cannot be settled");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Decides what becomes of executions whose children are to be looked at.
    async fn decide_children(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        parents: Vec<DueParent>,
    ) -> Result<Vec<ParentStep>, StoreError> {
        let workflows = Arc::clone(&place.state().handles.workflows);
        let mut looks = Vec::new();
        for parent in parents {
            let Some(workflow) = workflows.version(&parent.workflow) else { continue };
            let nodes = parent.nodes.iter().filter_map(|node| {
                let known = Known::begun(parent.execution, node.node, &parent.workflow, workflow)?;
                Some(Look::new(&parent, *node, known))
            });
            let nodes: Vec<Look> = nodes.collect();
            looks.push((parent, nodes));
        }
        let all = || looks.iter().flat_map(|(_, nodes)| nodes);
        let starting = all().filter(|look| look.starts).map(|look| (&look.known, look.now.started));
        let items = self.items_of(place, starting).await?;
        let results = self.load_many(place, all().filter_map(|look| look.result)).await?;
        let asking = looks.iter().filter(|(_, nodes)| nodes.iter().any(|look| look.known.asks()));
        let asking: Vec<ExecutionId> = asking.map(|(parent, _)| parent.execution).collect();
        let ends = self.ends_of(place, asking).await?;
        let (none, mut steps) = (Ends::new(), Vec::new());
        let mut budget = Budget { children: MANY, bytes: MOST_STARTED_BYTES };
        for (parent, nodes) in looks {
            let (execution, rows) = (parent.execution, parent.rows.clone());
            let mut step = ParentStep { execution, rows, nodes: Vec::new(), goes_on: false };
            let ends = ends.get(&execution).unwrap_or(&none);
            // Of those that are not decided yet, something is left to be read: they are for the next look.
            let decided = nodes.iter().map(|look| {
                let known = (look.known.execution(), look.known.node());
                let outcome = match &look.verdict {
                    Verdict::Completed => {
                        Some(completed(place, look, look.result.map(|child| results.get(&child)))?)
                    }
                    Verdict::Failed(error) => Some(failed(error.clone())),
                    Verdict::GoesOn => None,
                };
                let (starts, outcome) = match (outcome, items.get(&known)) {
                    (None, Some(Ok(items))) if look.starts => {
                        match start(place, &parent, look, items, &mut budget) {
                            Ok(starts) => (starts, None),
                            Err(error) => (Vec::new(), Some(failed(error))),
                        }
                    }
                    (None, Some(Err(error))) if look.starts => (Vec::new(), Some(failed(error.clone()))),
                    (None, None) if look.starts => return None,
                    (outcome, _) => (Vec::new(), outcome),
                };
                let end = match outcome {
                    Some(outcome) => Some(look.known.ended(outcome, ends)?),
                    None => None,
                };
                let started = look.now.started + i64::try_from(starts.len()).unwrap_or(i64::MAX);
                Some(NodeStep { was: look.was, now: ChildrenNode { started, ..look.now }, starts, end })
            });
            let decided: Option<Vec<NodeStep>> = decided.collect();
            let Some(decided) = decided else { continue };
            step.goes_on =
                !parent.is_paused && decided.iter().any(|node| node.end.is_none() && node.now.room() > 0);
            step.nodes = decided;
            steps.push(step);
        }
        Ok(steps)
    }

    /// How the nodes of executions ended that are over.
    pub(super) async fn ends_of(
        &self,
        place: &OpenPlace,
        executions: Vec<ExecutionId>,
    ) -> Result<HashMap<ExecutionId, Ends>, StoreError> {
        let mut ends: HashMap<ExecutionId, Ends> = HashMap::new();
        if !executions.is_empty() {
            let (store, inner, _) = self.asked_for(place);
            for end in self.ask(async move { store.wait_ends(&inner, &executions).await }).await? {
                ends.entry(end.execution).or_default().insert(end.node, (end.state, end.skip_reason));
            }
        }
        Ok(ends)
    }

    /// Executions by their ids, or why one cannot be read. Those that are not there are left out, and those
    /// behind 64 MiB.
    async fn load_many(
        &self,
        place: &OpenPlace,
        executions: impl Iterator<Item = ExecutionId>,
    ) -> Result<HashMap<ExecutionId, Result<ExecutionRecord, String>>, StoreError> {
        let wanted: BTreeSet<ExecutionId> = executions.collect();
        let wanted: Vec<ExecutionId> = wanted.into_iter().collect();
        let (mut found, mut bytes) = (HashMap::new(), 0);
        for some in wanted.chunks(LOADED_AT_ONCE) {
            let records = match self.load_some(place, some).await {
                // Together they are too many, or one of them cannot be read.
                Err(error) if error.kind() == StoreErrorKind::Data => {
                    let mut records = Vec::new();
                    for one in some {
                        match self.load_some(place, &[*one]).await {
                            Ok(record) => records.extend(record),
                            Err(error) if error.kind() == StoreErrorKind::Data => {
                                found.insert(*one, Err(error.to_string()));
                            }
                            Err(error) => return Err(error),
                        }
                    }
                    records
                }
                records => records?,
            };
            bytes += records.iter().map(ExecutionRecord::context_bytes).sum::<usize>();
            found.extend(records.into_iter().map(|record| (record.header.id, Ok(record))));
            if bytes > MOST_BYTES_AT_ONCE {
                break;
            }
        }
        Ok(found)
    }

    async fn load_some(
        &self,
        place: &OpenPlace,
        executions: &[ExecutionId],
    ) -> Result<Vec<ExecutionRecord>, StoreError> {
        let ((store, inner, _), ids) = (self.asked_for(place), executions.to_vec());
        self.ask(async move { store.execution_load(&inner, &ids).await }).await
    }

    /// What the children of nodes are about, or why there can be none. Those are left out that are for the
    /// next look.
    pub(super) async fn items_of<'a>(
        &self,
        place: &OpenPlace,
        nodes: impl Iterator<Item = (&'a Known, i64)>,
    ) -> Result<HashMap<(ExecutionId, TaskIndex), Result<Arc<Items>, String>>, StoreError> {
        let (mut items, mut unknown) = (HashMap::new(), Vec::new());
        for (known, from) in nodes {
            let key = (known.execution(), known.node());
            let kept = place.state().items.get(key.0, key.1);
            match kept {
                Some(kept) => drop(items.insert(key, self.turned_to(place, key, kept, from).await?)),
                None => unknown.push((known, from)),
            }
        }
        let records = self.load_many(place, unknown.iter().map(|(known, _)| known.execution())).await?;
        for (known, from) in unknown {
            let key = (known.execution(), known.node());
            let read = match (records.get(&key.0), known.children()) {
                (Some(Ok(record)), Some(spec)) => match read_items(spec, record, known).map(Arc::new) {
                    Ok(read) => self.turned_to(place, key, read, from).await?,
                    Err(error) => Err(error),
                },
                (Some(Err(error)), _) => Err(format!("its context cannot be read: {error}")),
                _ => continue,
            };
            if let Ok(read) = &read {
                place.state().items.keep(key.0, key.1, Arc::clone(read));
            }
            items.insert(key, read);
        }
        Ok(items)
    }

    /// The items with those from one on, which are read if the list was emitted; or why they cannot be.
    async fn turned_to(
        &self,
        place: &OpenPlace,
        (execution, node): (ExecutionId, TaskIndex),
        items: Arc<Items>,
        from: i64,
    ) -> Result<Result<Arc<Items>, String>, StoreError> {
        let Some(stream) = items.stream.clone().filter(|_| !items.has(from)) else { return Ok(Ok(items)) };
        let (store, inner, _) = self.asked_for(place);
        let pages = self.ask(async move { store.page_read(&inner, &stream, from).await }).await?;
        let (first, bytes) =
            (pages.first().map_or(0, |page| page.first), pages.iter().map(|page| page.items.len()));
        let bytes = items.bytes + bytes.sum::<usize>();
        let mut list: Vec<Value> = Vec::new();
        for page in pages {
            match serde_json::from_str::<Vec<Value>>(&page.items) {
                Ok(page) => list.extend(page),
                Err(error) => return Ok(Err(format!("a page of its list cannot be read: {error}"))),
            }
        }
        let turned = Arc::new(Items { list, first, bytes, ..Items::clone(&items) });
        if !turned.has(from) {
            return Ok(Err(format!("item {from} of its list is not there any more")));
        }
        place.state().items.keep(execution, node, Arc::clone(&turned));
        Ok(Ok(turned))
    }
}

/// What a node does that is reached and waits for children, about which this is known: it begins to wait, or
/// is over at once.
pub(super) fn begun(known: &Known, items: &Result<Arc<Items>, String>) -> Option<WaitStep> {
    let spec = known.children()?;
    let over = |outcome| WaitStep::End(known.end(EndedBy::Rule, outcome, Vec::new()));
    let items = match items {
        Ok(items) => items,
        Err(error) => return Some(over(failed(error.clone()))),
    };
    let total = items.total;
    if total == 0 {
        return Some(over(TaskOutcome::Completed { patch: None }));
    }
    let tolerated = spec.tolerance.of(u64::try_from(total).unwrap_or(u64::MAX));
    let plan = ChildrenPlan {
        total: i64::try_from(total).unwrap_or(i64::MAX),
        parallel: i64::from(spec.parallel),
        tolerated: i64::try_from(tolerated).unwrap_or(i64::MAX),
        abandons: spec.on_close == ParentClose::Abandon,
    };
    Some(WaitStep::Begin(known.begin(Some(plan))))
}

/// A node that waits for children, and what is known of it.
struct Look {
    known: Known,
    was: ChildrenNode,
    /// With the children that have ended.
    now: ChildrenNode,
    verdict: Verdict,
    /// Whether children are to be started.
    starts: bool,
    /// The child whose context it leaves.
    result: Option<ExecutionId>,
}

enum Verdict {
    GoesOn,
    Completed,
    Failed(String),
}

impl Look {
    fn new(parent: &DueParent, was: ChildrenNode, known: Known) -> Self {
        let ended: Vec<&EndedChild> = parent.ended.iter().filter(|child| child.node == was.node).collect();
        let mut now = was;
        for child in &ended {
            match child.status {
                ExecutionStatus::Completed => now.completed += 1,
                _ => now.failed += 1,
            }
        }
        let list = known.children().and_then(|spec| spec.list.as_ref());
        let verdict = if now.failed > now.tolerated {
            Verdict::Failed(reason(list.is_some(), &now, &ended))
        } else if now.completed + now.failed >= now.total {
            Verdict::Completed
        } else {
            Verdict::GoesOn
        };
        let is_single = list.is_none() && matches!(verdict, Verdict::Completed);
        Self {
            starts: matches!(verdict, Verdict::GoesOn) && now.room() > 0 && !parent.is_paused,
            result: ended.first().filter(|_| is_single).map(|child| child.execution),
            known,
            was,
            now,
            verdict,
        }
    }
}

/// What becomes of a node whose children are all over, and few enough failed. A single child leaves its final
/// context; none if that is for the next look.
fn completed(
    place: &OpenPlace,
    look: &Look,
    child: Option<Option<&Result<ExecutionRecord, String>>>,
) -> Option<TaskOutcome> {
    let Some(child) = child else { return Some(TaskOutcome::Completed { patch: None }) };
    let id = look.result?;
    let unreadable = |error: &dyn std::fmt::Display| {
        Some(failed(format!("what child {id} leaves cannot be read: {error}")))
    };
    let record = match child? {
        Ok(record) => record,
        Err(error) => return unreadable(error),
    };
    let (workflow, limit) = {
        let state = place.state();
        (
            state.handles.workflows.version(&record.header.workflow).cloned(),
            state.handles.settings.max_context_bytes,
        )
    };
    let context = result_of(record, workflow.as_deref()).map(|result| result.final_context);
    let json = match context.and_then(|context| Ok(values_to_json(&*context.into_values()?)?)) {
        Ok(json) => json,
        Err(error) => return unreadable(&error),
    };
    if json.len() > limit {
        let bytes = json.len();
        return Some(failed(format!(
            "what child {id} leaves has {bytes} bytes, more than the {limit} allowed (`max_context_bytes`)"
        )));
    }
    match Patch::of_one(look.known.id(), &json) {
        Ok(patch) => Some(TaskOutcome::Completed { patch: Some(patch) }),
        Err(error) => unreadable(&error),
    }
}

fn failed(error: String) -> TaskOutcome {
    TaskOutcome::Failed { how: AttemptOutcome::Failed, error }
}

/// How much may be started yet in a transaction.
struct Budget {
    children: usize,
    bytes: usize,
}

impl Budget {
    fn is_over(&self) -> bool {
        self.children == 0 || self.bytes == 0
    }

    fn take(&mut self, bytes: usize) {
        self.children -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// The next children of a node; otherwise why there can be none.
fn start(
    place: &OpenPlace,
    parent: &DueParent,
    Look { known, now, .. }: &Look,
    items: &Items,
    budget: &mut Budget,
) -> Result<Vec<NewChild>, String> {
    let spec = known.children().ok_or("it waits for no children")?;
    let ((workflow, tasks), on_failure) = {
        let state = place.state();
        let of_task = known.workflow().item(&spec.workflow);
        match of_task.or_else(|| state.handles.workflows.get(&spec.workflow).map(|workflow| &**workflow)) {
            Some(workflow) if state.forbids(workflow) => {
                let (workflow, tenant) = (&spec.workflow, &place.place.name);
                return Err(format!(
                    "workflow `{workflow}` is for the operator only, and tenant `{tenant}` has a database login of its own"
                ));
            }
            Some(workflow) => {
                let parts = key_and_tasks(workflow).map_err(|error| error.to_string())?;
                (parts, workflow.shared_on_failure().cloned())
            }
            // Whoever has the code says which version it is, and which tasks it has.
            None => {
                let name = spec.workflow.as_str().into();
                ((WorkflowKey { name, fingerprint: Fingerprint::UNKNOWN }, Arc::default()), None)
            }
        }
    };
    let mut starts = Vec::new();
    for item in now.started..now.started + now.room() {
        if budget.is_over() {
            break;
        }
        let of = usize::try_from(item - items.first).ok().and_then(|item| items.list.get(item));
        let Some(of) = of else {
            // The next look turns the page.
            if items.stream.is_some() && !starts.is_empty() {
                break;
            }
            return Err(format!("its list has {} items now, and had {}", items.total, now.total));
        };
        let origin = Parent {
            execution_id: parent.execution.into(),
            node: known.id().to_owned(),
            item: item.unsigned_abs(),
            depth: items.depth,
        };
        let input = input_of(spec, of, &origin, items)
            .map_err(|error| format!("the input of item {item}: {error}"))?;
        budget.take(input.len());
        let execution = NewExecution {
            id: ExecutionId::new(),
            workflow: workflow.clone(),
            priority: parent.priority,
            input: input.into(),
            idempotency: None,
            start_at: None,
            deadline: parent.deadline,
            tasks: Arc::clone(&tasks),
            claimed: Vec::new(),
            submitter: None,
            tags: Vec::new(),
            submitted_by: None,
            on_failure: on_failure.clone(),
            rerun: None,
            child: None,
        };
        starts.push(NewChild { item, execution: Arc::new(execution) });
    }
    Ok(starts)
}

/// The input of a child as it is stored.
fn input_of(spec: &Children, of: &Value, origin: &Parent, items: &Items) -> Result<String, String> {
    let mut values: BTreeMap<String, Value> = match of {
        Value::Object(values) if spec.list.is_none() => values.clone().into_iter().collect(),
        item => [("item".to_owned(), item.clone()), ("index".to_owned(), origin.item.into())].into(),
    };
    let token = items.token.map(|token| token_of_child(token, &origin.node, origin.item, &values));
    // It is not found by the tags, as it is in no list, but its tasks know them.
    let (parent, tags) = (Some(Arc::new(origin.clone())), items.tags.clone());
    Origin { parent, tags, token, trace: items.trace.clone(), ..Origin::default() }.put_into(&mut values);
    values_to_json(&values).map_err(|error| error.to_string())
}

/// What the children of a node are about, by the context of its execution.
fn read_items(spec: &Children, record: &ExecutionRecord, known: &Known) -> Result<Items, String> {
    let (values, origin) =
        context_at(record, known.graph(), known.node()).map_err(|error| error.to_string())?;
    let depth = origin.parent.as_ref().map_or(0, |parent| parent.depth) + 1;
    if depth > DEEPEST {
        return Err(format!(
            "there are {DEEPEST} executions above it already, each of which waits for the one below: that is as deep as it goes"
        ));
    }
    let mut stream = None;
    let list = match (&spec.list, &spec.input) {
        (Some(key), _) => match values.get(key) {
            Some(Value::Array(list)) => checked(key, list)?,
            Some(value) if emitted(value).is_some() => {
                stream = emitted(value);
                Vec::new()
            }
            Some(_) => return Err(format!("`{key}` in the context is no list")),
            None => return Err(format!("there is no `{key}` in the context, which is to be a list")),
        },
        (None, Some(key)) => match values.get(key) {
            Some(input @ Value::Object(_)) => vec![input.clone()],
            Some(_) => {
                return Err(format!("`{key}` in the context is no object, as the input of a child is"));
            }
            None => {
                return Err(format!(
                    "there is no `{key}` in the context, which is to be the input of a child"
                ));
            }
        },
        (None, None) => {
            let values = (*values).clone();
            vec![Value::Object(values.into_iter().collect())]
        }
    };
    let token = match (origin.token, &origin.parent) {
        (None, None) => None,
        (Some(token), _) => Some(token),
        (None, Some(_)) => {
            let stored = values_from_json(&record.input).map_err(|error| error.to_string())?;
            let (input, origin) = taken_out(stored);
            Some(token_base(&origin, record.header.id.into(), &input))
        }
    };
    let (stream, total) = stream.map_or((None, list.len()), |(stream, items)| (Some(stream), items));
    if total > MOST_ITEMS {
        return Err(format!("its list has {total} items, and {MOST_ITEMS} are the most"));
    }
    let bytes = record.context_bytes();
    Ok(Items { total, first: 0, list, stream, bytes, depth, tags: origin.tags, token, trace: origin.trace })
}

fn checked(key: &str, list: &[Value]) -> Result<Vec<Value>, String> {
    if list.len() > MOST_ITEMS {
        return Err(format!("the list `{key}` has {} items, and {MOST_ITEMS} are the most", list.len()));
    }
    for (index, item) in list.iter().enumerate() {
        let bytes = match item {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) if text.len() < MOST_ITEM_BYTES / 6 => 0,
            item => serde_json::to_string(item).map_or(usize::MAX, |json| json.len()),
        };
        if bytes > MOST_ITEM_BYTES {
            return Err(format!(
                "item {index} of the list `{key}` has {bytes} bytes, and {MOST_ITEM_BYTES} are the most: keep what is large elsewhere"
            ));
        }
    }
    Ok(list.to_vec())
}

/// Why a node failed of which more children failed than may.
fn reason(is_map: bool, now: &ChildrenNode, ended: &[&EndedChild]) -> String {
    let last = ended.iter().rev().find(|child| child.status != ExecutionStatus::Completed);
    let reason = last.map(|child| {
        let (id, status) = (child.execution, child.status);
        match &child.error {
            Some(error) => (child.item, format!("{id} is {status}: {error}")),
            None => (child.item, format!("{id} is {status}")),
        }
    });
    let ChildrenNode { total, tolerated, failed, .. } = now;
    match reason {
        Some((_, reason)) if !is_map => format!("child {reason}"),
        Some((item, reason)) => {
            format!("{failed} of {total} items failed, and {tolerated} may; item {item}: {reason}")
        }
        None => format!("{failed} of {total} children failed, and {tolerated} may"),
    }
}
