//! What is known of the files of a directory without opening them: whose they are, and when work is due in
//! them.
//!
//! The registry is a SQLite file beside them, which says nothing that the files do not say as well, but for
//! the keys of the service and its tenants, and the audit of what was done about them. It is kept by the
//! stores: each that opens a file in a directory with a registry notes it there.
//!
//! - *Before* a file is written to, it is noted as open. While it is, nothing is promised about when work is
//!   due in it.
//! - When a store closes the file or lets it rest, it notes the next due time that it reads there and which
//!   kinds of executions and waits there are, and only then makes sure that nobody else wrote since it read.
//!   Whoever writes later has noted the file as open before, and notes the due time afterwards.
//!
//! So what the registry says may be early, which costs a look, and not late. A process that dies leaves its
//! files noted as open, and they are looked at. A commit to the registry does not wait for the disk; after
//! the machine has started anew every file is looked at once. A file that the registry knows nothing of is
//! looked at as well, so that a registry that was lost makes itself. The keys and the audit are lost with
//! it, and nobody is let in by the keys any more; what changes them does wait for the disk.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use cloacina_core::id::TenantId;
use cloacina_core::lease::ProcessIdentity;
use cloacina_core::store::{StoreError, StoreErrorKind};
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use uuid::Uuid;

use crate::address::{FileId, FileIdentity};
use crate::connect::FLAGS;
use crate::error::Failure;
use crate::holds::Holds;
use crate::keys;
use crate::transaction::{snapshot, transaction};

/// The name of the registry in its directory.
pub(crate) const NAME: &str = "cloacina.registry";

const CREATE: &str = include_str!("../registry/create.sql");
const PLACE_KNOWN: &str = include_str!("../registry/place_known.sql");
const PLACE_INSERT: &str = include_str!("../registry/place_insert.sql");
const PLACE_FORGET: &str = include_str!("../registry/place_forget.sql");
const PLACE_NEXT: &str = include_str!("../registry/place_next.sql");
const PLACE_DUE: &str = include_str!("../registry/place_due.sql");
const PLACE_HOLDS: &str = include_str!("../registry/place_holds.sql");
const PLACE_UNKNOWN: &str = include_str!("../registry/place_unknown.sql");
const PLACE_ALL_HOLDS: &str = include_str!("../registry/place_all_holds.sql");
const HOLDER_OPEN: &str = include_str!("../registry/holder_open.sql");
const HOLDER_REST: &str = include_str!("../registry/holder_rest.sql");
const HOLDER_LIST: &str = include_str!("../registry/holder_list.sql");
const HOLDER_FORGET: &str = include_str!("../registry/holder_forget.sql");

/// How long a thread waits for another process that writes to the registry.
const WAIT: Duration = Duration::from_secs(1);

static REGISTRIES: LazyLock<Mutex<HashMap<PathBuf, Weak<Registry>>>> = LazyLock::new(Mutex::default);

/// The registry of one directory, shared by all stores of this process.
pub(crate) struct Registry {
    directory: PathBuf,
    here: Option<ProcessIdentity>,
    open: Mutex<Option<(Connection, FileIdentity)>>,
}

impl Registry {
    /// The one that lies beside a file, if one does.
    pub(crate) fn beside(file: &Path) -> Option<Arc<Self>> {
        let directory = file.parent()?;
        directory.join(NAME).symlink_metadata().ok()?.is_file().then(|| Self::of(directory))
    }

    pub(crate) fn of(directory: &Path) -> Arc<Self> {
        let mut registries = REGISTRIES.lock();
        registries.retain(|_, registry| registry.strong_count() > 0);
        if let Some(known) = registries.get(directory).and_then(Weak::upgrade) {
            return known;
        }
        let registry = Arc::new(Self {
            directory: directory.to_owned(),
            here: ProcessIdentity::current(),
            open: Mutex::new(None),
        });
        registries.insert(directory.to_owned(), Arc::downgrade(&registry));
        registry
    }

    fn path(&self) -> PathBuf {
        self.directory.join(NAME)
    }

    /// Runs `work` in a transaction that writes.
    pub(crate) fn write<T>(&self, work: impl Fn(&Connection) -> Result<T, Failure>) -> Result<T, Failure> {
        self.with(|connection| transaction(connection, || work(connection)))
    }

    fn with<T>(&self, work: impl Fn(&Connection) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut open = self.open.lock();
        let path = self.path();
        // Somebody may have deleted it, and with it what it said.
        if open.as_ref().is_none_or(|(_, identity)| FileIdentity::of(&path) != Some(*identity)) {
            *open = None;
            *open = Some(self.connect(&path)?);
        }
        let (connection, _) = open.as_ref().expect("it was opened just now");
        work(connection).map_err(|failure| self.told(failure))
    }

    /// The same, for what must not be lost with the machine.
    pub(crate) fn write_to_disk<T>(
        &self,
        work: impl Fn(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.with(|connection| {
            connection.pragma_update(None, "synchronous", "FULL")?;
            let written = transaction(connection, || work(connection));
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            written
        })
    }

    /// Runs `work` on one snapshot.
    pub(crate) fn read<T>(&self, work: impl Fn(&Connection) -> Result<T, Failure>) -> Result<T, Failure> {
        self.with(|connection| snapshot(connection, |connection| work(connection)))
    }

    fn told(&self, failure: Failure) -> Failure {
        match failure {
            failure @ Failure::Sqlite(_) if failure.is_busy() => failure,
            Failure::Sqlite(error) => {
                Failure::Sqlite(error).into_store_error(&self.path().display().to_string()).into()
            }
            failure => failure,
        }
    }

    fn connect(&self, path: &Path) -> Result<(Connection, FileIdentity), Failure> {
        match self.try_connect(path) {
            Err(Failure::Sqlite(error))
                if matches!(
                    error.sqlite_error_code(),
                    Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
                ) =>
            {
                let aside = path.with_extension("registry.damaged");
                tracing::error!(path = %path.display(), %error, aside = %aside.display(), "the registry is damaged; it is moved aside and made anew, without the keys and the audit that were in it");
                std::fs::rename(path, aside).map_err(|error| unusable(path, error))?;
                self.try_connect(path)
            }
            result => result,
        }
    }

    fn try_connect(&self, path: &Path) -> Result<(Connection, FileIdentity), Failure> {
        // SQLite makes a file that others can read.
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        drop(options.open(path).map_err(|error| unusable(path, error))?);
        let connection = Connection::open_with_flags(path, FLAGS)?;
        connection.busy_timeout(WAIT)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let boot = self.here.as_ref().map_or("", |here| &here.host);
        transaction(&connection, || {
            connection.execute_batch(CREATE)?;
            let known: Option<String> =
                connection.query_row("SELECT host FROM boot", [], |row| row.get(0)).optional()?;
            if boot.is_empty() || known.as_deref() != Some(boot) {
                connection.execute("UPDATE place SET due_at = 0", [])?;
                connection.execute("DELETE FROM place_contents", [])?;
                connection.execute("INSERT OR REPLACE INTO boot (one, host) VALUES (1, ?1)", [boot])?;
            }
            Ok(())
        })?;
        let identity =
            FileIdentity::of(path).ok_or_else(|| unusable(path, std::io::ErrorKind::NotFound.into()))?;
        Ok((connection, identity))
    }

    /// Whether a file of this id is there, whatever is known of it.
    fn is_there(&self, id: &str) -> bool {
        self.directory.join(format!("{id}.db")).symlink_metadata().is_ok()
    }

    /// Notes whose a file is. One that has the identity of another, or the name but for the case of its
    /// letters, is refused.
    pub(crate) fn know(&self, connection: &Connection, id: &FileId, tenant: TenantId) -> Result<(), Failure> {
        let known: Vec<(String, Uuid)> = connection
            .prepare_cached(PLACE_KNOWN)?
            .query_map(params![id.as_str(), tenant.0], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        if known.iter().any(|(name, of)| name == id.as_str() && *of == tenant.0) {
            return Ok(());
        }
        for (name, of) in known {
            // What is known of a file that is gone, or was replaced, is known no more.
            if name != id.as_str() && self.is_there(&name) {
                let directory = self.directory.display();
                let message = if of == tenant.0 {
                    format!(
                        "`{id}.db` in {directory} has the identity of `{name}.db`: it is a copy; delete one of them, or move it elsewhere"
                    )
                } else {
                    format!(
                        "there is a tenant `{name}` in {directory}, and `{id}` differs from it only in the case of its letters"
                    )
                };
                return Err(StoreError::new(StoreErrorKind::Configuration, message).into());
            }
            self.forget(connection, &name)?;
        }
        connection.prepare_cached(PLACE_INSERT)?.execute(params![id.as_str(), tenant.0])?;
        Ok(())
    }

    /// The files that are held by somebody else who may live.
    pub(crate) fn holders(&self, connection: &Connection, id: &FileId) -> Result<usize, Failure> {
        let mut statement = connection.prepare_cached(HOLDER_LIST)?;
        let holders = statement.query_map([id.as_str()], holder)?.collect::<Result<Vec<_>, _>>()?;
        // What is on another host, or was before the machine started, does not count: SQLite's own locks say
        // the rest.
        let lives = |process: &Option<ProcessIdentity>| match (process, &self.here) {
            (Some(process), Some(here)) => process.host == here.host && !process.is_gone(here),
            _ => false,
        };
        Ok(holders.iter().filter(|(_, process)| lives(process)).count())
    }

    /// Forgets a tenant whose file is gone, with its keys: another one of its name has nothing of it.
    pub(crate) fn forget(&self, connection: &Connection, id: &str) -> Result<(), Failure> {
        connection.prepare_cached(PLACE_FORGET)?.execute([id])?;
        connection.prepare_cached(PLACE_UNKNOWN)?.execute([id])?;
        keys::forget(connection, id)
    }

    /// Notes what a file holds that nobody has open; `None` if that is not known.
    pub(crate) fn hold(
        &self,
        connection: &Connection,
        id: &FileId,
        holds: Option<Holds>,
    ) -> Result<(), Failure> {
        match holds {
            Some(Holds { states, failed_at, waits, oldest: [completed, failed, cancelled] }) => {
                let values = params![id.as_str(), states, failed_at, waits, completed, failed, cancelled];
                connection.prepare_cached(PLACE_HOLDS)?.execute(values)?;
            }
            None => drop(connection.prepare_cached(PLACE_UNKNOWN)?.execute([id.as_str()])?),
        }
        Ok(())
    }

    /// What files hold that nobody has open, as far as it is known.
    pub(crate) fn all_holds(&self, connection: &Connection) -> Result<Vec<(String, Holds)>, Failure> {
        let mut statement = connection.prepare_cached(PLACE_ALL_HOLDS)?;
        let rows = statement.query_map([], |row| {
            let oldest = [row.get(4)?, row.get(5)?, row.get(6)?];
            let holds = Holds { states: row.get(1)?, failed_at: row.get(2)?, waits: row.get(3)?, oldest };
            Ok((row.get(0)?, holds))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// All that is known by name, and what is due or was left open; the time is 0 where it is not known.
    pub(crate) fn due(&self, connection: &Connection, now: i64) -> Result<Vec<(String, i64)>, Failure> {
        let mut statement = connection.prepare_cached(PLACE_DUE)?;
        let rows = statement.query_map([now], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(crate) fn known(&self, connection: &Connection) -> Result<Vec<String>, Failure> {
        let mut statement = connection.prepare_cached("SELECT id FROM place")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn holder(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Uuid, Option<ProcessIdentity>)> {
    let host: Option<String> = row.get(1)?;
    let process = match host {
        Some(host) => Some(ProcessIdentity { host, pid: row.get(2)?, started: row.get(3)? }),
        None => None,
    };
    Ok((row.get(0)?, process))
}

fn unusable(path: &Path, error: std::io::Error) -> Failure {
    StoreError::new(
        StoreErrorKind::Place,
        format!(
            "the registry {} cannot be used ({error}); check the rights on it and its directory",
            path.display()
        ),
    )
    .with_source(error)
    .into()
}

/// A store as the registry of its directory knows it.
pub(crate) struct Holder {
    registry: Arc<Registry>,
    number: Uuid,
    id: FileId,
    tenant: TenantId,
}

impl Holder {
    /// Notes that a file is open from now on, if it lies in a directory with a registry.
    pub(crate) fn new(file: &Path, tenant: TenantId) -> Result<Option<Self>, Failure> {
        let (Some(id), Some(registry)) = (FileId::of(file), Registry::beside(file)) else { return Ok(None) };
        let holder = Self { registry, number: Uuid::now_v7(), id, tenant };
        holder.opened()?;
        Ok(Some(holder))
    }

    pub(crate) fn opened(&self) -> Result<(), Failure> {
        let here = self.registry.here.as_ref();
        self.registry.write(|connection| {
            self.registry.know(connection, &self.id, self.tenant)?;
            connection.prepare_cached(HOLDER_OPEN)?.execute(params![
                self.number,
                self.id.as_str(),
                here.map(|here| &here.host),
                here.map(|here| here.pid),
                here.map(|here| here.started),
            ])?;
            Ok(())
        })
    }

    /// Notes that this store is about to close the file, when work is due in it, and what it holds. What
    /// processes left open that are gone has been looked at by now.
    pub(crate) fn rested(&self, due: Option<i64>, holds: Option<Holds>) -> Result<(), Failure> {
        self.registry.write(|connection| {
            self.registry.hold(connection, &self.id, holds)?;
            connection.prepare_cached(PLACE_NEXT)?.execute(params![self.id.as_str(), due])?;
            connection.prepare_cached(HOLDER_REST)?.execute([self.number])?;
            self.forget_the_gone(connection)
        })
    }

    fn forget_the_gone(&self, connection: &Connection) -> Result<(), Failure> {
        let Some(here) = &self.registry.here else { return Ok(()) };
        let mut statement = connection.prepare_cached(HOLDER_LIST)?;
        let holders = statement.query_map([self.id.as_str()], holder)?.collect::<Result<Vec<_>, _>>()?;
        for (number, process) in holders {
            if process.is_some_and(|process| process.is_gone(here)) {
                connection.prepare_cached(HOLDER_FORGET)?.execute([number])?;
            }
        }
        Ok(())
    }

    /// Notes that this store is gone.
    pub(crate) fn gone(&self) -> Result<(), Failure> {
        self.registry.write(|connection| {
            connection.prepare_cached(HOLDER_FORGET)?.execute([self.number])?;
            Ok(())
        })
    }
}
