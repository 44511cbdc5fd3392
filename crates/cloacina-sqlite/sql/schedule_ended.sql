SELECT state FROM workflow_executions WHERE tenant_id = ?1 AND id = ?2 AND schedule_id = ?3 AND finished_at IS NOT NULL
