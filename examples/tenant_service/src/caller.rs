//! Who calls.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use cloacina::Runner;

use crate::{Problem, Service};

/// The tenant in the path, whose token the caller has shown, and its runner.
///
/// Taken from the head of a request, so the body of a stranger is not even read. A caller with the token of
/// another tenant is told the same whether there is such a tenant or not.
pub struct Caller {
    tenant: String,
    runner: Runner,
}

impl Caller {
    /// The tenant's name.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The tenant's runner.
    #[must_use]
    pub fn runner(&self) -> &Runner {
        &self.runner
    }
}

impl FromRequestParts<Arc<Service>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Problem> {
        let tenant = bearer(&parts.headers).and_then(|token| service.tokens.tenant_of(token));
        let Some(tenant) = tenant else {
            let message = "a token is needed: `Authorization: Bearer …`";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message));
        };
        let parameters = RawPathParams::from_request_parts(parts, service).await;
        let asked = parameters.as_ref().ok().and_then(|parameters| {
            parameters.iter().find(|(name, _)| *name == "tenant_id").map(|(_, value)| value)
        });
        if asked != Some(tenant) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                "the token is not one for this tenant",
            ));
        }
        let runner = service.manager.runner(tenant).await?;
        Ok(Self { tenant: tenant.to_owned(), runner })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
