UPDATE task_executions
SET state = ?4, outcome = ?5, finished_at = ?6, patch = ?7, error = ?8, skip_reason = ?9
WHERE tenant_id = ?1 AND execution_id = ?2 AND task = ?3 AND state = 'waiting'
