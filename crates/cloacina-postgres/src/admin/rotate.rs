//! New credentials for a tenant, without a moment at which none work.
//!
//! A tenant has two logins, `<username>` and `<username>__2`, of which one is current. A rotation gives the
//! other one a new password and hands it out; the one before works until its grace is over, so that processes
//! can change over one after the other.

use std::sync::{Arc, Weak};
use std::time::Duration;

use uuid::Uuid;

use super::credentials::{password, verifier};
use super::suspend::login_attribute;
use super::{Admin, AdminError, AdminErrorKind, DatabaseAdmin, Result, TenantCredentials};
use crate::flight::{Step, params};
use crate::limits::milliseconds;
use crate::role::{OWNER, quoted};
use crate::schema::SchemaName;
use crate::statement as sql;

/// How long the credentials before are good for.
const GRACE: Duration = Duration::from_secs(3600);

impl DatabaseAdmin {
    /// Gives a tenant new credentials. The ones before work for another hour; then that login is closed and
    /// its sessions are ended.
    ///
    /// # Errors
    ///
    /// As [`rotate_credentials_within`](Self::rotate_credentials_within).
    pub async fn rotate_credentials(&self, schema_name: &str) -> Result<TenantCredentials> {
        self.rotate_credentials_within(schema_name, GRACE).await
    }

    /// Gives a tenant new credentials; the ones before work for `grace` more. With none they end before this
    /// returns.
    ///
    /// A second rotation within the grace of the first ends the oldest credentials at once, since a tenant
    /// has two logins. What ends the login when the grace is over is this process,
    /// [`reap_sessions`](Self::reap_sessions) of another administrator, or the server, which lets nobody in
    /// with it afterwards.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::NotFound`] if there is no such tenant or it has no login, [`AdminErrorKind::Busy`]
    /// if it is being removed, [`AdminErrorKind::Privileges`], [`AdminErrorKind::Unavailable`].
    pub async fn rotate_credentials_within(
        &self,
        schema_name: &str,
        grace: Duration,
    ) -> Result<TenantCredentials> {
        let schema = schema_name.to_owned();
        self.run(async move |admin| admin.rotate(&schema, grace).await).await
    }
}

impl Admin {
    async fn rotate(self: &Arc<Self>, schema: &str, grace: Duration) -> Result<TenantCredentials> {
        let roles = {
            let (mut side, tenant) = self.lock(schema).await?;
            self.finish(&mut side, &[]).await?;
            tenant.roles()
        };
        let (credentials, ended) = self.insist(&roles, || Box::pin(self.rotate_once(schema, grace))).await?;
        if let Some(ended) = ended {
            // Whoever is in with its password of before is out.
            self.end_sessions(&[ended]).await?;
        }
        if grace.is_zero() {
            self.end_overdue_logins().await?;
        } else {
            self.inner.runtime().spawn(end_later(Arc::downgrade(self), grace));
        }
        Ok(credentials)
    }

    /// The new credentials, and the login whose sessions are to be ended.
    async fn rotate_once(
        &self,
        schema: &str,
        grace: Duration,
    ) -> Result<(TenantCredentials, Option<String>)> {
        let (mut side, tenant) = self.lock(schema).await?;
        tenant.must_be(&["active", "suspended"])?;
        let (Some(group), Some(current)) = (tenant.group()?, tenant.current.first()) else {
            let message = format!("the tenant in schema `{schema}` has no login of its own");
            return Err(AdminError::new(AdminErrorKind::NotFound, message));
        };
        let name: SchemaName = tenant.schema.parse()?;
        let (first, second) = match current.strip_suffix("__2") {
            Some(first) => (first.to_owned(), current.clone()),
            None => (current.clone(), format!("{current}__2")),
        };
        let next = if *current == first { second } else { first };
        let is_there = tenant.logins.contains(&next);
        let password = password(String::new())?;
        let can_log_in = if tenant.state == "active" { "LOGIN" } else { "NOLOGIN" };
        let mut text = "SET LOCAL ROLE NONE;".to_owned();
        if is_there {
            text.push_str(&format!(
                " ALTER ROLE {} {can_log_in} PASSWORD '{}' VALID UNTIL 'infinity';",
                quoted(&next),
                verifier(&password)
            ));
        } else {
            text.push_str(&self.login_statements(&next, &verifier(&password), group, &name));
            text.push_str(&format!(" ALTER ROLE {} {can_log_in};", quoted(&next)));
        }
        text.push_str(&format!(
            " DO $$ BEGIN EXECUTE format('ALTER ROLE %I VALID UNTIL %L', '{current}', now() + {} * interval '1 millisecond'); END $$;",
            milliseconds(grace).min(milliseconds(Duration::from_secs(365 * 86_400)))
        ));
        let mut steps = vec![Step::Batch(text), Step::Batch(format!("SET LOCAL ROLE {OWNER}"))];
        if !is_there {
            steps.push(Step::Run(sql::LOGIN_INSERT, params![Uuid::from(tenant.tenant), next.as_str()]));
        }
        steps.push(Step::Run(
            sql::LOGIN_RENEW,
            params![Uuid::from(tenant.tenant), next.as_str(), milliseconds(grace)],
        ));
        steps.push(self.audit("rotate_credentials", tenant.tenant, &tenant.schema, Some(next.clone())));
        self.finish(&mut side, &steps).await?;
        drop(side);
        let credentials = self.credentials(&next, password, &tenant.schema);
        Ok((credentials, is_there.then(|| next.clone())))
    }

    /// Closes the logins whose grace is over.
    pub(super) async fn end_overdue_logins(&self) -> Result<()> {
        let rows = self.as_owner(vec![Step::Run(sql::LOGIN_OVERDUE, params![])]).await?;
        let logins: Vec<String> = rows[0].iter().map(|row| row.get("role_name")).collect();
        let mut done = Vec::new();
        for login in logins {
            let login = [login];
            let close = login_attribute(&login, "NOLOGIN");
            // One that holds on to its login keeps no other from being closed.
            let closed = self.insist(&login, || Box::pin(self.as_administrator(&close))).await;
            done.push(closed);
            done.push(self.end_sessions(&login).await);
        }
        done.into_iter().collect()
    }

    async fn as_administrator(&self, change: &str) -> Result<()> {
        self.as_owner(vec![Step::Batch(change.to_owned())]).await.map(drop)
    }
}

async fn end_later(admin: Weak<Admin>, grace: Duration) {
    tokio::time::sleep(grace + Duration::from_millis(100)).await;
    let Some(admin) = admin.upgrade() else { return };
    if let Err(error) = admin.end_overdue_logins().await {
        tracing::warn!(database = admin.inner.label(), %error, "credentials whose time is over still work; `reap_sessions` tries again");
    }
}
