SELECT 1
FROM workflow_executions INDEXED BY workflow_executions_listed
WHERE tenant_id = ?1 AND state = 'paused' AND error = ?2
LIMIT 1
