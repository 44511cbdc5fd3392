//! Transactions on a connection.

use rusqlite::Connection;

use crate::error::Failure;

/// Ends a transaction that was not committed, also when `work` panics.
struct Transaction<'a>(&'a Connection);

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // SQLite has rolled back by itself after some errors.
        if !self.0.is_autocommit()
            && let Err(error) = self.0.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a SQLite transaction was not rolled back");
        }
    }
}

/// Runs `work` under the write lock of the file, and commits it if it succeeds.
pub(crate) fn transaction<T>(
    connection: &Connection,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let open = Transaction(connection);
    let value = work()?;
    connection.prepare_cached("COMMIT")?.execute([])?;
    drop(open);
    Ok(value)
}

/// Runs `work` on one snapshot of the file.
pub(crate) fn snapshot<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    connection.prepare_cached("BEGIN DEFERRED")?.execute([])?;
    let _open = Transaction(connection);
    let value = work(connection)?;
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(value)
}

/// SQLite's count of what other connections committed.
pub(crate) fn data_version(connection: &Connection) -> Result<i64, Failure> {
    Ok(connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?)
}

/// Writes the log back into the file.
pub(crate) fn checkpoint(connection: &Connection) -> Result<(), Failure> {
    // Whether the log was emptied (0) or somebody else is reading from it (1) makes no difference: then that
    // one will do it.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))?;
    Ok(())
}
