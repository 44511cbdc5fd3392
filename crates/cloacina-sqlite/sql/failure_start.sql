-- Starts the workflow that an execution names for its failure, as one that was submitted by name, under a key
-- of its own (`ON_FAILURE` in the core), so once. Not for one that was started so itself, nor for a child of
-- one.
INSERT INTO workflow_executions (
    tenant_id, id, workflow, fingerprint, state, priority, created_at, idempotency_key, input_hash, expands_at, input
)
SELECT ?1, ?3, failed.on_failure, 0, 'pending', failed.priority, ?4, 'cloacina/on-failure/' || ?5, 0, ?4,
       json_object('execution_id', ?5, 'workflow', failed.workflow, 'error', failed.error)
FROM workflow_executions AS failed
LEFT JOIN workflow_executions AS parent ON parent.tenant_id = ?1 AND parent.id = failed.parent_id
WHERE failed.tenant_id = ?1 AND failed.id = ?2 AND failed.on_failure IS NOT NULL
  AND coalesce(failed.idempotency_key, '') NOT LIKE 'cloacina/on-failure/%'
  AND coalesce(parent.idempotency_key, '') NOT LIKE 'cloacina/on-failure/%'
ON CONFLICT DO NOTHING
RETURNING workflow, priority
