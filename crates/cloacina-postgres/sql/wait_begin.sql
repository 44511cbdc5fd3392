-- Waits whose executions are locked begin to wait: their due rows move to when they are to be looked at next.
-- On the ctids see `task_record`.
WITH clock AS (SELECT coalesce($8::timestamptz, now()) AS now),
begun AS MATERIALIZED (
    SELECT new.*, node.ctid AS node, node.due_at AS was
    FROM unnest($2::uuid[], $3::smallint[], $4::text[], $5::timestamptz[], $6::text[], $7::timestamptz[])
        AS new (execution_id, task, signal, until, ask, due_at)
    CROSS JOIN LATERAL (
        SELECT ctid, due_at FROM task_executions
        WHERE tenant_id = $1::uuid AND execution_id = new.execution_id AND task = new.task AND state = 'waiting'
        OFFSET 0
    ) AS node
),
noted AS (
    INSERT INTO task_waits (tenant_id, execution_id, task, signal, until, ask)
    SELECT $1, execution_id, task, signal, until, ask::json FROM begun
    ON CONFLICT DO NOTHING
),
moved AS (
    UPDATE task_executions AS task SET due_at = begun.due_at FROM begun WHERE task.ctid = begun.node
),
gone AS (
    DELETE FROM due_rows AS due
    USING begun
    CROSS JOIN LATERAL (
        SELECT ctid FROM due_rows AS before
        WHERE before.tenant_id = $1 AND before.kind = 1 AND before.due_at = begun.was
          AND before.subject = begun.execution_id AND before.cause = begun.task::text
        OFFSET 0
    ) AS before
    WHERE begun.was <> begun.due_at AND due.ctid = before.ctid
),
marked AS (
    UPDATE workflow_executions AS execution SET
        has_waits = true,
        state = CASE WHEN execution.state = 'pending' THEN 'running' ELSE execution.state END,
        started_at = coalesce(execution.started_at, clock.now)
    FROM (SELECT DISTINCT execution_id FROM begun) AS waiting
    CROSS JOIN LATERAL (
        SELECT ctid FROM workflow_executions AS locked
        WHERE locked.tenant_id = $1 AND locked.id = waiting.execution_id AND (NOT locked.has_waits OR locked.started_at IS NULL)
        OFFSET 0
    ) AS locked, clock
    WHERE execution.ctid = locked.ctid
)
INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
SELECT $1, 1, due_at, execution_id, task::text FROM begun WHERE was <> due_at
ON CONFLICT DO NOTHING
