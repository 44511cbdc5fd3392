//! Who sends a request.

use async_trait::async_trait;
use axum::http::request::Parts;

use crate::{ApiKeys, Principal};

/// Says who sends a request. A service with logins of its own says it by these; [`ApiKeys`] does by
/// keys that it keeps in the engine's database.
///
/// Only the head of a request is looked at, so the body of a stranger is not even read. Nothing else about a
/// request is trusted: what the principal may do decides every route by itself.
///
/// ```
/// use axum::http::request::Parts;
/// use cloacina_web::{Authorize, Principal, Role};
///
/// /// Everybody who comes through the company's proxy, which sets this header, may look.
/// struct Proxy;
///
/// #[async_trait::async_trait]
/// impl Authorize for Proxy {
///     async fn who(&self, request: &Parts) -> Result<Option<Principal>, cloacina::Error> {
///         let user = request.headers.get("x-user").and_then(|user| user.to_str().ok());
///         Ok(user.map(|user| Principal::new(user).of_all(Role::Viewer)))
///     }
/// }
/// ```
#[async_trait]
pub trait Authorize: Send + Sync + 'static {
    /// Who it is; `None` for nobody that is known.
    ///
    /// # Errors
    ///
    /// What keeps it from knowing, such as a database that is away. The request is refused.
    async fn who(&self, request: &Parts) -> Result<Option<Principal>, cloacina::Error>;

    /// The keys by which it knows who it is, if it does so. Then people log in with one on the page `/login`,
    /// and keys are made and ended over this interface; otherwise there is nothing of that.
    fn keys(&self) -> Option<&ApiKeys> {
        None
    }
}

#[async_trait]
impl Authorize for ApiKeys {
    async fn who(&self, request: &Parts) -> Result<Option<Principal>, cloacina::Error> {
        ApiKeys::who(self, &request.headers).await
    }

    fn keys(&self) -> Option<&ApiKeys> {
        Some(self)
    }
}
