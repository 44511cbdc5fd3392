//! The statements by name. Each is a file of its own in `sql/`; the SQLite store has files of the same names.

/// A statement that is prepared once per connection.
///
/// Its text names the tables of a place without a schema, so one text and one prepared statement serve every tenant: the
/// transaction's search path says whose tables they are.
pub(crate) struct Statement {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
}

macro_rules! statements {
    ($($constant:ident $name:literal)*) => {
        $(pub(crate) const $constant: &Statement =
            &Statement { name: $name, sql: include_str!(concat!("../sql/", $name, ".sql")) };)*
    };
}

statements! {
    FENCE "fence"
    CLOCK "clock"
    EXECUTION_INSERT "execution_insert"
    TASK_INSERT "task_insert"
    DEADLINE_INSERT "deadline_insert"
    EXECUTION_LOCK "execution_lock"
    TASK_RECORD "task_record"
    TASK_END "task_end"
    EXECUTION_CLOSE "execution_close"
    TASK_CLAIM "task_claim"
    EXECUTION_CANCEL "execution_cancel"
    EXECUTION_PAUSE "execution_pause"
    EXECUTION_RESUME "execution_resume"
    EXECUTION_OVERDUE "execution_overdue"
    EXECUTION_ORPHANED "execution_orphaned"
    EXECUTION_COUNT "execution_count"
    EXECUTION_STATE "execution_state"
    DEADLINE_DUE "deadline_due"
    DEADLINE_DROP "deadline_drop"
    EXECUTION_LOAD "execution_load"
    EXECUTION_HEADERS "execution_headers"
    EXECUTION_FIND "execution_find"
    EXECUTION_LIST "execution_list"
    EXECUTION_PRUNE "execution_prune"
    TASK_LOAD "task_load"
    TASK_HELD "task_held"
    ATTEMPT_LIST "attempt_list"
    BELL_RING "bell_ring"
    BELL_LOCK "bell_lock"
    BELL_DUE_NEXT "bell_due_next"
    BELL_LOWER "bell_lower"
    BELL_DUE "bell_due"
    NOTICE_PRUNE "notice_prune"
    RUNNER_REGISTER "runner_register"
    RUNNER_HEARTBEAT "runner_heartbeat"
    RUNNER_LIST "runner_list"
    RUNNER_CONDEMN "runner_condemn"
    RUNNER_STATE "runner_state"
    RUNNER_REMOVE "runner_remove"
    RUNNER_PLACES "runner_places"
    RUNNER_PLACE_INSERT "runner_place_insert"
    RUNNER_PLACE_DELETE "runner_place_delete"
    RESCUE_LOCK "rescue_lock"
    TASK_RESCUE "task_rescue"
    PLACE_FIND "place_find"
    PLACE_INSERT "place_insert"
    PLACE_OF "place_of"
    PLACE_LOCK "place_lock"
    PLACE_VERSION "place_version"
    TENANT_STATUS "tenant_status"
    MIGRATION_LIST "migration_list"
    MIGRATION_INSERT "migration_insert"
}
