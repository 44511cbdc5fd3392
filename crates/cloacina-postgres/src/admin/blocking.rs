//! The same for code that is not async: each call blocks its thread until it is done.
//!
//! They may be called anywhere, also on a thread of a Tokio runtime, which then does nothing else for as
//! long.

use std::fmt;
use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

use cloacina_core::store::TenantLimits;

pub use super::{AdminError, AdminErrorKind, AuditEntry, Database, Migrated, Preflight, TenantConfig};
pub use super::{TenantCredentials, TenantReport, TenantSummary};
use crate::PostgresOptions;

type Result<T, E = AdminError> = std::result::Result<T, E>;

/// [`super::DatabaseAdmin`], blocking.
#[derive(Clone)]
pub struct DatabaseAdmin {
    admin: super::DatabaseAdmin,
}

impl fmt::Debug for DatabaseAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.admin.fmt(f)
    }
}

/// The work is done on the engine's own runtime, so that there need not be one here.
fn wait<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let runtime = PostgresOptions::default().runtime()?;
    let (sender, receiver) = mpsc::sync_channel(1);
    runtime.spawn(async move { sender.send(work.await) });
    receiver.recv().unwrap_or_else(|_| {
        let message = "the administrator's work ended without an answer";
        Err(AdminError::new(AdminErrorKind::Internal, message))
    })
}

/// Names of the arguments that are texts, then the others.
macro_rules! twins {
    ($($name:ident($($text:ident),*; $($value:ident: $type:ty),*) -> $result:ty;)*) => {
        impl DatabaseAdmin {
            /// An administrator of this database.
            #[must_use]
            pub fn new(database: Database) -> Self {
                Self { admin: super::DatabaseAdmin::new(database) }
            }

            $(
                #[doc = concat!("[`super::DatabaseAdmin::", stringify!($name), "`], blocking.")]
                #[doc = ""]
                #[doc = "# Errors"]
                #[doc = ""]
                #[doc = "The same."]
                pub fn $name(&self, $($text: &str,)* $($value: $type),*) -> Result<$result> {
                    let admin = self.admin.clone();
                    $(let $text = $text.to_owned();)*
                    wait(async move { admin.$name($(&$text,)* $($value),*).await })
                }
            )*
        }
    };
}

twins! {
    preflight(;) -> Preflight;
    allow_operator(login;) -> ();
    create_tenant(; config: TenantConfig) -> TenantCredentials;
    remove_tenant(schema_name, username;) -> ();
    remove_tenant_within(schema_name, username; drain: Duration) -> ();
    rotate_credentials(schema_name;) -> TenantCredentials;
    rotate_credentials_within(schema_name; grace: Duration) -> TenantCredentials;
    suspend(schema_name;) -> ();
    resume(schema_name;) -> ();
    set_limits(schema_name; limits: TenantLimits) -> ();
    list_tenants(;) -> Vec<TenantSummary>;
    measure_tenants(;) -> usize;
    audit(; limit: usize) -> Vec<AuditEntry>;
    inspect_tenant(schema_name;) -> TenantReport;
    verify_tenant(schema_name;) -> TenantReport;
    reap_sessions(;) -> usize;
}

impl DatabaseAdmin {
    /// [`super::DatabaseAdmin::migrate_tenants`], blocking.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn migrate_tenants(&self, schemas: &[&str]) -> Result<Vec<Migrated>> {
        let (admin, schemas) =
            (self.admin.clone(), schemas.iter().map(ToString::to_string).collect::<Vec<String>>());
        wait(async move {
            let schemas: Vec<&str> = schemas.iter().map(String::as_str).collect();
            admin.migrate_tenants(&schemas).await
        })
    }
}
