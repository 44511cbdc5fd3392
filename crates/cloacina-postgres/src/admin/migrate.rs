//! Bringing tenants' tables to the version of this program.

use cloacina_core::store::Place;

use super::{AdminError, DatabaseAdmin, Result, credentials};
use crate::migrate;
use crate::tenant::SchemaName;

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
    /// Migrates tenants one after another, each in transactions of its own; all tenants of the database if `schemas` is empty. Those that share
    /// tables are named by their names, and migrated together.
    ///
    /// Waits for a lock on a tenant's table for 5 s at most, so that work of that tenant is not held up by more. What fails
    /// for one tenant is told in its row, and is tried again by the next call; tenants that are current cost one look together.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::NotFound`](super::AdminErrorKind::NotFound) if one of `schemas` is no tenant,
    /// [`AdminErrorKind::Privileges`](super::AdminErrorKind::Privileges),
    /// [`AdminErrorKind::Unavailable`](super::AdminErrorKind::Unavailable).
    pub async fn migrate_tenants(&self, schemas: &[&str]) -> Result<Vec<Migrated>> {
        let schemas = schemas
            .iter()
            .map(|schema| credentials::schema_name(schema).map(|schema| schema.as_str().to_owned()))
            .collect::<Result<Vec<String>>>()?;
        self.run(async move |admin| {
            admin.ensure().await?;
            let tenants = admin.tenants(schemas.clone()).await?;
            if let Some(missing) = schemas.iter().find(|schema| {
                !tenants
                    .iter()
                    .any(|tenant| tenant.schema_name == **schema || tenant.shared && tenant.name == **schema)
            }) {
                let message = format!("there is no tenant in schema `{missing}` of {}", admin.inner.label());
                return Err(AdminError::new(super::AdminErrorKind::NotFound, message));
            }
            let known = admin.inner.migrations.place_version();
            let mut migrated = Vec::new();
            for tenant in tenants.into_iter().filter(|tenant| tenant.schema_version.cast_signed() < known) {
                let place =
                    Place { tenant: tenant.tenant, name: tenant.schema_name.clone(), shared: tenant.shared };
                let to = async {
                    let schema = SchemaName::of(&place)?;
                    let place = if place.shared { &admin.shared_tables().await? } else { &place };
                    migrate::place(&admin.inner, place, &schema).await?;
                    let detail = format!("from {} to {known}", tenant.schema_version);
                    let audit = admin.audit("migrate_tenants", place.tenant, &place.name, Some(detail));
                    admin.as_owner(vec![audit]).await?;
                    Ok(known.cast_unsigned())
                };
                let to = to.await;
                migrated.push(Migrated { schema_name: tenant.schema_name, from: tenant.schema_version, to });
            }
            Ok(migrated)
        })
        .await
    }
}
