//! Names of tables and columns.

use crate::error::{DataError, Result};

/// The column that says whose a row is: in every tenant table of every placement, in no model.
pub(crate) const TENANT_ID: &str = "tenant_id";

/// The tables of the engine, which lie beside the tenant's own.
pub(crate) const ENGINE: [&str; 12] = [
    "workflow_executions",
    "task_executions",
    "ready_tasks",
    "due_rows",
    "schedules",
    "schedule_fires",
    "task_children",
    "task_waits",
    "signals",
    "execution_tags",
    "task_pages",
    "task_attempts",
];

/// The engine's views, which are for people.
pub(crate) const VIEWS: [&str; 2] = ["v_executions", "v_tasks"];

/// The longest name of a table or column: what PostgreSQL does not cut.
const LONGEST_NAME: usize = 63;

pub(crate) fn check_table(name: &str, schema: Option<&str>) -> Result<()> {
    if let Some(schema) = schema {
        return Err(DataError::configuration(format!(
            "table `{name}` names schema `{schema}`: leave it out; where a tenant's tables are is decided by its placement"
        )));
    }
    check_name("table", name)?;
    let folded = name.to_ascii_lowercase();
    let reserved = ["cloacina", "pg_", "sqlite_"].iter().any(|prefix| folded.starts_with(prefix));
    if reserved || ENGINE.contains(&&*folded) || VIEWS.contains(&&*folded) {
        return Err(DataError::configuration(format!(
            "no table can be called `{name}`: names of the engine's tables and views, and those that begin with `cloacina`, `pg_` or `sqlite_`, are taken"
        )));
    }
    Ok(())
}

pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    let plain = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if plain && name.len() <= LONGEST_NAME {
        return Ok(());
    }
    Err(DataError::configuration(format!(
        "`{}` is no name for a {what}: use 1 to {LONGEST_NAME} ASCII letters, digits and underscores, not beginning with a digit",
        name.escape_debug()
    )))
}
