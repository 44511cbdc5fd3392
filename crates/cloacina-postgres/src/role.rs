//! The roles that everything belongs to and is granted to, and what they may do.

use crate::schema::SchemaName;

/// The role that owns the schema `cloacina` and the places of tenants that an administrator provisioned.
pub(crate) const OWNER: &str = "cloacina_owner";

/// The role that the operator's logins belong to.
pub(crate) const ENGINE: &str = "cloacina_engine";

/// The role that the groups of all tenants belong to.
pub(crate) const TENANT: &str = "cloacina_tenant";

/// The role of the application's login, which serves all tenants that share tables.
pub(crate) const APP: &str = "cloacina_app";

/// The role of logins that read the data of several tenants that share tables.
pub(crate) const READER: &str = "cloacina_reader";

/// The roles without a login to which everything belongs and is granted.
pub(crate) const ROLES: [&str; 5] = [OWNER, ENGINE, TENANT, APP, READER];

/// Who may do what in the schema `cloacina`.
pub(crate) const CONTROL_GRANTS: &str = include_str!("../sql/control_grants.sql");

/// Grants what the scripts made in a schema that an administrator took over at an older version. Where a role
/// is missing, the administrator that makes it does this.
pub(crate) fn granted_by_the_owner() -> String {
    let roles = ROLES.map(|role| format!("'{role}'")).join(", ");
    format!(
        "; DO $granting$ BEGIN IF current_user = '{OWNER}' AND (SELECT count(*) FROM pg_roles WHERE rolname IN ({roles})) = {} \
         THEN {CONTROL_GRANTS} END IF; END $granting$",
        ROLES.len()
    )
}

/// The tables of a place that the engine works with.
const ENGINE_TABLES: &str = "workflow_executions, task_executions, ready_tasks, due_rows, task_waits, task_children, signals, execution_tags, task_pages, schedules, schedule_fires, task_attempts";

/// The views of a place, for people. In tables that tenants share they show all tenants to whoever may read
/// them on PostgreSQL 14, where a view reads with the rights of its owner: the application's login may not.
const VIEWS: &str = "v_executions, v_tasks";

/// What has to hold between the columns of a place in which others than the engine may write; for a
/// transaction that is in its schema, once.
pub(crate) const PLACE_GUARDS: &str = include_str!("../sql/place_guards.sql");

/// Lets the operator's logins, and a tenant's group, work in a place; for a transaction that is in its
/// schema.
pub(crate) fn engine_grants(schema: &SchemaName, group: Option<&str>) -> String {
    let mut to = ENGINE.to_owned();
    if let Some(group) = group {
        to.push_str(", ");
        to.push_str(&quoted(group));
    }
    format!(
        "GRANT USAGE ON SCHEMA {} TO {to}; GRANT SELECT, INSERT, UPDATE, DELETE ON {ENGINE_TABLES} TO {to}; \
         GRANT SELECT ON {VIEWS} TO {to}",
        schema.quoted()
    )
}

/// Keeps the tenants apart whose rows are in the same tables; for a transaction that is in their schema. May
/// be repeated.
///
/// The operator's engine sees all of them, the application's login those of the tenant that was entered. Of
/// the engine's tables it may do what records a task as done and a new execution.
pub(crate) fn shared_security() -> String {
    let mut text = format!("GRANT USAGE ON SCHEMA {} TO {APP}, {READER};", SchemaName::shared().quoted());
    for table in ENGINE_TABLES.split(", ") {
        text.push_str(&format!(
            "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY; \
             DROP POLICY IF EXISTS operator ON {table}; DROP POLICY IF EXISTS tenant ON {table}; \
             CREATE POLICY operator ON {table} TO {ENGINE}, {OWNER} USING (true) WITH CHECK (true); \
             CREATE POLICY tenant ON {table} TO {APP} USING (tenant_id = (SELECT cloacina.entered())) \
             WITH CHECK (tenant_id = (SELECT cloacina.entered()));"
        ));
    }
    text.push_str(&format!(
        "GRANT SELECT ON {ENGINE_TABLES} TO {APP}; GRANT UPDATE (state, finished_at, error, tags, parent_id, parent_node, item, has_waits, on_failure) ON workflow_executions TO {APP}; \
         GRANT UPDATE (state, outcome, failures, due_at, finished_at, patch, error, skip_reason, handled, waiting_on, attempt, runner_id, started_at) \
         ON task_executions TO {APP}; \
         GRANT INSERT (tenant_id, id, workflow, fingerprint, state, priority, input, created_at, started_at, deadline, idempotency_key, input_hash, submitter, expands_at) \
         ON workflow_executions TO {APP}; \
         GRANT INSERT (tenant_id, execution_id, task, name, state, waiting_on, attempt, runner_id, due_at, started_at) \
         ON task_executions TO {APP}; GRANT INSERT, DELETE ON ready_tasks, due_rows TO {APP}; GRANT INSERT ON task_attempts, execution_tags, task_children, signals TO {APP}; \
         GRANT UPDATE (total, started) ON task_children TO {APP}; GRANT UPDATE (until) ON task_waits TO {APP}"
    ));
    text
}

/// A name as an identifier, whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
