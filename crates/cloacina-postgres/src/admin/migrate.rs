//! Bringing tenants' tables to the version of this program.

use cloacina_core::store::{Place, Placement};

use super::{Admin, AdminError, DatabaseAdmin, Result, TenantSummary, credentials};
use crate::migrate;
use crate::schema::SchemaName;

/// What became of one tenant.
#[derive(Debug)]
#[non_exhaustive]
pub struct Migrated {
    /// The tenant's schema.
    pub schema_name: String,
    /// The version of its tables before.
    pub from: u32,
    /// The version now, or why it is still the old one. Others go on; repeating the call tries again.
    pub to: Result<u32>,
}

impl DatabaseAdmin {
    /// Migrates tenants one after another, each in transactions of its own; all tenants of the database if
    /// `schemas` is empty. Those that share tables are named by their names, and migrated together.
    ///
    /// Waits for a lock on a tenant's table for 5 s at most, so that work of that tenant is not held up by
    /// more. What fails for one tenant is told in its row, and is tried again by the next call; tenants that
    /// are current cost one look together.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::NotFound`](super::AdminErrorKind::NotFound) if one of `schemas` is no tenant,
    /// [`AdminErrorKind::Privileges`](super::AdminErrorKind::Privileges),
    /// [`AdminErrorKind::Unavailable`](super::AdminErrorKind::Unavailable).
    pub async fn migrate_tenants(&self, schemas: &[&str]) -> Result<Vec<Migrated>> {
        let schemas =
            schemas.iter().map(|schema| credentials::tenant_name(schema)).collect::<Result<Vec<String>>>()?;
        self.run(async move |admin| {
            admin.ensure().await?;
            let tenants = admin.tenants(schemas.clone()).await?;
            if let Some(missing) = schemas.iter().find(|schema| {
                !tenants.iter().any(|tenant| {
                    tenant.schema_name == **schema || !tenant.placement.is_schema() && tenant.name == **schema
                })
            }) {
                let message = format!("there is no tenant in schema `{missing}` of {}", admin.inner.label());
                return Err(AdminError::new(super::AdminErrorKind::NotFound, message));
            }
            let known = admin.inner.migrations.place_version();
            let mut migrated = Vec::new();
            for tenant in tenants {
                // The tables of a tenant with a database of its own are there, and so is what says how old
                // they are.
                let home = match tenant.placement {
                    Placement::Database => Some(admin.of_database(&tenant.schema_name.parse()?)?),
                    _ => None,
                };
                let (schema_name, mut from) = (tenant.schema_name.clone(), tenant.schema_version);
                let to = async {
                    let (at, tenant) = match &home {
                        Some(home) => {
                            home.ensure().await?;
                            (
                                home,
                                home.tenants(vec![tenant.schema_name.clone()]).await?.pop().unwrap_or(tenant),
                            )
                        }
                        None => (&*admin, tenant),
                    };
                    from = tenant.schema_version;
                    at.migrate(&tenant, known).await
                };
                let to = Box::pin(to).await;
                if !matches!(to, Ok(to) if to == from) {
                    migrated.push(Migrated { schema_name, from, to });
                }
            }
            Ok(migrated)
        })
        .await
    }
}

impl Admin {
    /// Brings the tables of a tenant in this database to a version, and says what they are at then.
    async fn migrate(&self, tenant: &TenantSummary, known: i32) -> Result<u32> {
        if tenant.schema_version.cast_signed() >= known {
            return Ok(tenant.schema_version);
        }
        let place = if tenant.placement == Placement::Shared {
            self.shared_tables().await?
        } else {
            Place {
                tenant: tenant.tenant,
                name: tenant.name.clone(),
                schema: tenant.schema_name.clone(),
                epoch: tenant.epoch.cast_signed(),
                shared: false,
            }
        };
        migrate::place(&self.inner, &place, &SchemaName::of(&place)?).await?;
        let detail = format!("from {} to {known}", tenant.schema_version);
        let audit = self.audit("migrate_tenants", place.tenant, &place.schema, Some(detail));
        self.as_owner(vec![audit]).await?;
        Ok(known.cast_unsigned())
    }
}
