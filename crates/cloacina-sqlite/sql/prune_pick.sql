SELECT id FROM workflow_executions WHERE tenant_id = ?1 AND finished_at < ?2 ORDER BY finished_at LIMIT ?3
