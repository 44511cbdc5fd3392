-- How many executions are not over; it stops counting at the number that the caller wants to know of.
SELECT count(*) AS count FROM (
    SELECT FROM workflow_executions WHERE tenant_id = $1::uuid AND state IN ('pending', 'running', 'paused') AND priority >= 0 LIMIT $2::bigint
) AS open
