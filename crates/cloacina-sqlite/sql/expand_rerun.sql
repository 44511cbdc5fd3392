-- A rerun that is not expanded.
SELECT priority, expands_at FROM workflow_executions
WHERE tenant_id = ?1 AND id = ?2 AND state = 'pending' AND expands_at IS NOT NULL
