//! What a request needs to be let in.
//!
//! Every handler takes a [`Permit`] first: [`Routes`](crate::routes::Routes) takes no other. It says by its
//! type what the handler does, and holds the only way to the tenant's runner.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use cloacina::Runner;
use cloacina::audit::Actor;

use crate::engine::Engine;
use crate::state::Web;
use crate::{ApiKeys, Principal, Problem, Role};

/// The header in which somebody says why, for the audit, in UTF-8.
pub(crate) const REASON: &str = "x-reason";

/// What a handler does.
pub(crate) trait Action: Send + Sync + 'static {
    /// The least role that may do it.
    const ROLE: Role;
    /// Whether it is done to one tenant, the one in the path, or beyond tenants.
    const IN_TENANT: bool;
}

/// Declares actions: a type for each, with the least role.
macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident: $role:ident, $in_tenant:literal;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl Action for $name {
            const ROLE: Role = Role::$role;
            const IN_TENANT: bool = $in_tenant;
        }
    )+};
}

actions! {
    /// Looks at what is in a tenant.
    View: Viewer, true;
    /// Changes the course of what is under way.
    Control: Operator, true;
    /// Brings in something new.
    Submit: Developer, true;
    /// Decides who may do what in a tenant.
    Manage: TenantAdmin, true;
    /// Decides about a tenant as its operator.
    Own: Admin, true;
    /// Looks at all tenants at once.
    ViewAll: Viewer, false;
    /// Changes the course of what is under way in all tenants.
    ControlAll: Operator, false;
    /// Decides about tenants, and who may do what to them.
    Administer: Admin, false;
}

/// That somebody may do this.
pub(crate) struct Permit<A> {
    pub(crate) principal: Arc<Principal>,
    tenant: Option<String>,
    web: Arc<Web>,
    /// What serves the tenants, acting for this somebody if the request changes anything.
    engine: Engine,
    action: PhantomData<fn() -> A>,
}

impl<A: Action> Permit<A> {
    /// Whom the audit is to know, with the reason that they gave.
    fn actor(&self, reason: Option<&str>) -> Actor {
        let actor = Actor::new(self.principal.name()).role(self.role().as_str());
        match reason.map(str::trim).filter(|reason| !reason.is_empty()) {
            Some(reason) => actor.reason(reason),
            None => actor,
        }
    }

    /// The same, for this reason.
    pub(crate) fn because(&self, reason: Option<&str>) -> Engine {
        self.web.engine.acting(self.actor(reason))
    }

    /// The keys of this service, made and ended in this somebody's name.
    pub(crate) fn keys(&self) -> Option<ApiKeys> {
        Some(self.web.authorize.keys()?.acting(self.actor(None)))
    }

    /// The tenant in the path. Empty beyond tenants.
    pub(crate) fn tenant(&self) -> &str {
        self.tenant.as_deref().unwrap_or_default()
    }

    /// The runner of the tenant in the path, whose actions the audit will know this somebody by.
    pub(crate) async fn runner(&self) -> Result<Runner, Problem> {
        Ok(self.engine.runner(self.tenant()).await?)
    }

    /// What serves the tenants.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Everything that requests share.
    pub(crate) fn web(&self) -> &Arc<Web> {
        &self.web
    }

    /// Whether payloads may be shown.
    pub(crate) fn sees_payloads(&self) -> bool {
        self.principal.sees_payloads(self.tenant.as_deref())
    }

    /// Its highest role here.
    pub(crate) fn role(&self) -> Role {
        self.principal.role(self.tenant.as_deref()).unwrap_or(Role::Viewer)
    }

    /// Whether it may also do something else here, so that a page offers it.
    pub(crate) fn may<B: Action>(&self) -> bool {
        let tenant = self.tenant.as_deref().filter(|_| B::IN_TENANT);
        self.principal.role(tenant).is_some_and(|role| role >= B::ROLE)
    }
}

impl<A: Action> FromRequestParts<Arc<Web>> for Permit<A> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Arc<Web>) -> Result<Self, Problem> {
        comes_from_here(&parts.method, &parts.headers)?;
        let principal = web.authorize.who(parts).await?.ok_or_else(Problem::unauthorized)?;
        let tenant = if A::IN_TENANT { Some(tenant_in_path(parts, web).await?) } else { None };
        if principal.role(tenant.as_deref()).is_none_or(|role| role < A::ROLE) {
            let needed = A::ROLE.as_str();
            return Err(Problem::forbidden(match &tenant {
                Some(tenant) => {
                    format!(
                        "{} may not do this in the tenant `{tenant}`: it takes the role {needed} there",
                        principal.name()
                    )
                }
                None => {
                    format!("{} may not do this: it takes the role {needed} in all tenants", principal.name())
                }
            }));
        }
        let (principal, web, engine) = (Arc::new(principal), Arc::clone(web), web.engine.clone());
        let mut permit = Self { principal, tenant, web, engine, action: PhantomData };
        if !parts.method.is_safe() {
            let reason =
                parts.headers.get(REASON).and_then(|reason| std::str::from_utf8(reason.as_bytes()).ok());
            permit.engine = permit.because(reason);
        }
        Ok(permit)
    }
}

/// The tenant that the path names.
async fn tenant_in_path(parts: &mut Parts, web: &Arc<Web>) -> Result<String, Problem> {
    let parameters = RawPathParams::from_request_parts(parts, web).await;
    let tenant = parameters.as_ref().ok().and_then(|parameters| {
        parameters.iter().find(|(name, _)| *name == "tenant").map(|(_, value)| value.to_owned())
    });
    tenant.ok_or_else(|| Problem::bad_request("the path names no tenant"))
}

/// Refuses what the page of another site had a browser send: a cookie goes along with it.
pub(crate) fn comes_from_here(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if method.is_safe() {
        return Ok(());
    }
    // Browsers say it themselves; who is no browser sends neither.
    let is_ours = match (headers.get("sec-fetch-site"), headers.get(ORIGIN)) {
        (Some(site), _) => site == "same-origin" || site == "none",
        (None, Some(origin)) => {
            let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            let host = headers.get(HOST).and_then(|host| host.to_str().ok());
            origin.is_some_and(|(_, authority)| host == Some(authority))
        }
        (None, None) => true,
    };
    if is_ours {
        return Ok(());
    }
    Err(Problem::forbidden("the request was made by a page of another site"))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, Method};

    use super::comes_from_here;

    fn sent(headers: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        comes_from_here(&Method::POST, &map).is_ok()
    }

    #[test]
    fn what_another_site_sends_is_refused() {
        assert!(sent(&[]));
        assert!(sent(&[("sec-fetch-site", "same-origin")]));
        assert!(sent(&[("sec-fetch-site", "none")]));
        assert!(!sent(&[("sec-fetch-site", "cross-site")]));
        assert!(!sent(&[("sec-fetch-site", "same-site")]));
        // The page of a sandbox, or of a file.
        assert!(!sent(&[("origin", "null"), ("host", "engine.example")]));
        assert!(sent(&[("origin", "https://engine.example"), ("host", "engine.example")]));
        assert!(!sent(&[("origin", "https://evil.example"), ("host", "engine.example")]));
        assert!(!sent(&[("origin", "https://engine.example:8443"), ("host", "engine.example")]));
        // What the browser says counts, not what a page could make it send.
        assert!(!sent(&[("sec-fetch-site", "cross-site"), ("origin", "https://a"), ("host", "a")]));
        assert!(
            comes_from_here(&Method::GET, &{
                let mut map = HeaderMap::new();
                map.insert("sec-fetch-site", HeaderValue::from_static("cross-site"));
                map
            })
            .is_ok()
        );
    }
}
