//! A new tenant.

use cloacina_core::id::TenantId;
use cloacina_core::store::PlaceName;
use uuid::Uuid;

use super::credentials::{LoginName, TenantConfig, TenantCredentials, password, schema_name, verifier};
use super::{Admin, AdminError, AdminErrorKind, DatabaseAdmin, Result};
use crate::flight::{Scope, Step, params};
use crate::limits::{CONNECTIONS, STATEMENT_TIMEOUT, TRANSACTION_TIMEOUT, milliseconds};
use crate::migrate;
use crate::role::{self, OWNER, TENANT, quoted};
use crate::schema::SchemaName;
use crate::statement as sql;

impl DatabaseAdmin {
    /// Makes a tenant with a schema, a login and the engine's tables, in one transaction: a crash in the
    /// middle leaves nothing.
    ///
    /// The password goes to the server as a SCRAM-SHA-256 verifier; the clear text is only in the credentials
    /// that are returned.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::AlreadyExists`] if the tenant, its schema or one of its roles exists: nothing that
    /// exists is adopted, and a repeated call changes nothing. [`AdminErrorKind::Configuration`] for a name
    /// or a password that cannot be used, [`AdminErrorKind::Privileges`] with the statements that are
    /// missing, [`AdminErrorKind::Unavailable`].
    pub async fn create_tenant(&self, config: TenantConfig) -> Result<TenantCredentials> {
        let name = config.schema_name.clone();
        self.create_named_tenant(&name, config).await
    }

    /// As [`create_tenant`](Self::create_tenant), for a tenant that the operator calls by another name than
    /// its schema's. The name is in the registry, which no tenant can read; names of schemas and logins
    /// everybody can.
    ///
    /// # Errors
    ///
    /// As [`create_tenant`](Self::create_tenant).
    pub async fn create_named_tenant(&self, name: &str, config: TenantConfig) -> Result<TenantCredentials> {
        let TenantConfig { schema_name: schema, username, password: given } = config;
        let schema = schema_name(&schema)?;
        let login: LoginName = username.parse()?;
        let password = password(given)?;
        let name = name.to_owned();
        self.run(async move |admin| admin.create(&schema, &login, &name, password).await).await
    }

    /// Makes the place of the operator itself, `cloacina_main`, if it is not there, so that a login that may
    /// make no schemas can open it.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::Privileges`], [`AdminErrorKind::Unavailable`].
    pub async fn create_operator_place(&self) -> Result<()> {
        self.run(async |admin| {
            admin.ensure().await?;
            let main = PlaceName::Default;
            crate::tenant::open(&admin.inner, &main).await?;
            Ok(())
        })
        .await
    }
}

impl Admin {
    async fn create(
        &self,
        schema: &SchemaName,
        login: &LoginName,
        name: &str,
        password: String,
    ) -> Result<TenantCredentials> {
        self.ensure().await?;
        let tenant = TenantId::new();
        let roles: Vec<String> = [login.as_str().to_owned(), login.second(), login.group()]
            .iter()
            .map(|role| role.to_ascii_lowercase())
            .collect();
        let insert = Step::Run(sql::TENANT_INSERT, params![Uuid::from(tenant), schema.as_str(), roles, name]);
        let (mut side, rows) = self.begin_as_owner(vec![insert]).await?;
        let exists = |what: String| {
            let message = format!("{what} exists already on {}; nothing was changed", self.inner.label());
            Err(AdminError::new(AdminErrorKind::AlreadyExists, message))
        };
        let taken = match rows[0].first() {
            None => Some(format!(
                "the tenant in schema `{schema}`, or one from which only the case tells it apart,"
            )),
            Some(row) if row.get("schema_there") => Some(format!("the schema `{schema}`")),
            Some(row) => row.get::<_, Option<String>>("role_there").map(|role| format!("the role `{role}`")),
        };
        if let Some(taken) = taken {
            self.finish(&mut side, &[Step::Batch("ROLLBACK AND CHAIN".to_owned())]).await?;
            return exists(taken);
        }

        let group = login.group();
        let mut steps = vec![
            Step::Batch(format!(
                "SET LOCAL ROLE NONE; CREATE ROLE {} NOLOGIN IN ROLE {TENANT}; {} CREATE SCHEMA {} AUTHORIZATION {OWNER}",
                quoted(&group),
                self.login_statements(login.as_str(), &verifier(&password), &group, schema),
                schema.quoted()
            )),
            Step::Batch(format!("SET LOCAL ROLE {OWNER}")),
            Step::Enter(Scope::Schema(schema)),
        ];
        steps.extend(migrate::place_steps(&self.inner, tenant, 0));
        steps.push(Step::Batch(role::PLACE_GUARDS.to_owned()));
        steps.push(Step::Batch(role::engine_grants(schema, Some(&group))));
        steps.push(Step::Run(sql::TENANT_BIND, params![Uuid::from(tenant), group.as_str()]));
        steps.push(Step::Run(sql::LOGIN_INSERT, params![Uuid::from(tenant), login.as_str()]));
        steps.push(self.audit("create_tenant", tenant, schema.as_str(), Some(login.as_str().to_owned())));
        self.finish(&mut side, &steps).await?;
        Ok(self.credentials(login.as_str(), password, schema.as_str()))
    }

    /// What makes a login of a tenant. Its timeouts are a convenience: a session can change them; what is
    /// enforced is that sessions which exceed the tenant's limits are ended.
    pub(super) fn login_statements(
        &self,
        login: &str,
        verifier: &str,
        group: &str,
        schema: &SchemaName,
    ) -> String {
        let (login, database) = (quoted(login), quoted(self.address().database()));
        format!(
            "CREATE ROLE {login} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT {CONNECTIONS} \
             PASSWORD '{verifier}' IN ROLE {}; \
             ALTER ROLE {login} IN DATABASE {database} SET search_path = {}; \
             ALTER ROLE {login} IN DATABASE {database} SET statement_timeout = {}; \
             ALTER ROLE {login} IN DATABASE {database} SET idle_in_transaction_session_timeout = {};",
            quoted(group),
            schema.quoted(),
            milliseconds(STATEMENT_TIMEOUT),
            milliseconds(TRANSACTION_TIMEOUT),
        )
    }

    pub(super) fn credentials(&self, login: &str, password: String, schema: &str) -> TenantCredentials {
        TenantCredentials {
            username: login.to_owned(),
            connection_string: self.address().url_for(login, &password),
            password,
            schema_name: schema.to_owned(),
        }
    }
}
