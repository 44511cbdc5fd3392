//! Addresses of files, and connections to them.

use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cloacina_core::store::{StoreError, StoreErrorKind};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::Failure;

/// Links are resolved when an address is understood, and are not followed when its file is opened.
pub(crate) const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE
    .union(OpenFlags::SQLITE_OPEN_NO_MUTEX)
    .union(OpenFlags::SQLITE_OPEN_NOFOLLOW);

/// How long a writer waits for another process.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Which file a URL means.
///
/// Two addresses are equal if they mean the same file, however it was written: `./a.db`, `a.db`, an absolute path, a path through a
/// symbolic link. Every `:memory:` is a database of its own and equal to nothing but its clones.
#[derive(Debug, Clone)]
pub struct SqliteAddress {
    location: Location,
    label: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Location {
    File(PathBuf),
    Memory(u64),
}

impl PartialEq for SqliteAddress {
    fn eq(&self, other: &Self) -> bool {
        self.location == other.location
    }
}

impl Eq for SqliteAddress {}

impl Hash for SqliteAddress {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.location.hash(state);
    }
}

impl SqliteAddress {
    /// Understands `sqlite://dir/id.db` (from the working directory), `sqlite:///abs/id.db`, `sqlite::memory:` and a bare path.
    /// In a URL `%20` and the like stand for bytes.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Configuration`] if the address cannot be understood, or its directory is not there.
    pub fn parse(url_or_path: &str) -> Result<Self, StoreError> {
        let path = match url_or_path.strip_prefix("sqlite:") {
            Some(rest) => {
                let rest = rest.strip_prefix("//").unwrap_or(rest);
                if rest.contains('?') {
                    return Err(configuration(format!(
                        "`sqlite:` addresses take no parameters: remove everything from the `?` in {rest:?} (a `?` that belongs to \
                         the name is written %3F)"
                    )));
                }
                percent_decode(rest)?
            }
            None => match url_or_path.split_once("://") {
                // The rest of the URL is not repeated: it may hold a password.
                Some((scheme, _)) => {
                    return Err(configuration(format!(
                        "the SQLite store cannot open an address that begins with `{scheme}://`; it understands `sqlite://path/to/file.db`"
                    )));
                }
                None => url_or_path.to_owned(),
            },
        };
        if path == ":memory:" {
            return Ok(Self::memory());
        }
        if path.is_empty() {
            return Err(configuration(
                "the SQLite address names no file; write `sqlite://path/to/file.db`".into(),
            ));
        }
        if path.contains('\0') {
            return Err(configuration("the SQLite address contains a NUL character".into()));
        }
        Self::file(Path::new(&path))
    }

    /// A new database in memory.
    #[must_use]
    pub fn memory() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            location: Location::Memory(NEXT.fetch_add(1, Ordering::Relaxed)),
            label: ":memory:".to_owned(),
        }
    }

    fn file(path: &Path) -> Result<Self, StoreError> {
        let shown = path.display();
        let Some(name) = path.file_name().filter(|_| !path.as_os_str().to_string_lossy().ends_with('/'))
        else {
            return Err(configuration(format!("the SQLite address {shown} is a directory, not a file")));
        };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let resolved = directory.canonicalize().map_err(|error| {
            configuration(format!(
                "the directory {} of the SQLite file {shown} cannot be used ({error}); create it first",
                directory.display()
            ))
            .with_source(error)
        })?;
        if !resolved.is_dir() {
            return Err(configuration(format!("{} is not a directory", directory.display())));
        }
        let file = resolved.join(name);
        // A file that is not there yet cannot be resolved, and needs not be.
        let file = file.canonicalize().unwrap_or(file);
        if file.is_dir() {
            return Err(configuration(format!("the SQLite address {shown} is a directory, not a file")));
        }
        let label = file.display().to_string();
        Ok(Self { location: Location::File(file), label })
    }

    /// A file of a directory whose path has no links in it; the file is none, either.
    pub(crate) fn within(directory: &Path, name: &str) -> Self {
        let path = directory.join(name);
        let label = path.display().to_string();
        Self { location: Location::File(path), label }
    }

    /// For messages: the path.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The path of the file; `None` in memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.location {
            Location::File(path) => Some(path),
            Location::Memory(_) => None,
        }
    }
}

fn configuration(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Configuration, message)
}

fn percent_decode(text: &str) -> Result<String, StoreError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let value = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value {
            Some(value) => bytes.push(value),
            None => {
                return Err(configuration(format!(
                    "the SQLite address {text:?} has a `%` that is not followed by two hexadecimal digits; a `%` itself is written %25"
                )));
            }
        }
        rest = &after[2..];
    }
    String::from_utf8(bytes)
        .map_err(|_| configuration(format!("the SQLite address {text:?} is not UTF-8 once it is decoded")))
}

/// Opens the connection that writes; makes the file if it is not there.
pub(crate) fn open_writer(address: &SqliteAddress, now: i64) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_CREATE | FLAGS;
    let connection = match address.path() {
        Some(path) => {
            if !path.exists()
                && let Err(error) = create(path, address.label(), now)?
                // Somebody else may have been faster.
                && error.kind() != std::io::ErrorKind::AlreadyExists
            {
                // Not every file system has hard links. The other way takes longer and says better what is wrong.
                tracing::debug!(path = %path.display(), %error, "a new SQLite file was not made by a link");
            }
            Connection::open_with_flags(path, flags)?
        }
        None => Connection::open_in_memory_with_flags(flags)?,
    };
    prepare(&connection)?;
    if connection.is_readonly(rusqlite::MAIN_DB)? {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY),
            None,
        )
        .into());
    }
    if let Some(path) = address.path() {
        write_ahead(&connection, path)?;
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// Opens the connection that writes to a file that was opened before and has to be there still.
pub(crate) fn open_writer_again(path: &Path) -> Result<Connection, Failure> {
    let connection = Connection::open_with_flags(path, FLAGS)?;
    prepare(&connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// Opens a connection that only reads. It may write the -shm file, as every reader of a write-ahead log does.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, Failure> {
    let connection = Connection::open_with_flags(path, FLAGS)?;
    prepare(&connection)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// What the file holds is no program: no trigger, view, function or foreign key in it is run by our statements.
fn prepare(connection: &Connection) -> Result<(), Failure> {
    connection.busy_timeout(PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(96);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    // Without this guarantee SQLite may compile a prepared statement again whenever it is bound to another value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// The change to the write-ahead log needs the file alone, and SQLite does not wait for that in every case.
fn write_ahead(connection: &Connection, path: &Path) -> Result<(), Failure> {
    let mut waited = Duration::ZERO;
    loop {
        let mode = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))
            .map_err(Failure::from);
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(_) => {
                return Err(StoreError::new(
                    StoreErrorKind::Place,
                    format!(
                        "the file system of {} does not support SQLite's write-ahead log; use a local disk",
                        path.display()
                    ),
                )
                .into());
            }
            Err(failure) if failure.is_busy() && waited < PATIENCE => {
                let pause = Duration::from_millis(10);
                std::thread::sleep(pause);
                waited += pause;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Which file on the disk a path means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
}

impl FileIdentity {
    /// `None` if there is no file, or it cannot be told.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        Self::of_metadata(&std::fs::metadata(path).ok()?)
    }

    pub(crate) fn of_metadata(metadata: &std::fs::Metadata) -> Option<Self> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            Some(Self { device_and_inode: (metadata.dev(), metadata.ino()) })
        }
        #[cfg(not(unix))]
        {
            metadata.is_file().then_some(Self {})
        }
    }
}

/// Makes a new file with everything in it: built in memory, written under another name, and given its own by a link, which fails if
/// somebody else was faster. So nobody ever sees half a file, and it costs one sync where SQLite's own way, page by page through a
/// journal, takes eight.
pub(crate) fn create(path: &Path, label: &str, now: i64) -> Result<std::io::Result<()>, Failure> {
    let memory = Connection::open_in_memory()?;
    crate::migrate::migrate(&memory, label, crate::migrate::MIGRATIONS, now)?;
    let mut image = memory.serialize(rusqlite::MAIN_DB)?.to_vec();
    // The versions of the file format, for writing and for reading: 2 is the write-ahead log (<https://www.sqlite.org/fileformat2.html>).
    image[18..20].fill(2);

    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.{}.new", uuid::Uuid::now_v7()));
    let made = write_draft(&draft, &image).and_then(|()| std::fs::hard_link(&draft, path));
    let removed = std::fs::remove_file(&draft);
    Ok(match made {
        Ok(()) => removed,
        Err(error) => Err(error),
    })
}

fn write_draft(draft: &Path, image: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    // Only the owner reads it; the -wal and -shm files take its mode over.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(draft)?;
    file.write_all(image)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_file_is_the_same_address() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().display();
        let plain = SqliteAddress::parse(&format!("sqlite://{base}/a.db")).unwrap();
        assert_eq!(plain, SqliteAddress::parse(&format!("sqlite://{base}/./a.db")).unwrap());
        assert_eq!(plain, SqliteAddress::parse(&format!("sqlite:{base}/%61.db")).unwrap());
        assert_eq!(plain, SqliteAddress::parse(&format!("{base}/a.db")).unwrap());
        assert_ne!(plain, SqliteAddress::parse(&format!("sqlite://{base}/b.db")).unwrap());
        assert_eq!(
            SqliteAddress::parse("sqlite://./x.db").unwrap(),
            SqliteAddress::parse("sqlite://x.db").unwrap()
        );
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(directory.path(), directory.path().join("link")).unwrap();
            assert_eq!(plain, SqliteAddress::parse(&format!("sqlite://{base}/link/a.db")).unwrap());
        }
    }

    #[test]
    fn every_database_in_memory_is_its_own() {
        let one = SqliteAddress::parse("sqlite::memory:").unwrap();
        assert_eq!(one, one.clone());
        assert_ne!(one, SqliteAddress::parse("sqlite::memory:").unwrap());
    }

    #[test]
    fn an_address_that_cannot_be_used_says_why() {
        for (url, words) in [
            ("sqlite://a.db?mode=rwc", "no parameters"),
            ("postgres://u:secret@h/d", "postgres://"),
            ("sqlite://", "names no file"),
            ("sqlite:///", "directory"),
            ("sqlite://./", "directory"),
            ("sqlite:///tmp", "directory"),
            ("sqlite:///no/such/dir/a.db", "/no/such/dir"),
            ("sqlite://a%2.db", "hexadecimal"),
            ("sqlite://a%+1.db", "hexadecimal"),
            ("sqlite://a%00.db", "NUL"),
            ("sqlite://a%ff.db", "UTF-8"),
        ] {
            let error = SqliteAddress::parse(url).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Configuration, "{url}");
            assert!(error.to_string().contains(words), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
