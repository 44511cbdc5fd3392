//! See and steer the executions of a Cloacina engine: HTTP with OpenAPI, and web pages.
//!
//! [`router`] is mounted under any path of an axum service. Who may do what says an [`Authorize`].
//!
//! ```no_run
//! # async fn serve(tenants: cloacina::tenants::TenantManager) -> std::io::Result<()> {
//! use axum::Router;
//! use cloacina_web::{Principal, Role};
//! # struct Logins;
//! # #[async_trait::async_trait]
//! # impl cloacina_web::Authorize for Logins {
//! #     async fn who(&self, _: &axum::http::request::Parts) -> Result<Option<Principal>, cloacina::Error> {
//! #         Ok(Some(Principal::new("ines").of_all(Role::Viewer)))
//! #     }
//! # }
//!
//! // `Logins` is your service's own.
//! let service: Router = Router::new().nest("/engine", cloacina_web::router(tenants, Logins));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! axum::serve(listener, service).await
//! # }
//! ```

mod api;
mod authorize;
mod bulk;
mod engine;
mod kept;
mod keys;
mod overview;
mod pages;
mod permit;
mod principal;
mod problem;
#[cfg(feature = "prometheus")]
mod prometheus;
mod routes;
mod session;
mod state;
mod tail;
mod time;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;

pub use authorize::Authorize;
pub use engine::Engine;
pub use keys::{ApiKeys, KeyRequest};
pub use principal::{Principal, Role};
pub use problem::Problem;
#[cfg(feature = "prometheus")]
pub use prometheus::Prometheus;
pub use routes::Route;

use kept::Kept;
use routes::Routes;
use state::Web;
use tail::Tails;

/// How large the body of a request may be, in bytes. What the engine takes is limited by itself.
const MOST_BODY: usize = 8 << 20;

/// The HTTP interface under `/v1`, and the pages beside it.
///
/// All links are relative, so the router works under any path of another one
/// ([`nest`](axum::Router::nest)).
pub fn router(engine: impl Into<Engine>, authorize: impl Authorize) -> Router {
    let web = Arc::new(Web {
        engine: engine.into(),
        authorize: Box::new(authorize),
        tails: Arc::new(Tails::new()),
        kept: Kept::default(),
    });
    let (api, ..) = api::routes(Routes::new()).finish();
    let (pages, ..) = session::routes(pages::routes(Routes::new())).finish();
    api.merge(pages::finish(pages, &web))
        .fallback(pages::missing)
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "Request", "this path is not used with this method")
        })
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .with_state(web)
}

/// All routes, each with the role that it takes.
#[must_use]
pub fn routes() -> Vec<Route> {
    pages::routes(api::routes(Routes::new())).finish().1
}

/// The OpenAPI document of the HTTP interface.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (.., mut document) = api::routes(Routes::new()).finish();
    document.info.title = "Cloacina".to_owned();
    document.info.version = "1".to_owned();
    document
}

#[cfg(all(doctest, feature = "sqlite"))]
mod guides {
    #[doc = include_str!("../../../docs/guides/serve.md")]
    struct Serve;
    #[doc = include_str!("../../../docs/guides/roles.md")]
    struct Roles;
}
