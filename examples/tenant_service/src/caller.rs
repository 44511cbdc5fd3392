//! Who calls.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use cloacina::Runner;
use cloacina::audit::Actor;
use cloacina_web::{Authorize as _, Principal, Role};

use crate::{Problem, Service};

/// Somebody with a role in the tenant that the path names.
///
/// Taken from the head of a request, so the body of a stranger is not even read. Whoever has no role in a
/// tenant is told the same whether there is such a tenant or not.
pub struct Caller {
    principal: Principal,
    tenant: String,
    service: Arc<Service>,
}

impl Caller {
    /// The tenant's name.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Whether the caller may see what the tenant's executions are about.
    #[must_use]
    pub fn sees_payloads(&self) -> bool {
        self.principal.sees_payloads(Some(&self.tenant))
    }

    /// The tenant's runner, for a caller with this role or a higher one. What the caller does with it is in
    /// the audit by the name of the key.
    ///
    /// # Errors
    ///
    /// The role is too low, or the tenant cannot be opened.
    pub async fn runner(&self, least: Role) -> Result<Runner, Problem> {
        let role = self.principal.role(Some(&self.tenant)).filter(|role| *role >= least);
        let Some(role) = role else {
            let message = format!("this takes the role {} in the tenant", least.as_str());
            return Err(Problem::new(StatusCode::FORBIDDEN, "role", message));
        };
        let actor = Actor::new(self.principal.name()).role(role.as_str());
        Ok(self.service.manager.runner(&self.tenant).await?.acting(actor))
    }
}

impl FromRequestParts<Arc<Service>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Problem> {
        // The cookie of the pages is for the pages: the page of another site may have a browser send it.
        let has_key = parts.headers.contains_key(AUTHORIZATION);
        let principal = if has_key { service.keys.who(parts).await? } else { None };
        let Some(principal) = principal else {
            let message = "a key is needed: `Authorization: Bearer clc_…`";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message));
        };
        let parameters = RawPathParams::from_request_parts(parts, service).await;
        let asked = parameters.as_ref().ok().and_then(|parameters| {
            parameters.iter().find(|(name, _)| *name == "tenant_id").map(|(_, value)| value)
        });
        match asked.filter(|tenant| principal.role(Some(tenant)).is_some()) {
            Some(tenant) => Ok(Self { tenant: tenant.to_owned(), principal, service: Arc::clone(service) }),
            None => {
                let message = "the key is not one for this tenant";
                Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", message))
            }
        }
    }
}
