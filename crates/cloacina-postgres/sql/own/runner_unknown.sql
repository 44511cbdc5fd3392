-- What a tenant's own login says in place of `runner_unknown`: whose row there is, it may not see.
SELECT DISTINCT task.runner_id
FROM workflow_executions AS execution
JOIN task_executions AS task ON task.tenant_id = $1 AND task.execution_id = execution.id
WHERE execution.tenant_id = $1::uuid AND execution.state IN ('running', 'paused') AND execution.priority >= 0 AND task.state = 'running'
  AND NOT EXISTS (SELECT FROM cloacina.my_runner_state(task.runner_id, NULL) OFFSET 0)
LIMIT 100
