//! What a tenant may use at most.

use std::time::Duration;

use cloacina_core::id::TenantId;
use cloacina_core::store::{StoreError, StoreErrorKind, TenantLimits};
use uuid::Uuid;

use super::{Admin, DatabaseAdmin, Result, create, milliseconds};
use crate::connect::{Step, params};
use crate::migrate::quoted;
use crate::statement as sql;

impl DatabaseAdmin {
    /// Sets all limits of a tenant; what is `None` has no limit of its own. In force within a second.
    ///
    /// The limits on its login (connections, statements, transactions) count for sessions that begin afterwards, and for all of them
    /// where [`reap_sessions`](Self::reap_sessions) is called. Without them they are 20 connections, 60 s and 300 s.
    ///
    /// # Errors
    ///
    /// [`Configuration`](super::AdminErrorKind::Configuration) for a limit of 0, [`NotFound`](super::AdminErrorKind::NotFound),
    /// [`Privileges`](super::AdminErrorKind::Privileges), [`Unavailable`](super::AdminErrorKind::Unavailable).
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
        let connections = checked.connections.unwrap_or(create::CONNECTIONS.cast_signed());
        let statement = checked.statement.unwrap_or(milliseconds(create::STATEMENT_TIMEOUT));
        let transaction = checked.transaction.unwrap_or(milliseconds(create::TRANSACTION_TIMEOUT));
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

/// Limits as the registry keeps them.
pub(crate) struct Checked {
    tasks: Option<i32>,
    queue: Option<i32>,
    context: Option<i32>,
    connections: Option<i32>,
    statement: Option<i64>,
    transaction: Option<i64>,
}

impl Checked {
    pub(crate) fn of(limits: &TenantLimits) -> Result<Self, StoreError> {
        let number = |name: &str, limit: Option<u32>| match limit {
            None => Ok(None),
            Some(limit) => match i32::try_from(limit) {
                Ok(limit) if limit > 0 => Ok(Some(limit)),
                _ => Err(refused(name)),
            },
        };
        let time = |name: &str, limit: Option<Duration>| match limit.map(milliseconds) {
            Some(limit) if !(1..=i64::from(i32::MAX)).contains(&limit) => Err(refused(name)),
            limit => Ok(limit),
        };
        Ok(Self {
            tasks: number("max_concurrent_tasks", limits.max_concurrent_tasks)?,
            queue: number("max_queue_length", limits.max_queue_length)?,
            context: number("max_context_bytes", limits.max_context_bytes)?,
            connections: number("max_connections", limits.max_connections)?,
            statement: time("statement_timeout", limits.statement_timeout)?,
            transaction: time("transaction_timeout", limits.transaction_timeout)?,
        })
    }

    pub(crate) fn step(&self, tenant: TenantId) -> Step<'static> {
        let Self { tasks, queue, context, connections, statement, transaction } = *self;
        let parameters =
            params![Uuid::from(tenant), tasks, queue, context, connections, statement, transaction];
        Step::Run(sql::TENANT_LIMITS, parameters)
    }
}

fn refused(name: &str) -> StoreError {
    let message =
        format!("{name} has to be at least 1 and below 2^31; `None` is no limit of the tenant's own");
    StoreError::new(StoreErrorKind::Configuration, message)
}
