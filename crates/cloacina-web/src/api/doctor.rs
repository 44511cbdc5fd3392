//! What a doctor finds in the places of tenants.

use cloacina::tenants::{Diagnosis, Finding};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Problem;
use crate::permit::{Administer, Own, Permit};
use crate::routes::{Doc, Routes};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/doctor",
            all,
            Doc::new("examineAll", "Look whether what all tenants share is as it has to be")
                .description(
                    "What tenants are registered in, and the rights of the service and its administrator. Changes \
                     nothing. The places of the tenants are looked at one by one.",
                )
                .answers::<DiagnosisView>("200", "What was found"),
        )
        .get(
            "/v1/tenants/{tenant}/doctor",
            tenant,
            Doc::new("examineTenant", "Look whether the place of a tenant is as it has to be")
                .description(
                    "The version of its tables, and who may get at them. Changes nothing. A file is read as a whole, \
                     so this is for a look now and then.",
                )
                .answers::<DiagnosisView>("200", "What was found"),
        )
}

/// What a doctor found.
#[derive(Serialize, ToSchema)]
struct DiagnosisView {
    /// What is not as it should be.
    findings: Vec<FindingView>,
    /// What was not looked at, and what that takes.
    skipped: Vec<&'static str>,
}

/// Something that is not as it should be.
#[derive(Serialize, ToSchema)]
struct FindingView {
    /// The tenant, the schema or the database.
    place: String,
    /// What there is.
    what: String,
    /// What to do about it: a statement, or some words.
    remedy: String,
    /// Whether it must not be. Otherwise it is a warning.
    is_fatal: bool,
}

impl From<Diagnosis> for DiagnosisView {
    fn from(diagnosis: Diagnosis) -> Self {
        let view = |finding: Finding| {
            let Finding { place, what, remedy, is_fatal, .. } = finding;
            FindingView { place, what, remedy, is_fatal }
        };
        Self { findings: diagnosis.findings.into_iter().map(view).collect(), skipped: diagnosis.skipped }
    }
}

async fn all(permit: Permit<Administer>) -> Result<axum::Json<DiagnosisView>, Problem> {
    Ok(axum::Json(permit.engine().examine_all().await?.into()))
}

async fn tenant(permit: Permit<Own>) -> Result<axum::Json<DiagnosisView>, Problem> {
    Ok(axum::Json(permit.engine().examine(permit.tenant()).await?.into()))
}
