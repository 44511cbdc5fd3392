-- How many tasks run in a place.
SELECT count(*) AS running
FROM workflow_executions AS execution
JOIN task_executions AS task ON task.tenant_id = $1 AND task.execution_id = execution.id AND task.state = 'running'
WHERE execution.tenant_id = $1::uuid AND execution.state IN ('running', 'paused') AND execution.priority >= 0
