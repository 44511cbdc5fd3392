//! Keys: in a file of its own, or in the registry of a directory for all of its files.

use cloacina_core::store::{KeyHash, KeyId, KeyList, KeyRecord, KeyRefusal, NewAudit, NewKey};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::audit;
use crate::error::Failure;
use crate::row::{optional_timestamp, timestamp};

const KEY_INSERT: &str = include_str!("../sql/key_insert.sql");
const KEY_SAME: &str = include_str!("../sql/key_same.sql");
const KEY_PARENT: &str = include_str!("../sql/key_parent.sql");
const KEY_FIND: &str = include_str!("../sql/key_find.sql");
const KEY_LIST: &str = include_str!("../sql/key_list.sql");
const KEY_LIST_TENANT: &str = include_str!("../sql/key_list_tenant.sql");
const KEY_WHOSE: &str = include_str!("../sql/key_whose.sql");
const KEY_DELETE: &str = include_str!("../sql/key_delete.sql");
const KEY_FORGET: &str = include_str!("../sql/key_forget.sql");
const KEY_USED: &str = include_str!("../sql/key_used.sql");
const KEY_PRUNE: &str = include_str!("../sql/key_prune.sql");

/// Keeps a key for a tenant that is there.
pub(crate) fn insert(
    connection: &Connection,
    key: &NewKey,
    audit: Option<(&str, &NewAudit)>,
    now: i64,
) -> Result<Result<Timestamp, KeyRefusal>, Failure> {
    if let Some(parent) = key.parent {
        let good: bool = connection
            .prepare_cached(KEY_PARENT)?
            .query_row(params![parent.as_str(), now, key.tenant], |row| row.get(0))?;
        if !good {
            return Ok(Err(KeyRefusal::NoParent));
        }
    }
    let inserted = connection.prepare_cached(KEY_INSERT)?.execute(params![
        key.id.as_str(),
        key.hash.0,
        key.parent.as_ref().map(KeyId::as_str),
        key.tenant,
        key.role,
        key.payloads,
        key.name,
        now,
        key.created_by,
        key.expires_at.map(Timestamp::as_microsecond),
    ])?;
    if inserted > 0 {
        // Of sessions nothing is noted.
        if let Some((chain, audit)) = audit.filter(|_| key.parent.is_none()) {
            audit::note(connection, chain, audit, now)?;
        }
        return timestamp(now).map(Ok);
    }
    let same: Option<i64> = connection
        .prepare_cached(KEY_SAME)?
        .query_row(params![key.id.as_str(), key.hash.0], |row| row.get(0))
        .optional()?;
    Ok(match same {
        Some(created_at) => Ok(timestamp(created_at)?),
        None => Err(KeyRefusal::Taken),
    })
}

pub(crate) fn find(connection: &Connection, id: KeyId, now: i64) -> Result<Option<KeyRecord>, Failure> {
    let mut statement = connection.prepare_cached(KEY_FIND)?;
    let mut rows = statement.query(params![id.as_str(), now])?;
    rows.next()?.map(record).transpose()
}

pub(crate) fn list(connection: &Connection, list: &KeyList) -> Result<Vec<KeyRecord>, Failure> {
    let after = list.after.as_ref().map_or("", KeyId::as_str);
    let limit = i64::try_from(list.limit).unwrap_or(i64::MAX);
    let mut statement =
        connection.prepare_cached(if list.tenant.is_some() { KEY_LIST_TENANT } else { KEY_LIST })?;
    let mut rows = match &list.tenant {
        Some(tenant) => statement.query(params![after, limit, tenant])?,
        None => statement.query(params![after, limit])?,
    };
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        keys.push(record(row)?);
    }
    Ok(keys)
}

/// Deletes a key. `chain` says in which chain it is noted, by the tenant whose it is.
pub(crate) fn delete(
    connection: &Connection,
    id: KeyId,
    audit: Option<&NewAudit>,
    chain: impl Fn(&str) -> String,
    now: i64,
) -> Result<bool, Failure> {
    if let Some(audit) = audit {
        let tenant: Option<Option<String>> =
            connection.prepare_cached(KEY_WHOSE)?.query_row([id.as_str()], |row| row.get(0)).optional()?;
        if let Some(tenant) = tenant {
            audit::note(connection, &chain(tenant.as_deref().unwrap_or_default()), audit, now)?;
        }
    }
    Ok(connection.prepare_cached(KEY_DELETE)?.execute([id.as_str()])? > 0)
}

/// Deletes the keys of a tenant that is gone.
pub(crate) fn forget(connection: &Connection, tenant: &str) -> Result<(), Failure> {
    connection.prepare_cached(KEY_FORGET)?.execute([tenant])?;
    Ok(())
}

pub(crate) fn used(connection: &Connection, ids: &[KeyId], now: i64) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached(KEY_USED)?;
    for id in ids {
        statement.execute(params![id.as_str(), now])?;
    }
    Ok(())
}

pub(crate) fn prune(connection: &Connection, now: i64) -> Result<u64, Failure> {
    let pruned = connection.prepare_cached(KEY_PRUNE)?.execute([now])?;
    Ok(u64::try_from(pruned).unwrap_or(u64::MAX))
}

fn record(row: &Row<'_>) -> Result<KeyRecord, Failure> {
    let id = |text: String| text.parse::<KeyId>().map_err(|error| Failure::damaged(error.to_string()));
    Ok(KeyRecord {
        id: id(row.get(0)?)?,
        hash: KeyHash(row.get(1)?),
        parent: row.get::<_, Option<String>>(2)?.map(id).transpose()?,
        tenant: row.get(3)?,
        role: row.get(4)?,
        payloads: row.get(5)?,
        name: row.get(6)?,
        created_at: timestamp(row.get(7)?)?,
        created_by: row.get(8)?,
        expires_at: optional_timestamp(row.get(9)?)?,
        last_used_at: optional_timestamp(row.get(10)?)?,
    })
}
