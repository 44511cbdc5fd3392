//! What stands in rows.

use std::fmt::Display;
use std::str::FromStr;

use cloacina_core::store::{StoreError, StoreErrorKind, WorkflowKey};
use cloacina_core::workflow::Fingerprint;
use jiff::Timestamp;
use rusqlite::Row;

use crate::error::Failure;

/// A state, an outcome or a reason.
pub(crate) fn state<T: FromStr<Err: Display>>(row: &Row<'_>, column: usize) -> Result<T, Failure> {
    let text = row.get_ref(column)?.as_str().map_err(|error| Failure::damaged(error.to_string()))?;
    text.parse().map_err(|error: T::Err| Failure::damaged(error.to_string()))
}

pub(crate) fn timestamp(micros: i64) -> Result<Timestamp, Failure> {
    Timestamp::from_microsecond(micros).map_err(|_| Failure::damaged(format!("{micros} is no time")))
}

pub(crate) fn optional_timestamp(micros: Option<i64>) -> Result<Option<Timestamp>, Failure> {
    micros.map(timestamp).transpose()
}

pub(crate) fn workflows_to_json(workflows: &[WorkflowKey]) -> Result<String, Failure> {
    let pairs: Vec<(&str, i64)> = workflows.iter().map(|key| (&*key.name, key.fingerprint.0)).collect();
    serde_json::to_string(&pairs).map_err(|error| {
        StoreError::new(StoreErrorKind::Internal, "the workflows of a runner have no JSON form")
            .with_source(error)
            .into()
    })
}

pub(crate) fn workflows_from_json(json: &str) -> Result<Vec<WorkflowKey>, Failure> {
    let pairs: Vec<(String, i64)> = serde_json::from_str(json)
        .map_err(|error| Failure::damaged(format!("the workflows of a runner: {error}")))?;
    let key = |(name, fingerprint): (String, i64)| WorkflowKey {
        name: name.into(),
        fingerprint: Fingerprint(fingerprint),
    };
    Ok(pairs.into_iter().map(key).collect())
}

/// How tags are stored.
pub(crate) fn tags_to_json(tags: &[String]) -> String {
    serde_json::Value::from(tags.to_vec()).to_string()
}

/// What is stored may be anything: what cannot be read is no tag.
pub(crate) fn tags_of_json(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap_or_default()
}
