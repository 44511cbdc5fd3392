//! A SQLite file.
//!
//! Each transaction has a connection of its own; a few that nobody uses are kept, over all files of the process, because a new one costs
//! as much as a transaction.

mod doctor;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloacina_core::id::{ExecutionId, TenantId};
use cloacina_core::store::{Flush, Flushed, Place};
use cloacina_sqlite::{Opened, SqliteAddress};
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, SqliteConnection};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use uuid::Uuid;

use crate::connection::FlushError;
use crate::db::Access;
use crate::declaration::Declared;
use crate::doctor::Finding;
use crate::error::{DataError, DataErrorKind, Result};
use crate::gate::Dialect;
use crate::migration::Whose;

/// How long a transaction that writes waits for its turn in this process, and then for whoever else writes: the engine, or another process. SQLite
/// does not queue those who wait, so of many one might wait for ever.
const TURN: Duration = Duration::from_secs(30);
const BUSY: Duration = Duration::from_secs(5);

/// How many connections that nobody uses are kept open, over all files.
const IDLE: usize = 16;

static KEPT: Mutex<VecDeque<Kept>> = Mutex::new(VecDeque::new());

/// A connection that nobody uses.
struct Kept {
    path: PathBuf,
    opened: Opened,
    connection: SqliteConnection,
}

pub(crate) struct File {
    path: PathBuf,
    turn: Arc<AsyncMutex<()>>,
}

/// A connection with a transaction.
pub(crate) struct Open {
    path: PathBuf,
    opened: Opened,
    connection: SqliteConnection,
    /// Held by a transaction that may write, until it has ended.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl File {
    pub(crate) fn new(address: &SqliteAddress) -> Result<Self> {
        let path = address.path().ok_or_else(|| {
            DataError::configuration("a database in memory is one connection's, so tenants' data cannot be beside the engine's in it: use a file")
        })?;
        cloacina_sqlite::release_with(|path| Box::pin(release(path)));
        Ok(Self { path: path.to_owned(), turn: Arc::default() })
    }

    pub(crate) async fn begin(&self, place: &Place, access: Access) -> Result<Open> {
        let failed = |error| DataError::driver(&place.name, "begin a transaction", error);
        let turn = match access {
            Access::Read => None,
            Access::Write => Some(self.turn(place).await?),
        };
        if matches!(access, Access::Write) {
            let refused =
                |error| DataError::new(DataErrorKind::Place, format!("tenant `{}`: {error}", place.name));
            cloacina_sqlite::check_as_guest(&self.path).await.map_err(refused)?;
        }
        let now = Opened::of(&self.path);
        let (mut connection, opened) = loop {
            match kept(&self.path) {
                Some(kept) if kept.opened == now => break (kept.connection, kept.opened),
                Some(kept) if kept.opened.is_same_file(&now) => {
                    return Err(self.without_log(place, kept).await);
                }
                // Of a file that is not there any more: what is written to it is lost.
                Some(kept) => drop(kept.connection.close().await),
                None => break self.connect(place).await?,
            }
        };
        // A transaction that only reads and one that may write: the second takes its turn now, so that it never finds, half done, that
        // another one was faster.
        let begin = match access {
            Access::Read => "PRAGMA query_only = true; BEGIN DEFERRED",
            Access::Write => "PRAGMA query_only = false; BEGIN IMMEDIATE",
        };
        connection.execute(begin).await.map_err(failed)?;
        Ok(Open { path: self.path.clone(), opened, connection, _turn: turn })
    }

    /// The error of a file whose log was deleted while a connection to it was kept. What was committed is written into the file, and nothing of
    /// it stays open here.
    async fn without_log(&self, place: &Place, first: Kept) -> DataError {
        let mut is_rescued = false;
        let mut next = Some(first);
        while let Some(mut found) = next {
            let written = found.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
            is_rescued |= written.is_ok();
            drop(found.connection.close().await);
            next = kept(&self.path);
        }
        let error = cloacina_sqlite::deleted_log(&self.path, is_rescued);
        DataError::new(DataErrorKind::Place, format!("tenant `{}`: {error}", place.name))
    }

    async fn turn(&self, place: &Place) -> Result<OwnedMutexGuard<()>> {
        tokio::time::timeout(TURN, Arc::clone(&self.turn).lock_owned()).await.map_err(|_| {
            DataError::new(
                DataErrorKind::Transient,
                format!(
                    "tenant `{}`: waited {TURN:?} for another transaction of this process that writes to its file: keep those short, and begin none \
                     within another",
                    place.name
                ),
            )
        })
    }

    async fn connect(&self, place: &Place) -> Result<(SqliteConnection, Opened)> {
        let failed = |error| DataError::driver(&place.name, "open its file", error);
        let before = Opened::of(&self.path);
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(false)
            .busy_timeout(BUSY)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .disable_statement_logging();
        let mut connection = options.connect().await.map_err(failed)?;
        {
            let mut handle = connection.lock_handle().await.map_err(failed)?;
            // SAFETY: the handle is locked, so nobody else uses it.
            #[allow(unsafe_code)]
            let prepared = unsafe { cloacina_sqlite::prepare_for_data(handle.as_raw_handle().as_ptr()) };
            prepared.map_err(|error| {
                DataError::new(DataErrorKind::Place, format!("tenant `{}`: {error}", place.name))
            })?;
        }
        let found: Option<Uuid> = sqlx::query_scalar("SELECT tenant_id FROM cloacina_place")
            .fetch_optional(&mut connection)
            .await
            .map_err(failed)?;
        if found != Some(place.tenant.into()) {
            return Err(DataError::new(
                DataErrorKind::Place,
                format!(
                    "tenant `{}`: its file was replaced by another tenant's, or is none of ours: nothing was read or written",
                    place.name
                ),
            ));
        }
        // The first look at the tables made the log, where there was none.
        let opened = Opened::of(&self.path);
        if !opened.is_same_file(&before) {
            return Err(DataError::new(
                DataErrorKind::Transient,
                format!("tenant `{}`: its file was replaced while it was being opened", place.name),
            ));
        }
        Ok((connection, opened))
    }

    pub(crate) async fn verify(&self, place: &Place, declared: &Declared) -> Result<Vec<Finding>> {
        let mut open = self.begin(place, Access::Read).await?;
        let found = doctor::findings(&mut open.connection, &self.path, place, declared).await?;
        open.rollback(false).await;
        Ok(found)
    }

    /// The same for a file of which nothing is known.
    pub(crate) async fn verify_whole(&self, declared: &Declared) -> Result<Vec<Finding>> {
        let name = self.path.display().to_string();
        let failed = |error| DataError::driver(&name, "look at the file", error);
        let options =
            SqliteConnectOptions::new().filename(&self.path).create_if_missing(false).read_only(true);
        let mut connection = options.connect().await.map_err(failed)?;
        let tenant: Uuid = sqlx::query_scalar("SELECT tenant_id FROM cloacina_place")
            .fetch_one(&mut connection)
            .await
            .map_err(failed)?;
        let place = Place {
            tenant: TenantId(tenant),
            name: name.clone(),
            schema: String::new(),
            epoch: 1,
            shared: false,
        };
        doctor::findings(&mut connection, &self.path, &place, declared).await
    }

    pub(crate) async fn migrate(&self, place: &Arc<Place>, declared: &Declared) -> Result<()> {
        let failed = |error| DataError::driver(&place.name, "make or change the tables of its data", error);
        let latest = declared.latest();
        let mut open = self.begin(place, Access::Read).await?;
        let version = open.version().await.map_err(failed)?;
        open.rollback(false).await;
        if version == latest {
            return Ok(());
        }
        let mut open = self.begin(place, Access::Write).await?;
        let version = open.version().await.map_err(failed)?;
        crate::versions::check(place, version, latest)?;
        if version == 0 && latest > 0 {
            open.connection
                .execute(
                    "CREATE TABLE cloacina_data_migration (number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, \
                     applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) STRICT",
                )
                .await
                .map_err(failed)?;
        }
        for migration in declared.migrations.iter().filter(|migration| migration.number() > version) {
            for statement in
                migration.statements(Dialect::Sqlite, Whose::Tenant(place.tenant.into()), &declared.kinds)?
            {
                open.connection
                    .execute(AssertSqlSafe(statement))
                    .await
                    .map_err(|error| DataError::driver(&place.name, &migration.doing(), error))?;
            }
            sqlx::query("INSERT INTO cloacina_data_migration (number, name) VALUES (?, ?)")
                .bind(migration.number())
                .bind(migration.name())
                .execute(&mut open.connection)
                .await
                .map_err(failed)?;
        }
        open.commit().await.map_err(failed)?;
        tracing::info!(
            tenant = place.name,
            from = version,
            to = latest,
            "made or changed the tables of its data"
        );
        Ok(())
    }
}

impl Open {
    pub(crate) fn driver(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// A file's statements stay prepared.
    pub(crate) fn keeps_statements(&self) -> bool {
        true
    }

    async fn version(&mut self) -> sqlx::Result<i32> {
        let known: Option<i32> = sqlx::query_scalar(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'cloacina_data_migration'",
        )
        .fetch_optional(&mut self.connection)
        .await?;
        if known.is_none() {
            return Ok(0);
        }
        sqlx::query_scalar("SELECT coalesce(max(number), 0) FROM cloacina_data_migration")
            .fetch_one(&mut self.connection)
            .await
    }

    pub(crate) async fn flush(&mut self, flush: &Flush) -> Result<Flushed, FlushError> {
        let mut handle = self.connection.lock_handle().await?;
        let handle = handle.as_raw_handle().as_ptr();
        // SAFETY: the handle is locked for as long as it is used, and the transaction that is open on it writes. It blocks this thread for some
        // statements without a wait: the transaction has the write lock already.
        #[allow(unsafe_code)]
        let flushed = unsafe { cloacina_sqlite::flush_as_guest(handle, &self.path, flush) };
        flushed.map_err(FlushError::Store)
    }

    pub(crate) async fn find(
        &mut self,
        place: &Place,
        workflow: &str,
        key: &str,
    ) -> Result<Option<(ExecutionId, i64)>, FlushError> {
        let mut handle = self.connection.lock_handle().await?;
        let handle = handle.as_raw_handle().as_ptr();
        // SAFETY: the handle is locked for as long as it is used.
        #[allow(unsafe_code)]
        let found = unsafe { cloacina_sqlite::find_as_guest(handle, place, workflow, key) };
        found.map_err(FlushError::Store)
    }

    pub(crate) async fn commit(mut self) -> sqlx::Result<()> {
        self.connection.execute("COMMIT").await?;
        self.keep().await;
        Ok(())
    }

    pub(crate) async fn rollback(mut self, _after_error: bool) {
        // What cannot be rolled back is closed, which does the same.
        if self.connection.execute("ROLLBACK").await.is_ok() {
            self.keep().await;
        }
    }

    async fn keep(self) {
        let Self { path, opened, connection, _turn } = self;
        let surplus = {
            let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_back(Kept { path, opened, connection });
            if kept.len() > IDLE { kept.pop_front() } else { None }
        };
        if let Some(surplus) = surplus {
            drop(surplus.connection.close().await);
        }
    }
}

fn kept(path: &Path) -> Option<Kept> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let at = kept.iter().rposition(|kept| kept.path == path)?;
    kept.remove(at)
}

/// Closes the connections to a file that nobody uses.
async fn release(path: &Path) {
    while let Some(kept) = kept(path) {
        drop(kept.connection.close().await);
    }
}
