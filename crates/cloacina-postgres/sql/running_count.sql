-- How many tasks run in a place.
SELECT count(*) AS running
FROM workflow_executions AS execution
JOIN task_executions AS task ON task.tenant_id = $1 AND task.execution_id = execution.id AND task.state = 'running'
WHERE execution.tenant_id = $1::uuid AND execution.finished_at IS NULL
