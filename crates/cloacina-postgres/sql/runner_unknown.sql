-- Runners that tasks run under although they have no row: in a place that was put back from a backup. A
-- runner's row is committed before its first claim, and removed after its last task is taken back, so this
-- look at both is never mistaken.
SELECT DISTINCT task.runner_id
FROM workflow_executions AS execution
JOIN task_executions AS task ON task.tenant_id = $1 AND task.execution_id = execution.id
WHERE execution.tenant_id = $1::uuid AND execution.state IN ('running', 'paused') AND execution.priority >= 0 AND task.state = 'running'
  AND NOT EXISTS (SELECT FROM cloacina.runner WHERE runner.id = task.runner_id OFFSET 0)
LIMIT 100
