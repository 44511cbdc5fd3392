UPDATE task_executions SET state = 'running', attempt = min(attempt, 2147483646) + 1, runner_id = ?4, started_at = ?5
WHERE tenant_id = ?1 AND execution_id = ?2 AND task = ?3 AND state = 'ready'
RETURNING attempt, failures, lost
