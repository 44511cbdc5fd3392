//! The doctor: looks at a place before it is opened, and opens none that is not clean.
//!
//! The gate relies on what the database was told: that declared tables have the tenant's column with its
//! default, and keys led by it. The second line is what the database was told: policies, rights, and a login
//! that can get around neither. A change by hand undoes either of them without a sign, so both are read from
//! the catalogs, once in a process for each place.
//!
//! | placement | what is looked at |
//! |---|---|
//! | SQLite file | the file; its tables, columns, keys, triggers, views (`sqlite.rs`) |
//! | own schema, the operator's login | the tables, and whatever else is in the schema; the rights of others there. The login may do what it likes, so a superuser is a warning |
//! | own schema, the tenant's login | the same, with all rights on it, and what the login can do anywhere |
//! | shared tables | the same, with row security and policies, and the operator's login; once for all tenants of a database |
//!
//! The rules for PostgreSQL are `sql/doctor_place.sql` and `sql/doctor_login.sql`.

pub use cloacina_core::store::Finding;

use crate::error::{DataError, DataErrorKind, Result};

/// How many findings an error names.
const NAMED: usize = 5;

/// Whether a place with these findings may be opened.
pub(crate) fn admit(tenant: &str, findings: Vec<Finding>) -> Result<()> {
    let (fatal, warnings): (Vec<_>, Vec<_>) = findings.into_iter().partition(|finding| finding.is_fatal);
    for warning in warnings {
        tracing::warn!(tenant, finding = %warning, "the place is not as it should be");
    }
    if fatal.is_empty() {
        return Ok(());
    }
    let mut named: Vec<_> = fatal.iter().take(NAMED).map(Finding::to_string).collect();
    if fatal.len() > NAMED {
        named.push(format!("and {} more, which `TenantDb::verify` lists", fatal.len() - NAMED));
    }
    Err(DataError::new(
        DataErrorKind::Place,
        format!("tenant `{tenant}`: its place was not opened, because it is not clean: {}", named.join("; ")),
    ))
}
