//! What there is, and what was done.

use std::time::Duration;

use cloacina_core::id::TenantId;
use cloacina_core::store::{Placement, TenantLimits, TenantState};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{AdminError, AdminErrorKind, DatabaseAdmin, Result};
use crate::flight::{Step, params};
use crate::statement as sql;
use crate::tenant::{self, NamedTenant};

/// How many tenants are measured in one transaction, as long as none of them is in the way.
const MEASURED_TOGETHER: usize = 100;

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
    /// The size of its tables with their indexes, at the last sweep. See
    /// [`measure_tenants`](DatabaseAdmin::measure_tenants).
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

    /// Sweeps over the statistics of all tenants' tables for their sizes and for who was active; reads no row
    /// of a tenant. Returns how many tenants it measured: of one that has locked its tables the figures stay
    /// as they are, and a warning says so. The tenant manager does so once an hour.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::Privileges`], [`AdminErrorKind::Unavailable`].
    pub async fn measure_tenants(&self) -> Result<usize> {
        self.run(async |admin| {
            admin.ensure().await?;
            admin.measure().await
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
    async fn measure(&self) -> Result<usize> {
        let all = tenant::named(&self.inner, None).await?;
        let all: Vec<NamedTenant> = all.into_iter().filter(|found| found.placement.is_schema()).collect();
        let mut measured = 0;
        for some in all.chunks(MEASURED_TOGETHER) {
            match self.measure_these(some).await {
                Ok(count) => measured += count,
                Err(error) if error.kind() == AdminErrorKind::Busy => {
                    for one in some {
                        match self.measure_these(std::slice::from_ref(one)).await {
                            Ok(count) => measured += count,
                            Err(error) if error.kind() == AdminErrorKind::Busy => tracing::warn!(
                                database = self.inner.label(), tenant = one.name, %error,
                                "a tenant was not measured, because its tables are locked"
                            ),
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(measured)
    }

    /// Nobody waits long for a tenant that has locked its tables.
    async fn measure_these(&self, tenants: &[NamedTenant]) -> Result<usize> {
        let ids: Vec<Uuid> = tenants.iter().map(|tenant| tenant.tenant.into()).collect();
        let steps = vec![
            Step::Batch("SET LOCAL lock_timeout = '50ms'".to_owned()),
            Step::Run(sql::TENANT_MEASURE, params![ids]),
        ];
        Ok(self.as_owner(steps).await?[1].len())
    }

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
    limits.max_waiting = number("max_waiting");
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
