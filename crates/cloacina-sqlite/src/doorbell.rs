//! When work is due, and what runners should look at again.
//!
//! A file has one tenant, so its bell is the ready and the due rows themselves: the earliest is one seek for
//! each priority and each kind, and there is nothing to ring or to lower.

use cloacina_core::id::{ExecutionId, TenantId};
use cloacina_core::store::{Bells, Due, DueKind, NextDue};
use rusqlite::{Connection, params};

use crate::error::Failure;
use crate::row::{optional_timestamp, timestamp};

const BELL_DUE: &str = include_str!("../sql/bell_due.sql");
const BELL_DUE_NEXT: &str = include_str!("../sql/bell_due_next.sql");
const DUE_NEXT: &str = include_str!("../sql/due_next.sql");
const EXPAND_ANY: &str = include_str!("../sql/expand_any.sql");
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

pub(crate) fn next(
    connection: &Connection,
    tenant: TenantId,
    kinds: &[DueKind],
    now: i64,
) -> Result<NextDue, Failure> {
    let work = connection.prepare_cached(BELL_DUE_NEXT)?.query_row([tenant.0], |row| row.get(0))?;
    let (mut due, mut unknown): (Option<i64>, Option<i64>) = (None, None);
    let mut first_of_kinds = connection.prepare_cached(DUE_NEXT)?;
    let mut rows = first_of_kinds.query([tenant.0])?;
    while let Some(row) = rows.next()? {
        let (kind, first): (i16, i64) = (row.get(0)?, row.get(1)?);
        let is_known = kinds.iter().any(|known| known.number() == kind);
        let earliest = if is_known { &mut due } else { &mut unknown };
        *earliest = Some(earliest.map_or(first, |other| other.min(first)));
    }
    Ok(NextDue {
        now: timestamp(now)?,
        work: optional_timestamp(work)?,
        due: optional_timestamp(due)?,
        unknown: optional_timestamp(unknown)?,
        unexpanded: connection.prepare_cached(EXPAND_ANY)?.query_row([tenant.0], |row| row.get(0))?,
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
