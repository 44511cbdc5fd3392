-- What there is in a place, in numbers; the age of what has been due longest in microseconds. It stops
-- counting what is over at a million: a tenth of a second.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now)
SELECT (SELECT count(*) FROM (SELECT FROM workflow_executions WHERE tenant_id = $1::uuid LIMIT 1000000) AS counted) AS executions,
       (SELECT count(*) FROM workflow_executions WHERE tenant_id = $1 AND state IN ('pending', 'running', 'paused') AND priority >= 0) AS open,
       (SELECT count(*) FROM workflow_executions WHERE tenant_id = $1 AND state = 'waiting' AND priority >= 0) AS waiting,
       (SELECT count(*) FROM due_rows WHERE tenant_id = $1 AND kind = 1 AND due_at <= clock.now) AS due_waits,
       (SELECT count(*) FROM due_rows WHERE tenant_id = $1 AND kind = 0 AND due_at <= clock.now) AS due_deadlines,
       ready.queued,
       (extract(epoch FROM clock.now - greatest(ready.oldest, 'epoch')) * 1000000)::bigint AS oldest_us
FROM clock CROSS JOIN LATERAL (
    SELECT count(*) AS queued, min(due_at) AS oldest FROM ready_tasks
    WHERE tenant_id = $1 AND priority >= 0 AND due_at <= clock.now
) AS ready
