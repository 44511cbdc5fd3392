//! Schedules: what runs by itself.

use std::time::Duration;

use axum::http::StatusCode;
use cloacina::{CatchUp, FireRecord, Missed, Overlap, Redo, Schedule, ScheduleInfo, Triggered};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::input::{Asked, InPath, Json, MaybeJson, context_of, limit_of};
use super::model::Page;
use crate::Problem;
use crate::permit::{Control, Permit, Submit, View};
use crate::routes::{Doc, Routes};

/// How many next times are told if nothing is said.
const NEXT: usize = 10;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/tenants/{tenant}/schedules",
            list,
            Doc::new("listSchedules", "List all schedules by their names")
                .answers_page::<ScheduleView>("All of them, 1,000 at most"),
        )
        .get(
            "/v1/tenants/{tenant}/schedules/{schedule}",
            get,
            Doc::new("getSchedule", "Read a schedule").answers::<ScheduleView>("200", "The schedule"),
        )
        .put(
            "/v1/tenants/{tenant}/schedules/{schedule}",
            put,
            Doc::new("putSchedule", "Make a schedule, or replace the one of its name")
                .description("To put the same again changes nothing. A paused schedule stays paused.")
                .body::<ScheduleBody>()
                .answers_nothing("204", "It is so"),
        )
        .delete(
            "/v1/tenants/{tenant}/schedules/{schedule}",
            delete,
            Doc::new("deleteSchedule", "Delete a schedule with its log").answers_nothing("204", "It is gone"),
        )
        .post(
            "/v1/tenants/{tenant}/schedules/{schedule}/pause",
            pause,
            Doc::new("pauseSchedule", "Keep a schedule from firing until it is resumed")
                .body::<Why>()
                .answers_nothing("204", "It is paused"),
        )
        .post(
            "/v1/tenants/{tenant}/schedules/{schedule}/resume",
            resume,
            Doc::new("resumeSchedule", "Let a paused schedule fire again")
                .body::<Resumed>()
                .answers_nothing("204", "It fires again"),
        )
        .post(
            "/v1/tenants/{tenant}/schedules/{schedule}/trigger",
            trigger,
            Doc::new("triggerSchedule", "Start an execution now, as the schedule would")
                .answers::<TriggeredView>("200", "What came of it"),
        )
        .get(
            "/v1/tenants/{tenant}/schedules/{schedule}/next",
            next,
            Doc::new("listNextTimes", "List the next times of a schedule")
                .query::<NextAsked>()
                .answers::<Times>("200", "The next times"),
        )
        .get(
            "/v1/tenants/{tenant}/schedules/{schedule}/fires",
            fires,
            Doc::new("listFires", "List what came of the times of a schedule, the latest first")
                .query::<FiresAsked>()
                .answers_page::<FireView>("A part of the log"),
        )
        .post(
            "/v1/tenants/{tenant}/schedules/{schedule}/backfill",
            backfill,
            Doc::new("backfillSchedule", "Start executions for times that have passed")
                .body::<BackfillBody>()
                .answers::<Times>("200", "The times for which executions are started, or would be"),
        )
        .post(
            "/v1/tenants/{tenant}/schedule-preview",
            preview,
            Doc::new("previewSchedule", "Say when a schedule would fire, without making it")
                .body::<ScheduleBody>()
                .answers::<Times>("200", "Its next times"),
        )
}

/// A schedule as it is now.
#[derive(Serialize, ToSchema)]
struct ScheduleView {
    /// Its name.
    name: String,
    /// The workflow that it runs.
    workflow: String,
    /// `active`, `paused`, `ended` or `broken`.
    state: &'static str,
    /// Why it does not fire.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Who put it together with others.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// Its cron expressions.
    cron: Vec<String>,
    /// The zone that they mean.
    zone: String,
    /// What happens with times that were missed.
    #[schema(value_type = Object)]
    catch_up: CatchUp,
    /// What happens if the execution before is not over.
    #[schema(value_type = Object)]
    overlap: Overlap,
    /// When it fires next.
    #[schema(value_type = Option<String>, format = DateTime)]
    next: Option<Timestamp>,
    /// The time for which it last started an execution.
    #[schema(value_type = Option<String>, format = DateTime)]
    last: Option<Timestamp>,
    /// The execution that it started last.
    last_execution: Option<Uuid>,
    /// How many executions in a row failed.
    failures: u32,
    /// How many starts wait for the execution before.
    buffered: usize,
    /// How many executions of a backfill are still to end.
    backfilling: usize,
}

impl ScheduleView {
    fn of(schedule: ScheduleInfo) -> Self {
        Self {
            name: schedule.name,
            workflow: schedule.workflow,
            state: schedule.state.as_str(),
            reason: schedule.reason,
            origin: schedule.origin,
            cron: schedule.cron,
            zone: schedule.zone.unwrap_or_else(|| "UTC".to_owned()),
            catch_up: schedule.catch_up,
            overlap: schedule.overlap,
            next: schedule.next,
            last: schedule.last,
            last_execution: schedule.last_execution,
            failures: schedule.failures,
            buffered: schedule.buffered,
            backfilling: schedule.backfilling,
        }
    }
}

/// The schedule in the path.
#[derive(Deserialize)]
struct ScheduleInPath {
    schedule: String,
}

async fn list(permit: Permit<View>) -> Result<axum::Json<Page<ScheduleView>>, Problem> {
    let schedules = permit.runner().await?.schedules().list().await?;
    Ok(axum::Json(Page { items: schedules.into_iter().map(ScheduleView::of).collect(), next: None }))
}

async fn get(
    permit: Permit<View>,
    InPath(path): InPath<ScheduleInPath>,
) -> Result<axum::Json<ScheduleView>, Problem> {
    let schedule = permit.runner().await?.schedules().get(&path.schedule).await?;
    Ok(axum::Json(ScheduleView::of(schedule)))
}

/// What a schedule is to do.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ScheduleBody {
    /// The workflow that it runs.
    workflow: String,
    /// When, as cron expressions.
    #[serde(default)]
    #[schema(example = json!(["0 2 * * MON-FRI"]))]
    cron: Vec<String>,
    /// When not, as cron expressions.
    #[serde(default)]
    except: Vec<String>,
    /// How often, as durations: `15m`, `36h`.
    #[serde(default)]
    every: Vec<String>,
    /// At these times, once each.
    #[serde(default)]
    #[schema(value_type = Vec<String>, format = DateTime)]
    at: Vec<Timestamp>,
    /// The zone whose clocks are meant, as `Europe/Zurich`. UTC if nothing is said.
    zone: Option<String>,
    /// The input of its executions: an object.
    #[schema(value_type = Option<Object>)]
    input: Option<Value>,
    /// From 0 to 9; the higher, the sooner.
    priority: Option<u8>,
    /// `nothing`, `latest` or `all`: what happens with times that were missed.
    #[schema(value_type = Option<String>)]
    catch_up: Option<CatchUp>,
    /// How late a time may be and still be caught up with: `6h`.
    window: Option<String>,
    /// `skip`, `allow`, `cancel_other` or `{"buffer": n}`: what happens if the execution before is not over.
    #[schema(value_type = Option<Object>)]
    overlap: Option<Overlap>,
    /// Over how long its starts are spread: `10m`.
    spread: Option<String>,
    /// Not before this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<Timestamp>,
    /// Not after this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
    /// So often at most.
    at_most: Option<u32>,
    /// After so many failures in a row it is paused.
    pause_after_failures: Option<u32>,
    /// The workflow that is started when one of its executions fails.
    on_failure: Option<String>,
}

impl ScheduleBody {
    fn schedule(self, name: &str) -> Result<Schedule, Problem> {
        let mut schedule = Schedule::new(name, self.workflow).input(context_of(self.input)?);
        for expression in self.cron {
            schedule = schedule.cron(expression)?;
        }
        for expression in self.except {
            schedule = schedule.except(expression)?;
        }
        for period in self.every {
            schedule = schedule.every(duration_of(&period)?);
        }
        schedule = self.at.into_iter().fold(schedule, Schedule::at);
        if let Some(zone) = self.zone {
            schedule = schedule.zone(zone)?;
        }
        if let Some(priority) = self.priority {
            schedule = schedule.priority(priority);
        }
        if let Some(catch_up) = self.catch_up {
            schedule = schedule.catch_up(catch_up);
        }
        if let Some(window) = self.window {
            schedule = schedule.window(duration_of(&window)?);
        }
        if let Some(overlap) = self.overlap {
            schedule = schedule.overlap(overlap);
        }
        if let Some(spread) = self.spread {
            schedule = schedule.spread(duration_of(&spread)?);
        }
        if self.starts_at.is_some() || self.ends_at.is_some() {
            schedule = schedule.between(self.starts_at, self.ends_at);
        }
        if let Some(at_most) = self.at_most {
            schedule = schedule.at_most(at_most);
        }
        if let Some(failures) = self.pause_after_failures {
            schedule = schedule.pause_after_failures(failures);
        }
        if let Some(starts) = self.on_failure {
            schedule = schedule.on_failure(starts);
        }
        Ok(schedule)
    }
}

/// How long: `90s`, `15m`, `1h 30m`.
pub(crate) fn duration_of(text: &str) -> Result<Duration, Problem> {
    let duration: Option<SignedDuration> = text.parse().ok();
    duration.and_then(|duration| duration.try_into().ok()).ok_or_else(|| {
        let shown: String = text.chars().take(60).collect();
        Problem::bad_request(format!(
            "`{}` is no duration: write one as `90s`, `15m` or `36h`",
            shown.escape_debug()
        ))
    })
}

async fn put(
    permit: Permit<Submit>,
    InPath(path): InPath<ScheduleInPath>,
    Json(body): Json<ScheduleBody>,
) -> Result<StatusCode, Problem> {
    let schedule = body.schedule(&path.schedule)?;
    permit.runner().await?.schedules().put(schedule).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete(permit: Permit<Submit>, InPath(path): InPath<ScheduleInPath>) -> Result<StatusCode, Problem> {
    permit.runner().await?.schedules().delete(&path.schedule).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Why something is done.
#[derive(Deserialize, ToSchema, Default)]
#[serde(deny_unknown_fields)]
struct Why {
    /// In a person's words.
    reason: Option<String>,
}

async fn pause(
    permit: Permit<Control>,
    InPath(path): InPath<ScheduleInPath>,
    MaybeJson(why): MaybeJson<Why>,
) -> Result<StatusCode, Problem> {
    let reason = why.reason.unwrap_or_else(|| format!("paused by {}", permit.principal.name()));
    permit.runner().await?.schedules().pause(&path.schedule, reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How a schedule goes on.
#[derive(Deserialize, ToSchema, Default)]
#[serde(deny_unknown_fields)]
struct Resumed {
    /// Whether the times that passed meanwhile are caught up with, by the schedule's rule.
    #[serde(default)]
    catch_up: bool,
}

async fn resume(
    permit: Permit<Control>,
    InPath(path): InPath<ScheduleInPath>,
    MaybeJson(body): MaybeJson<Resumed>,
) -> Result<StatusCode, Problem> {
    let missed = if body.catch_up { Missed::CatchUp } else { Missed::Skip };
    permit.runner().await?.schedules().resume(&path.schedule, missed).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What came of a trigger.
#[derive(Serialize, ToSchema)]
struct TriggeredView {
    /// `started`, `skipped`, `buffered` or `refused`.
    outcome: &'static str,
    /// The execution that was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    execution: Option<Uuid>,
}

async fn trigger(
    permit: Permit<Control>,
    InPath(path): InPath<ScheduleInPath>,
) -> Result<axum::Json<TriggeredView>, Problem> {
    let (outcome, execution) = match permit.runner().await?.schedules().trigger(&path.schedule).await? {
        Triggered::Started(id) => ("started", Some(id)),
        Triggered::Skipped => ("skipped", None),
        Triggered::Buffered => ("buffered", None),
        _ => ("refused", None),
    };
    Ok(axum::Json(TriggeredView { outcome, execution }))
}

/// How many next times.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NextAsked {
    /// So many: 10 if nothing is said, 1,000 at most.
    limit: Option<usize>,
}

/// Times.
#[derive(Serialize, ToSchema)]
struct Times {
    /// In their order.
    #[schema(value_type = Vec<String>)]
    times: Vec<Timestamp>,
}

async fn next(
    permit: Permit<View>,
    InPath(path): InPath<ScheduleInPath>,
    Asked(asked): Asked<NextAsked>,
) -> Result<axum::Json<Times>, Problem> {
    let limit = limit_of(Some(asked.limit.unwrap_or(NEXT)))?;
    let times = permit.runner().await?.schedules().next(&path.schedule, limit).await?;
    Ok(axum::Json(Times { times }))
}

/// Which part of the log.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FiresAsked {
    /// Behind this time: the `next` of the part before.
    #[param(value_type = Option<String>)]
    after: Option<Timestamp>,
    /// At most so many: 100 if nothing is said, 1,000 at most.
    limit: Option<usize>,
}

/// What came of a time of a schedule.
#[derive(Serialize, ToSchema)]
struct FireView {
    /// When it was to fire.
    #[schema(value_type = String, format = DateTime)]
    nominal: Timestamp,
    /// `started`, `repeated`, `skipped`, `missed`, `buffered`, `dropped` or `refused`.
    outcome: &'static str,
    /// The execution that was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    execution: Option<Uuid>,
    /// Its state, as long as it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    status: Option<cloacina::ExecutionStatus>,
    /// When that was decided.
    #[schema(value_type = String, format = DateTime)]
    fired_at: Timestamp,
    /// How many other times it stands for.
    missed: u32,
}

impl FireView {
    fn of(fire: &FireRecord) -> Self {
        Self {
            nominal: fire.nominal,
            outcome: fire.outcome.as_str(),
            execution: fire.execution.map(Uuid::from),
            status: fire.status,
            fired_at: fire.fired_at,
            missed: fire.missed,
        }
    }
}

async fn fires(
    permit: Permit<View>,
    InPath(path): InPath<ScheduleInPath>,
    Asked(asked): Asked<FiresAsked>,
) -> Result<axum::Json<Page<FireView>>, Problem> {
    let limit = limit_of(asked.limit)?;
    let fires = permit.runner().await?.schedules().fires(&path.schedule, asked.after, limit).await?;
    let items: Vec<_> = fires.iter().map(FireView::of).collect();
    Ok(axum::Json(Page::of(items, limit, |fire| fire.nominal.to_string())))
}

/// Times that have passed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BackfillBody {
    /// From this time on.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// Before this time.
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// `missing`, `missing_and_failed` or `all`.
    #[serde(default)]
    redo: RedoAsked,
    /// How many run at once: 1 if nothing is said.
    running: Option<u32>,
    /// Only says for which times there would be executions.
    #[serde(default)]
    dry_run: bool,
}

/// Which of the times.
#[derive(Deserialize, ToSchema, Default)]
#[serde(rename_all = "snake_case")]
enum RedoAsked {
    /// Those that started no execution.
    #[default]
    Missing,
    /// Those, and those whose execution failed or was cancelled.
    MissingAndFailed,
    /// All.
    All,
}

async fn backfill(
    permit: Permit<Control>,
    InPath(path): InPath<ScheduleInPath>,
    Json(body): Json<BackfillBody>,
) -> Result<axum::Json<Times>, Problem> {
    let redo = match body.redo {
        RedoAsked::Missing => Redo::Missing,
        RedoAsked::MissingAndFailed => Redo::MissingAndFailed,
        RedoAsked::All => Redo::All,
    };
    let schedules = permit.runner().await?.schedules();
    let mut backfill = schedules.backfill(&path.schedule, body.from..body.to).redo(redo);
    if let Some(running) = body.running {
        backfill = backfill.running(running);
    }
    let times = if body.dry_run { backfill.dry_run().await? } else { backfill.start().await? };
    Ok(axum::Json(Times { times }))
}

async fn preview(
    permit: Permit<Submit>,
    Json(body): Json<ScheduleBody>,
) -> Result<axum::Json<Times>, Problem> {
    let schedule = body.schedule("preview")?;
    let times = permit.runner().await?.schedules().preview(&schedule, NEXT)?;
    Ok(axum::Json(Times { times }))
}
