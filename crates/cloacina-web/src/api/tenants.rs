//! Tenants, and how they do.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cloacina::tenants::{Placement, TenantLimits, TenantMetrics as Figures};

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::input::{Asked, Json, limit_of};
use super::model::Page;
use crate::Problem;
use crate::permit::{Administer, Own, Permit, View, ViewAll};
use crate::routes::{Doc, Routes};

pub(super) fn routes(routes: Routes) -> Routes {
    let routes = routes
        .get(
            "/v1/tenants",
            list,
            Doc::new("listTenants", "List the tenants by their names")
                .query::<TenantsAsked>()
                .answers_page::<TenantView>("A part of the list"),
        )
        .post(
            "/v1/tenants",
            create,
            Doc::new("createTenant", "Make a tenant")
                .description("If the tenant gets a login of its own, the answer has its credentials, which are kept nowhere else.")
                .body::<NewTenant>()
                .answers::<TenantMade>("201", "It is there"),
        )
        .get(
            "/v1/tenants/{tenant}",
            get,
            Doc::new("getTenant", "Say where a tenant is").answers::<TenantView>("200", "The tenant"),
        )
        .delete(
            "/v1/tenants/{tenant}",
            remove,
            Doc::new("removeTenant", "Remove a tenant with everything that it has")
                .query::<RemoveAsked>()
                .answers_nothing("204", "It is gone"),
        )
        .get(
            "/v1/tenants/{tenant}/metrics",
            metrics,
            Doc::new("getMetrics", "Say how a tenant does, in numbers")
                .description("It counts rows, so it is for a look now and then.")
                .answers::<MetricsView>("200", "The numbers"),
        );
    routes
        .post(
            "/v1/tenants/{tenant}/suspend",
            suspend,
            Doc::new("suspendTenant", "Let a tenant work no more until it is activated")
                .answers_nothing("204", "It is suspended"),
        )
        .post(
            "/v1/tenants/{tenant}/activate",
            activate,
            Doc::new("activateTenant", "Let a suspended tenant work again")
                .answers_nothing("204", "It is active"),
        )
        .post(
            "/v1/tenants/{tenant}/rotate",
            rotate,
            Doc::new("rotateTenant", "Give the login of a tenant another name and password")
                .description(
                    "They are kept nowhere else. Those before work for another hour. A tenant without a login of its \
                     own is refused.",
                )
                .answers::<Credentials>("200", "The new ones"),
        )
        .put(
            "/v1/tenants/{tenant}/limits",
            limits,
            Doc::new("setLimits", "Say how much a tenant may use; what is left out is not limited")
                .body::<Limits>()
                .answers_nothing("204", "It counts from now on"),
        )
}

/// Which part of the tenants.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TenantsAsked {
    /// Behind this one: the `next` of the part before.
    after: Option<String>,
    /// At most so many: 100 if nothing is said, 1,000 at most.
    limit: Option<usize>,
}

/// A tenant.
#[derive(Serialize, ToSchema)]
struct TenantView {
    /// Its name.
    name: String,
    /// Where it is: `file`, `schema`, `own_role`, `shared` or `database`. Left out in a listing.
    #[serde(skip_serializing_if = "Option::is_none")]
    placement: Option<&'static str>,
}

async fn list(
    permit: Permit<ViewAll>,
    Asked(asked): Asked<TenantsAsked>,
) -> Result<axum::Json<Page<TenantView>>, Problem> {
    let limit = limit_of(asked.limit)?;
    let names = permit.engine().tenants().await?;
    let behind = names.into_iter().filter(|name| asked.after.as_ref().is_none_or(|after| name > after));
    let items: Vec<_> = behind.take(limit).map(|name| TenantView { name, placement: None }).collect();
    Ok(axum::Json(Page::of(items, limit, |tenant| tenant.name.clone())))
}

async fn get(permit: Permit<View>) -> Result<axum::Json<TenantView>, Problem> {
    let name = permit.tenant().to_owned();
    let placement = permit.engine().placement(&name).await?;
    Ok(axum::Json(TenantView { name, placement: placement.map(|placement| placement.as_str()) }))
}

/// A tenant to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    /// Its name.
    name: String,
    /// Where it is put, if not where the service puts its tenants.
    placement: Option<String>,
}

/// A tenant that was made.
#[derive(Serialize, ToSchema)]
struct TenantMade {
    /// Its name.
    name: String,
    /// Where it was put.
    placement: &'static str,
    /// Its schema, file or database.
    place: String,
    /// The login of its own, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials: Option<Credentials>,
}

/// A login that is told once.
#[derive(Serialize, ToSchema)]
struct Credentials {
    /// The name of the role.
    user: String,
    /// Its password.
    password: String,
}

async fn create(permit: Permit<Administer>, Json(body): Json<NewTenant>) -> Result<Response, Problem> {
    let manager = permit.engine().manager()?;
    let made = match body.placement {
        None => manager.provision(&body.name).await?,
        Some(placement) => {
            let placement = Placement::parse(&placement).ok_or_else(|| {
                let known: Vec<&str> = Placement::ALL.iter().map(|placement| placement.as_str()).collect();
                Problem::bad_request(format!(
                    "there is no such placement; the placements are {}",
                    known.join(", ")
                ))
            })?;
            manager.provision_in(&body.name, placement).await?
        }
    };
    let credentials = credentials_of(&made);
    let made =
        TenantMade { name: body.name, placement: made.placement.as_str(), place: made.place, credentials };
    Ok((StatusCode::CREATED, axum::Json(made)).into_response())
}

#[cfg(feature = "postgres")]
fn credentials_of(made: &cloacina::tenants::Provisioned) -> Option<Credentials> {
    made.credentials.as_ref().map(|credentials| Credentials {
        user: credentials.username.clone(),
        password: credentials.password.clone(),
    })
}

#[cfg(not(feature = "postgres"))]
fn credentials_of(_: &cloacina::tenants::Provisioned) -> Option<Credentials> {
    None
}

/// What protects from removing the wrong one.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RemoveAsked {
    /// The tenant's name once more.
    confirm: Option<String>,
}

async fn remove(permit: Permit<Own>, Asked(asked): Asked<RemoveAsked>) -> Result<StatusCode, Problem> {
    let tenant = permit.tenant();
    if asked.confirm.as_deref() != Some(tenant) {
        let detail =
            format!("to remove the tenant `{tenant}` with everything that it has, add `?confirm={tenant}`");
        return Err(Problem::bad_request(detail));
    }
    match permit.engine().manager()?.remove(tenant).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found(format!("there is no tenant `{tenant}`"))),
    }
}

/// How a tenant does, in numbers.
#[derive(Serialize, ToSchema)]
struct MetricsView {
    /// The executions that are not over and do not only wait.
    active_executions: usize,
    /// The executions that wait for a time or a signal.
    waiting_executions: u64,
    /// The executions that are kept.
    total_executions: u64,
    /// How long the latest 1,000 executions took, on average, in milliseconds.
    avg_execution_ms: f64,
    /// Half of them took no longer.
    p50_execution_ms: f64,
    /// 95 of 100 took no longer.
    p95_execution_ms: f64,
    /// 99 of 100 took no longer.
    p99_execution_ms: f64,
    /// The tasks that are due and wait for a slot, or for a process that has their code.
    queue_depth: u64,
    /// For how long the first of them has been waiting, in milliseconds.
    oldest_queued_ms: Option<f64>,
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

impl From<Figures> for MetricsView {
    fn from(figures: Figures) -> Self {
        Self {
            active_executions: figures.active_executions,
            waiting_executions: figures.waiting_executions,
            total_executions: figures.total_executions,
            avg_execution_ms: millis(figures.avg_execution_time),
            p50_execution_ms: millis(figures.p50_execution_time),
            p95_execution_ms: millis(figures.p95_execution_time),
            p99_execution_ms: millis(figures.p99_execution_time),
            queue_depth: figures.queue_depth,
            oldest_queued_ms: figures.oldest_queued.map(millis),
        }
    }
}

async fn metrics(permit: Permit<View>) -> Result<axum::Json<MetricsView>, Problem> {
    Ok(axum::Json(permit.runner().await?.metrics().await?.into()))
}

async fn suspend(permit: Permit<Own>) -> Result<StatusCode, Problem> {
    permit.engine().manager()?.suspend(permit.tenant()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn activate(permit: Permit<Own>) -> Result<StatusCode, Problem> {
    permit.engine().manager()?.resume(permit.tenant()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(feature = "postgres")]
async fn rotate(permit: Permit<Own>) -> Result<axum::Json<Credentials>, Problem> {
    let made = permit.engine().manager()?.rotate(permit.tenant()).await?;
    Ok(axum::Json(Credentials { user: made.username, password: made.password }))
}

#[cfg(not(feature = "postgres"))]
async fn rotate(permit: Permit<Own>) -> Result<axum::Json<Credentials>, Problem> {
    permit.engine().manager()?;
    Err(Problem::bad_request(format!("the tenant `{}` has no login of its own", permit.tenant())))
}

/// How much a tenant may use. What is left out is not limited.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Limits {
    /// How many of its tasks run at once in one process.
    max_concurrent_tasks: Option<u32>,
    /// How many of its executions may be under way.
    max_queue_length: Option<u32>,
    /// How many of its executions may wait.
    max_waiting: Option<u32>,
    /// The largest input of an execution, in bytes of JSON.
    max_context_bytes: Option<u32>,
    /// How many connections its own login may have open.
    max_connections: Option<u32>,
    /// How long one statement of its own login may take, in milliseconds.
    statement_timeout_ms: Option<u64>,
    /// How long a transaction of its own login may be open, in milliseconds.
    transaction_timeout_ms: Option<u64>,
}

async fn limits(permit: Permit<Own>, Json(body): Json<Limits>) -> Result<StatusCode, Problem> {
    let mut limits = TenantLimits::default();
    limits.max_concurrent_tasks = body.max_concurrent_tasks;
    limits.max_queue_length = body.max_queue_length;
    limits.max_waiting = body.max_waiting;
    limits.max_context_bytes = body.max_context_bytes;
    limits.max_connections = body.max_connections;
    limits.statement_timeout = body.statement_timeout_ms.map(Duration::from_millis);
    limits.transaction_timeout = body.transaction_timeout_ms.map(Duration::from_millis);
    permit.engine().manager()?.set_limits(permit.tenant(), limits).await?;
    Ok(StatusCode::NO_CONTENT)
}
