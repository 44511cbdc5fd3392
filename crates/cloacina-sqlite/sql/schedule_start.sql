-- An execution of a schedule, as one that was submitted by name. One that meets its key was started before.
INSERT INTO workflow_executions (
    tenant_id, id, workflow, fingerprint, state, priority, created_at, idempotency_key, input_hash, expands_at, schedule_id, input, on_failure
) VALUES (?1, ?2, ?3, 0, 'pending', ?4, ?5, ?6, 0, ?5, ?7, ?8, ?9)
ON CONFLICT DO NOTHING
