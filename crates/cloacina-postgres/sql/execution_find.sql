SELECT id, input_hash
FROM workflow_executions
WHERE tenant_id = $1::uuid AND workflow = $2::text AND idempotency_key = $3::text
