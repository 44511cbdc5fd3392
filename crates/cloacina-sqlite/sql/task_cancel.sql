UPDATE task_executions
SET outcome = CASE state WHEN 'running' THEN 'cancelled' END, state = 'cancelled', finished_at = ?3
WHERE tenant_id = ?1 AND execution_id = ?2 AND finished_at IS NULL
