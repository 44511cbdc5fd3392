//! The executions of a tenant, the newest first. The address is the filter.

use std::collections::BTreeSet;

use cloacina::{ExecutionResult, ExecutionStatus, Runner, Timestamp, Uuid, Waiting};
use futures_util::future::join_all;
use maud::{Markup, html};

use super::layout::{self, Frame, Nav, Page};
use super::parts::state::{self, Look};
use super::parts::table::{Column, column, empty, numbers, table};
use super::parts::{text, url};
use super::wanted::{SINCE, STATES, Wanted, id};
use super::{bulk, waiting};
use crate::Problem;
use crate::kept::Kept;
use crate::permit::{Control, Permit, View};
use crate::routes::Routes;

/// How many executions of a page are watched.
const MOST_WATCHED: usize = 100;

/// How many stand on a page.
pub(super) const PAGE: usize = 25;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.page("/tenants/{tenant}/executions", list)
}

/// An execution in a list.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: Uuid,
    /// The tenant, where there are several.
    pub(super) tenant: String,
    pub(super) look: Look,
    pub(super) workflow: String,
    pub(super) tags: Vec<String>,
    /// Why it waits, or what went wrong.
    pub(super) why: String,
    pub(super) begun: Timestamp,
    pub(super) took: std::time::Duration,
}

impl Row {
    /// A row of an execution, and of what it waits for if that is known.
    pub(super) fn new(
        tenant: &str,
        execution: &ExecutionResult,
        waits: Option<&[Waiting]>,
        sees_payloads: bool,
        now: Timestamp,
    ) -> Self {
        let is_known = waits.is_some();
        let waits = waits.unwrap_or_default();
        // A question to a person first, then what ends first.
        let told = waits.iter().min_by_key(|wait| (wait.ask.is_none(), wait.until.is_none(), wait.until));
        let mut look = state::of_execution(execution.status);
        let mut why = Vec::new();
        match (execution.status, told) {
            (ExecutionStatus::Waiting, Some(wait)) => {
                look = state::of_wait(wait);
                why.push(waiting::in_short(wait, sees_payloads, now));
                if waits.len() > 1 {
                    why.push(format!("{} more", waits.len() - 1));
                }
            }
            (ExecutionStatus::Waiting, None) if is_known => look = state::WAITS_FOR_CHILD,
            _ => {}
        }
        if let Some(error) = &execution.error_message {
            if execution.status == ExecutionStatus::Paused && waiting::is_orphaned(error) {
                look = state::WAITS_FOR_VERSION;
                why.push("no live runner has this version of its workflow".to_owned());
            } else {
                why.push(waiting::error(error, sees_payloads));
            }
        }
        if let Some(by) = execution.superseded_by {
            why.push(format!("rerun as {}", text::short_id(by)));
        }
        Self {
            id: execution.execution_id,
            tenant: tenant.to_owned(),
            look,
            workflow: execution.workflow_name.clone(),
            tags: execution.tags.clone(),
            why: why.join(" · "),
            begun: execution.start_time,
            took: text::between(execution.start_time, execution.end_time.unwrap_or(now)),
        }
    }
}

/// Executions, each with what it waits for.
type Listed = Vec<(ExecutionResult, Vec<Waiting>)>;

/// A page of executions with what they wait for.
pub(super) async fn read(
    kept: &Kept,
    runner: &Runner,
    wanted: &Wanted,
    (before, most): (Option<Uuid>, usize),
    sees_payloads: bool,
) -> Result<(Vec<Row>, bool), Problem> {
    let now = runner.now();
    let of = format!("executions {} {} {before:?} {most}", runner.place(), wanted.query());
    let listed = kept.get(of, async || Ok(look(runner, wanted, (before, most)).await?)).await?;
    let rows = listed.iter().take(most);
    let rows =
        rows.map(|(execution, waits)| Row::new(runner.place(), execution, Some(waits), sees_payloads, now));
    Ok((rows.collect(), listed.len() > most))
}

/// One more than is shown, so that it is known whether there are more.
async fn look(
    runner: &Runner,
    wanted: &Wanted,
    (before, most): (Option<Uuid>, usize),
) -> Result<Listed, cloacina::Error> {
    let executions = runner.list(wanted.filter(runner.now()), before, most + 1).await?;
    let waits = executions.iter().map(async |execution| {
        if execution.status != ExecutionStatus::Waiting {
            return Ok(Vec::new());
        }
        runner.execution(execution.execution_id).waits().await
    });
    let waits = join_all(waits).await;
    executions.into_iter().zip(waits).map(|(execution, waits)| Ok((execution, waits?))).collect()
}

async fn list(permit: Permit<View>, frame: Frame) -> Result<Markup, Problem> {
    let wanted = Wanted::of(|name| frame.param(name).map(str::to_owned));
    let runner = permit.runner().await?;
    let now = runner.now();
    let before = frame.param("before").map(id).transpose()?;
    let (rows, has_more) =
        read(&permit.web().kept, &runner, &wanted, (before, PAGE), permit.sees_payloads()).await?;
    let tenant = permit.tenant();
    let newest = wanted.query();
    let older = rows.last().filter(|_| has_more).map(|last| format!("{}&before={}", wanted.query(), last.id));
    let may = permit.may::<Control>();
    let (bulks, is_under_way) = bulk::lines(&permit, &frame, &runner).await?;
    let ask = bulk::question(&permit, &frame, &runner, &wanted).await?;
    let body = html! {
        @if let Some(ask) = &ask { (ask.show()) }
        header {
            div.head { h1 { "Executions" } (layout::live(now)) }
            (filter(&wanted))
        }
        (bulks)
        @if may && !rows.is_empty() { (bulk::bar(&wanted)) }
        div.list id="list" data-live {
            p.small id="newer" hidden { a href=(newest) { "0 newer" } span.soft { " have begun since; the list does not move under you." } }
            @if rows.is_empty() { (nothing(&wanted, tenant)) }
            @else { (list_of(&frame, &rows, Shows { tenants: false, ticks: may }, now)) }
            nav.pager aria-label="Pages of the list" {
                span { (rows.len()) " shown, newest first" }
                span.end.btns {
                    @if before.is_some() { a.btn href=(newest) { "Newest" } }
                    @if let Some(older) = &older { a.btn href=(older) rel="next" { "Older" } }
                }
            }
        }
    };
    let events = watched(tenant, rows.iter().map(|row| row.id));
    Ok(layout::page(
        &permit,
        &frame,
        &Page::new(format!("Executions of {tenant}"), Nav::Executions, &body)
            .live(events)
            .ticking(is_under_way),
    ))
}

/// The stream that tells of newer executions, and of changes of these.
pub(super) fn watched(tenant: &str, ids: impl IntoIterator<Item = Uuid>) -> String {
    let ids: BTreeSet<Uuid> = ids.into_iter().collect();
    let ids: Vec<String> = ids.iter().take(MOST_WATCHED).map(Uuid::to_string).collect();
    format!("v1/tenants/{}/events?ids={}", url::part(tenant), ids.join(","))
}

fn options(known: impl Iterator<Item = (&'static str, &'static str)>, chosen: &str) -> Markup {
    html! {
        @for (value, label) in known { option value=(value) selected[value == chosen] { (label) } }
    }
}

pub(super) fn filter(wanted: &Wanted) -> Markup {
    html! {
        form.form method="get" role="search" aria-label="Filter" {
            label { "State" select name="state" { (options(STATES.iter().copied(), &wanted.state)) } }
            label.grow { "Workflow" input id="filter" name="workflow" value=(wanted.workflow) maxlength="200"; }
            label.grow { "Tag" input name="tag" value=(wanted.tag) maxlength="64"; }
            label { "Since" select name="since" { (options(SINCE.iter().map(|(value, label, _)| (*value, *label)), &wanted.since)) } }
            label {
                "Rerun ones"
                select name="superseded" { (options([("", "shown"), ("no", "left out")].into_iter(), &wanted.superseded)) }
            }
            label {
                "The engine's own"
                select name="engine" { (options([("", "left out"), ("yes", "shown")].into_iter(), &wanted.engine)) }
            }
            button.btn { "Filter" }
        }
        @let chips = wanted.chips();
        @if !chips.is_empty() {
            p.chips {
                span.soft { "Filtered by" }
                @for (label, without) in &chips {
                    a href=(without) aria-label={ "Remove: " (label) } { (label) " " span aria-hidden="true" { "×" } }
                }
                a href="?" { "Clear all" }
            }
        }
    }
}

fn nothing(wanted: &Wanted, tenant: &str) -> Markup {
    if wanted == &Wanted::default() {
        return empty(
            "No execution yet.",
            &html! {
                "Submit one: " code { "runner.submit(\"hello\").send()" } " or "
                code { "cloacina executions submit " (tenant) " hello" }
            },
        );
    }
    empty("No execution matches the filter.", &html! { a href="?" { "Look at all of them" } })
}

/// What a list shows besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shows {
    /// Whose executions they are.
    pub(super) tenants: bool,
    /// A box to tick each of them.
    pub(super) ticks: bool,
}

/// The executions of a row's workflow.
fn of_workflow(frame: &Frame, row: &Row) -> String {
    let query = url::query([("workflow", row.workflow.as_str())]);
    frame.to(format!("{}/executions{query}", url::tenant(&row.tenant)))
}

/// A list of executions.
pub(super) fn list_of(frame: &Frame, rows: &[Row], shows: Shows, now: Timestamp) -> Markup {
    let of_all = shows.tenants;
    let mut columns = vec![
        column("State"),
        column(if of_all { "Workflow · tenant, tags" } else { "Workflow · tags" }),
        column("Why it waits, what went wrong"),
        column("Execution"),
        numbers("Begun, took"),
    ];
    if shows.ticks {
        columns.insert(0, Column { head: html! { span.vh { "Tick" } }, class: "" });
    }
    let rows = html! {
        @for row in rows {
            tr role="row" id={ "x-" (row.id) } {
                @if shows.ticks {
                    td.fit.up role="cell" {
                        input type="checkbox" name="id" form="bulk" value=(row.id) aria-label={ "Tick " (text::short_id(row.id)) };
                    }
                }
                td.fit.up role="cell" { (row.look) }
                td.max role="cell" {
                    a.cut href=(of_workflow(frame, row)) title=(row.workflow) { (row.workflow) }
                    @if of_all || !row.tags.is_empty() {
                        small.cut {
                            @if of_all { a href=(frame.to(url::tenant(&row.tenant))) { (row.tenant) } }
                            @if of_all && !row.tags.is_empty() { " · " }
                            bdi { (row.tags.join(", ")) }
                        }
                    }
                }
                td.max role="cell" {
                    @if !row.why.is_empty() { span.cut2 title=(row.why) { (text::cut(&row.why, 300)) } }
                }
                td.fit role="cell" {
                    a.id.mono href=(frame.to(url::execution(&row.tenant, row.id))) title=(row.id) { (text::short_id(row.id)) }
                }
                td.n role="cell" {
                    (text::time(row.begun, text::moment(row.begun, now)))
                    small { (text::duration(row.took)) }
                }
            }
        }
    };
    table("Executions, newest first", &columns, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_hold_is_escaped_in_a_list() {
        let evil = "<script>alert(1)</script>\"'";
        let row = Row {
            id: Uuid::nil(),
            tenant: evil.to_owned(),
            look: state::FAILED,
            workflow: evil.to_owned(),
            tags: vec![evil.to_owned()],
            why: evil.to_owned(),
            begun: Timestamp::UNIX_EPOCH,
            took: std::time::Duration::ZERO,
        };
        let frame = Frame::new("/executions", "", "/executions", &axum::http::HeaderMap::new());
        let shown = list_of(&frame, &[row], Shows { tenants: true, ticks: true }, Timestamp::UNIX_EPOCH)
            .into_string();
        assert!(!shown.contains("<script>"), "{shown}");
        assert_eq!(shown.matches("&lt;script&gt;").count(), 6, "{shown}");
        let shown = filter(&Wanted { workflow: evil.to_owned(), tag: evil.to_owned(), ..Wanted::default() })
            .into_string();
        assert!(!shown.contains("<script>") && !shown.contains("value=\"<"), "{shown}");
    }
}
