-- After whatever may have reached waits: the due row (kind 1) of each of these that waits now. One that has
-- its row already keeps it.
INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
SELECT $1::uuid, 1, reached.due_at, wanted.execution_id, wanted.task::text
FROM unnest($2::uuid[], $3::smallint[]) AS wanted (execution_id, task)
CROSS JOIN LATERAL (
    SELECT due_at FROM task_executions
    WHERE tenant_id = $1 AND execution_id = wanted.execution_id AND task = wanted.task AND state = 'waiting'
    OFFSET 0
) AS reached
ON CONFLICT DO NOTHING
