SELECT id, workflow, fingerprint, state, priority, created_at, started_at, finished_at, deadline, error
FROM workflow_executions WHERE tenant_id = ?1 AND id = ?2
