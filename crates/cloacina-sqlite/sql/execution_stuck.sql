-- Executions that run with nothing left to be done. No transaction of ours leaves one behind.
SELECT e.id
FROM workflow_executions AS e INDEXED BY workflow_executions_listed
WHERE e.tenant_id = ?1 AND e.state = 'running' AND NOT EXISTS (
    SELECT 1 FROM task_executions AS t WHERE t.tenant_id = e.tenant_id AND t.execution_id = e.id AND t.finished_at IS NULL
)
LIMIT ?2
