-- Step 5 of a flush: ends executions that have nothing left. A new statement, so that every outcome is visible to it.
-- It knows no rule: what a completed task handles was marked before.
WITH closed AS (
    UPDATE workflow_executions AS execution SET
        state = CASE WHEN failure.task IS NULL THEN 'completed' ELSE 'failed' END,
        finished_at = coalesce($2::timestamptz, now()),
        error = failure.error
    FROM unnest($3::uuid[]) AS candidate (id)
    LEFT JOIN LATERAL (
        SELECT task.task, task.error
        FROM task_executions AS task
        WHERE task.tenant_id = $1::uuid AND task.execution_id = candidate.id AND task.state = 'failed' AND NOT task.handled
        ORDER BY task.task
        LIMIT 1
    ) AS failure ON true
    WHERE execution.tenant_id = $1 AND execution.id = candidate.id AND execution.state = 'running'
      AND NOT EXISTS (
        SELECT FROM task_executions AS task
        WHERE task.tenant_id = $1 AND task.execution_id = candidate.id AND task.state IN ('waiting', 'ready', 'running')
        -- The offset keeps this from becoming a join over all tasks.
        OFFSET 0
      )
    RETURNING execution.id, execution.state, execution.deadline
),
deadline AS (
    DELETE FROM ready_tasks AS ready
    USING closed
    WHERE closed.deadline IS NOT NULL
      AND ready.tenant_id = $1 AND ready.priority = -1 AND ready.due_at = closed.deadline AND ready.execution_id = closed.id
      AND ready.task = -1
)
SELECT id, state FROM closed
