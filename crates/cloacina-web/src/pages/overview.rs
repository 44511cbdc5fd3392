//! How a tenant does: whether anybody has to act, what it waits for, what happened.

use std::time::Duration;

use cloacina::tenants::{TenantMetrics, TenantState, TenantStatus};
use cloacina::{
    ExecutionFilter, ExecutionResult, ExecutionStatus, Runner, ScheduleInfo, ScheduleState, Timestamp, Uuid,
    Waiting,
};
use maud::{Markup, html};

use super::executions::{self, Shows, list_of, watched};
use super::layout::{self, Frame, Nav, Page};
use super::parts::state;
use super::parts::table::empty;
use super::parts::{text, url};
use super::waiting;
use super::wanted::Wanted;
use crate::Problem;
use crate::kept::Kept;
use crate::permit::{Permit, View};
use crate::routes::Routes;

/// How many executions and waits are looked at.
const LOOKS: usize = 100;
/// For how long figures are shared.
const FIGURES: Duration = Duration::from_secs(5);
/// How many stand on the page.
const SHOWN: usize = 8;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.page("/tenants/{tenant}", page)
}

/// What is read of a tenant.
struct Read {
    failed: Vec<ExecutionResult>,
    waits: Vec<Waiting>,
    schedules: Vec<ScheduleInfo>,
    status: TenantStatus,
}

/// Something that somebody should look at.
#[derive(Debug)]
struct Need {
    look: state::Look,
    since: String,
    what: Markup,
    href: String,
    does: &'static str,
}

/// The figures of a tenant. Rows are counted for them, so all who look in these seconds share them.
pub(super) async fn figures(kept: &Kept, runner: &Runner) -> Result<TenantMetrics, Problem> {
    let of = format!("figures {}", runner.place());
    Ok(*kept.lasting(FIGURES, of, async || Ok(runner.metrics().await?)).await?)
}

async fn read(runner: &Runner) -> Result<Read, cloacina::Error> {
    let failed = ExecutionFilter::all().status(ExecutionStatus::Failed).superseded(false);
    let (failed, waits, schedules, status) = futures_util::try_join!(
        runner.list(failed, None, LOOKS),
        runner.waits(None, LOOKS),
        async { runner.schedules().list().await },
        runner.tenant_status(),
    )?;
    Ok(Read { failed, waits, schedules, status })
}

async fn page(permit: Permit<View>, frame: Frame) -> Result<Markup, Problem> {
    let runner = permit.runner().await?;
    let (now, sees) = (runner.now(), permit.sees_payloads());
    let tenant = permit.tenant();
    let kept = &permit.web().kept;
    let read = kept.get(format!("overview {tenant}"), async || Ok(read(&runner).await?)).await?;
    let home = url::tenant(tenant);
    let needs = needs(&read, &frame, tenant, sees, now);
    let asks = read.waits.iter().filter(|wait| wait.ask.is_some()).count();
    let metrics = &figures(kept, &runner).await?;
    let (rows, _) = executions::read(kept, &runner, &Wanted::default(), (None, SHOWN), sees).await?;
    let list = frame.to(format!("{home}/executions"));
    let waiting = read.waits.iter().map(|wait| wait.execution_id);
    let watches: Vec<Uuid> = rows.iter().map(|row| row.id).chain(waiting).collect();
    let body = html! {
        header id="head" data-live {
            div.head { h1 { (tenant) } (layout::live(now)) }
            p.lede { (lede(&needs, metrics, asks)) }
            div.figures {
                (figure(&format!("{list}?state=open"), &text::counted(metrics.active_executions as u64), "", "under way"))
                (figure(&format!("{list}?state=waiting"), &text::counted(metrics.waiting_executions), "", "wait, without a slot"))
                (figure(&format!("{list}?state=open"), &text::counted(metrics.queue_depth), "", "tasks ready"))
                (figure(&format!("{list}?state=open"), &metrics.oldest_queued.map_or("—".to_owned(), text::whole), "", "oldest ready task"))
                (figure(&format!("{list}?state=completed"), &text::duration(metrics.p95_execution_time), " p95", "an execution took"))
                (figure(&list, &text::counted(metrics.total_executions), "", "kept"))
            }
        }
        section id="needs" data-live {
            div.bar { h2 { "Needs attention" } @if !needs.is_empty() { span.soft.small { "worst first" } } }
            @if needs.is_empty() {
                (empty("Nothing needs anybody.", &html! {
                    "Of the latest executions none failed without a rerun, nobody is asked, and no schedule is paused."
                }))
            } @else {
                ol.rows {
                    @for need in &needs {
                        li {
                            span { (need.look) br; span.soft.small { (need.since) } }
                            div { (need.what) }
                            div.do { a.btn href=(need.href) { (need.does) } }
                        }
                    }
                }
            }
        }
        @if read.waits.iter().any(|wait| wait.ask.is_none()) {
            section id="waiting" data-live {
                div.bar { h2 { "Waits longest" } span.end.small { a href={ (list) "?state=waiting" } { "All that wait" } } }
                ul.rows { @for wait in longest(&read.waits) { (wait_of(&frame, tenant, wait, sees, now)) } }
            }
        }
        section {
            div.bar { h2 { "Latest executions" } span.end.small { a href=(list) { "All" } } }
            @if rows.is_empty() {
                (empty("No execution yet.", &html! { "Submit one: " code { "cloacina executions submit " (tenant) " hello" } }))
            } @else { div id="latest" data-live { (list_of(&frame, &rows, Shows { tenants: false, ticks: false }, now)) } }
        }
    };
    Ok(layout::page(
        &permit,
        &frame,
        &Page::new(format!("Overview of {tenant}"), Nav::Overview, &body).live(watched(tenant, watches)),
    ))
}

fn figure(href: &str, number: &str, unit: &str, label: &str) -> Markup {
    html! { a href=(href) { b { (number) @if !unit.is_empty() { small { (unit) } } } span { (label) } } }
}

fn lede(needs: &[Need], metrics: &TenantMetrics, asks: usize) -> String {
    let things = match needs.len() {
        0 => "Nothing to look at".to_owned(),
        count => format!("{} to look at", text::count(count as u64, "thing", "things")),
    };
    let asked = match asks {
        0 => String::new(),
        1 => "; 1 question waits for an answer".to_owned(),
        asks => format!("; {asks} questions wait for an answer"),
    };
    let open = metrics.active_executions as u64 + metrics.waiting_executions;
    let verb = if open == 1 { "is" } else { "are" };
    format!("{things}. {} {verb} not over{asked}.", text::count(open, "execution", "executions"))
}

fn needs(read: &Read, frame: &Frame, tenant: &str, sees: bool, now: Timestamp) -> Vec<Need> {
    let home = url::tenant(tenant);
    let mut needs = Vec::new();
    if read.status.state != TenantState::Active {
        needs.push(Need {
            look: state::SUSPENDED.word(format!("Tenant {}", read.status.state)),
            since: "by the operator".to_owned(),
            what: html! { p { "Nothing is submitted or claimed until the operator resumes it. Nothing is lost." } },
            href: frame.to(format!("{home}/settings")),
            does: "Look",
        });
    }
    // By workflow, the one that failed last first.
    let mut seen: Vec<&str> = Vec::new();
    for execution in &read.failed {
        let workflow = execution.workflow_name.as_str();
        if seen.contains(&workflow) || seen.len() >= SHOWN {
            continue;
        }
        seen.push(workflow);
        let count = read.failed.iter().filter(|other| other.workflow_name == workflow).count();
        let ended = execution.end_time.unwrap_or(execution.start_time);
        let filter = url::query([("state", "failed"), ("workflow", workflow), ("superseded", "no")]);
        let error = execution.error_message.as_deref().map(|error| waiting::error(error, sees));
        let all = if read.failed.len() == LOOKS { "at least " } else { "" };
        needs.push(Need {
            look: state::FAILED,
            since: format!("last {}", text::relative(ended, now)),
            what: html! {
                p { code { (workflow) } " failed: " b { (all) (text::count(count as u64, "execution", "executions")) } " that nobody has rerun." }
                @if let Some(error) = &error { p.soft.mono.any { (text::cut(error, 200)) } }
            },
            href: frame.to(format!("{home}/executions{filter}")),
            does: "Show them",
        });
    }
    let asks: Vec<&Waiting> = read.waits.iter().filter(|wait| wait.ask.is_some()).collect();
    if let Some(first) = asks.iter().min_by_key(|wait| (wait.until.is_none(), wait.until)) {
        let ends = match first.until {
            Some(until) => format!("; the first runs out {}", text::relative(until, now)),
            None => String::new(),
        };
        needs.push(Need {
            look: state::WAITS_FOR_ANSWER,
            since: format!("since {}", text::moment(first.since, now)),
            what: html! { p { (text::count(asks.len() as u64, "question waits", "questions wait")) " for an answer" (ends) "." } },
            href: frame.to(format!("{home}/inbox")),
            does: "Answer",
        });
    }
    let halted =
        |schedule: &&ScheduleInfo| matches!(schedule.state, ScheduleState::Paused | ScheduleState::Broken);
    for schedule in read.schedules.iter().filter(halted).take(SHOWN) {
        let failures = if schedule.failures > 0 {
            format!(" after {} failures in a row", schedule.failures)
        } else {
            String::new()
        };
        needs.push(Need {
            look: state::of_schedule(schedule.state),
            since: "a schedule".to_owned(),
            what: html! {
                p { "Schedule " b { (schedule.name) } " does not fire" (failures) "." }
                @if let Some(reason) = &schedule.reason { p.soft.any { (text::cut(reason, 200)) } }
            },
            href: frame.to(url::schedule(tenant, &schedule.name)),
            does: "Look",
        });
    }
    needs
}

/// The waits that began first, without those that ask: these are in the inbox.
fn longest(waits: &[Waiting]) -> Vec<&Waiting> {
    let mut longest: Vec<&Waiting> = waits.iter().filter(|wait| wait.ask.is_none()).collect();
    longest.sort_by_key(|wait| wait.since);
    longest.truncate(SHOWN);
    longest
}

fn wait_of(frame: &Frame, tenant: &str, wait: &Waiting, sees: bool, now: Timestamp) -> Markup {
    html! {
        li {
            span {
                (state::of_wait(wait)) br;
                span.soft.small { "for " (text::whole(text::between(wait.since, now))) }
            }
            div { p { span.any { (wait.workflow) } " · " (waiting::in_short(wait, sees, now)) } }
            div.do {
                a.id.mono href=(frame.to(url::execution(tenant, wait.execution_id))) title=(wait.execution_id) {
                    (text::short_id(wait.execution_id))
                }
            }
        }
    }
}
