//! The processes that work on a tenant's database.

use cloacina::RunnerInfo;
use maud::{Markup, html};

use super::layout::{self, Frame, Nav, Page};
use super::parts::state::{self, Icon, Look};
use super::parts::table::{column, empty, numbers, table};
use super::parts::{text, url};
use crate::Problem;
use crate::permit::{Own, Permit};
use crate::routes::Routes;

/// How many workflows of a runner are named.
const NAMED: usize = 6;

const LIVE: Look = Look::new("none", Icon::Running, "Live");

pub(super) fn routes(routes: Routes) -> Routes {
    routes.page("/tenants/{tenant}/runners", list)
}

async fn list(permit: Permit<Own>, frame: Frame) -> Result<Markup, Problem> {
    let runner = permit.runner().await?;
    let runners = runner.runners().await?;
    let live = runners.iter().filter(|runner| runner.is_live).count();
    let lost = runners.len() - live;
    let rows = html! { @for runner in &runners { (row(runner)) } };
    let columns = [column("Runner"), column("State"), column("What it can run"), numbers("Lease, beats")];
    let body = html! {
        header id="head" data-live {
            div.head { h1 { "Runners" } (layout::live(runner.now())) }
            p.lede {
                (text::count(live as u64, "runner lives", "runners live"))
                @if lost > 0 { ", " (lost) " stopped answering" }
                "."
            }
        }
        section id="runners" data-live {
            @if runners.is_empty() {
                (empty("No runner works on this database.", &html! { "What is submitted waits until a process opens the tenant as a runner." }))
            } @else { (table("Runners", &columns, &rows)) }
        }
    };
    let events = format!("v1/tenants/{}/events", url::part(permit.tenant()));
    Ok(layout::page(&permit, &frame, &Page::new("Runners", Nav::Runners, &body).live(events)))
}

fn row(runner: &RunnerInfo) -> Markup {
    let host = runner.host.as_deref().unwrap_or("unknown host");
    let mut names: Vec<String> =
        runner.workflows.iter().map(|(name, fingerprint)| format!("{name} {fingerprint:016x}")).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMED);
    html! {
        tr role="row" {
            td.w.max role="cell" {
                span.cut title=(host) { (host) }
                small.mono { @if let Some(pid) = runner.pid { "pid " (pid) " · " } (text::short_id(runner.id)) }
            }
            td.nb.up role="cell" {
                @if runner.is_live { (LIVE) } @else { (state::LOST) }
                @if runner.is_tenants { small { "the tenant’s own" } }
            }
            td role="cell" {
                @for name in names.iter().take(NAMED) { div.mono.any { (name) } }
                @if more > 0 { div.soft { "and " (more) " more" } }
                @if names.is_empty() { span.soft { "nothing" } }
            }
            td.n role="cell" { (text::whole(runner.lease)) small { (text::number(runner.beats.max(0).unsigned_abs())) } }
        }
    }
}
