-- The execution that a signal starts, as one that was submitted by name.
INSERT INTO workflow_executions (
    tenant_id, id, workflow, fingerprint, state, priority, created_at, idempotency_key, input_hash, expands_at, input
) VALUES (?1, ?2, ?3, 0, 'pending', ?4, ?5, ?6, ?7, ?5, ?8)
