-- How far the nodes of executions are that wait for children.
SELECT wanted.id AS execution_id, counted.*, execution.state = 'paused' AS is_paused
FROM unnest($2::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT state FROM workflow_executions WHERE tenant_id = $1::uuid AND id = wanted.id
    OFFSET 0
) AS execution
CROSS JOIN LATERAL (
    SELECT task, total, parallel, tolerated, started, completed, failed
    FROM task_children AS row
    WHERE row.tenant_id = $1 AND row.execution_id = wanted.id AND EXISTS (
        SELECT FROM task_executions AS node
        WHERE node.tenant_id = $1 AND node.execution_id = wanted.id AND node.task = row.task AND node.state = 'waiting'
        OFFSET 0
    )
    ORDER BY task
    LIMIT 10000
) AS counted
