//! Tenants whose rows lie in tables with those of others.

use std::time::{Duration, Instant};

use cloacina_core::id::TenantId;
use cloacina_core::store::{Place, Placement};
use uuid::Uuid;

use super::credentials::{LoginName, TenantCredentials, password, tenant_name, verifier};
use super::{Admin, AdminError, AdminErrorKind, DatabaseAdmin, Result};
use crate::flight::{Scope, Step, params};
use crate::migrate;
use crate::role::{self, APP, OWNER, READER, quoted};
use crate::schema::SchemaName;
use crate::statement as sql;
use crate::tenant;

impl DatabaseAdmin {
    /// Makes a tenant whose rows lie in the tables that tenants share, which are made with the first of them.
    ///
    /// It has no schema, no login and no role of its own: some rows in the registry are all, so there may be
    /// as many as one likes. The database keeps their data apart by row security; see the guide on isolation
    /// for what that means.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::AlreadyExists`] if a tenant is called so, [`AdminErrorKind::Configuration`] for a
    /// name that cannot be used: it has 1 to 63 ASCII letters, digits, hyphens and underscores.
    /// [`AdminErrorKind::Privileges`], [`AdminErrorKind::Unavailable`].
    pub async fn create_shared_tenant(&self, name: &str) -> Result<()> {
        let name = tenant_name(name)?;
        self.run(async move |admin| {
            admin.ensure_shared().await?;
            let id = TenantId::new();
            let (mut side, rows) = admin.begin_as_owner(vec![tenant::share(id, &name)]).await?;
            if rows[0].is_empty() {
                admin.finish(&mut side, &[Step::Batch("ROLLBACK AND CHAIN".to_owned())]).await?;
                let message =
                    format!("a tenant that is called `{name}` exists already on {}", admin.inner.label());
                return Err(AdminError::new(AdminErrorKind::AlreadyExists, message));
            }
            let audit =
                admin.audit("create_shared_tenant", id, SchemaName::shared().as_str(), Some(name.clone()));
            admin.finish(&mut side, &[audit]).await.map(drop)
        })
        .await
    }

    /// Makes the login under which the application works on the data of tenants that share tables. An empty
    /// password is drawn, as for [`create_tenant`](Self::create_tenant).
    ///
    /// It serves all those tenants, one in each transaction, and only with the operator's signature; alone it
    /// sees nothing.
    ///
    /// # Errors
    ///
    /// As [`create_tenant`](Self::create_tenant).
    pub async fn create_app_login(&self, username: &str, given: String) -> Result<TenantCredentials> {
        self.create_login_for_shared(username, given, APP, "create_app_login").await
    }

    /// Makes a login that reads the data of several tenants that share tables, one after the other, and
    /// writes nothing. An empty password is drawn, as for [`create_tenant`](Self::create_tenant).
    ///
    /// It sees the rows of a tenant only while a grant of the operator's is valid, which is in the audit
    /// before the first row is read.
    ///
    /// # Errors
    ///
    /// As [`create_tenant`](Self::create_tenant).
    pub async fn create_reader_login(&self, username: &str, given: String) -> Result<TenantCredentials> {
        self.create_login_for_shared(username, given, READER, "create_reader_login").await
    }

    async fn create_login_for_shared(
        &self,
        username: &str,
        given: String,
        role: &'static str,
        action: &'static str,
    ) -> Result<TenantCredentials> {
        let login: LoginName = username.parse()?;
        let password = password(given)?;
        self.run(async move |admin| {
            admin.ensure_shared().await?;
            let create = format!(
                "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD '{}' IN ROLE {role}",
                quoted(login.as_str()),
                verifier(&password)
            );
            let mut side = admin.inner.pool.side().await?;
            let detail = Some(login.as_str().to_owned());
            let steps = [
                Step::Batch(create),
                Step::Batch(format!("SET LOCAL ROLE {OWNER}")),
                super::audit_step(action, None, None, detail),
            ];
            match side.transaction(Scope::Control, &steps).await {
                Ok(_) => Ok(admin.credentials(login.as_str(), password, SchemaName::shared().as_str())),
                Err(failure) if failure.code() == Some("42710") => {
                    let message = format!("the role `{}` exists already; nothing was changed", login.as_str());
                    Err(AdminError::new(AdminErrorKind::AlreadyExists, message))
                }
                Err(failure) => Err(admin.error(failure)),
            }
        })
        .await
    }

    /// Removes a tenant that shares tables, and its rows in all of them: no new work, running tasks may end
    /// for `drain`, then everything goes in one transaction. Safe to repeat.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::NotFound`] if no such tenant is called so.
    pub async fn remove_shared_tenant(&self, name: &str, drain: Duration) -> Result<()> {
        let name = name.to_owned();
        self.run(async move |admin| admin.remove_shared(&name, drain).await).await
    }
}

impl Admin {
    /// Makes the tables that tenants share.
    async fn ensure_shared(&self) -> Result<()> {
        self.ensure().await?;
        let shared = SchemaName::shared();
        let host = TenantId::new();
        let insert =
            Step::Run(sql::PLACE_INSERT, params![Uuid::from(host), shared.as_str(), shared.as_str()]);
        let (mut side, rows) = self.begin_as_owner(vec![insert]).await?;
        if rows[0].is_empty() {
            return self.finish(&mut side, &[]).await.map(drop);
        }
        let mut steps = vec![
            Step::Batch(format!(
                "SET LOCAL ROLE NONE; CREATE SCHEMA {} AUTHORIZATION {OWNER}; SET LOCAL ROLE {OWNER}",
                shared.quoted()
            )),
            Step::Enter(Scope::Schema(&shared)),
        ];
        steps.extend(migrate::place_steps(&self.inner, host, 0));
        steps.push(Step::Batch(role::PLACE_GUARDS.to_owned()));
        steps.push(Step::Batch(role::engine_grants(&shared, None)));
        steps.push(Step::Batch(role::shared_security()));
        steps.push(self.audit("share_tables", host, shared.as_str(), None));
        self.finish(&mut side, &steps).await.map(drop)
    }

    /// The tables that tenants share, as a place.
    pub(super) async fn shared_tables(&self) -> Result<Place> {
        let rows =
            self.as_owner(vec![Step::Run(sql::PLACE_FIND, params![SchemaName::shared().as_str()])]).await?;
        let Some(row) = rows[0].first() else {
            let message = format!("no tenants share tables on {}", self.inner.label());
            return Err(AdminError::new(AdminErrorKind::NotFound, message));
        };
        let tenant = TenantId(row.get("tenant_id"));
        let shared = SchemaName::shared().as_str().to_owned();
        Ok(Place { tenant, name: shared.clone(), schema: shared, epoch: 1, shared: true })
    }

    async fn remove_shared(&self, name: &str, drain: Duration) -> Result<()> {
        self.ensure().await?;
        let found = tenant::named(&self.inner, Some(name))
            .await?
            .pop()
            .filter(|found| found.placement == Placement::Shared && found.name == name);
        let Some(found) = found else {
            let message = format!("no tenant that shares tables is called `{}`", name.escape_debug());
            return Err(AdminError::new(AdminErrorKind::NotFound, message));
        };
        let (shared, id) = (SchemaName::shared(), Uuid::from(found.tenant));
        let states = vec!["active", "suspended", "moving"];
        let (mut side, _) =
            self.begin_as_owner(vec![Step::Run(sql::TENANT_STATE, params![id, states, "removing"])]).await?;
        self.finish(&mut side, &[]).await?;
        drop(side);
        let begun = Instant::now();
        loop {
            let count = vec![Step::Enter(Scope::Schema(&shared)), Step::Run(sql::RUNNING_COUNT, params![id])];
            let (mut side, rows) = self.begin_as_owner(count).await?;
            self.finish(&mut side, &[]).await?;
            if rows[1][0].get::<_, i64>("running") == 0 || begun.elapsed() >= drain {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (mut side, _) = self.begin_as_owner(vec![Step::Batch(erase(id))]).await?;
        let steps = [
            Step::Run(sql::TENANT_FORGET, params![id]),
            Step::Run(sql::TENANT_STATE, params![id, vec!["removing"], "removed"]),
            self.audit("remove_shared_tenant", found.tenant, shared.as_str(), Some(name.to_owned())),
        ];
        self.finish(&mut side, &steps).await.map(drop)
    }
}

/// Deletes a tenant's rows from every table that has a column for its id. Tables that refer to each other are
/// emptied by as many rounds as there are tables, at most.
fn erase(tenant: Uuid) -> String {
    format!(
        "DO $$ DECLARE named text; waiting text[]; BEGIN \
         waiting := ARRAY(SELECT relname::text FROM pg_catalog.pg_class AS class WHERE relnamespace = 'cloacina_shared'::regnamespace \
         AND relkind IN ('r', 'p') AND NOT relispartition AND EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = class.oid \
         AND attname = 'tenant_id' AND NOT attisdropped)); \
         FOR round IN 1..cardinality(waiting) + 1 LOOP \
         FOREACH named IN ARRAY waiting LOOP BEGIN \
         EXECUTE pg_catalog.format('DELETE FROM cloacina_shared.%I WHERE tenant_id = %L', named, '{tenant}'); \
         waiting := pg_catalog.array_remove(waiting, named); \
         EXCEPTION WHEN foreign_key_violation THEN NULL; END; END LOOP; \
         EXIT WHEN waiting = '{{}}'; END LOOP; \
         IF waiting <> '{{}}' THEN RAISE EXCEPTION 'rows of % cannot be deleted', waiting; END IF; END $$"
    )
}
