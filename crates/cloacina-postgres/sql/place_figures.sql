-- What there is in a place, in numbers, without the executions of a workflow; the age of what has been due
-- longest in microseconds. It counts no further than $4.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
counted AS MATERIALIZED (
    SELECT (SELECT count(*) FROM (
               SELECT FROM workflow_executions WHERE tenant_id = $1::uuid LIMIT $4::bigint
           ) AS row) AS kept,
           (SELECT count(*) FROM (
               SELECT FROM workflow_executions
               WHERE tenant_id = $1 AND priority >= 0 AND workflow = $3::text
                 AND state IN ('pending', 'running', 'waiting', 'paused', 'completed', 'failed', 'cancelled')
               LIMIT $4
           ) AS row) AS left_out,
           (SELECT count(*) FROM (
               SELECT FROM workflow_executions
               WHERE tenant_id = $1 AND priority >= 0 AND workflow <> $3
                 AND state IN ('pending', 'running', 'paused')
               LIMIT $4
           ) AS row) AS open,
           (SELECT count(*) FROM (
               SELECT FROM workflow_executions
               WHERE tenant_id = $1 AND state = 'waiting' AND priority >= 0 AND workflow <> $3
               LIMIT $4
           ) AS row) AS waiting,
           (SELECT count(*) FROM (
               SELECT FROM due_rows
               WHERE tenant_id = $1 AND kind = 1 AND due_at <= (SELECT now FROM clock)
               LIMIT $4
           ) AS row) AS due_waits,
           (SELECT count(*) FROM (
               SELECT FROM due_rows
               WHERE tenant_id = $1 AND kind = 0 AND due_at <= (SELECT now FROM clock)
               LIMIT $4
           ) AS row) AS due_deadlines,
           (SELECT count(*) FROM (
               SELECT FROM ready_tasks
               WHERE tenant_id = $1 AND priority >= 0 AND due_at <= (SELECT now FROM clock)
               LIMIT $4
           ) AS row) AS queued,
           (
               SELECT min(first.due_at)
               FROM generate_series(0, 9) AS level (priority)
               CROSS JOIN LATERAL (
                   SELECT ready.due_at FROM ready_tasks AS ready
                   WHERE ready.tenant_id = $1 AND ready.priority = level.priority
                   ORDER BY ready.due_at, ready.execution_id, ready.task LIMIT 1
               ) AS first
               WHERE first.due_at <= (SELECT now FROM clock)
           ) AS oldest
)
SELECT CASE WHEN kept < $4 THEN kept - left_out ELSE kept END AS executions,
       open, waiting, due_waits, due_deadlines, queued,
       (extract(epoch FROM clock.now - greatest(oldest, 'epoch')) * 1000000)::bigint AS oldest_us
FROM clock, counted
