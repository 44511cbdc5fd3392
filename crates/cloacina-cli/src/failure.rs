//! What goes wrong, and what the shell is told of it.

use std::fmt;

use axum::http::StatusCode;
use serde_json::Value;

/// What the exit codes mean, for the help.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  it was done
  1  it failed
  2  the command line cannot be understood, or a question was not answered with yes
  3  there is no such tenant, execution or schedule
  4  you may not do this
  5  the state of things does not allow it
  6  the service or the database cannot be reached; try again later
  7  a limit is reached; try again later
  8  the doctor found something that must not be";

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct Refused {
    code: u8,
    detail: String,
}

impl Refused {
    pub(crate) fn of(status: StatusCode, body: &[u8]) -> Self {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let detail = problem["detail"].as_str().map_or_else(
            || format!("the service answers with {status} and no word why: is that its address?"),
            str::to_owned,
        );
        let code = match status {
            StatusCode::NOT_FOUND => 3,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => 4,
            StatusCode::CONFLICT | StatusCode::LOCKED => 5,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => 6,
            StatusCode::TOO_MANY_REQUESTS => 7,
            _ => 1,
        };
        Self { code, detail }
    }

    /// Nobody answers.
    pub(crate) fn away(detail: String) -> Self {
        Self { code: 6, detail }
    }

    /// A question was not answered with yes.
    pub(crate) fn not_confirmed(detail: String) -> Self {
        Self { code: 2, detail }
    }

    /// Something is not as it has to be.
    pub(crate) fn found(detail: String) -> Self {
        Self { code: 8, detail }
    }

    /// It failed.
    pub(crate) fn failed(detail: String) -> Self {
        Self { code: 1, detail }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Refused {}

/// The exit code of an error.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(refused) = error.downcast_ref::<Refused>() {
        return refused.code;
    }
    match error.downcast_ref::<cloacina::Error>().map(cloacina::Error::kind) {
        Some(cloacina::ErrorKind::NotFound) => 3,
        Some(
            cloacina::ErrorKind::WrongState | cloacina::ErrorKind::Conflict | cloacina::ErrorKind::Suspended,
        ) => 5,
        Some(cloacina::ErrorKind::Unavailable) => 6,
        Some(cloacina::ErrorKind::Limit) => 7,
        _ => 1,
    }
}
