//! Looks after nodes that wait for children: starts these, adds up those that have ended.
//!
//! It needs the code of the parent, but no slot, and of the children nothing: those whose workflow is not
//! here are left to whoever has it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tracing::warn;

use super::live::{context_at, result_of};
use super::place::{Items, OpenPlace, Settling, key_and_tasks};
use super::shared::Hub;
use super::timers::Timer;
use super::waits::{Ends, Known};
use crate::context::{Patch, values_to_json};
use crate::execution::{AttemptOutcome, ExecutionStatus};
use crate::id::ExecutionId;
use crate::origin::Parent;
use crate::reserved::PARENT_KEY;
use crate::store::{
    ChildrenNode, ChildrenPlan, DueChildren, DueParent, EndedBy, EndedChild, ExecutionRecord, MANY,
    MOST_ITEM_BYTES, MOST_STARTED_BYTES, NewChild, NewExecution, NodeStep, ParentStep, SettledWaits,
    StoreError, StoreErrorKind, TaskOutcome, WaitCursor, WaitStep, WorkflowKey,
};
use crate::workflow::{Children, Fingerprint, ParentClose, Workflow};

/// The most items of a list.
const MOST_ITEMS: usize = 1_000_000;

/// How many generations there may be below an execution that has no parent.
const DEEPEST: u16 = 16;

impl Hub {
    /// Children may have ended, or are to be started.
    pub(crate) fn look_for_children(self: &Arc<Self>, place: &Arc<OpenPlace>) {
        if !place.state().may_expand() {
            return;
        }
        let (hub, place) = (Arc::clone(self), Arc::clone(place));
        self.spawn(async move {
            let answer = hub.settle_children(&place).await;
            place.troubles.settling.note(place.whose(), &answer);
            match answer {
                Ok(settled) => {
                    place.state().claiming.due_taken(settled, hub.clock().monotonic());
                    hub.lower(place);
                }
                Err(_) => hub.set_timer(place.place.tenant, Timer::Due, Duration::from_secs(1)),
            }
        });
    }

    /// Settles what is due of children in a place, unless somebody does, who looks once more then. Returns how
    /// many steps that were, and how many due rows were taken away besides.
    pub(super) async fn settle_children(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
    ) -> Result<usize, StoreError> {
        if !place.state().claiming.children.begin() {
            return Ok(0);
        }
        let mut settled = 0;
        loop {
            let answer = self.settle_all_children(place).await;
            let again = place.state().claiming.children.end();
            settled += match answer {
                Ok(some) => some,
                Err(error) => {
                    place.state().claiming.children = Settling::default();
                    return Err(error);
                }
            };
            if !again {
                return Ok(settled);
            }
        }
    }

    async fn settle_all_children(self: &Arc<Self>, place: &Arc<OpenPlace>) -> Result<usize, StoreError> {
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
        let ended = steps.iter().flat_map(|step| step.nodes.iter().map(move |node| (step.execution, node)));
        for (execution, node) in ended.filter(|(_, node)| node.end.is_some()) {
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
        let known = Arc::clone(&place.state().handles.workflows);
        let mut steps = Vec::new();
        let mut budget = Budget { children: MANY, bytes: MOST_STARTED_BYTES };
        for parent in parents {
            let Some(workflow) = known.version(&parent.workflow).map(Arc::clone) else { continue };
            let ends = self.ends_before(place, &parent, &workflow).await?;
            let mut step = ParentStep {
                execution: parent.execution,
                rows: parent.rows.clone(),
                nodes: Vec::new(),
                goes_on: false,
            };
            for was in &parent.nodes {
                let decided = self.decide_node(place, &parent, &workflow, *was, &ends, &mut budget).await?;
                // What is stored does not fit the code.
                let Some(node) = decided else { continue };
                step.goes_on |= node.end.is_none() && node.now.room() > 0 && !parent.is_paused;
                step.nodes.push(node);
            }
            steps.push(step);
        }
        Ok(steps)
    }

    /// How the nodes ended that come before those which wait for children, where that has to be known.
    async fn ends_before(
        &self,
        place: &OpenPlace,
        parent: &DueParent,
        workflow: &Arc<Workflow>,
    ) -> Result<Ends, StoreError> {
        let asks = parent.nodes.iter().any(|node| {
            Known::begun(parent.execution, node.node, &parent.workflow, workflow)
                .is_some_and(|known| known.asks())
        });
        if !asks {
            return Ok(Ends::new());
        }
        let (store, inner, _) = self.asked_for(place);
        let execution = parent.execution;
        let ends = self.ask(async move { store.wait_ends(&inner, &[execution]).await }).await?;
        Ok(ends.into_iter().map(|end| (end.node, (end.state, end.skip_reason))).collect())
    }

    async fn decide_node(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        parent: &DueParent,
        workflow: &Arc<Workflow>,
        was: ChildrenNode,
        ends: &Ends,
        budget: &mut Budget,
    ) -> Result<Option<NodeStep>, StoreError> {
        let Some(known) = Known::begun(parent.execution, was.node, &parent.workflow, workflow) else {
            return Ok(None);
        };
        let Some(spec) = known.children() else { return Ok(None) };
        let mut now = was;
        let ended: Vec<&EndedChild> = parent.ended.iter().filter(|child| child.node == was.node).collect();
        for child in &ended {
            match child.status {
                ExecutionStatus::Completed => now.completed += 1,
                _ => now.failed += 1,
            }
        }
        let outcome = if now.failed > now.tolerated {
            Some(failed_children(spec, &now, &ended))
        } else if now.completed + now.failed >= now.total {
            Some(self.completed_children(place, &known, spec, &ended).await?)
        } else {
            None
        };
        let mut starts = Vec::new();
        let outcome = match outcome {
            None if now.room() > 0 && !parent.is_paused && !budget.is_over() => {
                let items = self.items_of(place, parent.execution, &known).await?;
                match items.and_then(|items| start(place, parent, &known, &items, &now, budget)) {
                    Ok(new) => {
                        now.started += i64::try_from(new.len()).unwrap_or(i64::MAX);
                        starts = new;
                        None
                    }
                    Err(error) => Some(TaskOutcome::Failed { how: AttemptOutcome::Failed, error }),
                }
            }
            outcome => outcome,
        };
        let end = match outcome {
            None => None,
            // How some of the dependencies ended may not have been told, if there were many.
            Some(outcome) => match known.ended(outcome, ends) {
                None => return Ok(None),
                end => end,
            },
        };
        Ok(Some(NodeStep { was, now, starts, end }))
    }

    /// What becomes of a node whose children are all over, and few enough failed. A single child leaves its
    /// final context.
    async fn completed_children(
        &self,
        place: &OpenPlace,
        known: &Known,
        spec: &Children,
        ended: &[&EndedChild],
    ) -> Result<TaskOutcome, StoreError> {
        let (None, Some(child)) = (&spec.list, ended.first()) else {
            return Ok(TaskOutcome::Completed { patch: None });
        };
        let failed = |error| Ok(TaskOutcome::Failed { how: AttemptOutcome::Failed, error });
        let (id, limit) = (child.execution, place.state().handles.settings.max_context_bytes);
        let record = match self.load_one(place, id).await {
            Ok(record) => record,
            Err(error) if error.kind() == StoreErrorKind::Data => {
                return failed(format!("what child {id} leaves cannot be read: {error}"));
            }
            Err(error) => return Err(error),
        };
        let Some(record) = record else { return failed(format!("child {id} is not there any more")) };
        let graph = place.state().handles.workflows.version(&record.header.workflow).cloned();
        let graph = graph.as_ref().and_then(|workflow| workflow.graph().ok());
        let context = result_of(&record, graph.map(|graph| &**graph)).map(|result| result.final_context);
        let json = context.and_then(|context| Ok(values_to_json(&*context.into_values()?)?));
        match json {
            Ok(json) if json.len() > limit => failed(format!(
                "what child {id} leaves has {} bytes, more than the {limit} allowed (`max_context_bytes`)",
                json.len()
            )),
            Ok(json) => match Patch::of_one(known.id(), &json) {
                Ok(patch) => Ok(TaskOutcome::Completed { patch: Some(patch) }),
                Err(error) => failed(format!("what child {id} leaves cannot be read: {error}")),
            },
            Err(error) => failed(format!("what child {id} leaves cannot be read: {error}")),
        }
    }

    async fn load_one(
        &self,
        place: &OpenPlace,
        execution: ExecutionId,
    ) -> Result<Option<ExecutionRecord>, StoreError> {
        let (store, inner, _) = self.asked_for(place);
        Ok(self.ask(async move { store.execution_load(&inner, &[execution]).await }).await?.pop())
    }

    /// What the children of a node are about; otherwise why there can be none.
    async fn items_of(
        &self,
        place: &OpenPlace,
        execution: ExecutionId,
        known: &Known,
    ) -> Result<Result<Arc<Items>, String>, StoreError> {
        let node = known.node();
        if let Some(items) = place.state().items.get(execution, node) {
            return Ok(Ok(items));
        }
        let record = match self.load_one(place, execution).await {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(Err("its execution is not there any more".to_owned())),
            Err(error) if error.kind() == StoreErrorKind::Data => {
                return Ok(Err(format!("its context cannot be read: {error}")));
            }
            Err(error) => return Err(error),
        };
        let items = known.children().ok_or_else(|| "it waits for no children".to_owned());
        let items = items.and_then(|spec| read_items(spec, &record, known)).map(Arc::new);
        if let Ok(items) = &items {
            place.state().items.keep(execution, node, Arc::clone(items));
        }
        Ok(items)
    }

    /// What a node does that is reached and waits for children: it begins to wait, or is over at once.
    pub(super) async fn begin_children(
        &self,
        place: &OpenPlace,
        known: &Known,
        spec: &Children,
    ) -> Result<WaitStep, StoreError> {
        let items = self.items_of(place, known.execution(), known).await?;
        let over = |outcome| WaitStep::End(known.end(EndedBy::Rule, outcome, Vec::new()));
        let items = match items {
            Ok(items) => items,
            Err(error) => return Ok(over(TaskOutcome::Failed { how: AttemptOutcome::Failed, error })),
        };
        let total = items.list.len();
        if total == 0 {
            return Ok(over(TaskOutcome::Completed { patch: None }));
        }
        let tolerated = spec.tolerance.of(u64::try_from(total).unwrap_or(u64::MAX));
        let plan = ChildrenPlan {
            total: i64::try_from(total).unwrap_or(i64::MAX),
            parallel: i64::from(spec.parallel),
            tolerated: i64::try_from(tolerated).unwrap_or(i64::MAX),
            abandons: spec.on_close == ParentClose::Abandon,
        };
        Ok(WaitStep::Begin(known.begin(Some(plan))))
    }
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
    known: &Known,
    items: &Items,
    now: &ChildrenNode,
    budget: &mut Budget,
) -> Result<Vec<NewChild>, String> {
    let spec = known.children().ok_or("it waits for no children")?;
    let (workflow, tasks) = {
        let state = place.state();
        let of_task = known.workflow().item(&spec.workflow);
        match of_task.or_else(|| state.handles.workflows.get(&spec.workflow).map(|workflow| &**workflow)) {
            Some(workflow) if state.forbids(workflow) => {
                let (workflow, tenant) = (&spec.workflow, &place.place.name);
                return Err(format!(
                    "workflow `{workflow}` is for the operator only, and tenant `{tenant}` has a database login of its own"
                ));
            }
            Some(workflow) => key_and_tasks(workflow).map_err(|error| error.to_string())?,
            // Whoever has the code says which version it is, and which tasks it has.
            None => {
                let name = spec.workflow.as_str().into();
                (WorkflowKey { name, fingerprint: Fingerprint::UNKNOWN }, Arc::default())
            }
        }
    };
    let mut starts = Vec::new();
    for item in now.started..now.started + now.room() {
        if budget.is_over() {
            break;
        }
        let of = usize::try_from(item).ok().and_then(|item| items.list.get(item));
        let of =
            of.ok_or_else(|| format!("its list has {} items now, and had {}", items.list.len(), now.total))?;
        let origin = Parent {
            execution_id: parent.execution.into(),
            node: known.id().to_owned(),
            item: item.unsigned_abs(),
            depth: items.depth,
        };
        let input =
            input_of(spec, of, &origin).map_err(|error| format!("the input of item {item}: {error}"))?;
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
        };
        starts.push(NewChild { item, execution: Arc::new(execution) });
    }
    Ok(starts)
}

/// The input of a child as it is stored.
fn input_of(spec: &Children, of: &Value, origin: &Parent) -> Result<String, String> {
    let mut values: BTreeMap<String, Value> = match of {
        Value::Object(values) if spec.list.is_none() => values.clone().into_iter().collect(),
        item => [("item".to_owned(), item.clone()), ("index".to_owned(), origin.item.into())].into(),
    };
    let origin = serde_json::to_value(origin).map_err(|error| error.to_string())?;
    values.insert(PARENT_KEY.to_owned(), origin);
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
    let list = match (&spec.list, &spec.input) {
        (Some(key), _) => match values.get(key) {
            Some(Value::Array(list)) => checked(key, list)?,
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
    Ok(Items { list, depth })
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

/// What becomes of a node of which more children failed than may.
fn failed_children(spec: &Children, now: &ChildrenNode, ended: &[&EndedChild]) -> TaskOutcome {
    let last = ended.iter().rev().find(|child| child.status != ExecutionStatus::Completed);
    let reason = last.map(|child| {
        let (id, status) = (child.execution, child.status);
        match &child.error {
            Some(error) => format!("{id} is {status}: {error}"),
            None => format!("{id} is {status}"),
        }
    });
    let error = match (&spec.list, last.zip(reason)) {
        (None, Some((_, reason))) => format!("child {reason}"),
        (Some(_), Some((child, reason))) => format!(
            "{} of {} items failed, and {} may; item {}: {reason}",
            now.failed, now.total, now.tolerated, child.item
        ),
        (_, None) => format!("{} of {} children failed, and {} may", now.failed, now.total, now.tolerated),
    };
    TaskOutcome::Failed { how: AttemptOutcome::Failed, error }
}
