//! Executions: submitted, listed, read and steered.

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use cloacina::rerun::From as RerunFrom;
use cloacina::{ErrorKind, Execution, Input, Runner};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::input::{Asked, ExecutionInPath, FilterAsked, InPath, Json, context_of, id_of, limit_of};
use super::model::{AttemptView, ChildView, ExecutionDetail, ExecutionSummary, Page, ProgressView};
use crate::Problem;
use crate::permit::{Action, Control, Permit, Submit, View};
use crate::routes::{Doc, Routes};

/// How many executions one request submits at most.
const MOST_SUBMITTED: usize = 10_000;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/tenants/{tenant}/executions",
            list,
            Doc::new("listExecutions", "List executions, the newest first")
                .query::<ListAsked>()
                .answers_page::<ExecutionSummary>("A part of the list"),
        )
        .post(
            "/v1/tenants/{tenant}/executions",
            submit,
            Doc::new("submitExecution", "Submit an execution")
                .description(
                    "If this process has no code of that workflow, the execution is recorded by its name, and whoever has \
                     the code runs it. A request that is sent again with the same `Idempotency-Key` submits nothing again.",
                )
                .header("Idempotency-Key", "What makes this request one that is carried out once")
                .header("traceparent", "The W3C trace context to whose trace the execution belongs")
                .body::<Submitted>()
                .answers::<Recorded>("201", "It was recorded"),
        )
        .post(
            "/v1/tenants/{tenant}/executions/many",
            submit_many,
            Doc::new("submitExecutions", "Submit many executions of one workflow")
                .description("They are recorded a thousand at a time. What came of each is told in their order.")
                .header("traceparent", "The W3C trace context to whose trace the executions belong")
                .body::<SubmittedMany>()
                .answers::<RecordedMany>("200", "What came of each"),
        )
        .get(
            "/v1/tenants/{tenant}/executions/{execution}",
            get,
            Doc::new("getExecution", "Read an execution with its tasks, waits and children")
                .answers::<ExecutionDetail>("200", "The execution"),
        )
        .get(
            "/v1/tenants/{tenant}/executions/{execution}/attempts",
            attempts,
            Doc::new("listAttempts", "List every try of every task")
                .query::<AttemptsAsked>()
                .answers_page::<AttemptView>("A part of the list, in the order of tasks and tries"),
        )
        .get(
            "/v1/tenants/{tenant}/executions/{execution}/children",
            children,
            Doc::new("listChildren", "List the children of an execution, in the order of nodes and items")
                .query::<ChildrenAsked>()
                .answers_page::<ChildView>("A part of the list"),
        )
        .get(
            "/v1/tenants/{tenant}/executions/{execution}/progress",
            progress,
            Doc::new("getProgress", "Say how far the maps and children of an execution are")
                .answers::<Vec<ProgressView>>("200", "A line for each node"),
        )
        .post(
            "/v1/tenants/{tenant}/executions/{execution}/cancel",
            cancel,
            Doc::new("cancelExecution", "Cancel an execution").answers_nothing("204", "It is cancelled"),
        )
        .post(
            "/v1/tenants/{tenant}/executions/{execution}/pause",
            pause,
            Doc::new("pauseExecution", "Pause an execution: what runs goes on, nothing more is started")
                .answers_nothing("204", "It is paused"),
        )
        .post(
            "/v1/tenants/{tenant}/executions/{execution}/resume",
            resume,
            Doc::new("resumeExecution", "Resume a paused execution").answers_nothing("204", "It goes on"),
        )
        .post(
            "/v1/tenants/{tenant}/executions/{execution}/rerun",
            rerun,
            Doc::new("rerunExecution", "Run an execution again that is over, as a new one")
                .body::<Rerun>()
                .answers::<Recorded>("201", "The new execution"),
        )
        .put(
            "/v1/tenants/{tenant}/executions/{execution}/nodes/{node}/parallel",
            parallel,
            Doc::new("setParallel", "Say how many children of a map may be open at once")
                .body::<Parallel>()
                .answers_nothing("204", "It counts from now on"),
        )
}

/// Which part of a listing.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListAsked {
    /// In these states, with commas between them: `failed,cancelled`.
    status: Option<String>,
    /// Of this workflow.
    workflow: Option<String>,
    /// With this tag.
    tag: Option<String>,
    /// Whether another execution took their places by a rerun.
    superseded: Option<bool>,
    /// Recorded at this time or later: a time, or how long ago it was, as `1h`.
    since: Option<String>,
    /// Also those of the engine's own workflows: the actions on many executions.
    of_engine: Option<bool>,
    /// Behind this one: the `next` of the part before.
    after: Option<String>,
    /// At most so many: 100 if nothing is said, 1,000 at most.
    limit: Option<usize>,
}

async fn list(
    permit: Permit<View>,
    Asked(asked): Asked<ListAsked>,
) -> Result<axum::Json<Page<ExecutionSummary>>, Problem> {
    let ListAsked { status, workflow, tag, superseded, since, of_engine, after, limit } = asked;
    let filter = FilterAsked { status, workflow, tag, superseded, since, of_engine }.filter()?;
    let (after, limit) = (after.map(|after| id_of(&after)).transpose()?, limit_of(limit)?);
    let executions = permit.runner().await?.list(filter, after, limit).await?;
    let next = executions.last().filter(|_| executions.len() == limit);
    let next = next.map(|last| last.execution_id.to_string());
    let payloads = permit.sees_payloads();
    let items = executions.into_iter().map(|execution| ExecutionSummary::of(execution, payloads)).collect();
    Ok(axum::Json(Page { items, next }))
}

/// An execution to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Submitted {
    /// The name of the workflow.
    #[schema(example = "invoice")]
    workflow: String,
    /// Its input: an object.
    #[schema(value_type = Option<Object>)]
    input: Option<Value>,
    /// Not before this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    start_at: Option<Timestamp>,
    /// Cancelled if it is not over by then.
    #[schema(value_type = Option<String>, format = DateTime)]
    deadline: Option<Timestamp>,
    /// From 0 to 9; the higher, the sooner. 5 if nothing is said.
    priority: Option<u8>,
    /// What it is called besides: at most 10, of at most 64 bytes.
    #[serde(default)]
    tags: Vec<String>,
}

/// An execution that was recorded.
#[derive(Serialize, ToSchema)]
struct Recorded {
    /// Its id.
    id: Uuid,
}

fn recorded(execution: &Execution) -> Response {
    (StatusCode::CREATED, axum::Json(Recorded { id: execution.execution_id })).into_response()
}

async fn submit(
    permit: Permit<Submit>,
    headers: HeaderMap,
    Json(submitted): Json<Submitted>,
) -> Result<Response, Problem> {
    let key = match headers.get("idempotency-key").map(|key| key.to_str()) {
        None => None,
        Some(Ok(key)) if !key.is_empty() => Some(key.to_owned()),
        Some(_) => return Err(Problem::bad_request("the header `Idempotency-Key` is empty or not ASCII")),
    };
    let input = context_of(submitted.input)?;
    let runner = permit.runner().await?;
    let describe = || {
        let mut submission = runner.submit(&submitted.workflow).input(input.clone()).tags(&submitted.tags);
        if let Some(traceparent) = traceparent(&headers) {
            submission = submission.traceparent(traceparent);
        }
        if let Some(key) = &key {
            submission = submission.idempotency_key(key);
        }
        if let Some(start_at) = submitted.start_at {
            submission = submission.start_at(start_at);
        }
        if let Some(deadline) = submitted.deadline {
            submission = submission.deadline(deadline);
        }
        if let Some(priority) = submitted.priority {
            submission = submission.priority(priority);
        }
        submission
    };
    let execution = match describe().send().await {
        // This process does not have the code; another one may.
        Err(error) if error.kind() == ErrorKind::Workflow => describe().by_name().send().await?,
        sent => sent?,
    };
    Ok(recorded(&execution))
}

/// Executions to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SubmittedMany {
    /// The name of the workflow.
    workflow: String,
    /// One for each execution, 10,000 at most.
    items: Vec<SubmittedItem>,
    /// What all of them are called besides.
    #[serde(default)]
    tags: Vec<String>,
}

/// One of them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SubmittedItem {
    /// Its input: an object.
    #[schema(value_type = Option<Object>)]
    input: Option<Value>,
    /// What makes it one that is recorded once, however often the request is sent.
    key: Option<String>,
    /// What it is called besides.
    #[serde(default)]
    tags: Vec<String>,
}

/// What came of many.
#[derive(Serialize, ToSchema)]
struct RecordedMany {
    /// In their order.
    items: Vec<RecordedItem>,
}

/// What came of one.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RecordedItem {
    /// The id of the execution.
    Id(Uuid),
    /// Why it was not recorded.
    Problem(Problem),
}

/// Any proxy may add this header, so nothing is refused for what stands in it.
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    headers.get("traceparent")?.to_str().ok()
}

async fn submit_many(
    permit: Permit<Submit>,
    headers: HeaderMap,
    Json(submitted): Json<SubmittedMany>,
) -> Result<axum::Json<RecordedMany>, Problem> {
    if submitted.items.len() > MOST_SUBMITTED {
        let detail = format!(
            "{} executions are more than {MOST_SUBMITTED}, the most of a request",
            submitted.items.len()
        );
        return Err(Problem::bad_request(detail));
    }
    let mut inputs = Vec::with_capacity(submitted.items.len());
    for item in submitted.items {
        let mut input = Input::new(context_of(item.input)?);
        if let Some(key) = item.key {
            input = input.key(key);
        }
        inputs.push(item.tags.iter().fold(input, |input, tag| input.tag(tag)));
    }
    let runner = permit.runner().await?;
    let describe = |inputs: Vec<Input>| {
        let many = runner.submit_many(&submitted.workflow, inputs);
        let many = submitted.tags.iter().fold(many, |many, tag| many.tag(tag));
        match traceparent(&headers) {
            Some(traceparent) => many.traceparent(traceparent),
            None => many,
        }
    };
    let results = match describe(inputs.clone()).send().await {
        Err(error) if error.kind() == ErrorKind::Workflow => describe(inputs).by_name().send().await?,
        sent => sent?,
    };
    let items = results.into_iter().map(|result| match result {
        Ok(execution) => RecordedItem::Id(execution.execution_id),
        Err(error) => RecordedItem::Problem(error.into()),
    });
    Ok(axum::Json(RecordedMany { items: items.collect() }))
}

/// The execution in the path, and the tenant's runner.
async fn found<A: Action>(
    permit: &Permit<A>,
    path: &ExecutionInPath,
) -> Result<(Runner, Execution), Problem> {
    let id = path.id()?;
    let runner = permit.runner().await?;
    let execution = runner.execution(id);
    Ok((runner, execution))
}

async fn get(
    permit: Permit<View>,
    InPath(path): InPath<ExecutionInPath>,
) -> Result<axum::Json<ExecutionDetail>, Problem> {
    let (runner, execution) = found(&permit, &path).await?;
    let read = runner.get_execution(execution.execution_id).await?;
    let (waits, progress, graph) =
        tokio::try_join!(execution.waits(), execution.progress(), execution.graph())?;
    Ok(axum::Json(ExecutionDetail::of(read, waits, progress, graph.as_ref(), permit.sees_payloads())))
}

/// Which part of the attempts.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AttemptsAsked {
    /// Only those of this task.
    task: Option<String>,
    /// Behind so many: the `next` of the part before.
    after: Option<usize>,
    /// At most so many: 100 if nothing is said, 1,000 at most.
    limit: Option<usize>,
}

async fn attempts(
    permit: Permit<View>,
    InPath(path): InPath<ExecutionInPath>,
    Asked(asked): Asked<AttemptsAsked>,
) -> Result<axum::Json<Page<AttemptView>>, Problem> {
    let (limit, skipped) = (limit_of(asked.limit)?, asked.after.unwrap_or_default());
    let (_, execution) = found(&permit, &path).await?;
    let payloads = permit.sees_payloads();
    let attempts = execution.history().await?;
    let wanted = attempts
        .into_iter()
        .filter(|attempt| asked.task.as_ref().is_none_or(|task| attempt.task_id == *task));
    let items: Vec<_> =
        wanted.skip(skipped).take(limit).map(|attempt| AttemptView::of(attempt, payloads)).collect();
    Ok(axum::Json(Page::of(items, limit, |_| (skipped + limit).to_string())))
}

/// Which part of the children.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ChildrenAsked {
    /// Behind this one: the `next` of the part before.
    after: Option<String>,
    /// At most so many: 100 if nothing is said, 1,000 at most.
    limit: Option<usize>,
}

async fn children(
    permit: Permit<View>,
    InPath(path): InPath<ExecutionInPath>,
    Asked(asked): Asked<ChildrenAsked>,
) -> Result<axum::Json<Page<ChildView>>, Problem> {
    let limit = limit_of(asked.limit)?;
    let (_, execution) = found(&permit, &path).await?;
    let after = asked.after.as_deref().map(str::parse).transpose()?;
    let children = execution.children(after, limit).await?;
    let next = children.last().filter(|_| children.len() == limit).map(|child| child.cursor().to_string());
    let items = children.into_iter().map(ChildView::of).collect();
    Ok(axum::Json(Page { items, next }))
}

async fn progress(
    permit: Permit<View>,
    InPath(path): InPath<ExecutionInPath>,
) -> Result<axum::Json<Vec<ProgressView>>, Problem> {
    let (runner, execution) = found(&permit, &path).await?;
    runner.get_execution_status(execution.execution_id).await?;
    Ok(axum::Json(execution.progress().await?.into_iter().map(ProgressView::of).collect()))
}

async fn cancel(
    permit: Permit<Control>,
    InPath(path): InPath<ExecutionInPath>,
) -> Result<StatusCode, Problem> {
    let (_, execution) = found(&permit, &path).await?;
    execution.cancel().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn pause(
    permit: Permit<Control>,
    InPath(path): InPath<ExecutionInPath>,
) -> Result<StatusCode, Problem> {
    let (_, execution) = found(&permit, &path).await?;
    execution.pause().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn resume(
    permit: Permit<Control>,
    InPath(path): InPath<ExecutionInPath>,
) -> Result<StatusCode, Problem> {
    let (_, execution) = found(&permit, &path).await?;
    execution.resume().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// From where an execution is run again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rerun {
    /// `failed` (what failed, was cancelled or never ran), `start` (all of it), or `task`.
    #[serde(default)]
    from: Whence,
    /// With `task`: its id. It is run again besides what `failed` says.
    task: Option<String>,
    /// The new input in place of the old one.
    #[schema(value_type = Option<Object>)]
    input: Option<Value>,
}

/// From where.
#[derive(Deserialize, ToSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Whence {
    /// What failed, was cancelled or never ran.
    #[default]
    Failed,
    /// A task, besides.
    Task,
    /// All of it.
    Start,
}

impl Whence {
    pub(super) fn from(self, task: Option<&str>) -> Result<RerunFrom<'_>, Problem> {
        match (self, task) {
            (Self::Failed, None) => Ok(RerunFrom::Failed),
            (Self::Start, None) => Ok(RerunFrom::Start),
            (Self::Task, Some(task)) => Ok(RerunFrom::Task(task)),
            (Self::Task, None) => Err(Problem::bad_request("`from` is `task`: say which one as `task`")),
            (_, Some(_)) => Err(Problem::bad_request("`task` goes with `\"from\": \"task\"` only")),
        }
    }
}

async fn rerun(
    permit: Permit<Control>,
    InPath(path): InPath<ExecutionInPath>,
    Json(rerun): Json<Rerun>,
) -> Result<Response, Problem> {
    let from = rerun.from.from(rerun.task.as_deref())?;
    let input = rerun.input.map(|input| context_of(Some(input))).transpose()?;
    if input.is_some() && !permit.may::<Submit>() {
        return Err(Problem::forbidden("an input of one's own takes the role developer"));
    }
    let (_, execution) = found(&permit, &path).await?;
    let mut again = execution.rerun(from);
    if let Some(input) = input {
        again = again.input(input);
    }
    Ok(recorded(&again.send().await?))
}

/// How many at once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Parallel {
    /// From 0 to 10,000.
    parallel: u32,
}

/// A node of an execution in the path.
#[derive(Deserialize)]
struct NodeInPath {
    execution: String,
    node: String,
}

async fn parallel(
    permit: Permit<Control>,
    InPath(path): InPath<NodeInPath>,
    Json(body): Json<Parallel>,
) -> Result<StatusCode, Problem> {
    let execution = permit.runner().await?.execution(id_of(&path.execution)?);
    execution.set_parallel(&path.node, body.parallel).await?;
    Ok(StatusCode::NO_CONTENT)
}
