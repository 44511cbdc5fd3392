-- A conflict is a repeat of this execution, or another one under the same idempotency key.
INSERT INTO workflow_executions (
    tenant_id, id, workflow, fingerprint, state, priority, created_at, started_at, deadline, idempotency_key, input_hash, expands_at, input,
    rerun_of, tags, submitted_by, on_failure
) VALUES (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
    -- A rerun starts what the execution before it did if it fails, which a schedule may have said.
    coalesce((SELECT on_failure FROM workflow_executions WHERE tenant_id = ?1 AND id = ?14), ?17)
)
ON CONFLICT DO NOTHING
