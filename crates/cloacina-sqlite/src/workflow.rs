//! Workflows as they are described for processes that do not have their code.

use cloacina_core::store::{
    DescribedWorkflow, KnownWorkflow, LARGEST_DESCRIPTION, MOST_WORKFLOWS, WorkflowKey,
};
use cloacina_core::workflow::Fingerprint;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Failure;
use crate::row::timestamp;

const WORKFLOW_KNOWN: &str = include_str!("../sql/workflow_known.sql");
const WORKFLOW_DESCRIBE: &str = include_str!("../sql/workflow_describe.sql");
const WORKFLOW_LIST: &str = include_str!("../sql/workflow_list.sql");
const WORKFLOW_DESCRIPTION: &str = include_str!("../sql/workflow_description.sql");

/// Whether all of these are known.
pub(crate) fn are_known(connection: &Connection, workflows: &[DescribedWorkflow]) -> Result<bool, Failure> {
    let mut statement = connection.prepare_cached(WORKFLOW_KNOWN)?;
    for workflow in workflows {
        let key = params![&*workflow.key.name, workflow.key.fingerprint.0];
        if !statement.query_row(key, |row| row.get(0))? {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(crate) fn describe(
    connection: &Connection,
    workflows: &[DescribedWorkflow],
    now: i64,
) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached(WORKFLOW_DESCRIBE)?;
    for DescribedWorkflow { key, version, description } in workflows {
        statement.execute(params![&*key.name, key.fingerprint.0, version, description, now])?;
    }
    Ok(())
}

pub(crate) fn list(connection: &Connection) -> Result<Vec<KnownWorkflow>, Failure> {
    let mut statement = connection.prepare_cached(WORKFLOW_LIST)?;
    let mut rows = statement.query([i64::try_from(MOST_WORKFLOWS).unwrap_or(i64::MAX)])?;
    let mut known = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, fingerprint): (String, i64) = (row.get(0)?, row.get(1)?);
        known.push(KnownWorkflow {
            key: WorkflowKey { name: name.into(), fingerprint: Fingerprint(fingerprint) },
            version: row.get(2)?,
            first_seen: timestamp(row.get(3)?)?,
        });
    }
    Ok(known)
}

pub(crate) fn description(connection: &Connection, key: &WorkflowKey) -> Result<Option<String>, Failure> {
    let most = i64::try_from(LARGEST_DESCRIPTION).unwrap_or(i64::MAX);
    let found = connection
        .prepare_cached(WORKFLOW_DESCRIPTION)?
        .query_row(params![&*key.name, key.fingerprint.0, most], |row| row.get::<_, Option<String>>(0));
    Ok(found.optional()?.flatten())
}
