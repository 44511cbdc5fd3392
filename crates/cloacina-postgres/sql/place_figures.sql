-- What there is in a place, in numbers, without the executions of a workflow; the age of what has been due
-- longest in microseconds. It stops counting what is over at a million: a tenth of a second.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now)
SELECT CASE WHEN counted.kept < 1000000 THEN counted.kept - counted.left_out ELSE counted.kept END AS executions,
       (SELECT count(*) FROM workflow_executions WHERE tenant_id = $1 AND state IN ('pending', 'running', 'paused') AND priority >= 0 AND workflow <> $3) AS open,
       (SELECT count(*) FROM workflow_executions WHERE tenant_id = $1 AND state = 'waiting' AND priority >= 0 AND workflow <> $3) AS waiting,
       (SELECT count(*) FROM due_rows WHERE tenant_id = $1 AND kind = 1 AND due_at <= clock.now) AS due_waits,
       (SELECT count(*) FROM due_rows WHERE tenant_id = $1 AND kind = 0 AND due_at <= clock.now) AS due_deadlines,
       ready.queued,
       (extract(epoch FROM clock.now - greatest(ready.oldest, 'epoch')) * 1000000)::bigint AS oldest_us
FROM clock CROSS JOIN (
    SELECT (SELECT count(*) FROM (SELECT FROM workflow_executions WHERE tenant_id = $1::uuid LIMIT 1000000) AS row) AS kept,
           (SELECT count(*) FROM workflow_executions
            WHERE tenant_id = $1 AND priority >= 0 AND workflow = $3::text
              AND state IN ('pending', 'running', 'waiting', 'paused', 'completed', 'failed', 'cancelled')) AS left_out
) AS counted
CROSS JOIN LATERAL (
    SELECT count(*) AS queued, min(due_at) AS oldest FROM ready_tasks
    WHERE tenant_id = $1 AND priority >= 0 AND due_at <= clock.now
) AS ready
