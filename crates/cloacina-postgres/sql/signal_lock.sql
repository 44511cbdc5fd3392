-- Locks the execution that a signal is for: the one with this id, or of this workflow and idempotency key.
SELECT id, state, superseded_by FROM workflow_executions
WHERE tenant_id = $1::uuid AND id = coalesce($2::uuid, (
    SELECT id FROM workflow_executions WHERE tenant_id = $1 AND workflow = $3::text AND idempotency_key = $4::text
))
FOR NO KEY UPDATE
