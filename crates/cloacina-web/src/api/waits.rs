//! What is waited for, and what ends it.

use axum::http::StatusCode;
use cloacina::{Execution, SignalReceipt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::input::{Asked, ExecutionInPath, InPath, Json, context_of, id_of, limit_of};
use super::model::{Page, WaitView};
use crate::Problem;
use crate::permit::{Control, Permit, Submit, View};
use crate::routes::{Doc, Routes};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/tenants/{tenant}/waits",
            list,
            Doc::new("listWaits", "List what executions wait for")
                .query::<WaitsAsked>()
                .answers_page::<WaitView>("A part of the list, in the order of executions"),
        )
        .post(
            "/v1/tenants/{tenant}/executions/{execution}/signals",
            signal,
            Doc::new("sendSignal", "Send a signal to an execution")
                .description("A signal that no wait is open for is kept until one is reached.")
                .body::<Signalled>()
                .answers::<Receipt>("200", "What became of it"),
        )
        .post(
            "/v1/tenants/{tenant}/signals",
            signal_by_key,
            Doc::new("sendSignalByKey", "Send a signal to the execution of a workflow and an idempotency key")
                .description("With `start` the execution is recorded in the same commit if there is none, which takes the role developer.")
                .body::<SignalledByKey>()
                .answers::<Receipt>("200", "What became of it"),
        )
        .post(
            "/v1/tenants/{tenant}/executions/{execution}/waits/{wait}/wake",
            wake,
            Doc::new("wakeWait", "End the time of an open wait now").answers_nothing("204", "Its time is over"),
        )
        .put(
            "/v1/tenants/{tenant}/executions/{execution}/waits/{wait}/until",
            until,
            Doc::new("moveWait", "Say anew when the time of an open wait is over")
                .body::<Until>()
                .answers_nothing("204", "It counts from now on"),
        )
}

/// Which part of the waits.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WaitsAsked {
    /// Only those that ask a person: the inbox.
    #[serde(default)]
    asking: bool,
    /// Behind this one: the `next` of the part before.
    after: Option<String>,
    /// At most so many: 100 if nothing is said, 1,000 at most.
    limit: Option<usize>,
}

async fn list(
    permit: Permit<View>,
    Asked(asked): Asked<WaitsAsked>,
) -> Result<axum::Json<Page<WaitView>>, Problem> {
    let limit = limit_of(asked.limit)?;
    let after = asked.after.as_deref().map(str::parse).transpose()?;
    let runner = permit.runner().await?;
    let waits = match asked.asking {
        true => runner.inbox(after, limit).await?,
        false => runner.waits(after, limit).await?,
    };
    let next = waits.last().filter(|_| waits.len() == limit).map(|wait| wait.cursor().to_string());
    let payloads = permit.sees_payloads();
    let items = waits.into_iter().map(|wait| WaitView::of(wait, payloads)).collect();
    Ok(axum::Json(Page { items, next }))
}

/// A signal to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Signalled {
    /// Its name.
    #[schema(example = "approved")]
    name: String,
    /// What it brings.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    payload: Value,
    /// What makes it one that is recorded once, however often the request is sent.
    key: Option<String>,
}

/// A signal to an execution that is known by its key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignalledByKey {
    /// The workflow of the execution.
    workflow: String,
    /// The idempotency key that it was submitted with.
    idempotency_key: String,
    /// The name of the signal.
    name: String,
    /// What it brings.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    payload: Value,
    /// What makes it one that is recorded once.
    key: Option<String>,
    /// The input of the execution that is started if there is none.
    #[schema(value_type = Option<Object>)]
    start: Option<Value>,
}

/// What became of a signal.
#[derive(Serialize, ToSchema)]
struct Receipt {
    /// `delivered`, `buffered`, `started`, `repeated` or `already_over`.
    outcome: &'static str,
    /// With `already_over`: the execution that took its place, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_by: Option<Uuid>,
}

impl From<SignalReceipt> for Receipt {
    fn from(receipt: SignalReceipt) -> Self {
        let (outcome, superseded_by) = match receipt {
            SignalReceipt::Delivered => ("delivered", None),
            SignalReceipt::Buffered => ("buffered", None),
            SignalReceipt::Started => ("started", None),
            SignalReceipt::Repeated => ("repeated", None),
            SignalReceipt::AlreadyOver { superseded_by } => ("already_over", superseded_by),
        };
        Self { outcome, superseded_by }
    }
}

async fn signal(
    permit: Permit<Control>,
    InPath(path): InPath<ExecutionInPath>,
    Json(signalled): Json<Signalled>,
) -> Result<axum::Json<Receipt>, Problem> {
    let execution = permit.runner().await?.execution(path.id()?);
    let mut signal = execution.signal(signalled.name, signalled.payload);
    if let Some(key) = signalled.key {
        signal = signal.key(key);
    }
    Ok(axum::Json(signal.send().await?.into()))
}

async fn signal_by_key(
    permit: Permit<Control>,
    Json(signalled): Json<SignalledByKey>,
) -> Result<axum::Json<Receipt>, Problem> {
    if signalled.start.is_some() && !permit.may::<Submit>() {
        return Err(Problem::forbidden("to start an execution takes the role developer"));
    }
    let by_key = permit.runner().await?.by_key(&signalled.workflow, &signalled.idempotency_key);
    let mut signal = match signalled.start {
        None => by_key.signal(signalled.name, signalled.payload),
        Some(input) => by_key.signal_or_start(signalled.name, signalled.payload, context_of(Some(input))?),
    };
    if let Some(key) = signalled.key {
        signal = signal.key(key);
    }
    Ok(axum::Json(signal.send().await?.into()))
}

/// A wait of an execution in the path.
#[derive(Deserialize)]
struct WaitInPath {
    execution: String,
    wait: String,
}

impl WaitInPath {
    async fn execution(&self, permit: &Permit<Control>) -> Result<Execution, Problem> {
        let id = id_of(&self.execution)?;
        Ok(permit.runner().await?.execution(id))
    }
}

async fn wake(permit: Permit<Control>, InPath(path): InPath<WaitInPath>) -> Result<StatusCode, Problem> {
    path.execution(&permit).await?.wake(&path.wait).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A time.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Until {
    /// When its time is over.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
}

async fn until(
    permit: Permit<Control>,
    InPath(path): InPath<WaitInPath>,
    Json(body): Json<Until>,
) -> Result<StatusCode, Problem> {
    path.execution(&permit).await?.wait_until(&path.wait, body.until).await?;
    Ok(StatusCode::NO_CONTENT)
}
