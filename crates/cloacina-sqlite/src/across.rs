//! What the files of many tenants hold, read without opening a store: a connection for each, one after the
//! other, on a thread that may take its time.

use std::path::Path;

use cloacina_core::store::{
    ExecutionHeader, ExecutionList, OpenWait, Result, StoreError, StoreErrorKind, WaitFilter,
};
use rusqlite::Connection;

use crate::address::FileId;
use crate::connect;
use crate::error::Failure;
use crate::migrate;
use crate::transaction::snapshot;
use crate::{execution, wait};

/// Rows, each with the name of its tenant, and the tenants whose files could not be read.
pub type Across<T> = (Vec<(String, T)>, Vec<(String, StoreError)>);

/// The newest executions of a list in all these files.
pub(crate) fn executions(directory: &Path, ids: &[FileId], list: &ExecutionList) -> Across<ExecutionHeader> {
    let (mut found, mut unreadable): Across<ExecutionHeader> = Default::default();
    for id in ids {
        match read(directory, id, |connection, tenant| execution::list(connection, tenant, list)) {
            Ok(rows) => found.extend(rows.into_iter().map(|row| (id.to_string(), row))),
            Err(error) => unreadable.push((id.to_string(), error)),
        }
        if found.len() > list.limit * 2 {
            newest(&mut found, list.limit);
        }
    }
    newest(&mut found, list.limit);
    (found, unreadable)
}

fn newest(found: &mut Vec<(String, ExecutionHeader)>, limit: usize) {
    found.sort_unstable_by_key(|(_, header)| std::cmp::Reverse(header.id));
    found.truncate(limit);
}

/// The waits of all these files, file after file: after the wait of the first one that `filter` says.
pub(crate) fn waits(directory: &Path, ids: &[FileId], filter: &WaitFilter) -> Across<OpenWait> {
    let (mut found, mut unreadable): Across<OpenWait> = Default::default();
    for (number, id) in ids.iter().enumerate() {
        let (after, limit) = (filter.after.filter(|_| number == 0), filter.limit.saturating_sub(found.len()));
        if limit == 0 {
            break;
        }
        let filter = WaitFilter { after, limit, ..filter.clone() };
        match read(directory, id, |connection, tenant| wait::list(connection, tenant, &filter)) {
            Ok(rows) => found.extend(rows.into_iter().map(|row| (id.to_string(), row))),
            Err(error) => unreadable.push((id.to_string(), error)),
        }
    }
    (found, unreadable)
}

fn read<T>(
    directory: &Path,
    id: &FileId,
    work: impl Fn(&Connection, cloacina_core::id::TenantId) -> Result<T, Failure>,
) -> Result<T> {
    let path = directory.join(id.file_name());
    let label = path.display().to_string();
    let read = (|| {
        let connection = connect::open_reader(&path)?;
        snapshot(&connection, |connection| {
            let tenant = migrate::owner(connection, &label)?.ok_or_else(|| {
                let message = format!("{label} has no tables of the engine; move it away");
                StoreError::new(StoreErrorKind::Place, message)
            })?;
            work(connection, tenant)
        })
    })();
    read.map_err(|failure: Failure| failure.into_store_error(&label))
}
