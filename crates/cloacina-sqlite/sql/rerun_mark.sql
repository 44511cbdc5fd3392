UPDATE workflow_executions SET superseded_by = ?3 WHERE tenant_id = ?1 AND id = ?2
