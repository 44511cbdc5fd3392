-- What there is for a signal: whether its key came before, how many signals wait to be taken, its number, and
-- the open wait that takes it.
SELECT
    ?4 IS NOT NULL AND EXISTS (
        SELECT 1 FROM signals WHERE tenant_id = ?1 AND execution_id = ?2 AND name = ?3 AND key = ?4
    ),
    (
        SELECT count(*) FROM (
            SELECT 1 FROM signals WHERE tenant_id = ?1 AND execution_id = ?2 AND taken_by IS NULL LIMIT ?5
        )
    ),
    (SELECT coalesce(max(number), 0) + 1 FROM signals WHERE tenant_id = ?1 AND execution_id = ?2 AND name = ?3),
    wait.task, wait.due_at, wait.ask
FROM (SELECT 1)
LEFT JOIN (
    SELECT begun.task, node.due_at, begun.ask
    FROM task_waits AS begun
    JOIN task_executions AS node ON node.tenant_id = ?1 AND node.execution_id = ?2 AND node.task = begun.task
    WHERE begun.tenant_id = ?1 AND begun.execution_id = ?2 AND begun.signal = ?3 AND node.state = 'waiting'
    ORDER BY begun.task
    LIMIT 1
) AS wait
