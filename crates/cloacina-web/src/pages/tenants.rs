//! The tenants, and what the operator decides about one.

use std::time::Duration;

#[cfg(feature = "postgres")]
use axum::response::IntoResponse as _;
use axum::response::Response;
use cloacina::tenants::{
    Diagnosis, Placement, TenantLimits, TenantManager, TenantMetrics, TenantState, TenantStatus,
};
use futures_util::future::join_all;
use maud::{Markup, html};

use super::fields::{Fields, see};
use super::layout::{self, Frame, Nav, Page};
use super::overview;
use super::parts::dialog::{self, Dialog, reason};
use super::parts::state::{self, Icon, Look};
use super::parts::table::{column, empty, meter, numbers, table};
use super::parts::{text, url};
use crate::Problem;
use crate::api::duration_of;
use crate::permit::{Action, Administer, Own, Permit, View, ViewAll};
use crate::routes::Routes;

/// How many tenants stand on a page.
const PAGE: usize = 50;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .page("/tenants", list)
        .form("/tenants", make)
        .page("/tenants/{tenant}/settings", settings)
        .form("/tenants/{tenant}/suspend", suspend)
        .form("/tenants/{tenant}/activate", activate)
        .form("/tenants/{tenant}/limits", limits)
        .form("/tenants/{tenant}/rotate", rotate)
        .form("/tenants/{tenant}/remove", remove)
}

/// What manages the tenants, for somebody who gives a reason.
fn manager<A: Action>(permit: &Permit<A>, fields: &Fields) -> Result<TenantManager, Problem> {
    Ok(permit.because(fields.get("reason")).manager()?.clone())
}

async fn list(permit: Permit<ViewAll>, frame: Frame) -> Result<Markup, Problem> {
    let names = permit.engine().tenants().await?;
    let all = names.len();
    let (named, after) = (frame.param("q"), frame.param("after"));
    let is_wanted = |name: &&String| {
        named.is_none_or(|start| name.starts_with(start)) && after.is_none_or(|after| name.as_str() > after)
    };
    let mut shown: Vec<&String> = names.iter().filter(is_wanted).take(PAGE + 1).collect();
    let has_more = shown.len() > PAGE;
    shown.truncate(PAGE);
    let placements = join_all(shown.iter().map(|name| permit.engine().placement(name))).await;
    let may = permit.may::<Administer>() && permit.engine().manager().is_ok();
    let next = shown
        .last()
        .filter(|_| has_more)
        .map(|last| url::query([("q", named.unwrap_or_default()), ("after", last.as_str())]));
    let rows = html! {
        @for (name, placement) in shown.iter().zip(&placements) {
            tr role="row" {
                td.max role="cell" { a.cut href=(frame.to(url::tenant(name))) title=(name) { (name) } }
                td role="cell" {
                    @match placement {
                        Ok(Some(placement)) => (placement),
                        Ok(None) => span.soft { "this service's own" },
                        Err(_) => (Look::new("fail", Icon::Warn, "cannot be read")),
                    }
                }
                td.n role="cell" {
                    span.btns {
                        a.btn href=(frame.to(format!("{}/executions", url::tenant(name)))) { "Executions" }
                        a.btn href=(frame.to(format!("{}/settings", url::tenant(name)))) { "Settings" }
                    }
                }
            }
        }
    };
    let body = html! {
        @if may && frame.asks() == Some("new") { (new_dialog(&frame).show()) }
        header {
            div.head {
                h1 { "Tenants" }
                @if may { div.btns { (dialog::asks("new", "New tenant", "go")) } }
            }
            p.lede { (text::count(all as u64, "tenant", "tenants")) "." }
            form.form method="get" role="search" aria-label="Filter" {
                label.grow { "Name, from its beginning" input id="filter" name="q" value=[named] maxlength="63"; }
                button.btn { "Filter" }
            }
        }
        section {
            @if shown.is_empty() {
                @if all == 0 {
                    (empty("No tenant yet.", &html! { "Make one here, or in the program: " code { "tenants.provision(\"acme\")" } }))
                } @else { (empty("No tenant has such a name.", &html! { a href="?" { "Look at all of them" } })) }
            } @else {
                (table("Tenants", &[column("Tenant"), column("Placement"), numbers("Look at")], &rows))
                nav.pager aria-label="Pages of the list" {
                    span { (shown.len()) " shown, by name" }
                    span.end.btns {
                        @if after.is_some() { a.btn href=(url::query([("q", named.unwrap_or_default())])) { "First" } }
                        @if let Some(next) = &next { a.btn href=(next) rel="next" { "More" } }
                    }
                }
            }
        }
    };
    Ok(layout::page(&permit, &frame, &Page::new("Tenants", Nav::Tenants, &body)))
}

fn new_dialog(frame: &Frame) -> Dialog {
    Dialog::new("Make a tenant?", frame.to("tenants"), "Make the tenant")
        .body(html! { p { "If it gets a database login of its own, its password is shown once, on the next page." } })
        .fields(html! {
            label { "Name" input name="name" required maxlength="63" autocomplete="off"; }
            label { "Placement" select name="placement" {
                option value="" { "where the service puts its tenants" }
                @for placement in Placement::ALL { option value=(placement.as_str()) { (placement) } }
            } }
            (reason())
        })
}

async fn make(permit: Permit<Administer>, frame: Frame, fields: Fields) -> Result<Response, Problem> {
    let name = fields.needed("name")?;
    let manager = manager(&permit, &fields)?;
    let made = match fields.get("placement") {
        None => manager.provision(name).await?,
        Some(placement) => {
            let placement = Placement::parse(placement)
                .ok_or_else(|| Problem::bad_request("there is no such placement: choose one of the list"))?;
            manager.provision_in(name, placement).await?
        }
    };
    #[cfg(feature = "postgres")]
    if let Some(credentials) = &made.credentials {
        return Ok(login(&permit, &frame, name, &credentials.username, &credentials.password).into_response());
    }
    let _place = made.place;
    Ok(see(&frame.to(format!("{}/settings?said=made", url::tenant(name)))))
}

/// A login that is shown once.
#[cfg(feature = "postgres")]
fn login<A: Action>(permit: &Permit<A>, frame: &Frame, tenant: &str, user: &str, password: &str) -> Markup {
    let body = html! {
        header { h1 { "The login of " (tenant) } p.lede { "It is shown once, here. Nobody can see the password again." } }
        section {
            dl.facts {
                dt { "User" } dd.mono { (user) }
                dt { "Password" } dd.mono { (password) }
            }
        }
        section.btns { a.btn href=(frame.to(format!("{}/settings", url::tenant(tenant)))) { "It is kept" } }
    };
    layout::page(permit, frame, &Page::new(format!("Login of {tenant}"), Nav::Tenant, &body))
}

fn standing(status: &TenantStatus) -> Look {
    match status.state {
        TenantState::Active => state::ACTIVE,
        TenantState::Suspended => state::SUSPENDED.word("Suspended"),
        TenantState::Creating => state::PENDING.word("Creating"),
        TenantState::Moving => state::RUNNING.word("Moving"),
        TenantState::Removing | TenantState::Removed => state::CANCELLED.word("Removing"),
        other => state::PENDING.word(other.as_str().to_owned()),
    }
}

async fn settings(permit: Permit<View>, frame: Frame) -> Result<Markup, Problem> {
    let runner = permit.runner().await?;
    let tenant = permit.tenant();
    let status = runner.tenant_status().await?;
    // A question tells what is there now.
    let metrics = match frame.asks() {
        Some(_) => runner.metrics().await?,
        None => overview::figures(&permit.web().kept, &runner).await?,
    };
    let placement = permit.engine().placement(tenant).await?;
    let may = permit.may::<Own>() && permit.engine().manager().is_ok();
    // Nobody can decide anything about a file: any process may open it.
    let is_file = matches!(placement, Some(Placement::File) | None);
    let why = "a file has no limits and cannot be suspended: any process may open it";
    // Only on demand: a file is read as a whole.
    let examines = permit.may::<Own>();
    let diagnosis = match frame.param("doctor") {
        Some(_) if examines => Some(permit.engine().examine(tenant).await?),
        _ => None,
    };
    let ask = if may { question(&frame, tenant, &status, &metrics, is_file) } else { None };
    let body = html! {
        @if let Some(ask) = &ask { (ask.show()) }
        header id="head" data-live {
            p.crumbs { @if permit.principal.role(None).is_some() { a href=(frame.to("tenants")) { "Tenants" } } a href=(frame.to(url::tenant(tenant))) { (tenant) } }
            div.head {
                h1 { (tenant) }
                @if may {
                    div.btns {
                        @if is_file { (dialog::cannot("Limits", why)) (dialog::cannot("Suspend", why)) }
                        @else {
                            (dialog::asks("limits", "Limits", ""))
                            @if status.has_login { (dialog::asks("rotate", "New password", "")) }
                            @if status.state == TenantState::Suspended { (dialog::asks("activate", "Resume", "go")) }
                            @else { (dialog::asks("suspend", "Suspend", "bad")) }
                        }
                        (dialog::asks("remove", "Remove", "bad"))
                    }
                }
            }
            div.bar.sub { (standing(&status).big()) span.end { (layout::live(runner.now())) } }
        }
        @if examines { (doctor(diagnosis.as_ref())) }
        div.two {
            section id="limits" data-live {
                div.bar { h2 { "Limits" } span.soft.small { "the smaller of the tenant's and the runner's counts" } }
                (limits_of(&status.limits, &metrics))
            }
            section id="facts" data-live {
                div.bar { h2 { "Facts" } }
                dl.facts {
                    dt { "Placement" }
                    dd { @match placement { Some(placement) => (placement), None => "this service's own" } }
                    dt { "Login" } dd { @if status.has_login { "of its own" } @else { "none of its own" } }
                    dt { "Kept" } dd { (text::counted(metrics.total_executions)) " executions" }
                    dt { "Not over" } dd { (text::counted(metrics.active_executions as u64)) ", and " (text::counted(metrics.waiting_executions)) " that only wait" }
                    dt { "Took" } dd {
                        "p50 " (text::duration(metrics.p50_execution_time)) ", p95 " (text::duration(metrics.p95_execution_time))
                        ", p99 " (text::duration(metrics.p99_execution_time)) span.soft { " of the latest 1,000" }
                    }
                }
            }
        }
    };
    Ok(layout::page(
        &permit,
        &frame,
        &Page::new(format!("Settings of {tenant}"), Nav::Tenant, &body)
            .live(format!("v1/tenants/{}/events", url::part(tenant))),
    ))
}

/// What a doctor found, or a way to ask one.
fn doctor(diagnosis: Option<&Diagnosis>) -> Markup {
    html! {
        section id="doctor" {
            div.bar {
                h2 { "Doctor" }
                span.end { a.btn href="?doctor=now" { "Look whether the place is as it has to be" } }
            }
            @if let Some(diagnosis) = diagnosis {
                @if diagnosis.findings.is_empty() {
                    (empty("Nothing is wrong.", &html! { "The tables have the version of this program, and nobody gets at them who should not." }))
                } @else {
                    ol.rows {
                        @for finding in &diagnosis.findings {
                            li {
                                span {
                                    @if finding.is_fatal { (Look::new("fail", Icon::Warn, "must not be")) }
                                    @else { (Look::new("mind", Icon::Warn, "should not be")) }
                                }
                                div { p.any { (finding.what) } p.soft.small.any { "To mend it: " (finding.remedy) } }
                            }
                        }
                    }
                }
                @for skipped in &diagnosis.skipped { p.soft.small { "Not looked at: " (skipped) "." } }
            }
        }
    }
}

fn limits_of(limits: &TenantLimits, metrics: &TenantMetrics) -> Markup {
    let most =
        |limit: Option<u32>| limit.map_or("none of its own".to_owned(), |limit| text::number(limit.into()));
    let lasts = |limit: Option<Duration>| limit.map_or("none of its own".to_owned(), text::whole);
    let open = metrics.active_executions as u64;
    let rows: [(&str, String, String, Option<f64>); 7] = [
        ("Tasks at once, one process", String::new(), most(limits.max_concurrent_tasks), None),
        (
            "Executions under way",
            text::counted(open),
            most(limits.max_queue_length),
            limits.max_queue_length.map(|most| open as f64 / f64::from(most.max(1))),
        ),
        ("Executions that wait", String::new(), most(limits.max_waiting), None),
        (
            "Input of an execution",
            String::new(),
            limits.max_context_bytes.map_or("none of its own".to_owned(), |most| text::bytes(most.into())),
            None,
        ),
        ("Connections of its login", String::new(), most(limits.max_connections), None),
        ("A statement of its login", String::new(), lasts(limits.statement_timeout), None),
        ("A transaction of its login", String::new(), lasts(limits.transaction_timeout), None),
    ];
    html! {
        table role="table" {
            caption.vh { "Limits" }
            thead role="rowgroup" {
                tr role="row" {
                    th role="columnheader" scope="col" { "Limit" }
                    th.n role="columnheader" scope="col" { "Now" }
                    th.n role="columnheader" scope="col" { "At most" }
                }
            }
            tbody role="rowgroup" {
                @for (name, now, most, part) in &rows {
                    tr role="row" {
                        td role="cell" { (name) }
                        td.n role="cell" {
                            @if let Some(part) = part { (meter(if *part > 0.9 { "mind" } else { "none" }, *part)) }
                            (now)
                        }
                        td.n role="cell" { (most) }
                    }
                }
            }
        }
    }
}

fn question(
    frame: &Frame,
    tenant: &str,
    status: &TenantStatus,
    metrics: &TenantMetrics,
    is_file: bool,
) -> Option<Dialog> {
    let to = |action: &str| frame.to(format!("{}/{action}", url::tenant(tenant)));
    let open = metrics.active_executions as u64 + metrics.waiting_executions;
    let dialog = match frame.asks()? {
        "suspend" if !is_file => Dialog::new(format!("Suspend {tenant}?"), to("suspend"), "Suspend the tenant")
            .bad("Not now")
            .body(html! {
                p {
                    "Nothing is submitted or claimed until you resume it; within a second its running tasks are cancelled, to be run again. "
                    (text::count(open, "execution waits", "executions wait")) ", nothing is lost. Schedules do not fire."
                }
            })
            .fields(reason()),
        "activate" if !is_file => Dialog::new(format!("Resume {tenant}?"), to("activate"), "Resume the tenant")
            .body(html! { p { "It goes on within a second. Times of schedules that passed meanwhile are skipped." } })
            .fields(reason()),
        "rotate" if status.has_login => Dialog::new(format!("A new password for {tenant}?"), to("rotate"), "Make a new password")
            .body(html! { p { "It is shown once, on the next page. The one before works for another hour." } })
            .fields(reason()),
        "limits" if !is_file => {
            let field = |name: &str, label: &str, value: String| {
                html! { label { (label) input name=(name) value=(value) inputmode="numeric" placeholder="no limit of its own"; } }
            };
            let number = |limit: Option<u32>| limit.map(|limit| limit.to_string()).unwrap_or_default();
            let lasts = |limit: Option<Duration>| limit.map(|limit| format!("{}s", limit.as_secs())).unwrap_or_default();
            Dialog::new(format!("Limits of {tenant}"), to("limits"), "Set the limits").fields(html! {
                (field("max_concurrent_tasks", "Tasks at once, one process", number(status.limits.max_concurrent_tasks)))
                (field("max_queue_length", "Executions under way", number(status.limits.max_queue_length)))
                (field("max_waiting", "Executions that wait", number(status.limits.max_waiting)))
                (field("max_context_bytes", "Input of an execution, in bytes", number(status.limits.max_context_bytes)))
                @if status.has_login {
                    (field("max_connections", "Connections of its login", number(status.limits.max_connections)))
                    (field("statement_timeout", "A statement of its login, as 30s", lasts(status.limits.statement_timeout)))
                    (field("transaction_timeout", "A transaction of its login, as 5m", lasts(status.limits.transaction_timeout)))
                }
                (reason())
            })
        }
        "remove" => Dialog::new(format!("Remove {tenant}?"), to("remove"), "Remove for good")
            .bad("Keep it")
            .body(html! {
                p {
                    (text::counted(metrics.total_executions)) " executions are deleted, "
                    (text::counted(open)) " of them not over, with everything else that is its own. A copy is not kept. This cannot be undone."
                }
            })
            .fields(html! {
                label { "Type the name of the tenant" input name="name" autocomplete="off" required; }
                (reason())
            }),
        _ => return None,
    };
    Some(dialog)
}

fn done(permit: &Permit<Own>, frame: &Frame, said: &str) -> Response {
    see(&frame.to(format!("{}/settings?said={said}", url::tenant(permit.tenant()))))
}

async fn suspend(permit: Permit<Own>, frame: Frame, fields: Fields) -> Result<Response, Problem> {
    manager(&permit, &fields)?.suspend(permit.tenant()).await?;
    Ok(done(&permit, &frame, "suspended"))
}

async fn activate(permit: Permit<Own>, frame: Frame, fields: Fields) -> Result<Response, Problem> {
    manager(&permit, &fields)?.resume(permit.tenant()).await?;
    Ok(done(&permit, &frame, "activated"))
}

async fn limits(permit: Permit<Own>, frame: Frame, fields: Fields) -> Result<Response, Problem> {
    let lasts = |name: &str| fields.get(name).map(duration_of).transpose();
    let mut limits = TenantLimits::default();
    limits.max_concurrent_tasks = fields.number("max_concurrent_tasks")?;
    limits.max_queue_length = fields.number("max_queue_length")?;
    limits.max_waiting = fields.number("max_waiting")?;
    limits.max_context_bytes = fields.number("max_context_bytes")?;
    limits.max_connections = fields.number("max_connections")?;
    limits.statement_timeout = lasts("statement_timeout")?;
    limits.transaction_timeout = lasts("transaction_timeout")?;
    manager(&permit, &fields)?.set_limits(permit.tenant(), limits).await?;
    Ok(done(&permit, &frame, "limits"))
}

#[cfg(feature = "postgres")]
async fn rotate(permit: Permit<Own>, frame: Frame, fields: Fields) -> Result<Response, Problem> {
    let made = manager(&permit, &fields)?.rotate(permit.tenant()).await?;
    Ok(login(&permit, &frame, permit.tenant(), &made.username, &made.password).into_response())
}

#[cfg(not(feature = "postgres"))]
async fn rotate(permit: Permit<Own>, _frame: Frame, fields: Fields) -> Result<Response, Problem> {
    manager(&permit, &fields)?;
    Err(Problem::bad_request(format!("the tenant `{}` has no login of its own", permit.tenant())))
}

async fn remove(permit: Permit<Own>, frame: Frame, fields: Fields) -> Result<Response, Problem> {
    let tenant = permit.tenant();
    if fields.get("name") != Some(tenant) {
        let message = format!("the name that was typed is not `{tenant}`: nothing was removed");
        return Err(Problem::bad_request(message));
    }
    match manager(&permit, &fields)?.remove(tenant).await? {
        true => Ok(see(&frame.to("tenants?said=removed"))),
        false => Err(Problem::not_found(format!("there is no tenant `{tenant}`"))),
    }
}
