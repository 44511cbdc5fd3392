-- How many executions wait; it stops counting at the number that the caller wants to know of.
SELECT count(*) AS count FROM (
    SELECT FROM workflow_executions WHERE tenant_id = $1::uuid AND state = 'waiting' AND priority >= 0 LIMIT $2::bigint
) AS waiting
