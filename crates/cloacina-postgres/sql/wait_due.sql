-- The due rows of waits (kind 1) after `$3`, `$4`, `$5`, each with the wait that it is about, if there is one
-- and somebody here knows its workflow. It locks nothing.
--
-- A tenant may have written any row: a cause that is no position finds no wait. Of the payloads of signals
-- no more are fetched once those before have `$9` bytes together; a wait whose signal is not fetched is for
-- the next look.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
front AS MATERIALIZED (
    SELECT due_at, subject, cause, CASE WHEN cause ~ '^[0-9]{1,4}$' THEN cause::smallint END AS task
    FROM due_rows
    WHERE tenant_id = $1::uuid AND kind = 1 AND due_at <= (SELECT now FROM clock)
      AND (due_at, subject, cause) > (coalesce($3::timestamptz, '-infinity'), $4::uuid, $5::text)
    ORDER BY due_at, subject, cause
    LIMIT $6::bigint
),
found AS MATERIALIZED (
    SELECT front.*, left(execution.workflow, 1000) AS workflow, execution.fingerprint, execution.known, node.reached_at,
           wait.until, signal.number,
           coalesce(sum(signal.bytes) OVER (
               ORDER BY front.due_at, front.subject, front.cause ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
           ), 0) <= $9::bigint AS fetched
    FROM front
    LEFT JOIN LATERAL (
        SELECT workflow, fingerprint, EXISTS (
            SELECT FROM unnest($7::text[], $8::bigint[]) AS registered (workflow, fingerprint)
            WHERE registered.workflow = open.workflow AND registered.fingerprint = open.fingerprint
            OFFSET 0
        ) AS known
        FROM workflow_executions AS open
        WHERE open.tenant_id = $1 AND open.id = front.subject AND open.finished_at IS NULL
        OFFSET 0
    ) AS execution ON true
    LEFT JOIN LATERAL (
        SELECT started_at AS reached_at FROM task_executions AS waiting
        WHERE waiting.tenant_id = $1 AND waiting.execution_id = front.subject AND waiting.task = front.task
          AND waiting.state = 'waiting' AND waiting.due_at = front.due_at
        OFFSET 0
    ) AS node ON execution.known
    LEFT JOIN LATERAL (
        SELECT until, signal FROM task_waits AS begun
        WHERE begun.tenant_id = $1 AND begun.execution_id = front.subject AND begun.task = front.task
        OFFSET 0
    ) AS wait ON node.reached_at IS NOT NULL
    LEFT JOIN LATERAL (
        SELECT number,
               -- One that is compressed may be 255 times as large; to unpack it would be to read it.
               pg_column_size(payload)::bigint * CASE WHEN pg_column_compression(payload) IS NULL THEN 1 ELSE 255 END AS bytes
        FROM signals AS first
        WHERE first.tenant_id = $1 AND first.execution_id = front.subject AND first.name = wait.signal AND first.taken_by IS NULL
        ORDER BY first.number
        LIMIT 1
    ) AS signal ON wait.signal IS NOT NULL
)
SELECT clock.now, found.due_at, found.subject, found.cause, found.task, found.workflow, found.fingerprint,
       coalesce(found.known, false) AS known, found.workflow IS NOT NULL AS open, found.reached_at, found.until,
       found.number, payload.payload
FROM clock
LEFT JOIN found ON true
LEFT JOIN LATERAL (
    SELECT chosen.payload::text AS payload
    FROM task_waits AS begun
    JOIN signals AS chosen ON chosen.tenant_id = $1 AND chosen.execution_id = found.subject AND chosen.name = begun.signal
      AND chosen.number = found.number
    WHERE begun.tenant_id = $1 AND begun.execution_id = found.subject AND begun.task = found.task
    OFFSET 0
) AS payload ON found.fetched
ORDER BY found.due_at, found.subject, found.cause
