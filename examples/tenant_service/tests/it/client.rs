//! Requests over a real connection.

use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use ureq::Agent;

fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into()
}

/// A request with a key, unless that is empty, and a body of JSON.
pub(crate) fn request(method: &str, url: &str, key: &str, body: &str) -> Request<String> {
    let mut request = Request::builder().method(method).uri(url);
    if !key.is_empty() {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    request.body(body.to_owned()).unwrap()
}

/// What a form of a page sends.
pub(crate) fn form(url: &str, fields: &str) -> Request<String> {
    let form = Request::post(url).header("content-type", "application/x-www-form-urlencoded");
    form.body(fields.to_owned()).unwrap()
}

/// The answer, with its body as JSON; null if it is none.
pub(crate) async fn ask(request: Request<String>) -> (StatusCode, HeaderMap, Value) {
    let (status, headers, body) = tokio::task::block_in_place(|| answer(request));
    (status, headers, serde_json::from_str(&body).unwrap_or_default())
}

/// A page, as a browser with this cookie gets it.
pub(crate) async fn page(url: &str, cookie: &str) -> (StatusCode, String) {
    let request = Request::get(url).header("cookie", cookie).header("accept", "text/html");
    let (status, _, body) = tokio::task::block_in_place(|| answer(request.body(String::new()).unwrap()));
    (status, body)
}

/// The answer, for whoever may block.
pub(crate) fn answer(request: Request<String>) -> (StatusCode, HeaderMap, String) {
    let (parts, body) = request.into_parts();
    // A GET has no body.
    let response = match body.is_empty() {
        true => agent().run(Request::from_parts(parts, ())),
        false => agent().run(Request::from_parts(parts, body)),
    };
    let (parts, mut body) = response.unwrap().into_parts();
    (parts.status, parts.headers, body.read_to_string().unwrap())
}
