UPDATE workflow_executions SET state = 'running', started_at = ?3
WHERE tenant_id = ?1 AND id = ?2 AND state = 'pending'
RETURNING input, created_at
