//! The statements by name. Each is a file of its own in `sql/`; the SQLite store has files of the same names. What a tenant's own login
//! says in another way is in `sql/own/`.

/// A statement that is prepared once per connection.
///
/// Its text names the tables of a place without a schema, so one text and one prepared statement serve every tenant: the
/// transaction's search path says whose tables they are.
pub(crate) struct Statement {
    pub(crate) name: &'static str,
    sql: &'static str,
    /// What a tenant's own login says instead: it calls functions, where others use tables of the schema `cloacina`.
    own: Option<&'static str>,
}

impl Statement {
    pub(crate) fn text(&self, login: Login) -> &'static str {
        match (login, self.own) {
            (Login::Tenant, Some(own)) => own,
            _ => self.sql,
        }
    }
}

/// As whom a store is logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    /// As the operator of the service: it may use any tenant's place.
    Operator,
    /// As a tenant.
    Tenant,
}

macro_rules! statements {
    ($($constant:ident $name:literal $($own:ident)?;)*) => {
        $(pub(crate) const $constant: &Statement = &Statement {
            name: $name,
            sql: include_str!(concat!("../sql/", $name, ".sql")),
            own: statements!(@own $name $($own)?),
        };)*
    };
    (@own $name:literal own) => { Some(include_str!(concat!("../sql/own/", $name, ".sql"))) };
    (@own $name:literal) => { None };
}

statements! {
    FENCE "fence" own;
    CLOCK "clock";
    EXECUTION_INSERT "execution_insert";
    TASK_INSERT "task_insert";
    DEADLINE_INSERT "deadline_insert";
    EXECUTION_LOCK "execution_lock";
    TASK_RECORD "task_record";
    TASK_END "task_end";
    EXECUTION_CLOSE "execution_close";
    TASK_CLAIM "task_claim";
    EXECUTION_CANCEL "execution_cancel";
    EXECUTION_PAUSE "execution_pause";
    EXECUTION_RESUME "execution_resume";
    EXECUTION_OVERDUE "execution_overdue";
    EXECUTION_ORPHANED "execution_orphaned";
    EXECUTION_COUNT "execution_count";
    PLACE_FIGURES "place_figures";
    EXECUTION_STATE "execution_state";
    DEADLINE_DUE "deadline_due";
    DEADLINE_DROP "deadline_drop";
    EXECUTION_LOAD "execution_load";
    EXECUTION_HEADERS "execution_headers";
    EXECUTION_FIND "execution_find";
    EXECUTION_LIST "execution_list";
    EXECUTION_PRUNE "execution_prune";
    TASK_LOAD "task_load";
    TASK_HELD "task_held";
    ATTEMPT_LIST "attempt_list";
    BELL_RING "bell_ring" own;
    BELL_LOCK "bell_lock" own;
    BELL_DUE_NEXT "bell_due_next";
    BELL_LOWER "bell_lower" own;
    BELL_DUE "bell_due" own;
    NOTICE_INSERT "notice_insert" own;
    NOTICE_PRUNE "notice_prune";
    RUNNER_REGISTER "runner_register" own;
    RUNNER_HEARTBEAT "runner_heartbeat" own;
    RUNNER_LIST "runner_list" own;
    RUNNER_CONDEMN "runner_condemn" own;
    RUNNER_STATE "runner_state" own;
    RUNNER_REMOVE "runner_remove" own;
    RUNNER_PLACES "runner_places" own;
    RUNNER_PLACE_INSERT "runner_place_insert" own;
    RUNNER_PLACE_DELETE "runner_place_delete" own;
    RESCUE_LOCK "rescue_lock";
    TASK_RESCUE "task_rescue";
    PLACE_FIND "place_find" own;
    PLACE_INSERT "place_insert";
    PLACE_OF "place_of" own;
    PLACE_LOCK "place_lock";
    PLACE_VERSION "place_version";
    TENANT_STATUS "tenant_status" own;
    TENANT_INSERT "tenant_insert";
    TENANT_NAMED "tenant_named";
    TENANT_BIND "tenant_bind";
    TENANT_FIND "tenant_find";
    TENANT_LIST "tenant_list";
    TENANT_STATE "tenant_state";
    TENANT_LIMITS "tenant_limits";
    TENANT_FORGET "tenant_forget";
    TENANT_MEASURE "tenant_measure";
    TENANT_VERIFY "tenant_verify";
    LOGIN_INSERT "login_insert";
    LOGIN_RENEW "login_renew";
    LOGIN_OVERDUE "login_overdue";
    AUDIT_INSERT "audit_insert";
    AUDIT_LIST "audit_list";
    SESSION_COUNT "session_count";
    SESSION_END "session_end";
    SESSION_TENANTS "session_tenants";
    SESSION_REAP "session_reap";
    ROLE_REMAINS "role_remains";
    ROLE_OIDS "role_oids";
    ADMIN_STATE "admin_state";
    RUNNING_COUNT "running_count";
    MIGRATION_LIST "migration_list";
    MIGRATION_INSERT "migration_insert";
}
