-- A task of a rerun that is over from the beginning. This execution did not try it.
INSERT INTO task_executions (
    tenant_id, execution_id, task, name, state, waiting_on, started_at, finished_at, outcome, skip_reason, patch
) VALUES (?1, ?2, ?3, ?4, iif(?7 IS NULL, 'completed', 'skipped'), 0, ?5, ?6, iif(?7 IS NULL, 'completed', NULL), ?7, ?8)
