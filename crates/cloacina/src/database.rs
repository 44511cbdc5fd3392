//! Tenants with database logins of their own, on PostgreSQL.
//!
//! ```no_run
//! use cloacina::database::{Database, DatabaseAdmin, TenantConfig};
//! use cloacina::runner::Runner;
//!
//! # async fn provision() -> Result<(), Box<dyn std::error::Error>> {
//! let admin = DatabaseAdmin::new(Database::new("postgresql://admin:secret@localhost/cloacina", "cloacina", 10));
//! let credentials = admin
//!     .create_tenant(TenantConfig {
//!         schema_name: "tenant_acme".to_owned(),
//!         username: "acme_user".to_owned(),
//!         password: String::new(), // empty: one is drawn
//!     })
//!     .await?;
//!
//! // The tenant's own process logs in as the tenant. The database knows whose place that is.
//! let runner = Runner::new(&credentials.connection_string).await?;
//! # runner.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! What its login may and may not do is told in `docs/guides/isolation.md`.

pub use cloacina_core::store::{Placement, TenantLimits, TenantState};
pub use cloacina_postgres::admin::{
    AdminError, AdminErrorKind, AuditEntry, Database, DatabaseAdmin, Migrated, Preflight, TenantConfig,
    TenantCredentials, TenantReport, TenantSummary, blocking,
};
