//! Tenants that may not work for a while.

use uuid::Uuid;

use super::{Admin, AdminError, AdminErrorKind, DatabaseAdmin, Registered, Result, role_list};
use crate::flight::{Step, params};
use crate::role::quoted;
use crate::statement as sql;

impl DatabaseAdmin {
    /// Stops a tenant: within a second no process starts anything for it, and its own sessions are ended and
    /// cannot come back. What is recorded stays. Suspending a suspended tenant is Ok.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::NotFound`], [`AdminErrorKind::Busy`] if its sessions do not end,
    /// [`AdminErrorKind::Remains`] with the statements to run if it has prepared transactions that only a
    /// superuser may end; it is suspended all the same. [`AdminErrorKind::Privileges`],
    /// [`AdminErrorKind::Unavailable`].
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
        let group = tenant.group()?;
        // The state first: from its commit on nobody starts anything, whatever the tenant holds on to.
        let steps = [
            Step::Run(sql::TENANT_STATE, params![Uuid::from(tenant.tenant), vec!["active"], "suspended"]),
            self.audit("suspend", tenant.tenant, &tenant.schema, None),
        ];
        self.finish(&mut side, &steps).await?;
        drop(side);
        self.hint().await;
        if group.is_none() { Ok(()) } else { self.close(schema, &tenant, "suspended").await }
    }

    /// Closes the schema and the logins of a tenant as long as it is in this state, and ends what they have
    /// open. Each of it is done also where another could not be.
    pub(super) async fn close(&self, schema: &str, tenant: &Registered, state: &str) -> Result<()> {
        let (roles, mut done) = (tenant.roles(), Vec::new());
        let logins = login_attribute(&tenant.logins, "NOLOGIN");
        // There is none where a removal has come further before.
        let usage = format!(
            "DO $$ BEGIN IF to_regnamespace('{0}') IS NOT NULL THEN REVOKE USAGE ON SCHEMA {0} FROM {1}; END IF; END $$",
            quoted(&tenant.schema),
            role_list(tenant.group.as_slice())
        );
        for change in [&usage, &logins] {
            done.push(self.insist(&roles, || Box::pin(self.while_in(schema, state, change))).await);
        }
        done.push(self.end_sessions(&tenant.logins).await);
        done.push(self.end_prepared(&roles).await);
        done.into_iter().collect()
    }

    /// Changes the rights of a tenant, unless its state was changed in between.
    async fn while_in(&self, schema: &str, state: &str, change: &str) -> Result<()> {
        let (mut side, tenant) = self.lock(schema).await?;
        let change = (tenant.state == state).then(|| Step::Batch(change.to_owned()));
        self.finish(&mut side, &Vec::from_iter(change)).await.map(drop)
    }

    async fn resume(&self, schema: &str) -> Result<()> {
        let (mut side, tenant) = self.lock(schema).await?;
        tenant.must_be(&["active", "suspended"])?;
        if let Some(home) = self.home_of(&tenant)? {
            Box::pin(home.resume(&tenant.schema)).await?;
        }
        self.finish(&mut side, &[]).await?;
        drop(side);
        let roles = tenant.roles();
        self.insist(&roles, || Box::pin(self.resume_once(schema))).await
    }

    async fn resume_once(&self, schema: &str) -> Result<()> {
        let (mut side, tenant) = self.lock(schema).await?;
        tenant.must_be(&["active", "suspended"])?;
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
