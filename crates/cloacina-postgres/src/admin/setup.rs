//! What has to be there before the first tenant: five roles, and the schema `cloacina` in their hands.

use std::time::Duration;

use super::{Admin, AdminError, AdminErrorKind, DatabaseAdmin, Result, Setup};
use crate::flight::{Scope, Step, params};
use crate::migrate;
use crate::role::{APP, CONTROL_GRANTS, ENGINE, OWNER, READER, ROLES, TENANT, quoted};
use crate::statement as sql;

/// What an administrator's login lacks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Preflight {
    /// Statements without which tenants cannot be made, each to be run by somebody who may.
    pub missing: Vec<String>,
    /// Statements without which tenants cannot have databases of their own.
    pub databases: Vec<String>,
    /// Statements that close what PostgreSQL leaves open to every login. Those in this database are run with
    /// the first action where this login may; those about other databases of the server never are, since
    /// other programs may need them: look at each, and grant the right to whoever does. Without them tenants
    /// can fill the disk with temporary tables, leave objects in the schema `public`, take all locks of the
    /// server by advisory locks, make large objects, and do the same in other databases.
    pub hardening: Vec<String>,
}

impl Preflight {
    /// Whether tenants can be made.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.missing.is_empty()
    }
}

struct State {
    preflight: Preflight,
    is_superuser: bool,
    me: String,
    control_owner: Option<String>,
    roles: Vec<String>,
    member_of_owner: bool,
    owns_database: bool,
    public_temporary: bool,
    public_create: bool,
    public_connect: bool,
    owns_public: bool,
    open_functions: Vec<String>,
    open_databases: Vec<String>,
}

impl DatabaseAdmin {
    /// Says which rights the login lacks, as the statements that give them. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::Configuration`] and [`AdminErrorKind::Unavailable`].
    pub async fn preflight(&self) -> Result<Preflight> {
        self.run(async |admin| Ok(admin.state().await?.preflight)).await
    }

    /// Lets a login of the operator serve the tenants of this database: makes it a member of
    /// `cloacina_engine`.
    ///
    /// Such a login reads and writes every tenant's engine tables. It needs no password of a tenant.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::Configuration`] if there is no such login, [`AdminErrorKind::Privileges`].
    pub async fn allow_operator(&self, login: &str) -> Result<()> {
        let login = login.to_owned();
        self.run(async move |admin| {
            admin.ensure().await?;
            let grant = format!("GRANT {ENGINE} TO {}", quoted(&login));
            let mut side = admin.inner.pool.side().await?;
            let steps = [
                Step::Batch(grant),
                Step::Batch(format!("SET LOCAL ROLE {OWNER}")),
                super::audit_step("allow_operator", None, None, Some(login.clone())),
            ];
            match side.transaction(Scope::Control, &steps).await {
                Ok(_) => Ok(()),
                Err(failure) if failure.code() == Some("42704") => {
                    let message =
                        format!("there is no login {login:?} on the server of {}", admin.inner.label());
                    Err(AdminError::new(AdminErrorKind::Configuration, message))
                }
                Err(failure) => Err(admin.error(failure)),
            }
        })
        .await
    }
}

impl Admin {
    /// Makes what has to be there, once.
    pub(super) async fn ensure(&self) -> Result<&Setup> {
        self.setup
            .get_or_try_init(async || {
                for _ in 0..20 {
                    let state = self.state().await?;
                    if !state.preflight.is_ready() {
                        let message = format!(
                            "the login `{}` lacks rights on {}; somebody who may has to run: {}",
                            state.me,
                            self.inner.label(),
                            state.preflight.missing.join(" ")
                        );
                        return Err(AdminError::new(AdminErrorKind::Privileges, message));
                    }
                    migrate::control(&self.inner).await?;
                    if state.control_owner.as_deref() == Some(OWNER) && state.roles.len() == ROLES.len() {
                        return Ok(Setup { is_superuser: state.is_superuser });
                    }
                    self.take_over(&state).await?;
                }
                let message = "the roles keep being changed by somebody else".to_owned();
                Err(AdminError::new(AdminErrorKind::Busy, message))
            })
            .await
    }

    /// The statements of [`Preflight::hardening`].
    pub(super) async fn hardening(&self) -> Result<Vec<String>> {
        Ok(self.state().await?.preflight.hardening)
    }

    async fn state(&self) -> Result<State> {
        let rows = self.as_itself(&[Step::Run(sql::ADMIN_STATE, params![])]).await?;
        let row = &rows[0][0];
        let version: i32 = row.get("server_version");
        if version < 140_000 {
            let message = format!("the server of {} is older than PostgreSQL 14", self.inner.label());
            return Err(AdminError::new(AdminErrorKind::Version, message));
        }
        let (me, is_superuser): (String, bool) = (row.get("me"), row.get("is_superuser"));
        let database = quoted(self.address().database());
        let login = quoted(&me);
        let mut preflight = Preflight::default();
        let control_owner: Option<String> = row.get("control_owner");
        if !is_superuser && !row.get::<_, bool>("may_create_databases") {
            preflight.databases.push(format!("ALTER ROLE {login} CREATEDB;"));
        }
        if !is_superuser {
            let mut missing = |statement: String| preflight.missing.push(statement);
            if !row.get::<_, bool>("may_create_roles") {
                missing(format!("ALTER ROLE {login} CREATEROLE;"));
            }
            if !row.get::<_, bool>("may_create_schemas") {
                missing(format!("GRANT CREATE ON DATABASE {database} TO {login};"));
            }
            let not_ours: Vec<String> = row.get("roles_not_ours");
            if !not_ours.is_empty() {
                missing(format!("GRANT {} TO {login} WITH ADMIN OPTION;", not_ours.join(", ")));
            }
            if let Some(owner) = &control_owner
                && owner != OWNER
                && !row.get::<_, bool>("member_of_control_owner")
            {
                missing(format!("GRANT {} TO {login};", quoted(owner)));
            }
        }
        let state = State {
            is_superuser,
            me,
            control_owner,
            roles: row.get("roles"),
            member_of_owner: row.get("member_of_owner"),
            owns_database: row.get("owns_database"),
            public_temporary: row.get("public_temporary"),
            public_create: row.get("public_create"),
            public_connect: row.get("public_connect"),
            owns_public: row.get("owns_public"),
            open_functions: row.get("open_functions"),
            open_databases: row.get("open_databases"),
            preflight,
        };
        Ok(State { preflight: state.hardened(&database), ..state })
    }

    /// Makes the roles and hands over what a login made for itself before.
    async fn take_over(&self, state: &State) -> Result<()> {
        let mut text = String::new();
        for role in ROLES {
            if !state.roles.iter().any(|there| there == role) {
                text.push_str(&format!("CREATE ROLE {role} NOLOGIN; "));
            }
        }
        if !state.member_of_owner {
            text.push_str(&format!("GRANT {OWNER} TO CURRENT_USER; "));
        }
        let database = quoted(self.address().database());
        if state.owns_database && state.public_temporary {
            text.push_str(&format!("REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC; "));
        }
        if state.owns_public && state.public_create {
            text.push_str("REVOKE CREATE ON SCHEMA public FROM PUBLIC; ");
        }
        if state.is_superuser {
            state.functions_closed().iter().for_each(|statement| text.push_str(statement));
        }
        if state.owns_database && state.public_connect {
            // They may lose it as PUBLIC, by the hardening of another database.
            text.push_str(&format!(
                "GRANT CONNECT ON DATABASE {database} TO {ENGINE}, {TENANT}, {APP}, {READER}; "
            ));
        }
        text.push_str(&format!("{TAKE_OVER}; SET LOCAL ROLE {OWNER}; {CONTROL_GRANTS}; SET LOCAL ROLE NONE"));
        let mut side = self.inner.pool.side().await?;
        let lock = Step::Batch("LOCK TABLE cloacina.migration IN SHARE ROW EXCLUSIVE MODE".to_owned());
        match side.transaction(Scope::Control, &[lock, Step::Batch(text)]).await {
            Ok(_) => Ok(()),
            // Another administrator makes the same roles, which all databases of the server share.
            Err(failure)
                if matches!(failure.code(), Some("42710" | "23505"))
                    || failure.described().contains("concurrently updated") =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(())
            }
            Err(failure) => Err(self.error(failure)),
        }
    }
}

impl State {
    fn hardened(&self, database: &str) -> Preflight {
        let mut preflight = self.preflight.clone();
        if self.public_temporary && !self.owns_database {
            preflight.hardening.push(format!("REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC;"));
        }
        if self.public_create && !self.owns_public {
            preflight.hardening.push("REVOKE CREATE ON SCHEMA public FROM PUBLIC;".to_owned());
        }
        if !self.is_superuser {
            preflight.hardening.extend(self.functions_closed());
        }
        let close = |name: &String| format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC;", quoted(name));
        preflight.hardening.extend(self.open_databases.iter().map(close));
        preflight
    }

    /// The functions of the server that are not for everybody.
    fn functions_closed(&self) -> Option<String> {
        let list = self.open_functions.join(", ");
        (!list.is_empty()).then(|| format!("REVOKE EXECUTE ON FUNCTION {list} FROM PUBLIC;"))
    }
}

/// The schema `cloacina` and all in it go to the owner, who grants what there is; the login that had it
/// before, and the places that it made, go on working.
const TAKE_OVER: &str = include_str!("../../sql/admin_take_over.sql");
