//! What a caller is told when something goes wrong.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::http::header::{HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use cloacina::{Error, ErrorKind};
use serde_json::json;

/// An answer that is an error: a status, a word to branch on, and a sentence.
///
/// What the engine says of an error is for the log of the operator: it names schemas, files and servers. The
/// caller is told what is its own business.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Problem {
    /// An error of this status.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (status, code, message) = match error.kind() {
            // Says which key of the context is wrong, or how large it may be.
            ErrorKind::Context => return Self::new(StatusCode::BAD_REQUEST, "context", error.to_string()),
            ErrorKind::Configuration => {
                (StatusCode::BAD_REQUEST, "request", "the request cannot be carried out as it is")
            }
            ErrorKind::Workflow => (StatusCode::NOT_FOUND, "no_such_workflow", "there is no such workflow"),
            ErrorKind::NotFound => {
                (StatusCode::NOT_FOUND, "not_found", "there is no such tenant, or it has no such execution")
            }
            ErrorKind::Conflict => (
                StatusCode::CONFLICT,
                "conflict",
                "the idempotency key was used before, with another request",
            ),
            ErrorKind::WrongState => (
                StatusCode::CONFLICT,
                "state",
                "the execution is in a state that does not allow this, or was run again before",
            ),
            ErrorKind::Suspended => {
                (StatusCode::LOCKED, "suspended", "the tenant may not work at the moment")
            }
            ErrorKind::Limit => {
                (StatusCode::TOO_MANY_REQUESTS, "limit", "too many executions are under way; try again later")
            }
            ErrorKind::Unavailable | ErrorKind::ShutDown => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the service cannot do this now; try again later",
            ),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong here; it was noted"),
        };
        if status.is_server_error() {
            tracing::error!(%error, kind = ?error.kind(), "a request failed");
        } else {
            tracing::debug!(%error, kind = ?error.kind(), "a request was refused");
        }
        Self::new(status, code, message)
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        // 413 for one that is too large, 415 for another type, 400 and 422 for what cannot be read.
        Self::new(rejection.status(), "body", rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        // Names the parameter, and what it may be.
        Self::new(rejection.status(), "query", rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(_: PathRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "execution_id", "the id of an execution is a UUID")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let header: Option<(HeaderName, &str)> = match self.status {
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer")),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, "1")),
            _ => None,
        };
        let body = Json(json!({"error": {"code": self.code, "message": self.message}}));
        match header {
            Some(header) => (self.status, [header], body).into_response(),
            None => (self.status, body).into_response(),
        }
    }
}
