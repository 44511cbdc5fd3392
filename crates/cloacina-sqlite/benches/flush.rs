//! What a flush costs beside the same statements by hand and beside bare commits, in one run on one machine.
//!
//! `cargo bench -p cloacina-sqlite --bench flush`. Set `TMPDIR` to measure another disk.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloacina_core::id::{ExecutionId, RunnerId};
use cloacina_core::store::{
    Flush, NewExecution, NewTask, Outcome, Place, PlaceFlush, PlaceName, RunnerRegistration, Store,
    TaskOutcome, WorkflowKey,
};
use cloacina_core::workflow::Fingerprint;
use cloacina_sqlite::SqliteStore;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};
use uuid::Uuid;

const ROUNDS: usize = 2_000;
const BATCH: usize = 256;
const BATCHES: usize = 80;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    println!("{:>28} {:>9} {:>9} {:>9}", "µs for one execution", "p50", "p90", "p99");
    let mut rows = Vec::new();
    // Alternating, so that a busy moment of the machine meets all of them.
    for round in 0..3 {
        let path = |name| directory.path().join(format!("{name}{round}.db"));
        let subject = Subject::new(&path("flush"))?;
        let mut hand = Hand::new(&path("hand"))?;
        for batch in [1, BATCH] {
            let times = if batch == 1 { ROUNDS / 3 } else { BATCHES / 3 };
            let (mut bare, mut by_hand, mut flushed) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..times {
                bare.push(time(|| hand.bare())?);
                by_hand.push(time(|| hand.pair(batch))?);
                flushed.push(time(|| subject.pair(batch))?);
            }
            rows.push((batch, [bare, by_hand, flushed]));
        }
        let begun = Instant::now();
        for _ in 0..10_000 {
            black_box(subject.store.runtime().block_on(subject.store.bell_due(None))?);
        }
        println!("bell_due of an idle file: {:.1} µs", begun.elapsed().as_secs_f64() * 1e6 / 10_000.0);
        let begun = Instant::now();
        for file in 0..100 {
            Subject::open(&directory.path().join(format!("new{round}-{file}.db")))?;
        }
        println!("open and close of a new file: {:.2} ms", begun.elapsed().as_secs_f64() * 1e3 / 100.0);
    }
    for batch in [1, BATCH] {
        for (index, name) in ["two bare commits", "by hand", "flush"].into_iter().enumerate() {
            let mut all: Vec<Duration> =
                rows.iter().filter(|row| row.0 == batch).flat_map(|row| row.1[index].clone()).collect();
            all.sort();
            let at = |share: f64| all[(all.len() as f64 * share) as usize].as_secs_f64() * 1e6 / batch as f64;
            println!(
                "{:>28} {:>9.1} {:>9.1} {:>9.1}   {:>9.0} executions/s",
                format!("{name}, batch of {batch}"),
                at(0.5),
                at(0.9),
                at(0.99),
                1e6 / at(0.5)
            );
        }
    }
    Ok(())
}

fn time(work: impl FnOnce() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

struct Subject {
    store: Arc<SqliteStore>,
    place: Arc<Place>,
    runner: RunnerId,
    workflow: WorkflowKey,
    tasks: Arc<[NewTask]>,
}

impl Subject {
    fn open(path: &Path) -> Result<Arc<SqliteStore>, Failure> {
        let outside = tokio::runtime::Builder::new_current_thread().build()?;
        Ok(outside.block_on(SqliteStore::open(&path.display().to_string()))?)
    }

    fn new(path: &Path) -> Result<Self, Failure> {
        let store = Self::open(path)?;
        let workflow = WorkflowKey { name: "orders".into(), fingerprint: Fingerprint(7) };
        let runner = RunnerId::new();
        let registration = RunnerRegistration {
            id: runner,
            lease: Duration::from_secs(30),
            process: None,
            host_name: None,
            workflows: Arc::new([workflow.clone()]),
        };
        store.runtime().block_on(store.runner_register(&registration, None))?;
        let place = Arc::new(store.runtime().block_on(store.place_open(&PlaceName::Default))?);
        let tasks = Arc::new([NewTask { name: "charge".into(), is_wait: false, waiting_on: 0 }]);
        Ok(Self { store, place, runner, workflow, tasks })
    }

    fn pair(&self, batch: usize) -> Result<(), Failure> {
        let ids: Vec<ExecutionId> = (0..batch).map(|_| ExecutionId::new()).collect();
        let submit = |&id| {
            Arc::new(NewExecution {
                id,
                workflow: self.workflow.clone(),
                priority: 5,
                input: r#"{"order": 17, "city": "Rome"}"#.into(),
                idempotency: None,
                start_at: None,
                deadline: None,
                tasks: self.tasks.clone(),
                claimed: vec![0],
                submitter: None,
                tags: Vec::new(),
                submitted_by: None,
                on_failure: None,
                rerun: None,
                child: None,
            })
        };
        let outcome = |&execution| {
            let patch = Some(r#"{"set":{"charged":true}}"#.into());
            Arc::new(Outcome::new(execution, 0, 1, TaskOutcome::Completed { patch }))
        };
        self.flush(ids.iter().map(submit).collect(), Vec::new())?;
        self.flush(Vec::new(), ids.iter().map(outcome).collect())
    }

    fn flush(&self, submits: Vec<Arc<NewExecution>>, outcomes: Vec<Arc<Outcome>>) -> Result<(), Failure> {
        let place = PlaceFlush {
            place: self.place.clone(),
            first_claim: false,
            submits,
            outcomes,
            timed: Vec::new(),
            related: Vec::new(),
            claim: None,
        };
        let flush = Flush { runner: Some(self.runner), now: None, places: vec![place] };
        black_box(self.store.runtime().block_on(self.store.flush(0, &flush))?);
        Ok(())
    }
}

/// The same rows by the same statements, as somebody would write them who needs nothing else.
struct Hand {
    connection: Connection,
    tenant: Uuid,
    runner: Uuid,
}

impl Hand {
    fn new(path: &Path) -> Result<Self, Failure> {
        // The tables are the store's; a file of its own, because a connection drops its cache when another
        // one has written.
        let subject = Subject::new(path)?;
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.execute_batch("CREATE TABLE bare (n INTEGER); INSERT INTO bare VALUES (0)")?;
        Ok(Self { connection, tenant: subject.place.tenant.0, runner: subject.runner.0 })
    }

    fn bare(&mut self) -> Result<(), Failure> {
        for _ in 0..2 {
            self.connection.prepare_cached("UPDATE bare SET n = n + 1")?.execute([])?;
        }
        Ok(())
    }

    fn pair(&mut self, batch: usize) -> Result<(), Failure> {
        let ids: Vec<Uuid> = (0..batch).map(|_| ExecutionId::new().0).collect();
        let (tenant, runner, now) = (self.tenant, self.runner, 1_800_000_000_000_000_i64);
        let begin = "BEGIN IMMEDIATE";
        self.connection.prepare_cached(begin)?.execute([])?;
        {
            let fence = include_str!("../sql/fence.sql");
            self.connection.prepare_cached(fence)?.query_row([runner], |row| row.get::<_, bool>(0))?;
            let mut execution =
                self.connection.prepare_cached(include_str!("../sql/execution_insert.sql"))?;
            let mut task = self.connection.prepare_cached(include_str!("../sql/task_insert.sql"))?;
            let none = None::<i64>;
            for id in &ids {
                let input = r#"{"order": 17, "city": "Rome"}"#;
                execution.execute(params![
                    tenant, id, "orders", 7, "running", 5, now, now, none, none, none, input
                ])?;
                task.execute(params![tenant, id, 0, "charge", "running", 0, 1, runner, now, now])?;
            }
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.connection.prepare_cached(begin)?.execute([])?;
        {
            let fence = include_str!("../sql/fence.sql");
            self.connection.prepare_cached(fence)?.query_row([runner], |row| row.get::<_, bool>(0))?;
            let mut finish = self.connection.prepare_cached(include_str!("../sql/task_finish.sql"))?;
            let mut close = self.connection.prepare_cached(include_str!("../sql/execution_close.sql"))?;
            for id in &ids {
                let (patch, none) = (r#"{"set":{"charged":true}}"#, None::<&str>);
                let (completed, attempt) = ("completed", 1);
                finish.execute(params![
                    tenant, id, 0, completed, completed, now, patch, none, none, runner, attempt
                ])?;
                close.query_row(params![tenant, id, now], |row| row.get::<_, String>(0))?;
            }
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}
