//! Workflows as they are described for processes that do not have their code, in the schema `cloacina`.

use std::sync::Arc;

use cloacina_core::store::{
    DescribedWorkflow, KnownWorkflow, LARGEST_DESCRIPTION, MOST_WORKFLOWS, Place, Result, WorkflowKey,
};
use cloacina_core::workflow::Fingerprint;
use jiff::Timestamp;
use uuid::Uuid;

use crate::flight::{Step, params};
use crate::inner::Inner;
use crate::row::{column, readable};
use crate::statement as sql;

pub(crate) async fn describe(
    inner: Arc<Inner>,
    workflows: Arc<[DescribedWorkflow]>,
    now: Option<Timestamp>,
) -> Result<()> {
    let names: Vec<&str> = workflows.iter().map(|workflow| &*workflow.key.name).collect();
    let fingerprints: Vec<i64> = workflows.iter().map(|workflow| workflow.key.fingerprint.0).collect();
    let versions: Vec<Option<&str>> = workflows.iter().map(|workflow| workflow.version.as_deref()).collect();
    let descriptions: Vec<Option<&str>> =
        workflows.iter().map(|workflow| workflow.description.as_deref()).collect();
    let parameters = params![names, fingerprints, versions, descriptions, now];
    inner.in_control(&[Step::Run(sql::WORKFLOW_DESCRIBE, parameters)]).await.map(drop)
}

pub(crate) async fn list(inner: Arc<Inner>, place: Place) -> Result<Vec<KnownWorkflow>> {
    let most = i64::try_from(MOST_WORKFLOWS).unwrap_or(i64::MAX);
    let parameters = params![Uuid::from(place.tenant), most];
    let rows = inner.in_control(&[Step::Run(sql::WORKFLOW_LIST, parameters)]).await?;
    Ok(readable(&rows[0], &place.name, |row| {
        Ok(KnownWorkflow {
            key: WorkflowKey {
                name: column::<&str>(row, "name", &place.name)?.into(),
                fingerprint: Fingerprint(column(row, "fingerprint", &place.name)?),
            },
            version: column(row, "version", &place.name)?,
            first_seen: column(row, "first_seen", &place.name)?,
        })
    }))
}

pub(crate) async fn description(inner: Arc<Inner>, place: Place, key: WorkflowKey) -> Result<Option<String>> {
    let most = i64::try_from(LARGEST_DESCRIPTION).unwrap_or(i64::MAX);
    let parameters = params![Uuid::from(place.tenant), &*key.name, key.fingerprint.0, most];
    let rows = inner.in_control(&[Step::Run(sql::WORKFLOW_DESCRIPTION, parameters)]).await?;
    let found = rows[0].first().map(|row| column(row, "description", &place.name)).transpose()?;
    Ok(found.flatten())
}
