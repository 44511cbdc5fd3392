-- Step 6 of a flush: claims ready work, the highest priority first and in each the longest due.
--
-- The lateral visits one priority after the other and stops when it has enough, so rows that are due in the future are
-- never read and no more rows are locked than claimed. MATERIALIZED, because a limit in a subquery may be run again
-- for each row of the outer query and claim without end.
-- It waits for no lock: an execution that somebody else changes at this moment is for the next claim. A ready row that is
-- still there once the execution is locked proves that its task is unchanged since the row was put there, so this one
-- statement may lock and change.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
picked AS MATERIALIZED (
    SELECT candidate.*
    FROM generate_series(9, 0, -1) AS level (priority)
    CROSS JOIN LATERAL (
        SELECT ready.priority, ready.due_at, ready.execution_id, ready.task, ready.workflow, ready.fingerprint
        FROM ready_tasks AS ready
        JOIN workflow_executions AS execution ON execution.tenant_id = $1 AND execution.id = ready.execution_id
        WHERE ready.tenant_id = $1::uuid AND ready.priority = level.priority
          AND ready.due_at <= (SELECT now FROM clock)
          AND EXISTS (
            SELECT FROM unnest($5::text[], $6::bigint[]) AS registered (workflow, fingerprint)
            WHERE registered.workflow = ready.workflow AND registered.fingerprint = ready.fingerprint
            OFFSET 0
          )
        ORDER BY ready.due_at, ready.execution_id, ready.task
        LIMIT $4::bigint
        FOR NO KEY UPDATE OF execution SKIP LOCKED
        FOR UPDATE OF ready SKIP LOCKED
    ) AS candidate
    LIMIT $4
),
taken AS (
    DELETE FROM ready_tasks AS ready
    USING picked
    WHERE ready.tenant_id = $1 AND ready.priority = picked.priority AND ready.due_at = picked.due_at
      AND ready.execution_id = picked.execution_id AND ready.task = picked.task
),
started AS (
    UPDATE workflow_executions AS execution SET state = 'running', started_at = coalesce(execution.started_at, clock.now)
    FROM (SELECT DISTINCT execution_id FROM picked) AS first, clock
    WHERE execution.tenant_id = $1 AND execution.id = first.execution_id AND execution.state = 'pending'
)
UPDATE task_executions AS task SET
    state = 'running', attempt = task.attempt + 1, runner_id = $3::uuid, started_at = clock.now
FROM picked, clock
WHERE task.tenant_id = $1 AND task.execution_id = picked.execution_id AND task.task = picked.task AND task.state = 'ready'
RETURNING task.execution_id, task.task, picked.workflow, picked.fingerprint, picked.priority, task.attempt, task.failures,
          task.lost
