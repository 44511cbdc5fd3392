//! An execution to be recorded: what can be said about it, and whether it may be.

use std::sync::Arc;

use jiff::Timestamp;

use crate::context::{Context, Values, hash_of};
use crate::error::{Error, ErrorKind};
use crate::execution::TaskInfo;
use crate::id::ExecutionId;
use crate::origin::Origin;
use crate::store::{Idempotency, NewExecution, TaskChild};
use crate::trace;
use crate::workflow::{ParentClose, RESERVED};

/// The priority that an execution has unless it is said.
pub(crate) const DEFAULT_PRIORITY: u8 = 5;

/// How many tags an execution may have, and how many bytes each.
pub(crate) const MAX_TAGS: usize = 10;
const MAX_TAG: usize = 64;

/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 500;

/// An execution to be recorded: by a runner, or in a transaction of the tenant's data.
#[derive(Debug, Clone)]
#[must_use = "nothing is recorded before `send`"]
pub struct Submission<To> {
    to: To,
    described: Described,
}

/// What was said about an execution.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Described {
    pub(crate) workflow: String,
    pub(crate) by_name: bool,
    pub(crate) input: Context,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) start_at: Option<Timestamp>,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) priority: u8,
    pub(crate) tags: Vec<String>,
    /// Who submits it, if somebody acts by name.
    pub(crate) submitted_by: Option<Arc<str>>,
    /// Where it comes from, but for the tags.
    pub(crate) origin: Origin,
    /// Whether the engine submits it: of a workflow of its own, perhaps.
    pub(crate) by_engine: bool,
    /// The task that starts it as a child.
    pub(crate) child: Option<Box<ChildOf>>,
}

/// What was said about an execution that a task starts as a child.
#[derive(Debug, Clone)]
pub(crate) struct ChildOf {
    pub(crate) task: TaskInfo,
    pub(crate) name: String,
    pub(crate) on_close: ParentClose,
    /// Where it is recorded, once that is known.
    pub(crate) link: Option<TaskChild>,
}

/// Where an execution is recorded.
#[doc(hidden)]
pub trait Destination: Sized {
    /// What is known of it then.
    type Recorded;

    /// Records it.
    fn record(self, described: Described) -> impl Future<Output = Result<Self::Recorded, Error>> + Send;

    /// Records many.
    fn record_many(
        self,
        described: Described,
        inputs: impl Iterator<Item = Input> + Send,
    ) -> impl Future<Output = Result<Vec<Result<Self::Recorded, Error>>, Error>> + Send;
}

/// Where executions may be recorded as children of a task.
#[doc(hidden)]
pub trait StartsChildren: Destination {}

/// What one of [many executions](Submissions) is given.
#[derive(Debug, Clone, Default)]
pub struct Input {
    context: Context,
    key: Option<String>,
    tags: Vec<String>,
}

impl Input {
    /// The execution is given this context.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self { context, ..Self::default() }
    }

    /// As [`Submission::idempotency_key`]: with one for each, the whole may be submitted again.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// As [`Submission::tag`], besides those that all of them have.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }
}

impl From<Context> for Input {
    fn from(context: Context) -> Self {
        Self::new(context)
    }
}

impl Described {
    pub(crate) fn new(workflow: impl Into<String>) -> Self {
        Self {
            workflow: workflow.into(),
            by_name: false,
            input: Context::new(),
            idempotency_key: None,
            start_at: None,
            deadline: None,
            priority: DEFAULT_PRIORITY,
            tags: Vec::new(),
            submitted_by: None,
            origin: Origin::default(),
            by_engine: false,
            child: None,
        }
    }

    /// One of many that are described so.
    #[doc(hidden)]
    #[must_use]
    pub fn one(&self, input: Input) -> Self {
        let Input { context, key, tags } = input;
        let tags = self.tags.iter().cloned().chain(tags).collect();
        Self { input: context, idempotency_key: key, tags, ..self.clone() }
    }
}

/// Many executions of one workflow to be recorded: by a runner, or in a transaction of the tenant's data.
#[derive(Debug, Clone)]
#[must_use = "nothing is recorded before `send`"]
pub struct Submissions<To, Inputs> {
    to: To,
    described: Described,
    inputs: Inputs,
}

impl<To, Inputs> Submissions<To, Inputs> {
    #[doc(hidden)]
    pub fn new(to: To, workflow: impl Into<String>, inputs: Inputs) -> Self {
        Self { to, described: Described::new(workflow), inputs }
    }

    /// As [`Submission::by_name`].
    pub fn by_name(mut self) -> Self {
        self.described.by_name = true;
        self
    }

    /// As [`Submission::start_at`].
    pub fn start_at(mut self, start_at: Timestamp) -> Self {
        self.described.start_at = Some(start_at);
        self
    }

    /// As [`Submission::deadline`].
    pub fn deadline(mut self, deadline: Timestamp) -> Self {
        self.described.deadline = Some(deadline);
        self
    }

    /// As [`Submission::priority`].
    pub fn priority(mut self, priority: u8) -> Self {
        self.described.priority = priority;
        self
    }

    /// As [`Submission::traceparent`], for all of them.
    pub fn traceparent(mut self, traceparent: impl AsRef<str>) -> Self {
        self.described.origin.trace = trace::traceparent(traceparent.as_ref());
        self
    }

    /// As [`Submission::tag`], for all of them.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.described.tags.push(tag.into());
        self
    }
}

impl<To, Inputs> Submissions<To, Inputs>
where
    To: Destination,
    Inputs: Iterator<Item: Into<Input>> + Send,
{
    /// Records them, and returns what came of each, in the order of the inputs.
    ///
    /// Submitted to a runner, 1,000 of them, or as many as have 4 MiB, are recorded in one commit; the inputs
    /// are asked for as the commits go on. What cannot be recorded, because of its input or because the
    /// tenant has as many executions as it may, is an error in its place and keeps no other from being
    /// recorded. Their first tasks begin a moment later than those of an execution that is submitted alone.
    /// If the program stops before this returns, some of the commits may have been made: give each input a
    /// [key](Input::key), and the whole can be submitted again.
    ///
    /// Submitted to a transaction, all of them are part of its commit.
    ///
    /// # Errors
    ///
    /// Only what would keep all of them from being recorded: [`ErrorKind::Workflow`] for a workflow that this
    /// process does not have, [`ErrorKind::ShutDown`], [`ErrorKind::Suspended`]. Those of each are those of
    /// [`Submission::send`].
    pub async fn send(self) -> Result<Vec<Result<To::Recorded, Error>>, Error> {
        let Self { to, described, inputs } = self;
        to.record_many(described, inputs.map(Into::into)).await
    }
}

impl<To> Submission<To> {
    #[doc(hidden)]
    pub fn new(to: To, workflow: impl Into<String>) -> Self {
        Self { to, described: Described::new(workflow) }
    }

    pub(crate) fn into_parts(self) -> (To, Described) {
        (self.to, self.described)
    }

    /// Records the execution also if this process does not have the workflow, for one that has: the first
    /// runner that has a workflow of this name makes it an execution of its version.
    ///
    /// Until then it is `Pending` and has no tasks, and whether the name is right cannot be known. If no live
    /// runner has a workflow of this name, the log says so. Where a runner that runs tasks is open on the
    /// place, the execution is paused after [`orphan_grace`](crate::RunnerConfig::orphan_grace), and resumed
    /// when such a workflow comes; elsewhere it waits. A process that has the workflow submits as without
    /// this.
    pub fn by_name(mut self) -> Self {
        self.described.by_name = true;
        self
    }

    /// The context that the first tasks are given. Defaults to an empty one.
    pub fn input(mut self, input: Context) -> Self {
        self.described.input = input;
        self
    }

    /// Records the execution only if this tenant has none of this workflow under the same key; otherwise
    /// `send` returns that one, or [`ErrorKind::Conflict`] if its input was another. The order of fields does
    /// not matter; `1` and `1.0` are two inputs.
    ///
    /// A key lives as long as its execution is kept: see [`retention`](crate::RunnerConfig::retention). At
    /// most 500 bytes; keys that begin with `cloacina/` are the engine's.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.described.idempotency_key = Some(key.into());
        self
    }

    /// Starts the execution not before this time. If that is not before its [deadline](Self::deadline), it
    /// never starts.
    pub fn start_at(mut self, start_at: Timestamp) -> Self {
        self.described.start_at = Some(start_at);
        self
    }

    /// Cancels the execution if it is not over by this time. If that has passed when it is submitted, it is
    /// recorded and cancelled without a task having run.
    pub fn deadline(mut self, deadline: Timestamp) -> Self {
        self.described.deadline = Some(deadline);
        self
    }

    /// From 0 to 9; when tasks have to wait for a slot, those of a higher priority go first. Defaults to 5.
    pub fn priority(mut self, priority: u8) -> Self {
        self.described.priority = priority;
        self
    }

    /// Has the attempts of the execution belong to the trace of this W3C trace context, as it stands in the
    /// header `traceparent` of a request. It is stored with the execution, and shown by
    /// [`ExecutionResult::traceparent`](crate::execution::ExecutionResult::traceparent). What is no such
    /// context is left out, as that standard asks.
    ///
    /// With the feature `opentelemetry` it is that of the span in which the execution is submitted, unless it
    /// is said.
    pub fn traceparent(mut self, traceparent: impl AsRef<str>) -> Self {
        self.described.origin.trace = trace::traceparent(traceparent.as_ref());
        self
    }

    /// Gives the execution a tag, to find it by: see
    /// [`ExecutionFilter::tag`](crate::store::ExecutionFilter::tag). At most 10, of 1 to 64 bytes without
    /// control characters; the same twice is one. Each costs an index entry when the execution is recorded,
    /// and one when it is deleted.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.described.tags.push(tag.into());
        self
    }

    /// Several [tags](Self::tag).
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.described.tags.extend(tags.into_iter().map(Into::into));
        self
    }
}

impl<To: StartsChildren> Submission<To> {
    /// Makes it a child of the execution whose task this is, by this name: a task that is tried again finds
    /// the child that it has started, instead of starting another one. At most 200 bytes.
    ///
    /// Nobody waits for it. It is cancelled when its parent ends before it, however that ends, unless
    /// [`on_close`](Self::on_close) says otherwise. It has the priority, the tags and the deadline of its
    /// parent, if it is not given others; a deadline is never later than the parent's. It is listed with the
    /// [children](crate::Execution::children) of its parent, and deleted with it.
    ///
    /// A task may start 10,000 children, and there are 16 generations at most: `send` gives
    /// [`ErrorKind::Limit`] for more. One that was started under this name for another input is
    /// [`ErrorKind::Conflict`].
    pub fn child_of(mut self, task: &TaskInfo, name: impl Into<String>) -> Self {
        let (task, name, on_close) = (task.clone(), name.into(), ParentClose::default());
        self.described.child = Some(Box::new(ChildOf { task, name, on_close, link: None }));
        self
    }

    /// What becomes of a [child](Self::child_of) whose parent ends before it. With
    /// [`ParentClose::Abandon`] it is an execution like any other, in all lists, which only knows its parent.
    pub fn on_close(mut self, on_close: ParentClose) -> Self {
        if let Some(child) = &mut self.described.child {
            child.on_close = on_close;
        }
        self
    }
}

impl<To: Destination> Submission<To> {
    /// Records the execution.
    ///
    /// Submitted to a runner, it survives a crash when this returns, and a handle on it is returned.
    /// Submitted to a transaction, it exists exactly if the transaction is committed, and its id is returned.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Workflow`] for a workflow that this process does not have, unless it is submitted
    /// [by name](Self::by_name), [`ErrorKind::Context`] for an input that cannot be
    /// stored, [`ErrorKind::Configuration`] for a priority above 9 or an unusable key,
    /// [`ErrorKind::Conflict`] as said at [`idempotency_key`](Self::idempotency_key), [`ErrorKind::Limit`] if
    /// there are as many executions as may be, [`ErrorKind::Suspended`] if the tenant may not work, and what
    /// is wrong with the database.
    pub async fn send(self) -> Result<To::Recorded, Error> {
        self.to.record(self.described).await
    }
}

/// The tags of an execution, if they may be.
pub(crate) fn checked_tags(mut tags: Vec<String>) -> Result<Vec<String>, Error> {
    let refuse = |message: String| Err(Error::new(ErrorKind::Configuration, message));
    tags.sort_unstable();
    tags.dedup();
    if tags.len() > MAX_TAGS {
        return refuse(format!("the execution has {} tags, more than {MAX_TAGS}: use fewer", tags.len()));
    }
    for tag in &tags {
        let reason = match tag {
            tag if tag.is_empty() => "is empty",
            tag if tag.len() > MAX_TAG => "is longer than 64 bytes",
            tag if tag.contains(char::is_control) => "contains a control character",
            _ => continue,
        };
        let shown: String = tag.chars().take(MAX_TAG).collect();
        return refuse(format!("the tag `{}` {reason}", shown.escape_debug()));
    }
    Ok(tags)
}

/// A key that was given, with the hash of the input.
pub(crate) fn idempotency(key: String, input: &Values) -> Result<Idempotency, Error> {
    let refuse =
        |reason: &str| Err(Error::new(ErrorKind::Configuration, format!("the idempotency key {reason}")));
    if key.is_empty() {
        return refuse("is empty");
    }
    if key.len() > MAX_KEY {
        return refuse("is longer than 500 bytes: use a hash of it");
    }
    if key.starts_with(RESERVED) {
        return refuse("begins with `cloacina/`, as only keys of the engine do: begin it otherwise");
    }
    if key.contains('\0') {
        return refuse("contains the character \\u0000, which cannot be stored");
    }
    Ok(Idempotency { key, input_hash: hash_of(input) })
}

/// The execution that was recorded under the idempotency key of this one before, with the hash of its input;
/// if it is the same.
pub(crate) fn same(
    tenant: &str,
    execution: &NewExecution,
    (id, input_hash): (ExecutionId, i64),
) -> Result<ExecutionId, Error> {
    match &execution.idempotency {
        Some(idempotency) if idempotency.input_hash != input_hash => {
            let message = format!(
                "the idempotency key `{}` was used before in tenant `{tenant}` for workflow `{}` with another input (execution {id}): \
                 use another key for another input",
                idempotency.key.escape_debug(),
                execution.workflow.name
            );
            Err(Error::new(ErrorKind::Conflict, message))
        }
        _ => Ok(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_few_short_and_readable() {
        let tags = |tags: &[&str]| checked_tags(tags.iter().map(|tag| (*tag).to_owned()).collect());
        assert_eq!(tags(&["b", "a", "b"]).unwrap(), ["a", "b"]);
        let ten: Vec<String> = (0..10).map(|n| n.to_string().repeat(64)).collect();
        assert_eq!(checked_tags(ten.clone()).unwrap().len(), 10);
        let eleven = ten.into_iter().chain(["x".to_owned()]).collect();
        let refused = |tags: Result<Vec<String>, Error>| tags.unwrap_err().to_string();
        assert_eq!(refused(checked_tags(eleven)), "the execution has 11 tags, more than 10: use fewer");
        assert_eq!(refused(tags(&[""])), "the tag `` is empty");
        assert_eq!(refused(tags(&["a\n"])), "the tag `a\\n` contains a control character");
        assert!(refused(tags(&[&"ü".repeat(33)])).ends_with("is longer than 64 bytes"));
    }
}
