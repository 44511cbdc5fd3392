-- The open wait of this name of an execution that is locked, what time it is, and whether a signal is there
-- that it will take.
SELECT wait.task, coalesce($4::timestamptz, now()) AS now, EXISTS (
    SELECT FROM signals
    WHERE tenant_id = $1 AND execution_id = $2 AND name = wait.signal AND taken_by IS NULL
    OFFSET 0
) AS signalled
FROM task_waits AS wait
JOIN task_executions AS node ON node.tenant_id = $1::uuid AND node.execution_id = $2::uuid AND node.task = wait.task
WHERE wait.tenant_id = $1 AND wait.execution_id = $2 AND node.name = $3::text AND node.state = 'waiting'
ORDER BY wait.task
LIMIT 1
