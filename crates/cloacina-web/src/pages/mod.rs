//! The pages: HTML that the server writes, readable without JavaScript.
//!
//! A page reads what it needs, makes a plain value of it, and renders that. It changes nothing: what a form
//! sends goes to a route of its own, which leads back to a page. All links are relative.

mod assets;
mod audit;
mod bulk;
mod diff;
mod everywhere;
mod execution;
mod executions;
mod fields;
mod graph;
mod inbox;
mod keys;
mod layout;
mod login;
mod outside;
mod overview;
mod parts;
mod runners;
mod schedules;
mod tenants;
mod timeline;
mod waiting;
mod wanted;
mod workflows;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use maud::html;

use self::fields::see;
use self::layout::Frame;
use self::parts::say;
use crate::Problem;
use crate::routes::Routes;
use crate::state::Web;

/// What a page may load, and where it may stand. Nothing comes from elsewhere, nothing runs that is written
/// into a page.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// All pages, and what their forms send.
pub(crate) fn routes(routes: Routes) -> Routes {
    let routes = executions::routes(routes);
    let routes = overview::routes(execution::routes(routes));
    let parts: [fn(Routes) -> Routes; 10] = [
        inbox::routes,
        schedules::routes,
        bulk::routes,
        tenants::routes,
        keys::routes,
        runners::routes,
        workflows::routes,
        everywhere::routes,
        audit::routes,
        outside::routes,
    ];
    parts.into_iter().fold(routes, |routes, add| add(routes))
}

/// Puts on what all pages need.
pub(crate) fn finish(pages: Router<Arc<Web>>, web: &Arc<Web>) -> Router<Arc<Web>> {
    pages.layer(from_fn_with_state(Arc::clone(web), dress))
}

/// Makes a page of an error, and says what a page may do.
async fn dress(State(web): State<Arc<Web>>, frame: Frame, request: Request, next: Next) -> Response {
    let sends = !request.method().is_safe();
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let kept = response.headers().clone();
        let logs_in = web.authorize.keys().is_some() && problem.status() == StatusCode::UNAUTHORIZED;
        response = if logs_in { see(&frame.to("login")) } else { problem_page(&frame, &problem, sends) };
        keep(&kept, response.headers_mut());
    }
    secured(response)
}

/// Says what a page may do.
fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What there is under a path of which there is nothing: a page to people, a problem to programs.
pub(crate) async fn missing(frame: Frame, headers: HeaderMap) -> Response {
    let problem = Problem::not_found("there is nothing under this path");
    let accepts = headers.get(ACCEPT).and_then(|accepts| accepts.to_str().ok()).unwrap_or_default();
    if !accepts.contains("text/html") {
        return problem.into_response();
    }
    secured(problem_page(&frame, &problem, false))
}

/// What an error says besides its body.
fn keep(from: &HeaderMap, to: &mut HeaderMap) {
    for name in ["retry-after", "www-authenticate", "allow"] {
        if let Some(value) = from.get(name) {
            to.insert(name, value.clone());
        }
    }
}

fn problem_page(frame: &Frame, problem: &Problem, sends: bool) -> Response {
    // What a form sends has the page that it belongs to before it in its path.
    let parent = frame.here.split('?').next().unwrap_or_default().rsplit_once('/');
    let back = parent.filter(|_| sends).map(|(parent, _)| frame.to(parent)).unwrap_or_default();
    let title = match problem.status() {
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => "Not for you",
        StatusCode::NOT_FOUND => "Not there",
        StatusCode::SERVICE_UNAVAILABLE => "Not now",
        _ => "Not done",
    };
    let body = html! {
        header { h1 { (title) } }
        section { (say::failed(problem)) }
        section.btns { a.btn href=(frame.to("home")) { "To the overview" } a.btn href=(back) data-back { "Back" } }
    };
    (problem.status(), layout::bare(frame, title, &body)).into_response()
}
