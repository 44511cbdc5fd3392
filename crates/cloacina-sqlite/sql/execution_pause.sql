UPDATE workflow_executions SET state = 'paused'
WHERE tenant_id = ?1 AND id = ?2 AND state IN ('pending', 'running')
