UPDATE workflow_executions SET state = 'cancelled', finished_at = ?3, error = ?4
WHERE tenant_id = ?1 AND id = ?2 AND state IN ('pending', 'running', 'waiting', 'paused')
