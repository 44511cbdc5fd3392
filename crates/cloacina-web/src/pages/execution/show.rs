//! The page of an execution as HTML.

use maud::{Markup, html};

use super::read::CHILDREN;
use super::view::{Map, Pages, Task, Trouble, View, Wait, Whole, children_by_state, map_in_short};
use crate::pages::diff;
use crate::pages::graph;
use crate::pages::layout::{self, Frame};
use crate::pages::parts::dialog::{self, Dialog};
use crate::pages::parts::state;
use crate::pages::parts::table::{Column, column, numbers, table};
use crate::pages::parts::{say, text, url};
use crate::pages::timeline;
use crate::permit::{Action, Control, Permit};

pub(super) fn body<A: Action>(
    permit: &Permit<A>,
    frame: &Frame,
    view: &View,
    ask: Option<&Dialog>,
) -> Markup {
    let may = permit.may::<Control>();
    html! {
        @if let Some(ask) = ask { (ask.show()) }
        (head(may, frame, view))
        @if !view.waits.is_empty() || view.maps.iter().any(|map| map.is_open) { (waits(may, frame, view)) }
        @if view.has_edges { (drawn(view)) }
        (over_time(view))
        @if view.trouble_pages.all > 0 { (errors(view)) }
        @if !view.attempts.is_empty() { (attempts(view)) }
        @if !view.children.is_empty() { (children(frame, view)) }
        div.two { (context(view)) (facts(frame, view)) }
    }
}

fn head(may: bool, frame: &Frame, view: &View) -> Markup {
    let list = format!("{}/executions", url::tenant(&view.tenant));
    let of_workflow = url::query([("workflow", view.workflow.as_str())]);
    let is_paused = view.status == cloacina::ExecutionStatus::Paused;
    html! {
        header id="head" data-live {
            p.crumbs {
                a href=(frame.to(&list)) { "Executions" }
                a href=(frame.to(url::tenant(&view.tenant))) { (view.tenant) }
                a href=(frame.to(format!("{list}{of_workflow}"))) { (view.workflow) }
            }
            div.head {
                h1 { (view.workflow) " " span.soft { (text::short_id(view.id)) } }
                @if may {
                    div.btns {
                        @if view.is_over() {
                            @if let Some(by) = view.facts.superseded_by {
                                (dialog::cannot("Rerun", &format!("it was rerun as {}", text::short_id(by))))
                            } @else { (dialog::asks("rerun", "Rerun", "go")) }
                        } @else {
                            @if is_paused { (dialog::asks("resume", "Resume", "go")) } @else { (dialog::asks("pause", "Pause", "")) }
                            (dialog::asks("signal", "Signal", ""))
                            (dialog::cannot("Rerun", "offered when the execution is over"))
                            (dialog::asks("cancel", "Cancel", "bad"))
                        }
                    }
                }
            }
            div.bar.sub {
                (view.look.big())
                span { (view.summary) }
                span.mono.soft.any { (view.id) }
                span.end { (layout::live(view.now)) }
            }
            @if let Some(error) = &view.error {
                div class={ "say sub " (view.look.class) } { p.mono.any { (text::cut(error, 2_000)) } }
            }
        }
    }
}

fn waits(may: bool, frame: &Frame, view: &View) -> Markup {
    html! {
        section id="waits" data-live {
            div.bar { h2 { "What it waits for" } }
            ul.rows {
                @for wait in view.waits.iter().take(50) { (wait_of(may, view, wait)) }
                @for map in view.maps.iter().filter(|map| map.is_open) { (map_of(may, frame, view, map)) }
            }
            @if view.waits.len() > 50 { p.note { (view.waits.len() - 50) " more." } }
        }
    }
}

fn ask(ask: &str, node: &str) -> String {
    url::query([("ask", ask), ("node", node)])
}

fn wait_of(may: bool, view: &View, wait: &Wait) -> Markup {
    let since = text::between(wait.since, view.now);
    html! {
        li {
            span {
                (wait.look) br;
                span.soft.small { "since " (text::time(wait.since, text::moment(wait.since, view.now))) " (" (text::whole(since)) ")" }
            }
            div {
                p {
                    code { (wait.node) }
                    @if wait.asks {
                        " asks " b { (wait.role.as_deref().unwrap_or("anybody")) } ":"
                    } @else if let Some(signal) = &wait.signal {
                        " waits for the signal " b { (signal) }
                    } @else { " sleeps" }
                }
                @if wait.asks {
                    p.ask.any { (wait.question.as_deref().unwrap_or("a question, hidden")) }
                }
                p.soft {
                    @if let Some(until) = wait.until {
                        "Until " (text::time(until, text::day(until))) " (" (text::relative(until, view.now)) ")"
                        @if wait.signal.is_some() { "; then its time is over." } @else { "." }
                    } @else { "It has no end of its own." }
                }
            }
            div.do {
                @if may {
                    div.btns {
                        @if wait.asks { a.btn.go href=(ask("answer", &wait.node)) data-ask { "Answer…" } }
                        @else if let Some(signal) = &wait.signal { a.btn href=(ask("signal", signal)) data-ask { "Send it…" } }
                        a.btn href=(ask("wake", &wait.node)) data-ask { "End the wait…" }
                    }
                }
            }
        }
    }
}

fn map_of(may: bool, frame: &Frame, view: &View, map: &Map) -> Markup {
    let progress = &map.progress;
    let total = progress.total.max(1) as f64;
    let width = |count: u64| (count as f64 / total * 1_000.0).min(1_000.0);
    let (done, failed, running) =
        (width(progress.completed), width(progress.failed), width(progress.running()));
    let look = if map.is_open { state::WAITS_FOR_CHILD } else { state::COMPLETED.word("Over") };
    let told = format!(
        "{} completed, {} failed, {} run, {} not begun",
        progress.completed,
        progress.failed,
        progress.running(),
        progress.total.saturating_sub(progress.started)
    );
    html! {
        li {
            span { (look) }
            div {
                p { code { (map.node) } ", children: " b { (map_in_short(progress)) } }
                svg.strip viewBox="0 0 1000 20" preserveAspectRatio="none" role="img" aria-label=(told) {
                    rect.track y="6" width="1000" height="9" {}
                    rect.done.f y="6" width=(format!("{done:.1}")) height="9" {}
                    @if progress.failed > 0 {
                        rect.fail.f x=(format!("{done:.1}")) y="2" width=(format!("{:.1}", failed.max(4.0))) height="17" {}
                    }
                    rect.work.f x=(format!("{:.1}", done + failed)) y="6" width=(format!("{running:.1}")) height="9" {}
                }
            }
            div.do {
                div.btns {
                    @if may && map.is_open { a.btn href=(ask("parallel", &map.node)) data-ask { "At once…" } }
                    a.btn href=(format!("{}#children", frame.to(url::execution(&view.tenant, view.id)))) { "Children" }
                }
            }
        }
    }
}

fn drawn(view: &View) -> Markup {
    html! {
        section id="graph" data-live { div.bar { h2 { "Graph" } } (graph::draw(&view.nodes)) }
    }
}

fn over_time(view: &View) -> Markup {
    let columns = [
        column("Task"),
        column("State"),
        Column { head: view.axis.head(), class: "" },
        column("Why, where"),
        numbers("Attempts, took"),
    ];
    let rows = html! { @for task in &view.tasks { (task_of(view, task)) } };
    html! {
        section id="tasks" data-live {
            div.bar {
                h2 { "Tasks over time" }
                span.soft.small { "attempts are thick, waits are thin; UTC" }
            }
            (table("Tasks with their attempts and waits over time", &columns, &rows))
            (timeline::legend(view.now))
            (pager("tasks", view.task_pages, "tasks"))
            @if view.attempts.is_empty() && view.attempt_pages.all > 0 {
                p.note { a href="?attempts=0#attempts" { "All " (text::count(view.attempt_pages.all as u64, "attempt", "attempts")) } }
            }
        }
    }
}

fn task_of(view: &View, task: &Task) -> Markup {
    html! {
        tr role="row" id={ "t-" (task.position) } {
            td.fit.up role="cell" {
                span.any { (task.id) }
                @if !task.kind.is_empty() { " " span.tag { (task.kind) } }
            }
            td.fit.up role="cell" { (task.look) }
            td.w.tl role="cell" { (timeline::strip(&view.axis, &task.marks)) span.vh { (task.told) } }
            td.why.w role="cell" {
                @if !task.why.is_empty() { span.soft.cut2 title=(text::cut(&task.why, 500)) { (text::cut(&task.why, 200)) } }
            }
            td.n role="cell" data-l=[(task.attempts > 0).then_some("attempts")] {
                @if task.attempts > 0 { (text::number(task.attempts.into())) }
                @if let Some(took) = task.took { small { (text::duration(took)) } }
            }
        }
    }
}

/// Newer and older of a list on this page.
fn pager(name: &str, pages: Pages, what: &str) -> Markup {
    if pages.all <= pages.each {
        return html! {};
    }
    let to = |page: usize| format!("?{name}={page}#{name}");
    let from = pages.page * pages.each;
    html! {
        nav.pager aria-label={ "Pages of " (what) } {
            span { (text::number(from as u64 + 1)) " to " (text::number((from + pages.each).min(pages.all) as u64)) " of " (text::count(pages.all as u64, what, what)) }
            span.end.btns {
                @if pages.page > 0 { a.btn href=(to(pages.page - 1)) rel="prev" { "Before" } }
                @if pages.has_more() { a.btn href=(to(pages.page + 1)) rel="next" { "After" } }
            }
        }
    }
}

fn attempts(view: &View) -> Markup {
    let rows = html! {
        @for attempt in &view.attempts {
            tr role="row" {
                td.fit.up role="cell" { (attempt.look) }
                td.max role="cell" { span.cut title=(attempt.task) { (attempt.task) } }
                td.n role="cell" data-l="attempt" { (attempt.attempt) }
                td.fit role="cell" { span.mono title=(attempt.runner) { (text::short_id(attempt.runner)) } }
                td.n role="cell" {
                    (text::time(attempt.at, text::moment(attempt.at, view.now)))
                    @if let Some(after) = attempt.after { small { (text::duration(after)) } }
                }
            }
        }
    };
    let columns =
        [column("Outcome"), column("Task"), numbers("Attempt"), column("Runner"), numbers("Ended, took")];
    html! {
        section id="attempts" data-live {
            div.bar { h2 { "Attempts" } span.soft.small { (text::number(view.attempt_pages.all as u64)) ", newest first" } }
            (table("Attempts, newest first", &columns, &rows))
            (pager("attempts", view.attempt_pages, "attempts"))
        }
    }
}

fn errors(view: &View) -> Markup {
    html! {
        section id="errors" data-live {
            div.bar { h2 { "Errors" } span.soft.small { (text::number(view.trouble_pages.all as u64)) ", newest first" } }
            ul.rows { @for trouble in &view.troubles { (error(view, trouble)) } }
            (pager("errors", view.trouble_pages, "attempts"))
        }
    }
}

fn error(view: &View, trouble: &Trouble) -> Markup {
    html! {
        li {
            span {
                (trouble.look) br;
                span.soft.small {
                    (text::time(trouble.at, text::moment(trouble.at, view.now)))
                    @if let Some(after) = trouble.after { ", after " (text::duration(after)) }
                }
            }
            div {
                p { code { (trouble.task) } ", attempt " (trouble.attempt) ", on runner " span.mono { (text::short_id(trouble.runner)) } }
                @if let Some(error) = &trouble.error {
                    @let first = error.lines().next().unwrap_or_default();
                    @if first.len() == error.len() && error.len() <= 300 { p.mono.any { (error) } }
                    @else {
                        details {
                            summary.mono.any { (text::cut(first, 300)) }
                            pre tabindex="0" { (text::cut(error, 4_000)) }
                        }
                    }
                }
            }
            div.do {}
        }
    }
}

fn children(frame: &Frame, view: &View) -> Markup {
    let counts = children_by_state(&view.children);
    let told: Vec<String> = counts.into_iter().map(|(state, count)| format!("{count} {state}")).collect();
    let rows = html! {
        @for child in &view.children {
            tr role="row" {
                td.fit.up role="cell" { (state::of_execution(child.status)) }
                td.max role="cell" { span.cut { (child.node) } }
                td.n role="cell" data-l="item" { (text::number(child.item)) }
                td.fit role="cell" {
                    a.id.mono href=(frame.to(url::execution(&view.tenant, child.execution_id))) title=(child.execution_id) {
                        (text::short_id(child.execution_id))
                    }
                }
            }
        }
    };
    html! {
        section id="children" data-live {
            div.bar { h2 { "Children" } span.soft.small { (view.children.len()) " here: " (told.join(", ")) } }
            (table("Children", &[column("State"), column("Node"), numbers("Item"), column("Execution")], &rows))
            @if let Some(last) = view.children.last().filter(|_| view.children.len() == CHILDREN) {
                @let next = url::query([("children", last.cursor().to_string().as_str())]);
                nav.pager aria-label="Pages of children" {
                    span.end.btns {
                        a.btn href="?#children" { "First" }
                        a.btn href={ (next) "#children" } rel="next" { "More" }
                    }
                }
            }
        }
    }
}

fn context(view: &View) -> Markup {
    let changed = view.shown.and_then(|shown| view.changes.get(shown));
    html! {
        section id="context" data-live {
            div.bar { h2 { "Context" } span.soft.small { "what each task changed" } }
            @if !view.sees_payloads { (say::hidden()) }
            @if view.changes.is_empty() {
                p.soft { "No task has changed it yet." }
            } @else {
                p.chips role="group" aria-label="What a task changed" {
                    @for (position, changed) in view.changes.iter().enumerate().take(60) {
                        a href={ (url::query([("diff", changed.task.as_str())])) "#context" }
                            aria-current=[(view.shown == Some(position)).then_some("true")] {
                            (changed.task) " " (diff::in_short(&changed.lines))
                        }
                    }
                }
            }
            @if let Some(changed) = changed {
                (diff::show(&format!("What {} changed", changed.task), &changed.lines, view.sees_payloads))
            }
            @let (values, name) = match view.whole {
                Whole::Input => (Some(&view.input), "Input"),
                Whole::Context => (Some(&view.context), "Whole context"),
                Whole::None => (None, ""),
            };
            @if let Some(values) = values {
                div.scroll tabindex="0" role="region" aria-label=(name) {
                    table.diff {
                        caption { (name) ", " (text::count(values.len() as u64, "key", "keys")) }
                        tbody {
                            @for (key, value) in values.iter().take(200) {
                                tr { td { (key) } td { (diff::value(value, view.sees_payloads)) } }
                            }
                        }
                    }
                }
            }
            p.note {
                a href="?whole=input#context" { "Input" } ", " (text::count(view.input.len() as u64, "key", "keys")) " · "
                a href="?whole=context#context" { "Whole context" } ", " (text::count(view.context.len() as u64, "key", "keys"))
                ", " (text::bytes(view.facts.context_bytes))
            }
        }
    }
}

fn facts(frame: &Frame, view: &View) -> Markup {
    let facts = &view.facts;
    let link = |id| html! { a.id.mono href=(frame.to(url::execution(&view.tenant, id))) title=(id) { (text::short_id(id)) } };
    let moment = |time| text::time(time, text::exact(time));
    html! {
        section id="facts" data-live {
            div.bar { h2 { "Facts" } }
            dl.facts {
                dt { "Id" } dd.mono { (view.id) }
                dt { "Version" }
                dd { @if let Some(version) = &facts.version { (version) " · " } span.mono { (facts.fingerprint) } }
                @if let Some(of) = facts.rerun_of { dt { "Rerun of" } dd { (link(of)) } }
                @if let Some(by) = facts.superseded_by { dt { "Rerun as" } dd { (link(by)) } }
                dt { "Recorded" } dd { (moment(facts.created)) }
                @if let Some(by) = &facts.submitted_by { dt { "Submitted by" } dd { (by) } }
                dt { "Begun" } dd { (moment(facts.begun)) }
                @if let Some(ended) = facts.ended { dt { "Ended" } dd { (moment(ended)) } }
                @if let Some(deadline) = facts.deadline {
                    dt { "Deadline" } dd { (moment(deadline)) " (" (text::relative(deadline, view.now)) ")" }
                }
                dt { "Priority" } dd { (facts.priority) }
                @if let Some(trace) = &facts.trace { dt { "Trace" } dd.mono { (trace) } }
                @if !facts.tags.is_empty() { dt { "Tags" } dd { (facts.tags.join(", ")) } }
                dt { "Slot time" } dd { (text::duration(facts.slot_time)) }
            }
        }
    }
}
