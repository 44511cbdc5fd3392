//! The schema of a file, and how it comes to be what this program needs.
//!
//! Migrations are numbered from 1 without gaps. Each runs in one transaction under the write lock of the
//! file, so of two processes that open a new file one makes the tables and the other finds them. What was
//! applied lies in `cloacina_migration` with a checksum over its text: two programs that mean different
//! things by one number are told apart.
//!
//! A program of version N (the number of its last migration) makes an older file its own. A newer file says
//! itself, in `min_reader`, from which version on programs can work with it; the others refuse it.

use cloacina_core::id::TenantId;
use cloacina_core::store::{PlaceVersion, StoreError, StoreErrorKind};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Failure;
use crate::transaction::transaction;

/// A step of the schema.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Migration {
    pub(crate) number: i64,
    pub(crate) sql: &'static str,
    /// The oldest program that can work with the result.
    pub(crate) min_reader: i64,
}

pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration { number: 1, sql: include_str!("../migrations/0001_create.sql"), min_reader: 1 }];

struct Found {
    tenant: TenantId,
    version: i64,
    min_reader: i64,
}

/// Brings the file to the last of `migrations`, and says whose it is. A current file is only read.
pub(crate) fn migrate(
    connection: &Connection,
    label: &str,
    migrations: &[Migration],
    now: i64,
) -> Result<TenantId, Failure> {
    if let Some(found) = look(connection, label, migrations)?
        && found.version >= latest(migrations)
    {
        return Ok(found.tenant);
    }
    loop {
        let done = transaction(connection, || {
            // Another process may have been here since.
            let found = look(connection, label, migrations)?;
            let version = found.as_ref().map_or(0, |found| found.version);
            let Some(next) = migrations.iter().find(|migration| migration.number == version + 1) else {
                return Ok(found.map(|found| found.tenant));
            };
            connection.execute_batch(next.sql)?;
            match found {
                None => connection.execute(
                    "INSERT INTO cloacina_place (tenant_id, schema_version, min_reader, created_at) VALUES (?1, ?2, ?3, ?4)",
                    params![TenantId::new().0, next.number, next.min_reader, now],
                )?,
                Some(_) => connection.execute(
                    "UPDATE cloacina_place SET schema_version = ?1, min_reader = ?2",
                    params![next.number, next.min_reader],
                )?,
            };
            connection.execute(
                "INSERT INTO cloacina_migration (number, checksum, applied_at) VALUES (?1, ?2, ?3)",
                params![next.number, checksum(next.sql), now],
            )?;
            Ok(None)
        })?;
        if let Some(tenant) = done {
            return Ok(tenant);
        }
    }
}

/// Whose the file is; `None` if it has no tables of ours.
pub(crate) fn owner(connection: &Connection, label: &str) -> Result<Option<TenantId>, Failure> {
    Ok(look(connection, label, MIGRATIONS)?.map(|found| found.tenant))
}

/// Which version a file has, whether this program can work with it or not.
pub(crate) fn version(connection: &Connection) -> Result<PlaceVersion, Failure> {
    let latest = number(latest(MIGRATIONS));
    if !has_tables(connection)? {
        return Ok(PlaceVersion::new(0, latest, 0));
    }
    let found = connection
        .query_row("SELECT schema_version, min_reader FROM cloacina_place", [], |row| {
            Ok(PlaceVersion::new(number(row.get(0)?), latest, number(row.get(1)?)))
        })
        .optional()?;
    found.ok_or_else(|| Failure::damaged("`cloacina_place` has no row"))
}

fn number(version: i64) -> u32 {
    u32::try_from(version).unwrap_or_default()
}

fn latest(migrations: &[Migration]) -> i64 {
    migrations.last().map_or(0, |migration| migration.number)
}

/// Whether a file has tables of ours.
fn has_tables(connection: &Connection) -> Result<bool, Failure> {
    Ok(connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'cloacina_place')",
        [],
        |row| row.get(0),
    )?)
}

/// What the file is; `None` if it has no tables of ours.
fn look(connection: &Connection, label: &str, migrations: &[Migration]) -> Result<Option<Found>, Failure> {
    if !has_tables(connection)? {
        return Ok(None);
    }
    let found = connection
        .query_row("SELECT tenant_id, schema_version, min_reader FROM cloacina_place", [], |row| {
            Ok(Found { tenant: TenantId(row.get(0)?), version: row.get(1)?, min_reader: row.get(2)? })
        })
        .optional()?;
    let Some(found) = found else {
        return Err(Failure::damaged("`cloacina_place` has no row"));
    };
    let version = latest(migrations);
    if found.min_reader > version {
        return Err(StoreError::new(
            StoreErrorKind::Version,
            format!(
                "the SQLite file {label} was made by a newer program: its schema has version {} and asks for a program of version {} or \
                 later, this one has {version}; update this program",
                found.version, found.min_reader
            ),
        )
        .into());
    }
    let mut applied =
        connection.prepare("SELECT number, checksum FROM cloacina_migration ORDER BY number")?;
    let mut rows = applied.query([])?;
    while let Some(row) = rows.next()? {
        let (number, sum): (i64, i64) = (row.get(0)?, row.get(1)?);
        let known = migrations.iter().find(|migration| migration.number == number);
        if known.is_some_and(|migration| checksum(migration.sql) != sum) {
            return Err(StoreError::new(
                StoreErrorKind::Version,
                format!(
                    "migration {number} of the SQLite file {label} is not the one that this program knows under that number; the file \
                     was made by a build that was not released"
                ),
            )
            .into());
        }
    }
    Ok(Some(found))
}

/// FNV-1a of 64 bits (Fowler, Noll, Vo; <https://datatracker.ietf.org/doc/html/rfc9923>).
fn checksum(text: &str) -> i64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
        .cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: &str = "ALTER TABLE workflow_executions ADD COLUMN note TEXT";

    fn with_second(min_reader: i64) -> Vec<Migration> {
        let mut migrations = MIGRATIONS.to_vec();
        migrations.push(Migration { number: latest(MIGRATIONS) + 1, sql: ADD, min_reader });
        migrations
    }

    fn kind(result: Result<TenantId, Failure>) -> StoreErrorKind {
        result.unwrap_err().into_store_error("x.db").kind()
    }

    #[test]
    fn a_current_file_sees_no_ddl() {
        let connection = Connection::open_in_memory().unwrap();
        let tenant = migrate(&connection, "x.db", MIGRATIONS, 0).unwrap();
        connection.pragma_update(None, "query_only", true).unwrap();
        assert_eq!(migrate(&connection, "x.db", MIGRATIONS, 0).unwrap(), tenant);
    }

    #[test]
    fn an_older_file_is_migrated_and_keeps_its_identity() {
        let connection = Connection::open_in_memory().unwrap();
        let tenant = migrate(&connection, "x.db", MIGRATIONS, 0).unwrap();
        assert_eq!(migrate(&connection, "x.db", &with_second(1), 0).unwrap(), tenant);
        connection.prepare("SELECT note FROM workflow_executions").unwrap();
    }

    #[test]
    fn a_newer_file_decides_whether_an_older_program_may_use_it() {
        let connection = Connection::open_in_memory().unwrap();
        let next = latest(MIGRATIONS) + 1;
        let tenant = migrate(&connection, "x.db", &with_second(next - 1), 0).unwrap();
        assert_eq!(migrate(&connection, "x.db", MIGRATIONS, 0).unwrap(), tenant);
        connection.execute("UPDATE cloacina_place SET min_reader = ?1", [next]).unwrap();
        assert_eq!(kind(migrate(&connection, "x.db", MIGRATIONS, 0)), StoreErrorKind::Version);
    }

    #[test]
    fn a_migration_of_another_text_is_refused() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, "x.db", MIGRATIONS, 0).unwrap();
        connection.execute("UPDATE cloacina_migration SET checksum = 1", []).unwrap();
        assert_eq!(kind(migrate(&connection, "x.db", MIGRATIONS, 0)), StoreErrorKind::Version);
    }

    #[test]
    fn a_failed_migration_leaves_nothing() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE task_executions (mine)").unwrap();
        assert_eq!(kind(migrate(&connection, "x.db", MIGRATIONS, 0)), StoreErrorKind::Place);
        let tables: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 1);
    }
}
