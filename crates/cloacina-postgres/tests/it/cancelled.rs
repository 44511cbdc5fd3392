//! Statements that are cancelled at any moment, also while a transaction begins or commits: what is refused
//! was not written, in part or in whole, and the next call finds a connection without a transaction.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cloacina_core::id::{ExecutionId, TaskIndex};
use cloacina_core::store::{Claimed, Control, Outcome, Store, StoreErrorKind};
use cloacina_postgres::admin::{Database, DatabaseAdmin, TenantConfig};
use cloacina_postgres::{PostgresAddress, PostgresStore};
use cloacina_testing::cluster::Cluster;
use cloacina_testing::pooler::Pooler;
use fastrand::Rng;
use tokio_postgres::Client;

use crate::support::{Handle, client, completed, fresh_database, new_execution, passes};

/// So many flushes are refused before it is enough: some of them where they begin, some where they commit.
const REFUSED: usize = 300;

#[tokio::test]
async fn what_an_operators_flush_was_refused_is_not_written() {
    let url = fresh_database().await;
    play(&url, &url).await;
}

/// Its search path leads to its tables also outside of a transaction of ours.
#[tokio::test]
async fn what_a_tenants_own_flush_was_refused_is_not_written() {
    let (url, own) = with_own_login().await;
    play(&url, &own).await;
}

#[tokio::test]
async fn what_a_tenants_own_flush_through_a_pooler_was_refused_is_not_written() {
    let (url, own) = with_own_login().await;
    let pooler = Pooler::start(&[&url, &own], 1).await.unwrap();
    play(&url, &pooler.url(&own)).await;
}

/// The URL of the operator of a database, and that of a tenant with a login of its own in it.
async fn with_own_login() -> (String, String) {
    let url = fresh_database().await;
    let server = Cluster::shared().unwrap();
    server.make_administrator(&url).await.unwrap();
    let database = url.rsplit('/').next().unwrap();
    let admin = DatabaseAdmin::new(Database::new(&url, database, 1));
    let username = format!("{database}_acme");
    let config = TenantConfig {
        schema_name: "acme".to_owned(),
        username,
        password: "for-a-file-of-the-pooler".to_owned(),
    };
    let own = admin.create_tenant(config).await.unwrap();
    (url.clone(), server.url(&own.username, &own.password, database))
}

async fn play(url: &str, store_url: &str) {
    let mut flushes = Flushes {
        t: Handle::through(url, Some(store_url)).await,
        superuser: client(&Cluster::shared().unwrap().superuser_url_of(url)).await,
        rng: Rng::with_seed(0),
        usual: Duration::from_millis(1),
        held: Vec::new(),
        written: HashSet::new(),
        refused: HashSet::new(),
        undecided: 0,
    };
    while flushes.refused.len() < REFUSED {
        flushes.flush().await;
        flushes.pause_and_resume().await;
    }
    flushes.look_at_rows().await;
}

struct Flushes {
    t: Handle,
    superuser: Client,
    rng: Rng,
    /// What a call took that nobody cancelled.
    usual: Duration,
    held: Vec<Claimed>,
    written: HashSet<ExecutionId>,
    refused: HashSet<ExecutionId>,
    undecided: usize,
}

impl Flushes {
    /// Makes a call; at some moment of it, mostly, whatever is under way in the database is cancelled.
    async fn cancelled<T>(&mut self, call: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        if self.rng.u8(0..4) == 0 {
            let answer = call.await;
            self.usual = begun.elapsed().min(self.usual * 2);
            return answer;
        }
        let after = self.usual.mul_f64(1.2 * self.rng.f64());
        let cancel = async {
            passes(after).await;
            let text = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
                        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
            self.superuser.batch_execute(text).await.unwrap();
        };
        tokio::join!(call, cancel).0
    }

    /// Submits an execution of two tasks one after the other, claims, and records what was claimed before.
    async fn flush(&mut self) {
        let new = new_execution(&[0, 1], &[]);
        let id = new.id;
        let outcomes = self.held.iter().map(outcome).collect();
        let flushing = self.t.start(0, vec![new], outcomes, 2);
        match self.cancelled(flushing).await.unwrap() {
            Ok(flushed) => {
                assert_eq!(flushed.submitted, [id]);
                // Whatever was sent before and refused was not recorded, so it is now.
                assert_eq!(flushed.recorded.len(), self.held.len(), "{flushed:?} of {:?}", self.held);
                self.written.insert(id);
                self.held = flushed.claimed;
            }
            Err(error) if matches!(error.kind(), StoreErrorKind::Transient | StoreErrorKind::Busy) => {
                self.refused.insert(id);
            }
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Unknown, "{error:?}");
                self.undecided += 1;
                self.held = self.t.store.task_held(&self.t.place, self.t.runner).await.unwrap_or_default();
            }
        }
    }

    /// Two flights each, in one transaction.
    async fn pause_and_resume(&mut self) {
        let Some(id) = self.held.first().map(|held| held.execution) else { return };
        for control in [Control::Pause, Control::Resume] {
            let (store, place) = (Arc::clone(&self.t.store), Arc::clone(&self.t.place));
            if let Err(error) = self.cancelled(store.execution_control(&place, id, control, None, None)).await
            {
                assert!(
                    matches!(error.kind(), StoreErrorKind::Transient | StoreErrorKind::Busy),
                    "{error:?}"
                );
            }
        }
    }

    async fn look_at_rows(&self) {
        let text = "SELECT execution.id, count(task.execution_id) FROM acme.workflow_executions AS execution \
                    LEFT JOIN acme.task_executions AS task ON task.execution_id = execution.id GROUP BY 1";
        let rows = self.superuser.query(text, &[]).await.unwrap();
        let found: HashSet<_> = rows.iter().map(|row| ExecutionId(row.get(0))).collect();
        assert!(rows.iter().all(|row| row.get::<_, i64>(1) == 2), "an execution without all of its tasks");
        assert!(found.is_superset(&self.written), "an execution is lost");
        assert!(found.is_disjoint(&self.refused), "an execution was refused and is there");
        assert!(found.len() <= self.written.len() + self.undecided);
        // A claim that nobody was told of would be a task that nobody runs.
        let text = "SELECT execution_id, task FROM acme.task_executions WHERE state = 'running'";
        let running: HashSet<(ExecutionId, TaskIndex)> = self
            .superuser
            .query(text, &[])
            .await
            .unwrap()
            .iter()
            .map(|row| (ExecutionId(row.get(0)), row.get(1)))
            .collect();
        let held: HashSet<_> = self.held.iter().map(|held| (held.execution, held.task)).collect();
        assert!(running == held || self.undecided > 0, "{running:?} are claimed, and {held:?} known to be");
    }
}

fn outcome(held: &Claimed) -> Outcome {
    let successors: &[_] = if held.task == 0 { &[(1, false)] } else { &[] };
    Outcome { attempt: held.attempt, ..completed(held.execution, held.task, successors) }
}

/// Who is cancelled while it says who it is has met no mistake in the settings: it may try again.
#[tokio::test]
async fn a_connection_that_is_cancelled_while_it_is_made_may_be_made_again() {
    let url = fresh_database().await;
    let superuser = client(&Cluster::shared().unwrap().superuser_url_of(&url)).await;
    let done = Arc::new(AtomicBool::new(false));
    let cancelling = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            let text = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
                        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
            while !done.load(Ordering::Relaxed) {
                superuser.batch_execute(text).await.unwrap();
            }
        }
    });
    let mut cancelled = 0;
    while cancelled < REFUSED {
        let address = PostgresAddress::parse(&url).unwrap();
        if let Err(error) = PostgresStore::authenticate(address).await {
            assert_eq!(error.kind(), StoreErrorKind::Transient, "{error:?}");
            cancelled += 1;
        }
    }
    done.store(true, Ordering::Relaxed);
    cancelling.await.unwrap();
}
