//! The doctor: what a tenant has and may do, and what of that must not be.

use uuid::Uuid;

use super::{AdminError, AdminErrorKind, DatabaseAdmin, Result};
use crate::flight::{Step, params};
use crate::statement as sql;

/// Everything of a tenant that the catalogs know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TenantReport {
    /// Its schema, its tables and indexes, its roles.
    pub objects: Vec<String>,
    /// Who may do what in its schema.
    pub privileges: Vec<String>,
    /// Which roles are in which.
    pub memberships: Vec<String>,
    /// The settings that its logins begin a session with.
    pub defaults: Vec<String>,
    /// What reaches outside the tenant's place, or into it from outside. Empty for a tenant that is as it was
    /// made.
    pub findings: Vec<String>,
}

impl DatabaseAdmin {
    /// Lists every object, privilege, membership and default of a tenant, and says what reaches outside.
    /// Reads catalogs only.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::NotFound`], [`AdminErrorKind::Privileges`], [`AdminErrorKind::Unavailable`].
    pub async fn inspect_tenant(&self, schema_name: &str) -> Result<TenantReport> {
        let schema = schema_name.to_owned();
        self.run(async move |admin| {
            let (mut side, tenant) = admin.lock(&schema).await?;
            if tenant.state == "removed" {
                let message = format!("the tenant in schema `{schema}` was removed");
                return Err(AdminError::new(AdminErrorKind::NotFound, message));
            }
            if !tenant.placement.is_schema() {
                let message = format!(
                    "tenant `{schema}` has no schema and no roles in this database that could be looked at"
                );
                return Err(AdminError::new(AdminErrorKind::Configuration, message));
            }
            let verify = Step::Run(sql::TENANT_VERIFY, params![Uuid::from(tenant.tenant)]);
            let rows = admin.finish(&mut side, &[verify]).await?;
            let mut report = TenantReport::default();
            for row in &rows[0] {
                let what: String = row.get("what");
                match row.get("kind") {
                    "object" => report.objects.push(what),
                    "privilege" => report.privileges.push(what),
                    "membership" => report.memberships.push(what),
                    "default" => report.defaults.push(what),
                    _ => report.findings.push(what),
                }
            }
            Ok(report)
        })
        .await
    }

    /// As [`inspect_tenant`](Self::inspect_tenant), and fails on any finding.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::NotIsolated`] with all findings, and those of
    /// [`inspect_tenant`](Self::inspect_tenant).
    pub async fn verify_tenant(&self, schema_name: &str) -> Result<TenantReport> {
        let report = self.inspect_tenant(schema_name).await?;
        if report.findings.is_empty() {
            return Ok(report);
        }
        let message =
            format!("the tenant in schema `{schema_name}` is not isolated: {}", report.findings.join("; "));
        Err(AdminError::new(AdminErrorKind::NotIsolated, message))
    }
}
