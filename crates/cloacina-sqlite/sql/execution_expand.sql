UPDATE workflow_executions SET fingerprint = ?3, expands_at = NULL, on_failure = coalesce(on_failure, ?4) WHERE tenant_id = ?1 AND id = ?2
