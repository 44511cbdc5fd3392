//! The audit: in a file of what is done there, in the registry of a directory of what is done about its
//! tenants. A row is sealed when it is written: only one writes at a time.

use cloacina_core::store::{AUDIT_PAGE, AuditChain, AuditRecord, NewAudit, Seal};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::Failure;
use crate::row::timestamp;

const AUDIT_END: &str = include_str!("../sql/audit_end.sql");
const AUDIT_INSERT: &str = include_str!("../sql/audit_insert.sql");
const AUDIT_NEXT: &str = include_str!("../sql/audit_next.sql");
const AUDIT_CHAIN_PUT: &str = include_str!("../sql/audit_chain_put.sql");
const AUDIT_LIST: &str = include_str!("../sql/audit_list.sql");
const AUDIT_LIST_TENANT: &str = include_str!("../sql/audit_list_tenant.sql");
const AUDIT_CHAIN: &str = include_str!("../sql/audit_chain.sql");
const AUDIT_ENDS: &str = include_str!("../sql/audit_ends.sql");

/// The chain of a file, and of what is about no tenant.
pub(crate) const OWN: &str = "";

/// Notes what somebody does, in the transaction that is open.
pub(crate) fn note(connection: &Connection, chain: &str, audit: &NewAudit, now: i64) -> Result<(), Failure> {
    let NewAudit { actor, action, object, detail } = audit;
    let end: Option<(i64, Seal)> = connection
        .prepare_cached(AUDIT_END)?
        .query_row([chain], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let id = connection.prepare_cached(AUDIT_NEXT)?.query_row([], |row| row.get(0))?;
    let position = end.map_or(0, |(position, _)| position) + 1;
    let row = AuditRecord {
        id,
        at: timestamp(now)?,
        actor: actor.name.clone(),
        role: actor.role.clone(),
        action: (*action).to_owned(),
        tenant: None,
        chain: chain.to_owned(),
        place: None,
        object: object.clone(),
        reason: actor.reason.clone(),
        detail: detail.clone(),
        login: None,
        position: Some(position),
        seal: None,
    };
    let seal = row.seal_after(end.as_ref().map(|(_, seal)| seal));
    connection.prepare_cached(AUDIT_INSERT)?.execute(params![
        id, now, row.actor, row.role, row.action, row.chain, row.object, row.reason, row.detail, position,
        seal,
    ])?;
    connection.prepare_cached(AUDIT_CHAIN_PUT)?.execute(params![chain, position, seal])?;
    Ok(())
}

/// Rows of a chain, or all of them, the newest first.
pub(crate) fn list(
    connection: &Connection,
    chain: Option<&str>,
    before: Option<i64>,
    limit: usize,
) -> Result<Vec<AuditRecord>, Failure> {
    let (before, limit) = (before.unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX));
    let mut statement = connection.prepare_cached(chain.map_or(AUDIT_LIST, |_| AUDIT_LIST_TENANT))?;
    let mut rows = match chain {
        Some(chain) => statement.query(params![before, limit, chain])?,
        None => statement.query(params![before, limit])?,
    };
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(record(row)?);
    }
    Ok(found)
}

pub(crate) fn chain(
    connection: &Connection,
    chain: Option<&str>,
    after: &(String, i64),
) -> Result<AuditChain, Failure> {
    let most = i64::try_from(AUDIT_PAGE).unwrap_or(i64::MAX);
    let heads = connection
        .prepare_cached(AUDIT_ENDS)?
        .query_map([chain], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let mut statement = connection.prepare_cached(AUDIT_CHAIN)?;
    let mut rows = statement.query(params![after.0, after.1, most, chain])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(record(row)?);
    }
    Ok(AuditChain { rows: found, heads })
}

fn record(row: &Row<'_>) -> Result<AuditRecord, Failure> {
    let chain: String = row.get(5)?;
    Ok(AuditRecord {
        id: row.get(0)?,
        at: timestamp(row.get(1)?)?,
        actor: row.get(2)?,
        role: row.get(3)?,
        action: row.get(4)?,
        tenant: Some(chain.clone()).filter(|chain| !chain.is_empty()),
        chain,
        place: None,
        object: row.get(6)?,
        reason: row.get(7)?,
        detail: row.get(8)?,
        login: None,
        position: row.get(9)?,
        seal: row.get(10)?,
    })
}
