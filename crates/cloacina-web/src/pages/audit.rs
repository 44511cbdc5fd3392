//! The audit: who did what, and whether its rows are as they were written.

use cloacina::audit::{AuditRecord, AuditVerdict};
use cloacina::tenants::Placement;
use cloacina::{Timestamp, Uuid};
use maud::{Markup, html};

use super::layout::{self, Frame, Nav, Page};
use super::parts::state;
use super::parts::table::{column, empty, numbers, table};
use super::parts::{text, url};
use crate::Problem;
use crate::permit::{Action, Administer, Manage, Permit};
use crate::routes::Routes;
use crate::time::now;

/// How many rows stand on a page, and how many of what was done about a tenant in a file.
const PAGE: usize = 50;
const ABOUT: usize = 20;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.page("/audit", all).page("/tenants/{tenant}/audit", of_tenant)
}

/// Where a page goes on: before this number.
fn before(frame: &Frame) -> Option<i64> {
    frame.param("before").and_then(|before| before.parse().ok())
}

fn verifies(frame: &Frame) -> bool {
    frame.param("verify").is_some()
}

async fn all(permit: Permit<Administer>, frame: Frame) -> Result<Markup, Problem> {
    let rows = permit.engine().audit(before(&frame), PAGE + 1).await?;
    let verdict = if verifies(&frame) { Some(permit.engine().audit_verify().await?) } else { None };
    Ok(show(&permit, &frame, rows, &[], verdict.as_ref(), now()))
}

async fn of_tenant(permit: Permit<Manage>, frame: Frame) -> Result<Markup, Problem> {
    let runner = permit.runner().await?;
    let tenant = permit.tenant();
    let rows = runner.audit(before(&frame), PAGE + 1).await?;
    // What was done about a tenant in a file is noted beside it.
    let manager = permit.engine().manager().ok();
    let is_file = permit.engine().placement(tenant).await? == Some(Placement::File);
    let about = match manager.filter(|_| is_file) {
        Some(manager) => manager.audit(Some(tenant), None, ABOUT).await?,
        None => Vec::new(),
    };
    let verdict = if verifies(&frame) { Some(runner.audit_verify().await?) } else { None };
    Ok(show(&permit, &frame, rows, &about, verdict.as_ref(), runner.now()))
}

fn show<A: Action>(
    permit: &Permit<A>,
    frame: &Frame,
    mut rows: Vec<AuditRecord>,
    about: &[AuditRecord],
    verdict: Option<&AuditVerdict>,
    now: Timestamp,
) -> Markup {
    let has_more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let of_all = permit.tenant().is_empty();
    let older =
        rows.last().filter(|_| has_more).map(|last| url::query([("before", last.id.to_string().as_str())]));
    let list = |caption: &str, rows: &[AuditRecord]| {
        let columns = [column("Who"), column("What"), column("To what"), column("Why"), numbers("When")];
        table(caption, &columns, &html! { @for record in rows { (row(frame, record, of_all, now)) } })
    };
    let body = html! {
        header {
            div.head {
                h1 { "Audit" }
                div.btns { a.btn href="?verify=1" { "Verify" } }
            }
            p.lede { "Who did what, the newest first. Each row is sealed with the one before." }
        }
        @if let Some(verdict) = verdict { section { (verified(verdict)) } }
        section {
            @if rows.is_empty() {
                (empty("Nothing was done by name yet.", &html! { "What somebody does here, or with a key, is noted with who it was and why." }))
            } @else { (list("The audit, the newest first", &rows)) }
            nav.pager aria-label="Pages of the list" {
                span { (rows.len()) " shown" }
                span.end.btns {
                    @if before(frame).is_some() { a.btn href="?" { "Newest" } }
                    @if let Some(older) = &older { a.btn href=(older) rel="next" { "Older" } }
                }
            }
        }
        @if !about.is_empty() {
            section {
                div.bar { h2 { "About the tenant" } span.soft.small { "noted beside its file" } }
                (list("What was done about the tenant", about))
            }
        }
    };
    layout::page(permit, frame, &Page::new("Audit", Nav::Audit, &body))
}

fn verified(verdict: &AuditVerdict) -> Markup {
    match verdict.broken_at {
        None => html! {
            div.say.done role="status" {
                p { (state::COMPLETED.word("As it was written")) " " (text::count(verdict.rows, "row is", "rows are")) " sealed and as they were." }
                @if let Some(head) = &verdict.head {
                    p.soft.any { "The last seal, to be noted elsewhere: " span.mono { (head) } }
                }
            }
        },
        Some(row) => html! {
            div.say.fail role="alert" {
                p { (state::FAILED.word("Changed")) " The row " (row) " was changed or slipped in, or one before it is missing." }
                p.soft { (text::count(verdict.rows, "row", "rows")) " before it are as they were." }
            }
        },
    }
}

fn row(frame: &Frame, record: &AuditRecord, of_all: bool, now: Timestamp) -> Markup {
    let tenant = record.tenant.as_deref();
    let execution = record.object.as_deref().and_then(|object| object.parse::<Uuid>().ok());
    html! {
        tr role="row" {
            td.nb role="cell" {
                span.any { (record.actor) }
                @if let Some(role) = &record.role { small { (role.replace('_', " ")) } }
            }
            td.nb role="cell" {
                (record.action)
                @if of_all { @if let Some(tenant) = tenant { small { a href=(frame.to(url::tenant(tenant))) { (tenant) } } } }
            }
            td.max role="cell" {
                @match (execution, tenant, &record.object) {
                    (Some(id), Some(tenant), _) => a.id.mono href=(frame.to(url::execution(tenant, id))) title=(id) { (text::short_id(id)) },
                    (.., Some(object)) => span.cut title=(object) { (object) },
                    _ => {}
                }
                @if let Some(detail) = &record.detail { small.cut title=(text::cut(detail, 500)) { (text::cut(detail, 200)) } }
            }
            td.max role="cell" { @if let Some(reason) = &record.reason { span.cut2 title=(reason) { (text::cut(reason, 300)) } } }
            td.n role="cell" { (text::time(record.at, text::moment(record.at, now))) }
        }
    }
}
