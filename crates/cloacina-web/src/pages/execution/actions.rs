//! What can be done about an execution, and the questions before it.

use axum::extract::Path;
use axum::response::Response;
use cloacina::rerun::From;
use cloacina::{Execution, SignalReceipt};
use maud::html;
use serde_json::Value;

use super::super::fields::Fields;
use super::super::fields::see;
use super::super::layout::Frame;
use super::super::parts::dialog::{Dialog, reason};
use super::super::parts::{text, url};
use super::super::wanted::id;
use super::view::View;
use crate::Problem;
use crate::permit::{self, Action, Control, Permit};
use crate::routes::Routes;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .form("/tenants/{tenant}/executions/{id}/cancel", cancel)
        .form("/tenants/{tenant}/executions/{id}/pause", pause)
        .form("/tenants/{tenant}/executions/{id}/resume", resume)
        .form("/tenants/{tenant}/executions/{id}/rerun", rerun)
        .form("/tenants/{tenant}/executions/{id}/signal", signal)
        .form("/tenants/{tenant}/executions/{id}/answer", answer)
        .form("/tenants/{tenant}/executions/{id}/wake", wake)
        .form("/tenants/{tenant}/executions/{id}/parallel", parallel)
}

type To = Path<(String, String)>;

/// The execution that a form is about, for somebody who gives this reason.
async fn execution(permit: &Permit<Control>, text: &str, fields: &Fields) -> Result<Execution, Problem> {
    let id = id(text)?;
    Ok(super::super::fields::acting(permit, fields.get("reason")).await?.execution(id))
}

fn done(permit: &Permit<Control>, frame: &Frame, execution: cloacina::Uuid, said: &str) -> Response {
    see(&frame.to(format!("{}?said={said}", url::execution(permit.tenant(), execution))))
}

async fn cancel(
    permit: Permit<Control>,
    frame: Frame,
    Path((_, text)): To,
    fields: Fields,
) -> Result<Response, Problem> {
    let execution = execution(&permit, &text, &fields).await?;
    execution.cancel().await?;
    Ok(done(&permit, &frame, execution.execution_id, "cancelled"))
}

async fn pause(
    permit: Permit<Control>,
    frame: Frame,
    Path((_, text)): To,
    fields: Fields,
) -> Result<Response, Problem> {
    let execution = execution(&permit, &text, &fields).await?;
    execution.pause().await?;
    Ok(done(&permit, &frame, execution.execution_id, "paused"))
}

async fn resume(
    permit: Permit<Control>,
    frame: Frame,
    Path((_, text)): To,
    fields: Fields,
) -> Result<Response, Problem> {
    let execution = execution(&permit, &text, &fields).await?;
    execution.resume().await?;
    Ok(done(&permit, &frame, execution.execution_id, "resumed"))
}

async fn rerun(
    permit: Permit<Control>,
    frame: Frame,
    Path((_, text)): To,
    fields: Fields,
) -> Result<Response, Problem> {
    let execution = execution(&permit, &text, &fields).await?;
    let from = match fields.needed("from")? {
        "failed" => From::Failed,
        "start" => From::Start,
        "task" => From::Task(fields.needed("task")?),
        other => {
            let message =
                format!("`{}` is nothing to rerun from: choose one of the list", text::cut(other, 40));
            return Err(Problem::bad_request(message));
        }
    };
    let again = execution.rerun(from).send().await?;
    Ok(done(&permit, &frame, again.execution_id, "rerun"))
}

async fn signal(
    permit: Permit<Control>,
    frame: Frame,
    Path((_, text)): To,
    fields: Fields,
) -> Result<Response, Problem> {
    let execution = execution(&permit, &text, &fields).await?;
    let payload: Value = match fields.get("payload") {
        None => Value::Null,
        Some(json) => serde_json::from_str(json).map_err(|error| {
            Problem::bad_request(format!(
                "what the signal brings is no JSON: {error}; a text stands in quotes"
            ))
        })?,
    };
    let signal = execution.signal(fields.needed("name")?, payload);
    let signal = match fields.get("key") {
        Some(key) => signal.key(key),
        None => signal,
    };
    Ok(done(&permit, &frame, execution.execution_id, receipt(signal.send().await?)))
}

fn receipt(receipt: SignalReceipt) -> &'static str {
    match receipt {
        SignalReceipt::Delivered | SignalReceipt::Started => "delivered",
        SignalReceipt::Buffered => "buffered",
        SignalReceipt::Repeated => "repeated",
        SignalReceipt::AlreadyOver { .. } => "over",
    }
}

async fn answer(
    permit: Permit<Control>,
    frame: Frame,
    Path((_, text)): To,
    fields: Fields,
) -> Result<Response, Problem> {
    let execution = execution(&permit, &text, &fields).await?;
    let receipt = execution.signal(fields.needed("signal")?, fields.needed("answer")?).send().await?;
    let said = match receipt {
        SignalReceipt::Delivered | SignalReceipt::Buffered | SignalReceipt::Started => "answered",
        other => self::receipt(other),
    };
    if fields.get("back") == Some("inbox-of-all") {
        return Ok(see(&frame.to(format!("inbox?said={said}"))));
    }
    if fields.get("back") == Some("inbox") {
        return Ok(see(&frame.to(format!("{}/inbox?said={said}", url::tenant(permit.tenant())))));
    }
    Ok(done(&permit, &frame, execution.execution_id, said))
}

async fn wake(
    permit: Permit<Control>,
    frame: Frame,
    Path((_, text)): To,
    fields: Fields,
) -> Result<Response, Problem> {
    let execution = execution(&permit, &text, &fields).await?;
    execution.wake(fields.needed("node")?).await?;
    Ok(done(&permit, &frame, execution.execution_id, "woken"))
}

async fn parallel(
    permit: Permit<Control>,
    frame: Frame,
    Path((_, text)): To,
    fields: Fields,
) -> Result<Response, Problem> {
    let execution = execution(&permit, &text, &fields).await?;
    let parallel = fields.number("parallel")?.ok_or_else(|| Problem::bad_request("say how many at once"))?;
    execution.set_parallel(fields.needed("node")?, parallel).await?;
    Ok(done(&permit, &frame, execution.execution_id, "parallel"))
}

/// What is asked in the address, if it can be done.
pub(super) fn question<A: Action>(permit: &Permit<A>, frame: &Frame, view: &View) -> Option<Dialog> {
    if !permit.may::<permit::Control>() {
        return None;
    }
    let to = |action: &str| frame.to(format!("{}/{action}", url::execution(&view.tenant, view.id)));
    let of = format!("{} {}", text::cut(&view.workflow, 60), text::short_id(view.id));
    let node = frame.param("node");
    let wait = || view.waits.iter().find(|wait| Some(wait.node.as_str()) == node);
    let dialog = match frame.asks()? {
        "cancel" if !view.is_over() => Dialog::new(format!("Cancel {of}?"), to("cancel"), "Cancel the execution")
            .bad("Keep it running")
            .body(html! {
                p {
                    (view.summary) ". Tasks that run are told to stop, and what they change is ignored; nothing else "
                    "begins. What was done stays as it is: nothing is compensated. Its open children are cancelled."
                }
            })
            .fields(reason()),
        "pause" if !view.is_over() => Dialog::new(format!("Pause {of}?"), to("pause"), "Pause the execution")
            .body(html! {
                p { "Nothing further starts until somebody resumes it. Tasks that run go on; time goes on, and the deadline still counts." }
            })
            .fields(reason()),
        "resume" => Dialog::new(format!("Resume {of}?"), to("resume"), "Resume the execution")
            .body(html! { p { "What is ready starts, and waits whose time has passed end." } })
            .fields(reason()),
        "rerun" if view.is_over() => rerun_dialog(view, &of, to("rerun")),
        "signal" if !view.is_over() => Dialog::new(format!("Send a signal to {of}?"), to("signal"), "Send the signal")
            .body(html! { p { "It stays with the execution until a wait for its name takes it." } })
            .fields(html! {
                label { "Name" input name="name" required maxlength="200" list="signals" value=[node]; }
                datalist id="signals" {
                    @for signal in view.waits.iter().filter_map(|wait| wait.signal.as_deref()) { option value=(signal) {} }
                }
                label { "What it brings, as JSON; null if it is left empty" textarea name="payload" rows="4" spellcheck="false" {} }
                label { "Key: it is taken once of each" input name="key" maxlength="200"; }
                (reason())
            }),
        "answer" => {
            let wait = wait().filter(|wait| wait.asks)?;
            let question = wait.question.as_deref().unwrap_or("The question is hidden: you may not see payloads.");
            let signal = wait.signal.as_deref().unwrap_or(&wait.node);
            Dialog::new(question, to("answer"), "Answer")
                .body(html! {
                    p.soft {
                        code { (wait.node) } " asks " b { (wait.role.as_deref().unwrap_or("anybody")) }
                        @if let Some(until) = wait.until { ", until " (text::day(until)) }
                        "."
                    }
                })
                .fields(html! {
                    input type="hidden" name="signal" value=(signal);
                    @if wait.choices.is_empty() {
                        label { "Answer" input name="answer" required maxlength="2000"; }
                    } @else {
                        label { "Answer" select name="answer" required {
                            option value="" { "choose" }
                            @for choice in &wait.choices { option value=(choice) { (choice) } }
                        } }
                    }
                    label { "Note, kept in the audit" input name="reason" maxlength="1000"; }
                })
        }
        "wake" => {
            let wait = wait()?;
            let what = if wait.signal.is_some() {
                "It goes on as if no signal had come in time."
            } else {
                "The sleep is over, and what comes after it starts."
            };
            Dialog::new(format!("End the wait {} now?", wait.node), to("wake"), "Wake it")
                .body(html! { p { (what) } })
                .fields(html! { input type="hidden" name="node" value=(wait.node); (reason()) })
        }
        "parallel" => {
            let map = view.maps.iter().find(|map| map.is_open && Some(map.node.as_str()) == node)?;
            Dialog::new(format!("How many of {} at once?", map.node), to("parallel"), "Set it")
                .body(html! {
                    p {
                        (text::number(map.progress.running())) " run now, of at most " (text::number(map.progress.parallel))
                        ". Those that run go on to their ends."
                    }
                })
                .fields(html! {
                    input type="hidden" name="node" value=(map.node);
                    label { "At once, 0 to 10,000" input name="parallel" inputmode="numeric" required value=(map.progress.parallel); }
                    (reason())
                })
        }
        _ => return None,
    };
    Some(dialog)
}

fn rerun_dialog(view: &View, of: &str, to: String) -> Dialog {
    let failed = view.status == cloacina::ExecutionStatus::Failed;
    Dialog::new(format!("Rerun {of}?"), to, "Rerun the execution")
        .body(html! {
            p { "It becomes a new execution that takes the place of this one. What is still right of this one is copied, the rest runs again." }
        })
        .fields(html! {
            label { "From" select name="from" {
                @if failed { option value="failed" { "what failed" } }
                option value="task" { "a task" }
                option value="start" { "the start" }
            } }
            label { "Which task, if from one" select name="task" {
                @for id in view.ids.iter().take(500) { option value=(id) { (id) } }
            } }
            (reason())
        })
}
