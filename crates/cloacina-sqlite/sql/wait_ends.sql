SELECT task, state, skip_reason FROM task_executions
WHERE tenant_id = ?1 AND execution_id = ?2 AND finished_at IS NOT NULL
LIMIT 10000
