-- `execution_close`, for places whose rows lie in the same tables.
WITH closed AS (
    UPDATE workflow_executions AS execution SET
        state = CASE WHEN failure.task IS NULL THEN 'completed' ELSE 'failed' END,
        finished_at = coalesce($2::timestamptz, now()),
        error = failure.error
    FROM unnest($1::uuid[], $3::uuid[]) AS candidate (tenant_id, id)
    CROSS JOIN LATERAL (
        SELECT ctid FROM workflow_executions AS open
        WHERE open.tenant_id = candidate.tenant_id AND open.id = candidate.id AND open.state = 'running'
          AND NOT EXISTS (
            SELECT FROM task_executions AS task
            WHERE task.tenant_id = candidate.tenant_id AND task.execution_id = candidate.id
              AND task.state IN ('pending', 'waiting', 'ready', 'running')
            OFFSET 0
          )
        OFFSET 0
    ) AS open
    LEFT JOIN LATERAL (
        SELECT task.task, task.error
        FROM task_executions AS task
        WHERE task.tenant_id = candidate.tenant_id AND task.execution_id = candidate.id AND task.state = 'failed' AND NOT task.handled
        ORDER BY task.task
        LIMIT 1
    ) AS failure ON true
    WHERE execution.ctid = open.ctid
    RETURNING execution.tenant_id, execution.id, execution.state, execution.submitter
)
SELECT tenant_id, id, state, submitter FROM closed
