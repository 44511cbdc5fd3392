//! What there is, and what was done.

use std::time::Duration;

use cloacina_core::id::TenantId;
use cloacina_core::store::{Placement, TenantLimits, TenantState};
use jiff::Timestamp;
use tokio_postgres::Row;

use super::{AdminError, AdminErrorKind, DatabaseAdmin, Result};
use crate::connect::{Step, params};
use crate::statement as sql;
use crate::tenant;

/// A tenant as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantSummary {
    /// Its id.
    pub tenant: TenantId,
    /// What the operator calls it: as its schema, unless it was made with another name.
    pub name: String,
    /// Its schema.
    pub schema_name: String,
    /// Where its rows are. Only a schema's size is measured.
    pub placement: Placement,
    /// Its logins, the oldest first; empty if it has none of its own.
    pub logins: Vec<String>,
    /// Whether it may work.
    pub state: TenantState,
    /// What it may use.
    pub limits: TenantLimits,
    /// How many tenants of this name there have been, this one included.
    pub epoch: u32,
    /// The version of its tables.
    pub schema_version: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// The size of its tables with their indexes, at the last sweep. See [`measure_tenants`](DatabaseAdmin::measure_tenants).
    pub size_bytes: Option<u64>,
    /// The sweep that first saw the latest change in its tables.
    pub last_activity: Option<Timestamp>,
    /// When the last sweep was.
    pub measured_at: Option<Timestamp>,
}

/// Something that an administrator did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// The administrator's login.
    pub actor: String,
    /// What.
    pub action: String,
    /// With which tenant.
    pub schema_name: Option<String>,
    /// More about it. Never a password.
    pub detail: Option<String>,
}

impl DatabaseAdmin {
    /// The tenants of the database, by their schemas. Removed ones are left out.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::Privileges`], [`AdminErrorKind::Unavailable`].
    pub async fn list_tenants(&self) -> Result<Vec<TenantSummary>> {
        self.run(async |admin| {
            admin.ensure().await?;
            admin.tenants(Vec::new()).await
        })
        .await
    }

    /// Sweeps over the statistics of all tenants' tables for their sizes and for who was active; reads no row of a tenant. Returns how many
    /// tenants it saw. The tenant manager does so once an hour.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::Privileges`], [`AdminErrorKind::Unavailable`].
    pub async fn measure_tenants(&self) -> Result<usize> {
        self.run(async |admin| {
            admin.ensure().await?;
            let rows = admin.as_owner(vec![Step::Run(sql::TENANT_MEASURE, params![])]).await?;
            Ok(rows[0].len())
        })
        .await
    }

    /// The latest administrative actions, the newest first; at most `limit`.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::Privileges`], [`AdminErrorKind::Unavailable`].
    pub async fn audit(&self, limit: usize) -> Result<Vec<AuditEntry>> {
        self.run(async move |admin| {
            admin.ensure().await?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = admin.as_owner(vec![Step::Run(sql::AUDIT_LIST, params![i64::MAX, limit])]).await?;
            let entries = rows[0].iter().map(|row| AuditEntry {
                at: row.get("at"),
                actor: row.get("actor"),
                action: row.get("action"),
                schema_name: row.get("schema_name"),
                detail: row.get("detail"),
            });
            Ok(entries.collect())
        })
        .await
    }
}

impl super::Admin {
    /// The tenants in these schemas; in all of them if none is named.
    pub(super) async fn tenants(&self, schemas: Vec<String>) -> Result<Vec<TenantSummary>> {
        let rows = self.as_owner(vec![Step::Run(sql::TENANT_LIST, params![schemas])]).await?;
        rows[0].iter().map(summary).collect()
    }
}

fn summary(row: &Row) -> Result<TenantSummary> {
    let number = |column| row.get::<_, Option<i32>>(column).map(i32::cast_unsigned);
    let time = |column| row.get::<_, Option<i64>>(column).map(|ms| Duration::from_millis(ms.unsigned_abs()));
    let mut limits = TenantLimits::default();
    limits.max_concurrent_tasks = number("max_concurrent_tasks");
    limits.max_queue_length = number("max_queue_length");
    limits.max_context_bytes = number("max_context_bytes");
    limits.max_connections = number("max_connections");
    limits.statement_timeout = time("statement_timeout_ms");
    limits.transaction_timeout = time("transaction_timeout_ms");
    let state: &str = row.get("state");
    let logins: Vec<String> = row.get("logins");
    Ok(TenantSummary {
        tenant: TenantId(row.get("tenant_id")),
        name: row.get("name"),
        schema_name: row.get("schema_name"),
        placement: tenant::placement(row.get("placement"), !logins.is_empty())?,
        logins,
        state: state.parse().map_err(|error: String| AdminError::new(AdminErrorKind::Version, error))?,
        limits,
        epoch: row.get::<_, i32>("epoch").cast_unsigned(),
        schema_version: row.get::<_, i32>("schema_version").cast_unsigned(),
        created_at: row.get("created_at"),
        size_bytes: row.get::<_, Option<i64>>("size_bytes").map(i64::unsigned_abs),
        last_activity: row.get("last_activity_at"),
        measured_at: row.get("measured_at"),
    })
}
