//! What somebody sees of a file who does not work in it: its version, and what is wrong with it.

use std::path::Path;

use cloacina_core::store::{Finding, PlaceVersion, Result, StoreError, StoreErrorKind};

use crate::address::{FileId, SqliteAddress};
use crate::error::Failure;
use crate::runtime::on_blocking_thread;
use crate::transaction::snapshot;
use crate::{connect, directory, migrate};

/// How many of the faults of a damaged file are told.
const FAULTS: usize = 10;

/// Which version the tables of a file have. Changes nothing.
///
/// # Errors
///
/// [`StoreErrorKind::Place`] if there is no such file, or it cannot be read.
pub async fn version(address: SqliteAddress) -> Result<PlaceVersion> {
    read(address, |connection| snapshot(connection, migrate::version)).await
}

/// Which versions the files of a directory have, in the order of their names. Makes and changes nothing.
///
/// # Errors
///
/// [`StoreErrorKind::Configuration`] for what is no directory of tenants' files, [`StoreErrorKind::Place`] if
/// it cannot be read.
pub async fn versions(directory: &Path) -> Result<Vec<(FileId, Result<PlaceVersion>)>> {
    let directory = directory.to_owned();
    on_blocking_thread(move || {
        directory::check(&directory)?;
        let mut ids = directory::look_through(&directory)?;
        ids.sort_unstable();
        let version = |id: &FileId| {
            let path = directory.join(id.file_name());
            let read = connect::open_reader(&path);
            let read = read.and_then(|connection| snapshot(&connection, migrate::version));
            read.map_err(|failure| failure.into_store_error(&path.display().to_string()))
        };
        Ok(ids.into_iter().map(|id| (id.clone(), version(&id))).collect())
    })
    .await
}

/// What is wrong with a file: where it lies, who may write to it, its pages, its tables. Changes nothing. It
/// reads the whole file, which takes as long as that.
///
/// # Errors
///
/// As [`version`].
pub async fn findings(address: SqliteAddress, name: &str) -> Result<Vec<Finding>> {
    let (name, path) = (name.to_owned(), address.path().map(Path::to_owned));
    let mut found = path.as_deref().map(|path| file_findings(path, &name)).unwrap_or_default();
    let faults = read(address, |connection| {
        let mut check = connection.prepare(&format!("PRAGMA quick_check({FAULTS})"))?;
        let faults = check.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
        Ok(faults)
    });
    let faults = match faults.await {
        Ok(faults) => faults,
        // It is so damaged that it cannot be looked through.
        Err(error) if error.kind() != StoreErrorKind::Transient => vec![error.to_string()],
        Err(error) => return Err(error),
    };
    for fault in faults.into_iter().filter(|fault| fault != "ok") {
        let remedy = "stop all that use the file, and restore it from a backup, or save what can be read with \
                      the command `.recover` of `sqlite3`";
        found.push(Finding::fatal(&name, format!("the file is damaged: {fault}"), remedy));
    }
    Ok(found)
}

/// What is wrong with how a file lies in its directory. Its path was resolved when it was first used: a link
/// at its end was put there since.
#[must_use]
pub fn file_findings(path: &Path, name: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let Ok(metadata) = path.symlink_metadata() else { return found };
    if metadata.is_symlink() {
        let what = format!("the file {} is a symbolic link", path.display());
        found.push(Finding::fatal(name, what, "put the file itself there"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        if !metadata.is_symlink() && metadata.mode() & 0o002 != 0 {
            let what = format!("the file {} can be written by everybody", path.display());
            found.push(Finding::fatal(name, what, format!("chmod o-w {}", path.display())));
        }
        if metadata.nlink() > 1 {
            let what = format!("the file {} has another name as well", path.display());
            found.push(Finding::fatal(name, what, "remove the other name; a copy is another file"));
        }
    }
    found
}

async fn read<T: Send + 'static>(
    address: SqliteAddress,
    work: impl FnOnce(&rusqlite::Connection) -> std::result::Result<T, Failure> + Send + 'static,
) -> Result<T> {
    on_blocking_thread(move || {
        let label = address.label();
        let path = address.path().filter(|path| path.is_file()).ok_or_else(|| {
            StoreError::new(StoreErrorKind::Place, format!("there is no SQLite file {label}"))
        })?;
        let read = connect::open_reader(path).and_then(|connection| work(&connection));
        read.map_err(|failure| failure.into_store_error(label))
    })
    .await
}
