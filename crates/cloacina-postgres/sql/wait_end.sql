-- What goes when waits end whose executions are locked: their due rows, what they waited for, and the signals
-- that they take (`$4`, by number). What they leave is recorded in the next statement.
WITH ended AS MATERIALIZED (
    SELECT wanted.*, node.due_at
    FROM unnest($2::uuid[], $3::smallint[], $4::bigint[]) AS wanted (execution_id, task, number)
    CROSS JOIN LATERAL (
        SELECT due_at FROM task_executions
        WHERE tenant_id = $1::uuid AND execution_id = wanted.execution_id AND task = wanted.task AND state = 'waiting'
        OFFSET 0
    ) AS node
),
taken AS (
    UPDATE signals AS signal SET taken_by = ended.task
    FROM ended
    CROSS JOIN LATERAL (
        SELECT signal AS name FROM task_waits
        WHERE tenant_id = $1 AND execution_id = ended.execution_id AND task = ended.task
        OFFSET 0
    ) AS wait
    CROSS JOIN LATERAL (
        SELECT ctid FROM signals AS first
        WHERE first.tenant_id = $1 AND first.execution_id = ended.execution_id AND first.name = wait.name
          AND first.number = ended.number
        OFFSET 0
    ) AS first
    WHERE signal.ctid = first.ctid
),
over AS (
    DELETE FROM task_waits AS wait
    USING ended
    CROSS JOIN LATERAL (
        SELECT ctid FROM task_waits AS begun
        WHERE begun.tenant_id = $1 AND begun.execution_id = ended.execution_id AND begun.task = ended.task
        OFFSET 0
    ) AS begun
    WHERE wait.ctid = begun.ctid
),
started AS (
    UPDATE workflow_executions AS execution SET
        state = CASE WHEN execution.state = 'paused' THEN 'paused' ELSE 'running' END, started_at = coalesce(execution.started_at, $5::timestamptz, now())
    FROM (SELECT DISTINCT execution_id FROM ended) AS waiting
    CROSS JOIN LATERAL (
        SELECT ctid FROM workflow_executions AS pending
        WHERE pending.tenant_id = $1 AND pending.id = waiting.execution_id AND (pending.state IN ('pending', 'waiting') OR pending.started_at IS NULL)
        OFFSET 0
    ) AS pending
    WHERE execution.ctid = pending.ctid
)
DELETE FROM due_rows AS due
USING ended
CROSS JOIN LATERAL (
    SELECT ctid FROM due_rows AS before
    WHERE before.tenant_id = $1 AND before.kind = 1 AND before.due_at = ended.due_at
      AND before.subject = ended.execution_id AND before.cause = ended.task::text
    OFFSET 0
) AS before
WHERE due.ctid = before.ctid
