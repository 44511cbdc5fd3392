-- Step 5 of a flush: ends executions that have nothing left. A new statement, so that every outcome is
-- visible to it. It knows no rule: what a completed task handles was marked before. On the ctids see
-- `task_record`.
WITH closed AS (
    UPDATE workflow_executions AS execution SET
        state = CASE WHEN failure.task IS NULL THEN 'completed' ELSE 'failed' END,
        finished_at = coalesce($2::timestamptz, now()),
        error = failure.error
    FROM unnest($3::uuid[]) AS candidate (id)
    CROSS JOIN LATERAL (
        SELECT ctid FROM workflow_executions AS open
        WHERE open.tenant_id = $1::uuid AND open.id = candidate.id AND open.state = 'running'
          AND NOT EXISTS (
            SELECT FROM task_executions AS task
            WHERE task.tenant_id = $1 AND task.execution_id = candidate.id AND task.state IN ('pending', 'waiting', 'ready', 'running')
            OFFSET 0
          )
        OFFSET 0
    ) AS open
    LEFT JOIN LATERAL (
        SELECT task.task, task.error
        FROM task_executions AS task
        WHERE task.tenant_id = $1 AND task.execution_id = candidate.id AND task.state = 'failed' AND NOT task.handled
        ORDER BY task.task
        LIMIT 1
    ) AS failure ON true
    WHERE execution.ctid = open.ctid
    RETURNING execution.id, execution.state, execution.submitter
)
SELECT id, state, submitter FROM closed
