//! The end of a tenant.
//!
//! ```text
//! active ──► removing ──► removed
//!            no new work, running tasks may end; logins closed, sessions and prepared transactions ended
//!                         one transaction drops the data, one the roles; then the catalogs of the whole cluster are asked what is left
//! ```
//!
//! Every step can be repeated. The row of a removed tenant stays as a tombstone, without anything that was
//! the tenant's.

use std::time::{Duration, Instant};

use cloacina_core::backoff::Backoff;
use cloacina_core::id::TenantId;
use cloacina_core::store::StoreErrorKind;
use uuid::Uuid;

use super::{Admin, AdminError, AdminErrorKind, DatabaseAdmin, Registered, Result, role_list};
use crate::flight::{Scope, Step, params};
use crate::role::{OWNER, quoted};
use crate::schema::SchemaName;
use crate::statement as sql;

/// How long running tasks are waited for.
const DRAIN: Duration = Duration::from_secs(30);

impl DatabaseAdmin {
    /// Removes a tenant with everything that is its own. Running tasks may end for 30 s; what still runs then
    /// is lost.
    ///
    /// `username` is either of the tenant's logins. Removing a removed tenant is Ok.
    ///
    /// What it cannot reach: backups, replicas that lag, the write-ahead log, and the server's own log files.
    ///
    /// # Errors
    ///
    /// As [`remove_tenant_within`](Self::remove_tenant_within).
    pub async fn remove_tenant(&self, schema_name: &str, username: &str) -> Result<()> {
        self.remove_tenant_within(schema_name, username, DRAIN).await
    }

    /// As [`remove_tenant`](Self::remove_tenant), with another time for running tasks to end.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::NotFound`] if there is no such tenant, or the login is not its; nothing was changed.
    /// [`AdminErrorKind::Remains`] if something is left that could not be removed, with what and where; the
    /// tenant is closed, and the call can be repeated. [`AdminErrorKind::Privileges`],
    /// [`AdminErrorKind::Busy`], [`AdminErrorKind::Unavailable`].
    pub async fn remove_tenant_within(
        &self,
        schema_name: &str,
        username: &str,
        drain: Duration,
    ) -> Result<()> {
        let (schema, username) = (schema_name.to_owned(), username.to_owned());
        self.run(async move |admin| admin.remove(&schema, &username, drain).await).await
    }
}

impl Admin {
    async fn remove(&self, schema: &str, username: &str, drain: Duration) -> Result<()> {
        let (mut side, tenant) = self.lock(schema).await?;
        if tenant.state == "removed" {
            return Ok(());
        }
        if !tenant.logins.iter().any(|login| login == username) {
            let message = if tenant.logins.is_empty() {
                format!(
                    "the schema `{schema}` belongs to no tenant with a login of its own; it is not removed"
                )
            } else {
                format!("{username:?} is no login of the tenant in schema `{schema}`; nothing was removed")
            };
            return Err(AdminError::new(AdminErrorKind::NotFound, message));
        }
        tenant.group()?;
        let id = Uuid::from(tenant.tenant);
        let mut steps = vec![Step::Run(
            sql::TENANT_STATE,
            params![id, vec!["active", "suspended", "moving"], "removing"],
        )];
        if tenant.state != "removing" {
            steps.push(self.audit("remove_tenant", tenant.tenant, &tenant.schema, Some("begun".to_owned())));
        }
        self.finish(&mut side, &steps).await?;
        drop(side);
        self.hint().await;
        self.drained(tenant.tenant, &tenant.schema.parse()?, drain).await?;

        // From here on the tenant itself can do nothing any more.
        let roles = tenant.roles();
        self.close(schema, &tenant, "removing").await?;

        let rows = self.as_owner(vec![Step::Run(sql::ROLE_OIDS, params![roles.clone()])]).await?;
        let oids: Vec<u32> = rows[0].iter().map(|row| row.get("oid")).collect();
        // What is the tenant's goes first, whatever else keeps its roles: somebody else may have granted them
        // something in another database.
        self.insist(&roles, || Box::pin(self.drop_data(schema, &oids))).await?;
        match self.insist(&roles, || Box::pin(self.drop_roles(schema))).await {
            Err(error) if error.kind() == AdminErrorKind::Remains => {
                return Err(self.remains(&tenant, &self.remaining(&oids, &roles).await?));
            }
            dropped => dropped?,
        }
        self.hint().await;

        let remaining = self.remaining(&oids, &roles).await?;
        if remaining.is_empty() { Ok(()) } else { Err(self.remains(&tenant, &remaining)) }
    }

    /// Drops the schema, and what the roles have in this database.
    async fn drop_data(&self, schema: &str, oids: &[u32]) -> Result<()> {
        // Only a member of the role that granted something can take it back.
        let rows = self.as_owner(vec![Step::Run(sql::ROLE_GRANTERS, params![oids.to_vec()])]).await?;
        let granters = rows[0].iter().map(|row| row.get::<_, String>("role_name"));
        let (mut side, tenant) = self.lock(schema).await?;
        if tenant.state == "removed" {
            return self.finish(&mut side, &[]).await.map(drop);
        }
        let roles = tenant.roles();
        let members = role_list(&roles.iter().cloned().chain(granters).collect::<Vec<_>>());
        let steps = [
            Step::Batch(format!(
                "SET LOCAL ROLE NONE; GRANT {members} TO CURRENT_USER; DROP OWNED BY {}; REVOKE {members} FROM CURRENT_USER; \
                 SET LOCAL ROLE {OWNER}; DROP SCHEMA IF EXISTS {} CASCADE",
                role_list(&roles),
                quoted(&tenant.schema)
            )),
            Step::Run(sql::TENANT_EMPTY, params![Uuid::from(tenant.tenant)]),
        ];
        self.finish(&mut side, &steps).await.map(drop)
    }

    /// Drops the roles, and with them what the registry knows of the tenant. None of it happens as long as
    /// one of them has something in another database: [`AdminErrorKind::Remains`].
    async fn drop_roles(&self, schema: &str) -> Result<()> {
        let (mut side, tenant) = self.lock(schema).await?;
        if tenant.state == "removed" {
            return self.finish(&mut side, &[]).await.map(drop);
        }
        let id = Uuid::from(tenant.tenant);
        let steps = [
            Step::Run(sql::TENANT_FORGET, params![id]),
            Step::Run(sql::TENANT_STATE, params![id, vec!["removing"], "removed"]),
            self.audit("remove_tenant", tenant.tenant, &tenant.schema, Some("done".to_owned())),
            Step::Batch(format!(
                "SET LOCAL ROLE NONE; DROP ROLE {}",
                drop_order(&tenant.logins, tenant.group()?)
            )),
        ];
        match side.finish(&steps).await {
            Ok(_) => Ok(()),
            // Something depends on what was to go.
            Err(failure) if failure.code() == Some("2BP01") => {
                Err(AdminError::new(AdminErrorKind::Remains, failure.described()))
            }
            Err(failure) => Err(self.error(failure)),
        }
    }

    /// Waits until no task of the tenant runs; nothing new is started.
    pub(super) async fn drained(&self, tenant: TenantId, schema: &SchemaName, drain: Duration) -> Result<()> {
        let begun = Instant::now();
        let mut pause = Backoff::new(Duration::from_millis(10), Duration::from_millis(250));
        loop {
            let mut side = self.inner.pool.side().await?;
            let count = [
                Step::Batch(format!("SET LOCAL ROLE {OWNER}; SET LOCAL row_security = off")),
                Step::Run(sql::RUNNING_COUNT, params![Uuid::from(tenant)]),
            ];
            let running = match side.transaction(Scope::Guarded(schema), &count).await {
                Ok(rows) => rows[1][0].get::<_, i64>("running"),
                Err(failure) => {
                    let error = failure.into_error(schema.as_str());
                    tracing::debug!(tenant = %schema, %error, "the tasks of a tenant that is removed were not counted");
                    // A schema that is gone has nothing that runs. What else went wrong, a lock of the
                    // tenant's say, may pass.
                    i64::from(error.kind() != StoreErrorKind::Place)
                }
            };
            if running == 0 || begun.elapsed() >= drain {
                return Ok(());
            }
            drop(side);
            tokio::time::sleep(pause.next().min(drain)).await;
        }
    }

    /// What the catalogs of the whole cluster still hold of these roles.
    async fn remaining(&self, oids: &[u32], roles: &[String]) -> Result<Vec<String>> {
        let step = Step::Run(sql::ROLE_REMAINS, params![oids.to_vec(), roles.to_vec()]);
        let rows = self.as_owner(vec![step]).await?;
        Ok(rows[0].iter().map(|row| row.get("what")).collect())
    }

    fn remains(&self, tenant: &Registered, what: &[String]) -> AdminError {
        let message = format!(
            "the tenant in schema `{}` of {} is closed and its data is gone, but its roles are kept by something that is left: {}; remove that and repeat the call",
            tenant.schema,
            self.inner.label(),
            what.join("; ")
        );
        AdminError::new(AdminErrorKind::Remains, message)
    }
}

/// The logins before the group that they belong to.
fn drop_order(logins: &[String], group: Option<&str>) -> String {
    let names: Vec<String> = logins.iter().map(String::as_str).chain(group).map(quoted).collect();
    names.join(", ")
}
