SELECT 1
FROM workflow_executions INDEXED BY workflow_executions_finished
WHERE tenant_id = ?1 AND finished_at IS NULL AND state = 'paused' AND error = ?2
LIMIT 1
