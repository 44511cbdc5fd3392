-- Pauses an execution that is locked already: its ready rows leave the ready table; its deadline stays.
WITH paused AS (
    UPDATE workflow_executions AS execution SET state = 'paused', error = $3::text
    WHERE execution.tenant_id = $1::uuid AND execution.id = $2::uuid AND execution.state IN ('pending', 'running', 'waiting')
    RETURNING execution.id, execution.priority, execution.expands_at
),
taken AS (
    DELETE FROM ready_tasks AS ready
    USING paused, task_executions AS task
    WHERE task.tenant_id = $1 AND task.execution_id = paused.id AND task.state = 'ready'
      AND ready.tenant_id = $1 AND ready.priority = paused.priority AND ready.due_at = task.due_at
      AND ready.execution_id = paused.id AND ready.task = task.task
),
unexpanded AS (
    DELETE FROM ready_tasks AS ready
    USING paused
    WHERE paused.expands_at IS NOT NULL
      AND ready.tenant_id = $1 AND ready.priority = paused.priority AND ready.due_at = paused.expands_at
      AND ready.execution_id = paused.id AND ready.task = 0
)
SELECT id FROM paused
