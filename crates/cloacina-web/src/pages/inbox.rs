//! What people are asked, the questions that run out first before the others.

use cloacina::{Cursor, Timestamp, Uuid, Waiting};
use maud::{Markup, html};

use super::executions::watched;
use super::layout::{self, Frame, Nav, Page};
use super::parts::state::{Icon, Look};
use super::parts::table::empty;
use super::parts::{say, text, url};
use crate::Problem;
use crate::permit::{Control, Permit, View};
use crate::routes::Routes;

/// How many questions stand on a page.
pub(super) const PAGE: usize = 25;
/// What runs out within this time stands first, in seconds.
const SOON: u64 = 3_600;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.page("/tenants/{tenant}/inbox", page)
}

/// A question.
#[derive(Debug, Clone)]
pub(super) struct Question {
    tenant: String,
    /// Whether it stands among questions of other tenants.
    of_all: bool,
    execution: Uuid,
    workflow: String,
    node: String,
    signal: String,
    since: Timestamp,
    until: Option<Timestamp>,
    role: Option<String>,
    /// Nothing if it may not be seen.
    question: Option<String>,
    choices: Vec<String>,
}

impl Question {
    pub(super) fn new(tenant: &str, wait: &Waiting, of_all: bool, sees_payloads: bool) -> Option<Self> {
        let ask = wait.ask.as_ref()?;
        Some(Self {
            tenant: tenant.to_owned(),
            of_all,
            execution: wait.execution_id,
            workflow: wait.workflow.clone(),
            node: wait.wait.clone(),
            signal: wait.signal.clone().unwrap_or_else(|| wait.wait.clone()),
            since: wait.since,
            until: wait.until,
            role: ask.role.clone(),
            question: Some(ask.question.clone()).filter(|_| sees_payloads),
            choices: if sees_payloads { ask.choices.clone() } else { Vec::new() },
        })
    }

    fn is_soon(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| text::between(now, until).as_secs() < SOON)
    }
}

/// Where a page goes on, as the address says it.
pub(super) fn cursor(text: &str) -> Result<Cursor, Problem> {
    text.parse().map_err(|_| {
        Problem::bad_request("the part of the list that is asked for is none: begin at its start")
    })
}

async fn page(permit: Permit<View>, frame: Frame) -> Result<Markup, Problem> {
    let runner = permit.runner().await?;
    let (now, sees) = (runner.now(), permit.sees_payloads());
    let after = frame.param("after").map(cursor).transpose()?;
    let of = format!("inbox {} {after:?}", permit.tenant());
    let waits = permit.web().kept.get(of, async || Ok(runner.inbox(after, PAGE + 1).await?)).await?;
    let has_more = waits.len() > PAGE;
    let waits = &waits[..waits.len().min(PAGE)];
    let next = waits.last().filter(|_| has_more).map(|last| last.cursor().to_string());
    let mut questions: Vec<Question> =
        waits.iter().filter_map(|wait| Question::new(permit.tenant(), wait, false, sees)).collect();
    questions.sort_by_key(|question| (question.until.is_none(), question.until));
    let (soon, later): (Vec<_>, Vec<_>) = questions.into_iter().partition(|question| question.is_soon(now));
    let may = permit.may::<Control>();
    let tenant = permit.tenant();
    let section = |id: &str, heading: &str, questions: &[Question]| {
        html! {
            section id=(id) data-live {
                div.bar { h2 { (heading) } span.soft.small { (questions.len()) } }
                ol.rows.inbox { @for question in questions { (show(&frame, question, may, sees, now)) } }
            }
        }
    };
    let all = soon.len() + later.len();
    let body = html! {
        header id="head" data-live {
            div.head { h1 { "Inbox" } (layout::live(now)) }
            p.lede {
                @if all == 0 { "Nobody is asked anything." }
                @else {
                    (if has_more || after.is_some() { "On this page " } else { "" })
                    (text::count(all as u64, "question", "questions"))
                    @if !soon.is_empty() { "; " (soon.len()) " of them run out within the hour" }
                    "."
                }
            }
        }
        @if !sees && all > 0 { section { (say::hidden()) } }
        @if !soon.is_empty() { (section("soon", "Within the hour", &soon)) }
        @if !later.is_empty() { (section("later", if soon.is_empty() { "Questions" } else { "Later" }, &later)) }
        @if all == 0 {
            section {
                (empty("No question waits for an answer.", &html! {
                    "A workflow asks with " code { "Wait::signal(…).ask(Ask::new(…))" } "; its questions stand here until they are answered or run out."
                }))
            }
        }
        @if after.is_some() || next.is_some() {
            nav.pager aria-label="Pages of the list" {
                span.end.btns {
                    @if after.is_some() { a.btn href="?" { "First" } }
                    @if let Some(next) = &next { a.btn href=(url::query([("after", next.as_str())])) rel="next" { "More" } }
                }
            }
        }
    };
    Ok(layout::page(
        &permit,
        &frame,
        &Page::new(format!("Inbox of {tenant}"), Nav::Inbox, &body)
            .live(watched(tenant, waits.iter().map(|wait| wait.execution_id)) + "&asks=true"),
    ))
}

pub(super) fn show(frame: &Frame, question: &Question, may: bool, sees: bool, now: Timestamp) -> Markup {
    let (look, then) = match question.until {
        Some(until) if question.is_soon(now) => {
            let left = text::whole(text::between(now, until));
            (Look::new("mind", Icon::Timer, "").word(format!("due in {left}")), text::day(until))
        }
        Some(until) => (Look::new("wait", Icon::Ask, "").word(text::day(until)), text::relative(until, now)),
        None => {
            let since = text::whole(text::between(question.since, now));
            (Look::new("wait", Icon::Ask, "no end"), format!("asked {since} ago"))
        }
    };
    let execution = frame.to(url::execution(&question.tenant, question.execution));
    html! {
        li.q {
            span { (look) br; span.soft.small { (then) } }
            div {
                p.ask.any { (question.question.as_deref().unwrap_or("a question, hidden")) }
                p.soft.small.any {
                    @if question.of_all { a href=(frame.to(url::tenant(&question.tenant))) { (question.tenant) } " · " }
                    a href=(execution) { (question.workflow) } " · " code { (question.node) } " · "
                    a.id.mono href=(execution) title=(question.execution) { (text::short_id(question.execution)) }
                    " · asked " (text::time(question.since, text::moment(question.since, now)))
                    @if let Some(role) = &question.role { " of " b { (role) } }
                }
            }
            div { @if may && sees { (answers(&execution, question)) } @else { (cannot(may)) } }
        }
    }
}

fn answers(execution: &str, question: &Question) -> Markup {
    html! {
        form.answer method="post" action={ (execution) "/answer" } {
            input type="hidden" name="signal" value=(question.signal);
            input type="hidden" name="back" value=(if question.of_all { "inbox-of-all" } else { "inbox" });
            @if question.choices.is_empty() {
                label { "Answer" input name="answer" required maxlength="2000"; }
            }
            label { "Note, kept in the audit" input name="reason" maxlength="1000"; }
            div.btns {
                @for choice in &question.choices { button.btn name="answer" value=(choice) { (choice) } }
                @if question.choices.is_empty() { button.btn { "Answer" } }
            }
        }
    }
}

fn cannot(may: bool) -> Markup {
    let why = if may {
        "Who may not see payloads cannot answer: the question is hidden."
    } else {
        "You may see that it is asked, not answer it."
    };
    html! { p.small.soft { (why) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question {
            tenant: "<t>".to_owned(),
            of_all: true,
            execution: Uuid::nil(),
            workflow: "<w>".to_owned(),
            node: "<n>".to_owned(),
            signal: "go\"".to_owned(),
            since: Timestamp::UNIX_EPOCH,
            until: None,
            role: Some("<r>".to_owned()),
            question: Some("<q>".to_owned()),
            choices: vec!["<c>".to_owned()],
        }
    }

    fn shown(question: &Question, may: bool, sees: bool) -> String {
        let frame = Frame::new("/tenants/a/inbox", "", "/tenants/a/inbox", &axum::http::HeaderMap::new());
        show(&frame, question, may, sees, Timestamp::UNIX_EPOCH).into_string()
    }

    #[test]
    fn what_a_question_holds_is_escaped() {
        let shown = shown(&question(), true, true);
        for text in ["<t>", "<w>", "<n>", "<r>", "<q>", "<c>", "go\"\""] {
            assert!(!shown.contains(text), "{text} in {shown}");
        }
        assert!(shown.contains("value=\"&lt;c&gt;\""), "{shown}");
    }

    #[test]
    fn who_may_not_answer_is_offered_no_form() {
        assert!(shown(&question(), true, true).contains("<form"));
        assert!(!shown(&question(), false, true).contains("<form"));
        let hidden = Question { question: None, choices: Vec::new(), ..question() };
        let shown = shown(&hidden, true, false);
        assert!(!shown.contains("<form") && shown.contains("a question, hidden"), "{shown}");
    }

    #[test]
    fn a_cursor_that_is_none_is_refused() {
        assert!(cursor("x").is_err());
    }
}
