//! Where a tenant's rows are, and how it is said.

use crate::id::TenantId;

/// Where a tenant's rows are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Whose it is.
    pub tenant: TenantId,
    /// What the operator calls the tenant; its schema, where nobody gave it another name, or the name of its
    /// SQLite file without the extension.
    pub name: String,
    /// The PostgreSQL schema with its tables, exactly as it was given. Empty for a SQLite file.
    pub schema: String,
    /// Counts the places that the tenant has had: who still goes by an earlier one is refused.
    pub epoch: i32,
    /// Whether rows of other tenants are in the same tables.
    pub shared: bool,
}

/// Which place to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceName {
    /// The one that the login, the environment or the file stands for.
    Default,
    /// The PostgreSQL schema of this name.
    Named(String),
    /// Wherever the tenant is that the operator calls so.
    Tenant(String),
}
