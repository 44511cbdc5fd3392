//! By hand, on SQLite.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::share::share;
use crate::shape::{INPUT, PATCH, Shape};

macro_rules! statement {
    ($name:literal) => {
        include_str!(concat!("../../../cloacina-sqlite/sql/", $name, ".sql"))
    };
}

const FENCE: &str = statement!("fence");
const RUNNER_REGISTER: &str = statement!("runner_register");
const EXECUTION_INSERT: &str = statement!("execution_insert");
const EXECUTION_LOCK: &str = statement!("execution_lock");
const EXECUTION_CLOSE: &str = statement!("execution_close");
const TASK_INSERT: &str = statement!("task_insert");
const READY_INSERT: &str = statement!("ready_insert");
const TASK_FINISH: &str = statement!("task_finish");
const TASK_FREE: &str = statement!("task_free");

/// How many threads work on many files.
const WRITERS: usize = 4;

/// Files with the engine's tables, each with its one writer.
pub(crate) struct Hand {
    files: Vec<File>,
}

struct File {
    connection: Connection,
    tenant: Uuid,
    runner: Uuid,
}

impl Hand {
    /// Takes over files that the engine has made and closed.
    pub(crate) fn open(files: &[PathBuf]) -> Result<Self> {
        Ok(Self { files: files.iter().map(|path| File::open(path)).collect::<Result<_>>()? })
    }

    /// Executions one after another.
    pub(crate) fn alone(&mut self, shape: Shape, count: usize) -> Result<Vec<Duration>> {
        let file = &self.files[0];
        let mut latencies = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            file.run(shape, &[Uuid::now_v7()])?;
            latencies.push(begun.elapsed());
        }
        Ok(latencies)
    }

    /// Executions in batches, of `batch` in each file's transaction.
    pub(crate) fn batches(&mut self, shape: Shape, count: usize, batch: usize) -> Result<Duration> {
        let begun = Instant::now();
        let left = AtomicUsize::new(count);
        let writers = WRITERS.min(self.files.len());
        let share_of_files = self.files.len().div_ceil(writers);
        thread::scope(|scope| {
            let writers: Vec<_> = self
                .files
                .chunks_mut(share_of_files)
                .map(|files| {
                    let left = &left;
                    scope.spawn(move || -> Result<()> {
                        loop {
                            for file in &mut *files {
                                let count = share(left, batch);
                                if count == 0 {
                                    return Ok(());
                                }
                                let ids: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
                                file.run(shape, &ids)?;
                            }
                        }
                    })
                })
                .collect();
            writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
        })?;
        debug_assert_eq!(left.load(Ordering::Relaxed), 0);
        Ok(begun.elapsed())
    }

    /// Executions of which nothing is claimed, in batches of `batch` in the first file's transaction.
    pub(crate) fn submits(&mut self, shape: Shape, count: usize, batch: usize) -> Result<Duration> {
        let (begun, file) = (Instant::now(), &self.files[0]);
        let left = AtomicUsize::new(count);
        loop {
            let ids: Vec<Uuid> = (0..share(&left, batch)).map(|_| Uuid::now_v7()).collect();
            if ids.is_empty() {
                return Ok(begun.elapsed());
            }
            file.transaction(|now| file.insert(shape, &ids, now, false))?;
        }
    }

    /// Groups of commits that change one row each; the time of each group.
    pub(crate) fn bare(&mut self, count: usize, group: usize) -> Result<Vec<Duration>> {
        let connection = &self.files[0].connection;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS bare (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
             INSERT OR IGNORE INTO bare VALUES (1, 0);",
        )?;
        let mut update = connection.prepare("UPDATE bare SET n = n + 1 WHERE id = 1")?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            for _ in 0..group {
                update.execute([])?;
            }
            times.push(begun.elapsed());
        }
        Ok(times)
    }
}

impl File {
    fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.set_prepared_statement_cache_capacity(64);
        let tenant = connection.query_row("SELECT tenant_id FROM cloacina_place", [], |row| row.get(0))?;
        let runner = Uuid::now_v7();
        let (none, no_process): (Option<&str>, Option<i64>) = (None, None);
        connection.execute(
            RUNNER_REGISTER,
            params![runner, 30_000_000_i64, none, no_process, no_process, now(), "[]", none],
        )?;
        Ok(Self { connection, tenant, runner })
    }

    /// A batch of executions from the first transaction to the last.
    fn run(&self, shape: Shape, executions: &[Uuid]) -> Result<()> {
        self.transaction(|now| self.insert(shape, executions, now, true))?;
        for layer in 0..shape.layers.len() {
            self.transaction(|now| self.finish(shape, layer, executions, now))?;
        }
        Ok(())
    }

    fn transaction(&self, work: impl FnOnce(i64) -> Result<()>) -> Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let live: bool = self.connection.prepare_cached(FENCE)?.query_row([self.runner], |row| row.get(0))?;
        anyhow::ensure!(live, "the runner of the work by hand was declared dead");
        work(now())?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    fn insert(&self, shape: Shape, executions: &[Uuid], now: i64, claims: bool) -> Result<()> {
        let mut insert = self.connection.prepare_cached(EXECUTION_INSERT)?;
        let mut insert_task = self.connection.prepare_cached(TASK_INSERT)?;
        let mut insert_ready = self.connection.prepare_cached(READY_INSERT)?;
        let tasks = shape.tasks();
        let (no_number, no_text, no_id): (Option<i64>, Option<&str>, Option<Uuid>) = (None, None, None);
        for execution in executions {
            insert.execute(params![
                self.tenant,
                execution,
                shape.workflow,
                1_i64,
                if claims { "running" } else { "pending" },
                5,
                now,
                claims.then_some(now),
                no_number,
                no_text,
                no_number,
                no_number,
                INPUT,
                no_id,
                no_text,
                no_text,
                no_text,
            ])?;
            for task in &tasks {
                let is_first = task.waiting_on == 0;
                let claimed = is_first && claims;
                insert_task.execute(params![
                    self.tenant,
                    execution,
                    task.position,
                    task.name,
                    match (is_first, claims) {
                        (false, _) => "pending",
                        (true, true) => "running",
                        (true, false) => "ready",
                    },
                    task.waiting_on,
                    i32::from(claimed),
                    claimed.then_some(self.runner),
                    is_first.then_some(now),
                    claimed.then_some(now),
                ])?;
                if is_first && !claims {
                    insert_ready.execute(params![
                        self.tenant,
                        5,
                        now,
                        execution,
                        task.position,
                        shape.workflow,
                        1_i64,
                    ])?;
                }
            }
        }
        Ok(())
    }

    fn finish(&self, shape: Shape, layer: usize, executions: &[Uuid], now: i64) -> Result<()> {
        let mut finish = self.connection.prepare_cached(TASK_FINISH)?;
        let mut free = self.connection.prepare_cached(TASK_FREE)?;
        let mut lock = self.connection.prepare_cached(EXECUTION_LOCK)?;
        let no_text: Option<&str> = None;
        for execution in executions {
            for task in shape.layer(layer) {
                let finished = finish.execute(params![
                    self.tenant,
                    execution,
                    task,
                    "completed",
                    "completed",
                    now,
                    PATCH,
                    no_text,
                    no_text,
                    self.runner,
                    1,
                ])?;
                anyhow::ensure!(finished == 1, "a task was not running");
                let successors = shape.layer(layer + 1);
                if task == shape.layer(layer).start && !successors.is_empty() {
                    lock.query_row(params![self.tenant, execution], |row| row.get::<_, String>(0))?;
                }
                for successor in successors {
                    free.query_row(
                        params![self.tenant, execution, successor, now, self.runner, false],
                        |row| row.get::<_, i64>(0),
                    )?;
                }
            }
        }
        if layer + 1 == shape.layers.len() {
            let mut close = self.connection.prepare_cached(EXECUTION_CLOSE)?;
            for execution in executions {
                let closed: Option<String> =
                    close.query_row(params![self.tenant, execution, now], |row| row.get(0)).optional()?;
                anyhow::ensure!(closed.as_deref() == Some("completed"), "an execution was not closed");
            }
        }
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the work by hand reads the clock of the machine, as the engine's does"
)]
fn now() -> i64 {
    Timestamp::now().as_microsecond()
}
