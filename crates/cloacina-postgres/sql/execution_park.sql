-- After executions were closed: those of these that have nothing left but waits are waiting. What runs is
-- found without them. On the ctids see `task_record`.
UPDATE workflow_executions AS execution SET state = 'waiting'
FROM unnest($2::uuid[]) AS candidate (id)
CROSS JOIN LATERAL (
    SELECT ctid FROM workflow_executions AS open
    WHERE open.tenant_id = $1::uuid AND open.id = candidate.id AND open.state = 'running'
      AND NOT EXISTS (
        SELECT FROM task_executions AS task
        WHERE task.tenant_id = $1 AND task.execution_id = candidate.id AND task.state IN ('ready', 'running')
        OFFSET 0
      )
      AND EXISTS (
        SELECT FROM task_executions AS task
        WHERE task.tenant_id = $1 AND task.execution_id = candidate.id AND task.state = 'waiting'
        OFFSET 0
      )
    OFFSET 0
) AS open
WHERE execution.ctid = open.ctid
