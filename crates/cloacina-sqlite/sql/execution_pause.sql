UPDATE workflow_executions SET state = 'paused', error = ?3
WHERE tenant_id = ?1 AND id = ?2 AND state IN ('pending', 'running', 'waiting')
