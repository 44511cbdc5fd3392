//! All tenants at once. None is opened for it: their places are read one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloacina::tenants::Across;
use cloacina::{ExecutionResult, Timestamp, Waiting};
use maud::{Markup, html};

use super::executions::{self, PAGE, Row, Shows, list_of};
use super::inbox::{self, Question};
use super::layout::{self, Frame, Nav, Page};
use super::parts::state::{self, Icon, Look};
use super::parts::table::{column, empty, meter, numbers, table};
use super::parts::{text, url};
use super::waiting;
use super::wanted::{Wanted, id};
use crate::Problem;
use crate::overview::{self, Busiest, Failures};
use crate::permit::{Control, Permit, ViewAll};
use crate::routes::Routes;
use crate::time::now;

/// How many questions are counted.
const COUNTED: usize = 200;
/// How many workflows are named that failed.
const WORKFLOWS: usize = 8;
/// How many things need somebody, and how many tenants are named, at most.
const SHOWN: usize = 20;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.page("/overview", overview).page("/executions", list).page("/inbox", asked)
}

/// The tenants that could not be read, and why.
fn unreadable(frame: &Frame, tenants: impl IntoIterator<Item = (String, Problem)>) -> Markup {
    html! {
        @for (tenant, problem) in tenants {
            li {
                span { (Look::new("fail", Icon::Warn, "Cannot be read")) }
                div {
                    p { a href=(frame.to(url::tenant(&tenant))) { (tenant) } }
                    p.soft.any { (text::cut(problem.detail(), 300)) }
                }
                div.do {}
            }
        }
    }
}

fn problems<T>(across: &Across<T>) -> Vec<(String, Problem)> {
    let shown = across.unreadable.iter().take(SHOWN);
    shown.map(|(tenant, error)| (tenant.clone(), Problem::told(error))).collect()
}

/// What is read for the overview.
struct Read {
    tenants: Vec<String>,
    failures: Failures,
    asks: Across<Waiting>,
}

impl Read {
    /// What failed and was not rerun.
    fn alone(&self) -> impl Iterator<Item = &(String, ExecutionResult)> {
        self.failures.failed.found.iter().filter(|(_, execution)| execution.superseded_by.is_none())
    }
}

async fn overview(permit: Permit<ViewAll>, frame: Frame) -> Result<Markup, Problem> {
    let now = now();
    let read = permit.web().kept.get("overview of all".to_owned(), async || {
        let tenants = permit.engine().tenants().await?;
        let asks = async || Ok(permit.engine().waits(true, None, COUNTED).await?);
        let (failures, asks) = futures_util::try_join!(overview::failures(permit.engine()), asks())?;
        Ok(Read { tenants, failures, asks })
    });
    let read: Arc<Read> = Box::pin(read).await?;
    let busiest = Box::pin(overview::busiest(&permit.web().kept, permit.engine())).await?;
    let (all, asks) = (read.tenants.len(), read.asks.found.len());
    let (failed, alone) = (read.failures.failed.found.len(), read.alone().count());
    let more = if read.failures.are_more() { "at least " } else { "" };
    let body = html! {
        header {
            div.head { h1 { "Overview" } (layout::live(now)) }
            p.lede {
                (text::count(all as u64, "tenant", "tenants")) "; " (more) (text::count(failed as u64, "execution", "executions"))
                " failed in 24 hours"
                @if failed > 0 { ", " (more) (text::number(alone as u64)) " of them " (if alone == 1 { "was" } else { "were" }) " not rerun" }
                @if asks > 0 { "; " (at_least(asks, "question waits", "questions wait")) " for an answer" }
                "."
            }
        }
        (needs(&permit, &frame, &read, now))
        @if failed > 0 { (failing(&permit, &frame, &read.failures, now)) }
        @if !busiest.tenants.is_empty() { (using(&frame, &busiest)) }
        section {
            div.bar { h2 { "Tenants" } span.end.small { a href=(frame.to("tenants")) { "All" } } }
            @if all == 0 { (empty("No tenant yet.", &html! { "Make one on the page of " a href=(frame.to("tenants")) { "tenants" } "." })) }
            @else {
                ul.rows {
                    @for name in read.tenants.iter().take(SHOWN) {
                        @let home = url::tenant(name);
                        li {
                            span.cut { a href=(frame.to(&home)) title=(name) { (name) } }
                            div {
                                a href=(frame.to(format!("{home}/executions"))) { "Executions" } " · "
                                a href=(frame.to(format!("{home}/inbox"))) { "inbox" } " · "
                                a href=(frame.to(format!("{home}/schedules"))) { "schedules" }
                            }
                            div.do {}
                        }
                    }
                }
            }
        }
    };
    Ok(layout::page(&permit, &frame, &Page::new("Overview", Nav::Overview, &body)))
}

/// A number of things of which no more are counted.
fn at_least(count: usize, one: &str, many: &str) -> String {
    let more = if count >= COUNTED { "at least " } else { "" };
    format!("{more}{}", text::count(count as u64, one, many))
}

fn needs(permit: &Permit<ViewAll>, frame: &Frame, read: &Read, now: Timestamp) -> Markup {
    // By tenant and workflow, the one that failed last first.
    let mut order: Vec<(&str, &str)> = Vec::new();
    let mut failed: BTreeMap<(&str, &str), Vec<&ExecutionResult>> = BTreeMap::new();
    for (tenant, execution) in read.alone() {
        let of = (tenant.as_str(), execution.workflow_name.as_str());
        if !failed.contains_key(&of) {
            order.push(of);
        }
        failed.entry(of).or_default().push(execution);
    }
    let unread = problems(&read.failures.failed);
    let is_calm = order.is_empty() && read.asks.found.is_empty() && unread.is_empty();
    let first = read.asks.found.iter().filter_map(|(_, wait)| wait.until).min();
    html! {
        section id="needs" data-live {
            div.bar {
                h2 { "Needs attention" }
                @if !is_calm { span.soft.small { "worst first" } }
                span.end.small { a href=(frame.to("executions?state=failed&superseded=no&since=24h")) { "All that failed" } }
            }
            @if is_calm {
                (empty("Nothing needs anybody.", &html! { "In 24 hours no execution failed without a rerun, and nobody is asked anything." }))
            } @else {
                ol.rows {
                    (unreadable(frame, unread))
                    @for of in order.iter().take(SHOWN) {
                        @if let Some(executions) = failed.get(of) { (failure(permit, frame, *of, executions, now)) }
                    }
                    @if !read.asks.found.is_empty() {
                        li {
                            span {
                                (state::WAITS_FOR_ANSWER)
                                @if let Some(first) = first { br; span.soft.small { "the first runs out " (text::relative(first, now)) } }
                            }
                            div { p { b { (at_least(read.asks.found.len(), "question waits", "questions wait")) } " for an answer." } }
                            div.do { a.btn href=(frame.to("inbox")) { "Answer" } }
                        }
                    }
                }
            }
        }
    }
}

/// What failed, by workflow and hour.
fn failing(permit: &Permit<ViewAll>, frame: &Frame, failures: &Failures, now: Timestamp) -> Markup {
    let workflows = failures.workflows();
    let link = |workflow: &str| {
        let filter = url::query([("state", "failed"), ("workflow", workflow), ("since", "24h")]);
        frame.to(format!("executions{filter}"))
    };
    let rows = html! {
        @for of in workflows.iter().take(WORKFLOWS) {
            @let (tenant, last) = of.last;
            @let error = last.error_message.as_deref().map(|error| waiting::error(error, permit.principal.sees_payloads(Some(tenant))));
            tr role="row" {
                td.w.max role="cell" { a.cut href=(link(of.workflow)) title=(of.workflow) { (of.workflow) } }
                td.n role="cell" data-l="failed" { b { (text::number(of.failed)) } }
                td role="cell" { (spark(&of.hours)) }
                td.n role="cell" data-l="tenants" { (of.tenants.len()) }
                td.max role="cell" { @if let Some(error) = &error { span.cut title=(text::cut(error, 200)) { (text::cut(error, 200)) } } }
                td.n.hide role="cell" { @if let Some(ended) = last.end_time { span.nb { (text::relative(ended, now)) } } }
            }
        }
    };
    let columns = [
        column("Workflow"),
        numbers("Failed"),
        column("Per hour, last 24 h"),
        numbers("Tenants"),
        column("Newest error"),
        numbers("Last"),
    ];
    html! {
        section id="failures" data-live {
            div.bar {
                h2 { "Failures per workflow" }
                span.soft.small {
                    "24 hours"
                    @if failures.are_more() { "; the newest " (text::number(overview::READ as u64)) " failures" }
                }
                span.end.small { a href=(frame.to("executions?state=failed&since=24h")) { "All failed" } }
            }
            (table("Failures per workflow in 24 hours", &columns, &rows))
            @if workflows.len() > WORKFLOWS { p.soft.small { "and " (text::count((workflows.len() - WORKFLOWS) as u64, "other workflow", "other workflows")) } }
        }
    }
}

/// A bar for each hour.
fn spark(hours: &[u64; overview::HOURS]) -> Markup {
    let most = hours.iter().copied().max().unwrap_or_default().max(1) as f64;
    let said: Vec<String> = hours.iter().map(u64::to_string).collect();
    html! {
        svg.spark.fail viewBox="0 0 120 22" preserveAspectRatio="none" role="img" aria-label={ "failed per hour: " (said.join(", ")) } {
            path.rule d="M0 21.5h120" {}
            g.f {
                @for (hour, failed) in hours.iter().enumerate().filter(|(_, failed)| **failed > 0) {
                    // The smallest is seen as well.
                    @let height = (*failed as f64 / most * 20.0).max(1.2);
                    rect x=(format!("{:.1}", hour as f64 * 5.0 + 0.4)) y=(format!("{:.1}", 22.0 - height)) width="4.2" height=(format!("{height:.1}")) {}
                }
            }
        }
    }
}

/// Who uses most.
fn using(frame: &Frame, busiest: &Busiest) -> Markup {
    let most = busiest.tenants.iter().map(|uses| uses.under_way).max().unwrap_or_default().max(1) as f64;
    let rows = html! {
        @for uses in &busiest.tenants {
            @let home = url::tenant(&uses.tenant);
            tr role="row" {
                td.w.max role="cell" { a.cut href=(frame.to(&home)) title=(uses.tenant) { (uses.tenant) } }
                td.nb role="cell" data-l="under way" {
                    (meter("none", uses.under_way as f64 / most))
                    a href=(frame.to(format!("{home}/executions?state=open"))) { (text::number(uses.under_way)) }
                }
                td.n role="cell" data-l="size" { @match uses.bytes { Some(bytes) => (text::bytes(bytes)), None => "—" } }
            }
        }
    };
    html! {
        section id="busiest" {
            div.bar {
                h2 { "Tenants that use most" }
                span.soft.small {
                    "by what is under way, then by size"
                    @if busiest.are_more { "; of the newest " (text::number(overview::READ as u64)) " executions" }
                }
                span.end.small { a href=(frame.to("tenants")) { "All" } }
            }
            (table("Tenants that use most", &[column("Tenant"), column("Under way"), numbers("Size")], &rows))
        }
    }
}

fn failure(
    permit: &Permit<ViewAll>,
    frame: &Frame,
    (tenant, workflow): (&str, &str),
    executions: &[&ExecutionResult],
    now: Timestamp,
) -> Markup {
    let last = executions.first();
    let sees = permit.principal.sees_payloads(Some(tenant));
    let error = last.and_then(|last| last.error_message.as_deref()).map(|error| waiting::error(error, sees));
    let filter = url::query([("state", "failed"), ("workflow", workflow), ("superseded", "no")]);
    html! {
        li {
            span {
                (state::FAILED) br;
                @if let Some(ended) = last.and_then(|last| last.end_time) {
                    span.soft.small { "last " (text::relative(ended, now)) }
                }
            }
            div {
                p {
                    code { (workflow) } " of " a href=(frame.to(url::tenant(tenant))) { (tenant) } " failed: "
                    b { (text::count(executions.len() as u64, "execution", "executions")) } " that nobody has rerun."
                }
                @if let Some(error) = &error { p.soft.mono.any { (text::cut(error, 200)) } }
            }
            div.do { a.btn href=(frame.to(format!("{}/executions{filter}", url::tenant(tenant)))) { "Show them" } }
        }
    }
}

async fn list(permit: Permit<ViewAll>, frame: Frame) -> Result<Markup, Problem> {
    let wanted = Wanted::of(|name| frame.param(name).map(str::to_owned));
    let now = now();
    let before = frame.param("before").map(id).transpose()?;
    let of = format!("executions of all {} {before:?}", wanted.query());
    let read = async || Ok(permit.engine().executions(wanted.filter(now), before, PAGE + 1).await?);
    let across = permit.web().kept.get(of, read).await?;
    let row = |(tenant, execution): &(String, ExecutionResult)| {
        Row::new(tenant, execution, None, permit.principal.sees_payloads(Some(tenant)), now)
    };
    let rows: Vec<Row> = across.found.iter().take(PAGE).map(row).collect();
    let newest = wanted.query();
    let older = rows.last().filter(|_| across.found.len() > PAGE);
    let older = older.map(|last| format!("{newest}&before={}", last.id));
    let unread = problems(&across);
    let body = html! {
        header {
            div.head { h1 { "Executions" } (layout::live(now)) }
            (executions::filter(&wanted))
        }
        @if !unread.is_empty() { section { ol.rows { (unreadable(&frame, unread)) } } }
        div.list {
            @if rows.is_empty() { (empty("No execution matches.", &html! { a href="?" { "Look at all of them" } })) }
            @else { (list_of(&frame, &rows, Shows { tenants: true, ticks: false }, now)) }
            nav.pager aria-label="Pages of the list" {
                span { (rows.len()) " shown, newest first" }
                span.end.btns {
                    @if before.is_some() { a.btn href=(newest) { "Newest" } }
                    @if let Some(older) = &older { a.btn href=(older) rel="next" { "Older" } }
                }
            }
        }
    };
    Ok(layout::page(&permit, &frame, &Page::new("Executions of all tenants", Nav::Executions, &body)))
}

async fn asked(permit: Permit<ViewAll>, frame: Frame) -> Result<Markup, Problem> {
    let now = now();
    let after = match (frame.param("of"), frame.param("after")) {
        (Some(tenant), Some(after)) => Some((tenant, inbox::cursor(after)?)),
        _ => None,
    };
    let of = format!("inbox of all {after:?}");
    let read = async || Ok(permit.engine().waits(true, after, inbox::PAGE + 1).await?);
    let across = permit.web().kept.get(of, read).await?;
    let shown = &across.found[..across.found.len().min(inbox::PAGE)];
    let next = shown.last().filter(|_| across.found.len() > inbox::PAGE).map(|(tenant, last)| {
        url::query([("of", tenant.as_str()), ("after", last.cursor().to_string().as_str())])
    });
    let sees = |tenant: &str| permit.principal.sees_payloads(Some(tenant));
    let may = permit.may::<Control>();
    let unread = problems(&across);
    let body = html! {
        header {
            div.head { h1 { "Inbox" } (layout::live(now)) }
            p.lede {
                @if across.found.is_empty() { "Nobody is asked anything." }
                @else { (text::count(shown.len() as u64, "question", "questions")) " here, by tenants." }
            }
        }
        @if !unread.is_empty() { section { ol.rows { (unreadable(&frame, unread)) } } }
        @if !shown.is_empty() {
            section {
                div.bar { h2 { "Questions" } }
                ol.rows.inbox {
                    @for (tenant, wait) in shown {
                        @if let Some(question) = Question::new(tenant, wait, true, sees(tenant)) {
                            (inbox::show(&frame, &question, may, sees(tenant), now))
                        }
                    }
                }
            }
        }
        @if after.is_some() || next.is_some() {
            nav.pager aria-label="Pages of the list" {
                span.end.btns {
                    @if after.is_some() { a.btn href="?" { "First" } }
                    @if let Some(next) = &next { a.btn href=(next) rel="next" { "More" } }
                }
            }
        }
    };
    Ok(layout::page(&permit, &frame, &Page::new("Inbox of all tenants", Nav::Inbox, &body)))
}
