-- The tasks that run under a runner: those of executions that run, or were paused while a task of theirs ran.
-- Not more than a runner can hold.
SELECT task.execution_id, task.task, left(execution.workflow, 1000) AS workflow, execution.fingerprint, execution.priority, task.attempt, task.failures,
       task.lost
FROM workflow_executions AS execution
JOIN task_executions AS task ON task.tenant_id = $1 AND task.execution_id = execution.id
WHERE execution.tenant_id = $1::uuid AND execution.state IN ('running', 'paused') AND execution.priority >= 0
  AND task.state = 'running' AND task.runner_id = $2::uuid
ORDER BY task.execution_id, task.task
LIMIT 10000
