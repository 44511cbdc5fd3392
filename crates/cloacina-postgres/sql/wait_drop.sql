-- What these executions waited for, now that they are cancelled.
DELETE FROM task_waits AS wait
USING unnest($2::uuid[]) AS cancelled (id)
CROSS JOIN LATERAL (
    SELECT ctid FROM task_waits AS begun
    WHERE begun.tenant_id = $1::uuid AND begun.execution_id = cancelled.id AND NOT EXISTS (
        SELECT FROM workflow_executions AS execution
        WHERE execution.tenant_id = $1 AND execution.id = cancelled.id AND execution.finished_at IS NULL
        OFFSET 0
    )
    OFFSET 0
) AS begun
WHERE wait.ctid = begun.ctid
