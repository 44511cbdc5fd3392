-- Of an execution that is locked: how many children of a node may be open at once, if it waits for any.
UPDATE task_children AS counted SET parallel = $4::bigint
FROM (
    SELECT task FROM task_executions
    WHERE tenant_id = $1::uuid AND execution_id = $2::uuid AND name = $3::text AND state = 'waiting'
    LIMIT 1
) AS node
WHERE counted.tenant_id = $1 AND counted.execution_id = $2 AND counted.task = node.task
RETURNING counted.task
