//! Workflows: their versions, who can run them, and what they look like.

use std::collections::{BTreeMap, HashMap};

use axum::extract::Path;
use cloacina::{TaskDescription, Timestamp, WorkflowDescription, WorkflowInfo};
use maud::{Markup, html};

use super::execution::view::kind;
use super::graph::{self, Node};
use super::layout::{self, Frame, Nav, Page};
use super::parts::state::{self, Icon, Look};
use super::parts::table::{column, empty, numbers, table};
use super::parts::{text, url};
use crate::Problem;
use crate::permit::{Permit, View};
use crate::routes::Routes;

/// How many names, and how many tasks, stand on a page.
const PAGE: usize = 50;
const TASKS: usize = 100;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.page("/tenants/{tenant}/workflows", list).page("/tenants/{tenant}/workflows/{workflow}", one)
}

/// Whether somebody can run a version.
fn standing(version: &WorkflowInfo) -> Look {
    if version.live_runners.is_empty() {
        return Look::new("mind", Icon::Version, "Nobody has it");
    }
    let runners = text::count(version.live_runners.len() as u64, "runner", "runners");
    state::ACTIVE.word(format!("{runners} can run it"))
}

async fn list(permit: Permit<View>, frame: Frame) -> Result<Markup, Problem> {
    let runner = permit.runner().await?;
    let now = runner.now();
    let versions = runner.workflows().await?;
    let tenant = permit.tenant();
    let mut by_name: BTreeMap<&str, Vec<&WorkflowInfo>> = BTreeMap::new();
    for version in &versions {
        by_name.entry(&version.name).or_default().push(version);
    }
    let all = by_name.len();
    let (named, after) = (frame.param("q"), frame.param("after"));
    let is_wanted =
        |name: &str| named.is_none_or(|text| name.contains(text)) && after.is_none_or(|after| name > after);
    let mut shown: Vec<(&str, Vec<&WorkflowInfo>)> =
        by_name.into_iter().filter(|(name, _)| is_wanted(name)).take(PAGE + 1).collect();
    let has_more = shown.len() > PAGE;
    shown.truncate(PAGE);
    let next = shown
        .last()
        .filter(|_| has_more)
        .map(|(last, _)| url::query([("q", named.unwrap_or_default()), ("after", last)]));
    let orphans = versions.iter().filter(|version| version.live_runners.is_empty()).count();
    let rows = html! { @for (name, versions) in &shown { (row(&frame, tenant, name, versions, now)) } };
    let columns =
        [column("Workflow"), column("Newest version"), column("Who has it"), numbers("Versions, first seen")];
    let body = html! {
        header id="head" data-live {
            div.head { h1 { "Workflows" } (layout::live(now)) }
            p.lede {
                (text::count(all as u64, "workflow", "workflows")) " in " (text::count(versions.len() as u64, "version", "versions"))
                @if orphans > 0 { "; " (orphans) " of the versions can be run by nobody now" }
                "."
            }
            form.form method="get" role="search" aria-label="Filter" {
                label.grow { "Name" input id="filter" name="q" value=[named] maxlength="200"; }
                button.btn { "Filter" }
            }
        }
        section id="workflows" data-live {
            @if shown.is_empty() {
                @if all == 0 {
                    (empty("No workflow yet.", &html! { "A program describes its workflows here when it opens the tenant as a runner." }))
                } @else { (empty("No workflow has such a name.", &html! { a href="?" { "Look at all of them" } })) }
            } @else {
                (table("Workflows", &columns, &rows))
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
    let events = format!("v1/tenants/{}/events", url::part(tenant));
    let page = Page::new(format!("Workflows of {tenant}"), Nav::Workflows, &body).live(events);
    Ok(layout::page(&permit, &frame, &page))
}

fn row(frame: &Frame, tenant: &str, name: &str, versions: &[&WorkflowInfo], now: Timestamp) -> Markup {
    let newest = versions.first();
    html! {
        tr role="row" {
            td.max.w role="cell" { a.cut href=(frame.to(url::workflow(tenant, name))) title=(name) { (name) } }
            td role="cell" {
                @if let Some(newest) = newest { (version_of(newest)) }
            }
            td.up role="cell" { @if let Some(newest) = newest { (standing(newest)) } }
            td.n role="cell" {
                (versions.len())
                @if let Some(seen) = newest.and_then(|newest| newest.first_seen) {
                    small { (text::time(seen, text::moment(seen, now))) }
                }
            }
        }
    }
}

fn version_of(version: &WorkflowInfo) -> Markup {
    html! {
        @if let Some(version) = &version.version { (version) " " }
        span.mono.soft { (version.fingerprint) }
    }
}

async fn one(
    permit: Permit<View>,
    frame: Frame,
    Path((tenant, name)): Path<(String, String)>,
) -> Result<Markup, Problem> {
    let runner = permit.runner().await?;
    let now = runner.now();
    let all = runner.workflows().await?;
    let versions: Vec<&WorkflowInfo> = all.iter().filter(|version| version.name == name).collect();
    let asked = frame.param("version");
    let chosen = match asked {
        Some(asked) => versions.iter().find(|version| version.fingerprint.to_string() == asked),
        None => versions.first(),
    };
    let Some(chosen) = chosen else {
        let shown = text::cut(&name, 100);
        return Err(Problem::not_found(format!(
            "no process has had a workflow `{shown}`, or this version of it"
        )));
    };
    let described = runner.workflow(&name, chosen.fingerprint).await?;
    let executions =
        format!("{}/executions{}", url::tenant(&tenant), url::query([("workflow", name.as_str())]));
    let body = html! {
        header id="head" data-live {
            p.crumbs {
                a href=(frame.to(format!("{}/workflows", url::tenant(&tenant)))) { "Workflows" }
                a href=(frame.to(url::tenant(&tenant))) { (tenant) }
            }
            div.head {
                h1 { (name) @if let Some(version) = &chosen.version { " " span.soft { (version) } } }
                div.btns { a.btn href=(frame.to(executions)) { "Executions" } }
            }
            div.bar.sub { (standing(chosen).big()) span.mono.soft { (chosen.fingerprint) } span.end { (layout::live(now)) } }
            @if let Some(description) = described.as_ref().map(|described| &described.description).filter(|text| !text.is_empty()) {
                p.lede { (text::cut(description, 2_000)) }
            }
        }
        @match &described {
            Some(described) => { (drawn(described)) (tasks(described)) }
            None => section {
                (empty("What it looks like is not known here.", &html! { "Its graph is too large to be kept, or no process described it." }))
            },
        }
        section id="versions" data-live {
            div.bar { h2 { "Versions" } span.soft.small { "the newest first" } }
            (table("Versions", &[column("Version"), column("Who has it"), numbers("First seen")], &html! {
                @for version in versions.iter().take(PAGE) {
                    tr role="row" aria-current=[(version.fingerprint == chosen.fingerprint).then_some("true")] {
                        td role="cell" {
                            a href=(url::query([("version", version.fingerprint.to_string().as_str())])) {
                                (version.version.as_deref().unwrap_or("without a name"))
                            }
                            " " span.mono.soft { (version.fingerprint) }
                        }
                        td.up role="cell" { (standing(version)) }
                        td.n role="cell" { @if let Some(seen) = version.first_seen { (text::time(seen, text::moment(seen, now))) } }
                    }
                }
            }))
        }
    };
    let events = format!("v1/tenants/{}/events", url::part(&tenant));
    Ok(layout::page(
        &permit,
        &frame,
        &Page::new(format!("Workflow {name}"), Nav::Workflows, &body).live(events),
    ))
}

fn drawn(described: &WorkflowDescription) -> Markup {
    let positions: HashMap<&str, usize> =
        described.tasks.iter().enumerate().map(|(position, task)| (task.id.as_str(), position)).collect();
    let node = |(position, task): (usize, &TaskDescription)| Node {
        name: task.id.clone(),
        look: look(task),
        note: note(task),
        after: task.dependencies.iter().filter_map(|id| positions.get(id.as_str()).copied()).collect(),
        progress: None,
        href: format!("#t-{position}"),
    };
    let nodes: Vec<Node> = described.tasks.iter().enumerate().map(node).collect();
    html! { section id="graph" { div.bar { h2 { "Graph" } } (graph::draw(&nodes)) } }
}

fn look(task: &TaskDescription) -> Look {
    let icon = match kind(task.kind) {
        "sleep" => Icon::Timer,
        "signal" => Icon::Signal,
        "ask" => Icon::Ask,
        "child" => Icon::Child,
        "map" => Icon::Map,
        _ => Icon::Pending,
    };
    let word = kind(task.kind);
    Look::new("none", icon, if word.is_empty() { "task" } else { word })
}

fn note(task: &TaskDescription) -> String {
    let mut notes = Vec::new();
    if let Some(attempts) = task.attempts.filter(|attempts| *attempts > 1) {
        notes.push(format!("{attempts} attempts"));
    }
    if let Some(parallel) = task.parallel {
        notes.push(format!("{parallel} at once"));
    }
    if let Some(timeout) = task.timeout {
        notes.push(format!("at most {}", text::whole(timeout)));
    }
    notes.join(" · ")
}

fn tasks(described: &WorkflowDescription) -> Markup {
    let rows = html! {
        @for (position, task) in described.tasks.iter().enumerate().take(TASKS) {
            tr role="row" id={ "t-" (position) } {
                td.fit role="cell" { span.any { (task.id) } }
                td.fit.up role="cell" { (look(task)) }
                td.why role="cell" { span.any { (task.dependencies.join(", ")) } }
                td role="cell" { (task.rule.replace('_', " ")) }
                td role="cell" { (note(task)) @if let Some(child) = &task.workflow { " runs " (child) } }
            }
        }
    };
    let columns = [column("Task"), column("Kind"), column("After"), column("Runs if"), column("Limits")];
    html! {
        section id="tasks" {
            div.bar { h2 { "Tasks" } span.soft.small { (described.tasks.len()) } }
            (table("Tasks of the workflow", &columns, &rows))
            @if described.tasks.len() > TASKS { p.note { (described.tasks.len() - TASKS) " more." } }
        }
    }
}
