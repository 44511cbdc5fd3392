//! A SQLite file.
//!
//! Each transaction has a connection of its own; a few that nobody uses are kept, over all files of the
//! process, because a new one costs as much as a transaction.

mod doctor;
mod open;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloacina_core::id::TenantId;
use cloacina_core::store::Place;
use cloacina_sqlite::{Opened, SqliteAddress};
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, SqliteConnection};
use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;

use crate::access::Access;
use crate::declared::Declared;
use crate::doctor::Finding;
use crate::error::{DataError, DataErrorKind, Result};
use crate::gate::Dialect;
use crate::migration::Whose;
pub(crate) use open::Open;
use open::{Kept, kept, release};

/// How long a transaction that writes waits for its turn in this process, and then for whoever else writes:
/// the engine, or another process. SQLite does not queue those who wait, so of many one might wait for ever.
const TURN: Duration = Duration::from_secs(30);
const BUSY: Duration = Duration::from_secs(5);

pub(crate) struct File {
    path: PathBuf,
    turn: Arc<Mutex<()>>,
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
        // A transaction that only reads and one that may write: the second takes its turn now, so that it
        // never finds, half done, that another one was faster.
        let begin = match access {
            Access::Read => "PRAGMA query_only = true; BEGIN DEFERRED",
            Access::Write => "PRAGMA query_only = false; BEGIN IMMEDIATE",
        };
        connection.execute(begin).await.map_err(failed)?;
        Ok(Open { path: self.path.clone(), opened, connection, _turn: turn })
    }

    /// The error of a file whose log was deleted while a connection to it was kept. What was committed is
    /// written into the file, and nothing of it stays open here.
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
