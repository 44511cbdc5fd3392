-- Runners that tasks run under although they have no row: in a file that was put together from parts of
-- others.
SELECT DISTINCT t.runner_id
FROM workflow_executions AS e INDEXED BY workflow_executions_listed
CROSS JOIN task_executions AS t ON t.tenant_id = e.tenant_id AND t.execution_id = e.id
WHERE e.tenant_id = ?1 AND e.state IN ('running', 'paused') AND t.state = 'running'
  AND NOT EXISTS (SELECT 1 FROM cloacina_runner WHERE id = t.runner_id)
LIMIT 100
