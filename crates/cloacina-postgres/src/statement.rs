//! The statements by name. Each is a file of its own in `sql/`; the SQLite store has files of the same names.
//! What a tenant's own login says in another way is in `sql/own/`, what is said of several places that share
//! tables in `sql/many/`.

use tokio_postgres::types::Type;

/// A statement that is prepared once per connection, or sent with its text each time behind a pooler.
///
/// Its text names the tables of a place without a schema, so one text and one prepared statement serve every
/// tenant: the transaction's search path says whose tables they are.
pub(crate) struct Statement {
    pub(crate) name: &'static str,
    sql: &'static str,
    /// What a tenant's own login says instead: it calls functions, where others use tables of the schema
    /// `cloacina`.
    own: Option<&'static str>,
}

impl Statement {
    pub(crate) fn text(&self, login: Login) -> &'static str {
        match (login, self.own) {
            (Login::Tenant, Some(own)) => own,
            _ => self.sql,
        }
    }

    /// The types of its parameters: each is cast somewhere in the text.
    pub(crate) fn types(&self, login: Login) -> Vec<Type> {
        types(self.text(login))
    }
}

fn types(text: &str) -> Vec<Type> {
    let mut types: Vec<Option<Type>> = Vec::new();
    for line in text.lines().map(|line| line.split("--").next().unwrap_or_default()) {
        for rest in line.split('$').skip(1) {
            let digits = rest.len() - rest.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
            let (number, rest) = rest.split_at(digits);
            let Some(number) = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1)) else {
                continue;
            };
            if types.len() <= number {
                types.resize(number + 1, None);
            }
            let Some(cast) = rest.strip_prefix("::") else { continue };
            let end = cast.find(|letter: char| !letter.is_ascii_lowercase() && !matches!(letter, '[' | ']'));
            types[number] = type_named(&cast[..end.unwrap_or(cast.len())]);
        }
    }
    // What is not cast is left to the server, and then refused by the driver.
    types.into_iter().map(|known| known.unwrap_or(Type::UNKNOWN)).collect()
}

fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bigint" => Type::INT8,
        "bigint[]" => Type::INT8_ARRAY,
        "bytea" => Type::BYTEA,
        "bytea[]" => Type::BYTEA_ARRAY,
        "boolean" => Type::BOOL,
        "boolean[]" => Type::BOOL_ARRAY,
        "integer" => Type::INT4,
        "integer[]" => Type::INT4_ARRAY,
        "smallint" => Type::INT2,
        "smallint[]" => Type::INT2_ARRAY,
        "oid" => Type::OID,
        "oid[]" => Type::OID_ARRAY,
        "text" => Type::TEXT,
        "text[]" => Type::TEXT_ARRAY,
        "timestamptz" => Type::TIMESTAMPTZ,
        "timestamptz[]" => Type::TIMESTAMPTZ_ARRAY,
        "uuid" => Type::UUID,
        "uuid[]" => Type::UUID_ARRAY,
        _ => return None,
    })
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
        #[cfg(test)]
        const ALL: &[&Statement] = &[$($constant),*];

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
    DUE_INSERT "due_insert";
    TAG_INSERT "tag_insert";
    COPY_INSERT "copy_insert";
    RERUN_LOCK "rerun_lock";
    RERUN_MARK "rerun_mark";
    EXECUTION_MET "execution_met";
    EXECUTION_LIST_SUPERSEDED "execution_list_superseded";
    EXECUTION_LIST_TAGGED "execution_list_tagged";
    EXECUTION_LOCK "execution_lock";
    TASK_RECORD "task_record";
    TASK_END "task_end";
    EXECUTION_CLOSE "execution_close";
    DUE_DROP "due_drop";
    TASK_CLAIM "task_claim";
    EXECUTION_CANCEL "execution_cancel";
    EXECUTION_PARK "execution_park";
    WAIT_REACH "wait_reach";
    WAIT_DUE "wait_due";
    WAIT_ENDS "wait_ends";
    WAIT_LOCK "wait_lock";
    WAIT_LOOK "wait_look";
    WAIT_BEGIN "wait_begin";
    WAIT_END "wait_end";
    WAIT_VOID "wait_void";
    WAIT_OPEN "wait_open";
    WAIT_MOVE "wait_move";
    WAIT_AWAY "wait_away";
    WAIT_BACK "wait_back";
    WAIT_LIST "wait_list";
    WAIT_ANY "wait_any";
    WAIT_DROP "wait_drop";
    WAIT_PRUNE "wait_prune";
    CHILDREN_BEGIN "children_begin";
    CHILDREN_ASK "children_ask";
    CHILDREN_DUE "children_due";
    CHILDREN_NODES "children_nodes";
    CHILDREN_ROWS "children_rows";
    CHILDREN_TAKE "children_take";
    CHILDREN_VOID "children_void";
    CHILDREN_COUNT "children_count";
    CHILDREN_INSERT "children_insert";
    CHILDREN_LIST "children_list";
    CHILDREN_PROGRESS "children_progress";
    CHILDREN_PARALLEL "children_parallel";
    CHILDREN_SWEEP "children_sweep";
    TASK_KEEP "task_keep";
    PAGE_WRITE "page_write";
    PAGE_READ "page_read";
    CHILD_LINK "child_link";
    SWEEP_TAKE "sweep_take";
    SWEEP_DONE "sweep_done";
    SIGNAL_START "signal_start";
    SIGNAL_LOCK "signal_lock";
    SIGNAL_LOOK "signal_look";
    SIGNAL_INSERT "signal_insert";
    EXPAND_INSERT "expand_insert";
    EXPAND_TAKE "expand_take";
    EXECUTION_EXPAND "execution_expand";
    EXPAND_TAKE_RERUN "expand_take_rerun";
    EXECUTION_PAUSE "execution_pause";
    EXECUTION_RESUME "execution_resume";
    EXECUTION_OVERDUE "execution_overdue";
    EXECUTION_ORPHANED "execution_orphaned";
    EXECUTION_STUCK "execution_stuck";
    RUNNER_UNKNOWN "runner_unknown" own;
    EXECUTION_COUNT "execution_count";
    EXECUTION_WAITING "execution_waiting";
    PLACE_FIGURES "place_figures";
    EXECUTION_STATE "execution_state";
    DUE_PEEK "due_peek";
    DUE_TAKE "due_take";
    SCHEDULE_TAKE "schedule_take";
    SCHEDULE_LOCK "schedule_lock";
    SCHEDULE_LOAD "schedule_load";
    SCHEDULE_LIST "schedule_list";
    SCHEDULE_ENDED "schedule_ended";
    SCHEDULE_PUT "schedule_put";
    SCHEDULE_DELETE "schedule_delete";
    SCHEDULE_UNDUE "schedule_undue";
    SCHEDULE_DUE "schedule_due";
    RELATED_WAKE "related_wake";
    SCHEDULE_START "schedule_start";
    SCHEDULE_FIRE "schedule_fire";
    SCHEDULE_PRUNE "schedule_prune";
    SCHEDULE_FIRES "schedule_fires";
    EXECUTION_LOAD "execution_load";
    EXECUTION_HEADERS "execution_headers";
    EXECUTION_PULSE "execution_pulse";
    EXECUTION_FIND "execution_find";
    EXECUTION_LIST "execution_list";
    EXECUTION_ANY "execution_any";
    EXECUTION_LIST_FILTERED "execution_list_filtered";
    EXECUTION_PRUNE "execution_prune";
    EXECUTION_OLDEST "execution_oldest";
    RETENTION_TAKE "retention_take";
    RETENTION_NOTE "retention_note";
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
    TENANT_VERSIONS "tenant_versions";
    TENANT_LARGEST "tenant_largest";
    TENANT_SHARE "tenant_share";
    DATABASE_INSERT "database_insert";
    DATABASE_STATE "database_state";
    DATABASE_LIST "database_list";
    TENANT_BIND "tenant_bind";
    TENANT_FIND "tenant_find";
    TENANT_LIST "tenant_list";
    TENANT_STATE "tenant_state";
    TENANT_LIMITS "tenant_limits";
    TENANT_EMPTY "tenant_empty";
    TENANT_FORGET "tenant_forget";
    TENANT_MEASURE "tenant_measure";
    TENANT_VERIFY "tenant_verify";
    LOGIN_INSERT "login_insert";
    LOGIN_RENEW "login_renew";
    LOGIN_OVERDUE "login_overdue";
    WORKFLOW_DESCRIBE "workflow_describe" own;
    WORKFLOW_LIST "workflow_list" own;
    WORKFLOW_DESCRIPTION "workflow_description" own;
    KEY_INSERT "key_insert";
    KEY_FIND "key_find";
    KEY_LIST "key_list";
    KEY_DELETE "key_delete";
    KEY_USED "key_used";
    KEY_PRUNE "key_prune";
    TEMPLATE_PUT "template_put";
    TEMPLATE_LIST "template_list";
    ROLLOUT_TAKE "rollout_take";
    ROLLOUT_NOTE "rollout_note";
    AUDIT_NOTE "audit_note" own;
    AUDIT_ROWS "audit_rows" own;
    AUDIT_UNSEALED "audit_unsealed";
    AUDIT_SEAL "audit_seal";
    AUDIT_END "audit_end";
    AUDIT_CHAIN "audit_chain";
    AUDIT_ENDS "audit_ends";
    EXECUTION_BY "execution_by";
    EXECUTION_ON_FAILURE "execution_on_failure";
    AUDIT_INSERT "audit_insert";
    AUDIT_LIST "audit_list";
    SESSION_BLOCKERS "session_blockers";
    SESSION_UNBLOCK "session_unblock";
    SESSION_PREPARED "session_prepared";
    SESSION_COUNT "session_count";
    SESSION_END "session_end";
    SESSION_TENANTS "session_tenants";
    SESSION_REAP "session_reap";
    ROLE_REMAINS "role_remains";
    ROLE_GRANTERS "role_granters";
    ROLE_OIDS "role_oids";
    ADMIN_STATE "admin_state";
    RUNNING_COUNT "running_count";
    MIGRATION_LIST "migration_list";
    MIGRATION_INSERT "migration_insert";
    MANY_RUNNER_PLACE_INSERT "many/runner_place_insert";
    MANY_EXECUTION_INSERT "many/execution_insert";
    MANY_TASK_INSERT "many/task_insert";
    MANY_EXECUTION_LOCK "many/execution_lock";
    MANY_TASK_END "many/task_end";
    MANY_EXECUTION_CLOSE "many/execution_close";
    MANY_TASK_CLAIM "many/task_claim";
    MANY_BELL_RING "many/bell_ring";
    MANY_BELL_LOCK "many/bell_lock";
    MANY_BELL_DUE_NEXT "many/bell_due_next";
    MANY_BELL_LOWER "many/bell_lower";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_of_every_statement_is_cast_to_a_type() {
        for statement in ALL {
            for login in [Login::Operator, Login::Tenant] {
                let types = statement.types(login);
                assert!(!types.contains(&Type::UNKNOWN), "{}: {types:?}", statement.name);
            }
        }
        assert_eq!(FENCE.types(Login::Operator), [Type::UUID, Type::TIMESTAMPTZ]);
    }
}
