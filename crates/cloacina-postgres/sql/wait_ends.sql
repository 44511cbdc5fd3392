-- How the nodes of executions ended that are over. Not more than a tenant may have planted.
SELECT wanted.id AS execution_id, ended.task, ended.state, ended.skip_reason
FROM unnest($2::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT task, state, skip_reason FROM task_executions
    WHERE tenant_id = $1::uuid AND execution_id = wanted.id AND finished_at IS NOT NULL
    LIMIT 10000
) AS ended
LIMIT 100000
