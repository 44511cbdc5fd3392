//! The audit, in the schema `cloacina`.

use std::collections::HashMap;
use std::sync::Arc;

use cloacina_core::store::{
    AUDIT_PAGE, AuditChain, AuditList, AuditOf, AuditRecord, NewAudit, Place, Result, Seal, StoreError,
    StoreErrorKind,
};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::error::Failure;
use crate::flight::{Scope, Step, params};
use crate::inner::Inner;
use crate::migrate;
use crate::row::{column, readable};
use crate::statement::{self as sql, Login};

/// Where the rows are, for messages.
const CONTROL: &str = "cloacina";

/// Notes what somebody does in a place, in its transaction.
pub(crate) fn note<'a>(place: &Place, audit: &NewAudit, now: Option<Timestamp>) -> Step<'a> {
    noted(Some(place.tenant.0), Some(place.schema.clone()), audit, now)
}

/// Notes what somebody does about a tenant, or about none.
pub(crate) fn noted<'a>(
    tenant: Option<Uuid>,
    schema: Option<String>,
    audit: &NewAudit,
    now: Option<Timestamp>,
) -> Step<'a> {
    let NewAudit { actor, action, object, detail } = audit;
    Step::Run(
        sql::AUDIT_NOTE,
        params![
            tenant,
            schema,
            *action,
            actor.name.clone(),
            actor.role.clone(),
            object.clone(),
            actor.reason.clone(),
            detail.clone(),
            now,
        ],
    )
}

pub(crate) async fn note_alone(
    inner: Arc<Inner>,
    place: Place,
    audit: NewAudit,
    now: Option<Timestamp>,
) -> Result<()> {
    inner.in_control(&[note(&place, &audit, now)]).await.map(drop)
}

fn parts(of: &AuditOf) -> (Option<Uuid>, Option<&str>) {
    match of {
        AuditOf::All => (None, None),
        AuditOf::Named(name) => (None, Some(name)),
        AuditOf::Tenant(tenant) => (Some(tenant.0), None),
    }
}

pub(crate) async fn list(inner: Arc<Inner>, list: AuditList) -> Result<Vec<AuditRecord>> {
    let (tenant, name) = parts(&list.of);
    let limit = i64::try_from(list.limit).unwrap_or(i64::MAX);
    let parameters = params![tenant, name, list.before.unwrap_or(i64::MAX), limit];
    let rows = inner.in_control(&[Step::Run(sql::AUDIT_ROWS, parameters)]).await?;
    Ok(readable(&rows[0], CONTROL, record))
}

/// Seals what is committed, page by page, under the lock on the chains. Tenants' logins leave that to the
/// operator.
pub(crate) async fn seal(inner: Arc<Inner>) -> Result<()> {
    if inner.pool.login == Login::Tenant {
        return Ok(());
    }
    migrate::control(&inner).await?;
    let most = i64::try_from(AUDIT_PAGE).unwrap_or(i64::MAX);
    let look = Step::Run(sql::AUDIT_UNSEALED, params![1_i64]);
    if inner.in_control(&[look]).await?[0].is_empty() {
        return Ok(());
    }
    loop {
        let mut side = inner.pool.side().await?;
        let begin = [
            Step::Batch("LOCK TABLE cloacina.audit_chain IN SHARE ROW EXCLUSIVE MODE".to_owned()),
            Step::Run(sql::AUDIT_UNSEALED, params![most]),
        ];
        let found = side.begin(Scope::Control, &begin).await.map_err(Failure::in_control)?.remove(1);
        let mut ends: HashMap<Uuid, (i64, Seal)> = HashMap::new();
        let (mut ids, mut positions, mut seals) = (Vec::new(), Vec::new(), Vec::new());
        for row in &found {
            let row = record(row)?;
            let chain = chain_of(&row.chain);
            let end = ends.get(&chain).copied().or_else(|| row.position.zip(row.seal));
            let position = end.map_or(0, |(position, _)| position) + 1;
            let seal = row.seal_after(end.as_ref().map(|(_, seal)| seal));
            ends.insert(chain, (position, seal));
            ids.push(row.id);
            positions.push(position);
            seals.push(seal.to_vec());
        }
        let mut chains: Vec<(Uuid, (i64, Seal))> = ends.into_iter().collect();
        chains.sort_unstable_by_key(|(chain, _)| *chain);
        let steps = [
            Step::Run(sql::AUDIT_SEAL, params![ids, positions, seals]),
            Step::Run(
                sql::AUDIT_END,
                params![
                    chains.iter().map(|(chain, _)| *chain).collect::<Vec<_>>(),
                    chains.iter().map(|(_, (position, _))| *position).collect::<Vec<_>>(),
                    chains.iter().map(|(_, (_, seal))| seal.to_vec()).collect::<Vec<_>>(),
                ],
            ),
        ];
        side.finish(&steps).await.map_err(Failure::in_control)?;
        if found.len() < AUDIT_PAGE {
            return Ok(());
        }
    }
}

pub(crate) async fn chain(inner: Arc<Inner>, of: AuditOf, after: (String, i64)) -> Result<AuditChain> {
    if inner.pool.login == Login::Tenant {
        let message = format!(
            "the login `{}` belongs to a tenant, and the audit is verified by the operator: use a login that serves all tenants",
            inner.pool.address.user()
        );
        return Err(StoreError::new(StoreErrorKind::Configuration, message));
    }
    let (tenant, name) = parts(&of);
    let most = i64::try_from(AUDIT_PAGE).unwrap_or(i64::MAX);
    let (chain, position) = (chain_of(&after.0), after.1);
    let steps = [
        Step::Run(sql::AUDIT_ENDS, params![tenant, name]),
        Step::Run(sql::AUDIT_CHAIN, params![tenant, name, chain, position, most]),
    ];
    let rows = inner.in_control(&steps).await?;
    let heads = rows[0].iter().map(|row| {
        let chain: Uuid = column(row, "tenant_id", CONTROL)?;
        let name = if chain.is_nil() { String::new() } else { chain.to_string() };
        Ok((name, column(row, "position", CONTROL)?, seal_of(row)?.unwrap_or_default()))
    });
    Ok(AuditChain {
        heads: heads.collect::<Result<_>>()?,
        rows: rows[1].iter().map(record).collect::<Result<_>>()?,
    })
}

fn chain_of(chain: &str) -> Uuid {
    Uuid::try_parse(chain).unwrap_or_default()
}

fn seal_of(row: &Row) -> Result<Option<Seal>> {
    let seal: Option<&[u8]> = column(row, "seal", CONTROL)?;
    Ok(seal.and_then(|seal| seal.try_into().ok()))
}

fn record(row: &Row) -> Result<AuditRecord> {
    Ok(AuditRecord {
        id: column(row, "id", CONTROL)?,
        at: column(row, "at", CONTROL)?,
        actor: column(row, "actor", CONTROL)?,
        role: column(row, "role", CONTROL)?,
        action: column(row, "action", CONTROL)?,
        tenant: column(row, "tenant", CONTROL)?,
        chain: column(row, "chain", CONTROL)?,
        place: column(row, "schema_name", CONTROL)?,
        object: column(row, "object", CONTROL)?,
        reason: column(row, "reason", CONTROL)?,
        detail: column(row, "detail", CONTROL)?,
        login: column(row, "login", CONTROL)?,
        position: column(row, "position", CONTROL)?,
        seal: seal_of(row)?,
    })
}
