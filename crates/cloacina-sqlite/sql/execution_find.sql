SELECT id, input_hash FROM workflow_executions WHERE tenant_id = ?1 AND workflow = ?2 AND idempotency_key = ?3
