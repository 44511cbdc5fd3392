//! Schedules: when they fire, what came of it, and what they say.

mod actions;
mod editor;
mod strip;
mod times;

use std::time::Duration;

use axum::extract::Path;
use cloacina::{CatchUp, FireRecord, Overlap, ScheduleInfo, ScheduleState, Timestamp, Uuid};
use futures_util::future::join_all;
use maud::{Markup, html};

use self::strip::Week;
use self::times::next_times;
use super::layout::{self, Frame, Nav, Page};
use super::parts::dialog;
use super::parts::state;
use super::parts::table::{Column, column, empty, numbers, table};
use super::parts::{text, url};
use crate::Problem;
use crate::permit::{Control, Permit, Submit, View};
use crate::routes::Routes;

/// How many schedules stand on a page.
const PAGE: usize = 25;
/// How many times of the log stand on a page.
const FIRES: usize = 20;
/// How many next times are shown.
const NEXT: usize = 6;

pub(super) fn routes(routes: Routes) -> Routes {
    let routes =
        routes.page("/tenants/{tenant}/schedules", list).page("/tenants/{tenant}/schedules/{schedule}", one);
    editor::routes(actions::routes(routes))
}

fn has_state(schedule: &ScheduleInfo, state: Option<&str>) -> bool {
    state.is_none_or(|state| schedule.state.as_str() == state)
}

async fn list(permit: Permit<View>, frame: Frame) -> Result<Markup, Problem> {
    let runner = permit.runner().await?;
    let now = runner.now();
    let schedules = runner.schedules();
    let all = schedules.list().await?;
    let (named, wanted, after) = (frame.param("q"), frame.param("state"), frame.param("after"));
    let matches = |schedule: &&ScheduleInfo| {
        let is_named =
            named.is_none_or(|text| schedule.name.contains(text) || schedule.workflow.contains(text));
        is_named && has_state(schedule, wanted)
    };
    let mut shown: Vec<&ScheduleInfo> = all.iter().filter(matches).collect();
    shown.sort_by(|one, other| {
        let key = |schedule: &ScheduleInfo| (schedule.next.is_none(), schedule.next, schedule.name.clone());
        key(one).cmp(&key(other))
    });
    let from = after.and_then(|after| after.parse().ok()).unwrap_or(0_usize);
    let has_more = shown.len() > from.saturating_add(PAGE);
    let shown: Vec<&ScheduleInfo> = shown.into_iter().skip(from).take(PAGE).collect();
    let week = Week::new(now);
    let read = shown.iter().map(async |schedule| {
        let fires = schedules.fires(&schedule.name, None, 200).await.unwrap_or_default();
        let is_active = schedule.state == ScheduleState::Active;
        let next =
            if is_active { schedules.next(&schedule.name, 60).await.unwrap_or_default() } else { Vec::new() };
        (fires, next)
    });
    let times = join_all(read).await;
    let tenant = permit.tenant();
    let halted = all.iter().filter(|schedule| schedule.state == ScheduleState::Paused).count();
    let first = all.iter().filter_map(|schedule| schedule.next).min();
    let columns = [
        column("Schedule · workflow"),
        column("State"),
        column("When"),
        Column { head: week.head(), class: "" },
        numbers("Next"),
    ];
    let rows = html! {
        @for (schedule, (fires, next)) in shown.iter().zip(&times) { (row(&frame, tenant, schedule, fires, next, &week, now)) }
    };
    let body = html! {
        header id="head" data-live {
            div.head {
                h1 { "Schedules" }
                @if permit.may::<Submit>() {
                    div.btns { a.btn.go href=(frame.to(format!("{}/schedule-editor", url::tenant(tenant)))) { "New schedule" } }
                }
            }
            p.lede {
                (text::count(all.len() as u64, "schedule", "schedules"))
                @if halted > 0 { "; " (halted) " paused" }
                @if let Some(first) = first { "; the next is due " (text::relative(first, now)) }
                "."
            }
            form.form method="get" role="search" aria-label="Filter" {
                label.grow { "Name or workflow" input id="filter" name="q" value=[named] maxlength="200"; }
                label { "State" select name="state" {
                    @for (value, label) in [("", "any"), ("active", "active"), ("paused", "paused"), ("done", "ended"), ("broken", "broken")] {
                        option value=(value) selected[wanted.unwrap_or_default() == value] { (label) }
                    }
                } }
                button.btn { "Filter" }
            }
        }
        section id="schedules" data-live {
            @if shown.is_empty() {
                @if all.is_empty() {
                    (empty("No schedule yet.", &html! { "Make one here, or in the program: " code { "runner.schedules().put(Schedule::new(…).cron(…))" } }))
                } @else { (empty("No schedule matches the filter.", &html! { a href="?" { "Look at all of them" } })) }
            } @else {
                (table("Schedules with their times of the last and the next three days", &columns, &rows))
                (strip::legend())
                nav.pager aria-label="Pages of the list" {
                    span { (shown.len()) " shown, next time first" }
                    span.end.btns {
                        @if from > 0 { a.btn href=(url::query([("q", named.unwrap_or_default()), ("state", wanted.unwrap_or_default())])) { "First" } }
                        @if has_more {
                            a.btn rel="next" href=(url::query([("q", named.unwrap_or_default()), ("state", wanted.unwrap_or_default()), ("after", &(from + PAGE).to_string())])) { "More" }
                        }
                    }
                }
            }
        }
    };
    Ok(layout::page(
        &permit,
        &frame,
        &Page::new(format!("Schedules of {tenant}"), Nav::Schedules, &body)
            .live(format!("v1/tenants/{}/events", url::part(tenant))),
    ))
}

/// When it fires, as it says itself.
fn when(schedule: &ScheduleInfo) -> (String, String) {
    let mut parts: Vec<String> = schedule.cron.clone();
    parts.extend(schedule.every.iter().map(|period| format!("every {}", text::whole(*period))));
    parts.extend(schedule.at.iter().map(|time| format!("once at {}", text::day(*time))));
    let zone = schedule.zone.clone().unwrap_or_else(|| "UTC".to_owned());
    let except = if schedule.except.is_empty() {
        String::new()
    } else {
        format!(", except {}", schedule.except.join(", "))
    };
    (parts.join(", "), format!("{zone}{except}"))
}

fn row(
    frame: &Frame,
    tenant: &str,
    schedule: &ScheduleInfo,
    fires: &[FireRecord],
    next: &[Timestamp],
    week: &Week,
    now: Timestamp,
) -> Markup {
    let (says, zone) = when(schedule);
    html! {
        tr role="row" {
            td.max role="cell" {
                a.cut href=(frame.to(url::schedule(tenant, &schedule.name))) title=(schedule.name) { (schedule.name) }
                small.cut title=(schedule.workflow) { (schedule.workflow) }
            }
            td.fit.up role="cell" { (state::of_schedule(schedule.state)) }
            td.when role="cell" { span.mono.any { (text::cut(&says, 80)) } small { (zone) } }
            td.w.tl role="cell" { (week.strip(fires, next)) }
            td.n role="cell" {
                @if let Some(next) = schedule.next {
                    (text::time(next, text::relative(next, now))) small { (text::moment(next, now)) " UTC" }
                } @else {
                    "—" small { @if schedule.failures > 0 { (text::count(schedule.failures.into(), "failure", "failures")) } }
                }
            }
        }
    }
}

async fn one(
    permit: Permit<View>,
    frame: Frame,
    Path((tenant, name)): Path<(String, String)>,
) -> Result<Markup, Problem> {
    let runner = permit.runner().await?;
    let now = runner.now();
    let schedules = runner.schedules();
    let schedule = schedules.get(&name).await?;
    let before = frame.param("before").and_then(|text| text.parse::<Timestamp>().ok());
    let mut fires = schedules.fires(&name, before, FIRES + 1).await?;
    let has_more = fires.len() > FIRES;
    fires.truncate(FIRES);
    let next = if schedule.state == ScheduleState::Broken {
        Vec::new()
    } else {
        schedules.next(&name, NEXT).await?
    };
    let older = fires
        .last()
        .filter(|_| has_more)
        .map(|last| url::query([("before", last.nominal.to_string().as_str())]));
    let (may, may_edit) = (permit.may::<Control>(), permit.may::<Submit>());
    let ask = actions::question(&permit, &frame, &schedule, now);
    let edit = frame.to(format!(
        "{}/schedule-editor{}",
        url::tenant(&tenant),
        url::query([("name", name.as_str())])
    ));
    let body = html! {
        @if let Some(ask) = &ask { (ask.show()) }
        header id="head" data-live {
            p.crumbs {
                a href=(frame.to(format!("{}/schedules", url::tenant(&tenant)))) { "Schedules" }
                a href=(frame.to(url::tenant(&tenant))) { (tenant) }
            }
            div.head {
                h1 { (schedule.name) }
                @if may || may_edit {
                    div.btns {
                        @if may {
                            @if schedule.state == ScheduleState::Active { (dialog::asks("pause", "Pause", "")) }
                            @else { (dialog::asks("resume", "Resume", "")) }
                            (dialog::asks("trigger", "Trigger", ""))
                            (dialog::asks("backfill", "Backfill", ""))
                        }
                        @if may_edit {
                            a.btn href=(edit) { "Edit" }
                            (dialog::asks("delete", "Delete", "bad"))
                        }
                    }
                }
            }
            div.bar.sub {
                (state::of_schedule(schedule.state).big())
                @if let Some(reason) = &schedule.reason { span.any { (text::cut(reason, 300)) } }
                @if let Some(next) = schedule.next { span { "next " (text::time(next, text::relative(next, now))) } }
                span.end { (layout::live(now)) }
            }
        }
        section id="fires" data-live {
            div.bar { h2 { "Times" } span.soft.small { "the latest first; 1,000 are kept" } }
            @if fires.is_empty() {
                (empty("It has not fired yet.", &html! { "What comes of each of its times stands here." }))
            } @else {
                (table("What came of its times", &[column("Time"), column("Outcome"), column("Why"), numbers("Late"), column("Execution")], &html! {
                    @for fire in &fires { (fired(&frame, &tenant, fire, now)) }
                }))
            }
            nav.pager aria-label="Pages of the list" {
                span { (fires.len()) " shown" }
                span.end.btns {
                    @if before.is_some() { a.btn href="?" { "Newest" } }
                    @if let Some(older) = &older { a.btn href=(older) rel="next" { "Older" } }
                }
            }
        }
        div.two {
            section id="next" data-live {
                div.bar { h2 { "Next times" } span.soft.small { "before its spread, if it has one" } }
                (next_times(&next, schedule.zone.as_deref(), now))
            }
            section id="definition" data-live { div.bar { h2 { "Definition" } } (definition(&schedule, permit.sees_payloads())) }
        }
    };
    Ok(layout::page(
        &permit,
        &frame,
        &Page::new(format!("Schedule {name}"), Nav::Schedules, &body)
            .live(format!("v1/tenants/{}/events", url::part(&tenant))),
    ))
}

fn fired(frame: &Frame, tenant: &str, fire: &FireRecord, now: Timestamp) -> Markup {
    let late = text::between(fire.nominal, fire.fired_at);
    let execution = fire.execution.map(Uuid::from);
    html! {
        tr role="row" {
            td.nb.fit role="cell" { b { (text::time(fire.nominal, text::moment(fire.nominal, now))) } }
            td.fit.up role="cell" { (state::of_fire(fire.outcome)) }
            td.max role="cell" {
                @if fire.missed > 0 { span.cut2 { "stands for " (text::count(fire.missed.into(), "time", "times")) " more that were missed" } }
            }
            td.n role="cell" data-l="late" { (text::duration(late)) }
            td.fit role="cell" {
                @if let Some(id) = execution {
                    a.id.mono href=(frame.to(url::execution(tenant, id))) title=(id) { (text::short_id(id)) }
                    @if let Some(status) = fire.status { " " (state::of_execution(status)) }
                }
            }
        }
    }
}

fn overlap(overlap: Overlap) -> String {
    match overlap {
        Overlap::Skip => "skip while the last execution is not over".to_owned(),
        Overlap::Buffer(most) => format!("wait for the last execution, {most} at most"),
        Overlap::Allow => "start beside the last execution".to_owned(),
        Overlap::CancelOther => "cancel the last execution".to_owned(),
        _ => "by a rule of a newer version".to_owned(),
    }
}

fn catch_up(catch_up: CatchUp) -> &'static str {
    match catch_up {
        CatchUp::Nothing => "forget them",
        CatchUp::Latest => "run the latest once",
        CatchUp::All => "run them all",
        _ => "by a rule of a newer version",
    }
}

fn definition(schedule: &ScheduleInfo, sees_payloads: bool) -> Markup {
    let (says, zone) = when(schedule);
    let lasts = |duration: Duration| text::whole(duration);
    let input = serde_json::to_string(&schedule.input).unwrap_or_default();
    html! {
        dl.facts {
            dt { "Workflow" } dd { (schedule.workflow) }
            dt { "When" } dd { span.mono { (says) } " " (zone) }
            dt { "Missed times" } dd {
                (catch_up(schedule.catch_up))
                @if let Some(window) = schedule.window { ", if less than " (lasts(window)) " late" }
            }
            dt { "Overlap" } dd { (overlap(schedule.overlap)) }
            @if let Some(spread) = schedule.spread { dt { "Spread" } dd { "up to " (lasts(spread)) } }
            @if let (Some(from), _) = schedule.between { dt { "From" } dd { (text::exact(from)) } }
            @if let (_, Some(to)) = schedule.between { dt { "To" } dd { (text::exact(to)) } }
            @if let Some(most) = schedule.at_most { dt { "At most" } dd { (text::count(most.into(), "execution", "executions")) } }
            @if let Some(failures) = schedule.pause_after_failures {
                dt { "Pauses itself" } dd { "after " (text::count(failures.into(), "failure", "failures")) " in a row; " (schedule.failures) " now" }
            }
            @if let Some(starts) = &schedule.on_failure { dt { "A failure starts" } dd.mono { (starts) } }
            dt { "Priority" } dd { (schedule.priority) }
            dt { "Input" } dd.mono {
                @if sees_payloads { (text::cut(&input, 2_000)) } @else { "hidden, " (text::bytes(input.len() as u64)) }
            }
            @if schedule.buffered > 0 { dt { "Buffered" } dd { (schedule.buffered) } }
            @if schedule.backfilling > 0 { dt { "Backfill" } dd { (schedule.backfilling) " not over" } }
            dt { "Made by" } dd {
                @match &schedule.origin {
                    Some(origin) => { "the program (origin " code { (origin) } "); what is changed here lasts until it puts its schedules again" }
                    None => "put one by one",
                }
            }
        }
    }
}
