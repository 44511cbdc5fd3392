-- The write lock of the file is held already; this reads what the steps after it need to know.
SELECT state, priority, workflow, fingerprint, deadline, expands_at, schedule_id, parent_id, has_waits FROM workflow_executions WHERE tenant_id = ?1 AND id = ?2
