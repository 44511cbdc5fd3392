//! Logging in and out of the pages.

use std::sync::Arc;

use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;

use crate::Problem;
use crate::keys::{SESSION, SESSION_LASTS};
use crate::permit::comes_from_here;
use crate::routes::Routes;
use crate::state::Web;

/// What the forms of logging in and out send. The page with the first is drawn where the other pages are.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.open_to_everybody("/login", post(log_in)).open_to_everybody("/logout", post(log_out))
}

#[derive(Deserialize)]
struct Credentials {
    key: String,
}

/// Where the form is, and says that the key was wrong.
const AGAIN: &str = "login?wrong=1";

async fn log_in(
    State(web): State<Arc<Web>>,
    headers: HeaderMap,
    form: Result<Form<Credentials>, FormRejection>,
) -> Result<Response, Problem> {
    comes_from_here(&Method::POST, &headers)?;
    let Form(credentials) = form?;
    let keys = web.authorize.keys().ok_or_else(no_login)?;
    let Some(secret) = keys.log_in(&credentials.key).await? else { return Ok(to(AGAIN, None)) };
    let lasts = SESSION_LASTS.as_secs();
    // Without a path, so that it is for what lies beside this page, wherever the router is mounted.
    let cookie =
        format!("{SESSION}={secret}; Max-Age={lasts}; HttpOnly; SameSite=Strict{}", secure(&headers));
    Ok(to("home", Some(&cookie)))
}

async fn log_out(State(web): State<Arc<Web>>, headers: HeaderMap) -> Result<Response, Problem> {
    comes_from_here(&Method::POST, &headers)?;
    web.authorize.keys().ok_or_else(no_login)?.log_out(&headers).await?;
    let cookie = format!("{SESSION}=; Max-Age=0; HttpOnly; SameSite=Strict{}", secure(&headers));
    Ok(to("login", Some(&cookie)))
}

fn no_login() -> Problem {
    Problem::not_found("nobody logs in here: this service knows its callers by what it is part of")
}

/// The cookie stays on encrypted ways where the browser came by one, as a proxy tells.
fn secure(headers: &HeaderMap) -> &'static str {
    let is_encrypted = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    if is_encrypted { "; Secure" } else { "" }
}

/// Sends the browser to another page.
fn to(page: &'static str, cookie: Option<&str>) -> Response {
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, page)]).into_response();
    if let Some(cookie) = cookie.and_then(|cookie| cookie.parse().ok()) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}
