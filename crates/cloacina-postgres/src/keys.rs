//! Keys, and the schedules that all tenants have, in the schema `cloacina`. They are the operator's to keep:
//! a tenant's login cannot even see them.

use std::sync::Arc;

use cloacina_core::store::{
    KeyHash, KeyId, KeyList, KeyRecord, KeyRefusal, NewAudit, NewKey, Result, Rollout, ScheduleTemplates,
    StoreError, StoreErrorKind,
};
use jiff::Timestamp;
use tokio_postgres::Row;

use crate::audit;
use crate::error::Failure;
use crate::flight::{Param, Scope, Step, params};
use crate::inner::Inner;
use crate::migrate;
use crate::row::column;
use crate::statement::{self as sql, Login, Statement};

/// Where the rows are, for messages.
const CONTROL: &str = "cloacina";

/// Runs one statement on the table of keys.
async fn run(inner: &Inner, statement: &'static Statement, parameters: Vec<Param<'_>>) -> Result<Vec<Row>> {
    check_login(inner)?;
    migrate::control(inner).await?;
    Ok(inner.in_control(&[Step::Run(statement, parameters)]).await?.remove(0))
}

fn check_login(inner: &Inner) -> Result<()> {
    if inner.pool.login == Login::Tenant {
        let message = format!(
            "the login `{}` belongs to a tenant, and this is kept for the operator: use a login that serves all tenants",
            inner.pool.address.user()
        );
        return Err(StoreError::new(StoreErrorKind::Configuration, message));
    }
    Ok(())
}

/// Changes keys, and notes it about the tenant of the first row for which that is asked.
async fn noted(
    inner: &Inner,
    step: Step<'_>,
    audit: Option<NewAudit>,
    now: Option<Timestamp>,
    is_meant: impl Fn(&Row) -> bool,
) -> Result<Vec<Row>> {
    check_login(inner)?;
    migrate::control(inner).await?;
    let Some(audit) = audit else { return Ok(inner.in_control(&[step]).await?.remove(0)) };
    let mut side = inner.pool.side().await?;
    let rows = side.begin(Scope::Control, &[step]).await.map_err(Failure::in_control)?.remove(0);
    let whose = match rows.iter().find(|row| is_meant(row)) {
        Some(row) => Some(column::<Option<uuid::Uuid>>(row, "tenant_id", CONTROL)?),
        None => None,
    };
    let note = whose.map(|tenant| audit::noted(tenant, None, &audit, now));
    side.finish(&Vec::from_iter(note)).await.map_err(Failure::in_control)?;
    Ok(rows)
}

pub(crate) async fn template_put(
    inner: Arc<Inner>,
    templates: ScheduleTemplates,
    audit: Option<NewAudit>,
    now: Option<Timestamp>,
) -> Result<()> {
    let parameters = params![templates.origin, templates.schedules, now];
    noted(&inner, Step::Run(sql::TEMPLATE_PUT, parameters), audit, now, |_| true).await.map(drop)
}

pub(crate) async fn template_list(inner: Arc<Inner>) -> Result<Vec<ScheduleTemplates>> {
    let rows = run(&inner, sql::TEMPLATE_LIST, Vec::new()).await?;
    let templates = |row| {
        Ok(ScheduleTemplates {
            origin: column(row, "origin", CONTROL)?,
            schedules: column(row, "schedules", CONTROL)?,
        })
    };
    rows.iter().map(templates).collect()
}

pub(crate) async fn rollout_take(inner: Arc<Inner>, now: Option<Timestamp>) -> Result<Rollout> {
    let rows = run(&inner, sql::ROLLOUT_TAKE, params![now]).await?;
    let (mut versions, mut first) = (Vec::new(), None::<String>);
    for row in &rows {
        let rolled_out: Option<String> = column(row, "rolled_out", CONTROL)?;
        let Some(origin) = column::<Option<String>>(row, "origin", CONTROL)? else {
            return Ok(if rolled_out.is_some() { Rollout::Elsewhere } else { Rollout::Done });
        };
        versions.push((origin, column(row, "version", CONTROL)?));
        let rolled_out = rolled_out.unwrap_or_default();
        first = Some(first.map_or(rolled_out.clone(), |first| first.min(rolled_out)));
    }
    Ok(Rollout::Next { after: first.unwrap_or_default(), versions })
}

pub(crate) async fn rollout_note(
    inner: Arc<Inner>,
    versions: Vec<(String, i64)>,
    last: Option<String>,
    now: Option<Timestamp>,
) -> Result<()> {
    let (origins, versions): (Vec<String>, Vec<i64>) = versions.into_iter().unzip();
    run(&inner, sql::ROLLOUT_NOTE, params![origins, versions, last, now]).await.map(drop)
}

pub(crate) async fn insert(
    inner: Arc<Inner>,
    key: NewKey,
    audit: Option<NewAudit>,
    now: Option<Timestamp>,
) -> Result<Result<Timestamp, KeyRefusal>> {
    let parameters = params![
        key.id.as_str(),
        &key.hash.0[..],
        key.parent.map(|parent| parent.to_string()),
        key.tenant.as_deref(),
        key.role.as_str(),
        key.payloads,
        key.name.as_str(),
        key.created_by.as_str(),
        key.expires_at,
        now,
    ];
    // Of sessions nothing is noted.
    let audit = audit.filter(|_| key.parent.is_none());
    let rows = noted(&inner, Step::Run(sql::KEY_INSERT, parameters), audit, now, |row| {
        row.try_get::<_, bool>("is_new").unwrap_or(false)
    });
    let rows = rows.await?;
    let row = &rows[0];
    Ok(match column(row, "created_at", CONTROL)? {
        Some(created_at) => Ok(created_at),
        None if !column::<bool>(row, "tenant", CONTROL)? => Err(KeyRefusal::NoTenant),
        None if !column::<bool>(row, "parent", CONTROL)? => Err(KeyRefusal::NoParent),
        None => Err(KeyRefusal::Taken),
    })
}

pub(crate) async fn find(inner: Arc<Inner>, id: KeyId, now: Option<Timestamp>) -> Result<Option<KeyRecord>> {
    let rows = run(&inner, sql::KEY_FIND, params![id.as_str(), now]).await?;
    rows.first().map(record).transpose()
}

pub(crate) async fn list(inner: Arc<Inner>, list: KeyList) -> Result<Vec<KeyRecord>> {
    let after = list.after.as_ref().map_or("", KeyId::as_str);
    let limit = i64::try_from(list.limit).unwrap_or(i64::MAX);
    let rows = run(&inner, sql::KEY_LIST, params![list.tenant.as_deref(), after, limit]).await?;
    rows.iter().map(record).collect()
}

pub(crate) async fn delete(
    inner: Arc<Inner>,
    id: KeyId,
    audit: Option<NewAudit>,
    now: Option<Timestamp>,
) -> Result<bool> {
    let step = Step::Run(sql::KEY_DELETE, params![id.as_str()]);
    let is_key = |row: &Row| row.try_get::<_, bool>("is_key").unwrap_or(false);
    Ok(!noted(&inner, step, audit, now, is_key).await?.is_empty())
}

pub(crate) async fn used(inner: Arc<Inner>, ids: Vec<KeyId>, now: Option<Timestamp>) -> Result<()> {
    let ids: Vec<&str> = ids.iter().map(KeyId::as_str).collect();
    run(&inner, sql::KEY_USED, params![ids, now]).await.map(drop)
}

pub(crate) async fn prune(inner: Arc<Inner>, now: Option<Timestamp>) -> Result<u64> {
    let pruned = run(&inner, sql::KEY_PRUNE, params![now]).await?.len();
    Ok(u64::try_from(pruned).unwrap_or(u64::MAX))
}

fn record(row: &Row) -> Result<KeyRecord> {
    let damaged = |what: &str| {
        let message = format!("the {what} of a key in `{CONTROL}.api_key` cannot be understood");
        StoreError::new(StoreErrorKind::Data, message)
    };
    let id = |text: &str| text.parse::<KeyId>().map_err(|_| damaged("id"));
    let hash: &[u8] = column(row, "hash", CONTROL)?;
    Ok(KeyRecord {
        id: id(column(row, "id", CONTROL)?)?,
        hash: KeyHash(hash.try_into().map_err(|_| damaged("hash"))?),
        parent: column::<Option<&str>>(row, "parent", CONTROL)?.map(id).transpose()?,
        tenant: column(row, "tenant", CONTROL)?,
        role: column(row, "role", CONTROL)?,
        payloads: column(row, "payloads", CONTROL)?,
        name: column(row, "name", CONTROL)?,
        created_at: column(row, "created_at", CONTROL)?,
        created_by: column(row, "created_by", CONTROL)?,
        expires_at: column(row, "expires_at", CONTROL)?,
        last_used_at: column(row, "last_used_at", CONTROL)?,
    })
}
