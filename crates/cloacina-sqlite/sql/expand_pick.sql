-- Executions that are not expanded and whose start is due. One that is paused has no ready row.
SELECT id, workflow, priority, expands_at, rerun_of IS NOT NULL FROM workflow_executions INDEXED BY workflow_executions_unexpanded
WHERE tenant_id = ?1 AND expands_at IS NOT NULL AND state = 'pending' AND expands_at <= ?2 AND workflow IN (SELECT value FROM json_each(?3))
ORDER BY expands_at LIMIT ?4
