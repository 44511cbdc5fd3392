-- Executions that run with nothing left to be done. No transaction of ours leaves one behind.
SELECT execution.id
FROM workflow_executions AS execution
WHERE execution.tenant_id = $1::uuid AND execution.state = 'running' AND execution.priority >= 0
  AND NOT EXISTS (
    SELECT FROM task_executions AS task
    WHERE task.tenant_id = $1 AND task.execution_id = execution.id AND task.state IN ('pending', 'waiting', 'ready', 'running')
    OFFSET 0
  )
LIMIT $2::bigint
