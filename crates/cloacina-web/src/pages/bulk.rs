//! One action on many executions: the ticked ones, or all that match the filter.

use axum::response::Response;
use cloacina::rerun::From;
use cloacina::{BulkReport, Error, ExecutionFilter, Runner, Timestamp, Uuid};
use jiff::SignedDuration;
use maud::{Markup, html};

use super::fields::Fields;
use super::fields::{acting, see};
use super::layout::Frame;
use super::parts::dialog::{Dialog, reason};
use super::parts::state;
use super::parts::{text, url};
use super::wanted::{Wanted, id};
use crate::Problem;
use crate::bulk::{self, BulkAction, BulkOrder};
use crate::permit::{Control, Permit, View};
use crate::routes::Routes;

/// How many that are over are still told of.
const TOLD: usize = 2;
/// For how long.
const LASTS: SignedDuration = SignedDuration::from_mins(5);
/// How many may be ticked.
const MOST_TICKED: usize = 100;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .form("/tenants/{tenant}/executions/bulk", begin)
        .form("/tenants/{tenant}/executions/bulk/stop", stop)
}

/// What is done, by its name in a form.
fn action(name: &str, from: Option<&str>) -> Result<BulkAction, Problem> {
    Ok(match (name, from) {
        ("cancel", _) => BulkAction::Cancel,
        ("pause", _) => BulkAction::Pause,
        ("resume", _) => BulkAction::Resume,
        ("rerun", Some("start")) => BulkAction::RerunFromStart,
        ("rerun", _) => BulkAction::RerunFailed,
        _ => return Err(Problem::bad_request("there is no such action: cancel, pause, resume or rerun")),
    })
}

/// What is wrong with acting on all that match, if anything is.
fn refused(wanted: &Wanted) -> Option<&'static str> {
    // Nothing is done to the engine's own, whether they are shown or not.
    let users = Wanted { engine: String::new(), ..wanted.clone() };
    let is_all = users.filter(Timestamp::UNIX_EPOCH) == ExecutionFilter::all();
    is_all.then_some("the filter is empty: an action on many executions has to say on which")
}

/// The bar above the list.
pub(super) fn bar(wanted: &Wanted) -> Markup {
    let refused = refused(wanted);
    html! {
        form.bulk id="bulk" method="get" data-bulk aria-label="Act on many" {
            @for (name, value) in wanted.pairs().into_iter().filter(|(_, value)| !value.is_empty()) {
                input type="hidden" name=(name) value=(value);
            }
            input type="hidden" name="ask" value="bulk";
            label { input type="radio" name="on" value="ticked" checked; " the ticked ones " b data-ticked {} }
            label {
                input type="radio" name="on" value="filter" disabled[refused.is_some()];
                " all that match "
                @if let Some(why) = refused { span.soft title=(why) { "(filter first)" } }
            }
            div.btns {
                button.btn name="do" value="rerun" { "Rerun…" }
                button.btn name="do" value="pause" { "Pause…" }
                button.btn name="do" value="resume" { "Resume…" }
                button.btn.bad name="do" value="cancel" { "Cancel…" }
            }
        }
    }
}

/// How far the actions are.
pub(super) async fn lines(
    permit: &Permit<View>,
    frame: &Frame,
    runner: &Runner,
) -> Result<(Markup, bool), Problem> {
    let told = bulk::since(runner, runner.now() - LASTS, TOLD + 2).await?;
    let is_under_way = told.iter().any(|state| state.ended_at.is_none());
    let stop = frame.to(format!("{}/executions/bulk/stop", url::tenant(permit.tenant())));
    let may = permit.may::<Control>();
    let lines = html! {
        div id="bulks" data-live {
            @for state in &told { (line(state, &stop, may)) }
        }
    };
    Ok((lines, is_under_way))
}

fn line(state: &BulkReport, stop: &str, may: bool) -> Markup {
    let verb = match state.action {
        cloacina::BulkAction::Cancel => "Cancelling",
        cloacina::BulkAction::Pause => "Pausing",
        cloacina::BulkAction::Resume => "Resuming",
        _ => "Rerunning",
    };
    let look = match (state.ended_at, state.failed, &state.error) {
        (None, ..) => state::RUNNING.word(verb),
        (Some(_), 0, None) => state::COMPLETED.word(format!("{verb} is over")),
        (Some(_), ..) => state::FAILED.word(format!("{verb} ended")),
    };
    html! {
        section {
            div class={ "say " (look.class) } {
                p {
                    (look) " " b { (text::count(state.matched, "execution", "executions")) } " met, "
                    (text::number(state.done)) " done, " (text::number(state.failed)) " refused."
                }
                @if let Some(error) = &state.error { p.any { (error) } }
                @if let Some((id, error)) = state.errors.first() {
                    p.soft.any { "The first that refused: " span.mono { (text::short_id(*id)) } ", " (text::cut(error, 300)) }
                }
                @if let Some(actor) = &state.actor {
                    p.soft { "By " (actor.name) @if let Some(reason) = &actor.reason { ": “" (text::cut(reason, 300)) "”" } }
                }
                @if may && state.ended_at.is_none() {
                    form method="post" action=(stop) {
                        input type="hidden" name="id" value=(state.execution_id);
                        button.btn.bad { "Stop" }
                    }
                }
            }
        }
    }
}

/// The question before it.
pub(super) async fn question(
    permit: &Permit<View>,
    frame: &Frame,
    runner: &Runner,
    wanted: &Wanted,
) -> Result<Option<Dialog>, Problem> {
    if frame.asks() != Some("bulk") || !permit.may::<Control>() {
        return Ok(None);
    }
    let name = frame.param("do").unwrap_or_default();
    let action = action(name, None)?;
    let ticked: Vec<&str> = frame.all("id").take(MOST_TICKED).collect();
    let is_filter = frame.param("on") == Some("filter");
    let count = if is_filter {
        if let Some(why) = refused(wanted) {
            return Err(Problem::bad_request(why));
        }
        let order = BulkOrder { action: action.clone(), filter: wanted.filter(runner.now()), pace: None };
        order.of(runner).dry_run().await?
    } else {
        ticked.len() as u64
    };
    let verb = match action {
        BulkAction::Cancel => "Cancel",
        BulkAction::Pause => "Pause",
        BulkAction::Resume => "Resume",
        _ => "Rerun",
    };
    let to = frame.to(format!("{}/executions/bulk", url::tenant(permit.tenant())));
    let counted = text::count(count, "execution", "executions");
    let what = match action {
        BulkAction::Cancel => {
            "What runs is told to stop. What was done stays as it is: nothing is compensated."
        }
        BulkAction::Pause => "Nothing further of them starts until somebody resumes them.",
        BulkAction::Resume => "What is ready starts.",
        _ => "Each becomes a new execution that takes the place of the old one.",
    };
    let dialog = Dialog::new(format!("{verb} {counted}?"), to, format!("{verb} {}", text::number(count)))
        .body(html! { p { "Looked now: " (counted) ". " (what) } })
        .fields(html! {
            input type="hidden" name="do" value=(name);
            @if is_filter {
                input type="hidden" name="on" value="filter";
                @for (name, value) in wanted.pairs().into_iter().filter(|(_, value)| !value.is_empty()) {
                    input type="hidden" name=(name) value=(value);
                }
            } @else { @for id in &ticked { input type="hidden" name="id" value=(id); } }
            @if action == BulkAction::RerunFailed {
                label { "From" select name="from" {
                    option value="failed" { "what failed" }
                    option value="start" { "the start" }
                } }
            }
            @if is_filter {
                label { "Pace, executions a second; empty for no limit" input name="pace" value="50" inputmode="numeric"; }
            }
            (reason())
        });
    let mut dialog = if action == BulkAction::Cancel { dialog.bad("Keep them running") } else { dialog };
    dialog.back = wanted.query();
    Ok(Some(dialog))
}

async fn begin(permit: Permit<Control>, frame: Frame, fields: Fields) -> Result<Response, Problem> {
    let action = action(fields.needed("do")?, fields.get("from"))?;
    let runner = acting(&permit, fields.get("reason")).await?;
    let wanted = Wanted::of(|name| fields.get(name).map(str::to_owned));
    let list = format!("{}/executions", url::tenant(permit.tenant()));
    if fields.get("on") == Some("filter") {
        if let Some(why) = refused(&wanted) {
            return Err(Problem::bad_request(why));
        }
        let order = BulkOrder { action, filter: wanted.filter(runner.now()), pace: fields.number("pace")? };
        bulk::begin(&runner, &order).await?;
        let query = wanted.query();
        return Ok(see(&frame.to(format!("{list}{query}{}said=bulk", if query == "?" { "" } else { "&" }))));
    }
    let ids = fields.all("id").take(MOST_TICKED).map(id).collect::<Result<Vec<Uuid>, _>>()?;
    if ids.is_empty() {
        return Err(Problem::bad_request("no execution is ticked: tick some, or act on all that match"));
    }
    let mut refused = Vec::new();
    for id in &ids {
        if let Err(error) = act(&runner, &action, *id).await {
            refused.push((*id, Problem::from(error)));
        }
    }
    match refused.first() {
        None => Ok(see(&frame.to(format!("{list}?said=all")))),
        Some((id, problem)) => {
            let message = format!(
                "{} of {} were not done; the first is {id}: {}",
                refused.len(),
                ids.len(),
                problem.detail()
            );
            Err(Problem::new(problem.status(), problem.kind(), message))
        }
    }
}

async fn act(runner: &Runner, action: &BulkAction, id: Uuid) -> Result<(), Error> {
    let execution = runner.execution(id);
    match action {
        BulkAction::Cancel => execution.cancel().await,
        BulkAction::Pause => execution.pause().await,
        BulkAction::Resume => execution.resume().await,
        BulkAction::RerunFailed => execution.rerun(From::Failed).send().await.map(drop),
        BulkAction::RerunFromStart => execution.rerun(From::Start).send().await.map(drop),
        BulkAction::RerunFromTask(task) => execution.rerun(From::Task(task)).send().await.map(drop),
    }
}

async fn stop(permit: Permit<Control>, frame: Frame, fields: Fields) -> Result<Response, Problem> {
    let id = id(fields.needed("id")?)?;
    bulk::stop(&permit.runner().await?, id).await?;
    Ok(see(&frame.to(format!("{}/executions?said=stopped", url::tenant(permit.tenant())))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(state: &str, since: &str) -> Wanted {
        Wanted { state: state.to_owned(), since: since.to_owned(), ..Wanted::default() }
    }

    #[test]
    fn all_that_match_have_to_be_named_by_what_an_action_can_go_by() {
        assert!(refused(&Wanted::default()).is_some());
        assert!(refused(&wanted("", "1h")).is_none());
        assert!(refused(&wanted("failed", "")).is_none());
    }

    #[test]
    fn an_action_that_there_is_not_is_refused() {
        assert!(action("delete", None).is_err());
        assert_eq!(action("rerun", Some("start")).unwrap(), BulkAction::RerunFromStart);
        assert_eq!(action("rerun", None).unwrap(), BulkAction::RerunFailed);
    }
}
