-- Step 6 of a flush: claims ready work, the highest priority first and in each the longest due.
--
-- The laterals visit one priority after the other and stop when they have enough, so rows that are due in the
-- future are never read and no more rows are locked than claimed. MATERIALIZED, because a limit in a subquery
-- may be run again for each row of the outer query and claim without end. It waits for no lock: an execution
-- that somebody else changes at this moment is for the next claim. A ready row that is still there once the
-- execution is locked proves that its task is unchanged since the row was put there, so this one statement
-- may lock and change. Only the execution's own row may have changed meanwhile, from `pending` to `running`:
-- the state that counts is the one that was read with the lock. On the ctids see `task_record`. What begins
-- with this claim need not be read again: its input comes along. A tenant may have written any number into
-- its rows: a claim that an overflow ends is one that nobody can make any more.
--
-- Nor may it have planted more rows than there is time to walk. So a claim looks at a thousand rows more than
-- it wants at most (`near`). If it got none of them, and there may be others behind them, it looks for each
-- workflow that is known by itself (`far`), and takes those of the rows in front away that have no execution
-- (`void`): they are nobody's.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
near AS MATERIALIZED (
    SELECT ready.ctid, ready.priority, ready.due_at, ready.execution_id, ready.task, ready.workflow, ready.fingerprint, execution.*
    FROM (
        SELECT first.ctid, first.execution_id, first.workflow, first.fingerprint
        FROM generate_series(9, 0, -1) AS level (priority)
        CROSS JOIN LATERAL (
            SELECT ctid, execution_id, workflow, fingerprint FROM ready_tasks AS ready
            WHERE ready.tenant_id = $1::uuid AND ready.priority = level.priority AND ready.due_at <= (SELECT now FROM clock)
            ORDER BY ready.due_at, ready.execution_id, ready.task
            LIMIT $4::bigint + 1000
        ) AS first
        LIMIT $4 + 1000
    ) AS front
    CROSS JOIN LATERAL (
        SELECT state, created_at, deadline IS NOT NULL AS timed,
               -- A larger one is read, and looked at, by itself. One that is compressed may be 255 times as
               -- large.
               CASE WHEN state = 'pending' AND pg_column_size(input) <= CASE WHEN pg_column_compression(input) IS NULL THEN 65536 ELSE 8192 END THEN input END AS input
        FROM workflow_executions
        WHERE tenant_id = $1 AND id = front.execution_id
        OFFSET 0
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS execution
    JOIN ready_tasks AS ready ON ready.ctid = front.ctid
    WHERE EXISTS (
        SELECT FROM unnest($5::text[], $6::bigint[]) AS registered (workflow, fingerprint)
        WHERE registered.workflow = front.workflow AND registered.fingerprint = front.fingerprint
        OFFSET 0
    )
    LIMIT $4
    FOR UPDATE OF ready SKIP LOCKED
),
crowded AS MATERIALIZED (
    SELECT FROM (
        SELECT FROM generate_series(9, 0, -1) AS level (priority)
        CROSS JOIN LATERAL (
            SELECT FROM ready_tasks AS ready
            WHERE ready.tenant_id = $1 AND ready.priority = level.priority AND ready.due_at <= (SELECT now FROM clock)
            ORDER BY ready.due_at, ready.execution_id, ready.task
            LIMIT $4 + 1000
        ) AS first
        WHERE NOT EXISTS (SELECT FROM near)
        LIMIT $4 + 1000
    ) AS front
    HAVING count(*) = $4 + 1000
),
far AS MATERIALIZED (
    SELECT ready.ctid, ready.priority, ready.due_at, ready.execution_id, ready.task, ready.workflow, ready.fingerprint, execution.*
    FROM (
        SELECT first.*
        FROM unnest($5, $6) AS registered (workflow, fingerprint)
        CROSS JOIN generate_series(9, 0, -1) AS level (priority)
        CROSS JOIN LATERAL (
            SELECT ctid, priority, due_at, execution_id FROM ready_tasks AS ready
            WHERE ready.tenant_id = $1 AND ready.fingerprint = registered.fingerprint AND ready.workflow = registered.workflow
              AND ready.priority = level.priority AND ready.due_at <= (SELECT now FROM clock)
            ORDER BY ready.due_at
            LIMIT 1 + $4 / cardinality($5)
        ) AS first
        WHERE EXISTS (SELECT FROM crowded)
        ORDER BY first.priority DESC, first.due_at
        LIMIT $4 + 1000
    ) AS front
    CROSS JOIN LATERAL (
        SELECT state, created_at, deadline IS NOT NULL AS timed,
               CASE WHEN state = 'pending' AND pg_column_size(input) <= CASE WHEN pg_column_compression(input) IS NULL THEN 65536 ELSE 8192 END THEN input END AS input
        FROM workflow_executions
        WHERE tenant_id = $1 AND id = front.execution_id
        OFFSET 0
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS execution
    JOIN ready_tasks AS ready ON ready.ctid = front.ctid
    LIMIT $4
    FOR UPDATE OF ready SKIP LOCKED
),
void AS MATERIALIZED (
    SELECT ready.ctid
    FROM (
        SELECT first.ctid, first.execution_id
        FROM generate_series(9, 0, -1) AS level (priority)
        CROSS JOIN LATERAL (
            SELECT ctid, execution_id FROM ready_tasks AS ready
            WHERE ready.tenant_id = $1 AND ready.priority = level.priority AND ready.due_at <= (SELECT now FROM clock)
            ORDER BY ready.due_at, ready.execution_id, ready.task
            LIMIT $4 + 1000
        ) AS first
        WHERE EXISTS (SELECT FROM crowded)
        LIMIT $4 + 1000
    ) AS front
    JOIN ready_tasks AS ready ON ready.ctid = front.ctid
    WHERE NOT EXISTS (SELECT FROM workflow_executions AS execution WHERE execution.tenant_id = $1 AND execution.id = front.execution_id OFFSET 0)
    FOR UPDATE OF ready SKIP LOCKED
),
picked AS MATERIALIZED (
    SELECT * FROM near
    UNION ALL
    SELECT * FROM far
),
taken AS (
    DELETE FROM ready_tasks AS ready USING (SELECT ctid FROM picked UNION ALL SELECT ctid FROM void) AS gone WHERE ready.ctid = gone.ctid
),
started AS (
    UPDATE workflow_executions AS execution SET state = 'running', started_at = coalesce(execution.started_at, clock.now)
    FROM (SELECT DISTINCT execution_id FROM picked WHERE state = 'pending') AS first
    CROSS JOIN LATERAL (
        SELECT ctid FROM workflow_executions AS pending
        WHERE pending.tenant_id = $1 AND pending.id = first.execution_id
        OFFSET 0
    ) AS pending, clock
    WHERE execution.ctid = pending.ctid
)
UPDATE task_executions AS task SET
    state = 'running', attempt = least(task.attempt, 2147483646) + 1, runner_id = $3::uuid, started_at = clock.now
FROM picked
CROSS JOIN LATERAL (
    SELECT ctid FROM task_executions AS ready
    WHERE ready.tenant_id = $1 AND ready.execution_id = picked.execution_id AND ready.task = picked.task AND ready.state = 'ready'
    OFFSET 0
) AS ready, clock
WHERE task.ctid = ready.ctid
RETURNING task.execution_id, task.task, picked.workflow, picked.fingerprint, picked.priority, task.attempt, task.failures,
          task.lost, (extract(epoch FROM clock.now) - extract(epoch FROM picked.due_at))::float8 AS waited, picked.input::text, picked.created_at,
          picked.timed
