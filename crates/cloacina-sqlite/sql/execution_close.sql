-- What is not over is looked for backwards, because it is usually at the end. (Within EXISTS, SQLite would
-- ignore the order.)
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
WHERE tenant_id = ?1 AND id = ?2 AND state IN ('pending', 'running') AND expands_at IS NULL AND (
    SELECT task FROM task_executions
    WHERE tenant_id = ?1 AND execution_id = ?2 AND finished_at IS NULL
    ORDER BY task DESC LIMIT 1
) IS NULL
RETURNING state, deadline, schedule_id, parent_id, has_waits, iif(state = 'failed', on_failure, NULL)
