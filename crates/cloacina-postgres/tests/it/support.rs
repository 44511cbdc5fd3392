//! What the tests say in one line.

use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloacina_core::id::{ExecutionId, RunnerId, TaskIndex};
use cloacina_core::store::{
    Claim, DueKind, ExecutionRecord, Flush, NewExecution, NewTask, NextDue, Outcome, Place, PlaceFlush,
    PlaceFlushed, PlaceName, RunnerRegistration, Store, StoreError, TaskOutcome, WorkflowKey,
};
use cloacina_core::workflow::Fingerprint;
use cloacina_postgres::{PostgresOptions, PostgresStore};
use cloacina_testing::cluster::Cluster;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

/// The URL of an empty database.
pub(crate) async fn fresh_database() -> String {
    Cluster::shared().unwrap().fresh_database().await.unwrap()
}

pub(crate) async fn connect(url: &str) -> Arc<PostgresStore> {
    let options = PostgresOptions { max_connections: 7, ..PostgresOptions::default() };
    PostgresStore::connect(url, options).await.unwrap()
}

/// A store whose lanes wait for locks, so that a test can say in which order they get them.
pub(crate) async fn connect_patiently(url: &str) -> Arc<PostgresStore> {
    let lane_patience = Some(Duration::from_secs(60));
    let options = PostgresOptions { max_connections: 7, lane_patience, ..PostgresOptions::default() };
    PostgresStore::connect(url, options).await.unwrap()
}

/// A connection of the test's own.
pub(crate) async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A while, which may be shorter than a timer's tick.
pub(crate) async fn passes(after: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < after {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn workflow() -> WorkflowKey {
    WorkflowKey { name: "etl".into(), fingerprint: Fingerprint(7) }
}

/// An execution whose tasks wait for as many others as `waiting_on` says.
pub(crate) fn new_execution(waiting_on: &[i16], claimed: &[TaskIndex]) -> NewExecution {
    let tasks = waiting_on.iter().zip(0..).map(|(&waiting_on, position)| NewTask {
        name: format!("t{position}"),
        is_wait: false,
        waiting_on,
    });
    NewExecution {
        submitter: None,
        tags: Vec::new(),
        submitted_by: None,
        on_failure: None,
        rerun: None,
        child: None,
        id: ExecutionId::new(),
        workflow: workflow(),
        priority: 5,
        input: "{}".into(),
        idempotency: None,
        start_at: None,
        deadline: None,
        tasks: tasks.collect(),
        claimed: claimed.to_vec(),
    }
}

pub(crate) fn completed(
    execution: ExecutionId,
    task: TaskIndex,
    successors: &[(TaskIndex, bool)],
) -> Outcome {
    let outcome = TaskOutcome::Completed { patch: None };
    Outcome { successors: successors.to_vec(), ..Outcome::new(execution, task, 1, outcome) }
}

/// A store, a place `acme` and a live runner on it, and a connection beside it whose search path is that
/// place.
pub(crate) struct Handle {
    pub(crate) url: String,
    pub(crate) store: Arc<PostgresStore>,
    pub(crate) place: Arc<Place>,
    pub(crate) runner: RunnerId,
    pub(crate) beside: Client,
}

impl Handle {
    pub(crate) async fn new() -> Self {
        Self::through(&fresh_database().await, None).await
    }

    /// With the store's connections through another URL than the test's own.
    pub(crate) async fn through(url: &str, store_url: Option<&str>) -> Self {
        let store = connect_patiently(store_url.unwrap_or(url)).await;
        let place = Arc::new(store.place_open(&PlaceName::Named("acme".to_owned())).await.unwrap());
        let runner = RunnerId::new();
        let registration = RunnerRegistration {
            id: runner,
            lease: Duration::from_secs(30),
            process: None,
            host_name: None,
            workflows: Arc::new([workflow()]),
        };
        store.runner_register(&registration, None).await.unwrap();
        let beside = client(url).await;
        beside.batch_execute("SET search_path = acme").await.unwrap();
        Self { url: url.to_owned(), store, place, runner, beside }
    }

    /// A flush on a task of its own; it may have to wait.
    pub(crate) fn start(
        &self,
        lane: usize,
        submits: Vec<NewExecution>,
        outcomes: Vec<Outcome>,
        limit: usize,
    ) -> JoinHandle<Result<PlaceFlushed, StoreError>> {
        let store = Arc::clone(&self.store);
        let flush = Flush {
            runner: Some(self.runner),
            now: None,
            places: vec![PlaceFlush {
                place: Arc::clone(&self.place),
                first_claim: true,
                submits: submits.into_iter().map(Arc::new).collect(),
                // None of these has a deadline.
                timed: Vec::new(),
                related: Vec::new(),
                outcomes: outcomes.into_iter().map(Arc::new).collect(),
                claim: (limit > 0).then(|| Claim { limit, workflows: Arc::new([workflow()]) }),
            }],
        };
        tokio::spawn(
            async move { store.flush(lane, &flush).await.map(|mut flushed| flushed.places.remove(0)) },
        )
    }

    pub(crate) async fn flush(
        &self,
        submits: Vec<NewExecution>,
        outcomes: Vec<Outcome>,
        limit: usize,
    ) -> PlaceFlushed {
        self.start(0, submits, outcomes, limit).await.unwrap().unwrap()
    }

    /// Lowers the bell of the place.
    pub(crate) async fn lower(&self, now: Option<Timestamp>) -> NextDue {
        self.store.bell_lower(std::slice::from_ref(&self.place), DueKind::ALL, now).await.unwrap().remove(0)
    }

    pub(crate) async fn submit(&self, new: NewExecution) -> ExecutionId {
        let id = new.id;
        assert_eq!(self.flush(vec![new], vec![], 0).await.submitted, [id]);
        id
    }

    pub(crate) async fn load(&self, execution: ExecutionId) -> ExecutionRecord {
        self.store.execution_load(&self.place, &[execution]).await.unwrap().remove(0)
    }

    /// Holds the lock that everybody takes who changes tasks of the execution.
    pub(crate) async fn lock(&self, execution: ExecutionId) {
        self.beside.batch_execute("BEGIN").await.unwrap();
        let lock = "SELECT FROM workflow_executions WHERE id = $1 FOR NO KEY UPDATE";
        self.beside.execute(lock, &[&execution.0]).await.unwrap();
    }

    pub(crate) async fn commit(&self) {
        self.beside.batch_execute("COMMIT").await.unwrap();
    }

    /// Returns once so many connections of this database wait for a lock.
    pub(crate) async fn until_waiting(&self, connections: i64) {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < Duration::from_secs(120), "fewer than {connections} wait for a lock");
            // A snapshot of the activity is kept within a transaction.
            self.beside.execute("SELECT pg_stat_clear_snapshot()", &[]).await.unwrap();
            if self.beside.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) >= connections {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
