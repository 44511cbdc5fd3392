//! A ledger in which a task leaves a row for its execution, and what the database says of both.
//!
//! Nothing keeps the ledger from a second row of an execution: one would be seen.

// What the derives of SeaORM make of them has to be as public as they are.
#![allow(unreachable_pub)]

use std::time::{Duration, Instant};

use cloacina::data::sea_orm::sea_query::{ColumnDef, Table};
use cloacina::data::sea_orm::{ActiveValue, EntityTrait};
use cloacina::data::{Data, Migration, TenantTx, sea_orm};
use cloacina::{Backoff, Context, Jitter, RetryPolicy, TaskDefinition, Workflow};
use cloacina_testing::cluster::Cluster;
use uuid::Uuid;

use crate::support::{PATIENCE, Placement};

pub(crate) mod entry {
    use cloacina::data::sea_orm;
    use cloacina::data::sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ledger")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub execution: Uuid,
        pub attempt: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) fn data() -> Data {
    let ledger = Table::create()
        .table("ledger")
        .col(ColumnDef::new("id").integer().not_null().auto_increment().primary_key())
        .col(ColumnDef::new("execution").uuid().not_null())
        .col(ColumnDef::new("attempt").integer().not_null())
        .to_owned();
    Data::builder()
        .tenant(entry::Entity)
        .migration(Migration::new(1, "a ledger").create(ledger))
        .build()
        .unwrap()
}

/// Adds the row of the execution.
pub(crate) async fn enter(context: &Context, tx: &TenantTx) -> Result<(), sea_orm::DbErr> {
    let row = entry::ActiveModel {
        id: ActiveValue::NotSet,
        execution: ActiveValue::Set(context.task().execution_id()),
        attempt: ActiveValue::Set(context.task().attempt().try_into().unwrap()),
    };
    entry::Entity::insert(row).exec_without_returning(tx).await?;
    Ok(())
}

/// Adds a row for an execution that was submitted.
pub(crate) async fn mark(tx: &TenantTx, execution: Uuid) -> Result<(), sea_orm::DbErr> {
    let row = entry::ActiveModel {
        id: ActiveValue::NotSet,
        execution: ActiveValue::Set(execution),
        attempt: ActiveValue::Set(0),
    };
    entry::Entity::insert(row).exec_without_returning(tx).await?;
    Ok(())
}

/// A workflow that leaves no rows in the ledger.
pub(crate) fn noting() -> Workflow {
    let note = TaskDefinition::from_async("note", async |context: Context| {
        Ok::<_, std::convert::Infallible>(context)
    });
    Workflow::builder("noting").task(note.retry(PATIENT)).build()
}

/// Tried again until it succeeds.
pub(crate) const PATIENT: RetryPolicy = RetryPolicy {
    attempts: 1_000,
    backoff: Backoff::Fixed,
    base: Duration::from_millis(20),
    cap: Duration::from_secs(1),
    jitter: Jitter::Full,
};

/// A workflow whose first task is this one, with another after it.
pub(crate) fn paying(task: TaskDefinition) -> Workflow {
    let first = task.id().to_owned();
    let after = TaskDefinition::from_async("after", async |context: Context| {
        Ok::<_, std::convert::Infallible>(context)
    });
    Workflow::builder("paying").task(task).task(after.dependencies([first]).retry(PATIENT)).build()
}

/// What one moment shows of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entered {
    pub(crate) execution: Uuid,
    /// The state of its first task.
    pub(crate) task: String,
    pub(crate) attempt: i32,
    /// Of the ledger.
    pub(crate) rows: i64,
}

impl Entered {
    /// Whether the row is there and the task is done, or neither.
    pub(crate) fn agrees(&self) -> bool {
        self.rows == i64::from(self.task == "completed")
    }
}

/// What the database of a tenant says at one moment, asked without the engine.
pub(crate) async fn entered(place: &Placement, tenant: &str) -> Vec<Entered> {
    const QUERY: &str = "SELECT t.execution_id, t.state, t.attempt, count(l.id) FROM task_executions t \
         LEFT JOIN ledger l ON l.execution = t.execution_id WHERE t.task = 0 GROUP BY 1, 2, 3";
    const STRAY: &str =
        "SELECT count(*) FROM ledger WHERE execution NOT IN (SELECT id FROM workflow_executions)";
    let (found, stray) = match place {
        Placement::Sqlite(directory) => {
            let file = rusqlite::Connection::open(directory.path().join(format!("{tenant}.db"))).unwrap();
            file.busy_timeout(Duration::from_secs(20)).unwrap();
            let mut query = file.prepare(QUERY).unwrap();
            let rows = query.query_map((), |row| {
                let execution: Vec<u8> = row.get(0)?;
                let execution = Uuid::from_slice(&execution).unwrap();
                Ok(Entered { execution, task: row.get(1)?, attempt: row.get(2)?, rows: row.get(3)? })
            });
            let found: Vec<Entered> = rows.unwrap().map(Result::unwrap).collect();
            (found, file.query_row(STRAY, (), |row| row.get(0)).unwrap())
        }
        _ => {
            let (url, schema) = place.seen_from_above(tenant).await.unwrap();
            let client = connect(&url, &schema).await;
            let rows = client.query(QUERY, &[]).await.unwrap();
            let found = rows
                .iter()
                .map(|row| Entered {
                    execution: row.get(0),
                    task: row.get(1),
                    attempt: row.get(2),
                    rows: row.get(3),
                })
                .collect();
            (found, client.query_one(STRAY, &[]).await.unwrap().get::<_, i64>(0))
        }
    };
    assert_eq!(stray, 0, "the ledger has rows of executions that are not there");
    found
}

/// A session of the test's own in the schema of a tenant.
pub(crate) async fn connect(url: &str, tenant: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(&format!("SET search_path = \"{tenant}\"")).await.unwrap();
    client
}

/// Looks again and again: what is waited for happens in another process.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Where a lock of the test's stops a transaction.
pub(crate) const RECORDING: i64 = 1;
pub(crate) const COMMITTING: i64 = 2;

/// Makes transactions wait for the test's locks: one where the completion is written, one within COMMIT.
///
/// A place with triggers is not opened, so they are conditions on its tables; what waits for the commit is in
/// another schema.
pub(crate) async fn set_traps(url: &str) {
    let operator = connect(&Cluster::shared().unwrap().superuser_url_of(url), "acme").await;
    let traps = format!(
        "CREATE SCHEMA traps;
         CREATE TABLE traps.commit (at bigint);
         CREATE FUNCTION traps.stop(at bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_advisory_xact_lock_shared(at); RETURN true; END $$;
         CREATE FUNCTION traps.stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM traps.stop(NEW.at); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER committing AFTER INSERT ON traps.commit DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION traps.stop();
         CREATE FUNCTION traps.stop_later(at bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO traps.commit VALUES (at); RETURN true; END $$;
         GRANT EXECUTE ON FUNCTION pg_advisory_xact_lock_shared(bigint), pg_advisory_lock(bigint), pg_advisory_unlock(bigint) TO PUBLIC; GRANT USAGE ON SCHEMA traps TO PUBLIC; GRANT INSERT ON traps.commit TO PUBLIC;
         ALTER TABLE task_executions ADD CHECK (state <> 'completed' OR task <> 0 OR traps.stop({RECORDING}));
         ALTER TABLE ledger ADD CHECK (traps.stop_later({COMMITTING}));"
    );
    operator.batch_execute(&traps).await.unwrap();
}

/// Waits until somebody waits for an advisory lock in the database.
pub(crate) async fn trapped(client: &tokio_postgres::Client) {
    const WAITS: &str = "SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database
        WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted";
    until("a transaction is trapped", async || client.query_opt(WAITS, &[]).await.unwrap().map(drop)).await;
}
