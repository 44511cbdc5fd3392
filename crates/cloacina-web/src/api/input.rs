//! What requests say, read strictly: a parameter that is not known is refused and named.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use cloacina::{Context, ExecutionFilter, ExecutionStatus};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::Problem;
use crate::time::now;

/// The most that one part of a list has.
pub(crate) const MOST: usize = 1000;

/// How much a part of a list has if nothing is said.
const USUAL: usize = 100;

/// The parameters behind the question mark.
pub(crate) struct Asked<Q>(pub(crate) Q);

impl<S: Send + Sync, Q: DeserializeOwned> FromRequestParts<S> for Asked<Q> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(asked) = Query::from_request_parts(parts, state).await?;
        Ok(Self(asked))
    }
}

/// How long a body may take to come.
const SLOWEST: Duration = Duration::from_secs(30);

/// What is read of a body, unless it takes too long to come: whoever sends it byte by byte keeps a
/// connection, and is not waited for for ever.
pub(crate) async fn in_time<T, E: Into<Problem>>(
    reading: impl Future<Output = Result<T, E>>,
) -> Result<T, Problem> {
    within(SLOWEST, reading).await
}

async fn within<T, E: Into<Problem>>(
    limit: Duration,
    reading: impl Future<Output = Result<T, E>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(limit, reading).await {
        Ok(read) => read.map_err(Into::into),
        Err(_) => {
            let detail = format!("the body did not come within {} seconds", limit.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "Body", detail))
        }
    }
}

/// A body of JSON.
pub(crate) struct Json<B>(pub(crate) B);

impl<S: Send + Sync, B: DeserializeOwned> FromRequest<S> for Json<B> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let axum::Json(body) = in_time(axum::Json::from_request(request, state)).await?;
        Ok(Self(body))
    }
}

/// A body of JSON, or none at all.
pub(crate) struct MaybeJson<B>(pub(crate) B);

impl<S: Send + Sync, B: DeserializeOwned + Default> FromRequest<S> for MaybeJson<B> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let has_none = request.headers().get(axum::http::header::CONTENT_TYPE).is_none();
        if has_none {
            return Ok(Self(B::default()));
        }
        let Json(body) = Json::from_request(request, state).await?;
        Ok(Self(body))
    }
}

/// The parameters in the path, besides the tenant.
pub(crate) struct InPath<P>(pub(crate) P);

impl<S: Send + Sync, P: DeserializeOwned + Send> FromRequestParts<S> for InPath<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(path) = Path::from_request_parts(parts, state).await?;
        Ok(Self(path))
    }
}

/// An execution in the path.
#[derive(Deserialize)]
pub(crate) struct ExecutionInPath {
    execution: String,
}

impl ExecutionInPath {
    pub(crate) fn id(&self) -> Result<Uuid, Problem> {
        id_of(&self.execution)
    }
}

/// The id of an execution.
pub(crate) fn id_of(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(60).collect();
        Problem::bad_request(format!("`{}` is not the id of an execution", shown.escape_debug()))
    })
}

/// A time: a point of it, or how long ago it was, as in `1h` or `2 days`.
pub(crate) fn time_of(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let span: Option<jiff::SignedDuration> = text.parse().ok().or_else(|| {
        text.parse::<jiff::Span>().ok()?.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()
    });
    span.and_then(|span| now.checked_sub(span.abs()).ok()).ok_or_else(|| {
        let shown: String = text.chars().take(60).collect();
        Problem::bad_request(format!(
            "`{}` is no time: write one as `2026-11-29T14:00:00Z`, or how long ago it was, as `90m`, `1h` or `2d`",
            shown.escape_debug()
        ))
    })
}

/// How many are wanted.
pub(crate) fn limit_of(limit: Option<usize>) -> Result<usize, Problem> {
    match limit {
        None => Ok(USUAL),
        Some(limit @ 1..=MOST) => Ok(limit),
        Some(limit) => Err(Problem::bad_request(format!("a limit of {limit} is not between 1 and {MOST}"))),
    }
}

/// A context that was sent as a JSON object.
pub(crate) fn context_of(value: Option<Value>) -> Result<Context, Problem> {
    match value {
        None => Ok(Context::new()),
        Some(value) => Ok(Context::from_value(value).map_err(cloacina::Error::from)?),
    }
}

/// Which executions.
#[derive(Debug, Clone, Default, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FilterAsked {
    /// In these states, with commas between them: `failed,cancelled`.
    pub(crate) status: Option<String>,
    /// Of this workflow.
    pub(crate) workflow: Option<String>,
    /// With this tag.
    pub(crate) tag: Option<String>,
    /// Whether another execution took their places by a rerun.
    pub(crate) superseded: Option<bool>,
    /// Recorded at this time or later: a time, or how long ago it was, as `1h`.
    pub(crate) since: Option<String>,
    /// Also those of the engine's own workflows: the actions on many executions.
    pub(crate) of_engine: Option<bool>,
}

impl FilterAsked {
    pub(crate) fn filter(&self) -> Result<ExecutionFilter, Problem> {
        let mut filter = ExecutionFilter::all();
        let statuses = self.status.as_deref().unwrap_or_default();
        for status in statuses.split(',').map(str::trim).filter(|status| !status.is_empty()) {
            filter = filter.status(status_of(status)?);
        }
        if let Some(workflow) = self.workflow.as_deref().filter(|workflow| !workflow.is_empty()) {
            filter = filter.workflow(workflow);
        }
        if let Some(tag) = self.tag.as_deref().filter(|tag| !tag.is_empty()) {
            filter = filter.tag(tag);
        }
        if let Some(superseded) = self.superseded {
            filter = filter.superseded(superseded);
        }
        if let Some(since) = self.since.as_deref().filter(|since| !since.is_empty()) {
            filter = filter.since(time_of(since, now())?);
        }
        if self.of_engine == Some(true) {
            filter = filter.of_engine();
        }
        Ok(filter)
    }
}

/// The state of an execution by its name.
pub(crate) fn status_of(name: &str) -> Result<ExecutionStatus, Problem> {
    ExecutionStatus::ALL.iter().copied().find(|status| status.as_str().eq_ignore_ascii_case(name)).ok_or_else(
        || {
            let known: Vec<&str> = ExecutionStatus::ALL.iter().map(|status| status.as_str()).collect();
            let shown: String = name.chars().take(60).collect();
            Problem::bad_request(format!(
                "`{}` is no state of an execution: {}",
                shown.escape_debug(),
                known.join(", ")
            ))
        },
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{FilterAsked, limit_of, time_of, within};
    use crate::Problem;

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
        let never = std::future::pending::<Result<(), Problem>>();
        let problem = within(Duration::from_millis(1), never).await.unwrap_err();
        assert_eq!(problem.status().as_u16(), 408);
        within(Duration::from_secs(60), async { Ok::<_, Problem>(()) }).await.unwrap();
    }

    #[test]
    fn a_time_is_a_point_or_how_long_ago_it_was() {
        let now = "2026-11-29T15:00:00Z".parse().unwrap();
        for (text, meant) in [
            ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z"),
            ("1h", "2026-11-29T14:00:00Z"),
            ("90m", "2026-11-29T13:30:00Z"),
            ("2d", "2026-11-27T15:00:00Z"),
            ("PT1H", "2026-11-29T14:00:00Z"),
        ] {
            assert_eq!(time_of(text, now).unwrap().to_string(), meant, "{text}");
        }
        for wrong in ["", "yesterday", "1", "1 h ago please", "99999999999999h"] {
            assert!(time_of(wrong, now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_filter_names_states_that_there_are() {
        let asked = FilterAsked { status: Some("failed, Cancelled,".to_owned()), ..FilterAsked::default() };
        assert_eq!(asked.filter().unwrap().statuses.len(), 2);
        let asked = FilterAsked { status: Some("broken".to_owned()), ..FilterAsked::default() };
        let problem = asked.filter().unwrap_err();
        assert!(problem.detail().contains("`broken` is no state of an execution"), "{}", problem.detail());
    }

    #[test]
    fn limits_have_bounds() {
        assert_eq!(limit_of(None).unwrap(), 100);
        assert_eq!(limit_of(Some(1000)).unwrap(), 1000);
        assert!(limit_of(Some(0)).is_err());
        assert!(limit_of(Some(1001)).is_err());
    }
}
