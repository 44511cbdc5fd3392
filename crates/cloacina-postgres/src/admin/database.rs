//! Tenants with a database of their own.
//!
//! ```text
//! creating ──► active ──► removing ──► removed
//!     the registry's row, the database, what is in it: each step is made if it is not there
//!                            no new work, tasks may end, nobody may connect, the database goes, the row becomes a tombstone
//! ```
//!
//! `CREATE DATABASE` and `DROP DATABASE` are in no transaction, so a crash in between leaves a tenant that is
//! `creating` or `removing`. Repeating the call goes on from there. The database's name is drawn when the row
//! is made, so one of that name is this tenant's.

use std::time::Duration;

use cloacina_core::id::TenantId;
use cloacina_core::store::{Placement, TenantState};
use uuid::Uuid;

use super::credentials::tenant_name;
use super::{Admin, AdminError, AdminErrorKind, DatabaseAdmin, Registered, Result};
use crate::flight::{Scope, Step, params};
use crate::migrate;
use crate::role::{self, ENGINE, OWNER};
use crate::schema::SchemaName;
use crate::statement as sql;
use crate::tenant::{self, NamedTenant};

impl DatabaseAdmin {
    /// Makes a tenant with a database of its own on this server, and says what that is called. Operators'
    /// logins reach it by the tenant's name; its tables belong to the owner of all tenants' tables.
    ///
    /// Not one transaction: a tenant whose making was cut short is `creating`, and the same call goes on with
    /// it.
    ///
    /// On PostgreSQL 14 the schema `public` of a new database is open to whoever is let in, here the
    /// operators, and only a superuser may close it. An administrator that is one does so; any other writes
    /// the statement to the log, as a warning. [`preflight`](Self::preflight) of an administrator of the
    /// tenant's database tells it as well.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::AlreadyExists`] if a tenant is called so, [`AdminErrorKind::Configuration`] for a
    /// name that cannot be used: it has 1 to 63 ASCII letters, digits, hyphens and underscores.
    /// [`AdminErrorKind::Privileges`] if the login may make no databases (`CREATEDB`),
    /// [`AdminErrorKind::Unavailable`].
    pub async fn create_tenant_database(&self, name: &str) -> Result<String> {
        let name = tenant_name(name)?;
        self.run(async move |admin| admin.create_database(&name).await).await
    }

    /// Removes a tenant with its database: no new work, running tasks may end for `drain`, then nobody is let
    /// in and the database is dropped. Safe to repeat.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::NotFound`] if no tenant with a database of its own is called so,
    /// [`AdminErrorKind::Busy`] if sessions that this login may not end are in it: it is closed, and the call
    /// can be repeated when they have ended. [`AdminErrorKind::Unavailable`].
    pub async fn remove_tenant_database(&self, name: &str, drain: Duration) -> Result<()> {
        let name = name.to_owned();
        self.run(async move |admin| admin.remove_database(&name, drain).await).await
    }
}

impl Admin {
    async fn create_database(&self, name: &str) -> Result<String> {
        self.ensure().await?;
        let (tenant, database) = self.creating(name).await?;
        let state = self.database_state(&database).await?;
        if state.is_none() {
            let mut side = self.inner.pool.side().await?;
            let create = format!("CREATE DATABASE {} OWNER {OWNER} TEMPLATE template0", database.quoted());
            match side.alone_and_last(&create).await {
                Ok(()) => {}
                // Somebody else is making the same tenant.
                Err(failure) if matches!(failure.code(), Some("42P04" | "23505")) => {}
                Err(failure) => return Err(self.error(failure)),
            }
        }
        // Two that grant at once would stumble over each other.
        let (mut side, _) = self.lock(name).await?;
        let grants = format!(
            "REVOKE CONNECT, TEMPORARY ON DATABASE {0} FROM PUBLIC; GRANT CONNECT ON DATABASE {0} TO {ENGINE}",
            database.quoted()
        );
        self.finish(&mut side, &[Step::Batch(grants)]).await?;
        drop(side);
        self.of_database(&database)?.furnish(tenant, &database, name).await?;
        let done = Step::Run(sql::TENANT_STATE, params![Uuid::from(tenant), vec!["creating"], "active"]);
        let (mut side, rows) = self.begin_as_owner(vec![done]).await?;
        if rows[0].is_empty() {
            self.finish(&mut side, &[]).await?;
            return Err(self.exists(name));
        }
        let audit = self.audit("create_tenant_database", tenant, database.as_str(), Some(name.to_owned()));
        self.finish(&mut side, &[audit]).await?;
        Ok(database.as_str().to_owned())
    }

    /// The row of a tenant that is being made: a new one, or the one that a call left which was cut short.
    async fn creating(&self, name: &str) -> Result<(TenantId, SchemaName)> {
        let tenant = TenantId::new();
        // The random half of the id.
        let drawn: SchemaName = format!("t_{:016x}", tenant.0.as_u64_pair().1).parse()?;
        let insert = Step::Run(sql::DATABASE_INSERT, params![Uuid::from(tenant), name, drawn.as_str()]);
        if !self.as_owner(vec![insert]).await?[0].is_empty() {
            return Ok((tenant, drawn));
        }
        let found = tenant::named(&self.inner, Some(name)).await?.pop().filter(|found| found.name == name);
        match found {
            Some(NamedTenant {
                tenant,
                schema_name,
                state: TenantState::Creating,
                placement: Placement::Database,
                ..
            }) => Ok((tenant, schema_name.parse()?)),
            _ => Err(self.exists(name)),
        }
    }

    /// Whether a tenant's database is there, and lets anybody in.
    async fn database_state(&self, database: &SchemaName) -> Result<Option<bool>> {
        let rows = self.as_owner(vec![Step::Run(sql::DATABASE_STATE, params![database.as_str()])]).await?;
        let Some(row) = rows[0].first() else { return Ok(None) };
        if !row.get::<_, bool>("ours") {
            let message = format!(
                "the database `{database}` on {} does not belong to `{OWNER}`: it was not made for a tenant, and is left alone",
                self.inner.label()
            );
            return Err(AdminError::new(AdminErrorKind::NotIsolated, message));
        }
        Ok(Some(row.get("reachable")))
    }

    /// The administrator of another database of this server.
    pub(super) fn of_database(&self, database: &SchemaName) -> Result<Self> {
        let address = self.address().with_database(database.as_str())?;
        Self::new(address, self.max_connections, self.further_migrations.clone())
    }

    /// The administrator of the database that a tenant has of its own, if it has one.
    pub(super) fn home_of(&self, tenant: &Registered) -> Result<Option<Self>> {
        if tenant.placement != Placement::Database {
            return Ok(None);
        }
        self.of_database(&tenant.schema.parse()?).map(Some)
    }

    /// Makes what is in a tenant's database, as far as it is not there.
    async fn furnish(&self, tenant: TenantId, schema: &SchemaName, name: &str) -> Result<()> {
        self.ensure().await?;
        let open = self.hardening().await?;
        if !open.is_empty() {
            tracing::warn!(
                tenant = name,
                database = schema.as_str(),
                "whoever serves the tenant can make objects in its database outside of its schema, and this login may not close that: somebody who \
                 may has to run there: {}",
                open.join(" ")
            );
        }
        let insert = Step::Run(sql::PLACE_INSERT, params![Uuid::from(tenant), schema.as_str(), name]);
        let (mut side, rows) = self.begin_as_owner(vec![insert]).await?;
        if rows[0].is_empty() {
            // Made by a call that was cut short, or by another one: it is there with all that is in it.
            return self.finish(&mut side, &[]).await.map(drop);
        }
        let mut steps = vec![
            Step::Batch(format!("CREATE SCHEMA {}", schema.quoted())),
            Step::Enter(Scope::Schema(schema)),
        ];
        steps.extend(migrate::place_steps(&self.inner, tenant, 0));
        steps.push(Step::Batch(role::engine_grants(schema, None)));
        steps.push(self.audit("create_tenant_database", tenant, schema.as_str(), Some(name.to_owned())));
        self.finish(&mut side, &steps).await.map(drop)
    }

    async fn remove_database(&self, name: &str, drain: Duration) -> Result<()> {
        self.ensure().await?;
        let (mut side, tenant) = self.lock(name).await?;
        if tenant.placement != Placement::Database || tenant.name != name {
            let message = format!("no tenant with a database of its own is called `{}`", name.escape_debug());
            return Err(AdminError::new(AdminErrorKind::NotFound, message));
        }
        if tenant.state == "removed" {
            return Ok(());
        }
        let id = Uuid::from(tenant.tenant);
        let states = vec!["creating", "active", "suspended", "moving"];
        let mut steps = vec![Step::Run(sql::TENANT_STATE, params![id, states, "removing"])];
        if tenant.state != "removing" {
            let begun = Some("begun".to_owned());
            steps.push(self.audit("remove_tenant_database", tenant.tenant, &tenant.schema, begun));
        }
        self.finish(&mut side, &steps).await?;
        drop(side);
        let database: SchemaName = tenant.schema.parse()?;
        if let Some(reachable) = self.database_state(&database).await? {
            if reachable {
                let home = self.of_database(&database)?;
                home.drain_database(tenant.tenant, &database, drain).await?;
            }
            self.as_owner(vec![Step::Batch(format!(
                "ALTER DATABASE {} ALLOW_CONNECTIONS false",
                database.quoted()
            ))])
            .await?;
            self.drop_database(&database, name).await?;
        }
        let steps = vec![
            Step::Run(sql::TENANT_FORGET, params![id]),
            Step::Run(sql::TENANT_STATE, params![id, vec!["removing"], "removed"]),
            self.audit("remove_tenant_database", tenant.tenant, &tenant.schema, Some("done".to_owned())),
        ];
        self.as_owner(steps).await.map(drop)
    }

    /// Closes the place in this database for new work and waits until nothing runs.
    async fn drain_database(&self, tenant: TenantId, schema: &SchemaName, drain: Duration) -> Result<()> {
        self.ensure().await?;
        let rows = self.as_owner(vec![Step::Run(sql::TENANT_FIND, params![schema.as_str()])]).await?;
        if rows[0].is_empty() {
            // It was never furnished.
            return Ok(());
        }
        let states = vec!["active", "suspended", "moving"];
        let close = Step::Run(sql::TENANT_STATE, params![Uuid::from(tenant), states, "removing"]);
        self.as_owner(vec![close]).await?;
        self.hint().await;
        self.drained(tenant, schema, drain).await
    }

    async fn drop_database(&self, database: &SchemaName, name: &str) -> Result<()> {
        let mut side = self.inner.pool.side().await?;
        let drop = format!("DROP DATABASE IF EXISTS {}", database.quoted());
        let mut dropped = side.alone_and_last(&format!("{drop} WITH (FORCE)")).await;
        // Autovacuum is nobody's that this login is over, and then none is ended. Without FORCE the server
        // ends it, and waits 5 s for the others.
        if dropped.as_ref().is_err_and(|failure| failure.code() == Some("42501")) {
            dropped = side.alone_and_last(&drop).await;
        }
        let Err(failure) = dropped else { return Ok(()) };
        if matches!(failure.code(), Some("42501" | "55006")) {
            let message = format!(
                "the tenant `{name}` is closed, but sessions are in its database `{database}` which the login `{}` may not end: end the processes \
                 that serve it, or grant `pg_signal_backend`, and repeat the call",
                self.address().user()
            );
            return Err(AdminError::new(AdminErrorKind::Busy, message));
        }
        Err(self.error(failure))
    }

    fn exists(&self, name: &str) -> AdminError {
        let message = format!(
            "a tenant that is called `{name}`, or so but for the case of letters, exists already on {}",
            self.inner.label()
        );
        AdminError::new(AdminErrorKind::AlreadyExists, message)
    }
}
