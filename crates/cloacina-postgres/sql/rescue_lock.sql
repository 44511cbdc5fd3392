-- Locks the open executions that have tasks under a dead runner. Nothing can be added to them: the fence
-- keeps it out.
SELECT execution.id
FROM workflow_executions AS execution
WHERE execution.tenant_id = $1::uuid AND execution.state IN ('running', 'paused') AND execution.priority >= 0
  AND EXISTS (
    SELECT FROM task_executions AS task
    WHERE task.tenant_id = $1 AND task.execution_id = execution.id AND task.state = 'running' AND task.runner_id = $2::uuid
    OFFSET 0
  )
ORDER BY execution.id
FOR NO KEY UPDATE
