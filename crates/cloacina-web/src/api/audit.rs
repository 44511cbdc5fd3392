//! The audit: who did what by name.

use cloacina::audit::{AuditRecord, AuditVerdict};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::input::{Asked, limit_of};
use super::model::Page;
use crate::Problem;
use crate::permit::{Administer, Manage, Permit};
use crate::routes::{Doc, Routes};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/audit",
            list_all,
            Doc::new("listAudit", "List what was done by name, the newest first")
                .query::<AuditAsked>()
                .answers_page::<AuditView>("A part of the list"),
        )
        .get(
            "/v1/audit/verify",
            verify_all,
            Doc::new("verifyAudit", "Say whether the audit is as it was written")
                .answers::<VerdictView>("200", "What was found"),
        )
        .get(
            "/v1/tenants/{tenant}/audit",
            list,
            Doc::new("listTenantAudit", "List what was done in a tenant by name, the newest first")
                .query::<AuditAsked>()
                .answers_page::<AuditView>("A part of the list"),
        )
        .get(
            "/v1/tenants/{tenant}/audit/verify",
            verify,
            Doc::new("verifyTenantAudit", "Say whether the audit of a tenant is as it was written")
                .answers::<VerdictView>("200", "What was found"),
        )
}

/// Which part of the audit.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditAsked {
    /// Behind this one: the `next` of the part before.
    after: Option<i64>,
    /// At most so many: 100 if nothing is said, 1,000 at most.
    limit: Option<usize>,
}

/// Something that was done.
#[derive(Serialize, ToSchema)]
struct AuditView {
    /// Its number.
    id: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Who.
    actor: String,
    /// In which role.
    role: Option<String>,
    /// What.
    action: String,
    /// The tenant that it is about.
    tenant: Option<String>,
    /// To what: an execution, a schedule, a key.
    object: Option<String>,
    /// Why.
    reason: Option<String>,
    /// More about it.
    #[schema(value_type = Option<Object>)]
    detail: Option<Value>,
}

impl From<AuditRecord> for AuditView {
    fn from(record: AuditRecord) -> Self {
        // What older rows say of themselves is text.
        let detail = record.detail.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
        Self {
            id: record.id,
            at: record.at,
            actor: record.actor,
            role: record.role,
            action: record.action,
            tenant: record.tenant,
            object: record.object,
            reason: record.reason,
            detail,
        }
    }
}

/// Whether the audit is as it was written.
#[derive(Serialize, ToSchema)]
struct VerdictView {
    /// How many rows are sealed and as they were.
    rows: u64,
    /// The seal of the last of them: whoever notes it elsewhere finds a later change of all that was before.
    head: Option<String>,
    /// The number of the first row that was changed or slipped in, or before which one is missing.
    broken_at: Option<i64>,
}

impl From<AuditVerdict> for VerdictView {
    fn from(verdict: AuditVerdict) -> Self {
        Self { rows: verdict.rows, head: verdict.head, broken_at: verdict.broken_at }
    }
}

fn page(rows: Vec<AuditRecord>, limit: usize) -> axum::Json<Page<AuditView>> {
    let items = rows.into_iter().map(AuditView::from).collect();
    axum::Json(Page::of(items, limit, |row: &AuditView| row.id.to_string()))
}

async fn list_all(
    permit: Permit<Administer>,
    Asked(asked): Asked<AuditAsked>,
) -> Result<axum::Json<Page<AuditView>>, Problem> {
    let limit = limit_of(asked.limit)?;
    Ok(page(permit.engine().audit(asked.after, limit).await?, limit))
}

async fn list(
    permit: Permit<Manage>,
    Asked(asked): Asked<AuditAsked>,
) -> Result<axum::Json<Page<AuditView>>, Problem> {
    let limit = limit_of(asked.limit)?;
    Ok(page(permit.runner().await?.audit(asked.after, limit).await?, limit))
}

async fn verify_all(permit: Permit<Administer>) -> Result<axum::Json<VerdictView>, Problem> {
    Ok(axum::Json(permit.engine().audit_verify().await?.into()))
}

async fn verify(permit: Permit<Manage>) -> Result<axum::Json<VerdictView>, Problem> {
    Ok(axum::Json(permit.runner().await?.audit_verify().await?.into()))
}
