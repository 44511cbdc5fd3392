-- Moves the due row of a wait whose execution is locked to `$4`, or to now, and when its time is over to
-- `$5`, if that is given.
WITH moved AS MATERIALIZED (
    SELECT node.ctid AS node, node.due_at AS was, coalesce($4::timestamptz, $6::timestamptz, now()) AS due_at
    FROM task_executions AS node
    WHERE node.tenant_id = $1::uuid AND node.execution_id = $2::uuid AND node.task = $3::smallint AND node.state = 'waiting'
),
task AS (
    UPDATE task_executions AS task SET due_at = moved.due_at FROM moved WHERE task.ctid = moved.node
),
until AS (
    UPDATE task_waits AS wait SET until = $5::timestamptz
    FROM moved
    WHERE $5::timestamptz IS NOT NULL AND wait.tenant_id = $1 AND wait.execution_id = $2 AND wait.task = $3
),
gone AS (
    DELETE FROM due_rows AS due
    USING moved
    WHERE due.tenant_id = $1 AND due.kind = 1 AND due.due_at = moved.was AND due.subject = $2 AND due.cause = $3::smallint::text
      AND moved.was <> moved.due_at
)
INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
SELECT $1, 1, due_at, $2, $3::smallint::text FROM moved WHERE was <> due_at
ON CONFLICT DO NOTHING
