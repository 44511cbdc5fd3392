//! The HTTP interface and the pages, over a place with a million executions, while the engine is at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, BodyDataStream, to_bytes};
use axum::http::Request;
use axum::http::request::Parts;
use axum::routing::post;
use cloacina::{ExecutionFilter, Runner, RunnerConfig};
use cloacina_web::{Authorize, Principal, Role};
use futures_util::StreamExt as _;
use serde_json::Value;
use tower::ServiceExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::scale::IN_FLIGHT;
use super::{Scale, history};
use crate::database::{Database, Kind};
use crate::hand::postgres::connect;
use crate::proxy::Proxy;
use crate::sample::Spread;
use crate::shape::{self, input};
use crate::table::{Row, Target};
use crate::{engine, process};

/// How many executions the engine does in a second meanwhile.
const LOAD: u64 = 2_000;

/// How often a list and a page are asked for.
const ASKED: usize = 200;

/// How many attempts the execution has that is looked at.
const ATTEMPTS: usize = 10_000;

/// How many callers submit at once.
const CALLERS: usize = 256;

/// How many pages are open.
const PAGES: usize = 200;

/// How many changes are waited for.
const CHANGES: usize = 20;

/// How long we listen to what goes over the wire.
const SILENCE: Duration = Duration::from_secs(10);

/// Everybody may do everything.
struct Everybody;

#[async_trait]
impl Authorize for Everybody {
    async fn who(&self, _: &Parts) -> Result<Option<Principal>, cloacina::Error> {
        Ok(Some(Principal::new("bench").of_all(Role::Admin).with_payloads()))
    }
}

pub(crate) async fn web(kind: Kind, scale: Scale) -> Result<Vec<Row>> {
    let database = Database::fresh(kind).await?;
    database.runner(0).await?.shutdown().await?;
    let executions = scale.finished.min(1_000_000);
    let begun = Instant::now();
    history::fill(&database, executions).await?;
    eprintln!("{kind}, web: {executions} executions were made in {:.0?}", begun.elapsed());
    let mut rows = submissions(&database, scale).await?;

    let runner = database.runner(0).await?;
    let failing = engine::alone(&runner, shape::ONE, 1).await;
    ensure!(failing.is_ok(), "the place is at work");
    let tried = runner.list(ExecutionFilter::all(), None, 1).await?[0].execution_id;
    plant_attempts(&database, tried).await?;
    let place = runner.place().to_owned();
    let load = Load::begin(&runner);
    rows.push(visible(&runner).await?);
    for (what, path, limit, by) in [
        ("a list of 100 executions", format!("/v1/tenants/{place}/executions?limit=100"), 30.0, 0.95),
        (
            "a list of 100 that failed",
            format!("/v1/tenants/{place}/executions?status=failed&limit=100"),
            30.0,
            0.95,
        ),
        ("the page of executions", format!("/tenants/{place}/executions"), 50.0, 0.95),
        ("the overview of a tenant", format!("/tenants/{place}"), 50.0, 0.95),
        ("the overview of all", "/overview".to_owned(), 50.0, 0.95),
        ("the inbox", format!("/tenants/{place}/inbox"), 50.0, 0.95),
        (
            "the page of an execution with 10,000 attempts",
            format!("/tenants/{place}/executions/{tried}"),
            100.0,
            0.95,
        ),
    ] {
        let (mut times, mut bytes) = (Vec::with_capacity(ASKED), 0);
        for _ in 0..ASKED {
            // Pages share what was read a moment ago; a router of its own has read nothing.
            let router = cloacina_web::router(runner.clone(), Everybody);
            let begun = Instant::now();
            let request = Request::builder().uri(&path).body(Body::empty())?;
            let response = router.oneshot(request).await?;
            ensure!(response.status().is_success(), "{path}: {}", response.status());
            bytes = to_bytes(response.into_body(), usize::MAX).await?.len();
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_unstable_by(f64::total_cmp);
        let slow = times[((times.len() as f64 * by) as usize).min(times.len() - 1)];
        let target =
            Target { words: format!("≤ {limit}, ≤ 60 kB"), met: slow <= limit && bytes <= 60_000 };
        let engine = Spread::of(vec![slow]);
        let measure = format!("{what}: p95, {:.1} kB", bytes as f64 / 1e3);
        rows.push(Row { engine, target: Some(target), ..Row::new(measure, "ms") });
    }
    let done = load.end().await?;
    rows.push(Row { engine: Spread::of(vec![done]), ..Row::new("executions meanwhile", "/s") });
    runner.shutdown().await?;
    rows.extend(open_pages(&database).await?);
    rows.extend(observed(kind, scale).await?);
    Ok(rows)
}

/// How long it takes until a page is told of a change, while many are open.
async fn visible(runner: &Runner) -> Result<Row> {
    let mut watched = Vec::with_capacity(PAGES);
    for _ in 0..PAGES {
        // Nobody has the code of it: it stays as it is until it is cancelled.
        watched.push(runner.submit("elsewhere").by_name().send().await?);
    }
    let router = cloacina_web::router(runner.clone(), Everybody);
    let mut streams = Vec::with_capacity(PAGES);
    for execution in &watched {
        let path = format!("/v1/tenants/{}/events?ids={}", runner.place(), execution.execution_id);
        let mut stream = opened(&router, &path).await?;
        heard(&mut stream, "event: watching").await?;
        streams.push(stream);
    }
    let mut times = Vec::with_capacity(CHANGES);
    for (execution, stream) in watched.iter().zip(&mut streams).take(CHANGES) {
        let begun = Instant::now();
        execution.cancel().await?;
        heard(stream, "event: changed").await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    for execution in &watched[CHANGES..] {
        execution.cancel().await?;
    }
    times.sort_unstable_by(f64::total_cmp);
    let slow = times[CHANGES - 1];
    let target = Target { words: "≤ 1,000".to_owned(), met: slow <= 1_000.0 };
    let measure = format!("until one of {PAGES} open pages is told of a change: the longest of {CHANGES}");
    Ok(Row { engine: Spread::of(vec![slow]), target: Some(target), ..Row::new(measure, "ms") })
}

/// A stream of events.
async fn opened(router: &Router, path: &str) -> Result<BodyDataStream> {
    let response = router.clone().oneshot(Request::builder().uri(path).body(Body::empty())?).await?;
    ensure!(response.status().is_success(), "{path}: {}", response.status());
    Ok(response.into_body().into_data_stream())
}

/// Waits for an event.
async fn heard(stream: &mut BodyDataStream, event: &str) -> Result<()> {
    while let Some(chunk) = stream.next().await {
        if String::from_utf8_lossy(&chunk?).contains(event) {
            return Ok(());
        }
    }
    bail!("the stream ended before `{event}`")
}

/// How many statements open pages cost the database, where they can be counted. The engine does nothing
/// meanwhile.
async fn open_pages(database: &Database) -> Result<Option<Row>> {
    let Database::Postgres { url } = database else { return Ok(None) };
    let proxy = Proxy::start(url).await?;
    let runner = Database::Postgres { url: proxy.url().to_owned() }.runner(0).await?;
    let rate = async || {
        let before = proxy.counts();
        tokio::time::sleep(SILENCE).await;
        proxy.counts().round_trips.saturating_sub(before.round_trips) as f64 / SILENCE.as_secs_f64()
    };
    // What is prepared once is not counted.
    let ids: Vec<_> = runner.list(ExecutionFilter::all(), None, 100).await?;
    let ids: Vec<String> = ids.iter().map(|execution| execution.execution_id.to_string()).collect();
    let path = format!("/v1/tenants/{}/events?asks=true&ids={}", runner.place(), ids.join(","));
    let router = cloacina_web::router(runner.clone(), Everybody);
    heard(&mut opened(&router, &path).await?, "event: watching").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = rate().await;
    let mut streams = Vec::with_capacity(PAGES);
    for _ in 0..PAGES {
        streams.push(opened(&router, &path).await?);
    }
    let busy = rate().await;
    drop(streams);
    runner.shutdown().await?;
    let more = busy - idle;
    let target = Target { words: "≤ 5".to_owned(), met: more <= 5.0 };
    let measure = format!("{PAGES} open pages: queries more in a second");
    Ok(Some(Row { engine: Spread::of(vec![more]), target: Some(target), ..Row::new(measure, "/s") }))
}

/// The rate with 1,000 in flight, with all that is counted, and spans: beside the same without either. They
/// stay on, so it is the last that a process measures.
async fn observed(kind: Kind, scale: Scale) -> Result<Option<Row>> {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.swap(true, Ordering::Relaxed) {
        eprintln!("{kind}, web: metrics and spans are on already: measure one database at a time");
        return Ok(None);
    }
    let rates = async || {
        let database = Database::fresh(kind).await?;
        let runners = database.runners(1).await?;
        engine::in_flight(&runners, shape::ONE, scale.rate / 4, IN_FLIGHT).await?;
        let mut rates = Vec::with_capacity(scale.runs);
        for _ in 0..scale.runs {
            let time = engine::in_flight(&runners, shape::ONE, scale.rate, IN_FLIGHT).await?;
            rates.push(scale.rate as f64 / time.as_secs_f64());
        }
        runners[0].shutdown().await?;
        Ok::<_, anyhow::Error>(rates)
    };
    let plain = Spread::of(rates().await?);
    let _prometheus = cloacina_web::Prometheus::install()?;
    // A subscriber that keeps every span, and writes nothing.
    tracing_subscriber::registry().try_init()?;
    let observed = Spread::of(rates().await?);
    let less = plain.zip(observed).map(|(plain, observed)| (1.0 - observed.median / plain.median) * 100.0);
    let target = less.map(|less| Target { words: format!("- {less:.1} %, ≤ 5 % less"), met: less <= 5.0 });
    let measure = "1,000 in flight with metrics and spans (by hand: without)";
    Ok(Some(Row { engine: observed, hand: plain, target, ..Row::new(measure, "/s") }))
}

/// The processor time of a submission over HTTP, beside a route that only reads the same body.
async fn submissions(database: &Database, scale: Scale) -> Result<Vec<Row>> {
    let config = RunnerConfig::builder().submit_only(true).max_queue_length(10_000_000).build();
    let runner = database.runner_with(0, config).await?;
    let path = format!("/v1/tenants/{}/executions", runner.place());
    let ours = cloacina_web::router(runner.clone(), Everybody);
    let bare = Router::new().route(&path, post(async |axum::Json(body): axum::Json<Value>| axum::Json(body)));
    let body =
        serde_json::json!({ "workflow": shape::ONE.workflow, "input": input().to_value() }).to_string();
    let (mut engine, mut hand) = (Vec::new(), Vec::new());
    for _ in 0..scale.runs {
        for (router, times) in [(&bare, &mut hand), (&ours, &mut engine)] {
            let before = process::cpu()?;
            send(router, &path, &body, scale.rate).await?;
            let used = process::cpu()?.saturating_sub(before);
            times.push(used.as_secs_f64() * 1e6 / scale.rate as f64);
        }
    }
    runner.shutdown().await?;
    let (engine, hand) = (Spread::of(engine), Spread::of(hand));
    let more = engine.zip(hand).map(|(engine, hand)| engine.median - hand.median);
    let target = more.map(|more| Target { words: format!("+ {more:.0}, ≤ 60 more"), met: more <= 60.0 });
    let measure = "a submission over HTTP: processor time (by hand: a route that only reads it)";
    Ok(vec![Row { engine, hand, target, ..Row::new(measure, "µs") }])
}

async fn send(router: &Router, path: &str, body: &str, count: usize) -> Result<()> {
    let left = Arc::new(AtomicUsize::new(count));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (router, left) = (router.clone(), Arc::clone(&left));
            let (path, body) = (path.to_owned(), body.to_owned());
            tokio::spawn(async move {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    let request = Request::post(&path).header("content-type", "application/json");
                    let response = router.clone().oneshot(request.body(Body::from(body.clone()))?).await?;
                    ensure!(response.status().is_success(), "{}", response.status());
                    to_bytes(response.into_body(), usize::MAX).await?;
                }
                Ok::<_, anyhow::Error>(())
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    Ok(())
}

/// The engine at work beside what is measured.
struct Load {
    stops: Arc<AtomicBool>,
    work: tokio::task::JoinHandle<Result<f64>>,
}

impl Load {
    fn begin(runner: &Runner) -> Self {
        let (stops, runner) = (Arc::new(AtomicBool::new(false)), runner.clone());
        let stop = Arc::clone(&stops);
        let work = tokio::spawn(async move {
            let (begun, mut done) = (Instant::now(), 0_u64);
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            while !stop.load(Ordering::Relaxed) {
                tick.tick().await;
                let now = LOAD / 50;
                let runner = runner.clone();
                // Whoever comes next does not wait for those before.
                tokio::spawn(async move { engine::outstanding(&runner, shape::ONE, now as usize).await });
                done += now;
            }
            Ok(done as f64 / begun.elapsed().as_secs_f64())
        });
        Self { stops, work }
    }

    async fn end(self) -> Result<f64> {
        self.stops.store(true, Ordering::Relaxed);
        self.work.await?
    }
}

/// Gives the first task of an execution many attempts that failed.
async fn plant_attempts(database: &Database, execution: uuid::Uuid) -> Result<()> {
    match database {
        Database::Postgres { url } => {
            let client = connect(url).await?;
            let schema = crate::database::schema(0);
            let insert = format!(
                "INSERT INTO {schema}.task_attempts (tenant_id, execution_id, task, attempt, outcome, error, runner_id, started_at, finished_at)
                 SELECT tenant_id, id, 0, 1000 + n, 'failed', 'the bank is closed', id, now() - n * interval '1 s', now() - n * interval '1 s'
                 FROM {schema}.workflow_executions CROSS JOIN generate_series(1, {ATTEMPTS}) AS n WHERE id = '{execution}'"
            );
            client.batch_execute(&insert).await?;
        }
        Database::Sqlite { .. } => {
            let file = database.file(0)?;
            tokio::task::spawn_blocking(move || -> Result<()> {
                let connection = rusqlite::Connection::open(file)?;
                connection.busy_timeout(Duration::from_secs(10))?;
                connection.execute(
                    "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?2)
                     INSERT INTO task_attempts (tenant_id, execution_id, task, attempt, outcome, error, runner_id, started_at, finished_at)
                     SELECT tenant_id, id, 0, 1000 + n, 'failed', 'the bank is closed', id, created_at, created_at + 1
                     FROM workflow_executions CROSS JOIN n WHERE id = ?1",
                    rusqlite::params![execution.as_bytes(), ATTEMPTS as i64],
                )?;
                Ok(())
            })
            .await??;
        }
    }
    Ok(())
}
