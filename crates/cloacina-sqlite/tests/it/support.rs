//! What the tests say in one line.

use std::sync::Arc;
use std::time::Duration;

use cloacina_core::execution::AttemptOutcome;
use cloacina_core::id::{ExecutionId, RunnerId, TaskIndex};
use cloacina_core::store::{
    Claim, DueKind, ExecutionRecord, Flush, NewExecution, NewTask, NextDue, Outcome, Place, PlaceFlush,
    PlaceFlushed, PlaceName, RunnerRegistration, Store, StoreError, TaskOutcome, WorkflowKey,
};
use cloacina_core::workflow::Fingerprint;
use cloacina_sqlite::SqliteStore;
use jiff::Timestamp;
use tempfile::TempDir;

pub(crate) struct File {
    pub(crate) directory: TempDir,
}

impl File {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("acme.db")
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite://{}", self.path().display())
    }

    pub(crate) async fn open(&self) -> Handle {
        Handle::new(SqliteStore::open(&self.url()).await.unwrap()).await
    }

    /// The files in the directory.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// A store, its place, and a live runner on it.
pub(crate) struct Handle {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) place: Arc<Place>,
    pub(crate) runner: RunnerId,
}

pub(crate) fn workflow() -> WorkflowKey {
    WorkflowKey { name: "etl".into(), fingerprint: Fingerprint(7) }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
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
    attempt: i32,
    successors: &[(TaskIndex, bool)],
) -> Outcome {
    let outcome = TaskOutcome::Completed { patch: None };
    Outcome { successors: successors.to_vec(), ..Outcome::new(execution, task, attempt, outcome) }
}

pub(crate) fn failed(execution: ExecutionId, task: TaskIndex, successors: &[(TaskIndex, bool)]) -> Outcome {
    let outcome = TaskOutcome::Failed { how: AttemptOutcome::Failed, error: format!("t{task} broke") };
    Outcome { outcome, ..completed(execution, task, 1, successors) }
}

pub(crate) fn retry(execution: ExecutionId, task: TaskIndex, attempt: i32, after: Duration) -> Outcome {
    let outcome = TaskOutcome::Retry { how: AttemptOutcome::TimedOut, error: "too slow".into(), after };
    Outcome { outcome, ..completed(execution, task, attempt, &[]) }
}

impl Handle {
    pub(crate) async fn new(store: Arc<SqliteStore>) -> Self {
        let place = Arc::new(store.place_open(&PlaceName::Default).await.unwrap());
        let runner = RunnerId::new();
        let registration = RunnerRegistration {
            id: runner,
            lease: Duration::from_secs(30),
            process: None,
            host_name: None,
            workflows: Arc::new([workflow()]),
        };
        store.runner_register(&registration, None).await.unwrap();
        Self { store, place, runner }
    }

    pub(crate) async fn memory() -> Self {
        Self::new(SqliteStore::open("sqlite::memory:").await.unwrap()).await
    }

    pub(crate) async fn flush(
        &self,
        now: i64,
        submits: Vec<NewExecution>,
        outcomes: Vec<Outcome>,
        limit: usize,
    ) -> Result<PlaceFlushed, StoreError> {
        let flush = Flush {
            runner: Some(self.runner),
            now: Some(at(now)),
            places: vec![PlaceFlush {
                place: self.place.clone(),
                first_claim: false,
                submits: submits.into_iter().map(Arc::new).collect(),
                timed: outcomes.iter().map(|outcome| outcome.execution).collect(),
                related: Vec::new(),
                outcomes: outcomes.into_iter().map(Arc::new).collect(),
                claim: (limit > 0).then(|| Claim { limit, workflows: Arc::new([workflow()]) }),
            }],
        };
        let mut flushed = self.store.flush(0, &flush).await?;
        assert_eq!(flushed.now, at(now));
        Ok(flushed.places.remove(0))
    }

    /// Lowers the bell of the place.
    pub(crate) async fn lower(&self, now: Option<Timestamp>) -> NextDue {
        self.store.bell_lower(std::slice::from_ref(&self.place), DueKind::ALL, now).await.unwrap().remove(0)
    }

    pub(crate) async fn submit(&self, now: i64, new: NewExecution) -> ExecutionId {
        let id = new.id;
        let flushed = self.flush(now, vec![new], vec![], 0).await.unwrap();
        assert_eq!(flushed.submitted, [id]);
        id
    }

    pub(crate) async fn record(&self, now: i64, outcomes: Vec<Outcome>) -> PlaceFlushed {
        self.flush(now, vec![], outcomes, 0).await.unwrap()
    }

    pub(crate) async fn claim(&self, now: i64, limit: usize) -> Vec<(ExecutionId, TaskIndex, i32)> {
        let flushed = self.flush(now, vec![], vec![], limit).await.unwrap();
        flushed.claimed.iter().map(|claimed| (claimed.execution, claimed.task, claimed.attempt)).collect()
    }

    pub(crate) async fn load(&self, execution: ExecutionId) -> ExecutionRecord {
        self.store.execution_load(&self.place, &[execution]).await.unwrap().remove(0)
    }
}
