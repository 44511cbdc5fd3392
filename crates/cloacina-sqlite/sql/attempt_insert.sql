-- Or ignore: a row that somebody else put there is not worth the whole flush.
INSERT OR IGNORE INTO task_attempts (
    tenant_id, execution_id, task, attempt, runner_id, outcome, started_at, finished_at, error
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
