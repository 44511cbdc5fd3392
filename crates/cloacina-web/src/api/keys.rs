//! Keys: who may send requests.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cloacina::keys::KeyRecord;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::input::{Asked, InPath, Json, limit_of};
use super::model::Page;
use crate::permit::{Action, Administer, Manage, Permit};
use crate::routes::{Doc, Routes};
use crate::{ApiKeys, KeyRequest, Problem, Role};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/keys",
            list_all,
            Doc::new("listAllKeys", "List all keys, the operator's and the tenants'")
                .query::<KeysAsked>()
                .answers_page::<KeyView>("A part of the list"),
        )
        .post(
            "/v1/keys",
            make_for_all,
            Doc::new("makeOperatorKey", "Make a key for all tenants")
                .description("The answer has its secret, which is kept nowhere.")
                .body::<KeyBody>()
                .answers::<KeyMade>("201", "It is good from now on"),
        )
        .delete(
            "/v1/keys/{key}",
            end_any,
            Doc::new("endKey", "End any key, with its sessions").answers_nothing("204", "It is no longer good"),
        )
        .get(
            "/v1/tenants/{tenant}/keys",
            list,
            Doc::new("listKeys", "List the keys of a tenant")
                .query::<KeysAsked>()
                .answers_page::<KeyView>("A part of the list"),
        )
        .post(
            "/v1/tenants/{tenant}/keys",
            make,
            Doc::new("makeKey", "Make a key for a tenant")
                .description("Nobody gives a higher role than their own. The answer has the secret, which is kept nowhere.")
                .body::<KeyBody>()
                .answers::<KeyMade>("201", "It is good from now on"),
        )
        .delete(
            "/v1/tenants/{tenant}/keys/{key}",
            end,
            Doc::new("endTenantKey", "End a key of a tenant, with its sessions")
                .answers_nothing("204", "It is no longer good"),
        )
}

/// Which part of the keys.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct KeysAsked {
    /// Behind this one: the `next` of the part before.
    after: Option<String>,
    /// At most so many: 100 if nothing is said, 1,000 at most.
    limit: Option<usize>,
}

/// A key, without its secret.
#[derive(Serialize, ToSchema)]
struct KeyView {
    /// Its id, which is no secret.
    id: String,
    /// By which people know it.
    name: String,
    /// The tenant that it is for; all of them if none is named.
    tenant: Option<String>,
    /// Its role: `viewer`, `operator`, `developer`, `tenant_admin` or `admin`.
    role: String,
    /// Whether it may see payloads.
    payloads: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Who made it.
    created_by: String,
    /// Until when it is good.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was used last, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

impl From<KeyRecord> for KeyView {
    fn from(key: KeyRecord) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name,
            tenant: key.tenant,
            role: key.role,
            payloads: key.payloads,
            created_at: key.created_at,
            created_by: key.created_by,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
        }
    }
}

/// The keys of this service, if it knows its callers by these.
pub(crate) fn keys<A: Action>(permit: &Permit<A>) -> Result<ApiKeys, Problem> {
    permit.keys().ok_or_else(|| {
        Problem::not_found("this service does not know its callers by keys, but by what it is part of")
    })
}

async fn list_all(
    permit: Permit<Administer>,
    Asked(asked): Asked<KeysAsked>,
) -> Result<axum::Json<Page<KeyView>>, Problem> {
    part(&keys(&permit)?, None, asked).await
}

async fn list(
    permit: Permit<Manage>,
    Asked(asked): Asked<KeysAsked>,
) -> Result<axum::Json<Page<KeyView>>, Problem> {
    part(&keys(&permit)?, Some(permit.tenant()), asked).await
}

async fn part(
    keys: &ApiKeys,
    tenant: Option<&str>,
    asked: KeysAsked,
) -> Result<axum::Json<Page<KeyView>>, Problem> {
    let limit = limit_of(asked.limit)?;
    let items: Vec<KeyView> =
        keys.list(tenant, asked.after.as_deref(), limit).await?.into_iter().map(KeyView::from).collect();
    Ok(axum::Json(Page::of(items, limit, |key| key.id.clone())))
}

/// A key to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyBody {
    /// By which people know it.
    pub(crate) name: String,
    /// Its role: `viewer`, `operator`, `developer`, `tenant_admin` or `admin`.
    pub(crate) role: String,
    /// Whether it may see payloads.
    #[serde(default)]
    pub(crate) payloads: bool,
    /// Until when it is good; for ever if nothing is said.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) expires_at: Option<Timestamp>,
}

/// A key that was made.
#[derive(Serialize, ToSchema)]
struct KeyMade {
    #[serde(flatten)]
    key: KeyView,
    /// What its bearer sends. It is told here and nowhere else.
    secret: String,
}

async fn make_for_all(permit: Permit<Administer>, Json(body): Json<KeyBody>) -> Result<Response, Problem> {
    made(issue(&permit, None, body).await?)
}

async fn make(permit: Permit<Manage>, Json(body): Json<KeyBody>) -> Result<Response, Problem> {
    // That there is such a tenant.
    permit.runner().await?;
    made(issue(&permit, Some(permit.tenant()), body).await?)
}

fn made((secret, key): (String, KeyRecord)) -> Result<Response, Problem> {
    Ok((StatusCode::CREATED, axum::Json(KeyMade { key: key.into(), secret })).into_response())
}

/// Makes a key for somebody who may give these rights, and returns its secret with it.
pub(crate) async fn issue<A: Action>(
    permit: &Permit<A>,
    tenant: Option<&str>,
    body: KeyBody,
) -> Result<(String, KeyRecord), Problem> {
    let keys = keys(permit)?;
    let role = Role::parse(&body.role).ok_or_else(|| {
        let known: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
        let shown: String = body.role.chars().take(60).collect();
        Problem::bad_request(format!("`{}` is no role: {}", shown.escape_debug(), known.join(", ")))
    })?;
    if role > permit.role() || (body.payloads && !permit.sees_payloads()) {
        return Err(Problem::forbidden("nobody gives a right that they do not have"));
    }
    let mut wanted = match tenant {
        Some(tenant) => KeyRequest::of(body.name, tenant, role),
        None => KeyRequest::of_all(body.name, role),
    };
    if body.payloads {
        wanted = wanted.with_payloads();
    }
    if let Some(expires_at) = body.expires_at {
        wanted = wanted.expires_at(expires_at);
    }
    Ok(keys.issue(wanted, permit.principal.name()).await?)
}

/// A key in the path.
#[derive(Deserialize)]
struct KeyInPath {
    key: String,
}

async fn end_any(permit: Permit<Administer>, InPath(path): InPath<KeyInPath>) -> Result<StatusCode, Problem> {
    ended(keys(&permit)?.end(None, &path.key).await?)
}

async fn end(permit: Permit<Manage>, InPath(path): InPath<KeyInPath>) -> Result<StatusCode, Problem> {
    ended(keys(&permit)?.end(Some(permit.tenant()), &path.key).await?)
}

fn ended(is_ended: bool) -> Result<StatusCode, Problem> {
    if is_ended { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("there is no such key")) }
}
