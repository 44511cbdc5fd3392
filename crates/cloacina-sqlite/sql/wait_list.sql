-- The open waits after ?3, ?4, in the order of executions: of one execution, or only those that ask, if that is
-- asked for.
SELECT wait.execution_id, wait.task, node.name, execution.workflow, node.started_at, wait.signal, wait.until, wait.ask
FROM (
    SELECT execution_id, task, signal, until, ask FROM task_waits
    WHERE tenant_id = ?1 AND (?2 IS NULL OR execution_id = ?2) AND (execution_id, task) > (?3, ?4)
      AND (?5 = 0 OR ask IS NOT NULL)
    ORDER BY execution_id, task
    LIMIT ?6
) AS wait
JOIN task_executions AS node ON node.tenant_id = ?1 AND node.execution_id = wait.execution_id AND node.task = wait.task
JOIN workflow_executions AS execution ON execution.tenant_id = ?1 AND execution.id = wait.execution_id
WHERE node.state = 'waiting' AND execution.finished_at IS NULL
ORDER BY wait.execution_id, wait.task
