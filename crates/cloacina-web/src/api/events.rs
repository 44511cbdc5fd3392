//! Changes as they are seen: server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::input::{Asked, ExecutionInPath, InPath, id_of};
use crate::Problem;
use crate::permit::{Permit, View};
use crate::routes::{Doc, Routes};
use crate::tail::{Change, Watcher};

/// After how long something is sent for certain, so that a watcher knows that the stream is alive.
const ALIVE: Duration = Duration::from_secs(5);

/// The most executions of one stream.
const MOST: usize = 200;

const WHAT: &str = "Events: `watching` once all is watched, so read what you show after that; `changed` with the \
                    ids of executions that did, a comma between them; `newer` when there is a newer execution; \
                    `asked` when other questions wait for an answer than before, if that is wanted; \
                    `unknown` when the tenant could not be looked at. `alive` every 5 s.";

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/tenants/{tenant}/events",
            tenant,
            Doc::new(
                "watchTenant",
                "Watch a tenant for new executions, and some of its executions for changes",
            )
            .description(WHAT)
            .query::<EventsAsked>()
            .answers_as::<String>("200", "The stream", "text/event-stream"),
        )
        .get(
            "/v1/tenants/{tenant}/executions/{execution}/events",
            execution,
            Doc::new("watchExecution", "Watch an execution for changes")
                .description(WHAT)
                .answers_as::<String>("200", "The stream", "text/event-stream"),
        )
}

/// What is watched.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventsAsked {
    /// Executions that are watched, with commas between them, 200 at most.
    ids: Option<String>,
    /// Whether it is told what people are asked.
    #[serde(default)]
    asks: bool,
}

type Events = Sse<
    axum::response::sse::KeepAliveStream<
        std::pin::Pin<Box<dyn Stream<Item = Result<Event, Infallible>> + Send>>,
    >,
>;

async fn tenant(permit: Permit<View>, Asked(asked): Asked<EventsAsked>) -> Result<Events, Problem> {
    let ids = asked.ids.as_deref().unwrap_or_default().split(',').filter(|id| !id.is_empty());
    let ids = ids.map(id_of).collect::<Result<Vec<Uuid>, _>>()?;
    if ids.len() > MOST {
        return Err(Problem::bad_request(format!(
            "{} executions are more than {MOST}, the most of a stream",
            ids.len()
        )));
    }
    watch(&permit, ids, asked.asks).await
}

async fn execution(permit: Permit<View>, InPath(path): InPath<ExecutionInPath>) -> Result<Events, Problem> {
    let id = path.id()?;
    permit.runner().await?.get_execution_status(id).await?;
    watch(&permit, vec![id], false).await
}

async fn watch(permit: &Permit<View>, ids: Vec<Uuid>, asks: bool) -> Result<Events, Problem> {
    // That there is such a tenant.
    permit.runner().await?;
    let web = permit.web();
    let watcher = web.tails.watch(&web.engine, permit.tenant(), ids, asks)?;
    let events = stream::unfold(watcher, async |mut watcher: Watcher| {
        let event = match watcher.next().await? {
            Change::Watching(_) => Event::default().event("watching").data("watching"),
            // An event without data is none to a browser.
            Change::Executions(ids) => {
                let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
                Event::default().event("changed").data(ids.join(","))
            }
            Change::Asked => Event::default().event("asked").data("asked"),
            Change::Newer => Event::default().event("newer").data("newer"),
            Change::Unknown => Event::default().event("unknown").data("unknown"),
        };
        Some((Ok(event), watcher))
    });
    let events: std::pin::Pin<Box<dyn Stream<Item = _> + Send>> = Box::pin(events);
    let alive = Event::default().event("alive").data("alive");
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE).event(alive)))
}
