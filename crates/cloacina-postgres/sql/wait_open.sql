-- The open wait of this name of an execution that is locked; with the earliest time that it may be moved to.
SELECT wait.task, coalesce($4::timestamptz, now()) AS now
FROM task_waits AS wait
JOIN task_executions AS node ON node.tenant_id = $1::uuid AND node.execution_id = $2::uuid AND node.task = wait.task
WHERE wait.tenant_id = $1 AND wait.execution_id = $2 AND node.name = $3::text AND node.state = 'waiting'
ORDER BY wait.task
LIMIT 1
