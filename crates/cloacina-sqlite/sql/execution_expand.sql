UPDATE workflow_executions SET fingerprint = ?3, expands_at = NULL WHERE tenant_id = ?1 AND id = ?2
