-- `task_claim`, for places whose rows lie in the same tables and that know the same workflows. Each has a
-- limit of its own.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
picked AS MATERIALIZED (
    SELECT wanted.tenant_id, candidate.*
    FROM unnest($1::uuid[], $4::bigint[]) AS wanted (tenant_id, most)
    CROSS JOIN LATERAL (
        SELECT candidate.*
        FROM generate_series(9, 0, -1) AS level (priority)
        CROSS JOIN LATERAL (
            SELECT ready.ctid, ready.priority, ready.due_at, ready.execution_id, ready.task, ready.workflow, ready.fingerprint, execution.*
            FROM ready_tasks AS ready
            CROSS JOIN LATERAL (
                SELECT state, created_at, deadline IS NOT NULL AS timed,
                       CASE WHEN state = 'pending' AND pg_column_size(input) <= CASE WHEN pg_column_compression(input) IS NULL THEN 65536 ELSE 8192 END THEN input END AS input
                FROM workflow_executions
                WHERE tenant_id = wanted.tenant_id AND id = ready.execution_id
                OFFSET 0
                FOR NO KEY UPDATE SKIP LOCKED
            ) AS execution
            WHERE ready.tenant_id = wanted.tenant_id AND ready.priority = level.priority
              AND ready.due_at <= (SELECT now FROM clock)
              AND EXISTS (
                SELECT FROM unnest($5::text[], $6::bigint[]) AS registered (workflow, fingerprint)
                WHERE registered.workflow = ready.workflow AND registered.fingerprint = ready.fingerprint
                OFFSET 0
              )
            ORDER BY ready.due_at, ready.execution_id, ready.task
            LIMIT wanted.most
            FOR UPDATE OF ready SKIP LOCKED
        ) AS candidate
        LIMIT wanted.most
    ) AS candidate
),
taken AS (
    DELETE FROM ready_tasks AS ready USING picked WHERE ready.ctid = picked.ctid
),
started AS (
    UPDATE workflow_executions AS execution SET state = 'running', started_at = coalesce(execution.started_at, clock.now)
    FROM (SELECT DISTINCT tenant_id, execution_id FROM picked WHERE state = 'pending') AS first
    CROSS JOIN LATERAL (
        SELECT ctid FROM workflow_executions AS pending
        WHERE pending.tenant_id = first.tenant_id AND pending.id = first.execution_id
        OFFSET 0
    ) AS pending, clock
    WHERE execution.ctid = pending.ctid
)
UPDATE task_executions AS task SET
    state = 'running', attempt = least(task.attempt, 2147483646) + 1, runner_id = $3::uuid, started_at = clock.now
FROM picked
CROSS JOIN LATERAL (
    SELECT ctid FROM task_executions AS ready
    WHERE ready.tenant_id = picked.tenant_id AND ready.execution_id = picked.execution_id AND ready.task = picked.task
      AND ready.state = 'ready'
    OFFSET 0
) AS ready, clock
WHERE task.ctid = ready.ctid
RETURNING task.tenant_id, task.execution_id, task.task, picked.workflow, picked.fingerprint, picked.priority, task.attempt,
          task.failures, task.lost, (extract(epoch FROM clock.now) - extract(epoch FROM picked.due_at))::float8 AS waited, picked.input::text,
          picked.created_at, picked.timed
