//! A place with millions of executions behind it, and many that are open: what its user asks, and what the
//! engine does now and then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cloacina::ExecutionStatus;
use cloacina_core::id::RunnerId;
use cloacina_core::store::{DueKind, ExecutionFilter, ExecutionList, Place, PlaceName, Store};
use cloacina_postgres::{PostgresOptions, PostgresStore};
use cloacina_sqlite::SqliteStore;
use jiff::Timestamp;
use uuid::Uuid;

use super::Scale;
use crate::database::{Database, Kind, schema};
use crate::hand::postgres::connect;
use crate::sample::Spread;
use crate::table::{Row, Target};

/// How many executions are open; 100 of them run, and 50 are paused.
const OPEN: usize = 100_000;

/// Under whose name they run.
const RUNNER: Uuid = Uuid::from_u128(10);

/// When the first was recorded, in milliseconds since 1970; each of the others a millisecond later. An
/// execution takes a second.
const FIRST: i64 = 1_760_000_000_000;

/// A page, and how many executions are pruned at once.
const PAGE: usize = 100;
const BATCH: usize = 1_000;

/// What a look may take, in milliseconds.
const TARGET: f64 = 30.0;

/// Of which states the executions are, by their number `n`: those that are rare are the oldest. `{over}` is
/// how many are over.
const STATE: &str =
    "CASE WHEN n <= 300 THEN 'failed' WHEN n <= 600 THEN 'cancelled' WHEN n <= {over} THEN 'completed'
    WHEN n <= {over} + 100 THEN 'running' WHEN n <= {over} + 150 THEN 'paused' ELSE 'pending' END";

/// Of which workflows: of twenty as often, and of one seldom.
const WORKFLOW: &str = "CASE WHEN n % 200000 = 7 THEN 'rare' ELSE 'workflow_' || (n % 20) END";

pub(crate) async fn history(kind: Kind, scale: Scale) -> Result<Vec<Row>> {
    let database = Database::fresh(kind).await?;
    // The engine makes the tables.
    database.runner(0).await?.shutdown().await?;
    let begun = Instant::now();
    fill(&database, scale.finished).await?;
    eprintln!("{kind}, history: {} executions were made in {:.0?}", scale.finished + OPEN, begun.elapsed());
    let (store, name): (Arc<dyn Store>, _) = match &database {
        Database::Sqlite { .. } => (
            SqliteStore::open(&format!("sqlite://{}", database.file(0)?.display())).await?,
            PlaceName::Default,
        ),
        Database::Postgres { url } => {
            (PostgresStore::connect(url, PostgresOptions::default()).await?, PlaceName::Named(schema(0)))
        }
    };
    let place = {
        let store = Arc::clone(&store);
        Arc::new(store.runtime().spawn(async move { store.place_open(&name).await }).await??)
    };
    let asks = Asks { store, place, runs: scale.runs };
    let mut rows = asks.lists(scale.finished).await?;
    rows.extend(asks.looks(scale.finished).await?);
    let store = Arc::clone(&asks.store);
    store.runtime().spawn(async move { store.close().await }).await??;
    Ok(rows)
}

struct Asks {
    store: Arc<dyn Store>,
    place: Arc<Place>,
    runs: usize,
}

impl Asks {
    /// How long a call takes, in milliseconds.
    async fn time<Fut>(
        &self,
        what: &str,
        limit: Option<f64>,
        call: impl Fn(Arc<dyn Store>, Arc<Place>) -> Fut,
    ) -> Result<Row>
    where
        Fut: Future<Output = cloacina_core::store::Result<()>> + Send + 'static,
    {
        let mut times = Vec::new();
        // What is looked at for the first time comes from the disk.
        for run in 0..=self.runs {
            let begun = Instant::now();
            self.store.runtime().spawn(call(Arc::clone(&self.store), Arc::clone(&self.place))).await??;
            if run > 0 {
                times.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
        let engine = Spread::of(times);
        let target = engine
            .zip(limit)
            .map(|(engine, limit)| Target { words: format!("≤ {limit}"), met: engine.median <= limit });
        Ok(Row { engine, target, ..Row::new(what, "ms") })
    }

    async fn lists(&self, over: usize) -> Result<Vec<Row>> {
        use ExecutionStatus::{Cancelled, Completed, Failed, Paused, Pending, Running};

        let all = ExecutionFilter::all;
        let middle = Some(id_of(over / 2));
        let pages = [
            ("of any", all(), None, PAGE),
            ("of any, from the middle on", all(), middle, PAGE),
            ("pending", all().status(Pending), None, PAGE),
            ("running", all().status(Running), None, PAGE),
            ("paused", all().status(Paused), None, 50),
            ("completed", all().status(Completed), None, PAGE),
            ("failed", all().status(Failed), None, PAGE),
            ("cancelled", all().status(Cancelled), None, PAGE),
            ("failed or cancelled, from the middle on", all().status(Failed).status(Cancelled), middle, PAGE),
            ("of a workflow", all().workflow("workflow_3"), None, PAGE),
            ("of a rare workflow", all().workflow("rare"), None, over / 200_000),
            ("of a workflow that there is not", all().workflow("none"), None, 0),
            ("completed, of a rare workflow", all().status(Completed).workflow("rare"), None, over / 200_000),
            ("failed, of a workflow", all().status(Failed).workflow("workflow_3"), None, 15),
            ("failed, of a rare workflow", all().status(Failed).workflow("rare"), None, 1),
        ];
        let mut rows = Vec::new();
        for (what, filter, before, expected) in pages {
            let list = ExecutionList { filter, before: before.map(Into::into), limit: PAGE };
            let call = |store: Arc<dyn Store>, place: Arc<Place>| {
                let list = list.clone();
                async move { store.execution_list(&place, &list).await }
            };
            let found = self.store.runtime().spawn(call(Arc::clone(&self.store), Arc::clone(&self.place)));
            let found = found.await??.len();
            ensure!(found.abs_diff(expected) <= 1, "{found} executions are listed as {what}, not {expected}");
            let timed = self
                .time(&format!("a page of 100: {what}"), Some(TARGET), |store, place| {
                    let listed = call(store, place);
                    async move { listed.await.map(drop) }
                })
                .await?;
            rows.push(timed);
        }
        Ok(rows)
    }

    async fn looks(&self, over: usize) -> Result<Vec<Row>> {
        let last = FIRST + i64::try_from(over)? + 1_000;
        let now = Some(Timestamp::from_millisecond(last)?);
        let mut rows = Vec::new();
        let held = |store: Arc<dyn Store>, place: Arc<Place>| async move {
            store.task_held(&place, RunnerId(RUNNER)).await.map(|held| assert_eq!(held.len(), 100))
        };
        rows.push(self.time("what a runner holds", Some(TARGET), held).await?);
        let count = |store: Arc<dyn Store>, place: Arc<Place>| async move {
            store.execution_count(&place, 10_000).await.map(drop)
        };
        rows.push(self.time("open executions, counted up to 10,000", Some(TARGET), count).await?);
        let bell = |store: Arc<dyn Store>, place: Arc<Place>| async move {
            store.bell_due(now).await?;
            store.bell_lower(&[place], DueKind::ALL, now).await.map(drop)
        };
        rows.push(self.time("the bell", Some(TARGET), bell).await?);
        let figures = |store: Arc<dyn Store>, place: Arc<Place>| async move {
            store.place_figures(&place, now).await.map(drop)
        };
        rows.push(self.time("figures, which count all executions", None, figures).await?);
        // The retention is what keeps a batch for each run and nothing behind it.
        let prune = |keeps: usize| {
            move |store: Arc<dyn Store>, place: Arc<Place>| async move {
                let retention = Duration::from_millis(keeps as u64);
                store
                    .execution_prune(&place, ExecutionStatus::Completed, retention, BATCH, now)
                    .await
                    .map(drop)
            }
        };
        let nothing = self.time("pruning: nothing is old enough", Some(TARGET), prune(over + 1_000)).await?;
        let batch =
            self.time("pruning: a batch of 1,000", None, prune(over - BATCH * (self.runs + 1))).await?;
        let end = self
            .time("pruning: nothing is left", Some(TARGET), prune(over - BATCH * (self.runs + 1)))
            .await?;
        rows.extend([nothing, batch, end]);
        // It takes back what runs, because there is no such runner.
        let repair = |store: Arc<dyn Store>, place: Arc<Place>| async move {
            store.place_repair(&place, now).await.map(drop)
        };
        rows.push(self.time("the look for what is broken", Some(TARGET), repair).await?);
        Ok(rows)
    }
}

/// The id of an execution by its number: of version 7.
fn id_of(number: usize) -> Uuid {
    let milliseconds = u128::try_from(FIRST).unwrap_or_default() + number as u128;
    Uuid::from_u128(
        milliseconds << 80 | 0x7 << 76 | (number as u128 % 4096) << 64 | 0x8 << 60 | number as u128,
    )
}

pub(super) async fn fill(database: &Database, over: usize) -> Result<()> {
    let state = STATE.replace("{over}", &over.to_string());
    match database {
        Database::Postgres { url } => fill_postgres(url, &state, over).await,
        Database::Sqlite { .. } => {
            let file = database.file(0)?;
            tokio::task::spawn_blocking(move || fill_sqlite(&file, &state, over)).await?
        }
    }
}

async fn fill_postgres(url: &str, state: &str, over: usize) -> Result<()> {
    let client = connect(url).await?;
    let place = schema(0);
    client.batch_execute(&format!("SET search_path TO {place}; SET synchronous_commit = off")).await?;
    let tenant: Uuid = client
        .query_one("SELECT tenant_id FROM cloacina.tenant WHERE schema_name = $1", &[&place])
        .await?
        .get(0);
    let all = over + OPEN;
    for statement in [
        format!(
            "INSERT INTO workflow_executions
                 (tenant_id, id, workflow, fingerprint, state, priority, input, created_at, started_at, finished_at, error)
             SELECT '{tenant}',
                    (lpad(to_hex({FIRST} + n), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid,
                    {WORKFLOW}, 1, {state}, 4, '{{\"order\": 12345}}', at, CASE WHEN n <= {over} + 150 THEN at END,
                    CASE WHEN n <= {over} THEN at + interval '1 s' END, CASE WHEN n <= 600 THEN 'it went wrong' END
             FROM generate_series(1, {all}) AS n, LATERAL (SELECT to_timestamp(({FIRST} + n) / 1000.0) AS at) AS time"
        ),
        format!(
            "INSERT INTO task_executions (tenant_id, execution_id, task, name, state, waiting_on, attempt, runner_id, due_at, started_at,
                                          finished_at, outcome)
             SELECT tenant_id, id, 0, 'task', CASE WHEN state IN ('pending', 'paused') THEN 'ready' ELSE state END, 0, 1, '{RUNNER}',
                    created_at, created_at, finished_at, CASE WHEN finished_at IS NOT NULL THEN state END
             FROM workflow_executions"
        ),
        "INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
         SELECT tenant_id, 4, created_at, id, 0, workflow, fingerprint FROM workflow_executions WHERE state = 'pending'"
            .to_owned(),
        "VACUUM ANALYZE workflow_executions".to_owned(),
        "VACUUM ANALYZE task_executions".to_owned(),
        "VACUUM ANALYZE ready_tasks".to_owned(),
    ] {
        client.batch_execute(&statement).await?;
    }
    Ok(())
}

fn fill_sqlite(file: &std::path::Path, state: &str, over: usize) -> Result<()> {
    let connection = rusqlite::Connection::open(file)?;
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -500000")?;
    let tenant: Uuid = connection.query_row("SELECT tenant_id FROM cloacina_place", [], |row| row.get(0))?;
    let (tenant, runner) = (tenant.simple(), RUNNER.simple());
    let all = over + OPEN;
    connection.execute_batch(&format!(
        "INSERT INTO workflow_executions
             (tenant_id, id, workflow, fingerprint, state, priority, created_at, started_at, finished_at, error, input)
         WITH RECURSIVE planted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM planted WHERE n < {all})
         SELECT x'{tenant}', unhex(format('%012x7%03x8%015x', {FIRST} + n, n % 4096, n)), {WORKFLOW}, 1, {state}, 4, ({FIRST} + n) * 1000,
                iif(n <= {over} + 150, ({FIRST} + n) * 1000, NULL), iif(n <= {over}, ({FIRST} + n + 1000) * 1000, NULL),
                iif(n <= 600, 'it went wrong', NULL), '{{\"order\": 12345}}'
         FROM planted;
         INSERT INTO task_executions
             (tenant_id, execution_id, task, name, state, waiting_on, attempt, runner_id, due_at, started_at, finished_at, outcome)
         SELECT tenant_id, id, 0, 'task', iif(state IN ('pending', 'paused'), 'ready', state), 0, 1, x'{runner}', created_at, created_at,
                finished_at, iif(finished_at IS NOT NULL, state, NULL)
         FROM workflow_executions;
         INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
         SELECT tenant_id, 4, created_at, id, 0, workflow, fingerprint FROM workflow_executions WHERE state = 'pending';
         PRAGMA wal_checkpoint(TRUNCATE)"
    ))?;
    Ok(())
}
