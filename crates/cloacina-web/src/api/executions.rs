//! Executions: submitted, listed, read and steered.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Problem;
use crate::permit::{Permit, View};
use crate::routes::{Doc, Routes};

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get(
        "/v1/tenants/{tenant}/executions",
        list,
        Doc::new("listExecutions", "The executions of a tenant, the newest first")
            .answers::<Page>("200", "A page"),
    )
}

#[derive(Serialize, ToSchema)]
struct Page {
    ids: Vec<uuid::Uuid>,
}

async fn list(permit: Permit<View>) -> Result<Json<Page>, Problem> {
    let executions = permit.runner().await?.list_executions().await?;
    Ok(Json(Page { ids: executions.iter().map(|execution| execution.execution_id).collect() }))
}
