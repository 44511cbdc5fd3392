//! Where the two tenants are. Only this file knows; another kind of place is another variant.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use cloacina::database::{AdminError, AdminErrorKind, Database, DatabaseAdmin, TenantConfig};
use cloacina::runner::Runner;
use uuid::Uuid;

use crate::model::data;

/// The tenants, as the operator calls them.
const TENANTS: [&str; 2] = ["patterns_acme", "patterns_widget"];

/// A kind of place.
#[derive(Clone)]
pub(crate) enum Placement {
    /// A SQLite file each, in this directory.
    Files(PathBuf),
    /// A schema each, reached with one login, which makes them.
    Schemas {
        /// Of the login.
        url: String,
        /// Of the administrator, if there is one: then what tenants have in common is not the login's.
        admin: Option<String>,
    },
    /// A schema and a login each.
    Logins {
        /// Of the administrator.
        admin: String,
    },
    /// A database each, reached with the operator's login.
    Databases {
        /// Of the operator.
        url: String,
        /// Of the administrator.
        admin: String,
    },
    /// The same tables, with a `tenant_id`.
    Shared {
        /// Of the operator.
        url: String,
        /// Of the administrator.
        admin: String,
    },
}

impl Placement {
    /// The kinds for which there is what they need.
    pub(crate) fn all(directory: PathBuf, url: Option<String>, admin: Option<String>) -> Vec<Self> {
        let mut all = vec![Self::Files(directory)];
        all.extend(url.clone().map(|url| Self::Schemas { url, admin: admin.clone() }));
        all.extend(admin.clone().map(|admin| Self::Logins { admin }));
        if let (Some(url), Some(admin)) = (url, admin) {
            all.push(Self::Databases { url: url.clone(), admin: admin.clone() });
            all.push(Self::Shared { url, admin });
        }
        all
    }

    /// What it is called.
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::Files(_) => "A SQLite file for each tenant",
            Self::Schemas { .. } => "A PostgreSQL schema for each tenant",
            Self::Logins { .. } => "A PostgreSQL schema and a login for each tenant",
            Self::Databases { .. } => "A PostgreSQL database for each tenant",
            Self::Shared { .. } => "Shared PostgreSQL tables with tenant_id and row security",
        }
    }

    /// What keeps the tenants apart there.
    pub(crate) fn border(&self) -> &'static str {
        match self {
            Self::Files(_) => "the file",
            Self::Schemas { .. } => "the search path of each transaction",
            Self::Logins { .. } => "what the database lets each login do",
            Self::Databases { .. } => "the database",
            Self::Shared { .. } => "forced row security, by a proof that no session can make up",
        }
    }

    /// Makes the tenants where they are not there, and opens them.
    pub(crate) async fn open(&self) -> Result<[Runner; 2]> {
        let [acme, widget] = TENANTS;
        Ok([self.open_one(acme).await?, self.open_one(widget).await?])
    }

    async fn open_one(&self, tenant: &str) -> Result<Runner> {
        let data = data()?;
        let builder = Runner::builder();
        let builder = match self {
            Self::Files(directory) => {
                std::fs::create_dir_all(directory)
                    .with_context(|| format!("the directory {} cannot be made", directory.display()))?;
                let file = directory.join(format!("{tenant}.db"));
                let url = format!("sqlite://{}", file.to_str().context("the directory's name is not UTF-8")?);
                builder.database_url(url).data(&data)
            }
            Self::Schemas { url, admin } => {
                if let Some(admin) = admin {
                    administrator(admin).allow_operator(login(url)).await?;
                }
                builder.database_url(url).schema(tenant).data(&data)
            }
            Self::Logins { admin: url } => {
                let admin = administrator(url);
                let config = TenantConfig {
                    // Logins are those of all databases of a server.
                    username: format!("{tenant}_{}", database_name(url)),
                    schema_name: format!("{tenant}_own"),
                    password: String::new(),
                };
                let schema = config.schema_name.clone();
                let credentials = match admin.create_tenant(config).await {
                    // Made by an earlier run, which alone knew its password: it gets a new one.
                    Err(error) if is_there(&error) => {
                        admin.rotate_credentials_within(&schema, Duration::ZERO).await?
                    }
                    made => made?,
                };
                data.migrate_tenants(url).await?;
                builder.database_url(credentials.connection_string).data(&data)
            }
            Self::Databases { url, admin } => {
                let name = format!("{tenant}_database");
                made(administrator(admin).create_tenant_database(&name).await.map(drop))?;
                administrator(admin).allow_operator(login(url)).await?;
                data.migrate_tenant(admin, &name).await?;
                builder.database_url(url).tenant(name).data(&data)
            }
            Self::Shared { url, admin } => {
                let name = format!("{tenant}_shared");
                let administrator = administrator(admin);
                made(administrator.create_shared_tenant(&name).await)?;
                let (app, password) = app_login(&administrator, admin).await?;
                administrator.allow_operator(login(url)).await?;
                data.migrate_shared(admin).await?;
                builder.database_url(url).tenant(name).data(&data.app_login(&app, &password))
            }
        };
        builder.build().await.with_context(|| format!("tenant {tenant} cannot be opened"))
    }
}

/// Makes the login under which the data of tenants that share tables is reached, and says what it is.
pub(crate) async fn app_login(admin: &DatabaseAdmin, url: &str) -> Result<(String, String)> {
    let app = format!("patterns_app_{}", database_name(url));
    // The login alone sees nothing; even so nobody should know its password who does not know the
    // administrator's.
    let password = Uuid::new_v5(&Uuid::NAMESPACE_URL, url.as_bytes()).to_string();
    made(admin.create_app_login(&app, password.clone()).await.map(drop))?;
    Ok((app, password))
}

pub(crate) fn administrator(url: &str) -> DatabaseAdmin {
    DatabaseAdmin::new(Database::new(url, database_name(url), 2))
}

/// What an earlier run made is as good.
fn made(result: Result<(), AdminError>) -> Result<(), AdminError> {
    result.or_else(|error| if is_there(&error) { Ok(()) } else { Err(error) })
}

fn is_there(error: &AdminError) -> bool {
    error.kind() == AdminErrorKind::AlreadyExists
}

/// The database that a URL leads to, whose name an administrator has to say as well.
fn database_name(url: &str) -> &str {
    let path = url.split('?').next().unwrap_or(url);
    path.rsplit('/').next().unwrap_or(path)
}

/// The login of a URL.
pub(crate) fn login(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    rest.split([':', '@']).next().unwrap_or(rest)
}
