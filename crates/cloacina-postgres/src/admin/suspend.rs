//! Tenants that may not work for a while.

use uuid::Uuid;

use super::{Admin, AdminError, AdminErrorKind, DatabaseAdmin, Registered, Result};
use crate::connect::{Step, params};
use crate::migrate::quoted;
use crate::statement as sql;

impl DatabaseAdmin {
    /// Stops a tenant: within a second no process starts anything for it, and its own sessions are ended and cannot come back. What is
    /// recorded stays. Suspending a suspended tenant is Ok.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::NotFound`], [`AdminErrorKind::Busy`] if its sessions do not end (it is suspended all the same),
    /// [`AdminErrorKind::Privileges`], [`AdminErrorKind::Unavailable`].
    pub async fn suspend(&self, schema_name: &str) -> Result<()> {
        let schema = schema_name.to_owned();
        self.run(async move |admin| admin.suspend(&schema).await).await
    }

    /// Lets a suspended tenant go on. Resuming an active tenant is Ok.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::NotFound`], [`AdminErrorKind::Privileges`], [`AdminErrorKind::Unavailable`].
    pub async fn resume(&self, schema_name: &str) -> Result<()> {
        let schema = schema_name.to_owned();
        self.run(async move |admin| admin.resume(&schema).await).await
    }
}

impl Admin {
    async fn suspend(&self, schema: &str) -> Result<()> {
        let (mut side, tenant) = self.lock(schema).await?;
        tenant.must_be(&["active", "suspended"])?;
        if let Some(home) = self.home_of(&tenant)? {
            Box::pin(home.suspend(&tenant.schema)).await?;
        }
        let mut steps = vec![
            Step::Run(sql::TENANT_STATE, params![Uuid::from(tenant.tenant), vec!["active"], "suspended"]),
            self.audit("suspend", tenant.tenant, &tenant.schema, None),
        ];
        if let Some(group) = tenant.group()? {
            let revoke = format!("REVOKE USAGE ON SCHEMA {} FROM {}", quoted(&tenant.schema), quoted(group));
            steps.push(Step::Batch(revoke));
            steps.push(Step::Batch(login_attribute(&tenant.logins, "NOLOGIN")));
        }
        self.finish(&mut side, &steps).await?;
        drop(side);
        self.hint().await;
        self.end_sessions(&tenant.logins).await
    }

    async fn resume(&self, schema: &str) -> Result<()> {
        let (mut side, tenant) = self.lock(schema).await?;
        tenant.must_be(&["active", "suspended"])?;
        if let Some(home) = self.home_of(&tenant)? {
            Box::pin(home.resume(&tenant.schema)).await?;
        }
        let mut steps = vec![
            Step::Run(sql::TENANT_STATE, params![Uuid::from(tenant.tenant), vec!["suspended"], "active"]),
            self.audit("resume", tenant.tenant, &tenant.schema, None),
        ];
        if let Some(group) = tenant.group()? {
            let grant = format!("GRANT USAGE ON SCHEMA {} TO {}", quoted(&tenant.schema), quoted(group));
            steps.push(Step::Batch(grant));
            // One that a rotation ended stays out.
            steps.push(Step::Batch(login_attribute(&tenant.current, "LOGIN")));
        }
        self.finish(&mut side, &steps).await?;
        drop(side);
        self.hint().await;
        Ok(())
    }
}

impl Registered {
    pub(super) fn must_be(&self, states: &[&str]) -> Result<()> {
        if states.contains(&self.state.as_str()) {
            return Ok(());
        }
        let kind = if self.state == "removed" { AdminErrorKind::NotFound } else { AdminErrorKind::Busy };
        let message = format!("the tenant in schema `{}` is {}", self.schema, self.state);
        Err(AdminError::new(kind, message))
    }
}

/// Changes whether logins can log in, as the administrator.
pub(super) fn login_attribute(logins: &[String], attribute: &str) -> String {
    let statements = logins.iter().map(|login| format!(" ALTER ROLE {} {attribute};", quoted(login)));
    format!("SET LOCAL ROLE NONE;{}", statements.collect::<String>())
}
