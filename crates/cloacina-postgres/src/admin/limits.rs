//! What a tenant may use at most.

use cloacina_core::store::TenantLimits;

use super::{Admin, DatabaseAdmin, Result};
use crate::flight::Step;
use crate::limits::{self, Checked, milliseconds};
use crate::role::quoted;

impl DatabaseAdmin {
    /// Sets all limits of a tenant; what is `None` has no limit of its own. In force within a second.
    ///
    /// The limits on its login (connections, statements, transactions) count for sessions that begin
    /// afterwards, and for all of them where [`reap_sessions`](Self::reap_sessions) is called. Without them
    /// they are 20 connections, 60 s and 300 s.
    ///
    /// # Errors
    ///
    /// [`Configuration`](super::AdminErrorKind::Configuration) for a limit of 0,
    /// [`NotFound`](super::AdminErrorKind::NotFound), [`Privileges`](super::AdminErrorKind::Privileges),
    /// [`Unavailable`](super::AdminErrorKind::Unavailable).
    pub async fn set_limits(&self, schema_name: &str, limits: TenantLimits) -> Result<()> {
        let checked = Checked::of(&limits)?;
        let schema = schema_name.to_owned();
        let detail = format!("{limits:?}");
        self.run(async move |admin| admin.set_limits(&schema, &checked, detail).await).await
    }
}

impl Admin {
    async fn set_limits(&self, schema: &str, checked: &Checked, detail: String) -> Result<()> {
        let (mut side, tenant) = self.lock(schema).await?;
        tenant.must_be(&["active", "suspended"])?;
        if let Some(home) = self.home_of(&tenant)? {
            Box::pin(home.set_limits(&tenant.schema, checked, detail.clone())).await?;
        }
        self.finish(&mut side, &[]).await?;
        drop(side);
        let roles = tenant.roles();
        self.insist(&roles, || Box::pin(self.set_limits_once(schema, checked, detail.clone()))).await
    }

    async fn set_limits_once(&self, schema: &str, checked: &Checked, detail: String) -> Result<()> {
        let (mut side, tenant) = self.lock(schema).await?;
        tenant.must_be(&["active", "suspended"])?;
        let mut steps = vec![
            checked.step(tenant.tenant),
            self.audit("set_limits", tenant.tenant, &tenant.schema, Some(detail)),
        ];
        tenant.group()?;
        let database = quoted(self.address().database());
        let connections = checked.connections.unwrap_or(limits::CONNECTIONS.cast_signed());
        let statement = checked.statement.unwrap_or(milliseconds(limits::STATEMENT_TIMEOUT));
        let transaction = checked.transaction.unwrap_or(milliseconds(limits::TRANSACTION_TIMEOUT));
        let mut text = "SET LOCAL ROLE NONE;".to_owned();
        for login in &tenant.logins {
            let login = quoted(login);
            text.push_str(&format!(
                " ALTER ROLE {login} CONNECTION LIMIT {connections}; \
                 ALTER ROLE {login} IN DATABASE {database} SET statement_timeout = {statement}; \
                 ALTER ROLE {login} IN DATABASE {database} SET idle_in_transaction_session_timeout = {transaction};"
            ));
        }
        steps.push(Step::Batch(text));
        self.finish(&mut side, &steps).await?;
        drop(side);
        self.hint().await;
        Ok(())
    }
}
