-- Backwards, because what is not over is usually at the end.
UPDATE workflow_executions
SET (state, error) = (
        SELECT CASE WHEN count(*) = 0 THEN 'completed' ELSE 'failed' END, (
            SELECT error FROM task_executions
            WHERE tenant_id = ?1 AND execution_id = ?2 AND state = 'failed' AND handled = 0
            ORDER BY task LIMIT 1
        )
        FROM task_executions
        WHERE tenant_id = ?1 AND execution_id = ?2 AND state = 'failed' AND handled = 0
    ),
    finished_at = ?3
WHERE tenant_id = ?1 AND id = ?2 AND state IN ('pending', 'running') AND NOT EXISTS (
    SELECT 1 FROM task_executions
    WHERE tenant_id = ?1 AND execution_id = ?2 AND finished_at IS NULL
    ORDER BY task DESC LIMIT 1
)
RETURNING state, deadline
