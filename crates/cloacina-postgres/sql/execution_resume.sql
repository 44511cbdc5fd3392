-- Resumes an execution that is locked already: its ready tasks return to the ready table.
WITH resumed AS (
    UPDATE workflow_executions AS execution SET
        state = CASE WHEN execution.started_at IS NULL THEN 'pending' ELSE 'running' END,
        error = NULL
    WHERE execution.tenant_id = $1::uuid AND execution.id = $2::uuid AND execution.state = 'paused'
    RETURNING execution.id, execution.priority, execution.workflow, execution.fingerprint, execution.expands_at
),
ready AS (
    INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
    SELECT $1, resumed.priority, task.due_at, resumed.id, task.task, resumed.workflow, resumed.fingerprint
    FROM resumed
    JOIN task_executions AS task ON task.tenant_id = $1 AND task.execution_id = resumed.id AND task.state = 'ready'
    UNION ALL
    SELECT $1, resumed.priority, resumed.expands_at, resumed.id, 0, resumed.workflow, 0
    FROM resumed WHERE resumed.expands_at IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT id FROM resumed
