//! A schedule is made or changed here, with a look at when it would fire.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cloacina::{CatchUp, Overlap, Runner, Schedule, ScheduleInfo, Timestamp};
use maud::{Markup, html};
use serde_json::Value;

use super::super::fields::Fields;
use super::super::fields::{acting, see};
use super::super::layout::{self, Frame, Nav, Page};
use super::super::parts::{say, url};
use super::times::next_times;
use crate::Problem;
use crate::api::{context_of, duration_of, time_of};
use crate::permit::{Permit, Submit};
use crate::routes::Routes;

/// How many next times are shown.
const NEXT: usize = 8;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.page("/tenants/{tenant}/schedule-editor", page).form("/tenants/{tenant}/schedule-editor", sent)
}

/// What the form holds, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Draft {
    name: String,
    workflow: String,
    cron: String,
    every: String,
    at: String,
    except: String,
    zone: String,
    /// Nothing if it may not be seen: then what is stored stays.
    input: Option<String>,
    priority: String,
    catch_up: String,
    window: String,
    overlap: String,
    buffer: String,
    spread: String,
    from: String,
    to: String,
    at_most: String,
    failures: String,
}

fn lasts(duration: std::time::Duration) -> String {
    format!("{}s", duration.as_secs())
}

impl Draft {
    fn new() -> Self {
        let text = str::to_owned;
        Self {
            zone: text("UTC"),
            input: Some(text("{}")),
            priority: text("5"),
            catch_up: text("latest"),
            overlap: text("skip"),
            ..Self::default()
        }
    }

    fn of(schedule: &ScheduleInfo, sees_payloads: bool) -> Self {
        let lines = |lines: Vec<String>| lines.join("\n");
        let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        let (overlap, buffer) = match schedule.overlap {
            Overlap::Buffer(most) => ("buffer", most.to_string()),
            Overlap::Allow => ("allow", String::new()),
            Overlap::CancelOther => ("cancel", String::new()),
            _ => ("skip", String::new()),
        };
        let catch_up = match schedule.catch_up {
            CatchUp::Nothing => "nothing",
            CatchUp::All => "all",
            _ => "latest",
        };
        Self {
            name: schedule.name.clone(),
            workflow: schedule.workflow.clone(),
            cron: lines(schedule.cron.clone()),
            every: lines(schedule.every.iter().copied().map(lasts).collect()),
            at: lines(schedule.at.iter().map(Timestamp::to_string).collect()),
            except: lines(schedule.except.clone()),
            zone: schedule.zone.clone().unwrap_or_else(|| "UTC".to_owned()),
            input: sees_payloads.then(|| serde_json::to_string_pretty(&schedule.input).unwrap_or_default()),
            priority: schedule.priority.to_string(),
            catch_up: catch_up.to_owned(),
            window: schedule.window.map(lasts).unwrap_or_default(),
            overlap: overlap.to_owned(),
            buffer,
            spread: schedule.spread.map(lasts).unwrap_or_default(),
            from: time(schedule.between.0),
            to: time(schedule.between.1),
            at_most: number(schedule.at_most),
            failures: number(schedule.pause_after_failures),
        }
    }

    fn sent(fields: &Fields) -> Self {
        let text = |name: &str| fields.get(name).unwrap_or_default().to_owned();
        Self {
            name: text("name"),
            workflow: text("workflow"),
            cron: text("cron"),
            every: text("every"),
            at: text("at"),
            except: text("except"),
            zone: text("zone"),
            input: fields.get("input").map(str::to_owned),
            priority: text("priority"),
            catch_up: text("catch_up"),
            window: text("window"),
            overlap: text("overlap"),
            buffer: text("buffer"),
            spread: text("spread"),
            from: text("from"),
            to: text("to"),
            at_most: text("at_most"),
            failures: text("failures"),
        }
    }

    /// What it says. Whoever may not see the input keeps what is stored.
    fn schedule(&self, stored: Option<&ScheduleInfo>, now: Timestamp) -> Result<Schedule, Problem> {
        let lines = |text: &'_ str| {
            text.lines()
                .map(|line| line.trim().to_owned())
                .filter(|line| !line.is_empty())
                .collect::<Vec<_>>()
        };
        let number = |what: &str, text: &str| match text {
            "" => Ok(None),
            text => text.parse::<u32>().map(Some).map_err(|_| {
                let shown: String = text.chars().take(40).collect();
                Problem::bad_request(format!("`{shown}` is no number: {what}"))
            }),
        };
        let time = |text: &str| if text.is_empty() { Ok(None) } else { time_of(text, now).map(Some) };
        let mut schedule = Schedule::new(&self.name, &self.workflow);
        for expression in lines(&self.cron) {
            schedule = schedule.cron(expression)?;
        }
        for expression in lines(&self.except) {
            schedule = schedule.except(expression)?;
        }
        for period in lines(&self.every) {
            schedule = schedule.every(duration_of(&period)?);
        }
        for moment in lines(&self.at) {
            schedule = schedule.at(time_of(&moment, now)?);
        }
        if !self.zone.is_empty() && self.zone != "UTC" {
            schedule = schedule.zone(&self.zone)?;
        }
        schedule = match (&self.input, stored) {
            (Some(json), _) => {
                let value: Value = serde_json::from_str(json)
                    .map_err(|error| Problem::bad_request(format!("the input is no JSON object: {error}")))?;
                schedule.input(context_of(Some(value))?)
            }
            (None, Some(stored)) => schedule.input(stored.input.clone()),
            (None, None) => schedule,
        };
        if let Some(priority) = number("the priority", &self.priority)? {
            schedule = schedule.priority(u8::try_from(priority).unwrap_or(u8::MAX));
        }
        schedule = schedule.catch_up(match self.catch_up.as_str() {
            "nothing" => CatchUp::Nothing,
            "all" => CatchUp::All,
            _ => CatchUp::Latest,
        });
        schedule = schedule.overlap(match self.overlap.as_str() {
            "buffer" => Overlap::Buffer(number("how many wait at most", &self.buffer)?.unwrap_or(1)),
            "allow" => Overlap::Allow,
            "cancel" => Overlap::CancelOther,
            _ => Overlap::Skip,
        });
        if !self.window.is_empty() {
            schedule = schedule.window(duration_of(&self.window)?);
        }
        if !self.spread.is_empty() {
            schedule = schedule.spread(duration_of(&self.spread)?);
        }
        let (from, to) = (time(&self.from)?, time(&self.to)?);
        if from.is_some() || to.is_some() {
            schedule = schedule.between(from, to);
        }
        if let Some(most) = number("how many executions at most", &self.at_most)? {
            schedule = schedule.at_most(most);
        }
        if let Some(failures) = number("after how many failures", &self.failures)? {
            schedule = schedule.pause_after_failures(failures);
        }
        // The page does not ask for it.
        if let Some(starts) = stored.and_then(|stored| stored.on_failure.as_deref()) {
            schedule = schedule.on_failure(starts);
        }
        Ok(schedule)
    }
}

/// The schedule of a name, if there is one.
async fn stored(runner: &Runner, name: &str) -> Result<Option<ScheduleInfo>, Problem> {
    match runner.schedules().get(name).await {
        Ok(schedule) => Ok(Some(schedule)),
        Err(error) if error.kind() == cloacina::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn page(permit: Permit<Submit>, frame: Frame) -> Result<Markup, Problem> {
    let runner = permit.runner().await?;
    let now = runner.now();
    let found = match frame.param("name") {
        Some(name) => stored(&runner, name).await?,
        None => None,
    };
    let draft =
        found.as_ref().map_or_else(Draft::new, |schedule| Draft::of(schedule, permit.sees_payloads()));
    let times = match &found {
        Some(schedule) => runner.schedules().next(&schedule.name, NEXT).await.ok(),
        None => None,
    };
    Ok(show(&permit, &frame, &draft, times.as_deref(), None, now))
}

async fn sent(permit: Permit<Submit>, frame: Frame, fields: Fields) -> Result<Response, Problem> {
    let runner = acting(&permit, fields.get("reason")).await?;
    let now = runner.now();
    let draft = Draft::sent(&fields);
    let found = if draft.name.is_empty() { None } else { stored(&runner, &draft.name).await? };
    let made = draft.schedule(found.as_ref(), now);
    let saves = fields.get("do") == Some("save");
    let done = match made {
        Ok(schedule) if saves => runner.schedules().put(schedule).await.map(|()| None).map_err(Problem::from),
        Ok(schedule) => runner.schedules().preview(&schedule, NEXT).map(Some).map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    Ok(match done {
        Ok(None) => see(&frame.to(format!("{}?said=put", url::schedule(permit.tenant(), &draft.name)))),
        Ok(Some(times)) => show(&permit, &frame, &draft, Some(&times), None, now).into_response(),
        Err(problem) => {
            let status = if problem.status().is_client_error() {
                problem.status()
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            (status, show(&permit, &frame, &draft, None, Some(&problem), now)).into_response()
        }
    })
}

fn show(
    permit: &Permit<Submit>,
    frame: &Frame,
    draft: &Draft,
    times: Option<&[Timestamp]>,
    problem: Option<&Problem>,
    now: Timestamp,
) -> Markup {
    let tenant = permit.tenant();
    let choice = |options: &[(&str, &str)], chosen: &str| {
        html! { @for (value, label) in options { option value=(value) selected[*value == chosen] { (label) } } }
    };
    let body = html! {
        header {
            p.crumbs {
                a href=(frame.to(format!("{}/schedules", url::tenant(tenant)))) { "Schedules" }
                a href=(frame.to(url::tenant(tenant))) { (tenant) }
            }
            h1 { @if draft.name.is_empty() { "New schedule" } @else { (draft.name) } }
        }
        @if let Some(problem) = problem { section { (say::failed(problem)) } }
        div.two {
            section {
                form.edit method="post" action=(frame.to(format!("{}/schedule-editor", url::tenant(tenant)))) {
                    label { "Name; one that is there is replaced" input name="name" value=(draft.name) required maxlength="200"; }
                    label { "Workflow" input name="workflow" value=(draft.workflow) required maxlength="200"; }
                    label { "Cron expressions, one a line: minute, hour, day, month, day of week" textarea name="cron" rows="2" spellcheck="false" placeholder="0 2 * * MON-FRI" { (draft.cron) } }
                    label { "Zone whose clocks are meant" input name="zone" value=(draft.zone) placeholder="Europe/Zurich"; }
                    label { "Not at these times, one expression a line" textarea name="except" rows="1" spellcheck="false" placeholder="* * 25 12 *" { (draft.except) } }
                    label { "Every, one a line" textarea name="every" rows="1" spellcheck="false" placeholder="36h" { (draft.every) } }
                    label { "Once at these times, one a line" textarea name="at" rows="1" spellcheck="false" placeholder="2026-12-24T18:00:00Z" { (draft.at) } }
                    @if let Some(input) = &draft.input {
                        label { "Input, a JSON object" textarea name="input" rows="3" spellcheck="false" { (input) } }
                    } @else { p.note { "The input is hidden: you may not see payloads. What is stored stays." } }
                    details open[problem.is_some()] {
                        summary { "More" }
                        label { "Times that were missed" select name="catch_up" {
                            (choice(&[("latest", "run the latest once"), ("nothing", "forget them"), ("all", "run them all")], &draft.catch_up))
                        } }
                        label { "… if they are no later than" input name="window" value=(draft.window) placeholder="6h"; }
                        label { "If the last execution is not over" select name="overlap" {
                            (choice(&[("skip", "skip"), ("buffer", "wait for it"), ("allow", "start beside it"), ("cancel", "cancel it")], &draft.overlap))
                        } }
                        label { "… so many wait at most" input name="buffer" value=(draft.buffer) inputmode="numeric" placeholder="1"; }
                        label { "Spread over" input name="spread" value=(draft.spread) placeholder="10m"; }
                        label { "Not before" input name="from" value=(draft.from) placeholder="2026-12-01T00:00:00Z"; }
                        label { "Not after" input name="to" value=(draft.to); }
                        label { "Executions at most" input name="at_most" value=(draft.at_most) inputmode="numeric"; }
                        label { "Pauses itself after so many failures in a row" input name="failures" value=(draft.failures) inputmode="numeric"; }
                        label { "Priority, 0 to 9" input name="priority" value=(draft.priority) inputmode="numeric"; }
                    }
                    label { "Reason, kept in the audit" input name="reason" maxlength="1000"; }
                    div.btns {
                        button.btn name="do" value="preview" { "When would it fire?" }
                        button.btn.go name="do" value="save" { "Save" }
                    }
                }
            }
            section id="preview" {
                div.bar { h2 { "Next times" } span.soft.small { "before its spread, if it has one" } }
                @match times {
                    Some(times) => (next_times(times, Some(&draft.zone), now)),
                    None => p.soft { "Ask when it would fire; nothing is saved by that." },
                }
            }
        }
    };
    layout::page(permit, frame, &Page::new("Schedule", Nav::Schedules, &body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_draft_is_told() {
        let now = Timestamp::UNIX_EPOCH;
        let draft = Draft {
            name: "n".to_owned(),
            workflow: "w".to_owned(),
            cron: "0 2 * * *\n\n@daily".to_owned(),
            ..Draft::new()
        };
        assert!(draft.schedule(None, now).is_ok());
        for wrong in [
            Draft { cron: "61 * * * *".to_owned(), ..draft.clone() },
            Draft { zone: "Mars/Olympus".to_owned(), ..draft.clone() },
            Draft { every: "often".to_owned(), ..draft.clone() },
            Draft { at: "soon".to_owned(), ..draft.clone() },
            Draft { input: Some("[".to_owned()), ..draft.clone() },
            Draft { input: Some("[1]".to_owned()), ..draft.clone() },
            Draft { at_most: "-1".to_owned(), ..draft.clone() },
        ] {
            assert!(wrong.schedule(None, now).is_err(), "{wrong:?}");
        }
    }
}
