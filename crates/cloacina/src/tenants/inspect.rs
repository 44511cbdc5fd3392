//! Which versions the tables of tenants have, and what a doctor finds in their places.

use cloacina_core::Error;
#[cfg(feature = "postgres")]
use cloacina_postgres::PostgresAddress;

#[cfg(feature = "data")]
use super::diagnosis::of_data;
use super::{Backend, Diagnosis, Place, TenantManager, TenantManagerBuilder, TenantName, TenantVersion};
use crate::runner::{Address, RunnerBuilder};

impl RunnerBuilder {
    /// Which versions the engine's tables have in the database that was named: of the SQLite file, or of all
    /// tenants of the PostgreSQL database, as [`TenantManagerBuilder::versions`] tells them. It reads only.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub async fn versions(&self) -> Result<Vec<TenantVersion>, Error> {
        match self.address()? {
            #[cfg(feature = "postgres")]
            Address::Postgres(address) => Box::pin(super::postgres::versions(*address)).await,
            #[cfg(feature = "sqlite")]
            Address::Sqlite(address) => {
                let tenant = Some(address.place_name());
                let version = cloacina_sqlite::version(address).await.map_err(Error::from);
                Ok(vec![TenantVersion { tenant, version }])
            }
        }
    }
}

impl TenantManagerBuilder {
    /// Which versions the engine's tables have, of each tenant and of what tenants are registered in. It
    /// reads only: nothing is made or changed, which [`build`](Self::build) does with what all tenants share,
    /// and opening a tenant with what is its own.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build). What is wrong with the place of one tenant is told in its place.
    pub async fn versions(&self) -> Result<Vec<TenantVersion>, Error> {
        match &self.place {
            #[cfg(feature = "postgres")]
            Place::Postgres { url, .. } => {
                Box::pin(super::postgres::versions(PostgresAddress::parse(url)?)).await
            }
            #[cfg(feature = "sqlite")]
            Place::Sqlite { directory } => {
                let versions = cloacina_sqlite::versions(directory).await?;
                let of = versions.into_iter().map(|(id, version)| TenantVersion {
                    tenant: Some(id.to_string()),
                    version: version.map_err(Error::from),
                });
                Ok(of.collect())
            }
        }
    }
}

impl TenantManager {
    /// Brings the engine's tables of a tenant to the version that this program makes of them. A runner does
    /// the same when it opens the tenant; of one with a login or a database of its own only the
    /// administrator may.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such tenant,
    /// [`ErrorKind::Place`](crate::ErrorKind::Place) if its tables are newer than this program or may not be
    /// changed, and what is wrong with the database.
    pub async fn migrate(&self, tenant: &str) -> Result<(), Error> {
        let name = TenantName::parse(tenant)?;
        self.shared.check_open()?;
        match &self.shared.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => Box::pin(databases.migrate(&name)).await,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => files.migrate(&name).await,
        }
    }

    /// Looks whether the place of a tenant is as it has to be: the version of its tables, and of a file its
    /// pages and who may write to it; with an administrator of a PostgreSQL database, who may do what in its
    /// schema. Where the manager has the tables of tenants' own data, those of a file are looked at as well.
    ///
    /// Changes nothing, and opens no runner. It reads the whole file of a tenant.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such tenant, and what keeps the
    /// place from being looked at. What is found is no error.
    pub async fn examine(&self, tenant: &str) -> Result<Diagnosis, Error> {
        let name = TenantName::parse(tenant)?;
        self.shared.check_open()?;
        let diagnosis = match &self.shared.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => Box::pin(databases.examine(&name)).await?,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => {
                let (address, diagnosis) = files.examine(&name).await?;
                #[cfg(not(feature = "data"))]
                drop(address);
                #[cfg(feature = "data")]
                let mut diagnosis = diagnosis;
                #[cfg(feature = "data")]
                if let Some(data) = &self.shared.data {
                    let url = format!("sqlite://{}", address.label());
                    diagnosis.findings.extend(data.verify(&url).await.map_err(of_data)?);
                }
                diagnosis
            }
        };
        Ok(diagnosis.without_repeats())
    }

    /// Looks whether what the tenants share is as it has to be. In a PostgreSQL database that is what they
    /// are registered in and what its administrator may do, and, where the manager has them, the tables of
    /// all tenants' own data. Changes nothing.
    ///
    /// # Errors
    ///
    /// What keeps it from being looked at. What is found is no error.
    pub async fn examine_all(&self) -> Result<Diagnosis, Error> {
        self.shared.check_open()?;
        let diagnosis = match &self.shared.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => Box::pin(databases.examine_all()).await?,
            // What is wrong with a directory keeps it from being opened.
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(_) => Diagnosis::default(),
        };
        Ok(diagnosis.without_repeats())
    }
}
