//! Connections to files.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use cloacina_core::store::{StoreError, StoreErrorKind};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::address::SqliteAddress;
use crate::error::Failure;
use crate::migrate::{MIGRATIONS, migrate};

/// Links are resolved when an address is understood, and are not followed when its file is opened.
pub(crate) const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE
    .union(OpenFlags::SQLITE_OPEN_NO_MUTEX)
    .union(OpenFlags::SQLITE_OPEN_NOFOLLOW);

/// How long a writer waits for another process.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

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
                // Not every file system has hard links. The other way takes longer and says better what is
                // wrong.
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

/// What the file holds is no program: no trigger, view, function or foreign key in it is run by our
/// statements.
fn prepare(connection: &Connection) -> Result<(), Failure> {
    connection.busy_timeout(PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(96);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    // Without this guarantee SQLite may compile a prepared statement again whenever it is bound to another
    // value.
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

/// Makes a new file with everything in it: built in memory, written under another name, and given its own by
/// a link, which fails if somebody else was faster. So nobody ever sees half a file, and it costs one sync
/// where SQLite's own way, page by page through a journal, takes eight.
pub(crate) fn create(path: &Path, label: &str, now: i64) -> Result<std::io::Result<()>, Failure> {
    let memory = Connection::open_in_memory()?;
    migrate(&memory, label, MIGRATIONS, now)?;
    let mut image = memory.serialize(rusqlite::MAIN_DB)?.to_vec();
    // The versions of the file format, for writing and for reading: 2 is the write-ahead log
    // (<https://www.sqlite.org/fileformat2.html>).
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
