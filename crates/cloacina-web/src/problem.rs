//! What a caller is told when something goes wrong: RFC 9457.

use axum::extract::rejection::{FormRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use cloacina::{Error, ErrorKind};
use serde::Serialize;
use utoipa::ToSchema;

/// An answer that is an error, as `application/problem+json`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of error it is, to branch on: `NotFound`, `WrongState`, …
    #[schema(example = "WrongState")]
    kind: &'static str,
    /// The same in a few words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened to what, and what to do about it.
    detail: String,
}

impl Problem {
    /// An error of this status and kind.
    pub(crate) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { kind, title, status: status.as_u16(), detail: detail.into() }
    }

    /// A request that cannot be understood.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Request", detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", detail)
    }

    /// The same whatever is asked for, so that it tells nothing of what is there.
    pub(crate) fn unauthorized() -> Self {
        let detail = "nobody is known by what was sent: send a key as `Authorization: Bearer clc_…`";
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", detail)
    }

    /// The same whether the tenant exists or not.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", detail)
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// What happened, and what to do about it.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// The status of an error of the engine, and the name of its kind.
fn status_of(kind: ErrorKind) -> (StatusCode, &'static str) {
    match kind {
        ErrorKind::Configuration => (StatusCode::BAD_REQUEST, "Configuration"),
        ErrorKind::Workflow => (StatusCode::UNPROCESSABLE_ENTITY, "Workflow"),
        ErrorKind::Context => (StatusCode::BAD_REQUEST, "Context"),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, "NotFound"),
        ErrorKind::Conflict => (StatusCode::CONFLICT, "Conflict"),
        ErrorKind::WrongState => (StatusCode::CONFLICT, "WrongState"),
        ErrorKind::Suspended => (StatusCode::LOCKED, "Suspended"),
        ErrorKind::Limit => (StatusCode::TOO_MANY_REQUESTS, "Limit"),
        ErrorKind::ShutDown => (StatusCode::SERVICE_UNAVAILABLE, "ShutDown"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Unavailable"),
        ErrorKind::Place => (StatusCode::INTERNAL_SERVER_ERROR, "Place"),
        ErrorKind::Task => (StatusCode::INTERNAL_SERVER_ERROR, "Task"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "Internal"),
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::told(&error)
    }
}

impl Problem {
    /// What a caller is told of an error.
    pub(crate) fn told(error: &Error) -> Self {
        let (status, kind) = status_of(error.kind());
        // What the engine says of its own troubles names schemas, files and servers: that is for the log.
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::ShutDown => {
                tracing::warn!(%error, kind, "a request has to wait");
                Self::new(status, kind, "the database or the service cannot do this now; try again later")
            }
            ErrorKind::Place | ErrorKind::Internal => {
                tracing::error!(%error, kind, "a request failed");
                Self::new(status, kind, "something is wrong on this side; the service's log says what")
            }
            _ => {
                tracing::debug!(%error, kind, "a request was refused");
                Self::new(status, kind, error.to_string())
            }
        }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), "Body", rejection.body_text())
    }
}

impl From<FormRejection> for Problem {
    fn from(rejection: FormRejection) -> Self {
        Self::new(rejection.status(), "Body", rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        // The pages make a page of it.
        response.extensions_mut().insert(self);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}
