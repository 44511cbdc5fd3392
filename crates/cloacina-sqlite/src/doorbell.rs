//! When work is due, and what runners should look at again.
//!
//! A file has one tenant, so its bell is the ready table itself: the earliest due time is one seek for each priority, and there is nothing
//! to ring or to lower.

use cloacina_core::id::{ExecutionId, TenantId};
use cloacina_core::store::{Bells, Due, NextDue};
use rusqlite::{Connection, params};

use crate::error::Failure;
use crate::{SqliteStore, Writer, data_version, optional_timestamp, timestamp};

const BELL_DUE: &str = include_str!("../sql/bell_due.sql");
const BELL_DUE_NEXT: &str = include_str!("../sql/bell_due_next.sql");
const NOTICE_INSERT: &str = include_str!("../sql/notice_insert.sql");
const NOTICE_PRUNE: &str = include_str!("../sql/notice_prune.sql");
const NOTICE_RECENT: &str = include_str!("../sql/notice_recent.sql");

/// How long a notice is told and kept: a process that was suspended for some seconds still learns of it.
const NOTICE_KEPT: i64 = 60_000_000;

pub(crate) fn due(connection: &Connection, tenant: TenantId, now: i64) -> Result<Bells, Failure> {
    let is_due: bool =
        connection.prepare_cached(BELL_DUE)?.query_row(params![tenant.0, now], |row| row.get(0))?;
    let notices = connection
        .prepare_cached(NOTICE_RECENT)?
        .query_map(params![tenant.0, now.saturating_sub(NOTICE_KEPT)], |row| {
            Ok((tenant, ExecutionId(row.get(0)?)))
        })?
        .collect::<Result<_, _>>()?;
    let due = if is_due { vec![Due { tenant }] } else { Vec::new() };
    Ok(Bells { due, notices, changed: Vec::new() })
}

pub(crate) fn next(connection: &Connection, tenant: TenantId, now: i64) -> Result<NextDue, Failure> {
    let (work, deadline) = connection
        .prepare_cached(BELL_DUE_NEXT)?
        .query_row([tenant.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(NextDue {
        now: timestamp(now)?,
        work: optional_timestamp(work)?,
        deadline: optional_timestamp(deadline)?,
    })
}

pub(crate) fn notice(
    connection: &Connection,
    tenant: TenantId,
    execution: ExecutionId,
    now: i64,
) -> Result<(), Failure> {
    connection.prepare_cached(NOTICE_PRUNE)?.execute(params![tenant.0, now.saturating_sub(NOTICE_KEPT)])?;
    connection.prepare_cached(NOTICE_INSERT)?.execute(params![tenant.0, now, execution.0])?;
    Ok(())
}

impl SqliteStore {
    /// Hints if another connection wrote to the file since this was asked last. False if the writer is busy, and was not
    /// asked.
    pub(crate) fn look_for_others(&self) -> bool {
        let Ok(mut writer) = self.writer.try_lock() else {
            return false;
        };
        if let Writer::Open(writer) = &mut *writer
            // An error shows in the query that follows.
            && let Ok(version) = data_version(&writer.connection)
            && version != writer.seen_version
        {
            writer.seen_version = version;
            self.hints.send_modify(|hints| *hints = hints.wrapping_add(1));
        }
        true
    }
}
