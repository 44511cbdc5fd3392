-- Cancels executions that are locked already, with everything of theirs that is not over.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
cancelled AS (
    UPDATE workflow_executions AS execution SET state = 'cancelled', finished_at = clock.now, error = $4::text
    FROM unnest($3::uuid[]) AS wanted (id), clock
    WHERE execution.tenant_id = $1::uuid AND execution.id = wanted.id AND execution.finished_at IS NULL
    RETURNING execution.id, execution.priority, execution.deadline
),
ended AS (
    UPDATE task_executions AS task SET
        state = 'cancelled', finished_at = clock.now,
        outcome = CASE WHEN task.state = 'running' THEN 'cancelled' END
    FROM cancelled, clock
    WHERE task.tenant_id = $1 AND task.execution_id = cancelled.id AND task.state IN ('waiting', 'ready', 'running')
    RETURNING task.execution_id, task.task, task.due_at, cancelled.priority
),
taken AS (
    -- Tasks that were running have a due time and no row; they find nothing.
    DELETE FROM ready_tasks AS ready
    USING ended
    WHERE ended.due_at IS NOT NULL
      AND ready.tenant_id = $1 AND ready.priority = ended.priority AND ready.due_at = ended.due_at
      AND ready.execution_id = ended.execution_id AND ready.task = ended.task
),
deadline AS (
    DELETE FROM ready_tasks AS ready
    USING cancelled
    WHERE cancelled.deadline IS NOT NULL
      AND ready.tenant_id = $1 AND ready.priority = -1 AND ready.due_at = cancelled.deadline
      AND ready.execution_id = cancelled.id AND ready.task = -1
)
SELECT id FROM cancelled
