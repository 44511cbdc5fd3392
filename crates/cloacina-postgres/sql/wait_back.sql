-- The waits of an execution that is locked, after it was resumed: those that were not to be looked at are,
-- when they would have been. One that has not begun, or that a signal is there for, is looked at now.
WITH back AS MATERIALIZED (
    SELECT node.ctid AS node, node.task, node.due_at AS was, CASE
        WHEN wait.until IS NOT NULL AND NOT EXISTS (
            SELECT FROM signals AS signal
            WHERE signal.tenant_id = $1 AND signal.execution_id = $2 AND signal.name = wait.signal AND signal.taken_by IS NULL
            OFFSET 0
        ) THEN wait.until
        ELSE coalesce($4::timestamptz, now())
    END AS due_at
    FROM task_executions AS node
    LEFT JOIN LATERAL (
        SELECT until, signal FROM task_waits
        WHERE tenant_id = $1 AND execution_id = $2 AND task = node.task
        OFFSET 0
    ) AS wait ON true
    WHERE node.tenant_id = $1::uuid AND node.execution_id = $2::uuid AND node.state = 'waiting' AND node.due_at >= $3::timestamptz
),
moved AS (
    UPDATE task_executions AS task SET due_at = back.due_at FROM back WHERE task.ctid = back.node AND back.was <> back.due_at
),
gone AS (
    DELETE FROM due_rows AS due
    USING back
    WHERE due.tenant_id = $1 AND due.kind = 1 AND due.due_at = back.was AND due.subject = $2 AND due.cause = back.task::text
      AND back.was <> back.due_at
),
looks AS (
    DELETE FROM due_rows AS due
    WHERE due.tenant_id = $1 AND due.kind = 3 AND due.due_at = $3 AND due.subject = $2
    RETURNING due.cause
)
INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
SELECT $1, 1, due_at, $2, task::text FROM back WHERE was <> due_at
UNION ALL
SELECT $1, 3, coalesce($4, now()), $2, cause FROM looks
ON CONFLICT DO NOTHING
