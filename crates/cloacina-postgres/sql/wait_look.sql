-- How waits stand whose executions are locked: those of them that still wait, whether they have begun to,
-- and the first signal that each could take.
SELECT coalesce($5::timestamptz, now()) AS now, wanted.execution_id, wanted.task, wait.until, signal.number
FROM unnest($2::uuid[], $3::smallint[], $4::text[]) AS wanted (execution_id, task, signal)
CROSS JOIN LATERAL (
    SELECT FROM task_executions
    WHERE tenant_id = $1::uuid AND execution_id = wanted.execution_id AND task = wanted.task AND state = 'waiting'
    OFFSET 0
) AS node
LEFT JOIN LATERAL (
    SELECT until, signal FROM task_waits
    WHERE tenant_id = $1 AND execution_id = wanted.execution_id AND task = wanted.task
    OFFSET 0
) AS wait ON true
LEFT JOIN LATERAL (
    SELECT number FROM signals
    WHERE tenant_id = $1 AND execution_id = wanted.execution_id AND name = coalesce(wait.signal, wanted.signal)
      AND taken_by IS NULL
    ORDER BY number
    LIMIT 1
) AS signal ON true
