DELETE FROM workflow_executions WHERE tenant_id = ?1 AND id = ?2 AND finished_at < ?3 RETURNING has_waits, tags
