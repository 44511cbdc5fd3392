//! What came of making a tenant.

use cloacina_core::store::Placement;

#[cfg(feature = "postgres")]
use crate::database::TenantCredentials;

/// A tenant that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provisioned {
    /// Where it was put.
    pub placement: Placement,
    /// Where its rows are: the schema, the path of the file, or the database.
    pub place: String,
    /// The credentials of its own login, if it has one.
    #[cfg(feature = "postgres")]
    pub credentials: Option<TenantCredentials>,
}
