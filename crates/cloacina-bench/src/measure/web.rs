//! The HTTP interface and the pages, over a place with a million executions, while the engine is at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::request::Parts;
use axum::routing::post;
use cloacina::{Runner, RunnerConfig};
use cloacina_web::{Authorize, Principal, Role};
use serde_json::Value;
use tower::ServiceExt as _;

use super::{Scale, history};
use crate::database::{Database, Kind};
use crate::hand::postgres::connect;
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
    let tried = runner.list(cloacina::ExecutionFilter::all(), None, 1).await?[0].execution_id;
    plant_attempts(&database, tried).await?;
    let place = runner.place().to_owned();
    let load = Load::begin(&runner);
    for (what, path, limit, by) in [
        ("a list of 100 executions", format!("/v1/tenants/{place}/executions?limit=100"), 30.0, 0.95),
        (
            "a list of 100 that failed",
            format!("/v1/tenants/{place}/executions?status=failed&limit=100"),
            30.0,
            0.95,
        ),
        ("the page of executions", format!("/tenants/{place}/executions"), 50.0, 0.95),
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
    Ok(rows)
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
