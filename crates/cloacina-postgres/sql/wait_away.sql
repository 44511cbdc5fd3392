-- Nobody has the code of an execution that is locked and paused: its waits are not to be looked at, nor its
-- children. Their due rows would be in the way of others.
WITH away AS MATERIALIZED (
    SELECT node.ctid AS node, node.task, node.due_at AS was
    FROM workflow_executions AS execution
    CROSS JOIN LATERAL (
        SELECT ctid, task, due_at FROM task_executions
        WHERE tenant_id = $1 AND execution_id = execution.id AND state = 'waiting' AND due_at < $3::timestamptz
        OFFSET 0
    ) AS node
    WHERE execution.tenant_id = $1::uuid AND execution.id = $2::uuid AND execution.state = 'paused'
),
moved AS (
    UPDATE task_executions AS task SET due_at = $3 FROM away WHERE task.ctid = away.node
),
gone AS (
    DELETE FROM due_rows AS due
    USING away
    WHERE due.tenant_id = $1 AND due.kind = 1 AND due.due_at = away.was AND due.subject = $2 AND due.cause = away.task::text
),
looks AS (
    DELETE FROM due_rows AS due
    WHERE due.tenant_id = $1 AND due.kind = 3 AND due.due_at < $3 AND due.subject = $2
      AND EXISTS (SELECT FROM workflow_executions WHERE tenant_id = $1 AND id = $2 AND state = 'paused')
    RETURNING due.cause
)
INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
SELECT $1, 1, $3, $2, task::text FROM away
UNION ALL
SELECT $1, 3, $3, $2, cause FROM (SELECT DISTINCT cause FROM looks) AS look
ON CONFLICT DO NOTHING
RETURNING cause
