//! The tenants of a directory: each is a file `<id>.db`.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cloacina_core::Retention;
use cloacina_core::store::{
    AuditChain, AuditList, AuditOf, AuditRecord, AuditStore, ENDS, ExecutionHeader, ExecutionList, KeyId,
    KeyList, KeyRecord, KeyRefusal, KeyStore, NewAudit, NewKey, OpenWait, Result, Rollout, ScheduleTemplates,
    StoreError, StoreErrorKind, TemplateStore, WaitFilter,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::{Connection, params};
use tokio::runtime::Handle;

use crate::across::{self, Across};
use crate::address::{FileId, SqliteAddress};
use crate::error::Failure;
use crate::holds::Holds;
use crate::registry::Registry;
use crate::runtime::{on_blocking_thread, runtime};
use crate::time::micros;
use crate::{audit, connect, files, keys, migrate};

const TEMPLATE_PUT: &str = include_str!("../registry/template_put.sql");
const ROLLOUT_TAKE: &str = include_str!("../registry/rollout_take.sql");

/// For how long a process that rolls templates out is left alone, in microseconds.
const TAKEN: i64 = 60_000_000;

/// How often the directory is looked through for files that were put there by hand.
const SCAN: Duration = Duration::from_secs(60);

/// A tenant with work due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueFile {
    /// Which.
    pub id: FileId,
    /// Since when; the beginning of 1970 where that is not known, and somebody has to look.
    pub due_at: Timestamp,
}

/// A directory of tenants' files.
///
/// Beside the files lies a registry, `cloacina.registry`, that says when work is due in them, so that a
/// process that starts need not open them all. It is kept by whatever opens the files, this type or a plain
/// [`SqliteStore`](crate::SqliteStore), and makes itself again if it is deleted. The [keys](KeyStore) are
/// kept there as well, and are gone with it.
pub struct Directory {
    path: PathBuf,
    registry: Arc<Registry>,
    /// Files that the registry does not know, and when they were looked for.
    unknown: Mutex<Option<(Instant, Vec<FileId>)>>,
}

impl Directory {
    /// Opens a directory, and makes it, for nobody but its owner, if it is not there; its parent has to be.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Configuration`] for a path that is no directory, is a symbolic link, or is one that
    /// others than its owner may write to; [`StoreErrorKind::Place`] if it cannot be made, or its registry
    /// cannot be used.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        on_blocking_thread(move || Self::open_now(&path)).await
    }

    fn open_now(path: &Path) -> Result<Self> {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(StoreError::new(
                    StoreErrorKind::Place,
                    format!("the directory {} cannot be made ({error})", path.display()),
                )
                .with_source(error));
            }
            _ => {}
        }
        check(path)?;
        let path = path.canonicalize().map_err(|error| unreadable(path, error))?;
        let directory = Self { registry: Registry::of(&path), path, unknown: Mutex::new(None) };
        // Now, so that stores find it.
        directory.registry(|_| Ok(()))?;
        Ok(directory)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The address of a tenant's file, whether there is one or not.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Place`] if it is a symbolic link, or no file.
    pub fn address(&self, id: &FileId) -> Result<SqliteAddress> {
        self.exists(id)?;
        Ok(SqliteAddress::within(&self.path, &id.file_name()))
    }

    /// Whether there is a file of this tenant.
    ///
    /// # Errors
    ///
    /// Those of [`address`](Self::address).
    pub fn exists(&self, id: &FileId) -> Result<bool> {
        let path = self.path.join(id.file_name());
        let reason = match path.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => return Ok(true),
            Ok(metadata) if metadata.is_symlink() => "is a symbolic link, which is not followed",
            Ok(_) => "is no file",
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(unreadable(&path, error)),
        };
        Err(StoreError::new(StoreErrorKind::Place, format!("{} {reason}; remove it", path.display())))
    }

    /// Makes the file of a new tenant, for nobody but its owner.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Configuration`] if there is one, or one whose name differs only in the case of its
    /// letters, naming both; [`StoreErrorKind::Place`] if it cannot be made.
    pub async fn create(&self, id: &FileId) -> Result<SqliteAddress> {
        self.create_noted(id, None).await
    }

    /// As [`create`](Self::create), and notes it in the audit.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    pub async fn create_noted(&self, id: &FileId, audit: Option<NewAudit>) -> Result<SqliteAddress> {
        let (registry, directory, id) = (Arc::clone(&self.registry), self.path.clone(), id.clone());
        let address = self.address(&id)?;
        on_blocking_thread(move || {
            let path = directory.join(id.file_name());
            // Under the lock of the registry, so that two that differ in case only are not made at once.
            let made = registry.write(|connection| {
                if let Some(other) = list(&directory)?.into_iter().find(|other| is_same(other, &id)) {
                    return Err(exists_already(&directory, &id, &other));
                }
                let now = micros(None);
                match connect::create(&path, &path.display().to_string(), now)? {
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                        return Err(exists_already(&directory, &id, &id));
                    }
                    made => made.map_err(|error| unreadable(&path, error))?,
                }
                let tenant = owner(&path)?;
                registry.know(connection, &id, tenant)?;
                registry.hold(connection, &id, Some(Holds::default()))?;
                note(connection, &id, audit.as_ref())
            });
            made.map(|()| address)
                .map_err(|failure| failure.into_store_error(&directory.display().to_string()))
        })
        .await
    }

    /// The tenants that have a file here, in the order of their names. Files of other names are no tenants.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Place`] if the directory cannot be read, or holds a symbolic link by the name of a
    /// tenant's file.
    pub async fn list(&self) -> Result<Vec<FileId>> {
        let directory = self.path.clone();
        on_blocking_thread(move || list(&directory)).await
    }

    /// Deletes the file of a tenant with all that belongs to it. False if there was none.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Transient`] while a runner of this or another process is open on it, or anybody else
    /// has the file open; [`StoreErrorKind::Place`] if it is a symbolic link, no SQLite file, or cannot be
    /// deleted.
    pub async fn delete(&self, id: &FileId) -> Result<bool> {
        self.delete_noted(id, None).await
    }

    /// As [`delete`](Self::delete), and notes it in the audit.
    ///
    /// # Errors
    ///
    /// Those of [`delete`](Self::delete).
    pub async fn delete_noted(&self, id: &FileId, audit: Option<NewAudit>) -> Result<bool> {
        let (registry, directory, id) = (Arc::clone(&self.registry), self.path.clone(), id.clone());
        let exists = self.exists(&id)?;
        on_blocking_thread(move || {
            let path = directory.join(id.file_name());
            let deleted = registry.write_to_disk(|connection| {
                if files::is_used(&path) {
                    return Err(in_use(&path, "a runner of this process is open on it; shut it down first"));
                }
                if exists {
                    if registry.holders(connection, &id)? > 0 {
                        return Err(in_use(&path, "a runner of another process is open on it"));
                    }
                    delete(&path)?;
                }
                registry.forget(connection, id.as_str())?;
                if exists {
                    note(connection, &id, audit.as_ref())?;
                }
                Ok(exists)
            });
            deleted.map_err(|failure| failure.into_store_error(&path.display().to_string()))
        })
        .await
    }

    /// The tenants in whose files work is due at `now`, or may be, and that no store of this process uses:
    /// somebody should open a runner on them, which then does it on time. The earliest first.
    ///
    /// Those that somebody has to look at are among them: files that a process that died left open, files
    /// that another process has open now, and all of them once after the machine was started. Files that were
    /// put there by hand are found within a minute.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Place`] if the directory or its registry cannot be read.
    pub async fn due(&self, now: Timestamp) -> Result<Vec<DueFile>> {
        let looked = {
            let unknown = self.unknown.lock();
            unknown.clone().filter(|(at, _)| at.elapsed() < SCAN)
        };
        let (registry, directory) = (Arc::clone(&self.registry), self.path.clone());
        let (due, looked) = on_blocking_thread(move || {
            let (at, mut unknown) = match looked {
                Some(looked) => looked,
                None => (Instant::now(), scan(&registry, &directory)?),
            };
            let due = registry.write(|connection| {
                let known = if unknown.is_empty() { Vec::new() } else { registry.known(connection)? };
                Ok((known, registry.due(connection, now.as_microsecond())?))
            });
            let (known, due) =
                due.map_err(|failure| failure.into_store_error(&directory.display().to_string()))?;
            unknown.retain(|id| !known.iter().any(|name| name.eq_ignore_ascii_case(id.as_str())));
            let mut files: Vec<DueFile> = Vec::with_capacity(due.len() + unknown.len());
            for (name, due_at) in due {
                let due_at = Timestamp::from_microsecond(due_at).unwrap_or(Timestamp::UNIX_EPOCH);
                if let Ok(id) = FileId::parse(&name) {
                    files.push(DueFile { id, due_at });
                }
            }
            let of = |id: &FileId| DueFile { id: id.clone(), due_at: Timestamp::UNIX_EPOCH };
            files.extend(unknown.iter().map(of));
            files.sort_unstable_by(|one, other| (&one.id, one.due_at).cmp(&(&other.id, other.due_at)));
            files.dedup_by(|later, earlier| later.id == earlier.id);
            files.sort_by_key(|file| file.due_at);
            let used = files::used();
            files.retain(|file| {
                let path = directory.join(file.id.file_name());
                !used.contains(&path) && path.symlink_metadata().is_ok_and(|file| file.is_file())
            });
            Ok((files, (at, unknown)))
        })
        .await?;
        *self.unknown.lock() = Some(looked);
        Ok(due)
    }

    /// The tenants in whose files executions may have been kept for longer than they are to be, and that
    /// nobody has open, each with how much longer: what has to go there is deleted by whoever opens a
    /// [store](crate::SqliteStore::open_address) on them. One look into the registry, whatever the number of
    /// files; none of them is opened.
    ///
    /// What is not known of a file is known once it is looked at that is [due](Self::due).
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Place`] if the registry cannot be read.
    pub async fn aged(&self, retention: Retention, now: Timestamp) -> Result<Vec<(FileId, Duration)>> {
        let before = ENDS.map(|end| {
            let kept = i64::try_from(retention.after(end)?.as_micros()).unwrap_or(i64::MAX);
            Some(now.as_microsecond().saturating_sub(kept))
        });
        let directory = self.path.clone();
        self.with_registry(move |registry| {
            let known = registry.read(|connection| registry.all_holds(connection))?;
            let used = files::used();
            let aged = known.into_iter().filter_map(|(name, holds)| {
                let late = holds.late(&before)?;
                Some((FileId::parse(&name).ok()?, late))
            });
            let mut aged: Vec<_> = aged.collect();
            aged.retain(|(id, _)| !used.contains(&directory.join(id.file_name())));
            aged.sort_unstable();
            Ok(aged)
        })
        .await
    }

    /// The largest files, the largest first, each with its bytes and those of its log.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Place`] if the directory cannot be read.
    pub async fn largest(&self, limit: usize) -> Result<Vec<(FileId, u64)>> {
        let directory = self.path.clone();
        on_blocking_thread(move || {
            let bytes = |name: String| directory.join(name).metadata().map_or(0, |file| file.len());
            let of = |id: FileId| {
                let name = id.file_name();
                let bytes = bytes(format!("{name}-wal")) + bytes(name);
                (id, bytes)
            };
            let mut sizes: Vec<(FileId, u64)> = look_through(&directory)?.into_iter().map(of).collect();
            sizes.sort_unstable_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
            sizes.truncate(limit);
            Ok(sizes)
        })
        .await
    }

    /// Where its futures must be run, as those of a store.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Internal`] if the threads cannot be started.
    pub fn runtime(&self) -> Result<Handle> {
        runtime()
    }

    /// Works on the registry on a thread of its own.
    async fn with_registry<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Registry) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let (registry, directory) = (Arc::clone(&self.registry), self.path.clone());
        on_blocking_thread(move || {
            work(&registry).map_err(|failure| failure.into_store_error(&directory.display().to_string()))
        })
        .await
    }

    /// The newest executions of a list in all files, without opening a store on one. Files that nobody has
    /// open are read only if they may have some.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Place`] if the directory cannot be read.
    pub async fn executions_across(&self, list: ExecutionList) -> Result<Across<ExecutionHeader>> {
        self.with_candidates(None, move |directory, ids, holds| {
            ids.retain(|id| holds(id).is_none_or(|holds| holds.may_match(&list.filter)));
            across::executions(directory, ids, &list)
        })
        .await
    }

    /// The waits in all files, file after file in the order of names from this one on, without opening a
    /// store on one. What is to be left out before the first wait is in that file.
    ///
    /// # Errors
    ///
    /// As [`executions_across`](Self::executions_across).
    pub async fn waits_across(&self, from: Option<FileId>, filter: WaitFilter) -> Result<Across<OpenWait>> {
        self.with_candidates(from.clone(), move |directory, ids, holds| {
            ids.retain(|id| holds(id).is_none_or(|holds| holds.may_wait(filter.asking)));
            let after = filter.after.filter(|_| ids.first() == from.as_ref());
            across::waits(directory, ids, &WaitFilter { after, ..filter })
        })
        .await
    }

    /// Reads files from one on, in the order of their names, with what is known of those that nobody has
    /// open.
    async fn with_candidates<T: Send + 'static>(
        &self,
        from: Option<FileId>,
        read: impl FnOnce(&Path, &mut Vec<FileId>, &dyn Fn(&FileId) -> Option<Holds>) -> T + Send + 'static,
    ) -> Result<T> {
        let directory = self.path.clone();
        self.with_registry(move |registry| {
            let known = registry.read(|connection| registry.all_holds(connection))?.into_iter();
            let known: HashMap<String, Holds> =
                known.map(|(name, holds)| (name.to_ascii_lowercase(), holds)).collect();
            let mut ids = look_through(&directory)?;
            ids.retain(|id| from.as_ref().is_none_or(|from| id >= from));
            ids.sort_unstable();
            let holds = |id: &FileId| known.get(&id.as_str().to_ascii_lowercase()).copied();
            Ok(read(&directory, &mut ids, &holds))
        })
        .await
    }

    fn registry<T>(&self, work: impl Fn(&Connection) -> Result<T, Failure>) -> Result<T> {
        self.registry
            .write(work)
            .map_err(|failure| failure.into_store_error(&self.path.display().to_string()))
    }
}

#[async_trait]
impl KeyStore for Directory {
    async fn key_insert(
        &self,
        new: &NewKey,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<Result<Timestamp, KeyRefusal>> {
        let (new, path, audit) = (new.clone(), self.path.clone(), audit.cloned());
        let tenant = new.tenant.as_ref().map(|tenant| FileId::parse(tenant)).transpose();
        let Ok(tenant) = tenant else { return Ok(Err(KeyRefusal::NoTenant)) };
        self.with_registry(move |registry| {
            // Under the lock of the registry, so that no tenant is deleted in between.
            registry.write_to_disk(|connection| {
                if tenant.as_ref().is_some_and(|tenant| !path.join(tenant.file_name()).is_file()) {
                    return Ok(Err(KeyRefusal::NoTenant));
                }
                let chain = new.tenant.as_deref().unwrap_or(audit::OWN);
                let audit = audit.as_ref().map(|audit| (chain, audit));
                keys::insert(connection, &new, audit, micros(now))
            })
        })
        .await
    }

    async fn key_find(&self, id: KeyId, now: Option<Timestamp>) -> Result<Option<KeyRecord>> {
        self.with_registry(move |registry| {
            registry.read(|connection| keys::find(connection, id, micros(now)))
        })
        .await
    }

    async fn key_list(&self, list: &KeyList) -> Result<Vec<KeyRecord>> {
        let list = list.clone();
        self.with_registry(move |registry| registry.read(|connection| keys::list(connection, &list))).await
    }

    async fn key_delete(&self, id: KeyId, audit: Option<&NewAudit>, now: Option<Timestamp>) -> Result<bool> {
        let audit = audit.cloned();
        self.with_registry(move |registry| {
            registry.write_to_disk(|connection| {
                keys::delete(connection, id, audit.as_ref(), str::to_owned, micros(now))
            })
        })
        .await
    }

    async fn key_used(&self, ids: &[KeyId], now: Option<Timestamp>) -> Result<()> {
        let ids = ids.to_vec();
        self.with_registry(move |registry| {
            registry.write(|connection| keys::used(connection, &ids, micros(now)))
        })
        .await
    }

    async fn key_prune(&self, now: Option<Timestamp>) -> Result<u64> {
        self.with_registry(move |registry| registry.write(|connection| keys::prune(connection, micros(now))))
            .await
    }
}

#[async_trait]
impl TemplateStore for Directory {
    async fn template_put(
        &self,
        templates: &ScheduleTemplates,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<()> {
        let (ScheduleTemplates { origin, schedules }, audit) = (templates.clone(), audit.cloned());
        self.with_registry(move |registry| {
            registry.write_to_disk(|connection| {
                let changed = connection.prepare_cached(TEMPLATE_PUT)?.execute([&origin, &schedules])?;
                match &audit {
                    Some(audit) if changed > 0 => audit::note(connection, audit::OWN, audit, micros(now)),
                    _ => Ok(()),
                }
            })
        })
        .await
    }

    async fn template_list(&self) -> Result<Vec<ScheduleTemplates>> {
        self.with_registry(move |registry| {
            registry.read(|connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT origin, schedules FROM schedule_template WHERE schedules <> '[]' ORDER BY origin",
                )?;
                let rows = statement.query_map([], |row| {
                    Ok(ScheduleTemplates { origin: row.get(0)?, schedules: row.get(1)? })
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
        })
        .await
    }

    async fn rollout_take(&self, now: Option<Timestamp>) -> Result<Rollout> {
        let now = micros(now);
        self.with_registry(move |registry| {
            let open = registry.read(|connection| {
                let found = "SELECT min(taken_till) FROM schedule_template WHERE rolled_out IS NOT NULL";
                Ok(connection.query_row(found, [], |row| row.get::<_, Option<i64>>(0))?)
            })?;
            // Most often there is nothing to be written.
            match open {
                None => return Ok(Rollout::Done),
                Some(till) if till > now => return Ok(Rollout::Elsewhere),
                Some(_) => {}
            }
            registry.write_to_disk(|connection| {
                let mut statement = connection.prepare_cached(ROLLOUT_TAKE)?;
                let rows = statement.query_map([now, now + TAKEN], |row| {
                    Ok(((row.get(0)?, row.get(1)?), row.get::<_, String>(2)?))
                })?;
                let taken = rows.collect::<Result<Vec<((String, i64), String)>, _>>()?;
                let (versions, after): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
                Ok(match after.into_iter().min() {
                    Some(after) => Rollout::Next { after, versions },
                    None => Rollout::Elsewhere,
                })
            })
        })
        .await
    }

    async fn rollout_note(
        &self,
        versions: &[(String, i64)],
        last: Option<&str>,
        now: Option<Timestamp>,
    ) -> Result<()> {
        let (versions, last, now) = (versions.to_vec(), last.map(str::to_owned), micros(now));
        let till = if last.is_some() { now + TAKEN } else { 0 };
        self.with_registry(move |registry| {
            registry.write_to_disk(|connection| {
                let note = "UPDATE schedule_template SET rolled_out = ?3, taken_till = ?4 WHERE origin = ?1 AND version = ?2";
                let mut statement = connection.prepare_cached(note)?;
                for (origin, version) in &versions {
                    statement.execute(params![origin, version, last, till])?;
                }
                Ok(())
            })
        })
        .await
    }
}

#[async_trait]
impl AuditStore for Directory {
    async fn audit_list(&self, list: &AuditList) -> Result<Vec<AuditRecord>> {
        let list = list.clone();
        self.with_registry(move |registry| {
            registry.read(|connection| audit::list(connection, chain_of(&list.of), list.before, list.limit))
        })
        .await
    }

    async fn audit_chain(&self, of: &AuditOf, after: (String, i64)) -> Result<AuditChain> {
        let of = of.clone();
        self.with_registry(move |registry| {
            registry.read(|connection| audit::chain(connection, chain_of(&of), &after))
        })
        .await
    }
}

/// The chain that is meant. The registry knows tenants by the names of their files.
fn chain_of(of: &AuditOf) -> Option<&str> {
    match of {
        AuditOf::Named(name) => Some(name),
        AuditOf::All | AuditOf::Tenant(_) => None,
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Refuses a directory in which others could put files and links.
pub(crate) fn check(path: &Path) -> Result<()> {
    let refuse = |reason: &str| {
        Err(StoreError::new(
            StoreErrorKind::Configuration,
            format!("{} cannot be the directory of tenants' files: {reason}", path.display()),
        ))
    };
    let metadata = path.symlink_metadata().map_err(|error| unreadable(path, error))?;
    if metadata.is_symlink() {
        return refuse("it is a symbolic link; name what it points to");
    }
    if !metadata.is_dir() {
        return refuse("it is no directory");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if metadata.mode() & 0o022 != 0 {
            return refuse("others than its owner may write to it; take that right from them, `chmod go-w`");
        }
        // Where the system tells who we are.
        if let Ok(us) = fs::metadata("/proc/self")
            && metadata.uid() != us.uid()
        {
            return refuse("it belongs to somebody else");
        }
    }
    Ok(())
}

fn list(directory: &Path) -> Result<Vec<FileId>> {
    let mut ids = Vec::new();
    for (id, kind) in entries(directory)? {
        if kind.is_symlink() {
            let path = directory.join(id.file_name());
            return Err(StoreError::new(
                StoreErrorKind::Place,
                format!("{} is a symbolic link, which is not followed; remove it", path.display()),
            ));
        }
        if kind.is_file() {
            ids.push(id);
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Has the registry forget the files that are gone, and returns those that it does not know.
fn scan(registry: &Registry, directory: &Path) -> Result<Vec<FileId>> {
    let scanned = registry.write(|connection| {
        let known: HashSet<String> = registry.known(connection)?.into_iter().collect();
        // A link or a directory by such a name is told to whoever asks for it.
        let mut there = look_through(directory)?;
        let names: HashSet<&str> = there.iter().map(FileId::as_str).collect();
        for gone in known.iter().filter(|name| !names.contains(name.as_str())) {
            registry.forget(connection, gone)?;
        }
        there.retain(|id| !known.contains(id.as_str()));
        Ok(there)
    });
    scanned.map_err(|failure| failure.into_store_error(&directory.display().to_string()))
}

pub(crate) fn look_through(directory: &Path) -> Result<Vec<FileId>> {
    Ok(entries(directory)?.into_iter().filter(|(_, kind)| kind.is_file()).map(|(id, _)| id).collect())
}

/// What has the name of a tenant's file.
fn entries(directory: &Path) -> Result<Vec<(FileId, fs::FileType)>> {
    let unreadable = |error| unreadable(directory, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if let Some(id) = FileId::of(Path::new(&entry.file_name())) {
            found.push((id, entry.file_type().map_err(unreadable)?));
        }
    }
    Ok(found)
}

/// Notes what somebody does about a tenant.
fn note(connection: &Connection, id: &FileId, audit: Option<&NewAudit>) -> Result<(), Failure> {
    audit.map_or(Ok(()), |audit| audit::note(connection, id.as_str(), audit, micros(None)))
}

fn is_same(one: &FileId, other: &FileId) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
}

fn exists_already(directory: &Path, id: &FileId, other: &FileId) -> Failure {
    let directory = directory.display();
    let message = if id == other {
        format!("there is a tenant `{id}` in {directory} already")
    } else {
        format!(
            "there is a tenant `{other}` in {directory}, and `{id}` differs from it only in the case of its letters"
        )
    };
    StoreError::new(StoreErrorKind::Configuration, message).into()
}

fn in_use(path: &Path, reason: &str) -> Failure {
    StoreError::new(
        StoreErrorKind::Transient,
        format!("the SQLite file {} was not deleted: {reason}", path.display()),
    )
    .into()
}

fn unreadable(path: &Path, error: std::io::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Place, format!("{} cannot be used ({error})", path.display()))
        .with_source(error)
}

fn open_alone(path: &Path) -> Result<Connection, Failure> {
    let connection = Connection::open_with_flags(path, connect::FLAGS)?;
    connection.busy_timeout(Duration::ZERO)?;
    Ok(connection)
}

fn owner(path: &Path) -> Result<cloacina_core::id::TenantId, Failure> {
    let connection = open_alone(path)?;
    migrate::owner(&connection, &path.display().to_string())?
        .ok_or_else(|| Failure::damaged("`cloacina_place` is not there"))
}

/// Deletes a file that nobody has open. Leaving the write-ahead log needs the file alone: every connection
/// that has read from it holds a lock until it is closed. In exclusive mode the lock is then kept, so that
/// nobody opens the file in between.
fn delete(path: &Path) -> Result<(), Failure> {
    let connection = open_alone(path)?;
    let alone = (|| {
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
        connection.execute_batch("BEGIN EXCLUSIVE")
    })();
    match alone.map_err(Failure::from) {
        Err(failure) if failure.is_busy() => return Err(in_use(path, "somebody else has it open")),
        result => result?,
    }
    // The file last: whatever is left if this fails is no log without its file.
    for side in ["-wal", "-shm", "-journal", ""] {
        let mut name = path.as_os_str().to_owned();
        name.push(side);
        match fs::remove_file(Path::new(&name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(unreadable(Path::new(&name), error).into());
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_name_and_never_a_path() {
        for id in ["a", "acme", "Acme_Corp-1", "0", "_x", "con1", "com", "lptx", &"x".repeat(63)] {
            assert_eq!(FileId::parse(id).unwrap().as_str(), id);
        }
        for id in [
            "",
            "-a",
            ".",
            "..",
            ".a",
            "../x",
            "a/b",
            "a\\b",
            "a.b",
            "a b",
            "x host=evil",
            "a\0b",
            "a\n",
            "ü",
            "аcme",
            "a?mode=rw",
            "a%2fb",
            "CON",
            "nul",
            "Aux",
            "com1",
            "LPT9",
            &"x".repeat(64),
            &"x".repeat(200),
        ] {
            let error = FileId::parse(id).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Configuration, "{id:?}");
            assert!(error.to_string().len() < 300, "{error}");
        }
        assert_eq!(FileId::of(Path::new("/x/acme.db")).unwrap().as_str(), "acme");
        for file in ["acme.db-wal", ".acme.db.0.new", "acme", "a.b.db", crate::registry::NAME] {
            assert_eq!(FileId::of(Path::new(file)), None, "{file}");
        }
    }
}
