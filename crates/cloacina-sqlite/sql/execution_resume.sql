UPDATE workflow_executions SET state = CASE WHEN started_at IS NULL THEN 'pending' ELSE 'running' END, error = NULL
WHERE tenant_id = ?1 AND id = ?2 AND state = 'paused'
RETURNING state
