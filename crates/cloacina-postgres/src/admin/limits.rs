//! What a tenant may use at most.

use cloacina_core::store::TenantLimits;
use uuid::Uuid;

use super::{AdminError, AdminErrorKind, DatabaseAdmin, Result, create, milliseconds};
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
    /// [`AdminErrorKind::Configuration`] for a limit of 0, [`AdminErrorKind::NotFound`], [`AdminErrorKind::Privileges`],
    /// [`AdminErrorKind::Unavailable`].
    pub async fn set_limits(&self, schema_name: &str, limits: TenantLimits) -> Result<()> {
        let TenantLimits {
            max_concurrent_tasks,
            max_queue_length,
            max_context_bytes,
            max_connections,
            statement_timeout,
            transaction_timeout,
            ..
        } = limits;
        let number = |name: &str, limit: Option<u32>| match limit {
            None => Ok(None),
            Some(limit) => match i32::try_from(limit) {
                Ok(limit) if limit > 0 => Ok(Some(limit)),
                _ => Err(refused(name)),
            },
        };
        let time = |name: &str, limit: Option<std::time::Duration>| match limit.map(milliseconds) {
            Some(limit) if !(1..=i64::from(i32::MAX)).contains(&limit) => Err(refused(name)),
            limit => Ok(limit),
        };
        let tasks = number("max_concurrent_tasks", max_concurrent_tasks)?;
        let queue = number("max_queue_length", max_queue_length)?;
        let context = number("max_context_bytes", max_context_bytes)?;
        let connections = number("max_connections", max_connections)?;
        let statement = time("statement_timeout", statement_timeout)?;
        let transaction = time("transaction_timeout", transaction_timeout)?;
        let schema = schema_name.to_owned();
        self.run(async move |admin| {
            let (mut side, tenant) = admin.lock(&schema).await?;
            tenant.must_be(&["active", "suspended"])?;
            let parameters = params![
                Uuid::from(tenant.tenant),
                tasks,
                queue,
                context,
                connections,
                statement,
                transaction
            ];
            let detail = format!("{limits:?}");
            let mut steps = vec![
                Step::Run(sql::TENANT_LIMITS, parameters),
                admin.audit("set_limits", tenant.tenant, &tenant.schema, Some(detail)),
            ];
            tenant.group()?;
            let database = quoted(admin.address().database());
            let connections = connections.unwrap_or(create::CONNECTIONS.cast_signed());
            let statement = statement.unwrap_or(milliseconds(create::STATEMENT_TIMEOUT));
            let transaction = transaction.unwrap_or(milliseconds(create::TRANSACTION_TIMEOUT));
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
            admin.finish(&mut side, &steps).await?;
            drop(side);
            admin.hint().await;
            Ok(())
        })
        .await
    }
}

fn refused(name: &str) -> AdminError {
    let message =
        format!("{name} has to be at least 1 and below 2^31; `None` is no limit of the tenant's own");
    AdminError::new(AdminErrorKind::Configuration, message)
}
