-- How a node waits that still does: until when, if it has begun to, and the first signal that it could take;
-- that of the name ?4 if it has not begun to wait.
SELECT wait.until, (
    SELECT number FROM signals
    WHERE tenant_id = ?1 AND execution_id = ?2 AND name = coalesce(wait.signal, ?4) AND taken_by IS NULL
    ORDER BY number LIMIT 1
), coalesce(wait.signal, ?4)
FROM task_executions AS node
LEFT JOIN task_waits AS wait ON wait.tenant_id = ?1 AND wait.execution_id = ?2 AND wait.task = ?3
WHERE node.tenant_id = ?1 AND node.execution_id = ?2 AND node.task = ?3 AND node.state = 'waiting'
