SELECT 1 FROM workflow_executions WHERE tenant_id = ?1 AND id = ?2 AND finished_at IS NULL
