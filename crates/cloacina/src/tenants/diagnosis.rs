//! What is seen of the places of tenants by who does not work in them.

use std::collections::HashSet;

use cloacina_core::Error;
pub use cloacina_core::store::{Finding, PlaceVersion};

/// Which version the engine's tables of a tenant have.
#[derive(Debug)]
#[non_exhaustive]
pub struct TenantVersion {
    /// The tenant; `None` for what all tenants of a PostgreSQL database are registered in.
    pub tenant: Option<String>,
    /// The version, or why it cannot be told.
    pub version: Result<PlaceVersion, Error>,
}

/// What a doctor found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Diagnosis {
    /// What is not as it should be.
    pub findings: Vec<Finding>,
    /// What was not looked at, and what that takes.
    pub skipped: Vec<&'static str>,
}

impl From<Vec<Finding>> for Diagnosis {
    fn from(findings: Vec<Finding>) -> Self {
        Self { findings, skipped: Vec::new() }
    }
}

impl Diagnosis {
    /// Whether anything was found that must not be.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.findings.iter().any(|finding| finding.is_fatal)
    }

    /// What two doctors found is told once.
    pub(super) fn without_repeats(mut self) -> Self {
        let mut told = HashSet::new();
        self.findings.retain(|finding| told.insert((finding.what.clone(), finding.remedy.clone())));
        self
    }

    /// What there is to say about the version of a tenant's tables.
    pub(super) fn add_version(&mut self, tenant: &str, version: PlaceVersion) {
        let PlaceVersion { version: found, latest, min_reader, .. } = version;
        if version.is_too_new() {
            let what = format!(
                "its tables have version {found} and need a program of version {min_reader}; this one has {latest}"
            );
            self.findings.push(Finding::fatal(tenant, what, "update this program"));
        } else if version.is_old() {
            let what =
                format!("its tables have version {found}; this program makes version {latest} of them");
            let remedy = "`cloacina migrate` does that now; a runner does it when it opens the tenant";
            self.findings.push(Finding::warning(tenant, what, remedy));
        }
    }
}

#[cfg(feature = "data")]
pub(super) fn of_data(error: cloacina_data::DataError) -> Error {
    Error::new(crate::ErrorKind::Place, error.to_string()).with_source(error)
}
