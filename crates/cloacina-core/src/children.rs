//! The children of executions, as users see them.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::context::{Context, Values};
use crate::cursor::Cursor;
use crate::error::{Error, ErrorKind};
use crate::execution::{ExecutionStatus, TaskInfo, TaskState};
use crate::hub::{Hub, OpenPlace, Recording, result_of};
use crate::id::{ExecutionId, TaskIndex};
use crate::json;
use crate::runner::Execution;
use crate::store::{
    ChildList, ChildRecord, ChildrenNode, ChildrenProgress, ExecutionRecord, StoreError, StoreErrorKind,
    TaskRecord,
};
use crate::workflow::{MOST_PARALLEL, Node, RESERVED};

/// How many reruns of reruns are followed to the children of a node.
const LONGEST_CHAIN: usize = 1_000;

/// How many results are read at once.
const PAGE: usize = 100;

/// An item of a list, as a task takes it that runs for each.
///
/// ```
/// use cloacina_core::Item;
///
/// fn square(item: Item<u32>) -> u32 {
///     item.value() * item.value()
/// }
/// assert_eq!(square(Item::for_test(7, 0)), 49);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item<T> {
    item: T,
    index: u64,
}

impl<T> Item<T> {
    /// What a task is given in a unit test.
    #[must_use]
    pub fn for_test(value: T, index: u64) -> Self {
        Self { item: value, index }
    }

    /// The item itself.
    #[must_use]
    pub fn value(&self) -> &T {
        &self.item
    }

    /// The item itself.
    #[must_use]
    pub fn into_value(self) -> T {
        self.item
    }

    /// Its number in the list, from 0.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }
}

/// How far a node is that waits, or waited, for children.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The id of the node.
    pub node: String,
    /// How many children there are to be: the items of a list.
    pub total: u64,
    /// How many of them were started.
    pub started: u64,
    /// How many have completed.
    pub completed: u64,
    /// How many have failed or were cancelled.
    pub failed: u64,
    /// How many may be open at once.
    pub parallel: u64,
    /// How many may fail.
    pub tolerated: u64,
}

impl Progress {
    fn of(ChildrenProgress { name, node }: ChildrenProgress) -> Self {
        let ChildrenNode { total, parallel, tolerated, started, completed, failed, .. } = node;
        let count = |number: i64| number.max(0).unsigned_abs();
        Self {
            node: name,
            total: count(total),
            started: count(started),
            completed: count(completed),
            failed: count(failed),
            parallel: count(parallel),
            tolerated: count(tolerated),
        }
    }

    /// How many are open.
    #[must_use]
    pub fn running(&self) -> u64 {
        self.started.saturating_sub(self.completed + self.failed)
    }

    /// How many are not over.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.total.saturating_sub(self.completed + self.failed)
    }
}

/// A child of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Child {
    /// Its own id.
    pub execution_id: Uuid,
    /// The id of the node that waits for it.
    pub node: String,
    /// Its number among the children of that node, from 0.
    pub item: u64,
    /// Its state.
    pub status: ExecutionStatus,
    position: TaskIndex,
}

impl Child {
    /// Where a list goes on after it.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        let position = self.position.max(0).unsigned_abs();
        Cursor { major: position.into(), minor: i64::try_from(self.item).unwrap_or(i64::MAX) }
    }
}

/// The results of the children of a node, in the order of their items, read by pages.
///
/// Of an item that failed it is the error. Those that are not over are left out; after a node has ended there
/// may be such if it failed.
#[derive(Debug)]
pub struct Results<T> {
    source: Source,
    page: VecDeque<(u64, Result<Value, String>)>,
    of: PhantomData<fn() -> T>,
}

#[derive(Debug)]
enum Source {
    /// What a unit test says.
    Given,
    Read(Reader),
    Refused(Option<Error>),
}

/// Where results are read.
struct Reader {
    hub: Arc<Hub>,
    place: Arc<OpenPlace>,
    parent: ExecutionId,
    name: String,
    /// The node, once it is known, and the last item that was read.
    node: Option<TaskIndex>,
    after: Option<(TaskIndex, i64)>,
    is_over: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("parent", &self.parent)
            .field("node", &self.name)
            .finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> Results<T> {
    fn new(source: Source) -> Self {
        Self { source, page: VecDeque::new(), of: PhantomData }
    }

    /// The next one: the number of its item, and what it came to.
    ///
    /// What a one-task map returns is that of its task; a child workflow comes to its final context.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such node or it has no children, [`ErrorKind::Context`] if a
    /// result is no `T`; what is wrong with the database.
    pub async fn next(&mut self) -> Result<Option<(u64, Result<T, String>)>, Error> {
        if self.page.is_empty() {
            match &mut self.source {
                Source::Given => {}
                Source::Refused(error) => return error.take().map_or(Ok(None), Err),
                Source::Read(reader) => self.page = reader.read().await?,
            }
        }
        let Some((item, result)) = self.page.pop_front() else { return Ok(None) };
        let result = match result {
            Ok(value) => Ok(serde_json::from_value(value).map_err(|error| {
                let problem = json::mismatch(&error);
                Error::new(ErrorKind::Context, format!("the result of item {item} does not fit: {problem}"))
            })?),
            Err(error) => Err(error),
        };
        Ok(Some((item, result)))
    }

    /// All that completed, in the order of their items. For lists that fit into memory.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub async fn completed(mut self) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        while let Some((_, result)) = self.next().await? {
            all.extend(result);
        }
        Ok(all)
    }
}

impl Reader {
    async fn read(&mut self) -> Result<VecDeque<(u64, Result<Value, String>)>, Error> {
        let node = match self.node {
            Some(node) => node,
            None => {
                let node = self.find().await?;
                *self.node.insert(node)
            }
        };
        let mut page = VecDeque::new();
        while page.is_empty() && !self.is_over {
            let (store, place) = (Arc::clone(self.hub.store()), Arc::clone(&self.place.place));
            let list = ChildList { parent: self.parent, node: Some(node), after: self.after, limit: PAGE };
            let children = self.hub.ask(async move { store.children_list(&place, &list).await }).await?;
            self.is_over = children.len() < PAGE;
            self.after = children.last().map(|child| (child.node, child.item)).or(self.after);
            let over: Vec<ChildRecord> =
                children.into_iter().filter(|child| child.status.is_terminal()).collect();
            for (child, record) in self.load(over).await? {
                page.push_back((child.item.max(0).unsigned_abs(), self.result(record)));
            }
        }
        Ok(page)
    }

    /// Finds the node. In a rerun it may have been copied: then its children are those of the execution whose
    /// place it took.
    async fn find(&mut self) -> Result<TaskIndex, Error> {
        let asked = self.parent;
        for _ in 0..LONGEST_CHAIN {
            let (store, place, id) =
                (Arc::clone(self.hub.store()), Arc::clone(&self.place.place), self.parent);
            let looked = async move {
                let nodes = store.children_progress(&place, id).await?;
                Ok((nodes, store.execution_headers(&place, &[id]).await?))
            };
            let (nodes, headers) = self.hub.ask(looked).await?;
            if let Some(progress) = nodes.into_iter().find(|progress| progress.name == self.name) {
                return Ok(progress.node.node);
            }
            let Some(before) = headers.first().and_then(|header| header.rerun_of) else { break };
            self.parent = before;
        }
        if self.had_none(asked).await? {
            self.is_over = true;
            return Ok(TaskIndex::MAX);
        }
        Err(no_children(&self.name, asked, &self.place))
    }

    /// Whether it is a node for children that is over without any: its list was empty.
    async fn had_none(&self, execution: ExecutionId) -> Result<bool, Error> {
        let Some(record) = self.ask(vec![execution]).await?.pop() else { return Ok(false) };
        let workflow = self.place.state().handles.workflows.version(&record.header.workflow).cloned();
        let is_for_children = workflow.is_some_and(|workflow| {
            let mut waits = workflow.nodes().iter().filter_map(Node::wait);
            waits.any(|wait| wait.id == self.name && wait.what.children().is_some())
        });
        let is_over = |task: &TaskRecord| task.name == self.name && task.state == TaskState::Completed;
        Ok(is_for_children && record.tasks.iter().any(is_over))
    }

    async fn load(
        &self,
        children: Vec<ChildRecord>,
    ) -> Result<Vec<(ChildRecord, Result<ExecutionRecord, String>)>, Error> {
        if children.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<ExecutionId> = children.iter().map(|child| child.execution).collect();
        match self.ask(ids).await {
            Ok(mut records) => {
                let mut take = |child: ChildRecord| {
                    let at = records.iter().position(|record| record.header.id == child.execution)?;
                    Some((child, Ok(records.swap_remove(at))))
                };
                Ok(children.into_iter().filter_map(&mut take).collect())
            }
            // Together they are too large, or one of them cannot be read.
            Err(error) if error.kind() == StoreErrorKind::Data => {
                let mut found = Vec::new();
                for child in children {
                    match self.ask(vec![child.execution]).await {
                        Ok(mut records) => found.extend(records.pop().map(|record| (child, Ok(record)))),
                        Err(error) if error.kind() == StoreErrorKind::Data => {
                            found.push((child, Err(error.to_string())));
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(found)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn ask(&self, ids: Vec<ExecutionId>) -> Result<Vec<ExecutionRecord>, StoreError> {
        let (store, place) = (Arc::clone(self.hub.store()), Arc::clone(&self.place.place));
        self.hub.ask(async move { store.execution_load(&place, &ids).await }).await
    }

    /// What a child came to.
    fn result(&self, record: Result<ExecutionRecord, String>) -> Result<Value, String> {
        let record = record?;
        if record.header.status != ExecutionStatus::Completed {
            let error = record.header.error.clone();
            return Err(error.unwrap_or_else(|| format!("it is {}", record.header.status)));
        }
        let workflow = self.place.state().handles.workflows.version(&record.header.workflow).cloned();
        let result = result_of(&record, workflow.as_deref()).map_err(|error| error.to_string())?;
        let values: Arc<Values> = result.final_context.into_values().map_err(|error| error.to_string())?;
        // What is made of a task alone comes to what the task returns.
        if record.header.workflow.name.starts_with(RESERVED) {
            let output = record.tasks.first().and_then(|task| values.get(&task.name));
            return Ok(output.cloned().unwrap_or_default());
        }
        Ok(Value::Object((*values).clone().into_iter().collect()))
    }
}

fn no_children(node: &str, execution: ExecutionId, place: &OpenPlace) -> Error {
    let message = format!(
        "execution {execution} of tenant `{}` has no node `{}` that waits, or waited, for children",
        place.place.name,
        node.escape_debug()
    );
    Error::new(ErrorKind::NotFound, message)
}

impl Execution {
    /// How far its nodes are that wait, or waited, for children: its [maps](crate::workflow::Wait::map), and
    /// its [children](crate::workflow::Wait::child).
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn progress(&self) -> Result<Vec<Progress>, Error> {
        let (hub, place) = self.whereabouts()?;
        let (store, inner, id) = (Arc::clone(hub.store()), Arc::clone(&place.place), self.id());
        let nodes = hub.ask(async move { store.children_progress(&inner, id).await }).await?;
        // Nobody waits for those that a task started.
        Ok(nodes.into_iter().filter(|node| node.node.parallel >= 0).map(Progress::of).collect())
    }

    /// Its children, in the order of nodes and items, the first `limit` after `after`, the
    /// [cursor](Child::cursor) of the last one of the page before.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn children(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Child>, Error> {
        let (hub, place) = self.whereabouts()?;
        let (store, inner, id) = (Arc::clone(hub.store()), Arc::clone(&place.place), self.id());
        let after =
            after.map(|cursor| (TaskIndex::try_from(cursor.major).unwrap_or(TaskIndex::MAX), cursor.minor));
        let list = ChildList { parent: id, node: None, after, limit };
        let asked = async move {
            let children = store.children_list(&inner, &list).await?;
            Ok((children, store.children_progress(&inner, id).await?))
        };
        let (children, nodes) = hub.ask(asked).await?;
        let child = |child: ChildRecord| {
            let node = nodes.iter().find(|node| node.node.node == child.node)?;
            Some(Child {
                execution_id: child.execution.into(),
                node: node.name.clone(),
                item: child.item.max(0).unsigned_abs(),
                status: child.status,
                position: child.node,
            })
        };
        Ok(children.into_iter().filter_map(child).collect())
    }

    /// What the children of a node came to.
    #[must_use]
    pub fn results<T: DeserializeOwned>(&self, node: impl Into<String>) -> Results<T> {
        Results::new(match self.whereabouts() {
            Ok((hub, place)) => Source::Read(reader(hub, place, self.id(), node.into())),
            Err(error) => Source::Refused(Some(error)),
        })
    }

    /// Says how many children of a [map](crate::workflow::Wait::map) may be open at once while it runs: 0 to
    /// 10,000. If fewer than are open, these go on to their ends, and nothing is started before.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] if it is more, [`ErrorKind::WrongState`] if no such node waits for
    /// children.
    pub async fn set_parallel(&self, node: &str, parallel: u32) -> Result<(), Error> {
        if parallel > MOST_PARALLEL {
            let message = format!("{parallel} children at once are more than 10000, the most");
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        let (hub, place) = self.whereabouts()?;
        place.state().check_active()?;
        let (store, inner, id) = (Arc::clone(hub.store()), Arc::clone(&place.place), self.id());
        let (name, now) = (node.to_owned(), hub.clock().database_now());
        let detail = serde_json::json!({ "node": node, "parallel": parallel });
        let audit = self.audit("set_parallel").map(|audit| audit.with_detail(detail));
        let set = async move {
            store.children_parallel(&inner, id, &name, parallel.into(), audit.as_ref(), now).await
        };
        if !hub.ask(set).await? {
            let message = format!(
                "execution {id} of tenant `{}` has no node `{}` that waits for children; `progress()` tells what it has",
                place.place.name,
                node.escape_debug()
            );
            return Err(Error::new(ErrorKind::WrongState, message));
        }
        hub.look_for_children(place);
        Ok(())
    }
}

impl Context {
    /// What the children of a node of this execution came to; in a task that comes after it.
    ///
    /// ```no_run
    /// # use cloacina_core::{Context, TaskError};
    /// async fn sum(context: &mut Context) -> Result<u64, TaskError> {
    ///     let mut sizes = context.results::<u64>("measure");
    ///     let mut all = 0;
    ///     while let Some((_, size)) = sizes.next().await? {
    ///         all += size.unwrap_or_default();
    ///     }
    ///     Ok(all)
    /// }
    /// ```
    #[must_use]
    pub fn results<T: DeserializeOwned>(&self, node: impl Into<String>) -> Results<T> {
        let node = node.into();
        let refused = |message| Source::Refused(Some(Error::new(ErrorKind::WrongState, message)));
        let Some(task) = self.try_task() else {
            return Results::new(refused("results of children are for a running task"));
        };
        if let Some(given) = task.given.get(&node) {
            let page = (0..).zip(given.iter().cloned()).collect();
            return Results { page, ..Results::new(Source::Given) };
        }
        let source = match Recording::of(task).ok().and_then(Recording::whereabouts) {
            Some((hub, place)) => Source::Read(reader(&hub, &place, ExecutionId(task.execution_id()), node)),
            None => {
                refused("nobody runs the task; a unit test says the results with `TaskInfo::with_results`")
            }
        };
        Results::new(source)
    }
}

fn reader(hub: &Arc<Hub>, place: &Arc<OpenPlace>, parent: ExecutionId, name: String) -> Reader {
    let (hub, place) = (Arc::clone(hub), Arc::clone(place));
    Reader { hub, place, parent, name, node: None, after: None, is_over: false }
}

impl TaskInfo {
    /// With what the children of a node came to, for tests.
    ///
    /// # Panics
    ///
    /// If a result has no JSON form.
    #[must_use]
    pub fn with_results<T: Serialize>(
        mut self,
        node: impl Into<String>,
        results: impl IntoIterator<Item = Result<T, String>>,
    ) -> Self {
        let value = |value: T| serde_json::to_value(value).expect("a result has a JSON form");
        let results = results.into_iter().map(|result| result.map(value)).collect();
        self.given.insert(node.into(), results);
        self
    }
}
