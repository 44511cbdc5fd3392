-- The attempt is over, the task is not.
UPDATE task_executions
SET state = 'ready', due_at = ?4, failures = min(failures, 2147483646) + ?5, lost = min(lost, 2147483646) + ?6, error = coalesce(?7, error)
WHERE tenant_id = ?1 AND execution_id = ?2 AND task = ?3 AND state = 'running' AND runner_id = ?8 AND attempt = ?9
RETURNING started_at
