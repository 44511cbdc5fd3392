-- The open waits that ask something, of these executions after ?4, ?5, in the order of executions.
SELECT wait.execution_id, wait.task, node.name, execution.workflow, node.started_at, wait.signal, wait.until, wait.ask
FROM (
    SELECT execution_id, task, signal, until, ask FROM task_waits INDEXED BY task_waits_asking
    WHERE tenant_id = ?1 AND execution_id BETWEEN ?2 AND ?3 AND (execution_id, task) > (?4, ?5)
      AND ask IS NOT NULL
    ORDER BY execution_id, task
    LIMIT ?6
) AS wait
JOIN task_executions AS node ON node.tenant_id = ?1 AND node.execution_id = wait.execution_id AND node.task = wait.task
JOIN workflow_executions AS execution ON execution.tenant_id = ?1 AND execution.id = wait.execution_id
WHERE node.state = 'waiting' AND execution.finished_at IS NULL
ORDER BY wait.execution_id, wait.task
