//! All tenants at once.

use cloacina::tenants::TenantMetrics;
use cloacina::{ExecutionFilter, ExecutionResult, ExecutionStatus, Timestamp, Waiting};
use futures_util::future::join_all;
use maud::{Markup, html};

use super::clock::now;
use super::layout::{self, Frame, Nav, Page};
use super::parts::state::{self, Icon, Look};
use super::parts::table::{column, empty, numbers, table};
use super::parts::{text, url};
use super::waiting;
use crate::Problem;
use crate::permit::{Permit, ViewAll};
use crate::routes::Routes;

/// Up to how many tenants each of them is looked at: that opens it.
const LOOKED_AT: usize = 25;
/// How many tenants are named beyond that.
const NAMED: usize = 50;
/// How many failures and questions of a tenant are counted.
const COUNTED: usize = 100;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.page("/overview", overview)
}

/// A tenant as it is shown.
struct Tenant {
    name: String,
    metrics: TenantMetrics,
    failed: Vec<ExecutionResult>,
    asks: Vec<Waiting>,
}

async fn read(permit: &Permit<ViewAll>, name: &str) -> Result<Tenant, cloacina::Error> {
    let runner = permit.engine().runner(name).await?;
    let failed = ExecutionFilter::all().status(ExecutionStatus::Failed).superseded(false);
    let (metrics, failed, asks) = futures_util::try_join!(
        runner.metrics(),
        runner.list(failed, None, COUNTED),
        runner.inbox(None, COUNTED)
    )?;
    Ok(Tenant { name: name.to_owned(), metrics, failed, asks })
}

async fn overview(permit: Permit<ViewAll>, frame: Frame) -> Result<Markup, Problem> {
    let names = permit.engine().tenants().await?;
    let (now, all) = (now(), names.len());
    let looked_at: &[String] = if all <= LOOKED_AT { &names } else { &[] };
    let read = join_all(looked_at.iter().map(async |name| (name, read(&permit, name).await))).await;
    let (mut tenants, mut unreadable) = (Vec::new(), Vec::new());
    for (name, read) in read {
        match read {
            Ok(tenant) => tenants.push(tenant),
            Err(error) => unreadable.push((name, Problem::from(error))),
        }
    }
    let sees = permit.sees_payloads();
    let open: u64 = tenants
        .iter()
        .map(|tenant| tenant.metrics.active_executions as u64 + tenant.metrics.waiting_executions)
        .sum();
    let needy = tenants.iter().filter(|tenant| !tenant.failed.is_empty() || !tenant.asks.is_empty()).count();
    let body = html! {
        header id="head" data-live {
            div.head { h1 { "Overview" } (layout::live(now)) }
            p.lede {
                (text::count(all as u64, "tenant", "tenants"))
                @if all <= LOOKED_AT {
                    "; " (text::count(open, "execution", "executions")) " not over"
                    @if needy > 0 { "; " (text::count(needy as u64, "tenant has", "tenants have")) " something to look at" }
                }
                "."
            }
        }
        @if all > LOOKED_AT { (named(&frame, &names)) }
        @else if all == 0 {
            section { (empty("No tenant yet.", &html! { "Make one on the page of " a href=(frame.to("tenants")) { "tenants" } "." })) }
        } @else {
            (needs(&frame, &tenants, &unreadable, sees, now))
            section id="tenants" data-live {
                div.bar { h2 { "Tenants" } span.end.small { a href=(frame.to("tenants")) { "All" } } }
                (table(
                    "Tenants",
                    &[column("Tenant"), numbers("Under way"), numbers("Wait"), numbers("Ready"), numbers("Failed"), numbers("Asked")],
                    &html! { @for tenant in &tenants { (row(&frame, tenant)) } },
                ))
            }
        }
    };
    let page = Page::new("Overview", Nav::Overview, &body);
    // One stream tells of one tenant.
    let page = match looked_at {
        [only] => page.live(format!("v1/tenants/{}/events", url::part(only))),
        _ => page,
    };
    Ok(layout::page(&permit, &frame, &page))
}

fn needs(
    frame: &Frame,
    tenants: &[Tenant],
    unreadable: &[(&String, Problem)],
    sees: bool,
    now: Timestamp,
) -> Markup {
    let is_needed = tenants.iter().any(|tenant| !tenant.failed.is_empty() || !tenant.asks.is_empty());
    html! {
        section id="needs" data-live {
            div.bar { h2 { "Needs attention" } @if is_needed { span.soft.small { "worst first" } } }
            @if !is_needed && unreadable.is_empty() {
                (empty("Nothing needs anybody.", &html! { "No execution failed without a rerun, and nobody is asked anything." }))
            } @else {
                ol.rows {
                    @for (name, problem) in unreadable {
                        li {
                            span { (Look::new("fail", Icon::Warn, "Cannot be read")) }
                            div { p { a href=(frame.to(url::tenant(name))) { (name) } } p.soft.any { (problem.detail()) } }
                            div.do {}
                        }
                    }
                    @for tenant in tenants.iter().filter(|tenant| !tenant.failed.is_empty()) { (failed(frame, tenant, sees, now)) }
                    @for tenant in tenants.iter().filter(|tenant| !tenant.asks.is_empty()) { (asked(frame, tenant, now)) }
                }
            }
        }
    }
}

/// A number of things of which no more are counted.
fn at_least(count: usize, one: &str, many: &str) -> String {
    let more = if count >= COUNTED { "at least " } else { "" };
    format!("{more}{}", text::count(count as u64, one, many))
}

fn failed(frame: &Frame, tenant: &Tenant, sees: bool, now: Timestamp) -> Markup {
    let last = tenant.failed.first();
    let ended = last.and_then(|last| last.end_time);
    let error = last.and_then(|last| last.error_message.as_deref()).map(|error| waiting::error(error, sees));
    let filter = "state=failed&superseded=no";
    html! {
        li {
            span {
                (state::FAILED) br;
                @if let Some(ended) = ended { span.soft.small { "last " (text::relative(ended, now)) } }
            }
            div {
                p {
                    b { (at_least(tenant.failed.len(), "execution", "executions")) } " of "
                    a href=(frame.to(url::tenant(&tenant.name))) { (tenant.name) } " failed, the last of "
                    code { (last.map(|last| last.workflow_name.as_str()).unwrap_or_default()) } "."
                }
                @if let Some(error) = &error { p.soft.mono.any { (text::cut(error, 200)) } }
            }
            div.do { a.btn href=(frame.to(format!("{}/executions?{filter}", url::tenant(&tenant.name)))) { "Show them" } }
        }
    }
}

fn asked(frame: &Frame, tenant: &Tenant, now: Timestamp) -> Markup {
    let first = tenant.asks.iter().filter_map(|wait| wait.until).min();
    html! {
        li {
            span {
                (state::WAITS_FOR_ANSWER) br;
                @if let Some(first) = first { span.soft.small { "the first runs out " (text::relative(first, now)) } }
            }
            div {
                p {
                    b { (at_least(tenant.asks.len(), "question", "questions")) } " of "
                    a href=(frame.to(url::tenant(&tenant.name))) { (tenant.name) } " for somebody to answer."
                }
            }
            div.do { a.btn href=(frame.to(format!("{}/inbox", url::tenant(&tenant.name)))) { "Answer" } }
        }
    }
}

fn row(frame: &Frame, tenant: &Tenant) -> Markup {
    let home = url::tenant(&tenant.name);
    let count = |count: usize| if count >= COUNTED { format!("{COUNTED}+") } else { count.to_string() };
    html! {
        tr role="row" {
            td.w.max role="cell" { a.cut href=(frame.to(&home)) title=(tenant.name) { (tenant.name) } }
            td.n role="cell" data-l="under way" { (text::number(tenant.metrics.active_executions as u64)) }
            td.n role="cell" data-l="wait" { (text::number(tenant.metrics.waiting_executions)) }
            td.n role="cell" data-l="ready" { (text::number(tenant.metrics.queue_depth)) }
            td.n role="cell" data-l="failed" { (count(tenant.failed.len())) }
            td.n role="cell" data-l="asked" { (count(tenant.asks.len())) }
        }
    }
}

/// Many tenants, which are not looked at.
fn named(frame: &Frame, names: &[String]) -> Markup {
    html! {
        section {
            div.bar { h2 { "Tenants" } span.soft.small { "the first " (NAMED) } span.end.small { a href=(frame.to("tenants")) { "All" } } }
            ul.rows {
                @for name in names.iter().take(NAMED) {
                    @let home = url::tenant(name);
                    li {
                        span.cut { a href=(frame.to(&home)) title=(name) { (name) } }
                        div {
                            a href=(frame.to(format!("{home}/executions?state=failed&superseded=no"))) { "What failed" } " · "
                            a href=(frame.to(format!("{home}/executions?state=waiting"))) { "what waits" } " · "
                            a href=(frame.to(format!("{home}/inbox"))) { "what is asked" }
                        }
                        div.do {}
                    }
                }
            }
        }
    }
}
