-- An execution that has nothing left but waits is waiting.
UPDATE workflow_executions SET state = 'waiting'
WHERE tenant_id = ?1 AND id = ?2 AND state = 'running'
  AND NOT EXISTS (
    SELECT 1 FROM task_executions WHERE tenant_id = ?1 AND execution_id = ?2 AND state IN ('ready', 'running')
  )
  AND EXISTS (SELECT 1 FROM task_executions WHERE tenant_id = ?1 AND execution_id = ?2 AND state = 'waiting')
