//! What can be done about a schedule, and the questions before it.

use axum::extract::Path;
use axum::response::Response;
use cloacina::{Missed, Redo, ScheduleInfo, ScheduleState, Schedules, Timestamp, Triggered};
use maud::html;

use super::super::fields::Fields;
use super::super::fields::{acting, see};
use super::super::layout::Frame;
use super::super::parts::dialog::{Dialog, reason};
use super::super::parts::{text, url};
use crate::Problem;
use crate::api::time_of;
use crate::permit::{Action, Control, Permit, Submit};
use crate::routes::Routes;

type To = Path<(String, String)>;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .form("/tenants/{tenant}/schedules/{schedule}/pause", pause)
        .form("/tenants/{tenant}/schedules/{schedule}/resume", resume)
        .form("/tenants/{tenant}/schedules/{schedule}/trigger", trigger)
        .form("/tenants/{tenant}/schedules/{schedule}/backfill", backfill)
        .form("/tenants/{tenant}/schedules/{schedule}/delete", delete)
}

/// The schedules that a form is about, for somebody who gives this reason.
async fn schedules<A: Action>(permit: &Permit<A>, fields: &Fields) -> Result<Schedules, Problem> {
    Ok(acting(permit, fields.get("reason")).await?.schedules())
}

fn done<A: Action>(permit: &Permit<A>, frame: &Frame, name: &str, said: &str) -> Response {
    see(&frame.to(format!("{}?said={said}", url::schedule(permit.tenant(), name))))
}

async fn pause(
    permit: Permit<Control>,
    frame: Frame,
    Path((_, name)): To,
    fields: Fields,
) -> Result<Response, Problem> {
    schedules(&permit, &fields).await?.pause(&name, fields.needed("reason")?).await?;
    Ok(done(&permit, &frame, &name, "paused"))
}

async fn resume(
    permit: Permit<Control>,
    frame: Frame,
    Path((_, name)): To,
    fields: Fields,
) -> Result<Response, Problem> {
    schedules(&permit, &fields).await?.resume(&name, missed(fields.get("missed"))).await?;
    Ok(done(&permit, &frame, &name, "resumed"))
}

async fn trigger(
    permit: Permit<Control>,
    frame: Frame,
    Path((_, name)): To,
    fields: Fields,
) -> Result<Response, Problem> {
    let said = match schedules(&permit, &fields).await?.trigger(&name).await? {
        Triggered::Started(_) => "triggered",
        Triggered::Buffered => "waits",
        Triggered::Refused => "refused",
        _ => "skipped",
    };
    Ok(done(&permit, &frame, &name, said))
}

async fn backfill(
    permit: Permit<Control>,
    frame: Frame,
    Path((_, name)): To,
    fields: Fields,
) -> Result<Response, Problem> {
    let runner = acting(&permit, fields.get("reason")).await?;
    let now = runner.now();
    let times = time_of(fields.needed("from")?, now)?..time_of(fields.needed("to")?, now)?;
    let redo = match fields.get("redo") {
        Some("failed") => Redo::MissingAndFailed,
        Some("all") => Redo::All,
        _ => Redo::Missing,
    };
    let mut backfill = runner.schedules().backfill(&name, times).redo(redo);
    if let Some(running) = fields.number("running")? {
        backfill = backfill.running(running);
    }
    backfill.start().await?;
    Ok(done(&permit, &frame, &name, "backfill"))
}

async fn delete(
    permit: Permit<Submit>,
    frame: Frame,
    Path((_, name)): To,
    fields: Fields,
) -> Result<Response, Problem> {
    schedules(&permit, &fields).await?.delete(&name).await?;
    Ok(see(&frame.to(format!("{}/schedules?said=deleted", url::tenant(permit.tenant())))))
}

/// What happens with the times that passed while it was paused.
fn missed(text: Option<&str>) -> Missed {
    if text == Some("catch-up") { Missed::CatchUp } else { Missed::Skip }
}

/// What is asked in the address, if it can be done.
pub(super) fn question<A: Action>(
    permit: &Permit<A>,
    frame: &Frame,
    schedule: &ScheduleInfo,
    now: Timestamp,
) -> Option<Dialog> {
    let to = |action: &str| frame.to(format!("{}/{action}", url::schedule(permit.tenant(), &schedule.name)));
    let name = text::cut(&schedule.name, 80);
    let ask = frame.asks()?;
    let allowed = if ask == "delete" { permit.may::<Submit>() } else { permit.may::<Control>() };
    if !allowed {
        return None;
    }
    let dialog = match ask {
        "pause" if schedule.state == ScheduleState::Active => {
            Dialog::new(format!("Pause {name}?"), to("pause"), "Pause the schedule")
                .body(html! { p { "It does not fire until somebody resumes it. What it started goes on." } })
                .fields(reason())
        }
        "resume" => Dialog::new(format!("Resume {name}?"), to("resume"), "Resume the schedule").fields(html! {
            label { "Times that passed meanwhile" select name="missed" {
                option value="skip" { "are skipped" }
                option value="catch-up" { "are caught up with, by its rule" }
            } }
            (reason())
        }),
        "trigger" => Dialog::new(format!("Trigger {name}?"), to("trigger"), "Start an execution now")
            .body(html! { p { "An execution of " code { (schedule.workflow) } " starts as it would by the schedule, besides its times." } })
            .fields(reason()),
        "backfill" => Dialog::new(format!("Backfill {name}?"), to("backfill"), "Start them")
            .body(html! { p { "Executions for times that have passed, the oldest first, by what the schedule says now." } })
            .fields(html! {
                label { "From, UTC" input name="from" required value=(now - jiff::SignedDuration::from_hours(24)); }
                label { "Before, UTC" input name="to" required value=(now); }
                label { "Which" select name="redo" {
                    option value="missing" { "those that started none" }
                    option value="failed" { "those, and those that failed" }
                    option value="all" { "all" }
                } }
                label { "At once" input name="running" inputmode="numeric" value="1"; }
                (reason())
            }),
        "delete" => Dialog::new(format!("Delete {name}?"), to("delete"), "Delete the schedule")
            .bad("Keep it")
            .body(html! { p { "It goes with its log. What it started goes on. This cannot be undone." } })
            .fields(reason()),
        _ => return None,
    };
    Some(dialog)
}
